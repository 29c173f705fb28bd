/* pantry tokenize: text to ids, or back. A file with only a vocabulary is enough. */
#include "cli/commands.h"
#include "cli/ids.h"
#include "cli/model.h"
#include "cli/pictures.h"
#include "cli/say.h"
#include "cli/terminal.h"

#include <stdlib.h>
#include <string.h>

enum { TEXT_LIMIT = 1 << 30 };

struct chosen {
    const char *file, *context;
    struct pn_text_list images;
    bool bos, special, decode, json;
};

static const struct pn_option table[] = {
    PN_OPT_TEXT("file", "FILE", offsetof(struct chosen, file),
                "read the text from FILE, byte for byte; -: standard input", .letter = 'f'),
    PN_OPT_TEXT("context", "FILE", offsetof(struct chosen, context),
                "the text is what the model's chat template renders from the JSON object in FILE"),
    PN_OPT_LIST("image", "FILE", offsetof(struct chosen, images), "a picture of the context, in order",
                .more = "May be repeated. The ids are those after pictures have become tokens."),
    PN_OPT_FLAG("bos", offsetof(struct chosen, bos), "add the beginning and end tokens that the model requires"),
    PN_OPT_FLAG("special", offsetof(struct chosen, special),
                "text such as <|im_end|> becomes that token; with --decode such tokens are printed"),
    PN_OPT_FLAG("decode", offsetof(struct chosen, decode), "the other way: the input is ids, print their text",
                .letter = 'd'),
    PN_OPT_FLAG("json", offsetof(struct chosen, json), "print a JSON list of ids (a string with --decode)"),
};

static int put_ids(const struct chosen *chosen, const int32_t *ids, size_t n)
{
    int status = PN_EXIT_DONE;
    if (chosen->json) { /* on one line: lists of ids are long */
        json_t *list = pn_ids_json(ids, n);
        status = list && json_dumpf(list, stdout, JSON_COMPACT) == 0 ? PN_EXIT_DONE : pn_cli_no_memory();
        json_decref(list);
    } else {
        for (size_t i = 0; i < n; i++)
            printf(i ? " %d" : "%d", ids[i]);
    }
    putchar('\n');
    return status;
}

static int encode(const pantry_tokenizer *tokenizer, const struct chosen *chosen, const char *text, size_t len)
{
    struct pantry_error error = {0};
    int32_t *ids = NULL;
    size_t n;
    unsigned flags = (chosen->bos ? PANTRY_TOKENIZE_BOS : 0u) | (chosen->special ? PANTRY_TOKENIZE_SPECIAL : 0u);
    if (pantry_tokenize(tokenizer, text, len, flags, &ids, &n, &error) != PANTRY_OK)
        return pn_cli_fail(&error);
    int status = put_ids(chosen, ids, n);
    pantry_free(ids);
    return status;
}

/* The whole model is opened, as its template and its encoder of pictures count. */
static int encode_context(const char *name, const struct chosen *chosen)
{
    struct pn_machine machine = pn_machine_default();
    struct pn_carried carried = {0};
    pantry_model *model = NULL;
    pantry_prompt *prompt = NULL;
    int status = pn_cli_load_carried(name, &machine, &model, &carried);
    if (status == PN_EXIT_DONE)
        status = pn_cli_context_prompt(model, chosen->context, &chosen->images, &prompt);
    if (status == PN_EXIT_DONE) {
        size_t n;
        const int32_t *ids = pantry_prompt_ids(prompt, &n);
        size_t lead = pantry_prompt_lead(prompt);
        status = put_ids(chosen, ids + lead, n - lead);
    }
    pantry_prompt_free(prompt);
    pantry_model_free(model);
    pn_carried_free(&carried);
    return status;
}

static int decode(const pantry_tokenizer *tokenizer, const struct chosen *chosen, const char *text, size_t len)
{
    struct pantry_error error = {0};
    int32_t *ids = NULL;
    char *out = NULL;
    size_t n, n_out;
    int status = pn_ids_parse(chosen->file ? chosen->file : "the ids", text, len, &ids, &n);
    if (status == PN_EXIT_DONE &&
        pantry_detokenize(tokenizer, ids, n, chosen->special ? PANTRY_DETOKENIZE_SPECIAL : 0, &out, &n_out, &error))
        status = pn_cli_fail(&error);
    if (out && chosen->json)
        status = pn_cli_put_json(pn_cli_json_text(out, n_out));
    else if (out)
        pn_cli_put_untrusted(stdout, out, n_out);
    if (out && !chosen->json && pn_term_is(stdout))
        putchar('\n');
    pantry_free(out);
    free(ids);
    return status;
}

static int run(const struct pn_command *command, int argc, char **argv)
{
    struct chosen chosen = {0};
    void *const targets[] = {&chosen};
    struct pn_arguments arguments;
    int status = pn_cli_parse(command, argc, argv, targets, &arguments);
    if (status != PN_CLI_GO_ON)
        return status;
    if (arguments.n < 1)
        return pn_cli_misuse(command, "tokenize needs a MODEL");
    if (chosen.images.n && !chosen.context)
        return pn_cli_misuse(command, "--image needs --context FILE, which says where pictures are");
    if (chosen.context)
        return arguments.n == 1 && !chosen.file && !chosen.decode
                   ? encode_context(arguments.text[0], &chosen)
                   : pn_cli_misuse(command, "with --context, tokenize needs nothing but a MODEL");
    if (arguments.n == 2 && strcmp(arguments.text[1], "-") == 0) {
        chosen.file = "-";
        arguments.n = 1;
    }
    if (chosen.file ? arguments.n != 1 : arguments.n < 2 || (arguments.n > 2 && !chosen.decode))
        return pn_cli_misuse(command, "tokenize needs one TEXT or --file FILE (quote a text that has spaces)");

    char *path = NULL, *text = NULL;
    size_t len = 0;
    pantry_tokenizer *tokenizer = NULL;
    struct pantry_error error = {0};
    if (chosen.file)
        status = pn_cli_read_file(chosen.file, TEXT_LIMIT, &text, &len);
    else
        status = pn_cli_join(arguments.text + 1, (size_t)arguments.n - 1, &text, &len);
    if (status == PN_EXIT_DONE)
        status = pn_cli_find_model(arguments.text[0], &path);
    if (status == PN_EXIT_DONE && pantry_tokenizer_load(path, &tokenizer, &error) != PANTRY_OK)
        status = pn_cli_fail(&error);
    if (status == PN_EXIT_DONE)
        status = chosen.decode ? decode(tokenizer, &chosen, text, len) : encode(tokenizer, &chosen, text, len);
    pantry_tokenizer_free(tokenizer);
    free(text);
    free(path);
    return status;
}

const struct pn_command pn_cmd_tokenize = {
    .name = "tokenize",
    .usage = "MODEL (TEXT | --file FILE | --context FILE [--image FILE]) [--bos] [--special] [--decode] [--json]",
    .summary = "turn text into the model's token ids, or ids into text",
    .about = "Prints the ids on one line. A file with only a vocabulary is enough. TEXT may be `-` for standard input.",
    .example = "pantry tokenize smollm2:135m \"Hello world\"\n"
               "pantry tokenize smollm2:135m --decode 19556 905",
    .options = {PN_OPTIONS(NULL, table)},
    .run = run,
};
