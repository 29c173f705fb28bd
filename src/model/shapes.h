/* The shapes of known models: what a GGUF file of each holds, without its numbers. For measuring and estimating models
 * before they are there. */
#ifndef PN_MODEL_SHAPES_H
#define PN_MODEL_SHAPES_H

#include "base/status.h"
#include "tensor/type.h"

/* A model and the types of its tensors. */
struct pn_shape_spec {
    const struct pn_shape *shape;
    const struct pn_shape_mix *mix;
    uint32_t n_layers; /* 0: the shape's */
};

/* Receives the file's head in order: all metadata, then all tensors. */
struct pn_shape_sink {
    void *user;
    void (*text)(void *user, const char *key, const char *value);
    void (*u32)(void *user, const char *key, uint32_t value);
    void (*f32)(void *user, const char *key, float value);
    void (*ints)(void *user, const char *key, size_t n, const int32_t *values);
    /* shape (n_dims), outermost first. `ones`: a norm's weights, else values with mean 0. */
    void (*tensor)(void *user, const char *name, pn_type type, int n_dims, const uint32_t *shape, bool ones);
};

/* Parses SHAPE:TYPE ("llama3.2-1b:q4_k_m"). PANTRY_NOT_FOUND: a list of both. */
pantry_status pn_shape_parse(const char *spec, struct pn_shape_spec *out, struct pantry_error *err);
/* The i-th shape's name, and the i-th mix's; NULL after the last. */
const char *pn_shape_name(size_t i);
const char *pn_shape_mix_name(size_t i);
/* The mix that the i-th shape is published in; NULL: many. */
const char *pn_shape_own_type(size_t i);
/* Tokens of the vocabulary, and layers of the whole model. */
uint32_t pn_shape_n_vocab(const struct pn_shape_spec *spec);
uint32_t pn_shape_n_layers(const struct pn_shape_spec *spec);
/* Hands out the head of the file, with `name` as the model's name. */
void pn_shape_describe(const struct pn_shape_spec *spec, const char *name, const struct pn_shape_sink *sink);

#endif
