/* A page of text with tones, as `pantry top` shows it: on a screen, or printed. It knows nothing of terminals.
 *
 * Every character is one column wide; where UTF-8 is not understood, the few other characters become ASCII. */
#ifndef PN_CLI_TOP_PAGE_H
#define PN_CLI_TOP_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum pn_tone { PN_TONE_PLAIN, PN_TONE_DIM, PN_TONE_BOLD, PN_TONE_LOW, PN_TONE_MIDDLE, PN_TONE_HIGH, PN_N_TONES };

enum { PN_PAGE_LINES = 400, PN_PAGE_BYTES = 1536, PN_HISTORY = 512 };

struct pn_page_line {
    int bytes, columns;
    char text[PN_PAGE_BYTES];
    uint8_t tone[PN_PAGE_BYTES];
};

struct pn_page {
    int width; /* columns of a line; more are cut */
    bool ascii;
    int n; /* lines, with the one that is being written */
    struct pn_page_line *line;
};

/* The last values of a figure; NAN: absent. */
struct pn_history {
    int n, next;
    float at[PN_HISTORY];
};

/* False: out of memory. */
bool pn_page_new(struct pn_page *page);
void pn_page_free(struct pn_page *page);
void pn_page_clear(struct pn_page *page, int width, bool ascii);

void pn_page_put(struct pn_page *page, enum pn_tone tone, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Text of others: control characters and all beyond ASCII become '?'. Padded or cut to `columns` (0: neither). */
void pn_page_put_name(struct pn_page *page, enum pn_tone tone, const char *text, int columns);
/* Blanks up to a column. */
void pn_page_to(struct pn_page *page, int column);
void pn_page_next(struct pn_page *page);
/* Columns left on the line. */
int pn_page_left(const struct pn_page *page);

/* The tone of a share of what is there: low, middle, high. */
enum pn_tone pn_tone_of(double share);
/* A bar of a share (NAN: empty). */
void pn_page_bar(struct pn_page *page, double share, int columns);
/* The newest values, of which `most` is a full column, one line high. */
void pn_page_spark(struct pn_page *page, const struct pn_history *history, double most, int columns);
/* The same as a chart of several lines after an indentation; ends each line. */
void pn_page_chart(struct pn_page *page, const struct pn_history *history, double most, int indent, int lines);

void pn_history_add(struct pn_history *history, double value);
/* The greatest of the newest values; `least` if there is none above it. */
double pn_history_most(const struct pn_history *history, double least);

/* Writes all lines without tones. */
void pn_page_print(const struct pn_page *page, FILE *out);

#endif
