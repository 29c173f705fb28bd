/* Filling in the middle: see fill.h. Fields and replies of /infill are those of llama.cpp's server. */
#include "server/api/fill.h"

#include "base/clock.h"
#include "base/status.h"
#include "server/api/lora.h"
#include "server/answer.h"
#include "server/api/sampling.h"

#include <stdio.h>
#include <string.h>

/* ---- tokens ---- */

struct middle {
    const char *prefix, *suffix, *middle;
};

static bool is_one_token(const pantry_tokenizer *tokenizer, const char *text)
{
    int32_t *ids = NULL;
    size_t n = 0;
    bool one = !pantry_tokenize(tokenizer, text, strlen(text), PANTRY_TOKENIZE_SPECIAL, &ids, &n, NULL) && n == 1;
    pantry_free(ids);
    return one;
}

/* The tokens that a model knows the parts of a text by; NULL: it has none. */
static const struct middle *find_middle(const pantry_tokenizer *tokenizer)
{
    static const struct middle known[] = {
        {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"},    /* Qwen2.5-Coder, CodeGemma */
        {"<fim_prefix>", "<fim_suffix>", "<fim_middle>"},          /* StarCoder, Granite */
        {"<fim-prefix>", "<fim-suffix>", "<fim-middle>"},          /* SantaCoder */
        {"<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"}, /* GLM-4 */
        {"<\xEF\xBD\x9C"
         "fim\xE2\x96\x81"
         "begin\xEF\xBD\x9C>",
         "<\xEF\xBD\x9C"
         "fim\xE2\x96\x81"
         "hole\xEF\xBD\x9C>",
         "<\xEF\xBD\x9C"
         "fim\xE2\x96\x81"
         "end\xEF\xBD\x9C>"}, /* DeepSeek-Coder */
    };
    for (size_t i = 0; tokenizer && i < sizeof known / sizeof *known; i++)
        if (is_one_token(tokenizer, known[i].prefix) && is_one_token(tokenizer, known[i].suffix) &&
            is_one_token(tokenizer, known[i].middle))
            return &known[i];
    return NULL;
}

pantry_status pn_fill_prompt(const struct pn_loaded *loaded, const char *name, const char *prefix, size_t n,
                             const char *suffix, struct pn_buf *out, struct pantry_error *err)
{
    const struct middle *m = find_middle(pantry_model_tokenizer(loaded->model));
    if (!m)
        return pn_fail(err, PANTRY_UNSUPPORTED, "%s: %s has no tokens to fill in the middle of a text", name,
                       loaded->name);
    pn_buf_puts(out, m->prefix);
    pn_buf_append(out, prefix, n);
    pn_buf_puts(out, m->suffix);
    pn_buf_puts(out, suffix);
    pn_buf_puts(out, m->middle);
    return out->failed ? pn_no_memory(err, "a prompt") : PANTRY_OK;
}

/* ---- /infill: the prompt ---- */

struct call {
    struct pn_server *server;
    struct pn_exchange *x;
    json_t *body;
    struct pn_loaded *loaded;
    struct pn_answer_options answer;
    struct pn_buf prompt, content;
    bool stream, streaming;
    struct pn_answer made;
    uint64_t began;
};

/* Other files, before the text: each after its name, where the model has tokens for that. */
static pantry_status add_extra(struct call *c, struct pantry_error *err)
{
    static const char repository[] = "<|repo_name|>", separator[] = "<|file_sep|>";
    static const char *const fields[] = {"filename", "text", NULL};
    const pantry_tokenizer *t = pantry_model_tokenizer(c->loaded->model);
    json_t *list = NULL, *extra;
    size_t i;
    pantry_status status = pn_json_array(c->body, "input_extra", &list, err);
    if (status || !json_array_size(list))
        return status;
    bool named = t && is_one_token(t, repository) && is_one_token(t, separator);
    if (named)
        pn_buf_printf(&c->prompt, "%smyproject\n", repository);
    json_array_foreach(list, i, extra)
    {
        const char *text = json_string_value(json_object_get(extra, "text")), *name = "tmp";
        char where[40];
        snprintf(where, sizeof where, "input_extra[%zu].", i);
        if (!text)
            return pn_fail(err, PANTRY_INVALID, "input_extra[%zu].text is required", i);
        if ((status = pn_json_known(extra, where, fields, err)) ||
            (status = pn_json_string(extra, "filename", &name, err)))
            return status;
        if (named)
            pn_buf_printf(&c->prompt, "%s%s\n", separator, name);
        pn_buf_puts(&c->prompt, text);
        pn_buf_putc(&c->prompt, '\n');
    }
    if (named)
        pn_buf_printf(&c->prompt, "%sfilename\n", separator);
    return PANTRY_OK;
}

static pantry_status read_prompt(struct call *c, struct pantry_error *err)
{
    const char *prefix = NULL, *suffix = NULL, *begun = "";
    pantry_status status = pn_json_string(c->body, "input_prefix", &prefix, err);
    if (!status)
        status = pn_json_string(c->body, "input_suffix", &suffix, err);
    if (!status)
        status = pn_json_string(c->body, "prompt", &begun, err);
    if (!status && !prefix)
        status = pn_fail(err, PANTRY_INVALID, "input_prefix is required");
    if (!status && !suffix)
        status = pn_fail(err, PANTRY_INVALID, "input_suffix is required");
    if (!status)
        status = add_extra(c, err);
    if (!status)
        status = pn_fill_prompt(c->loaded, "input_suffix", prefix, strlen(prefix), suffix, &c->prompt, err);
    if (status)
        return status;
    pn_buf_puts(&c->prompt, begun);
    c->answer.text = c->prompt.data;
    c->answer.len = c->prompt.len;
    return c->prompt.failed ? pn_no_memory(err, "a prompt") : PANTRY_OK;
}

/* ---- /infill: the reply ---- */

static bool write_progress(struct call *c, const struct pn_delta *d)
{
    json_t *progress = json_pack("{s:i, s:i, s:i, s:f}", "total", c->made.stats.n_prompt, "cache", d->n_cached,
                                 "processed", d->n_read, "time_ms", (double)(pn_clock_ns() - c->began) / 1e6);
    return pn_write_event(
        c->x, NULL,
        json_pack("{s:i, s:s, s:b, s:o}", "index", 0, "content", "", "stop", 0, "prompt_progress", progress));
}

static bool on_delta(void *user, const struct pn_delta *d)
{
    static const char ping[] = ": ping\n\n";
    struct call *c = user;
    if (!c->stream) {
        if (d->kind == PN_DELTA_CONTENT)
            pn_buf_append(&c->content, d->text, d->len);
        return !c->content.failed;
    }
    if (!c->streaming)
        pn_http_begin(c->x, 200, "text/event-stream");
    c->streaming = true;
    if (d->kind == PN_DELTA_PROGRESS)
        return write_progress(c, d);
    if (d->kind == PN_DELTA_WAIT)
        return pn_http_write(c->x, ping, sizeof ping - 1);
    return pn_write_event(
        c->x, NULL, json_pack("{s:i, s:o, s:b}", "index", 0, "content", pn_json_text(d->text, d->len), "stop", 0));
}

static double rate(int n, double seconds)
{
    return seconds > 0 ? n / seconds : 0;
}

static json_t *timings(const struct pantry_stats *s)
{
    int n_read = s->n_prompt - s->n_cached;
    return json_pack("{s:i, s:i, s:f, s:f, s:i, s:f, s:f}", "cache_n", s->n_cached, "prompt_n", n_read, "prompt_ms",
                     s->prefill_seconds * 1e3, "prompt_per_second", rate(n_read, s->prefill_seconds), "predicted_n",
                     s->n_generated, "predicted_ms", s->decode_seconds * 1e3, "predicted_per_second",
                     rate(s->n_generated, s->decode_seconds));
}

static void finish(struct call *c, const struct pn_answer *a)
{
    const struct pantry_stats *s = &a->stats;
    const char *why = s->stop == PANTRY_STOP_LENGTH ? "limit"
                      : s->stop == PANTRY_STOP_TEXT ? "word"
                      : s->stop == PANTRY_STOP_END  ? "eos"
                                                    : "none";
    json_t *v = json_pack("{s:i, s:o, s:O, s:b, s:s, s:s, s:i, s:i, s:i, s:b, s:o, s:o}", "index", 0, "content",
                          pn_json_text(c->content.data ? c->content.data : "", c->content.len), "model",
                          json_object_get(c->body, "model"), "stop", 1, "stop_type", why, "stopping_word",
                          a->stop ? a->stop : "", "tokens_predicted", s->n_generated, "tokens_evaluated", s->n_prompt,
                          "tokens_cached", s->n_cached, "truncated", 0, "prompt",
                          pn_json_text(c->prompt.data, c->prompt.len), "timings", timings(s));
    if (!c->stream) {
        pn_reply_json(c->x, 200, v);
        return;
    }
    if (!c->streaming)
        pn_http_begin(c->x, 200, "text/event-stream");
    pn_write_event(c->x, NULL, v);
}

/* ---- /infill ---- */

/* What only says how llama.cpp keeps prompts changes no answer. */
static pantry_status infill(struct call *c, struct pantry_error *err)
{
#define NAME(name) #name,
    static const char *const known[] = {"model",
                                        "input_prefix",
                                        "input_suffix",
                                        "input_extra",
                                        "prompt",
                                        "n_predict",
                                        "stream",
                                        "stop",
                                        "seed",
                                        "temperature",
                                        "top_p",
                                        "presence_penalty",
                                        "frequency_penalty",
                                        "return_progress",
                                        "cache_prompt",
                                        "id_slot",
                                        "n_keep",
                                        "lora",
                                        PN_SAMPLER_FIELDS(NAME) NULL};
#undef NAME
    const char *model = NULL;
    pantry_status status = pn_json_known(c->body, "", known, err);
    if (!status)
        status = pn_json_string(c->body, "model", &model, err);
    if (!status && !model)
        status = pn_fail(err, PANTRY_INVALID, "model is required");
    if (!status)
        status = pn_json_bool(c->body, "stream", &c->stream, err);
    if (!status)
        status = pn_lora_hold(c->server, model, c->body, &c->loaded, NULL, err);
    if (status)
        return status;
    c->answer = pn_answer_defaults(c->loaded);
    c->answer.delta = on_delta;
    c->answer.user = c;
    uint64_t random = c->answer.sampling.seed;
    if ((status = pn_read_sampling(c->body, "n_predict", &c->answer, err)) || (status = read_prompt(c, err)))
        return status;
    if (json_integer_value(json_object_get(c->body, "seed")) == -1)
        c->answer.sampling.seed = random;
    if ((status = pn_json_bool(c->body, "return_progress", &c->answer.progress, err)))
        return status;
    if (c->answer.progress && !c->stream)
        return pn_fail(err, PANTRY_INVALID, "return_progress: only allowed with stream");
    if ((status = pn_answer_make(c->loaded, &c->answer, c->x, &c->made, err)))
        return status;
    pn_server_count(c->server, &c->made.stats);
    finish(c, &c->made);
    return PANTRY_OK;
}

void pn_fill_infill(struct pn_server *s, struct pn_exchange *x, json_t *body, const char *tail)
{
    struct call c = {.server = s, .x = x, .body = body, .began = pn_clock_ns()};
    struct pantry_error err = {0};
    (void)tail;
    pantry_status status = infill(&c, &err);
    if (status && c.streaming)
        pn_write_event(x, NULL, pn_error_json(PN_ERRORS_OPENAI, pn_http_status_of(err.status), err.text));
    else if (status)
        pn_reply_error(x, PN_ERRORS_OPENAI, &err);
    if (c.loaded)
        pn_models_release(s->models, c.loaded, NULL);
    pn_buf_free(&c.prompt);
    pn_buf_free(&c.content);
}
