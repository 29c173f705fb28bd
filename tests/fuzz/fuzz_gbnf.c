/* Fuzzes GBNF and the matcher: a source, a NUL, and a text. What compiles must judge the text like the reference, if
 * both are small, and every step of it must leave something that a mask allows. */
#include "grammar/gbnf.h"
#include "grammar/mask.h"
#include "grammar/match.h"
#include "grammar_oracle.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { SMALL_SOURCE = 120, SMALL_TEXT = 12 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Tokens of one byte each, and one that ends. */
static struct pn_grammar_vocabulary *bytes_vocabulary(void)
{
    static struct pn_grammar_vocabulary *v;
    static char bytes[256];
    struct pn_grammar_token tokens[257] = {0};
    for (int i = 0; i < 256; i++) {
        bytes[i] = (char)i;
        tokens[i].bytes = (struct pn_str){&bytes[i], 1};
    }
    tokens[256].ends = true;
    if (!v && pn_grammar_vocabulary_new(tokens, 257, &v, NULL))
        abort();
    return v;
}

static void follow(struct pn_grammar *g, const char *text, size_t n, bool accepted)
{
    struct pn_matcher *m;
    struct pn_mask mask;
    if (pn_matcher_new(g, bytes_vocabulary(), &m, NULL)) /* a token that it names is missing */
        return;
    for (size_t i = 0; i <= n; i++) {
        unsigned char byte = i < n ? (unsigned char)text[i] : 0;
        if (pn_matcher_mask(m, &mask, NULL))
            break;
        bool allowed = mask.bits[byte / 64] >> byte % 64 & 1;
        if (i == n && accepted != pn_matcher_can_end(m) && g->n_labels == 0)
            abort();
        if (i == n)
            break;
        pantry_status status = pn_matcher_accept(m, byte, NULL);
        if (status == PANTRY_LIMIT)
            break;
        if ((status == PANTRY_OK) != allowed)
            abort();
        if (status)
            break;
    }
    pn_matcher_free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pn_expr_builder *b;
    struct pn_grammar *g;
    struct pantry_error err;
    pn_expr root;
    const uint8_t *end = size ? memchr(data, 0, size) : NULL;
    size_t n = end ? (size_t)(end - data) : size, n_text = end ? size - n - 1 : 0;
    char *source = malloc(n + 1), *text = malloc(n_text + 1); /* of exactly this size */
    if (!source || !text || pn_expr_builder_new(&b, &err))
        abort();
    if (n)
        memcpy(source, data, n);
    if (n_text)
        memcpy(text, end + 1, n_text);
    pantry_status status = pn_gbnf_parse(b, source, n, &root, &err);
    if (status && !err.text[0])
        abort();
    if (!status && pn_grammar_compile(b, root, &g, &err) == PANTRY_OK) {
        bool accepted;
        n_text = n_text > 200 ? 200 : n_text;
        if (!pn_grammar_accepts(g, text, n_text, &accepted, &err)) {
            if (n < SMALL_SOURCE && n_text < SMALL_TEXT && oracle_accepts(b, root, text, n_text) != accepted)
                abort();
            follow(g, text, n_text, accepted);
        }
        pn_grammar_free(g);
    }
    pn_expr_builder_free(b);
    free(source);
    free(text);
    return 0;
}
