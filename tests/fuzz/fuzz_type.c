/* Fuzz target: storage types. The first byte names a type, the rest is decoded as blocks and encoded as floats. */
#include "tensor/type.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode(const struct pn_type_info *t, const uint8_t *data, size_t size)
{
    size_t n = size / t->bytes * t->block;
    float *values = malloc(n * sizeof *values + 1);
    if (values)
        t->decode(data, values, n);
    free(values);
}

static void encode(const struct pn_type_info *t, const uint8_t *data, size_t size)
{
    size_t n = size / sizeof(float) / t->block * t->block, bytes = n / t->block * t->bytes;
    float *values = malloc(n * sizeof *values + 1);
    uint8_t *encoded = malloc(bytes + 1);
    if (values && encoded) {
        memcpy(values, data, n * sizeof *values);
        t->encode(values, encoded, n);
        t->decode(encoded, values, n);
    }
    free(values);
    free(encoded);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const struct pn_type_info *t = pn_type_info((pn_type)(data[0] % PN_TYPE_COUNT));
    if (t->decode)
        decode(t, data + 1, size - 1);
    if (t->encode)
        encode(t, data + 1, size - 1);
    return 0;
}
