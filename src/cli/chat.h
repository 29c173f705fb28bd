/* A conversation with a model: what `pantry run` does between two prompts.
 *
 * The whole list of messages goes through the chat template each turn; the session finds what it already holds. A
 * message that could not be answered leaves the list again; nothing is ever dropped silently. */
#ifndef PN_CLI_CHAT_H
#define PN_CLI_CHAT_H

#include "base/alloc.h"
#include "cli/model.h"
#include "cli/sampler.h"
#include "pantry.h"

#include <jansson.h>

enum pn_think { PN_THINK_UNSET, PN_THINK_ON, PN_THINK_OFF };

struct pn_chat {
    char *name; /* of the model, as the user wrote it */
    pantry_model *model;
    pantry_session *session;
    struct pn_machine machine;
    struct pn_cli_sampler sampler;
    json_t *messages; /* without the system text */
    char *system;     /* NULL: none */
    bool verbose, wrap;
    enum pn_think think;
    struct pn_arena arena; /* texts that options point to */
};

/* The struct holds the options already. Reports what is wrong; exit status. */
int pn_chat_open(struct pn_chat *chat, const char *name);
/* Loads another model and starts over; the old one stays if that fails. */
int pn_chat_switch(struct pn_chat *chat, const char *name);
void pn_chat_close(struct pn_chat *chat);
/* Forgets the conversation, not the system text. */
void pn_chat_clear(struct pn_chat *chat);
/* After machine.session was changed. */
int pn_chat_new_session(struct pn_chat *chat);
bool pn_chat_set_system(struct pn_chat *chat, const char *text);

/* Says `text` to the model, shows the answer on standard output and the figures on standard error. Exit status. */
int pn_chat_say(struct pn_chat *chat, const char *text, size_t len);

#endif
