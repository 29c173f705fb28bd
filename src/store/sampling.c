/* Options of sampling: see sampling.h. */
#include "store/sampling.h"

#include <stddef.h>
#include <string.h>

#define BASE(field) false, offsetof(struct pantry_sampling, field)
#define MORE(field) true, offsetof(struct pantry_samplers, field)
#define ROW_(name_, whole_, least_, most_, more_, offset_)                                                             \
    {                                                                                                                  \
        .name = name_, .whole = whole_, .least = least_, .most = most_, .more = more_, .offset = offset_               \
    }
#define ROW(...)                        ROW_(__VA_ARGS__)
#define FLOAT(name, least, most, place) ROW(name, false, least, most, place)
#define INT(name, least, most, place)   ROW(name, true, least, most, place)

const struct pn_sampling_field pn_sampling_fields[PN_N_SAMPLING_FIELDS] = {
    FLOAT("temperature", 0, 100, BASE(temperature)),
    FLOAT("top_p", 0, 1, BASE(top_p)),
    FLOAT("min_p", 0, 1, BASE(min_p)),
    FLOAT("repeat_penalty", 0.01, 100, BASE(repeat_penalty)),
    FLOAT("frequency_penalty", -100, 100, BASE(frequency_penalty)),
    FLOAT("presence_penalty", -100, 100, BASE(presence_penalty)),
    INT("top_k", -1, 1 << 24, BASE(top_k)),
    INT("repeat_last_n", -1, 1 << 24, BASE(penalty_last_n)),
    FLOAT("dynatemp_range", 0, 100, MORE(dynatemp_range)),
    FLOAT("dynatemp_exponent", 0, 100, MORE(dynatemp_exponent)),
    FLOAT("typical_p", 0, 1, MORE(typical_p)),
    FLOAT("top_n_sigma", -1, 1000, MORE(top_n_sigma)),
    FLOAT("xtc_probability", 0, 1, MORE(xtc_probability)),
    FLOAT("xtc_threshold", 0, 1, MORE(xtc_threshold)),
    FLOAT("dry_multiplier", 0, 100, MORE(dry_multiplier)),
    FLOAT("dry_base", 0, 100, MORE(dry_base)),
    INT("dry_allowed_length", 0, 1 << 24, MORE(dry_allowed_length)),
    INT("dry_penalty_last_n", -1, 1 << 24, MORE(dry_penalty_last_n)),
    INT("mirostat", 0, 2, MORE(mirostat)),
    FLOAT("mirostat_tau", 0, 100, MORE(mirostat_tau)),
    FLOAT("mirostat_eta", 0, 1, MORE(mirostat_eta)),
    FLOAT("adaptive_target", -1, 1, MORE(adaptive_target)),
    FLOAT("adaptive_decay", 0, 0.99f, MORE(adaptive_decay)),
};

const struct pn_sampling_field *pn_sampling_find(const char *name)
{
    for (size_t i = 0; i < PN_N_SAMPLING_FIELDS; i++)
        if (strcmp(pn_sampling_fields[i].name, name) == 0)
            return &pn_sampling_fields[i];
    return NULL;
}

void *pn_sampling_at(const struct pn_sampling_field *f, struct pantry_sampling *sampling, struct pantry_samplers *more)
{
    return (char *)(f->more ? (void *)more : (void *)sampling) + f->offset;
}

void pn_sampling_set(const struct pn_sampling_field *f, double value, struct pantry_sampling *sampling,
                     struct pantry_samplers *more)
{
    void *to = pn_sampling_at(f, sampling, more);
    if (f->whole)
        memcpy(to, &(int){(int)value}, sizeof(int));
    else
        memcpy(to, &(float){(float)value}, sizeof(float));
}

void pn_sampling_settle(struct pantry_sampling *s)
{
    s->top_k = s->top_k < 0 ? 0 : s->top_k;
    s->top_p = s->top_p == 0 ? 1e-6f : s->top_p; /* the likeliest token alone */
}
