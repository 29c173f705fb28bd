/* Made-up vocabularies: see synthetic_vocab.h. Ids: 256 bytes, pairs of letters, a blank with one or two letters, words
 * of a blank and four letters, three special tokens. */
#include "engine/synthetic_vocab.h"

#include "text/tokenizer/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>

enum { LETTERS = 26, BYTES = 256, TEXT_BYTES = 16, SPECIAL = 3 };

static const char *const special[SPECIAL] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};

static const char template[] =
    "{%- for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + "
    "'\\n' }}{%- endfor %}{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}";

/* The strings and what each is, while they are made. */
struct vocab {
    struct pn_arena arena;
    struct pn_str *tokens, *merges;
    int32_t *types;
    size_t n, n_merges, cap;
};

static bool add(struct pn_arena *arena, struct pn_str *to, const char *text)
{
    size_t n = strlen(text);
    *to = (struct pn_str){pn_arena_copy(arena, text, n), n};
    return to->data != NULL;
}

static bool token(struct vocab *v, const char *text, int32_t type)
{
    if (v->n == v->cap)
        return true;
    v->types[v->n] = type;
    return add(&v->arena, &v->tokens[v->n++], text);
}

/* A token that two others form. */
static bool merged(struct vocab *v, const char *left, const char *right)
{
    char text[TEXT_BYTES], merge[TEXT_BYTES + 1];
    if (v->n == v->cap)
        return true;
    snprintf(text, sizeof text, "%s%s", left, right);
    snprintf(merge, sizeof merge, "%s %s", left, right);
    return token(v, text, PN_TOKEN_NORMAL) && add(&v->arena, &v->merges[v->n_merges++], merge);
}

/* A byte in GPT-2's alphabet: printable ones of Latin-1 stand for themselves, the others for the characters from
 * U+0100 on. */
static bool bytes(struct vocab *v)
{
    uint32_t next = BYTES;
    bool ok = true;
    for (uint32_t b = 0; b < BYTES && ok; b++) {
        struct pn_buf text = {0};
        bool shown = (b > ' ' && b < 127) || (b > 160 && b != 173);
        pn_buf_put_utf8(&text, shown ? b : next++);
        ok = !text.failed && token(v, text.data, PN_TOKEN_NORMAL);
        pn_buf_free(&text);
    }
    return ok;
}

static bool words(struct vocab *v)
{
    static const char blank[] = "\xc4\xa0"; /* U+0120 is a blank in that alphabet */
    bool ok = true;
    for (int i = 0; ok && i < LETTERS * LETTERS; i++) {
        const char left[] = {(char)('a' + i / LETTERS), 0}, right[] = {(char)('a' + i % LETTERS), 0};
        ok = merged(v, left, right);
    }
    for (int i = 0; ok && i < LETTERS; i++)
        ok = merged(v, blank, (const char[]){(char)('a' + i), 0});
    for (int i = 0; ok && i < LETTERS * LETTERS; i++)
        ok = merged(v, blank, (const char[]){(char)('a' + i / LETTERS), (char)('a' + i % LETTERS), 0});
    for (uint32_t i = 0; ok && v->n < v->cap; i++) {
        char text[TEXT_BYTES];
        uint32_t rest = i;
        int at = snprintf(text, sizeof text, "%s", blank);
        for (int k = 3; k >= 0; k--, rest /= LETTERS)
            text[at + k] = (char)('a' + rest % LETTERS);
        text[at + 4] = '\0';
        if (rest) /* beyond all words of four letters */
            snprintf(text, sizeof text, "%s%u", blank, i);
        ok = token(v, text, PN_TOKEN_NORMAL);
    }
    return ok;
}

pantry_status pn_synthetic_vocab(struct pn_gguf_meta *meta, uint32_t n, struct pantry_error *err)
{
    struct vocab v = {.cap = n - SPECIAL};
    v.tokens = calloc((size_t)n + 1, sizeof *v.tokens);
    v.merges = calloc((size_t)n + 1, sizeof *v.merges);
    v.types = calloc((size_t)n + 1, sizeof *v.types);
    bool ok = v.tokens && v.merges && v.types && bytes(&v) && words(&v);
    v.cap = n;
    for (int i = 0; ok && i < SPECIAL; i++)
        ok = token(&v, special[i], PN_TOKEN_CONTROL);
    if (ok) {
        pn_gguf_str(meta, "tokenizer.ggml.model", "gpt2");
        pn_gguf_str(meta, "tokenizer.ggml.pre", "llama-bpe");
        pn_gguf_strings(meta, "tokenizer.ggml.tokens", v.n, v.tokens);
        pn_gguf_array(meta, "tokenizer.ggml.token_type", PN_GGUF_I32, v.n, v.types);
        pn_gguf_strings(meta, "tokenizer.ggml.merges", v.n_merges, v.merges);
        pn_gguf_u32(meta, "tokenizer.ggml.bos_token_id", n - 3);
        pn_gguf_u32(meta, "tokenizer.ggml.eos_token_id", n - 1);
        pn_gguf_u32(meta, "tokenizer.ggml.padding_token_id", n - 3);
        pn_gguf_bool(meta, "tokenizer.ggml.add_bos_token", false);
        pn_gguf_str(meta, "tokenizer.chat_template", template);
    }
    pn_arena_free(&v.arena);
    free(v.tokens);
    free(v.merges);
    free(v.types);
    return ok ? PANTRY_OK : pn_no_memory(err, "a vocabulary");
}
