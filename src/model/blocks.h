/* Building blocks of models. A block is arithmetic with shapes; it knows nothing of devices, types, threads or caches.
 */
#ifndef PN_MODEL_BLOCKS_H
#define PN_MODEL_BLOCKS_H

#include "model/adapter.h"
#include "model/arch.h"
#include "model/hparams.h"
#include "tensor/grad.h"
#include "tensor/op.h"

struct pn_cache_shape {
    int n_head, dim_k, dim_v;
    bool value_in_key; /* values are the first dim_v numbers of their keys */
};

/* A tensor as a weight, made on first use, and the leaf of the whole tensor, which all its users share. */
struct pn_tensor_leaf {
    const struct pn_weight *weight;
    pn_array leaf; /* valid if has_leaf */
    bool has_leaf;
};

/* A model while its graph is built. */
struct pn_builder {
    struct pn_graph *graph;
    const struct pn_weights *weights;
    const struct pn_arch *arch;
    const struct pn_hparams *hp;
    struct pn_arena *arena;        /* lives as long as the model */
    struct pn_cache_shape *caches; /* room for n_layer */
    int n_caches;
    pn_array *written;     /* (n_layer): the node that writes the layer's keys and values; PN_NONE: not yet made */
    pn_array layer_input;  /* the residual stream before the layer, with the rows of the block's operand */
    pn_array stream;       /* the residual stream; the block's operand is its norm */
    pn_array layer_inputs; /* (tokens, n_layer, n): see perlayer.c; PN_NONE: none */
    pn_array shown;        /* reads all that layers keep of pictures outside the text; PN_NONE: they keep nothing */
    size_t n_state;        /* floats of recurrent state so far, all layers */
    pn_array rope_global, rope_local; /* tables, made on first use */
    pn_array position_bias;           /* of the first layer */
    uint64_t used_bytes;              /* of the weights that every step reads */
    uint64_t first_id;                /* of the tensors, in the order of the file */
    struct pn_tensor_leaf *tensors;   /* (tensors) */
    struct pn_adapter *const *adapters;
    int n_adapters;
    bool trains;           /* attention over the batch's own keys, whose gradients are known */
    pn_array dropout_keys; /* (tokens, 1, 2), see pn_dropout; PN_NONE: no dropout */
};

/* ---- weights by name ---- */

/* "blk.<layer>.<name>.weight" (layer < 0: "<name>.weight"); a missing one is an error that names it. */
pn_array pn_builder_weight(struct pn_builder *b, int layer, const char *name);
/* The same with any suffix ("bias", "scale"); PN_NONE if it is missing. */
pn_array pn_builder_optional(struct pn_builder *b, int layer, const char *name, const char *suffix);
bool pn_builder_has(const struct pn_builder *b, int layer, const char *name, const char *suffix);
/* Rows of "<name>.weight"; 0 if it is missing. */
int pn_builder_n_rows(const struct pn_builder *b, int layer, const char *name);
int pn_builder_n_cols(const struct pn_builder *b, int layer, const char *name);
/* Values first .. first + n - 1 of a tensor of any shape, as one vector. Suffix NULL: the name is complete. */
pn_array pn_builder_vector(struct pn_builder *b, int layer, const char *name, const char *suffix, int first, int n);
/* The reciprocals of a vector of divisors; PN_NONE if it is missing. */
pn_array pn_builder_inverse(struct pn_builder *b, int layer, const char *name, const char *suffix);
/* A stack of n_mat matrices: of each the `n` rows from `first` (n 0: all). A token uses n_used of the matrices. */
pn_array pn_builder_stack(struct pn_builder *b, int layer, const char *name, int first, int n, int n_mat, int n_used);
/* y, the products of rows first .. first + n - 1 of a stack with x, with the changes of the adapters. */
pn_array pn_builder_adapt_each(struct pn_builder *b, int layer, const char *name, pn_array x, pn_array route, int first,
                               int n, pn_array y);
/* x times the number in a tensor of one value; x if there is no such tensor. */
pn_array pn_builder_scaled(struct pn_builder *b, int layer, const char *name, const char *suffix, pn_array x);
/* x times tanh of the number in a tensor of one value, or x where the model lacks the tensor. `name` is complete. */
pn_array pn_builder_gated(struct pn_builder *b, int layer, const char *name, pn_array x);
/* x times the weight, without scale and bias: (tokens, n) -> (tokens, n_out). n_out is checked unless it is 0. */
pn_array pn_builder_product(struct pn_builder *b, int layer, const char *name, pn_array x, int n_out);
/* x times the weight, with its scale and bias if the file has them: (tokens, n) -> (tokens, n_out). n_out is checked
 * unless it is 0. */
pn_array pn_builder_project(struct pn_builder *b, int layer, const char *name, pn_array x, int n_out);
/* The same with `n` of the weight's `total` rows, from `first`: one of several weights that are stored as one.
 * `scales`: with its scale. */
pn_array pn_builder_project_rows(struct pn_builder *b, int layer, const char *name, pn_array x, int first, int n,
                                 int total, bool scales);
/* The same for feed-forward weights: their scale applies after the bias, and only in some architectures. */
pn_array pn_builder_project_ffn(struct pn_builder *b, int layer, const char *name, pn_array x, int n_out);
/* The architecture's norm with the weight (and bias) of that name. */
pn_array pn_builder_norm(struct pn_builder *b, int layer, const char *name, pn_array x);

/* ---- blocks ---- */

pn_block_fn pn_block_attention; /* attention.c: grouped-query attention over the cache */
pn_block_fn pn_block_mla;       /* mla.c: multi-head latent attention */
pn_block_fn pn_block_mlp;       /* mlp.c: up, activation, down */
pn_block_fn pn_block_xielu_mlp; /* ... with an activation with parameters from the file */
pn_block_fn pn_block_gated_mlp; /* ... gated */
pn_block_fn pn_block_any_mlp;   /* ... gated if the file has a gate */
pn_block_fn pn_block_moe;       /* moe.c: a mixture of experts in layers with a router, else gated_mlp */

pn_block_fn pn_block_moe_beside; /* ... beside gated_mlp, each with its own norms */
pn_block_fn pn_block_moe_early;  /* ... of the layer's input, beside gated_mlp */

pn_block_fn pn_block_altup;        /* altup.c: a layer that computes one of several rows of the stream */
pn_block_fn pn_block_altup_widen;  /* ... one row to several: (tokens, n_embd) -> (tokens, n, n_embd) */
pn_block_fn pn_block_altup_narrow; /* ... and several to one */

pn_block_fn pn_block_shortconv;        /* shortconv.c: a gated convolution over the last tokens */
pn_block_fn pn_block_mamba;            /* ssm.c: selective state spaces, */
pn_block_fn pn_block_mamba2;           /* ... with heads */
pn_block_fn pn_block_attention_mamba2; /* ... beside attention */
pn_block_fn pn_block_delta;            /* deltanet.c: gated delta rule, */
pn_block_fn pn_block_kda;              /* ... with a gate per key channel */

/* Reserves n floats of a sequence's recurrent state; returns their offset. */
size_t pn_builder_state(struct pn_builder *b, size_t n);
/* shortconv.c: x (tokens, channels) convolved with kernels of k values, plus their bias if there is one. */
pn_array pn_builder_conv(struct pn_builder *b, int layer, const char *name, pn_array x, int k);

/* mlp.c: act(gate) * up, in the architecture's form; limit > 0: act(gate) <= limit, up in [-limit, limit]. */
pn_array pn_builder_gate(struct pn_builder *b, pn_array gate, pn_array up, float limit);
/* attention.c: the layer's next cache, and attention over it: heads (tokens, n_head, dim_v). */
pn_array pn_builder_attend(struct pn_builder *b, int layer, pn_array q, pn_array k, pn_array v, float scale);
/* Attention over a layer's cache, which it wrote before. */
pn_array pn_builder_attend_written(struct pn_builder *b, int layer, pn_array q, float scale);
/* The same with the first dim_v numbers of each key as its value: the cache keeps them once. */
pn_array pn_builder_attend_keys(struct pn_builder *b, int layer, pn_array q, pn_array k, int dim_v, float scale);

/* decoder.c: token ids -> the states after the last layer and its norm (outputs, n_embd) -> logits (outputs, n_vocab).
 */
pn_array pn_model_states(struct pn_builder *b);
pn_array pn_model_logits(struct pn_builder *b, pn_array states);
/* ... -> (outputs, 1, 2): see pn_cross_entropy; targets: (outputs, 1, 1) */
pn_array pn_model_loss(struct pn_builder *b, pn_array states, pn_array targets);

/* cross.c: a whole layer that attends to pictures; nothing changes where there are none. `last`: only the requested
 * rows go on. */
pn_array pn_builder_cross(struct pn_builder *b, int layer, pn_array x, bool last);

/* encoder.c: states (outputs, n_embd) -> embeddings (sequences, n), after the model's dense layers if any. */
pn_array pn_model_embedding(struct pn_builder *b, pn_array states);
/* ... -> scores (sequences, labels) of a ranking head; PN_NONE without one. */
pn_array pn_model_scores(struct pn_builder *b, pn_array states);
/* encoder.c: the layer's attention bias by distance (n_head, 2 r + 1): see pn_attention_bias. */
pn_array pn_builder_position_bias(struct pn_builder *b, int layer);

/* perlayer.c: the per-layer inputs of all tokens, and a layer's result from its input: to be added to x, the stream. */
pn_array pn_builder_layer_inputs(struct pn_builder *b, pn_array x);
pn_array pn_builder_layer_input(struct pn_builder *b, int layer, pn_array x);

/* attention.c: scales queries by position if the model does. */
pn_array pn_builder_temperature(struct pn_builder *b, int layer, pn_array q);

/* rope.c: true if the layer's heads are rotated at all. */
bool pn_builder_rotates(const struct pn_builder *b, int layer);
/* Rotates heads in the architecture's form. */
pn_array pn_builder_rotate(struct pn_builder *b, int layer, pn_array x);
/* The factor on attention scores of stretched rotations. */
float pn_builder_rope_score_scale(const struct pn_builder *b);

#endif
