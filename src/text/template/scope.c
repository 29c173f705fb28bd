/* The place of every variable, decided once after parsing.
 *
 * jinja2 translates a template to Python and so has Python's rules. Functions there (macros, call blocks, recursive
 * loops, filters of loops, blocks) have their own variables and see those of the functions around them by reference;
 * loops, `with` and filter blocks are scopes inside a function. A variable that a scope reads and no outer scope has
 * named comes from the context when the scope is entered; a variable that it sets starts as a copy of the outer one.
 * This pass makes the same decisions: a scope is a `symbols`, and entering it performs its `loads`. */
#include "text/template/ast.h"

#include <stdio.h>
#include <string.h>

/* A variable of a function. Its name in jinja2 is l_LEVEL_NAME: sibling scopes share it. */
struct ident {
    struct function_info *fn;
    uint32_t slot;
};

struct function_info {
    struct jj_function *fn;
    struct jj_dict *idents; /* "level name" -> number in resolver.idents */
};

struct symbols {
    struct symbols *parent;
    int level;
    struct function_info *fn;
    struct jj_dict *refs;   /* name -> ident */
    struct jj_dict *loads;  /* ident -> name: resolve; int: alias of that ident; None: missing; True: parameter */
    struct jj_dict *stores; /* names */
};

/* A scope while its code is visited. */
struct frame {
    struct symbols *sym;
    bool toplevel, soft;
};

struct resolver {
    struct jj_run *r;
    struct pn_template *t;
    struct ident *idents;
    size_t n_idents, cap_idents;
};

/* ---- symbols ---- */

static struct function_info *new_function(struct resolver *rs, struct function_info *parent)
{
    struct function_info *info = pn_jj_alloc(rs->r, sizeof *info);
    info->fn = pn_jj_alloc(rs->r, sizeof *info->fn);
    info->fn->parent = parent ? parent->fn : NULL;
    info->fn->depth = parent ? parent->fn->depth + 1 : 0;
    info->idents = pn_jj_dict(rs->r, 0);
    return info;
}

static struct symbols *new_symbols(struct resolver *rs, struct symbols *parent, struct function_info *fn)
{
    struct symbols *sym = pn_jj_alloc(rs->r, sizeof *sym);
    *sym = (struct symbols){.parent = parent, .level = parent ? parent->level + 1 : 0, .fn = fn};
    sym->refs = pn_jj_dict(rs->r, 0);
    sym->loads = pn_jj_dict(rs->r, 0);
    sym->stores = pn_jj_dict(rs->r, 0);
    return sym;
}

static void update(struct resolver *rs, struct jj_dict *to, const struct jj_dict *from)
{
    for (size_t i = 0; i < from->n; i++)
        pn_jj_dict_set(rs->r, to, from->e[i].key, from->e[i].value);
    pn_jj_step(rs->r, from->n);
}

static struct symbols *copy_symbols(struct resolver *rs, const struct symbols *sym)
{
    struct symbols *copy = new_symbols(rs, sym->parent, sym->fn);
    copy->level = sym->level;
    update(rs, copy->refs, sym->refs);
    update(rs, copy->loads, sym->loads);
    update(rs, copy->stores, sym->stores);
    return copy;
}

static int64_t find_ref(struct resolver *rs, const struct symbols *sym, jv name)
{
    for (; sym; sym = sym->parent) {
        jv *ident = pn_jj_dict_get(rs->r, sym->refs, name);
        if (ident)
            return ident->u.i;
    }
    return -1;
}

static int64_t define_ref(struct resolver *rs, struct symbols *sym, jv name, jv load)
{
    const char *text = pn_jj_sprintf(rs->r, "%d %.*s", sym->level, (int)name.u.s->n, name.u.s->p);
    jv key = pn_jj_cstr(rs->r, text);
    jv *known = pn_jj_dict_get(rs->r, sym->fn->idents, key);
    int64_t ident = known ? known->u.i : (int64_t)rs->n_idents;
    if (!known) {
        if (rs->n_idents == rs->cap_idents) {
            size_t cap = rs->cap_idents ? rs->cap_idents * 2 : 64;
            struct ident *grown = pn_jj_array(rs->r, cap, sizeof *grown);
            if (rs->n_idents)
                memcpy(grown, rs->idents, rs->n_idents * sizeof *grown);
            rs->idents = grown;
            rs->cap_idents = cap;
        }
        rs->idents[rs->n_idents++] = (struct ident){.fn = sym->fn, .slot = sym->fn->fn->n_slots++};
        pn_jj_dict_set(rs->r, sym->fn->idents, key, jj_int(ident));
    }
    pn_jj_dict_set(rs->r, sym->refs, name, jj_int(ident));
    pn_jj_dict_set(rs->r, sym->loads, jj_int(ident), load);
    return ident;
}

static void declare_parameter(struct resolver *rs, struct symbols *sym, jv name)
{
    pn_jj_dict_set(rs->r, sym->stores, name, jj_none());
    define_ref(rs, sym, name, jj_bool(true));
}

static void load_name(struct resolver *rs, struct symbols *sym, jv name)
{
    if (find_ref(rs, sym, name) < 0)
        define_ref(rs, sym, name, name);
}

static void store_name(struct resolver *rs, struct symbols *sym, jv name)
{
    pn_jj_dict_set(rs->r, sym->stores, name, jj_none());
    if (pn_jj_dict_get(rs->r, sym->refs, name))
        return;
    int64_t outer = find_ref(rs, sym->parent, name);
    define_ref(rs, sym, name, outer >= 0 ? jj_int(outer) : jj_none());
}

/* After the branches of an `if`: a variable that one of them sets may also keep its old value. */
static void merge_branches(struct resolver *rs, struct symbols *sym, struct symbols *const *branch, size_t n)
{
    struct jj_dict *stores = pn_jj_dict(rs->r, 0);
    for (size_t b = 0; b < n; b++)
        for (size_t i = 0; i < branch[b]->stores->n; i++)
            if (!pn_jj_dict_get(rs->r, sym->stores, branch[b]->stores->e[i].key))
                pn_jj_dict_set(rs->r, stores, branch[b]->stores->e[i].key, jj_none());
    for (size_t b = 0; b < n; b++) {
        update(rs, sym->refs, branch[b]->refs);
        update(rs, sym->loads, branch[b]->loads);
        update(rs, sym->stores, branch[b]->stores);
    }
    for (size_t i = 0; i < stores->n; i++) {
        jv name = stores->e[i].key;
        int64_t outer = find_ref(rs, sym->parent, name);
        pn_jj_dict_set(rs->r, sym->loads, jj_int(find_ref(rs, sym, name)), outer >= 0 ? jj_int(outer) : name);
    }
}

/* ---- the children of a node, in the order of jinja2's fields ---- */

typedef void child_fn(struct resolver *rs, struct jj_node *child, void *data);

static void each(struct resolver *rs, const struct jj_nodes *nodes, child_fn *fn, void *data)
{
    for (size_t i = 0; i < nodes->n; i++)
        fn(rs, nodes->v[i], data);
}

static void maybe(struct resolver *rs, struct jj_node *node, child_fn *fn, void *data)
{
    if (node)
        fn(rs, node, data);
}

static void each_arg(struct resolver *rs, const struct jj_call_args *args, child_fn *fn, void *data)
{
    each(rs, &args->pos, fn, data);
    each(rs, &args->kw_values, fn, data);
    maybe(rs, args->dyn_pos, fn, data);
    maybe(rs, args->dyn_kw, fn, data);
}

static void each_of_macro(struct resolver *rs, const struct jj_macro_def *def, child_fn *fn, void *data)
{
    each(rs, &def->sig.params, fn, data);
    each(rs, &def->sig.defaults, fn, data);
    each(rs, &def->body, fn, data);
}

/* The operands of an expression. False: the node is a statement. */
static bool each_operand(struct resolver *rs, struct jj_node *node, child_fn *fn, void *data)
{
    switch (node->kind) {
    case JJ_N_CONST:
    case JJ_N_NAME:
    case JJ_N_NSREF:
        return true;
    case JJ_N_COND:
        fn(rs, node->u.op.b, data);
        fn(rs, node->u.op.a, data);
        maybe(rs, node->u.op.c, fn, data);
        return true;
    case JJ_N_BINARY:
    case JJ_N_UNARY:
    case JJ_N_NOT:
    case JJ_N_AND:
    case JJ_N_OR:
    case JJ_N_GETITEM:
    case JJ_N_SLICE:
        maybe(rs, node->u.op.a, fn, data);
        maybe(rs, node->u.op.b, fn, data);
        maybe(rs, node->u.op.c, fn, data);
        return true;
    case JJ_N_TUPLE:
    case JJ_N_LISTEXPR:
    case JJ_N_DICTEXPR:
    case JJ_N_COMPARE:
    case JJ_N_CONCAT:
        maybe(rs, node->u.list.first, fn, data);
        each(rs, &node->u.list.items, fn, data);
        return true;
    case JJ_N_GETATTR:
        fn(rs, node->u.attr.obj, data);
        return true;
    case JJ_N_CALL:
        fn(rs, node->u.call.fn, data);
        each_arg(rs, &node->u.call.args, fn, data);
        return true;
    case JJ_N_FILTER:
    case JJ_N_TEST:
        maybe(rs, node->u.filter.input, fn, data);
        each_arg(rs, &node->u.filter.args, fn, data);
        return true;
    default:
        return false;
    }
}

static void each_child(struct resolver *rs, struct jj_node *node, child_fn *fn, void *data)
{
    if (each_operand(rs, node, fn, data))
        return;
    switch (node->kind) {
    case JJ_N_OUTPUT:
        each(rs, &node->u.list.items, fn, data);
        break;
    case JJ_N_IF:
        maybe(rs, node->u.cond.test, fn, data);
        each(rs, &node->u.cond.body, fn, data);
        each(rs, &node->u.cond.more, fn, data);
        break;
    case JJ_N_FOR:
        fn(rs, node->u.loop.target, data);
        fn(rs, node->u.loop.iter, data);
        each(rs, &node->u.loop.body, fn, data);
        each(rs, &node->u.loop.otherwise, fn, data);
        maybe(rs, node->u.loop.test, fn, data);
        break;
    case JJ_N_SET:
    case JJ_N_SETBLOCK:
        fn(rs, node->u.set.target, data);
        maybe(rs, node->u.set.value, fn, data);
        each(rs, &node->u.set.body, fn, data);
        break;
    case JJ_N_WITH:
    case JJ_N_AUTOESCAPE:
        each(rs, &node->u.scope.targets, fn, data);
        each(rs, &node->u.scope.values, fn, data);
        maybe(rs, node->u.scope.filter, fn, data);
        each(rs, &node->u.scope.body, fn, data);
        break;
    case JJ_N_FILTERBLOCK:
        each(rs, &node->u.scope.body, fn, data);
        fn(rs, node->u.scope.filter, data);
        break;
    case JJ_N_MACRO:
        each_of_macro(rs, &node->u.macro.def, fn, data);
        break;
    case JJ_N_CALLBLOCK:
        maybe(rs, node->u.callblock.call, fn, data);
        each_of_macro(rs, &node->u.callblock.def, fn, data);
        break;
    case JJ_N_BLOCKDEF:
        each(rs, &node->u.block->body, fn, data);
        break;
    case JJ_N_LOADER:
        fn(rs, node->u.loader.template, data);
        break;
    default: /* text, break, continue */
        break;
    }
}

/* ---- which special names a body uses without setting them ---- */

struct undeclared {
    const char *const *names;
    unsigned wanted, found;
};

static void find_undeclared_in(struct resolver *rs, struct jj_node *node, void *data)
{
    struct undeclared *u = data;
    if (node->kind == JJ_N_BLOCKDEF)
        return;
    pn_jj_step(rs->r, 1);
    if (node->kind == JJ_N_NAME) {
        for (unsigned i = 0; u->names[i]; i++)
            if (pn_jj_is(node->u.name.name, u->names[i])) {
                if (!node->u.name.store && (u->wanted & 1u << i))
                    u->found |= 1u << i;
                else
                    u->wanted &= ~(1u << i);
            }
        return;
    }
    pn_jj_enter(rs->r);
    each_child(rs, node, find_undeclared_in, data);
    pn_jj_leave(rs->r);
}

/* A bit per name of `names` (NULL-terminated) that is read. */
static unsigned find_undeclared(struct resolver *rs, const struct jj_nodes *body, const char *const *names)
{
    struct undeclared u = {.names = names, .wanted = ~0u};
    each(rs, body, find_undeclared_in, &u);
    return u.found;
}

/* ---- analysis: what a scope reads and sets ---- */

static void analyze(struct resolver *rs, struct jj_node *node, void *data);

static void analyze_target_param(struct resolver *rs, struct jj_node *target, struct symbols *sym)
{
    if (target->kind == JJ_N_NAME)
        declare_parameter(rs, sym, target->u.name.name);
    else if (target->kind == JJ_N_TUPLE)
        for (size_t i = 0; i < target->u.list.items.n; i++)
            analyze_target_param(rs, target->u.list.items.v[i], sym);
}

static void analyze_if(struct resolver *rs, struct jj_node *node, struct symbols *sym)
{
    struct symbols *branch[3];
    maybe(rs, node->u.cond.test, analyze, sym);
    for (int i = 0; i < 3; i++)
        branch[i] = copy_symbols(rs, sym);
    each(rs, &node->u.cond.body, analyze, branch[0]);
    for (size_t i = 0; i < node->u.cond.more.n; i++) {
        struct jj_node *more = node->u.cond.more.v[i];
        if (more->u.cond.test)
            analyze(rs, more, branch[1]);
        else
            each(rs, &more->u.cond.body, analyze, branch[2]);
    }
    merge_branches(rs, sym, branch, 3);
}

/* Inner scopes are visited only for the variables that they read from this one. */
static void analyze(struct resolver *rs, struct jj_node *node, void *data)
{
    struct symbols *sym = data;
    pn_jj_enter(rs->r);
    pn_jj_step(rs->r, 1);
    switch (node->kind) {
    case JJ_N_NAME:
        if (node->u.name.store)
            store_name(rs, sym, node->u.name.name);
        else
            load_name(rs, sym, node->u.name.name);
        break;
    case JJ_N_NSREF:
        load_name(rs, sym, node->u.name.name);
        break;
    case JJ_N_IF:
        analyze_if(rs, node, sym);
        break;
    case JJ_N_MACRO:
        store_name(rs, sym, node->u.macro.def.name);
        break;
    case JJ_N_SET:
        analyze(rs, node->u.set.value, sym);
        analyze(rs, node->u.set.target, sym);
        break;
    case JJ_N_SETBLOCK:
        analyze(rs, node->u.set.target, sym);
        break;
    case JJ_N_FOR:
        analyze(rs, node->u.loop.iter, sym);
        break;
    case JJ_N_CALLBLOCK:
        maybe(rs, node->u.callblock.call, analyze, sym);
        break;
    case JJ_N_FILTERBLOCK:
        analyze(rs, node->u.scope.filter, sym);
        break;
    case JJ_N_WITH:
        each(rs, &node->u.scope.values, analyze, sym);
        break;
    case JJ_N_AUTOESCAPE:
    case JJ_N_BLOCKDEF:
        break;
    default:
        each_child(rs, node, analyze, sym);
    }
    pn_jj_leave(rs->r);
}

static void push_load(struct resolver *rs, struct jj_loads *loads, struct jj_load load)
{
    if (loads->n == loads->cap) {
        size_t cap = loads->cap ? loads->cap * 2 : 4;
        struct jj_load *v = pn_jj_array(rs->r, cap, sizeof *v);
        if (loads->n)
            memcpy(v, loads->v, loads->n * sizeof *v);
        loads->v = v;
        loads->cap = cap;
    }
    loads->v[loads->n++] = load;
}

static struct jj_ref place(struct resolver *rs, const struct function_info *from, int64_t ident)
{
    const struct ident *id = &rs->idents[ident];
    return (struct jj_ref){.hops = (uint32_t)(from->fn->depth - id->fn->fn->depth), .slot = id->slot};
}

/* Lists what entering the scope has to do. */
static void make_loads(struct resolver *rs, const struct symbols *sym, struct jj_loads *out)
{
    *out = (struct jj_loads){0};
    for (size_t i = 0; i < sym->loads->n; i++) {
        jv what = sym->loads->e[i].value;
        struct jj_load load = {.to = place(rs, sym->fn, sym->loads->e[i].key.u.i)};
        if (what.t == JJ_BOOL)
            continue;
        if (what.t == JJ_STR) {
            load.action = JJ_LOAD_RESOLVE;
            load.name = what;
        } else if (what.t == JJ_INT) {
            load.action = JJ_LOAD_ALIAS;
            load.from = place(rs, sym->fn, what.u.i);
        } else {
            load.action = JJ_LOAD_MISSING;
        }
        push_load(rs, out, load);
    }
}

static struct jj_ref ref_of(struct resolver *rs, struct symbols *sym, jv name)
{
    int64_t ident = find_ref(rs, sym, name);
    if (ident < 0) /* a name that the analysis does not reach, such as one in the filter of a set block */
        ident = define_ref(rs, sym, name, name);
    return place(rs, sym->fn, ident);
}

/* ---- visiting ---- */

static void visit(struct resolver *rs, struct jj_node *node, void *data);

static void visit_body(struct resolver *rs, const struct jj_nodes *body, struct frame *frame)
{
    each(rs, body, visit, frame);
}

static struct frame inner_frame(struct resolver *rs, const struct frame *frame)
{
    return (struct frame){.sym = new_symbols(rs, frame->sym, frame->sym->fn)};
}

/* Everything below a function's scope belongs to that function. */
static struct frame function_frame(struct resolver *rs, const struct frame *frame, struct jj_function **fn)
{
    struct frame inner = inner_frame(rs, frame);
    inner.sym->fn = new_function(rs, frame->sym->fn);
    *fn = inner.sym->fn->fn;
    return inner;
}

static void visit_macro_def(struct resolver *rs, struct jj_macro_def *def, const struct frame *outer, int line)
{
    static const char *const special[] = {"caller", "kwargs", "varargs", NULL};
    struct frame frame = function_frame(rs, outer, &def->fn);
    struct jj_nodes *params = &def->sig.params;
    for (int pass = 0; pass < 2; pass++) { /* the second one sees the special names */
        for (size_t i = 0; i < params->n; i++)
            declare_parameter(rs, frame.sym, params->v[i]->u.name.name);
        each(rs, &def->sig.defaults, analyze, frame.sym);
        each(rs, &def->body, analyze, frame.sym);
        if (pass)
            break;
        unsigned used = find_undeclared(rs, &def->body, special);
        bool own[3] = {false, false, false};
        for (size_t i = 0; i < params->n; i++)
            for (int s = 0; s < 3; s++)
                if (pn_jj_is(params->v[i]->u.name.name, special[s])) {
                    own[s] = true;
                    if (s == 0 && (used & 1) && i + def->sig.defaults.n < params->n)
                        pn_jj_syntax_error(
                            rs->r, line,
                            "When defining macros or call blocks the special \"caller\" argument must be "
                            "omitted or be given a default.");
                }
        def->explicit_caller = own[0];
        def->has_caller = used & 1;
        def->has_kwargs = (used & 2) && !own[1];
        def->has_varargs = (used & 4) && !own[2];
        bool declare[3] = {def->has_caller && !own[0], def->has_kwargs, def->has_varargs};
        struct jj_ref *refs[3] = {&def->caller, &def->kwargs, &def->varargs};
        for (int s = 0; s < 3; s++)
            if (declare[s]) {
                jv name = pn_jj_cstr(rs->r, special[s]);
                declare_parameter(rs, frame.sym, name);
                *refs[s] = ref_of(rs, frame.sym, name);
            }
    }
    for (size_t i = 0; i < params->n; i++)
        params->v[i]->u.name.ref = ref_of(rs, frame.sym, params->v[i]->u.name.name);
    each(rs, &def->sig.defaults, visit, &frame);
    visit_body(rs, &def->body, &frame);
    make_loads(rs, frame.sym, &def->loads);
}

static void check_loop_target(struct resolver *rs, struct jj_node *node, void *data)
{
    struct jj_node *target = node->kind == JJ_N_FOR                                  ? node->u.loop.target
                             : node->kind == JJ_N_SET || node->kind == JJ_N_SETBLOCK ? node->u.set.target
                                                                                     : NULL;
    pn_jj_step(rs->r, 1);
    for (size_t i = 0; target && i < (target->kind == JJ_N_TUPLE ? target->u.list.items.n : 1); i++) {
        const struct jj_node *name = target->kind == JJ_N_TUPLE ? target->u.list.items.v[i] : target;
        if (name->kind == JJ_N_NAME && pn_jj_is(name->u.name.name, "loop"))
            pn_jj_syntax_error(rs->r, name->line, "Can't assign to special loop variable in for-loop target");
    }
    pn_jj_enter(rs->r);
    each_child(rs, node, check_loop_target, data);
    pn_jj_leave(rs->r);
}

static void has_scoped_block(struct resolver *rs, struct jj_node *node, void *data)
{
    if (node->kind == JJ_N_BLOCKDEF && node->u.block->scoped)
        *(bool *)data = true;
    pn_jj_step(rs->r, 1);
    pn_jj_enter(rs->r);
    each_child(rs, node, has_scoped_block, data);
    pn_jj_leave(rs->r);
}

static void visit_for(struct resolver *rs, struct jj_node *node, struct frame *frame)
{
    static const char *const special[] = {"loop", NULL};
    struct jj_for *loop = &node->u.loop;
    struct frame body = loop->recursive ? function_frame(rs, frame, &loop->fn) : inner_frame(rs, frame);
    struct frame otherwise = inner_frame(rs, frame);
    otherwise.sym->fn = body.sym->fn;
    bool scoped = false;
    if (rs->t->blocks.n)
        has_scoped_block(rs, node, &scoped);
    loop->extended = loop->recursive || scoped || find_undeclared(rs, &loop->body, special);
    if (loop->extended)
        declare_parameter(rs, body.sym, pn_jj_cstr(rs->r, "loop"));
    analyze_target_param(rs, loop->target, body.sym);
    each(rs, &loop->body, analyze, body.sym);
    each(rs, &loop->otherwise, analyze, otherwise.sym);
    visit(rs, loop->iter, frame);
    if (loop->test) {
        struct frame test = function_frame(rs, frame, &loop->test_fn);
        analyze_target_param(rs, loop->test_target, test.sym);
        analyze(rs, loop->test, test.sym);
        visit(rs, loop->test_target, &test);
        visit(rs, loop->test, &test);
        make_loads(rs, test.sym, &loop->test_loads);
    }
    check_loop_target(rs, node, NULL);
    visit(rs, loop->target, &body);
    if (loop->extended)
        loop->loop = ref_of(rs, body.sym, pn_jj_cstr(rs->r, "loop"));
    visit_body(rs, &loop->body, &body);
    visit_body(rs, &loop->otherwise, &otherwise);
    make_loads(rs, body.sym, &loop->body_loads);
    make_loads(rs, otherwise.sym, &loop->else_loads);
}

static void mark_exports(struct jj_node *target)
{
    if (target->kind == JJ_N_NAME)
        target->u.name.export = true;
    else if (target->kind == JJ_N_TUPLE)
        for (size_t i = 0; i < target->u.list.items.n; i++)
            mark_exports(target->u.list.items.v[i]);
}

static void visit_set(struct resolver *rs, struct jj_node *node, struct frame *frame)
{
    if (frame->toplevel)
        mark_exports(node->u.set.target);
    if (node->kind == JJ_N_SET) {
        visit(rs, node->u.set.value, frame);
    } else {
        struct frame inner = inner_frame(rs, frame);
        each(rs, &node->u.set.body, analyze, inner.sym);
        visit_body(rs, &node->u.set.body, &inner);
        maybe(rs, node->u.set.value, visit, &inner);
        make_loads(rs, inner.sym, &node->u.set.loads);
    }
    visit(rs, node->u.set.target, frame);
}

static void visit_with(struct resolver *rs, struct jj_node *node, struct frame *frame)
{
    struct frame inner = inner_frame(rs, frame);
    for (size_t i = 0; i < node->u.scope.targets.n; i++)
        analyze_target_param(rs, node->u.scope.targets.v[i], inner.sym);
    each(rs, &node->u.scope.body, analyze, inner.sym);
    for (size_t i = 0; i < node->u.scope.targets.n; i++) {
        visit(rs, node->u.scope.values.v[i], frame);
        visit(rs, node->u.scope.targets.v[i], &inner);
    }
    visit_body(rs, &node->u.scope.body, &inner);
    make_loads(rs, inner.sym, &node->u.scope.loads);
}

/* Filter blocks and autoescape. */
static void visit_scope(struct resolver *rs, struct jj_node *node, struct frame *frame)
{
    struct frame inner = inner_frame(rs, frame);
    each(rs, &node->u.scope.body, analyze, inner.sym);
    analyze(rs, node->u.scope.filter, inner.sym);
    visit_body(rs, &node->u.scope.body, &inner);
    visit(rs, node->u.scope.filter, &inner);
    make_loads(rs, inner.sym, &node->u.scope.loads);
}

static void visit_block(struct resolver *rs, struct jj_node *node, struct frame *frame)
{
    struct jj_block_def *def = node->u.block;
    if (!def->scoped)
        return;
    struct jj_dict *seen = pn_jj_dict(rs->r, 0);
    for (const struct symbols *sym = frame->sym; sym; sym = sym->parent)
        update(rs, seen, sym->stores);
    def->locals = pn_jj_array(rs->r, seen->n + 1, sizeof *def->locals);
    for (size_t i = 0; i < seen->n; i++)
        def->locals[def->n_locals++] =
            (struct jj_export){.name = seen->e[i].key, .ref = ref_of(rs, frame->sym, seen->e[i].key)};
}

static void check_filter(struct resolver *rs, const struct jj_node *node, const struct frame *frame)
{
    bool filter = node->kind == JJ_N_FILTER;
    if (!frame->soft && !node->u.filter.filter && !node->u.filter.test)
        pn_jj_syntax_error(rs->r, node->line, "No %s named %s.", filter ? "filter" : "test",
                           pn_jj_repr(rs->r, node->u.filter.name));
}

static void visit(struct resolver *rs, struct jj_node *node, void *data)
{
    struct frame *frame = data, soft = {.sym = frame->sym, .toplevel = frame->toplevel, .soft = true};
    pn_jj_enter(rs->r);
    pn_jj_step(rs->r, 1);
    switch (node->kind) {
    case JJ_N_NAME:
    case JJ_N_NSREF:
        node->u.name.ref = ref_of(rs, frame->sym, node->u.name.name);
        break;
    case JJ_N_COND:
    case JJ_N_IF:
        each_child(rs, node, visit, &soft);
        break;
    case JJ_N_FILTER:
    case JJ_N_TEST:
        check_filter(rs, node, frame);
        each_child(rs, node, visit, frame);
        break;
    case JJ_N_FOR:
        visit_for(rs, node, frame);
        break;
    case JJ_N_SET:
    case JJ_N_SETBLOCK:
        visit_set(rs, node, frame);
        break;
    case JJ_N_WITH:
        visit_with(rs, node, frame);
        break;
    case JJ_N_FILTERBLOCK:
    case JJ_N_AUTOESCAPE:
        visit_scope(rs, node, frame);
        break;
    case JJ_N_MACRO:
        visit_macro_def(rs, &node->u.macro.def, frame, node->line);
        node->u.macro.ref = ref_of(rs, frame->sym, node->u.macro.def.name);
        node->u.macro.export = frame->toplevel;
        break;
    case JJ_N_CALLBLOCK:
        visit_macro_def(rs, &node->u.callblock.def, frame, node->line);
        maybe(rs, node->u.callblock.call, visit, frame);
        break;
    case JJ_N_BLOCKDEF:
        visit_block(rs, node, frame);
        break;
    case JJ_N_LOADER:
        if (pn_jj_is(node->u.loader.what, "extends") && !frame->toplevel)
            pn_jj_syntax_error(rs->r, node->line, "cannot use extend from a non top-level scope");
        each_child(rs, node, visit, frame);
        break;
    default:
        each_child(rs, node, visit, frame);
    }
    pn_jj_leave(rs->r);
}

/* ---- blocks, the template ---- */

static void collect_blocks(struct resolver *rs, struct jj_node *node, void *data)
{
    struct jj_blocks *blocks = &rs->t->blocks;
    pn_jj_step(rs->r, 1);
    if (node->kind == JJ_N_BLOCKDEF) {
        for (size_t i = 0; i < blocks->n; i++)
            if (pn_jj_equal(rs->r, blocks->v[i]->name, node->u.block->name))
                pn_jj_syntax_error(rs->r, node->line, "block %s defined twice", pn_jj_repr(rs->r, node->u.block->name));
        if (blocks->n == blocks->cap) {
            size_t cap = blocks->cap ? blocks->cap * 2 : 8;
            struct jj_block_def **v = pn_jj_array(rs->r, cap, sizeof *v);
            if (blocks->n)
                memcpy(v, blocks->v, blocks->n * sizeof *v);
            blocks->v = v;
            blocks->cap = cap;
        }
        blocks->v[blocks->n++] = node->u.block;
    }
    pn_jj_enter(rs->r);
    each_child(rs, node, collect_blocks, data);
    pn_jj_leave(rs->r);
}

static void visit_block_body(struct resolver *rs, struct jj_block_def *def)
{
    static const char *const special[] = {"self", "super", NULL};
    struct function_info *fn = new_function(rs, NULL);
    struct frame frame = {.sym = new_symbols(rs, NULL, fn)};
    unsigned used = find_undeclared(rs, &def->body, special);
    def->fn = fn->fn;
    def->uses_self = used & 1;
    def->uses_super = used & 2;
    for (int s = 0; s < 2; s++)
        if (used & 1u << s) {
            jv name = pn_jj_cstr(rs->r, special[s]);
            declare_parameter(rs, frame.sym, name);
            *(s ? &def->super : &def->self) = ref_of(rs, frame.sym, name);
        }
    each(rs, &def->body, analyze, frame.sym);
    visit_body(rs, &def->body, &frame);
    make_loads(rs, frame.sym, &def->loads);
}

void pn_jj_resolve(struct jj_run *r, struct pn_template *t)
{
    static const char *const special[] = {"self", NULL};
    struct resolver rs = {.r = r, .t = t};
    struct function_info *fn = new_function(&rs, NULL);
    struct frame frame = {.sym = new_symbols(&rs, NULL, fn), .toplevel = true};
    t->fn = fn->fn;
    each(&rs, &t->body, collect_blocks, NULL);
    t->uses_self = find_undeclared(&rs, &t->body, special);
    if (t->uses_self) {
        jv name = pn_jj_cstr(r, "self");
        declare_parameter(&rs, frame.sym, name);
        t->self = ref_of(&rs, frame.sym, name);
    }
    each(&rs, &t->body, analyze, frame.sym);
    visit_body(&rs, &t->body, &frame);
    make_loads(&rs, frame.sym, &t->loads);
    for (size_t i = 0; i < t->blocks.n; i++)
        visit_block_body(&rs, t->blocks.v[i]);
}
