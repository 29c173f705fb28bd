/* Adapters of mlx_lm (adapters.safetensors) and PEFT (adapter_model.safetensors): see model/adapter.h. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "model/adapter.h"

#include "base/random.h"
#include "model/hf/hf.h"
#include "model/hf/storage.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { NONE, MLX_A, MLX_B, PEFT_A, PEFT_B, MAGNITUDE };

/* Ends of names, and what the tensor is. */
static const struct {
    const char *end;
    enum kind kind;
} kinds[] = {{".lora_a", MLX_A},
             {".lora_b", MLX_B},
             {".m", MAGNITUDE},
             {".lora_A.weight", PEFT_A},
             {".lora_B.weight", PEFT_B},
             {".lora_A.default.weight", PEFT_A},
             {".lora_B.default.weight", PEFT_B},
             {".lora_magnitude_vector", MAGNITUDE},
             {".lora_magnitude_vector.weight", MAGNITUDE},
             {".lora_magnitude_vector.default.weight", MAGNITUDE}};

struct reader {
    struct pn_adapter *adapter;
    const json_t *config;
    struct pn_hf hf; /* names and rules of the base */
    float user;      /* the user's scale */
    int64_t head;    /* rows of a head whose halves become pairs in the base; 0: they stay */
    struct pantry_error *err;
};

/* ---- scales ---- */

/* The value of a pattern of PEFT that is the module's name, or its end after a dot. */
static double by_pattern(const json_t *patterns, const char *module, double fallback)
{
    const char *key;
    json_t *value;
    size_t n = strlen(module);
    json_object_foreach((json_t *)(uintptr_t)patterns, key, value)
    {
        size_t k = strlen(key);
        bool ends = k <= n && strcmp(module + n - k, key) == 0 && (k == n || module[n - k - 1] == '.');
        if (ends && json_is_number(value))
            return json_number_value(value);
    }
    return fallback;
}

static double number(const json_t *object, const char *key, double fallback)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : fallback;
}

static double scale_of(const struct reader *r, const char *module)
{
    const json_t *mlx = json_object_get(r->config, "lora_parameters");
    if (json_is_object(mlx))
        return number(mlx, "scale", number(mlx, "alpha", 20));
    double rank = by_pattern(json_object_get(r->config, "rank_pattern"), module, number(r->config, "r", 8));
    double alpha = by_pattern(json_object_get(r->config, "alpha_pattern"), module, number(r->config, "lora_alpha", 8));
    bool root = json_is_true(json_object_get(r->config, "use_rslora"));
    return rank > 0 ? alpha / (root ? sqrt(rank) : rank) : 0;
}

/* ---- tensors ---- */

static enum kind kind_of(const char *name, size_t *len)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        size_t k = strlen(kinds[i].end);
        if (n > k && strcmp(name + n - k, kinds[i].end) == 0) {
            *len = n - k;
            return kinds[i].kind;
        }
    }
    return NONE;
}

/* The tensor as (matrices, rows, columns) in the order of pn_adapter_pair. */
static bool read_matrix(struct reader *r, const struct pn_st_tensor *t, enum kind kind, float scale,
                        struct pn_hf_matrix *out)
{
    bool turned = (kind == MLX_A || kind == MLX_B) && t->n_dims == 2;
    int64_t n_mat = t->n_dims > 2 ? t->shape[0] : 1, last = t->n_dims > 0 ? t->shape[t->n_dims - 1] : 1;
    int64_t rows = t->n_dims > 1 ? t->shape[t->n_dims - 2] : last, cols = t->n_dims > 1 ? last : 1;
    pn_type type;
    if (kind == MAGNITUDE && t->n_dims == 2 && rows == 1)
        rows = cols, cols = 1;
    if (turned) {
        int64_t swap = rows;
        rows = cols;
        cols = swap;
    }
    if (!pn_hf_plain_type(t->type, &type) || t->n_dims < 1 || t->n_dims > 3 || rows < 1 || cols < 1 || n_mat < 1 ||
        rows > INT32_MAX || cols > INT32_MAX || n_mat > INT32_MAX) {
        pn_hf_fail(&r->hf, PANTRY_UNSUPPORTED, "tensor %s: its type or shape is not that of a LoRA", t->name);
        return false;
    }
    struct pn_weight *w = pn_adapter_weight(r->adapter, n_mat, rows, cols);
    if (!w) {
        pn_hf_fail(&r->hf, PANTRY_NO_MEMORY, "out of memory for an adapter");
        return false;
    }
    float *values = (float *)(uintptr_t)w->plane[0].data;
    for (int64_t i = 0; i < n_mat * rows * cols; i++) {
        int64_t from = turned ? i % cols * rows + i / cols : i;
        values[i] = pn_hf_number(t, (size_t)from) * scale;
    }
    *out = (struct pn_hf_matrix){.weight = w, .n_dims = n_mat > 1 ? 3 : 2};
    out->shape[0] = n_mat > 1 ? n_mat : rows;
    out->shape[1] = n_mat > 1 ? rows : cols;
    out->shape[2] = n_mat > 1 ? cols : 1;
    out->shape[3] = 1;
    return true;
}

/* The same numbers without gaps, and with the halves of each head as pairs if the base has them so. */
static struct pn_weight *compact(struct reader *r, const struct pn_weight *from, bool pairs)
{
    struct pn_weight *to = pn_adapter_weight(r->adapter, from->n_mat, from->n_rows, from->n_cols);
    int64_t head = r->head;
    bool turns = pairs && head > 0 && from->n_rows % head == 0;
    if (!to) {
        pn_hf_fail(&r->hf, PANTRY_NO_MEMORY, "out of memory for an adapter");
        return NULL;
    }
    float *values = (float *)(uintptr_t)to->plane[0].data;
    for (int64_t i = 0; i < from->n_mat * from->n_rows; i++) {
        int64_t row = i % from->n_rows, in_head = turns ? row % head : 0;
        if (turns)
            row = row - in_head + in_head % 2 * (head / 2) + in_head / 2;
        pn_weight_decode(from, i / from->n_rows, row, 0, from->n_cols, values + i * from->n_cols);
    }
    return to;
}

/* The module's row in each row of a target: rows that hold their own number take the way of the numbers. */
static const int32_t *order_of(struct reader *r, int64_t n_rows, enum pn_hf_change change, bool pairs)
{
    struct pn_hf_matrix m = {.n_dims = 2, .shape = {n_rows, 1, 1, 1}};
    struct pn_weight *w = pn_adapter_weight(r->adapter, 1, n_rows, 1);
    if (change == PN_HF_SAME && !(pairs && r->head > 0))
        return NULL;
    if (w) {
        m.weight = w;
        for (int64_t i = 0; i < n_rows; i++)
            ((float *)(uintptr_t)w->plane[0].data)[i] = (float)i;
        pn_hf_change_rows(&r->hf, &m, change);
        w = r->hf.status ? NULL : compact(r, m.weight, pairs);
    }
    int32_t *order = w ? pn_arena_array(&r->adapter->arena, (size_t)w->n_rows, sizeof *order) : NULL;
    if (!order)
        pn_hf_fail(&r->hf, PANTRY_NO_MEMORY, "out of memory for an adapter");
    for (int64_t i = 0; order && i < w->n_rows; i++)
        order[i] = (int32_t)pn_weight_floats(w, 0, i)[0];
    return order;
}

static bool is_pairs(const char *target)
{
    return strstr(target, ".attn_q.weight") || strstr(target, ".attn_k.weight");
}

/* Notes where the rows of a module's B and magnitude are. */
static void note_module(struct reader *r, const char *name, const struct pn_hf_target *targets, int n,
                        const struct pn_weight *b)
{
    struct pn_adapter_module *module = pn_adapter_module(r->adapter, name);
    if (!module) {
        pn_hf_fail(&r->hf, PANTRY_NO_MEMORY, "out of memory for an adapter");
        return;
    }
    if (module->n_targets)
        return;
    module->n_out = b->n_rows;
    module->n_mat = b->n_mat;
    for (int i = 0; i < n && !r->hf.status; i++) {
        module->targets[i] = pn_arena_copy(&r->adapter->arena, targets[i].name, strlen(targets[i].name));
        module->order[i] = order_of(r, b->n_rows, targets[i].rule->change, is_pairs(targets[i].name));
        if (!module->targets[i])
            pn_hf_fail(&r->hf, PANTRY_NO_MEMORY, "out of memory for an adapter");
    }
    module->n_targets = n;
}

/* Gives a part of a module's change to its targets: A to all of them, of the others each its rows. */
static void give(struct reader *r, const char *module, enum kind kind, const struct pn_hf_matrix *whole, float scale)
{
    struct pn_hf_target targets[PN_ADAPTER_TARGETS];
    int n = pn_hf_targets(&r->hf, module, targets, PN_ADAPTER_TARGETS);
    bool rows = kind == MLX_B || kind == PEFT_B || kind == MAGNITUDE;
    if (rows && kind != MAGNITUDE && r->adapter->trains && !r->hf.status)
        note_module(r, module, targets, n, whole->weight);
    for (int i = 0; i < n && !r->hf.status; i++) {
        const struct pn_weight *w = whole->weight;
        struct pn_weight part = *whole->weight;
        struct pn_hf_matrix m = *whole;
        m.weight = &part;
        if (rows) {
            pn_hf_change_rows(&r->hf, &m, targets[i].rule->change);
            w = r->hf.status ? NULL : compact(r, m.weight, is_pairs(targets[i].name));
        }
        if (!w)
            return;
        r->hf.status =
            pn_adapter_add(r->adapter, targets[i].name, rows ? NULL : w, rows && kind != MAGNITUDE ? w : NULL,
                           kind == MAGNITUDE ? w->plane[0].data : NULL, r->err);
        struct pn_adapter_pair *pair =
            (struct pn_adapter_pair *)(uintptr_t)pn_adapter_find(r->adapter, targets[i].name);
        if (pair && rows && kind != MAGNITUDE && r->adapter->trains)
            pair->scale = scale;
    }
}

static void read_tensor(struct reader *r, const struct pn_st_tensor *t)
{
    size_t len;
    char module[1024];
    struct pn_hf_matrix m;
    enum kind kind = kind_of(t->name, &len);
    if (kind == NONE || len >= sizeof module) {
        pn_hf_fail(&r->hf, PANTRY_UNSUPPORTED, "tensor %s is not a part of a LoRA or DoRA", t->name);
        return;
    }
    memcpy(module, t->name, len);
    module[len] = '\0';
    float scale = kind == MLX_B || kind == PEFT_B ? (float)scale_of(r, module) * r->user : 1;
    if (read_matrix(r, t, kind, r->adapter->trains ? 1 : scale, &m))
        give(r, module, kind, &m, scale);
}

/* ---- the folder ---- */

/* What the configuration says and this reader does not do. */
static void check_config(struct reader *r)
{
    const char *fine = json_string_value(json_object_get(r->config, "fine_tune_type"));
    const char *peft = json_string_value(json_object_get(r->config, "peft_type"));
    const char *bias = json_string_value(json_object_get(r->config, "bias"));
    if (fine && strcmp(fine, "lora") != 0 && strcmp(fine, "dora") != 0)
        pn_hf_fail(&r->hf, PANTRY_UNSUPPORTED, "adapter_config.json: fine_tune_type \"%.40s\" is not supported", fine);
    if (peft && strcmp(peft, "LORA") != 0)
        pn_hf_fail(&r->hf, PANTRY_UNSUPPORTED, "adapter_config.json: peft_type \"%.40s\" is not supported", peft);
    if (bias && strcmp(bias, "none") != 0)
        pn_hf_fail(&r->hf, PANTRY_UNSUPPORTED, "adapter_config.json: trained biases are not supported");
}

static pantry_status read_file(struct reader *r, const char *name)
{
    struct pn_map map = {0};
    struct pn_st_tensors tensors = {0};
    char *path = NULL;
    if (asprintf(&path, "%s/%s", r->adapter->path, name) < 0)
        return pn_no_memory(r->err, "an adapter");
    pantry_status status = pn_map_open(&map, path, r->err);
    if (!status)
        status = pn_safetensors_read(&map, 0, path, &r->adapter->arena, &tensors, NULL, r->err);
    for (size_t i = 0; i < tensors.len && !status && !r->hf.status; i++)
        read_tensor(r, &tensors.data[i]);
    if (!status && (status = r->hf.status))
        pn_fail_prefix(r->err, "%s", path);
    free(tensors.data);
    pn_map_close(&map);
    free(path);
    return status;
}

/* The base's architecture. */
static pantry_status find_arch(const struct pn_weights *base, struct pn_arch *out, struct pantry_error *err)
{
    struct pn_str name = {"", 0};
    if (base->arch)
        *out = *base->arch;
    else if (pn_meta_str(base, "general.architecture", &name, NULL) || !pn_arch_find(name.data, name.len, out))
        return pn_fail(err, PANTRY_UNSUPPORTED, "%s: its architecture is not supported", base->path);
    return PANTRY_OK;
}

pantry_status pn_hf_adapter_read(struct pn_adapter *adapter, const struct pn_weights *base, float scale,
                                 struct pantry_error *err)
{
    static const char *const files[] = {"adapters.safetensors", "adapter_model.safetensors"};
    struct reader r = {.adapter = adapter, .user = scale, .err = err};
    struct pn_weights own = {.hf = base->hf}; /* memory of names and rules */
    struct pn_arch arch;
    json_t *config;
    int64_t n_rot;
    pantry_status status = pn_hfdir_json(adapter->path, "adapter_config.json", &config, err);
    if (status == PANTRY_NOT_FOUND)
        return pn_fail(err, PANTRY_FORMAT, "%s: is not an adapter: adapter_config.json is missing", adapter->path);
    if (!status)
        status = find_arch(base, &arch, err);
    if (status)
        return status;
    r.config = config;
    r.hf = (struct pn_hf){.w = &own, .dir = base->hf, .arch = &arch, .err = err};
    pn_hf_begin(&r.hf);
    if (!base->hf)
        pn_hf_pairs_in_gguf(&arch, base, &n_rot, &r.head);
    check_config(&r);
    status = r.hf.status;
    if (!status) {
        status = read_file(&r, files[0]);
        if (status == PANTRY_NOT_FOUND)
            status = read_file(&r, files[1]);
        if (status == PANTRY_NOT_FOUND)
            status = pn_fail(err, PANTRY_NOT_FOUND, "%s: has neither %s nor %s", adapter->path, files[0], files[1]);
    }
    pn_arena_free(&own.arena);
    json_decref(r.hf.config);
    json_decref(config);
    return status;
}

/* ---- new adapters ---- */

/* Paths in a block, as mlx_lm names them; of several for one tensor the directory's own name counts, else the first. */
static const char usual_keys[] =
    "self_attn.q_proj self_attn.k_proj self_attn.v_proj self_attn.o_proj self_attn.qkv_proj self_attn.dense "
    "self_attn.out_proj self_attn.query_key_value self_attn.W_pack self_attn.q_a_proj self_attn.q_b_proj "
    "self_attn.kv_a_proj_with_mqa self_attn.kv_b_proj mlp.gate_proj mlp.up_proj mlp.down_proj mlp.gate_up_proj "
    "mlp.fc1 mlp.fc2 mlp.c_fc mlp.c_proj mlp.dense_h_to_4h mlp.dense_4h_to_h mlp.gate mlp.router "
    "mlp.switch_mlp.gate_proj mlp.switch_mlp.up_proj mlp.switch_mlp.down_proj mlp.shared_expert.gate_proj "
    "mlp.shared_expert.up_proj mlp.shared_expert.down_proj mlp.shared_expert_gate mlp.shared_experts.gate_proj "
    "mlp.shared_experts.up_proj mlp.shared_experts.down_proj feed_forward.w1 feed_forward.w3 feed_forward.w2 "
    "feed_forward.gate_proj feed_forward.up_proj feed_forward.down_proj block_sparse_moe.gate "
    "block_sparse_moe.switch_mlp.gate_proj block_sparse_moe.switch_mlp.up_proj block_sparse_moe.switch_mlp.down_proj";

static bool exists(const struct reader *r, const char *module)
{
    char name[1100];
    snprintf(name, sizeof name, "%s.weight", module);
    return r->hf.dir && pn_hfdir_tensor(r->hf.dir, name) != NULL;
}

/* The weights that a module's name stands for, all of them in the base and without a change yet; 0: none. */
static int targets_of(struct reader *r, const struct pn_weights *base, const char *module, struct pn_hf_target *targets)
{
    char name[1100];
    snprintf(name, sizeof name, "%s.weight", module);
    const struct pn_st_tensor named = {.name = name};
    int n = pn_hf_places(&r->hf, &named, targets, PN_ADAPTER_TARGETS);
    for (int i = 0; i < n; i++) {
        const struct pn_tensor_info *t = pn_weights_tensor(base, targets[i].name);
        if (!t || t->n_dims < 2 || t->n_dims > 3 || pn_adapter_find(r->adapter, targets[i].name))
            return 0;
    }
    return n;
}

static struct pn_weight weight_of(const struct pn_tensor_info *t)
{
    return t->places ? *t->places
                     : pn_weight_plain(t->name, t->type, t->n_dims > 2 ? t->shape[0] : 1, t->shape[t->n_dims - 2],
                                       t->shape[t->n_dims - 1], t->data);
}

/* The lengths of a weight's rows. */
static const float *lengths_of(struct reader *r, const struct pn_weight *w)
{
    struct pn_weight *m = pn_adapter_weight(r->adapter, 1, 1, w->n_rows);
    float *row = malloc((size_t)w->n_cols * sizeof *row), *out = m ? (float *)(uintptr_t)m->plane[0].data : NULL;
    for (int64_t i = 0; row && out && i < w->n_rows; i++) {
        double sum = 0;
        pn_weight_decode(w, 0, i, 0, w->n_cols, row);
        for (int64_t j = 0; j < w->n_cols; j++)
            sum += (double)row[j] * (double)row[j];
        out[i] = (float)sqrt(sum);
    }
    if (!row)
        out = NULL;
    free(row);
    return out;
}

static void make_module(struct reader *r, const struct pn_adapter_spec *spec, const struct pn_weights *base,
                        const char *module, const struct pn_hf_target *targets, int n)
{
    struct pn_weight w = weight_of(pn_weights_tensor(base, targets[0].name)), whole = {.n_mat = w.n_mat};
    struct pn_weight *a = pn_adapter_weight(r->adapter, w.n_mat, spec->rank, w.n_cols);
    for (int i = 0; i < n; i++)
        whole.n_rows += weight_of(pn_weights_tensor(base, targets[i].name)).n_rows;
    note_module(r, module, targets, n, &whole);
    for (int i = 0; i < n && a && !r->hf.status; i++) {
        w = weight_of(pn_weights_tensor(base, targets[i].name));
        struct pn_weight *b = pn_adapter_weight(r->adapter, w.n_mat, w.n_rows, spec->rank);
        const float *m = spec->dora && w.n_mat == 1 ? lengths_of(r, &w) : NULL;
        if (!b || (spec->dora && w.n_mat == 1 && !m))
            break;
        r->hf.status = pn_adapter_add(r->adapter, targets[i].name, a, b, m, r->err);
        ((struct pn_adapter_pair *)(uintptr_t)pn_adapter_find(r->adapter, targets[i].name))->scale = spec->scale;
    }
    if (!a || (!r->hf.status && !pn_adapter_find(r->adapter, targets[n - 1].name))) {
        pn_hf_fail(&r->hf, PANTRY_NO_MEMORY, "out of memory for an adapter");
        return;
    }
    float *values = (float *)(uintptr_t)a->plane[0].data, bound = 1 / sqrtf((float)w.n_cols);
    uint64_t stream = pn_random_at(spec->seed, r->adapter->modules.len);
    for (int64_t i = 0; i < a->n_mat * a->n_rows * a->n_cols; i++)
        values[i] = (2 * pn_random_unit(pn_random_at(stream, (uint64_t)i)) - 1) * bound;
}

/* All keys in one block. The first pass takes the names that the directory has itself. */
static void make_block(struct reader *r, const struct pn_adapter_spec *spec, const struct pn_weights *base, long layer)
{
    const char *keys = spec->keys ? spec->keys : usual_keys;
    for (int pass = 0; pass < 2; pass++)
        for (const char *at = keys; *at && !r->hf.status;) {
            char module[1024];
            struct pn_hf_target targets[PN_ADAPTER_TARGETS];
            size_t n = strcspn(at, " ,");
            snprintf(module, sizeof module, "model.layers.%ld.%.*s", layer, (int)(n < 200 ? n : 200), at);
            int found = n && (pass || exists(r, module)) ? targets_of(r, base, module, targets) : 0;
            if (found)
                make_module(r, spec, base, module, targets, found);
            at += n + (at[n] != '\0');
        }
}

pantry_status pn_hf_adapter_make(struct pn_adapter *adapter, const struct pn_adapter_spec *spec,
                                 const struct pn_weights *base, struct pantry_error *err)
{
    struct reader r = {.adapter = adapter, .user = 1, .err = err};
    struct pn_weights own = {.hf = base->hf};
    struct pn_arch arch;
    int64_t n_rot;
    long layers = 0;
    pantry_status status = find_arch(base, &arch, err);
    if (status)
        return status;
    r.hf = (struct pn_hf){.w = &own, .dir = base->hf, .arch = &arch, .err = err};
    pn_hf_begin(&r.hf);
    if (!base->hf)
        pn_hf_pairs_in_gguf(&arch, base, &n_rot, &r.head);
    for (size_t i = 0; i < base->n_tensors; i++) {
        long layer = strncmp(base->tensors[i].name, "blk.", 4) == 0 ? strtol(base->tensors[i].name + 4, NULL, 10) : -1;
        layers = layer + 1 > layers ? layer + 1 : layers;
    }
    long first = spec->n_layers < 0 || spec->n_layers > layers ? 0 : layers - spec->n_layers;
    for (long layer = first; layer < layers && !r.hf.status; layer++)
        make_block(&r, spec, base, layer);
    if (!r.hf.status && adapter->pairs.len == 0)
        pn_hf_fail(&r.hf, PANTRY_INVALID, "no layer of the model has one of the keys %s",
                   spec->keys ? spec->keys : usual_keys);
    status = r.hf.status;
    pn_arena_free(&own.arena);
    json_decref(r.hf.config);
    return status;
}
