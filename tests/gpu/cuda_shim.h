/* CUDA's words for a C++ compiler, so that the kernels' text runs on the CPU (fibers.h). */
#ifndef PN_TESTS_GPU_CUDA_SHIM_H
#define PN_TESTS_GPU_CUDA_SHIM_H

#include <math.h>
#include <string.h>

#include "gpu/fibers.h"

#define PN_GPU_CUDA     1
#define PN_GPU_EMULATED 1
#define __device__
#define __global__
#define __forceinline__ inline
#define __noinline__    __attribute__((noinline))
#define __grid_constant__
#define __launch_bounds__(...)

struct uint4 {
    unsigned x, y, z, w;
};
struct float4 {
    float x, y, z, w;
};

extern "C" struct pn_emulated_state pn_emulated_state;
struct pn_emulated_state pn_emulated_state;
#define blockIdx        pn_emulated_state.group
#define gridDim         pn_emulated_state.groups
#define blockDim        pn_emulated_state.threads
#define threadIdx       pn_emulated_state.thread
#define __syncthreads() pn_emulated_state.barrier(__LINE__)

template <typename T> static inline T pn_emulated_shuffle(T value, unsigned from, int line)
{
    static_assert(sizeof(T) == sizeof(unsigned), "shuffles exchange 32 bits");
    unsigned bits;
    memcpy(&bits, &value, sizeof bits);
    bits = pn_emulated_state.exchange(bits, from, line);
    memcpy(&value, &bits, sizeof bits);
    return value;
}
#define __shfl_xor_sync(all, value, mask)                                                                              \
    pn_emulated_shuffle((value), (pn_emulated_state.thread.x & 31u) ^ (unsigned)(mask), __LINE__)
#define __shfl_sync(all, value, from) pn_emulated_shuffle((value), (unsigned)(from), __LINE__)
#define __syncwarp()                  (void)pn_emulated_shuffle(0u, 0u, __LINE__)

static inline float __uint_as_float(unsigned bits)
{
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}
static inline float __int_as_float(int bits)
{
    return __uint_as_float((unsigned)bits);
}
static inline unsigned __float_as_uint(float v)
{
    unsigned bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

/* IEEE half precision: exact to float; from float, rounded to nearest even. */
static inline float pn_emulated_half_value(unsigned short h)
{
    unsigned sign = (unsigned)(h & 0x8000u) << 16, exponent = h >> 10 & 31u, mantissa = h & 1023u;
    if (exponent == 31)
        return __uint_as_float(sign | 0x7F800000u | mantissa << 13);
    if (exponent == 0)
        return (sign ? -1.0f : 1.0f) * (float)mantissa * 0x1p-24f;
    return __uint_as_float(sign | (exponent + 112) << 23 | mantissa << 13);
}

static inline unsigned short pn_emulated_half_bits(float v)
{
    unsigned bits = __float_as_uint(v), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7FFFFFFFu;
    if (magnitude > 0x7F800000u)
        return (unsigned short)(sign | 0x7E00u);
    if (magnitude >= 0x477FF000u) /* rounds to more than the largest */
        return (unsigned short)(sign | 0x7C00u);
    if (magnitude < 0x38800000u) /* subnormal: let float arithmetic round */
        return (unsigned short)(sign | (unsigned)(int)nearbyintf(__uint_as_float(magnitude) * 0x1p24f));
    unsigned rounded = magnitude + 0xFFFu + (magnitude >> 13 & 1u);
    return (unsigned short)(sign | ((rounded >> 13) - (112u << 10)));
}

/* mma.sync.m16n8k16 with half precision in: products_cuda.gpu says which lane has which values. */
static inline void pn_emulated_mma(float *d, const unsigned *a, const unsigned *b)
{
    unsigned lane = pn_emulated_state.thread.x & 31u, g = lane / 4, t = lane % 4;
    float left[2][16], right[2][16]; /* the lane's two rows of A and two columns of B */
    for (unsigned q = 0; q < 4; q++)
        for (unsigned i = 0; i < 4; i++) {
            unsigned l = pn_emulated_shuffle(a[i], 4 * g + q, __LINE__), k = 2 * q + i / 2 * 8;
            unsigned r = 0;
            for (unsigned column = 0; column < 2; column++) {
                unsigned got = pn_emulated_shuffle(b[i % 2], 4 * (2 * t + column) + q, __LINE__);
                r = i / 2 == column ? got : r;
            }
            unsigned at = 2 * q + i % 2 * 8;
            left[i % 2][k] = pn_emulated_half_value((unsigned short)l);
            left[i % 2][k + 1] = pn_emulated_half_value((unsigned short)(l >> 16));
            right[i / 2][at] = pn_emulated_half_value((unsigned short)r);
            right[i / 2][at + 1] = pn_emulated_half_value((unsigned short)(r >> 16));
        }
    for (unsigned i = 0; i < 4; i++)
        for (unsigned k = 0; k < 16; k++)
            d[i] += left[i / 2][k] * right[i % 2][k];
}

#endif
