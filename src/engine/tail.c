/* The end of a text: see tail.h. */
#include "engine/tail.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_TEXTS = 256, MAX_TEXT = 4096, TOKEN_BYTES = 512 };

pantry_status pn_phrases_init(struct pn_phrases *t, const char *const *given, size_t n, const char *name,
                              struct pantry_error *err)
{
    *t = (struct pn_phrases){0};
    if (n > MAX_TEXTS)
        return pn_fail(err, PANTRY_INVALID, "%s: too many texts (found %zu, allowed %d)", name, n, MAX_TEXTS);
    t->at = calloc(n + 1, sizeof *t->at);
    if (!t->at)
        return pn_no_memory(err, "a sampler");
    for (; t->n < n; t->n++) {
        size_t len = given[t->n] ? strlen(given[t->n]) : 0;
        if (!len || len > MAX_TEXT)
            return pn_fail(err, PANTRY_INVALID, "%s[%zu]: wrong length (found %zu bytes, allowed 1 to %d)", name, t->n,
                           len, MAX_TEXT);
        char *copy = malloc(len + 1);
        if (!copy)
            return pn_no_memory(err, "a sampler");
        t->at[t->n] = memcpy(copy, given[t->n], len + 1);
        t->longest = len > t->longest ? len : t->longest;
    }
    return PANTRY_OK;
}

void pn_phrases_free(struct pn_phrases *t)
{
    for (size_t i = 0; i < t->n; i++)
        free(t->at[i]);
    free(t->at);
    *t = (struct pn_phrases){0};
}

pantry_status pn_tail_init(struct pn_tail *t, const struct pn_tokenizer *tokenizer, size_t longest,
                           struct pantry_error *err)
{
    *t = (struct pn_tail){.tokenizer = tokenizer, .keep = longest ? longest - 1 : 0};
    return pn_buf_reserve(&t->text, t->keep + TOKEN_BYTES) ? PANTRY_OK : pn_no_memory(err, "a sampler");
}

void pn_tail_free(struct pn_tail *t)
{
    pn_buf_free(&t->text);
}

void pn_spell_token(const struct pn_tokenizer *t, int32_t id, struct pn_buf *out)
{
    size_t len;
    if (pn_tokenizer_token_type(t, id) != PN_TOKEN_CONTROL) {
        pn_tokenizer_token_bytes(t, id, out, NULL);
        return;
    }
    const char *text = pn_tokenizer_token_text(t, id, &len);
    if (text)
        pn_buf_append(out, text, len);
}

void pn_tail_look(struct pn_tail *t, int32_t id)
{
    t->text.len = t->before;
    if (t->tokenizer && t->special)
        pn_spell_token(t->tokenizer, id, &t->text);
    else if (t->tokenizer)
        pn_tokenizer_token_bytes(t->tokenizer, id, &t->text, NULL);
}

void pn_tail_take(struct pn_tail *t)
{
    size_t over = t->text.len > t->keep ? t->text.len - t->keep : 0;
    if (over)
        memmove(t->text.data, t->text.data + over, t->text.len - over);
    t->text.len -= over;
    t->before = t->text.len;
    t->n_taken++;
}

bool pn_phrases_end_in(const struct pn_phrases *texts, const struct pn_tail *t)
{
    for (size_t i = 0; i < texts->n; i++) {
        size_t n = strlen(texts->at[i]);
        for (size_t end = t->before + 1; end <= t->text.len; end++)
            if (n <= end && memcmp(t->text.data + end - n, texts->at[i], n) == 0)
                return true;
    }
    return false;
}
