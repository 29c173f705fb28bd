/* Ollama's API: embeddings. */
#include "base/clock.h"
#include "base/status.h"
#include "server/api/embed.h"
#include "server/api/ollama.h"

struct call {
    struct pn_loaded *loaded;
    bool loaded_now, has_keep;
    struct pn_keep_alive keep;
    struct pantry_embeddings out;
};

/* No text, or none at all: a reply without a row. */
static bool is_empty(const json_t *input)
{
    return !input || json_is_null(input) || (json_is_string(input) && !json_string_length(input)) ||
           (json_is_array(input) && !json_array_size(input));
}

/* `known` are the fields of the call; the first is the input. */
static pantry_status embed(struct pn_server *s, const json_t *body, const char *const *known,
                           struct pn_embed_call *options, struct call *c, struct pantry_error *err)
{
    const json_t *input = json_object_get(body, known[0]);
    const char *model = NULL;
    json_t *fields = NULL;
    struct pn_answer_options read = {0};
    const json_t *keep = json_object_get(body, "keep_alive");
    c->out.size = sizeof c->out;
    pantry_status status = pn_json_string(body, "model", &model, err);
    if (!status && !model)
        status = pn_fail(err, PANTRY_INVALID, "model is required");
    if (!status && keep && !json_is_null(keep)) {
        status = pn_ollama_duration(keep, &c->keep, err);
        c->has_keep = true;
    }
    if (!status)
        status = pn_json_known(body, "", known, err);
    if (!status && !(status = pn_json_object(body, "options", &fields, err)) && fields)
        status = pn_ollama_options(fields, &read, err);
    options->max_tokens = read.n_context;
    if (!status)
        status = pn_models_hold(s->models, model, &c->loaded, &c->loaded_now, err);
    if (!status && !is_empty(input))
        status = pn_embed_inputs(c->loaded, input, options, &c->out, err);
    return status;
}

static void end(struct pn_server *s, struct call *c)
{
    pantry_embeddings_free(&c->out);
    if (c->loaded)
        pn_models_release(s->models, c->loaded, c->has_keep ? &c->keep : NULL);
}

void pn_ollama_embed(struct pn_server *s, struct pn_exchange *x, json_t *body, const char *tail)
{
    (void)tail;
    static const char *const known[] = {"input", "model", "truncate", "dimensions", "keep_alive", "options", NULL};
    struct pantry_error err;
    struct call c = {0};
    struct pn_embed_call options = {.truncate = true};
    uint64_t began = pn_clock_ns();
    pantry_status status = pn_json_bool(body, "truncate", &options.truncate, &err);
    if (!status)
        status = pn_json_int(body, "dimensions", 0, 1 << 20, &options.dimensions, &err);
    if (!status)
        status = embed(s, body, known, &options, &c, &err);
    if (status) {
        pn_reply_error(x, PN_ERRORS_OLLAMA, &err);
        end(s, &c);
        return;
    }
    json_t *rows = json_array();
    for (size_t i = 0; i < c.out.n_rows; i++)
        json_array_append_new(rows, pn_embed_row(&c.out, i));
    json_int_t load = (json_int_t)(c.loaded_now ? c.loaded->load_seconds * 1e9 : 0);
    pn_reply_json(x, 200,
                  json_pack("{s:O, s:o, s:I, s:I, s:i}", "model", json_object_get(body, "model"), "embeddings", rows,
                            "total_duration", (json_int_t)(pn_clock_ns() - began), "load_duration", load,
                            "prompt_eval_count", pn_embed_n_tokens(&c.out)));
    end(s, &c);
}

/* The older call: one text, not normalized. */
void pn_ollama_embeddings(struct pn_server *s, struct pn_exchange *x, json_t *body, const char *tail)
{
    (void)tail;
    static const char *const known[] = {"prompt", "model", "keep_alive", "options", NULL};
    struct pantry_error err;
    struct call c = {0};
    struct pn_embed_call options = {.truncate = true, .raw = true};
    const char *prompt;
    if (pn_json_string(body, "prompt", &prompt, &err) || embed(s, body, known, &options, &c, &err))
        pn_reply_error(x, PN_ERRORS_OLLAMA, &err);
    else
        pn_reply_json(x, 200, json_pack("{s:o}", "embedding", c.out.n_rows ? pn_embed_row(&c.out, 0) : json_array()));
    end(s, &c);
}
