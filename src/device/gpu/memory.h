/* A GPU's memory as plans and weights see it: buffers, and the extents of host memory that hold placed weights. */
#ifndef PN_DEVICE_GPU_MEMORY_H
#define PN_DEVICE_GPU_MEMORY_H

#include "device/gpu/gpu.h"

#include <pthread.h>

/* Host memory with the numbers of one tensor or of several that lie close together, and where a kernel finds it. */
struct pn_gpu_extent {
    const char *host;
    size_t size;
    uint64_t address;
    struct pn_gpu_memory memory;
    int n_users; /* ranges of placed tensors in it */
};

struct pn_gpu {
    struct pn_device base;
    struct pn_gpu_driver *driver;
    pthread_mutex_t lock;          /* of the driver and all lists */
    struct pn_gpu_extent *extents; /* by rising host address, never overlapping */
    size_t n_extents;
    struct pn_gpu_memory *buffers; /* of pn_buffers, in no order */
    size_t n_buffers, cap_buffers;
};

/* Where kernels find `size` bytes of host memory; 0: no placed tensor has them. */
uint64_t pn_gpu_address(const struct pn_gpu *g, const void *host, size_t size);

/* Bytes of a plane of one matrix of a weight, from its first row to the end of the last. */
size_t pn_gpu_plane_bytes(const struct pn_weight *w, int plane);

#endif
