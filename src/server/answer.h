/* One way to make an answer, whichever API asks: render the prompt, submit it, split what the model says into
 * reasoning, content and tool calls, and hand these out as they come. */
#ifndef PN_SERVER_ANSWER_H
#define PN_SERVER_ANSWER_H

#include "server/http.h"
#include "server/models.h"

#include <jansson.h>

enum { PN_MAX_STOPS = 64 };

enum pn_delta_kind {
    PN_DELTA_CONTENT,   /* `text` */
    PN_DELTA_REASONING, /* `text` */
    PN_DELTA_TOOL_CALL, /* `name`, `arguments` (JSON) and `id`: one whole call */
    PN_DELTA_PROGRESS,  /* `n_read` tokens of the prompt are read, of these `n_cached` from memory; if it is wanted */
    PN_DELTA_WAIT       /* nothing has come for a second: a stream may send a sign of life */
};

struct pn_delta {
    enum pn_delta_kind kind;
    const char *text;
    size_t len;
    const char *name, *arguments, *id;
    bool id_is_made; /* the model wrote none; an API may put a prefix before it */
    int n_read, n_cached;
    json_t *logprobs; /* of content, if wanted: [{"token", "logprob", "bytes", "top_logprobs"}], else NULL */
};

struct pn_answer_options {
    /* What the template gets ({"messages", "tools", "add_generation_prompt", ...}), or NULL: `ids` (n_ids) are the
     * prompt, or, where they are NULL, `text` is. */
    json_t *context;
    const int32_t *ids;
    size_t n_ids;
    const char *text;
    size_t len;
    bool plain; /* `text` may not contain special tokens */
    /* The answer goes on with the context's last message, the assistant's, which is not handed out again. */
    bool continues;
    struct pantry_sampling sampling;
    struct pantry_samplers more;               /* without its texts */
    struct pn_sampling_texts breakers, banned; /* of DRY; that the answer never contains */
    char order[PN_SAMPLING_ORDER];             /* of the samplers; "": the usual one */
    int max_tokens, n_context, n_batch;        /* 0: as in pantry_request_options */
    const char *stop[PN_MAX_STOPS];
    size_t n_stop;
    bool logprobs;    /* content comes with the log probabilities of its tokens, ... */
    int top_logprobs; /* ... and with those of the likeliest tokens in their place */
    const struct pantry_logit_bias *logit_bias;
    size_t n_logit_bias;
    int think_budget;              /* most tokens of reasoning; -1: no limit */
    const char *think_message;     /* that ends reasoning which is cut; NULL: none */
    const char *begin;             /* text that the answer begins with; NULL: none */
    const pantry_grammar *grammar; /* what the answer is; NULL: any text */
    const char *id;                /* of the reply, by which another request can end the reasoning; NULL: it has none */
    bool progress;                 /* tell how far the prompt is read */
    bool whole;                    /* reasoning and calls stay in the content */
    bool shift;                    /* where the context is full, older tokens are left out and the answer goes on */
    bool cut;                      /* so are those of a prompt that is longer than the context */
    int n_keep;                    /* tokens at the beginning that stay then; half of the context at most */
    enum pantry_tool_choice tool_choice;
    /* False: the answer may end. */
    bool (*delta)(void *user, const struct pn_delta *delta);
    void *user;
};

struct pn_answer {
    struct pantry_stats stats; /* n_prompt is known before the first delta, the others after the last */
    int n_calls;
    int n_reasoning;      /* tokens up to the end of the reasoning */
    int n_cut, n_shifted; /* tokens that were left out of the prompt, and to go on */
    double logprob;       /* of all tokens together, with logprobs */
    const char *stop;     /* the one of the stop texts that came; NULL: none did */
};

/* Whether a chat template, in Jinja or in Go's language, shows tools, and levels of reasoning. */
bool pn_answer_takes_tools(const char *template);
bool pn_answer_takes_levels(const char *template);
/* Whether the model sees pictures: parts {"type": "image", "data": BASE64} of a message's content. */
bool pn_answer_sees(const struct pn_loaded *loaded);
/* The options of a model, before a request changes them. */
struct pn_answer_options pn_answer_defaults(const struct pn_loaded *loaded);
/* The prompt as text, unless it is `ids`; its special tokens count as such unless options->plain. Caller frees *text
 * with pantry_free. */
pantry_status pn_answer_render(const struct pn_loaded *loaded, const struct pn_answer_options *options, char **text,
                               size_t *len, struct pantry_error *err);
/* The prompt's tokens, as for an answer to `x` (NULL: without an owner). Caller frees *ids with pantry_free. */
pantry_status pn_answer_tokens(const struct pn_loaded *loaded, const struct pn_answer_options *options,
                               const struct pn_exchange *x, int32_t **ids, size_t *n, struct pantry_error *err);
/* Makes the answer. It ends early, with PANTRY_OK, when the client of `x` (NULL: there is none) leaves.
 * PANTRY_CONTEXT_FULL: the prompt is longer than the context. */
pantry_status pn_answer_make(const struct pn_loaded *loaded, const struct pn_answer_options *options,
                             struct pn_exchange *x, struct pn_answer *out, struct pantry_error *err);

#endif
