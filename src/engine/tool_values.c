/* Arguments of calls in the syntax of a dialect: see tool_text.h.
 *
 * Where arguments are JSON, the schema compiler does all. Where strings are written without quotes, elements and
 * Gemma's values, only those constraints on a string can be kept that list its values; others are refused by name. */
#include "engine/tool_text.h"

#include "grammar/schema.h"

#include <stdio.h>
#include <string.h>

enum { MAX_DEPTH = 16 };

/* Where a value is, and what its references lead to. */
struct place {
    const struct pn_tool_writer *w;
    const json_t *root;
    const char *where;
    int depth;
    struct pantry_error *err;
    pantry_status status;
};

static pn_expr refuse(struct place *p, const char *keyword)
{
    if (!p->status)
        p->status = pn_fail(p->err, PANTRY_UNSUPPORTED, "%s.%s: not supported in this model's format of calls",
                            p->where, keyword);
    return PN_EXPR_NONE;
}

static pn_expr literal(const struct place *p, const char *text)
{
    return pn_expr_literal(p->w->b, text, strlen(text));
}

/* ---- schemas ---- */

/* What a local reference leads to; NULL: it does not lead to a definition of the root. */
static const json_t *follow(const struct place *p, const json_t *schema)
{
    static const struct {
        const char *prefix, *key;
    } places[] = {{"#/$defs/", "$defs"}, {"#/definitions/", "definitions"}};
    for (int hops = 0; json_is_object(schema) && json_object_get(schema, "$ref"); hops++) {
        const char *ref = json_string_value(json_object_get(schema, "$ref"));
        const json_t *found = NULL;
        for (size_t i = 0; ref && i < 2; i++)
            if (strncmp(ref, places[i].prefix, strlen(places[i].prefix)) == 0)
                found = json_object_get(json_object_get(p->root, places[i].key), ref + strlen(places[i].prefix));
        if (!found || hops == MAX_DEPTH)
            return NULL;
        schema = found;
    }
    return schema;
}

static bool type_is(const json_t *schema, const char *name)
{
    const char *type = json_string_value(json_object_get(schema, "type"));
    return type && strcmp(type, name) == 0;
}

/* The values that a schema lists: `enum`, or `const`. The caller decrefs; NULL: it lists none. */
static json_t *listed(const json_t *schema)
{
    json_t *one = json_object_get(schema, "const"), *values = json_object_get(schema, "enum");
    return json_is_array(values) ? json_incref(values) : one ? json_pack("[O]", one) : NULL;
}

static const json_t *alternatives(const json_t *schema)
{
    const json_t *any = json_object_get(schema, "anyOf"), *one = json_object_get(schema, "oneOf");
    return json_is_array(any) ? any : json_is_array(one) ? one : NULL;
}

/* Whether a value of this schema may be a string. */
static bool may_be_string(const struct place *p, const json_t *schema, int depth)
{
    const json_t *type, *list;
    json_t *v;
    size_t i;
    schema = follow(p, schema);
    if (!json_is_object(schema) || depth > MAX_DEPTH)
        return true;
    if ((list = alternatives(schema))) {
        json_array_foreach((json_t *)(uintptr_t)list, i, v) if (may_be_string(p, v, depth + 1)) return true;
        return false;
    }
    json_t *values = listed(schema);
    bool found = false;
    if (values) {
        json_array_foreach(values, i, v) found |= json_is_string(v);
        json_decref(values);
        return found;
    }
    type = json_object_get(schema, "type");
    json_array_foreach((json_t *)(uintptr_t)type, i, v) found |=
        json_is_string(v) && strcmp(json_string_value(v), "string") == 0;
    return found || !type || type_is(schema, "string");
}

/* As JSON; references lead to the definitions of the root. */
static pn_expr json_value(struct place *p, const json_t *schema)
{
    static const char *const places[] = {"$defs", "definitions"};
    static const struct pn_schema_options options = {.closed = true};
    pn_expr out = PN_EXPR_NONE;
    json_t *whole = json_copy((json_t *)(uintptr_t)schema);
    for (int i = 0; i < 2; i++) {
        json_t *defs = json_object_get(p->root, places[i]);
        if (defs && json_is_object(whole) && !json_object_get(whole, places[i]))
            json_object_set(whole, places[i], defs);
    }
    p->status = pn_schema_expr(p->w->b, whole, &options, &out, p->err);
    if (p->status)
        pn_fail_prefix(p->err, "%s", p->where);
    json_decref(whole);
    return out;
}

/* ---- strings without quotes ---- */

static pn_expr string_value(struct place *p, const json_t *schema, const json_t *values)
{
    static const char *const constraints[] = {"pattern", "format", "minLength", "maxLength"};
    pn_expr items[PN_MAX_TOOL_ITEMS];
    size_t i, n = 0;
    json_t *v;
    for (i = 0; !values && i < sizeof constraints / sizeof *constraints; i++)
        if (json_object_get(schema, constraints[i]))
            return refuse(p, constraints[i]);
    if (!values && p->w->shape.quote)
        return pn_tool_plain_text(p->w, p->w->shape.quote, NULL);
    if (!values)
        return pn_tool_plain_text(p->w, p->w->shape.ends, p->w->shape.avoid);
    json_array_foreach((json_t *)(uintptr_t)values, i, v)
    {
        if (json_is_string(v) && n == PN_MAX_TOOL_ITEMS)
            return refuse(p, "enum");
        if (json_is_string(v))
            items[n++] = literal(p, json_string_value(v));
    }
    return pn_expr_choice(p->w->b, items, n);
}

typedef pn_expr value_fn(struct place *p, const json_t *schema);

/* The choice of what `each` makes of a schema's alternatives, listed types and values; PN_EXPR_NONE without a status:
 * it has none. */
static pn_expr choice_of(struct place *p, const json_t *schema, value_fn *each)
{
    const json_t *list = alternatives(schema), *types = json_object_get(schema, "type");
    pn_expr items[32], out = PN_EXPR_NONE;
    size_t i, n = 0;
    json_t *v;
    if (!list && !json_is_array(types))
        return out;
    if (json_array_size(list ? list : types) > sizeof items / sizeof *items || p->depth == MAX_DEPTH)
        return refuse(p, list ? "anyOf" : "type");
    p->depth++;
    json_array_foreach((json_t *)(uintptr_t)(list ? list : types), i, v)
    {
        json_t *one = json_copy(list ? v : (json_t *)(uintptr_t)schema);
        if (!list)
            json_object_set(one, "type", v);
        bool counts = !p->w->shape.union_is_string || may_be_string(p, one, 0);
        if (counts && !p->status)
            items[n++] = each(p, one);
        json_decref(one);
    }
    p->depth--;
    return p->status ? PN_EXPR_NONE : pn_expr_choice(p->w->b, items, n);
}

/* The text of an element. */
static pn_expr element_value(struct place *p, const json_t *given)
{
    const json_t *schema = follow(p, given);
    if (!may_be_string(p, given, 0) || !json_is_object(schema))
        return json_value(p, given);
    pn_expr out = choice_of(p, schema, element_value);
    if (out != PN_EXPR_NONE || p->status)
        return out;
    json_t *values = listed(schema);
    if (values || type_is(schema, "string")) {
        out = string_value(p, schema, values);
        json_decref(values);
        return out;
    }
    return json_value(p, schema); /* of any type: read as JSON where it is */
}

/* ---- Gemma's values ---- */

static pn_expr gemma_value(struct place *p, const json_t *given);
static pn_expr gemma_object(struct place *p, const json_t *schema);

static pn_expr quoted(const struct place *p, pn_expr inside)
{
    pn_expr quote = pn_tool_marker(p->w, p->w->shape.quote);
    const pn_expr parts[] = {quote, inside, quote};
    return pn_expr_seq(p->w->b, parts, 3);
}

/* A text of words of JSON that are written in the same way: numbers, true, false, null. */
static bool is_plain(const json_t *schema)
{
    static const char *const names[] = {"integer", "number", "boolean", "null"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (type_is(schema, names[i]))
            return true;
    return false;
}

/* [VALUE,VALUE] */
static pn_expr gemma_array(struct place *p, const json_t *schema)
{
    static const char *const refused[] = {"prefixItems", "contains", "uniqueItems", "unevaluatedItems"};
    json_t *items = json_object_get(schema, "items");
    json_int_t least = json_integer_value(json_object_get(schema, "minItems"));
    json_t *bound = json_object_get(schema, "maxItems");
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (json_object_get(schema, refused[i]) && !json_is_false(json_object_get(schema, refused[i])))
            return refuse(p, refused[i]);
    json_int_t most = bound ? json_integer_value(bound) : PN_EXPR_NO_MAX;
    if (least < 0 || least > 100000 || most > 100000 || (bound && most < least))
        return refuse(p, "minItems");
    pn_expr one = gemma_value(p, items);
    if (p->status)
        return one;
    struct pn_expr_builder *b = p->w->b;
    const pn_expr next[] = {literal(p, ","), one};
    int more_least = least > 0 ? (int)least - 1 : 0, more_most = bound ? (int)most - 1 : PN_EXPR_NO_MAX;
    pn_expr inside = pn_expr_empty(b);
    if (!bound || most > 0) {
        const pn_expr list[] = {one, pn_expr_repeat(b, pn_expr_seq(b, next, 2), more_least, more_most)};
        inside = pn_expr_repeat(b, pn_expr_seq(b, list, 2), least > 0, 1);
    }
    const pn_expr parts[] = {literal(p, "["), inside, literal(p, "]")};
    return pn_expr_seq(b, parts, 3);
}

/* A value of any type: a rule of its own, as values nest. */
static pn_expr gemma_any(struct place *p)
{
    static const char name[] = "gemma-any";
    static const struct pn_code_range letters[] = {{'-', '-'}, {'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
    struct pn_expr_builder *b = p->w->b;
    int rule = pn_expr_rule(b, name, sizeof name - 1);
    pn_expr ref = pn_expr_ref(b, rule);
    if (pn_expr_body(b, rule) != PN_EXPR_NONE)
        return ref;
    json_t *plain = json_pack("{s:[sss]}", "type", "number", "boolean", "null");
    pn_expr word = json_value(p, plain), comma = literal(p, ",");
    json_decref(plain);
    pn_expr key = pn_expr_repeat(b, pn_expr_class(b, letters, 5, false), 1, 64);
    const pn_expr member[] = {key, literal(p, ":"), ref};
    pn_expr lists[2];
    const pn_expr ones[] = {ref, pn_expr_seq(b, member, 3)};
    const char *const brackets[] = {"[]", "{}"};
    for (int i = 0; i < 2; i++) {
        const pn_expr next[] = {comma, ones[i]};
        const pn_expr list[] = {ones[i], pn_expr_repeat(b, pn_expr_seq(b, next, 2), 0, PN_EXPR_NO_MAX)};
        const pn_expr parts[] = {pn_expr_literal(b, brackets[i], 1), pn_expr_repeat(b, pn_expr_seq(b, list, 2), 0, 1),
                                 pn_expr_literal(b, brackets[i] + 1, 1)};
        lists[i] = pn_expr_seq(b, parts, 3);
    }
    const pn_expr values[] = {word, quoted(p, pn_tool_plain_text(p->w, p->w->shape.quote, NULL)), lists[0], lists[1]};
    pn_expr_define(b, rule, pn_expr_choice(b, values, 4));
    return ref;
}

static pn_expr gemma_listed(struct place *p, const json_t *values)
{
    pn_expr items[2];
    size_t n = 0, i;
    json_t *v, *others = json_array();
    bool strings = false;
    json_array_foreach((json_t *)(uintptr_t)values, i, v)
    {
        strings |= json_is_string(v);
        if (json_is_object(v) || json_is_array(v)) {
            json_decref(others);
            return refuse(p, "enum");
        }
        if (!json_is_string(v))
            json_array_append(others, v);
    }
    if (strings)
        items[n++] = quoted(p, string_value(p, NULL, values));
    if (json_array_size(others)) {
        json_t *schema = json_pack("{s:O}", "enum", others);
        items[n++] = json_value(p, schema);
        json_decref(schema);
    }
    json_decref(others);
    return p->status ? PN_EXPR_NONE : pn_expr_choice(p->w->b, items, n);
}

static pn_expr gemma_value(struct place *p, const json_t *given)
{
    static const char *const refused[] = {"allOf", "not", "if"};
    const json_t *schema = follow(p, given);
    if (given && !schema)
        return refuse(p, "$ref");
    if (p->depth == MAX_DEPTH)
        return refuse(p, "$ref");
    if (is_plain(schema))
        return json_value(p, schema);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (json_object_get(schema, refused[i]))
            return refuse(p, refused[i]);
    json_t *values = listed(schema);
    if (values) {
        pn_expr out = gemma_listed(p, values);
        json_decref(values);
        return out;
    }
    p->depth++;
    pn_expr out = choice_of(p, schema, gemma_value);
    if (out == PN_EXPR_NONE && !p->status)
        out = type_is(schema, "string")   ? quoted(p, string_value(p, schema, NULL))
              : type_is(schema, "array")  ? gemma_array(p, schema)
              : type_is(schema, "object") ? gemma_object(p, schema)
                                          : gemma_any(p);
    p->depth--;
    return out;
}

/* ---- members between separators ---- */

static bool is_required(const json_t *schema, const char *key)
{
    size_t i;
    json_t *v;
    json_array_foreach(json_object_get(schema, "required"), i, v)
    {
        if (json_is_string(v) && strcmp(json_string_value(v), key) == 0)
            return true;
    }
    return false;
}

/* Members in their order, those that are not required present or absent, with `comma` between two. */
static pn_expr joined(const struct place *p, const pn_expr *member, const bool *required, size_t n, const char *comma)
{
    struct pn_expr_builder *b = p->w->b;
    pn_expr first = pn_expr_empty(b), later = first; /* what may follow: as the first ones, or after others */
    while (n-- > 0) {
        const pn_expr begin[] = {member[n], later}, next[] = {literal(p, comma), member[n]};
        pn_expr alone = pn_expr_seq(b, begin, 2), more = pn_expr_seq(b, next, 2);
        const pn_expr without[] = {alone, first};
        first = required[n] ? alone : pn_expr_choice(b, without, 2);
        const pn_expr rest[] = {required[n] ? more : pn_expr_repeat(b, more, 0, 1), later};
        later = pn_expr_seq(b, rest, 2);
    }
    return first;
}

/* A literal of Python; words and what nests are read in JSON's spelling, too. */
static pn_expr python_value(struct place *p, const json_t *schema)
{
    const json_t *at = follow(p, schema);
    if (type_is(at, "boolean") && !json_object_get(at, "enum") && !json_object_get(at, "const")) {
        const pn_expr words[] = {literal(p, "True"), literal(p, "False")};
        return pn_expr_choice(p->w->b, words, 2);
    }
    return json_value(p, schema);
}

static pn_expr member(struct place *p, const char *key, const json_t *schema)
{
    bool python = p->w->shape.syntax == PN_ARGUMENTS_PYTHON;
    if (!*key || strpbrk(key, python ? "=()[]{}\"',: \n" : "{}:,<> \n")) {
        p->status =
            pn_fail(p->err, PANTRY_UNSUPPORTED, "%s: a name that this model's format of calls cannot write", p->where);
        return PN_EXPR_NONE;
    }
    pn_expr value = python ? python_value(p, schema) : gemma_value(p, schema);
    const pn_expr parts[] = {literal(p, key), literal(p, python ? "=" : ":"), value};
    return p->status ? PN_EXPR_NONE : pn_expr_seq(p->w->b, parts, 3);
}

/* The members of an object, without brackets. */
static pn_expr members(struct place *p, const json_t *schema)
{
    const char *key, *where = p->where;
    json_t *property;
    pn_expr items[PN_MAX_TOOL_ITEMS];
    bool required[PN_MAX_TOOL_ITEMS];
    size_t n = 0;
    json_object_foreach(json_object_get(schema, "properties"), key, property)
    {
        char path[512];
        snprintf(path, sizeof path, "%.380s.properties.%.100s", where, key);
        if (n == PN_MAX_TOOL_ITEMS)
            return refuse(p, "properties");
        p->where = path;
        items[n] = member(p, key, property);
        p->where = where;
        if (p->status)
            return PN_EXPR_NONE;
        required[n++] = is_required(schema, key);
    }
    return joined(p, items, required, n, p->w->shape.syntax == PN_ARGUMENTS_PYTHON ? ", " : ",");
}

/* {KEY:VALUE,KEY:VALUE} */
static pn_expr gemma_object(struct place *p, const json_t *schema)
{
    static const char *const refused[] = {"patternProperties", "propertyNames", "minProperties", "maxProperties",
                                          "dependentRequired"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (json_object_get(schema, refused[i]))
            return refuse(p, refused[i]);
    if (!json_object_size(json_object_get(schema, "properties")))
        return json_object_get(schema, "additionalProperties") ? refuse(p, "additionalProperties") : gemma_any(p);
    pn_expr inside = members(p, schema);
    const pn_expr parts[] = {literal(p, "{"), inside, literal(p, "}")};
    return p->status ? PN_EXPR_NONE : pn_expr_seq(p->w->b, parts, 3);
}

/* ---- elements ---- */

/* The word for the type of a value; NULL: it may be of several that have different words. */
static const char *type_word(const struct place *p, const json_t *given)
{
    const struct pn_type_words *words = p->w->shape.types;
    const json_t *schema = follow(p, given), *values;
    const struct {
        const char *type, *word;
    } table[] = {{"string", words->string},   {"integer", words->number}, {"number", words->number},
                 {"boolean", words->boolean}, {"null", words->null},      {"array", words->array},
                 {"object", words->object}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (type_is(schema, table[i].type))
            return table[i].word;
    values = json_object_get(schema, "enum");
    bool strings = json_array_size(values) > 0;
    for (size_t i = 0; i < json_array_size(values); i++)
        strings = strings && json_is_string(json_array_get(values, i));
    return strings ? words->string : NULL;
}

/* [TYPE] value_before VALUE, with a word of their own for values of several types. */
static pn_expr typed_value(struct place *p, const json_t *schema)
{
    const struct pn_call_shape *s = &p->w->shape;
    const char *word = s->types ? type_word(p, schema) : "";
    if (!word) { /* each type with its word */
        pn_expr out = choice_of(p, follow(p, schema), typed_value);
        return out == PN_EXPR_NONE && !p->status ? refuse(p, "type") : out;
    }
    const pn_expr parts[] = {literal(p, word), pn_tool_marker(p->w, s->value_before), element_value(p, schema)};
    return p->status ? PN_EXPR_NONE : pn_expr_seq(p->w->b, parts, 3);
}

static pn_expr element(struct place *p, pn_expr key, pn_expr value)
{
    const struct pn_call_shape *s = &p->w->shape;
    const pn_expr parts[] = {pn_tool_marker(p->w, s->key_before), key, pn_tool_marker(p->w, s->key_after), value,
                             pn_tool_marker(p->w, s->value_after)};
    pn_expr open = pn_expr_seq(p->w->b, parts, sizeof parts / sizeof *parts);
    const pn_expr closed[] = {open, key, pn_tool_marker(p->w, s->key_close)};
    return *s->key_close ? pn_expr_seq(p->w->b, closed, 3) : open;
}

static pn_expr elements(struct place *p, const json_t *schema)
{
    const char *key, *where = p->where;
    json_t *property;
    pn_expr items[PN_MAX_TOOL_ITEMS];
    size_t n = 0;
    json_object_foreach(json_object_get(schema, "properties"), key, property)
    {
        char path[512];
        snprintf(path, sizeof path, "%.380s.properties.%.100s", where, key);
        if (n == PN_MAX_TOOL_ITEMS)
            return refuse(p, "properties");
        p->where = path;
        pn_expr value = typed_value(p, property);
        p->where = where;
        if (p->status)
            return PN_EXPR_NONE;
        pn_expr one = element(p, literal(p, key), value);
        items[n++] = is_required(schema, key) ? one : pn_expr_repeat(p->w->b, one, 0, 1);
    }
    return pn_expr_seq(p->w->b, items, n);
}

/* ---- any arguments ---- */

/* Any elements, or members, of a tool whose parameters are not known. */
static pn_expr any_members(struct place *p)
{
    static const struct pn_code_range letters[] = {{'-', '-'}, {'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
    const struct pn_call_shape *s = &p->w->shape;
    struct pn_expr_builder *b = p->w->b;
    pn_expr key = pn_expr_repeat(b, pn_expr_class(b, letters, sizeof letters / sizeof *letters, false), 1, 64), value;
    if (s->syntax == PN_ARGUMENTS_ELEMENTS) {
        if (*s->key_close) { /* the key comes twice, which a grammar cannot follow */
            p->status =
                pn_fail(p->err, PANTRY_UNSUPPORTED, "%s: not supported in this model's format of calls", p->where);
            return PN_EXPR_NONE;
        }
        const pn_expr text[] = {literal(p, s->types ? s->types->string : ""), pn_tool_marker(p->w, s->value_before),
                                pn_tool_plain_text(p->w, s->ends, s->avoid)};
        return pn_expr_repeat(b, element(p, key, pn_expr_seq(b, text, 3)), 0, PN_EXPR_NO_MAX);
    }
    json_t *any = json_true();
    value = s->syntax == PN_ARGUMENTS_PYTHON ? json_value(p, any) : gemma_any(p);
    json_decref(any);
    bool python = s->syntax == PN_ARGUMENTS_PYTHON;
    const pn_expr one[] = {key, literal(p, python ? "=" : ":"), value};
    pn_expr item = pn_expr_seq(b, one, 3);
    const pn_expr next[] = {literal(p, python ? ", " : ","), item};
    const pn_expr list[] = {item, pn_expr_repeat(b, pn_expr_seq(b, next, 2), 0, PN_EXPR_NO_MAX)};
    return p->status ? PN_EXPR_NONE : pn_expr_repeat(b, pn_expr_seq(b, list, 2), 0, 1);
}

static pantry_status json_arguments(const struct pn_tool_writer *w, const json_t *schema, const char *tool,
                                    pn_expr *out, struct pantry_error *err)
{
    static const struct pn_schema_options options = {.closed = true};
    struct pantry_error why;
    if (!json_is_object(schema) || !json_object_size(schema))
        return pn_schema_any(w->b, true, NULL, out, err);
    pantry_status status = pn_schema_expr(w->b, schema, &options, out, &why);
    return status ? pn_fail(err, status, "tools: %.100s: parameters: %.800s", tool, why.text) : PANTRY_OK;
}

pantry_status pn_tool_arguments(const struct pn_tool_writer *w, const json_t *schema, const char *tool, pn_expr *out,
                                struct pantry_error *err)
{
    char where[160];
    if (w->shape.syntax == PN_ARGUMENTS_JSON)
        return json_arguments(w, schema, tool, out, err);
    snprintf(where, sizeof where, "tools: %.100s: parameters", tool);
    struct place p = {.w = w, .root = schema, .where = where, .err = err};
    bool known = json_is_object(schema) && json_object_size(schema);
    *out = !known                                     ? any_members(&p)
           : w->shape.syntax == PN_ARGUMENTS_ELEMENTS ? elements(&p, schema)
                                                      : members(&p, schema);
    return p.status ? p.status : pn_expr_status(w->b, err);
}
