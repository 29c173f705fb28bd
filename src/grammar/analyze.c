/* Finds recursion, empty rules and rules worth inlining: see analyze.h. Time is about linear in the grammar; rules are
 * visited without recursion, since chains of them may be long. */
#include "grammar/analyze.h"

#include <stdlib.h>
#include <string.h>

enum {
    WEIGHT_INLINED = 24, /* rules used more than once are inlined up to here */
    WEIGHT_OF_TEXT = 32, /* extra for classes of many characters: rules of free text share the masks of one automaton */
    MANY_CHARACTERS = 64,
};

struct references {
    struct {
        int *data; /* the rules that each rule uses, rule by rule, each once */
        size_t len, cap;
    } used;
    size_t *first;    /* (n_rules + 1) */
    uint32_t *n_uses; /* occurrences of each rule */
};

/* ---- expressions ---- */

bool pn_expr_nullable(const struct pn_facts *facts, pn_expr e)
{
    const struct pn_expr_node *node = pn_expr_get(facts->b, e);
    switch ((enum pn_expr_kind)node->kind) {
    case PN_EXPR_LITERAL:
        return node->n == 0;
    case PN_EXPR_CLASS:
    case PN_EXPR_TOKEN:
        return false;
    case PN_EXPR_SEQ:
    case PN_EXPR_AND:
        for (uint32_t i = 0; i < node->n; i++)
            if (!pn_expr_nullable(facts, node->items[i]))
                return false;
        return true;
    case PN_EXPR_CHOICE:
        for (uint32_t i = 0; i < node->n; i++)
            if (pn_expr_nullable(facts, node->items[i]))
                return true;
        return false;
    case PN_EXPR_REPEAT:
        return node->min == 0 || pn_expr_nullable(facts, node->item);
    case PN_EXPR_REF:
        return facts->rules[node->rule].nullable;
    case PN_EXPR_NOT:
        return !pn_expr_nullable(facts, node->item);
    case PN_EXPR_JSON:
        return pn_expr_nullable(facts, node->item);
    }
    return false;
}

static uint32_t bounded(uint64_t weight)
{
    return weight > PN_WEIGHT_MAX ? PN_WEIGHT_MAX : (uint32_t)weight;
}

static uint32_t weight_of_class(const struct pn_expr_node *node)
{
    uint64_t characters = 0;
    for (uint32_t i = 0; i < node->n; i++)
        characters += node->ranges[i].last - node->ranges[i].first + 1;
    return bounded((node->ranges[node->n - 1].last < 0x80 ? 1 : 2 + 2 * (uint64_t)node->n) +
                   (characters > MANY_CHARACTERS ? WEIGHT_OF_TEXT : 0));
}

uint32_t pn_expr_weight(const struct pn_facts *facts, pn_expr e)
{
    const struct pn_expr_node *node = pn_expr_get(facts->b, e);
    uint64_t weight = 0;
    switch ((enum pn_expr_kind)node->kind) {
    case PN_EXPR_LITERAL:
        return bounded(node->n);
    case PN_EXPR_CLASS:
        return weight_of_class(node);
    case PN_EXPR_TOKEN:
        return 1;
    case PN_EXPR_SEQ:
    case PN_EXPR_CHOICE:
    case PN_EXPR_AND:
        for (uint32_t i = 0; i < node->n && weight < PN_WEIGHT_MAX; i++)
            weight += pn_expr_weight(facts, node->items[i]);
        return bounded(weight);
    case PN_EXPR_REPEAT:
        weight = (uint64_t)(node->max == PN_EXPR_NO_MAX ? node->min + 1 : node->max);
        return bounded(weight * pn_expr_weight(facts, node->item));
    case PN_EXPR_REF:
        return facts->rules[node->rule].inlined ? facts->rules[node->rule].weight : 1;
    case PN_EXPR_NOT:
    case PN_EXPR_JSON:
        return pn_expr_weight(facts, node->item);
    }
    return 0;
}

/* ---- references ---- */

struct walk {
    const struct pn_expr_builder *b;
    struct references *refs;
    int *seen; /* by rule: the last rule that was found to use it */
    int rule;
    bool failed;
};

static void find_references(struct walk *w, pn_expr e)
{
    const struct pn_expr_node *node = pn_expr_get(w->b, e);
    if (node->regular || w->failed)
        return;
    if (node->kind == PN_EXPR_REF) {
        if (w->refs->n_uses[node->rule] < UINT32_MAX)
            w->refs->n_uses[node->rule]++;
        if (w->seen[node->rule] != w->rule && w->rule >= 0)
            w->failed = !pn_vec_push(&w->refs->used, node->rule);
        w->seen[node->rule] = w->rule;
    } else if (node->kind == PN_EXPR_REPEAT) {
        find_references(w, node->item);
    } else if (node->kind != PN_EXPR_TOKEN) {
        for (uint32_t i = 0; i < node->n; i++)
            find_references(w, node->items[i]);
    }
}

static pantry_status all_references(const struct pn_expr_builder *b, pn_expr root, struct pn_arena *arena,
                                    struct references *out, struct pantry_error *err)
{
    int n = pn_expr_n_rules(b);
    struct walk w = {.b = b, .refs = out, .seen = pn_arena_array(arena, (size_t)n + 1, sizeof *w.seen)};
    out->first = pn_arena_array(arena, (size_t)n + 1, sizeof *out->first);
    out->n_uses = pn_arena_array(arena, (size_t)n + 1, sizeof *out->n_uses);
    if (!w.seen || !out->first || !out->n_uses)
        return pn_no_memory(err, "a grammar");
    memset(w.seen, 0xFF, ((size_t)n + 1) * sizeof *w.seen);
    for (w.rule = 0; w.rule < n; w.rule++) {
        out->first[w.rule] = out->used.len;
        find_references(&w, pn_expr_body(b, w.rule));
    }
    out->first[n] = out->used.len;
    w.rule = -1;
    find_references(&w, root);
    return w.failed ? pn_no_memory(err, "a grammar") : PANTRY_OK;
}

/* ---- recursion: strongly connected components (Tarjan, 1972), each after those that it uses ---- */

struct components {
    const struct references *refs;
    struct pn_rule_facts *rules;
    int *order; /* rules, those that others use first */
    int n_ordered;
    int *number, *low; /* when each rule was met, from 1; 0: not yet */
    int *stack, *path; /* rules without a component yet; rules being visited */
    size_t *next;      /* reference to follow */
    int n_stack, n_path, n_met;
    uint32_t n_components;
};

static void enter(struct components *c, int rule)
{
    c->number[rule] = c->low[rule] = ++c->n_met;
    c->next[rule] = c->refs->first[rule];
    c->stack[c->n_stack++] = rule;
    c->path[c->n_path++] = rule;
}

static void leave(struct components *c, int rule)
{
    c->n_path--;
    if (c->n_path && c->low[c->path[c->n_path - 1]] > c->low[rule])
        c->low[c->path[c->n_path - 1]] = c->low[rule];
    if (c->low[rule] != c->number[rule])
        return;
    int member;
    bool several = c->stack[c->n_stack - 1] != rule;
    c->n_components++;
    do {
        member = c->stack[--c->n_stack];
        c->rules[member].component = c->n_components;
        c->rules[member].recursive = c->rules[member].recursive || several;
        c->order[c->n_ordered++] = member;
    } while (member != rule);
}

static void visit(struct components *c, int first)
{
    enter(c, first);
    while (c->n_path) {
        int rule = c->path[c->n_path - 1];
        if (c->next[rule] == c->refs->first[rule + 1]) {
            leave(c, rule);
            continue;
        }
        int other = c->refs->used.data[c->next[rule]++];
        if (other == rule)
            c->rules[rule].recursive = true;
        else if (!c->number[other])
            enter(c, other);
        else if (!c->rules[other].component && c->low[rule] > c->number[other])
            c->low[rule] = c->number[other];
    }
}

/* ---- empty rules ---- */

/* A rule is looked at again when one that it uses turns out to be nullable. */
static pantry_status find_nullable(struct pn_facts *facts, const struct references *refs, int n,
                                   struct pantry_error *err)
{
    size_t *first = pn_arena_array(&facts->arena, (size_t)n + 2, sizeof *first);
    int *users = pn_arena_array(&facts->arena, refs->used.len + 1, sizeof *users);
    int *queue = pn_arena_array(&facts->arena, (size_t)n + 1, sizeof *queue), len = 0;
    if (!first || !users || !queue)
        return pn_no_memory(err, "a grammar");
    for (size_t i = 0; i < refs->used.len; i++)
        first[refs->used.data[i] + 2]++;
    for (int r = 0; r < n; r++)
        first[r + 2] += first[r + 1];
    for (int r = 0; r < n; r++)
        for (size_t i = refs->first[r]; i < refs->first[r + 1]; i++)
            users[first[refs->used.data[i] + 1]++] = r;
    for (int r = 0; r < n; r++)
        if (!facts->rules[r].nullable && pn_expr_nullable(facts, pn_expr_body(facts->b, r))) {
            facts->rules[r].nullable = true;
            queue[len++] = r;
        }
    for (int at = 0; at < len; at++)
        for (size_t i = first[queue[at]]; i < first[queue[at] + 1]; i++) {
            int user = users[i];
            if (facts->rules[user].nullable || !pn_expr_nullable(facts, pn_expr_body(facts->b, user)))
                continue;
            facts->rules[user].nullable = true;
            queue[len++] = user;
        }
    return PANTRY_OK;
}

/* ---- everything ---- */

static pantry_status find_components(struct pn_facts *facts, const struct references *refs, int n, int **order,
                                     struct pantry_error *err)
{
    struct pn_arena *a = &facts->arena;
    size_t room = (size_t)n + 1;
    struct components c = {.refs = refs, .rules = facts->rules};
    c.order = pn_arena_array(a, room, sizeof *c.order);
    c.number = pn_arena_array(a, room, sizeof *c.number);
    c.low = pn_arena_array(a, room, sizeof *c.low);
    c.stack = pn_arena_array(a, room, sizeof *c.stack);
    c.path = pn_arena_array(a, room, sizeof *c.path);
    c.next = pn_arena_array(a, room, sizeof *c.next);
    if (!c.order || !c.number || !c.low || !c.stack || !c.path || !c.next)
        return pn_no_memory(err, "a grammar");
    for (int r = 0; r < n; r++)
        if (!c.number[r])
            visit(&c, r);
    *order = c.order;
    return PANTRY_OK;
}

pantry_status pn_facts_find(const struct pn_expr_builder *b, pn_expr root, struct pn_facts *out,
                            struct pantry_error *err)
{
    int n = pn_expr_n_rules(b), *order = NULL;
    struct references refs = {0};
    *out = (struct pn_facts){.b = b};
    out->rules = pn_arena_array(&out->arena, (size_t)n + 1, sizeof *out->rules);
    pantry_status status = out->rules ? PANTRY_OK : pn_no_memory(err, "a grammar");
    if (!status)
        status = all_references(b, root, &out->arena, &refs, err);
    if (!status)
        status = find_components(out, &refs, n, &order, err);
    if (!status)
        status = find_nullable(out, &refs, n, err);
    for (int i = 0; !status && i < n; i++) {
        struct pn_rule_facts *rule = &out->rules[order[i]];
        rule->weight = pn_expr_weight(out, pn_expr_body(b, order[i]));
        rule->inlined = !rule->recursive && (refs.n_uses[order[i]] <= 1 || rule->weight <= WEIGHT_INLINED);
    }
    free(refs.used.data);
    if (status)
        pn_facts_free(out);
    return status;
}

void pn_facts_free(struct pn_facts *facts)
{
    pn_arena_free(&facts->arena);
    *facts = (struct pn_facts){0};
}
