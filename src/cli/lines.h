/* The texts of a command: its arguments, the lines of a file, or the lines of standard input. */
#ifndef PN_CLI_LINES_H
#define PN_CLI_LINES_H

#include "pantry.h"

struct pn_lines {
    struct pantry_input *input; /* (n) */
    size_t n;
    char *bytes;  /* of the file; NULL for arguments */
    int32_t *ids; /* of all inputs, if they are ids */
};

/* `words` if there are any, else the lines of `file` (NULL and "-": standard input). Empty lines are skipped. With
 * `ids`, each text is a list of token ids. Reports errors; returns an exit status. */
int pn_lines_read(char *const *words, size_t n_words, const char *file, bool ids, struct pn_lines *out);
void pn_lines_free(struct pn_lines *lines);

#endif
