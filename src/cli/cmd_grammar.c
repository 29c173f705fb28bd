/* pantry grammar: compile a grammar, and say which strings it accepts, or draw it. */
#include "cli/commands.h"
#include "cli/model.h"
#include "cli/say.h"

#include <stdlib.h>
#include <string.h>

enum { SOURCE_LIMIT = 64 << 20, STRINGS_LIMIT = 256 << 20 };

struct chosen {
    const char *schema, *gbnf, *regex, *strings, *whitespace;
    bool any_json, closed, dot;
};

static const struct pn_option table[] = {
    PN_OPT_TEXT("json-schema", "FILE", offsetof(struct chosen, schema), "the grammar is a JSON schema"),
    PN_OPT_TEXT("gbnf", "FILE", offsetof(struct chosen, gbnf), "the grammar is in GBNF, llama.cpp's notation"),
    PN_OPT_TEXT("regex", "FILE", offsetof(struct chosen, regex),
                "the grammar is a regular expression, which whole strings match"),
    PN_OPT_FLAG("any-json", offsetof(struct chosen, any_json), "the grammar is any JSON value"),
    PN_OPT_TEXT("strings", "FILE", offsetof(struct chosen, strings),
                "a JSON array of strings; prints a JSON array that says which are accepted"),
    PN_OPT_TEXT("whitespace", "HOW", offsetof(struct chosen, whitespace),
                "in JSON: flexible (a space may follow each comma and colon; the default), compact (none) or indented "
                "(also new lines)",
                .choices = "flexible compact indented"),
    PN_OPT_FLAG("closed", offsetof(struct chosen, closed),
                "a schema's objects have no other properties than `properties`, unless it says so"),
    PN_OPT_FLAG("dot", offsetof(struct chosen, dot), "draw the automaton in the language of Graphviz"),
};

static enum pantry_whitespace whitespace(const char *name)
{
    if (strcmp(name, "compact") == 0)
        return PANTRY_WHITESPACE_COMPACT;
    return strcmp(name, "indented") == 0 ? PANTRY_WHITESPACE_INDENTED : PANTRY_WHITESPACE_FLEXIBLE;
}

static int compile(const struct chosen *chosen, pantry_grammar **grammar)
{
    struct pantry_grammar_options options = pantry_grammar_options_default();
    struct pantry_error error = {0};
    const char *file = chosen->schema ? chosen->schema : chosen->gbnf ? chosen->gbnf : chosen->regex;
    enum pantry_grammar_kind kind = chosen->schema  ? PANTRY_GRAMMAR_SCHEMA
                                    : chosen->gbnf  ? PANTRY_GRAMMAR_GBNF
                                    : chosen->regex ? PANTRY_GRAMMAR_REGEX
                                                    : PANTRY_GRAMMAR_JSON;
    char *source = NULL;
    size_t len = 0;
    options.whitespace = whitespace(chosen->whitespace);
    options.closed = chosen->closed;
    int status = file ? pn_cli_read_file(file, SOURCE_LIMIT, &source, &len) : PN_EXIT_DONE;
    if (status == PN_EXIT_DONE &&
        pantry_grammar_new(kind, source ? source : "", len, &options, grammar, &error) != PANTRY_OK)
        status = pn_cli_fail(&error);
    free(source);
    return status;
}

/* The verdicts on a JSON array of strings. */
static int judge(const pantry_grammar *grammar, const char *file)
{
    struct pantry_error error = {0};
    char *text = NULL;
    size_t len;
    int status = pn_cli_read_file(file, STRINGS_LIMIT, &text, &len);
    if (status != PN_EXIT_DONE)
        return status;
    json_error_t where;
    json_t *strings = json_loadb(text, len, JSON_ALLOW_NUL, &where), *verdicts = json_array();
    free(text);
    if (!json_is_array(strings)) {
        pn_cli_say_error("%s: not a JSON array of strings", file);
        status = PN_EXIT_FAILED;
    }
    for (size_t i = 0; status == PN_EXIT_DONE && i < json_array_size(strings); i++) {
        const json_t *string = json_array_get(strings, i);
        bool accepted;
        if (!json_is_string(string)) {
            pn_cli_say_error("%s: item %zu is not a string", file, i);
            status = PN_EXIT_FAILED;
        } else if (pantry_grammar_accepts(grammar, json_string_value(string), json_string_length(string), &accepted,
                                          &error) != PANTRY_OK)
            status = pn_cli_fail(&error);
        else if (json_array_append_new(verdicts, json_boolean(accepted)))
            status = pn_cli_no_memory();
    }
    if (status == PN_EXIT_DONE && verdicts)
        status = json_dumpf(verdicts, stdout, 0) == 0 && putchar('\n') != EOF ? PN_EXIT_DONE : pn_cli_no_memory();
    json_decref(strings);
    json_decref(verdicts);
    return status;
}

static int draw(const pantry_grammar *grammar)
{
    struct pantry_error error = {0};
    char *dot = NULL;
    if (pantry_grammar_dot(grammar, &dot, &error) != PANTRY_OK)
        return pn_cli_fail(&error);
    fputs(dot, stdout);
    pantry_free(dot);
    return PN_EXIT_DONE;
}

static int run(const struct pn_command *command, int argc, char **argv)
{
    struct chosen chosen = {.whitespace = "flexible"};
    void *const targets[] = {&chosen};
    struct pn_arguments arguments;
    int status = pn_cli_parse(command, argc, argv, targets, &arguments);
    if (status != PN_CLI_GO_ON)
        return status;
    if (arguments.n || !!chosen.schema + !!chosen.gbnf + !!chosen.regex + chosen.any_json != 1)
        return pn_cli_misuse(command, "grammar needs one of --json-schema FILE, --gbnf FILE, --regex FILE, --any-json");
    pantry_grammar *grammar = NULL;
    status = compile(&chosen, &grammar);
    if (status == PN_EXIT_DONE && chosen.strings)
        status = judge(grammar, chosen.strings);
    if (status == PN_EXIT_DONE && chosen.dot)
        status = draw(grammar);
    pantry_grammar_free(grammar);
    return status;
}

const struct pn_command pn_cmd_grammar = {
    .name = "grammar",
    .usage = "(--json-schema FILE | --gbnf FILE | --regex FILE | --any-json) [--strings FILE] [--whitespace HOW] "
             "[--closed] [--dot]",
    .summary = "compile a grammar, and say which strings it accepts",
    .about = "Compiles a grammar as answers can be bound to, and exits with 1 and a sentence if that fails. With "
             "--strings,\n"
             "prints a JSON array of booleans: whether each whole string is accepted.",
    .example = "pantry grammar --json-schema weather.json --strings answers.json\n"
               "pantry grammar --gbnf chess.gbnf --dot | dot -Tsvg -o chess.svg",
    .options = {PN_OPTIONS(NULL, table)},
    .run = run,
};
