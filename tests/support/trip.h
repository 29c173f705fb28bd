/* For tests of the store in which every call of the file system fails once, or the process dies at it: the calls are
 * wrapped, as a program's own definition goes before libc's. Included by one file of a program, after cmocka, which
 * wraps further calls with WRAP. */
#ifndef PN_TESTS_TRIP_H
#define PN_TESTS_TRIP_H

#include "folder.h"
#include "interpose.h"
#include "pantry.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int calls, trip_at; /* the number of the call that fails; 0: none */
static bool trip_kills;    /* the process dies at it */

static bool trip(void)
{
    if (!trip_at || ++calls != trip_at)
        return false;
    if (trip_kills)
        kill(getpid(), SIGKILL);
    errno = EIO;
    return true;
}

#define WRAP(result, name, params, args, failure)                                                                      \
    result name params;                                                                                                \
    result name params                                                                                                 \
    {                                                                                                                  \
        static result(*real) params;                                                                                   \
        if (!real)                                                                                                     \
            find_next(#name, &real);                                                                                   \
        return trip() ? failure : real args;                                                                           \
    }

/* Files of a test need not reach the disk. */
int fsync(int fd)
{
    return fcntl(fd, F_GETFD) >= 0 && !trip() ? 0 : -1;
}

WRAP(int, rename, (const char *from, const char *to), (from, to), -1)
WRAP(int, mkdir, (const char *path, mode_t mode), (path, mode), -1)
WRAP(ssize_t, write, (int fd, const void *bytes, size_t n), (fd, bytes, n), -1)

/* ---- a store in the test's folder ---- */

static int make_home(const char *name)
{
    trip_at = 0;
    if (make_folder(name))
        return -1;
    setenv("PANTRY_HOME", in_root("home"), 1);
    return 0;
}

static int remove_home(void **state)
{
    (void)state;
    trip_at = 0;
    return remove_folder();
}

/* ---- every call once ---- */

/* Changes of a store, by number, each from the same start; what must be true after any of them, done or not. */
struct trips {
    void (*start_over)(void);
    pantry_status (*change)(int what);
    void (*assert_consistent)(void);
    int n_changes;
    int least; /* a change makes at least so many calls */
};

static inline void each_call_fails(const struct trips *t)
{
    for (int what = 0; what < t->n_changes; what++) {
        bool done = false;
        int n = 0;
        while (!done) {
            t->start_over();
            calls = 0;
            trip_kills = false;
            trip_at = ++n;
            pantry_status status = t->change(what);
            done = calls < n;
            trip_at = 0;
            assert_true(!done || status == PANTRY_OK);
            t->assert_consistent();
        }
        assert_true(n > t->least);
    }
}

static inline void each_call_kills(const struct trips *t)
{
    for (int what = 0; what < t->n_changes; what++) {
        bool done = false;
        int n = 0;
        while (!done) {
            t->start_over();
            pid_t pid = fork();
            if (pid == 0) {
                calls = 0;
                trip_kills = true;
                trip_at = n + 1;
                _exit(t->change(what) == PANTRY_OK ? 0 : 1);
            }
            n++;
            int status;
            assert_int_equal(waitpid(pid, &status, 0), pid);
            done = WIFEXITED(status);
            assert_true(!done || WEXITSTATUS(status) == 0);
            t->assert_consistent();
        }
        assert_true(n > t->least);
    }
}

#endif
