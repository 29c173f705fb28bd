/* HTTP requests: see http.h. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/http.h"

#include "store/link.h"

#include "store/internal.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_REDIRECTS = 5,
    MAX_HEAD = 64 << 10,   /* bytes of all headers of a response */
    MAX_UNUSED = 64 << 10, /* of the body of an error */
    MAX_TRIES = 4,         /* of a small text */
    CONNECT_SECONDS = 20,
    MAX_PAUSE_SECONDS = 30,
};

/* ---- addresses ---- */

static bool is_private_v4(uint32_t a)
{
    static const struct {
        uint32_t net;
        int bits;
    } nets[] = {{0x00000000, 8},  {0x0A000000, 8},  {0x64400000, 10}, {0x7F000000, 8}, {0xA9FE0000, 16},
                {0xAC100000, 12}, {0xC0A80000, 16}, {0xC6120000, 15}, {0xE0000000, 3}};
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++)
        if ((a ^ nets[i].net) >> (32 - nets[i].bits) == 0)
            return true;
    return false;
}

static uint32_t read_v4(const unsigned char *b)
{
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static bool is_private_v6(const unsigned char *b)
{
    static const unsigned char zeros[12], nat64[12] = {0, 0x64, 0xFF, 0x9B};
    if (memcmp(b, zeros, 10) == 0 && b[10] == 0xFF && b[11] == 0xFF)
        return is_private_v4(read_v4(b + 12));
    if (memcmp(b, zeros, 12) == 0 || memcmp(b, nat64, 12) == 0)
        return true;
    return (b[0] & 0xFE) == 0xFC || (b[0] == 0xFE && (b[1] & 0x80)) || b[0] == 0xFF;
}

bool pn_http_is_public(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, address, sizeof v4);
        return !is_private_v4(ntohl(v4.sin_addr.s_addr));
    }
    struct sockaddr_in6 v6;
    if (address->sa_family != AF_INET6)
        return false;
    memcpy(&v6, address, sizeof v6);
    return !is_private_v6(v6.sin6_addr.s6_addr);
}

static curl_socket_t open_public(void *user, curlsocktype purpose, struct curl_sockaddr *address)
{
    (void)user;
    (void)purpose;
    if (!pn_http_is_public(&address->addr))
        return CURL_SOCKET_BAD;
    return socket(address->family, address->socktype, address->protocol);
}

/* ---- URLs ---- */

static char *url_part(const char *url, CURLUPart part)
{
    CURLU *parsed = curl_url();
    char *text = NULL, *copy = NULL;
    if (parsed && curl_url_set(parsed, CURLUPART_URL, url, CURLU_DISALLOW_USER) == CURLUE_OK &&
        curl_url_get(parsed, part, &text, CURLU_DEFAULT_PORT) == CURLUE_OK)
        copy = strdup(text);
    curl_free(text);
    curl_url_cleanup(parsed);
    return copy;
}

bool pn_http_host(const char *url, char **host, bool *https)
{
    char *scheme = url_part(url, CURLUPART_SCHEME);
    *host = NULL;
    *https = scheme && strcmp(scheme, "https") == 0;
    if (*https || (scheme && strcmp(scheme, "http") == 0))
        *host = url_part(url, CURLUPART_HOST);
    free(scheme);
    return *host != NULL;
}

bool pn_http_same_origin(const char *a, const char *b)
{
    static const CURLUPart parts[] = {CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PORT};
    bool same = true;
    for (size_t i = 0; i < 3 && same; i++) {
        char *x = url_part(a, parts[i]), *y = url_part(b, parts[i]);
        same = x && y && strcasecmp(x, y) == 0;
        free(x);
        free(y);
    }
    return same;
}

char *pn_http_origin(const char *url)
{
    char *scheme = url_part(url, CURLUPART_SCHEME), *host = url_part(url, CURLUPART_HOST);
    char *port = url_part(url, CURLUPART_PORT);
    char *origin = scheme && host && port ? pn_layout_path("%s://%s:%s", scheme, host, port) : NULL;
    free(scheme);
    free(host);
    free(port);
    return origin;
}

char *pn_http_resolve(const char *base, const char *location)
{
    CURLU *parsed = curl_url();
    char *text = NULL, *copy = NULL;
    if (parsed && curl_url_set(parsed, CURLUPART_URL, base, 0) == CURLUE_OK &&
        curl_url_set(parsed, CURLUPART_URL, location, CURLU_DISALLOW_USER) == CURLUE_OK &&
        curl_url_get(parsed, CURLUPART_URL, &text, 0) == CURLUE_OK)
        copy = strdup(text);
    curl_free(text);
    curl_url_cleanup(parsed);
    return copy;
}

/* ---- headers ---- */

/* The value of a header line if it has that name, without spaces around it. */
static const char *value_of(const char *line, size_t n, const char *name, size_t *len)
{
    size_t m = strlen(name);
    if (n <= m || line[m] != ':' || strncasecmp(line, name, m) != 0)
        return NULL;
    const char *start = line + m + 1, *end = line + n;
    while (start < end && (*start == ' ' || *start == '\t'))
        start++;
    while (end > start && (end[-1] == '\r' || end[-1] == '\n' || end[-1] == ' ' || end[-1] == '\t'))
        end--;
    *len = (size_t)(end - start);
    return start;
}

static bool read_number(const char **p, const char *end, uint64_t *out)
{
    const char *start = *p;
    *out = 0;
    for (; *p < end && **p >= '0' && **p <= '9'; (*p)++)
        if (__builtin_mul_overflow(*out, (uint64_t)10, out) || __builtin_add_overflow(*out, (uint64_t)(**p - '0'), out))
            return false;
    return *p > start;
}

/* "bytes 0-99/1000" */
static void read_range(struct pn_http_head *head, const char *p, size_t n)
{
    const char *end = p + n;
    uint64_t last;
    if (n < 6 || strncasecmp(p, "bytes ", 6) != 0)
        return;
    p += 6;
    head->has_range = read_number(&p, end, &head->first) && p < end && *p++ == '-' && read_number(&p, end, &last) &&
                      last >= head->first && p < end && *p++ == '/' && read_number(&p, end, &head->total) && p == end;
}

/* "0-99", some servers write "bytes=0-99": what is there of an upload. */
static void read_last(struct pn_http_head *head, const char *p, size_t n)
{
    const char *end = p + n;
    uint64_t first;
    if (n > 6 && strncasecmp(p, "bytes=", 6) == 0)
        p += 6;
    head->has_last = read_number(&p, end, &first) && first == 0 && p < end && *p++ == '-' &&
                     read_number(&p, end, &head->last) && p == end;
}

/* What uploads need besides. */
static void read_upload_header(struct pn_http_head *head, const char *line, size_t n)
{
    size_t len;
    const char *value;
    if ((value = value_of(line, n, "Content-Length", &len))) {
        const char *p = value;
        head->has_length = read_number(&p, value + len, &head->length) && p == value + len;
    } else if ((value = value_of(line, n, "Range", &len))) {
        read_last(head, value, len);
    } else if ((value = value_of(line, n, "OCI-Chunk-Min-Length", &len))) {
        const char *p = value;
        if (!read_number(&p, value + len, &head->min_chunk))
            head->min_chunk = 0;
    } else if ((value = value_of(line, n, "Location", &len)) && len < sizeof head->location) {
        memcpy(head->location, value, len);
        head->location[len] = '\0';
    } else if (!*head->next && (value = value_of(line, n, "Link", &len)) &&
               !pn_link_next(value, len, head->next, sizeof head->next)) {
        *head->next = '\0';
    }
}

static void read_header(struct pn_http_head *head, const char *line, size_t n)
{
    size_t len;
    const char *value;
    if ((value = value_of(line, n, "ETag", &len))) {
        bool kept = len < sizeof head->etag;
        for (size_t i = 0; i < len && kept; i++)
            kept = (unsigned char)value[i] > 0x20 && (unsigned char)value[i] < 0x7F;
        memcpy(head->etag, value, kept ? len : 0);
        head->etag[kept ? len : 0] = '\0';
    } else if ((value = value_of(line, n, "Content-Range", &len))) {
        read_range(head, value, len);
    } else if ((value = value_of(line, n, "Retry-After", &len))) {
        const char *p = value;
        uint64_t seconds = 0;
        read_number(&p, value + len, &seconds);
        head->retry_after = seconds < MAX_PAUSE_SECONDS ? (unsigned)seconds : MAX_PAUSE_SECONDS;
    } else if ((value = value_of(line, n, "WWW-Authenticate", &len))) {
        size_t have = strlen(head->challenge);
        if (have + len + 2 < sizeof head->challenge && !memchr(value, '\0', len)) {
            head->challenge[have] = ',';
            memcpy(head->challenge + have + 1, value, len);
            head->challenge[have + 1 + len] = '\0';
        }
    } else {
        read_upload_header(head, line, n);
    }
}

static size_t take_header(char *line, size_t size, size_t n, void *user)
{
    struct pn_request *r = user;
    (void)size; /* 1 */
    if ((r->head_bytes += n) > MAX_HEAD)
        return 0;
    if (n >= 5 && strncmp(line, "HTTP/", 5) == 0) { /* also after 100 Continue */
        const char *space = memchr(line, ' ', n);
        r->head = (struct pn_http_head){.status = space && line + n - space > 4 ? strtol(space, NULL, 10) : 0};
    } else {
        read_header(&r->head, line, n);
    }
    return n;
}

static size_t take_body(char *bytes, size_t size, size_t n, void *user)
{
    struct pn_request *r = user;
    (void)size; /* 1 */
    if (r->head.status / 100 == 2) {
        r->started = true;
        return r->sink(r->user, r, bytes, n) ? n : 0;
    }
    size_t have = strlen(r->head.said), room = sizeof r->head.said - 1 - have;
    if (!memchr(bytes, '\0', n < room ? n : room))
        memcpy(r->head.said + have, bytes, n < room ? n : room); /* zeros follow */
    return (r->head_bytes += n) > MAX_HEAD + MAX_UNUSED ? 0 : n;
}

/* ---- requests ---- */

static bool ready;

static void init_once(void)
{
    ready = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
}

bool pn_http_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    return pthread_once(&once, init_once) == 0 && ready;
}

void pn_http_hold_signal(sigset_t *before)
{
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, before);
}

void pn_http_release_signal(const sigset_t *before)
{
    sigset_t pipe, pending;
    int taken;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    if (!sigismember(before, SIGPIPE) && sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE))
        sigwait(&pipe, &taken);
    pthread_sigmask(SIG_SETMASK, before, NULL);
}

static int watch_cancel(void *user, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    const struct pn_http *http = user;
    (void)a, (void)b, (void)c, (void)d;
    return http->cancel && pantry_cancel_is_set(http->cancel);
}

static void allow_schemes(CURL *easy, bool plain)
{
#if LIBCURL_VERSION_NUM >= 0x075500
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, plain ? "http,https" : "https");
#else
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS, plain ? CURLPROTO_HTTP | CURLPROTO_HTTPS : CURLPROTO_HTTPS);
#endif
}

static size_t send_body(char *to, size_t size, size_t n, void *user)
{
    struct pn_request *r = user;
    uint64_t left = r->body.bytes - r->sent;
    n = n * size < left ? n * size : (size_t)left;
    if (n > 0 && !r->body.read(r->body.user, r->sent, to, n))
        return CURL_READFUNC_ABORT;
    r->sent += n;
    return n;
}

/* libcurl sends a body again after a connection that it had kept turned out to be closed. */
static int rewind_body(void *user, curl_off_t offset, int origin)
{
    struct pn_request *r = user;
    if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > r->body.bytes)
        return CURL_SEEKFUNC_FAIL;
    r->sent = (uint64_t)offset;
    return CURL_SEEKFUNC_OK;
}

static void set_up_body(struct pn_request *r)
{
    r->sent = 0;
    if (!r->body.method)
        return;
    if (strcmp(r->body.method, "HEAD") == 0) {
        curl_easy_setopt(r->easy, CURLOPT_NOBODY, 1L);
        return;
    }
    curl_easy_setopt(r->easy, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(r->easy, CURLOPT_CUSTOMREQUEST, r->body.method);
    curl_easy_setopt(r->easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)r->body.bytes);
    curl_easy_setopt(r->easy, CURLOPT_READFUNCTION, send_body);
    curl_easy_setopt(r->easy, CURLOPT_READDATA, r);
    curl_easy_setopt(r->easy, CURLOPT_SEEKFUNCTION, rewind_body);
    curl_easy_setopt(r->easy, CURLOPT_SEEKDATA, r);
}

static void trust(CURL *easy)
{
    static const char *const names[] = {"PANTRY_CA_FILE", "SSL_CERT_FILE"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *file = getenv(names[i]);
        if (file && *file) {
            curl_easy_setopt(easy, CURLOPT_CAINFO, file);
            return;
        }
    }
}

/* All options for the present URL. */
static void set_up(struct pn_request *r)
{
    CURL *easy = r->easy;
    const struct pn_http *http = r->http;
    curl_easy_reset(easy);
    r->head = (struct pn_http_head){0};
    r->head_bytes = 0;
    r->started = false;
    r->why[0] = '\0';
    curl_easy_setopt(easy, CURLOPT_URL, r->url);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, r);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, r->why);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "pantry/" PANTRY_VERSION);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, r->lines);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, r);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, r);
    curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, watch_cancel);
    curl_easy_setopt(easy, CURLOPT_XFERINFODATA, http);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)http->stall_seconds);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1); /* parallel parts: own connections */
    allow_schemes(easy, http->plain);
    trust(easy);
    set_up_body(r);
    if (http->public_only) {
        curl_easy_setopt(easy, CURLOPT_PROXY, "");
        curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_public);
    }
    if (http->token && pn_http_same_origin(r->url, http->origin)) {
        curl_easy_setopt(easy, CURLOPT_HTTPAUTH, CURLAUTH_BEARER);
        curl_easy_setopt(easy, CURLOPT_XOAUTH2_BEARER, http->token);
    }
}

static pantry_status open_request(struct pn_request *r, const struct pn_http *http, const char *url,
                                  const struct pn_http_body *body, const char *const *lines, pn_http_sink *sink,
                                  void *user, struct pantry_error *err)
{
    *r = (struct pn_request){.http = http, .sink = sink, .user = user};
    if (body)
        r->body = *body;
    r->url = strdup(url);
    r->easy = curl_easy_init();
    for (size_t i = 0; lines && lines[i]; i++) {
        struct curl_slist *longer = curl_slist_append(r->lines, lines[i]);
        if (!longer)
            return pn_no_memory(err, url);
        r->lines = longer;
    }
    if (!r->url || !r->easy)
        return pn_no_memory(err, url);
    set_up(r);
    return PANTRY_OK;
}

pantry_status pn_request_open(struct pn_request *r, const struct pn_http *http, const char *url,
                              const char *const *lines, pn_http_sink *sink, void *user, struct pantry_error *err)
{
    return open_request(r, http, url, NULL, lines, sink, user, err);
}

/* After other redirects than 307 and 308 a body would not be sent again. */
static bool may_follow(const struct pn_request *r)
{
    return r->head.status == 307 || r->head.status == 308 || !r->body.method || strcmp(r->body.method, "HEAD") == 0;
}

pantry_status pn_request_redirect(struct pn_request *r, bool *again, struct pantry_error *err)
{
    char *target = NULL, *host;
    bool https, was_https = strncmp(r->url, "https:", 6) == 0;
    *again = false;
    if (r->head.status / 100 != 3)
        return PANTRY_OK;
    curl_easy_getinfo(r->easy, CURLINFO_REDIRECT_URL, &target);
    if (!target || !pn_http_host(target, &host, &https))
        return pn_fail(err, PANTRY_FORMAT, "%s: status %ld without a valid http or https address", r->url,
                       r->head.status);
    free(host);
    if (!https && (was_https || !r->http->plain))
        return pn_fail(err, PANTRY_FORMAT, "%s: redirects to %.200s, which is not https", r->url, target);
    if (!may_follow(r))
        return pn_fail(err, PANTRY_FORMAT, "%s: redirects a %s by status %ld, not by 307", r->url, r->body.method,
                       r->head.status);
    if (++r->redirects > MAX_REDIRECTS)
        return pn_fail(err, PANTRY_FORMAT, "%s: more than %d redirects", r->url, MAX_REDIRECTS);
    char *copy = strdup(target);
    if (!copy)
        return pn_no_memory(err, r->url);
    free(r->url);
    r->url = copy;
    set_up(r);
    *again = true;
    return PANTRY_OK;
}

void pn_request_free(struct pn_request *r)
{
    curl_easy_cleanup(r->easy);
    curl_slist_free_all(r->lines);
    free(r->url);
    r->easy = NULL;
    r->lines = NULL;
    r->url = NULL;
}

bool pn_http_may_retry(CURLcode code, long status)
{
    switch (code) {
    case CURLE_OK:
        return status == 408 || status == 429 || status >= 500;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_WEIRD_SERVER_REPLY:
        return true;
    default:
        return false;
    }
}

pantry_status pn_http_pause(const struct pn_http *http, int n, unsigned retry_after, struct pantry_error *err)
{
    unsigned ms = 500u << (n < 6 ? n - 1 : 5);
    if (retry_after * 1000 > ms)
        ms = retry_after * 1000;
    for (unsigned waited = 0; waited < ms; waited += 50) {
        if (http->cancel && pantry_cancel_is_set(http->cancel))
            return pn_job_stopped(err);
        nanosleep(&(struct timespec){0, 50 * 1000000L}, NULL);
    }
    return PANTRY_OK;
}

/* ---- small texts ---- */

static bool keep_text(void *user, struct pn_request *r, const char *bytes, size_t n)
{
    struct pn_buf *body = user;
    (void)r;
    pn_buf_append(body, bytes, n);
    return !body->failed && !body->over_limit;
}

/* The error for a transfer that failed. */
static pantry_status failed(const struct pn_request *r, const struct pn_buf *answer, CURLcode code,
                            struct pantry_error *err)
{
    if (code == CURLE_ABORTED_BY_CALLBACK && r->http->cancel && pantry_cancel_is_set(r->http->cancel))
        return pn_job_stopped(err);
    if (code == CURLE_ABORTED_BY_CALLBACK)
        return pn_fail(err, PANTRY_FORMAT, "the file that is sent cannot be read");
    if (answer->over_limit)
        return pn_fail(err, PANTRY_LIMIT, "%s: the answer is longer than %zu bytes", r->url, answer->limit);
    if (answer->failed)
        return pn_no_memory(err, r->url);
    return pn_fail(err, PANTRY_IO, "%s: %s", r->url, *r->why ? r->why : curl_easy_strerror(code));
}

pantry_status pn_http_call(const struct pn_http *http, const char *url, const struct pn_http_body *body,
                           const char *const *lines, struct pn_http_head *head, struct pn_buf *answer, CURLcode *code,
                           struct pantry_error *err)
{
    struct pn_request r;
    bool again = true;
    *code = CURLE_OK;
    pantry_status status = open_request(&r, http, url, body, lines, keep_text, answer, err);
    while (!status && again) {
        pn_buf_clear(answer);
        *code = curl_easy_perform(r.easy);
        again = false;
        if (*code == CURLE_OK)
            status = pn_request_redirect(&r, &again, err);
        else
            status = failed(&r, answer, *code, err);
    }
    *head = r.head;
    pn_request_free(&r);
    return status;
}

pantry_status pn_http_get(const struct pn_http *http, const char *url, const char *accept, size_t limit,
                          struct pn_http_head *head, struct pn_buf *body, struct pantry_error *err)
{
    const char *const lines[] = {accept, NULL};
    for (int n = 1;; n++) {
        CURLcode code = CURLE_OK;
        pn_buf_free(body);
        *body = (struct pn_buf){.limit = limit};
        pantry_status status = pn_http_call(http, url, NULL, lines, head, body, &code, err);
        if ((status && status != PANTRY_IO) || n == MAX_TRIES || !pn_http_may_retry(code, head->status))
            return status;
        if ((status = pn_http_pause(http, n, head->retry_after, err)))
            return status;
    }
}

/* ---- the start of a file ---- */

struct peek {
    char *first;
    size_t n, have;
};

static bool take_start(void *user, struct pn_request *r, const char *bytes, size_t n)
{
    struct peek *peek = user;
    (void)r;
    size_t room = peek->n - peek->have;
    memcpy(peek->first + peek->have, bytes, n < room ? n : room);
    peek->have += n < room ? n : room;
    return peek->have < peek->n; /* a server without ranges would send it all */
}

pantry_status pn_http_peek(const struct pn_http *http, const char *url, char *first, size_t n,
                           struct pn_http_head *head, struct pantry_error *err)
{
    char range[64];
    snprintf(range, sizeof range, "Range: bytes=0-%zu", n - 1);
    const char *const lines[] = {range, NULL};
    for (int tries = 1;; tries++) {
        struct peek peek = {first, n, 0};
        struct pn_request r;
        struct pn_buf none = {0};
        CURLcode code = CURLE_OK;
        bool again = true;
        pantry_status status = pn_request_open(&r, http, url, lines, take_start, &peek, err);
        while (!status && again) {
            code = curl_easy_perform(r.easy);
            again = false;
            if (peek.have == n)
                code = CURLE_OK;
            else if (code == CURLE_OK && r.head.status / 100 == 2)
                status = pn_fail(err, PANTRY_FORMAT, "%s: has only %zu bytes", r.url, peek.have);
            else
                status = code == CURLE_OK ? pn_request_redirect(&r, &again, err) : failed(&r, &none, code, err);
        }
        *head = r.head;
        pn_request_free(&r);
        if ((status && status != PANTRY_IO) || tries == MAX_TRIES || !pn_http_may_retry(code, head->status))
            return status;
        if ((status = pn_http_pause(http, tries, head->retry_after, err)))
            return status;
    }
}
