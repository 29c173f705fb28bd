/* Reads a schema's document: checks the form of every keyword and records places, addresses and anchors. */
#include "grammar/schema_impl.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

enum form {
    STRING,
    FLAG,
    VALUE,
    VALUES,
    TYPES,
    SCHEMA,
    SCHEMAS,
    SCHEMA_MAP,
    ITEMS,
    NUMBER,
    LIMIT,
    POSITIVE,
    COUNT,
    REQUIRED,
    NAMES_MAP,
    DEPENDENCIES
};

enum treatment { HANDLED, NOTE, REFUSED };

static const struct keyword {
    const char *name;
    enum form form;
    enum treatment treatment;
} keywords[] = {
#define PN_KEYWORD(name, form, treatment) {name, form, treatment},
#include "grammar/schema_keywords.def"
#undef PN_KEYWORD
};

static const struct keyword *find(const char *name)
{
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
        if (strcmp(keywords[i].name, name) == 0)
            return &keywords[i];
    return NULL;
}

/* ---- failures and memory ---- */

static void put_path(struct pn_buf *out, const struct pn_place *place)
{
    if (!place || !place->parent) {
        pn_buf_puts(out, "#");
        return;
    }
    put_path(out, place->parent);
    if (*place->step)
        pn_buf_printf(out, "/%s", place->step);
}

/* The place's path, deep ones by their first step. */
static void locate(struct pn_schema *s, const struct pn_place *place, const char *keyword)
{
    struct pn_buf path = {0};
    int above = 0;
    for (const struct pn_place *p = place; p; p = p->parent)
        above++;
    if (above > PN_SCHEMA_MAX_DEPTH + 20)
        pn_buf_puts(&path, "#/...");
    else
        put_path(&path, place);
    if (keyword)
        pn_buf_printf(&path, "/%s", keyword);
    if (path.data && path.len > 300)
        memcpy(path.data + 300, "...", 4);
    pn_fail_prefix(s->err, "%s", path.data ? path.data : "#");
    pn_buf_free(&path);
}

void *pn_schema_fail(struct pn_schema *s, pantry_status status, const struct pn_place *place, const char *keyword,
                     const char *format, ...)
{
    va_list args;
    if (s->status)
        return NULL;
    va_start(args, format);
    s->status = pn_vfail(s->err, status, format, args);
    va_end(args);
    locate(s, place, keyword);
    return NULL;
}

void pn_schema_locate(struct pn_schema *s, const struct pn_place *place)
{
    locate(s, place, NULL);
}

void *pn_schema_no_memory(struct pn_schema *s)
{
    if (!s->status)
        s->status = pn_no_memory(s->err, "a schema");
    return NULL;
}

bool pn_schema_step(struct pn_schema *s, const struct pn_place *place, size_t n)
{
    s->steps += n;
    if (s->steps > PN_SCHEMA_MAX_STEPS)
        pn_schema_fail(s, PANTRY_LIMIT, place, NULL, "the schema has too many combinations for a grammar");
    return !s->status;
}

void *pn_schema_alloc(struct pn_schema *s, size_t count, size_t size)
{
    if (s->status)
        return NULL;
    if (s->arena.used > PN_EXPR_MAX_BYTES)
        return pn_schema_fail(s, PANTRY_LIMIT, NULL, NULL, "the schema needs too much memory");
    void *p = pn_arena_array(&s->arena, count ? count : 1, size);
    return p ? p : pn_schema_no_memory(s);
}

/* ---- places ---- */

static size_t slot_of(const struct pn_schema *s, const json_t *json)
{
    uint64_t h = (uint64_t)(uintptr_t)json * 0x9E3779B97F4A7C15u;
    return (size_t)(h >> 20) & (s->n_place_slots - 1);
}

static bool grow_table(struct pn_schema *s)
{
    size_t n = s->n_place_slots ? s->n_place_slots * 2 : 256, old_n = s->n_place_slots;
    struct pn_place **old = s->places;
    s->places = pn_schema_alloc(s, n, sizeof *s->places);
    if (!s->places)
        return false;
    s->n_place_slots = n;
    for (size_t i = 0; i < old_n; i++)
        for (struct pn_place *p = old[i], *next; p; p = next) {
            next = p->hashed;
            struct pn_place **slot = &s->places[slot_of(s, p->json)];
            p->hashed = *slot;
            *slot = p;
        }
    return true;
}

static struct pn_place *lookup(const struct pn_schema *s, const json_t *json)
{
    if (!s->n_place_slots)
        return NULL;
    struct pn_place *p = s->places[slot_of(s, json)];
    while (p && p->json != json)
        p = p->hashed;
    return p;
}

/* "keyword/name", with ~ and / of the name escaped. */
static const char *step_text(struct pn_schema *s, const char *keyword, const char *name)
{
    struct pn_buf text = {0};
    pn_buf_puts(&text, keyword);
    if (name)
        pn_buf_putc(&text, '/');
    for (; name && *name; name++) {
        if (*name == '~' || *name == '/')
            pn_buf_puts(&text, *name == '~' ? "~0" : "~1");
        else
            pn_buf_putc(&text, *name);
    }
    const char *copy = text.failed || !text.data ? NULL : pn_arena_copy(&s->arena, text.data, text.len);
    pn_buf_free(&text);
    return copy ? copy : pn_schema_no_memory(s);
}

static enum pn_truth truth_of(const json_t *json)
{
    const char *key;
    json_t *value;
    if (!json_is_object(json))
        return json_is_true(json) ? PN_ALWAYS : PN_NEVER;
    json_object_foreach((json_t *)json, key, value)
    {
        const struct keyword *k = find(key);
        if (k && k->treatment != NOTE && k->form != SCHEMA_MAP && key[0] != '$')
            return PN_UNDECIDED;
        if (k && k->form == SCHEMA_MAP && key[0] != '$' && strcmp(key, "definitions") != 0 && json_object_size(value))
            return PN_UNDECIDED;
        if (strcmp(key, "$ref") == 0 || strcmp(key, "$dynamicRef") == 0 || strcmp(key, "$recursiveRef") == 0)
            return PN_UNDECIDED;
    }
    return PN_ALWAYS;
}

static struct pn_place *new_place(struct pn_schema *s, const struct pn_place *parent, const json_t *json)
{
    struct pn_place *p = pn_schema_alloc(s, 1, sizeof *p);
    if (!p || (s->n_places >= s->n_place_slots / 2 && !grow_table(s)))
        return NULL;
    if (++s->n_places > PN_SCHEMA_MAX_PLACES)
        return pn_schema_fail(s, PANTRY_LIMIT, parent, NULL, "more than %d schemas in one", PN_SCHEMA_MAX_PLACES);
    *p = (struct pn_place){.json = json, .parent = parent, .step = "", .literals = -1, .truth = truth_of(json)};
    p->resource = parent ? parent->resource : NULL;
    struct pn_place **slot = &s->places[slot_of(s, json)];
    p->hashed = *slot;
    *slot = p;
    return p;
}

static struct pn_anchor *find_anchor(const struct pn_resource *resource, const char *name)
{
    struct pn_anchor *a = resource->anchors;
    while (a && strcmp(a->name, name) != 0)
        a = a->next;
    return a;
}

static bool add_anchor(struct pn_schema *s, struct pn_place *place, const char *name, bool dynamic)
{
    struct pn_anchor *a = find_anchor(place->resource, name);
    if (a && a->place != place)
        return pn_schema_fail(s, PANTRY_FORMAT, place, dynamic ? "$dynamicAnchor" : "$anchor",
                              "another schema has the anchor %.200s", name) != NULL;
    if (a) {
        a->dynamic = a->dynamic || dynamic;
        return true;
    }
    a = pn_schema_alloc(s, 1, sizeof *a);
    if (!a)
        return false;
    *a = (struct pn_anchor){place->resource->anchors, name, place, dynamic};
    place->resource->anchors = a;
    return true;
}

static bool new_resource(struct pn_schema *s, struct pn_place *place, const char *id)
{
    struct pn_resource *r = pn_schema_alloc(s, 1, sizeof *r);
    const char *base = place->resource ? place->resource->uri : "";
    char *uri = NULL;
    if (r) {
        const char *resolved = pn_uri_resolve(&s->arena, base, id);
        uri = resolved ? pn_arena_copy(&s->arena, resolved, strcspn(resolved, "#")) : NULL;
    }
    if (!uri)
        return pn_schema_no_memory(s) != NULL;
    *r = (struct pn_resource){.next = s->resources, .uri = uri, .root = place, .number = s->n_resources++};
    s->resources = r;
    place->resource = r;
    return true;
}

static bool identify(struct pn_schema *s, struct pn_place *place)
{
    const json_t *json = place->json;
    const char *id = json_string_value(json_object_get(json, "$id"));
    const char *anchor = json_string_value(json_object_get(json, "$anchor"));
    const char *dynamic = json_string_value(json_object_get(json, "$dynamicAnchor"));
    if ((!place->resource || (id && id[0] != '#')) && !new_resource(s, place, id && id[0] != '#' ? id : ""))
        return false;
    if (id && id[0] == '#' && id[1] && !add_anchor(s, place, id + 1, false)) /* until draft 7 */
        return false;
    if (anchor && !add_anchor(s, place, anchor, false))
        return false;
    return !dynamic || add_anchor(s, place, dynamic, true);
}

/* ---- forms ---- */

static bool is_count(const json_t *v)
{
    if (json_is_integer(v))
        return json_integer_value(v) >= 0;
    double x = json_real_value(v);
    return json_is_real(v) && x >= 0 && x < 1e18 && x == (double)(int64_t)x;
}

static bool are_names(const json_t *v)
{
    size_t i;
    json_t *name;
    if (!json_is_array(v))
        return false;
    json_array_foreach((json_t *)v, i, name)
    {
        if (!json_is_string(name))
            return false;
    }
    return true;
}

static bool is_type(const json_t *v)
{
    static const char *const names[] = {"null", "boolean", "number", "integer", "string", "array", "object"};
    for (size_t i = 0; json_is_string(v) && i < sizeof names / sizeof *names; i++)
        if (strcmp(json_string_value(v), names[i]) == 0)
            return true;
    return false;
}

static bool are_types(const json_t *v)
{
    size_t i;
    json_t *type;
    if (!json_is_array(v))
        return is_type(v);
    json_array_foreach((json_t *)v, i, type)
    {
        if (!is_type(type))
            return false;
    }
    return true;
}

/* What the form demands, if the value is not of it; NULL otherwise. Parts that are schemas are checked later. */
static const char *complaint(enum form form, const json_t *v)
{
    switch (form) {
    case STRING:
        return json_is_string(v) ? NULL : "has to be a string";
    case FLAG:
        return json_is_boolean(v) ? NULL : "has to be true or false";
    case VALUES:
        return json_is_array(v) ? NULL : "has to be an array of values";
    case TYPES:
        return are_types(v) ? NULL
                            : "has to be null, boolean, number, integer, string, array, object, or an array of these";
    case SCHEMA:
        return json_is_object(v) || json_is_boolean(v) ? NULL : "has to be a schema: an object, true or false";
    case ITEMS:
        return json_is_object(v) || json_is_boolean(v) || json_is_array(v) ? NULL : "has to be a schema";
    case SCHEMAS:
        return json_is_array(v) ? NULL : "has to be an array of schemas";
    case SCHEMA_MAP:
        return json_is_object(v) ? NULL : "has to be an object of schemas";
    case NUMBER:
        return json_is_number(v) ? NULL : "has to be a number";
    case LIMIT:
        return json_is_number(v) || json_is_boolean(v) ? NULL : "has to be a number";
    case POSITIVE:
        return json_is_number(v) && json_number_value(v) > 0 ? NULL : "has to be a number above 0";
    case COUNT:
        return is_count(v) ? NULL : "has to be an integer, 0 or more";
    case REQUIRED: /* a flag in draft 3, and in careless schemas of tools */
        return are_names(v) ? NULL : "has to be an array of names";
    case NAMES_MAP:
    case DEPENDENCIES:
        return json_is_object(v) ? NULL : "has to be an object";
    case VALUE:
        break;
    }
    return NULL;
}

/* ---- the walk ---- */

static bool walk(struct pn_schema *s, struct pn_place *place, int depth);

static struct pn_place *add(struct pn_schema *s, const struct pn_place *parent, const char *keyword, const char *name,
                            const json_t *json, int depth)
{
    if (json_is_boolean(json))
        return json_is_true(json) ? s->yes : s->no;
    if (!json_is_object(json)) {
        const char *step = step_text(s, keyword, name);
        return step ? pn_schema_fail(s, PANTRY_FORMAT, parent, step, "has to be a schema: an object, true or false")
                    : NULL;
    }
    struct pn_place *place = lookup(s, json);
    if (place)
        return place;
    place = new_place(s, parent, json);
    if (!place || !(place->step = step_text(s, keyword, name)) || !identify(s, place))
        return NULL;
    return walk(s, place, depth + 1) ? place : NULL;
}

static bool walk_list(struct pn_schema *s, struct pn_place *place, const char *key, const json_t *list, int depth)
{
    size_t i;
    json_t *item;
    char index[24];
    json_array_foreach((json_t *)list, i, item)
    {
        snprintf(index, sizeof index, "%zu", i);
        if (!add(s, place, key, index, item, depth))
            return false;
    }
    return true;
}

static bool walk_map(struct pn_schema *s, struct pn_place *place, enum form form, const char *key, const json_t *map,
                     int depth)
{
    const char *name;
    json_t *item;
    json_object_foreach((json_t *)map, name, item)
    {
        if (form == NAMES_MAP || (form == DEPENDENCIES && json_is_array(item))) {
            if (!are_names(item))
                return pn_schema_fail(s, PANTRY_FORMAT, place, key, "%.100s has to be an array of names", name) != NULL;
        } else if (!add(s, place, key, name, item, depth)) {
            return false;
        }
    }
    return true;
}

static bool walk(struct pn_schema *s, struct pn_place *place, int depth)
{
    const char *key;
    json_t *value;
    if (depth > PN_SCHEMA_MAX_DEPTH)
        return pn_schema_fail(s, PANTRY_LIMIT, place, NULL, "schemas are nested deeper than %d levels",
                              PN_SCHEMA_MAX_DEPTH) != NULL;
    json_object_foreach((json_t *)place->json, key, value)
    {
        const struct keyword *k = find(key);
        const char *wrong = k ? complaint(k->form, value) : NULL;
        bool fine = true;
        if (wrong)
            return pn_schema_fail(s, PANTRY_FORMAT, place, key, "%s", wrong) != NULL;
        if (!k)
            continue;
        if (k->form == SCHEMA || (k->form == ITEMS && !json_is_array(value)))
            fine = add(s, place, key, NULL, value, depth) != NULL;
        else if (k->form == SCHEMAS || k->form == ITEMS)
            fine = walk_list(s, place, key, value, depth);
        else if (k->form == SCHEMA_MAP || k->form == NAMES_MAP || k->form == DEPENDENCIES)
            fine = walk_map(s, place, k->form, key, value, depth);
        if (!fine)
            return false;
        s->has_unevaluated = s->has_unevaluated || strncmp(key, "unevaluated", 11) == 0;
        s->has_dynamic = s->has_dynamic || strcmp(key, "$dynamicRef") == 0;
    }
    return true;
}

struct pn_place *pn_schema_sub(struct pn_schema *s, const struct pn_place *parent, const char *keyword,
                               const char *name, const json_t *json)
{
    return s->status ? NULL : add(s, parent, keyword, name, json, 0);
}

struct pn_place *pn_schema_made(struct pn_schema *s, const struct pn_place *parent, json_t *json)
{
    if (!json || s->status || !pn_vec_push(&s->owned, json)) {
        json_decref(json);
        return pn_schema_no_memory(s);
    }
    return add(s, parent, "", NULL, json, 0);
}

struct pn_place *pn_schema_read_at(struct pn_schema *s, struct pn_resource *resource, const json_t *json,
                                   const char *pointer)
{
    struct pn_place *known = json_is_object(json) ? lookup(s, json) : NULL;
    return known ? known : add(s, resource->root, pointer, NULL, json, 0);
}

/* Whether the dialect is one whose keywords this table has. */
static bool known_dialect(const char *uri)
{
    const char *rest = strncmp(uri, "http", 4) == 0 ? uri + 4 : uri;
    rest += *rest == 's';
    return strncmp(rest, "://json-schema.org/", 19) == 0;
}

bool pn_schema_admits(struct pn_schema *s, const struct pn_place *place)
{
    const char *key, *dialect = json_string_value(json_object_get(place->json, "$schema"));
    json_t *value;
    if (dialect && !known_dialect(dialect))
        pn_schema_fail(s, PANTRY_UNSUPPORTED, place, "$schema", "unknown dialect %.200s", dialect);
    json_object_foreach((json_t *)place->json, key, value)
    {
        const struct keyword *k = find(key);
        if (k && k->treatment == REFUSED && !json_is_false(value))
            pn_schema_fail(s, PANTRY_UNSUPPORTED, place, key, "this keyword is not supported");
    }
    return !s->status;
}

bool pn_schema_read(struct pn_schema *s, const json_t *root)
{
    s->yes = pn_schema_alloc(s, 1, sizeof *s->yes);
    s->no = pn_schema_alloc(s, 1, sizeof *s->no);
    if (!s->yes || !s->no)
        return false;
    *s->yes = (struct pn_place){.truth = PN_ALWAYS, .step = "", .literals = -1};
    *s->no = (struct pn_place){.truth = PN_NEVER, .step = "", .literals = -1};
    s->root = json_is_true(root) ? s->yes : json_is_false(root) ? s->no : NULL;
    if (s->root)
        return true;
    if (!json_is_object(root))
        return pn_schema_fail(s, PANTRY_FORMAT, NULL, NULL, "a schema has to be an object, true or false") != NULL;
    s->root = new_place(s, NULL, root);
    return s->root && identify(s, s->root) && walk(s, s->root, 0);
}
