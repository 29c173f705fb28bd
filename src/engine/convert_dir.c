/* Models as directories of Hugging Face or MLX: see convert_dir.h.
 *
 * The directory is made beside its name and renamed when it is complete. Matrices that were quantized keep their
 * numbers where MLX has them: Q4_0 is an affine group whose bias is -8 scales, and so on. */
#define _POSIX_C_SOURCE 200809L
#include "engine/convert_dir.h"

#include "format/hfdir.h"
#include "format/safetensors_write.h"
#include "model/hf/hf.h"
#include "model/hparams.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- storage ---- */

enum mode { PLAIN, AFFINE, MXFP4, NVFP4, MXFP8 };

static const char *const mode_names[] = {[AFFINE] = "affine", [MXFP4] = "mxfp4", [NVFP4] = "nvfp4", [MXFP8] = "mxfp8"};

/* How an item is stored. */
struct storage {
    enum mode mode;
    int bits, group;
    enum pn_st_type scale; /* of scales and biases; of plain numbers: theirs */
    bool exact;            /* codes are taken over, not searched for */
};

static enum pn_st_type float_type(pn_type type)
{
    return type == PN_TYPE_BF16 ? PN_ST_BF16 : type == PN_TYPE_F32 ? PN_ST_F32 : PN_ST_F16;
}

/* Types of GGUF files and of MLX whose numbers an MLX weight holds. */
static bool exact_storage(const struct pn_weight *w, struct storage *s)
{
    static const struct {
        pn_type type;
        enum mode mode;
        int bits, group;
    } known[] = {
        {PN_TYPE_Q4_0, AFFINE, 4, 32},   {PN_TYPE_Q4_1, AFFINE, 4, 32},   {PN_TYPE_Q5_0, AFFINE, 5, 32},
        {PN_TYPE_Q5_1, AFFINE, 5, 32},   {PN_TYPE_Q8_0, AFFINE, 8, 32},   {PN_TYPE_MXFP4, MXFP4, 4, 32},
        {PN_TYPE_NVFP4, NVFP4, 4, 16},   {PN_TYPE_AFFINE2, AFFINE, 2, 0}, {PN_TYPE_AFFINE3, AFFINE, 3, 0},
        {PN_TYPE_AFFINE4, AFFINE, 4, 0}, {PN_TYPE_AFFINE5, AFFINE, 5, 0}, {PN_TYPE_AFFINE6, AFFINE, 6, 0},
        {PN_TYPE_AFFINE8, AFFINE, 8, 0}, {PN_TYPE_FP4_MX, MXFP4, 4, 32},  {PN_TYPE_FP4_NV, NVFP4, 4, 16},
        {PN_TYPE_FP8_MX, MXFP8, 8, 32},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].type == w->type) {
            int group = known[i].group ? known[i].group : w->group;
            *s = (struct storage){known[i].mode, known[i].bits, group, PN_ST_U8, true};
            if (s->mode == AFFINE)
                s->scale = w->n_planes > 1 ? float_type(w->plane[PN_PLANE_SCALES].type) : PN_ST_F16;
            return (group == 16 || group == 32 || group == 64 || group == 128) && w->n_cols % group == 0 &&
                   w->n_cols % 32 == 0;
        }
    return false;
}

/* "affine4-g64": bits and group. */
static bool parse_affine(const char *type, struct storage *s)
{
    int bits = 0, group = 64, end = 0;
    if (sscanf(type, "affine%d%n", &bits, &end) != 1)
        return false;
    if (type[end] && (sscanf(type + end, "-g%d", &group) != 1))
        return false;
    *s = (struct storage){AFFINE, bits, group, PN_ST_F16, false};
    return (group == 32 || group == 64 || group == 128) &&
           (bits == 2 || bits == 3 || bits == 4 || bits == 5 || bits == 6 || bits == 8);
}

static bool parse_plain(const char *type, struct storage *s)
{
    static const struct {
        const char *name;
        enum pn_st_type type;
    } known[] = {{"f16", PN_ST_F16}, {"bf16", PN_ST_BF16}, {"f32", PN_ST_F32}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i].name, type) == 0) {
            *s = (struct storage){.mode = PLAIN, .scale = known[i].type};
            return true;
        }
    return false;
}

/* The storage that the user asks for; plain numbers without a type keep theirs. */
static pantry_status asked_storage(const struct pn_dir *d, struct storage *s, struct pantry_error *err)
{
    const char *type = d->c->options.type;
    *s = (struct storage){.mode = PLAIN, .scale = PN_ST_TYPE_COUNT};
    if (!type || parse_plain(type, s) || (d->mlx && parse_affine(type, s)))
        return PANTRY_OK;
    return pn_fail(err, PANTRY_INVALID, "type: \"%.40s\" is not a type of such directories (allowed: f16, bf16, f32%s)",
                   type, d->mlx ? ", and affine2 to affine8, also with -g32, -g64, -g128" : "");
}

/* Small, sensitive, and not quantizable in every model of mlx_lm. */
static bool is_router(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot && (strcmp(dot, ".gate") == 0 || strcmp(dot, ".router") == 0 || strcmp(dot, ".shared_expert_gate") == 0);
}

static struct storage storage_of(const struct pn_dir *d, const struct storage *asked, const struct pn_dir_item *item)
{
    struct storage s;
    pn_type type = item->weight.type;
    bool floats = type == PN_TYPE_F32 || type == PN_TYPE_F16 || type == PN_TYPE_BF16;
    if (d->mlx && item->matrix && exact_storage(&item->weight, &s) && item->add == 0.0f)
        return s;
    if (asked->mode != PLAIN && item->matrix && !is_router(item->name) && item->weight.n_cols % asked->group == 0)
        return *asked;
    s = (struct storage){.mode = PLAIN, .scale = asked->scale};
    if (asked->mode != PLAIN || s.scale == PN_ST_TYPE_COUNT)
        s.scale = floats ? float_type(type) : PN_ST_F16;
    if (!item->matrix && floats && asked->scale == PN_ST_TYPE_COUNT)
        s.scale = float_type(type);
    return s;
}

/* ---- rows ---- */

/* What a row is made of, for all planes. */
struct row {
    float *values;
    uint8_t *codes; /* a value each */
    float *scales, *biases;
    unsigned char *out, *scale_bytes; /* of MXFP4 and NVFP4 */
};

static void put_float(unsigned char *to, enum pn_st_type type, float value)
{
    if (type == PN_ST_F32) {
        memcpy(to, &value, sizeof value);
        return;
    }
    uint16_t h = type == PN_ST_BF16 ? pn_f32_to_bf16(value) : pn_f32_to_f16(value);
    memcpy(to, &h, sizeof h);
}

/* A scale and a bias as they will be read. */
static float stored(enum pn_st_type type, float value)
{
    return type == PN_ST_F32    ? value
           : type == PN_ST_BF16 ? pn_bf16_to_f32(pn_f32_to_bf16(value))
                                : pn_f16_to_f32(pn_f32_to_f16(value));
}

/* The levels of a group, between its least and its greatest value; zero is one of them, and so is the end that is
 * farther from it. */
static void search_group(const float *x, int n, const struct storage *s, uint8_t *codes, float *scale, float *bias)
{
    float least = x[0], most = x[0], top = (float)((1 << s->bits) - 1);
    for (int i = 1; i < n; i++) {
        least = x[i] < least ? x[i] : least;
        most = x[i] > most ? x[i] : most;
    }
    bool down = fabsf(least) > fabsf(most);
    float edge = down ? least : most, step = (most - least) / top;
    step = step > 1e-7f ? step : 1e-7f;
    step = down ? step : -step;
    float at = roundf(edge / step);
    *scale = stored(s->scale, at != 0.0f ? edge / at : step);
    *bias = stored(s->scale, at != 0.0f ? edge : 0.0f);
    for (int i = 0; i < n; i++) {
        float level = *scale != 0.0f ? roundf((x[i] - *bias) / *scale) : 0.0f;
        codes[i] = (uint8_t)(level < 0 ? 0 : level > top ? top : level);
    }
}

/* Codes of blocks of 32: two halves per byte, and the fifth bits apart. */
static void block_codes(const unsigned char *q, const unsigned char *high, uint8_t *codes)
{
    for (int j = 0; j < 32; j++) {
        int low = q[j % 16] >> (j / 16 * 4) & 15;
        codes[j] = (uint8_t)(low | (high ? (high[j / 8] >> (j % 8) & 1) << 4 : 0));
    }
}

static float half_at(const unsigned char *at)
{
    uint16_t h;
    memcpy(&h, at, sizeof h);
    return pn_f16_to_f32(h);
}

static void gguf_row(const struct pn_weight *w, const unsigned char *b, struct row *r)
{
    bool five = w->type == PN_TYPE_Q5_0 || w->type == PN_TYPE_Q5_1;
    bool bias = w->type == PN_TYPE_Q4_1 || w->type == PN_TYPE_Q5_1;
    size_t bytes = pn_type_info(w->type)->bytes;
    for (int64_t g = 0; g < w->n_cols / 32; g++, b += bytes) {
        const unsigned char *q = b + (bias ? 4 : 2);
        r->scales[g] = half_at(b);
        if (w->type == PN_TYPE_Q8_0) {
            r->biases[g] = -128 * r->scales[g];
            for (int j = 0; j < 32; j++)
                r->codes[32 * g + j] = (uint8_t)(q[j] ^ 0x80);
            continue;
        }
        r->biases[g] = bias ? half_at(b + 2) : (five ? -16 : -8) * r->scales[g];
        block_codes(five ? q + 4 : q, five ? q : NULL, r->codes + 32 * g);
    }
}

/* Codes of four bits in halves of `half` values, as GGUF files pair them. */
static void unpair(const unsigned char *q, uint8_t *codes, int half)
{
    for (int j = 0; j < half; j++) {
        codes[j] = q[j] & 15;
        codes[j + half] = q[j] >> 4;
    }
}

static void small_floats(const struct pn_weight *w, const unsigned char *b, struct row *r)
{
    if (w->type == PN_TYPE_MXFP4)
        for (int64_t g = 0; g < w->n_cols / 32; g++, b += 17) {
            r->scale_bytes[g] = b[0];
            unpair(b + 1, r->codes + 32 * g, 16);
        }
    else
        for (int64_t i = 0; i < w->n_cols / 64; i++, b += 36)
            for (int s = 0; s < 4; s++) {
                r->scale_bytes[4 * i + s] = b[s];
                unpair(b + 4 + 8 * s, r->codes + 64 * i + 16 * s, 8);
            }
}

/* One stream of bits, low bits first. */
static void pack(const uint8_t *codes, int64_t n, int bits, unsigned char *out)
{
    uint32_t stream = 0;
    int have = 0;
    for (int64_t i = 0; i < n; i++) {
        stream |= (uint32_t)codes[i] << have;
        for (have += bits; have >= 8; have -= 8, stream >>= 8)
            *out++ = (unsigned char)stream;
    }
}

/* ---- tensors ---- */

enum { WRITE_BYTES = 4 << 20 };
enum part { VALUES, SCALES, BIASES };

static const char *const part_ends[] = {".weight", ".scales", ".biases"};

static int n_parts(const struct storage *s)
{
    return s->mode == PLAIN ? 1 : s->mode == AFFINE ? 3 : 2;
}

static size_t part_bytes(const struct pn_dir_item *item, const struct storage *s, enum part part)
{
    size_t n = (size_t)item->weight.n_cols;
    if (s->mode == PLAIN)
        return n * pn_st_type_bits(s->scale) / 8;
    return part == VALUES ? n * (size_t)s->bits / 8 : n / (size_t)s->group * pn_st_type_bits(s->scale) / 8;
}

static pantry_status add_parts(struct pn_st_writer *out, const struct pn_dir_item *item, const struct storage *s,
                               struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    for (int part = 0; !status && part < n_parts(s); part++) {
        char name[1200];
        int64_t shape[PN_MAX_DIMS];
        memcpy(shape, item->shape, sizeof shape);
        if (s->mode != PLAIN)
            shape[item->n_dims - 1] =
                part == VALUES ? shape[item->n_dims - 1] * s->bits / 32 : shape[item->n_dims - 1] / s->group;
        snprintf(name, sizeof name, "%s%s", item->name, item->module ? part_ends[part] : "");
        status =
            pn_st_add(out, name, s->mode != PLAIN && part == VALUES ? PN_ST_U32 : s->scale, item->n_dims, shape, err);
    }
    return status;
}

static bool row_new(const struct pn_dir_item *item, struct row *r)
{
    size_t n = (size_t)item->weight.n_cols + 64;
    *r = (struct row){calloc(n, sizeof(float)), calloc(n, 1), calloc(n, sizeof(float)),
                      calloc(n, sizeof(float)), calloc(n, 4), calloc(n, 1)};
    return r->values && r->codes && r->scales && r->biases && r->out && r->scale_bytes;
}

static void row_free(struct row *r)
{
    free(r->values);
    free(r->codes);
    free(r->scales);
    free(r->biases);
    free(r->out);
    free(r->scale_bytes);
}

/* The bytes of a row's part, in r->out or in place. */
static const void *make_part(const struct pn_dir_item *item, const struct storage *s, enum part part, int64_t mat,
                             int64_t row, struct row *r)
{
    const struct pn_weight *w = &item->weight;
    int64_t n = w->n_cols;
    if (s->exact && w->n_planes > 1)
        return pn_weight_at(w, (int)part, mat, row);
    if (s->mode == PLAIN || !s->exact) {
        pn_weight_decode(w, mat, row, 0, n, r->values);
        for (int64_t i = 0; i < n; i++)
            r->values[i] += item->add;
    }
    if (s->mode == PLAIN) {
        size_t size = pn_st_type_bits(s->scale) / 8;
        for (int64_t i = 0; i < n; i++)
            put_float(r->out + (size_t)i * size, s->scale, r->values[i]);
        return r->out;
    }
    int64_t groups = n / s->group;
    if (!s->exact)
        for (int64_t g = 0; g < groups; g++)
            search_group(r->values + g * s->group, s->group, s, r->codes + g * s->group, &r->scales[g], &r->biases[g]);
    else if (s->mode == AFFINE)
        gguf_row(w, pn_weight_at(w, 0, mat, row), r);
    else
        small_floats(w, pn_weight_at(w, 0, mat, row), r);
    if (part == VALUES) {
        pack(r->codes, n, s->bits, r->out);
        return r->out;
    }
    if (s->mode != AFFINE)
        return r->scale_bytes;
    size_t size = pn_st_type_bits(s->scale) / 8;
    for (int64_t g = 0; g < groups; g++)
        put_float(r->out + (size_t)g * size, s->scale, (part == SCALES ? r->scales : r->biases)[g]);
    return r->out;
}

/* The input's row for a row of the output: pairs become halves. */
static int64_t row_from(const struct pn_dir_item *item, int64_t row)
{
    int64_t dim = item->pair_dim, i = dim ? row % dim : 0;
    return dim ? row - i + i % (dim / 2) * 2 + i / (dim / 2) : row;
}

static pantry_status write_parts(struct pn_st_writer *out, const struct pn_dir_item *item, const struct storage *s,
                                 struct pantry_error *err)
{
    struct row r;
    const struct pn_weight *w = &item->weight;
    struct pn_buf rows = {0}; /* few large writes are faster */
    pantry_status status = row_new(item, &r) ? PANTRY_OK : pn_no_memory(err, item->name);
    for (int part = 0; !status && part < n_parts(s); part++) {
        size_t bytes = part_bytes(item, s, (enum part)part);
        for (int64_t m = 0; !status && m < w->n_mat; m++)
            for (int64_t row = 0; !status && row < w->n_rows; row++) {
                pn_buf_append(&rows, make_part(item, s, (enum part)part, m, row_from(item, row), &r), bytes);
                if (rows.len < WRITE_BYTES && !(m + 1 == w->n_mat && row + 1 == w->n_rows))
                    continue;
                status = rows.failed ? pn_no_memory(err, item->name) : pn_st_write(out, rows.data, rows.len, err);
                pn_buf_clear(&rows);
            }
    }
    pn_buf_free(&rows);
    row_free(&r);
    return status;
}

/* ---- items of a directory ---- */

static pantry_status add_item(struct pn_hf *hf, struct pn_dir *d, const struct pn_st_tensor *t,
                              struct pantry_error *err)
{
    struct pn_hf_matrix m;
    const char *leaf;
    size_t n = pn_hf_module(t, &leaf);
    struct pn_dir_item item = {.module = strcmp(leaf, "weight") == 0};
    if (!pn_hf_matrix(hf, t, &m))
        return hf->status;
    item.weight = *m.weight;
    item.n_dims = t->n_dims == 0 ? 0 : m.n_dims;
    memcpy(item.shape, m.shape, sizeof item.shape);
    item.matrix = item.module && m.n_dims > 1 && !strstr(t->name, "conv") && m.weight->n_cols % 32 == 0;
    item.name = item.module ? strndup(t->name, n) : strdup(t->name);
    if (!item.name || !pn_vec_push(&d->items, item)) {
        free(item.name);
        return pn_no_memory(err, t->name);
    }
    return PANTRY_OK;
}

static pantry_status from_directory(struct pn_dir *d, struct pantry_error *err)
{
    struct pn_weights *w = d->c->w;
    struct pn_arch arch = *w->arch;
    struct pn_hf hf = {.w = w, .dir = w->hf, .err = err, .arch = &arch};
    pantry_status status = PANTRY_OK;
    pn_hf_begin(&hf);
    for (size_t i = 0; !status && !hf.status && i < w->hf->tensors.len; i++)
        if (!pn_hf_is_companion(&hf, &w->hf->tensors.data[i]))
            status = add_item(&hf, d, &w->hf->tensors.data[i], err);
    json_decref(hf.config);
    d->config = json_deep_copy(w->hf->config);
    if (!d->config)
        return pn_no_memory(err, "config.json");
    json_object_del(d->config, "quantization");
    json_object_del(d->config, "quantization_config");
    return status ? status : hf.status;
}

/* Experts in separate tensors become the stacks that MLX reads: "mlp.experts.3.up_proj" a part of
 * "mlp.switch_mlp.up_proj". Others keep their names. */
static bool expert_of(const char *name, char *stack, size_t size, int *expert)
{
    static const char *const short_names[][2] = {{"w1", "gate_proj"}, {"w2", "down_proj"}, {"w3", "up_proj"}};
    const char *at = strstr(name, ".experts.");
    int end = 0;
    if (!at || sscanf(at, ".experts.%d.%n", expert, &end) != 1 || !end)
        return false;
    const char *leaf = at + end;
    for (size_t i = 0; i < sizeof short_names / sizeof *short_names; i++)
        if (strcmp(leaf, short_names[i][0]) == 0)
            leaf = short_names[i][1];
    snprintf(stack, size, "%.*s.switch_mlp.%s", (int)(at - name), name, leaf);
    return true;
}

static pantry_status stack_experts(struct pn_dir *d, struct pantry_error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < d->items.len; i++) {
        struct pn_dir_item *item = &d->items.data[i];
        char stack[1200];
        int expert = 0;
        if (!item->module || item->n_dims != 2 || !expert_of(item->name, stack, sizeof stack, &expert)) {
            d->items.data[n++] = *item;
            continue;
        }
        size_t k = 0;
        while (k < n && strcmp(d->items.data[k].name, stack) != 0)
            k++;
        struct pn_dir_item *to = &d->items.data[k];
        if (k == n) { /* the expert that comes first; others may follow in any order */
            struct pn_dir_item made = *item;
            made.name = strdup(stack);
            made.n_dims = 3;
            memcpy(made.shape, (int64_t[]){0, item->shape[0], item->shape[1], 1}, sizeof made.shape);
            made.weight.n_mat = 0;
            made.weight.mats =
                pn_arena_array(&d->arena, (size_t)PN_MAX_LAYERS * (size_t)item->weight.n_planes, sizeof(void *));
            if (!made.name || !made.weight.mats) {
                free(made.name);
                made.name = item->name; /* freed with the others */
                d->items.data[n] = made;
                return pn_no_memory(err, stack);
            }
            char *old = item->name;
            struct pn_weight from = item->weight;
            d->items.data[n++] = made;
            to = &d->items.data[k];
            free(old);
            const void **mats = (const void **)(uintptr_t)to->weight.mats;
            for (int p = 0; expert < PN_MAX_LAYERS && p < from.n_planes; p++)
                mats[expert * from.n_planes + p] = from.plane[p].data;
        } else {
            const void **mats = (const void **)(uintptr_t)to->weight.mats;
            for (int p = 0; expert < PN_MAX_LAYERS && p < item->weight.n_planes; p++)
                mats[expert * item->weight.n_planes + p] = item->weight.plane[p].data;
            free(item->name);
        }
        to->weight.n_mat += 1;
        to->shape[0] = to->weight.n_mat;
    }
    d->items.len = n;
    return PANTRY_OK;
}

/* ---- the folder ---- */

static pantry_status copy_file(const char *from, const char *to, const char *name, struct pantry_error *err)
{
    char path[4096];
    char *data;
    size_t n;
    snprintf(path, sizeof path, "%s/%s", from, name);
    if (access(path, F_OK) != 0)
        return PANTRY_OK;
    pantry_status status = pn_file_read(path, (size_t)1 << 30, &data, &n, err);
    if (status)
        return status;
    snprintf(path, sizeof path, "%s/%s", to, name);
    FILE *f = fopen(path, "wb");
    bool ok = f && fwrite(data, 1, n, f) == n;
    int why = errno;
    ok = f && fclose(f) == 0 && ok;
    free(data);
    return ok ? PANTRY_OK : pn_fail(err, PANTRY_IO, "%s: cannot be written: %s", path, strerror(why));
}

static pantry_status put_texts(struct pn_dir *d, const char *folder, struct pantry_error *err)
{
    static const char *const names[] = {"tokenizer.json",
                                        "tokenizer.model",
                                        "tokenizer_config.json",
                                        "special_tokens_map.json",
                                        "generation_config.json",
                                        "chat_template.jinja",
                                        "vocab.json",
                                        "merges.txt",
                                        "added_tokens.json"};
    pantry_status status = pn_dir_put(folder, "config.json", d->config, NULL, err);
    if (!status && !d->c->w->hf)
        return pn_dir_tokenizer(d->c, folder, err);
    for (size_t i = 0; !status && i < sizeof names / sizeof *names; i++)
        status = copy_file(d->c->w->hf->dir, folder, names[i], err);
    return status;
}

/* What MLX needs to know of the storage: the first kind for all, others by name. */
static pantry_status put_quantization(struct pn_dir *d, const struct storage *storage, struct pantry_error *err)
{
    json_t *all = NULL;
    const struct storage *usual = NULL;
    for (size_t i = 0; i < d->items.len; i++) {
        const struct storage *s = &storage[i];
        if (s->mode == PLAIN)
            continue;
        json_t *one =
            json_pack("{s:i, s:i, s:s}", "group_size", s->group, "bits", s->bits, "mode", mode_names[s->mode]);
        if (!one)
            return pn_no_memory(err, "config.json");
        if (!usual) {
            usual = s;
            all = one;
        } else if (usual->mode == s->mode && usual->bits == s->bits && usual->group == s->group) {
            json_decref(one);
        } else {
            json_object_set_new(all, d->items.data[i].name, one);
        }
    }
    if (!all)
        return PANTRY_OK;
    bool ok = json_object_set(d->config, "quantization", all) == 0 &&
              json_object_set_new(d->config, "quantization_config", all) == 0;
    return ok ? PANTRY_OK : pn_no_memory(err, "config.json");
}

static void remove_folder(const char *folder)
{
    DIR *dir = opendir(folder);
    for (const struct dirent *e; dir && (e = readdir(dir));) {
        char path[4400];
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        unlink(path);
    }
    if (dir)
        closedir(dir);
    rmdir(folder);
}

static pantry_status write_tensors(struct pn_dir *d, const struct storage *storage, const char *folder,
                                   struct pantry_error *err)
{
    char path[4096];
    struct pn_st_writer *out = NULL;
    struct pn_convert *c = d->c;
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    pantry_status status = pn_st_writer_new(
        path, &(struct pn_st_options){.split_size = c->options.split_size, .format = d->mlx ? "mlx" : "pt"}, &out, err);
    for (size_t i = 0; !status && i < d->items.len; i++)
        status = add_parts(out, &d->items.data[i], &storage[i], err);
    if (!status)
        status = pn_st_begin(out, err);
    if (!status)
        c->result.bytes_out = pn_st_total(out);
    for (size_t i = 0; !status && i < d->items.len; i++) {
        const struct pn_dir_item *item = &d->items.data[i];
        uint64_t bytes = 0;
        status = write_parts(out, item, &storage[i], err);
        for (int p = 0; p < n_parts(&storage[i]); p++)
            bytes += part_bytes(item, &storage[i], (enum part)p) * (uint64_t)(item->weight.n_mat * item->weight.n_rows);
        if (!status)
            status = pn_convert_report(c, item->name, pn_type_info(item->weight.type)->name,
                                       storage[i].mode == PLAIN ? pn_st_type_name(storage[i].scale)
                                                                : mode_names[storage[i].mode],
                                       i, d->items.len, bytes, err);
    }
    if (!status && pn_weights_damaged(c->w))
        status = pn_fail(err, PANTRY_IO, "%s: was cut short while it was read", c->in);
    if (!status)
        status = pn_st_finish(out, err);
    pn_st_writer_free(out);
    return status;
}

/* A linear extension by 1 changes nothing. */
static enum pn_rope_scaling scaling_of(const struct pn_rope_hparams *rope)
{
    bool none = rope->scaling == PN_ROPE_SCALING_LINEAR && (rope->factor == 1.0f || rope->factor == 0.0f);
    return none ? PN_ROPE_SCALING_NONE : rope->scaling;
}

/* Reads the directory of a GGUF file back: the model must be the same one. */
static pantry_status check_back(const struct pn_convert *c, const char *folder, struct pantry_error *err)
{
    struct pn_weights *back = NULL;
    struct pn_arena arena = {0};
    struct pn_hparams a = {0}, b = {0};
    struct pn_arch row = {0};
    struct pn_str name = {0};
    pantry_status status = pn_model_open(folder, &back, err);
    pn_meta_str(c->w, "general.architecture", &name, NULL);
    if (!status && !pn_arch_find(name.data, name.len, &row))
        status = pn_fail(err, PANTRY_INTERNAL, "no architecture");
    if (!status)
        status = pn_hparams_read(c->w, &row, &arena, &a, err);
    if (!status)
        status = pn_hparams_read(back, back->arch, &arena, &b, err);
    const char *what = NULL;
    if (!status) {
        if (a.n_layer != b.n_layer || a.n_embd != b.n_embd || back->n_tensors != c->w->n_tensors)
            what = "the tensors";
        for (int i = 0; !what && i < a.n_layer; i++)
            if (memcmp(&a.layers[i], &b.layers[i], sizeof *a.layers) != 0)
                what = "the heads or windows of layers";
        if (!what && (a.window != b.window || fabsf(a.rms_eps - b.rms_eps) > 1e-9f || a.act != b.act))
            what = "windows, norms or the activation";
        if (!what && (memcmp(&a.moe, &b.moe, sizeof a.moe) != 0 || a.attn_softcap != b.attn_softcap ||
                      a.final_softcap != b.final_softcap || a.attn_scale != b.attn_scale))
            what = "experts or scales";
        if (!what && (a.rope.freq_base != b.rope.freq_base || a.rope.freq_base_local != b.rope.freq_base_local ||
                      a.rope.n_rot != b.rope.n_rot || scaling_of(&a.rope) != scaling_of(&b.rope) ||
                      (scaling_of(&a.rope) != PN_ROPE_SCALING_NONE && a.rope.factor != b.rope.factor)))
            what = "the rotation";
    }
    if (what)
        status = pn_fail(err, PANTRY_UNSUPPORTED,
                         "%s: a directory made of it would differ in %s, which is not supported", c->in, what);
    pn_arena_free(&arena);
    pn_weights_close(back);
    return status;
}

static pantry_status write_folder(struct pn_dir *d, const struct storage *storage, struct pantry_error *err)
{
    char folder[4000];
    struct pn_convert *c = d->c;
    size_t n = strlen(c->out);
    while (n > 1 && c->out[n - 1] == '/')
        n--;
    if (access(c->out, F_OK) == 0)
        return pn_fail(err, PANTRY_INVALID, "%s: exists", c->out);
    if ((size_t)snprintf(folder, sizeof folder, "%.*s.%d.partial", (int)n, c->out, (int)getpid()) >= sizeof folder)
        return pn_fail(err, PANTRY_INVALID, "%s: the path is too long", c->out);
    if (mkdir(folder, 0777) != 0)
        return pn_fail(err, PANTRY_IO, "%s: cannot be made: %s", folder, strerror(errno));
    pantry_status status = put_quantization(d, storage, err);
    if (!status)
        status = put_texts(d, folder, err);
    if (!status)
        status = write_tensors(d, storage, folder, err);
    if (!status && !c->w->hf)
        status = check_back(c, folder, err);
    char out[4000];
    snprintf(out, sizeof out, "%.*s", (int)n, c->out);
    if (!status && rename(folder, out) != 0)
        status = pn_fail(err, PANTRY_IO, "%s: cannot be made: %s", out, strerror(errno));
    if (status)
        remove_folder(folder);
    return status;
}

static pantry_status convert(struct pn_convert *c, bool mlx, struct pantry_error *err)
{
    struct pn_dir d = {.c = c, .mlx = mlx};
    struct storage asked, *storage = NULL;
    pantry_status status = asked_storage(&d, &asked, err);
    if (!status)
        status = c->w->hf ? from_directory(&d, err) : pn_dir_from_gguf(&d, err);
    if (!status && mlx)
        status = stack_experts(&d, err);
    if (!status && !(storage = calloc(d.items.len + 1, sizeof *storage)))
        status = pn_no_memory(err, c->in);
    for (size_t i = 0; !status && i < d.items.len; i++) {
        const struct pn_dir_item *item = &d.items.data[i];
        pn_type type = item->weight.type;
        storage[i] = storage_of(&d, &asked, item);
        c->result.n_kept += storage[i].exact;
        c->result.n_converted +=
            !storage[i].exact && (storage[i].mode != PLAIN || float_type(type) != storage[i].scale);
    }
    if (!status)
        status = write_folder(&d, storage, err);
    for (size_t i = 0; i < d.items.len; i++)
        free(d.items.data[i].name);
    free(d.items.data);
    free(storage);
    json_decref(d.config);
    pn_arena_free(&d.arena);
    return status;
}

pantry_status pn_convert_to_mlx(struct pn_convert *c, struct pantry_error *err)
{
    return convert(c, true, err);
}

pantry_status pn_convert_to_hf(struct pn_convert *c, struct pantry_error *err)
{
    return convert(c, false, err);
}
