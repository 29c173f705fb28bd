/* The table of a vocabulary's tokens: building it and looking things up. */
#include "text/tokenizer/tokenizer_impl.h"
#include "text/unicode/unicode.h"

#include <stdlib.h>

enum { DNA_MARK = sizeof PN_DNA_MARK - 1 };

int pn_byte_token_value(const char *text, size_t len)
{
    if (len != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>')
        return -1;
    int value = 0;
    for (int i = 3; i < 5; i++) {
        char c = text[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

static bool is_dna(const struct pn_str *text)
{
    return text->len > DNA_MARK && !memcmp(text->data + text->len - DNA_MARK, PN_DNA_MARK, DNA_MARK);
}

bool pn_token_is_matched(const struct pn_tokenizer *t, size_t id)
{
    if (t->flags.json)
        return !(t->tokens.attribute[id] & PN_TOKEN_ADDED);
    if (t->flags.dna && is_dna(&t->tokens.text[id]))
        return false;
    switch (t->tokens.type[id]) {
    case PN_TOKEN_UNKNOWN:
    case PN_TOKEN_CONTROL:
    case PN_TOKEN_BYTE:
        return false;
    case PN_TOKEN_USER: {
        /* A user token outside the byte alphabet was added to the vocabulary; merges never make it. */
        char room[256];
        size_t n;
        const struct pn_str *s = &t->tokens.text[id];
        return !t->flags.byte_level || (s->len <= sizeof room && pn_bytes_decode(s->data, s->len, room, &n));
    }
    default:
        return true;
    }
}

/* The pieces of a byte-level vocabulary are the bytes that its alphabet spells. */
static pantry_status spell_pieces(struct pn_tokenizer *t, size_t total, struct pantry_error *err)
{
    struct pn_tokens *k = &t->tokens;
    if (!pn_buf_reserve(&k->bytes, total))
        return pn_no_memory(err, "the vocabulary");
    char *at = k->bytes.data;
    for (size_t i = 0; i < k->n; i++) {
        size_t len;
        bool in_alphabet = t->flags.json || k->type[i] == PN_TOKEN_NORMAL || k->type[i] == PN_TOKEN_UNUSED;
        if (in_alphabet && pn_bytes_decode(k->text[i].data, k->text[i].len, at, &len)) {
            k->piece[i] = (struct pn_str){.data = at, .len = len};
            at += len;
        } else if (t->flags.dna && is_dna(&k->text[i])) {
            k->piece[i].len -= DNA_MARK;
        }
    }
    return PANTRY_OK;
}

static pantry_status copy_tokens(struct pn_tokenizer *t, const struct pn_vocab *v, struct pantry_error *err)
{
    struct pn_tokens *k = &t->tokens;
    size_t n = v->n_tokens, total = 0;
    k->n_table = n + 1;
    k->text = pn_table_new(k->n_table, sizeof *k->text);
    k->piece = pn_table_new(k->n_table, sizeof *k->piece);
    k->type = malloc(n + 1);
    k->attribute = calloc(n + 1, 1);
    k->eog = calloc(n + 1, 1);
    if (!k->text || !k->piece || !k->type || !k->attribute || !k->eog)
        return pn_no_memory(err, "the vocabulary");
    memcpy(k->text, v->tokens, n * sizeof *k->text);
    memcpy(k->piece, v->tokens, n * sizeof *k->piece);
    for (size_t i = 0; i < n; i++) {
        k->type[i] = v->types && v->types[i] <= PN_TOKEN_BYTE && v->types[i] ? v->types[i] : PN_TOKEN_NORMAL;
        total += v->tokens[i].len;
    }
    if (v->attributes)
        memcpy(k->attribute, v->attributes, n);
    k->n = n;
    return t->flags.byte_level ? spell_pieces(t, total, err) : PANTRY_OK;
}

static pantry_status index_tokens(struct pn_tokenizer *t, struct pantry_error *err)
{
    struct pn_tokens *k = &t->tokens;
    int32_t *ids = malloc((k->n + 1) * sizeof *ids); /* the tokens that text is matched with, then the others */
    size_t n = 0, first = k->n;
    if (!ids)
        return pn_no_memory(err, "the vocabulary");
    for (size_t i = 0; i < k->n; i++)
        if (pn_token_is_matched(t, i)) {
            ids[n++] = (int32_t)i;
            if (k->piece[i].len > k->max_piece)
                k->max_piece = k->piece[i].len;
        }
    for (size_t i = k->n; i-- > 0;)
        if (!pn_token_is_matched(t, i))
            ids[--first] = (int32_t)i;
    bool ok = pn_index_init(&k->pieces, k->piece, n) && pn_index_init(&k->others, k->text, k->n - n);
    if (ok) {
        pn_index_add(&k->pieces, ids, n);
        pn_index_add(&k->others, ids + n, k->n - n);
    }
    free(ids);
    if (!ok)
        return pn_no_memory(err, "the vocabulary");
    return PANTRY_OK;
}

static void find_bytes(struct pn_tokens *k, bool any_type)
{
    for (size_t b = 0; b < 256; b++)
        k->byte_id[b] = -1;
    for (size_t i = 0; i < k->n; i++) {
        int value = pn_byte_token_value(k->text[i].data, k->text[i].len);
        if (value >= 0 && (any_type || k->type[i] == PN_TOKEN_BYTE) && k->byte_id[value] < 0)
            k->byte_id[value] = (int32_t)i;
    }
}

pantry_status pn_tokens_init(struct pn_tokenizer *t, const struct pn_vocab *v, bool spells_bytes,
                             struct pantry_error *err)
{
    pantry_status status = copy_tokens(t, v, err);
    if (!status)
        status = index_tokens(t, err);
    if (!status)
        find_bytes(&t->tokens, spells_bytes || t->flags.json);
    return status;
}

void pn_tokens_free(struct pn_tokens *k)
{
    pn_table_free(k->text, k->n_table, sizeof *k->text);
    pn_table_free(k->piece, k->n_table, sizeof *k->piece);
    free(k->type);
    free(k->attribute);
    free(k->eog);
    pn_buf_free(&k->bytes);
    pn_index_free(&k->pieces);
    pn_index_free(&k->others);
}

/* ---- questions ---- */

size_t pn_tokenizer_n_vocab(const struct pn_tokenizer *t)
{
    return t->tokens.n;
}

static bool has(const struct pn_tokenizer *t, int32_t id)
{
    return id >= 0 && (size_t)id < t->tokens.n;
}

bool pn_tokenizer_is_eog(const struct pn_tokenizer *t, int32_t id)
{
    return has(t, id) && t->tokens.eog[id];
}

int pn_tokenizer_token_type(const struct pn_tokenizer *t, int32_t id)
{
    return has(t, id) ? t->tokens.type[id] : 0;
}

const char *pn_tokenizer_token_text(const struct pn_tokenizer *t, int32_t id, size_t *len)
{
    *len = has(t, id) ? t->tokens.text[id].len : 0;
    return has(t, id) ? t->tokens.text[id].data : NULL;
}

static bool spelled(const struct pn_tokenizer *t, int32_t id, const char *text, size_t len)
{
    return id >= 0 && t->tokens.text[id].len == len && !memcmp(t->tokens.text[id].data, text, len);
}

int32_t pn_tokenizer_find(const struct pn_tokenizer *t, const char *text, size_t len)
{
    int32_t id = pn_index_find(&t->tokens.others, text, len);
    if (id < 0)
        id = pn_index_find(&t->tokens.pieces, text, len);
    if (spelled(t, id, text, len))
        return id;
    char room[256];
    size_t n;
    if (!t->flags.byte_level || len > sizeof room || !pn_bytes_decode(text, len, room, &n))
        return -1;
    id = pn_index_find(&t->tokens.pieces, room, n);
    return spelled(t, id, text, len) ? id : -1;
}
