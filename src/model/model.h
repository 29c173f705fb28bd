/* A model: weights, hyper-parameters, and the graph that turns token ids into logits. */
#ifndef PN_MODEL_MODEL_H
#define PN_MODEL_MODEL_H

#include "model/blocks.h"

struct pn_model {
    struct pn_weights *weights;
    struct pn_arena arena;
    const struct pn_arch *arch;
    struct pn_hparams hp;
    struct pn_graph graph;
    pn_array logits; /* (outputs, n_vocab) */
    struct pn_cache_shape *caches;
    int n_caches;
    size_t n_state;                /* floats of recurrent state that a sequence has */
    uint64_t n_params, size_bytes; /* of all tensors */
    uint64_t step_bytes;           /* weight bytes that a step of one token reads */
};

/* Takes the weights over (also on failure), changes the rotation as wished, and writes the model's graph down. */
pn_status pn_model_new(struct pn_weights *weights, const struct pn_rope_wish *wish, struct pn_model **out,
                       struct pn_error *err);
void pn_model_free(struct pn_model *model);

/* The architecture that a file names, or an error that tells which ones there are. */
pn_status pn_model_arch(const struct pn_weights *weights, const struct pn_arch **out, struct pn_error *err);

#endif
