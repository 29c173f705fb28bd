/* Pages of keys and values: see kv.h. */
#include "engine/kv.h"

#include "tensor/op.h"

#include <stdlib.h>

/* 8 million tokens: more than all sessions of a small model will hold, and its pages need not fill the memory. */
enum { MAX_PAGES = 1 << 18 };
static const size_t alignment = 64;
static const char what[] = "a key/value cache";

static size_t page_size(pn_type type, int n_head, int dim)
{
    return (size_t)n_head * PN_PAGE_TOKENS * pn_cache_row_bytes(type, dim);
}

/* Hands out aligned pieces of a page. */
static size_t carve(size_t *used, size_t bytes)
{
    size_t at = *used;
    *used += (bytes + alignment - 1) / alignment * alignment;
    return at;
}

/* Each layer's keys, and its values where they are kept, are a piece of every page. `memory` is where page 0 starts;
 * returns how many bytes a page needs. */
static size_t lay_out(struct pn_kv_pool *pool, const struct pn_model *model, unsigned char *memory)
{
    size_t used = 0;
    for (int i = 0; i < pool->n_caches; i++) {
        const struct pn_cache_shape *s = &model->caches[i];
        struct pn_cache *c = &pool->caches[i];
        *c = (struct pn_cache){.type = pool->type, .n_head = s->n_head, .dim_k = s->dim_k, .dim_v = s->dim_v};
        c->k_row = pn_cache_row_bytes(pool->type, s->dim_k);
        c->v_row = s->value_in_key ? c->k_row : pn_cache_row_bytes(pool->type, s->dim_v);
        c->k_page = c->v_page = pool->slots.stride;
        size_t k = carve(&used, page_size(pool->type, s->n_head, s->dim_k));
        size_t v = s->value_in_key ? k : carve(&used, page_size(pool->type, s->n_head, s->dim_v));
        c->k = memory ? memory + k : NULL;
        c->v = memory ? memory + v : NULL;
    }
    return used;
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
    pool->caches = calloc((size_t)pool->n_caches + 1, sizeof *pool->caches);
    if (!pool->caches) {
        status = pn_no_memory(err, what);
        goto fail;
    }
    pool->page_bytes = lay_out(pool, model, NULL);
    if ((status = pn_slots_init(&pool->slots, device, pool->page_bytes, MAX_PAGES, max_bytes, what, err)))
        goto fail;
    lay_out(pool, model, (unsigned char *)(uintptr_t)pool->slots.memory.address);
    pool->n_refs = calloc((size_t)pool->slots.n, sizeof *pool->n_refs);
    if (!pool->n_refs) {
        status = pn_no_memory(err, what);
        goto fail;
    }
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
    pn_slots_release(&pool->slots);
    pthread_mutex_destroy(&pool->lock);
    free(pool->caches);
    free(pool->n_refs);
    free(pool);
}

pn_status pn_kv_promise(struct pn_kv_pool *pool, int32_t n, const char *wanted_by, struct pn_error *err)
{
    pthread_mutex_lock(&pool->lock);
    pn_status status = pn_slots_promise(&pool->slots, n, wanted_by, err);
    pthread_mutex_unlock(&pool->lock);
    return status;
}

pn_status pn_kv_check(struct pn_kv_pool *pool, int32_t n, const char *wanted_by, struct pn_error *err)
{
    pthread_mutex_lock(&pool->lock);
    int32_t missing = n - pool->slots.n_promised;
    pn_status status = missing > 0 ? pn_slots_check(&pool->slots, missing, wanted_by, err) : PN_OK;
    pthread_mutex_unlock(&pool->lock);
    return status;
}

void pn_kv_unpromise(struct pn_kv_pool *pool, int32_t n)
{
    pthread_mutex_lock(&pool->lock);
    pn_slots_unpromise(&pool->slots, n);
    pthread_mutex_unlock(&pool->lock);
}

pn_status pn_kv_page_new(struct pn_kv_pool *pool, int32_t *page, struct pn_error *err)
{
    pthread_mutex_lock(&pool->lock);
    bool ok = pn_slots_take(&pool->slots, page);
    if (ok)
        pool->n_refs[*page] = 1;
    pthread_mutex_unlock(&pool->lock);
    return ok ? PN_OK : pn_fail(err, PN_NO_MEMORY, "all %d pages of the key/value cache are in use", pool->slots.n);
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
        pn_slots_give(&pool->slots, page);
    pthread_mutex_unlock(&pool->lock);
}

uint32_t pn_kv_page_refs(struct pn_kv_pool *pool, int32_t page)
{
    pthread_mutex_lock(&pool->lock);
    uint32_t n = pool->n_refs[page];
    pthread_mutex_unlock(&pool->lock);
    return n;
}

void pn_kv_page_copy(struct pn_kv_pool *pool, int32_t to, int32_t from)
{
    pn_slots_copy(&pool->slots, to, from);
}

int32_t pn_kv_pages_used(struct pn_kv_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    int32_t n = pool->slots.n_used - pool->slots.n_free;
    pthread_mutex_unlock(&pool->lock);
    return n;
}

int32_t pn_kv_capacity(struct pn_kv_pool *pool)
{
    const struct pn_slots *s = &pool->slots;
    pthread_mutex_lock(&pool->lock);
    uint64_t n = s->stride ? pn_memory_left(s->budget) / s->stride + (uint64_t)s->n_promised : (uint64_t)s->n;
    n = n < (uint64_t)s->n ? n : (uint64_t)s->n;
    pthread_mutex_unlock(&pool->lock);
    return (int32_t)n;
}

double pn_kv_step_bytes(const struct pn_kv_pool *pool, const struct pn_graph *graph, int n_past)
{
    double sum = 0;
    for (size_t i = 0; i < graph->len; i++) {
        const struct pn_node *n = &graph->data[i];
        if (n->op != PN_OP_ATTENTION)
            continue;
        const struct pn_cache *c = &pool->caches[n->attn.cache];
        size_t row = c->k_row + (n->attn.value_in_key ? 0 : c->v_row);
        int64_t first = pn_attention_first(&n->attn, n_past - 1);
        sum += (double)(n_past - first) * (double)((size_t)c->n_head * row);
    }
    return sum;
}
