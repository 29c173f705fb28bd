/* The page of `pantry top`: what is shown of a sample and of a service, in a given size. */
#ifndef PN_CLI_TOP_VIEW_H
#define PN_CLI_TOP_VIEW_H

#include "cli/top_page.h"
#include "cli/top_service.h"
#include "monitor/sample.h"

enum pn_top_figure {
    PN_TOP_LOAD,
    PN_TOP_MEMORY,
    PN_TOP_RATE,
    PN_TOP_GPU,
    PN_TOP_WATTS,
    PN_TOP_TOKENS,
    PN_TOP_N_FIGURES
};

struct pn_top {
    struct pn_sample sample;
    struct pn_top_service service;
    struct pn_history history[PN_TOP_N_FIGURES];
    double limit;    /* of the memory's bandwidth, bytes per second; NAN: unknown */
    bool measured;   /* the limit was measured on this machine; otherwise it is the maker's */
    double interval; /* seconds */
    bool asks;       /* a service is asked */
    bool cores, sensors, help, paused;
};

/* Adds the newest sample to the histories. */
void pn_top_remember(struct pn_top *top);
/* Fills the page, at most `lines` long; 0: as long as it gets, without charts and keys, for printing. */
void pn_top_show(const struct pn_top *top, struct pn_page *page, int lines);

#endif
