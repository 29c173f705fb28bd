/* A model: weights, hyper-parameters, and the graph that turns token ids into logits or embeddings. */
#ifndef PN_MODEL_MODEL_H
#define PN_MODEL_MODEL_H

#include "model/blocks.h"

/* What a step can compute. */
enum pn_result {
    PN_RESULT_LOGITS,     /* (outputs, n_vocab); PN_NONE for encoders */
    PN_RESULT_IDS,        /* (outputs, 1): the index of the largest logit, as a float; PN_NONE for encoders */
    PN_RESULT_STATES,     /* (outputs, n_embd): after the last norm */
    PN_RESULT_EMBEDDINGS, /* (sequences, n): the mean of each sequence's outputs, after the model's dense layers */
    PN_RESULT_SCORES,     /* (sequences, labels) of a ranking head; PN_NONE without one */
    PN_RESULT_SHOWN, /* (outputs, n): without meaning. Computing it writes the keys and values of pictures outside the
                        text, and nothing else of the model; PN_NONE for models without such pictures */
    PN_N_RESULTS
};

struct pn_model {
    struct pn_weights *weights;
    struct pn_arena arena;
    struct pn_arch arch;
    struct pn_adapter **adapters; /* (n_adapters) */
    int n_adapters;
    struct pn_hparams hp;
    struct pn_graph graph;
    pn_array results[PN_N_RESULTS];
    struct pn_cache_shape *caches;
    int n_caches;
    size_t n_state;                /* floats of recurrent state that a sequence has */
    uint64_t n_params, size_bytes; /* of all tensors */
    uint64_t step_bytes;           /* weight bytes that a step of one token reads */
    pn_array dropout_keys;         /* while it is trained with a dropout: (tokens, 1, 2), else PN_NONE */
    pn_array targets, loss;        /* while it is trained: (outputs, 1, 1) and (outputs, 1, 2), see pn_cross_entropy */
};

/* Takes ownership of the weights (also on failure), applies the user's rotation settings, and builds the graph. */
pantry_status pn_model_new(struct pn_weights *weights, const struct pn_rope_override *rope, struct pn_model **out,
                           struct pantry_error *err);
/* The same with adapters: "PATH" or "PATH=SCALE" each, ended by NULL; NULL: none. */
pantry_status pn_model_new_adapted(struct pn_weights *weights, const struct pn_rope_override *rope,
                                   const char *const *adapters, struct pn_model **out, struct pantry_error *err);
/* A model for training: its graph ends in the loss of targets, and it has no results. Takes over the adapter (NULL:
 * none) too. */
pantry_status pn_model_new_trained(struct pn_weights *weights, struct pn_adapter *adapter, struct pn_model **out,
                                   struct pantry_error *err);
void pn_model_free(struct pn_model *model);

/* For models that are not decoders: counts parameters and bytes of the weights; makes a builder with room for the
 * layers and tensors. */
void pn_model_count(struct pn_model *model);
pantry_status pn_model_builder(struct pn_model *model, struct pn_builder *b, struct pantry_error *err);

/* The architecture that a file names, or an error that lists the known ones. */
pantry_status pn_model_arch(const struct pn_weights *weights, struct pn_arch *out, struct pantry_error *err);

#endif
