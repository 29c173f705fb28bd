/* UTF-8 and Unicode character data for the text layer.
 *
 * Everything after pn_utf8_clean works on valid UTF-8 and may step over characters without checks. Categories come from
 * utf8proc; \s is the White_Space property, as in the regex engines of the reference tokenizers. */
#ifndef PN_TEXT_UNICODE_UNICODE_H
#define PN_TEXT_UNICODE_UNICODE_H

#include "base/alloc.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PN_UC_UPPER = 1,            /* Lu, Lt */
    PN_UC_LOWER = 2,            /* Ll */
    PN_UC_OTHER = 4,            /* Lm, Lo */
    PN_UC_MARK = 8,             /* M */
    PN_UC_NUMBER = 16,          /* N */
    PN_UC_PUNCT = 32,           /* P */
    PN_UC_SYMBOL = 64,          /* S */
    PN_UC_SPACE = 128,          /* White_Space */
    PN_UC_DIGIT = 256,          /* Nd */
    PN_UC_CONTROL = 512,        /* Cc, Cf, Cs, Co, Cn */
    PN_UC_NONSPACING = 1024,    /* Mn */
    PN_UC_CONNECTOR = 2048,     /* Pc */
    PN_UC_LETTER_NUMBER = 4096, /* Nl */
    PN_UC_LETTER = PN_UC_UPPER | PN_UC_LOWER | PN_UC_OTHER
};

/* Categories of the first 128 characters. */
extern const uint16_t pn_uc_ascii[128];

/* A cache of categories; 0: not looked up yet, since no category is 0. All threads write the same values, so their
 * order does not matter. */
enum { PN_UC_KNOWN = 0x20000 };
extern _Atomic(uint16_t) pn_uc_known[PN_UC_KNOWN];

unsigned pn_uc_class_slow(uint32_t c);
static inline unsigned pn_uc_class_beyond_ascii(uint32_t c)
{
    unsigned class = c < PN_UC_KNOWN ? atomic_load_explicit(&pn_uc_known[c], memory_order_relaxed) : 0;
    return class ? class : pn_uc_class_slow(c);
}
static inline unsigned pn_uc_class(uint32_t c)
{
    return c < 128 ? pn_uc_ascii[c] : pn_uc_class_beyond_ascii(c);
}

/* Word characters as UTS #18 has them: alphabetic, marks, decimal digits, connectors. */
bool pn_uc_is_word(uint32_t c);

/* Bytes of the character that starts with `lead`, valid UTF-8. */
static inline unsigned pn_utf8_len(unsigned char lead)
{
    return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

/* Decodes the character at `p`, valid UTF-8; *n is its length. */
static inline uint32_t pn_utf8_get(const unsigned char *p, unsigned *n)
{
    if (p[0] < 0x80)
        return *n = 1, p[0];
    if (p[0] < 0xE0)
        return *n = 2, (p[0] & 0x1Fu) << 6 | (p[1] & 0x3Fu);
    if (p[0] < 0xF0)
        return *n = 3, (p[0] & 0x0Fu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu);
    return *n = 4, (p[0] & 0x07u) << 18 | (p[1] & 0x3Fu) << 12 | (p[2] & 0x3Fu) << 6 | (p[3] & 0x3Fu);
}

/* Start of the character before `p`, which is not the first. */
static inline const unsigned char *pn_utf8_back(const unsigned char *p)
{
    do
        p--;
    while ((*p & 0xC0) == 0x80);
    return p;
}

/* Checks the bytes at `p`: the length of a valid character, 0 for an invalid one, or minus the number of bytes of one
 * that the end cuts off. */
int pn_utf8_check(const unsigned char *p, size_t left);
/* How many bytes at the start are valid UTF-8. */
size_t pn_utf8_valid_prefix(const char *text, size_t len);
/* Appends the text with U+FFFD for each invalid byte, as SentencePiece does. */
void pn_utf8_clean(struct pn_buf *out, const char *text, size_t len);

/* The byte alphabet of GPT-2: each byte is written as one printable character. */
uint32_t pn_byte_to_char(unsigned char byte);
/* Byte of a character of that alphabet, or -1. */
static inline int pn_char_to_byte(uint32_t c)
{
    if (c < 0x100)
        return (c >= 0x21 && c <= 0x7E) || (c >= 0xA1 && c != 0xAD) ? (int)c : -1;
    return c <= 0x120 ? (int)(c - 0x100) : c <= 0x142 ? (int)(c - 0x121 + 0x7F) : c == 0x143 ? 0xAD : -1;
}
/* Turns text in that alphabet into bytes (`out` has room for `len`); false when a character is not in it. */
bool pn_bytes_decode(const char *text, size_t len, char *out, size_t *out_len);
bool pn_in_byte_alphabet(const char *text, size_t len);

#endif
