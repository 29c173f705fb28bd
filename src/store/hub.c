/* Repositories of Hugging Face: see hub.h. The answer of the server is not trusted: a path becomes part of a URL and of
 * error sentences, never a file name. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/hub.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_ANSWER = 8 << 20, MAX_FILES = 20000, MAX_PATH = 512 };

static const char any_quant[] = "latest", usual_quant[] = "Q4_K_M";

bool pn_hub_has(const struct pn_model_name *name)
{
    return strcmp(name->host, "hf.co") == 0 || strcmp(name->host, "huggingface.co") == 0;
}

const char *pn_hub_origin(void)
{
    const char *set = getenv("HF_ENDPOINT");
    return set && *set ? set : "https://huggingface.co";
}

static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool contains(const char *text, const char *part)
{
    return strcasestr(text, part) != NULL;
}

/* A GGUF file with a model: not a projector, not an importance matrix. */
static bool is_model(const char *path)
{
    size_t n = strlen(path);
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)path[i] < 0x20 || (unsigned char)path[i] >= 0x7F)
            return false;
    return n > 5 && n <= MAX_PATH && strcasecmp(path + n - 5, ".gguf") == 0 && !contains(base, "mmproj") &&
           !contains(base, "imatrix");
}

/* Is the quant a part of the path by itself? Q4_K is not part of Q4_K_M. */
static bool has_quant(const char *path, const char *quant)
{
    size_t n = strlen(quant);
    for (const char *p = path; (p = strcasestr(p, quant)); p++) {
        bool begins = p == path || !(is_alnum(p[-1]) || p[-1] == '_');
        bool ends = !(is_alnum(p[n]) || p[n] == '_');
        if (begins && ends)
            return true;
    }
    return false;
}

struct choice {
    const json_t *file;
    size_t n;
    struct pn_buf names; /* of all that fit */
};

static void choose(const json_t *files, const char *quant, struct choice *choice)
{
    enum { MAX_NAMED = 12 };
    *choice = (struct choice){0};
    for (size_t i = 0; i < json_array_size(files); i++) {
        const json_t *file = json_array_get(files, i);
        const char *path = json_string_value(json_object_get(file, "path"));
        if (!path || !is_model(path) || (quant && !has_quant(path, quant)))
            continue;
        choice->file = file;
        if (choice->n++ < MAX_NAMED)
            pn_buf_printf(&choice->names, "%s%s", choice->n > 1 ? ", " : "", path);
    }
}

static pantry_status take_file(const json_t *file, struct pn_layer *layer, char **path, struct pantry_error *err)
{
    const char *name = json_string_value(json_object_get(file, "path"));
    const json_t *lfs = json_object_get(file, "lfs");
    const char *oid = json_string_value(json_object_get(lfs, "oid"));
    json_int_t size = json_integer_value(json_object_get(lfs, "size"));
    char *digest = pn_layout_path("sha256:%s", oid ? oid : "");
    const char *hex = digest ? pn_digest_hex(digest) : NULL;
    pantry_status status = PANTRY_OK;
    if (contains(name, "-of-0"))
        status = pn_fail(err, PANTRY_UNSUPPORTED, "%s: models of several files are not supported", name);
    else if (!hex || size <= 0 || size > (json_int_t)1 << 50)
        status = pn_fail(err, PANTRY_FORMAT, "%s: the server gives no SHA-256 and size of it", name);
    if (!status) {
        *layer = (struct pn_layer){.bytes = (uint64_t)size};
        memcpy(layer->hex, hex, sizeof layer->hex);
        if (!(*path = strdup(name)))
            status = pn_no_memory(err, name);
    }
    free(digest);
    return status;
}

pantry_status pn_hub_choose(const char *text, size_t n, const char *quant, struct pn_layer *layer, char **path,
                            struct pantry_error *err)
{
    bool any = strcmp(quant, any_quant) == 0;
    json_t *files = json_loadb(text, n, 0, NULL);
    *path = NULL;
    if (!json_is_array(files) || json_array_size(files) > MAX_FILES) {
        json_decref(files);
        return pn_fail(err, PANTRY_FORMAT, "the server's list of files is not an array of at most %d", MAX_FILES);
    }
    struct choice choice;
    choose(files, any ? NULL : quant, &choice);
    if (any && choice.n > 1) {
        struct choice usual;
        choose(files, usual_quant, &usual);
        pn_buf_free(usual.n == 1 ? &choice.names : &usual.names);
        choice = usual.n == 1 ? usual : choice;
    }
    pantry_status status;
    if (choice.n == 1)
        status = take_file(choice.file, layer, path, err);
    else if (choice.n == 0)
        status =
            pn_fail(err, PANTRY_NOT_FOUND, "the repository has no GGUF file%s%s", any ? "" : " for ", any ? "" : quant);
    else
        status = pn_fail(err, PANTRY_INVALID, "%zu files fit; add a quant to the name, as in :Q4_K_M (%s%s)", choice.n,
                         choice.names.data ? choice.names.data : "", choice.n > 12 ? ", ..." : "");
    pn_buf_free(&choice.names);
    json_decref(files);
    return status;
}

/* The address of a file of the repository. NULL: out of memory. */
static char *file_url(const struct pn_registry *hub, const char *path)
{
    struct pn_buf url = {0};
    pn_buf_printf(&url, "%s/%s/%s/resolve/main", hub->origin, hub->name->space, hub->name->model);
    while (*path) {
        size_t n = strcspn(path, "/");
        char *escaped = n ? curl_easy_escape(NULL, path, (int)n) : NULL;
        if (escaped)
            pn_buf_printf(&url, "/%s", escaped);
        url.failed |= n && !escaped;
        curl_free(escaped);
        path += n + (path[n] == '/');
    }
    char *text = url.failed ? NULL : pn_buf_take(&url);
    pn_buf_free(&url);
    return text;
}

pantry_status pn_hub_find(struct pn_registry *hub, struct pn_layer *layer, char **url, struct pantry_error *err)
{
    const struct pn_model_name *name = hub->name;
    char *path = NULL,
         *list = pn_layout_path("%s/api/models/%s/%s/tree/main?recursive=true", hub->origin, name->space, name->model);
    struct pn_http_head head;
    struct pn_buf text = {0};
    *url = NULL;
    pantry_status status =
        list ? pn_http_get(&hub->http, list, "Accept: application/json", MAX_ANSWER, &head, &text, err)
             : pn_no_memory(err, name->model);
    if (!status && (head.status == 401 || head.status == 403 || head.status == 404))
        status = pn_fail(err, PANTRY_NOT_FOUND, "there is no such repository, or it needs an account");
    else if (!status && head.status != 200)
        status = pn_fail(err, PANTRY_IO, "cannot get the list of files (status %ld)", head.status);
    if (!status)
        status = pn_hub_choose(text.data ? text.data : "", text.len, name->tag, layer, &path, err);
    if (!status && !(*url = file_url(hub, path)))
        status = pn_no_memory(err, path);
    pn_buf_free(&text);
    free(list);
    free(path);
    return status;
}
