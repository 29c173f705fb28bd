/* Errors, figures, JSON values, and the format of numbers.
 *
 * Text from model files and from models is untrusted: a terminal shows '?' for its control characters, so that it
 * cannot move the cursor, recolour or reprogram the terminal. */
#ifndef PN_CLI_SAY_H
#define PN_CLI_SAY_H

#include "base/status.h"
#include "pantry.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>

/* The command that starts this program, for hints: as it was typed if it is a relative path ("build/pantry"), otherwise
 * "pantry". */
void pn_cli_set_program(const char *argv0);
const char *pn_cli_program(void);

/* "pantry: SENTENCE" on standard error. */
void pn_cli_say_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void pn_cli_vsay_error(const char *format, va_list args) __attribute__((format(printf, 1, 0)));
/* The same for an error; returns PN_EXIT_FAILED. */
int pn_cli_fail(const struct pantry_error *error);
int pn_cli_no_memory(void);

/* Writes text from a file or a model; on a terminal without its control characters, except newline and tab. */
void pn_cli_put_untrusted(FILE *out, const char *text, size_t len);

/* Prints a JSON value and a newline on standard output, and frees it. NULL: out of memory. Exit status. */
int pn_cli_put_json(json_t *value);
/* A JSON string; bytes that are not UTF-8 become U+FFFD. NULL without memory. */
json_t *pn_cli_json_text(const char *bytes, size_t len);

/* ---- numbers: "98,304,000", "98 MB", "134.5 M"; written to `out`, returned for printf ---- */

struct pn_number {
    char text[32];
};
const char *pn_cli_grouped(struct pn_number *out, unsigned long long value);
const char *pn_cli_bytes(struct pn_number *out, unsigned long long bytes);
const char *pn_cli_count(struct pn_number *out, unsigned long long count);
/* "4.1 ms", "12.3 s" */
const char *pn_cli_seconds(struct pn_number *out, double seconds);

/* ---- speed ---- */

/* Why an answer ended, for --json and the figures. The callbacks of this program end an answer only when it repeats
 * itself (cli/repeat.h). */
const char *pn_cli_stop_name(const struct pantry_stats *stats);

double pn_cli_prefill_rate(const struct pantry_stats *stats);
/* The first token comes out of the prefill, so that n tokens take n - 1 steps. */
double pn_cli_decode_rate(const struct pantry_stats *stats);
/* "128 tokens · 92.3 tok/s · 71 % of 21.4 GB/s", dim on a terminal. Measures the bandwidth at the first call. */
void pn_cli_put_speed(FILE *out, const struct pantry_stats *stats, int n_threads);
/* All figures, one per line. */
void pn_cli_put_figures(FILE *out, const struct pantry_stats *stats, int n_threads);

#endif
