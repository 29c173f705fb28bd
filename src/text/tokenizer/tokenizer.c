/* Building a tokenizer: see tokenizer.h. */
#include "text/tokenizer/tokenizer_impl.h"

#include <stdlib.h>

static const struct pn_model_ops *const kinds[] = {
    [PN_VOCAB_BPE] = &pn_bpe_ops,           [PN_VOCAB_SPM] = &pn_spm_ops,
    [PN_VOCAB_UNIGRAM] = &pn_unigram_ops,   [PN_VOCAB_WORDPIECE] = &pn_wordpiece_ops,
    [PN_VOCAB_RWKV] = &pn_rwkv_ops,         [PN_VOCAB_PLAMO] = &pn_plamo_ops,
    [PN_VOCAB_WORDS] = &pn_whole_words_ops,
};

/* Ids outside the vocabulary count as not given. */
static void copy_ids(struct pn_tokenizer *t, const struct pn_vocab *v)
{
    t->id = v->id;
    int32_t *ids[] = {&t->id.bos, &t->id.eos, &t->id.eot,  &t->id.eom,     &t->id.unk,      &t->id.sep,
                      &t->id.pad, &t->id.cls, &t->id.mask, &t->id.fim_pad, &t->id.fim_repo, &t->id.fim_sep};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        if (*ids[i] < 0 || (size_t)*ids[i] >= v->n_tokens)
            *ids[i] = -1;
}

/* Sets the tokens around a text and the style of decoding. */
static void init_frame(struct pn_tokenizer *t)
{
    if (t->pipeline) {
        t->n_before = t->pipeline->n_before;
        t->n_after = t->pipeline->n_after;
        memcpy(t->before, t->pipeline->before, sizeof t->before);
        memcpy(t->after, t->pipeline->after, sizeof t->after);
        t->decode = t->pipeline->decode;
        return;
    }
    int32_t before = t->ops->framed && t->id.cls >= 0 ? t->id.cls : t->id.bos;
    int32_t after = t->ops->framed ? t->id.sep : t->id.eos;
    if (t->flags.add_bos && before >= 0)
        t->before[t->n_before++] = before;
    if (t->flags.add_eos && after >= 0)
        t->after[t->n_after++] = after;
    t->decode = t->ops->decode;
    t->decode.strip_first |= t->flags.add_space_prefix;
    if (t->flags.byte_level)
        t->decode.kind = PN_DECODE_BYTES;
}

pantry_status pn_tokenizer_new(const struct pn_vocab *v, struct pn_tokenizer **out, struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    struct pn_tokenizer *t = calloc(1, sizeof *t);
    if (!t) {
        pn_pipeline_free(v->pipeline);
        pn_pipeline_free(v->strings);
        return pn_no_memory(err, "the tokenizer");
    }
    t->ops = kinds[v->kind];
    t->pipeline = v->pipeline;
    t->strings = v->strings;
    t->flags = v->flags;
    if (!v->n_tokens || v->n_tokens > INT32_MAX / 2) {
        status =
            pn_fail(err, PANTRY_FORMAT, "the vocabulary has %zu tokens (allowed: 1 to %d)", v->n_tokens, INT32_MAX / 2);
        goto fail;
    }
    copy_ids(t, v);
    strcpy(t->mark, t->flags.escape_whitespaces ? PN_SPACE_MARK : " ");
    status = pn_tokens_init(t, v, t->ops->spells_bytes, err);
    if (!status && t->ops->init)
        status = t->ops->init(t, v, err);
    if (status)
        goto fail;
    pn_vocab_find_special(t);
    if ((status = pn_specials_init(t, err)))
        goto fail;
    if (t->ops->ready)
        t->ops->ready(t);
    init_frame(t);
    *out = t;
    return PANTRY_OK;
fail:
    pn_tokenizer_free(t);
    return status;
}

void pn_tokenizer_free(struct pn_tokenizer *t)
{
    if (!t)
        return;
    pn_encode_state_free(atomic_load(&t->spare));
    if (t->ops->free)
        t->ops->free(t);
    pn_tokens_free(&t->tokens);
    pn_trie_free(&t->special.given);
    pn_trie_free(&t->special.normal);
    pn_pipeline_free(t->pipeline);
    pn_pipeline_free(t->strings);
    free(t);
}

int32_t pn_tokenizer_bos(const struct pn_tokenizer *t)
{
    return t->id.bos;
}

int32_t pn_tokenizer_eos(const struct pn_tokenizer *t)
{
    return t->id.eos;
}

const int32_t *pn_tokenizer_around(const struct pn_tokenizer *t, bool after, size_t *n)
{
    *n = after ? t->n_after : t->n_before;
    return after ? t->after : t->before;
}
