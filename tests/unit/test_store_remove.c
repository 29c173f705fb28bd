/* Removing, copying and pruning models: shared blobs, hostile manifests, and every call that fails or kills once.
 *
 * The file system calls are wrapped (a program's own definition goes before libc's), so that the Nth of them can fail,
 * or the process can die at it. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "store/internal.h"
#include "trip.h"

#include <string.h>
#include <time.h>

/* ---- calls that fail or kill ---- */

WRAP(int, unlink, (const char *path), (path), -1)
WRAP(int, rmdir, (const char *path), (path), -1)
WRAP(ssize_t, read, (int fd, void *bytes, size_t n), (fd, bytes, n), -1)
WRAP(char *, strdup, (const char *text), (text), NULL)
WRAP(int, vasprintf, (char **out, const char *format, va_list args), (out, format, args), -1)

/* ---- a store ---- */

static int make_root(void **state)
{
    (void)state;
    return make_home("remove");
}

static const char *home(void)
{
    return in_root("home/models");
}

static char *blob_of(const char *text)
{
    char name[128] = "home/models/blobs/sha256-";
    assert_int_equal(pn_sha256_bytes(text, strlen(text), name + strlen(name), NULL), PANTRY_OK);
    return in_root(name);
}

static bool has_blob(const char *text)
{
    return access(blob_of(text), F_OK) == 0;
}

/* A model of three blobs, one of which is its configuration. */
static void add_model(const char *text, const char *model, const char *license, const char *config)
{
    const char *const parts[] = {model, license, config};
    char hex[3][PN_SHA256_HEX + 1], manifest[1024];
    struct pn_model_name name;
    assert_int_equal(pn_layout_make_dirs(in_root("home/models/blobs"), NULL), PANTRY_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pn_blob_put(home(), parts[i], strlen(parts[i]), hex[i], NULL), PANTRY_OK);
    assert_int_equal(pn_name_parse(text, &name, NULL), PANTRY_OK);
    int n =
        snprintf(manifest, sizeof manifest,
                 "{\"config\": {\"digest\": \"sha256:%s\"}, \"layers\": [{\"mediaType\": "
                 "\"application/vnd.ollama.image.model\", \"digest\": \"sha256:%s\", \"size\": %zu}, {\"mediaType\": "
                 "\"application/vnd.ollama.image.license\", \"digest\": \"sha256:%s\", \"size\": %zu}]}",
                 hex[2], hex[0], strlen(model), hex[1], strlen(license));
    assert_int_equal(pn_manifest_put(home(), &name, manifest, (size_t)n, NULL), PANTRY_OK);
}

static void put_manifest(const char *place, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "home/models/manifests/%s", place);
    char folder[256];
    snprintf(folder, sizeof folder, "%s", in_root(path));
    *strrchr(folder, '/') = '\0';
    assert_int_equal(pn_layout_make_dirs(folder, NULL), PANTRY_OK);
    write_file(in_root(path), text, 0644);
}

static pantry_status resolve(const char *name)
{
    char *path = NULL;
    pantry_status status = pn_store_resolve(name, &path, NULL);
    free(path);
    return status;
}

static void make_old(const char *path)
{
    struct timespec times[2] = {{.tv_sec = time(NULL) - 25 * 3600}, {.tv_sec = time(NULL) - 25 * 3600}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW), 0);
}

/* ---- remove ---- */

static void removes_what_no_other_model_uses(void **state)
{
    (void)state;
    uint64_t bytes = 9;
    struct pantry_error err = {0};
    add_model("a", "weights a", "MIT", "config a");
    add_model("you/b:1", "weights b", "MIT", "config b");
    add_model("example.org:50/me/c:x", "weights b", "BSD", "config c");
    assert_int_equal(pn_store_remove("a", &bytes, &err), PANTRY_OK);
    assert_int_equal(bytes, strlen("weights a") + strlen("config a"));
    assert_false(has_blob("weights a") || has_blob("config a"));
    assert_true(has_blob("MIT"));
    assert_int_equal(resolve("a"), PANTRY_NOT_FOUND);
    assert_false(file_exists(in_root("home/models/manifests/registry.ollama.ai/library")));
    assert_true(file_exists(in_root("home/models/manifests/registry.ollama.ai/you/b")));
    assert_int_equal(pn_store_remove("you/b:1", NULL, &err), PANTRY_OK); /* shares its weights, not its licence */
    assert_true(has_blob("weights b") && !has_blob("MIT"));
    assert_int_equal(resolve("example.org:50/me/c:x"), PANTRY_OK);
    assert_int_equal(pn_store_remove("example.org:50/me/c:x", &bytes, &err), PANTRY_OK);
    assert_false(has_blob("weights b"));
    assert_false(file_exists(in_root("home/models/manifests/example.org:50")));
    assert_true(file_exists(in_root("home/models/manifests"))); /* the folder itself stays */
}

static void refuses_what_is_not_there(void **state)
{
    (void)state;
    struct pantry_error err = {0};
    uint64_t bytes = 9;
    assert_int_equal(pn_store_remove("a", &bytes, &err), PANTRY_NOT_FOUND);
    assert_string_equal(err.text, "a: not in the store");
    assert_int_equal(bytes, 0);
    assert_false(file_exists(home())); /* nothing was made to find that out */
    add_model("a", "weights", "MIT", "config");
    static const char *const odd[] = {"../a", "a/../b", "/a", "a:b:c", "", "x/y/z/a", "a:latest-partial", "a\n"};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        assert_int_equal(pn_store_remove(odd[i], NULL, &err), PANTRY_INVALID);
        assert_int_equal(pn_store_copy("a", odd[i], &err), PANTRY_INVALID);
        assert_int_equal(pn_store_copy(odd[i], "b", &err), PANTRY_INVALID);
    }
    assert_int_equal(pn_store_remove("b", NULL, &err), PANTRY_NOT_FOUND);
    assert_int_equal(pn_store_copy("b", "c", &err), PANTRY_NOT_FOUND);
    assert_string_equal(err.text, "b: not in the store");
    assert_int_equal(resolve("a"), PANTRY_OK);
}

/* While one manifest cannot be read, no blob goes; names do. */
static void a_damaged_manifest_keeps_all_blobs(void **state)
{
    (void)state;
    static const char *const damaged[] = {
        "{",
        "[]",
        "{}",
        "{\"layers\": {}}",
        "{\"layers\": [1]}",
        "{\"layers\": [{\"digest\": \"../../x\"}]}",
        "{\"layers\": [{\"digest\": \"sha256:../../../etc/passwd\"}]}",
        "{\"layers\": [{\"digest\": \"sha256:AB\"}]}",
        "{\"layers\": [], \"config\": 1}",
        "{\"layers\": [], \"layers\": []}",
    };
    for (size_t i = 0; i < sizeof damaged / sizeof *damaged; i++) {
        struct pantry_error err = {0};
        struct pn_pruned pruned;
        add_model("a", "weights", "MIT", "config");
        put_manifest("registry.ollama.ai/library/bad/latest", damaged[i]);
        assert_int_equal(pn_store_remove("a", NULL, &err), PANTRY_FORMAT);
        assert_non_null(strstr(err.text, "a is removed, but not all of its blobs"));
        assert_non_null(strstr(err.text, "bad/latest"));
        assert_int_equal(resolve("a"), PANTRY_NOT_FOUND);
        assert_true(has_blob("weights") && has_blob("MIT") && has_blob("config"));
        assert_int_equal(pn_store_prune(&pruned, &err), PANTRY_FORMAT);
        assert_int_equal(pruned.files, 0);
        /* the damaged one can be removed; then the others are found */
        assert_int_equal(pn_store_remove("bad", NULL, &err), PANTRY_OK);
        assert_true(has_blob("weights"));
        assert_int_equal(pn_store_prune(&pruned, &err), PANTRY_OK);
        assert_int_equal(pruned.files, 3);
        assert_int_equal(pruned.bytes, strlen("weights") + strlen("MIT") + strlen("config"));
        assert_false(has_blob("weights"));
    }
}

/* A folder where a manifest is expected may hide one; hidden files and leftovers of a write do not count. */
static void other_files_between_manifests(void **state)
{
    (void)state;
    struct pantry_error err = {0};
    add_model("a", "weights", "MIT", "config");
    put_manifest("registry.ollama.ai/library/.DS_Store", "x");
    put_manifest("registry.ollama.ai/library/a/.DS_Store", "x");
    put_manifest("registry.ollama.ai/library/a/latest-partial", "{");
    put_manifest("note", "x");
    assert_int_equal(pn_store_remove("a", NULL, &err), PANTRY_OK);
    assert_false(has_blob("weights"));
    add_model("a", "weights", "MIT", "config");
    put_manifest("registry.ollama.ai/library/b/latest/deeper", "x");
    assert_true(pn_store_remove("a", NULL, &err) != PANTRY_OK);
    assert_true(has_blob("weights"));
    assert_true(pn_store_remove("b", NULL, &err) != PANTRY_OK); /* a folder is not removed as if it were a file */
    assert_true(file_exists(in_root("home/models/manifests/registry.ollama.ai/library/b/latest/deeper")));
}

/* ---- copy ---- */

static void copies_share_their_blobs(void **state)
{
    (void)state;
    struct pantry_error err = {0};
    uint64_t bytes;
    add_model("a", "weights a", "MIT", "config a");
    assert_int_equal(pn_store_copy("a", "me/b:2", &err), PANTRY_OK);
    assert_int_equal(resolve("me/b:2"), PANTRY_OK);
    assert_int_equal(pn_store_remove("a", &bytes, &err), PANTRY_OK);
    assert_int_equal(bytes, 0);
    assert_int_equal(resolve("me/b:2"), PANTRY_OK);
    assert_int_equal(pn_store_copy("me/b:2", "me/b:2", &err), PANTRY_OK);
    assert_int_equal(resolve("me/b:2"), PANTRY_OK);
    /* the name of another model is given away, and that model's blobs go */
    add_model("c", "weights c", "MIT", "config c");
    assert_int_equal(pn_store_copy("me/b:2", "c", &err), PANTRY_OK);
    assert_false(has_blob("weights c"));
    assert_true(has_blob("weights a") && has_blob("MIT"));
    /* a model without its weights is not copied */
    unlink(blob_of("weights a"));
    assert_int_equal(pn_store_copy("c", "d", &err), PANTRY_NOT_FOUND);
    assert_int_equal(resolve("d"), PANTRY_NOT_FOUND);
}

/* ---- prune ---- */

static void prunes_what_is_left(void **state)
{
    (void)state;
    struct pantry_error err = {0};
    struct pn_pruned pruned = {.files = 7};
    assert_int_equal(pn_store_prune(&pruned, &err), PANTRY_OK); /* no store yet */
    assert_int_equal(pruned.files, 0);
    assert_false(file_exists(home()));
    add_model("a", "weights", "MIT", "config");
    write_file(blob_of("unused"), "unused", 0644);
    char fresh[512], old[512];
    snprintf(fresh, sizeof fresh, "%s-partial", blob_of("fresh"));
    snprintf(old, sizeof old, "%s-partial-data", blob_of("old"));
    write_file(fresh, "12345", 0644);
    write_file(old, "123", 0644);
    make_old(old);
    write_file(in_root("home/models/blobs/README"), "mine", 0644);
    make_old(in_root("home/models/blobs/README"));
    assert_int_equal(pn_layout_make_dirs(in_root("home/models/fetch/toy-one"), NULL), PANTRY_OK);
    assert_int_equal(pn_layout_make_dirs(in_root("home/models/fetch/toy-two"), NULL), PANTRY_OK);
    write_file(in_root("home/models/fetch/toy-one/wheel"), "1234567", 0644);
    make_old(in_root("home/models/fetch/toy-one"));
    write_file(in_root("home/models/fetch/lock"), "", 0644);
    make_old(in_root("home/models/fetch/lock"));
    assert_int_equal(symlink(in_root("home/models/manifests"), blob_of("link")), 0);
    assert_int_equal(pn_store_prune(&pruned, &err), PANTRY_OK);
    assert_int_equal(pruned.files, 4);
    assert_int_equal(pruned.bytes, 6 + 3 + 7);
    assert_false(has_blob("unused") || file_exists(old) || file_exists(in_root("home/models/fetch/toy-one")));
    assert_true(file_exists(fresh) && file_exists(in_root("home/models/blobs/README")));
    assert_true(file_exists(in_root("home/models/fetch/toy-two")) && file_exists(in_root("home/models/fetch/lock")));
    assert_int_equal(resolve("a"), PANTRY_OK); /* the link was removed, not the folder that it names */
    assert_int_equal(pn_store_prune(&pruned, &err), PANTRY_OK);
    assert_int_equal(pruned.files, 0);
}

static void waits_for_the_lock(void **state)
{
    (void)state;
    struct pantry_error err = {0};
    struct pn_pruned pruned;
    int lock;
    add_model("a", "weights", "MIT", "config");
    assert_int_equal(pn_layout_lock(home(), &lock, NULL), PANTRY_OK);
    assert_int_equal(pn_store_remove("a", NULL, &err), PANTRY_IO);
    assert_non_null(strstr(err.text, "another pantry is changing the store"));
    assert_int_equal(pn_store_copy("a", "b", &err), PANTRY_IO);
    assert_int_equal(pn_store_prune(&pruned, &err), PANTRY_IO);
    assert_int_equal(resolve("a"), PANTRY_OK);
    close(lock);
    assert_int_equal(pn_store_remove("a", NULL, &err), PANTRY_OK);
}

/* ---- every call fails once, and the process dies at every call once ---- */

static pantry_status change(int what)
{
    struct pantry_error err = {0};
    struct pn_pruned pruned;
    return what == 0   ? pn_store_remove("a", NULL, &err)
           : what == 1 ? pn_store_copy("a", "c", &err)
                       : pn_store_prune(&pruned, &err);
}

static void start_over(void)
{
    pn_layout_remove(home());
    add_model("a", "weights a", "MIT", "config a");
    add_model("b", "weights b", "MIT", "config b");
    add_model("c", "weights c", "BSD", "config c");
    write_file(blob_of("unused"), "unused", 0644);
}

/* Every model that has a name is whole, and pruning leaves exactly the blobs of models. */
static void assert_consistent(void)
{
    struct pantry_error err = {0};
    struct pn_pruned pruned;
    assert_int_equal(resolve("b"), PANTRY_OK);
    assert_int_equal(resolve("c"), PANTRY_OK);
    assert_true(has_blob("weights b") && has_blob("MIT") && has_blob("config b"));
    bool a = resolve("a") == PANTRY_OK;
    if (pn_store_prune(&pruned, &err))
        fail_msg("%s", err.text);
    assert_int_equal(resolve("b"), PANTRY_OK);
    assert_int_equal(resolve("c"), PANTRY_OK);
    assert_int_equal(resolve("a"), a ? PANTRY_OK : PANTRY_NOT_FOUND);
    char *path = NULL;
    assert_int_equal(pn_store_resolve("c", &path, NULL), PANTRY_OK);
    bool copied = strcmp(path, blob_of("weights a")) == 0;
    assert_true(copied || strcmp(path, blob_of("weights c")) == 0);
    free(path);
    assert_int_equal(has_blob("weights a"), a || copied);
    assert_int_equal(has_blob("weights c"), !copied);
    assert_false(has_blob("unused"));
}

static const struct trips trips = {start_over, change, assert_consistent, 3, 8};

static void every_call_may_fail(void **state)
{
    (void)state;
    each_call_fails(&trips);
}

static void dies_anywhere(void **state)
{
    (void)state;
    each_call_kills(&trips);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_root, remove_home)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(removes_what_no_other_model_uses),
        TEST(refuses_what_is_not_there),
        TEST(a_damaged_manifest_keeps_all_blobs),
        TEST(other_files_between_manifests),
        TEST(copies_share_their_blobs),
        TEST(prunes_what_is_left),
        TEST(waits_for_the_lock),
        TEST(every_call_may_fail),
        TEST(dies_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
