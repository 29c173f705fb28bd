/* Outlines of models that are elsewhere: see store.h. Only the heads of files are fetched, in ranges; the files that a
 * reader then opens are as long as the real ones, with holes in place of weights. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/heads.h"
#include "store/hub.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FIRST_PIECE = 256 << 10, MAX_HEAD = 256 << 20, MAX_WHOLE = 8 << 20 };

/* A file of the model. */
struct item {
    char *url, *name;
    uint64_t bytes; /* 0: not known yet */
    bool projector;
};

struct work {
    const struct pn_pull_options *options;
    struct pn_model_name name;
    struct pn_registry registry;
    struct item item[PN_LAYERS_MAX];
    size_t n;
    struct pn_outline *out;
};

static pantry_status add_item(struct work *w, char *url, char *name, uint64_t bytes, bool projector,
                              struct pantry_error *err)
{
    if (!url || !name || w->n == PN_LAYERS_MAX) {
        free(url);
        free(name);
        return w->n == PN_LAYERS_MAX ? pn_fail(err, PANTRY_LIMIT, "the model has more than %d files", PN_LAYERS_MAX)
                                     : pn_no_memory(err, w->name.model);
    }
    w->item[w->n++] = (struct item){url, name, bytes, projector};
    return PANTRY_OK;
}

/* ---- which files ---- */

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* A file that says how a folder's weights are used; vocabularies do not matter here. */
static bool is_config(const char *name)
{
    static const char *const names[] = {"config.json", "model.safetensors.index.json", "preprocessor_config.json",
                                        "processor_config.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

/* Parts of a GGUF model get names that a reader finds them by. */
static char *part_name(bool projector, size_t i, size_t n)
{
    if (projector)
        return strdup("mmproj.gguf");
    return n == 1 ? strdup("model.gguf") : pn_layout_path("model-%05zu-of-%05zu.gguf", i + 1, n);
}

static pantry_status list_hub(struct work *w, struct pantry_error *err)
{
    struct pn_hub_model *model = calloc(1, sizeof *model);
    size_t n_parts = 0;
    if (!model)
        return pn_no_memory(err, w->name.model);
    pantry_status status = pn_hub_find(&w->registry, w->options, model, err);
    for (size_t i = 0; i < model->n; i++)
        n_parts += !model->file[i].projector;
    for (size_t i = 0, part = 0; i < model->n && !status; i++) {
        const struct pn_hub_file *file = &model->file[i];
        if (model->folder && !is_config(file->path) && !pn_media_is_weights(file->path))
            continue;
        char *name = model->folder ? strdup(file->path) : part_name(file->projector, part, n_parts);
        status = add_item(w, strdup(file->url), name, file->layer.bytes, file->projector, err);
        part += !file->projector;
    }
    pn_hub_free(model);
    free(model);
    return status;
}

static pantry_status add_layer(struct work *w, const json_t *layer, char *name, bool projector,
                               struct pantry_error *err)
{
    const char *hex = pn_digest_hex(json_string_value(json_object_get(layer, "digest")));
    json_int_t bytes = json_integer_value(json_object_get(layer, "size"));
    return add_item(w, hex ? pn_registry_blob(&w->registry, hex) : NULL, name, bytes > 0 ? (uint64_t)bytes : 0,
                    projector, err);
}

/* The manifest has been checked by pn_layers_parse. */
static pantry_status list_layers(struct work *w, const json_t *layers, struct pantry_error *err)
{
    const json_t *models[PN_LAYERS_MAX];
    size_t n = 0;
    bool folder = false;
    pantry_status status = pn_media_models(layers, models, &n, &folder, err);
    for (size_t i = 0; i < n && !status; i++) {
        const char *title = pn_media_title(models[i]);
        if (folder && !is_config(title) && !pn_media_is_weights(title))
            continue;
        status = add_layer(w, models[i], folder ? strdup(title) : part_name(false, i, n), false, err);
    }
    for (size_t i = 0; i < json_array_size(layers) && !status; i++) {
        const json_t *layer = json_array_get(layers, i);
        const char *type = json_string_value(json_object_get(layer, "mediaType"));
        if (!type || strcmp(type, PN_TYPE_PROJECTOR) != 0)
            continue;
        status = add_layer(w, layer, part_name(true, 0, 1), true, err);
        break;
    }
    return status;
}

static pantry_status list_registry(struct work *w, struct pantry_error *err)
{
    struct pn_buf text = {0};
    struct pn_layers *layers = calloc(1, sizeof *layers);
    pantry_status status = layers ? pn_registry_manifest(&w->registry, &text, err) : pn_no_memory(err, w->name.model);
    if (!status)
        status = pn_layers_parse(text.data, text.len, layers, err);
    json_t *root = status ? NULL : json_loadb(text.data, text.len, 0, NULL);
    if (!status)
        status = list_layers(w, json_object_get(root, "layers"), err);
    json_decref(root);
    pn_buf_free(&text);
    free(layers);
    return status;
}

static pantry_status list_files(struct work *w, const char *text, struct pantry_error *err)
{
    if (pn_store_is_url(text))
        return add_item(w, strdup(text), part_name(false, 0, 1), 0, false, err);
    return pn_hub_has(&w->name) ? list_hub(w, err) : list_registry(w, err);
}

/* ---- heads ---- */

/* Appends bytes from..to of a file; a server that sends all of it is an error. */
static pantry_status get_range(struct work *w, struct item *item, uint64_t from, uint64_t to, struct pn_buf *all,
                               struct pantry_error *err)
{
    char range[80];
    struct pn_http_head head = {0};
    struct pn_buf answer = {.limit = (size_t)(to - from)};
    pantry_status status;
    snprintf(range, sizeof range, "Range: bytes=%llu-%llu", (unsigned long long)from, (unsigned long long)(to - 1));
    const char *const lines[] = {range, NULL};
    for (int n = 1;; n++) {
        CURLcode code;
        pn_buf_clear(&answer);
        status = pn_registry_call(&w->registry, item->url, NULL, lines, &head, &answer, &code, err);
        if ((status && status != PANTRY_IO) || n == 4 || !pn_http_may_retry(code, head.status) ||
            pn_http_pause(&w->registry.http, n, head.retry_after, err))
            break;
    }
    if (status == PANTRY_LIMIT || (!status && head.status == 200 && (from || to - from < answer.len)))
        status = pn_fail(err, PANTRY_UNSUPPORTED, "the server gives no ranges of files, so it has to be pulled first");
    else if (!status && head.status / 100 != 2)
        status = pn_fail(err, head.status == 404 ? PANTRY_NOT_FOUND : PANTRY_IO, "the server answers with status %ld",
                         head.status);
    if (!status && head.status == 206 && head.has_range && (head.first != from || !head.total))
        status = pn_fail(err, PANTRY_FORMAT, "the server sends another range than was asked for");
    if (!status && !item->bytes)
        item->bytes = head.has_range ? head.total : answer.len;
    if (!status)
        pn_buf_append(all, answer.data, answer.len);
    if (!status && all->failed)
        status = pn_no_memory(err, item->name);
    w->out->fetched_bytes += answer.len;
    pn_buf_free(&answer);
    return status;
}

typedef pantry_status head_fn(const void *bytes, size_t n, uint64_t *need, struct pantry_error *err);

/* Reads as much of the start as its head takes. */
static pantry_status get_head(struct work *w, struct item *item, head_fn *measure, struct pn_buf *head,
                              struct pantry_error *err)
{
    uint64_t need = FIRST_PIECE;
    pantry_status status = PANTRY_OK;
    while (!status && need > head->len) {
        uint64_t to = need > head->len + FIRST_PIECE ? need : head->len + FIRST_PIECE;
        if (to < 2 * (uint64_t)head->len)
            to = 2 * (uint64_t)head->len;
        if (item->bytes && to > item->bytes)
            to = item->bytes;
        if (need > MAX_HEAD || (head->len && head->len >= to))
            return pn_fail(err, PANTRY_FORMAT, "the file ends within its head, or that is longer than %d MiB",
                           MAX_HEAD >> 20);
        size_t before = head->len;
        status = get_range(w, item, head->len, to, head, err);
        if (!status && head->len == before)
            status = pn_fail(err, PANTRY_FORMAT, "the server sends less than it says");
        if (!status)
            status = measure(head->data, head->len, &need, err);
    }
    return status;
}

static pantry_status get_whole(struct work *w, struct item *item, struct pn_buf *text, struct pantry_error *err)
{
    struct pn_http_head head;
    *text = (struct pn_buf){.limit = MAX_WHOLE};
    pantry_status status =
        item->bytes > MAX_WHOLE ? pn_fail(err, PANTRY_LIMIT, "is larger than %d MiB", MAX_WHOLE >> 20) : PANTRY_OK;
    if (!status)
        status = pn_http_get(&w->registry.http, item->url, "Accept: */*", MAX_WHOLE, &head, text, err);
    if (!status && head.status == 401 && !(status = pn_registry_authorize(&w->registry, &head, err)))
        status = pn_http_get(&w->registry.http, item->url, "Accept: */*", MAX_WHOLE, &head, text, err);
    if (!status && head.status != 200)
        status = pn_fail(err, PANTRY_IO, "the server answers with status %ld", head.status);
    w->out->fetched_bytes += text->len;
    return status;
}

/* A file of `size` bytes that begins with these, and has a hole after them. */
static pantry_status put_file(const char *path, const struct pn_buf *first, uint64_t size, struct pantry_error *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    size_t at = 0;
    bool good = fd >= 0;
    while (good && at < first->len) {
        ssize_t n = write(fd, first->data + at, first->len - at);
        if (n > 0)
            at += (size_t)n;
        else
            good = n < 0 && errno == EINTR;
    }
    good = good && ftruncate(fd, (off_t)size) == 0;
    pantry_status status = good ? PANTRY_OK : pn_fail(err, PANTRY_IO, "%s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return status;
}

static pantry_status get_item(struct work *w, struct item *item, struct pantry_error *err)
{
    struct pn_buf bytes = {0};
    char *path = pn_layout_path("%s/%s", w->out->folder, item->name);
    pantry_status status = path ? PANTRY_OK : pn_no_memory(err, item->name);
    if (!status && ends_with(item->name, ".json"))
        status = get_whole(w, item, &bytes, err);
    else if (!status)
        status =
            get_head(w, item, pn_media_is_weights(item->name) ? pn_head_of_safetensors : pn_head_of_gguf, &bytes, err);
    if (!status)
        status = put_file(path, &bytes, ends_with(item->name, ".json") ? bytes.len : item->bytes, err);
    w->out->bytes += status ? 0 : item->bytes;
    free(path);
    pn_buf_free(&bytes);
    return status ? pn_fail_prefix(err, "%.200s", item->name) : PANTRY_OK;
}

/* ---- all ---- */

static pantry_status make_folder(struct pn_outline *out, struct pantry_error *err)
{
    const char *base = getenv("TMPDIR");
    out->folder = pn_layout_path("%s/pantry-outline-XXXXXX", base && *base ? base : "/tmp");
    if (!out->folder)
        return pn_no_memory(err, "a folder");
    if (mkdtemp(out->folder)) /* mode 700 */
        return PANTRY_OK;
    pantry_status status = pn_fail(err, PANTRY_IO, "%s: %s", out->folder, strerror(errno));
    free(out->folder);
    out->folder = NULL;
    return status;
}

/* What a reader opens: the folder, or the first part. */
static pantry_status name_paths(struct work *w, struct pantry_error *err)
{
    struct pn_outline *out = w->out;
    const char *first = w->item[0].name;
    for (size_t i = 0; i < w->n; i++) {
        if (w->item[i].projector && !(out->projector = pn_layout_path("%s/%s", out->folder, w->item[i].name)))
            return pn_no_memory(err, first);
        if (pn_media_is_weights(w->item[i].name))
            first = NULL;
    }
    out->path = first ? pn_layout_path("%s/%s", out->folder, first) : strdup(out->folder);
    return out->path ? PANTRY_OK : pn_no_memory(err, w->name.model);
}

static pantry_status outline(struct work *w, const char *text, struct pantry_error *err)
{
    pantry_status status = pn_source_name(text, w->options, &w->name, err);
    if (!status)
        status = pn_source_open(text, w->options, &w->name, &w->registry, err);
    if (!status)
        status = list_files(w, text, err);
    if (!status)
        status = make_folder(w->out, err);
    for (size_t i = 0; i < w->n && !status; i++)
        status = get_item(w, &w->item[i], err);
    return status ? status : name_paths(w, err);
}

pantry_status pn_store_outline(const char *name, const struct pn_pull_options *options, struct pn_outline *out,
                               struct pantry_error *err)
{
    static const struct pn_pull_options nothing;
    struct work *w = calloc(1, sizeof *w);
    sigset_t before;
    *out = (struct pn_outline){0};
    if (!w)
        return pn_no_memory(err, name);
    w->options = options ? options : &nothing;
    w->out = out;
    pn_http_hold_signal(&before);
    pantry_status status = outline(w, name, err);
    pn_http_release_signal(&before);
    pn_registry_close(&w->registry);
    for (size_t i = 0; i < w->n; i++) {
        free(w->item[i].url);
        free(w->item[i].name);
    }
    free(w);
    if (status) {
        pn_store_outline_free(out);
        pn_fail_prefix(err, "%.200s", name);
    }
    return status;
}

void pn_store_outline_free(struct pn_outline *out)
{
    if (out->folder)
        pn_layout_remove(out->folder);
    free(out->folder);
    free(out->path);
    free(out->projector);
    *out = (struct pn_outline){0};
}
