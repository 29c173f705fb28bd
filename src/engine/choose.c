/* Probabilities of labels: see choose.h. */
#include "engine/choose.h"

#include "base/alloc.h"
#include "base/status.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_TOP = 20,
    MAX_TOGETHER = 64, /* requests at the same time */
    POLL_MS = 100
};

static const float force = 100; /* the largest bias: a token that it does not force has no probability in a double */

struct edge {
    int32_t id;
    double logprob;
    bool known;
};

struct node {
    size_t prompt;                /* index */
    const struct pn_label *label; /* one that begins with the node's path, ... */
    size_t depth;                 /* ... its first `depth` tokens */
    struct edge *edges;
    size_t n_edges, cap;
    bool ends; /* a label ends here, and others go on */
};

struct tree {
    const struct pn_choose_options *options;
    pantry_model *model;
    struct pn_choosing *list;
    struct {
        struct node *data;
        size_t len, cap;
    } nodes;
};

/* ---- the tree ---- */

static int compare(const void *a, const void *b)
{
    const struct pn_label *x = *(struct pn_label *const *)a, *y = *(struct pn_label *const *)b;
    for (size_t i = 0; i < x->n_ids && i < y->n_ids; i++)
        if (x->ids[i] != y->ids[i])
            return x->ids[i] < y->ids[i] ? -1 : 1;
    return (x->n_ids > y->n_ids) - (x->n_ids < y->n_ids);
}

static size_t common(const struct pn_label *a, const struct pn_label *b)
{
    size_t n = 0;
    while (n < a->n_ids && n < b->n_ids && a->ids[n] == b->ids[n])
        n++;
    return n;
}

static bool add_edge(struct node *node, int32_t id)
{
    if (!pn_vec_reserve((void **)(void *)&node->edges, &node->cap, node->n_edges + 1, sizeof *node->edges))
        return false;
    node->edges[node->n_edges++] = (struct edge){.id = id};
    return true;
}

static bool add_ends(const struct tree *t, struct node *node)
{
    node->ends = true;
    for (size_t i = 0; i < t->options->n_ends; i++)
        if (!add_edge(node, t->options->ends[i]))
            return false;
    return true;
}

/* Labels in order: each shares the nodes of what it has in common with the one before. at[d]: the node after d
 * tokens. */
static pantry_status add_labels(struct tree *t, size_t prompt, struct pn_label **sorted, size_t *at,
                                struct pantry_error *err)
{
    const struct pn_choosing *c = &t->list[prompt];
    for (size_t i = 0; i < c->n_labels; i++) {
        const struct pn_label *label = sorted[i];
        size_t shared = i ? common(sorted[i - 1], label) : 0;
        if (i && shared == label->n_ids)
            return pn_fail(err, PANTRY_INVALID, "two labels have the same tokens");
        bool ends_before = i && shared == sorted[i - 1]->n_ids;
        for (size_t d = i && !ends_before ? shared + 1 : shared; d < label->n_ids; d++) {
            at[d] = t->nodes.len;
            if (!pn_vec_push(&t->nodes, ((struct node){.prompt = prompt, .label = label, .depth = d})))
                return pn_no_memory(err, "labels");
        }
        if (ends_before && !add_ends(t, &t->nodes.data[at[shared]]))
            return pn_no_memory(err, "labels");
        for (size_t d = shared; d < label->n_ids; d++)
            if (!add_edge(&t->nodes.data[at[d]], label->ids[d]))
                return pn_no_memory(err, "labels");
    }
    return PANTRY_OK;
}

static pantry_status add_prompt(struct tree *t, size_t prompt, struct pantry_error *err)
{
    struct pn_choosing *c = &t->list[prompt];
    size_t longest = 0;
    struct pn_label **sorted = calloc(c->n_labels + 1, sizeof *sorted);
    for (size_t i = 0; sorted && i < c->n_labels; i++) {
        sorted[i] = &c->labels[i];
        longest = c->labels[i].n_ids > longest ? c->labels[i].n_ids : longest;
        if (!c->labels[i].n_ids) {
            free(sorted);
            return pn_fail(err, PANTRY_INVALID, "a label has no tokens");
        }
    }
    size_t *at = calloc(longest + 1, sizeof *at);
    pantry_status status = sorted && at ? PANTRY_OK : pn_no_memory(err, "labels");
    if (!status) {
        qsort(sorted, c->n_labels, sizeof *sorted, compare);
        status = add_labels(t, prompt, sorted, at, err);
    }
    free(sorted);
    free(at);
    return status;
}

/* ---- requests ---- */

/* A request in flight: the first edge of `node` that is not known is forced. */
struct asking {
    struct node *node;
    struct edge *edge;
    pantry_request *request;
};

static pantry_status submit(struct tree *t, struct asking *a, bool top, struct pantry_error *err)
{
    const struct pn_choosing *c = &t->list[a->node->prompt];
    size_t n = c->n_ids + a->node->depth;
    int32_t *ids = malloc(n * sizeof *ids);
    struct pantry_logit_bias bias = {.id = a->edge->id, .bias = force};
    struct pantry_request_options o = pantry_request_options_default();
    if (!ids)
        return pn_no_memory(err, "a prompt");
    memcpy(ids, c->ids, c->n_ids * sizeof *ids);
    if (a->node->depth)
        memcpy(ids + c->n_ids, a->node->label->ids, a->node->depth * sizeof *ids);
    o.ids = ids;
    o.n_ids = n;
    o.sampling.temperature = 0;
    o.sampling.repeat_penalty = 1;
    o.max_tokens = 1;
    o.n_context = (int)n + 1;
    o.ignore_eos = true;
    o.cache_key = t->options->cache_key;
    o.logprobs = true;
    o.top_logprobs = top ? MAX_TOP : 0;
    o.logit_bias = &bias;
    o.n_logit_bias = 1;
    pantry_status status = pantry_submit(t->model, &o, &a->request, err);
    free(ids);
    return status;
}

static void learn(struct node *node, int32_t id, double logprob)
{
    for (size_t i = 0; i < node->n_edges; i++)
        if (node->edges[i].id == id) {
            node->edges[i].logprob = logprob;
            node->edges[i].known = true;
        }
}

static pantry_status take(struct tree *t, struct asking *a, struct pantry_error *err)
{
    const struct pantry_event *e;
    while (!(e = pantry_request_next(a->request, POLL_MS)) || e->kind != PANTRY_EVENT_END) {
        if (t->options->cancel && pantry_cancel_is_set(t->options->cancel))
            pantry_request_cancel(a->request);
        if (!e)
            continue;
        for (int i = 0; i < e->token->n_top; i++)
            learn(a->node, e->token->top[i].id, (double)e->token->top[i].logprob);
        if (e->token->id == a->edge->id)
            learn(a->node, a->edge->id, (double)e->token->logprob);
        else if (!a->edge->known)
            learn(a->node, a->edge->id, -INFINITY);
    }
    if (a->node->depth == 0 && a->edge == a->node->edges)
        t->list[a->node->prompt].n_cached = e->stats->n_cached;
    if (e->status)
        return pn_fail(err, e->status, "%s", e->message);
    return a->edge->known ? PANTRY_OK : pn_fail(err, PANTRY_CANCELLED, "the decision was cancelled");
}

/* Asks for one unknown edge of each node, several at once. `top`: and for the likeliest. *n: how many were asked. */
static pantry_status ask(struct tree *t, bool top, size_t *n, struct pantry_error *err)
{
    struct asking ring[MAX_TOGETHER];
    size_t first = 0, last = 0, at = 0;
    pantry_status status = PANTRY_OK;
    *n = 0;
    while (first < last || at < t->nodes.len) {
        while (!status && at < t->nodes.len && last - first < MAX_TOGETHER) {
            struct node *node = &t->nodes.data[at++];
            struct edge *edge = node->edges;
            while (edge < node->edges + node->n_edges && edge->known)
                edge++;
            if (edge == node->edges + node->n_edges)
                continue;
            struct asking *a = &ring[last % MAX_TOGETHER];
            *a = (struct asking){.node = node, .edge = edge};
            if (t->options->cancel && pantry_cancel_is_set(t->options->cancel))
                status = pn_fail(err, PANTRY_CANCELLED, "the decision was cancelled");
            else
                status = submit(t, a, top, err);
            last += !status;
            ++*n;
        }
        if (status)
            at = t->nodes.len;
        if (first == last)
            break;
        struct asking *a = &ring[first++ % MAX_TOGETHER];
        struct pantry_error why = {0};
        if (status)
            pantry_request_cancel(a->request);
        pantry_status done = take(t, a, &why);
        if (done && !status)
            status = pn_fail(err, done, "%s", why.text);
        pantry_request_free(a->request);
    }
    return status;
}

/* ---- results ---- */

static double edge_logprob(const struct node *node, int32_t id)
{
    for (size_t i = 0; i < node->n_edges; i++)
        if (node->edges[i].id == id)
            return node->edges[i].logprob;
    return -INFINITY;
}

static double end_logprob(const struct tree *t, const struct node *node)
{
    double sum = 0;
    for (size_t i = 0; i < t->options->n_ends; i++)
        sum += exp(edge_logprob(node, t->options->ends[i]));
    return log(sum);
}

static void add_up(const struct tree *t, const struct node *node)
{
    struct pn_choosing *c = &t->list[node->prompt];
    for (size_t i = 0; i < c->n_labels; i++) {
        struct pn_label *label = &c->labels[i];
        if (label->n_ids < node->depth || common(label, node->label) < node->depth)
            continue;
        if (label->n_ids > node->depth)
            label->logprob += edge_logprob(node, label->ids[node->depth]);
        else if (node->ends)
            label->logprob += end_logprob(t, node);
    }
}

pantry_status pn_choose(pantry_model *model, struct pn_choosing *list, size_t n,
                        const struct pn_choose_options *options, struct pantry_error *err)
{
    struct tree t = {.options = options, .model = model, .list = list};
    pantry_status status = PANTRY_OK;
    size_t n_asked = 1;
    for (size_t i = 0; i < n && !status; i++) {
        list[i].n_cached = 0;
        for (size_t k = 0; k < list[i].n_labels; k++)
            list[i].labels[k].logprob = 0;
        status = add_prompt(&t, i, err);
    }
    for (bool top = true; n_asked && !status; top = false)
        status = ask(&t, top, &n_asked, err);
    for (size_t i = 0; i < t.nodes.len; i++) {
        if (!status)
            add_up(&t, &t.nodes.data[i]);
        free(t.nodes.data[i].edges);
    }
    free(t.nodes.data);
    return status;
}
