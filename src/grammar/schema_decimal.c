#include "grammar/schema_decimal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* From digits and the power of ten of the last one. */
static struct pn_decimal trimmed(bool negative, const char *digits, int n, int last)
{
    struct pn_decimal d = {.negative = negative};
    while (n > 0 && *digits == '0') {
        digits++;
        n--;
    }
    for (; n > 0 && digits[n - 1] == '0'; n--)
        last++;
    if (n == 0)
        return (struct pn_decimal){0};
    d.n = (int8_t)n;
    d.point = (int16_t)(last + n);
    memcpy(d.digits, digits, (size_t)n);
    return d;
}

struct pn_decimal pn_decimal_from_int(int64_t i)
{
    char text[24];
    int n = snprintf(text, sizeof text, "%llu", i < 0 ? 0ULL - (unsigned long long)i : (unsigned long long)i);
    return trimmed(i < 0, text, n, 0);
}

struct pn_decimal pn_decimal_of(const json_t *number)
{
    if (json_is_integer(number))
        return pn_decimal_from_int(json_integer_value(number));
    double x = json_real_value(number);
    char text[40], digits[24];
    int precision = 0, n = 0;
    if (x == 0 || !isfinite(x))
        return (struct pn_decimal){0};
    do
        snprintf(text, sizeof text, "%.*e", precision, fabs(x));
    while (strtod(text, NULL) != fabs(x) && ++precision < 17);
    const char *p = text;
    for (; *p && *p != 'e'; p++)
        if (*p >= '0' && *p <= '9')
            digits[n++] = *p;
    int power = *p ? atoi(p + 1) : 0;
    return trimmed(x < 0, digits, n, power - (n - 1));
}

int pn_decimal_sign(const struct pn_decimal *a)
{
    return a->n == 0 ? 0 : a->negative ? -1 : 1;
}

int pn_decimal_compare(const struct pn_decimal *a, const struct pn_decimal *b)
{
    int sa = pn_decimal_sign(a), sb = pn_decimal_sign(b);
    if (sa != sb)
        return sa < sb ? -1 : 1;
    if (sa == 0)
        return 0;
    int order = a->point != b->point ? (a->point < b->point ? -1 : 1) : 0;
    for (int i = 0; order == 0 && (i < a->n || i < b->n); i++) {
        char da = i < a->n ? a->digits[i] : '0', db = i < b->n ? b->digits[i] : '0';
        order = da == db ? 0 : da < db ? -1 : 1;
    }
    return sa * order;
}

bool pn_decimal_is_integer(const struct pn_decimal *a)
{
    return a->n <= a->point || a->n == 0;
}

struct pn_decimal pn_decimal_negated(struct pn_decimal a)
{
    a.negative = a.n && !a.negative;
    return a;
}

static uint64_t mantissa(const struct pn_decimal *a)
{
    uint64_t m = 0;
    for (int i = 0; i < a->n; i++)
        m = m * 10 + (uint64_t)(a->digits[i] - '0');
    return m;
}

bool pn_decimal_is_multiple(const struct pn_decimal *a, const struct pn_decimal *m)
{
    if (a->n == 0)
        return true;
    /* a = A * 10^ea, m = M * 10^em; the digits have at most 19 places, so A and M fit. */
    uint64_t value = mantissa(a), factor = mantissa(m);
    int shift = (a->point - a->n) - (m->point - m->n);
    if (shift >= 0) {
        unsigned __int128 rest = value % factor;
        for (; shift > 0 && rest; shift--)
            rest = rest * 10 % factor;
        return rest == 0;
    }
    unsigned __int128 divisor = factor;
    for (; shift < 0; shift++) {
        divisor *= 10;
        if (divisor > value)
            return false;
    }
    return value % divisor == 0;
}

bool pn_decimal_scaled(const struct pn_decimal *m, uint64_t limit, uint64_t *factor, int *places)
{
    int power = m->point - m->n;
    *factor = mantissa(m);
    *places = power < 0 ? -power : 0;
    for (; power > 0 && *factor <= limit; power--)
        *factor *= 10;
    return *factor <= limit;
}

void pn_decimal_plain(const struct pn_decimal *a, char out[PN_DECIMAL_TEXT])
{
    char *p = out;
    if (a->negative)
        *p++ = '-';
    if (a->point <= 0)
        *p++ = '0';
    for (int i = 0; i < a->point; i++)
        *p++ = i < a->n ? a->digits[i] : '0';
    if (a->n > a->point) {
        *p++ = '.';
        for (int i = a->point; i < a->n; i++)
            *p++ = i < 0 ? '0' : a->digits[i];
    }
    *p = 0;
}

void pn_decimal_python(const struct pn_decimal *a, char out[PN_DECIMAL_TEXT])
{
    int power = a->n ? a->point - 1 : 0;
    if (power >= -4 && power < 16) {
        pn_decimal_plain(a, out);
        if (pn_decimal_is_integer(a))
            strcat(out, ".0");
        return;
    }
    char *p = out;
    if (a->negative)
        *p++ = '-';
    *p++ = a->digits[0];
    if (a->n > 1) {
        *p++ = '.';
        memcpy(p, a->digits + 1, (size_t)a->n - 1);
        p += a->n - 1;
    }
    snprintf(p, 8, "e%c%02d", power < 0 ? '-' : '+', power < 0 ? -power : power);
}
