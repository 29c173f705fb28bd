/* Shared parts of the schema compiler.
 *
 * A schema is treated as a tree automaton. A *literal* is a schema at its place, or its complement. A *goal* is a set
 * of literals, all of which a value has to satisfy; it becomes one rule of the grammar. schema_expand.c turns a literal
 * into *alternatives*: each speaks of one JSON type and is a conjunction of constraints (schema_alts.c), whose parts
 * for items and properties are literals again. So all boolean keywords are exact, recursion ends, and work is bounded
 * by one count of steps.
 *
 * Memory belongs to the arena of the compilation. The first failure stays in `status` and `err`; functions that return
 * a pointer then return NULL. */
#ifndef PN_GRAMMAR_SCHEMA_IMPL_H
#define PN_GRAMMAR_SCHEMA_IMPL_H

#include "grammar/schema.h"
#include "grammar/schema_decimal.h"

/* ---- the document: schema_read.c, schema_uri.c ---- */

struct pn_place;

struct pn_anchor {
    struct pn_anchor *next;
    const char *name;
    struct pn_place *place;
    bool dynamic;
};

/* A schema with its own address: the root, and each one with $id. */
struct pn_resource {
    struct pn_resource *next;
    const char *uri; /* absolute if the document says so, without fragment */
    struct pn_place *root;
    struct pn_anchor *anchors;
    int number;
};

enum pn_truth { PN_UNDECIDED, PN_ALWAYS, PN_NEVER };

/* One schema of the document. */
struct pn_place {
    struct pn_place *hashed; /* chain of the table */
    const json_t *json;
    struct pn_resource *resource;
    const struct pn_place *parent;
    const char *step; /* from the parent: "properties/name", escaped as in JSON pointers */
    enum pn_truth truth;
    const int *any; /* instead of `json`: literals, one of which has to hold */
    int n_any;
    int literals; /* the first literal of this place, a chain */
};

/* The dynamic scope: resources, outermost first. Interned; number 0 is empty. */
struct pn_scope {
    struct pn_resource **resources;
    int n;
};

/* ---- literals and goals: schema_goals.c ---- */

struct pn_literal {
    struct pn_place *place;
    int scope;
    bool negated;
    int next; /* the next literal of the same place, or -1 */
    bool expanding;
    /* Of the place, NULL until expanded. A negated literal has those without `format`, an annotation to the
     * specification: what is built from the complement then holds either way. */
    const struct pn_alts *raw;
    const struct pn_alts *alts; /* of the literal: raw, or its complement */
};

enum { PN_LITERAL_TRUE, PN_LITERAL_FALSE };
enum { PN_GOAL_TRUE, PN_GOAL_FALSE };

struct pn_goal {
    int *literals; /* ascending; none: any value */
    int n;
    int hashed; /* chain of the table */
    const struct pn_alts *alts;
    int rule; /* of the expression builder, -1: none yet */
};

/* ---- alternatives: schema_alts.c ---- */

enum pn_json_type { PN_NULL, PN_BOOL, PN_NUMBER, PN_STRING, PN_ARRAY, PN_OBJECT, PN_N_TYPES };

enum { PN_NO_LIMIT = -1 };

struct pn_decimals {
    const struct pn_decimal *items;
    size_t n;
};

struct pn_number {
    bool has_low, has_high, low_open, high_open;
    bool finite;    /* only `values` */
    int8_t integer; /* 1: has no fraction, -1: has one, 0: either */
    struct pn_decimal low, high;
    struct pn_decimals factors, non_factors; /* a multiple of all; of none */
    struct pn_decimals values, excluded;
};

struct pn_strings {
    const struct pn_str *items;
    size_t n;
};

/* A regular language over code points, or its complement. The same expression has the same number. */
struct pn_language {
    pn_expr e;
    bool negated;
};

struct pn_languages {
    const struct pn_language *items;
    size_t n;
};

struct pn_text {
    int64_t min, max; /* code points */
    bool finite;      /* only `values` */
    struct pn_languages languages;
    struct pn_strings values, excluded;
};

/* Items from..to-1 (PN_NO_LIMIT: to the end) satisfy the literal. */
struct pn_item_rule {
    int64_t from, to;
    int literal;
};

/* Of the items from `from` on, min to max satisfy the literal. */
struct pn_item_count {
    int64_t from, min, max;
    int literal;
};

struct pn_ints {
    const int *items;
    size_t n;
};

struct pn_array {
    int64_t min, max;
    int8_t unique; /* 1: all differ, -1: two are equal */
    const struct pn_item_rule *rules;
    size_t n_rules;
    const struct pn_item_count *counts;
    size_t n_counts;
    /* For unevaluatedItems: the first n items are evaluated, and those that satisfy one of the literals. */
    int64_t evaluated; /* INT64_MAX: all */
    struct pn_ints evaluated_by;
    bool closed; /* the schema says what follows prefixItems */
};

/* Keys: one of the names, or of a language, or of a set; with `negated`, all others. */
struct pn_keys {
    bool negated;
    struct pn_strings names;
    struct pn_languages languages;
    const struct pn_keys *const *sets;
    size_t n_sets;
};

/* All properties with such a key satisfy the literal; as an element of `some`: at least one does. */
struct pn_key_rule {
    const struct pn_keys *keys;
    int literal;
};

struct pn_object {
    int64_t min, max;
    const struct pn_key_rule *rules, *some;
    size_t n_rules, n_some;
    struct pn_strings required, order;      /* order: declared names */
    const struct pn_keys *const *evaluated; /* for unevaluatedProperties */
    size_t n_evaluated;
    bool all_evaluated;
    bool declared, closed; /* has `properties`; says what other properties are */
};

struct pn_alt {
    union {
        unsigned bools; /* 1: false, 2: true */
        struct pn_number number;
        struct pn_text text;
        struct pn_array array;
        struct pn_object object;
    };
};

struct pn_alts {
    struct pn_alt_list {
        const struct pn_alt *const *items;
        size_t n;
    } of[PN_N_TYPES];
};

/* ---- the compilation ---- */

struct pn_schema {
    struct pn_expr_builder *b;
    const struct pn_schema_options *options;
    struct pn_arena arena;
    pantry_status status;
    struct pantry_error *err;
    size_t steps;
    int depth; /* of expansions within each other */

    struct pn_place **places; /* by address of the JSON object */
    size_t n_place_slots, n_places;
    struct pn_place *root, *yes, *no;
    struct pn_resource *resources;
    int n_resources;
    bool has_unevaluated, has_dynamic;
    struct {
        json_t **data;
        size_t len, cap;
    } owned; /* schemas that the compiler made */

    struct {
        struct pn_scope *data;
        size_t len, cap;
    } scopes;
    struct {
        struct pn_literal *data;
        size_t len, cap;
    } literals;
    struct {
        struct pn_goal *data;
        size_t len, cap;
    } goals;
    int *goal_slots;
    size_t n_goal_slots;
    struct {
        int *data;
        size_t len, cap;
    } pending; /* goals whose rules are not defined yet */

    const struct pn_alt *full[PN_N_TYPES];
    struct {
        struct pn_compiled {
            pn_expr e;
            struct pn_grammar *grammar; /* NULL: no string, or too large */
            bool empty;
        } * data;
        size_t len, cap;
    } compiled; /* languages that were asked about */
    struct {
        struct pn_pattern {
            struct pn_str text;
            int mode;
            pn_expr e;
        } * data;
        size_t len, cap;
    } patterns;
    /* Shared expressions: separators and free values. */
    pn_expr comma, colon, open_object, close_object, open_array, close_array;
    pn_expr any_string, any_number, any_value, any_object, any_array;
};

/* Steps that one schema may take, places in it, goals it may lead to. */
enum {
    PN_SCHEMA_MAX_STEPS = 4000000,
    PN_SCHEMA_MAX_PLACES = 200000,
    PN_SCHEMA_MAX_GOALS = 20000,
    PN_SCHEMA_MAX_DEPTH = 300
};

/* Fails with the place's path in front ("#/properties/a/minLength: ..."); `keyword` may be NULL. Returns NULL. */
void *pn_schema_fail(struct pn_schema *s, pantry_status status, const struct pn_place *place, const char *keyword,
                     const char *format, ...) __attribute__((format(printf, 5, 6)));
void *pn_schema_no_memory(struct pn_schema *s);
/* Puts the place's path in front of a message that is there already. */
void pn_schema_locate(struct pn_schema *s, const struct pn_place *place);
/* Counts work; false once the limit is passed. */
bool pn_schema_step(struct pn_schema *s, const struct pn_place *place, size_t n);
/* Arena memory, zeroed; fails when out of memory. */
void *pn_schema_alloc(struct pn_schema *s, size_t count, size_t size);

/* schema_read.c */
/* Fails if the place uses a keyword that is refused. */
bool pn_schema_admits(struct pn_schema *s, const struct pn_place *place);
bool pn_schema_read(struct pn_schema *s, const json_t *root);
/* The schema `json`, a value of `parent` under `step`. */
struct pn_place *pn_schema_sub(struct pn_schema *s, const struct pn_place *parent, const char *keyword,
                               const char *name, const json_t *json);
/* The same for one that the compiler makes; takes the reference. */
struct pn_place *pn_schema_made(struct pn_schema *s, const struct pn_place *parent, json_t *json);
/* Reads the schema at a pointer that no keyword leads to. */
struct pn_place *pn_schema_read_at(struct pn_schema *s, struct pn_resource *resource, const json_t *json,
                                   const char *pointer);

/* schema_uri.c */
/* `reference` against `base` as in RFC 3986, in the arena. */
const char *pn_uri_resolve(struct pn_arena *arena, const char *base, const char *reference);
/* What $ref or $dynamicRef refers to. */
struct pn_place *pn_schema_resolve_ref(struct pn_schema *s, const struct pn_place *at, const char *keyword,
                                       const char *reference, int scope);

/* schema_goals.c */
int pn_schema_scope_with(struct pn_schema *s, int scope, struct pn_resource *resource);
int pn_schema_literal(struct pn_schema *s, struct pn_place *place, int scope, bool negated);
int pn_schema_not_literal(struct pn_schema *s, int literal);
/* The goal of these literals, in any order and with repetitions. */
int pn_schema_goal(struct pn_schema *s, const int *literals, size_t n);

/* schema_alts.c; `place` is for messages. Alternatives that no value satisfies are dropped where that is easy to see.
 */
/* The alternative without constraints. */
const struct pn_alt *pn_alt_full(struct pn_schema *s, enum pn_json_type type);
/* A copy of it, to be constrained. */
struct pn_alt *pn_alt_new(struct pn_schema *s, enum pn_json_type type);
/* Alternatives with one alternative of this type; with `others`, the other types are without constraints. */
const struct pn_alts *pn_alts_one(struct pn_schema *s, enum pn_json_type type, const struct pn_alt *alt, bool others);
const struct pn_alts *pn_alts_all(struct pn_schema *s);
const struct pn_alts *pn_alts_none(struct pn_schema *s);
/* The alternatives of the types whose bits are set. */
const struct pn_alts *pn_alts_of(struct pn_schema *s, const struct pn_alts *a, unsigned types);
const struct pn_alts *pn_alts_and(struct pn_schema *s, const struct pn_place *place, const struct pn_alts *a,
                                  const struct pn_alts *b);
const struct pn_alts *pn_alts_or(struct pn_schema *s, const struct pn_place *place, const struct pn_alts *a,
                                 const struct pn_alts *b);
const struct pn_alts *pn_alts_not(struct pn_schema *s, const struct pn_place *place, const struct pn_alts *a);
/* The concatenation of two arrays. */
void *pn_schema_join(struct pn_schema *s, const void *a, size_t n_a, const void *b, size_t n_b, size_t size);

/* schema_keys.c: sets of keys */
bool pn_keys_have(struct pn_schema *s, const struct pn_keys *keys, struct pn_str name);
/* Whether a key that no set names and that matches just the languages whose bits are set is in `keys`. */
bool pn_keys_have_cell(const struct pn_keys *keys, const struct pn_language *all, size_t n, uint64_t cell);
bool pn_str_same(struct pn_str a, struct pn_str b);

/* schema_values.c */
/* Makes the shared expressions. */
void pn_schema_shared(struct pn_schema *s);
/* A value that satisfies the goal: a reference to its rule. */
pn_expr pn_schema_value(struct pn_schema *s, int goal);
/* A JSON string: exactly this one, or one of an expression over code points. */
pn_expr pn_schema_string(struct pn_schema *s, struct pn_str text);
pn_expr pn_schema_quoted(struct pn_schema *s, pn_expr text);
pn_expr pn_expr_pair(struct pn_schema *s, pn_expr a, pn_expr b);
pn_expr pn_expr_optional(struct pn_schema *s, pn_expr e);

/* schema_object.c, schema_array.c */
pn_expr pn_object_expr(struct pn_schema *s, const struct pn_place *place, const struct pn_object *object);
pn_expr pn_array_expr(struct pn_schema *s, const struct pn_place *place, const struct pn_array *array);

/* schema_expand.c */
const struct pn_alts *pn_literal_alts(struct pn_schema *s, int literal);
const struct pn_alts *pn_goal_alts(struct pn_schema *s, int goal);
/* The literal that holds where one of these does. */
int pn_schema_any_literal(struct pn_schema *s, const struct pn_place *parent, const int *literals, size_t n);
/* The literals of all rules for the key or the item, as a goal. */
int pn_object_goal(struct pn_schema *s, const struct pn_object *o, struct pn_str name);
int pn_array_goal(struct pn_schema *s, const struct pn_array *a, int64_t at);

/* schema_text.c */
/* Adds the language of a pattern (searched), or of a format if it is a known one. */
bool pn_text_pattern(struct pn_schema *s, const struct pn_place *place, const json_t *pattern, struct pn_language *out);
bool pn_text_format(struct pn_schema *s, const json_t *format, struct pn_language *out, bool *known);
/* The strings, before they are written as JSON. */
pn_expr pn_text_expr(struct pn_schema *s, const struct pn_text *text);

/* schema_regular.c: questions about regular languages */
bool pn_language_has(struct pn_schema *s, const struct pn_language *language, struct pn_str text);
/* Whether it has no string. False also where the answer would take too long. */
bool pn_regular_is_empty(struct pn_schema *s, pn_expr e);
void pn_regular_free(struct pn_schema *s);

/* schema_alts.c */
bool pn_number_has(const struct pn_number *number, const struct pn_decimal *value);
bool pn_text_has(struct pn_schema *s, const struct pn_text *text, struct pn_str value);

#endif
