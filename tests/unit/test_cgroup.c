/* Limits of control groups, in fixtures of version 1, version 2 and containers, and the affinity of this thread. */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef __linux__
#include <sched.h>
#endif

#include "base/cgroup.h"
#include "base/os.h"
#include "folder.h"

#define MIB ((uint64_t)1 << 20)
#define V2_MOUNT                                                                                                       \
    "21 1 8:1 / / rw - ext4 /dev/root rw\n30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n"
#define V1_MOUNTS                                                                                                      \
    "29 23 0:25 / /sys/fs/cgroup/cpu,cpuacct rw shared:8 - cgroup cgroup rw,cpu,cpuacct\n"                             \
    "30 23 0:26 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n"

/* Writes a file of the fixture and its folders. */
static void put(const char *name, const char *text)
{
    char path[512];
    int n = snprintf(path, sizeof path, "%s/%s", root, name);
    assert_true(n > 0 && (size_t)n < sizeof path);
    for (char *p = path + strlen(root) + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        assert_true(mkdir(path, 0777) == 0 || errno == EEXIST);
        *p = '/';
    }
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int make_root(void **state)
{
    (void)state;
    return make_folder("cgroup");
}

static int remove_root(void **state)
{
    (void)state;
    return remove_folder();
}

static struct pn_cgroup read_fixture(void)
{
    struct pn_cgroup g;
    pn_cgroup_read(root, &g);
    return g;
}

static void nothing_to_read_is_no_limit(void **state)
{
    (void)state;
    struct pn_cgroup g = read_fixture();
    assert_true(g.memory_limit == UINT64_MAX && g.memory_left == UINT64_MAX && g.n_cpus == 0);
    put("proc/self/mountinfo", V2_MOUNT V1_MOUNTS); /* but no groups */
    g = read_fixture();
    assert_true(g.memory_limit == UINT64_MAX && g.memory_left == UINT64_MAX && g.n_cpus == 0);
    put("proc/self/mountinfo", V2_MOUNT V1_MOUNTS "broken\n\n1 2 3 - cgroup2\n");
    put("proc/self/cgroup", "nonsense\n:\n4\n0::/gone\n");
    g = read_fixture();
    assert_true(g.memory_limit == UINT64_MAX && g.memory_left == UINT64_MAX && g.n_cpus == 0);
    put("sys/fs/cgroup/gone/memory.max", "max\n");
    put("sys/fs/cgroup/gone/memory.current", "500\n");
    put("sys/fs/cgroup/gone/cpu.max", "max 100000\n");
    g = read_fixture();
    assert_true(g.memory_limit == UINT64_MAX && g.memory_left == UINT64_MAX && g.n_cpus == 0);
}

/* memory.high below memory.max, and cached files that do not count as used. */
static void version_2(void **state)
{
    (void)state;
    put("proc/self/mountinfo", V2_MOUNT);
    put("proc/self/cgroup", "0::/user/pantry\n");
    put("sys/fs/cgroup/user/pantry/memory.max", "1073741824\n");
    put("sys/fs/cgroup/user/pantry/memory.high", "max\n");
    put("sys/fs/cgroup/user/pantry/memory.current", "629145600\n"); /* 600 MiB */
    put("sys/fs/cgroup/user/pantry/memory.stat",
        "anon 1000\nfile 419430400\ninactive_file 209715200\nactive_file 104857600\nslab 7\n");
    put("sys/fs/cgroup/user/pantry/cpu.max", "250000 100000\n");
    struct pn_cgroup g = read_fixture();
    assert_true(g.memory_limit == 1024 * MIB);
    assert_true(g.memory_left == (1024 - 600 + 300) * MIB);
    assert_true(g.n_cpus == 2.5);
    put("sys/fs/cgroup/user/pantry/memory.high", "838860800\n"); /* 800 MiB */
    g = read_fixture();
    assert_true(g.memory_limit == 800 * MIB && g.memory_left == (800 - 600 + 300) * MIB);
    put("sys/fs/cgroup/user/pantry/memory.current", "2147483648\n"); /* more than allowed: nothing is left */
    assert_true(read_fixture().memory_left == 0);
}

/* Limits of ancestors apply too: here the parent's memory and the grandparent's processors are the smallest. */
static void the_smallest_limit_of_all_ancestors_counts(void **state)
{
    (void)state;
    put("proc/self/mountinfo", V2_MOUNT);
    put("proc/self/cgroup", "0::/a/b/c\n");
    put("sys/fs/cgroup/a/cpu.max", "150000 100000\n");
    put("sys/fs/cgroup/a/memory.max", "4294967296\n");
    put("sys/fs/cgroup/a/b/memory.max", "1073741824\n");
    put("sys/fs/cgroup/a/b/memory.current", "1048576\n");
    put("sys/fs/cgroup/a/b/c/memory.max", "2147483648\n");
    put("sys/fs/cgroup/a/b/c/memory.current", "1048576\n");
    put("sys/fs/cgroup/a/b/c/cpu.max", "400000 100000\n");
    struct pn_cgroup g = read_fixture();
    assert_true(g.memory_limit == 1024 * MIB && g.memory_left == 1023 * MIB && g.n_cpus == 1.5);
    /* Others use much below the grandparent: it has the least left although it allows the most. */
    put("sys/fs/cgroup/a/memory.current", "4294967296\n");
    g = read_fixture();
    assert_true(g.memory_limit == 1024 * MIB && g.memory_left == 0);
    put("sys/fs/cgroup/memory.max", "1048576\n"); /* a limit of the root, if it had one */
    assert_true(read_fixture().memory_limit == MIB);
}

static void version_1(void **state)
{
    (void)state;
    put("proc/self/mountinfo", V1_MOUNTS);
    put("proc/self/cgroup", "5:cpu,cpuacct:/jobs/one\n4:memory:/jobs\n1:name=systemd:/x\n0::/\n");
    put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"); /* what "none" looks like */
    put("sys/fs/cgroup/memory/memory.usage_in_bytes", "104857600\n");
    put("sys/fs/cgroup/memory/jobs/memory.limit_in_bytes", "536870912\n");
    put("sys/fs/cgroup/memory/jobs/memory.usage_in_bytes", "314572800\n");
    put("sys/fs/cgroup/memory/jobs/memory.stat",
        "inactive_file 1\nactive_file 1\ntotal_inactive_file 52428800\ntotal_active_file 104857600\n");
    put("sys/fs/cgroup/cpu,cpuacct/jobs/cpu.cfs_quota_us", "400000\n");
    put("sys/fs/cgroup/cpu,cpuacct/jobs/cpu.cfs_period_us", "100000\n");
    put("sys/fs/cgroup/cpu,cpuacct/jobs/one/cpu.cfs_quota_us", "-1\n");
    put("sys/fs/cgroup/cpu,cpuacct/jobs/one/cpu.cfs_period_us", "100000\n");
    struct pn_cgroup g = read_fixture();
    assert_true(g.memory_limit == 512 * MIB && g.memory_left == (512 - 300 + 150) * MIB);
    assert_true(g.n_cpus == 4);
}

/* Version 1 in a container: the process sees its group as the root of the mount, but with its path in the host's tree.
 * With a cgroup namespace the path may be outside the tree. */
static void containers(void **state)
{
    (void)state;
    put("proc/self/mountinfo", "30 23 0:26 /docker/1f2e /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
    put("proc/self/cgroup", "4:memory:/docker/1f2e/inner\n");
    put("sys/fs/cgroup/memory/memory.limit_in_bytes", "268435456\n");
    put("sys/fs/cgroup/memory/inner/memory.limit_in_bytes", "134217728\n");
    assert_true(read_fixture().memory_limit == 128 * MIB);
    put("proc/self/cgroup", "4:memory:/docker/1f2e\n");
    assert_true(read_fixture().memory_limit == 256 * MIB);
    put("proc/self/cgroup", "4:memory:/docker/1f2e3d\n"); /* another group whose name begins the same way */
    assert_true(read_fixture().memory_limit == 256 * MIB);
    put("proc/self/mountinfo", V2_MOUNT);
    put("proc/self/cgroup", "0::/../other\n");
    put("sys/fs/cgroup/memory.max", "67108864\n");
    put("sys/fs/other/memory.max", "1\n");
    assert_true(read_fixture().memory_limit == 64 * MIB);
}

/* Incomplete and malformed files. */
static void odd_files(void **state)
{
    (void)state;
    put("proc/self/mountinfo", V2_MOUNT);
    put("proc/self/cgroup", "0::/g\n");
    static const struct {
        const char *cpu_max;
        double n_cpus;
    } cpus[] = {{"150000 100000\n", 1.5},
                {"3 1\n", 3},
                {"150000\n", 0},
                {"150000 0\n", 0},
                {"150000 -1\n", 0},
                {"", 0},
                {"max\n", 0},
                {"max 100000\n", 0},
                {"0 100000\n", 0},
                {"-1 100000\n", 0},
                {"50000 100000", 0.5}};
    for (size_t i = 0; i < sizeof cpus / sizeof *cpus; i++) {
        put("sys/fs/cgroup/g/cpu.max", cpus[i].cpu_max);
        assert_true(read_fixture().n_cpus == cpus[i].n_cpus);
    }
    static const struct {
        const char *max, *current, *stat;
        uint64_t limit, left;
    } memory[] = {
        {"1000", "100", "", 1000, 900},
        {"1000\n", "", "", 1000, 1000},
        {"1000\n", "max\n", "", 1000, 1000},
        {"1000\n", "1000\n", "", 1000, 0},
        {"1000\n", "999\n", "", 1000, 1},
        {"1000\n", "500\n", "inactive_file 500\n", 1000, 1000},
        {"1000\n", "500\n", "inactive_file 501\n", 1000, 1000},
        {"1000\n", "500\n", "inactive_file 200\nactive_file 100\ntotal_active_file 50\n", 1000, 800},
        {"1000\n", "500\n", "broken\ninactive_file 200\n", 1000, 500},
        {"0\n", "500\n", "", 0, 0},
        {"9\n", "0\n", "", 9, 9},
        {"12x\n", "1\n", "", UINT64_MAX, UINT64_MAX},
        {"/5\n", "1\n", "", UINT64_MAX, UINT64_MAX},
        {":5\n", "1\n", "", UINT64_MAX, UINT64_MAX},
        {"-5\n", "1\n", "", UINT64_MAX, UINT64_MAX},
        {"18446744073709551615\n", "1\n", "", UINT64_MAX, UINT64_MAX - 1},
    };
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++) {
        put("sys/fs/cgroup/g/memory.max", memory[i].max);
        put("sys/fs/cgroup/g/memory.current", memory[i].current);
        put("sys/fs/cgroup/g/memory.stat", memory[i].stat);
        struct pn_cgroup g = read_fixture();
        if (g.memory_limit != memory[i].limit || g.memory_left != memory[i].left)
            fail_msg("%zu: %llu, %llu", i, (unsigned long long)g.memory_limit, (unsigned long long)g.memory_left);
    }
}

/* A resource matches a whole word of a list, in mounts and in groups. */
static void resources_match_whole_words(void **state)
{
    (void)state;
    static const struct {
        const char *options, *groups;
        bool memory;
    } rows[] = {
        {"rw,memory", "4:memory:/g\n", true},
        {"memory", "4:memory:/g\n", true},
        {"memory,rw", "4:memory:/g\n", true},
        {"rw,xmemory,memory", "4:memory:/g\n", true},
        {"memoryx,memory", "4:memory:/g\n", true},
        {"rw,memoryx", "4:memory:/g\n", false},
        {"rw,xmemory", "4:memory:/g\n", false},
        {"rw", "4:memory:/g\n", false},
        {"rw,memory", "4:cpu,memory:/g\n", true},
        {"rw,memory", "4:memory,cpu:/g\n", true},
        {"rw,memory", "4:memories:/g\n", false},
        {"rw,memory", "4:cpu:/g\n5:memory:/g", true},
        {"rw,memory", "4:cpu:/x\n", false},
        {"rw,memory", "0::/g\n", false},
        {"rw,memory", "memory:/g\n", false},
        {"rw,memory", "4:memory:/g\n5:memory:/none\n", true}, /* the first one */
    };
    put("sys/fs/cgroup/g/memory.limit_in_bytes", "1000\n");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char mounts[200];
        snprintf(mounts, sizeof mounts, "30 23 0:26 / /sys/fs/cgroup rw - cgroup cgroup %s\n", rows[i].options);
        put("proc/self/mountinfo", mounts);
        put("proc/self/cgroup", rows[i].groups);
        if (read_fixture().memory_limit != (rows[i].memory ? 1000 : UINT64_MAX))
            fail_msg("%zu: %s", i, rows[i].options);
    }
    /* other kinds of mounts do not count */
    put("proc/self/cgroup", "4:memory:/g\n0::/g\n");
    put("sys/fs/cgroup/g/memory.max", "2000\n");
    static const char *const kinds[] = {"ext4 x rw,memory", "cgroup3 x rw,memory", "cgrou x rw,memory", "cgroup"};
    for (size_t i = 0; i < 4; i++) {
        char mounts[200];
        snprintf(mounts, sizeof mounts, "30 23 0:26 / /sys/fs/cgroup rw - %s\n", kinds[i]);
        put("proc/self/mountinfo", mounts);
        assert_true(read_fixture().memory_limit == UINT64_MAX);
    }
    /* version 2 names no resources; version 1 has the period of processors in a file */
    put("proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 x rw\n");
    assert_true(read_fixture().memory_limit == 2000);
    put("proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw - cgroup x rw,cpu\n");
    put("proc/self/cgroup", "4:cpu:/g\n");
    put("sys/fs/cgroup/g/cpu.cfs_quota_us", "300000\n");
    assert_true(read_fixture().n_cpus == 0 && read_fixture().memory_limit == UINT64_MAX);
    put("sys/fs/cgroup/g/cpu.cfs_period_us", "100000\n");
    assert_true(read_fixture().n_cpus == 3);
    put("sys/fs/cgroup/g/cpu.cfs_period_us", "0\n");
    assert_true(read_fixture().n_cpus == 0);
}

/* Groups above the mounted one are not read; all those below it are. */
static void groups_above_the_mount_are_ignored(void **state)
{
    (void)state;
    put("proc/self/mountinfo", "30 23 0:26 /top /sys/fs/cgroup rw - cgroup2 x rw\n");
    put("sys/fs/memory.max", "1\n");
    put("sys/memory.max", "1\n");
    static const struct {
        const char *group, *limited;
    } rows[] = {
        {"0::/top/a/b\n", "sys/fs/cgroup/a/b/memory.max"}, {"0::/top/a/b\n", "sys/fs/cgroup/a/memory.max"},
        {"0::/top/a/b\n", "sys/fs/cgroup/memory.max"},     {"0::/top\n", "sys/fs/cgroup/memory.max"},
        {"0::/elsewhere/a\n", "sys/fs/cgroup/memory.max"}, {"0::/topmost\n", "sys/fs/cgroup/memory.max"},
        {"0::/top/../x\n", "sys/fs/cgroup/memory.max"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        put("proc/self/cgroup", rows[i].group);
        put("sys/fs/cgroup/a/b/memory.max", "max\n");
        put("sys/fs/cgroup/a/memory.max", "max\n");
        put("sys/fs/cgroup/memory.max", "max\n");
        assert_true(read_fixture().memory_limit == UINT64_MAX);
        put(rows[i].limited, "4096\n");
        assert_true(read_fixture().memory_limit == 4096);
    }
    /* "..name" is a name */
    put("sys/fs/cgroup/memory.max", "max\n");
    put("proc/self/cgroup", "0::/top/a.../b\n");
    put("sys/fs/cgroup/a.../b/memory.max", "77\n");
    assert_true(read_fixture().memory_limit == 77);
}

static void meminfo(void **state)
{
    (void)state;
    struct pn_meminfo m;
    pn_meminfo_read(root, &m);
    assert_true(m.available == UINT64_MAX && m.commit_left == UINT64_MAX);
    put("proc/meminfo", "MemTotal:        2048 kB\nMemFree: 1 kB\nMemAvailable:    1024 kB\nnonsense\n"
                        "CommitLimit:     3072 kB\nCommitted_AS:    1024 kB\nHugePages_Total:       0\n");
    pn_meminfo_read(root, &m);
    assert_true(m.available == MIB && m.commit_left == UINT64_MAX);
    put("proc/sys/vm/overcommit_memory", "2\n");
    pn_meminfo_read(root, &m);
    assert_true(m.commit_left == 2 * MIB);
    static const struct {
        const char *text;
        uint64_t available, left;
    } rows[] = {
        {"CommitLimit: 1024 kB\nCommitted_AS: 1024 kB\n", UINT64_MAX, 0},
        {"CommitLimit: 1024 kB\nCommitted_AS: 1023 kB\n", UINT64_MAX, 1024},
        {"CommitLimit: 1024 kB\nCommitted_AS: 9999 kB\n", UINT64_MAX, 0},
        {"CommitLimit: 1024 kB\n", UINT64_MAX, MIB},
        {"Committed_AS: 1024 kB\n", UINT64_MAX, UINT64_MAX},
        {"MemAvailable: 0 kB\n", 0, UINT64_MAX},
        {"CommitLimit: 9 kB\nCommitted_AS: 2 kB\nMemAvailable: 4 kB\nBuffers: 8 kB\nCommittee: 6 kB\nMapped: 5 kB\nZ: "
         "1 kB\n",
         4096, 7168},
        {"MemAvailable: 18014398509481983 kB\n", UINT64_MAX - 1023, UINT64_MAX},
        {"MemAvailable: 18014398509481984 kB\nCommitLimit: 1 kB\n", UINT64_MAX, 1024}, /* too large: ignored */
        {"xMemAvailable: 5 kB\nMemAvailable 5 kB\nMemAvailable: x\nMemAvailable: 3 kB\n", 3072, UINT64_MAX},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        put("proc/meminfo", rows[i].text);
        pn_meminfo_read(root, &m);
        if (m.available != rows[i].available || m.commit_left != rows[i].left)
            fail_msg("%zu: %llu, %llu", i, (unsigned long long)m.available, (unsigned long long)m.commit_left);
    }
    put("proc/meminfo", "CommitLimit: 3072 kB\nCommitted_AS: 1024 kB\n");
    put("proc/sys/vm/overcommit_memory", "1\n");
    pn_meminfo_read(root, &m);
    assert_true(m.commit_left == UINT64_MAX);
    put("proc/sys/vm/overcommit_memory", "0\n");
    pn_meminfo_read(root, &m);
    assert_true(m.commit_left == UINT64_MAX);
}

static void whole_processors_count(void **state)
{
    (void)state;
    static const struct {
        double n_cpus;
        int n, expected;
    } cases[] = {{0, 8, 8},    {2.5, 8, 2}, {0.5, 8, 1},  {8, 8, 8}, {16, 8, 8}, {1, 1, 1},  {0, 0, 1},
                 {7.99, 8, 7}, {8.5, 8, 8}, {1.99, 3, 1}, {1, 8, 1}, {2, 8, 2},  {0, -1, 1}, {3, 2, 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pn_cgroup g = {.n_cpus = cases[i].n_cpus};
        assert_int_equal(pn_cgroup_threads(&g, cases[i].n), cases[i].expected);
    }
}

static void affinity_bounds_threads(void **state)
{
    (void)state;
#ifdef __linux__
    cpu_set_t all, one;
    if (sched_getaffinity(0, sizeof all, &all) != 0 || CPU_COUNT(&all) < 2)
        skip();
    int last = CPU_SETSIZE - 1;
    while (!CPU_ISSET(last, &all))
        last--;
    CPU_ZERO(&one);
    CPU_SET(last, &one); /* often the second hardware thread of a core without its first */
    assert_true(pn_os_physical_cores() <= pn_os_processors());
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    int cores = pn_os_physical_cores(), processors = pn_os_processors();
    assert_int_equal(sched_setaffinity(0, sizeof all, &all), 0);
    assert_int_equal(cores, 1);
    assert_int_equal(processors, 1);
#else
    skip();
#endif
}

#define IN_A_TREE(test) cmocka_unit_test_setup_teardown(test, make_root, remove_root)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_A_TREE(nothing_to_read_is_no_limit),
        IN_A_TREE(version_2),
        IN_A_TREE(the_smallest_limit_of_all_ancestors_counts),
        IN_A_TREE(version_1),
        IN_A_TREE(containers),
        IN_A_TREE(odd_files),
        IN_A_TREE(resources_match_whole_words),
        IN_A_TREE(groups_above_the_mount_are_ignored),
        IN_A_TREE(meminfo),
        cmocka_unit_test(whole_processors_count),
        cmocka_unit_test(affinity_bounds_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
