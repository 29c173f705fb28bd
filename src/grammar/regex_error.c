/* Errors of regular expressions, with their column: see regex_impl.h. */
#include "grammar/regex_impl.h"

static size_t column_of(const struct pn_re *re, size_t at)
{
    size_t column = 1;
    for (size_t i = 0; i < at; i++)
        column += (re->text[i] & 0xC0) != 0x80;
    return column;
}

pn_expr pn_re_fail(struct pn_re *re, size_t at, const char *what)
{
    return pn_expr_fail(re->b, PANTRY_FORMAT, "pattern, column %zu: %s", column_of(re, at), what);
}

pn_expr pn_re_unsupported(struct pn_re *re, size_t at, const char *what)
{
    return pn_expr_fail(re->b, PANTRY_UNSUPPORTED, "pattern, column %zu: %s is not supported", column_of(re, at), what);
}
