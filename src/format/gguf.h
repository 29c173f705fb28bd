/* The GGUF reader; weights.h is what others use. */
#ifndef PN_FORMAT_GGUF_H
#define PN_FORMAT_GGUF_H

#include "format/weights.h"

/* Fills `weights`, which has a path and its first map, from GGUF; opens the other shards. Whatever was filled in before
 * an error is freed by pn_weights_close. */
pantry_status pn_gguf_read(struct pn_weights *weights, struct pantry_error *err);

#endif
