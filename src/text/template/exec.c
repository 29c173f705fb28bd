/* Statements: output, loops, macros, blocks. scope.c has laid out the scopes. */
#include "text/template/ast.h"

#include <string.h>

struct jj_env *pn_jj_new_env(struct jj_run *r, const struct jj_function *fn, struct jj_env *parent)
{
    struct jj_env *env = pn_jj_alloc(r, sizeof *env + fn->n_slots * sizeof(jv));
    env->parent = parent; /* zeroed slots are JJ_MISSING */
    return env;
}

static jv resolve(struct jj_run *r, jv name)
{
    jv *v = pn_jj_dict_get(r, r->vars, name);
    if (!v)
        v = pn_jj_dict_get(r, r->globals, name);
    if (v)
        return *v;
    const struct jj_func *fn = pn_jj_find_global(name.u.s->p, name.u.s->n);
    return fn ? (jv){.t = JJ_FUNC, .u.func = fn} : (jv){.t = JJ_MISSING};
}

void pn_jj_enter_scope(struct jj_run *r, struct jj_env *env, const struct jj_loads *loads)
{
    for (size_t i = 0; i < loads->n; i++) {
        const struct jj_load *load = &loads->v[i];
        jv *to = jj_slot(env, load->to);
        if (load->action == JJ_LOAD_RESOLVE)
            *to = resolve(r, load->name);
        else if (load->action == JJ_LOAD_ALIAS)
            *to = *jj_slot(env, load->from);
        else
            *to = (jv){.t = JJ_MISSING};
    }
    pn_jj_step(r, loads->n);
}

/* ---- assignment ---- */

static void assign(struct jj_run *r, struct jj_env *env, const struct jj_node *target, jv value);

static void unpack(struct jj_run *r, struct jj_env *env, const struct jj_nodes *targets, jv value)
{
    jv item;
    if (!pn_jj_iterable(value))
        pn_jj_raise(r, "TypeError", "cannot unpack non-iterable %s object", pn_jj_type_name(value));
    struct jj_iter *it = pn_jj_iter(r, value);
    jv *items = pn_jj_array(r, targets->n + 1, sizeof *items);
    for (size_t i = 0; i < targets->n; i++)
        if (!pn_jj_next(r, it, &items[i]))
            pn_jj_raise(r, "ValueError", "not enough values to unpack (expected %zu, got %zu)", targets->n, i);
    if (pn_jj_next(r, it, &item))
        pn_jj_raise(r, "ValueError", "too many values to unpack (expected %zu)", targets->n);
    for (size_t i = 0; i < targets->n; i++)
        assign(r, env, targets->v[i], items[i]);
}

static void assign(struct jj_run *r, struct jj_env *env, const struct jj_node *target, jv value)
{
    if (target->kind == JJ_N_TUPLE) {
        unpack(r, env, &target->u.list.items, value);
        return;
    }
    jv *slot = jj_slot(env, target->u.name.ref);
    if (target->kind == JJ_N_NSREF) {
        pn_jj_dict_set(r, slot->u.ns->attrs, target->u.name.attr, value);
        return;
    }
    *slot = value;
    if (target->u.name.export)
        pn_jj_dict_set(r, r->vars, target->u.name.name, value);
}

/* `ns.x = ...` needs a namespace; this is checked before the right side is evaluated. */
static void check_namespaces(struct jj_run *r, struct jj_env *env, const struct jj_node *target)
{
    if (target->kind == JJ_N_NSREF && jj_slot(env, target->u.name.ref)->t != JJ_NAMESPACE)
        pn_jj_raise(r, "TemplateRuntimeError", "cannot assign attribute on non-namespace object");
    if (target->kind == JJ_N_TUPLE)
        for (size_t i = 0; i < target->u.list.items.n; i++)
            check_namespaces(r, env, target->u.list.items.v[i]);
}

/* ---- output ---- */

static void output(struct jj_run *r, jv value)
{
    pn_jj_put_str(r->out, r->autoescape ? pn_jj_escape(r, value) : value);
}

/* For places where jinja2 joins without str(). */
static void output_text(struct jj_run *r, jv value)
{
    if (value.t != JJ_STR)
        pn_jj_raise(r, "TypeError", "sequence item 0: expected str instance, %s found", pn_jj_type_name(value));
    pn_jj_put_str(r->out, value);
}

/* Runs a body and returns what it printed. */
static jv capture(struct jj_run *r, struct jj_env *env, const struct jj_nodes *body, enum jj_flow *flow)
{
    struct jj_buf buf = {.r = r}, *outer = r->out;
    r->out = &buf;
    enum jj_flow f = pn_jj_exec(r, env, body);
    r->out = outer;
    if (flow)
        *flow = f;
    jv text = pn_jj_buf_str(&buf);
    text.u.s->markup = r->autoescape;
    return text;
}

/* ---- loops ---- */

struct loop_filter {
    const struct jj_for *def;
    struct jj_env *env;
    struct jj_iter *it;
};

/* The values of a filtered loop's target, as jinja2's generator yields them. */
static jv target_value(struct jj_run *r, struct jj_env *env, const struct jj_node *target)
{
    if (target->kind != JJ_N_TUPLE)
        return *jj_slot(env, target->u.name.ref);
    jv tuple = pn_jj_tuple(r, target->u.list.items.n);
    for (size_t i = 0; i < target->u.list.items.n; i++)
        pn_jj_push(r, tuple, target_value(r, env, target->u.list.items.v[i]));
    return tuple;
}

static bool next_filtered(struct jj_run *r, struct jj_iter *it, jv *out)
{
    struct loop_filter *f = it->state;
    if (!f->it)
        f->it = pn_jj_iter(r, it->src);
    while (pn_jj_next(r, f->it, out)) {
        assign(r, f->env, f->def->test_target, *out);
        if (pn_jj_truth(r, pn_jj_eval(r, f->env, f->def->test))) {
            *out = target_value(r, f->env, f->def->test_target);
            return true;
        }
    }
    return false;
}

static jv filtered(struct jj_run *r, struct jj_env *env, const struct jj_for *def, jv iterable)
{
    struct loop_filter *f = pn_jj_alloc(r, sizeof *f);
    f->def = def;
    f->env = pn_jj_new_env(r, def->test_fn, env);
    pn_jj_enter_scope(r, f->env, &def->test_loads);
    return pn_jj_generator(r, "t_1", iterable, f, next_filtered);
}

static bool loop_next(struct jj_run *r, struct jj_loop *loop, jv *item)
{
    if (loop->after.t != JJ_MISSING) {
        *item = loop->after;
        loop->after = (jv){.t = JJ_MISSING};
    } else if (!pn_jj_next(r, loop->it, item)) {
        return false;
    }
    loop->index0++;
    loop->before = loop->current;
    loop->current = *item;
    return true;
}

/* Runs the loop; `env` is where the body's variables live. */
static enum jj_flow run_loop(struct jj_run *r, struct jj_env *env, const struct jj_for *def, jv iterable,
                             int64_t depth0)
{
    struct jj_loop *loop = NULL;
    jv item;
    bool empty = true;
    struct jj_iter *it = pn_jj_iter(r, iterable);
    if (def->extended) {
        loop = pn_jj_alloc(r, sizeof *loop);
        *loop = (struct jj_loop){.it = it, .iterable = iterable, .index0 = -1, .length = -1, .depth0 = depth0};
        loop->def = def->recursive ? def : NULL;
        loop->env = env;
    }
    while (loop ? loop_next(r, loop, &item) : pn_jj_next(r, it, &item)) {
        assign(r, env, def->target, item);
        if (loop)
            *jj_slot(env, def->loop) = (jv){.t = JJ_LOOP, .u.loop = loop};
        pn_jj_enter_scope(r, env, &def->body_loads);
        enum jj_flow flow = pn_jj_exec(r, env, &def->body);
        if (flow == JJ_FLOW_BREAK)
            break;
        if (flow == JJ_FLOW_NEXT) /* to jinja2 a loop whose every round ended with continue did not run */
            empty = false;
    }
    if (!empty || !def->has_else)
        return JJ_FLOW_NEXT;
    pn_jj_enter_scope(r, env, &def->else_loads);
    return pn_jj_exec(r, env, &def->otherwise);
}

static jv recursive_loop(struct jj_run *r, struct jj_env *outer, const struct jj_for *def, jv iterable, int64_t depth0)
{
    struct jj_env *env = pn_jj_new_env(r, def->fn, outer);
    struct jj_buf buf = {.r = r}, *saved = r->out;
    if (def->test)
        iterable = filtered(r, outer, def, iterable);
    r->out = &buf;
    run_loop(r, env, def, iterable, depth0);
    r->out = saved;
    jv text = pn_jj_buf_str(&buf);
    text.u.s->markup = r->autoescape;
    return text;
}

jv pn_jj_call_loop(struct jj_run *r, const struct jj_loop *loop, jv iterable)
{
    if (!loop->def)
        pn_jj_raise(r, "TypeError", "The loop must have the 'recursive' marker to be called recursively.");
    return recursive_loop(r, loop->env->parent, loop->def, iterable, loop->depth0 + 1);
}

static enum jj_flow exec_for(struct jj_run *r, struct jj_env *env, const struct jj_node *node)
{
    const struct jj_for *def = &node->u.loop;
    jv iterable = pn_jj_eval(r, env, def->iter);
    if (def->recursive) {
        output_text(r, recursive_loop(r, env, def, iterable, 0));
        return JJ_FLOW_NEXT;
    }
    if (def->test)
        iterable = filtered(r, env, def, iterable);
    return run_loop(r, env, def, iterable, 0);
}

/* ---- macros ---- */

static jv new_macro(struct jj_run *r, struct jj_env *env, const struct jj_macro_def *def)
{
    struct jj_macro *macro = pn_jj_alloc(r, sizeof *macro);
    *macro = (struct jj_macro){.def = def, .env = env};
    return (jv){.t = JJ_MACRO, .u.macro = macro};
}

static const char *macro_name(struct jj_run *r, const struct jj_macro_def *def)
{
    return pn_jj_repr(r, def->name);
}

/* Index of a keyword, n_kw if it is missing. `used`: keywords that are bound to a parameter. */
static size_t find_keyword(const struct jj_args *args, const bool *used, const char *p, size_t n)
{
    for (size_t i = 0; i < args->n_kw; i++)
        if (!used[i] && args->kw[i].name->n == n && memcmp(args->kw[i].name->p, p, n) == 0)
            return i;
    return args->n_kw;
}

static jv caller_argument(struct jj_run *r, const struct jj_args *args, bool *used)
{
    size_t at = find_keyword(args, used, "caller", 6);
    if (at == args->n_kw)
        return pn_jj_undefined_hint(r, "No caller defined");
    used[at] = true;
    return args->kw[at].value.t == JJ_NONE ? pn_jj_undefined_hint(r, "No caller defined") : args->kw[at].value;
}

/* Fills the parameters from the arguments; the rest goes to kwargs and varargs, or is an error. */
static void bind_macro(struct jj_run *r, const struct jj_macro_def *def, struct jj_env *env, const struct jj_args *args)
{
    size_t n = def->sig.params.n;
    bool *used = pn_jj_array(r, args->n_kw + 1, sizeof *used), found_caller = args->n_pos >= n && def->explicit_caller;
    for (size_t i = 0; i < n; i++) {
        jv name = def->sig.params.v[i]->u.name.name;
        jv *slot = jj_slot(env, def->sig.params.v[i]->u.name.ref);
        if (i < args->n_pos) {
            *slot = args->pos[i];
            continue;
        }
        size_t at = find_keyword(args, used, name.u.s->p, name.u.s->n);
        if (at < args->n_kw) {
            used[at] = true;
            *slot = args->kw[at].value;
        }
        found_caller = found_caller || pn_jj_is(name, "caller");
    }
    pn_jj_step(r, n * (args->n_kw + 1));
    if (def->has_caller && !found_caller) {
        jv caller = caller_argument(r, args, used);
        if (!def->explicit_caller)
            *jj_slot(env, def->caller) = caller;
    }
    struct jj_dict *rest = def->has_kwargs ? pn_jj_dict(r, args->n_kw) : NULL;
    for (size_t i = 0; i < args->n_kw; i++) {
        if (used[i])
            continue;
        jv name = pn_jj_str(r, args->kw[i].name->p, args->kw[i].name->n);
        if (rest) {
            pn_jj_dict_set(r, rest, name, args->kw[i].value);
        } else if (find_keyword(args, used, "caller", 6) < args->n_kw) {
            pn_jj_raise(r, "TypeError",
                        "macro %s was invoked with two values for the special caller argument. This is most likely a "
                        "bug.",
                        macro_name(r, def));
        } else {
            pn_jj_raise(r, "TypeError", "macro %s takes no keyword argument %s", macro_name(r, def),
                        pn_jj_repr(r, name));
        }
    }
    if (rest)
        *jj_slot(env, def->kwargs) = jj_dict_value(rest);
    if (def->has_varargs) {
        jv more = pn_jj_tuple(r, args->n_pos > n ? args->n_pos - n : 0);
        for (size_t i = n; i < args->n_pos; i++)
            pn_jj_push(r, more, args->pos[i]);
        *jj_slot(env, def->varargs) = more;
    } else if (args->n_pos > n) {
        pn_jj_raise(r, "TypeError", "macro %s takes not more than %zu argument(s)", macro_name(r, def), n);
    }
}

jv pn_jj_call_macro(struct jj_run *r, const struct jj_macro *macro, const struct jj_args *args)
{
    const struct jj_macro_def *def = macro->def;
    struct jj_env *env = pn_jj_new_env(r, def->fn, macro->env);
    bind_macro(r, def, env, args);
    pn_jj_enter_scope(r, env, &def->loads);
    for (size_t i = 0; i < def->sig.params.n; i++) {
        const struct jj_node *param = def->sig.params.v[i];
        jv *slot = jj_slot(env, param->u.name.ref);
        if (slot->t != JJ_MISSING)
            continue;
        size_t missing_defaults = def->sig.params.n - def->sig.defaults.n;
        if (i >= missing_defaults)
            *slot = pn_jj_eval(r, env, def->sig.defaults.v[i - missing_defaults]);
        else
            *slot = pn_jj_undefined_hint(
                r, pn_jj_sprintf(r, "parameter %s was not provided", pn_jj_repr(r, param->u.name.name)));
    }
    return capture(r, env, &def->body, NULL);
}

static void exec_call_block(struct jj_run *r, struct jj_env *env, const struct jj_node *node)
{
    static const struct jj_str caller_name = {.p = "caller", .n = 6, .chars = 6};
    const struct jj_args none = {0};
    jv caller = new_macro(r, env, &node->u.callblock.def), fn;
    const struct jj_node *call = node->u.callblock.call;
    if (!call) {
        output_text(r, pn_jj_call(r, caller, &none));
        return;
    }
    struct jj_arg extra = {.name = &caller_name, .value = caller};
    struct jj_args args;
    fn = pn_jj_eval(r, env, call->u.call.fn);
    pn_jj_eval_args(r, env, &call->u.call.args, &extra, &args);
    output_text(r, pn_jj_call(r, fn, &args));
}

/* ---- blocks ---- */

static void run_block(struct jj_run *r, const struct jj_block_def *def)
{
    struct jj_env *env = pn_jj_new_env(r, def->fn, NULL);
    if (def->uses_self)
        *jj_slot(env, def->self) = (jv){.t = JJ_SELF};
    if (def->uses_super)
        *jj_slot(env, def->super) =
            pn_jj_undefined_hint(r, pn_jj_sprintf(r, "there is no parent block called %s.", pn_jj_repr(r, def->name)));
    pn_jj_enter(r);
    pn_jj_enter_scope(r, env, &def->loads);
    pn_jj_exec(r, env, &def->body);
    pn_jj_leave(r);
}

jv pn_jj_call_block(struct jj_run *r, const struct jj_block_def *def)
{
    struct jj_buf buf = {.r = r}, *outer = r->out;
    r->out = &buf;
    run_block(r, def);
    r->out = outer;
    jv text = pn_jj_buf_str(&buf);
    text.u.s->markup = r->autoescape;
    return text;
}

static void exec_block(struct jj_run *r, struct jj_env *env, const struct jj_block_def *def)
{
    if (def->required)
        pn_jj_raise(r, "TemplateRuntimeError", "Required block %s not found", pn_jj_repr(r, def->name));
    struct jj_dict *outer = r->vars;
    if (def->scoped) {
        r->vars = pn_jj_dict(r, outer->n);
        for (size_t i = 0; i < outer->n; i++)
            pn_jj_dict_set(r, r->vars, outer->e[i].key, outer->e[i].value);
        for (size_t i = 0; i < def->n_locals; i++) {
            jv v = *jj_slot(env, def->locals[i].ref);
            if (v.t != JJ_MISSING)
                pn_jj_dict_set(r, r->vars, def->locals[i].name, v);
        }
    }
    run_block(r, def);
    r->vars = outer;
}

/* ---- the rest ---- */

static enum jj_flow exec_if(struct jj_run *r, struct jj_env *env, const struct jj_node *node)
{
    const struct jj_node *branch = node;
    for (size_t i = 0;; i++) {
        if (!branch->u.cond.test || pn_jj_truth(r, pn_jj_eval(r, env, branch->u.cond.test)))
            return pn_jj_exec(r, env, &branch->u.cond.body);
        if (i == node->u.cond.more.n)
            return JJ_FLOW_NEXT;
        branch = node->u.cond.more.v[i];
    }
}

static enum jj_flow exec_set_block(struct jj_run *r, struct jj_env *env, const struct jj_node *node)
{
    enum jj_flow flow;
    pn_jj_enter_scope(r, env, &node->u.set.loads);
    jv text = capture(r, env, &node->u.set.body, &flow);
    if (flow != JJ_FLOW_NEXT)
        return flow;
    if (node->u.set.value)
        text = pn_jj_apply(r, env, node->u.set.value, text);
    check_namespaces(r, env, node->u.set.target);
    assign(r, env, node->u.set.target, text);
    return JJ_FLOW_NEXT;
}

static enum jj_flow exec_scope(struct jj_run *r, struct jj_env *env, const struct jj_node *node)
{
    enum jj_flow flow;
    bool autoescape = r->autoescape;
    pn_jj_enter_scope(r, env, &node->u.scope.loads);
    if (node->kind == JJ_N_AUTOESCAPE) {
        r->autoescape = pn_jj_truth(r, pn_jj_eval(r, env, node->u.scope.filter));
        flow = pn_jj_exec(r, env, &node->u.scope.body);
        r->autoescape = autoescape;
    } else if (node->kind == JJ_N_FILTERBLOCK) {
        jv text = capture(r, env, &node->u.scope.body, &flow);
        if (flow == JJ_FLOW_NEXT)
            output_text(r, pn_jj_apply(r, env, node->u.scope.filter, text));
    } else {
        for (size_t i = 0; i < node->u.scope.targets.n; i++)
            assign(r, env, node->u.scope.targets.v[i], pn_jj_eval(r, env, node->u.scope.values.v[i]));
        flow = pn_jj_exec(r, env, &node->u.scope.body);
    }
    return flow;
}

static enum jj_flow exec_one(struct jj_run *r, struct jj_env *env, const struct jj_node *node)
{
    switch (node->kind) {
    case JJ_N_DATA:
        pn_jj_put(r->out, node->u.value.u.s->p, node->u.value.u.s->n);
        break;
    case JJ_N_OUTPUT:
        for (size_t i = 0; i < node->u.list.items.n; i++)
            output(r, pn_jj_eval(r, env, node->u.list.items.v[i]));
        break;
    case JJ_N_IF:
        return exec_if(r, env, node);
    case JJ_N_FOR:
        return exec_for(r, env, node);
    case JJ_N_SET:
        check_namespaces(r, env, node->u.set.target);
        assign(r, env, node->u.set.target, pn_jj_eval(r, env, node->u.set.value));
        break;
    case JJ_N_SETBLOCK:
        return exec_set_block(r, env, node);
    case JJ_N_WITH:
    case JJ_N_FILTERBLOCK:
    case JJ_N_AUTOESCAPE:
        return exec_scope(r, env, node);
    case JJ_N_MACRO: {
        jv macro = new_macro(r, env, &node->u.macro.def);
        *jj_slot(env, node->u.macro.ref) = macro;
        if (node->u.macro.export)
            pn_jj_dict_set(r, r->vars, node->u.macro.def.name, macro);
        break;
    }
    case JJ_N_CALLBLOCK:
        exec_call_block(r, env, node);
        break;
    case JJ_N_BLOCKDEF:
        exec_block(r, env, node->u.block);
        break;
    case JJ_N_LOADER:
        pn_jj_eval(r, env, node->u.loader.template);
        pn_jj_raise(r, "TypeError", "no loader for this environment specified");
    case JJ_N_BREAK:
        return JJ_FLOW_BREAK;
    case JJ_N_CONTINUE:
        return JJ_FLOW_CONTINUE;
    default:
        break;
    }
    return JJ_FLOW_NEXT;
}

enum jj_flow pn_jj_exec(struct jj_run *r, struct jj_env *env, const struct jj_nodes *body)
{
    enum jj_flow flow = JJ_FLOW_NEXT;
    jj_check_stack(r);
    for (size_t i = 0; i < body->n && flow == JJ_FLOW_NEXT; i++) {
        pn_jj_step(r, 1);
        flow = exec_one(r, env, body->v[i]);
    }
    return flow;
}
