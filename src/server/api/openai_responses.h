/* OpenAI's responses, in parts: items of the input (openai_items.c), items of the output and the events of a stream
 * (openai_output.c), responses that later ones may continue (openai_kept.c), and the endpoints (openai_responses.c). */
#ifndef PN_SERVER_API_OPENAI_RESPONSES_H
#define PN_SERVER_API_OPENAI_RESPONSES_H

#include "server/api/openai.h"

/* ---- the output ---- */

struct pn_openai_response {
    struct pn_openai_call call; /* first, so that one is the other */
    json_t *object;             /* the response, in progress */
    json_t *items;              /* of the input, with those of the responses before it */
    json_t *output;
    json_t *item; /* the one that grows, or NULL: borrowed from `output` */
    struct pn_buf text;
    json_t *logprobs; /* of `text`, if wanted */
    int sequence;     /* number of the next event */
    bool store, encrypted, previous_is_missing;
};

/* Takes a part of the answer, and shows it if the response is a stream. False: the rest is not wanted. */
bool pn_openai_output_take(struct pn_openai_response *r, const struct pn_delta *delta);
/* Ends the item that grows and fills the response's fields. */
void pn_openai_output_finish(struct pn_openai_response *r);
/* The events before the first item, unless they were sent. */
void pn_openai_output_begin(struct pn_openai_response *r);
/* An event with the whole response. */
bool pn_openai_output_event(struct pn_openai_response *r, const char *type);

/* ---- the input ---- */

/* Appends the messages of input items to `messages`. */
pantry_status pn_openai_items(json_t *items, json_t *messages, struct pantry_error *err);

/* ---- kept responses ---- */

/* Keeps a response and all items up to its end, for requests of the same owner as `x`. The oldest go when there are too
 * many. */
void pn_openai_keep_response(const struct pn_exchange *x, const char *id, const json_t *response, const json_t *items);
/* NULL: it is not kept, or another owner's. The caller owns the values. */
json_t *pn_openai_kept_response(const struct pn_exchange *x, const char *id);
json_t *pn_openai_kept_items(const struct pn_exchange *x, const char *id);
bool pn_openai_forget_response(const struct pn_exchange *x, const char *id);

#endif
