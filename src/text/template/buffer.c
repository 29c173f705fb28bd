/* Bytes under construction. */
#include "text/template/value.h"

#include <string.h>

static void grow(struct jj_buf *b, size_t extra)
{
    size_t need;
    if (!pn_size_add(b->n, extra, &need) || need > b->r->max_output)
        pn_jj_throw(b->r, PANTRY_LIMIT, "budget exceeded: text of more than %zu bytes", b->r->max_output);
    if (need < b->cap)
        return;
    size_t cap = b->cap < 64 ? 64 : b->cap * 2;
    if (cap <= need)
        cap = need + 1;
    char *p = pn_jj_alloc(b->r, cap);
    if (b->n)
        memcpy(p, b->p, b->n);
    b->p = p;
    b->cap = cap;
}

void pn_jj_put(struct jj_buf *b, const char *p, size_t n)
{
    if (n == 0)
        return;
    if (b->cap - b->n <= n)
        grow(b, n);
    memcpy(b->p + b->n, p, n);
    b->n += n;
    pn_jj_step(b->r, n / 64);
}

void pn_jj_puts(struct jj_buf *b, const char *text)
{
    pn_jj_put(b, text, strlen(text));
}

void pn_jj_putc(struct jj_buf *b, char c)
{
    pn_jj_put(b, &c, 1);
}

void pn_jj_put_char(struct jj_buf *b, uint32_t code_point)
{
    char u[4];
    pn_jj_put(b, u, pn_jj_encode(code_point, u));
}

void pn_jj_pad(struct jj_buf *b, uint32_t fill, int64_t count)
{
    char u[4];
    size_t n = pn_jj_encode(fill, u);
    if (count > 0 && (uint64_t)count > b->r->max_output / n)
        pn_jj_throw(b->r, PANTRY_LIMIT, "budget exceeded: text of more than %zu bytes", b->r->max_output);
    for (int64_t i = 0; i < count; i++)
        pn_jj_put(b, u, n);
}

jv pn_jj_buf_str(struct jj_buf *b)
{
    return pn_jj_str(b->r, b->n ? b->p : "", b->n);
}
