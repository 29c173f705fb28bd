/* The grammar of an answer that calls tools, or is of a form: see pantry_grammar_for_tools, pantry_grammar_for_answer.
 */
#define _POSIX_C_SOURCE 200809L
#include "engine/handle.h"
#include "engine/tool_text.h"
#include "grammar/source.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { KEPT = 16 };

/* What a grammar is made of. */
struct recipe {
    const struct pn_dialect *dialect;
    struct pn_tool_writer writer; /* without its builder */
    bool has_shape;
    const struct pantry_grammar *form; /* NULL: only calls */
    const char *tools;                 /* NULL: only the form */
    bool parallel;
};

/* ---- making ---- */

/* Reasoning as a part of the answer, where it is not known before the grammar begins; then what leads to the content.
 */
static pn_expr framed(const struct pn_tool_writer *w, const struct pn_answer_frame *f, pn_expr content)
{
    const pn_expr reasoning[] = {pn_tool_marker(w, f->open), pn_tool_plain_text(w, f->close, NULL),
                                 pn_tool_marker(w, f->close)};
    const pn_expr parts[] = {pn_expr_repeat(w->b, pn_expr_seq(w->b, reasoning, 3), 0, 1), content};
    return pn_expr_seq(w->b, parts, 2);
}

static pantry_status form_of(const struct recipe *r, const struct pn_answer_frame *f, bool is_framed, pn_expr *out,
                             struct pantry_error *err)
{
    const struct pn_tool_writer *w = &r->writer;
    const struct pantry_grammar *g = r->form;
    pantry_status status = pn_grammar_parse(w->b, g->kind, g->source, g->len, &g->options, out, err);
    if (status || !is_framed)
        return status;
    const pn_expr parts[] = {pn_expr_repeat(w->b, pn_tool_marker(w, f->again), 0, 1), pn_tool_marker(w, f->content),
                             *out};
    *out = pn_expr_seq(w->b, parts, 3);
    return PANTRY_OK;
}

static pantry_status root_of(const struct recipe *r, pn_expr *root, struct pantry_error *err)
{
    struct pn_answer_frame frame;
    pn_expr items[2];
    size_t n = 0;
    json_error_t e;
    bool is_framed = pn_dialect_frame(r->dialect, &frame) && r->writer.demanded;
    pantry_status status = r->form ? form_of(r, &frame, is_framed, &items[n++], err) : PANTRY_OK;
    if (!status && r->tools) {
        json_t *tools = json_loads(r->tools, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &e);
        status = json_is_array(tools) ? PANTRY_OK : pn_fail(err, PANTRY_FORMAT, "tools: not a JSON array");
        if (!status)
            status = pn_tool_calls(&r->writer, tools, r->parallel, &items[n++], err);
        json_decref(tools);
    }
    if (status)
        return status;
    *root = pn_expr_choice(r->writer.b, items, n);
    if (is_framed)
        *root = framed(&r->writer, &frame, *root);
    return PANTRY_OK;
}

static pantry_status build(const struct recipe *given, struct pn_grammar **out, struct pantry_error *err)
{
    struct recipe r = *given;
    pn_expr root = PN_EXPR_NONE;
    pantry_status status = pn_expr_builder_new(&r.writer.b, err);
    if (status)
        return status;
    status = root_of(&r, &root, err);
    if (!status)
        status = pn_grammar_compile(r.writer.b, root, out, err);
    pn_expr_builder_free(r.writer.b);
    return status;
}

/* ---- the last ones ---- */

static struct {
    pthread_mutex_t lock;
    struct {
        char *key;
        struct pn_grammar *grammar;
        uint64_t used;
    } entry[KEPT];
    uint64_t now;
} cache = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct pn_grammar *find(const char *key)
{
    struct pn_grammar *found = NULL;
    pthread_mutex_lock(&cache.lock);
    for (int i = 0; i < KEPT && !found; i++)
        if (cache.entry[i].key && strcmp(cache.entry[i].key, key) == 0) {
            cache.entry[i].used = ++cache.now;
            found = pn_grammar_share(cache.entry[i].grammar);
        }
    pthread_mutex_unlock(&cache.lock);
    return found;
}

/* Takes over `key`. */
static void keep(char *key, struct pn_grammar *grammar)
{
    int oldest = 0;
    pthread_mutex_lock(&cache.lock);
    for (int i = 0; i < KEPT; i++)
        oldest = cache.entry[i].used < cache.entry[oldest].used ? i : oldest;
    free(cache.entry[oldest].key);
    pn_grammar_free(cache.entry[oldest].grammar);
    cache.entry[oldest].key = key;
    cache.entry[oldest].grammar = pn_grammar_share(grammar);
    cache.entry[oldest].used = ++cache.now;
    pthread_mutex_unlock(&cache.lock);
}

/* ---- the public calls ---- */

/* Everything that the grammar depends on: also which markers are tokens of the model. */
static void write_key(const struct recipe *r, struct pn_buf *key)
{
    const struct pn_call_shape *s = &r->writer.shape;
    struct pn_answer_frame f;
    pn_dialect_frame(r->dialect, &f);
    const char *const markers[] = {s->open,        s->before,     s->after,     s->end,       s->close,
                                   s->lead,        s->lead_after, s->again,     s->id_after,  s->between,
                                   s->quote,       s->key_before, s->key_after, s->key_close, s->value_before,
                                   s->value_after, f.open,        f.close,      f.again,      f.content};
    pn_buf_printf(key, "%s %d %d %s\n", pn_dialect_name(r->dialect), r->writer.demanded, r->parallel,
                  r->writer.name ? r->writer.name : "");
    pn_buf_printf(key, "%s\n", r->has_shape ? s->before : "");
    for (size_t i = 0; i < sizeof markers / sizeof *markers; i++)
        pn_tool_marker_key(r->writer.tokenizer, markers[i] ? markers[i] : "", key);
    if (r->form) {
        pn_buf_printf(key, "\n%d %d %d %zu ", (int)r->form->kind, (int)r->form->options.space, r->form->options.closed,
                      r->form->len);
        for (size_t i = 0; i < r->form->len; i++) /* a source may have zero bytes */
            pn_buf_printf(key, r->form->source[i] ? "%c" : "%%00", r->form->source[i]);
    }
    pn_buf_printf(key, "\n%s", r->tools ? r->tools : "");
}

static pantry_status make(const struct recipe *r, struct pn_grammar **out, struct pantry_error *err)
{
    struct pn_buf key = {0};
    write_key(r, &key);
    if (key.failed)
        return pn_no_memory(err, "a grammar");
    if ((*out = find(key.data))) {
        pn_buf_free(&key);
        return PANTRY_OK;
    }
    pantry_status status = build(r, out, err);
    if (!status)
        keep(pn_buf_take(&key), *out);
    pn_buf_free(&key);
    return status;
}

static void read_dialect(const pantry_model *model, struct recipe *r)
{
    struct pn_str source = model->runner->model->weights->chat_template;
    r->dialect = pn_dialect_detect(source.data ? source.data : "", source.len);
    r->has_shape = pn_dialect_call_shape(r->dialect, source.data, source.len, &r->writer.shape);
    r->writer.tokenizer = model->tokenizer;
}

static pantry_status no_shape(const struct recipe *r, const char *what, struct pantry_error *err)
{
    return pn_fail(err, PANTRY_UNSUPPORTED, "calls of this model cannot be %s (its format is \"%s\")", what,
                   pn_dialect_name(r->dialect));
}

static pantry_status finish(const struct recipe *r, const char *trigger, pantry_grammar **out, struct pantry_error *err)
{
    struct pantry_grammar *g = calloc(1, sizeof *g);
    if (!g)
        return pn_no_memory(err, "a grammar");
    pantry_status status = make(r, &g->grammar, err);
    if (!status && trigger && !(g->trigger = strdup(trigger)))
        status = pn_no_memory(err, "a grammar");
    if (status)
        pantry_grammar_free(g);
    else
        *out = g;
    return status;
}

static pantry_status share(const pantry_grammar *form, pantry_grammar **out, struct pantry_error *err)
{
    struct pantry_grammar *g = calloc(1, sizeof *g);
    if (!g)
        return pn_no_memory(err, "a grammar");
    g->grammar = pn_grammar_share(form->grammar);
    *out = g;
    return PANTRY_OK;
}

pantry_status pantry_grammar_for_tools(const pantry_model *model, const char *tools_json, const char *name,
                                       bool required, bool parallel, pantry_grammar **grammar, struct pantry_error *err)
{
    struct recipe r = {.tools = tools_json, .parallel = parallel, .writer = {.name = name, .demanded = required}};
    *grammar = NULL;
    read_dialect(model, &r);
    if (!r.has_shape)
        return no_shape(&r, "forced", err);
    if (!required && !*r.writer.shape.trigger)
        return pn_fail(err, PANTRY_UNSUPPORTED,
                       "calls of this model cannot be strict, since no marker begins them (its format is \"%s\")",
                       pn_dialect_name(r.dialect));
    return finish(&r, required ? NULL : r.writer.shape.trigger, grammar, err);
}

pantry_status pantry_grammar_for_answer(const pantry_model *model, const pantry_grammar *form, const char *tools_json,
                                        bool parallel, pantry_grammar **grammar, struct pantry_error *err)
{
    struct recipe r = {.form = form, .tools = tools_json, .parallel = parallel, .writer = {.demanded = true}};
    *grammar = NULL;
    if (!form->source)
        return pn_fail(err, PANTRY_INVALID, "the form of an answer cannot be a grammar that was made for a model");
    read_dialect(model, &r);
    struct pn_answer_frame frame;
    if (!tools_json && !pn_dialect_frame(r.dialect, &frame))
        return share(form, grammar, err);
    if (tools_json && !r.has_shape)
        return no_shape(&r, "told apart from another form of the answer", err);
    return finish(&r, NULL, grammar, err);
}
