/* Vocabularies: see vocabulary.h. */
#include "grammar/vocabulary_impl.h"

#include "base/alloc.h"
#include "grammar/known.h"
#include "grammar/masks.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_TOKENS = 1 << 24, MAX_LENGTH = UINT16_MAX };

/* Copies one kind of text of all tokens. */
static bool copy_texts(const struct pn_grammar_token *tokens, size_t n, bool bytes, char **out, uint32_t **at)
{
    size_t total = 0;
    *at = calloc(n + 1, sizeof **at);
    for (size_t i = 0; i < n; i++)
        total += bytes ? tokens[i].bytes.len : tokens[i].text.len;
    if (total > UINT32_MAX || !*at || !(*out = malloc(total + 1)))
        return false;
    total = 0;
    for (size_t i = 0; i < n; i++) {
        struct pn_str s = bytes ? tokens[i].bytes : tokens[i].text;
        (*at)[i] = (uint32_t)total;
        if (s.len)
            memcpy(*out + total, s.data, s.len);
        total += s.len;
    }
    (*at)[n] = (uint32_t)total;
    return true;
}

static pantry_status fill(struct pn_grammar_vocabulary *v, const struct pn_grammar_token *tokens, size_t n,
                          struct pantry_error *err)
{
    struct pn_trie_token *sorted = calloc(n + 1, sizeof *sorted);
    size_t n_sorted = 0;
    v->n_tokens = n;
    v->n_words = (n + 63) / 64;
    v->ids = calloc(n + 1, sizeof *v->ids);
    v->flags = calloc(n + 1, sizeof *v->flags);
    v->ends = calloc(v->n_words + 1, sizeof *v->ends);
    v->end_ids = calloc(n + 1, sizeof *v->end_ids);
    if (!sorted || !v->ids || !v->end_ids || !v->flags || !v->ends ||
        !copy_texts(tokens, n, true, &v->bytes, &v->bytes_at) ||
        !copy_texts(tokens, n, false, &v->texts, &v->texts_at)) {
        free(sorted);
        return pn_no_memory(err, "the vocabulary of a grammar");
    }
    for (size_t i = 0; i < n; i++) {
        v->flags[i] = (uint8_t)((tokens[i].special ? PN_TOKEN_SPECIAL : 0) | (tokens[i].ends ? PN_TOKEN_ENDS : 0));
        if (tokens[i].ends) {
            v->ends[i / 64] |= (uint64_t)1 << i % 64;
            v->end_ids[v->n_ends++] = (int32_t)i;
        }
        if (v->flags[i] || tokens[i].bytes.len == 0)
            continue;
        sorted[n_sorted++] = (struct pn_trie_token){tokens[i].bytes, (int32_t)i};
        v->longest = tokens[i].bytes.len > v->longest ? tokens[i].bytes.len : v->longest;
    }
    pantry_status status = PANTRY_OK;
    if (v->longest > MAX_LENGTH)
        status = pn_fail(err, PANTRY_LIMIT, "a token of the vocabulary is too long (found %zu bytes, allowed %d)",
                         v->longest, MAX_LENGTH);
    if (!status)
        status = pn_grammar_trie_build(v, sorted, n_sorted, err);
    free(sorted);
    return status;
}

pantry_status pn_grammar_vocabulary_new(const struct pn_grammar_token *tokens, size_t n,
                                        struct pn_grammar_vocabulary **out, struct pantry_error *err)
{
    *out = NULL;
    if (n > MAX_TOKENS)
        return pn_fail(err, PANTRY_LIMIT, "the vocabulary is too large for grammars (found %zu tokens, allowed %d)", n,
                       MAX_TOKENS);
    struct pn_grammar_vocabulary *v = calloc(1, sizeof *v);
    if (!v || pthread_mutex_init(&v->lock, NULL) != 0) {
        free(v);
        return pn_no_memory(err, "the vocabulary of a grammar");
    }
    pthread_mutex_init(&v->known_lock, NULL);
    atomic_init(&v->n_users, 1);
    pantry_status status = fill(v, tokens, n, err);
    if (status)
        pn_grammar_vocabulary_free(v);
    else
        *out = v;
    return status;
}

struct pn_grammar_vocabulary *pn_grammar_vocabulary_share(struct pn_grammar_vocabulary *v)
{
    atomic_fetch_add_explicit(&v->n_users, 1, memory_order_relaxed);
    return v;
}

void pn_grammar_vocabulary_free(struct pn_grammar_vocabulary *v)
{
    if (!v || atomic_fetch_sub_explicit(&v->n_users, 1, memory_order_acq_rel) != 1)
        return;
    pn_masks_free_all(v->masks);
    pn_known_free(v->known);
    pthread_mutex_destroy(&v->lock);
    pthread_mutex_destroy(&v->known_lock);
    free(v->nodes);
    free(v->ids);
    free(v->bytes);
    free(v->texts);
    free(v->bytes_at);
    free(v->texts_at);
    free(v->flags);
    free(v->ends);
    free(v->end_ids);
    free(v);
}

size_t pn_grammar_vocabulary_size(const struct pn_grammar_vocabulary *v)
{
    return v->n_tokens;
}
