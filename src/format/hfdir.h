/* Directories as Hugging Face and MLX lay them out: config.json, and weights in one or several safetensors files.
 *
 * A reader of such a directory leaves names and numbers as they are stored. model/hf turns them into what weights.h
 * promises. */
#ifndef PN_FORMAT_HFDIR_H
#define PN_FORMAT_HFDIR_H

#include "format/safetensors.h"
#include "format/weights.h"

#include <jansson.h>

struct pn_name_index;

struct pn_hfdir {
    const char *dir;
    json_t *config; /* config.json: an object */
    bool mlx;       /* the weights were written by MLX */
    struct pn_st_tensors tensors;
    struct pn_name_index *index; /* of their names */
};

/* True for a folder with config.json and safetensors files. */
bool pn_is_hfdir(const char *folder);
/* Reads the directory w->path: sets w->hf and w->maps, and leaves w->tensors and w->meta empty. After an error,
 * pn_weights_close frees everything. */
pantry_status pn_hfdir_read(struct pn_weights *w, struct pantry_error *err);
void pn_hfdir_free(struct pn_hfdir *hf);

/* NULL when there is none. */
const struct pn_st_tensor *pn_hfdir_tensor(const struct pn_hfdir *hf, const char *name);

/* Maps another safetensors file and takes its tensors in place of those of the same names, which must be there and have
 * the same shapes. */
pantry_status pn_hfdir_replace(struct pn_weights *w, const char *path, struct pantry_error *err);

/* Reads a file of JSON beside others: PANTRY_NOT_FOUND, and an untouched `err`, if it does not exist. */
pantry_status pn_hfdir_json(const char *dir, const char *name, json_t **out, struct pantry_error *err);

#endif
