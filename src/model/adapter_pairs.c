/* The changes that an adapter has: see adapter.h. */
#include "model/adapter.h"

#include <stdlib.h>
#include <string.h>

const struct pn_adapter_pair *pn_adapter_find(const struct pn_adapter *adapter, const char *name)
{
    for (size_t i = 0; i < adapter->pairs.len; i++)
        if (strcmp(adapter->pairs.data[i].name, name) == 0)
            return &adapter->pairs.data[i];
    return NULL;
}

struct pn_weight *pn_adapter_weight(struct pn_adapter *adapter, int64_t n_mat, int64_t n_rows, int64_t n_cols)
{
    size_t n;
    struct pn_weight *w = pn_arena_alloc(&adapter->arena, sizeof *w);
    bool fits = pn_size_mul((size_t)n_mat, (size_t)n_rows, &n) && pn_size_mul(n, (size_t)n_cols, &n);
    float *values = fits ? pn_arena_array(&adapter->arena, n + 1, sizeof *values) : NULL;
    if (!w || !values)
        return NULL;
    *w = pn_weight_plain("adapter", PN_TYPE_F32, n_mat, n_rows, n_cols, values);
    w->id = pn_weight_ids(1);
    return w;
}

pantry_status pn_adapter_add(struct pn_adapter *adapter, const char *name, const struct pn_weight *a,
                             const struct pn_weight *b, const float *magnitude, struct pantry_error *err)
{
    struct pn_adapter_pair *pair = (struct pn_adapter_pair *)(uintptr_t)pn_adapter_find(adapter, name);
    if (!pair) {
        struct pn_adapter_pair fresh = {.name = pn_arena_copy(&adapter->arena, name, strlen(name)), .scale = 1};
        if (!fresh.name || !pn_vec_push(&adapter->pairs, fresh))
            return pn_no_memory(err, "an adapter");
        pair = &adapter->pairs.data[adapter->pairs.len - 1];
    }
    if ((a && pair->a) || (b && pair->b) || (magnitude && pair->magnitude))
        return pn_fail(err, PANTRY_FORMAT, "%s: changes tensor %s twice", adapter->path, name);
    pair->a = a ? a : pair->a;
    pair->b = b ? b : pair->b;
    pair->magnitude = magnitude ? magnitude : pair->magnitude;
    return PANTRY_OK;
}

struct pn_adapter_module *pn_adapter_module(struct pn_adapter *adapter, const char *name)
{
    for (size_t i = 0; i < adapter->modules.len; i++)
        if (strcmp(adapter->modules.data[i].name, name) == 0)
            return &adapter->modules.data[i];
    struct pn_adapter_module fresh = {.name = pn_arena_copy(&adapter->arena, name, strlen(name)), .n_mat = 1};
    if (!fresh.name || !pn_vec_push(&adapter->modules, fresh))
        return NULL;
    return &adapter->modules.data[adapter->modules.len - 1];
}

void pn_adapter_free(struct pn_adapter *adapter)
{
    if (!adapter)
        return;
    free(adapter->modules.data);
    free(adapter->pairs.data);
    pn_arena_free(&adapter->arena);
    free(adapter);
}
