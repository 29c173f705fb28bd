/* Hand-written scanners for split expressions: see scan.h. */
#include "text/split/scan.h"

#include "text/unicode/unicode.h"

#include <string.h>

#define LETTER PN_UC_LETTER
#define NUMBER PN_UC_NUMBER
#define SPACE  PN_UC_SPACE
#define MARK   PN_UC_MARK

/* Class of the character at `pos` (0 at the end), and the start of the next one. */
static inline unsigned class_at(const unsigned char *text, size_t len, size_t pos, size_t *next)
{
    if (pos >= len)
        return *next = pos, 0;
    if (text[pos] < 0x80)
        return *next = pos + 1, pn_uc_ascii[text[pos]];
    unsigned n;
    uint32_t c = pn_utf8_get(text + pos, &n);
    *next = pos + n;
    return pn_uc_class_beyond_ascii(c);
}

/* The top bit of each of the eight bytes at `p` that is not an ASCII letter. */
static inline uint64_t no_letters(const unsigned char *p)
{
    const uint64_t ones = 0x0101010101010101u, high = 0x80 * ones;
    uint64_t word;
    memcpy(&word, p, sizeof word);
    uint64_t lower = (word | 0x20 * ones) & ~high;
    /* The sums stay within their bytes: a byte is a letter when it is at least 'a' and at most 'z'. */
    uint64_t letters = (lower + (0x80 - 'a') * ones) & ~(lower + (0x7F - 'z') * ones);
    return (~letters | word) & high;
}

static inline size_t ascii_letters(const unsigned char *text, size_t len, size_t pos)
{
    while (len - pos >= 8) {
        uint64_t others = no_letters(text + pos);
        if (others)
            return pos + (size_t)(__builtin_ctzll(others) / 8);
        pos += 8;
    }
    while (pos < len && pn_uc_ascii[text[pos] & 0x7F] & LETTER && text[pos] < 0x80)
        pos++;
    return pos;
}

static inline size_t run_of(const unsigned char *text, size_t len, size_t pos, unsigned classes)
{
    if ((classes & LETTER) == LETTER)
        pos = ascii_letters(text, len, pos);
    for (size_t next; pos < len && (class_at(text, len, pos, &next) & classes);)
        pos = next;
    return pos;
}

/* Characters in none of the classes. */
static inline size_t run_of_others(const unsigned char *text, size_t len, size_t pos, unsigned classes)
{
    for (size_t next; pos < len && !(class_at(text, len, pos, &next) & classes);)
        pos = next;
    return pos;
}

/* '(s|t|re|ve|m|ll|d): its length, or 0. Folding case, s is also U+017F, long s. */
static inline size_t contraction(const unsigned char *text, size_t len, size_t pos, bool fold)
{
    if (pos + 1 >= len || text[pos] != '\'')
        return 0;
    unsigned char a = text[pos + 1], b = pos + 2 < len ? text[pos + 2] : 0;
    if (fold) {
        if (a == 0xC5 && b == 0xBF)
            return 3;
        if (a >= 0x80)
            return 0;
        a |= 0x20;
        b = b < 0x80 ? b | 0x20 : b;
    }
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return 2;
    return (b == 'e' && (a == 'r' || a == 'v')) || (a == 'l' && b == 'l') ? 3 : 0;
}

/* \s+(?!\S)|\s+ at white space: the run, less its last character when a word follows. With `lines`, \s*[\r\n]+ comes
 * first: the run up to its last line break. */
static size_t white_space(const unsigned char *text, size_t len, size_t pos, bool lines)
{
    size_t end = pos, last = pos, after_break = 0, next;
    while (end < len && (class_at(text, len, end, &next) & SPACE)) {
        if (text[end] == '\n' || text[end] == '\r')
            after_break = next;
        last = end;
        end = next;
    }
    if (lines && after_break)
        return after_break;
    return end < len && last > pos ? last : end;
}

static inline size_t some_of(const unsigned char *text, size_t len, size_t pos, const char *chars)
{
    while (pos < len && text[pos] && strchr(chars, text[pos]))
        pos++;
    return pos;
}

static size_t scan_gpt2(const unsigned char *text, size_t len, size_t pos)
{
    size_t n = contraction(text, len, pos, false), next, after;
    if (n)
        return pos + n;
    unsigned class = class_at(text, len, pos, &next);
    if (text[pos] == ' ' && next < len) {
        unsigned ahead = class_at(text, len, next, &after);
        if (!(ahead & SPACE)) {
            class = ahead;
            next = after;
        }
    }
    if (class & LETTER)
        return run_of(text, len, next, LETTER);
    if (class & NUMBER)
        return run_of(text, len, next, NUMBER);
    if (!(class & SPACE))
        return run_of_others(text, len, next, LETTER | NUMBER | SPACE);
    return white_space(text, len, pos, false);
}

/* The differences between the llama 3 expression and its relatives. */
struct style {
    unsigned word;   /* classes of [\p{L}]+ */
    unsigned digits; /* of \p{N}{1,digits}; 0: no limit */
    bool no_contraction;
    bool fold;        /* (?i:'s...) */
    const char *tail; /* characters that may follow punctuation; NULL: none */
    bool tail_once;   /* one character of it, not all */
};

static inline size_t digits_at(const unsigned char *text, size_t len, size_t next, unsigned limit)
{
    size_t after;
    for (unsigned n = 1; (!limit || n < limit) && (class_at(text, len, next, &after) & NUMBER); n++)
        next = after;
    return next;
}

/* \p{N}{1,n}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ : the rest of the expression, if no word starts here.
 */
static inline size_t no_word(const unsigned char *text, size_t len, size_t pos, unsigned class, size_t next,
                             const struct style style)
{
    if (class & NUMBER)
        return digits_at(text, len, next, style.digits);
    unsigned words = style.word | LETTER | NUMBER | SPACE;
    if (text[pos] == ' ' && next < len) {
        size_t after;
        unsigned ahead = class_at(text, len, next, &after);
        if (!(ahead & words)) {
            class = ahead;
            next = after;
        }
    }
    if (!(class & SPACE)) {
        size_t end = run_of_others(text, len, next, words);
        return style.tail ? some_of(text, style.tail_once && end < len ? end + 1 : len, end, style.tail) : end;
    }
    return white_space(text, len, pos, true);
}

static inline size_t scan_style(const unsigned char *text, size_t len, size_t pos, const struct style style)
{
    size_t next, after;
    if (!style.no_contraction && text[pos] == '\'') {
        size_t n = contraction(text, len, pos, style.fold);
        if (n)
            return pos + n;
    }
    unsigned class = class_at(text, len, pos, &next);
    if (class & style.word)
        return run_of(text, len, next, style.word);
    if (!(class & (NUMBER | LETTER)) && text[pos] != '\r' && text[pos] != '\n' &&
        (class_at(text, len, next, &after) & style.word))
        return run_of(text, len, after, style.word);
    return no_word(text, len, pos, class, next, style);
}

static size_t scan_llama3(const unsigned char *text, size_t len, size_t pos)
{
    return scan_style(text, len, pos, (struct style){.word = LETTER, .digits = 3, .fold = true, .tail = "\r\n"});
}

static size_t scan_qwen2(const unsigned char *text, size_t len, size_t pos)
{
    return scan_style(text, len, pos, (struct style){.word = LETTER, .digits = 1, .fold = true, .tail = "\r\n"});
}

static size_t scan_qwen35(const unsigned char *text, size_t len, size_t pos)
{
    return scan_style(text, len, pos, (struct style){.word = LETTER | MARK, .digits = 1, .fold = true, .tail = "\r\n"});
}

static size_t scan_minicpm5(const unsigned char *text, size_t len, size_t pos)
{
    return scan_style(text, len, pos, (struct style){.word = LETTER, .digits = 0, .fold = true, .tail = "\r\n"});
}

static size_t scan_seed_coder(const unsigned char *text, size_t len, size_t pos)
{
    return scan_style(text, len, pos, (struct style){.word = LETTER, .digits = 1, .fold = true});
}

static size_t scan_no_contraction(const unsigned char *text, size_t len, size_t pos)
{
    return scan_style(text, len, pos,
                      (struct style){.word = LETTER, .digits = 1, .no_contraction = true, .tail = "\r\n"});
}

/* Script=Han of Unicode 15. */
static bool is_han(uint32_t c)
{
    static const uint32_t ranges[][2] = {{0x2E80, 0x2E99},   {0x2E9B, 0x2EF3},   {0x2F00, 0x2FD5},   {0x3005, 0x3005},
                                         {0x3007, 0x3007},   {0x3021, 0x3029},   {0x3038, 0x303B},   {0x3400, 0x4DBF},
                                         {0x4E00, 0x9FFF},   {0xF900, 0xFA6D},   {0xFA70, 0xFAD9},   {0x16FE2, 0x16FE3},
                                         {0x16FF0, 0x16FF1}, {0x20000, 0x2A6DF}, {0x2A700, 0x2B739}, {0x2B740, 0x2B81D},
                                         {0x2B820, 0x2CEA1}, {0x2CEB0, 0x2EBE0}, {0x2F800, 0x2FA1D}, {0x30000, 0x3134A},
                                         {0x31350, 0x323AF}};
    if (c < 0x2E80)
        return false;
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (c <= ranges[i][1])
            return c >= ranges[i][0];
    return false;
}

static inline bool han_at(const unsigned char *text, size_t len, size_t pos)
{
    unsigned n;
    return pos < len && text[pos] >= 0xE2 && is_han(pn_utf8_get(text + pos, &n));
}

enum { CAPITAL = PN_UC_UPPER | PN_UC_OTHER | PN_UC_MARK, SMALL = PN_UC_LOWER | PN_UC_OTHER | PN_UC_MARK };

/* [capital]*[small]+|[capital]+[small]* from `pos`, where capital and small share the letters without case and the
 * marks: as many capitals as possible, then small letters; without small letters, back to the last capital that is also
 * small. `pos`: no match. */
static inline size_t cased_word(const unsigned char *text, size_t len, size_t pos, bool no_han)
{
    size_t end = pos, after_shared = pos, next;
    unsigned class;
    while (((class = class_at(text, len, end, &next)) & CAPITAL) && !(no_han && han_at(text, len, end))) {
        end = next;
        if (class & SMALL)
            after_shared = end;
    }
    if ((class & SMALL) && !(no_han && han_at(text, len, end))) {
        do
            end = next;
        while ((class_at(text, len, end, &next) & SMALL) && !(no_han && han_at(text, len, end)));
        return end;
    }
    return after_shared > pos ? after_shared : end;
}

/* Whether cased_word would match its first alternative, with small letters, which has precedence. */
static inline size_t scan_cased(const unsigned char *text, size_t len, size_t pos, const struct style style,
                                bool no_han)
{
    size_t next, end = pos;
    unsigned class = class_at(text, len, pos, &next);
    if (!(class & (LETTER | NUMBER)) && text[pos] != '\r' && text[pos] != '\n') {
        end = cased_word(text, len, next, no_han);
        if (end == next)
            end = pos;
        else if ((class & MARK) && !(run_of(text, len, next, PN_UC_UPPER) < end))
            /* A mark before capitals only: the first alternative has precedence, with the mark as its small letter. */
            end = next;
    }
    if (end == pos)
        end = cased_word(text, len, pos, no_han);
    if (end == pos)
        return no_word(text, len, pos, class, next, style);
    return style.no_contraction ? end : end + contraction(text, len, end, style.fold);
}

static size_t scan_gpt4o(const unsigned char *text, size_t len, size_t pos)
{
    return scan_cased(text, len, pos, (struct style){.digits = 3, .fold = true, .tail = "\r\n/"}, false);
}

static size_t scan_tekken(const unsigned char *text, size_t len, size_t pos)
{
    return scan_cased(text, len, pos, (struct style){.digits = 1, .no_contraction = true, .tail = "\r\n/"}, false);
}

static size_t scan_youtu(const unsigned char *text, size_t len, size_t pos)
{
    return scan_cased(text, len, pos, (struct style){.digits = 1, .fold = true, .tail = "\r\n/"}, false);
}

static size_t scan_kimi(const unsigned char *text, size_t len, size_t pos)
{
    if (han_at(text, len, pos)) {
        do
            pos += pn_utf8_len(text[pos]);
        while (han_at(text, len, pos));
        return pos;
    }
    return scan_cased(text, len, pos, (struct style){.digits = 3, .fold = true, .tail = "\r\n"}, true);
}

/* \p{L}\p{M}* repeated, also after single spaces. */
static size_t scan_exaone_moe(const unsigned char *text, size_t len, size_t pos)
{
    size_t n = contraction(text, len, pos, true), next, end = pos;
    if (n)
        return pos + n;
    unsigned class = class_at(text, len, pos, &next);
    if (!(class & (LETTER | NUMBER)) && text[pos] != '\r' && text[pos] != '\n')
        end = next;
    size_t start = end;
    while (end < len) {
        size_t letter = end > start && text[end] == ' ' ? end + 1 : end, after;
        if (!(class_at(text, len, letter, &after) & LETTER))
            break;
        end = run_of(text, len, after, MARK);
    }
    if (end > start)
        return end;
    return no_word(text, len, pos, class, next, (struct style){.digits = 1, .tail = "\r\n/", .tail_once = true});
}

static size_t scan_lines(const unsigned char *text, size_t len, size_t pos)
{
    if (text[pos] == '\n')
        return some_of(text, len, pos, "\n");
    const unsigned char *line_break = memchr(text + pos, '\n', len - pos);
    return line_break ? (size_t)(line_break - text) : len;
}

/* ---- splitters ---- */

/* As for Oniguruma's \b: superscripts and fractions of Latin-1 are word characters. */
static bool is_word(const unsigned char *text, size_t len, size_t pos)
{
    unsigned n;
    if (pos >= len)
        return false;
    uint32_t c = pn_utf8_get(text + pos, &n);
    return pn_uc_is_word(c) || c == 0xB2 || c == 0xB3 || c == 0xB9 || (c >= 0xBC && c <= 0xBE);
}

/* Appends the piece that ends at `end` unless it is empty. */
static bool push_end(struct pn_ends *ends, size_t first, size_t end)
{
    size_t last = ends->len > first ? ends->data[ends->len - 1] : 0;
    return end <= last || pn_vec_push(ends, end);
}

/* Cuts the characters in [start, end) into groups of three counted from the right; with `lead`, also before a shorter
 * first group. */
static bool push_groups(const unsigned char *text, size_t start, size_t end, bool lead, size_t first,
                        struct pn_ends *ends)
{
    size_t n = 0;
    for (size_t i = start; i < end; i++)
        n += (text[i] & 0xC0) != 0x80;
    if ((lead || n % 3 == 0) && !push_end(ends, first, start))
        return false;
    for (size_t pos = start; pos < end; n--) {
        if (pos > start && n % 3 == 0 && !push_end(ends, first, pos))
            return false;
        pos += pn_utf8_len(text[pos]);
    }
    return !lead || push_end(ends, first, end);
}

/* Cuts out characters of a class, up to `limit` of them at a time. */
static bool split_class(const unsigned char *text, size_t len, unsigned class, size_t limit, struct pn_ends *ends)
{
    size_t first = ends->len;
    for (size_t pos = 0, next; pos < len;) {
        pos = run_of_others(text, len, pos, class);
        if (!push_end(ends, first, pos))
            return false;
        for (size_t n = 0; n < limit && pos < len && (class_at(text, len, pos, &next) & class); n++)
            pos = next;
        if (!push_end(ends, first, pos))
            return false;
    }
    return true;
}

static bool split_each_number(const unsigned char *text, size_t len, struct pn_ends *ends)
{
    return split_class(text, len, NUMBER, 1, ends);
}

static bool split_three_numbers(const unsigned char *text, size_t len, struct pn_ends *ends)
{
    return split_class(text, len, NUMBER, 3, ends);
}

static bool split_number_runs(const unsigned char *text, size_t len, struct pn_ends *ends)
{
    return split_class(text, len, NUMBER, SIZE_MAX, ends);
}

/* [\r\n] */
static bool split_line_breaks(const unsigned char *text, size_t len, struct pn_ends *ends)
{
    size_t first = ends->len;
    for (size_t pos = 0; pos < len; pos++)
        if ((text[pos] == '\n' || text[pos] == '\r') && !(push_end(ends, first, pos) && push_end(ends, first, pos + 1)))
            return false;
    return push_end(ends, first, len);
}

/* \p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N})) */
static bool split_numbers(const unsigned char *text, size_t len, struct pn_ends *ends)
{
    size_t first = ends->len;
    for (size_t pos = 0; pos < len;) {
        size_t start = run_of_others(text, len, pos, NUMBER);
        pos = run_of(text, len, start, NUMBER);
        if (pos > start && !push_groups(text, start, pos, true, first, ends))
            return false;
    }
    return push_end(ends, first, len);
}

/* \d{1,3}(?=(?:\d{3})*\b) */
static bool split_digits_at_boundary(const unsigned char *text, size_t len, struct pn_ends *ends)
{
    size_t first = ends->len;
    for (size_t pos = 0; pos < len;) {
        size_t start = run_of_others(text, len, pos, PN_UC_DIGIT);
        pos = run_of(text, len, start, PN_UC_DIGIT);
        if (pos > start && !is_word(text, len, pos) && !push_groups(text, start, pos, true, first, ends))
            return false;
    }
    return push_end(ends, first, len);
}

/* (?=(\d{3})+(?!\d)), which matches nothing but the places between the groups */
static bool split_before_groups(const unsigned char *text, size_t len, struct pn_ends *ends)
{
    size_t first = ends->len;
    for (size_t pos = 0; pos < len;) {
        size_t start = run_of_others(text, len, pos, PN_UC_DIGIT);
        pos = run_of(text, len, start, PN_UC_DIGIT);
        if (pos > start && !push_groups(text, start, pos, false, first, ends))
            return false;
    }
    return push_end(ends, first, len);
}

/* \s+$, where $ is the end of a line */
static bool split_trailing_space(const unsigned char *text, size_t len, struct pn_ends *ends)
{
    size_t first = ends->len;
    for (size_t pos = 0; pos < len;) {
        size_t start = run_of_others(text, len, pos, SPACE), end = start, next;
        for (pos = start; pos < len && (class_at(text, len, pos, &next) & SPACE); pos = next)
            if (text[pos] == '\n')
                end = pos;
        if (pos >= len)
            end = len;
        if (end > start && !(push_end(ends, first, start) && push_end(ends, first, end)))
            return false;
    }
    return push_end(ends, first, len);
}

/* Bytes whose character in GPT-2's alphabet is a number: \d, and bytes that the alphabet spells as superscripts and
 * fractions. A tokenizer that splits digits after the byte alphabet (Falcon's) cuts around them. */
static bool is_number_byte(unsigned char b)
{
    return (b >= '0' && b <= '9') || b == 0xB2 || b == 0xB3 || b == 0xB9 || (b >= 0xBC && b <= 0xBE);
}

static bool split_number_bytes(const unsigned char *text, size_t len, struct pn_ends *ends)
{
    size_t first = ends->len;
    for (size_t pos = 1; pos < len; pos++)
        if (is_number_byte(text[pos]) != is_number_byte(text[pos - 1]) && !push_end(ends, first, pos))
            return false;
    return push_end(ends, first, len);
}

/* [0-9][0-9][0-9], byte by byte, because after split_number_bytes pieces may start inside a character */
static bool split_three_digits(const unsigned char *text, size_t len, struct pn_ends *ends)
{
    size_t first = ends->len, run = 0;
    for (size_t pos = 0; pos < len; pos++) {
        run = text[pos] >= '0' && text[pos] <= '9' ? run + 1 : 0;
        if (run < 3)
            continue;
        if (!push_end(ends, first, pos - 2) || !push_end(ends, first, pos + 1))
            return false;
        run = 0;
    }
    return push_end(ends, first, len);
}

/* The number of characters in [pos, end), and the end of the part up to the last line break (`pos`: none). */
static size_t measure_blanks(const unsigned char *text, size_t pos, size_t end, size_t *after_break)
{
    size_t n = 0;
    for (*after_break = pos; pos < end; n++) {
        bool line_break = text[pos] == '\n' || text[pos] == '\r';
        pos += pn_utf8_len(text[pos]);
        if (line_break)
            *after_break = pos;
    }
    return n;
}

/* Llama 3's expression, where a run of white space without line breaks is cut into powers of two: as many characters as
 * leave one before a word. A run is measured once, since cutting a long one would take quadratic time otherwise. */
static bool split_jais2(const unsigned char *text, size_t len, struct pn_ends *ends)
{
    size_t first = ends->len;
    for (size_t pos = 0; pos < len;) {
        size_t run = run_of(text, len, pos, SPACE), after_break;
        size_t n = measure_blanks(text, pos, run, &after_break);
        if (n > 1 && after_break > pos) {
            n = measure_blanks(text, pos = after_break, run, &after_break);
            if (!push_end(ends, first, pos))
                return false;
        }
        while (n > (run < len)) {
            size_t count = 512, left = n - (run < len);
            while (count > left)
                count /= 2;
            n -= count;
            while (count--)
                pos += pn_utf8_len(text[pos]);
            if (!push_end(ends, first, pos))
                return false;
        }
        if (pos >= len)
            break;
        pos = scan_llama3(text, len, pos);
        if (!push_end(ends, first, pos))
            return false;
    }
    return push_end(ends, first, len);
}

/* ---- tables ---- */

#define CONTRACTION "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define CAPITALS    "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define SMALLS      "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define PREFIX      "[^\\r\\n\\p{L}\\p{N}]?"
#define PUNCT       " ?[^\\s\\p{L}\\p{N}]+"
#define BLANK       "\\s+(?!\\S)|\\s+"
#define CASED(C)    PREFIX CAPITALS "*" SMALLS "+" C "|" PREFIX CAPITALS "+" SMALLS "*" C

/* tokenizer.json of GPT-2, Llama 3, Qwen2, Qwen3.5, MiniCPM5, Seed-Coder, Mistral's Tekken, Youtu, EXAONE; tiktoken's
 * o200k_base and Kimi K2. */
static const struct {
    const char *regex;
    pn_scan_fn *scan;
} scanners[] = {
    {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|" BLANK, scan_gpt2},
    {CONTRACTION "|" PREFIX "\\p{L}+|\\p{N}{1,3}|" PUNCT "[\\r\\n]*|\\s*[\\r\\n]+|" BLANK, scan_llama3},
    {CONTRACTION "|" PREFIX "\\p{L}+|\\p{N}|" PUNCT "[\\r\\n]*|\\s*[\\r\\n]+|" BLANK, scan_qwen2},
    {"'(?i:[sdmt]|ll|ve|re)|" PREFIX "+\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|" BLANK, scan_qwen2},
    {CONTRACTION "|" PREFIX "[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|" BLANK,
     scan_qwen35},
    {CONTRACTION "|" PREFIX "\\p{L}+|\\p{N}+|" PUNCT "[\\r\\n]*|\\s*[\\r\\n]+|" BLANK, scan_minicpm5},
    {CONTRACTION "|" PREFIX "\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|\\s*[\\r\\n]+|" BLANK, scan_seed_coder},
    {PREFIX "\\p{L}+|\\p{N}|" PUNCT "[\\r\\n]*|\\s*[\\r\\n]+|" BLANK, scan_no_contraction},
    {CASED(CONTRACTION "?") "|\\p{N}{1,3}|" PUNCT "[\\r\\n/]*|\\s*[\\r\\n]+|" BLANK, scan_gpt4o},
    {CASED("") "|\\p{N}|" PUNCT "[\\r\\n/]*|\\s*[\\r\\n]+|" BLANK, scan_tekken},
    {CASED(CONTRACTION "?") "|\\p{N}|" PUNCT "[\\r\\n/]*|\\s*[\\r\\n]+|" BLANK, scan_youtu},
    {CONTRACTION "|" PREFIX "(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+|\\p{N}|" PUNCT "[\\r\\n/]?|\\s*[\\r\\n]|" BLANK,
     scan_exaone_moe},
    {"[\\p{Han}]+|" PREFIX
     "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]+" CONTRACTION
     "?|" PREFIX
     "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]*" CONTRACTION
     "?|\\p{N}{1,3}|" PUNCT "[\\r\\n]*|\\s*[\\r\\n]+|" BLANK,
     scan_kimi},
    {"[^\\n]+|[\\n]+", scan_lines},
};

static const struct {
    const char *regex;
    pn_split_fn *split;
} splitters[] = {
    {CONTRACTION
     "|" PREFIX "\\p{L}+|\\p{N}{1,3}|" PUNCT "[\\r\\n]*|\\s*[\\r\\n]+|\\s{512}(?!\\S)|\\s{256}(?!\\S)|"
     "\\s{128}(?!\\S)|\\s{64}(?!\\S)|\\s{32}(?!\\S)|\\s{16}(?!\\S)|\\s{8}(?!\\S)|\\s{4}(?!\\S)|\\s{1,2}(?!\\S)|\\s{1}",
     split_jais2},
    {"\\p{N}{1,3}(?=(?:\\p{N}{3})*(?!\\p{N}))", split_numbers},
    {"\\d{1,3}(?=(?:\\d{3})*\\b)", split_digits_at_boundary},
    {"(?=(\\d{3})+(?!\\d))", split_before_groups},
    {"\\s+$", split_trailing_space},
    {"\\p{N}", split_each_number},
    {"\\p{N}{1,3}", split_three_numbers},
    {"\\p{N}+", split_number_runs},
    {"[\\r\\n]", split_line_breaks},
    {"[\r\n]", split_line_breaks},
    {"[0-9][0-9][0-9]", split_three_digits},
    {PN_NUMBER_BYTES, split_number_bytes},
};

pn_scan_fn *pn_scan_find(const char *regex, size_t len)
{
    for (size_t i = 0; i < sizeof scanners / sizeof *scanners; i++)
        if (strlen(scanners[i].regex) == len && !memcmp(scanners[i].regex, regex, len))
            return scanners[i].scan;
    return NULL;
}

const char *pn_scan_regex(size_t i)
{
    return i < sizeof scanners / sizeof *scanners ? scanners[i].regex : NULL;
}

pn_split_fn *pn_split_find(const char *regex, size_t len)
{
    for (size_t i = 0; i < sizeof splitters / sizeof *splitters; i++)
        if (strlen(splitters[i].regex) == len && !memcmp(splitters[i].regex, regex, len))
            return splitters[i].split;
    return NULL;
}

const char *pn_split_regex(size_t i)
{
    return i < sizeof splitters / sizeof *splitters ? splitters[i].regex : NULL;
}
