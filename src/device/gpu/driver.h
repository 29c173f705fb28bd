/* What a GPU's programming interface does for gpu.c, which has everything that interfaces share: a driver has memory,
 * launches kernels, and says when they are done. cuda/ and metal/ implement it.
 *
 * All work is in order: launches of a step, and writes, copies and fills between steps. Calls come from one thread at a
 * time. A failure of work that was begun is kept, and the next `wait` returns it. */
#ifndef PN_DEVICE_GPU_DRIVER_H
#define PN_DEVICE_GPU_DRIVER_H

#include "base/status.h"
#include "device/gpu/args.h"

#include <stdbool.h>
#include <stddef.h>

enum pn_gpu_kernel {
#define PN_GPU_KERNEL(name, threads) PN_GPU_##name,
#include "device/gpu/kernels.def"
#undef PN_GPU_KERNEL
    PN_GPU_N_KERNELS
};

/* Its name in the source, and the threads of a group. */
const char *pn_gpu_kernel_name(enum pn_gpu_kernel kernel);
int pn_gpu_kernel_threads(enum pn_gpu_kernel kernel);

/* The source of all kernels, one text that ends with a zero; PN_GPU_CUDA or PN_GPU_METAL is not defined yet. */
extern const unsigned char pn_embedded_gpu_kernels[];
extern const size_t pn_embedded_gpu_kernels_len;

/* Memory that kernels can use. */
struct pn_gpu_memory {
    uint64_t address; /* on the GPU; 0: none */
    void *host;       /* for the host; NULL: it cannot access it */
    size_t size;
    void *handle; /* the driver's own */
};

struct pn_gpu_launch {
    enum pn_gpu_kernel kernel;
    u32 groups[3];
    size_t shared; /* bytes of a group's memory; at least 16 */
    struct pn_gpu_args args;
    /* Whether it needs results of launches since the last one that waited (which then are complete). */
    bool waits;
};

struct pn_gpu_driver {
    const struct pn_gpu_driver_class *class;
    char name[80];        /* the GPU's: "NVIDIA H100" */
    bool unified;         /* `wrap` makes host memory usable in place */
    size_t page;          /* of `wrap`: addresses and sizes are multiples */
    size_t max_shared;    /* bytes of a group's memory */
    uint64_t working_set; /* bytes that the GPU should use at most; UINT64_MAX: unknown */
};

struct pn_gpu_driver_class {
    const char *name; /* "cuda", "metal" */
    /* Opens the interface at run time and the GPU it calls best. PANTRY_UNSUPPORTED, with the reason, where there is no
     * driver, no GPU, or none that can run the kernels. */
    pantry_status (*open)(struct pn_gpu_driver **out, struct pantry_error *err);
    void (*close)(struct pn_gpu_driver *d);
    /* Bytes of the GPU's memory, in total and free; UINT64_MAX: unknown. */
    void (*memory)(const struct pn_gpu_driver *d, uint64_t *total, uint64_t *free);

    /* Zeroed. PANTRY_NO_MEMORY says how much was asked for and how much is free. */
    pantry_status (*allocate)(struct pn_gpu_driver *d, size_t size, struct pn_gpu_memory *out,
                              struct pantry_error *err);
    /* Makes pages of the host's memory (a mapped file: read-only) usable by kernels without a copy, until `release`.
     * NULL if the driver never can. */
    pantry_status (*wrap)(struct pn_gpu_driver *d, void *data, size_t size, struct pn_gpu_memory *out,
                          struct pantry_error *err);
    /* Of allocated or wrapped memory; waits until no kernel uses it. */
    void (*release)(struct pn_gpu_driver *d, struct pn_gpu_memory *memory);

    /* Addresses are of allocated memory, within one allocation. `write` may return before the copy is done, but has
     * read all of `from`; `read` waits for everything before it. */
    void (*write)(struct pn_gpu_driver *d, uint64_t to, const void *from, size_t size);
    void (*read)(struct pn_gpu_driver *d, void *to, uint64_t from, size_t size);
    void (*copy)(struct pn_gpu_driver *d, uint64_t to, uint64_t from, size_t size);
    void (*fill)(struct pn_gpu_driver *d, uint64_t to, unsigned char byte, size_t size);

    /* Begins n launches as one step. The launches may be gone when it returns. */
    pantry_status (*submit)(struct pn_gpu_driver *d, const struct pn_gpu_launch *launches, size_t n,
                            struct pantry_error *err);
    /* Until everything before is done; returns and forgets the first failure since the last call. */
    pantry_status (*wait)(struct pn_gpu_driver *d, struct pantry_error *err);
    /* Nanoseconds that the GPU worked on the last step. */
    uint64_t (*elapsed)(const struct pn_gpu_driver *d);
};

extern const struct pn_gpu_driver_class pn_cuda_driver, pn_metal_driver;

#endif
