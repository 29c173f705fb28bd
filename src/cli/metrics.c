/* Prometheus' text format: see metrics.h. */
#include "cli/metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == ':';
}

/* Copies a quoted value up to its closing quote; NULL: it has none on this line. */
static const char *read_value(const char *p, char *out, size_t size)
{
    size_t n = 0;
    for (; *p && *p != '"' && *p != '\n'; p++) {
        char c = *p == '\\' && p[1] ? *++p : *p;
        if (*p == '\n')
            return NULL;
        if (out && n + 1 < size)
            out[n++] = (unsigned char)c < ' ' || c == 127 ? '?' : c;
    }
    if (out)
        out[n] = '\0';
    return *p == '"' ? p + 1 : NULL;
}

/* "{a="b",model="c"}"; NULL: another form. */
static const char *read_labels(const char *p, struct pn_metric *out)
{
    for (p++; *p != '}';) {
        const char *name = p;
        while (is_name(*p))
            p++;
        bool model = p - name == 5 && memcmp(name, "model", 5) == 0;
        if (p == name || p[0] != '=' || p[1] != '"')
            return NULL;
        if (!(p = read_value(p + 2, model ? out->model : NULL, sizeof out->model)))
            return NULL;
        if (*p == ',')
            p++;
        else if (*p != '}')
            return NULL;
    }
    return p + 1;
}

static bool read_sample(const char *p, struct pn_metric *out)
{
    size_t n = 0;
    char *end;
    *out = (struct pn_metric){0};
    while (is_name(p[n]))
        n++;
    if (!n || n >= sizeof out->name)
        return false;
    memcpy(out->name, p, n);
    p += n;
    if (*p == '{' && !(p = read_labels(p, out)))
        return false;
    if (*p != ' ')
        return false;
    p += strspn(p, " ");
    if (!*p || *p == '\n')
        return false;
    out->value = strtod(p, &end);
    return end != p && (!*end || *end == '\n' || *end == ' ') && isfinite(out->value);
}

bool pn_metrics_next(const char **text, struct pn_metric *out)
{
    while (**text) {
        const char *line = *text;
        *text += strcspn(line, "\n");
        *text += **text == '\n';
        if (*line != '#' && read_sample(line, out))
            return true;
    }
    return false;
}
