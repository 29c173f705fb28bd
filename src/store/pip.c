/* Runs the ordinary `python3 -m pip download` as a child process, without a shell.
 *
 * The child's output goes to a log in the scratch folder; its last error line becomes part of ours. The child stays in
 * our process group, so that Ctrl-C reaches it too; where the system can do it, it dies with us. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/internal.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

enum { MAX_ARGS = 48, TICK_MS = 100, GRACE_TICKS = 20, MAX_LOG = 1 << 20 };

extern char **environ;

/* The child's environment: ours, with TMPDIR replaced. NULL when memory is out. */
static char **make_environment(const char *scratch)
{
    size_t n = 0;
    while (environ[n])
        n++;
    char **env = calloc(n + 2, sizeof *env);
    char *tmp = pn_layout_path("TMPDIR=%s", scratch);
    if (!env || !tmp) {
        free(env);
        free(tmp);
        return NULL;
    }
    env[0] = tmp;
    size_t out = 1;
    for (size_t i = 0; i < n; i++)
        if (strncmp(environ[i], "TMPDIR=", 7) != 0)
            env[out++] = environ[i];
    return env;
}

static void free_environment(char **env)
{
    if (env)
        free(env[0]);
    free(env);
}

/* Starts argv[0] (a path) without input and with output to `log` (NULL: none). -1 with errno set on failure. */
static pid_t start(const char *const *argv, char **env, const char *log)
{
    int in = open("/dev/null", O_RDWR | O_CLOEXEC);
    int out = log ? open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666) : in;
    pid_t parent = getpid(), pid = -1;
    if (in >= 0 && out >= 0)
        pid = fork();
    if (pid == 0) { /* only async-signal-safe calls from here on: other threads may have held locks */
#ifdef __linux__
        prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        signal(SIGPIPE, SIG_DFL);
        signal(SIGINT, SIG_DFL);
        /* if the parent is already gone, no signal comes */
        if (getppid() == parent && dup2(in, 0) == 0 && dup2(out, 1) == 1 && dup2(out, 2) == 2)
            execve(argv[0], (char *const *)(uintptr_t)argv, env);
        _exit(127);
    }
    int why = errno;
    if (out != in)
        close(out); /* or -1, which closes nothing */
    close(in);
    errno = why;
    return pid;
}

/* Short at first: some children end at once. */
static void nap(int round)
{
    long ms = round < 6 ? 1L << round : TICK_MS;
    struct timespec t = {0, ms * 1000000L};
    nanosleep(&t, NULL);
}

/* Waits for the child, calling tick; ends it when cancelled. Returns the exit status, -1 if it ended by a signal. */
static int wait_for(pid_t pid, const struct pn_pip *pip, bool *cancelled)
{
    *cancelled = false;
    for (int round = 0, grace = 0;; round++) {
        int status;
        pid_t done = waitpid(pid, &status, WNOHANG);
        if (done == pid)
            return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        if (done < 0 && errno != EINTR)
            return -1;
        if (!*cancelled && pip->cancel && pantry_cancel_is_set(pip->cancel)) {
            *cancelled = true;
            round = 0;
            kill(pid, SIGTERM);
        } else if (*cancelled && ++grace == GRACE_TICKS) {
            kill(pid, SIGKILL);
        } else if (!*cancelled && pip->tick) {
            pip->tick(pip->user);
        }
        nap(round);
    }
}

/* Does this python have pip? */
static bool has_pip(const char *python, char **env, const struct pn_pip *pip)
{
    const char *argv[] = {python, "-c", "import pip", NULL};
    pid_t pid = start(argv, env, NULL);
    bool cancelled;
    struct pn_pip quiet = {.cancel = pip->cancel};
    return pid > 0 && wait_for(pid, &quiet, &cancelled) == 0;
}

/* The first python3 on PATH that has pip: a fresh machine may have several and the first may lack it. */
static char *find_python(char **env, const struct pn_pip *pip)
{
    const char *path = getenv("PATH");
    for (const char *p = path ? path : "/usr/local/bin:/usr/bin:/bin"; *p;) {
        size_t len = strcspn(p, ":");
        char *python = len ? pn_layout_path("%.*s/python3", (int)len, p) : NULL;
        if (python && access(python, X_OK) == 0 && has_pip(python, env, pip))
            return python;
        free(python);
        p += len;
        if (*p == ':')
            p++;
    }
    return NULL;
}

/* Writes to `out` the last line of pip's log that starts with ERROR:, else the last line, shortened. `out` is "" before
 * and stays so if there is no line. */
static void last_error(char *log, char *out, size_t size)
{
    bool is_error = false;
    for (char *line = strtok(log, "\r\n"); line; line = strtok(NULL, "\r\n")) {
        bool error = strncmp(line, "ERROR: ", 7) == 0 && strcmp(line, "ERROR: Exception:") != 0;
        if (error || !is_error)
            snprintf(out, size, "%s", error ? line + 7 : line);
        is_error |= error;
    }
    for (char *c = out; *c; c++) /* it goes to a terminal */
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = ' ';
}

static bool has_any(const char *text, const char *const *words)
{
    for (; *words; words++)
        if (strstr(text, *words))
            return true;
    return false;
}

/* The cause of a failure, from pip's log: its last line is about the package, whatever the cause. */
static pantry_status explain(const char *log, const char *folder, struct pantry_error *err)
{
    static const char *const disk[] = {"No space left on device", "[Errno 28]", "Disk quota exceeded", "[Errno 122]",
                                       NULL};
    static const char *const network[] = {"NewConnectionError",
                                          "ConnectTimeoutError",
                                          "NameResolutionError",
                                          "Failed to establish a new connection",
                                          "Network is unreachable",
                                          "ProxyError",
                                          "Temporary failure in name resolution",
                                          "ReadTimeoutError",
                                          "Connection refused",
                                          NULL};
    static const char *const trust[] = {"CERTIFICATE_VERIFY_FAILED", "SSLError", NULL};
    char *text = NULL, why[300] = "";
    size_t n;
    if (pn_file_read(log, MAX_LOG, &text, &n, NULL))
        return pn_fail(err, PANTRY_IO, "the download failed (pip said nothing)");
    pantry_status status;
    bool full = has_any(text, disk), untrusted = has_any(text, trust), offline = has_any(text, network);
    last_error(text, why, sizeof why);
    if (full)
        status = pn_fail(err, PANTRY_LIMIT, "the disk is full: the download needs more room under %s", folder);
    else if (untrusted)
        status = pn_fail(err, PANTRY_IO, "the download failed: cannot verify the certificate of the package index");
    else if (offline)
        status = pn_fail(err, PANTRY_IO, "the download failed: cannot reach the package index");
    else
        status = pn_fail(err, PANTRY_IO, "the download failed (%s)", why[0] ? why : "pip said nothing");
    free(text);
    return status;
}

static pantry_status run_pip(const char *python, char **env, const char *log, const struct pn_pip *pip,
                             struct pantry_error *err)
{
    const char *argv[MAX_ARGS] = {python,
                                  "-m",
                                  "pip",
                                  "download",
                                  "--no-deps",
                                  "--no-input",
                                  "--retries",
                                  "2",
                                  "--only-binary=:all:",
                                  "--no-cache-dir",
                                  "--progress-bar",
                                  "off",
                                  "--disable-pip-version-check",
                                  "-d",
                                  pip->folder};
    size_t n = 15;
    for (size_t i = 0; pip->packages[i]; i++) {
        if (n + 1 >= MAX_ARGS)
            return pn_fail(err, PANTRY_INTERNAL, "too many packages to download");
        argv[n++] = pip->packages[i];
    }
    pid_t pid = start(argv, env, log);
    if (pid < 0)
        return pn_fail(err, PANTRY_IO, "%s: cannot start: %s", python, strerror(errno));
    bool cancelled;
    int exit_status = wait_for(pid, pip, &cancelled);
    if (exit_status == 0 && !cancelled)
        return PANTRY_OK;
    /* Ctrl-C also ends the child, possibly before us. */
    if (cancelled || (pip->cancel && pantry_cancel_is_set(pip->cancel)))
        return pn_fail(err, PANTRY_CANCELLED, "the download was stopped");
    return explain(log, pip->folder, err);
}

pantry_status pn_pip_run(const struct pn_pip *pip, struct pantry_error *err)
{
    pantry_status status;
    pn_layout_remove(pip->scratch);
    if ((status = pn_layout_make_dirs(pip->scratch, err)))
        return status;
    char **env = make_environment(pip->scratch);
    char *log = pn_layout_path("%s/pip.log", pip->scratch), *python = NULL;
    if (!env || !log) {
        status = pn_no_memory(err, "the download");
        goto done;
    }
    python = find_python(env, pip);
    if (pip->cancel && pantry_cancel_is_set(pip->cancel)) {
        status = pn_fail(err, PANTRY_CANCELLED, "the download was stopped");
    } else if (!python) {
        status = pn_fail(err, PANTRY_NOT_FOUND,
                         "downloading needs python3 with pip, and there is none on PATH (Debian: apt install "
                         "python3-pip; macOS: brew install python)");
    } else {
        status = run_pip(python, env, log, pip, err);
    }
    pn_layout_remove(pip->scratch);
done:
    free(python);
    free(log);
    free_environment(env);
    return status;
}
