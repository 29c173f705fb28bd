/* All entries of the kernel table that are not products: quantizing activations, sums, exp, activation functions, half
 * precision. One source for all instruction sets: width and instructions follow the compiler's flags.
 *
 * Polynomials: each is the interpolant of its function at the Chebyshev nodes of its interval, computed in float64 and
 * rounded to float32; the comment at the coefficients names interval and function. */
#ifndef PN_ISA_ELEMENTWISE_H
#define PN_ISA_ELEMENTWISE_H

#include "device/cpu/isa/common/vec.h"

/* exp(x) for x clamped to [-87.3, 88]. x = n ln 2 + r, |r| <= ln 2 / 2; exp(r) = 1 + r + r^2 p(r). */
PN_INLINE vf vexp(vf x)
{
    const float magic = 0x1.8p23f; /* adding it rounds to an integer in the low bits */
    x = vmin(vmax(x, vset(-87.3f)), vset(88.0f));
    vf t = vfma(x, vset(1.44269504f), vset(magic));
    vf n = t - magic;
    vf r = vfma(n, vset(-0x1.62e4p-1f), x); /* ln 2 in two parts; the first times n is exact */
    r = vfma(n, vset(-0x1.7f7d1cp-20f), r);
    /* p: (exp(r) - 1 - r) / r^2 on [-0.35, 0.35], degree 4, relative error 1.4e-7 */
    vf p = vfma(r, vset(0x1.6d1606p-10f), vset(0x1.12106cp-7f));
    p = vfma(p, r, vset(0x1.555516p-5f));
    p = vfma(p, r, vset(0x1.5554d8p-3f));
    p = vfma(p, r, vset(0.5f));
    vf e = vfma(r * r, p, r) + 1.0f;
    return e * (vf)((((vi)t - 0x4b400000) + 127) << 23);
}

PN_INLINE vf vsigmoid(vf x)
{
    return 1.0f / (1.0f + vexp(-x));
}

/* tanh: x + x^3 p(x^2) near zero, else 1 - 2 / (exp(2|x|) + 1) with the sign of x. */
PN_INLINE vf vtanh(vf x)
{
    vf a = vabs(x), z = x * x;
    /* p: (tanh(x) / x - 1) / x^2 in z = x^2 on [0, 0.4], degree 5, relative error 6e-9 */
    vf p = vfma(z, vset(0x1.2977d8p-9f), vset(-0x1.10bbf4p-7f));
    p = vfma(p, z, vset(0x1.648e8ep-6f));
    p = vfma(p, z, vset(-0x1.ba0718p-5f));
    p = vfma(p, z, vset(0x1.1110e4p-3f));
    p = vfma(p, z, vset(-0x1.555556p-2f));
    vf near = vfma(x * z, p, x);
    vf far = 1.0f - 2.0f / (vexp(a + a) + 1.0f);
    far = (vf)((vi)far | ((vi)x & (int32_t)0x80000000));
    return vselect(a < 0.625f, near, far);
}

/* x Phi(x). With z = |x| / sqrt 2: Phi(-|x|) = erfc(z) / 2 = exp(-z^2) f(t) / (2 (1 + 2 z)), t = (z - 2.5) / (z + 2.5),
 * which keeps the relative error small where Phi is; exp's argument x^2 / 2 is rounded once. */
PN_INLINE vf vgelu(vf x)
{
    vf a = vmin(vabs(x), vset(13.5f)), z = a * 0.70710678f;
    vf t = (z - 2.5f) / (z + 2.5f);
    /* f: (1 + 2 z) exp(z^2) erfc(z) in t on [-1, 0.59] (z in [0, 9.6]), degree 10, relative error 5e-9 */
    static const float c[] = {0x1.82595ep-14f, 0x1.511326p-11f, 0x1.71eab8p-12f, -0x1.22d4d2p-8f,
                              0x1.fc0878p-11f, 0x1.0c89bp-5f,   -0x1.a5c4f8p-4f, 0x1.42d24ap-3f,
                              -0x1.959a98p-4f, -0x1.f52c4cp-4f, 0x1.43cc7p+0f};
    vf f = vset(c[0]);
    for (int i = 1; i < 11; i++)
        f = vfma(f, t, vset(c[i]));
    vf tail = vexp(a * a * -0.5f) * f * 0.5f / (1.0f + 2.0f * z);
    return x * vselect(x < 0.0f, tail, 1.0f - tail);
}

/* max(x, 0) + log(1 + e), e = exp(-|x|); log(1 + e) = 2 artanh(e / (2 + e)), whose series ends below 1e-8 at s = 1/3.
 */
PN_INLINE vf vsoftplus(vf x)
{
    vf e = vexp(-vabs(x));
    vf s = e / (2.0f + e), z = s * s;
    vf p = vfma(z, vset(1.0f / 15), vset(1.0f / 13));
    p = vfma(p, z, vset(1.0f / 11));
    p = vfma(p, z, vset(1.0f / 9));
    p = vfma(p, z, vset(1.0f / 7));
    p = vfma(p, z, vset(1.0f / 5));
    p = vfma(p, z, vset(1.0f / 3));
    return vmax(x, vset(0.0f)) + 2.0f * vfma(s * z, p, s);
}

/* ---- activation functions: vact_<name> of each line of act.def ---- */

PN_INLINE vf vact_silu(vf x)
{
    return x * vsigmoid(x);
}

PN_INLINE vf vact_gelu(vf x)
{
    return vgelu(x);
}

PN_INLINE vf vact_gelu_tanh(vf x) /* (1 + tanh u) / 2 is sigmoid(2 u) */
{
    return x * vsigmoid(x * vfma(x * x, vset(2 * 0.79788456f * 0.044715f), vset(2 * 0.79788456f)));
}

PN_INLINE vf vact_gelu_quick(vf x)
{
    return x * vsigmoid(x * 1.702f);
}

PN_INLINE vf vact_relu(vf x)
{
    return vmax(x, vset(0.0f));
}

PN_INLINE vf vact_relu2(vf x)
{
    x = vmax(x, vset(0.0f));
    return x * x;
}

PN_INLINE vf vact_tanh(vf x)
{
    return vtanh(x);
}

PN_INLINE vf vact_sigmoid(vf x)
{
    return vsigmoid(x);
}

PN_INLINE vf vact_softplus(vf x)
{
    return vsoftplus(x);
}

PN_INLINE vf vact_elu(vf x) /* expm1(x) is 2 t / (1 - t) with t = tanh(x / 2) */
{
    vf t = vtanh((x - vmax(x, vset(0.0f))) * 0.5f);
    return vmax(x, vset(0.0f)) + 2.0f * t / (1.0f - t);
}

PN_INLINE vf vact(enum pn_act_fn fn, vf x)
{
    switch (fn) {
#define PN_ACT_FN(NAME, name, label, value, slope)                                                                     \
    case PN_ACT_FN_##NAME:                                                                                             \
        return vact_##name(x);
#include "tensor/act.def"
#undef PN_ACT_FN
    case PN_ACT_FN_COUNT:
        break;
    }
    return x;
}

/* up == NULL: y = act(x), else act(x) * up. Inlined per function, so that the switch is outside the loop. */
PN_INLINE void act_loop(enum pn_act_fn fn, const float *x, const float *up, float *y, int64_t n)
{
    int64_t i = 0;
    for (; i + VN <= n; i += VN) {
        vf v = vact(fn, vload(x + i));
        vstore(y + i, up ? v * vload(up + i) : v);
    }
    int rest = (int)(n - i);
    if (rest > 0) {
        vf v = vact(fn, vload_part(x + i, rest));
        vstore_part(y + i, up ? v * vload_part(up + i, rest) : v, rest);
    }
}

static void act_any(enum pn_act_fn fn, const float *x, const float *up, float *y, int64_t n)
{
    switch (fn) {
    case PN_ACT_FN_SILU:
        act_loop(PN_ACT_FN_SILU, x, up, y, n);
        break;
    case PN_ACT_FN_GELU:
        act_loop(PN_ACT_FN_GELU, x, up, y, n);
        break;
    case PN_ACT_FN_GELU_TANH:
        act_loop(PN_ACT_FN_GELU_TANH, x, up, y, n);
        break;
    default:
        act_loop(fn, x, up, y, n);
    }
}

static void act_one(enum pn_act_fn fn, const float *x, float *y, int64_t n)
{
    act_any(fn, x, NULL, y, n);
}

static void act_mul(enum pn_act_fn fn, const float *gate, const float *up, float *y, int64_t n)
{
    act_any(fn, gate, up, y, n);
}

static float sum_squares(const float *x, int64_t n)
{
    vf s[4] = {{0}};
    int64_t i = 0;
    for (; i + 4 * VN <= n; i += 4 * VN)
        for (int j = 0; j < 4; j++) {
            vf v = vload(x + i + j * VN);
            s[j] = vfma(v, v, s[j]);
        }
    for (; i + VN <= n; i += VN) {
        vf v = vload(x + i);
        s[0] = vfma(v, v, s[0]);
    }
    vf v = vload_part(x + i, (int)(n - i));
    s[1] = vfma(v, v, s[1]);
    return vsum((s[0] + s[1]) + (s[2] + s[3]));
}

static float max_value(const float *x, int64_t n)
{
    float best = -__builtin_inff();
    vf m = vset(best);
    int64_t i = 0;
    for (; i + VN <= n; i += VN)
        m = vmax(vload(x + i), m);
    best = vhmax(m);
    for (; i < n; i++)
        best = x[i] > best ? x[i] : best;
    return best;
}

static float exp_shift(float *x, float shift, int64_t n)
{
    vf sum = vset(0.0f);
    int64_t i = 0;
    for (; i + VN <= n; i += VN) {
        vf v = vload(x + i) - shift;
        v = (vf)((vi)vexp(v) & (v >= -87.0f));
        vstore(x + i, v);
        sum += v;
    }
    float total = vsum(sum);
    int rest = (int)(n - i);
    if (rest > 0) {
        vf v = vload_part(x + i, rest) - shift;
        v = (vf)((vi)vexp(v) & (v >= -87.0f));
        vstore_part(x + i, v, rest);
        for (int j = 0; j < rest; j++)
            total += x[i + j];
    }
    return total;
}

static void scale_mul(const float *x, const float *w, float scale, float *y, int64_t n)
{
    int64_t i = 0;
    for (; i + VN <= n; i += VN)
        vstore(y + i, w ? vload(x + i) * vload(w + i) * scale : vload(x + i) * scale);
    for (; i < n; i++)
        y[i] = w ? x[i] * w[i] * scale : x[i] * scale;
}

/* Float to half, round to nearest even. */
static void f32_to_f16(const float *x, uint16_t *y, int64_t n)
{
    int64_t i = 0;
#if defined(__AVX2__)
    for (; i + 8 <= n; i += 8)
        _mm_storeu_si128((__m128i *)(void *)(y + i), _mm256_cvtps_ph(_mm256_loadu_ps(x + i), 0));
#elif defined(__aarch64__)
    for (; i + 4 <= n; i += 4) {
        float16x4_t h = vcvt_f16_f32(vld1q_f32(x + i));
        memcpy(y + i, &h, sizeof h);
    }
#endif
    for (; i < n; i++)
        y[i] = pn_f32_to_f16(x[i]);
}

/* The low byte of each element. */
PN_INLINE void store_bytes(int8_t *out, vi v)
{
    typedef int8_t bytes __attribute__((vector_size(VN)));
    bytes b = __builtin_convertvector(v, bytes);
    memcpy(out, &b, sizeof b);
}

/* One block of 32: d = max|x| / PN_Q15_MAX, q = x / d to nearest even, in two planes. A block of values below 1e-30
 * becomes zero. */
static void quantize(const float *x, void *row, int64_t k)
{
    int8_t *high = row, *low = high + k;
    float *d = (float *)(void *)(low + k), *sum = d + k / 32;
    for (int64_t b = 0; b < k / 32; b++, x += 32, high += 32, low += 32) {
        vf m = vset(0.0f);
        for (int i = 0; i < 32; i += VN)
            m = vmax(vabs(vload(x + i)), m);
        float largest = vhmax(m);
        float inverse = largest > 1e-30f ? (float)PN_Q15_MAX / largest : 0.0f;
        d[b] = largest > 1e-30f ? largest / (float)PN_Q15_MAX : 0.0f;
        for (int h = 0; h < 32; h += 16) {
            vf total = vset(0.0f); /* of integers below 2^24, so exact in any order */
            for (int i = h; i < h + 16; i += VN) {
                vf n = vload(x + i) * inverse + 0x1.8p23f;
                vi q = (vi)n - 0x4b400000, top = (q + 64) >> 7;
                total += n - 0x1.8p23f;
                store_bytes(high + i, top);
                store_bytes(low + i, q - (top << 7));
            }
            sum[2 * b + h / 16] = vsum(total) * d[b];
        }
    }
}

static void install_elementwise(struct pn_cpu_kernels *kernels)
{
    kernels->quantize = quantize;
    kernels->sum_squares = sum_squares;
    kernels->max = max_value;
    kernels->exp_shift = exp_shift;
    kernels->scale_mul = scale_mul;
    kernels->act = act_one;
    kernels->act_mul = act_mul;
    kernels->f32_to_f16 = f32_to_f16;
}

#endif
