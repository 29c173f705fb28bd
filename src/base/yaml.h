/* YAML by libyaml: a document becomes a tree whose values know their lines.
 *
 * Bounds: 1 MiB of text, 16,384 values, nesting of 64. Aliases, tags and more than one document are refused. Errors
 * have the form "file:line: what is wrong". */
#ifndef PN_BASE_YAML_H
#define PN_BASE_YAML_H

#include "base/alloc.h"
#include "base/status.h"

enum { PN_YAML_MAX = 1 << 20 }; /* bytes */

enum pn_yaml_kind { PN_YAML_MAP, PN_YAML_LIST, PN_YAML_SCALAR };

struct pn_yaml {
    enum pn_yaml_kind kind;
    int line;
    const char *key;                     /* in a map */
    struct pn_yaml *first, *last, *next; /* members or elements, in the order of the document */
    const char *text;                    /* of a scalar; with a NUL after len */
    size_t len;
    bool plain; /* without quotes: it may be a number, true or false, or null */
};

/* `name` is for errors. The tree lives in the arena; an empty document is an empty map. */
pantry_status pn_yaml_parse(const char *text, size_t len, const char *name, struct pn_arena *arena,
                            struct pn_yaml **root, struct pantry_error *err);
/* A member of a map, or NULL. */
const struct pn_yaml *pn_yaml_get(const struct pn_yaml *map, const char *key);

/* What a plain scalar means, as YAML 1.1's core types; numbers also without a point ("1e-5"). */
bool pn_yaml_is_null(const struct pn_yaml *v);
bool pn_yaml_number(const struct pn_yaml *v, double *out);
bool pn_yaml_truth(const struct pn_yaml *v, bool *out);

#endif
