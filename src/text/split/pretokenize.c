/* Cutting text into words: see pretokenize.h. */
#include "text/split/pretokenize.h"

#include "base/alloc.h"
#include "text/unicode/unicode.h"

#include <stdlib.h>
#include <string.h>

pantry_status pn_split_from_regex(struct pn_split *split, const char *regex, size_t len, struct pantry_error *err)
{
    *split = (struct pn_split){.kind = PN_SPLIT_SCAN, .scan = pn_scan_find(regex, len)};
    if (split->scan)
        return PANTRY_OK;
    split->kind = PN_SPLIT_CUT;
    split->cut = pn_split_find(regex, len);
    if (split->cut)
        return PANTRY_OK;
    split->kind = PN_SPLIT_REGEX;
    return pn_regex_new(regex, len, &split->regex, err);
}

void pn_split_free(struct pn_split *split)
{
    pn_regex_free(split->regex);
    free(split->literal);
    *split = (struct pn_split){0};
}

void pn_split_scratch_free(struct pn_split_scratch *scratch)
{
    pn_regex_scratch_free(scratch->regex);
    free(scratch->ends.data);
    *scratch = (struct pn_split_scratch){0};
}

pantry_status pn_split_scratch_ready(struct pn_split_scratch *scratch, size_t len, struct pantry_error *err)
{
    if (!scratch->regex) {
        pantry_status status = pn_regex_scratch_new(&scratch->regex, err);
        if (status)
            return status;
    }
    pn_regex_scratch_start(scratch->regex, len);
    return PANTRY_OK;
}

/* Takes the parts of a piece in order and joins or drops them as the behavior says. */
struct collector {
    const struct pn_split *split;
    struct pn_pieces *out;
    size_t first;                  /* pieces before it belong to other calls */
    bool last_was_match, has_last; /* of the parts so far */
    bool failed;
};

static void push_piece(struct collector *c, size_t start, size_t end)
{
    if (!pn_vec_push(c->out, ((struct pn_piece){start, end})))
        c->failed = true;
}

static void put_part(struct collector *c, size_t start, size_t end, bool is_match)
{
    is_match ^= c->split->invert;
    bool joins = false;
    switch (c->split->behavior) {
    case PN_SPLIT_ISOLATED:
        break;
    case PN_SPLIT_REMOVED:
        if (is_match)
            return;
        break;
    case PN_SPLIT_CONTIGUOUS:
        joins = c->has_last && c->last_was_match == is_match;
        break;
    case PN_SPLIT_MERGED_WITH_PREVIOUS:
        joins = c->has_last && is_match && !c->last_was_match;
        break;
    case PN_SPLIT_MERGED_WITH_NEXT:
        joins = c->has_last && !is_match && c->last_was_match;
        break;
    }
    if (joins && c->out->len > c->first)
        c->out->data[c->out->len - 1].end = end;
    else if (end > start)
        push_piece(c, start, end);
    c->last_was_match = is_match;
    c->has_last = true;
}

static void run_scan(struct collector *c, const char *text, struct pn_piece piece)
{
    const unsigned char *p = (const unsigned char *)text + piece.start;
    size_t len = piece.end - piece.start;
    for (size_t pos = 0, end; pos < len; pos = end) {
        end = c->split->scan(p, len, pos);
        put_part(c, piece.start + pos, piece.start + end, true);
    }
}

static void run_cut(struct collector *c, struct pn_ends *ends, const char *text, struct pn_piece piece)
{
    ends->len = 0;
    if (!c->split->cut((const unsigned char *)text + piece.start, piece.end - piece.start, ends)) {
        c->failed = true;
        return;
    }
    for (size_t i = 0, start = 0; i < ends->len; start = ends->data[i++])
        push_piece(c, piece.start + start, piece.start + ends->data[i]);
}

static pantry_status run_regex(struct collector *c, struct pn_split_scratch *scratch, const char *text,
                               struct pn_piece piece, struct pantry_error *err)
{
    const char *p = text + piece.start;
    size_t len = piece.end - piece.start, done = 0, from = 0;
    bool matched = false;
    while (from <= len) {
        size_t start, end;
        pantry_status status = pn_regex_find(c->split->regex, scratch->regex, p, len, from, &start, &end, err);
        if (status == PANTRY_NOT_FOUND)
            break;
        if (status)
            return status;
        bool empty_after_match = start == end && matched && start == done;
        from = end > start ? end : start < len ? start + pn_utf8_len((unsigned char)p[start]) : len + 1;
        if (empty_after_match)
            continue;
        if (start > done)
            put_part(c, piece.start + done, piece.start + start, false);
        put_part(c, piece.start + start, piece.start + end, true);
        done = end;
        matched = true;
    }
    if (done < len)
        put_part(c, piece.start + done, piece.end, false);
    return PANTRY_OK;
}

static void run_literal(struct collector *c, const char *text, struct pn_piece piece)
{
    const char *literal = c->split->literal;
    size_t n = c->split->count, done = piece.start, pos = piece.start;
    while (n && piece.end - pos >= n) {
        const char *hit = memchr(text + pos, literal[0], piece.end - pos - n + 1);
        if (!hit)
            break;
        pos = (size_t)(hit - text);
        if (memcmp(hit, literal, n)) {
            pos++;
            continue;
        }
        if (pos > done)
            put_part(c, done, pos, false);
        put_part(c, pos, pos + n, true);
        done = pos += n;
    }
    if (done < piece.end)
        put_part(c, done, piece.end, false);
}

static void run_chars(struct collector *c, const char *text, struct pn_piece piece)
{
    size_t done = piece.start;
    unsigned n;
    for (size_t pos = piece.start; pos < piece.end; pos += n) {
        if (!c->split->is_match(pn_utf8_get((const unsigned char *)text + pos, &n)))
            continue;
        if (pos > done)
            put_part(c, done, pos, false);
        put_part(c, pos, pos + n, true);
        done = pos + n;
    }
    if (done < piece.end)
        put_part(c, done, piece.end, false);
}

static void run_every(struct collector *c, const char *text, struct pn_piece piece)
{
    for (size_t pos = piece.start; pos < piece.end;) {
        size_t end = pos;
        for (size_t n = 0; n < c->split->count && end < piece.end; n++)
            end += pn_utf8_len((unsigned char)text[end]);
        push_piece(c, pos, end);
        pos = end;
    }
}

pantry_status pn_split_run(const struct pn_split *split, struct pn_split_scratch *scratch, const char *text,
                           struct pn_piece piece, struct pn_pieces *out, struct pantry_error *err)
{
    struct collector c = {.split = split, .out = out, .first = out->len};
    pantry_status status = PANTRY_OK;
    switch (split->kind) {
    case PN_SPLIT_SCAN:
        run_scan(&c, text, piece);
        break;
    case PN_SPLIT_CUT:
        run_cut(&c, &scratch->ends, text, piece);
        break;
    case PN_SPLIT_REGEX:
        if (!scratch->regex && (status = pn_split_scratch_ready(scratch, piece.end, err)) != PANTRY_OK)
            return status;
        status = run_regex(&c, scratch, text, piece, err);
        break;
    case PN_SPLIT_LITERAL:
        run_literal(&c, text, piece);
        break;
    case PN_SPLIT_CHARS:
        run_chars(&c, text, piece);
        break;
    case PN_SPLIT_EVERY:
        run_every(&c, text, piece);
        break;
    }
    return c.failed ? pn_no_memory(err, "tokenizing") : status;
}
