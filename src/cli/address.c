/* Addresses of the service: see address.h. */
#include "cli/address.h"

#include "cli/options.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

const char *pn_cli_variable(const char *ours, const char *theirs)
{
    const char *v = getenv(ours);
    v = v && *v ? v : getenv(theirs);
    return v && *v ? v : NULL;
}

bool pn_cli_take_host(const char *text, char host[PN_HOST_MAX], int *port)
{
    const char *end, *colon;
    if (strncmp(text, "http://", 7) == 0)
        text += 7;
    size_t n = strcspn(text, "/");
    if (*text == '[') {
        if (!(end = memchr(text, ']', n)))
            return false;
        text++;
        colon = end[1] == ':' ? end + 1 : NULL;
    } else {
        colon = memchr(text, ':', n);
        end = colon ? colon : text + n;
        if (colon && memchr(colon + 1, ':', n - (size_t)(colon + 1 - text))) { /* an IPv6 address without brackets */
            end = text + n;
            colon = NULL;
        }
    }
    if (end - text >= PN_HOST_MAX)
        return false;
    if (end > text)
        snprintf(host, PN_HOST_MAX, "%.*s", (int)(end - text), text);
    char digits[8];
    if (!colon)
        return true;
    size_t len = strcspn(colon + 1, "/");
    snprintf(digits, sizeof digits, "%.*s", (int)(len < 7 ? len : 7), colon + 1);
    return pn_cli_parse_int(digits, 0, 65535, port);
}

/* Letters that a host or a path of an address may have: no user names, queries, spaces or control characters. */
static bool is_plain(const char *text)
{
    for (; *text; text++)
        if (!isalnum((unsigned char)*text) && !strchr(".-_~:[]/%", *text))
            return false;
    return true;
}

/* An address that one of this machine's interfaces has can be bound. */
static bool is_own_address(const char *host)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    const struct sockaddr *address = (const void *)&v4;
    socklen_t n = sizeof v4;
    if (inet_pton(AF_INET6, host, &v6.sin6_addr) == 1) {
        address = (const void *)&v6;
        n = sizeof v6;
    } else if (inet_pton(AF_INET, host, &v4.sin_addr) != 1) {
        return false;
    }
    int fd = socket(address->sa_family, SOCK_DGRAM, 0);
    bool own = fd >= 0 && bind(fd, address, n) == 0;
    if (fd >= 0)
        close(fd);
    return own;
}

static bool is_this_machine(const char *host)
{
    static const char *const names[] = {"localhost", "::1", "127.0.0.1"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(host, names[i]) == 0)
            return true;
    return (strncmp(host, "127.", 4) == 0 && host[strspn(host, "0123456789.")] == '\0') || is_own_address(host);
}

bool pn_cli_service_url(const char *text, char url[PN_URL_MAX], bool *local)
{
    char host[PN_HOST_MAX] = "127.0.0.1";
    bool https = text && strncmp(text, "https://", 8) == 0;
    int port = https ? 443 : PN_DEFAULT_PORT;
    const char *rest = !text ? "" : https ? text + 8 : strncmp(text, "http://", 7) == 0 ? text + 7 : text;
    const char *path = strchr(rest, '/');
    if (!is_plain(rest) || strlen(rest) >= PN_URL_MAX - 32 || !pn_cli_take_host(rest, host, &port))
        return false;
    if (strcmp(host, "0.0.0.0") == 0 || strcmp(host, "*") == 0)
        snprintf(host, sizeof host, "127.0.0.1");
    if (strcmp(host, "::") == 0)
        snprintf(host, sizeof host, "::1");
    *local = is_this_machine(host);
    bool v6 = strchr(host, ':') != NULL;
    snprintf(url, PN_URL_MAX, "http%s://%s%s%s:%d%.300s", https ? "s" : "", v6 ? "[" : "", host, v6 ? "]" : "", port,
             path ? path : "");
    for (size_t n = strlen(url); n && url[n - 1] == '/'; n--)
        url[n - 1] = '\0';
    return true;
}
