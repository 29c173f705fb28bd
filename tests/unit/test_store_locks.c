/* Locks of parts of the store, what their holders keep, and the links of models in parts. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "folder.h"
#include "store/media.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *home(void)
{
    return in_root("home/models");
}

static bool exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

static struct pn_digest digest_of(const char *text)
{
    struct pn_digest digest;
    pn_sha256_bytes(text, strlen(text), digest.hex, NULL);
    return digest;
}

static char *blob_of(const char *text)
{
    char path[200];
    snprintf(path, sizeof path, "home/models/blobs/sha256-%s", digest_of(text).hex);
    return in_root(path);
}

static int make_store(void **state)
{
    if (make_folder("locks"))
        return -1;
    (void)state;
    setenv("PANTRY_HOME", in_root("home"), 1);
    return pn_layout_make_dirs(in_root("home/models/blobs"), NULL) ||
           pn_layout_make_dirs(in_root("home/models/manifests/h/s/m"), NULL);
}

static int remove_store(void **state)
{
    (void)state;
    return remove_folder();
}

/* ---- locks ---- */

static void one_holder_at_a_time(void **state)
{
    (void)state;
    struct pn_lock a, b;
    assert_int_equal(pn_lock_try(home(), "name-x", &a, NULL), PANTRY_OK);
    assert_true(a.fd >= 0);
    assert_int_equal(pn_lock_try(home(), "name-x", &b, NULL), PANTRY_OK);
    assert_int_equal(b.fd, -1);
    assert_null(b.path);
    pn_lock_release(&b);
    assert_true(exists(in_root("home/models/fetch/locks/name-x")));
    assert_int_equal(pn_lock_try(home(), "name-y", &b, NULL), PANTRY_OK); /* another one */
    assert_true(b.fd >= 0);
    pn_lock_release(&b);
    pn_lock_release(&a);
    assert_false(exists(in_root("home/models/fetch/locks/name-x")));
    assert_int_equal(pn_lock_try(home(), "name-x", &b, NULL), PANTRY_OK);
    assert_true(b.fd >= 0);
    pn_lock_release(&b);
}

/* Processes that release at once while others lock: never two holders. Each counts up a file while it has the lock. */
static void released_files_are_not_locked(void **state)
{
    (void)state;
    enum { CHILDREN = 6, ROUNDS = 150 };
    write_file(in_root("count"), "0", 0644);
    pid_t children[CHILDREN];
    for (int i = 0; i < CHILDREN; i++) {
        if ((children[i] = fork()) != 0)
            continue;
        for (int done = 0; done < ROUNDS;) {
            struct pn_lock lock;
            if (pn_lock_try(home(), "blob-x", &lock, NULL))
                _exit(1);
            if (lock.fd < 0) {
                sched_yield();
                continue;
            }
            FILE *file = fopen(in_root("count"), "r+");
            int n = 0;
            if (!file || fscanf(file, "%d", &n) != 1)
                _exit(2);
            rewind(file);
            fprintf(file, "%d", n + 1);
            fclose(file);
            pn_lock_release(&lock);
            done++;
        }
        _exit(0);
    }
    for (int i = 0; i < CHILDREN; i++) {
        int status;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_int_equal(status, 0);
    }
    FILE *file = fopen(in_root("count"), "r");
    int n = 0;
    assert_int_equal(fscanf(file, "%d", &n), 1);
    fclose(file);
    assert_int_equal(n, CHILDREN * ROUNDS);
}

/* ---- what holders keep ---- */

static void kept_blobs_are_not_removed(void **state)
{
    (void)state;
    struct pn_pruned pruned;
    struct pantry_error err = {0};
    struct pn_lock lock;
    struct pn_digest kept[] = {digest_of("one"), digest_of("two")};
    write_file(blob_of("one"), "one", 0644);
    write_file(blob_of("two"), "two", 0644);
    write_file(blob_of("three"), "three", 0644);
    assert_int_equal(pn_lock_try(home(), "name-x", &lock, NULL), PANTRY_OK);
    assert_int_equal(pn_lock_keep(&lock, kept, 2, NULL), PANTRY_OK);
    assert_int_equal(pn_store_prune(&pruned, &err), PANTRY_OK);
    assert_int_equal(pruned.files, 1);
    assert_true(exists(blob_of("one")) && exists(blob_of("two")) && !exists(blob_of("three")));
    /* the holder dies: its file stays, and counts no more */
    close(lock.fd);
    assert_true(exists(lock.path));
    assert_int_equal(pn_store_prune(&pruned, &err), PANTRY_OK);
    assert_int_equal(pruned.files, 2);
    assert_false(exists(lock.path));
    lock.fd = -1;
    pn_lock_release(&lock);
}

static void an_unclear_note_keeps_everything(void **state)
{
    (void)state;
    static const char *const notes[] = {"x", "0123456789abcdef\n", "\n"};
    for (size_t i = 0; i < sizeof notes / sizeof *notes; i++) {
        struct pn_pruned pruned;
        struct pantry_error err = {0};
        struct pn_lock lock;
        write_file(blob_of("three"), "three", 0644);
        assert_int_equal(pn_lock_try(home(), "name-x", &lock, NULL), PANTRY_OK);
        assert_int_equal(write(lock.fd, notes[i], strlen(notes[i])), strlen(notes[i]));
        assert_int_equal(pn_store_prune(&pruned, &err), PANTRY_FORMAT);
        assert_non_null(strstr(err.text, "is not a list of digests"));
        assert_true(exists(blob_of("three")));
        pn_lock_release(&lock);
    }
}

static void make_old(const char *path)
{
    struct timeval times[2] = {{.tv_sec = time(NULL) - 100000}, {.tv_sec = time(NULL) - 100000}};
    assert_int_equal(utimes(path, times), 0);
}

/* A download that takes more than a day. */
static void what_is_at_work_stays(void **state)
{
    (void)state;
    struct pn_pruned pruned;
    struct pn_lock blob, folder;
    char key[80], data[300];
    snprintf(key, sizeof key, "blob-%s", digest_of("slow").hex);
    snprintf(data, sizeof data, "%s-partial-data", blob_of("slow"));
    write_file(data, "sl", 0644);
    make_old(data);
    assert_int_equal(pn_layout_make_dirs(in_root("home/models/fetch/toy-one"), NULL), PANTRY_OK);
    make_old(in_root("home/models/fetch/toy-one"));
    assert_int_equal(pn_lock_try(home(), key, &blob, NULL), PANTRY_OK);
    assert_int_equal(pn_lock_try(home(), "fetch-toy-one", &folder, NULL), PANTRY_OK);
    assert_int_equal(pn_store_prune(&pruned, NULL), PANTRY_OK);
    assert_int_equal(pruned.files, 0);
    assert_true(exists(data) && exists(in_root("home/models/fetch/toy-one")));
    pn_lock_release(&blob);
    pn_lock_release(&folder);
    assert_int_equal(pn_store_prune(&pruned, NULL), PANTRY_OK);
    assert_int_equal(pruned.files, 2);
}

/* ---- models in parts ---- */

static const char *manifest_of(const char *const *parts, size_t n)
{
    static char text[4000];
    snprintf(text, sizeof text, "{\"layers\": [");
    for (size_t i = 0; i < n; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text),
                 "%s{\"mediaType\": \"application/vnd.ollama.image.model\", \"digest\": \"sha256:%s\", \"size\": %zu, "
                 "\"annotations\": {\"org.opencontainers.image.title\": \"m-%05zu-of-%05zu.gguf\"}}",
                 i ? ", " : "", digest_of(parts[i]).hex, strlen(parts[i]), i + 1, n);
    snprintf(text + strlen(text), sizeof text - strlen(text), "]}");
    return text;
}

static void parts_have_the_names_of_parts(void **state)
{
    (void)state;
    static const char *const parts[] = {"one", "second", "third"};
    struct pantry_error err = {0};
    char *path = NULL;
    const char *text = manifest_of(parts, 3);
    for (size_t i = 0; i < 3; i++)
        write_file(blob_of(parts[i]), parts[i], 0644);
    write_file(in_root("home/models/manifests/h/s/m/t"), text, 0644);
    assert_int_equal(pn_store_resolve("h/s/m:t", &path, &err), PANTRY_OK);
    assert_non_null(strstr(path, "/model-00001-of-00003.gguf"));
    assert_int_equal(pn_store_model_bytes(path), 3 + 6 + 5);
    char third[400], read[10] = "";
    snprintf(third, sizeof third, "%.*smodel-00003-of-00003.gguf", (int)(strrchr(path, '/') + 1 - path), path);
    FILE *file = fopen(third, "r");
    assert_non_null(file);
    assert_non_null(fgets(read, sizeof read, file));
    fclose(file);
    assert_string_equal(read, "third");
    struct pn_stored *list;
    size_t n;
    assert_int_equal(pn_store_list(&list, &n, &err), PANTRY_OK);
    assert_int_equal(n, 1);
    assert_int_equal(list[0].bytes, 14);
    pn_store_list_free(list, n);
    /* a part of another size is an error; removing the model removes the links */
    write_file(blob_of("second"), "sec", 0644);
    char *none = NULL;
    assert_int_equal(pn_store_resolve("h/s/m:t", &none, &err), PANTRY_FORMAT);
    assert_null(none);
    assert_int_equal(pn_store_remove("h/s/m:t", NULL, &err), PANTRY_OK);
    assert_false(exists(path) || exists(blob_of("one")) || exists(blob_of("third")));
    free(path);
}

static void numbers_of_parts(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        unsigned number, count; /* 0: none */
    } cases[] = {
        {"m-00001-of-00003.gguf", 1, 3}, {"-00003-of-00003.gguf", 3, 3},  {"m-12345-of-99999.gguf", 12345, 99999},
        {"m-00000-of-00003.gguf", 0, 0}, {"m-00004-of-00003.gguf", 0, 0}, {"m-0001-of-00003.gguf", 0, 0},
        {"m-00001-of-00003.ggu", 0, 0},  {"m-00001-of-0000x.gguf", 0, 0}, {"", 0, 0},
        {"00001-of-00003.gguf", 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        unsigned number = 0, count = 0;
        assert_int_equal(pn_shards_name(cases[i].name, &number, &count), cases[i].number > 0);
        if (cases[i].number) {
            assert_int_equal(number, cases[i].number);
            assert_int_equal(count, cases[i].count);
        }
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_store, remove_store)
    const struct CMUnitTest tests[] = {
        TEST(one_holder_at_a_time),       TEST(released_files_are_not_locked),
        TEST(kept_blobs_are_not_removed), TEST(an_unclear_note_keeps_everything),
        TEST(what_is_at_work_stays),      TEST(parts_have_the_names_of_parts),
        TEST(numbers_of_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
