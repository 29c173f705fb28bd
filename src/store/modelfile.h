/* Modelfiles: Ollama's language for `pantry create`.
 *
 * A line is an instruction and its value, or a comment ("#"). Instructions have any case. A value ends with its line,
 * unless it begins with " or """: then it ends with the first line that ends with the same quotes. Quotes have no
 * escapes. */
#ifndef PN_STORE_MODELFILE_H
#define PN_STORE_MODELFILE_H

#include "base/alloc.h"
#include "base/status.h"

enum { PN_MODELFILE_MAX = 16 << 20, PN_MODELFILE_LINES = 4096 };

enum pn_instruction {
    PN_MODELFILE_FROM,
    PN_MODELFILE_PARAMETER, /* `name` is the parameter */
    PN_MODELFILE_TEMPLATE,
    PN_MODELFILE_SYSTEM,
    PN_MODELFILE_ADAPTER,
    PN_MODELFILE_LICENSE,
    PN_MODELFILE_MESSAGE, /* `name` is the role */
    PN_MODELFILE_DRAFT,
    PN_MODELFILE_REQUIRES,
    PN_MODELFILE_RENDERER,
    PN_MODELFILE_PARSER,
    PN_MODELFILE_CAPABILITY,
};

struct pn_modelfile_line {
    enum pn_instruction kind;
    const char *name;  /* of PARAMETER and MESSAGE, else NULL */
    const char *value; /* without its quotes */
    int line;          /* from 1 */
};

struct pn_modelfile {
    struct pn_arena arena; /* owns the texts */
    struct pn_modelfile_line *data;
    size_t len, cap;
};

/* Reads a Modelfile, which must have a FROM; `file` is its name in messages, which have line numbers. On failure there
 * is nothing to free. */
pantry_status pn_modelfile_parse(const char *file, const char *text, size_t n, struct pn_modelfile *out,
                                 struct pantry_error *err);
void pn_modelfile_free(struct pn_modelfile *modelfile);

/* "SYSTEM", ... */
const char *pn_modelfile_instruction(enum pn_instruction kind);
/* Appends a line that reads back as these; `name` is NULL for most instructions. */
void pn_modelfile_put(struct pn_buf *out, enum pn_instruction kind, const char *name, const char *value);

#endif
