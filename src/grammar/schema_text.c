/* Strings: patterns, formats, lengths and lists of values as expressions. */
#include "grammar/schema_impl.h"
#include "grammar/regex.h"

#include <string.h>

static const struct format {
    const char *name, *pattern;
} formats[] = {
#define PN_FORMAT_ROW(name, pattern) {name, pattern},
#include "grammar/schema_formats.def"
#undef PN_FORMAT_ROW
};

/* The expression of a regular expression, the same one each time. */
static bool regular(struct pn_schema *s, const struct pn_place *place, const char *keyword, struct pn_str text,
                    enum pn_regex_mode mode, struct pn_language *out)
{
    struct pantry_error why = {0};
    struct pn_pattern known = {.text = text, .mode = (int)mode};
    if (s->status)
        return false;
    for (size_t i = 0; i < s->patterns.len; i++)
        if (s->patterns.data[i].mode == (int)mode && pn_str_same(s->patterns.data[i].text, text)) {
            *out = (struct pn_language){s->patterns.data[i].e, false};
            return true;
        }
    if (!pn_schema_step(s, place, s->patterns.len + text.len))
        return false;
    pantry_status status = pn_regex_parse(s->b, text.data, text.len, mode, &known.e, &why);
    known.text.data = pn_arena_copy(&s->arena, text.data, text.len);
    if (status)
        return pn_schema_fail(s, status, place, keyword, "%s", why.text) != NULL;
    if (!known.text.data || !pn_vec_push(&s->patterns, known))
        return pn_schema_no_memory(s) != NULL;
    *out = (struct pn_language){known.e, false};
    return true;
}

bool pn_text_pattern(struct pn_schema *s, const struct pn_place *place, const json_t *pattern, struct pn_language *out)
{
    struct pn_str text = {json_string_value(pattern), json_string_length(pattern)};
    return regular(s, place, "pattern", text, PN_REGEX_SEARCH, out);
}

bool pn_text_format(struct pn_schema *s, const json_t *format, struct pn_language *out, bool *known)
{
    const char *name = json_string_value(format);
    *known = false;
    for (size_t i = 0; name && i < sizeof formats / sizeof *formats; i++)
        if (strcmp(formats[i].name, name) == 0) {
            struct pn_str text = {formats[i].pattern, strlen(formats[i].pattern)};
            *known = true;
            return regular(s, NULL, "format", text, PN_REGEX_FULL, out);
        }
    return true;
}

static pn_expr choice_of(struct pn_schema *s, const struct pn_strings *list)
{
    pn_expr *items = pn_schema_alloc(s, list->n, sizeof *items);
    for (size_t i = 0; items && i < list->n; i++)
        items[i] = pn_expr_literal(s->b, list->items[i].data, list->items[i].len);
    return items ? pn_expr_choice(s->b, items, list->n) : PN_EXPR_NONE;
}

pn_expr pn_text_expr(struct pn_schema *s, const struct pn_text *text)
{
    pn_expr e = PN_EXPR_NONE;
    bool first = true;
    if (text->finite)
        return choice_of(s, &text->values);
    for (size_t i = 0; i < text->languages.n; i++) {
        pn_expr language = text->languages.items[i].e;
        if (text->languages.items[i].negated)
            language = pn_expr_not(s->b, language);
        e = first ? language : pn_expr_and(s->b, e, language);
        first = false;
    }
    if (text->min > 0 || text->max != PN_NO_LIMIT || first) {
        if (text->min > PN_EXPR_MAX_REPEAT)
            return pn_expr_fail(s->b, PANTRY_LIMIT, "minLength: more than %d characters", PN_EXPR_MAX_REPEAT);
        int max = text->max > PN_EXPR_MAX_REPEAT || text->max == PN_NO_LIMIT ? PN_EXPR_NO_MAX : (int)text->max;
        pn_expr length = pn_expr_repeat(s->b, pn_expr_class(s->b, NULL, 0, true), (int)text->min, max);
        e = first ? length : pn_expr_and(s->b, e, length);
    }
    if (text->excluded.n)
        e = pn_expr_and(s->b, e, pn_expr_not(s->b, choice_of(s, &text->excluded)));
    return e;
}
