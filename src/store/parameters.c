/* Parameters of models: see parameters.h. */
#define _POSIX_C_SOURCE 200809L
#include "store/parameters.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind {
    NUMBER, /* of sampling: `field` */
    INT,
    SEED,
    TEXT,
    TEXTS,
    HINT_INT, /* about how to run a model, which pantry decides itself: changes no answer */
    HINT_BOOL,
    NEUTRAL, /* only `least`, the value that means "off" */
};

struct parameter {
    const char *name;
    enum kind kind;
    double least, most;
    size_t offset; /* in struct pn_parameters */
    const struct pn_sampling_field *field;
};

#define AT(field) offsetof(struct pn_parameters, field)

static const struct parameter table[] = {
    {"num_predict", INT, -2, 1 << 24, AT(max_tokens), NULL},
    {"num_ctx", INT, 0, 1 << 24, AT(n_context), NULL},
    {"num_batch", INT, 0, 4096, AT(n_batch), NULL},
    {"seed", SEED, 0, 0, AT(sampling.seed), NULL},
    {"stop", TEXTS, 0, 0, AT(stop), NULL},
    {"samplers", TEXT, 0, 0, AT(order), NULL},
    {"dry_sequence_breakers", TEXTS, 0, 0, AT(breakers), NULL},
    {"banned_strings", TEXTS, 0, 0, AT(banned), NULL},
    {"num_keep", HINT_INT, -1, 1 << 24, 0, NULL},
    {"num_gpu", HINT_INT, -1, 1 << 24, 0, NULL},
    {"main_gpu", HINT_INT, -1, 1 << 24, 0, NULL},
    {"num_thread", HINT_INT, 0, 1 << 24, 0, NULL},
    {"draft_num_predict", HINT_INT, 0, 1 << 24, 0, NULL},
    {"use_mmap", HINT_BOOL, 0, 0, 0, NULL},
    {"use_mlock", HINT_BOOL, 0, 0, 0, NULL},
    {"numa", HINT_BOOL, 0, 0, 0, NULL},
    {"low_vram", HINT_BOOL, 0, 0, 0, NULL},
    {"f16_kv", HINT_BOOL, 0, 0, 0, NULL},
    {"tfs_z", NEUTRAL, 1, 1, 0, NULL},
};

static pantry_status find(const char *name, struct parameter *out, struct pantry_error *err)
{
    const struct pn_sampling_field *f = pn_sampling_find(name);
    if (f) {
        *out = (struct parameter){f->name, NUMBER, f->least, f->most, 0, f};
        return PANTRY_OK;
    }
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i].name, name) == 0) {
            *out = table[i];
            return PANTRY_OK;
        }
    return pn_fail(err, PANTRY_UNSUPPORTED, "parameter %.60s: not supported", name);
}

/* ---- values ---- */

static pantry_status out_of_range(const struct parameter *p, double found, struct pantry_error *err)
{
    if (p->kind == NEUTRAL)
        return pn_fail(err, PANTRY_UNSUPPORTED, "parameter %s: not supported (found %g, allowed %g)", p->name, found,
                       p->least);
    return pn_fail(err, PANTRY_INVALID, "parameter %s: out of range (found %g, allowed %g..%g)", p->name, found,
                   p->least, p->most);
}

static pantry_status wrong_type(const struct parameter *p, const char *allowed, struct pantry_error *err)
{
    return pn_fail(err, PANTRY_INVALID, "parameter %s: wrong type (allowed %s)", p->name, allowed);
}

static pantry_status read_texts(const struct parameter *p, const json_t *v, struct pn_sampling_texts *out,
                                struct pantry_error *err)
{
    size_t n = json_is_array(v) ? json_array_size(v) : 1;
    if (n > PN_SAMPLING_TEXTS)
        return pn_fail(err, PANTRY_LIMIT, "parameter %s: too many texts (found %zu, allowed %d)", p->name, n,
                       PN_SAMPLING_TEXTS);
    *out = (struct pn_sampling_texts){.given = true};
    for (size_t i = 0; i < n; i++) {
        const json_t *text = json_is_array(v) ? json_array_get(v, i) : v;
        if (!json_is_string(text) || !json_string_length(text))
            return wrong_type(p, "texts that are not empty", err);
        out->item[out->n++] = json_string_value(text);
    }
    return PANTRY_OK;
}

/* JSON of other programs may write 40 as 40.0. */
static bool is_whole(const json_t *v)
{
    double d = json_number_value(v);
    return json_is_integer(v) || (json_is_real(v) && d == floor(d) && fabs(d) < 9e15);
}

static pantry_status read_one(const struct parameter *p, const json_t *v, struct pn_parameters *out,
                              struct pantry_error *err)
{
    double number = json_number_value(v);
    char *to = (char *)out + p->offset;
    switch (p->kind) {
    case TEXTS:
        return read_texts(p, v, (struct pn_sampling_texts *)(void *)to, err);
    case TEXT:
        if (!json_is_string(v))
            return wrong_type(p, "a text", err);
        out->order = json_string_value(v);
        return PANTRY_OK;
    case HINT_BOOL:
        return json_is_boolean(v) ? PANTRY_OK : wrong_type(p, "true or false", err);
    case SEED:
        if (!is_whole(v))
            return wrong_type(p, "a whole number", err);
        uint64_t seed = json_is_integer(v) ? (uint64_t)json_integer_value(v) : (uint64_t)(int64_t)number;
        memcpy(to, &seed, sizeof seed);
        out->has_seed = true;
        return PANTRY_OK;
    default:
        if (p->kind == INT || p->kind == HINT_INT || (p->field && p->field->whole)) {
            if (!is_whole(v))
                return wrong_type(p, "a whole number", err);
        } else if (!json_is_number(v)) {
            return wrong_type(p, "a number", err);
        }
    }
    if (!(number >= p->least && number <= p->most))
        return out_of_range(p, number, err);
    if (p->field)
        pn_sampling_set(p->field, number, &out->sampling, &out->more);
    else if (p->kind == INT)
        memcpy(to, &(int){(int)number}, sizeof(int));
    return PANTRY_OK;
}

pantry_status pn_parameters_read(const json_t *params, struct pn_parameters *out, struct pantry_error *err)
{
    const char *name;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)params, name, v)
    {
        struct parameter p;
        pantry_status status = find(name, &p, err);
        if (!status)
            status = read_one(&p, v, out, err);
        if (status)
            return status;
        out->has_limit |= p.kind == INT && p.offset == AT(max_tokens);
    }
    pn_sampling_settle(&out->sampling);
    out->max_tokens = out->max_tokens < 0 ? 0 : out->max_tokens;
    return PANTRY_OK;
}

/* ---- texts ---- */

static json_t *value_of(const struct parameter *p, const char *text)
{
    char *end;
    if (p->kind == TEXTS || p->kind == TEXT)
        return json_string(text);
    if (p->kind == HINT_BOOL)
        return strcmp(text, "true") == 0 ? json_true() : strcmp(text, "false") == 0 ? json_false() : json_null();
    if (text[strspn(text, "+-.0123456789eE")]) /* no "nan", no hexadecimal */
        return json_null();
    errno = 0;
    long long whole = strtoll(text, &end, 10);
    if (*text && !*end && !errno)
        return json_integer(whole);
    double number = strtod(text, &end);
    return *text && !*end && isfinite(number) ? json_real(number) : json_null();
}

pantry_status pn_parameters_add(json_t *params, const char *name, const char *text, struct pantry_error *err)
{
    struct pn_parameters scratch = {0};
    struct parameter p;
    pantry_status status = find(name, &p, err);
    if (status)
        return status;
    json_t *value = value_of(&p, text), *texts = p.kind == TEXTS ? json_object_get(params, name) : NULL;
    if (!value)
        return pn_fail(err, PANTRY_INVALID, "parameter %s: not UTF-8", name);
    status = read_one(&p, value, &scratch, err);
    if (!status && p.kind == TEXTS && json_array_size(texts) == PN_SAMPLING_TEXTS)
        status = pn_fail(err, PANTRY_LIMIT, "parameter %s: too many texts (allowed %d)", name, PN_SAMPLING_TEXTS);
    if (status) {
        json_decref(value);
        return status;
    }
    bool ok = texts             ? json_array_append_new(texts, value) == 0
              : p.kind == TEXTS ? json_object_set_new(params, name, json_pack("[o]", value)) == 0
                                : json_object_set_new(params, name, value) == 0;
    return ok ? PANTRY_OK : pn_no_memory(err, name);
}

static void put_one(const char *name, const json_t *v, void (*put)(void *user, const char *name, const char *text),
                    void *user)
{
    char number[40];
    if (json_is_string(v)) {
        put(user, name, json_string_value(v));
        return;
    }
    if (json_is_boolean(v))
        snprintf(number, sizeof number, "%s", json_is_true(v) ? "true" : "false");
    else if (json_is_integer(v))
        snprintf(number, sizeof number, "%lld", (long long)json_integer_value(v));
    else
        snprintf(number, sizeof number, "%.9g", json_number_value(v));
    put(user, name, number);
}

void pn_parameters_each(const json_t *params, void (*put)(void *user, const char *name, const char *text), void *user)
{
    const char *name;
    json_t *v, *item;
    size_t i;
    json_object_foreach((json_t *)(uintptr_t)params, name, v)
    {
        if (!json_is_array(v))
            put_one(name, v, put, user);
        json_array_foreach(v, i, item) put_one(name, item, put, user);
    }
}
