/* pantry bench: the speed of a model on this machine, and the share of the machine's memory bandwidth.
 *
 * One round reads a prompt of random ids into an empty session and continues it greedily, past end tokens. The first
 * round warms up and is not counted. */
#include "cli/commands.h"

#include "base/clock.h"
#include "base/random.h"
#include "base/os.h"
#include "cli/fit.h"
#include "cli/say.h"
#include "cli/terminal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { MAX_ROUNDS = 1000, LEAST_DECODE = 4 };

struct chosen {
    const char *synthetic;
    int n_prompt, n_decode, rounds;
    bool json;
};

static const struct pn_option table[] = {
    PN_OPT_INT("prompt", "N", offsetof(struct chosen, n_prompt), 1, 1 << 22, "tokens of the prompt (default: 512)",
               .letter = 'p'),
    PN_OPT_INT("decode", "N", offsetof(struct chosen, n_decode), 1, 1 << 22,
               "tokens to generate after it (default: 128)", .letter = 'n'),
    PN_OPT_INT("repeats", "R", offsetof(struct chosen, rounds), 1, MAX_ROUNDS,
               "measured rounds, after one warm-up round (default: 5)", .letter = 'r'),
    PN_OPT_TEXT("synthetic", "SHAPE:TYPE", offsetof(struct chosen, synthetic),
                "use random weights of a known shape, as in llama3.2-1b:q4_k_m"),
    PN_OPT_FLAG("json", offsetof(struct chosen, json), "print one JSON value"),
};

struct figure {
    double value[MAX_ROUNDS];
    int n;
    double mean, median, deviation;
};

struct result {
    struct figure prefill, decode, first_token; /* tok/s, tok/s, s */
    double load_seconds, bandwidth, bytes_per_token;
    bool busy; /* other programs use the processor */
};

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void summarize(struct figure *figure)
{
    double sum = 0, squares = 0;
    int n = figure->n;
    qsort(figure->value, (size_t)n, sizeof *figure->value, by_value);
    for (int i = 0; i < n; i++)
        sum += figure->value[i];
    figure->mean = sum / n;
    for (int i = 0; i < n; i++)
        squares += (figure->value[i] - figure->mean) * (figure->value[i] - figure->mean);
    figure->deviation = n > 1 ? sqrt(squares / (n - 1)) : 0;
    figure->median = n % 2 ? figure->value[n / 2] : (figure->value[n / 2 - 1] + figure->value[n / 2]) / 2;
}

static int one_round(const struct chosen *chosen, pantry_session *session, const int32_t *ids,
                     struct pantry_stats *stats)
{
    struct pantry_error error = {0};
    struct pantry_generate_options options = pantry_generate_options_default();
    options.sampling.temperature = 0;
    options.sampling.repeat_penalty = 1;
    options.max_tokens = chosen->n_decode + 1; /* the first comes out of the prefill */
    options.ignore_eos = true;
    options.cancel = pn_term_interrupt();
    pantry_session_clear(session);
    if (pantry_generate(session, ids, (size_t)chosen->n_prompt, &options, stats, &error) != PANTRY_OK)
        return pn_cli_fail(&error);
    if (pn_term_interrupted())
        return PN_EXIT_FAILED; /* run() ends the process */
    return PN_EXIT_DONE;
}

static void count_round(struct result *result, const struct pantry_stats *stats)
{
    result->prefill.value[result->prefill.n++] = pn_cli_prefill_rate(stats);
    result->decode.value[result->decode.n++] = pn_cli_decode_rate(stats);
    result->first_token.value[result->first_token.n++] = stats->first_token_seconds;
    result->bytes_per_token = stats->bytes_per_token;
}

/* Processor time of this process so far. */
static double used_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

static int n_threads(const struct pn_machine *machine)
{
    int cores = pn_os_physical_cores(), usable = pn_os_processors();
    return machine->model.n_threads > 0 ? machine->model.n_threads : cores < usable ? cores : usable;
}

/* Threads that get less of their time than this compete with other programs. */
static const double hindered = 0.8;

static int measure(const struct chosen *chosen, pantry_model *model, struct pn_machine *machine, struct result *result)
{
    struct pantry_model_info info = {.size = sizeof info};
    struct pantry_error error = {0};
    pantry_session *session = NULL;
    struct pn_rng rng = {1};
    pantry_model_info(model, &info, NULL);
    if (!machine->session.n_context)
        machine->session.n_context = chosen->n_prompt + chosen->n_decode + 2;
    int32_t *ids = calloc((size_t)chosen->n_prompt, sizeof *ids);
    if (!ids)
        return pn_cli_no_memory();
    for (int i = 0; i < chosen->n_prompt; i++)
        ids[i] = (int32_t)(pn_rng_u64(&rng) % (uint64_t)info.n_vocab);
    int status = PN_EXIT_DONE;
    if (pantry_session_new(model, &machine->session, &session, &error) != PANTRY_OK)
        status = pn_cli_fail(&error);
    bool show = pn_term_moves(stderr);
    double used = used_seconds(), began = (double)pn_clock_ns();
    for (int i = 0; status == PN_EXIT_DONE && i <= chosen->rounds; i++) {
        struct pantry_stats stats = {.size = sizeof stats};
        if (show)
            fprintf(stderr, i ? "\r\033[Kround %d of %d" : "\r\033[Kwarming up", i, chosen->rounds);
        status = one_round(chosen, session, ids, &stats);
        if (status == PN_EXIT_DONE && i > 0)
            count_round(result, &stats);
    }
    if (show)
        fputs("\r\033[K", stderr);
    result->busy = info.device_bandwidth <= 0 && /* a GPU leaves the processor idle */
                   used_seconds() - used < ((double)pn_clock_ns() - began) * 1e-9 * hindered * n_threads(machine);
    if (status == PN_EXIT_DONE) {
        summarize(&result->prefill);
        summarize(&result->decode);
        summarize(&result->first_token);
        result->bandwidth =
            info.device_bandwidth > 0 ? info.device_bandwidth : pantry_read_bandwidth(machine->model.n_threads);
    }
    pantry_session_free(session);
    free(ids);
    return status;
}

/* Loads twice and keeps the second, whose file is in the page cache. */
static int load(const struct chosen *chosen, const char *name, const struct pn_machine *machine, pantry_model **model,
                double *seconds)
{
    struct pantry_error error = {0};
    struct pn_carried carried = {0};
    char *path = NULL;
    int status = PN_EXIT_DONE;
    pantry_limit_memory(machine->memory);
    if (chosen->synthetic) {
        if (pantry_model_synthetic(chosen->synthetic, &machine->model, model, &error) != PANTRY_OK)
            status = pn_cli_fail(&error);
        return status;
    }
    status = pn_cli_find_model(name, &path);
    if (status == PN_EXIT_DONE && pn_carried_find(name, &carried, &error) != PANTRY_OK)
        status = pn_cli_fail(&error);
    struct pantry_model_options options = machine->model;
    const char *adapters[PN_MAX_ADAPTERS + 1];
    options.adapters = pn_cli_adapters(machine, &carried, adapters, PN_MAX_ADAPTERS + 1);
    for (int i = 0; status == PN_EXIT_DONE && i < 2; i++) {
        pantry_model_free(*model);
        *model = NULL;
        uint64_t start = pn_clock_ns();
        if (pantry_model_load(path, &options, model, &error) != PANTRY_OK)
            status = pn_cli_fail(&error);
        *seconds = (double)(pn_clock_ns() - start) * 1e-9;
    }
    pn_carried_free(&carried);
    free(path);
    return status;
}

static double share(const struct result *result)
{
    return result->bandwidth > 0 ? result->decode.median * result->bytes_per_token / result->bandwidth : 0;
}

static json_t *figure_json(const struct figure *figure)
{
    return json_pack("{s:f, s:f, s:f}", "mean", figure->mean, "median", figure->median, "deviation", figure->deviation);
}

static int put_json(const struct chosen *chosen, const char *name, pantry_model *model, const struct result *result)
{
    struct pantry_model_info info = {.size = sizeof info};
    pantry_model_info(model, &info, NULL);
    json_t *root = json_pack("{s:o, s:s, s:s, s:I, s:I, s:i, s:i, s:i, s:o, s:o, s:o, s:f, s:f, s:f}", "model",
                             pn_cli_json_text(name, strlen(name)), "architecture", info.architecture, "device",
                             info.device, "size_bytes", (json_int_t)info.size_bytes, "n_params",
                             (json_int_t)info.n_params, "n_prompt", chosen->n_prompt, "n_decode", chosen->n_decode,
                             "repeats", chosen->rounds, "prefill_tokens_per_second", figure_json(&result->prefill),
                             "decode_tokens_per_second", figure_json(&result->decode), "first_token_seconds",
                             figure_json(&result->first_token), "bytes_per_token", result->bytes_per_token,
                             "read_bandwidth_bytes", result->bandwidth, "bandwidth_share", share(result));
    if (root)
        json_object_set_new(root, "busy", json_boolean(result->busy));
    if (root && !chosen->synthetic)
        json_object_set_new(root, "load_seconds", json_real(result->load_seconds));
    return pn_cli_put_json(root);
}

static void put_text(const struct chosen *chosen, const char *name, pantry_model *model, const struct result *result)
{
    struct pantry_model_info info = {.size = sizeof info};
    struct pn_number a, b;
    pantry_model_info(model, &info, NULL);
    uint64_t bytes = chosen->synthetic ? 0 : pn_cli_model_bytes(name);
    printf("model        %s · %s · %s parameters · %s\n", name, info.architecture, pn_cli_count(&a, info.n_params),
           pn_cli_bytes(&b, bytes ? bytes : info.size_bytes));
    printf("machine      %s · reads %.1f GB/s\n", info.device, result->bandwidth / 1e9);
    if (!chosen->synthetic)
        printf("load         %s\n", pn_cli_seconds(&a, result->load_seconds));
    printf("prefill      %5d tokens %9.1f tok/s ± %.1f (median %.1f)\n", chosen->n_prompt, result->prefill.mean,
           result->prefill.deviation, result->prefill.median);
    printf("decode       %5d tokens %9.1f tok/s ± %.1f (median %.1f) · %.0f %% of the read bandwidth\n",
           chosen->n_decode, result->decode.mean, result->decode.deviation, result->decode.median, 100 * share(result));
    if (result->busy)
        puts("busy         other programs use the processor: this machine can do more");
    printf("first token  %s after the prompt\n", pn_cli_seconds(&a, result->first_token.median));
}

/* Keeps the result, by which `pantry fit` corrects its predictions. If it cannot be kept, bench still succeeds. */
static void keep(const struct chosen *chosen, const char *name, pantry_model *model, const struct pn_machine *machine,
                 const struct result *result)
{
    struct pantry_estimate_options o = pantry_estimate_options_default();
    struct pantry_estimate need = {.size = sizeof need};
    struct pantry_model_info info = {.size = sizeof info};
    struct pantry_error err;
    o.n_context = chosen->n_prompt + chosen->n_decode + 2;
    o.kv_type = machine->session.kv_type;
    pantry_model_info(model, &info, NULL);
    if (chosen->n_decode < LEAST_DECODE || pantry_model_estimate(model, &o, &need, &err) ||
        !(result->decode.median > 0) || !(result->prefill.median > 0))
        return;
    const char *slash = strrchr(name, '/');
    struct pn_run run = {.work = pn_fit_work(slash ? slash + 1 : name, &need, info.n_layer,
                                             chosen->n_prompt + chosen->n_decode / 2, chosen->n_prompt),
                         .step_seconds = 1 / result->decode.median,
                         .prompt_seconds = chosen->n_prompt / result->prefill.median,
                         .busy = result->busy};
    snprintf(run.device, sizeof run.device, "%s", info.device);
    if (pn_kept_put_run(&run, &err))
        fprintf(stderr, "the result was not kept: %s\n", err.text);
}

static int run(const struct pn_command *command, int argc, char **argv)
{
    struct chosen chosen = {.n_prompt = 512, .n_decode = 128, .rounds = 5};
    struct pn_machine machine = pn_machine_default();
    void *const targets[] = {&chosen, &machine, &machine};
    struct pn_arguments arguments;
    int status = pn_cli_parse(command, argc, argv, targets, &arguments);
    if (status != PN_CLI_GO_ON)
        return status;
    if (arguments.n != (chosen.synthetic ? 0 : 1))
        return pn_cli_misuse(command, "bench needs either a MODEL or --synthetic SHAPE:TYPE");

    const char *name = chosen.synthetic ? chosen.synthetic : arguments.text[0];
    pantry_model *model = NULL;
    struct result *result = calloc(1, sizeof *result);
    if (!result)
        return pn_cli_no_memory();
    status = load(&chosen, name, &machine, &model, &result->load_seconds);
    pn_term_watch();
    if (status == PN_EXIT_DONE)
        status = measure(&chosen, model, &machine, result);
    if (status == PN_EXIT_DONE)
        keep(&chosen, name, model, &machine, result);
    if (status == PN_EXIT_DONE && chosen.json)
        status = put_json(&chosen, name, model, result);
    else if (status == PN_EXIT_DONE)
        put_text(&chosen, name, model, result);
    pantry_model_free(model);
    free(result);
    if (pn_term_take_interrupt())
        pn_term_end_interrupted();
    return status;
}

const struct pn_command pn_cmd_bench = {
    .name = "bench",
    .usage = "(MODEL | --synthetic SHAPE:TYPE) [-p N] [-n N] [-t THREADS] [-r REPEATS] [--json]",
    .summary = "measure how fast a model runs on this machine",
    .about =
        "Reads a random prompt and continues it greedily. Prints the mean and standard deviation of prefill and "
        "decode\n"
        "speed, the time to the first token, and the share of the measured memory bandwidth: 100 % is the most that\n"
        "this machine can reach.",
    .example = "pantry bench smollm2:135m\n"
               "pantry bench --synthetic llama3.2-1b:q4_k_m -p 256 -n 64",
    .options = {PN_OPTIONS(NULL, table), PN_OPTIONS("Machine", pn_device_options),
                PN_OPTIONS("Memory", pn_session_options)},
    .run = run,
};
