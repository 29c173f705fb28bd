/* Expressions: the value of a node. Statements are in exec.c. */
#include "text/template/ast.h"

#include <string.h>

static jv eval_binary(struct jj_run *r, struct jj_env *env, const struct jj_node *node)
{
    jv a = pn_jj_eval(r, env, node->u.op.a);
    jv b = pn_jj_eval(r, env, node->u.op.b);
    return pn_jj_binary(r, node->u.op.op, a, b);
}

static jv eval_and_or(struct jj_run *r, struct jj_env *env, const struct jj_node *node)
{
    jv a = pn_jj_eval(r, env, node->u.op.a);
    return pn_jj_truth(r, a) == (node->kind == JJ_N_AND) ? pn_jj_eval(r, env, node->u.op.b) : a;
}

static bool compare(struct jj_run *r, enum jj_token_type op, jv a, jv b)
{
    switch (op) {
    case JJ_T_EQ:
        return pn_jj_equal(r, a, b);
    case JJ_T_NE:
        return !pn_jj_equal(r, a, b);
    case JJ_T_NAME:
        return pn_jj_contains(r, a, b);
    case JJ_T_SEMICOLON:
        return !pn_jj_contains(r, a, b);
    default:
        return pn_jj_compare(r, pn_jj_token_text(op), a, b);
    }
}

static jv eval_compare(struct jj_run *r, struct jj_env *env, const struct jj_node *node)
{
    jv left = pn_jj_eval(r, env, node->u.list.first);
    for (size_t i = 0; i < node->u.list.items.n; i++) {
        jv right = pn_jj_eval(r, env, node->u.list.items.v[i]);
        if (!compare(r, node->u.list.ops[i], left, right))
            return jj_bool(false);
        left = right;
    }
    return jj_bool(true);
}

static jv eval_concat(struct jj_run *r, struct jj_env *env, const struct jj_node *node)
{
    struct jj_buf b = {.r = r};
    bool markup = false;
    size_t n = node->u.list.items.n;
    jv *parts = pn_jj_array(r, n, sizeof *parts);
    for (size_t i = 0; i < n; i++) {
        parts[i] = pn_jj_eval(r, env, node->u.list.items.v[i]);
        markup = markup || (r->autoescape && parts[i].t == JJ_STR && parts[i].u.s->markup);
    }
    for (size_t i = 0; i < n; i++)
        pn_jj_put_str(&b, markup ? pn_jj_escape(r, parts[i]) : parts[i]);
    jv out = pn_jj_buf_str(&b);
    out.u.s->markup = markup;
    return out;
}

static jv eval_items(struct jj_run *r, struct jj_env *env, const struct jj_node *node)
{
    const struct jj_nodes *items = &node->u.list.items;
    jv list = node->kind == JJ_N_TUPLE ? pn_jj_tuple(r, items->n) : pn_jj_list(r, items->n);
    for (size_t i = 0; i < items->n; i++)
        pn_jj_push(r, list, pn_jj_eval(r, env, items->v[i]));
    return list;
}

static jv eval_dict(struct jj_run *r, struct jj_env *env, const struct jj_node *node)
{
    const struct jj_nodes *items = &node->u.list.items;
    struct jj_dict *d = pn_jj_dict(r, items->n / 2);
    for (size_t i = 0; i + 1 < items->n; i += 2) {
        jv key = pn_jj_eval(r, env, items->v[i]);
        jv value = pn_jj_eval(r, env, items->v[i + 1]);
        pn_jj_dict_set(r, d, key, value);
    }
    return jj_dict_value(d);
}

static jv eval_cond(struct jj_run *r, struct jj_env *env, const struct jj_node *node)
{
    if (pn_jj_truth(r, pn_jj_eval(r, env, node->u.op.b)))
        return pn_jj_eval(r, env, node->u.op.a);
    if (node->u.op.c)
        return pn_jj_eval(r, env, node->u.op.c);
    return pn_jj_undefined_hint(r, pn_jj_sprintf(r,
                                                 "the inline if-expression on line %d evaluated to false and no else "
                                                 "section was defined.",
                                                 node->line));
}

static jv eval_optional(struct jj_run *r, struct jj_env *env, const struct jj_node *node)
{
    return node ? pn_jj_eval(r, env, node) : jj_none();
}

static jv eval_getitem(struct jj_run *r, struct jj_env *env, const struct jj_node *node)
{
    jv obj = pn_jj_eval(r, env, node->u.op.a);
    const struct jj_node *arg = node->u.op.b;
    if (arg->kind != JJ_N_SLICE)
        return pn_jj_getitem(r, obj, pn_jj_eval(r, env, arg));
    jv start = eval_optional(r, env, arg->u.op.a);
    jv stop = eval_optional(r, env, arg->u.op.b);
    jv step = eval_optional(r, env, arg->u.op.c);
    return pn_jj_slice(r, obj, start, stop, step);
}

/* ---- calls ---- */

static void add_keyword(struct jj_run *r, struct jj_arg **kw, size_t *n, size_t *cap, jv name, jv value)
{
    for (size_t i = 0; i < *n; i++)
        if ((*kw)[i].name->n == name.u.s->n && memcmp((*kw)[i].name->p, name.u.s->p, name.u.s->n) == 0)
            pn_jj_raise(r, "TypeError", "got multiple values for keyword argument '%.*s'", (int)name.u.s->n,
                        name.u.s->p);
    if (*n == *cap) {
        size_t grown = *cap ? *cap * 2 : 4;
        struct jj_arg *v = pn_jj_array(r, grown, sizeof *v);
        if (*n)
            memcpy(v, *kw, *n * sizeof *v);
        *kw = v;
        *cap = grown;
    }
    pn_jj_step(r, *n);
    (*kw)[(*n)++] = (struct jj_arg){.name = name.u.s, .value = value};
}

void pn_jj_eval_args(struct jj_run *r, struct jj_env *env, const struct jj_call_args *args, const struct jj_arg *extra,
                     struct jj_args *out)
{
    jv list = pn_jj_list(r, args->pos.n);
    struct jj_arg *kw = NULL;
    size_t n_kw = 0, cap = 0;
    for (size_t i = 0; i < args->pos.n; i++)
        pn_jj_push(r, list, pn_jj_eval(r, env, args->pos.v[i]));
    if (args->dyn_pos) {
        jv more = pn_jj_eval(r, env, args->dyn_pos), item;
        if (!pn_jj_iterable(more))
            pn_jj_raise(r, "TypeError", "Value after * must be an iterable, not %s", pn_jj_type_name(more));
        struct jj_iter *it = pn_jj_iter(r, more);
        while (pn_jj_next(r, it, &item))
            pn_jj_push(r, list, item);
    }
    for (size_t i = 0; i < args->kw_values.n; i++)
        add_keyword(r, &kw, &n_kw, &cap, args->kw_names[i], pn_jj_eval(r, env, args->kw_values.v[i]));
    if (extra)
        add_keyword(r, &kw, &n_kw, &cap, pn_jj_str(r, extra->name->p, extra->name->n), extra->value);
    if (args->dyn_kw) {
        jv more = pn_jj_eval(r, env, args->dyn_kw);
        if (more.t != JJ_DICT)
            pn_jj_raise(r, "TypeError",
                        "jinja2.sandbox.SandboxedEnvironment.call() argument after ** must be a mapping, not %s",
                        pn_jj_type_name(more));
        for (size_t i = 0; i < more.u.dict->n; i++) {
            if (more.u.dict->e[i].key.t != JJ_STR)
                pn_jj_raise(r, "TypeError", "keywords must be strings");
            add_keyword(r, &kw, &n_kw, &cap, more.u.dict->e[i].key, more.u.dict->e[i].value);
        }
    }
    *out = (struct jj_args){.pos = list.u.seq->v, .n_pos = list.u.seq->n, .kw = kw, .n_kw = n_kw};
}

static jv eval_call(struct jj_run *r, struct jj_env *env, const struct jj_node *node)
{
    struct jj_args args;
    jv fn = pn_jj_eval(r, env, node->u.call.fn);
    pn_jj_eval_args(r, env, &node->u.call.args, NULL, &args);
    return pn_jj_call(r, fn, &args);
}

jv pn_jj_call(struct jj_run *r, jv f, const struct jj_args *args)
{
    jv result;
    pn_jj_step(r, 1);
    pn_jj_enter(r);
    switch (f.t) {
    case JJ_METHOD:
        if (f.u.method->self.t == JJ_STR)
            pn_jj_step(r, f.u.method->self.u.s->n / 64);
        result = f.u.method->def->call(r, f.u.method->self, args);
        break;
    case JJ_FUNC:
        result = f.u.func->call(r, args);
        break;
    case JJ_MACRO:
        result = r->calls->macro(r, f.u.macro, args);
        break;
    case JJ_LOOP:
        if (args->n_pos != 1 || args->n_kw)
            pn_jj_raise(r, "TypeError", "LoopContext.__call__() takes 2 positional arguments but %zu were given",
                        args->n_pos + 1);
        result = r->calls->loop(r, f.u.loop, args->pos[0]);
        break;
    case JJ_JOINER:
        result = f.u.joiner->used ? f.u.joiner->sep : pn_jj_cstr(r, "");
        f.u.joiner->used = true;
        break;
    case JJ_BLOCK:
        result = r->calls->block(r, f.u.block->def);
        break;
    case JJ_UNDEFINED:
        pn_jj_raise_undefined(r, f);
    default:
        pn_jj_raise(r, "TypeError", "'%s' object is not callable", pn_jj_type_name(f));
    }
    pn_jj_leave(r);
    return result;
}

/* ---- filters and tests ---- */

static jv apply(struct jj_run *r, struct jj_env *env, const struct jj_node *node, const jv *base)
{
    const struct jj_node *input = node->u.filter.input;
    struct jj_args args;
    jv value = !input                               ? *base
               : base && input->kind == JJ_N_FILTER ? apply(r, env, input, base)
                                                    : pn_jj_eval(r, env, input);
    pn_jj_eval_args(r, env, &node->u.filter.args, NULL, &args);
    pn_jj_step(r, 1);
    if (node->u.filter.filter)
        return node->u.filter.filter->fn(r, value, &args);
    if (node->u.filter.test)
        return jj_bool(node->u.filter.test->fn(r, value, &args));
    pn_jj_raise(r, "TemplateRuntimeError", "No %s named %s found.", node->kind == JJ_N_FILTER ? "filter" : "test",
                pn_jj_repr(r, node->u.filter.name));
}

jv pn_jj_apply(struct jj_run *r, struct jj_env *env, const struct jj_node *node, jv value)
{
    return apply(r, env, node, &value);
}

static jv eval_name(struct jj_run *r, struct jj_env *env, const struct jj_node *node)
{
    jv v = *jj_slot(env, node->u.name.ref);
    return v.t == JJ_MISSING ? pn_jj_undefined_name(r, node->u.name.name) : v;
}

jv pn_jj_eval(struct jj_run *r, struct jj_env *env, const struct jj_node *node)
{
    jv v;
    pn_jj_step(r, 1);
    if (node->kind == JJ_N_CONST)
        return node->u.value;
    if (node->kind == JJ_N_NAME)
        return eval_name(r, env, node);
    jj_check_stack(r);
    switch (node->kind) {
    case JJ_N_TUPLE:
    case JJ_N_LISTEXPR:
        v = eval_items(r, env, node);
        break;
    case JJ_N_DICTEXPR:
        v = eval_dict(r, env, node);
        break;
    case JJ_N_BINARY:
        v = eval_binary(r, env, node);
        break;
    case JJ_N_UNARY:
        v = pn_jj_unary(r, node->u.op.op, pn_jj_eval(r, env, node->u.op.a));
        break;
    case JJ_N_NOT:
        v = jj_bool(!pn_jj_truth(r, pn_jj_eval(r, env, node->u.op.a)));
        break;
    case JJ_N_AND:
    case JJ_N_OR:
        v = eval_and_or(r, env, node);
        break;
    case JJ_N_COMPARE:
        v = eval_compare(r, env, node);
        break;
    case JJ_N_CONCAT:
        v = eval_concat(r, env, node);
        break;
    case JJ_N_COND:
        v = eval_cond(r, env, node);
        break;
    case JJ_N_GETATTR:
        v = pn_jj_getattr(r, pn_jj_eval(r, env, node->u.attr.obj), node->u.attr.name.u.s);
        break;
    case JJ_N_GETITEM:
        v = eval_getitem(r, env, node);
        break;
    case JJ_N_CALL:
        v = eval_call(r, env, node);
        break;
    case JJ_N_FILTER:
    case JJ_N_TEST:
        v = apply(r, env, node, NULL);
        break;
    default: /* a statement: the parser puts none here */
        v = jj_none();
    }
    return v;
}
