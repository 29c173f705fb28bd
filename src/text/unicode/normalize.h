/* Normalization of text before it is tokenized. */
#ifndef PN_TEXT_UNICODE_NORMALIZE_H
#define PN_TEXT_UNICODE_NORMALIZE_H

#include "base/alloc.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum pn_normal_form { PN_NFC, PN_NFD, PN_NFKC, PN_NFKD };

/* All append to `out`; `text` is valid UTF-8. */
pantry_status pn_normalize_form(struct pn_buf *out, enum pn_normal_form form, const char *text, size_t len,
                                struct pantry_error *err);
void pn_normalize_lowercase(struct pn_buf *out, const char *text, size_t len);
/* BERT: as the options say, drops control characters, turns white space into blanks, puts blanks around ideographs,
 * strips accents, folds case. */
struct pn_bert_options {
    bool clean, ideographs, strip_accents, lowercase;
};
pantry_status pn_normalize_bert(struct pn_buf *out, struct pn_bert_options options, const char *text, size_t len,
                                struct pantry_error *err);
bool pn_is_bert_punctuation(uint32_t c);
bool pn_is_white_space(uint32_t c);
/* Bytes of the user-perceived character (grapheme cluster) at the start of the text. */
size_t pn_grapheme_len(const char *text, size_t len);

/* ---- SentencePiece's precompiled map ---- */

/* A double array of prefixes (XOR of base and byte, in the layout of Darts-clone) and their replacements. Every index
 * is checked, so any bytes may be read as a map. */
struct pn_charsmap {
    const unsigned char *units; /* 32-bit little-endian, unaligned */
    size_t n_units;
    const char *strings;
    size_t n_strings;
};

pantry_status pn_charsmap_init(struct pn_charsmap *map, const char *data, size_t len, struct pantry_error *err);
/* Whether the map leaves an ASCII character alone before another one or at the end. */
bool pn_charsmap_spares(const struct pn_charsmap *map, unsigned char c);
/* The longest (with `shortest`, the shortest) prefix of the text that the map changes: its length, 0 for none, and its
 * replacement. */
size_t pn_charsmap_prefix(const struct pn_charsmap *map, const char *text, size_t len, bool shortest, const char **to,
                          size_t *to_len);

#endif
