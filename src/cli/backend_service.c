/* Answers made by a service, through Ollama's API: see backend.h and ask.h. */
#define _POSIX_C_SOURCE 200809L
#include "cli/backend.h"

#include "base/clock.h"
#include "base/random.h"
#include "base/status.h"
#include "cli/ask.h"
#include "cli/remote.h"
#include "cli/say.h"
#include "cli/terminal.h"
#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_THINKS = PN_THINK_OFF + 1 };

struct pn_partner {
    char *name;
    const struct pn_client *client;
    json_t *shown; /* what /api/show says */
    char place[PN_URL_MAX + 16];
    uint64_t bytes;
    bool can_think;
    /* Whether prompts end inside the reasoning, by enum pn_think, once it was asked. */
    bool asked[N_THINKS], opens[N_THINKS];
};

static const char *template_of(const struct pn_partner *partner)
{
    const char *text = json_string_value(json_object_get(partner->shown, "template"));
    return text && *text ? text : NULL;
}

/* ---- life ---- */

static void service_close(struct pn_partner *partner)
{
    if (!partner)
        return;
    json_decref(partner->shown);
    free(partner->name);
    free(partner);
}

static int look_at(struct pn_partner *partner)
{
    struct pantry_error err = {0};
    long http_status;
    pantry_status status =
        pn_client_ask(partner->client, "POST", "/api/show", json_pack("{s:s}", "model", partner->name), &partner->shown,
                      &http_status, &err);
    if (status == PANTRY_NOT_FOUND && pn_store_can_fetch(partner->name)) {
        const struct pn_remote_transfer pull = {.name = partner->name};
        int exit_status = pn_remote_transfer(partner->client, &pull);
        if (exit_status != PN_EXIT_DONE)
            return exit_status;
        status = pn_client_ask(partner->client, "POST", "/api/show", json_pack("{s:s}", "model", partner->name),
                               &partner->shown, &http_status, &err);
    }
    if (status == PANTRY_NOT_FOUND) {
        pn_cli_say_error("%s: not a model of the service at %s", partner->name, partner->client->url);
        pn_cli_put_where_models_are(partner->name);
        return PN_EXIT_FAILED;
    }
    return status ? pn_client_fail(partner->client, http_status, &err) : PN_EXIT_DONE;
}

static bool has_capability(const struct pn_partner *partner, const char *name)
{
    size_t i;
    json_t *v;
    json_array_foreach(json_object_get(partner->shown, "capabilities"), i, v)
    {
        if (json_is_string(v) && strcmp(json_string_value(v), name) == 0)
            return true;
    }
    return false;
}

/* Size and, from then on, no wait at the first message. */
static int load_ahead(struct pn_partner *partner)
{
    struct pantry_error err = {0};
    long http_status;
    json_t *reply, *row;
    size_t i;
    pantry_status status = pn_client_ask(partner->client, "POST", "/api/generate",
                                         json_pack("{s:s}", "model", partner->name), &reply, &http_status, &err);
    json_decref(reply);
    if (!status)
        status = pn_client_ask(partner->client, "GET", "/api/ps", NULL, &reply, &http_status, &err);
    if (status)
        return pn_client_fail(partner->client, http_status, &err);
    size_t n = strlen(partner->name);
    json_array_foreach(json_object_get(reply, "models"), i, row)
    {
        const char *name = json_string_value(json_object_get(row, "name"));
        if (name && strncmp(name, partner->name, n) == 0 && (!name[n] || strcmp(name + n, ":latest") == 0))
            partner->bytes = (uint64_t)json_integer_value(json_object_get(row, "size"));
    }
    json_decref(reply);
    return PN_EXIT_DONE;
}

static int service_open(const char *name, const struct pn_machine *machine, const struct pn_client *client, bool ahead,
                        struct pn_partner **out)
{
    (void)machine;
    struct pn_partner *partner = calloc(1, sizeof *partner);
    *out = NULL;
    if (!partner || !(partner->name = strdup(name))) {
        service_close(partner);
        return pn_cli_no_memory();
    }
    partner->client = client;
    snprintf(partner->place, sizeof partner->place, "service at %s", client->url);
    int status = look_at(partner);
    if (status == PN_EXIT_DONE && has_capability(partner, "embedding")) {
        pn_cli_say_error("%s makes embeddings, so it cannot chat", name);
        status = PN_EXIT_FAILED;
    }
    if (status == PN_EXIT_DONE && ahead)
        status = load_ahead(partner);
    if (status != PN_EXIT_DONE) {
        service_close(partner);
        return status;
    }
    partner->can_think = has_capability(partner, "thinking");
    *out = partner;
    return status;
}

static void service_facts(const struct pn_partner *partner, struct pn_facts *facts)
{
    const json_t *info = json_object_get(partner->shown, "model_info");
    *facts =
        (struct pn_facts){.chat_template = template_of(partner),
                          .license = json_string_value(json_object_get(info, "general.license")),
                          .place = partner->place,
                          .system = json_string_value(json_object_get(partner->shown, "system")),
                          .n_params = (uint64_t)json_number_value(json_object_get(info, "general.parameter_count")),
                          .bytes = partner->bytes,
                          .sees = has_capability(partner, "vision")};
    if (!facts->license)
        facts->license = json_string_value(json_object_get(partner->shown, "license"));
}

/* The service fills in the rest, for each request; but it has no limit of its own that ours would replace. */
static int service_settle(const struct pn_partner *partner, struct pn_cli_sampler *sampler, int *n_context)
{
    static const char limit[] = "num_predict ";
    const char *text = json_string_value(json_object_get(partner->shown, "parameters"));
    (void)n_context;
    for (; text && *text && sampler->max_tokens == PN_TOKENS_UNSET; text += strcspn(text, "\n"), text += *text == '\n')
        if (strncmp(text, limit, sizeof limit - 1) == 0)
            sampler->max_tokens = (int)strtol(text + sizeof limit - 1, NULL, 10);
    return PN_EXIT_DONE;
}

static void put_row(const char *name, const char *value)
{
    if (!value || !*value)
        return;
    printf("  %-18s ", name);
    pn_cli_put_untrusted(stdout, value, strlen(value));
    putchar('\n');
}

static int service_show(const struct pn_partner *partner)
{
    const json_t *details = json_object_get(partner->shown, "details");
    const json_t *info = json_object_get(partner->shown, "model_info");
    struct pn_number number;
    char key[128];
    struct pn_buf abilities = {0};
    size_t i;
    json_t *v;
    const char *family = json_string_value(json_object_get(details, "family"));
    snprintf(key, sizeof key, "%.100s.context_length", family ? family : "");
    put_row("name", json_string_value(json_object_get(info, "general.name")));
    put_row("architecture", family);
    put_row("parameters", json_string_value(json_object_get(details, "parameter_size")));
    put_row("quantization", json_string_value(json_object_get(details, "quantization_level")));
    json_int_t n_context = json_integer_value(json_object_get(info, key));
    if (n_context > 0)
        put_row("trained context", pn_cli_grouped(&number, (unsigned long long)n_context));
    json_array_foreach(json_object_get(partner->shown, "capabilities"), i, v)
        pn_buf_printf(&abilities, "%s%s", i ? ", " : "", json_string_value(v) ? json_string_value(v) : "");
    put_row("can", abilities.data);
    put_row("licence", json_string_value(json_object_get(info, "general.license")));
    put_row("at", partner->client->url);
    pn_buf_free(&abilities);
    return PN_EXIT_DONE;
}

static void service_clear(struct pn_partner *partner)
{
    (void)partner; /* each request has all messages */
}

static int service_resize(struct pn_partner *partner, const struct pn_machine *machine)
{
    (void)partner, (void)machine; /* each request has its length */
    return PN_EXIT_DONE;
}

/* ---- answers ---- */

/* True if the service's prompts end inside the reasoning; asked once for each setting. */
static bool opens_thinking(struct pn_partner *partner, const struct pn_question *q)
{
    static const char tag[] = "<think>";
    struct pantry_error err = {0};
    json_t *body = partner->can_think && !partner->asked[q->think]
                       ? pn_ask_body(q, partner->name, true, partner->can_think)
                       : NULL,
           *reply;
    long http_status;
    if (!body)
        return partner->opens[q->think];
    json_object_set_new(body, "_debug_render_only", json_true());
    pantry_status status = pn_client_ask(partner->client, "POST", "/api/chat", body, &reply, &http_status, &err);
    const char *text = json_string_value(json_object_get(json_object_get(reply, "_debug_info"), "rendered_template"));
    size_t n = text ? strlen(text) : 0;
    while (n && (text[n - 1] == '\n' || text[n - 1] == ' '))
        n--;
    partner->opens[q->think] = n >= sizeof tag - 1 && memcmp(text + n - (sizeof tag - 1), tag, sizeof tag - 1) == 0;
    partner->asked[q->think] = status == PANTRY_OK;
    json_decref(reply);
    return partner->opens[q->think];
}

static int failed(const struct pn_partner *partner, const struct pn_question *q, const struct pn_call *call,
                  const struct pantry_error *err, struct pn_answer *answer)
{
    pn_client_fail(partner->client, call->status, err);
    answer->is_too_long = err->status == PANTRY_INVALID && strstr(err->text, "too long for the context");
    answer->n_context = q->n_context;
    if (err->status == PANTRY_INVALID && q->has_system && call->status == 400 && !answer->is_too_long)
        pn_cli_say_error("this model may not accept a system message; `/set system` without a text removes it");
    return PN_EXIT_FAILED;
}

struct asking {
    struct pn_taking taking;
    const struct pn_client *client;
    char name[32]; /* of the call, by which another one reaches it */
    bool ended;    /* the service was told to end the reasoning */
};

/* A failure leaves the reasoning as it is: an older service does not know the route, or the answer has just ended. */
static void tell_to_end_thinking(struct asking *a)
{
    struct pantry_error err;
    json_t *reply;
    long http_status;
    a->ended = true;
    pn_client_ask(a->client, "POST", "/v1/chat/completions/control",
                  json_pack("{s:s, s:s}", "id", a->name, "action", "reasoning_end"), &reply, &http_status, &err);
    json_decref(reply);
}

static bool take_object(void *user, json_t *object)
{
    struct asking *a = user;
    const pantry_cancel *end = a->taking.question->end_thinking;
    if (!a->ended && end && pantry_cancel_is_set(end))
        tell_to_end_thinking(a);
    return pn_take_object(&a->taking, object);
}

static int service_answer(struct pn_partner *partner, const struct pn_question *q, struct pn_answer *answer)
{
    struct pantry_error err = {0};
    struct asking asking = {.client = partner->client};
    struct pn_taking *taking = &asking.taking;
    struct pn_rng rng = {pn_clock_ns()};
    bool chat = template_of(partner) != NULL;
    json_t *body = pn_ask_body(q, partner->name, chat, partner->can_think);
    snprintf(asking.name, sizeof asking.name, "chat-%016llx", (unsigned long long)pn_rng_u64(&rng));
    pn_take_start(taking, q, chat, body && opens_thinking(partner, q), answer);
    if (!body)
        return pn_cli_no_memory();
    struct pn_call call = {.method = "POST",
                           .path = chat ? "/api/chat" : "/api/generate",
                           .body = body,
                           .sink = take_object,
                           .user = &asking,
                           .name = asking.name,
                           .cancel = pn_term_interrupt()};
    q->begin(q->user, 0, taking->opened);
    pantry_status status = pn_client_call(partner->client, &call, &err);
    json_decref(body);
    if (partner->client->local)
        answer->n_threads = q->n_threads;
    else
        answer->stats.bytes_per_token = 0; /* nothing to compare it with: the bandwidth is another machine's */
    if (status == PANTRY_CANCELLED || taking->unwanted)
        pn_take_cut(taking, taking->unwanted ? PANTRY_STOP_CALLBACK : PANTRY_STOP_CANCELLED);
    else if (!status && !taking->done)
        status = pn_fail(&err, PANTRY_IO, "%s: the service ended the answer too early", partner->client->url);
    if (!status || status == PANTRY_CANCELLED)
        return PN_EXIT_DONE;
    return failed(partner, q, &call, &err, answer);
}

const struct pn_backend pn_backend_service = {.open = service_open,
                                              .close = service_close,
                                              .facts = service_facts,
                                              .settle = service_settle,
                                              .show = service_show,
                                              .clear = service_clear,
                                              .resize = service_resize,
                                              .answer = service_answer};
