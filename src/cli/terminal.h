/* The terminal: what it can do, Ctrl-C, and its restoration whatever happens.
 *
 * Styles are empty texts unless the stream is a terminal and NO_COLOR is unset (https://no-color.org). While an answer
 * is written the terminal does not echo what is typed; it echoes again when the program ends, also by a signal. */
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
/* Columns of the terminal behind the stream; 80 if it does not say. */
int pn_term_width(FILE *stream);

/* Makes the narrow character functions (of the line editor) understand UTF-8 even where the locale is "C". */
void pn_term_use_utf8(void);

/* From now on Ctrl-C sets a flag instead of ending the program, and the signals that end it restore the terminal. */
void pn_term_watch(void);
/* Takes the terminal for this process alone where it shares it with the program that started it and that is no shell of
 * the terminal, such as make: Ctrl-C is then for this program only, and the other one does not think it was stopped.
 * The terminal goes back at the end and while the program is stopped. Call it after pn_term_watch. */
void pn_term_take_over(void);
/* For pantry_generate_options.cancel. */
const pantry_cancel *pn_term_interrupt(void);
bool pn_term_interrupted(void);
/* True if Ctrl-C was pressed since the last call. */
bool pn_term_take_interrupt(void);
/* Ends the process as Ctrl-C does to a program that does not watch it, so that a script's loop ends too. */
void pn_term_end_interrupted(void);
bool pn_term_take_resize(void);
bool pn_term_take_stop(void);
/* True if the process was continued since the last call: the terminal may have other modes now. */
bool pn_term_take_resumed(void);
/* While a line is edited Ctrl-Z sets a flag, so that the editor can give the terminal back first. Otherwise it stops
 * the process at once, and the terminal has the modes that it was found with until the process goes on. */
void pn_term_watch_stop(bool watch);
/* Stops the process as Ctrl-Z does; returns when it is continued. */
void pn_term_stop_now(void);
/* Takes the terminal again where a shell gave it back without a word. */
void pn_term_come_back(void);
/* Waits until standard input has something to read; false if one of the flags of this page is set, at once or
 * meanwhile. A signal is never missed, however close to the wait it comes. */
bool pn_term_wait_input(void);

/* Echo of what is typed, off while an answer is written. */
void pn_term_echo(bool on);
/* Pasted text arrives between ESC[200~ and ESC[201~. */
void pn_term_bracketed_paste(bool on);

#endif
