/* The parts of Anthropic's API: a request's prompt (anthropic_prompt.c) and the reply (anthropic_reply.c). */
#ifndef PN_SERVER_API_ANTHROPIC_H
#define PN_SERVER_API_ANTHROPIC_H

#include "base/alloc.h"
#include "server/answer.h"
#include "server/api/guide.h"
#include "server/server.h"

/* ---- prompts ---- */

struct pn_anthropic_prompt {
    json_t *context;            /* for the chat template; the caller frees it */
    bool continues;             /* the last message is the assistant's, and the answer continues it */
    struct pn_tool_rules rules; /* for its tools; rules.one: tool_choice allows at most one call */
    const json_t *schema;       /* that the answer obeys, borrowed; NULL: any text */
    bool omits;                 /* thinking is not shown */
    int think_budget;           /* most tokens of reasoning; -1: no limit */
};

/* Reads system, messages, tools, tool_choice, thinking and output_config. Errors name the field as Anthropic does
 * ("messages.0.content.1.type"). */
pantry_status pn_anthropic_read_prompt(const json_t *body, struct pn_anthropic_prompt *out, struct pantry_error *err);
/* system and messages alone. */
pantry_status pn_anthropic_read_messages(const json_t *body, json_t *list, bool *continues, struct pantry_error *err);
/* A text, or the texts of a list of text blocks, a line for each. PANTRY_UNSUPPORTED: there are other blocks. */
pantry_status pn_anthropic_read_text(const json_t *content, const char *where, struct pn_buf *out,
                                     struct pantry_error *err);

/* ---- replies ---- */

enum pn_anthropic_block { PN_BLOCK_NONE, PN_BLOCK_TEXT, PN_BLOCK_THINKING };

struct pn_anthropic_reply {
    struct pn_exchange *x;
    const char *model;
    bool stream;
    bool one_call, omits; /* as in the prompt */
    bool silent;          /* nothing is wanted but that the prompt is read */
    struct pn_answer answer;
    const char *error_code; /* by which clients know an error; NULL: it has none */
    char id[40];
    bool begun;      /* the stream */
    json_t *content; /* the blocks so far, if there is no stream */
    int n_blocks;
    enum pn_anthropic_block block; /* of the text that comes */
    bool open;                     /* it has been shown: white space alone is not */
    struct pn_buf text;            /* of the block, or the white space it may begin with */
};

void pn_anthropic_reply_init(struct pn_anthropic_reply *reply, struct pn_exchange *x);
void pn_anthropic_reply_free(struct pn_anthropic_reply *reply);
/* For struct pn_answer_options; `user` is the reply. */
bool pn_anthropic_delta(void *user, const struct pn_delta *delta);
/* Sends what is left of the reply. */
void pn_anthropic_finish(struct pn_anthropic_reply *reply, const struct pn_answer_options *options);
/* An error, also in mid-stream. */
void pn_anthropic_fail(struct pn_anthropic_reply *reply, const struct pantry_error *err);

/* ---- endpoints ---- */

pn_route_fn pn_anthropic_messages, pn_anthropic_count;
/* /v1/models and /v1/models/{id} in Anthropic's shape. */
void pn_anthropic_models(struct pn_exchange *x);
void pn_anthropic_model(const struct pn_server *s, struct pn_exchange *x, const char *wanted);

#endif
