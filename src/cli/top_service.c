/* Watching a service: see top_service.h. */
#include "cli/top_service.h"

#include "base/clock.h"
#include "base/os.h"
#include "base/threads.h"
#include "cli/metrics.h"
#include "cli/say.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { PATIENCE_MS = 2000 };

struct pn_top_watch {
    pthread_mutex_t lock; /* of the members up to `stop` */
    pthread_cond_t changed;
    struct pn_top_service view;
    double seconds;
    bool stop;
    /* of the thread that looks */
    struct pn_client client;
    struct pn_top_service next;
    uint64_t looked; /* when the counters of `view` were read; 0: never */
    pantry_cancel *cancel;
    pthread_t thread;
    bool runs;
};

void pn_top_service_clear(struct pn_top_service *s, enum pn_presence presence)
{
    memset(s, 0, sizeof *s);
    s->presence = presence;
    double *const numbers[] = {&s->running,      &s->requests,     &s->failed,    &s->made,
                               &s->read,         &s->cached,       &s->made_rate, &s->read_rate,
                               &s->cached_share, &s->disk_lookups, &s->disk_hits};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        *numbers[i] = NAN;
}

static struct pn_top_model *model_of(struct pn_top_service *s, const char *name)
{
    for (int i = 0; i < s->n_models; i++)
        if (strcmp(s->model[i].name, name) == 0)
            return &s->model[i];
    if (s->n_models == PN_TOP_MODELS)
        return NULL;
    struct pn_top_model *m = &s->model[s->n_models++];
    *m = (struct pn_top_model){.bytes = NAN, .context = NAN, .running = NAN, .waiting = NAN, .made = NAN, .rate = NAN};
    snprintf(m->name, sizeof m->name, "%s", name);
    return m;
}

/* The figures that are used, by their names in /metrics. */
static const struct {
    const char *name;
    size_t offset;
} figures[] = {{"pantry_requests_running", offsetof(struct pn_top_service, running)},
               {"pantry_requests_total", offsetof(struct pn_top_service, requests)},
               {"pantry_requests_failed_total", offsetof(struct pn_top_service, failed)},
               {"pantry_prompt_tokens_total", offsetof(struct pn_top_service, read)},
               {"pantry_prompt_tokens_cached_total", offsetof(struct pn_top_service, cached)},
               {"pantry_prefix_cache_lookups_total", offsetof(struct pn_top_service, disk_lookups)},
               {"pantry_prefix_cache_hits_total", offsetof(struct pn_top_service, disk_hits)}},
  model_figures[] = {{"pantry_model_requests_running", offsetof(struct pn_top_model, running)},
                     {"pantry_model_requests_waiting", offsetof(struct pn_top_model, waiting)},
                     {"pantry_model_generated_tokens_total", offsetof(struct pn_top_model, made)},
                     {"pantry_model_bytes", offsetof(struct pn_top_model, bytes)},
                     {"pantry_model_context_tokens", offsetof(struct pn_top_model, context)}};

static void read_metrics(struct pn_top_service *s, const char *text)
{
    struct pn_metric m;
    while (pn_metrics_next(&text, &m)) {
        for (size_t i = 0; i < sizeof figures / sizeof *figures && !*m.model; i++)
            if (strcmp(m.name, figures[i].name) == 0)
                memcpy((char *)s + figures[i].offset, &m.value, sizeof m.value);
        for (size_t i = 0; i < sizeof model_figures / sizeof *model_figures && *m.model; i++) {
            if (strcmp(m.name, model_figures[i].name) != 0)
                continue;
            struct pn_top_model *model = model_of(s, m.model);
            if (model)
                memcpy((char *)model + model_figures[i].offset, &m.value, sizeof m.value);
            else
                s->n_more += i == 0;
        }
    }
    for (int i = 0; i < s->n_models; i++)
        if (!isnan(s->model[i].made))
            s->made = (isnan(s->made) ? 0 : s->made) + s->model[i].made;
    if (s->read + s->cached > 0)
        s->cached_share = s->cached / (s->read + s->cached);
}

/* Without the right to read /metrics, or of another program: names and sizes. */
static void read_models(struct pn_top_watch *w)
{
    struct pantry_error err;
    long http_status;
    char *text;
    size_t i;
    json_t *row;
    if (pn_client_text(&w->client, "/api/ps", PATIENCE_MS, w->cancel, &text, &http_status, &err))
        return;
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    json_array_foreach(json_object_get(root, "models"), i, row)
    {
        const char *name = json_string_value(json_object_get(row, "name"));
        struct pn_top_model *m = name ? model_of(&w->next, name) : NULL;
        if (m && json_is_number(json_object_get(row, "size")))
            m->bytes = json_number_value(json_object_get(row, "size"));
        if (m && json_is_number(json_object_get(row, "context_length")))
            m->context = json_number_value(json_object_get(row, "context_length"));
        w->next.n_more += name && !m;
    }
    json_decref(root);
    free(text);
}

static void read_version(struct pn_top_watch *w)
{
    struct pantry_error err;
    long http_status;
    char *text;
    if (pn_client_text(&w->client, "/api/version", PATIENCE_MS, w->cancel, &text, &http_status, &err))
        return;
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    const char *version = json_string_value(json_object_get(root, "version"));
    snprintf(w->next.version, sizeof w->next.version, "%s", version ? version : "");
    json_decref(root);
    free(text);
}

/* Tokens per second since the look before; a counter that went backwards belongs to another run of the service. */
static double rate(double now, double before, double seconds)
{
    return seconds > 0 && now >= before ? (now - before) / seconds : NAN;
}

static void find_rates(struct pn_top_watch *w, const struct pn_top_service *before, uint64_t now)
{
    double seconds = w->looked ? (double)(now - w->looked) * 1e-9 : NAN, sum = NAN;
    struct pn_top_service *s = &w->next;
    s->read_rate = rate(s->read, before->read, seconds);
    for (int i = 0; i < s->n_models; i++) {
        for (int k = 0; k < before->n_models; k++)
            if (strcmp(before->model[k].name, s->model[i].name) == 0)
                s->model[i].rate = rate(s->model[i].made, before->model[k].made, seconds);
        if (!isnan(s->model[i].rate))
            sum = (isnan(sum) ? 0 : sum) + s->model[i].rate;
    }
    s->made_rate = !s->n_models && !isnan(s->running) && seconds > 0 ? 0 : sum;
}

void pn_top_watch_look(struct pn_top_watch *w)
{
    struct pantry_error err = {0};
    struct pn_top_service *s = &w->next;
    long http_status = 0;
    char *text;
    bool known = w->view.presence == PN_SERVICE_RUNS; /* only this thread writes it */
    enum pn_presence presence = known ? PN_SERVICE_RUNS : pn_client_find(&w->client, &err);
    pn_top_service_clear(s, presence);
    snprintf(s->url, sizeof s->url, "%s", w->client.url);
    uint64_t now = pn_clock_ns();
    if (presence == PN_SERVICE_RUNS) {
        if (known)
            memcpy(s->version, w->view.version, sizeof s->version);
        else
            read_version(w);
        if (!pn_client_text(&w->client, "/metrics", PATIENCE_MS, w->cancel, &text, &http_status, &err)) {
            read_metrics(s, text);
            find_rates(w, &w->view, now);
            w->looked = now;
            free(text);
        } else if (http_status) {
            snprintf(s->why, sizeof s->why, "%s",
                     http_status == 401   ? "no permission: set PANTRY_API_KEY to a key with the scope manage"
                     : http_status == 403 ? "no permission: the key needs the scope manage"
                                          : "this service has no figures (/metrics)");
            read_models(w);
        } else {
            pn_top_service_clear(s, PN_SERVICE_ABSENT); /* it ended, or hangs */
            snprintf(s->url, sizeof s->url, "%s", w->client.url);
        }
    }
    if (s->presence == PN_SERVICE_BROKEN)
        snprintf(s->why, sizeof s->why, "%.250s", err.text);
    pthread_mutex_lock(&w->lock);
    w->view = *s;
    pthread_mutex_unlock(&w->lock);
}

static void *watch(void *user)
{
    struct pn_top_watch *w = user;
    pthread_mutex_lock(&w->lock);
    while (!w->stop) {
        pthread_mutex_unlock(&w->lock);
        pn_top_watch_look(w);
        uint64_t until = pn_clock_ns();
        pthread_mutex_lock(&w->lock);
        until += (uint64_t)(w->seconds * 1e9);
        for (uint64_t now; !w->stop && (now = pn_clock_ns()) < until;)
            pn_os_cond_wait(&w->changed, &w->lock, until - now);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

struct pn_top_watch *pn_top_watch_new(void)
{
    struct pn_top_watch *w = calloc(1, sizeof *w);
    if (!w || !(w->cancel = pantry_cancel_new())) {
        free(w);
        return NULL;
    }
    pthread_mutex_init(&w->lock, NULL);
    pn_os_cond_init(&w->changed);
    pn_top_service_clear(&w->view, PN_SERVICE_ABSENT);
    w->seconds = 1;
    return w;
}

bool pn_top_watch_start(struct pn_top_watch *w, double seconds)
{
    w->seconds = seconds;
    w->runs = pn_thread_start(&w->thread, watch, w) == 0;
    return w->runs;
}

void pn_top_watch_every(struct pn_top_watch *w, double seconds)
{
    pthread_mutex_lock(&w->lock);
    w->seconds = seconds;
    pthread_mutex_unlock(&w->lock);
}

void pn_top_watch_get(struct pn_top_watch *w, struct pn_top_service *out)
{
    pthread_mutex_lock(&w->lock);
    *out = w->view;
    pthread_mutex_unlock(&w->lock);
}

void pn_top_watch_free(struct pn_top_watch *w)
{
    if (!w)
        return;
    pantry_cancel_set(w->cancel);
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    if (w->runs)
        pthread_join(w->thread, NULL);
    pantry_cancel_free(w->cancel);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

/* ---- JSON ---- */

static void set(json_t *out, const char *key, double v)
{
    if (!isnan(v))
        json_object_set_new(out, key, json_real(v));
}

json_t *pn_top_service_json(const struct pn_top_service *s)
{
    json_t *out = json_object(), *models = json_array();
    json_object_set_new(out, "running", json_boolean(s->presence == PN_SERVICE_RUNS));
    json_object_set_new(out, "url", pn_cli_json_text(s->url, strlen(s->url)));
    if (*s->version)
        json_object_set_new(out, "version", pn_cli_json_text(s->version, strlen(s->version)));
    if (*s->why)
        json_object_set_new(out, "absent", pn_cli_json_text(s->why, strlen(s->why)));
    set(out, "requests_running", s->running);
    set(out, "requests", s->requests);
    set(out, "requests_failed", s->failed);
    set(out, "generated_tokens", s->made);
    set(out, "generated_tokens_per_second", s->made_rate);
    set(out, "prompt_tokens", s->read);
    set(out, "prompt_tokens_per_second", s->read_rate);
    set(out, "prompt_tokens_cached", s->cached);
    set(out, "cached_share", s->cached_share);
    set(out, "disk_lookups", s->disk_lookups);
    set(out, "disk_hits", s->disk_hits);
    for (int i = 0; i < s->n_models; i++) {
        const struct pn_top_model *m = &s->model[i];
        json_t *row = json_object();
        json_object_set_new(row, "name", pn_cli_json_text(m->name, strlen(m->name)));
        set(row, "bytes", m->bytes);
        set(row, "context", m->context);
        set(row, "requests_running", m->running);
        set(row, "requests_waiting", m->waiting);
        set(row, "generated_tokens", m->made);
        set(row, "generated_tokens_per_second", m->rate);
        json_array_append_new(models, row);
    }
    json_object_set_new(out, "models", models);
    return out;
}
