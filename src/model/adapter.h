/* Adapters: low-rank changes of weights that are added while a model runs (Hu et al., LoRA, 2021; Liu et al., DoRA,
 * 2024). The base stays as it is, in any storage type. */
#ifndef PN_MODEL_ADAPTER_H
#define PN_MODEL_ADAPTER_H

#include "format/weights.h"
#include "tensor/weight.h"

#include <stdbool.h>

/* The change of one weight: W x becomes W x + B (A x), or m / |W + B A| times that, row by row. */
struct pn_adapter_pair {
    const char *name;          /* the weight's, as in weights.h */
    const struct pn_weight *a; /* (n_mat, rank, n_in) */
    const struct pn_weight *b; /* (n_mat, n_out, rank), times the scale */
    const float *magnitude;    /* (n_out): m; NULL: LoRA */
    /* While it is trained: the factor of B (A x), which b then leaves out (otherwise 1); m, and the reciprocals of the
     * lengths of the changed rows, as vectors. The trainer keeps the latter up to date. */
    float scale;
    const struct pn_weight *trained_magnitude, *inverse;
};

enum { PN_ADAPTER_TARGETS = 8 };

/* A layer as adapter files name it, and where its change is: for training, which writes it back. */
struct pn_adapter_module {
    const char *name; /* "model.layers.0.self_attn.q_proj" */
    int n_targets;
    const char *targets[PN_ADAPTER_TARGETS];  /* weights, which have rows of B and share A */
    const int32_t *order[PN_ADAPTER_TARGETS]; /* the module's row in each row of the target; NULL: the same */
    int64_t n_out, n_mat;                     /* rows of the module, matrices of its stack */
};

struct pn_adapter {
    struct pn_arena arena;
    const char *path;
    struct {
        struct pn_adapter_pair *data;
        size_t len, cap;
    } pairs;
    bool trains;   /* b leaves out the scale */
    float dropout; /* while it trains: share of the values that A does not see */
    struct {
        struct pn_adapter_module *data;
        size_t len, cap;
    } modules; /* if it trains */
};

/* Reads a llama.cpp GGUF adapter, or a folder as mlx_lm or PEFT write it, for a base model. Everything is copied. */
pantry_status pn_adapter_open(const char *path, float scale, const struct pn_weights *base, struct pn_adapter **out,
                              struct pantry_error *err);
/* The same of a folder (or of a safetensors file in one) for training. */
pantry_status pn_adapter_open_trained(const char *path, const struct pn_weights *base, struct pn_adapter **out,
                                      struct pantry_error *err);
/* What a new adapter changes. */
struct pn_adapter_spec {
    int rank, n_layers; /* n_layers: of the last blocks; -1: all */
    float scale;
    const char *keys; /* paths in a block ("self_attn.q_proj"), separated by commas; NULL: all products with weights */
    bool dora;
    uint64_t seed;
};
/* A new adapter for training: A random, uniform within 1 / sqrt(n_in), B zero. */
pantry_status pn_adapter_new_trained(const struct pn_adapter_spec *spec, const struct pn_weights *base,
                                     struct pn_adapter **out, struct pantry_error *err);
/* Computes the reciprocals of the lengths of the rows of W + scale B A for a pair with a trained magnitude. */
pantry_status pn_adapter_refresh(const struct pn_adapter_pair *pair, const struct pn_weights *base,
                                 struct pantry_error *err);
/* Writes adapters.safetensors and adapter_config.json as mlx_lm does into `folder`, which exists, from an adapter that
 * trains. `config` is the text of the latter. */
pantry_status pn_adapter_save(const struct pn_adapter *adapter, const char *folder, const char *config,
                              struct pantry_error *err);
/* Writes adapter_model.safetensors as PEFT does. */
pantry_status pn_adapter_save_peft(const struct pn_adapter *adapter, const char *folder, struct pantry_error *err);
/* Writes an adapter that trains as a GGUF file that llama.cpp reads, or as PEFT's files into `folder`, which exists.
 * PANTRY_UNSUPPORTED: the format does not have such a change. */
pantry_status pn_adapter_export_gguf(const struct pn_adapter *adapter, const struct pn_weights *base, const char *path,
                                     struct pantry_error *err);
pantry_status pn_adapter_export_peft(const struct pn_adapter *adapter, const char *model, const char *folder,
                                     struct pantry_error *err);
void pn_adapter_free(struct pn_adapter *adapter);
/* The change of a tensor; NULL: none. */
const struct pn_adapter_pair *pn_adapter_find(const struct pn_adapter *adapter, const char *name);

/* ---- for readers ---- */

/* A float32 weight of n_mat x n_rows x n_cols numbers in the adapter's arena, for the reader to fill; NULL: out of
 * memory. */
struct pn_weight *pn_adapter_weight(struct pn_adapter *adapter, int64_t n_mat, int64_t n_rows, int64_t n_cols);
/* Adds a part ("a", "b" or a magnitude) of the change of `name`, which is copied. */
pantry_status pn_adapter_add(struct pn_adapter *adapter, const char *name, const struct pn_weight *a,
                             const struct pn_weight *b, const float *magnitude, struct pantry_error *err);
/* Makes pn_adapter_new_trained's parts: model/hf/adapter.c. */
pantry_status pn_hf_adapter_make(struct pn_adapter *adapter, const struct pn_adapter_spec *spec,
                                 const struct pn_weights *base, struct pantry_error *err);
/* The record of a module; a new one if there is none yet. NULL: out of memory. */
struct pn_adapter_module *pn_adapter_module(struct pn_adapter *adapter, const char *name);
/* Folders: model/hf/adapter.c. */
pantry_status pn_hf_adapter_read(struct pn_adapter *adapter, const struct pn_weights *base, float scale,
                                 struct pantry_error *err);

#endif
