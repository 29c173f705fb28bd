/* A service in a child process: see background.h. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "cli/background.h"

#include "base/status.h"
#include "server/server.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KEEP_ALIVE_SECONDS = 3600 /* an agent's user may think for a while */ };

/* ---- the child ---- */

struct child {
    int report;   /* takes the URL, or "!" and an error */
    int lifeline; /* ends when the parent ends */
    pantry_cancel *stop;
};

static void write_all(int fd, const char *text)
{
    size_t n = strlen(text);
    while (n) {
        ssize_t did = write(fd, text, n);
        if (did < 0 && errno == EINTR)
            continue;
        if (did <= 0)
            return;
        text += did;
        n -= (size_t)did;
    }
}

static void report_url(void *user, const char *url)
{
    struct child *child = user;
    write_all(child->report, url);
    close(child->report);
    child->report = -1;
}

static void *watch_parent(void *user)
{
    struct child *child = user;
    char byte;
    while (read(child->lifeline, &byte, 1) < 0 && errno == EINTR)
        ;
    pantry_cancel_set(child->stop);
    return NULL;
}

/* The service in its own process group, so that the terminal's signals do not reach it. */
static void serve(struct child *child, const char *keys)
{
    struct pantry_error err = {0};
    pthread_t watcher;
    int nothing = open("/dev/null", O_RDWR);
    setpgid(0, 0);
    for (int fd = 0; fd <= 2 && nothing >= 0; fd++)
        dup2(nothing, fd);
    signal(SIGINT, SIG_IGN);
    struct pn_server_options options = {
        .host = "127.0.0.1",
        .fd = -1,
        .models = {.model = pantry_model_options_default(), .keep_alive = {.seconds = KEEP_ALIVE_SECONDS}},
        .keys = keys,
        .needs_key = true,
        .quiet = true,
        .ready = report_url,
        .user = child};
    options.stop = child->stop = pantry_cancel_new();
    pantry_status status = PANTRY_NO_MEMORY;
    if (child->stop && pthread_create(&watcher, NULL, watch_parent, child) == 0)
        status = pn_server_run(&options, &err);
    if (status && child->report >= 0) {
        write_all(child->report, "!");
        write_all(child->report, err.text[0] ? err.text : pantry_status_text(status));
    }
    _exit(status != PANTRY_OK);
}

/* ---- the parent ---- */

static size_t read_report(int fd, char *text, size_t size)
{
    size_t n = 0;
    while (n + 1 < size) {
        ssize_t got = read(fd, text + n, size - 1 - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    text[n] = '\0';
    return n;
}

static bool make_pipe(int ends[2])
{
    if (pipe(ends))
        return false;
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    fcntl(ends[1], F_SETFD, FD_CLOEXEC);
    return true;
}

static void close_pipe(const int ends[2])
{
    if (ends[0] >= 0)
        close(ends[0]);
    if (ends[1] >= 0)
        close(ends[1]);
}

static pantry_status start_child(struct pn_background *b, const char *keys, char *report, size_t size,
                                 struct pantry_error *err)
{
    int said[2] = {-1, -1}, life[2] = {-1, -1};
    fflush(NULL);
    if (!make_pipe(said) || !make_pipe(life) || (b->pid = fork()) < 0) {
        b->pid = 0;
        close_pipe(said);
        close_pipe(life);
        return pn_fail(err, PANTRY_IO, "cannot start a service: %s", strerror(errno));
    }
    if (b->pid == 0) {
        close(said[0]);
        close(life[1]);
        serve(&(struct child){.report = said[1], .lifeline = life[0]}, keys);
    }
    close(said[1]);
    close(life[0]);
    b->lifeline = life[1];
    size_t n = read_report(said[0], report, size);
    close(said[0]);
    if (!n || *report == '!')
        return pn_fail(err, PANTRY_IO, "the service does not start%s%s", n ? ": " : "", n ? report + 1 : "");
    return PANTRY_OK;
}

pantry_status pn_background_start(struct pn_background *b, const char *folder, struct pn_client *client,
                                  struct pantry_error *err)
{
    struct pn_key key;
    struct pn_buf keys = {0};
    char report[PN_URL_MAX];
    *b = (struct pn_background){.lifeline = -1};
    pn_buf_printf(&keys, "%s/keys.json", folder);
    pantry_status status = keys.failed ? pn_no_memory(err, "a service") : PANTRY_OK;
    if (!status)
        status = pn_keys_add(keys.data, "launch", PN_SCOPE_INFER, &key, b->key, err);
    if (!status)
        status = start_child(b, keys.data, report, sizeof report, err);
    if (!status)
        *client = (struct pn_client){.key = b->key, .given = true, .local = true};
    if (!status)
        snprintf(client->url, sizeof client->url, "%s", report);
    else
        pn_background_stop(b);
    pn_buf_free(&keys);
    return status;
}

void pn_background_stop(struct pn_background *b)
{
    if (b->lifeline >= 0)
        close(b->lifeline);
    while (b->pid > 0 && waitpid(b->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    *b = (struct pn_background){.lifeline = -1};
}
