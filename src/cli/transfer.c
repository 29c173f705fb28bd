/* Pulling a model: see transfer.h. */
#define _POSIX_C_SOURCE 200809L
#include "cli/transfer.h"

#include "cli/options.h"
#include "cli/progress.h"
#include "cli/say.h"
#include "cli/terminal.h"
#include "store/store.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Lets the user choose by number; n: none. */
static size_t ask(void *user, const char *const *files, size_t n)
{
    char line[32];
    int chosen;
    (void)user;
    fprintf(stderr, "Several files fit:\n");
    for (size_t i = 0; i < n; i++) {
        fprintf(stderr, "%4zu  ", i + 1);
        pn_cli_put_untrusted(stderr, files[i], strlen(files[i]));
        fputc('\n', stderr);
    }
    do {
        fprintf(stderr, "Which one (1-%zu)? ", n);
        fflush(stderr);
        if (pn_term_interrupted() || !fgets(line, sizeof line, stdin)) {
            fputc('\n', stderr);
            return n;
        }
        line[strcspn(line, "\r\n")] = '\0';
    } while (!pn_cli_parse_int(line, 1, (double)n, &chosen));
    return (size_t)chosen - 1;
}

int pn_cli_pull_model(const char *name, const struct pn_cli_pull *pull, char **path)
{
    struct pantry_error err = {0};
    struct pn_progress_bar bar;
    bool can_ask = isatty(STDIN_FILENO) && pn_term_is(stderr) && !pull->json;
    pn_progress_start(&bar, pull->json ? stdout : stderr, pull->json);
    pn_progress_say(&bar, "pulling manifest");
    const struct pn_pull_options options = {
        .fetch = {.progress = pn_progress_show, .user = &bar, .cancel = pn_term_interrupt()},
        .insecure = pull->insecure,
        .name = pull->name,
        .choose = can_ask ? ask : NULL};
    pantry_status status = pn_store_pull(name, &options, path, &err);
    return pn_progress_finish(&bar, status, &err);
}
