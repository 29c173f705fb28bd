/* Hyper-parameters of a model, read from its metadata and checked: what is here can be divided by and used as a size.
 */
#ifndef PN_MODEL_HPARAMS_H
#define PN_MODEL_HPARAMS_H

#include "format/weights.h"

enum { PN_MAX_LAYERS = 1024, PN_MAX_HEADS = 4096, PN_MAX_HEAD_DIM = 4096 };

struct pn_layer_hparams {
    int n_head, n_head_kv, n_ff;
    bool local; /* attends over a sliding window */
};

enum pn_rope_scaling { PN_ROPE_SCALING_NONE, PN_ROPE_SCALING_LINEAR, PN_ROPE_SCALING_YARN, PN_ROPE_SCALING_LONGROPE };

struct pn_rope_hparams {
    float freq_base, freq_base_local; /* of global and of sliding-window layers */
    int n_rot;
    enum pn_rope_scaling scaling;
    float factor; /* positions are divided by it */
    int n_context_original;
    float attn_factor, yarn_beta_fast, yarn_beta_slow, yarn_ext_factor, yarn_log_multiplier;
};

struct pn_hparams {
    int n_vocab, n_context_train, n_embd, n_layer;
    int dim_k, dim_v;                /* of a head */
    struct pn_layer_hparams *layers; /* (n_layer) */
    float norm_eps, rms_eps;
    float attn_scale; /* 0: 1 / sqrt(dim_k) */
    float attn_softcap, final_softcap;
    int window;                                         /* 0: none */
    float logit_scale, residual_scale, embedding_scale; /* 0: the file does not say */
    float attn_temperature_scale;
    struct pn_rope_hparams rope;
};

struct pn_arch;

/* Reads "<arch>.<key>" for the keys of the GGUF specification. Arrays live in `arena`. */
pn_status pn_hparams_read(const struct pn_weights *weights, const struct pn_arch *arch, struct pn_arena *arena,
                          struct pn_hparams *out, struct pn_error *err);

#endif
