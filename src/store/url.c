/* Models from plain URLs: see hub.h. Nothing says which bytes are right, so the digest is that of what came; the size,
 * the ETag and the first bytes are checked. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/hub.h"
#include "store/parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool is_http(const char *text)
{
    return strncasecmp(text, "https://", 8) == 0 || strncasecmp(text, "http://", 7) == 0;
}

bool pn_store_is_url(const char *text)
{
    size_t n = strcspn(text, "?#");
    return is_http(text) && n > 5 && strncasecmp(text + n - 5, ".gguf", 5) == 0;
}

char *pn_url_name(const char *url)
{
    char *path = strndup(url, strcspn(url, "?#")), *name = path ? pn_name_of_file(path) : NULL;
    free(path);
    return name;
}

pantry_status pn_url_open(struct pn_registry *server, const struct pn_model_name *name, const char *url,
                          const struct pn_pull_options *options, struct pantry_error *err)
{
    const pantry_cancel *cancel = options->fetch.cancel;
    if (!options->insecure && !pn_registry_is_safe(url))
        return pn_fail(err, PANTRY_INVALID, "is not an https address (--insecure allows http)");
    if (pn_http_same_origin(url, pn_hub_origin()))
        return pn_hub_open(server, name, options->public_only, cancel, err);
    char *origin = pn_http_origin(url);
    pantry_status status = origin ? pn_registry_open_at(server, name, origin, options->public_only, cancel, err)
                                  : pn_fail(err, PANTRY_INVALID, "is not a valid address");
    free(origin);
    return status;
}

/* The size, and whether it is a GGUF file at all. */
static pantry_status look(struct pn_url_file *file, struct pantry_error *err)
{
    char magic[4];
    struct pn_http_head head;
    pantry_status status = pn_http_peek(&file->registry->http, file->url, magic, sizeof magic, &head, err);
    if (status)
        return status;
    if (head.status / 100 != 2)
        return pn_fail(err, head.status == 404 ? PANTRY_NOT_FOUND : PANTRY_IO, "the server answers with status %ld",
                       head.status);
    if (memcmp(magic, "GGUF", sizeof magic) != 0)
        return pn_fail(err, PANTRY_FORMAT, "is not a GGUF file");
    if (head.status == 206 ? !head.has_range : !head.has_length)
        return pn_fail(err, PANTRY_UNSUPPORTED, "the server does not say how long the file is");
    file->layer.bytes = head.status == 206 ? head.total : head.length;
    if (file->layer.bytes > (uint64_t)1 << 50)
        return pn_fail(err, PANTRY_LIMIT, "is larger than 2^50 bytes");
    return PANTRY_OK;
}

static void tick(void *user, uint64_t bytes)
{
    struct pn_url_file *file = user;
    pn_job_report(file->job, PN_FETCH_DOWNLOAD, bytes, file->layer.bytes);
}

static pantry_status hash_file(struct pn_url_file *file, const struct pn_layer *part, struct pantry_error *err)
{
    char *data = pn_parts_data(file->store, part);
    pantry_status status =
        data ? pn_job_hash(file->job, data, file->layer.bytes, file->layer.hex, err) : pn_no_memory(err, file->url);
    free(data);
    return status;
}

pantry_status pn_url_download(struct pn_url_file *file, struct pantry_error *err)
{
    struct pn_layer part;
    char key[sizeof "blob-" + PN_SHA256_HEX];
    bool resumed;
    file->lock = (struct pn_lock)PN_NO_LOCK;
    pantry_status status = pn_sha256_bytes(file->url, strlen(file->url), file->part, err);
    if (!status)
        status = look(file, err);
    if (status)
        return status;
    part.bytes = file->layer.bytes;
    memcpy(part.hex, file->part, sizeof part.hex);
    snprintf(key, sizeof key, "blob-%s", file->part);
    status = pn_job_lock(file->job, file->store, key, &file->lock, err);
    if (!status)
        status = pn_layout_need_space(file->store, pn_parts_space(file->store, &part), err);
    if (!status)
        status = pn_parts_download(file->registry, file->url, file->store, &part, tick, file, &resumed, err);
    return status ? status : hash_file(file, &part, err);
}
