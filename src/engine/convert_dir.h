/* What a directory will hold, while it is made: convert_dir.c writes it, convert_names.c says what the tensors and the
 * configuration of a GGUF file are called there, convert_tokenizer.c makes its tokenizer.json. */
#ifndef PN_ENGINE_CONVERT_DIR_H
#define PN_ENGINE_CONVERT_DIR_H

#include "engine/convert.h"
#include "tensor/weight.h"

#include <jansson.h>

/* A tensor of the directory. */
struct pn_dir_item {
    char *name; /* without a last ".weight" where `module`; owned */
    bool module;
    struct pn_weight weight; /* (n_mat, n_rows, n_cols) */
    int n_dims;
    int64_t shape[PN_MAX_DIMS];
    int64_t pair_dim; /* pairs of rows in heads of so many become halves; 0: rows stay */
    float add;        /* to all numbers */
    bool matrix;      /* may be quantized */
};

struct pn_dir {
    struct pn_convert *c;
    struct pn_arena arena;
    struct {
        struct pn_dir_item *data;
        size_t len, cap;
    } items;
    json_t *config; /* config.json */
    bool mlx;
};

/* The items and the configuration of a GGUF file. PANTRY_UNSUPPORTED: its architecture cannot be said so. */
pantry_status pn_dir_from_gguf(struct pn_dir *dir, struct pantry_error *err);
/* tokenizer.json, tokenizer_config.json and the like of a GGUF file, in `folder`. */
pantry_status pn_dir_tokenizer(const struct pn_convert *c, const char *folder, struct pantry_error *err);
/* Writes a file of JSON, or of text if `text` is not NULL. */
pantry_status pn_dir_put(const char *folder, const char *name, const json_t *json, const char *text,
                         struct pantry_error *err);

#endif
