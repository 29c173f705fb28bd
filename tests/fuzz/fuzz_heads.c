/* Feeds arbitrary bytes to what measures the heads of model files. What is needed grows with what is there: a head that
 * a part of the bytes completes is as long by all of them, and one that it does not complete needs more than it. */
#include "store/heads.h"

#include <stdlib.h>

typedef pantry_status head_fn(const void *bytes, size_t n, uint64_t *need, struct pantry_error *err);

static void check(head_fn *measure, const uint8_t *data, size_t n)
{
    uint64_t all = 0, part = 0;
    struct pantry_error err;
    if (measure(data, n, &all, &err))
        return;
    for (size_t k = 0; k < n; k += 1 + n / 16) {
        if (measure(data, k, &part, &err))
            abort();
        if (part <= k ? part != all : all < part)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check(pn_head_of_gguf, data, size);
    check(pn_head_of_safetensors, data, size);
    return 0;
}
