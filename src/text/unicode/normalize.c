/* Normalization of text: see normalize.h. */
#include "text/unicode/normalize.h"

#include "text/unicode/unicode.h"

#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

/* Length of the start of the text that normalizing leaves alone, and that does not affect the rest. It ends before an
 * ASCII character that another one follows. */
static size_t ascii_prefix(const char *text, size_t len)
{
    size_t n = 0;
    while (n < len && (unsigned char)text[n] < 0x80)
        n++;
    return n < len && n ? n - 1 : n;
}

/* Normalizes a stretch with utf8proc, all at once. */
static pantry_status normalize_stretch(struct pn_buf *out, utf8proc_option_t options, const char *text, size_t len,
                                       struct pantry_error *err)
{
    utf8proc_uint8_t *to = NULL;
    utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)len, &to, options);
    if (n < 0)
        return n == UTF8PROC_ERROR_NOMEM ? pn_no_memory(err, "normalizing text")
                                         : pn_fail(err, PANTRY_FORMAT, "normalizing text: %s", utf8proc_errmsg(n));
    pn_buf_append(out, to, (size_t)n);
    free(to);
    return PANTRY_OK;
}

pantry_status pn_normalize_form(struct pn_buf *out, enum pn_normal_form form, const char *text, size_t len,
                                struct pantry_error *err)
{
    static const int options[] = {[PN_NFC] = UTF8PROC_COMPOSE,
                                  [PN_NFD] = UTF8PROC_DECOMPOSE,
                                  [PN_NFKC] = UTF8PROC_COMPOSE | UTF8PROC_COMPAT,
                                  [PN_NFKD] = UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT};
    while (len) {
        size_t plain = ascii_prefix(text, len);
        pn_buf_append(out, text, plain);
        text += plain;
        len -= plain;
        if (!len)
            break;
        /* Stops before the second of two ASCII characters in a row: the text before it is complete. */
        size_t end = 1;
        while (end < len && !((unsigned char)text[end] < 0x80 && (unsigned char)text[end - 1] < 0x80))
            end++;
        pantry_status status =
            normalize_stretch(out, (utf8proc_option_t)(UTF8PROC_STABLE | options[form]), text, end, err);
        if (status)
            return status;
        text += end;
        len -= end;
    }
    return out->failed ? pn_no_memory(err, "normalizing text") : PANTRY_OK;
}

static void put_lower(struct pn_buf *out, uint32_t c)
{
    if (c == 0x130) { /* the only character whose lower case has two */
        pn_buf_puts(out, "i\xCC\x87");
        return;
    }
    pn_buf_put_utf8(out, (uint32_t)utf8proc_tolower((utf8proc_int32_t)c));
}

void pn_normalize_lowercase(struct pn_buf *out, const char *text, size_t len)
{
    unsigned n;
    for (size_t i = 0; i < len; i += n) {
        uint32_t c = pn_utf8_get((const unsigned char *)text + i, &n);
        if (c < 0x80)
            pn_buf_putc(out, (char)(c >= 'A' && c <= 'Z' ? c + 32 : c));
        else
            put_lower(out, c);
    }
}

bool pn_is_white_space(uint32_t c)
{
    return pn_uc_class(c) & PN_UC_SPACE;
}

bool pn_is_bert_punctuation(uint32_t c)
{
    return pn_uc_class(c) & PN_UC_PUNCT || (c < 128 && pn_uc_class(c) & PN_UC_SYMBOL);
}

size_t pn_grapheme_len(const char *text, size_t len)
{
    unsigned n;
    utf8proc_int32_t state = 0;
    uint32_t c = pn_utf8_get((const unsigned char *)text, &n);
    size_t pos = n;
    while (pos < len) {
        uint32_t next = pn_utf8_get((const unsigned char *)text + pos, &n);
        if (c < 0x80 && next < 0x80 && !(c == '\r' && next == '\n'))
            break;
        if (utf8proc_grapheme_break_stateful((utf8proc_int32_t)c, (utf8proc_int32_t)next, &state))
            break;
        c = next;
        pos += n;
    }
    return pos;
}

/* The blocks of ideographs as BERT's tokenizers list them, including a mistake that all of them share. */
static bool is_ideograph(uint32_t c)
{
    return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
           (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
           (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

/* Drops control characters and puts blanks around ideographs. */
static void put_clean(struct pn_buf *out, struct pn_bert_options options, const char *text, size_t len)
{
    unsigned n;
    for (size_t i = 0; i < len; i += n) {
        uint32_t c = pn_utf8_get((const unsigned char *)text + i, &n);
        if (options.clean) {
            bool blank = c == '\t' || c == '\n' || c == '\r' || (pn_uc_class(c) & PN_UC_SPACE);
            utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
            bool control = category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CF ||
                           category == UTF8PROC_CATEGORY_CO || category == UTF8PROC_CATEGORY_CS;
            if (c == 0 || c == 0xFFFD || (control && c != '\t' && c != '\n' && c != '\r'))
                continue;
            if (blank) {
                pn_buf_putc(out, ' ');
                continue;
            }
        }
        bool alone = options.ideographs && is_ideograph(c);
        if (alone)
            pn_buf_putc(out, ' ');
        pn_buf_append(out, text + i, n);
        if (alone)
            pn_buf_putc(out, ' ');
    }
}

static void put_without_accents(struct pn_buf *out, const char *text, size_t len, bool lowercase)
{
    unsigned n;
    for (size_t i = 0; i < len; i += n) {
        uint32_t c = pn_utf8_get((const unsigned char *)text + i, &n);
        if (pn_uc_class(c) & PN_UC_NONSPACING)
            continue;
        if (lowercase)
            put_lower(out, c);
        else
            pn_buf_append(out, text + i, n);
    }
}

/* A stretch step by step, as the definition says. */
static pantry_status bert_stretch(struct pn_buf *out, struct pn_bert_options options, const char *text, size_t len,
                                  struct pantry_error *err)
{
    struct pn_buf clean = {0}, apart = {0};
    put_clean(&clean, options, text, len);
    pantry_status status = pn_normalize_form(&apart, PN_NFD, clean.data ? clean.data : "", clean.len, err);
    if (!status)
        put_without_accents(out, apart.data ? apart.data : "", apart.len, options.lowercase);
    if (!status && (clean.failed || apart.failed || out->failed))
        status = pn_no_memory(err, "normalizing text");
    pn_buf_free(&clean);
    pn_buf_free(&apart);
    return status;
}

/* One non-ASCII character, without its neighbours. False when accents cannot be removed this way: a mark that stays is
 * ordered among its neighbours. */
static bool put_bert_char(struct pn_buf *out, struct pn_bert_options options, const char *text, uint32_t c, unsigned n)
{
    unsigned class = pn_uc_class(c);
    if (options.clean) {
        /* Unassigned characters stay. */
        if (c == 0xFFFD || (class & PN_UC_CONTROL && utf8proc_category((utf8proc_int32_t)c) != UTF8PROC_CATEGORY_CN))
            return true;
        if (class & PN_UC_SPACE) {
            pn_buf_putc(out, ' ');
            return true;
        }
    }
    bool alone = options.ideographs && is_ideograph(c);
    if (alone)
        pn_buf_putc(out, ' ');
    if (!options.strip_accents) {
        if (options.lowercase)
            put_lower(out, c);
        else
            pn_buf_append(out, text, n);
    } else {
        utf8proc_int32_t parts[32];
        int last = 0;
        utf8proc_ssize_t k = utf8proc_decompose_char((utf8proc_int32_t)c, parts, 32,
                                                     (utf8proc_option_t)(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE), &last);
        if (k < 0 || k > 32)
            return false;
        for (utf8proc_ssize_t i = 0; i < k; i++) {
            unsigned part = pn_uc_class((uint32_t)parts[i]);
            if (part & PN_UC_NONSPACING)
                continue;
            if (part & PN_UC_MARK && utf8proc_get_property(parts[i])->combining_class != 0)
                return false;
            if (options.lowercase)
                put_lower(out, (uint32_t)parts[i]);
            else
                pn_buf_put_utf8(out, (uint32_t)parts[i]);
        }
    }
    if (alone)
        pn_buf_putc(out, ' ');
    return true;
}

/* What ASCII characters become; 0 for those that are dropped. */
static void bert_ascii(unsigned char to[128], struct pn_bert_options options)
{
    for (unsigned c = 0; c < 128; c++) {
        to[c] = (unsigned char)(options.lowercase && c >= 'A' && c <= 'Z' ? c + 32 : c);
        if (options.clean && (c == '\t' || c == '\n' || c == '\r'))
            to[c] = ' ';
        else if (options.clean && pn_uc_ascii[c] & PN_UC_CONTROL)
            to[c] = 0;
    }
}

/* Characters depend on each other only in the order of marks, so they are normalized one by one; if that order matters,
 * the stretch between two ASCII characters is redone step by step. */
pantry_status pn_normalize_bert(struct pn_buf *out, struct pn_bert_options options, const char *text, size_t len,
                                struct pantry_error *err)
{
    unsigned char to[128];
    const size_t none = SIZE_MAX;
    size_t stretch = none, out_stretch = 0; /* start of the stretch in the text and in the output */
    unsigned n;
    bert_ascii(to, options);
    for (size_t i = 0; i < len; i += n) {
        unsigned char byte = (unsigned char)text[i];
        n = 1;
        if (byte < 128) {
            if (!to[byte] && options.clean)
                continue;
            stretch = none;
            if (out->len + 2 > out->cap && !pn_buf_reserve(out, len - i + 16))
                break;
            out->data[out->len++] = (char)to[byte];
            continue;
        }
        if (stretch == none) {
            stretch = i;
            out_stretch = out->len;
        }
        uint32_t c = pn_utf8_get((const unsigned char *)text + i, &n);
        if (put_bert_char(out, options, text + i, c, n))
            continue;
        size_t end = i + n;
        while (end < len && ((unsigned char)text[end] >= 128 || (options.clean && !to[(unsigned char)text[end]])))
            end++;
        out->len = out_stretch;
        pantry_status status = bert_stretch(out, options, text + stretch, end - stretch, err);
        if (status)
            return status;
        n = (unsigned)(end - i);
        stretch = none;
    }
    pn_buf_append(out, "", 0);
    return out->failed ? pn_no_memory(err, "normalizing text") : PANTRY_OK;
}

/* ---- SentencePiece's precompiled map ---- */

static uint32_t load_u32(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

pantry_status pn_charsmap_init(struct pn_charsmap *map, const char *data, size_t len, struct pantry_error *err)
{
    *map = (struct pn_charsmap){0};
    if (!len)
        return PANTRY_OK;
    size_t bytes = len >= 4 ? load_u32((const unsigned char *)data) : 0;
    if (len < 4 || bytes > len - 4 || bytes % 4)
        return pn_fail(err, PANTRY_FORMAT, "the precompiled map of characters has %zu bytes, but its table says %zu",
                       len, bytes);
    *map = (struct pn_charsmap){.units = (const unsigned char *)data + 4,
                                .n_units = bytes / 4,
                                .strings = data + 4 + bytes,
                                .n_strings = len - 4 - bytes};
    return PANTRY_OK;
}

/* A unit: label in bits 0-7 and 31, "has a value" in 8, offset in 10-30, shifted by 8 where bit 9 is set. */
static size_t unit_offset(uint32_t unit)
{
    return (size_t)(unit >> 10) << ((unit & 1u << 9) >> 6);
}

/* Whether an entry of the map may start with this. */
static bool may_start(const struct pn_charsmap *map, const char *text, size_t len)
{
    if (!map->n_units)
        return false;
    size_t node = unit_offset(load_u32(map->units));
    for (size_t i = 0; i < len; i++) {
        node ^= (unsigned char)text[i];
        if (node >= map->n_units)
            return false;
        uint32_t unit = load_u32(map->units + 4 * node);
        if ((unit & (1u << 31 | 0xFF)) != (unsigned char)text[i])
            return false;
        node ^= unit_offset(unit);
    }
    return true;
}

size_t pn_charsmap_prefix(const struct pn_charsmap *map, const char *text, size_t len, bool shortest, const char **to,
                          size_t *to_len)
{
    size_t longest = 0;
    if (!map->n_units)
        return 0;
    size_t node = unit_offset(load_u32(map->units)), value = 0;
    for (size_t i = 0; i < len && text[i] && !(shortest && longest); i++) {
        unsigned char c = (unsigned char)text[i];
        node ^= c;
        if (node >= map->n_units)
            break;
        uint32_t unit = load_u32(map->units + 4 * node);
        if ((unit & (1u << 31 | 0xFF)) != c)
            break;
        node ^= unit_offset(unit);
        if (!(unit >> 8 & 1))
            continue;
        if (node >= map->n_units)
            break;
        longest = i + 1;
        value = load_u32(map->units + 4 * node) & ~(1u << 31);
    }
    if (!longest || value >= map->n_strings)
        return 0;
    const char *string = map->strings + value, *end = memchr(string, 0, map->n_strings - value);
    if (!end)
        return 0;
    *to = string;
    *to_len = (size_t)(end - string);
    return longest;
}

bool pn_charsmap_spares(const struct pn_charsmap *map, unsigned char c)
{
    const char *to;
    size_t n;
    char pair[2] = {(char)c};
    if (pn_charsmap_prefix(map, pair, 1, false, &to, &n))
        return false;
    for (int next = 1; next < 128; next++) {
        pair[1] = (char)next;
        /* A longer entry that starts with two ASCII characters is found by its prefix. */
        if (may_start(map, pair, 2))
            return false;
    }
    return true;
}
