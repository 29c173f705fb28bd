/* Listening sockets: see listen.h. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "server/listen.h"

#include "base/status.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { WAITING = 1024, FIRST_PASSED = 3 };

bool pn_listen_is_unix(const char *host, const char **path)
{
    bool is = strncmp(host, "unix:", 5) == 0;
    if (is && path)
        *path = host + 5;
    return is;
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage bound = {0};
    socklen_t size = sizeof bound;
    getsockname(fd, (struct sockaddr *)&bound, &size);
    return bound.ss_family == AF_INET6  ? ntohs(((struct sockaddr_in6 *)&bound)->sin6_port)
           : bound.ss_family == AF_INET ? ntohs(((struct sockaddr_in *)&bound)->sin_port)
                                        : 0;
}

/* ---- TCP ---- */

/* On the first address of the host that works. */
static pantry_status open_tcp(const char *host, uint16_t number, struct pn_listener *out, struct pantry_error *err)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *all = NULL;
    char port[16];
    int why = 0, on = 1;
    snprintf(port, sizeof port, "%u", number);
    int failed = getaddrinfo(host, port, &hints, &all);
    if (failed)
        return pn_fail(err, PANTRY_INVALID, "cannot listen on %s: %s", host, gai_strerror(failed));
    for (struct addrinfo *a = all; a && out->fd < 0; a = a->ai_next) {
        int fd = socket(a->ai_family, a->ai_socktype, a->ai_protocol);
        if (fd < 0)
            continue;
        fcntl(fd, F_SETFD, FD_CLOEXEC);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, WAITING) == 0) {
            out->fd = fd;
            break;
        }
        why = errno;
        close(fd);
    }
    freeaddrinfo(all);
    if (out->fd < 0)
        return pn_fail(err, PANTRY_IO, "cannot listen on %s:%s: %s", host, port, strerror(why));
    out->port = port_of(out->fd);
    return PANTRY_OK;
}

/* ---- unix sockets ---- */

/* Two servers that start at once must not both find the socket dead. The lock is beside the socket, and stays. */
static pantry_status lock_path(const char *path, struct pn_listener *out, struct pantry_error *err)
{
    char name[sizeof((struct sockaddr_un *)0)->sun_path + 8];
    snprintf(name, sizeof name, "%s.lock", path);
    out->lock = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (out->lock < 0)
        return pn_fail(err, PANTRY_IO, "cannot listen on unix:%s: %s: %s", path, name, strerror(errno));
    if (flock(out->lock, LOCK_EX | LOCK_NB))
        return pn_fail(err, PANTRY_IO, "cannot listen on unix:%s: another server does", path);
    return PANTRY_OK;
}

/* Removes a socket that nobody listens on. */
static pantry_status clear_path(const char *path, const struct sockaddr_un *address, struct pantry_error *err)
{
    struct stat st;
    if (lstat(path, &st) != 0)
        return errno == ENOENT ? PANTRY_OK
                               : pn_fail(err, PANTRY_IO, "cannot listen on unix:%s: %s", path, strerror(errno));
    if (!S_ISSOCK(st.st_mode))
        return pn_fail(err, PANTRY_IO, "cannot listen on unix:%s: it exists and is not a socket", path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    bool dead = fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof *address) != 0 && errno == ECONNREFUSED;
    if (fd >= 0)
        close(fd);
    if (!dead)
        return pn_fail(err, PANTRY_IO, "cannot listen on unix:%s: somebody else does", path);
    return unlink(path) == 0 ? PANTRY_OK
                             : pn_fail(err, PANTRY_IO, "cannot listen on unix:%s: %s", path, strerror(errno));
}

static pantry_status open_unix(const char *path, unsigned mode, struct pn_listener *out, struct pantry_error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (!*path || strlen(path) >= sizeof address.sun_path)
        return pn_fail(err, PANTRY_INVALID, "unix:%.120s: wrong path (found %zu characters, allowed 1 to %zu)", path,
                       strlen(path), sizeof address.sun_path - 1);
    strcpy(address.sun_path, path);
    pantry_status status = lock_path(path, out, err);
    if (!status)
        status = clear_path(path, &address, err);
    if (status)
        return status;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    mode_t old = umask(0177); /* nobody else may connect before the mode is set */
    bool ok = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0;
    umask(old);
    if (ok && stat(path, &out->made) == 0)
        out->path = strdup(path);
    if (!ok || !out->path || chmod(path, (mode_t)mode) || listen(fd, WAITING)) {
        status = pn_fail(err, PANTRY_IO, "cannot listen on unix:%s: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return status;
    }
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    out->fd = fd;
    return PANTRY_OK;
}

/* ---- either ---- */

pantry_status pn_listen_open(const char *host, uint16_t port, unsigned mode, struct pn_listener *out,
                             struct pantry_error *err)
{
    const char *path;
    *out = (struct pn_listener){.fd = -1, .lock = -1};
    pantry_status status =
        pn_listen_is_unix(host, &path) ? open_unix(path, mode, out, err) : open_tcp(host, port, out, err);
    if (status)
        pn_listen_close(out);
    return status;
}

void pn_listen_close(struct pn_listener *l)
{
    struct stat now;
    if (l->path && lstat(l->path, &now) == 0 && now.st_ino == l->made.st_ino && now.st_dev == l->made.st_dev)
        unlink(l->path);
    free(l->path);
    if (l->fd >= 0)
        close(l->fd);
    if (l->lock >= 0)
        close(l->lock);
    *l = (struct pn_listener){.fd = -1, .lock = -1};
}

/* ---- systemd ---- */

pantry_status pn_listen_inherited(int *fd, char host[256], uint16_t *port, struct pantry_error *err)
{
    const char *pid = getenv("LISTEN_PID"), *n = getenv("LISTEN_FDS");
    struct sockaddr_storage bound = {0};
    socklen_t size = sizeof bound;
    int listens = 0;
    socklen_t n_listens = sizeof listens;
    *fd = -1;
    if (!pid || !n || atol(pid) != (long)getpid())
        return PANTRY_OK;
    if (strcmp(n, "1") != 0)
        return pn_fail(err, PANTRY_INVALID, "LISTEN_FDS: the service takes one socket (found %.20s)", n);
    if (getsockname(FIRST_PASSED, (struct sockaddr *)&bound, &size) ||
        getsockopt(FIRST_PASSED, SOL_SOCKET, SO_ACCEPTCONN, &listens, &n_listens) || !listens)
        return pn_fail(err, PANTRY_INVALID, "LISTEN_FDS: descriptor 3 is not a socket that listens");
    if (bound.ss_family == AF_UNIX)
        snprintf(host, 256, "unix:%.200s", ((struct sockaddr_un *)&bound)->sun_path);
    else if (getnameinfo((struct sockaddr *)&bound, size, host, 256, NULL, 0, NI_NUMERICHOST))
        return pn_fail(err, PANTRY_INVALID, "LISTEN_FDS: the socket has no address that the service knows");
    *port = port_of(FIRST_PASSED);
    *fd = FIRST_PASSED;
    fcntl(*fd, F_SETFD, FD_CLOEXEC);
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    return PANTRY_OK;
}

void pn_listen_notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t n = path ? strlen(path) : 0;
    if (n < 2 || n >= sizeof to.sun_path || (*path != '/' && *path != '@'))
        return;
    memcpy(to.sun_path, path, n + 1);
    if (*path == '@') /* an abstract name: the first byte is NUL */
        to.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    if (fd < 0)
        return;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    sendto(fd, state, strlen(state), 0, (struct sockaddr *)&to,
           (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
    close(fd);
}
