/* Builds expressions: see expr.h. */
#include "grammar/expr.h"

#include <stdlib.h>
#include <string.h>

struct rule {
    struct pn_str name;
    pn_expr body;
    int next; /* with the same hash; -1: none */
};

struct pn_expr_builder {
    struct pn_arena arena;
    struct {
        struct pn_expr_node *data;
        size_t len, cap;
    } nodes;
    struct {
        struct rule *data;
        size_t len, cap;
    } rules;
    int heads[1024]; /* rules by hash of their name */
    struct pantry_error error;
    pn_expr empty, nothing;
};

static pn_expr add(struct pn_expr_builder *b, const struct pn_expr_node *node);

pantry_status pn_expr_builder_new(struct pn_expr_builder **out, struct pantry_error *err)
{
    struct pn_expr_builder *b = calloc(1, sizeof *b);
    *out = NULL;
    if (!b)
        return pn_no_memory(err, "a grammar");
    for (size_t i = 0; i < sizeof b->heads / sizeof *b->heads; i++)
        b->heads[i] = -1;
    b->empty = add(b, &(struct pn_expr_node){.kind = PN_EXPR_LITERAL, .regular = true, .depth = 1, .bytes = ""});
    b->nothing = add(b, &(struct pn_expr_node){.kind = PN_EXPR_CHOICE, .regular = true, .depth = 1});
    if (b->error.status) {
        pn_expr_builder_free(b);
        return pn_no_memory(err, "a grammar");
    }
    *out = b;
    return PANTRY_OK;
}

void pn_expr_builder_free(struct pn_expr_builder *b)
{
    if (!b)
        return;
    pn_arena_free(&b->arena);
    free(b->nodes.data);
    free(b->rules.data);
    free(b);
}

pantry_status pn_expr_status(const struct pn_expr_builder *b, struct pantry_error *err)
{
    if (b->error.status && err)
        *err = b->error;
    return b->error.status;
}

pn_expr pn_expr_fail(struct pn_expr_builder *b, pantry_status status, const char *format, ...)
{
    if (!b->error.status) {
        va_list args;
        va_start(args, format);
        pn_vfail(&b->error, status, format, args);
        va_end(args);
    }
    return PN_EXPR_NONE;
}

static pn_expr no_memory(struct pn_expr_builder *b)
{
    return pn_expr_fail(b, PANTRY_NO_MEMORY, "out of memory for a grammar");
}

static pn_expr add(struct pn_expr_builder *b, const struct pn_expr_node *node)
{
    if (b->error.status)
        return PN_EXPR_NONE;
    if (b->nodes.len >= PN_EXPR_MAX_NODES || node->size >= PN_EXPR_MAX_NODES || b->arena.used > PN_EXPR_MAX_BYTES)
        return pn_expr_fail(b, PANTRY_LIMIT, "the grammar is too large (allowed %s expressions)",
                            pn_digits(PN_EXPR_MAX_NODES).text);
    if (node->depth > PN_EXPR_MAX_DEPTH)
        return pn_expr_fail(b, PANTRY_LIMIT, "the grammar is nested too deeply (allowed %d levels)", PN_EXPR_MAX_DEPTH);
    if (!pn_vec_push(&b->nodes, *node))
        return no_memory(b);
    return (pn_expr)(b->nodes.len - 1);
}

/* Memory for `count` elements; NULL, with the error set, when there is none or the grammar is too large. */
static void *room(struct pn_expr_builder *b, size_t count, size_t size)
{
    size_t bytes;
    if (b->error.status)
        return NULL;
    if (!pn_size_mul(count, size, &bytes) || bytes > PN_EXPR_MAX_BYTES || b->arena.used > PN_EXPR_MAX_BYTES - bytes) {
        pn_expr_fail(b, PANTRY_LIMIT, "the grammar is too large (allowed %s bytes)", pn_digits(PN_EXPR_MAX_BYTES).text);
        return NULL;
    }
    void *p = pn_arena_array(&b->arena, count, size);
    if (!p)
        no_memory(b);
    return p;
}

static bool is_expr(const struct pn_expr_builder *b, pn_expr e)
{
    return e >= 0 && (size_t)e < b->nodes.len;
}

/* The error of a caller that passes what is not an expression; PN_EXPR_NONE comes only with an error. */
static pn_expr not_an_expression(struct pn_expr_builder *b)
{
    return pn_expr_fail(b, PANTRY_INTERNAL, "a grammar uses an expression that does not exist");
}

pn_expr pn_expr_empty(struct pn_expr_builder *b)
{
    return b->error.status ? PN_EXPR_NONE : b->empty;
}

pn_expr pn_expr_nothing(struct pn_expr_builder *b)
{
    return b->error.status ? PN_EXPR_NONE : b->nothing;
}

pn_expr pn_expr_literal(struct pn_expr_builder *b, const char *bytes, size_t n)
{
    if (n == 0)
        return pn_expr_empty(b);
    if (n > UINT32_MAX)
        return pn_expr_fail(b, PANTRY_LIMIT, "a literal of the grammar is too long");
    char *copy = room(b, n, 1);
    if (!copy)
        return PN_EXPR_NONE;
    memcpy(copy, bytes, n);
    return add(b, &(struct pn_expr_node){
                      .kind = PN_EXPR_LITERAL, .regular = true, .depth = 1, .n = (uint32_t)n, .bytes = copy});
}

static int by_first(const void *a, const void *b)
{
    const struct pn_code_range *x = a, *y = b;
    return (x->first > y->first) - (x->first < y->first);
}

/* Sorts and joins n ranges in place; returns how many are left. */
static size_t normalize(struct pn_code_range *ranges, size_t n)
{
    size_t kept = 0;
    qsort(ranges, n, sizeof *ranges, by_first);
    for (size_t i = 0; i < n; i++) {
        if (ranges[i].first > ranges[i].last)
            continue;
        if (kept && ranges[i].first <= (uint64_t)ranges[kept - 1].last + 1) {
            if (ranges[i].last > ranges[kept - 1].last)
                ranges[kept - 1].last = ranges[i].last;
        } else {
            ranges[kept++] = ranges[i];
        }
    }
    return kept;
}

/* Appends a range without the surrogates. */
static size_t put_range(struct pn_code_range *out, size_t n, uint32_t first, uint32_t last)
{
    last = last > PN_MAX_CODE_POINT ? PN_MAX_CODE_POINT : last;
    if (first <= last && first < 0xD800)
        out[n++] = (struct pn_code_range){first, last < 0xD800 ? last : 0xD7FF};
    if (first <= last && last > 0xDFFF)
        out[n++] = (struct pn_code_range){first > 0xDFFF ? first : 0xE000, last};
    return n;
}

pn_expr pn_expr_class(struct pn_expr_builder *b, const struct pn_code_range *ranges, size_t n, bool negate)
{
    if (n > PN_MAX_CODE_POINT)
        return pn_expr_fail(b, PANTRY_LIMIT, "a character class of the grammar is too large");
    struct pn_code_range *sorted = room(b, n + 1, sizeof *sorted), *out = room(b, 2 * n + 2, sizeof *out);
    if (!sorted || !out)
        return PN_EXPR_NONE;
    if (n)
        memcpy(sorted, ranges, n * sizeof *ranges);
    n = normalize(sorted, n);
    size_t kept = 0;
    uint32_t next = 0; /* the first code point after the ranges so far */
    for (size_t i = 0; i < n; i++) {
        if (!negate)
            kept = put_range(out, kept, sorted[i].first, sorted[i].last);
        else if (sorted[i].first > next)
            kept = put_range(out, kept, next, sorted[i].first - 1);
        next = sorted[i].last >= PN_MAX_CODE_POINT ? PN_MAX_CODE_POINT + 1 : sorted[i].last + 1;
    }
    if (negate && next <= PN_MAX_CODE_POINT)
        kept = put_range(out, kept, next, PN_MAX_CODE_POINT);
    if (kept == 0)
        return pn_expr_nothing(b);
    return add(b, &(struct pn_expr_node){
                      .kind = PN_EXPR_CLASS, .regular = true, .depth = 1, .n = (uint32_t)kept, .ranges = out});
}

/* SEQ, CHOICE and AND. */
static pn_expr add_items(struct pn_expr_builder *b, enum pn_expr_kind kind, const pn_expr *items, size_t n)
{
    struct pn_expr_node node = {.kind = (uint8_t)kind, .regular = true, .depth = 1, .n = (uint32_t)n};
    if (b->error.status)
        return PN_EXPR_NONE;
    if (n > PN_EXPR_MAX_NODES)
        return pn_expr_fail(b, PANTRY_LIMIT, "the grammar is too large (found a list of %zu)", n);
    for (size_t i = 0; i < n; i++) {
        if (!is_expr(b, items[i]))
            return not_an_expression(b);
        const struct pn_expr_node *item = &b->nodes.data[items[i]];
        node.regular = node.regular && item->regular;
        if (node.depth <= item->depth)
            node.depth = (uint16_t)(item->depth + 1);
    }
    pn_expr *copy = room(b, n, sizeof *copy);
    if (!copy)
        return PN_EXPR_NONE;
    memcpy(copy, items, n * sizeof *copy);
    node.items = copy;
    for (size_t i = 0; i < n && node.size < PN_EXPR_MAX_NODES; i++)
        node.size += b->nodes.data[items[i]].size + 1;
    return add(b, &node);
}

pn_expr pn_expr_seq(struct pn_expr_builder *b, const pn_expr *items, size_t n)
{
    return n == 0 ? pn_expr_empty(b) : n == 1 ? items[0] : add_items(b, PN_EXPR_SEQ, items, n);
}

pn_expr pn_expr_choice(struct pn_expr_builder *b, const pn_expr *items, size_t n)
{
    return n == 0 ? pn_expr_nothing(b) : n == 1 ? items[0] : add_items(b, PN_EXPR_CHOICE, items, n);
}

pn_expr pn_expr_and(struct pn_expr_builder *b, pn_expr x, pn_expr y)
{
    const pn_expr both[] = {x, y};
    pn_expr e = add_items(b, PN_EXPR_AND, both, 2);
    if (e != PN_EXPR_NONE && !b->nodes.data[e].regular)
        return pn_expr_fail(b, PANTRY_UNSUPPORTED, "an intersection with rules or tokens in it is not supported");
    return e;
}

/* REPEAT, NOT and JSON. */
static pn_expr add_item(struct pn_expr_builder *b, struct pn_expr_node node, pn_expr item)
{
    if (b->error.status)
        return PN_EXPR_NONE;
    if (!is_expr(b, item))
        return not_an_expression(b);
    node.regular = b->nodes.data[item].regular;
    node.depth = (uint16_t)(b->nodes.data[item].depth + 1);
    node.size = b->nodes.data[item].size + 1;
    node.item = item;
    if (!node.regular && node.kind != PN_EXPR_REPEAT)
        return pn_expr_fail(b, PANTRY_UNSUPPORTED, "a complement with rules or tokens in it is not supported");
    return add(b, &node);
}

pn_expr pn_expr_repeat(struct pn_expr_builder *b, pn_expr item, int min, int max)
{
    if (min < 0 || (max != PN_EXPR_NO_MAX && max < min))
        return pn_expr_fail(b, PANTRY_FORMAT, "a repetition has its minimum above its maximum (found {%d,%d})", min,
                            max);
    if (min > PN_EXPR_MAX_REPEAT || max > PN_EXPR_MAX_REPEAT)
        return pn_expr_fail(b, PANTRY_LIMIT, "a repetition is too large (found %d, allowed %d)", min > max ? min : max,
                            PN_EXPR_MAX_REPEAT);
    if (max == 0)
        return pn_expr_empty(b);
    if (min == 1 && max == 1)
        return item;
    return add_item(b, (struct pn_expr_node){.kind = PN_EXPR_REPEAT, .min = min, .max = max}, item);
}

pn_expr pn_expr_not(struct pn_expr_builder *b, pn_expr x)
{
    return add_item(b, (struct pn_expr_node){.kind = PN_EXPR_NOT}, x);
}

pn_expr pn_expr_json_chars(struct pn_expr_builder *b, pn_expr x)
{
    return add_item(b, (struct pn_expr_node){.kind = PN_EXPR_JSON}, x);
}

/* ---- rules ---- */

static int *head_of(struct pn_expr_builder *b, const char *name, size_t n)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)name[i]) * 16777619u;
    return &b->heads[(h ^ h >> 16) % (sizeof b->heads / sizeof *b->heads)];
}

int pn_expr_new_rule(struct pn_expr_builder *b, const char *name, size_t n)
{
    char *copy = room(b, n + 1, 1);
    if (!copy)
        return PN_EXPR_NONE;
    memcpy(copy, name, n);
    if (b->rules.len >= PN_EXPR_MAX_NODES)
        return pn_expr_fail(b, PANTRY_LIMIT, "the grammar has too many rules");
    struct rule rule = {.name = {copy, n}, .body = PN_EXPR_NONE, .next = -1};
    if (!pn_vec_push(&b->rules, rule))
        return no_memory(b);
    return (int)(b->rules.len - 1);
}

int pn_expr_rule(struct pn_expr_builder *b, const char *name, size_t n)
{
    int *head = head_of(b, name, n);
    if (b->error.status)
        return PN_EXPR_NONE;
    for (int i = *head; i >= 0; i = b->rules.data[i].next)
        if (b->rules.data[i].name.len == n && memcmp(b->rules.data[i].name.data, name, n) == 0)
            return i;
    int rule = pn_expr_new_rule(b, name, n);
    if (rule >= 0) {
        b->rules.data[rule].next = *head;
        *head = rule;
    }
    return rule;
}

static bool is_rule(const struct pn_expr_builder *b, int rule)
{
    return rule >= 0 && (size_t)rule < b->rules.len;
}

bool pn_expr_define(struct pn_expr_builder *b, int rule, pn_expr body)
{
    if (b->error.status || !is_rule(b, rule) || !is_expr(b, body))
        return not_an_expression(b), true;
    if (b->rules.data[rule].body != PN_EXPR_NONE)
        return false;
    b->rules.data[rule].body = body;
    return true;
}

pn_expr pn_expr_ref(struct pn_expr_builder *b, int rule)
{
    if (b->error.status || !is_rule(b, rule))
        return not_an_expression(b);
    return add(b, &(struct pn_expr_node){.kind = PN_EXPR_REF, .depth = 1, .rule = rule});
}

pantry_status pn_expr_check(const struct pn_expr_builder *b, struct pantry_error *err)
{
    if (pn_expr_status(b, err))
        return b->error.status;
    for (size_t i = 0; i < b->rules.len; i++)
        if (b->rules.data[i].body == PN_EXPR_NONE)
            return pn_fail(err, PANTRY_FORMAT, "the rule \"%.*s\" is used but not defined",
                           (int)(b->rules.data[i].name.len < 200 ? b->rules.data[i].name.len : 200),
                           b->rules.data[i].name.data);
    return PANTRY_OK;
}

/* ---- tokens ---- */

pn_expr pn_expr_token(struct pn_expr_builder *b, const int32_t *ids, size_t n, bool negate)
{
    int32_t *copy = n <= UINT32_MAX ? room(b, n, sizeof *copy) : NULL;
    if (!copy)
        return pn_expr_fail(b, PANTRY_LIMIT, "a token list of the grammar is too long");
    if (n)
        memcpy(copy, ids, n * sizeof *copy);
    return add(
        b, &(struct pn_expr_node){.kind = PN_EXPR_TOKEN, .depth = 1, .n = (uint32_t)n, .negate = negate, .ids = copy});
}

pn_expr pn_expr_token_named(struct pn_expr_builder *b, const char *text, size_t n, bool negate)
{
    char *copy = n <= UINT32_MAX ? room(b, n + 1, 1) : NULL;
    if (!copy)
        return pn_expr_fail(b, PANTRY_LIMIT, "a token of the grammar is too long");
    memcpy(copy, text, n);
    return add(
        b, &(struct pn_expr_node){
               .kind = PN_EXPR_TOKEN, .depth = 1, .n = (uint32_t)n, .negate = negate, .named = true, .bytes = copy});
}

/* ---- reading ---- */

const struct pn_expr_node *pn_expr_get(const struct pn_expr_builder *b, pn_expr e)
{
    return &b->nodes.data[e];
}

int pn_expr_n_nodes(const struct pn_expr_builder *b)
{
    return (int)b->nodes.len;
}

int pn_expr_n_rules(const struct pn_expr_builder *b)
{
    return (int)b->rules.len;
}

pn_expr pn_expr_body(const struct pn_expr_builder *b, int rule)
{
    return b->rules.data[rule].body;
}

struct pn_str pn_expr_rule_name(const struct pn_expr_builder *b, int rule)
{
    return b->rules.data[rule].name;
}
