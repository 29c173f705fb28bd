/* pantry launch: start a coding agent that uses a service. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "cli/agent_model.h"
#include "cli/agents.h"
#include "cli/background.h"
#include "cli/commands.h"
#include "cli/say.h"
#include "cli/terminal.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SMALL_CONTEXT = 16384, MOST_OUTPUT = 32000 };

struct chosen {
    const char *model;
    bool print;
};

static const struct pn_option table[] = {
    PN_OPT_TEXT("model", "NAME", offsetof(struct chosen, model),
                "model of the agent; without it, the largest that calls tools and fits the memory"),
    PN_OPT_FLAG("print", offsetof(struct chosen, print), "only show the environment, the command and the file"),
};

/* One start of an agent. */
struct launch {
    const struct pn_agent *agent;
    struct pn_client client;
    struct pn_background background;
    char folder[PN_URL_MAX]; /* the temporary one; "": none */
    char *model, *made_key;  /* made_key: the name of a key that was made for this agent */
    char key[PN_KEY_TEXT + 1];
    struct pn_agent_values values;
};

/* ---- the temporary folder ---- */

static int make_folder(struct launch *l)
{
    const char *base = getenv("TMPDIR");
    snprintf(l->folder, sizeof l->folder, "%.500s/pantry-launch-XXXXXX", base && *base == '/' ? base : "/tmp");
    if (mkdtemp(l->folder)) /* mode 700 */
        return PN_EXIT_DONE;
    pn_cli_say_error("%s: cannot make a temporary folder: %s", l->folder, strerror(errno));
    l->folder[0] = '\0';
    return PN_EXIT_FAILED;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void)st, (void)type, (void)where;
    remove(path);
    return 0;
}

static void remove_folder(const struct launch *l)
{
    if (l->folder[0])
        nftw(l->folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static int write_file(const struct launch *l)
{
    char path[PN_URL_MAX + 64];
    struct pn_buf text = {0};
    if (!l->agent->file)
        return PN_EXIT_DONE;
    pn_agent_expand(&text, l->agent->content, &l->values);
    const char *slash = strchr(l->agent->file, '/');
    snprintf(path, sizeof path, "%s/%.*s", l->folder, slash ? (int)(slash - l->agent->file) : 0, l->agent->file);
    if (slash && mkdir(path, 0700) != 0) {
        pn_cli_say_error("%s: %s", path, strerror(errno));
        pn_buf_free(&text);
        return PN_EXIT_FAILED;
    }
    snprintf(path, sizeof path, "%s/%.60s", l->folder, l->agent->file);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool written = fd >= 0 && !text.failed && write(fd, text.data, text.len) == (ssize_t)text.len;
    if (fd >= 0 && close(fd))
        written = false;
    if (!written)
        pn_cli_say_error("%s: %s", path, strerror(errno));
    pn_buf_free(&text);
    return written ? PN_EXIT_DONE : PN_EXIT_FAILED;
}

/* ---- the service ---- */

static bool wants_key(const struct pn_client *client)
{
    struct pantry_error err;
    json_t *reply;
    long http_status;
    pn_client_ask(client, "GET", "/api/version", NULL, &reply, &http_status, &err);
    json_decref(reply);
    return http_status == 401;
}

/* A key for this agent alone, in the file that a service of this machine reads; it goes when the agent ends. */
static int make_key(struct launch *l)
{
    struct pantry_error err = {0};
    struct pn_key key;
    char name[PN_KEY_NAME], *path = NULL;
    snprintf(name, sizeof name, "launch-%s-%ld", l->agent->name, (long)getpid());
    if (pn_store_private_file("keys.json", &path, &err) ||
        pn_keys_add(path, name, PN_SCOPE_INFER, &key, l->key, &err)) {
        free(path);
        return pn_cli_fail(&err);
    }
    free(path);
    l->made_key = strdup(name);
    l->client.key = l->key;
    if (!wants_key(&l->client))
        return PN_EXIT_DONE;
    pn_cli_say_error("the service at %s does not know the keys of this machine's user: set PANTRY_API_KEY",
                     l->client.url);
    return PN_EXIT_FAILED;
}

static int reach_service(struct launch *l, bool print)
{
    struct pantry_error err = {0};
    enum pn_presence presence = pn_client_find(&l->client, &err);
    if (presence == PN_SERVICE_BROKEN)
        return pn_cli_fail(&err);
    if (presence == PN_SERVICE_ABSENT) {
        fprintf(stderr, "No service runs at %s: %s\n", l->client.url,
                print ? "a temporary one tells about the model." : "one starts for the agent, and ends with it.");
        return pn_background_start(&l->background, l->folder, &l->client, &err) ? pn_cli_fail(&err) : PN_EXIT_DONE;
    }
    if (!wants_key(&l->client))
        return PN_EXIT_DONE;
    if (!l->client.key && l->client.local && !print)
        return make_key(l);
    pn_cli_say_error("the service at %s wants a key: set PANTRY_API_KEY to one of its keys", l->client.url);
    return PN_EXIT_FAILED;
}

/* ---- showing ---- */

/* Quotes a word for a shell where it needs it. */
static void put_word(FILE *out, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:=,@%+";
    if (*word && word[strspn(word, plain)] == '\0') {
        fputs(word, out);
        return;
    }
    fputc('\'', out);
    for (; *word; word++)
        fputs(*word == '\'' ? "'\\''" : (char[]){*word, '\0'}, out);
    fputc('\'', out);
}

static void put_expanded(FILE *out, const char *before, const char *text, const struct pn_agent_values *values)
{
    struct pn_buf word = {0};
    pn_agent_expand(&word, text, values);
    fputs(before, out);
    char *equals = word.data ? strchr(word.data, '=') : NULL;
    if (*before && equals && strspn(word.data, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") == (size_t)(equals - word.data)) {
        *equals = '\0';
        fprintf(out, "%s=", word.data);
        put_word(out, equals + 1);
    } else if (word.data) {
        put_word(out, word.data);
    }
    pn_buf_free(&word);
}

static void put_plan(FILE *out, const struct launch *l, const struct pn_arguments *arguments)
{
    struct pn_agent_values values = l->values;
    const struct pn_agent *agent = l->agent;
    if (l->client.key)
        values.key = "...";
    for (size_t i = 0; i < PN_AGENT_LINES && agent->environment[i]; i++) {
        put_expanded(out, "export ", agent->environment[i], &values);
        fputc('\n', out);
    }
    if (agent->file) {
        struct pn_buf text = {0};
        pn_agent_expand(&text, agent->content, &values);
        fprintf(out, "# %s/%s: %s", values.folder, agent->file, text.data ? text.data : "");
        pn_buf_free(&text);
    }
    fputs(agent->program, out);
    for (size_t i = 0; i < PN_AGENT_LINES && agent->arguments[i]; i++) {
        fputc(' ', out);
        put_expanded(out, "", agent->arguments[i], &values);
    }
    if (arguments->n == 1 && agent->usual)
        fprintf(out, " %s", agent->usual);
    for (int i = 1; i < arguments->n; i++) {
        fputc(' ', out);
        put_word(out, arguments->text[i]);
    }
    fputc('\n', out);
}

/* ---- running ---- */

static int exec_agent(const struct launch *l, const struct pn_arguments *arguments)
{
    char **argv = calloc(PN_AGENT_LINES + (size_t)arguments->n + 3, sizeof *argv);
    size_t n = 0;
    if (!argv)
        return pn_cli_no_memory();
    for (size_t i = 0; i < PN_AGENT_LINES && l->agent->environment[i]; i++) {
        struct pn_buf line = {0};
        pn_agent_expand(&line, l->agent->environment[i], &l->values);
        char *text = pn_buf_take(&line);
        if (!text || putenv(text)) /* it stays for the environment */
            return pn_cli_no_memory();
    }
    argv[n++] = (char *)(uintptr_t)l->agent->program;
    for (size_t i = 0; i < PN_AGENT_LINES && l->agent->arguments[i]; i++) {
        struct pn_buf word = {0};
        pn_agent_expand(&word, l->agent->arguments[i], &l->values);
        if (!(argv[n++] = pn_buf_take(&word)))
            return pn_cli_no_memory();
    }
    if (arguments->n == 1 && l->agent->usual)
        argv[n++] = (char *)(uintptr_t)l->agent->usual;
    for (int i = 1; i < arguments->n; i++)
        argv[n++] = arguments->text[i];
    execvp(l->agent->program, argv);
    pn_cli_say_error("%s: %s", l->agent->program, strerror(errno));
    return errno == ENOENT ? 127 : 126;
}

static volatile sig_atomic_t agent_pid;

static void pass_on(int number)
{
    if (agent_pid > 0)
        kill((pid_t)agent_pid, number);
}

/* Runs the agent as a child where something must be cleared away after it. The terminal's signals reach both; this
 * process ignores them and waits. The agent's exit status, 128 and the number of the signal that ended it. */
static int wait_for_agent(const struct launch *l, const struct pn_arguments *arguments)
{
    int status = 0;
    fflush(NULL);
    struct sigaction ignore = {.sa_handler = SIG_IGN}, pass = {.sa_handler = pass_on}, old_int, old_quit;
    sigaction(SIGINT, &ignore, &old_int);
    sigaction(SIGQUIT, &ignore, &old_quit);
    pid_t pid = fork();
    if (pid == 0) {
        sigaction(SIGINT, &old_int, NULL);
        sigaction(SIGQUIT, &old_quit, NULL);
        _exit(exec_agent(l, arguments));
    }
    if (pid < 0) {
        pn_cli_say_error("cannot start %s: %s", l->agent->program, strerror(errno));
        return PN_EXIT_FAILED;
    }
    agent_pid = pid;
    sigaction(SIGTERM, &pass, NULL);
    sigaction(SIGHUP, &pass, NULL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    agent_pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static bool is_on_path(const char *program)
{
    const char *path = getenv("PATH");
    char file[4096];
    for (; path && *path; path += strcspn(path, ":"), path += *path == ':') {
        snprintf(file, sizeof file, "%.*s/%s", (int)strcspn(path, ":"), path, program);
        if (access(file, X_OK) == 0)
            return true;
    }
    return false;
}

static void clear_away(struct launch *l)
{
    char *path = NULL;
    pn_background_stop(&l->background);
    if (l->made_key && pn_store_private_file("keys.json", &path, NULL) == PANTRY_OK)
        pn_keys_remove(path, l->made_key, NULL);
    free(path);
    remove_folder(l);
    free(l->made_key);
    free(l->model);
}

static int launch(struct launch *l, const struct chosen *chosen, const struct pn_arguments *arguments)
{
    struct pn_number number;
    char shown_url[PN_URL_MAX];
    int status = make_folder(l);
    if (status == PN_EXIT_DONE)
        status = reach_service(l, chosen->print);
    if (status == PN_EXIT_DONE)
        status = pn_agent_model(&l->client, chosen->model, chosen->print, &l->model, &l->values.n_context);
    if (status != PN_EXIT_DONE)
        return status;
    l->values.url = l->client.url;
    l->values.model = l->model;
    l->values.folder = l->folder;
    l->values.key = l->client.key ? l->client.key : "pantry"; /* agents want one, a service without keys does not */
    l->values.n_output = l->values.n_context / 4 < MOST_OUTPUT ? l->values.n_context / 4 : MOST_OUTPUT;
    bool local;
    if (chosen->print && l->background.pid) /* the temporary service is gone when this is read */
        l->values.url = pn_cli_service_url(pn_cli_variable("PANTRY_HOST", "OLLAMA_HOST"), shown_url, &local)
                            ? shown_url
                            : l->client.url;
    fprintf(stderr, "%s with %s, %s tokens of context, at %s\n", l->agent->title, l->model,
            pn_cli_grouped(&number, (unsigned)l->values.n_context), l->values.url);
    if (l->values.n_context < SMALL_CONTEXT)
        fprintf(stderr, "The context is small: instructions of agents alone may take as much.\n");
    if (chosen->print) {
        put_plan(stdout, l, arguments);
        return PN_EXIT_DONE;
    }
    put_plan(stderr, l, arguments);
    if (write_file(l) != PN_EXIT_DONE)
        return PN_EXIT_FAILED;
    if (!l->background.pid && !l->made_key && !l->agent->file) { /* nothing to clear away */
        remove_folder(l);
        l->folder[0] = '\0';
        return exec_agent(l, arguments);
    }
    return wait_for_agent(l, arguments);
}

static int list_agents(void)
{
    for (const struct pn_agent *a = pn_agents; a->name; a++)
        printf("%-10s %-20s %s\n", a->name, a->title, is_on_path(a->program) ? "here" : a->install);
    return PN_EXIT_DONE;
}

static const char *agent_name(const void *names, size_t i)
{
    (void)names;
    return pn_agents[i].name;
}

static int run(const struct pn_command *command, int argc, char **argv)
{
    struct chosen chosen = {0};
    struct launch l = {.background = {.lifeline = -1}};
    void *const targets[] = {&chosen};
    struct pn_arguments arguments;
    int status = pn_cli_parse(command, argc, argv, targets, &arguments);
    if (status != PN_CLI_GO_ON)
        return status;
    if (!arguments.n)
        return list_agents();
    for (l.agent = pn_agents; l.agent->name && strcmp(l.agent->name, arguments.text[0]) != 0; l.agent++)
        ;
    if (!l.agent->name) {
        const char *near = pn_cli_nearest(arguments.text[0], agent_name, NULL);
        return pn_cli_misuse(command, "no agent \"%s\"%s%s%s", arguments.text[0], near ? "; did you mean " : "",
                             near ? near : "", near ? "?" : " (`pantry launch` lists them)");
    }
    if (!chosen.print && !is_on_path(l.agent->program)) {
        pn_cli_say_error("%s is not installed (no %s on PATH): %s", l.agent->title, l.agent->program, l.agent->install);
        return PN_EXIT_FAILED;
    }
    status = launch(&l, &chosen, &arguments);
    clear_away(&l);
    return status;
}

const struct pn_command pn_cmd_launch = {
    .name = "launch",
    .usage = "[AGENT] [--model NAME] [--print] [-- ARGUMENT...]",
    .summary = "start a coding agent that uses a service",
    .about =
        "Uses the service at PANTRY_HOST, OLLAMA_HOST or 127.0.0.1:11434, or starts one for the agent's lifetime.\n"
        "The agent gets variables of its environment, arguments, and where it has no other way, a file in a\n"
        "temporary folder; all of this is printed, and no file of yours is changed. Without an AGENT: the list of\n"
        "them. The ARGUMENTs go to the agent, whose exit status is passed on.",
    .example = "pantry launch claude\n"
               "pantry launch codex --model qwen2.5-coder:1.5b -- exec \"Explain this project\"\n"
               "pantry launch opencode --print",
    .options = {PN_OPTIONS(NULL, table)},
    .run = run,
};
