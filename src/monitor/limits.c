/* Measuring what this machine reaches: see limits.h. */
#include "monitor/limits.h"

#include "base/random.h"
#include "base/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Two models whose bytes per layer differ by a factor of five tell the two parts of a decoding step apart; the third is
 * large enough to be bound by arithmetic. Its weights are a hole in a file: their values do not matter. */
static const char *const small = "smollm2-135m:q4_0", *const large = "qwen2.5-0.5b:q4_0",
                         *const prompt = "llama3.2-1b:q4_k_m";
enum { N_PROMPT = 16, N_DECODE = 24, N_PREFILL = 256, ROUNDS = 3 };

struct run {
    double prefill_seconds, token_seconds, bytes, multiplies;
    int n_layer;
};

static double middle_of_three(const double *t)
{
    double low = t[0] < t[1] ? t[0] : t[1], high = t[0] < t[1] ? t[1] : t[0];
    return t[2] < low ? low : t[2] > high ? high : t[2];
}

static pantry_status generate(pantry_model *model, int n_prompt, int n_decode, struct run *run,
                              struct pantry_error *err)
{
    struct pantry_session_options session_options = pantry_session_options_default();
    struct pantry_generate_options o = pantry_generate_options_default();
    double prefill[ROUNDS], token[ROUNDS];
    pantry_session *session = NULL;
    struct pn_rng rng = {1};
    int32_t ids[N_PREFILL];
    session_options.n_context = n_prompt + n_decode + 1;
    o.sampling.temperature = 0;
    o.ignore_eos = true;
    o.max_tokens = n_decode;
    for (int i = 0; i < n_prompt; i++)
        ids[i] = (int32_t)(pn_rng_u64(&rng) % 40000);
    pantry_status status = pantry_session_new(model, &session_options, &session, err);
    for (int i = -1; i < ROUNDS && !status; i++) { /* the first warms up */
        struct pantry_stats stats = {.size = sizeof stats};
        pantry_session_clear(session);
        status = pantry_generate(session, ids, (size_t)n_prompt, &o, &stats, err);
        if (i < 0 || status)
            continue;
        prefill[i] = stats.prefill_seconds;
        token[i] = stats.n_generated > 1 ? stats.decode_seconds / (stats.n_generated - 1) : 0;
        run->bytes = stats.bytes_per_token;
    }
    if (!status) {
        run->prefill_seconds = middle_of_three(prefill);
        run->token_seconds = middle_of_three(token);
    }
    pantry_session_free(session);
    return status;
}

static pantry_status measure(const char *spec, bool weights, const struct pantry_model_options *options, int n_prompt,
                             int n_decode, struct run *run, char *device, size_t device_size, struct pantry_error *err)
{
    struct pantry_model_info info = {.size = sizeof info};
    struct pantry_estimate_options estimate_options = pantry_estimate_options_default();
    struct pantry_estimate estimate = {.size = sizeof estimate};
    pantry_model *model;
    pantry_status status =
        weights ? pantry_model_synthetic(spec, options, &model, err) : pantry_model_outline(spec, options, &model, err);
    if (status)
        return status;
    estimate_options.n_context = n_prompt;
    pantry_model_info(model, &info, NULL);
    snprintf(device, device_size, "%s", info.device);
    run->n_layer = info.n_layer;
    if (!(status = generate(model, n_prompt, n_decode, run, err)) &&
        !(status = pantry_model_estimate(model, &estimate_options, &estimate, err)))
        run->multiplies = estimate.token_multiplies * n_prompt + estimate.prompt_attention_multiplies;
    pantry_model_free(model);
    return status;
}

/* token_seconds = bytes / decode + n_layer * layer_seconds, for both models. */
static void solve(const struct run *a, const struct run *b, struct pn_limits *out)
{
    double per_byte = (b->token_seconds * a->n_layer - a->token_seconds * b->n_layer) /
                      (b->bytes * a->n_layer - a->bytes * b->n_layer);
    double per_layer = (a->token_seconds - a->bytes * per_byte) / a->n_layer;
    if (!(per_byte > 0) || !(per_layer >= 0)) { /* noise: the larger model alone */
        per_byte = b->token_seconds / b->bytes;
        per_layer = 0;
    }
    out->decode = 1 / per_byte;
    out->layer_seconds = per_layer;
}

pantry_status pn_limits_measure(const struct pantry_model_options *options, void (*progress)(const char *what),
                                struct pn_limits *out, struct pantry_error *err)
{
    struct run a, b, c;
    *out = (struct pn_limits){0};
    if (progress)
        progress("memory");
    if (!((out->read = pantry_read_bandwidth(options ? options->n_threads : 0)) > 0))
        return pn_fail(err, PANTRY_NO_MEMORY, "the read bandwidth of this machine cannot be measured");
    if (progress)
        progress("decoding");
    pantry_status status = measure(small, true, options, N_PROMPT, N_DECODE, &a, out->device, sizeof out->device, err);
    if (!status)
        status = measure(large, true, options, N_PROMPT, N_DECODE, &b, out->device, sizeof out->device, err);
    if (!status && progress)
        progress("reading prompts");
    if (!status)
        status = measure(prompt, false, options, N_PREFILL, 1, &c, out->device, sizeof out->device, err);
    if (status)
        return status;
    solve(&a, &b, out);
    out->operations = 2 * c.multiplies / c.prefill_seconds;
    return PANTRY_OK;
}

json_t *pn_limits_json(const struct pn_limits *l)
{
    return json_pack("{s:s, s:f, s:f, s:f, s:f}", "device", l->device, "read_bytes_per_second", l->read,
                     "decode_bytes_per_second", l->decode, "layer_seconds", l->layer_seconds, "operations_per_second",
                     l->operations);
}

bool pn_limits_read(const json_t *json, struct pn_limits *out)
{
    *out = (struct pn_limits){0};
    const char *device = json_string_value(json_object_get(json, "device"));
    if (!device)
        return false;
    snprintf(out->device, sizeof out->device, "%s", device);
    out->read = json_number_value(json_object_get(json, "read_bytes_per_second"));
    out->decode = json_number_value(json_object_get(json, "decode_bytes_per_second"));
    out->layer_seconds = json_number_value(json_object_get(json, "layer_seconds"));
    out->operations = json_number_value(json_object_get(json, "operations_per_second"));
    return out->read > 0 && out->decode > 0 && out->layer_seconds >= 0 && out->operations > 0;
}
