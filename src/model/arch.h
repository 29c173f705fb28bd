/* The architecture table: what is different about each, and nothing else. The rows are in archs.c. */
#ifndef PN_MODEL_ARCH_H
#define PN_MODEL_ARCH_H

#include "tensor/graph.h"

struct pn_builder;

/* A part of a layer: (tokens, n_embd) -> same. */
typedef pn_array pn_block_fn(struct pn_builder *b, int layer, pn_array x);

/* Which layers have the recurrent block in the place of attention. */
enum pn_recurrent_layers {
    PN_RECURRENT_ALL,
    PN_RECURRENT_NO_KV_HEADS, /* those with no key/value heads (and no feed-forward part in single-block layers) */
    PN_RECURRENT_BESIDE,      /* none: the attention block has it in itself */
    PN_RECURRENT_LISTED       /* as the file lists them, or all but every n-th */
};

enum pn_norm_kind {
    PN_NORM_RMS,
    PN_NORM_LAYER,
    PN_NORM_FROM_FILE /* RMS where the file has an epsilon for it */
};

/* How attention and feed-forward join the residual stream. */
enum pn_layer_order {
    PN_ORDER_PRE,       /* x += attention(norm(x)); x += mlp(norm(x)) */
    PN_ORDER_SANDWICH,  /* x += norm(attention(norm(x))); x += norm(mlp(norm(x))) */
    PN_ORDER_POST,      /* x += norm(attention(x)); x += norm(mlp(x)) */
    PN_ORDER_SUM_NORM,  /* x = norm(x + attention(x)); x = norm(x + mlp(x)): the original transformer's */
    PN_ORDER_PARALLEL,  /* x += attention(norm(x)) + mlp(norm(x)) */
    PN_ORDER_FROM_FILE, /* PARALLEL or PRE, as use_parallel_residual says */
    PN_ORDER_FROM_NORMS /* PARALLEL in layers without a second norm, else PRE */
};

enum pn_qk_norm {
    PN_QK_NORM_NONE,
    PN_QK_NORM_HEAD,       /* each head of q and k, before they are rotated */
    PN_QK_NORM_HEAD_AFTER, /* ... after */
    PN_QK_NORM_HEAD_MAYBE, /* before, where the file has weights for it */
    PN_QK_NORM_WHOLE,      /* all heads together, before */
    PN_QK_NORM_WHOLE_MAYBE,
    PN_QK_NORM_LENGTH_AFTER /* each head after it was rotated, without weights */
};

enum pn_logit_scaling { PN_LOGITS_AS_THEY_ARE, PN_LOGITS_TIMES_SCALE, PN_LOGITS_OVER_SCALE };

/* Which layers rotate queries and keys. */
enum pn_rope_where {
    PN_ROPE_ALL,
    PN_ROPE_NEVER,
    PN_ROPE_LOCAL_ONLY,
    PN_ROPE_LOCAL_OR_DENSE, /* ... and the leading layers without experts */
    PN_ROPE_IF_FINETUNED
};

/* rope.dimension_sections: pairs that turn with time, height, width, and those that do not turn in a text. */
enum pn_rope_sections { PN_SECTIONS_NONE, PN_SECTIONS_BLOCKS, PN_SECTIONS_INTERLEAVED };

enum pn_said { PN_NO, PN_YES, PN_AS_THE_FILE_SAYS };

struct pn_arch {
    const char *name; /* general.architecture */
    const char *hf;   /* "architectures" of a Hugging Face config.json */

    /* encoders: every token sees all of the text, and the result are states, not logits */
    bool encoder;
    const char *layer_prefix; /* before "blk." in the names of layers' tensors */
    bool position_bias;       /* scores depend on distances as a table says */
    enum pn_act_fn plain_act; /* of feed-forward blocks without a gate; 0 (SiLU): as with one */
    enum pn_act_fn rank_act;  /* between the two parts of a ranking head */
    bool rank_mean;           /* a ranking head reads the mean where the file does not say, not one token */
    bool rank_softmax;        /* its results are turned into probabilities */

    /* blocks */
    pn_block_fn *attention, *mlp;
    pn_block_fn *dense;          /* in layers without a router; NULL: gated_mlp */
    pn_block_fn *layer;          /* a whole layer, instead of attention and mlp joined by `order` */
    pn_block_fn *widen, *narrow; /* the stream before the first layer and after the last: (tokens, n, n_embd) between */
    pn_block_fn *recurrent;      /* NULL: no layer is */
    enum pn_recurrent_layers recurrent_layers;
    bool recurrent_scales;  /* products of recurrent blocks have scales of their own */
    bool delta_interleaved; /* neighbouring value heads share a key head in the delta rule */
    bool may_lack_blocks;   /* layers without heads have no attention, without key/value heads only its output product,
                               and without a length no feed-forward block */
    bool single_block;      /* a layer is one block only: recurrent, feed-forward or attention */
    enum pn_norm_kind norm;
    enum pn_layer_order order;
    const char *unused;  /* tensors of layers that are not used, even where a file has them: "attn_output.bias ..." */
    bool first_unnormed; /* the first layer has no norm before attention */
    const char *attn_output; /* the product after attention; NULL: "attn_output" */
    const char *ffn_norm;    /* the norm before the feed-forward block; NULL: "ffn_norm" */
    const char *attention_post_norm,
        *ffn_post_norm;      /* after the blocks; NULL: "post_attention_norm", "post_ffw_norm" */
    bool norm_plain;         /* norms have no weights */
    const char *output_norm; /* the last norm; NULL: "output_norm" */
    bool embedding_norm;     /* embeddings are normalized */
    bool ffn_scales;         /* feed-forward products have scales of their own (ffn_up.scale ...) */
    bool ffn_as_stream;      /* feed-forward blocks are n_embd long, whatever files say */
    bool halved_ffn;         /* files say twice the length of the feed-forward block */
    enum pn_act_fn act;
    bool limit_first;   /* gates end at the limit before their activation, not after */
    float swiglu_limit; /* l > 0: gates end at l, what they gate at -l and l, and gains 1 (gpt-oss) */

    /* layers that have more */
    float sparsity_default; /* of the gates of the first layers, in standard deviations, where the file does not say */
    int layers_sparse_default;

    /* attention */
    bool shares_kv;        /* the last layers may read the keys and values of earlier ones */
    int layers_kv_default; /* how many layers have their own, where the file does not say */
    bool sparse_attention; /* an indexer chooses what a token sees, which contexts no longer than its choice do without
                            */
    bool value_norm;       /* values are normalized without weights */
    bool value_is_key;     /* where there is no attn_v, values are keys before their norm */
    const char *attn_scale_key; /* NULL: "attention.scale" */
    float attn_scale_default;   /* of scores; 0: 1 / sqrt(dim_k) */
    bool scores_over_dim;       /* scores are divided by dim_k */
    bool gate_softplus;         /* attn_gate scales heads by softplus, not sigmoid */
    enum pn_qk_norm qk_norm;
    bool query_gate;   /* attn_q makes queries and gates: heads are multiplied with sigmoid(gate) */
    bool attn_softcap; /* scores become c tanh(s / c), where the file gives c */
    float attn_softcap_default;
    float alibi;             /* where the file does not say */
    int layers_alibi;        /* ... in models of that many layers; 0: in all */
    int layers_wide_head;    /* with that many layers, scores are divided by sqrt(n_embd / n_head) instead */
    int window_default;      /* where the file does not say */
    int window_fixed;        /* whatever the file says, unless it says 0 */
    int window_period;       /* every n-th layer is global; 0: no sliding window */
    bool window_dense_first; /* the first of n is global, not the last */
    bool window_needed;      /* the file must say */
    int layers_window;       /* only models of that many layers have it; 0: all */
    enum pn_window_kind window_kind;
    bool attn_temperature;      /* queries grow with the position beyond a length */
    bool attn_temperature_nope; /* ... in layers that do not rotate, by these: */
    float temperature_scale, temperature_length, temperature_offset;

    /* rotation */
    enum pn_rope_kind rope;
    enum pn_rope_where rope_where;
    enum pn_rope_sections sections;
    bool sections_halves;  /* files with sections rotate halves, whatever `rope` says */
    bool rope_factors;     /* rope_freqs.weight, or rope_factors_long and _short, divide the rotary frequencies */
    float freq_base_local; /* of sliding-window layers; 0: as the others */
    bool half_rot_global;  /* layers without a window rotate half of what the file says */
    bool local_unscaled;   /* sliding-window layers rotate as if the context were not extended */
    int nope_period;       /* every n-th layer does not rotate; 0: all do */
    bool nope_first;       /* ... the first of n, not the last */
    int layers_rope;       /* only models of that many layers rotate; 0: all */
    float yarn_log_unit;   /* yarn_log_multiplier counts in these, and scales scores too; 0: 1 */
    bool yarn_log_both;    /* ... and is both multipliers of YaRN's temperature */
    bool yarn_unrounded;   /* the pairs between which YaRN blends are no whole numbers */

    /* experts: where the file does not say */
    struct {
        enum pn_gate gate;
        bool gate_fixed; /* whatever the file says */
        enum pn_said renormalize;
        bool weigh_inputs;    /* inputs are weighted, not results */
        bool see_layer_input; /* routers see what the layer was given */
        bool with_mlp;        /* where there is a feed-forward block too, both are halved in square and added */
        bool shared_average;  /* the mean of experts and shared expert, not the sum */
    } moe;

    /* ends */
    bool mask_takes_space; /* <mask> takes the white space before it */
    bool scale_embedding;  /* embeddings are multiplied by sqrt(n_embd) */
    float embedding_scale, logit_scale_default, residual_scale_depth, logit_scale_width; /* where the file does not say:
                                                                       c, c / sqrt(n_layer), n_embd / c */
    bool tied_output; /* the output is always the embedding */
    enum pn_logit_scaling logits;
    bool final_softcap;          /* logits become c tanh(l / c), c as the file ... */
    float final_softcap_default; /* ... or this says */
};

/* The name of the plainest architecture: what models of made-up weights have. */
extern const char pn_arch_plain[];

/* NULL when there is none. */
const struct pn_arch *pn_arch_find(const char *name, size_t len);
/* Row i, NULL at the end: for listing. */
const struct pn_arch *pn_arch_at(int i);

#endif
