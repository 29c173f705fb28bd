/* Loaded models: see models.h. */
#define _POSIX_C_SOURCE 200809L
#include "server/models.h"

#include "base/clock.h"
#include "base/os.h"
#include "base/status.h"
#include "store/store.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct entry {
    struct pn_loaded loaded; /* first, so that one is the other */
    struct entry *next;
    int n_holders, n_waiting;
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

pantry_status pn_models_find(const struct pn_models *m, const char *wanted, char **name, char **path, uint64_t *bytes,
                             struct pantry_error *err)
{
    struct pn_stored found;
    *name = *path = NULL;
    pantry_status status = pn_store_find(without_alias(m, wanted), &found, err);
    if (status == PANTRY_NO_MEMORY || status == PANTRY_INVALID)
        return status;
    if (status == PANTRY_NOT_FOUND)
        return pn_fail(err, PANTRY_NOT_FOUND, "model '%.200s' not found", wanted);
    if (status) /* an error that clients see names no file */
        return pn_fail(err, PANTRY_NOT_FOUND, "model '%.200s' is damaged; `pantry doctor --store` tells more", wanted);
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
    free(e->loaded.name);
    free(e->loaded.path);
    free(e);
    pn_os_trim(); /* threads of requests had their own heaps */
}

static bool is_pinned(const struct entry *e)
{
    return e->loaded.settings && e->loaded.settings->pin;
}

/* What the model carries, and from that the defaults of requests. */
static pantry_status read_carried(struct pn_loaded *loaded, struct pantry_error *err)
{
    const struct pn_catalog_entry *entry = pn_store_entry(loaded->name);
    loaded->parameters.sampling = pantry_sampling_default();
    loaded->parameters.more = pantry_samplers_default();
    if (entry && entry->temperature > 0) {
        loaded->parameters.sampling.temperature = entry->temperature;
        loaded->parameters.sampling.top_p = entry->top_p;
    }
    const struct pn_model_settings *s = loaded->settings;
    pantry_status status = pn_carried_read(loaded->name, &loaded->carried, err);
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

pantry_status pn_models_configure(struct pn_models *m, const struct pn_models_options *given, struct pantry_error *err)
{
    pthread_mutex_lock(&m->lock);
    pantry_status status = set_options(m, given, err);
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
    pn_carried_adapters(&e->loaded.carried, adapters, MAX_ADAPTERS + 1);
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
    if (status)
        return status;
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
    pantry_status status = pn_models_find(m, name, &e->loaded.name, &e->loaded.path, &e->loaded.bytes, err);
    if (status || (*out = find(m, e->loaded.name))) {
        entry_free(e);
        return status;
    }
    const struct pn_models_options *o = options(m);
    for (size_t i = 0; i < o->n_settings; i++)
        if (same_name(o->settings[i].name, e->loaded.name))
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

pantry_status pn_models_hold(struct pn_models *m, const char *name, struct pn_loaded **out, bool *loaded_now,
                             struct pantry_error *err)
{
    bool fresh;
    struct entry *e;
    pthread_mutex_lock(&m->lock);
    pantry_status status = find_or_add(m, without_alias(m, name), &e, &fresh, err);
    if (!status)
        status = take_place(m, e, err);
    if (!status) {
        e->used = pn_clock_ns();
        *out = &e->loaded;
    }
    pthread_mutex_unlock(&m->lock);
    if (loaded_now)
        *loaded_now = fresh;
    return status;
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

bool pn_models_unload(struct pn_models *m, const char *name)
{
    pthread_mutex_lock(&m->lock);
    struct entry *e = find(m, name);
    if (e && e->loading)
        e = NULL;
    if (e) {
        take_off(m, e);
        e->gone = true;
        if (!e->n_holders && !e->n_waiting)
            unload(m, e);
    }
    pthread_mutex_unlock(&m->lock);
    return e != NULL;
}

void pn_models_each(struct pn_models *m, void (*fn)(void *user, const struct pn_loaded_state *state), void *user)
{
    pthread_mutex_lock(&m->lock);
    uint64_t now = pn_clock_ns();
    for (struct entry *e = m->entries; e; e = e->next) {
        if (e->loading)
            continue;
        struct pn_loaded_state state = {.loaded = &e->loaded, .forever = e->expires == never};
        state.seconds_left = e->expires > now ? (double)(e->expires - now) * 1e-9 : 0;
        fn(user, &state);
    }
    pthread_mutex_unlock(&m->lock);
}
