/* Arrays as expressions: a list where items depend on their position only; otherwise a rule per state, which has the
 * position, the counts of `contains`, or the set of values that `uniqueItems` has seen. */
#include "grammar/schema_impl.h"
#include "grammar/schema_number.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_PREFIX = 2000, /* positions with items of their own */
    MAX_COUNTS = 3,    /* `contains` on one array */
    MAX_VALUES = 24,   /* different items under uniqueItems */
    MAX_STATES = 5000,
    CHUNK = 50 /* of nested items per rule */
};

struct shape {
    struct pn_schema *s;
    const struct pn_place *place;
    const struct pn_array *a;
    int64_t min, max;
    int *goals; /* n_prefix positions, then all others */
    int64_t n_prefix;
};

static pn_expr refuse(const struct shape *sh, pantry_status status, const char *keyword, const char *why)
{
    pn_schema_fail(sh->s, status, sh->place, keyword, "%s", why);
    return PN_EXPR_NONE;
}

static int goal_at(const struct shape *sh, int64_t i)
{
    return sh->goals[i < sh->n_prefix ? i : sh->n_prefix];
}

static bool find_goals(struct shape *sh)
{
    const struct pn_array *a = sh->a;
    bool prefixed = false;
    for (size_t i = 0; i < a->n_rules; i++) {
        int64_t end = a->rules[i].to == PN_NO_LIMIT ? a->rules[i].from : a->rules[i].to;
        sh->n_prefix = end > sh->n_prefix ? end : sh->n_prefix;
        prefixed = prefixed || a->rules[i].to != PN_NO_LIMIT;
    }
    if (sh->n_prefix > MAX_PREFIX) {
        refuse(sh, PANTRY_LIMIT, "prefixItems", "too many items for a grammar");
        return false;
    }
    bool narrow = sh->s->options->closed || (a->unique > 0 && prefixed);
    if (narrow && prefixed && !a->closed && sh->min <= sh->n_prefix &&
        (sh->max == PN_NO_LIMIT || sh->max > sh->n_prefix))
        sh->max = sh->n_prefix;
    sh->goals = pn_schema_alloc(sh->s, (size_t)sh->n_prefix + 1, sizeof *sh->goals);
    for (int64_t i = 0; sh->goals && i <= sh->n_prefix; i++) {
        if (!pn_schema_step(sh->s, sh->place, 1 + a->n_rules / 8))
            return false;
        sh->goals[i] = pn_array_goal(sh->s, a, i);
        if (sh->goals[i] == PN_GOAL_FALSE && (sh->max == PN_NO_LIMIT || sh->max > i))
            sh->max = i;
    }
    return sh->goals != NULL;
}

/* ---- by position only ---- */

static pn_expr list(struct shape *sh)
{
    struct pn_schema *s = sh->s;
    int64_t n = sh->n_prefix, min = sh->min, max = sh->max;
    if (min > PN_EXPR_MAX_REPEAT)
        return refuse(sh, PANTRY_LIMIT, "minItems", "too many items for a grammar");
    if (max != PN_NO_LIMIT && max < n)
        n = max;
    if (max == 0)
        return pn_expr_empty(s->b);
    pn_expr item = pn_schema_value(s, goal_at(sh, n)), tail;
    int64_t before = n ? n : 1; /* items that precede the tail */
    int64_t more = max == PN_NO_LIMIT || max - before > PN_EXPR_MAX_REPEAT ? PN_EXPR_NO_MAX : max - before;
    int64_t least = min > before ? min - before : 0;
    tail =
        more == 0 ? pn_expr_empty(s->b) : pn_expr_repeat(s->b, pn_expr_pair(s, s->comma, item), (int)least, (int)more);
    for (int64_t i = before - 1; i > 0; i--) {
        tail = pn_expr_pair(s, pn_expr_pair(s, s->comma, pn_schema_value(s, goal_at(sh, i))), tail);
        if (i >= min)
            tail = pn_expr_optional(s, tail);
        if (i % CHUNK == 0) {
            int rule = pn_expr_new_rule(s->b, "items", 5);
            pn_expr_define(s->b, rule, tail);
            tail = pn_expr_ref(s->b, rule);
        }
    }
    tail = pn_expr_pair(s, pn_schema_value(s, goal_at(sh, 0)), tail);
    return min > 0 ? tail : pn_expr_optional(s, tail);
}

/* ---- with counts ---- */

struct state {
    int64_t at; /* position, at most `far` */
    int64_t counts[MAX_COUNTS];
};

struct counting {
    struct shape *sh;
    int64_t far;
    struct {
        struct state *data;
        size_t len, cap;
    } states;
    int *rules;
};

static int state_rule(struct counting *c, const struct state *st)
{
    for (size_t i = 0; i < c->states.len; i++)
        if (memcmp(&c->states.data[i], st, sizeof *st) == 0)
            return c->rules[i];
    if (c->states.len == MAX_STATES || !pn_schema_step(c->sh->s, c->sh->place, 1 + c->states.len / 8)) {
        refuse(c->sh, PANTRY_LIMIT, "contains", "too many states for a grammar");
        return 0;
    }
    if (!pn_vec_push(&c->states, *st)) {
        pn_schema_no_memory(c->sh->s);
        return 0;
    }
    return c->rules[c->states.len - 1] = pn_expr_new_rule(c->sh->s->b, "items", 5);
}

/* The next item: `set` says which counts it adds to. PN_GOAL_FALSE: that cannot be, or another set has it. */
static int counted_goal(struct counting *c, const struct state *st, unsigned set, struct state *next)
{
    struct shape *sh = c->sh;
    const struct pn_array *a = sh->a;
    struct pn_goal base = sh->s->goals.data[goal_at(sh, st->at)];
    int *literals = pn_schema_alloc(sh->s, (size_t)base.n + a->n_counts, sizeof *literals);
    size_t n = (size_t)base.n;
    *next = *st;
    if (!literals)
        return PN_GOAL_FALSE;
    memcpy(literals, base.literals, n * sizeof *literals);
    next->at = st->at < c->far ? st->at + 1 : c->far;
    for (size_t i = 0; i < a->n_counts; i++) {
        const struct pn_item_count *count = &a->counts[i];
        bool adds = set >> i & 1, limited = count->max != PN_NO_LIMIT;
        int64_t most = limited ? count->max : count->min;
        if (st->at < count->from || (!limited && st->counts[i] == most)) {
            if (adds)
                return PN_GOAL_FALSE;
        } else if (adds) {
            if (st->counts[i] == most)
                return PN_GOAL_FALSE;
            next->counts[i]++;
            literals[n++] = count->literal;
        } else if (limited) {
            literals[n++] = pn_schema_not_literal(sh->s, count->literal);
        }
    }
    return pn_schema_goal(sh->s, literals, n);
}

static pn_expr counted_state(struct counting *c, struct state st)
{
    struct shape *sh = c->sh;
    struct pn_schema *s = sh->s;
    pn_expr items[1 + (1 << MAX_COUNTS)];
    size_t n = 0;
    bool enough = st.at >= sh->min;
    for (size_t i = 0; i < sh->a->n_counts; i++)
        enough = enough && st.counts[i] >= sh->a->counts[i].min;
    if (enough)
        items[n++] = pn_expr_empty(s->b);
    for (unsigned set = 0; set < 1u << sh->a->n_counts && !s->status; set++) {
        struct state next;
        if (sh->max != PN_NO_LIMIT && st.at >= sh->max)
            break;
        int goal = counted_goal(c, &st, set, &next);
        if (goal == PN_GOAL_FALSE)
            continue;
        pn_expr value = pn_schema_value(s, goal);
        if (st.at > 0)
            value = pn_expr_pair(s, s->comma, value);
        items[n++] = pn_expr_pair(s, value, pn_expr_ref(s->b, state_rule(c, &next)));
    }
    return pn_expr_choice(s->b, items, n);
}

static pn_expr with_counts(struct shape *sh)
{
    struct pn_schema *s = sh->s;
    struct counting c = {.sh = sh, .far = sh->n_prefix};
    if (sh->a->n_counts > MAX_COUNTS)
        return refuse(sh, PANTRY_UNSUPPORTED, "contains", "more than 3 counts of items on one array");
    c.far = sh->min > c.far ? sh->min : c.far;
    c.far = sh->max > c.far ? sh->max : c.far;
    c.far = c.far ? c.far : 1;
    for (size_t i = 0; i < sh->a->n_counts; i++) {
        const struct pn_item_count *count = &sh->a->counts[i];
        c.far = count->from > c.far ? count->from : c.far;
        if (count->max != PN_NO_LIMIT && count->min > count->max)
            return pn_expr_nothing(s->b);
    }
    c.rules = pn_schema_alloc(s, MAX_STATES, sizeof *c.rules);
    if (!c.rules)
        return PN_EXPR_NONE;
    int start = state_rule(&c, &(struct state){0});
    for (size_t i = 0; i < c.states.len && !s->status; i++)
        pn_expr_define(s->b, c.rules[i], counted_state(&c, c.states.data[i]));
    free(c.states.data);
    return pn_expr_ref(s->b, start);
}

/* ---- without repetition ---- */

/* A value of a finite set, as JSON compares it. */
struct value {
    enum pn_json_type type;
    unsigned boolean;
    struct pn_decimal number;
    struct pn_str text;
};

struct unique {
    struct shape *sh;
    struct value values[MAX_VALUES];
    size_t n_values;
    uint32_t *of; /* by position up to n_prefix: bits of the values that an item may have */
    struct {
        struct unique_state {
            int64_t at;
            uint32_t seen;
        } * data;
        size_t len, cap;
    } states;
    int *rules;
};

static bool add_value(struct unique *u, struct value v, uint32_t *set)
{
    size_t i = 0;
    for (; i < u->n_values; i++) {
        const struct value *w = &u->values[i];
        if (v.type == w->type && v.boolean == w->boolean && pn_decimal_compare(&v.number, &w->number) == 0 &&
            v.text.len == w->text.len && (v.text.len == 0 || pn_str_same(v.text, w->text)))
            break;
    }
    if (i == MAX_VALUES)
        return false;
    if (i == u->n_values)
        u->values[u->n_values++] = v;
    *set |= 1u << i;
    return true;
}

/* The integers between two bounds, if they are few. */
static bool few_integers(struct unique *u, const struct pn_number *x, uint32_t *set)
{
    char low[PN_DECIMAL_TEXT], high[PN_DECIMAL_TEXT];
    if (x->integer <= 0 || !x->has_low || !x->has_high || x->low.point > 15 || x->high.point > 15)
        return false;
    pn_decimal_plain(&x->low, low);
    pn_decimal_plain(&x->high, high);
    double first = floor(strtod(low, NULL)), last = ceil(strtod(high, NULL));
    if (last - first > 2 * MAX_VALUES)
        return false;
    for (int64_t i = (int64_t)first; i <= (int64_t)last; i++) {
        const struct pn_decimal value = pn_decimal_from_int(i);
        if (pn_number_has(x, &value) && !add_value(u, (struct value){.type = PN_NUMBER, .number = value}, set))
            return false;
    }
    return true;
}

/* False if the values are not finitely many scalars, or too many. */
static bool finite_values(struct unique *u, int goal, uint32_t *set)
{
    const struct pn_alts *alts = goal == PN_GOAL_TRUE ? NULL : pn_goal_alts(u->sh->s, goal);
    bool fine = alts && alts->of[PN_ARRAY].n == 0 && alts->of[PN_OBJECT].n == 0;
    if (fine && alts->of[PN_NULL].n)
        fine = add_value(u, (struct value){.type = PN_NULL}, set);
    for (size_t i = 0; fine && i < alts->of[PN_BOOL].n; i++)
        for (unsigned k = 0; k < 2 && fine; k++)
            if (alts->of[PN_BOOL].items[i]->bools >> k & 1)
                fine = add_value(u, (struct value){.type = PN_BOOL, .boolean = k}, set);
    for (size_t i = 0; fine && i < alts->of[PN_NUMBER].n; i++) {
        const struct pn_number *x = &alts->of[PN_NUMBER].items[i]->number;
        fine = x->finite || few_integers(u, x, set);
        for (size_t k = 0; fine && x->finite && k < x->values.n; k++)
            fine = add_value(u, (struct value){.type = PN_NUMBER, .number = x->values.items[k]}, set);
    }
    for (size_t i = 0; fine && i < alts->of[PN_STRING].n; i++) {
        const struct pn_text *x = &alts->of[PN_STRING].items[i]->text;
        fine = x->finite;
        for (size_t k = 0; fine && k < x->values.n; k++)
            fine = add_value(u, (struct value){.type = PN_STRING, .text = x->values.items[k]}, set);
    }
    return fine;
}

static pn_expr value_expr(struct pn_schema *s, const struct value *v)
{
    struct pn_number number = {.finite = true, .values = {&v->number, 1}};
    switch (v->type) {
    case PN_NULL:
        return pn_expr_literal(s->b, "null", 4);
    case PN_BOOL:
        return pn_expr_literal(s->b, v->boolean ? "true" : "false", v->boolean ? 4 : 5);
    case PN_NUMBER:
        return pn_number_expr(s, NULL, &number);
    default:
        return pn_schema_string(s, v->text);
    }
}

static int unique_rule(struct unique *u, int64_t at, uint32_t seen)
{
    struct unique_state st = {at, seen};
    for (size_t i = 0; i < u->states.len; i++)
        if (u->states.data[i].at == at && u->states.data[i].seen == seen)
            return u->rules[i];
    if (u->states.len == MAX_STATES || !pn_schema_step(u->sh->s, u->sh->place, 1 + u->states.len / 8)) {
        refuse(u->sh, PANTRY_LIMIT, "uniqueItems", "too many combinations of items for a grammar");
        return 0;
    }
    if (!pn_vec_push(&u->states, st)) {
        pn_schema_no_memory(u->sh->s);
        return 0;
    }
    return u->rules[u->states.len - 1] = pn_expr_new_rule(u->sh->s->b, "items", 5);
}

static pn_expr unique_state(struct unique *u, struct unique_state st)
{
    struct shape *sh = u->sh;
    struct pn_schema *s = sh->s;
    pn_expr items[MAX_VALUES + 1];
    size_t n = 0;
    uint32_t may = u->of[st.at < sh->n_prefix ? st.at : sh->n_prefix] & ~st.seen;
    if (st.at >= sh->min)
        items[n++] = pn_expr_empty(s->b);
    for (size_t i = 0; i < u->n_values && (sh->max == PN_NO_LIMIT || st.at < sh->max) && !s->status; i++) {
        if (!(may >> i & 1))
            continue;
        pn_expr value = value_expr(s, &u->values[i]);
        if (st.at > 0)
            value = pn_expr_pair(s, s->comma, value);
        items[n++] = pn_expr_pair(s, value, pn_expr_ref(s->b, unique_rule(u, st.at + 1, st.seen | 1u << i)));
    }
    return pn_expr_choice(s->b, items, n);
}

/* Whether no two items can be of the same type, so that they always differ. */
static bool always_differ(const struct shape *sh)
{
    unsigned seen = 0;
    if (sh->max == PN_NO_LIMIT || sh->max > PN_N_TYPES)
        return false;
    for (int64_t i = 0; i < sh->max; i++) {
        int goal = goal_at(sh, i);
        const struct pn_alts *alts = goal == PN_GOAL_TRUE ? NULL : pn_goal_alts(sh->s, goal);
        unsigned types = 0;
        for (int t = 0; alts && t < PN_N_TYPES; t++)
            types |= (alts->of[t].n > 0) << t;
        if (!alts || seen & types)
            return false;
        seen |= types;
    }
    return true;
}

static pn_expr without_repetition(struct shape *sh)
{
    struct pn_schema *s = sh->s;
    struct unique u = {.sh = sh};
    if (!sh->a->n_counts && always_differ(sh))
        return list(sh);
    if (sh->a->n_counts)
        return refuse(sh, PANTRY_UNSUPPORTED, "uniqueItems", "cannot be combined with contains");
    u.of = pn_schema_alloc(s, (size_t)sh->n_prefix + 1, sizeof *u.of);
    u.rules = pn_schema_alloc(s, MAX_STATES, sizeof *u.rules);
    if (!u.of || !u.rules)
        return PN_EXPR_NONE;
    for (int64_t i = 0; i <= sh->n_prefix && (sh->max == PN_NO_LIMIT || i < sh->max); i++)
        if (goal_at(sh, i) != PN_GOAL_FALSE && !finite_values(&u, goal_at(sh, i), &u.of[i]))
            return s->status ? PN_EXPR_NONE
                             : refuse(sh, PANTRY_UNSUPPORTED, "uniqueItems",
                                      "whether items differ can only be expressed where they are few known values");
    int start = unique_rule(&u, 0, 0);
    for (size_t i = 0; i < u.states.len && !s->status; i++)
        pn_expr_define(s->b, u.rules[i], unique_state(&u, u.states.data[i]));
    free(u.states.data);
    return pn_expr_ref(s->b, start);
}

pn_expr pn_array_expr(struct pn_schema *s, const struct pn_place *place, const struct pn_array *a)
{
    struct shape sh = {.s = s, .place = place, .a = a, .min = a->min, .max = a->max};
    pn_expr inner;
    if (!find_goals(&sh))
        return PN_EXPR_NONE;
    if (sh.max != PN_NO_LIMIT && sh.min > sh.max)
        return pn_expr_nothing(s->b);
    if (a->unique < 0)
        inner = refuse(&sh, PANTRY_UNSUPPORTED, "uniqueItems", "that two items are equal cannot be expressed");
    else if (a->unique > 0 && (sh.max == PN_NO_LIMIT || sh.max > 1))
        inner = without_repetition(&sh);
    else
        inner = a->n_counts ? with_counts(&sh) : list(&sh);
    if (s->status || inner == PN_EXPR_NONE)
        return PN_EXPR_NONE;
    pn_expr all[] = {s->open_array, inner, s->close_array};
    return pn_expr_seq(s->b, all, 3);
}
