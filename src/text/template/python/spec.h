/* Shared by % and str.format: the specification of a field, padding, and the digits of numbers. */
#ifndef PN_TEXT_TEMPLATE_PYTHON_SPEC_H
#define PN_TEXT_TEMPLATE_PYTHON_SPEC_H

#include "text/template/value.h"

struct jj_spec {
    uint32_t fill, align; /* align: '<', '>', '^', '=' or 0 */
    char sign;            /* '-', '+', ' ' */
    bool alternate, zero, no_negative_zero;
    int64_t width, precision; /* -1: not given */
    char group;               /* ',' or '_' or 0 */
    char type;                /* 0: not given */
};

void pn_jj_put_padded(struct jj_buf *b, const struct jj_spec *s, const char *head, const char *p, size_t n, char align);
void pn_jj_put_number(struct jj_buf *b, const struct jj_spec *s, bool negative, const char *prefix, const char *digits);
/* |d| in the format e, f or g (E, F, G) of C and Python. */
char *pn_jj_float_digits(struct jj_run *r, double d, char type, int64_t precision, bool alternate);
/* |v| */
char *pn_jj_int_digits(struct jj_run *r, jv v, int base, bool upper);
bool pn_jj_is_negative(jv v);

#endif
