/* The order in which a directory is translated: see hf.h. */
#include "model/hf/hf.h"

#include "format/names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Completes the configuration of a part that leaves sizes out, as LLaVA's published ones do. */
static void complete_part(json_t *part)
{
    const char *type = json_string_value(json_object_get(part, "model_type"));
    const char *sizes = type && !json_object_get(part, "hidden_size") ? pn_hf_usual_sizes(type) : NULL;
    json_t *usual = sizes ? json_loads(sizes, 0, NULL) : NULL;
    if (usual)
        json_object_update_missing(part, usual);
    json_decref(usual);
}

/* The part of a configuration that is about text, completed by the rest: of models that also see or hear. */
static json_t *text_config(const json_t *config)
{
    static const char *const names[] = {"text_config", "llm_config", "language_config", "thinker_config"};
    json_t *own = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names && !own; i++)
        own = json_object_get(config, names[i]);
    if (!json_is_object(own))
        return json_copy((json_t *)(uintptr_t)config);
    if (json_is_object(json_object_get(own, "text_config")))
        own = json_object_get(own, "text_config");
    json_t *all = json_copy(own);
    json_object_update_missing(all, (json_t *)(uintptr_t)config);
    complete_part(all);
    return all;
}

static const struct pn_hf_row *row_of(struct pn_hf *hf)
{
    const char *type = json_string_value(json_object_get(hf->config, "model_type"));
    const struct pn_hf_row *row = type ? pn_hf_row(type) : NULL;
    if (!type)
        pn_hf_fail(hf, PANTRY_FORMAT, "config.json has no model_type");
    else if (!row)
        pn_hf_fail(hf, PANTRY_UNSUPPORTED, "models of the type \"%.60s\" are not supported", type);
    return row;
}

static void add_defaults(struct pn_hf *hf)
{
    char text[512];
    size_t n = hf->row->defaults ? strlen(hf->row->defaults) : 0;
    if (n == 0 || n >= sizeof text)
        return;
    for (size_t i = 0; i <= n; i++)
        text[i] = hf->row->defaults[i] == '\'' ? '"' : hf->row->defaults[i];
    json_t *defaults = json_loads(text, 0, NULL);
    const char *key;
    json_t *value;
    json_object_foreach(defaults, key, value) if (!pn_hf_get(hf, key)) json_object_set(hf->config, key, value);
    json_decref(defaults);
}

/* Some configurations give the number of layers only as the length of a list. */
static void count_layers(struct pn_hf *hf)
{
    const json_t *list = pn_hf_get(hf, "layers_block_type layer_types hybrid_override_pattern");
    size_t n = json_is_string(list) ? json_string_length(list) : json_array_size(list);
    if (n && !pn_hf_get(hf, "num_hidden_layers n_layer n_layers num_layers"))
        json_object_set_new(hf->config, "num_hidden_layers", json_integer((json_int_t)n));
}

/* The output weight: the file's, unless the configuration says that it is the embedding. */
static void settle_output(struct pn_hf *hf)
{
    const json_t *tied = pn_hf_get(hf, "tie_word_embeddings");
    size_t n = 0;
    bool has_output = false;
    for (size_t i = 0; i < hf->tensors.len; i++) {
        bool output = strcmp(hf->tensors.data[i].name, "output.weight") == 0;
        has_output |= output;
        if (!(output && json_is_true(tied)))
            hf->tensors.data[n++] = hf->tensors.data[i];
    }
    hf->tensors.len = n;
    if (!has_output && json_is_false(tied) && !hf->arch->logits.tied && !hf->arch->encoder)
        pn_hf_fail(hf, PANTRY_FORMAT, "the output weight is missing, and tie_word_embeddings is false");
}

static void index_all(struct pn_hf *hf)
{
    struct pn_weights *w = hf->w;
    struct pn_name_index *tensors = pn_name_index_new(&w->arena, hf->tensors.len),
                         *meta = pn_name_index_new(&w->arena, hf->meta.len);
    if (!tensors || !meta) {
        pn_hf_fail(hf, PANTRY_NO_MEMORY, "out of memory for tensors");
        return;
    }
    for (size_t i = 0; i < hf->tensors.len; i++)
        tensors->entries[i] = (struct pn_name_entry){hf->tensors.data[i].name, i};
    for (size_t i = 0; i < hf->meta.len; i++)
        meta->entries[i] = (struct pn_name_entry){hf->meta.data[i].key, i};
    pn_name_index_sort(meta);
    const struct pn_name_entry *twice = pn_name_index_sort(tensors);
    if (twice)
        pn_hf_fail(hf, PANTRY_FORMAT, "several tensors are %s", twice->name);
    w->tensor_index = tensors;
    w->meta_index = meta;
}

void pn_hf_begin(struct pn_hf *hf)
{
    if (hf->dir) {
        hf->config = text_config(hf->dir->config);
        hf->row = row_of(hf);
        if (hf->row)
            add_defaults(hf);
    } else {
        hf->config = json_object();
        hf->row = pn_hf_row_of(hf->arch->name);
        if (!hf->row)
            pn_hf_fail(hf, PANTRY_UNSUPPORTED, "adapters of architecture %s must be GGUF files", hf->arch->name);
    }
}

void pn_hf_pairs_in_gguf(const struct pn_arch *arch, const struct pn_weights *base, int64_t *n_rot, int64_t *head)
{
    const struct pn_hf_row *row = pn_hf_row_of(arch->name);
    char key[128];
    int64_t heads = 0, width = 0, dim = 0;
    *n_rot = *head = 0;
    if (!row || !(row->flags & PN_HF_HALVES))
        return;
    snprintf(key, sizeof key, "%s.attention.head_count", arch->name);
    pn_meta_i64(base, key, &heads, NULL);
    snprintf(key, sizeof key, "%s.embedding_length", arch->name);
    pn_meta_i64(base, key, &width, NULL);
    dim = heads > 0 ? width / heads : 0;
    snprintf(key, sizeof key, "%s.attention.key_length", arch->name);
    pn_meta_i64(base, key, &dim, NULL);
    *n_rot = *head = dim > 0 ? dim : 0;
}

pantry_status pn_hf_translate(struct pn_weights *w, struct pantry_error *err)
{
    struct pn_hf hf = {.w = w, .dir = w->hf, .err = err, .config = text_config(w->hf->config)};
    hf.arch = pn_arena_alloc(&w->arena, sizeof *hf.arch);
    if (!hf.config || !hf.arch)
        pn_hf_fail(&hf, PANTRY_NO_MEMORY, "out of memory");
    if (!hf.status)
        hf.row = row_of(&hf);
    if (!hf.status && !pn_arch_find(hf.row->arch, strlen(hf.row->arch), hf.arch))
        pn_hf_fail(&hf, PANTRY_INTERNAL, "no architecture %s", hf.row->arch);
    if (!hf.status) {
        add_defaults(&hf);
        count_layers(&hf);
        pn_hf_read_config(&hf);
    }
    if (!hf.status)
        pn_hf_read_tensors(&hf);
    if (!hf.status)
        settle_output(&hf);
    if (!hf.status)
        index_all(&hf);
    w->tensors = hf.tensors.data;
    w->n_tensors = hf.tensors.len;
    w->meta = hf.meta.data;
    w->n_meta = hf.meta.len;
    w->arch = hf.arch;
    json_decref(hf.config);
    if (hf.status && pn_weights_damaged(w))
        hf.status = pn_fail(err, PANTRY_IO, "%s: was cut short while it was read", w->path);
    else if (hf.status)
        pn_fail_prefix(err, "%s", w->path);
    return hf.status;
}
