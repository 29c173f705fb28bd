/* Values of settings: see setting_value.h. */
#define _POSIX_C_SOURCE 200809L
#include "cli/setting_value.h"

#include "base/status.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_ITEMS = 256 };

bool pn_setting_parse_time(const char *text, double *seconds)
{
    static const struct {
        const char *unit;
        double seconds;
    } units[] = {{"ms", 1e-3}, {"us", 1e-6}, {"ns", 1e-9}, {"h", 3600}, {"m", 60}, {"s", 1}};
    bool negative = *text == '-';
    const char *at = text + negative;
    double sum = 0;
    do {
        char *end;
        if (!((*at >= '0' && *at <= '9') || *at == '.') || strspn(at, "0123456789.") == 0)
            return false;
        char number[32];
        size_t n = strspn(at, "0123456789."), u = 0;
        if (n >= sizeof number)
            return false;
        memcpy(number, at, n);
        number[n] = '\0';
        double value = strtod(number, &end);
        if (*end)
            return false;
        at += n;
        while (u < sizeof units / sizeof *units && strncmp(at, units[u].unit, strlen(units[u].unit)) != 0)
            u++;
        if (u == sizeof units / sizeof *units && (*at || at != text + negative + n)) /* seconds, alone */
            return false;
        sum += u < sizeof units / sizeof *units ? value * units[u].seconds : value;
        at += u < sizeof units / sizeof *units ? strlen(units[u].unit) : 0;
    } while (*at);
    *seconds = negative && sum > 0 ? -1 : sum;
    return true;
}

static bool parse_bool(const char *text, bool *out)
{
    static const char *const words[][2] = {{"true", "false"}, {"yes", "no"}, {"on", "off"}, {"t", "f"}};
    int number;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        for (int no = 0; no < 2; no++)
            if (strcasecmp(text, words[i][no]) == 0) {
                *out = !no;
                return true;
            }
    if (!pn_cli_parse_int(text, 0, 0, &number))
        return false;
    *out = number != 0;
    return true;
}

static bool is_choice(const char *choices, const char *text)
{
    size_t n = strlen(text);
    for (const char *p = choices; n && (p = strstr(p, text)); p += n)
        if ((p == choices || p[-1] == ' ') && (p[n] == ' ' || !p[n]))
            return true;
    return false;
}

/* ---- allowed values ---- */

static const char *allowed_kind(const struct pn_setting *s)
{
    switch (s->kind) {
    case PN_SETTING_INT:
        return "a whole number";
    case PN_SETTING_FLAG:
    case PN_SETTING_OFF:
        return "true or false";
    case PN_SETTING_LIST:
        return "a list of texts";
    case PN_SETTING_SIZE:
        return "a size such as 800M or 1.5G";
    case PN_SETTING_SECONDS:
        return "seconds, or a time such as \"30s\" or \"5m\"";
    case PN_SETTING_KEEP_ALIVE:
        return "seconds, a time such as \"30s\" or \"5m\", or -1";
    case PN_SETTING_TEXT:
        break;
    }
    return s->choices ? s->choices : "a text";
}

static pantry_status wrong(const struct pn_setting *s, const char *where, const char *found, struct pantry_error *err)
{
    if (s->max > 0)
        return pn_fail(err, PANTRY_INVALID, "%s: wrong value (found %.100s, allowed %s from %g to %.10g)", where, found,
                       allowed_kind(s), s->min, s->max);
    return pn_fail(err, PANTRY_INVALID, "%s: wrong value (found %.100s, allowed %s)", where, found, allowed_kind(s));
}

static bool in_range(const struct pn_setting *s, double number)
{
    return (s->kind == PN_SETTING_KEEP_ALIVE || number >= 0 || s->min < 0) &&
           (s->max <= 0 || (number >= s->min && number <= s->max));
}

static bool take_number(const struct pn_setting *s, const char *text, double *out)
{
    int whole;
    uint64_t bytes;
    bool flag = false, ok;
    switch (s->kind) {
    case PN_SETTING_INT:
        ok = pn_cli_parse_int(text, 0, 0, &whole);
        *out = ok ? whole : 0;
        break;
    case PN_SETTING_FLAG:
    case PN_SETTING_OFF:
        ok = parse_bool(text, &flag);
        *out = ok && flag;
        break;
    case PN_SETTING_SIZE:
        ok = pn_cli_parse_size(text, &bytes);
        *out = ok ? (double)bytes : 0;
        break;
    default:
        ok = pn_setting_parse_time(text, out);
    }
    return ok && in_range(s, *out);
}

/* ---- lists ---- */

pantry_status pn_setting_from_list(const char *const *items, size_t n, struct pn_arena *arena,
                                   struct pn_setting_value *out, struct pantry_error *err)
{
    const char **list = pn_arena_array(arena, n + 1, sizeof *list);
    struct pn_buf joined = {0};
    for (size_t i = 0; list && i < n; i++) {
        if (!(list[i] = pn_arena_copy(arena, items[i], strlen(items[i]))))
            return pn_no_memory(err, "the settings");
        pn_buf_printf(&joined, "%s%s", i ? "," : "", items[i]);
    }
    out->list = list;
    out->text = joined.failed || !list ? NULL : pn_arena_copy(arena, joined.data ? joined.data : "", joined.len);
    pn_buf_free(&joined);
    return out->text ? PANTRY_OK : pn_no_memory(err, "the settings");
}

static pantry_status split_list(const char *text, const char *where, struct pn_arena *arena,
                                struct pn_setting_value *out, struct pantry_error *err)
{
    const char *items[MAX_ITEMS];
    size_t n = 0;
    char *copy = pn_arena_copy(arena, text, strlen(text)), *rest = NULL;
    if (!copy)
        return pn_no_memory(err, "the settings");
    for (char *item = strtok_r(copy, ", ", &rest); item; item = strtok_r(NULL, ", ", &rest)) {
        if (n == MAX_ITEMS)
            return pn_fail(err, PANTRY_INVALID, "%s: too many values (allowed %d)", where, MAX_ITEMS);
        items[n++] = item;
    }
    return pn_setting_from_list(items, n, arena, out, err);
}

/* ---- values ---- */

pantry_status pn_setting_from_text(const struct pn_setting *s, const char *text, const char *where,
                                   struct pn_arena *arena, struct pn_setting_value *out, struct pantry_error *err)
{
    char shown[128];
    snprintf(shown, sizeof shown, "\"%.100s\"", text);
    if (s->kind == PN_SETTING_LIST)
        return split_list(text, where, arena, out, err);
    if (!(out->text = pn_arena_copy(arena, text, strlen(text))))
        return pn_no_memory(err, "the settings");
    if (s->kind == PN_SETTING_TEXT)
        return *text && s->choices && !is_choice(s->choices, text) ? wrong(s, where, shown, err) : PANTRY_OK;
    if (!*text) /* only the default of a number may be nothing */
        return PANTRY_OK;
    return take_number(s, text, &out->number) ? PANTRY_OK : wrong(s, where, shown, err);
}

static pantry_status list_from_toml(const struct pn_setting *s, const struct pn_toml *v, const char *where,
                                    struct pn_arena *arena, struct pn_setting_value *out, struct pantry_error *err)
{
    const char *items[MAX_ITEMS];
    size_t n = 0;
    if (v->kind != PN_TOML_ARRAY)
        return wrong(s, where, pn_toml_kind_text(v->kind), err);
    for (const struct pn_toml *item = v->first; item; item = item->next) {
        if (item->kind != PN_TOML_STRING)
            return wrong(s, where, pn_toml_kind_text(item->kind), err);
        if (n == MAX_ITEMS)
            return pn_fail(err, PANTRY_INVALID, "%s: too many values (allowed %d)", where, MAX_ITEMS);
        items[n++] = item->text;
    }
    return pn_setting_from_list(items, n, arena, out, err);
}

pantry_status pn_setting_from_toml(const struct pn_setting *s, const struct pn_toml *v, const char *where,
                                   struct pn_arena *arena, struct pn_setting_value *out, struct pantry_error *err)
{
    char text[40];
    bool flag = s->kind == PN_SETTING_FLAG || s->kind == PN_SETTING_OFF;
    out->line = v->line;
    if (s->kind == PN_SETTING_LIST)
        return list_from_toml(s, v, where, arena, out, err);
    if (flag && v->kind == PN_TOML_BOOL)
        return pn_setting_from_text(s, v->truth ? "true" : "false", where, arena, out, err);
    if (v->kind == PN_TOML_INTEGER && !flag && s->kind != PN_SETTING_TEXT) {
        snprintf(text, sizeof text, "%lld", (long long)v->integer);
        return pn_setting_from_text(s, text, where, arena, out, err);
    }
    if (v->kind == PN_TOML_STRING && !flag && s->kind != PN_SETTING_INT) {
        if (strlen(v->text) != v->len || (!*v->text && s->kind != PN_SETTING_TEXT))
            return wrong(s, where, "a text that is empty or has a NUL", err);
        return pn_setting_from_text(s, v->text, where, arena, out, err);
    }
    return wrong(s, where, pn_toml_kind_text(v->kind), err);
}

struct pn_keep_alive pn_setting_keep_alive(const struct pn_setting_value *v)
{
    static const double longest = 1e9; /* 30 years: nanoseconds of more may not fit a number */
    return (struct pn_keep_alive){.forever = v->number < 0 || v->number > longest, .seconds = v->number};
}
