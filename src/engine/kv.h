/* The memory of keys and values: pages of PN_PAGE_TOKENS tokens, the same page number in every layer.
 *
 * A pool reserves addresses for as many pages as the machine's memory could hold and touches only those in use. Pages
 * are counted, so that sequences may share them. */
#ifndef PN_ENGINE_KV_H
#define PN_ENGINE_KV_H

#include "device/device.h"
#include "model/model.h"

#include <pthread.h>

struct pn_kv_pool {
    struct pn_device *device;
    pn_type type;
    int n_caches;
    struct pn_cache *caches; /* (n_caches): what a batch needs */
    struct pn_buffer memory;
    size_t page_bytes;       /* of all layers together */
    int32_t n_pages, n_used; /* pages n_used .. n_pages - 1 were never handed out */
    int32_t *free_pages;     /* a stack: the page freed last is used next */
    int32_t n_free;
    uint16_t *n_refs;
    pthread_mutex_t lock;
};

/* `max_bytes` bounds the addresses reserved. */
pn_status pn_kv_pool_new(struct pn_device *device, const struct pn_model *model, pn_type type, uint64_t max_bytes,
                         struct pn_kv_pool **out, struct pn_error *err);
void pn_kv_pool_free(struct pn_kv_pool *pool);
/* Hands a page out, with one reference. */
pn_status pn_kv_page_new(struct pn_kv_pool *pool, int32_t *page, struct pn_error *err);
void pn_kv_page_retain(struct pn_kv_pool *pool, int32_t page);
void pn_kv_page_release(struct pn_kv_pool *pool, int32_t page);
/* Bytes that a token's keys and values take in all layers. */
size_t pn_kv_token_bytes(const struct pn_kv_pool *pool);

#endif
