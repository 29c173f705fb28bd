/* The commands of the chat: see slash.h. One table of them, one of the things that /set and /show know. */
#define _POSIX_C_SOURCE 200809L
#include "cli/slash.h"

#include "cli/commands.h"
#include "cli/say.h"
#include "cli/terminal.h"

#include <stdlib.h>
#include <string.h>

struct slash {
    struct pn_chat *chat;
    struct pn_editor *editor;
    bool leave;
};

struct entry {
    const char *name, *arguments, *help;
    void (*run)(struct slash *slash, const char *rest);
    const char *also; /* another name */
};

/* The next word, at most 31 characters of it; returns what follows it. */
static const char *take_word(const char *text, char word[32])
{
    size_t n = strcspn(text, " \t\n");
    snprintf(word, 32, "%.*s", (int)(n < 32 ? n : 31), text);
    text += n;
    return text + strspn(text, " \t\n");
}

/* ---- parameters ---- */

#define CHAT(field) offsetof(struct pn_chat, field)

static const struct pn_option parameters[] = {
    {0, "temperature", "T", "0: always the likeliest token", PN_OPTION_FLOAT, CHAT(sampler.sampling.temperature), 0,
     100, NULL},
    {0, "top_k", "K", "only the K likeliest tokens; 0: off", PN_OPTION_INT, CHAT(sampler.sampling.top_k), 0, 1 << 24,
     NULL},
    {0, "top_p", "P", "only the likeliest with probability P together", PN_OPTION_FLOAT, CHAT(sampler.sampling.top_p),
     0, 1, NULL},
    {0, "min_p", "P", "only those with P times the best's probability", PN_OPTION_FLOAT, CHAT(sampler.sampling.min_p),
     0, 1, NULL},
    {0, "repeat_penalty", "X", "makes recent tokens less likely; 1: off", PN_OPTION_FLOAT,
     CHAT(sampler.sampling.repeat_penalty), 0.01, 100, NULL},
    {0, "frequency_penalty", "X", "the same for each occurrence; 0: off", PN_OPTION_FLOAT,
     CHAT(sampler.sampling.frequency_penalty), -100, 100, NULL},
    {0, "presence_penalty", "X", "the same once; 0: off", PN_OPTION_FLOAT, CHAT(sampler.sampling.presence_penalty),
     -100, 100, NULL},
    {0, "repeat_last_n", "N", "how many tokens are recent; -1: all", PN_OPTION_INT,
     CHAT(sampler.sampling.penalty_last_n), -1, 1 << 24, NULL},
    {0, "seed", "N", "same seed, same answer", PN_OPTION_SEED, CHAT(sampler.sampling.seed), 0, 0, NULL},
    {0, "num_predict", "N", "most tokens of an answer; -1: no limit", PN_OPTION_INT, CHAT(sampler.max_tokens), -1,
     1 << 24, NULL},
    {0, "num_ctx", "N", "tokens of context; 0: the model's", PN_OPTION_INT, CHAT(machine.session.n_context), 0, 1 << 24,
     NULL},
    {0, "stop", "TEXT", "ends an answer; may be set several times", PN_OPTION_LIST, CHAT(sampler.stop), 0, 0, NULL},
};

enum { N_PARAMETERS = sizeof parameters / sizeof *parameters };

static const char *parameter_name(const void *names, size_t i)
{
    (void)names;
    return i < N_PARAMETERS ? parameters[i].name : NULL;
}

static bool store_parameter(struct pn_chat *chat, const struct pn_option *option, const char *value)
{
    void *to = (char *)chat + option->offset;
    struct pn_text_list *list = to;
    switch (option->kind) {
    case PN_OPTION_FLOAT:
        return pn_cli_parse_float(value, option->min, option->max, to);
    case PN_OPTION_INT:
        return pn_cli_parse_int(value, option->min, option->max, to);
    case PN_OPTION_SEED:
        return pn_cli_parse_u64(value, to);
    default:
        if (list->n == PN_LIST_MAX || !(list->item[list->n] = pn_arena_copy(&chat->arena, value, strlen(value))))
            return false;
        list->n++;
        return true;
    }
}

static void put_parameter(const struct pn_chat *chat, const struct pn_option *option)
{
    const void *at = (const char *)chat + option->offset;
    const struct pn_text_list *list = at;
    if (option->kind == PN_OPTION_LIST) {
        for (size_t i = 0; i < list->n; i++)
            printf("  %-18s %s\n", option->name, list->item[i]);
        return;
    }
    printf("  %-18s ", option->name);
    if (option->kind == PN_OPTION_FLOAT)
        printf("%g\n", (double)*(const float *)at);
    else if (option->offset == CHAT(sampler.max_tokens) && chat->sampler.max_tokens == PN_TOKENS_UNSET)
        printf("%d, or %d without a chat template\n", PN_TOKENS_CHAT, PN_TOKENS_BASE);
    else if (option->kind == PN_OPTION_INT)
        printf("%d\n", *(const int *)at);
    else if (*(const uint64_t *)at == UINT64_MAX)
        puts("another one for each answer");
    else
        printf("%llu\n", (unsigned long long)*(const uint64_t *)at);
}

static void set_parameter(struct slash *slash, const char *rest)
{
    char name[32];
    const char *value = take_word(rest, name);
    const struct pn_option *option = NULL;
    for (size_t i = 0; i < N_PARAMETERS; i++)
        if (strcmp(parameters[i].name, name) == 0)
            option = &parameters[i];
    if (!*name || (option && !*value)) {
        puts("/set parameter NAME VALUE, with these names:");
        for (size_t i = 0; i < N_PARAMETERS; i++)
            printf("  %-18s %-5s %s\n", parameters[i].name, parameters[i].value, parameters[i].help);
    } else if (!option) {
        const char *near = pn_cli_nearest(name, parameter_name, NULL);
        printf("no parameter \"%s\"; %s%s%s\n", name, near ? "did you mean " : "`/set parameter` lists them",
               near ? near : "", near ? "?" : "");
    } else if (!store_parameter(slash->chat, option, value)) {
        printf("%s wants %s (%s), not \"%s\"\n", name, option->value, option->help, value);
    } else if (option->offset == CHAT(machine.session.n_context)) {
        pn_chat_new_session(slash->chat);
    }
}

/* ---- /set ---- */

static void set_system(struct slash *slash, const char *rest)
{
    if (!pn_chat_set_system(slash->chat, rest))
        pn_cli_no_memory();
    else
        puts(*rest ? "system text set" : "system text removed");
}

static void set_history(struct slash *slash, const char *rest)
{
    (void)rest;
    pn_editor_keep_history(slash->editor, true);
}

static void set_no_history(struct slash *slash, const char *rest)
{
    (void)rest;
    pn_editor_keep_history(slash->editor, false);
}

static void set_verbose(struct slash *slash, const char *rest)
{
    (void)rest;
    slash->chat->verbose = true;
}

static void set_quiet(struct slash *slash, const char *rest)
{
    (void)rest;
    slash->chat->verbose = false;
}

static void set_wrap(struct slash *slash, const char *rest)
{
    (void)rest;
    slash->chat->wrap = true;
}

static void set_no_wrap(struct slash *slash, const char *rest)
{
    (void)rest;
    slash->chat->wrap = false;
}

static void set_think(struct slash *slash, const char *rest)
{
    (void)rest;
    slash->chat->think = PN_THINK_ON;
}

static void set_no_think(struct slash *slash, const char *rest)
{
    (void)rest;
    slash->chat->think = PN_THINK_OFF;
}

static const struct entry settings[] = {
    {"parameter", "NAME VALUE", "how answers are made; without a name: the list", set_parameter, NULL},
    {"system", "TEXT", "the system text; without a text: none", set_system, NULL},
    {"history", "", "keep what you type in the history", set_history, NULL},
    {"nohistory", "", "do not", set_no_history, NULL},
    {"wordwrap", "", "break lines between words", set_wrap, NULL},
    {"nowordwrap", "", "do not", set_no_wrap, NULL},
    {"think", "", "let the model reason first, if it can", set_think, NULL},
    {"nothink", "", "do not", set_no_think, NULL},
    {"verbose", "", "show all figures after an answer", set_verbose, NULL},
    {"quiet", "", "show one line", set_quiet, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

/* ---- /show ---- */

static void put_text(const char *text, const char *none)
{
    if (!text || !*text) {
        puts(none);
        return;
    }
    size_t len = strlen(text);
    pn_cli_put_untrusted(stdout, text, len);
    if (text[len - 1] != '\n')
        putchar('\n');
}

static void show_info(struct slash *slash, const char *rest)
{
    char *path = NULL;
    (void)rest;
    if (pn_cli_find_model(slash->chat->name, &path) == PN_EXIT_DONE)
        pn_cli_show_model(path);
    free(path);
}

static void show_parameters(struct slash *slash, const char *rest)
{
    (void)rest;
    for (size_t i = 0; i < N_PARAMETERS; i++)
        put_parameter(slash->chat, &parameters[i]);
}

static void show_system(struct slash *slash, const char *rest)
{
    (void)rest;
    put_text(slash->chat->system, "no system text is set");
}

static void show_template(struct slash *slash, const char *rest)
{
    size_t len;
    (void)rest;
    put_text(pantry_model_template(slash->chat->model, &len), "this model has no chat template");
}

static void show_license(struct slash *slash, const char *rest)
{
    struct pantry_model_info info = {.size = sizeof info};
    (void)rest;
    pantry_model_info(slash->chat->model, &info, NULL);
    put_text(info.license, "the model does not say");
}

static const struct entry views[] = {
    {"info", "", "what the model is", show_info, NULL},
    {"parameters", "", "how answers are made", show_parameters, NULL},
    {"system", "", "the system text", show_system, NULL},
    {"template", "", "the model's chat template", show_template, NULL},
    {"license", "", "the model's licence", show_license, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

/* ---- the tables at work ---- */

static const char *entry_name(const void *names, size_t i)
{
    return ((const struct entry *)names)[i].name;
}

static const struct entry *find_entry(const struct entry *table, const char *name)
{
    for (; table->name; table++)
        if (strcmp(table->name, name) == 0 || (table->also && strcmp(table->also, name) == 0))
            return table;
    return NULL;
}

static void put_entries(const char *before, const struct entry *table)
{
    for (; table->name; table++) {
        char left[64];
        snprintf(left, sizeof left, "%s%s %s", before, table->name, table->arguments);
        printf("  %-28s %s\n", left, table->help);
    }
}

static void run_from(struct slash *slash, const char *before, const struct entry *table, const char *rest)
{
    char name[32];
    rest = take_word(rest, name);
    const struct entry *entry = find_entry(table, name);
    if (entry) {
        entry->run(slash, rest);
        return;
    }
    const char *near = *name ? pn_cli_nearest(name, entry_name, table) : NULL;
    if (near) {
        printf("no command %s%s; did you mean %s%s?\n", before, name, before, near);
        return;
    }
    if (*name)
        printf("no command %s%s; there are:\n", before, name);
    put_entries(before, table);
}

static void do_set(struct slash *slash, const char *rest)
{
    run_from(slash, "/set ", settings, rest);
}

static void do_show(struct slash *slash, const char *rest)
{
    run_from(slash, "/show ", views, rest);
}

static void do_clear(struct slash *slash, const char *rest)
{
    (void)rest;
    pn_chat_clear(slash->chat);
    puts("the conversation starts over");
}

static void do_load(struct slash *slash, const char *rest)
{
    if (!*rest)
        puts("/load MODEL");
    else if (pn_chat_switch(slash->chat, rest) == PN_EXIT_DONE)
        printf("now talking to %s\n", rest);
}

static void do_bye(struct slash *slash, const char *rest)
{
    (void)rest;
    slash->leave = true;
}

static void do_help(struct slash *slash, const char *rest);

static const struct entry commands[] = {
    {"help", "", "this list; also /?", do_help, "?"},
    {"set", "WHAT ...", "change a setting; /set alone lists them", do_set, NULL},
    {"show", "WHAT", "show something of the model", do_show, NULL},
    {"load", "MODEL", "talk to another model", do_load, NULL},
    {"clear", "", "forget the conversation", do_clear, NULL},
    {"bye", "", "leave; also Ctrl-D", do_bye, "exit"},
    {NULL, NULL, NULL, NULL, NULL},
};

static void do_help(struct slash *slash, const char *rest)
{
    (void)slash;
    char name[32];
    take_word(rest, name);
    if (strcmp(name, "set") == 0) {
        put_entries("/set ", settings);
        return;
    }
    if (strcmp(name, "show") == 0) {
        put_entries("/show ", views);
        return;
    }
    put_entries("/", commands);
    puts("\n  \"\"\"                          begins and ends a message of several lines\n"
         "  Ctrl-C                       stops an answer\n"
         "  Up, Down, Ctrl-R             what you typed before\n");
}

bool pn_slash_is(const char *line)
{
    if (line[0] != '/')
        return false;
    if (line[1] == '?' && (!line[2] || line[2] == ' '))
        return true;
    size_t n = strspn(line + 1, "abcdefghijklmnopqrstuvwxyz");
    return n > 0 && (!line[1 + n] || line[1 + n] == ' ');
}

bool pn_slash_do(struct pn_chat *chat, struct pn_editor *editor, const char *line)
{
    struct slash slash = {chat, editor, false};
    run_from(&slash, "/", commands, line + 1);
    fflush(stdout);
    return !slash.leave;
}
