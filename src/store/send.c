/* Uploads of blobs: see send.h.
 *
 * OCI distribution: POST .../blobs/uploads/ opens a session (or links the blob of another repository), PATCH with
 * Content-Range adds a chunk, GET says how much is there, PUT with the digest ends it. Every answer may give the
 * session another address. A registry that takes no chunks gets one PUT with the whole blob. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/send.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    CHUNK = 16 << 20,
    MAX_CHUNK = 1 << 30, /* that a registry may ask for at least */
    MAX_FAILURES = 6,    /* in a row */
    MAX_ANSWER = 64 << 10,
    END_SECONDS = 600, /* the registry reads the blob before it answers */
};

struct session {
    const struct pn_send *upload;
    int fd;           /* of the blob */
    char *state;      /* the file that notes the address */
    char *url;        /* NULL: no session */
    uint64_t at;      /* bytes that the registry has */
    uint64_t sending; /* the first byte of this request */
    uint64_t chunk;
    bool done, whole; /* the blob is there; the registry takes no chunks */
    int failures;
};

/* ---- small things ---- */

pantry_status pn_send_key(const struct pn_registry *r, const char *hex, char key[sizeof "upload-" + PN_SHA256_HEX],
                          struct pantry_error *err)
{
    char *url = pn_registry_blob(r, hex);
    memcpy(key, "upload-", 7);
    pantry_status status = url ? pn_sha256_bytes(url, strlen(url), key + 7, err) : pn_no_memory(err, hex);
    free(url);
    return status;
}

static bool read_blob(void *user, uint64_t at, char *to, size_t n)
{
    struct session *s = user;
    for (size_t have = 0; have < n;) {
        ssize_t k = pread(s->fd, to + have, n - have, (off_t)(s->sending + at + have));
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return false;
        have += (size_t)k;
    }
    s->upload->tick(s->upload->user, s->sending + at + n);
    return true;
}

/* Forgets the session. */
static void drop(struct session *s)
{
    free(s->url);
    s->url = NULL;
    s->at = 0;
    unlink(s->state);
}

/* Takes the session's new address, if there is one, and notes it. */
static pantry_status follow(struct session *s, const char *base, const struct pn_http_head *head,
                            struct pantry_error *err)
{
    const struct pn_registry *r = s->upload->registry;
    bool https;
    char *host = NULL;
    if (!head->location[0])
        return s->url ? PANTRY_OK
                      : pn_fail(err, PANTRY_FORMAT, "%s: opened an upload without an address", r->name->host);
    char *url = pn_http_resolve(base, head->location);
    pantry_status status = PANTRY_OK;
    if (!url || !pn_http_host(url, &host, &https))
        status = pn_fail(err, PANTRY_FORMAT, "%s: gave an upload the address %.200s, which is not http or https",
                         r->name->host, head->location);
    else if (!https && !r->http.plain)
        status = pn_fail(err, PANTRY_FORMAT, "%s: gave an upload the address %.200s, which is not https", r->name->host,
                         url);
    free(host);
    if (status) {
        free(url);
        return status;
    }
    free(s->url);
    s->url = url;
    return pn_store_replace_private_file(s->state, url, strlen(url), err);
}

/* The address of an earlier call; NULL: none. */
static char *noted_address(const struct session *s)
{
    char *text = NULL;
    size_t n = 0;
    bool good = pn_file_read(s->state, sizeof((struct pn_http_head *)0)->location, &text, &n, NULL) == PANTRY_OK &&
                n > 0 && !memchr(text, '\0', n);
    char *url = good ? strndup(text, n) : NULL;
    free(text);
    return url;
}

static pantry_status call(struct session *s, const char *method, const char *url, uint64_t bytes, const char *range,
                          struct pn_http_head *head, bool *retry, struct pantry_error *err)
{
    const struct pn_http_body body = {.method = method, .bytes = bytes, .read = read_blob, .user = s};
    const char *const lines[] = {"Content-Type: application/octet-stream", "Expect:", range, NULL};
    struct pn_buf answer = {.limit = MAX_ANSWER};
    CURLcode code;
    s->sending = s->at;
    pantry_status status = pn_registry_call(s->upload->registry, url, &body, lines, head, &answer, &code, err);
    *retry = (!status || status == PANTRY_IO) && pn_http_may_retry(code, head->status);
    pn_buf_free(&answer);
    return status;
}

/* ---- the session ---- */

/* How much the registry has; no session if it does not know this one. */
static pantry_status ask(struct session *s, struct pantry_error *err)
{
    struct pn_http_head head;
    pantry_status status = pn_registry_ask(s->upload->registry, s->url, NULL, NULL, &head, err);
    if (status == PANTRY_CANCELLED)
        return status;
    bool known = !status && head.status / 100 == 2;
    s->at = known && head.has_last && head.last > 0 ? head.last + 1 : 0;
    if (!known || s->at > s->upload->layer.bytes) {
        drop(s);
        return PANTRY_OK;
    }
    return follow(s, s->url, &head, err);
}

static pantry_status open_session(struct session *s, struct pantry_error *err)
{
    const struct pn_send *u = s->upload;
    const struct pn_model_name *name = u->registry->name;
    struct pn_http_head head;
    bool retry;
    char *query = u->mount_from ? pn_layout_path("?mount=sha256:%s&from=%s", u->layer.hex, u->mount_from) : strdup("");
    char *url =
        query ? pn_layout_path("%s/v2/%s/%s/blobs/uploads/%s", u->registry->origin, name->space, name->model, query)
              : NULL;
    pantry_status status = url ? PANTRY_OK : pn_no_memory(err, "an upload");
    while (!status) {
        status = call(s, "POST", url, 0, NULL, &head, &retry, err);
        if (!retry || ++s->failures > MAX_FAILURES)
            break;
        status = pn_http_pause(&u->registry->http, s->failures, head.retry_after, err);
    }
    if (!status && head.status == 201)
        s->done = true; /* mounted */
    else if (!status && head.status == 202)
        status = follow(s, url, &head, err);
    else if (!status)
        status = pn_registry_refused(u->registry, "an upload", &head, err);
    if (!status) {
        s->failures = 0;
        s->chunk = head.min_chunk > CHUNK ? (head.min_chunk < MAX_CHUNK ? head.min_chunk : MAX_CHUNK) : CHUNK;
    }
    free(query);
    free(url);
    return status;
}

/* After a failure: waits, and asks how much has arrived. */
static pantry_status recover(struct session *s, const struct pn_http_head *head, pantry_status status,
                             struct pantry_error *err)
{
    const struct pn_registry *r = s->upload->registry;
    if (++s->failures > MAX_FAILURES)
        return status ? status : pn_registry_refused(r, "a blob", head, err);
    status = pn_http_pause(&r->http, s->failures, head->retry_after, err);
    return status ? status : ask(s, err);
}

static pantry_status send_chunk(struct session *s, struct pantry_error *err)
{
    const struct pn_send *u = s->upload;
    struct pn_http_head head;
    bool retry;
    char range[80];
    uint64_t left = u->layer.bytes - s->at, n = left < s->chunk ? left : s->chunk, end = s->at + n;
    snprintf(range, sizeof range, "Content-Range: %llu-%llu", (unsigned long long)s->at, (unsigned long long)end - 1);
    pantry_status status = call(s, "PATCH", s->url, n, range, &head, &retry, err);
    if (retry || (!status && (head.status == 404 || head.status == 416)))
        return recover(s, &head, status, err);
    if (!status && s->at == 0 && (head.status == 405 || head.status == 501)) {
        s->whole = true;
        return PANTRY_OK;
    }
    if (status)
        return status;
    if (head.status / 100 != 2)
        return pn_registry_refused(u->registry, "a blob", &head, err);
    if (head.has_last && head.last + 1 > end)
        return pn_fail(err, PANTRY_FORMAT, "%s: says that it has more of a blob than was sent",
                       u->registry->name->host);
    bool moved = !head.has_last || head.last + 1 > s->at;
    s->failures = moved ? 0 : s->failures + 1;
    if (s->failures > MAX_FAILURES)
        return pn_fail(err, PANTRY_IO, "%s: takes no bytes of a blob", u->registry->name->host);
    s->at = head.has_last && moved ? head.last + 1 : moved ? end : s->at;
    return follow(s, s->url, &head, err);
}

/* PUT with the digest: with no bytes after the chunks, or with all of them. */
static pantry_status end_session(struct session *s, struct pantry_error *err)
{
    const struct pn_send *u = s->upload;
    struct pn_http_head head;
    bool retry;
    char *url = pn_layout_path("%s%cdigest=sha256:%s", s->url, strchr(s->url, '?') ? '&' : '?', u->layer.hex);
    if (!url)
        return pn_no_memory(err, "an upload");
    unsigned stall = u->registry->http.stall_seconds;
    u->registry->http.stall_seconds = s->whole ? stall : END_SECONDS;
    pantry_status status = call(s, "PUT", url, u->layer.bytes - s->at, NULL, &head, &retry, err);
    u->registry->http.stall_seconds = stall;
    free(url);
    if (retry || (!status && head.status == 404)) { /* perhaps only the answer was lost */
        pantry_status seen = pn_send_has(u->registry, &u->layer, &s->done, NULL);
        return !seen && s->done ? PANTRY_OK : recover(s, &head, status, err);
    }
    if (!status && head.status / 100 != 2) {
        drop(s);
        return pn_registry_refused(u->registry, "a blob", &head, err);
    }
    s->done = !status;
    return status;
}

static pantry_status run(struct session *s, struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    if ((s->url = noted_address(s)))
        status = ask(s, err);
    while (!status && !s->done) {
        if (!s->url)
            status = open_session(s, err);
        else if (s->at < s->upload->layer.bytes && !s->whole)
            status = send_chunk(s, err);
        else
            status = end_session(s, err);
    }
    if (!status)
        drop(s);
    return status;
}

pantry_status pn_send_blob(const struct pn_send *upload, struct pantry_error *err)
{
    char key[sizeof "upload-" + PN_SHA256_HEX];
    char *blob = pn_layout_path("%s/blobs/sha256-%s", upload->store, upload->layer.hex);
    struct session s = {.upload = upload, .fd = blob ? open(blob, O_RDONLY | O_CLOEXEC) : -1, .chunk = CHUNK};
    pantry_status status = pn_send_key(upload->registry, upload->layer.hex, key, err);
    if (!status && !(s.state = pn_layout_path("%s/fetch/%s", upload->store, key)))
        status = pn_no_memory(err, "an upload");
    if (!status && s.fd < 0)
        status = blob ? pn_fail(err, PANTRY_IO, "%s: %s", blob, strerror(errno)) : pn_no_memory(err, "an upload");
    if (!status)
        status = run(&s, err);
    if (s.fd >= 0)
        close(s.fd);
    free(s.url);
    free(s.state);
    free(blob);
    return status;
}

pantry_status pn_send_has(struct pn_registry *r, const struct pn_layer *layer, bool *has, struct pantry_error *err)
{
    const struct pn_http_body body = {.method = "HEAD"};
    struct pn_http_head head;
    char *url = pn_registry_blob(r, layer->hex);
    *has = false;
    pantry_status status = url ? pn_registry_ask(r, url, &body, NULL, &head, err) : pn_no_memory(err, layer->hex);
    free(url);
    if (status)
        return status;
    if (head.status != 200 && head.status != 404)
        return pn_registry_refused(r, "whether it has a blob", &head, err);
    *has = head.status == 200 && (!head.has_length || head.length == layer->bytes);
    return PANTRY_OK;
}
