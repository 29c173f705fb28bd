/* The socket that the service listens on: a TCP address, a unix socket, or one that systemd has opened. */
#ifndef PN_SERVER_LISTEN_H
#define PN_SERVER_LISTEN_H

#include "pantry.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

struct pn_listener {
    int fd;
    uint16_t port;    /* 0 of a unix socket */
    char *path;       /* of a unix socket that pn_listen_close removes; NULL: none */
    struct stat made; /* that file */
    int lock;         /* of the path, or -1 */
};

/* `host`: an address, "localhost", or "unix:PATH", which then may be used as `mode` says. A socket that a dead server
 * left is replaced; one that somebody listens on is an error. */
pantry_status pn_listen_open(const char *host, uint16_t port, unsigned mode, struct pn_listener *out,
                             struct pantry_error *err);
void pn_listen_close(struct pn_listener *listener);

/* The socket that systemd has passed (LISTEN_FDS, LISTEN_PID): *fd, and `host` as above, with the port in *port. *fd is
 * -1 if it has passed none. */
pantry_status pn_listen_inherited(int *fd, char host[256], uint16_t *port, struct pantry_error *err);

/* Whether a host is a unix socket, and its path. */
bool pn_listen_is_unix(const char *host, const char **path);

/* Tells systemd about the state of the service ("READY=1"); does nothing without NOTIFY_SOCKET. */
void pn_listen_notify(const char *state);

#endif
