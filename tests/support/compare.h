/* Comparing logits. */
#ifndef PN_TESTS_COMPARE_H
#define PN_TESTS_COMPARE_H

#include <stddef.h>

/* Normalized mean square error: sum (a - b)^2 / sum b^2. Not-a-number compares as worse than everything. */
static inline double nmse(const float *a, const float *b, size_t n)
{
    double error = 0, power = 0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)a[i] - (double)b[i];
        error += d * d;
        power += (double)b[i] * (double)b[i];
    }
    double result = error / power;
    return result == result ? result : 1e300;
}

#endif
