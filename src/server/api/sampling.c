/* Sampling fields: see sampling.h. */
#include "server/api/sampling.h"

#include "base/status.h"
#include "server/json.h"

#include <string.h>

struct number {
    const char *name;
    double least, most;
    size_t offset; /* in struct pantry_sampling */
};

#define FIELD(name) offsetof(struct pantry_sampling, name)

static const struct number floats[] = {
    {"temperature", 0, 100, FIELD(temperature)},
    {"top_p", 0, 1, FIELD(top_p)},
    {"min_p", 0, 1, FIELD(min_p)},
    {"repeat_penalty", 0.01, 100, FIELD(repeat_penalty)},
    {"frequency_penalty", -100, 100, FIELD(frequency_penalty)},
    {"presence_penalty", -100, 100, FIELD(presence_penalty)},
};

pantry_status pn_read_sampling(const json_t *fields, const char *max_tokens, struct pn_answer_options *o,
                               struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    int most = o->max_tokens;
    for (size_t i = 0; i < sizeof floats / sizeof *floats && !status; i++)
        status = pn_json_float(fields, floats[i].name, floats[i].least, floats[i].most,
                               (float *)(void *)((char *)&o->sampling + floats[i].offset), err);
    if (!status)
        status = pn_json_int(fields, "top_k", -1, 1 << 24, &o->sampling.top_k, err);
    if (!status)
        status = pn_json_int(fields, "repeat_last_n", -1, 1 << 24, &o->sampling.penalty_last_n, err);
    if (!status)
        status = pn_json_seed(fields, "seed", &o->sampling.seed, err);
    if (!status)
        status = pn_json_strings(fields, "stop", PN_MAX_STOPS, o->stop, &o->n_stop, err);
    if (!status)
        status = pn_json_int(fields, max_tokens, -2, 1 << 24, &most, err);
    o->sampling.top_k = o->sampling.top_k < 0 ? 0 : o->sampling.top_k;
    if (o->sampling.top_p == 0) /* the likeliest token alone */
        o->sampling.top_p = 1e-6f;
    o->max_tokens = most > 0 ? most : 0;
    return status;
}

pantry_status pn_read_parameters(const json_t *fields, struct pn_answer_options *o, struct pantry_error *err)
{
    static const char *const others[] = {"top_k", "repeat_last_n", "seed", "stop", "num_predict"};
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)fields, name, value)
    {
        bool known = false;
        for (size_t i = 0; i < sizeof floats / sizeof *floats; i++)
            known = known || strcmp(floats[i].name, name) == 0;
        for (size_t i = 0; i < sizeof others / sizeof *others; i++)
            known = known || strcmp(others[i], name) == 0;
        if (!known)
            return pn_fail(err, PANTRY_UNSUPPORTED, "%.60s: unknown parameter", name);
    }
    return pn_read_sampling(fields, "num_predict", o, err);
}

pantry_status pn_model_settings_check(const struct pn_model_settings *settings, struct pantry_error *err)
{
    struct pn_answer_options scratch = {.sampling = pantry_sampling_default()};
    pantry_status status = settings->parameters ? pn_read_parameters(settings->parameters, &scratch, err) : PANTRY_OK;
    if (status)
        pn_fail_prefix(err, "%s.parameters", settings->where);
    return status;
}
