/* RWKV's vocabulary: tokens are byte strings, the longest one that fits is taken. GGUF writes them with escapes. */
#include "text/tokenizer/tokenizer_impl.h"

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Undoes \t \n \r \xNN and a backslash before any other byte; a bad \x stands for itself. `out` has room for `len`. */
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

pantry_status pn_rwkv_init(struct pn_tokenizer *t, struct pantry_error *err)
{
    size_t total = 0;
    for (size_t i = 0; i < t->n_vocab; i++)
        total += t->text[i].len;
    if (!pn_buf_reserve(&t->bytes, total))
        return pn_no_memory(err, "the vocabulary");
    pantry_status status = pn_trie_init(&t->trie, err);
    char *at = t->bytes.data;
    for (size_t i = 0; i < t->n_vocab && !status; i++) {
        size_t n = unescape(t->text[i].data, t->text[i].len, at);
        t->piece[i] = (struct pn_str){.data = at, .len = n};
        at += n;
        if (t->type[i] != PN_TOKEN_CONTROL)
            status = pn_trie_add(&t->trie, t->piece[i].data, n, (int32_t)i, err);
    }
    return status;
}

pantry_status pn_rwkv_encode(const struct pn_tokenizer *t, const char *text, size_t len, struct pn_ids *out,
                             struct pantry_error *err)
{
    for (size_t pos = 0; pos < len;) {
        int32_t id = t->v.unk;
        size_t end = pos + 1;
        uint32_t node = 0;
        for (size_t i = pos; i < len && (node = pn_trie_step(&t->trie, node, (unsigned char)text[i])); i++)
            if (t->trie.value[node] >= 0) {
                id = t->trie.value[node];
                end = i + 1;
            }
        if (id >= 0 && !pn_vec_push(out, id))
            return pn_no_memory(err, "tokenizing");
        pos = end;
    }
    return PANTRY_OK;
}
