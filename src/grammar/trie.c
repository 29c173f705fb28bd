/* Builds the trie of a vocabulary from its sorted tokens: see vocabulary_impl.h. */
#include "grammar/vocabulary_impl.h"

#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

enum {
    LOWER,
    UPPER,
    DIGIT,
    BLANK,
    LINE,
    CONTROL,
    QUOTE,
    BACKSLASH,
    TICK,
    ANGLE,
    BRACKET,
    LIST,
    WORD,
    PUNCT,
    CONTINUES,
    LEADS
};
#define X4(k)  k, k, k, k
#define X8(k)  X4(k), X4(k)
#define X16(k) X8(k), X8(k)
#define X26(k) X16(k), X8(k), k, k
#define X64(k) X16(k), X16(k), X16(k), X16(k)
const uint8_t pn_byte_kind[256] =
    {
        X8(CONTROL),    CONTROL,    LINE,    LINE,      CONTROL, CONTROL, LINE,    CONTROL,   CONTROL,
        X16(CONTROL), /* 0x00 to 0x1F */
        BLANK,          PUNCT,      QUOTE,   PUNCT,     PUNCT,   PUNCT,   PUNCT,   TICK,      BRACKET,
        BRACKET,        PUNCT,      PUNCT,   LIST,      WORD,    WORD,    PUNCT,   X8(DIGIT), DIGIT,
        DIGIT,          LIST,       LIST,    ANGLE,     PUNCT,   ANGLE,   PUNCT,   /* 0x30 to 0x3F */
        PUNCT,          X26(UPPER), BRACKET, BACKSLASH, BRACKET, PUNCT,   WORD,    /* 0x40 to 0x5F */
        PUNCT,          X26(LOWER), BRACKET, PUNCT,     BRACKET, PUNCT,   CONTROL, /* 0x60 to 0x7F */
        X64(CONTINUES), X64(LEADS),
};

static int by_bytes(const void *a, const void *b)
{
    const struct pn_trie_token *x = a, *y = b;
    size_t n = x->bytes.len < y->bytes.len ? x->bytes.len : y->bytes.len;
    int order = memcmp(x->bytes.data, y->bytes.data, n);
    if (order)
        return order;
    if (x->bytes.len != y->bytes.len)
        return x->bytes.len < y->bytes.len ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

struct node_list {
    struct pn_trie_node *data;
    size_t len, cap;
};

/* Ends the nodes of the path that are deeper than `depth`; what is below them tells its kinds to the parents. */
static void close_path(struct node_list *nodes, uint32_t *path, size_t from, size_t depth)
{
    for (size_t d = from; d > depth; d--) {
        struct pn_trie_node *node = &nodes->data[path[d]];
        node->end = (uint32_t)nodes->len;
        nodes->data[path[d - 1]].kinds |= (uint16_t)(node->kinds | 1u << pn_byte_kind[node->byte]);
    }
}

static size_t common_prefix(struct pn_str a, struct pn_str b)
{
    size_t n = 0;
    while (n < a.len && n < b.len && a.data[n] == b.data[n])
        n++;
    return n;
}

pantry_status pn_grammar_trie_build(struct pn_grammar_vocabulary *v, struct pn_trie_token *tokens, size_t n,
                                    struct pantry_error *err)
{
    struct node_list nodes = {0};
    uint32_t *path = calloc(v->longest + 2, sizeof *path);
    struct pn_str before = {"", 0};
    bool ok = path && pn_vec_push(&nodes, (struct pn_trie_node){0});
    if (n > 1)
        qsort(tokens, n, sizeof *tokens, by_bytes);
    for (size_t i = 0; ok && i < n; i++) {
        size_t common = common_prefix(before, tokens[i].bytes);
        close_path(&nodes, path, before.len, common);
        for (size_t d = common; ok && d < tokens[i].bytes.len; d++) {
            struct pn_trie_node node = {.first_id = (uint32_t)i, .depth = (uint16_t)(d + 1)};
            node.byte = (uint8_t)tokens[i].bytes.data[d];
            path[d + 1] = (uint32_t)nodes.len;
            ok = nodes.len < UINT32_MAX - 1 && pn_vec_push(&nodes, node);
        }
        v->ids[i] = tokens[i].id;
        before = tokens[i].bytes;
    }
    if (ok) {
        close_path(&nodes, path, before.len, 0);
        nodes.data[0].end = v->n_nodes = (uint32_t)nodes.len;
        ok = pn_vec_push(&nodes, ((struct pn_trie_node){.end = v->n_nodes, .first_id = (uint32_t)n}));
    }
    free(path);
    v->nodes = nodes.data;
    return ok ? PANTRY_OK : pn_no_memory(err, "the vocabulary of a grammar");
}
