/* Passes over logits: see scan.h. */
#include "engine/scan.h"

#include <math.h>

enum { LANES = 16 };

/* Folds the block in halves, in loops that compilers turn into max instructions. x > m is false for NaN, so NaN never
 * wins: where both may be NaN, -INFINITY comes in between. */
static float block_max(const float *x)
{
    float m[PN_SCAN_BLOCK / 2], best = -INFINITY;
    for (int j = 0; j < PN_SCAN_BLOCK / 2; j++) {
        float first = x[j] > -INFINITY ? x[j] : -INFINITY;
        m[j] = x[j + PN_SCAN_BLOCK / 2] > first ? x[j + PN_SCAN_BLOCK / 2] : first;
    }
    for (int j = 0; j < PN_SCAN_BLOCK / 4; j++)
        m[j] = m[j] > m[j + PN_SCAN_BLOCK / 4] ? m[j] : m[j + PN_SCAN_BLOCK / 4];
    for (int j = 0; j < PN_SCAN_BLOCK / 8; j++)
        m[j] = m[j] > m[j + PN_SCAN_BLOCK / 8] ? m[j] : m[j + PN_SCAN_BLOCK / 8];
    for (int j = 0; j < PN_SCAN_BLOCK / 8; j++)
        best = m[j] > best ? m[j] : best;
    return best;
}

float pn_scan_max(const float *logits, int n, float *maxima)
{
    float highest = -INFINITY;
    int b = 0, at = 0;
    for (; at + PN_SCAN_BLOCK <= n; at += PN_SCAN_BLOCK)
        maxima[b++] = block_max(logits + at);
    if (at < n) {
        maxima[b] = -INFINITY;
        for (; at < n; at++)
            maxima[b] = logits[at] > maxima[b] ? logits[at] : maxima[b];
        b++;
    }
    for (int i = 0; i < b; i++)
        highest = maxima[i] > highest ? maxima[i] : highest;
    return highest;
}

int32_t pn_scan_first(const float *logits, int n, float highest, const float *maxima)
{
    for (int b = 0; b < pn_scan_blocks(n); b++) {
        if (maxima[b] != highest)
            continue;
        for (int i = b * PN_SCAN_BLOCK; i < n && i < (b + 1) * PN_SCAN_BLOCK; i++)
            if (logits[i] == highest)
                return i;
    }
    return -1;
}

int pn_scan_sum(const float *logits, int n, double *sum)
{
    int count = 0;
    *sum = 0;
    for (int i = 0; i < n; i++) {
        if (isfinite(logits[i])) {
            *sum += (double)logits[i];
            count++;
        }
    }
    return count;
}

double pn_scan_squares(const float *logits, int n, double mean)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        if (isfinite(logits[i]))
            sum += ((double)logits[i] - mean) * ((double)logits[i] - mean);
    return sum;
}

/* exp for x <= 0: 2^k * e^r with |r| <= ln(2)/2, and e^r by its series up to r^7. */
static inline float exp_below_0(float x)
{
    const float round = 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number */
    float floor = x > -87.0f ? x : -87.0f;
    float k = (floor * 1.44269504f + round) - round;
    float r = (floor - k * 0.693359375f) + k * 2.12194440e-4f;
    float e = 1.0f / 5040;
    e = e * r + 1.0f / 720;
    e = e * r + 1.0f / 120;
    e = e * r + 1.0f / 24;
    e = e * r + 1.0f / 6;
    e = e * r + 0.5f;
    e = e * r + 1.0f;
    e = e * r + 1.0f;
    union {
        int32_t bits;
        float value;
    } power = {.bits = ((int32_t)k + 127) << 23};
    return x > -87.0f ? e * power.value : 0.0f;
}

double pn_scan_exp(float *x, int n, float highest, float scale)
{
    double sum = 0;
    int at = 0;
    for (; at + PN_SCAN_BLOCK <= n; at += PN_SCAN_BLOCK) {
        float s[LANES] = {0};
        for (int i = at; i < at + PN_SCAN_BLOCK; i++)
            x[i] = exp_below_0((x[i] - highest) * scale);
        for (int i = 0; i < PN_SCAN_BLOCK; i += LANES)
            for (int j = 0; j < LANES; j++)
                s[j] += x[at + i + j];
        for (int j = 0; j < LANES; j++)
            sum += (double)s[j];
    }
    for (; at < n; at++)
        sum += (double)(x[at] = exp_below_0((x[at] - highest) * scale));
    return sum;
}
