/* pantry_convert: a model in another format. See convert.h for the parts. */
#include "engine/convert.h"

#include "engine/handle.h"

#include "base/os.h"
#include "model/hf/hf.h"

#include <string.h>

static const struct {
    const char *name;
    pantry_status (*run)(struct pn_convert *c, struct pantry_error *err);
} formats[] = {
    {"gguf", pn_convert_to_gguf},
    {"mlx", pn_convert_to_mlx},
    {"hf", pn_convert_to_hf},
};

static pantry_status run(struct pn_convert *c, struct pantry_error *err)
{
    const char *to = c->options.to;
    size_t n = strlen(c->out), i = 0, n_formats = sizeof formats / sizeof *formats;
    bool gguf = n > 5 && strcmp(c->out + n - 5, ".gguf") == 0;
    if (!to)
        to = gguf ? "gguf" : "mlx";
    while (i < n_formats && strcmp(formats[i].name, to) != 0)
        i++;
    if (i == n_formats)
        return pn_fail(err, PANTRY_INVALID, "to: \"%.40s\" is not a format (allowed: gguf, mlx, hf)", to);
    pantry_status status = pn_model_open(c->in, &c->w, err);
    for (size_t t = 0; !status && t < c->w->n_tensors; t++)
        c->result.bytes_in += c->w->tensors[t].bytes;
    if (status)
        return status;
    c->result.n_tensors = c->w->n_tensors;
    return formats[i].run(c, err);
}

pantry_status pantry_convert(const char *in, const char *out, const struct pantry_convert_options *options,
                             struct pantry_convert_result *result, struct pantry_error *error)
{
    struct pn_convert c = {
        .in = in, .out = out, .options = pantry_convert_options_default(), .result = {.size = sizeof c.result}};
    pantry_status status = pn_take_options(&c.options, options, "convert options", error);
    if (!status && result)
        status = pn_check_result(result, "convert result", error);
    if (status)
        return status;
    if (c.options.n_threads < 0 || c.options.n_threads > 1024)
        return pn_fail(error, PANTRY_INVALID, "n_threads: out of range (found %d, allowed 0..1024)",
                       c.options.n_threads);
    c.n_threads = c.options.n_threads ? c.options.n_threads : pn_os_physical_cores();
    status = pn_pool_new(c.n_threads, &c.pool, error);
    if (!status)
        status = run(&c, error);
    if (!status && result)
        pn_give_result(result, &c.result);
    pn_pool_free(c.pool);
    pn_weights_close(c.w);
    return status;
}
