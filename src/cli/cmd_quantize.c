/* pantry quantize: a model file with other storage types. */
#define _POSIX_C_SOURCE 200809L
#include "cli/commands.h"

#include "cli/model.h"
#include "cli/say.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct chosen {
    const char *imatrix, *output_type, *embedding_type;
    struct pn_text_list tensor_types;
    bool pure, keep_split, dry_run, json, verbose;
    float target_bpw;
    int n_threads;
    uint64_t split_size;
};

static const struct pn_option table[] = {
    PN_OPT_TEXT("imatrix", "FILE", offsetof(struct chosen, imatrix),
                "importances of the values, from `pantry imatrix` or llama.cpp",
                .more = "Types of four bits and fewer gain most."),
    PN_OPT_LIST("tensor-type", "PATTERN=TYPE", offsetof(struct chosen, tensor_types),
                "a storage type for the tensors whose names have PATTERN, a regular expression",
                .more = "May be repeated; the first pattern found counts."),
    PN_OPT_TEXT("output-tensor-type", "TYPE", offsetof(struct chosen, output_type), "storage type of output.weight"),
    PN_OPT_TEXT("token-embedding-type", "TYPE", offsetof(struct chosen, embedding_type),
                "storage type of token_embd.weight"),
    PN_OPT_FLAG("pure", offsetof(struct chosen, pure), "give all matrices the same type"),
    PN_OPT_FLOAT("target-bpw", "BITS", offsetof(struct chosen, target_bpw), 1, 32,
                 "choose types by measured errors, for this many bits per weight of the whole file",
                 .more = "TYPE then only names the file's type in its metadata."),
    PN_OPT_FLAG("keep-split", offsetof(struct chosen, keep_split), "write as many shards as the input has"),
    PN_OPT_SIZE("split-max-size", "SIZE", offsetof(struct chosen, split_size), "write shards of at most this size"),
    PN_OPT_INT("threads", "N", offsetof(struct chosen, n_threads), 1, 1024,
               "threads that convert; default: one per physical core", .letter = 't'),
    PN_OPT_FLAG("dry-run", offsetof(struct chosen, dry_run), "show what would be done, write nothing"),
    PN_OPT_FLAG("verbose", offsetof(struct chosen, verbose), "show every tensor", .letter = 'v'),
    PN_OPT_FLAG("json", offsetof(struct chosen, json), "print the result and the types of all tensors as JSON"),
};

/* The target of the progress callback. */
struct show {
    bool terminal, verbose, open;
    json_t *tensors; /* with --json */
};

static void show_progress(void *user, const struct pantry_quantize_progress *p)
{
    struct show *show = user;
    if (show->tensors) {
        json_array_append_new(show->tensors,
                              json_pack("{s:s, s:s, s:s}", "name", p->tensor, "from", p->from, "to", p->to));
    } else if (show->verbose) {
        printf("%4zu/%zu  %-8s -> %-8s ", p->number, p->n_tensors, p->from, p->to);
        pn_cli_put_untrusted(stdout, p->tensor, strlen(p->tensor));
        putchar('\n');
    } else if (show->terminal) {
        int percent = p->bytes_total ? (int)(p->bytes_done * 100 / p->bytes_total) : 100;
        fprintf(stderr, "\r%3d %%  %zu of %zu tensors\033[K", percent, p->number, p->n_tensors);
        show->open = true;
    }
}

static pantry_cancel *cancel;

static void stop(int number)
{
    (void)number;
    pantry_cancel_set(cancel);
}

static double bits_per_weight(const struct pantry_quantize_result *r)
{
    return r->n_params ? (double)r->bytes_out * 8 / (double)r->n_params : 0;
}

static int put_json(const struct pantry_quantize_result *r, json_t *tensors)
{
    return pn_cli_put_json(json_pack(
        "{s:I, s:I, s:I, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "n_params", (json_int_t)r->n_params, "bytes_in",
        (json_int_t)r->bytes_in, "bytes_out", (json_int_t)r->bytes_out, "bits_per_weight", bits_per_weight(r),
        "n_tensors", (json_int_t)r->n_tensors, "n_quantized", (json_int_t)r->n_quantized, "n_fallbacks",
        (json_int_t)r->n_fallbacks, "n_requantized", (json_int_t)r->n_requantized, "n_without_importance",
        (json_int_t)r->n_unimportant, "n_resumed", (json_int_t)r->n_resumed, "tensors", tensors));
}

static void put_text(const struct pantry_quantize_result *r)
{
    struct pn_number in, out;
    printf("%s -> %s, %.2f bits per weight; %zu of %zu tensors converted\n", pn_cli_bytes(&in, r->bytes_in),
           pn_cli_bytes(&out, r->bytes_out), bits_per_weight(r), r->n_quantized, r->n_tensors);
    if (r->n_resumed)
        printf("%zu tensors were there from an interrupted run\n", r->n_resumed);
    if (r->n_fallbacks)
        printf("%zu tensors got a type with smaller blocks, which divide their rows\n", r->n_fallbacks);
    if (r->n_requantized)
        printf("%zu tensors were quantized before, so errors add up: a file in F16, BF16 or F32 gives better results\n",
               r->n_requantized);
    if (r->n_unimportant)
        printf("%zu tensors have no importances in the file\n", r->n_unimportant);
}

static int run(const struct pn_command *command, int argc, char **argv)
{
    struct chosen chosen = {0};
    void *const targets[] = {&chosen};
    struct pn_arguments arguments;
    int status = pn_cli_parse(command, argc, argv, targets, &arguments);
    if (status != PN_CLI_GO_ON)
        return status;
    if (arguments.n != 3)
        return pn_cli_misuse(command, "quantize needs IN, OUT and TYPE");

    struct show show = {.terminal = isatty(STDERR_FILENO), .verbose = chosen.verbose || chosen.dry_run};
    struct pantry_quantize_options options = pantry_quantize_options_default();
    struct pantry_quantize_result result = {.size = sizeof result};
    struct pantry_error error = {0};
    char *in = NULL;
    if ((status = pn_cli_find_model(arguments.text[0], &in)) != PN_EXIT_DONE)
        return status;
    if (!(cancel = pantry_cancel_new()) || (chosen.json && !(show.tensors = json_array()))) {
        status = pn_cli_no_memory();
        goto done;
    }
    signal(SIGINT, stop);
    options.imatrix = chosen.imatrix;
    options.tensor_types = chosen.tensor_types.item;
    options.n_tensor_types = chosen.tensor_types.n;
    options.output_type = chosen.output_type;
    options.embedding_type = chosen.embedding_type;
    options.pure = chosen.pure;
    options.keep_split = chosen.keep_split;
    options.dry_run = chosen.dry_run;
    options.target_bpw = chosen.target_bpw;
    options.n_threads = chosen.n_threads;
    options.split_size = chosen.split_size;
    options.cancel = cancel;
    options.callback = show_progress;
    options.user = &show;
    pantry_status quantized = pantry_quantize(in, arguments.text[1], arguments.text[2], &options, &result, &error);
    if (show.open)
        fputs("\r\033[K", stderr);
    if (quantized != PANTRY_OK) {
        status = pn_cli_fail(&error);
    } else if (chosen.json) {
        status = put_json(&result, json_incref(show.tensors));
    } else {
        put_text(&result);
    }
done:
    json_decref(show.tensors);
    pantry_cancel_free(cancel);
    free(in);
    return status;
}

const struct pn_command pn_cmd_quantize = {
    .name = "quantize",
    .usage = "IN OUT TYPE [--imatrix FILE] [--target-bpw BITS]",
    .summary = "write a model file with other storage types",
    .about =
        "IN is a GGUF file or a model of the store, OUT a new GGUF file. TYPE is a mix, such as Q4_K_M, Q5_K_S, "
        "Q3_K_L\n"
        "or IQ3_M, or one plain type, such as Q8_0, F16 or BF16; every tensor gets the type that llama.cpp would give\n"
        "it. Memory does not grow with the model. OUT appears when it is complete; an interrupted run leaves\n"
        "`OUT.*.partial`, and the same command goes on where it stopped.",
    .example = "pantry quantize model-f16.gguf model-q4.gguf Q4_K_M\n"
               "pantry quantize model-f16.gguf small.gguf IQ2_M --imatrix model.imatrix\n"
               "pantry quantize model-f16.gguf model.gguf Q4_K_M --target-bpw 4.5",
    .options = {PN_OPTIONS(NULL, table)},
    .run = run,
};
