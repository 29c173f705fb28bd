/* Values of the template language and the state of one render.
 *
 * All memory of a render comes from its arena and is freed together. An exception is a longjmp back to
 * pn_template_render: functions here either return a valid value or do not return (`pn_jj_raise`), and no function
 * between the two may own memory outside the arena. Values are immutable once a template can see them, with the same
 * four exceptions as in Python: namespaces, iterators, cyclers and joiners.
 *
 * Names: jj (Jinja) marks what belongs to this room, and jv is a value.
 *
 * Strings are UTF-8; a lone surrogate, which a "\ud800" escape can make, keeps its three-byte form and is an error in
 * the result. */
#ifndef PN_TEXT_TEMPLATE_VALUE_H
#define PN_TEXT_TEMPLATE_VALUE_H

#include "base/alloc.h"
#include "base/status.h"

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum jj_type {
    JJ_MISSING, /* a variable that was never set; a template never holds it */
    JJ_UNDEFINED,
    JJ_NONE,
    JJ_BOOL,
    JJ_INT,
    JJ_BIG, /* an integer beyond 64 bits */
    JJ_FLOAT,
    JJ_STR,
    JJ_LIST,
    JJ_TUPLE,
    JJ_DICT,
    JJ_VIEW, /* dict.keys(), .values(), .items() */
    JJ_RANGE,
    JJ_ITER, /* generators and iterators */
    JJ_NAMESPACE,
    JJ_MACRO,
    JJ_METHOD, /* bound to its object */
    JJ_FUNC,   /* a global function */
    JJ_LOOP,
    JJ_CYCLER,
    JJ_JOINER,
    JJ_SELF,  /* the `self` of templates */
    JJ_BLOCK, /* self.name */
};

struct jj_str {
    const char *p;
    size_t n;
    int64_t chars; /* code points; -1: not counted yet (never in a parsed template, because threads share it) */
    bool markup;   /* markupsafe.Markup: adding a plain string escapes that string */
};

typedef struct jj_value {
    enum jj_type t;
    union {
        bool b;
        int64_t i;
        double d;
        struct jj_str *s;
        struct jj_seq *seq; /* list, tuple */
        struct jj_dict *dict;
        struct jj_view *view;
        struct jj_range *range;
        struct jj_iter *iter;
        struct jj_undefined *undef;
        struct jj_namespace *ns;
        struct jj_macro *macro;
        struct jj_method *method;
        const struct jj_func *func;
        struct jj_loop *loop;
        struct jj_cycler *cycler;
        struct jj_joiner *joiner;
        struct jj_big *big;
        struct jj_block_ref *block;
    } u;
} jv;

struct jj_seq {
    jv *v;
    size_t n, cap;
    bool group; /* the (grouper, list) tuple of `groupby`: its items also have names */
};

struct jj_entry {
    jv key, value;
    uint64_t hash;
};

struct jj_dict {
    struct jj_entry *e; /* in insertion order */
    size_t n, cap;
    uint32_t *index; /* open addressing, entry + 1; NULL while the dict is small */
    size_t index_size;
};

struct jj_view {
    struct jj_dict *dict;
    char kind; /* 'k', 'v', 'i' */
};

struct jj_range {
    int64_t start, stop, step, n;
};

struct jj_undefined {
    const char *hint; /* the message, if not made from obj and name */
    jv obj, name;     /* obj is JJ_MISSING for a plain variable */
    bool security;    /* raises SecurityError instead of UndefinedError */
};

struct jj_namespace {
    struct jj_dict *attrs;
};

struct jj_cycler {
    jv *v;
    size_t n, pos;
};

struct jj_joiner {
    jv sep;
    bool used;
};

struct jj_big {
    bool negative;
    size_t n;       /* limbs, at least one; the highest is not zero */
    uint32_t *limb; /* least significant first */
};

struct jj_run;
struct jj_block_def;
struct jj_filter_def;

/* An iterator produces values until `next` returns false. */
struct jj_iter {
    bool (*next)(struct jj_run *r, struct jj_iter *it, jv *out);
    const char *type; /* Python's name of the type: "generator", "list_reverseiterator"... */
    const char *name; /* of a generator's function */
    jv src;           /* the value that it walks over */
    size_t pos;
    void *state; /* of filters: their arguments */
    bool done, running;
};

struct jj_arg {
    const struct jj_str *name;
    jv value;
};

/* Arguments of a call. */
struct jj_args {
    const jv *pos;
    size_t n_pos;
    const struct jj_arg *kw;
    size_t n_kw;
};

struct jj_func {
    const char *name;
    jv (*call)(struct jj_run *r, const struct jj_args *args);
};

struct jj_method {
    jv self;
    const struct jj_method_def *def;
};

struct jj_method_def {
    const char *name;
    jv (*call)(struct jj_run *r, jv self, const struct jj_args *args);
    bool mutates; /* blocked by the sandbox */
};

/* Bytes under construction, in the arena. */
struct jj_buf {
    struct jj_run *r;
    char *p;
    size_t n, cap;
};

struct jj_env {
    struct jj_env *parent;
    jv slot[];
};

/* Functions of higher files that lower ones call because the language recurses: "{0.x}".format(y) reads attributes, a
 * call in an expression runs the statements of a macro. template.c fills it in. */
struct jj_calls {
    jv (*getattr)(struct jj_run *r, jv obj, const struct jj_str *name);
    jv (*getitem)(struct jj_run *r, jv obj, jv key);
    jv (*macro)(struct jj_run *r, const struct jj_macro *macro, const struct jj_args *args);
    jv (*loop)(struct jj_run *r, const struct jj_loop *loop, jv iterable);
    jv (*block)(struct jj_run *r, const struct jj_block_def *def);
    const struct jj_filter_def *(*find_filter)(const char *p, size_t n);
};

/* One render. */
struct jj_run {
    const struct jj_calls *calls;
    struct pn_arena arena;
    jmp_buf escape;
    pantry_status status;
    char *message; /* of the exception */

    size_t steps, max_steps;
    size_t max_output, max_memory;
    size_t depth, max_depth; /* calls and nested values */
    const char *stack;       /* the stack pointer when the run began */
    int64_t now;

    const struct pn_template *t;
    struct jj_dict *globals; /* the context's variables */
    struct jj_dict *vars;    /* variables that the top level has set */
    struct jj_buf *out;
    bool autoescape;
};

/* ---- memory, limits, exceptions (run.c) ---- */

void *pn_jj_alloc(struct jj_run *r, size_t size);
void *pn_jj_array(struct jj_run *r, size_t count, size_t size);
_Noreturn void pn_jj_raise(struct jj_run *r, const char *type, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Ends the render with a status and a text, for raise_exception and limits. */
_Noreturn void pn_jj_throw(struct jj_run *r, pantry_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
_Noreturn void pn_jj_over_steps(struct jj_run *r);
/* printf into the arena */
char *pn_jj_sprintf(struct jj_run *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Counts work, so that every template terminates. */
static inline void pn_jj_step(struct jj_run *r, size_t n)
{
    r->steps += n;
    if (r->steps > r->max_steps || r->steps < n)
        pn_jj_over_steps(r);
}

/* A count of levels does not bound recursion well, for example of expressions in calls in expressions; so the stack it
 * uses is bounded, independent of the compiler's frames. The smallest thread stacks have 512 KiB. */
enum { JJ_MAX_STACK = 320 * 1024 };
_Noreturn void pn_jj_over_stack(struct jj_run *r);
static inline void jj_check_stack(struct jj_run *r)
{
    const char *here = __builtin_frame_address(0);
    size_t used = (size_t)(here < r->stack ? r->stack - here : here - r->stack);
    if (used > JJ_MAX_STACK)
        pn_jj_over_stack(r);
}

/* Nesting of calls and of values; every enter has its leave (an exception resets the depth). */
void pn_jj_enter(struct jj_run *r);
static inline void pn_jj_leave(struct jj_run *r)
{
    r->depth--;
}

/* ---- bytes under construction (buffer.c) ---- */

void pn_jj_put(struct jj_buf *b, const char *p, size_t n);
void pn_jj_puts(struct jj_buf *b, const char *text);
void pn_jj_putc(struct jj_buf *b, char c);
void pn_jj_put_char(struct jj_buf *b, uint32_t code_point); /* surrogates in their three-byte form */
void pn_jj_pad(struct jj_buf *b, uint32_t fill, int64_t count);
jv pn_jj_buf_str(struct jj_buf *b); /* the string it holds; the buffer must not be used afterwards */

/* ---- values (value.c) ---- */

static inline jv jj_none(void)
{
    return (jv){.t = JJ_NONE};
}
static inline jv jj_bool(bool b)
{
    return (jv){.t = JJ_BOOL, .u.b = b};
}
static inline jv jj_int(int64_t i)
{
    return (jv){.t = JJ_INT, .u.i = i};
}
static inline jv jj_float(double d)
{
    return (jv){.t = JJ_FLOAT, .u.d = d};
}

jv pn_jj_str(struct jj_run *r, const char *p, size_t n);                         /* borrows the bytes */
jv pn_jj_cstr(struct jj_run *r, const char *text);                               /* the same for a literal */
jv pn_jj_sub(struct jj_run *r, const struct jj_str *of, size_t from, size_t to); /* bytes; keeps the markup flag */
jv pn_jj_list(struct jj_run *r, size_t cap);
jv pn_jj_tuple(struct jj_run *r, size_t n);
jv pn_jj_pair(struct jj_run *r, jv a, jv b);
void pn_jj_push(struct jj_run *r, jv list, jv item);

const char *pn_jj_type_name(jv v);   /* type(v).__name__ */
const char *pn_jj_object_repr(jv v); /* "list object", "jinja2.utils.Namespace object", "None" */
static inline bool jj_is_int(jv v)
{
    return v.t == JJ_INT || v.t == JJ_BOOL;
}
static inline bool jj_is_number(jv v)
{
    return v.t == JJ_INT || v.t == JJ_BOOL || v.t == JJ_FLOAT || v.t == JJ_BIG;
}
static inline int64_t jj_as_int(jv v)
{
    return v.t == JJ_BOOL ? v.u.b : v.u.i;
}
static inline bool jj_is_seq(jv v)
{
    return v.t == JJ_LIST || v.t == JJ_TUPLE;
}
bool pn_jj_is(jv v, const char *text); /* a string equal to `text` */

/* code points */
int64_t pn_jj_chars(struct jj_str *s);
size_t pn_jj_offset(struct jj_str *s, int64_t index); /* byte offset of a code point, 0 <= index <= chars */

/* ---- characters of UTF-8 (utf8.c) ---- */

uint32_t pn_jj_decode(const char *p, const char *end, size_t *used);
size_t pn_jj_encode(uint32_t code_point, char out[4]);
/* memmem, in linear time */
const char *pn_jj_search(const char *p, size_t n, const char *what, size_t n_what);
bool pn_jj_utf8_valid(const char *p, size_t n);

/* ---- iteration (iter.c) ---- */

struct jj_iter *pn_jj_iter(struct jj_run *r, jv v); /* raises TypeError if v is not iterable */
bool pn_jj_iterable(jv v);
/* Iterators wrap iterators, so this nests like calls. */
static inline bool pn_jj_next(struct jj_run *r, struct jj_iter *it, jv *out)
{
    pn_jj_step(r, 1);
    pn_jj_enter(r);
    bool more = it->next(r, it, out);
    pn_jj_leave(r);
    return more;
}
bool pn_jj_has_len(jv v);
int64_t pn_jj_len(struct jj_run *r, jv v); /* raises for a value that has no length */
int64_t pn_jj_loop_length(struct jj_run *r, struct jj_loop *loop);
bool pn_jj_loop_peek(struct jj_run *r, struct jj_loop *loop); /* whether another item follows; fills loop->after */
jv pn_jj_to_list(struct jj_run *r, jv v);
jv pn_jj_range(struct jj_run *r, int64_t start, int64_t stop, int64_t step);
jv pn_jj_reversed(struct jj_run *r, jv v, bool *ok);
/* A generator over `src` with the given function. */
jv pn_jj_generator(struct jj_run *r, const char *name, jv src, void *state,
                   bool (*next)(struct jj_run *r, struct jj_iter *it, jv *out));

/* ---- text (python/repr.c) ---- */

jv pn_jj_to_str(struct jj_run *r, jv v); /* str(v); strings come back as they are */
void pn_jj_put_str(struct jj_buf *b, jv v);
void pn_jj_put_repr(struct jj_buf *b, jv v);
char *pn_jj_repr(struct jj_run *r, jv v);
void pn_jj_put_float(struct jj_buf *b, double d);
jv pn_jj_escape(struct jj_run *r, jv v); /* markupsafe.escape */
void pn_jj_put_ascii_escaped(struct jj_buf *b, const char *p, size_t n);

/* ---- numbers (python/number.c) ---- */

int pn_jj_number_cmp(jv a, jv b, bool *unordered);
bool pn_jj_to_double(jv v, double *out);                                           /* false: too large */
jv pn_jj_parse_int(struct jj_run *r, const char *p, size_t n, int base, bool *ok); /* as int(text, base) */
bool pn_jj_parse_float(const char *p, size_t n, double *out);                      /* as float(text) */
jv pn_jj_float_to_int(struct jj_run *r, double d);                                 /* truncates; finite only */
void pn_jj_put_int(struct jj_buf *b, jv v, int base, bool upper);                  /* digits with sign */
uint64_t pn_jj_number_hash(jv v);

/* ---- undefined values (undefined.c) ---- */

jv pn_jj_undefined_name(struct jj_run *r, jv name);
jv pn_jj_undefined_attr(struct jj_run *r, jv obj, jv name);
jv pn_jj_undefined_hint(struct jj_run *r, const char *hint);
jv pn_jj_undefined_unsafe(struct jj_run *r, jv obj, jv name);
const char *pn_jj_undefined_message(struct jj_run *r, const struct jj_undefined *u);
_Noreturn void pn_jj_raise_undefined(struct jj_run *r, jv undefined);

/* ---- truth, equality, order, dictionaries (compare.c) ---- */

bool pn_jj_truth(struct jj_run *r, jv v);
bool pn_jj_equal(struct jj_run *r, jv a, jv b);
bool pn_jj_same(jv a, jv b); /* Python's `is` */
bool pn_jj_contains(struct jj_run *r, jv item, jv container);
/* op is one of "<", "<=", ">", ">="; raises for types that have no order */
bool pn_jj_compare(struct jj_run *r, const char *op, jv a, jv b);

struct jj_dict *pn_jj_dict(struct jj_run *r, size_t cap);
static inline jv jj_dict_value(struct jj_dict *d)
{
    return (jv){.t = JJ_DICT, .u.dict = d};
}
void pn_jj_dict_set(struct jj_run *r, struct jj_dict *d, jv key, jv value);
jv *pn_jj_dict_get(struct jj_run *r, const struct jj_dict *d, jv key); /* NULL: not there; unhashable keys raise */
jv *pn_jj_dict_find(struct jj_run *r, const struct jj_dict *d, const char *p, size_t n);
bool pn_jj_hashable(jv v);                                                /* Python's hash() would work */
jv pn_jj_sorted(struct jj_run *r, jv list, const jv *keys, bool reverse); /* stable; keys run parallel to the list */

/* ---- operators (python/arithmetic.c) ---- */

jv pn_jj_binary(struct jj_run *r, char op, jv a, jv b); /* + - * / % and 'F' for //, 'P' for ** */
jv pn_jj_unary(struct jj_run *r, char op, jv a);
jv pn_jj_round(struct jj_run *r, jv v, int64_t digits);

/* ---- formatting (python/percent.c, format.c) ---- */

jv pn_jj_percent(struct jj_run *r, struct jj_str *format, jv args);
jv pn_jj_format(struct jj_run *r, struct jj_str *format, const struct jj_args *args);
jv pn_jj_format_map(struct jj_run *r, struct jj_str *format, jv map);

/* ---- attributes, methods (attr.c, python/properties.c, methods.c, str_methods.c), calls (eval.c) ---- */

jv pn_jj_getattr(struct jj_run *r, jv obj, const struct jj_str *name); /* obj.name */
/* Python's error when a function needs a method that the value lacks. */
_Noreturn void pn_jj_no_attribute(struct jj_run *r, jv v, const char *name);
jv pn_jj_getitem(struct jj_run *r, jv obj, jv key); /* obj[key] */
jv pn_jj_slice(struct jj_run *r, jv obj, jv start, jv stop, jv step);
jv pn_jj_call(struct jj_run *r, jv f, const struct jj_args *args);
const struct jj_method_def *pn_jj_find_method(jv obj, const char *p, size_t n);
/* Attributes of a type that are not methods (loop.index, range.start...); false: no such attribute. */
bool pn_jj_find_property(struct jj_run *r, jv obj, const char *p, size_t n, jv *out);
/* Attributes that only Python objects have ("__class__"): the sandbox hides them. */
bool pn_jj_has_internal(jv obj, const char *p, size_t n);
const struct jj_func *pn_jj_find_global(const char *p, size_t n);

jv pn_jj_replace(struct jj_run *r, const struct jj_str *s, const struct jj_str *old, const struct jj_str *new_text,
                 int64_t max); /* max < 0: all */
jv pn_jj_splitlines(struct jj_run *r, const struct jj_str *s, bool keep_ends);
extern const struct jj_method_def pn_jj_str_methods[]; /* end with a NULL name */

/* ---- filters, tests ---- */

typedef jv jj_filter_fn(struct jj_run *r, jv value, const struct jj_args *args);
typedef bool jj_test_fn(struct jj_run *r, jv value, const struct jj_args *args);
struct jj_filter_def {
    const char *name;
    jj_filter_fn *fn;
};
struct jj_test_def {
    const char *name;
    jj_test_fn *fn;
};
const struct jj_filter_def *pn_jj_find_filter(const char *p, size_t n);
const struct jj_test_def *pn_jj_find_test(const char *p, size_t n);
extern const struct jj_filter_def pn_jj_text_filters[]; /* end with a NULL name */
jj_filter_fn pn_jj_filter_tojson, pn_jj_filter_pprint;

/* ---- arguments (bind.c) ---- */

/* Binds arguments to the named parameters, the first n_required of which must be given; others stay JJ_MISSING. `skip`
 * is the number of parameters before them. Raises the TypeError that a Python function `name` would. */
void pn_jj_bind(struct jj_run *r, const char *name, const struct jj_args *args, size_t skip, const char *const *params,
                size_t n_params, size_t n_required, jv *out);

/* ---- time (python/strftime.c) ---- */

jv pn_jj_strftime(struct jj_run *r, const struct jj_str *format);

/* ---- characters (python/chars.c) ---- */

bool pn_jj_is_space(uint32_t c);
bool pn_jj_is_alpha(uint32_t c);
bool pn_jj_is_alnum(uint32_t c);
bool pn_jj_is_decimal(uint32_t c);
bool pn_jj_is_digit(uint32_t c);
bool pn_jj_is_numeric(uint32_t c);
bool pn_jj_is_upper(uint32_t c);
bool pn_jj_is_lower(uint32_t c);
bool pn_jj_is_title(uint32_t c);
bool pn_jj_is_printable(uint32_t c);
bool pn_jj_is_word(uint32_t c); /* \w of regular expressions */
bool pn_jj_is_id_start(uint32_t c);
bool pn_jj_is_id_continue(uint32_t c);
int pn_jj_digit_value(uint32_t c); /* of a decimal digit in any script, or -1 */
void pn_jj_put_upper(struct jj_buf *b, const char *p, size_t n);
void pn_jj_put_lower(struct jj_buf *b, const char *p, size_t n);
/* The same for p[from, to); the rest decides whether a sigma ends its word. */
void pn_jj_put_lower_part(struct jj_buf *b, const char *p, size_t n, size_t from, size_t to);
void pn_jj_put_title_char(struct jj_buf *b, uint32_t c);
void pn_jj_put_fold(struct jj_buf *b, const char *p, size_t n);
jv pn_jj_lower(struct jj_run *r, struct jj_str *s);

#endif
