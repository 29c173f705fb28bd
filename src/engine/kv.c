/* Pages of keys and values: see kv.h. */
#include "engine/kv.h"

#include "tensor/op.h"

#include <stdlib.h>
#include <string.h>

/* 8 million tokens: more than all sessions of a small model will need. */
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

/* The device address of page 0 of a group on a part; NULL: not allocated yet. */
static unsigned char *part_memory(const struct pn_kv_group *g, int part)
{
    return (unsigned char *)(uintptr_t)g->slots.part[part].memory.address;
}

/* Lays out a page: each layer's keys, and its values if stored, have a piece of every page of its group on the layer's
 * device (the first if `part_of` is NULL). Computes the bytes of a page of each group on each part. */
static void lay_out(struct pn_kv_pool *pool, const struct pn_model *model, const int8_t *part_of,
                    size_t used[PN_KV_GROUPS][PN_MAX_PARTS])
{
    memset(used, 0, PN_KV_GROUPS * sizeof *used);
    for (int i = 0; i < pool->n_caches; i++) {
        const struct pn_cache_shape *s = &model->caches[i];
        struct pn_cache *c = &pool->caches[i];
        int part = part_of ? part_of[i] : 0, group = c->group;
        unsigned char *memory = part_memory(&pool->groups[group], part);
        *c = (struct pn_cache){
            .type = pool->type, .n_head = s->n_head, .dim_k = s->dim_k, .dim_v = s->dim_v, .group = group};
        c->k_row = pn_cache_row_bytes(pool->type, s->dim_k);
        c->v_row = s->value_in_key ? c->k_row : pn_cache_row_bytes(pool->type, s->dim_v);
        c->k_page = c->v_page = pool->groups[group].slots.part[part].stride;
        size_t k = carve(&used[group][part], page_size(pool->type, s->n_head, s->dim_k));
        size_t v = s->value_in_key ? k : carve(&used[group][part], page_size(pool->type, s->n_head, s->dim_v));
        c->k = memory ? memory + k : NULL;
        c->v = memory ? memory + v : NULL;
    }
}

/* ---- groups ---- */

/* How far back a layer sees. */
struct sight {
    int window; /* 0: to the beginning */
    enum pn_window_kind kind;
};

/* A window as long as the longest context does not count: it would never give a page back. */
static struct sight sight_of(const struct pn_model *model, const struct pn_attention_params *a)
{
    int longest = model->hp.n_context_train;
    bool bounded = a->causal && a->window > 0 && a->window_kind <= PN_WINDOW_CHUNKED;
    if (!bounded || (longest > 0 && a->window >= longest))
        return (struct sight){0, PN_WINDOW_SLIDING};
    return (struct sight){a->window, a->window_kind};
}

/* How far back the layers that read a cache see. A chunk reaches no further back than a sliding window of its length.
 */
static struct sight sight_of_cache(const struct pn_model *model, int cache)
{
    struct sight all = {0, PN_WINDOW_SLIDING};
    bool first = true;
    for (size_t i = 0; i < model->graph.len; i++) {
        const struct pn_node *n = &model->graph.data[i];
        if (n->op != PN_OP_ATTENTION || n->attn.cache != cache)
            continue;
        struct sight s = sight_of(model, &n->attn);
        if (!s.window)
            return s;
        if (!first && s.kind != all.kind)
            s.kind = PN_WINDOW_SLIDING;
        s.window = s.window > all.window ? s.window : all.window;
        all = s;
        first = false;
    }
    return all;
}

/* The group of layers that see equally far; group 0, which keeps everything, if there are too many groups. */
static int group_for(struct pn_kv_pool *pool, struct sight s)
{
    for (int g = 0; g < pool->n_groups; g++)
        if (pool->groups[g].window == s.window && pool->groups[g].kind == s.kind)
            return g;
    if (pool->n_groups == PN_KV_GROUPS)
        return 0;
    pool->groups[pool->n_groups] = (struct pn_kv_group){.window = s.window, .kind = s.kind};
    return pool->n_groups++;
}

static void divide(struct pn_kv_pool *pool, const struct pn_model *model)
{
    pool->n_groups = 1;
    for (int i = 0; i < pool->n_caches; i++)
        pool->caches[i].group = group_for(pool, sight_of_cache(model, i));
}

/* Checks the addresses left for each group, since the groups before it have taken some. */
static pantry_status group_init(struct pn_kv_group *g, struct pn_device *const *devices, const size_t *bytes,
                                int n_parts, uint64_t max_bytes, struct pantry_error *err)
{
    uint64_t left = pn_memory_addresses(pn_memory_of_process());
    max_bytes = max_bytes < left ? max_bytes : left;
    for (int i = 0; i < n_parts; i++)
        g->page_bytes += bytes[i];
    pantry_status status = pn_slots_init(&g->slots, devices, bytes, n_parts, MAX_PAGES, max_bytes, what, err);
    if (!status && !(g->n_refs = calloc((size_t)g->slots.n, sizeof *g->n_refs)))
        status = pn_no_memory(err, what);
    return status;
}

/* ---- the pool ---- */

static pantry_status check_dims(const struct pn_model *model, pn_type type, struct pantry_error *err)
{
    int block = (int)pn_type_info(type)->block;
    if (!pn_type_info(type)->encode)
        return pn_fail(err, PANTRY_INVALID, "type %s cannot store keys and values", pn_type_info(type)->name);
    for (int i = 0; i < model->n_caches; i++)
        if (model->caches[i].dim_k % block || model->caches[i].dim_v % block)
            return pn_fail(err, PANTRY_INVALID, "heads of %d values do not fit type %s, which has blocks of %d",
                           model->caches[i].dim_k, pn_type_info(type)->name, block);
    return PANTRY_OK;
}

pantry_status pn_kv_pool_new(struct pn_device *const *devices, int n_parts, const int8_t *part_of,
                             const struct pn_model *model, pn_type type, uint64_t max_bytes, struct pn_kv_pool **out,
                             struct pantry_error *err)
{
    size_t bytes[PN_KV_GROUPS][PN_MAX_PARTS];
    *out = NULL;
    pantry_status status = check_dims(model, type, err);
    if (status)
        return status;
    struct pn_kv_pool *pool = calloc(1, sizeof *pool);
    if (!pool)
        return pn_no_memory(err, "a key/value cache");
    pthread_mutex_init(&pool->lock, NULL);
    pn_tables_init(&pool->tables, devices, n_parts);
    pool->type = type;
    pool->n_caches = model->n_caches;
    pool->caches = calloc((size_t)pool->n_caches + 1, sizeof *pool->caches);
    if (!pool->caches) {
        status = pn_no_memory(err, what);
        goto fail;
    }
    divide(pool, model);
    lay_out(pool, model, part_of, bytes);
    for (int g = 0; g < pool->n_groups && !status; g++)
        status = group_init(&pool->groups[g], devices, bytes[g], n_parts, max_bytes, err);
    if (status)
        goto fail;
    lay_out(pool, model, part_of, bytes);
    *out = pool;
    return PANTRY_OK;
fail:
    pn_kv_pool_free(pool);
    return status;
}

void pn_kv_pool_free(struct pn_kv_pool *pool)
{
    if (!pool)
        return;
    for (int g = 0; g < pool->n_groups; g++) {
        pn_slots_release(&pool->groups[g].slots);
        free(pool->groups[g].n_refs);
    }
    pn_tables_release(&pool->tables);
    pthread_mutex_destroy(&pool->lock);
    free(pool->caches);
    free(pool);
}

/* ---- windows ---- */

enum { SPARE_PAGES = 1 }; /* before a window, so that a sequence can rewind a little */

int pn_kv_first_page(const struct pn_kv_pool *pool, int group, int n)
{
    const struct pn_kv_group *g = &pool->groups[group];
    const struct pn_attention_params sees = {.window = g->window, .window_kind = g->kind};
    int64_t page = pn_attention_first(&sees, n) / PN_PAGE_TOKENS - SPARE_PAGES;
    return page < 0 ? 0 : (int)page;
}

int pn_kv_least_length(const struct pn_kv_pool *pool, int group, int first_page)
{
    const struct pn_kv_group *g = &pool->groups[group];
    int64_t first = (int64_t)first_page * PN_PAGE_TOKENS, n = first;
    if (first == 0)
        return 0;
    if (g->window && g->kind == PN_WINDOW_CHUNKED)
        n = (first + g->window - 1) / g->window * g->window;
    else if (g->window)
        n = first + g->window - 1;
    return n > INT32_MAX ? INT32_MAX : (int)n;
}

int32_t pn_kv_most_pages(const struct pn_kv_pool *pool, int group, int n, int slice)
{
    const struct pn_kv_group *g = &pool->groups[group];
    int64_t all = n / PN_PAGE_TOKENS + 1;
    int64_t seen = ((int64_t)g->window + slice + PN_PAGE_TOKENS - 1) / PN_PAGE_TOKENS + 1 + SPARE_PAGES;
    return (int32_t)(g->window && seen < all ? seen : all);
}

uint64_t pn_kv_page_weight(const struct pn_kv_pool *pool, int group)
{
    size_t stride = pool->groups[group].slots.stride;
    return stride ? stride : 1;
}

uint64_t pn_kv_most_bytes(const struct pn_kv_pool *pool, int n, int slice)
{
    uint64_t sum = 0;
    for (int g = 0; g < pool->n_groups; g++)
        sum += (uint64_t)pn_kv_most_pages(pool, g, n, slice) * pn_kv_page_weight(pool, g);
    return sum;
}

/* ---- memory ---- */

pantry_status pn_kv_promise(struct pn_kv_pool *pool, int group, int32_t n, const char *wanted_by,
                            struct pantry_error *err)
{
    pthread_mutex_lock(&pool->lock);
    pantry_status status = pn_slots_promise(&pool->groups[group].slots, n, wanted_by, err);
    pthread_mutex_unlock(&pool->lock);
    return status;
}

void pn_kv_unpromise(struct pn_kv_pool *pool, int group, int32_t n)
{
    pthread_mutex_lock(&pool->lock);
    pn_slots_unpromise(&pool->groups[group].slots, n);
    pthread_mutex_unlock(&pool->lock);
}

pantry_status pn_kv_check(struct pn_kv_pool *pool, const int32_t *n, const char *wanted_by, struct pantry_error *err)
{
    uint64_t wanted = 0, promised = 0; /* groups can share what they have promised */
    pantry_status status = PANTRY_OK;
    pthread_mutex_lock(&pool->lock);
    for (int g = 0; g < pool->n_groups; g++) {
        const struct pn_slots *s = &pool->groups[g].slots;
        wanted += (uint64_t)n[g] * s->stride;
        promised += (uint64_t)s->n_promised * s->stride;
    }
    if (wanted > promised)
        status = pn_memory_check(pool->groups[0].slots.budget, wanted - promised, wanted_by, err);
    for (int g = 0; g < pool->n_groups && !status; g++) {
        const struct pn_slots *s = &pool->groups[g].slots;
        if (n[g] > s->n && n[g] > s->n_promised)
            status = pn_slots_check(s, n[g] - s->n_promised, wanted_by, err);
    }
    pthread_mutex_unlock(&pool->lock);
    return status;
}

uint64_t pn_kv_capacity(struct pn_kv_pool *pool)
{
    uint64_t promised = 0, addresses = 0;
    bool needs_memory = false;
    pthread_mutex_lock(&pool->lock);
    for (int g = 0; g < pool->n_groups; g++) {
        const struct pn_slots *s = &pool->groups[g].slots;
        promised += (uint64_t)s->n_promised * s->stride;
        addresses += (uint64_t)s->n * pn_kv_page_weight(pool, g);
        needs_memory |= s->stride > 0;
    }
    uint64_t left = needs_memory ? pn_memory_left(pool->groups[0].slots.budget) : UINT64_MAX;
    pthread_mutex_unlock(&pool->lock);
    return left > UINT64_MAX - promised || left + promised > addresses ? addresses : left + promised;
}

/* ---- pages ---- */

pantry_status pn_kv_page_new(struct pn_kv_pool *pool, int group, int32_t *page, struct pantry_error *err)
{
    struct pn_kv_group *g = &pool->groups[group];
    pthread_mutex_lock(&pool->lock);
    bool ok = pn_slots_take(&g->slots, page);
    if (ok)
        g->n_refs[*page] = 1;
    pthread_mutex_unlock(&pool->lock);
    return ok ? PANTRY_OK
              : pn_fail(err, PANTRY_NO_MEMORY, "all %d pages of the key/value cache are in use", g->slots.n);
}

void pn_kv_page_retain(struct pn_kv_pool *pool, int group, int32_t page)
{
    pthread_mutex_lock(&pool->lock);
    pool->groups[group].n_refs[page]++;
    pthread_mutex_unlock(&pool->lock);
}

void pn_kv_page_release(struct pn_kv_pool *pool, int group, int32_t page)
{
    struct pn_kv_group *g = &pool->groups[group];
    pthread_mutex_lock(&pool->lock);
    if (--g->n_refs[page] == 0)
        pn_slots_give(&g->slots, page);
    pthread_mutex_unlock(&pool->lock);
}

uint32_t pn_kv_page_refs(struct pn_kv_pool *pool, int group, int32_t page)
{
    pthread_mutex_lock(&pool->lock);
    uint32_t n = pool->groups[group].n_refs[page];
    pthread_mutex_unlock(&pool->lock);
    return n;
}

void pn_kv_page_copy(struct pn_kv_pool *pool, int group, int32_t to, int32_t from)
{
    pn_slots_copy(&pool->groups[group].slots, to, from);
}

int32_t pn_kv_pages_used(struct pn_kv_pool *pool, int group)
{
    const struct pn_slots *s = &pool->groups[group].slots;
    pthread_mutex_lock(&pool->lock);
    int32_t n = s->n_used - s->n_free;
    pthread_mutex_unlock(&pool->lock);
    return n;
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
