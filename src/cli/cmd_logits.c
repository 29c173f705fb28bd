/* pantry logits: the logits of every position, for comparison with other implementations. */
#define _POSIX_C_SOURCE 200809L
#include "base/alloc.h"
#include "cli/commands.h"
#include "cli/ids.h"
#include "cli/model.h"
#include "cli/pictures.h"
#include "cli/say.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { IDS_LIMIT = 256 << 20, CHUNK = 1 << 20 };

struct chosen {
    const char *ids, *context, *out, *slices;
    struct pn_text_list images;
};

static const struct pn_option table[] = {
    PN_OPT_TEXT("ids", "FILE", offsetof(struct chosen, ids),
                "read token ids, separated by spaces or commas; -: standard input"),
    PN_OPT_TEXT("context", "FILE", offsetof(struct chosen, context),
                "instead of ids, what the model's chat template renders from the JSON object in FILE"),
    PN_OPT_LIST("image", "FILE", offsetof(struct chosen, images), "a picture of the context, in order",
                .more = "May be repeated."),
    PN_OPT_TEXT("out", "FILE", offsetof(struct chosen, out),
                "write the float32 values, (n_ids, n_vocab), in this machine's byte order", .letter = 'o'),
    PN_OPT_TEXT("slices", "N,N...", offsetof(struct chosen, slices),
                "process the ids in slices of these lengths, repeated in order"),
};

/* ---- the output: a mapped file, so that a large vocabulary needs disk instead of memory ---- */

struct output {
    const char *path;
    int file;
    float *data;
    size_t size;
    bool created; /* remove it when the work fails */
};

static int output_fail(const struct output *output)
{
    pn_cli_say_error("%s: %s", output->path, strerror(errno));
    return PN_EXIT_FAILED;
}

/* Writing zeros allocates the space now: a full disk is an error here, but a SIGBUS in a map with holes. */
static bool fill(int file, size_t size)
{
    char *zeros = calloc(1, CHUNK);
    bool ok = zeros;
    for (size_t done = 0; ok && done < size;) {
        ssize_t n = write(file, zeros, size - done < CHUNK ? size - done : CHUNK);
        ok = n > 0 || (n < 0 && errno == EINTR);
        done += n > 0 ? (size_t)n : 0;
    }
    free(zeros);
    return ok;
}

static int output_open(struct output *output, const char *path, size_t n, size_t n_vocab)
{
    struct stat st;
    *output = (struct output){.path = path, .file = -1};
    if (!pn_size_mul(n, n_vocab, &output->size) || !pn_size_mul(output->size, sizeof(float), &output->size))
        return pn_cli_no_memory();
    bool existed = stat(path, &st) == 0;
    output->file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0666);
    if (output->file < 0 || fstat(output->file, &st) != 0)
        return output_fail(output);
    if (!S_ISREG(st.st_mode)) {
        pn_cli_say_error("%s: not a regular file, which -o needs", path);
        return PN_EXIT_FAILED;
    }
    output->created = !existed;
    if (!fill(output->file, output->size))
        return output_fail(output);
    void *map = mmap(NULL, output->size, PROT_READ | PROT_WRITE, MAP_SHARED, output->file, 0);
    if (map == MAP_FAILED)
        return output_fail(output);
    output->data = map;
    return PN_EXIT_DONE;
}

static int output_close(struct output *output, int status)
{
    if (output->data && munmap(output->data, output->size) != 0 && status == PN_EXIT_DONE)
        status = output_fail(output);
    if (output->file >= 0 && close(output->file) != 0 && status == PN_EXIT_DONE)
        status = output_fail(output);
    if (status != PN_EXIT_DONE && output->created)
        unlink(output->path);
    return status;
}

/* ---- slices ---- */

/* Repeats "1,7,32" until `n` ids are covered; the last slice is cut to fit. */
static int make_slices(const char *text, size_t n, int **slices, size_t *n_slices)
{
    int32_t *lengths = NULL;
    size_t n_lengths;
    int status = pn_ids_parse("--slices", text, strlen(text), &lengths, &n_lengths);
    if (status != PN_EXIT_DONE)
        return status;
    for (size_t i = 0; i < n_lengths; i++)
        if (lengths[i] < 1)
            n_lengths = 0;
    if (!n_lengths) {
        pn_cli_say_error("--slices: wrong length (found \"%s\", allowed 1 or more)", text);
        status = PN_EXIT_USAGE;
    } else if (!(*slices = calloc(n, sizeof **slices))) {
        status = pn_cli_no_memory();
    }
    *n_slices = 0;
    for (size_t done = 0; status == PN_EXIT_DONE && done < n;) {
        size_t length = (size_t)lengths[*n_slices % n_lengths];
        if (length > n - done)
            length = n - done;
        (*slices)[(*n_slices)++] = (int)length;
        done += length;
    }
    free(lengths);
    return status;
}

/* ---- the command ---- */

/* The ids of a file, or those of a prompt. */
struct input {
    int32_t *own;
    pantry_prompt *prompt;
    const int32_t *ids;
    size_t n;
};

static pantry_status fill_output(pantry_session *session, const struct input *in, const int *slices, size_t n_slices,
                                 float *out, struct pantry_error *error)
{
    return in->prompt ? pantry_prompt_logits(session, in->prompt, slices, n_slices, out, error)
                      : pantry_logits(session, in->ids, in->n, slices, n_slices, out, error);
}

static int compute(const struct chosen *chosen, pantry_model *model, struct pn_machine *machine, const struct input *in)
{
    struct pantry_model_info info = {.size = sizeof info};
    struct pantry_error error = {0};
    pantry_session *session = NULL;
    struct output output = {.file = -1};
    int *slices = NULL;
    size_t n_slices = 0;
    int status = PN_EXIT_DONE;
    pantry_model_info(model, &info, NULL);
    if (!machine->session.n_context)
        machine->session.n_context = (int)in->n;
    if (chosen->slices)
        status = make_slices(chosen->slices, in->n, &slices, &n_slices);
    if (status == PN_EXIT_DONE && pantry_session_new(model, &machine->session, &session, &error) != PANTRY_OK)
        status = pn_cli_fail(&error);
    if (status == PN_EXIT_DONE)
        status = output_open(&output, chosen->out, in->n, (size_t)info.n_vocab);
    if (status == PN_EXIT_DONE && fill_output(session, in, slices, n_slices, output.data, &error) != PANTRY_OK)
        status = pn_cli_fail(&error);
    status = output_close(&output, status);
    pantry_session_free(session);
    free(slices);
    return status;
}

static int read_ids(const char *path, struct input *in)
{
    char *text = NULL;
    size_t len;
    int status = pn_cli_read_file(path, IDS_LIMIT, &text, &len);
    if (status == PN_EXIT_DONE)
        status = pn_ids_parse(path, text, len, &in->own, &in->n);
    if (status == PN_EXIT_DONE && (in->n == 0 || in->n > INT32_MAX)) {
        pn_cli_say_error("%s: %s", path, in->n ? "too many ids" : "no ids");
        status = PN_EXIT_FAILED;
    }
    in->ids = in->own;
    free(text);
    return status;
}

static int read_context(const struct chosen *chosen, pantry_model *model, struct input *in)
{
    int status = pn_cli_context_prompt(model, chosen->context, &chosen->images, &in->prompt);
    if (status == PN_EXIT_DONE)
        in->ids = pantry_prompt_ids(in->prompt, &in->n);
    return status;
}

static int run(const struct pn_command *command, int argc, char **argv)
{
    struct chosen chosen = {0};
    struct pn_machine machine = pn_machine_default();
    void *const targets[] = {&chosen, &machine, &machine};
    struct pn_arguments arguments;
    int status = pn_cli_parse(command, argc, argv, targets, &arguments);
    if (status != PN_CLI_GO_ON)
        return status;
    if (arguments.n != 1)
        return pn_cli_misuse(command, "logits needs one MODEL");
    if (!chosen.ids == !chosen.context || !chosen.out || (chosen.images.n && !chosen.context))
        return pn_cli_misuse(command, "logits needs --ids FILE or --context FILE [--image FILE], and -o OUT");

    struct input in = {0};
    pantry_model *model = NULL;
    status = chosen.ids ? read_ids(chosen.ids, &in) : PN_EXIT_DONE;
    if (status == PN_EXIT_DONE)
        status = pn_cli_load_model(arguments.text[0], &machine, &model);
    if (status == PN_EXIT_DONE && chosen.context)
        status = read_context(&chosen, model, &in);
    if (status == PN_EXIT_DONE)
        status = compute(&chosen, model, &machine, &in);
    pantry_prompt_free(in.prompt);
    pantry_model_free(model);
    free(in.own);
    return status;
}

const struct pn_command pn_cmd_logits = {
    .name = "logits",
    .usage = "MODEL (--ids FILE | --context FILE [--image FILE]) -o OUT [--slices N,N...] [--device cpu|ref]",
    .summary = "write the logits of every position to a file",
    .example = "echo 504 260 1055 | pantry logits smollm2:135m --ids - -o logits.f32",
    .options = {PN_OPTIONS(NULL, table), PN_OPTIONS("Machine", pn_device_options),
                PN_OPTIONS("Memory", pn_session_options)},
    .run = run,
};
