/* pantry generate: one completion, for scripts. Read this file first: it shows the use of the library. */
#include "cli/commands.h"

#include "base/alloc.h"
#include "cli/ids.h"
#include "cli/model.h"
#include "cli/repeat.h"
#include "cli/form.h"
#include "cli/say.h"
#include "cli/terminal.h"

#include <stdlib.h>
#include <string.h>

enum { PROMPT_LIMIT = 1 << 30 };

struct chosen {
    const char *prompt, *file, *system;
    bool raw, json, ids, verbose;
    struct pn_carried carried; /* by the model, once it is loaded */
};

static const struct pn_option table[] = {
    PN_OPT_TEXT("prompt", "TEXT", offsetof(struct chosen, prompt), "the prompt", .letter = 'p'),
    PN_OPT_TEXT("file", "FILE", offsetof(struct chosen, file), "read the prompt from FILE; -: standard input",
                .letter = 'f'),
    PN_OPT_TEXT("system", "TEXT", offsetof(struct chosen, system), "system message for the chat template"),
    PN_OPT_FLAG("raw", offsetof(struct chosen, raw), "continue the prompt as it is, without the chat template"),
    PN_OPT_FLAG("ids", offsetof(struct chosen, ids), "print token ids instead of text"),
    PN_OPT_FLAG("json", offsetof(struct chosen, json), "print one JSON value: text, ids, counts, rates, stop reason",
                .more =
                    "Its members: `text`, `ids`, `prompt_ids`, `n_prompt`, `n_cached`, `n_generated`, `stop_reason` "
                    "(`stop`, `length`, `stop_string`, `repetition`, `cancelled`), `seed`, `load_seconds`, "
                    "`prefill_seconds`, `decode_seconds`, `first_token_seconds`, `prefill_tokens_per_second`, "
                    "`decode_tokens_per_second`, `bytes_per_token`; with `--verbose` also `read_bandwidth_bytes`."),
    PN_OPT_FLAG("verbose", offsetof(struct chosen, verbose), "print all figures on standard error"),
};

/* State of the token callback. */
struct output {
    const struct chosen *chosen;
    struct pn_buf text;
    int32_t *data;
    size_t len, cap;
    bool failed, guarded;
    struct pn_repeat repeat;
};

static bool on_token(void *user, const struct pantry_token *token)
{
    struct output *output = user;
    if (output->chosen->json) {
        pn_buf_append(&output->text, token->text, token->len);
        output->failed = output->text.failed || (token->id >= 0 && !pn_vec_push(output, token->id));
    } else if (!output->chosen->ids) {
        pn_cli_put_untrusted(stdout, token->text, token->len);
    } else if (token->id >= 0) { /* -1: the rest of the text */
        printf(output->len++ ? " %d" : "%d", token->id);
    }
    fflush(stdout);
    bool repeats =
        output->guarded && token->id >= 0 && pn_repeat_push(&output->repeat, token->id, token->text, token->len);
    return !output->failed && !repeats && !ferror(stdout);
}

/* A conversation of one message, rendered by the chat template. */
static int render_prompt(const struct chosen *chosen, const pantry_model *model, const char *prompt, size_t len,
                         char **text, size_t *text_len)
{
    struct pantry_error error = {0};
    json_t *messages = json_array(), *content = json_stringn(prompt, len);
    if (!content) {
        json_decref(messages);
        pn_cli_say_error("the prompt is not UTF-8");
        return PN_EXIT_FAILED;
    }
    if (chosen->system)
        json_array_append_new(messages, json_pack("{s:s, s:s}", "role", "system", "content", chosen->system));
    json_array_append_new(messages, json_pack("{s:s, s:o}", "role", "user", "content", content));
    json_t *all = pn_carried_conversation(&chosen->carried, messages);
    json_decref(messages);
    json_t *context = json_pack("{s:o, s:b}", "messages", all, "add_generation_prompt", 1);
    char *json = context ? json_dumps(context, 0) : NULL;
    int status = json ? PN_EXIT_DONE : pn_cli_no_memory();
    if (json && pantry_model_render(model, json, text, text_len, &error) != PANTRY_OK)
        status = pn_cli_fail(&error);
    free(json);
    json_decref(context);
    return status;
}

static int prompt_ids(const struct chosen *chosen, const pantry_model *model, int32_t **ids, size_t *n)
{
    const pantry_tokenizer *tokenizer = pantry_model_tokenizer(model);
    struct pantry_error error = {0};
    char *file = NULL, *rendered = NULL;
    const char *text = chosen->prompt;
    size_t len = text ? strlen(text) : 0, model_len;
    int status = PN_EXIT_DONE;
    if (!tokenizer) {
        pn_cli_say_error("this model has no tokenizer: use `pantry logits` or `pantry bench`");
        return PN_EXIT_FAILED;
    }
    if (chosen->file)
        status = pn_cli_read_file(chosen->file, PROMPT_LIMIT, &file, &len);
    if (file)
        text = file;
    unsigned flags = PANTRY_TOKENIZE_BOS;
    if (status == PN_EXIT_DONE && !chosen->raw && pantry_model_template(model, &model_len)) {
        status = render_prompt(chosen, model, text, len, &rendered, &len);
        text = rendered;
        flags = PANTRY_TOKENIZE_SPECIAL; /* the template writes the beginning token */
    }
    if (status == PN_EXIT_DONE && pantry_tokenize(tokenizer, text, len, flags, ids, n, &error) != PANTRY_OK)
        status = pn_cli_fail(&error);
    pantry_free(rendered);
    free(file);
    return status;
}

static int put_json(const struct output *output, const struct pantry_stats *stats, const int32_t *ids, size_t n,
                    uint64_t seed, int n_threads)
{
    json_t *root = json_pack("{s:o, s:o, s:o, s:i, s:i, s:i, s:s, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "text",
                             pn_cli_json_text(output->text.data ? output->text.data : "", output->text.len), "ids",
                             pn_ids_json(output->data, output->len), "prompt_ids", pn_ids_json(ids, n), "n_prompt",
                             stats->n_prompt, "n_cached", stats->n_cached, "n_generated", stats->n_generated,
                             "stop_reason", pn_cli_stop_name(stats), "seed", (json_int_t)seed, "load_seconds",
                             stats->load_seconds, "prefill_seconds", stats->prefill_seconds, "decode_seconds",
                             stats->decode_seconds, "first_token_seconds", stats->first_token_seconds,
                             "prefill_tokens_per_second", pn_cli_prefill_rate(stats), "decode_tokens_per_second",
                             pn_cli_decode_rate(stats), "bytes_per_token", stats->bytes_per_token);
    if (root && output->chosen->verbose) /* the measurement takes a moment */
        json_object_set_new(
            root, "read_bandwidth_bytes",
            json_real(stats->device_bandwidth > 0 ? stats->device_bandwidth : pantry_read_bandwidth(n_threads)));
    return pn_cli_put_json(root);
}

static int complete(const struct chosen *chosen, pantry_model *model, const struct pn_machine *machine,
                    const struct pn_cli_sampler *sampler)
{
    struct output output = {.chosen = chosen, .guarded = pn_cli_stops_repeating(sampler)};
    size_t len;
    bool chat = !chosen->raw && pantry_model_template(model, &len);
    struct pantry_samplers more;
    struct pantry_generate_options options = pn_cli_sampler_options(sampler, chat, &more);
    struct pantry_stats stats = {.size = sizeof stats};
    struct pantry_error error = {0};
    pantry_session *session = NULL;
    int32_t *ids = NULL;
    size_t n = 0;
    options.callback = on_token;
    options.user = &output;
    options.cancel = pn_term_interrupt();
    int status = prompt_ids(chosen, model, &ids, &n);
    if (status == PN_EXIT_DONE && (pantry_session_new(model, &machine->session, &session, &error) != PANTRY_OK ||
                                   pantry_generate(session, ids, n, &options, &stats, &error) != PANTRY_OK))
        status = pn_cli_fail(&error);
    if (status == PN_EXIT_DONE && output.failed)
        status = pn_cli_no_memory();
    if (stats.stop == PANTRY_STOP_CALLBACK && ferror(stdout))
        stats.stop = PANTRY_STOP_CANCELLED; /* the output is closed; the text does not repeat itself */
    if (status == PN_EXIT_DONE && chosen->json) {
        status = put_json(&output, &stats, ids, n, sampler->sampling.seed, machine->model.n_threads);
    } else if (status == PN_EXIT_DONE) {
        putchar('\n');
        fflush(stdout); /* before the messages on standard error */
        if (chosen->verbose)
            pn_cli_put_figures(stderr, &stats, machine->model.n_threads);
        else if (pn_term_is(stderr))
            pn_cli_put_speed(stderr, &stats, machine->model.n_threads);
        if (pn_cli_stops_repeating(sampler) || pn_term_is(stderr))
            pn_cli_put_cut(stderr, &stats, sampler, chat);
    }
    pantry_session_free(session);
    pantry_free(ids);
    pn_buf_free(&output.text);
    free(output.data);
    return status;
}

static int run(const struct pn_command *command, int argc, char **argv)
{
    struct chosen chosen = {0};
    struct pn_machine machine = pn_machine_default();
    struct pn_cli_sampler sampler = pn_cli_sampler_default();
    void *const targets[] = {&chosen, &sampler, &machine, &machine};
    struct pn_arguments arguments;
    int status = pn_cli_parse(command, argc, argv, targets, &arguments);
    if (status != PN_CLI_GO_ON)
        return status;
    if (arguments.n != 1)
        return pn_cli_misuse(command, arguments.n ? "generate takes one MODEL; the text follows -p, in quotes"
                                                  : "generate needs a MODEL");
    if (!chosen.prompt == !chosen.file)
        return pn_cli_misuse(command, "generate needs either -p TEXT or --file FILE");
    if (chosen.raw && chosen.system)
        return pn_cli_misuse(command, "--system needs the chat template, which --raw leaves out");

    pantry_model *model = NULL;
    status = pn_cli_form_read(&sampler);
    if (status == PN_EXIT_DONE)
        status = pn_cli_load_carried(arguments.text[0], &machine, &model, &chosen.carried);
    if (status == PN_EXIT_DONE)
        status = pn_cli_sampler_settle(&sampler, &machine.session.n_context, arguments.text[0], chosen.carried.params);
    pn_cli_sampler_draw_seed(&sampler);
    pn_term_watch(); /* now Ctrl-C ends the text, not the program */
    if (status == PN_EXIT_DONE)
        status = complete(&chosen, model, &machine, &sampler);
    pantry_model_free(model);
    pn_carried_free(&chosen.carried);
    pn_cli_form_free(&sampler);
    if (pn_term_take_interrupt())
        pn_term_end_interrupted();
    return status;
}

const struct pn_command pn_cmd_generate = {
    .name = "generate",
    .usage = "MODEL -p TEXT [-n N] [--temp T] [--raw] [--json] ...",
    .summary = "complete one prompt, for scripts",
    .about = "The prompt is a message that goes through the model's chat template, unless `--raw` is given.",
    .example = "pantry generate smollm2:135m -p \"Name three colours.\" -n 64 --temp 0\n"
               "pantry generate smollm2:135m --raw -p \"Once upon a time\" --seed 7 --json",
    .options = {PN_OPTIONS(NULL, table), PN_OPTIONS("Sampling", pn_sampling_options),
                PN_OPTIONS("Machine", pn_device_options), PN_OPTIONS("Memory", pn_session_options)},
    .run = run,
};
