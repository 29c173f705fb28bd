/* Prompts with pictures: see pictures.h. */
#include "engine/pictures.h"

#include "base/str.h"

#include <stdlib.h>
#include <string.h>

/* What a prompt's pictures need besides what steps read. */
struct prompt {
    struct pn_pictures shown; /* first: what others see of it */
    struct pn_eye *eye;
    struct pn_seen **seen;
    size_t n_seen;
};

struct pn_pictures *pn_pictures_retain(struct pn_pictures *p)
{
    atomic_fetch_add(&p->refs, 1);
    return p;
}

void pn_pictures_release(struct pn_pictures *p)
{
    if (!p || atomic_fetch_sub(&p->refs, 1) != 1)
        return;
    struct prompt *own = (struct prompt *)(void *)p;
    for (size_t i = 0; i < own->n_seen; i++)
        pn_eye_release(own->eye, own->seen[i]);
    free(own->seen);
    free(p->ids);
    free(p->keys);
    free(p->row);
    free(p->first);
    free(p->last);
    free(p->place);
    free((void *)(uintptr_t)p->rows);
    free(own);
}

/* ---- ids ---- */

static pantry_status encode_text(const struct pn_vision *v, const struct pn_tokenizer *tokenizer, const char *text,
                                 size_t len, unsigned flags, struct pn_seen *const *seen, size_t n, struct pn_ids *out,
                                 struct pantry_error *err)
{
    struct pn_buf expanded = {0};
    struct pn_vision_views *views = calloc(n + 1, sizeof *views);
    if (!views)
        return pn_no_memory(err, "a prompt");
    for (size_t i = 0; i < n; i++)
        views[i] = seen[i]->views;
    pantry_status status = pn_vision_expand(v, text, len, views, n, &expanded, err);
    if (!status)
        status = pn_tokenizer_encode(tokenizer, expanded.data ? expanded.data : "", expanded.len, flags, out, err);
    if (!status && out->len > INT32_MAX)
        status = pn_fail(err, PANTRY_LIMIT, "the prompt is too long (found %zu tokens)", out->len);
    pn_buf_free(&expanded);
    free(views);
    return status;
}

static int32_t token_of(const struct pn_vision *v, const struct pn_tokenizer *tokenizer)
{
    return v->token >= 0 ? v->token : pn_tokenizer_find(tokenizer, v->token_text, strlen(v->token_text));
}

/* ---- keys ---- */

/* A number below 0 for row i of a picture, by its content: steps of SplitMix64 (Steele et al., 2014). */
static int32_t key_of(const struct pn_seen *s, int i)
{
    uint64_t x = 0;
    for (int k = 0; k < 16; k++)
        x = x << 4 | (uint64_t)(s->hash[k] <= '9' ? s->hash[k] - '0' : s->hash[k] - 'a' + 10);
    x += (uint64_t)(i + 1) * 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return (int32_t)((uint32_t)(x >> 33) & 0x7fffffff) - INT32_MAX - 1;
}

/* ---- places ---- */

/* M-RoPE (Qwen2-VL, 2024): the rows of a picture have one time, and the row and column of their group; the text after
 * it goes on after the longer side. */
static int place_view(const struct pn_vision *v, struct pn_pictures *p, const struct pn_vision_view *view, int at,
                      int position)
{
    int rows = view->rows / v->group, cols = view->cols / v->group;
    for (int i = 0; i < rows * cols; i++) {
        p->place[at + i] = position;
        p->place[p->n + at + i] = position + i / cols;
        p->place[2 * p->n + at + i] = position + i % cols;
    }
    return position + (rows > cols ? rows : cols);
}

static void place_all(const struct pn_vision *v, struct prompt *own)
{
    struct pn_pictures *p = &own->shown;
    int position = 0, at = 0;
    for (size_t i = 0; i < own->n_seen; i++)
        for (size_t k = 0; k < own->seen[i]->views.n; k++) {
            for (; at < p->n && p->row[at] < 0; at++, position++)
                p->place[at] = p->place[p->n + at] = p->place[2 * p->n + at] = position;
            position = place_view(v, p, &own->seen[i]->views.view[k], at, position);
            at += pn_vision_view_rows(v, &own->seen[i]->views.view[k]);
        }
    for (; at < p->n; at++, position++)
        p->place[at] = p->place[p->n + at] = p->place[2 * p->n + at] = position;
    p->shift = position - p->n;
}

/* ---- pictures outside the text ---- */

/* The rows of parts that a picture fills, and all of its rows. */
static int real_rows(const struct prompt *own, size_t i)
{
    const struct pn_vision *v = pn_eye_vision(own->eye);
    int n = 0;
    for (size_t k = 0; k < own->seen[i]->views.n; k++)
        n += pn_vision_view_filled(v, &own->seen[i]->views.view[k]);
    return n;
}

/* Puts the rows before the text: first those that tokens after the pictures see, then those of tiles that a picture
 * leaves empty, which only the tokens before all pictures see (as in transformers). */
static void put_lead(struct prompt *own)
{
    struct pn_pictures *p = &own->shown;
    int at = 0;
    for (int empty = 0; empty < 2; empty++)
        for (size_t i = 0, base = 0; i < own->n_seen; base += (size_t)own->seen[i++]->n_rows)
            for (int r = empty ? real_rows(own, i) : 0; r < (empty ? own->seen[i]->n_rows : real_rows(own, i)); r++) {
                p->ids[at] = p->token;
                p->keys[at] = key_of(own->seen[i], r);
                p->row[at++] = (int32_t)base + r;
            }
}

/* Which rows the tokens of the text see: those of the last picture, and of others directly before it. */
static pantry_status match_apart(struct prompt *own, struct pantry_error *err)
{
    struct pn_pictures *p = &own->shown;
    size_t picture = 0;
    int first = 0, end = 0;
    put_lead(own);
    p->n_before = p->n;
    for (int i = p->n_lead; i < p->n; i++) {
        p->keys[i] = p->ids[i];
        p->row[i] = -1;
        if (p->ids[i] == p->token) {
            if (picture == own->n_seen)
                return pn_fail(err, PANTRY_INVALID, "the text has the token of pictures (%d) where no picture is",
                               p->token);
            p->n_before = p->n_before < i ? p->n_before : i;
            first = i > p->n_lead && p->ids[i - 1] == p->token ? first : end;
            end += real_rows(own, picture++);
        }
        p->first[i] = i < p->n_before ? 0 : first;
        p->last[i] = i < p->n_before ? p->n_lead - 1 : end - 1;
    }
    p->n_rows = (size_t)p->n_lead;
    p->shift = -p->n_lead;
    return picture == own->n_seen
               ? PANTRY_OK
               : pn_fail(err, PANTRY_FORMAT, "the tokenizer does not know the token of pictures (found %zu of %zu)",
                         picture, own->n_seen);
}

/* Room for the rows before the ids of the text. */
static bool add_lead(struct prompt *own, struct pn_ids *ids)
{
    int n = 0;
    for (size_t i = 0; i < own->n_seen; i++)
        n += own->seen[i]->n_rows;
    int32_t *all = calloc(ids->len + (size_t)n + 1, sizeof *all);
    if (!all)
        return false;
    memcpy(all + n, ids->data, ids->len * sizeof *all);
    free(ids->data);
    ids->data = all;
    ids->len += (size_t)n;
    own->shown.n_lead = n;
    return true;
}

/* ---- making ---- */

/* Finds the tokens that rows stand for. */
static pantry_status match_rows(struct prompt *own, int32_t token, struct pantry_error *err)
{
    struct pn_pictures *p = &own->shown;
    size_t picture = 0, n_rows = 0;
    int row = 0, first = 0;
    for (int i = 0; i < p->n; i++) {
        p->keys[i] = p->ids[i];
        p->first[i] = p->last[i] = i;
        p->row[i] = -1;
        if (p->ids[i] != token)
            continue;
        while (picture < own->n_seen && row == own->seen[picture]->n_rows) {
            picture++;
            row = 0;
        }
        if (picture == own->n_seen)
            return pn_fail(err, PANTRY_INVALID, "the text has the token of pictures (%d) where no picture is", token);
        first = row == 0 || p->ids[i - 1] != token ? i : first;
        p->keys[i] = key_of(own->seen[picture], row++);
        p->row[i] = (int32_t)n_rows++;
        p->first[i] = first;
    }
    p->n_rows = n_rows;
    for (int i = p->n - 1; i >= 0; i--)
        if (p->row[i] >= 0 && i + 1 < p->n && p->row[i + 1] >= 0 && p->first[i + 1] == p->first[i])
            p->last[i] = p->last[i + 1];
    size_t wanted = 0;
    for (size_t i = 0; i < own->n_seen; i++)
        wanted += (size_t)own->seen[i]->n_rows;
    return n_rows == wanted
               ? PANTRY_OK
               : pn_fail(err, PANTRY_FORMAT, "the tokenizer does not know the token of pictures (found %zu of %zu)",
                         n_rows, wanted);
}

static pantry_status check_blocks(const struct pn_pictures *p, struct pantry_error *err)
{
    for (int i = 0; i < p->n && p->whole; i++)
        if (p->last[i] - p->first[i] >= PN_MAX_BATCH)
            return pn_fail(err, PANTRY_LIMIT, "a picture has too many tokens (found %d, allowed %d)",
                           p->last[i] - p->first[i] + 1, PN_MAX_BATCH);
    return PANTRY_OK;
}

static pantry_status fill(struct prompt *own, const struct pn_tokenizer *tokenizer, struct pn_ids *ids,
                          struct pantry_error *err)
{
    const struct pn_vision *v = pn_eye_vision(own->eye);
    struct pn_pictures *p = &own->shown;
    if (v->family->apart && !add_lead(own, ids))
        return pn_no_memory(err, "a prompt");
    size_t n = ids->len;
    p->n = (int)n;
    p->ids = ids->data;
    *ids = (struct pn_ids){0};
    p->keys = calloc(n + 1, sizeof *p->keys);
    p->row = calloc(n + 1, sizeof *p->row);
    p->first = calloc(n + 1, sizeof *p->first);
    p->last = calloc(n + 1, sizeof *p->last);
    p->place = v->family->sections ? calloc(n + 1, 3 * sizeof *p->place) : NULL;
    if (!p->ids || !p->keys || !p->row || !p->first || !p->last || (v->family->sections && !p->place))
        return pn_no_memory(err, "a prompt");
    p->whole = v->family->both_ways;
    p->row_size = (size_t)pn_eye_row_size(own->eye);
    p->token = token_of(v, tokenizer);
    pantry_status status = v->family->apart ? match_apart(own, err) : match_rows(own, p->token, err);
    if (!status && p->place)
        place_all(v, own);
    return status ? status : check_blocks(p, err);
}

pantry_status pn_pictures_new(struct pn_eye *eye, const struct pn_tokenizer *tokenizer, const char *text, size_t len,
                              unsigned flags, struct pn_seen *const *seen, size_t n, struct pn_pictures **out,
                              struct pantry_error *err)
{
    struct pn_ids ids = {0};
    *out = NULL;
    struct prompt *own = calloc(1, sizeof *own);
    struct pn_seen **copy = calloc(n + 1, sizeof *copy);
    if (!own || !copy) {
        free(own);
        free(copy);
        return pn_no_memory(err, "a prompt");
    }
    atomic_init(&own->shown.refs, 1);
    own->eye = eye;
    own->seen = copy;
    own->n_seen = n;
    memcpy(copy, seen, n * sizeof *copy);
    pantry_status status = encode_text(pn_eye_vision(eye), tokenizer, text, len, flags, seen, n, &ids, err);
    if (!status)
        status = fill(own, tokenizer, &ids, err);
    free(ids.data);
    if (status) {
        own->n_seen = 0; /* they stay the caller's */
        pn_pictures_release(&own->shown);
        return status;
    }
    *out = &own->shown;
    return PANTRY_OK;
}

pantry_status pn_pictures_encode(struct pn_pictures *p, struct pantry_error *err)
{
    struct prompt *own = (struct prompt *)(void *)p;
    pantry_status status = PANTRY_OK;
    if (p->rows)
        return PANTRY_OK;
    for (size_t i = 0; i < own->n_seen && !status; i++)
        status = pn_eye_encode(own->eye, own->seen[i], err);
    const float **rows = status ? NULL : calloc(p->n_rows + 1, sizeof *rows);
    if (!status && !rows)
        return pn_no_memory(err, "a prompt");
    for (size_t i = 0, at = 0; i < own->n_seen && !status; i++)
        for (int k = 0; k < own->seen[i]->n_rows; k++)
            rows[at++] = own->seen[i]->rows + (size_t)k * p->row_size;
    p->rows = rows;
    return status;
}

pantry_status pn_pictures_check(const struct pn_pictures *p, const int32_t *ids, size_t n, int n_vocab,
                                struct pantry_error *err)
{
    if (n != (size_t)p->n || memcmp(ids, p->ids, n * sizeof *ids) != 0)
        return pn_fail(err, PANTRY_INVALID, "the ids are not those of the prompt with pictures");
    for (size_t i = 0; i < n; i++)
        if (p->row[i] < 0 && (ids[i] < 0 || ids[i] >= n_vocab) && !(p->n_lead && ids[i] == p->token))
            return pn_fail(err, PANTRY_INVALID, "token id %d is not in the vocabulary of %d", ids[i], n_vocab);
    return p->rows ? PANTRY_OK : pn_fail(err, PANTRY_INTERNAL, "the prompt's pictures are not encoded");
}
