/* A process that runs pip for one that may start no programs: see store.h.
 *
 * The two speak over a pair of sockets: a request of fixed size after the byte 'r', the byte 'c' to cancel it, and a
 * reply of fixed size. The helper trusts nobody: it downloads packages of the catalog only, and only into the store. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_PACKAGES = 2 * PN_CATALOG_MAX_PARTS, MAX_NAME = 160, MAX_PATH = 2048, POLL_MS = 100 };

struct request {
    char packages[MAX_PACKAGES][MAX_NAME]; /* "" ends them */
    char folder[MAX_PATH], scratch[MAX_PATH];
};

struct reply {
    pantry_status status;
    char text[sizeof((struct pantry_error *)0)->text];
};

static struct {
    pthread_mutex_t lock; /* one download at a time, as with the store's lock */
    int fd;
    pid_t pid;
} helper = {PTHREAD_MUTEX_INITIALIZER, -1, 0};

static bool write_all(int fd, const void *bytes, size_t n)
{
    for (const char *p = bytes; n;) {
        ssize_t done = write(fd, p, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        p += done;
        n -= (size_t)done;
    }
    return true;
}

static bool read_all(int fd, void *bytes, size_t n)
{
    for (char *p = bytes; n;) {
        ssize_t done = read(fd, p, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        p += done;
        n -= (size_t)done;
    }
    return true;
}

/* ---- in the helper ---- */

static bool is_of_catalog(const char *package)
{
    size_t n;
    const struct pn_catalog_entry *catalog = pn_store_catalog(&n);
    for (size_t i = 0; i < n; i++) {
        if (catalog[i].license_text.package && strcmp(catalog[i].license_text.package, package) == 0)
            return true;
        for (size_t k = 0; k < PN_CATALOG_MAX_PARTS && catalog[i].parts[k].package; k++)
            if (strcmp(catalog[i].parts[k].package, package) == 0)
                return true;
    }
    return false;
}

static bool is_of_store(const char *path, const char *store)
{
    size_t n = strlen(store);
    return strncmp(path, store, n) == 0 && strncmp(path + n, "/fetch/", 7) == 0 && !strstr(path, "/..");
}

static pantry_status check(const struct request *r, const char *store, const char *packages[MAX_PACKAGES + 1],
                           struct pantry_error *err)
{
    size_t n = 0;
    for (; n < MAX_PACKAGES && r->packages[n][0]; n++) {
        if (!memchr(r->packages[n], '\0', MAX_NAME) || !is_of_catalog(r->packages[n]))
            return pn_fail(err, PANTRY_INVALID, "the service may download packages of the catalog only");
        packages[n] = r->packages[n];
    }
    packages[n] = NULL;
    if (!memchr(r->folder, '\0', MAX_PATH) || !memchr(r->scratch, '\0', MAX_PATH) || !is_of_store(r->folder, store) ||
        !is_of_store(r->scratch, store))
        return pn_fail(err, PANTRY_INVALID, "the service may download into the store only");
    return PANTRY_OK;
}

struct watch {
    int fd;
    pantry_cancel *cancel;
};

/* Whatever comes during a download, or the end of the service, stops it. */
static void look(void *user)
{
    struct watch *w = user;
    struct pollfd p = {.fd = w->fd, .events = POLLIN};
    char byte;
    if (poll(&p, 1, 0) > 0 && read(w->fd, &byte, 1) != -1)
        pantry_cancel_set(w->cancel);
}

static void serve(int fd, const char *store, const struct request *r)
{
    struct pantry_error err = {0};
    struct reply reply = {0};
    const char *packages[MAX_PACKAGES + 1];
    struct watch watch = {.fd = fd, .cancel = pantry_cancel_new()};
    reply.status = check(r, store, packages, &err);
    if (!reply.status && !watch.cancel)
        reply.status = pn_no_memory(&err, "a download");
    if (!reply.status) {
        struct pn_pip pip = {packages, r->folder, r->scratch, watch.cancel, look, &watch};
        reply.status = pn_pip_run(&pip, &err);
    }
    memcpy(reply.text, err.text, sizeof reply.text);
    pantry_cancel_free(watch.cancel);
    write_all(fd, &reply, sizeof reply);
}

static void on_signal(int number)
{
    (void)number; /* the end of the service ends the helper, and not the terminal */
}

static void run_helper(int fd, const char *store)
{
    static struct request r;
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    for (char byte; read_all(fd, &byte, 1);) {
        if (byte == 'c') /* of a download that had ended by then */
            continue;
        if (byte != 'r' || !read_all(fd, &r, sizeof r))
            break;
        serve(fd, store, &r);
    }
}

/* ---- in the service ---- */

pantry_status pn_store_start_helper(struct pantry_error *err)
{
    int pair[2];
    char *store = NULL;
    pantry_status status = pn_layout_store(&store, err);
    if (status)
        return status;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) {
        free(store);
        return pn_fail(err, PANTRY_IO, "cannot start the process that downloads: %s", strerror(errno));
    }
    fcntl(pair[0], F_SETFD, FD_CLOEXEC);
    fcntl(pair[1], F_SETFD, FD_CLOEXEC);
    pid_t pid = fork();
    if (pid == 0) {
        close(pair[0]);
        run_helper(pair[1], store);
        _exit(0);
    }
    close(pair[1]);
    free(store);
    if (pid < 0) {
        close(pair[0]);
        return pn_fail(err, PANTRY_IO, "cannot start the process that downloads: %s", strerror(errno));
    }
    helper.fd = pair[0];
    helper.pid = pid;
    return PANTRY_OK;
}

void pn_store_stop_helper(void)
{
    if (helper.fd < 0)
        return;
    close(helper.fd);
    helper.fd = -1;
    while (waitpid(helper.pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

static pantry_status write_request(const struct pn_pip *pip, struct pantry_error *err)
{
    struct request *r = calloc(1, sizeof *r);
    size_t n = 0;
    if (!r)
        return pn_no_memory(err, "a download");
    bool fits = strlen(pip->folder) < MAX_PATH && strlen(pip->scratch) < MAX_PATH;
    for (; fits && pip->packages[n]; n++) {
        fits = n < MAX_PACKAGES && strlen(pip->packages[n]) < MAX_NAME;
        if (fits)
            strcpy(r->packages[n], pip->packages[n]);
    }
    pantry_status status = PANTRY_OK;
    if (fits) {
        strcpy(r->folder, pip->folder);
        strcpy(r->scratch, pip->scratch);
        if (!write_all(helper.fd, "r", 1) || !write_all(helper.fd, r, sizeof *r))
            status = pn_fail(err, PANTRY_IO, "the process that downloads has ended; start the service again");
    } else {
        status = pn_fail(err, PANTRY_LIMIT, "%s: the path is too long, or there are too many packages", pip->folder);
    }
    free(r);
    return status;
}

static pantry_status ask(const struct pn_pip *pip, struct pantry_error *err)
{
    struct reply reply;
    bool cancelled = false;
    pantry_status status = write_request(pip, err);
    if (status)
        return status;
    for (struct pollfd p = {.fd = helper.fd, .events = POLLIN}; poll(&p, 1, POLL_MS) <= 0;) {
        if (!cancelled && pip->cancel && pantry_cancel_is_set(pip->cancel)) {
            cancelled = true;
            write_all(helper.fd, "c", 1);
        } else if (!cancelled && pip->tick) {
            pip->tick(pip->user);
        }
    }
    if (!read_all(helper.fd, &reply, sizeof reply))
        return pn_fail(err, PANTRY_IO, "the process that downloads has ended; start the service again");
    reply.text[sizeof reply.text - 1] = '\0';
    return reply.status ? pn_fail(err, reply.status, "%s", reply.text) : PANTRY_OK;
}

pantry_status pn_pip_download(const struct pn_pip *pip, struct pantry_error *err)
{
    if (helper.fd < 0)
        return pn_pip_run(pip, err);
    pthread_mutex_lock(&helper.lock);
    pantry_status status = ask(pip, err);
    pthread_mutex_unlock(&helper.lock);
    return status;
}
