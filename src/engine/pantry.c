/* The public API for models, tokenizers and templates: options, ownership and errors. The work is done in the files
 * below. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "engine/handle.h"

#include "base/model_files.h"
#include "base/clock.h"
#include "engine/disk_io.h"
#include "engine/gguf_tokenizer.h"
#include "engine/offload.h"
#include "model/hf/hf.h"
#include "model/vision/gguf.h"
#include "text/tokenizer/tokenizer_files.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

const char *pantry_version(void)
{
    return PANTRY_VERSION;
}

void pantry_free(void *p)
{
    free(p);
}

/* ---- devices ---- */

pantry_status pantry_device_describe(const char *name, char *text, size_t size, struct pantry_error *err)
{
    const struct pn_device_options options = {0};
    struct pn_device *device;
    pantry_status status = pn_devices_open(name, &options, &device, err);
    if (status)
        return status;
    snprintf(text, size, "%s", device->properties.name);
    pn_devices_close(device);
    return PANTRY_OK;
}

/* ---- models ---- */

/* A string of the metadata, "" if it is missing or not a string; NULL when out of memory. */
static char *meta_text(const struct pn_weights *w, const char *key)
{
    struct pn_str s = {"", 0};
    if (pn_meta_str(w, key, &s, NULL) != PANTRY_OK)
        s = (struct pn_str){"", 0};
    char *text = malloc(s.len + 1);
    if (text) {
        memcpy(text, s.data, s.len);
        text[s.len] = '\0';
    }
    return text;
}

/* Sets what all sessions have in common, as far as the options say. */
static pantry_status settle(struct pn_runner *r, const struct pantry_model_options *o, struct pantry_error *err)
{
    struct pn_kv_pool *pool;
    if (o->n_context < 0)
        return pn_fail(err, PANTRY_INVALID, "invalid n_context (found %d, allowed 0 or more)", o->n_context);
    r->n_context = o->n_context;
    pantry_status status = o->kv_type ? pn_runner_pool(r, o->kv_type, &pool, err) : PANTRY_OK;
    return !status && o->n_context ? pn_runner_settle_rope(r, o->n_context, err) : status;
}

/* Frees the weights on failure. */
static pantry_status take_template(struct pn_weights *w, const char *source, struct pantry_error *err)
{
    size_t n = strlen(source);
    char *copy = pn_arena_copy(&w->arena, source, n);
    if (copy) {
        w->chat_template = (struct pn_str){copy, n};
        return PANTRY_OK;
    }
    pn_weights_close(w);
    return pn_no_memory(err, "a chat template");
}

/* Opens the folder of the prefix cache, and keeps what its keys need. */
static pantry_status take_cache(const struct pantry_model_options *o, struct pantry_model *m, struct pantry_error *err)
{
    m->rope = (struct pn_rope_override){.factor = o->rope_factor, .freq_base = o->rope_freq_base};
    if (o->rope_scaling && !(m->rope.scaling = strdup(o->rope_scaling)))
        return pn_no_memory(err, "a model");
    return o->cache_dir ? pn_disk_folder_open(o->cache_dir, o->cache_bytes, &m->folder, err) : PANTRY_OK;
}

/* The tokenizer and the chat template of a directory. Frees the weights on failure. */
static pantry_status take_directory(struct pn_weights *w, struct pantry_model *m, struct pantry_error *err)
{
    struct pn_buf template = {0};
    pantry_status status = pn_tokenizer_from_hf(w->hf->dir, NULL, &m->tokenizer, &template, err);
    if (status == PANTRY_NOT_FOUND || status == PANTRY_UNSUPPORTED)
        status = PANTRY_OK; /* the model still runs, on ids */
    if (status)
        pn_weights_close(w);
    else if (template.len)
        status = take_template(w, template.data, err);
    pn_buf_free(&template);
    return status;
}

/* Whether the rows of pictures fit the decoder, as far as its file says. */
static bool fits(const struct pn_eye *eye, const struct pn_weights *weights)
{
    struct pn_str arch;
    char key[128];
    int n_parts = 1 + pn_vision_n_deep_rows(pn_eye_vision(eye));
    int64_t n_embd = pn_eye_row_size(eye) / n_parts;
    if (pn_meta_str(weights, "general.architecture", &arch, NULL) == PANTRY_OK && arch.len < 64) {
        snprintf(key, sizeof key, "%.*s.embedding_length", (int)arch.len, arch.data);
        pn_meta_i64(weights, key, &n_embd, NULL);
    }
    return n_embd * n_parts == pn_eye_row_size(eye);
}

/* The part of the model that sees, if it has one. */
static pantry_status open_eye(struct pantry_model *m, struct pn_weights *weights, const struct pantry_model_options *o,
                              struct pantry_error *err)
{
    struct pn_vision *vision = NULL;
    struct pantry_error why = {0};
    struct pn_device_options options = {.n_threads = o->n_threads, .isa = o->isa};
    const char *projector = o->projector ? o->projector : o->maybe_projector;
    pantry_status status =
        projector ? pn_vision_open_gguf(projector, &vision, &why) : pn_vision_open(weights, &vision, &why);
    if (!status && vision)
        status = pn_eye_new(vision, o->device, &options, &m->eye, &why);
    if (!status && m->eye && !o->projector && !fits(m->eye, weights)) {
        status = pn_fail(&why, PANTRY_FORMAT, "the projector is another model's");
        pn_eye_free(m->eye);
        m->eye = NULL;
    }
    /* A model's text is read even if what it sees with is of a kind that is not. */
    if (!o->projector && (projector || status == PANTRY_UNSUPPORTED || status == PANTRY_FORMAT) && status) {
        m->blind = why;
        status = PANTRY_OK;
    }
    if (status && err)
        *err = why;
    weights->n_given_deep = m->eye ? pn_vision_n_deep_rows(pn_eye_vision(m->eye)) : 0;
    weights->given_apart = m->eye && pn_eye_vision(m->eye)->family->apart;
    weights->n_given = m->eye ? pn_eye_row_size(m->eye) : 0;
    return status;
}

static pantry_status load(const char *path, const struct pantry_model_options *o, struct pantry_model *m,
                          struct pantry_error *err)
{
    struct pn_weights *weights;
    struct pn_model *model;
    struct pn_split split;
    pantry_status status = take_cache(o, m, err);
    if (status || (status = pn_model_open_adapted(path, o->adapters, &weights, err)))
        return status;
    if (weights->hf && (status = take_directory(weights, m, err)))
        return status;
    const char *source = o->chat_template;
    if (!source && !weights->chat_template.len)
        source = o->default_chat_template;
    if (source)
        status = take_template(weights, source, err);
    if (status)
        return status;
    if ((status = open_eye(m, weights, o, err))) {
        pn_weights_close(weights);
        return status;
    }
    if ((status = pn_model_new_adapted(weights, &m->rope, o->adapters, &model, err)))
        return status;
    struct pn_device_options options = {.n_threads = o->n_threads, .isa = o->isa};
    char text[PN_OFFLOAD_TEXT];
    const char *devices;
    struct pn_device *held;
    status = pn_offload(o->device, o->gpu_layers, o->n_context, &options, model, text, &devices, &held, err);
    if (!status)
        status = pn_split_open(devices, &options, model->hp.n_layer, &split, err);
    pn_devices_close(held);
    if (status) {
        pn_model_free(model);
        return status;
    }
    if ((status = pn_runner_new(model, &split, &m->runner, err)) || (status = settle(m->runner, o, err)))
        return status;
    status = m->tokenizer ? PANTRY_OK : pn_vocab_from_weights(weights, &m->tokenizer, err);
    if (status == PANTRY_UNSUPPORTED)
        m->tokenizer = NULL; /* the model still runs, on ids */
    else if (status)
        return status;
    m->view = (struct pantry_tokenizer){.tokenizer = m->tokenizer};
    m->architecture = meta_text(weights, "general.architecture");
    m->name = meta_text(weights, "general.name");
    m->license = meta_text(weights, "general.license");
    m->tokenizer_name = meta_text(weights, "tokenizer.ggml.model");
    if (!m->architecture || !m->name || !m->license || !m->tokenizer_name)
        return pn_no_memory(err, path);
    return PANTRY_OK;
}

pantry_status pantry_model_load(const char *path, const struct pantry_model_options *options, pantry_model **model,
                                struct pantry_error *err)
{
    struct pantry_model_options o = pantry_model_options_default();
    uint64_t start = pn_clock_ns();
    *model = NULL;
    pantry_status status = pn_take_options(&o, options, "options of a model", err);
    if (status)
        return status;
    struct pantry_model *m = calloc(1, sizeof *m);
    if (!m)
        return pn_no_memory(err, path);
    atomic_init(&m->refs, 1);
    pthread_mutex_init(&m->template_lock, NULL);
    pthread_mutex_init(&m->sched_lock, NULL);
    struct pantry_error why;
    status = pn_tell(load(path, &o, m, &why), &why, err);
    m->load_seconds = (double)(pn_clock_ns() - start) * 1e-9;
    if (status)
        pantry_model_free(m);
    else
        *model = m;
    return status;
}

void pantry_model_free(pantry_model *m)
{
    if (!m || atomic_fetch_sub(&m->refs, 1) != 1)
        return;
    pn_sched_free(m->sched);
    pthread_mutex_destroy(&m->sched_lock);
    pn_template_free(m->chat_template);
    pn_grammar_vocabulary_free(m->vocabulary);
    pn_tokenizer_free(m->tokenizer);
    pn_eye_free(m->eye); /* its weights are in the maps of the model's */
    pn_runner_free(m->runner);
    pn_disk_folder_close(m->folder);
    pthread_mutex_destroy(&m->template_lock);
    free((char *)(uintptr_t)m->rope.scaling);
    free(m->architecture);
    free(m->name);
    free(m->license);
    free(m->tokenizer_name);
    free(m);
}

struct pantry_model *pn_model_retain(struct pantry_model *m)
{
    atomic_fetch_add(&m->refs, 1);
    return m;
}

pantry_status pn_model_sched(struct pantry_model *m, const char *kv_type, struct pn_sched **out,
                             struct pantry_error *err)
{
    struct pn_kv_pool *pool;
    pantry_status status = pn_runner_pool(m->runner, kv_type, &pool, err);
    if (status)
        return status;
    pthread_mutex_lock(&m->sched_lock);
    if (!m->sched && !(status = pn_sched_new(m->runner, pool, &m->sched, err)) && m->folder)
        pn_sched_use_disk(m->sched, m->folder, &m->rope, NULL); /* without it the model runs as well */
    *out = m->sched;
    pthread_mutex_unlock(&m->sched_lock);
    return status;
}

pantry_status pantry_check(const char *path, struct pantry_error *err)
{
    struct pn_weights *w;
    struct pn_model *model = NULL;
    struct pn_tokenizer *tokenizer = NULL;
    pantry_status status = pn_model_open(path, &w, err);
    if (status)
        return status;
    status = pn_weights_check_all(w, err);
    if (status || !w->hf) {
        pn_weights_close(w);
        return status;
    }
    /* The parts of a directory may contradict each other. */
    status = pn_tokenizer_from_hf(w->hf->dir, NULL, &tokenizer, NULL, err);
    if (status == PANTRY_NOT_FOUND || status == PANTRY_UNSUPPORTED)
        status = PANTRY_OK;
    pn_tokenizer_free(tokenizer);
    if (status)
        pn_weights_close(w);
    else
        status = pn_model_new(w, &(struct pn_rope_override){0}, &model, err);
    pn_model_free(model);
    return status;
}

pantry_status pantry_model_info(const pantry_model *m, struct pantry_model_info *info, struct pantry_error *err)
{
    const struct pn_model *model = m->runner->model;
    const struct pn_hparams *hp = &model->hp;
    struct pantry_model_info own = {.size = sizeof own,
                                    .architecture = m->architecture,
                                    .name = m->name,
                                    .license = m->license,
                                    .format = model->weights->format,
                                    .tokenizer = m->tokenizer_name,
                                    .device = m->runner->device_name,
                                    .n_params = model->n_params,
                                    .size_bytes = model->size_bytes,
                                    .step_bytes = model->step_bytes,
                                    .n_vocab = hp->n_vocab,
                                    .n_layer = hp->n_layer,
                                    .n_embd = hp->n_embd,
                                    .n_head = hp->layers[0].n_head,
                                    .n_head_kv = hp->layers[0].n_head_kv,
                                    .n_ff = hp->layers[0].n_ff,
                                    .n_context_train = hp->n_context_train,
                                    .has_tokenizer = m->tokenizer != NULL,
                                    .generates = hp->causal && model->results[PN_RESULT_LOGITS] != PN_NONE,
                                    .sees = m->eye != NULL,
                                    .ranks = model->results[PN_RESULT_SCORES] != PN_NONE,
                                    .n_embedding = pn_node(&model->graph, model->results[PN_RESULT_EMBEDDINGS])->n2,
                                    .pooling = pn_pooling_of(hp->pooling),
                                    .device_bandwidth = pn_runner_bandwidth(m->runner)};
    pantry_status status = pn_check_result(info, "information about a model", err);
    if (!status)
        pn_give_result(info, &own);
    return status;
}

/* ---- the prefix cache ---- */

pantry_status pantry_cache_stats(struct pantry_cache_stats *stats, struct pantry_error *err)
{
    struct pn_disk_counters *c = &pn_disk_counters;
    struct pantry_cache_stats own = {.size = sizeof own,
                                     .n_lookups = atomic_load(&c->lookups),
                                     .n_hits = atomic_load(&c->hits),
                                     .tokens_loaded = atomic_load(&c->tokens_loaded),
                                     .bytes_loaded = atomic_load(&c->bytes_loaded),
                                     .files_written = atomic_load(&c->files_written),
                                     .bytes_written = atomic_load(&c->bytes_written),
                                     .files_removed = atomic_load(&c->files_removed),
                                     .files_rejected = atomic_load(&c->files_rejected),
                                     .n_failures = atomic_load(&c->failures),
                                     .n_pending = atomic_load(&c->pending)};
    pantry_status status = pn_check_result(stats, "statistics of the cache", err);
    if (!status)
        pn_give_result(stats, &own);
    return status;
}

pantry_status pantry_cache_trim(const char *cache_dir, uint64_t cache_bytes, uint64_t *removed,
                                struct pantry_error *err)
{
    struct pn_disk_folder *folder;
    struct pn_disk_usage usage;
    pantry_status status = pn_disk_folder_open(cache_dir, cache_bytes, &folder, err);
    if (!status)
        status = pn_disk_folder_trim(folder, &usage, err);
    if (!status && removed)
        *removed = usage.removed_bytes;
    pn_disk_folder_close(folder);
    return status;
}

pantry_status pantry_cache_clear(const char *cache_dir, uint64_t *removed, struct pantry_error *err)
{
    struct pn_disk_folder *folder;
    struct pn_disk_usage usage;
    struct stat st;
    if (stat(cache_dir, &st) != 0)
        return pn_fail(err, PANTRY_NOT_FOUND, "%s: %s", cache_dir, strerror(errno));
    pantry_status status = pn_disk_folder_open(cache_dir, 0, &folder, err);
    if (!status)
        status = pn_disk_folder_clear(folder, &usage, err);
    if (!status && removed)
        *removed = usage.removed_bytes;
    pn_disk_folder_close(folder);
    return status;
}

/* ---- memory ---- */

void pantry_limit_memory(uint64_t bytes)
{
    pn_memory_set_limit(pn_memory_of_process(), bytes);
}

/* ---- tokens ---- */

/* In a folder, files of the tokenizer alone go before that of a model. */
static pantry_status read_tokenizer(struct pantry_tokenizer *t, const char *path, struct pantry_error *err)
{
    struct stat st;
    char *model = NULL;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        pantry_status status = pn_tokenizer_from_hf(path, NULL, &t->tokenizer, NULL, err), inside;
        if (status != PANTRY_NOT_FOUND)
            return status;
        inside = pn_is_hfdir(path) ? PANTRY_NOT_FOUND : pn_folder_model(path, &model, NULL);
        free(model);
        if (inside == PANTRY_NOT_FOUND || inside == PANTRY_UNSUPPORTED)
            return status;
    }
    pantry_status status = pn_weights_inspect(path, &t->weights, err);
    return status ? status : pn_vocab_from_weights(t->weights, &t->tokenizer, err);
}

pantry_status pantry_tokenizer_load(const char *path, pantry_tokenizer **tokenizer, struct pantry_error *err)
{
    *tokenizer = NULL;
    struct pantry_tokenizer *t = calloc(1, sizeof *t);
    if (!t)
        return pn_no_memory(err, path);
    pantry_status status = read_tokenizer(t, path, err);
    if (status)
        pantry_tokenizer_free(t);
    else
        *tokenizer = t;
    return status;
}

void pantry_tokenizer_free(pantry_tokenizer *t)
{
    if (!t)
        return;
    pn_tokenizer_free(t->tokenizer);
    pn_weights_close(t->weights);
    free(t);
}

const pantry_tokenizer *pantry_model_tokenizer(const pantry_model *m)
{
    return m->tokenizer ? &m->view : NULL;
}

pantry_status pantry_tokenize(const pantry_tokenizer *t, const char *text, size_t len, unsigned flags, int32_t **ids,
                              size_t *n, struct pantry_error *err)
{
    struct pn_ids out = {0};
    unsigned wanted = (flags & PANTRY_TOKENIZE_SPECIAL ? PN_TOKENIZE_SPECIAL : 0) |
                      (flags & PANTRY_TOKENIZE_BOS ? PN_TOKENIZE_BOS : 0);
    pantry_status status = pn_tokenizer_encode(t->tokenizer, text, len, wanted, &out, err);
    if (!status && !out.data && !(out.data = malloc(sizeof *out.data)))
        status = pn_no_memory(err, "token ids");
    if (status) {
        free(out.data);
        return status;
    }
    *ids = out.data;
    *n = out.len;
    return PANTRY_OK;
}

pantry_status pantry_detokenize(const pantry_tokenizer *t, const int32_t *ids, size_t n, unsigned flags, char **text,
                                size_t *len, struct pantry_error *err)
{
    struct pn_buf out = {0};
    pantry_status status = pn_tokenizer_decode(t->tokenizer, ids, n, flags & PANTRY_DETOKENIZE_SPECIAL, &out, err);
    size_t size = out.len;
    if (!status && !(*text = pn_buf_take(&out)))
        status = pn_no_memory(err, "text");
    if (!status && len)
        *len = size;
    pn_buf_free(&out);
    return status;
}

bool pantry_token_ends_generation(const pantry_tokenizer *t, int32_t id)
{
    return pn_tokenizer_is_eog(t->tokenizer, id);
}

/* ---- templates ---- */

static pantry_status parse_context(const char *text, json_t **out, struct pantry_error *err)
{
    json_error_t e;
    *out = json_loads(text, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &e);
    if (!*out)
        return pn_fail(err, PANTRY_FORMAT, "the template's context is not JSON: line %d, column %d: %s", e.line,
                       e.column, e.text);
    if (json_is_object(*out))
        return PANTRY_OK;
    json_decref(*out);
    *out = NULL;
    return pn_fail(err, PANTRY_FORMAT, "the template's context must be a JSON object");
}

pantry_status pantry_template_render(const char *source, size_t source_len, const char *context_json, char **text,
                                     size_t *len, struct pantry_error *err)
{
    struct pn_template *t = NULL;
    json_t *context = NULL;
    pantry_status status = pn_template_parse(source, source_len, &t, err);
    if (!status)
        status = parse_context(context_json, &context, err);
    if (!status)
        status = pn_template_render(t, context, NULL, text, len, err);
    json_decref(context);
    pn_template_free(t);
    return status;
}

const char *pantry_model_template(const pantry_model *m, size_t *len)
{
    struct pn_str s = m->runner->model->weights->chat_template;
    if (len)
        *len = s.len;
    return s.len ? s.data : NULL;
}

/* Adds the text of a special token under `key` unless the caller set it. */
static bool add_token(json_t *context, const char *key, const struct pn_tokenizer *t, int32_t id)
{
    size_t n = 0;
    const char *text = t && id >= 0 ? pn_tokenizer_token_text(t, id, &n) : NULL;
    if (json_object_get(context, key))
        return true;
    json_t *value = json_stringn(text ? text : "", text ? n : 0);
    return value && json_object_set_new(context, key, value) == 0;
}

static pantry_status model_template(struct pantry_model *m, const struct pn_template **out, struct pantry_error *err)
{
    struct pn_str s = m->runner->model->weights->chat_template;
    pantry_status status = PANTRY_OK;
    if (!s.len)
        return pn_fail(err, PANTRY_NOT_FOUND, "%s: the model has no chat template", m->runner->model->weights->path);
    pthread_mutex_lock(&m->template_lock);
    if (!m->chat_template)
        status = pn_template_parse(s.data, s.len, &m->chat_template, err);
    *out = m->chat_template;
    pthread_mutex_unlock(&m->template_lock);
    return status;
}

pantry_status pantry_model_render(const pantry_model *model, const char *context_json, char **text, size_t *len,
                                  struct pantry_error *err)
{
    /* Not really const: the template is parsed on first use, which callers cannot see. */
    struct pantry_model *m = (struct pantry_model *)(uintptr_t)model;
    const struct pn_template *t = NULL;
    json_t *context = NULL;
    pantry_status status = model_template(m, &t, err);
    if (status || (status = parse_context(context_json, &context, err)))
        return status;
    const struct pn_tokenizer *tok = m->tokenizer;
    bool ok = add_token(context, "bos_token", tok, tok ? pn_tokenizer_bos(tok) : -1) &&
              add_token(context, "eos_token", tok, tok ? pn_tokenizer_eos(tok) : -1);
    if (ok && !json_object_get(context, "add_generation_prompt"))
        ok = json_object_set_new(context, "add_generation_prompt", json_true()) == 0;
    status = ok ? pn_template_render(t, context, NULL, text, len, err) : pn_no_memory(err, "a template's context");
    json_decref(context);
    return status;
}

/* ---- grammars ---- */

/* The tokens as grammars see them: as many as there are logits. */
static pantry_status make_vocabulary(const struct pantry_model *m, struct pn_grammar_vocabulary **out,
                                     struct pantry_error *err)
{
    size_t n = (size_t)m->runner->model->hp.n_vocab, n_known = pn_tokenizer_n_vocab(m->tokenizer);
    struct pn_grammar_token *tokens = calloc(n, sizeof *tokens);
    size_t *ends = calloc(n + 1, sizeof *ends);
    struct pn_buf bytes = {0};
    pantry_status status = tokens && ends ? PANTRY_OK : pn_no_memory(err, "a vocabulary");
    for (size_t i = 0; i < n && !status; i++) {
        if (i < n_known)
            status = pn_tokenizer_token_bytes(m->tokenizer, (int32_t)i, &bytes, err);
        ends[i + 1] = bytes.len;
    }
    if (!status && bytes.failed)
        status = pn_no_memory(err, "a vocabulary");
    for (size_t i = 0; i < n && i < n_known && !status; i++) {
        struct pn_grammar_token *t = &tokens[i];
        t->bytes = (struct pn_str){bytes.data + ends[i], ends[i + 1] - ends[i]};
        t->text.data = pn_tokenizer_token_text(m->tokenizer, (int32_t)i, &t->text.len);
        t->special = pn_tokenizer_token_type(m->tokenizer, (int32_t)i) == PN_TOKEN_CONTROL;
        t->ends = pn_tokenizer_is_eog(m->tokenizer, (int32_t)i);
    }
    if (!status)
        status = pn_grammar_vocabulary_new(tokens, n, out, err);
    pn_buf_free(&bytes);
    free(tokens);
    free(ends);
    return status;
}

pantry_status pn_model_guide(struct pantry_model *m, const pantry_grammar *grammar, struct pn_request *request,
                             struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    if (!grammar)
        return PANTRY_OK;
    if (!m->tokenizer)
        return pn_fail(err, PANTRY_UNSUPPORTED, "the model has no tokenizer, so it cannot follow a grammar");
    pthread_mutex_lock(&m->template_lock);
    if (!m->vocabulary)
        status = make_vocabulary(m, &m->vocabulary, err);
    pthread_mutex_unlock(&m->template_lock);
    return status ? status : pn_request_guide(request, grammar->grammar, grammar->trigger, m->vocabulary, err);
}
