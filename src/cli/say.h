/* What the program says besides its results: errors, figures, JSON values; and how numbers read.
 *
 * Text from model files and from models is untrusted: on a terminal its control characters are shown as '?', so that
 * it cannot move the cursor, recolour or reprogram the terminal. */
#ifndef PN_CLI_SAY_H
#define PN_CLI_SAY_H

#include "base/status.h"
#include "pantry.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>

/* How a reader starts this program: as it was typed when that leads from the folder that they are in ("build/pantry"),
 * otherwise "pantry". */
void pn_cli_set_program(const char *argv0);
const char *pn_cli_program(void);

/* "pantry: SENTENCE" on standard error. */
void pn_cli_say_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void pn_cli_vsay_error(const char *format, va_list args) __attribute__((format(printf, 1, 0)));
/* The same for an error; returns PN_EXIT_FAILED. */
int pn_cli_fail(const struct pantry_error *error);
int pn_cli_no_memory(void);

/* Writes text that comes from a file or a model; on a terminal without its control characters (newline and tab stay).
 */
void pn_cli_put_untrusted(FILE *out, const char *text, size_t len);

/* One JSON value and a newline on standard output, and frees it; NULL means that memory was out. Exit status. */
int pn_cli_put_json(json_t *value);
/* A JSON string of bytes that may be no UTF-8: what is not becomes U+FFFD. NULL when memory is out. */
json_t *pn_cli_json_text(const char *bytes, size_t len);

/* ---- how numbers read: "98,304,000", "98 MB", "134.5 M"; written to `out`, returned for printf ---- */

struct pn_number {
    char text[32];
};
const char *pn_cli_grouped(struct pn_number *out, unsigned long long value);
const char *pn_cli_bytes(struct pn_number *out, unsigned long long bytes);
const char *pn_cli_count(struct pn_number *out, unsigned long long count);
/* "4.1 ms", "12.3 s" */
const char *pn_cli_seconds(struct pn_number *out, double seconds);

/* ---- how fast it was ---- */

/* Why an answer ended, as --json and the statistics say it. The callbacks of this program end an answer only when it
 * repeats itself (cli/repeat.h). */
const char *pn_cli_stop_name(const struct pantry_stats *stats);

double pn_cli_prefill_rate(const struct pantry_stats *stats);
/* The first token comes out of the prefill, so that n tokens take n - 1 steps. */
double pn_cli_decode_rate(const struct pantry_stats *stats);
/* "128 tokens · 92.3 tok/s · 71 % of 21.4 GB/s", dim on a terminal. Measures the bandwidth if nobody has. */
void pn_cli_put_speed(FILE *out, const struct pantry_stats *stats, int n_threads);
/* All figures, one a line. */
void pn_cli_put_figures(FILE *out, const struct pantry_stats *stats, int n_threads);

#endif
