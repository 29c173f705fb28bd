/* pantry tune: fine-tuning of a model. */
#define _POSIX_C_SOURCE 200809L
#include "cli/commands.h"

#include "cli/model.h"
#include "cli/say.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct chosen {
    struct pantry_tune_options o;
    const char *order, *config, *format;
    uint64_t memory;
    bool train, json;
};
#define TUNE(member) offsetof(struct chosen, o.member)

static const struct pn_option data_options[] = {
    PN_OPT_FLAG("train", offsetof(struct chosen, train), "train"),
    PN_OPT_FLAG("test", TUNE(test), "measure the loss on test.jsonl afterwards, or without --train of --adapter-path"),
    PN_OPT_TEXT("config", "FILE", offsetof(struct chosen, config), "options from a YAML file as mlx_lm.lora has it",
                .letter = 'c', .more = "Options of the command line win."),
    PN_OPT_TEXT("data", "PATH", TUNE(data), "a file of JSON Lines, or a folder with train.jsonl and valid.jsonl",
                .more = "Each line has \"messages\", \"prompt\" and \"completion\", or \"text\"."),
    PN_OPT_TEXT("valid", "FILE", TUNE(valid), "rows to measure the loss on; default: valid.jsonl beside the data"),
    PN_OPT_FLOAT("valid-split", "X", TUNE(valid_split), 0, 0.999f,
                 "take that share of the rows for validation instead"),
    PN_OPT_FLAG("mask-prompt", TUNE(mask_prompt), "learn only the last message of each row, not what it answers"),
    PN_OPT_INT("max-seq-length", "N", TUNE(max_length), 2, 1 << 20, "most tokens of a row"),
    PN_OPT_TEXT("long-rows", "HOW", TUNE(long_rows), "longer rows: cut them, skip them, or refuse the data",
                .choices = "cut skip refuse"),
    PN_OPT_TEXT("order", "HOW", offsetof(struct chosen, order), "order of the rows: random, or as given",
                .choices = "random given"),
    PN_OPT_SEED("seed", "N", TUNE(seed), "seed of the random order and of a new adapter"),
};

static const struct pn_option adapter_options[] = {
    PN_OPT_TEXT("fine-tune-type", "TYPE", TUNE(kind), "what to train: lora, dora, or full: all weights of the blocks",
                .choices = "lora dora full"),
    PN_OPT_INT("num-layers", "N", TUNE(n_layers), -1, 100000, "how many of the last blocks to train; -1: all"),
    PN_OPT_INT("rank", "N", TUNE(rank), 1, 65536, "rank of a new adapter"),
    PN_OPT_FLOAT("scale", "X", TUNE(scale), 0, 1e6f, "factor of a new adapter's change"),
    PN_OPT_FLOAT("dropout", "X", TUNE(dropout), 0, 0.999f, "share of its inputs that a new adapter does not see"),
    PN_OPT_TEXT("keys", "NAME,NAME...", TUNE(keys), "layers of a block that a new adapter changes; default: all",
                .more = "As mlx_lm names them, such as self_attn.q_proj."),
    PN_OPT_TEXT("adapter-path", "FOLDER", TUNE(adapter_path), "where the adapter goes; default: adapters"),
    PN_OPT_TEXT("export", "FORMAT", offsetof(struct chosen, format),
                "also write the adapter for llama.cpp (gguf) or PEFT (peft)", .choices = "gguf peft",
                .more = "To adapter.gguf or the folder peft in --adapter-path. Without --train it must be there."),
    PN_OPT_TEXT("resume-adapter-file", "FILE", TUNE(resume_adapter), "the adapter to begin with",
                .more = "Rank, scale and keys are those of adapter_config.json beside it."),
    PN_OPT_FLAG("resume", TUNE(resume), "go on where an interrupted run last saved"),
};

static const struct pn_option course_options[] = {
    PN_OPT_INT("iters", "N", TUNE(iters), 1, 1000000000, "iterations; each reads one batch"),
    PN_OPT_INT("batch-size", "N", TUNE(batch_size), 1, 4096, "rows of a batch"),
    PN_OPT_INT("grad-accumulation-steps", "N", TUNE(accumulation), 1, 1000000, "batches per update"),
    PN_OPT_TEXT("optimizer", "NAME", TUNE(optimizer), "how weights follow from gradients",
                .choices = "adam adamw sgd muon adafactor"),
    PN_OPT_TEXT("optimizer-config", "TEXT", TUNE(optimizer_config), "its settings, as in \"weight_decay=0.1 eps=1e-6\"",
                .more = "Names are those of mlx.optimizers; pairs are written betas=0.9:0.99."),
    PN_OPT_FLOAT("learning-rate", "X", TUNE(learning_rate), 0, 1e6f, "step of an update"),
    PN_OPT_TEXT("schedule", "NAME", TUNE(schedule), "how the learning rate falls", .choices = "constant cosine linear"),
    PN_OPT_FLOAT("end-learning-rate", "X", TUNE(end_rate), 0, 1e6f, "where it falls to"),
    PN_OPT_INT("warmup", "N", TUNE(warmup), 0, 1000000000, "updates until the learning rate is reached"),
    PN_OPT_TEXT("lr-schedule", "TEXT", TUNE(lr_schedule), "mlx_lm's lr_schedule instead of these",
                .more = "As in \"cosine_decay 1e-5 1000 1e-7 warmup=100 warmup_init=1e-7\"."),
    PN_OPT_FLAG("grad-checkpoint", TUNE(grad_checkpoint),
                "compute each block again for its gradients: less memory, more time"),
    PN_OPT_FLOAT("grad-clip", "X", TUNE(clip), 0, 1e9f, "most length of a gradient; 0: any"),
    PN_OPT_INT("steps-per-report", "N", TUNE(report_every), 1, 1000000000, "iterations between printed lines"),
    PN_OPT_INT("steps-per-eval", "N", TUNE(eval_every), 0, 1000000000, "iterations between validations; 0: at the end"),
    PN_OPT_INT("val-batches", "N", TUNE(val_batches), -1, 1000000000, "batches of a validation; -1 or 0: all"),
    PN_OPT_INT("test-batches", "N", TUNE(test_batches), -1, 1000000000, "batches of the test; -1 or 0: all"),
    PN_OPT_INT("patience", "N", TUNE(patience), 0, 1000000000,
               "end after that many validations without a better loss; 0: never"),
    PN_OPT_INT("save-every", "N", TUNE(save_every), 0, 1000000000, "iterations between saves; 0: at the end"),
    PN_OPT_FLAG("json", offsetof(struct chosen, json), "print one JSON value per event on standard output"),
};

static const struct pn_option machine_options[] = {
    PN_OPT_TEXT("device", "NAME", TUNE(device), "where to compute: cpu, or ref, the slow and plain reference",
                .choices = "cpu ref", .any = true),
    PN_OPT_INT("threads", "N", TUNE(n_threads), 0, 1024, "threads; 0: one per physical core", .letter = 't'),
    PN_OPT_SIZE("memory", "SIZE", offsetof(struct chosen, memory),
                "most memory to use, such as 6G; default: what is free"),
    PN_OPT_TEXT("isa", "NAME", TUNE(isa), "highest instruction set to use: generic, avx2, avx512, neon..."),
};

/* The target of the callback. */
struct show {
    bool json, terminal, open;
    uint64_t tokens;
};

static volatile sig_atomic_t stopped;

static void stop(int number)
{
    (void)number;
    stopped = 1;
}

static void put_json(const struct pantry_tune_event *e)
{
    json_int_t tokens = (json_int_t)e->tokens;
    switch (e->kind) {
    case PANTRY_TUNE_PLANNED:
        pn_cli_put_json(json_pack("{s:i, s:I, s:I, s:I, s:I}", "iter", e->iter, "memory", (json_int_t)e->memory,
                                  "trained", (json_int_t)e->n_trained, "rows", (json_int_t)e->n_rows, "left_out",
                                  (json_int_t)e->n_left_out));
        break;
    case PANTRY_TUNE_STEP:
        pn_cli_put_json(json_pack("{s:i, s:f, s:f, s:I, s:f, s:I, s:I}", "iter", e->iter, "train_loss", e->loss,
                                  "learning_rate", (double)e->learning_rate, "tokens", tokens, "seconds", e->seconds,
                                  "memory", (json_int_t)e->memory, "cut", (json_int_t)e->n_cut));
        break;
    case PANTRY_TUNE_VALIDATION:
        pn_cli_put_json(
            json_pack("{s:i, s:f, s:I, s:b}", "iter", e->iter, "val_loss", e->loss, "tokens", tokens, "best", e->best));
        break;
    case PANTRY_TUNE_TEST:
        pn_cli_put_json(json_pack("{s:i, s:f, s:f, s:I}", "iter", e->iter, "test_loss", e->loss, "test_perplexity",
                                  exp(e->loss), "tokens", tokens));
        break;
    case PANTRY_TUNE_SAVED:
        pn_cli_put_json(json_pack("{s:i, s:b}", "iter", e->iter, "saved", 1));
    }
    fflush(stdout);
}

/* The line that each step replaces. */
static void put_live(struct show *show, const struct pantry_tune_event *e, double rate)
{
    struct pn_number memory, left;
    printf("\r%d of %d · loss %.4f · %.0f tok/s · %s · %s left\033[K", e->iter, e->n_iters, e->loss, rate,
           pn_cli_bytes(&memory, e->memory),
           pn_cli_seconds(&left, e->seconds / e->iter * (double)(e->n_iters - e->iter)));
    show->open = true;
}

static void put_text(struct show *show, const struct pantry_tune_event *e)
{
    struct pn_number memory;
    double rate = e->seconds > 0 ? (double)show->tokens / e->seconds : 0;
    if (e->kind == PANTRY_TUNE_STEP && show->terminal)
        put_live(show, e, rate);
    if (e->kind == PANTRY_TUNE_STEP ? e->due : e->kind != PANTRY_TUNE_SAVED) {
        fputs(show->open ? "\r\033[K" : "", stdout);
        show->open = false;
    }
    if (e->kind == PANTRY_TUNE_STEP && e->due)
        printf("%d of %d · loss %.4f · %.0f tok/s · %s\n", e->iter, e->n_iters, e->mean_loss, rate,
               pn_cli_bytes(&memory, e->memory));
    else if (e->kind == PANTRY_TUNE_VALIDATION)
        printf("after %d: validation loss %.4f%s\n", e->iter, e->loss, e->best ? ", the best" : "");
    else if (e->kind == PANTRY_TUNE_TEST)
        printf("test loss %.4f, perplexity %.4g\n", e->loss, exp(e->loss));
    else if (e->kind == PANTRY_TUNE_PLANNED)
        printf("%lld rows · %lld numbers to train · %s of memory beside the model\n", (long long)e->n_rows,
               (long long)e->n_trained, pn_cli_bytes(&memory, e->memory));
    if (e->kind == PANTRY_TUNE_PLANNED && e->n_left_out)
        printf("%lld rows are too long and left out\n", (long long)e->n_left_out);
    fflush(stdout);
}

static bool show_event(void *user, const struct pantry_tune_event *e)
{
    struct show *show = user;
    show->tokens += e->kind == PANTRY_TUNE_STEP ? (uint64_t)e->tokens : 0;
    if (show->json)
        put_json(e);
    else
        put_text(show, e);
    return !stopped;
}

/* Parses the options twice if there is a file: it sets what the command line does not. */
static int parse(const struct pn_command *command, int argc, char **argv, struct chosen *chosen,
                 struct pn_arguments *arguments, pantry_tune_file **file)
{
    struct pantry_error error = {0};
    void *const targets[] = {chosen, chosen, chosen, chosen};
    *chosen = (struct chosen){.o = pantry_tune_options_default(), .order = "random"};
    char **again = calloc((size_t)argc + 1, sizeof *again);
    if (!again)
        return PN_EXIT_FAILED;
    memcpy(again, argv, (size_t)argc * sizeof *again);
    int status = pn_cli_parse(command, argc, argv, targets, arguments);
    if (status == PN_CLI_GO_ON && chosen->config) {
        if (pantry_tune_file_open(chosen->config, file, &error) != PANTRY_OK) {
            status = pn_cli_fail(&error);
        } else {
            *chosen = (struct chosen){.o = pantry_tune_options_default(), .order = "random"};
            pantry_tune_file_apply(*file, &chosen->o);
            chosen->train = pantry_tune_file_trains(*file);
            memcpy(argv, again, (size_t)argc * sizeof *again);
            status = pn_cli_parse(command, argc, argv, targets, arguments);
        }
    }
    free(again);
    return status;
}

/* Writes the adapter in another format, beside it. */
static int export_adapter(const struct chosen *chosen, const char *model)
{
    struct pantry_error error = {0};
    char path[4096];
    bool gguf = strcmp(chosen->format, "gguf") == 0;
    snprintf(path, sizeof path, "%.4000s/%s", chosen->o.adapter_path, gguf ? "adapter.gguf" : "peft");
    if (pantry_export_adapter(model, chosen->o.adapter_path, chosen->format, path, &error) != PANTRY_OK)
        return pn_cli_fail(&error);
    if (!chosen->json)
        printf("%s has it for %s\n", path, gguf ? "llama.cpp" : "PEFT");
    return PN_EXIT_DONE;
}

static int tune(const struct chosen *chosen, const char *name)
{
    struct show show = {.json = chosen->json, .terminal = isatty(STDOUT_FILENO)};
    struct pantry_error error = {0};
    struct pantry_tune_options o = chosen->o;
    char *model = NULL;
    int status = pn_cli_find_model(name, &model);
    if (status != PN_EXIT_DONE)
        return status;
    signal(SIGINT, stop);
    if (chosen->memory)
        pantry_limit_memory(chosen->memory);
    o.given_order = strcmp(chosen->order, "given") == 0;
    o.val_batches = o.val_batches < 0 ? 0 : o.val_batches;
    o.test_batches = o.test_batches < 0 ? 0 : o.test_batches;
    o.no_train = !chosen->train;
    o.callback = show_event;
    o.user = &show;
    pantry_status done = chosen->train || o.test ? pantry_tune(model, &o, &error) : PANTRY_OK;
    if (show.open)
        fputs("\r\033[K", stdout);
    if (done != PANTRY_OK)
        status = pn_cli_fail(&error);
    else if (!show.json && chosen->train)
        printf("%s has the adapter\n", o.adapter_path);
    if (status == PN_EXIT_DONE && chosen->format)
        status = export_adapter(chosen, model);
    free(model);
    return status;
}

static int run(const struct pn_command *command, int argc, char **argv)
{
    struct chosen chosen;
    struct pn_arguments arguments;
    pantry_tune_file *file = NULL;
    int status = parse(command, argc, argv, &chosen, &arguments, &file);
    if (status == PN_CLI_GO_ON) {
        const char *model = arguments.n == 1 ? arguments.text[0] : file ? pantry_tune_file_model(file) : NULL;
        if (arguments.n > 1 || !model || (!chosen.train && !chosen.o.test && !chosen.format))
            status = pn_cli_misuse(command, "tune needs one MODEL, and --train, --test or --export");
        else if (!chosen.o.data && (chosen.train || chosen.o.test))
            status = pn_cli_misuse(command, "tune needs --data PATH");
        else
            status = tune(&chosen, model);
    }
    pantry_tune_file_free(file);
    return status;
}

const struct pn_command pn_cmd_tune = {
    .name = "tune",
    .usage = "[MODEL] [--train] [--test] --data PATH [--adapter-path FOLDER]",
    .summary = "fine-tune a model on examples",
    .about =
        "Trains a small change of the model, a LoRA or DoRA adapter, on rows of JSON, and writes it to a folder as\n"
        "mlx_lm does. The base stays as it is, in any storage type. `--adapter FOLDER` of the other commands uses\n"
        "the result.",
    .example = "pantry tune smollm2:135m --train --data rows.jsonl --iters 200 --adapter-path my-adapter\n"
               "pantry run smollm2:135m --adapter my-adapter",
    .options = {PN_OPTIONS("Data", data_options), PN_OPTIONS("Adapter", adapter_options),
                PN_OPTIONS("Training", course_options), PN_OPTIONS("Machine", machine_options)},
    .run = run,
};
