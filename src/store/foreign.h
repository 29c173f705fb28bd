/* Models in the caches of other programs, which run where they are. pantry only reads there.
 *
 * What a cache contains is not trusted: folders are entered only if they are real ones, and a file is used only if it
 * is a regular file below the cache's own folder after all links are followed. Work is bounded. */
#ifndef PN_STORE_FOREIGN_H
#define PN_STORE_FOREIGN_H

#include "base/model_files.h"
#include "store/internal.h"

struct pn_stored_list {
    struct pn_stored *data;
    size_t len, cap;
};

/* One look at the caches. */
struct pn_look {
    struct pn_stored_list found;
    unsigned folders; /* that may still be read */
    bool no_memory;
};

/* A kind of cache. `root` is a real path. Damaged models are left out; only memory can run out (look->no_memory). */
struct pn_cache {
    const char *source;                    /* as in pn_stored, and the first part of the complete names */
    const char *owner;                     /* for sentences */
    const char *remove;                    /* how its owner removes a model */
    void (*roots)(struct pn_names *roots); /* adds the folders where it may be, the most specific first */
    void (*list)(struct pn_look *look, const char *root);
    void (*find)(struct pn_look *look, const char *root, const char *name); /* all that fit */
};

extern const struct pn_cache pn_cache_ollama, pn_cache_lmstudio, pn_cache_hub, pn_cache_llama_cpp;

/* ---- look.c: for the caches ---- */

enum { PN_LOOK_NAME_MAX = 256 }; /* bytes of a name */

/* Adds a folder that may be a cache: printf; nothing if an argument is NULL. */
void pn_look_root(struct pn_names *roots, const char *folder, const char *tail);
/* The entries of a folder that is not a link; none if it cannot be read. Free the names. */
void pn_look_names(struct pn_look *look, const char *path, struct pn_names *names);
/* Adds a model file, with its other shards, if all are regular files below `root`. Takes over `name` and `manifest`
 * (NULL: none). */
void pn_look_add(struct pn_look *look, const char *root, const char *source, char *name, const char *path,
                 char *manifest);
/* The same for a folder with the files of a model: config.json, weights, a tokenizer. */
void pn_look_add_folder(struct pn_look *look, const char *root, const char *source, char *name, const char *path);
/* A regular file below `root`, after all links are followed? *bytes gets its size. */
bool pn_look_inside(const char *root, const char *path, uint64_t *bytes);
/* printf to a fresh string; NULL, and no_memory is noted, when memory is out. */
char *pn_look_text(struct pn_look *look, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Does pantry's own store have a model of that name? */
bool pn_look_is_own(const char *name);
/* May this be a part of a name? Printable ASCII without '/' and ':', not hidden. */
bool pn_look_is_part(const char *text, size_t n);
/* Calls `fn` for each model file in a folder and, `depth` levels deep, in those below; `inside` is its path from
 * `folder`. */
void pn_look_files(struct pn_look *look, const char *folder, const char *inside, int depth,
                   void (*fn)(struct pn_look *look, const char *inside, void *user), void *user);

/* ---- for the store ---- */

/* The own models alone, sorted. */
pantry_status pn_store_list_own(struct pn_stored_list *list, struct pantry_error *err);

/* All models of other programs. Each name is there once; pn_foreign_find finds it. */
pantry_status pn_foreign_list(struct pn_stored_list *list, struct pantry_error *err);
/* PANTRY_NOT_FOUND; PANTRY_INVALID with their names if several models fit. */
pantry_status pn_foreign_find(const char *name, struct pn_stored *out, struct pantry_error *err);
/* The error for changing a model that the own store does not have: PANTRY_UNSUPPORTED if another program does, with
 * `advice` (NULL: how to remove it there), else PANTRY_NOT_FOUND. */
pantry_status pn_foreign_refuse(const char *name, const char *advice, struct pantry_error *err);

#endif
