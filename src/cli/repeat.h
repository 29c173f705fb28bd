/* Detects a text that repeats itself, so that a model caught in a loop stops.
 *
 * Only exact repetition of a span, token by token and up to the last token, counts: eight times and at least 96 tokens,
 * or four times for a span of 64 tokens or more. Rows of a table, items of a list and lines of code differ, so they do
 * not count. A span without a letter (zeros of a matrix, dashes of a table) must go on for 1,024 tokens. */
#ifndef PN_CLI_REPEAT_H
#define PN_CLI_REPEAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PN_REPEAT_SPAN = 512 }; /* longest span, in tokens */

/* Zeroed: the start of a text. */
struct pn_repeat {
    int32_t ids[PN_REPEAT_SPAN]; /* the last ones, as a ring */
    long run[PN_REPEAT_SPAN];    /* [p - 1]: how many of the last tokens equal the token p before them */
    long n, letter;              /* tokens so far; 1 + index of the last token with a letter */
};

/* Takes the next token and its text; true when the text repeats itself. */
bool pn_repeat_push(struct pn_repeat *repeat, int32_t id, const char *text, size_t len);

#endif
