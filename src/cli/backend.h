/* Where a conversation's answers come from: this process (backend_local.c) or a service (backend_service.c).
 *
 * Both are a struct of functions over a model that only they look into. The functions report errors and return an exit
 * status where they return one. */
#ifndef PN_CLI_BACKEND_H
#define PN_CLI_BACKEND_H

#include "cli/client.h"
#include "cli/model.h"
#include "cli/sampler.h"

#include <jansson.h>

enum pn_think { PN_THINK_UNSET, PN_THINK_ON, PN_THINK_OFF };

struct pn_partner; /* a model that answers; each backend has its own struct */

/* The texts live as long as the partner. */
struct pn_facts {
    const char *chat_template; /* NULL: none, so that the model continues texts */
    const char *license;       /* NULL or "": unknown */
    const char *system;        /* that the model carries; NULL or "": none */
    const char *place;         /* "cpu (avx2, 2 threads)" or "service at http://127.0.0.1:11434" */
    uint64_t n_params, bytes;  /* of the file; 0: unknown */
    bool sees;                 /* pictures */
};

struct pn_question {
    json_t *messages; /* the whole conversation; used where the model has a chat template. A content with pictures is a
                         list of parts: {"type": "image", "data": BASE64}, {"type": "text", ...} */
    const char *text; /* the last message, otherwise all of the prompt */
    size_t len;
    bool has_system;
    size_t n_pictures; /* of the last message */
    bool no_system;    /* the user does not want that of the model either */
    enum pn_think think;
    const struct pn_cli_sampler *sampler; /* with a seed */
    int n_context;                        /* most tokens of the conversation; 0: the default */
    int n_threads;                        /* of this process, for the measured bandwidth */
    /* The prompt is about to be read: `n_new` tokens (0: unknown) after those in memory. `thinking`: it ends inside
     * the reasoning. */
    void (*begin)(void *user, size_t n_new, bool thinking);
    /* The next piece of the answer. `id` tells equal pieces apart from others; -1: not a token. False ends it. */
    bool (*piece)(void *user, int32_t id, const char *text, size_t len);
    void *user;
    const pantry_cancel *end_thinking; /* ends the reasoning when it is set; may be NULL */
};

struct pn_answer {
    struct pantry_stats stats;
    int n_threads;    /* that the answer was made with; 0: unknown */
    int n_context;    /* tokens that the context holds; 0: unknown */
    bool is_too_long; /* the conversation did not fit, and this was reported */
    bool filled;      /* the answer ended because the context is full */
};

struct pn_backend {
    /* `client` is the service; NULL in this process. */
    int (*open)(const char *name, const struct pn_machine *machine, const struct pn_client *client, bool ahead,
                struct pn_partner **partner);
    void (*close)(struct pn_partner *partner);
    void (*facts)(const struct pn_partner *partner, struct pn_facts *facts);
    /* Fills in what the user has not set (see pn_cli_sampler_default; *n_context 0), where it is known. */
    int (*settle)(const struct pn_partner *partner, struct pn_cli_sampler *sampler, int *n_context);
    /* Prints a description of the model. */
    int (*show)(const struct pn_partner *partner);
    /* The conversation starts over. */
    void (*clear)(struct pn_partner *partner);
    /* Another length of the context, machine->session.n_context. */
    int (*resize)(struct pn_partner *partner, const struct pn_machine *machine);
    int (*answer)(struct pn_partner *partner, const struct pn_question *question, struct pn_answer *answer);
};

extern const struct pn_backend pn_backend_local, pn_backend_service;

#endif
