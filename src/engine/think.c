/* The budget of reasoning: see think.h. */
#include "engine/think.h"

#include "engine/tail.h"

#include <stdlib.h>
#include <string.h>

enum { PROMPT_TOKENS = 64, TOKEN_BYTES = 512 };

/* ---- text ---- */

static void drop_start(struct pn_think *t, size_t n)
{
    memmove(t->text.data, t->text.data + n, t->text.len - n);
    t->text.len -= n;
}

/* Where the text ends after the first `needle`; 0: it has none. */
static size_t after(const struct pn_think *t, const char *needle)
{
    size_t n = strlen(needle);
    for (size_t at = 0; at + n <= t->text.len; at++)
        if (memcmp(t->text.data + at, needle, n) == 0)
            return at + n;
    return 0;
}

/* Whether the last character is whole. */
static bool at_boundary(const struct pn_think *t)
{
    size_t back = 0;
    while (back < t->text.len && back < 4 && ((unsigned char)t->text.data[t->text.len - 1 - back] & 0xC0) == 0x80)
        back++;
    if (back == t->text.len)
        return back == 0;
    unsigned char first = (unsigned char)t->text.data[t->text.len - 1 - back];
    size_t wanted = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : first >= 0xC0 ? 1 : 0;
    return back >= wanted;
}

/* ---- life ---- */

/* Tags have lines of their own. */
static pantry_status encode_closing(struct pn_think *t, int i, const char *message, struct pantry_error *err)
{
    struct pn_buf text = {0}, first = {0};
    struct pn_ids *ids = &t->pair[i].closing;
    bool tag = strncmp(t->pair[i].close, "</", 2) == 0;
    if (message && *message)
        pn_buf_printf(&text, "%s%s", tag ? "\n" : "", message);
    pn_buf_printf(&text, "%s%s%s", tag ? "\n" : "", t->pair[i].close, tag ? "\n\n" : "");
    pantry_status status = text.failed ? pn_no_memory(err, "a budget of reasoning") : PANTRY_OK;
    if (!status)
        status = pn_tokenizer_encode(t->tokenizer, text.data, text.len, PN_TOKENIZE_SPECIAL, ids, err);
    if (!status && ids->len > 1)
        status = pn_tokenizer_token_bytes(t->tokenizer, ids->data[0], &first, err);
    if (!status && first.len == 1 && *first.data == ' ' && *text.data != ' ') /* a blank that a text begins with */
        memmove(ids->data, ids->data + 1, --ids->len * sizeof *ids->data);
    pn_buf_free(&text);
    pn_buf_free(&first);
    return status;
}

/* The marker that comes last in the prompt decides, if it is an opening one with only white space after it. */
static void read_prompt(struct pn_think *t, const int32_t *ids, int n)
{
    for (int i = n > PROMPT_TOKENS ? n - PROMPT_TOKENS : 0; i < n; i++)
        pn_spell_token(t->tokenizer, ids[i], &t->text);
    while (t->text.len && strchr(" \t\r\n", t->text.data[t->text.len - 1]))
        t->text.len--;
    for (int i = 0; i < t->n_pairs && t->inside < 0; i++) {
        size_t len = strlen(t->pair[i].open);
        if (t->text.len >= len && memcmp(t->text.data + t->text.len - len, t->pair[i].open, len) == 0)
            t->inside = i;
    }
    pn_buf_clear(&t->text);
}

pantry_status pn_think_init(struct pn_think *t, const struct pn_dialect *dialect, const struct pn_tokenizer *tokenizer,
                            int budget, const char *message, const int32_t *prompt, int n_prompt,
                            struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    *t = (struct pn_think){.tokenizer = tokenizer, .budget = budget, .inside = -1};
    while (t->n_pairs < PN_MAX_REASONING && !status &&
           pn_dialect_reasoning(dialect, (size_t)t->n_pairs, &t->pair[t->n_pairs].open, &t->pair[t->n_pairs].close)) {
        size_t open = strlen(t->pair[t->n_pairs].open), close = strlen(t->pair[t->n_pairs].close);
        t->keep = open > t->keep ? open : t->keep;
        t->keep = close > t->keep ? close : t->keep;
        status = encode_closing(t, t->n_pairs++, message, err);
    }
    if (!status && !pn_buf_reserve(&t->text, t->keep + TOKEN_BYTES))
        status = pn_no_memory(err, "a budget of reasoning");
    if (!status)
        read_prompt(t, prompt, n_prompt);
    return status;
}

void pn_think_free(struct pn_think *t)
{
    for (int i = 0; i < t->n_pairs; i++)
        free(t->pair[i].closing.data);
    pn_buf_free(&t->text);
    *t = (struct pn_think){0};
}

/* ---- following ---- */

void pn_think_take(struct pn_think *t, int32_t id)
{
    if (t->n_closing)
        t->n_closing--;
    if (!t->tokenizer || t->ended)
        return;
    t->n += t->inside >= 0;
    pn_spell_token(t->tokenizer, id, &t->text);
    size_t end = 0;
    for (int i = 0; i < t->n_pairs && t->inside < 0; i++)
        if ((end = after(t, t->pair[i].open))) {
            t->inside = i;
            drop_start(t, end);
        }
    if (t->inside >= 0 && after(t, t->pair[t->inside].close))
        t->ended = true;
    if (t->text.len > t->keep)
        drop_start(t, t->text.len - t->keep);
}

const struct pn_ids *pn_think_end(struct pn_think *t, bool now)
{
    if (!t->tokenizer || t->ended || t->inside < 0 || !(now || (t->budget >= 0 && t->n >= t->budget)) ||
        !at_boundary(t))
        return NULL;
    t->ended = true;
    t->n_closing = (int)t->pair[t->inside].closing.len;
    return &t->pair[t->inside].closing;
}
