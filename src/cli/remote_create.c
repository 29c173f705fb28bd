/* Making a model on another machine: see remote_create.h. All through Ollama's API: a file is hashed, sent if the
 * service has no blob of that digest, and named in /api/create. */
#define _POSIX_C_SOURCE 200809L
#include "cli/remote_create.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "base/status.h"
#include "cli/options.h"
#include "cli/progress.h"
#include "cli/say.h"
#include "cli/terminal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct sending {
    const struct pn_client *client;
    bool quiet;
    struct pn_progress_bar bar;
    struct pn_fetch_progress progress; /* of the file at hand */
    long http_status;                  /* of the last call */
};

static void report(void *user, uint64_t done)
{
    struct sending *s = user;
    s->progress.done = s->progress.blob_done = done;
    if (!s->quiet && s->bar.terminal)
        pn_progress_show(&s->bar, &s->progress);
}

static void say(struct sending *s, const char *line)
{
    if (s->quiet)
        return;
    pn_progress_end(&s->bar);
    pn_cli_put_untrusted(stderr, line, strlen(line));
    fputc('\n', stderr);
    pn_progress_start(&s->bar, stderr, false);
}

/* ---- one file ---- */

static pantry_status hash_file(struct sending *s, FILE *file, const char *path, char hex[PN_SHA256_HEX + 1],
                               struct pantry_error *err)
{
    enum { CHUNK = 1 << 20 };
    struct pn_sha256 hash;
    char *chunk = malloc(CHUNK);
    pantry_status status = chunk ? pn_sha256_start(&hash, err) : pn_no_memory(err, path);
    uint64_t done = 0;
    size_t n = 1;
    while (!status && n) {
        n = fread(chunk, 1, CHUNK, file);
        pn_sha256_update(&hash, chunk, n);
        report(s, done += n);
        if (pn_term_interrupted())
            status = pn_fail(err, PANTRY_CANCELLED, "stopped");
    }
    if (!status && ferror(file))
        status = pn_fail(err, PANTRY_IO, "%s: %s", path, strerror(errno));
    if (!status)
        status = pn_sha256_finish(&hash, hex, err);
    else if (chunk)
        pn_sha256_free(&hash);
    free(chunk);
    return status;
}

/* *has: the service has the blob. */
static pantry_status ask_for_blob(struct sending *s, const char *path, bool *has, struct pantry_error *err)
{
    struct pn_call call = {.method = "HEAD", .path = path, .cancel = pn_term_interrupt()};
    pantry_status status = pn_client_call(s->client, &call, err);
    s->http_status = call.status;
    *has = status == PANTRY_OK;
    return status == PANTRY_NOT_FOUND ? PANTRY_OK : status;
}

static pantry_status send_blob(struct sending *s, FILE *file, const char *path, struct pantry_error *err)
{
    struct pn_call call = {.method = "POST",
                           .path = path,
                           .file = file,
                           .file_bytes = s->progress.total,
                           .sent = report,
                           .user = s,
                           .cancel = pn_term_interrupt()};
    s->progress.phase = PN_FETCH_UPLOAD;
    pantry_status status = pn_client_call(s->client, &call, err);
    s->http_status = call.status;
    return status;
}

static pantry_status send_file(struct sending *s, const char *path, char digest[72], struct pantry_error *err)
{
    char hex[PN_SHA256_HEX + 1], where[128];
    struct stat st;
    bool has = false;
    FILE *file = fopen(path, "rb");
    if (!file || fstat(fileno(file), &st) != 0 || !S_ISREG(st.st_mode)) {
        pantry_status status = pn_fail(err, PANTRY_IO, "%s: %s", path, file ? "not a file" : strerror(errno));
        if (file)
            fclose(file);
        return status;
    }
    s->progress = (struct pn_fetch_progress){.phase = PN_FETCH_VERIFY, .name = path};
    s->progress.total = s->progress.blob_total = (uint64_t)st.st_size;
    pantry_status status = hash_file(s, file, path, hex, err);
    if (!status) {
        s->progress.digest = hex;
        snprintf(digest, 72, "sha256:%s", hex);
        snprintf(where, sizeof where, "/api/blobs/%s", digest);
        rewind(file);
        status = ask_for_blob(s, where, &has, err);
    }
    if (!status && !has)
        status = send_blob(s, file, where, err);
    fclose(file);
    return status;
}

/* Sends the files; *field: {name: digest}. Files of one name in several folders get a number. */
static pantry_status send_files(struct sending *s, const struct pn_create_files *files, json_t **field,
                                struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    *field = json_object();
    for (size_t i = 0; i < files->len && !status; i++) {
        char digest[72] = "", name[300];
        const char *path = files->data[i].path, *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
        snprintf(name, sizeof name, "%s", base);
        if (json_object_get(*field, name))
            snprintf(name, sizeof name, "%zu-%s", i + 1, base);
        status = send_file(s, path, digest, err);
        if (!status && json_object_set_new(*field, name, json_string(digest)) != 0)
            status = pn_no_memory(err, path);
    }
    return status;
}

/* ---- the model ---- */

static bool take_line(void *user, json_t *line)
{
    const char *status = json_string_value(json_object_get(line, "status"));
    if (status && !json_object_get(line, "total") && strcmp(status, "success") != 0)
        say(user, status);
    return true;
}

static json_t *body_of(const char *name, const struct pn_create *c)
{
    json_t *body = json_pack("{s:s, s:s*, s:s*, s:s*, s:s*, s:s*}", "model", name, "from", c->from, "template",
                             c->template, "system", c->system, "requires", c->requires, "quantize", c->quantize);
    const struct {
        const char *key;
        json_t *value;
    } parts[] = {{"license", c->licenses}, {"parameters", c->params}, {"messages", c->messages}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts && body; i++)
        if (parts[i].value)
            json_object_set(body, parts[i].key, parts[i].value);
    return body;
}

static pantry_status make(struct sending *s, const char *name, const struct pn_create *c, struct pantry_error *err)
{
    const struct {
        const char *key;
        const struct pn_create_files *files;
    } lists[] = {{"files", &c->files}, {"adapters", &c->adapters}, {"draft_files", &c->drafts}};
    json_t *body = body_of(name, c);
    pantry_status status = body ? PANTRY_OK : pn_no_memory(err, name);
    for (size_t i = 0; i < sizeof lists / sizeof *lists && !status; i++) {
        json_t *field = NULL;
        if (lists[i].files->len && !(status = send_files(s, lists[i].files, &field, err)))
            json_object_set(body, lists[i].key, field);
        json_decref(field);
    }
    struct pn_call call = {.method = "POST",
                           .path = "/api/create",
                           .body = body,
                           .sink = take_line,
                           .user = s,
                           .cancel = pn_term_interrupt()};
    if (!status) {
        pn_progress_end(&s->bar);
        status = pn_client_call(s->client, &call, err);
        s->http_status = call.status;
    }
    json_decref(body);
    return status;
}

int pn_remote_create(const struct pn_client *client, const char *name, const struct pn_create *create, bool quiet)
{
    struct sending s = {.client = client, .quiet = quiet};
    struct pantry_error err = {0};
    pn_term_watch();
    pn_progress_start(&s.bar, stderr, false);
    pantry_status status = make(&s, name, create, &err);
    pn_progress_end(&s.bar);
    if (status == PANTRY_CANCELLED && pn_term_take_interrupt())
        pn_term_end_interrupted();
    if (status)
        return pn_client_fail(client, s.http_status, &err);
    if (!quiet)
        fprintf(stderr, "success: `%s run %s`\n", pn_cli_program(), name);
    return PN_EXIT_DONE;
}
