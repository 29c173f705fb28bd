/* UTF-8 and Unicode character data: see unicode.h. */
#include "text/unicode/unicode.h"

#include <string.h>

#include <utf8proc.h>

#define CONTROL PN_UC_CONTROL
#define BLANK   (PN_UC_CONTROL | PN_UC_SPACE)
#define PUNCT   PN_UC_PUNCT
#define SYM     PN_UC_SYMBOL
#define DIGIT   (PN_UC_NUMBER | PN_UC_DIGIT)
#define UP      PN_UC_UPPER
#define LOW     PN_UC_LOWER

const uint16_t pn_uc_ascii[128] = {
    CONTROL, CONTROL, CONTROL, CONTROL, CONTROL, CONTROL, CONTROL, CONTROL, CONTROL, BLANK, BLANK, BLANK, BLANK, BLANK,
    CONTROL, CONTROL, CONTROL, CONTROL, CONTROL, CONTROL, CONTROL, CONTROL, CONTROL, CONTROL, CONTROL, CONTROL, CONTROL,
    CONTROL, CONTROL, CONTROL, CONTROL, CONTROL,
    /* space ! " # $ % & ' ( ) * + , - . / */
    PN_UC_SPACE, PUNCT, PUNCT, PUNCT, SYM, PUNCT, PUNCT, PUNCT, PUNCT, PUNCT, PUNCT, SYM, PUNCT, PUNCT, PUNCT, PUNCT,
    /* 0-9 : ; < = > ? @ */
    DIGIT, DIGIT, DIGIT, DIGIT, DIGIT, DIGIT, DIGIT, DIGIT, DIGIT, DIGIT, PUNCT, PUNCT, SYM, SYM, SYM, PUNCT, PUNCT,
    /* A-Z */
    UP, UP, UP, UP, UP, UP, UP, UP, UP, UP, UP, UP, UP, UP, UP, UP, UP, UP, UP, UP, UP, UP, UP, UP, UP, UP,
    /* [ \ ] ^ _ ` */
    PUNCT, PUNCT, PUNCT, SYM, PUNCT | PN_UC_CONNECTOR, SYM,
    /* a-z */
    LOW, LOW, LOW, LOW, LOW, LOW, LOW, LOW, LOW, LOW, LOW, LOW, LOW, LOW, LOW, LOW, LOW, LOW, LOW, LOW, LOW, LOW, LOW,
    LOW, LOW, LOW,
    /* { | } ~ DEL */
    PUNCT, SYM, PUNCT, SYM, CONTROL};

static const uint16_t category_class[] = {
    [UTF8PROC_CATEGORY_CN] = CONTROL,
    [UTF8PROC_CATEGORY_LU] = UP,
    [UTF8PROC_CATEGORY_LL] = LOW,
    [UTF8PROC_CATEGORY_LT] = UP,
    [UTF8PROC_CATEGORY_LM] = PN_UC_OTHER,
    [UTF8PROC_CATEGORY_LO] = PN_UC_OTHER,
    [UTF8PROC_CATEGORY_MN] = PN_UC_MARK | PN_UC_NONSPACING,
    [UTF8PROC_CATEGORY_MC] = PN_UC_MARK,
    [UTF8PROC_CATEGORY_ME] = PN_UC_MARK,
    [UTF8PROC_CATEGORY_ND] = DIGIT,
    [UTF8PROC_CATEGORY_NL] = PN_UC_NUMBER | PN_UC_LETTER_NUMBER,
    [UTF8PROC_CATEGORY_NO] = PN_UC_NUMBER,
    [UTF8PROC_CATEGORY_PC] = PUNCT | PN_UC_CONNECTOR,
    [UTF8PROC_CATEGORY_PD] = PUNCT,
    [UTF8PROC_CATEGORY_PS] = PUNCT,
    [UTF8PROC_CATEGORY_PE] = PUNCT,
    [UTF8PROC_CATEGORY_PI] = PUNCT,
    [UTF8PROC_CATEGORY_PF] = PUNCT,
    [UTF8PROC_CATEGORY_PO] = PUNCT,
    [UTF8PROC_CATEGORY_SM] = SYM,
    [UTF8PROC_CATEGORY_SC] = SYM,
    [UTF8PROC_CATEGORY_SK] = SYM,
    [UTF8PROC_CATEGORY_SO] = SYM,
    [UTF8PROC_CATEGORY_ZS] = PN_UC_SPACE,
    [UTF8PROC_CATEGORY_ZL] = PN_UC_SPACE,
    [UTF8PROC_CATEGORY_ZP] = PN_UC_SPACE,
    [UTF8PROC_CATEGORY_CC] = CONTROL,
    [UTF8PROC_CATEGORY_CF] = CONTROL,
    [UTF8PROC_CATEGORY_CS] = CONTROL,
    [UTF8PROC_CATEGORY_CO] = CONTROL,
};

_Atomic(uint16_t) pn_uc_known[PN_UC_KNOWN];

unsigned pn_uc_class_slow(uint32_t c)
{
    uint16_t class = c == 0x85 ? BLANK : category_class[utf8proc_category((utf8proc_int32_t)c)];
    if (c < PN_UC_KNOWN)
        atomic_store_explicit(&pn_uc_known[c], class, memory_order_relaxed);
    return class;
}

bool pn_uc_is_word(uint32_t c)
{
    if (pn_uc_class(c) & (PN_UC_LETTER | PN_UC_MARK | PN_UC_CONNECTOR | PN_UC_LETTER_NUMBER | PN_UC_DIGIT))
        return true;
    /* The symbols that are alphabetic: letters in circles and squares. */
    return (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) ||
           (c >= 0x1F170 && c <= 0x1F189);
}

int pn_utf8_check(const unsigned char *p, size_t left)
{
    unsigned char lead = p[0], low = 0x80, high = 0xBF;
    int n;
    if (lead < 0x80)
        return 1;
    if (lead >= 0xC2 && lead <= 0xDF) {
        n = 2;
    } else if (lead >= 0xE0 && lead <= 0xEF) {
        n = 3;
        if (lead == 0xE0)
            low = 0xA0;
        else if (lead == 0xED)
            high = 0x9F;
    } else if (lead >= 0xF0 && lead <= 0xF4) {
        n = 4;
        if (lead == 0xF0)
            low = 0x90;
        else if (lead == 0xF4)
            high = 0x8F;
    } else {
        return 0;
    }
    for (int i = 1; i < n; i++) {
        if ((size_t)i >= left)
            return -i;
        if (p[i] < low || p[i] > high)
            return 0;
        low = 0x80;
        high = 0xBF;
    }
    return n;
}

size_t pn_utf8_valid_prefix(const char *text, size_t len)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t i = 0;
    while (i < len) {
        uint64_t word;
        while (len - i >= sizeof word && (memcpy(&word, p + i, sizeof word), !(word & 0x8080808080808080u)))
            i += sizeof word;
        if (i >= len)
            break;
        int n = pn_utf8_check(p + i, len - i);
        if (n <= 0)
            return i;
        i += (size_t)n;
    }
    return i;
}

void pn_utf8_clean(struct pn_buf *out, const char *text, size_t len)
{
    while (len) {
        size_t good = pn_utf8_valid_prefix(text, len);
        pn_buf_append(out, text, good);
        if (good == len)
            return;
        pn_buf_puts(out, "\xEF\xBF\xBD");
        text += good + 1;
        len -= good + 1;
    }
}

/* Bytes that are themselves in GPT-2's alphabet; the others follow from U+0100 on, in order. */
static bool stands_for_itself(unsigned b)
{
    return (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
}

uint32_t pn_byte_to_char(unsigned char byte)
{
    if (stands_for_itself(byte))
        return byte;
    if (byte <= 0x20)
        return 0x100u + byte;
    if (byte == 0xAD)
        return 0x143;
    return 0x100u + 0x21u + (byte - 0x7Fu);
}

/* The byte that the character at `p` spells, -1 if it is not in the alphabet, and the character's length. */
static inline int byte_at(const unsigned char *p, size_t left, unsigned *n)
{
    *n = p[0] < 0x80 ? 1 : 2;
    if (p[0] < 0x80)
        return p[0] > 0x20 && p[0] != 0x7F ? p[0] : -1;
    if (left < 2 || (p[0] & 0xE0) != 0xC0 || (p[1] & 0xC0) != 0x80)
        return -1;
    return pn_char_to_byte((p[0] & 0x1Fu) << 6 | (p[1] & 0x3Fu));
}

bool pn_bytes_decode(const char *text, size_t len, char *out, size_t *out_len)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t count = 0;
    unsigned n;
    for (size_t i = 0; i < len; i += n) {
        int byte = byte_at(p + i, len - i, &n);
        if (byte < 0)
            return false;
        out[count++] = (char)byte;
    }
    *out_len = count;
    return true;
}

bool pn_in_byte_alphabet(const char *text, size_t len)
{
    const unsigned char *p = (const unsigned char *)text;
    unsigned n;
    for (size_t i = 0; i < len; i += n)
        if (byte_at(p + i, len - i, &n) < 0)
            return false;
    return true;
}
