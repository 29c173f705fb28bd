/* Answers made in this process: see backend.h. The session keeps the tokens that it read and made, so that each turn
 * reads only what is new. */
#define _POSIX_C_SOURCE 200809L
#include "cli/backend.h"

#include "cli/commands.h"
#include "cli/say.h"
#include "cli/terminal.h"

#include <stdlib.h>
#include <string.h>

struct pn_partner {
    char *name;
    pantry_model *model;
    pantry_session *session;
    struct pantry_model_info info;
    struct pn_carried carried;
    char *license; /* carried; NULL: what the file says */
    uint64_t bytes;
};

/* ---- life ---- */

static void local_close(struct pn_partner *partner)
{
    if (!partner)
        return;
    pantry_session_free(partner->session);
    pantry_model_free(partner->model);
    pn_carried_free(&partner->carried);
    free(partner->license);
    free(partner->name);
    free(partner);
}

static int local_settle(const struct pn_partner *partner, struct pn_cli_sampler *sampler, int *n_context)
{
    return pn_cli_sampler_settle(sampler, n_context, partner->name, partner->carried.params);
}

/* With the context that the user asked for, else the one that the model carries. */
static int open_session(struct pn_partner *partner, const struct pn_machine *machine)
{
    struct pantry_error error = {0};
    struct pantry_session_options options = machine->session;
    struct pn_cli_sampler scratch = pn_cli_sampler_default();
    pantry_session *session = NULL;
    int status = local_settle(partner, &scratch, &options.n_context);
    if (status != PN_EXIT_DONE)
        return status;
    if (pantry_session_new(partner->model, &options, &session, &error) != PANTRY_OK)
        return pn_cli_fail(&error);
    pantry_session_free(partner->session);
    partner->session = session;
    return PN_EXIT_DONE;
}

static int local_open(const char *name, const struct pn_machine *machine, const struct pn_client *client, bool ahead,
                      struct pn_partner **out)
{
    (void)client, (void)ahead;
    struct pn_partner *partner = calloc(1, sizeof *partner);
    *out = NULL;
    if (!partner || !(partner->name = strdup(name))) {
        local_close(partner);
        return pn_cli_no_memory();
    }
    int status = pn_cli_load_carried(name, machine, &partner->model, &partner->carried);
    if (status == PN_EXIT_DONE && !pantry_model_tokenizer(partner->model)) {
        pn_cli_say_error("%s has no tokenizer, so it cannot chat", name);
        status = PN_EXIT_FAILED;
    }
    if (status == PN_EXIT_DONE)
        status = open_session(partner, machine);
    if (status != PN_EXIT_DONE) {
        local_close(partner);
        return status;
    }
    partner->info.size = sizeof partner->info;
    pantry_model_info(partner->model, &partner->info, NULL);
    partner->license = pn_carried_license(&partner->carried);
    uint64_t bytes = pn_cli_model_bytes(name);
    partner->bytes = bytes ? bytes : partner->info.size_bytes;
    *out = partner;
    return status;
}

static void local_facts(const struct pn_partner *partner, struct pn_facts *facts)
{
    size_t len;
    *facts = (struct pn_facts){.chat_template = pantry_model_template(partner->model, &len),
                               .license = partner->license ? partner->license : partner->info.license,
                               .system = partner->carried.system,
                               .place = partner->info.device,
                               .n_params = partner->info.n_params,
                               .sees = partner->info.sees,
                               .bytes = partner->bytes};
}

static int local_show(const struct pn_partner *partner)
{
    return pn_cli_show_model(partner->name);
}

static void local_clear(struct pn_partner *partner)
{
    pantry_session_clear(partner->session);
}

static int local_resize(struct pn_partner *partner, const struct pn_machine *machine)
{
    return open_session(partner, machine);
}

/* ---- answers ---- */

/* True if the prompt ends inside the reasoning: the answer then begins inside it. */
static bool opens_thinking(const char *prompt, size_t len)
{
    static const char tag[] = "<think>";
    size_t n = strlen(tag);
    while (len && (prompt[len - 1] == '\n' || prompt[len - 1] == ' '))
        len--;
    return len >= n && memcmp(prompt + len - n, tag, n) == 0;
}

/* Says what the last message's pictures cost. */
static void put_cost(const struct pn_question *q, const pantry_prompt *prompt)
{
    struct pn_number a;
    int width, height, n;
    size_t all = 0;
    while (pantry_prompt_picture(prompt, all, NULL, NULL))
        all++;
    for (size_t i = all - q->n_pictures; i < all; i++) {
        n = pantry_prompt_picture(prompt, i, &width, &height);
        fprintf(stderr, "%spicture of %d x %d pixels: %s tokens%s\n", pn_term_style(stderr, PN_STYLE_DIM), width,
                height, pn_cli_grouped(&a, (unsigned)n), pn_term_style(stderr, PN_STYLE_OFF));
    }
}

/* Renders the conversation; of a model that sees (`prompt` is not NULL), with its pictures. */
static int render(struct pn_partner *partner, const struct pn_question *q, pantry_prompt **prompt, char **text,
                  size_t *len)
{
    struct pantry_error error = {0};
    struct pn_carried carried = {.system = q->no_system ? NULL : partner->carried.system,
                                 .messages = partner->carried.messages};
    json_t *context =
        json_pack("{s:o, s:b}", "messages", pn_carried_conversation(&carried, q->messages), "add_generation_prompt", 1);
    if (context && q->think != PN_THINK_UNSET)
        json_object_set_new(context, "enable_thinking", json_boolean(q->think == PN_THINK_ON));
    char *json = context ? json_dumps(context, 0) : NULL;
    int status = PN_EXIT_DONE;
    if (!json)
        status = pn_cli_no_memory();
    else if ((prompt ? pantry_prompt_chat(partner->model, json, prompt, text, len, &error)
                     : pantry_model_render(partner->model, json, text, len, &error)) != PANTRY_OK)
        status = pn_cli_fail(&error);
    if (status != PN_EXIT_DONE && q->has_system && error.status == PANTRY_RAISED)
        pn_cli_say_error("this model may not accept a system message; `/set system` without a text removes it");
    free(json);
    json_decref(context);
    return status;
}

/* The ids of the conversation, or only of the last message if the model has no template. */
static int prompt_of(struct pn_partner *partner, const struct pn_question *q, pantry_prompt **prompt, int32_t **ids,
                     size_t *n, bool *thinking)
{
    struct pantry_error error = {0};
    const char *text = q->text;
    char *rendered = NULL;
    size_t len = q->len;
    int status = PN_EXIT_DONE;
    unsigned flags = PANTRY_TOKENIZE_BOS;
    *thinking = false;
    if (pantry_model_template(partner->model, &len)) {
        bool sees = partner->info.sees || q->n_pictures;
        status = render(partner, q, sees ? prompt : NULL, &rendered, &len);
        text = rendered;
        flags = PANTRY_TOKENIZE_SPECIAL;
        *thinking = rendered && opens_thinking(rendered, len);
    } else {
        len = q->len;
    }
    const pantry_tokenizer *tokenizer = pantry_model_tokenizer(partner->model);
    if (*prompt)
        put_cost(q, *prompt);
    else if (status == PN_EXIT_DONE && pantry_tokenize(tokenizer, text, len, flags, ids, n, &error) != PANTRY_OK)
        status = pn_cli_fail(&error);
    pantry_free(rendered);
    return status;
}

static bool on_token(void *user, const struct pantry_token *token)
{
    const struct pn_question *q = user;
    return q->piece(q->user, token->id, token->text, token->len);
}

/* The form of an answer as this model's chat template has it. Caller frees *grammar. */
static int use_form(const struct pn_partner *partner, struct pantry_generate_options *options, pantry_grammar **grammar)
{
    struct pantry_error error = {0};
    size_t len;
    *grammar = NULL;
    if (!options->grammar || !pantry_model_template(partner->model, &len))
        return PN_EXIT_DONE;
    if (pantry_grammar_for_answer(partner->model, options->grammar, NULL, false, grammar, &error) != PANTRY_OK)
        return pn_cli_fail(&error);
    options->grammar = *grammar;
    return PN_EXIT_DONE;
}

static int local_answer(struct pn_partner *partner, const struct pn_question *q, struct pn_answer *answer)
{
    int32_t *ids = NULL;
    size_t n = 0, len;
    bool thinking;
    *answer = (struct pn_answer){.stats = {.size = sizeof answer->stats}, .n_threads = q->n_threads};
    pantry_prompt *prompt = NULL;
    int status = prompt_of(partner, q, &prompt, &ids, &n, &thinking);
    if (status != PN_EXIT_DONE)
        return status;
    const int32_t *all = prompt ? pantry_prompt_ids(prompt, &n) : ids;
    struct pantry_error error = {0};
    struct pantry_samplers more;
    struct pantry_generate_options options =
        pn_cli_sampler_options(q->sampler, pantry_model_template(partner->model, &len) != NULL, &more);
    options.callback = on_token;
    options.user = (void *)(uintptr_t)q;
    options.cancel = pn_term_interrupt();
    options.end_thinking = q->end_thinking;
    pantry_grammar *grammar;
    if ((status = use_form(partner, &options, &grammar)) != PN_EXIT_DONE) {
        pantry_free(ids);
        pantry_prompt_free(prompt);
        return status;
    }
    options.prompt = prompt;
    size_t held = (size_t)pantry_session_n_past(partner->session);
    q->begin(q->user, n > held ? n - held : 0, thinking);
    pantry_status result = pantry_generate(partner->session, all, n, &options, &answer->stats, &error);
    answer->n_context = pantry_session_n_context(partner->session);
    answer->filled = pantry_session_n_past(partner->session) + 1 >= answer->n_context;
    answer->is_too_long = result == PANTRY_CONTEXT_FULL;
    pantry_free(ids);
    pantry_grammar_free(grammar);
    pantry_prompt_free(prompt);
    return result == PANTRY_OK ? PN_EXIT_DONE : pn_cli_fail(&error);
}

const struct pn_backend pn_backend_local = {.open = local_open,
                                            .close = local_close,
                                            .facts = local_facts,
                                            .settle = local_settle,
                                            .show = local_show,
                                            .clear = local_clear,
                                            .resize = local_resize,
                                            .answer = local_answer};
