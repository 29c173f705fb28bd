/* pantry: run open-weight language models on this machine.
 *
 * What holds for every call, unless its comment says otherwise:
 *
 * Errors     A call that can fail returns a pantry_status (0 is success) and takes a `struct pantry_error *` last,
 * which may be NULL. It is only written after a failure. Any call may return PANTRY_NO_MEMORY, those that read a file
 * also PANTRY_NOT_FOUND, PANTRY_IO, PANTRY_FORMAT and PANTRY_UNSUPPORTED; comments name the others. Pointers   Handles,
 * texts and outputs must not be NULL. Options and lengths (`size_t *len`) may be: NULL options are the defaults. A
 * `_free` function accepts NULL. Outputs    After a failure a handle that the call was to make is NULL, and other
 * outputs are as they were. Ownership  A call copies what it is given before it returns. `const` pointers that it
 * returns belong to the library and live as long as the handle they came from; what is returned as `char *` or `int32_t
 * *` is yours, and freed with pantry_free. Texts      UTF-8. A text with a length may contain NUL bytes; a text that is
 * returned has a NUL after its length. Threads    Models and tokenizers may be used by any number of threads at once; a
 * session and a request by one thread at a time, except for the calls that cancel. Versions   Options and results are
 * structs that begin with their `size`: a program that was compiled with an older or newer pantry.h works with this
 * library. Options come from their `_default` function; results, as `struct pantry_stats stats = {.size = sizeof
 * stats}`. PANTRY_INVALID: the size is missing. PANTRY_UNSUPPORTED: the program sets an option that this library does
 * not have. */
#ifndef PANTRY_H
#define PANTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define PANTRY_API __attribute__((visibility("default")))
#else
#define PANTRY_API
#endif

#define PANTRY_VERSION "0.1.0"

/* ---- errors ---- */

typedef enum pantry_status {
    PANTRY_OK = 0,
    PANTRY_INVALID = -1,     /* an argument is wrong */
    PANTRY_FORMAT = -2,      /* a file or text is malformed */
    PANTRY_UNSUPPORTED = -3, /* well-formed, but nothing here can do it */
    PANTRY_NOT_FOUND = -4,
    PANTRY_IO = -5,
    PANTRY_NO_MEMORY = -6,
    PANTRY_LIMIT = -7,        /* a bound on work or size was reached */
    PANTRY_CANCELLED = -8,    /* a pantry_cancel was set; generations end with PANTRY_OK and what they have instead */
    PANTRY_CONTEXT_FULL = -9, /* the prompt does not fit the context */
    PANTRY_RAISED = -10,      /* the chat template called raise_exception; the text is its message */
    PANTRY_INTERNAL = -11,
} pantry_status;

struct pantry_error {
    pantry_status status;
    char text[1024]; /* one sentence that names what is wrong and where */
};

PANTRY_API const char *pantry_version(void);
PANTRY_API const char *pantry_status_text(pantry_status status);
/* Frees what a function of this library returned as `char *` or `int32_t *`. NULL is fine. */
PANTRY_API void pantry_free(void *p);

/* ---- cancelling ---- */

/* A switch that ends long calls from elsewhere: give it to a call in its options, set it, and the call ends after the
 * step that it is in. One may serve any number of calls and must outlive them. */
typedef struct pantry_cancel pantry_cancel;

/* NULL: out of memory. */
PANTRY_API pantry_cancel *pantry_cancel_new(void);
/* From any thread, and from a signal handler. It stays set. */
PANTRY_API void pantry_cancel_set(pantry_cancel *cancel);
PANTRY_API void pantry_cancel_clear(pantry_cancel *cancel);
PANTRY_API bool pantry_cancel_is_set(const pantry_cancel *cancel);
PANTRY_API void pantry_cancel_free(pantry_cancel *cancel);

/* ---- models ---- */

typedef struct pantry_model pantry_model;

/* Models that are loaded with equal device, n_threads and isa share one device and its threads; their steps take turns.
 */
struct pantry_model_options {
    size_t size;
    /* "cpu", or "ref": plain scalar float32, the oracle of the tests; NULL: the best there is. Up to four with the
     * layers of each share a model ("cpu:0-15,ref:16-"); without layers the first does what it can, the others the
     * rest. */
    const char *device;
    int n_threads;   /* 0: one for each physical core that this process may use */
    const char *isa; /* highest instruction set the CPU device may use ("generic", "avx2", ...); NULL: the best */

    /* Longer contexts than the model was trained for, by stretching its rotary embedding: */
    const char *rope_scaling; /* "linear", "ntk", "yarn" or "none"; NULL: as the file says, or linear with a factor */
    float rope_factor;        /* how many times longer than the original context; 0: as the file says */
    float rope_freq_base;     /* 0: as the file says */

    /* What all sessions have in common, so that they can share steps and keys: the first that asks settles what is not
     * settled here, and one that asks for something else is refused with PANTRY_INVALID. */
    const char *kv_type; /* how keys and values are kept: "f16" (the default of "cpu"), "q8_0", "f32"; NULL: any */
    int n_context;       /* of sessions that do not say; models with LongRoPE rotate as a context of that length needs.
                            0: any, by default what the model was trained for, at most 32,768 */
    int reserved;        /* 0: room for a later option */
};

PANTRY_API void pantry_model_options_init(struct pantry_model_options *options, size_t size);
static inline struct pantry_model_options pantry_model_options_default(void)
{
    struct pantry_model_options o;
    pantry_model_options_init(&o, sizeof o);
    return o;
}

/* Maps a model (GGUF file, also the first of a sharded one) and plans nothing yet: a warm load takes milliseconds.
 * PANTRY_INVALID: an option is out of range; PANTRY_NOT_FOUND: the file or the device. */
PANTRY_API pantry_status pantry_model_load(const char *path, const struct pantry_model_options *options,
                                           pantry_model **model, struct pantry_error *error);
/* A model with the shape of a known one and made-up weights, "llama3.2-1b:q4_k_m": to measure a machine before anything
 * is downloaded. It has no tokenizer. PANTRY_NOT_FOUND: the shape or the mix of types. */
PANTRY_API pantry_status pantry_model_synthetic(const char *spec, const struct pantry_model_options *options,
                                                pantry_model **model, struct pantry_error *error);
/* Sessions and requests that are left keep the model until they are freed too, in any order. */
PANTRY_API void pantry_model_free(pantry_model *model);

/* Reads every header of a model file and checks it without loading it: what `pantry check` does. */
PANTRY_API pantry_status pantry_check(const char *path, struct pantry_error *error);

/* How the states of a text's tokens become one row. */
enum pantry_pooling {
    PANTRY_POOLING_AUTO, /* as the model file says; else mean for encoders, last for decoders */
    PANTRY_POOLING_MEAN, /* the mean over all tokens, special ones included */
    PANTRY_POOLING_CLS,  /* the first token's */
    PANTRY_POOLING_LAST, /* the last token's */
    PANTRY_POOLING_NONE, /* a row for each token: the states after the last norm, neither cut nor normalized */
};
/* "auto", "mean", ...; "" for other numbers. */
PANTRY_API const char *pantry_pooling_name(enum pantry_pooling pooling);

struct pantry_model_info {
    size_t size;
    const char *architecture; /* "llama" */
    const char *name;         /* general.name, or "" */
    const char *license;      /* general.license, or "" */
    const char *format;       /* "gguf v3" */
    const char *tokenizer;    /* "gpt2", or "" */
    const char *device;       /* "cpu (avx2, 2 threads)" */
    uint64_t n_params;
    uint64_t size_bytes; /* of all tensors */
    uint64_t step_bytes; /* weight bytes read to make one token */
    int n_vocab, n_layer, n_embd, n_head, n_head_kv, n_ff;
    int n_context_train;
    bool has_tokenizer;
    bool generates;              /* false: an encoder, which only makes embeddings */
    bool ranks;                  /* it has a ranking head */
    int n_embedding;             /* values of an embedding */
    enum pantry_pooling pooling; /* MEAN, CLS or LAST: how its embeddings are made of states */
};

/* Fills *info. */
PANTRY_API pantry_status pantry_model_info(const pantry_model *model, struct pantry_model_info *info,
                                           struct pantry_error *error);

/* One JSON object that describes a model file, also one that cannot be run. What the file does not say is left out:
 *   "format": "gguf v3", "architecture", "name", "license", "size_bytes" (of all tensors), "n_params", "n_tensors",
 *   "hyperparameters": {"context_length": 8192, "embedding_length": 576, ...} (without the architecture's prefix),
 *   "types": {"q4_1": {"tensors": 210, "bytes": 75497472}, ...},
 *   "tokenizer": {"model": "gpt2", "pre": "smollm", "n_vocab": 49152, "bos": 1, "eos": 2, ...},
 *   "template": source of the chat template, "license_text",
 *   "metadata": {key: value, ...} (long arrays are cut, the last item then says how many were left out),
 *   "tensors": [{"name", "type", "shape": [...] (outermost first), "bytes"}, ...],
 *   "runs": true, or a sentence that says why not. */
PANTRY_API pantry_status pantry_describe(const char *path, char **json, struct pantry_error *error);

/* The most bytes that all models of this process may take together: weights, keys and values, states, scratch. 0 (at
 * first): what the system leaves, which is main memory less what other processes use, and what control groups allow.
 * What does not fit is refused with PANTRY_NO_MEMORY and a sentence; what is loaded already stays. */
PANTRY_API void pantry_limit_memory(uint64_t bytes);

/* ---- text ---- */

enum {
    PANTRY_TOKENIZE_SPECIAL = 1, /* "<|im_end|>" in the text becomes that token */
    PANTRY_TOKENIZE_BOS = 2,     /* add the beginning (and end) tokens that the model asks for */
};
enum { PANTRY_DETOKENIZE_SPECIAL = 1 /* control tokens are printed too */ };

/* A vocabulary without weights is enough for these: a GGUF file that pantry_model_load refuses may still have one. The
 * path may also be a folder of Hugging Face with tokenizer.json or tokenizer.model in it. */
typedef struct pantry_tokenizer pantry_tokenizer;
PANTRY_API pantry_status pantry_tokenizer_load(const char *path, pantry_tokenizer **tokenizer,
                                               struct pantry_error *error);
PANTRY_API void pantry_tokenizer_free(pantry_tokenizer *tokenizer);
/* Borrowed from the model; NULL if it has none. */
PANTRY_API const pantry_tokenizer *pantry_model_tokenizer(const pantry_model *model);

/* The text's token ids, *n of them. */
PANTRY_API pantry_status pantry_tokenize(const pantry_tokenizer *tokenizer, const char *text, size_t len,
                                         unsigned flags, int32_t **ids, size_t *n, struct pantry_error *error);
/* The text of the ids. PANTRY_INVALID: an id is not in the vocabulary. */
PANTRY_API pantry_status pantry_detokenize(const pantry_tokenizer *tokenizer, const int32_t *ids, size_t n,
                                           unsigned flags, char **text, size_t *len, struct pantry_error *error);
/* False for ids that are not in the vocabulary. */
PANTRY_API bool pantry_token_ends_generation(const pantry_tokenizer *tokenizer, int32_t id);

/* Renders a chat template (Jinja source) with a JSON object as its variables, as Hugging Face's apply_chat_template
 * does. PANTRY_FORMAT: the template or the JSON is malformed; PANTRY_RAISED: the template refuses the messages;
 * PANTRY_LIMIT: it works for too long or writes too much; PANTRY_UNSUPPORTED: it uses what is not built. */
PANTRY_API pantry_status pantry_template_render(const char *source, size_t source_len, const char *context_json,
                                                char **text, size_t *len, struct pantry_error *error);
/* The model's own template, or NULL if it has none. */
PANTRY_API const char *pantry_model_template(const pantry_model *model, size_t *len);
/* Renders the model's template with `context_json` ({"messages": [...], "tools": [...], "add_generation_prompt": true,
 * ...}); bos_token, eos_token and add_generation_prompt are filled in where they are missing. PANTRY_NOT_FOUND: the
 * model has no template; else as pantry_template_render. */
PANTRY_API pantry_status pantry_model_render(const pantry_model *model, const char *context_json, char **text,
                                             size_t *len, struct pantry_error *error);

/* ---- what a model says ---- */

enum { PANTRY_PARSE_REASONING_IN_CONTENT = 1 /* the reasoning stays in the content, between its markers */ };

enum pantry_tool_choice { PANTRY_TOOL_AUTO, PANTRY_TOOL_REQUIRED, PANTRY_TOOL_NONE };

/* Splits what a model printed (`raw`) after the prompt that `template_source` rendered from `context_json`, in the
 * dialect of that template. *json is one object, {"content", "reasoning_content", "tool_calls": [{"name", "arguments",
 * "id"}]}. What cannot be understood stays in the content. Fails as pantry_template_render does. */
PANTRY_API pantry_status pantry_parse(const char *template_source, size_t template_len, const char *context_json,
                                      const char *raw, size_t raw_len, unsigned flags,
                                      enum pantry_tool_choice tool_choice, char **json, struct pantry_error *error);

/* The same while the answer streams in: any split of it into pieces gives the same texts and calls. */
typedef struct pantry_parser pantry_parser;

enum pantry_parse_kind {
    PANTRY_PARSE_REASONING, /* `text` is set */
    PANTRY_PARSE_CONTENT,   /* `text` is set */
    PANTRY_PARSE_TOOL_CALL  /* `name`, `arguments` and perhaps `id` are set */
};

/* The library makes it, and may append members. */
struct pantry_parse_event {
    enum pantry_parse_kind kind;
    const char *text; /* the next `len` bytes: whole characters, and a NUL */
    size_t len;
    const char *name;      /* of the tool */
    const char *arguments; /* one JSON value, complete */
    const char *id;        /* as the model wrote it, or NULL */
};

/* Called for every part in order, on the thread that pushes; *event lives until it returns. The callback must
 * not use the parser. */
typedef void pantry_parse_callback(void *user, const struct pantry_parse_event *event);

/* A parser for the answer to `prompt`, the text that `template_source` rendered from `context_json`; "" if it is not
 * known. If the last message is the assistant's and add_generation_prompt is not true, the answer continues it: what
 * the message already has is reported first, before this call returns. PANTRY_FORMAT: the JSON is malformed. */
PANTRY_API pantry_status pantry_parser_new(const char *template_source, size_t template_len, const char *context_json,
                                           const char *prompt, size_t prompt_len, unsigned flags,
                                           enum pantry_tool_choice tool_choice, pantry_parse_callback *callback,
                                           void *user, pantry_parser **parser, struct pantry_error *error);
/* Takes the next `len` bytes of the answer. After a failure, or after pantry_parser_finish, the parser can only be
 * freed: PANTRY_INVALID. */
PANTRY_API pantry_status pantry_parser_push(pantry_parser *parser, const char *text, size_t len,
                                            struct pantry_error *error);
/* Ends the answer: what was held back is reported. */
PANTRY_API pantry_status pantry_parser_finish(pantry_parser *parser, struct pantry_error *error);
PANTRY_API void pantry_parser_free(pantry_parser *parser);

/* ---- sessions ---- */

/* One conversation: its tokens and their keys and values. A new prompt that starts like the old tokens reuses them. */
typedef struct pantry_session pantry_session;

struct pantry_session_options {
    size_t size;
    int n_context;       /* 0: the model's; what it was trained for shrinks where memory is short */
    const char *kv_type; /* NULL: the model's */
    int n_batch;         /* most tokens of one prefill step; 0: 512 */
    int reserved;        /* 0: room for a later option */
};

PANTRY_API void pantry_session_options_init(struct pantry_session_options *options, size_t size);
static inline struct pantry_session_options pantry_session_options_default(void)
{
    struct pantry_session_options o;
    pantry_session_options_init(&o, sizeof o);
    return o;
}
/* PANTRY_INVALID: an option is out of range, or contradicts what the model's sessions have in common;
 * PANTRY_UNSUPPORTED: the model makes embeddings only. */
PANTRY_API pantry_status pantry_session_new(pantry_model *model, const struct pantry_session_options *options,
                                            pantry_session **session, struct pantry_error *error);
PANTRY_API void pantry_session_free(pantry_session *session);
/* Forgets all tokens. */
PANTRY_API void pantry_session_clear(pantry_session *session);
PANTRY_API int pantry_session_n_context(const pantry_session *session);
/* Tokens the session holds keys and values for. */
PANTRY_API int pantry_session_n_past(const pantry_session *session);

struct pantry_sampling {
    float temperature;       /* 0: greedy */
    int top_k;               /* 0: off */
    float top_p;             /* 1: off */
    float min_p;             /* 0: off */
    float repeat_penalty;    /* 1: off; divides positive and multiplies negative logits of recent tokens */
    float frequency_penalty; /* 0: off; subtracted once for each recent occurrence */
    float presence_penalty;  /* 0: off; subtracted if it occurred */
    int penalty_last_n;      /* how many recent tokens count; -1: all of the context */
    uint64_t seed;           /* same seed, same text so far, same options: same next token */
    uint64_t reserved[6];    /* zeros: room for later options, as this struct is part of others */
};

PANTRY_API struct pantry_sampling pantry_sampling_default(void);

/* Added to the logit of a token before the penalties: 100 practically forces a token, -100 practically bans it. */
struct pantry_logit_bias {
    int32_t id;
    float bias; /* -100 to 100; those of one id add up */
};

/* Why an answer ended. */
enum pantry_stop {
    PANTRY_STOP_NONE,      /* it has not, or it failed */
    PANTRY_STOP_END,       /* the model said so */
    PANTRY_STOP_TEXT,      /* one of the stop texts came */
    PANTRY_STOP_LENGTH,    /* max_tokens, or the context is full */
    PANTRY_STOP_CANCELLED, /* a cancel was set, or the request cancelled */
    PANTRY_STOP_CALLBACK,  /* the callback returned false */
};
/* "stop", "stop_string", "length", "cancelled", "callback"; "" for NONE and other numbers. */
PANTRY_API const char *pantry_stop_name(enum pantry_stop stop);

struct pantry_stats {
    size_t size;
    int n_prompt; /* tokens of the prompt */
    int n_cached; /* of them, reused from the session */
    int n_generated;
    double load_seconds;        /* of the model */
    double prefill_seconds;     /* from when the engine began with the prompt to the first token */
    double decode_seconds;      /* from the first token to the last */
    double first_token_seconds; /* from the call to the first token */
    double bytes_per_token;     /* weights and cache read by the average decode step */
    enum pantry_stop stop;
};

struct pantry_logprob {
    int32_t id;
    float logprob; /* natural logarithm of the model's probability, before bias and sampling; may be -INFINITY */
};

/* The library makes it, and may append members. */
struct pantry_token {
    int32_t id;       /* -1: no token, but text that was held back for a stop text and follows at the end */
    const char *text; /* whole UTF-8 characters that this token completed, and a NUL; may be empty */
    size_t len;
    float logprob;                    /* with the option `logprobs`, else 0 */
    int n_top;                        /* with the option `top_logprobs`: as many, or all that are possible */
    const struct pantry_logprob *top; /* (n_top), best first, equal ones by id */
};

/* Called for every token in order, on the thread that generates; *token lives until it returns. Returning false ends
 * the generation with PANTRY_OK and PANTRY_STOP_CALLBACK. */
typedef bool pantry_token_callback(void *user, const struct pantry_token *token);

struct pantry_generate_options {
    size_t size;
    struct pantry_sampling sampling;
    int max_tokens; /* 0: until the model ends or the context is full */
    bool ignore_eos;
    const char *const *stop; /* texts that end the generation; not part of the output */
    size_t n_stop;
    const pantry_cancel *cancel;     /* ends the generation with PANTRY_OK, also in the prompt; may be NULL */
    pantry_token_callback *callback; /* may be NULL */
    void *user;                      /* for the callback */
    bool logprobs;                   /* these and the following: as for requests */
    int top_logprobs;
    const struct pantry_logit_bias *logit_bias;
    size_t n_logit_bias;
};

PANTRY_API void pantry_generate_options_init(struct pantry_generate_options *options, size_t size);
static inline struct pantry_generate_options pantry_generate_options_default(void)
{
    struct pantry_generate_options o;
    pantry_generate_options_init(&o, sizeof o);
    return o;
}

/* Feeds the prompt `ids` (all of it: what the session already holds is found and reused) and generates. *stats, which
 * may be NULL, is filled also after a failure. After one, the session holds a part of the prompt or of the answer, and
 * may be used again. PANTRY_INVALID: an option is out of range, there is no id, or one is not in the vocabulary;
 * PANTRY_CONTEXT_FULL: the prompt is longer than the context. */
PANTRY_API pantry_status pantry_generate(pantry_session *session, const int32_t *ids, size_t n,
                                         const struct pantry_generate_options *options, struct pantry_stats *stats,
                                         struct pantry_error *error);

/* The logits of every position: `out` has room for n * n_vocab floats. Starts from an empty session and processes the
 * ids in slices of the given lengths (NULL: as the session likes). After a failure `out` is partly filled.
 * PANTRY_CONTEXT_FULL: there are more ids than the context has room for; PANTRY_INVALID: an id or a slice is wrong. */
PANTRY_API pantry_status pantry_logits(pantry_session *session, const int32_t *ids, size_t n, const int *slices,
                                       size_t n_slices, float *out, struct pantry_error *error);

/* ---- requests ---- */

/* An answer in the making, for programs that work on many at once. All requests of a model are run together by one
 * thread of the library. Their tokens wait in a bounded queue of their own: a slow reader delays nobody else.
 *
 * Prompts of one cache key that begin alike share the memory of what they share, also with answers that have ended.
 * Sessions have keys of their own. */
typedef struct pantry_request pantry_request;

struct pantry_request_options {
    size_t size;
    const int32_t *ids; /* the prompt (n_ids) */
    size_t n_ids;
    struct pantry_sampling sampling;
    int max_tokens; /* 0: until the model ends or the context is full */
    int n_context;  /* most tokens, prompt included; 0: as for sessions */
    int n_batch;    /* most tokens of one prefill step; 0: 512 */
    bool ignore_eos;
    const char *const *stop; /* texts that end the answer; not part of it */
    size_t n_stop;
    const char *cache_key; /* shares memory only with requests of the same key; NULL: with all that have none */
    bool logprobs;         /* tokens come with their log probability, and with those of the likeliest ... */
    int top_logprobs;      /* ... tokens in their place: 0 to 20 */
    const struct pantry_logit_bias *logit_bias;
    size_t n_logit_bias;
};

PANTRY_API void pantry_request_options_init(struct pantry_request_options *options, size_t size);
static inline struct pantry_request_options pantry_request_options_default(void)
{
    struct pantry_request_options o;
    pantry_request_options_init(&o, sizeof o);
    return o;
}

/* Submits a prompt. Waits for no answer, but perhaps for the step that runs. PANTRY_INVALID: an option is out of range,
 * there is no id, or one is not in the vocabulary; PANTRY_CONTEXT_FULL: the prompt is longer than n_context;
 * PANTRY_UNSUPPORTED: the model makes embeddings only; PANTRY_NO_MEMORY also: memory for the context is not there. */
PANTRY_API pantry_status pantry_submit(pantry_model *model, const struct pantry_request_options *options,
                                       pantry_request **request, struct pantry_error *error);

enum pantry_event_kind {
    PANTRY_EVENT_TOKEN, /* `token` is set */
    PANTRY_EVENT_END    /* `status`, `message` and `stats` are set; after this event only this one comes */
};

/* The library makes it, and may append members. */
struct pantry_event {
    enum pantry_event_kind kind;
    const struct pantry_token *token;
    pantry_status status;             /* PANTRY_OK, also after a cancel; or why the request failed, and */
    const char *message;              /* the sentence; "" for PANTRY_OK */
    const struct pantry_stats *stats; /* lives as long as the request */
};

/* Waits for the next event, for `timeout_ms` milliseconds at most (negative: as long as it takes, 0: not at all). NULL:
 * nothing came in time. The event and its texts live until the next call for this request. */
PANTRY_API const struct pantry_event *pantry_request_next(pantry_request *request, int timeout_ms);
/* Ends the request within a step: what is in its queue still comes, then PANTRY_EVENT_END with PANTRY_STOP_CANCELLED.
 * May be called from any thread, more than once, and after the end; not from a signal handler. */
PANTRY_API void pantry_request_cancel(pantry_request *request);
/* Cancels it if it has not ended. */
PANTRY_API void pantry_request_free(pantry_request *request);

/* ---- embeddings and ranking ---- */

/* A text, or ids that stand for themselves (nothing is added to them; `text` is then NULL). This struct stays as it is.
 */
struct pantry_input {
    const char *text;
    size_t len;
    const int32_t *ids;
    size_t n_ids;
};

struct pantry_embed_options {
    size_t size;
    enum pantry_pooling pooling;
    bool normalize;  /* rows are divided by their length, sqrt(sum x^2) */
    int dimensions;  /* n > 0: only the first n values, normalized after the cut (Kusupati et al., Matryoshka
                        Representation Learning, 2022); 0: all */
    int max_tokens;  /* of an input; 0: what the model was trained for, at most 32,768 */
    bool truncate;   /* longer inputs lose what is in front of their last special tokens; false: they are an error */
    bool plain_text; /* "[SEP]" in a text is text; false: it is that token, as with Hugging Face's tokenizers */
    int n_batch;     /* most tokens of one step, which several inputs share; 0: 512. A longer input is one step */
    const pantry_cancel *cancel; /* ends the call with PANTRY_CANCELLED; may be NULL */
};

/* AUTO, normalized, all dimensions. */
PANTRY_API void pantry_embed_options_init(struct pantry_embed_options *options, size_t size);
static inline struct pantry_embed_options pantry_embed_options_default(void)
{
    struct pantry_embed_options o;
    pantry_embed_options_init(&o, sizeof o);
    return o;
}

struct pantry_embeddings {
    size_t size;
    float *rows; /* (n_rows, n_dimensions) */
    size_t n_rows;
    int n_dimensions;
    int *n_tokens;  /* of each input, after truncation: with PANTRY_POOLING_NONE also how many rows it has */
    bool truncated; /* some input was cut */
    double seconds; /* of all steps */
};

/* One row for each of the `n` inputs, in their order. What else is in the call changes a row by rounding at most. The
 * caller frees *out with pantry_embeddings_free; after a failure it is empty. PANTRY_CONTEXT_FULL: an input is too
 * long; PANTRY_INVALID: an input has no tokens, an id is outside the vocabulary, or there are fewer dimensions than
 * wanted; PANTRY_UNSUPPORTED: a text for a model without a tokenizer. May be called from several threads. */
PANTRY_API pantry_status pantry_embed(pantry_model *model, const struct pantry_input *inputs, size_t n,
                                      const struct pantry_embed_options *options, struct pantry_embeddings *out,
                                      struct pantry_error *error);
PANTRY_API void pantry_embeddings_free(struct pantry_embeddings *embeddings);

/* How well each of the `n` documents answers the query: `scores` (n), higher is better. With a ranking head the score
 * is the first value that the head makes of query and document read together (a logit; where the model tells yes from
 * no, the probability of yes); without one, the cosine of their embeddings. Inputs must be texts if there is a head. Of
 * the options, pooling and dimensions count only without a head, normalize never. Errors as above. */
PANTRY_API pantry_status pantry_rank(pantry_model *model, const struct pantry_input *query,
                                     const struct pantry_input *documents, size_t n,
                                     const struct pantry_embed_options *options, float *scores,
                                     struct pantry_error *error);

/* ---- the machine ---- */

/* Sequential read bandwidth of all threads together in bytes per second, measured once (about 0.3 s) and kept for the
 * process. n_threads 0: one for each physical core that this process may use. 0: it could not be measured. */
PANTRY_API double pantry_read_bandwidth(int n_threads);

#ifdef __cplusplus
}
#endif

#endif
