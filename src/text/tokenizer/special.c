/* Finding special tokens in text. */
#include "text/tokenizer/tokenizer_impl.h"
#include "text/unicode/unicode.h"

static bool is_special(const struct pn_tokens *k, size_t id)
{
    int type = k->type[id];
    return type == PN_TOKEN_CONTROL || type == PN_TOKEN_USER || type == PN_TOKEN_UNKNOWN;
}

/* Adds a token that is searched for in normalized text, so the token is normalized, too. */
static pantry_status add_normalized(struct pn_tokenizer *t, size_t id, struct pantry_error *err)
{
    struct pn_tokens *k = &t->tokens;
    struct pn_pipeline_scratch s = {0};
    struct pn_split_scratch m = {0};
    const char *text = k->text[id].data;
    size_t len = k->text[id].len;
    pantry_status status = PANTRY_OK;
    if (t->pipeline)
        status = pn_pipeline_normalize(t->pipeline, &s, &m, &text, &len, err);
    if (!status)
        status = pn_trie_add(&t->special.normal, text, len, (int32_t)id, err);
    if (!status && t->pipeline && k->attribute[id] & PN_TOKEN_ADDED) { /* it prints that way, too */
        const char *kept = pn_arena_copy(&t->pipeline->arena, text, len);
        if (!kept)
            status = pn_no_memory(err, "the vocabulary");
        k->text[id] = k->piece[id] = (struct pn_str){.data = kept, .len = len};
    }
    pn_pipeline_scratch_free(&s);
    pn_split_scratch_free(&m);
    return status;
}

static void note_start(struct pn_starts *starts, unsigned byte)
{
    starts->n += !starts->at[byte];
    starts->at[byte] = true;
    starts->last = (unsigned char)byte;
}

/* Notes the first bytes of special tokens, so that a search skips other bytes. */
static void find_starts(struct pn_tokenizer *t)
{
    const struct pn_tokens *k = &t->tokens;
    for (size_t i = 0; i < k->n; i++)
        if (is_special(k, i) && k->text[i].len && !(k->attribute[i] & (PN_TOKEN_SCORED | PN_TOKEN_NORMALIZED)))
            for (int all = k->type[i] != PN_TOKEN_USER; all < 2; all++)
                note_start(&t->special.starts[0][all], (unsigned char)k->text[i].data[0]);
    for (unsigned byte = 0; byte < 256; byte++)
        for (int all = 0; all < 2 && t->special.normal.root[byte]; all++)
            note_start(&t->special.starts[1][all], byte);
}

pantry_status pn_specials_init(struct pn_tokenizer *t, struct pantry_error *err)
{
    const struct pn_tokens *k = &t->tokens;
    pantry_status status = pn_trie_init(&t->special.given, err);
    if (!status)
        status = pn_trie_init(&t->special.normal, err);
    for (size_t i = 0; i < k->n && !status; i++) {
        if (!is_special(k, i))
            continue;
        if (k->attribute[i] & PN_TOKEN_NORMALIZED)
            status = add_normalized(t, i, err);
        else
            status = pn_trie_add(&t->special.given, k->text[i].data, k->text[i].len, (int32_t)i, err);
    }
    if (!status)
        find_starts(t);
    return status;
}

/* ---- finding ---- */

static bool word_at(const char *text, size_t len, size_t pos)
{
    unsigned n;
    uint32_t c;
    return pos < len &&
           (pn_uc_is_word(c = pn_utf8_get((const unsigned char *)text + pos, &n)) || c == 0x200C || c == 0x200D);
}

static bool word_before(const char *text, size_t pos)
{
    return pos > 0 &&
           word_at(text, pos, (size_t)((const char *)pn_utf8_back((const unsigned char *)text + pos) - text));
}

/* The longest special token at `pos` that counts; -1: none. */
static int32_t special_at(const struct pn_tokenizer *t, bool normal, bool control, const char *text, size_t len,
                          size_t pos, size_t *end)
{
    const struct pn_trie *trie = normal ? &t->special.normal : &t->special.given;
    int32_t found = -1;
    uint32_t node = 0;
    for (size_t i = pos; i < len; i++) {
        node = pn_trie_step(trie, node, (unsigned char)text[i]);
        if (!node)
            break;
        int32_t id = trie->value[node];
        if (id < 0 || (!control && t->tokens.type[id] != PN_TOKEN_USER) || t->tokens.attribute[id] & PN_TOKEN_SCORED)
            continue;
        found = id;
        *end = i + 1;
    }
    if (found >= 0 && (t->tokens.attribute[found] & PN_TOKEN_SINGLE_WORD) &&
        (word_before(text, pos) || word_at(text, len, *end)))
        return -1;
    return found;
}

static bool space_at(const char *text, size_t pos, unsigned *n)
{
    return pn_uc_class(pn_utf8_get((const unsigned char *)text + pos, n)) & PN_UC_SPACE;
}

/* Where the white space starts that a token at `end` takes. */
static size_t strip_before(const char *text, size_t done, size_t end)
{
    unsigned n;
    while (end > done) {
        size_t before = (size_t)((const char *)pn_utf8_back((const unsigned char *)text + end) - text);
        if (!space_at(text, before, &n))
            break;
        end = before;
    }
    return end;
}

/* The first place from `pos` on where a special token may start; `len`: none. */
static size_t next_start(const struct pn_starts *starts, const char *text, size_t len, size_t pos)
{
    if (starts->n == 0 || pos >= len)
        return len;
    if (starts->n == 1) {
        const char *hit = memchr(text + pos, starts->last, len - pos);
        return hit ? (size_t)(hit - text) : len;
    }
    while (pos < len && !starts->at[(unsigned char)text[pos]])
        pos++;
    return pos;
}

bool pn_specials_next(const struct pn_tokenizer *t, bool normal, bool control, const char *text, size_t len,
                      size_t from, struct pn_special_match *match)
{
    const struct pn_starts *starts = &t->special.starts[normal][control];
    for (size_t pos = from; (pos = next_start(starts, text, len, pos)) < len; pos++) {
        size_t end = pos;
        int32_t id = special_at(t, normal, control, text, len, pos, &end);
        if (id < 0)
            continue;
        unsigned n;
        if (t->tokens.attribute[id] & PN_TOKEN_RSTRIP)
            while (end < len && space_at(text, end, &n))
                end += n;
        size_t start = t->tokens.attribute[id] & PN_TOKEN_LSTRIP ? strip_before(text, from, pos) : pos;
        *match = (struct pn_special_match){.id = id, .start = start, .end = end};
        return true;
    }
    return false;
}
