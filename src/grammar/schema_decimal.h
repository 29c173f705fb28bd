/* Decimal numbers of schemas: limits, constants and factors, compared without rounding. */
#ifndef PN_GRAMMAR_SCHEMA_DECIMAL_H
#define PN_GRAMMAR_SCHEMA_DECIMAL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* sign * 0.DIGITS * 10^point, without zeros at either end of the digits; zero has no digits, sign or point. */
struct pn_decimal {
    bool negative;
    int8_t n;
    int16_t point;
    char digits[20];
};

/* Of a JSON number; a real is the shortest decimal that reads as the same double. */
struct pn_decimal pn_decimal_of(const json_t *number);
struct pn_decimal pn_decimal_from_int(int64_t i);
/* -1, 0 or 1. */
int pn_decimal_compare(const struct pn_decimal *a, const struct pn_decimal *b);
int pn_decimal_sign(const struct pn_decimal *a);
bool pn_decimal_is_integer(const struct pn_decimal *a);
struct pn_decimal pn_decimal_negated(struct pn_decimal a);
/* Whether a is an integer times m; m is positive. */
bool pn_decimal_is_multiple(const struct pn_decimal *a, const struct pn_decimal *m);
/* m = *factor * 10^-*places, with as few places as possible; false if the factor exceeds `limit`. m is positive. */
bool pn_decimal_scaled(const struct pn_decimal *m, uint64_t limit, uint64_t *factor, int *places);
/* Writes the number without an exponent, and without a point if it is an integer. Up to 350 bytes with the NUL. */
enum { PN_DECIMAL_TEXT = 360 };
void pn_decimal_plain(const struct pn_decimal *a, char out[PN_DECIMAL_TEXT]);
/* As Python prints the float: 1e-05, 1.5e+16, 0.1, 2.0. */
void pn_decimal_python(const struct pn_decimal *a, char out[PN_DECIMAL_TEXT]);

#endif
