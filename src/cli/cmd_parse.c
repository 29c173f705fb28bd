/* pantry parse: split a model's output into content, reasoning and tool calls. */
#include "cli/commands.h"
#include "cli/model.h"
#include "cli/say.h"
#include "cli/template.h"

#include <stdlib.h>
#include <string.h>

enum { RAW_LIMIT = 256 << 20 };

struct chosen {
    bool reasoning_in_content, json;
    const char *tool_choice;
};

static const struct pn_option table[] = {
    PN_OPT_FLAG("reasoning-in-content", offsetof(struct chosen, reasoning_in_content),
                "leave the reasoning in the content, between its markers"),
    PN_OPT_TEXT("tool-choice", "HOW", offsetof(struct chosen, tool_choice),
                "what the model was told about tools: auto, required or none", .choices = "auto required none"),
    PN_OPT_FLAG("json", offsetof(struct chosen, json), "print one JSON value (the only format)"),
};

static enum pantry_tool_choice tool_choice(const char *name)
{
    if (strcmp(name, "required") == 0)
        return PANTRY_TOOL_REQUIRED;
    return strcmp(name, "none") == 0 ? PANTRY_TOOL_NONE : PANTRY_TOOL_AUTO;
}

static int run(const struct pn_command *command, int argc, char **argv)
{
    struct chosen chosen = {.tool_choice = "auto"};
    struct pn_template_choice files = {0};
    void *const targets[] = {&files, &chosen};
    struct pn_arguments arguments;
    int status = pn_cli_parse(command, argc, argv, targets, &arguments);
    if (status != PN_CLI_GO_ON)
        return status;
    if (arguments.n != (files.template_file ? 0 : 1))
        return pn_cli_misuse(command, "parse needs either a MODEL or --template FILE");
    if (!files.context_file)
        return pn_cli_misuse(command, "parse needs --context FILE");
    if (strcmp(files.context_file, "-") == 0)
        return pn_cli_misuse(command, "--context needs a file: standard input is the model's answer");

    char *source = NULL, *context = NULL, *raw = NULL, *json = NULL;
    size_t source_len, context_len, raw_len;
    struct pantry_error error = {0};
    unsigned flags = chosen.reasoning_in_content ? PANTRY_PARSE_REASONING_IN_CONTENT : 0u;
    status = pn_cli_template_source(&files, arguments.text[0], &source, &source_len);
    if (status == PN_EXIT_DONE)
        status = pn_cli_read_file(files.context_file, PN_CONTEXT_LIMIT, &context, &context_len);
    if (status == PN_EXIT_DONE)
        status = pn_cli_read_file("-", RAW_LIMIT, &raw, &raw_len);
    if (status == PN_EXIT_DONE && pantry_parse(source, source_len, context, raw, raw_len, flags,
                                               tool_choice(chosen.tool_choice), &json, &error) != PANTRY_OK)
        status = pn_cli_template_fail(&error);
    if (json)
        puts(json);
    pantry_free(json);
    free(raw);
    free(context);
    free(source);
    return status;
}

const struct pn_command pn_cmd_parse = {
    .name = "parse",
    .usage = "(MODEL | --template FILE) --context FILE.json [--reasoning-in-content] [--tool-choice HOW] [--json]",
    .summary = "split a model's raw answer into content, reasoning and tool calls",
    .about = "Reads the model's output from standard input. Template and context are those of the prompt; they decide "
             "which\n"
             "dialect applies. Prints `{\"content\": ..., \"reasoning_content\": ..., \"tool_calls\": [...]}`, where "
             "each call\n"
             "is `{\"name\": ..., \"arguments\": ..., \"id\": ...}`.",
    .example = "pantry parse --template qwen3.jinja --context question.json --json < answer.txt",
    .options = {PN_OPTIONS("Prompt", pn_template_options), PN_OPTIONS(NULL, table)},
    .run = run,
};
