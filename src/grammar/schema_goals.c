/* Tables of dynamic scopes, literals and goals. Each is stored once and known by its number. */
#include "grammar/schema_impl.h"

#include <stdlib.h>
#include <string.h>

int pn_schema_scope_with(struct pn_schema *s, int scope, struct pn_resource *resource)
{
    if (!s->has_dynamic || !resource || s->status)
        return scope;
    struct pn_scope old = s->scopes.data[scope], longer = {.n = old.n + 1};
    for (int i = 0; i < old.n; i++)
        if (old.resources[i] == resource) /* the outermost counts */
            return scope;
    longer.resources = pn_schema_alloc(s, (size_t)longer.n, sizeof(struct pn_resource *));
    if (!longer.resources || !pn_schema_step(s, resource->root, s->scopes.len))
        return scope;
    for (int i = 0; i < old.n; i++)
        longer.resources[i] = old.resources[i];
    longer.resources[old.n] = resource;
    for (size_t i = 0; i < s->scopes.len; i++) {
        const struct pn_scope *other = &s->scopes.data[i];
        if (other->n == longer.n &&
            memcmp(other->resources, longer.resources, (size_t)longer.n * sizeof *longer.resources) == 0)
            return (int)i;
    }
    if (!pn_vec_push(&s->scopes, longer))
        pn_schema_no_memory(s);
    return (int)s->scopes.len - 1;
}

int pn_schema_literal(struct pn_schema *s, struct pn_place *place, int scope, bool negated)
{
    if (s->status || !place)
        return PN_LITERAL_FALSE;
    if (place->truth != PN_UNDECIDED)
        return (place->truth == PN_ALWAYS) != negated ? PN_LITERAL_TRUE : PN_LITERAL_FALSE;
    scope = pn_schema_scope_with(s, scope, place->resource);
    for (int i = place->literals; i >= 0; i = s->literals.data[i].next)
        if (s->literals.data[i].scope == scope && s->literals.data[i].negated == negated)
            return i;
    struct pn_literal literal = {.place = place, .scope = scope, .negated = negated, .next = place->literals};
    if (!pn_vec_push(&s->literals, literal)) {
        pn_schema_no_memory(s);
        return PN_LITERAL_FALSE;
    }
    return place->literals = (int)s->literals.len - 1;
}

int pn_schema_not_literal(struct pn_schema *s, int literal)
{
    if (literal == PN_LITERAL_TRUE || literal == PN_LITERAL_FALSE)
        return literal == PN_LITERAL_TRUE ? PN_LITERAL_FALSE : PN_LITERAL_TRUE;
    struct pn_literal l = s->literals.data[literal];
    return pn_schema_literal(s, l.place, l.scope, !l.negated);
}

static size_t goal_slot(const struct pn_schema *s, const int *literals, size_t n)
{
    uint64_t h = 1469598103934665603u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (uint64_t)literals[i]) * 1099511628211u;
    return (size_t)(h >> 16) & (s->n_goal_slots - 1);
}

static bool grow(struct pn_schema *s)
{
    size_t n = s->n_goal_slots ? s->n_goal_slots * 2 : 256;
    int *slots = pn_schema_alloc(s, n, sizeof *slots);
    if (!slots)
        return false;
    for (size_t i = 0; i < n; i++)
        slots[i] = -1;
    s->goal_slots = slots;
    s->n_goal_slots = n;
    for (size_t i = 0; i < s->goals.len; i++) {
        struct pn_goal *g = &s->goals.data[i];
        int *slot = &slots[goal_slot(s, g->literals, (size_t)g->n)];
        g->hashed = *slot;
        *slot = (int)i;
    }
    return true;
}

static int add_goal(struct pn_schema *s, const int *literals, size_t n)
{
    if (s->goals.len >= s->n_goal_slots && !grow(s))
        return PN_GOAL_FALSE;
    if (s->goals.len >= PN_SCHEMA_MAX_GOALS) {
        pn_schema_fail(s, PANTRY_LIMIT, n ? s->literals.data[literals[0]].place : NULL, NULL,
                       "the schema has more than %d different parts", PN_SCHEMA_MAX_GOALS);
        return PN_GOAL_FALSE;
    }
    struct pn_goal goal = {.literals = pn_schema_alloc(s, n, sizeof(int)), .n = (int)n, .rule = -1};
    if (!goal.literals)
        return PN_GOAL_FALSE;
    for (size_t i = 0; i < n; i++)
        goal.literals[i] = literals[i];
    int *slot = &s->goal_slots[goal_slot(s, literals, n)];
    goal.hashed = *slot;
    if (!pn_vec_push(&s->goals, goal)) {
        pn_schema_no_memory(s);
        return PN_GOAL_FALSE;
    }
    return *slot = (int)s->goals.len - 1;
}

static int ascending(const void *a, const void *b)
{
    const int *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

int pn_schema_goal(struct pn_schema *s, const int *literals, size_t n)
{
    int *sorted = pn_schema_alloc(s, n + 1, sizeof *sorted);
    size_t kept = 0;
    if (!sorted)
        return PN_GOAL_FALSE;
    for (size_t i = 0; i < n; i++)
        sorted[i] = literals[i];
    qsort(sorted, n, sizeof *sorted, ascending);
    for (size_t i = 0; i < n; i++)
        if (sorted[i] != PN_LITERAL_TRUE && (kept == 0 || sorted[kept - 1] != sorted[i]))
            sorted[kept++] = sorted[i];
    for (size_t i = 0; i < kept; i++) {
        bool opposite = false;
        for (size_t j = 0; j < i && !opposite; j++) {
            const struct pn_literal *a = &s->literals.data[sorted[i]], *b = &s->literals.data[sorted[j]];
            opposite = a->place == b->place && a->scope == b->scope && a->negated != b->negated;
        }
        if (sorted[i] == PN_LITERAL_FALSE || opposite) {
            sorted[0] = PN_LITERAL_FALSE;
            kept = 1;
            break;
        }
    }
    if (s->n_goal_slots)
        for (int g = s->goal_slots[goal_slot(s, sorted, kept)]; g >= 0; g = s->goals.data[g].hashed)
            if (s->goals.data[g].n == (int)kept &&
                memcmp(s->goals.data[g].literals, sorted, kept * sizeof *sorted) == 0)
                return g;
    return add_goal(s, sorted, kept);
}
