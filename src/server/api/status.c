/* The service about itself: whether it runs, and its counters for Prometheus. */
#include "server/api/status.h"

#include "base/alloc.h"
#include "server/embedded.h"

void pn_server_count(struct pn_server *s, const struct pantry_stats *stats)
{
    atomic_fetch_add(&s->n_prompt, (uint64_t)(stats->n_prompt - stats->n_cached));
    atomic_fetch_add(&s->n_cached, (uint64_t)stats->n_cached);
    atomic_fetch_add(&s->n_generated, (uint64_t)stats->n_generated);
}

void pn_status_root(struct pn_server *s, struct pn_exchange *x, json_t *body, const char *tail)
{
    static const char text[] = "pantry is running";
    (void)s, (void)body, (void)tail;
    pn_http_send(x, 200, "text/plain; charset=utf-8", text, sizeof text - 1);
}

void pn_status_health(struct pn_server *s, struct pn_exchange *x, json_t *body, const char *tail)
{
    (void)s, (void)body, (void)tail;
    pn_reply_json(x, 200, json_pack("{s:s}", "status", "ok"));
}

/* Written by hand, and compared with the service by tests/e2e/test_openapi.py. */
void pn_status_openapi(struct pn_server *s, struct pn_exchange *x, json_t *body, const char *tail)
{
    (void)s, (void)body, (void)tail;
    pn_http_send(x, 200, "application/json; charset=utf-8", (const char *)pn_embedded_openapi, pn_embedded_openapi_len);
}

/* A label's value in Prometheus' format. */
static void put_label(struct pn_buf *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '"' || *text == '\\' || *text == '\n')
            pn_buf_putc(out, '\\');
        pn_buf_putc(out, *text == '\n' ? 'n' : *text);
    }
}

/* Figures of each loaded model. */
struct figures {
    struct pn_buf *out;
    size_t which;
};
static const struct {
    const char *name, *help, *type;
} model_figures[] = {
    {"requests_running", "Requests that a model answers", "gauge"},
    {"requests_waiting", "Requests that wait for a model", "gauge"},
    {"generated_tokens_total", "Tokens of a model's answers since it was loaded, also of those that go on", "counter"},
    {"bytes", "Size of a model's file", "gauge"},
    {"context_tokens", "Most tokens of a request that asks for no number", "gauge"},
};
enum { N_MODEL_FIGURES = sizeof model_figures / sizeof *model_figures };

static void put_model(void *user, const struct pn_loaded_state *state)
{
    const struct figures *f = user;
    const struct pn_loaded *l = state->loaded;
    const uint64_t values[N_MODEL_FIGURES] = {(uint64_t)state->n_holders, (uint64_t)state->n_waiting,
                                              atomic_load(l->n_made), l->bytes, (uint64_t)l->n_context};
    pn_buf_printf(f->out, "pantry_model_%s{model=\"", model_figures[f->which].name);
    put_label(f->out, l->name);
    pn_buf_printf(f->out, "\"} %llu\n", (unsigned long long)values[f->which]);
}

static void put_models(struct pn_server *s, struct pn_buf *out)
{
    for (size_t i = 0; i < N_MODEL_FIGURES; i++) {
        pn_buf_printf(out, "# HELP pantry_model_%s %s.\n# TYPE pantry_model_%s %s\n", model_figures[i].name,
                      model_figures[i].help, model_figures[i].name, model_figures[i].type);
        pn_models_each(s->models, put_model, &(struct figures){out, i});
    }
}

void pn_status_metrics(struct pn_server *s, struct pn_exchange *x, json_t *body, const char *tail)
{
    struct pn_buf out = {0};
    struct pantry_cache_stats cache = {.size = sizeof cache};
    (void)body, (void)tail;
    pantry_cache_stats(&cache, NULL);
    const struct {
        const char *name, *help;
        uint64_t value;
    } counters[] = {
        {"requests", "Requests that were answered", atomic_load(&s->n_requests)},
        {"requests_failed", "Requests that were answered with an error", atomic_load(&s->n_failed)},
        {"prompt_tokens", "Tokens of prompts that were read", atomic_load(&s->n_prompt)},
        {"prompt_tokens_cached", "Tokens of prompts that were in memory or on disk", atomic_load(&s->n_cached)},
        {"generated_tokens", "Tokens of answers", atomic_load(&s->n_generated)},
        {"prefix_cache_lookups", "Prompts that were looked up on disk", cache.n_lookups},
        {"prefix_cache_hits", "Prompts whose beginning was on disk", cache.n_hits},
        {"prefix_cache_loaded_tokens", "Tokens of prompts that came from disk", cache.tokens_loaded},
        {"prefix_cache_loaded_bytes", "Bytes that were read for them", cache.bytes_loaded},
        {"prefix_cache_written_files", "Files that were written", cache.files_written},
        {"prefix_cache_written_bytes", "Bytes that were written", cache.bytes_written},
        {"prefix_cache_removed_files", "Files that were removed to stay within the limit", cache.files_removed},
        {"prefix_cache_rejected_files", "Files that were damaged, and removed", cache.files_rejected},
        {"prefix_cache_failures", "Files that could not be written", cache.n_failures},
    };
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++)
        pn_buf_printf(&out, "# HELP pantry_%s_total %s.\n# TYPE pantry_%s_total counter\npantry_%s_total %llu\n",
                      counters[i].name, counters[i].help, counters[i].name, counters[i].name,
                      (unsigned long long)counters[i].value);
    pn_buf_printf(&out,
                  "# HELP pantry_requests_running Requests that are being answered.\n"
                  "# TYPE pantry_requests_running gauge\npantry_requests_running %d\n"
                  "# HELP pantry_prefix_cache_pending Prompts and files that have to be written.\n"
                  "# TYPE pantry_prefix_cache_pending gauge\npantry_prefix_cache_pending %llu\n",
                  pn_http_n_running(s->http) - 1, (unsigned long long)cache.n_pending);
    put_models(s, &out);
    if (!out.failed)
        pn_http_send(x, 200, "text/plain; version=0.0.4; charset=utf-8", out.data, out.len);
    pn_buf_free(&out);
}
