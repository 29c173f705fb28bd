/* The memory of keys and values: pages of PN_PAGE_TOKENS tokens, the same page number in every layer. A page is one
 * piece of memory with the keys and values of all layers, so that it can be given back alone. Pages are counted, so
 * that sequences may share them. */
#ifndef PN_ENGINE_KV_H
#define PN_ENGINE_KV_H

#include "engine/slots.h"
#include "model/model.h"

#include <pthread.h>

struct pn_kv_pool {
    struct pn_device *device;
    pn_type type;
    int n_caches;
    struct pn_cache *caches; /* (n_caches): what a batch needs */
    struct pn_slots slots;   /* the pages */
    size_t page_bytes;       /* of all layers together */
    uint32_t *n_refs;        /* (slots.n) */
    pthread_mutex_t lock;
};

/* `max_bytes` bounds the addresses reserved. */
pn_status pn_kv_pool_new(struct pn_device *device, const struct pn_model *model, pn_type type, uint64_t max_bytes,
                         struct pn_kv_pool **out, struct pn_error *err);
void pn_kv_pool_free(struct pn_kv_pool *pool);
/* Takes the memory of n pages from the budget before they are handed out, or says what is missing; `what` wants them.
 */
pn_status pn_kv_promise(struct pn_kv_pool *pool, int32_t n, const char *what, struct pn_error *err);
/* Whether n pages, those promised included, could be had now, or what is missing. Takes nothing: other threads may need
 * what there is. */
pn_status pn_kv_check(struct pn_kv_pool *pool, int32_t n, const char *what, struct pn_error *err);
void pn_kv_unpromise(struct pn_kv_pool *pool, int32_t n);
/* Hands a page out, with one reference. */
pn_status pn_kv_page_new(struct pn_kv_pool *pool, int32_t *page, struct pn_error *err);
void pn_kv_page_retain(struct pn_kv_pool *pool, int32_t page);
void pn_kv_page_release(struct pn_kv_pool *pool, int32_t page);
/* How many hold the page. */
uint32_t pn_kv_page_refs(struct pn_kv_pool *pool, int32_t page);
/* Copies keys and values of all layers. */
void pn_kv_page_copy(struct pn_kv_pool *pool, int32_t to, int32_t from);
/* Pages that somebody holds. */
int32_t pn_kv_pages_used(struct pn_kv_pool *pool);
/* Pages that there could be, those in use included: what has been promised and what the budget has left. */
int32_t pn_kv_capacity(struct pn_kv_pool *pool);
/* Bytes of keys and values that a step of one token reads when the sequence has `n_past` tokens with it: layers with a
 * window read less than all of them, and a cache that layers share is read by each. */
double pn_kv_step_bytes(const struct pn_kv_pool *pool, const struct pn_graph *graph, int n_past);

#endif
