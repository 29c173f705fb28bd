/* PLaMo 2's vocabulary: cuts a text into the tokens with the highest sum of scores, counted in ten-thousandths. A
 * character without a token costs a thousand and becomes its bytes. Among equals the way whose first token is longer
 * wins, and so on: the search goes from the end of the text to its start. */
#include "text/tokenizer/tokenizer_impl.h"
#include "text/unicode/unicode.h"

#include <math.h>
#include <stdlib.h>

enum { UNITS = 10000, UNKNOWN = 10000000, NEVER = 20000000 };

struct step { /* the best way from a place to the end */
    int64_t cost;
    int32_t id; /* -1: the character's bytes */
    uint32_t end;
};

static pantry_status init(struct pn_tokenizer *t, const struct pn_vocab *v, struct pantry_error *err)
{
    pantry_status status = pn_trie_init(&t->plamo.trie, err);
    t->plamo.cost = malloc((t->tokens.n + 1) * sizeof *t->plamo.cost);
    if (!t->plamo.cost && !status)
        status = pn_no_memory(err, "the vocabulary");
    for (size_t b = 0; b < 256 && !status; b++)
        if (t->tokens.byte_id[b] < 0)
            status = pn_fail(err, PANTRY_FORMAT, "the vocabulary has no token <0x%02X>", (unsigned)b);
    for (size_t i = 0; i < t->tokens.n && !status; i++) {
        double units = round((double)((float)(v->scores ? v->scores[i] : 0) * (float)UNITS));
        if (t->tokens.type[i] == PN_TOKEN_BYTE || !(units > -NEVER) || !(units < INT32_MAX))
            continue;
        t->plamo.cost[i] = -(int32_t)units;
        status = pn_trie_add(&t->plamo.trie, t->tokens.text[i].data, t->tokens.text[i].len, (int32_t)i, err);
    }
    return status;
}

static void find_best(const struct pn_tokenizer *t, const char *text, size_t len, struct step *best)
{
    best[len] = (struct step){.id = -1};
    for (size_t pos = len; pos-- > 0;) {
        if (((unsigned char)text[pos] & 0xC0) == 0x80)
            continue;
        size_t next = pos + pn_utf8_len((unsigned char)text[pos]);
        struct step *to = &best[pos];
        *to = (struct step){.cost = best[next].cost + UNKNOWN, .id = -1, .end = (uint32_t)next};
        uint32_t node = 0;
        for (size_t i = pos; i < len && (node = pn_trie_step(&t->plamo.trie, node, (unsigned char)text[i])); i++) {
            int32_t id = t->plamo.trie.value[node];
            bool whole = i + 1 == len || ((unsigned char)text[i + 1] & 0xC0) != 0x80;
            if (id >= 0 && whole && best[i + 1].cost + t->plamo.cost[id] <= to->cost)
                *to = (struct step){.cost = best[i + 1].cost + t->plamo.cost[id], .id = id, .end = (uint32_t)(i + 1)};
        }
    }
}

static pantry_status encode(const struct pn_tokenizer *t, struct pn_encode_state *s, const char *text, size_t len,
                            struct pn_ids *out, struct pantry_error *err)
{
    if (len >= 3 && !memcmp(text, "\xEF\xBB\xBF", 3)) { /* skip a byte order mark */
        text += 3;
        len -= 3;
    }
    size_t cap = s->path_cap / sizeof(struct step);
    if (!pn_vec_reserve(&s->path, &cap, len + 1, sizeof(struct step)))
        return pn_no_memory(err, "tokenizing");
    s->path_cap = cap * sizeof(struct step);
    struct step *best = s->path;
    find_best(t, text, len, best);
    for (size_t pos = 0; pos < len; pos = best[pos].end) {
        if (best[pos].id >= 0) {
            if (!pn_vec_push(out, best[pos].id))
                return pn_no_memory(err, "tokenizing");
            continue;
        }
        for (size_t i = pos; i < best[pos].end; i++)
            if (!pn_vec_push(out, t->tokens.byte_id[(unsigned char)text[i]]))
                return pn_no_memory(err, "tokenizing");
    }
    return PANTRY_OK;
}

static void free_model(struct pn_tokenizer *t)
{
    pn_trie_free(&t->plamo.trie);
    free(t->plamo.cost);
}

const struct pn_model_ops pn_plamo_ops = {
    .init = init,
    .free = free_model,
    .encode = encode,
    .decode = {.kind = PN_DECODE_RAW},
};
