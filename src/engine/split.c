/* Assigning a model to devices: see split.h. */
#include "engine/split.h"

#include "tensor/cut.h"

#include <stdlib.h>
#include <string.h>

/* ---- parsing ---- */

static pantry_status malformed(const char *text, struct pantry_error *err)
{
    return pn_fail(err, PANTRY_INVALID,
                   "invalid devices (found \"%.60s\", allowed up to %d such as \"cpu\", \"cpu:0-15,cuda:16-\" or "
                   "\"cuda,cpu:experts\")",
                   text, PN_MAX_PARTS);
}

/* Parses a number below 2^20. */
static bool take_number(const char **at, int *out)
{
    int n = 0;
    const char *p = *at;
    for (; *p >= '0' && *p <= '9' && n < 1 << 20; p++)
        n = n * 10 + (*p - '0');
    bool ok = p > *at && n < 1 << 20;
    *at = p;
    *out = n;
    return ok;
}

/* "", ":experts", ":4", ":4-" or ":4-7" */
static bool take_layers(const char **at, int n_layer, int *first, int *last, bool *experts)
{
    static const char word[] = ":experts";
    *first = -1;
    *last = -1;
    *experts = strncmp(*at, word, strlen(word)) == 0;
    if (*experts)
        *at += strlen(word);
    if (*experts || **at != ':')
        return !*experts || **at == ',' || **at == '\0';
    ++*at;
    if (!take_number(at, first))
        return false;
    *last = *first;
    if (**at != '-')
        return true;
    ++*at;
    *last = n_layer - 1;
    return **at == ',' || **at == '\0' || take_number(at, last);
}

static pantry_status open_one(struct pn_split *s, const char *name, size_t len, const struct pn_device_options *o,
                              struct pantry_error *err)
{
    char text[32];
    if (len >= sizeof text)
        len = sizeof text - 1;
    memcpy(text, name, len);
    text[len] = '\0';
    pantry_status status = pn_devices_open(text, o, &s->devices[s->n], err);
    s->n += !status;
    return status;
}

/* Checks that every layer has exactly one device, and that the layers exist. */
static pantry_status check_layers(const struct pn_split *s, int n_layer, struct pantry_error *err)
{
    for (int i = 0; i < s->n; i++)
        if (s->first[i] >= 0 && (s->first[i] > s->last[i] || s->last[i] >= n_layer))
            return pn_fail(err, PANTRY_INVALID, "invalid layers of a device (found %d to %d, allowed 0 to %d)",
                           s->first[i], s->last[i], n_layer - 1);
    for (int layer = 0; layer < n_layer; layer++) {
        int n = 0;
        bool rest = false;
        for (int i = 0; i < s->n; i++) {
            n += s->first[i] <= layer && layer <= s->last[i];
            rest |= s->first[i] < 0 && s->experts != i + 1;
        }
        if (n > 1 || (n == 0 && !rest))
            return pn_fail(err, PANTRY_INVALID, "layer %d is assigned to %s", layer, n ? "two devices" : "no device");
    }
    return PANTRY_OK;
}

static pantry_status open_all(const char *text, const struct pn_device_options *o, int n_layer, struct pn_split *s,
                              struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    for (const char *at = text; !status;) {
        const char *name = at;
        size_t len = strcspn(at, ":,");
        int i = s->n;
        bool experts;
        at += len;
        if (i == PN_MAX_PARTS || !take_layers(&at, n_layer, &s->first[i], &s->last[i], &experts) || (*at && *at != ','))
            return malformed(text, err);
        if (experts && s->experts)
            return pn_fail(err, PANTRY_INVALID, "the experts are assigned to two devices");
        s->experts = experts ? i + 1 : s->experts;
        status = open_one(s, name, len, o, err);
        if (!*at)
            break;
        at++;
    }
    return status ? status : check_layers(s, n_layer, err);
}

pantry_status pn_split_open(const char *text, const struct pn_device_options *options, int n_layer,
                            struct pn_split *out, struct pantry_error *err)
{
    pantry_status status;
    *out = (struct pn_split){.first = {-1}, .last = {-1}};
    if (text)
        status = open_all(text, options, n_layer, out, err);
    else if ((status = pn_devices_open(NULL, options, &out->devices[0], err)) == PANTRY_OK)
        out->n = 1;
    if (status)
        pn_split_close(out);
    return status;
}

void pn_split_close(struct pn_split *split)
{
    for (int i = 0; i < split->n; i++)
        pn_devices_close(split->devices[i]);
    split->n = 0;
}

/* ---- assigning ---- */

static bool can(const struct pn_split *s, int device, const struct pn_graph *g, const struct pn_node *n)
{
    const struct pn_device *d = s->devices[device];
    return d->class->can(d, g, n);
}

/* The device that the user chose for a layer. */
static int chosen(const struct pn_split *s, int layer, int n_layer)
{
    int rest = 0;
    layer = layer < 0 ? 0 : layer >= n_layer ? n_layer - 1 : layer;
    for (int i = s->n - 1; i >= 0; i--) {
        if (s->first[i] >= 0 && s->first[i] <= layer && layer <= s->last[i])
            return i;
        rest = s->first[i] < 0 && s->experts != i + 1 ? i : rest;
    }
    return rest;
}

/* Marks the products with routed experts, and what is done with each expert's results before they are added up. */
static bool *find_experts(const struct pn_graph *g)
{
    bool *found = calloc(g->len + 1, sizeof *found);
    for (size_t a = 0; found && a < g->len; a++) {
        const struct pn_node *n = &g->data[a];
        found[a] = (n->op == PN_OP_MATMUL_EACH && n->src[2] != PN_NONE) || n->op == PN_OP_EACH_BIAS ||
                   n->op == PN_OP_EACH_SCALE || (n->op == PN_OP_EACH_SUM && n->src[1] != PN_NONE);
        for (int i = 0; i < n->n_src && !found[a]; i++)
            found[a] = n->src[i] != PN_NONE && found[n->src[i]] && pn_node(g, n->src[i])->op != PN_OP_EACH_SUM;
    }
    return found;
}

static bool has_cache(const struct pn_node *n)
{
    return n->op == PN_OP_CACHE_WRITE || n->op == PN_OP_ATTENTION;
}

/* For each cache, bit i: device i supports all its operations. */
static unsigned *caches_possible(const struct pn_split *s, const struct pn_model *m)
{
    const struct pn_graph *g = &m->graph;
    unsigned *possible = calloc((size_t)m->n_caches + 1, sizeof *possible);
    for (int i = 0; possible && i < m->n_caches; i++)
        possible[i] = ~0u;
    for (size_t a = 0; possible && a < g->len; a++)
        for (int i = 0; i < s->n && has_cache(&g->data[a]); i++)
            if (!can(s, i, g, &g->data[a]))
                possible[g->data[a].attn.cache] &= ~(1u << i);
    return possible;
}

/* The chosen device, or the first that supports the operation; -1: none. */
static int choose(const struct pn_split *s, const struct pn_graph *g, const struct pn_node *n, int first,
                  unsigned possible)
{
    if (possible >> first & 1 && can(s, first, g, n))
        return first;
    for (int i = 0; i < s->n; i++)
        if (possible >> i & 1 && can(s, i, g, n))
            return i;
    return -1;
}

/* Tables of rotations are computed wherever they are read. */
static bool is_anywhere(const struct pn_split *s, const struct pn_graph *g, const struct pn_node *n)
{
    bool all = n->op == PN_OP_ROPE_TABLE;
    for (int i = 0; i < s->n && all; i++)
        all = can(s, i, g, n);
    return all;
}

pantry_status pn_split_assign(const struct pn_split *s, const struct pn_model *m, int8_t *device_of,
                              int8_t *device_of_cache, struct pantry_error *err)
{
    const struct pn_graph *g = &m->graph;
    unsigned *possible = caches_possible(s, m);
    bool *experts = find_experts(g);
    pantry_status status = possible && experts ? PANTRY_OK : pn_no_memory(err, "a model");
    for (size_t a = 0; a < g->len && !status; a++) {
        const struct pn_node *n = &g->data[a];
        enum pn_op_kind kind = pn_op_kind(n->op);
        device_of[a] = PN_ANY_DEVICE;
        if (kind == PN_KIND_LEAF || kind == PN_KIND_VIEW || is_anywhere(s, g, n))
            continue;
        int device;
        if (n->op == PN_OP_ATTENTION) /* written before */
            device = device_of_cache[n->attn.cache];
        else
            device = choose(s, g, n, s->experts && experts[a] ? s->experts - 1 : chosen(s, n->layer, m->hp.n_layer),
                            has_cache(n) ? possible[n->attn.cache] : ~0u);
        if (device < 0)
            status =
                pn_fail(err, PANTRY_UNSUPPORTED, "%s%s: operation %s is not supported", s->devices[0]->properties.name,
                        s->n > 1 ? " and the other devices" : "", pn_op_name(n->op));
        if (n->op == PN_OP_CACHE_WRITE)
            device_of_cache[n->attn.cache] = (int8_t)device;
        device_of[a] = (int8_t)device;
    }
    free(possible);
    free(experts);
    return status;
}
