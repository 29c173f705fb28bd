/* Hybrid vocabularies of models that read DNA: text is BPE, and letters between <dna> and </dna> are cut into groups of
 * six. Tokens of six letters have a mark in the file that tells them from equal tokens of text. */
#include "text/tokenizer/tokenizer_impl.h"

static const char open_tag[] = "<dna>", close_tag[] = "</dna>", unknown[] = "<oov>";

enum { LETTERS = 6, MARK = sizeof PN_DNA_MARK - 1 };

void pn_dna_init(struct pn_tokenizer *t)
{
    t->bpe.dna.open = pn_tokenizer_find(t, open_tag, sizeof open_tag - 1);
    t->bpe.dna.close = pn_tokenizer_find(t, close_tag, sizeof close_tag - 1);
    t->bpe.dna.unknown = pn_tokenizer_find(t, unknown, sizeof unknown - 1);
    t->bpe.dna.used = t->bpe.dna.open >= 0 && t->bpe.dna.close >= 0 && t->bpe.dna.unknown >= 0;
}

static const char *find(const char *text, size_t len, const char *tag, size_t n)
{
    const char *end = text + len;
    while ((size_t)(end - text) >= n && (text = memchr(text, tag[0], (size_t)(end - text) - n + 1)) != NULL) {
        if (!memcmp(text, tag, n))
            return text;
        text++;
    }
    return NULL;
}

/* A shorter last group is padded with A. */
static bool put_letters(const struct pn_tokenizer *t, const char *text, size_t len, struct pn_ids *out)
{
    for (size_t pos = 0; pos < len; pos += LETTERS) {
        char word[LETTERS + MARK];
        for (size_t i = 0; i < LETTERS; i++) {
            char c = pos + i < len ? text[pos + i] : 'A';
            word[i] = (char)(c >= 'a' && c <= 'z' ? c - 32 : c);
        }
        memcpy(word + LETTERS, PN_DNA_MARK, MARK);
        int32_t id = pn_index_find(&t->tokens.others, word, sizeof word);
        if (!pn_vec_push(out, id >= 0 ? id : t->bpe.dna.unknown))
            return false;
    }
    return true;
}

pantry_status pn_dna_encode(const struct pn_tokenizer *t, struct pn_encode_state *s, const char *text, size_t len,
                            struct pn_ids *out, struct pantry_error *err)
{
    while (len) {
        const char *begin = find(text, len, open_tag, sizeof open_tag - 1);
        size_t before = begin ? (size_t)(begin - text) : len;
        pantry_status status = before ? pn_encode_pieces(t, s, text, before, out, err) : PANTRY_OK;
        if (status || !begin)
            return status;
        text = begin + sizeof open_tag - 1;
        len -= before + sizeof open_tag - 1;
        const char *end = find(text, len, close_tag, sizeof close_tag - 1);
        size_t letters = end ? (size_t)(end - text) : len;
        if (!pn_vec_push(out, t->bpe.dna.open) || !put_letters(t, text, letters, out) ||
            (end && !pn_vec_push(out, t->bpe.dna.close)))
            return pn_no_memory(err, "tokenizing");
        size_t done = letters + (end ? sizeof close_tag - 1 : 0);
        text += done;
        len -= done;
    }
    return PANTRY_OK;
}
