/* The GGUF reader, for weights.c; others use weights.h. */
#ifndef PN_FORMAT_GGUF_H
#define PN_FORMAT_GGUF_H

#include "format/weights.h"

/* Fills `weights`, which has a path and its first map, and opens the other shards. After an error, pn_weights_close
 * frees everything. */
pantry_status pn_gguf_read(struct pn_weights *weights, struct pantry_error *err);

#endif
