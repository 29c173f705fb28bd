/* The texts that calls are put together from: see tool_text.h. */
#include "engine/tool_text.h"

#include "base/alloc.h"

#include <string.h>

enum { MAX_TOKEN = 64 }; /* bytes of a control token */

/* The bytes of a control token at the beginning of `text`; 0: none is there. */
static size_t control_at(const struct pn_tokenizer *t, const char *text, int32_t *id)
{
    size_t n = strlen(text);
    for (size_t len = n < MAX_TOKEN ? n : MAX_TOKEN; t && len > 1; len--)
        if ((*id = pn_tokenizer_find(t, text, len)) >= 0 && pn_tokenizer_token_type(t, *id) == PN_TOKEN_CONTROL)
            return len;
    return 0;
}

pn_expr pn_tool_marker(const struct pn_tool_writer *w, const char *text)
{
    pn_expr items[64];
    size_t n = 0, from = 0, at = 0, len;
    int32_t id;
    while (text[at]) {
        if (!(len = control_at(w->tokenizer, text + at, &id)) || n + 2 >= sizeof items / sizeof *items) {
            at++;
            continue;
        }
        if (at > from)
            items[n++] = pn_expr_literal(w->b, text + from, at - from);
        items[n++] = pn_expr_token(w->b, &id, 1, false);
        from = at += len;
    }
    if (at > from || !n)
        items[n++] = pn_expr_literal(w->b, text + from, at - from);
    return pn_expr_seq(w->b, items, n);
}

void pn_tool_marker_key(const struct pn_tokenizer *t, const char *text, struct pn_buf *key)
{
    size_t len;
    int32_t id;
    for (size_t at = 0; text[at]; at += len ? len : 1)
        if ((len = control_at(t, text + at, &id)))
            pn_buf_printf(key, "%zu:%d ", at, (int)id);
    pn_buf_putc(key, ';');
}

pn_expr pn_tool_plain_text(const struct pn_tool_writer *w, const char *end, const char *also)
{
    pn_expr any = pn_expr_repeat(w->b, pn_expr_class(w->b, NULL, 0, true), 0, PN_EXPR_NO_MAX);
    const char *const texts[] = {end, also};
    const pn_expr zero[] = {any, pn_expr_literal(w->b, "", 1), any}; /* C's strings end there */
    pn_expr with[3] = {pn_expr_seq(w->b, zero, 3)};
    size_t n = 1;
    for (size_t i = 0; i < 2; i++)
        if (texts[i]) {
            const pn_expr parts[] = {any, pn_expr_literal(w->b, texts[i], strlen(texts[i])), any};
            with[n++] = pn_expr_seq(w->b, parts, 3);
        }
    return pn_expr_not(w->b, pn_expr_choice(w->b, with, n));
}
