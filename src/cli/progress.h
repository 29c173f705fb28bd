/* Shows a download: a bar on a terminal, a few plain lines elsewhere. */
#ifndef PN_CLI_PROGRESS_H
#define PN_CLI_PROGRESS_H

#include "store/store.h"

#include <stdio.h>

struct pn_progress_bar {
    FILE *out;
    bool terminal;
    bool open;   /* the terminal shows a line without its newline */
    int phase;   /* the last one shown, -1: none */
    int quarter; /* the last one shown without a terminal */
};

void pn_progress_start(struct pn_progress_bar *bar, FILE *out);
/* The callback of pn_fetch_options; `user` is the bar. */
void pn_progress_show(void *user, const struct pn_fetch_progress *progress);
/* Ends the line. Call it before printing anything else, also after a failed fetch. */
void pn_progress_end(struct pn_progress_bar *bar);

#endif
