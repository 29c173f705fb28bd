/* Kills the program at a chosen call of those that change files, for kill_campaign.py (LD_PRELOAD, Linux).
 *
 * KILL_AT=RENAME:3 is the third rename, KILL_AT=ANY:57 the 57th call of all. KILL_HOW: "before" the call, "after" it,
 * or in the "middle": a write that wrote half of its bytes. KILL_COUNT=FILE: at the end, write how often each was
 * called. fsync does nothing, since a killed process loses nothing that it gave to the system. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define KINDS(X)   X(CREATE) X(WRITE) X(RENAME) X(UNLINK) X(MKDIR) X(RMDIR) X(LINK) X(FSYNC) X(RESERVE) X(LOCK)
#define NAME(kind) kind,
enum kind { KINDS(NAME) N_KINDS };
#define TEXT(kind) #kind,
static const char *const names[] = {KINDS(TEXT)};

static atomic_uint counts[N_KINDS], all;
static enum { BEFORE, AFTER, MIDDLE } how;
static int kind_wanted = -1; /* N_KINDS: any */
static unsigned number_wanted;

__attribute__((constructor)) static void start(void)
{
    const char *at = getenv("KILL_AT"), *colon = at ? strchr(at, ':') : NULL, *word = getenv("KILL_HOW");
    if (!colon)
        return;
    for (int i = 0; i < N_KINDS; i++)
        if (strlen(names[i]) == (size_t)(colon - at) && strncmp(at, names[i], (size_t)(colon - at)) == 0)
            kind_wanted = i;
    kind_wanted = strncmp(at, "ANY:", 4) == 0 ? N_KINDS : kind_wanted;
    number_wanted = (unsigned)strtoul(colon + 1, NULL, 10);
    how = word && strcmp(word, "after") == 0 ? AFTER : word && strcmp(word, "middle") == 0 ? MIDDLE : BEFORE;
}

__attribute__((destructor)) static void stop(void)
{
    const char *path = getenv("KILL_COUNT");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (!file)
        return;
    for (int i = 0; i < N_KINDS; i++)
        fprintf(file, "%s %u\n", names[i], atomic_load(&counts[i]));
    fclose(file);
}

static void die(void)
{
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

/* Counts a call; true if the program dies after it, or in it. */
static bool meet(enum kind kind)
{
    unsigned n = atomic_fetch_add(&counts[kind], 1) + 1, m = atomic_fetch_add(&all, 1) + 1;
    bool met = kind_wanted == N_KINDS ? m == number_wanted : kind_wanted == (int)kind && n == number_wanted;
    if (met && how == BEFORE)
        die();
    return met;
}

static void *next(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (!found)
        abort();
    return found;
}

#define WRAP(kind, result, name, params, args)                                                                         \
    result name params                                                                                                 \
    {                                                                                                                  \
        static result(*real) params;                                                                                   \
        if (!real)                                                                                                     \
            *(void **)&real = next(#name);                                                                             \
        bool met = meet(kind);                                                                                         \
        result r = real args;                                                                                          \
        if (met)                                                                                                       \
            die();                                                                                                     \
        return r;                                                                                                      \
    }

WRAP(RENAME, int, rename, (const char *from, const char *to), (from, to))
WRAP(RENAME, int, renameat, (int a, const char *from, int b, const char *to), (a, from, b, to))
WRAP(UNLINK, int, unlink, (const char *path), (path))
WRAP(UNLINK, int, unlinkat, (int at, const char *path, int flags), (at, path, flags))
WRAP(MKDIR, int, mkdir, (const char *path, mode_t mode), (path, mode))
WRAP(RMDIR, int, rmdir, (const char *path), (path))
WRAP(LINK, int, link, (const char *from, const char *to), (from, to))
WRAP(LINK, int, linkat, (int a, const char *from, int b, const char *to, int flags), (a, from, b, to, flags))
WRAP(LINK, int, symlink, (const char *target, const char *path), (target, path))
WRAP(RESERVE, int, ftruncate, (int fd, off_t n), (fd, n))
WRAP(RESERVE, int, posix_fallocate, (int fd, off_t at, off_t n), (fd, at, n))
WRAP(LOCK, int, flock, (int fd, int operation), (fd, operation))

int fsync(int fd)
{
    bool met = fd >= 0 && meet(FSYNC);
    if (met)
        die();
    return 0;
}

static bool is_file(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

ssize_t write(int fd, const void *bytes, size_t n)
{
    static ssize_t (*real)(int, const void *, size_t);
    if (!real)
        *(void **)&real = next("write");
    bool met = is_file(fd) && meet(WRITE);
    ssize_t r = real(fd, bytes, met && how == MIDDLE ? n / 2 : n);
    if (met)
        die();
    return r;
}

ssize_t pwrite(int fd, const void *bytes, size_t n, off_t at)
{
    static ssize_t (*real)(int, const void *, size_t, off_t);
    if (!real)
        *(void **)&real = next("pwrite");
    bool met = is_file(fd) && meet(WRITE);
    ssize_t r = real(fd, bytes, met && how == MIDDLE ? n / 2 : n, at);
    if (met)
        die();
    return r;
}

/* Only calls that may create a file count. */
#define WRAP_OPEN(name, params, last, args)                                                                            \
    int name params                                                                                                    \
    {                                                                                                                  \
        static int(*real) params;                                                                                      \
        mode_t mode = 0;                                                                                               \
        if (!real)                                                                                                     \
            *(void **)&real = next(#name);                                                                             \
        if (flags & O_CREAT) {                                                                                         \
            va_list list;                                                                                              \
            va_start(list, last);                                                                                      \
            mode = va_arg(list, mode_t);                                                                               \
            va_end(list);                                                                                              \
        }                                                                                                              \
        bool met = (flags & O_CREAT) && meet(CREATE);                                                                  \
        int fd = real args;                                                                                            \
        if (met)                                                                                                       \
            die();                                                                                                     \
        return fd;                                                                                                     \
    }

WRAP_OPEN(open, (const char *path, int flags, ...), flags, (path, flags, mode))
WRAP_OPEN(openat, (int at, const char *path, int flags, ...), flags, (at, path, flags, mode))
