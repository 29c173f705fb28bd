/* Searching for models: in the catalog, and in Hugging Face's repositories with GGUF files. What the server answers is
 * not trusted. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/hub.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_ANSWER = 8 << 20, MAX_ID = 2 * PN_NAME_PART_MAX + 1 };

/* ---- the catalog ---- */

static bool entry_has(const struct pn_catalog_entry *entry, const char *word, size_t n)
{
    const char *const fields[] = {entry->name, entry->summary, entry->family, entry->license};
    char *copy = strndup(word, n);
    bool has = false;
    for (size_t i = 0; copy && i < sizeof fields / sizeof *fields && !has; i++)
        has = fields[i] && strcasestr(fields[i], copy);
    free(copy);
    return has;
}

bool pn_store_matches(const struct pn_catalog_entry *entry, const char *words)
{
    while (*(words += strspn(words, " \t\n"))) {
        size_t n = strcspn(words, " \t\n");
        if (!entry_has(entry, words, n))
            return false;
        words += n;
    }
    return true;
}

/* ---- Hugging Face ---- */

/* "user/repository" that a name can have: the rest could not be pulled. */
static bool is_id(const char *id)
{
    struct pn_model_name name;
    const char *slash = id ? strchr(id, '/') : NULL;
    char *text = slash && !strchr(slash + 1, '/') && !strchr(id, ':') ? pn_layout_path("hf.co/%s", id) : NULL;
    bool valid = text && strlen(id) <= MAX_ID && pn_name_parse(text, &name, NULL) == PANTRY_OK;
    free(text);
    return valid;
}

static uint64_t count_of(const json_t *row, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(row, key));
    return n > 0 ? (uint64_t)n : 0;
}

/* The day of "2025-01-31T12:00:00.000Z", "" if it is not one. */
static void take_day(char day[11], const char *text)
{
    day[0] = '\0';
    if (!text || strlen(text) < 10)
        return;
    for (int i = 0; i < 10; i++)
        if (i == 4 || i == 7 ? text[i] != '-' : text[i] < '0' || text[i] > '9')
            return;
    memcpy(day, text, 10);
    day[10] = '\0';
}

static pantry_status take_rows(const json_t *rows, size_t limit, struct pn_found *found, size_t *n,
                               struct pantry_error *err)
{
    for (size_t i = 0; i < json_array_size(rows) && *n < limit; i++) {
        const json_t *row = json_array_get(rows, i), *gated = json_object_get(row, "gated");
        const char *id = json_string_value(json_object_get(row, "id"));
        if (!is_id(id))
            continue;
        struct pn_found *f = &found[*n];
        f->name = pn_layout_path("hf.co/%s", id);
        if (!f->name)
            return pn_no_memory(err, "the results");
        ++*n;
        f->downloads = count_of(row, "downloads");
        f->likes = count_of(row, "likes");
        f->gated = json_is_true(gated) || json_is_string(gated);
        take_day(f->updated, json_string_value(json_object_get(row, "lastModified")));
    }
    return PANTRY_OK;
}

static pantry_status read_answer(const struct pn_buf *text, size_t limit, struct pn_found **found, size_t *n,
                                 struct pantry_error *err)
{
    json_t *rows = json_loadb(text->data ? text->data : "", text->len, 0, NULL);
    pantry_status status = PANTRY_OK;
    if (!json_is_array(rows))
        status = pn_fail(err, PANTRY_FORMAT, "the server's answer is not an array");
    else if (!(*found = calloc(limit + 1, sizeof **found)))
        status = pn_no_memory(err, "the results");
    else
        status = take_rows(rows, limit, *found, n, err);
    json_decref(rows);
    return status;
}

pantry_status pn_store_search_hub(const char *words, size_t limit, const pantry_cancel *cancel, struct pn_found **found,
                                  size_t *n, struct pantry_error *err)
{
    static const struct pn_model_name nobody = {.host = "hf.co"};
    struct pn_registry hub = {0};
    struct pn_http_head head;
    struct pn_buf text = {0};
    sigset_t before;
    *found = NULL;
    *n = 0;
    pantry_status status = pn_hub_open(&hub, &nobody, false, cancel, err);
    char *escaped = status ? NULL : curl_easy_escape(NULL, words, 0);
    char *url = escaped ? pn_layout_path("%s/api/models?search=%s&filter=gguf&sort=downloads&direction=-1&limit=%zu&"
                                         "full=true",
                                         hub.origin, escaped, limit)
                        : NULL;
    if (!status && !url)
        status = pn_no_memory(err, "a search");
    pn_http_hold_signal(&before);
    if (!status)
        status = pn_http_get(&hub.http, url, "Accept: application/json", MAX_ANSWER, &head, &text, err);
    pn_http_release_signal(&before);
    if (!status && head.status != 200)
        status = pn_fail(err, PANTRY_IO, "%s: cannot search (status %ld)", hub.origin, head.status);
    if (!status)
        status = read_answer(&text, limit, found, n, err);
    pn_registry_close(&hub);
    pn_buf_free(&text);
    curl_free(escaped);
    free(url);
    if (status) {
        pn_store_found_free(*found, *n);
        *found = NULL;
        *n = 0;
    }
    return status;
}

void pn_store_found_free(struct pn_found *found, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(found[i].name);
    free(found);
}
