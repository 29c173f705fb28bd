/* Memory, limits and exceptions of a render. */
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

/* The text of an exception does not count against the budget, so that an exhausted budget can be reported. */
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
