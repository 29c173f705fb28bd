/* Expressions: what the front ends (GBNF, regular expressions, JSON schemas) build and the back end compiles.
 *
 * An expression describes a set of byte strings. It refers to earlier expressions by number, so it is a tree with
 * shared parts; rules add recursion. Nodes, bytes and nesting are bounded. Errors are sticky: after the first, every
 * call returns PN_EXPR_NONE, and pn_expr_status has the sentence, so a front end checks once.
 *
 * Expressions without references to rules and tokens are regular. Only they may be operands of pn_expr_and, pn_expr_not
 * and pn_expr_json_chars. */
#ifndef PN_GRAMMAR_EXPR_H
#define PN_GRAMMAR_EXPR_H

#include "base/alloc.h"
#include "base/status.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pn_expr_builder;

typedef int32_t pn_expr; /* the number of an expression */

enum {
    PN_EXPR_NONE = -1,   /* after an error */
    PN_EXPR_NO_MAX = -1, /* pn_expr_repeat without an upper bound */
    PN_EXPR_MAX_REPEAT = 1000000,
    PN_EXPR_MAX_DEPTH = 1000, /* of nested expressions, references not followed */
    PN_EXPR_MAX_NODES = 4000000,
    PN_EXPR_MAX_BYTES = 256 << 20, /* of the builder's memory */
    PN_MAX_CODE_POINT = 0x10FFFF
};

struct pn_code_range { /* both included */
    uint32_t first, last;
};

pantry_status pn_expr_builder_new(struct pn_expr_builder **out, struct pantry_error *err);
void pn_expr_builder_free(struct pn_expr_builder *b);

/* PANTRY_OK, or the first error. */
pantry_status pn_expr_status(const struct pn_expr_builder *b, struct pantry_error *err);
/* Makes this the builder's error, if it is the first; returns PN_EXPR_NONE. */
pn_expr pn_expr_fail(struct pn_expr_builder *b, pantry_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

pn_expr pn_expr_empty(struct pn_expr_builder *b);   /* the empty string */
pn_expr pn_expr_nothing(struct pn_expr_builder *b); /* no string */
/* Exactly these bytes; they are copied. */
pn_expr pn_expr_literal(struct pn_expr_builder *b, const char *bytes, size_t n);
/* One code point in UTF-8: one of the ranges, in any order and overlapping; with `negate`, one outside of them.
 * Surrogates are never included. */
pn_expr pn_expr_class(struct pn_expr_builder *b, const struct pn_code_range *ranges, size_t n, bool negate);
/* One after the other; 0 items: the empty string. */
pn_expr pn_expr_seq(struct pn_expr_builder *b, const pn_expr *items, size_t n);
/* One of them; 0 items: no string. */
pn_expr pn_expr_choice(struct pn_expr_builder *b, const pn_expr *items, size_t n);
/* min to max times; large counts are not expanded. PANTRY_LIMIT: a count above PN_EXPR_MAX_REPEAT. */
pn_expr pn_expr_repeat(struct pn_expr_builder *b, pn_expr item, int min, int max);

/* The number of the rule with this name, a new one if there is none yet. An undefined rule is an error of
 * pn_expr_check. */
int pn_expr_rule(struct pn_expr_builder *b, const char *name, size_t n);
/* A new rule, whose name is for messages only. */
int pn_expr_new_rule(struct pn_expr_builder *b, const char *name, size_t n);
/* False, without an error, if the rule has a body already. */
bool pn_expr_define(struct pn_expr_builder *b, int rule, pn_expr body);
pn_expr pn_expr_ref(struct pn_expr_builder *b, int rule);

/* One token of the model: one of the ids; with `negate`, any token but these. */
pn_expr pn_expr_token(struct pn_expr_builder *b, const int32_t *ids, size_t n, bool negate);
/* The token with this spelling (`<think>`). Without a vocabulary it stands for its own spelling, negated for one code
 * point. */
pn_expr pn_expr_token_named(struct pn_expr_builder *b, const char *text, size_t n, bool negate);

/* The strings of both. */
pn_expr pn_expr_and(struct pn_expr_builder *b, pn_expr x, pn_expr y);
/* The valid UTF-8 strings that are not in x. */
pn_expr pn_expr_not(struct pn_expr_builder *b, pn_expr x);
/* The strings of x as they are written between the quotes of a JSON string: `"`, `\` and the first 32 characters are
 * escaped (\" \\ \b \f \n \r \t, others \u00XX in either case of the digits), a solidus may be. Bytes of x that are not
 * UTF-8 are an error. */
pn_expr pn_expr_json_chars(struct pn_expr_builder *b, pn_expr x);

/* Fails if a rule was used but not defined. */
pantry_status pn_expr_check(const struct pn_expr_builder *b, struct pantry_error *err);

/* ---- reading expressions ---- */

enum pn_expr_kind {
    PN_EXPR_LITERAL, /* bytes */
    PN_EXPR_CLASS,   /* ranges, ascending, neither overlapping nor adjacent, without surrogates; at least one */
    PN_EXPR_SEQ,     /* items */
    PN_EXPR_CHOICE,  /* items; none: the empty language */
    PN_EXPR_REPEAT,  /* item, min, max */
    PN_EXPR_REF,     /* rule */
    PN_EXPR_TOKEN,   /* ids or name, negate */
    PN_EXPR_AND,     /* items: two */
    PN_EXPR_NOT,     /* item */
    PN_EXPR_JSON     /* item */
};

struct pn_expr_node {
    uint8_t kind;     /* enum pn_expr_kind */
    bool negate;      /* TOKEN */
    bool regular;     /* neither REF nor TOKEN in it */
    uint16_t depth;   /* 1: a leaf */
    uint32_t n;       /* of the array */
    uint32_t size;    /* expressions in it, shared ones as often as they are used; bounded like the number of nodes */
    int32_t min, max; /* REPEAT; max PN_EXPR_NO_MAX: no bound */
    union {
        const char *bytes;                  /* LITERAL, TOKEN with a name */
        const struct pn_code_range *ranges; /* CLASS */
        const pn_expr *items;               /* SEQ, CHOICE, AND */
        const int32_t *ids;                 /* TOKEN */
        pn_expr item;                       /* REPEAT, NOT, JSON */
        int rule;                           /* REF */
    };
    bool named; /* TOKEN */
};

/* `e` is an expression of this builder. */
const struct pn_expr_node *pn_expr_get(const struct pn_expr_builder *b, pn_expr e);
int pn_expr_n_nodes(const struct pn_expr_builder *b);
int pn_expr_n_rules(const struct pn_expr_builder *b);
pn_expr pn_expr_body(const struct pn_expr_builder *b, int rule); /* PN_EXPR_NONE: undefined */
struct pn_str pn_expr_rule_name(const struct pn_expr_builder *b, int rule);

/* Appends the expression in the notation of GBNF, with `&`, `~` and json(...) for what GBNF lacks. */
void pn_expr_print(const struct pn_expr_builder *b, pn_expr e, struct pn_buf *out);

#endif
