/* Ollama's API: what models there are. */
#define _POSIX_C_SOURCE 200809L
#include "server/api/ollama.h"

#include "base/clock.h"
#include "base/status.h"
#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* ---- descriptions ---- */

static json_t *describe(const char *path)
{
    char *text;
    if (pantry_describe(path, &text, NULL))
        return NULL;
    json_t *v = json_loads(text, JSON_ALLOW_NUL, NULL);
    pantry_free(text);
    return v;
}

/* "134.5M", "7.6B" */
static void count_text(char out[16], double n)
{
    if (n >= 1e9)
        snprintf(out, 16, "%.1fB", n / 1e9);
    else
        snprintf(out, 16, "%.2fM", n / 1e6);
}

/* The type that most bytes are in, in capitals: what a file is called after. */
static void level_of(const json_t *types, char out[24])
{
    const char *name, *best = "unknown";
    json_t *v;
    json_int_t most = -1;
    json_object_foreach((json_t *)(uintptr_t)types, name, v)
    {
        json_int_t bytes = json_integer_value(json_object_get(v, "bytes"));
        if (bytes > most) {
            most = bytes;
            best = name;
        }
    }
    size_t n = 0;
    for (; best[n] && n < 23; n++)
        out[n] = best[n] >= 'a' && best[n] <= 'z' ? (char)(best[n] - 'a' + 'A') : best[n];
    out[n] = '\0';
}

static json_t *details_of(const json_t *d)
{
    char size[16], level[24];
    const char *family = json_string_value(json_object_get(d, "architecture"));
    family = family ? family : "";
    count_text(size, json_number_value(json_object_get(d, "n_params")));
    level_of(json_object_get(d, "types"), level);
    return json_pack("{s:s, s:s, s:s, s:[s], s:s, s:s}", "parent_model", "", "format", "gguf", "family", family,
                     "families", family, "parameter_size", size, "quantization_level", level);
}

static void digest_of(const char *path, char out[65])
{
    const char *at = strstr(path, "sha256-");
    out[0] = '\0';
    if (at)
        snprintf(out, 65, "%.64s", at + 7);
}

static void modified_at(const char *path, char out[40])
{
    struct stat st;
    pn_time_text(out, stat(path, &st) == 0 ? (double)st.st_mtime : 0);
}

static void full_name(const char *name, char out[300])
{
    const char *slash = strrchr(name, '/');
    snprintf(out, 300, "%.280s%s", name, strchr(slash ? slash : name, ':') ? "" : ":latest");
}

static json_t *summary(const char *name, const char *path, uint64_t bytes, const json_t *description)
{
    char full[300], digest[65];
    full_name(name, full);
    digest_of(path, digest);
    return json_pack("{s:s, s:s, s:I, s:s, s:o}", "name", full, "model", full, "size", (json_int_t)bytes, "digest",
                     digest, "details", details_of(description));
}

static void add_model(json_t *models, const char *name, const char *path, uint64_t bytes)
{
    char when[40];
    json_t *d = describe(path), *v = summary(name, path, bytes, d);
    modified_at(path, when);
    json_object_set_new(v, "modified_at", json_string(when));
    json_array_append_new(models, v);
    json_decref(d);
}

static void add_aliases(const struct pn_server *s, json_t *models)
{
    size_t n;
    const struct pn_model_alias *aliases = pn_models_aliases(s->models, &n);
    for (size_t i = 0; i < n; i++) {
        char *name, *path;
        uint64_t bytes;
        if (!pn_models_find(s->models, aliases[i].name, &name, &path, &bytes, NULL))
            add_model(models, aliases[i].name, path, bytes);
        free(name);
        free(path);
    }
}

void pn_ollama_tags(struct pn_server *s, struct pn_exchange *x, json_t *body, const char *tail)
{
    (void)body, (void)tail;
    struct pn_stored *list;
    struct pantry_error err;
    size_t n;
    if (pn_store_list(&list, &n, &err)) {
        pn_reply_error(x, PN_ERRORS_OLLAMA, &err);
        return;
    }
    json_t *models = json_array();
    for (size_t i = 0; i < n; i++)
        add_model(models, list[i].name, list[i].path, list[i].bytes);
    pn_store_list_free(list, n);
    add_aliases(s, models);
    pn_reply_json(x, 200, json_pack("{s:o}", "models", models));
}

static void add_running(void *user, const struct pn_loaded_state *state)
{
    const struct pn_loaded *l = state->loaded;
    char until[40];
    json_t *d = describe(l->path), *v = summary(l->name, l->path, l->bytes, d);
    pn_time_text(until, (double)time(NULL) + (state->forever ? 100.0 * 365 * 86400 : state->seconds_left));
    json_object_set_new(v, "expires_at", json_string(until));
    json_object_set_new(v, "size_vram", json_integer(0));
    json_object_set_new(v, "context_length", json_integer(l->n_context));
    json_array_append_new(user, v);
    json_decref(d);
}

void pn_ollama_ps(struct pn_server *s, struct pn_exchange *x, json_t *body, const char *tail)
{
    (void)body, (void)tail;
    json_t *models = json_array();
    pn_models_each(s->models, add_running, models);
    pn_reply_json(x, 200, json_pack("{s:o}", "models", models));
}

void pn_ollama_version(struct pn_server *s, struct pn_exchange *x, json_t *body, const char *tail)
{
    (void)s, (void)body, (void)tail;
    pn_reply_json(x, 200, json_pack("{s:s}", "version", pantry_version()));
}

/* ---- show ---- */

static bool has_key(const json_t *d, const char *part)
{
    const char *key;
    json_t *v;
    json_object_foreach(json_object_get(d, "metadata"), key, v) if (strstr(key, part)) return true;
    return false;
}

bool pn_ollama_thinks(const char *template)
{
    return template && (strstr(template, "<think>") || strstr(template, "reasoning") || strstr(template, "thinking") ||
                        strstr(template, ".Think"));
}

static json_t *capabilities_of(const json_t *d)
{
    const char *template = json_string_value(json_object_get(d, "template"));
    const json_t *pooling = json_object_get(json_object_get(d, "hyperparameters"), "pooling_type");
    json_t *v = json_array();
    if (pooling)
        json_array_append_new(v, json_string("embedding"));
    else
        json_array_append_new(v, json_string("completion"));
    if (json_is_true(json_object_get(d, "sees")))
        json_array_append_new(v, json_string("vision"));
    if (template && pn_answer_takes_tools(template))
        json_array_append_new(v, json_string("tools"));
    if (has_key(d, "fim_pre_token_id") || has_key(d, "prefix_token_id"))
        json_array_append_new(v, json_string("insert"));
    if (pn_ollama_thinks(template))
        json_array_append_new(v, json_string("thinking"));
    return v;
}

/* The file's metadata; long lists are null, as with Ollama, unless all is asked for. */
static json_t *info_of(const json_t *d, bool verbose)
{
    json_t *out = json_object(), *v;
    const char *key;
    json_object_foreach(json_object_get(d, "metadata"), key, v)
    {
        if (strcmp(key, "tokenizer.chat_template") == 0)
            continue;
        if (json_is_array(v) && !verbose)
            json_object_set_new(out, key, json_null());
        else
            json_object_set(out, key, v);
    }
    json_object_set(out, "general.parameter_count", json_object_get(d, "n_params"));
    return out;
}

/* What the store's manifest adds to the description of the file, or replaces in it. */
static void overlay(json_t *d, const struct pn_carried *c)
{
    char *license = pn_carried_license(c);
    if (json_array_size(c->projectors))
        json_object_set_new(d, "sees", json_true());
    const char *template = pn_carried_template(c, json_string_value(json_object_get(d, "template")));
    if (template)
        json_object_set_new(d, "template", json_string(template));
    if (license)
        json_object_set_new(d, "license_text", json_string(license));
    free(license);
}

/* Of a model made from a Modelfile. */
static void add_carried(json_t *v, const struct pn_carried *c)
{
    char *parameters = pn_carried_parameters(c);
    if (parameters)
        json_object_set_new(v, "parameters", json_string(parameters));
    if (c->system)
        json_object_set_new(v, "system", json_string(c->system));
    if (c->messages)
        json_object_set(v, "messages", c->messages);
    free(parameters);
}

/* What `pantry list` and `show` print, for those of another machine. Ollama's API has no such field. */
static void add_description(json_t *v, const char *name, uint64_t bytes, const struct pn_carried *carried,
                            const json_t *d)
{
    struct pn_stored stored;
    json_t *all = json_copy((json_t *)(uintptr_t)d);
    if (!all || pn_store_find(name, &stored, NULL)) {
        json_decref(all);
        return;
    }
    json_object_set_new(all, "source", json_string(stored.source));
    json_object_set_new(all, "path", json_string(stored.path));
    json_object_set_new(all, "stored_bytes", json_integer((json_int_t)bytes));
    if (carried->adapters)
        json_object_set(all, "adapters", carried->adapters);
    if (carried->drafts)
        json_object_set(all, "drafts", carried->drafts);
    json_object_set_new(v, "description", all);
    pn_stored_free(&stored);
}

static json_t *text_or_empty(const json_t *d, const char *key)
{
    json_t *v = json_object_get(d, key);
    if (!v && strcmp(key, "license_text") == 0)
        v = json_object_get(d, "license");
    return v ? json_incref(v) : json_string("");
}

void pn_ollama_show(struct pn_server *s, struct pn_exchange *x, json_t *body, const char *tail)
{
    (void)tail;
    const char *model = NULL;
    bool verbose = false, whole = false;
    char *name, *path, when[40];
    uint64_t bytes;
    struct pantry_error err;
    static const char *const known[] = {"model", "name", "verbose", "description", NULL};
    pantry_status status = pn_json_known(body, "", known, &err);
    if (!status)
        status = pn_json_string(body, "name", &model, &err);
    if (!status)
        status = pn_json_string(body, "model", &model, &err);
    if (!status)
        status = pn_json_bool(body, "verbose", &verbose, &err);
    if (!status)
        status = pn_json_bool(body, "description", &whole, &err);
    if (!status && !model)
        status = pn_fail(&err, PANTRY_INVALID, "model is required");
    if (!status)
        status = pn_models_find(s->models, model, &name, &path, &bytes, &err);
    if (status) {
        pn_reply_error(x, PN_ERRORS_OLLAMA, &err);
        return;
    }
    struct pn_carried carried;
    if (pn_carried_read(name, &carried, &err)) {
        pn_reply_error(x, PN_ERRORS_OLLAMA, &err);
        free(name);
        free(path);
        return;
    }
    json_t *d = describe(path);
    modified_at(path, when);
    overlay(d, &carried);
    char *modelfile = pn_carried_modelfile(&carried, name, path, json_string_value(json_object_get(d, "template")));
    json_t *v = json_pack("{s:o, s:s, s:s, s:o, s:o, s:o, s:o, s:s}", "license", text_or_empty(d, "license_text"),
                          "modelfile", modelfile ? modelfile : "", "parameters", "", "template",
                          text_or_empty(d, "template"), "details", details_of(d), "model_info", info_of(d, verbose),
                          "capabilities", capabilities_of(d), "modified_at", when);
    if (verbose && v)
        json_object_set(v, "tensors", json_object_get(d, "tensors"));
    if (whole && v)
        add_description(v, name, bytes, &carried, d);
    add_carried(v, &carried);
    pn_reply_json(x, 200, v);
    pn_carried_free(&carried);
    json_decref(d);
    free(modelfile);
    free(name);
    free(path);
}
