/* pantry convert: a model in another format. */
#define _POSIX_C_SOURCE 200809L
#include "cli/commands.h"

#include "cli/model.h"
#include "cli/say.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct chosen {
    const char *out, *to, *type;
    bool verbose, json;
    int n_threads;
    uint64_t split_size;
};

static const struct pn_option table[] = {
    PN_OPT_TEXT("output", "PATH", offsetof(struct chosen, out), "the GGUF file or the directory to write",
                .letter = 'o'),
    PN_OPT_TEXT("to", "FORMAT", offsetof(struct chosen, to),
                "gguf, mlx or hf; default: gguf if PATH ends in .gguf, else mlx"),
    PN_OPT_TEXT("type", "TYPE", offsetof(struct chosen, type),
                "storage type of the matrices: f16, bf16, f32, q8_0, q4_k_m ...; for mlx affine4-g64 ...",
                .more = "Default: numbers stay as they are. Quantized numbers do so with any TYPE if the format has a "
                        "type that holds them."),
    PN_OPT_SIZE("split-max-size", "SIZE", offsetof(struct chosen, split_size), "write shards of at most this size"),
    PN_OPT_INT("threads", "N", offsetof(struct chosen, n_threads), 1, 1024,
               "threads that convert; default: one per physical core", .letter = 't'),
    PN_OPT_FLAG("verbose", offsetof(struct chosen, verbose), "show every tensor", .letter = 'v'),
    PN_OPT_FLAG("json", offsetof(struct chosen, json), "print the result as JSON"),
};

/* The target of the progress callback. */
struct show {
    bool terminal, verbose, open;
};

static void show_progress(void *user, const struct pantry_quantize_progress *p)
{
    struct show *show = user;
    if (show->verbose) {
        printf("%4zu/%zu  %-8s -> %-8s ", p->number, p->n_tensors, p->from, p->to);
        pn_cli_put_untrusted(stdout, p->tensor, strlen(p->tensor));
        putchar('\n');
    } else if (show->terminal) {
        fprintf(stderr, "\r%zu of %zu tensors\033[K", p->number, p->n_tensors);
        show->open = true;
    }
}

static pantry_cancel *cancel;

static void stop(int number)
{
    (void)number;
    pantry_cancel_set(cancel);
}

static int put_result(const struct pantry_convert_result *r, bool json)
{
    struct pn_number in, out;
    if (json)
        return pn_cli_put_json(json_pack("{s:I, s:I, s:I, s:I, s:I, s:s}", "bytes_in", (json_int_t)r->bytes_in,
                                         "bytes_out", (json_int_t)r->bytes_out, "n_tensors", (json_int_t)r->n_tensors,
                                         "n_kept", (json_int_t)r->n_kept, "n_converted", (json_int_t)r->n_converted,
                                         "note", r->note));
    printf("%s -> %s; %zu tensors\n", pn_cli_bytes(&in, r->bytes_in), pn_cli_bytes(&out, r->bytes_out), r->n_tensors);
    if (r->n_kept)
        printf("%zu quantized tensors hold the same numbers as before\n", r->n_kept);
    if (r->n_converted)
        printf("%zu tensors have another type\n", r->n_converted);
    if (*r->note)
        printf("note: %s\n", r->note);
    return PN_EXIT_DONE;
}

static int run(const struct pn_command *command, int argc, char **argv)
{
    struct chosen chosen = {0};
    void *const targets[] = {&chosen};
    struct pn_arguments arguments;
    int status = pn_cli_parse(command, argc, argv, targets, &arguments);
    if (status != PN_CLI_GO_ON)
        return status;
    if (arguments.n != 1 || !chosen.out)
        return pn_cli_misuse(command, "convert needs a DIR or FILE and -o PATH");

    struct show show = {.terminal = isatty(STDERR_FILENO), .verbose = chosen.verbose && !chosen.json};
    struct pantry_convert_options options = pantry_convert_options_default();
    struct pantry_convert_result result = {.size = sizeof result};
    struct pantry_error error = {0};
    char *in = NULL;
    if ((status = pn_cli_find_model(arguments.text[0], &in)) != PN_EXIT_DONE)
        return status;
    if (!(cancel = pantry_cancel_new())) {
        free(in);
        return pn_cli_no_memory();
    }
    signal(SIGINT, stop);
    options.to = chosen.to;
    options.type = chosen.type;
    options.n_threads = chosen.n_threads;
    options.split_size = chosen.split_size;
    options.cancel = cancel;
    options.callback = show_progress;
    options.user = &show;
    pantry_status converted = pantry_convert(in, chosen.out, &options, &result, &error);
    if (show.open)
        fputs("\r\033[K", stderr);
    status = converted != PANTRY_OK ? pn_cli_fail(&error) : put_result(&result, chosen.json);
    pantry_cancel_free(cancel);
    free(in);
    return status;
}

const struct pn_command pn_cmd_convert = {
    .name = "convert",
    .usage = "DIR|FILE -o PATH [--to FORMAT] [--type TYPE]",
    .summary = "write a model in another format: GGUF, MLX, Hugging Face",
    .about =
        "The input is a Hugging Face or MLX directory, a GGUF file or a model of the store. A GGUF file has "
        "llama.cpp's\n"
        "names and metadata, with the whole tokenizer and the chat template, so that other programs run it too; a\n"
        "directory must not exist before. Quantized numbers keep their values where the other format has a type for\n"
        "them (affine4 as Q4_1, mxfp4 as MXFP4, nvfp4 as NVFP4). The output appears when it is complete.",
    .example = "pantry convert ./SmolLM2-135M -o smollm2-f16.gguf --type f16\n"
               "pantry convert ./Qwen3-0.6B-4bit -o qwen3.gguf\n"
               "pantry convert model-q4_0.gguf -o model-mlx --to mlx",
    .options = {PN_OPTIONS(NULL, table)},
    .run = run,
};
