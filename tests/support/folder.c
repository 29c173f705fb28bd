/* See folder.h. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "folder.h"
#include "store/internal.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

char root[160];
static int open_before;

int count_open(void)
{
    int n = 0;
    DIR *dir = opendir("/dev/fd");
    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n;
}

int make_folder(const char *name)
{
    const char *base = getenv("TMPDIR");
    open_before = count_open();
    setenv("PANTRY_FOREIGN", "0", 1); /* this machine's models are not the test's */
    unsetenv("PANTRY_MODELS");
    snprintf(root, sizeof root, "%s/pantry-test-%s.XXXXXX", base && *base ? base : "/tmp", name);
    return mkdtemp(root) ? 0 : -1;
}

int remove_folder(void)
{
    pn_layout_remove(root);
    assert_int_equal(count_open(), open_before);
    return 0;
}

char *in_root(const char *tail)
{
    static char buffers[32][512];
    static int next;
    char *b = buffers[next++ % 32];
    snprintf(b, sizeof buffers[0], "%s/%s", root, tail);
    return b;
}

void write_file(const char *path, const char *text, int mode)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(chmod(path, (mode_t)mode), 0);
}

bool file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}
