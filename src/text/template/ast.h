/* The syntax tree, its tokens, and the result of the scope pass: the place of each variable.
 *
 * Everything is allocated in the template's arena and not changed after pn_template_parse, so threads share it. */
#ifndef PN_TEXT_TEMPLATE_AST_H
#define PN_TEXT_TEMPLATE_AST_H

#include "text/template/value.h"

/* ---- tokens ---- */

/* Name, and the name in jinja2's messages. Operators come first; their name is their text. */
#define JJ_TOKEN_LIST(X)                                                                                               \
    X(ADD, "+")                                                                                                        \
    X(SUB, "-")                                                                                                        \
    X(DIV, "/")                                                                                                        \
    X(FLOORDIV, "//")                                                                                                  \
    X(MUL, "*")                                                                                                        \
    X(MOD, "%")                                                                                                        \
    X(POW, "**")                                                                                                       \
    X(TILDE, "~")                                                                                                      \
    X(LBRACKET, "[")                                                                                                   \
    X(RBRACKET, "]")                                                                                                   \
    X(LPAREN, "(")                                                                                                     \
    X(RPAREN, ")")                                                                                                     \
    X(LBRACE, "{")                                                                                                     \
    X(RBRACE, "}")                                                                                                     \
    X(EQ, "==")                                                                                                        \
    X(NE, "!=")                                                                                                        \
    X(GT, ">")                                                                                                         \
    X(GTEQ, ">=")                                                                                                      \
    X(LT, "<")                                                                                                         \
    X(LTEQ, "<=")                                                                                                      \
    X(ASSIGN, "=")                                                                                                     \
    X(DOT, ".")                                                                                                        \
    X(COLON, ":")                                                                                                      \
    X(PIPE, "|")                                                                                                       \
    X(COMMA, ",")                                                                                                      \
    X(SEMICOLON, ";")                                                                                                  \
    X(NAME, "name")                                                                                                    \
    X(STRING, "string")                                                                                                \
    X(INTEGER, "integer")                                                                                              \
    X(FLOAT, "float")                                                                                                  \
    X(DATA, "template data / text")                                                                                    \
    X(BLOCK_BEGIN, "begin of statement block")                                                                         \
    X(BLOCK_END, "end of statement block")                                                                             \
    X(VARIABLE_BEGIN, "begin of print statement")                                                                      \
    X(VARIABLE_END, "end of print statement")                                                                          \
    X(EOF, "end of template")

enum jj_token_type {
#define JJ_X(name, text) JJ_T_##name,
    JJ_TOKEN_LIST(JJ_X)
#undef JJ_X
};

struct jj_token {
    enum jj_token_type type;
    int line;
    jv value; /* of names, literals and data */
};

/* Reads tokens one by one, so that errors are reported in the order of the text. */
struct jj_lexer {
    struct jj_run *r;
    const char *src; /* newlines are '\n', a last one is dropped */
    size_t len, pos;
    int line;
    enum { JJ_IN_DATA, JJ_IN_BLOCK, JJ_IN_VARIABLE } state;
    bool line_starting; /* the last match ended with a newline */
    char *open;         /* the closing brackets still expected */
    size_t n_open, cap_open;
    struct jj_token pending; /* the token after a piece of text */
    bool has_pending;
};

void pn_jj_lexer_init(struct jj_lexer *lx, struct jj_run *r, const char *source, size_t len);
struct jj_token pn_jj_lexer_next(struct jj_lexer *lx);
const char *pn_jj_token_text(enum jj_token_type type);
/* Ends parsing with "template:LINE: message". */
_Noreturn void pn_jj_syntax_error(struct jj_run *r, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- nodes ---- */

enum jj_kind {
    /* expressions */
    JJ_N_CONST,
    JJ_N_NAME,
    JJ_N_NSREF, /* the target `ns.name` */
    JJ_N_TUPLE,
    JJ_N_LISTEXPR,
    JJ_N_DICTEXPR, /* items: key, value, key, value... */
    JJ_N_BINARY,
    JJ_N_UNARY,
    JJ_N_NOT,
    JJ_N_AND,
    JJ_N_OR,
    JJ_N_COMPARE, /* a, then items[i] with ops[i] */
    JJ_N_CONCAT,
    JJ_N_COND, /* a if b else c */
    JJ_N_GETATTR,
    JJ_N_GETITEM,
    JJ_N_SLICE, /* a:b:c, only below GETITEM */
    JJ_N_CALL,
    JJ_N_FILTER,
    JJ_N_TEST,
    /* statements */
    JJ_N_DATA,
    JJ_N_OUTPUT,
    JJ_N_IF, /* a, body; more: the elif branches, then maybe an else */
    JJ_N_FOR,
    JJ_N_SET,
    JJ_N_SETBLOCK,
    JJ_N_WITH,
    JJ_N_MACRO,
    JJ_N_CALLBLOCK,
    JJ_N_FILTERBLOCK,
    JJ_N_BLOCKDEF,
    JJ_N_AUTOESCAPE,
    JJ_N_LOADER, /* include, import, from, extends: without a loader they fail when reached */
    JJ_N_BREAK,
    JJ_N_CONTINUE,
};

struct jj_nodes {
    struct jj_node **v;
    size_t n, cap;
};

/* A variable: `hops` functions out, then a slot of that function's frame. */
struct jj_ref {
    uint32_t hops, slot;
};

/* What entering a scope does to its slots, as in the functions that jinja2 generates. */
struct jj_load {
    enum { JJ_LOAD_RESOLVE, JJ_LOAD_ALIAS, JJ_LOAD_MISSING } action;
    struct jj_ref to, from;
    jv name;
};

struct jj_loads {
    struct jj_load *v;
    size_t n, cap;
};

/* Everything that is a Python function in jinja2's output has its own frame: macros, call blocks, recursive loops... */
struct jj_function {
    struct jj_function *parent;
    uint32_t n_slots;
    int depth; /* 0 for the template and for blocks */
};

struct jj_signature {
    struct jj_nodes params;   /* names */
    struct jj_nodes defaults; /* of the last params */
};

struct jj_call_args {
    struct jj_nodes pos;
    struct jj_nodes kw_values;
    jv *kw_names;
    struct jj_node *dyn_pos, *dyn_kw;
};

struct jj_macro_def {
    jv name; /* None for call blocks */
    struct jj_signature sig;
    struct jj_nodes body;
    struct jj_function *fn;
    struct jj_loads loads;
    bool has_caller, has_kwargs, has_varargs; /* the body uses them */
    bool explicit_caller;                     /* a parameter is called `caller` */
    struct jj_ref caller, kwargs, varargs;
};

struct jj_for {
    struct jj_node *target, *iter, *test;
    struct jj_node *test_target; /* a copy of target that the filter function fills */
    struct jj_nodes body, otherwise;
    bool recursive, extended, has_else;
    struct jj_ref loop;
    struct jj_loads body_loads, else_loads, test_loads;
    struct jj_function *test_fn, *fn; /* fn: of a recursive loop */
};

struct jj_export {
    jv name;
    struct jj_ref ref;
};

struct jj_block_def {
    jv name;
    bool scoped, required;
    struct jj_nodes body;
    struct jj_function *fn;
    struct jj_loads loads;
    bool uses_self, uses_super;
    struct jj_ref self, super;
    struct jj_export *locals; /* of a scoped block: the outer variables that it sees */
    size_t n_locals;
};

struct jj_node {
    enum jj_kind kind;
    int line;
    union {
        jv value; /* CONST, DATA (a string) */
        struct {
            jv name;
            struct jj_ref ref;
            bool store, export; /* export: also visible to blocks */
            jv attr;            /* NSREF */
        } name;
        struct {
            struct jj_node *a, *b, *c;
            char op; /* BINARY, UNARY */
        } op;
        struct {
            struct jj_node *first;
            struct jj_nodes items;
            enum jj_token_type *ops; /* COMPARE; NAME means `in`, SEMICOLON `not in` */
        } list;                      /* TUPLE, LISTEXPR, DICTEXPR, COMPARE, CONCAT, OUTPUT */
        struct {
            struct jj_node *obj;
            jv name;
        } attr;
        struct {
            struct jj_node *fn;
            struct jj_call_args args;
        } call;
        struct {
            struct jj_node *input; /* NULL in filter and set blocks */
            jv name;
            const struct jj_filter_def *filter;
            const struct jj_test_def *test;
            struct jj_call_args args;
        } filter; /* FILTER, TEST */
        struct {
            struct jj_node *test; /* NULL: else */
            struct jj_nodes body, more;
        } cond;
        struct jj_for loop;
        struct {
            struct jj_node *target, *value; /* SETBLOCK: value is the filter or NULL */
            struct jj_nodes body;
            struct jj_loads loads;
        } set;
        struct {
            struct jj_nodes targets, values, body;
            struct jj_loads loads;
            struct jj_node *filter; /* FILTERBLOCK; AUTOESCAPE: the switch */
        } scope;                    /* WITH, FILTERBLOCK, AUTOESCAPE */
        struct {
            struct jj_macro_def def;
            struct jj_ref ref;
            bool export;
        } macro;
        struct {
            struct jj_macro_def def;
            struct jj_node *call; /* NULL: {% generation %} */
        } callblock;
        struct jj_block_def *block;
        struct {
            struct jj_node *template;
            jv what, target;
        } loader;
    } u;
};

struct jj_blocks {
    struct jj_block_def **v;
    size_t n, cap;
};

struct go_template;

struct pn_template {
    struct go_template *go; /* a template in Go's language, and then nothing else; NULL: Jinja */
    struct pn_arena arena;
    char *source;
    size_t len;
    struct jj_nodes body;
    struct jj_function *fn;
    struct jj_loads loads;
    struct jj_blocks blocks;
    bool uses_self;
    struct jj_ref self;
};

/* Parses t->source into t->body (parse_statement.c), then finds the place of every variable (scope.c). Errors are
 * exceptions of `r`. */
void pn_jj_parse(struct jj_run *r, struct pn_template *t);
void pn_jj_resolve(struct jj_run *r, struct pn_template *t);
void pn_jj_nodes_push(struct jj_run *r, struct jj_nodes *nodes, struct jj_node *node);

/* ---- evaluation (eval.c, exec.c) ---- */

struct jj_macro {
    const struct jj_macro_def *def;
    struct jj_env *env; /* where it was defined */
    bool autoescape;
};

struct jj_loop {
    struct jj_iter *it;
    jv iterable;
    int64_t index0, length; /* length: -1 unknown */
    int64_t depth0;
    jv before, current, after, changed; /* JJ_MISSING if there is none */
    const struct jj_for *def;           /* of a recursive loop, else NULL */
    struct jj_env *env;
};

struct jj_block_ref {
    const struct jj_block_def *def;
};

jv pn_jj_eval(struct jj_run *r, struct jj_env *env, const struct jj_node *node);
/* How a list of statements ended. */
enum jj_flow { JJ_FLOW_NEXT, JJ_FLOW_BREAK, JJ_FLOW_CONTINUE };
enum jj_flow pn_jj_exec(struct jj_run *r, struct jj_env *env, const struct jj_nodes *body);
jv pn_jj_call_macro(struct jj_run *r, const struct jj_macro *macro, const struct jj_args *args);
jv pn_jj_call_loop(struct jj_run *r, const struct jj_loop *loop, jv iterable);
jv pn_jj_call_block(struct jj_run *r, const struct jj_block_def *def);
/* Applies a filter or test node to a value. */
jv pn_jj_apply(struct jj_run *r, struct jj_env *env, const struct jj_node *node, jv value);
void pn_jj_eval_args(struct jj_run *r, struct jj_env *env, const struct jj_call_args *args, const struct jj_arg *extra,
                     struct jj_args *out);
struct jj_env *pn_jj_new_env(struct jj_run *r, const struct jj_function *fn, struct jj_env *parent);
void pn_jj_enter_scope(struct jj_run *r, struct jj_env *env, const struct jj_loads *loads);

static inline jv *jj_slot(struct jj_env *env, struct jj_ref ref)
{
    for (uint32_t i = 0; i < ref.hops; i++)
        env = env->parent;
    return &env->slot[ref.slot];
}

#endif
