/* base/file.h: file maps, truncated while in use, too, and small files. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/file.h"
#include "base/status.h"
#include "folder.h"
#include "gguf_writer.h"
#include "interpose.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- failing calls: the program's definitions override libc's ---- */

static int mmap_errno; /* not 0: mmap sets errno to this */
static bool mmap_fails;

void *mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    static void *(*real)(void *, size_t, int, int, int, off_t);
    if (!real)
        find_next("mmap", &real);
    void *p = mmap_fails ? MAP_FAILED : real(at, size, protection, flags, fd, offset);
    if (mmap_errno)
        errno = mmap_errno;
    return p;
}

static int fstat_errno;  /* not 0: the next fstat fails with it */
static off_t fstat_size; /* not 0: the size that fstat returns */

int fstat(int fd, struct stat *st)
{
    static int (*real)(int, struct stat *);
    if (!real)
        find_next("fstat", &real);
    if (fstat_errno) {
        errno = fstat_errno;
        fstat_errno = 0;
        return -1;
    }
    int r = real(fd, st);
    if (fstat_size)
        st->st_size = fstat_size;
    return r;
}

static int advised;

int madvise(void *start, size_t size, int how)
{
    static int (*real)(void *, size_t, int);
    if (!real)
        find_next("madvise", &real);
    advised += how == MADV_WILLNEED;
    return real(start, size, how);
}

static int fopen_errno; /* not 0: the next fopen fails with it */

FILE *fopen(const char *path, const char *mode)
{
    static FILE *(*real)(const char *, const char *);
    if (!real)
        find_next("fopen", &real);
    if (!fopen_errno)
        return real(path, mode);
    errno = fopen_errno;
    fopen_errno = 0;
    return NULL;
}

/* ---- maps and files ---- */

static void test_map(void **state)
{
    (void)state;
    struct pn_map map;
    struct pantry_error err;
    assert_int_equal(pn_map_open(&map, gw_put("some", "bread", 5), &err), PANTRY_OK);
    assert_int_equal(map.size, 5);
    assert_memory_equal(map.data, "bread", 5);
    advised = 0;
    pn_map_will_need(&map);
    assert_int_equal(advised, 1);
    assert_false(pn_map_damaged(&map));
    pn_map_close(&map);
    assert_null(map.data);
    pn_map_close(&map); /* twice is allowed */
    assert_int_equal(pn_map_open(&map, gw_put("empty", "", 0), &err), PANTRY_OK);
    assert_true(!map.data && map.size == 0 && !pn_map_damaged(&map));
    pn_map_will_need(&map);
    assert_int_equal(advised, 1);
    pn_map_close(&map);
    pn_map_close(&(struct pn_map){0});
    assert_int_equal(pn_map_open(&map, gw_temp("absent"), &err), PANTRY_NOT_FOUND);
    assert_non_null(strstr(err.text, "absent: "));
    assert_int_equal(pn_map_open(&map, "/", &err), PANTRY_INVALID);
    assert_string_equal(err.text, "/: not a regular file (found a directory)");
    const char *fifo = gw_temp("fifo");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(pn_map_open(&map, fifo, &err), PANTRY_INVALID); /* and does not wait for a writer */
    assert_non_null(strstr(err.text, "(found a special file)"));
    assert_int_equal(pn_map_open(&map, "/dev/null", NULL), PANTRY_INVALID);
    const char *loop = gw_temp("loop");
    assert_int_equal(symlink(loop, loop), 0);
    assert_int_equal(pn_map_open(&map, loop, &err), PANTRY_IO);
    int next = open("/dev/null", O_RDONLY);
    close(next);
    fstat_errno = EIO;
    assert_int_equal(pn_map_open(&map, gw_put("some", "bread", 5), &err), PANTRY_IO);
    assert_non_null(strstr(err.text, strerror(EIO)));
    assert_true(!map.data && !map.size && map.slot == -1);
    fstat_size = (off_t)INT64_MIN; /* as an unsigned number, just above the limit */
    assert_int_equal(pn_map_open(&map, gw_put("some", "bread", 5), &err), PANTRY_LIMIT);
    fstat_size = 0;
    mmap_fails = true;
    mmap_errno = ENODEV;
    pantry_status status = pn_map_open(&map, gw_put("some", "bread", 5), &err);
    mmap_fails = false;
    mmap_errno = 0;
    assert_int_equal(status, PANTRY_IO);
    assert_non_null(strstr(err.text, strerror(ENODEV)));
    assert_true(!map.data && !map.size && map.slot == -1);
    int same = open("/dev/null", O_RDONLY); /* no descriptor was left open */
    assert_int_equal(same, next);
    close(same);
}

static const char *put_pages(const char *name, size_t n)
{
    char *bytes = malloc(n);
    assert_non_null(bytes);
    memset(bytes, 'x', n);
    const char *path = gw_put(name, bytes, n);
    free(bytes);
    return path;
}

/* Two maps; one file is truncated to nothing, one to a page. Lost pages read as zeros, the others are unchanged. */
static void test_cut_short(void **state)
{
    (void)state;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct pn_map a, b, c;
    const char *path_a = put_pages("a", 8 * page + 6), *path_b = put_pages("b", 8 * page), *path_c = put_pages("c", 9);
    assert_int_equal(pn_map_open(&a, path_a, NULL), PANTRY_OK);
    assert_int_equal(pn_map_open(&b, path_b, NULL), PANTRY_OK);
    assert_int_equal(pn_map_open(&c, path_c, NULL), PANTRY_OK);
    assert_int_equal(truncate(path_a, (off_t)page), 0);
    assert_int_equal(truncate(path_b, 0), 0);
    const volatile unsigned char *pa = a.data, *pb = b.data;
    assert_int_equal(pa[page - 1], 'x');
    pn_map_close(&(struct pn_map){0}); /* does not free another map's slot */
    mmap_errno = EBADF;                /* the reader's errno is preserved */
    errno = ERANGE;
    assert_false(pn_map_damaged(&a));
    assert_int_equal(pa[8 * page + 5], 0); /* the last page first, then one before it: two faults */
    int kept = errno;
    mmap_errno = 0;
    assert_int_equal(kept, ERANGE);
    assert_true(pn_map_damaged(&a));
    assert_int_equal(pa[page], 0);
    assert_int_equal(pa[page - 1], 'x');
    assert_false(pn_map_damaged(&b));
    for (size_t i = 0; i < 8 * page; i++)
        assert_int_equal(pb[i], 0);
    assert_true(pn_map_damaged(&b));
    assert_false(pn_map_damaged(&c));
    pn_map_close(&a);
    assert_false(pn_map_damaged(&a));
    pn_map_close(&b);
    assert_int_equal(pn_map_open(&a, path_c, NULL), PANTRY_OK); /* the slot is used again, undamaged */
    assert_false(pn_map_damaged(&a));
    pn_map_close(&a);
    pn_map_close(&c);
}

static void test_too_many_maps(void **state)
{
    (void)state;
    static struct pn_map maps[1100];
    struct pantry_error err = {.text = ""};
    const char *path = gw_put("some", "bread", 5);
    size_t n = 0;
    while (n < 1100 && pn_map_open(&maps[n], path, &err) == PANTRY_OK)
        n++;
    assert_int_equal(n, 1024);
    assert_int_equal(err.status, PANTRY_LIMIT);
    assert_non_null(strstr(err.text, "too many mapped files (allowed 1024)"));
    for (size_t i = 0; i < n; i++)
        pn_map_close(&maps[i]);
    assert_int_equal(pn_map_open(&maps[0], path, &err), PANTRY_OK);
    pn_map_close(&maps[0]);
}

/* A bus error outside our maps ends the process, or goes to the previous handler. */
static void foreign_handler(int sig)
{
    _exit(sig == SIGBUS ? 42 : 43);
}

static void test_foreign_fault(void **state)
{
    (void)state;
    const char *path = gw_put("mine", "bread", 5);
    for (int handled = 0; handled < 2; handled++) {
        fflush(stdout);
        fflush(stderr);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            struct pn_map map;
            signal(SIGBUS, handled ? foreign_handler : SIG_DFL);
            if (pn_map_open(&map, path, NULL))
                _exit(1);
            raise(SIGBUS);
            raise(SIGBUS); /* the first one removed our handler, since no instruction runs again after raise */
            _exit(2);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        if (handled)
            assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
        else
            assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
    }
}

static int handled; /* by which handler, and its arguments */
static void *fault_at;

static void plain_handler(int sig)
{
    handled = sig;
    errno = EBADF;
}

static void full_handler(int sig, siginfo_t *info, void *context)
{
    handled = context ? 2 * sig : 0;
    fault_at = info->si_addr;
    errno = EBADF;
}

/* The previous handler gets every fault outside our maps, and errno is preserved. A handler that replaced ours is kept
 * as the previous one at the next map. */
static void test_other_handlers(void **state)
{
    (void)state;
    const char *path = gw_put("mine", "bread", 5);
    struct sigaction before, now, action = {0};
    assert_int_equal(sigaction(SIGBUS, NULL, &before), 0);
    for (int full = 0; full < 2; full++) {
        struct pn_map map;
        sigemptyset(&action.sa_mask);
        action.sa_flags = full ? SA_SIGINFO : 0;
        if (full)
            action.sa_sigaction = full_handler;
        else
            action.sa_handler = plain_handler;
        assert_int_equal(sigaction(SIGBUS, &action, NULL), 0);
        for (int i = 0; i < 2; i++) { /* the second map must not mistake our handler for the previous one */
            assert_int_equal(pn_map_open(&map, path, NULL), PANTRY_OK);
            handled = 0;
            errno = ERANGE;
            raise(SIGBUS);
            assert_int_equal(errno, ERANGE);
            assert_int_equal(handled, full ? 2 * SIGBUS : SIGBUS);
            pn_map_close(&map);
        }
        assert_int_equal(sigaction(SIGBUS, NULL, &now), 0);
        assert_true(now.sa_flags & SA_SIGINFO && now.sa_sigaction != full_handler);
    }
    sigaction(SIGBUS, &before, NULL);
}

/* A lost page that cannot be replaced ends the process. */
static void test_no_pages_left(void **state)
{
    (void)state;
    const char *path = put_pages("cut", 20000);
    fflush(stdout);
    fflush(stderr);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct pn_map map;
        signal(SIGBUS, SIG_DFL);
        if (pn_map_open(&map, path, NULL) || truncate(path, 0))
            _exit(1);
        mmap_fails = true;
        const volatile unsigned char *p = map.data;
        _exit(2 + p[0]);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
}

static void test_read(void **state)
{
    (void)state;
    int open_before = count_open();
    struct pantry_error err;
    char *text = NULL;
    size_t n = 99;
    const char *path = put_pages("text", 40000);
    assert_int_equal(pn_file_read(path, 40000, &text, &n, &err), PANTRY_OK);
    assert_true(n == 40000 && text[0] == 'x' && text[39999] == 'x' && text[40000] == '\0');
    free(text);
    assert_int_equal(pn_file_read(path, 39999, &text, &n, &err), PANTRY_LIMIT);
    assert_non_null(strstr(err.text, "too large (allowed 39999 bytes)"));
    assert_int_equal(pn_file_read(gw_put("empty", "", 0), 0, &text, &n, &err), PANTRY_OK);
    assert_true(n == 0 && text[0] == '\0');
    free(text);
    assert_int_equal(pn_file_read(gw_temp("absent"), 10, &text, &n, &err), PANTRY_NOT_FOUND);
    assert_int_equal(pn_file_read("/", 10, &text, &n, &err), PANTRY_IO);
    assert_non_null(strstr(err.text, strerror(EISDIR)));
    /* only "-" is standard input, not similar names */
    static const char *const names[] = {"", "+", ",", ".-", "--", "-x", "-/", "!"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        fopen_errno = ENOENT;
        assert_int_equal(pn_file_read(names[i], 10, &text, &n, &err), PANTRY_NOT_FOUND);
        assert_int_equal(fopen_errno, 0);
        assert_int_equal(strncmp(err.text, names[i], strlen(names[i])), 0);
    }
    static const int other[] = {EPERM, EACCES, EMFILE};
    for (size_t i = 0; i < 3; i++) {
        fopen_errno = other[i];
        assert_int_equal(pn_file_read("some", 10, &text, &n, &err), PANTRY_IO);
        assert_non_null(strstr(err.text, strerror(other[i])));
    }
    /* sizes around the pieces of 16 KiB */
    for (size_t size = 16383; size <= 16385; size++) {
        path = put_pages("text", size);
        assert_int_equal(pn_file_read(path, size, &text, &n, &err), PANTRY_OK);
        assert_true(n == size && text[size - 1] == 'x' && text[size] == '\0');
        free(text);
        assert_int_equal(pn_file_read(path, size - 1, &text, &n, &err), PANTRY_LIMIT);
    }
    assert_int_equal(count_open(), open_before);
}

static void test_read_standard_input(void **state)
{
    (void)state;
    struct pantry_error err;
    char *text = NULL;
    size_t n = 0;
    assert_non_null(freopen(gw_put("input", "some\0bytes", 10), "rb", stdin));
    assert_int_equal(pn_file_read("-", 9, &text, &n, &err), PANTRY_LIMIT);
    assert_non_null(strstr(err.text, "standard input: too large (allowed 9 bytes)"));
    rewind(stdin);
    assert_int_equal(pn_file_read("-", 10, &text, &n, &err), PANTRY_OK);
    assert_int_equal(n, 10);
    assert_memory_equal(text, "some\0bytes", 11);
    free(text);
    assert_int_equal(fgetc(stdin), EOF); /* it is still open */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_map),
        cmocka_unit_test(test_cut_short),
        cmocka_unit_test(test_too_many_maps),
        cmocka_unit_test(test_foreign_fault),
        cmocka_unit_test(test_other_handlers),
        cmocka_unit_test(test_no_pages_left),
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_read_standard_input),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
