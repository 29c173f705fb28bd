/* Reads the user's input with line editing, history and paste of several lines (libedit).
 *
 * The history file is readable by its owner only. It is replaced after each entry by way of a temporary file, so that a
 * killed program loses nothing. */
#ifndef PN_CLI_EDITOR_H
#define PN_CLI_EDITOR_H

#include <stdbool.h>
#include <stddef.h>

struct pn_editor;

enum pn_editor_event {
    PN_EDITOR_LINE,      /* *text is the input without the newline at its end; pasted text may have newlines */
    PN_EDITOR_INTERRUPT, /* Ctrl-C */
    PN_EDITOR_END,       /* Ctrl-D at an empty prompt, or the end of the input */
};

/* `history_path` NULL: no history file. Returns NULL without memory or a terminal. */
struct pn_editor *pn_editor_new(const char *history_path);
void pn_editor_free(struct pn_editor *editor);
/* *text lives until the next call. *had_text: an interrupt discarded typed text. */
enum pn_editor_event pn_editor_read(struct pn_editor *editor, const char *prompt, const char **text, bool *had_text);
/* Adds an entry, unless the history is off. */
void pn_editor_remember(struct pn_editor *editor, const char *text);
void pn_editor_keep_history(struct pn_editor *editor, bool keep);

#endif
