/* Linux: /proc, /sys and futexes. See os.h. */
#ifdef __linux__
#define _GNU_SOURCE 1
#include "base/os.h"

#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The first hardware thread of the core that `cpu` belongs to; `cpu` itself where /sys does not tell. */
static int first_sibling(int cpu)
{
    char path[96];
    int first = cpu;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
    FILE *f = fopen(path, "r");
    if (f) {
        if (fscanf(f, "%d", &first) != 1)
            first = cpu;
        fclose(f);
    }
    return first;
}

int pn_os_physical_cores(void)
{
    cpu_set_t allowed, cores;
    CPU_ZERO(&allowed);
    CPU_ZERO(&cores);
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) {
        long n = sysconf(_SC_NPROCESSORS_ONLN);
        return n > 0 ? (int)n : 1;
    }
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &allowed)) {
            int first = first_sibling(cpu);
            if (first >= 0 && first < CPU_SETSIZE)
                CPU_SET(first, &cores);
        }
    int n = CPU_COUNT(&cores);
    return n > 0 ? n : 1;
}

int pn_os_processors(void)
{
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    long n = sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? CPU_COUNT(&allowed) : sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
}

uint64_t pn_os_memory_bytes(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : 0;
}

void pn_os_cpu_name(char *name, size_t size)
{
    char line[256];
    name[0] = '\0';
    FILE *f = fopen("/proc/cpuinfo", "r");
    if (!f)
        return;
    while (fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (!colon || strncmp(line, "model name", 10) != 0)
            continue;
        line[strcspn(line, "\n")] = '\0';
        snprintf(name, size, "%s", colon[1] == ' ' ? colon + 2 : colon + 1);
        break;
    }
    fclose(f);
}

_Static_assert(sizeof(atomic_uint) == 4, "a futex is 32 bits wide");

void pn_os_wait(atomic_uint *word, unsigned value)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

void pn_os_wake_all(atomic_uint *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static size_t whole_pages(size_t bytes)
{
    const size_t page = (size_t)64 << 10; /* of any architecture */
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
#else
typedef int pn_os_linux_is_empty; /* ISO C wants a declaration */
#endif
