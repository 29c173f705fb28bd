/* A full screen for `pantry top` (ncurses). The terminal is restored in every case: at the end, when a signal ends the
 * program, and while it is stopped. */
#ifndef PN_CLI_TOP_SCREEN_H
#define PN_CLI_TOP_SCREEN_H

#include "cli/top_page.h"

#include <stdbool.h>

enum pn_key {
    PN_KEY_NONE, /* the time is over */
    PN_KEY_END,  /* a signal wants the end, or the terminal is gone */
    PN_KEY_SIZE, /* the size has changed, or the screen must be drawn again */
    PN_KEY_OTHER /* *letter is set */
};

/* False: this terminal cannot do it (TERM=dumb, unknown, or standard input or output is not a terminal). */
bool pn_top_screen_open(void);
/* Restores the terminal. Afterwards pn_top_screen_end tells whether a signal wanted the end, and ends the process by
 * it. */
void pn_top_screen_close(void);
void pn_top_screen_end(void);
void pn_top_screen_size(int *columns, int *lines);
/* Whether the terminal understands more than ASCII. */
bool pn_top_screen_is_ascii(void);
void pn_top_screen_draw(const struct pn_page *page);
/* Waits for a key at most until the clock (pn_clock_ns) says so. */
enum pn_key pn_top_screen_wait(uint64_t until, int *letter);

/* For printing: signals that end the program set a flag, so that a stream ends between two samples. Sleeps until then;
 * false: the end was wanted. */
void pn_top_watch_signals(void);
bool pn_top_sleep(uint64_t until);

#endif
