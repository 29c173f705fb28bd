/* pantry fuse: makes an adapter a part of a model. */
#include "cli/commands.h"

#include "cli/model.h"
#include "cli/say.h"

#include <stdlib.h>

struct chosen {
    const char *adapter, *out;
};

static const struct pn_option table[] = {
    PN_OPT_TEXT("adapter", "FOLDER", offsetof(struct chosen, adapter), "the adapter: a folder of mlx_lm or PEFT"),
    PN_OPT_TEXT("out", "FOLDER", offsetof(struct chosen, out), "the folder to write", .letter = 'o'),
};

static int run(const struct pn_command *command, int argc, char **argv)
{
    struct chosen chosen = {0};
    void *const targets[] = {&chosen};
    struct pn_arguments arguments;
    int status = pn_cli_parse(command, argc, argv, targets, &arguments);
    if (status != PN_CLI_GO_ON)
        return status;
    if (arguments.n != 1 || !chosen.adapter || !chosen.out)
        return pn_cli_misuse(command, "fuse needs one MODEL, --adapter FOLDER and -o FOLDER");
    struct pantry_error error = {0};
    char *model = NULL;
    if ((status = pn_cli_find_model(arguments.text[0], &model)) != PN_EXIT_DONE)
        return status;
    if (pantry_fuse(model, chosen.adapter, chosen.out, &error) != PANTRY_OK)
        status = pn_cli_fail(&error);
    else
        printf("%s is written\n", chosen.out);
    free(model);
    return status;
}

const struct pn_command pn_cmd_fuse = {
    .name = "fuse",
    .usage = "MODEL --adapter FOLDER -o FOLDER",
    .summary = "make an adapter a part of a model",
    .about =
        "MODEL is a Hugging Face or MLX directory. The new directory has the same files with changed weights, which\n"
        "keep their type if it is a plain one; quantized ones become float16.",
    .example = "pantry fuse Llama-3.2-1B --adapter my-adapter -o my-model",
    .options = {PN_OPTIONS(NULL, table)},
    .run = run,
};
