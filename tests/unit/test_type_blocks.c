/* Storage types bit by bit: decoders against the layout of each format read one value at a time, and encoders at ties
 * and at the ends of their range. Nothing here shares code with src/tensor: half precision, packed scales and levels
 * are read by their definitions.
 *
 * The layouts are those of GGUF files; MXFP4 is defined in the Open Compute Project's Microscaling Formats 1.0. */
#include "tensor/quant/search/search.h"
#include "tensor/type.h"

#include <stdarg.h>
#include <setjmp.h>
#include <math.h>
#include <stdlib.h>
#include <cmocka.h>

#include "type_samples.h"

enum { MOST = 256, MOST_BYTES = 300 };

/* ---- reading numbers ---- */

/* Half precision by its definition. */
static long double half_at(const uint8_t *b)
{
    int bits = b[0] | b[1] << 8, exponent = bits >> 10 & 31, mantissa = bits & 1023;
    long double sign = bits >> 15 ? -1 : 1;
    if (exponent == 31)
        return mantissa ? (long double)NAN : sign * (long double)INFINITY;
    return exponent == 0 ? sign * ldexpl(mantissa, -24) : sign * ldexpl(1024 + mantissa, exponent - 25);
}

/* `n` bits at bit `shift` of byte `at`. */
static int bits_at(const uint8_t *b, int at, int shift, int n)
{
    return b[at] >> shift & ((1 << n) - 1);
}

static int signed_at(const uint8_t *b, int at)
{
    return b[at] < 128 ? b[at] : b[at] - 256;
}

/* ---- value i of the block at b ---- */

static int nibble32(const uint8_t *low, int i)
{
    return bits_at(low, i % 16, i < 16 ? 0 : 4, 4);
}

static int fifth32(const uint8_t *high, int i)
{
    return bits_at(high, i / 8, i % 8, 1) << 4;
}

static long double q4_0(const uint8_t *b, int i)
{
    return half_at(b) * (nibble32(b + 2, i) - 8);
}

static long double q4_1(const uint8_t *b, int i)
{
    return half_at(b) * nibble32(b + 4, i) + half_at(b + 2);
}

static long double q5_0(const uint8_t *b, int i)
{
    return half_at(b) * ((nibble32(b + 6, i) | fifth32(b + 2, i)) - 16);
}

static long double q5_1(const uint8_t *b, int i)
{
    return half_at(b) * (nibble32(b + 8, i) | fifth32(b + 4, i)) + half_at(b + 2);
}

static long double q8_0(const uint8_t *b, int i)
{
    return half_at(b) * signed_at(b, 2 + i);
}

static long double q8_1(const uint8_t *b, int i)
{
    return half_at(b) * signed_at(b, 4 + i);
}

/* Two bits of 256 values: four values 32 apart in a byte, 128 in 32 bytes. */
static int two_bits(const uint8_t *q, int i)
{
    return bits_at(q, i / 128 * 32 + i % 32, i / 32 % 4 * 2, 2);
}

/* One bit of 256 values: eight values 32 apart in a byte. */
static int one_bit(const uint8_t *q, int i)
{
    return bits_at(q, i % 32, i / 32, 1);
}

/* Four bits of 256 values: two values 32 apart in a byte, 64 in 32 bytes. */
static int four_bits(const uint8_t *q, int i)
{
    return bits_at(q, i / 64 * 32 + i % 32, i / 32 % 2 * 4, 4);
}

static long double q2_k(const uint8_t *b, int i)
{
    int s = i / 16;
    return half_at(b + 80) * bits_at(b, s, 0, 4) * two_bits(b + 16, i) - half_at(b + 82) * bits_at(b, s, 4, 4);
}

static long double q3_k(const uint8_t *b, int i)
{
    int s = i / 16, low = bits_at(b, 96 + s % 8, s < 8 ? 0 : 4, 4), high = bits_at(b, 104 + s % 4, s / 4 * 2, 2);
    return half_at(b + 108) * ((low | high << 4) - 32) * (two_bits(b + 32, i) + 4 * one_bit(b, i) - 4);
}

/* Six bits each: scales, then minima, of eight sub-blocks. */
static int scale45(const uint8_t *p, int s)
{
    return s < 4 ? bits_at(p, s, 0, 6) : bits_at(p, s + 4, 0, 4) | bits_at(p, s - 4, 6, 2) << 4;
}

static int min45(const uint8_t *p, int s)
{
    return s < 4 ? bits_at(p, s + 4, 0, 6) : bits_at(p, s + 4, 4, 4) | bits_at(p, s, 6, 2) << 4;
}

static long double q4_k(const uint8_t *b, int i)
{
    return half_at(b) * scale45(b + 4, i / 32) * four_bits(b + 16, i) - half_at(b + 2) * min45(b + 4, i / 32);
}

static long double q5_k(const uint8_t *b, int i)
{
    int q = four_bits(b + 48, i) | one_bit(b + 16, i) << 4;
    return half_at(b) * scale45(b + 4, i / 32) * q - half_at(b + 2) * min45(b + 4, i / 32);
}

/* The low bits of 128 values: two values 64 apart in a byte. */
static long double q6_k(const uint8_t *b, int i)
{
    int q = bits_at(b, i / 128 * 64 + i % 64, i / 64 % 2 * 4, 4) | two_bits(b + 128, i) << 4;
    return half_at(b + 208) * signed_at(b, 192 + i / 16) * (q - 32);
}

static long double q8_k(const uint8_t *b, int i)
{
    float d;
    memcpy(&d, b, sizeof d);
    return (long double)d * signed_at(b, 4 + i);
}

static const int levels_iq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

static long double iq4_nl(const uint8_t *b, int i)
{
    return half_at(b) * levels_iq4[nibble32(b + 2, i)];
}

static long double iq4_xs(const uint8_t *b, int i)
{
    int s = i / 32, high = bits_at(b, 2 + s / 4, s % 4 * 2, 2);
    return half_at(b) * ((bits_at(b, 4 + s / 2, s % 2 * 4, 4) | high << 4) - 32) *
           levels_iq4[nibble32(b + 8 + 16 * s, i % 32)];
}

/* E2M1; minus zero reads as zero. */
static long double e2m1(int q)
{
    static const long double magnitude[] = {0, 0.5L, 1, 1.5L, 2, 3, 4, 6};
    return q > 8 ? -magnitude[q - 8] : magnitude[q % 8];
}

static long double mxfp4(const uint8_t *b, int i)
{
    return ldexpl(e2m1(nibble32(b + 1, i)), b[0] - 127);
}

/* E4M3 without sign, of 16 values; 0x7F, which is NaN in E4M3, is zero here. */
static long double nvfp4(const uint8_t *b, int i)
{
    int s = i / 16, e = b[s] >> 3 & 15, m = b[s] & 7;
    long double scale = b[s] == 0x7F ? 0 : e == 0 ? ldexpl(m, -9) : ldexpl(8 + m, e - 10);
    return scale * e2m1(bits_at(b, 4 + 8 * s + i % 8, i % 16 < 8 ? 0 : 4, 4));
}

static long double tq2_0(const uint8_t *b, int i)
{
    return half_at(b + 64) * (two_bits(b, i) - 1);
}

/* Digit k is the integer part of 3 * fraction(3^k * byte / 256). */
static long double tq1_0(const uint8_t *b, int i)
{
    int at = i < 160 ? i % 32 : i < 240 ? 32 + (i - 160) % 16 : 48 + (i - 240) % 4;
    int k = i < 160 ? i / 32 : i < 240 ? (i - 160) / 16 : (i - 240) / 4;
    long double fraction = (long double)b[at] / 256;
    for (int n = 0; n < k; n++)
        fraction = 3 * fraction - floorl(3 * fraction);
    return half_at(b + 52) * (floorl(3 * fraction) - 1);
}

static long double q1_0(const uint8_t *b, int i)
{
    return half_at(b) * (bits_at(b, 2 + i / 8, i % 8, 1) ? 1 : -1);
}

static long double q2_0(const uint8_t *b, int i)
{
    return half_at(b) * (bits_at(b, 2 + i / 4, i % 4 * 2, 2) - 1);
}

static long double f16(const uint8_t *b, int i)
{
    return half_at(b + 2 * i);
}

static long double bf16(const uint8_t *b, int i)
{
    int bits = b[2 * i] | b[2 * i + 1] << 8, exponent = bits >> 7 & 255, mantissa = bits & 127;
    long double sign = bits >> 15 ? -1 : 1;
    if (exponent == 255)
        return mantissa ? (long double)NAN : sign * (long double)INFINITY;
    return sign * (exponent ? ldexpl(128 + mantissa, exponent - 134) : ldexpl(mantissa, -133));
}

typedef long double value_fn(const uint8_t *block, int i);

/* `halves`: offsets of numbers in half precision in the block; -1: end. */
static const struct layout {
    pn_type type;
    value_fn *value;
    int halves[2];
} layouts[] = {
    {PN_TYPE_F16, f16, {0, -1}},       {PN_TYPE_BF16, bf16, {-1, -1}},   {PN_TYPE_Q4_0, q4_0, {0, -1}},
    {PN_TYPE_Q4_1, q4_1, {0, 2}},      {PN_TYPE_Q5_0, q5_0, {0, -1}},    {PN_TYPE_Q5_1, q5_1, {0, 2}},
    {PN_TYPE_Q8_0, q8_0, {0, -1}},     {PN_TYPE_Q8_1, q8_1, {0, -1}},    {PN_TYPE_Q2_K, q2_k, {80, 82}},
    {PN_TYPE_Q3_K, q3_k, {108, -1}},   {PN_TYPE_Q4_K, q4_k, {0, 2}},     {PN_TYPE_Q5_K, q5_k, {0, 2}},
    {PN_TYPE_Q6_K, q6_k, {208, -1}},   {PN_TYPE_Q8_K, q8_k, {-1, -1}},   {PN_TYPE_IQ4_NL, iq4_nl, {0, -1}},
    {PN_TYPE_IQ4_XS, iq4_xs, {0, -1}}, {PN_TYPE_MXFP4, mxfp4, {-1, -1}}, {PN_TYPE_NVFP4, nvfp4, {-1, -1}},
    {PN_TYPE_TQ1_0, tq1_0, {52, -1}},  {PN_TYPE_TQ2_0, tq2_0, {64, -1}}, {PN_TYPE_Q1_0, q1_0, {0, -1}},
    {PN_TYPE_Q2_0, q2_0, {0, -1}},
};
enum { N_LAYOUTS = sizeof layouts / sizeof *layouts };

/* ---- decoding ---- */

static bool same(float got, long double want)
{
    float f = (float)want;
    return (isnan(got) && isnan(f)) || memcmp(&got, &f, sizeof f) == 0;
}

static void check_block(const struct layout *l, const uint8_t *block, const char *what)
{
    const struct pn_type_info *t = pn_type_info(l->type);
    float values[MOST];
    t->decode(block, values, t->block);
    for (int i = 0; i < (int)t->block; i++)
        if (!same(values[i], l->value(block, i)))
            fail_msg("%s, %s: value %d is %.9g, not %.9Lg", t->name, what, i, (double)values[i], l->value(block, i));
}

static void decoders_read_the_layouts(void **state)
{
    (void)state;
    /* 0, least and largest subnormal, least and largest normal, their negatives, infinity, NaN */
    static const uint16_t halves[] = {0, 1, 0x3FF, 0x400, 0x7BFF, 0x8000, 0x8001, 0xFBFF, 0x7C00, 0xFC00, 0x7E00};
    for (int l = 0; l < N_LAYOUTS; l++) {
        const struct pn_type_info *t = pn_type_info(layouts[l].type);
        uint8_t block[MOST_BYTES];
        for (uint64_t seed = 0; seed < 300; seed++) {
            sample_bytes(seed + 1000 * (uint64_t)l, block, t->bytes);
            if (seed < 2)
                memset(block, seed ? 0xFF : 0, t->bytes);
            else if (seed < 258 && t->block > 1) /* every value of the bytes that may be scales */
                block[seed % 4] = (uint8_t)(seed - 2);
            check_block(&layouts[l], block, "random bytes");
        }
        for (int h = 0; h < 2 && layouts[l].halves[h] >= 0; h++)
            for (int i = 0; i < 11; i++) {
                sample_bytes((uint64_t)i, block, t->bytes);
                memcpy(block + layouts[l].halves[h], &halves[i], 2);
                check_block(&layouts[l], block, "a scale at an end of the range");
            }
    }
    for (int half = 0; half < 65536; half++) {
        uint16_t bits = (uint16_t)half;
        check_block(&layouts[0], (const uint8_t *)&bits, "each half");
        check_block(&layouts[1], (const uint8_t *)&bits, "each bfloat16");
    }
}

/* ---- encoding ---- */

/* A number in half precision as encoders store it: rounded to nearest even, kept finite. */
static void put_half(uint8_t *b, float f)
{
    long double a = fabsl((long double)f), step;
    int exponent, code;
    a = a > 65504 ? 65504 : a;
    frexpl(a, &exponent);
    exponent = exponent < -13 ? -13 : exponent; /* subnormals have the step of the least normal */
    step = ldexpl(1, exponent - 11);
    long double n = floorl(a / step), rest = a / step - n;
    n += rest > 0.5L || (rest == 0.5L && fmodl(n, 2) == 1);
    n = n * step > 65504 ? 2047 : n;
    code = (int)n + (exponent + 13) * 1024;
    code = a == 0 ? 0 : code;
    b[0] = (uint8_t)code;
    b[1] = (uint8_t)(code >> 8 | (signbit(f) ? 0x80 : 0));
}

/* A product that is rounded before an addition: the formats' rules do not fuse additions. */
static float times(float a, float b)
{
    volatile float product = a * b;
    return product;
}

static float largest_of(const float *x, int n)
{
    float best = 0;
    for (int i = 0; i < n; i++)
        best = fabsf(x[i]) > fabsf(best) ? x[i] : best;
    return best;
}

/* The integer part, limited to 0 .. top. */
static int limited(float x, int top)
{
    return !(x > 0) ? 0 : x >= (float)top ? top : (int)floorf(x);
}

static void put_nibbles(uint8_t *low, const int *q)
{
    for (int i = 0; i < 32; i++)
        low[i % 16] = (uint8_t)(i < 16 ? q[i] & 15 : low[i % 16] | (q[i] & 15) << 4);
}

static void put_fifths(uint8_t *high, const int *q)
{
    memset(high, 0, 4);
    for (int i = 0; i < 32; i++)
        high[i / 8] |= (uint8_t)(q[i] >> 4 << i % 8);
}

/* The first value of the largest magnitude becomes the lowest level; ties round up. */
static void symmetric(const float *x, int bits, uint8_t *b)
{
    int q[32], half = 1 << (bits - 1);
    float d = largest_of(x, 32) / (float)-half, inverse = d == 0 ? 0 : 1 / d;
    for (int i = 0; i < 32; i++)
        q[i] = limited(times(x[i], inverse) + ((float)half + 0.5f), 2 * half - 1);
    put_half(b, d);
    if (bits == 5)
        put_fifths(b + 2, q);
    put_nibbles(b + (bits == 5 ? 6 : 2), q);
}

static void affine(const float *x, int bits, uint8_t *b)
{
    int q[32], top = (1 << bits) - 1;
    float low = x[0], high = x[0];
    for (int i = 0; i < 32; i++) {
        low = fminf(low, x[i]);
        high = fmaxf(high, x[i]);
    }
    float d = (high - low) / (float)top, inverse = d == 0 ? 0 : 1 / d;
    for (int i = 0; i < 32; i++)
        q[i] = limited(times(x[i] - low, inverse) + 0.5f, top);
    put_half(b, d);
    put_half(b + 2, low);
    if (bits == 5)
        put_fifths(b + 4, q);
    put_nibbles(b + (bits == 5 ? 8 : 4), q);
}

static void to_q4_0(const float *x, uint8_t *b)
{
    symmetric(x, 4, b);
}

static void to_q5_0(const float *x, uint8_t *b)
{
    symmetric(x, 5, b);
}

static void to_q4_1(const float *x, uint8_t *b)
{
    affine(x, 4, b);
}

static void to_q5_1(const float *x, uint8_t *b)
{
    affine(x, 5, b);
}

/* To the nearest level, ties away from zero. */
static int nearest_away(float x, int limit)
{
    float a = floorf(fabsf(x) + 0.5f);
    if (fabsf(x) < 0.5f) /* where the sum above rounds up */
        a = 0;
    a = a > (float)limit ? (float)limit : a;
    return (int)(x < 0 ? -a : a);
}

static void to_q8(const float *x, uint8_t *b, int at)
{
    float d = fabsf(largest_of(x, 32)) / 127, inverse = d == 0 ? 0 : 1 / d;
    int sum = 0;
    for (int i = 0; i < 32; i++) {
        int q = nearest_away(times(x[i], inverse), 127);
        b[at + i] = (uint8_t)q;
        sum += q;
    }
    put_half(b, d);
    if (at == 4)
        put_half(b + 2, d * (float)sum);
}

static void to_q8_0(const float *x, uint8_t *b)
{
    to_q8(x, b, 2);
}

static void to_q8_1(const float *x, uint8_t *b)
{
    to_q8(x, b, 4);
}

/* The extreme value becomes -127; ties round to the even level. */
static void to_q8_k(const float *x, uint8_t *b)
{
    float extreme = largest_of(x, 256), inverse = extreme == 0 ? 0 : -127 / extreme, d = inverse == 0 ? 0 : 1 / inverse;
    int16_t sums[16] = {0};
    memcpy(b, &d, 4);
    for (int i = 0; i < 256; i++) {
        float a = times(x[i], inverse), n = floorf(a);
        int q = (int)n + (a - n > 0.5f || (a - n == 0.5f && (int)n % 2 != 0));
        b[4 + i] = (uint8_t)q;
        sums[i / 16] = (int16_t)(sums[i / 16] + q);
    }
    memcpy(b + 260, sums, 32);
}

static void ternary(const float *x, int n, int *q, float *d)
{
    *d = fabsf(largest_of(x, n));
    for (int i = 0; i < n; i++)
        q[i] = nearest_away(*d > 0 ? times(x[i], 1 / *d) : 0, 1) + 1;
}

static void to_q2_0(const float *x, uint8_t *b)
{
    int q[64];
    float d;
    ternary(x, 64, q, &d);
    put_half(b, d);
    memset(b + 2, 0, 16);
    for (int i = 0; i < 64; i++)
        b[2 + i / 4] |= (uint8_t)(q[i] << i % 4 * 2);
}

static void to_tq2_0(const float *x, uint8_t *b)
{
    int q[256];
    float d;
    ternary(x, 256, q, &d);
    put_half(b + 64, d);
    memset(b, 0, 64);
    for (int i = 0; i < 256; i++)
        b[i / 128 * 32 + i % 32] |= (uint8_t)(q[i] << i / 32 % 4 * 2);
}

/* Five digits make a number up to 242, scaled to 255 and rounded up. */
static void to_tq1_0(const float *x, uint8_t *b)
{
    int q[256], number[52] = {0}, digits[52] = {0};
    float d;
    ternary(x, 256, q, &d);
    for (int i = 0; i < 256; i++) {
        int at = i < 160 ? i % 32 : i < 240 ? 32 + (i - 160) % 16 : 48 + (i - 240) % 4;
        number[at] = number[at] * 3 + q[i];
        digits[at]++;
    }
    for (int i = 0; i < 52; i++)
        b[i] = (uint8_t)ceil(number[i] * (digits[i] == 4 ? 3 : 1) * 256 / 243.0);
    put_half(b + 52, d);
}

static void to_q1_0(const float *x, uint8_t *b)
{
    float sum = 0;
    memset(b, 0, 18);
    for (int i = 0; i < 128; i++) {
        sum += fabsf(x[i]);
        b[2 + i / 8] |= (uint8_t)((x[i] >= 0) << i % 8);
    }
    put_half(b, sum / 128);
}

static const struct {
    pn_type type;
    void (*encode)(const float *x, uint8_t *b);
} rules[] = {
    {PN_TYPE_Q4_0, to_q4_0}, {PN_TYPE_Q4_1, to_q4_1},   {PN_TYPE_Q5_0, to_q5_0},   {PN_TYPE_Q5_1, to_q5_1},
    {PN_TYPE_Q8_0, to_q8_0}, {PN_TYPE_Q8_1, to_q8_1},   {PN_TYPE_Q8_K, to_q8_k},   {PN_TYPE_Q2_0, to_q2_0},
    {PN_TYPE_Q1_0, to_q1_0}, {PN_TYPE_TQ1_0, to_tq1_0}, {PN_TYPE_TQ2_0, to_tq2_0},
};
enum { N_RULES = sizeof rules / sizeof *rules, WAYS = 9 };

/* Values at ties and ends of the range, chosen by `way`. */
static void hard_values(int way, uint64_t seed, float *x)
{
    sample_values(seed, x, MOST);
    for (int i = 0; i < MOST; i++) {
        int n = (int)(sample_next(&seed) % 31);
        if (way == 0) /* halfway between levels of 4, 5 and 8 bits and ternary ones, with extremes -16 and 16 */
            x[i] = i % 37 == 0 ? -16 : i % 41 == 0 ? 16 : (float)n - 15 + 0.5f * (float)(i % 3);
        else if (way == 1)
            x[i] = i % 29 == 3 ? 127 : i % 31 == 4 ? -127 : (float)(n - 15) + 0.5f;
        else if (way == 2)
            x[i] = 0;
        else if (way == 3) /* a single very large value */
            x[i] = i % 32 == (int)(sample_next(&seed) % 32) ? 3e38f : x[i];
        else if (way == 4) /* scales that are subnormal as halves */
            x[i] *= 0x1p-20f;
        else if (way == 5) /* ... and as floats */
            x[i] *= 0x1p-130f;
        else if (way == 6)
            x[i] = i % 2 ? -3 : 3;
        else if (way == 7) /* above the range of scales in half precision */
            x[i] *= 0x1p24f;
        else
            x[i] = -fabsf(x[i]) - 1;
    }
}

static void encoders_follow_their_rules(void **state)
{
    (void)state;
    for (int r = 0; r < N_RULES; r++)
        for (int way = 0; way < WAYS + 1; way++)
            for (uint64_t seed = 0; seed < 20; seed++) {
                const struct pn_type_info *t = pn_type_info(rules[r].type);
                float x[MOST];
                uint8_t got[MOST_BYTES], want[MOST_BYTES];
                if (way == 5 && rules[r].type == PN_TYPE_Q8_K) /* levels are arbitrary if the scale is 0 */
                    continue;
                sample_values(seed + 500, x, MOST);
                if (way < WAYS)
                    hard_values(way, seed, x);
                memset(got, 0xA5, sizeof got);
                t->encode(x, got, t->block);
                rules[r].encode(x, want);
                for (uint32_t i = 0; i < t->bytes; i++)
                    if (got[i] != want[i])
                        fail_msg("%s, way %d, seed %d: byte %d is %02x, not %02x", t->name, way, (int)seed, (int)i,
                                 got[i], want[i]);
                assert_int_equal(got[t->bytes], 0xA5);
            }
}

/* NaN becomes the lowest level and does not change the scale; infinity is kept finite. */
static void nan_becomes_the_lowest_level(void **state)
{
    (void)state;
    static const struct {
        pn_type type;
        float lowest;
    } cases[] = {{PN_TYPE_Q4_0, -8}, {PN_TYPE_Q5_0, -16}, {PN_TYPE_Q8_0, -127}, {PN_TYPE_Q8_1, -127}};
    for (int c = 0; c < 4; c++) {
        const struct pn_type_info *t = pn_type_info(cases[c].type);
        float x[32] = {0}, y[32];
        uint8_t b[MOST_BYTES];
        x[3] = cases[c].lowest / 4;
        x[7] = NAN;
        x[9] = 0.5f;
        t->encode(x, b, 32);
        t->decode(b, y, 32);
        assert_true(y[3] == x[3] && y[7] == x[3] && y[9] == 0.5f && y[0] == 0);
        x[7] = c % 2 ? INFINITY : -INFINITY;
        t->encode(x, b, 32);
        t->decode(b, y, 32);
        for (int i = 0; i < 32; i++)
            assert_true(isfinite(y[i]));
    }
}

/* Four-bit floats: of two levels equally near, the smaller. One such value, and levels that fix the scale. */
static void check_tie(const struct pn_type_info *t, int n, float scale)
{
    static const float level[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6}, filler[] = {6, 4, 3, 2, 1.5f, 1, 0.5f, 0};
    float tie = (level[n] + level[n + 1]) / 2;
    const float asked[] = {tie, nextafterf(tie, 0), nextafterf(tie, 100)};
    const float wanted[] = {level[n], level[n], level[n + 1]};
    for (int way = 0; way < 3; way++) {
        float x[64], y[64];
        uint8_t b[MOST_BYTES];
        for (int i = 0; i < 64; i++)
            x[i] = (i % 16 == 5 ? asked[way] : filler[i % 8]) * (i % 3 ? scale : -scale);
        t->encode(x, b, 64);
        t->decode(b, y, 64);
        for (int i = 0; i < 64; i++) {
            float want = (i % 16 == 5 ? wanted[way] : filler[i % 8]) * (i % 3 ? scale : -scale);
            if (y[i] != want)
                fail_msg("%s: %.9g became %.9g, not %.9g", t->name, (double)x[i], (double)y[i], (double)want);
        }
    }
}

static void four_bit_floats_at_ties(void **state)
{
    (void)state;
    for (int n = 0; n < 7; n++) {
        for (int exponent = -55; exponent < 56; exponent += 11) /* the square of an error is a float */
            check_tie(pn_type_info(PN_TYPE_MXFP4), n, ldexpf(1, exponent));
        for (int exponent = -6; exponent < 8 && n < 6; exponent++) /* 5 is nearer to a level with another scale */
            check_tie(pn_type_info(PN_TYPE_NVFP4), n, ldexpf(1, exponent));
    }
}

/* The ends: the largest level times the largest scale, and values above; the least, and values below. */
static void four_bit_floats_at_the_ends(void **state)
{
    (void)state;
    static const struct {
        float value, nvfp4; /* all values of the block; the decoded value */
    } cases[] = {{6 * 448, 6 * 448},   {1e6f, 6 * 448}, {6 * 0x1p-9f, 6 * 0x1p-9f},
                 {0x1p-10f, 0x1p-10f}, {0x1p-12f, 0},   {0, 0}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (int k = 0; k < 2; k++) {
            const struct pn_type_info *t = pn_type_info(k ? PN_TYPE_NVFP4 : PN_TYPE_MXFP4);
            float x[64], y[64];
            uint8_t b[MOST_BYTES];
            for (int i = 0; i < 64; i++)
                x[i] = cases[c].value;
            t->encode(x, b, 64);
            t->decode(b, y, 64);
            for (int i = 0; k && i < 64; i++)
                assert_true(y[i] == cases[c].nvfp4);
            for (int i = 0; !k && i < 64; i++) /* the nearest level is within a sixth */
                assert_true(fabsf(y[i] - x[i]) <= x[i] / 6);
        }
}

/* ---- types whose encoders search ---- */

/* Values that a block can hold, with every sub-block using its whole range and one of them the largest scale, are
 * encoded exactly: the search finds them. */
struct search {
    pn_type type;
    int size, count; /* size and number of sub-blocks */
    int low, high;   /* levels */
    int top;         /* the largest scale (and minimum); below 0 if scales are signed */
    bool minima;
};

static int between(uint64_t *state, int low, int high)
{
    return low + (int)(sample_next(state) % (uint64_t)(high - low + 1));
}

static int level_of(const struct search *r, int q)
{
    return r->type == PN_TYPE_IQ4_XS || r->type == PN_TYPE_IQ4_NL ? levels_iq4[q] : q;
}

static void searched_values(const struct search *r, uint64_t seed, float *x)
{
    uint64_t state = seed;
    long double d = ldexpl(1025 + (int)(seed * 61 % 900), -14 - (int)(seed % 5));
    long double dmin = r->minima ? ldexpl(1024 + (int)(seed * 37 % 1000), -15 - (int)(seed % 3)) : 0;
    for (int s = 0; s < r->count; s++) {
        int scale = r->top < 0 ? between(&state, r->top, -r->top - 1) : between(&state, 1, r->top);
        int min = between(&state, 1, abs(r->top)); /* unused in types without minima */
        if (s == (int)(seed % (uint64_t)r->count))
            scale = r->top;
        if (s == (int)(seed / 3 % (uint64_t)r->count))
            min = r->top;
        for (int i = 0; i < r->size; i++) {
            int q = between(&state, r->low, r->high);
            q = i == (int)(seed % 5) ? r->low : i == 7 + (int)(seed % 7) ? r->high : q;
            x[s * r->size + i] = (float)(d * scale * level_of(r, q) - dmin * min);
        }
    }
}

static void searches_find_exact_values(void **state)
{
    (void)state;
    static const struct search cases[] = {
        {PN_TYPE_Q2_K, 16, 16, 0, 3, 15, true},       {PN_TYPE_Q3_K, 16, 16, -4, 3, -32, false},
        {PN_TYPE_Q4_K, 32, 8, 0, 15, 63, true},       {PN_TYPE_Q5_K, 32, 8, 0, 31, 63, true},
        {PN_TYPE_Q6_K, 16, 16, -32, 31, -128, false}, {PN_TYPE_IQ4_NL, 32, 1, 0, 15, 1, false},
        {PN_TYPE_IQ4_XS, 32, 8, 0, 15, -32, false},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        const struct pn_type_info *t = pn_type_info(cases[c].type);
        for (uint64_t seed = 0; seed < 200; seed++) {
            float x[MOST], y[MOST];
            uint8_t b[MOST_BYTES];
            searched_values(&cases[c], seed, x);
            t->encode(x, b, t->block);
            t->decode(b, y, t->block);
            for (uint32_t i = 0; i < t->block; i++)
                if (x[i] != y[i])
                    fail_msg("%s, seed %d: value %d is %.9g, not %.9g", t->name, (int)seed, (int)i, (double)y[i],
                             (double)x[i]);
        }
    }
}

/* An encoder gives the same bytes on every machine and with every compiler: the encodings of ordinary values and of
 * those at ties and ends have a checksum (except overflow, where the sign of NaN depends on the processor). A better
 * search changes it, and test_type.c shows whether it is better. */
static void encoders_give_the_same_bytes_everywhere(void **state)
{
    (void)state;
    static const struct {
        pn_type type;
        uint64_t sum; /* FNV-1a (Fowler, Noll, Vo) */
    } cases[] = {
        {PN_TYPE_Q2_K, 0x02E18B6B70F3D370u},    {PN_TYPE_Q3_K, 0x8B1BB43406475B4Eu},
        {PN_TYPE_Q4_K, 0xF56BDE6D3C1EDFC9u},    {PN_TYPE_Q5_K, 0x1E63F67E9E160DFDu},
        {PN_TYPE_Q6_K, 0xB6BF2B870FB6C812u},    {PN_TYPE_IQ4_NL, 0xCCAEB2EBEC53C89Bu},
        {PN_TYPE_IQ4_XS, 0xBAB7769531495C50u},  {PN_TYPE_MXFP4, 0xD78C8E9F0F0698DCu},
        {PN_TYPE_NVFP4, 0xD8222BA86E7C9C53u},   {PN_TYPE_IQ2_XXS, 0xAE0EF850B7885F1Bu},
        {PN_TYPE_IQ2_XS, 0x06B11F0D26D15459u},  {PN_TYPE_IQ2_S, 0xECB9ADE6BF031DACu},
        {PN_TYPE_IQ3_XXS, 0x8AEC134557D2C0F8u}, {PN_TYPE_IQ3_S, 0x268AD0E7248BEF26u},
        {PN_TYPE_IQ1_S, 0xB6FA56DA660FC735u},   {PN_TYPE_IQ1_M, 0x99F66E90AEA7B747u},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        const struct pn_type_info *t = pn_type_info(cases[c].type);
        uint64_t sum = 0xCBF29CE484222325u;
        for (int way = -20; way < WAYS; way++)
            for (uint64_t seed = 0; seed < 4; seed++) {
                float x[MOST];
                uint8_t b[16 * MOST_BYTES];
                sample_values(seed + 4 * (uint64_t)(way + 20), x, MOST);
                if (way >= 0)
                    hard_values(way, seed, x);
                if (way == 3)
                    continue;
                t->encode(x, b, MOST);
                for (size_t i = 0; i < pn_type_row_bytes(cases[c].type, MOST); i++)
                    sum = (sum ^ b[i]) * 0x100000001B3u;
            }
        if (sum != cases[c].sum)
            fail_msg("%s: the bytes have checksum 0x%016llX", t->name, (unsigned long long)sum);
    }
}

/* Every instruction set of this machine encodes to the same bytes, also with weights and with odd numbers of blocks. */
static void instruction_sets_agree(void **state)
{
    (void)state;
    const struct pn_search *others[2] = {0};
#if defined(__x86_64__)
    others[0] = __builtin_cpu_supports("avx2") ? &pn_search_avx2 : NULL;
    others[1] = others[0] && __builtin_cpu_supports("avx512f") ? &pn_search_avx512 : NULL;
#endif
    static const size_t members[] = {
#define MEMBER(name) offsetof(struct pn_search, name),
        PN_SEARCHES(MEMBER)};
    enum { N = 5 * 256 };
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        for (int set = 0; set < 2 && others[set]; set++)
            for (int weighted = 0; weighted < 2; weighted++) {
                float x[N], w[N];
                uint8_t want[2 * N] = {0}, got[2 * N] = {0};
                pn_search_fn *first, *second;
                memcpy(&first, (const char *)&pn_search_generic + members[i], sizeof first);
                memcpy(&second, (const char *)others[set] + members[i], sizeof second);
                sample_values(i, x, N);
                sample_values(i + 100, w, N);
                for (int k = 0; k < N; k++)
                    w[k] = k % 97 == 0 ? 0 : w[k] * w[k];
                first(x, weighted ? w : NULL, want, N);
                second(x, weighted ? w : NULL, got, N);
                assert_memory_equal(got, want, sizeof got);
            }
}

/* Weights move the error from values that count to those that do not; weights of 1 change nothing where the plain
 * encoder searches too. */
static void weights_count(void **state)
{
    (void)state;
    for (pn_type type = 0; type < PN_TYPE_COUNT; type++) {
        const struct pn_type_info *t = pn_type_info(type);
        if (!t->encode_weighted)
            continue;
        double plain = 0, weighted = 0;
        for (uint64_t seed = 0; seed < 8; seed++) {
            float x[MOST], w[MOST], y[MOST];
            uint8_t b[16 * MOST_BYTES];
            sample_values(seed, x, MOST);
            for (int i = 0; i < MOST; i++)
                w[i] = i % 3 ? 0.01f : 10;
            for (int k = 0; k < 2; k++) {
                pn_type_encode(type, x, k ? w : NULL, b, MOST);
                t->decode(b, y, MOST);
                for (int i = 0; i < MOST; i++)
                    *(k ? &weighted : &plain) += (double)(w[i] * (x[i] - y[i]) * (x[i] - y[i]));
            }
        }
        if (!(weighted < 0.9 * plain))
            fail_msg("%s: weighted error %g with weights, %g without", t->name, weighted, plain);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decoders_read_the_layouts),
        cmocka_unit_test(encoders_follow_their_rules),
        cmocka_unit_test(nan_becomes_the_lowest_level),
        cmocka_unit_test(four_bit_floats_at_ties),
        cmocka_unit_test(four_bit_floats_at_the_ends),
        cmocka_unit_test(searches_find_exact_values),
        cmocka_unit_test(encoders_give_the_same_bytes_everywhere),
        cmocka_unit_test(instruction_sets_agree),
        cmocka_unit_test(weights_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
