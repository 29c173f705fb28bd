/* OpenAI's API: embeddings. */
#include "server/api/openai.h"

#include "base/status.h"
#include "server/api/embed.h"

#include <string.h>

static const struct pn_openai_field embedding_fields[] = {
    {"model", PN_FIELD_READ, NULL},           {"input", PN_FIELD_READ, NULL},   {"dimensions", PN_FIELD_READ, NULL},
    {"encoding_format", PN_FIELD_READ, NULL}, {"user", PN_FIELD_IGNORED, NULL}, {0},
};

/* The values as base64 of float32, little-endian. */
static json_t *base64_row(const float *row, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    struct pn_buf out = {0};
    size_t n_bytes = n * 4;
    for (size_t at = 0; at < n_bytes; at += 3) {
        uint32_t three = 0;
        for (size_t i = at; i < at + 3; i++) {
            uint32_t bits = 0;
            if (i < n_bytes)
                memcpy(&bits, row + i / 4, 4);
            three = three << 8 | (bits >> i % 4 * 8 & 0xFF);
        }
        size_t left = n_bytes - at;
        pn_buf_putc(&out, digits[three >> 18]);
        pn_buf_putc(&out, digits[three >> 12 & 63]);
        pn_buf_putc(&out, left > 1 ? digits[three >> 6 & 63] : '=');
        pn_buf_putc(&out, left > 2 ? digits[three & 63] : '=');
    }
    json_t *v = out.failed || !out.data ? NULL : json_stringn(out.data, out.len);
    pn_buf_free(&out);
    return v;
}

static void reply(struct pn_exchange *x, const char *model, const struct pantry_embeddings *e, bool base64)
{
    json_t *data = json_array();
    int n = pn_embed_n_tokens(e);
    for (size_t i = 0; i < e->n_rows; i++) {
        const float *row = e->rows + i * (size_t)e->n_dimensions;
        json_t *values = base64 ? base64_row(row, (size_t)e->n_dimensions) : pn_embed_row(e, i);
        json_array_append_new(
            data, json_pack("{s:s, s:i, s:o}", "object", "embedding", "index", (int)i, "embedding", values));
    }
    pn_reply_json(x, 200,
                  json_pack("{s:s, s:o, s:s, s:{s:i, s:i}}", "object", "list", "data", data, "model", model, "usage",
                            "prompt_tokens", n, "total_tokens", n));
}

static pantry_status check_inputs(const json_t *input, struct pantry_error *err)
{
    enum { MAX_INPUTS = 2048 };
    if (!input || json_is_null(input))
        return pn_fail(err, PANTRY_INVALID, "input is required");
    if (json_is_string(input) && json_string_length(input) == 0)
        return pn_fail(err, PANTRY_INVALID, "input: an empty text has no embedding");
    if (json_is_array(input) && !json_is_integer(json_array_get(input, 0)) && json_array_size(input) > MAX_INPUTS)
        return pn_fail(err, PANTRY_INVALID, "input: too many (found %zu, allowed %d)", json_array_size(input),
                       MAX_INPUTS);
    return PANTRY_OK;
}

static pantry_status embed(struct pn_server *s, struct pn_exchange *x, json_t *body, struct pn_loaded **loaded,
                           struct pantry_error *err)
{
    const char *model = NULL, *format = "float";
    struct pn_embed_call call = {0};
    struct pantry_embeddings e;
    json_t *input = json_object_get(body, "input");
    pantry_status status = pn_openai_check(body, embedding_fields, "", err);
    if (!status)
        status = pn_json_string(body, "model", &model, err);
    if (!status && !model)
        status = pn_fail(err, PANTRY_INVALID, "model is required");
    if (!status)
        status = pn_json_string(body, "encoding_format", &format, err);
    bool base64 = strcmp(format, "base64") == 0;
    if (!status && !base64 && strcmp(format, "float") != 0)
        status =
            pn_fail(err, PANTRY_INVALID, "encoding_format: unknown (found \"%.40s\", allowed float, base64)", format);
    if (!status)
        status = pn_json_int(body, "dimensions", 1, 1 << 20, &call.dimensions, err);
    if (!status)
        status = check_inputs(input, err);
    if (!status)
        status = pn_models_hold(s->models, model, loaded, NULL, err);
    if (!status)
        status = pn_embed_inputs(*loaded, input, &call, &e, err);
    if (status)
        return status;
    reply(x, model, &e, base64);
    pn_server_count(s, &(struct pantry_stats){.n_prompt = pn_embed_n_tokens(&e)});
    pantry_embeddings_free(&e);
    return PANTRY_OK;
}

void pn_openai_embeddings(struct pn_server *s, struct pn_exchange *x, json_t *body, const char *tail)
{
    struct pn_loaded *loaded = NULL;
    struct pantry_error err = {0};
    (void)tail;
    if (embed(s, x, body, &loaded, &err))
        pn_openai_fail(x, &err, "input");
    if (loaded)
        pn_models_release(s->models, loaded, NULL);
}
