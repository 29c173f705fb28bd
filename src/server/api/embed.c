/* Embeddings: see embed.h. */
#include "server/api/embed.h"

#include "base/status.h"

#include <stdlib.h>

struct inputs {
    struct pantry_input *input;
    int32_t *ids; /* of all inputs that are ids, one after the other */
    size_t n, n_ids;
};

static bool is_ids(const json_t *v)
{
    return json_is_array(v) && json_array_size(v) && json_is_integer(json_array_get(v, 0));
}

static pantry_status add(struct inputs *in, const json_t *v, struct pantry_error *err)
{
    struct pantry_input *to = &in->input[in->n];
    const json_t *id;
    size_t i;
    if (json_is_string(v)) {
        *to = (struct pantry_input){.text = json_string_value(v), .len = json_string_length(v)};
    } else if (is_ids(v)) {
        *to = (struct pantry_input){.ids = in->ids + in->n_ids, .n_ids = json_array_size(v)};
        json_array_foreach((json_t *)(uintptr_t)v, i, id)
        {
            json_int_t number = json_integer_value(id);
            if (!json_is_integer(id) || number < 0 || number > INT32_MAX)
                return pn_fail(err, PANTRY_INVALID, "input: wrong token id");
            in->ids[in->n_ids++] = (int32_t)number;
        }
    } else {
        return pn_fail(err, PANTRY_INVALID, "input: wrong type (allowed a text, a list of texts, or token ids)");
    }
    in->n++;
    return PANTRY_OK;
}

static pantry_status read_inputs(const json_t *v, struct inputs *in, struct pantry_error *err)
{
    bool list = json_is_array(v) && !is_ids(v);
    size_t n = list ? json_array_size(v) : 1, n_ids = is_ids(v) ? json_array_size(v) : 0;
    for (size_t i = 0; list && i < n; i++)
        n_ids += is_ids(json_array_get(v, i)) ? json_array_size(json_array_get(v, i)) : 0;
    if (!v || !n)
        return pn_fail(err, PANTRY_INVALID, "input is required");
    in->input = calloc(n, sizeof *in->input);
    in->ids = calloc(n_ids + 1, sizeof *in->ids);
    if (!in->input || !in->ids)
        return pn_no_memory(err, "embeddings");
    pantry_status status = PANTRY_OK;
    for (size_t i = 0; i < n && !status; i++)
        status = add(in, list ? json_array_get(v, i) : v, err);
    return status;
}

pantry_status pn_embed_inputs(const struct pn_loaded *loaded, const json_t *input, const struct pn_embed_call *call,
                              struct pantry_embeddings *out, struct pantry_error *err)
{
    struct inputs in = {0};
    struct pantry_embed_options options = pantry_embed_options_default();
    options.dimensions = call->dimensions;
    options.truncate = call->truncate;
    options.normalize = !call->raw;
    *out = (struct pantry_embeddings){.size = sizeof *out};
    pantry_status status = read_inputs(input, &in, err);
    if (!status)
        status = pantry_embed(loaded->model, in.input, in.n, &options, out, err);
    free(in.input);
    free(in.ids);
    return status;
}

json_t *pn_embed_row(const struct pantry_embeddings *e, size_t row)
{
    json_t *v = json_array();
    for (int i = 0; i < e->n_dimensions; i++)
        json_array_append_new(v, json_real((double)e->rows[row * (size_t)e->n_dimensions + (size_t)i]));
    return v;
}

int pn_embed_n_tokens(const struct pantry_embeddings *e)
{
    int n = 0;
    for (size_t i = 0; i < e->n_rows; i++)
        n += e->n_tokens[i];
    return n;
}
