/* pantry eval: how well a model predicts a text, how far it is from another, and how it answers tasks. */
#include "cli/commands.h"

#include "cli/eval_tasks.h"
#include "cli/model.h"
#include "cli/say.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TEXT_LIMIT = 1 << 30 };

struct chosen {
    const char *file, *save_logits, *base, *tasks;
    int n_context, max_windows;
    bool json;
};

static const struct pn_option table[] = {
    PN_OPT_TEXT("file", "FILE", offsetof(struct chosen, file), "the text; -: standard input", .letter = 'f'),
    PN_OPT_TEXT(
        "save-logits", "FILE", offsetof(struct chosen, save_logits), "save the logits, for --kl with another model",
        .more = "In the format of llama.cpp's perplexity tool: about two bytes per token of the vocabulary and\n"
                "position."),
    PN_OPT_TEXT("kl", "FILE", offsetof(struct chosen, base),
                "compare with saved logits: Kullback-Leibler divergence and agreement", .more = "The text is in FILE."),
    PN_OPT_TEXT("tasks", "FILE", offsetof(struct chosen, tasks), "answer the tasks of a JSONL file",
                .more =
                    "A line is {\"prompt\": ..., \"choices\": [...], \"answer\": INDEX}, answered by the likelier\n"
                    "continuation, or {\"prompt\": ..., \"expect\": TEXT}, answered if a greedy answer contains it."),
    PN_OPT_INT("ctx", "N", offsetof(struct chosen, n_context), 8, 131072, "tokens of a window; default: 512"),
    PN_OPT_INT("windows", "N", offsetof(struct chosen, max_windows), 1, INT32_MAX,
               "most windows to read; default: all"),
    PN_OPT_FLAG("json", offsetof(struct chosen, json), "print the results as JSON"),
};

static bool show_window(void *user, const struct pantry_window *w)
{
    const bool *terminal = user;
    if (*terminal)
        fprintf(stderr, "\rwindow %zu of %zu, perplexity %.4f\033[K", w->number, w->n_windows, w->perplexity);
    return true;
}

static json_t *text_json(const struct pantry_eval_result *r, bool base)
{
    json_t *o = json_pack("{s:I, s:I, s:f, s:f, s:f, s:f}", "n_windows", (json_int_t)r->n_windows, "n_tokens",
                          (json_int_t)r->n_tokens, "perplexity", r->perplexity, "perplexity_error", r->perplexity_error,
                          "top1", r->top1, "top1_error", r->top1_error);
    if (!o || !base)
        return o;
    json_object_set_new(o, "base_perplexity", json_real(r->base_perplexity));
    json_object_set_new(o, "divergence", json_real(r->divergence));
    json_object_set_new(o, "divergence_error", json_real(r->divergence_error));
    json_object_set_new(o, "divergence_median", json_real(r->divergence_median));
    json_object_set_new(o, "divergence_99", json_real(r->divergence_99));
    json_object_set_new(o, "divergence_max", json_real(r->divergence_max));
    json_object_set_new(o, "same_top", json_real(r->same_top));
    json_object_set_new(o, "same_top_error", json_real(r->same_top_error));
    return o;
}

static void put_text(const struct pantry_eval_result *r, bool base)
{
    printf("perplexity       %.4f +- %.4f (%zu windows, %zu tokens)\n", r->perplexity, r->perplexity_error,
           r->n_windows, r->n_tokens);
    printf("top token right  %.2f %% +- %.2f\n", 100 * r->top1, 100 * r->top1_error);
    if (!base)
        return;
    printf("base perplexity  %.4f (ratio %.4f)\n", r->base_perplexity, r->perplexity / r->base_perplexity);
    printf("KL divergence    %.6f +- %.6f (median %.6f, 99 %% %.6f, most %.6f)\n", r->divergence, r->divergence_error,
           r->divergence_median, r->divergence_99, r->divergence_max);
    printf("same top token   %.2f %% +- %.2f\n", 100 * r->same_top, 100 * r->same_top_error);
}

/* The text, if there is one: perplexity and divergence. */
static int measure_text(const struct chosen *chosen, pantry_model *model, json_t *results)
{
    struct pantry_eval_options options = pantry_eval_options_default();
    struct pantry_eval_result result = {.size = sizeof result};
    struct pantry_error error = {0};
    char *text = NULL;
    size_t len = 0;
    bool terminal = isatty(STDERR_FILENO);
    int status = chosen->file ? pn_cli_read_file(chosen->file, TEXT_LIMIT, &text, &len) : PN_EXIT_DONE;
    options.n_context = chosen->n_context;
    options.max_windows = chosen->max_windows;
    options.save_logits = chosen->save_logits;
    options.base_logits = chosen->base;
    options.callback = show_window;
    options.user = &terminal;
    if (status == PN_EXIT_DONE) {
        pantry_status done = pantry_eval(model, text, len, &options, &result, &error);
        if (terminal)
            fputs("\r\033[K", stderr);
        if (done != PANTRY_OK)
            status = pn_cli_fail(&error);
        else if (results)
            json_object_set_new(results, "text", text_json(&result, chosen->base));
        else
            put_text(&result, chosen->base);
    }
    free(text);
    return status;
}

static int run(const struct pn_command *command, int argc, char **argv)
{
    struct chosen chosen = {0};
    struct pn_machine machine = pn_machine_default();
    void *const targets[] = {&chosen, &machine};
    struct pn_arguments arguments;
    int status = pn_cli_parse(command, argc, argv, targets, &arguments);
    if (status != PN_CLI_GO_ON)
        return status;
    if (arguments.n != 1)
        return pn_cli_misuse(command, "eval needs one MODEL");
    if (!chosen.file && !chosen.base && !chosen.tasks)
        return pn_cli_misuse(command, "eval needs -f FILE, --kl FILE or --tasks FILE");
    if (chosen.file && chosen.base)
        return pn_cli_misuse(command, "eval takes either -f or --kl, whose file has the text");
    pantry_model *model = NULL;
    json_t *results = chosen.json ? json_object() : NULL;
    if (chosen.json && !results)
        return pn_cli_no_memory();
    status = pn_cli_load_model(arguments.text[0], &machine, &model);
    if (status == PN_EXIT_DONE && (chosen.file || chosen.base))
        status = measure_text(&chosen, model, results);
    if (status == PN_EXIT_DONE && chosen.tasks)
        status = pn_eval_tasks(chosen.tasks, model, results);
    pantry_model_free(model);
    if (status != PN_EXIT_DONE || !results) {
        json_decref(results);
        return status;
    }
    return pn_cli_put_json(results);
}

const struct pn_command pn_cmd_eval = {
    .name = "eval",
    .usage = "MODEL (-f TEXT | --kl FILE | --tasks FILE)",
    .summary = "measure a model's quality: perplexity, divergence, tasks",
    .about =
        "Perplexity is measured as llama.cpp does: windows of 512 tokens, of which the second half counts. To see "
        "what\n"
        "quantizing changed, save the logits of the original and compare the smaller file with them. Numbers after +-\n"
        "are standard errors.",
    .example = "pantry eval smollm2:135m -f text.txt\n"
               "pantry eval model-f16.gguf -f text.txt --save-logits base.logits\n"
               "pantry eval model-q4.gguf --kl base.logits",
    .options = {PN_OPTIONS(NULL, table), PN_OPTIONS("Machine", pn_device_options)},
    .run = run,
};
