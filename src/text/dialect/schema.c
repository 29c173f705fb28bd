/* The types that a tool's JSON schema allows for a parameter that the model wrote as plain text. */
#include "text/dialect/dialect_impl.h"

#include <string.h>

#define MAX_DEPTH 16

static const json_t *function_of(const json_t *tool)
{
    const json_t *function = json_object_get(tool, "function");
    return function ? function : tool;
}

static const json_t *find_tool(const json_t *tools, const char *name)
{
    size_t i;
    const json_t *tool;
    json_array_foreach(tools, i, tool)
    {
        const json_t *function = function_of(tool);
        const char *its_name = json_string_value(json_object_get(function, "name"));
        if (its_name && strcmp(its_name, name) == 0)
            return function;
    }
    return NULL;
}

bool pn_tool_known(const json_t *tools, const char *name)
{
    return find_tool(tools, name) != NULL;
}

const json_t *pn_tool_parameters(const json_t *tools, const char *name)
{
    const json_t *function = find_tool(tools, name);
    const json_t *parameters = json_object_get(function, "parameters");
    return parameters ? parameters : json_object_get(function, "input_schema");
}

/* "#/$defs/name" inside root. */
static const json_t *follow(const json_t *root, const char *ref)
{
    char key[256];
    if (strncmp(ref, "#/", 2) != 0)
        return NULL;
    for (ref += 2; root && *ref;) {
        size_t n = strcspn(ref, "/");
        if (n >= sizeof key)
            return NULL;
        memcpy(key, ref, n);
        key[n] = 0;
        root = json_object_get(root, key);
        ref += n + (ref[n] == '/');
    }
    return root;
}

const json_t *pn_schema_resolve(const json_t *root, const json_t *schema)
{
    for (int depth = 0; depth < MAX_DEPTH; depth++) {
        const char *ref = json_string_value(json_object_get(schema, "$ref"));
        if (!ref)
            return schema;
        schema = follow(root, ref);
    }
    return NULL;
}

static const char *const alternatives[] = {"anyOf", "oneOf", "allOf"};

static const json_t *property(const json_t *root, const json_t *schema, const char *key, int depth)
{
    schema = pn_schema_resolve(root, schema);
    if (!schema || depth > MAX_DEPTH)
        return NULL;
    const json_t *found = json_object_get(json_object_get(schema, "properties"), key);
    for (size_t k = 0; !found && k < 3; k++) {
        size_t i;
        const json_t *option;
        json_array_foreach(json_object_get(schema, alternatives[k]), i, option)
        {
            if ((found = property(root, option, key, depth + 1)))
                break;
        }
    }
    if (!found) {
        const json_t *others = json_object_get(schema, "additionalProperties");
        found = json_is_object(others) ? others : NULL;
    }
    return found;
}

const json_t *pn_schema_property(const json_t *root, const json_t *schema, const char *key)
{
    return property(root, schema, key, 0);
}

static unsigned type_named(const char *name)
{
    static const struct {
        const char *name;
        unsigned type;
    } types[] = {{"string", PN_JSON_STRING},   {"number", PN_JSON_NUMBER}, {"integer", PN_JSON_NUMBER},
                 {"boolean", PN_JSON_BOOLEAN}, {"null", PN_JSON_NULL},     {"object", PN_JSON_OBJECT},
                 {"array", PN_JSON_ARRAY}};
    for (size_t i = 0; name && i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].name, name) == 0)
            return types[i].type;
    return PN_JSON_ANY;
}

static unsigned type_of(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_STRING:
        return PN_JSON_STRING;
    case JSON_INTEGER:
    case JSON_REAL:
        return PN_JSON_NUMBER;
    case JSON_TRUE:
    case JSON_FALSE:
        return PN_JSON_BOOLEAN;
    case JSON_NULL:
        return PN_JSON_NULL;
    case JSON_OBJECT:
        return PN_JSON_OBJECT;
    default:
        return PN_JSON_ARRAY;
    }
}

/* `budget` bounds the number of schemas visited. */
static unsigned types_of(const json_t *root, const json_t *schema, int depth, int *budget)
{
    size_t i;
    const json_t *item;
    unsigned types = 0;
    schema = pn_schema_resolve(root, schema);
    if (!json_is_object(schema) || depth > MAX_DEPTH || --*budget < 0)
        return PN_JSON_ANY;
    const json_t *type = json_object_get(schema, "type");
    if (json_is_string(type))
        types = type_named(json_string_value(type));
    json_array_foreach(type, i, item) types |= type_named(json_string_value(item));
    if (!types) {
        json_array_foreach(json_object_get(schema, "enum"), i, item) types |= type_of(item);
        if ((item = json_object_get(schema, "const")))
            types |= type_of(item);
    }
    if (!types) {
        for (size_t k = 0; k < 2; k++)
            json_array_foreach(json_object_get(schema, alternatives[k]), i, item) types |=
                types_of(root, item, depth + 1, budget);
    }
    if (!types)
        types = json_object_get(schema, "properties") ? PN_JSON_OBJECT
                : json_object_get(schema, "items")    ? PN_JSON_ARRAY
                                                      : PN_JSON_ANY;
    json_array_foreach(json_object_get(schema, "allOf"), i, item) types &= types_of(root, item, depth + 1, budget);
    if (json_is_true(json_object_get(schema, "nullable")))
        types |= PN_JSON_NULL;
    return types ? types : PN_JSON_ANY;
}

unsigned pn_schema_types(const json_t *root, const json_t *schema)
{
    int budget = 256;
    return schema ? types_of(root, schema, 0, &budget) : PN_JSON_ANY;
}

static unsigned type_of_text(struct pn_slice json)
{
    switch (json.at[0]) {
    case '"':
        return PN_JSON_STRING;
    case '{':
        return PN_JSON_OBJECT;
    case '[':
        return PN_JSON_ARRAY;
    case 't':
    case 'f':
        return PN_JSON_BOOLEAN;
    case 'n':
        return PN_JSON_NULL;
    default:
        return PN_JSON_NUMBER;
    }
}

static struct pn_slice trimmed(struct pn_slice s)
{
    while (s.len && pn_is_space(s.at[0]))
        s.at++, s.len--;
    while (s.len && pn_is_space(s.at[s.len - 1]))
        s.len--;
    return s;
}

/* Models also write True, None and {'a': 1} instead of JSON. */
static bool put_python(struct pn_buf *out, struct pn_slice text, unsigned types)
{
    struct pn_buf json = {0};
    struct pn_cut cut = {text.at, text.len, 0, true};
    bool done = pn_cut_python(&cut, &json, 0) == PN_DONE && cut.pos == text.len && !json.failed &&
                (type_of_text((struct pn_slice){json.data, json.len}) & types);
    if (done)
        pn_buf_append(out, json.data, json.len);
    pn_buf_free(&json);
    return done;
}

void pn_value_put(struct pn_buf *out, struct pn_slice text, unsigned types)
{
    struct pn_slice json, value = trimmed(text);
    struct pn_cut cut = {value.at, value.len, 0, true};
    /* A quoted text is JSON only if a string is not allowed. */
    unsigned accepted = types & PN_JSON_STRING ? types & ~(unsigned)PN_JSON_STRING : PN_JSON_ANY;
    if (accepted && value.len) {
        if (pn_cut_json(&cut, &json) == PN_DONE && cut.pos == value.len && (type_of_text(json) & accepted)) {
            pn_json_put(out, json);
            return;
        }
        if (put_python(out, value, accepted & ~(unsigned)(PN_JSON_STRING | PN_JSON_NUMBER)))
            return;
    }
    pn_json_put_string(out, text.at, text.len);
}
