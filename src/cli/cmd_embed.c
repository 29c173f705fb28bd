/* pantry embed: texts to vectors. */
#include "cli/commands.h"
#include "cli/lines.h"
#include "cli/model.h"
#include "cli/say.h"
#include "cli/terminal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN_VALUES = 6, SHOWN_BYTES = 60 };

struct chosen {
    const char *file, *out, *pooling;
    int dimensions, max_tokens;
    bool normalize, truncate, plain_text, ids, json;
};

static const struct pn_option table[] = {
    PN_OPT_TEXT("file", "FILE", offsetof(struct chosen, file),
                "embed the lines of FILE; -: standard input, which is the default without a TEXT", .letter = 'f'),
    PN_OPT_FLAG("json", offsetof(struct chosen, json),
                "print one JSON value: embeddings, tokens, dimensions, pooling, truncated"),
    PN_OPT_TEXT("out", "FILE", offsetof(struct chosen, out),
                "write the float32 values, (rows, dimensions), in this machine's byte order", .letter = 'o'),
    PN_OPT_TEXT("pooling", "NAME", offsetof(struct chosen, pooling),
                "mean, cls, last, or none: the state of each token, neither cut nor normalized; default: the model's",
                .choices = "auto mean cls last none"),
    PN_OPT_INT("dimensions", "N", offsetof(struct chosen, dimensions), 1, 1 << 24,
               "keep the first N values and normalize again, for models trained for it (Matryoshka)"),
    PN_OPT_OFF("no-normalize", offsetof(struct chosen, normalize), "do not divide vectors by their length"),
    PN_OPT_INT("max-tokens", "N", offsetof(struct chosen, max_tokens), 1, 1 << 24,
               "most tokens of a text; default: what the model was trained for",
               .more = "Longer texts are an error, or cut with `--truncate`."),
    PN_OPT_FLAG("truncate", offsetof(struct chosen, truncate), "cut longer texts"),
    PN_OPT_FLAG("plain-text", offsetof(struct chosen, plain_text), "text such as [SEP] stays text"),
    PN_OPT_FLAG("ids", offsetof(struct chosen, ids), "the texts are lists of token ids, to which nothing is added"),
};

static enum pantry_pooling pooling_of(const char *name)
{
    for (enum pantry_pooling p = PANTRY_POOLING_AUTO; name && p <= PANTRY_POOLING_NONE; p++)
        if (strcmp(name, pantry_pooling_name(p)) == 0)
            return p;
    return PANTRY_POOLING_AUTO;
}

/* ---- printing ---- */

static json_t *json_row(const float *row, int n)
{
    json_t *list = json_array();
    for (int i = 0; i < n && list; i++)
        if (json_array_append_new(list, json_real((double)row[i])) != 0) { /* or the value is not finite */
            json_decref(list);
            list = NULL;
        }
    return list;
}

/* One row per input; with `states`, a list of rows. */
static json_t *json_rows(const struct pantry_embeddings *e, size_t n, bool states)
{
    json_t *all = json_array();
    const float *row = e->rows;
    for (size_t i = 0; i < n && all; i++) {
        json_t *item = states ? json_array() : json_row(row, e->n_dimensions);
        for (int t = 0; t < e->n_tokens[i] && states && item; t++)
            if (json_array_append_new(item, json_row(row + (size_t)t * (size_t)e->n_dimensions, e->n_dimensions)) !=
                0) {
                json_decref(item);
                item = NULL;
            }
        row += (size_t)(states ? e->n_tokens[i] : 1) * (size_t)e->n_dimensions;
        if (json_array_append_new(all, item) != 0) {
            json_decref(all);
            all = NULL;
        }
    }
    return all;
}

static int put_json(const struct pantry_embeddings *e, size_t n, enum pantry_pooling pooling)
{
    json_t *tokens = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(tokens, json_integer(e->n_tokens[i]));
    json_t *value = json_pack("{s:o?, s:o, s:i, s:s, s:b}", "embeddings",
                              json_rows(e, n, pooling == PANTRY_POOLING_NONE), "tokens", tokens, "dimensions",
                              e->n_dimensions, "pooling", pantry_pooling_name(pooling), "truncated", (int)e->truncated);
    if (!value || json_is_null(json_object_get(value, "embeddings"))) {
        json_decref(value);
        pn_cli_say_error("the embeddings cannot be written as JSON: out of memory, or a value is not finite");
        return PN_EXIT_FAILED;
    }
    int status = json_dumpf(value, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9)) == 0 ? PN_EXIT_DONE : PN_EXIT_FAILED;
    putchar('\n');
    json_decref(value);
    return status;
}

/* For people: each text and the beginning of its vector, on one line. */
static void put_summary(const struct pantry_embeddings *e, const struct pn_lines *lines)
{
    for (size_t i = 0; i < lines->n; i++) {
        const struct pantry_input *in = &lines->input[i];
        const float *row = e->rows + i * (size_t)e->n_dimensions;
        size_t shown = in->len < SHOWN_BYTES ? in->len : SHOWN_BYTES;
        while (shown < in->len && shown > 0 && ((unsigned char)in->text[shown] & 0xc0) == 0x80) /* whole characters */
            shown--;
        if (in->text) {
            pn_cli_put_untrusted(stdout, in->text, shown);
            puts(shown < in->len ? "..." : "");
        }
        printf("  [");
        for (int k = 0; k < SHOWN_VALUES && k < e->n_dimensions; k++)
            printf("%s%.4f", k ? ", " : "", (double)row[k]);
        printf("%s]  %d values, %d tokens\n", e->n_dimensions > SHOWN_VALUES ? ", ..." : "", e->n_dimensions,
               e->n_tokens[i]);
    }
}

static void put_rows(const struct pantry_embeddings *e)
{
    for (size_t r = 0; r < e->n_rows; r++)
        for (int k = 0; k < e->n_dimensions; k++)
            printf("%.9g%c", (double)e->rows[r * (size_t)e->n_dimensions + (size_t)k],
                   k + 1 < e->n_dimensions ? ' ' : '\n');
}

static int write_rows(const struct pantry_embeddings *e, const char *path)
{
    size_t n = e->n_rows * (size_t)e->n_dimensions;
    FILE *f = fopen(path, "wb");
    bool ok = f && fwrite(e->rows, sizeof *e->rows, n, f) == n;
    if (f && fclose(f) != 0)
        ok = false;
    if (!ok)
        pn_cli_say_error("%s: %s", path, strerror(errno));
    return ok ? PN_EXIT_DONE : PN_EXIT_FAILED;
}

/* ---- the command ---- */

static int compute(const struct chosen *chosen, pantry_model *model, const struct pn_lines *lines)
{
    struct pantry_model_info info = {.size = sizeof info};
    struct pantry_error error = {0};
    struct pantry_embeddings e = {.size = sizeof e};
    struct pantry_embed_options options = pantry_embed_options_default();
    options.pooling = pooling_of(chosen->pooling);
    options.normalize = chosen->normalize;
    options.dimensions = chosen->dimensions;
    options.max_tokens = chosen->max_tokens;
    options.truncate = chosen->truncate;
    options.plain_text = chosen->plain_text;
    pantry_model_info(model, &info, NULL);
    if (pantry_embed(model, lines->input, lines->n, &options, &e, &error) != PANTRY_OK)
        return pn_cli_fail(&error);
    int status = PN_EXIT_DONE;
    if (chosen->out)
        status = write_rows(&e, chosen->out);
    if (status == PN_EXIT_DONE && chosen->json)
        status = put_json(&e, lines->n, options.pooling ? options.pooling : info.pooling);
    else if (status == PN_EXIT_DONE && !chosen->out && pn_term_is(stdout) && options.pooling != PANTRY_POOLING_NONE)
        put_summary(&e, lines);
    else if (status == PN_EXIT_DONE && !chosen->out)
        put_rows(&e);
    pantry_embeddings_free(&e);
    return status;
}

static int run(const struct pn_command *command, int argc, char **argv)
{
    struct chosen chosen = {.normalize = true};
    struct pn_machine machine = pn_machine_default();
    void *const targets[] = {&chosen, &machine};
    struct pn_arguments arguments;
    int status = pn_cli_parse(command, argc, argv, targets, &arguments);
    if (status != PN_CLI_GO_ON)
        return status;
    if (arguments.n < 1)
        return pn_cli_misuse(command, "embed needs a MODEL");
    if (arguments.n > 1 && chosen.file)
        return pn_cli_misuse(command, "embed needs either TEXTs or --file FILE");
    struct pn_lines lines;
    pantry_model *model = NULL;
    status = pn_lines_read(arguments.text + 1, (size_t)arguments.n - 1, chosen.file, chosen.ids, &lines);
    if (status != PN_EXIT_DONE)
        return status;
    status = pn_cli_load_model(arguments.text[0], &machine, &model);
    if (status == PN_EXIT_DONE)
        status = compute(&chosen, model, &lines);
    pantry_model_free(model);
    pn_lines_free(&lines);
    return status;
}

const struct pn_command pn_cmd_embed = {
    .name = "embed",
    .usage = "MODEL [TEXT...] [--file FILE] [--json] [--pooling NAME] [--dimensions N]",
    .summary = "turn texts into vectors: texts with similar meanings get similar vectors",
    .about = "Each text (an argument, or a line of the input) becomes one vector of length 1. A terminal shows the "
             "beginning\n"
             "of each vector; a pipe or file gets one vector per line, values separated by spaces.",
    .example = "pantry embed all-minilm.gguf \"a black cat\" \"un chat noir\" --json\n"
               "pantry embed all-minilm.gguf --file notes.txt -o notes.f32\n"
               "echo 101 7592 102 | pantry embed all-minilm.gguf --ids --pooling none --json",
    .options = {PN_OPTIONS(NULL, table), PN_OPTIONS("Machine", pn_device_options)},
    .run = run,
};
