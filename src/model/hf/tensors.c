/* Tensors by their names here: see hf.h. */
#include "model/hf/hf.h"

#include "format/names.h"
#include "tensor/weight.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NAME = 1024 };

/* One matrix of a stack that is stored as separate tensors. */
struct part {
    const char *name; /* of the stack */
    int64_t at;
    struct pn_hf_matrix matrix;
};

struct parts {
    struct part *data;
    size_t len, cap;
};

/* A tensor's name, taken apart: "*.mlp.experts.*.up_proj" of layer 3, expert 5. */
struct place {
    char key[MAX_NAME + 8], literal[MAX_NAME + 8]; /* with all numbers as *; with only the layer's */
    const char *leaf;                              /* "weight", "bias", "" */
    long layer, expert;                            /* -1: none */
};

/* ---- names ---- */

static const char *without(const char *name, const char *start)
{
    size_t n = strlen(start);
    return strncmp(name, start, n) == 0 ? name + n : NULL;
}

static const char *without_prefix(const char *name)
{
    static const char *const prefixes[] = {"model.",    "language_model.", "text_model.", "llm.",     "transformer.",
                                           "backbone.", "gpt_neox.",       "bert.",       "roberta.", "base_model."};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        const char *rest = without(name, prefixes[i]);
        if (rest) { /* from the beginning again */
            name = rest;
            i = (size_t)-1;
        }
    }
    return name;
}

/* "layers.3.rest": the rest and the number. */
static const char *in_layer(const char *name, long *layer)
{
    static const char *const containers[] = {"layers.",        "h.",     "blocks.", "encoder.layer.", "encoder.layers.",
                                             "encoder.block.", "block.", "layer.",  "decoder.layers."};
    for (size_t i = 0; i < sizeof containers / sizeof *containers; i++) {
        const char *number = without(name, containers[i]);
        char *end;
        if (!number || *number < '0' || *number > '9')
            continue;
        *layer = strtol(number, &end, 10);
        if (*end == '.')
            return end + 1;
    }
    return NULL;
}

/* Copies a path with its first number, which is a part of its own, as *. */
static void generalize(const char *from, char *to, size_t size, long *number)
{
    size_t n = strlen(to);
    bool start = true;
    for (; *from && n + 1 < size; from++) {
        char *end;
        if (start && *number < 0 && *from >= '0' && *from <= '9') {
            long value = strtol(from, &end, 10);
            if (*end == '.' || *end == '\0') {
                *number = value;
                to[n++] = '*';
                from = end - 1;
                start = false;
                continue;
            }
        }
        start = *from == '.';
        to[n++] = *from;
    }
    to[n] = '\0';
}

static bool take_apart(const struct pn_st_tensor *t, struct place *p)
{
    char module[MAX_NAME];
    size_t n = pn_hf_module(t, &p->leaf);
    p->layer = p->expert = -1;
    if (n >= sizeof module - 4)
        return false;
    memcpy(module, t->name, n);
    module[n] = '\0';
    const char *name = without_prefix(module), *rest = in_layer(name, &p->layer);
    const char *start = rest ? "*." : "";
    name = rest ? rest : name;
    snprintf(p->literal, sizeof p->literal, "%s%s", start, name);
    snprintf(p->key, sizeof p->key, "%s", start);
    generalize(name, p->key, sizeof p->key, &p->expert);
    return true;
}

/* The name in a GGUF file. */
static const char *name_here(struct pn_hf *hf, const struct place *p, const char *to, bool complete)
{
    char full[MAX_NAME];
    int n = p->layer < 0 ? snprintf(full, sizeof full, "%s%s%s", to, complete ? "" : ".", complete ? "" : p->leaf)
                         : snprintf(full, sizeof full, "%sblk.%ld.%s%s%s",
                                    hf->arch->names.layer_prefix ? hf->arch->names.layer_prefix : "", p->layer, to,
                                    complete ? "" : ".", complete ? "" : p->leaf);
    const char *copy = n > 0 && n < MAX_NAME ? pn_arena_copy(&hf->w->arena, full, (size_t)n) : NULL;
    if (!copy)
        pn_hf_fail(hf, PANTRY_NO_MEMORY, "out of memory for names");
    return copy;
}

/* ---- adding ---- */

static bool is_compact(const struct pn_weight *w)
{
    const struct pn_plane *p = &w->plane[0];
    size_t row = pn_type_row_bytes(w->type, (size_t)w->n_cols);
    return w->n_planes == 1 && !w->mats && p->row_bytes == row && p->mat_bytes == row * (size_t)w->n_rows;
}

static uint64_t bytes_of(const struct pn_weight *w)
{
    uint64_t row = pn_type_row_bytes(w->type, (size_t)w->n_cols);
    for (int p = 1; p < w->n_planes; p++)
        row += w->plane[p].row_bytes;
    return row * (uint64_t)w->n_rows * (uint64_t)w->n_mat;
}

static void add(struct pn_hf *hf, const char *name, const struct pn_hf_matrix *m)
{
    struct pn_tensor_info t = {.name = name, .type = m->weight->type, .n_dims = m->n_dims, .map = m->map};
    int gguf = pn_type_info(t.type)->gguf;
    t.number = gguf >= 0 ? (uint32_t)gguf : UINT32_MAX;
    memcpy(t.shape, m->shape, sizeof t.shape);
    t.data = pn_weight_at(m->weight, 0, 0, 0);
    t.bytes = (size_t)bytes_of(m->weight);
    t.places = is_compact(m->weight) ? NULL : m->weight;
    m->weight->name = name;
    if (!pn_vec_push(&hf->tensors, t))
        pn_hf_fail(hf, PANTRY_NO_MEMORY, "out of memory for tensors");
}

float *pn_hf_constant(struct pn_hf *hf, const char *name, int64_t n)
{
    float *values = pn_arena_array(&hf->w->arena, (size_t)n + 1, sizeof *values);
    struct pn_hf_matrix m = {
        .weight = pn_arena_alloc(&hf->w->arena, sizeof *m.weight), .n_dims = 1, .shape = {n, 1, 1, 1}};
    if (!values || !m.weight) {
        pn_hf_fail(hf, PANTRY_NO_MEMORY, "out of memory for %s", name);
        return NULL;
    }
    *m.weight = pn_weight_plain(name, PN_TYPE_F32, 1, 1, n, values);
    add(hf, name, &m);
    return values;
}

/* ---- changing ---- */

static bool copied(struct pn_hf *hf, const void *p)
{
    if (!p)
        pn_hf_fail(hf, PANTRY_NO_MEMORY, "out of memory for tensors");
    return p != NULL;
}

/* All numbers as float32, changed. */
static void to_floats(struct pn_hf *hf, struct pn_hf_matrix *m, enum pn_hf_change change)
{
    struct pn_weight *w = m->weight;
    bool plus = change == PN_HF_PLUS_ONE || (change == PN_HF_PLUS_ONE_HF && !hf->dir->mlx);
    size_t n = (size_t)(w->n_mat * w->n_rows), k = (size_t)w->n_cols;
    float *values = pn_arena_array(&hf->w->arena, n * k + 1, sizeof *values);
    if (!copied(hf, values))
        return;
    for (size_t r = 0; r < n; r++)
        pn_weight_decode(w, (int64_t)r / w->n_rows, (int64_t)r % w->n_rows, 0, w->n_cols, values + r * k);
    for (size_t i = 0; i < n * k; i++)
        values[i] = change == PN_HF_DECAY ? -expf(values[i]) : plus ? values[i] + 1 : values[i];
    *w = pn_weight_plain(w->name, PN_TYPE_F32, w->n_mat, w->n_rows, w->n_cols, values);
}

/* Exchanges rows and columns of plain numbers. */
static void turn(struct pn_hf *hf, struct pn_hf_matrix *m)
{
    struct pn_weight *w = m->weight;
    size_t size = pn_type_info(w->type)->bytes, rows = (size_t)w->n_rows, cols = (size_t)w->n_cols;
    if (w->n_planes != 1 || pn_type_info(w->type)->block != 1) {
        pn_hf_fail(hf, PANTRY_UNSUPPORTED,
                   "a weight that is stored with its columns outside is quantized, which is "
                   "not supported");
        return;
    }
    char *to = pn_arena_array(&hf->w->arena, (size_t)w->n_mat * rows * cols + 1, size);
    if (!copied(hf, to))
        return;
    for (size_t i = 0; i < (size_t)w->n_mat; i++)
        for (size_t r = 0; r < rows; r++) {
            const char *from = pn_weight_at(w, 0, (int64_t)i, (int64_t)r);
            for (size_t c = 0; c < cols; c++)
                memcpy(to + ((i * cols + c) * rows + r) * size, from + c * size, size);
        }
    *w = pn_weight_plain(w->name, w->type, w->n_mat, w->n_cols, w->n_rows, to);
    m->shape[m->n_dims - 2] = w->n_rows;
    m->shape[m->n_dims - 1] = w->n_cols;
}

/* Keeps n of the rows: first, first + step, ... in place. */
static void keep_rows(struct pn_hf_matrix *m, int64_t first, int64_t step, int64_t n)
{
    struct pn_weight *w = m->weight;
    for (int p = 0; p < w->n_planes; p++) {
        w->plane[p].data = (const char *)w->plane[p].data + (size_t)first * w->plane[p].row_bytes;
        w->plane[p].row_bytes *= (size_t)step;
    }
    w->n_rows = n;
    m->shape[m->n_dims > 1 ? m->n_dims - 2 : 0] = n;
}

/* Copies the rows in another order: row i is the old row order[i]. */
static void reorder(struct pn_hf *hf, struct pn_hf_matrix *m, const int64_t *order, int64_t n)
{
    struct pn_weight *w = m->weight;
    for (int p = 0; p < w->n_planes && !hf->status; p++) {
        size_t bytes = w->plane[p].row_bytes;
        if (bytes == 0)
            continue;
        char *to = pn_arena_array(&hf->w->arena, (size_t)n + 1, bytes);
        if (!copied(hf, to))
            return;
        for (int64_t i = 0; i < n; i++)
            memcpy(to + (size_t)i * bytes, pn_weight_at(w, p, 0, order[i]), bytes);
        w->plane[p].data = to;
        w->plane[p].mat_bytes = (size_t)n * bytes;
    }
    w->n_rows = n;
    m->shape[m->n_dims > 1 ? m->n_dims - 2 : 0] = n;
}

/* A vector as a matrix with one column, or back, so that both have rows. */
static void stand(struct pn_weight *w, bool up)
{
    size_t size = pn_type_info(w->type)->bytes;
    int64_t n = up ? w->n_cols : w->n_rows;
    *w = pn_weight_plain(w->name, w->type, 1, up ? n : 1, up ? 1 : n, w->plane[0].data);
    w->plane[0].row_bytes = up ? size : size * (size_t)n;
}

/* The order of rows in which all queries come first, then all keys, then all values. Each of `groups` groups of rows is
 * made of `parts`, in heads of `dim` rows; the result takes the parts from `first` to `last`. */
static void sort_groups(struct pn_hf *hf, struct pn_hf_matrix *m, int64_t groups, const int64_t *parts, int n_parts,
                        int first, int last)
{
    int64_t per_group = 0, rows, n = 0;
    bool vector = m->n_dims == 1;
    for (int i = 0; i < n_parts; i++)
        per_group += parts[i];
    if (vector)
        stand(m->weight, true);
    rows = m->weight->n_rows;
    if (groups < 1 || per_group < 1 || rows != groups * per_group) {
        pn_hf_fail(hf, PANTRY_FORMAT, "a weight of queries, keys and values has %lld rows, but %lld are needed",
                   (long long)rows, (long long)(groups * per_group));
        return;
    }
    int64_t *order = calloc((size_t)rows, sizeof *order);
    if (!copied(hf, order))
        return;
    for (int part = first; part <= last; part++) {
        int64_t offset = 0;
        for (int i = 0; i < part; i++)
            offset += parts[i];
        for (int64_t g = 0; g < groups; g++)
            for (int64_t i = 0; i < parts[part]; i++)
                order[n++] = g * per_group + offset + i;
    }
    reorder(hf, m, order, n);
    if (vector)
        stand(m->weight, false);
    free(order);
}

static void sort_heads(struct pn_hf *hf, struct pn_hf_matrix *m, enum pn_hf_change change)
{
    int64_t heads = pn_hf_int(hf, "num_attention_heads n_head n_heads", 0);
    int64_t width = pn_hf_int(hf, "hidden_size n_embd d_model", 0), dim = heads > 0 ? width / heads : 0;
    if (change == PN_HF_BY_HEAD) {
        sort_groups(hf, m, heads, (int64_t[]){dim, dim, dim}, 3, 0, 2);
    } else if (change == PN_HF_BY_GROUP) {
        bool grouped = pn_hf_bool(hf, "new_decoder_architecture", false);
        bool one = pn_hf_bool(hf, "multi_query", true);
        int64_t kv = grouped ? pn_hf_int(hf, "num_kv_heads", heads) : one ? 1 : heads;
        if (!pn_hf_get(hf, "new_decoder_architecture multi_query"))
            kv = pn_hf_int(hf, "num_key_value_heads", kv);
        sort_groups(hf, m, kv, (int64_t[]){kv > 0 ? heads / kv * dim : 0, dim, dim}, 3, 0, 2);
    } else {
        int64_t keys = pn_hf_int(hf, "linear_num_key_heads", 0), dim_k = pn_hf_int(hf, "linear_key_head_dim", 0);
        int64_t values = pn_hf_int(hf, "linear_num_value_heads", 0), dim_v = pn_hf_int(hf, "linear_value_head_dim", 0);
        int64_t v = keys > 0 ? values / keys * dim_v : 0;
        bool gates = change == PN_HF_BY_KEY_Z;
        sort_groups(hf, m, keys, (int64_t[]){dim_k, dim_k, v, v}, 4, gates ? 3 : 0, gates ? 3 : 2);
    }
}

/* (channels, 1, k) or (channels, k, 1) as (channels, k). */
static void flatten(struct pn_hf *hf, struct pn_hf_matrix *m)
{
    if (m->n_dims == 3 && (m->shape[1] == 1 || m->shape[2] == 1)) {
        m->shape[1] *= m->shape[2];
        m->shape[2] = 1;
        m->n_dims = 2;
        *m->weight =
            pn_weight_plain(m->weight->name, m->weight->type, 1, m->shape[0], m->shape[1], m->weight->plane[0].data);
    } else if (m->n_dims != 2) {
        pn_hf_fail(hf, PANTRY_FORMAT, "the kernels of a convolution have %d dimensions", m->n_dims);
    }
}

/* Whether the rows of a weight are its columns. Stacks of experts are stored in either order, which their shape shows
 * unless both lengths are the same. */
static bool is_turned(struct pn_hf *hf, const struct pn_hf_matrix *m, const struct pn_hf_name *rule)
{
    enum pn_hf_change change = rule->change;
    bool by_rule = change == PN_HF_TURNED || (change >= PN_HF_TURNED_FIRST && change <= PN_HF_TURNED_ODD);
    int64_t width = pn_hf_int(hf, "hidden_size", 0);
    if (m->weight->n_planes != 1 || m->n_dims < 2)
        return false;
    if (m->n_dims == 3 && strstr(rule->from, "experts.") && m->shape[1] != m->shape[2])
        return m->shape[strstr(rule->from, "down") ? 1 : 2] != width && width > 0;
    return by_rule && !hf->dir->mlx;
}

/* Biases of a stack have their values where matrices have rows. */
static void stand_stack(struct pn_hf_matrix *m)
{
    struct pn_weight *w = m->weight;
    *w = pn_weight_plain(w->name, w->type, w->n_rows, w->n_cols, 1, w->plane[0].data);
}

static void lie_down(struct pn_hf *hf, struct pn_hf_matrix *m)
{
    struct pn_weight *w = m->weight;
    int64_t n = w->n_mat, k = w->n_rows;
    to_floats(hf, m, PN_HF_SAME);
    if (!hf->status)
        *w = pn_weight_plain(w->name, PN_TYPE_F32, 1, n, k, w->plane[0].data);
    m->shape[0] = m->n_dims > 1 ? n : k;
    m->shape[1] = m->n_dims > 1 ? k : 1;
}

static void split(struct pn_hf *hf, struct pn_hf_matrix *m, enum pn_hf_change change, bool is_bias)
{
    if (is_bias)
        stand_stack(m);
    int64_t rows = m->weight->n_rows, half = rows / 2;
    bool later = change == PN_HF_SECOND || change == PN_HF_ODD, apart = change == PN_HF_EVEN || change == PN_HF_ODD;
    int64_t first = later ? (apart ? 1 : half) : 0, step = apart ? 2 : 1;
    keep_rows(m, first, step, (rows - first + step - 1) / step - (later || apart ? 0 : rows - half));
    if (is_bias)
        lie_down(hf, m);
}

static void apply(struct pn_hf *hf, struct pn_hf_matrix *m, const struct pn_hf_name *rule)
{
    enum pn_hf_change change = rule->change;
    if (is_turned(hf, m, rule))
        turn(hf, m);
    if (change >= PN_HF_TURNED_FIRST && change <= PN_HF_TURNED_ODD)
        change = change - PN_HF_TURNED_FIRST + PN_HF_FIRST;
    if (hf->status)
        return;
    if (change >= PN_HF_FIRST && change <= PN_HF_ODD)
        split(hf, m, change, m->n_dims == 1 || strstr(rule->from, "bias") != NULL);
    else if (change >= PN_HF_BY_HEAD && change <= PN_HF_BY_KEY_Z)
        sort_heads(hf, m, change);
    else if (change == PN_HF_KERNEL)
        flatten(hf, m);
    bool floats = change == PN_HF_PLUS_ONE || change == PN_HF_PLUS_ONE_HF || change == PN_HF_DECAY;
    if (!hf->status && (floats || m->n_dims <= 1))
        to_floats(hf, m, change);
}

void pn_hf_change_rows(struct pn_hf *hf, struct pn_hf_matrix *m, enum pn_hf_change change)
{
    if (change >= PN_HF_TURNED_FIRST && change <= PN_HF_TURNED_ODD)
        change = change - PN_HF_TURNED_FIRST + PN_HF_FIRST;
    if (change >= PN_HF_FIRST && change <= PN_HF_ODD)
        split(hf, m, change, false);
    else if (change >= PN_HF_BY_HEAD && change <= PN_HF_BY_KEY_Z)
        sort_heads(hf, m, change);
}

/* ---- stacks of separate tensors ---- */

static int by_stack(const void *a, const void *b)
{
    const struct part *x = a, *y = b;
    int names = strcmp(x->name, y->name);
    return names ? names : (x->at > y->at) - (x->at < y->at);
}

static bool alike(const struct pn_weight *a, const struct pn_weight *b)
{
    bool same = a->type == b->type && a->n_rows == b->n_rows && a->n_cols == b->n_cols && a->group == b->group &&
                a->n_planes == b->n_planes && a->n_mat == 1 && b->n_mat == 1;
    for (int p = 0; p < a->n_planes && same; p++)
        same = a->plane[p].row_bytes == b->plane[p].row_bytes && a->plane[p].type == b->plane[p].type;
    return same;
}

/* Vectors become the rows of a matrix, matrices a stack. */
static void stack(struct pn_hf *hf, const struct part *parts, size_t n)
{
    const struct pn_hf_matrix *first = &parts[0].matrix;
    size_t planes = (size_t)first->weight->n_planes;
    struct pn_hf_matrix m = {.weight = pn_arena_alloc(&hf->w->arena, sizeof *m.weight), .map = first->map};
    const void **mats = pn_arena_array(&hf->w->arena, n * planes, sizeof *mats);
    if (!copied(hf, m.weight) || !copied(hf, mats))
        return;
    for (size_t i = 0; i < n; i++) {
        if (parts[i].at != (int64_t)i || !alike(parts[i].matrix.weight, first->weight)) {
            pn_hf_fail(hf, PANTRY_FORMAT, "%s: part %zu is missing or differs from the first in type or shape",
                       parts[0].name, i);
            return;
        }
        for (size_t p = 0; p < planes; p++)
            mats[i * planes + p] = parts[i].matrix.weight->plane[p].data;
    }
    *m.weight = *first->weight;
    m.weight->n_mat = (int64_t)n;
    m.weight->mats = mats;
    m.n_dims = first->n_dims < 2 ? 2 : 3;
    m.shape[0] = (int64_t)n;
    m.shape[1] = m.n_dims == 3 ? m.weight->n_rows : m.weight->n_cols;
    m.shape[2] = m.n_dims == 3 ? m.weight->n_cols : 1;
    m.shape[3] = 1;
    if (m.n_dims == 2) { /* vectors, which are float32 by now */
        to_floats(hf, &m, PN_HF_SAME);
        if (!hf->status)
            *m.weight =
                pn_weight_plain(m.weight->name, PN_TYPE_F32, 1, (int64_t)n, m.weight->n_cols, m.weight->plane[0].data);
    }
    if (!hf->status)
        add(hf, parts[0].name, &m);
}

static void add_stacks(struct pn_hf *hf, struct parts *parts)
{
    if (parts->len)
        qsort(parts->data, parts->len, sizeof *parts->data, by_stack);
    for (size_t i = 0, n; i < parts->len && !hf->status; i += n) {
        for (n = 1; i + n < parts->len && strcmp(parts->data[i + n].name, parts->data[i].name) == 0;)
            n++;
        stack(hf, parts->data + i, n);
    }
}

/* ---- all tensors ---- */

/* Parts of a model that are not used: images, sound, further predictions. */
static bool is_ignored(const struct pn_hf *hf, const struct place *p)
{
    const json_t *n = pn_hf_get(hf, "num_hidden_layers n_layer n_layers num_layers");
    if (p->layer >= 0 && json_is_integer(n) && p->layer >= json_integer_value(n))
        return true;
    for (size_t i = 0; pn_hf_ignored[i]; i++) {
        size_t len = strlen(p->key); /* the part itself may have a weight: "part.weight" */
        if (without(p->key, pn_hf_ignored[i]) ||
            (strncmp(p->key, pn_hf_ignored[i], len) == 0 && strcmp(pn_hf_ignored[i] + len, ".") == 0))
            return true;
    }
    return false;
}

static void place(struct pn_hf *hf, const struct pn_st_tensor *t, const struct place *p, const struct pn_hf_name *rule,
                  bool complete, bool starred, struct parts *parts)
{
    struct pn_hf_matrix m;
    const char *name = name_here(hf, p, rule->to, complete);
    if (hf->status || !pn_hf_matrix(hf, t, &m))
        return;
    apply(hf, &m, rule);
    if (hf->status)
        return;
    if (!starred) {
        add(hf, name, &m);
        return;
    }
    struct part part = {.name = name, .at = p->expert, .matrix = m};
    if (!pn_vec_push(parts, part))
        pn_hf_fail(hf, PANTRY_NO_MEMORY, "out of memory for tensors");
}

/* The rules for a tensor; NULL: none. *complete: they name it with its last part; *starred: with any second number. */
static const struct pn_hf_name *rules_of(const struct pn_hf *hf, const struct place *p, bool *complete, bool *starred)
{
    const char *const paths[] = {p->literal, p->key};
    char key[MAX_NAME + 32];
    for (int i = 0; i < 2; i++) {
        snprintf(key, sizeof key, "%s%s%s", paths[i], *p->leaf ? "." : "", p->leaf);
        const struct pn_hf_name *rule = pn_hf_rules(hf->row, key);
        *complete = rule != NULL;
        *starred = i == 1 && strcmp(p->literal, p->key) != 0;
        if (!rule && *p->leaf)
            rule = pn_hf_rules(hf->row, paths[i]);
        if (rule)
            return rule;
    }
    return NULL;
}

static void read_tensor(struct pn_hf *hf, const struct pn_st_tensor *t, struct parts *parts)
{
    struct place p;
    bool complete, starred;
    if (pn_hf_is_companion(hf, t) || !take_apart(t, &p))
        return;
    const struct pn_hf_name *rule = rules_of(hf, &p, &complete, &starred);
    if (is_ignored(hf, &p))
        return;
    if (!rule) {
        pn_hf_fail(hf, PANTRY_UNSUPPORTED, "tensor %s has no place in architecture %s", t->name, hf->arch->name);
        return;
    }
    for (const struct pn_hf_name *r = rule; r->from && strcmp(r->from, rule->from) == 0 && !hf->status; r++) {
        if (r->change != PN_HF_LEFT_OUT)
            place(hf, t, &p, r, complete, starred, parts);
        if (hf->status)
            pn_fail_prefix(hf->err, "%s", t->name);
    }
}

int pn_hf_targets(struct pn_hf *hf, const char *module, struct pn_hf_target *out, int n)
{
    char name[MAX_NAME];
    struct place p;
    bool complete, starred;
    int len = snprintf(name, sizeof name, "%s.weight", module);
    const struct pn_st_tensor t = {.name = name};
    const struct pn_hf_name *rule =
        len > 0 && len < MAX_NAME && take_apart(&t, &p) ? rules_of(hf, &p, &complete, &starred) : NULL;
    int count = 0;
    if (!rule || starred || rule->change == PN_HF_LEFT_OUT)
        pn_hf_fail(hf, PANTRY_UNSUPPORTED, "a change of %s is not supported in architecture %s", module,
                   hf->arch->name);
    for (const struct pn_hf_name *r = rule; r && r->from && strcmp(r->from, rule->from) == 0 && !hf->status; r++)
        if (count < n)
            out[count++] = (struct pn_hf_target){name_here(hf, &p, r->to, complete), r};
    return hf->status ? 0 : count;
}

int pn_hf_places(struct pn_hf *hf, const struct pn_st_tensor *t, struct pn_hf_target *out, int n)
{
    struct place p;
    bool complete, starred;
    const struct pn_hf_name *rule = take_apart(t, &p) ? rules_of(hf, &p, &complete, &starred) : NULL;
    int count = 0;
    if (!rule || starred || rule->change == PN_HF_LEFT_OUT)
        return 0;
    for (const struct pn_hf_name *r = rule; r->from && strcmp(r->from, rule->from) == 0 && !hf->status; r++)
        if (count < n)
            out[count++] = (struct pn_hf_target){name_here(hf, &p, r->to, complete), r};
    return count;
}

long pn_hf_layer_of(const char *name)
{
    long layer = -1;
    in_layer(without_prefix(name), &layer);
    return layer;
}

void pn_hf_read_tensors(struct pn_hf *hf)
{
    struct parts parts = {0};
    for (size_t i = 0; i < hf->dir->tensors.len && !hf->status; i++)
        read_tensor(hf, &hf->dir->tensors.data[i], &parts);
    if (!hf->status)
        add_stacks(hf, &parts);
    free(parts.data);
}
