/* Shows an answer while it is made: wrapped at words, reasoning dim, nothing that could harm the terminal.
 *
 * A word is shown as its pieces come; when it turns out not to fit its line, it is taken back and put on the next one.
 * Code between ``` fences is never wrapped. Where the output is no terminal the text passes unchanged. The reasoning
 * (between <think> and </think>) is split off, so that it can be told from the answer afterwards. */
#ifndef PN_CLI_SCREEN_H
#define PN_CLI_SCREEN_H

#include "base/alloc.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct pn_screen {
    FILE *out;
    bool plain; /* no terminal: bytes as they come */
    bool wrap;
    int width; /* columns that may be used */

    int column;
    struct pn_buf word; /* what is on the line since the last space */
    int word_width;
    bool word_fixed; /* its width is uncertain (not the Latin, Greek, Cyrillic kind): never taken back */
    bool line_start; /* only spaces so far */
    int ticks;       /* ` at the start of the line */
    bool code;       /* between fences */

    bool thinking, seen_text;
    struct pn_buf tag; /* what may become <think> or </think> */
    struct pn_buf answer, reasoning;
};

/* `thinking`: the prompt already opened the reasoning. */
void pn_screen_start(struct pn_screen *screen, FILE *out, bool wrap, bool thinking);
void pn_screen_put(struct pn_screen *screen, const char *text, size_t len);
/* Shows what was held back and ends the line. */
void pn_screen_end(struct pn_screen *screen);
void pn_screen_free(struct pn_screen *screen);

#endif
