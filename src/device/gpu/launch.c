/* Launches of all operations but products: see launch.h. */
#include "device/gpu/launch.h"

#include <assert.h>

/* Kernels have these numbers in common.gpu. */
static_assert(PN_ROWS_TOKENS == 1 && PN_ROWS_OUTPUTS == 2 && PN_ROWS_HIDDEN == 3 && PN_ROWS_SEQS == 4 &&
                  PN_ROWS_ONE == 5,
              "rows");
static_assert(PN_ROPE_PAIRS == 0 && PN_ROPE_HALVES == 1, "rotations");
static_assert(PN_WINDOW_SLIDING == 0 && PN_WINDOW_CHUNKED == 1 && PN_WINDOW_SYMMETRIC == 2 && PN_WINDOW_LISTED == 3,
              "windows");
static_assert(PN_GATE_SOFTMAX == 0 && PN_GATE_SIGMOID == 1 && PN_GATE_SOFTMAX_CHOSEN == 2, "gates");
static_assert(PN_GPU_PAGE == PN_PAGE_TOKENS && PN_GPU_MAX_SRC == PN_MAX_SRC && PN_GPU_MAX_PLANES == PN_MAX_PLANES,
              "limits");
static_assert(sizeof(struct pn_gpu_args) <= 4096, "Metal copies at most 4 KiB");

enum { LOOKUP_IDS, LOOKUP_POSITIONS, LOOKUP_KINDS };

/* The most values of a row of recurrent state: eight per lane. */
enum { MAX_STATE_ROW = 8 * PN_GPU_WARP };
/* Attention splits a context until this many groups work at once, but gives none fewer positions than MIN_SPLIT. */
enum { WANTED_GROUPS = 512, MAX_SPLITS = 32, MIN_SPLIT = 64 };

/* A launch with a group for every N_THREADS values of a row. */
static void by_values(struct pn_gpu_list *list, int64_t rows, struct pn_gpu_launch *l, enum pn_gpu_kernel kernel,
                      int64_t values)
{
    l->kernel = kernel;
    l->groups[0] = pn_gpu_groups(values, pn_gpu_kernel_threads(kernel));
    l->groups[1] = (u32)rows;
    l->groups[2] = 1;
    pn_gpu_emit(list, l);
}

/* A launch with a group for every head of a row. */
static void by_heads(struct pn_gpu_list *list, int64_t rows, struct pn_gpu_launch *l, enum pn_gpu_kernel kernel,
                     int64_t heads)
{
    l->kernel = kernel;
    l->groups[0] = (u32)heads;
    l->groups[1] = (u32)rows;
    l->groups[2] = 1;
    pn_gpu_emit(list, l);
}

static int64_t values_of(const struct pn_node *n)
{
    return (int64_t)n->n1 * n->n2;
}

/* ---- element-wise ---- */

static void emit_add(struct pn_gpu_list *list, const struct pn_node *n, int64_t rows, struct pn_gpu_launch *l)
{
    by_values(list, rows, l, n->op == PN_OP_ADD ? PN_GPU_add : PN_GPU_mul, values_of(n));
}

static void emit_mul_heads(struct pn_gpu_list *list, const struct pn_node *n, int64_t rows, struct pn_gpu_launch *l)
{
    l->args.p.i[0] = l->args.src_n1[1] == 1;
    by_values(list, rows, l, PN_GPU_mul_heads, values_of(n));
}

static void emit_scale(struct pn_gpu_list *list, const struct pn_node *n, int64_t rows, struct pn_gpu_launch *l)
{
    l->args.p.f[0] = n->scale.factor;
    l->args.p.f[1] = n->scale.offset;
    by_values(list, rows, l, n->op == PN_OP_SCALE ? PN_GPU_scale : PN_GPU_softcap, values_of(n));
}

static void emit_act(struct pn_gpu_list *list, const struct pn_node *n, int64_t rows, struct pn_gpu_launch *l)
{
    l->args.p.i[0] = (i32)n->fn;
    by_values(list, rows, l, PN_GPU_act, values_of(n));
}

static void emit_clamp(struct pn_gpu_list *list, const struct pn_node *n, int64_t rows, struct pn_gpu_launch *l)
{
    l->args.p.f[0] = n->clamp.low;
    l->args.p.f[1] = n->clamp.high;
    by_values(list, rows, l, PN_GPU_clamp_values, values_of(n));
}

/* One head of an operand may serve all of the result's. */
static void repeat_head(struct pn_gpu_launch *l, int src)
{
    if (l->args.src_n1[src] == 1)
        l->args.src[src].stride1 = 0;
}

static void emit_concat(struct pn_gpu_list *list, const struct pn_node *n, int64_t rows, struct pn_gpu_launch *l)
{
    repeat_head(l, 1);
    by_values(list, rows, l, PN_GPU_concat, values_of(n));
}

static void emit_mix(struct pn_gpu_list *list, const struct pn_node *n, int64_t rows, struct pn_gpu_launch *l)
{
    by_values(list, rows, l, PN_GPU_mix_rows, values_of(n));
}

static void emit_after(struct pn_gpu_list *list, const struct pn_node *n, int64_t rows, struct pn_gpu_launch *l)
{
    by_values(list, rows, l, PN_GPU_copy_rows, values_of(n));
}

static void emit_pos_scale(struct pn_gpu_list *list, const struct pn_node *n, int64_t rows, struct pn_gpu_launch *l)
{
    l->args.p.f[0] = n->pos.scale;
    l->args.p.f[1] = n->pos.floor;
    l->args.p.f[2] = n->pos.offset;
    by_values(list, rows, l, PN_GPU_pos_scale, values_of(n));
}

/* ---- rows ---- */

static void emit_lookup(struct pn_gpu_list *list, const struct pn_node *n, int64_t rows, struct pn_gpu_launch *l)
{
    l->args.p.i[0] = n->op == PN_OP_EMBED ? LOOKUP_IDS : n->op == PN_OP_POS_EMBED ? LOOKUP_POSITIONS : LOOKUP_KINDS;
    by_values(list, rows, l, PN_GPU_lookup, ((int64_t)n->n2 + 31) / 32);
}

static void emit_given(struct pn_gpu_list *list, const struct pn_node *n, int64_t rows, struct pn_gpu_launch *l)
{
    l->args.p.i[0] = n->given.offset;
    l->args.p.i[1] = n->given.add;
    l->args.p.i[2] = n->n_src > 0 && n->src[0] != PN_NONE;
    by_values(list, rows, l, PN_GPU_given, values_of(n));
}

static void emit_rows(struct pn_gpu_list *list, const struct pn_node *n, int64_t rows, struct pn_gpu_launch *l)
{
    by_values(list, rows, l, n->op == PN_OP_ROWS ? PN_GPU_rows : PN_GPU_mean_rows, values_of(n));
}

/* ---- over a head ---- */

static void emit_norm(struct pn_gpu_list *list, const struct pn_node *n, int64_t rows, struct pn_gpu_launch *l)
{
    l->args.p.f[0] = n->norm.eps;
    l->args.p.i[1] = n->op == PN_OP_LAYER_NORM;
    l->shared = (size_t)pn_gpu_kernel_threads(PN_GPU_normalize) / PN_GPU_WARP * sizeof(float);
    by_heads(list, rows, l, PN_GPU_normalize, n->n1);
}

static void emit_cutoff(struct pn_gpu_list *list, const struct pn_node *n, int64_t rows, struct pn_gpu_launch *l)
{
    l->args.p.f[0] = n->scale.factor;
    l->shared = (size_t)pn_gpu_kernel_threads(PN_GPU_cutoff) / PN_GPU_WARP * sizeof(float);
    by_heads(list, rows, l, PN_GPU_cutoff, n->n1);
}

static void emit_match(struct pn_gpu_list *list, const struct pn_node *n, int64_t rows, struct pn_gpu_launch *l)
{
    repeat_head(l, 1);
    l->shared = (size_t)pn_gpu_kernel_threads(PN_GPU_match) / PN_GPU_WARP * sizeof(float);
    by_heads(list, rows, l, PN_GPU_match, n->n1);
}

static void emit_argmax(struct pn_gpu_list *list, const struct pn_node *n, int64_t rows, struct pn_gpu_launch *l)
{
    l->shared = 2 * (size_t)pn_gpu_kernel_threads(PN_GPU_argmax) * sizeof(float);
    by_heads(list, rows, l, PN_GPU_argmax, n->n1);
}

/* ---- rotations ---- */

static void emit_rope_table(struct pn_gpu_list *list, const struct pn_node *n, int64_t rows, struct pn_gpu_launch *l)
{
    struct pn_gpu_rope *p = &l->args.p.rope;
    *p = (struct pn_gpu_rope){.n_short = n->rope.n_short,
                              .n_rot = n->rope.n_rot,
                              .interleaved = n->rope.split.interleaved,
                              .magnitude = n->rope.magnitude};
    for (int i = 0; i < 4; i++)
        p->split[i] = n->rope.split.n[i];
    by_values(list, rows, l, PN_GPU_rope_table, n->rope.n_rot / 2);
}

static void emit_rope(struct pn_gpu_list *list, const struct pn_node *n, int64_t rows, struct pn_gpu_launch *l)
{
    l->args.p.rope = (struct pn_gpu_rope){.n_rot = n->rope.n_rot, .kind = (i32)n->rope.kind};
    by_values(list, rows, l, PN_GPU_rope, (int64_t)n->n1 * (n->n2 - n->rope.n_rot / 2));
}

/* ---- experts ---- */

static size_t route_shared(const struct pn_node *n)
{
    return ((size_t)n->route.n_expert + 2 * (size_t)pn_gpu_kernel_threads(PN_GPU_route)) * sizeof(float);
}

static void emit_route(struct pn_gpu_list *list, const struct pn_node *n, int64_t rows, struct pn_gpu_launch *l)
{
    const struct pn_route_params *r = &n->route;
    l->args.p.route = (struct pn_gpu_route){.gate = (i32)r->gate,
                                            .n_expert = r->n_expert,
                                            .n_used = r->n_used,
                                            .n_groups = r->n_groups,
                                            .n_groups_used = r->n_groups_used,
                                            .renormalize = r->renormalize,
                                            .scale = r->scale};
    l->shared = route_shared(n);
    by_heads(list, rows, l, PN_GPU_route, 1);
}

static void emit_each(struct pn_gpu_list *list, const struct pn_node *n, int64_t rows, struct pn_gpu_launch *l)
{
    if (n->op == PN_OP_EACH_BIAS)
        by_heads(list, rows, l, PN_GPU_each_bias, n->n1);
    else
        by_values(list, rows, l, n->op == PN_OP_EACH_SUM ? PN_GPU_each_sum : PN_GPU_each_scale, values_of(n));
}

/* ---- attention ---- */

static struct pn_gpu_attention attention_params(const struct pn_attention_params *p)
{
    return (struct pn_gpu_attention){.n_head_kv = p->n_head_kv,
                                     .dim_k = p->dim_k,
                                     .dim_v = p->dim_v,
                                     .value_in_key = p->value_in_key,
                                     .window = p->window,
                                     .window_kind = (i32)p->window_kind,
                                     .causal = p->causal,
                                     .shown = p->shown,
                                     .n_splits = 1,
                                     .bias_reach = -1,
                                     .scale = p->scale,
                                     .softcap = p->softcap,
                                     .alibi = p->alibi};
}

static void add_cache(struct pn_gpu_attention *p, const struct pn_cache *c)
{
    p->k = (uintptr_t)c->k;
    p->v = (uintptr_t)c->v;
    p->k_row = (i64)c->k_row;
    p->v_row = (i64)c->v_row;
    p->k_page = (i64)c->k_page;
    p->v_page = (i64)c->v_page;
    p->type = (i32)c->type;
    p->group = c->group;
}

static void emit_cache_write(struct pn_gpu_list *list, const struct pn_node *n, int64_t rows, struct pn_gpu_launch *l)
{
    const struct pn_attention_params *p = &n->attn;
    l->args.p.attn = attention_params(p);
    add_cache(&l->args.p.attn, &list->batch->caches[p->cache]);
    int64_t units = (p->dim_k + 31) / 32 + (p->value_in_key ? 0 : (p->dim_v + 31) / 32);
    by_values(list, rows, l, PN_GPU_cache_write, p->n_head_kv * units);
}

/* How many parts a context is split into, so that few rows keep the whole GPU busy. */
static int splits_of(const struct pn_batch *b, const struct pn_node *n, int64_t rows)
{
    int64_t longest = 0, groups = rows * n->n1, splits = (WANTED_GROUPS + groups - 1) / groups;
    for (int i = 0; i < b->n_seqs; i++) {
        int64_t end = (int64_t)b->seqs[i].past + b->seqs[i].n;
        longest = end > longest ? end : longest;
    }
    if (n->attn.window > 0 && n->attn.window < longest)
        longest = n->attn.window;
    int64_t most = longest / MIN_SPLIT < MAX_SPLITS ? longest / MIN_SPLIT : MAX_SPLITS;
    splits = splits < most ? splits : most;
    return splits < 1 ? 1 : (int)splits;
}

static size_t partial_bytes(const struct pn_node *n, int64_t groups, int64_t splits)
{
    return (size_t)(groups * splits) * (2 + (size_t)n->attn.dim_v) * sizeof(float);
}

static void emit_attention(struct pn_gpu_list *list, const struct pn_node *n, int64_t rows, struct pn_gpu_launch *l)
{
    struct pn_gpu_attention *p = &l->args.p.attn;
    bool cached = n->op == PN_OP_ATTENTION;
    enum pn_gpu_kernel kernel = cached ? PN_GPU_attention : PN_GPU_attend;
    *p = attention_params(&n->attn);
    if (cached) {
        add_cache(p, &list->batch->caches[n->attn.cache]);
        l->args.src[3] = l->args.src[2]; /* the sinks, where `attend` has them */
    }
    if (l->args.w.plane[0].data)
        p->bias_reach = l->args.w.n_cols / 2;
    p->n_splits = splits_of(list->batch, n, rows);
    p->partial = list->scratch;
    size_t warps = (size_t)pn_gpu_kernel_threads(kernel) / PN_GPU_WARP;
    l->shared = ((size_t)p->dim_k + warps * (2 + (size_t)p->dim_v)) * sizeof(float);
    l->kernel = kernel;
    l->groups[0] = (u32)n->n1;
    l->groups[1] = (u32)rows;
    l->groups[2] = (u32)p->n_splits;
    l->waits = true;
    pn_gpu_emit(list, l);
    if (p->n_splits > 1) {
        l->shared = 16;
        by_heads(list, rows, l, PN_GPU_attention_merge, n->n1);
    }
}

/* ---- recurrences ---- */

static void emit_conv(struct pn_gpu_list *list, const struct pn_node *n, int64_t rows, struct pn_gpu_launch *l)
{
    l->args.p.recurrent = (struct pn_gpu_recurrent){.offset = (i64)n->recurrent.offset, .k = l->args.src_n2[1] / n->n2};
    l->waits = true;
    by_values(list, rows, l, PN_GPU_conv, n->n2);
    by_values(list, list->batch->n_seqs, l, PN_GPU_conv_state, n->n2);
}

static void emit_scan(struct pn_gpu_list *list, const struct pn_node *n, int64_t rows, struct pn_gpu_launch *l)
{
    (void)rows;
    enum pn_gpu_kernel kernel = n->op == PN_OP_DELTA ? PN_GPU_delta : PN_GPU_ssm_scan;
    l->args.p.recurrent = (struct pn_gpu_recurrent){
        .offset = (i64)n->recurrent.offset, .interleaved = n->recurrent.interleaved, .scale = n->recurrent.scale};
    l->kernel = kernel;
    l->groups[0] = pn_gpu_groups(values_of(n), pn_gpu_kernel_threads(kernel) / PN_GPU_WARP);
    l->groups[1] = (u32)list->batch->n_seqs;
    l->groups[2] = 1;
    l->waits = true;
    pn_gpu_emit(list, l);
}

/* ---- the table ---- */

static pn_gpu_op_fn *const ops[PN_OP_COUNT] = {
    [PN_OP_EMBED] = emit_lookup,
    [PN_OP_POS_EMBED] = emit_lookup,
    [PN_OP_KIND_EMBED] = emit_lookup,
    [PN_OP_GIVEN] = emit_given,
    [PN_OP_ROWS] = emit_rows,
    [PN_OP_MEAN_ROWS] = emit_rows,
    [PN_OP_ARGMAX] = emit_argmax,
    [PN_OP_ADD] = emit_add,
    [PN_OP_MUL] = emit_add,
    [PN_OP_MUL_HEADS] = emit_mul_heads,
    [PN_OP_SCALE] = emit_scale,
    [PN_OP_SOFTCAP] = emit_scale,
    [PN_OP_ACT] = emit_act,
    [PN_OP_CLAMP] = emit_clamp,
    [PN_OP_CONCAT] = emit_concat,
    [PN_OP_RMS_NORM] = emit_norm,
    [PN_OP_LAYER_NORM] = emit_norm,
    [PN_OP_CUTOFF] = emit_cutoff,
    [PN_OP_MATCH] = emit_match,
    [PN_OP_MIX] = emit_mix,
    [PN_OP_ROPE_TABLE] = emit_rope_table,
    [PN_OP_ROPE] = emit_rope,
    [PN_OP_POS_SCALE] = emit_pos_scale,
    [PN_OP_ROUTE] = emit_route,
    [PN_OP_EACH_SCALE] = emit_each,
    [PN_OP_EACH_BIAS] = emit_each,
    [PN_OP_EACH_SUM] = emit_each,
    [PN_OP_MATMUL] = pn_gpu_matmul,
    [PN_OP_MATMUL_EACH] = pn_gpu_matmul_each,
    [PN_OP_CACHE_WRITE] = emit_cache_write,
    [PN_OP_ATTENTION] = emit_attention,
    [PN_OP_ATTEND] = emit_attention,
    [PN_OP_CONV] = emit_conv,
    [PN_OP_SSM_SCAN] = emit_scan,
    [PN_OP_DELTA] = emit_scan,
    [PN_OP_AFTER] = emit_after,
};

pn_gpu_op_fn *pn_gpu_op(enum pn_op op)
{
    return ops[op];
}

bool pn_gpu_can(const struct pn_graph *g, const struct pn_node *n)
{
    if (!ops[n->op])
        return false;
    switch (n->op) {
    case PN_OP_ATTENTION:
    case PN_OP_ATTEND:
        return n->attn.dim_k <= PN_GPU_MAX_DIM && n->attn.dim_v <= PN_GPU_MAX_DIM;
    case PN_OP_SSM_SCAN:
        return pn_node(g, n->src[2])->n2 <= MAX_STATE_ROW;
    case PN_OP_DELTA:
        return pn_node(g, n->src[1])->n2 <= MAX_STATE_ROW;
    default:
        return true;
    }
}

size_t pn_gpu_scratch(const struct pn_graph *g, const struct pn_node *n, int64_t rows)
{
    switch (n->op) {
    case PN_OP_ATTENTION:
    case PN_OP_ATTEND: {
        /* With more than one split, fewer than WANTED_GROUPS groups make fewer than twice as many. */
        int64_t most = rows * n->n1 * MAX_SPLITS;
        return partial_bytes(n, most < 2 * WANTED_GROUPS ? most : 2 * WANTED_GROUPS, 1);
    }
    case PN_OP_MATMUL:
        return pn_gpu_matmul_scratch(g, n, rows);
    case PN_OP_MATMUL_EACH:
        return pn_gpu_matmul_each_scratch(g, n, rows);
    default:
        return 0;
    }
}

int pn_gpu_matrix_operand(enum pn_op op)
{
    switch (op) {
    case PN_OP_EMBED:
    case PN_OP_POS_EMBED:
    case PN_OP_KIND_EMBED:
        return 0;
    case PN_OP_MATMUL:
    case PN_OP_MATMUL_EACH:
        return 1;
    case PN_OP_EACH_BIAS:
        return 2;
    case PN_OP_ATTENTION:
        return 3;
    case PN_OP_ATTEND:
        return 4;
    default:
        return -1;
    }
}
