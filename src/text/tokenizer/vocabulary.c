/* What follows from names and texts: the defaults of each kind of vocabulary, and which tokens end a generation. */
#include "text/split/pretype.h"
#include "text/tokenizer/tokenizer_impl.h"

#include <stdlib.h>

static bool is(const char *a, size_t len, const char *b)
{
    return strlen(b) == len && !memcmp(a, b, len);
}

static pantry_status init_bpe(struct pn_vocab *v, const char *pre, size_t pre_len, struct pantry_error *err)
{
    const struct pn_pretype *row = pre_len ? pn_pretype_find(pre, pre_len) : pn_pretype_find("default", 7);
    if (!row)
        return pn_fail(err, PANTRY_UNSUPPORTED, "tokenizer.ggml.pre: unknown pre-tokenizer \"%.*s\"",
                       pre_len > 64 ? 64 : (int)pre_len, pre);
    v->kind = PN_VOCAB_BPE;
    v->bpe.pre = pre_len ? pre : "default";
    v->bpe.pre_len = pre_len ? pre_len : 7;
    v->bpe.ignore_merges = row->flags & PN_PRETYPE_IGNORE_MERGES;
    v->flags.add_bos = row->flags & PN_PRETYPE_ADD_BOS;
    v->flags.escape_whitespaces = row->flags & PN_PRETYPE_ESCAPE_SPACE;
    v->flags.byte_fallback = v->flags.fuse_unk = row->flags & PN_PRETYPE_RAW;
    v->flags.byte_level = !v->flags.byte_fallback;
    if (v->flags.byte_level) {
        v->id.bos = row->flags & PN_PRETYPE_NO_BOS ? -1 : 11;
        v->id.eos = 11;
    }
    return PANTRY_OK;
}

struct pn_vocab pn_vocab_empty(void)
{
    return (struct pn_vocab){.id = PN_NO_IDS};
}

pantry_status pn_vocab_init(struct pn_vocab *v, const char *model, size_t model_len, const char *pre, size_t pre_len,
                            struct pantry_error *err)
{
    *v = pn_vocab_empty();
    if (is(model, model_len, "gpt2") || is(model, model_len, "whitespace"))
        return init_bpe(v, pre, pre_len, err);
    if (is(model, model_len, "hybriddna")) {
        pantry_status status = init_bpe(v, pre, pre_len, err);
        v->flags.dna = !status && v->flags.byte_level;
        return status;
    }
    if (is(model, model_len, "gemma4"))
        return init_bpe(v, "gemma4", 6, err);
    if (is(model, model_len, "llama")) {
        v->kind = PN_VOCAB_SPM;
        v->id.bos = 1;
        v->id.eos = 2;
        v->id.unk = 0;
        v->flags.add_bos = v->flags.add_space_prefix = v->flags.escape_whitespaces = v->flags.byte_fallback =
            v->flags.fuse_unk = true;
    } else if (is(model, model_len, "bert")) {
        v->kind = PN_VOCAB_WORDPIECE;
        v->id.bos = 101;
        v->id.unk = 100;
        v->id.sep = 102;
        v->id.pad = 0;
        v->id.mask = 103;
        v->flags.add_bos = v->flags.add_eos = v->flags.lowercase = v->flags.strip_accents = true;
        v->wordpiece.first_prefix = PN_SPACE_MARK; /* GGUF marks the start of words, not their inside */
        v->wordpiece.max_chars = 100;
    } else if (is(model, model_len, "t5")) {
        v->kind = PN_VOCAB_UNIGRAM;
        v->id.eos = 1;
        v->id.unk = 2;
        v->id.pad = 0;
        v->flags.add_eos = v->flags.escape_whitespaces = true;
    } else if (is(model, model_len, "rwkv")) {
        v->kind = PN_VOCAB_RWKV;
    } else if (is(model, model_len, "plamo2")) {
        v->kind = PN_VOCAB_PLAMO;
        v->id.unk = 0;
        v->id.bos = 1;
        v->id.eos = 2;
        v->id.pad = 3;
    } else if (is(model, model_len, "none") || is(model, model_len, "no_vocab") || is(model, model_len, "test")) {
        return pn_fail(err, PANTRY_UNSUPPORTED, "the model has no tokenizer (tokenizer.ggml.model is \"%.*s\")",
                       (int)model_len, model);
    } else {
        return pn_fail(err, PANTRY_UNSUPPORTED, "tokenizer.ggml.model: unknown tokenizer \"%.*s\"",
                       model_len > 64 ? 64 : (int)model_len, model);
    }
    return PANTRY_OK;
}

/* Texts that mark the end of a turn in some family of models, in order of preference. */
static const char *const end_of_turn[] = {
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>",         "<|endoftext|>",     "<|end_of_text|>",
    "<EOT>",      "_<EOT>",     "[EOT]",   "<｜end▁of▁sentence｜>", "<end_of_utterance>"};

/* More texts that end an answer. */
static const char *const end_of_generation[] = {"<|return|>", "<|call|>",         "<|flush|>", "<|calls|>",
                                                "</s>",       "<|eom_id|>",       "[EOS]",     "<eos>",
                                                "<turn|>",    "<|tool_response>", "[e~["};

/* Padding and separators of fill-in-the-middle: a model that prints one has finished. */
static const char *const fim_pad[] = {"<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"};
static const char *const fim_repo[] = {"<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"};
static const char *const fim_sep[] = {"<|file_sep|>"};

#define COUNT(a) (sizeof(a) / sizeof *(a))

static int32_t find(const struct pn_tokenizer *t, const char *text)
{
    return pn_tokenizer_find(t, text, strlen(text));
}

static int32_t find_first(const struct pn_tokenizer *t, const char *const *texts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int32_t id = find(t, texts[i]);
        if (id >= 0)
            return id;
    }
    return -1;
}

static void mark_eog(struct pn_tokenizer *t, int32_t id)
{
    if (id >= 0)
        t->tokens.eog[id] = 1;
}

/* Marks the token that the file names, or else the first of the texts unless it is ordinary text. */
static void mark_fim(struct pn_tokenizer *t, int32_t named, const char *const *texts, size_t n)
{
    int32_t id = named >= 0 ? named : find_first(t, texts, n);
    if (id >= 0 && (named >= 0 || t->tokens.type[id] != PN_TOKEN_NORMAL))
        t->tokens.eog[id] = 1;
}

/* A tokenizer.json says which tokens are special. In other files these texts are special even if their types say
 * otherwise, except </s>, which is ordinary text in some vocabularies. */
static void mark_all(struct pn_tokenizer *t, const char *const *texts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int32_t id = find(t, texts[i]);
        bool ordinary = id >= 0 && t->tokens.type[id] == PN_TOKEN_NORMAL;
        if (id < 0 || (ordinary && (t->flags.json || !strcmp(texts[i], "</s>")) && id != t->id.eos))
            continue;
        t->tokens.eog[id] = 1;
        if (!t->flags.json)
            t->tokens.type[id] = PN_TOKEN_CONTROL;
    }
}

static bool ends(const struct pn_tokenizer *t, const char *text)
{
    int32_t id = find(t, text);
    return id >= 0 && t->tokens.eog[id];
}

void pn_vocab_find_special(struct pn_tokenizer *t)
{
    if (t->id.eot < 0)
        t->id.eot = find_first(t, end_of_turn, COUNT(end_of_turn));
    if (t->id.eom < 0)
        t->id.eom = find(t, "<|eom_id|>");
    mark_fim(t, t->id.fim_pad, fim_pad, COUNT(fim_pad));
    mark_fim(t, t->id.fim_repo, fim_repo, COUNT(fim_repo));
    mark_fim(t, t->id.fim_sep, fim_sep, COUNT(fim_sep));
    mark_all(t, end_of_turn, COUNT(end_of_turn));
    mark_all(t, end_of_generation, COUNT(end_of_generation));
    mark_eog(t, t->id.eos);
    mark_eog(t, t->id.eot);
    mark_eog(t, t->id.eom);
    /* In Harmony and Solar Open <|end|> ends a message, not the answer. */
    int32_t end = find(t, "<|end|>");
    if (end >= 0 && ((ends(t, "<|return|>") && (ends(t, "<|call|>") || ends(t, "<|calls|>"))) ||
                     ((ends(t, "<|call|>") || ends(t, "<|calls|>")) && ends(t, "<|flush|>")))) {
        t->tokens.eog[end] = t->id.eos == end;
        if (t->id.eot == end)
            t->id.eot = t->id.eos;
    }
    /* </s> is an ordinary piece of Gemma 4 and PLaMo. */
    int32_t s = find(t, "</s>");
    if (s >= 0 && s != t->id.eos && (ends(t, "<|tool_response>") || ends(t, "<|plamo:eos|>"))) {
        t->tokens.eog[s] = 0;
        t->tokens.type[s] = PN_TOKEN_NORMAL;
    }
}
