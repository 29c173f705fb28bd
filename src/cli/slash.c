/* The commands of the chat: see slash.h. One table each for the commands, /set and /show. */
#define _POSIX_C_SOURCE 200809L
#include "cli/slash.h"

#include "cli/say.h"
#include "cli/terminal.h"

#include <string.h>

struct slash {
    struct pn_chat *chat;
    struct pn_editor *editor;
    bool leave;
};

struct entry {
    const char *name, *also; /* another name, or NULL */
    const char *arguments;   /* NULL: none */
    const char *help;
    void (*run)(struct slash *slash, const char *rest);
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

/* The option tables whose rows with a `.parameter` name are parameters, and where a chat keeps their values. */
static const struct {
    const struct pn_option *option;
    size_t n, offset;
} tables[] = {
    {pn_sampling_options, PN_N_SAMPLING_OPTIONS, offsetof(struct pn_chat, sampler)},
    {pn_session_options, PN_N_SESSION_OPTIONS, offsetof(struct pn_chat, machine)},
};

struct parameter {
    const struct pn_option *option; /* NULL: none */
    size_t offset;                  /* of the value in struct pn_chat */
};

static struct parameter parameter_at(size_t i)
{
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
        for (size_t o = 0; o < tables[t].n; o++)
            if (tables[t].option[o].parameter && i-- == 0)
                return (struct parameter){&tables[t].option[o], tables[t].offset + tables[t].option[o].offset};
    return (struct parameter){0};
}

static struct parameter find_parameter(const char *name)
{
    struct parameter parameter;
    for (size_t i = 0; (parameter = parameter_at(i)).option; i++)
        if (strcmp(parameter.option->parameter, name) == 0)
            break;
    return parameter;
}

static const char *parameter_name(const void *names, size_t i)
{
    (void)names;
    struct parameter parameter = parameter_at(i);
    return parameter.option ? parameter.option->parameter : NULL;
}

static bool store_parameter(struct pn_chat *chat, struct parameter parameter, const char *value)
{
    const struct pn_option *option = parameter.option;
    void *to = (char *)chat + parameter.offset;
    struct pn_text_list *list = to;
    const char *copy;
    switch (option->kind) {
    case PN_OPTION_TEXT:
        if (!(copy = pn_arena_copy(&chat->arena, value, strlen(value))))
            return false;
        memcpy(to, &copy, sizeof copy);
        return true;
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

static void put_parameter(const struct pn_chat *chat, struct parameter parameter)
{
    const char *name = parameter.option->parameter;
    const void *at = (const char *)chat + parameter.offset;
    const struct pn_text_list *list = at;
    if (parameter.option->kind == PN_OPTION_LIST) {
        for (size_t i = 0; i < list->n; i++)
            printf("  %-21s %s\n", name, list->item[i]);
        return;
    }
    printf("  %-21s ", name);
    if (parameter.option->kind == PN_OPTION_TEXT)
        puts(*(const char *const *)at ? *(const char *const *)at : "as the model says");
    else if (pn_cli_sampler_is_unset(&chat->sampler, at))
        puts("as the model says");
    else if (parameter.option->kind == PN_OPTION_FLOAT)
        printf("%g\n", (double)*(const float *)at);
    else if (at == &chat->sampler.max_tokens && chat->sampler.max_tokens == PN_TOKENS_UNSET)
        printf("%d, or %d without a chat template\n", PN_TOKENS_CHAT, PN_TOKENS_BASE);
    else if (parameter.option->kind == PN_OPTION_INT)
        printf("%d\n", *(const int *)at);
    else if (*(const uint64_t *)at == PN_SEED_UNSET)
        puts("a new seed per answer");
    else
        printf("%llu\n", (unsigned long long)*(const uint64_t *)at);
}

static void list_parameters(void)
{
    struct parameter parameter;
    puts("/set parameter NAME VALUE, with these names:");
    for (size_t i = 0; (parameter = parameter_at(i)).option; i++)
        printf("  %-21s %-5s %s\n", parameter.option->parameter, parameter.option->value, parameter.option->help);
}

static void set_parameter(struct slash *slash, const char *rest)
{
    char name[32];
    const char *value = take_word(rest, name);
    struct parameter parameter = find_parameter(name);
    const struct pn_option *option = parameter.option;
    if (!*name || (option && !*value)) {
        list_parameters();
    } else if (!option) {
        const char *near = pn_cli_nearest(name, parameter_name, NULL);
        printf("no parameter \"%s\"; %s%s%s\n", name, near ? "did you mean " : "`/set parameter` lists them",
               near ? near : "", near ? "?" : "");
    } else if (!store_parameter(slash->chat, parameter, value)) {
        printf("%s: wrong value (found \"%s\", allowed %s: %s)\n", name, value, option->value, option->help);
    } else if (parameter.offset == offsetof(struct pn_chat, machine.session.n_context)) {
        slash->chat->given_context = slash->chat->machine.session.n_context;
        pn_chat_new_session(slash->chat);
    } else { /* also for the next model */
        parameter.offset += offsetof(struct pn_chat, given) - offsetof(struct pn_chat, sampler);
        store_parameter(slash->chat, parameter, value);
    }
}

/* ---- /set ---- */

static void set_system(struct slash *slash, const char *rest)
{
    if (!pn_chat_set_system(slash->chat, rest))
        pn_cli_no_memory();
    else
        puts(*rest ? "system message set" : "system message removed");
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
    {.name = "parameter",
     .arguments = "NAME VALUE",
     .help = "a parameter of the answers; without a name: the list",
     .run = set_parameter},
    {.name = "system", .arguments = "TEXT", .help = "the system message; without a text: none", .run = set_system},
    {.name = "history", .help = "keep your lines in the history", .run = set_history},
    {.name = "nohistory", .help = "do not", .run = set_no_history},
    {.name = "wordwrap", .help = "break lines between words", .run = set_wrap},
    {.name = "nowordwrap", .help = "do not", .run = set_no_wrap},
    {.name = "think", .help = "let the model reason first, if it can", .run = set_think},
    {.name = "nothink", .help = "do not", .run = set_no_think},
    {.name = "verbose", .help = "show all figures after an answer", .run = set_verbose},
    {.name = "quiet", .help = "show one line", .run = set_quiet},
    {0},
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
    (void)rest;
    slash->chat->backend->show(slash->chat->partner);
}

static void show_parameters(struct slash *slash, const char *rest)
{
    (void)rest;
    struct parameter parameter;
    for (size_t i = 0; (parameter = parameter_at(i)).option; i++)
        put_parameter(slash->chat, parameter);
}

static void show_system(struct slash *slash, const char *rest)
{
    struct pn_facts facts;
    (void)rest;
    pn_chat_facts(slash->chat, &facts);
    put_text(slash->chat->own_system ? slash->chat->system : facts.system, "no system message is set");
}

static void show_template(struct slash *slash, const char *rest)
{
    struct pn_facts facts;
    (void)rest;
    pn_chat_facts(slash->chat, &facts);
    put_text(facts.chat_template, "this model has no chat template");
}

static void show_license(struct slash *slash, const char *rest)
{
    struct pn_facts facts;
    (void)rest;
    pn_chat_facts(slash->chat, &facts);
    put_text(facts.license, "this model does not name a licence");
}

static const struct entry views[] = {
    {.name = "info", .help = "a description of the model", .run = show_info},
    {.name = "parameters", .help = "the parameters of the answers", .run = show_parameters},
    {.name = "system", .help = "the system message", .run = show_system},
    {.name = "template", .help = "the model's chat template", .run = show_template},
    {.name = "license", .help = "the model's licence", .run = show_license},
    {0},
};

/* ---- commands from tables ---- */

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
        snprintf(left, sizeof left, "%s%s %s", before, table->name, table->arguments ? table->arguments : "");
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

static void do_image(struct slash *slash, const char *rest)
{
    if (!*rest)
        puts("/image FILE");
    else if (pn_chat_show(slash->chat, rest) == PN_EXIT_DONE)
        puts("it goes with the next message");
}

static void do_bye(struct slash *slash, const char *rest)
{
    (void)rest;
    slash->leave = true;
}

static void do_help(struct slash *slash, const char *rest);

static const struct entry commands[] = {
    {.name = "help", .help = "this list; also /?", .run = do_help, .also = "?"},
    {.name = "set", .arguments = "WHAT ...", .help = "change a setting; /set alone lists them", .run = do_set},
    {.name = "show",
     .arguments = "WHAT",
     .help = "show a property of the model; /show alone lists them",
     .run = do_show},
    {.name = "load", .arguments = "MODEL", .help = "talk to another model", .run = do_load},
    {.name = "image", .arguments = "FILE", .help = "show a picture with the next message", .run = do_image},
    {.name = "clear", .help = "forget the conversation", .run = do_clear},
    {.name = "bye", .help = "leave; also Ctrl-D", .run = do_bye, .also = "exit"},
    {0},
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
         "  Ctrl-C                       ends the reasoning, so that the answer begins; then stops the answer\n"
         "  Up, Down, Ctrl-R             earlier lines\n");
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
