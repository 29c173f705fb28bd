/* Pictures in texts: placeholders become tokens. */
#include "model/vision/vision.h"

#include <string.h>

static const char *placeholder(const struct pn_vision *v)
{
    return v->family->placeholder ? v->family->placeholder : v->token_text;
}

/* The next placeholder from `at` on; len: there is none. */
static size_t next(const struct pn_vision *v, const char *text, size_t len, size_t at)
{
    const char *what = placeholder(v);
    size_t n = strlen(what);
    for (; at + n <= len; at++)
        if (memcmp(text + at, what, n) == 0)
            return at;
    return len;
}

size_t pn_vision_placeholders(const struct pn_vision *v, const char *text, size_t len)
{
    size_t n = 0, step = strlen(placeholder(v));
    for (size_t at = next(v, text, len, 0); at < len; at = next(v, text, len, at + step))
        n++;
    return n;
}

static void put_picture(const struct pn_vision *v, const struct pn_vision_views *picture, struct pn_buf *out)
{
    const struct pn_vision_family *f = v->family;
    pn_buf_puts(out, f->before ? f->before : "");
    for (size_t i = 0; i < picture->n && !f->apart; i++)
        for (int n = pn_vision_view_rows(v, &picture->view[i]); n > 0; n--)
            pn_buf_puts(out, v->token_text);
    if (f->apart)
        pn_buf_puts(out, v->token_text);
    pn_buf_puts(out, f->after ? f->after : "");
}

pantry_status pn_vision_expand(const struct pn_vision *v, const char *text, size_t len,
                               const struct pn_vision_views *pictures, size_t n, struct pn_buf *out,
                               struct pantry_error *err)
{
    size_t found = pn_vision_placeholders(v, text, len), at = 0;
    if (found != n)
        return pn_fail(err, PANTRY_INVALID, "the text has %zu places for pictures (%s), but %zu pictures were given",
                       found, placeholder(v), n);
    for (size_t i = 0; i < n; i++) {
        size_t place = next(v, text, len, at);
        pn_buf_append(out, text + at, place - at);
        put_picture(v, &pictures[i], out);
        at = place + strlen(placeholder(v));
    }
    pn_buf_append(out, text + at, len - at);
    return out->failed ? pn_no_memory(err, "a prompt") : PANTRY_OK;
}
