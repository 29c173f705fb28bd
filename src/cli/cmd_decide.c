/* pantry decide: probabilities of the answers to a question. */
#include "cli/commands.h"
#include "cli/model.h"
#include "cli/say.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TEXT = 64 << 20, MAX_QUESTIONS = 4 << 20, MAX_NAME = 255 };

struct chosen {
    const char *file, *questions;
    struct pn_text_list choices, levels;
    bool json;
};

static const struct pn_option table[] = {
    PN_OPT_LIST("choice", "LABEL", offsetof(struct chosen, choices),
                "one of the answers, or LABEL=DESCRIPTION; may be repeated", .letter = 'c'),
    PN_OPT_LIST("level", "TEXT", offsetof(struct chosen, levels),
                "a level of a score, the lowest first; may be repeated", .letter = 'l'),
    PN_OPT_TEXT("questions", "FILE", offsetof(struct chosen, questions),
                "the JSON object `questions` of /v1/systemone, in place of QUESTION"),
    PN_OPT_TEXT("file", "FILE", offsetof(struct chosen, file),
                "decide about the text in FILE; -: standard input, which is the default without a TEXT", .letter = 'f'),
    PN_OPT_FLAG("json", offsetof(struct chosen, json), "print one JSON value: {answers, usage}"),
};

/* ---- the request ---- */

/* NULL: a mistake was reported. */
static json_t *choice_question(const char *instructions, const struct pn_text_list *choices)
{
    json_t *criteria = json_object();
    for (size_t i = 0; i < choices->n; i++) {
        const char *text = choices->item[i], *equals = strchr(text, '=');
        char name[MAX_NAME + 1];
        snprintf(name, sizeof name, "%.*s", equals ? (int)(equals - text) : (int)strlen(text), text);
        if (json_object_get(criteria, name)) {
            pn_cli_say_error("--choice: duplicate label \"%s\"", name);
            json_decref(criteria);
            return NULL;
        }
        json_object_set_new(criteria, name, equals ? json_string(equals + 1) : json_null());
    }
    return json_pack("{s:s, s:s, s:o}", "type", "choice", "instructions", instructions, "criteria", criteria);
}

static json_t *score_question(const char *instructions, const struct pn_text_list *levels)
{
    json_t *criteria = json_array();
    for (size_t i = 0; i < levels->n; i++)
        json_array_append_new(criteria, json_string(levels->item[i]));
    return json_pack("{s:s, s:s, s:o}", "type", "score", "instructions", instructions, "criteria", criteria);
}

/* NULL: a mistake was reported. */
static json_t *read_questions(const struct chosen *chosen, const char *question)
{
    char *text = NULL;
    size_t len;
    json_t *v;
    if (!chosen->questions) {
        v = chosen->choices.n  ? choice_question(question, &chosen->choices)
            : chosen->levels.n ? score_question(question, &chosen->levels)
                               : json_pack("{s:s, s:s}", "type", "noul", "instructions", question);
        return v ? json_pack("{s:o}", "answer", v) : NULL;
    }
    if (pn_cli_read_file(chosen->questions, MAX_QUESTIONS, &text, &len) != PN_EXIT_DONE)
        return NULL;
    json_error_t where;
    v = json_loadb(text, len, JSON_REJECT_DUPLICATES, &where);
    if (!v)
        pn_cli_say_error("%s: not JSON: %s (line %d, column %d)", chosen->questions, where.text, where.line,
                         where.column);
    free(text);
    return v;
}

/* ---- answers ---- */

static void put_row(double p, const char *label, const char *description)
{
    printf("%8.4f  ", p);
    pn_cli_put_untrusted(stdout, label, strlen(label));
    if (description) {
        fputs("  ", stdout);
        pn_cli_put_untrusted(stdout, description, strlen(description));
    }
    putchar('\n');
}

static void put_answer(const json_t *answer)
{
    const char *type = json_string_value(json_object_get(answer, "type")), *label;
    double yes = json_number_value(json_object_get(answer, "noul"));
    json_t *p;
    if (strcmp(type, "noul") == 0) {
        put_row(yes, "yes", NULL);
        put_row(1 - yes, "no", NULL);
        return;
    }
    json_object_foreach(json_object_get(answer, "probabilities"), label, p) put_row(
        json_number_value(p), label, json_string_value(json_object_get(json_object_get(answer, "legend"), label)));
    if (strcmp(type, "score") == 0)
        printf("score: %.4f, ", json_number_value(json_object_get(answer, "score")));
    printf("confidence: %.4f\n", json_number_value(json_object_get(answer, "confidence")));
}

static int put(const struct chosen *chosen, const char *reply)
{
    json_t *v = json_loads(reply, 0, NULL), *answers = json_object_get(v, "answers"), *answer;
    const char *name;
    if (!v)
        return pn_cli_no_memory();
    if (chosen->json)
        return pn_cli_put_json(v);
    json_object_foreach(answers, name, answer)
    {
        if (chosen->questions) {
            pn_cli_put_untrusted(stdout, name, strlen(name));
            fputs(":\n", stdout);
        }
        put_answer(answer);
    }
    json_decref(v);
    return PN_EXIT_DONE;
}

static int decide(const struct chosen *chosen, const char *name, const struct pn_machine *machine, json_t *request)
{
    struct pantry_error error = {0};
    pantry_model *model = NULL;
    char *text = json_dumps(request, 0), *reply = NULL;
    int status = text ? pn_cli_load_model(name, machine, &model) : pn_cli_no_memory();
    if (status == PN_EXIT_DONE && pantry_decide(model, text, NULL, &reply, &error))
        status = pn_cli_fail(&error);
    if (status == PN_EXIT_DONE)
        status = put(chosen, reply);
    pantry_free(reply);
    pantry_model_free(model);
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
    int n_before = chosen.questions ? 1 : 2; /* before the text */
    if (arguments.n < n_before || arguments.n > n_before + 1)
        return pn_cli_misuse(command, chosen.questions ? "decide needs a MODEL and at most one TEXT"
                                                       : "decide needs a MODEL, a QUESTION and at most one TEXT");
    if (arguments.n > n_before && chosen.file)
        return pn_cli_misuse(command, "decide needs either a TEXT or --file FILE");
    if ((chosen.choices.n > 0) + (chosen.levels.n > 0) + (chosen.questions != NULL) > 1)
        return pn_cli_misuse(command, "--choice, --level and --questions exclude each other");
    char *read = NULL;
    const char *text = arguments.n > n_before ? arguments.text[n_before] : NULL;
    size_t len = text ? strlen(text) : 0;
    json_t *questions = read_questions(&chosen, arguments.text[1]);
    if (!questions)
        return PN_EXIT_FAILED;
    if (!text && (status = pn_cli_read_file(chosen.file ? chosen.file : "-", MAX_TEXT, &read, &len)) != PN_EXIT_DONE) {
        json_decref(questions);
        return status;
    }
    json_t *request =
        json_pack("{s:o, s:o}", "questions", questions, "state", pn_cli_json_text(text ? text : read, len));
    status = request ? decide(&chosen, arguments.text[0], &machine, request) : pn_cli_no_memory();
    json_decref(request);
    free(read);
    return status;
}

const struct pn_command pn_cmd_decide = {
    .name = "decide",
    .usage = "MODEL QUESTION [TEXT] [--choice LABEL... | --level TEXT...] [--file FILE] [--json]",
    .summary = "answer a question about a text with probabilities",
    .about = "Reads the text once and tells how likely each answer is, without generating one: yes or no, one of the\n"
             "choices, or a level of a score. Any chat model decides.",
    .example = "pantry decide qwen2.5-coder:1.5b \"Which team handles it?\" -c billing -c support -c sales \\\n"
               "    \"My card was charged twice.\"",
    .options = {PN_OPTIONS(NULL, table), PN_OPTIONS("Machine", pn_device_options)},
    .run = run,
};
