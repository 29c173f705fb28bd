/* TOML 1.0: a document becomes a tree whose values know their lines.
 *
 * Bounds: 1 MiB of text, 16,384 values, nesting of 64. Errors have the form "file:line: what is wrong". */
#ifndef PN_BASE_TOML_H
#define PN_BASE_TOML_H

#include "base/alloc.h"
#include "base/status.h"

enum { PN_TOML_MAX = 1 << 20 }; /* bytes */

enum pn_toml_kind {
    PN_TOML_TABLE,
    PN_TOML_ARRAY,
    PN_TOML_STRING,
    PN_TOML_INTEGER,
    PN_TOML_FLOAT,
    PN_TOML_BOOL,
    PN_TOML_TIME, /* a date, a time, or both */
};

struct pn_toml {
    enum pn_toml_kind kind;
    int line;
    const char *key; /* in a table; with a NUL after key_len */
    size_t key_len;
    struct pn_toml *first, *last, *next; /* members or elements, in the order of the document */
    const char *text;                    /* of a string, or a time as written; with a NUL after len */
    size_t len;
    int64_t integer;
    double number;
    bool truth;
    /* For the parser: */
    bool declared; /* by a header */
    bool frozen;   /* written as {...} or [...]: nothing is added later */
    int dotted_in; /* the section in which dotted keys made it; 0: none did */
};

/* `name` is for errors. The tree lives in the arena. */
pantry_status pn_toml_parse(const char *text, size_t len, const char *name, struct pn_arena *arena,
                            struct pn_toml **root, struct pantry_error *err);
/* A member of a table, or NULL. */
const struct pn_toml *pn_toml_get(const struct pn_toml *table, const char *key);
/* "a string", "a table", ... */
const char *pn_toml_kind_text(enum pn_toml_kind kind);

#endif
