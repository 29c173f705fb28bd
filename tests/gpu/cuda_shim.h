/* The words of CUDA that kernels use, for a C++ compiler, so that tests run the CUDA side of the kernels without a GPU.
 * Included before the kernels' text in one file that is compiled as a library; kernels are looked up by name and run
 * with pn_emulate. */
#ifndef PN_TESTS_CUDA_SHIM_H
#define PN_TESTS_CUDA_SHIM_H

#include "fibers.h"

#include <cmath>
#include <cstring>

#define PN_GPU_CUDA
#define PN_GPU_EMULATED
#define __device__
#define __global__ __attribute__((visibility("default")))
#define __forceinline__ inline __attribute__((unused))
#define __grid_constant__
#define __shared__
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

struct pn_emulated_index {
    unsigned x, y, z;
};

static struct pn_emulated_index blockIdx, gridDim, blockDim;

static inline struct pn_emulated_index pn_emulated_thread()
{
    return {(unsigned)pn_fiber_thread(), 0, 0};
}

#define threadIdx       pn_emulated_thread()
#define __syncthreads() pn_fiber_barrier(__LINE__)
#define __syncwarp()    pn_fiber_give("", 1)

template <typename T> static inline T __shfl_sync(unsigned mask, T v, int lane)
{
    T got;
    (void)mask;
    pn_fiber_give(&v, sizeof v);
    std::memcpy(&got, pn_fiber_given(lane), sizeof got);
    return got;
}

template <typename T> static inline T __shfl_xor_sync(unsigned mask, T v, int bits)
{
    return __shfl_sync(mask, v, (pn_fiber_thread() & 31) ^ bits);
}

template <typename To, typename From> static inline To pn_emulated_bits(From v)
{
    To to;
    static_assert(sizeof to == sizeof v, "the same bits");
    std::memcpy(&to, &v, sizeof to);
    return to;
}

static inline float __uint_as_float(unsigned v)
{
    return pn_emulated_bits<float>(v);
}
static inline float __int_as_float(int v)
{
    return pn_emulated_bits<float>(v);
}
static inline unsigned __float_as_uint(float v)
{
    return pn_emulated_bits<unsigned>(v);
}
static inline int __float_as_int(float v)
{
    return pn_emulated_bits<int>(v);
}
/* Fibers do not interrupt each other. */
template <typename T> static inline T atomicAdd(T *at, T v)
{
    T old = *at;
    *at += v;
    return old;
}
template <typename T> static inline T atomicCAS(T *at, T expected, T v)
{
    T old = *at;
    if (old == expected)
        *at = v;
    return old;
}

/* IEEE half precision, rounded to nearest even: what the kernels have in the instructions of a GPU. */
static inline float pn_emulated_half_value(unsigned short bits)
{
    unsigned magnitude = bits & 0x7FFF, sign = (unsigned)(bits & 0x8000) << 16;
    if (magnitude >= 0x7C00)
        return __uint_as_float(sign | magnitude << 13 | 0x7F800000);
    float v = std::ldexp((float)(magnitude < 0x400 ? magnitude : (magnitude & 0x3FF) | 0x400),
                         magnitude < 0x400 ? -24 : (int)(magnitude >> 10) - 25);
    return sign ? -v : v;
}
static inline unsigned short pn_emulated_half_bits(float v)
{
    unsigned bits = __float_as_uint(v), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7FFFFFFF;
    if (magnitude > 0x7F800000)
        return 0x7FFF; /* as cvt does */
    if (magnitude >= 0x477FF000)
        return (unsigned short)(sign | 0x7C00);
    if (magnitude < 0x38800000)
        return (unsigned short)(sign |
                                (__float_as_uint(__uint_as_float(magnitude) + 0.5f) - __float_as_uint(0.5f)));
    return (unsigned short)(sign | (magnitude - (112u << 23) + 0xFFF + (magnitude >> 13 & 1)) >> 13);
}

/* A group's memory: NaN before each group, and marks behind what the launch asked for. */
enum { PN_EMULATED_SHARED = 227 << 10, PN_EMULATED_MARK = 0x7FC0BEEF };
__attribute__((visibility("hidden"))) extern float shared[];
alignas(128) float shared[PN_EMULATED_SHARED / 4 + 64];

struct pn_gpu_args;

struct pn_emulated_launch {
    void (*kernel)(struct pn_gpu_args);
    const struct pn_gpu_args *args;
};

static void pn_emulated_body(void *context);

/* Runs a grid of groups; 0, or -1 with the reason in pn_emulate_error(). `order` is a pn_fibers_order. */
extern "C" __attribute__((visibility("default"))) int pn_emulate(void (*kernel)(struct pn_gpu_args),
                                                                 const struct pn_gpu_args *args,
                                                                 const unsigned groups[3], int threads,
                                                                 std::size_t shared_bytes, int order);
extern "C" __attribute__((visibility("default"))) const char *pn_emulate_error();

static const char *pn_emulated_complaint = "";

const char *pn_emulate_error()
{
    return pn_emulated_complaint;
}

int pn_emulate(void (*kernel)(struct pn_gpu_args), const struct pn_gpu_args *args, const unsigned groups[3], int threads,
               std::size_t shared_bytes, int order)
{
    std::size_t words = (shared_bytes + 3) / 4, all = sizeof shared / sizeof *shared;
    pn_emulated_complaint = "a group asks for too much memory";
    if (shared_bytes > PN_EMULATED_SHARED)
        return -1;
    pn_emulated_launch launch = {kernel, args};
    gridDim = {groups[0], groups[1], groups[2]};
    blockDim = {(unsigned)threads, 1, 1};
    unsigned long total = (unsigned long)groups[0] * groups[1] * groups[2];
    for (unsigned long i = 0; i < total; i++) {
        unsigned long g = order == PN_FIBERS_FORWARD ? i : total - 1 - i;
        blockIdx = {(unsigned)(g % groups[0]), (unsigned)(g / groups[0] % groups[1]),
                    (unsigned)(g / groups[0] / groups[1])};
        for (std::size_t k = 0; k < words + 64 && k < all; k++)
            shared[k] = __int_as_float(PN_EMULATED_MARK);
        pn_emulated_complaint = pn_fibers_error();
        if (pn_fibers_run(pn_emulated_body, &launch, threads, (enum pn_fibers_order)order) < 0)
            return -1;
        pn_emulated_complaint = "a group writes beyond the memory that it asked for";
        for (std::size_t k = words; k < words + 64 && k < all; k++)
            if (__float_as_int(shared[k]) != PN_EMULATED_MARK)
                return -1;
    }
    return 0;
}

/* Once struct pn_gpu_args is known: put at the end of the file. */
#define PN_EMULATED_END                                                                                                \
    static void pn_emulated_body(void *context)                                                                        \
    {                                                                                                                  \
        const pn_emulated_launch *launch = static_cast<const pn_emulated_launch *>(context);                           \
        launch->kernel(*launch->args);                                                                                 \
    }

#endif
