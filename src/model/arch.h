/* The architecture table: each row says only how an architecture differs. The rows are in archs.c. */
#ifndef PN_MODEL_ARCH_H
#define PN_MODEL_ARCH_H

#include "tensor/graph.h"

struct pn_builder;

/* A part of a layer: (tokens, n_embd) -> same. */
typedef pn_array pn_block_fn(struct pn_builder *b, int layer, pn_array x);

/* Which layers have the recurrent block instead of attention. */
enum pn_recurrent_layers {
    PN_RECURRENT_ALL,
    PN_RECURRENT_NO_KV_HEADS, /* those without key/value heads (and without feed-forward part if single_block) */
    PN_RECURRENT_BESIDE,      /* none: the attention block includes it */
    PN_RECURRENT_LISTED       /* from the file's list, or all but every n-th */
};

enum pn_norm_kind {
    PN_NORM_RMS,
    PN_NORM_LAYER,
    PN_NORM_FROM_FILE /* RMS if the file has an epsilon for it */
};

/* How attention and feed-forward are added to the residual stream. */
enum pn_layer_order {
    PN_ORDER_PRE,       /* x += attention(norm(x)); x += mlp(norm(x)) */
    PN_ORDER_SANDWICH,  /* x += norm(attention(norm(x))); x += norm(mlp(norm(x))) */
    PN_ORDER_POST,      /* x += norm(attention(x)); x += norm(mlp(x)) */
    PN_ORDER_SUM_NORM,  /* x = norm(x + attention(x)); x = norm(x + mlp(x)): the original transformer's */
    PN_ORDER_PARALLEL,  /* x += attention(norm(x)) + mlp(norm(x)) */
    PN_ORDER_FROM_FILE, /* PARALLEL or PRE, by use_parallel_residual */
    PN_ORDER_FROM_NORMS /* PARALLEL in layers without a second norm, else PRE */
};

enum pn_qk_norm {
    PN_QK_NORM_NONE,
    PN_QK_NORM_HEAD,        /* per head of q and k, before rotation */
    PN_QK_NORM_HEAD_AFTER,  /* ... after rotation */
    PN_QK_NORM_HEAD_MAYBE,  /* ... before rotation, if the file has weights for it */
    PN_QK_NORM_WHOLE,       /* all heads together, before rotation */
    PN_QK_NORM_WHOLE_MAYBE, /* ... if the file has weights for it */
    PN_QK_NORM_LENGTH_AFTER /* per head after rotation, without weights */
};

enum pn_logit_scaling { PN_LOGITS_UNSCALED, PN_LOGITS_TIMES_SCALE, PN_LOGITS_OVER_SCALE };

/* Which layers rotate queries and keys. */
enum pn_rope_where {
    PN_ROPE_ALL,
    PN_ROPE_NEVER,
    PN_ROPE_LOCAL_ONLY,
    PN_ROPE_LOCAL_OR_DENSE, /* ... and the leading layers without experts */
    PN_ROPE_IF_FINETUNED
};

/* rope.dimension_sections: pairs that rotate with time, height and width, and pairs that do not rotate in a text. */
enum pn_rope_sections { PN_SECTIONS_NONE, PN_SECTIONS_BLOCKS, PN_SECTIONS_INTERLEAVED };

enum pn_choice { PN_NO, PN_YES, PN_FROM_FILE };

/* One row. A member that is all zero is taken from the row named by `like`, unless `without` lists it; a member that is
 * given replaces the other row's as a whole. Members called n_layers: only models with that many layers; 0: all. */
struct pn_arch {
    const char *name;    /* general.architecture */
    const char *hf;      /* "architectures" of a Hugging Face config.json */
    const char *like;    /* a row above */
    const char *without; /* members not taken from it: "moe window" */

    bool encoder; /* every token attends to the whole text, and the result is states, not logits */

    struct {
        pn_block_fn *attention, *mlp;
        pn_block_fn *dense;          /* in layers without a router; NULL: pn_block_gated_mlp */
        pn_block_fn *layer;          /* replaces the whole layer: attention and mlp joined by `order` */
        pn_block_fn *widen, *narrow; /* before the first layer and after the last: (tokens, n, n_embd) between them */
        bool optional; /* a layer without heads has no attention, one without key/value heads only the output product,
                          one with a feed-forward length of 0 no feed-forward block */
    } block;

    struct {
        pn_block_fn *block; /* NULL: no layer is recurrent */
        enum pn_recurrent_layers layers;
        bool scales;       /* products have scales of their own */
        bool interleaved;  /* delta rule: neighbouring value heads share a key head */
        bool single_block; /* a layer is one block only: recurrent, feed-forward or attention */
    } recurrent;

    struct {
        enum pn_norm_kind kind;
        bool plain;      /* without weights */
        bool skip_first; /* the first layer has no norm before attention */
        bool embedding;  /* embeddings are normalized */
    } norm;
    enum pn_layer_order order;

    struct {                        /* tensors and keys with unusual names; NULL: the usual one */
        const char *layer_prefix;   /* before "blk." */
        const char *attn_output;    /* "attn_output": the product after attention */
        const char *attn_post_norm; /* "post_attention_norm" */
        const char *ffn_norm;       /* "ffn_norm": before the feed-forward block */
        const char *ffn_post_norm;  /* "post_ffw_norm" */
        const char *output_norm;    /* "output_norm": after the last layer */
        const char *attn_scale;     /* the key "attention.scale" */
    } names;
    const char *unused; /* layer tensors to ignore: "attn_output.bias ..." */

    struct {
        enum pn_act_fn act;
        bool plain_relu;    /* blocks without a gate use ReLU instead of `act` */
        bool scales;        /* products have scales of their own (ffn_up.scale ...) */
        bool as_stream;     /* the length is n_embd, whatever the file says */
        bool halved;        /* the file gives twice the length */
        bool limit_first;   /* the limit applies to gates before their activation, not after */
        float swiglu_limit; /* l > 0: gates <= l, up in [-l, l] plus 1 (gpt-oss) */
    } ffn;
    struct {
        int n_layers;     /* in the first n layers, when the file does not say: */
        float deviations; /* gates below mean + deviations * standard deviation become 0 */
    } sparsity;

    enum pn_qk_norm qk_norm;
    struct {
        bool value_norm;    /* values are normalized, without weights */
        bool value_is_key;  /* without attn_v, values are the keys before their norm */
        bool query_gate;    /* attn_q also makes gates: heads are multiplied with sigmoid(gate) */
        bool gate_softplus; /* attn_gate scales heads by softplus, not sigmoid */
        bool position_bias; /* scores get a bias that depends on distance: attn_rel_b */
        bool sparse;        /* an indexer selects top_k tokens; only contexts up to top_k are supported */
    } attn;
    struct {
        bool shared; /* the last layers may read the keys and values of earlier ones */
        int n_own;   /* layers with their own, when the file does not say */
    } kv;
    struct {
        float scale;       /* when the file does not say; 0: 1 / sqrt(dim_k) */
        bool over_dim;     /* ... 1 / dim_k */
        int n_layers_wide; /* with that many layers, 1 / sqrt(n_embd / n_head) */
        bool softcap;      /* c tanh(s / c), with the file's c ... */
        float softcap_default;
    } score;
    struct {
        float bias; /* when the file does not say */
        int n_layers;
    } alibi;
    struct {
        int period;        /* every n-th layer is global; 0: no window */
        bool global_first; /* the first of n, not the last */
        int size;          /* when the file does not say */
        int fixed_size;    /* replaces the file's, unless that is 0 */
        bool required;     /* the file must give the size */
        int n_layers;
        enum pn_window_kind kind;
    } window;
    struct { /* queries grow with the position beyond a length */
        bool from_file;
        bool unrotated_only; /* in layers that do not rotate, with these numbers: */
        float scale, length, offset;
    } temperature;

    struct {
        enum pn_rope_kind kind;
        enum pn_rope_where where;
        enum pn_rope_sections sections;
        bool sections_halves;  /* PN_ROPE_HALVES when the file has sections */
        bool factors;          /* rope_freqs.weight or rope_factors_{long,short}.weight divide the frequencies */
        float freq_base_local; /* of sliding-window layers; 0: the same */
        bool local_unscaled;   /* context extension does not apply to sliding-window layers */
        bool half_global;      /* layers without a window rotate half of the file's dimension count */
        int n_layers;
    } rope;
    struct {
        int period; /* every n-th layer does not rotate; 0: all do */
        bool first; /* the first of n, not the last */
    } nope;
    struct {
        float log_unit; /* unit of yarn_log_multiplier, which then scales scores too; 0: 1 */
        bool log_both;  /* it is both multipliers of YaRN's temperature */
        bool unrounded; /* the bounds of the blended pairs are not rounded */
    } yarn;

    struct { /* when the file does not say */
        enum pn_gate gate;
        bool gate_fixed; /* whatever the file says */
        enum pn_choice renormalize;
        bool weigh_inputs;    /* weights apply to inputs, not to results */
        bool see_layer_input; /* routers see the layer's input */
        bool with_mlp;        /* plus the layer's feed-forward block: (a + b) / sqrt(2) */
        bool shared_average;  /* the mean of experts and shared expert, not the sum */
    } moe;

    struct {
        bool sqrt_width; /* times sqrt(n_embd) */
        float scale;     /* when the file does not say */
    } embedding;
    struct {
        enum pn_logit_scaling scaling;
        float scale;  /* when the file does not say */
        float width;  /* ... n_embd / width */
        bool tied;    /* the output weight is always the embedding */
        bool softcap; /* c tanh(l / c), with the file's c ... */
        float softcap_default;
    } logits;
    float residual_depth; /* residual scale when the file does not say: residual_depth / sqrt(n_layer) */

    struct {                /* the head of a ranking model */
        enum pn_act_fn act; /* between its two products */
        bool mean;          /* pools the mean when the file does not say, not one token */
        bool softmax;       /* results become probabilities */
    } rank;
    bool mask_takes_space; /* the tokenizer's <mask> takes the white space before it */
};

/* The row of that name, complete with what it takes from others. False: there is none. */
bool pn_arch_find(const char *name, size_t len, struct pn_arch *out);
/* Row i, complete; false after the last. */
bool pn_arch_at(int i, struct pn_arch *out);

#endif
