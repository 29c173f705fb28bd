/* What `pantry top` and `pantry doctor` know of a running service: its models, requests and tokens. */
#ifndef PN_CLI_TOP_SERVICE_H
#define PN_CLI_TOP_SERVICE_H

#include "cli/client.h"

enum { PN_TOP_MODELS = 32 };

struct pn_top_model {
    char name[128];
    double bytes, context, running, waiting; /* NAN: unknown */
    double made, rate;                       /* tokens of answers, and per second */
};

struct pn_top_service {
    enum pn_presence presence;
    char url[PN_URL_MAX], version[32];
    char why[256]; /* what is not known, and why; "": all is known */
    double running, requests, failed;
    double made, read, cached;      /* tokens of answers, and of prompts that were read and that were cached */
    double made_rate, read_rate;    /* per second; NAN: not two looks yet */
    double cached_share;            /* of the tokens of all prompts; NAN: none yet */
    double disk_lookups, disk_hits; /* of prompts on disk */
    int n_models, n_more;           /* n_more: beyond PN_TOP_MODELS */
    struct pn_top_model model[PN_TOP_MODELS];
};

/* Nothing is known. */
void pn_top_service_clear(struct pn_top_service *service, enum pn_presence presence);

struct pn_top_watch;

/* NULL: out of memory. */
struct pn_top_watch *pn_top_watch_new(void);
/* Asks the service now, for at most a few seconds. */
void pn_top_watch_look(struct pn_top_watch *watch);
/* Asks it every `seconds` from now on, in a thread. False: there is no thread. */
bool pn_top_watch_start(struct pn_top_watch *watch, double seconds);
void pn_top_watch_every(struct pn_top_watch *watch, double seconds);
/* What the last look found. */
void pn_top_watch_get(struct pn_top_watch *watch, struct pn_top_service *out);
void pn_top_watch_free(struct pn_top_watch *watch);

/* As JSON; NULL: out of memory. */
json_t *pn_top_service_json(const struct pn_top_service *service);

#endif
