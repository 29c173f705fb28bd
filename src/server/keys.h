/* API keys: made by `pantry key`, checked by the service.
 *
 * A key is "pk-" and 256 random bits. The file (keys.json, mode 0600) has only its salted SHA-256, so a copy of the
 * file lets nobody in; one hash is enough, as nobody guesses 256 bits. A damaged file is an error, never "no keys". */
#ifndef PN_SERVER_KEYS_H
#define PN_SERVER_KEYS_H

#include "base/hash.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

enum { PN_KEY_NAME = 64, PN_KEY_TEXT = 3 + 64, PN_KEY_SALT = 32, PN_KEY_LAST = 4, PN_KEYS_MAX = 1000 };

/* What a key allows and what a route asks for; each one includes those after it. */
enum pn_scope {
    PN_SCOPE_MANAGE, /* also what changes the store or shows the others' use */
    PN_SCOPE_INFER,  /* answers */
    PN_SCOPE_OPEN    /* needs no key; only of routes */
};

struct pn_key {
    char name[PN_KEY_NAME + 1];
    enum pn_scope scope;
    int64_t created;                                     /* Unix time */
    char last[PN_KEY_LAST + 1];                          /* characters of the key */
    char salt[PN_KEY_SALT + 1], hash[PN_SHA256_HEX + 1]; /* hexadecimal; the hash also tells keys apart */
};

/* The keys of a file. */
struct pn_keys {
    char *path;
    struct pn_key *key; /* (n) */
    size_t n;
    int fd; /* the file that was read: while it is open, no new file gets its inode. -1: there was none */
    struct stat seen;
};

/* Reads the file; a missing one has no keys. */
pantry_status pn_keys_open(struct pn_keys *keys, const char *path, struct pantry_error *err);
void pn_keys_close(struct pn_keys *keys);
/* Reads the file again if it has changed. After a failure there are no keys, and the next call tries again. */
pantry_status pn_keys_refresh(struct pn_keys *keys, struct pantry_error *err);
/* The key with that text, or NULL. The time tells nothing about the keys: all are compared, each in constant time. */
const struct pn_key *pn_keys_find(const struct pn_keys *keys, const char *text);

/* Adds a new key to the file and writes its text, which is not kept. `name` NULL: "key-1" or the next free one; *out
 * gets it. PANTRY_INVALID: the name is taken or malformed. Safe between processes, as is pn_keys_remove. */
pantry_status pn_keys_add(const char *path, const char *name, enum pn_scope scope, struct pn_key *out,
                          char text[PN_KEY_TEXT + 1], struct pantry_error *err);
/* PANTRY_NOT_FOUND: there is no key of that name. */
pantry_status pn_keys_remove(const char *path, const char *name, struct pantry_error *err);

/* "manage", "infer" */
const char *pn_scope_name(enum pn_scope scope);
/* False: it is neither. */
bool pn_scope_parse(const char *text, enum pn_scope *out);

#endif
