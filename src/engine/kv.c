/* Pages of keys and values: see kv.h. */
#include "engine/kv.h"

#include "tensor/op.h"

#include <stdlib.h>

/* 8 million tokens: more than all sessions of a small model will hold, and its pages need not fill the memory. */
enum { MAX_PAGES = 1 << 18 };
static const size_t alignment = 64;

static size_t page_size(pn_type type, int n_head, int dim)
{
    return (size_t)n_head * PN_PAGE_TOKENS * pn_cache_row_bytes(type, dim);
}

/* Keys and values of one layer. */
static size_t page_bytes(pn_type type, const struct pn_cache_shape *s)
{
    return page_size(type, s->n_head, s->dim_k) + (s->value_in_key ? 0 : page_size(type, s->n_head, s->dim_v));
}

/* Each layer's keys, and its values where they are kept, are one run of pages. */
static void lay_out(struct pn_kv_pool *pool, const struct pn_model *model)
{
    unsigned char *at = pool->memory.data;
    for (int i = 0; i < pool->n_caches; i++) {
        const struct pn_cache_shape *s = &model->caches[i];
        struct pn_cache *c = &pool->caches[i];
        *c = (struct pn_cache){.type = pool->type, .n_head = s->n_head, .dim_k = s->dim_k, .dim_v = s->dim_v};
        c->k_row = pn_cache_row_bytes(pool->type, s->dim_k);
        c->k_page = page_size(pool->type, s->n_head, s->dim_k);
        c->k = at;
        at += (c->k_page * (size_t)pool->n_pages + alignment - 1) / alignment * alignment;
        if (s->value_in_key) {
            c->v_row = c->k_row;
            c->v_page = c->k_page;
            c->v = c->k;
            continue;
        }
        c->v_row = pn_cache_row_bytes(pool->type, s->dim_v);
        c->v_page = page_size(pool->type, s->n_head, s->dim_v);
        c->v = at;
        at += (c->v_page * (size_t)pool->n_pages + alignment - 1) / alignment * alignment;
    }
}

static pn_status check_dims(const struct pn_model *model, pn_type type, struct pn_error *err)
{
    int block = (int)pn_type_info(type)->block;
    if (!pn_type_info(type)->encode)
        return pn_fail(err, PN_INVALID, "keys and values cannot be kept as %s", pn_type_info(type)->name);
    for (int i = 0; i < model->n_caches; i++)
        if (model->caches[i].dim_k % block || model->caches[i].dim_v % block)
            return pn_fail(err, PN_INVALID, "heads of %d values cannot be kept as %s, which takes blocks of %d",
                           model->caches[i].dim_k, pn_type_info(type)->name, block);
    return PN_OK;
}

pn_status pn_kv_pool_new(struct pn_device *device, const struct pn_model *model, pn_type type, uint64_t max_bytes,
                         struct pn_kv_pool **out, struct pn_error *err)
{
    *out = NULL;
    pn_status status = check_dims(model, type, err);
    if (status)
        return status;
    struct pn_kv_pool *pool = calloc(1, sizeof *pool);
    if (!pool)
        return pn_no_memory(err, "a key/value cache");
    pthread_mutex_init(&pool->lock, NULL);
    pool->device = device;
    pool->type = type;
    pool->n_caches = model->n_caches;
    for (int i = 0; i < model->n_caches; i++)
        pool->page_bytes += page_bytes(type, &model->caches[i]);
    uint64_t n = pool->page_bytes ? max_bytes / pool->page_bytes : MAX_PAGES;
    n = n < 2 ? 2 : n > MAX_PAGES ? MAX_PAGES : n;
    /* Where addresses are rationed (ulimit, strict overcommit) fewer pages must do. */
    for (status = PN_NO_MEMORY; status && n >= 2; n /= 2) {
        size_t slack = 2 * alignment * (size_t)pool->n_caches;
        status = device->class->buffer_new(device, pool->page_bytes * (size_t)n + slack, &pool->memory, err);
        pool->n_pages = (int32_t)n;
    }
    if (status)
        goto fail;
    pool->caches = calloc((size_t)pool->n_caches + 1, sizeof *pool->caches);
    pool->free_pages = calloc((size_t)pool->n_pages, sizeof *pool->free_pages);
    pool->n_refs = calloc((size_t)pool->n_pages, sizeof *pool->n_refs);
    if (!pool->caches || !pool->free_pages || !pool->n_refs) {
        status = pn_no_memory(err, "a key/value cache");
        goto fail;
    }
    lay_out(pool, model);
    *out = pool;
    return PN_OK;
fail:
    pn_kv_pool_free(pool);
    return status;
}

void pn_kv_pool_free(struct pn_kv_pool *pool)
{
    if (!pool)
        return;
    pool->device->class->buffer_free(pool->device, &pool->memory);
    pthread_mutex_destroy(&pool->lock);
    free(pool->caches);
    free(pool->free_pages);
    free(pool->n_refs);
    free(pool);
}

pn_status pn_kv_page_new(struct pn_kv_pool *pool, int32_t *page, struct pn_error *err)
{
    pn_status status = PN_OK;
    pthread_mutex_lock(&pool->lock);
    if (pool->n_free)
        *page = pool->free_pages[--pool->n_free];
    else if (pool->n_used < pool->n_pages)
        *page = pool->n_used++;
    else
        status = pn_fail(err, PN_NO_MEMORY, "all %d pages of the key/value cache are in use", pool->n_pages);
    if (!status)
        pool->n_refs[*page] = 1;
    pthread_mutex_unlock(&pool->lock);
    return status;
}

void pn_kv_page_retain(struct pn_kv_pool *pool, int32_t page)
{
    pthread_mutex_lock(&pool->lock);
    pool->n_refs[page]++;
    pthread_mutex_unlock(&pool->lock);
}

void pn_kv_page_release(struct pn_kv_pool *pool, int32_t page)
{
    pthread_mutex_lock(&pool->lock);
    if (--pool->n_refs[page] == 0)
        pool->free_pages[pool->n_free++] = page;
    pthread_mutex_unlock(&pool->lock);
}

size_t pn_kv_token_bytes(const struct pn_kv_pool *pool)
{
    return pool->page_bytes / PN_PAGE_TOKENS;
}
