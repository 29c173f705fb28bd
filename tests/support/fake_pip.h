/* A python3 of the test's own for tests of src/store/pip.c and fetch.c: shell scripts in a folder, and wrapped calls.
 * Sleeps are recorded and shortened, a fake clock advances by a step per call, and other calls can fail. Included by
 * one file of a program, after cmocka. */
#ifndef PN_TESTS_FAKE_PIP_H
#define PN_TESTS_FAKE_PIP_H

#include "folder.h"
#include "interpose.h"
#include "pantry.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- calls that are recorded, or fail ---- */

enum { MAX_NOTES = 4096 };

static long naps[MAX_NOTES]; /* milliseconds */
static int n_naps;
static pantry_cancel *the_cancel; /* of all tests, cleared at the start of each */
static bool cancel_on_nap;        /* it is set once the file `cancel_when` exists */
static const char *cancel_when;
static const char *nap_until; /* after a first signal, a sleep lasts until this file exists */
static int n_kills;

int nanosleep(const struct timespec *wanted, struct timespec *left)
{
    static int (*real)(const struct timespec *, struct timespec *);
    if (!real)
        find_next("nanosleep", &real);
    if (n_naps < MAX_NOTES)
        naps[n_naps++] = (long)wanted->tv_sec * 1000 + wanted->tv_nsec / 1000000;
    if (cancel_on_nap && cancel_when && access(cancel_when, F_OK) == 0)
        pantry_cancel_set(the_cancel);
    for (int i = 0; nap_until && n_kills > 0 && access(nap_until, F_OK) != 0 && i < 120000; i++)
        real(&(struct timespec){0, 500000}, left);
    return real(&(struct timespec){0, 500000}, left);
}

static struct {
    int signal, naps;
    pid_t pid;
} kills[8];

int kill(pid_t pid, int sig)
{
    static int (*real)(pid_t, int);
    if (!real)
        find_next("kill", &real);
    if (n_kills < 8)
        kills[n_kills].pid = pid, kills[n_kills].signal = sig, kills[n_kills].naps = n_naps;
    n_kills++;
    if (pid <= 1 || sig <= 0) /* a mistake that would end more than a child */
        return -1;
    return real(pid, sig);
}

static int interrupted_waits;

pid_t waitpid(pid_t pid, int *status, int options)
{
    static pid_t (*real)(pid_t, int *, int);
    if (!real)
        find_next("waitpid", &real);
    if (interrupted_waits > 0) {
        interrupted_waits--;
        errno = EINTR;
        return -1;
    }
    return real(pid, status, options);
}

static uint64_t now_ns, step_ns = 200000000; /* longer than the period of reports, so none is skipped */

int clock_gettime(clockid_t clock, struct timespec *t)
{
    (void)clock;
    now_ns += step_ns;
    *t = (struct timespec){(time_t)(now_ns / 1000000000), (long)(now_ns % 1000000000)};
    return 0;
}

static const char *trip_kind;
static int calls, trip_at, trip_errno;

static inline bool trip(const char *kind)
{
    if (!trip_kind || strcmp(kind, trip_kind) != 0 || ++calls != trip_at)
        return false;
    errno = trip_errno;
    return true;
}

static inline void fail_at(const char *kind, int n, int why)
{
    trip_kind = kind;
    trip_at = n;
    trip_errno = why;
    calls = 0;
}

ssize_t read(int fd, void *bytes, size_t n)
{
    static ssize_t (*real)(int, void *, size_t);
    if (!real)
        find_next("read", &real);
    return trip("read") ? -1 : real(fd, bytes, n);
}

char *strdup(const char *text)
{
    static char *(*real)(const char *);
    if (!real)
        find_next("strdup", &real);
    return trip("memory") ? NULL : real(text);
}

int vasprintf(char **out, const char *format, va_list args)
{
    static int (*real)(char **, const char *, va_list);
    if (!real)
        find_next("vasprintf", &real);
    return trip("memory") ? -1 : real(out, format, args);
}

int fsync(int fd) /* files of this test need not reach the disk */
{
    return fcntl(fd, F_GETFD) >= 0 ? 0 : -1;
}

static uint64_t free_bytes;

int statvfs(const char *path, struct statvfs *fs)
{
    static int (*real)(const char *, struct statvfs *);
    if (!real)
        find_next("statvfs", &real);
    int r = real(path, fs);
    if (free_bytes != UINT64_MAX) {
        fs->f_bavail = (fsblkcnt_t)free_bytes;
        fs->f_frsize = 1;
    }
    return r;
}

/* ---- a folder with a python3 ---- */

/* The contents of a file; "" without one. */
static inline const char *text_of(const char *name)
{
    static char text[1 << 16];
    FILE *f = fopen(in_root(name), "rb");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f)
        fclose(f);
    text[n] = '\0';
    return text;
}

static inline bool is_there(const char *name)
{
    return access(in_root(name), F_OK) == 0;
}

/* -c asks for pip, anything else runs pip; $FAKE is the folder of the test. */
static const char python[] = "#!/bin/sh\n"
                             "if [ \"$1\" = -c ]; then [ -e \"$FAKE/check\" ] && . \"$FAKE/check\"; exit 0; fi\n"
                             "[ -e \"$FAKE/pip\" ] && . \"$FAKE/pip\"\n"
                             "exit 0\n";

static inline void on_check(const char *script)
{
    write_file(in_root("check"), script, 0644);
}

static inline void on_pip(const char *script)
{
    write_file(in_root("pip"), script, 0644);
}

static inline void set_path(const char *first)
{
    char path[2100];
    snprintf(path, sizeof path, "%s:/usr/bin:/bin", first);
    setenv("PATH", path, 1);
}

static char whole_path[4096];

static inline void forget(void)
{
    n_naps = n_kills = interrupted_waits = 0;
    cancel_on_nap = false;
    pantry_cancel_clear(the_cancel);
    nap_until = NULL;
    trip_kind = NULL;
    free_bytes = UINT64_MAX;
    step_ns = 200000000;
}

static inline int make_root(void **state)
{
    (void)state;
    forget();
    snprintf(whole_path, sizeof whole_path, "%s", getenv("PATH") ? getenv("PATH") : "");
    if (make_folder("pip"))
        return -1;
    mkdir(in_root("bin"), 0777);
    mkdir(in_root("folder"), 0777);
    write_file(in_root("bin/python3"), python, 0755);
    setenv("FAKE", root, 1);
    setenv("PANTRY_HOME", in_root("home"), 1);
    set_path(in_root("bin"));
    return 0;
}

static inline int remove_root(void **state)
{
    (void)state;
    forget();
    setenv("PATH", whole_path, 1);
    remove_folder();
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left */
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_root, remove_root)

static inline void open_and_close(const char *fifo)
{
    int fd = open(in_root(fifo), O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    close(fd);
}

/* Fixtures of the group. */
static int make_cancel(void **state)
{
    (void)state;
    the_cancel = pantry_cancel_new();
    return the_cancel ? 0 : -1;
}

static int free_cancel(void **state)
{
    (void)state;
    pantry_cancel_free(the_cancel);
    return 0;
}

#endif
