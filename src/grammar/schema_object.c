/* Objects as expressions.
 *
 * First the declared properties in their order, each present or absent. Then the undeclared ones in any order: *named*
 * ones that the schema speaks of elsewhere (`required`, `dependentRequired`), and all other keys, in *cells* by the
 * languages that they match. Whether a cell's key repeats cannot be seen. */
#include "grammar/schema_impl.h"

#include <stdlib.h>
#include <string.h>

enum {
    MAX_LANGUAGES = 8, /* in the keys of one object */
    MAX_TRACKED = 5,   /* undeclared names that appear at most once */
    MAX_REQUIRED = 8,  /* undeclared names that appear exactly once; more have a fixed order */
    MAX_COUNT = 2000,  /* of properties that are counted */
    MAX_STATES = 20000
};

struct member {
    struct pn_str name;
    bool declared, required;
    int goal;
    int slot; /* chain of the table */
};

struct shape {
    struct pn_schema *s;
    const struct pn_place *place;
    const struct pn_object *o;
    struct {
        struct member *data;
        size_t len, cap;
    } members;
    int *slots;
    size_t n_slots;
    struct {
        struct pn_language *data;
        size_t len, cap;
    } languages;
    /* Parts, each `"key": value`. */
    pn_expr *declared, *tracked;
    bool *optional; /* of the declared */
    unsigned must;  /* bits of the tracked that are required */
    size_t n_declared, n_tracked, n_required;
    pn_expr others; /* one property of a cell, or a name that is not tracked */
    bool has_others;
    int *rules; /* by state, while members are counted */
};

/* ---- what the schema says of which keys ---- */

static size_t hash(struct pn_str name)
{
    uint64_t h = 1469598103934665603u;
    for (size_t i = 0; i < name.len; i++)
        h = (h ^ (unsigned char)name.data[i]) * 1099511628211u;
    return (size_t)(h >> 16);
}

static struct member *member_of(struct shape *sh, struct pn_str name)
{
    struct pn_schema *s = sh->s;
    if (sh->members.len >= sh->n_slots) {
        sh->n_slots = sh->n_slots ? 4 * sh->n_slots : 64;
        sh->slots = pn_schema_alloc(s, sh->n_slots, sizeof *sh->slots);
        if (!sh->slots)
            return NULL;
        for (size_t i = 0; i < sh->n_slots; i++)
            sh->slots[i] = -1;
        for (size_t i = 0; i < sh->members.len; i++) {
            int *slot = &sh->slots[hash(sh->members.data[i].name) & (sh->n_slots - 1)];
            sh->members.data[i].slot = *slot;
            *slot = (int)i;
        }
    }
    int *slot = &sh->slots[hash(name) & (sh->n_slots - 1)];
    for (int i = *slot; i >= 0; i = sh->members.data[i].slot)
        if (pn_str_same(sh->members.data[i].name, name))
            return &sh->members.data[i];
    struct member member = {.name = name, .slot = *slot};
    if (!pn_vec_push(&sh->members, member))
        return pn_schema_no_memory(s);
    *slot = (int)sh->members.len - 1;
    return &sh->members.data[*slot];
}

static bool mention_keys(struct shape *sh, const struct pn_keys *keys)
{
    for (size_t i = 0; i < keys->names.n; i++)
        if (!member_of(sh, keys->names.items[i]))
            return false;
    for (size_t i = 0; i < keys->languages.n; i++) {
        struct pn_language language = {keys->languages.items[i].e, false};
        size_t k = 0;
        while (k < sh->languages.len && sh->languages.data[k].e != language.e)
            k++;
        if (k == sh->languages.len && !pn_vec_push(&sh->languages, language))
            return pn_schema_no_memory(sh->s) != NULL;
    }
    for (size_t i = 0; i < keys->n_sets; i++)
        if (!mention_keys(sh, keys->sets[i]))
            return false;
    return true;
}

static bool find_members(struct shape *sh)
{
    const struct pn_object *o = sh->o;
    struct member *m;
    for (size_t i = 0; i < o->order.n; i++) {
        if (!(m = member_of(sh, o->order.items[i])))
            return false;
        m->declared = true;
    }
    for (size_t i = 0; i < o->required.n; i++) {
        if (!(m = member_of(sh, o->required.items[i])))
            return false;
        m->required = true;
    }
    for (size_t i = 0; i < o->n_rules; i++)
        if (!mention_keys(sh, o->rules[i].keys))
            return false;
    for (size_t i = 0; i < sh->members.len; i++) {
        if (!pn_schema_step(sh->s, sh->place, 1 + o->n_rules / 8))
            return false;
        sh->members.data[i].goal = pn_object_goal(sh->s, o, sh->members.data[i].name);
    }
    return true;
}

/* ---- parts ---- */

static pn_expr property(struct shape *sh, pn_expr key, int goal)
{
    pn_expr all[] = {key, sh->s->colon, pn_schema_value(sh->s, goal)};
    return pn_expr_seq(sh->s->b, all, 3);
}

/* Divides the members into declared, tracked and others. */
static bool divide(struct shape *sh, pn_expr *others, size_t *n_others)
{
    struct pn_schema *s = sh->s;
    size_t n = sh->members.len, n_extra = 0, n_must = 0;
    sh->declared = pn_schema_alloc(s, n, sizeof *sh->declared);
    sh->optional = pn_schema_alloc(s, n, sizeof *sh->optional);
    sh->tracked = pn_schema_alloc(s, MAX_TRACKED + MAX_REQUIRED, sizeof *sh->tracked);
    if (!sh->declared || !sh->optional || !sh->tracked)
        return false;
    for (size_t i = 0; i < n; i++) {
        const struct member *m = &sh->members.data[i];
        if (!m->declared && m->goal != PN_GOAL_FALSE) {
            n_extra++;
            n_must += m->required;
        }
        sh->n_required += m->required;
    }
    for (size_t i = 0; i < n && !s->status; i++) {
        const struct member *m = &sh->members.data[i];
        if (m->goal == PN_GOAL_FALSE && !m->required)
            continue;
        pn_expr e = property(sh, pn_schema_string(s, m->name), m->goal);
        if (m->declared || (m->required && n_must > MAX_REQUIRED)) {
            sh->optional[sh->n_declared] = !m->required;
            sh->declared[sh->n_declared++] = e;
        } else if (m->required || n_extra <= MAX_TRACKED) {
            sh->must |= m->required ? 1u << sh->n_tracked : 0;
            sh->tracked[sh->n_tracked++] = e;
        } else {
            others[(*n_others)++] = e;
        }
    }
    return !s->status;
}

/* The keys that no member has and that match just the languages whose bits are set. */
static pn_expr cell_keys(struct shape *sh, uint64_t cell, pn_expr names)
{
    struct pn_schema *s = sh->s;
    pn_expr e = names == PN_EXPR_NONE ? PN_EXPR_NONE : pn_expr_not(s->b, names);
    for (size_t k = 0; k < sh->languages.len; k++) {
        pn_expr language = sh->languages.data[k].e;
        if (!(cell >> k & 1))
            language = pn_expr_not(s->b, language);
        e = e == PN_EXPR_NONE ? language : pn_expr_and(s->b, e, language);
    }
    return e;
}

static bool cells(struct shape *sh, pn_expr *others, size_t *n_others)
{
    struct pn_schema *s = sh->s;
    const struct pn_object *o = sh->o;
    size_t n = sh->members.len;
    pn_expr *names = pn_schema_alloc(s, n, sizeof *names), all = PN_EXPR_NONE;
    int *literals = pn_schema_alloc(s, o->n_rules, sizeof *literals);
    if (!names || !literals)
        return false;
    if (s->options->closed && o->declared && !o->closed)
        return true;
    if (sh->languages.len > MAX_LANGUAGES)
        return pn_schema_fail(s, PANTRY_UNSUPPORTED, sh->place, "patternProperties",
                              "more than %d patterns for the keys of one object", MAX_LANGUAGES) != NULL;
    for (size_t i = 0; i < n; i++)
        names[i] = pn_expr_literal(s->b, sh->members.data[i].name.data, sh->members.data[i].name.len);
    if (n)
        all = pn_expr_choice(s->b, names, n);
    for (uint64_t cell = 0; cell < (uint64_t)1 << sh->languages.len; cell++) {
        size_t n_literals = 0;
        for (size_t i = 0; i < o->n_rules; i++)
            if (pn_keys_have_cell(o->rules[i].keys, sh->languages.data, sh->languages.len, cell))
                literals[n_literals++] = o->rules[i].literal;
        if (!pn_schema_step(s, sh->place, 1 + o->n_rules))
            return false;
        int goal = pn_schema_goal(s, literals, n_literals);
        if (goal == PN_GOAL_FALSE)
            continue;
        pn_expr keys = cell_keys(sh, cell, all);
        others[(*n_others)++] = property(sh, keys == PN_EXPR_NONE ? s->any_string : pn_schema_quoted(s, keys), goal);
    }
    return true;
}

/* ---- without counts ---- */

static pn_expr after_comma(struct shape *sh, pn_expr e)
{
    return pn_expr_pair(sh->s, sh->s->comma, e);
}

/* The undeclared properties after others, with these tracked ones gone by. One rule per set of tracked ones. */
static pn_expr rest(struct shape *sh, unsigned gone)
{
    struct pn_schema *s = sh->s;
    pn_expr items[MAX_TRACKED + MAX_REQUIRED + 1], loop = pn_expr_empty(s->b);
    size_t n = 0;
    if (sh->rules && sh->rules[gone] >= 0)
        return pn_expr_ref(s->b, sh->rules[gone]);
    if (sh->rules)
        sh->rules[gone] = pn_expr_new_rule(s->b, "more", 4);
    if (sh->has_others)
        loop = pn_expr_repeat(s->b, after_comma(sh, sh->others), 0, PN_EXPR_NO_MAX);
    if ((gone & sh->must) == sh->must)
        items[n++] = pn_expr_empty(s->b);
    for (size_t i = 0; i < sh->n_tracked; i++)
        if (!(gone >> i & 1))
            items[n++] = pn_expr_pair(s, after_comma(sh, sh->tracked[i]), rest(sh, gone | 1u << i));
    pn_expr e = pn_expr_pair(s, loop, pn_expr_choice(s->b, items, n));
    if (!sh->rules)
        return e;
    pn_expr_define(s->b, sh->rules[gone], e);
    return pn_expr_ref(s->b, sh->rules[gone]);
}

/* Only undeclared properties; at least one. */
static pn_expr only_rest(struct shape *sh)
{
    struct pn_schema *s = sh->s;
    pn_expr items[MAX_TRACKED + MAX_REQUIRED + 1];
    size_t n = 0;
    if (sh->has_others)
        items[n++] = pn_expr_pair(s, sh->others, rest(sh, 0));
    for (size_t i = 0; i < sh->n_tracked; i++)
        items[n++] = pn_expr_pair(s, sh->tracked[i], rest(sh, 1u << i));
    return pn_expr_choice(s->b, items, n);
}

/* Declared properties from..to-1 after others. */
static pn_expr following(struct shape *sh, size_t from, size_t to)
{
    pn_expr *items = pn_schema_alloc(sh->s, to - from, sizeof *items);
    for (size_t i = from; items && i < to; i++) {
        items[i - from] = after_comma(sh, sh->declared[i]);
        if (sh->optional[i])
            items[i - from] = pn_expr_optional(sh->s, items[i - from]);
    }
    return items ? pn_expr_seq(sh->s->b, items, to - from) : PN_EXPR_NONE;
}

/* At least one of the optional properties from..to-1. Halves keep the size at n log n. */
static pn_expr some_of(struct shape *sh, size_t from, size_t to)
{
    if (to - from == 1)
        return sh->declared[from];
    size_t middle = from + (to - from) / 2;
    pn_expr items[] = {pn_expr_pair(sh->s, some_of(sh, from, middle), following(sh, middle, to)),
                       some_of(sh, middle, to)};
    return pn_expr_choice(sh->s->b, items, 2);
}

static pn_expr uncounted(struct shape *sh)
{
    struct pn_schema *s = sh->s;
    size_t first = 0, n = sh->n_declared;
    if (sh->n_tracked) {
        size_t n_sets = (size_t)1 << sh->n_tracked;
        sh->rules = pn_schema_alloc(s, n_sets, sizeof *sh->rules);
        if (!sh->rules)
            return PN_EXPR_NONE;
        for (size_t i = 0; i < n_sets; i++)
            sh->rules[i] = -1;
    }
    while (first < n && sh->optional[first])
        first++;
    if (first < n) { /* what precedes the first required one ends with a comma */
        pn_expr *items = pn_schema_alloc(s, first + 3, sizeof *items);
        if (!items)
            return PN_EXPR_NONE;
        for (size_t i = 0; i < first; i++)
            items[i] = pn_expr_optional(s, pn_expr_pair(s, sh->declared[i], s->comma));
        items[first] = sh->declared[first];
        items[first + 1] = following(sh, first + 1, n);
        items[first + 2] = rest(sh, 0);
        return pn_expr_seq(s->b, items, first + 3);
    }
    pn_expr items[3];
    size_t n_items = 0;
    if (n)
        items[n_items++] = pn_expr_pair(s, some_of(sh, 0, n), rest(sh, 0));
    items[n_items++] = only_rest(sh);
    if (!sh->must)
        items[n_items++] = pn_expr_empty(s->b);
    return pn_expr_choice(s->b, items, n_items);
}

/* ---- with counts ---- */

struct counted {
    size_t stage, count; /* declared ones gone by; properties so far, at most `most` */
    unsigned gone;
};

static pn_expr counted_state(struct shape *sh, struct counted st, size_t min, size_t max, size_t most)
{
    struct pn_schema *s = sh->s;
    pn_expr items[MAX_TRACKED + MAX_REQUIRED + 4];
    size_t n = 0, n_stages = sh->n_declared + 1;
    size_t at = (st.gone * n_stages + st.stage) * (most + 1) + st.count;
    bool may = st.count < max;
    struct counted next = st;
    if (s->status || !pn_schema_step(s, sh->place, 8))
        return PN_EXPR_NONE;
    if (sh->rules[at] >= 0)
        return pn_expr_ref(s->b, sh->rules[at]);
    sh->rules[at] = pn_expr_new_rule(s->b, "properties", 10);
    next.count = st.count < most ? st.count + 1 : most;
    pn_expr comma = st.count ? s->comma : pn_expr_empty(s->b);
    if (st.stage < sh->n_declared) {
        next.stage = st.stage + 1;
        if (may)
            items[n++] = pn_expr_pair(s, pn_expr_pair(s, comma, sh->declared[st.stage]),
                                      counted_state(sh, next, min, max, most));
        next.count = st.count;
        if (sh->optional[st.stage])
            items[n++] = counted_state(sh, next, min, max, most);
    } else {
        if (st.count >= min && (st.gone & sh->must) == sh->must)
            items[n++] = pn_expr_empty(s->b);
        if (may && sh->has_others)
            items[n++] = pn_expr_pair(s, pn_expr_pair(s, comma, sh->others), counted_state(sh, next, min, max, most));
        for (size_t i = 0; may && i < sh->n_tracked; i++) {
            next.gone = st.gone | 1u << i;
            if (!(st.gone >> i & 1))
                items[n++] =
                    pn_expr_pair(s, pn_expr_pair(s, comma, sh->tracked[i]), counted_state(sh, next, min, max, most));
        }
    }
    pn_expr_define(s->b, sh->rules[at], pn_expr_choice(s->b, items, n));
    return pn_expr_ref(s->b, sh->rules[at]);
}

static pn_expr counted(struct shape *sh, int64_t min, int64_t max)
{
    struct pn_schema *s = sh->s;
    if (sh->has_others && min > (int64_t)sh->n_required + 1)
        return pn_schema_fail(s, PANTRY_UNSUPPORTED, sh->place, "minProperties",
                              "whether undeclared properties differ cannot be expressed in a grammar")
                   ? 0
                   : PN_EXPR_NONE;
    size_t cap = (size_t)(max == PN_NO_LIMIT ? (min > 1 ? min : 1) : max + 1);
    size_t n_states = 0;
    bool fits = pn_size_mul((sh->n_declared + 1) << sh->n_tracked, cap + 1, &n_states) && n_states <= MAX_STATES;
    if (!fits || sh->n_declared > 400 || cap > MAX_COUNT)
        return pn_schema_fail(s, PANTRY_LIMIT, sh->place, max == PN_NO_LIMIT ? "minProperties" : "maxProperties",
                              "too many properties to count in a grammar")
                   ? 0
                   : PN_EXPR_NONE;
    sh->rules = pn_schema_alloc(s, n_states, sizeof *sh->rules);
    for (size_t i = 0; sh->rules && i < n_states; i++)
        sh->rules[i] = -1;
    return counted_state(sh, (struct counted){0}, (size_t)min, max == PN_NO_LIMIT ? SIZE_MAX : (size_t)max, cap);
}

/* ---- both ---- */

static pn_expr members_expr(struct shape *sh)
{
    struct pn_schema *s = sh->s;
    const struct pn_object *o = sh->o;
    size_t n_others = 0, most = sh->members.len + ((size_t)1 << MAX_LANGUAGES);
    pn_expr *others = pn_schema_alloc(s, most, sizeof *others);
    if (!others || !divide(sh, others, &n_others) || !cells(sh, others, &n_others))
        return PN_EXPR_NONE;
    sh->has_others = n_others > 0;
    sh->others = pn_expr_choice(s->b, others, n_others);
    int64_t min = o->min > (int64_t)sh->n_required ? o->min : 0, max = o->max;
    int64_t possible = (int64_t)(sh->n_declared + sh->n_tracked);
    if (max != PN_NO_LIMIT && max >= possible && !sh->has_others)
        max = PN_NO_LIMIT;
    return min == 0 && max == PN_NO_LIMIT ? uncounted(sh) : counted(sh, min, max);
}

/* ---- some property ---- */

/* Whether a key that is not named could be the property that has to exist. */
static bool cell_may(struct shape *sh, const struct pn_key_rule *some)
{
    const struct pn_object *o = sh->o;
    int *literals = pn_schema_alloc(sh->s, o->n_rules + 1, sizeof *literals);
    for (uint64_t cell = 0; literals && cell < (uint64_t)1 << sh->languages.len; cell++) {
        size_t n = 0;
        if (!pn_keys_have_cell(some->keys, sh->languages.data, sh->languages.len, cell))
            continue;
        for (size_t i = 0; i < o->n_rules; i++)
            if (pn_keys_have_cell(o->rules[i].keys, sh->languages.data, sh->languages.len, cell))
                literals[n++] = o->rules[i].literal;
        literals[n++] = some->literal;
        if (pn_schema_goal(sh->s, literals, n) != PN_GOAL_FALSE)
            return true;
    }
    return !literals;
}

/* One alternative for each named key that may be the property. */
static pn_expr with_some(struct shape *sh)
{
    struct pn_schema *s = sh->s;
    const struct pn_key_rule *some = &sh->o->some[0];
    pn_expr *items = pn_schema_alloc(s, sh->members.len, sizeof *items);
    struct pn_key_rule *rules = pn_schema_alloc(s, sh->members.len, sizeof *rules);
    struct pn_keys *keys = pn_schema_alloc(s, sh->members.len, sizeof *keys);
    size_t n = 0;
    if (!items || !rules || !keys)
        return PN_EXPR_NONE;
    if (sh->languages.len > MAX_LANGUAGES || cell_may(sh, some))
        return pn_schema_fail(s, PANTRY_UNSUPPORTED, sh->place, NULL,
                              "that some undeclared property does not match cannot be expressed (`not` or an "
                              "overlapping `oneOf` over additionalProperties, patternProperties or propertyNames)")
                   ? 0
                   : PN_EXPR_NONE;
    for (size_t i = 0; i < sh->members.len && !s->status; i++) {
        struct pn_object one = *sh->o;
        if (!pn_keys_have(s, some->keys, sh->members.data[i].name))
            continue;
        keys[n].names = (struct pn_strings){&sh->members.data[i].name, 1};
        rules[n] = (struct pn_key_rule){&keys[n], some->literal};
        one.some++;
        one.n_some--;
        one.rules = pn_schema_join(s, one.rules, one.n_rules, &rules[n], 1, sizeof *rules);
        one.n_rules++;
        one.required.items =
            pn_schema_join(s, one.required.items, one.required.n, keys[n].names.items, 1, sizeof *one.required.items);
        one.required.n++;
        if (!pn_schema_step(s, sh->place, 1000))
            break;
        items[n++] = pn_object_expr(s, sh->place, &one);
    }
    return pn_expr_choice(s->b, items, n);
}

pn_expr pn_object_expr(struct pn_schema *s, const struct pn_place *place, const struct pn_object *o)
{
    struct shape sh = {.s = s, .place = place, .o = o};
    pn_expr e = PN_EXPR_NONE;
    if (find_members(&sh) && o->n_some) {
        for (size_t i = 0; i < o->n_some && !s->status; i++)
            mention_keys(&sh, o->some[i].keys);
        e = s->status ? PN_EXPR_NONE : with_some(&sh);
    } else if (!s->status) {
        pn_expr all[] = {s->open_object, members_expr(&sh), s->close_object};
        e = s->status ? PN_EXPR_NONE : pn_expr_seq(s->b, all, 3);
    }
    free(sh.members.data);
    free(sh.languages.data);
    return e;
}
