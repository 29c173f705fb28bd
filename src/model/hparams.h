/* Hyper-parameters of a model, read from its metadata and checked: safe as divisors and sizes. */
#ifndef PN_MODEL_HPARAMS_H
#define PN_MODEL_HPARAMS_H

#include "format/weights.h"
#include "model/arch.h"
#include "tensor/graph.h"

enum { PN_MAX_LAYERS = 1024, PN_MAX_HEADS = 4096, PN_MAX_HEAD_DIM = 4096 };

struct pn_layer_hparams {
    int n_head, n_head_kv, n_ff;
    int n_used;                         /* experts of a token */
    int dim_k, dim_v;                   /* of a head */
    int kv_layer;                       /* the layer whose keys and values it reads: itself or an earlier one */
    float limit, limit_experts;         /* of gates, if above 0 */
    float xielu_p, xielu_n, xielu_beta; /* see pn_block_xielu_mlp */
    float sparsity;                     /* gates below mean + sparsity * standard deviation become 0; -inf: none */
    bool local;                         /* attends over a sliding window */
    bool recurrent;                     /* has the recurrent block instead of attention */
    bool cross;                         /* attends to pictures, not to the text */
};

/* Ways to extend rotation to longer contexts. Linear: positions are divided by the factor (Chen et al., 2023). NTK:
 * the base grows so that the slowest pair slows down by the factor (bloc97, 2023). YaRN: Peng et al., 2023. LongRoPE:
 * Ding et al., 2024. Llama 3's way is a tensor of factors in the file. */
enum pn_rope_scaling {
    PN_ROPE_SCALING_NONE,
    PN_ROPE_SCALING_LINEAR,
    PN_ROPE_SCALING_NTK,
    PN_ROPE_SCALING_YARN,
    PN_ROPE_SCALING_LONGROPE
};

/* The user's settings, which replace the file's. */
struct pn_rope_override {
    const char *scaling; /* "none", "linear", "ntk", "yarn"; NULL: the file's, or linear if there is a factor */
    float factor;        /* contexts become this many times longer; 0: the file's factor */
    float freq_base;     /* 0: the file's */
};

struct pn_rope_hparams {
    float freq_base, freq_base_local; /* of global and of sliding-window layers */
    int n_rot, n_rot_local;           /* rotated values of a head */
    enum pn_rope_scaling scaling;
    float factor; /* positions are divided by it */
    int n_context_original;
    float attn_factor, yarn_beta_fast, yarn_beta_slow, yarn_ext_factor, yarn_log_multiplier;
    bool finetuned;
    int sections[4]; /* pairs per section; all 0: none */
};

struct pn_moe_hparams {
    int n_expert;
    int n_groups, n_groups_used;
    enum pn_gate gate;
    bool renormalize;
    float scale; /* of the weights */
};

struct pn_mla_hparams { /* multi-head latent attention */
    int kv_rank, q_rank;
    int dim_k, dim_v; /* of a head, once expanded; 0: those of the attention */
};

/* Convolutions, state spaces and delta rules; 0: none. The names are the file's: a delta rule has n_group key heads of
 * n_state values, and n_rank value heads. */
struct pn_recurrent_hparams {
    int n_conv; /* tokens per convolution */
    int n_inner, n_state, n_rank, n_group;
    bool dt_b_c_rms; /* steps, B and C are normalized without weights */
    int kda_dim;     /* of a head */
};

/* Alternating updates: rows of the residual stream, and the row that layers compute. */
struct pn_altup_hparams {
    int n_inputs, active;
};

/* Pooling of a text's states into one embedding; the numbers are the file's. */
enum pn_pooling { PN_POOLING_NONE, PN_POOLING_MEAN, PN_POOLING_CLS, PN_POOLING_LAST, PN_POOLING_RANK };

struct pn_hparams {
    int n_vocab, n_context_train, n_embd;
    int n_layer, n_stored;           /* the file's n_stored layers run one or more times */
    int n_context_limit;             /* longer contexts are not supported; 0: no limit */
    bool loop_norm;                  /* the last norm also applies between the loops */
    int dim_k, dim_v;                /* of a head, in layers without a window */
    struct pn_layer_hparams *layers; /* (n_layer) */
    float norm_eps, rms_eps;
    float attn_scale; /* 0: 1 / sqrt(dim_k) of the layer */
    float attn_softcap, final_softcap;
    float attn_clamp; /* c > 0: queries, keys and values are kept between -c and c */
    float alibi;
    int window;                                                      /* 0: none */
    enum pn_norm_kind norm;                                          /* RMS or LAYER */
    int n_dense;                                                     /* leading layers without experts */
    float value_scale;                                               /* of the result of attention; 0: none */
    bool parallel_residual;                                          /* see PN_ORDER_FROM_FILE */
    float logit_scale, residual_scale, embedding_scale;              /* 0: none */
    float temperature_scale, temperature_length, temperature_offset; /* scale 0: none */
    bool causal;                                                     /* tokens attend only to earlier tokens */
    int rel_buckets;                                                 /* of a position bias; 0: none */
    enum pn_act_fn act;
    enum pn_pooling pooling; /* of embeddings; never RANK */
    struct pn_rope_hparams rope;
    struct pn_moe_hparams moe;
    struct pn_mla_hparams mla;
    struct pn_recurrent_hparams recurrent;
    struct pn_altup_hparams altup;
    int n_embd_layer; /* values of a per-layer input; 0: none */
};

/* Reads "<arch>.<key>" for the keys of the GGUF specification. Arrays live in `arena`. */
pantry_status pn_hparams_read(const struct pn_weights *weights, const struct pn_arch *arch, struct pn_arena *arena,
                              struct pn_hparams *out, struct pantry_error *err);
/* Applies the user's rotation settings; call before building the graph. A factor sets n_context_train to that many
 * times the original context. */
pantry_status pn_hparams_extend(struct pn_hparams *hp, const struct pn_arch *arch, const struct pn_rope_override *user,
                                struct pantry_error *err);

#endif
