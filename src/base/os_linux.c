/* Linux: /proc, /sys and futexes. See os.h. */
#ifdef __linux__
#define _GNU_SOURCE 1
#include "base/os.h"

#include "base/cgroup.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/futex.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* The first hardware thread of the core of `cpu`; `cpu` itself if /sys does not say. */
static unsigned first_sibling(unsigned cpu)
{
    char path[96];
    unsigned first;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%u/topology/thread_siblings_list", cpu);
    FILE *f = fopen(path, "r");
    bool told = f && fscanf(f, "%u", &first) == 1;
    if (f)
        fclose(f);
    return told ? first : cpu;
}

/* The hardware threads that this process may run on, NULL if unknown; free with CPU_FREE. The usual set is too small
 * for the largest machines, where the call then fails. */
static cpu_set_t *allowed_cpus(int *n_cpus)
{
    for (*n_cpus = CPU_SETSIZE; *n_cpus <= 64 * CPU_SETSIZE; *n_cpus *= 2) {
        cpu_set_t *set = CPU_ALLOC(*n_cpus);
        if (set && sched_getaffinity(0, CPU_ALLOC_SIZE(*n_cpus), set) == 0)
            return set;
        CPU_FREE(set);
    }
    return NULL;
}

static int online(void)
{
    return (int)sysconf(_SC_NPROCESSORS_ONLN);
}

/* How many of n threads the control groups give a whole processor; at least 1. */
static int within_quota(int n)
{
    struct pn_cgroup group;
    pn_cgroup_read("", &group);
    return pn_cgroup_threads(&group, n);
}

int pn_os_physical_cores(void)
{
    int n_cpus, n = 0;
    cpu_set_t *allowed = allowed_cpus(&n_cpus);
    if (!allowed)
        return within_quota(online());
    size_t size = CPU_ALLOC_SIZE(n_cpus);
    for (unsigned cpu = 0; cpu < (unsigned)n_cpus; cpu++) {
        if (!CPU_ISSET_S(cpu, size, allowed))
            continue;
        /* Count each core once, at its first allowed hardware thread. */
        unsigned first = first_sibling(cpu);
        n += first >= cpu || !CPU_ISSET_S(first, size, allowed);
        if (first < cpu)
            CPU_SET_S(first, size, allowed);
    }
    CPU_FREE(allowed);
    return within_quota(n);
}

int pn_os_processors(void)
{
    int n_cpus;
    cpu_set_t *allowed = allowed_cpus(&n_cpus);
    int n = allowed ? CPU_COUNT_S(CPU_ALLOC_SIZE(n_cpus), allowed) : online();
    CPU_FREE(allowed);
    return within_quota(n);
}

/* The bytes that a process limit leaves when `used` pages count already. */
static uint64_t rlimit_left(int which, unsigned long used)
{
    struct rlimit r;
    if (getrlimit(which, &r) != 0 || r.rlim_cur == RLIM_INFINITY)
        return UINT64_MAX;
    uint64_t bytes = (uint64_t)used * (uint64_t)sysconf(_SC_PAGESIZE);
    return bytes < r.rlim_cur ? r.rlim_cur - bytes : 0;
}

static uint64_t addresses_left(void)
{
    unsigned long size = 0, data = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f && fscanf(f, "%lu %*u %*u %*u %*u %lu", &size, &data) != 2)
        size = data = 0;
    if (f)
        fclose(f);
    uint64_t all = rlimit_left(RLIMIT_AS, size), own = rlimit_left(RLIMIT_DATA, data);
    return all < own ? all : own;
}

uint64_t pn_os_memory_bytes(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : 0;
}

void pn_os_memory(struct pn_os_memory *out)
{
    struct pn_cgroup group;
    struct pn_meminfo machine;
    pn_cgroup_read("", &group);
    pn_meminfo_read("", &machine);
    uint64_t addresses = addresses_left(), total = pn_os_memory_bytes();
    *out = (struct pn_os_memory){.total = total ? total : UINT64_MAX,
                                 .available = machine.available,
                                 .group_limit = group.memory_limit,
                                 .group_left = group.memory_left,
                                 .addresses = addresses < machine.commit_left ? addresses : machine.commit_left};
}

_Static_assert(sizeof(atomic_uint) == 4, "a futex is 32 bits wide");

bool pn_os_clone_file(int from, const char *to)
{
    int fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return false;
    bool cloned = ioctl(fd, FICLONE, from) == 0;
    close(fd);
    if (!cloned)
        unlink(to);
    return cloned;
}

void pn_os_forget_file(int fd)
{
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

uint64_t pn_os_wired_limit(void)
{
    return 0;
}

void pn_os_wait(atomic_uint *word, unsigned value)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL);
}

void pn_os_wake_all(atomic_uint *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX);
}

static size_t whole_pages(size_t bytes)
{
    const size_t page = (size_t)64 << 10; /* a multiple of every architecture's page size */
    return (bytes + page - 1) / page * page;
}

void *pn_os_large_pages(size_t bytes)
{
    const size_t large = (size_t)2 << 20;
    size_t size = whole_pages(bytes);
    char *p = mmap(NULL, size + large, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    size_t before = (large - (uintptr_t)p % large) % large;
    if (before)
        munmap(p, before);
    p += before;
    munmap(p + size, large - before);
    madvise(p, size / large * large, MADV_HUGEPAGE);
    return p;
}

void pn_os_free_pages(void *pages, size_t bytes)
{
    munmap(pages, whole_pages(bytes));
}

void pn_os_discard(void *start, size_t bytes)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = ((uintptr_t)start + page - 1) / page * page, end = ((uintptr_t)start + bytes) / page * page;
    if (end > first)
        madvise((void *)first, end - first, MADV_DONTNEED);
}

/* ---- conditions ---- */

void pn_os_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
}

void pn_os_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t ns)
{
    struct timespec t;
    uint64_t second = 1000000000u;
    if (ns > 1000000 * second) { /* days: wait forever */
        pthread_cond_wait(cond, lock);
        return;
    }
    clock_gettime(CLOCK_MONOTONIC, &t);
    ns += (uint64_t)t.tv_nsec;
    t.tv_sec += (time_t)(ns / second);
    t.tv_nsec = (long)(ns % second);
    pthread_cond_timedwait(cond, lock, &t);
}

void pn_os_share_heap(void)
{
#ifdef __GLIBC__
    mallopt(M_ARENA_MAX, 1);
#endif
}

#ifdef __GLIBC__
static void *free_all(void *list)
{
    while (list) {
        void *next = *(void **)list;
        free(list);
        list = next;
    }
    return NULL;
}
#endif

/* glibc keeps up to seven freed chunks of each size below about a kilobyte per thread, each of which may hold a page,
 * and has no call to return them. So they are taken, and a thread that ends frees them. */
void pn_os_release_thread(void)
{
#ifdef __GLIBC__
    enum { SMALLEST = 24, LARGEST = 1032, STEP = 16, EACH = 7 };
    void *list = NULL;
    pthread_t thread;
    for (size_t size = SMALLEST; size <= LARGEST; size += STEP)
        for (int i = 0; i < EACH; i++) {
            void *chunk = malloc(size);
            if (chunk) {
                *(void **)chunk = list;
                list = chunk;
            }
        }
    if (pthread_create(&thread, NULL, free_all, list) == 0)
        pthread_join(thread, NULL);
    else
        free_all(list);
#endif
}

void pn_os_trim(void)
{
#ifdef __GLIBC__
    pn_os_release_thread();
    malloc_trim(0);
#endif
}

#else
typedef int pn_os_linux_is_empty; /* ISO C wants a declaration */
#endif
