/* Fuzzes the GGUF reader: opens the bytes as one file, then reads all of the metadata and the first and last byte of
 * every tensor. The bytes are in a block of exactly their size, not a map, whose last page would hide a read beyond the
 * end. The seeds are made here: a valid file replaces an input without a GGUF header. */
#include "format/gguf.h"
#include "format/weights.h"
#include "gguf_writer.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

static volatile uint64_t sink;

static void read_meta(const struct pn_weights *w, const struct pn_meta *m)
{
    uint32_t u;
    int64_t i;
    float f;
    bool b;
    struct pn_str s;
    struct pantry_error err;
    if (pn_weights_meta(w, m->key) != m)
        abort();
    pn_meta_u32(w, m->key, &u, &err);
    pn_meta_i64(w, m->key, &i, &err);
    pn_meta_f32(w, m->key, &f, &err);
    pn_meta_bool(w, m->key, &b, &err);
    if (!pn_meta_str(w, m->key, &s, &err) && s.len)
        sink += (unsigned char)s.data[0] + (unsigned char)s.data[s.len - 1];
    for (size_t k = 0; m->type == PN_META_ARRAY && k < m->n; k++) {
        sink += pn_meta_item_u64(m, k) + (uint64_t)pn_meta_item_i64(m, k) + pn_meta_item_bool(m, k) +
                (pn_meta_item_f64(m, k) > 1);
        s = pn_meta_item_str(m, k);
        if (s.len)
            sink += (unsigned char)s.data[0] + (unsigned char)s.data[s.len - 1];
    }
}

static void read_tensor(const struct pn_weights *w, const struct pn_tensor_info *t)
{
    if (pn_weights_tensor(w, t->name) != t)
        abort();
    if (t->type == PN_TYPE_COUNT) {
        if (t->data || t->bytes)
            abort();
        return;
    }
    size_t rows = 1;
    for (int d = 0; d < PN_MAX_DIMS - 1; d++)
        rows *= d < t->n_dims - 1 ? (size_t)t->shape[d] : 1;
    if (t->bytes == 0 || rows * pn_type_row_bytes(t->type, (size_t)t->shape[t->n_dims - 1]) != t->bytes)
        abort();
    const unsigned char *data = t->data;
    sink += data[0] + data[t->bytes - 1];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4 || memcmp(data, "GGUF", 4) != 0)
        return 0;
    struct pn_weights *w = calloc(1, sizeof *w);
    unsigned char *copy = malloc(size);
    struct pantry_error err;
    if (!w || !copy)
        abort();
    memcpy(copy, data, size);
    w->path = pn_arena_copy(&w->arena, "fuzz.gguf", 9);
    w->maps = calloc(1, sizeof *w->maps);
    if (!w->path || !w->maps)
        abort();
    w->maps[0] = (struct pn_map){.data = copy, .size = size, .slot = -1};
    w->n_maps = 1;
    pantry_status status = pn_gguf_read(w, &err);
    if (status && strncmp(err.text, "fuzz.gguf: ", 11) != 0)
        abort();
    for (size_t i = 0; !status && i < w->n_meta; i++)
        read_meta(w, &w->meta[i]);
    for (size_t i = 0; !status && i < w->n_tensors; i++)
        read_tensor(w, &w->tensors[i]);
    /* Allocations must be in proportion to the file. */
    if (w->arena.used > 16 * size + 4096)
        abort();
    w->n_maps = 0; /* not ours to unmap */
    pn_weights_close(w);
    free(copy);
    return 0;
}

static void put_seed(struct gw *g, unsigned which)
{
    struct pn_rng rng = {.state = which};
    gw_init(g);
    g->version = which & 1 ? 3 : 2;
    if (which & 2) {
        gw_u32(g, "general.alignment", 64);
        g->alignment = 64;
    }
    gw_str(g, "general.architecture", "llama");
    gw_u8(g, "u8", 1);
    gw_i16(g, "i16", -1);
    gw_i64(g, "i64", -1);
    gw_f64(g, "f64", 1);
    gw_bool(g, "bool", true);
    gw_strings(g, "tokenizer.ggml.tokens", 3, (const char *const[]){"a", "bc", ""});
    gw_array(g, "scores", GW_FLOAT32, 3, (const float[]){1, 2, 3}, 4);
    gw_array(g, "flags", GW_BOOL, 3, (const unsigned char[]){1, 0, 1}, 1);
    gw_array(g, "longs", GW_INT64, 2, (const int64_t[]){1, -1}, 8);
    gw_str(g, "tokenizer.chat_template", "{{ x }}");
    if (which & 4)
        return;
    gw_random(g, "a", GW_F32, 1, (const int64_t[]){5}, 1, &rng);
    gw_random(g, "b", GW_F16, 4, (const int64_t[]){2, 1, 3, 4}, 1, &rng);
    gw_tensor(g, "c", GW_Q8_0, 2, (const int64_t[]){2, 32}, (const char[68]){1}, 68);
    if (which & 8)
        gw_tensor(g, "odd", 777, 2, (const int64_t[]){2, 32}, (const char[68]){1}, 68);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
    if (size >= 24 && memcmp(data, "GGUF", 4) == 0)
        return LLVMFuzzerMutate(data, size, max_size);
    struct gw g;
    struct pn_buf bytes;
    put_seed(&g, seed);
    gw_bytes(&g, &bytes);
    size = bytes.len < max_size ? bytes.len : max_size;
    memcpy(data, bytes.data, size);
    pn_buf_free(&bytes);
    gw_free(&g);
    return size;
}
