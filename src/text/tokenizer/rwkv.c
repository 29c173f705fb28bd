/* RWKV's vocabulary: tokens are byte strings, and the longest one that matches is taken. GGUF writes them with escapes.
 */
#include "text/tokenizer/tokenizer_impl.h"

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Undoes \t \n \r \xNN and a backslash before any other byte; a bad \x is kept as it is. `out` has room for `len`. */
static size_t unescape(const char *text, size_t len, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] != '\\' || i + 1 >= len) {
            out[n++] = text[i];
            continue;
        }
        char c = text[++i];
        if (c == 'x' && i + 2 < len && hex(text[i + 1]) >= 0 && hex(text[i + 2]) >= 0) {
            out[n++] = (char)(hex(text[i + 1]) * 16 + hex(text[i + 2]));
            i += 2;
        } else {
            out[n++] = c == 't' ? '\t' : c == 'n' ? '\n' : c == 'r' ? '\r' : c;
        }
    }
    return n;
}

static pantry_status init(struct pn_tokenizer *t, const struct pn_vocab *v, struct pantry_error *err)
{
    (void)v;
    size_t total = 0;
    for (size_t i = 0; i < t->tokens.n; i++)
        total += t->tokens.text[i].len;
    if (!pn_buf_reserve(&t->tokens.bytes, total))
        return pn_no_memory(err, "the vocabulary");
    pantry_status status = pn_trie_init(&t->rwkv.trie, err);
    char *at = t->tokens.bytes.data;
    for (size_t i = 0; i < t->tokens.n && !status; i++) {
        size_t n = unescape(t->tokens.text[i].data, t->tokens.text[i].len, at);
        t->tokens.piece[i] = (struct pn_str){.data = at, .len = n};
        at += n;
        if (t->tokens.type[i] != PN_TOKEN_CONTROL)
            status = pn_trie_add(&t->rwkv.trie, t->tokens.piece[i].data, n, (int32_t)i, err);
    }
    return status;
}

static pantry_status encode(const struct pn_tokenizer *t, struct pn_encode_state *s, const char *text, size_t len,
                            struct pn_ids *out, struct pantry_error *err)
{
    (void)s;
    for (size_t pos = 0; pos < len;) {
        int32_t id = t->id.unk;
        size_t end = pos + 1;
        uint32_t node = 0;
        for (size_t i = pos; i < len && (node = pn_trie_step(&t->rwkv.trie, node, (unsigned char)text[i])); i++)
            if (t->rwkv.trie.value[node] >= 0) {
                id = t->rwkv.trie.value[node];
                end = i + 1;
            }
        if (id >= 0 && !pn_vec_push(out, id))
            return pn_no_memory(err, "tokenizing");
        pos = end;
    }
    return PANTRY_OK;
}

static void free_model(struct pn_tokenizer *t)
{
    pn_trie_free(&t->rwkv.trie);
}

const struct pn_model_ops pn_rwkv_ops = {
    .init = init,
    .free = free_model,
    .encode = encode,
    .decode = {.kind = PN_DECODE_RAW},
    .takes_bytes = true,
};
