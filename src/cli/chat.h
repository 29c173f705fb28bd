/* A conversation with a model: the work of `pantry run` between two prompts.
 *
 * Each turn the whole list of messages goes to the backend, which reuses what it has read already. A message without an
 * answer leaves the list again; nothing is ever dropped silently. */
#ifndef PN_CLI_CHAT_H
#define PN_CLI_CHAT_H

#include "base/alloc.h"
#include "cli/backend.h"
#include "cli/model.h"
#include "cli/sampler.h"
#include "pantry.h"

#include <jansson.h>

struct pn_chat {
    char *name; /* of the model, as the user wrote it */
    const struct pn_backend *backend;
    const struct pn_client *client; /* NULL: in this process */
    struct pn_partner *partner;
    struct pn_machine machine;
    struct pn_cli_sampler sampler;
    struct pn_cli_sampler given; /* the sampler as the user has set it, and nothing else */
    int given_context;           /* the same for machine.session.n_context */
    json_t *messages;            /* without the system message, and without what the model carries */
    json_t *pictures;            /* for the next message: parts of its content */
    char *system;                /* the user's; NULL: none */
    bool own_system;             /* the user has set it, or removed it */
    bool verbose, wrap;
    bool talks; /* on a terminal, where Ctrl-C first ends the reasoning */
    bool ahead; /* the model is loaded before the first message */
    enum pn_think think;
    struct pn_arena arena; /* texts of options */
};

/* The caller sets the backend and the options in *chat first (`sampler` as parsed: what is not set there comes from the
 * model). Reports errors; returns an exit status. */
int pn_chat_open(struct pn_chat *chat, const char *name);
/* Loads another model and starts over; keeps the old one on failure. */
int pn_chat_switch(struct pn_chat *chat, const char *name);
void pn_chat_close(struct pn_chat *chat);
/* Forgets the conversation, not the system message. */
void pn_chat_clear(struct pn_chat *chat);
/* Call it after changing machine.session. */
int pn_chat_new_session(struct pn_chat *chat);
bool pn_chat_set_system(struct pn_chat *chat, const char *text);
void pn_chat_facts(const struct pn_chat *chat, struct pn_facts *facts);

/* Adds a picture's file to the next message. Reports errors; exit status. */
int pn_chat_show(struct pn_chat *chat, const char *file);
/* Sends `text` to the model with the pictures that were added. To a model that sees, also those whose files the text
 * names: their paths leave the text. Prints the answer on standard output and the figures on standard error. Exit
 * status. */
int pn_chat_say(struct pn_chat *chat, const char *text, size_t len);

#endif
