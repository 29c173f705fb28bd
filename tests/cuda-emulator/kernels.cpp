/* The kernels as C++, for libcuda.c. The build puts their text beside this file's object. */
#include "gpu/cuda_shim.h"

#include <stddef.h>

#include "kernels.cu"

/* For tests of decoding: thread t of group (x, y, z) decodes values 32 * t ... of row y of matrix x, by the type's own
 * reader with rows aligned to 2 or, if n1 is 1, to 16, or by decode_any if n1 is 2. */
KERNEL(test_decode)
{
    float v[32];
    i32 first = 32 * THREAD, mat = GROUP_X, row = GROUP_Y;
    if (first >= a.w.n_cols)
        return;
    if (a.n1 == 2)
        decode_any(a.w, mat, row, first, v);
    else
        switch (a.w.type) {
#define PN_TYPE(NAME, name, number, block, bytes, planes)                                                              \
    case PN_TYPE_##NAME:                                                                                               \
        if (a.n1 == 1)                                                                                                 \
            unpack_planes<16>(of_type<PN_TYPE_##NAME>(), a.w, planes_of<PN_TYPE_##NAME>(a.w, mat, row), first, v);        \
        else                                                                                                           \
            decode32<PN_TYPE_##NAME>(a.w, mat, row, first, v);                                                         \
        break;
#define PN_TYPE_PLANES(NAME, name, block, bytes, planes) PN_TYPE(NAME, name, 0, block, bytes, planes)
#include "tensor/type.def"
#undef PN_TYPE
        }
    for (i32 i = 0; i < 32; i++)
        a.out.data[((i64)mat * a.w.n_rows + row) * a.out.stride0 + first + i] = v[i];
}

extern "C" const size_t pn_emulated_args_size;
const size_t pn_emulated_args_size = sizeof(struct pn_gpu_args);
