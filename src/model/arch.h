/* The architecture table: what is different about each, and nothing else. The rows are in archs.c. */
#ifndef PN_MODEL_ARCH_H
#define PN_MODEL_ARCH_H

#include "tensor/graph.h"

struct pn_builder;

/* A part of a layer: (tokens, n_embd) -> same. */
typedef pn_array pn_block_fn(struct pn_builder *b, int layer, pn_array x);

enum pn_norm_kind { PN_NORM_RMS, PN_NORM_LAYER };

struct pn_arch {
    const char *name; /* general.architecture */
    const char *hf;   /* "architectures" of a Hugging Face config.json */
    pn_block_fn *attention, *mlp;
    enum pn_norm_kind norm;
    enum pn_act_fn act;
    enum pn_rope_kind rope;
    bool qk_norm;                     /* q and k are normalized by head, before they are rotated */
    bool post_norms;                  /* blocks are normalized before and after ("sandwich") */
    bool scale_embedding;             /* embeddings are multiplied by sqrt(n_embd) */
    bool rope_factors;                /* rope_freqs.weight divides the rotary frequencies */
    bool attn_temperature;            /* queries grow with the position beyond the trained context */
    bool ffn_scales;                  /* feed-forward products have scales of their own (ffn_up.scale ...) */
    bool tied_output;                 /* the output is always the embedding */
    bool attn_softcap, final_softcap; /* scores, logits become c tanh(s / c), where the file gives c */
    float attn_softcap_default;
    int window_default;    /* where the file does not say */
    int window_period;     /* every n-th layer is global; 0: no sliding window */
    float freq_base_local; /* of sliding-window layers; 0: as the others */
    int nope_period;       /* every n-th layer does not rotate; 0: all do */
    int layers_wide_head;  /* with that many layers, scores are divided by sqrt(n_embd / n_head) instead */
};

/* NULL when there is none. */
const struct pn_arch *pn_arch_find(const char *name, size_t len);
/* Row i, NULL at the end: for listing. */
const struct pn_arch *pn_arch_at(int i);

#endif
