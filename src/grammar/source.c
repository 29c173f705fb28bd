/* Compiles sources and remembers the last ones: see source.h. */
#include "grammar/source.h"

#include "grammar/gbnf.h"
#include "grammar/regex.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { KEPT = 64, KEPT_BYTES = 128 << 20 };

struct entry {
    enum pn_grammar_kind kind;
    struct pn_schema_options options;
    char *text;
    size_t n;
    struct pn_grammar *grammar;
    uint64_t used; /* when, counted in calls */
};

static struct {
    pthread_mutex_t lock;
    struct entry entries[KEPT];
    uint64_t now;
} cache = {.lock = PTHREAD_MUTEX_INITIALIZER};

pantry_status pn_grammar_parse(struct pn_expr_builder *b, enum pn_grammar_kind kind, const char *text, size_t n,
                               const struct pn_schema_options *options, pn_expr *root, struct pantry_error *err)
{
    switch (kind) {
    case PN_GRAMMAR_SCHEMA:
        return pn_schema_parse(b, text, n, options, root, err);
    case PN_GRAMMAR_GBNF:
        return pn_gbnf_parse(b, text, n, root, err);
    case PN_GRAMMAR_REGEX:
        return pn_regex_parse(b, text, n, PN_REGEX_FULL, root, err);
    case PN_GRAMMAR_JSON:
    case PN_GRAMMAR_OBJECT:
        return pn_schema_any(b, kind == PN_GRAMMAR_OBJECT, options, root, err);
    default:
        return pn_fail(err, PANTRY_INVALID, "unknown kind of grammar (found %d)", (int)kind);
    }
}

static pantry_status compile(enum pn_grammar_kind kind, const char *text, size_t n,
                             const struct pn_schema_options *options, struct pn_grammar **out, struct pantry_error *err)
{
    struct pn_expr_builder *b;
    pn_expr root = PN_EXPR_NONE;
    if (kind == PN_GRAMMAR_SCHEMA) /* which also tells the pattern at fault where the whole is too large */
        return pn_schema_compile_text(text, n, options, out, err);
    pantry_status status = pn_expr_builder_new(&b, err);
    if (status)
        return status;
    status = pn_grammar_parse(b, kind, text, n, options, &root, err);
    if (!status)
        status = pn_grammar_compile(b, root, out, err);
    pn_expr_builder_free(b);
    return status;
}

static bool is_same(const struct entry *e, enum pn_grammar_kind kind, const char *text, size_t n,
                    const struct pn_schema_options *options)
{
    return e->grammar && e->kind == kind && e->n == n && e->options.space == options->space &&
           e->options.closed == options->closed && memcmp(e->text, text, n) == 0;
}

static struct pn_grammar *find(enum pn_grammar_kind kind, const char *text, size_t n,
                               const struct pn_schema_options *options)
{
    struct pn_grammar *found = NULL;
    pthread_mutex_lock(&cache.lock);
    for (int i = 0; i < KEPT && !found; i++)
        if (is_same(&cache.entries[i], kind, text, n, options)) {
            cache.entries[i].used = ++cache.now;
            found = pn_grammar_share(cache.entries[i].grammar);
        }
    pthread_mutex_unlock(&cache.lock);
    return found;
}

static size_t bytes_of(const struct entry *e)
{
    return e->grammar ? e->n + e->grammar->arena.used : 0;
}

static void drop(struct entry *e)
{
    pn_grammar_free(e->grammar);
    free(e->text);
    *e = (struct entry){0};
}

/* The entry used least; NULL: none is taken. */
static struct entry *least_used(void)
{
    struct entry *found = NULL;
    for (int i = 0; i < KEPT; i++)
        if (cache.entries[i].grammar && (!found || cache.entries[i].used < found->used))
            found = &cache.entries[i];
    return found;
}

static struct entry *free_entry(void)
{
    for (int i = 0; i < KEPT; i++)
        if (!cache.entries[i].grammar)
            return &cache.entries[i];
    drop(least_used());
    return free_entry();
}

/* Keeps the grammar in place of those used least, if it is not large itself. Takes over `copy`. */
static void keep(enum pn_grammar_kind kind, char *copy, size_t n, const struct pn_schema_options *options,
                 struct pn_grammar *grammar)
{
    struct entry new = {.kind = kind, .options = *options, .text = copy, .n = n, .grammar = grammar};
    size_t total = bytes_of(&new);
    if (total > KEPT_BYTES / 4) {
        free(copy);
        return;
    }
    pthread_mutex_lock(&cache.lock);
    for (int i = 0; i < KEPT; i++)
        total += bytes_of(&cache.entries[i]);
    while (total > KEPT_BYTES) { /* ends: the new one alone is smaller */
        struct entry *old = least_used();
        total -= bytes_of(old);
        drop(old);
    }
    pn_grammar_share(grammar);
    new.used = ++cache.now;
    *free_entry() = new;
    pthread_mutex_unlock(&cache.lock);
}

pantry_status pn_grammar_make(enum pn_grammar_kind kind, const char *text, size_t n,
                              const struct pn_schema_options *options, struct pn_grammar **out,
                              struct pantry_error *err)
{
    static const struct pn_schema_options defaults;
    options = options ? options : &defaults;
    if (kind == PN_GRAMMAR_JSON || kind == PN_GRAMMAR_OBJECT)
        text = "", n = 0;
    *out = find(kind, text, n, options);
    if (*out)
        return PANTRY_OK;
    pantry_status status = compile(kind, text, n, options, out, err);
    if (status)
        return status;
    char *copy = malloc(n + 1);
    if (copy) {
        memcpy(copy, text, n);
        keep(kind, copy, n, options, *out);
    }
    return PANTRY_OK;
}
