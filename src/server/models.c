/* Loaded models: see models.h. */
#define _POSIX_C_SOURCE 200809L
#include "server/models.h"

#include "base/clock.h"
#include "base/status.h"
#include "store/store.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct entry {
    struct pn_loaded loaded; /* first, so that one is the other */
    struct entry *next;
    int n_holders;
    bool loading, gone; /* gone: off the list, freed by the last holder */
    uint64_t used, expires;
};

static const uint64_t never = UINT64_MAX;

struct pn_models {
    struct pn_models_options options;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct entry *entries;
    pthread_t reaper;
    bool stop;
};

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

pantry_status pn_models_find(const char *wanted, char **name, char **path, uint64_t *bytes, struct pantry_error *err)
{
    struct pn_stored *list;
    size_t n;
    *name = *path = NULL;
    pantry_status status = pn_store_list(&list, &n, err);
    if (status)
        return status;
    for (size_t i = 0; i < n && !*path; i++)
        if (same_name(list[i].name, wanted)) {
            *name = list[i].name;
            *path = list[i].path;
            *bytes = list[i].bytes;
            list[i].name = list[i].path = NULL;
        }
    pn_store_list_free(list, n);
    return *path ? PANTRY_OK : pn_fail(err, PANTRY_NOT_FOUND, "model '%.200s' not found", wanted);
}

/* ---- one model ---- */

static void entry_free(struct entry *e)
{
    pantry_model_free(e->loaded.model);
    free(e->loaded.name);
    free(e->loaded.path);
    free(e);
}

static void recommend(struct pn_loaded *loaded)
{
    const struct pn_catalog_entry *entry = pn_store_entry(loaded->name);
    loaded->sampling = pantry_sampling_default();
    if (entry && entry->temperature > 0) {
        loaded->sampling.temperature = entry->temperature;
        loaded->sampling.top_p = entry->top_p;
    }
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

/* Frees the model that was used least recently of those that nobody holds. False: there is none. */
static bool unload_one(struct pn_models *m)
{
    struct entry *oldest = NULL;
    for (struct entry *e = m->entries; e; e = e->next)
        if (!e->n_holders && !e->loading && (!oldest || e->used < oldest->used))
            oldest = e;
    if (!oldest)
        return false;
    take_off(m, oldest);
    entry_free(oldest);
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

static void *expire(void *user)
{
    struct pn_models *m = user;
    pthread_mutex_lock(&m->lock);
    while (!m->stop) {
        uint64_t next = never, now = pn_clock_ns();
        for (struct entry *e = m->entries, *after; e; e = after) {
            after = e->next;
            if (e->n_holders || e->loading)
                continue;
            if (e->expires <= now) {
                take_off(m, e);
                entry_free(e);
            } else if (e->expires < next) {
                next = e->expires;
            }
        }
        wait_until(m, next);
    }
    pthread_mutex_unlock(&m->lock);
    return NULL;
}

/* ---- public ---- */

pantry_status pn_models_new(const struct pn_models_options *options, struct pn_models **out, struct pantry_error *err)
{
    struct pn_models *m = calloc(1, sizeof *m);
    *out = NULL;
    if (!m)
        return pn_no_memory(err, "the models");
    m->options = *options;
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->changed, NULL);
    if (pthread_create(&m->reaper, NULL, expire, m)) {
        pthread_cond_destroy(&m->changed);
        pthread_mutex_destroy(&m->lock);
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
    while (unload_one(m))
        ;
    pthread_cond_destroy(&m->changed);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

/* Loads the model of an entry that others wait for. Called and returns with the lock. */
static pantry_status load(struct pn_models *m, struct entry *e, struct pantry_error *err)
{
    pantry_status status;
    uint64_t began = pn_clock_ns();
    while (m->options.max_loaded && n_loaded(m) > m->options.max_loaded && unload_one(m))
        ;
    do {
        pthread_mutex_unlock(&m->lock);
        status = pantry_model_load(e->loaded.path, &m->options.model, &e->loaded.model, err);
        pthread_mutex_lock(&m->lock);
    } while (status == PANTRY_NO_MEMORY && unload_one(m));
    e->loaded.load_seconds = (double)(pn_clock_ns() - began) * 1e-9;
    if (status)
        return status;
    e->loaded.info.size = sizeof e->loaded.info;
    pantry_model_info(e->loaded.model, &e->loaded.info, NULL);
    e->loaded.n_context = usual_context(&e->loaded);
    recommend(&e->loaded);
    return PANTRY_OK;
}

/* Puts a new entry on the list. */
static pantry_status add(struct pn_models *m, const char *name, struct entry **out, struct pantry_error *err)
{
    struct entry *e = calloc(1, sizeof *e);
    if (!e)
        return pn_no_memory(err, "a model");
    pantry_status status = pn_models_find(name, &e->loaded.name, &e->loaded.path, &e->loaded.bytes, err);
    if (status) {
        entry_free(e);
        return status;
    }
    e->loading = true;
    e->next = m->entries;
    m->entries = *out = e;
    return PANTRY_OK;
}

pantry_status pn_models_hold(struct pn_models *m, const char *name, struct pn_loaded **out, bool *loaded_now,
                             struct pantry_error *err)
{
    struct entry *e;
    pantry_status status = PANTRY_OK;
    bool fresh = false;
    pthread_mutex_lock(&m->lock);
    while ((e = find(m, name)) && e->loading)
        pthread_cond_wait(&m->changed, &m->lock);
    if (!e && !(status = add(m, name, &e, err))) {
        status = load(m, e, err);
        e->loading = false;
        fresh = true;
        pthread_cond_broadcast(&m->changed);
        if (status) {
            take_off(m, e);
            entry_free(e);
        }
    }
    if (!status) {
        e->n_holders++;
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
    keep = keep ? keep : &m->options.keep_alive;
    e->used = pn_clock_ns();
    e->expires = keep->forever ? never : e->used + (uint64_t)(keep->seconds * 1e9);
    if (--e->n_holders == 0 && e->gone)
        entry_free(e);
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
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
        if (!e->n_holders)
            entry_free(e);
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
