/* The ends of an expression from a set of starts, as sets of positions. The ends of rules are a least fixed point: all
 * (rule, start) pairs that are asked for are computed again until none changes. */
#include "grammar_oracle.h"

#include <stdlib.h>
#include <string.h>

typedef uint64_t word;

struct oracle {
    const struct pn_expr_builder *b;
    const unsigned char *text;
    size_t n, n_words;
    word **ends; /* by rule * (n + 1) + start; NULL: not asked for */
    bool changed;
};

static bool has(const word *set, size_t i)
{
    return set[i / 64] >> i % 64 & 1;
}

static void put(word *set, size_t i)
{
    set[i / 64] |= (word)1 << i % 64;
}

static word *new_set(const struct oracle *o)
{
    word *set = calloc(o->n_words, sizeof *set);
    if (!set)
        abort();
    return set;
}

static bool is_empty(const struct oracle *o, const word *set)
{
    for (size_t i = 0; i < o->n_words; i++)
        if (set[i])
            return false;
    return true;
}

static bool add_all(const struct oracle *o, word *to, const word *from)
{
    bool more = false;
    for (size_t i = 0; i < o->n_words; i++) {
        more = more || (from[i] & ~to[i]);
        to[i] |= from[i];
    }
    return more;
}

/* The code point at `at` and its bytes; 0 bytes: not UTF-8. */
static size_t code_point(const struct oracle *o, size_t at, uint32_t *c)
{
    static const struct {
        unsigned char mask, lead;
        uint32_t least;
    } form[] = {{0x80, 0x00, 0}, {0xE0, 0xC0, 0x80}, {0xF0, 0xE0, 0x800}, {0xF8, 0xF0, 0x10000}};
    for (size_t len = 1; len <= 4 && at + len <= o->n; len++) {
        if ((o->text[at] & form[len - 1].mask) != form[len - 1].lead)
            continue;
        *c = o->text[at] & (unsigned char)~form[len - 1].mask;
        for (size_t i = 1; i < len; i++) {
            if ((o->text[at + i] & 0xC0) != 0x80)
                return 0;
            *c = *c << 6 | (o->text[at + i] & 0x3F);
        }
        return *c < form[len - 1].least || *c > 0x10FFFF || (*c >= 0xD800 && *c < 0xE000) ? 0 : len;
    }
    return 0;
}

static word *ends_of(struct oracle *o, pn_expr e, const word *starts);

static void class_ends(struct oracle *o, const struct pn_expr_node *node, size_t start, word *out)
{
    uint32_t c;
    size_t len = code_point(o, start, &c);
    for (uint32_t i = 0; len && i < node->n; i++)
        if (c >= node->ranges[i].first && c <= node->ranges[i].last)
            put(out, start + len);
}

static void literal_ends(struct oracle *o, const char *bytes, size_t len, size_t start, word *out)
{
    if (len <= o->n - start && memcmp(o->text + start, bytes, len) == 0)
        put(out, start + len);
}

static void ref_ends(struct oracle *o, int rule, size_t start, word *out)
{
    word **known = &o->ends[(size_t)rule * (o->n + 1) + start];
    if (!*known) {
        *known = new_set(o);
        o->changed = true;
    }
    add_all(o, out, *known);
}

static void token_ends(struct oracle *o, const struct pn_expr_node *node, size_t start, word *out)
{
    uint32_t c;
    size_t len;
    if (node->negate) {
        len = code_point(o, start, &c);
        if (len)
            put(out, start + len);
    } else if (node->named) {
        literal_ends(o, node->bytes, node->n, start, out);
    }
}

static void and_ends(struct oracle *o, const struct pn_expr_node *node, size_t start, word *out)
{
    word *one = new_set(o);
    put(one, start);
    word *x = ends_of(o, node->items[0], one), *y = ends_of(o, node->items[1], one);
    for (size_t i = 0; i < o->n_words; i++)
        out[i] |= x[i] & y[i];
    free(one);
    free(x);
    free(y);
}

static void not_ends(struct oracle *o, const struct pn_expr_node *node, size_t start, word *out)
{
    word *one = new_set(o);
    uint32_t c;
    put(one, start);
    word *x = ends_of(o, node->item, one);
    for (size_t at = start, len = 1; len; at += len) {
        if (!has(x, at))
            put(out, at);
        len = code_point(o, at, &c);
    }
    free(one);
    free(x);
}

static int hex(unsigned char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Undoes the escape at `at`: its length, or 0 for none that json(...) has. */
static size_t unescape(const struct oracle *o, size_t at, char *c)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const unsigned char *p = o->text + at;
    if (o->n - at >= 2 && p[1] && strchr(from, p[1]))
        return *c = to[strchr(from, p[1]) - from], 2;
    if (o->n - at < 6 || memcmp(p, "\\u00", 4) != 0 || hex(p[4]) < 0 || hex(p[5]) < 0)
        return 0;
    *c = (char)(hex(p[4]) * 16 + hex(p[5]));
    return (unsigned char)*c < 0x20 && (*c == '\0' || !strchr("\b\f\n\r\t", *c)) ? 6 : 0;
}

/* Decodes from `start` as far as it goes and asks for x in what comes out. */
static void json_ends(struct oracle *o, const struct pn_expr_node *node, size_t start, word *out)
{
    char *plain = malloc(o->n + 1);
    size_t *place =
        malloc((o->n + 2) * sizeof *place); /* in the text, of each byte of `plain` that starts a character */
    size_t n = 0, at = start, len = 1;
    if (!plain || !place)
        abort();
    while (len) {
        uint32_t c;
        place[n] = at;
        len = code_point(o, at, &c);
        if (len && c == '\\') {
            len = unescape(o, at, &plain[n]);
            n += len != 0;
        } else if (len && (c < 0x20 || c == '"')) {
            len = 0;
        } else {
            memcpy(plain + n, o->text + at, len);
            for (size_t i = 0; i < len; i++)
                place[n + i] = at;
            n += len;
        }
        at += len;
    }
    place[n] = at;
    struct oracle inner = {.b = o->b, .text = (unsigned char *)plain, .n = n, .n_words = n / 64 + 1};
    word *one = new_set(&inner);
    put(one, 0);
    word *x = ends_of(&inner, node->item, one);
    for (size_t i = 0; i <= n; i++)
        if (has(x, i))
            put(out, place[i]);
    free(one);
    free(x);
    free(plain);
    free(place);
}

static word *repeat_ends(struct oracle *o, const struct pn_expr_node *node, const word *starts)
{
    word *all = new_set(o);
    add_all(o, all, starts);
    for (int i = 0; i < node->min; i++) {
        word *next = ends_of(o, node->item, all);
        bool stays = memcmp(next, all, o->n_words * sizeof *all) == 0;
        free(all);
        all = next;
        if (stays || is_empty(o, all))
            break;
    }
    for (int i = node->min; node->max == PN_EXPR_NO_MAX || i < node->max; i++) {
        word *next = ends_of(o, node->item, all);
        bool more = add_all(o, all, next);
        free(next);
        if (!more)
            break;
    }
    return all;
}

static void ends_at(struct oracle *o, const struct pn_expr_node *node, size_t start, word *out)
{
    switch ((enum pn_expr_kind)node->kind) {
    case PN_EXPR_LITERAL:
        literal_ends(o, node->bytes, node->n, start, out);
        break;
    case PN_EXPR_CLASS:
        class_ends(o, node, start, out);
        break;
    case PN_EXPR_REF:
        ref_ends(o, node->rule, start, out);
        break;
    case PN_EXPR_TOKEN:
        token_ends(o, node, start, out);
        break;
    case PN_EXPR_AND:
        and_ends(o, node, start, out);
        break;
    case PN_EXPR_NOT:
        not_ends(o, node, start, out);
        break;
    case PN_EXPR_JSON:
        json_ends(o, node, start, out);
        break;
    default:
        abort();
    }
}

static word *ends_of(struct oracle *o, pn_expr e, const word *starts)
{
    const struct pn_expr_node *node = pn_expr_get(o->b, e);
    word *out = new_set(o);
    if (is_empty(o, starts))
        return out;
    if (node->kind == PN_EXPR_REPEAT) {
        free(out);
        return repeat_ends(o, node, starts);
    }
    if (node->kind == PN_EXPR_SEQ) {
        add_all(o, out, starts);
        for (uint32_t i = 0; i < node->n; i++) {
            word *next = ends_of(o, node->items[i], out);
            free(out);
            out = next;
        }
        return out;
    }
    if (node->kind == PN_EXPR_CHOICE) {
        for (uint32_t i = 0; i < node->n; i++) {
            word *some = ends_of(o, node->items[i], starts);
            add_all(o, out, some);
            free(some);
        }
        return out;
    }
    for (size_t start = 0; start <= o->n; start++)
        if (has(starts, start))
            ends_at(o, node, start, out);
    return out;
}

bool oracle_accepts(const struct pn_expr_builder *b, pn_expr e, const char *text, size_t n)
{
    struct oracle o = {.b = b, .text = (const unsigned char *)text, .n = n, .n_words = n / 64 + 1};
    size_t n_rules = (size_t)pn_expr_n_rules(b), n_pairs = n_rules * (n + 1);
    o.ends = calloc(n_pairs + 1, sizeof(word *));
    word *start = new_set(&o), *found = NULL;
    if (!o.ends)
        abort();
    put(start, 0);
    do {
        o.changed = false;
        for (size_t at = n + 1; at-- > 0;) /* from the end: what comes later is known when it is asked for */
            for (size_t rule = 0; rule < n_rules; rule++) {
                word *known = o.ends[rule * (n + 1) + at];
                if (!known)
                    continue;
                word *one = new_set(&o);
                put(one, at);
                word *now = ends_of(&o, pn_expr_body(b, (int)rule), one);
                o.changed = add_all(&o, known, now) || o.changed;
                free(one);
                free(now);
            }
        free(found);
        found = ends_of(&o, e, start);
    } while (o.changed);
    bool accepted = has(found, n);
    for (size_t i = 0; i < n_pairs; i++)
        free(o.ends[i]);
    free(o.ends);
    free(start);
    free(found);
    return accepted;
}
