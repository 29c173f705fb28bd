/* Turns with tool calls, put back into later prompts as the model said them.
 *
 * Before a prompt is rendered, a turn that means the same gets the model's own arguments, and the reasoning that the
 * client left out; the template still decides what is shown. Afterwards the turn's tokens replace what the template
 * wrote for it, if everything before them is as it was when the model made them, and if the template shows all of the
 * turn. So the prompt begins with exactly the tokens that are in memory. */
#ifndef PN_SERVER_REPLAY_H
#define PN_SERVER_REPLAY_H

#include "base/alloc.h"
#include "server/models.h"
#include "server/said.h"

#include <jansson.h>

struct pn_replay {
    const struct pn_loaded *loaded;
    const char *owner;
    json_t *context; /* for the template */
    bool has_tools;
    struct pn_replay_turn *turns;
    size_t n_turns;
    struct pn_said_key key; /* of the answer to this prompt */
    struct pn_said said;    /* its place */
    /* What the answer is so far. */
    struct pn_buf ids, content, reasoning;
    json_t *calls;
    char first_id[64];
};

/* Looks up the turns of a context. `owner` may be NULL. */
pantry_status pn_replay_start(struct pn_replay *r, const struct pn_loaded *loaded, const char *owner,
                              const json_t *context, struct pantry_error *err);
/* The tokens of the rendered text, with the turns put in. The caller frees *ids with free. */
pantry_status pn_replay_tokens(struct pn_replay *r, const char *text, size_t len, int32_t **ids, size_t *n,
                               struct pantry_error *err);
void pn_replay_free(struct pn_replay *r);

/* ---- the answer ---- */

void pn_replay_note_token(struct pn_replay *r, int32_t id);
void pn_replay_note_content(struct pn_replay *r, const char *text, size_t len);
void pn_replay_note_reasoning(struct pn_replay *r, const char *text, size_t len);
void pn_replay_note_call(struct pn_replay *r, const char *id, const char *name, const char *arguments);
/* Remembers the answer to the prompt `text` if it has calls. `whole`: the model ended it. */
void pn_replay_keep(struct pn_replay *r, const char *text, size_t len, bool whole);

#endif
