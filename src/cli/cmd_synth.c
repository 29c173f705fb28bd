/* pantry synth: a model file with the shape of a known model and random weights. */
#include "cli/commands.h"

#include "cli/model.h"
#include "cli/say.h"

#include <stdlib.h>

struct chosen {
    const char *out;
    int n_layers;
};

static const struct pn_option table[] = {
    PN_OPT_TEXT("output", "FILE", offsetof(struct chosen, out), "the GGUF file to write", .letter = 'o'),
    PN_OPT_INT("layers", "N", offsetof(struct chosen, n_layers), 1, 1024, "write only the first N layers",
               .more = "Time per layer stays the same, so a large model can be measured where it does not fit."),
};

static int run(const struct pn_command *command, int argc, char **argv)
{
    struct chosen chosen = {0};
    void *const targets[] = {&chosen};
    struct pn_arguments arguments;
    struct pantry_error error = {0};
    struct pn_number size;
    int status = pn_cli_parse(command, argc, argv, targets, &arguments);
    if (status != PN_CLI_GO_ON)
        return status;
    if (arguments.n != 1 || !chosen.out)
        return pn_cli_misuse(command, "synth needs SHAPE:TYPE and -o FILE");
    if (pantry_synthesize(arguments.text[0], chosen.out, chosen.n_layers, &error) != PANTRY_OK)
        return pn_cli_fail(&error);
    printf("%s: %s\n", chosen.out, pn_cli_bytes(&size, pn_cli_model_bytes(chosen.out)));
    return PN_EXIT_DONE;
}

const struct pn_command pn_cmd_synth = {
    .name = "synth",
    .usage = "SHAPE:TYPE -o FILE [--layers N]",
    .summary = "write a model file of a known shape with random weights, to measure speed",
    .about =
        "SHAPE is a model that `pantry fit` knows, such as llama3.2-1b or qwen3-30b-a3b; TYPE a storage type or mix,\n"
        "such as q8_0 or q4_k_m. The file is a valid GGUF file with a vocabulary of the model's size, which other\n"
        "programs load too. Its text is nonsense, its speed is that of the real model. The same command always writes\n"
        "the same bytes.",
    .example = "pantry synth llama3.2-1b:q4_k_m -o 1b.gguf\n"
               "pantry synth llama3.1-8b:q4_0 -o 8b-4.gguf --layers 4",
    .options = {PN_OPTIONS(NULL, table)},
    .run = run,
};
