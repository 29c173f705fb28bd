/* What goes to a service and comes back: a question as the body of a request of Ollama's API, and the objects of its
 * stream as pieces of an answer.
 *
 * The service splits an answer into reasoning and content; here they are put together again as the model says them, so
 * that the screen shows the same text wherever the answer is made. */
#ifndef PN_CLI_ASK_H
#define PN_CLI_ASK_H

#include "cli/backend.h"

/* `chat`: the model has a chat template, and the body is for /api/chat; otherwise for /api/generate. NULL: no memory.
 */
json_t *pn_ask_body(const struct pn_question *question, const char *model, bool chat, bool can_think);

struct pn_taking {
    const struct pn_question *question;
    struct pn_answer *answer;
    int most;            /* tokens that were asked for; 0: any number */
    bool opened, inside; /* the prompt opened the reasoning; the text is inside it now */
    bool unwanted, done;
    uint64_t began, first, last; /* clock of the call and of its pieces; 0: none yet */
    int n_pieces;
};

/* The call begins. `opened`: the prompt ends inside the reasoning. */
void pn_take_start(struct pn_taking *taking, const struct pn_question *question, bool chat, bool opened,
                   struct pn_answer *answer);
/* A pn_ndjson_sink; `user` is the taking. */
bool pn_take_object(void *user, json_t *object);
/* The answer ended before the service gave its figures: they are counted here. */
void pn_take_cut(const struct pn_taking *taking, enum pantry_stop stop);

#endif
