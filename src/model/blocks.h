/* What models are made of. A block is arithmetic with shapes; it knows nothing of devices, types, threads or caches. */
#ifndef PN_MODEL_BLOCKS_H
#define PN_MODEL_BLOCKS_H

#include "model/arch.h"
#include "model/hparams.h"
#include "tensor/op.h"

struct pn_cache_shape {
    int n_head, dim_k, dim_v;
};

/* A model while its graph is written down. */
struct pn_builder {
    struct pn_graph *graph;
    const struct pn_weights *weights;
    const struct pn_arch *arch;
    const struct pn_hparams *hp;
    struct pn_arena *arena;        /* lives as long as the model */
    struct pn_cache_shape *caches; /* room for n_layer */
    int n_caches;
    pn_array rope_global, rope_local; /* tables, made on first use */
    uint64_t used_bytes;              /* of the weights that every step reads */
};

/* ---- weights by name ---- */

/* "blk.<layer>.<name>.weight" (layer < 0: "<name>.weight"); a missing one is an error that names it. */
pn_array pn_builder_weight(struct pn_builder *b, int layer, const char *name);
/* The same with any suffix ("bias", "scale"); PN_NONE if it is missing. */
pn_array pn_builder_optional(struct pn_builder *b, int layer, const char *name, const char *suffix);
/* x times the weight, with its scale and its bias where there are such tensors: (tokens, n) -> (tokens, n_out).
 * n_out is checked unless it is 0. */
pn_array pn_builder_project(struct pn_builder *b, int layer, const char *name, pn_array x, int n_out);
/* The same for feed-forward weights, whose scale comes after the bias, and only in some architectures. */
pn_array pn_builder_project_ffn(struct pn_builder *b, int layer, const char *name, pn_array x, int n_out);
/* The architecture's norm with the weight (and bias) of that name. */
pn_array pn_builder_norm(struct pn_builder *b, int layer, const char *name, pn_array x);

/* ---- blocks ---- */

pn_block_fn pn_block_attention; /* attention.c: grouped-query attention over the cache */
pn_block_fn pn_block_gated_mlp; /* mlp.c */

/* decoder.c: token ids -> logits (outputs, n_vocab). */
pn_array pn_model_decoder(struct pn_builder *b);

/* rope.c: the table that a layer's heads are rotated with. */
pn_array pn_builder_rope_table(struct pn_builder *b, int layer);
/* True if the layer's heads are rotated at all. */
bool pn_builder_rotates(const struct pn_builder *b, int layer);

#endif
