/* JSON text that a cursor has accepted: its members, its strings, and a clean copy of it. */
#include "text/dialect/dialect_impl.h"

#include <string.h>
#include <utf8proc.h>

static size_t skip_space(struct pn_slice s, size_t i)
{
    while (i < s.len && pn_is_space(s.at[i]))
        i++;
    return i;
}

bool pn_json_member(struct pn_slice object, size_t *pos, struct pn_slice *key, struct pn_slice *value)
{
    struct pn_cut cut = {object.at, object.len, *pos ? *pos : 1, true};
    cut.pos = skip_space(object, cut.pos);
    if (cut.pos < object.len && object.at[cut.pos] == ',')
        cut.pos = skip_space(object, cut.pos + 1);
    if (!object.len || object.at[0] != '{' || cut.pos >= object.len || object.at[cut.pos] != '"')
        return false;
    if (pn_cut_json(&cut, key) != PN_DONE)
        return false;
    cut.pos = skip_space(object, cut.pos);
    if (pn_cut_literal(&cut, ":") != PN_DONE)
        return false;
    cut.pos = skip_space(object, cut.pos);
    if (pn_cut_json(&cut, value) != PN_DONE)
        return false;
    *pos = cut.pos;
    return true;
}

bool pn_json_key_is(struct pn_slice key, const char *name)
{
    size_t n = strlen(name);
    return key.len == n + 2 && memcmp(key.at + 1, name, n) == 0;
}

void pn_utf8_put(struct pn_buf *out, const char *text, size_t len)
{
    size_t done = 0, i = 0;
    while (i < len) {
        if ((unsigned char)text[i] < 0x80) {
            i++;
            continue;
        }
        utf8proc_int32_t code;
        utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(len - i), &code);
        if (n > 0) {
            i += (size_t)n;
            continue;
        }
        pn_buf_append(out, text + done, i - done);
        pn_buf_put_utf8(out, 0xFFFD);
        done = ++i;
    }
    pn_buf_append(out, text + done, len - done);
}

void pn_json_put(struct pn_buf *out, struct pn_slice value)
{
    struct pn_buf clean = {0};
    bool in_string = false;
    for (size_t i = 0; i < value.len; i++) {
        char c = value.at[i];
        if (in_string && (unsigned char)c < 0x20) {
            pn_buf_printf(&clean, "\\u%04x", (unsigned)c);
            continue;
        }
        if (c == '"')
            in_string = !in_string;
        pn_buf_putc(&clean, c);
        if (in_string && c == '\\' && i + 1 < value.len)
            pn_buf_putc(&clean, value.at[++i]);
    }
    pn_utf8_put(out, clean.data ? clean.data : "", clean.len);
    out->failed |= clean.failed;
    pn_buf_free(&clean);
}

void pn_json_put_string(struct pn_buf *out, const char *text, size_t len)
{
    struct pn_buf quoted = {0};
    pn_buf_putc(&quoted, '"');
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\') {
            pn_buf_putc(&quoted, '\\');
            pn_buf_putc(&quoted, text[i]);
        } else if (c == '\n') {
            pn_buf_puts(&quoted, "\\n");
        } else if (c == '\t') {
            pn_buf_puts(&quoted, "\\t");
        } else if (c < 0x20) {
            pn_buf_printf(&quoted, "\\u%04x", c);
        } else {
            pn_buf_putc(&quoted, text[i]);
        }
    }
    pn_buf_putc(&quoted, '"');
    pn_utf8_put(out, quoted.data ? quoted.data : "", quoted.len);
    out->failed |= quoted.failed;
    pn_buf_free(&quoted);
}

json_t *pn_json_load(const char *text, size_t len)
{
    json_t *value = json_loadb(text, len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    if (!value) /* an integer beyond 64 bits */
        value = json_loadb(text, len, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, NULL);
    return value;
}

bool pn_json_unquote(struct pn_buf *out, struct pn_slice value)
{
    if (!value.len || value.at[0] != '"')
        return false;
    struct pn_buf clean = {0};
    pn_json_put(&clean, value);
    json_t *string = clean.failed ? NULL : pn_json_load(clean.data, clean.len);
    pn_buf_free(&clean);
    if (!string)
        return false;
    pn_buf_append(out, json_string_value(string), json_string_length(string));
    json_decref(string);
    return true;
}
