/* Examining the store in process: many blobs on several threads, progress, cancelling, and memory that runs out. What
 * each check finds: tests/e2e/test_doctor.py. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "folder.h"
#include "interpose.h"
#include "store/doctor.h"
#include "store/internal.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_BLOBS = 40, N_DAMAGED = 3 };

/* ---- memory that runs out ---- */

static atomic_int calls; /* of several threads */
static int fail_at;      /* 0: never */

static bool trip(void)
{
    return fail_at && atomic_fetch_add(&calls, 1) + 1 == fail_at;
}

char *strdup(const char *text)
{
    static char *(*real)(const char *);
    if (!real)
        find_next("strdup", &real);
    return trip() ? NULL : real(text);
}

int vasprintf(char **out, const char *format, va_list args)
{
    static int (*real)(char **, const char *, va_list);
    if (!real)
        find_next("vasprintf", &real);
    return trip() ? -1 : real(out, format, args);
}

/* ---- a store ---- */

static int make_root(void **state)
{
    (void)state;
    fail_at = 0;
    if (make_folder("doctor"))
        return -1;
    setenv("PANTRY_HOME", in_root("home"), 1);
    return 0;
}

static int remove_root(void **state)
{
    (void)state;
    fail_at = 0;
    return remove_folder();
}

/* A model with `n` blobs, of which the first ones are damaged. */
static void make_store(int n, int n_damaged)
{
    char *manifest = in_root("home/models/manifests/registry.ollama.ai/library/a");
    assert_int_equal(pn_layout_make_dirs(in_root("home/models/blobs"), NULL), PANTRY_OK);
    assert_int_equal(pn_layout_make_dirs(in_root("home/models/fetch"), NULL), PANTRY_OK);
    assert_int_equal(pn_layout_make_dirs(manifest, NULL), PANTRY_OK);
    write_file(in_root("home/models/fetch/lock"), "", 0600);
    FILE *file = fopen(in_root("home/models/manifests/registry.ollama.ai/library/a/latest"), "w");
    assert_non_null(file);
    fprintf(file, "{\"schemaVersion\": 2, \"layers\": [");
    for (int i = 0; i < n; i++) {
        char text[64], hex[PN_SHA256_HEX + 1], tail[200];
        snprintf(text, sizeof text, "blob %d", i);
        assert_int_equal(pn_sha256_bytes(text, strlen(text), hex, NULL), PANTRY_OK);
        fprintf(file,
                "%s{\"mediaType\": \"application/vnd.ollama.image.%s\", \"digest\": \"sha256:%s\", \"size\": %zu}",
                i ? ", " : "", i ? "license" : "model", hex, strlen(text));
        snprintf(tail, sizeof tail, "home/models/blobs/sha256-%s", hex);
        text[0] = i < n_damaged ? 'B' : 'b';
        write_file(in_root(tail), text, 0600);
    }
    fprintf(file, "]}");
    assert_int_equal(fclose(file), 0);
}

struct progress {
    uint64_t done, total;
    pantry_cancel *cancel;
};

static void on_progress(void *user, const struct pn_fetch_progress *p)
{
    struct progress *seen = user;
    assert_int_equal(p->phase, PN_FETCH_VERIFY);
    assert_true(p->done >= seen->done && p->done <= p->total);
    seen->done = p->done;
    seen->total = p->total;
    if (seen->cancel)
        pantry_cancel_set(seen->cancel);
}

/* ---- tests ---- */

static void test_finds_all_damaged_blobs(void **state)
{
    (void)state;
    struct pn_diagnosis d;
    struct progress seen = {0};
    struct pn_examine_options options = {.fetch = {.progress = on_progress, .user = &seen}};
    make_store(N_BLOBS, N_DAMAGED);
    assert_int_equal(pn_store_examine(&options, &d, NULL), PANTRY_OK);
    assert_int_equal(d.n_models, 1);
    assert_int_equal(d.n_blobs, N_BLOBS);
    assert_int_equal(d.len, N_DAMAGED);
    for (size_t i = 0; i < d.len; i++) {
        assert_string_equal(pn_store_checks[d.data[i].check], "digests");
        assert_int_equal(d.data[i].level, PN_FINDING_WRONG);
        assert_non_null(strstr(d.data[i].what, "is damaged"));
        assert_non_null(strstr(d.data[i].mend, "pantry rm a;"));
    }
    assert_true(seen.total == d.bytes);
    pn_diagnosis_free(&d);
    options.quick = true;
    assert_int_equal(pn_store_examine(&options, &d, NULL), PANTRY_OK);
    assert_int_equal(d.len, 0);
    assert_false(d.busy);
    pn_diagnosis_free(&d);
}

static void test_cancels(void **state)
{
    (void)state;
    struct pn_diagnosis d;
    struct pantry_error err;
    struct progress seen = {.cancel = pantry_cancel_new()};
    struct pn_examine_options options = {.fetch = {.progress = on_progress, .user = &seen, .cancel = seen.cancel}};
    make_store(N_BLOBS, N_BLOBS);
    assert_non_null(seen.cancel);
    pantry_cancel_set(seen.cancel);
    assert_int_equal(pn_store_examine(&options, &d, &err), PANTRY_CANCELLED);
    assert_int_equal(d.len, 0);
    pn_diagnosis_free(&d);
    pantry_cancel_free(seen.cancel);
}

/* Whatever allocation fails: no finding is invented, nothing leaks. */
static void test_out_of_memory(void **state)
{
    (void)state;
    struct pn_diagnosis d;
    struct pn_examine_options options = {.fix = true};
    pantry_status status = PANTRY_NO_MEMORY;
    make_store(4, 1);
    write_file(in_root("home/models/blobs/readme"), "x", 0600);
    int n_failed = 0;
    for (int i = 1; status != PANTRY_OK || fail_at <= calls; i++) {
        calls = 0;
        fail_at = i;
        status = pn_store_examine(&options, &d, NULL);
        n_failed += status == PANTRY_NO_MEMORY;
        assert_true(status == PANTRY_OK || status == PANTRY_NO_MEMORY);
        for (size_t k = 0; k < d.len; k++) /* only the two that there are */
            if (!strstr(d.data[k].what, "is damaged") && !strstr(d.data[k].what, "not a file of the store"))
                fail_msg("%s: %s", d.data[k].where, d.data[k].what);
        pn_diagnosis_free(&d);
        assert_true(i < 10000);
    }
    fail_at = 0;
    assert_true(n_failed > 20);
    assert_int_equal(pn_store_examine(&options, &d, NULL), PANTRY_OK);
    assert_int_equal(d.len, 2);
    pn_diagnosis_free(&d);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_root, remove_root)
    const struct CMUnitTest tests[] = {TEST(test_finds_all_damaged_blobs), TEST(test_cancels),
                                       TEST(test_out_of_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
