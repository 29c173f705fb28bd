/* Hugging Face and MLX directories as the models of this program: names, conventions and hyper-parameters.
 *
 * model/hf turns what format/hfdir.h read into the tensors and the metadata that a GGUF file of the same model would
 * have, in place: numbers are copied only where their order differs (docs/formats.md lists these cases), and vectors.
 */
#ifndef PN_MODEL_HF_HF_H
#define PN_MODEL_HF_HF_H

#include "format/hfdir.h"
#include "model/arch.h"

#include <jansson.h>

/* pn_weights_open, _inspect for every kind of model: of a directory, all tensors and metadata are there. */
pantry_status pn_model_open(const char *path, struct pn_weights **out, struct pantry_error *err);
pantry_status pn_model_inspect(const char *path, struct pn_weights **out, struct pantry_error *err);

/* The same with the adapters of a load, as in pn_model_new_adapted: fully tuned weights (fine_tune_type "full") replace
 * those of the directory. */
pantry_status pn_model_open_adapted(const char *path, const char *const *adapters, struct pn_weights **out,
                                    struct pantry_error *err);

/* A directory whose plain weights of the last n_layers blocks (-1: all) are float32 in memory that may be written. */
pantry_status pn_model_open_writable(const char *path, int n_layers, struct pn_weights **out, struct pantry_error *err);
/* Whether the numbers of a base tensor are in such memory. */
bool pn_model_is_writable(const struct pn_weights *weights, const struct pn_tensor_info *t);
/* Writes these weights as they are now, by the directory's own names, to FOLDER/adapters.safetensors, and
 * adapter_config.json with the text `config`. */
pantry_status pn_model_save_written(const struct pn_weights *weights, const char *folder, const char *config,
                                    struct pantry_error *err);
/* True for a folder (or a safetensors file in one) with fully tuned weights. */
bool pn_adapter_is_full(const char *path);

/* Writes a directory in which the adapter at `adapter` is part of the weights: model.safetensors and config.json.
 * Changed weights keep a plain type; those of MLX's affine types become float16. */
pantry_status pn_model_fuse(const char *path, const char *adapter, const char *out, struct pantry_error *err);

/* ---- inside model/hf ---- */

/* What happens to a tensor's numbers on the way. */
enum pn_hf_change {
    PN_HF_SAME,
    PN_HF_PLUS_ONE,    /* a norm that is stored as its difference from 1 */
    PN_HF_PLUS_ONE_HF, /* ... except by MLX */
    PN_HF_DECAY,       /* -exp(x) */
    PN_HF_TURNED,      /* (in, out), except by MLX */
    PN_HF_KERNEL,      /* (channels, 1, k) or (channels, k, 1) as (channels, k) */
    PN_HF_FIRST,       /* the first half of the rows; the second */
    PN_HF_SECOND,
    PN_HF_EVEN, /* every other row, from the first or the second */
    PN_HF_ODD,
    PN_HF_TURNED_FIRST, /* of (in, out): the first half of the columns, and so on */
    PN_HF_TURNED_SECOND,
    PN_HF_TURNED_EVEN,
    PN_HF_TURNED_ODD,
    PN_HF_BY_HEAD,  /* rows: each head's query, key and value together */
    PN_HF_BY_GROUP, /* rows: each group's queries, then its key and value */
    PN_HF_BY_KEY,   /* rows: each key head's query, key and values of a delta rule, ... */
    PN_HF_BY_KEY_Z, /* ... and its gates */
    PN_HF_LEFT_OUT
};

struct pn_hf_name {
    const char *from; /* without the model's prefix; "*." is a layer; a last ".weight" or ".bias" may be left out */
    const char *to;   /* likewise, without "blk.N." */
    enum pn_hf_change change;
};

struct pn_hf;

enum {
    PN_HF_HALVES = 1,    /* rows of queries and keys are not permuted: halves rotate together, not pairs */
    PN_HF_FIXED_ACT = 2, /* the configuration's activation function is not meant as it is written */
    PN_HF_WINDOW = 4,    /* sliding_window is the window of all layers */
    PN_HF_SIGMOID = 8,   /* gates of routers if the configuration does not say */
    PN_HF_SOFTMAX = 16
};

/* A kind of configuration: what its architecture is called here, and how its names and keys differ. */
struct pn_hf_row {
    const char *types;              /* values of model_type, separated by blanks */
    const char *arch;               /* a row of archs.c */
    const struct pn_hf_name *names; /* beyond the usual ones; ends with a row of NULL */
    const char *keys;     /* "key=name key~name": metadata from the configuration; ~: a floating-point number */
    const char *defaults; /* of the configuration: JSON with ' for " */
    const char *written;  /* what the configuration of a GGUF file says besides its metadata; NULL: it cannot be made */
    unsigned flags;
    void (*more)(struct pn_hf *hf); /* more metadata */
};

const struct pn_hf_row *pn_hf_row(const char *model_type);
/* The first row for an architecture; NULL: none. */
const struct pn_hf_row *pn_hf_row_of(const char *arch);
/* Sizes that transformers takes where the configuration of a text part leaves them out: a JSON object; NULL: none. */
const char *pn_hf_usual_sizes(const char *model_type);
/* The rules for a name, one after another in a table, all with the same `from`; NULL: none. */
const struct pn_hf_name *pn_hf_rules(const struct pn_hf_row *row, const char *from);
/* The names that most directories share; ends with a row of NULL. */
const struct pn_hf_name *pn_hf_usual_names(void);
extern const char *const pn_hf_ignored[]; /* beginnings of names of parts that are not used; ends with NULL */

/* A directory while it is translated. */
struct pn_hf {
    struct pn_weights *w;
    const struct pn_hfdir *dir;
    json_t *config; /* of the text model, with defaults */
    const struct pn_hf_row *row;
    struct pn_arch *arch; /* the row of archs.c, adapted */
    struct pantry_error *err;
    pantry_status status; /* the first failure */
    struct {
        struct pn_tensor_info *data;
        size_t len, cap;
    } tensors;
    struct {
        struct pn_meta *data;
        size_t len, cap;
    } meta;
};

/* ---- hf.c ---- */

/* Gives a directory that was read its tensors and metadata. */
pantry_status pn_hf_translate(struct pn_weights *w, struct pantry_error *err);

/* ---- full.c ---- */

/* Replaces tensors of a directory that is not yet translated by fully tuned ones, for each of the adapters that has
 * such. */
pantry_status pn_hf_replace(struct pn_weights *w, const char *const *adapters, struct pantry_error *err);
/* Copies the tensors of the blocks from first_layer on, as float32, before they are translated. */
pantry_status pn_hf_make_writable(struct pn_weights *w, int first_layer, struct pantry_error *err);
/* After translating: whether all of them can be written back. */
pantry_status pn_hf_check_writable(const struct pn_weights *w, struct pantry_error *err);

/* ---- values.c ---- */

/* Records the first failure. */
void pn_hf_fail(struct pn_hf *hf, pantry_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The row and the configuration of a base model, for an adapter: hf->w, dir (NULL: a GGUF file), arch and err are set.
 * The caller frees hf->config. */
void pn_hf_begin(struct pn_hf *hf);
/* Rows of a head, and how many of them rotate, where GGUF files of this architecture have pairs of neighbours and
 * directories have halves; 0: they have the same order. */
void pn_hf_pairs_in_gguf(const struct pn_arch *arch, const struct pn_weights *base, int64_t *n_rot, int64_t *head);

/* Values of the configuration by the first of several names, separated by blanks, that it has. */
const json_t *pn_hf_get(const struct pn_hf *hf, const char *names);
int64_t pn_hf_int(struct pn_hf *hf, const char *names, int64_t fallback);
double pn_hf_float(struct pn_hf *hf, const char *names, double fallback);
bool pn_hf_bool(const struct pn_hf *hf, const char *names, bool fallback);
/* Metadata "<arch>.<key>", or a key that begins with general. or xielu.; a later value replaces an earlier one. */
void pn_hf_put_int(struct pn_hf *hf, const char *key, int64_t value);
void pn_hf_put_float(struct pn_hf *hf, const char *key, double value);
void pn_hf_put_bool(struct pn_hf *hf, const char *key, bool value);
void pn_hf_put_str(struct pn_hf *hf, const char *key, const char *value);
void pn_hf_put_ints(struct pn_hf *hf, const char *key, const int64_t *values, size_t n);
void pn_hf_put_floats(struct pn_hf *hf, const char *key, const float *values, size_t n);
void pn_hf_put_bools(struct pn_hf *hf, const char *key, const bool *values, size_t n);
/* The same for a layer that may have a value of its own (per_layer_config). */
int64_t pn_hf_layer_int(struct pn_hf *hf, const char *name, int layer, int64_t fallback);
/* Item i of "layer_types" (or a list of another name); "" if there is none. */
const char *pn_hf_layer_type(const struct pn_hf *hf, const char *name, int i);
/* ---- config.c ---- */

/* All metadata of the model. */
void pn_hf_read_config(struct pn_hf *hf);

/* ---- rotation.c ---- */

/* Metadata and tensors of the rotation, windows and layers that do not rotate. */
void pn_hf_read_rotation(struct pn_hf *hf);
void pn_hf_read_windows(struct pn_hf *hf);

/* ---- matrix.c ---- */

/* The numbers of a module's weight, or of a parameter, as the directory stores them. `name` is the tensor's:
 * "X.weight", "X.qweight", ... `dims` and `shape`: logical. */
struct pn_hf_matrix {
    struct pn_weight *weight; /* of the arena */
    int n_dims;
    int64_t shape[PN_MAX_DIMS];
    size_t map;
};
bool pn_hf_matrix(struct pn_hf *hf, const struct pn_st_tensor *t, struct pn_hf_matrix *out);
/* True for tensors that belong to a weight of another name: scales, zero points... */
bool pn_hf_is_companion(const struct pn_hf *hf, const struct pn_st_tensor *t);
/* The part of a name before its storage: "a.b" of "a.b.weight", "a.b.qweight"; *leaf is "weight", "bias", or "" for a
 * parameter of its own. */
size_t pn_hf_module(const struct pn_st_tensor *t, const char **leaf);

/* ---- tensors.c ---- */

/* A float32 vector of n values that a configuration gives; the caller fills it. NULL after an error. */
float *pn_hf_constant(struct pn_hf *hf, const char *name, int64_t n);
/* Where the weight of a module ("model.layers.0.self_attn.q_proj") goes. */
struct pn_hf_target {
    const char *name; /* "blk.0.attn_q.weight", in hf->w's arena */
    const struct pn_hf_name *rule;
};
/* At most n targets; fails if there is none. */
int pn_hf_targets(struct pn_hf *hf, const char *module, struct pn_hf_target *out, int n);
/* Where a tensor of the directory goes, whatever its last part; 0 if there is no place, or it is one of a stack. */
int pn_hf_places(struct pn_hf *hf, const struct pn_st_tensor *t, struct pn_hf_target *out, int n);
/* The number of the block that a tensor belongs to; -1: none. */
long pn_hf_layer_of(const char *name);
/* Keeps or reorders rows as a rule does. */
void pn_hf_change_rows(struct pn_hf *hf, struct pn_hf_matrix *m, enum pn_hf_change change);
/* All tensors of the model. */
void pn_hf_read_tensors(struct pn_hf *hf);

#endif
