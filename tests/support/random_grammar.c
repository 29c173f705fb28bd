/* Draws expressions: see random_grammar.h. */
#include "random_grammar.h"

#include <stdio.h>
#include <string.h>

static pn_expr draw(struct pn_expr_builder *b, struct pn_rng *rng, int n_rules, int depth);

static pn_expr leaf(struct pn_expr_builder *b, struct pn_rng *rng, int n_rules)
{
    static const char *const texts[] = {"a", "b", "ab", "", "c", "\xC3\xA9", "ba", "\""};
    static const struct pn_code_range ranges[] = {{'a', 'b'}, {'b', 'c'}, {0xE9, 0xE9}, {'a', 0x1F600}};
    uint64_t pick = pn_rng_u64(rng);
    if (n_rules && pick % 3 == 0)
        return pn_expr_ref(b, (int)(pick / 3 % (uint64_t)n_rules));
    if (pick % 3 == 1)
        return pn_expr_class(b, &ranges[pick / 3 % 4], 1, pick / 12 % 4 == 0);
    return pn_expr_literal(b, texts[pick / 3 % 8], strlen(texts[pick / 3 % 8]));
}

/* An alternative that no string of the tests has makes the item so large that its repetition counts. */
static pn_expr enlarged(struct pn_expr_builder *b, pn_expr item)
{
    char text[200];
    memset(text, 'z', sizeof text);
    const pn_expr both[] = {item, pn_expr_literal(b, text, sizeof text)};
    return pn_expr_choice(b, both, 2);
}

static pn_expr repetition(struct pn_expr_builder *b, struct pn_rng *rng, int n_rules, int depth)
{
    uint64_t pick = pn_rng_u64(rng);
    int min = (int)(pick % 3), max = pick / 3 % 3 == 0 ? PN_EXPR_NO_MAX : min + (int)(pick / 9 % 3);
    pn_expr item = draw(b, rng, n_rules, depth - 1);
    return pn_expr_repeat(b, pick / 27 % 3 == 0 ? enlarged(b, item) : item, min, max);
}

/* Not another JSON string. */
static pn_expr json_content(struct pn_expr_builder *b, struct pn_rng *rng)
{
    const struct pn_code_range all = {0, PN_MAX_CODE_POINT};
    pn_expr one = leaf(b, rng, 0), more = pn_expr_repeat(b, leaf(b, rng, 0), 0, 2);
    const pn_expr both[] = {one, more};
    pn_expr e = pn_expr_seq(b, both, 2), any = pn_expr_repeat(b, pn_expr_class(b, &all, 1, false), 0, 3);
    uint64_t pick = pn_rng_u64(rng) % 3;
    return pick == 0 ? e : pick == 1 ? pn_expr_not(b, e) : pn_expr_and(b, any, pn_expr_not(b, e));
}

static pn_expr draw(struct pn_expr_builder *b, struct pn_rng *rng, int n_rules, int depth)
{
    pn_expr items[3];
    uint64_t pick = pn_rng_u64(rng);
    size_t n = 2 + pick / 8 % 2;
    if (depth == 0 || pick % 8 == 0)
        return leaf(b, rng, n_rules);
    if (pick % 8 == 1 || pick % 8 == 2)
        return repetition(b, rng, n_rules, depth);
    if (pick % 8 == 3)
        return pick / 8 % 3 == 0   ? pn_expr_json_chars(b, json_content(b, rng))
               : pick / 8 % 3 == 1 ? pn_expr_not(b, draw(b, rng, 0, depth - 1 > 2 ? 2 : depth - 1))
                                   : pn_expr_and(b, draw(b, rng, 0, depth - 1), draw(b, rng, 0, depth - 1));
    for (size_t i = 0; i < n; i++)
        items[i] = draw(b, rng, n_rules, depth - 1);
    return pick % 2 ? pn_expr_choice(b, items, n) : pn_expr_seq(b, items, n);
}

pn_expr random_grammar(struct pn_expr_builder *b, struct pn_rng *rng, int n_rules)
{
    char name[16];
    for (int i = 0; i < n_rules; i++) {
        snprintf(name, sizeof name, "r%d", i);
        pn_expr_rule(b, name, strlen(name));
    }
    for (int i = 0; i < n_rules; i++)
        pn_expr_define(b, i, draw(b, rng, n_rules, 3));
    return draw(b, rng, n_rules, 2);
}
