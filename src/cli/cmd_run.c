/* pantry run: talk to a model. */
#define _POSIX_C_SOURCE 200809L
#include "cli/commands.h"
#include "cli/fit_ask.h"
#include "cli/form.h"

#include "cli/chat.h"
#include "cli/editor.h"
#include "cli/say.h"
#include "cli/slash.h"
#include "cli/terminal.h"
#include "store/store.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PROMPT_LIMIT = 1 << 30 };

/* The question of `pantry run </dev/null`, as in a first `make run` without a terminal. */
static const char default_question[] = "Why is the sky blue? Answer in two sentences.";

/* The note for a model without a chat template. */
static const char base_model[] =
    "This is a base model (it has no chat template): it continues your text instead of answering.";

struct chosen {
    const char *system;
    struct pn_text_list images;
    bool verbose, wrap, no_think, local;
};

static const struct pn_option table[] = {
    PN_OPT_TEXT("system", "TEXT", offsetof(struct chosen, system), "system message of the conversation"),
    PN_OPT_LIST("image", "FILE", offsetof(struct chosen, images), "show a picture with the first message",
                .more = "May be repeated. Paths of pictures in a message are found as well."),
    PN_OPT_OFF("nowordwrap", offsetof(struct chosen, wrap), "do not break lines between words"),
    PN_OPT_FLAG("nothink", offsetof(struct chosen, no_think), "ask the model not to reason first"),
    PN_OPT_FLAG("verbose", offsetof(struct chosen, verbose), "print all figures after an answer"),
    PN_OPT_FLAG("local", offsetof(struct chosen, local), "load the model in this process, also if a service runs"),
};

static const char quotes[] = "\"\"\"";

/* ---- the conversation on a terminal ---- */

static void put_welcome(const struct pn_chat *chat)
{
    struct pn_facts facts;
    struct pn_number number;
    pn_chat_facts(chat, &facts);
    if (!chat->client || chat->client->local)
        pantry_read_bandwidth(chat->machine.model.n_threads); /* measured now: it would delay the first answer */
    printf("%s%s · %s parameters · ", pn_term_style(stdout, PN_STYLE_DIM), chat->name,
           pn_cli_count(&number, facts.n_params));
    if (facts.bytes)
        printf("%s · ", pn_cli_bytes(&number, facts.bytes));
    puts(facts.place);
    if (!facts.chat_template)
        puts(base_model);
    printf("/? lists the commands, Ctrl-D leaves%s\n\n", pn_term_style(stdout, PN_STYLE_OFF));
}

/* A text between triple quotes begins at the start of a line, or after "/set system ". */
static const char *find_quotes(const char *line)
{
    static const char set_system[] = "/set system ";
    const char *at = line + strspn(line, " \t");
    if (strncmp(at, set_system, strlen(set_system)) == 0)
        at += strlen(set_system) + strspn(at + strlen(set_system), " ");
    return strncmp(at, quotes, strlen(quotes)) == 0 ? at : NULL;
}

/* Removes the closing quotes; false if they are still missing. */
static bool close_quotes(struct pn_buf *message, size_t from)
{
    size_t end = message->len, n = strlen(quotes);
    while (end > from && strchr(" \t\n", message->data[end - 1]))
        end--;
    if (end < from + n || memcmp(message->data + end - n, quotes, n) != 0)
        return false;
    end -= n;
    if (end > from && message->data[end - 1] == '\n')
        end--;
    message->len = end;
    message->data[end] = '\0';
    return true;
}

/* Reads lines until the quotes close. */
static enum pn_editor_event read_quoted(struct pn_editor *editor, struct pn_buf *message, size_t from)
{
    bool had_text;
    const char *line;
    while (!close_quotes(message, from)) {
        enum pn_editor_event event = pn_editor_read(editor, "... ", &line, &had_text);
        if (event != PN_EDITOR_LINE)
            return event;
        if (message->len > from) /* the first line may be empty: the text begins on the next one */
            pn_buf_putc(message, '\n');
        pn_buf_puts(message, line);
        if (message->failed)
            return PN_EDITOR_END;
    }
    return PN_EDITOR_LINE;
}

/* One message or command, without the quotes. *quoted: it is a message, or sets the system message. */
static enum pn_editor_event read_message(struct pn_editor *editor, struct pn_buf *message, bool *quoted)
{
    const char *line;
    bool had_text;
    pn_buf_clear(message);
    *quoted = false;
    enum pn_editor_event event = pn_editor_read(editor, ">>> ", &line, &had_text);
    if (event == PN_EDITOR_INTERRUPT && !had_text)
        puts("Ctrl-D or /bye leaves");
    if (event != PN_EDITOR_LINE)
        return event;
    const char *at = find_quotes(line);
    if (!at) {
        pn_buf_puts(message, line);
        pn_editor_remember(editor, line);
        return message->failed ? PN_EDITOR_END : event;
    }
    *quoted = *line != '/';
    pn_buf_append(message, line, (size_t)(at - line));
    if (*quoted)
        pn_buf_clear(message); /* drop spaces before the quotes */
    size_t from = message->len;
    pn_buf_puts(message, at + strlen(quotes));
    event = read_quoted(editor, message, from);
    if (event == PN_EDITOR_LINE && message->data) {
        struct pn_buf entry = {0};
        pn_buf_printf(&entry, "%.*s%s%s%s", (int)from, message->data, quotes, message->data + from, quotes);
        if (!entry.failed)
            pn_editor_remember(editor, entry.data);
        pn_buf_free(&entry);
    }
    return event;
}

static bool is_blank(const char *text)
{
    return text[strspn(text, " \t\r\n")] == '\0';
}

static int converse(struct pn_chat *chat)
{
    char *history = NULL;
    struct pn_buf message = {0};
    bool quoted;
    pn_term_watch();
    pn_term_take_over();
    pn_term_echo(true);
    pn_store_private_file("history", &history, NULL); /* no home directory: no history */
    struct pn_editor *editor = pn_editor_new(history);
    free(history);
    if (!editor)
        return pn_cli_no_memory();
    put_welcome(chat);
    for (;;) {
        enum pn_editor_event event = read_message(editor, &message, &quoted);
        if (event == PN_EDITOR_END)
            break;
        if (event == PN_EDITOR_INTERRUPT || !message.data || is_blank(message.data))
            continue;
        bool system = strncmp(message.data, "/set system ", 12) == 0; /* the text may have several lines */
        if (!quoted && pn_slash_is(message.data) && (system || !strchr(message.data, '\n'))) {
            if (!pn_slash_do(chat, editor, message.data))
                break;
            continue;
        }
        pn_chat_say(chat, message.data, message.len); /* it reports errors; the conversation goes on */
        putchar('\n');
    }
    pn_editor_free(editor);
    pn_buf_free(&message);
    return PN_EXIT_DONE;
}

/* ---- one answer ---- */

/* The text from the pipe, then the arguments. Both may be missing. */
static int one_prompt(const struct pn_arguments *arguments, bool piped, struct pn_buf *prompt)
{
    char *text = NULL;
    size_t len = 0;
    int status = PN_EXIT_DONE;
    if (piped) {
        status = pn_cli_read_file("-", PROMPT_LIMIT, &text, &len);
        while (len && (text[len - 1] == '\n' || text[len - 1] == '\r'))
            len--;
        if (text)
            pn_buf_append(prompt, text, len);
        free(text);
    }
    if (arguments->n > 1) {
        if (prompt->len)
            pn_buf_puts(prompt, "\n\n");
        for (int i = 1; i < arguments->n; i++) {
            if (i > 1)
                pn_buf_putc(prompt, ' ');
            pn_buf_puts(prompt, arguments->text[i]);
        }
    }
    if (status == PN_EXIT_DONE && prompt->failed)
        status = pn_cli_no_memory();
    return status;
}

/* Is standard input a pipe or file, which should contain a text? /dev/null is neither. */
static bool is_source(void)
{
    struct stat st;
    return fstat(STDIN_FILENO, &st) == 0 && !S_ISCHR(st.st_mode);
}

static void put_next_steps(const struct pn_chat *chat)
{
    const char *program = pn_cli_program();
    printf("\nTo chat, start `%s run %s` in a terminal. To ask one question:\n"
           "  %s run %s \"Tell me about the ocean.\"\n",
           program, chat->name, program, chat->name);
    if (strchr(program, '/'))
        puts("`make install` (as root) installs it on your PATH as `pantry`.");
}

static int answer_once(struct pn_chat *chat, const struct pn_buf *prompt)
{
    bool piped = is_source();
    bool asked = prompt->len && !is_blank(prompt->data);
    struct pn_facts facts;
    pn_chat_facts(chat, &facts);
    if (!facts.chat_template)
        fprintf(stderr, "%s\n", base_model);
    pn_term_watch();
    if (asked)
        return pn_chat_say(chat, prompt->data, prompt->len);
    if (piped) {
        pn_cli_say_error("standard input is empty. To ask a question: %s run %s \"...\"", pn_cli_program(), chat->name);
        return PN_EXIT_FAILED;
    }
    chat->sampler.sampling.temperature = 0; /* the same answer every time */
    printf(">>> %s\n", default_question);
    int status = pn_chat_say(chat, default_question, strlen(default_question));
    if (status == PN_EXIT_DONE)
        put_next_steps(chat);
    return status;
}

/* ---- where ---- */

/* Names are the service's; files and folders are opened here. */
static bool is_name(const char *model)
{
    struct stat st;
    return pn_store_is_name(model) && !(stat(model, &st) == 0 && S_ISREG(st.st_mode));
}

/* Chooses a running service, or this process. PN_CLI_GO_ON or an exit status. */
static int choose_backend(const struct chosen *chosen, const char *name, struct pn_client *client, struct pn_chat *chat)
{
    struct pantry_error err = {0};
    const char *option = pn_cli_local_option(&chat->machine);
    chat->backend = &pn_backend_local;
    if (chosen->local || !is_name(name))
        return PN_CLI_GO_ON;
    enum pn_presence presence = pn_client_find(client, &err);
    if (presence == PN_SERVICE_BROKEN) {
        pn_cli_fail(&err);
        fprintf(stderr, "--local works without the service.\n");
        return PN_EXIT_FAILED;
    }
    if (presence == PN_SERVICE_ABSENT)
        return PN_CLI_GO_ON;
    if (option && client->given && !client->local) {
        pn_cli_say_error("--%s is for a model in this process, and PANTRY_HOST names the service at %s: add --local",
                         option, client->url);
        return PN_EXIT_FAILED;
    }
    if (option) {
        pn_cli_say_error("--%s is for a model in this process, so the service at %s is not used", option, client->url);
        return PN_CLI_GO_ON;
    }
    chat->backend = &pn_backend_service;
    chat->client = client;
    return PN_CLI_GO_ON;
}

static int run(const struct pn_command *command, int argc, char **argv)
{
    struct chosen chosen = {.wrap = true};
    struct pn_chat chat = {.machine = pn_machine_default(), .sampler = pn_cli_sampler_default()};
    struct pn_client client;
    void *const targets[] = {&chosen, &chat.sampler, &chat.machine, &chat.machine};
    struct pn_arguments arguments;
    struct pn_buf prompt = {0};
    int status = pn_cli_parse(command, argc, argv, targets, &arguments);
    if (status != PN_CLI_GO_ON)
        return status;

    const char *name = arguments.n ? arguments.text[0] : PN_DEFAULT_MODEL;
    bool terminal = isatty(STDIN_FILENO), talk = terminal && isatty(STDOUT_FILENO) && arguments.n < 2;
    if ((status = choose_backend(&chosen, name, &client, &chat)) != PN_CLI_GO_ON)
        return status;
    struct pn_fit_answer answer = {0};
    if (chat.backend == &pn_backend_local && (status = pn_fit_ask(name, &chat.machine, false, &answer)) != PN_CLI_GO_ON)
        return status;
    if (answer.changed)
        name = answer.name;
    chat.verbose = chosen.verbose;
    chat.wrap = chosen.wrap;
    chat.ahead = chat.talks = talk;
    chat.think = chosen.no_think ? PN_THINK_OFF : PN_THINK_UNSET;
    status = pn_cli_form_read(&chat.sampler);
    if (status == PN_EXIT_DONE && chosen.system && !pn_chat_set_system(&chat, chosen.system))
        status = pn_cli_no_memory();
    if (status == PN_EXIT_DONE && !talk) /* read the terminal only if there is no other text */
        status = one_prompt(&arguments, !terminal || arguments.n < 2, &prompt);
    struct pn_cli_sampler form = chat.sampler; /* later models keep what this one has to obey */
    if (status == PN_EXIT_DONE)
        status = pn_chat_open(&chat, name);
    for (size_t i = 0; i < chosen.images.n && status == PN_EXIT_DONE; i++)
        status = pn_chat_show(&chat, chosen.images.item[i]);
    if (status == PN_EXIT_DONE)
        status = talk ? converse(&chat) : answer_once(&chat, &prompt);
    pn_chat_close(&chat);
    pn_cli_form_free(&form);
    pn_buf_free(&prompt);
    if (!talk && pn_term_take_interrupt())
        pn_term_end_interrupted();
    return status;
}

const struct pn_command pn_cmd_run = {
    .name = "run",
    .usage = "[MODEL] [PROMPT]",
    .summary = "chat with a model",
    .about =
        "Without a MODEL: " PN_DEFAULT_MODEL ". With a PROMPT, or when standard input is not a terminal: one answer.\n"
        "Text from a pipe is put before the PROMPT. In the chat, `/?` lists the commands.\n"
        "A running service makes the answers, at PANTRY_HOST, OLLAMA_HOST or 127.0.0.1:11434; without one, or with\n"
        "--local, this process does.",
    .example = "pantry run\n"
               "pantry run smollm2:135m \"Why is the sky blue?\"\n"
               "pantry run ./gemma-3-4b-it \"What is in this picture? ./photo.jpg\"\n"
               "git diff | pantry run smollm2:135m \"Describe this change in one sentence.\"",
    .options = {PN_OPTIONS(NULL, table), PN_OPTIONS("Sampling", pn_sampling_options),
                PN_OPTIONS("Machine", pn_device_options), PN_OPTIONS("Memory", pn_session_options)},
    .run = run,
};
