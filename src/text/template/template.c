/* The public calls: parsing, rendering, and conversion of the JSON context. */
#include "text/template/ast.h"
#include "text/template/go/go.h"
#include "text/template/template.h"

#include <stdlib.h>
#include <string.h>

enum {
    DEFAULT_STEPS = 20 * 1000 * 1000,
    DEFAULT_OUTPUT = 64 << 20,
    DEFAULT_DEPTH = 200,
    MAX_DEPTH = 1000,
    MAX_SOURCE = 16 << 20,
    MAX_PARSE_DEPTH = 200,
};

static const struct jj_calls calls = {
    .getattr = pn_jj_getattr,
    .getitem = pn_jj_getitem,
    .macro = pn_jj_call_macro,
    .loop = pn_jj_call_loop,
    .block = pn_jj_call_block,
    .find_filter = pn_jj_find_filter,
};

static pantry_status report(struct jj_run *r, struct pantry_error *err)
{
    if (r->status == PANTRY_NO_MEMORY || !r->message)
        return pn_no_memory(err, "a template");
    return pn_fail(err, r->status, "%s", r->message);
}

static pantry_status parse_go(const char *source, size_t len, struct pn_template **out, struct pantry_error *err)
{
    struct pn_template *t = calloc(1, sizeof *t);
    if (!t)
        return pn_no_memory(err, "a template");
    pantry_status status = pn_go_parse(source, len, &t->go, err);
    if (status)
        free(t);
    else
        *out = t;
    return status;
}

static pantry_status render_go(const struct pn_template *t, const json_t *context,
                               const struct pn_template_limits *limits, char **out, size_t *out_len,
                               struct pantry_error *err)
{
    size_t n;
    size_t steps = limits && limits->max_steps ? limits->max_steps : DEFAULT_STEPS;
    size_t output = limits && limits->max_output ? limits->max_output : DEFAULT_OUTPUT;
    pantry_status status = pn_go_render(t->go, context, steps, output, limits ? limits->now : 0, out, &n, err);
    if (!status && out_len)
        *out_len = n;
    return status;
}

static pantry_status parse_jinja(const char *source, size_t len, struct pn_template **out, struct pantry_error *err)
{
    struct pn_template *t = calloc(1, sizeof *t);
    struct jj_run *r = calloc(1, sizeof *r);
    if (!t || !r) {
        free(t);
        free(r);
        return pn_no_memory(err, "a template");
    }
    *r = (struct jj_run){.calls = &calls,
                         .max_steps = 1000 * (size_t)1000 + 100 * len,
                         .max_output = MAX_SOURCE,
                         .max_memory = (16 << 20) + 1024 * len,
                         .max_depth = MAX_PARSE_DEPTH,
                         .stack = __builtin_frame_address(0)};
    pantry_status status = PANTRY_OK;
    if (setjmp(r->escape) == 0) {
        char *copy = pn_jj_alloc(r, len + 1);
        memcpy(copy, source, len);
        t->source = copy;
        t->len = len;
        pn_jj_parse(r, t);
        pn_jj_resolve(r, t);
        t->arena = r->arena;
        *out = t;
    } else {
        status = report(r, err);
        pn_arena_free(&r->arena);
        free(t);
    }
    free(r);
    return status;
}

pantry_status pn_template_parse(const char *source, size_t len, struct pn_template **out, struct pantry_error *err)
{
    *out = NULL;
    if (len > MAX_SOURCE)
        return pn_fail(err, PANTRY_LIMIT, "template: %zu bytes, but at most %d are allowed", len, (int)MAX_SOURCE);
    if (!pn_jj_utf8_valid(source, len))
        return pn_fail(err, PANTRY_FORMAT, "template: the source is not valid UTF-8");
    return pn_go_is_template(source, len) ? parse_go(source, len, out, err) : parse_jinja(source, len, out, err);
}

void pn_template_free(struct pn_template *t)
{
    if (!t)
        return;
    pn_go_free(t->go);
    struct pn_arena arena = t->arena;
    pn_arena_free(&arena);
    free(t);
}

/* ---- context ---- */

static jv from_json(struct jj_run *r, const json_t *json);

/* Strings are borrowed: the context outlives the render. */
static struct jj_dict *from_object(struct jj_run *r, const json_t *json)
{
    struct jj_dict *d = pn_jj_dict(r, json_object_size(json));
    /* jansson iterates over a const object through a non-const type */
    json_t *object = (json_t *)(uintptr_t)json;
    for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
        jv key = pn_jj_str(r, json_object_iter_key(it), json_object_iter_key_len(it));
        pn_jj_dict_set(r, d, key, from_json(r, json_object_iter_value(it)));
    }
    return d;
}

static jv from_json(struct jj_run *r, const json_t *json)
{
    jv v = jj_none();
    pn_jj_enter(r);
    pn_jj_step(r, 1);
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        v = jj_dict_value(from_object(r, json));
        break;
    case JSON_ARRAY:
        v = pn_jj_list(r, json_array_size(json));
        for (size_t i = 0; i < json_array_size(json); i++)
            pn_jj_push(r, v, from_json(r, json_array_get(json, i)));
        break;
    case JSON_STRING:
        v = pn_jj_str(r, json_string_value(json), json_string_length(json));
        break;
    case JSON_INTEGER:
        v = jj_int(json_integer_value(json));
        break;
    case JSON_REAL:
        v = jj_float(json_real_value(json));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        v = jj_bool(json_is_true(json));
        break;
    case JSON_NULL:
        break;
    }
    pn_jj_leave(r);
    return v;
}

/* ---- rendering ---- */

static void run_template(struct jj_run *r, const json_t *context)
{
    const struct pn_template *t = r->t;
    r->globals = from_object(r, context);
    r->vars = pn_jj_dict(r, 0);
    struct jj_env *env = pn_jj_new_env(r, t->fn, NULL);
    if (t->uses_self)
        *jj_slot(env, t->self) = (jv){.t = JJ_SELF};
    pn_jj_enter_scope(r, env, &t->loads);
    pn_jj_exec(r, env, &t->body);
    if (!pn_jj_utf8_valid(r->out->n ? r->out->p : "", r->out->n))
        pn_jj_raise(r, "UnicodeEncodeError", "'utf-8' codec can't encode a character: surrogates not allowed");
}

static struct jj_run *new_run(const struct pn_template *t, const struct pn_template_limits *limits)
{
    static const struct pn_template_limits defaults = {0};
    struct jj_run *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    if (!limits)
        limits = &defaults;
    r->calls = &calls;
    r->t = t;
    r->now = limits->now;
    r->max_steps = limits->max_steps ? limits->max_steps : DEFAULT_STEPS;
    r->max_output = limits->max_output ? limits->max_output : DEFAULT_OUTPUT;
    r->max_depth = limits->max_depth ? limits->max_depth : DEFAULT_DEPTH;
    if (r->max_depth > MAX_DEPTH)
        r->max_depth = MAX_DEPTH;
    r->max_memory = r->max_output > SIZE_MAX / 8 ? SIZE_MAX / 2 : r->max_output * 4 + (64 << 20);
    return r;
}

static pantry_status render_jinja(const struct pn_template *t, const json_t *context,
                                  const struct pn_template_limits *limits, char **out, size_t *out_len,
                                  struct pantry_error *err)
{
    struct jj_run *r = new_run(t, limits);
    if (!r)
        return pn_no_memory(err, "rendering a template");
    struct jj_buf *buf = pn_arena_alloc(&r->arena, sizeof *buf);
    pantry_status status = PANTRY_OK;
    if (!buf) {
        status = pn_no_memory(err, "rendering a template");
    } else {
        buf->r = r;
        r->out = buf;
        r->stack = __builtin_frame_address(0);
        if (setjmp(r->escape) == 0)
            run_template(r, context);
        else
            status = report(r, err);
    }
    if (status == PANTRY_OK) {
        char *text = malloc(buf->n + 1);
        if (text) {
            if (buf->n)
                memcpy(text, buf->p, buf->n);
            text[buf->n] = '\0';
            *out = text;
            if (out_len)
                *out_len = buf->n;
        } else {
            status = pn_no_memory(err, "a rendered template");
        }
    }
    pn_arena_free(&r->arena);
    free(r);
    return status;
}

pantry_status pn_template_render(const struct pn_template *t, const json_t *context,
                                 const struct pn_template_limits *limits, char **out, size_t *out_len,
                                 struct pantry_error *err)
{
    *out = NULL;
    if (out_len)
        *out_len = 0;
    if (!json_is_object(context))
        return pn_fail(err, PANTRY_INVALID, "template context: not a JSON object");
    return t->go ? render_go(t, context, limits, out, out_len, err)
                 : render_jinja(t, context, limits, out, out_len, err);
}
