/* Anthropic's API: messages and their tokens. Fields, events and errors are those of its documentation. */
#include "server/api/anthropic.h"

#include "base/status.h"

#include <string.h>

struct call {
    pantry_grammar *grammar; /* of the answer, or NULL */
    struct pn_server *server;
    json_t *body;
    struct pn_anthropic_prompt prompt;
    struct pn_anthropic_reply reply;
    struct pn_loaded *loaded;
    struct pn_answer_options answer;
};

/* ---- fields ---- */

/* metadata names the caller, cache_control what to keep: pantry keeps all prompts, and sends nothing elsewhere. */
static const char *const message_fields[] = {"model",
                                             "messages",
                                             "max_tokens",
                                             "system",
                                             "temperature",
                                             "stop_sequences",
                                             "top_p",
                                             "top_k",
                                             "tools",
                                             "tool_choice",
                                             "thinking",
                                             "output_config",
                                             "metadata",
                                             "cache_control",
                                             "stream",
                                             "service_tier",
                                             "thread",
                                             "speed",
                                             "context_management",
                                             NULL};
static const char *const count_fields[] = {"model",    "messages",      "system",        "tools", "tool_choice",
                                           "thinking", "output_config", "cache_control", "speed", "context_management",
                                           NULL};

/* A field with one of some texts. */
static pantry_status check_choice(const json_t *body, const char *name, const char *a, const char *b,
                                  struct pantry_error *err)
{
    const char *given = NULL;
    pantry_status status = pn_json_string(body, name, &given, err);
    if (!status && given && strcmp(given, a) != 0 && strcmp(given, b) != 0)
        status = pn_fail(err, PANTRY_UNSUPPORTED, "%s: \"%.60s\" is not supported (allowed \"%s\")", name, given, a);
    return status;
}

/* Edits of the conversation: only the one that changes nothing. */
static pantry_status check_edits(const json_t *body, struct pantry_error *err)
{
    json_t *management = NULL, *edits = NULL, *edit;
    size_t i;
    pantry_status status = pn_json_object(body, "context_management", &management, err);
    if (!status && management)
        status = pn_json_array(management, "edits", &edits, err);
    json_array_foreach(edits, i, edit)
    {
        const char *type = json_string_value(json_object_get(edit, "type"));
        const char *keep = json_string_value(json_object_get(edit, "keep"));
        if (!type || strcmp(type, "clear_thinking_20251015") != 0 || !keep || strcmp(keep, "all") != 0)
            return pn_fail(err, PANTRY_UNSUPPORTED, "context_management.edits.%zu: not supported", i);
    }
    return status;
}

/* The code tells Anthropic's clients to send whole conversations instead. */
static pantry_status refuse_thread(struct call *c, struct pantry_error *err)
{
    const json_t *thread = json_object_get(c->body, "thread");
    if (!thread || json_is_null(thread))
        return PANTRY_OK;
    c->reply.error_code = "thread_unsupported_request";
    return pn_fail(err, PANTRY_UNSUPPORTED, "thread: not supported; send the whole conversation");
}

static pantry_status read_stops(const json_t *body, struct pn_answer_options *o, struct pantry_error *err)
{
    json_t *list = NULL;
    pantry_status status = pn_json_array(body, "stop_sequences", &list, err);
    if (!status)
        status = pn_json_strings(body, "stop_sequences", PN_MAX_STOPS, o->stop, &o->n_stop, err);
    for (size_t i = 0; i < o->n_stop && !status; i++)
        if (strspn(o->stop[i], " \t\r\n") == strlen(o->stop[i]))
            status =
                pn_fail(err, PANTRY_INVALID, "stop_sequences.%zu: a text with more than white space is required", i);
    return status;
}

static pantry_status read_options(const json_t *body, struct pn_answer_options *o, struct pantry_error *err)
{
    int most = -1;
    pantry_status status = pn_json_int(body, "max_tokens", 0, 1 << 24, &most, err);
    if (!status && most < 0)
        status = pn_fail(err, PANTRY_INVALID, "max_tokens: Field required");
    if (!status)
        status = pn_json_float(body, "temperature", 0, 1, &o->sampling.temperature, err);
    if (!status)
        status = pn_json_float(body, "top_p", 0, 1, &o->sampling.top_p, err);
    if (!status)
        status = pn_json_int(body, "top_k", 0, 1 << 24, &o->sampling.top_k, err);
    if (!status)
        status = read_stops(body, o, err);
    pn_sampling_settle(&o->sampling);
    o->max_tokens = most > 0 ? most : 1;
    return status;
}

/* ---- calls ---- */

/* What needs no model, so that none is loaded for a request that is wrong. */
static pantry_status check_fields(struct call *c, bool counts, struct pantry_error *err)
{
    json_t *metadata = NULL;
    struct pn_answer_options scratch = {.sampling = pantry_sampling_default()};
    pantry_status status = pn_json_known(c->body, "", counts ? count_fields : message_fields, err);
    if (!status && !counts)
        status = refuse_thread(c, err);
    if (!status)
        status = pn_json_string(c->body, "model", &c->reply.model, err);
    if (!status && !c->reply.model)
        status = pn_fail(err, PANTRY_INVALID, "model: Field required");
    if (!status && !counts)
        status = read_options(c->body, &scratch, err);
    if (!status)
        status = pn_json_object(c->body, "metadata", &metadata, err);
    if (!status)
        status = check_choice(c->body, "service_tier", "auto", "standard_only", err);
    if (!status)
        status = check_choice(c->body, "speed", "standard", "standard", err);
    if (!status)
        status = check_edits(c->body, err);
    if (!status)
        status = pn_json_bool(c->body, "stream", &c->reply.stream, err);
    return status ? status : pn_anthropic_read_prompt(c->body, &c->prompt, err);
}

/* What the model's template must know for the request to be honoured. */
static pantry_status check_template(const struct call *c, struct pantry_error *err)
{
    size_t n;
    const char *template = pantry_model_template(c->loaded->model, &n);
    if (!template)
        return pn_fail(err, PANTRY_UNSUPPORTED, "model: %.200s has no chat template, so it takes no messages",
                       c->loaded->name);
    if (json_object_get(c->prompt.context, "tools") && !pn_answer_takes_tools(template))
        return pn_fail(err, PANTRY_UNSUPPORTED, "tools: %.200s does not support tools", c->loaded->name);
    if (json_object_get(c->prompt.context, "reasoning_effort") && !pn_answer_takes_levels(template))
        return pn_fail(err, PANTRY_UNSUPPORTED, "output_config.effort: %.200s does not support the effort parameter",
                       c->loaded->name);
    return PANTRY_OK;
}

static pantry_status prepare(struct call *c, bool counts, struct pantry_error *err)
{
    pantry_status status = check_fields(c, counts, err);
    if (!status)
        status = pn_models_hold(c->server->models, c->reply.model, &c->loaded, NULL, err);
    if (!status)
        status = check_template(c, err);
    if (status)
        return status;
    c->answer = pn_answer_defaults(c->loaded);
    c->answer.context = c->prompt.context;
    c->answer.continues = c->prompt.continues;
    c->answer.think_budget = c->prompt.think_budget;
    c->answer.delta = pn_anthropic_delta;
    c->answer.user = &c->reply;
    c->answer.id = c->reply.id;
    return counts ? PANTRY_OK : read_options(c->body, &c->answer, err);
}

/* What the answer has to be. */
static pantry_status guide(struct call *c, struct pantry_error *err)
{
    const struct pn_anthropic_prompt *p = &c->prompt;
    const json_t *tools = json_object_get(p->context, "tools");
    pantry_status status =
        p->schema ? pn_guide_schema(p->schema, "output_config.format.schema", &c->grammar, err) : PANTRY_OK;
    if (!status)
        status = pn_guide_answer(c->loaded, tools, &p->rules, &c->grammar, err);
    c->answer.grammar = c->grammar;
    if (p->rules.required)
        c->answer.tool_choice = PANTRY_TOOL_REQUIRED;
    return status;
}

static pantry_status answer(struct call *c, struct pantry_error *err)
{
    c->reply.one_call = c->prompt.rules.one;
    c->reply.omits = c->prompt.omits;
    c->reply.silent = json_number_value(json_object_get(c->body, "max_tokens")) == 0;
    pantry_status status = pn_answer_make(c->loaded, &c->answer, c->reply.x, &c->reply.answer, err);
    if (status)
        return status;
    pn_server_count(c->server, &c->reply.answer.stats);
    pn_anthropic_finish(&c->reply, &c->answer);
    return PANTRY_OK;
}

static pantry_status count(struct call *c, struct pantry_error *err)
{
    int32_t *ids;
    size_t n;
    pantry_status status = pn_answer_tokens(c->loaded, &c->answer, c->reply.x, &ids, &n, err);
    if (status)
        return status;
    pantry_free(ids);
    pn_reply_json(c->reply.x, 200, json_pack("{s:I}", "input_tokens", (json_int_t)n));
    return PANTRY_OK;
}

static void run(struct pn_server *s, struct pn_exchange *x, json_t *body, bool counts)
{
    struct call c = {.server = s, .body = body};
    struct pantry_error err;
    pn_anthropic_reply_init(&c.reply, x);
    pantry_status status = prepare(&c, counts, &err);
    if (!status)
        status = guide(&c, &err);
    if (!status)
        status = counts ? count(&c, &err) : answer(&c, &err);
    if (status)
        pn_anthropic_fail(&c.reply, &err);
    if (c.loaded)
        pn_models_release(s->models, c.loaded, NULL);
    pantry_grammar_free(c.grammar);
    json_decref(c.prompt.rules.strict);
    json_decref(c.prompt.context);
    pn_anthropic_reply_free(&c.reply);
}

void pn_anthropic_messages(struct pn_server *s, struct pn_exchange *x, json_t *body, const char *tail)
{
    (void)tail;
    run(s, x, body, false);
}

void pn_anthropic_count(struct pn_server *s, struct pn_exchange *x, json_t *body, const char *tail)
{
    (void)tail;
    run(s, x, body, true);
}
