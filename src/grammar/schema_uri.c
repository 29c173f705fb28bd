/* Addresses of schemas: references against a base, by RFC 3986. */
#include "grammar/schema_impl.h"

#include <ctype.h>
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
