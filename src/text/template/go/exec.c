/* Runs Go's templates: see go.h.
 *
 * A value is a new reference; NULL means that the run has failed, and everything returns. */
#define _POSIX_C_SOURCE 200809L
#include "text/template/go/ast.h"
#include "text/template/go/turns.h"
#include "text/template/go/value.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_VARIABLES = 1000 };

struct variable {
    const char *name;
    json_t *value;
};

struct run {
    const struct go_template *t;
    struct pn_buf out;
    size_t steps, max_steps;
    int64_t now;
    int cut;      /* nodes after this number write nothing and are not run; -1: all are */
    json_t *root; /* $ */
    struct {
        struct variable *data;
        size_t len, cap;
    } variables;
    int line;
    pantry_status status;
    struct pantry_error *err;
};

enum flow { GO_ON, BREAKS, CONTINUES, FAILS };

static void *fail(struct run *r, pantry_status status, const char *what)
{
    if (!r->status)
        r->status = status == PANTRY_NO_MEMORY ? pn_no_memory(r->err, "a template")
                                               : pn_fail(r->err, status, "template:%d: %s", r->line, what);
    return NULL;
}

static bool step(struct run *r, size_t n)
{
    if (r->steps + n <= r->max_steps) {
        r->steps += n;
        return true;
    }
    fail(r, PANTRY_LIMIT, "budget exceeded: too many steps");
    return false;
}

/* ---- variables ---- */

static bool push_variable(struct run *r, const char *name, json_t *value)
{
    struct variable v = {name, value};
    if (r->variables.len < MAX_VARIABLES && pn_vec_push(&r->variables, v))
        return true;
    json_decref(value);
    return fail(r, PANTRY_LIMIT, "too many variables");
}

static void drop_variables(struct run *r, size_t keep)
{
    while (r->variables.len > keep)
        json_decref(r->variables.data[--r->variables.len].value);
}

static struct variable *find_variable(struct run *r, const char *name)
{
    for (size_t i = r->variables.len; i-- > 0;)
        if (strcmp(r->variables.data[i].name, name) == 0)
            return &r->variables.data[i];
    return fail(r, PANTRY_FORMAT, "undefined variable");
}

static bool set_variable(struct run *r, const char *name, json_t *value, bool declares)
{
    if (declares)
        return push_variable(r, name, value);
    struct variable *v = find_variable(r, name);
    if (!v) {
        json_decref(value);
        return false;
    }
    json_decref(v->value);
    v->value = value;
    return true;
}

/* ---- functions ---- */

static json_t *eval(struct run *r, const struct go_expr *e, json_t *dot);

/* and, or: the first argument that decides, or the last. */
static json_t *decide(struct run *r, const struct go_expr *e, json_t *dot)
{
    for (const struct go_expr *a = e->first;; a = a->next) {
        json_t *v = eval(r, a, dot);
        if (!v || !a->next || pn_go_is_true(v) == (e->function == GO_OR))
            return v;
        json_decref(v);
    }
}

static json_t *length_of(struct run *r, const json_t *v)
{
    if (json_is_string(v))
        return json_integer((json_int_t)json_string_length(v));
    if (json_is_object(v))
        return json_integer((json_int_t)json_object_size(v));
    if (json_is_array(v) || json_is_null(v))
        return json_integer((json_int_t)json_array_size(v));
    return fail(r, PANTRY_INVALID, "len of a value that has none");
}

static json_t *index_of(struct run *r, json_t *const *v, size_t n)
{
    json_t *at = v[0];
    for (size_t i = 1; i < n; i++) {
        if (json_is_array(at) && json_is_integer(v[i])) {
            json_int_t k = json_integer_value(v[i]);
            if (k < 0 || (size_t)k >= json_array_size(at))
                return fail(r, PANTRY_INVALID, "index out of range");
            at = json_array_get(at, (size_t)k);
        } else if (json_is_object(at) && json_is_string(v[i])) {
            at = json_object_get(at, json_string_value(v[i]));
        } else {
            return fail(r, PANTRY_INVALID, "index of a value that has none");
        }
    }
    return at ? json_incref(at) : json_null();
}

static json_t *slice_of(struct run *r, json_t *const *v, size_t n)
{
    size_t len = json_is_string(v[0]) ? json_string_length(v[0]) : json_array_size(v[0]);
    json_int_t from = n > 1 ? json_integer_value(v[1]) : 0, to = n > 2 ? json_integer_value(v[2]) : (json_int_t)len;
    bool whole = (n < 2 || json_is_integer(v[1])) && (n < 3 || json_is_integer(v[2]));
    if (!json_is_string(v[0]) && !json_is_array(v[0]) && !json_is_null(v[0]))
        return fail(r, PANTRY_INVALID, "slice of a value that has none");
    if (!whole || from < 0 || to < from || (size_t)to > len)
        return fail(r, PANTRY_INVALID, "slice out of range");
    if (json_is_string(v[0])) {
        json_t *text = json_stringn(json_string_value(v[0]) + from, (size_t)(to - from));
        return text ? text : fail(r, PANTRY_INVALID, "slice inside a character");
    }
    if (!step(r, (size_t)(to - from)))
        return NULL;
    json_t *list = json_array();
    for (json_int_t i = from; i < to; i++)
        json_array_append(list, json_array_get(v[0], (size_t)i));
    return list ? list : fail(r, PANTRY_NO_MEMORY, "");
}

static bool is_equal(const json_t *a, const json_t *b)
{
    bool ok;
    if (json_is_boolean(a) || json_is_null(a) || json_is_boolean(b) || json_is_null(b))
        return json_equal(a, b);
    int order = pn_go_compare(a, b, &ok);
    return ok && order == 0;
}

static json_t *compare(struct run *r, enum go_function f, json_t *const *v, size_t n)
{
    bool ok = true, equal = false;
    for (size_t i = 1; i < n; i++)
        equal |= is_equal(v[0], v[i]);
    if (f == GO_EQ || f == GO_NE)
        return json_boolean(equal == (f == GO_EQ));
    int order = pn_go_compare(v[0], v[1], &ok);
    if (!ok)
        return fail(r, PANTRY_INVALID, "the two values have no order");
    return json_boolean(f == GO_LT ? order < 0 : f == GO_LE ? order <= 0 : f == GO_GT ? order > 0 : order >= 0);
}

static json_t *text_of(struct run *r, json_t *const *v, size_t n, bool json)
{
    struct pn_buf out = {.limit = r->out.limit};
    for (size_t i = 0; i < n; i++) {
        if (i && !json && !json_is_string(v[i - 1]) && !json_is_string(v[i]))
            pn_buf_putc(&out, ' ');
        if (json)
            pn_go_put_json(&out, v[i]);
        else
            pn_go_put(&out, v[i]);
    }
    bool failed = out.failed || out.over_limit || !step(r, out.len / 64);
    json_t *text = failed ? NULL : json_stringn(out.data ? out.data : "", out.len);
    pn_buf_free(&out);
    return text ? text : fail(r, PANTRY_LIMIT, "budget exceeded: a long text");
}

static json_t *date_of(const struct run *r)
{
    char text[16];
    time_t now = r->now ? (time_t)r->now : time(NULL);
    struct tm tm;
    if (r->now)
        gmtime_r(&now, &tm);
    else
        localtime_r(&now, &tm);
    strftime(text, sizeof text, "%Y-%m-%d", &tm);
    return json_string(text);
}

static json_t *apply(struct run *r, enum go_function f, json_t *const *v, size_t n)
{
    switch (f) {
    case GO_NOT:
        return json_boolean(!pn_go_is_true(v[0]));
    case GO_LEN:
        return length_of(r, v[0]);
    case GO_INDEX:
        return index_of(r, v, n);
    case GO_SLICE:
        return slice_of(r, v, n);
    case GO_PRINT:
    case GO_JSON:
        return text_of(r, v, n, f == GO_JSON);
    case GO_CURRENT_DATE:
        return date_of(r);
    default:
        return compare(r, f, v, n);
    }
}

static json_t *call(struct run *r, const struct go_expr *e, json_t *dot)
{
    json_t *v[64] = {NULL}, *result = NULL;
    size_t n = 0;
    if (e->function == GO_AND || e->function == GO_OR)
        return decide(r, e, dot);
    for (const struct go_expr *a = e->first; a && n < 64; a = a->next)
        if (!(v[n++] = eval(r, a, dot)))
            break;
    if (!r->status)
        result = apply(r, e->function, v, n);
    while (n > 0)
        json_decref(v[--n]);
    return result;
}

static json_t *field_of(struct run *r, const struct go_expr *e, json_t *dot)
{
    json_t *of = eval(r, e->first, dot);
    if (!of)
        return NULL;
    json_t *v = pn_go_field(of, e->text);
    v = v ? json_incref(v) : json_null();
    json_decref(of);
    return v;
}

static json_t *eval(struct run *r, const struct go_expr *e, json_t *dot)
{
    struct variable *variable;
    json_t *v = NULL;
    if (!step(r, 1))
        return NULL;
    switch (e->kind) {
    case GO_DOT:
        return json_incref(dot);
    case GO_VAR:
        if (!*e->text)
            return json_incref(r->root);
        variable = find_variable(r, e->text);
        return variable ? json_incref(variable->value) : NULL;
    case GO_FIELD:
        return field_of(r, e, dot);
    case GO_CALL:
        return call(r, e, dot);
    case GO_STRING:
        v = json_stringn(e->text, e->len);
        break;
    case GO_INT:
        v = json_integer(e->number);
        break;
    case GO_REAL:
        v = json_real(e->real);
        break;
    case GO_BOOL:
        return json_boolean(e->number != 0);
    case GO_NIL:
        return json_null();
    }
    return v ? v : fail(r, PANTRY_INVALID, "a text that is not UTF-8");
}

/* ---- nodes ---- */

static enum flow run_list(struct run *r, const struct go_node *list, json_t *dot);

static enum flow print(struct run *r, const json_t *v)
{
    size_t before = r->out.len;
    pn_go_put(&r->out, v);
    return step(r, (r->out.len - before) / 64) ? GO_ON : FAILS;
}

/* Runs a list in a new scope. */
static enum flow run_body(struct run *r, const struct go_node *list, json_t *dot)
{
    size_t keep = r->variables.len;
    enum flow flow = run_list(r, list, dot);
    drop_variables(r, keep);
    return flow;
}

static enum flow run_branch(struct run *r, const struct go_node *node, json_t *dot)
{
    size_t keep = r->variables.len;
    json_t *v = eval(r, node->value, dot);
    if (!v)
        return FAILS;
    enum flow flow = GO_ON;
    if (node->names[0] && !set_variable(r, node->names[0], json_incref(v), node->declares))
        flow = FAILS;
    else if (pn_go_is_true(v))
        flow = run_list(r, node->body, node->kind == GO_WITH ? v : dot);
    else
        flow = run_list(r, node->other, dot);
    drop_variables(r, keep);
    json_decref(v);
    return flow;
}

static enum flow run_item(struct run *r, const struct go_node *node, json_t *key, json_t *item)
{
    size_t keep = r->variables.len;
    const char *first = node->names[0], *second = node->names[1];
    bool ok = true;
    if (second)
        ok = set_variable(r, first, json_incref(key), node->declares) &&
             set_variable(r, second, json_incref(item), node->declares);
    else if (first)
        ok = set_variable(r, first, json_incref(item), node->declares);
    enum flow flow = ok && step(r, 1) ? run_body(r, node->body, item) : FAILS;
    drop_variables(r, keep);
    json_decref(key);
    return flow;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Go visits maps by their sorted keys. */
static enum flow run_object(struct run *r, const struct go_node *node, json_t *object)
{
    const char *key;
    json_t *v;
    size_t n = json_object_size(object), i = 0;
    const char **keys = calloc(n + 1, sizeof *keys);
    if (!keys)
        return fail(r, PANTRY_NO_MEMORY, ""), FAILS;
    json_object_foreach(object, key, v) keys[i++] = key;
    qsort(keys, n, sizeof *keys, by_text);
    enum flow flow = GO_ON;
    for (i = 0; i < n && flow != FAILS && flow != BREAKS; i++)
        flow = run_item(r, node, json_string(keys[i]), json_object_get(object, keys[i]));
    free(keys);
    return flow;
}

static enum flow run_range(struct run *r, const struct go_node *node, json_t *dot)
{
    json_t *v = eval(r, node->value, dot);
    enum flow flow = v ? GO_ON : FAILS;
    if (v && !json_is_array(v) && !json_is_object(v) && !json_is_null(v)) {
        fail(r, PANTRY_INVALID, "range over a value that has no items");
        flow = FAILS;
    } else if (v && !pn_go_is_true(v)) {
        flow = run_body(r, node->other, dot);
        json_decref(v);
        return flow; /* of an outer range */
    } else if (json_is_object(v)) {
        flow = run_object(r, node, v);
    }
    for (size_t i = 0; i < json_array_size(v) && flow != FAILS && flow != BREAKS; i++)
        flow = run_item(r, node, json_integer((json_int_t)i), json_array_get(v, i));
    json_decref(v);
    return flow == FAILS ? FAILS : GO_ON;
}

static enum flow run_node(struct run *r, const struct go_node *node, json_t *dot)
{
    json_t *v;
    enum flow flow = GO_ON;
    r->line = node->line;
    switch (node->kind) {
    case GO_TEXT:
        pn_buf_append(&r->out, node->text, node->len);
        return step(r, 1 + node->len / 64) ? GO_ON : FAILS;
    case GO_PRINT_VALUE:
        if (!(v = eval(r, node->value, dot)))
            return FAILS;
        flow = print(r, v);
        json_decref(v);
        return flow;
    case GO_DECLARE:
    case GO_ASSIGN:
        v = eval(r, node->value, dot);
        return v && set_variable(r, node->names[0], v, node->declares) ? GO_ON : FAILS;
    case GO_IF:
    case GO_WITH:
        return run_branch(r, node, dot);
    case GO_RANGE:
        return run_range(r, node, dot);
    case GO_BREAK:
        return BREAKS;
    case GO_CONTINUE:
        return CONTINUES;
    }
    return flow;
}

static enum flow run_list(struct run *r, const struct go_node *list, json_t *dot)
{
    enum flow flow = GO_ON;
    for (const struct go_node *node = list; node && flow == GO_ON; node = node->next)
        if (r->cut < 0 || node->number <= r->cut)
            flow = run_node(r, node, dot);
    if (r->out.failed)
        fail(r, PANTRY_NO_MEMORY, "");
    else if (r->out.over_limit)
        fail(r, PANTRY_LIMIT, "budget exceeded: too much text");
    return r->status ? FAILS : flow;
}

/* ---- a conversation ---- */

/* Takes `root` over. */
static bool run_with(struct run *r, json_t *root, int cut)
{
    r->root = root;
    r->cut = cut;
    if (!root)
        fail(r, PANTRY_NO_MEMORY, "");
    else
        run_list(r, r->t->root, root);
    drop_variables(r, 0);
    json_decref(root);
    return !r->status;
}

pantry_status pn_go_render(const struct go_template *t, const json_t *context, size_t max_steps, size_t max_output,
                           int64_t now, char **out, size_t *out_len, struct pantry_error *err)
{
    struct run r = {.t = t, .max_steps = max_steps, .now = now, .err = err, .out = {.limit = max_output}};
    struct pn_go_turns turns;
    *out = NULL;
    pn_go_turns_start(&turns, context, t->has_messages);
    for (json_t *root; !r.status && (root = pn_go_turns_next(&turns));)
        run_with(&r, root, turns.last && !t->has_messages ? t->response : -1);
    pn_go_turns_end(&turns);
    *out_len = r.out.len;
    if (!r.status && !(*out = pn_buf_take(&r.out)))
        fail(&r, PANTRY_NO_MEMORY, "");
    pn_buf_free(&r.out);
    free(r.variables.data);
    return r.status;
}
