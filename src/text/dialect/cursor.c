/* The cursor that call parsers read through: literals and JSON values, each able to say "more". */
#include "text/dialect/dialect_impl.h"

#include <string.h>

/* Nesting of a JSON value in a call. */
#define MAX_DEPTH 256

bool pn_is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

size_t pn_text_find(const char *text, size_t len, size_t from, const char *needle)
{
    size_t n = strlen(needle);
    while (from < len && len - from >= n) {
        const char *at = memchr(text + from, needle[0], len - from - n + 1);
        if (!at)
            break;
        if (memcmp(at, needle, n) == 0)
            return (size_t)(at - text);
        from = (size_t)(at - text) + 1;
    }
    return len;
}

enum pn_step pn_cut_short(const struct pn_cut *cut)
{
    return cut->final ? PN_FAIL : PN_MORE;
}

enum pn_step pn_cut_peek(struct pn_cut *cut, char *c)
{
    if (cut->pos >= cut->len)
        return pn_cut_short(cut);
    *c = cut->text[cut->pos];
    return PN_DONE;
}

enum pn_step pn_cut_literal(struct pn_cut *cut, const char *literal)
{
    size_t n = strlen(literal), left = cut->len - cut->pos;
    if (left >= n) {
        if (memcmp(cut->text + cut->pos, literal, n) != 0)
            return PN_FAIL;
        cut->pos += n;
        return PN_DONE;
    }
    if (left && memcmp(cut->text + cut->pos, literal, left) != 0)
        return PN_FAIL;
    return pn_cut_short(cut);
}

enum pn_step pn_cut_optional(struct pn_cut *cut, const char *literal, bool *found)
{
    enum pn_step step = pn_cut_literal(cut, literal);
    *found = step == PN_DONE;
    return step == PN_MORE ? PN_MORE : PN_DONE;
}

enum pn_step pn_cut_space(struct pn_cut *cut)
{
    while (cut->pos < cut->len && pn_is_space(cut->text[cut->pos]))
        cut->pos++;
    return cut->pos == cut->len && !cut->final ? PN_MORE : PN_DONE;
}

enum pn_step pn_cut_until(struct pn_cut *cut, const char *needle, struct pn_slice *out)
{
    size_t at = pn_text_find(cut->text, cut->len, cut->pos, needle);
    if (at == cut->len) {
        if (cut->final)
            cut->pos = cut->len;
        return pn_cut_short(cut);
    }
    *out = (struct pn_slice){cut->text + cut->pos, at - cut->pos};
    cut->pos = at + strlen(needle);
    return PN_DONE;
}

enum pn_step pn_cut_within(struct pn_cut *cut, const char *needle, size_t max, struct pn_slice *out)
{
    struct pn_cut near = *cut;
    size_t limit = max + strlen(needle);
    if (near.len - near.pos >= limit) { /* beyond the limit it does not count */
        near.len = near.pos + limit;
        near.final = true;
    }
    PN_TRY(pn_cut_until(&near, needle, out));
    cut->pos = near.pos;
    return PN_DONE;
}

/* ---- JSON ---- */

static enum pn_step cut_string(struct pn_cut *cut)
{
    size_t i = cut->pos + 1;
    for (; i < cut->len; i++) {
        if (cut->text[i] == '"') {
            cut->pos = i + 1;
            return PN_DONE;
        }
        if (cut->text[i] == '\\')
            i++;
    }
    if (cut->final)
        cut->pos = cut->len;
    return pn_cut_short(cut);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static size_t digits(const struct pn_cut *cut, size_t i)
{
    while (i < cut->len && is_digit(cut->text[i]))
        i++;
    return i;
}

enum pn_step pn_cut_number(struct pn_cut *cut)
{
    const char *t = cut->text;
    size_t i = cut->pos + (t[cut->pos] == '-'), from = i;
    i = digits(cut, i);
    if (i == from)
        return i < cut->len ? PN_FAIL : pn_cut_short(cut);
    if (i < cut->len && t[i] == '.') {
        from = ++i;
        i = digits(cut, i);
        if (i == from)
            return i < cut->len ? PN_FAIL : pn_cut_short(cut);
    }
    if (i < cut->len && (t[i] == 'e' || t[i] == 'E')) {
        i++;
        if (i < cut->len && (t[i] == '+' || t[i] == '-'))
            i++;
        from = i;
        i = digits(cut, i);
        if (i == from)
            return i < cut->len ? PN_FAIL : pn_cut_short(cut);
    }
    if (i == cut->len && !cut->final)
        return PN_MORE; /* another digit may follow */
    cut->pos = i;
    return PN_DONE;
}

static enum pn_step cut_scalar(struct pn_cut *cut)
{
    switch (cut->text[cut->pos]) {
    case '"':
        return cut_string(cut);
    case 't':
        return pn_cut_literal(cut, "true");
    case 'f':
        return pn_cut_literal(cut, "false");
    case 'n':
        return pn_cut_literal(cut, "null");
    default:
        return pn_cut_number(cut);
    }
}

/* After '{' or ',' of an object: a key and its colon. */
static enum pn_step cut_key(struct pn_cut *cut)
{
    char c;
    PN_TRY(pn_cut_space(cut));
    PN_TRY(pn_cut_peek(cut, &c));
    if (c != '"')
        return PN_FAIL;
    PN_TRY(cut_string(cut));
    PN_TRY(pn_cut_space(cut));
    PN_TRY(pn_cut_literal(cut, ":"));
    return pn_cut_space(cut);
}

/* After a value: closes the brackets that end here, up to a comma. *depth is 0 when the whole value has ended. */
static enum pn_step cut_after(struct pn_cut *cut, const bool *is_object, int *depth)
{
    while (*depth) {
        char c;
        PN_TRY(pn_cut_space(cut));
        PN_TRY(pn_cut_peek(cut, &c));
        bool object = is_object[*depth - 1];
        if (c != ',' && c != (object ? '}' : ']'))
            return PN_FAIL;
        cut->pos++;
        if (c == ',')
            return object ? cut_key(cut) : pn_cut_space(cut);
        --*depth;
    }
    return PN_DONE;
}

enum pn_step pn_cut_json(struct pn_cut *cut, struct pn_slice *out)
{
    bool is_object[MAX_DEPTH];
    int depth = 0;
    size_t start = cut->pos;
    do {
        char c;
        PN_TRY(pn_cut_peek(cut, &c));
        if (c == '{' || c == '[') {
            if (depth == MAX_DEPTH)
                return PN_FAIL;
            is_object[depth++] = c == '{';
            cut->pos++;
            PN_TRY(pn_cut_space(cut));
            char next;
            PN_TRY(pn_cut_peek(cut, &next));
            if (next != (c == '{' ? '}' : ']')) {
                if (c == '{')
                    PN_TRY(cut_key(cut));
                continue;
            }
        } else {
            PN_TRY(cut_scalar(cut));
        }
        PN_TRY(cut_after(cut, is_object, &depth));
    } while (depth);
    *out = (struct pn_slice){cut->text + start, cut->pos - start};
    return PN_DONE;
}
