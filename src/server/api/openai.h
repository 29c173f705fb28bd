/* OpenAI's API, in parts: calls and their errors (openai_call.c), messages and tools (openai_messages.c), and a file
 * for each endpoint. Fields and replies are those of its reference. */
#ifndef PN_SERVER_API_OPENAI_H
#define PN_SERVER_API_OPENAI_H

#include "base/alloc.h"
#include "server/answer.h"
#include "server/api/guide.h"
#include "server/api/sampling.h"
#include "server/server.h"

#include <pthread.h>
#include <stdatomic.h>

/* ---- fields and errors ---- */

enum pn_openai_use {
    PN_FIELD_READ,
    PN_FIELD_IGNORED, /* OpenAI defines it, and it changes no answer */
    PN_FIELD_REFUSED, /* except the value that changes nothing */
};

struct pn_openai_field {
    const char *name;
    enum pn_openai_use use;
    const char *neutral; /* JSON; NULL: only null */
};

/* A row for PN_SAMPLER_FIELDS. */
#define PN_OPENAI_READ(name_) {#name_, PN_FIELD_READ, NULL},

/* PANTRY_INVALID: a field is not in the table, which a NULL name ends; PANTRY_UNSUPPORTED: one is refused. `where` is
 * the path of the object: "", or "messages[0]." */
pantry_status pn_openai_check(json_t *object, const struct pn_openai_field *fields, const char *where,
                              struct pantry_error *err);
/* {"error": {...}}: the field that begins the sentence becomes `param`. `prompt` is the field with the prompt, for one
 * that is too long. */
json_t *pn_openai_error(const struct pantry_error *err, const char *prompt);
void pn_openai_fail(struct pn_exchange *x, const struct pantry_error *err, const char *prompt);

enum { PN_OPENAI_ID = 48 };
/* "chatcmpl-..." for the prefix "chatcmpl-" */
void pn_openai_id(char out[PN_OPENAI_ID], const char *prefix);

/* ---- calls ---- */

enum { PN_OPENAI_MAX_N = 8, PN_OPENAI_MAX_BEST = 20, PN_OPENAI_MAX_TOP = 20, PN_OPENAI_MAX_PROMPTS = 2048 };

/* One answer of a call. */
struct pn_openai_choice {
    struct pn_openai_call *call;
    int index;
    struct pn_answer_options options;
    struct pn_answer made;
    struct pn_buf content, reasoning;
    json_t *calls;    /* [{"id", "type", "function"}] */
    json_t *logprobs; /* of the content, if wanted */
    int n_shown;      /* characters of the text */
    bool begun;       /* the stream has shown it */
};

struct pn_openai_call {
    struct pn_server *server;
    struct pn_exchange *x;
    json_t *body;
    const char *prompt; /* the field with the prompt, for errors */
    struct pn_loaded *loaded;
    const char *model;
    char id[PN_OPENAI_ID];
    json_int_t created;
    bool stream, include_usage, one_tool_call;
    uint64_t began;
    int n;
    struct pn_answer_options answer; /* of every choice, before its seed */
    struct pantry_logit_bias *bias;
    pantry_grammar *grammar; /* of all answers, or NULL */
    struct pn_openai_choice *choices;
    size_t n_choices;
    pthread_mutex_t lock; /* around what choices write */
    bool streaming;       /* the reply has begun */
    atomic_bool failed;   /* one choice has, so the others are not wanted */
};

/* Checks the fields and reads those that all answers have: model, which it holds, stream, stream_options, n, seed,
 * logit_bias and sampling. `call` has server, x, body and prompt. */
pantry_status pn_openai_open(struct pn_openai_call *call, const struct pn_openai_field *fields, const char *id_prefix,
                             struct pantry_error *err);
void pn_openai_close(struct pn_openai_call *call);
/* Room for n choices, with the call's options and seeds of their own. */
pantry_status pn_openai_choices(struct pn_openai_call *call, size_t n, struct pantry_error *err);
/* Makes all choices, several at once. done(choice) follows each. */
pantry_status pn_openai_make(struct pn_openai_call *call, void (*done)(struct pn_openai_choice *choice),
                             struct pantry_error *err);
/* Keeps what a choice says in its buffers. */
bool pn_openai_keep(struct pn_openai_choice *choice, const struct pn_delta *delta);
/* The id of a call: the model's own, or "call_..." */
json_t *pn_openai_call_id(const struct pn_delta *delta);
/* {"id", "type", "function"} */
json_t *pn_openai_tool_call(const struct pn_delta *delta);

/* A chunk of a stream without its choices, or a whole reply without them. */
json_t *pn_openai_object(const struct pn_openai_call *call, const char *object);
json_t *pn_openai_usage(const struct pn_openai_call *call);
/* Begins the stream if it has not begun. */
void pn_openai_begin(struct pn_openai_call *call);
bool pn_openai_ping(struct pn_openai_call *call);
/* A chunk without choices that says how far the prompt is read, as llama.cpp has it. */
bool pn_openai_progress(const struct pn_openai_choice *choice, const char *object, const struct pn_delta *delta);
/* return_progress: only for streams. */
pantry_status pn_openai_read_progress(struct pn_openai_call *call, struct pantry_error *err);
/* The usage, if it is wanted, and the end. */
void pn_openai_end_stream(struct pn_openai_call *call, const char *object);
/* An error: a reply, or an event of the stream. */
void pn_openai_end_failed(struct pn_openai_call *call, const struct pantry_error *err);

/* ---- messages ---- */

/* A content: a string, or parts whose type is one of `types` (up to NULL); parts become lines. *out is a string. */
pantry_status pn_openai_text(json_t *content, const char *where, const char *const *types, json_t **out,
                             struct pantry_error *err);
/* Whether a content has pictures: parts image_url of chats, input_image of responses. Then it stays a list: text and
 * pictures, in order. */
bool pn_openai_has_pictures(const json_t *content);
pantry_status pn_openai_parts(json_t *content, const char *where, const char *const *types, json_t **out,
                              struct pantry_error *err);
/* {"id", "type", "function"} as templates want it: arguments that are JSON become an object. */
json_t *pn_openai_call_for_template(const char *id, const char *name, const char *arguments);
/* A result of a tool gets the name of the tool, which some templates print. */
void pn_openai_name_result(json_t *result, const json_t *messages);
/* Messages of chat completions, as templates want them. */
pantry_status pn_openai_messages(json_t *given, json_t *out, struct pantry_error *err);
/* The tools of a request, as templates want them; NULL where there are none, or tool_choice is "none". `nested`: a tool
 * has its function in a member of its own. Fills *rules; the caller frees rules->strict. */
pantry_status pn_openai_tools(json_t *body, bool nested, json_t **out, struct pn_tool_rules *rules,
                              struct pantry_error *err);
/* What the template gets. Takes `messages` and `tools` (NULL: none) over; `effort` and `more` may be NULL. */
pantry_status pn_openai_context(const struct pn_loaded *loaded, json_t *messages, json_t *tools, const char *effort,
                                json_t *more, json_t **out, struct pantry_error *err);
/* response_format of chats, or text.format of responses, which is `flat`: its schema has no member of its own. */
pantry_status pn_openai_format(const json_t *format, const char *where, bool flat, pantry_grammar **out,
                               struct pantry_error *err);
/* Keeps the call's answers to its grammar, or to the rules for its tools. */
pantry_status pn_openai_rule(struct pn_openai_call *call, const json_t *tools, const struct pn_tool_rules *rules,
                             struct pantry_error *err);

/* ---- endpoints ---- */

pn_route_fn pn_openai_models, pn_openai_model;
pn_route_fn pn_openai_chat, pn_openai_completions, pn_openai_embeddings;
pn_route_fn pn_openai_responses, pn_openai_count_input, pn_openai_get_response, pn_openai_delete_response;

#endif
