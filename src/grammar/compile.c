/* Compiles expressions: one automaton per rule.
 *
 * Rules are built when something calls them. Small rules, and rules used once, become a part of their callers. A rule
 * that ends with a call of one that reaches it again (right recursion) goes there directly, within one automaton, so a
 * list does not grow the stack. Large repetitions become rules that count. An automaton is made deterministic and
 * minimal unless that is too large; then the matcher follows its alternatives in parallel. */
#include "grammar/compile.h"

#include "grammar/analyze.h"
#include "text/unicode/unicode.h"

#include <stdlib.h>
#include <string.h>

enum {
    MAX_RULES = 200000,
    EXPANDED = 256,         /* repetitions are expanded to about this many states; others count */
    MAX_EXPANDED = 400000,  /* in parts that must be one automaton */
    MAX_REGULAR = 50000,    /* states of such a part */
    INLINE_DEPTH = 1500,    /* expressions within each other, followed into inlined rules */
    MAX_TAILS = 4000,       /* states of an automaton from which on right recursion makes calls instead */
    MAX_ALL_TAILS = 100000, /* of all that have such recursion */
    MANY_RANGES = 4,        /* classes with more are built once and copied */
};
static const int64_t max_work = 24000000;

struct part { /* a regular expression that was built */
    pn_expr e;
    bool json;
    struct pn_fsa fsa;
};

struct tail { /* a rule that the automaton in hand goes to, and where it begins */
    int rule;
    uint32_t start;
    bool done;
};

struct compiler {
    const struct pn_expr_builder *b;
    struct pn_facts facts;
    struct pn_arena arena; /* of the grammar */
    struct {
        struct pn_built_rule *data;
        size_t len, cap;
    } rules;
    uint32_t *rule_number; /* by the builder's rule: + 1; 0: not called yet */
    uint32_t *node_number; /* by expression: of a REPEAT or TOKEN, as a rule; of a TOKEN, its label is elsewhere */
    uint32_t *label_number;
    struct {
        struct pn_token_label *data;
        size_t len, cap;
    } labels;
    struct {
        struct part *data;
        size_t len, cap;
    } parts;
    struct {
        struct tail *data;
        size_t len, cap;
    } tails;
    uint32_t component; /* of the rule in hand; 0: calls at its end stay calls */
    struct pn_nfa *nfa;
    size_t n_tail_states; /* of the automata so far that have several rules */
    bool regular;         /* in a part that must be one automaton */
    int depth;
    int64_t work;
    pantry_status status;
    struct pantry_error error;
};

struct place { /* where an expression goes */
    uint32_t from, to;
    bool json;
    bool last; /* nothing follows in the rule */
};

static void build(struct compiler *c, pn_expr e, struct place at);

static void fail_memory(struct compiler *c)
{
    if (!c->status)
        c->status = pn_no_memory(&c->error, "a grammar");
}

/* ---- leaves ---- */

/* One code point as it is written in a JSON string. */
static void build_json_char(struct compiler *c, uint32_t code, uint32_t from, uint32_t to)
{
    static const char plain[] = "\"\\\b\f\n\r\t", letter[] = "\"\\bfnrt";
    static const char digits[2][17] = {"0123456789abcdef", "0123456789ABCDEF"};
    const char *found = code && code < 0x80 ? strchr(plain, (int)code) : NULL;
    uint32_t escape = from;
    if (code >= 0x20 && !found)
        pn_nfa_utf8(c->nfa, from, code, code, to);
    if (!found && code >= 0x20 && code != '/')
        return;
    escape = pn_nfa_state(c->nfa);
    pn_nfa_edge(c->nfa, from, '\\', '\\', escape);
    if (found || code == '/') {
        unsigned char second = (unsigned char)(found ? letter[found - plain] : '/');
        pn_nfa_edge(c->nfa, escape, second, second, to);
        return;
    }
    for (int i = 0; i < 4; i++) { /* u00XX */
        uint32_t next = pn_nfa_state(c->nfa);
        unsigned char b = i == 0 ? 'u' : i == 3 ? (unsigned char)digits[0][code >> 4] : '0';
        pn_nfa_edge(c->nfa, escape, b, b, next);
        escape = next;
    }
    for (int i = 0; i < 2; i++)
        pn_nfa_edge(c->nfa, escape, (unsigned char)digits[i][code & 15], (unsigned char)digits[i][code & 15], to);
}

static void build_json_range(struct compiler *c, uint32_t first, uint32_t last, uint32_t from, uint32_t to)
{
    static const uint32_t special[] = {'"', '/', '\\'};
    for (; first <= last && first < 0x20; first++)
        build_json_char(c, first, from, to);
    for (int i = 0; i < 3 && first <= last; i++) {
        if (special[i] < first || special[i] > last)
            continue;
        if (special[i] > first)
            pn_nfa_utf8(c->nfa, from, first, special[i] - 1, to);
        build_json_char(c, special[i], from, to);
        first = special[i] + 1;
    }
    if (first <= last)
        pn_nfa_utf8(c->nfa, from, first, last, to);
}

static void build_ranges(struct compiler *c, const struct pn_expr_node *node, struct place at)
{
    for (uint32_t i = 0; i < node->n; i++)
        if (at.json)
            build_json_range(c, node->ranges[i].first, node->ranges[i].last, at.from, at.to);
        else
            pn_nfa_utf8(c->nfa, at.from, node->ranges[i].first, node->ranges[i].last, at.to);
}

static void build_literal(struct compiler *c, const struct pn_expr_node *node, struct place at)
{
    const unsigned char *p = (const unsigned char *)node->bytes;
    uint32_t from = at.from;
    if (node->n == 0)
        pn_nfa_empty(c->nfa, at.from, at.to);
    for (uint32_t i = 0; i < node->n && !c->status;) {
        unsigned n = 1;
        uint32_t code = p[i];
        if (at.json) {
            if (pn_utf8_check(p + i, node->n - i) <= 0) {
                c->status = pn_fail(&c->error, PANTRY_FORMAT, "a text in a JSON string is not UTF-8");
                return;
            }
            code = pn_utf8_get(p + i, &n);
        }
        uint32_t next = i + n < node->n ? pn_nfa_state(c->nfa) : at.to;
        if (at.json)
            build_json_char(c, code, from, next);
        else
            pn_nfa_edge(c->nfa, from, p[i], p[i], next);
        from = next;
        i += n;
    }
}

/* ---- parts that are one deterministic automaton ---- */

static pantry_status build_and(struct compiler *c, const struct pn_expr_node *node, bool json, struct pn_fsa *out);
static pantry_status build_not(struct compiler *c, const struct pn_expr_node *node, bool json, struct pn_fsa *out);

/* The smallest automaton of a regular expression. */
static pantry_status build_regular(struct compiler *c, pn_expr e, bool json, struct pn_fsa *out)
{
    const struct pn_expr_node *node = pn_expr_get(c->b, e);
    struct pn_nfa nfa = {0}, *outer = c->nfa;
    bool was_regular = c->regular;
    *out = (struct pn_fsa){0};
    if (c->status)
        return c->status;
    if (node->kind == PN_EXPR_AND)
        return build_and(c, node, json, out);
    if (node->kind == PN_EXPR_NOT)
        return build_not(c, node, json, out);
    c->nfa = &nfa;
    c->regular = true;
    struct place at = {.from = pn_nfa_state(&nfa), .to = pn_nfa_state(&nfa), .json = json};
    if (node->kind == PN_EXPR_CLASS)
        build_ranges(c, node, at);
    else
        build(c, e, at);
    if (!c->status)
        c->status = pn_fsa_determinize(&nfa, at.from, at.to, MAX_REGULAR, &c->work, out, &c->error);
    if (!c->status)
        c->status = pn_fsa_minimize(out, &c->error);
    pn_nfa_free(&nfa);
    c->nfa = outer;
    c->regular = was_regular;
    return c->status;
}

static pantry_status build_and(struct compiler *c, const struct pn_expr_node *node, bool json, struct pn_fsa *out)
{
    struct pn_fsa x, y = {0};
    build_regular(c, node->items[0], json, &x);
    build_regular(c, node->items[1], json, &y);
    if (!c->status)
        c->status = pn_fsa_intersect(&x, &y, MAX_REGULAR, out, &c->error);
    if (!c->status)
        c->status = pn_fsa_minimize(out, &c->error);
    pn_fsa_free(&x);
    pn_fsa_free(&y);
    return c->status;
}

/* All strings of code points, less those of x. The escapes of JSON are a code of which every character has its own
 * spellings, so what is not spelled in x is not in x. */
static pantry_status build_not(struct compiler *c, const struct pn_expr_node *node, bool json, struct pn_fsa *out)
{
    const struct pn_code_range all[] = {{0, 0xD7FF}, {0xE000, PN_MAX_CODE_POINT}};
    struct pn_nfa nfa = {0}, *outer = c->nfa;
    struct pn_fsa x, any = {0};
    build_regular(c, node->item, json, &x);
    c->nfa = &nfa;
    uint32_t state = pn_nfa_state(&nfa);
    build_ranges(c, &(struct pn_expr_node){.kind = PN_EXPR_CLASS, .n = 2, .ranges = all},
                 (struct place){.from = state, .to = state, .json = json});
    c->nfa = outer;
    if (!c->status)
        c->status = pn_fsa_determinize(&nfa, state, state, MAX_REGULAR, &c->work, &any, &c->error);
    if (!c->status)
        c->status = pn_fsa_subtract(&any, &x, MAX_REGULAR, out, &c->error);
    if (!c->status)
        c->status = pn_fsa_minimize(out, &c->error);
    pn_nfa_free(&nfa);
    pn_fsa_free(&x);
    pn_fsa_free(&any);
    return c->status;
}

/* Copies the automaton of a part, which is built the first time. */
static void embed(struct compiler *c, pn_expr e, struct place at)
{
    struct part part = {.e = e, .json = at.json};
    size_t i = 0;
    while (i < c->parts.len && (c->parts.data[i].e != e || c->parts.data[i].json != at.json))
        i++;
    if (i == c->parts.len) {
        build_regular(c, e, at.json, &part.fsa);
        if (c->status || !pn_vec_push(&c->parts, part)) {
            pn_fsa_free(&part.fsa);
            fail_memory(c);
            return;
        }
        i = c->parts.len - 1;
    }
    pn_fsa_embed(&c->parts.data[i].fsa, c->nfa, at.from, at.to);
}

/* ---- calls ---- */

static uint32_t new_rule(struct compiler *c, struct pn_built_rule rule)
{
    if (c->rules.len >= MAX_RULES) {
        if (!c->status)
            c->status = pn_fail(&c->error, PANTRY_LIMIT, "the grammar has too many rules (allowed %d)", MAX_RULES);
        return 0;
    }
    if (!pn_vec_push(&c->rules, rule)) {
        fail_memory(c);
        return 0;
    }
    return (uint32_t)(c->rules.len - 1);
}

static void call(struct compiler *c, uint32_t rule, bool nullable, struct place at)
{
    pn_nfa_edge(c->nfa, at.from, pn_symbol_call(rule), pn_symbol_call(rule), at.to);
    if (nullable)
        pn_nfa_empty(c->nfa, at.from, at.to);
}

/* Goes to a rule from whose end the caller's end follows; the rule's body is added later. */
static void go_to(struct compiler *c, int rule, uint32_t from)
{
    for (size_t i = 0; i < c->tails.len; i++)
        if (c->tails.data[i].rule == rule) {
            pn_nfa_empty(c->nfa, from, c->tails.data[i].start);
            return;
        }
    struct tail tail = {.rule = rule, .start = pn_nfa_state(c->nfa)};
    pn_nfa_empty(c->nfa, from, tail.start);
    if (!pn_vec_push(&c->tails, tail))
        fail_memory(c);
}

static void build_ref(struct compiler *c, int rule, struct place at)
{
    const struct pn_rule_facts *facts = &c->facts.rules[rule];
    pn_expr body = pn_expr_body(c->b, rule);
    if (facts->inlined && c->depth + pn_expr_get(c->b, body)->depth < INLINE_DEPTH) {
        build(c, body, at);
        return;
    }
    if (at.last && facts->recursive && facts->component == c->component && c->nfa->states.len < MAX_TAILS &&
        c->n_tail_states < MAX_ALL_TAILS) {
        go_to(c, rule, at.from);
        return;
    }
    if (!c->rule_number[rule]) {
        struct pn_str name = pn_expr_rule_name(c->b, rule);
        struct pn_built_rule built = {.source = rule, .is.name = pn_arena_copy(&c->arena, name.data, name.len)};
        if (!built.is.name)
            fail_memory(c);
        c->rule_number[rule] = new_rule(c, built) + 1;
    }
    call(c, c->rule_number[rule] - 1, facts->nullable, at);
}

/* A repetition as a rule that counts. */
static void build_count(struct compiler *c, pn_expr e, struct place at)
{
    const struct pn_expr_node *node = pn_expr_get(c->b, e);
    uint32_t number = c->node_number[2 * e + at.json];
    bool nullable = node->min == 0 || pn_expr_nullable(&c->facts, node->item);
    if (!number) {
        struct pn_built_rule built = {.source = e, .json = at.json};
        built.is = (struct pn_grammar_rule){
            .counts = true, .min = nullable ? 0 : node->min, .max = node->max, .name = "(repetition)"};
        number = new_rule(c, built) + 1;
        c->node_number[2 * e + at.json] = number;
    }
    call(c, number - 1, nullable, at);
}

static void build_token(struct compiler *c, pn_expr e, struct place at)
{
    const struct pn_expr_node *node = pn_expr_get(c->b, e);
    if (!c->label_number[e]) {
        struct pn_token_label label = {.n = node->n, .negate = node->negate};
        void *copy = node->named ? (void *)pn_arena_copy(&c->arena, node->bytes, node->n)
                                 : pn_arena_array(&c->arena, (size_t)node->n + 1, sizeof *node->ids);
        if (!copy || !pn_vec_push(&c->labels, label)) {
            fail_memory(c);
            return;
        }
        if (node->named) {
            c->labels.data[c->labels.len - 1].text = copy;
        } else {
            if (node->n)
                memcpy(copy, node->ids, node->n * sizeof *node->ids);
            c->labels.data[c->labels.len - 1].ids = copy;
        }
        c->label_number[e] = (uint32_t)c->labels.len;
    }
    uint32_t symbol = pn_symbol_token(c->label_number[e] - 1);
    pn_nfa_edge(c->nfa, at.from, symbol, symbol, at.to);
    if (!node->named && !node->negate)
        return;
    if (!c->node_number[2 * e]) {
        struct pn_built_rule built = {.source = e, .is = {.only_text = true, .name = "(token)"}};
        c->node_number[2 * e] = new_rule(c, built) + 1;
    }
    call(c, c->node_number[2 * e] - 1, false, at);
}

/* ---- expressions ---- */

static void build_expanded(struct compiler *c, const struct pn_expr_node *node, struct place at)
{
    uint32_t from = at.from;
    struct place inner = {.json = at.json, .last = at.last && node->max == 1};
    for (int i = 0; i < node->min; i++) {
        inner.from = from;
        inner.to = i + 1 < node->min || node->max != node->min ? pn_nfa_state(c->nfa) : at.to;
        build(c, node->item, inner);
        from = inner.to;
    }
    if (node->max == PN_EXPR_NO_MAX) {
        inner.from = pn_nfa_state(c->nfa);
        inner.to = pn_nfa_state(c->nfa);
        pn_nfa_empty(c->nfa, from, inner.from);
        build(c, node->item, inner);
        pn_nfa_empty(c->nfa, inner.to, inner.from);
        pn_nfa_empty(c->nfa, inner.from, at.to);
        return;
    }
    for (int i = node->min; i < node->max && !c->status && !c->nfa->too_large; i++) {
        pn_nfa_empty(c->nfa, from, at.to);
        inner.from = from;
        inner.to = i + 1 < node->max ? pn_nfa_state(c->nfa) : at.to;
        build(c, node->item, inner);
        from = inner.to;
    }
}

static void build_repeat(struct compiler *c, pn_expr e, struct place at)
{
    const struct pn_expr_node *node = pn_expr_get(c->b, e);
    uint64_t weight = pn_expr_weight(&c->facts, e);
    bool is_small = weight <= EXPANDED || (node->max <= 1 && node->min <= 1);
    if (c->regular && !is_small && weight > MAX_EXPANDED) {
        if (!c->status)
            c->status = pn_fail(&c->error, PANTRY_LIMIT,
                                "a repetition inside an intersection or complement is too large (about %s states)",
                                pn_digits(weight).text);
        return;
    }
    if (is_small || c->regular)
        build_expanded(c, node, at);
    else
        build_count(c, e, at);
}

static void build_seq(struct compiler *c, const struct pn_expr_node *node, struct place at)
{
    struct place item = {.from = at.from, .json = at.json};
    for (uint32_t i = 0; i < node->n && !c->status; i++) {
        item.to = i + 1 < node->n ? pn_nfa_state(c->nfa) : at.to;
        item.last = at.last && i + 1 == node->n;
        build(c, node->items[i], item);
        item.from = item.to;
    }
}

static void build(struct compiler *c, pn_expr e, struct place at)
{
    const struct pn_expr_node *node = pn_expr_get(c->b, e);
    if (c->status || c->nfa->too_large || c->nfa->no_memory)
        return;
    c->depth++;
    switch ((enum pn_expr_kind)node->kind) {
    case PN_EXPR_LITERAL:
        build_literal(c, node, at);
        break;
    case PN_EXPR_CLASS:
        if (node->n > MANY_RANGES)
            embed(c, e, at);
        else
            build_ranges(c, node, at);
        break;
    case PN_EXPR_SEQ:
        build_seq(c, node, at);
        break;
    case PN_EXPR_CHOICE:
        for (uint32_t i = 0; i < node->n; i++)
            build(c, node->items[i], at);
        break;
    case PN_EXPR_REPEAT:
        build_repeat(c, e, at);
        break;
    case PN_EXPR_REF:
        build_ref(c, node->rule, at);
        break;
    case PN_EXPR_TOKEN:
        build_token(c, e, at);
        break;
    case PN_EXPR_AND:
    case PN_EXPR_NOT:
        embed(c, e, at);
        break;
    case PN_EXPR_JSON:
        if (at.json)
            c->status = pn_fail(&c->error, PANTRY_UNSUPPORTED, "a JSON string inside a JSON string is not supported");
        at.json = true;
        build(c, node->item, at);
        break;
    }
    c->depth--;
}

/* ---- rules ---- */

/* Deterministic and minimal, or, if that is too large, without empty edges. */
static void finish_rule(struct compiler *c, uint32_t start, uint32_t end, struct pn_fsa *out)
{
    size_t n = c->nfa->states.len;
    int64_t share = 1000000 + 500 * (int64_t)n, work = share < c->work ? share : c->work, before = work;
    uint32_t most = n < 10000 ? 1024 + 16 * (uint32_t)n : 170000;
    if (c->status)
        return;
    c->status = pn_fsa_determinize(c->nfa, start, end, most, &work, out, &c->error);
    c->work -= before - work;
    if (c->status == PANTRY_LIMIT)
        c->status = pn_fsa_without_empty(c->nfa, start, end, &c->work, out, &c->error);
    else if (!c->status)
        c->status = pn_fsa_minimize(out, &c->error);
}

/* Puts a copy of the start in front that is not final, so that a body of a count is not empty. */
static void without_empty_string(struct compiler *c, struct pn_fsa *fsa)
{
    struct pn_fsa_builder b = {0};
    bool ok = true;
    if (c->status || !fsa->final[0])
        return;
    for (uint32_t s = 0; ok && s <= fsa->n_states; s++) {
        uint32_t old = s ? s - 1 : 0;
        ok = pn_fsa_begin(&b, s != 0 && fsa->final[old]);
        for (uint32_t i = fsa->first[old]; ok && i < fsa->first[old + 1]; i++)
            ok = pn_fsa_add(&b, fsa->edges[i].first, fsa->edges[i].last, fsa->edges[i].to + 1);
    }
    bool deterministic = fsa->deterministic;
    pn_fsa_free(fsa);
    if (ok)
        c->status = pn_fsa_finish(&b, deterministic, fsa, &c->error);
    else
        fail_memory(c);
    pn_fsa_builder_free(&b);
}

static void build_token_text(struct compiler *c, const struct pn_expr_node *node, struct place at)
{
    if (node->negate) {
        pn_nfa_utf8(c->nfa, at.from, 0, 0xD7FF, at.to);
        pn_nfa_utf8(c->nfa, at.from, 0xE000, PN_MAX_CODE_POINT, at.to);
    } else {
        build_literal(c, node, at);
    }
}

/* Builds rule `number`; the vector of rules may move. */
static void build_rule(struct compiler *c, size_t number)
{
    struct pn_nfa nfa = {0};
    struct pn_built_rule rule = c->rules.data[number];
    struct pn_fsa fsa = {0};
    c->nfa = &nfa;
    c->tails.len = 0;
    c->component = 0;
    struct place at = {.from = pn_nfa_state(&nfa), .to = pn_nfa_state(&nfa), .json = rule.json, .last = true};
    if (number == 0) {
        build(c, rule.source, at);
    } else if (rule.is.counts) {
        at.last = false;
        build(c, pn_expr_get(c->b, rule.source)->item, at);
    } else if (rule.is.only_text) {
        build_token_text(c, pn_expr_get(c->b, rule.source), at);
    } else {
        c->component = c->facts.rules[rule.source].component;
        go_to(c, rule.source, at.from);
        for (size_t i = 0; i < c->tails.len && !c->status; i++) {
            at.from = c->tails.data[i].start;
            build(c, pn_expr_body(c->b, c->tails.data[i].rule), at);
        }
        at.from = 0;
        c->n_tail_states += c->tails.len > 1 ? nfa.states.len : 0;
    }
    finish_rule(c, at.from, at.to, &fsa);
    if (rule.is.counts)
        without_empty_string(c, &fsa);
    c->rules.data[number].fsa = fsa;
    pn_nfa_free(&nfa);
}

static void compiler_free(struct compiler *c)
{
    for (size_t i = 0; i < c->rules.len; i++)
        pn_fsa_free(&c->rules.data[i].fsa);
    for (size_t i = 0; i < c->parts.len; i++)
        pn_fsa_free(&c->parts.data[i].fsa);
    free(c->rules.data);
    free(c->labels.data);
    free(c->parts.data);
    free(c->tails.data);
    free(c->rule_number);
    free(c->node_number);
    free(c->label_number);
    pn_arena_free(&c->arena);
    pn_facts_free(&c->facts);
}

pantry_status pn_grammar_compile(const struct pn_expr_builder *b, pn_expr root, struct pn_grammar **out,
                                 struct pantry_error *err)
{
    struct compiler c = {.b = b, .work = max_work};
    *out = NULL;
    c.status = pn_expr_check(b, &c.error);
    if (!c.status)
        c.status = pn_facts_find(b, root, &c.facts, &c.error);
    size_t n_rules = (size_t)pn_expr_n_rules(b), n_nodes = (size_t)pn_expr_n_nodes(b);
    c.rule_number = calloc(n_rules + 1, sizeof *c.rule_number);
    c.node_number = calloc(2 * n_nodes + 1, sizeof *c.node_number);
    c.label_number = calloc(n_nodes + 1, sizeof *c.label_number);
    if (!c.rule_number || !c.node_number || !c.label_number)
        fail_memory(&c);
    if (!c.status)
        new_rule(&c, (struct pn_built_rule){.source = root, .is.name = "(start)"});
    for (size_t i = 0; !c.status && i < c.rules.len; i++)
        build_rule(&c, i);
    if (!c.status)
        c.status = pn_grammar_assemble(c.rules.data, (uint32_t)c.rules.len, c.labels.data, (uint32_t)c.labels.len,
                                       &c.arena, out, &c.error);
    pantry_status status = c.status;
    if (status && err)
        *err = c.error;
    compiler_free(&c);
    return status;
}
