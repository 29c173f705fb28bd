/* Alternatives: conjunctions of constraints on one JSON type, and the boolean operations on lists of them. */
#include "grammar/schema_impl.h"

#include <stdlib.h>
#include <string.h>

void *pn_schema_join(struct pn_schema *s, const void *a, size_t n_a, const void *b, size_t n_b, size_t size)
{
    if (n_b == 0)
        return (void *)a;
    if (n_a == 0)
        return (void *)b;
    char *both = pn_schema_alloc(s, n_a + n_b, size);
    if (both) {
        memcpy(both, a, n_a * size);
        memcpy(both + n_a * size, b, n_b * size);
    }
    return both;
}

#define JOIN(s, to, from)                                                                                              \
    do {                                                                                                               \
        (to)->items = pn_schema_join((s), (to)->items, (to)->n, (from)->items, (from)->n, sizeof *(to)->items);        \
        (to)->n += (from)->n;                                                                                          \
    } while (0)

struct pn_alt *pn_alt_new(struct pn_schema *s, enum pn_json_type type)
{
    struct pn_alt *alt = pn_schema_alloc(s, 1, sizeof *alt);
    if (!alt)
        return NULL;
    if (type == PN_BOOL)
        alt->bools = 3;
    else if (type == PN_STRING)
        alt->text.max = PN_NO_LIMIT;
    else if (type == PN_ARRAY)
        alt->array.max = PN_NO_LIMIT;
    else if (type == PN_OBJECT)
        alt->object.max = PN_NO_LIMIT;
    return alt;
}

const struct pn_alt *pn_alt_full(struct pn_schema *s, enum pn_json_type type)
{
    if (!s->full[type])
        s->full[type] = pn_alt_new(s, type);
    return s->full[type];
}

static void put(struct pn_schema *s, struct pn_alts *alts, enum pn_json_type type, const struct pn_alt *alt)
{
    const struct pn_alt **items = pn_schema_alloc(s, 1, sizeof *items);
    if (items && alt) {
        items[0] = alt;
        alts->of[type].items = items;
        alts->of[type].n = 1;
    }
}

const struct pn_alts *pn_alts_one(struct pn_schema *s, enum pn_json_type type, const struct pn_alt *alt, bool others)
{
    struct pn_alts *alts = pn_schema_alloc(s, 1, sizeof *alts);
    for (int t = 0; alts && t < PN_N_TYPES; t++)
        if (t == (int)type || others)
            put(s, alts, t, t == (int)type ? alt : pn_alt_full(s, t));
    return alts;
}

const struct pn_alts *pn_alts_all(struct pn_schema *s)
{
    return pn_alts_one(s, PN_NULL, pn_alt_full(s, PN_NULL), true);
}

const struct pn_alts *pn_alts_none(struct pn_schema *s)
{
    return pn_schema_alloc(s, 1, sizeof(struct pn_alts));
}

const struct pn_alts *pn_alts_of(struct pn_schema *s, const struct pn_alts *a, unsigned types)
{
    struct pn_alts *alts = pn_schema_alloc(s, 1, sizeof *alts);
    for (int t = 0; alts && a && t < PN_N_TYPES; t++)
        if (types >> t & 1)
            alts->of[t] = a->of[t];
    return alts;
}

/* ---- membership ---- */

static bool listed(const struct pn_decimals *list, const struct pn_decimal *value)
{
    for (size_t i = 0; i < list->n; i++)
        if (pn_decimal_compare(&list->items[i], value) == 0)
            return true;
    return false;
}

bool pn_number_has(const struct pn_number *x, const struct pn_decimal *value)
{
    int low = x->has_low ? pn_decimal_compare(value, &x->low) : 1;
    int high = x->has_high ? pn_decimal_compare(value, &x->high) : -1;
    if (low < (x->low_open ? 1 : 0) || high > (x->high_open ? -1 : 0))
        return false;
    if ((x->integer > 0 && !pn_decimal_is_integer(value)) || (x->integer < 0 && pn_decimal_is_integer(value)))
        return false;
    for (size_t i = 0; i < x->factors.n; i++)
        if (!pn_decimal_is_multiple(value, &x->factors.items[i]))
            return false;
    for (size_t i = 0; i < x->non_factors.n; i++)
        if (pn_decimal_is_multiple(value, &x->non_factors.items[i]))
            return false;
    return !listed(&x->excluded, value) && (!x->finite || listed(&x->values, value));
}

static bool named(const struct pn_strings *list, struct pn_str value)
{
    for (size_t i = 0; i < list->n; i++)
        if (pn_str_same(list->items[i], value))
            return true;
    return false;
}

bool pn_text_has(struct pn_schema *s, const struct pn_text *text, struct pn_str value)
{
    int64_t n = 0;
    for (size_t i = 0; i < value.len; i++)
        n += ((unsigned char)value.data[i] & 0xC0) != 0x80;
    if (n < text->min || (text->max != PN_NO_LIMIT && n > text->max) || named(&text->excluded, value))
        return false;
    for (size_t i = 0; i < text->languages.n; i++)
        if (!pn_language_has(s, &text->languages.items[i], value))
            return false;
    return !text->finite || named(&text->values, value);
}

/* ---- and ---- */

static bool lower_max(int64_t *max, int64_t other)
{
    if (other == PN_NO_LIMIT || (*max != PN_NO_LIMIT && *max <= other))
        return false;
    *max = other;
    return true;
}

static bool and_number(struct pn_schema *s, struct pn_number *x, const struct pn_number *y)
{
    if (y->has_low) {
        int order = x->has_low ? pn_decimal_compare(&y->low, &x->low) : 1;
        if (order > 0)
            x->low = y->low;
        x->low_open = order > 0 ? y->low_open : x->low_open || (order == 0 && y->low_open);
        x->has_low = true;
    }
    if (y->has_high) {
        int order = x->has_high ? pn_decimal_compare(&y->high, &x->high) : -1;
        if (order < 0)
            x->high = y->high;
        x->high_open = order < 0 ? y->high_open : x->high_open || (order == 0 && y->high_open);
        x->has_high = true;
    }
    if (x->integer * y->integer < 0)
        return false;
    x->integer = x->integer ? x->integer : y->integer;
    JOIN(s, &x->factors, &y->factors);
    JOIN(s, &x->non_factors, &y->non_factors);
    JOIN(s, &x->excluded, &y->excluded);
    if (y->finite && !x->finite) {
        x->finite = true;
        x->values = y->values;
    }
    if (x->finite) {
        struct pn_decimal *kept = pn_schema_alloc(s, x->values.n, sizeof *kept);
        size_t n = 0;
        for (size_t i = 0; kept && i < x->values.n; i++)
            if (pn_number_has(x, &x->values.items[i]) && (!y->finite || listed(&y->values, &x->values.items[i])))
                kept[n++] = x->values.items[i];
        x->values = (struct pn_decimals){kept, n};
        return n > 0;
    }
    int order = x->has_low && x->has_high ? pn_decimal_compare(&x->low, &x->high) : -1;
    return order < 0 || (order == 0 && !x->low_open && !x->high_open);
}

static bool and_text(struct pn_schema *s, struct pn_text *x, const struct pn_text *y)
{
    x->min = x->min > y->min ? x->min : y->min;
    lower_max(&x->max, y->max);
    JOIN(s, &x->languages, &y->languages);
    JOIN(s, &x->excluded, &y->excluded);
    if (y->finite && !x->finite) {
        x->finite = true;
        x->values = y->values;
    }
    if (x->finite) {
        struct pn_str *kept = pn_schema_alloc(s, x->values.n, sizeof *kept);
        size_t n = 0;
        for (size_t i = 0; kept && i < x->values.n; i++)
            if (pn_text_has(s, x, x->values.items[i]) && (!y->finite || named(&y->values, x->values.items[i])))
                kept[n++] = x->values.items[i];
        x->values = (struct pn_strings){kept, n};
        return n > 0;
    }
    return x->max == PN_NO_LIMIT || x->min <= x->max;
}

static bool and_array(struct pn_schema *s, struct pn_array *x, const struct pn_array *y)
{
    x->min = x->min > y->min ? x->min : y->min;
    lower_max(&x->max, y->max);
    if (x->unique * y->unique < 0)
        return false;
    x->unique = x->unique ? x->unique : y->unique;
    x->rules = pn_schema_join(s, x->rules, x->n_rules, y->rules, y->n_rules, sizeof *x->rules);
    x->n_rules += y->n_rules;
    x->counts = pn_schema_join(s, x->counts, x->n_counts, y->counts, y->n_counts, sizeof *x->counts);
    x->n_counts += y->n_counts;
    x->evaluated = x->evaluated > y->evaluated ? x->evaluated : y->evaluated;
    JOIN(s, &x->evaluated_by, &y->evaluated_by);
    x->closed = x->closed || y->closed;
    for (size_t i = 0; i < x->n_rules; i++)
        if (x->rules[i].literal == PN_LITERAL_FALSE)
            lower_max(&x->max, x->rules[i].from);
    return x->max == PN_NO_LIMIT || x->min <= x->max;
}

static bool and_object(struct pn_schema *s, struct pn_object *x, const struct pn_object *y)
{
    x->min = x->min > y->min ? x->min : y->min;
    lower_max(&x->max, y->max);
    x->rules = pn_schema_join(s, x->rules, x->n_rules, y->rules, y->n_rules, sizeof *x->rules);
    x->n_rules += y->n_rules;
    x->some = pn_schema_join(s, x->some, x->n_some, y->some, y->n_some, sizeof *x->some);
    x->n_some += y->n_some;
    JOIN(s, &x->required, &y->required);
    JOIN(s, &x->order, &y->order);
    x->evaluated = pn_schema_join(s, x->evaluated, x->n_evaluated, y->evaluated, y->n_evaluated, sizeof *x->evaluated);
    x->n_evaluated += y->n_evaluated;
    x->all_evaluated = x->all_evaluated || y->all_evaluated;
    x->declared = x->declared || y->declared;
    x->closed = x->closed || y->closed;
    for (size_t i = 0; i < x->n_rules && !s->status; i++)
        for (size_t j = 0; x->rules[i].literal == PN_LITERAL_FALSE && j < x->required.n; j++)
            if (pn_keys_have(s, x->rules[i].keys, x->required.items[j]))
                return false;
    return x->max == PN_NO_LIMIT || x->min <= x->max;
}

static size_t size_of(enum pn_json_type type, const struct pn_alt *a)
{
    if (type == PN_OBJECT)
        return a->object.n_rules + a->object.n_some + a->object.required.n + a->object.order.n;
    if (type == PN_ARRAY)
        return a->array.n_rules + a->array.n_counts;
    if (type == PN_STRING)
        return a->text.values.n + a->text.excluded.n;
    return type == PN_NUMBER ? a->number.values.n + a->number.excluded.n : 0;
}

/* NULL if no value satisfies both. */
static const struct pn_alt *and_one(struct pn_schema *s, const struct pn_place *place, enum pn_json_type type,
                                    const struct pn_alt *a, const struct pn_alt *b)
{
    bool possible = true;
    if (a == pn_alt_full(s, type) || a == b)
        return b;
    if (b == pn_alt_full(s, type))
        return a;
    size_t n_a = size_of(type, a), n_b = size_of(type, b);
    struct pn_alt *both = pn_schema_alloc(s, 1, sizeof *both);
    if (!both || !pn_schema_step(s, place, 4 + n_a + n_b + (type == PN_STRING ? n_a * n_b / 8 : 0)))
        return NULL;
    *both = *a;
    if (type == PN_BOOL)
        possible = (both->bools &= b->bools) != 0;
    else if (type == PN_NUMBER)
        possible = and_number(s, &both->number, &b->number);
    else if (type == PN_STRING)
        possible = and_text(s, &both->text, &b->text);
    else if (type == PN_ARRAY)
        possible = and_array(s, &both->array, &b->array);
    else if (type == PN_OBJECT)
        possible = and_object(s, &both->object, &b->object);
    return possible && !s->status ? both : NULL;
}

static struct pn_alt_list and_lists(struct pn_schema *s, const struct pn_place *place, enum pn_json_type type,
                                    struct pn_alt_list a, struct pn_alt_list b)
{
    struct pn_alt_list none = {0};
    if (a.n == 1 && a.items[0] == pn_alt_full(s, type))
        return b;
    if (b.n == 1 && b.items[0] == pn_alt_full(s, type))
        return a;
    if (!pn_schema_step(s, place, a.n * b.n))
        return none;
    const struct pn_alt **items = pn_schema_alloc(s, a.n * b.n, sizeof *items);
    size_t n = 0;
    for (size_t i = 0; items && i < a.n; i++)
        for (size_t j = 0; j < b.n && !s->status; j++) {
            const struct pn_alt *both = and_one(s, place, type, a.items[i], b.items[j]);
            if (both)
                items[n++] = both;
        }
    return items ? (struct pn_alt_list){items, n} : none;
}

const struct pn_alts *pn_alts_and(struct pn_schema *s, const struct pn_place *place, const struct pn_alts *a,
                                  const struct pn_alts *b)
{
    struct pn_alts *both = pn_schema_alloc(s, 1, sizeof *both);
    if (!a || !b || !both)
        return NULL;
    for (int t = 0; t < PN_N_TYPES; t++)
        both->of[t] = and_lists(s, place, t, a->of[t], b->of[t]);
    return s->status ? NULL : both;
}

/* ---- or ---- */

static struct pn_alt_list or_lists(struct pn_schema *s, enum pn_json_type type, struct pn_alt_list a,
                                   struct pn_alt_list b)
{
    const struct pn_alt *full = pn_alt_full(s, type);
    if (a.n == 0 || (b.n == 1 && b.items[0] == full && !s->has_unevaluated))
        return b;
    if (b.n == 0 || (a.n == 1 && (a.items[0] == b.items[0] || (a.items[0] == full && !s->has_unevaluated))))
        return a;
    return (struct pn_alt_list){pn_schema_join(s, a.items, a.n, b.items, b.n, sizeof(struct pn_alt *)), a.n + b.n};
}

const struct pn_alts *pn_alts_or(struct pn_schema *s, const struct pn_place *place, const struct pn_alts *a,
                                 const struct pn_alts *b)
{
    struct pn_alts *either = pn_schema_alloc(s, 1, sizeof *either);
    size_t n = 0;
    if (!a || !b || !either)
        return NULL;
    for (int t = 0; t < PN_N_TYPES; t++) {
        either->of[t] = or_lists(s, t, a->of[t], b->of[t]);
        n += either->of[t].n;
    }
    either->of[PN_NULL].n = either->of[PN_NULL].n ? 1 : 0;
    return pn_schema_step(s, place, n) ? either : NULL;
}

/* ---- not ---- */

/* A growing list of alternatives. */
struct collected {
    struct pn_schema *s;
    enum pn_json_type type;
    const struct pn_alt **data;
    size_t len, cap;
};

static struct pn_alt *collect(struct collected *c)
{
    struct pn_alt *alt = pn_alt_new(c->s, c->type);
    if (alt && !pn_vec_push(c, (const struct pn_alt *)alt))
        return pn_schema_no_memory(c->s);
    return alt;
}

static void not_number(struct collected *c, const struct pn_number *x)
{
    struct pn_alt *a;
    if (x->has_low && (a = collect(c))) {
        a->number.has_high = true;
        a->number.high = x->low;
        a->number.high_open = !x->low_open;
    }
    if (x->has_high && (a = collect(c))) {
        a->number.has_low = true;
        a->number.low = x->high;
        a->number.low_open = !x->high_open;
    }
    if (x->integer && (a = collect(c)))
        a->number.integer = (int8_t)-x->integer;
    for (size_t i = 0; i < x->factors.n && (a = collect(c)); i++)
        a->number.non_factors = (struct pn_decimals){&x->factors.items[i], 1};
    for (size_t i = 0; i < x->non_factors.n && (a = collect(c)); i++)
        a->number.factors = (struct pn_decimals){&x->non_factors.items[i], 1};
    if (x->finite && (a = collect(c)))
        a->number.excluded = x->values;
    if (x->excluded.n && (a = collect(c))) {
        a->number.finite = true;
        a->number.values = x->excluded;
    }
}

static void not_text(struct collected *c, const struct pn_text *x)
{
    struct pn_alt *a;
    if (x->min > 0 && (a = collect(c)))
        a->text.max = x->min - 1;
    if (x->max != PN_NO_LIMIT && (a = collect(c)))
        a->text.min = x->max + 1;
    for (size_t i = 0; i < x->languages.n && (a = collect(c)); i++) {
        struct pn_language *language = pn_schema_alloc(c->s, 1, sizeof *language);
        if (!language)
            return;
        *language = x->languages.items[i];
        language->negated = !language->negated;
        a->text.languages = (struct pn_languages){language, 1};
    }
    if (x->finite && (a = collect(c)))
        a->text.excluded = x->values;
    if (x->excluded.n && (a = collect(c))) {
        a->text.finite = true;
        a->text.values = x->excluded;
    }
}

static void not_item_rule(struct collected *c, const struct pn_item_rule *rule)
{
    int literal = pn_schema_not_literal(c->s, rule->literal);
    if (literal == PN_LITERAL_FALSE)
        return;
    if (rule->to == PN_NO_LIMIT) {
        struct pn_item_count *count = pn_schema_alloc(c->s, 1, sizeof *count);
        struct pn_alt *a = collect(c);
        if (!a || !count)
            return;
        *count = (struct pn_item_count){rule->from, 1, PN_NO_LIMIT, literal};
        a->array.counts = count;
        a->array.n_counts = 1;
        a->array.min = rule->from + 1;
        return;
    }
    for (int64_t i = rule->from; i < rule->to; i++) {
        struct pn_item_rule *item = pn_schema_alloc(c->s, 1, sizeof *item);
        struct pn_alt *a = collect(c);
        if (!a || !item)
            return;
        *item = (struct pn_item_rule){i, i + 1, literal};
        a->array.rules = item;
        a->array.n_rules = 1;
        a->array.min = i + 1;
    }
}

static void not_array(struct collected *c, const struct pn_array *x)
{
    struct pn_alt *a;
    if (x->min > 0 && (a = collect(c)))
        a->array.max = x->min - 1;
    if (x->max != PN_NO_LIMIT && (a = collect(c)))
        a->array.min = x->max + 1;
    if (x->unique && (a = collect(c)))
        a->array.unique = (int8_t)-x->unique;
    for (size_t i = 0; i < x->n_rules; i++)
        not_item_rule(c, &x->rules[i]);
    for (size_t i = 0; i < x->n_counts; i++) {
        struct pn_item_count *count = pn_schema_alloc(c->s, 2, sizeof *count);
        if (!count)
            return;
        count[0] = count[1] = x->counts[i];
        count[0].min = 0;
        count[0].max = x->counts[i].min - 1;
        count[1].min = x->counts[i].max + 1;
        count[1].max = PN_NO_LIMIT;
        for (int k = 0; k < 2; k++)
            if ((k == 0 ? x->counts[i].min > 0 : x->counts[i].max != PN_NO_LIMIT) && (a = collect(c))) {
                a->array.counts = &count[k];
                a->array.n_counts = 1;
            }
    }
}

static void not_key_rule(struct collected *c, const struct pn_object *x, const struct pn_key_rule *rule, bool some)
{
    int literal = pn_schema_not_literal(c->s, rule->literal);
    const struct pn_keys *keys = rule->keys;
    bool single = !keys->negated && keys->names.n == 1 && keys->languages.n == 0 && keys->n_sets == 0;
    struct pn_key_rule *opposite = pn_schema_alloc(c->s, 1, sizeof *opposite);
    if (literal == PN_LITERAL_FALSE && !some)
        return;
    struct pn_alt *a = collect(c);
    if (!a || !opposite)
        return;
    *opposite = (struct pn_key_rule){keys, literal};
    a->object.order = x->order;
    if (some || single) {
        a->object.rules = opposite;
        a->object.n_rules = 1;
    } else {
        a->object.some = opposite;
        a->object.n_some = 1;
        a->object.min = 1;
    }
    if (single && !some)
        a->object.required = keys->names;
}

static void not_object(struct collected *c, const struct pn_object *x)
{
    struct pn_alt *a;
    if (x->min > 0 && (a = collect(c)))
        a->object.max = x->min - 1;
    if (x->max != PN_NO_LIMIT && (a = collect(c)))
        a->object.min = x->max + 1;
    for (size_t i = 0; i < x->n_rules; i++)
        not_key_rule(c, x, &x->rules[i], false);
    for (size_t i = 0; i < x->n_some; i++)
        not_key_rule(c, x, &x->some[i], true);
    for (size_t i = 0; i < x->required.n; i++) {
        struct pn_key_rule *rule = pn_schema_alloc(c->s, 1, sizeof *rule);
        struct pn_keys *keys = pn_schema_alloc(c->s, 1, sizeof *keys);
        if (!rule || !keys || !(a = collect(c)))
            return;
        keys->names = (struct pn_strings){&x->required.items[i], 1};
        *rule = (struct pn_key_rule){keys, PN_LITERAL_FALSE};
        a->object.rules = rule;
        a->object.n_rules = 1;
        a->object.order = x->order;
    }
}

static struct pn_alt_list not_one(struct pn_schema *s, enum pn_json_type type, const struct pn_alt *alt)
{
    struct collected c = {.s = s, .type = type};
    struct pn_alt *a;
    if (type == PN_BOOL && alt->bools != 3 && (a = collect(&c)))
        a->bools = 3 & ~alt->bools;
    else if (type == PN_NUMBER)
        not_number(&c, &alt->number);
    else if (type == PN_STRING)
        not_text(&c, &alt->text);
    else if (type == PN_ARRAY)
        not_array(&c, &alt->array);
    else if (type == PN_OBJECT)
        not_object(&c, &alt->object);
    const struct pn_alt **items = pn_schema_alloc(s, c.len, sizeof *items);
    if (items && c.len)
        memcpy(items, c.data, c.len * sizeof *items);
    free(c.data);
    return (struct pn_alt_list){items, items ? c.len : 0};
}

const struct pn_alts *pn_alts_not(struct pn_schema *s, const struct pn_place *place, const struct pn_alts *a)
{
    struct pn_alts *out = pn_schema_alloc(s, 1, sizeof *out);
    if (!a || !out)
        return NULL;
    for (int t = 0; t < PN_N_TYPES; t++) {
        put(s, out, t, pn_alt_full(s, t));
        for (size_t i = 0; i < a->of[t].n && !s->status; i++) {
            if (!pn_schema_step(s, place, 1 + size_of(t, a->of[t].items[i])))
                return NULL;
            out->of[t] = and_lists(s, place, t, out->of[t], not_one(s, t, a->of[t].items[i]));
        }
    }
    return s->status ? NULL : out;
}
