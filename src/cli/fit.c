/* Whether a model fits, and how fast it will be: see fit.h.
 *
 * A step of decoding takes the bytes that it reads (weights once, keys and values of the context) at the rate that this
 * machine reaches, and a time per layer. A prompt takes its multiplications at the measured rate. */
#define _DEFAULT_SOURCE  1 /* getloadavg */
#define _DARWIN_C_SOURCE 1
#include "cli/fit.h"

#include "cli/say.h"
#include "cli/terminal.h"
#include "store/store.h"

#include "base/os.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Time per layer and token on a GPU: starting kernels. From the same measurements as the chips' rates. */
static const double chip_layer_seconds = 2e-5;

/* ---- the machine ---- */

static void show_progress(const char *what)
{
    if (pn_term_moves(stderr))
        fprintf(stderr, "\r\033[Kmeasuring this machine: %s...", what);
}

/* Limits kept for this device; false: none. */
static bool kept(const char *path, const char *device, struct pn_limits *out)
{
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, NULL), *entry;
    bool found = false;
    size_t i;
    json_array_foreach(json_object_get(root, "limits"), i, entry)
    {
        if (!found && pn_limits_read(entry, out) && strcmp(out->device, device) == 0)
            found = true;
    }
    json_decref(root);
    return found;
}

/* Replaces the limits of the device in the file; a damaged file is replaced. */
static pantry_status keep(const char *path, const struct pn_limits *limits, struct pantry_error *err)
{
    int lock;
    pantry_status status = pn_store_lock_private_file(path, &lock, err);
    if (status)
        return status;
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, NULL), *list = json_array(), *entry;
    size_t i;
    if (!json_is_object(root)) {
        json_decref(root);
        root = json_object();
    }
    json_array_foreach(json_object_get(root, "limits"), i, entry)
    {
        const char *device = json_string_value(json_object_get(entry, "device"));
        if (device && strcmp(device, limits->device) != 0)
            json_array_append(list, entry);
    }
    json_array_append_new(list, pn_limits_json(limits));
    json_object_set_new(root, "limits", list);
    char *text = json_dumps(root, JSON_INDENT(2));
    status = text ? pn_store_replace_private_file(path, text, strlen(text), err) : pn_no_memory(err, path);
    free(text);
    json_decref(root);
    close(lock);
    return status;
}

/* The device's name, as limits know it. */
static pantry_status device_name(const struct pn_machine *machine, char *out, size_t size, struct pantry_error *err)
{
    struct pantry_model_info info = {.size = sizeof info};
    pantry_model *model;
    pantry_status status = pantry_model_outline("smollm2-135m:q4_0", &machine->model, &model, err);
    if (status)
        return status;
    pantry_model_info(model, &info, NULL);
    snprintf(out, size, "%s", info.device);
    pantry_model_free(model);
    return PANTRY_OK;
}

/* Other programs compete for the processor, so that measurements would be too low. */
static bool is_busy(double *load)
{
    return getloadavg(load, 1) == 1 && *load > 0.5 * pn_os_processors();
}

int pn_fit_this_machine(const struct pn_machine *machine, bool again, struct pn_fit_machine *out)
{
    struct pantry_error err = {0};
    struct pn_os_memory memory;
    char *path = NULL, device[sizeof out->limits.device];
    double load;
    *out = (struct pn_fit_machine){0};
    pn_os_memory(&memory);
    out->total = memory.total;
    out->usable = pn_chip_usable(PN_CHIP_CPU, memory.total);
    if (memory.group_limit < out->usable)
        out->usable = memory.group_limit;
    if (machine->memory && machine->memory < out->usable)
        out->usable = machine->memory;
    pantry_status status = pn_store_private_file("machine.json", &path, &err);
    if (!status)
        status = device_name(machine, device, sizeof device, &err);
    if (!status && (again || !kept(path, device, &out->limits))) {
        bool busy = is_busy(&load);
        status = pn_limits_measure(&machine->model, show_progress, &out->limits, &err);
        if (pn_term_moves(stderr))
            fputs("\r\033[K", stderr);
        if (busy && !status)
            fprintf(stderr, "this machine is busy (load %.1f): the speeds are too low, and measured again next time\n",
                    load);
        else if (!status)
            status = keep(path, &out->limits, &err);
    }
    free(path);
    return status ? pn_cli_fail(&err) : PN_EXIT_DONE;
}

int pn_fit_chip(const char *name, uint64_t memory, struct pn_fit_machine *out)
{
    struct pantry_error err = {0};
    *out = (struct pn_fit_machine){0};
    if (pn_chip_find(name, &out->chip, &err))
        return pn_cli_fail(&err);
    out->total = memory ? memory : out->chip->most_memory;
    out->usable = pn_chip_usable(out->chip->kind, out->total);
    out->limits = (struct pn_limits){.read = out->chip->nominal,
                                     .decode = out->chip->reached,
                                     .layer_seconds = chip_layer_seconds,
                                     .operations = out->chip->operations};
    snprintf(out->limits.device, sizeof out->limits.device, "%s", out->chip->name);
    return PN_EXIT_DONE;
}

/* ---- the model ---- */

bool pn_fit_is_shape(const char *name, const char **type)
{
    const char *colon = strchr(name, ':');
    size_t len = colon ? (size_t)(colon - name) : strlen(name);
    const char *shape;
    *type = colon ? colon + 1 : NULL;
    for (size_t i = 0; (shape = pantry_shape_name(i)); i++)
        if (strlen(shape) == len && memcmp(shape, name, len) == 0)
            break;
    if (!shape || !colon)
        return shape != NULL;
    const char *known;
    for (size_t i = 0; (known = pantry_shape_type(i)); i++)
        if (strcmp(known, *type) == 0)
            return true;
    return false;
}

static int open_model(const char *name, const struct pn_machine *machine, pantry_model **model)
{
    struct pantry_error err = {0};
    const char *type;
    char *path = NULL;
    if (pn_fit_is_shape(name, &type))
        return pantry_model_outline(name, &machine->model, model, &err) ? pn_cli_fail(&err) : PN_EXIT_DONE;
    int status = pn_cli_find_model(name, &path);
    if (status == PN_EXIT_DONE && pantry_model_load(path, &machine->model, model, &err))
        status = pn_cli_fail(&err);
    free(path);
    return status;
}

static void predict(const struct pn_fit_machine *on, struct pn_fit *fit)
{
    const struct pn_limits *l = &on->limits;
    double layers = fit->info.n_layer * l->layer_seconds;
    fit->first_seconds = (double)fit->need.step_bytes / l->decode + layers;
    fit->step_seconds = ((double)fit->need.step_bytes + fit->need.step_kv_bytes) / l->decode + layers;
    fit->n_prompt = fit->need.n_context < PN_FIT_PROMPT ? fit->need.n_context : PN_FIT_PROMPT;
    double part = (double)fit->n_prompt / fit->need.n_context;
    double work = fit->need.token_multiplies * fit->n_prompt + fit->need.prompt_attention_multiplies * part * part;
    fit->prompt_seconds = 2 * work / l->operations;
    if (fit->prompt_seconds < fit->first_seconds) /* the weights are read once at least */
        fit->prompt_seconds = fit->first_seconds;
}

int pn_fit_model(const char *name, const struct pn_machine *machine, const struct pn_fit_machine *on, int n_sequences,
                 struct pn_fit *out)
{
    struct pantry_estimate_options o = pantry_estimate_options_default();
    struct pantry_error err = {0};
    pantry_model *model;
    *out = (struct pn_fit){.info = {.size = sizeof out->info}, .need = {.size = sizeof out->need}};
    int status = open_model(name, machine, &model);
    if (status != PN_EXIT_DONE)
        return status;
    o.n_context = machine->session.n_context;
    o.kv_type = machine->session.kv_type;
    o.n_sequences = n_sequences;
    o.memory_bytes = on->usable;
    pantry_model_info(model, &out->info, NULL);
    if (pantry_model_estimate(model, &o, &out->need, &err))
        status = pn_cli_fail(&err);
    pantry_model_free(model);
    if (status != PN_EXIT_DONE)
        return status;
    out->fits = out->need.total_bytes <= on->usable;
    predict(on, out);
    return PN_EXIT_DONE;
}
