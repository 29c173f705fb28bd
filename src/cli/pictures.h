/* Prompts of a chat template's context and pictures' files: `pantry tokenize` and `pantry logits`. */
#ifndef PN_CLI_PICTURES_H
#define PN_CLI_PICTURES_H

#include "base/alloc.h"
#include "cli/options.h"
#include "pantry.h"

#include <jansson.h>

/* Files of pictures, read into memory. */
struct pn_picture_files {
    struct pantry_picture picture[PN_LIST_MAX];
    size_t n;
};

enum { PN_PICTURE_LIMIT = 64 << 20 }; /* bytes of a file */

/* Read or report an error; exit status. Free them also after a failure. */
int pn_pictures_read(const struct pn_text_list *files, struct pn_picture_files *out);
void pn_pictures_free(struct pn_picture_files *files);

/* A picture's file as a part of a message: {"type": "image", "data": BASE64}. */
int pn_picture_part(const char *file, json_t **part);
/* The bytes of `text` that are the path of an existing picture's file, at its beginning: a word that may have quotes
 * around it, or white space after backslashes, as terminals paste paths; *path gets it without them. 0: it begins with
 * none. */
size_t pn_picture_path(const char *text, size_t len, struct pn_buf *path);

/* Renders the model's template with the context of a JSON file, and reads the result with the pictures of `files` in
 * their places. */
int pn_cli_context_prompt(pantry_model *model, const char *context_file, const struct pn_text_list *files,
                          pantry_prompt **prompt);

#endif
