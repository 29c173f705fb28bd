/* Cutting text into the words that a vocabulary is applied to. */
#ifndef PN_TEXT_SPLIT_PRETOKENIZE_H
#define PN_TEXT_SPLIT_PRETOKENIZE_H

#include "base/status.h"
#include "text/split/regex.h"
#include "text/split/scan.h"

#include <stdint.h>

enum pn_split_kind {
    PN_SPLIT_SCAN,    /* a scanner: words that cover the text */
    PN_SPLIT_CUT,     /* a splitter */
    PN_SPLIT_REGEX,   /* matches of an expression */
    PN_SPLIT_LITERAL, /* occurrences of a string */
    PN_SPLIT_CHARS,   /* characters for which a function is true */
    PN_SPLIT_EVERY,   /* pieces of `count` characters */
};

/* What to do with matches, named as in tokenizer.json. */
enum pn_split_behavior {
    PN_SPLIT_ISOLATED,
    PN_SPLIT_REMOVED,
    PN_SPLIT_MERGED_WITH_PREVIOUS,
    PN_SPLIT_MERGED_WITH_NEXT,
    PN_SPLIT_CONTIGUOUS
};

struct pn_split {
    enum pn_split_kind kind;
    enum pn_split_behavior behavior;
    bool invert; /* matches and the text between them swap roles */
    pn_scan_fn *scan;
    pn_split_fn *cut;
    struct pn_regex *regex; /* owned */
    char *literal;          /* owned */
    size_t count;           /* bytes of the literal, or characters of a piece */
    bool (*is_match)(uint32_t c);
};

struct pn_piece { /* bytes [start, end) of a text */
    size_t start, end;
};

struct pn_pieces {
    struct pn_piece *data;
    size_t len, cap;
};

struct pn_split_scratch {
    struct pn_regex_scratch *regex; /* made when first needed */
    struct pn_ends ends;
};

/* A split by an expression, with its scanner or splitter if there is one. */
pantry_status pn_split_from_regex(struct pn_split *split, const char *regex, size_t len, struct pantry_error *err);
void pn_split_free(struct pn_split *split);
/* Makes the scratch ready for expressions on a text of `len` bytes. */
pantry_status pn_split_scratch_ready(struct pn_split_scratch *scratch, size_t len, struct pantry_error *err);
void pn_split_scratch_free(struct pn_split_scratch *scratch);

/* Appends the pieces of text[piece.start, piece.end) to `out`; the pattern sees nothing outside it. */
pantry_status pn_split_run(const struct pn_split *split, struct pn_split_scratch *scratch, const char *text,
                           struct pn_piece piece, struct pn_pieces *out, struct pantry_error *err);

#endif
