/* Which tensor gets which type: see quantize_types.h. */
#define _POSIX_C_SOURCE 200809L
#include "engine/quantize_types.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* general.file_type of the mixes whose rules are special. */
enum {
    FT_Q4_0 = 2,
    FT_Q5_0 = 8,
    FT_Q2_K = 10,
    FT_Q3_K_S,
    FT_Q3_K_M,
    FT_Q3_K_L,
    FT_Q4_K_S,
    FT_Q4_K_M,
    FT_Q5_K_S,
    FT_Q5_K_M,
    FT_Q6_K,
    FT_IQ2_XXS,
    FT_IQ2_XS,
    FT_Q2_K_S,
    FT_IQ3_XS,
    FT_IQ3_XXS,
    FT_IQ1_S,
    FT_IQ4_NL,
    FT_IQ3_S,
    FT_IQ3_M,
    FT_IQ2_S,
    FT_IQ2_M,
    FT_IQ4_XS,
    FT_IQ1_M,
    FT_TQ1_0 = 36,
    FT_TQ2_0,
    FT_MXFP4_MOE,
    FT_NVFP4,
    FT_Q1_0,
    FT_Q2_0,
};

static const struct pn_mix mixes[] = {
    {"Q4_0", FT_Q4_0, PN_TYPE_Q4_0},
    {"Q4_1", 3, PN_TYPE_Q4_1},
    {"Q5_0", FT_Q5_0, PN_TYPE_Q5_0},
    {"Q5_1", 9, PN_TYPE_Q5_1},
    {"Q8_0", 7, PN_TYPE_Q8_0},
    {"Q2_K", FT_Q2_K, PN_TYPE_Q2_K},
    {"Q2_K_S", FT_Q2_K_S, PN_TYPE_Q2_K},
    {"Q3_K_S", FT_Q3_K_S, PN_TYPE_Q3_K},
    {"Q3_K_M", FT_Q3_K_M, PN_TYPE_Q3_K},
    {"Q3_K_L", FT_Q3_K_L, PN_TYPE_Q3_K},
    {"Q3_K", FT_Q3_K_M, PN_TYPE_Q3_K},
    {"Q4_K_S", FT_Q4_K_S, PN_TYPE_Q4_K},
    {"Q4_K_M", FT_Q4_K_M, PN_TYPE_Q4_K},
    {"Q4_K", FT_Q4_K_M, PN_TYPE_Q4_K},
    {"Q5_K_S", FT_Q5_K_S, PN_TYPE_Q5_K},
    {"Q5_K_M", FT_Q5_K_M, PN_TYPE_Q5_K},
    {"Q5_K", FT_Q5_K_M, PN_TYPE_Q5_K},
    {"Q6_K", FT_Q6_K, PN_TYPE_Q6_K},
    {"IQ1_S", FT_IQ1_S, PN_TYPE_IQ1_S},
    {"IQ1_M", FT_IQ1_M, PN_TYPE_IQ1_M},
    {"IQ2_XXS", FT_IQ2_XXS, PN_TYPE_IQ2_XXS},
    {"IQ2_XS", FT_IQ2_XS, PN_TYPE_IQ2_XS},
    {"IQ2_S", FT_IQ2_S, PN_TYPE_IQ2_XS},
    {"IQ2_M", FT_IQ2_M, PN_TYPE_IQ2_S},
    {"IQ3_XXS", FT_IQ3_XXS, PN_TYPE_IQ3_XXS},
    {"IQ3_XS", FT_IQ3_XS, PN_TYPE_IQ3_S},
    {"IQ3_S", FT_IQ3_S, PN_TYPE_IQ3_S},
    {"IQ3_M", FT_IQ3_M, PN_TYPE_IQ3_S},
    {"IQ4_NL", FT_IQ4_NL, PN_TYPE_IQ4_NL},
    {"IQ4_XS", FT_IQ4_XS, PN_TYPE_IQ4_XS},
    {"TQ1_0", FT_TQ1_0, PN_TYPE_TQ1_0},
    {"TQ2_0", FT_TQ2_0, PN_TYPE_TQ2_0},
    {"MXFP4_MOE", FT_MXFP4_MOE, PN_TYPE_MXFP4},
    {"NVFP4", FT_NVFP4, PN_TYPE_NVFP4},
    {"Q1_0", FT_Q1_0, PN_TYPE_Q1_0},
    {"Q2_0", FT_Q2_0, PN_TYPE_Q2_0},
    {"F16", 1, PN_TYPE_F16},
    {"BF16", 32, PN_TYPE_BF16},
    {"F32", 0, PN_TYPE_F32},
};

pantry_status pn_mix_find(const char *name, const struct pn_mix **out, struct pantry_error *err)
{
    for (size_t i = 0; i < sizeof mixes / sizeof *mixes; i++)
        if (strcasecmp(mixes[i].name, name) == 0) {
            *out = &mixes[i];
            return PANTRY_OK;
        }
    struct pn_buf list = {0};
    for (size_t i = 0; i < sizeof mixes / sizeof *mixes; i++)
        pn_buf_printf(&list, "%s%s", i ? ", " : "", mixes[i].name);
    pantry_status status =
        pn_fail(err, PANTRY_NOT_FOUND, "unknown type \"%.40s\"; use one of: %s", name, list.data ? list.data : "");
    pn_buf_free(&list);
    return status;
}

/* ---- kinds of tensors ---- */

enum kind {
    EMBEDDING,
    OUTPUT,
    ATTN_QKV,
    ATTN_KV_B,
    ATTN_V,
    ATTN_K,
    ATTN_Q,
    ATTN_OUT,
    FFN_UP,
    FFN_GATE,
    FFN_DOWN,
    OTHER
};

static const struct {
    const char *part;
    enum kind kind;
} kinds[] = {
    {"attn_qkv.weight", ATTN_QKV},
    {"attn_kv_b.weight", ATTN_KV_B},
    {"attn_v.weight", ATTN_V},
    {"attn_k.weight", ATTN_K},
    {"attn_q.weight", ATTN_Q},
    {"attn_output.weight", ATTN_OUT},
    {"ffn_up", FFN_UP},
    {"ffn_gate", FFN_GATE},
    {"ffn_down", FFN_DOWN},
};

static enum kind kind_of(const char *name)
{
    if (strcmp(name, "output.weight") == 0)
        return OUTPUT;
    if (strcmp(name, "token_embd.weight") == 0 || strcmp(name, "per_layer_token_embd.weight") == 0)
        return EMBEDDING;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strstr(name, kinds[i].part))
            return kinds[i].kind;
    return OTHER;
}

static bool like_attn_v(enum kind kind)
{
    return kind == ATTN_V || kind == ATTN_QKV || kind == ATTN_KV_B;
}

bool pn_mix_quantizes(const struct pn_tensor_info *t)
{
    static const char *const kept[] = {
        "_norm.weight",
        "ffn_gate_inp.weight",
        "ffn_gate_tid2eid.weight",
        "altup",
        "laurel",
        "per_layer_model_proj",
        "ssm_conv1d",
        "shortconv.conv.weight",
        "indexer.k_proj.weight",
        "indexer.q_proj.weight",
        "time_mix_first.weight",
        "time_mix_w0.weight",
        "time_mix_w1.weight",
        "time_mix_w2.weight",
        "time_mix_v0.weight",
        "time_mix_v1.weight",
        "time_mix_v2.weight",
        "time_mix_a0.weight",
        "time_mix_a1.weight",
        "time_mix_a2.weight",
        "time_mix_g1.weight",
        "time_mix_g2.weight",
        "time_mix_decay_w1.weight",
        "time_mix_decay_w2.weight",
        "time_mix_lerp_fused.weight",
        "attn_rel_b.weight",
        ".position_embd",
        "sam.pos_embd",
        "sam.neck.",
        "sam.net_",
        ".rel_pos",
        ".patch_embd",
        ".patch_merger",
        "a.rvq.codebook",
        "mm.a.code_embd",
    };
    size_t n = strlen(t->name), ending = strlen("weight");
    int64_t rows = 1;
    for (int i = 0; i < t->n_dims - 1; i++)
        rows *= t->shape[i];
    if (rows < 2 || n < ending || strcmp(t->name + n - ending, "weight") != 0)
        return false;
    if (t->type == PN_TYPE_I8 || t->type == PN_TYPE_I16 || t->type == PN_TYPE_I32 || t->type == PN_TYPE_I64)
        return false;
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        if (strstr(t->name, kept[i]))
            return false;
    return strcmp(t->name, "position_embd.weight") != 0 && strcmp(t->name, "token_types.weight") != 0;
}

pn_type pn_mix_fallback(pn_type type, int64_t n)
{
    if (n % pn_type_info(type)->block == 0)
        return type;
    switch (type) {
    case PN_TYPE_IQ1_S:
    case PN_TYPE_IQ1_M:
    case PN_TYPE_IQ2_XXS:
    case PN_TYPE_IQ2_XS:
    case PN_TYPE_IQ2_S:
    case PN_TYPE_IQ3_XXS:
    case PN_TYPE_IQ3_S:
    case PN_TYPE_IQ4_XS:
        type = PN_TYPE_IQ4_NL;
        break;
    case PN_TYPE_Q4_K:
        type = PN_TYPE_Q5_0;
        break;
    case PN_TYPE_Q5_K:
        type = PN_TYPE_Q5_1;
        break;
    case PN_TYPE_Q6_K:
        type = PN_TYPE_Q8_0;
        break;
    default: /* the other types of two and three bits */
        type = PN_TYPE_Q4_0;
    }
    return n % pn_type_info(type)->block == 0 ? type : PN_TYPE_F16;
}

/* ---- the rules ---- */

/* What the rules look at. Counters count tensors of a kind so far, in the order of the layers. */
struct rules {
    const struct pn_mix *mix;
    const struct pn_mix_requests *requests;
    int n_layer, n_expert, n_gqa;
    bool tied, falcon, llama_70b;
    int n_v, at_v, at_down, at_gate, at_up;
};

static bool is_one_of(int file_type, const int *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (list[i] == file_type)
            return true;
    return false;
}
#define ONE_OF(ft, ...) is_one_of(ft, (const int[]){__VA_ARGS__}, sizeof((const int[]){__VA_ARGS__}) / sizeof(int))

/* The first and last eighth of the layers, and every third one between. */
static bool careful(int layer, int n)
{
    return layer < n / 8 || layer >= 7 * n / 8 || (layer - n / 8) % 3 == 2;
}

static pn_type output_type(const struct rules *r, pn_type type, const struct pn_tensor_info *t)
{
    int ft = r->mix->file_type;
    if (r->requests->has_output)
        return r->requests->output;
    if (ft == FT_MXFP4_MOE || r->falcon || t->shape[t->n_dims - 1] % pn_type_info(type)->block)
        return PN_TYPE_Q8_0;
    if (ONE_OF(ft, FT_IQ2_XXS, FT_IQ2_XS, FT_IQ3_XXS, FT_IQ1_S, FT_IQ2_S, FT_IQ2_M, FT_IQ1_M))
        return PN_TYPE_Q5_K;
    return type == PN_TYPE_Q8_0 ? type : PN_TYPE_Q6_K;
}

static pn_type embedding_type(const struct rules *r, pn_type type)
{
    int ft = r->mix->file_type;
    if (ONE_OF(ft, FT_IQ2_XXS, FT_IQ2_XS, FT_IQ1_S, FT_IQ1_M))
        return PN_TYPE_Q2_K;
    if (ONE_OF(ft, FT_IQ2_S, FT_IQ2_M, FT_IQ3_XXS))
        return PN_TYPE_IQ3_S;
    return ONE_OF(ft, FT_TQ1_0, FT_TQ2_0, FT_Q2_0) ? PN_TYPE_Q4_K : type;
}

/* The mixes of one and two bits with codebooks. */
static pn_type small_type(struct rules *r, pn_type type, enum kind kind)
{
    int ft = r->mix->file_type;
    bool larger = ft == FT_IQ2_S || ft == FT_IQ2_M;
    if (like_attn_v(kind)) {
        r->at_v++;
        return r->n_gqa >= 4 || r->n_expert >= 4 ? PN_TYPE_Q4_K : larger ? PN_TYPE_IQ3_S : PN_TYPE_Q2_K;
    }
    if (kind == ATTN_K && r->n_expert == 8)
        return PN_TYPE_Q4_K;
    if (kind == FFN_DOWN)
        return r->at_down++ < r->n_layer / 8 ? larger ? PN_TYPE_IQ3_S : PN_TYPE_Q2_K : type;
    if (kind == ATTN_OUT) {
        if (r->n_expert == 8)
            return PN_TYPE_Q5_K;
        return ft == FT_IQ1_S || ft == FT_IQ1_M ? PN_TYPE_IQ2_XXS : larger ? PN_TYPE_IQ3_S : type;
    }
    return type;
}

static pn_type value_type(struct rules *r, pn_type type)
{
    int ft = r->mix->file_type, at = r->at_v++;
    bool grouped = r->n_gqa >= 4;
    if (ft == FT_Q2_K)
        type = grouped ? PN_TYPE_Q4_K : PN_TYPE_Q3_K;
    else if (ft == FT_IQ3_XXS)
        type = grouped ? PN_TYPE_Q4_K : r->requests->importance ? PN_TYPE_IQ3_XXS : PN_TYPE_IQ3_S;
    else if (ft == FT_IQ3_M || (grouped && ONE_OF(ft, FT_Q2_K_S, FT_IQ3_XS, FT_IQ3_S)))
        type = PN_TYPE_Q4_K;
    else if (ft == FT_Q3_K_M)
        type = at < 2 ? PN_TYPE_Q5_K : PN_TYPE_Q4_K;
    else if (ft == FT_Q3_K_L || (grouped && ONE_OF(ft, FT_IQ4_NL, FT_IQ4_XS)))
        type = PN_TYPE_Q5_K;
    else if (ONE_OF(ft, FT_Q4_K_M, FT_Q5_K_M) && careful(at, r->n_v))
        type = PN_TYPE_Q6_K;
    else if (ft == FT_Q4_K_S && at < 4)
        type = PN_TYPE_Q5_K;
    if (r->llama_70b && (type == PN_TYPE_Q3_K || type == PN_TYPE_Q4_K))
        type = PN_TYPE_Q5_K;
    return r->n_expert == 8 ? PN_TYPE_Q8_0 : type;
}

static pn_type down_type(struct rules *r, pn_type type, int layer)
{
    int ft = r->mix->file_type, n = r->n_layer;
    bool first = layer < n / 8, importance = r->requests->importance;
    switch (ft) {
    case FT_Q2_K:
        return PN_TYPE_Q3_K;
    case FT_Q2_K_S:
        return first ? PN_TYPE_Q4_K : type;
    case FT_IQ3_XXS:
        return importance ? type : first ? PN_TYPE_Q4_K : PN_TYPE_Q3_K;
    case FT_Q3_K_M:
        return layer < n / 16 ? PN_TYPE_Q5_K : !r->falcon || careful(layer, n) ? PN_TYPE_Q4_K : PN_TYPE_Q3_K;
    case FT_IQ3_M:
        return first || (r->n_expert == 8 && careful(layer, n)) ? PN_TYPE_Q4_K : type;
    case FT_Q3_K_L:
        return r->falcon ? PN_TYPE_Q4_K : PN_TYPE_Q5_K;
    case FT_Q4_K_M:
        if (r->falcon)
            return layer < n / 16 ? PN_TYPE_Q6_K : careful(layer, n) ? PN_TYPE_Q5_K : PN_TYPE_Q4_K;
        return careful(layer, n) ? PN_TYPE_Q6_K : type;
    case FT_IQ4_NL:
    case FT_IQ4_XS:
        return first && !importance ? PN_TYPE_Q5_K : type;
    case FT_Q5_K_M:
        return careful(layer, n) ? PN_TYPE_Q6_K : type;
    case FT_Q4_K_S:
        return !r->falcon && first ? PN_TYPE_Q5_K : type;
    case FT_Q4_0:
        return importance && first ? PN_TYPE_Q4_1 : type;
    case FT_Q5_0:
        return importance && first ? PN_TYPE_Q5_1 : type;
    default:
        return type;
    }
}

static pn_type attention_output_type(const struct rules *r, pn_type type)
{
    int ft = r->mix->file_type;
    if (r->falcon)
        return ft == FT_Q3_K_L ? PN_TYPE_Q4_K : type;
    if (r->n_expert == 8)
        return ONE_OF(ft, FT_Q2_K, FT_IQ3_XS, FT_IQ3_XXS, FT_Q3_K_S, FT_Q3_K_M, FT_IQ4_NL, FT_Q4_K_S, FT_Q4_K_M,
                      FT_IQ3_S, FT_IQ3_M, FT_IQ4_XS)
                   ? PN_TYPE_Q5_K
                   : type;
    switch (ft) {
    case FT_Q2_K:
        return PN_TYPE_Q3_K;
    case FT_IQ3_XXS:
        return PN_TYPE_IQ3_S;
    case FT_Q3_K_M:
    case FT_IQ3_M:
        return PN_TYPE_Q4_K;
    case FT_Q3_K_L:
        return PN_TYPE_Q5_K;
    default:
        return type;
    }
}

/* The layer of a feed-forward tensor: counted, or by its name where each layer may have several. */
static int layer_of(const struct rules *r, const char *name, int counted)
{
    int layer;
    return r->n_expert > 1 && sscanf(name, "blk.%d.", &layer) == 1 ? layer : counted;
}

static pn_type rule(struct rules *r, const struct pn_tensor_info *t)
{
    enum kind kind = kind_of(t->name);
    pn_type type = r->mix->base;
    int ft = r->mix->file_type, layer;
    if (kind == OUTPUT || (r->tied && kind == EMBEDDING))
        return output_type(r, type, t);
    if (ft == FT_MXFP4_MOE)
        return t->n_dims == 3 && t->shape[0] > 1 ? PN_TYPE_MXFP4 : PN_TYPE_Q8_0;
    if (kind == EMBEDDING)
        return embedding_type(r, type);
    if (ONE_OF(ft, FT_IQ2_XXS, FT_IQ2_XS, FT_IQ1_S, FT_IQ2_S, FT_IQ2_M, FT_IQ1_M))
        return small_type(r, type, kind);
    if (like_attn_v(kind))
        return value_type(r, type);
    switch (kind) {
    case ATTN_K:
    case ATTN_Q:
        if (kind == ATTN_K && r->n_expert == 8)
            return PN_TYPE_Q8_0;
        return ft == FT_IQ3_XS ? PN_TYPE_IQ3_XXS : ft == FT_IQ3_XXS ? PN_TYPE_IQ2_S : type;
    case FFN_DOWN:
        return down_type(r, type, layer_of(r, t->name, r->at_down++));
    case ATTN_OUT:
        return attention_output_type(r, type);
    case FFN_GATE:
    case FFN_UP:
        layer = layer_of(r, t->name, kind == FFN_GATE ? r->at_gate++ : r->at_up++);
        return ft == FT_IQ3_XS && layer >= r->n_layer / 8 && layer < 7 * r->n_layer / 8 ? PN_TYPE_IQ3_XXS : type;
    default:
        return type;
    }
}

/* ---- all tensors ---- */

static int meta_int(const struct pn_weights *w, const char *arch, const char *key)
{
    char full[160];
    snprintf(full, sizeof full, "%s.%s", arch, key);
    const struct pn_meta *m = pn_weights_meta(w, full);
    int64_t value = 0;
    if (m && m->type == PN_META_ARRAY)
        return m->n ? (int)pn_meta_item_i64(m, 0) : 0;
    return pn_meta_i64(w, full, &value, NULL) == PANTRY_OK && value > 0 && value < INT32_MAX ? (int)value : 0;
}

static void read_rules(struct rules *r, const struct pn_weights *w)
{
    struct pn_str s = {0};
    char arch[64];
    pn_meta_str(w, "general.architecture", &s, NULL);
    snprintf(arch, sizeof arch, "%.*s", (int)(s.len < sizeof arch ? s.len : 0), s.len ? s.data : "");
    int heads = meta_int(w, arch, "attention.head_count"), kv = meta_int(w, arch, "attention.head_count_kv");
    r->n_layer = meta_int(w, arch, "block_count");
    r->n_expert = meta_int(w, arch, "expert_count");
    r->n_gqa = kv ? heads / kv : 1;
    r->falcon = strcmp(arch, "falcon") == 0;
    r->llama_70b = strcmp(arch, "llama") == 0 && r->n_layer == 80 && heads != kv;
    r->tied = !pn_weights_tensor(w, "output.weight");
    for (size_t i = 0; i < w->n_tensors; i++)
        r->n_v += like_attn_v(kind_of(w->tensors[i].name));
}

struct order {
    const struct pn_tensor_info *t;
    int layer;
    size_t at;
};

/* By layer, then by name: the order in which the counters count. */
static int compare_order(const void *a, const void *b)
{
    const struct order *x = a, *y = b;
    return x->layer != y->layer ? (x->layer < y->layer ? -1 : 1) : strcmp(x->t->name, y->t->name);
}

/* The option that names the tensor, or SIZE_MAX. */
static size_t find_pattern(pcre2_code *const *codes, size_t n, const char *name, pcre2_match_data *data)
{
    for (size_t i = 0; i < n; i++)
        if (pcre2_match(codes[i], (PCRE2_SPTR)name, strlen(name), 0, 0, data, NULL) >= 0)
            return i;
    return SIZE_MAX;
}

static pn_type choose(struct rules *r, const struct pn_tensor_info *t, size_t pattern, size_t *n_fallbacks)
{
    const struct pn_mix_requests *requests = r->requests;
    enum kind kind = kind_of(t->name);
    pn_type type = r->mix->base;
    if (!pn_mix_quantizes(t))
        return t->type;
    if (requests->has_embedding && kind == EMBEDDING &&
        !(pattern != SIZE_MAX && strcmp(t->name, "per_layer_token_embd.weight") == 0))
        type = requests->embedding;
    else if (requests->has_output && kind == OUTPUT)
        type = requests->output;
    else if (pattern != SIZE_MAX)
        type = requests->types[pattern];
    else if (pn_type_info(type)->block > 1 && !requests->pure)
        type = rule(r, t);
    pn_type fitting = pn_mix_fallback(type, t->shape[t->n_dims - 1]);
    *n_fallbacks += fitting != type;
    return fitting;
}

static pantry_status compile(const struct pn_mix_requests *requests, pcre2_code **codes, struct pantry_error *err)
{
    for (size_t i = 0; i < requests->n_patterns; i++) {
        int number;
        size_t offset;
        unsigned char text[128];
        codes[i] = pcre2_compile((PCRE2_SPTR)requests->patterns[i], PCRE2_ZERO_TERMINATED, 0, &number, &offset, NULL);
        if (codes[i])
            continue;
        pcre2_get_error_message(number, text, sizeof text);
        return pn_fail(err, PANTRY_INVALID, "\"%.200s\": wrong pattern of names at character %zu: %s",
                       requests->patterns[i], offset + 1, (const char *)text);
    }
    return PANTRY_OK;
}

pantry_status pn_mix_types(const struct pn_weights *w, const struct pn_mix *mix, const struct pn_mix_requests *requests,
                           pn_type *types, size_t *n_fallbacks, struct pantry_error *err)
{
    struct rules rules = {.mix = mix, .requests = requests};
    struct order *order = calloc(w->n_tensors + 1, sizeof *order);
    pcre2_code **codes = calloc(requests->n_patterns + 1, sizeof *codes);
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    pantry_status status = order && codes && data ? compile(requests, codes, err) : pn_no_memory(err, w->path);
    *n_fallbacks = 0;
    if (!status) {
        read_rules(&rules, w);
        for (size_t i = 0; i < w->n_tensors; i++) {
            order[i] = (struct order){&w->tensors[i], -1, i};
            sscanf(w->tensors[i].name, "blk.%d.", &order[i].layer);
        }
        qsort(order, w->n_tensors, sizeof *order, compare_order);
        for (size_t i = 0; i < w->n_tensors; i++)
            types[order[i].at] = choose(&rules, order[i].t,
                                        find_pattern(codes, requests->n_patterns, order[i].t->name, data), n_fallbacks);
    }
    for (size_t i = 0; codes && i < requests->n_patterns; i++)
        pcre2_code_free(codes[i]);
    pcre2_match_data_free(data);
    free(codes);
    free(order);
    return status;
}
