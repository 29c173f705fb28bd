/* Loaded models: see models.h. */
#define _POSIX_C_SOURCE 200809L
#include "server/models.h"

#include "base/clock.h"
#include "base/os.h"
#include "base/status.h"
#include "server/adapters.h"
#include "store/store.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct entry {
    struct pn_loaded loaded;   /* first, so that one is the other */
    struct pn_adapted adapted; /* by the adapters in its name */
    struct entry *next;
    int n_holders, n_waiting;
    atomic_uint_fast64_t n_made;
    uint64_t arrived, served; /* of those that hold it: first come, first served */
    bool loading, gone;       /* gone: off the list, freed by the last one that holds it or waits */
    pantry_status status;     /* of loading */
    struct pantry_error error;
    uint64_t used, expires;
};

static const uint64_t never = UINT64_MAX;
enum { MAX_ADAPTERS = 64 };

/* Options are replaced and never changed, since callers read them without the lock; the old ones stay until the end. */
struct generation {
    struct pn_models_options options;
    struct generation *before;
};

struct pn_models {
    _Atomic(struct generation *) newest;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct entry *entries;
    int n_unloading; /* off the list, but their memory is not free yet */
    pthread_t reaper;
    int n_loading;
    bool stop;
    float scales[PN_ADAPTER_SETTINGS_MAX]; /* of the adapters, for all requests */
};

static const struct pn_models_options *options(const struct pn_models *m)
{
    return &atomic_load(&m->newest)->options;
}

/* ---- names ---- */

static size_t base_length(const char *name)
{
    static const char latest[] = ":latest";
    size_t n = strlen(name), l = sizeof latest - 1;
    return n > l && strcmp(name + n - l, latest) == 0 ? n - l : n;
}

static bool same_name(const char *a, const char *b)
{
    size_t n = base_length(a);
    return n == base_length(b) && strncmp(a, b, n) == 0;
}

static const char *without_alias(const struct pn_models *m, const char *name)
{
    const struct pn_models_options *o = options(m);
    for (size_t i = 0; i < o->n_aliases; i++)
        if (same_name(o->aliases[i].name, name))
            return o->aliases[i].model;
    return name;
}

const struct pn_model_alias *pn_models_aliases(const struct pn_models *m, size_t *n)
{
    const struct pn_models_options *o = options(m);
    *n = o->n_aliases;
    return o->aliases;
}

static struct pn_adapter_list adapters_of(const struct pn_models_options *o)
{
    return (struct pn_adapter_list){o->adapters, o->n_adapters};
}

static pantry_status find_plain(const struct pn_models *m, const char *wanted, struct pn_stored *found,
                                struct pantry_error *err)
{
    pantry_status status = pn_store_find(without_alias(m, wanted), found, err);
    if (status == PANTRY_OK || status == PANTRY_NO_MEMORY || status == PANTRY_INVALID)
        return status;
    if (status == PANTRY_NOT_FOUND)
        return pn_fail(err, PANTRY_NOT_FOUND, "model '%.200s' not found", wanted);
    /* an error that clients see names no file */
    return pn_fail(err, PANTRY_NOT_FOUND, "model '%.200s' is damaged; `pantry doctor --store` tells more", wanted);
}

/* The model, and the adapters after it: names of files may have a '+', names of adapters have none. */
static pantry_status find_adapted(const struct pn_models *m, const char *wanted, struct pn_stored *found,
                                  struct pn_adapted *adapted, struct pantry_error *err)
{
    *adapted = (struct pn_adapted){0};
    pantry_status status = find_plain(m, wanted, found, err);
    for (const char *at = pn_adapters_begin(wanted, NULL); at && status == PANTRY_NOT_FOUND;
         at = pn_adapters_begin(wanted, at)) {
        char *base = strndup(wanted, (size_t)(at - wanted));
        if (!base)
            return pn_no_memory(err, "a model");
        status = find_plain(m, base, found, NULL);
        free(base);
        if (!status) {
            const struct pn_adapter_list list = adapters_of(options(m));
            if ((status = pn_adapters_resolve(&list, found->name, at, adapted, err)))
                pn_stored_free(found);
            return status;
        }
    }
    return status;
}

pantry_status pn_models_find(const struct pn_models *m, const char *wanted, char **name, char **path, uint64_t *bytes,
                             struct pantry_error *err)
{
    struct pn_stored found;
    struct pn_adapted adapted;
    *name = *path = NULL;
    pantry_status status = find_adapted(m, wanted, &found, &adapted, err);
    pn_adapted_free(&adapted);
    if (status)
        return status;
    *name = found.name;
    *path = found.path;
    *bytes = found.bytes;
    found.name = found.path = NULL;
    pn_stored_free(&found);
    return PANTRY_OK;
}

/* ---- one model ---- */

static void entry_free(struct entry *e)
{
    pantry_model_free(e->loaded.model);
    pn_carried_free(&e->loaded.carried);
    pn_adapted_free(&e->adapted);
    free(e->loaded.name);
    free(e->loaded.base);
    free(e->loaded.path);
    free(e);
    pn_os_trim(); /* threads of requests had their own heaps */
}

static bool is_pinned(const struct entry *e)
{
    return e->loaded.settings && e->loaded.settings->pin && !e->adapted.n;
}

/* What the model carries, and from that the defaults of requests. */
static pantry_status read_carried(struct pn_loaded *loaded, struct pantry_error *err)
{
    const struct pn_catalog_entry *entry = pn_store_entry(loaded->base);
    loaded->parameters.sampling = pantry_sampling_default();
    loaded->parameters.more = pantry_samplers_default();
    if (entry && entry->temperature > 0) {
        loaded->parameters.sampling.temperature = entry->temperature;
        loaded->parameters.sampling.top_p = entry->top_p;
    }
    const struct pn_model_settings *s = loaded->settings;
    pantry_status status = pn_carried_read(loaded->base, &loaded->carried, err);
    if (!status && (status = pn_parameters_read(loaded->carried.params, &loaded->parameters, err)))
        pn_fail_prefix(err, "%.200s", loaded->name);
    if (!status && s && (status = pn_parameters_read(s->parameters, &loaded->parameters, err)))
        pn_fail_prefix(err, "%s", s->where);
    if (!status && s && s->system) {
        free(loaded->carried.system);
        if (!(loaded->carried.system = strdup(s->system)))
            status = pn_no_memory(err, "a system message");
    }
    return status;
}

/* The context that requests get, as trained or as fits the memory; of models that make no text, as trained. */
static int usual_context(const struct pn_loaded *loaded)
{
    pantry_session *session;
    int n = loaded->info.n_context_train;
    if (!pantry_session_new(loaded->model, NULL, &session, NULL)) {
        n = pantry_session_n_context(session);
        pantry_session_free(session);
    }
    return n;
}

/* ---- the list ---- under the lock ---- */

static struct entry *find(struct pn_models *m, const char *name)
{
    struct entry *e = m->entries;
    while (e && !same_name(e->loaded.name, name))
        e = e->next;
    return e;
}

static void take_off(struct pn_models *m, struct entry *e)
{
    struct entry **at = &m->entries;
    while (*at != e)
        at = &(*at)->next;
    *at = e->next;
}

static bool is_free(const struct entry *e)
{
    return !e->n_holders && !e->n_waiting && !e->loading;
}

/* Frees a model that is off the list. Its prefixes may still have to be written, so other callers go on. */
static void unload(struct pn_models *m, struct entry *e)
{
    const struct pn_models_options *o = options(m);
    if (o->changed && e->loaded.model)
        o->changed(o->user, &e->loaded, true);
    m->n_unloading++;
    pthread_mutex_unlock(&m->lock);
    entry_free(e);
    pthread_mutex_lock(&m->lock);
    m->n_unloading--;
    pthread_cond_broadcast(&m->changed);
}

/* Waits for the memory of models that other threads free. False: there are none. */
static bool wait_for_unload(struct pn_models *m)
{
    bool some = m->n_unloading > 0;
    if (some)
        pthread_cond_wait(&m->changed, &m->lock);
    return some;
}

/* Frees the model that was used least recently of those that nobody holds. False: there is none. */
static bool unload_one(struct pn_models *m)
{
    struct entry *oldest = NULL;
    for (struct entry *e = m->entries; e; e = e->next)
        if (is_free(e) && (!is_pinned(e) || m->stop) && (!oldest || e->used < oldest->used))
            oldest = e;
    if (!oldest)
        return false;
    take_off(m, oldest);
    unload(m, oldest);
    return true;
}

static int n_loaded(const struct pn_models *m)
{
    int n = 0;
    for (const struct entry *e = m->entries; e; e = e->next)
        n++;
    return n;
}

/* ---- expiry ---- */

/* Waits for a change, or until a time on our clock. */
static void wait_until(struct pn_models *m, uint64_t when)
{
    struct timespec until;
    uint64_t now = pn_clock_ns(), ns = when > now ? when - now : 0;
    if (when == never) {
        pthread_cond_wait(&m->changed, &m->lock);
        return;
    }
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)(ns / 1000000000u);
    until.tv_nsec += (long)(ns % 1000000000u);
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_cond_timedwait(&m->changed, &m->lock, &until);
}

/* The idle model that expires first; NULL: none. */
static struct entry *next_to_expire(const struct pn_models *m)
{
    struct entry *first = NULL;
    for (struct entry *e = m->entries; e; e = e->next)
        if (is_free(e) && (!first || e->expires < first->expires))
            first = e;
    return first;
}

static void *expire(void *user)
{
    struct pn_models *m = user;
    pthread_mutex_lock(&m->lock);
    while (!m->stop) {
        struct entry *e = next_to_expire(m);
        if (e && e->expires <= pn_clock_ns()) {
            take_off(m, e);
            unload(m, e);
        } else {
            wait_until(m, e ? e->expires : never);
        }
    }
    pthread_mutex_unlock(&m->lock);
    return NULL;
}

/* ---- public ---- */

int pn_models_threads(int cores, int hardware_threads)
{
    return hardware_threads > cores ? cores : cores - cores / 8;
}

static pantry_status set_options(struct pn_models *m, const struct pn_models_options *given, struct pantry_error *err)
{
    struct generation *g = malloc(sizeof *g);
    if (!g)
        return pn_no_memory(err, "the models");
    *g = (struct generation){*given, atomic_load(&m->newest)};
    if (!g->options.model.n_threads)
        g->options.model.n_threads = pn_models_threads(pn_os_physical_cores(), pn_os_processors());
    atomic_store(&m->newest, g);
    return PANTRY_OK;
}

/* An adapter keeps its scale where it has another place in the list now. */
static void keep_scales(struct pn_models *m, const struct pn_models_options *before)
{
    const struct pn_models_options *now = options(m);
    float scales[PN_ADAPTER_SETTINGS_MAX] = {0};
    for (size_t i = 0; i < now->n_adapters; i++)
        for (size_t k = 0; k < before->n_adapters; k++)
            if (strcmp(now->adapters[i].name, before->adapters[k].name) == 0)
                scales[i] = m->scales[k];
    memcpy(m->scales, scales, sizeof scales);
}

pantry_status pn_models_configure(struct pn_models *m, const struct pn_models_options *given, struct pantry_error *err)
{
    pthread_mutex_lock(&m->lock);
    const struct pn_models_options *before = options(m);
    pantry_status status = set_options(m, given, err);
    if (!status)
        keep_scales(m, before);
    pthread_cond_broadcast(&m->changed); /* more may run at the same time */
    pthread_mutex_unlock(&m->lock);
    return status;
}

static void free_options(struct pn_models *m)
{
    for (struct generation *g = atomic_load(&m->newest), *before; g; g = before) {
        before = g->before;
        free(g);
    }
}

pantry_status pn_models_new(const struct pn_models_options *given, struct pn_models **out, struct pantry_error *err)
{
    struct pn_models *m = calloc(1, sizeof *m);
    *out = NULL;
    if (!m)
        return pn_no_memory(err, "the models");
    pantry_status status = set_options(m, given, err);
    if (status) {
        free(m);
        return status;
    }
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->changed, NULL);
    if (pthread_create(&m->reaper, NULL, expire, m)) {
        pthread_cond_destroy(&m->changed);
        pthread_mutex_destroy(&m->lock);
        free_options(m);
        free(m);
        return pn_fail(err, PANTRY_IO, "cannot start a thread for the models");
    }
    *out = m;
    return PANTRY_OK;
}

void pn_models_free(struct pn_models *m)
{
    if (!m)
        return;
    pthread_mutex_lock(&m->lock);
    m->stop = true;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
    pthread_join(m->reaper, NULL);
    pthread_mutex_lock(&m->lock);
    while (m->n_loading || m->n_unloading) /* for requests that have given up */
        pthread_cond_wait(&m->changed, &m->lock);
    while (unload_one(m))
        ;
    pthread_mutex_unlock(&m->lock);
    pthread_cond_destroy(&m->changed);
    pthread_mutex_destroy(&m->lock);
    free_options(m);
    free(m);
}

/* ---- loading ---- */

static struct pantry_model_options options_of(const struct pn_models *m, const struct entry *e)
{
    struct pantry_model_options o = options(m)->model;
    const struct pn_model_settings *s = e->loaded.settings;
    if (s && s->n_context)
        o.n_context = s->n_context;
    if (s && s->kv_type)
        o.kv_type = s->kv_type;
    if (s && s->device)
        o.device = s->device;
    if (s && s->n_threads)
        o.n_threads = s->n_threads;
    return o;
}

static uint64_t expiry(const struct pn_models *m, const struct entry *e, const struct pn_keep_alive *keep)
{
    const struct pn_model_settings *s = e->loaded.settings;
    keep = keep ? keep : s && s->has_keep_alive ? &s->keep_alive : &options(m)->keep_alive;
    return keep->forever || is_pinned(e) ? never : e->used + (uint64_t)(keep->seconds * 1e9);
}

/* Its own adapters, then those that its name chooses. */
static pantry_status all_adapters(const struct entry *e, const char **out, struct pantry_error *err)
{
    size_t n = 0;
    pn_carried_adapters(&e->loaded.carried, out, MAX_ADAPTERS + 1);
    while (out[n])
        n++;
    if (n + e->adapted.n > MAX_ADAPTERS)
        return pn_fail(err, PANTRY_LIMIT, "%.200s: too many adapters (allowed %d)", e->loaded.name, MAX_ADAPTERS);
    for (size_t i = 0; i < e->adapted.n; i++)
        out[n++] = e->adapted.paths[i];
    out[n] = NULL;
    return PANTRY_OK;
}

/* Loads the model of an entry that others wait for. Called and returns with the lock. */
static pantry_status load(struct pn_models *m, struct entry *e, struct pantry_error *err)
{
    pantry_status status = read_carried(&e->loaded, err);
    uint64_t began = pn_clock_ns();
    struct pantry_model_options model = options_of(m, e);
    if (status)
        return status;
    model.chat_template = e->loaded.carried.template;
    model.default_chat_template = e->loaded.carried.default_template;
    const char *adapters[MAX_ADAPTERS + 1];
    if ((status = all_adapters(e, adapters, err)))
        return status;
    model.adapters = adapters;
    char *projector = pn_carried_projector(&e->loaded.carried, e->loaded.path);
    model.maybe_projector = projector;
    const struct pn_models_options *o = options(m);
    while (o->max_loaded && n_loaded(m) > o->max_loaded && unload_one(m))
        ;
    do {
        pthread_mutex_unlock(&m->lock);
        status = pantry_model_load(e->loaded.path, &model, &e->loaded.model, err);
        pthread_mutex_lock(&m->lock);
    } while (status == PANTRY_NO_MEMORY && (unload_one(m) || wait_for_unload(m)));
    free(projector);
    e->loaded.load_seconds = (double)(pn_clock_ns() - began) * 1e-9;
    if (status) {
        pn_adapted_hide(&e->adapted, err);
        return status;
    }
    e->loaded.info.size = sizeof e->loaded.info;
    pantry_model_info(e->loaded.model, &e->loaded.info, NULL);
    e->loaded.n_context = usual_context(&e->loaded);
    e->used = pn_clock_ns();
    e->expires = expiry(m, e, NULL);
    if (o->changed)
        o->changed(o->user, &e->loaded, false);
    return PANTRY_OK;
}

struct loading {
    struct pn_models *models;
    struct entry *entry;
};

/* A failed entry is off the list, and freed by the last one that waits for it. */
static void end_loading(struct pn_models *m, struct entry *e)
{
    e->loading = false;
    m->n_loading--;
    if (e->status) {
        take_off(m, e);
        e->gone = true;
        if (!e->n_waiting)
            entry_free(e);
    }
    pthread_cond_broadcast(&m->changed);
}

static void *run_loading(void *user)
{
    struct loading l = *(struct loading *)user;
    free(user);
    pthread_mutex_lock(&l.models->lock);
    l.entry->status = load(l.models, l.entry, &l.entry->error);
    end_loading(l.models, l.entry);
    pthread_mutex_unlock(&l.models->lock);
    return NULL;
}

/* Loads on a separate thread, because the request may stop waiting. */
static void start_loading(struct pn_models *m, struct entry *e)
{
    struct loading *l = malloc(sizeof *l);
    pthread_attr_t attributes;
    pthread_t thread;
    e->loading = true;
    m->n_loading++;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    if (l)
        *l = (struct loading){m, e};
    if (!l || pthread_create(&thread, &attributes, run_loading, l)) {
        free(l);
        e->status = pn_fail(&e->error, PANTRY_IO, "cannot start a thread to load %s", e->loaded.name);
        e->n_waiting++; /* the caller's */
        end_loading(m, e);
        e->n_waiting--;
    }
    pthread_attr_destroy(&attributes);
}

/* What a name means. */
static pantry_status fill(const struct pn_models *m, struct entry *e, const char *name, struct pantry_error *err)
{
    struct pn_stored found;
    pantry_status status = find_adapted(m, name, &found, &e->adapted, err);
    if (status)
        return status;
    e->loaded.base = found.name;
    e->loaded.path = found.path;
    e->loaded.bytes = found.bytes;
    found.name = found.path = NULL;
    pn_stored_free(&found);
    e->loaded.name = strdup(e->adapted.n ? e->adapted.name : e->loaded.base);
    return e->loaded.name ? PANTRY_OK : pn_no_memory(err, "a model");
}

/* The entry of a name, or of the model that it means; *fresh: a new one, which is being loaded. */
static pantry_status find_or_add(struct pn_models *m, const char *name, struct entry **out, bool *fresh,
                                 struct pantry_error *err)
{
    *fresh = false;
    if ((*out = find(m, name)))
        return PANTRY_OK;
    struct entry *e = calloc(1, sizeof *e);
    if (!e)
        return pn_no_memory(err, "a model");
    pantry_status status = fill(m, e, name, err);
    if (status || (*out = find(m, e->loaded.name))) {
        entry_free(e);
        return status;
    }
    const struct pn_models_options *o = options(m);
    e->loaded.n_made = &e->n_made;
    for (size_t i = 0; i < o->n_settings; i++)
        if (same_name(o->settings[i].name, e->loaded.base))
            e->loaded.settings = &o->settings[i];
    *fresh = true;
    e->next = m->entries;
    m->entries = *out = e;
    start_loading(m, e);
    return PANTRY_OK;
}

/* ---- holding ---- */

/* Waits for the entry to be loaded and for a place at it. */
static pantry_status take_place(struct pn_models *m, struct entry *e, struct pantry_error *err)
{
    double most = options(m)->load_seconds;
    uint64_t deadline = most > 0 ? pn_clock_ns() + (uint64_t)(most * 1e9) : never;
    e->n_waiting++;
    while (e->loading && pn_clock_ns() < deadline)
        wait_until(m, deadline);
    pantry_status status = PANTRY_OK;
    if (e->loading)
        status = pn_fail(err, PANTRY_LIMIT, "%.200s: not loaded after %g seconds (load_timeout)", e->loaded.name, most);
    else if (e->status)
        status = pn_fail(err, e->status, "%s", e->error.text);
    if (!status) {
        uint64_t ticket = e->arrived++;
        while (ticket != e->served || (options(m)->n_parallel && e->n_holders >= options(m)->n_parallel))
            pthread_cond_wait(&m->changed, &m->lock);
        e->served++;
        e->n_holders++;
        pthread_cond_broadcast(&m->changed);
    }
    if (--e->n_waiting == 0 && e->gone && !e->n_holders)
        entry_free(e);
    return status;
}

/* The name with the adapters of these scales, or of those for all requests. Caller frees *out. Under the lock. */
static pantry_status add_adapters(const struct pn_models *m, const char *name, const float *scales, char **out,
                                  struct pantry_error *err)
{
    const struct pn_adapter_list list = adapters_of(options(m));
    struct pn_buf text = {0}, suffix = {0};
    bool chosen = pn_adapters_begin(name, NULL) != NULL;
    pn_buf_puts(&text, without_alias(m, name));
    if (scales || !chosen)
        pn_adapters_put(&list, scales ? scales : m->scales, scales ? NULL : without_alias(m, name), &suffix);
    if (suffix.len)
        pn_buf_append(&text, suffix.data, suffix.len);
    bool both = chosen && scales && suffix.len, failed = text.failed || suffix.failed;
    pn_buf_free(&suffix);
    *out = failed || both ? NULL : pn_buf_take(&text);
    pn_buf_free(&text);
    if (both)
        return pn_fail(err, PANTRY_INVALID, "lora: the name of the model chooses adapters, too (found \"%.200s\")",
                       name);
    return *out ? PANTRY_OK : pn_no_memory(err, "a model");
}

pantry_status pn_models_hold_adapted(struct pn_models *m, const char *name, const float *scales, struct pn_loaded **out,
                                     bool *loaded_now, struct pantry_error *err)
{
    bool fresh = false;
    struct entry *e;
    char *whole = NULL;
    pthread_mutex_lock(&m->lock);
    pantry_status status = add_adapters(m, name, scales, &whole, err);
    if (!status)
        status = find_or_add(m, whole, &e, &fresh, err);
    if (!status)
        status = take_place(m, e, err);
    if (!status) {
        e->used = pn_clock_ns();
        *out = &e->loaded;
    }
    pthread_mutex_unlock(&m->lock);
    if (loaded_now)
        *loaded_now = fresh;
    free(whole);
    return status;
}

pantry_status pn_models_hold(struct pn_models *m, const char *name, struct pn_loaded **out, bool *loaded_now,
                             struct pantry_error *err)
{
    return pn_models_hold_adapted(m, name, NULL, out, loaded_now, err);
}

void pn_models_release(struct pn_models *m, struct pn_loaded *loaded, const struct pn_keep_alive *keep)
{
    struct entry *e = (struct entry *)loaded;
    pthread_mutex_lock(&m->lock);
    e->used = pn_clock_ns();
    e->expires = expiry(m, e, keep);
    if (--e->n_holders == 0 && !e->n_waiting && e->gone)
        unload(m, e);
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
}

pantry_status pn_models_load_pinned(struct pn_models *m, struct pantry_error *err)
{
    const struct pn_models_options *o = options(m);
    for (size_t i = 0; i < o->n_settings; i++) {
        const struct pn_model_settings *s = &o->settings[i];
        struct pn_loaded *loaded;
        if (!s->pin)
            continue;
        pantry_status status = pn_models_hold(m, s->name, &loaded, NULL, err);
        if (status) {
            pn_fail_prefix(err, "%s", s->where);
            return status;
        }
        pn_models_release(m, loaded, NULL);
    }
    return PANTRY_OK;
}

/* The next one to unload: the model, or one with adapters that consists of it. */
static struct entry *find_part(const struct pn_models *m, const char *name)
{
    struct entry *e = m->entries;
    while (e && (e->loading || (!same_name(e->loaded.name, name) && !same_name(e->loaded.base, name) &&
                                !(e->adapted.n && pn_adapters_have(e->loaded.name, name)))))
        e = e->next;
    return e;
}

bool pn_models_unload(struct pn_models *m, const char *name)
{
    bool some = false;
    pthread_mutex_lock(&m->lock);
    for (struct entry *e; (e = find_part(m, name)); some = true) {
        take_off(m, e);
        e->gone = true;
        if (!e->n_holders && !e->n_waiting)
            unload(m, e);
    }
    pthread_mutex_unlock(&m->lock);
    return some;
}

size_t pn_models_adapters(struct pn_models *m, const struct pn_adapter_setting **adapters, float *scales)
{
    pthread_mutex_lock(&m->lock);
    const struct pn_models_options *o = options(m);
    *adapters = o->adapters;
    size_t n = o->n_adapters;
    memcpy(scales, m->scales, n * sizeof *scales);
    pthread_mutex_unlock(&m->lock);
    return n;
}

void pn_models_set_scales(struct pn_models *m, const float *scales, size_t n)
{
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < n && i < options(m)->n_adapters; i++)
        m->scales[i] = scales[i];
    pthread_mutex_unlock(&m->lock);
}

void pn_models_each(struct pn_models *m, void (*fn)(void *user, const struct pn_loaded_state *state), void *user)
{
    pthread_mutex_lock(&m->lock);
    uint64_t now = pn_clock_ns();
    for (struct entry *e = m->entries; e; e = e->next) {
        if (e->loading)
            continue;
        struct pn_loaded_state state = {
            .loaded = &e->loaded, .forever = e->expires == never, .n_holders = e->n_holders, .n_waiting = e->n_waiting};
        state.seconds_left = e->expires > now ? (double)(e->expires - now) * 1e-9 : 0;
        fn(user, &state);
    }
    pthread_mutex_unlock(&m->lock);
}
