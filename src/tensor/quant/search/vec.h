/* Vectors of VN floats for the encoders' searches: one source, compiled once per instruction set (generic.c, avx2.c,
 * avx512.c). Lanes never mix in a way that depends on VN, and nothing is fused, so every machine makes the same bytes.
 */
#ifndef PN_QUANT_SEARCH_VEC_H
#define PN_QUANT_SEARCH_VEC_H

#include <stdint.h>
#include <string.h>

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
PN_INLINE void vistore(int32_t *p, vi v)
{
    memcpy(p, &v, sizeof v);
}
/* a where the mask is all ones, b where it is zero. */
PN_INLINE vf vselect(vi mask, vf a, vf b)
{
    return (vf)((mask & (vi)a) | (~mask & (vi)b));
}
PN_INLINE vi viselect(vi mask, vi a, vi b)
{
    return (mask & a) | (~mask & b);
}
/* b if a is NaN. */
PN_INLINE vf vmax(vf a, vf b)
{
    return vselect(a > b, a, b);
}
PN_INLINE vf vmin(vf a, vf b)
{
    return vselect(a < b, a, b);
}
PN_INLINE vf vabs(vf a)
{
    return (vf)((vi)a & 0x7fffffff);
}
/* The nearest integer, ties to even, for magnitudes below 2^22: no fraction bits are left. */
PN_INLINE vf vround(vf a)
{
    return a + 0x1.8p23f - 0x1.8p23f;
}
/* 1 / a, but 0 for 0. */
PN_INLINE vf vinverse(vf a)
{
    vf zero = vset(0);
    return vselect(a != zero, 1 / vselect(a != zero, a, vset(1)), zero);
}

#endif
