/* Models with the shape of a known one and random weights: pantry_model_synthetic.
 *
 * The weights are written to a temporary GGUF file (unlinked as soon as it is mapped) and loaded like any other, so a
 * measurement applies to real files. Random values for a few rows are repeated: speed does not depend on values, and
 * every byte still has its own address. */
#define _POSIX_C_SOURCE 200809L
#include "engine/handle.h"

#include "base/alloc.h"
#include "base/random.h"
#include "model/arch.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* From config.json of the published models. */
struct shape {
    const char *name;
    uint32_t n_layer, n_embd, n_head, n_head_kv, n_ff, n_vocab, n_context;
    float freq_base;
    bool tied; /* the embedding is the output matrix too */
};

static const struct shape shapes[] = {
    {"smollm2-135m", 30, 576, 9, 3, 1536, 49152, 8192, 100000, true},
    {"smollm2-360m", 32, 960, 15, 5, 2560, 49152, 8192, 100000, true},
    {"smollm2-1.7b", 24, 2048, 32, 32, 8192, 49152, 8192, 130000, true},
    {"llama3.2-1b", 16, 2048, 32, 8, 8192, 128256, 131072, 500000, true},
    {"llama3.2-3b", 28, 3072, 24, 8, 8192, 128256, 131072, 500000, true},
    {"llama3.1-8b", 32, 4096, 32, 8, 14336, 128256, 131072, 500000, false},
};

/* The types of a file's matrices. `more` is for half of the value and down matrices, as in llama.cpp's *_M files. */
struct mix {
    const char *name;
    pn_type base, more, output;
};

static const struct mix mixes[] = {
    {"f32", PN_TYPE_F32, PN_TYPE_F32, PN_TYPE_F32},       {"f16", PN_TYPE_F16, PN_TYPE_F16, PN_TYPE_F16},
    {"bf16", PN_TYPE_BF16, PN_TYPE_BF16, PN_TYPE_BF16},   {"q8_0", PN_TYPE_Q8_0, PN_TYPE_Q8_0, PN_TYPE_Q8_0},
    {"q4_0", PN_TYPE_Q4_0, PN_TYPE_Q4_0, PN_TYPE_Q6_K},   {"q4_1", PN_TYPE_Q4_1, PN_TYPE_Q4_1, PN_TYPE_Q6_K},
    {"q5_0", PN_TYPE_Q5_0, PN_TYPE_Q5_0, PN_TYPE_Q6_K},   {"q5_1", PN_TYPE_Q5_1, PN_TYPE_Q5_1, PN_TYPE_Q6_K},
    {"q4_k_m", PN_TYPE_Q4_K, PN_TYPE_Q6_K, PN_TYPE_Q6_K}, {"q5_k_m", PN_TYPE_Q5_K, PN_TYPE_Q6_K, PN_TYPE_Q6_K},
    {"q6_k", PN_TYPE_Q6_K, PN_TYPE_Q6_K, PN_TYPE_Q6_K},
};

enum { ALIGNMENT = 32, SAMPLE_ROWS = 16, MAX_NAME = 64 };

struct tensor {
    char name[MAX_NAME];
    pn_type type;
    uint32_t rows, row; /* rows 0: a vector */
    uint64_t offset, bytes;
};

struct writer {
    struct pn_buf head;
    uint64_t n_meta;
    struct tensor *tensor;
    size_t n, cap;
    uint64_t end; /* of the tensors so far */
    bool failed;
};

/* ---- the head of the file ---- */

static void put_u32(struct pn_buf *buf, uint32_t v)
{
    pn_buf_append(buf, &v, sizeof v);
}

static void put_u64(struct pn_buf *buf, uint64_t v)
{
    pn_buf_append(buf, &v, sizeof v);
}

static void put_text(struct pn_buf *buf, const char *text)
{
    put_u64(buf, strlen(text));
    pn_buf_puts(buf, text);
}

static void meta_text(struct writer *w, const char *key, const char *value)
{
    put_text(&w->head, key);
    put_u32(&w->head, 8);
    put_text(&w->head, value);
    w->n_meta++;
}

static void meta_u32(struct writer *w, const char *arch, const char *key, uint32_t value)
{
    char full[MAX_NAME];
    snprintf(full, sizeof full, "%s.%s", arch, key);
    put_text(&w->head, full);
    put_u32(&w->head, 4);
    put_u32(&w->head, value);
    w->n_meta++;
}

static void meta_f32(struct writer *w, const char *arch, const char *key, float value)
{
    char full[MAX_NAME];
    snprintf(full, sizeof full, "%s.%s", arch, key);
    put_text(&w->head, full);
    put_u32(&w->head, 6);
    pn_buf_append(&w->head, &value, sizeof value);
    w->n_meta++;
}

/* ---- the tensors ---- */

/* Rows that are not whole super-blocks get the nearest type with small blocks. */
static pn_type fit(pn_type type, uint32_t row)
{
    if (row % pn_type_info(type)->block == 0)
        return type;
    return type == PN_TYPE_Q4_K ? PN_TYPE_Q5_0 : type == PN_TYPE_Q5_K ? PN_TYPE_Q5_1 : PN_TYPE_Q8_0;
}

static void add(struct writer *w, const char *name, pn_type type, uint32_t rows, uint32_t row)
{
    struct tensor t = {.type = fit(type, row), .rows = rows, .row = row, .offset = w->end};
    snprintf(t.name, sizeof t.name, "%s", name);
    t.bytes = (uint64_t)pn_type_row_bytes(t.type, row) * (rows ? rows : 1);
    w->end += (t.bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (!pn_vec_reserve((void **)(void *)&w->tensor, &w->cap, w->n + 1, sizeof *w->tensor))
        w->failed = true;
    else
        w->tensor[w->n++] = t;
}

static void add_layer(struct writer *w, const struct shape *s, const struct mix *mix, uint32_t layer)
{
    uint32_t eighth = s->n_layer / 8, kv = s->n_embd / s->n_head * s->n_head_kv;
    bool more = layer < eighth || layer >= 7 * s->n_layer / 8 || (layer - eighth) % 3 == 2;
    pn_type careful = more ? mix->more : mix->base;
    const struct {
        const char *name;
        pn_type type;
        uint32_t rows, row;
    } parts[] = {
        {"attn_norm", PN_TYPE_F32, 0, s->n_embd},
        {"attn_q", mix->base, s->n_embd, s->n_embd},
        {"attn_k", mix->base, kv, s->n_embd},
        {"attn_v", careful, kv, s->n_embd},
        {"attn_output", mix->base, s->n_embd, s->n_embd},
        {"ffn_norm", PN_TYPE_F32, 0, s->n_embd},
        {"ffn_gate", mix->base, s->n_ff, s->n_embd},
        {"ffn_up", mix->base, s->n_ff, s->n_embd},
        {"ffn_down", careful, s->n_embd, s->n_ff},
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char name[MAX_NAME];
        snprintf(name, sizeof name, "blk.%u.%s.weight", layer, parts[i].name);
        add(w, name, parts[i].type, parts[i].rows, parts[i].row);
    }
}

static void describe(struct writer *w, const char *spec, const struct shape *s, const struct mix *mix)
{
    meta_text(w, "general.architecture", pn_arch_plain);
    meta_text(w, "general.name", spec);
    meta_u32(w, pn_arch_plain, "block_count", s->n_layer);
    meta_u32(w, pn_arch_plain, "context_length", s->n_context);
    meta_u32(w, pn_arch_plain, "embedding_length", s->n_embd);
    meta_u32(w, pn_arch_plain, "feed_forward_length", s->n_ff);
    meta_u32(w, pn_arch_plain, "attention.head_count", s->n_head);
    meta_u32(w, pn_arch_plain, "attention.head_count_kv", s->n_head_kv);
    meta_f32(w, pn_arch_plain, "attention.layer_norm_rms_epsilon", 1e-5f);
    meta_f32(w, pn_arch_plain, "rope.freq_base", s->freq_base);
    add(w, "token_embd.weight", s->tied ? mix->output : mix->base, s->n_vocab, s->n_embd);
    add(w, "output_norm.weight", PN_TYPE_F32, 0, s->n_embd);
    if (!s->tied)
        add(w, "output.weight", mix->output, s->n_vocab, s->n_embd);
    for (uint32_t i = 0; i < s->n_layer; i++)
        add_layer(w, s, mix, i);
    for (size_t i = 0; i < w->n; i++) {
        const struct tensor *t = &w->tensor[i];
        put_text(&w->head, t->name);
        put_u32(&w->head, t->rows ? 2 : 1);
        put_u64(&w->head, t->row);
        if (t->rows)
            put_u64(&w->head, t->rows);
        put_u32(&w->head, (uint32_t)pn_type_info(t->type)->gguf);
        put_u64(&w->head, t->offset);
    }
}

/* ---- the data ---- */

static void write_padding(FILE *file, uint64_t written)
{
    static const char zeros[ALIGNMENT];
    fwrite(zeros, 1, (size_t)((ALIGNMENT - written % ALIGNMENT) % ALIGNMENT), file);
}

/* Values with mean 0 and variance 1 / n_in, which keeps activations in range; norms are 1. */
static bool write_tensor(FILE *file, const struct tensor *t, struct pn_rng *rng)
{
    size_t row_bytes = pn_type_row_bytes(t->type, t->row);
    uint32_t n_sample = !t->rows ? 1 : t->rows < SAMPLE_ROWS ? t->rows : SAMPLE_ROWS;
    float *values = calloc(t->row, sizeof *values), width = sqrtf(12.0f / (float)t->row);
    char *sample = calloc(n_sample, row_bytes);
    bool ok = values && sample;
    for (uint32_t r = 0; ok && r < n_sample; r++) {
        for (uint32_t i = 0; i < t->row; i++)
            values[i] = t->rows ? (pn_rng_float(rng) - 0.5f) * width : 1.0f;
        pn_type_info(t->type)->encode(values, sample + r * row_bytes, t->row);
    }
    for (uint64_t left = t->bytes; ok && left;) {
        size_t part = left < n_sample * row_bytes ? (size_t)left : n_sample * row_bytes;
        ok = fwrite(sample, 1, part, file) == part;
        left -= part;
    }
    write_padding(file, t->bytes);
    free(sample);
    free(values);
    return ok;
}

static pantry_status write_file(FILE *file, const char *path, const struct writer *w, struct pantry_error *err)
{
    struct pn_rng rng = {1};
    const uint64_t counts[] = {w->n, w->n_meta};
    const uint32_t version = 3;
    errno = 0;
    fwrite("GGUF", 1, 4, file);
    fwrite(&version, sizeof version, 1, file);
    fwrite(counts, sizeof counts, 1, file);
    fwrite(w->head.data, 1, w->head.len, file);
    write_padding(file, 24 + w->head.len);
    bool ok = true;
    for (size_t i = 0; ok && i < w->n; i++)
        ok = write_tensor(file, &w->tensor[i], &rng);
    if (!ok || fflush(file) != 0 || ferror(file))
        return pn_fail(err, PANTRY_IO,
                       "%s: cannot write %llu MB of random weights: %s; set TMPDIR to use another folder", path,
                       (unsigned long long)(w->end >> 20), errno ? strerror(errno) : "out of memory");
    return PANTRY_OK;
}

/* ---- the public function ---- */

static pantry_status unknown(const char *spec, struct pantry_error *err)
{
    struct pn_buf list = {0};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        pn_buf_printf(&list, "%s%s", i ? ", " : "", shapes[i].name);
    pn_buf_puts(&list, "; types: ");
    for (size_t i = 0; i < sizeof mixes / sizeof *mixes; i++)
        pn_buf_printf(&list, "%s%s", i ? ", " : "", mixes[i].name);
    pantry_status status =
        pn_fail(err, PANTRY_NOT_FOUND,
                "unknown synthetic model \"%.60s\"; use SHAPE:TYPE, such as llama3.2-1b:q4_k_m; shapes: %s", spec,
                list.data ? list.data : "");
    pn_buf_free(&list);
    return status;
}

static pantry_status parse_spec(const char *spec, const struct shape **shape, const struct mix **mix,
                                struct pantry_error *err)
{
    const char *colon = strchr(spec, ':');
    size_t len = colon ? (size_t)(colon - spec) : 0;
    *shape = NULL;
    *mix = NULL;
    for (size_t i = 0; colon && i < sizeof shapes / sizeof *shapes; i++)
        if (strlen(shapes[i].name) == len && memcmp(shapes[i].name, spec, len) == 0)
            *shape = &shapes[i];
    for (size_t i = 0; colon && i < sizeof mixes / sizeof *mixes; i++)
        if (strcmp(mixes[i].name, colon + 1) == 0)
            *mix = &mixes[i];
    return *shape && *mix ? PANTRY_OK : unknown(spec, err);
}

pantry_status pantry_model_synthetic(const char *spec, const struct pantry_model_options *options, pantry_model **model,
                                     struct pantry_error *err)
{
    struct writer w = {0};
    const struct shape *shape;
    const struct mix *mix;
    const char *folder = getenv("TMPDIR");
    struct pn_buf path = {0};
    FILE *file = NULL;
    int fd = -1;
    *model = NULL;
    pantry_status status = parse_spec(spec, &shape, &mix, err);
    if (status)
        return status;
    describe(&w, spec, shape, mix);
    pn_buf_printf(&path, "%s/pantry-synthetic-XXXXXX", folder && *folder ? folder : "/tmp");
    if (w.failed || w.head.failed || path.failed) {
        status = pn_no_memory(err, spec);
        goto done;
    }
    if ((fd = mkstemp(path.data)) < 0 || !(file = fdopen(fd, "wb"))) {
        status = pn_fail(err, PANTRY_IO, "%s: %s", path.data, strerror(errno));
        goto done;
    }
    if (!(status = write_file(file, path.data, &w, err)))
        status = pantry_model_load(path.data, options, model, err);
done:
    if (fd >= 0)
        unlink(path.data);
    if (file)
        fclose(file);
    else if (fd >= 0)
        close(fd);
    pn_buf_free(&path);
    pn_buf_free(&w.head);
    free(w.tensor);
    return status;
}
