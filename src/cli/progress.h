/* Shows a download or upload: a bar per file on a terminal, a few plain lines elsewhere, or JSON. */
#ifndef PN_CLI_PROGRESS_H
#define PN_CLI_PROGRESS_H

#include "store/store.h"

#include <jansson.h>

#include <stdio.h>

struct pn_progress_bar {
    FILE *out;
    bool terminal;
    bool open;   /* the terminal shows a line without its newline */
    int phase;   /* the last one shown, -1: none */
    int quarter; /* the last one shown without a terminal */
    bool json;   /* a line of JSON per report, with the fields of Ollama's status lines */
    bool verifying;
    char digest[13]; /* of the bar's file, its beginning */
};

void pn_progress_start(struct pn_progress_bar *bar, FILE *out, bool json);
/* A status by itself, which only JSON shows. */
void pn_progress_say(struct pn_progress_bar *bar, const char *status);
/* A line that another program made, for JSON only; frees it. */
void pn_progress_put(struct pn_progress_bar *bar, json_t *line);
/* The callback of pn_fetch_options; `user` is the bar. */
void pn_progress_show(void *user, const struct pn_fetch_progress *progress);
/* Ends the line. Call it before printing anything else, also after a failed fetch. */
void pn_progress_end(struct pn_progress_bar *bar);
/* Ends it, and reports the result: an error on standard error, "success" or the error as JSON. Exit status. */
int pn_progress_finish(struct pn_progress_bar *bar, pantry_status result, const struct pantry_error *err);

#endif
