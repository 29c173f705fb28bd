/* The memory of keys and values: pages of PN_PAGE_TOKENS tokens. Layers that see equally far back form a group with its
 * own pages, so that pages before a window can be given back while other layers keep theirs. A page is one piece of
 * memory with the keys and values of all layers of its group; on several devices, one piece on each that has layers of
 * the group. Pages have reference counts, so that sequences can share them. */
#ifndef PN_ENGINE_KV_H
#define PN_ENGINE_KV_H

#include "engine/tables.h"
#include "model/model.h"

#include <pthread.h>

/* Group 0 has the layers that see everything. It may be empty; its pages then need no memory. */
enum { PN_KV_GROUPS = 4 };

struct pn_kv_group {
    int window; /* tokens; 0: all of them */
    enum pn_window_kind kind;
    struct pn_slots slots; /* the pages */
    size_t page_bytes;     /* of all layers together */
    uint32_t *n_refs;      /* (slots.n) */
};

struct pn_kv_pool {
    pn_type type;
    int n_caches;
    struct pn_cache *caches; /* (n_caches), for batches */
    int n_groups;
    struct pn_kv_group groups[PN_KV_GROUPS];
    struct pn_tables tables; /* the pages of each sequence */
    pthread_mutex_t lock;
};

/* `part_of` has the device of each cache of the model (NULL: the first). `max_bytes` bounds the addresses reserved for
 * a group. */
pantry_status pn_kv_pool_new(struct pn_device *const *devices, int n_parts, const int8_t *part_of,
                             const struct pn_model *model, pn_type type, uint64_t max_bytes, struct pn_kv_pool **out,
                             struct pantry_error *err);
void pn_kv_pool_free(struct pn_kv_pool *pool);

/* The first page of a group that a sequence of n tokens keeps: everything the next token sees, and one page more, so
 * that the sequence can rewind a little. */
int pn_kv_first_page(const struct pn_kv_pool *pool, int group, int n);
/* The least length to which a sequence with a group's pages from `first_page` on can rewind. */
int pn_kv_least_length(const struct pn_kv_pool *pool, int group, int first_page);
/* The most pages of a group that a sequence of up to n tokens holds while it reads up to `slice` tokens per step. */
int32_t pn_kv_most_pages(const struct pn_kv_pool *pool, int group, int n, int slice);
/* The bytes of these pages in all groups together. */
uint64_t pn_kv_most_bytes(const struct pn_kv_pool *pool, int n, int slice);
/* Bytes that a page of a group counts for; 1 if it needs no memory. */
uint64_t pn_kv_page_weight(const struct pn_kv_pool *pool, int group);

/* Takes the memory of n pages of a group from the budget before they are used, or fails with the bytes missing; `what`
 * names the user in errors. */
pantry_status pn_kv_promise(struct pn_kv_pool *pool, int group, int32_t n, const char *what, struct pantry_error *err);
void pn_kv_unpromise(struct pn_kv_pool *pool, int group, int32_t n);
/* Checks whether n[g] pages of each group, including promised ones, are possible now. Takes nothing, since other
 * threads may need them. */
pantry_status pn_kv_check(struct pn_kv_pool *pool, const int32_t *n, const char *what, struct pantry_error *err);
/* Takes a page, with one reference. */
pantry_status pn_kv_page_new(struct pn_kv_pool *pool, int group, int32_t *page, struct pantry_error *err);
void pn_kv_page_retain(struct pn_kv_pool *pool, int group, int32_t page);
void pn_kv_page_release(struct pn_kv_pool *pool, int group, int32_t page);
/* The number of references to the page. */
uint32_t pn_kv_page_refs(struct pn_kv_pool *pool, int group, int32_t page);
/* Copies keys and values of all layers of the group. */
void pn_kv_page_copy(struct pn_kv_pool *pool, int group, int32_t to, int32_t from);
/* The number of pages in use. */
int32_t pn_kv_pages_used(struct pn_kv_pool *pool, int group);
/* Bytes of all possible pages, including those in use: what is promised and what the budget has left. */
uint64_t pn_kv_capacity(struct pn_kv_pool *pool);
/* Bytes of keys and values that a step of one token reads, for a sequence of `n_past` tokens including it. Layers with
 * a window read less, and a cache that layers share is read by each. */
double pn_kv_step_bytes(const struct pn_kv_pool *pool, const struct pn_graph *graph, int n_past);

#endif
