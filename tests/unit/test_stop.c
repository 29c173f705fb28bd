/* Where an answer ends and what is shown of it: overlapping stop texts, characters split over tokens, limits,
 * cancelling, held-back text, and statistics. The model follows a script (script_model.h), and the expected output is
 * computed by brute force. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "pantry.h"
#include "script_model.h"

enum { MAX_CALLS = 80 };
#define COUNT(a) (sizeof(a) / sizeof *(a))

/* The arguments of a callback: one entry per call. */
struct answer {
    int n;
    struct {
        int32_t id;
        char text[80];
    } calls[MAX_CALLS];
    char text[1024];
    size_t len;
    int refuse_at; /* the call that returns false; 0: none */
    pantry_cancel *cancel;
    int cancel_at; /* the call that sets it */
};

static bool collect(void *user, const struct pantry_token *token)
{
    struct answer *a = user;
    assert_true(a->n < MAX_CALLS && token->len < sizeof a->calls[0].text);
    a->calls[a->n].id = token->id;
    memcpy(a->calls[a->n].text, token->text, token->len);
    a->calls[a->n].text[token->len] = '\0';
    memcpy(a->text + a->len, token->text, token->len);
    a->len += token->len;
    a->n++;
    if (a->cancel && a->n == a->cancel_at)
        pantry_cancel_set(a->cancel);
    return a->n != a->refuse_at;
}

struct fixture {
    pantry_model *model;
    pantry_session *session;
};

static void open_model(struct fixture *f, const char *path, const struct pantry_session_options *options)
{
    struct pantry_error error;
    struct pantry_model_options device = {.size = sizeof device, .device = "ref"};
    if (pantry_model_load(path, &device, &f->model, &error) ||
        pantry_session_new(f->model, options, &f->session, &error))
        fail_msg("%s", error.text);
}

static void close_model(struct fixture *f)
{
    pantry_session_free(f->session);
    pantry_model_free(f->model);
}

static const int32_t prompt[SCRIPT_CONTEXT] = {0}; /* any tokens */

static struct pantry_generate_options options_for(struct answer *a, const char *const *stop, size_t n_stop)
{
    struct pantry_generate_options o = pantry_generate_options_default();
    *a = (struct answer){0};
    o.sampling.temperature = 0;
    o.callback = collect;
    o.user = a;
    o.stop = stop;
    o.n_stop = n_stop;
    return o;
}

/* Answers a prompt of `n` tokens. */
static struct pantry_stats generate(struct fixture *f, size_t n, const struct pantry_generate_options *o)
{
    struct pantry_stats stats = {.size = sizeof stats};
    struct pantry_error error;
    pantry_session_clear(f->session);
    if (pantry_generate(f->session, prompt, n, o, &stats, &error))
        fail_msg("%s", error.text);
    return stats;
}

/* ---- the expected output, by brute force ---- */

/* The length of the longest suffix of `text` that is a proper prefix of a stop text. */
static size_t held_back(const char *text, const char *const *stop, size_t n_stop)
{
    for (size_t begin = 0; text[begin]; begin++)
        for (size_t i = 0; i < n_stop; i++)
            if (strlen(text + begin) < strlen(stop[i]) && strncmp(text + begin, stop[i], strlen(text + begin)) == 0)
                return strlen(text + begin);
    return 0;
}

static const char *first_stop(const char *text, const char *const *stop, size_t n_stop)
{
    const char *first = NULL;
    for (size_t i = 0; i < n_stop; i++) {
        const char *at = *stop[i] ? strstr(text, stop[i]) : NULL;
        if (at && (!first || at < first))
            first = at;
    }
    return first;
}

/* Checks every call of the callback, text and id, after the model generated pieces of whole characters and ended. */
static void check_calls(const struct answer *a, const struct pantry_stats *stats, const char *const *pieces,
                        const int32_t *ids, int n, const char *const *stop, size_t n_stop)
{
    char all[1024] = "";
    size_t shown = 0;
    bool stopped = false;
    int i = 0;
    for (; i < n && !stopped; i++) {
        strcat(all, pieces[i]);
        const char *at = first_stop(all, stop, n_stop);
        size_t end = at ? (size_t)(at - all) : strlen(all) - held_back(all, stop, n_stop);
        stopped = at != NULL;
        assert_true(i < a->n && end >= shown);
        assert_int_equal(a->calls[i].id, ids[i]);
        assert_int_equal(strlen(a->calls[i].text), end - shown);
        assert_memory_equal(a->calls[i].text, all + shown, end - shown);
        shown = end;
    }
    assert_int_equal(stats->stop, stopped ? PANTRY_STOP_TEXT : PANTRY_STOP_END);
    assert_int_equal(stats->n_generated, i);
    if (!stopped && all[shown]) { /* held-back text comes at the end, without a token */
        assert_true(i < a->n);
        assert_int_equal(a->calls[i].id, -1);
        assert_string_equal(a->calls[i].text, all + shown);
        shown = strlen(all);
        i++;
    }
    assert_int_equal(a->n, i);
    assert_int_equal(strlen(a->text), shown);
}

/* ---- stop texts ---- */

static void stop_texts_of_every_overlap(void **state)
{
    (void)state;
    static const struct {
        const char *pieces[12], *stop[4], *shown;
        enum pantry_stop reason;
        int n_generated;
    } cases[] = {
        {{"a", "a", "a", "b", "c"}, {"aab"}, "a", PANTRY_STOP_TEXT, 4},
        {{"a", "a", "a", "a", "b"}, {"aab"}, "aa", PANTRY_STOP_TEXT, 5},
        {{"aa", "ab", "c"}, {"aab"}, "a", PANTRY_STOP_TEXT, 2},
        {{"a", "aa", "b", "c"}, {"aab"}, "a", PANTRY_STOP_TEXT, 3},
        {{"aaabaab"}, {"aab"}, "a", PANTRY_STOP_TEXT, 1},
        {{"a", "a", "c", "a", "a"}, {"aab"}, "aacaa", PANTRY_STOP_END, 5},
        {{"a", "b", "a", "b", "a", "c"}, {"abac"}, "ab", PANTRY_STOP_TEXT, 6},
        {{"a", "b", "a", "b", "a"}, {"abac"}, "ababa", PANTRY_STOP_END, 5},
        {{"x", "E", "N", "D", "y"}, {"END"}, "x", PANTRY_STOP_TEXT, 4},
        {{"xEN", "Dy", "z"}, {"END"}, "x", PANTRY_STOP_TEXT, 2},
        {{"END", "y"}, {"END"}, "", PANTRY_STOP_TEXT, 1},
        {{"x", "ENDy"}, {"END"}, "x", PANTRY_STOP_TEXT, 2},
        {{"x", "EN", "E", "N", "D"}, {"END"}, "xEN", PANTRY_STOP_TEXT, 5},
        {{"E", "N", "E"}, {"END"}, "ENE", PANTRY_STOP_END, 3},
        /* several: the first one to end ends the answer; of those that end together, the one that begins first */
        {{"a", "b", "c", "d"}, {"abc", "ab"}, "", PANTRY_STOP_TEXT, 2},
        {{"a", "b", "c", "d"}, {"ab", "abc"}, "", PANTRY_STOP_TEXT, 2},
        {{"a", "bcd"}, {"bc", "abcd"}, "", PANTRY_STOP_TEXT, 2},
        {{"a", "bcd"}, {"abcd", "bc"}, "", PANTRY_STOP_TEXT, 2},
        {{"xyz"}, {"z", "y"}, "x", PANTRY_STOP_TEXT, 1},
        {{"xyz"}, {"y", "z"}, "x", PANTRY_STOP_TEXT, 1},
        {{"x", "a", "b", "d"}, {"bcd", "abcd"}, "xabd", PANTRY_STOP_END, 4},
        {{"x", "a", "b", "c", "d"}, {"bcd", "abcdef"}, "xa", PANTRY_STOP_TEXT, 5},
        {{"x", "a", "b"}, {"", "b"}, "xa", PANTRY_STOP_TEXT, 3},
        {{"x", "a", "b"}, {"", ""}, "xab", PANTRY_STOP_END, 3},
        {{"\xC3\xA9", "\xE2\x82\xAC", "x"}, {"\xE2\x82\xAC"}, "\xC3\xA9", PANTRY_STOP_TEXT, 2},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct fixture f;
        struct answer a;
        int32_t ids[12];
        int n = 0;
        size_t n_stop = 0;
        while (n < 12 && cases[i].pieces[n])
            n++;
        while (n_stop < 4 && cases[i].stop[n_stop])
            n_stop++;
        open_model(&f, script_model("script.gguf", cases[i].pieces, n, ids), NULL);
        struct pantry_generate_options o = options_for(&a, cases[i].stop, n_stop);
        struct pantry_stats stats = generate(&f, 1, &o);
        assert_string_equal(a.text, cases[i].shown);
        assert_int_equal(stats.stop, cases[i].reason);
        assert_int_equal(stats.n_generated, cases[i].n_generated);
        check_calls(&a, &stats, cases[i].pieces, ids, n, cases[i].stop, n_stop);
        close_model(&f);
    }
}

/* Random words of two letters as answer and as stop texts: all possible overlaps. */
static void random_stop_texts_equal_brute_force(void **state)
{
    (void)state;
    enum { N = 40, N_CASES = 200 };
    static const char *const words[] = {"a", "b", "ab", "ba", "aa", "bb", "aab", "c"};
    const char *pieces[N];
    int32_t ids[N];
    struct fixture f;
    struct pn_rng rng = {7};
    int n_stopped = 0;
    for (int i = 0; i < N; i++)
        pieces[i] = words[pn_rng_u64(&rng) % COUNT(words)];
    open_model(&f, script_model("random.gguf", pieces, N, ids), NULL);
    for (int k = 0; k < N_CASES; k++) {
        char text[3][8] = {{0}};
        const char *stop[3];
        size_t n_stop = pn_rng_u64(&rng) % 3 + 1;
        struct answer a;
        for (size_t i = 0; i < n_stop; i++) {
            size_t n = pn_rng_u64(&rng) % 6 + 1;
            for (size_t j = 0; j < n; j++)
                text[i][j] = "ab"[pn_rng_u64(&rng) % 2];
            stop[i] = text[i];
        }
        int from = (int)(pn_rng_u64(&rng) % (N - 1));
        struct pantry_generate_options o = options_for(&a, stop, n_stop);
        struct pantry_stats stats = generate(&f, (size_t)from + 1, &o);
        check_calls(&a, &stats, pieces + from, ids + from, N - from, stop, n_stop);
        n_stopped += stats.stop == PANTRY_STOP_TEXT;
    }
    assert_in_range(n_stopped, N_CASES / 4, N_CASES - 10); /* both outcomes occur */
    close_model(&f);
}

/* ---- characters ---- */

static void split_characters_arrive_whole(void **state)
{
    (void)state;
    static const struct {
        const char *pieces[8], *shown[9], *stop;
    } cases[] = {
        {{"a", "\xC3", "\xA9", "b"}, {"a", "", "\xC3\xA9", "b"}, NULL},
        {{"\xE2", "\x82", "\xAC"}, {"", "", "\xE2\x82\xAC"}, NULL},
        {{"x\xF0\x9F", "\x8D\x9Ey"}, {"x", "\xF0\x9F\x8D\x9Ey"}, NULL},
        {{"\xF0", "\x9F", "\x8D", "\x9E"}, {"", "", "", "\xF0\x9F\x8D\x9E"}, NULL},
        {{"a", "\xC3"}, {"a", "", "\xEF\xBF\xBD"}, NULL}, /* incomplete at the end: flushed */
        {{"\xE2\x82", "b"},
         {"", "\xEF\xBF\xBD"
              "b"},
         NULL},                                                  /* incomplete in the middle */
        {{"a", "\xC3", "\xA9", "b"}, {"a", "", ""}, "\xC3\xA9"}, /* a stop text that splits a character */
        {{"\xC3", "\xA9", "\xC3", "\xA8"}, {"", "", "", "\xC3\xA9\xC3\xA8"}, "\xC3\xA9\xC3\xAA"},
        {{"x", "\xC3\xA9", "\xC3"}, {"x", "", "", "\xC3\xA9\xEF\xBF\xBD"}, "\xC3\xA9\xC3\xAA"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct fixture f;
        struct answer a;
        int32_t ids[8];
        int n = 0, n_shown = 0;
        while (n < 8 && cases[i].pieces[n])
            n++;
        while (n_shown < 9 && cases[i].shown[n_shown])
            n_shown++;
        open_model(&f, script_model("script.gguf", cases[i].pieces, n, ids), NULL);
        struct pantry_generate_options o = options_for(&a, &cases[i].stop, cases[i].stop ? 1 : 0);
        generate(&f, 1, &o);
        assert_int_equal(a.n, n_shown);
        for (int k = 0; k < n_shown; k++) {
            assert_string_equal(a.calls[k].text, cases[i].shown[k]);
            assert_int_equal(a.calls[k].id, k < n ? ids[k] : -1);
        }
        close_model(&f);
    }
}

/* ---- why it ended ---- */

static const char *const letters[] = {"a", "b", "c", "d", "e", "f", "g", "h"};
enum { N_LETTERS = COUNT(letters) };

static void open_letters(struct fixture *f, int n_context, int n_batch)
{
    int32_t ids[N_LETTERS];
    struct pantry_session_options options = {.size = sizeof options, .n_context = n_context, .n_batch = n_batch};
    open_model(f, script_model("letters.gguf", letters, N_LETTERS, ids), &options);
}

static void answers_end_for_the_right_reason(void **state)
{
    (void)state;
    static const struct {
        int n_prompt, n_context, max_tokens, refuse_at, cancel_at;
        bool ignore_eos;
        const char *shown;
        enum pantry_stop reason;
        int n_generated, n_past;
    } cases[] = {
        {1, 0, 0, 0, 0, false, "abcdefgh", PANTRY_STOP_END, 8, 9},
        {3, 0, 0, 0, 0, false, "cdefgh", PANTRY_STOP_END, 6, 9},
        {9, 0, 0, 0, 0, false, "", PANTRY_STOP_END, 0, 9},
        {1, 0, 9, 0, 0, false, "abcdefgh", PANTRY_STOP_END, 8, 9},
        {1, 0, 8, 0, 0, false, "abcdefgh", PANTRY_STOP_LENGTH, 8, 8},
        {1, 0, 7, 0, 0, false, "abcdefg", PANTRY_STOP_LENGTH, 7, 7},
        {1, 0, 1, 0, 0, false, "a", PANTRY_STOP_LENGTH, 1, 1},
        {1, 0, 10, 0, 0, true, "abcdefgh", PANTRY_STOP_LENGTH, 10, 10}, /* <eos> prints nothing */
        {1, 4, 0, 0, 0, false, "abcd", PANTRY_STOP_LENGTH, 4, 4},       /* the last token needs no room */
        {3, 4, 0, 0, 0, false, "cd", PANTRY_STOP_LENGTH, 2, 4},
        {4, 4, 0, 0, 0, false, "d", PANTRY_STOP_LENGTH, 1, 4},
        {4, 4, 1, 0, 0, false, "d", PANTRY_STOP_LENGTH, 1, 4},
        {1, 0, 0, 1, 0, false, "a", PANTRY_STOP_CALLBACK, 1, 1},
        {1, 0, 0, 4, 0, false, "abcd", PANTRY_STOP_CALLBACK, 4, 4},
        {1, 0, 4, 4, 0, false, "abcd", PANTRY_STOP_CALLBACK, 4, 4},
        {1, 0, 4, 0, 4, false, "abcd", PANTRY_STOP_LENGTH, 4, 4},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct fixture f;
        struct answer a;
        pantry_cancel *cancel = pantry_cancel_new();
        open_letters(&f, cases[i].n_context, 0);
        struct pantry_generate_options o = options_for(&a, NULL, 0);
        o.max_tokens = cases[i].max_tokens;
        o.ignore_eos = cases[i].ignore_eos;
        a.refuse_at = cases[i].refuse_at;
        o.cancel = a.cancel = cancel;
        a.cancel_at = cases[i].cancel_at;
        struct pantry_stats stats = generate(&f, (size_t)cases[i].n_prompt, &o);
        assert_string_equal(a.text, cases[i].shown);
        assert_int_equal(stats.stop, cases[i].reason);
        assert_int_equal(stats.n_generated, cases[i].n_generated);
        assert_int_equal(a.n, cases[i].n_generated);
        assert_int_equal(stats.n_prompt, cases[i].n_prompt);
        assert_int_equal(stats.n_cached, 0);
        assert_int_equal(pantry_session_n_past(f.session), cases[i].n_past);
        pantry_cancel_free(cancel);
        close_model(&f);
    }
}

/* The flag ends an answer early; tokens that are ready by then still arrive. */
static void a_flag_cancels(void **state)
{
    (void)state;
    for (int at = 1; at <= 6; at++) {
        struct fixture f;
        struct answer a;
        pantry_cancel *cancel = pantry_cancel_new();
        open_letters(&f, 200, 0);
        struct pantry_generate_options o = options_for(&a, NULL, 0);
        o.ignore_eos = true;
        o.cancel = a.cancel = cancel;
        a.cancel_at = at;
        struct pantry_stats stats = generate(&f, 1, &o);
        assert_int_equal(stats.stop, PANTRY_STOP_CANCELLED);
        assert_true(a.n >= at && a.n == stats.n_generated && a.n < 150);
        assert_memory_equal(a.text, "abcdefgh", (size_t)at);
        assert_true(pantry_session_n_past(f.session) <= stats.n_generated);
        pantry_cancel_free(cancel);
        close_model(&f);
    }
}

/* Held-back text is shown when the answer ends otherwise, but not after a callback returned false. */
static void held_back_text_is_flushed(void **state)
{
    (void)state;
    static const char *const stop[] = {"cdex"};
    static const struct {
        int max_tokens, refuse_at;
        enum pantry_stop reason;
        const char *last;
        int n_calls;
    } cases[] = {
        {5, 0, PANTRY_STOP_LENGTH, "cde", 6},  {4, 0, PANTRY_STOP_LENGTH, "cd", 5}, {2, 0, PANTRY_STOP_LENGTH, "b", 2},
        {6, 0, PANTRY_STOP_LENGTH, "cdef", 6}, {0, 4, PANTRY_STOP_CALLBACK, "", 4},
    };
    struct fixture f;
    open_letters(&f, 0, 0);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct answer a;
        struct pantry_generate_options o = options_for(&a, stop, 1);
        o.max_tokens = cases[i].max_tokens;
        a.refuse_at = cases[i].refuse_at;
        assert_int_equal(generate(&f, 1, &o).stop, cases[i].reason);
        assert_int_equal(a.n, cases[i].n_calls);
        assert_string_equal(a.calls[a.n - 1].text, cases[i].last);
    }
    close_model(&f);
}

/* The flag is checked before each slice of the prompt: tokens read so far stay, the rest is read later. */
static void cancelled_prompts_continue_later(void **state)
{
    (void)state;
    struct fixture f;
    struct answer a;
    struct pantry_stats stats = {.size = sizeof stats};
    pantry_cancel *cancel = pantry_cancel_new();
    pantry_cancel_set(cancel);
    open_letters(&f, 0, 2);
    struct pantry_generate_options o = options_for(&a, NULL, 0);
    o.cancel = cancel;
    stats = generate(&f, 5, &o);
    assert_int_equal(stats.stop, PANTRY_STOP_CANCELLED);
    assert_int_equal(stats.n_generated, 0);
    assert_int_equal(a.n, 0);
    assert_int_equal(pantry_session_n_past(f.session), 0);
    assert_true(stats.decode_seconds == 0 && stats.first_token_seconds > 0);
    pantry_cancel_clear(cancel);
    stats = generate(&f, 5, &o);
    assert_string_equal(a.text, "efgh");
    pantry_cancel_free(cancel);
    close_model(&f);
}

/* Callback, statistics and error may all be NULL. */
static void outputs_may_be_null(void **state)
{
    (void)state;
    struct fixture f;
    open_letters(&f, 0, 0);
    struct pantry_generate_options o = pantry_generate_options_default();
    static const char *const stop[] = {"fx", "gh"};
    o.stop = stop;
    o.n_stop = 2;
    o.sampling.temperature = 0;
    assert_int_equal(pantry_generate(f.session, prompt, 1, &o, NULL, NULL), PANTRY_OK);
    assert_int_equal(pantry_session_n_past(f.session), 8);
    assert_int_equal(pantry_generate(f.session, prompt, 0, &o, NULL, NULL), PANTRY_INVALID);
    assert_int_equal(pantry_generate(f.session, NULL, 1, &o, NULL, NULL), PANTRY_INVALID);
    assert_int_equal(pantry_generate(f.session, prompt, SCRIPT_CONTEXT + 1, &o, NULL, NULL), PANTRY_CONTEXT_FULL);
    pantry_session_clear(f.session);
    assert_int_equal(pantry_generate(f.session, prompt, 9, NULL, NULL, NULL), PANTRY_OK);
    assert_int_equal(pantry_session_n_past(f.session), 9); /* <eos> at once: by far the likeliest */
    close_model(&f);
}

/* ---- statistics ---- */

/* A step reads the weights once, and the keys and values of all tokens so far: one layer of 4 heads of 32 values,
 * twice, with two bytes each (f16) or four (f32). */
static void statistics_are_exact(void **state)
{
    (void)state;
    static const struct {
        const char *kv_type;
        int n_prompt, max_tokens;
        int n_steps; /* of one token, after the prompt */
        size_t row_bytes;
    } cases[] = {
        {"f32", 1, 5, 4, SCRIPT_EMBD * 2 * 4}, {"f16", 3, 4, 3, SCRIPT_EMBD * 2 * 2},
        {"f32", 1, 1, 0, SCRIPT_EMBD * 2 * 4}, {"f32", 2, 0, 7, SCRIPT_EMBD * 2 * 4},
        {"f32", 8, 0, 1, SCRIPT_EMBD * 2 * 4}, {"q8_0", 2, 3, 2, SCRIPT_EMBD / 32 * 34 * 2},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct fixture f;
        struct answer a;
        struct pantry_model_info info = {.size = sizeof info};
        int32_t ids[N_LETTERS];
        struct pantry_session_options options = {.size = sizeof options, .kv_type = cases[i].kv_type};
        open_model(&f, script_model("letters.gguf", letters, N_LETTERS, ids), &options);
        pantry_model_info(f.model, &info, NULL);
        struct pantry_generate_options o = options_for(&a, NULL, 0);
        o.max_tokens = cases[i].max_tokens;
        uint64_t start = pn_clock_ns();
        struct pantry_stats stats = generate(&f, (size_t)cases[i].n_prompt, &o);
        double seconds = (double)(pn_clock_ns() - start) * 1e-9, tokens = 0;
        for (int k = 1; k <= cases[i].n_steps; k++)
            tokens += cases[i].n_prompt + k;
        double cache = cases[i].n_steps ? tokens / cases[i].n_steps * (double)cases[i].row_bytes : 0;
        assert_true(stats.bytes_per_token == (double)info.step_bytes + cache);
        assert_int_equal(pantry_session_n_past(f.session), cases[i].n_prompt + cases[i].n_steps);
        assert_true(stats.load_seconds > 0 && stats.prefill_seconds > 0 && stats.decode_seconds > 0);
        assert_true(stats.first_token_seconds >= stats.prefill_seconds); /* which begins a moment later */
        assert_true(stats.first_token_seconds + stats.decode_seconds <= seconds);
        /* Again: all tokens of the prompt except the last are cached. */
        assert_int_equal(pantry_generate(f.session, prompt, (size_t)cases[i].n_prompt, &o, &stats, NULL), PANTRY_OK);
        assert_int_equal(stats.n_cached, cases[i].n_prompt - 1);
        assert_int_equal(stats.n_prompt, cases[i].n_prompt);
        close_model(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stop_texts_of_every_overlap),
        cmocka_unit_test(random_stop_texts_equal_brute_force),
        cmocka_unit_test(split_characters_arrive_whole),
        cmocka_unit_test(answers_end_for_the_right_reason),
        cmocka_unit_test(a_flag_cancels),
        cmocka_unit_test(held_back_text_is_flushed),
        cmocka_unit_test(cancelled_prompts_continue_later),
        cmocka_unit_test(outputs_may_be_null),
        cmocka_unit_test(statistics_are_exact),
    };
    cmocka_set_test_filter(getenv("PANTRY_TEST_FILTER")); /* emulated machines run only some */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
