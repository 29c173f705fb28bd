/* The memory of keys and values: pages of PN_PAGE_TOKENS tokens. Layers that look equally far back are a group: they
 * have pages of their own, so that those behind a window can be given back while other layers keep theirs. A page is
 * one piece of memory with the keys and values of all layers of its group, so that it can be given back alone; on
 * several devices one piece on each that has layers of the group. Pages are counted, so that sequences may share them.
 */
#ifndef PN_ENGINE_KV_H
#define PN_ENGINE_KV_H

#include "engine/tables.h"
#include "model/model.h"

#include <pthread.h>

/* Group 0 has the layers that see everything, and may be empty: its pages then need no memory. */
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
    struct pn_cache *caches; /* (n_caches): what a batch needs */
    int n_groups;
    struct pn_kv_group groups[PN_KV_GROUPS];
    struct pn_tables tables; /* which of these pages each sequence has */
    pthread_mutex_t lock;
};

/* `max_bytes` bounds the addresses reserved for a group. */
pantry_status pn_kv_pool_new(struct pn_device *device, const struct pn_model *model, pn_type type, uint64_t max_bytes,
                             struct pn_kv_pool **out, struct pantry_error *err);
/* The same on several devices: `part_of` says for each cache of the model which one has it. */
pantry_status pn_kv_pool_new_parts(struct pn_device *const *devices, int n_parts, const int8_t *part_of,
                                   const struct pn_model *model, pn_type type, uint64_t max_bytes,
                                   struct pn_kv_pool **out, struct pantry_error *err);
void pn_kv_pool_free(struct pn_kv_pool *pool);

/* The first page of a group that a sequence of n tokens keeps: what the next token sees, and a page more, so that it
 * can go back a little. */
int pn_kv_first_page(const struct pn_kv_pool *pool, int group, int n);
/* The least length to which a sequence can go back that has a group's pages from `first_page` on. */
int pn_kv_least_length(const struct pn_kv_pool *pool, int group, int first_page);
/* The most pages of a group that a sequence of up to n tokens holds while it reads up to `slice` at once. */
int32_t pn_kv_most_pages(const struct pn_kv_pool *pool, int group, int n, int slice);
/* What these pages of all groups together need. */
uint64_t pn_kv_most_bytes(const struct pn_kv_pool *pool, int n, int slice);
/* Bytes that a page of a group counts for: one where it needs no memory. */
uint64_t pn_kv_page_weight(const struct pn_kv_pool *pool, int group);

/* Takes the memory of n pages of a group from the budget before they are handed out, or says what is missing; `what`
 * wants them. */
pantry_status pn_kv_promise(struct pn_kv_pool *pool, int group, int32_t n, const char *what, struct pantry_error *err);
void pn_kv_unpromise(struct pn_kv_pool *pool, int group, int32_t n);
/* Whether so many pages of each group (n_groups numbers), those promised included, could be had now, or what is
 * missing. Takes nothing: other threads may need what there is. */
pantry_status pn_kv_check(struct pn_kv_pool *pool, const int32_t *n, const char *what, struct pantry_error *err);
/* Hands a page out, with one reference. */
pantry_status pn_kv_page_new(struct pn_kv_pool *pool, int group, int32_t *page, struct pantry_error *err);
void pn_kv_page_retain(struct pn_kv_pool *pool, int group, int32_t page);
void pn_kv_page_release(struct pn_kv_pool *pool, int group, int32_t page);
/* How many hold the page. */
uint32_t pn_kv_page_refs(struct pn_kv_pool *pool, int group, int32_t page);
/* Copies keys and values of all layers of the group. */
void pn_kv_page_copy(struct pn_kv_pool *pool, int group, int32_t to, int32_t from);
/* Pages that somebody holds. */
int32_t pn_kv_pages_used(struct pn_kv_pool *pool, int group);
/* Bytes of pages that there could be, those in use included: what has been promised and what the budget has left. */
uint64_t pn_kv_capacity(struct pn_kv_pool *pool);
/* Bytes of keys and values that a step of one token reads when the sequence has `n_past` tokens with it: layers with a
 * window read less than all of them, and a cache that layers share is read by each. */
double pn_kv_step_bytes(const struct pn_kv_pool *pool, const struct pn_graph *graph, int n_past);

#endif
