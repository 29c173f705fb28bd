/* How a GGUF file names the pre-tokenizer of a byte-level BPE vocabulary. */
#ifndef PN_TEXT_SPLIT_PRETYPE_H
#define PN_TEXT_SPLIT_PRETYPE_H

#include <stdbool.h>
#include <stddef.h>

enum { PN_PRETYPE_STEPS = 6 };

enum {
    PN_PRETYPE_IGNORE_MERGES = 1, /* a word that is a token is not taken apart */
    PN_PRETYPE_ADD_BOS = 2,       /* unless the file says otherwise */
    PN_PRETYPE_NO_BOS = 4,        /* no BOS by default */
    PN_PRETYPE_RAW = 8,           /* characters with byte fallback instead of the byte alphabet */
    PN_PRETYPE_ESCAPE_SPACE = 16, /* blanks are written as U+2581 */
    PN_PRETYPE_DROP_SPACE = 32,   /* white space is dropped: words are the text between */
    PN_PRETYPE_NEWLINE_RUNS = 64, /* a run of line breaks that is a token is not taken apart */
    PN_PRETYPE_ALWAYS_BOS = 128,  /* even if the file says otherwise: early files are wrong */
};

struct pn_pretype {
    const char *names;                   /* separated by spaces */
    const char *steps[PN_PRETYPE_STEPS]; /* split expressions, each applied to the pieces of the one before */
    unsigned flags;
};

/* NULL when the name is not known. */
const struct pn_pretype *pn_pretype_find(const char *name, size_t len);
/* The i-th row, NULL after the last. */
const struct pn_pretype *pn_pretype_row(size_t i);

#endif
