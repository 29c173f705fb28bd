/* Whether a model fits, and how fast it will be: see fit.h.
 *
 * A step of decoding takes the bytes that it reads (weights once, keys and values of the context) at the rate that this
 * machine reaches, and a time per layer. A prompt takes its multiplications at the measured rate. Own runs correct both
 * (monitor/calibrate.h). */
#define _POSIX_C_SOURCE 200809L
#include "cli/fit.h"

#include "cli/say.h"
#include "cli/terminal.h"
#include "store/store.h"

#include "base/os.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Experts take more: the time per layer that published figures of gpt-oss on four Macs have beyond their bytes. */
static const double apple_expert_seconds = 1.3e-4;
/* What the program takes beside the engine: its other libraries. Measured, as the difference of `pantry version`. */
static const uint64_t program_bytes = 5 << 20;
/* Before anything was measured: the share of the bandwidth that decoding reaches, and operations per byte of it. */
static const double guessed_share = 0.7, guessed_operations = 20;
/* Bytes per second from main memory beside a card: two channels of DDR5-5600 give 90e9 by their maker, and programs
 * reach two thirds. */
static const double beside_rate = 6e10;

/* ---- the machine ---- */

static void show_progress(const char *what)
{
    if (pn_term_moves(stderr))
        fprintf(stderr, "\r\033[Kmeasuring this machine: %s...", what);
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

static pantry_status this_machine(const struct pn_machine *machine, struct pn_fit_machine *out, char *device,
                                  size_t size, struct pantry_error *err)
{
    struct pn_os_memory memory;
    *out = (struct pn_fit_machine){0};
    pn_os_memory(&memory);
    out->total = memory.total;
    out->usable = pn_chip_usable(PN_CHIP_CPU, memory.total);
    if (memory.group_limit < out->usable)
        out->usable = memory.group_limit;
    if (machine->memory && machine->memory < out->usable)
        out->usable = machine->memory;
    out->n_runs = pn_kept_runs(out->runs);
    return device_name(machine, device, size, err);
}

int pn_fit_this_machine(const struct pn_machine *machine, bool again, struct pn_fit_machine *out)
{
    struct pantry_error err = {0};
    char device[sizeof out->limits.device];
    double load;
    pantry_status status = this_machine(machine, out, device, sizeof device, &err);
    if (!status && (again || !pn_kept_limits(device, &out->limits))) {
        bool busy = pn_kept_busy(&load);
        status = pn_limits_measure(&machine->model, show_progress, &out->limits, &err);
        if (pn_term_moves(stderr))
            fputs("\r\033[K", stderr);
        if (busy && !status)
            fprintf(stderr, "this machine is busy (load %.1f): the speeds are too low, and measured again next time\n",
                    load);
        else if (!status)
            status = pn_kept_put_limits(&out->limits, &err);
    }
    return status ? pn_cli_fail(&err) : PN_EXIT_DONE;
}

int pn_fit_this_machine_now(const struct pn_machine *machine, struct pn_fit_machine *out)
{
    struct pantry_error err = {0};
    struct pn_limits *l = &out->limits;
    char device[sizeof l->device];
    if (this_machine(machine, out, device, sizeof device, &err))
        return pn_cli_fail(&err);
    if (pn_kept_limits(device, l))
        return PN_EXIT_DONE;
    memcpy(l->device, device, sizeof device);
    out->rough = true;
    l->read = pantry_read_bandwidth(machine->model.n_threads);
    l->decode = guessed_share * (l->read > 0 ? l->read : 1e10);
    l->operations = guessed_operations * l->decode;
    return PN_EXIT_DONE;
}

int pn_fit_chip(const char *name, uint64_t memory, uint64_t ram, struct pn_fit_machine *out)
{
    struct pantry_error err = {0};
    *out = (struct pn_fit_machine){0};
    if (pn_chip_find(name, &out->chip, &err))
        return pn_cli_fail(&err);
    out->total = memory ? memory : out->chip->most_memory;
    out->usable = pn_chip_usable(out->chip->kind, out->total);
    if (out->chip->kind == PN_CHIP_APPLE && out->total == pn_os_memory_bytes() && pn_os_wired_limit())
        out->usable = pn_os_wired_limit(); /* it is this Mac, and its user has set another limit */
    if (out->chip->kind == PN_CHIP_GPU && ram)
        out->beside = pn_chip_usable(PN_CHIP_CPU, ram);
    out->limits = (struct pn_limits){.read = out->chip->nominal,
                                     .decode = out->chip->reached,
                                     .layer_seconds = out->chip->layer_seconds,
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

/* A model that is not here. Only a name with a place or a tag is asked for elsewhere: others are mostly misspelt. */
static pantry_status open_remote(const char *name, const struct pn_fit_question *q, pantry_model **model,
                                 struct pn_outline *outline, struct pantry_error *err)
{
    const struct pn_pull_options options = {.fetch = {.cancel = pn_term_interrupt()}, .insecure = q->insecure};
    struct pantry_model_options model_options = q->machine->model;
    pantry_status status = pn_store_outline(name, &options, outline, err);
    if (status)
        return status;
    if (!model_options.projector)
        model_options.maybe_projector = outline->projector;
    return pantry_model_load(outline->path, &model_options, model, err);
}

static bool may_be_elsewhere(const char *name)
{
    char *place = pn_store_place(name);
    bool there = place || pn_store_is_url(name) || (pn_store_is_name(name) && strchr(name, ':'));
    free(place);
    return there;
}

/* A known shape in an unknown type: no model of a registry. */
static bool is_known_shape(const char *name)
{
    const char *shape;
    size_t len = strcspn(name, ":");
    for (size_t i = 0; (shape = pantry_shape_name(i)); i++)
        if (strlen(shape) == len && memcmp(shape, name, len) == 0)
            return true;
    return false;
}

static pantry_status open_model(const char *name, const struct pn_fit_question *q, pantry_model **model,
                                struct pn_outline *outline, struct pantry_error *err)
{
    const char *type;
    char *path = NULL;
    if (pn_fit_is_shape(name, &type))
        return pantry_model_outline(name, &q->machine->model, model, err);
    pantry_status status = pn_store_resolve(name, &path, err);
    if (!status)
        status = pantry_model_load(path, &q->machine->model, model, err);
    free(path);
    if (status != PANTRY_NOT_FOUND || is_known_shape(name))
        return status;
    const struct pn_catalog_entry *entry = pn_store_entry(name);
    if (entry) {
        outline->bytes = entry->download;
        return pantry_model_outline(entry->shape, &q->machine->model, model, err);
    }
    return may_be_elsewhere(name) ? open_remote(name, q, model, outline, err) : status;
}

struct pn_work pn_fit_work(const char *name, const struct pantry_estimate *need, int n_layer, int n_past, int n_prompt)
{
    double context = need->n_context > 0 ? need->n_context : 1, past = n_past / context, part = n_prompt / context;
    struct pn_work w = {.n_layer = n_layer, .n_prompt = n_prompt};
    snprintf(w.model, sizeof w.model, "%.127s", name);
    snprintf(w.type, sizeof w.type, "%.15s", need->n_types ? need->types[0].type : "");
    w.bytes = (double)need->step_bytes + need->step_kv_bytes * past;
    w.multiplies = need->token_multiplies * n_prompt + need->prompt_attention_multiplies * part * part;
    return w;
}

/* Of a card with main memory beside it: which share of weights, keys and values is on the card, and how much slower a
 * step gets by the rest. */
static double split(const struct pn_fit_machine *on, struct pn_fit *fit)
{
    const struct pantry_estimate *n = &fit->need;
    double fixed = (double)(n->scratch_bytes + n->text_bytes), moved = (double)n->total_bytes - fixed;
    fit->share = 1;
    if (!on->beside || n->total_bytes <= on->usable)
        return 1;
    fit->share = (double)on->usable > fixed ? ((double)on->usable - fixed) / moved : 0;
    return fit->share + (1 - fit->share) * on->limits.decode / beside_rate;
}

static void predict(const char *name, const struct pn_fit_machine *on, struct pn_fit *fit)
{
    const struct pantry_estimate *n = &fit->need;
    struct pn_prediction first;
    double slower = split(on, fit);
    bool experts = 2 * n->step_bytes < n->weight_bytes;
    double more = experts && on->chip && on->chip->kind == PN_CHIP_APPLE ? fit->info.n_layer * apple_expert_seconds : 0;
    fit->n_prompt = n->n_context < PN_FIT_PROMPT ? n->n_context : PN_FIT_PROMPT;
    struct pn_work begin = pn_fit_work(name, n, fit->info.n_layer, 0, fit->n_prompt);
    struct pn_work end = pn_fit_work(name, n, fit->info.n_layer, n->n_context, fit->n_prompt);
    pn_predict(&on->limits, on->runs, on->n_runs, &begin, &first);
    pn_predict(&on->limits, on->runs, on->n_runs, &end, &fit->sure);
    fit->first_seconds = (first.step_seconds + more) * slower;
    fit->step_seconds = (fit->sure.step_seconds + more) * slower;
    fit->prompt_seconds = first.prompt_seconds * slower;
    if (on->chip)
        fit->sure.step_error = fit->sure.prompt_error = on->chip->error;
}

pantry_status pn_fit_look(const char *name, const struct pn_fit_question *q, struct pn_fit *out,
                          struct pantry_error *err)
{
    struct pantry_estimate_options o = pantry_estimate_options_default();
    struct pn_outline outline = {0};
    pantry_model *model = NULL;
    const struct pn_fit_machine *on = q->on;
    *out = (struct pn_fit){.info = {.size = sizeof out->info}, .need = {.size = sizeof out->need}};
    o.n_context = q->machine->session.n_context;
    o.kv_type = q->machine->session.kv_type;
    o.n_sequences = q->n_sequences;
    o.vocabulary = true;
    out->have = on->usable + on->beside;
    o.memory_bytes = out->have > program_bytes ? out->have - program_bytes : 1;
    pantry_status status = open_model(name, q, &model, &outline, err);
    if (!status) {
        pantry_model_info(model, &out->info, NULL);
        status = pantry_model_estimate(model, &o, &out->need, err);
        out->need.text_bytes += program_bytes;
        out->need.total_bytes += program_bytes;
    }
    out->remote = outline.bytes;
    out->read = outline.fetched_bytes;
    pantry_model_free(model);
    pn_store_outline_free(&outline);
    if (status)
        return status;
    out->fits = out->need.total_bytes <= out->have;
    predict(name, on, out);
    return PANTRY_OK;
}

int pn_fit_model(const char *name, const struct pn_fit_question *question, struct pn_fit *out)
{
    struct pantry_error err = {0};
    pantry_status status = pn_fit_look(name, question, out, &err);
    if (!status)
        return PN_EXIT_DONE;
    pn_cli_fail(&err);
    if (status == PANTRY_NOT_FOUND && pn_store_is_name(name) && !may_be_elsewhere(name))
        pn_cli_put_where_models_are(name);
    return PN_EXIT_FAILED;
}
