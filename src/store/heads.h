/* How long the head of a model file is, from its first bytes: what a reader of metadata and tensors' places needs. */
#ifndef PN_STORE_HEADS_H
#define PN_STORE_HEADS_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

/* *need is the length of the head if that is at most n, else more than n: bytes from the start without which the head
 * cannot be followed further. PANTRY_FORMAT if the bytes cannot begin such a file. */
pantry_status pn_head_of_gguf(const void *bytes, size_t n, uint64_t *need, struct pantry_error *err);
pantry_status pn_head_of_safetensors(const void *bytes, size_t n, uint64_t *need, struct pantry_error *err);

#endif
