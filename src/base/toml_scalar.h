/* The parts of a TOML document that contain no others: keys, strings, numbers, times. For toml.c. */
#ifndef PN_BASE_TOML_SCALAR_H
#define PN_BASE_TOML_SCALAR_H

#include "base/toml.h"

struct pn_toml_reader {
    const char *at, *end; /* a NUL at `end` */
    int line;
    const char *name;
    struct pn_arena *arena;
    struct pantry_error *err;
};

/* Fails with "name:line: ...". */
pantry_status pn_toml_fail(const struct pn_toml_reader *r, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Spaces and tabs. */
void pn_toml_skip_blanks(struct pn_toml_reader *r);
/* One part of a key: bare, or in quotes. */
pantry_status pn_toml_read_key(struct pn_toml_reader *r, const char **key, size_t *len);
/* A string, number, time or truth value at `at`. */
pantry_status pn_toml_read_scalar(struct pn_toml_reader *r, struct pn_toml *out);

#endif
