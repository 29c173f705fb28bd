/* pantry rank: which of several texts answers a query best. */
#include "cli/commands.h"
#include "cli/lines.h"
#include "cli/model.h"
#include "cli/say.h"

#include <stdlib.h>
#include <string.h>

struct chosen {
    const char *file;
    int max_tokens, top;
    bool truncate, plain_text, json;
};

static const struct pn_option table[] = {
    PN_OPT_TEXT("file", "FILE", offsetof(struct chosen, file),
                "rank the lines of FILE; -: standard input, which is the default without a TEXT", .letter = 'f'),
    PN_OPT_FLAG("json", offsetof(struct chosen, json), "print one JSON value: a list of {index, score, text}"),
    PN_OPT_INT("top", "N", offsetof(struct chosen, top), 1, 1 << 30, "print only the N best texts"),
    PN_OPT_INT("max-tokens", "N", offsetof(struct chosen, max_tokens), 1, 1 << 24,
               "most tokens of query and text; default: what the model was trained for",
               .more = "Longer texts are an error, or cut with `--truncate`."),
    PN_OPT_FLAG("truncate", offsetof(struct chosen, truncate), "cut longer texts"),
    PN_OPT_FLAG("plain-text", offsetof(struct chosen, plain_text), "text such as [SEP] stays text"),
};

struct ranked {
    size_t index;
    float score;
};

/* Best first; equal scores keep their order. */
static int better(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

static int put(const struct chosen *chosen, const struct ranked *order, const struct pn_lines *lines)
{
    size_t n = chosen->top && (size_t)chosen->top < lines->n ? (size_t)chosen->top : lines->n;
    json_t *list = chosen->json ? json_array() : NULL;
    for (size_t i = 0; i < n; i++) {
        const struct pantry_input *in = &lines->input[order[i].index];
        if (list) {
            json_t *item = json_pack("{s:I, s:f, s:o}", "index", (json_int_t)order[i].index, "score",
                                     (double)order[i].score, "text", pn_cli_json_text(in->text, in->len));
            if (json_array_append_new(list, item) != 0) {
                json_decref(list);
                return pn_cli_no_memory();
            }
        } else {
            printf("%8.4f  ", (double)order[i].score);
            pn_cli_put_untrusted(stdout, in->text, in->len);
            putchar('\n');
        }
    }
    return chosen->json ? pn_cli_put_json(list) : PN_EXIT_DONE;
}

static int compute(const struct chosen *chosen, pantry_model *model, const char *query, const struct pn_lines *lines)
{
    struct pantry_error error = {0};
    struct pantry_embed_options options = pantry_embed_options_default();
    const struct pantry_input input = {.text = query, .len = strlen(query)};
    options.max_tokens = chosen->max_tokens;
    options.truncate = chosen->truncate;
    options.plain_text = chosen->plain_text;
    float *scores = calloc(lines->n, sizeof *scores);
    struct ranked *order = calloc(lines->n, sizeof *order);
    int status = scores && order ? PN_EXIT_DONE : pn_cli_no_memory();
    if (status == PN_EXIT_DONE &&
        pantry_rank(model, &input, lines->input, lines->n, &options, scores, &error) != PANTRY_OK)
        status = pn_cli_fail(&error);
    if (status == PN_EXIT_DONE) {
        for (size_t i = 0; i < lines->n; i++)
            order[i] = (struct ranked){i, scores[i]};
        qsort(order, lines->n, sizeof *order, better);
        status = put(chosen, order, lines);
    }
    free(scores);
    free(order);
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
    if (arguments.n < 2)
        return pn_cli_misuse(command, "rank needs a MODEL and a QUERY");
    if (arguments.n > 2 && chosen.file)
        return pn_cli_misuse(command, "rank needs either TEXTs or --file FILE");
    struct pn_lines lines;
    pantry_model *model = NULL;
    status = pn_lines_read(arguments.text + 2, (size_t)arguments.n - 2, chosen.file, false, &lines);
    if (status != PN_EXIT_DONE)
        return status;
    status = pn_cli_load_model(arguments.text[0], &machine, &model);
    if (status == PN_EXIT_DONE)
        status = compute(&chosen, model, arguments.text[1], &lines);
    pantry_model_free(model);
    pn_lines_free(&lines);
    return status;
}

const struct pn_command pn_cmd_rank = {
    .name = "rank",
    .usage = "MODEL QUERY [TEXT...] [--file FILE] [--top N] [--json]",
    .summary = "order texts by how well they answer a query",
    .about = "A reranker reads query and text together and computes the score; with any other model the score is the "
             "cosine\n"
             "of their embeddings. The best text comes first.",
    .example = "pantry rank reranker.gguf \"who wrote Faust?\" --file passages.txt --top 3",
    .options = {PN_OPTIONS(NULL, table), PN_OPTIONS("Machine", pn_device_options)},
    .run = run,
};
