/* TOML documents: see toml.h. Tables and their members; scalars are in toml_scalar.c.
 *
 * A table is made by a header, by a dotted key, or as {...}. A header may not name one that a header or a dotted key of
 * an earlier section has made; a dotted key may add only to what dotted keys of its own section made, and to what
 * longer headers implied. */
#include "base/toml.h"

#include "base/toml_scalar.h"

#include <string.h>

enum { MAX_VALUES = 16384, MAX_DEPTH = 64 };

struct document {
    struct pn_toml_reader r;
    struct pn_toml *root, *section;
    int n_sections, n_values;
};

const char *pn_toml_kind_text(enum pn_toml_kind kind)
{
    static const char *const texts[] = {"a table",  "an array",      "a string", "a whole number",
                                        "a number", "true or false", "a time"};
    return texts[kind];
}

/* ---- the tree ---- */

static struct pn_toml *find(const struct pn_toml *table, const char *key, size_t len)
{
    struct pn_toml *v = table->first;
    while (v && !(v->key_len == len && memcmp(v->key, key, len) == 0))
        v = v->next;
    return v;
}

const struct pn_toml *pn_toml_get(const struct pn_toml *table, const char *key)
{
    return find(table, key, strlen(key));
}

static pantry_status new_value(struct document *d, enum pn_toml_kind kind, struct pn_toml **out)
{
    if (++d->n_values > MAX_VALUES)
        return pn_toml_fail(&d->r, "too many values (allowed %d)", MAX_VALUES);
    struct pn_toml *v = *out = pn_arena_alloc(d->r.arena, sizeof *v);
    if (!v)
        return pn_no_memory(d->r.err, d->r.name);
    v->kind = kind;
    v->line = d->r.line;
    return PANTRY_OK;
}

static void append(struct pn_toml *parent, struct pn_toml *v)
{
    if (parent->last)
        parent->last->next = v;
    else
        parent->first = v;
    parent->last = v;
}

static pantry_status add_member(struct document *d, struct pn_toml *table, const char *key, size_t len,
                                enum pn_toml_kind kind, struct pn_toml **out)
{
    pantry_status status = new_value(d, kind, out);
    if (status)
        return status;
    (*out)->key = key;
    (*out)->key_len = len;
    append(table, *out);
    return PANTRY_OK;
}

/* ---- space between values ---- */

/* Up to the end of the line, which is left. */
static pantry_status skip_comment(struct document *d)
{
    struct pn_toml_reader *r = &d->r;
    pn_toml_skip_blanks(r);
    if (*r->at != '#')
        return PANTRY_OK;
    for (; r->at < r->end && *r->at != '\n' && !(*r->at == '\r' && r->at[1] == '\n'); r->at++)
        if (((unsigned char)*r->at < 0x20 && *r->at != '\t') || *r->at == 0x7F)
            return pn_toml_fail(r, "control character in a comment (found 0x%02x)", (unsigned char)*r->at);
    return PANTRY_OK;
}

static bool skip_line_end(struct pn_toml_reader *r)
{
    size_t n = *r->at == '\n' ? 1 : *r->at == '\r' && r->at[1] == '\n' ? 2 : 0;
    r->at += n;
    r->line += n > 0;
    return n > 0;
}

/* The length of what an error shows of a text: whole characters of one line. */
static int span_shown(const char *text)
{
    int n = 0;
    while (n < 20 && (unsigned char)text[n] >= 0x20)
        n++;
    while (n && ((unsigned char)text[n] & 0xC0) == 0x80)
        n--;
    return n;
}

/* Nothing but a comment may follow in this line. */
static pantry_status end_line(struct document *d)
{
    pantry_status status = skip_comment(d);
    if (!status && !skip_line_end(&d->r) && d->r.at < d->r.end)
        status = pn_toml_fail(&d->r, "unexpected text after a value or header (found \"%.*s\")", span_shown(d->r.at),
                              d->r.at);
    return status;
}

static pantry_status skip_lines(struct document *d)
{
    pantry_status status;
    do
        status = skip_comment(d);
    while (!status && skip_line_end(&d->r));
    return status;
}

/* ---- values ---- */

static pantry_status read_pair(struct document *d, struct pn_toml *table, bool inside, int depth);

static pantry_status read_inline(struct document *d, struct pn_toml *table, int depth)
{
    struct pn_toml_reader *r = &d->r;
    pantry_status status;
    r->at++;
    pn_toml_skip_blanks(r);
    if (*r->at == '}') {
        r->at++;
        return PANTRY_OK;
    }
    for (;;) {
        if ((status = read_pair(d, table, true, depth)))
            return status;
        pn_toml_skip_blanks(r);
        if (*r->at == '}') {
            r->at++;
            return PANTRY_OK;
        }
        if (*r->at != ',')
            return pn_toml_fail(r, "a table in braces goes on with \",\" or ends with \"}\" in the same line");
        r->at++;
        pn_toml_skip_blanks(r);
    }
}

static pantry_status read_value(struct document *d, struct pn_toml *v, int depth);

static pantry_status read_array(struct document *d, struct pn_toml *array, int depth)
{
    struct pn_toml_reader *r = &d->r;
    int began = r->line;
    r->at++;
    for (;;) {
        struct pn_toml *v;
        pantry_status status = skip_lines(d);
        if (status)
            return status;
        if (*r->at == ']') {
            r->at++;
            return PANTRY_OK;
        }
        if ((status = new_value(d, PN_TOML_BOOL, &v)) || (status = read_value(d, v, depth)))
            return status;
        append(array, v);
        if ((status = skip_lines(d)))
            return status;
        if (*r->at == ',')
            r->at++;
        else if (*r->at != ']')
            return pn_toml_fail(r, "the array that begins in line %d goes on with \",\" or ends with \"]\"", began);
    }
}

static pantry_status read_value(struct document *d, struct pn_toml *v, int depth)
{
    if (*d->r.at != '[' && *d->r.at != '{')
        return pn_toml_read_scalar(&d->r, v);
    if (depth >= MAX_DEPTH)
        return pn_toml_fail(&d->r, "values nest too deeply (allowed %d)", MAX_DEPTH);
    bool array = *d->r.at == '[';
    v->kind = array ? PN_TOML_ARRAY : PN_TOML_TABLE;
    v->frozen = true;
    return array ? read_array(d, v, depth + 1) : read_inline(d, v, depth + 1);
}

/* ---- keys ---- */

/* After a part of a key: moves to the next one if there is one. */
static bool is_dotted(struct pn_toml_reader *r)
{
    pn_toml_skip_blanks(r);
    if (*r->at != '.')
        return false;
    r->at++;
    pn_toml_skip_blanks(r);
    return true;
}

static pantry_status taken(const struct document *d, const struct pn_toml *v)
{
    return pn_toml_fail(&d->r, "%.100s: defined twice (first in line %d)", v->key, v->line);
}

/* The table that a part of a dotted key leads to. */
static pantry_status enter_dotted(struct document *d, struct pn_toml **table, const char *key, size_t len, bool inside)
{
    struct pn_toml *v = find(*table, key, len);
    pantry_status status = PANTRY_OK;
    if (!v)
        status = add_member(d, *table, key, len, PN_TOML_TABLE, &v);
    else if (v->kind != PN_TOML_TABLE || v->frozen || v->declared ||
             (!inside && v->dotted_in && v->dotted_in != d->n_sections))
        status = taken(d, v);
    if (status)
        return status;
    v->dotted_in = d->n_sections;
    *table = v;
    return PANTRY_OK;
}

/* "a.b = value", in the document or (inside) in braces. */
static pantry_status read_pair(struct document *d, struct pn_toml *table, bool inside, int depth)
{
    struct pn_toml_reader *r = &d->r;
    struct pn_toml *v;
    const char *key;
    size_t len;
    pantry_status status = pn_toml_read_key(r, &key, &len);
    for (int parts = depth + 1; !status && is_dotted(r); parts++) {
        status = parts > MAX_DEPTH ? pn_toml_fail(r, "values nest too deeply (allowed %d)", MAX_DEPTH)
                                   : enter_dotted(d, &table, key, len, inside);
        if (!status)
            status = pn_toml_read_key(r, &key, &len);
    }
    if (status)
        return status;
    if (*r->at != '=')
        return pn_toml_fail(r, "%.100s: a key goes on with \"=\"", key);
    r->at++;
    pn_toml_skip_blanks(r);
    if ((v = find(table, key, len)))
        return taken(d, v);
    if ((status = add_member(d, table, key, len, PN_TOML_BOOL, &v)))
        return status;
    return read_value(d, v, depth);
}

/* ---- headers ---- */

/* The table that a part of a header before the last leads to: of an array of tables the last one. */
static pantry_status enter_header(struct document *d, struct pn_toml **table, const char *key, size_t len)
{
    struct pn_toml *v = find(*table, key, len);
    if (!v) {
        pantry_status status = add_member(d, *table, key, len, PN_TOML_TABLE, &v);
        if (status)
            return status;
    }
    if (v->frozen || (v->kind != PN_TOML_TABLE && v->kind != PN_TOML_ARRAY))
        return taken(d, v);
    *table = v->kind == PN_TOML_ARRAY ? v->last : v;
    return PANTRY_OK;
}

static pantry_status declare_table(struct document *d, struct pn_toml *parent, const char *key, size_t len)
{
    struct pn_toml *v = find(parent, key, len);
    pantry_status status = PANTRY_OK;
    if (!v)
        status = add_member(d, parent, key, len, PN_TOML_TABLE, &v);
    else if (v->kind != PN_TOML_TABLE || v->frozen || v->declared || v->dotted_in)
        status = taken(d, v);
    if (status)
        return status;
    v->declared = true;
    v->line = d->r.line;
    d->section = v;
    return PANTRY_OK;
}

static pantry_status declare_element(struct document *d, struct pn_toml *parent, const char *key, size_t len)
{
    struct pn_toml *v = find(parent, key, len), *element;
    pantry_status status = PANTRY_OK;
    if (!v)
        status = add_member(d, parent, key, len, PN_TOML_ARRAY, &v);
    else if (v->kind != PN_TOML_ARRAY || v->frozen)
        status = taken(d, v);
    if (!status)
        status = new_value(d, PN_TOML_TABLE, &element);
    if (status)
        return status;
    append(v, element);
    element->declared = true;
    d->section = element;
    return PANTRY_OK;
}

static pantry_status read_header(struct document *d)
{
    struct pn_toml_reader *r = &d->r;
    struct pn_toml *table = d->root;
    const char *key;
    size_t len;
    bool element = r->at[1] == '[';
    r->at += element ? 2 : 1;
    pn_toml_skip_blanks(r);
    d->n_sections++;
    pantry_status status = pn_toml_read_key(r, &key, &len);
    for (int parts = 1; !status && is_dotted(r); parts++) {
        status = parts >= MAX_DEPTH ? pn_toml_fail(r, "tables nest too deeply (allowed %d)", MAX_DEPTH)
                                    : enter_header(d, &table, key, len);
        if (!status)
            status = pn_toml_read_key(r, &key, &len);
    }
    if (!status && (*r->at != ']' || (element && r->at[1] != ']')))
        status = pn_toml_fail(r, "a header ends with \"%s\"", element ? "]]" : "]");
    if (status)
        return status;
    r->at += element ? 2 : 1;
    return element ? declare_element(d, table, key, len) : declare_table(d, table, key, len);
}

/* ---- documents ---- */

/* The length of a UTF-8 sequence, 0 if it is malformed. */
static size_t span_utf8(const unsigned char *p, size_t left)
{
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xC2 ? 0 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : p[0] < 0xF5 ? 4 : 0;
    if (n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    if (n > 2 && ((p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] > 0x9F) || (p[0] == 0xF0 && p[1] < 0x90) ||
                  (p[0] == 0xF4 && p[1] > 0x8F)))
        return 0;
    return n;
}

/* UTF-8 without NUL. */
static pantry_status check_text(struct document *d, const char *text, size_t len)
{
    d->r.line = 1;
    for (size_t i = 0; i < len;) {
        size_t n = span_utf8((const unsigned char *)text + i, len - i);
        if (n == 0 || !text[i])
            return pn_toml_fail(&d->r, "not UTF-8 text (found byte 0x%02x)", (unsigned char)text[i]);
        d->r.line += text[i] == '\n';
        i += n;
    }
    return PANTRY_OK;
}

static pantry_status read_document(struct document *d)
{
    pantry_status status = skip_lines(d);
    while (!status && d->r.at < d->r.end) {
        status = *d->r.at == '[' ? read_header(d) : read_pair(d, d->section, false, 0);
        if (!status)
            status = end_line(d);
        if (!status)
            status = skip_lines(d);
    }
    return status;
}

pantry_status pn_toml_parse(const char *text, size_t len, const char *name, struct pn_arena *arena,
                            struct pn_toml **root, struct pantry_error *err)
{
    struct document d = {.r = {.name = name, .arena = arena, .err = err}, .n_sections = 1};
    *root = NULL;
    if (len > PN_TOML_MAX)
        return pn_fail(err, PANTRY_LIMIT, "%s: too large (found %zu bytes, allowed %d)", name, len, PN_TOML_MAX);
    pantry_status status = check_text(&d, text, len);
    if (status)
        return status;
    char *copy = pn_arena_copy(arena, text, len);
    if (!copy)
        return pn_no_memory(err, name);
    d.r.line = 1;
    d.r.at = copy;
    d.r.end = copy + len;
    if ((status = new_value(&d, PN_TOML_TABLE, &d.root)))
        return status;
    d.section = d.root;
    if (!(status = read_document(&d)))
        *root = d.root;
    return status;
}
