/* What the operating system says of the machine, compared with the same facts read another way, and its large pages. */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/os.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __linux__
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

enum { MAX_CPUS = 1024 };

/* Cores are told apart by the lists of their hardware threads. */
static int count_cores(const cpu_set_t *allowed)
{
    static char lists[MAX_CPUS][64];
    int n = 0;
    for (int cpu = 0; cpu < MAX_CPUS && cpu < CPU_SETSIZE; cpu++) {
        char path[128], list[64] = "";
        if (!CPU_ISSET(cpu, allowed))
            continue;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
        FILE *f = fopen(path, "r");
        if (!f || !fgets(list, sizeof list, f))
            snprintf(list, sizeof list, "only %d", cpu);
        if (f)
            fclose(f);
        int k = 0;
        while (k < n && strcmp(lists[k], list) != 0)
            k++;
        if (k == n)
            memcpy(lists[n++], list, sizeof list);
    }
    return n;
}

static void processors_are_those_allowed(void **state)
{
    (void)state;
    cpu_set_t allowed;
    assert_int_equal(sched_getaffinity(0, sizeof allowed, &allowed), 0);
    assert_int_equal(pn_os_processors(), CPU_COUNT(&allowed));
    assert_int_equal(pn_os_physical_cores(), count_cores(&allowed));
    /* Each alone. */
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        if (!CPU_ISSET(cpu, &allowed) || sched_setaffinity(0, sizeof one, &one) != 0)
            continue;
        assert_int_equal(pn_os_processors(), 1);
        assert_int_equal(pn_os_physical_cores(), 1);
    }
    assert_int_equal(sched_setaffinity(0, sizeof allowed, &allowed), 0);
}

/* The value of a line "key : value" of a file below /proc, or "". */
static void read_line_of(const char *path, const char *key, char *value, size_t size)
{
    char line[512];
    FILE *f = fopen(path, "r");
    value[0] = '\0';
    while (f && !value[0] && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (colon && strncmp(line, key, strlen(key)) == 0)
            snprintf(value, size, "%s", colon + 1 + strspn(colon + 1, " \t"));
    }
    if (f)
        fclose(f);
    value[strcspn(value, "\n")] = '\0';
}

static void memory_and_name_are_the_systems(void **state)
{
    (void)state;
    char value[256], name[256];
    read_line_of("/proc/meminfo", "MemTotal", value, sizeof value);
    struct sysinfo info;
    assert_int_equal(sysinfo(&info), 0); /* in containers the two may differ */
    assert_true(pn_os_memory_bytes() == strtoull(value, NULL, 10) * 1024 ||
                pn_os_memory_bytes() == (uint64_t)info.totalram * info.mem_unit);
    read_line_of("/proc/cpuinfo", "model name", value, sizeof value);
    pn_os_cpu_name(name, sizeof name);
    assert_string_equal(name, value);
    memset(name, 'x', sizeof name);
    pn_os_cpu_name(name, 4);
    value[3] = '\0';
    assert_string_equal(name, value);
    assert_int_equal(name[4], 'x');
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
/* Bytes of addresses in use, read without allocating. */
static size_t addresses(void)
{
    char text[128];
    int fd = open("/proc/self/statm", O_RDONLY);
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    assert_true(n > 0);
    text[n] = '\0';
    return (size_t)strtoull(text, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE);
}

/* Whether these bytes are the program's own: an emulator has others in between. */
static bool counts_addresses(void)
{
    size_t before = addresses(), n = (size_t)4 << 20;
    void *p = mmap(NULL, n, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bool grows = addresses() - before == n;
    munmap(p, n);
    return grows && addresses() == before;
}
#else
static size_t addresses(void)
{
    return 0;
}

static bool counts_addresses(void)
{
    return false;
}
#endif

/* Aligned to 2 MiB, zeroed, writable to the last byte; nothing of the alignment's slack stays, nothing leaks. */
static void large_pages_are_exact(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 65535, 65536, 65537, 2097151, 2097152, 2097153, 6000000};
    bool counts = counts_addresses();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t n = sizes[i], whole = (n + 65535) / 65536 * 65536;
        size_t before = addresses();
        unsigned char *p = pn_os_large_pages(n);
        assert_non_null(p);
        assert_true(!counts || addresses() - before == whole);
        assert_int_equal((uintptr_t)p % 2097152, 0);
        assert_int_equal(p[0] | p[n / 2] | p[n - 1], 0);
        p[0] = p[n - 1] = 1;
        pn_os_free_pages(p, n);
        assert_true(!counts || addresses() == before);
        assert_int_equal(msync(p, 4096, MS_ASYNC), -1); /* gone */
        assert_int_equal(msync(p + whole - 65536, 4096, MS_ASYNC), -1);
    }
    assert_null(pn_os_large_pages((size_t)1 << 62));
}
#endif

static void something_is_known(void **state)
{
    (void)state;
    char name[64] = "x";
    assert_true(pn_os_physical_cores() >= 1);
    assert_true(pn_os_processors() >= pn_os_physical_cores());
    assert_true(pn_os_memory_bytes() > (uint64_t)1 << 24);
    pn_os_cpu_name(name, sizeof name);
    assert_true(strlen(name) < sizeof name);
    void *p = pn_os_large_pages(100000);
    assert_non_null(p);
    memset(p, 1, 100000);
    pn_os_free_pages(p, 100000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(something_is_known),
#ifdef __linux__
        cmocka_unit_test(processors_are_those_allowed),
        cmocka_unit_test(memory_and_name_are_the_systems),
        cmocka_unit_test(large_pages_are_exact),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
