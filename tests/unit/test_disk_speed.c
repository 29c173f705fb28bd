/* Space and speed of a disk. */
#define _XOPEN_SOURCE 700
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/os.h"
#include "folder.h"
#include "monitor/disk.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void measures_and_leaves_nothing(void **state)
{
    (void)state;
    const char *folder = root;
    struct pn_disk disk, space;
    struct pantry_error err;
    assert_int_equal(make_folder("disk"), 0);
    assert_int_equal(pn_disk_space(folder, &space, &err), PANTRY_OK);
    assert_true(space.total > 0 && space.free <= space.total && space.read_rate == 0);
    if (pn_disk_measure(folder, 4 << 20, &disk, &err))
        fail_msg("%s", err.text);
    assert_true(disk.read_rate > 1e5 && disk.read_rate < 1e12);
    DIR *dir = opendir(folder);
    int n = 0;
    while (readdir(dir))
        n++;
    closedir(dir);
    assert_int_equal(n, 2); /* . and .. */
    /* more than there is room for */
    assert_int_equal(pn_disk_measure(folder, space.total, &disk, &err), PANTRY_LIMIT);
    assert_true(disk.read_rate == 0 && disk.total == space.total);
    assert_int_equal(remove_folder(), 0);
}

static void folders_that_cannot_be_used(void **state)
{
    (void)state;
    struct pn_disk disk;
    struct pantry_error err;
    assert_int_equal(pn_disk_space("/nowhere/at/all", &disk, &err), PANTRY_IO);
    assert_non_null(strstr(err.text, "/nowhere/at/all"));
    assert_true(disk.free == UINT64_MAX);
    assert_int_equal(pn_disk_measure("/nowhere/at/all", 1 << 20, &disk, &err), PANTRY_IO);
    if (access("/proc", W_OK) == 0 || access("/proc/self", R_OK) == 0)
        assert_int_not_equal(pn_disk_measure("/proc", 1 << 20, &disk, &err), PANTRY_OK);
}

/* A setting of macOS; elsewhere there is none. */
static void the_limit_of_wired_memory(void **state)
{
    (void)state;
    uint64_t limit = pn_os_wired_limit();
    assert_true(limit == 0 || limit <= pn_os_memory_bytes());
#ifdef __linux__
    assert_true(limit == 0);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(measures_and_leaves_nothing),
        cmocka_unit_test(folders_that_cannot_be_used),
        cmocka_unit_test(the_limit_of_wired_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
