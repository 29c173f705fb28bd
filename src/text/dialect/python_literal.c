/* Python literals in calls, translated into JSON. */
#include "text/dialect/dialect_impl.h"

#include <string.h>

/* Nesting of a literal. */
#define MAX_PYTHON_DEPTH 64

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static void put_escape(struct pn_buf *text, struct pn_cut *cut, int n_hex)
{
    uint32_t value = 0;
    int n = 0;
    for (; n < n_hex && cut->pos < cut->len; n++, cut->pos++) {
        char c = cut->text[cut->pos];
        uint32_t digit;
        if (is_digit(c))
            digit = (uint32_t)(c - '0');
        else if ((c | 32) >= 'a' && (c | 32) <= 'f')
            digit = (uint32_t)((c | 32) - 'a' + 10);
        else
            break;
        value = value << 4 | digit;
    }
    pn_buf_put_utf8(text, value);
}

static void put_python_escape(struct pn_buf *text, struct pn_cut *cut)
{
    static const char from[] = "ntrbfav0", to[] = "\n\t\r\b\f\a\v";
    char c = cut->text[cut->pos++];
    const char *known = strchr(from, c);
    if (c == 'x' || c == 'u' || c == 'U')
        put_escape(text, cut, c == 'x' ? 2 : c == 'u' ? 4 : 8);
    else if (c == '\n')
        return;
    else if (c && known)
        pn_buf_append(text, &to[known - from], 1);
    else if (c == '\\' || c == '\'' || c == '"')
        pn_buf_putc(text, c);
    else { /* Python keeps the backslash of an unknown escape */
        pn_buf_putc(text, '\\');
        pn_buf_putc(text, c);
    }
}

static enum pn_step python_string(struct pn_cut *cut, struct pn_buf *out)
{
    char quote = cut->text[cut->pos];
    size_t end = cut->pos + 1;
    while (end < cut->len && cut->text[end] != quote)
        end += cut->text[end] == '\\' ? 2 : 1;
    if (end >= cut->len) {
        if (cut->final)
            cut->pos = cut->len;
        return pn_cut_short(cut);
    }
    struct pn_buf text = {0};
    struct pn_cut in = {cut->text, end, cut->pos + 1, true};
    while (in.pos < end) {
        if (in.text[in.pos] == '\\') {
            in.pos++;
            put_python_escape(&text, &in);
        } else {
            pn_buf_putc(&text, in.text[in.pos++]);
        }
    }
    pn_json_put_string(out, text.data ? text.data : "", text.len);
    out->failed |= text.failed;
    pn_buf_free(&text);
    cut->pos = end + 1;
    return PN_DONE;
}

static enum pn_step python_word(struct pn_cut *cut, struct pn_buf *out)
{
    static const char *const words[][2] = {{"True", "true"}, {"False", "false"}, {"None", "null"},
                                           {"true", "true"}, {"false", "false"}, {"null", "null"}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        enum pn_step step = pn_cut_literal(cut, words[i][0]);
        if (step == PN_MORE)
            return PN_MORE;
        if (step == PN_DONE) {
            pn_buf_puts(out, words[i][1]);
            return PN_DONE;
        }
    }
    size_t start = cut->pos;
    PN_TRY(pn_cut_number(cut));
    pn_buf_append(out, cut->text + start, cut->pos - start);
    return PN_DONE;
}

/* The members of a list, tuple or dict after its opening bracket. */
static enum pn_step python_members(struct pn_cut *cut, struct pn_buf *out, char close, int depth)
{
    for (bool first = true;; first = false) {
        char c;
        PN_TRY(pn_cut_space(cut));
        PN_TRY(pn_cut_peek(cut, &c));
        if (!first && c == ',') {
            cut->pos++;
            PN_TRY(pn_cut_space(cut));
            PN_TRY(pn_cut_peek(cut, &c));
            if (c != close)
                pn_buf_putc(out, ',');
        } else if (!first && c != close) {
            return PN_FAIL;
        }
        if (c == close) {
            cut->pos++;
            return PN_DONE;
        }
        if (close == '}') {
            if (c != '"' && c != '\'')
                return PN_FAIL;
            PN_TRY(python_string(cut, out));
            PN_TRY(pn_cut_space(cut));
            PN_TRY(pn_cut_literal(cut, ":"));
            pn_buf_putc(out, ':');
            PN_TRY(pn_cut_space(cut));
        }
        PN_TRY(pn_cut_python(cut, out, depth + 1));
    }
}

enum pn_step pn_cut_python(struct pn_cut *cut, struct pn_buf *out, int depth)
{
    char c;
    PN_TRY(pn_cut_peek(cut, &c));
    if (depth > MAX_PYTHON_DEPTH)
        return PN_FAIL;
    if (c == '"' || c == '\'')
        return python_string(cut, out);
    if (c != '[' && c != '(' && c != '{')
        return python_word(cut, out);
    cut->pos++;
    pn_buf_putc(out, c == '{' ? '{' : '[');
    PN_TRY(python_members(cut, out, c == '{' ? '}' : c == '[' ? ']' : ')', depth));
    pn_buf_putc(out, c == '{' ? '}' : ']');
    return PN_DONE;
}
