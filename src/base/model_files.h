/* What names of GGUF files say: which files of a folder are models, and which belong together. The contents are checked
 * where a file is opened. */
#ifndef PN_BASE_MODEL_FILES_H
#define PN_BASE_MODEL_FILES_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PN_SHARD_SUFFIX = 20 }; /* bytes of "-00001-of-00003.gguf" */

/* Reads N and M of a name that ends in "-NNNNN-of-MMMMM.gguf". */
bool pn_shard_name(const char *path, uint32_t *number, uint32_t *count);
/* Puts the number of another shard into such a name. */
void pn_shard_renumber(char *path, uint32_t number);

/* A GGUF file that may be a model: not a projector for images (mmproj) or an importance matrix. */
bool pn_is_model_file(const char *name);

struct pn_names {
    char **data;
    size_t len, cap;
};
/* The entries of the folder `name` in the folder `at` (AT_FDCWD: a path), sorted, without hidden ones. `own`: a link is
 * not followed. PANTRY_LIMIT if there are too many. */
pantry_status pn_names_read(int at, const char *name, bool own, struct pn_names *names, struct pantry_error *err);
/* Keeps the model files; of a sharded model only the first shard that is there. */
void pn_names_keep_models(struct pn_names *names);
void pn_names_free(struct pn_names *names);

/* The only model of a folder. PANTRY_NOT_FOUND if it has none, PANTRY_INVALID with their names if it has several.
 * Caller frees *path. */
pantry_status pn_folder_model(const char *folder, char **path, struct pantry_error *err);

#endif
