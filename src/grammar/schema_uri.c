/* References: addresses by RFC 3986, JSON pointers, anchors, and anchors of the dynamic scope. */
#include "grammar/schema_impl.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

struct uri {
    struct pn_str scheme, authority, path, query;
    bool has_scheme, has_authority, has_query;
};

static struct uri split(const char *text)
{
    struct uri u = {0};
    size_t n = strcspn(text, "#");
    const char *end = text + n, *p = text;
    if (isalpha((unsigned char)*p)) {
        while (p < end && (isalnum((unsigned char)*p) || *p == '+' || *p == '-' || *p == '.'))
            p++;
        if (p < end && *p == ':') {
            u.scheme = (struct pn_str){text, (size_t)(p - text)};
            u.has_scheme = true;
            text = p + 1;
        }
    }
    if (end - text >= 2 && text[0] == '/' && text[1] == '/') {
        text += 2;
        u.has_authority = true;
        u.authority.data = text;
        while (text < end && *text != '/' && *text != '?')
            text++;
        u.authority.len = (size_t)(text - u.authority.data);
    }
    u.path.data = text;
    while (text < end && *text != '?')
        text++;
    u.path.len = (size_t)(text - u.path.data);
    if (text < end) {
        u.has_query = true;
        u.query = (struct pn_str){text + 1, (size_t)(end - text - 1)};
    }
    return u;
}

/* Appends a path without "." and ".." segments. */
static void put_path(struct pn_buf *out, const char *path, size_t n)
{
    size_t start = out->len, i = 0;
    while (i < n) {
        size_t end = i + (path[i] == '/');
        while (end < n && path[end] != '/')
            end++;
        const char *segment = path + i + (path[i] == '/');
        size_t len = (size_t)(path + end - segment);
        bool last = end == n, slash = path[i] == '/';
        bool up = len == 2 && segment[0] == '.' && segment[1] == '.';
        if (up)
            while (out->len > start && out->data[--out->len] != '/') {
            }
        if (!up && !(len == 1 && segment[0] == '.'))
            pn_buf_append(out, path + i, end - i);
        else if (last && slash)
            pn_buf_putc(out, '/');
        i = end;
    }
}

const char *pn_uri_resolve(struct pn_arena *arena, const char *base, const char *reference)
{
    struct uri b = split(base), r = split(reference), t = r;
    struct pn_buf merged = {0}, out = {0};
    if (!r.has_scheme) {
        t.scheme = b.scheme;
        t.has_scheme = b.has_scheme;
        if (!r.has_authority) {
            t.authority = b.authority;
            t.has_authority = b.has_authority;
            if (r.path.len == 0) {
                t.path = b.path;
                if (!r.has_query) {
                    t.query = b.query;
                    t.has_query = b.has_query;
                }
            } else if (r.path.data[0] != '/') {
                size_t keep = b.path.len;
                while (keep > 0 && b.path.data[keep - 1] != '/')
                    keep--;
                if (b.has_authority && b.path.len == 0)
                    pn_buf_putc(&merged, '/');
                pn_buf_append(&merged, b.path.data, keep);
                pn_buf_append(&merged, r.path.data, r.path.len);
                t.path = (struct pn_str){merged.data, merged.len};
            }
        }
    }
    if (t.has_scheme) {
        pn_buf_append(&out, t.scheme.data, t.scheme.len);
        pn_buf_putc(&out, ':');
    }
    if (t.has_authority) {
        pn_buf_puts(&out, "//");
        pn_buf_append(&out, t.authority.data, t.authority.len);
    }
    if (t.path.len)
        put_path(&out, t.path.data, t.path.len);
    if (t.has_query) {
        pn_buf_putc(&out, '?');
        pn_buf_append(&out, t.query.data, t.query.len);
    }
    const char *fragment = strchr(reference, '#');
    if (fragment)
        pn_buf_puts(&out, fragment);
    const char *copy = out.failed || merged.failed ? NULL : pn_arena_copy(arena, out.data ? out.data : "", out.len);
    pn_buf_free(&merged);
    pn_buf_free(&out);
    return copy;
}

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : isxdigit((unsigned char)c) ? (c | 32) - 'a' + 10 : -1;
}

/* The fragment with %XX decoded. */
static char *decoded(struct pn_arena *arena, const char *text)
{
    char *copy = pn_arena_copy(arena, text, strlen(text)), *to = copy;
    for (const char *p = copy; copy && *p; p++) {
        if (*p == '%' && hex(p[1]) >= 0 && hex(p[2]) >= 0) {
            *to++ = (char)(hex(p[1]) * 16 + hex(p[2]));
            p += 2;
        } else {
            *to++ = *p;
        }
    }
    if (to)
        *to = 0;
    return copy;
}

/* Follows a JSON pointer, which begins with a slash, from the root of a resource. */
static struct pn_place *follow(struct pn_schema *s, const struct pn_place *at, struct pn_resource *resource,
                               char *pointer, const char *keyword, const char *reference)
{
    const json_t *json = resource->root->json;
    char *whole = pn_arena_copy(&s->arena, pointer + 1, strlen(pointer) - 1);
    if (!whole)
        return pn_schema_no_memory(s);
    bool more = true;
    for (char *p = pointer; json && more;) {
        char *name = ++p, *to = name;
        for (; *p && *p != '/'; p++) {
            if (*p == '~' && (p[1] == '0' || p[1] == '1'))
                *to++ = *++p == '0' ? '~' : '/';
            else
                *to++ = *p;
        }
        more = *p == '/';
        *to = 0;
        if (json_is_array(json)) {
            char *end;
            unsigned long i = strtoul(name, &end, 10);
            json = *name && !*end && isdigit((unsigned char)*name) ? json_array_get(json, i) : NULL;
        } else {
            json = json_object_get(json, name);
        }
        /* Below a schema with an address of its own, that address counts. */
        if (json_is_object(json)) {
            struct pn_resource *r = s->resources;
            while (r && r->root->json != json)
                r = r->next;
            resource = r ? r : resource;
        }
    }
    if (!json)
        return pn_schema_fail(s, PANTRY_FORMAT, at, keyword, "nothing at %.200s", reference);
    return pn_schema_read_at(s, resource, json, whole);
}

/* The anchor of this name; in the outermost resource of the scope that has it, if it is dynamic. */
static struct pn_place *at_anchor(struct pn_schema *s, struct pn_resource *resource, const char *name, bool dynamic,
                                  int scope)
{
    struct pn_anchor *a = resource->anchors;
    while (a && strcmp(a->name, name) != 0)
        a = a->next;
    if (!a || !dynamic || !a->dynamic)
        return a ? a->place : NULL;
    const struct pn_scope *seen = &s->scopes.data[scope];
    for (int i = 0; i < seen->n; i++)
        for (struct pn_anchor *other = seen->resources[i]->anchors; other; other = other->next)
            if (other->dynamic && strcmp(other->name, name) == 0)
                return other->place;
    return a->place;
}

struct pn_place *pn_schema_resolve_ref(struct pn_schema *s, const struct pn_place *at, const char *keyword,
                                       const char *reference, int scope)
{
    const char *uri = pn_uri_resolve(&s->arena, at->resource->uri, reference);
    if (!uri)
        return pn_schema_no_memory(s);
    size_t n = strcspn(uri, "#");
    struct pn_resource *resource = at->resource;
    if (reference[0] != '#' && reference[0] != 0) {
        resource = s->resources;
        while (resource && (strlen(resource->uri) != n || memcmp(resource->uri, uri, n) != 0))
            resource = resource->next;
    }
    if (!resource)
        return pn_schema_fail(s, PANTRY_UNSUPPORTED, at, keyword,
                              "%.200s is not in this document; references to others are not followed", reference);
    char *fragment = decoded(&s->arena, uri[n] ? uri + n + 1 : "");
    if (!fragment)
        return pn_schema_no_memory(s);
    if (*fragment == 0)
        return resource->root;
    if (*fragment == '/')
        return follow(s, at, resource, fragment, keyword, reference);
    struct pn_place *place = at_anchor(s, resource, fragment, strcmp(keyword, "$dynamicRef") == 0, scope);
    return place ? place : pn_schema_fail(s, PANTRY_FORMAT, at, keyword, "no anchor for %.200s", reference);
}
