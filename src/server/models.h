/* The models of the store that requests ask for: loaded when first needed, shared by all requests, unloaded when nobody
 * has used them for a while or another one needs the memory. */
#ifndef PN_SERVER_MODELS_H
#define PN_SERVER_MODELS_H

#include "pantry.h"
#include "server/settings.h"
#include "store/carried.h"
#include "store/parameters.h"

#include <stdatomic.h>

struct pn_models;

/* A loaded model. Members do not change while it is held. */
struct pn_loaded {
    char *name; /* with the adapters that are chosen: "base+adapter" */
    char *base; /* without them: a name of the store */
    char *path;
    pantry_model *model;
    struct pantry_model_info info;
    int n_context;             /* most tokens of a request that asks for no number */
    uint64_t bytes;            /* of the file */
    struct pn_carried carried; /* by the model of the store */
    struct pn_parameters
        parameters;      /* as configured, else its own, else what its makers recommend, else the defaults */
    double load_seconds; /* how long loading took */
    const struct pn_model_settings *settings; /* from the configuration; NULL: none */
    atomic_uint_fast64_t *n_made;             /* tokens of answers until now, also of those that go on */
};

struct pn_models_options {
    struct pantry_model_options model;
    struct pn_keep_alive keep_alive;          /* where a request says nothing */
    int max_loaded;                           /* 0: as many as fit */
    int n_parallel;                           /* most holders of a model; the others wait. 0: no bound */
    double load_seconds;                      /* how long to wait for a model to load; 0: as long as it takes */
    const struct pn_model_settings *settings; /* (n_settings) */
    size_t n_settings;
    const struct pn_model_alias *aliases; /* (n_aliases): they come before the names of the store */
    size_t n_aliases;
    const struct pn_adapter_setting *adapters; /* (n_adapters, at most PN_ADAPTER_SETTINGS_MAX) */
    size_t n_adapters;
    /* Called when a model was loaded or unloaded, under a lock: for the log. May be NULL. */
    void (*changed)(void *user, const struct pn_loaded *loaded, bool unloaded);
    void *user;
};

/* The threads of a model where nothing says how many: one per physical core, but where a core has one hardware thread,
 * one of eight is left to the threads that read requests and send answers. A worker that one of these interrupts keeps
 * all others waiting. */
int pn_models_threads(int cores, int hardware_threads);

pantry_status pn_models_new(const struct pn_models_options *options, struct pn_models **out, struct pantry_error *err);
/* Other options from now on; what they point to must stay until pn_models_free. Loaded models keep those that they were
 * loaded with, except for the time that idle ones stay. */
pantry_status pn_models_configure(struct pn_models *models, const struct pn_models_options *options,
                                  struct pantry_error *err);
/* Loads the models that the settings pin. */
pantry_status pn_models_load_pinned(struct pn_models *models, struct pantry_error *err);
/* No model may be held. */
void pn_models_free(struct pn_models *models);

/* Holds a model of the store; loads it if need be, and unloads others that nobody holds where memory is short.
 * PANTRY_NOT_FOUND: the store has no model of that name; PANTRY_LIMIT: loading takes too long, and goes on. *loaded_now
 * may be NULL. */
pantry_status pn_models_hold(struct pn_models *models, const char *name, struct pn_loaded **out, bool *loaded_now,
                             struct pantry_error *err);
/* The same with a scale per adapter of the configuration (n_adapters), 0: without it; NULL: as pn_models_hold, which
 * takes the scales for all requests if the name has no adapters. A model with adapters is one of its own, with its own
 * keys and prefixes; its weights are those pages of the file that the model without them uses. */
pantry_status pn_models_hold_adapted(struct pn_models *models, const char *name, const float *scales,
                                     struct pn_loaded **out, bool *loaded_now, struct pantry_error *err);
/* The model may go after `keep` (NULL: as the options say). */
void pn_models_release(struct pn_models *models, struct pn_loaded *loaded, const struct pn_keep_alive *keep);
/* Unloads a model and those with adapters that consist of it, or as soon as nobody holds them. False: none is loaded.
 */
bool pn_models_unload(struct pn_models *models, const char *name);

struct pn_loaded_state {
    const struct pn_loaded *loaded;
    bool forever;
    double seconds_left;
    int n_holders, n_waiting; /* requests that it answers, and those that wait for their turn */
};
/* Calls fn for each loaded model. */
void pn_models_each(struct pn_models *models, void (*fn)(void *user, const struct pn_loaded_state *state), void *user);

/* A model by one of its names, or by alias, perhaps with adapters; *name is the one that lists show, without them.
 * Caller frees *name and *path. */
pantry_status pn_models_find(const struct pn_models *models, const char *wanted, char **name, char **path,
                             uint64_t *bytes, struct pantry_error *err);
/* The adapters of the configuration, and their scales for all requests: 0 until they are set. Writes at most
 * PN_ADAPTER_SETTINGS_MAX scales, returns their number. */
size_t pn_models_adapters(struct pn_models *models, const struct pn_adapter_setting **adapters, float *scales);
void pn_models_set_scales(struct pn_models *models, const float *scales, size_t n);

/* The aliases, for listings. */
const struct pn_model_alias *pn_models_aliases(const struct pn_models *models, size_t *n);

#endif
