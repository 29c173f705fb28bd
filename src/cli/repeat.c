/* Exact repetition in a stream of tokens: see repeat.h. */
#include "cli/repeat.h"

enum { TIMES = 8, TOKENS = 96, LONG_SPAN = 64, LONG_TIMES = 4, NO_LETTER_TOKENS = 1024 };

static bool has_letter(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0x80)
            return true;
    }
    return false;
}

bool pn_repeat_push(struct pn_repeat *repeat, int32_t id, const char *text, size_t len)
{
    bool found = false;
    long n = repeat->n;
    if (has_letter(text, len))
        repeat->letter = n + 1;
    for (long p = 1; p <= PN_REPEAT_SPAN && p <= n; p++) {
        long *run = &repeat->run[p - 1];
        *run = repeat->ids[(n - p) % PN_REPEAT_SPAN] == id ? *run + 1 : 0;
        long region = *run + p; /* length of the repetition of period p that ends here */
        bool letters = repeat->letter > n + 1 - region;
        found |= region >= (p >= LONG_SPAN ? LONG_TIMES : TIMES) * p && region >= (letters ? TOKENS : NO_LETTER_TOKENS);
    }
    repeat->ids[n % PN_REPEAT_SPAN] = id;
    repeat->n++;
    return found;
}
