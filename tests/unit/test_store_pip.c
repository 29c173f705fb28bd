/* Running pip: the child's arguments, environment, descriptors and signals, its last output, its end. No network: see
 * fake_pip.h. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fake_pip.h"
#include "store/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

extern char **environ;

static const char *const one_package[] = {"toy==1", NULL};

static pantry_status download(const char *const *packages, struct pantry_error *err)
{
    struct pn_pip pip = {.packages = packages, .folder = in_root("folder"), .scratch = in_root("scratch")};
    return pn_pip_download(&pip, err);
}

/* ---- the child's environment ---- */

static void arguments_are_passed_as_they_are(void **state)
{
    (void)state;
    static const char *const packages[] = {"toy==1", "b b;touch x", "$(touch y)", "'\"*", NULL};
    char folder[512], expected[2000];
    snprintf(folder, sizeof folder, "%s", in_root("fold er'$HOME\""));
    on_pip("for a in \"$@\"; do printf '%s\\n' \"$a\"; done > \"$FAKE/args\"\n");
    struct pn_pip pip = {.packages = packages, .folder = folder, .scratch = in_root("scratch")};
    assert_int_equal(pn_pip_download(&pip, NULL), PANTRY_OK);
    snprintf(
        expected, sizeof expected,
        "-m\npip\ndownload\n--no-deps\n--no-input\n--retries\n2\n--only-binary=:all:\n--no-cache-dir\n--progress-bar\n"
        "off\n--disable-pip-version-check\n-d\n%s\ntoy==1\nb b;touch x\n$(touch y)\n'\"*\n",
        folder);
    assert_string_equal(text_of("args"), expected);
    on_check("printf '%s\\n' \"$@\" > \"$FAKE/args\"\n");
    on_pip("exit 0\n");
    assert_int_equal(pn_pip_download(&pip, NULL), PANTRY_OK);
    assert_string_equal(text_of("args"), "-c\nimport pip\n");
}

static void packages_have_a_bound(void **state)
{
    (void)state;
    static const char *packages[64];
    struct pantry_error err = {0};
    on_pip("echo $# > \"$FAKE/args\"\n");
    for (int n = 32; n <= 33; n++) {
        for (int i = 0; i < n; i++)
            packages[i] = "toy==1";
        packages[n] = NULL;
        unlink(in_root("args"));
        assert_int_equal(download(packages, &err), n == 32 ? PANTRY_OK : PANTRY_INTERNAL);
        assert_string_equal(text_of("args"), n == 32 ? "46\n" : "");
    }
}

#ifdef __linux__
/* Ours, in order, with another TMPDIR. */
static void the_environment_is_ours(void **state)
{
    (void)state;
    char path[300], fake[200], wanted[1000];
    snprintf(path, sizeof path, "PATH=%s:/usr/bin:/bin", in_root("bin"));
    snprintf(fake, sizeof fake, "FAKE=%s", root);
    char *with[] = {path, (char[]){"TMPDIRS=kept"}, (char[]){"TMPDIR=gone"}, (char[]){"XTMPDIR=x"},
                    fake, (char[]){"E="},           (char[]){"LAST=1"},      NULL};
    char *without[] = {path, fake, (char[]){"LAST=1"}, NULL}, *one_more[] = {path, fake, with[1], with[6], NULL};
    char **sets[] = {with, without, one_more}, **ours = environ;
    on_pip("tr '\\000' '\\n' < /proc/$$/environ > \"$FAKE/env\"\n");
    for (size_t i = 0; i < 3; i++) {
        int n = snprintf(wanted, sizeof wanted, "TMPDIR=%s\n", in_root("scratch"));
        for (char **e = sets[i]; *e; e++)
            if (strncmp(*e, "TMPDIR=", 7) != 0)
                n += snprintf(wanted + n, sizeof wanted - (size_t)n, "%s\n", *e);
        environ = sets[i];
        pantry_status status = download(one_package, NULL);
        environ = ours;
        assert_int_equal(status, PANTRY_OK);
        assert_string_equal(text_of("env"), wanted);
    }
    /* none at all, not even a PATH */
    pantry_cancel_set(the_cancel);
    struct pn_pip pip = {.packages = one_package, .folder = root, .scratch = in_root("scratch"), .cancel = the_cancel};
    char *none[] = {NULL, NULL, NULL};
    environ = none;
    pantry_status status = pn_pip_download(&pip, NULL);
    environ = ours;
    assert_int_equal(status, PANTRY_CANCELLED);
}

static int count_lines(const char *text, const char *with)
{
    int n = 0;
    for (; (text = strstr(text, with)); text += strlen(with))
        n++;
    return n;
}

/* Descriptors that every child of this program has. */
static int count_inherited(const char *path)
{
    int n = 0;
    for (int fd = 3; fd < 1000; fd++) {
        char link[64], target[512];
        snprintf(link, sizeof link, "/dev/fd/%d", fd);
        ssize_t length = fcntl(fd, F_GETFD) == 0 ? readlink(link, target, sizeof target) : -1;
        n += length == (ssize_t)strlen(path) && memcmp(target, path, (size_t)length) == 0;
    }
    return n;
}

/* No input, output to the log or nowhere, and no other open descriptors. */
static void descriptors_are_the_childs_own(void **state)
{
    (void)state;
    static const char list[] = "fds=$(readlink /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2)\n"
                               "all=$(ls -l /proc/$$/fd)\n"
                               "echo hello || touch \"$FAKE/mute\"\n"
                               "read line && touch \"$FAKE/input\"\n"
                               "echo \"$fds\" > \"$FAKE/fds\"\n"
                               "echo \"$all\" > \"$FAKE/all\"\n";
    char wanted[1300];
    on_check(list);
    assert_int_equal(download(one_package, NULL), PANTRY_OK);
    assert_string_equal(text_of("fds"), "/dev/null\n/dev/null\n/dev/null\n");
    assert_int_equal(count_lines(text_of("all"), "/dev/null"), 3 + count_inherited("/dev/null"));
    assert_false(is_there("mute") || is_there("input"));
    unlink(in_root("check"));
    on_pip(list);
    assert_int_equal(download(one_package, NULL), PANTRY_OK);
    char *log = in_root("scratch/pip.log");
    snprintf(wanted, sizeof wanted, "/dev/null\n%s\n%s\n", log, log);
    assert_string_equal(text_of("fds"), wanted);
    assert_int_equal(count_lines(text_of("all"), "/dev/null"), 1 + count_inherited("/dev/null"));
    assert_int_equal(count_lines(text_of("all"), "scratch/pip.log"), 2);
    assert_false(is_there("mute") || is_there("input"));
}

static unsigned long long mask_of(const char *key)
{
    unsigned long long mask = 0;
    const char *at = strstr(text_of("status"), key);
    assert_non_null(at);
    assert_int_equal(sscanf(at + strlen(key), " %llx", &mask), 1);
    return mask;
}

/* No signal is blocked, and signals that interactive programs ignore are not ignored. */
static void signals_are_as_usual(void **state)
{
    (void)state;
    sigset_t some, before;
    sigemptyset(&some);
    sigaddset(&some, SIGTERM);
    sigaddset(&some, SIGUSR1);
    sigprocmask(SIG_BLOCK, &some, &before);
    void (*pipe_was)(int) = signal(SIGPIPE, SIG_IGN), (*int_was)(int) = signal(SIGINT, SIG_IGN);
    /* the shell itself reads: it may block signals while it starts others */
    on_pip("while read -r line; do echo \"$line\"; done < /proc/$$/status > \"$FAKE/status\"\n");
    pantry_status status = download(one_package, NULL);
    signal(SIGPIPE, pipe_was);
    signal(SIGINT, int_was);
    sigprocmask(SIG_SETMASK, &before, NULL);
    assert_int_equal(status, PANTRY_OK);
    assert_int_equal(mask_of("SigBlk:"), 0);
    assert_int_equal(mask_of("SigIgn:") & (1ull << (SIGPIPE - 1) | 1ull << (SIGINT - 1)), 0);
}

/* Killing us ends the child, too. */
static void the_child_dies_with_us(void **state)
{
    (void)state;
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    on_pip("echo $$ > \"$FAKE/pid.new\"; mv \"$FAKE/pid.new\" \"$FAKE/pid\"; exec sleep 5\n");
    pid_t middle = fork();
    assert_true(middle >= 0);
    if (middle == 0) {
        download(one_package, NULL);
        _exit(0);
    }
    while (!is_there("pid"))
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    int status, child = 0, ended_by = 0;
    assert_int_equal(kill(middle, SIGKILL), 0);
    assert_int_equal(sscanf(text_of("pid"), "%d", &child), 1);
    for (pid_t pid; (pid = waitpid(-1, &status, 0)) > 0;)
        if (pid == child)
            ended_by = WIFSIGNALED(status) ? WTERMSIG(status) : -1;
    prctl(PR_SET_CHILD_SUBREAPER, 0);
    assert_int_equal(ended_by, SIGKILL);
}
#endif

/* ---- which python ---- */

static void pythons_on_the_path(void **state)
{
    (void)state;
    struct pantry_error err = {0};
    char path[2000];
    static const char *const folders[] = {"plain", "folder3", "empty", "bad", "none"};
    for (size_t i = 0; i < 5; i++)
        mkdir(in_root(folders[i]), 0777);
    write_file(in_root("plain/python3"), python, 0644); /* may not be run */
    mkdir(in_root("folder3/python3"), 0777);
    write_file(in_root("empty/python3"), "", 0755); /* cannot be run */
    write_file(in_root("bad/python3"), "#!/bin/sh\necho bad >> \"$FAKE/log\"\nexit 1\n", 0755);
    on_pip("echo \"$0\" >> \"$FAKE/log\"\n");
    static const struct {
        const char *format;
        bool found;
    } rows[] = {
        {"%s/bin", true},
        {"%s/none:%s/bin", true},
        {":%s/bin", true},
        {"%s/none::%s/bin", true},
        {"%s/plain:%s/bin", true},
        {"%s/folder3:%s/bin", true},
        {"%s/empty:%s/bin", true},
        {"%s/bin:", true},
        {"%s/none", false},
        {"", false},
        {":", false},
        {"%s/plain", false},
        {"%s/empty:%s/folder3", false},
        {"%s/none:%s/bin:%s/bad", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char wanted[300];
        unlink(in_root("log"));
        snprintf(path, sizeof path, rows[i].format, root, root, root);
        setenv("PATH", path, 1);
        pantry_status status = download(one_package, &err);
        set_path(in_root("bin"));
        if (status != (rows[i].found ? PANTRY_OK : PANTRY_NOT_FOUND))
            fail_msg("%s: %d", rows[i].format, status);
        snprintf(wanted, sizeof wanted, "%s/bin/python3\n", root);
        assert_string_equal(text_of("log"), rows[i].found ? wanted : "");
        if (!rows[i].found)
            assert_non_null(strstr(err.text, "python3"));
        assert_false(is_there("scratch"));
    }
    /* one without pip is asked, and the next one is used */
    snprintf(path, sizeof path, "%s/bad:%s/bin", root, root);
    set_path(path);
    assert_int_equal(download(one_package, &err), PANTRY_OK);
    assert_non_null(strstr(text_of("log"), "bad\n"));
    /* a relative path is started as it is, without a search */
    char *old = getcwd(NULL, 0);
    assert_int_equal(chdir(root), 0);
    unlink(in_root("log"));
    set_path("bin");
    assert_int_equal(download(one_package, &err), PANTRY_OK);
    assert_string_equal(text_of("log"), "bin/python3\n");
    assert_int_equal(chdir(old), 0);
    free(old);
}

/* ---- the end of the child ---- */

/* pip prints this and fails. */
static pantry_status fail_with(const char *text, size_t n, struct pantry_error *err)
{
    FILE *f = fopen(in_root("says"), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    fclose(f);
    on_pip("cat \"$FAKE/says\"; exit 2\n");
    *err = (struct pantry_error){0};
    return download(one_package, err);
}

static void last_words_are_picked(void **state)
{
    (void)state;
    static const struct {
        const char *log, *says;
    } rows[] = {
        {"one", "(one)"},
        {"one\ntwo\n", "(two)"},
        {"one\r\ntwo\rthree\n\n", "(three)"},
        {"ERROR: first\nafter\n", "(first)"},
        {"ERROR: first\nERROR: second\nafter", "(second)"},
        {"before\nERROR: first\nERROR: Exception:\nTraceback", "(first)"},
        {"ERROR: Exception:\nTraceback\nlast", "(last)"},
        {"ERROR: Exception: more\nlast", "(Exception: more)"},
        {"ERROR:none\nlast", "(last)"},
        {" ERROR: no\nlast", "(last)"},
        {"ERROR: a\tb\x01"
         "c\x1f"
         "d\x7f"
         "e\x1b[31mf",
         "(a b c d e [31mf)"},
        {"ERROR: ~ \xc3\xa9!", "(~ \xc3\xa9!)"},
        {"ERROR: ", "pip said nothing"},
        {"", "pip said nothing"},
        {"\n\r\n", "pip said nothing"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct pantry_error err;
        assert_int_equal(fail_with(rows[i].log, strlen(rows[i].log), &err), PANTRY_IO);
        if (!strstr(err.text, rows[i].says))
            fail_msg("%zu: '%s' lacks '%s'", i, err.text, rows[i].says);
    }
    /* long lines are cut, and very long logs are not read */
    static char text[(1 << 20) + 2];
    struct pantry_error err;
    memset(text, 'y', sizeof text);
    assert_int_equal(fail_with(text, 1000, &err), PANTRY_IO);
    assert_int_equal(strspn(strchr(err.text, '(') + 1, "y"), 299);
    memcpy(text, "x\n", 2);
    assert_int_equal(fail_with(text, 1 << 20, &err), PANTRY_IO);
    assert_non_null(strstr(err.text, "yyy"));
    assert_int_equal(fail_with(text, (1 << 20) + 1, &err), PANTRY_IO);
    assert_null(strstr(err.text, "yyy"));
    on_pip("rm \"$TMPDIR/pip.log\"; exit 1\n");
    assert_int_equal(download(one_package, &err), PANTRY_IO);
    assert_non_null(strstr(err.text, "pip said nothing"));
}

static void causes_are_recognized(void **state)
{
    (void)state;
    static const char *const disk[] = {"No space left on device", "[Errno 28]", "Disk quota exceeded", "[Errno 122]"};
    static const char *const network[] = {"NewConnectionError",
                                          "ConnectTimeoutError",
                                          "NameResolutionError",
                                          "Failed to establish a new connection",
                                          "Network is unreachable",
                                          "ProxyError",
                                          "Temporary failure in name resolution",
                                          "ReadTimeoutError",
                                          "Connection refused"};
    struct pantry_error err;
    char log[300];
    for (size_t i = 0; i < 4; i++) {
        snprintf(log, sizeof log, "NewConnectionError\nx %s y\nERROR: zzz\n", disk[i]);
        assert_int_equal(fail_with(log, strlen(log), &err), PANTRY_LIMIT);
        assert_non_null(strstr(err.text, in_root("folder")));
        assert_null(strstr(err.text, "zzz"));
    }
    for (size_t i = 0; i < 9; i++) {
        snprintf(log, sizeof log, "x %s y\nERROR: zzz\n", network[i]);
        assert_int_equal(fail_with(log, strlen(log), &err), PANTRY_IO);
        assert_non_null(strstr(err.text, "package index"));
        assert_null(strstr(err.text, "zzz"));
    }
    /* a signal that ends it */
    on_pip("echo words; kill -9 $$\n");
    assert_int_equal(download(one_package, &err), PANTRY_IO);
    assert_non_null(strstr(err.text, "(words)"));
    /* each exit status but 0 is a failure, of the check too */
    on_pip("exit 1\n");
    assert_int_equal(download(one_package, &err), PANTRY_IO);
    set_path(in_root("bin"));
    setenv("PATH", in_root("bin"), 1);
    on_check("exit 255\n");
    assert_int_equal(download(one_package, &err), PANTRY_NOT_FOUND);
    on_check("kill -9 $$\n");
    assert_int_equal(download(one_package, &err), PANTRY_NOT_FOUND);
}

static void the_scratch_folder_is_ours(void **state)
{
    (void)state;
    struct pantry_error err = {0};
    assert_int_equal(pn_layout_make_dirs(in_root("scratch/old"), NULL), PANTRY_OK);
    on_pip("ls \"$TMPDIR\" > \"$FAKE/list\"; touch \"$TMPDIR/left\"; touch \"$FAKE/pip-ran\"\n");
    assert_int_equal(download(one_package, &err), PANTRY_OK);
    assert_string_equal(text_of("list"), "pip.log\n");
    assert_false(is_there("scratch"));
    on_pip("touch \"$TMPDIR/left\"; exit 3\n");
    assert_int_equal(download(one_package, &err), PANTRY_IO);
    assert_false(is_there("scratch"));
    /* the log cannot be made */
    on_check("mkdir \"$TMPDIR/pip.log\"\n");
    unlink(in_root("pip-ran"));
    assert_int_equal(download(one_package, &err), PANTRY_IO);
    assert_non_null(strstr(err.text, strerror(EISDIR)));
    assert_non_null(strstr(err.text, in_root("bin/python3")));
    assert_false(is_there("pip-ran"));
    unlink(in_root("check"));
    /* a file has the name of the folder */
    write_file(in_root("file"), "", 0644);
    struct pn_pip pip = {.packages = one_package, .folder = root, .scratch = in_root("file/scratch")};
    assert_int_equal(pn_pip_download(&pip, &err), PANTRY_IO);
    assert_true(is_there("file"));
    /* no memory for the first three texts: the environment, the log's name, the path of a python */
    for (int i = 1; i <= 3; i++) {
        assert_int_equal(pn_layout_make_dirs(in_root("scratch"), NULL), PANTRY_OK);
        setenv("PATH", in_root("bin"), 1);
        fail_at("memory", i + 1, ENOMEM); /* the first is the folder's */
        assert_int_equal(download(one_package, &err), i <= 2 ? PANTRY_NO_MEMORY : PANTRY_NOT_FOUND);
        trip_kind = NULL;
        pn_layout_remove(in_root("scratch"));
    }
    fail_at("memory", 1, ENOMEM);
    assert_int_equal(download(one_package, &err), PANTRY_NO_MEMORY);
}

/* ---- waiting and cancelling ---- */

static int ticks;

static void let_go(void *user)
{
    if (++ticks == 1)
        n_naps = 0;
    if (ticks == *(int *)user)
        open_and_close("fifo");
}

/* It polls often at first, later ten times per second, and each time before it sleeps. */
static void naps_grow(void **state)
{
    (void)state;
    static const long expected[] = {1, 2, 4, 8, 16, 32, 100, 100, 100};
    int last = 9;
    assert_int_equal(mkfifo(in_root("fifo"), 0600), 0);
    on_pip("read x < \"$FAKE/fifo\"; true\n");
    struct pn_pip pip = {.packages = one_package,
                         .folder = in_root("folder"),
                         .scratch = in_root("scratch"),
                         .tick = let_go,
                         .user = &last};
    ticks = 0;
    interrupted_waits = 3;
    assert_int_equal(pn_pip_download(&pip, NULL), PANTRY_OK);
    assert_true(ticks >= last && n_naps == ticks);
    for (int i = 0; i < 9; i++)
        assert_int_equal(naps[i], expected[i]);
    assert_int_equal(n_kills, 0);
    /* without a tick */
    pip.tick = NULL;
    on_pip("true\n");
    assert_int_equal(pn_pip_download(&pip, NULL), PANTRY_OK);
}

/* A child that was already waited for is gone. */
static void children_that_are_not_ours(void **state)
{
    (void)state;
    struct pantry_error err = {0};
    setenv("PATH", in_root("bin"), 1);
    void (*was)(int) = signal(SIGCHLD, SIG_IGN);
    pantry_status status = download(one_package, &err);
    signal(SIGCHLD, was);
    assert_int_equal(status, PANTRY_NOT_FOUND);
}

struct cancelled {
    int ticks_after;
    const char *when;
};

static void cancel_when_ready(void *user)
{
    struct cancelled *c = user;
    c->ticks_after += pantry_cancel_is_set(the_cancel);
    if (is_there(c->when)) {
        pantry_cancel_set(the_cancel);
        n_naps = 0;
    }
}

static pantry_status cancel_download(struct cancelled *c, struct pantry_error *err)
{
    struct pn_pip pip = {.packages = one_package,
                         .folder = in_root("folder"),
                         .scratch = in_root("scratch"),
                         .cancel = the_cancel,
                         .tick = cancel_when_ready,
                         .user = c};
    n_kills = 0;
    return pn_pip_download(&pip, err);
}

static void a_child_may_tidy_up(void **state)
{
    (void)state;
    struct cancelled c = {.when = "ready"};
    struct pantry_error err = {0};
    /* the signal may reach only the shell: its child must end by itself */
    on_pip("trap 'touch \"$FAKE/tidy\"; exit 0' TERM; touch \"$FAKE/ready\"; while :; do sleep 0.001; done\n");
    nap_until = in_root("tidy");
    assert_int_equal(cancel_download(&c, &err), PANTRY_CANCELLED);
    assert_true(is_there("tidy"));
    assert_true(n_kills >= 1 && kills[0].signal == SIGTERM && kills[0].pid > 1);
    assert_int_equal(c.ticks_after, 0);
    assert_false(is_there("scratch"));
}

static void a_child_that_does_not_end_is_killed(void **state)
{
    (void)state;
    struct cancelled c = {.when = "ready"};
    struct pantry_error err = {0};
    on_pip("trap '' TERM; touch \"$FAKE/ready\"; exec sleep 5\n");
    assert_int_equal(cancel_download(&c, &err), PANTRY_CANCELLED);
    assert_int_equal(n_kills, 2);
    assert_int_equal(kills[0].signal, SIGTERM);
    assert_int_equal(kills[1].signal, SIGKILL);
    assert_int_equal(kills[1].pid, kills[0].pid);
    assert_int_equal(kills[1].naps - kills[0].naps, 20);
    /* polling starts again after the cancellation */
    assert_int_equal(naps[kills[0].naps], 1);
    assert_int_equal(naps[kills[0].naps + 1], 2);
    assert_int_equal(naps[kills[0].naps + 7], 100);
    assert_int_equal(c.ticks_after, 0);
}

static void the_check_can_be_cancelled(void **state)
{
    (void)state;
    struct cancelled c = {.when = "never"};
    struct pantry_error err = {0};
    on_check("touch \"$FAKE/checking\"; exec sleep 5\n");
    on_pip("touch \"$FAKE/pip-ran\"\n");
    cancel_when = in_root("checking");
    cancel_on_nap = true;
    setenv("PATH", in_root("bin"), 1);
    on_check("PATH=/usr/bin:/bin; touch \"$FAKE/checking\"; exec sleep 5\n");
    assert_int_equal(cancel_download(&c, &err), PANTRY_CANCELLED);
    assert_true(n_kills >= 1 && kills[0].signal == SIGTERM);
    assert_false(is_there("pip-ran"));
    /* from the beginning */
    pantry_cancel_set(the_cancel);
    unlink(in_root("check"));
    assert_int_equal(cancel_download(&c, &err), PANTRY_CANCELLED);
    assert_false(is_there("pip-ran"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(arguments_are_passed_as_they_are),
        TEST(packages_have_a_bound),
#ifdef __linux__
        TEST(the_environment_is_ours),
        TEST(descriptors_are_the_childs_own),
        TEST(signals_are_as_usual),
        TEST(the_child_dies_with_us),
#endif
        TEST(pythons_on_the_path),
        TEST(last_words_are_picked),
        TEST(causes_are_recognized),
        TEST(the_scratch_folder_is_ours),
        TEST(naps_grow),
        TEST(children_that_are_not_ours),
        TEST(a_child_may_tidy_up),
        TEST(a_child_that_does_not_end_is_killed),
        TEST(the_check_can_be_cancelled),
    };
    return cmocka_run_group_tests(tests, make_cancel, free_cancel);
}
