/* pantry template: render a chat template exactly, adding nothing. */
#include "cli/commands.h"
#include "cli/model.h"
#include "cli/say.h"
#include "cli/template.h"

#include <stdlib.h>

/* The model gives the template its bos_token and eos_token. */
static int render_with_model(const char *name, const char *context, char **text, size_t *len)
{
    struct pn_machine machine = pn_machine_default();
    pantry_model *model = NULL;
    struct pantry_error error = {0};
    struct pn_carried carried = {0};
    char *path = NULL;
    int status = pn_cli_find_model(name, &path);
    if (status == PN_EXIT_DONE && pn_carried_find(name, &carried, &error) != PANTRY_OK)
        status = pn_cli_fail(&error);
    machine.model.chat_template = carried.template;
    machine.model.default_chat_template = carried.default_template;
    if (status == PN_EXIT_DONE && pantry_model_load(path, &machine.model, &model, &error) == PANTRY_OK) {
        if (pantry_model_render(model, context, text, len, &error) != PANTRY_OK)
            status = pn_cli_template_fail(&error);
    } else if (status == PN_EXIT_DONE) { /* the model cannot run, but may have a template */
        struct pn_template_choice none = {0};
        char *source = NULL;
        size_t source_len;
        status = pn_cli_template_source(&none, name, &source, &source_len);
        if (source && pantry_template_render(source, source_len, context, text, len, &error) != PANTRY_OK)
            status = pn_cli_template_fail(&error);
        free(source);
    }
    pantry_model_free(model);
    pn_carried_free(&carried);
    free(path);
    return status;
}

static int run(const struct pn_command *command, int argc, char **argv)
{
    struct pn_template_choice chosen = {0};
    void *const targets[] = {&chosen};
    struct pn_arguments arguments;
    int status = pn_cli_parse(command, argc, argv, targets, &arguments);
    if (status != PN_CLI_GO_ON)
        return status;
    if (arguments.n != (chosen.template_file ? 0 : 1))
        return pn_cli_misuse(command, "template needs either a MODEL or --template FILE");
    if (!chosen.context_file)
        return pn_cli_misuse(command, "template needs --context FILE");

    char *context = NULL, *source = NULL, *text = NULL;
    size_t context_len, source_len, len;
    struct pantry_error error = {0};
    status = pn_cli_read_file(chosen.context_file, PN_CONTEXT_LIMIT, &context, &context_len);
    if (status == PN_EXIT_DONE && !chosen.template_file) {
        status = render_with_model(arguments.text[0], context, &text, &len);
    } else if (status == PN_EXIT_DONE) {
        status = pn_cli_template_source(&chosen, NULL, &source, &source_len);
        if (source && pantry_template_render(source, source_len, context, &text, &len, &error) != PANTRY_OK)
            status = pn_cli_template_fail(&error);
    }
    if (text)
        pn_cli_put_untrusted(stdout, text, len);
    pantry_free(text);
    free(source);
    free(context);
    return status;
}

const struct pn_command pn_cmd_template = {
    .name = "template",
    .usage = "(MODEL | --template FILE) --context FILE.json",
    .summary = "render a chat template",
    .about =
        "The context is a JSON object: `{\"messages\": [...], \"tools\": [...], \"add_generation_prompt\": true, "
        "...}`.\n"
        "Prints exactly what the template renders. An error that the template raises goes to standard error after\n"
        "`template error: `, and the exit status is 1.",
    .example = "echo '{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}' |\n"
               "    pantry template smollm2:135m --context -",
    .options = {PN_OPTIONS(NULL, pn_template_options)},
    .run = run,
};
