/* Where the service is: the addresses that `pantry serve` listens on and that clients connect to. */
#ifndef PN_CLI_ADDRESS_H
#define PN_CLI_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>

enum { PN_DEFAULT_PORT = 11434, PN_HOST_MAX = 256, PN_URL_MAX = 640 };

/* The first of two variables of the environment that is set and not empty; NULL: neither. */
const char *pn_cli_variable(const char *ours, const char *theirs);

/* "127.0.0.1:11434", "0.0.0.0", ":8080", "http://[::1]:11434": the address goes to `host`, the port to *port; what is
 * missing stays unchanged. False: not an address. */
bool pn_cli_take_host(const char *text, char host[PN_HOST_MAX], int *port);

/* The URL, without a slash at its end, at which a client finds the service of an address (NULL: the default one). The
 * scheme may also be https, whose port is 443 unless the text says otherwise, and a path may follow. An address that
 * stands for all of this machine becomes the loopback. *local: it is this machine. False: not an address. */
bool pn_cli_service_url(const char *text, char url[PN_URL_MAX], bool *local);

#endif
