/* pantry_tune: options, the model, its tokenizer and the data set; train/ does the work. */
#define _POSIX_C_SOURCE 200809L
#include "engine/handle.h"

#include "base/file.h"
#include "base/model_files.h"
#include "engine/gguf_tokenizer.h"
#include "format/outfile.h"
#include "model/hf/hf.h"
#include "text/tokenizer/tokenizer_files.h"
#include "train/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_COPIED = 1 << 30 };

struct tune {
    struct pantry_tune_options o;
    struct pn_train_plan plan;
    struct pn_weights *weights; /* NULL once the model has them */
    struct pn_tokenizer *tokenizer;
    struct pn_template *template;
    struct pn_train_data train, valid, test;
    struct pn_device *device;
    struct pn_trainer *trainer;
    char *config, *settings, *path;
};

/* ---- options ---- */

static pantry_status check_number(const char *name, double value, double least, double most, struct pantry_error *err)
{
    return value >= least && value <= most
               ? PANTRY_OK
               : pn_fail(err, PANTRY_INVALID, "%s: found %g, allowed %g to %g", name, value, least, most);
}

/* What besides the numbers of the plan must be the same when a training goes on. */
static pantry_status note_settings(struct tune *t, struct pantry_error *err)
{
    const struct pantry_tune_options *o = &t->o;
    struct pn_buf text = {0};
    pn_buf_printf(&text, "%s|%s|%a|%a|%a|%s|%d", o->optimizer_config ? o->optimizer_config : "",
                  o->lr_schedule ? o->lr_schedule : "", (double)o->end_rate, (double)o->clip, (double)o->dropout,
                  o->kind, o->mask_prompt);
    t->settings = pn_buf_take(&text);
    t->plan.settings = t->settings;
    return t->settings ? PANTRY_OK : pn_no_memory(err, "the options of a training");
}

/* The optimizer, the schedule and the names of the options. */
static pantry_status read_names(struct tune *t, struct pantry_error *err)
{
    const struct pantry_tune_options *o = &t->o;
    enum pn_optimizer_kind optimizer = pn_optimizer_find(o->optimizer);
    enum pn_schedule_kind schedule = pn_schedule_find(o->schedule);
    if (optimizer == PN_OPTIMIZER_COUNT)
        return pn_fail(err, PANTRY_INVALID,
                       "unknown optimizer (found \"%s\", allowed adam, adamw, sgd, muon, adafactor)", o->optimizer);
    if (schedule > PN_SCHEDULE_LINEAR)
        return pn_fail(err, PANTRY_INVALID, "unknown schedule (found \"%s\", allowed constant, cosine, linear)",
                       o->schedule);
    if (strcmp(o->kind, "lora") != 0 && strcmp(o->kind, "dora") != 0 && strcmp(o->kind, "full") != 0)
        return pn_fail(err, PANTRY_INVALID, "unknown kind of training (found \"%s\", allowed lora, dora, full)",
                       o->kind);
    if (pn_long_rows_find(o->long_rows) == PN_LONG_COUNT)
        return pn_fail(err, PANTRY_INVALID, "unknown way with long rows (found \"%s\", allowed cut, skip, refuse)",
                       o->long_rows);
    t->plan.schedule = (struct pn_schedule){
        .kind = schedule, .number = {(double)o->learning_rate, (double)o->end_rate}, .warmup = o->warmup};
    pantry_status status = pn_optimizer_read(optimizer, o->optimizer_config, &t->plan.optimizer, err);
    if (!status && o->lr_schedule)
        status = pn_schedule_read(o->lr_schedule, &t->plan.schedule, err);
    return status;
}

static pantry_status check_options(struct tune *t, struct pantry_error *err)
{
    const struct pantry_tune_options *o = &t->o;
    pantry_status status;
    t->plan = (struct pn_train_plan){.clip = (double)o->clip,
                                     .iters = o->iters,
                                     .batch_size = o->batch_size,
                                     .max_length = o->max_length,
                                     .accumulation = o->accumulation,
                                     .eval_every = o->eval_every,
                                     .val_batches = o->val_batches,
                                     .patience = o->patience,
                                     .save_every = o->save_every,
                                     .report_every = o->report_every,
                                     .shuffle = !o->given_order,
                                     .resume = o->resume,
                                     .seed = o->seed,
                                     .folder = o->adapter_path};
    if (!o->data || !o->adapter_path)
        return pn_fail(err, PANTRY_INVALID, "training needs data and a folder for the adapter");
    if (o->no_train && !o->test)
        return pn_fail(err, PANTRY_INVALID, "there is nothing to do: neither training nor a test");
    if (o->valid && o->valid_split > 0)
        return pn_fail(err, PANTRY_INVALID, "rows to validate come from a file or from the training rows, not both");
    if ((status = check_number("iterations", o->iters, 1, 1e9, err)) ||
        (status = check_number("batch size", o->batch_size, 1, 4096, err)) ||
        (status = check_number("longest row", o->max_length, 2, 1 << 20, err)) ||
        (status = check_number("accumulation", o->accumulation, 1, 1e6, err)) ||
        (status = check_number("learning rate", (double)o->learning_rate, 0, 1e6, err)) ||
        (status = check_number("rank", o->rank, 1, 65536, err)) ||
        (status = check_number("dropout", (double)o->dropout, 0, 0.999, err)) ||
        (status = check_number("share of validation", (double)o->valid_split, 0, 0.999, err)) ||
        (status = check_number("threads", o->n_threads, 0, 1024, err)) || (status = read_names(t, err)))
        return status;
    return note_settings(t, err);
}

/* ---- text ---- */

static pantry_status open_text(struct tune *t, struct pantry_error *err)
{
    struct pn_buf source = {0};
    pantry_status status = t->weights->hf ? pn_tokenizer_from_hf(t->weights->hf->dir, NULL, &t->tokenizer, &source, err)
                                          : pn_vocab_from_weights(t->weights, &t->tokenizer, err);
    if (!status && source.len)
        status = pn_template_parse(source.data, source.len, &t->template, err);
    else if (!status && t->weights->chat_template.len)
        status = pn_template_parse(t->weights->chat_template.data, t->weights->chat_template.len, &t->template, err);
    pn_buf_free(&source);
    return status;
}

/* Reads PATH, or FOLDER/NAME, and deals with its long rows. `optional`: it may be missing. */
static pantry_status read_rows(struct tune *t, const char *folder, const char *name, bool optional,
                               struct pn_train_data *out, struct pantry_error *err)
{
    const struct pn_train_text how = {.tokenizer = t->tokenizer,
                                      .template = t->template,
                                      .mask_prompt = t->o.mask_prompt,
                                      .prompt = t->o.prompt_feature,
                                      .completion = t->o.completion_feature,
                                      .chat = t->o.chat_feature,
                                      .text = t->o.text_feature};
    struct pn_buf path = {0};
    pn_buf_printf(&path, folder ? "%s/%s" : "%s%s", folder ? folder : "", name);
    pantry_status status =
        path.failed ? pn_no_memory(err, "a data set") : pn_train_data_read(path.data, &how, out, err);
    pn_buf_free(&path);
    if (status == PANTRY_NOT_FOUND && optional) {
        pn_train_data_free(out);
        return PANTRY_OK;
    }
    return status ? status : pn_train_data_limit(out, pn_long_rows_find(t->o.long_rows), t->o.max_length, err);
}

static pantry_status read_data(struct tune *t, struct pantry_error *err)
{
    struct stat st;
    const char *folder = stat(t->o.data, &st) == 0 && S_ISDIR(st.st_mode) ? t->o.data : NULL;
    pantry_status status = PANTRY_OK;
    if (t->o.test && !folder)
        status = pn_fail(err, PANTRY_INVALID, "%s: is not a folder, so it has no test.jsonl", t->o.data);
    if (!status && !t->o.no_train)
        status = read_rows(t, folder, folder ? "train.jsonl" : t->o.data, false, &t->train, err);
    if (!status && !t->o.no_train && t->o.valid_split > 0)
        status = pn_train_data_split(&t->train, (double)t->o.valid_split, !t->o.given_order, t->o.seed, &t->valid, err);
    else if (!status && !t->o.no_train && (t->o.valid || folder))
        status = read_rows(t, t->o.valid ? NULL : folder, t->o.valid ? t->o.valid : "valid.jsonl", !t->o.valid,
                           &t->valid, err);
    if (!status && t->o.test)
        status = read_rows(t, folder, "test.jsonl", false, &t->test, err);
    return status;
}

/* ---- the adapter ---- */

/* The text of adapter_config.json: that of the first adapter, with this training's kind. */
static pantry_status make_config(struct tune *t, struct pn_adapter *adapter, struct pantry_error *err)
{
    json_t *config = NULL;
    const char *folder = adapter->path;
    pantry_status status = pn_hfdir_json(folder, "adapter_config.json", &config, err);
    if (status == PANTRY_NOT_FOUND)
        return pn_fail(err, PANTRY_NOT_FOUND, "%s: adapter_config.json is missing beside the adapter", folder);
    if (status)
        return status;
    const json_t *mlx = json_object_get(config, "lora_parameters");
    const json_t *dropout = json_object_get(mlx ? mlx : config, mlx ? "dropout" : "lora_dropout");
    adapter->dropout = (float)json_number_value(dropout);
    if (!(adapter->dropout >= 0 && adapter->dropout < 1)) {
        json_decref(config);
        return pn_fail(err, PANTRY_FORMAT, "%s: adapter_config.json has a dropout of %g (allowed: 0 to below 1)",
                       adapter->path, (double)adapter->dropout);
    }
    json_object_set_new(config, "fine_tune_type", json_string(t->o.kind));
    t->config = json_dumps(config, JSON_INDENT(4));
    json_decref(config);
    return t->config ? PANTRY_OK : pn_no_memory(err, "an adapter");
}

/* The text of adapter_config.json for a new adapter, or (NULL) for full training: what mlx_lm reads. */
static pantry_status write_config(struct tune *t, const struct pn_adapter *adapter, struct pantry_error *err)
{
    json_t *keys = json_array(), *config;
    for (size_t i = 0; adapter && i < adapter->modules.len; i++) {
        const char *name = strstr(adapter->modules.data[i].name, "layers.");
        const char *key = name ? strchr(name + strlen("layers."), '.') : NULL;
        bool known = !key;
        for (size_t j = 0; !known && j < json_array_size(keys); j++)
            known = strcmp(json_string_value(json_array_get(keys, j)), key + 1) == 0;
        if (!known)
            json_array_append_new(keys, json_string(key + 1));
    }
    config = json_pack("{s:s, s:i, s:{s:i, s:f, s:f, s:o}}", "fine_tune_type", t->o.kind, "num_layers", t->o.n_layers,
                       "lora_parameters", "rank", t->o.rank, "dropout", (double)t->o.dropout, "scale",
                       (double)t->o.scale, "keys", keys);
    t->config = config ? json_dumps(config, JSON_INDENT(4)) : NULL;
    json_decref(config);
    return t->config ? PANTRY_OK : pn_no_memory(err, "an adapter");
}

static pantry_status open_adapter(struct tune *t, struct pn_adapter **out, struct pantry_error *err)
{
    if (strcmp(t->o.kind, "full") == 0)
        return write_config(t, NULL, err);
    if (!t->o.resume_adapter) {
        const struct pn_adapter_spec spec = {.rank = t->o.rank,
                                             .n_layers = t->o.n_layers,
                                             .scale = t->o.scale,
                                             .keys = t->o.keys,
                                             .dora = strcmp(t->o.kind, "dora") == 0,
                                             .seed = t->o.seed};
        pantry_status made = pn_adapter_new_trained(&spec, t->weights, out, err);
        if (!made)
            (*out)->dropout = t->o.dropout;
        return made ? made : write_config(t, *out, err);
    }
    pantry_status status = pn_adapter_open_trained(t->o.resume_adapter, t->weights, out, err);
    return status ? status : make_config(t, *out, err);
}

/* Creates a folder and those above it. */
static pantry_status make_folder(const char *path, struct pantry_error *err)
{
    char *copy = strdup(path);
    if (!copy)
        return pn_no_memory(err, path);
    for (char *at = copy + 1; *at; at++)
        if (*at == '/') {
            *at = '\0';
            mkdir(copy, 0777);
            *at = '/';
        }
    bool failed = mkdir(copy, 0777) != 0 && errno != EEXIST;
    free(copy);
    return failed ? pn_fail(err, PANTRY_IO, "%s: cannot be created: %s", path, strerror(errno)) : PANTRY_OK;
}

/* The width of the widest batch that can come. */
static int widest(const struct tune *t)
{
    const struct pn_train_data *const all[] = {&t->train, &t->valid, &t->test};
    int64_t longest = 1;
    for (int i = 0; i < 3; i++)
        for (size_t r = 0; r < all[i]->len; r++)
            longest = all[i]->data[r].n > longest ? all[i]->data[r].n : longest;
    return (int)pn_train_width(longest, t->o.max_length);
}

static pantry_status open_trainer(struct tune *t, struct pantry_error *err)
{
    struct pn_adapter *adapter = NULL;
    struct pn_model *model;
    const struct pn_device_options options = {.n_threads = t->o.n_threads, .isa = t->o.isa};
    pantry_status status = open_adapter(t, &adapter, err);
    if (status) {
        pn_adapter_free(adapter);
        return status;
    }
    status = pn_model_new_trained(t->weights, adapter, &model, err);
    t->weights = NULL;
    if (status)
        return status;
    if ((status = pn_device_open(t->o.device ? t->o.device : "cpu", &options, &t->device, err))) {
        pn_model_free(model);
        return status;
    }
    return pn_trainer_new(model, t->device, t->o.batch_size, widest(t), pn_optimizer_keeps(&t->plan.optimizer),
                          t->o.grad_checkpoint, &t->trainer, err);
}

/* ---- the course ---- */

static struct pantry_tune_event event_of(const struct tune *t, enum pantry_tune_event_kind kind)
{
    return (struct pantry_tune_event){.kind = kind,
                                      .n_iters = t->o.iters,
                                      .memory = pn_trainer_bytes(t->trainer),
                                      .n_trained = (int64_t)pn_trainer_params(t->trainer)->n,
                                      .n_rows = (int64_t)t->train.len,
                                      .n_left_out = (int64_t)t->train.n_left_out};
}

static bool report(void *user, const struct pn_train_report *r)
{
    const struct tune *t = user;
    struct pantry_tune_event event = event_of(t, r->kind == PN_TRAIN_STEP         ? PANTRY_TUNE_STEP
                                                 : r->kind == PN_TRAIN_VALIDATION ? PANTRY_TUNE_VALIDATION
                                                                                  : PANTRY_TUNE_SAVED);
    event.iter = r->iter;
    event.loss = r->loss;
    event.learning_rate = r->learning_rate;
    event.tokens = r->tokens;
    event.n_cut = r->n_cut;
    event.seconds = r->seconds;
    event.due = r->due;
    event.mean_loss = r->mean_loss;
    event.best = r->best;
    return t->o.callback(t->o.user, &event);
}

/* Tells the caller of an event outside the course. */
static pantry_status tell(const struct tune *t, const struct pantry_tune_event *event, struct pantry_error *err)
{
    return !t->o.callback || t->o.callback(t->o.user, event)
               ? PANTRY_OK
               : pn_fail(err, PANTRY_CANCELLED, "the training was stopped");
}

static pantry_status test(struct tune *t, struct pantry_error *err)
{
    struct pantry_tune_event event = event_of(t, PANTRY_TUNE_TEST);
    event.iter = t->o.no_train ? 0 : t->o.iters;
    pantry_status status =
        pn_train_measure(t->trainer, &t->test, &t->plan, t->o.test_batches, &event.loss, &event.tokens, err);
    return status ? status : tell(t, &event, err);
}

/* Opens the model: of a test alone, with the adapter of adapter_path if there is one. */
static pantry_status open_weights(struct tune *t, const char *model, struct pantry_error *err)
{
    bool full = strcmp(t->o.kind, "full") == 0;
    if (!t->o.no_train)
        return full ? pn_model_open_writable(model, t->o.n_layers, &t->weights, err)
                    : pn_model_open(model, &t->weights, err);
    struct stat st;
    struct pn_buf path = {0};
    pn_buf_printf(&path, "%s/adapters.safetensors", t->o.adapter_path);
    if (path.failed)
        return pn_no_memory(err, "a path");
    bool found = stat(path.data, &st) == 0;
    t->path = pn_buf_take(&path);
    if (found && pn_adapter_is_full(t->o.adapter_path))
        return pn_fail(err, PANTRY_UNSUPPORTED, "%s: fully tuned weights cannot be tested alone: fuse them first",
                       t->o.adapter_path);
    t->o.resume_adapter = found ? t->path : NULL;
    return pn_model_open(model, &t->weights, err);
}

static pantry_status tune(struct tune *t, const char *model, struct pantry_error *err)
{
    pantry_status status = check_options(t, err);
    if (status || (status = open_weights(t, model, err)) || (status = open_text(t, err)) ||
        (status = read_data(t, err)) || (status = open_trainer(t, err)))
        return status;
    t->plan.config = t->config;
    const struct pn_train_listener listener = {report, t};
    if (!t->o.no_train) {
        const struct pantry_tune_event planned = event_of(t, PANTRY_TUNE_PLANNED);
        if ((status = make_folder(t->o.adapter_path, err)) || (status = tell(t, &planned, err)) ||
            (status = pn_train_run(t->trainer, &t->train, &t->valid, &t->plan, t->o.callback ? &listener : NULL, err)))
            return status;
    }
    return t->o.test ? test(t, err) : PANTRY_OK;
}

pantry_status pantry_tune(const char *model, const struct pantry_tune_options *options, struct pantry_error *err)
{
    struct tune t = {.o = pantry_tune_options_default()};
    pantry_status status = pn_take_options(&t.o, options, "options of a training", err);
    if (!status) {
        struct pantry_error why;
        status = pn_tell(tune(&t, model, &why), &why, err);
    }
    pn_trainer_free(t.trainer);
    pn_device_close(t.device);
    pn_weights_close(t.weights);
    pn_tokenizer_free(t.tokenizer);
    pn_template_free(t.template);
    pn_train_data_free(&t.train);
    pn_train_data_free(&t.valid);
    pn_train_data_free(&t.test);
    free(t.config);
    free(t.settings);
    free(t.path);
    return status;
}

/* ---- other formats ---- */

static pantry_status export_adapter(const char *model, const char *folder, const char *format, const char *out,
                                    struct pantry_error *err)
{
    bool gguf = strcmp(format, "gguf") == 0;
    struct pn_weights *weights = NULL;
    struct pn_adapter *adapter = NULL;
    pantry_status status;
    if (!gguf && strcmp(format, "peft") != 0)
        return pn_fail(err, PANTRY_INVALID, "unknown format of adapters (found \"%s\", allowed gguf, peft)", format);
    if (pn_adapter_is_full(folder))
        return pn_fail(err, PANTRY_UNSUPPORTED, "%s: has whole weights, not an adapter: use pantry fuse", folder);
    if (!(status = pn_model_open(model, &weights, err)) &&
        !(status = pn_adapter_open_trained(folder, weights, &adapter, err)))
        status = gguf ? pn_adapter_export_gguf(adapter, weights, out, err) : make_folder(out, err);
    if (!status && !gguf)
        status = pn_adapter_export_peft(adapter, model, out, err);
    pn_adapter_free(adapter);
    pn_weights_close(weights);
    return status;
}

pantry_status pantry_export_adapter(const char *model, const char *adapter, const char *format, const char *out,
                                    struct pantry_error *err)
{
    struct pantry_error why;
    return pn_tell(export_adapter(model, adapter, format, out, &why), &why, err);
}

/* ---- fusing ---- */

/* True for the files of a model's folder that the fused one needs as they are. */
static bool is_kept(const char *name)
{
    size_t n = strlen(name);
    bool weights = (n > 12 && strcmp(name + n - 12, ".safetensors") == 0) || strstr(name, ".safetensors.index.json");
    return name[0] != '.' && !weights && strcmp(name, "config.json") != 0;
}

static pantry_status copy_files(const char *from, const char *to, struct pantry_error *err)
{
    struct pn_names names;
    pantry_status status = pn_names_read(AT_FDCWD, from, false, &names, err);
    if (status)
        return status;
    for (size_t i = 0; i < names.len && !status; i++) {
        struct stat st;
        char *text = NULL;
        size_t n = 0;
        struct pn_buf path = {0};
        pn_buf_printf(&path, "%s/%s", from, names.data[i]);
        if (path.failed)
            status = pn_no_memory(err, from);
        else if (is_kept(names.data[i]) && stat(path.data, &st) == 0 && S_ISREG(st.st_mode) &&
                 !(status = pn_file_read(path.data, MAX_COPIED, &text, &n, err)))
            status = pn_outfile_bytes(to, names.data[i], text, n, err);
        free(text);
        pn_buf_free(&path);
    }
    pn_names_free(&names);
    return status;
}

static pantry_status fuse(const char *model, const char *adapter, const char *out, struct pantry_error *err)
{
    struct stat a, b;
    pantry_status status = make_folder(out, err);
    if (status)
        return status;
    if (stat(model, &a) == 0 && stat(out, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino)
        return pn_fail(err, PANTRY_INVALID, "%s: is the model itself", out);
    if (!S_ISDIR(a.st_mode))
        return pn_fail(err, PANTRY_UNSUPPORTED,
                       "%s: adapters become a part of Hugging Face and MLX directories only, not yet of GGUF files",
                       model);
    status = copy_files(model, out, err);
    return status ? status : pn_model_fuse(model, adapter, out, err);
}

pantry_status pantry_fuse(const char *model, const char *adapter, const char *out, struct pantry_error *err)
{
    struct pantry_error why;
    return pn_tell(fuse(model, adapter, out, &why), &why, err);
}
