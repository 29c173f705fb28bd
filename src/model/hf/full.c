/* Directories whose weights are changed as a whole: fully tuned ones, and those that are being tuned. See hf.h. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "model/hf/hf.h"

#include "format/outfile.h"
#include "format/safetensors_write.h"
#include "model/hf/storage.h"
#include "tensor/weight.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- fully tuned ---- */

/* The folder of an adapter: a folder, or that of a safetensors file; without "=SCALE". */
static char *folder_of(const char *path)
{
    size_t n = strlen(path);
    const char *equals = strrchr(path, '='), *slash;
    char *end = NULL;
    if (equals && equals[1] && (strtof(equals + 1, &end), *end == '\0'))
        n = (size_t)(equals - path);
    if (n > 12 && strncmp(path + n - 12, ".safetensors", 12) == 0) {
        for (slash = path + n; slash > path && *slash != '/';)
            slash--;
        return *slash == '/' ? strndup(path, (size_t)(slash - path)) : strdup(".");
    }
    return strndup(path, n);
}

bool pn_adapter_is_full(const char *path)
{
    char *folder = folder_of(path);
    json_t *config = NULL;
    bool full = folder && pn_hfdir_json(folder, "adapter_config.json", &config, NULL) == PANTRY_OK &&
                json_is_string(json_object_get(config, "fine_tune_type")) &&
                strcmp(json_string_value(json_object_get(config, "fine_tune_type")), "full") == 0;
    json_decref(config);
    free(folder);
    return full;
}

pantry_status pn_hf_replace(struct pn_weights *w, const char *const *adapters, struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    for (size_t i = 0; adapters && adapters[i] && !status; i++) {
        if (!pn_adapter_is_full(adapters[i]))
            continue;
        char *folder = folder_of(adapters[i]), *file = NULL;
        if (!folder || asprintf(&file, "%s/adapters.safetensors", folder) < 0)
            status = pn_no_memory(err, "an adapter");
        else
            status = pn_hfdir_replace(w, file, err);
        free(folder);
        free(file);
    }
    return status;
}

/* ---- being tuned ---- */

/* Whether the numbers at `at` are those of a tensor. */
static bool holds(const struct pn_st_tensor *t, const void *at)
{
    uintptr_t first = (uintptr_t)t->data;
    return (uintptr_t)at >= first && (uintptr_t)at < first + t->bytes;
}

/* Tensors that pn_hf_make_writable copied: they are in no map. */
static bool is_written(const struct pn_st_tensor *t)
{
    return t->map == SIZE_MAX;
}

pantry_status pn_hf_make_writable(struct pn_weights *w, int first_layer, struct pantry_error *err)
{
    for (size_t i = 0; i < w->hf->tensors.len; i++) {
        struct pn_st_tensor *t = &w->hf->tensors.data[i];
        pn_type type;
        if (pn_hf_layer_of(t->name) < first_layer || pn_hf_layer_of(t->name) < 0)
            continue;
        bool floats = t->type == PN_ST_F32 || t->type == PN_ST_F16 || t->type == PN_ST_BF16;
        if (!floats || !pn_hf_plain_type(t->type, &type))
            return pn_fail(err, PANTRY_UNSUPPORTED,
                           "%s: tensor %s is %s: weights of such types cannot be trained themselves; train an adapter",
                           w->path, t->name, pn_st_type_name(t->type));
        size_t n = pn_hf_count(t);
        float *values = pn_arena_array(&w->arena, n + 1, sizeof *values);
        if (!values)
            return pn_no_memory(err, "weights to train");
        pn_type_decode_row(type, t->data, values, n);
        t->type = PN_ST_F32;
        t->data = (const unsigned char *)values;
        t->bytes = n * sizeof *values;
        t->map = SIZE_MAX;
    }
    return PANTRY_OK;
}

/* A base tensor that views the numbers of `t`. */
static bool is_viewed(const struct pn_weights *w, const struct pn_st_tensor *t)
{
    for (size_t i = 0; i < w->n_tensors; i++) {
        const struct pn_weight *places = w->tensors[i].places;
        for (int64_t m = 0; places && m < places->n_mat; m++)
            if (holds(t, pn_weight_at(places, 0, m, 0)))
                return true;
        if (!places && holds(t, w->tensors[i].data))
            return true;
    }
    return false;
}

/* Copies the numbers of base tensors that were copied from `t` back to it; false if their order changed. */
static bool fetch_back(const struct pn_weights *w, struct pn_hf *hf, struct pn_st_tensor *t)
{
    struct pn_hf_target targets[8];
    int n = pn_hf_places(hf, t, targets, 8);
    float *to = (float *)(uintptr_t)t->data;
    size_t total = pn_hf_count(t), done = 0;
    for (int i = 0; i < n; i++) {
        const struct pn_tensor_info *from = pn_weights_tensor(w, targets[i].name);
        enum pn_hf_change change = targets[i].rule->change;
        bool plus = change == PN_HF_PLUS_ONE || (change == PN_HF_PLUS_ONE_HF && !hf->dir->mlx);
        bool plain = plus || change == PN_HF_SAME || change == PN_HF_PLUS_ONE_HF || change == PN_HF_FIRST ||
                     change == PN_HF_SECOND;
        size_t count = from ? from->bytes / sizeof(float) : 0;
        if (!from || !plain || from->places || from->type != PN_TYPE_F32 || count > total - done)
            return false;
        for (size_t j = 0; j < count; j++)
            to[done + j] = ((const float *)from->data)[j] - (plus ? 1 : 0);
        done += count;
    }
    return done == total;
}

static pantry_status begin(const struct pn_weights *w, struct pn_weights *own, struct pn_hf *hf,
                           struct pantry_error *err)
{
    *own = (struct pn_weights){.hf = w->hf};
    *hf = (struct pn_hf){.w = own, .dir = w->hf, .arch = (struct pn_arch *)(uintptr_t)w->arch, .err = err};
    pn_hf_begin(hf);
    return hf->status;
}

static void end(struct pn_weights *own, struct pn_hf *hf)
{
    pn_arena_free(&own->arena);
    json_decref(hf->config);
}

/* Brings all tensors up to date; fails if one cannot be. */
static pantry_status settle(const struct pn_weights *w, struct pantry_error *err)
{
    struct pn_weights own;
    struct pn_hf hf;
    pantry_status status = begin(w, &own, &hf, err);
    for (size_t i = 0; i < w->hf->tensors.len && !status; i++) {
        struct pn_st_tensor *t = &w->hf->tensors.data[i];
        if (is_written(t) && !(t->n_dims > 1 && is_viewed(w, t)) && !fetch_back(w, &hf, t))
            status = pn_fail(err, PANTRY_UNSUPPORTED,
                             "%s: tensor %s cannot be trained: its numbers are in another "
                             "order here; train an adapter",
                             w->path, t->name);
    }
    end(&own, &hf);
    return status;
}

pantry_status pn_hf_check_writable(const struct pn_weights *w, struct pantry_error *err)
{
    return settle(w, err);
}

bool pn_model_is_writable(const struct pn_weights *w, const struct pn_tensor_info *t)
{
    const void *at = t->places ? pn_weight_at(t->places, 0, 0, 0) : t->data;
    for (size_t i = 0; i < w->n_maps; i++) {
        uintptr_t first = (uintptr_t)w->maps[i].data;
        if ((uintptr_t)at >= first && (uintptr_t)at < first + w->maps[i].size)
            return false;
    }
    /* Reading copies some tensors, such as norms, of all layers. */
    long layer = strncmp(t->name, "blk.", 4) == 0 ? strtol(t->name + 4, NULL, 10) : -1;
    for (size_t i = 0; i < w->hf->tensors.len; i++)
        if (is_written(&w->hf->tensors.data[i]) && pn_hf_layer_of(w->hf->tensors.data[i].name) == layer)
            return true;
    return false;
}

/* ---- saving ---- */

static pantry_status write_tensors(const struct pn_weights *w, struct pn_st_writer *writer, bool write,
                                   struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    for (size_t i = 0; i < w->hf->tensors.len && !status; i++) {
        const struct pn_st_tensor *t = &w->hf->tensors.data[i];
        if (is_written(t))
            status = write ? pn_st_write(writer, t->data, t->bytes, err)
                           : pn_st_add(writer, t->name, t->type, t->n_dims, t->shape, err);
    }
    return status;
}

pantry_status pn_model_save_written(const struct pn_weights *w, const char *folder, const char *config,
                                    struct pantry_error *err)
{
    struct pn_st_writer *writer = NULL;
    char *path = NULL;
    pantry_status status = settle(w, err);
    if (status || (status = pn_outfile_text(folder, "adapter_config.json", config, err)))
        return status;
    if (asprintf(&path, "%s/adapters.safetensors", folder) < 0)
        return pn_no_memory(err, "tuned weights");
    status = pn_st_writer_new(path, &(struct pn_st_options){.format = w->hf->mlx ? "mlx" : "pt"}, &writer, err);
    if (!status && !(status = write_tensors(w, writer, false, err)) && !(status = pn_st_begin(writer, err)) &&
        !(status = write_tensors(w, writer, true, err)))
        status = pn_st_finish(writer, err);
    pn_st_writer_free(writer);
    free(path);
    return status;
}
