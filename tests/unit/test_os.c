/* Facts about the machine, compared with the same facts from other sources, and large pages. */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/os.h"
#include "folder.h"
#include "interpose.h"
#include "sanitized.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __linux__
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

/* ---- a fake machine: wrapped calls (the program's definitions override libc's) ---- */

static const char *machine; /* folder that replaces / for files; NULL: the real files */
static bool has_files;      /* false: there are none */

FILE *fopen(const char *path, const char *mode)
{
    static FILE *(*real)(const char *, const char *);
    if (!real)
        find_next("fopen", &real);
    if (!machine || strncmp(path, machine, strlen(machine)) == 0)
        return real(path, mode);
    char there[512];
    snprintf(there, sizeof there, "%s%s", machine, path);
    return has_files ? real(there, mode) : NULL;
}

static const int *allowed_list; /* ends with -1; NULL: the real ones */
static int least_set;           /* smaller sets are rejected */

int sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set)
{
    static int (*real)(pid_t, size_t, cpu_set_t *);
    if (!real)
        find_next("sched_getaffinity", &real);
    if (!allowed_list)
        return real(pid, size, set);
    errno = EINVAL;
    if ((int)size * 8 < least_set)
        return -1;
    CPU_ZERO_S(size, set);
    for (const int *cpu = allowed_list; *cpu >= 0; cpu++)
        CPU_SET_S(*cpu, size, set);
    return 0;
}

static int n_sets; /* not yet freed */

cpu_set_t *__sched_cpualloc(size_t n)
{
    static cpu_set_t *(*real)(size_t);
    if (!real)
        find_next("__sched_cpualloc", &real);
    n_sets++;
    return real(n);
}

void __sched_cpufree(cpu_set_t *set)
{
    static void (*real)(cpu_set_t *);
    if (!real)
        find_next("__sched_cpufree", &real);
    n_sets -= set != NULL;
    real(set);
}

static long n_online, n_pages, page_bytes; /* 0: the real ones */

long sysconf(int name)
{
    static long (*real)(int);
    if (!real)
        find_next("sysconf", &real);
    long value = name == _SC_NPROCESSORS_ONLN ? n_online
                 : name == _SC_PHYS_PAGES     ? n_pages
                 : name == _SC_PAGESIZE       ? page_bytes
                                              : 0;
    return value ? value : real(name);
}

static rlim_t limit_as, limit_data; /* 0: the real ones */
static bool no_limits;

int getrlimit(__rlimit_resource_t which, struct rlimit *r)
{
    static int (*real)(__rlimit_resource_t, struct rlimit *);
    if (!real)
        find_next("getrlimit", &real);
    rlim_t fake = which == RLIMIT_AS ? limit_as : which == RLIMIT_DATA ? limit_data : 0;
    if (no_limits)
        return -1;
    if (!fake)
        return real(which, r);
    *r = (struct rlimit){fake, RLIM_INFINITY};
    return 0;
}

static struct {
    uintptr_t start;
    size_t size;
    int how, n;
} advice;

int madvise(void *start, size_t size, int how)
{
    static int (*real)(void *, size_t, int);
    if (!real)
        find_next("madvise", &real);
    advice.start = (uintptr_t)start;
    advice.size = size;
    advice.how = how;
    advice.n++;
    return real(start, size, how);
}

static bool fake_time;
static struct timespec now, deadline;
static int plain_waits, timed_waits;
static clockid_t read_clock, cond_clock;

int clock_gettime(clockid_t clock, struct timespec *t)
{
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        find_next("clock_gettime", &real);
    if (!fake_time)
        return real(clock, t);
    read_clock = clock;
    *t = now;
    return 0;
}

static pthread_condattr_t *attributes; /* in use */
static int n_conds;

int pthread_condattr_init(pthread_condattr_t *attr)
{
    static int (*real)(pthread_condattr_t *);
    if (!real)
        find_next("pthread_condattr_init", &real);
    attributes = attr;
    return real(attr);
}

int pthread_condattr_destroy(pthread_condattr_t *attr)
{
    static int (*real)(pthread_condattr_t *);
    if (!real)
        find_next("pthread_condattr_destroy", &real);
    assert_ptr_equal(attributes, attr);
    attributes = NULL;
    return real(attr);
}

int pthread_cond_init(pthread_cond_t *cond, const pthread_condattr_t *attr)
{
    static int (*real)(pthread_cond_t *, const pthread_condattr_t *);
    if (!real)
        find_next("pthread_cond_init", &real);
    assert_true(attr && attr == attributes);
    n_conds++;
    return real(cond, attr);
}

int pthread_condattr_setclock(pthread_condattr_t *attr, clockid_t clock)
{
    static int (*real)(pthread_condattr_t *, clockid_t);
    if (!real)
        find_next("pthread_condattr_setclock", &real);
    assert_true(attr == attributes && n_conds == 0);
    cond_clock = clock;
    return real(attr, clock);
}

int pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock)
{
    (void)cond, (void)lock;
    plain_waits++;
    return 0;
}

int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *lock, const struct timespec *until)
{
    (void)cond, (void)lock;
    timed_waits++;
    deadline = *until;
    return 0;
}

enum { MAX_CPUS = 1024 };

/* Counts cores by their lists of hardware threads. */
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

static void processors_are_the_allowed_ones(void **state)
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

/* The value of a line "key : value" in a file below /proc, or "". */
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

static void memory_matches_the_system(void **state)
{
    (void)state;
    char value[256];
    read_line_of("/proc/meminfo", "MemTotal", value, sizeof value);
    struct sysinfo info;
    assert_int_equal(sysinfo(&info), 0); /* may differ in containers */
    assert_true(pn_os_memory_bytes() == strtoull(value, NULL, 10) * 1024 ||
                pn_os_memory_bytes() == (uint64_t)info.totalram * info.mem_unit);
}

#if !PN_ASAN && !PN_TSAN
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

/* False in an emulator, which adds mappings of its own. */
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

/* Aligned to 2 MiB, zeroed, writable to the last byte; the slack of the alignment is unmapped, nothing leaks. */
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

#ifdef __linux__
/* ---- the fake machine ---- */

static char folder[] = "/tmp/pantry-test-os-XXXXXX";

static int open_before;

static int make_machine(void **state)
{
    (void)state;
    open_before = count_open();
    strcpy(strrchr(folder, '-'), "-XXXXXX");
    machine = mkdtemp(folder);
    n_sets = 0;
    has_files = true;
    least_set = 0;
    return machine ? 0 : -1;
}

static int remove_machine(void **state)
{
    (void)state;
    assert_int_equal(n_sets, 0);
    assert_int_equal(count_open(), open_before);
    machine = NULL;
    allowed_list = NULL;
    n_online = n_pages = page_bytes = 0;
    limit_as = limit_data = 0;
    no_limits = fake_time = false;
    char command[100];
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

static void put(const char *name, const char *text)
{
    char command[400], path[300];
    snprintf(path, sizeof path, "%s%s", folder, name);
    FILE *f = fopen(path, "w");
    if (!f) {
        snprintf(command, sizeof command, "mkdir -p $(dirname %s)", path);
        assert_int_equal(system(command), 0);
        f = fopen(path, "w");
    }
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void put_siblings(int cpu, const char *text)
{
    char name[100];
    snprintf(name, sizeof name, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
    put(name, text);
}

/* Hardware threads 0 and 4, 1 and 5, ... share a core. */
static void threads_of_a_core_count_once(void **state)
{
    (void)state;
    static const char *const lists[] = {"0,4\n", "1,5\n", "2,6\n", "3,7\n"};
    static const struct {
        int allowed[9];
        int cores, processors;
    } rows[] = {
        {{0, 1, 2, 3, 4, 5, 6, 7, -1}, 4, 8},
        {{0, 1, 2, 3, -1}, 4, 4},
        {{4, 5, 6, 7, -1}, 4, 4}, /* only the second ones */
        {{0, 4, -1}, 1, 2},
        {{4, -1}, 1, 1},
        {{0, 5, -1}, 2, 2},
        {{1, 4, 5, -1}, 2, 3},
        {{3, 4, 7, -1}, 2, 3},
        {{0, -1}, 1, 1},
    };
    for (int cpu = 0; cpu < 8; cpu++)
        put_siblings(cpu, lists[cpu % 4]);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        allowed_list = rows[i].allowed;
        if (pn_os_physical_cores() != rows[i].cores || pn_os_processors() != rows[i].processors)
            fail_msg("%zu: %d cores, %d processors", i, pn_os_physical_cores(), pn_os_processors());
    }
    /* three per core, the first not allowed; neighbours; and far apart */
    for (int cpu = 1; cpu <= 3; cpu++)
        put_siblings(cpu, "1-3\n");
    put_siblings(6, "6\n");
    allowed_list = (const int[]){2, 3, 6, -1};
    assert_int_equal(pn_os_physical_cores(), 2);
    allowed_list = (const int[]){0, 1, 2, 3, -1};
    assert_int_equal(pn_os_physical_cores(), 2);
    /* no or malformed lists: each is a core */
    put_siblings(0, "");
    put_siblings(1, "x\n");
    put_siblings(2, "-1\n");
    put_siblings(3, "9\n");
    allowed_list = (const int[]){2, -1};
    assert_int_equal(pn_os_physical_cores(), 1);
    allowed_list = (const int[]){0, 1, 2, 3, -1};
    assert_int_equal(pn_os_physical_cores(), 4);
    allowed_list = (const int[]){8, 9, 10, -1};
    assert_int_equal(pn_os_physical_cores(), 3);
}

/* Machines with more hardware threads than the usual set has room for. */
static void sets_grow(void **state)
{
    (void)state;
    allowed_list = (const int[]){0, 1, 2, -1};
    n_online = 7;
    for (least_set = CPU_SETSIZE; least_set <= 64 * CPU_SETSIZE; least_set *= 2) {
        assert_int_equal(pn_os_processors(), 3);
        assert_int_equal(pn_os_physical_cores(), 3);
    }
    /* larger sets are not tried: the online count applies */
    assert_int_equal(pn_os_processors(), 7);
    assert_int_equal(pn_os_physical_cores(), 7);
    n_online = -1;
    assert_int_equal(pn_os_processors(), 1);
    assert_int_equal(pn_os_physical_cores(), 1);
    /* the last ones count too */
    least_set = 2 * CPU_SETSIZE;
    allowed_list = (const int[]){0, CPU_SETSIZE, 2 * CPU_SETSIZE - 1, -1};
    assert_int_equal(pn_os_processors(), 3);
    assert_int_equal(pn_os_physical_cores(), 3);
}

static void groups_bound_the_processors(void **state)
{
    (void)state;
    allowed_list = (const int[]){0, 1, 2, 3, -1};
    put("/proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    put("/proc/self/cgroup", "0::/g\n");
    put("/sys/fs/cgroup/g/cpu.max", "250000 100000\n");
    assert_int_equal(pn_os_processors(), 2);
    assert_int_equal(pn_os_physical_cores(), 2);
    least_set = 1 << 30;
    n_online = 3;
    assert_int_equal(pn_os_processors(), 2);
    assert_int_equal(pn_os_physical_cores(), 2);
}

static void memory_combines_all_sources(void **state)
{
    (void)state;
    struct pn_os_memory m;
    n_pages = 1000;
    page_bytes = 4096;
    no_limits = true;
    pn_os_memory(&m); /* no files */
    assert_true(m.total == 4096000 && m.available == UINT64_MAX && m.group_limit == UINT64_MAX);
    assert_true(m.group_left == UINT64_MAX && m.addresses == UINT64_MAX);
    put("/proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    put("/proc/self/cgroup", "0::/g\n");
    put("/sys/fs/cgroup/g/memory.max", "1000\n");
    put("/sys/fs/cgroup/g/memory.current", "300\n");
    put("/proc/meminfo", "MemAvailable: 2 kB\nCommitLimit: 90 kB\nCommitted_AS: 10 kB\n");
    put("/proc/sys/vm/overcommit_memory", "2\n");
    pn_os_memory(&m);
    assert_true(m.total == 4096000 && m.available == 2048 && m.group_limit == 1000 && m.group_left == 700);
    assert_true(m.addresses == 80 * 1024);
    /* limits of the process, less its current pages */
    no_limits = false;
    put("/proc/self/statm", "10 9 8 7 6 5 0\n");
    static const struct {
        rlim_t as, data;
        uint64_t left;
    } rows[] = {
        {RLIM_INFINITY, RLIM_INFINITY, 81920},
        {40961, RLIM_INFINITY, 1},
        {40960, RLIM_INFINITY, 0},
        {4096, RLIM_INFINITY, 0},
        {RLIM_INFINITY, 20481, 1},
        {RLIM_INFINITY, 20480, 0},
        {50000, 30000, 50000 - 40960},
        {60000, 30000, 30000 - 20480},
        {122880, RLIM_INFINITY, 81920},
        {122879, RLIM_INFINITY, 81919},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        limit_as = rows[i].as;
        limit_data = rows[i].data;
        pn_os_memory(&m);
        if (m.addresses != rows[i].left)
            fail_msg("%zu: %llu", i, (unsigned long long)m.addresses);
    }
    /* without a count of pages, the whole limit is left */
    limit_as = 50000;
    limit_data = 60000;
    put("/proc/self/statm", "10 9 8 7 6\n");
    pn_os_memory(&m);
    assert_true(m.addresses == 50000);
    n_pages = -1;
    pn_os_memory(&m);
    assert_true(m.total == UINT64_MAX && pn_os_memory_bytes() == 0);
    n_pages = 10;
    page_bytes = -1;
    assert_true(pn_os_memory_bytes() == 0);
}

/* ---- calls to the system ---- */

/* Only whole pages are given back. */
static void whole_pages_are_discarded(void **state)
{
    (void)state;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *p = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(p != MAP_FAILED);
    const struct {
        size_t start, size, first, pages;
    } rows[] = {
        {0, 4 * page, 0, 4},
        {0, page, 0, 1},
        {1, 2 * page - 1, 1, 1},
        {page - 1, page + 1, 1, 1},
        {page, 2 * page + 1, 1, 2},
        {page, 2 * page - 1, 1, 1},
        {0, page - 1, 0, 0},
        {1, page, 0, 0},
        {1, 2 * page - 2, 0, 0},
        {page, 0, 0, 0},
        {5, 1, 0, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        memset(p, 1, 4 * page);
        advice.n = 0;
        pn_os_discard(p + rows[i].start, rows[i].size);
        assert_int_equal(advice.n, rows[i].pages > 0);
        if (rows[i].pages) {
            assert_true(advice.start == (uintptr_t)p + rows[i].first * page && advice.size == rows[i].pages * page);
            assert_int_equal(advice.how, MADV_DONTNEED);
        }
        for (size_t k = 0; k < 4; k++)
            assert_int_equal(p[k * page], k < rows[i].first || k >= rows[i].first + rows[i].pages);
    }
    munmap(p, 4 * page);
}

/* Large pages are requested wherever whole ones fit. */
static void large_pages_are_requested(void **state)
{
    (void)state;
    const size_t large = (size_t)2 << 20;
    const size_t sizes[] = {2 * large, 2 * large + 65536, 3 * large - 1, 3 * large};
    for (size_t i = 0; i < 4; i++) {
        void *p = pn_os_large_pages(sizes[i]);
        assert_non_null(p);
        assert_true(advice.start == (uintptr_t)p && advice.size == (sizes[i] + 65535) / 65536 * 65536 / large * large);
        assert_int_equal(advice.how, MADV_HUGEPAGE);
        pn_os_free_pages(p, sizes[i]);
    }
}

/* Deadlines use the monotonic clock; very long waits have none. */
static void waits_have_a_deadline(void **state)
{
    (void)state;
    pthread_cond_t cond;
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static const struct {
        struct timespec now;
        uint64_t ns;
        struct timespec deadline;
    } rows[] = {
        {{5, 0}, 0, {5, 0}},
        {{5, 0}, 1, {5, 1}},
        {{5, 999999999}, 1, {6, 0}},
        {{5, 999999998}, 1, {5, 999999999}},
        {{5, 500000000}, 2500000000, {8, 0}},
        {{5, 7}, 1000000000, {6, 7}},
        {{1, 0}, 1000000000000000, {1000001, 0}},
    };
    cond_clock = CLOCK_REALTIME;
    pn_os_cond_init(&cond);
    assert_int_equal(cond_clock, CLOCK_MONOTONIC);
    assert_true(n_conds == 1 && !attributes);
    fake_time = true;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        now = rows[i].now;
        plain_waits = timed_waits = 0;
        read_clock = CLOCK_REALTIME;
        pn_os_cond_wait(&cond, &lock, rows[i].ns);
        assert_true(timed_waits == 1 && plain_waits == 0 && read_clock == CLOCK_MONOTONIC);
        assert_true(deadline.tv_sec == rows[i].deadline.tv_sec && deadline.tv_nsec == rows[i].deadline.tv_nsec);
    }
    const uint64_t days[] = {1000000000000001, UINT64_MAX};
    for (size_t i = 0; i < 2; i++) {
        plain_waits = timed_waits = 0;
        pn_os_cond_wait(&cond, &lock, days[i]);
        assert_true(plain_waits == 1 && timed_waits == 0);
    }
    fake_time = false;
    pthread_cond_destroy(&cond);
}
#endif

static void basic_facts_are_known(void **state)
{
    (void)state;
    assert_true(pn_os_physical_cores() >= 1);
    assert_true(pn_os_processors() >= pn_os_physical_cores());
    assert_true(pn_os_memory_bytes() > (uint64_t)1 << 24);
    void *p = pn_os_large_pages(100000);
    assert_non_null(p);
    memset(p, 1, 100000);
    pn_os_free_pages(p, 100000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(basic_facts_are_known),
#ifdef __linux__
        cmocka_unit_test(processors_are_the_allowed_ones),
        cmocka_unit_test(memory_matches_the_system),
        cmocka_unit_test(large_pages_are_exact),
        cmocka_unit_test_setup_teardown(threads_of_a_core_count_once, make_machine, remove_machine),
        cmocka_unit_test_setup_teardown(sets_grow, make_machine, remove_machine),
        cmocka_unit_test_setup_teardown(groups_bound_the_processors, make_machine, remove_machine),
        cmocka_unit_test_setup_teardown(memory_combines_all_sources, make_machine, remove_machine),
        cmocka_unit_test(whole_pages_are_discarded),
        cmocka_unit_test(large_pages_are_requested),
        cmocka_unit_test(waits_have_a_deadline),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
