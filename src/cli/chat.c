/* A conversation: see chat.h. */
#define _POSIX_C_SOURCE 200809L
#include "cli/chat.h"

#include "cli/pictures.h"
#include "cli/repeat.h"
#include "cli/say.h"
#include "cli/screen.h"
#include "cli/terminal.h"

#include <stdlib.h>
#include <string.h>

enum { LONG_PROMPT = 256 }; /* tokens; longer prompts take long enough to show a note */

/* ---- life ---- */

/* The user's settings, and for the rest the model's. */
static int settle(struct pn_chat *chat)
{
    chat->sampler = chat->given;
    chat->machine.session.n_context = chat->given_context;
    return chat->backend->settle(chat->partner, &chat->sampler, &chat->machine.session.n_context);
}

int pn_chat_open(struct pn_chat *chat, const char *name)
{
    chat->given = chat->sampler;
    chat->given_context = chat->machine.session.n_context;
    chat->messages = json_array();
    chat->pictures = json_array();
    chat->name = strdup(name);
    if (!chat->messages || !chat->pictures || !chat->name)
        return pn_cli_no_memory();
    int status = chat->backend->open(name, &chat->machine, chat->client, chat->ahead, &chat->partner);
    return status == PN_EXIT_DONE ? settle(chat) : status;
}

int pn_chat_switch(struct pn_chat *chat, const char *name)
{
    struct pn_partner *partner = NULL;
    struct pn_machine machine = chat->machine;
    char *copy = strdup(name);
    machine.session.n_context = chat->given_context;
    int status = copy ? chat->backend->open(name, &machine, chat->client, chat->ahead, &partner) : pn_cli_no_memory();
    if (status != PN_EXIT_DONE) {
        free(copy);
        return status;
    }
    chat->backend->close(chat->partner);
    free(chat->name);
    chat->partner = partner;
    chat->name = copy;
    json_array_clear(chat->messages);
    return settle(chat);
}

void pn_chat_close(struct pn_chat *chat)
{
    if (chat->backend)
        chat->backend->close(chat->partner);
    json_decref(chat->messages);
    json_decref(chat->pictures);
    free(chat->system);
    free(chat->name);
    pn_arena_free(&chat->arena);
}

void pn_chat_clear(struct pn_chat *chat)
{
    json_array_clear(chat->messages);
    chat->backend->clear(chat->partner);
}

int pn_chat_new_session(struct pn_chat *chat)
{
    return chat->backend->resize(chat->partner, &chat->machine);
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

void pn_chat_facts(const struct pn_chat *chat, struct pn_facts *facts)
{
    chat->backend->facts(chat->partner, facts);
}

/* ---- one turn ---- */

struct turn {
    struct pn_chat *chat;
    struct pn_screen screen;
    bool begun; /* the screen is ready */
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

/* In a conversation the first Ctrl-C ends the reasoning, if there is any. */
static void soften_interrupt(const struct turn *turn)
{
    pn_term_soften_interrupt(turn->chat->talks && turn->screen.thinking);
}

static void on_begin(void *user, size_t n_new, bool thinking)
{
    struct turn *turn = user;
    if (n_new > LONG_PROMPT && pn_term_moves(stdout)) {
        struct pn_number a;
        printf("%sreading %s tokens...%s", pn_term_style(stdout, PN_STYLE_DIM), pn_cli_grouped(&a, n_new),
               pn_term_style(stdout, PN_STYLE_OFF));
        fflush(stdout);
        turn->noted = true;
    }
    pn_term_echo(false);
    pn_screen_start(&turn->screen, stdout, turn->chat->wrap, thinking);
    turn->begun = true;
    soften_interrupt(turn);
}

static bool on_piece(void *user, int32_t id, const char *text, size_t len)
{
    struct turn *turn = user;
    erase_note(turn);
    pn_screen_put(&turn->screen, text, len);
    soften_interrupt(turn);
    bool repeats = turn->guarded && id >= 0 && pn_repeat_push(&turn->repeat, id, text, len);
    return !repeats && !ferror(stdout);
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

static void explain_full(const struct pn_answer *answer)
{
    struct pn_number a;
    const char *what = answer->n_context ? "the context holds " : "the conversation is longer than the context";
    pn_cli_say_error("%s%s%s: /clear starts over, `--ctx N` or `/set parameter num_ctx N` makes it larger", what,
                     answer->n_context ? pn_cli_grouped(&a, (unsigned)answer->n_context) : "",
                     answer->n_context ? " tokens" : "");
}

static void put_stats(const struct pn_chat *chat, const struct pn_answer *answer)
{
    const struct pantry_stats *stats = &answer->stats;
    struct pn_facts facts;
    pn_chat_facts(chat, &facts);
    if (chat->verbose)
        pn_cli_put_figures(stderr, stats, answer->n_threads);
    else
        pn_cli_put_speed(stderr, stats, answer->n_threads);
    if (answer->filled && stats->stop == PANTRY_STOP_LENGTH)
        fprintf(stderr, "%s%s%s\n", pn_term_style(stderr, PN_STYLE_DIM),
                "the context is full, so the answer ends here: /clear starts over, `--ctx N` makes it larger",
                pn_term_style(stderr, PN_STYLE_OFF));
    else
        pn_cli_put_cut(stderr, stats, &chat->sampler, facts.chat_template != NULL);
}

static void end_turn(struct turn *turn)
{
    pn_term_soften_interrupt(false);
    if (!turn->begun)
        return;
    erase_note(turn);
    pn_screen_end(&turn->screen);
    pn_term_echo(true);
}

static json_t *whole_conversation(const struct pn_chat *chat)
{
    json_t *messages = json_array();
    if (chat->system)
        json_array_append_new(messages, json_pack("{s:s, s:s}", "role", "system", "content", chat->system));
    json_array_extend(messages, chat->messages);
    return messages;
}

static int answer(struct pn_chat *chat, const char *text, size_t len, size_t n_pictures)
{
    struct turn turn = {.chat = chat, .guarded = pn_cli_stops_repeating(&chat->sampler)};
    struct pn_cli_sampler sampler = chat->sampler;
    struct pn_answer answer;
    struct pn_question question = {.messages = whole_conversation(chat),
                                   .text = text,
                                   .len = len,
                                   .n_pictures = n_pictures,
                                   .has_system = chat->system != NULL,
                                   .no_system = chat->own_system && !chat->system,
                                   .think = chat->think,
                                   .sampler = &sampler,
                                   .n_context = chat->machine.session.n_context,
                                   .n_threads = chat->machine.model.n_threads,
                                   .begin = on_begin,
                                   .piece = on_piece,
                                   .user = &turn,
                                   .end_thinking = chat->talks ? pn_term_soft_interrupt() : NULL};
    pn_cli_sampler_draw_seed(&sampler);
    pn_term_take_interrupt();
    int status = chat->backend->answer(chat->partner, &question, &answer);
    json_decref(question.messages);
    end_turn(&turn);
    if (answer.stats.stop == PANTRY_STOP_CALLBACK && ferror(stdout))
        answer.stats.stop = PANTRY_STOP_CANCELLED; /* the output is closed; the text does not repeat itself */
    if (answer.is_too_long)
        explain_full(&answer);
    if (status == PN_EXIT_DONE)
        put_stats(chat, &answer);
    bool said = turn.screen.answer.len || turn.screen.reasoning.len;
    if (said)
        remember_answer(chat, &turn.screen);
    else /* otherwise a question without an answer would stay in the conversation */
        json_array_remove(chat->messages, json_array_size(chat->messages) - 1);
    pn_screen_free(&turn.screen);
    return status;
}

/* ---- pictures ---- */

int pn_chat_show(struct pn_chat *chat, const char *file)
{
    json_t *part = NULL;
    int status = pn_picture_part(file, &part);
    if (status != PN_EXIT_DONE)
        return status;
    return json_array_append_new(chat->pictures, part) == 0 ? PN_EXIT_DONE : pn_cli_no_memory();
}

/* Adds the pictures that a text names; `rest` gets the text without them. */
static int show_named(struct pn_chat *chat, const char *text, size_t len, struct pn_buf *rest)
{
    struct pn_buf path = {0};
    int status = PN_EXIT_DONE;
    for (size_t at = 0; at < len && status == PN_EXIT_DONE;) {
        bool begins = at == 0 || strchr(" \t\r\n", text[at - 1]);
        size_t n = begins ? pn_picture_path(text + at, len - at, &path) : 0;
        if (n)
            status = pn_chat_show(chat, path.data);
        else
            pn_buf_putc(rest, text[at]);
        at += n ? n : 1;
    }
    pn_buf_free(&path);
    return status;
}

/* The message of the user: a text, or pictures and a text. Takes the pictures that wait. */
static json_t *message_of(struct pn_chat *chat, const char *text, size_t len)
{
    if (!json_array_size(chat->pictures))
        return json_pack("{s:s, s:o}", "role", "user", "content", pn_cli_json_text(text, len));
    json_t *parts = chat->pictures;
    chat->pictures = json_array();
    json_array_append_new(parts, json_pack("{s:s, s:o}", "type", "text", "text", pn_cli_json_text(text, len)));
    return json_pack("{s:s, s:o}", "role", "user", "content", parts);
}

int pn_chat_say(struct pn_chat *chat, const char *text, size_t len)
{
    struct pn_facts facts;
    struct pn_buf rest = {0};
    pn_chat_facts(chat, &facts);
    int status = facts.sees ? show_named(chat, text, len, &rest) : PN_EXIT_DONE;
    if (rest.data && json_array_size(chat->pictures)) {
        text = rest.data;
        len = rest.len;
    }
    size_t n = json_array_size(chat->pictures);
    if (status == PN_EXIT_DONE && rest.failed)
        status = pn_cli_no_memory();
    if (status == PN_EXIT_DONE && json_array_append_new(chat->messages, message_of(chat, text, len)) != 0)
        status = pn_cli_no_memory();
    if (status == PN_EXIT_DONE)
        status = answer(chat, text, len, n);
    json_array_clear(chat->pictures);
    pn_buf_free(&rest);
    return status;
}
