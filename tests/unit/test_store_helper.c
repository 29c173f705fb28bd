/* The process that runs pip for a service that may start no programs. The python3 is a shell script of the test's. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/file.h"
#include "base/sandbox.h"
#include "folder.h"
#include "store/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static pantry_cancel *cancel;
static const char *package; /* of the catalog */

static int set_up(void **state)
{
    (void)state;
    size_t n;
    char path[300];
    package = pn_store_catalog(&n)[0].parts[0].package;
    if (make_folder("pantry-helper") || mkdir(in_root("bin"), 0777) || mkdir(in_root("home"), 0777) ||
        mkdir(in_root("home/models"), 0777) || mkdir(in_root("home/models/fetch"), 0777) ||
        !(cancel = pantry_cancel_new()))
        return 1;
    write_file(in_root("bin/python3"),
               "#!/bin/sh\n[ \"$1\" = -c ] && exit 0\nfor a in \"$@\"; do last=$a; done\n"
               "echo \"$last\" > \"$OUT/args\"\n[ -e \"$OUT/wait\" ] && exec sleep 600\n"
               "[ -e \"$OUT/fail\" ] && { echo 'ERROR: it broke'; exit 1; }\nexit 0\n",
               0755);
    snprintf(path, sizeof path, "%s:/usr/bin:/bin", in_root("bin"));
    setenv("PATH", path, 1);
    setenv("OUT", root, 1);
    setenv("PANTRY_HOME", in_root("home"), 1);
    return pn_store_start_helper(NULL) ? 1 : 0;
}

static int tear_down(void **state)
{
    (void)state;
    pn_store_stop_helper();
    pantry_cancel_free(cancel);
    return remove_folder();
}

/* The script has been started. */
static void stop_when_started(void *user)
{
    (void)user;
    if (file_exists(in_root("args")))
        pantry_cancel_set(cancel);
}

static pantry_status download(const char *name, const char *folder, struct pantry_error *err)
{
    const char *packages[] = {name, NULL};
    char scratch[400], into[400];
    snprintf(scratch, sizeof scratch, "%s", in_root("home/models/fetch/scratch"));
    snprintf(into, sizeof into, "%s", folder);
    struct pn_pip pip = {.packages = packages, .folder = into, .scratch = scratch, .cancel = cancel};
    pip.tick = stop_when_started;
    return pn_pip_download(&pip, err);
}

static void expect_refused(const char *name, const char *folder, const char *sentence)
{
    struct pantry_error err = {0};
    assert_int_equal(download(name, folder, &err), PANTRY_INVALID);
    assert_non_null(strstr(err.text, sentence));
    assert_false(file_exists(in_root("args")));
}

static void it_downloads_for_a_process_that_cannot(void **state)
{
    (void)state;
    int status;
    pid_t pid = fork();
    if (pid == 0) { /* the rights do not come back */
        struct pn_sandbox_held held;
        const char *const read[] = {"/usr", NULL};
        struct pn_sandbox s = {.read = read};
        pn_sandbox_enter(&s, &held, NULL);
        _exit(download(package, in_root("home/models/fetch/x"), NULL) == PANTRY_OK ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    char *text;
    size_t n;
    assert_int_equal(pn_file_read(in_root("args"), 1000, &text, &n, NULL), PANTRY_OK);
    assert_int_equal(n, strlen(package) + 1);
    assert_memory_equal(text, package, n - 1);
    free(text);
}

static void it_trusts_nobody(void **state)
{
    (void)state;
    char outside[400];
    snprintf(outside, sizeof outside, "%s/home/models/fetch/../../x", root);
    expect_refused("evil==1", in_root("home/models/fetch/x"), "packages of the catalog only");
    expect_refused("--index-url=http://evil.example", in_root("home/models/fetch/x"), "packages of the catalog only");
    expect_refused(package, in_root("elsewhere"), "into the store only");
    expect_refused(package, outside, "into the store only");
    expect_refused(package, in_root("home/models/x"), "into the store only");
}

static void failures_come_back(void **state)
{
    (void)state;
    struct pantry_error err = {0};
    write_file(in_root("fail"), "", 0644);
    pantry_status status = download(package, in_root("home/models/fetch/x"), &err);
    assert_true(status == PANTRY_IO || status == PANTRY_CANCELLED); /* the tick may have seen the script first */
    if (status == PANTRY_IO)
        assert_string_equal(err.text, "the download failed (it broke)");
    unlink(in_root("fail"));
    unlink(in_root("args"));
    pantry_cancel_clear(cancel);
    assert_int_equal(download("evil==1", in_root("home/models/fetch/x"), &err), PANTRY_INVALID); /* it goes on */
}

static void it_can_be_stopped(void **state)
{
    (void)state;
    struct pantry_error err = {0};
    write_file(in_root("wait"), "", 0644);
    assert_int_equal(download(package, in_root("home/models/fetch/x"), &err), PANTRY_CANCELLED);
    pantry_cancel_clear(cancel);
    unlink(in_root("wait"));
    unlink(in_root("args"));
    expect_refused("evil==1", in_root("home/models/fetch/x"), "packages of the catalog only"); /* and it goes on */
}

static void it_ends_with_the_service(void **state)
{
    (void)state;
    pn_store_stop_helper(); /* waits for its end */
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_downloads_for_a_process_that_cannot, set_up, tear_down),
        cmocka_unit_test_setup_teardown(it_trusts_nobody, set_up, tear_down),
        cmocka_unit_test_setup_teardown(failures_come_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(it_can_be_stopped, set_up, tear_down),
        cmocka_unit_test_setup_teardown(it_ends_with_the_service, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
