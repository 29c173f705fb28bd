/* Settings as text: words after one another, "VALUE" or "NAME=VALUE". */
#ifndef PN_TRAIN_WORDS_H
#define PN_TRAIN_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct pn_train_word {
    const char *name, *value; /* in the text, not ended; name NULL: none */
    size_t name_len, value_len;
};

/* The next word, after which *text goes on; false at the end. Blanks and commas separate words. */
static inline bool pn_train_word_next(const char **text, struct pn_train_word *out)
{
    const char *at = *text + strspn(*text, " ,\t\n");
    size_t n = strcspn(at, " ,\t\n");
    const char *sign = memchr(at, '=', n);
    *text = at + n;
    *out = (struct pn_train_word){.value = at, .value_len = n};
    if (sign)
        *out = (struct pn_train_word){at, sign + 1, (size_t)(sign - at), n - 1 - (size_t)(sign - at)};
    return n > 0;
}

static inline bool pn_train_word_is(const struct pn_train_word *w, const char *name)
{
    return w->name && strlen(name) == w->name_len && memcmp(w->name, name, w->name_len) == 0;
}

/* One number, or (`out` of 2) two with a colon between them. */
static inline bool pn_train_word_numbers(const struct pn_train_word *w, double *out, int n)
{
    char text[80], *end = text;
    if (w->value_len == 0 || w->value_len >= sizeof text)
        return false;
    memcpy(text, w->value, w->value_len);
    text[w->value_len] = '\0';
    for (int i = 0; i < n; i++) {
        const char *start = i ? end + 1 : text;
        if (i && *end != ':')
            return false;
        out[i] = strtod(start, &end);
        if (end == start || !(out[i] >= -1e300 && out[i] <= 1e300))
            return false;
    }
    return *end == '\0';
}

static inline bool pn_train_word_number(const struct pn_train_word *w, double *out)
{
    return pn_train_word_numbers(w, out, 1);
}

#endif
