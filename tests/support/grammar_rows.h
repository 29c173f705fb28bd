/* The shared rows of grammars and the strings that they accept: ../shared/data/grammar, or PANTRY_TEST_DATA. */
#ifndef GRAMMAR_ROWS_H
#define GRAMMAR_ROWS_H

#include "grammar/grammar.h"

/* Compiles what a row has under the key; text ends with a NUL after its length. */
typedef pantry_status grammar_compiler(const char *text, size_t n, struct pn_grammar **grammar,
                                       struct pantry_error *err);

/* Checks every row of the file: what must compile does and judges its strings as expected; errors mention what they
 * should. Skips the test without the file, fails it with the first rows that are wrong. */
void check_grammar_rows(const char *file, const char *key, grammar_compiler *compile);

#endif
