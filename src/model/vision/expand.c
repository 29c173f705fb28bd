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

void pn_vision_write_rows(const struct pn_vision *v, int n, struct pn_buf *out)
{
    for (; n > 0; n--)
        pn_buf_puts(out, v->token_text);
}

void pn_vision_write_lines(const struct pn_vision *v, const struct pn_vision_views *picture, struct pn_buf *out)
{
    const struct pn_vision_view *view = picture->view;
    for (int lines = view->rows / v->group; lines > 0; lines--) {
        pn_vision_write_rows(v, view->cols / v->group, out);
        pn_buf_puts(out, lines > 1 ? v->line : v->after);
    }
}

static void put_picture(const struct pn_vision *v, const struct pn_vision_views *picture, struct pn_buf *out)
{
    const struct pn_vision_family *f = v->family;
    const char *before = v->before ? v->before : f->before, *after = v->after ? v->after : f->after;
    if (f->write) {
        f->write(v, picture, out);
        return;
    }
    pn_buf_puts(out, before ? before : "");
    pn_vision_write_rows(v, f->apart ? 1 : pn_vision_picture_rows(v, picture), out);
    pn_buf_puts(out, after ? after : "");
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
