/* The public structs and the names of public enumerations. A caller's struct may be shorter or longer than ours if it
 * was compiled with another version of pantry.h. */
#include "engine/handle.h"

#include <string.h>

enum { MAX_SIZE = 4096 }; /* a larger one is garbage */

static size_t size_of(const void *s)
{
    size_t size;
    memcpy(&size, s, sizeof size); /* the first member */
    return size;
}

static pantry_status check_size(const void *s, const char *what, const char *how, struct pantry_error *err)
{
    size_t size = size_of(s);
    if (size >= sizeof size && size <= MAX_SIZE)
        return PANTRY_OK;
    return pn_fail(err, PANTRY_INVALID, "invalid size of the struct of %s (found %zu): %s", what, size, how);
}

pantry_status pn_take_options(void *own, const void *given, const char *what, struct pantry_error *err)
{
    size_t known = size_of(own);
    if (!given)
        return PANTRY_OK;
    pantry_status status = check_size(given, what, "get it from the _default function", err);
    if (status)
        return status;
    size_t size = size_of(given);
    for (size_t i = known; i < size; i++)
        if (((const char *)given)[i])
            return pn_fail(err, PANTRY_UNSUPPORTED,
                           "the %s set a member at byte %zu that version " PANTRY_VERSION
                           " of the library does not have",
                           what, i);
    memcpy((char *)own + sizeof size, (const char *)given + sizeof size, (size < known ? size : known) - sizeof size);
    return PANTRY_OK;
}

pantry_status pn_check_result(const void *result, const char *what, struct pantry_error *err)
{
    return check_size(result, what, "set it to its sizeof before the call", err);
}

void pn_give_result(void *result, const void *own)
{
    size_t size = size_of(result), known = size_of(own);
    if (size < sizeof size) /* it was rejected, but is freed all the same */
        return;
    memset((char *)result + sizeof size, 0, size - sizeof size);
    memcpy((char *)result + sizeof size, (const char *)own + sizeof size, (size < known ? size : known) - sizeof size);
}

/* ---- defaults ---- */

static void init(void *out, size_t size, void *own, size_t known)
{
    if (size < sizeof size)
        return;
    memcpy(own, &known, sizeof known);
    memcpy(out, &size, sizeof size);
    pn_give_result(out, own);
}

void pantry_model_options_init(struct pantry_model_options *o, size_t size)
{
    struct pantry_model_options own = {0};
    init(o, size, &own, sizeof own);
}

void pantry_session_options_init(struct pantry_session_options *o, size_t size)
{
    struct pantry_session_options own = {0};
    init(o, size, &own, sizeof own);
}

void pantry_samplers_init(struct pantry_samplers *o, size_t size)
{
    struct pantry_samplers own = {.dynatemp_exponent = 1,
                                  .typical_p = 1,
                                  .xtc_threshold = 0.1f,
                                  .dry_base = 1.75f,
                                  .dry_allowed_length = 2,
                                  .dry_penalty_last_n = -1,
                                  .mirostat_tau = 5,
                                  .mirostat_eta = 0.1f,
                                  .adaptive_target = -1,
                                  .adaptive_decay = 0.9f};
    init(o, size, &own, sizeof own);
}

struct pantry_sampling pantry_sampling_default(void)
{
    return (struct pantry_sampling){
        .temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f, .repeat_penalty = 1, .penalty_last_n = 64};
}

void pantry_generate_options_init(struct pantry_generate_options *o, size_t size)
{
    struct pantry_generate_options own = {.sampling = pantry_sampling_default(), .think_budget = -1};
    init(o, size, &own, sizeof own);
}

void pantry_request_options_init(struct pantry_request_options *o, size_t size)
{
    struct pantry_request_options own = {.sampling = pantry_sampling_default(), .think_budget = -1};
    init(o, size, &own, sizeof own);
}

void pantry_embed_options_init(struct pantry_embed_options *o, size_t size)
{
    struct pantry_embed_options own = {.normalize = true};
    init(o, size, &own, sizeof own);
}

void pantry_grammar_options_init(struct pantry_grammar_options *o, size_t size)
{
    struct pantry_grammar_options own = {0};
    init(o, size, &own, sizeof own);
}

void pantry_decide_options_init(struct pantry_decide_options *o, size_t size)
{
    struct pantry_decide_options own = {0};
    init(o, size, &own, sizeof own);
}

void pantry_quantize_options_init(struct pantry_quantize_options *o, size_t size)
{
    struct pantry_quantize_options own = {0};
    init(o, size, &own, sizeof own);
}

void pantry_convert_options_init(struct pantry_convert_options *o, size_t size)
{
    struct pantry_convert_options own = {0};
    init(o, size, &own, sizeof own);
}

void pantry_tune_options_init(struct pantry_tune_options *o, size_t size)
{
    struct pantry_tune_options own = {.adapter_path = "adapters",
                                      .kind = "lora",
                                      .optimizer = "adam",
                                      .schedule = "constant",
                                      .learning_rate = 1e-5f,
                                      .scale = 20,
                                      .iters = 1000,
                                      .batch_size = 4,
                                      .max_length = 2048,
                                      .accumulation = 1,
                                      .rank = 8,
                                      .n_layers = 16,
                                      .save_every = 100,
                                      .long_rows = "cut",
                                      .prompt_feature = "prompt",
                                      .completion_feature = "completion",
                                      .chat_feature = "messages",
                                      .text_feature = "text",
                                      .report_every = 10};
    init(o, size, &own, sizeof own);
}

void pantry_eval_options_init(struct pantry_eval_options *o, size_t size)
{
    struct pantry_eval_options own = {0};
    init(o, size, &own, sizeof own);
}

void pantry_imatrix_options_init(struct pantry_imatrix_options *o, size_t size)
{
    struct pantry_imatrix_options own = {0};
    init(o, size, &own, sizeof own);
}

void pantry_estimate_options_init(struct pantry_estimate_options *o, size_t size)
{
    struct pantry_estimate_options own = {0};
    init(o, size, &own, sizeof own);
}

/* ---- names ---- */

const char *pantry_stop_name(enum pantry_stop stop)
{
    switch (stop) {
    case PANTRY_STOP_NONE:
        return "";
    case PANTRY_STOP_END:
        return "stop";
    case PANTRY_STOP_TEXT:
        return "stop_string";
    case PANTRY_STOP_LENGTH:
        return "length";
    case PANTRY_STOP_CANCELLED:
        return "cancelled";
    case PANTRY_STOP_CALLBACK:
        return "callback";
    }
    return "";
}

const char *pantry_pooling_name(enum pantry_pooling pooling)
{
    switch (pooling) {
    case PANTRY_POOLING_AUTO:
        return "auto";
    case PANTRY_POOLING_MEAN:
        return "mean";
    case PANTRY_POOLING_CLS:
        return "cls";
    case PANTRY_POOLING_LAST:
        return "last";
    case PANTRY_POOLING_NONE:
        return "none";
    }
    return "";
}

/* RANK is a head, not a pooling, so callers cannot ask for it. */
static const enum pn_pooling poolings[] = {[PANTRY_POOLING_AUTO] = PN_POOLING_RANK,
                                           [PANTRY_POOLING_MEAN] = PN_POOLING_MEAN,
                                           [PANTRY_POOLING_CLS] = PN_POOLING_CLS,
                                           [PANTRY_POOLING_LAST] = PN_POOLING_LAST,
                                           [PANTRY_POOLING_NONE] = PN_POOLING_NONE};

enum pantry_pooling pn_pooling_of(enum pn_pooling pooling)
{
    enum pantry_pooling p = PANTRY_POOLING_NONE;
    while (p > PANTRY_POOLING_AUTO && poolings[p] != pooling)
        p--;
    return p;
}

enum pn_pooling pn_pooling_for(enum pantry_pooling pooling, enum pn_pooling file)
{
    return pooling == PANTRY_POOLING_AUTO ? file : poolings[pooling];
}
