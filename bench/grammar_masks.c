/* Time of token masks: compiles grammars, steps through texts token by token and asks for the mask before each.
 *
 *     grammar_masks MODEL --vocabulary            prints the vocabulary as JSON: {"tokens": [hex, ...], "special":
 * [ids], "ends": [ids]} grammar_masks MODEL CASES.json [--rounds N] CASES.json: [{"kind": "schema" or "gbnf", "source",
 * "text"}, ...]
 *
 * Prints one JSON object per case: "compile_ms" (median; without the cache), "ids", "cold_us" (first time through: mean
 * per token of mask and step), "cold_max_us", "mask_us" and "step_us" (means of later times, all states known; the
 * median of the rounds). bench/grammars.py compares with other engines. */
#include "base/clock.h"
#include "engine/handle.h"
#include "grammar/gbnf.h"
#include "grammar/mask.h"
#include "grammar/schema.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_COMPILES = 5 };

static _Noreturn void fail(const char *what, const struct pantry_error *err)
{
    fprintf(stderr, "%s: %s\n", what, err ? err->text : "out of memory");
    exit(1);
}

/* Processor time, so that other programs do not count. */
static double now_us(void)
{
    return (double)pn_clock_thread_ns() / 1000;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, size_t n)
{
    qsort(v, n, sizeof *v, by_value);
    return v[n / 2];
}

/* The bytes of all tokens, kept in one buffer. */
static struct pn_grammar_token *read_tokens(const struct pn_tokenizer *t, struct pn_buf *bytes)
{
    size_t n = pn_tokenizer_n_vocab(t);
    struct pn_grammar_token *tokens = calloc(n, sizeof *tokens);
    size_t *at = calloc(n + 1, sizeof *at);
    struct pantry_error err;
    if (!tokens || !at)
        fail("tokens", NULL);
    for (size_t id = 0; id < n; id++) {
        int type = pn_tokenizer_token_type(t, (int32_t)id);
        tokens[id].ends = pn_tokenizer_is_eog(t, (int32_t)id);
        tokens[id].special = type != PN_TOKEN_NORMAL && type != PN_TOKEN_BYTE && type != PN_TOKEN_USER;
        at[id] = bytes->len;
        if (!tokens[id].special && pn_tokenizer_token_bytes(t, (int32_t)id, bytes, &err))
            fail("token", &err);
    }
    at[n] = bytes->len;
    for (size_t id = 0; id < n; id++)
        tokens[id].bytes = (struct pn_str){bytes->data + at[id], at[id + 1] - at[id]};
    free(at);
    return tokens;
}

static void put_vocabulary(const struct pn_grammar_token *tokens, size_t n)
{
    printf("{\"tokens\": [");
    for (size_t id = 0; id < n; id++) {
        printf(id ? ", \"" : "\"");
        for (size_t i = 0; i < tokens[id].bytes.len; i++)
            printf("%02x", (unsigned char)tokens[id].bytes.data[i]);
        putchar('"');
    }
    for (int k = 0; k < 2; k++) {
        const char *comma = "";
        printf(k ? "], \"ends\": [" : "], \"special\": [");
        for (size_t id = 0; id < n; id++)
            if (k ? tokens[id].ends : tokens[id].special) {
                printf("%s%zu", comma, id);
                comma = ", ";
            }
    }
    printf("]}\n");
}

static struct pn_grammar *compile(const char *kind, const char *source)
{
    struct pn_expr_builder *b;
    struct pn_grammar *grammar;
    struct pantry_error err;
    pn_expr root;
    if (pn_expr_builder_new(&b, &err) ||
        (strcmp(kind, "schema") == 0 ? pn_schema_parse(b, source, strlen(source), NULL, &root, &err)
                                     : pn_gbnf_parse(b, source, strlen(source), &root, &err)) ||
        pn_grammar_compile(b, root, &grammar, &err))
        fail("grammar", &err);
    pn_expr_builder_free(b);
    return grammar;
}

/* One way through the text, in us of processor time: the whole, and the longest mask if `each` is timed. Without
 * `masks` only the steps. */
static double step_through(struct pn_grammar *grammar, struct pn_grammar_vocabulary *vocabulary,
                           const struct pn_ids *ids, bool masks, double *longest)
{
    struct pn_matcher *m;
    struct pn_mask mask = {0};
    struct pantry_error err = {0};
    if (pn_matcher_new(grammar, vocabulary, &m, &err))
        fail("matcher", &err);
    double start = now_us();
    for (size_t i = 0; i < ids->len; i++) {
        int32_t id = ids->data[i];
        double before = longest ? now_us() : 0;
        if (masks && pn_matcher_mask(m, &mask, &err))
            fail("mask", &err);
        if (longest && now_us() - before > *longest)
            *longest = now_us() - before;
        if (masks && !(mask.bits[id / 64] >> id % 64 & 1))
            fail("the text is not in the grammar", &err);
        if (pn_matcher_accept(m, id, &err))
            fail("step", &err);
    }
    double total = now_us() - start;
    if (!pn_matcher_can_end(m))
        fprintf(stderr, "the text is not whole\n");
    pn_matcher_free(m);
    return total;
}

static void run_case(const json_t *spec, const struct pn_tokenizer *t, struct pn_grammar_vocabulary *vocabulary,
                     int rounds)
{
    const char *kind = json_string_value(json_object_get(spec, "kind"));
    const char *source = json_string_value(json_object_get(spec, "source"));
    const char *text = json_string_value(json_object_get(spec, "text"));
    double compiles[N_COMPILES], *masks = calloc((size_t)rounds, sizeof *masks),
                                 *steps = calloc((size_t)rounds, sizeof *steps);
    struct pn_grammar *grammar = NULL;
    struct pn_ids ids = {0};
    struct pantry_error err;
    if (!masks || !steps)
        fail("rounds", NULL);
    for (int i = 0; i < N_COMPILES; i++) {
        pn_grammar_free(grammar);
        double start = now_us();
        grammar = compile(kind, source);
        compiles[i] = (now_us() - start) / 1000;
    }
    if (pn_tokenizer_encode(t, text, strlen(text), 0, &ids, &err))
        fail("text", &err);
    double n = (double)ids.len, longest = 0, cold = step_through(grammar, vocabulary, &ids, true, &longest) / n;
    for (int i = 0; i < rounds; i++) {
        steps[i] = step_through(grammar, vocabulary, &ids, false, NULL) / n;
        masks[i] = step_through(grammar, vocabulary, &ids, true, NULL) / n - steps[i];
    }
    printf("{\"compile_ms\": %.3f, \"states\": %u, \"cold_us\": %.3f, \"cold_max_us\": %.1f, \"mask_us\": %.4f, "
           "\"step_us\": %.4f, "
           "\"ids\": [",
           median(compiles, N_COMPILES), (unsigned)grammar->n_states, cold, longest, median(masks, (size_t)rounds),
           median(steps, (size_t)rounds));
    for (size_t i = 0; i < ids.len; i++)
        printf(i ? ", %d" : "%d", (int)ids.data[i]);
    printf("]}\n");
    pn_grammar_free(grammar);
    free(ids.data);
    free(masks);
    free(steps);
}

int main(int argc, char **argv)
{
    struct pantry_error err = {0};
    pantry_tokenizer *loaded;
    struct pn_grammar_vocabulary *vocabulary;
    struct pn_buf bytes = {0};
    json_error_t where;
    if (argc < 3) {
        fprintf(stderr, "usage: grammar_masks MODEL (--vocabulary | CASES.json [--rounds N])\n");
        return 2;
    }
    int rounds = argc == 5 && strcmp(argv[3], "--rounds") == 0 && atoi(argv[4]) > 0 ? atoi(argv[4]) : 20;
    if (pantry_tokenizer_load(argv[1], &loaded, &err))
        fail(argv[1], &err);
    struct pn_grammar_token *tokens = read_tokens(loaded->tokenizer, &bytes);
    size_t n = pn_tokenizer_n_vocab(loaded->tokenizer);
    if (strcmp(argv[2], "--vocabulary") == 0) {
        put_vocabulary(tokens, n);
    } else {
        double start = now_us();
        if (pn_grammar_vocabulary_new(tokens, n, &vocabulary, &err))
            fail("vocabulary", &err);
        fprintf(stderr, "vocabulary of %zu tokens: %.1f ms\n", n, (now_us() - start) / 1000);
        json_t *cases = json_load_file(argv[2], 0, &where);
        if (!cases)
            fail(argv[2], NULL);
        for (size_t i = 0; i < json_array_size(cases); i++)
            run_case(json_array_get(cases, i), loaded->tokenizer, vocabulary, rounds);
        json_decref(cases);
        pn_grammar_vocabulary_free(vocabulary);
    }
    free(tokens);
    pn_buf_free(&bytes);
    pantry_tokenizer_free(loaded);
    return 0;
}
