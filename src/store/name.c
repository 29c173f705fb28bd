/* Names of models: [host/][namespace/]model[:tag]. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/internal.h"

#include <stdlib.h>
#include <string.h>

/* Ollama's defaults, so that both programs can share a store. */
static const char default_host[] = "registry.ollama.ai";
static const char default_space[] = "library";

static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* Copies one part; false if it is not safe as a file name. A host may have a port; its ':' is kept, as in Ollama. */
static bool copy_part(char *out, const char *part, size_t len, bool is_host)
{
    if (len == 0 || len > PN_NAME_PART_MAX || !(is_alnum(part[0]) || part[0] == '_'))
        return false;
    for (size_t i = 0; i < len; i++)
        if (!is_alnum(part[i]) && !strchr("._-", part[i]) && !(is_host && part[i] == ':'))
            return false;
    memcpy(out, part, len);
    out[len] = '\0';
    return true;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

bool pn_name_is_partial(const char *tag)
{
    return ends_with(tag, "-partial");
}

static bool parse(const char *text, struct pn_model_name *name)
{
    const char *parts[3];
    size_t n = 0;
    for (const char *p = text;;) {
        if (n == 3)
            return false;
        parts[n++] = p;
        const char *slash = strchr(p, '/');
        if (!slash)
            break;
        p = slash + 1;
    }
    memset(name, 0, sizeof *name);
    strcpy(name->host, default_host);
    strcpy(name->space, default_space);
    if (n == 3 && !copy_part(name->host, parts[0], (size_t)(parts[1] - 1 - parts[0]), true))
        return false;
    if (n >= 2 && !copy_part(name->space, parts[n - 2], (size_t)(parts[n - 1] - 1 - parts[n - 2]), false))
        return false;
    const char *model = parts[n - 1], *colon = strchr(model, ':');
    if (!copy_part(name->model, model, colon ? (size_t)(colon - model) : strlen(model), false))
        return false;
    if (colon)
        return copy_part(name->tag, colon + 1, strlen(colon + 1), false) && !pn_name_is_partial(name->tag);
    const struct pn_catalog_entry *entry = n == 1 ? pn_catalog_find(name->model, NULL) : NULL;
    const char *tag = entry ? strchr(entry->name, ':') + 1 : "latest";
    return copy_part(name->tag, tag, strlen(tag), false);
}

pantry_status pn_name_parse(const char *text, struct pn_model_name *name, struct pantry_error *err)
{
    if (!parse(text, name))
        return pn_fail(err, PANTRY_INVALID,
                       "%.200s: not a model name; names look like smollm2:135m or namespace/model:tag", text);
    return PANTRY_OK;
}

char *pn_name_text(const struct pn_model_name *name)
{
    bool host = strcmp(name->host, default_host) != 0, space = host || strcmp(name->space, default_space) != 0;
    bool tag = strcmp(name->tag, "latest") != 0;
    return pn_layout_path("%s%s%s%s%s%s%s", host ? name->host : "", host ? "/" : "", space ? name->space : "",
                          space ? "/" : "", name->model, tag ? ":" : "", tag ? name->tag : "");
}

char *pn_name_of_file(const char *path)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path, *dot = strrchr(base, '.');
    size_t len = dot ? (size_t)(dot - base) : strlen(base);
    if (len > PN_NAME_PART_MAX)
        len = PN_NAME_PART_MAX;
    char *name = pn_layout_path("%.*s", (int)len, base);
    for (char *c = name; c && *c; c++) {
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c - 'A' + 'a');
        else if (!(*c >= 'a' && *c <= 'z') && !(*c >= '0' && *c <= '9') && !strchr("._-", *c))
            *c = c == name ? '_' : '-';
    }
    if (name && (*name == '.' || *name == '-'))
        *name = '_';
    return name;
}

bool pn_store_is_name(const char *text)
{
    struct pn_model_name name;
    return parse(text, &name) && !ends_with(text, ".gguf") && !ends_with(text, ".safetensors");
}

const struct pn_catalog_entry *pn_store_entry(const char *text)
{
    struct pn_model_name name;
    if (!parse(text, &name) || strcmp(name.host, default_host) != 0 || strcmp(name.space, default_space) != 0)
        return NULL;
    return pn_catalog_find(name.model, name.tag);
}

bool pn_store_can_fetch(const char *name)
{
    return pn_store_entry(name) != NULL;
}

char *pn_store_place(const char *text)
{
    struct pn_model_name name;
    return pn_store_is_name(text) && strchr(text, '/') && parse(text, &name) ? strdup(name.host) : NULL;
}
