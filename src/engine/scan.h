/* Passes over a row of logits, written so that the compiler vectorizes them. NaN counts as absent. */
#ifndef PN_ENGINE_SCAN_H
#define PN_ENGINE_SCAN_H

#include <stdint.h>

enum { PN_SCAN_BLOCK = 128 };

/* Number of blocks of n logits. */
static inline int pn_scan_blocks(int n)
{
    return (n + PN_SCAN_BLOCK - 1) / PN_SCAN_BLOCK;
}

/* The highest logit, -INFINITY if there is none. maxima[b] gets that of each block. */
float pn_scan_max(const float *logits, int n, float *maxima);
/* The first token with the highest logit: `highest` and `maxima` are of pn_scan_max. -1: all are NaN. */
int32_t pn_scan_first(const float *logits, int n, float highest, const float *maxima);
/* Sum, and sum of squared distances from `mean`, of the finite logits; returns their number. */
int pn_scan_sum(const float *logits, int n, double *sum);
double pn_scan_squares(const float *logits, int n, double mean);
/* Replaces logits by exp((logit - highest) * scale), to 2e-7 of its value; 0 below exp(-87). Returns the sum. */
double pn_scan_exp(float *x, int n, float highest, float scale);

#endif
