/* Schedules: see schedule.h. */
#include "train/schedule.h"

#include "train/words.h"

#include <math.h>
#include <string.h>

static const struct {
    const char *name;
    int least, most, steps;
} table[PN_SCHEDULE_COUNT] = {
#define PN_SCHEDULE(NAME, name, least, most, steps) [PN_SCHEDULE_##NAME] = {#name, least, most, steps},
    PN_SCHEDULES
#undef PN_SCHEDULE
};

enum pn_schedule_kind pn_schedule_find(const char *name)
{
    int i = 0;
    while (i < PN_SCHEDULE_COUNT && strcmp(table[i].name, name) != 0)
        i++;
    return (enum pn_schedule_kind)i;
}

static pantry_status read_named(const struct pn_train_word *w, struct pn_schedule *out, struct pantry_error *err)
{
    double value;
    bool warmup = pn_train_word_is(w, "warmup");
    if (!warmup && !pn_train_word_is(w, "warmup_init"))
        return pn_fail(err, PANTRY_INVALID, "lr_schedule: unknown name \"%.*s\" (allowed warmup, warmup_init)",
                       (int)w->name_len, w->name);
    if (!pn_train_word_number(w, &value) || value < 0 || (warmup && (value > 1e9 || floor(value) != value)))
        return pn_fail(err, PANTRY_INVALID, "lr_schedule: %s is \"%.*s\" (allowed: %s)",
                       warmup ? "warmup" : "warmup_init", (int)w->value_len, w->value,
                       warmup ? "a whole number of updates" : "a number from 0");
    if (warmup)
        out->warmup = (int64_t)value;
    else
        out->warmup_init = value;
    return PANTRY_OK;
}

pantry_status pn_schedule_read(const char *text, struct pn_schedule *out, struct pantry_error *err)
{
    struct pn_train_word w = {0};
    int n = -1; /* numbers after the name */
    *out = (struct pn_schedule){.kind = PN_SCHEDULE_COUNT, .waits = true};
    while (pn_train_word_next(&text, &w)) {
        pantry_status status = PANTRY_OK;
        if (n < 0) {
            char name[32] = "";
            memcpy(name, w.value, w.value_len < sizeof name ? w.value_len : 0);
            out->kind = pn_schedule_find(w.name ? "" : name);
            if (out->kind < PN_SCHEDULE_COSINE_DECAY || out->kind == PN_SCHEDULE_COUNT)
                return pn_fail(err, PANTRY_INVALID,
                               "lr_schedule: unknown schedule \"%.*s\" (allowed cosine_decay, exponential_decay, "
                               "step_decay, linear_schedule)",
                               (int)w.value_len, w.value);
        } else if (w.name) {
            status = read_named(&w, out, err);
        } else if (n >= table[out->kind].most || !pn_train_word_number(&w, &out->number[n])) {
            return pn_fail(err, PANTRY_INVALID, "lr_schedule: %s cannot take \"%.*s\" (allowed: %d to %d numbers)",
                           table[out->kind].name, (int)w.value_len, w.value, table[out->kind].least,
                           table[out->kind].most);
        }
        if (status)
            return status;
        n += !w.name;
    }
    if (n < 0 || n < table[out->kind].least)
        return pn_fail(err, PANTRY_INVALID, "lr_schedule: %s needs %d numbers, found %d",
                       n < 0 ? "a schedule" : table[out->kind].name, n < 0 ? 2 : table[out->kind].least, n < 0 ? 0 : n);
    int steps = table[out->kind].steps;
    if (steps >= 0 && !(out->number[steps] >= 1 && out->number[steps] <= 1e12))
        return pn_fail(err, PANTRY_INVALID, "lr_schedule: %s over %g updates (allowed: 1 to 1e12)",
                       table[out->kind].name, out->number[steps]);
    return PANTRY_OK;
}

/* After the rise: update `at` of `n`. */
static double after(const struct pn_schedule *s, int64_t at, int64_t n)
{
    const double pi = 3.14159265358979323846, *x = s->number;
    double step = (double)at, part = n > 0 ? step / (double)n : 0;
    switch (s->kind) {
    case PN_SCHEDULE_COSINE:
        return x[0] + 0.5 * (1 - cos(pi * part)) * (x[1] - x[0]);
    case PN_SCHEDULE_LINEAR:
        return x[0] + part * (x[1] - x[0]);
    case PN_SCHEDULE_COSINE_DECAY:
        return x[2] + 0.5 * (1 + cos(pi / x[1] * fmin(step, x[1]))) * (x[0] - x[2]);
    case PN_SCHEDULE_EXPONENTIAL_DECAY:
        return x[0] * pow(x[1], step);
    case PN_SCHEDULE_STEP_DECAY:
        return x[0] * pow(x[1], floor(step / floor(x[2])));
    case PN_SCHEDULE_LINEAR_SCHEDULE:
        return x[0] + fmin(step, x[2]) * ((x[1] - x[0]) / x[2]);
    default:
        return x[0];
    }
}

float pn_schedule_rate(const struct pn_schedule *s, int64_t at, int64_t n)
{
    if (s->waits && s->warmup > 0 && at <= s->warmup)
        return (float)(s->warmup_init + (double)at * ((s->number[0] - s->warmup_init) / (double)s->warmup));
    if (!s->waits && at < s->warmup)
        return (float)(s->number[0] * (double)(at + 1) / (double)(s->warmup + 1));
    int64_t rise = s->warmup > 0 ? s->warmup + s->waits : 0;
    return (float)after(s, at - rise, n - rise);
}
