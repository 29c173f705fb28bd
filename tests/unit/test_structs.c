/* Options and results of programs compiled with an older or newer pantry.h: their structs are shorter or longer than
 * the library's. The library reads and writes only the members that both know. */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pantry.h"
#include "tiny_model.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* A struct of a later version, with further members. */
#define LATER(type)                                                                                                    \
    struct {                                                                                                           \
        struct type own;                                                                                               \
        unsigned char more[24];                                                                                        \
    }

struct fixture {
    pantry_model *model;
    pantry_session *session;
    char *path;
};

static int open_fixture(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct pantry_model_options o = pantry_model_options_default();
    o.device = "ref";
    f->path = strdup(tiny_model("llama", GW_F32, "structs.gguf"));
    *state = f;
    return pantry_model_load(f->path, &o, &f->model, NULL) || pantry_session_new(f->model, NULL, &f->session, NULL);
}

static int close_fixture(void **state)
{
    struct fixture *f = *state;
    pantry_session_free(f->session);
    pantry_model_free(f->model);
    free(f->path);
    free(f);
    return 0;
}

/* Calls the function of a kind of options; returns the status and the error. */
enum kind { MODEL, SESSION, GENERATE, REQUEST, EMBED, RANK, N_KINDS };

static pantry_status call(struct fixture *f, enum kind kind, const void *options, struct pantry_error *error)
{
    static const int32_t ids[] = {1, 2, 3};
    struct pantry_input input = {.ids = ids, .n_ids = 3};
    struct pantry_embeddings e = {.size = sizeof e};
    pantry_model *model = NULL;
    pantry_session *session = NULL;
    pantry_request *request = NULL;
    pantry_status status = PANTRY_INTERNAL;
    float score;
    switch (kind) {
    case MODEL:
        status = pantry_model_load(f->path, options, &model, error);
        break;
    case SESSION:
        status = pantry_session_new(f->model, options, &session, error);
        break;
    case GENERATE:
        status = pantry_generate(f->session, ids, 3, options, NULL, error);
        break;
    case REQUEST:
        status = pantry_submit(f->model, options, &request, error);
        break;
    case EMBED:
        status = pantry_embed(f->model, &input, 1, options, &e, error);
        break;
    case RANK:
        status = pantry_rank(f->model, &input, &input, 1, options, &score, error);
        break;
    default:
        break;
    }
    assert_true(!status || (!model && !session && !request && !e.rows));
    pantry_embeddings_free(&e);
    pantry_request_free(request);
    pantry_session_free(session);
    pantry_model_free(model);
    return status;
}

static const int32_t prompt[] = {1, 2, 3};

/* The defaults of a kind in `size` bytes; returns the library's own size. */
static size_t defaults(enum kind kind, void *o, size_t size)
{
    switch (kind) {
    case MODEL:
        pantry_model_options_init(o, size);
        return sizeof(struct pantry_model_options);
    case SESSION:
        pantry_session_options_init(o, size);
        return sizeof(struct pantry_session_options);
    case GENERATE:
        pantry_generate_options_init(o, size);
        if (size >= offsetof(struct pantry_generate_options, max_tokens) + sizeof(int))
            ((struct pantry_generate_options *)o)->max_tokens = 1;
        return sizeof(struct pantry_generate_options);
    case REQUEST:
        pantry_request_options_init(o, size);
        ((struct pantry_request_options *)o)->ids = prompt;
        ((struct pantry_request_options *)o)->n_ids = 3;
        return sizeof(struct pantry_request_options);
    default:
        pantry_embed_options_init(o, size);
        return sizeof(struct pantry_embed_options);
    }
}

static void sizes_are_asked_for(void **state)
{
    static const size_t wrong[] = {0, 1, sizeof(size_t) - 1, 4097, SIZE_MAX};
    for (enum kind kind = 0; kind < N_KINDS; kind++)
        for (size_t i = 0; i < COUNT(wrong); i++) {
            union {
                size_t size;
                unsigned char bytes[512];
            } o;
            struct pantry_error error = {.text = "unchanged"};
            memset(&o, 0, sizeof o);
            o.size = wrong[i];
            assert_int_equal(call(*state, kind, &o, &error), PANTRY_INVALID);
            assert_int_equal(error.status, PANTRY_INVALID);
            if (!strstr(error.text, "get it from the _default function"))
                fail_msg("%s", error.text);
        }
}

/* Further members that are zero are accepted; others request an unknown option, which is an error. */
static void newer_options(void **state)
{
    for (enum kind kind = 0; kind < N_KINDS; kind++) {
        union {
            size_t size;
            unsigned char bytes[512];
        } o;
        struct pantry_error error = {0};
        char says[32];
        memset(&o, 0xAA, sizeof o);
        size_t own = defaults(kind, &o, sizeof(size_t)); /* only to learn the size */
        memset(&o, 0xAA, sizeof o);
        defaults(kind, &o, own + 24);
        assert_int_equal(o.size, own + 24);
        for (size_t i = own; i < own + 24; i++)
            assert_int_equal(o.bytes[i], 0);
        assert_int_equal(o.bytes[own + 24], 0xAA);
        if (call(*state, kind, &o, &error))
            fail_msg("%s", error.text);
        for (size_t at = own; at < own + 24; at += 23) {
            o.bytes[at] = 1;
            assert_int_equal(call(*state, kind, &o, &error), PANTRY_UNSUPPORTED);
            snprintf(says, sizeof says, "at byte %zu ", at);
            assert_non_null(strstr(error.text, says));
            o.bytes[at] = 0;
        }
        assert_int_equal(call(*state, kind, &o, &error), PANTRY_OK);
    }
}

/* Members missing in a shorter struct have their defaults, whatever follows it in memory. */
static void older_options(void **state)
{
    struct fixture *f = *state;
    struct pantry_generate_options g;
    struct pantry_stats stats = {.size = sizeof stats};
    struct pantry_embed_options e;
    struct pantry_embeddings rows = {.size = sizeof rows};
    struct pantry_input input = {.ids = prompt, .n_ids = 3};
    size_t sampling_only = offsetof(struct pantry_generate_options, max_tokens);
    memset(&g, 0xAA, sizeof g);
    pantry_generate_options_init(&g, sampling_only);
    assert_int_equal(g.size, sampling_only);
    assert_int_equal(g.max_tokens, (int)0xAAAAAAAA); /* not touched */
    g.sampling.temperature = 0;
    assert_int_equal(pantry_generate(f->session, prompt, 3, &g, &stats, NULL), PANTRY_OK);
    assert_int_equal(stats.stop, PANTRY_STOP_LENGTH); /* the whole context: no max_tokens, stop text, or callback */
    assert_int_equal(stats.n_prompt + stats.n_generated, pantry_session_n_context(f->session) + 1);

    struct pantry_request_options r;
    pantry_request *request;
    const struct pantry_event *event;
    memset(&r, 0xAA, sizeof r);
    pantry_request_options_init(&r, offsetof(struct pantry_request_options, logprobs));
    r.ids = prompt;
    r.n_ids = 3;
    r.max_tokens = 1;
    assert_int_equal(pantry_submit(f->model, &r, &request, NULL), PANTRY_OK);
    event = pantry_request_next(request, -1);
    assert_true(event->kind == PANTRY_EVENT_TOKEN && event->token->logprob == 0 && event->token->n_top == 0);
    pantry_request_free(request);

    memset(&e, 0xAA, sizeof e);
    pantry_embed_options_init(&e, sizeof e.size); /* normalized, as by default */
    assert_int_equal(pantry_embed(f->model, &input, 1, &e, &rows, NULL), PANTRY_OK);
    double sum = 0;
    for (int i = 0; i < rows.n_dimensions; i++)
        sum += (double)rows.rows[i] * (double)rows.rows[i];
    assert_true(sum > 0.999 && sum < 1.001);
    pantry_embeddings_free(&rows);
}

static void results_of_other_sizes(void **state)
{
    struct fixture *f = *state;
    struct pantry_error error = {0};
    struct pantry_generate_options o = pantry_generate_options_default();
    struct pantry_input input = {.ids = prompt, .n_ids = 3};
    o.max_tokens = 2;
    LATER(pantry_stats) stats;
    memset(&stats, 0xAA, sizeof stats);
    stats.own.size = sizeof stats;
    assert_int_equal(pantry_generate(f->session, prompt, 3, &o, &stats.own, NULL), PANTRY_OK);
    assert_int_equal(stats.own.size, sizeof stats);
    assert_int_equal(stats.own.n_generated, 2);
    for (size_t i = 0; i < sizeof stats.more; i++)
        assert_int_equal(stats.more[i], 0);
    memset(&stats, 0xAA, sizeof stats);
    stats.own.size = offsetof(struct pantry_stats, n_generated);
    assert_int_equal(pantry_generate(f->session, prompt, 3, &o, &stats.own, NULL), PANTRY_OK);
    assert_int_equal(stats.own.n_prompt, 3);
    assert_int_equal(stats.own.n_generated, (int)0xAAAAAAAA);
    stats.own.size = 0;
    assert_int_equal(pantry_generate(f->session, prompt, 3, &o, &stats.own, &error), PANTRY_INVALID);
    assert_non_null(strstr(error.text, "statistics (found 0): set it to its sizeof before the call"));

    LATER(pantry_model_info) info;
    memset(&info, 0xAA, sizeof info);
    info.own.size = sizeof info;
    assert_int_equal(pantry_model_info(f->model, &info.own, NULL), PANTRY_OK);
    assert_string_equal(info.own.architecture, "llama");
    assert_int_equal(info.own.pooling, PANTRY_POOLING_LAST);
    for (size_t i = 0; i < sizeof info.more; i++)
        assert_int_equal(info.more[i], 0);
    memset(&info, 0xAA, sizeof info);
    info.own.size = 0;
    assert_int_equal(pantry_model_info(f->model, &info.own, &error), PANTRY_INVALID);
    assert_int_equal(((unsigned char *)&info)[sizeof(size_t)], 0xAA);

    LATER(pantry_embeddings) rows;
    memset(&rows, 0xAA, sizeof rows);
    rows.own.size = sizeof rows;
    assert_int_equal(pantry_embed(f->model, &input, 1, NULL, &rows.own, NULL), PANTRY_OK);
    assert_int_equal(rows.own.n_rows, 1);
    pantry_embeddings_free(&rows.own);
    assert_true(rows.own.size == sizeof rows && !rows.own.rows && !rows.more[0] && !rows.more[23]);
    for (size_t size = 0; size < 4; size += 3) {
        rows.own.size = size;
        assert_int_equal(pantry_embed(f->model, &input, 1, NULL, &rows.own, &error), PANTRY_INVALID);
        pantry_embeddings_free(&rows.own);
    }
    o.sampling.reserved[4] = 1; /* an option of a later version */
    assert_int_equal(pantry_generate(f->session, prompt, 3, &o, NULL, &error), PANTRY_UNSUPPORTED);
    assert_non_null(strstr(error.text, "reserved[4]"));
    struct pantry_model_options model_options = pantry_model_options_default();
    struct pantry_session_options session_options = pantry_session_options_default();
    pantry_session *session;
    session_options.reserved = 1;
    assert_int_equal(pantry_session_new(f->model, &session_options, &session, &error), PANTRY_UNSUPPORTED);
    assert_true(sizeof model_options == offsetof(struct pantry_model_options, maybe_projector) + sizeof(void *));
    assert_true(sizeof session_options == offsetof(struct pantry_session_options, reserved) + sizeof(int));
}

static void names(void **state)
{
    (void)state;
    static const char *const stops[] = {"", "stop", "stop_string", "length", "cancelled", "callback", ""};
    static const char *const poolings[] = {"auto", "mean", "cls", "last", "none", ""};
    for (size_t i = 0; i < COUNT(stops); i++)
        assert_string_equal(pantry_stop_name((enum pantry_stop)i), stops[i]);
    for (size_t i = 0; i < COUNT(poolings); i++)
        assert_string_equal(pantry_pooling_name((enum pantry_pooling)i), poolings[i]);
    pantry_cancel *cancel = pantry_cancel_new();
    assert_false(pantry_cancel_is_set(cancel));
    pantry_cancel_set(cancel);
    assert_true(pantry_cancel_is_set(cancel));
    pantry_cancel_clear(cancel);
    assert_false(pantry_cancel_is_set(cancel));
    pantry_cancel_free(cancel);
    pantry_cancel_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_asked_for),    cmocka_unit_test(newer_options), cmocka_unit_test(older_options),
        cmocka_unit_test(results_of_other_sizes), cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, open_fixture, close_fixture);
}
