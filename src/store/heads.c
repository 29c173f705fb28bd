/* Heads of model files: see heads.h. Values are skipped, not understood: the format's reader checks them afterwards.
 *
 * Every length is bounded before it is added, so that no sum overflows; the bytes may come from anybody. */
#include "store/heads.h"

#include <string.h>

enum { MAX_DIMS = 4, VALUE_TYPES = 13, TYPE_STRING = 8, TYPE_ARRAY = 9 };
static const uint64_t longest = (uint64_t)1 << 40; /* of anything here: far more than a file's head */

/* Sizes of GGUF's values, by number; 0: of varying length. */
static const unsigned char width_of[VALUE_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

struct walk {
    const unsigned char *bytes;
    size_t n;
    uint64_t at;  /* beyond n: what is missing is there */
    bool damaged; /* a number is out of range */
};

/* Goes `len` bytes on; false: they are not there, or damaged. */
static bool skip(struct walk *w, uint64_t len)
{
    if (len > longest)
        w->damaged = true;
    if (w->damaged || w->at > w->n)
        return false;
    w->at += len;
    return w->at <= w->n;
}

/* A little-endian number of `width` bytes; 0 if it is not there. */
static uint64_t number(struct walk *w, unsigned width)
{
    uint64_t at = w->at, value = 0;
    if (!skip(w, width))
        return 0;
    for (unsigned i = 0; i < width; i++)
        value |= (uint64_t)w->bytes[at + i] << (8 * i);
    return value;
}

static bool skip_string(struct walk *w)
{
    uint64_t len = number(w, 8);
    return w->at <= w->n && skip(w, len);
}

static bool skip_value(struct walk *w, uint64_t type)
{
    uint64_t n = 1;
    if (type == TYPE_ARRAY) {
        type = number(w, 4);
        n = number(w, 8);
        if (w->at > w->n)
            return false;
        w->damaged |= type == TYPE_ARRAY;
    }
    w->damaged |= type >= VALUE_TYPES || n > longest / 8;
    if (w->damaged)
        return false;
    if (type != TYPE_STRING)
        return skip(w, n * width_of[type]);
    for (uint64_t i = 0; i < n; i++)
        if (!skip_string(w))
            return false;
    return true;
}

static bool skip_tensor(struct walk *w)
{
    if (!skip_string(w))
        return false;
    uint64_t n_dims = number(w, 4);
    w->damaged |= n_dims > MAX_DIMS;
    return w->at <= w->n && skip(w, 8 * n_dims + 4 + 8);
}

pantry_status pn_head_of_gguf(const void *bytes, size_t n, uint64_t *need, struct pantry_error *err)
{
    struct walk w = {.bytes = bytes, .n = n};
    if (memcmp(bytes, "GGUF", n < 4 ? n : 4) != 0)
        return pn_fail(err, PANTRY_FORMAT, "is not a GGUF file");
    skip(&w, 8);
    uint64_t n_tensors = number(&w, 8), n_values = number(&w, 8);
    bool more = w.at <= n;
    for (uint64_t i = 0; i < n_values && more; i++)
        more = skip_string(&w) && (w.at + 4 <= n ? skip_value(&w, number(&w, 4)) : skip(&w, 4));
    for (uint64_t i = 0; i < n_tensors && more; i++)
        more = skip_tensor(&w);
    *need = w.at;
    return w.damaged ? pn_fail(err, PANTRY_FORMAT, "is a damaged GGUF file (a number at about byte %llu)",
                               (unsigned long long)w.at)
                     : PANTRY_OK;
}

pantry_status pn_head_of_safetensors(const void *bytes, size_t n, uint64_t *need, struct pantry_error *err)
{
    static const uint64_t most = 100000000; /* the format's own limit */
    struct walk w = {.bytes = bytes, .n = n};
    uint64_t len = number(&w, 8);
    if (len > most)
        return pn_fail(err, PANTRY_FORMAT, "is not a safetensors file (a head of %llu bytes, at most %llu are allowed)",
                       (unsigned long long)len, (unsigned long long)most);
    *need = 8 + len;
    return PANTRY_OK;
}
