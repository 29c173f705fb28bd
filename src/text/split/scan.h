/* Hand-written scanners for the split expressions that most models share.
 *
 * A scanner equals its regular expression (Oniguruma's reading), which matches at every position, so the words it finds
 * cover the text. tests/unit/test_tokenizer_scan.c compares each with PCRE2. Time is linear. */
#ifndef PN_TEXT_SPLIT_SCAN_H
#define PN_TEXT_SPLIT_SCAN_H

#include <stdbool.h>
#include <stddef.h>

/* End of the word that starts at `pos` < `len`; always greater than `pos`. `text` is valid UTF-8. */
typedef size_t pn_scan_fn(const unsigned char *text, size_t len, size_t pos);

/* The scanner of an expression, found by its text; NULL: none. */
pn_scan_fn *pn_scan_find(const char *regex, size_t len);

/* The i-th expression that has a scanner, for tests; NULL after the last. */
const char *pn_scan_regex(size_t i);

/* Ends of consecutive pieces of a text. */
struct pn_ends {
    size_t *data;
    size_t len, cap;
};

/* Expressions for which a search would take quadratic time, or that no engine supports. The splitter appends the ends
 * of the pieces into which its matches cut the text; false when memory is out. NULL: not such an expression. */
typedef bool pn_split_fn(const unsigned char *text, size_t len, struct pn_ends *ends);
pn_split_fn *pn_split_find(const char *regex, size_t len);
const char *pn_split_regex(size_t i);

/* Names a split that is not an expression: around runs of bytes that are numbers in GPT-2's byte alphabet. */
#define PN_NUMBER_BYTES "number bytes"

#endif
