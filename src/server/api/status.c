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

void pn_status_metrics(struct pn_server *s, struct pn_exchange *x, json_t *body, const char *tail)
{
    struct pn_buf out = {0};
    (void)body, (void)tail;
    const struct {
        const char *name, *help;
        uint64_t value;
    } counters[] = {
        {"requests", "Requests that were answered", atomic_load(&s->n_requests)},
        {"requests_failed", "Requests that were answered with an error", atomic_load(&s->n_failed)},
        {"prompt_tokens", "Tokens of prompts that were read", atomic_load(&s->n_prompt)},
        {"prompt_tokens_cached", "Tokens of prompts that were in memory", atomic_load(&s->n_cached)},
        {"generated_tokens", "Tokens of answers", atomic_load(&s->n_generated)},
    };
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++)
        pn_buf_printf(&out, "# HELP pantry_%s_total %s.\n# TYPE pantry_%s_total counter\npantry_%s_total %llu\n",
                      counters[i].name, counters[i].help, counters[i].name, counters[i].name,
                      (unsigned long long)counters[i].value);
    pn_buf_printf(&out,
                  "# HELP pantry_requests_running Requests that are being answered.\n"
                  "# TYPE pantry_requests_running gauge\npantry_requests_running %d\n",
                  pn_http_n_running(s->http) - 1);
    if (!out.failed)
        pn_http_send(x, 200, "text/plain; version=0.0.4; charset=utf-8", out.data, out.len);
    pn_buf_free(&out);
}
