/* Lazy arrays: a model is defined once as operations on arrays; nothing is computed until a plan of the graph runs.
 *
 * An array has three dimensions (rows, n1, n2), outermost first, n2 contiguous. Its number of rows is the number of
 * tokens (or outputs, or sequences) of the step, known only when it runs. A (tokens, n) array is (tokens, 1, n); heads
 * make it (tokens, heads, head_dim). Activations are float32.
 *
 * Errors are sticky: an operation on wrong shapes records its error in the graph and returns PN_NONE; operations on
 * PN_NONE return PN_NONE. Check pn_graph_status once, after building. */
#ifndef PN_TENSOR_GRAPH_H
#define PN_TENSOR_GRAPH_H

#include "base/alloc.h"
#include "base/status.h"
#include "tensor/act.h"
#include "tensor/batch.h"
#include "tensor/weight.h"

typedef int32_t pn_array;
#define PN_NONE ((pn_array)-1)

enum pn_op {
#define PN_OP(NAME, name, kind, trait, gradient) PN_OP_##NAME,
#include "tensor/op.def"
#undef PN_OP
    PN_OP_COUNT
};

/* See op.def. */
enum pn_op_kind { PN_KIND_LEAF, PN_KIND_VIEW, PN_KIND_ROW, PN_KIND_WIDE };
enum pn_op_trait { PN_TRAIT_PLAIN, PN_TRAIT_ELEMENTWISE, PN_TRAIT_REGROUPS, PN_TRAIT_RECURRENT };

/* The kind of an array's rows. */
enum pn_rows {
    PN_ROWS_NONE,    /* none: a weight */
    PN_ROWS_TOKENS,  /* one per token of the step */
    PN_ROWS_OUTPUTS, /* tokens with requested logits */
    PN_ROWS_HIDDEN,  /* tokens with requested hidden states */
    PN_ROWS_SEQS,    /* one per sequence */
    PN_ROWS_ONE,     /* one for the whole step: the gradient of a weight */
    PN_ROWS_COUNT
};

enum pn_rope_kind {
    PN_ROPE_PAIRS, /* rotates (x[2i], x[2i+1]): the original form (Su et al., RoFormer, 2021) */
    PN_ROPE_HALVES /* rotates (x[i], x[i + n_rot/2]): GPT-NeoX's form */
};

/* The number of pairs that rotate with each position (Qwen2-VL's M-RoPE, 2024): time, height, width, and the rest. All
 * 0: all pairs rotate with the first position. The pattern repeats if there are more pairs. */
struct pn_rope_split {
    int n[4];
    bool interleaved; /* time, height, width in turn, until each is used up; false: one after another */
};

enum pn_window_kind {
    PN_WINDOW_SLIDING,   /* a token at position p sees positions > p - w */
    PN_WINDOW_CHUNKED,   /* ... from the last multiple of w on */
    PN_WINDOW_SYMMETRIC, /* ... those at most w / 2 away in both directions */
    PN_WINDOW_LISTED     /* ... those from batch.first to batch.last */
};

struct pn_attention_params {
    int cache; /* index of the layer's cache */
    int n_head_kv, dim_k, dim_v;
    bool value_in_key; /* a value is the first dim_v numbers of its key and is not stored separately */
    float scale;       /* of q.k, before the soft cap */
    float softcap;     /* c > 0: scores become c tanh(s / c) */
    float alibi;       /* b > 0: scores fall with the distance, by up to 2^(-b / n_head) per position */
    int window;        /* w > 0: see pn_window_kind; 0: none */
    enum pn_window_kind window_kind;
    bool causal;
    bool shown; /* a token sees the positions from batch.first to batch.last, and no others */
};

/* How experts and their weights follow from a router's logits. */
enum pn_gate {
    PN_GATE_SOFTMAX,       /* over all experts */
    PN_GATE_SIGMOID,       /* for each expert */
    PN_GATE_SOFTMAX_CHOSEN /* over the chosen experts */
};

enum { PN_MAX_EXPERTS = 4096, PN_MAX_EXPERTS_USED = 256, PN_MAX_EXPERT_GROUPS = 64 };

struct pn_route_params {
    enum pn_gate gate;
    int n_expert, n_used;
    int n_groups, n_groups_used; /* n_groups > 1: only experts of the best groups; see pn_route_row */
    bool renormalize;            /* the weights are divided by their sum */
    float scale;                 /* factor of the weights, applied last */
};

struct pn_recurrent_params {
    size_t offset;    /* offset of this operation's state in a sequence's, in floats */
    float scale;      /* DELTA: of the queries */
    bool interleaved; /* DELTA: key head h serves value heads h * group ..., not h, h + n_head_k ... */
};

enum { PN_MAX_SRC = 6, PN_MAX_NODES = 1 << 20 };

struct pn_node {
    enum pn_op op;
    enum pn_rows rows;
    int32_t n1, n2;
    int32_t layer; /* of the model; below 0: before the first layer; the number of layers: after the last */
    int n_src;
    pn_array src[PN_MAX_SRC]; /* PN_NONE if an optional operand is absent, and from n_src on */
    union {
        const struct pn_weight *weight;
        struct {
            const char *name;
        } input;
        struct {
            int32_t offset; /* of the values in a given row */
            bool add;       /* to the operand, not instead of it */
        } given;
        struct {
            float eps;
        } norm;
        struct {
            float factor, offset;
        } scale; /* SCALE: x * factor + offset; SOFTCAP: factor tanh(x / factor); CROSS_ENTROPY: see grad.h */
        enum pn_act_fn fn;
        struct {
            int n_short;     /* the longest context that uses the first of two frequency sets */
            float magnitude; /* of cos and sin */
            int n_rot;
            enum pn_rope_kind kind;
            struct pn_rope_split split;
        } rope;
        struct {
            float low, high;
        } clamp;
        struct {
            float share;
            uint32_t salt;
        } dropout;
        struct {
            float scale, floor, offset;
        } pos;
        struct pn_route_params route;
        struct pn_recurrent_params recurrent;
        struct pn_attention_params attn; /* also CACHE_WRITE: cache, dims; ATTEND */
        struct {
            int32_t offset;
            int64_t stride0, stride1; /* floats; 0: of the operand */
        } view;
    };
};

struct pn_graph {
    struct pn_arena arena;
    struct pn_node *data;
    size_t len, cap;
    struct pantry_error error; /* the first one */
    const char *context;       /* prefix of errors: the layer being built */
    int32_t layer;             /* ... and its number, for nodes */
};

void pn_graph_init(struct pn_graph *g);
void pn_graph_free(struct pn_graph *g);
pantry_status pn_graph_status(const struct pn_graph *g, struct pantry_error *err);
/* Records the first failure; returns PN_NONE. */
pn_array pn_graph_fail(struct pn_graph *g, pantry_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Appends a node (for op/); its operands after the first n_src become PN_NONE. */
pn_array pn_graph_add(struct pn_graph *g, struct pn_node node);

/* The number of rows of that kind in a step. */
static inline int64_t pn_batch_n_rows(const struct pn_batch *b, enum pn_rows rows)
{
    return rows == PN_ROWS_ONE       ? 1
           : rows == PN_ROWS_SEQS    ? b->n_seqs
           : rows == PN_ROWS_OUTPUTS ? b->n_outputs
           : rows == PN_ROWS_HIDDEN  ? b->n_hidden
                                     : b->n_tokens;
}

/* The tokens of the outputs or hidden states. */
static inline const int32_t *pn_batch_list(const struct pn_batch *b, enum pn_rows rows)
{
    return rows == PN_ROWS_HIDDEN ? b->hidden_rows : b->out_rows;
}

static inline const struct pn_node *pn_node(const struct pn_graph *g, pn_array a)
{
    return &g->data[a];
}

/* The array that `a` is a view of (or `a` itself), and the view's place in it. */
struct pn_view_shape {
    pn_array base;
    int64_t offset, stride0, stride1; /* floats */
};
struct pn_view_shape pn_view_of(const struct pn_graph *g, pn_array a);

const char *pn_rows_name(enum pn_rows rows); /* "tokens" */
const char *pn_op_name(enum pn_op op);
enum pn_op_kind pn_op_kind(enum pn_op op);
enum pn_op_trait pn_op_trait(enum pn_op op);

#endif
