/* YAML documents: see yaml.h. */
#include "base/yaml.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { MAX_VALUES = 16384, MAX_DEPTH = 64 };

struct document {
    yaml_parser_t parser;
    const char *name;
    struct pn_arena *arena;
    int n_values;
    struct pantry_error *err;
};

static int line_of(const yaml_event_t *e)
{
    return (int)e->start_mark.line + 1;
}

static pantry_status refuse(struct document *d, const yaml_event_t *e, const char *what)
{
    return pn_fail(d->err, PANTRY_FORMAT, "%s:%d: %s", d->name, line_of(e), what);
}

static pantry_status next_event(struct document *d, yaml_event_t *e)
{
    if (yaml_parser_parse(&d->parser, e))
        return PANTRY_OK;
    const yaml_parser_t *p = &d->parser;
    if (p->error == YAML_MEMORY_ERROR)
        return pn_no_memory(d->err, d->name);
    size_t line = p->error == YAML_READER_ERROR ? p->mark.line : p->problem_mark.line;
    return pn_fail(d->err, PANTRY_FORMAT, "%s:%d: is not YAML: %s", d->name, (int)line + 1,
                   p->problem ? p->problem : "unknown error");
}

static pantry_status new_value(struct document *d, const yaml_event_t *e, enum pn_yaml_kind kind, struct pn_yaml **out)
{
    if (++d->n_values > MAX_VALUES)
        return refuse(d, e, "too many values (allowed 16384)");
    *out = pn_arena_alloc(d->arena, sizeof **out);
    if (!*out)
        return pn_no_memory(d->err, d->name);
    (*out)->kind = kind;
    (*out)->line = line_of(e);
    return PANTRY_OK;
}

static void append(struct pn_yaml *parent, struct pn_yaml *v)
{
    if (parent->last)
        parent->last->next = v;
    else
        parent->first = v;
    parent->last = v;
}

static pantry_status check(struct document *d, const yaml_event_t *e)
{
    const yaml_char_t *anchor = e->type == YAML_SCALAR_EVENT           ? e->data.scalar.anchor
                                : e->type == YAML_SEQUENCE_START_EVENT ? e->data.sequence_start.anchor
                                : e->type == YAML_MAPPING_START_EVENT  ? e->data.mapping_start.anchor
                                                                       : NULL;
    const yaml_char_t *tag = e->type == YAML_SCALAR_EVENT           ? e->data.scalar.tag
                             : e->type == YAML_SEQUENCE_START_EVENT ? e->data.sequence_start.tag
                             : e->type == YAML_MAPPING_START_EVENT  ? e->data.mapping_start.tag
                                                                    : NULL;
    if (e->type == YAML_ALIAS_EVENT || anchor)
        return refuse(d, e, "anchors and aliases are not supported");
    return tag ? refuse(d, e, "tags are not supported") : PANTRY_OK;
}

static pantry_status copy_text(struct document *d, const yaml_event_t *e, const char **text)
{
    size_t len = e->data.scalar.length;
    if (memchr(e->data.scalar.value, '\0', len))
        return refuse(d, e, "a text has a NUL character");
    *text = pn_arena_copy(d->arena, (const char *)e->data.scalar.value, len);
    return *text ? PANTRY_OK : pn_no_memory(d->err, d->name);
}

static pantry_status read_value(struct document *d, const yaml_event_t *e, int depth, struct pn_yaml **out);

static pantry_status read_list(struct document *d, struct pn_yaml *list, int depth)
{
    for (;;) {
        yaml_event_t e;
        struct pn_yaml *v;
        pantry_status status = next_event(d, &e);
        if (status)
            return status;
        bool ends = e.type == YAML_SEQUENCE_END_EVENT;
        if (!ends && !(status = read_value(d, &e, depth + 1, &v)))
            append(list, v);
        yaml_event_delete(&e);
        if (ends || status)
            return status;
    }
}

static pantry_status read_key(struct document *d, const yaml_event_t *e, const struct pn_yaml *map, const char **key)
{
    if (e->type != YAML_SCALAR_EVENT)
        return refuse(d, e, "a key is not a text");
    pantry_status status = check(d, e);
    if (!status)
        status = copy_text(d, e, key);
    if (!status && pn_yaml_get(map, *key))
        status = pn_fail(d->err, PANTRY_FORMAT, "%s:%d: duplicate key \"%.60s\"", d->name, line_of(e), *key);
    return status;
}

static pantry_status read_map(struct document *d, struct pn_yaml *map, int depth)
{
    for (;;) {
        yaml_event_t e, of_value;
        const char *key;
        struct pn_yaml *v;
        pantry_status status = next_event(d, &e);
        if (status)
            return status;
        bool ends = e.type == YAML_MAPPING_END_EVENT;
        if (!ends)
            status = read_key(d, &e, map, &key);
        yaml_event_delete(&e);
        if (ends || status || (status = next_event(d, &of_value)))
            return status;
        status = read_value(d, &of_value, depth + 1, &v);
        yaml_event_delete(&of_value);
        if (status)
            return status;
        v->key = key;
        append(map, v);
    }
}

static pantry_status read_value(struct document *d, const yaml_event_t *e, int depth, struct pn_yaml **out)
{
    pantry_status status = check(d, e);
    if (!status && depth > MAX_DEPTH)
        status = refuse(d, e, "values nest too deeply (allowed 64)");
    if (!status)
        status = new_value(d, e,
                           e->type == YAML_MAPPING_START_EVENT    ? PN_YAML_MAP
                           : e->type == YAML_SEQUENCE_START_EVENT ? PN_YAML_LIST
                                                                  : PN_YAML_SCALAR,
                           out);
    if (status)
        return status;
    if (e->type == YAML_MAPPING_START_EVENT)
        return read_map(d, *out, depth);
    if (e->type == YAML_SEQUENCE_START_EVENT)
        return read_list(d, *out, depth);
    if (e->type != YAML_SCALAR_EVENT)
        return refuse(d, e, "a value is missing");
    (*out)->len = e->data.scalar.length;
    (*out)->plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    return copy_text(d, e, &(*out)->text);
}

/* The stream: its start, at most one document, its end. */
static pantry_status read_stream(struct document *d, struct pn_yaml **root)
{
    bool inside = false;
    for (;;) {
        yaml_event_t e;
        pantry_status status = next_event(d, &e);
        if (status)
            return status;
        yaml_event_type_t type = e.type;
        if (type == YAML_DOCUMENT_START_EVENT && *root)
            status = refuse(d, &e, "a second document begins");
        inside = type == YAML_DOCUMENT_START_EVENT || (inside && type != YAML_DOCUMENT_END_EVENT);
        if (!status && inside && type != YAML_DOCUMENT_START_EVENT)
            status = read_value(d, &e, 1, root);
        if (type == YAML_STREAM_END_EVENT && !*root)
            status = new_value(d, &e, PN_YAML_MAP, root);
        yaml_event_delete(&e);
        if (status || type == YAML_STREAM_END_EVENT)
            return status;
    }
}

pantry_status pn_yaml_parse(const char *text, size_t len, const char *name, struct pn_arena *arena,
                            struct pn_yaml **root, struct pantry_error *err)
{
    struct document d = {.name = name, .arena = arena, .err = err};
    *root = NULL;
    if (len > PN_YAML_MAX)
        return pn_fail(err, PANTRY_LIMIT, "%s: %zu bytes are too long (allowed %d)", name, len, PN_YAML_MAX);
    if (!yaml_parser_initialize(&d.parser))
        return pn_no_memory(err, name);
    yaml_parser_set_input_string(&d.parser, (const unsigned char *)text, len);
    pantry_status status = read_stream(&d, root);
    yaml_parser_delete(&d.parser);
    *root = status ? NULL : *root;
    return status;
}

const struct pn_yaml *pn_yaml_get(const struct pn_yaml *map, const char *key)
{
    const struct pn_yaml *v = map && map->kind == PN_YAML_MAP ? map->first : NULL;
    while (v && strcmp(v->key, key) != 0)
        v = v->next;
    return v;
}

/* ---- scalars ---- */

static bool is_one_of(const struct pn_yaml *v, const char *const *texts)
{
    if (!v || v->kind != PN_YAML_SCALAR || !v->plain)
        return false;
    for (; *texts; texts++)
        if (strcmp(v->text, *texts) == 0)
            return true;
    return false;
}

bool pn_yaml_is_null(const struct pn_yaml *v)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
    return is_one_of(v, nulls);
}

bool pn_yaml_truth(const struct pn_yaml *v, bool *out)
{
    static const char *const yes[] = {"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", NULL};
    static const char *const no[] = {"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", NULL};
    *out = is_one_of(v, yes);
    return *out || is_one_of(v, no);
}

/* Decimal numbers with digits, one point, an exponent, and underscores between digits. */
bool pn_yaml_number(const struct pn_yaml *v, double *out)
{
    char digits[64], *end;
    size_t n = 0;
    if (!v || v->kind != PN_YAML_SCALAR || !v->plain || v->len == 0 || v->len >= sizeof digits)
        return false;
    for (const char *at = v->text; *at; at++) {
        if (!strchr("0123456789.+-eE_", *at))
            return false;
        if (*at != '_')
            digits[n++] = *at;
    }
    digits[n] = '\0';
    *out = strtod(digits, &end);
    return n > 0 && *end == '\0' && isfinite(*out);
}
