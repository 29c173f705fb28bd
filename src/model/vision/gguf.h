/* Encoders in GGUF files: see gguf.c. */
#ifndef PN_MODEL_VISION_GGUF_H
#define PN_MODEL_VISION_GGUF_H

#include "model/vision/vision.h"

/* Opens a projector. PANTRY_UNSUPPORTED: of a type that is not known here. */
pantry_status pn_vision_open_gguf(const char *path, struct pn_vision **out, struct pantry_error *err);

#endif
