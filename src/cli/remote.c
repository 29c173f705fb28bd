/* The models of a service on another machine: see remote.h. */
#define _POSIX_C_SOURCE 200809L
#include "cli/remote.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "cli/options.h"
#include "cli/progress.h"
#include "cli/say.h"
#include "cli/terminal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static uint64_t count_of(const json_t *object, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(object, key));
    return n > 0 ? (uint64_t)n : 0;
}

/* ---- list ---- */

void pn_listed_free(struct pn_listed_all *all)
{
    for (size_t i = 0; i < all->len; i++) {
        free(all->data[i].name);
        free(all->data[i].path);
        free(all->data[i].source);
    }
    free(all->data);
    *all = (struct pn_listed_all){0};
}

static pantry_status show(const struct pn_client *client, const char *name, json_t **shown, long *http_status,
                          struct pantry_error *err)
{
    json_t *body = json_pack("{s:s, s:b}", "model", name, "description", 1);
    return pn_client_ask(client, "POST", "/api/show", body, shown, http_status, err);
}

/* Kind and source; a model that cannot be described is listed without them. */
static void look_at(const struct pn_client *client, struct pn_listed *model)
{
    struct pantry_error err;
    json_t *shown = NULL;
    long http_status;
    if (show(client, model->name, &shown, &http_status, &err) == PANTRY_OK) {
        const json_t *description = json_object_get(shown, "description");
        const char *path = json_string_value(json_object_get(description, "path"));
        const char *source = json_string_value(json_object_get(description, "source"));
        model->base = !*text_of(shown, "template");
        model->path = path ? strdup(path) : NULL;
        if (source) {
            free(model->source);
            model->source = strdup(source);
        }
    }
    json_decref(shown);
}

int pn_remote_list(const struct pn_client *client, bool names, struct pn_listed_all *out)
{
    static const char latest[] = ":latest";
    struct pantry_error err = {0};
    json_t *tags, *row;
    long http_status;
    size_t i;
    int status = PN_EXIT_DONE;
    *out = (struct pn_listed_all){0};
    if (pn_client_ask(client, "GET", "/api/tags", NULL, &tags, &http_status, &err))
        return pn_client_fail(client, http_status, &err);
    json_array_foreach(json_object_get(tags, "models"), i, row)
    {
        const char *name = text_of(row, "name");
        size_t n = strlen(name), m = sizeof latest - 1;
        struct pn_listed model = {.bytes = count_of(row, "size"), .base = -1, .source = strdup("service")};
        n -= n > m && strcmp(name + n - m, latest) == 0 ? m : 0;
        model.name = strndup(name, n);
        if (model.name && !names)
            look_at(client, &model);
        if (!model.name || !model.source || !pn_vec_push(out, model)) {
            free(model.name);
            free(model.path);
            free(model.source);
            status = pn_cli_no_memory();
            break;
        }
    }
    json_decref(tags);
    return status;
}

/* ---- show ---- */

/* The hyper-parameters are the metadata that begin with the architecture's name. */
static json_t *hyperparameters_of(const json_t *info, const char *architecture)
{
    json_t *all = json_object(), *value;
    const char *key;
    size_t n = strlen(architecture);
    json_object_foreach((json_t *)(uintptr_t)info, key, value)
    {
        if (n && strncmp(key, architecture, n) == 0 && key[n] == '.' && !json_is_array(value) && !json_is_null(value))
            json_object_set(all, key + n + 1, value);
    }
    return all;
}

/* From the fields that Ollama has. */
static json_t *describe(const json_t *shown)
{
    json_t *info = json_object_get(shown, "model_info");
    const json_t *details = json_object_get(shown, "details");
    const char *architecture = text_of(details, "family");
    json_t *root = json_pack("{s:s, s:s, s:s, s:O*, s:o, s:O*, s:O*}", "name", text_of(info, "general.name"),
                             "architecture", architecture, "format", text_of(details, "format"), "n_params",
                             json_object_get(info, "general.parameter_count"), "hyperparameters",
                             hyperparameters_of(info, architecture), "metadata", info, "tensors",
                             json_object_get(shown, "tensors"));
    if (root && *text_of(shown, "template"))
        json_object_set(root, "template", json_object_get(shown, "template"));
    if (root && *text_of(shown, "license"))
        json_object_set(root, "license_text", json_object_get(shown, "license"));
    return root;
}

int pn_remote_show(const struct pn_client *client, const char *name, json_t **root, uint64_t *bytes)
{
    static const char *const carried[] = {"system", "messages", "parameters", "modelfile"};
    struct pantry_error err = {0};
    json_t *shown = NULL;
    long http_status;
    *root = NULL;
    *bytes = 0;
    if (show(client, name, &shown, &http_status, &err) != PANTRY_OK)
        return pn_client_fail(client, http_status, &err);
    json_t *description = json_object_get(shown, "description");
    *root = json_is_object(description) ? json_copy(description) : describe(shown);
    *bytes = count_of(description, "stored_bytes");
    static const char *const own[] = {"source", "path", "stored_bytes"};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        json_object_del(*root, own[i]);
    for (size_t i = 0; i < sizeof carried / sizeof *carried && *root; i++) {
        json_t *value = json_object_get(shown, carried[i]);
        if (json_is_array(value) || (json_is_string(value) && json_string_length(value)))
            json_object_set(*root, carried[i], value);
    }
    json_decref(shown);
    return *root ? PN_EXIT_DONE : pn_cli_no_memory();
}

/* ---- pull and push ---- */

struct stream {
    const struct pn_remote_transfer *transfer;
    struct pn_progress_bar bar;
    char digest[80]; /* of the blob that the last line is about */
    uint64_t tick_ns, done;
    double rate;
};

/* Bytes per second, smoothed as those of an own download. */
static void measure(struct stream *s, uint64_t done)
{
    uint64_t now = pn_clock_ns();
    if (s->tick_ns && now > s->tick_ns && done >= s->done) {
        double rate = (double)(done - s->done) * 1e9 / (double)(now - s->tick_ns);
        s->rate = s->rate > 0 ? 0.9 * s->rate + 0.1 * rate : rate;
    }
    s->tick_ns = now;
    s->done = done;
}

static bool take_line(void *user, json_t *line)
{
    static const char prefix[] = "sha256:";
    enum { SMALL = 1 << 20 }; /* a log needs no lines about smaller files */
    struct stream *s = user;
    const char *digest = text_of(line, "digest");
    struct pn_fetch_progress p = {.name = s->transfer->name};
    p.phase = s->transfer->push ? PN_FETCH_UPLOAD : PN_FETCH_DOWNLOAD;
    p.total = p.blob_total = count_of(line, "total");
    p.done = p.blob_done = count_of(line, "completed");
    if (s->bar.json)
        pn_progress_put(&s->bar, json_incref(line));
    fflush(s->bar.out);
    if (s->bar.json || !p.total || (!s->bar.terminal && p.total < SMALL))
        return true;
    if (strncmp(digest, prefix, sizeof prefix - 1) == 0)
        p.digest = digest + sizeof prefix - 1;
    if (strcmp(s->digest, digest) != 0) {
        snprintf(s->digest, sizeof s->digest, "%s", digest);
        s->tick_ns = 0;
        s->rate = 0;
        s->bar.phase = -1;
    }
    measure(s, p.done);
    p.rate = s->rate;
    pn_progress_show(&s->bar, &p);
    return true;
}

int pn_remote_transfer(const struct pn_client *client, const struct pn_remote_transfer *transfer)
{
    struct pantry_error err = {0};
    struct stream s = {.transfer = transfer};
    json_t *body = json_pack("{s:s}", "model", transfer->name);
    struct pn_call call = {.method = "POST",
                           .path = transfer->push ? "/api/push" : "/api/pull",
                           .body = body,
                           .sink = take_line,
                           .user = &s,
                           .cancel = pn_term_interrupt()};
    if (!body || (transfer->insecure && json_object_set_new(body, "insecure", json_true()) != 0) ||
        (transfer->to && json_object_set_new(body, "destination", json_string(transfer->to)) != 0)) {
        json_decref(body);
        return pn_cli_no_memory();
    }
    if (!transfer->json)
        fprintf(stderr, "%s: the service at %s %s it\n", transfer->name, client->url,
                transfer->push ? "uploads" : "fetches");
    pn_term_take_interrupt();
    pn_progress_start(&s.bar, transfer->json ? stdout : stderr, transfer->json);
    pantry_status status = pn_client_call(client, &call, &err);
    json_decref(body);
    if (!status) {
        pn_progress_end(&s.bar);
        return PN_EXIT_DONE;
    }
    pn_progress_finish(&s.bar, status, &err);
    return pn_client_advise(client, call.status);
}

/* ---- changes ---- */

int pn_remote_change(const struct pn_client *client, const char *method, const char *path, json_t *body)
{
    struct pantry_error err = {0};
    struct pn_call call = {.method = method, .path = path, .body = body, .cancel = pn_term_interrupt()};
    if (!body)
        return pn_cli_no_memory();
    pantry_status status = pn_client_call(client, &call, &err);
    json_decref(body);
    return status ? pn_client_fail(client, call.status, &err) : PN_EXIT_DONE;
}
