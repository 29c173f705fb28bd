/* The models of the store that requests ask for: loaded when first needed, shared by all requests, unloaded when nobody
 * has used them for a while or another one needs the memory. */
#ifndef PN_SERVER_MODELS_H
#define PN_SERVER_MODELS_H

#include "pantry.h"

struct pn_models;

/* A loaded model. Members do not change while it is held. */
struct pn_loaded {
    char *name, *path;
    pantry_model *model;
    struct pantry_model_info info;
    int n_context;                   /* most tokens of a request that asks for no number */
    uint64_t bytes;                  /* of the file */
    struct pantry_sampling sampling; /* what its makers recommend, or the defaults */
    double load_seconds;             /* how long loading took */
};

/* How long a model stays after a request. */
struct pn_keep_alive {
    bool forever;
    double seconds;
};

struct pn_models_options {
    struct pantry_model_options model;
    struct pn_keep_alive keep_alive; /* where a request says nothing */
    int max_loaded;                  /* 0: as many as fit */
};

pantry_status pn_models_new(const struct pn_models_options *options, struct pn_models **out, struct pantry_error *err);
/* No model may be held. */
void pn_models_free(struct pn_models *models);

/* Holds a model of the store; loads it if need be, and unloads others that nobody holds where memory is short.
 * PANTRY_NOT_FOUND: the store has no model of that name. *loaded_now may be NULL. */
pantry_status pn_models_hold(struct pn_models *models, const char *name, struct pn_loaded **out, bool *loaded_now,
                             struct pantry_error *err);
/* The model may go after `keep` (NULL: as the options say). */
void pn_models_release(struct pn_models *models, struct pn_loaded *loaded, const struct pn_keep_alive *keep);
/* Unloads a model, or as soon as nobody holds it. False: it is not loaded. */
bool pn_models_unload(struct pn_models *models, const char *name);

struct pn_loaded_state {
    const struct pn_loaded *loaded;
    bool forever;
    double seconds_left;
};
/* Calls fn for each loaded model. */
void pn_models_each(struct pn_models *models, void (*fn)(void *user, const struct pn_loaded_state *state), void *user);

/* A model of the store by name, with or without ":latest". Caller frees *name and *path. */
pantry_status pn_models_find(const char *wanted, char **name, char **path, uint64_t *bytes, struct pantry_error *err);

#endif
