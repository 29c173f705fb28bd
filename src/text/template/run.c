/* Memory, limits and exceptions of a render, and its byte buffers. */
#include "text/template/value.h"

#include <stdio.h>
#include <string.h>

void *pn_jj_alloc(struct jj_run *r, size_t size)
{
    if (size > r->max_memory || r->arena.used > r->max_memory - size)
        pn_jj_throw(r, PANTRY_LIMIT, "budget exceeded: more than %zu bytes of memory", r->max_memory);
    void *p = pn_arena_alloc(&r->arena, size);
    if (!p)
        pn_jj_throw(r, PANTRY_NO_MEMORY, "out of memory for rendering a template");
    return p;
}

void *pn_jj_array(struct jj_run *r, size_t count, size_t size)
{
    size_t bytes;
    if (!pn_size_mul(count, size, &bytes))
        bytes = SIZE_MAX;
    return pn_jj_alloc(r, bytes);
}

/* The text of an exception is made outside of the budget, or running out of it could not be reported. */
static char *format_message(struct jj_run *r, const char *prefix, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    size_t skip = strlen(prefix);
    char *text = n < 0 ? NULL : pn_arena_alloc(&r->arena, skip + (size_t)n + 1);
    if (text) {
        memcpy(text, prefix, skip);
        vsnprintf(text + skip, (size_t)n + 1, format, again);
    }
    va_end(again);
    return text;
}

_Noreturn void pn_jj_raise(struct jj_run *r, const char *type, const char *format, ...)
{
    char prefix[64];
    snprintf(prefix, sizeof prefix, "%s: ", type);
    va_list args;
    va_start(args, format);
    r->message = format_message(r, prefix, format, args);
    va_end(args);
    r->status = r->message ? PANTRY_INVALID : PANTRY_NO_MEMORY;
    longjmp(r->escape, 1);
}

_Noreturn void pn_jj_throw(struct jj_run *r, pantry_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    r->message = format_message(r, "", format, args);
    va_end(args);
    r->status = r->message ? status : PANTRY_NO_MEMORY;
    longjmp(r->escape, 1);
}

_Noreturn void pn_jj_raise_undefined(struct jj_run *r, jv undefined)
{
    const struct jj_undefined *u = undefined.u.undef;
    pn_jj_raise(r, u->security ? "SecurityError" : "UndefinedError", "%s", pn_jj_undefined_message(r, u));
}

_Noreturn void pn_jj_over_steps(struct jj_run *r)
{
    pn_jj_throw(r, PANTRY_LIMIT, "budget exceeded: more than %zu steps", r->max_steps);
}

_Noreturn void pn_jj_over_stack(struct jj_run *r)
{
    pn_jj_throw(r, PANTRY_LIMIT, "budget exceeded: nested too deeply for the stack");
}

void pn_jj_enter(struct jj_run *r)
{
    jj_check_stack(r);
    if (++r->depth > r->max_depth)
        pn_jj_throw(r, PANTRY_LIMIT, "budget exceeded: nested deeper than %zu levels", r->max_depth);
}

char *pn_jj_sprintf(struct jj_run *r, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    char *text = pn_jj_alloc(r, n < 0 ? 1 : (size_t)n + 1);
    if (n >= 0)
        vsnprintf(text, (size_t)n + 1, format, again);
    va_end(again);
    va_end(args);
    return text;
}

/* ---- buffers ---- */

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
