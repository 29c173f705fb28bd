/* Shows an answer while it is generated: wrapped at words, reasoning dim, control characters removed.
 *
 * A word is shown as its pieces arrive; if it does not fit its line, it is erased and moved to the next line. Code
 * between ``` fences is never wrapped. Without a terminal the text passes unchanged. The reasoning (between <think> and
 * </think>) is stored apart from the answer. */
#ifndef PN_CLI_SCREEN_H
#define PN_CLI_SCREEN_H

#include "base/alloc.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct pn_screen {
    FILE *out;
    bool plain; /* not a terminal: bytes pass unchanged */
    bool wrap;
    int width; /* columns that may be used */

    int column;
    struct pn_buf word; /* the text since the last space */
    int word_width;
    bool word_fixed; /* its width is uncertain (not Latin, Greek or Cyrillic): never erased */
    bool line_start; /* only spaces so far */
    int ticks;       /* ` at the start of the line */
    bool code;       /* between fences */

    bool thinking, seen_text;
    struct pn_buf tag; /* a possible beginning of <think> or </think> */
    struct pn_buf answer, reasoning;
};

/* `thinking`: the prompt has opened the reasoning. */
void pn_screen_start(struct pn_screen *screen, FILE *out, bool wrap, bool thinking);
void pn_screen_put(struct pn_screen *screen, const char *text, size_t len);
/* Shows the text that was held back and ends the line. */
void pn_screen_end(struct pn_screen *screen);
void pn_screen_free(struct pn_screen *screen);

#endif
