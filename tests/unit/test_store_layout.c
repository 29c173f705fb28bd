/* The basis of the store: folders, locks and durable files step by step; names, manifests and wheels at every bound. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/file.h"
#include "folder.h"
#include "interpose.h"
#include "store/internal.h"
#include "wheel_writer.h"

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* ---- calls that fail: a program's own definition goes before a library's ---- */

static const char *trip_name; /* of the call that fails; NULL: none */
static int trip_errno, trips; /* its error, and how often it fails */

static bool trip(const char *name)
{
    if (!trip_name || strcmp(name, trip_name) != 0 || trips <= 0)
        return false;
    trips--;
    errno = trip_errno;
    return true;
}

static void fail_next(const char *name, int why)
{
    trip_name = name;
    trip_errno = why;
    trips = 1;
}

#define WRAP(result, name, params, args, failure)                                                                      \
    result name params;                                                                                                \
    result name params                                                                                                 \
    {                                                                                                                  \
        static result(*real) params;                                                                                   \
        if (!real)                                                                                                     \
            find_next(#name, &real);                                                                                   \
        return trip(#name) ? failure : real args;                                                                      \
    }

WRAP(int, fsync, (int fd), (fd), -1)
WRAP(int, rename, (const char *from, const char *to), (from, to), -1)
WRAP(int, flock, (int fd, int how), (fd, how), -1)
WRAP(struct passwd *, getpwuid, (uid_t uid), (uid), NULL)
WRAP(char *, strdup, (const char *text), (text), NULL)
WRAP(int, vasprintf, (char **out, const char *format, va_list args), (out, format, args), -1)
WRAP(DIR *, fdopendir, (int fd), (fd), NULL)
WRAP(int, archive_read_next_header, (struct archive * zip, struct archive_entry **entry), (zip, entry), trip_errno)

static const char *pretend_made; /* making this folder seems to succeed */

int mkdir(const char *path, mode_t mode)
{
    static int (*real)(const char *, mode_t);
    if (!real)
        find_next("mkdir", &real);
    if (pretend_made && strcmp(path, pretend_made) == 0)
        return 0;
    if (trip("mkdir")) {
        if (trip_errno == EEXIST) /* another process was quicker */
            real(path, mode);
        errno = trip_errno;
        return -1;
    }
    return real(path, mode);
}

int close(int fd)
{
    static int (*real)(int);
    if (!real)
        find_next("close", &real);
    int r = real(fd);
    return trip("close") ? -1 : r;
}

static size_t most_at_once; /* bytes that a write takes */

ssize_t write(int fd, const void *bytes, size_t n)
{
    static ssize_t (*real)(int, const void *, size_t);
    if (!real)
        find_next("write", &real);
    if (trip("write"))
        return trip_errno ? -1 : 0;
    return real(fd, bytes, n < most_at_once ? n : most_at_once);
}

static fsblkcnt_t free_blocks; /* 0: the file system's number */
static unsigned long block_size;

int statvfs(const char *path, struct statvfs *fs)
{
    static int (*real)(const char *, struct statvfs *);
    if (!real)
        find_next("statvfs", &real);
    int r = real(path, fs);
    if (free_blocks)
        *fs =
            (struct statvfs){.f_bavail = free_blocks, .f_frsize = block_size, .f_bsize = 7, .f_bfree = free_blocks + 9};
    return r;
}

static la_int64_t shift; /* added to the offset of a block */

int archive_read_data_block(struct archive *zip, const void **bytes, size_t *n, la_int64_t *offset)
{
    static int (*real)(struct archive *, const void **, size_t *, la_int64_t *);
    if (!real)
        find_next("archive_read_data_block", &real);
    if (trip("archive_read_data_block"))
        return trip_errno;
    int r = real(zip, bytes, n, offset);
    *offset += shift;
    return r;
}

static int make_root(void **state)
{
    (void)state;
    trip_name = NULL;
    most_at_once = SIZE_MAX;
    free_blocks = 0;
    shift = 0;
    if (make_folder("layout"))
        return -1;
    setenv("PANTRY_HOME", root, 1);
    return 0;
}

static int remove_root(void **state)
{
    (void)state;
    trip_name = NULL;
    return remove_folder();
}

static void write_bytes(const char *path, const char *bytes, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
}

/* ---- folders ---- */

static void home_comes_from_the_environment(void **state)
{
    (void)state;
    char *home = NULL, was[512], expected[1100];
    snprintf(was, sizeof was, "%s", getenv("HOME") ? getenv("HOME") : "");
    setenv("HOME", "/somebody", 1);
    assert_int_equal(pn_layout_home(&home, NULL), PANTRY_OK);
    assert_string_equal(home, root);
    free(home);
    setenv("PANTRY_HOME", "", 1);
    assert_int_equal(pn_layout_home(&home, NULL), PANTRY_OK);
    assert_string_equal(home, "/somebody/.pantry");
    free(home);
    unsetenv("PANTRY_HOME");
    const struct passwd *me = getpwuid(getuid());
    for (int unset = 0; unset < 2 && me; unset++) {
        setenv("HOME", "", 1);
        if (unset)
            unsetenv("HOME");
        snprintf(expected, sizeof expected, "%s/.pantry", me->pw_dir);
        assert_int_equal(pn_layout_home(&home, NULL), PANTRY_OK);
        assert_string_equal(home, expected);
        free(home);
    }
    struct pantry_error err = {0};
    trip_name = "getpwuid"; /* nobody */
    trips = 2;
    assert_int_equal(pn_layout_home(&home, &err), PANTRY_NOT_FOUND);
    setenv("PANTRY_HOME", root, 1);
    assert_int_equal(pn_layout_home(&home, &err), PANTRY_OK);
    assert_int_equal(trips, 0);
    free(home);
    fail_next("strdup", ENOMEM);
    assert_int_equal(pn_layout_home(&home, &err), PANTRY_NO_MEMORY);
    setenv("HOME", was, 1);
}

static void the_store_is_below_home_or_elsewhere(void **state)
{
    (void)state;
    char *store = NULL, *expected = in_root("models");
    struct pantry_error err = {0};
    struct stat st;
    unsetenv("PANTRY_MODELS");
    assert_int_equal(pn_layout_store(&store, NULL), PANTRY_OK);
    assert_string_equal(store, expected);
    free(store);
    setenv("PANTRY_MODELS", "", 1); /* as if it were not set */
    assert_int_equal(pn_layout_store(&store, NULL), PANTRY_OK);
    assert_string_equal(store, expected);
    free(store);
    setenv("PANTRY_MODELS", in_root("deep/elsewhere"), 1);
    assert_int_equal(pn_layout_store(&store, NULL), PANTRY_OK);
    assert_string_equal(store, in_root("deep/elsewhere"));
    assert_int_equal(stat(store, &st), -1); /* looking makes nothing */
    free(store);
    assert_int_equal(pn_store_folder(&store, &err), PANTRY_OK);
    assert_true(stat(store, &st) == 0 && S_ISDIR(st.st_mode));
    free(store);
    fail_next("strdup", ENOMEM);
    assert_int_equal(pn_layout_store(&store, &err), PANTRY_NO_MEMORY);
    write_bytes(in_root("in-the-way"), "x", 1);
    setenv("PANTRY_MODELS", in_root("in-the-way/models"), 1);
    assert_int_equal(pn_store_folder(&store, &err), PANTRY_IO);
    assert_null(store);
    unsetenv("PANTRY_MODELS");
    fail_next("vasprintf", ENOMEM);
    assert_int_equal(pn_layout_store(&store, &err), PANTRY_NO_MEMORY);
}

static void folders_are_made(void **state)
{
    (void)state;
    char *empty = pn_layout_path("%s", "");
    assert_string_equal(empty, "");
    free(empty);
    struct pantry_error err = {0};
    char *old = getcwd(NULL, 0), *path = NULL;
    assert_int_equal(pn_layout_make_dirs(in_root("a/b/c"), &err), PANTRY_OK);
    assert_int_equal(pn_layout_make_dirs(in_root("a/b/c"), &err), PANTRY_OK);
    assert_true(file_exists(in_root("a/b/c")));
    write_bytes(in_root("a/file"), "x", 1);
    assert_int_equal(pn_layout_make_dirs(in_root("a/file"), &err), PANTRY_IO);
    assert_non_null(strstr(err.text, "exists and is not a folder"));
    assert_int_equal(pn_layout_make_dirs(in_root("a/file/d"), &err), PANTRY_IO);
    assert_int_equal(chdir(root), 0);
    assert_int_equal(pn_layout_make_dirs("relative", &err), PANTRY_OK);
    assert_int_equal(pn_layout_make_dirs("other/relative", &err), PANTRY_OK);
    assert_int_equal(chdir(old), 0);
    assert_true(file_exists(in_root("relative")) && file_exists(in_root("other/relative")));
    assert_int_equal(pn_layout_sync_dir(in_root("none"), &err), PANTRY_IO);
    setenv("PANTRY_HOME", in_root("fresh"), 1);
    assert_int_equal(pn_store_private_file("history", &path, &err), PANTRY_OK);
    assert_string_equal(path, in_root("fresh/history"));
    assert_true(file_exists(in_root("fresh")) && !file_exists(in_root("fresh/history")));
    free(path);
    setenv("PANTRY_HOME", in_root("a/file"), 1);
    assert_int_equal(pn_store_private_file("history", &path, &err), PANTRY_IO);
    free(old);
}

static void assert_says(const struct pantry_error *err, int why, const char *what)
{
    if (!strstr(err->text, strerror(why)) || !strstr(err->text, what))
        fail_msg("'%s' lacks '%s' or '%s'", err->text, strerror(why), what);
}

static void folders_that_cannot_be_made(void **state)
{
    (void)state;
    struct pantry_error err = {0};
    char *path = NULL;
    fail_next("mkdir", ENOSPC);
    assert_int_equal(pn_layout_make_dirs(in_root("a"), &err), PANTRY_IO);
    assert_says(&err, ENOSPC, "/a");
    fail_next("mkdir", ENOSPC); /* the parent */
    assert_int_equal(pn_layout_make_dirs(in_root("a/b"), &err), PANTRY_IO);
    assert_false(file_exists(in_root("a")));
    fail_next("mkdir", EEXIST);
    assert_int_equal(pn_layout_make_dirs(in_root("a"), &err), PANTRY_OK);
    fail_next("fsync", EIO);
    assert_int_equal(pn_layout_make_dirs(in_root("b"), &err), PANTRY_IO);
    assert_says(&err, EIO, root);
    fail_next("fsync", EINVAL); /* a file system without folder sync */
    assert_int_equal(pn_layout_make_dirs(in_root("c"), &err), PANTRY_OK);
    assert_int_equal(trips, 0);
    fail_next("strdup", ENOMEM);
    assert_int_equal(pn_layout_make_dirs(in_root("d"), &err), PANTRY_NO_MEMORY);
    assert_false(file_exists(in_root("d")));
    /* below the root: that one is synced */
    pretend_made = "/pantry-test-none";
    assert_int_equal(pn_layout_make_dirs(pretend_made, &err), PANTRY_OK);
    fail_next("fsync", EIO);
    assert_int_equal(pn_layout_make_dirs(pretend_made, &err), PANTRY_IO);
    assert_int_equal(strncmp(err.text, "/: ", 3), 0);
    pretend_made = NULL;
    assert_int_equal(pn_layout_sync_dir(in_root("none"), &err), PANTRY_IO);
    assert_says(&err, ENOENT, "none");
    write_bytes(in_root("file"), "x", 1);
    assert_int_equal(pn_layout_sync_dir(in_root("file"), &err), PANTRY_IO);
    /* without memory: the home, its folder, the path */
    setenv("PANTRY_HOME", in_root("home"), 1);
    fail_next("strdup", ENOMEM);
    assert_int_equal(pn_store_private_file("history", &path, &err), PANTRY_NO_MEMORY);
    fail_next("vasprintf", ENOMEM);
    assert_int_equal(pn_store_private_file("history", &path, &err), PANTRY_NO_MEMORY);
    assert_null(path);
}

static void folders_that_cannot_be_read(void **state)
{
    (void)state;
    pn_layout_make_dirs(in_root("a"), NULL);
    write_bytes(in_root("a/x"), "123", 3);
    fail_next("fdopendir", ENOMEM);
    assert_int_equal(pn_layout_bytes_below(in_root("a")), 0);
    fail_next("fdopendir", ENOMEM);
    pn_layout_remove(in_root("a"));
    assert_true(file_exists(in_root("a/x")));
    assert_int_equal(pn_layout_bytes_below(in_root("a")), 3);
}

/* Links are removed, never followed; a missing file is fine; nested folders up to a bound. */
static void folders_are_removed(void **state)
{
    (void)state;
    pn_layout_make_dirs(in_root("keep"), NULL);
    write_bytes(in_root("keep/this"), "1234567", 7);
    pn_layout_make_dirs(in_root("gone/a/b"), NULL);
    write_bytes(in_root("gone/x"), "12", 2);
    write_bytes(in_root("gone/.hidden"), "123", 3);
    write_bytes(in_root("gone/a/b/y"), "12345", 5);
    assert_int_equal(symlink(in_root("keep"), in_root("gone/link")), 0);
    assert_int_equal(symlink(in_root("keep/this"), in_root("gone/a/link")), 0);
    assert_int_equal(pn_layout_bytes_below(in_root("gone")), 10);
    assert_int_equal(pn_layout_bytes_below(in_root("gone/a/b/y")), 5);
    assert_int_equal(pn_layout_bytes_below(in_root("gone/link")), 0);
    assert_int_equal(pn_layout_bytes_below(in_root("none")), 0);
    pn_layout_remove(in_root("gone"));
    pn_layout_remove(in_root("gone"));
    assert_false(file_exists(in_root("gone")));
    assert_true(file_exists(in_root("keep/this")));
    pn_layout_remove(in_root("keep/this"));
    assert_false(file_exists(in_root("keep/this")));
    /* 16 folders are entered, no more */
    for (int depth = 15; depth <= 17; depth++) {
        char path[512];
        int n = snprintf(path, sizeof path, "%s", in_root("d0"));
        for (int i = 1; i < depth; i++)
            n += snprintf(path + n, sizeof path - (size_t)n, "/d%d", i);
        assert_int_equal(pn_layout_make_dirs(path, NULL), PANTRY_OK);
        snprintf(path + n, sizeof path - (size_t)n, "/file");
        write_bytes(path, "123", 3);
        assert_int_equal(pn_layout_bytes_below(in_root("d0")), depth <= 16 ? 3 : 0);
        pn_layout_remove(in_root("d0"));
        assert_int_equal(file_exists(in_root("d0")), depth > 16);
        path[n] = '\0';
        pn_layout_remove(path);
        pn_layout_remove(in_root("d0"));
        assert_false(file_exists(in_root("d0")));
    }
}

static void space_is_compared(void **state)
{
    (void)state;
    struct pantry_error err = {0};
    assert_int_equal(pn_layout_need_space(root, 0, &err), PANTRY_OK);
    assert_int_equal(pn_layout_need_space(root, 1, &err), PANTRY_OK);
    assert_int_equal(pn_layout_need_space(root, (uint64_t)1 << 62, &err), PANTRY_LIMIT);
    assert_non_null(strstr(err.text, "of free disk space and has"));
    assert_int_equal(pn_layout_need_space(in_root("none"), 0, &err), PANTRY_IO);
    assert_says(&err, ENOENT, "none");
    free_blocks = 1000;
    block_size = 512;
    assert_int_equal(pn_layout_need_space(root, 512000, &err), PANTRY_OK);
    assert_int_equal(pn_layout_need_space(root, 512001, &err), PANTRY_LIMIT);
    assert_non_null(strstr(err.text, "512 kB of free disk space and has 512 kB"));
    free_blocks = (fsblkcnt_t)1 << 60; /* more than 64 bits count */
    assert_int_equal(pn_layout_need_space(root, UINT64_MAX, &err), PANTRY_OK);
}

static void one_has_the_lock(void **state)
{
    (void)state;
    int a = 0, b = 0;
    struct pantry_error err = {0};
    assert_int_equal(pn_layout_try_lock(in_root("lock"), &a, &err), PANTRY_OK);
    assert_true(a >= 0);
    assert_int_equal(pn_layout_try_lock(in_root("lock"), &b, &err), PANTRY_OK);
    assert_int_equal(b, -1);
    close(a);
    assert_int_equal(pn_layout_try_lock(in_root("lock"), &b, &err), PANTRY_OK);
    assert_true(b >= 0);
    close(b);
    assert_true(file_exists(in_root("lock")));
    assert_int_equal(pn_layout_try_lock(in_root("none/lock"), &b, &err), PANTRY_IO);
    assert_int_equal(b, -1);
    static const struct {
        int why;
        pantry_status status;
    } rows[] = {{EINTR, PANTRY_OK}, {EWOULDBLOCK, PANTRY_OK}, {ENOLCK, PANTRY_IO}, {EIO, PANTRY_IO}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        b = 0;
        fail_next("flock", rows[i].why);
        assert_int_equal(pn_layout_try_lock(in_root("lock"), &b, &err), rows[i].status);
        assert_int_equal(b, -1);
        if (rows[i].status)
            assert_says(&err, rows[i].why, "lock");
    }
}

/* ---- durable files ---- */

#define ABC_SHA "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

static void assert_holds(const char *path, const char *text)
{
    char *got = NULL;
    size_t n;
    assert_int_equal(pn_file_read(path, 1000, &got, &n, NULL), PANTRY_OK);
    assert_int_equal(n, strlen(text));
    assert_memory_equal(got, text, n);
    free(got);
}

static void files_appear_when_they_are_complete(void **state)
{
    (void)state;
    struct pn_durable file;
    struct pantry_error err = {0};
    char path[512], partial[540];
    snprintf(path, sizeof path, "%s", in_root("blob"));
    snprintf(partial, sizeof partial, "%s-partial", path);
    write_bytes(in_root("victim"), "safe", 4);
    assert_int_equal(symlink(in_root("victim"), partial), 0); /* is replaced, not followed */
    assert_int_equal(pn_durable_open(&file, path, &err), PANTRY_OK);
    assert_int_equal(pn_durable_write(&file, "ab", 2, &err), PANTRY_OK);
    assert_int_equal(pn_durable_write(&file, "", 0, &err), PANTRY_OK);
    assert_int_equal(pn_durable_write(&file, "c", 1, &err), PANTRY_OK);
    assert_int_equal(file.written, 3);
    assert_holds(in_root("victim"), "safe");
    assert_holds(partial, "abc");
    assert_false(file_exists(path));
    assert_int_equal(pn_durable_commit(&file, ABC_SHA, &err), PANTRY_OK);
    assert_holds(path, "abc");
    assert_false(file_exists(partial));
    pn_durable_abort(&file); /* nothing more to do */
    assert_holds(path, "abc");

    /* another digest: the old contents stay */
    assert_int_equal(pn_durable_open(&file, path, &err), PANTRY_OK);
    assert_int_equal(pn_durable_write(&file, "abd", 3, &err), PANTRY_OK);
    assert_int_equal(pn_durable_commit(&file, ABC_SHA, &err), PANTRY_FORMAT);
    assert_non_null(strstr(err.text, "expected " ABC_SHA));
    assert_false(file_exists(partial));
    assert_holds(path, "abc");
    /* any digest */
    assert_int_equal(pn_durable_open(&file, path, &err), PANTRY_OK);
    assert_int_equal(pn_durable_write(&file, "abd", 3, &err), PANTRY_OK);
    assert_int_equal(pn_durable_commit(&file, NULL, &err), PANTRY_OK);
    assert_holds(path, "abd");
    /* aborted */
    assert_int_equal(pn_durable_open(&file, path, &err), PANTRY_OK);
    assert_int_equal(pn_durable_write(&file, "abe", 3, &err), PANTRY_OK);
    assert_true(file_exists(partial));
    pn_durable_abort(&file);
    pn_durable_abort(&file);
    pn_durable_abort(NULL);
    assert_false(file_exists(partial));
    assert_holds(path, "abd");
    assert_int_equal(pn_durable_open(&file, in_root("none/blob"), &err), PANTRY_IO);
}

/* Every failure of writing gives its cause and leaves nothing; a slow write is fine. */
static void files_that_cannot_be_written(void **state)
{
    (void)state;
    struct pn_durable file;
    struct pantry_error err = {0};
    char path[512], partial[540];
    snprintf(path, sizeof path, "%s", in_root("blob"));
    snprintf(partial, sizeof partial, "%s-partial", path);
    static const struct {
        const char *call;
        int why;
        bool writing;
        const char *says;
    } rows[] = {
        {"write", EIO, true, "blob-partial"},     {"write", ENOSPC, true, "blob-partial"},
        {"write", 0, true, "blob-partial"},       {"fsync", EIO, false, "blob-partial"},
        {"close", EDQUOT, false, "blob-partial"}, {"rename", EXDEV, false, "blob-partial"},
        {"strdup", ENOMEM, false, "blob"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(pn_durable_open(&file, path, &err), PANTRY_OK);
        if (rows[i].writing)
            fail_next(rows[i].call, rows[i].why);
        pantry_status status = pn_durable_write(&file, "abc", 3, &err);
        assert_int_equal(status, rows[i].writing ? PANTRY_IO : PANTRY_OK);
        if (rows[i].writing) {
            pn_durable_abort(&file);
        } else {
            fail_next(rows[i].call, rows[i].why);
            assert_int_equal(pn_durable_commit(&file, ABC_SHA, &err),
                             rows[i].why == ENOMEM ? PANTRY_NO_MEMORY : PANTRY_IO);
        }
        assert_int_equal(trips, 0);
        trip_name = NULL;
        if (rows[i].why && rows[i].why != ENOMEM)
            assert_says(&err, rows[i].why, rows[i].says);
        assert_false(file_exists(partial));
        assert_int_equal(file.fd, -1);
        assert_true(!file.path && !file.partial && !file.hash.context);
        if (rows[i].why != ENOMEM) /* that was after the rename */
            assert_false(file_exists(path));
        unlink(path);
    }
    /* interrupted, and byte by byte */
    assert_int_equal(pn_durable_open(&file, path, &err), PANTRY_OK);
    fail_next("write", EINTR);
    most_at_once = 1;
    assert_int_equal(pn_durable_write(&file, "abc", 3, &err), PANTRY_OK);
    most_at_once = SIZE_MAX;
    assert_int_equal(file.written, 3);
    assert_int_equal(pn_durable_commit(&file, ABC_SHA, &err), PANTRY_OK);
    assert_holds(path, "abc");
    /* an existing folder of that name stays, and everything opened is closed */
    pn_layout_make_dirs(partial, NULL);
    assert_int_equal(pn_durable_open(&file, path, &err), PANTRY_IO);
    assert_says(&err, EEXIST, "blob-partial");
    assert_true(file.fd == -1 && !file.path && !file.partial);
    rmdir(partial);
    static const char *const memory[] = {"strdup", "vasprintf"};
    for (size_t i = 0; i < 2; i++) {
        fail_next(memory[i], ENOMEM);
        assert_int_equal(pn_durable_open(&file, path, &err), PANTRY_NO_MEMORY);
        assert_true(file.fd == -1 && !file.path && !file.partial);
    }
    /* a path without a folder is in the current one */
    char *old = getcwd(NULL, 0);
    assert_int_equal(chdir(root), 0);
    assert_int_equal(pn_durable_open(&file, "here", &err), PANTRY_OK);
    assert_int_equal(pn_durable_write(&file, "abc", 3, &err), PANTRY_OK);
    assert_int_equal(pn_durable_commit(&file, NULL, &err), PANTRY_OK);
    assert_holds("here", "abc");
    assert_int_equal(chdir(old), 0);
    free(old);
}

static void private_files(void **state)
{
    (void)state;
    struct pantry_error err = {0};
    struct stat st;
    char path[512];
    int lock;
    snprintf(path, sizeof path, "%s", in_root("secret"));
    mode_t old = umask(0);
    assert_int_equal(pn_store_replace_private_file(path, "one", 3, &err), PANTRY_OK);
    umask(old);
    assert_holds(path, "one");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    static const char *const calls[] = {"write", "fsync", "rename"};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        fail_next(calls[i], ENOSPC);
        assert_int_equal(pn_store_replace_private_file(path, "two", 3, &err), PANTRY_IO);
        assert_holds(path, "one");
        assert_false(file_exists(in_root("secret-partial")));
    }
    assert_int_equal(pn_store_replace_private_file(in_root("none/secret"), "two", 3, &err), PANTRY_IO);
    /* an interrupted wait goes on, a failed one leaves nothing open */
    fail_next("flock", EINTR);
    assert_int_equal(pn_store_lock_private_file(path, &lock, &err), PANTRY_OK);
    int other = open(in_root("secret-lock"), O_RDWR | O_CLOEXEC);
    assert_int_equal(flock(other, LOCK_EX | LOCK_NB), -1);
    close(lock);
    assert_int_equal(flock(other, LOCK_EX | LOCK_NB), 0);
    close(other);
    fail_next("flock", ENOLCK);
    assert_int_equal(pn_store_lock_private_file(path, &lock, &err), PANTRY_IO);
    assert_int_equal(lock, -1);
    assert_non_null(strstr(err.text, "secret-lock: cannot lock"));
    assert_int_equal(pn_store_lock_private_file(in_root("none/secret"), &lock, &err), PANTRY_IO);
    fail_next("vasprintf", ENOMEM);
    assert_int_equal(pn_store_lock_private_file(path, &lock, &err), PANTRY_NO_MEMORY);
}

/* In a program without standard input, descriptor 0 is an ordinary one. */
static void the_first_descriptor_is_good(void **state)
{
    (void)state;
    struct pn_durable file;
    int lock = -1, kept = dup(0);
    pn_layout_make_dirs(in_root("a/b"), NULL);
    write_bytes(in_root("a/b/x"), "123", 3);
    close(0);
    pantry_status synced = pn_layout_sync_dir(root, NULL);
    bool open_after_sync = fcntl(0, F_GETFD) >= 0;
    pantry_status locked = pn_layout_try_lock(in_root("lock"), &lock, NULL);
    int lock_was = lock;
    close(0);
    uint64_t bytes = pn_layout_bytes_below(in_root("a"));
    pn_layout_remove(in_root("a"));
    fail_next("fdopendir", ENOMEM);
    pn_layout_remove(root);
    bool open_after_removing = fcntl(0, F_GETFD) >= 0;
    fail_next("fdopendir", ENOMEM);
    pn_layout_bytes_below(root);
    bool open_after_counting = fcntl(0, F_GETFD) >= 0;
    pantry_status opened = pn_durable_open(&file, in_root("blob"), NULL);
    int file_was = file.fd;
    pn_durable_abort(&file);
    bool open_at_end = fcntl(0, F_GETFD) >= 0;
    dup2(kept, 0);
    close(kept);
    assert_int_equal(synced, PANTRY_OK);
    assert_int_equal(locked, PANTRY_OK);
    assert_int_equal(lock_was, 0);
    assert_int_equal(bytes, 3);
    assert_false(file_exists(in_root("a")));
    assert_int_equal(opened, PANTRY_OK);
    assert_int_equal(file_was, 0);
    assert_false(open_after_sync || open_after_removing || open_after_counting || open_at_end);
}

/* ---- names ---- */

static void every_character_of_a_name(void **state)
{
    (void)state;
    struct pn_model_name n;
    for (int c = 1; c < 256; c++) {
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        bool first = letter || c == '_', later = first || c == '.' || c == '-';
        static const char *const forms[] = {"%cx",     "a%cx",  "%cx/b",  "a%cx/b",  "h/%cx/b",
                                            "h/s/%cx", "a:%cx", "a:b%cx", "%ch/s/m", "h%ch/s/m"};
        for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
            char text[32];
            snprintf(text, sizeof text, forms[i], c);
            bool host = i >= 8, is_first = forms[i][0] == '%' || strstr(forms[i], ":%c") || strstr(forms[i], "/%c");
            bool good = is_first ? first : later || (host && c == ':');
            /* these characters change the structure of the name, so its validity differs */
            if (c == '/' || (c == ':' && !host))
                continue;
            if ((pn_name_parse(text, &n, NULL) == PANTRY_OK) != good)
                fail_msg("%s", text);
        }
    }
}

static void parts_of_names(void **state)
{
    (void)state;
    static const struct {
        const char *text, *host, *space, *model, *tag;
    } rows[] = {
        {"m", "registry.ollama.ai", "library", "m", "latest"},
        {"m:t", "registry.ollama.ai", "library", "m", "t"},
        {"s/m", "registry.ollama.ai", "s", "m", "latest"},
        {"s/m:t", "registry.ollama.ai", "s", "m", "t"},
        {"h/s/m", "h", "s", "m", "latest"},
        {"h:1/s/m:t", "h:1", "s", "m", "t"},
        {"gemma3", "registry.ollama.ai", "library", "gemma3", "270m"},
        {"gemma", "registry.ollama.ai", "library", "gemma", "latest"},
        {"gemma33", "registry.ollama.ai", "library", "gemma33", "latest"},
        {"gemma3:x", "registry.ollama.ai", "library", "gemma3", "x"},
        {"library/gemma3", "registry.ollama.ai", "library", "gemma3", "latest"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct pn_model_name n;
        assert_int_equal(pn_name_parse(rows[i].text, &n, NULL), PANTRY_OK);
        assert_string_equal(n.host, rows[i].host);
        assert_string_equal(n.space, rows[i].space);
        assert_string_equal(n.model, rows[i].model);
        assert_string_equal(n.tag, rows[i].tag);
    }
    static const char *const bad[] = {"s:1/m", "h/s:1/m", "h/s/m:t:u", "h/s/m/x", "/s/m", "h//m", "h/s/", ":1/s/m"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(pn_store_is_name(bad[i]));
    assert_true(pn_store_is_name("gguf") && pn_store_is_name("m.gguf.q4") && pn_store_is_name("xgguf"));
    assert_false(pn_store_is_name("m.safetensors"));
    assert_false(pn_store_is_name("s/m.gguf"));
    assert_true(pn_store_can_fetch("registry.ollama.ai/library/smollm2:135m"));
    assert_true(pn_store_can_fetch("library/smollm2:135m"));
    assert_false(pn_store_can_fetch("example.org/library/smollm2:135m"));
    assert_false(pn_store_can_fetch("library/smollm2"));
    assert_false(pn_store_can_fetch("smollm2:135"));
    assert_false(pn_store_can_fetch("smollm2:135mm"));
    assert_false(pn_store_can_fetch(""));
    char *path;
    struct pantry_error err = {0};
    assert_int_equal(pn_store_fetch("nobody:knows", NULL, &path, &err), PANTRY_NOT_FOUND);
    assert_null(path);
}

/* ---- manifests ---- */

#define MANIFEST                  "manifests/registry.ollama.ai/library/toy/one"
#define LAYER(type, digest, size) "{\"mediaType\":\"" type "\",\"digest\":\"" digest "\",\"size\":" size "}"
#define IMAGE                     "application/vnd.ollama.image.model"

static pantry_status resolve_text(const char *text, char **path, struct pantry_error *err)
{
    pn_layout_make_dirs(in_root("models/manifests/registry.ollama.ai/library/toy"), NULL);
    write_bytes(in_root("models/" MANIFEST), text, strlen(text));
    return pn_store_resolve("toy:one", path, err);
}

static void manifests_are_read_strictly(void **state)
{
    (void)state;
    char *path = NULL;
    struct pantry_error err = {0};
    pn_layout_make_dirs(in_root("models/blobs/sha256-0" ABC_SHA), NULL);
    write_bytes(in_root("models/blobs/sha256-" ABC_SHA), "abc", 3);
    static const struct {
        const char *layers;
        pantry_status status;
    } rows[] = {
        {LAYER(IMAGE, "sha256:" ABC_SHA, "3"), PANTRY_OK},
        {LAYER("x", "", "0") "," LAYER(IMAGE, "sha256:" ABC_SHA, "3") "," LAYER("y", "", "-1"), PANTRY_OK},
        {LAYER(IMAGE "s", "sha256:" ABC_SHA, "3"), PANTRY_FORMAT},
        {LAYER(IMAGE, "sha256:" ABC_SHA, "2"), PANTRY_FORMAT},
        {LAYER(IMAGE, "sha256:" ABC_SHA, "4"), PANTRY_FORMAT},
        {LAYER(IMAGE, "sha256:" ABC_SHA, "0"), PANTRY_FORMAT},
        {LAYER(IMAGE, "sha256:" ABC_SHA, "true"), PANTRY_FORMAT},
        {LAYER(IMAGE, "sha256-" ABC_SHA, "3"), PANTRY_FORMAT},
        {LAYER(IMAGE, "sha512:" ABC_SHA, "3"), PANTRY_FORMAT},
        {LAYER(IMAGE, "sha256:0" ABC_SHA, "3"), PANTRY_FORMAT},
        {LAYER(IMAGE, "sha256:a7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "3"), PANTRY_FORMAT},
        {LAYER(IMAGE, "sha256:ga7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "3"), PANTRY_FORMAT},
        {LAYER(IMAGE, "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015a.", "3"), PANTRY_FORMAT},
        {LAYER(IMAGE, "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ae", "3"),
         PANTRY_NOT_FOUND},
        {"{\"mediaType\":\"" IMAGE "\",\"size\":3}", PANTRY_FORMAT},
        {"{\"mediaType\":\"" IMAGE "\",\"digest\":\"sha256:" ABC_SHA "\"}", PANTRY_FORMAT},
        {"null", PANTRY_FORMAT},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[1024];
        snprintf(text, sizeof text, "{\"layers\":[%s]}", rows[i].layers);
        if (resolve_text(text, &path, &err) != rows[i].status)
            fail_msg("%s: %s", rows[i].layers, err.text);
        assert_int_equal(path != NULL, rows[i].status == PANTRY_OK);
        free(path);
    }
    /* a folder is not a blob */
    unlink(in_root("models/blobs/sha256-" ABC_SHA));
    struct stat st;
    pn_layout_make_dirs(in_root("models/blobs/sha256-" ABC_SHA), NULL);
    assert_int_equal(stat(in_root("models/blobs/sha256-" ABC_SHA), &st), 0);
    char text[1024];
    snprintf(text, sizeof text, "{\"layers\":[" LAYER(IMAGE, "sha256:" ABC_SHA, "%lld") "]}", (long long)st.st_size);
    assert_int_equal(resolve_text(text, &path, &err), PANTRY_FORMAT);
}

static void layers_are_counted(void **state)
{
    (void)state;
    char *path = NULL;
    struct pantry_error err = {0};
    pn_layout_make_dirs(in_root("models/blobs"), NULL);
    write_bytes(in_root("models/blobs/sha256-" ABC_SHA), "abc", 3);
    for (int n = 255; n <= 257; n++) {
        struct pn_buf text = {0};
        pn_buf_puts(&text, "{\"layers\":[" LAYER(IMAGE, "sha256:" ABC_SHA, "3"));
        for (int i = 1; i < n; i++)
            pn_buf_puts(&text, "," LAYER("other", "", "1"));
        pn_buf_puts(&text, "]}");
        assert_int_equal(resolve_text(text.data, &path, &err), n <= 256 ? PANTRY_OK : PANTRY_FORMAT);
        pn_buf_free(&text);
        free(path);
    }
    /* and bytes: a megabyte, but no more */
    for (size_t more = 0; more < 2; more++) {
        struct pn_buf text = {0};
        pn_buf_puts(&text, "{\"layers\":[" LAYER(IMAGE, "sha256:" ABC_SHA, "3") "]}");
        while (text.len < (1 << 20) + more)
            pn_buf_putc(&text, ' ');
        assert_int_equal(resolve_text(text.data, &path, &err), more ? PANTRY_LIMIT : PANTRY_OK);
        pn_buf_free(&text);
        free(path);
    }
}

/* A plain file takes precedence over a name in the store, and that over a folder. */
static void names_and_paths(void **state)
{
    (void)state;
    char *path = NULL, *old = getcwd(NULL, 0);
    struct pantry_error err = {0};
    pn_layout_make_dirs(in_root("models/blobs"), NULL);
    write_bytes(in_root("models/blobs/sha256-" ABC_SHA), "abc", 3);
    assert_int_equal(chdir(root), 0);
    pn_layout_make_dirs("toy:one", NULL);
    assert_int_equal(pn_store_resolve("toy:one", &path, &err), PANTRY_OK);
    assert_string_equal(path, "toy:one");
    free(path);
    assert_int_equal(resolve_text("{\"layers\":[" LAYER(IMAGE, "sha256:" ABC_SHA, "3") "]}", &path, &err), PANTRY_OK);
    assert_string_equal(path, in_root("models/blobs/sha256-" ABC_SHA));
    free(path);
    assert_int_equal(resolve_text("{", &path, &err), PANTRY_FORMAT); /* a broken one does not fall back to the folder */
    assert_null(path);
    rmdir("toy:one");
    write_bytes("toy:one", "x", 1);
    assert_int_equal(pn_store_resolve("toy:one", &path, &err), PANTRY_OK);
    assert_string_equal(path, "toy:one");
    free(path);
    assert_int_equal(pn_store_resolve("toy:one/below", &path, &err), PANTRY_IO);
    assert_int_equal(pn_store_resolve("./none/toy:one", &path, &err), PANTRY_NOT_FOUND);
    assert_int_equal(chdir(old), 0);
    free(old);
}

/* ---- small blobs and wheels ---- */

static void blobs_are_named_by_their_digest(void **state)
{
    (void)state;
    char hex[PN_SHA256_HEX + 1];
    pn_layout_make_dirs(in_root("blobs"), NULL);
    write_bytes(in_root("blobs/sha256-" ABC_SHA), "wrong", 5);
    assert_int_equal(pn_blob_put(root, "abc", 3, hex, NULL), PANTRY_OK);
    assert_string_equal(hex, ABC_SHA);
    assert_holds(in_root("blobs/sha256-" ABC_SHA), "abc");
}

static pantry_status collect(void *user, const void *bytes, size_t n, struct pantry_error *err)
{
    (void)err;
    pn_buf_append(user, bytes, n);
    return PANTRY_OK;
}

static void members_at_their_limit(void **state)
{
    (void)state;
    static char big[200000];
    for (size_t i = 0; i < sizeof big; i++)
        big[i] = (char)(i * 31 % 127);
    const struct wheel_entry entries[] = {{.name = "a", .bytes = big, .size = sizeof big},
                                          {.name = "b/a", .bytes = "b", .size = 1},
                                          {.name = "empty", .bytes = "", .size = 0}};
    struct pn_buf got = {0};
    struct pantry_error err = {0};
    wheel_write(in_root("w.whl"), entries, 3);
    assert_int_equal(pn_wheel_read(in_root("w.whl"), "a", sizeof big, collect, &got, &err), PANTRY_OK);
    assert_int_equal(got.len, sizeof big);
    assert_memory_equal(got.data, big, sizeof big);
    pn_buf_clear(&got);
    assert_int_equal(pn_wheel_read(in_root("w.whl"), "a", sizeof big - 1, collect, &got, &err), PANTRY_FORMAT);
    assert_int_equal(pn_wheel_read(in_root("w.whl"), "b", 1, collect, &got, &err), PANTRY_FORMAT);
    assert_non_null(strstr(err.text, "has no b"));
    pn_buf_clear(&got);
    assert_int_equal(pn_wheel_read(in_root("w.whl"), "empty", 0, collect, &got, &err), PANTRY_OK);
    assert_int_equal(got.len, 0);
    assert_int_equal(pn_wheel_read(in_root("none.whl"), "a", 1, collect, &got, &err), PANTRY_FORMAT);
    write_bytes(in_root("junk.whl"), "no zip at all", 13);
    assert_int_equal(pn_wheel_read(in_root("junk.whl"), "a", 1, collect, &got, &err), PANTRY_FORMAT);
    pn_buf_free(&got);
}

/* The only member with that suffix, a plain file; several are an error. */
static void members_are_found_by_their_end(void **state)
{
    (void)state;
    static const struct {
        struct wheel_entry entries[4];
        size_t n;
        const char *member; /* NULL: none; "": several */
        uint64_t bytes;
    } rows[] = {
        {{{.name = "p/a.txt", .bytes = "1", .size = 1},
          {.name = "p/x.gguf", .bytes = "123", .size = 3},
          {.name = "p/z.py", .bytes = "12", .size = 2}},
         3,
         "p/x.gguf",
         3},
        {{{.name = "x.gguf", .bytes = "", .size = 0}}, 1, "x.gguf", 0},
        {{{.name = "p/a.gguf", .bytes = "1", .size = 1}, {.name = "p/b.gguf", .bytes = "2", .size = 1}}, 2, "", 0},
        {{{.name = "p/a.gguf", .bytes = "1", .size = 1},
          {.name = "p/c", .bytes = "", .size = 0},
          {.name = "p/b.gguf", .bytes = "2", .size = 1}},
         3,
         "",
         0},
        {{{.name = ".gguf", .bytes = "1", .size = 1},
          {.name = "gguf", .bytes = "1", .size = 1},
          {.name = "a.ggu", .bytes = "1", .size = 1},
          {.name = "a.gguf2", .bytes = "1", .size = 1}},
         4,
         NULL,
         0},
        {{{.name = "link.gguf", .link = "/etc/passwd"}}, 1, NULL, 0},
        {{{.name = "link.gguf", .link = "/etc/passwd"}, {.name = "a.gguf", .bytes = "12", .size = 2}}, 2, "a.gguf", 2},
        {{{.name = "a.gguf", .bytes = "12", .size = 2},
          {.name = "b.py", .bytes = "1234", .size = 4},
          {.name = "c.ggu", .bytes = "1", .size = 1}},
         3,
         "a.gguf",
         2},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *member = (char *)(uintptr_t)1;
        uint64_t n = 99;
        struct pantry_error err = {0};
        bool several = rows[i].member && !*rows[i].member;
        wheel_write(in_root("w.whl"), rows[i].entries, rows[i].n);
        assert_int_equal(pn_wheel_find(in_root("w.whl"), ".gguf", &member, &n, &err),
                         several ? PANTRY_FORMAT : PANTRY_OK);
        if (!rows[i].member || several) {
            assert_null(member);
            if (!several)
                assert_int_equal(n, 0);
        } else {
            assert_string_equal(member, rows[i].member);
            assert_int_equal(n, rows[i].bytes);
        }
        if (several)
            assert_non_null(strstr(err.text, "w.whl: has several"));
        free(member);
    }
    char *member = NULL;
    uint64_t n;
    struct pantry_error err = {0};
    const struct wheel_entry one = {.name = "a.gguf", .bytes = "1", .size = 1};
    wheel_write(in_root("w.whl"), &one, 1);
    fail_next("strdup", ENOMEM);
    assert_int_equal(pn_wheel_find(in_root("w.whl"), ".gguf", &member, &n, &err), PANTRY_NO_MEMORY);
    assert_null(member);
    assert_int_equal(pn_wheel_find(in_root("none.whl"), ".gguf", &member, &n, &err), PANTRY_FORMAT);
    assert_non_null(strstr(err.text, "none.whl"));
    write_bytes(in_root("junk.whl"), "no zip at all", 13);
    assert_int_equal(pn_wheel_find(in_root("junk.whl"), ".gguf", &member, &n, &err), PANTRY_FORMAT);
    assert_non_null(strstr(err.text, "junk.whl"));
    assert_null(member);
}

/* Results of libarchive: "retry" and "warning" continue, all others end. */
static void archives_that_hesitate(void **state)
{
    (void)state;
    static const struct {
        const char *call;
        int says;
        pantry_status read, find;
    } rows[] = {
        {"archive_read_next_header", ARCHIVE_RETRY, PANTRY_OK, PANTRY_OK},
        {"archive_read_next_header", ARCHIVE_FAILED, PANTRY_FORMAT, PANTRY_FORMAT},
        {"archive_read_next_header", ARCHIVE_FATAL, PANTRY_FORMAT, PANTRY_FORMAT},
        {"archive_read_data_block", ARCHIVE_RETRY, PANTRY_OK, PANTRY_OK},
        {"archive_read_data_block", ARCHIVE_WARN, PANTRY_FORMAT, PANTRY_OK},
        {"archive_read_data_block", ARCHIVE_FATAL, PANTRY_FORMAT, PANTRY_OK},
    };
    const struct wheel_entry one = {.name = "p/a.gguf", .bytes = "12345", .size = 5};
    struct pantry_error err = {0};
    wheel_write(in_root("w.whl"), &one, 1);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct pn_buf got = {0};
        char *member = NULL;
        uint64_t n;
        fail_next(rows[i].call, rows[i].says);
        assert_int_equal(pn_wheel_read(in_root("w.whl"), "p/a.gguf", 5, collect, &got, &err), rows[i].read);
        assert_int_equal(trips, 0);
        if (!rows[i].read)
            assert_string_equal(got.data, "12345");
        else
            assert_non_null(strstr(err.text, "w.whl"));
        fail_next(rows[i].call, rows[i].says);
        assert_int_equal(pn_wheel_find(in_root("w.whl"), ".gguf", &member, &n, &err), rows[i].find);
        assert_int_equal(member != NULL, rows[i].find == PANTRY_OK);
        trip_name = NULL;
        free(member);
        pn_buf_free(&got);
    }
    for (shift = -1; shift <= 1; shift++) { /* a block with a wrong offset is refused */
        struct pn_buf got = {0};
        assert_int_equal(pn_wheel_read(in_root("w.whl"), "p/a.gguf", 5, collect, &got, &err),
                         shift ? PANTRY_FORMAT : PANTRY_OK);
        assert_int_equal(got.len, shift ? 0 : 5);
        pn_buf_free(&got);
    }
    shift = 0;
}

static void entries_of_wheels_are_counted(void **state)
{
    (void)state;
    static struct wheel_entry entries[10001];
    static char names[10001][16];
    struct pn_buf got = {0};
    struct pantry_error err = {0};
    for (int i = 0; i < 10001; i++) {
        snprintf(names[i], sizeof names[i], "n%d", i);
        entries[i] = (struct wheel_entry){.name = names[i], .bytes = "x", .size = 1};
    }
    for (size_t n = 10000; n <= 10001; n++) {
        wheel_write(in_root("many.whl"), entries, n);
        assert_int_equal(pn_wheel_read(in_root("many.whl"), "n5", 1, collect, &got, &err),
                         n == 10000 ? PANTRY_OK : PANTRY_FORMAT);
        char *member = NULL;
        uint64_t bytes;
        assert_int_equal(pn_wheel_find(in_root("many.whl"), "n77", &member, &bytes, &err),
                         n == 10000 ? PANTRY_OK : PANTRY_FORMAT);
        free(member);
    }
    assert_non_null(strstr(err.text, "more than 10000 entries"));
    pn_buf_free(&got);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_root, remove_root)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(home_comes_from_the_environment),
        TEST(the_store_is_below_home_or_elsewhere),
        TEST(folders_are_made),
        TEST(folders_are_removed),
        TEST(folders_that_cannot_be_made),
        TEST(folders_that_cannot_be_read),
        TEST(space_is_compared),
        TEST(one_has_the_lock),
        TEST(files_appear_when_they_are_complete),
        TEST(files_that_cannot_be_written),
        TEST(private_files),
        TEST(the_first_descriptor_is_good),
        TEST(every_character_of_a_name),
        TEST(parts_of_names),
        TEST(manifests_are_read_strictly),
        TEST(layers_are_counted),
        TEST(names_and_paths),
        TEST(blobs_are_named_by_their_digest),
        TEST(members_at_their_limit),
        TEST(entries_of_wheels_are_counted),
        TEST(members_are_found_by_their_end),
        TEST(archives_that_hesitate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
