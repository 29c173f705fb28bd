/* What a process that gave up rights can still do. Each case is a child, as rights do not come back. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/sandbox.h"
#include "folder.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/mount.h>
#include <sys/prctl.h>
#endif

static char own[300], shared[300], other[300], gone[300];

static int set_up(void **state)
{
    (void)state;
    if (make_folder("pantry-sandbox"))
        return 1;
    snprintf(own, sizeof own, "%s", in_root("own"));
    snprintf(shared, sizeof shared, "%s", in_root("shared"));
    snprintf(other, sizeof other, "%s", in_root("other"));
    snprintf(gone, sizeof gone, "%s", in_root("gone"));
    if (mkdir(gone, 0777) || mkdir(own, 0777) || mkdir(shared, 0777) || mkdir(other, 0777))
        return 1;
    write_file(in_root("own/file"), "text", 0644);
    write_file(in_root("gone/file"), "text", 0644);
    write_file(in_root("shared/file"), "text", 0644);
    write_file(in_root("other/file"), "text", 0644);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return remove_folder();
}

/* 0, or why a file in a folder cannot be opened. */
static int try_open(const char *in, const char *name, int flags)
{
    char path[700];
    snprintf(path, sizeof path, "%s/%s", in, name);
    int fd = open(path, flags, 0666);
    if (fd < 0)
        return errno;
    close(fd);
    return 0;
}

static bool enter(struct pn_sandbox_held *held)
{
    const char *const read[] = {shared, "/usr", "/proc", "/missing", NULL}, *const write[] = {own, NULL};
    struct pn_sandbox s = {read, write, gone};
    return pn_sandbox_enter(&s, held, NULL) == PANTRY_OK;
}

/* Runs `fn` in a child; 0: all was as expected, else the line that was not. */
static void in_child(int (*fn)(void))
{
    int status;
    pid_t pid = fork();
    if (pid == 0)
        _exit(fn());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    if (WEXITSTATUS(status))
        fail_msg("check %d of the child failed", WEXITSTATUS(status));
}

#define EXPECT(n, condition)                                                                                           \
    if (!(condition))                                                                                                  \
    return n

static int files(void)
{
    struct pn_sandbox_held held;
    char from[700], to[700];
    EXPECT(1, enter(&held));
    if (!held.files)
        return 77;
    EXPECT(2, try_open(shared, "file", O_RDONLY) == 0);
    EXPECT(3, try_open(shared, "file", O_WRONLY) == EACCES);
    EXPECT(4, try_open(shared, "new", O_WRONLY | O_CREAT) == EACCES);
    EXPECT(5, try_open(own, "file", O_RDWR | O_TRUNC) == 0);
    EXPECT(6, try_open(own, "new", O_WRONLY | O_CREAT) == 0);
    EXPECT(7, try_open(other, "file", O_RDONLY) == EACCES);
    EXPECT(8, try_open(other, "file", O_RDWR) == EACCES);
    snprintf(from, sizeof from, "%s/sub", own);
    EXPECT(9, mkdir(from, 0777) == 0);
    snprintf(from, sizeof from, "%s/new", own);
    snprintf(to, sizeof to, "%s/sub/new", own);
    EXPECT(10, rename(from, to) == 0 && unlink(to) == 0);
    snprintf(to, sizeof to, "%s/link", own);
    snprintf(from, sizeof from, "%s/file", other);
    EXPECT(11, symlink(from, to) == 0 && try_open(own, "link", O_RDONLY) == EACCES);
    EXPECT(12, try_open("/proc/self", "status", O_RDONLY) == 0);
    snprintf(to, sizeof to, "%s/file", shared);
    EXPECT(13, unlink(to) != 0 && errno == EACCES);
    snprintf(to, sizeof to, "%s/file", gone);
    EXPECT(14, try_open(gone, "file", O_RDONLY) == EACCES && try_open(gone, "new", O_WRONLY | O_CREAT) == EACCES);
    EXPECT(15, unlink(to) == 0);
    return 0;
}

static int calls(void)
{
    struct pn_sandbox_held held;
    char *argv[] = {"true", NULL}, *env[] = {NULL};
    EXPECT(1, enter(&held));
    if (!held.calls)
        return 77;
    EXPECT(2, execve("/bin/true", argv, env) != 0 && errno == EPERM);
    pid_t pid = fork();
    if (pid == 0) {
        execve("/bin/true", argv, env);
        _exit(errno == EPERM ? 0 : 1);
    }
    int status = 1;
    EXPECT(3, waitpid(pid, &status, 0) == pid && status == 0);
#ifdef __linux__
    EXPECT(4, mount("none", own, "tmpfs", 0, NULL) != 0 && errno == EPERM);
    EXPECT(5, chroot(own) != 0 && errno == EPERM);
    EXPECT(6, prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
#endif
    EXPECT(7, getpid() > 0 && socket(AF_INET, SOCK_STREAM, 0) >= 0); /* the rest works */
    return 0;
}

static void *open_other(void *user)
{
    *(int *)user = try_open(other, "file", O_RDONLY);
    return NULL;
}

static int threads(void)
{
    struct pn_sandbox_held held;
    pthread_t thread;
    int result = -1;
    EXPECT(1, enter(&held));
    if (!held.files)
        return 77;
    EXPECT(2, pthread_create(&thread, NULL, open_other, &result) == 0);
    pthread_join(thread, NULL);
    EXPECT(3, result == EACCES);
    return 0;
}

static void test_files(void **state)
{
    (void)state;
    in_child(files);
}

static void test_calls(void **state)
{
    (void)state;
    in_child(calls);
}

static void test_threads(void **state)
{
    (void)state;
    in_child(threads);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_calls, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_threads, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
