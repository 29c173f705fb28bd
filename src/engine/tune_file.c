/* The options of a training from mlx_lm's YAML file: see pantry_tune_file_open. */
#define _POSIX_C_SOURCE 200809L
#include "engine/handle.h"

#include "base/file.h"
#include "base/yaml.h"

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct pantry_tune_file {
    struct pn_arena arena;
    char *path, *text;
    struct pn_yaml *root;
    const char *model, *optimizer_config, *lr_schedule, *keys;
    bool trains;
};

/* ---- keys ---- */

enum kind { INTEGER, ALL_BELOW_0, NUMBER, TEXT, TRUTH, SEED };

#define OPTION(member) offsetof(struct pantry_tune_options, member)

/* mlx_lm's keys, then those that only pantry has; INTEGER and NUMBER are in [least, most]. */
static const struct key {
    const char *name;
    enum kind kind;
    size_t offset;
    double least, most;
} keys[] = {
    {"data", TEXT, OPTION(data), 0, 0},
    {"fine_tune_type", TEXT, OPTION(kind), 0, 0},
    {"optimizer", TEXT, OPTION(optimizer), 0, 0},
    {"adapter_path", TEXT, OPTION(adapter_path), 0, 0},
    {"resume_adapter_file", TEXT, OPTION(resume_adapter), 0, 0},
    {"prompt_feature", TEXT, OPTION(prompt_feature), 0, 0},
    {"completion_feature", TEXT, OPTION(completion_feature), 0, 0},
    {"chat_feature", TEXT, OPTION(chat_feature), 0, 0},
    {"text_feature", TEXT, OPTION(text_feature), 0, 0},
    {"seed", SEED, OPTION(seed), 0, 0x1p53},
    {"num_layers", INTEGER, OPTION(n_layers), -1, 1e5},
    {"batch_size", INTEGER, OPTION(batch_size), 1, 4096},
    {"iters", INTEGER, OPTION(iters), 1, 1e9},
    {"val_batches", ALL_BELOW_0, OPTION(val_batches), -1, 1e9},
    {"test_batches", ALL_BELOW_0, OPTION(test_batches), -1, 1e9},
    {"steps_per_report", INTEGER, OPTION(report_every), 1, 1e9},
    {"steps_per_eval", INTEGER, OPTION(eval_every), 0, 1e9},
    {"save_every", INTEGER, OPTION(save_every), 0, 1e9},
    {"max_seq_length", INTEGER, OPTION(max_length), 2, 1 << 20},
    {"grad_accumulation_steps", INTEGER, OPTION(accumulation), 1, 1e6},
    {"learning_rate", NUMBER, OPTION(learning_rate), 0, 1e6},
    {"mask_prompt", TRUTH, OPTION(mask_prompt), 0, 0},
    {"grad_checkpoint", TRUTH, OPTION(grad_checkpoint), 0, 0},
    {"test", TRUTH, OPTION(test), 0, 0},
    {"valid", TEXT, OPTION(valid), 0, 0},
    {"valid_split", NUMBER, OPTION(valid_split), 0, 0.999},
    {"schedule", TEXT, OPTION(schedule), 0, 0},
    {"end_learning_rate", NUMBER, OPTION(end_rate), 0, 1e6},
    {"warmup", INTEGER, OPTION(warmup), 0, 1e9},
    {"grad_clip", NUMBER, OPTION(clip), 0, 1e9},
    {"patience", INTEGER, OPTION(patience), 0, 1e9},
    {"long_rows", TEXT, OPTION(long_rows), 0, 0},
};

/* Keys of mlx_lm without a meaning here. */
static const char *const ignored[] = {"clear_cache_threshold", "project_name", "trust_remote_code", "config"};

/* The members of lora_parameters. */
static const struct key lora_keys[] = {
    {"rank", INTEGER, OPTION(rank), 1, 65536},
    {"scale", NUMBER, OPTION(scale), 0, 1e6},
    {"dropout", NUMBER, OPTION(dropout), 0, 0.999},
};

static const struct key *find(const struct key *table, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(table[i].name, name) == 0)
            return &table[i];
    return NULL;
}

static pantry_status wrong(const struct pantry_tune_file *f, const struct pn_yaml *v, const char *allowed,
                           struct pantry_error *err)
{
    return pn_fail(err, PANTRY_FORMAT, "%s:%d: %s is %s%.60s%s (allowed: %s)", f->path, v->line, v->key,
                   v->kind == PN_YAML_SCALAR ? "\"" : "", v->kind == PN_YAML_SCALAR ? v->text : "several values",
                   v->kind == PN_YAML_SCALAR ? "\"" : "", allowed);
}

/* Sets one option, or (`o` NULL) only checks the value. */
static pantry_status set(const struct pantry_tune_file *f, const struct key *key, const struct pn_yaml *v,
                         struct pantry_tune_options *o, struct pantry_error *err)
{
    struct pantry_tune_options none;
    char *at = (char *)(o ? o : &none) + key->offset, allowed[80];
    double number = 0;
    if (key->kind == TEXT) {
        if (v->kind != PN_YAML_SCALAR)
            return wrong(f, v, "a text", err);
        memcpy(at, &v->text, sizeof v->text);
        return PANTRY_OK;
    }
    if (key->kind == TRUTH)
        return pn_yaml_truth(v, (bool *)at) ? PANTRY_OK : wrong(f, v, "true or false", err);
    bool whole = key->kind != NUMBER;
    if (!pn_yaml_number(v, &number) || number < key->least || number > key->most ||
        (whole && floor(number) != number)) {
        snprintf(allowed, sizeof allowed, "a %snumber from %.10g to %.10g", whole ? "whole " : "", key->least,
                 key->most);
        return wrong(f, v, allowed, err);
    }
    if (key->kind == NUMBER)
        *(float *)(void *)at = (float)number;
    else if (key->kind == SEED)
        *(uint64_t *)(void *)at = (uint64_t)number;
    else
        *(int *)(void *)at = key->kind == ALL_BELOW_0 && number < 0 ? 0 : (int)number;
    return PANTRY_OK;
}

/* ---- maps ---- */

static pantry_status keep(struct pantry_tune_file *f, struct pn_buf *text, const char **out, struct pantry_error *err)
{
    *out = text->failed ? NULL : pn_arena_copy(&f->arena, text->data ? text->data : "", text->len);
    pn_buf_free(text);
    return *out ? PANTRY_OK : pn_no_memory(err, f->path);
}

/* A word that options are made of has no blanks. */
static bool is_word(const struct pn_yaml *v)
{
    return v->kind == PN_YAML_SCALAR && v->len > 0 && v->len < 80 && strcspn(v->text, " ,\t\n=") == v->len;
}

static pantry_status read_lora(struct pantry_tune_file *f, const struct pn_yaml *map, struct pantry_error *err)
{
    struct pn_buf text = {0};
    if (map->kind != PN_YAML_MAP)
        return wrong(f, map, "a map with rank, scale, dropout and keys", err);
    for (const struct pn_yaml *v = map->first; v; v = v->next) {
        const struct key *key = find(lora_keys, sizeof lora_keys / sizeof *lora_keys, v->key);
        pantry_status status = PANTRY_OK;
        if (key) {
            status = set(f, key, v, NULL, err);
        } else if (strcmp(v->key, "keys") != 0) {
            status = pn_fail(err, PANTRY_FORMAT,
                             "%s:%d: lora_parameters has no \"%.60s\" (allowed: rank, scale, "
                             "dropout, keys)%s",
                             f->path, v->line, v->key,
                             strcmp(v->key, "alpha") == 0 ? ": scale is alpha divided by rank" : "");
        } else if (!pn_yaml_is_null(v)) {
            if (v->kind != PN_YAML_LIST)
                status = wrong(f, v, "a list of names", err);
            for (const struct pn_yaml *name = v->first; name && !status; name = name->next)
                if (is_word(name))
                    pn_buf_printf(&text, "%s%s", text.len ? "," : "", name->text);
                else
                    status = pn_fail(err, PANTRY_FORMAT, "%s:%d: a key of lora_parameters is not a name", f->path,
                                     name->line);
        }
        if (status) {
            pn_buf_free(&text);
            return status;
        }
    }
    return text.len ? keep(f, &text, &f->keys, err) : PANTRY_OK;
}

/* A setting of an optimizer: a number, a pair of numbers, or true or false. */
static pantry_status put_setting(const struct pantry_tune_file *f, const char *optimizer, const struct pn_yaml *v,
                                 struct pn_buf *text, struct pantry_error *err)
{
    double number;
    bool truth;
    if (pn_yaml_is_null(v))
        return PANTRY_OK;
    pn_buf_printf(text, "%s%s.%s=", text->len ? " " : "", optimizer, v->key);
    if (pn_yaml_truth(v, &truth)) {
        pn_buf_puts(text, truth ? "true" : "false");
    } else if (pn_yaml_number(v, &number)) {
        pn_buf_printf(text, "%.17g", number);
    } else if (v->kind == PN_YAML_LIST && v->first) {
        for (const struct pn_yaml *item = v->first; item; item = item->next)
            if (pn_yaml_number(item, &number))
                pn_buf_printf(text, "%s%.17g", item == v->first ? "" : ":", number);
            else
                return wrong(f, v, "a list of numbers", err);
    } else {
        return wrong(f, v, "a number, a list of numbers, true or false", err);
    }
    return PANTRY_OK;
}

static pantry_status read_optimizers(struct pantry_tune_file *f, const struct pn_yaml *map, struct pantry_error *err)
{
    struct pn_buf text = {0};
    pantry_status status = map->kind == PN_YAML_MAP ? PANTRY_OK : wrong(f, map, "a map of optimizers", err);
    for (const struct pn_yaml *one = map->first; one && !status; one = one->next) {
        if (one->kind != PN_YAML_MAP && !pn_yaml_is_null(one))
            status = wrong(f, one, "a map of settings", err);
        for (const struct pn_yaml *v = one->first; v && !status; v = v->next)
            status = put_setting(f, one->key, v, &text, err);
    }
    if (!status)
        return keep(f, &text, &f->optimizer_config, err);
    pn_buf_free(&text);
    return status;
}

static pantry_status read_schedule(struct pantry_tune_file *f, const struct pn_yaml *map, struct pantry_error *err)
{
    struct pn_buf text = {0};
    double number;
    const struct pn_yaml *name = pn_yaml_get(map, "name"), *arguments = pn_yaml_get(map, "arguments");
    if (!name || !is_word(name) || !arguments || arguments->kind != PN_YAML_LIST)
        return wrong(f, map, "a map with name, arguments (a list), warmup and warmup_init", err);
    pn_buf_puts(&text, name->text);
    pantry_status status = PANTRY_OK;
    for (const struct pn_yaml *v = arguments->first; v && !status; v = v->next)
        if (pn_yaml_number(v, &number))
            pn_buf_printf(&text, " %.17g", number);
        else
            status = pn_fail(err, PANTRY_FORMAT, "%s:%d: an argument of lr_schedule is not a number", f->path, v->line);
    for (const struct pn_yaml *v = map->first; v && !status; v = v->next) {
        if (v == name || v == arguments)
            continue;
        if (strcmp(v->key, "warmup") != 0 && strcmp(v->key, "warmup_init") != 0)
            status = pn_fail(err, PANTRY_FORMAT, "%s:%d: lr_schedule has no \"%.60s\"", f->path, v->line, v->key);
        else if (!pn_yaml_number(v, &number))
            status = wrong(f, v, "a number", err);
        else
            pn_buf_printf(&text, " %s=%.17g", v->key, number);
    }
    if (!status)
        return keep(f, &text, &f->lr_schedule, err);
    pn_buf_free(&text);
    return status;
}

static pantry_status read_key(struct pantry_tune_file *f, const struct pn_yaml *v, struct pantry_error *err)
{
    const struct key *key = find(keys, sizeof keys / sizeof *keys, v->key);
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        if (strcmp(v->key, ignored[i]) == 0)
            return PANTRY_OK;
    if (pn_yaml_is_null(v))
        return PANTRY_OK;
    if (key)
        return set(f, key, v, NULL, err);
    if (strcmp(v->key, "train") == 0)
        return pn_yaml_truth(v, &f->trains) ? PANTRY_OK : wrong(f, v, "true or false", err);
    if (strcmp(v->key, "model") == 0) {
        f->model = v->kind == PN_YAML_SCALAR ? v->text : NULL;
        return f->model ? PANTRY_OK : wrong(f, v, "a text", err);
    }
    if (strcmp(v->key, "lora_parameters") == 0)
        return read_lora(f, v, err);
    if (strcmp(v->key, "optimizer_config") == 0)
        return read_optimizers(f, v, err);
    if (strcmp(v->key, "lr_schedule") == 0)
        return read_schedule(f, v, err);
    if (strcmp(v->key, "report_to") == 0 || strcmp(v->key, "hf_dataset") == 0)
        return pn_fail(err, PANTRY_UNSUPPORTED, "%s:%d: %s is not supported: %s", f->path, v->line, v->key,
                       v->key[0] == 'r' ? "use --json" : "data is a file or a folder");
    return pn_fail(err, PANTRY_FORMAT, "%s:%d: unknown key \"%.60s\"", f->path, v->line, v->key);
}

/* ---- the file ---- */

static pantry_status open_file(struct pantry_tune_file *f, const char *path, struct pantry_error *err)
{
    size_t len;
    f->path = strdup(path);
    if (!f->path)
        return pn_no_memory(err, path);
    pantry_status status = pn_file_read(path, PN_YAML_MAX, &f->text, &len, err);
    if (!status)
        status = pn_yaml_parse(f->text, len, path, &f->arena, &f->root, err);
    if (!status && f->root->kind != PN_YAML_MAP)
        status = pn_fail(err, PANTRY_FORMAT, "%s:%d: is not a map of options", path, f->root->line);
    for (const struct pn_yaml *v = status ? NULL : f->root->first; v && !status; v = v->next)
        status = read_key(f, v, err);
    return status;
}

pantry_status pantry_tune_file_open(const char *path, pantry_tune_file **out, struct pantry_error *err)
{
    struct pantry_error why;
    *out = NULL;
    struct pantry_tune_file *f = calloc(1, sizeof *f);
    pantry_status status = f ? open_file(f, path, &why) : pn_no_memory(&why, path);
    if (status)
        pantry_tune_file_free(f);
    else
        *out = f;
    return pn_tell(status, &why, err);
}

void pantry_tune_file_apply(const pantry_tune_file *f, struct pantry_tune_options *options)
{
    struct pantry_tune_options o = pantry_tune_options_default();
    struct pantry_error err;
    if (pn_take_options(&o, options, "options of a training", &err))
        return;
    for (const struct pn_yaml *v = f->root->first; v; v = v->next) {
        const struct key *key = find(keys, sizeof keys / sizeof *keys, v->key);
        if (key && !pn_yaml_is_null(v))
            (void)set(f, key, v, &o, &err); /* was checked when the file was opened */
    }
    const struct pn_yaml *lora = pn_yaml_get(f->root, "lora_parameters");
    for (const struct pn_yaml *v = lora ? lora->first : NULL; v; v = v->next) {
        const struct key *key = find(lora_keys, sizeof lora_keys / sizeof *lora_keys, v->key);
        if (key)
            (void)set(f, key, v, &o, &err);
    }
    o.keys = f->keys ? f->keys : o.keys;
    o.optimizer_config = f->optimizer_config ? f->optimizer_config : o.optimizer_config;
    o.lr_schedule = f->lr_schedule ? f->lr_schedule : o.lr_schedule;
    pn_give_result(options, &o);
}

const char *pantry_tune_file_model(const pantry_tune_file *f)
{
    return f->model;
}

bool pantry_tune_file_trains(const pantry_tune_file *f)
{
    return f->trains;
}

void pantry_tune_file_free(pantry_tune_file *f)
{
    if (!f)
        return;
    pn_arena_free(&f->arena);
    free(f->path);
    free(f->text);
    free(f);
}
