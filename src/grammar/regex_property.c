/* Unicode's properties and cases, from utf8proc: see regex_impl.h. */
#include "grammar/regex_impl.h"

#include "text/unicode/normalize.h"

#include <string.h>
#include <utf8proc.h>

#define BIT(category) (1u << (category))

enum {
    LETTERS = BIT(UTF8PROC_CATEGORY_LU) | BIT(UTF8PROC_CATEGORY_LL) | BIT(UTF8PROC_CATEGORY_LT) |
              BIT(UTF8PROC_CATEGORY_LM) | BIT(UTF8PROC_CATEGORY_LO),
    MARKS = BIT(UTF8PROC_CATEGORY_MN) | BIT(UTF8PROC_CATEGORY_MC) | BIT(UTF8PROC_CATEGORY_ME),
    NUMBERS = BIT(UTF8PROC_CATEGORY_ND) | BIT(UTF8PROC_CATEGORY_NL) | BIT(UTF8PROC_CATEGORY_NO),
    PUNCTUATION = BIT(UTF8PROC_CATEGORY_PC) | BIT(UTF8PROC_CATEGORY_PD) | BIT(UTF8PROC_CATEGORY_PS) |
                  BIT(UTF8PROC_CATEGORY_PE) | BIT(UTF8PROC_CATEGORY_PI) | BIT(UTF8PROC_CATEGORY_PF) |
                  BIT(UTF8PROC_CATEGORY_PO),
    SYMBOLS =
        BIT(UTF8PROC_CATEGORY_SM) | BIT(UTF8PROC_CATEGORY_SC) | BIT(UTF8PROC_CATEGORY_SK) | BIT(UTF8PROC_CATEGORY_SO),
    SEPARATORS = BIT(UTF8PROC_CATEGORY_ZS) | BIT(UTF8PROC_CATEGORY_ZL) | BIT(UTF8PROC_CATEGORY_ZP),
    OTHERS = BIT(UTF8PROC_CATEGORY_CC) | BIT(UTF8PROC_CATEGORY_CF) | BIT(UTF8PROC_CATEGORY_CS) |
             BIT(UTF8PROC_CATEGORY_CO) | BIT(UTF8PROC_CATEGORY_CN)
};

static const struct {
    const char *name, *long_name;
    unsigned categories;
} properties[] = {
    {"L", "Letter", LETTERS},
    {"LC", "Cased_Letter", BIT(UTF8PROC_CATEGORY_LU) | BIT(UTF8PROC_CATEGORY_LL) | BIT(UTF8PROC_CATEGORY_LT)},
    {"Lu", "Uppercase_Letter", BIT(UTF8PROC_CATEGORY_LU)},
    {"Ll", "Lowercase_Letter", BIT(UTF8PROC_CATEGORY_LL)},
    {"Lt", "Titlecase_Letter", BIT(UTF8PROC_CATEGORY_LT)},
    {"Lm", "Modifier_Letter", BIT(UTF8PROC_CATEGORY_LM)},
    {"Lo", "Other_Letter", BIT(UTF8PROC_CATEGORY_LO)},
    {"M", "Mark", MARKS},
    {"Mn", "Nonspacing_Mark", BIT(UTF8PROC_CATEGORY_MN)},
    {"Mc", "Spacing_Mark", BIT(UTF8PROC_CATEGORY_MC)},
    {"Me", "Enclosing_Mark", BIT(UTF8PROC_CATEGORY_ME)},
    {"N", "Number", NUMBERS},
    {"Nd", "Decimal_Number", BIT(UTF8PROC_CATEGORY_ND)},
    {"Nl", "Letter_Number", BIT(UTF8PROC_CATEGORY_NL)},
    {"No", "Other_Number", BIT(UTF8PROC_CATEGORY_NO)},
    {"P", "Punctuation", PUNCTUATION},
    {"Pc", "Connector_Punctuation", BIT(UTF8PROC_CATEGORY_PC)},
    {"Pd", "Dash_Punctuation", BIT(UTF8PROC_CATEGORY_PD)},
    {"Ps", "Open_Punctuation", BIT(UTF8PROC_CATEGORY_PS)},
    {"Pe", "Close_Punctuation", BIT(UTF8PROC_CATEGORY_PE)},
    {"Pi", "Initial_Punctuation", BIT(UTF8PROC_CATEGORY_PI)},
    {"Pf", "Final_Punctuation", BIT(UTF8PROC_CATEGORY_PF)},
    {"Po", "Other_Punctuation", BIT(UTF8PROC_CATEGORY_PO)},
    {"S", "Symbol", SYMBOLS},
    {"Sm", "Math_Symbol", BIT(UTF8PROC_CATEGORY_SM)},
    {"Sc", "Currency_Symbol", BIT(UTF8PROC_CATEGORY_SC)},
    {"Sk", "Modifier_Symbol", BIT(UTF8PROC_CATEGORY_SK)},
    {"So", "Other_Symbol", BIT(UTF8PROC_CATEGORY_SO)},
    {"Z", "Separator", SEPARATORS},
    {"Zs", "Space_Separator", BIT(UTF8PROC_CATEGORY_ZS)},
    {"Zl", "Line_Separator", BIT(UTF8PROC_CATEGORY_ZL)},
    {"Zp", "Paragraph_Separator", BIT(UTF8PROC_CATEGORY_ZP)},
    {"C", "Other", OTHERS},
    {"Cc", "Control", BIT(UTF8PROC_CATEGORY_CC)},
    {"Cf", "Format", BIT(UTF8PROC_CATEGORY_CF)},
    {"Co", "Private_Use", BIT(UTF8PROC_CATEGORY_CO)},
    {"Cn", "Unassigned", BIT(UTF8PROC_CATEGORY_CN)},
    {"Any", "Any", ~0u},
};

static bool is_name(const char *text, size_t n, const char *name)
{
    return strlen(name) == n && memcmp(text, name, n) == 0;
}

static bool add(struct pn_re_ranges *out, uint32_t c)
{
    if (out->len && out->data[out->len - 1].last + 1 == c) {
        out->data[out->len - 1].last = c;
        return true;
    }
    struct pn_code_range range = {c, c};
    return pn_vec_push(out, range);
}

static bool add_categories(struct pn_re_ranges *out, unsigned categories)
{
    bool ok = true;
    for (uint32_t c = 0; ok && c <= PN_MAX_CODE_POINT; c++)
        if (categories & BIT(utf8proc_category((utf8proc_int32_t)c)))
            ok = add(out, c);
    return ok;
}

bool pn_re_property(const char *name, size_t n, struct pn_re_ranges *out)
{
    static const char *const prefixes[] = {"gc=", "General_Category="};
    bool ok = true;
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        size_t len = strlen(prefixes[i]);
        if (n > len && memcmp(name, prefixes[i], len) == 0) {
            name += len;
            n -= len;
        }
    }
    for (size_t i = 0; i < sizeof properties / sizeof *properties; i++)
        if (is_name(name, n, properties[i].name) || is_name(name, n, properties[i].long_name))
            return add_categories(out, properties[i].categories);
    if (is_name(name, n, "ASCII")) {
        for (uint32_t c = 0; ok && c < 0x80; c++)
            ok = add(out, c);
        return ok;
    }
    if (is_name(name, n, "White_Space") || is_name(name, n, "space")) {
        for (uint32_t c = 0; ok && c <= 0x3000; c++)
            ok = !pn_is_white_space(c) || add(out, c);
        return ok;
    }
    if (is_name(name, n, "Alphabetic") || is_name(name, n, "Alpha")) /* but for a few marks and symbols */
        return add_categories(out, LETTERS | BIT(UTF8PROC_CATEGORY_NL));
    return false;
}

bool pn_re_fold(struct pn_re_ranges *ranges)
{
    enum { LAST_CASED = 0x1E943 };
    bool ok = true;
    for (size_t i = 0, n = ranges->len; ok && i < n; i++)
        for (uint32_t c = ranges->data[i].first; ok && c <= ranges->data[i].last && c <= LAST_CASED; c++) {
            uint32_t lower = (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
            uint32_t upper = (uint32_t)utf8proc_toupper((utf8proc_int32_t)c);
            ok = (lower == c || add(ranges, lower)) && (upper == c || add(ranges, upper));
        }
    return ok;
}
