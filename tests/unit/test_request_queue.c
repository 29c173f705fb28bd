/* A request's queue without an engine: the test's thread fills and empties it. Its capacity, when its writer may
 * continue, how long its reader waits, and the last events. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/handle.h"
#include "pantry.h"
#include "script_model.h"

enum { AB, C, LONG, X, N_PIECES };
static char hundred[101];
static int32_t pieces[N_PIECES];
static pantry_model *model;

static int load(void **state)
{
    (void)state;
    struct pantry_error error;
    memset(hundred, 'h', 100);
    const char *const texts[N_PIECES] = {"ab", "c", hundred, "x"};
    const char *path = script_model("queue.gguf", texts, N_PIECES, pieces);
    return pantry_model_load(
               path, &(struct pantry_model_options){.size = sizeof(struct pantry_model_options), .device = "ref"},
               &model, &error) != PANTRY_OK;
}

static int unload(void **state)
{
    (void)state;
    pantry_model_free(model);
    return 0;
}

static struct pn_request *new_request(const char *stop, const char *other_stop)
{
    struct pantry_error err;
    struct pn_request *r;
    const char *stops[] = {stop, other_stop};
    struct pantry_request_options o = pantry_request_options_default();
    o.ids = pieces;
    o.n_ids = 2;
    o.n_context = 60;
    o.stop = stops;
    o.n_stop = (size_t)(stop != NULL) + (other_stop != NULL);
    if (pn_request_new(NULL, model->runner->model, model->tokenizer, &o, NULL, &r, &err))
        fail_msg("%s", err.text);
    return r;
}

static void emit(struct pn_request *r, int piece)
{
    struct pantry_error err;
    if (pn_request_emit(r, pieces[piece], &err))
        fail_msg("%s", err.text);
}

/* Expects an event with this text; returns whether the writer may continue. */
static bool next_is(struct pn_request *r, int32_t id, const char *text)
{
    bool has_room;
    const struct pantry_event *event = pn_request_next(r, 0, &has_room);
    assert_non_null(event);
    assert_int_equal(event->kind, PANTRY_EVENT_TOKEN);
    assert_int_equal(event->token->id, id);
    assert_int_equal(event->token->len, strlen(text));
    assert_string_equal(event->token->text, text);
    return has_room;
}

static void nothing_is_there(struct pn_request *r, int timeout_ms)
{
    bool has_room = true;
    assert_null(pn_request_next(r, timeout_ms, &has_room));
    assert_false(has_room);
}

static struct pantry_event end_of(struct pn_request *r)
{
    bool has_room;
    const struct pantry_event *event = pn_request_next(r, -1, &has_room);
    assert_non_null(event);
    assert_int_equal(event->kind, PANTRY_EVENT_END);
    assert_false(has_room);
    return *event;
}

/* ---- room ---- */

/* One of 64 places is reserved for text that is held back until the end. A writer that found no room may continue when
 * the queue is half empty. */
static void queues_hold_64_events(void **state)
{
    (void)state;
    struct pn_request *r = new_request(NULL, NULL);
    for (int round = 0; round < 3; round++) { /* the ring starts at a different place each time */
        int n = 0;
        for (; pn_request_has_room(r); n++)
            emit(r, n % 2 ? AB : C);
        assert_int_equal(n, PN_MAX_EVENTS - 1);
        for (int i = 0; i < n; i++) {
            bool has_room = next_is(r, pieces[i % 2 ? AB : C], i % 2 ? "ab" : "c");
            assert_int_equal(has_room, n - i - 1 == PN_MAX_EVENTS / 2); /* at half, and only once */
        }
        nothing_is_there(r, 0);
    }
    assert_int_equal(r->n_read, 3 * (PN_MAX_EVENTS - 1));
    pn_request_destroy(r);
}

static void queues_hold_4096_bytes(void **state)
{
    (void)state;
    struct pn_request *r = new_request(NULL, NULL);
    for (int round = 0; round < 3; round++) {
        int n = 0;
        for (; pn_request_has_room(r); n++)
            emit(r, LONG);
        assert_int_equal(n, 41); /* 4,000 bytes left room for one more */
        for (int i = 0; i < n; i++)
            assert_int_equal(next_is(r, pieces[LONG], hundred), n - i - 1 == 20); /* 2,000 of 4,096 are left */
        nothing_is_there(r, 0);
    }
    pn_request_destroy(r);
}

static void writers_that_had_room_are_not_woken(void **state)
{
    (void)state;
    struct pn_request *r = new_request(NULL, NULL);
    for (int i = 0; i < PN_MAX_EVENTS - 2; i++)
        emit(r, X);
    assert_true(pn_request_has_room(r));
    for (int i = 0; i < PN_MAX_EVENTS - 2; i++)
        assert_false(next_is(r, pieces[X], "x"));
    /* The writer had no room, then found some before the queue was half empty. */
    while (pn_request_has_room(r))
        emit(r, X);
    next_is(r, pieces[X], "x");
    assert_true(pn_request_has_room(r));
    for (int i = 0; i < PN_MAX_EVENTS - 2; i++)
        assert_false(next_is(r, pieces[X], "x"));
    pn_request_destroy(r);
}

/* ---- waiting ---- */

static void *emit_later(void *user)
{
    emit(user, AB);
    return NULL;
}

static void *end_later(void *user)
{
    pn_request_end(user, PANTRY_OK, NULL);
    return NULL;
}

static void timeouts_are_kept(void **state)
{
    (void)state;
    pthread_t thread;
    const struct pantry_event *event;
    bool has_room;
    struct pn_request *r = new_request(NULL, NULL);
    nothing_is_there(r, 0);
    nothing_is_there(r, 1);
    assert_int_equal(pthread_create(&thread, NULL, emit_later, r), 0);
    event = pn_request_next(r, -1, &has_room); /* returns with the event, even if it arrived before */
    assert_non_null(event);
    assert_int_equal(event->token->id, pieces[AB]);
    pthread_join(thread, NULL);
    nothing_is_there(r, 1);
    assert_int_equal(pthread_create(&thread, NULL, end_later, r), 0);
    event = pn_request_next(r, -1, &has_room);
    assert_non_null(event);
    assert_int_equal(event->kind, PANTRY_EVENT_END);
    pthread_join(thread, NULL);
    pn_request_destroy(r);
}

/* ---- the end ---- */

static void ends_come_last_and_stay(void **state)
{
    (void)state;
    struct pn_request *r = new_request(NULL, NULL);
    emit(r, AB);
    emit(r, C);
    r->stats.n_generated = 2;
    r->stats.stop = PANTRY_STOP_CANCELLED;
    pn_request_end(r, PANTRY_OK, NULL);
    next_is(r, pieces[AB], "ab");
    next_is(r, pieces[C], "c");
    for (int i = 0; i < 3; i++) {
        struct pantry_event event = end_of(r);
        assert_int_equal(event.status, PANTRY_OK);
        assert_string_equal(event.message, "");
        assert_int_equal(event.stats->n_generated, 2);
        assert_int_equal(event.stats->n_prompt, 2);
        assert_int_equal(event.stats->stop, PANTRY_STOP_CANCELLED);
    }
    pn_request_destroy(r);
    struct pantry_error err;
    r = new_request("abc", NULL);
    emit(r, AB); /* held back, and dropped after a failure */
    next_is(r, pieces[AB], "");
    pn_request_end(r, pn_fail(&err, PANTRY_IO, "the file is gone"), &err);
    for (int i = 0; i < 3; i++) {
        struct pantry_event event = end_of(r);
        assert_int_equal(event.status, PANTRY_IO);
        assert_string_equal(event.message, "the file is gone");
        assert_int_equal(event.stats->stop, PANTRY_STOP_NONE);
    }
    pn_request_destroy(r);
}

/* Text that was held back comes before the end, even if the queue is full. */
static void held_text_has_a_place(void **state)
{
    (void)state;
    struct pn_request *r = new_request("xcz", NULL);
    while (pn_request_has_room(r))
        emit(r, X);
    pn_request_end(r, PANTRY_OK, NULL);
    assert_int_equal(r->n_events, PN_MAX_EVENTS);
    next_is(r, pieces[X], "");
    for (int i = 1; i < PN_MAX_EVENTS - 1; i++)
        next_is(r, pieces[X], "x");
    next_is(r, -1, "x");
    assert_int_equal(r->n_read, PN_MAX_EVENTS - 1); /* it is not a token */
    end_of(r);
    pn_request_destroy(r);
}

static void stop_texts_end_the_text(void **state)
{
    (void)state;
    struct pn_request *r = new_request("bcx", "hc");
    emit(r, AB);
    next_is(r, pieces[AB], "a"); /* "b" could begin the first stop text */
    emit(r, C);
    next_is(r, pieces[C], "");
    assert_int_equal(r->stats.stop, PANTRY_STOP_NONE);
    emit(r, LONG); /* it does not; the last "h" could begin the second */
    char shown[110];
    snprintf(shown, sizeof shown, "bc%.99s", hundred);
    next_is(r, pieces[LONG], shown);
    emit(r, C);
    next_is(r, pieces[C], "");
    assert_int_equal(r->stats.stop, PANTRY_STOP_TEXT);
    pn_request_end(r, PANTRY_OK, NULL);
    assert_int_equal(end_of(r).stats->stop, PANTRY_STOP_TEXT);
    pn_request_destroy(r);
}

/* ---- options ---- */

static void options_are_copied(void **state)
{
    (void)state;
    struct pantry_error err;
    struct pn_request *r;
    int32_t ids[] = {pieces[AB], pieces[C]};
    char key[] = "key", stop[] = "abx";
    const char *stops[] = {stop};
    struct pantry_request_options o = pantry_request_options_default();
    o.ids = ids;
    o.n_ids = 2;
    o.n_context = 10;
    o.stop = stops;
    o.n_stop = 1;
    o.cache_key = key;
    o.max_tokens = 5;
    assert_int_equal(pn_request_new(NULL, model->runner->model, model->tokenizer, &o, NULL, &r, &err), PANTRY_OK);
    ids[0] = pieces[X];
    key[0] = stop[0] = '-';
    stops[0] = NULL;
    assert_int_equal(r->ids[0], pieces[AB]);
    assert_string_equal(r->key, "key");
    assert_string_equal(r->stop[0], "abx");
    assert_true(r->n_prompt == 2 && r->n_context == 10 && r->max_tokens == 5 && r->n_batch == PN_DEFAULT_BATCH);
    pn_request_destroy(r);
    o.n_batch = 7;
    o.cache_key = NULL;
    o.n_stop = 0;
    assert_int_equal(pn_request_new(NULL, model->runner->model, NULL, &o, NULL, &r, &err), PANTRY_OK);
    assert_int_equal(r->n_batch, 7);
    assert_string_equal(r->key, "");
    emit(r, X); /* without a tokenizer tokens have no text */
    next_is(r, pieces[X], "");
    pn_request_destroy(r);
    pn_request_destroy(NULL);
}

static void either_flag_cancels(void **state)
{
    (void)state;
    pantry_cancel *other = pantry_cancel_new();
    struct pn_request *r = new_request(NULL, NULL);
    assert_false(pn_request_cancelled(r));
    r->also_cancel = other;
    assert_false(pn_request_cancelled(r));
    pantry_cancel_set(other);
    assert_true(pn_request_cancelled(r));
    pantry_cancel_clear(other);
    atomic_store(&r->cancel, true);
    assert_true(pn_request_cancelled(r));
    pantry_cancel_free(other);
    pn_request_destroy(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(queues_hold_64_events),
        cmocka_unit_test(queues_hold_4096_bytes),
        cmocka_unit_test(writers_that_had_room_are_not_woken),
        cmocka_unit_test(timeouts_are_kept),
        cmocka_unit_test(ends_come_last_and_stay),
        cmocka_unit_test(held_text_has_a_place),
        cmocka_unit_test(stop_texts_end_the_text),
        cmocka_unit_test(options_are_copied),
        cmocka_unit_test(either_flag_cancels),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
