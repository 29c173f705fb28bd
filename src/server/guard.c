/* Admission: see guard.h. */
#define _POSIX_C_SOURCE 200809L
#include "server/guard.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

enum { MAX_HOST = 256 };

/* The name in "name:port", "[::1]:port" or "name". False: it is too long or malformed. */
static bool host_of(const char *header, char out[MAX_HOST])
{
    const char *end;
    if (*header == '[') {
        if (!(end = strchr(++header, ']')) || (end[1] && end[1] != ':'))
            return false;
    } else {
        end = header + strcspn(header, ":");
    }
    size_t n = (size_t)(end - header);
    if (n == 0 || n >= MAX_HOST)
        return false;
    memcpy(out, header, n);
    out[n] = '\0';
    return true;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcasecmp(text + n - m, end) == 0;
}

static bool is_local_name(const char *host)
{
    return strcasecmp(host, "localhost") == 0 || ends_with(host, ".localhost");
}

/* A number is not a name that somebody else's server could answer for. */
static bool is_address(const char *host)
{
    unsigned char address[16];
    return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

bool pn_guard_host(const char *header, const char *own)
{
    char host[MAX_HOST];
    if (!header || !*header)
        return true;
    if (!host_of(header, host))
        return false;
    return is_local_name(host) || is_address(host) || (own && strcasecmp(host, own) == 0);
}

bool pn_guard_is_local(const char *host)
{
    return is_local_name(host) || (is_address(host) && (strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0));
}

bool pn_guard_origin(const char *origin, const char *const *more)
{
    static const char *const apps[] = {"app://", "file://", "tauri://", "vscode-webview://", "vscode-file://"};
    char host[MAX_HOST];
    if (!origin)
        return true;
    for (size_t i = 0; more && more[i]; i++)
        if (strcmp(more[i], "*") == 0 || strcasecmp(more[i], origin) == 0)
            return true;
    for (size_t i = 0; i < sizeof apps / sizeof *apps; i++)
        if (strncmp(origin, apps[i], strlen(apps[i])) == 0)
            return true;
    const char *at = strstr(origin, "://");
    if (!at || (strncmp(origin, "http://", 7) != 0 && strncmp(origin, "https://", 8) != 0))
        return false;
    return host_of(at + 3, host) && pn_guard_is_local(host);
}

bool pn_guard_content_type(const char *type, bool from_page)
{
    static const char json[] = "application/json";
    if (!from_page)
        return true;
    if (!type)
        return false;
    size_t n = strcspn(type, "; \t");
    return n == sizeof json - 1 && strncasecmp(type, json, n) == 0;
}

void pn_guard_key(const char *authorization, const char *api_key, char *out, size_t most)
{
    static const char scheme[] = "Bearer ";
    const char *key = api_key ? api_key : "";
    if (authorization && strncasecmp(authorization, scheme, sizeof scheme - 1) == 0)
        key = authorization + sizeof scheme - 1;
    key += strspn(key, " \t");
    size_t n = strlen(key);
    while (n && (key[n - 1] == ' ' || key[n - 1] == '\t'))
        n--;
    n = n < most ? n : 0;
    memcpy(out, key, n);
    out[n] = '\0';
}
