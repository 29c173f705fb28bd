/* pantry imatrix: importances of a model's values, from a text. */
#include "cli/commands.h"

#include "cli/model.h"
#include "cli/say.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TEXT_LIMIT = 1 << 30 };

struct chosen {
    const char *file, *out;
    struct pn_text_list merge;
    int n_context, max_windows;
    bool output;
};

static const struct pn_option table[] = {
    PN_OPT_TEXT("file", "FILE", offsetof(struct chosen, file), "the text that the model reads; -: standard input",
                .letter = 'f'),
    PN_OPT_TEXT("out", "FILE", offsetof(struct chosen, out), "the file to write; default: imatrix.gguf",
                .more = "llama.cpp's GGUF format, or its older one if the name ends in .dat.", .letter = 'o'),
    PN_OPT_LIST("merge", "FILE", offsetof(struct chosen, merge), "add the sums of an earlier file",
                .more = "May be repeated. Without a MODEL and a text, files are only merged or converted."),
    PN_OPT_INT("ctx", "N", offsetof(struct chosen, n_context), 8, 131072, "tokens of a window; default: 512"),
    PN_OPT_INT("windows", "N", offsetof(struct chosen, max_windows), 1, INT32_MAX,
               "most windows to read; default: all"),
    PN_OPT_FLAG("process-output", offsetof(struct chosen, output), "also collect for the output matrix"),
};

static bool show_window(void *user, const struct pantry_window *w)
{
    const bool *terminal = user;
    if (*terminal)
        fprintf(stderr, "\rwindow %zu of %zu, perplexity %.4f\033[K", w->number, w->n_windows, w->perplexity);
    return true;
}

static int run(const struct pn_command *command, int argc, char **argv)
{
    struct chosen chosen = {.out = "imatrix.gguf"};
    struct pn_machine machine = pn_machine_default();
    void *const targets[] = {&chosen, &machine};
    struct pn_arguments arguments;
    int status = pn_cli_parse(command, argc, argv, targets, &arguments);
    if (status != PN_CLI_GO_ON)
        return status;
    if (arguments.n > 1 || (arguments.n == 1) != (chosen.file != NULL))
        return pn_cli_misuse(command, "imatrix needs a MODEL and -f FILE, or only files to --merge");
    if (!chosen.file && !chosen.merge.n)
        return pn_cli_misuse(command, "imatrix needs a MODEL and -f FILE, or only files to --merge");

    struct pantry_imatrix_options options = pantry_imatrix_options_default();
    struct pantry_error error = {0};
    pantry_model *model = NULL;
    char *text = NULL;
    size_t len = 0;
    bool terminal = isatty(STDERR_FILENO);
    const char *slash = chosen.file ? strrchr(chosen.file, '/') : NULL;
    options.n_context = chosen.n_context;
    options.max_windows = chosen.max_windows;
    options.output = chosen.output;
    options.name = slash ? slash + 1 : chosen.file;
    options.merge = chosen.merge.item;
    options.n_merge = chosen.merge.n;
    options.callback = show_window;
    options.user = &terminal;
    status = chosen.file ? pn_cli_read_file(chosen.file, TEXT_LIMIT, &text, &len) : PN_EXIT_DONE;
    if (!machine.model.device)
        machine.model.device = "cpu"; /* a GPU's products show nobody their operands */
    if (status == PN_EXIT_DONE && chosen.file)
        status = pn_cli_load_model(arguments.text[0], &machine, &model);
    if (status == PN_EXIT_DONE) {
        pantry_status done = pantry_imatrix(model, text, len, chosen.out, &options, &error);
        if (terminal && chosen.file)
            fputs("\r\033[K", stderr);
        if (done != PANTRY_OK)
            status = pn_cli_fail(&error);
        else
            printf("%s is written\n", chosen.out);
    }
    pantry_model_free(model);
    free(text);
    return status;
}

const struct pn_command pn_cmd_imatrix = {
    .name = "imatrix",
    .usage = "[MODEL -f TEXT] [-o FILE] [--merge FILE]",
    .summary = "measure which values of a model matter, for quantize",
    .about =
        "The model reads a text in windows, and the squares of the inputs of every matrix are summed up. `pantry\n"
        "quantize --imatrix` (and llama.cpp's quantizer) then keeps the errors small where inputs are large. A few\n"
        "hundred kilobytes of varied text are enough.",
    .example = "pantry imatrix smollm2:135m -f calibration.txt -o smollm2.imatrix\n"
               "pantry imatrix --merge one.imatrix --merge two.dat -o both.imatrix",
    .options = {PN_OPTIONS(NULL, table), PN_OPTIONS("Machine", pn_device_options)},
    .run = run,
};
