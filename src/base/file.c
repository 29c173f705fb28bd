/* Mapped files and the SIGBUS guard: see file.h. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "base/file.h"

#include "base/alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* A signal handler can neither lock nor allocate, so the maps are in a fixed table of atomics. */
enum { MAX_MAPS = 1024 };

static struct {
    atomic_uintptr_t start, end;
    atomic_bool damaged;
} guarded[MAX_MAPS];
static pthread_mutex_t guarded_lock = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction previous_bus, previous_segv;
static size_t page_size;

static void pass_on(int sig, siginfo_t *info, void *context)
{
    /* A handler installed after ours may call ours again. The second time, no handler wants the signal. */
    static atomic_bool passing;
    struct sigaction *previous = sig == SIGBUS ? &previous_bus : &previous_segv;
    bool again = atomic_exchange(&passing, true);
    if (!again && previous->sa_flags & SA_SIGINFO) {
        previous->sa_sigaction(sig, info, context);
    } else if (!again && previous->sa_handler != SIG_DFL && previous->sa_handler != SIG_IGN) {
        previous->sa_handler(sig);
    } else {
        signal(sig, SIG_DFL); /* the faulting instruction runs again and ends the process */
    }
    atomic_store(&passing, false);
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
    int saved = errno;
    uintptr_t at = (uintptr_t)info->si_addr;
    for (size_t i = 0; i < MAX_MAPS; i++) {
        uintptr_t start = atomic_load(&guarded[i].start), end = atomic_load(&guarded[i].end);
        if (!start || at < start || at >= end)
            continue;
        uintptr_t page = at & ~(uintptr_t)(page_size - 1);
        /* Everything from here to the end is gone too: one mapping instead of one fault per page. */
        void *p = mmap((void *)page, end - page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        if (p == MAP_FAILED)
            break;
        atomic_store(&guarded[i].damaged, true);
        errno = saved;
        return;
    }
    pass_on(sig, info, context);
    errno = saved;
}

static void take_signal(int sig, struct sigaction *previous)
{
    struct sigaction now, action = {0};
    if (sigaction(sig, NULL, &now) == 0 && now.sa_flags & SA_SIGINFO && now.sa_sigaction == on_fault)
        return;
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigemptyset(&action.sa_mask);
    sigaction(sig, &action, previous);
}

/* Called under guarded_lock for every map: the rest of the program may have replaced the handler since the last one. */
static void install_handler(void)
{
    if (!page_size)
        page_size = (size_t)sysconf(_SC_PAGESIZE);
    take_signal(SIGBUS, &previous_bus);
#ifdef __APPLE__
    take_signal(SIGSEGV, &previous_segv); /* Darwin reports some lost pages as SIGSEGV */
#endif
}

static int guard(uintptr_t start, size_t size)
{
    int slot = -1;
    pthread_mutex_lock(&guarded_lock);
    install_handler();
    for (int i = 0; i < MAX_MAPS && slot < 0; i++)
        if (!atomic_load(&guarded[i].start))
            slot = i;
    if (slot >= 0) {
        size_t whole_pages = (size + page_size - 1) & ~(page_size - 1);
        atomic_store(&guarded[slot].damaged, false);
        atomic_store(&guarded[slot].end, start + whole_pages);
        atomic_store(&guarded[slot].start, start);
    }
    pthread_mutex_unlock(&guarded_lock);
    return slot;
}

pantry_status pn_map_open(struct pn_map *map, const char *path, struct pantry_error *err)
{
    *map = (struct pn_map){.slot = -1};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* opening a FIFO must not block */
    if (fd < 0)
        return pn_fail(err, errno == ENOENT ? PANTRY_NOT_FOUND : PANTRY_IO, "%s: %s", path, strerror(errno));
    struct stat st;
    pantry_status status = PANTRY_OK;
    if (fstat(fd, &st) != 0) {
        status = pn_fail(err, PANTRY_IO, "%s: %s", path, strerror(errno));
    } else if (!S_ISREG(st.st_mode)) {
        status = pn_fail(err, PANTRY_INVALID, "%s: not a regular file (found %s)", path,
                         S_ISDIR(st.st_mode) ? "a directory" : "a special file");
    } else if ((uintmax_t)st.st_size > SIZE_MAX / 2) {
        status = pn_fail(err, PANTRY_LIMIT, "%s: too large to map", path);
    } else if (st.st_size > 0) {
        size_t size = (size_t)st.st_size;
        void *p = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED) {
            status = pn_fail(err, PANTRY_IO, "%s: cannot map %zu bytes: %s", path, size, strerror(errno));
        } else {
            map->slot = guard((uintptr_t)p, size);
            map->data = p;
            map->size = size;
            if (map->slot < 0) {
                pn_map_close(map);
                status = pn_fail(err, PANTRY_LIMIT, "%s: too many mapped files (allowed %d)", path, MAX_MAPS);
            }
        }
    }
    close(fd);
    return status;
}

void pn_map_close(struct pn_map *map)
{
    if (!map || !map->data)
        return;
    if (map->slot >= 0) {
        pthread_mutex_lock(&guarded_lock);
        atomic_store(&guarded[map->slot].start, 0);
        pthread_mutex_unlock(&guarded_lock);
    }
    munmap((void *)(uintptr_t)map->data, map->size);
    *map = (struct pn_map){.slot = -1};
}

bool pn_map_damaged(const struct pn_map *map)
{
    return map->data && map->slot >= 0 && atomic_load(&guarded[map->slot].damaged);
}

void pn_map_will_need(const struct pn_map *map)
{
    if (map->data)
        madvise((void *)(uintptr_t)map->data, map->size, MADV_WILLNEED);
}

void pn_map_release(const struct pn_map *map)
{
    if (map->data)
        madvise((void *)(uintptr_t)map->data, map->size, MADV_DONTNEED);
}

pantry_status pn_file_read(const char *path, size_t limit, char **out, size_t *size, struct pantry_error *err)
{
    bool is_stdin = strcmp(path, "-") == 0;
    const char *name = is_stdin ? "standard input" : path;
    FILE *f = is_stdin ? stdin : fopen(path, "rb");
    if (!f)
        return pn_fail(err, errno == ENOENT ? PANTRY_NOT_FOUND : PANTRY_IO, "%s: %s", name, strerror(errno));
    struct pn_buf buf = {0};
    pantry_status status = PANTRY_OK;
    char chunk[16384];
    size_t n;
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0) {
        if (buf.len + n > limit) {
            status = pn_fail(err, PANTRY_LIMIT, "%s: too large (allowed %zu bytes)", name, limit);
            goto done;
        }
        pn_buf_append(&buf, chunk, n);
    }
    if (ferror(f))
        status = pn_fail(err, PANTRY_IO, "%s: %s", name, strerror(errno));
    else if (*size = buf.len, !(*out = pn_buf_take(&buf)))
        status = pn_no_memory(err, name);
done:
    pn_buf_free(&buf);
    if (!is_stdin)
        fclose(f);
    return status;
}
