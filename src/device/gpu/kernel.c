/* The table of kernels, and the list of launches: see driver.h and launch.h. */
#include "device/gpu/launch.h"

#include <assert.h>

static const struct {
    const char *name;
    int threads;
} kernels[PN_GPU_N_KERNELS] = {
#define PN_GPU_KERNEL(name, threads) {#name, threads},
#include "device/gpu/kernels.def"
#undef PN_GPU_KERNEL
};

const char *pn_gpu_kernel_name(enum pn_gpu_kernel kernel)
{
    return kernels[kernel].name;
}

int pn_gpu_kernel_threads(enum pn_gpu_kernel kernel)
{
    return kernels[kernel].threads;
}

void pn_gpu_emit(struct pn_gpu_list *list, const struct pn_gpu_launch *launch)
{
    assert(list->n < list->cap);
    list->launches[list->n++] = *launch;
}
