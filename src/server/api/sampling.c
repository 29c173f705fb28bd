/* Sampling fields: see sampling.h. */
#include "server/api/sampling.h"

#include "server/json.h"

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
    const json_t *limit = json_object_get(fields, max_tokens);
    int most = 0;
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
    if (limit && !json_is_null(limit))
        o->max_tokens = most > 0 ? most : 0;
    return status;
}
