/* Notices a text that repeats itself, so that nobody waits for a model that is caught in a loop.
 *
 * Only exact repetition of a whole span counts, token by token, several times over and up to the last token: eight
 * times and at least 96 tokens, or four times a span of 64 tokens or more. Rows of a table, items of a list and lines
 * of code differ in something and are never taken for it. A span without a letter (zeros of a matrix, dashes of a
 * table) has to go on for 1,024 tokens. */
#ifndef PN_CLI_REPEAT_H
#define PN_CLI_REPEAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PN_REPEAT_SPAN = 512 }; /* longest span that is noticed, in tokens */

/* All zeros is the start of a text. */
struct pn_repeat {
    int32_t ids[PN_REPEAT_SPAN]; /* the last ones, as a ring */
    long run[PN_REPEAT_SPAN];    /* [p - 1]: how many of the last tokens equal the one p before them */
    long n, letter;              /* tokens so far; 1 + index of the last one with a letter */
};

/* Takes the next token and its text; true when the text repeats itself. */
bool pn_repeat_push(struct pn_repeat *repeat, int32_t id, const char *text, size_t len);

#endif
