/* Keeping within a grammar: see guide.h. */
#include "engine/guide.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    AHEAD_BYTES = 256, /* that are looked ahead */
    AHEAD_LEAST = 3,   /* fewer bytes are not worth it */
    TAIL_TOKENS = 32   /* of the text so far that are tokenized again */
};

/* ---- life ---- */

/* A text that is one token wherever it comes; -1: it is not. */
static int32_t whole_token(const struct pn_tokenizer *t, const char *text)
{
    int32_t id = pn_tokenizer_find(t, text, strlen(text));
    int type = pn_tokenizer_token_type(t, id);
    return type == PN_TOKEN_CONTROL || type == PN_TOKEN_USER ? id : -1;
}

pantry_status pn_guide_init(struct pn_guide *g, struct pn_grammar *grammar, struct pn_grammar_vocabulary *vocabulary,
                            const struct pn_tokenizer *tokenizer, const char *trigger, const struct pn_think *think,
                            bool may_think, struct pantry_error *err)
{
    *g = (struct pn_guide){.tokenizer = tokenizer, .trigger_id = -1, .opens = -1};
    pantry_status status = pn_matcher_new(grammar, vocabulary, &g->start, err);
    if (!status && !trigger)
        status = pn_matcher_clone(g->start, &g->matcher, err);
    if (!status && trigger) {
        status = pn_phrases_init(&g->trigger, &trigger, 1, "trigger", err);
        g->trigger_id = whole_token(tokenizer, trigger);
    }
    if (!status && trigger)
        status = pn_tail_init(&g->tail, tokenizer, g->trigger.longest, err);
    g->tail.special = true;
    if (!status && !pn_buf_reserve(&g->ahead, 2 * AHEAD_BYTES))
        status = pn_no_memory(err, "a grammar");
    if (may_think && think->n_pairs && !trigger)
        g->opens = whole_token(tokenizer, think->pair[0].open);
    g->state = think->inside >= 0 && !think->ended ? PN_GUIDE_REASONING : trigger ? PN_GUIDE_TEXT : PN_GUIDE_ON;
    return status;
}

void pn_guide_free(struct pn_guide *g)
{
    pn_matcher_free(g->matcher);
    pn_matcher_free(g->start);
    pn_phrases_free(&g->trigger);
    pn_tail_free(&g->tail);
    pn_buf_free(&g->ahead);
    *g = (struct pn_guide){0};
}

/* ---- what may come ---- */

bool pn_guide_is_free(const struct pn_guide *g)
{
    return g->state == PN_GUIDE_NONE || g->state == PN_GUIDE_REASONING ||
           (g->state == PN_GUIDE_TEXT && g->trigger_id >= 0);
}

pantry_status pn_guide_mask(struct pn_guide *g, struct pn_mask *mask, bool *masked, struct pantry_error *err)
{
    *masked = g->state == PN_GUIDE_ON;
    if (!*masked)
        return PANTRY_OK;
    pantry_status status = pn_matcher_mask(g->matcher, mask, err);
    if (!status && !mask->n_allowed)
        status = pn_fail(err, PANTRY_UNSUPPORTED, "the model's vocabulary has no token that the grammar needs here");
    return status;
}

/* The bytes after the trigger, if it ends in the token that is looked at. */
static bool find_trigger(const struct pn_guide *g, const char **rest, size_t *n)
{
    const struct pn_buf *text = &g->tail.text;
    size_t len = strlen(g->trigger.at[0]);
    for (size_t end = g->tail.before + 1; end <= text->len; end++)
        if (len <= end && memcmp(text->data + end - len, g->trigger.at[0], len) == 0) {
            *rest = text->data + end;
            *n = text->len - end;
            return true;
        }
    return false;
}

/* A new matcher after the trigger and the rest of its token. */
static pantry_status begin(struct pn_guide *g, const char *rest, size_t n, struct pn_matcher **out,
                           struct pantry_error *err)
{
    pantry_status status = pn_matcher_clone(g->start, out, err);
    if (!status && n)
        status = pn_matcher_accept_text(*out, rest, n, err);
    return status;
}

bool pn_guide_opens(const struct pn_guide *g, const float *logits, int n_vocab)
{
    if (g->state != PN_GUIDE_ON || g->n_taken || g->opens < 0 || g->opens >= n_vocab)
        return false;
    for (int i = 0; i < n_vocab; i++)
        if (logits[i] > logits[g->opens])
            return false;
    return !isnan(logits[g->opens]);
}

bool pn_guide_allows(struct pn_guide *g, int32_t id)
{
    struct pn_matcher *trial = NULL;
    const char *rest;
    size_t n;
    if (g->state != PN_GUIDE_TEXT || g->trigger_id >= 0)
        return true;
    pn_tail_look(&g->tail, id);
    bool ok = !find_trigger(g, &rest, &n) || begin(g, rest, n, &trial, NULL) == PANTRY_OK;
    pn_matcher_free(trial);
    return ok;
}

/* ---- following ---- */

static void check_whole(struct pn_guide *g)
{
    if (g->state != PN_GUIDE_ON || !pn_matcher_is_finished(g->matcher))
        return;
    g->state = g->trigger.n ? PN_GUIDE_TEXT : PN_GUIDE_WHOLE;
    if (!g->trigger.n)
        return;
    pn_matcher_free(g->matcher);
    g->matcher = NULL;
}

static pantry_status take_text(struct pn_guide *g, int32_t id, struct pantry_error *err)
{
    const char *rest;
    size_t n;
    pantry_status status = PANTRY_OK;
    pn_tail_look(&g->tail, id);
    if (find_trigger(g, &rest, &n)) {
        status = begin(g, rest, n, &g->matcher, err);
        g->state = PN_GUIDE_ON;
        g->n_on = 0;
    }
    pn_tail_take(&g->tail);
    if (g->state == PN_GUIDE_ON) /* what follows the grammar begins again */
        g->tail.before = g->tail.text.len = 0;
    return status;
}

pantry_status pn_guide_take(struct pn_guide *g, int32_t id, const struct pn_think *think, struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    bool first = !g->n_taken++;
    switch (g->state) {
    case PN_GUIDE_NONE:
    case PN_GUIDE_WHOLE:
        return PANTRY_OK;
    case PN_GUIDE_REASONING:
        if (think->ended && !think->n_closing)
            g->state = g->trigger.n ? PN_GUIDE_TEXT : PN_GUIDE_ON;
        return PANTRY_OK;
    case PN_GUIDE_TEXT:
        status = take_text(g, id, err);
        break;
    case PN_GUIDE_ON:
        if (first && id == g->opens) {
            g->state = PN_GUIDE_REASONING;
            return PANTRY_OK;
        }
        status = pn_matcher_accept(g->matcher, id, err);
        g->n_on++;
        break;
    }
    if (!status)
        check_whole(g);
    return status;
}

/* ---- what must come ---- */

/* Tokens of `ids` that the text so far ends with and that can be tokenized again: not beyond a control token, whose
 * spelling would be other text, nor beyond the grammar's part. */
static int tail_of(const struct pn_guide *g, const int32_t *ids, int n, int n_answer)
{
    int most = n_answer < TAIL_TOKENS ? n_answer : TAIL_TOKENS, k = 0;
    most = g->n_on < most ? g->n_on : most;
    while (k < most && pn_tokenizer_token_type(g->tokenizer, ids[n - 1 - k]) == PN_TOKEN_NORMAL)
        k++;
    return k;
}

/* How many of the new tokens are the same whatever follows: the last one could become longer. */
static size_t settled(const struct pn_ids *made, int n_tail, const int32_t *tail)
{
    if (made->len <= (size_t)n_tail || memcmp(made->data, tail, (size_t)n_tail * sizeof *tail) != 0)
        return 0;
    return made->len - (size_t)n_tail - 1;
}

/* Takes the tokens as far as they spell what must come: a tokenizer may drop or replace bytes that it has no token for.
 */
static void add_ahead(struct pn_guide *g, const int32_t *ids, size_t n, struct pn_ids *out)
{
    size_t at = 0, end = g->ahead.len;
    for (size_t i = 0; i < n; i++) {
        pn_tokenizer_token_bytes(g->tokenizer, ids[i], &g->ahead, NULL);
        size_t len = g->ahead.len - end;
        if (g->ahead.failed || !len || len > end - at || memcmp(g->ahead.data + at, g->ahead.data + end, len) != 0)
            return;
        out->data[out->len++] = ids[i];
        at += len;
        g->ahead.len = end;
    }
}

pantry_status pn_guide_ahead(struct pn_guide *g, const int32_t *ids, int n, int n_answer, size_t room,
                             struct pn_ids *out, struct pantry_error *err)
{
    struct pn_buf text = {0};
    struct pn_ids made = {0};
    if (g->state != PN_GUIDE_ON)
        return PANTRY_OK;
    pn_buf_clear(&g->ahead);
    pantry_status status = pn_matcher_forced(g->matcher, AHEAD_BYTES, &g->ahead, err);
    if (status || g->ahead.len < AHEAD_LEAST)
        return status;
    int n_tail = tail_of(g, ids, n, n_answer);
    for (int i = n - n_tail; i < n && !status; i++)
        status = pn_tokenizer_token_bytes(g->tokenizer, ids[i], &text, err);
    pn_buf_append(&text, g->ahead.data, g->ahead.len);
    if (!status && text.failed)
        status = pn_no_memory(err, "a grammar");
    if (!status)
        status = pn_tokenizer_encode(g->tokenizer, text.data, text.len, 0, &made, err);
    size_t k = status ? 0 : settled(&made, n_tail, ids + n - n_tail);
    if (k)
        add_ahead(g, made.data + n_tail, k < room ? k : room, out);
    free(made.data);
    pn_buf_free(&text);
    return status;
}
