/* The table of storage types: see type.h. */
#include "tensor/type.h"

#include "base/alloc.h"
#include "tensor/quant/quant.h"

#include <string.h>

static const struct pn_type_info types[PN_TYPE_COUNT] = {
#define PN_TYPE(NAME, name, number, block, bytes, planes)                                                              \
    [PN_TYPE_##NAME] = {                                                                                               \
        #name, number, block, bytes, planes, pn_decode_##name, pn_encode_##name, NULL, pn_encode_weighted_##name},
#define PN_TYPE_PLANES(NAME, name, block, bytes, planes)                                                               \
    [PN_TYPE_##NAME] = {#name, -1, block, bytes, planes, NULL, NULL, pn_decode_planes_##name, NULL},
#include "tensor/type.def"
#undef PN_TYPE
};

const struct pn_type_info *pn_type_info(pn_type type)
{
    return &types[type];
}

bool pn_type_from_gguf(uint32_t number, pn_type *out)
{
    for (int i = 0; i < PN_TYPE_COUNT; i++)
        if (types[i].gguf >= 0 && (uint32_t)types[i].gguf == number) {
            *out = (pn_type)i;
            return true;
        }
    return false;
}

bool pn_type_from_name(const char *name, pn_type *out)
{
    for (int i = 0; i < PN_TYPE_COUNT; i++)
        if (strcmp(types[i].name, name) == 0) {
            *out = (pn_type)i;
            return true;
        }
    return false;
}

void pn_type_encode(pn_type type, const float *src, const float *weights, void *dst, size_t n)
{
    const struct pn_type_info *t = &types[type];
    if (weights && t->encode_weighted)
        t->encode_weighted(src, weights, dst, n);
    else
        t->encode(src, dst, n);
}
