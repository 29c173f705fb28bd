/* Integers beyond 64 bits. Results that fit 64 bits come back as JJ_INT, so a JJ_BIG is always outside of that range.
 */
#ifndef PN_TEXT_TEMPLATE_PYTHON_BIG_H
#define PN_TEXT_TEMPLATE_PYTHON_BIG_H

#include "text/template/value.h"

jv pn_jj_big_binary(struct jj_run *r, char op, jv a, jv b); /* + - * F %; the divisor is not zero */
jv pn_jj_big_true_divide(struct jj_run *r, jv a, jv b);     /* correctly rounded */
int pn_jj_big_cmp(jv a, jv b, bool *unordered);             /* at least one is JJ_BIG, the other may be a float */
bool pn_jj_big_to_double(const struct jj_big *big, double *out);
jv pn_jj_big_from_double(struct jj_run *r, double d);
jv pn_jj_big_parse(struct jj_run *r, const char *digits, size_t n, int base, bool negative); /* digits as values */
void pn_jj_big_put(struct jj_buf *b, const struct jj_big *big, int base, bool upper);

#endif
