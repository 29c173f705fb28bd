/* GGUF files as directories: names of tensors, and config.json. See convert_dir.h.
 *
 * The rows of model/hf are read backwards: a tensor gets the first name there that leads to its own without changing
 * numbers in a way that cannot be undone. convert_dir.c reads the result back and compares. */
#include "engine/convert_dir.h"

#include "engine/quantize_types.h"
#include "model/hf/hf.h"
#include "model/hparams.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What config.json says for a key of the metadata. */
struct key {
    const char *name, *key;
    bool real;
};

static const struct key keys[] = {
    {"num_hidden_layers", "block_count", false},
    {"hidden_size", "embedding_length", false},
    {"intermediate_size", "feed_forward_length", false},
    {"num_attention_heads", "attention.head_count", false},
    {"num_key_value_heads", "attention.head_count_kv", false},
    {"head_dim", "attention.key_length", false},
    {"max_position_embeddings", "context_length", false},
    {"rms_norm_eps", "attention.layer_norm_rms_epsilon", true},
    {"rope_theta", "rope.freq_base", true},
    {"num_experts", "expert_count", false},
    {"num_experts_per_tok", "expert_used_count", false},
    {"moe_intermediate_size", "expert_feed_forward_length", false},
};

/* ---- names ---- */

static const char *name_of(const struct pn_hf_row *row, const char *to, bool experts, enum pn_hf_change *change)
{
    const struct pn_hf_name *tables[] = {row->names, pn_hf_usual_names()};
    for (size_t t = 0; t < 2; t++)
        for (const struct pn_hf_name *n = tables[t]; n && n->from; n++) {
            bool stack = strstr(n->from, ".experts") || strstr(n->from, "switch_mlp");
            bool undone = n->change == PN_HF_SAME || n->change == PN_HF_PLUS_ONE;
            bool wanted = !experts || (strstr(n->from, ".mlp.switch_mlp.") && !strstr(n->from, "gate_up"));
            if (n->to && undone && wanted && (experts || !stack) && strcmp(n->to, to) == 0 &&
                pn_hf_rules(row, n->from) == n) {
                *change = n->change;
                return n->from;
            }
        }
    return NULL;
}

static char *full_name(const char *from, int layer)
{
    struct pn_buf name = {0};
    bool outer = strcmp(from, "lm_head") == 0;
    if (strncmp(from, "*.", 2) == 0)
        pn_buf_printf(&name, "model.layers.%d.%s", layer, from + 2);
    else
        pn_buf_printf(&name, "%s%s", outer ? "" : "model.", from);
    return pn_buf_take(&name);
}

static void fill_weight(struct pn_dir_item *item, const struct pn_tensor_info *t)
{
    int64_t rows = t->n_dims > 1 ? t->shape[t->n_dims - 2] : 1, mats = 1;
    for (int i = 0; i < t->n_dims - 2; i++)
        mats *= t->shape[i];
    item->weight = pn_weight_plain(t->name, t->type, mats, rows, t->shape[t->n_dims - 1], t->data);
    item->n_dims = t->n_dims;
    memcpy(item->shape, t->shape, sizeof item->shape);
}

/* In MLX all experts are one tensor; other readers have one per expert. */
static pantry_status add_experts(struct pn_dir *d, const struct pn_dir_item *stack, struct pantry_error *err)
{
    const char *at = strstr(stack->name, ".switch_mlp.");
    for (int64_t e = 0; e < stack->weight.n_mat; e++) {
        struct pn_dir_item item = *stack;
        struct pn_buf name = {0};
        pn_buf_printf(&name, "%.*s.experts.%lld.%s", (int)(at - stack->name), stack->name, (long long)e,
                      at + strlen(".switch_mlp."));
        item.name = pn_buf_take(&name);
        item.n_dims = 2;
        memcpy(item.shape, (int64_t[]){stack->shape[1], stack->shape[2], 1, 1}, sizeof item.shape);
        item.weight = pn_weight_plain(stack->weight.name, stack->weight.type, 1, stack->weight.n_rows,
                                      stack->weight.n_cols, pn_weight_at(&stack->weight, 0, e, 0));
        if (!item.name || !pn_vec_push(&d->items, item)) {
            free(item.name);
            return pn_no_memory(err, "names");
        }
    }
    return PANTRY_OK;
}

static pantry_status add_tensor(struct pn_dir *d, const struct pn_hf_row *row, const struct pn_tensor_info *t,
                                int64_t dim, struct pantry_error *err)
{
    char to[256];
    int layer = -1, start = 0;
    const char *dot = strrchr(t->name, '.');
    enum pn_hf_change change = PN_HF_SAME;
    struct pn_dir_item item = {.module = dot && strcmp(dot, ".weight") == 0};
    if (sscanf(t->name, "blk.%d.%n", &layer, &start) != 1 || !start)
        start = 0;
    bool leaf = dot && (item.module || strcmp(dot, ".bias") == 0);
    snprintf(to, sizeof to, "%.*s", leaf ? (int)(dot - t->name - start) : (int)strlen(t->name + start),
             t->name + start);
    bool experts = strstr(to, "_exps") != NULL;
    const char *from = name_of(row, to, experts, &change);
    if (!from)
        return pn_fail(err, PANTRY_UNSUPPORTED, "%s: tensor %s of architecture %s has no name in such a directory",
                       d->c->in, t->name, row->arch);
    fill_weight(&item, t);
    item.matrix = pn_mix_quantizes(t);
    item.add = change == PN_HF_PLUS_ONE ? -1.0f : 0.0f;
    item.name = full_name(from, layer);
    if (item.name && !item.module) { /* a bias */
        struct pn_buf name = {0};
        pn_buf_printf(&name, "%s.bias", item.name);
        free(item.name);
        item.name = pn_buf_take(&name);
    }
    if (!item.name)
        return pn_no_memory(err, t->name);
    if (dim && (strcmp(to, "attn_q") == 0 || strcmp(to, "attn_k") == 0)) {
        item.pair_dim = dim;
        if (item.n_dims == 1) /* values are ordered like rows */
            item.weight = pn_weight_plain(t->name, t->type, 1, t->shape[0], 1, t->data);
    }
    if (experts && !d->mlx) {
        pantry_status status = add_experts(d, &item, err);
        free(item.name);
        return status;
    }
    if (pn_vec_push(&d->items, item))
        return PANTRY_OK;
    free(item.name);
    return pn_no_memory(err, t->name);
}

/* ---- config.json ---- */

static json_t *from_text(const char *text)
{
    char copy[1024];
    size_t n = strlen(text);
    for (size_t i = 0; i <= n && i < sizeof copy; i++)
        copy[i] = text[i] == '\'' ? '"' : text[i];
    return n < sizeof copy ? json_loads(copy, 0, NULL) : NULL;
}

/* Llama 3's divisors of frequencies are in the file as a tensor; directories say how they are made. */
static pantry_status read_factors(struct pn_dir *d, const struct pn_tensor_info *t, struct pantry_error *err)
{
    static const double factors[] = {8, 32, 4, 16};
    struct pn_str arch = {0};
    char key[128];
    float base = 10000;
    pn_meta_str(d->c->w, "general.architecture", &arch, NULL);
    snprintf(key, sizeof key, "%.*s.rope.freq_base", (int)arch.len, arch.data);
    pn_meta_f32(d->c->w, key, &base, NULL);
    int64_t n = t->shape[0];
    const float *values = t->data;
    for (size_t k = 0; t->type == PN_TYPE_F32 && k < sizeof factors / sizeof *factors; k++)
        for (int64_t original = 64; original <= 1 << 17; original *= 2) {
            bool same = true;
            for (int64_t i = 0; same && i < n; i++) {
                double length = 2 * 3.14159265358979323846 * pow((double)base, (double)i / (double)n), f = factors[k];
                double low = (double)original / 1.0, high = (double)original / 4.0;
                double smooth = ((double)original / length - 1.0) / 3.0;
                double want = length < high ? 1 : length > low ? f : 1 / ((1 - smooth) / f + smooth);
                same = fabs((double)values[i] - want) < 1e-3 * want;
            }
            if (same)
                return json_object_set_new(d->config, "rope_scaling",
                                           json_pack("{s:s, s:f, s:f, s:f, s:I}", "rope_type", "llama3", "factor",
                                                     factors[k], "low_freq_factor", 1.0, "high_freq_factor", 4.0,
                                                     "original_max_position_embeddings", (json_int_t)original)) == 0
                           ? PANTRY_OK
                           : pn_no_memory(err, "config.json");
        }
    return pn_fail(err, PANTRY_UNSUPPORTED, "%s: rope_freqs.weight is not made in a known way", d->c->in);
}

static void put_keys(struct pn_dir *d, const char *arch)
{
    const struct pn_weights *w = d->c->w;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        char full[128];
        int64_t n;
        float f;
        snprintf(full, sizeof full, "%s.%s", arch, keys[i].key);
        if (keys[i].real && pn_meta_f32(w, full, &f, NULL) == PANTRY_OK) {
            char text[32]; /* the shortest decimal of the float32 */
            snprintf(text, sizeof text, "%.7g", (double)f);
            json_object_set_new(d->config, keys[i].name, json_real(strtod(text, NULL)));
        } else if (!keys[i].real && pn_meta_i64(w, full, &n, NULL) == PANTRY_OK) {
            json_object_set_new(d->config, keys[i].name, json_integer(n));
        }
    }
}

static pantry_status make_config(struct pn_dir *d, const struct pn_arch *arch, const struct pn_hf_row *row,
                                 struct pantry_error *err)
{
    const struct pn_weights *w = d->c->w;
    const struct pn_tensor_info *embedding = pn_weights_tensor(w, "token_embd.weight");
    char type[64], key[128];
    int64_t n;
    d->config = row->written ? from_text(row->written) : NULL;
    if (!d->config || !embedding)
        return pn_fail(err, PANTRY_UNSUPPORTED, "%s: files of architecture %s cannot become directories", d->c->in,
                       arch->name);
    snprintf(type, sizeof type, "%.*s", (int)strcspn(row->types, " "), row->types);
    json_object_set_new(d->config, "model_type", json_string(type));
    json_object_set_new(d->config, "architectures", json_pack("[s]", arch->hf));
    json_object_set_new(d->config, "torch_dtype", json_string("float16"));
    json_object_set_new(d->config, "vocab_size", json_integer(embedding->shape[0]));
    json_object_set_new(d->config, "tie_word_embeddings", json_boolean(!pn_weights_tensor(w, "output.weight")));
    json_object_set_new(d->config, "rope_theta", json_real(10000.0));
    put_keys(d, arch->name);
    snprintf(key, sizeof key, "%s.attention.key_length", arch->name);
    int64_t heads = json_integer_value(json_object_get(d->config, "num_attention_heads"));
    if (pn_meta_i64(w, key, &n, NULL) != PANTRY_OK && heads > 0)
        json_object_set_new(d->config, "head_dim",
                            json_integer(json_integer_value(json_object_get(d->config, "hidden_size")) / heads));
    snprintf(key, sizeof key, "%s.attention.sliding_window", arch->name);
    if (arch->window.period && pn_meta_i64(w, key, &n, NULL) == PANTRY_OK) {
        json_object_set_new(d->config, "sliding_window", json_integer(n));
        json_object_set(d->config, "query_pre_attn_scalar", json_object_get(d->config, "head_dim"));
    }
    if (pn_meta_i64(w, "tokenizer.ggml.bos_token_id", &n, NULL) == PANTRY_OK)
        json_object_set_new(d->config, "bos_token_id", json_integer(n));
    if (pn_meta_i64(w, "tokenizer.ggml.eos_token_id", &n, NULL) == PANTRY_OK)
        json_object_set_new(d->config, "eos_token_id", json_integer(n));
    return PANTRY_OK;
}

/* Which layers have a window. */
static pantry_status put_windows(struct pn_dir *d, const struct pn_arch *arch, struct pantry_error *err)
{
    struct pn_arena arena = {0};
    struct pn_hparams hp = {0};
    json_t *types = json_array();
    pantry_status status = pn_hparams_read(d->c->w, arch, &arena, &hp, err);
    int first = 0;
    while (!status && first + 1 < hp.n_layer && hp.layers[first].local)
        first++;
    for (int i = 0; !status && i < hp.n_layer; i++)
        json_array_append_new(types, json_string(hp.layers[i].local ? "sliding_attention" : "full_attention"));
    if (!status && hp.window > 0) {
        json_object_set(d->config, "layer_types", types);
        json_object_set_new(d->config, "sliding_window_pattern", json_integer(first + 1));
    }
    json_decref(types);
    pn_arena_free(&arena);
    return status;
}

pantry_status pn_dir_from_gguf(struct pn_dir *d, struct pantry_error *err)
{
    const struct pn_weights *w = d->c->w;
    struct pn_str name = {0};
    struct pn_arch arch = {0};
    int64_t n_rot, dim = 0;
    pn_meta_str(w, "general.architecture", &name, NULL);
    const struct pn_hf_row *row = NULL;
    if (name.data && pn_arch_find(name.data, name.len, &arch))
        row = pn_hf_row_of(arch.name);
    if (!row)
        return pn_fail(err, PANTRY_UNSUPPORTED, "%s: files of this architecture cannot become directories", d->c->in);
    pantry_status status = make_config(d, &arch, row, err);
    if (!status)
        status = put_windows(d, &arch, err);
    pn_hf_pairs_in_gguf(&arch, w, &n_rot, &dim);
    for (size_t i = 0; !status && i < w->n_tensors; i++) {
        if (strcmp(w->tensors[i].name, "rope_freqs.weight") == 0)
            status = read_factors(d, &w->tensors[i], err);
        else
            status = add_tensor(d, row, &w->tensors[i], dim, err);
    }
    return status;
}
