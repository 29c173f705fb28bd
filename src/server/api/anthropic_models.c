/* Models in the shape of Anthropic's API, for clients that send its version. */
#define _POSIX_C_SOURCE 200809L
#include "base/status.h"
#include "server/api/anthropic.h"
#include "store/store.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { DEFAULT_LIMIT = 20, MAX_LIMIT = 1000 };

/* What a model can do is known only once it is loaded, so capabilities and limits are null. */
static json_t *model_json(const char *name, const char *path)
{
    struct stat st;
    struct tm tm;
    char created[32];
    time_t at = stat(path, &st) == 0 ? st.st_mtime : 0;
    gmtime_r(&at, &tm);
    strftime(created, sizeof created, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:n, s:n, s:n, s:n, s:n, s:n}", "type", "model", "id", name,
                     "display_name", name, "created_at", created, "lifecycle", "active", "line", "deprecated_at",
                     "retires_at", "max_input_tokens", "max_tokens", "capabilities");
}

static pantry_status read_limit(const struct pn_exchange *x, size_t *limit, struct pantry_error *err)
{
    const char *text = pn_http_query(x, "limit");
    char *end = NULL;
    long n = text ? strtol(text, &end, 10) : DEFAULT_LIMIT;
    if (text && (!*text || *end || n < 1 || n > MAX_LIMIT))
        return pn_fail(err, PANTRY_INVALID, "limit: wrong value (found \"%.20s\", allowed 1 to %d)", text, MAX_LIMIT);
    *limit = (size_t)n;
    return PANTRY_OK;
}

/* The index of the model that a cursor names, or `otherwise` without a cursor. */
static pantry_status find_cursor(const struct pn_exchange *x, const char *query, const struct pn_stored *list, size_t n,
                                 size_t otherwise, size_t *out, struct pantry_error *err)
{
    const char *id = pn_http_query(x, query);
    *out = otherwise;
    for (size_t i = 0; id && i < n; i++)
        if (strcmp(list[i].name, id) == 0) {
            *out = i;
            return PANTRY_OK;
        }
    return id ? pn_fail(err, PANTRY_INVALID, "%s: no model has the id \"%.200s\"", query, id) : PANTRY_OK;
}

/* A page: after `after_id`, or the last ones before `before_id`. */
static pantry_status read_page(const struct pn_exchange *x, const struct pn_stored *list, size_t n, size_t *from,
                               size_t *to, bool *more, struct pantry_error *err)
{
    const char *stages = pn_http_query(x, "lifecycle");
    size_t limit = DEFAULT_LIMIT, before = n, after = SIZE_MAX;
    pantry_status status = read_limit(x, &limit, err);
    if (!status)
        status = find_cursor(x, "before_id", list, n, n, &before, err);
    if (!status)
        status = find_cursor(x, "after_id", list, n, SIZE_MAX, &after, err);
    if (status)
        return status;
    n = stages && !strstr(stages, "active") ? 0 : before < n ? before : n; /* all models of the store are active */
    size_t first = after + 1 < n ? after + 1 : n;                          /* SIZE_MAX + 1 is 0 */
    bool backward = pn_http_query(x, "before_id") != NULL;
    *more = n - first > limit;
    *from = backward && *more ? n - limit : first;
    *to = *more ? *from + limit : n;
    return PANTRY_OK;
}

void pn_anthropic_models(struct pn_exchange *x)
{
    struct pn_stored *list = NULL;
    struct pantry_error err;
    size_t n = 0, from = 0, to = 0;
    bool more = false;
    pantry_status status = pn_store_list(&list, &n, &err);
    if (!status)
        status = read_page(x, list, n, &from, &to, &more, &err);
    if (status) {
        pn_reply_error(x, PN_ERRORS_ANTHROPIC, &err);
        pn_store_list_free(list, n);
        return;
    }
    json_t *data = json_array();
    for (size_t i = from; i < to; i++)
        json_array_append_new(data, model_json(list[i].name, list[i].path));
    pn_reply_json(x, 200,
                  json_pack("{s:o, s:b, s:s?, s:s?}", "data", data, "has_more", more, "first_id",
                            from < to ? list[from].name : NULL, "last_id", from < to ? list[to - 1].name : NULL));
    pn_store_list_free(list, n);
}

void pn_anthropic_model(const struct pn_server *s, struct pn_exchange *x, const char *wanted)
{
    struct pantry_error err;
    char *name, *path;
    uint64_t bytes;
    if (pn_models_find(s->models, wanted, &name, &path, &bytes, &err)) {
        pn_reply_error(x, PN_ERRORS_ANTHROPIC, &err);
        return;
    }
    pn_reply_json(x, 200, model_json(name, path));
    free(name);
    free(path);
}
