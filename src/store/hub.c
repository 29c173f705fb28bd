/* Repositories of Hugging Face: see hub.h. The answer of the server is not trusted: a path becomes part of a URL and of
 * error sentences, never a file name. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/hub.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_ANSWER = 8 << 20, MAX_PAGES = 50, MAX_FILES = 20000, MAX_PATH = 512, MAX_SMALL = 32 << 20 };

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

/* The token for it, if it is a word: it becomes part of a header. NULL: none. */
static const char *hub_token(void)
{
    const char *token = getenv("HF_TOKEN");
    size_t n = token ? strlen(token) : 0;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)token[i] <= 0x20 || (unsigned char)token[i] >= 0x7F)
            return NULL;
    return n ? token : NULL;
}

pantry_status pn_hub_open(struct pn_registry *hub, const struct pn_model_name *name, bool public_only,
                          const pantry_cancel *cancel, struct pantry_error *err)
{
    const char *origin = pn_hub_origin(), *token = hub_token();
    if (!pn_registry_is_safe(origin))
        return pn_fail(err, PANTRY_INVALID, "HF_ENDPOINT: is not an https address (found %.200s)", origin);
    pantry_status status = pn_registry_open_at(hub, name, origin, public_only, cancel, err);
    if (!status && token && !(hub->http.token = strdup(token)))
        status = pn_no_memory(err, "HF_TOKEN");
    return status;
}

static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool contains(const char *text, const char *part)
{
    return strcasestr(text, part) != NULL;
}

static bool is_gguf(const char *path)
{
    size_t n = strlen(path);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)path[i] < 0x20 || (unsigned char)path[i] >= 0x7F)
            return false;
    return n > 5 && n <= MAX_PATH && strcasecmp(path + n - 5, ".gguf") == 0;
}

/* A GGUF file with a model: not a projector, not an importance matrix. */
static bool is_model(const char *path)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    return is_gguf(path) && !contains(base, "mmproj") && !contains(base, "imatrix");
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

static const char *path_of(const json_t *file)
{
    const char *path = json_string_value(json_object_get(file, "path"));
    return path ? path : "";
}

/* ---- the model ---- */

enum { MAX_FIT = 256, MAX_NAMED = 12 };

struct choice {
    const json_t *file[MAX_FIT]; /* of a model in parts: the first part */
    const char *names[MAX_FIT];
    size_t n;
};

static void find_fitting(const json_t *files, const char *quant, struct choice *choice)
{
    choice->n = 0;
    for (size_t i = 0; i < json_array_size(files) && choice->n < MAX_FIT; i++) {
        const json_t *file = json_array_get(files, i);
        const char *path = path_of(file);
        unsigned number = 1, count;
        pn_shards_name(path, &number, &count);
        if (!is_model(path) || number != 1 || (quant && !has_quant(path, quant)))
            continue;
        choice->names[choice->n] = path;
        choice->file[choice->n++] = file;
    }
}

static pantry_status several_fit(const struct choice *choice, struct pantry_error *err)
{
    struct pn_buf names = {0};
    for (size_t i = 0; i < choice->n && i < MAX_NAMED; i++)
        pn_buf_printf(&names, "%s%s", i ? ", " : "", choice->names[i]);
    pantry_status status = pn_fail(err, PANTRY_INVALID, "%zu files fit; add a quant to the name, as in :Q4_K_M (%s%s)",
                                   choice->n, names.data ? names.data : "", choice->n > MAX_NAMED ? ", ..." : "");
    pn_buf_free(&names);
    return status;
}

/* The one that fits; of several that of the usual quant, if none was asked for, or what the user says. */
static pantry_status choose(const json_t *files, const char *quant, const struct pn_pull_options *options,
                            const json_t **chosen, struct pantry_error *err)
{
    bool any = strcmp(quant, any_quant) == 0;
    struct choice choice, usual;
    find_fitting(files, any ? NULL : quant, &choice);
    if (any && choice.n > 1) {
        find_fitting(files, usual_quant, &usual);
        if (usual.n == 1)
            choice = usual;
    }
    if (choice.n == 0)
        return pn_fail(err, PANTRY_NOT_FOUND, "the repository has no GGUF file%s%s", any ? "" : " for ",
                       any ? "" : quant);
    size_t i = 0;
    if (choice.n > 1) {
        if (!options->choose)
            return several_fit(&choice, err);
        i = options->choose(options->user, choice.names, choice.n);
        if (i >= choice.n)
            return pn_fail(err, PANTRY_CANCELLED, "no file was chosen");
    }
    *chosen = choice.file[i];
    return PANTRY_OK;
}

static pantry_status take_file(const json_t *file, bool projector, struct pn_hub_model *model, struct pantry_error *err)
{
    const char *name = path_of(file);
    const json_t *lfs = json_object_get(file, "lfs");
    const char *oid = json_string_value(json_object_get(lfs, "oid"));
    json_int_t size = json_integer_value(json_object_get(lfs, "size"));
    if (model->n == PN_LAYERS_MAX)
        return pn_fail(err, PANTRY_LIMIT, "%s: the model has more than %d files", name, PN_LAYERS_MAX);
    char *digest = pn_layout_path("sha256:%s", oid ? oid : "");
    const char *hex = digest ? pn_digest_hex(digest) : NULL;
    pantry_status status = PANTRY_OK;
    if (!hex || size <= 0 || size > (json_int_t)1 << 50)
        status = pn_fail(err, PANTRY_FORMAT, "%s: the server gives no SHA-256 and size of it", name);
    if (!status) {
        struct pn_hub_file *taken = &model->file[model->n];
        *taken = (struct pn_hub_file){.layer = {.bytes = (uint64_t)size}, .path = strdup(name), .projector = projector};
        memcpy(taken->layer.hex, hex, sizeof taken->layer.hex);
        if (taken->path)
            model->n++;
        else
            status = pn_no_memory(err, name);
    }
    free(digest);
    return status;
}

/* The chosen file, or all parts of it. */
static pantry_status take_model(const json_t *files, const json_t *first, struct pn_hub_model *model,
                                struct pantry_error *err)
{
    enum { TAIL = sizeof "00001-of-00002.gguf" - 1 };
    const char *path = path_of(first);
    unsigned number, count = 1;
    if (!pn_shards_name(path, &number, &count) || count == 1)
        return take_file(first, false, model, err);
    if (count > PN_LAYERS_MAX)
        return pn_fail(err, PANTRY_LIMIT, "%s: has more than %d parts", path, PN_LAYERS_MAX);
    pantry_status status = PANTRY_OK;
    for (unsigned i = 1; i <= count && !status; i++) {
        char *name = pn_layout_path("%.*s%05u-of-%05u.gguf", (int)(strlen(path) - TAIL), path, i, count);
        const json_t *part = NULL;
        for (size_t k = 0; name && k < json_array_size(files) && !part; k++)
            if (strcmp(path_of(json_array_get(files, k)), name) == 0)
                part = json_array_get(files, k);
        if (!name)
            status = pn_no_memory(err, path);
        else if (!part)
            status = pn_fail(err, PANTRY_FORMAT, "%s: is not in the repository, though %s is", name, path);
        else
            status = take_file(part, false, model, err);
        free(name);
    }
    return status;
}

/* ---- a folder ---- */

/* A file that belongs to a folder with a model, by its name, and not a folder of such a name. */
static bool is_part(const json_t *file)
{
    const char *type = json_string_value(json_object_get(file, "type"));
    return pn_media_is_part(path_of(file)) && !(type && strcmp(type, "file") != 0);
}

static bool has_part(const json_t *files, const char *path)
{
    for (size_t i = 0; i < json_array_size(files); i++)
        if (is_part(json_array_get(files, i)) && strcmp(path_of(json_array_get(files, i)), path) == 0)
            return true;
    return false;
}

/* Has the repository a model in safetensors files, and none in GGUF files? */
static bool is_folder(const json_t *files)
{
    bool weights = false, config = false;
    for (size_t i = 0; i < json_array_size(files); i++) {
        const json_t *file = json_array_get(files, i);
        if (is_model(path_of(file)))
            return false;
        weights |= is_part(file) && pn_media_is_weights(path_of(file));
        config |= is_part(file) && strcmp(path_of(file), "config.json") == 0;
    }
    return weights && config;
}

/* A file that Git keeps itself has no SHA-256 in the list. */
static pantry_status take_part(const json_t *file, struct pn_hub_model *model, struct pantry_error *err)
{
    json_int_t size = json_integer_value(json_object_get(file, "size"));
    for (size_t i = 0; i < model->n; i++)
        if (strcasecmp(model->file[i].path, path_of(file)) == 0)
            return pn_fail(err, PANTRY_FORMAT, "%s: is in the server's list twice", path_of(file));
    if (json_object_get(file, "lfs"))
        return take_file(file, false, model, err);
    if (size > MAX_SMALL || pn_media_is_weights(path_of(file)))
        return pn_fail(err, PANTRY_FORMAT, "%s: the server gives no SHA-256 and size of it", path_of(file));
    if (size <= 0)
        return PANTRY_OK; /* nothing is in it */
    if (model->n == PN_LAYERS_MAX)
        return pn_fail(err, PANTRY_LIMIT, "%s: the model has more than %d files", path_of(file), PN_LAYERS_MAX);
    struct pn_hub_file *taken = &model->file[model->n];
    *taken = (struct pn_hub_file){
        .layer = {.bytes = (uint64_t)size}, .path = strdup(path_of(file)), .small = true, .text = {.limit = MAX_SMALL}};
    model->n += taken->path != NULL;
    return taken->path ? PANTRY_OK : pn_no_memory(err, "the files of a model");
}

/* Mistral's repositories have the weights once more, as consolidated.safetensors. */
static bool is_copy(const json_t *files, const char *path)
{
    return strncmp(path, "consolidated", 12) == 0 &&
           (has_part(files, "model.safetensors") || has_part(files, "model.safetensors.index.json"));
}

/* Files without contents were left out. */
static pantry_status check_folder(const struct pn_hub_model *model, struct pantry_error *err)
{
    bool weights = false, config = false;
    for (size_t i = 0; i < model->n; i++) {
        weights |= pn_media_is_weights(model->file[i].path);
        config |= strcmp(model->file[i].path, "config.json") == 0;
    }
    return weights && config
               ? PANTRY_OK
               : pn_fail(err, PANTRY_FORMAT, "%s of the repository is empty", weights ? "config.json" : "the model");
}

static pantry_status take_folder(const json_t *files, const char *quant, struct pn_hub_model *model,
                                 struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    if (strcmp(quant, any_quant) != 0)
        return pn_fail(err, PANTRY_NOT_FOUND,
                       "the repository has no GGUF file for %s, but safetensors files; leave "
                       "out the quant",
                       quant);
    model->folder = true;
    for (size_t i = 0; i < json_array_size(files) && !status; i++) {
        const json_t *file = json_array_get(files, i);
        if (is_part(file) && !is_copy(files, path_of(file)))
            status = take_part(file, model, err);
    }
    return status ? status : check_folder(model, err);
}

/* ---- the projector ---- */

/* The bits per weight that a file's name gives at its end: 4 of "m-Q4_K_M.gguf", 16 of "mmproj-F16.gguf", 0: none. */
static int bits_of(const char *path)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    unsigned number, count;
    size_t n = strlen(base);
    n -= pn_shards_name(base, &number, &count) ? sizeof "-00001-of-00002.gguf" - 1 : sizeof ".gguf" - 1;
    size_t at = n;
    while (at > 0 && base[at - 1] != '-' && base[at - 1] != '.')
        at--;
    while (at < n && !(base[at] >= '0' && base[at] <= '9'))
        at++;
    int bits = 0;
    for (; at < n && base[at] >= '0' && base[at] <= '9' && bits < 1000; at++)
        bits = bits * 10 + (base[at] - '0');
    return bits;
}

/* Bytes of the file's folder, its last slash included, if the model is in that folder or below; -1: it is not. */
static int depth_of(const char *path, const char *model)
{
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) + 1 : 0;
    return strncmp(path, model, n) == 0 ? (int)n : -1;
}

/* llama.cpp's choice: the nearest folder above the model's counts first, then the nearest number of bits. */
static const json_t *find_projector(const json_t *files, const char *model)
{
    const json_t *best = NULL;
    int best_depth = 0, best_distance = 0, bits = bits_of(model);
    for (size_t i = 0; i < json_array_size(files); i++) {
        const json_t *file = json_array_get(files, i);
        const char *path = path_of(file);
        int depth = is_gguf(path) && contains(path, "mmproj") ? depth_of(path, model) : -1;
        if (depth < 0)
            continue;
        int distance = abs(bits_of(path) - bits);
        if (!best || depth > best_depth || (depth == best_depth && distance < best_distance)) {
            best = file;
            best_depth = depth;
            best_distance = distance;
        }
    }
    return best;
}

/* Appends the files of a page of the server's list. */
static pantry_status read_page(const char *text, size_t n, json_t *files, struct pantry_error *err)
{
    json_t *page = json_loadb(text, n, 0, NULL);
    pantry_status status = PANTRY_OK;
    if (!json_is_array(page) || json_array_size(files) + json_array_size(page) > MAX_FILES)
        status = pn_fail(err, PANTRY_FORMAT, "the server's list of files is not an array of at most %d", MAX_FILES);
    else if (json_array_extend(files, page) != 0)
        status = pn_no_memory(err, "the list of files");
    json_decref(page);
    return status;
}

static pantry_status choose_from(const json_t *files, const char *quant, const struct pn_pull_options *options,
                                 struct pn_hub_model *model, struct pantry_error *err)
{
    const json_t *first = NULL;
    *model = (struct pn_hub_model){0};
    if (is_folder(files))
        return take_folder(files, quant, model, err);
    pantry_status status = choose(files, quant, options, &first, err);
    if (!status)
        status = take_model(files, first, model, err);
    const json_t *projector = status ? NULL : find_projector(files, path_of(first));
    return projector ? take_file(projector, true, model, err) : status;
}

pantry_status pn_hub_choose(const char *text, size_t n, const char *quant, const struct pn_pull_options *options,
                            struct pn_hub_model *model, struct pantry_error *err)
{
    json_t *files = json_array();
    *model = (struct pn_hub_model){0};
    pantry_status status = files ? read_page(text, n, files, err) : pn_no_memory(err, "the list of files");
    if (!status)
        status = choose_from(files, quant, options, model, err);
    json_decref(files);
    return status;
}

void pn_hub_free(struct pn_hub_model *model)
{
    for (size_t i = 0; i < model->n; i++) {
        free(model->file[i].path);
        free(model->file[i].url);
        pn_buf_free(&model->file[i].text);
    }
    *model = (struct pn_hub_model){0};
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

/* One page; *next is where the list goes on, NULL: it does not. Caller frees. */
static pantry_status get_page(struct pn_registry *hub, const char *url, json_t *files, char **next,
                              struct pantry_error *err)
{
    struct pn_http_head head;
    struct pn_buf text = {0};
    *next = NULL;
    pantry_status status = pn_http_get(&hub->http, url, "Accept: application/json", MAX_ANSWER, &head, &text, err);
    if (!status && (head.status == 401 || head.status == 403 || head.status == 404))
        status = pn_fail(err, PANTRY_NOT_FOUND, "there is no such repository, or %s",
                         hub->http.token ? "HF_TOKEN may not read it" : "it needs an account (HF_TOKEN)");
    else if (!status && head.status != 200)
        status = pn_fail(err, PANTRY_IO, "cannot get the list of files (status %ld)", head.status);
    if (!status)
        status = read_page(text.data ? text.data : "", text.len, files, err);
    if (!status && *head.next) {
        *next = pn_http_resolve(url, head.next);
        if (!*next || !pn_http_same_origin(*next, hub->origin))
            status = pn_fail(err, PANTRY_FORMAT, "the list of files goes on at another server (%.200s)", head.next);
    }
    pn_buf_free(&text);
    return status;
}

/* All pages of the repository's list. */
static pantry_status get_files(struct pn_registry *hub, json_t *files, struct pantry_error *err)
{
    const struct pn_model_name *name = hub->name;
    char *url = pn_layout_path("%s/api/models/%s/%s/tree/main?recursive=true", hub->origin, name->space, name->model);
    pantry_status status = url ? PANTRY_OK : pn_no_memory(err, name->model);
    for (int page = 1; url && !status; page++) {
        char *next = NULL;
        status = page > MAX_PAGES ? pn_fail(err, PANTRY_LIMIT, "the list of files has more than %d pages", MAX_PAGES)
                                  : get_page(hub, url, files, &next, err);
        free(url);
        url = next;
    }
    free(url);
    return status;
}

pantry_status pn_hub_find(struct pn_registry *hub, const struct pn_pull_options *options, struct pn_hub_model *model,
                          struct pantry_error *err)
{
    json_t *files = json_array();
    *model = (struct pn_hub_model){0};
    pantry_status status = files ? get_files(hub, files, err) : pn_no_memory(err, "the list of files");
    if (!status)
        status = choose_from(files, hub->name->tag, options, model, err);
    for (size_t i = 0; i < model->n && !status; i++)
        if (!(model->file[i].url = file_url(hub, model->file[i].path)))
            status = pn_no_memory(err, model->file[i].path);
    json_decref(files);
    return status;
}

pantry_status pn_hub_read_small(struct pn_registry *hub, struct pn_hub_model *model, struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    for (size_t i = 0; i < model->n && !status; i++) {
        struct pn_hub_file *file = &model->file[i];
        struct pn_http_head head;
        if (!file->small)
            continue;
        status = pn_http_get(&hub->http, file->url, "Accept: */*", MAX_SMALL, &head, &file->text, err);
        if (!status && head.status != 200)
            status = pn_fail(err, PANTRY_IO, "%s: cannot get it (status %ld)", file->path, head.status);
        if (!status && file->text.len != file->layer.bytes)
            status = pn_fail(err, PANTRY_FORMAT, "%s: has %zu bytes, and the server's list says %llu", file->path,
                             file->text.len, (unsigned long long)file->layer.bytes);
        if (!status)
            status = pn_sha256_bytes(file->text.data, file->text.len, file->layer.hex, err);
    }
    return status;
}

pantry_status pn_hub_put_small(const char *store, const struct pn_hub_model *model, struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    char hex[PN_SHA256_HEX + 1];
    for (size_t i = 0; i < model->n && !status; i++)
        if (model->file[i].small)
            status = pn_blob_put(store, model->file[i].text.data, model->file[i].text.len, hex, err);
    return status;
}

pantry_status pn_hub_manifest(const char *store, const char *name, const struct pn_hub_model *model, char **text,
                              struct pantry_error *err)
{
    struct pn_manifest_layer layers[PN_LAYERS_MAX];
    size_t n_parts = 0;
    for (size_t i = 0; i < model->n; i++)
        n_parts += !model->file[i].projector;
    for (size_t i = 0; i < model->n; i++) {
        const struct pn_hub_file *file = &model->file[i];
        const char *slash = file->path ? strrchr(file->path, '/') : NULL;
        layers[i] = (struct pn_manifest_layer){.type = file->projector ? PN_TYPE_PROJECTOR : PN_TYPE_MODEL,
                                               .hex = file->layer.hex,
                                               .bytes = file->layer.bytes};
        if (model->folder)
            layers[i].type = PN_TYPE_FILE;
        if (model->folder || (n_parts > 1 && !file->projector))
            layers[i].title = slash ? slash + 1 : file->path;
    }
    const struct pn_catalog_entry entry = {
        .name = name, .family = "unknown", .sha256 = model->file[0].layer.hex, .bytes = model->file[0].layer.bytes};
    return pn_manifest_compose(store, &entry, layers, model->n, text, err);
}
