/* Schemas as expressions: one rule per goal, from the root on. */
#include "grammar/schema.h"

#include "grammar/schema_impl.h"
#include "grammar/schema_number.h"

#include <stdlib.h>
#include <string.h>

static pn_expr text_expr(struct pn_schema *s, const struct pn_text *text)
{
    if (!text->finite)
        return pn_schema_quoted(s, pn_text_expr(s, text));
    pn_expr *items = pn_schema_alloc(s, text->values.n, sizeof *items);
    for (size_t i = 0; items && i < text->values.n; i++)
        items[i] = pn_schema_string(s, text->values.items[i]);
    return items ? pn_expr_choice(s->b, items, text->values.n) : PN_EXPR_NONE;
}

static pn_expr alt_expr(struct pn_schema *s, const struct pn_place *place, enum pn_json_type type,
                        const struct pn_alt *alt)
{
    bool full = alt == pn_alt_full(s, type);
    switch (type) {
    case PN_NULL:
        return pn_expr_literal(s->b, "null", 4);
    case PN_BOOL: {
        pn_expr items[2];
        size_t n = 0;
        if (alt->bools & 2)
            items[n++] = pn_expr_literal(s->b, "true", 4);
        if (alt->bools & 1)
            items[n++] = pn_expr_literal(s->b, "false", 5);
        return pn_expr_choice(s->b, items, n);
    }
    case PN_NUMBER:
        return full ? s->any_number : pn_number_expr(s, place, &alt->number);
    case PN_STRING:
        return full ? s->any_string : text_expr(s, &alt->text);
    case PN_ARRAY:
        return full ? s->any_array : pn_array_expr(s, place, &alt->array);
    case PN_OBJECT:
        return full ? s->any_object : pn_object_expr(s, place, &alt->object);
    default:
        return PN_EXPR_NONE;
    }
}

static const struct pn_place *place_of(const struct pn_schema *s, int goal)
{
    const struct pn_goal *g = &s->goals.data[goal];
    return g->n ? s->literals.data[g->literals[0]].place : s->root;
}

static pn_expr goal_expr(struct pn_schema *s, int goal)
{
    const struct pn_place *place = place_of(s, goal);
    const struct pn_alts *alts = pn_goal_alts(s, goal);
    size_t n = 0, n_items = 0;
    if (!alts)
        return PN_EXPR_NONE;
    for (int t = 0; t < PN_N_TYPES; t++)
        n += alts->of[t].n;
    pn_expr *items = pn_schema_alloc(s, n, sizeof *items);
    for (int t = 0; items && t < PN_N_TYPES; t++)
        for (size_t i = 0; i < alts->of[t].n && !s->status; i++)
            items[n_items++] = alt_expr(s, place, t, alts->of[t].items[i]);
    return items ? pn_expr_choice(s->b, items, n_items) : PN_EXPR_NONE;
}

/* Whether the root has a string, as a least fixed point over the rules: expressions refer to earlier ones, so one pass
 * in their order settles everything but rules. Intersections and complements count as possible. */
static bool has_value(struct pn_schema *s, pn_expr root)
{
    int n = pn_expr_n_nodes(s->b);
    bool *has = pn_schema_alloc(s, (size_t)n, sizeof *has);
    for (bool more = true; has && more && !has[root] && pn_schema_step(s, s->root, (size_t)n / 64);) {
        more = false;
        for (pn_expr e = 0; e < n; e++) {
            const struct pn_expr_node *node = pn_expr_get(s->b, e);
            bool all = true, some = false, is = true;
            if (has[e])
                continue;
            for (uint32_t i = 0; i < node->n && (node->kind == PN_EXPR_SEQ || node->kind == PN_EXPR_CHOICE); i++) {
                all = all && has[node->items[i]];
                some = some || has[node->items[i]];
            }
            if (node->kind == PN_EXPR_SEQ || node->kind == PN_EXPR_CHOICE)
                is = node->kind == PN_EXPR_SEQ ? all : some;
            else if (node->kind == PN_EXPR_REPEAT)
                is = node->min == 0 || has[node->item];
            else if (node->kind == PN_EXPR_REF)
                is = pn_expr_body(s->b, node->rule) != PN_EXPR_NONE && has[pn_expr_body(s->b, node->rule)];
            has[e] = is;
            more = more || is;
        }
    }
    return !has || s->status || has[root];
}

static bool start(struct pn_schema *s)
{
    const struct pn_scope empty = {0};
    const int no_literals[] = {PN_LITERAL_FALSE};
    struct pn_literal none = {.next = -1};
    if (!pn_vec_push(&s->scopes, empty) || !pn_vec_push(&s->literals, none) || !pn_vec_push(&s->literals, none))
        return pn_schema_no_memory(s) != NULL;
    pn_schema_goal(s, no_literals, 0);
    pn_schema_goal(s, no_literals, 1);
    pn_schema_shared(s);
    return !s->status;
}

static pn_expr compile(struct pn_schema *s, const json_t *schema)
{
    if (!start(s) || !pn_schema_read(s, schema))
        return PN_EXPR_NONE;
    int literal = pn_schema_literal(s, s->root, 0, false);
    int root = pn_schema_goal(s, &literal, 1);
    pn_expr e = s->status ? PN_EXPR_NONE : pn_schema_value(s, root);
    while (s->pending.len && !s->status) {
        int goal = s->pending.data[--s->pending.len];
        pn_expr body = goal_expr(s, goal);
        if (s->status)
            break;
        s->status = pn_expr_status(s->b, s->err);
        if (s->status)
            pn_schema_locate(s, place_of(s, goal));
        else
            pn_expr_define(s->b, s->goals.data[goal].rule, body);
    }
    if (!s->status && !pn_expr_status(s->b, NULL) && !has_value(s, e))
        pn_schema_fail(s, PANTRY_UNSUPPORTED, s->root, NULL, "the schema allows no value");
    return e;
}

static void release(struct pn_schema *s)
{
    for (size_t i = 0; i < s->owned.len; i++)
        json_decref(s->owned.data[i]);
    pn_regular_free(s);
    free(s->owned.data);
    free(s->scopes.data);
    free(s->literals.data);
    free(s->goals.data);
    free(s->pending.data);
    free(s->patterns.data);
    pn_arena_free(&s->arena);
}

pantry_status pn_schema_expr(struct pn_expr_builder *b, const json_t *schema, const struct pn_schema_options *options,
                             pn_expr *out, struct pantry_error *err)
{
    const struct pn_schema_options defaults = {0};
    struct pn_schema s = {.b = b, .options = options ? options : &defaults, .err = err};
    *out = compile(&s, schema);
    pantry_status status = s.status ? s.status : pn_expr_status(b, err);
    release(&s);
    if (status)
        *out = PN_EXPR_NONE;
    return status;
}

pantry_status pn_schema_parse(struct pn_expr_builder *b, const char *text, size_t n,
                              const struct pn_schema_options *options, pn_expr *out, struct pantry_error *err)
{
    const size_t flags = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL;
    json_error_t error;
    *out = PN_EXPR_NONE;
    json_t *schema = json_loadb(text, n, flags, &error);
    if (!schema && json_error_code(&error) == json_error_numeric_overflow)
        schema = json_loadb(text, n, flags | JSON_DECODE_INT_AS_REAL, &error); /* integers beyond 64 bits */
    if (!schema)
        return pn_fail(err, PANTRY_FORMAT, "the schema is not JSON: line %d, column %d: %s", error.line, error.column,
                       error.text);
    pantry_status status = pn_schema_expr(b, schema, options, out, err);
    json_decref(schema);
    return status;
}

pantry_status pn_schema_any(struct pn_expr_builder *b, bool object, const struct pn_schema_options *options,
                            pn_expr *out, struct pantry_error *err)
{
    const struct pn_schema_options defaults = {0};
    struct pn_schema s = {.b = b, .options = options ? options : &defaults, .err = err};
    pn_schema_shared(&s);
    *out = object ? s.any_object : s.any_value;
    return s.status ? s.status : pn_expr_status(b, err);
}
