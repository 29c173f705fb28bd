/* The variables of Ollama's templates, from the context that a Jinja template would get. */
#ifndef PN_TEXT_TEMPLATE_GO_TURNS_H
#define PN_TEXT_TEMPLATE_GO_TURNS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct pn_go_turns {
    json_t *shared;   /* what all turns have */
    json_t *messages; /* of Ollama's form: neighbours of one role are one */
    bool at_once;     /* one turn with all messages */
    size_t at;
    bool last; /* the turn that pn_go_turns_next has returned */
};

void pn_go_turns_start(struct pn_go_turns *turns, const json_t *context, bool at_once);
/* The variables of the next turn; NULL: there is none. Caller decrefs. */
json_t *pn_go_turns_next(struct pn_go_turns *turns);
void pn_go_turns_end(struct pn_go_turns *turns);

#endif
