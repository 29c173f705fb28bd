/* The terminal: its abilities, Ctrl-C, and its restoration in every case.
 *
 * Styles are empty strings unless the stream is a terminal and NO_COLOR is unset (https://no-color.org). The terminal
 * does not echo keys during an answer; it echoes again when the program ends, also by a signal. */
#ifndef PN_CLI_TERMINAL_H
#define PN_CLI_TERMINAL_H

#include <stdbool.h>
#include "pantry.h"

#include <stdio.h>

enum pn_style { PN_STYLE_OFF, PN_STYLE_DIM, PN_STYLE_BOLD };

bool pn_term_is(FILE *stream);
/* True if the stream is a terminal that understands cursor movement. */
bool pn_term_moves(FILE *stream);
const char *pn_term_style(FILE *stream, enum pn_style style);
/* Columns of the stream's terminal; 80 if unknown. */
int pn_term_width(FILE *stream);

/* Makes the narrow character functions (of the line editor) understand UTF-8 even where the locale is "C". */
void pn_term_use_utf8(void);

/* From now on Ctrl-C sets a flag instead of ending the program, and the signals that end it restore the terminal. */
void pn_term_watch(void);
/* Takes the terminal for this process alone, if a parent that is not a shell, such as make, shares it: Ctrl-C then
 * reaches this program only, and the parent does not react to it. The parent gets the terminal back at the end and
 * while this program is stopped. Call it after pn_term_watch. */
void pn_term_take_over(void);
/* For pantry_generate_options.cancel. */
const pantry_cancel *pn_term_interrupt(void);
/* While this is on, the first Ctrl-C sets another switch, for pantry_generate_options.end_thinking; the next ones
 * interrupt. pn_term_take_interrupt clears both. */
void pn_term_soften_interrupt(bool on);
const pantry_cancel *pn_term_soft_interrupt(void); /* NULL before pn_term_watch */
bool pn_term_interrupted(void);
/* True if Ctrl-C was pressed since the last call. */
bool pn_term_take_interrupt(void);
/* Ends the process by SIGINT, as without a handler, so that a script's loop ends too. */
void pn_term_end_interrupted(void);
bool pn_term_take_resize(void);
bool pn_term_take_stop(void);
/* True if the process was continued since the last call: the terminal's modes may have changed. */
bool pn_term_take_resumed(void);
/* While a line is edited, Ctrl-Z sets a flag, so that the editor can restore the terminal first. Otherwise it stops the
 * process at once, and the terminal has its original modes until the process continues. */
void pn_term_watch_stop(bool watch);
/* Stops the process as Ctrl-Z does; returns when it is continued. */
void pn_term_stop_now(void);
/* Takes the terminal again if a shell returned it without a signal. */
void pn_term_come_back(void);
/* Waits for standard input; false if one of the flags above is set, before or during the wait. No signal is missed,
 * however close to the wait it arrives. */
bool pn_term_wait_input(void);

/* Echo of keys; off during an answer. */
void pn_term_echo(bool on);
/* Pasted text arrives between ESC[200~ and ESC[201~. */
void pn_term_bracketed_paste(bool on);

#endif
