/* Sampling fields: see sampling.h. */
#include "server/api/sampling.h"

#include "base/status.h"
#include "server/json.h"

#include <string.h>

bool pn_is_sampling(const char *name)
{
    static const char *const texts[] = {"dry_sequence_breakers", "banned_strings", "samplers", "begin",
                                        "think_budget",          "think_message"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (strcmp(texts[i], name) == 0)
            return true;
    return pn_sampling_find(name) != NULL;
}

static pantry_status read_numbers(const json_t *fields, struct pn_answer_options *o, struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    for (size_t i = 0; i < PN_N_SAMPLING_FIELDS && !status; i++) {
        const struct pn_sampling_field *f = &pn_sampling_fields[i];
        void *to = pn_sampling_at(f, &o->sampling, &o->more);
        status = f->whole ? pn_json_int(fields, f->name, (int)f->least, (int)f->most, to, err)
                          : pn_json_float(fields, f->name, f->least, f->most, to, err);
    }
    pn_sampling_settle(&o->sampling);
    return status;
}

static pantry_status read_texts(const json_t *fields, const char *name, struct pn_sampling_texts *out,
                                struct pantry_error *err)
{
    json_t *list = NULL;
    pantry_status status = pn_json_array(fields, name, &list, err);
    if (status || !list)
        return status;
    out->given = true;
    out->n = 0;
    status = pn_json_strings(fields, name, PN_SAMPLING_TEXTS, out->item, &out->n, err);
    for (size_t i = 0; i < out->n && !status; i++)
        if (!*out->item[i])
            status = pn_fail(err, PANTRY_INVALID, "%s: texts that are not empty are required", name);
    return status;
}

/* A list of names, or a text with semicolons between them. */
static pantry_status read_order(const json_t *fields, char out[PN_SAMPLING_ORDER], struct pantry_error *err)
{
    const char *names[PN_SAMPLING_TEXTS];
    size_t n = 0, at = 0;
    pantry_status status = pn_json_strings(fields, "samplers", PN_SAMPLING_TEXTS, names, &n, err);
    for (size_t i = 0; i < n && !status; i++) {
        size_t len = strlen(names[i]);
        if (at + len + 2 > PN_SAMPLING_ORDER)
            return pn_fail(err, PANTRY_INVALID, "samplers: too long (allowed %d bytes)", PN_SAMPLING_ORDER - 2);
        memcpy(out + at, names[i], len);
        at += len;
        out[at++] = ';';
        out[at] = '\0';
    }
    return status;
}

pantry_status pn_read_sampling(const json_t *fields, const char *max_tokens, struct pn_answer_options *o,
                               struct pantry_error *err)
{
    const json_t *limit = json_object_get(fields, max_tokens);
    int most = 0;
    pantry_status status = read_numbers(fields, o, err);
    if (!status)
        status = read_texts(fields, "dry_sequence_breakers", &o->breakers, err);
    if (!status)
        status = read_texts(fields, "banned_strings", &o->banned, err);
    if (!status)
        status = read_order(fields, o->order, err);
    if (!status)
        status = pn_json_string(fields, "begin", &o->begin, err);
    if (!status)
        status = pn_json_int(fields, "think_budget", -1, 1 << 24, &o->think_budget, err);
    if (!status)
        status = pn_json_string(fields, "think_message", &o->think_message, err);
    if (!status)
        status = pn_json_seed(fields, "seed", &o->sampling.seed, err);
    if (!status)
        status = pn_json_strings(fields, "stop", PN_MAX_STOPS, o->stop, &o->n_stop, err);
    if (!status)
        status = pn_json_int(fields, max_tokens, -2, 1 << 24, &most, err);
    if (limit && !json_is_null(limit))
        o->max_tokens = most > 0 ? most : 0;
    return status;
}
