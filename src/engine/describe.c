/* pantry_describe: a model file as JSON. Also works for models that cannot run, and says why. */
#include "engine/handle.h"

#include "model/hf/hf.h"
#include "model/vision/vision.h"
#include "text/tokenizer/tokenizer_files.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN_ITEMS = 8, SHOWN_TEXT = 4096 };

/* A JSON string of bytes that may not be UTF-8. */
static json_t *text_of(struct pn_str s, size_t most)
{
    json_t *j = json_stringn(s.data, s.len < most ? s.len : most);
    if (j)
        return j;
    struct pn_buf clean = {0}; /* cut within a character, or invalid: keep ASCII only */
    for (size_t i = 0; i < s.len && i < most; i++)
        pn_buf_putc(&clean, (unsigned char)s.data[i] < 0x80 ? s.data[i] : '?');
    j = json_stringn(clean.data ? clean.data : "", clean.len);
    pn_buf_free(&clean);
    return j;
}

/* JSON has no infinity and no NaN: they become null. */
static json_t *real_of(double x)
{
    json_t *real = json_real(x);
    return real ? real : json_null();
}

static json_t *item_of(const struct pn_meta *m, size_t i)
{
    switch (m->item) {
    case PN_META_UINT:
    case PN_META_INT:
        return json_integer((json_int_t)pn_meta_item_i64(m, i));
    case PN_META_FLOAT:
        return real_of(pn_meta_item_f64(m, i));
    case PN_META_BOOL:
        return json_boolean(pn_meta_item_bool(m, i));
    case PN_META_STRING:
        return text_of(pn_meta_item_str(m, i), SHOWN_TEXT);
    case PN_META_ARRAY:
        break;
    }
    return json_null();
}

static json_t *value_of(const struct pn_meta *m)
{
    switch (m->type) {
    case PN_META_UINT:
        return json_integer((json_int_t)m->u);
    case PN_META_INT:
        return json_integer((json_int_t)m->i);
    case PN_META_FLOAT:
        return real_of(m->f);
    case PN_META_BOOL:
        return json_boolean(m->b);
    case PN_META_STRING:
        return text_of(m->s, SHOWN_TEXT);
    case PN_META_ARRAY:
        break;
    }
    json_t *list = json_array();
    for (size_t i = 0; i < m->n && i < SHOWN_ITEMS; i++)
        json_array_append_new(list, item_of(m, i));
    if (m->n > SHOWN_ITEMS)
        json_array_append_new(list, json_sprintf("... %zu more", m->n - SHOWN_ITEMS));
    return list;
}

static const char *type_name(const struct pn_tensor_info *t)
{
    return t->type < PN_TYPE_COUNT ? pn_type_info(t->type)->name : "unknown";
}

/* Adds {"q4_1": {"tensors": 211, "bytes": 1234}, ...} and the list of all tensors. */
static void add_tensors(json_t *root, const struct pn_weights *w)
{
    json_t *types = json_object(), *list = json_array();
    uint64_t n_params = 0, bytes = 0;
    for (size_t i = 0; i < w->n_tensors; i++) {
        const struct pn_tensor_info *t = &w->tensors[i];
        json_t *entry = json_object_get(types, type_name(t)), *shape = json_array();
        json_int_t n = entry ? json_integer_value(json_object_get(entry, "tensors")) : 0;
        json_int_t sum = entry ? json_integer_value(json_object_get(entry, "bytes")) : 0;
        json_object_set_new(types, type_name(t),
                            json_pack("{s:I,s:I}", "tensors", n + 1, "bytes", sum + (json_int_t)t->bytes));
        uint64_t values = 1;
        for (int d = 0; d < t->n_dims; d++) {
            json_array_append_new(shape, json_integer((json_int_t)t->shape[d]));
            values *= (uint64_t)t->shape[d];
        }
        n_params += values;
        bytes += t->bytes;
        json_array_append_new(list, json_pack("{s:s,s:s,s:o,s:I}", "name", t->name, "type", type_name(t), "shape",
                                              shape, "bytes", (json_int_t)t->bytes));
    }
    json_object_set_new(root, "n_params", json_integer((json_int_t)n_params));
    json_object_set_new(root, "size_bytes", json_integer((json_int_t)bytes));
    json_object_set_new(root, "n_tensors", json_integer((json_int_t)w->n_tensors));
    json_object_set_new(root, "types", types);
    json_object_set_new(root, "tensors", list);
}

/* Adds all keys of the architecture, without its prefix. */
static void add_hyperparameters(json_t *root, const struct pn_weights *w)
{
    struct pn_str arch;
    json_t *all = json_object();
    if (pn_meta_str(w, "general.architecture", &arch, NULL) == PANTRY_OK)
        for (size_t i = 0; i < w->n_meta; i++) {
            const char *key = w->meta[i].key;
            if (strlen(key) > arch.len + 1 && memcmp(key, arch.data, arch.len) == 0 && key[arch.len] == '.')
                json_object_set_new(all, key + arch.len + 1, value_of(&w->meta[i]));
        }
    json_object_set_new(root, "hyperparameters", all);
}

static void add_meta(json_t *root, const char *as, const struct pn_weights *w, const char *key)
{
    const struct pn_meta *m = pn_weights_meta(w, key);
    if (m)
        json_object_set_new(root, as, value_of(m));
}

static void add_tokenizer(json_t *root, const struct pn_weights *w)
{
    static const char *const keys[][2] = {{"model", "model"},          {"pre", "pre"},
                                          {"bos_token_id", "bos"},     {"eos_token_id", "eos"},
                                          {"eot_token_id", "eot"},     {"unknown_token_id", "unk"},
                                          {"padding_token_id", "pad"}, {"add_bos_token", "add_bos"},
                                          {"add_eos_token", "add_eos"}};
    char full[64];
    json_t *all = json_object();
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        snprintf(full, sizeof full, "tokenizer.ggml.%s", keys[i][0]);
        add_meta(all, keys[i][1], w, full);
    }
    const struct pn_meta *tokens = pn_weights_meta(w, "tokenizer.ggml.tokens");
    if (tokens && tokens->type == PN_META_ARRAY)
        json_object_set_new(all, "n_vocab", json_integer((json_int_t)tokens->n));
    if (json_object_size(all))
        json_object_set(root, "tokenizer", all);
    json_decref(all);
}

/* A tokenizer that is not in the metadata. */
static void add_own_tokenizer(json_t *root, const struct pn_tokenizer *t)
{
    json_t *all =
        json_pack("{s:s,s:I,s:i,s:i}", "model", "tokenizer.json", "n_vocab", (json_int_t)pn_tokenizer_n_vocab(t), "bos",
                  (int)pn_tokenizer_bos(t), "eos", (int)pn_tokenizer_eos(t));
    if (all)
        json_object_set_new(root, "tokenizer", all);
}

/* Builds the graph to find out whether the model can run. Takes over the weights. */
static void add_runs(json_t *root, struct pn_weights *w)
{
    struct pantry_error err;
    struct pn_model *model = NULL;
    pantry_status status = pn_weights_require_types(w, &err);
    if (status)
        pn_weights_close(w);
    else
        status = pn_model_new(w, &(struct pn_rope_override){0}, &model, &err);
    json_object_set_new(root, "runs",
                        status ? text_of((struct pn_str){err.text, strlen(err.text)}, sizeof err.text) : json_true());
    pn_model_free(model);
}

static json_t *describe(const struct pn_weights *w)
{
    json_t *root = json_object(), *metadata = json_object();
    if (!root || !metadata) {
        json_decref(root);
        json_decref(metadata);
        return NULL;
    }
    json_object_set_new(root, "format", json_string(w->format));
    add_meta(root, "architecture", w, "general.architecture");
    add_meta(root, "name", w, "general.name");
    add_meta(root, "license", w, "general.license");
    struct pn_str license;
    if (pn_meta_str(w, "general.license.text", &license, NULL) == PANTRY_OK)
        json_object_set_new(root, "license_text", text_of(license, SIZE_MAX));
    add_hyperparameters(root, w);
    add_tokenizer(root, w);
    if (pn_vision_is_in(w))
        json_object_set_new(root, "sees", json_true());
    if (w->chat_template.len)
        json_object_set_new(root, "template", text_of(w->chat_template, SIZE_MAX));
    for (size_t i = 0; i < w->n_meta; i++)
        json_object_set_new(metadata, w->meta[i].key, value_of(&w->meta[i]));
    json_object_set_new(root, "metadata", metadata);
    add_tensors(root, w);
    return root;
}

pantry_status pantry_describe(const char *path, char **json, struct pantry_error *err)
{
    struct pn_weights *w;
    *json = NULL;
    pantry_status status = pn_model_inspect(path, &w, err);
    if (status)
        return status;
    struct pn_buf template = {0};
    struct pn_tokenizer *tokenizer = NULL;
    if (w->hf && !pn_tokenizer_from_hf(w->hf->dir, NULL, &tokenizer, &template, NULL) && template.len)
        w->chat_template = (struct pn_str){template.data, template.len};
    json_t *root = describe(w);
    if (root && tokenizer)
        add_own_tokenizer(root, tokenizer);
    pn_tokenizer_free(tokenizer);
    w->chat_template = (struct pn_str){0};
    pn_buf_free(&template);
    if (root)
        add_runs(root, w);
    else
        pn_weights_close(w);
    *json = root ? json_dumps(root, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
    json_decref(root);
    return *json ? PANTRY_OK : pn_no_memory(err, path);
}
