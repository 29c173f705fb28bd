/* Vectors of float32 whose width follows the compiler's flags, so that one source serves every instruction set. Written
 * with the vector extensions that gcc and clang share; intrinsics appear where those lack an operation (half
 * precision). Only for files that are compiled once per instruction set. */
#ifndef PN_ISA_VEC_H
#define PN_ISA_VEC_H

#include "device/cpu/isa/isa.h"

#include <string.h>

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#if defined(__AVX512F__)
#define VN 16
#elif defined(__AVX2__)
#define VN 8
#else
#define VN 4
#endif

/* Before a loop of a register tile: its arrays are in registers only if the loop is fully unrolled. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

#define PN_INLINE static inline __attribute__((always_inline, unused))

typedef float vf __attribute__((vector_size(VN * 4)));
typedef int32_t vi __attribute__((vector_size(VN * 4)));

PN_INLINE vf vset(float a)
{
    return a - (vf){0};
}
PN_INLINE vi viset(int32_t a)
{
    return a - (vi){0};
}
PN_INLINE vf vload(const float *p)
{
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}
PN_INLINE void vstore(float *p, vf v)
{
    memcpy(p, &v, sizeof v);
}
/* The first n < VN values, then zeros; never reads past them. */
PN_INLINE vf vload_part(const float *p, int n)
{
    float t[VN] = {0};
    memcpy(t, p, (size_t)n * sizeof *p);
    return vload(t);
}
PN_INLINE void vstore_part(float *p, vf v, int n)
{
    float t[VN];
    vstore(t, v);
    memcpy(p, t, (size_t)n * sizeof *p);
}
PN_INLINE vi vbits(vf v)
{
    return (vi)v;
}
PN_INLINE vf vfrombits(vi v)
{
    return (vf)v;
}
/* a where the mask is all ones, b where it is zero. */
PN_INLINE vf vselect(vi mask, vf a, vf b)
{
    return (vf)((mask & (vi)a) | (~mask & (vi)b));
}
PN_INLINE vf vmax(vf a, vf b)
{
#if defined(__AVX512F__)
    return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return vselect(a > b, a, b);
#endif
}
PN_INLINE vf vmin(vf a, vf b)
{
#if defined(__AVX512F__)
    return (vf)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return (vf)_mm256_min_ps((__m256)a, (__m256)b);
#else
    return vselect(a < b, a, b);
#endif
}
PN_INLINE vf vabs(vf a)
{
    return (vf)((vi)a & 0x7fffffff);
}
PN_INLINE float vsum(vf v)
{
    float t[VN];
    vstore(t, v);
    for (int w = VN / 2; w > 0; w /= 2)
        for (int i = 0; i < w; i++)
            t[i] += t[i + w];
    return t[0];
}
PN_INLINE float vhmax(vf v)
{
    float t[VN];
    vstore(t, v);
    for (int w = VN / 2; w > 0; w /= 2)
        for (int i = 0; i < w; i++)
            t[i] = t[i] > t[i + w] ? t[i] : t[i + w];
    return t[0];
}
/* a * b + c, fused if the instruction set can (isa/ is compiled with -ffp-contract=fast). */
PN_INLINE vf vfma(vf a, vf b, vf c)
{
#if defined(__AVX512F__)
    return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__)
    return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__aarch64__)
    return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    return a * b + c;
#endif
}

/* ---- half precision and bfloat16 ---- */

PN_INLINE vf vload_f16(const uint16_t *p)
{
#if defined(__AVX512F__)
    return (vf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
#elif defined(__AVX2__)
    return (vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
#elif defined(__aarch64__)
    float16x4_t h;
    memcpy(&h, p, sizeof h);
    return (vf)vcvt_f32_f16(h);
#else
    /* A half shifted into place is the float times 2^-112, subnormals included. Infinities and NaN keep an exponent of
     * ones. */
    int32_t t[VN];
    for (int i = 0; i < VN; i++) {
        uint16_t h;
        memcpy(&h, p + i, sizeof h);
        t[i] = h;
    }
    vi h;
    memcpy(&h, t, sizeof h);
    vi magnitude = (h & 0x7fff) << 13, sign = (h & 0x8000) << 16;
    vf scaled = (vf)magnitude * vset(0x1p112f);
    vi special = (h & 0x7c00) == 0x7c00;
    return (vf)(sign | (special & (magnitude | 0x7f800000)) | (~special & (vi)scaled));
#endif
}
PN_INLINE vf vload_bf16(const uint16_t *p)
{
#if defined(__AVX512F__)
    return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)p)), 16);
#elif defined(__AVX2__)
    return (vf)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)), 16);
#else
    int32_t t[VN];
    for (int i = 0; i < VN; i++) {
        uint16_t h;
        memcpy(&h, p + i, sizeof h);
        t[i] = (int32_t)((uint32_t)h << 16);
    }
    vf v;
    memcpy(&v, t, sizeof v);
    return v;
#endif
}
/* VN signed bytes to float. */
PN_INLINE vf vload_i8(const int8_t *p)
{
#if defined(__AVX512F__)
    return (vf)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
#elif defined(__AVX2__)
    return (vf)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)));
#elif defined(__aarch64__)
    int32_t bytes;
    memcpy(&bytes, p, sizeof bytes);
    return (vf)vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(bytes))))));
#else
    float t[VN];
    for (int i = 0; i < VN; i++)
        t[i] = p[i];
    return vload(t);
#endif
}
PN_INLINE float f16_to_f32(uint16_t h)
{
#if defined(__AVX2__)
    return _cvtsh_ss(h);
#elif defined(__aarch64__)
    __fp16 f;
    memcpy(&f, &h, sizeof f);
    return (float)f;
#else
    return pn_f16_to_f32(h);
#endif
}
/* A half at any address. */
PN_INLINE float load_half(const void *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return f16_to_f32(h);
}

#endif
