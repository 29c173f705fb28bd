/* Parallel, resumable downloads of blobs: see parts.h.
 *
 * A lane is a connection: it takes a part that no other lane has, asks for what is missing of it, and takes the next.
 * The first response shows whether the server sends ranges; until then one lane runs. A server that does not gets one
 * request for the whole file. If the remote file is another than that of the bytes in place (its ETag), these are
 * dropped. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/parts.h"

#include "base/clock.h"
#include "store/lanes.h"
#include "store/partfile.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    N_LANES = 4,
    MAX_FAILURES = 6,       /* in a row */
    MAX_RESTARTS = 3,       /* before ranges are given up */
    MARK_EVERY = 256 << 10, /* bytes between notes in the state */
    HASH_CHUNK = 256 << 10, /* bytes that are read at once to be hashed, ... */
    HASH_TURN = 4 << 20,    /* ... and between two looks at the connections */
};

/* Why a lane ends its own transfer. */
enum verdict { GO_ON, CHANGED, NO_RANGES, FAILED };

struct parts;

struct lane {
    struct parts *parts;
    struct pn_request request;
    bool running;
    size_t part;
    uint64_t from, at, end; /* of the response: first byte, next byte, end */
    uint64_t marked;
    bool gained; /* a byte since the start of this transfer */
    enum verdict verdict;
    unsigned generation; /* of the token that it used */
};

struct parts {
    struct pn_registry *registry;
    struct pn_partfile file;
    const char *url;
    CURLM *multi;
    struct lane lane[N_LANES];
    struct pn_lanes lanes; /* how many may run */
    bool ranges;           /* the server has sent one */
    bool whole;            /* it sends none */
    int restarts, failures;
    uint64_t start_ns;     /* no lane starts before, after a failure */
    struct pn_sha256 hash; /* of the first `hashed` bytes */
    uint64_t hashed;
    char *chunk;
    pantry_status status;
    struct pantry_error *err;
};

/* ---- the digest ---- */

/* All bytes in place are dropped. */
static pantry_status forget(struct parts *p, const char *etag)
{
    pn_sha256_free(&p->hash);
    p->hashed = 0;
    pantry_status status = pn_sha256_start(&p->hash, p->err);
    return status ? status : pn_partfile_restart(&p->file, etag, p->err);
}

/* Bytes from the start without a gap. */
static uint64_t prefix_of(const struct pn_partfile *f)
{
    uint64_t n = 0;
    for (size_t part = 0; part < f->n; part++) {
        n += f->have[part];
        if (f->have[part] < pn_partfile_length(f, part))
            break;
    }
    return n;
}

/* Hashes what has come, some of it: from memory, as it was written just now. */
static void follow(struct parts *p)
{
    uint64_t end = prefix_of(&p->file);
    end = end - p->hashed > HASH_TURN ? p->hashed + HASH_TURN : end;
    while (!p->status && p->hashed < end) {
        size_t wanted = end - p->hashed < HASH_CHUNK ? (size_t)(end - p->hashed) : HASH_CHUNK;
        ssize_t n = pread(p->file.data, p->chunk, wanted, (off_t)p->hashed);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            p->status = pn_fail(p->err, PANTRY_IO, "%s: %s", p->file.data_path, n ? strerror(errno) : "is cut off");
            return;
        }
        pn_sha256_update(&p->hash, p->chunk, (size_t)n);
        p->hashed += (uint64_t)n;
    }
}

static bool is_taken(const struct parts *p, size_t part)
{
    for (int i = 0; i < N_LANES; i++)
        if (p->lane[i].running && (p->whole || p->lane[i].part == part))
            return true;
    return false;
}

static bool next_part(const struct parts *p, size_t *part)
{
    for (*part = 0; *part < p->file.n; ++*part)
        if (p->file.have[*part] < pn_partfile_length(&p->file, *part) && !is_taken(p, *part))
            return true;
    return false;
}

/* ---- bytes ---- */

/* The first bytes of a response: is it what was asked for? */
static enum verdict check_head(struct lane *lane, const struct pn_http_head *head)
{
    struct parts *p = lane->parts;
    bool known = p->file.etag[0] && head->etag[0], same = strcmp(p->file.etag, head->etag) == 0;
    if (head->status == 206) {
        if (!head->has_range || head->first != lane->at || head->total != p->file.bytes) {
            p->status =
                pn_fail(p->err, PANTRY_FORMAT,
                        "%s: sent another range or size (found byte %llu of %llu, expected byte %llu of %llu)",
                        p->registry->name->host, (unsigned long long)head->first, (unsigned long long)head->total,
                        (unsigned long long)lane->at, (unsigned long long)p->file.bytes);
            return FAILED;
        }
        if (known && !same && !p->whole)
            return CHANGED;
        p->ranges = true;
    } else if (!p->whole && (known || p->ranges || lane->at > 0)) {
        return known && !same ? CHANGED : NO_RANGES;
    } else {
        p->whole = true;
        lane->end = p->file.bytes;
    }
    /* The ETag belongs to bytes that are not there yet. */
    if (!p->file.etag[0] && head->etag[0] && pn_partfile_present(&p->file) == 0 && (p->status = forget(p, head->etag)))
        return FAILED;
    return GO_ON;
}

/* Writes bytes and counts them for their parts; a whole file goes through all parts. */
static pantry_status store(struct lane *lane, const char *bytes, size_t n)
{
    struct parts *p = lane->parts;
    struct pn_partfile *f = &p->file;
    while (n > 0) {
        size_t part = (size_t)(lane->at / f->part_bytes), piece = n;
        uint64_t left = pn_partfile_start(f, part) + pn_partfile_length(f, part) - lane->at;
        if (piece > left)
            piece = (size_t)left;
        pantry_status status = pn_partfile_write(f, lane->at, bytes, piece, p->err);
        if (status)
            return status;
        lane->at += piece;
        f->have[part] += piece;
        if (piece == left || lane->at - lane->marked >= MARK_EVERY) {
            lane->marked = lane->at;
            if ((status = pn_partfile_mark(f, part, p->err)))
                return status;
        }
        bytes += piece;
        n -= piece;
    }
    return PANTRY_OK;
}

static bool take_bytes(void *user, struct pn_request *r, const char *bytes, size_t n)
{
    struct lane *lane = user;
    struct parts *p = lane->parts;
    if (!lane->gained && (lane->verdict = check_head(lane, &r->head)) != GO_ON)
        return false;
    lane->gained = true;
    if (n > lane->end - lane->at)
        p->status = pn_fail(p->err, PANTRY_FORMAT, "%s: sent more than the %llu bytes in the manifest",
                            p->registry->name->host, (unsigned long long)p->file.bytes);
    else
        p->status = store(lane, bytes, n);
    if (p->status)
        lane->verdict = FAILED;
    return !p->status;
}

/* ---- lanes ---- */

static bool is_strong(const char *etag)
{
    return etag[0] == '"';
}

static void start(struct lane *lane, size_t part)
{
    struct parts *p = lane->parts;
    struct pn_partfile *f = &p->file;
    if (p->whole && pn_partfile_present(f) > 0 && (p->status = forget(p, "")))
        return;
    char range[80], if_range[PN_ETAG_MAX + 16];
    const char *lines[3] = {NULL};
    lane->part = part;
    lane->at = p->whole ? 0 : pn_partfile_start(f, part) + f->have[part];
    lane->end = p->whole ? f->bytes : pn_partfile_start(f, part) + pn_partfile_length(f, part);
    lane->from = lane->marked = lane->at;
    lane->gained = false;
    lane->verdict = GO_ON;
    lane->generation = p->registry->generation;
    if (!p->whole) {
        snprintf(range, sizeof range, "Range: bytes=%llu-%llu", (unsigned long long)lane->at,
                 (unsigned long long)lane->end - 1);
        snprintf(if_range, sizeof if_range, "If-Range: %s", f->etag);
        lines[0] = range;
        lines[1] = is_strong(f->etag) ? if_range : NULL;
    }
    p->status = pn_request_open(&lane->request, &p->registry->http, p->url, lines, take_bytes, lane, p->err);
    if (p->status || curl_multi_add_handle(p->multi, lane->request.easy) != CURLM_OK) {
        pn_request_free(&lane->request);
        p->status = p->status ? p->status : pn_no_memory(p->err, "a connection");
        return;
    }
    lane->running = true;
}

static void stop(struct lane *lane)
{
    if (!lane->running)
        return;
    curl_multi_remove_handle(lane->parts->multi, lane->request.easy);
    pn_request_free(&lane->request);
    lane->running = false;
}

static void stop_all(struct parts *p)
{
    for (int i = 0; i < N_LANES; i++)
        stop(&p->lane[i]);
}

static void start_idle_lanes(struct parts *p)
{
    int n = p->whole || !p->ranges ? 1 : p->lanes.now, running = 0;
    size_t part;
    if (p->start_ns > pn_clock_ns())
        return;
    for (int i = 0; i < N_LANES; i++)
        running += p->lane[i].running;
    for (int i = 0; i < N_LANES && running < n && !p->status; i++) {
        struct lane *lane = &p->lane[i];
        if (!lane->running && next_part(p, &part)) {
            start(lane, part);
            running++;
        }
    }
}

/* The remote file is another one, or comes only as a whole: all starts from its first byte. Servers whose machines
 * disagree about the ETag are asked for the whole in the end. */
static void restart(struct lane *lane)
{
    struct parts *p = lane->parts;
    char etag[PN_ETAG_MAX + 1];
    snprintf(etag, sizeof etag, "%s", lane->request.head.etag);
    p->whole |= lane->verdict == NO_RANGES || ++p->restarts > MAX_RESTARTS;
    stop_all(p);
    p->status = forget(p, etag);
}

/* A transfer that ended before its time: try again later, or give up. */
static void fail_lane(struct lane *lane, CURLcode code)
{
    struct parts *p = lane->parts;
    const struct pn_request *r = &lane->request;
    long http = r->head.status;
    bool may = pn_http_may_retry(code, http) || (code == CURLE_OK && http / 100 == 2);
    p->failures = lane->gained && !p->whole ? 1 : p->failures + 1;
    if (!may || p->failures > MAX_FAILURES) {
        if (code == CURLE_ABORTED_BY_CALLBACK)
            p->status = pn_job_stopped(p->err);
        else if (code != CURLE_OK)
            p->status = pn_fail(p->err, PANTRY_IO, "%s: %s", r->url, *r->why ? r->why : curl_easy_strerror(code));
        else
            p->status = pn_fail(p->err, http == 404 ? PANTRY_NOT_FOUND : PANTRY_IO, "%s: status %ld", r->url, http);
        return;
    }
    uint64_t pause = 500000000ull << (p->failures - 1);
    if (r->head.retry_after * 1000000000ull > pause)
        pause = r->head.retry_after * 1000000000ull;
    p->start_ns = pn_clock_ns() + pause;
    pn_lanes_failed(&p->lanes); /* perhaps it was too much at once */
    stop(lane);
}

static void finish(struct lane *lane, CURLcode code)
{
    struct parts *p = lane->parts;
    bool again = false;
    long http = lane->request.head.status;
    if (p->status)
        return;
    if (lane->verdict == CHANGED || lane->verdict == NO_RANGES || (code == CURLE_OK && http == 416 && !p->whole)) {
        restart(lane);
    } else if (code == CURLE_OK && http / 100 == 3) {
        curl_multi_remove_handle(p->multi, lane->request.easy);
        if (!(p->status = pn_request_redirect(&lane->request, &again, p->err)) && !again)
            p->status = pn_fail(p->err, PANTRY_IO, "%s: status %ld", lane->request.url, http);
        if (!p->status && curl_multi_add_handle(p->multi, lane->request.easy) != CURLM_OK)
            p->status = pn_no_memory(p->err, "a connection");
    } else if (code == CURLE_OK && http == 401) {
        if (lane->generation == p->registry->generation) /* else another lane has a new one already */
            p->status = pn_registry_authorize(p->registry, &lane->request.head, p->err);
        stop(lane);
    } else if (code == CURLE_OK && lane->at == lane->end && (http == 200 || http == 206)) {
        p->failures = 0;
        pn_lanes_ended(&p->lanes, lane->end - lane->from, pn_clock_ns());
        p->registry->tokens = 0; /* they expire during long downloads */
        stop(lane);
    } else {
        fail_lane(lane, code);
    }
}

static void finish_ended(struct parts *p)
{
    CURLMsg *message;
    int left;
    while (!p->status && (message = curl_multi_info_read(p->multi, &left))) {
        struct lane *lane = NULL;
        for (int i = 0; i < N_LANES; i++)
            if (p->lane[i].running && p->lane[i].request.easy == message->easy_handle)
                lane = &p->lane[i];
        if (message->msg == CURLMSG_DONE && lane)
            finish(lane, message->data.result);
    }
}

/* ---- all of it ---- */

static bool is_stopped(struct parts *p)
{
    const pantry_cancel *cancel = p->registry->http.cancel;
    if (!p->status && cancel && pantry_cancel_is_set(cancel))
        p->status = pn_job_stopped(p->err);
    return p->status != PANTRY_OK;
}

static void run(struct parts *p, const struct pn_parts_watch *watch)
{
    enum { POLL_MS = 50 };
    uint64_t have;
    while (!p->status && (have = pn_partfile_present(&p->file)) < p->file.bytes && !is_stopped(p)) {
        int running;
        watch->tick(watch->user, have);
        start_idle_lanes(p);
        curl_multi_perform(p->multi, &running);
        finish_ended(p);
        if (!p->status)
            follow(p);
        if (!p->status && p->hashed == prefix_of(&p->file)) /* else there is more to do than to wait */
            curl_multi_poll(p->multi, NULL, 0, POLL_MS, NULL);
    }
    if (!p->status)
        watch->tick(watch->user, p->file.bytes);
    /* What came since the last mark counts, too. */
    for (int i = 0; i < N_LANES; i++)
        if (p->lane[i].running && p->lane[i].at < p->file.bytes)
            pn_partfile_mark(&p->file, (size_t)(p->lane[i].at / p->file.part_bytes), NULL);
}

/* Hashes the rest. */
static void complete(struct parts *p, const struct pn_parts_watch *watch, char hex[PN_SHA256_HEX + 1])
{
    while (p->hashed < p->file.bytes && !is_stopped(p)) {
        follow(p);
        watch->verify(watch->user, p->hashed);
    }
    if (!p->status)
        p->status = pn_sha256_finish(&p->hash, hex, p->err);
}

pantry_status pn_parts_download(struct pn_registry *registry, const char *url, const char *store,
                                const struct pn_layer *layer, const struct pn_parts_watch *watch,
                                char hex[PN_SHA256_HEX + 1], bool *resumed, struct pantry_error *err)
{
    struct parts p = {.registry = registry, .url = url, .lanes = pn_lanes_new(N_LANES), .err = err};
    for (int i = 0; i < N_LANES; i++)
        p.lane[i].parts = &p;
    p.status = pn_partfile_open(&p.file, store, layer->hex, layer->bytes, err);
    *resumed = !p.status && pn_partfile_present(&p.file) > 0;
    p.multi = curl_multi_init();
    p.chunk = malloc(HASH_CHUNK);
    if (!p.status && (!p.multi || !p.chunk))
        p.status = pn_no_memory(err, layer->hex);
    if (!p.status)
        p.status = pn_sha256_start(&p.hash, err);
    if (!p.status)
        run(&p, watch);
    stop_all(&p);
    if (!p.status)
        complete(&p, watch, hex);
    curl_multi_cleanup(p.multi);
    pn_partfile_close(&p.file);
    pn_sha256_free(&p.hash);
    free(p.chunk);
    return p.status;
}

char *pn_parts_data(const char *store, const struct pn_layer *layer)
{
    return pn_layout_path("%s/blobs/sha256-%s-partial-data", store, layer->hex);
}

uint64_t pn_parts_space(const char *store, const struct pn_layer *layer)
{
    struct stat st;
    char *path = pn_parts_data(store, layer);
    uint64_t have = path && lstat(path, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
    free(path);
    return have < layer->bytes ? layer->bytes - have : 0;
}

void pn_parts_remove(const char *store, const char *hex)
{
    static const char *const ends[] = {"state", "data"};
    for (size_t i = 0; i < 2; i++) {
        char *path = pn_layout_path("%s/blobs/sha256-%s-partial-%s", store, hex, ends[i]);
        if (path)
            unlink(path);
        free(path);
    }
}
