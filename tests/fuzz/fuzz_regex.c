/* Fuzzes regular expressions: a flag byte (odd: search), a pattern, a NUL, and a text. What compiles must judge the
 * text like the reference, if both are small. */
#include "grammar/match.h"
#include "grammar/regex.h"
#include "grammar_oracle.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { SMALL_PATTERN = 60, SMALL_TEXT = 12 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pn_expr_builder *b;
    struct pn_grammar *g;
    struct pantry_error err;
    pn_expr e;
    if (size == 0)
        return 0;
    enum pn_regex_mode mode = data[0] & 1 ? PN_REGEX_SEARCH : PN_REGEX_FULL;
    data++, size--;
    const uint8_t *end = size ? memchr(data, 0, size) : NULL;
    size_t n = end ? (size_t)(end - data) : size, n_text = end ? size - n - 1 : 0;
    char *pattern = malloc(n + 1), *text = malloc(n_text + 1); /* of exactly this size */
    if (!pattern || !text || pn_expr_builder_new(&b, &err))
        abort();
    if (n)
        memcpy(pattern, data, n);
    if (n_text)
        memcpy(text, end + 1, n_text);
    pantry_status status = pn_regex_parse(b, pattern, n, mode, &e, &err);
    if (status ? !err.text[0] : !pn_expr_get(b, e)->regular)
        abort();
    if (!status && pn_grammar_compile(b, e, &g, &err) == PANTRY_OK) {
        bool accepted;
        n_text = n_text > 200 ? 200 : n_text;
        if (!pn_grammar_accepts(g, text, n_text, &accepted, &err) && n < SMALL_PATTERN && n_text < SMALL_TEXT &&
            oracle_accepts(b, e, text, n_text) != accepted)
            abort();
        pn_grammar_free(g);
    }
    pn_expr_builder_free(b);
    free(pattern);
    free(text);
    return 0;
}
