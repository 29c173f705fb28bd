/* Decoders and encoders of the storage types; only type.c and tests call them by name. */
#ifndef PN_TENSOR_QUANT_H
#define PN_TENSOR_QUANT_H

#include "tensor/type.h"

#define PN_TYPE(NAME, name, number, block, bytes, planes) pn_decode_fn pn_decode_##name;
#include "tensor/type.def"
#undef PN_TYPE

pn_encode_fn pn_encode_f32, pn_encode_f16, pn_encode_bf16;
/* Types nothing converts to. */
#define pn_encode_i32 NULL

#endif
