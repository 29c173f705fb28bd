/* Dividing a model between the processor and a GPU by bytes: see offload.h. */
#include "engine/offload.h"

#include "engine/devices.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of a GPU's free memory, what plans, results and other programs may need. */
static const uint64_t spare_bytes = (uint64_t)512 << 20;
enum { SPARE_SHARE = 10, OFFLOAD_CONTEXT = 8192 };

/* Bytes that each layer needs on a GPU; `layers` has room for n_layer + 2: before the first, the layers, after the
 * last. `experts`: of these, what all routed experts need. */
struct needs {
    uint64_t *layers, experts;
    int n_layer;
};

static uint64_t *need_of(const struct needs *n, int32_t layer)
{
    return &n->layers[layer < 0 ? 0 : layer >= n->n_layer ? n->n_layer + 1 : layer + 1];
}

static int by_id(const void *a, const void *b)
{
    const struct pn_weight *x = *(const struct pn_weight *const *)a, *y = *(const struct pn_weight *const *)b;
    return (x->id > y->id) - (x->id < y->id);
}

/* The weights that nodes of one layer read, each tensor once. */
static void add_weights(const struct needs *n, const struct pn_graph *g, int32_t layer, const struct pn_weight **list)
{
    size_t len = 0, kept;
    for (size_t a = 0; a < g->len; a++)
        for (int i = 0; i < g->data[a].n_src && need_of(n, g->data[a].layer) == need_of(n, layer); i++)
            if (g->data[a].src[i] != PN_NONE && pn_node(g, g->data[a].src[i])->op == PN_OP_WEIGHT)
                list[len++] = pn_node(g, g->data[a].src[i])->weight;
    kept = pn_weight_wholes(list, len, list);
    qsort(list, kept, sizeof *list, by_id);
    for (size_t i = 0; i < kept; i++)
        *need_of(n, layer) += pn_weight_bytes(list[i]);
}

static void add_experts(struct needs *n, const struct pn_graph *g)
{
    for (size_t a = 0; a < g->len; a++)
        if (g->data[a].op == PN_OP_MATMUL_EACH && g->data[a].src[2] != PN_NONE)
            n->experts += pn_weight_bytes(pn_node(g, g->data[a].src[1])->weight);
}

/* A pool takes a share of what is left: one `share`-th, so keys and values count as often. */
static void add_caches(const struct needs *n, const struct pn_model *m, pn_type type, uint64_t n_context,
                       uint64_t share)
{
    for (size_t a = 0; a < m->graph.len; a++) {
        const struct pn_node *node = &m->graph.data[a];
        if (node->op != PN_OP_CACHE_WRITE)
            continue;
        const struct pn_attention_params *p = &node->attn;
        uint64_t row = pn_cache_row_bytes(type, p->dim_k) + (p->value_in_key ? 0 : pn_cache_row_bytes(type, p->dim_v));
        uint64_t tokens = p->window > 0 && (uint64_t)p->window < n_context ? (uint64_t)p->window : n_context;
        *need_of(n, node->layer) += share * (uint64_t)p->n_head_kv * tokens * row;
    }
}

static pantry_status find_needs(const struct pn_model *m, const struct pn_device_properties *device, uint64_t n_context,
                                struct needs *n, struct pantry_error *err)
{
    size_t n_sources = m->graph.len * PN_MAX_SRC + 1;
    const struct pn_weight **list = calloc(n_sources, sizeof *list);
    *n = (struct needs){calloc((size_t)m->hp.n_layer + 2, sizeof *n->layers), 0, m->hp.n_layer};
    pantry_status status = list && n->layers ? PANTRY_OK : pn_no_memory(err, "a model");
    for (int layer = -1; layer <= m->hp.n_layer && !status; layer++)
        add_weights(n, &m->graph, layer, list);
    if (!status) {
        add_caches(n, m, device->cache_type, n_context, (uint64_t)device->commits);
        add_experts(n, &m->graph);
    }
    free(list);
    return status;
}

/* The most last layers, with what follows them, that fit. What comes before the first goes with it. */
static int layers_that_fit(const struct needs *n, uint64_t room)
{
    uint64_t sum = *need_of(n, n->n_layer);
    int fit = 0;
    for (int layer = n->n_layer - 1; layer >= 0; layer--) {
        sum += *need_of(n, layer) + (layer == 0 ? *need_of(n, -1) : 0);
        if (sum > room)
            break;
        fit++;
    }
    return fit;
}

/* How many of the last layers go to the device; with `*experts`, all of them do, without their experts. */
static pantry_status count_layers(const struct pn_device *d, int layers, int n_context, const struct pn_model *m,
                                  int *out, bool *experts, struct pantry_error *err)
{
    struct needs n;
    uint64_t total = 0, left = 0, context = n_context > 0 ? (uint64_t)n_context : (uint64_t)m->hp.n_context_train;
    if (layers != 0) {
        *out = layers < 0 ? 0 : layers < m->hp.n_layer ? layers : m->hp.n_layer;
        return PANTRY_OK;
    }
    if (n_context <= 0 && context > OFFLOAD_CONTEXT)
        context = OFFLOAD_CONTEXT;
    d->class->memory(d, &total, &left);
    pantry_status status = find_needs(m, &d->properties, context, &n, err);
    if (!status) {
        uint64_t spare = spare_bytes + left / SPARE_SHARE, room = left > spare ? left - spare : 0, all = 0;
        *out = layers_that_fit(&n, room);
        for (int layer = -1; layer <= m->hp.n_layer; layer++)
            all += *need_of(&n, layer);
        *experts = *out < m->hp.n_layer && n.experts && all - n.experts <= room;
    }
    free(n.layers);
    return status;
}

pantry_status pn_offload(const char *device, int layers, int n_context, const struct pn_device_options *options,
                         const struct pn_model *m, char text[PN_OFFLOAD_TEXT], const char **devices,
                         struct pn_device **held, struct pantry_error *err)
{
    struct pn_device *d;
    int n = 0;
    bool experts = false;
    *devices = device;
    *held = NULL;
    if (device && strpbrk(device, ",:")) {
        if (layers)
            return pn_fail(err, PANTRY_INVALID, "the devices \"%.60s\" say already which layers run where", device);
        return PANTRY_OK;
    }
    pantry_status status = pn_devices_open(device, options, &d, err);
    if (status)
        return status;
    bool divides = d->properties.commits > 0;
    if (!divides && layers > 0)
        status = pn_fail(err, PANTRY_INVALID, "%s: %d layers cannot go to a GPU, since it is none", d->properties.name,
                         layers);
    if (divides && !status)
        status = count_layers(d, layers, n_context, m, &n, &experts, err);
    if (divides && !status && n < m->hp.n_layer) {
        if (experts)
            snprintf(text, PN_OFFLOAD_TEXT, "%s,cpu:experts", d->class->name);
        else if (n == 0)
            snprintf(text, PN_OFFLOAD_TEXT, "cpu");
        else
            snprintf(text, PN_OFFLOAD_TEXT, "cpu:0-%d,%s:%d-", m->hp.n_layer - n - 1, d->class->name,
                     m->hp.n_layer - n);
        *devices = text;
    }
    *held = d;
    return status;
}
