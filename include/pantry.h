/* pantry: run open-weight language models on this machine.
 *
 * These rules hold for every call unless its comment says otherwise.
 *
 * Errors. A call that can fail returns a pantry_status (0 is success) and takes a `struct pantry_error *` last, which
 * may be NULL and is written only on failure. Any call may return PANTRY_NO_MEMORY; calls that read a file may also
 * return PANTRY_NOT_FOUND, PANTRY_IO, PANTRY_FORMAT and PANTRY_UNSUPPORTED. Comments name the others.
 *
 * Pointers. Handles, texts and outputs must not be NULL. Options and lengths (`size_t *len`) may be: NULL options mean
 * the defaults. Every `_free` function accepts NULL.
 *
 * Outputs. After a failure, a handle that the call was to create is NULL and other outputs are unchanged.
 *
 * Ownership. A call copies its arguments before it returns. `const` pointers that it returns belong to the library and
 * live as long as the handle they came from. A returned `char *` or `int32_t *` is yours; free it with pantry_free.
 *
 * Texts. UTF-8. A text with a length may contain NUL bytes; a returned text has a NUL after its length.
 *
 * Threads. Any number of threads may use a model or a tokenizer at once. Only one thread at a time may use a session or
 * a request, except for the calls that cancel.
 *
 * Versions. Options and results are structs that begin with their `size`, so a program compiled with an older or newer
 * pantry.h works with this library. Get options from their `_default` function, and start results with
 * `struct pantry_stats stats = {.size = sizeof stats}`. PANTRY_INVALID: the size is missing. PANTRY_UNSUPPORTED: the
 * program sets an option that this library does not have. */
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
    PANTRY_UNSUPPORTED = -3, /* well-formed, but not supported here */
    PANTRY_NOT_FOUND = -4,
    PANTRY_IO = -5,
    PANTRY_NO_MEMORY = -6,
    PANTRY_LIMIT = -7,        /* a bound on work or size was reached */
    PANTRY_CANCELLED = -8,    /* a pantry_cancel was set; a generation returns PANTRY_OK and what it has instead */
    PANTRY_CONTEXT_FULL = -9, /* the prompt does not fit the context */
    PANTRY_RAISED = -10,      /* the chat template called raise_exception; the text is its message */
    PANTRY_INTERNAL = -11,
} pantry_status;

struct pantry_error {
    pantry_status status;
    char text[1024]; /* one sentence: what is wrong, and where */
};

PANTRY_API const char *pantry_version(void);
PANTRY_API const char *pantry_status_text(pantry_status status);
/* Frees a `char *` or `int32_t *` that this library returned. NULL is allowed. */
PANTRY_API void pantry_free(void *p);

/* ---- cancelling ---- */

/* Ends long calls from another thread: pass it in the options of a call, set it, and the call ends after its current
 * step. One cancel may serve any number of calls and must outlive them. */
typedef struct pantry_cancel pantry_cancel;

/* NULL: out of memory. */
PANTRY_API pantry_cancel *pantry_cancel_new(void);
/* Safe in any thread and in a signal handler. It stays set until cleared. */
PANTRY_API void pantry_cancel_set(pantry_cancel *cancel);
PANTRY_API void pantry_cancel_clear(pantry_cancel *cancel);
PANTRY_API bool pantry_cancel_is_set(const pantry_cancel *cancel);
PANTRY_API void pantry_cancel_free(pantry_cancel *cancel);

/* ---- devices ---- */

/* Opens a device ("cuda", "metal", "cpu", "ref"; NULL: the best available) and describes it in `text`, which has room
 * for `size` bytes: "cuda (NVIDIA H100)". PANTRY_NOT_FOUND: unknown name; PANTRY_UNSUPPORTED: this machine has none,
 * and why. */
PANTRY_API pantry_status pantry_device_describe(const char *device, char *text, size_t size,
                                                struct pantry_error *error);

/* ---- models by name ---- */

/* A model that a name means, as the program's commands take it, and what it carries besides its weights. */
typedef struct pantry_stored pantry_stored;
/* Bytes so far, and in all (0: unknown). Called on the thread that fetches. */
typedef void pantry_fetch_callback(void *user, uint64_t done, uint64_t total);

/* Finds a model by name: a file, a name in the store (~/.pantry/models; PANTRY_HOME and PANTRY_MODELS move it) or in
 * another program's, or a folder. With `fetch`, a model of the catalog, or whose name says where it is
 * ("hf.co/USER/REPO"), is downloaded first; `cancel` and `callback`, of which both may be NULL, are for that.
 * PANTRY_NOT_FOUND; PANTRY_INVALID: several models have the name; PANTRY_CANCELLED. */
PANTRY_API pantry_status pantry_find(const char *name, bool fetch, const pantry_cancel *cancel,
                                     pantry_fetch_callback *callback, void *user, pantry_stored **stored,
                                     struct pantry_error *error);
/* What pantry_model_load and the options of a model take: the path, chat_template, default_chat_template,
 * maybe_projector, and the i-th of the adapters. NULL: none. */
PANTRY_API const char *pantry_stored_path(const pantry_stored *stored);
PANTRY_API const char *pantry_stored_template(const pantry_stored *stored);
PANTRY_API const char *pantry_stored_default_template(const pantry_stored *stored);
PANTRY_API const char *pantry_stored_projector(const pantry_stored *stored);
PANTRY_API const char *pantry_stored_adapter(const pantry_stored *stored, size_t i);
/* A conversation with this model: the messages that it carries, then those of `messages_json`, an array. Its system
 * message is left out if the array begins with one. PANTRY_FORMAT: not an array of messages. */
PANTRY_API pantry_status pantry_stored_conversation(const pantry_stored *stored, const char *messages_json, char **json,
                                                    struct pantry_error *error);
PANTRY_API void pantry_stored_free(pantry_stored *stored);

/* ---- models ---- */

typedef struct pantry_model pantry_model;

/* Models loaded with the same device, n_threads and isa share one device and its threads; their steps take turns. */
struct pantry_model_options {
    size_t size;
    /* "cuda" (an NVIDIA GPU), "metal" (Apple's), "cpu", or "ref" (plain scalar float32, the reference of the tests);
     * NULL: the best available. Up to four devices
     * can share a model, each with its layers ("cpu:0-15,ref:16-"); without layers the first runs all it can and the
     * others the rest. */
    const char *device;
    int n_threads;   /* 0: one per physical core that this process may use */
    const char *isa; /* highest instruction set of the CPU device ("generic", "avx2", ...); NULL: the best */

    /* Stretching the rotary embedding allows contexts longer than the model was trained for: */
    const char *rope_scaling; /* "linear", "ntk", "yarn" or "none"; NULL: as the file says, or linear with a factor */
    float rope_factor;        /* how many times longer than the original context; 0: as the file says */
    float rope_freq_base;     /* 0: as the file says */

    /* All sessions have these in common, so that they can share steps and keys. The first session decides what is not
     * set here; a later one that asks for something else fails with PANTRY_INVALID. */
    const char *kv_type; /* type of stored keys and values: "f16" (the default of "cpu"), "q8_0", "f32"; NULL: any */
    int n_context; /* default of sessions; models with LongRoPE rotate as this length needs. 0: any length, by default
                      as trained, at most 32,768 */
    /* How many of the last layers a GPU gets that `device` names or chooses; 0: as many as its free memory holds, with
     * room for the context; below 0: none. The others stay with the CPU. */
    int gpu_layers;

    /* Sources of chat templates, in Jinja or, as in Ollama, in Go's template language; NULL: none. */
    const char *chat_template;         /* used in place of the file's */
    const char *default_chat_template; /* used where the file has none */
    /* A folder that keeps the beginnings of prompts and answers when memory does not, also after the program has ended;
     * NULL: none. It has their tokens, so it is made for this user only; several programs and models may share it.
     * Sessions do not use it. A full disk or damaged files make requests slower, never wrong. */
    const char *cache_dir;
    uint64_t cache_bytes; /* most bytes in it, of all models together; 0: 8 GiB, at most a tenth of what is free */
    /* Adapters that change the model while it runs, "PATH" or "PATH=SCALE" each, ended by NULL: folders as mlx_lm or
     * PEFT write them (LoRA, DoRA), or llama.cpp's GGUF files. NULL: none. */
    const char *const *adapters;
    /* A GGUF file with the encoder of pictures (mmproj) of a GGUF model; NULL: none. Directories have theirs inside. */
    const char *projector;
    const char *maybe_projector; /* one that nobody has asked for: if it fails, the model only reads text; NULL: none */
};

PANTRY_API void pantry_model_options_init(struct pantry_model_options *options, size_t size);
static inline struct pantry_model_options pantry_model_options_default(void)
{
    struct pantry_model_options o;
    pantry_model_options_init(&o, sizeof o);
    return o;
}

/* Maps a model: a GGUF file, any shard of a sharded one, a folder with one, or a Hugging Face or MLX directory. Nothing
 * is planned yet: a warm load takes milliseconds. PANTRY_INVALID: an option is out of range, or the folder has several
 * models; PANTRY_NOT_FOUND: the file or the device. */
PANTRY_API pantry_status pantry_model_load(const char *path, const struct pantry_model_options *options,
                                           pantry_model **model, struct pantry_error *error);
/* Makes a model with the shape of a known one and random weights ("llama3.2-1b:q4_k_m"), to measure a machine before
 * downloading anything. It has no tokenizer. PANTRY_NOT_FOUND: unknown shape or mix of types. */
PANTRY_API pantry_status pantry_model_synthetic(const char *spec, const struct pantry_model_options *options,
                                                pantry_model **model, struct pantry_error *error);
/* The same without weights, to estimate the model: the file has a hole in their place. PANTRY_NOT_FOUND as above. */
PANTRY_API pantry_status pantry_model_outline(const char *spec, const struct pantry_model_options *options,
                                              pantry_model **model, struct pantry_error *error);
/* Writes such a model as a GGUF file, with a made-up vocabulary of the shape's size, that other programs load too.
 * n_layers: only the first layers; 0: all. The same call makes the same bytes. The file appears complete or not at all.
 * PANTRY_NOT_FOUND as above; PANTRY_INVALID: more layers than the shape has. */
PANTRY_API pantry_status pantry_synthesize(const char *spec, const char *path, int n_layers,
                                           struct pantry_error *error);
/* The i-th shape and the i-th type of these; NULL after the last. */
PANTRY_API const char *pantry_shape_name(size_t i);
PANTRY_API const char *pantry_shape_type(size_t i);
/* The type in which the i-th shape was trained and is published; NULL: in many. */
PANTRY_API const char *pantry_shape_own_type(size_t i);
/* Remaining sessions and requests keep the model alive until they are freed, in any order. */
PANTRY_API void pantry_model_free(pantry_model *model);

/* Checks a model file without loading it, as `pantry check` does: reads every page, so damage anywhere is found. */
PANTRY_API pantry_status pantry_check(const char *path, struct pantry_error *error);

/* How the states of a text's tokens become one row. */
enum pantry_pooling {
    PANTRY_POOLING_AUTO, /* as the model file says, else mean for encoders and last for decoders */
    PANTRY_POOLING_MEAN, /* the mean over all tokens, special ones included */
    PANTRY_POOLING_CLS,  /* the first token's */
    PANTRY_POOLING_LAST, /* the last token's */
    PANTRY_POOLING_NONE, /* one row per token: the states after the last norm, neither cut nor normalized */
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
    bool generates;              /* false: an encoder, for embeddings only */
    bool ranks;                  /* has a ranking head */
    int n_embedding;             /* values of an embedding */
    enum pantry_pooling pooling; /* MEAN, CLS or LAST: how its embeddings are made */
    bool sees;                   /* prompts may have pictures */
    double device_bandwidth;     /* as in pantry_stats */
};

/* Fills *info. */
PANTRY_API pantry_status pantry_model_info(const pantry_model *model, struct pantry_model_info *info,
                                           struct pantry_error *error);

/* Describes a model file as one JSON object, even if the model cannot run. Members that the file does not set are left
 * out:
 *   "format": "gguf v3", "architecture", "name", "license", "size_bytes" (of all tensors), "n_params", "n_tensors",
 *   "hyperparameters": {"context_length": 8192, "embedding_length": 576, ...} (without the architecture's prefix),
 *   "types": {"q4_1": {"tensors": 210, "bytes": 75497472}, ...},
 *   "tokenizer": {"model": "gpt2", "pre": "smollm", "n_vocab": 49152, "bos": 1, "eos": 2, ...},
 *   "sees": true (reads pictures too), "template": source of the chat template, "license_text",
 *   "metadata": {key: value, ...} (long arrays are cut, the last item then says how many were left out),
 *   "tensors": [{"name", "type", "shape": [...] (outermost first), "bytes"}, ...],
 *   "runs": true, or a sentence that says why not. */
PANTRY_API pantry_status pantry_describe(const char *path, char **json, struct pantry_error *error);

struct pantry_estimate_options {
    size_t size;
    int n_context;         /* tokens; 0: as for a session */
    int n_batch;           /* tokens of a prompt per step; 0: the default */
    int n_sequences;       /* that run together, each with its whole context; 0: one */
    const char *kv_type;   /* as for a session */
    uint64_t memory_bytes; /* for max_context; 0: unlimited */
    bool vocabulary;       /* count a tokenizer although the model has none, as that of an outline */
};

enum { PANTRY_ESTIMATE_TYPES = 16 };
/* Weights of a storage type. */
struct pantry_type_bytes {
    const char *type; /* "q4_k"; valid for ever */
    uint64_t bytes;
};

/* What a model needs. Bytes are the most that it uses; none of its weights are read. */
struct pantry_estimate {
    size_t size;
    uint64_t total_bytes;               /* the sum of the following */
    uint64_t weight_bytes;              /* without rows of embeddings that the context's tokens cannot touch */
    uint64_t kv_bytes;                  /* keys and values of all sequences, with windows */
    uint64_t state_bytes;               /* recurrent states: the running one of each sequence, and one to go back to */
    uint64_t scratch_bytes;             /* of the longest steps */
    uint64_t text_bytes;                /* the program, tokenizer, samplers: measured, not counted */
    uint64_t n_params, step_bytes;      /* weight bytes that one token reads */
    double step_kv_bytes;               /* and its keys and values, at the end of the context */
    double token_multiplies;            /* of a token of a prompt, in products with weights */
    double prompt_attention_multiplies; /* of a prompt as long as the context, in attention */
    int n_context, n_context_train;
    int max_context;       /* the longest, at most n_context_train, that fits into memory_bytes; 0: none */
    uint64_t vision_bytes; /* of a model that sees: the encoder's weights, and what a picture of a megapixel needs */
    int n_types;           /* weights by storage type, the largest part first */
    struct pantry_type_bytes types[PANTRY_ESTIMATE_TYPES];
};

PANTRY_API void pantry_estimate_options_init(struct pantry_estimate_options *options, size_t size);
static inline struct pantry_estimate_options pantry_estimate_options_default(void)
{
    struct pantry_estimate_options o;
    pantry_estimate_options_init(&o, sizeof o);
    return o;
}

/* Estimates memory and work of a model with its plans, on its device. The first call decides the type of keys and
 * values as a session does. PANTRY_UNSUPPORTED: the kv_type is another than before. */
PANTRY_API pantry_status pantry_model_estimate(pantry_model *model, const struct pantry_estimate_options *options,
                                               struct pantry_estimate *estimate, struct pantry_error *error);

/* ---- quantizing ---- */

/* The library makes it, and may append members. Reported after each tensor. */
struct pantry_quantize_progress {
    const char *tensor, *from, *to;   /* its name, and the types "f16", "q4_k" */
    size_t number, n_tensors;         /* counted from 1 */
    uint64_t bytes_done, bytes_total; /* of all tensors of the output */
};
typedef void pantry_quantize_callback(void *user, const struct pantry_quantize_progress *progress);

struct pantry_quantize_options {
    size_t size;
    const char *imatrix;             /* a file of importances (llama.cpp's formats); NULL: all values count the same */
    const char *const *tensor_types; /* "PATTERN=TYPE": tensors whose name has the pattern (PCRE2) get the type */
    size_t n_tensor_types;
    const char *output_type, *embedding_type; /* of output.weight and token_embd.weight; NULL: as the mix says */
    bool pure;                                /* the mix's base type for all matrices */
    bool keep_split;                          /* as many shards as the input has */
    bool dry_run;                             /* chooses and reports types, writes nothing */
    float target_bpw;    /* bits per weight of the whole file: types are chosen by measured errors; 0: by the mix */
    int n_threads;       /* 0: one per physical core that this process may use */
    uint64_t split_size; /* most bytes of a shard; 0: one file */
    const pantry_cancel *cancel;
    pantry_quantize_callback *callback; /* may be NULL; called on the thread that quantizes */
    void *user;
};

PANTRY_API void pantry_quantize_options_init(struct pantry_quantize_options *options, size_t size);
static inline struct pantry_quantize_options pantry_quantize_options_default(void)
{
    struct pantry_quantize_options o;
    pantry_quantize_options_init(&o, sizeof o);
    return o;
}

struct pantry_quantize_result {
    size_t size;
    uint64_t n_params, bytes_in, bytes_out; /* of all tensors */
    size_t n_tensors, n_quantized;          /* those whose type changed */
    size_t n_fallbacks;   /* got another type than planned, since its blocks do not divide their rows */
    size_t n_requantized; /* came from a type with blocks, so errors add up */
    size_t n_unimportant; /* were quantized without importances though there is a file of them */
    size_t n_resumed;     /* were there from an earlier run that was interrupted */
};

/* Writes the model at `in` (GGUF) to `out` with other storage types: those of a mix ("Q4_K_M") or one plain type
 * ("F16"). The output appears complete or not at all. An interrupted run leaves OUT.*.partial, and the same call goes
 * on where it stopped. Memory does not grow with the model. *result may be NULL. PANTRY_NOT_FOUND: no such type or
 * file; PANTRY_INVALID: an option is wrong; PANTRY_CANCELLED. */
PANTRY_API pantry_status pantry_quantize(const char *in, const char *out, const char *type,
                                         const struct pantry_quantize_options *options,
                                         struct pantry_quantize_result *result, struct pantry_error *error);

/* ---- other formats ---- */

struct pantry_convert_options {
    size_t size;
    const char *to;      /* "gguf", "mlx" or "hf"; NULL: gguf if the output's name ends in .gguf, else mlx */
    const char *type;    /* as pantry_quantize's, for mlx also "affine4-g64" and so on; NULL: numbers stay as they are,
                            or become f16 where the format has no type for them */
    int n_threads;       /* 0: one per physical core that this process may use */
    uint64_t split_size; /* most bytes of a shard; 0: one file */
    const pantry_cancel *cancel;
    pantry_quantize_callback *callback; /* may be NULL; called on the thread that converts */
    void *user;
};

PANTRY_API void pantry_convert_options_init(struct pantry_convert_options *options, size_t size);
static inline struct pantry_convert_options pantry_convert_options_default(void)
{
    struct pantry_convert_options o;
    pantry_convert_options_init(&o, sizeof o);
    return o;
}

struct pantry_convert_result {
    size_t size;
    uint64_t bytes_in, bytes_out; /* of all tensors */
    size_t n_tensors;
    size_t n_kept;      /* quantized, and the same numbers in the new format */
    size_t n_converted; /* whose numbers have another type, and may differ */
    char note[256];     /* what the new format cannot say; empty: it says all */
};

/* Writes the model at `in` (a GGUF file, a Hugging Face or MLX directory) to `out` in another format: a GGUF file, or a
 * directory that must not exist. The output appears complete or not at all. *result may be NULL. PANTRY_NOT_FOUND: no
 * such type or file; PANTRY_INVALID: an option is wrong; PANTRY_UNSUPPORTED: the format cannot say what the model is;
 * PANTRY_CANCELLED. */
PANTRY_API pantry_status pantry_convert(const char *in, const char *out, const struct pantry_convert_options *options,
                                        struct pantry_convert_result *result, struct pantry_error *error);

/* ---- fine-tuning ---- */

enum pantry_tune_event_kind {
    PANTRY_TUNE_STEP,       /* an iteration is done */
    PANTRY_TUNE_VALIDATION, /* all validation data has been read */
    PANTRY_TUNE_SAVED,      /* the adapter and the state are on disk */
    PANTRY_TUNE_PLANNED,    /* before the first step: memory, n_trained, n_rows and n_left_out are known */
    PANTRY_TUNE_TEST        /* all test data has been read */
};

/* The library makes it, and may append members. */
struct pantry_tune_event {
    enum pantry_tune_event_kind kind;
    int iter, n_iters; /* iterations done, and in all */
    double loss;       /* mean cross-entropy of the batch before its update, or of the validation data */
    float learning_rate;
    int64_t tokens;     /* targets that counted */
    int64_t n_cut;      /* rows that were longer than max_length so far */
    double seconds;     /* since the start */
    uint64_t memory;    /* bytes of arrays, gradients and moments */
    int64_t n_trained;  /* numbers that are trained */
    int64_t n_rows;     /* of training data, without those that were left out */
    int64_t n_left_out; /* rows that were too long, with long_rows "skip" */
    bool due;           /* a step: it ends report_every iterations, or is the last one */
    double mean_loss;   /* of the iterations since the last due one */
    bool best;          /* a validation: the lowest loss so far. Its adapter is kept */
};
/* Returns false to stop: the call then returns PANTRY_CANCELLED. */
typedef bool pantry_tune_callback(void *user, const struct pantry_tune_event *event);

struct pantry_tune_options {
    size_t size;
    const char *data;         /* a file of JSON Lines, or a folder with train.jsonl and perhaps valid.jsonl */
    const char *valid;        /* a file for validation; NULL: valid.jsonl beside the data, if it is there */
    const char *adapter_path; /* the folder for the results; it is created */
    const char
        *resume_adapter;   /* adapters.safetensors of a first adapter, with adapter_config.json beside it; NULL: new */
    const char *kind;      /* "lora", "dora" or "full" */
    const char *optimizer; /* "adam", "adamw", "sgd" or "muon" */
    const char *schedule;  /* of the learning rate: "constant", "cosine" or "linear" */
    const char *keys;      /* of a new adapter: paths of layers in a block, separated by commas; NULL: all */
    float learning_rate, end_rate, clip, scale;
    int iters, batch_size, max_length, accumulation, warmup, rank, n_layers; /* n_layers -1: all, else the last ones */
    int eval_every, val_batches, patience, save_every;                       /* 0: at the end; all; never; at the end */
    bool mask_prompt, given_order, resume;
    uint64_t seed;
    const char *device, *isa;
    int n_threads;
    pantry_tune_callback *callback;
    void *user;
    const char *lr_schedule;      /* "NAME NUMBER... [warmup=N] [warmup_init=X]" as mlx_lm's lr_schedule, such as
                                     "cosine_decay 1e-5 1000 1e-7 warmup=100"; NULL: learning_rate, schedule and warmup */
    const char *optimizer_config; /* "NAME=VALUE ..." as in mlx.optimizers, pairs as 0.9:0.99; "adamw.eps=1e-6" counts
                                     for that optimizer only; NULL: its defaults */
    const char *long_rows;        /* longer than max_length: "cut", "skip" (left out and counted) or "refuse" */
    const char *prompt_feature, *completion_feature, *chat_feature, *text_feature; /* names of a row's members */
    float dropout;        /* of a new adapter: share of its inputs that count as 0 */
    float valid_split;    /* share of the training rows that only validate; 0: none */
    int test_batches;     /* 0: all */
    int report_every;     /* iterations between due steps */
    bool test;            /* measures test.jsonl beside the data afterwards */
    bool no_train;        /* with test: measures the adapter of adapter_path, if there is one, and trains nothing */
    bool grad_checkpoint; /* computes each block again in the backward pass instead of keeping its arrays */
};

PANTRY_API void pantry_tune_options_init(struct pantry_tune_options *options, size_t size);
static inline struct pantry_tune_options pantry_tune_options_default(void)
{
    struct pantry_tune_options o;
    pantry_tune_options_init(&o, sizeof o);
    return o;
}

/* Trains an adapter of a model on a data set and writes it as mlx_lm does. With `resume` it goes on where an
 * interrupted call with the same options last saved. PANTRY_FORMAT: an error in the data names file and line. */
PANTRY_API pantry_status pantry_tune(const char *model, const struct pantry_tune_options *options,
                                     struct pantry_error *error);

/* A training's options from a YAML file as mlx_lm.lora reads it. Texts of the options live as long as the file. */
typedef struct pantry_tune_file pantry_tune_file;
/* PANTRY_FORMAT names the line. Keys that mlx_lm has and pantry does not are refused unless they change nothing. */
PANTRY_API pantry_status pantry_tune_file_open(const char *path, pantry_tune_file **out, struct pantry_error *error);
/* Sets the options that the file has. */
PANTRY_API void pantry_tune_file_apply(const pantry_tune_file *file, struct pantry_tune_options *options);
/* The model that the file names, and whether it asks for training; NULL: none. */
PANTRY_API const char *pantry_tune_file_model(const pantry_tune_file *file);
PANTRY_API bool pantry_tune_file_trains(const pantry_tune_file *file);
PANTRY_API void pantry_tune_file_free(pantry_tune_file *file);

/* Writes an adapter that tune (or mlx_lm) made for `model` in another format: "gguf", a file as llama.cpp reads it, or
 * "peft", a folder with adapter_config.json and adapter_model.safetensors. PANTRY_UNSUPPORTED: DoRA, or fully tuned
 * weights, which the format does not have. */
PANTRY_API pantry_status pantry_export_adapter(const char *model, const char *adapter, const char *format,
                                               const char *out, struct pantry_error *error);

/* Writes a Hugging Face or MLX directory to `out`, a folder, in which the adapter is a part of the model's weights.
 * Changed weights keep their plain type; those of MLX's affine types become float16. PANTRY_UNSUPPORTED: the model is a
 * GGUF file, or has a weight in another quantized type. */
PANTRY_API pantry_status pantry_fuse(const char *model, const char *adapter, const char *out,
                                     struct pantry_error *error);

/* ---- measuring on a text ---- */

/* A text is cut into windows of n_context tokens, as llama.cpp does; each is read with an empty context, its first
 * token replaced by the beginning token if the model asks for one. Tokens after the last whole window are not used. */

/* The library makes it, and may append members. Reported after each window. */
struct pantry_window {
    size_t number, n_windows; /* counted from 1 */
    double perplexity;        /* so far */
};
/* Returning false ends the call with PANTRY_CANCELLED. */
typedef bool pantry_window_callback(void *user, const struct pantry_window *window);

struct pantry_eval_options {
    size_t size;
    int n_context;           /* 0: 512 */
    int max_windows;         /* 0: all */
    const char *save_logits; /* writes the logits to this file, in llama.cpp's format for a base; NULL: nothing */
    const char *base_logits; /* compares with the logits of such a file, whose text counts instead; NULL: nothing */
    pantry_window_callback *callback; /* may be NULL */
    void *user;
};

PANTRY_API void pantry_eval_options_init(struct pantry_eval_options *options, size_t size);
static inline struct pantry_eval_options pantry_eval_options_default(void)
{
    struct pantry_eval_options o;
    pantry_eval_options_init(&o, sizeof o);
    return o;
}

/* The second half of each window counts. Errors are standard errors of the mean. */
struct pantry_eval_result {
    size_t size;
    size_t n_windows, n_tokens;
    double perplexity, perplexity_error;
    double top1, top1_error; /* share of tokens that were the likeliest */
    /* With base_logits: */
    double base_perplexity;
    double divergence, divergence_error; /* mean Kullback-Leibler divergence from the base, in nats */
    double divergence_median, divergence_99, divergence_max;
    double same_top, same_top_error; /* share of positions whose likeliest tokens agree */
};

/* Measures how well a model predicts a text, and how far it is from the model of base_logits. `text` may be NULL with
 * base_logits. PANTRY_INVALID: the text has less than one window; PANTRY_UNSUPPORTED: the model does not generate. */
PANTRY_API pantry_status pantry_eval(pantry_model *model, const char *text, size_t len,
                                     const struct pantry_eval_options *options, struct pantry_eval_result *result,
                                     struct pantry_error *error);

struct pantry_imatrix_options {
    size_t size;
    int n_context;            /* 0: 512 */
    int max_windows;          /* 0: all */
    bool output;              /* also the output matrix */
    const char *name;         /* of the text, for the file; NULL: none */
    const char *const *merge; /* files whose sums are added */
    size_t n_merge;
    pantry_window_callback *callback; /* may be NULL */
    void *user;
};

PANTRY_API void pantry_imatrix_options_init(struct pantry_imatrix_options *options, size_t size);
static inline struct pantry_imatrix_options pantry_imatrix_options_default(void)
{
    struct pantry_imatrix_options o;
    pantry_imatrix_options_init(&o, sizeof o);
    return o;
}

/* Sums the squared inputs of every matrix while the model reads a text, and writes them to `path` for pantry_quantize:
 * GGUF, or llama.cpp's older format if it ends in ".dat". Without a text (`model` and `text` NULL) only merges files.
 * Nothing else may run on the model's devices meanwhile. PANTRY_INVALID: the text has less than one window. */
PANTRY_API pantry_status pantry_imatrix(pantry_model *model, const char *text, size_t len, const char *path,
                                        const struct pantry_imatrix_options *options, struct pantry_error *error);

/* What the folders of prompts (cache_dir) did for all models of this process so far. */
struct pantry_cache_stats {
    size_t size;
    uint64_t n_lookups, n_hits; /* prompts that were looked up there, and those found */
    uint64_t tokens_loaded, bytes_loaded;
    uint64_t files_written, bytes_written;
    uint64_t files_removed;  /* the least useful ones, to stay within cache_bytes */
    uint64_t files_rejected; /* torn or damaged ones, removed too */
    uint64_t n_failures;     /* writes that failed: the disk is full */
    uint64_t n_pending;      /* prompts, answers and files that still have to be written */
};
/* Fills *stats. */
PANTRY_API pantry_status pantry_cache_stats(struct pantry_cache_stats *stats, struct pantry_error *error);
/* Makes such a folder if it is missing, and removes from it what exceeds `cache_bytes` (0: as for models) and what
 * killed programs left. *removed (may be NULL) gets the bytes. Models may use the folder meanwhile. PANTRY_INVALID: an
 * empty name. */
PANTRY_API pantry_status pantry_cache_trim(const char *cache_dir, uint64_t cache_bytes, uint64_t *removed,
                                           struct pantry_error *error);
/* Removes all files of models from such a folder; *removed (may be NULL) gets their bytes. PANTRY_NOT_FOUND: there is
 * no such folder. */
PANTRY_API pantry_status pantry_cache_clear(const char *cache_dir, uint64_t *removed, struct pantry_error *error);

/* Sets the most bytes that all models of this process may use together: weights, keys and values, states, scratch. 0
 * (the initial value): only the system's limits, which are main memory less what other processes use, and control
 * groups. A call that would need more fails with PANTRY_NO_MEMORY; what is already loaded stays. */
PANTRY_API void pantry_limit_memory(uint64_t bytes);

/* ---- text ---- */

enum {
    PANTRY_TOKENIZE_SPECIAL = 1, /* "<|im_end|>" in the text becomes that token */
    PANTRY_TOKENIZE_BOS = 2,     /* add the beginning and end tokens that the model asks for */
};
enum { PANTRY_DETOKENIZE_SPECIAL = 1 /* control tokens are printed too */ };

/* A tokenizer needs only the vocabulary: a GGUF file that pantry_model_load refuses may still have one. The path may
 * also be a Hugging Face folder with tokenizer.json or tokenizer.model, or a folder with one model. */
typedef struct pantry_tokenizer pantry_tokenizer;
PANTRY_API pantry_status pantry_tokenizer_load(const char *path, pantry_tokenizer **tokenizer,
                                               struct pantry_error *error);
PANTRY_API void pantry_tokenizer_free(pantry_tokenizer *tokenizer);
/* Borrowed from the model; NULL if it has none. */
PANTRY_API const pantry_tokenizer *pantry_model_tokenizer(const pantry_model *model);

/* Returns the token ids of a text, *n of them. */
PANTRY_API pantry_status pantry_tokenize(const pantry_tokenizer *tokenizer, const char *text, size_t len,
                                         unsigned flags, int32_t **ids, size_t *n, struct pantry_error *error);
/* Returns the text of the ids. PANTRY_INVALID: an id is not in the vocabulary. */
PANTRY_API pantry_status pantry_detokenize(const pantry_tokenizer *tokenizer, const int32_t *ids, size_t n,
                                           unsigned flags, char **text, size_t *len, struct pantry_error *error);
/* False for ids outside the vocabulary. */
PANTRY_API bool pantry_token_ends_generation(const pantry_tokenizer *tokenizer, int32_t id);

/* Renders a chat template (Jinja source) with a JSON object as its variables, as Hugging Face's apply_chat_template
 * does. PANTRY_FORMAT: the template or the JSON is malformed; PANTRY_RAISED: the template refuses the messages;
 * PANTRY_LIMIT: it runs too long or writes too much; PANTRY_UNSUPPORTED: it uses an unsupported feature. */
PANTRY_API pantry_status pantry_template_render(const char *source, size_t source_len, const char *context_json,
                                                char **text, size_t *len, struct pantry_error *error);
/* The model's own template, or NULL if it has none. */
PANTRY_API const char *pantry_model_template(const pantry_model *model, size_t *len);
/* Renders the model's template with `context_json` ({"messages": [...], "tools": [...], "add_generation_prompt": true,
 * ...}); bos_token, eos_token and add_generation_prompt are added if missing. PANTRY_NOT_FOUND: the model has no
 * template. Otherwise fails as pantry_template_render does. */
PANTRY_API pantry_status pantry_model_render(const pantry_model *model, const char *context_json, char **text,
                                             size_t *len, struct pantry_error *error);

/* ---- model output ---- */

enum { PANTRY_PARSE_REASONING_IN_CONTENT = 1 /* keep the reasoning in the content, between its markers */ };

enum pantry_tool_choice { PANTRY_TOOL_AUTO, PANTRY_TOOL_REQUIRED, PANTRY_TOOL_NONE };

/* Splits model output (`raw`) into its parts, in the dialect of the chat template. `context_json` is what the template
 * rendered the prompt from. *json is one object, {"content", "reasoning_content", "tool_calls": [{"name", "arguments",
 * "id"}]}. Text that cannot be parsed stays in the content. Fails as pantry_template_render does. */
PANTRY_API pantry_status pantry_parse(const char *template_source, size_t template_len, const char *context_json,
                                      const char *raw, size_t raw_len, unsigned flags,
                                      enum pantry_tool_choice tool_choice, char **json, struct pantry_error *error);

/* Parses an answer while it streams in. Any split into pieces gives the same texts and calls. */
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

/* Called for every part in order, on the thread that pushes; *event is valid until it returns. The callback must not
 * use the parser. */
typedef void pantry_parse_callback(void *user, const struct pantry_parse_event *event);

/* A parser for the answer to `prompt`, the text that `template_source` rendered from `context_json`; "" if it is not
 * known. If the last message is the assistant's and add_generation_prompt is not true, the answer continues it: what
 * the message already has is reported first, before this call returns. PANTRY_FORMAT: the JSON is malformed. */
PANTRY_API pantry_status pantry_parser_new(const char *template_source, size_t template_len, const char *context_json,
                                           const char *prompt, size_t prompt_len, unsigned flags,
                                           enum pantry_tool_choice tool_choice, pantry_parse_callback *callback,
                                           void *user, pantry_parser **parser, struct pantry_error *error);
/* Parses the next `len` bytes of the answer. PANTRY_INVALID: after a failure or pantry_parser_finish, when the parser
 * can only be freed. */
PANTRY_API pantry_status pantry_parser_push(pantry_parser *parser, const char *text, size_t len,
                                            struct pantry_error *error);
/* Ends the answer and reports text that was held back. */
PANTRY_API pantry_status pantry_parser_finish(pantry_parser *parser, struct pantry_error *error);
PANTRY_API void pantry_parser_free(pantry_parser *parser);

/* ---- pictures ---- */

/* A prompt with pictures: its ids, and what the model sees in place of some of them. It may be used in any number of
 * requests, one after another. */
typedef struct pantry_prompt pantry_prompt;

/* A picture's file: PNG, JPEG, WebP, GIF or BMP. This struct will not change. */
struct pantry_picture {
    const void *data;
    size_t len;
};

/* Reads a prompt as pantry_tokenize does; PANTRY_TOKENIZE_BOS adds nothing to a text that begins so already. The text
 * has a placeholder for each picture, in order, as chat templates render
 * {"type": "image"}; it becomes as many tokens as the picture costs. Without pictures any model will do. Pictures are
 * decoded here, with bounds on their size, and encoded when they are first needed; the model remembers the last ones by
 * their content. PANTRY_UNSUPPORTED: the model cannot see; PANTRY_INVALID: the text has more or fewer placeholders;
 * PANTRY_FORMAT, PANTRY_LIMIT: a picture is damaged, or too large. */
PANTRY_API pantry_status pantry_prompt_new(pantry_model *model, const char *text, size_t len, unsigned flags,
                                           const struct pantry_picture *pictures, size_t n, pantry_prompt **prompt,
                                           struct pantry_error *error);
/* The prompt of a conversation: renders a context as pantry_model_render does, and reads the text with special tokens.
 * A part {"type": "image", "data": "..."} of a message's content has the base64 of a picture's file, which templates do
 * not see. *text (NULL: not wanted) is what was rendered. PANTRY_RAISED as there; PANTRY_FORMAT also: not base64. */
PANTRY_API pantry_status pantry_prompt_chat(pantry_model *model, const char *context_json, pantry_prompt **prompt,
                                            char **text, size_t *len, struct pantry_error *error);
/* The prompt's ids; a picture's are all the same. */
PANTRY_API const int32_t *pantry_prompt_ids(const pantry_prompt *prompt, size_t *n);
/* How many of the ids, the first ones, are pictures outside the text, which layers of their own attend to (Llama 3.2
 * Vision). After them come the ids of the text, in which a picture has one token. 0 for other models. */
PANTRY_API size_t pantry_prompt_lead(const pantry_prompt *prompt);
/* The tokens of picture i, and its size in pixels (NULL: not wanted). 0: there is no such picture. */
PANTRY_API int pantry_prompt_picture(const pantry_prompt *prompt, size_t i, int *width, int *height);
PANTRY_API void pantry_prompt_free(pantry_prompt *prompt);

/* ---- sessions ---- */

/* One conversation: its tokens and their keys and values. A new prompt that begins like the old tokens reuses them. */
typedef struct pantry_session pantry_session;

struct pantry_session_options {
    size_t size;
    int n_context;       /* 0: the model's; the trained length shrinks if memory is short */
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
/* PANTRY_INVALID: an option is out of range or contradicts the model's other sessions; PANTRY_UNSUPPORTED: the model
 * only makes embeddings. */
PANTRY_API pantry_status pantry_session_new(pantry_model *model, const struct pantry_session_options *options,
                                            pantry_session **session, struct pantry_error *error);
PANTRY_API void pantry_session_free(pantry_session *session);
/* Forgets all tokens. */
PANTRY_API void pantry_session_clear(pantry_session *session);
PANTRY_API int pantry_session_n_context(const pantry_session *session);
/* Tokens the session holds keys and values for. */
PANTRY_API int pantry_session_n_past(const pantry_session *session);

/* Which texts an answer may be; see below. Immutable: any number of threads and requests may use one. */
typedef struct pantry_grammar pantry_grammar;

/* Less common samplers, all off by default. Later versions append members. Numbers mean what they mean in llama.cpp. */
struct pantry_samplers {
    size_t size;
    /* The samplers to apply, in this order: "penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature", which
     * is also the order for NULL. A sampler that is not named is not applied. */
    const char *order;
    float dynatemp_range;    /* 0: off; the temperature is between temperature - range and temperature + range, ... */
    float dynatemp_exponent; /* ... by the entropy of the candidates, as a share of the largest, to this power */
    float typical_p;         /* 1: off; the tokens whose surprise is nearest to the entropy (Meister et al., 2022) */
    float top_n_sigma;       /* 0 or less: off; logits within so many standard deviations of the best */
    float xtc_probability;   /* 0: off; how often all but the least likely of the tokens above ... */
    float xtc_threshold;     /* ... this probability are left out; above 0.5: off */
    float dry_multiplier;    /* 0: off; a token that would repeat n tokens and make it n + 1 loses ... */
    float dry_base;          /* ... multiplier * base ^ (n - allowed_length), if n >= allowed_length */
    int dry_allowed_length;
    int dry_penalty_last_n;         /* how many tokens are searched for repetitions; -1: all */
    const char *const *dry_breaker; /* texts that end a repetition, (n_dry_breaker); NULL: newline, ":", "\"" and "*" */
    size_t n_dry_breaker;
    int mirostat;       /* 0: off; 1 or 2: its version (Basu et al., 2021), instead of all samplers after the penalties
                           but temperature */
    float mirostat_tau; /* the surprise to reach, in bits */
    float mirostat_eta; /* how fast it is reached */
    float adaptive_target; /* below 0: off; tokens with about this probability are preferred, so that their mean ... */
    float adaptive_decay;  /* ... reaches it; weight of earlier tokens in that mean, 0 to 0.99 */
    const char *const *banned; /* texts that the answer never contains, (n_banned) */
    size_t n_banned;
};

PANTRY_API void pantry_samplers_init(struct pantry_samplers *samplers, size_t size);
static inline struct pantry_samplers pantry_samplers_default(void)
{
    struct pantry_samplers o;
    pantry_samplers_init(&o, sizeof o);
    return o;
}

struct pantry_sampling {
    float temperature;                  /* 0: greedy */
    int top_k;                          /* 0: off */
    float top_p;                        /* 1: off */
    float min_p;                        /* 0: off */
    float repeat_penalty;               /* 1: off; divides positive and multiplies negative logits of recent tokens */
    float frequency_penalty;            /* 0: off; subtracted once per recent occurrence */
    float presence_penalty;             /* 0: off; subtracted if the token occurred */
    int penalty_last_n;                 /* how many recent tokens count; -1: all of the context */
    uint64_t seed;                      /* same seed, text so far and options: same next token */
    const struct pantry_samplers *more; /* NULL: off */
    uint64_t reserved[5];               /* zeros: room for later options, since other structs contain this one */
};

PANTRY_API struct pantry_sampling pantry_sampling_default(void);

/* Added to the logit of a token before the penalties. */
struct pantry_logit_bias {
    int32_t id;
    float bias; /* -100 to 100, those of one id add up; -INFINITY: never this token; INFINITY: only tokens with it */
};

/* Why an answer ended. */
enum pantry_stop {
    PANTRY_STOP_NONE,      /* it has not ended, or it failed */
    PANTRY_STOP_END,       /* the model ended it */
    PANTRY_STOP_TEXT,      /* a stop text appeared */
    PANTRY_STOP_LENGTH,    /* max_tokens, or the context is full */
    PANTRY_STOP_CANCELLED, /* a cancel was set, or the request was cancelled */
    PANTRY_STOP_CALLBACK,  /* the callback returned false */
};
/* "stop", "stop_string", "length", "cancelled", "callback"; "" for NONE and other numbers. */
PANTRY_API const char *pantry_stop_name(enum pantry_stop stop);

struct pantry_stats {
    size_t size;
    int n_prompt; /* tokens of the prompt */
    int n_cached; /* of these, reused from memory or from the folder `cache_dir` */
    int n_generated;
    double load_seconds;        /* of the model */
    double prefill_seconds;     /* from the start of the prompt in the engine to the first token */
    double decode_seconds;      /* from the first token to the last */
    double first_token_seconds; /* from the call to the first token */
    double bytes_per_token;     /* weights and cache read by the average decode step */
    enum pantry_stop stop;
    int n_loaded;            /* of the cached tokens, those that came from the folder `cache_dir` */
    int n_steps;             /* of decoding, after the first token; fewer than tokens if a grammar forced some */
    double device_bandwidth; /* bytes per second that the model's device reads from its own memory; 0: it uses main
                                memory, or shares the model with another */
};

struct pantry_logprob {
    int32_t id;
    float logprob; /* natural logarithm of the model's probability, before bias and sampling; may be -INFINITY */
};

/* The library makes it, and may append members. */
struct pantry_token {
    int32_t id;       /* -1: no token, but text that was held back because it could have begun a stop text */
    const char *text; /* the whole UTF-8 characters that this token completed, NUL-terminated; may be empty */
    size_t len;
    float logprob;                    /* with the option `logprobs`, else 0 */
    int n_top;                        /* number of entries: `top_logprobs`, or fewer if not as many are possible */
    const struct pantry_logprob *top; /* (n_top), best first, equal ones by id */
};

/* Called for every token in order, on the thread that generates; *token is valid until it returns. Returning false ends
 * the generation with PANTRY_OK and PANTRY_STOP_CALLBACK. */
typedef bool pantry_token_callback(void *user, const struct pantry_token *token);

struct pantry_generate_options {
    size_t size;
    struct pantry_sampling sampling;
    int max_tokens; /* 0: until the model ends or the context is full */
    bool ignore_eos;
    const char *const *stop; /* texts that end the generation; not part of the output */
    size_t n_stop;
    const pantry_cancel *cancel; /* ends the generation with PANTRY_OK, even while reading the prompt; may be NULL */
    pantry_token_callback *callback; /* may be NULL */
    void *user;                      /* for the callback */
    bool logprobs;                   /* this and the following as for requests */
    int top_logprobs;
    const struct pantry_logit_bias *logit_bias;
    size_t n_logit_bias;
    int think_budget;                  /* most tokens of reasoning, -1: no limit. Then the reasoning ends with ... */
    const char *think_message;         /* ... this text, which may be NULL, and the marker of the model's dialect */
    const pantry_cancel *end_thinking; /* ends the reasoning as soon as it is set; may be NULL */
    const char *begin;                 /* text that the answer begins with; NULL: none */
    const pantry_grammar *grammar;     /* what the answer is after its reasoning; NULL: any text. It ends when it is
                                          whole, unless max_tokens or the context ends it first. */
    const pantry_prompt *prompt;       /* the prompt, whose ids are those given: for its pictures; NULL: it has none */
};

PANTRY_API void pantry_generate_options_init(struct pantry_generate_options *options, size_t size);
static inline struct pantry_generate_options pantry_generate_options_default(void)
{
    struct pantry_generate_options o;
    pantry_generate_options_init(&o, sizeof o);
    return o;
}

/* Reads the prompt `ids` and generates. Pass the whole prompt: tokens that the session already holds are reused. *stats
 * may be NULL and is filled even after a failure. The session then holds part of the prompt or the answer and may be
 * used again. PANTRY_INVALID: an option is out of range, the prompt is empty, or an id is not in the vocabulary;
 * PANTRY_CONTEXT_FULL: the prompt is longer than the context. */
PANTRY_API pantry_status pantry_generate(pantry_session *session, const int32_t *ids, size_t n,
                                         const struct pantry_generate_options *options, struct pantry_stats *stats,
                                         struct pantry_error *error);

/* Computes the logits of every position into `out` (n * n_vocab floats). Starts from an empty session and processes the
 * ids in slices of the given lengths (NULL: steps of n_batch). After a failure `out` is partly filled.
 * PANTRY_CONTEXT_FULL: more ids than the context has room for; PANTRY_INVALID: an id or a slice is out of range. */
PANTRY_API pantry_status pantry_logits(pantry_session *session, const int32_t *ids, size_t n, const int *slices,
                                       size_t n_slices, float *out, struct pantry_error *error);

/* The same for a prompt with pictures. A slice that would cut a picture which is read whole ends elsewhere. The first
 * pantry_prompt_lead ids have no logits: their values are 0. */
PANTRY_API pantry_status pantry_prompt_logits(pantry_session *session, const pantry_prompt *prompt, const int *slices,
                                              size_t n_slices, float *out, struct pantry_error *error);

/* ---- requests ---- */

/* A generation for programs that run many at once. One thread of the library runs all requests of a model together.
 * Each request has a bounded queue of tokens, so a slow reader delays no other request.
 *
 * Prompts with the same cache key share the memory of their common prefix, also with requests that have ended. Each
 * session has its own key. */
typedef struct pantry_request pantry_request;

struct pantry_request_options {
    size_t size;
    const int32_t *ids; /* the prompt (n_ids) */
    size_t n_ids;
    struct pantry_sampling sampling;
    int max_tokens; /* 0: until the model ends or the context is full */
    int n_context;  /* most tokens, including the prompt; 0: as for sessions */
    int n_batch;    /* most tokens of one prefill step; 0: 512 */
    bool ignore_eos;
    const char *const *stop; /* texts that end the answer; not part of it */
    size_t n_stop;
    const char *cache_key; /* shares memory only with requests of the same key; NULL: with all others without a key */
    bool logprobs;         /* report each token's log probability ... */
    int top_logprobs;      /* ... and those of the 0 to 20 likeliest tokens instead */
    const struct pantry_logit_bias *logit_bias;
    size_t n_logit_bias;
    int think_budget;                  /* most tokens of reasoning, -1: no limit. Then the reasoning ends with ... */
    const char *think_message;         /* ... this text, which may be NULL, and the marker of the model's dialect */
    const pantry_cancel *end_thinking; /* ends the reasoning as soon as it is set; may be NULL */
    const char *begin;                 /* text that the answer begins with; NULL: none */
    const pantry_grammar *grammar;     /* what the answer is after its reasoning; NULL: any text. It ends when it is
                                          whole, unless max_tokens or the context ends it first. */
    const pantry_prompt *prompt;       /* the prompt, whose ids are those given: for its pictures; NULL: it has none */
    bool control_tokens;               /* they are part of the text, as pantry_parser needs it: many dialects mark the
                                          parts of an answer with them. The token that ends it is never part of it. */
};

PANTRY_API void pantry_request_options_init(struct pantry_request_options *options, size_t size);
static inline struct pantry_request_options pantry_request_options_default(void)
{
    struct pantry_request_options o;
    pantry_request_options_init(&o, sizeof o);
    return o;
}

/* Submits a prompt. Does not wait for the answer, but may wait for the current step. PANTRY_INVALID: an option is out
 * of range, the prompt is empty, or an id is not in the vocabulary; PANTRY_CONTEXT_FULL: the prompt is longer than
 * n_context; PANTRY_UNSUPPORTED: the model only makes embeddings; PANTRY_NO_MEMORY also if the context does not fit. */
PANTRY_API pantry_status pantry_submit(pantry_model *model, const struct pantry_request_options *options,
                                       pantry_request **request, struct pantry_error *error);

enum pantry_event_kind {
    PANTRY_EVENT_TOKEN, /* `token` is set */
    PANTRY_EVENT_END    /* `status`, `message` and `stats` are set; later calls return this event again */
};

/* Only the library creates it, so later versions may append members. */
struct pantry_event {
    enum pantry_event_kind kind;
    const struct pantry_token *token;
    pantry_status status;             /* PANTRY_OK (also after a cancel), or why the request failed, and */
    const char *message;              /* ... its sentence; "" for PANTRY_OK */
    const struct pantry_stats *stats; /* valid as long as the request */
};

/* Waits at most `timeout_ms` milliseconds for the next event (negative: forever, 0: not at all). NULL: timed out. The
 * event and its texts are valid until the next call for this request. */
PANTRY_API const struct pantry_event *pantry_request_next(pantry_request *request, int timeout_ms);
/* How far the prompt has been read: *n_read tokens of it, *n_cached of these from memory; both 0 before it begins. Any
 * thread may call it. */
PANTRY_API void pantry_request_progress(const pantry_request *request, int *n_read, int *n_cached);
/* Ends the request within a step: queued tokens still arrive, then PANTRY_EVENT_END with PANTRY_STOP_CANCELLED. May be
 * called from any thread, more than once, and after the end; not from a signal handler. */
PANTRY_API void pantry_request_cancel(pantry_request *request);
/* Cancels the request if it has not ended. */
PANTRY_API void pantry_request_free(pantry_request *request);

/* ---- embeddings and ranking ---- */

/* A text, or, if `text` is NULL, ids to which nothing is added. This struct will not change. */
struct pantry_input {
    const char *text;
    size_t len;
    const int32_t *ids;
    size_t n_ids;
};

struct pantry_embed_options {
    size_t size;
    enum pantry_pooling pooling;
    bool normalize;  /* divide rows by their length, sqrt(sum x^2) */
    int dimensions;  /* n > 0: only the first n values, normalized after the cut (Kusupati et al., Matryoshka
                        Representation Learning, 2022); 0: all */
    int max_tokens;  /* per input; 0: as trained, at most 32,768 */
    bool truncate;   /* cut longer inputs before their final special tokens; false: they are an error */
    bool plain_text; /* "[SEP]" in a text is text; false: it is the token, as in Hugging Face's tokenizers */
    int n_batch;     /* most tokens of a step, which inputs share; 0: 512. A longer input is a step of its own */
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
    int *n_tokens;  /* per input, after truncation; with PANTRY_POOLING_NONE also its number of rows */
    bool truncated; /* an input was cut */
    double seconds; /* of all steps */
};

/* Makes one row for each of the `n` inputs, in order. Other inputs of the call affect a row only by rounding. The
 * caller frees *out with pantry_embeddings_free; after a failure it is empty. PANTRY_CONTEXT_FULL: an input is too
 * long; PANTRY_INVALID: an input has no tokens, an id is not in the vocabulary, or the model has fewer dimensions than
 * asked for; PANTRY_UNSUPPORTED: a text for a model without a tokenizer. Any thread may call it. */
PANTRY_API pantry_status pantry_embed(pantry_model *model, const struct pantry_input *inputs, size_t n,
                                      const struct pantry_embed_options *options, struct pantry_embeddings *out,
                                      struct pantry_error *error);
PANTRY_API void pantry_embeddings_free(struct pantry_embeddings *embeddings);

/* Scores how well each of the `n` documents answers the query: `scores` (n), higher is better. With a ranking head the
 * score is the first value of the head for query and document read together: a logit, or the probability of yes in
 * models that answer yes or no. Without one it is the cosine of their embeddings. With a head, inputs must be texts.
 * The options pooling and dimensions apply only without a head, normalize never. Errors as for pantry_embed. */
PANTRY_API pantry_status pantry_rank(pantry_model *model, const struct pantry_input *query,
                                     const struct pantry_input *documents, size_t n,
                                     const struct pantry_embed_options *options, float *scores,
                                     struct pantry_error *error);

/* ---- grammars ---- */

enum pantry_grammar_kind {
    PANTRY_GRAMMAR_SCHEMA,     /* a JSON schema, draft 2020-12: the JSON texts of valid values */
    PANTRY_GRAMMAR_GBNF,       /* a grammar in llama.cpp's notation */
    PANTRY_GRAMMAR_REGEX,      /* a regular expression, which the whole text matches */
    PANTRY_GRAMMAR_JSON,       /* any JSON value; the source is unused */
    PANTRY_GRAMMAR_JSON_OBJECT /* any JSON object; the source is unused */
};

enum pantry_whitespace {
    PANTRY_WHITESPACE_FLEXIBLE, /* a space may follow each comma and colon */
    PANTRY_WHITESPACE_COMPACT,  /* none */
    PANTRY_WHITESPACE_INDENTED  /* as flexible; besides, new lines and indentation between tokens */
};

struct pantry_grammar_options {
    size_t size;
    enum pantry_whitespace whitespace; /* of JSON */
    bool closed; /* schemas: objects without a word about further properties have none, arrays no further items */
};

PANTRY_API void pantry_grammar_options_init(struct pantry_grammar_options *options, size_t size);
static inline struct pantry_grammar_options pantry_grammar_options_default(void)
{
    struct pantry_grammar_options o;
    pantry_grammar_options_init(&o, sizeof o);
    return o;
}

/* Compiles a source of `len` bytes; one that was compiled lately is found again by its content. PANTRY_FORMAT: the
 * source has a mistake, which the message places; PANTRY_UNSUPPORTED: it says something that cannot be expressed, which
 * the message names, or no text satisfies it; PANTRY_LIMIT: it is too large. */
PANTRY_API pantry_status pantry_grammar_new(enum pantry_grammar_kind kind, const char *source, size_t len,
                                            const struct pantry_grammar_options *options, pantry_grammar **grammar,
                                            struct pantry_error *error);
/* Requests that use the grammar keep what they need. */
PANTRY_API void pantry_grammar_free(pantry_grammar *grammar);
/* The grammar of calls of tools, as the dialect of the model's template writes them. `tools_json` is an array as
 * templates have it, [{"function": {"name", "parameters": a schema}}]. With `required` the answer is a call of one of
 * them, or of the one with this name (NULL: any), and with `parallel` perhaps further calls. Without it, the answer is
 * any text, but its calls obey the schemas. PANTRY_UNSUPPORTED: a schema, or the dialect, cannot be expressed. */
PANTRY_API pantry_status pantry_grammar_for_tools(const pantry_model *model, const char *tools_json, const char *name,
                                                  bool required, bool parallel, pantry_grammar **grammar,
                                                  struct pantry_error *error);
/* The grammar of answers of a chat that have a form: what comes after the reasoning is what `form` says or, with
 * `tools_json` (NULL: none), calls of tools, as in pantry_grammar_for_tools with `required`; with the headers that the
 * dialect of the model's template puts before them. `form` was made by pantry_grammar_new and is not needed any more
 * afterwards. */
PANTRY_API pantry_status pantry_grammar_for_answer(const pantry_model *model, const pantry_grammar *form,
                                                   const char *tools_json, bool parallel, pantry_grammar **grammar,
                                                   struct pantry_error *error);
/* Whether a whole text satisfies the grammar. Tokens that a GBNF grammar names (<think>) stand for their spelling.
 * PANTRY_LIMIT: the grammar is too ambiguous, or nests too deeply, for this text. */
PANTRY_API pantry_status pantry_grammar_accepts(const pantry_grammar *grammar, const char *text, size_t len,
                                                bool *accepted, struct pantry_error *error);
/* The automaton as a drawing in the language of Graphviz. */
PANTRY_API pantry_status pantry_grammar_dot(const pantry_grammar *grammar, char **dot, struct pantry_error *error);

/* ---- decisions ---- */

struct pantry_decide_options {
    size_t size;
    const char *cache_key;       /* as for requests */
    const pantry_cancel *cancel; /* ends the call with PANTRY_CANCELLED; may be NULL */
};

PANTRY_API void pantry_decide_options_init(struct pantry_decide_options *options, size_t size);
static inline struct pantry_decide_options pantry_decide_options_default(void)
{
    struct pantry_decide_options o;
    pantry_decide_options_init(&o, sizeof o);
    return o;
}

/* Answers typed questions about a state with probabilities, without generating text; any chat model does.
 * `request_json` is {"state": a text, object or array, "questions": {name: question}}, or has the chat's "messages"
 * ([{"role", "content"}]) for "state". A question is one of
 *   {"type": "noul", "instructions", "criteria": {"true": text, "false": text} (optional)}: is it so?
 *   {"type": "choice", "instructions", "criteria": {label: text or null, ...}}: which of 2 to 255 labels?
 *   {"type": "score", "instructions", "criteria": [text, ...]}: which of 2 to 10 levels, the lowest first?
 * *json is {"answers": {name: answer}, "usage": {"input_tokens", "cached_tokens"}}; an answer is one of
 *   {"type": "noul", "noul": probability of yes}
 *   {"type": "choice", "choice": label, "probabilities": {label: p}, "confidence"}
 *   {"type": "score", "score": expected level, "legend": {"0": text}, "probabilities": {"0": p}, "confidence"}
 * The probability of a label is that of all its tokens at the place of the answer, divided by the sum over the labels
 * of the question; where one label begins another, also of the end after it. The confidence of n labels whose likeliest
 * has p is (p - 1/n) / (1 - 1/n). PANTRY_INVALID: the request is wrong, PANTRY_UNSUPPORTED: the model has no chat
 * template; PANTRY_CONTEXT_FULL: a question and the state are longer than the context. */
PANTRY_API pantry_status pantry_decide(pantry_model *model, const char *request_json,
                                       const struct pantry_decide_options *options, char **json,
                                       struct pantry_error *error);

/* ---- the machine ---- */

/* Returns the sequential read bandwidth of all threads together in bytes per second, or 0 if it cannot be measured.
 * Measured once per process, in about 0.3 s. n_threads 0: one per physical core that this process may use. */
PANTRY_API double pantry_read_bandwidth(int n_threads);

#ifdef __cplusplus
}
#endif

#endif
