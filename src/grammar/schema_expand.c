/* From literals to alternatives: what each keyword demands. */
#include "grammar/schema_impl.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

/* What a schema is expanded for. */
struct frame {
    struct pn_schema *s;
    struct pn_place *place;
    int scope;
    bool strict; /* below an odd number of complements */
};

static const json_t *get(const struct frame *f, const char *keyword)
{
    return json_object_get(f->place->json, keyword);
}

/* The literal of a schema in a keyword's value. */
static int sub(const struct frame *f, const char *keyword, const char *name, const json_t *json)
{
    struct pn_place *place = pn_schema_sub(f->s, f->place, keyword, name, json);
    return pn_schema_literal(f->s, place, f->scope, false);
}

static struct pn_str text_of(const char *name)
{
    return (struct pn_str){name, strlen(name)};
}

static int64_t count_of(const json_t *v)
{
    const int64_t most = (int64_t)1 << 40;
    int64_t n = json_is_integer(v) ? json_integer_value(v) : (int64_t)json_real_value(v);
    return n > most ? most : n;
}

/* ---- type, enum, const ---- */

static unsigned type_bit(const json_t *name, bool *integer)
{
    static const char *const names[] = {"null", "boolean", "number", "string", "array", "object"};
    const char *text = json_string_value(name);
    if (strcmp(text, "integer") == 0) {
        *integer = true;
        return 0;
    }
    for (unsigned i = 0; i < PN_N_TYPES; i++)
        if (strcmp(text, names[i]) == 0)
            return 1u << i;
    return 0;
}

static const struct pn_alts *type_alts(const struct frame *f, const json_t *type)
{
    bool integer = false;
    unsigned types = 0;
    size_t i;
    json_t *item;
    if (json_is_string(type))
        types = type_bit(type, &integer);
    json_array_foreach((json_t *)type, i, item)
    {
        types |= type_bit(item, &integer);
    }
    const struct pn_alts *alts = pn_alts_of(f->s, pn_alts_all(f->s), types);
    if (!integer || types >> PN_NUMBER & 1)
        return alts;
    struct pn_alt *alt = pn_alt_new(f->s, PN_NUMBER);
    if (!alt)
        return NULL;
    alt->number.integer = 1;
    return pn_alts_or(f->s, f->place, alts, pn_alts_one(f->s, PN_NUMBER, alt, false));
}

/* The literal for exactly this value. */
static int value_literal(const struct frame *f, const json_t *value)
{
    struct pn_place *place = pn_schema_made(f->s, f->place, json_pack("{s:O}", "const", value));
    return pn_schema_literal(f->s, place, f->scope, false);
}

static bool object_value(const struct frame *f, struct pn_object *o, const json_t *value)
{
    struct pn_schema *s = f->s;
    size_t n = json_object_size(value), i = 0;
    struct pn_str *names = pn_schema_alloc(s, n, sizeof *names);
    struct pn_key_rule *rules = pn_schema_alloc(s, n + 1, sizeof *rules);
    struct pn_keys *keys = pn_schema_alloc(s, n + 1, sizeof *keys);
    const char *key;
    json_t *item;
    if (!names || !rules || !keys)
        return false;
    json_object_foreach((json_t *)value, key, item)
    {
        names[i] = text_of(key);
        keys[i].names = (struct pn_strings){&names[i], 1};
        rules[i] = (struct pn_key_rule){&keys[i], value_literal(f, item)};
        i++;
    }
    keys[n] = (struct pn_keys){.negated = true, .names = {names, n}};
    rules[n] = (struct pn_key_rule){&keys[n], PN_LITERAL_FALSE};
    o->rules = rules;
    o->n_rules = n + 1;
    o->required = o->order = (struct pn_strings){names, n};
    o->closed = true;
    return true;
}

static bool array_value(const struct frame *f, struct pn_array *a, const json_t *value)
{
    size_t n = json_array_size(value), i;
    struct pn_item_rule *rules = pn_schema_alloc(f->s, n, sizeof *rules);
    json_t *item;
    if (!rules)
        return false;
    json_array_foreach((json_t *)value, i, item)
    {
        rules[i] = (struct pn_item_rule){(int64_t)i, (int64_t)i + 1, value_literal(f, item)};
    }
    a->min = a->max = (int64_t)n;
    a->rules = rules;
    a->n_rules = n;
    return true;
}

/* Exactly these values. Scalars of one type are one alternative. */
static const struct pn_alts *values_alts(const struct frame *f, const json_t *const *values, size_t n)
{
    struct pn_schema *s = f->s;
    struct pn_decimal *numbers = pn_schema_alloc(s, n, sizeof *numbers);
    struct pn_str *strings = pn_schema_alloc(s, n, sizeof *strings);
    const struct pn_alts *out = pn_alts_none(s);
    size_t n_numbers = 0, n_strings = 0;
    unsigned bools = 0;
    if (!numbers || !strings || !pn_schema_step(s, f->place, n))
        return NULL;
    for (size_t i = 0; i < n && out; i++) {
        const json_t *v = values[i];
        struct pn_alt *alt = NULL;
        if (json_is_null(v))
            out = pn_alts_or(s, f->place, out, pn_alts_of(s, pn_alts_all(s), 1u << PN_NULL));
        else if (json_is_boolean(v))
            bools |= json_is_true(v) ? 2 : 1;
        else if (json_is_number(v))
            numbers[n_numbers++] = pn_decimal_of(v);
        else if (json_is_string(v))
            strings[n_strings++] = (struct pn_str){json_string_value(v), json_string_length(v)};
        else if (json_is_object(v) && (alt = pn_alt_new(s, PN_OBJECT)) && object_value(f, &alt->object, v))
            out = pn_alts_or(s, f->place, out, pn_alts_one(s, PN_OBJECT, alt, false));
        else if (json_is_array(v) && (alt = pn_alt_new(s, PN_ARRAY)) && array_value(f, &alt->array, v))
            out = pn_alts_or(s, f->place, out, pn_alts_one(s, PN_ARRAY, alt, false));
    }
    struct pn_alt *alt;
    if (bools && (alt = pn_alt_new(s, PN_BOOL))) {
        alt->bools = bools;
        out = pn_alts_or(s, f->place, out, pn_alts_one(s, PN_BOOL, alt, false));
    }
    if (n_numbers && (alt = pn_alt_new(s, PN_NUMBER))) {
        alt->number.finite = true;
        alt->number.values = (struct pn_decimals){numbers, n_numbers};
        out = pn_alts_or(s, f->place, out, pn_alts_one(s, PN_NUMBER, alt, false));
    }
    if (n_strings && (alt = pn_alt_new(s, PN_STRING))) {
        alt->text.finite = true;
        alt->text.values = (struct pn_strings){strings, n_strings};
        out = pn_alts_or(s, f->place, out, pn_alts_one(s, PN_STRING, alt, false));
    }
    return out;
}

static const struct pn_alts *enum_alts(const struct frame *f, const json_t *list)
{
    size_t n = json_array_size(list);
    const json_t **values = pn_schema_alloc(f->s, n, sizeof *values);
    for (size_t i = 0; values && i < n; i++)
        values[i] = json_array_get(list, i);
    return values ? values_alts(f, values, n) : NULL;
}

/* ---- numbers and strings ---- */

static void limit(const struct frame *f, bool low, struct pn_number *x)
{
    const json_t *closed = get(f, low ? "minimum" : "maximum");
    const json_t *open = get(f, low ? "exclusiveMinimum" : "exclusiveMaximum");
    struct pn_decimal value = {0};
    bool is_open = false, found = false;
    if (json_is_number(closed)) {
        value = pn_decimal_of(closed);
        is_open = json_is_true(open); /* draft 4 */
        found = true;
    }
    if (json_is_number(open)) {
        struct pn_decimal other = pn_decimal_of(open);
        int order = found ? pn_decimal_compare(&other, &value) : 0;
        if (!found || (low ? order >= 0 : order <= 0)) {
            value = other;
            is_open = true;
        }
        found = true;
    }
    *(low ? &x->has_low : &x->has_high) = found;
    *(low ? &x->low : &x->high) = value;
    *(low ? &x->low_open : &x->high_open) = is_open;
}

static const struct pn_alts *number_alts(const struct frame *f)
{
    struct pn_alt *alt = pn_alt_new(f->s, PN_NUMBER);
    const json_t *factor = get(f, "multipleOf");
    if (!alt)
        return NULL;
    limit(f, true, &alt->number);
    limit(f, false, &alt->number);
    if (factor) {
        struct pn_decimal *m = pn_schema_alloc(f->s, 1, sizeof *m);
        if (!m)
            return NULL;
        *m = pn_decimal_of(factor);
        alt->number.factors = (struct pn_decimals){m, 1};
    }
    return pn_alts_one(f->s, PN_NUMBER, alt, true);
}

static const struct pn_alts *text_alts(const struct frame *f)
{
    struct pn_alt *alt = pn_alt_new(f->s, PN_STRING);
    struct pn_language *languages = pn_schema_alloc(f->s, 2, sizeof *languages);
    const json_t *min = get(f, "minLength"), *max = get(f, "maxLength");
    const json_t *pattern = get(f, "pattern"), *format = get(f, "format");
    size_t n = 0;
    bool known = false;
    if (!alt || !languages)
        return NULL;
    alt->text.min = min ? count_of(min) : 0;
    alt->text.max = max ? count_of(max) : PN_NO_LIMIT;
    if (pattern && !pn_text_pattern(f->s, f->place, pattern, &languages[n++]))
        return NULL;
    if (format && !f->strict && !pn_text_format(f->s, format, &languages[n], &known))
        return NULL;
    alt->text.languages = (struct pn_languages){languages, n + known};
    if (!pattern && !known && !alt->text.min && !max)
        return pn_alts_all(f->s);
    return pn_alts_one(f->s, PN_STRING, alt, true);
}

/* ---- arrays ---- */

static bool contains(const struct frame *f, struct pn_array *a)
{
    const json_t *json = get(f, "contains"), *min = get(f, "minContains"), *max = get(f, "maxContains");
    if (!json)
        return true;
    struct pn_item_count *count = pn_schema_alloc(f->s, 1, sizeof *count);
    int *by = pn_schema_alloc(f->s, 1, sizeof *by);
    if (!count || !by)
        return false;
    *count = (struct pn_item_count){0, min ? count_of(min) : 1, max ? count_of(max) : PN_NO_LIMIT,
                                    sub(f, "contains", NULL, json)};
    *by = count->literal;
    a->evaluated_by = (struct pn_ints){by, 1};
    if (count->min == 0 && count->max == PN_NO_LIMIT)
        return true;
    a->counts = count;
    a->n_counts = 1;
    return true;
}

static const struct pn_alts *array_alts(const struct frame *f)
{
    struct pn_schema *s = f->s;
    struct pn_alt *alt = pn_alt_new(s, PN_ARRAY);
    const json_t *prefix = get(f, "prefixItems"), *items = get(f, "items");
    const json_t *min = get(f, "minItems"), *max = get(f, "maxItems");
    const char *prefix_name = "prefixItems", *items_name = "items";
    size_t i, n = 0;
    json_t *item;
    char index[24];
    if (json_is_array(items)) { /* before draft 2020-12 */
        prefix = items;
        prefix_name = "items";
        items = get(f, "additionalItems");
        items_name = "additionalItems";
    }
    struct pn_item_rule *rules = pn_schema_alloc(s, json_array_size(prefix) + 1, sizeof *rules);
    if (!alt || !rules)
        return NULL;
    json_array_foreach((json_t *)prefix, i, item)
    {
        snprintf(index, sizeof index, "%zu", i);
        rules[n++] = (struct pn_item_rule){(int64_t)i, (int64_t)i + 1, sub(f, prefix_name, index, item)};
    }
    alt->array.evaluated = (int64_t)n;
    if (items) {
        rules[n] = (struct pn_item_rule){(int64_t)n, PN_NO_LIMIT, sub(f, items_name, NULL, items)};
        if (rules[n].literal == PN_LITERAL_FALSE)
            alt->array.max = (int64_t)n;
        n++;
        alt->array.evaluated = INT64_MAX;
        alt->array.closed = true;
    }
    alt->array.rules = rules;
    alt->array.n_rules = n;
    if (!contains(f, &alt->array))
        return NULL;
    alt->array.min = min ? count_of(min) : 0;
    if (max && (alt->array.max == PN_NO_LIMIT || count_of(max) < alt->array.max))
        alt->array.max = count_of(max);
    alt->array.unique = json_is_true(get(f, "uniqueItems"));
    if (alt->array.max != PN_NO_LIMIT && alt->array.min > alt->array.max)
        return pn_alts_of(s, pn_alts_all(s), ~(1u << PN_ARRAY));
    return pn_alts_one(s, PN_ARRAY, alt, true);
}

/* ---- objects ---- */

static bool properties(const struct frame *f, struct pn_object *o)
{
    struct pn_schema *s = f->s;
    const json_t *declared = get(f, "properties"), *patterns = get(f, "patternProperties");
    const json_t *additional = get(f, "additionalProperties");
    size_t n = json_object_size(declared), n_patterns = json_object_size(patterns), i = 0;
    struct pn_str *names = pn_schema_alloc(s, n, sizeof *names);
    struct pn_keys *keys = pn_schema_alloc(s, n + n_patterns + 2, sizeof *keys);
    struct pn_key_rule *rules = pn_schema_alloc(s, n + n_patterns + 1, sizeof *rules);
    struct pn_language *languages = pn_schema_alloc(s, n_patterns, sizeof *languages);
    const struct pn_keys **evaluated = pn_schema_alloc(s, 1, sizeof *evaluated);
    const char *key;
    json_t *item;
    if (!names || !keys || !rules || !languages || !evaluated)
        return false;
    json_object_foreach((json_t *)declared, key, item)
    {
        names[i] = text_of(key);
        keys[i].names = (struct pn_strings){&names[i], 1};
        rules[i] = (struct pn_key_rule){&keys[i], sub(f, "properties", key, item)};
        i++;
    }
    json_object_foreach((json_t *)patterns, key, item)
    {
        json_t *pattern = json_string(key);
        bool fine = pn_text_pattern(s, f->place, pattern, &languages[i - n]);
        json_decref(pattern);
        if (!fine)
            return false;
        keys[i].languages = (struct pn_languages){&languages[i - n], 1};
        rules[i] = (struct pn_key_rule){&keys[i], sub(f, "patternProperties", key, item)};
        i++;
    }
    keys[i] = (struct pn_keys){.names = {names, n}, .languages = {languages, n_patterns}};
    evaluated[0] = &keys[i];
    o->evaluated = evaluated;
    o->n_evaluated = 1;
    o->n_rules = i;
    if (additional) {
        keys[i + 1] = keys[i];
        keys[i + 1].negated = true;
        rules[i] = (struct pn_key_rule){&keys[i + 1], sub(f, "additionalProperties", NULL, additional)};
        o->n_rules++;
        o->all_evaluated = true;
    }
    o->rules = rules;
    o->order = (struct pn_strings){names, n};
    o->declared = declared != NULL;
    o->closed = additional || patterns;
    return true;
}

static bool add_keys_rule(struct pn_schema *s, struct pn_object *o, const struct pn_keys *keys, int literal)
{
    struct pn_key_rule *rule = pn_schema_alloc(s, 1, sizeof *rule);
    if (!rule)
        return false;
    *rule = (struct pn_key_rule){keys, literal};
    o->rules = pn_schema_join(s, o->rules, o->n_rules, rule, 1, sizeof *rule);
    o->n_rules++;
    return !s->status;
}

/* No key outside the strings of `propertyNames`. */
static bool property_names(const struct frame *f, struct pn_object *o, const json_t *json)
{
    struct pn_schema *s = f->s;
    const struct pn_alts *alts = pn_literal_alts(s, sub(f, "propertyNames", NULL, json));
    if (!alts)
        return false;
    const struct pn_alt_list *texts = &alts->of[PN_STRING];
    struct pn_keys *keys = pn_schema_alloc(s, 1, sizeof *keys);
    struct pn_language *languages = pn_schema_alloc(s, texts->n, sizeof *languages);
    size_t n = 0;
    if (!keys || !languages)
        return false;
    keys->negated = true;
    for (size_t i = 0; i < texts->n; i++) {
        const struct pn_text *text = &texts->items[i]->text;
        if (texts->items[i] == pn_alt_full(s, PN_STRING))
            return true;
        if (text->finite) {
            keys->names.items = pn_schema_join(s, keys->names.items, keys->names.n, text->values.items, text->values.n,
                                               sizeof *text->values.items);
            keys->names.n += text->values.n;
        } else if (text->languages.n == 1 && text->min == 0 && text->max == PN_NO_LIMIT && !text->excluded.n) {
            languages[n++] = text->languages.items[0];
        } else {
            languages[n++] = (struct pn_language){pn_text_expr(s, text), false};
        }
    }
    keys->languages = (struct pn_languages){languages, n};
    return add_keys_rule(s, o, keys, PN_LITERAL_FALSE);
}

static struct pn_strings names_of(const struct frame *f, const json_t *list)
{
    struct pn_str *names = pn_schema_alloc(f->s, json_array_size(list), sizeof *names);
    for (size_t i = 0; names && i < json_array_size(list); i++) {
        const json_t *name = json_array_get(list, i);
        names[i] = (struct pn_str){json_string_value(name), json_string_length(name)};
    }
    return (struct pn_strings){names, names ? json_array_size(list) : 0};
}

static const struct pn_alts *object_alts(const struct frame *f)
{
    struct pn_alt *alt = pn_alt_new(f->s, PN_OBJECT);
    const json_t *min = get(f, "minProperties"), *max = get(f, "maxProperties"), *names = get(f, "propertyNames");
    if (!alt || !properties(f, &alt->object) || (names && !property_names(f, &alt->object, names)))
        return NULL;
    alt->object.min = min ? count_of(min) : 0;
    alt->object.max = max ? count_of(max) : PN_NO_LIMIT;
    alt->object.required = names_of(f, get(f, "required"));
    if (alt->object.max != PN_NO_LIMIT && alt->object.min > alt->object.max)
        return pn_alts_of(f->s, pn_alts_all(f->s), ~(1u << PN_OBJECT));
    const struct pn_alts *alts = pn_alts_one(f->s, PN_OBJECT, alt, true);
    /* Once more with itself drops it where a required key is forbidden. */
    struct pn_alt *copy = pn_alt_new(f->s, PN_OBJECT);
    if (!alts || !copy)
        return NULL;
    copy->object.min = alt->object.min;
    return pn_alts_and(f->s, f->place, alts, pn_alts_one(f->s, PN_OBJECT, copy, true));
}

/* Objects without the key, and those with it that satisfy `then` besides. */
static const struct pn_alts *depends(const struct frame *f, const char *key, const struct pn_alts *then)
{
    struct pn_schema *s = f->s;
    struct pn_alt *without = pn_alt_new(s, PN_OBJECT), *with = pn_alt_new(s, PN_OBJECT);
    struct pn_keys *keys = pn_schema_alloc(s, 1, sizeof *keys);
    struct pn_str *name = pn_schema_alloc(s, 1, sizeof *name);
    if (!without || !with || !keys || !name)
        return NULL;
    *name = text_of(key);
    keys->names = with->object.required = (struct pn_strings){name, 1};
    if (!add_keys_rule(s, &without->object, keys, PN_LITERAL_FALSE))
        return NULL;
    then = pn_alts_and(s, f->place, pn_alts_one(s, PN_OBJECT, with, false), then);
    return pn_alts_or(s, f->place, pn_alts_one(s, PN_OBJECT, without, true), then);
}

static const struct pn_alts *raw_alts(struct pn_schema *s, struct pn_place *place, int scope, bool strict);

static const struct pn_alts *inside(const struct frame *f, const char *keyword, const char *name, const json_t *json)
{
    return raw_alts(f->s, pn_schema_sub(f->s, f->place, keyword, name, json), f->scope, f->strict);
}

static const struct pn_alts *dependencies(const struct frame *f, const char *keyword, const struct pn_alts *alts)
{
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)get(f, keyword), key, item)
    {
        const struct pn_alts *then;
        if (json_is_array(item)) {
            struct pn_alt *alt = pn_alt_new(f->s, PN_OBJECT);
            if (!alt)
                return NULL;
            alt->object.required = names_of(f, item);
            then = pn_alts_one(f->s, PN_OBJECT, alt, true);
        } else {
            then = inside(f, keyword, key, item);
        }
        alts = pn_alts_and(f->s, f->place, alts, then ? depends(f, key, then) : NULL);
    }
    return alts;
}

/* ---- keywords that combine schemas ---- */

static const struct pn_alts *complement(const struct frame *f, const char *keyword, const char *name,
                                        const json_t *json)
{
    struct pn_place *place = pn_schema_sub(f->s, f->place, keyword, name, json);
    return pn_alts_not(f->s, f->place, raw_alts(f->s, place, f->scope, !f->strict));
}

static const struct pn_alts *any_of(const struct frame *f, const json_t *list)
{
    struct pn_schema *s = f->s;
    const struct pn_alts *out = pn_alts_none(s);
    size_t n = json_array_size(list);
    char index[24];
    if (!s->has_unevaluated) {
        for (size_t i = 0; i < n && out; i++) {
            snprintf(index, sizeof index, "%zu", i);
            out = pn_alts_or(s, f->place, out, inside(f, "anyOf", index, json_array_get(list, i)));
        }
        return out;
    }
    /* What is evaluated depends on all branches that hold, so each set of branches is an alternative. */
    if (n > 10)
        return pn_schema_fail(s, PANTRY_UNSUPPORTED, f->place, "anyOf",
                              "more than 10 branches together with unevaluatedItems or unevaluatedProperties");
    for (unsigned set = 1; set < 1u << n && out; set++) {
        const struct pn_alts *all = pn_alts_all(s);
        for (size_t i = 0; i < n && all; i++) {
            snprintf(index, sizeof index, "%zu", i);
            if (set >> i & 1)
                all = pn_alts_and(s, f->place, all, inside(f, "anyOf", index, json_array_get(list, i)));
        }
        out = pn_alts_or(s, f->place, out, all);
    }
    return out;
}

static bool surely_empty(struct pn_schema *s, const struct pn_alts *alts, int depth);

/* Whether no value is in both; any failure on the way means that it is not known. */
static bool disjoint(const struct frame *f, const struct pn_alts *a, const struct pn_alts *b)
{
    struct pn_schema *s = f->s;
    bool empty = surely_empty(s, pn_alts_and(s, f->place, a, b), 4);
    if (s->status && s->status != PANTRY_NO_MEMORY && s->steps <= PN_SCHEMA_MAX_STEPS) {
        s->status = PANTRY_OK;
        return false;
    }
    return empty && !s->status;
}

static const struct pn_alts *one_of(const struct frame *f, const json_t *list)
{
    struct pn_schema *s = f->s;
    size_t n = json_array_size(list);
    const struct pn_alts *out = pn_alts_none(s);
    const struct pn_alts **plain = pn_schema_alloc(s, n, sizeof *plain),
                         **strict = pn_schema_alloc(s, n, sizeof *strict);
    char index[24];
    if (!plain || !strict)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        snprintf(index, sizeof index, "%zu", i);
        struct pn_place *place = pn_schema_sub(s, f->place, "oneOf", index, json_array_get(list, i));
        plain[i] = raw_alts(s, place, f->scope, f->strict);
        strict[i] = raw_alts(s, place, f->scope, !f->strict);
        if (!plain[i] || !strict[i])
            return NULL;
    }
    for (size_t i = 0; i < n && out; i++) {
        const struct pn_alts *one = plain[i];
        for (size_t j = 0; j < n && one; j++)
            if (i != j && !disjoint(f, f->strict ? plain[i] : strict[i], f->strict ? plain[j] : strict[j]))
                one = pn_alts_and(s, f->place, one, pn_alts_not(s, f->place, strict[j]));
        out = pn_alts_or(s, f->place, out, one);
    }
    return out;
}

static const struct pn_alts *conditional(const struct frame *f)
{
    struct pn_schema *s = f->s;
    const json_t *condition = get(f, "if"), *then = get(f, "then"), *otherwise = get(f, "else");
    if (!condition || (!then && !otherwise && !s->has_unevaluated))
        return pn_alts_all(s);
    const struct pn_alts *yes = inside(f, "if", NULL, condition), *no = complement(f, "if", NULL, condition);
    if (then)
        yes = pn_alts_and(s, f->place, yes, inside(f, "then", NULL, then));
    if (otherwise)
        no = pn_alts_and(s, f->place, no, inside(f, "else", NULL, otherwise));
    return pn_alts_or(s, f->place, yes, no);
}

static const struct pn_alts *reference(const struct frame *f, const char *keyword)
{
    const json_t *json = get(f, keyword);
    if (!json)
        return pn_alts_all(f->s);
    struct pn_place *place = pn_schema_resolve_ref(f->s, f->place, keyword, json_string_value(json), f->scope);
    return place ? raw_alts(f->s, place, f->scope, f->strict) : NULL;
}

static const struct pn_alts *combined(const struct frame *f, const struct pn_alts *alts)
{
    static const char *const references[] = {"$ref", "$dynamicRef", "$recursiveRef"};
    struct pn_schema *s = f->s;
    const json_t *list;
    char index[24];
    for (size_t i = 0; i < 3 && alts; i++)
        if (get(f, references[i]))
            alts = pn_alts_and(s, f->place, alts, reference(f, references[i]));
    list = get(f, "allOf");
    for (size_t i = 0; i < json_array_size(list) && alts; i++) {
        snprintf(index, sizeof index, "%zu", i);
        alts = pn_alts_and(s, f->place, alts, inside(f, "allOf", index, json_array_get(list, i)));
    }
    if (alts && (list = get(f, "anyOf")))
        alts = pn_alts_and(s, f->place, alts, any_of(f, list));
    if (alts && (list = get(f, "oneOf")))
        alts = pn_alts_and(s, f->place, alts, one_of(f, list));
    if (alts && get(f, "not"))
        alts = pn_alts_and(s, f->place, alts, complement(f, "not", NULL, get(f, "not")));
    if (alts && get(f, "if"))
        alts = pn_alts_and(s, f->place, alts, conditional(f));
    alts = alts ? dependencies(f, "dependentRequired", alts) : NULL;
    alts = alts ? dependencies(f, "dependentSchemas", alts) : NULL;
    return alts ? dependencies(f, "dependencies", alts) : NULL;
}

/* ---- unevaluated ---- */

int pn_schema_any_literal(struct pn_schema *s, const struct pn_place *parent, const int *literals, size_t n)
{
    int *kept = pn_schema_alloc(s, n, sizeof *kept), n_kept = 0;
    struct pn_place *place = pn_schema_alloc(s, 1, sizeof *place);
    if (!kept || !place)
        return PN_LITERAL_FALSE;
    for (size_t i = 0; i < n; i++) {
        if (literals[i] == PN_LITERAL_TRUE)
            return PN_LITERAL_TRUE;
        if (literals[i] != PN_LITERAL_FALSE)
            kept[n_kept++] = literals[i];
    }
    if (n_kept <= 1)
        return n_kept ? kept[0] : PN_LITERAL_FALSE;
    *place = (struct pn_place){.parent = parent, .step = "", .any = kept, .n_any = n_kept, .literals = -1};
    return pn_schema_literal(s, place, 0, false);
}

static const struct pn_alt *evaluate_items(const struct frame *f, const struct pn_alt *old, int literal)
{
    struct pn_schema *s = f->s;
    struct pn_alt *alt = pn_schema_alloc(s, 1, sizeof *alt);
    struct pn_item_rule *rule = pn_schema_alloc(s, 1, sizeof *rule);
    if (!alt || !rule)
        return NULL;
    *alt = *old;
    struct pn_array *a = &alt->array;
    const int *all = pn_schema_join(s, a->evaluated_by.items, a->evaluated_by.n, &literal, 1, sizeof literal);
    literal = pn_schema_any_literal(s, f->place, all, a->evaluated_by.n + 1);
    *rule = (struct pn_item_rule){a->evaluated, PN_NO_LIMIT, literal};
    if (literal == PN_LITERAL_FALSE && (a->max == PN_NO_LIMIT || a->max > rule->from))
        a->max = rule->from;
    a->rules = pn_schema_join(s, a->rules, a->n_rules, rule, 1, sizeof *rule);
    a->n_rules++;
    a->evaluated = INT64_MAX;
    a->closed = true;
    return a->max != PN_NO_LIMIT && a->min > a->max ? NULL : alt;
}

static const struct pn_alt *evaluate_properties(const struct frame *f, const struct pn_alt *old, int literal)
{
    struct pn_alt *alt = pn_schema_alloc(f->s, 1, sizeof *alt);
    struct pn_keys *keys = pn_schema_alloc(f->s, 1, sizeof *keys);
    if (!alt || !keys)
        return NULL;
    *alt = *old;
    *keys = (struct pn_keys){.negated = true, .sets = old->object.evaluated, .n_sets = old->object.n_evaluated};
    alt->object.all_evaluated = true;
    alt->object.closed = true;
    if (!add_keys_rule(f->s, &alt->object, keys, literal))
        return NULL;
    for (size_t j = 0; literal == PN_LITERAL_FALSE && j < alt->object.required.n; j++)
        if (pn_keys_have(f->s, keys, alt->object.required.items[j]))
            return NULL;
    return alt;
}

static const struct pn_alts *unevaluated(const struct frame *f, const struct pn_alts *alts, bool items)
{
    const char *keyword = items ? "unevaluatedItems" : "unevaluatedProperties";
    const json_t *json = get(f, keyword);
    enum pn_json_type type = items ? PN_ARRAY : PN_OBJECT;
    if (!json || !alts)
        return alts;
    int literal = sub(f, keyword, NULL, json);
    struct pn_alts *out = pn_schema_alloc(f->s, 1, sizeof *out);
    const struct pn_alt **list = pn_schema_alloc(f->s, alts->of[type].n, sizeof *list);
    size_t n = 0;
    if (!out || !list)
        return NULL;
    *out = *alts;
    for (size_t i = 0; i < alts->of[type].n; i++) {
        const struct pn_alt *alt = alts->of[type].items[i];
        if (items ? alt->array.evaluated < INT64_MAX : !alt->object.all_evaluated)
            alt = items ? evaluate_items(f, alt, literal) : evaluate_properties(f, alt, literal);
        if (alt)
            list[n++] = alt;
    }
    out->of[type] = (struct pn_alt_list){list, n};
    return f->s->status ? NULL : out;
}

/* ---- one schema ---- */

static bool uses(const struct frame *f, const char *const *names)
{
    for (; *names; names++)
        if (get(f, *names))
            return true;
    return false;
}

static const struct pn_alts *expand(const struct frame *f)
{
    static const struct group {
        const struct pn_alts *(*alts)(const struct frame *f);
        const char *const names[12];
    } groups[] = {
        {number_alts, {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}},
        {text_alts, {"minLength", "maxLength", "pattern", "format"}},
        {array_alts, {"items", "prefixItems", "minItems", "maxItems", "contains", "uniqueItems"}},
        {object_alts,
         {"properties", "patternProperties", "additionalProperties", "propertyNames", "required", "minProperties",
          "maxProperties"}},
    };
    struct pn_schema *s = f->s;
    const struct pn_alts *alts = pn_alts_all(s);
    const json_t *value;
    if (!pn_schema_admits(s, f->place))
        return NULL;
    if ((value = get(f, "type")))
        alts = type_alts(f, value);
    if (alts && (value = get(f, "const")))
        alts = pn_alts_and(s, f->place, alts, values_alts(f, &value, 1));
    if (alts && (value = get(f, "enum")))
        alts = pn_alts_and(s, f->place, alts, enum_alts(f, value));
    for (size_t i = 0; i < sizeof groups / sizeof *groups && alts; i++)
        if (uses(f, groups[i].names))
            alts = pn_alts_and(s, f->place, alts, groups[i].alts(f));
    alts = alts ? combined(f, alts) : NULL;
    alts = unevaluated(f, alts, true);
    return unevaluated(f, alts, false);
}

static const struct pn_alts *expand_any(struct pn_schema *s, const struct pn_place *place)
{
    const struct pn_alts *out = pn_alts_none(s);
    for (int i = 0; i < place->n_any && out; i++)
        out = pn_alts_or(s, place, out, pn_literal_alts(s, place->any[i]));
    return out;
}

/* The alternatives of a schema; `strict`: without formats. Kept in its literal. */
static const struct pn_alts *raw_alts(struct pn_schema *s, struct pn_place *place, int scope, bool strict)
{
    if (s->status || !place)
        return NULL;
    if (place->truth != PN_UNDECIDED)
        return place->truth == PN_ALWAYS ? pn_alts_all(s) : pn_alts_none(s);
    int literal = pn_schema_literal(s, place, scope, strict);
    struct pn_literal *l = &s->literals.data[literal];
    if (s->status || l->raw)
        return s->status ? NULL : l->raw;
    if (l->expanding)
        return pn_schema_fail(s, PANTRY_FORMAT, place, NULL, "the schema refers to itself without end");
    if (s->depth >= PN_SCHEMA_MAX_DEPTH)
        return pn_schema_fail(s, PANTRY_LIMIT, place, NULL,
                              "references and combinations are nested deeper than %d levels", PN_SCHEMA_MAX_DEPTH);
    l->expanding = true;
    s->depth++;
    struct frame f = {s, place, l->scope, strict};
    const struct pn_alts *alts = place->any ? expand_any(s, place) : expand(&f);
    s->depth--;
    s->literals.data[literal].expanding = false;
    s->literals.data[literal].raw = alts;
    return alts;
}

const struct pn_alts *pn_literal_alts(struct pn_schema *s, int literal)
{
    if (s->status || literal == PN_LITERAL_TRUE || literal == PN_LITERAL_FALSE)
        return s->status ? NULL : literal == PN_LITERAL_TRUE ? pn_alts_all(s) : pn_alts_none(s);
    struct pn_literal l = s->literals.data[literal];
    if (l.alts)
        return l.alts;
    const struct pn_alts *alts = raw_alts(s, l.place, l.scope, l.negated);
    if (alts && l.negated)
        alts = pn_alts_not(s, l.place, alts);
    s->literals.data[literal].alts = alts;
    return alts;
}

const struct pn_alts *pn_goal_alts(struct pn_schema *s, int goal)
{
    struct pn_goal g = s->goals.data[goal];
    if (g.alts)
        return g.alts;
    const struct pn_alts *alts = pn_alts_all(s);
    for (int i = 0; i < g.n && alts; i++)
        alts = pn_alts_and(s, s->literals.data[g.literals[i]].place, alts, pn_literal_alts(s, g.literals[i]));
    s->goals.data[goal].alts = alts;
    return alts;
}

/* ---- what is required of parts; emptiness ---- */

int pn_object_goal(struct pn_schema *s, const struct pn_object *o, struct pn_str name)
{
    int *literals = pn_schema_alloc(s, o->n_rules, sizeof *literals);
    size_t n = 0;
    for (size_t i = 0; literals && i < o->n_rules; i++)
        if (pn_keys_have(s, o->rules[i].keys, name))
            literals[n++] = o->rules[i].literal;
    return literals ? pn_schema_goal(s, literals, n) : PN_GOAL_FALSE;
}

int pn_array_goal(struct pn_schema *s, const struct pn_array *a, int64_t at)
{
    int *literals = pn_schema_alloc(s, a->n_rules, sizeof *literals);
    size_t n = 0;
    for (size_t i = 0; literals && i < a->n_rules; i++)
        if (at >= a->rules[i].from && (a->rules[i].to == PN_NO_LIMIT || at < a->rules[i].to))
            literals[n++] = a->rules[i].literal;
    return literals ? pn_schema_goal(s, literals, n) : PN_GOAL_FALSE;
}

static bool goal_surely_empty(struct pn_schema *s, int goal, int depth)
{
    if (goal == PN_GOAL_TRUE || goal == PN_GOAL_FALSE || depth == 0)
        return goal == PN_GOAL_FALSE;
    return surely_empty(s, pn_goal_alts(s, goal), depth);
}

static bool alt_surely_empty(struct pn_schema *s, enum pn_json_type type, const struct pn_alt *alt, int depth)
{
    if (alt == pn_alt_full(s, type) || s->status)
        return false;
    if (type == PN_STRING && !alt->text.finite && alt->text.languages.n)
        return pn_regular_is_empty(s, pn_text_expr(s, &alt->text));
    if (type == PN_OBJECT)
        for (size_t i = 0; i < alt->object.required.n && !s->status; i++)
            if (goal_surely_empty(s, pn_object_goal(s, &alt->object, alt->object.required.items[i]), depth - 1))
                return true;
    if (type == PN_ARRAY)
        for (int64_t i = 0; i < alt->array.min && i < 8 && !s->status; i++)
            if (goal_surely_empty(s, pn_array_goal(s, &alt->array, i), depth - 1))
                return true;
    return false;
}

static bool surely_empty(struct pn_schema *s, const struct pn_alts *alts, int depth)
{
    for (int t = 0; alts && t < PN_N_TYPES; t++)
        for (size_t i = 0; i < alts->of[t].n; i++)
            if (!alt_surely_empty(s, t, alts->of[t].items[i], depth))
                return false;
    return alts && !s->status;
}
