/* The service: see server.h. */
#define _POSIX_C_SOURCE 200809L
#include "server/server.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/os.h"
#include "base/status.h"
#include "server/guard.h"
#include "server/listen.h"
#include "server/rights.h"
#include "server/said.h"
#include "store/store.h"

#include <openssl/crypto.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    MAX_BODY = 256 << 20,
    MAX_REQUESTS = 512,
    ARRIVAL_SECONDS = 60,
    CONNECTIONS_PER_ADDRESS = 2048,
    DRAIN_SECONDS = 10,
    MAX_JSON_DEPTH = 256,
    STOP_POLL_NS = 50000000,
    TRIM_REQUESTS = 16 /* that may leave something worth giving back */
};

struct idle {
    uint64_t n_seen, since; /* requests so far, and since when they are no more */
    uint64_t n_trimmed;     /* of them, before the heap was trimmed last */
};

/* ---- finding the route ---- */

static bool is_path(const struct pn_route *r, const char *path, const char **tail)
{
    size_t n = strlen(r->path);
    *tail = "";
    if (n > 1 && r->path[n - 1] == '/') {
        *tail = path + n;
        return strncmp(path, r->path, n) == 0 && path[n];
    }
    return strcmp(path, r->path) == 0;
}

/* NULL: no route has that path, or (*other) none with that method. HEAD is GET without a body. */
static const struct pn_route *find_route(const char *method, const char *path, const char **tail, bool *other)
{
    bool head = strcmp(method, "HEAD") == 0;
    *other = false;
    for (const struct pn_route *r = pn_routes; r->method; r++) {
        if (!is_path(r, path, tail))
            continue;
        if (strcmp(r->method, method) == 0 || (head && strcmp(r->method, "GET") == 0))
            return r;
        *other = true;
    }
    return NULL;
}

static bool is_among(pn_route_fn *const *handlers, pn_route_fn *handle)
{
    while (*handlers && *handlers != handle)
        handlers++;
    return *handlers != NULL;
}

static bool streams(const struct pn_route *r)
{
    return is_among(pn_streaming_handlers, r->handle);
}

static enum pn_error_style style_of(const char *path)
{
    return strncmp(path, "/v1/messages", 12) == 0 ? PN_ERRORS_ANTHROPIC
           : strcmp(path, "/v1/systemone") == 0   ? PN_ERRORS_OLLAMA
           : strncmp(path, "/v1/", 4) == 0        ? PN_ERRORS_OPENAI
                                                  : PN_ERRORS_OLLAMA;
}

static void refuse(struct pn_exchange *x, int status, const char *text)
{
    enum pn_error_style style = style_of(pn_http_path(x));
    pn_reply_json(x, pn_error_status(style, status), pn_error_json(style, status, text));
}

static void refuse_arrival(void *user, struct pn_exchange *x, int status, const char *text)
{
    (void)user;
    refuse(x, status, text);
}

/* ---- requests ---- */

/* Names the methods of a path in the reply. */
static void set_allow(struct pn_exchange *x, const char *path)
{
    char allow[80];
    size_t n = 0;
    const char *tail;
    allow[0] = '\0';
    for (const struct pn_route *r = pn_routes; r->method; r++)
        if (is_path(r, path, &tail) && n + strlen(r->method) + 12 < sizeof allow)
            n += (size_t)snprintf(allow + n, sizeof allow - n, "%s%s%s", n ? ", " : "", r->method,
                                  strcmp(r->method, "GET") == 0 ? ", HEAD" : "");
    pn_http_set_header(x, "Allow", allow);
}

/* What a browser asks before a page of another origin may call. */
static void answer_preflight(struct pn_exchange *x)
{
    pn_http_set_header(x, "Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS");
    pn_http_set_header(x, "Access-Control-Allow-Headers",
                       "Authorization, Content-Type, User-Agent, Accept, X-Requested-With, X-Api-Key, "
                       "Anthropic-Version, Anthropic-Beta, OpenAI-Beta");
    pn_http_set_header(x, "Access-Control-Max-Age", "600");
    pn_http_send(x, 204, "text/plain", "", 0);
}

/* One line of the log: the time, and what `more` has, which is taken over. */
static void log_line(json_t *more)
{
    char now[40];
    pn_time_text(now, 0);
    json_t *line = json_pack("{s:s}", "time", now);
    if (line && more)
        json_object_update(line, more);
    char *json = line && more ? json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(6)) : NULL;
    if (json)
        fprintf(stderr, "%s\n", json);
    free(json);
    json_decref(line);
    json_decref(more);
}

static void log_error(const char *text)
{
    log_line(json_pack("{s:o}", "error", pn_json_text(text, strlen(text))));
}

static void log_model(void *user, const struct pn_loaded *loaded, bool unloaded)
{
    (void)user;
    log_line(json_pack("{s:s, s:o, s:f}", "event", unloaded ? "unload" : "load", "model",
                       pn_json_text(loaded->name, strlen(loaded->name)), "load_seconds", loaded->load_seconds));
}

/* Whether the request's key, or the lack of one, allows a route; else it has replied. Sets the owner. */
static bool authorize(struct pn_server *s, struct pn_exchange *x, const struct pn_route *r)
{
    struct pantry_error err = {0};
    char text[PN_KEY_TEXT + 2];
    if (r->scope == PN_SCOPE_OPEN)
        return true;
    if (pn_keys_refresh(&s->keys, &err)) {
        log_error(err.text);
        refuse(x, 500, "the keys of this service cannot be read; its log says why");
        return false;
    }
    if (!s->keys.n && !s->options.needs_key)
        return true;
    pn_guard_key(pn_http_header(x, "Authorization"), pn_http_header(x, "x-api-key"), text, sizeof text);
    const struct pn_key *key = pn_keys_find(&s->keys, text);
    OPENSSL_cleanse(text, sizeof text);
    if (!key) {
        pn_http_set_header(x, "WWW-Authenticate", "Bearer");
        refuse(x, 401, "missing or wrong API key (allowed as Authorization: Bearer KEY, or x-api-key: KEY)");
        return false;
    }
    if (key->scope > r->scope) {
        refuse(x, 403, "this API key has the scope \"infer\", and this route needs \"manage\"");
        return false;
    }
    pn_http_set_owner(x, key->hash);
    return true;
}

static bool admit(void *user, struct pn_exchange *x)
{
    struct pn_server *s = user;
    const char *origin = pn_http_header(x, "Origin"), *method = pn_http_method(x), *tail;
    bool other, has_body = strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0;
    bool is_unix = pn_listen_is_unix(s->options.host, NULL); /* no page reaches it, and its clients name any host */
    if (!is_unix && !pn_guard_host(pn_http_header(x, "Host"), s->options.host)) {
        refuse(x, 403, "this Host header names another machine");
        return false;
    }
    if (!pn_guard_origin(origin, atomic_load(&s->origins))) {
        refuse(x, 403, "pages of this origin may not call (allow it with PANTRY_ORIGINS)");
        return false;
    }
    if (origin) {
        pn_http_set_header(x, "Access-Control-Allow-Origin", origin);
        pn_http_set_header(x, "Vary", "Origin");
    }
    if (strcmp(method, "OPTIONS") == 0) {
        answer_preflight(x);
        return false;
    }
    if (has_body &&
        !pn_guard_content_type(pn_http_header(x, "Content-Type"), origin || pn_http_header(x, "Sec-Fetch-Site"))) {
        refuse(x, 415, "the Content-Type must be application/json");
        return false;
    }
    const struct pn_route *r = find_route(method, pn_http_path(x), &tail, &other);
    if (!r) {
        if (other)
            set_allow(x, pn_http_path(x));
        refuse(x, other ? 405 : 404, other ? "this path does not take that method" : "404 page not found");
        return false;
    }
    if (!authorize(s, x, r))
        return false;
    if (streams(r))
        pn_http_stream_body(x);
    return true;
}

/* jansson reads to any depth that it was built for; what nests deeper than anybody needs is refused before. */
static bool is_deep(const char *text, size_t len)
{
    int depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        if (in_string && text[i] == '\\')
            i++;
        else if (text[i] == '"')
            in_string = !in_string;
        else if (!in_string && (text[i] == '{' || text[i] == '['))
            depth++;
        else if (!in_string && (text[i] == '}' || text[i] == ']'))
            depth--;
        if (depth > MAX_JSON_DEPTH)
            return true;
    }
    return false;
}

static json_t *read_body(struct pn_exchange *x, const struct pn_route *r)
{
    bool list = is_among(pn_list_handlers, r->handle);
    size_t len;
    const char *text = pn_http_body(x, &len);
    struct pantry_error err = {.status = PANTRY_INVALID};
    json_error_t where;
    json_t *body = NULL;
    if (is_deep(text, len))
        snprintf(err.text, sizeof err.text, "the body nests deeper than %d", MAX_JSON_DEPTH);
    else if (!(body = json_loadb(text, len, JSON_REJECT_DUPLICATES, &where)))
        snprintf(err.text, sizeof err.text,
                 len ? "the body is not JSON: %s (line %d, column %d)" : "missing request body", where.text, where.line,
                 where.column);
    else if (list ? !json_is_array(body) : !json_is_object(body))
        snprintf(err.text, sizeof err.text, "the body is not a JSON %s", list ? "array" : "object");
    else
        return body;
    json_decref(body);
    pn_reply_error(x, r->errors, &err);
    return NULL;
}

static void handle(void *user, struct pn_exchange *x)
{
    struct pn_server *s = user;
    const char *tail, *method = pn_http_method(x);
    bool other;
    const struct pn_route *r = find_route(method, pn_http_path(x), &tail, &other);
    if (!r)
        return;
    size_t len;
    pn_http_body(x, &len);
    if (streams(r) || strcmp(r->method, "GET") == 0 || strcmp(r->method, "HEAD") == 0 ||
        (strcmp(r->method, "DELETE") == 0 && len == 0)) {
        r->handle(s, x, NULL, tail);
        return;
    }
    json_t *body = read_body(x, r);
    if (body)
        r->handle(s, x, body, tail);
    json_decref(body);
}

/* One line per request: a JSON object, so that programs can read the log too. */
static void log_request(void *user, const struct pn_exchange *x)
{
    struct pn_server *s = user;
    int status = pn_http_status(x);
    atomic_fetch_add(&s->n_requests, 1);
    if (status >= 400)
        atomic_fetch_add(&s->n_failed, 1);
    if (atomic_load(&s->quiet))
        return;
    json_t *path = pn_json_text(pn_http_path(x), strlen(pn_http_path(x)));
    log_line(json_pack("{s:s, s:o, s:i, s:I, s:f, s:s}", "method", pn_http_method(x), "path", path, "status", status,
                       "bytes", (json_int_t)pn_http_bytes(x), "seconds", pn_http_seconds(x), "client",
                       pn_http_client(x)));
}

/* ---- the server ---- */

bool pn_server_is_local(const char *host)
{
    return pn_listen_is_unix(host, NULL) || pn_guard_is_local(host);
}

pantry_status pn_server_inherited(int *fd, char host[256], uint16_t *port, struct pantry_error *err)
{
    return pn_listen_inherited(fd, host, port, err);
}

static int most_requests(const struct pn_server_options *o)
{
    return o->n_parallel ? o->n_parallel : MAX_REQUESTS;
}

static struct pn_models_options models_of(const struct pn_server_options *o)
{
    struct pn_models_options models = o->models;
    models.changed = o->debug ? log_model : NULL;
    return models;
}

static void take_settings(struct pn_server *s, const struct pn_server_options *o)
{
    atomic_store(&s->origins, o->origins);
    atomic_store(&s->registries, o->registries);
    atomic_store(&s->quiet, o->quiet);
}

/* A wrong file changes nothing. */
static void reread(struct pn_server *s)
{
    struct pantry_error err;
    struct pn_server_options next = s->options;
    json_t *report = NULL;
    pantry_status status = s->options.reread(s->options.user, &next, &report, &err);
    if (!status) {
        struct pn_models_options models = models_of(&next);
        status = pn_models_configure(s->models, &models, &err);
    }
    if (status) {
        json_t *text = pn_json_text(err.text, strlen(err.text));
        log_line(json_pack("{s:s, s:o}", "event", "settings stay as they are", "error", text));
    } else {
        take_settings(s, &next);
        pn_http_set_max_requests(s->http, most_requests(&next));
        json_t *line = json_pack("{s:s}", "event", "settings");
        json_object_update(line, report);
        log_line(line);
    }
    json_decref(report);
}

static void reload(struct pn_server *s)
{
    struct pantry_error err;
    pantry_cancel_clear(s->options.reload);
    if (s->options.reread)
        reread(s);
    if (!s->options.tls_cert)
        return;
    if (pn_http_reload(s->http, &err))
        log_error(err.text);
    else
        log_line(json_pack("{s:s}", "event", "certificate"));
}

/* Gives back what many requests left in the heap, once none has run for a second. */
static void trim_when_idle(struct pn_server *s, struct idle *idle)
{
    uint64_t now = pn_clock_ns(), n = atomic_load(&s->n_requests);
    if (n != idle->n_seen || pn_http_n_running(s->http)) {
        *idle = (struct idle){.n_seen = n, .since = now, .n_trimmed = idle->n_trimmed};
    } else if (n - idle->n_trimmed >= TRIM_REQUESTS && now - idle->since > 1000000000u) {
        pn_os_trim();
        idle->n_trimmed = n;
    }
}

static void wait_for_stop(struct pn_server *s)
{
    struct idle idle = {0};
    while (!pantry_cancel_is_set(s->options.stop)) {
        if (s->options.reload && pantry_cancel_is_set(s->options.reload))
            reload(s);
        trim_when_idle(s, &idle);
        nanosleep(&(struct timespec){.tv_nsec = STOP_POLL_NS}, NULL);
    }
}

/* Gives up rights, before there are other threads, and says which. */
static pantry_status restrict_rights(const struct pn_server_options *o, const char *path, struct pantry_error *err)
{
    struct pn_rights rights = {.folders = o->folders,
                               .adapters = o->models.adapters,
                               .n_adapters = o->models.n_adapters,
                               .tls_cert = o->tls_cert,
                               .tls_key = o->tls_key,
                               .config = o->config,
                               .socket = path,
                               .cache = o->models.model.cache_dir};
    struct pn_sandbox_held held;
    if (!o->sandbox || !pn_sandbox_exists())
        return PANTRY_OK;
    pantry_status status = pn_rights_drop(&rights, &held, err);
    if (!status && !o->quiet)
        log_line(json_pack("{s:s, s:b, s:b}", "event", "sandbox", "files", held.files, "calls", held.calls));
    return status;
}

static void say_ready(const struct pn_server *s, uint16_t port)
{
    char url[300];
    const char *host = s->options.host, *scheme = s->options.tls_cert ? "https" : "http";
    bool v6 = strchr(host, ':') != NULL;
    if (pn_listen_is_unix(host, NULL))
        snprintf(url, sizeof url, "%.290s", host);
    else
        snprintf(url, sizeof url, "%s://%s%.250s%s:%u", scheme, v6 ? "[" : "", host, v6 ? "]" : "", port);
    if (s->options.ready)
        s->options.ready(s->options.user, url);
    pn_listen_notify("READY=1");
}

/* Listens and answers; the keys are open. */
static pantry_status serve(struct pn_server *s, struct pn_listener *listener, struct pantry_error *err)
{
    const struct pn_server_options *o = &s->options;
    struct pn_http_options http = {.fd = listener->fd,
                                   .max_body = MAX_BODY,
                                   .max_requests = most_requests(o),
                                   .max_seconds = o->read_seconds ? o->read_seconds : ARRIVAL_SECONDS,
                                   .max_per_address =
                                       (unsigned)(o->per_address ? o->per_address : CONNECTIONS_PER_ADDRESS),
                                   .tls_cert = o->tls_cert,
                                   .tls_key = o->tls_key,
                                   .admit = admit,
                                   .handle = handle,
                                   .refuse = refuse_arrival,
                                   .done = log_request,
                                   .user = s};
    struct pn_models_options models = models_of(o);
    take_settings(s, o);
    pantry_status status = pn_models_new(&models, &s->models, err);
    if (!status)
        status = pn_models_load_pinned(s->models, err);
    if (!status)
        status = pn_http_start(&http, &s->http, err);
    if (status)
        return status;
    say_ready(s, listener->port);
    wait_for_stop(s);
    pn_listen_notify("STOPPING=1");
    pn_http_drain(s->http, DRAIN_SECONDS);
    return PANTRY_OK;
}

pantry_status pn_server_run(const struct pn_server_options *options, struct pantry_error *err)
{
    struct pn_server s = {.options = *options, .started = pn_clock_ns()};
    struct pn_listener listener = {.fd = options->fd, .port = options->port, .lock = -1};
    signal(SIGPIPE, SIG_IGN);
    pn_os_share_heap();
    pantry_status status = pn_keys_open(&s.keys, options->keys, err);
    if (status)
        return status;
    char *home = strdup(options->keys), *slash = home ? strrchr(home, '/') : NULL;
    if (slash)
        *slash = '\0';
    pn_reply_hide(slash ? home : "");
    free(home);
    if (options->sandbox && pn_sandbox_exists())
        status = pn_store_start_helper(err);
    if (!status && options->fd < 0)
        status = pn_listen_open(options->host, options->port, options->socket_mode, &listener, err);
    if (!status)
        status = restrict_rights(options, listener.path, err);
    if (!status && options->said && pn_said_open(options->said, err))
        log_error(err->text); /* without the file the service only reads more again after a restart */
    if (!status)
        status = serve(&s, &listener, err);
    pn_http_stop(s.http);
    pn_models_free(s.models);
    pn_listen_close(&listener);
    pn_said_close();
    pn_keys_close(&s.keys);
    pn_store_stop_helper();
    return status;
}
