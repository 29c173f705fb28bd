/* What the configuration says about models, for models.c. */
#ifndef PN_SERVER_SETTINGS_H
#define PN_SERVER_SETTINGS_H

#include "pantry.h"

#include <jansson.h>
#include <stdbool.h>

/* How long a model stays after a request. */
struct pn_keep_alive {
    bool forever;
    double seconds;
};

/* The settings of a model; they replace those of the service, and a request's replace them. */
struct pn_model_settings {
    const char *name;
    const char *where;            /* "config.toml:12: models.\"name\"", for errors */
    int n_context, n_threads;     /* 0: as the service's */
    const char *kv_type, *device; /* NULL: as the service's */
    const char *system;           /* a system message where a request has none; NULL: none */
    bool has_keep_alive;
    struct pn_keep_alive keep_alive;
    bool pin;           /* loaded at the start, and never unloaded for another model or with time */
    json_t *parameters; /* {"temperature": 0.2, "stop": [...], ...} with Ollama's names, or NULL */
};

/* A second name of a model of the store. */
struct pn_model_alias {
    const char *name, *model;
};

enum { PN_ADAPTER_SETTINGS_MAX = 256 };

/* An adapter that requests may choose. */
struct pn_adapter_setting {
    const char *name;
    const char *path;  /* of a file or folder, or the name of a model of the store */
    const char *model; /* the only one that a scale for all requests is about; NULL: any */
};

#endif
