/* A conversation: see chat.h. */
#define _POSIX_C_SOURCE 200809L
#include "cli/chat.h"

#include "cli/repeat.h"
#include "cli/say.h"
#include "cli/terminal.h"
#include "cli/screen.h"

#include <stdlib.h>
#include <string.h>

enum { LONG_PROMPT = 256 }; /* tokens; longer prompts take long enough to show a note */

/* ---- life ---- */

/* A model with a session, and what it carries. */
struct opened {
    pantry_model *model;
    pantry_session *session;
    struct pn_carried carried;
    struct pn_cli_sampler sampler;
    struct pantry_session_options options;
    char *name, *system;
};

static void close_opened(struct opened *o)
{
    pantry_session_free(o->session);
    pantry_model_free(o->model);
    pn_carried_free(&o->carried);
    free(o->name);
    free(o->system);
}

static int open_model(const struct pn_chat *chat, const char *name, struct opened *o)
{
    struct pantry_error error = {0};
    *o = (struct opened){.sampler = chat->given, .options = chat->machine.session, .name = strdup(name)};
    o->options.n_context = chat->given_context;
    int status = o->name ? pn_cli_load_carried(name, &chat->machine, &o->model, &o->carried) : pn_cli_no_memory();
    if (status == PN_EXIT_DONE && !pantry_model_tokenizer(o->model)) {
        pn_cli_say_error("%s has no tokenizer, so it cannot chat", name);
        status = PN_EXIT_FAILED;
    }
    const char *system = chat->own_system ? chat->system : o->carried.system;
    if (status == PN_EXIT_DONE)
        status = pn_cli_sampler_settle(&o->sampler, &o->options.n_context, name, o->carried.params);
    if (status == PN_EXIT_DONE && pantry_session_new(o->model, &o->options, &o->session, &error) != PANTRY_OK)
        status = pn_cli_fail(&error);
    if (status == PN_EXIT_DONE && system && !(o->system = strdup(system)))
        status = pn_cli_no_memory();
    if (status != PN_EXIT_DONE)
        close_opened(o);
    return status;
}

static void take_opened(struct pn_chat *chat, const struct opened *o)
{
    chat->model = o->model;
    chat->session = o->session;
    chat->carried = o->carried;
    chat->sampler = o->sampler;
    chat->machine.session = o->options;
    chat->name = o->name;
    free(chat->system);
    chat->system = o->system;
}

int pn_chat_open(struct pn_chat *chat, const char *name)
{
    struct opened o;
    chat->given = chat->sampler;
    chat->given_context = chat->machine.session.n_context;
    chat->messages = json_array();
    if (!chat->messages)
        return pn_cli_no_memory();
    int status = open_model(chat, name, &o);
    if (status == PN_EXIT_DONE)
        take_opened(chat, &o);
    return status;
}

int pn_chat_switch(struct pn_chat *chat, const char *name)
{
    struct opened o;
    int status = open_model(chat, name, &o);
    if (status != PN_EXIT_DONE)
        return status;
    pantry_session_free(chat->session);
    pantry_model_free(chat->model);
    pn_carried_free(&chat->carried);
    free(chat->name);
    take_opened(chat, &o);
    json_array_clear(chat->messages);
    return status;
}

void pn_chat_close(struct pn_chat *chat)
{
    pantry_session_free(chat->session);
    pantry_model_free(chat->model);
    pn_carried_free(&chat->carried);
    json_decref(chat->messages);
    free(chat->system);
    free(chat->name);
    pn_arena_free(&chat->arena);
}

void pn_chat_clear(struct pn_chat *chat)
{
    json_array_clear(chat->messages);
    pantry_session_clear(chat->session);
}

int pn_chat_new_session(struct pn_chat *chat)
{
    struct pantry_error error = {0};
    pantry_session *session = NULL;
    if (pantry_session_new(chat->model, &chat->machine.session, &session, &error) != PANTRY_OK)
        return pn_cli_fail(&error);
    pantry_session_free(chat->session);
    chat->session = session;
    return PN_EXIT_DONE;
}

bool pn_chat_set_system(struct pn_chat *chat, const char *text)
{
    char *copy = *text ? strdup(text) : NULL;
    if (*text && !copy)
        return false;
    free(chat->system);
    chat->system = copy;
    chat->own_system = true;
    return true;
}

/* ---- one turn ---- */

static bool has_template(const struct pn_chat *chat)
{
    size_t len;
    return pantry_model_template(chat->model, &len) != NULL;
}

struct turn {
    struct pn_chat *chat;
    struct pn_screen screen;
    bool noted; /* "reading ..." is on the line */
    bool guarded;
    struct pn_repeat repeat;
};

static void erase_note(struct turn *turn)
{
    if (turn->noted)
        fputs("\r\033[K", stdout);
    turn->noted = false;
}

static bool on_token(void *user, const struct pantry_token *token)
{
    struct turn *turn = user;
    erase_note(turn);
    pn_screen_put(&turn->screen, token->text, token->len);
    bool repeats = turn->guarded && token->id >= 0 && pn_repeat_push(&turn->repeat, token->id, token->text, token->len);
    return !repeats && !ferror(stdout);
}

static json_t *context_of(const struct pn_chat *chat)
{
    struct pn_carried carried = {.system = chat->system, .messages = chat->carried.messages};
    json_t *messages = pn_carried_conversation(&carried, chat->messages);
    json_t *context = json_pack("{s:o, s:b}", "messages", messages, "add_generation_prompt", 1);
    if (context && chat->think != PN_THINK_UNSET)
        json_object_set_new(context, "enable_thinking", json_boolean(chat->think == PN_THINK_ON));
    return context;
}

/* True if the prompt ends inside the reasoning: the answer then begins inside it. */
static bool opens_thinking(const char *prompt, size_t len)
{
    static const char tag[] = "<think>";
    size_t n = strlen(tag);
    while (len && (prompt[len - 1] == '\n' || prompt[len - 1] == ' '))
        len--;
    return len >= n && memcmp(prompt + len - n, tag, n) == 0;
}

/* The ids of the conversation, or only of the last message if the model has no template. */
static int prompt_of(struct pn_chat *chat, const char *text, size_t len, int32_t **ids, size_t *n, bool *thinking)
{
    struct pantry_error error = {0};
    char *rendered = NULL;
    size_t model_len;
    int status = PN_EXIT_DONE;
    unsigned flags = PANTRY_TOKENIZE_BOS;
    if (pantry_model_template(chat->model, &model_len)) {
        json_t *context = context_of(chat);
        char *json = context ? json_dumps(context, 0) : NULL;
        if (!json)
            status = pn_cli_no_memory();
        else if (pantry_model_render(chat->model, json, &rendered, &len, &error) != PANTRY_OK)
            status = pn_cli_fail(&error);
        if (status != PN_EXIT_DONE && chat->system && error.status == PANTRY_RAISED)
            pn_cli_say_error("this model may not accept a system message; `/set system` without a text removes it");
        free(json);
        json_decref(context);
        text = rendered;
        flags = PANTRY_TOKENIZE_SPECIAL;
        *thinking = rendered && opens_thinking(rendered, len);
    }
    const pantry_tokenizer *tokenizer = pantry_model_tokenizer(chat->model);
    if (status == PN_EXIT_DONE && pantry_tokenize(tokenizer, text, len, flags, ids, n, &error) != PANTRY_OK)
        status = pn_cli_fail(&error);
    pantry_free(rendered);
    return status;
}

/* The answer joins the conversation, even if Ctrl-C cut it short. */
static void remember_answer(struct pn_chat *chat, const struct pn_screen *screen)
{
    const char *text = screen->answer.data ? screen->answer.data : "";
    size_t len = screen->answer.len;
    for (; screen->reasoning.len && len && *text == '\n'; text++)
        len--;
    json_t *message = json_pack("{s:s, s:o}", "role", "assistant", "content", pn_cli_json_text(text, len));
    if (message && screen->reasoning.len)
        json_object_set_new(message, "reasoning_content",
                            pn_cli_json_text(screen->reasoning.data, screen->reasoning.len));
    json_array_append_new(chat->messages, message);
}

static void explain_full(const struct pn_chat *chat, const struct pantry_error *error)
{
    struct pn_number a;
    pn_cli_fail(error);
    pn_cli_say_error(
        "the context holds %s tokens: /clear starts over, `--ctx N` or `/set parameter num_ctx N` makes it larger",
        pn_cli_grouped(&a, (unsigned)pantry_session_n_context(chat->session)));
}

static void put_stats(const struct pn_chat *chat, const struct pantry_stats *stats)
{
    if (chat->verbose)
        pn_cli_put_figures(stderr, stats, chat->machine.model.n_threads);
    else
        pn_cli_put_speed(stderr, stats, chat->machine.model.n_threads);
    bool full = pantry_session_n_past(chat->session) + 1 >= pantry_session_n_context(chat->session);
    if (full && stats->stop == PANTRY_STOP_LENGTH)
        fprintf(stderr, "%s%s%s\n", pn_term_style(stderr, PN_STYLE_DIM),
                "the context is full, so the answer ends here: /clear starts over, `--ctx N` makes it larger",
                pn_term_style(stderr, PN_STYLE_OFF));
    else
        pn_cli_put_cut(stderr, stats, &chat->sampler, has_template(chat));
}

static int answer(struct pn_chat *chat, const int32_t *ids, size_t n, bool thinking)
{
    struct turn turn = {.chat = chat, .guarded = pn_cli_stops_repeating(&chat->sampler)};
    struct pn_cli_sampler sampler = chat->sampler;
    struct pantry_stats stats = {.size = sizeof stats};
    struct pantry_error error = {0};
    pn_cli_sampler_draw_seed(&sampler);
    struct pantry_generate_options options = pn_cli_sampler_options(&sampler, has_template(chat));
    options.callback = on_token;
    options.user = &turn;
    options.cancel = pn_term_interrupt();
    pn_term_take_interrupt();

    size_t held = (size_t)pantry_session_n_past(chat->session);
    if (n > held + LONG_PROMPT && pn_term_moves(stdout)) {
        struct pn_number a;
        printf("%sreading %s tokens...%s", pn_term_style(stdout, PN_STYLE_DIM), pn_cli_grouped(&a, n - held),
               pn_term_style(stdout, PN_STYLE_OFF));
        fflush(stdout);
        turn.noted = true;
    }
    pn_term_echo(false);
    pn_screen_start(&turn.screen, stdout, chat->wrap, thinking);
    pantry_status result = pantry_generate(chat->session, ids, n, &options, &stats, &error);
    erase_note(&turn);
    pn_screen_end(&turn.screen);
    pn_term_echo(true);
    if (stats.stop == PANTRY_STOP_CALLBACK && ferror(stdout))
        stats.stop = PANTRY_STOP_CANCELLED; /* the output is closed; the text does not repeat itself */
    if (result == PANTRY_CONTEXT_FULL)
        explain_full(chat, &error);
    else if (result != PANTRY_OK)
        pn_cli_fail(&error);
    else
        put_stats(chat, &stats);
    bool said = turn.screen.answer.len || turn.screen.reasoning.len;
    if (said)
        remember_answer(chat, &turn.screen);
    else /* otherwise a question without an answer would stay in the conversation */
        json_array_remove(chat->messages, json_array_size(chat->messages) - 1);
    pn_screen_free(&turn.screen);
    return result == PANTRY_OK ? PN_EXIT_DONE : PN_EXIT_FAILED;
}

int pn_chat_say(struct pn_chat *chat, const char *text, size_t len)
{
    int32_t *ids = NULL;
    size_t n = 0;
    bool thinking = false;
    if (json_array_append_new(chat->messages,
                              json_pack("{s:s, s:o}", "role", "user", "content", pn_cli_json_text(text, len))) != 0)
        return pn_cli_no_memory();
    int status = prompt_of(chat, text, len, &ids, &n, &thinking);
    if (status == PN_EXIT_DONE)
        status = answer(chat, ids, n, thinking);
    else
        json_array_remove(chat->messages, json_array_size(chat->messages) - 1);
    pantry_free(ids);
    return status;
}
