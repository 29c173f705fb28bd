/* The state of an Apple GPU and the parts of its driver: objc.h below all, then residency.c, pipelines.c, steps.c,
 * buffers.c, and metal.c on top.
 *
 * Kernels get addresses, not bindings: Metal sees neither which memory a kernel uses nor what depends on what. So all
 * memory is resident (residency.c), and order is explicit (steps.c). */
#ifndef PN_DEVICE_METAL_STATE_H
#define PN_DEVICE_METAL_STATE_H

#include "device/gpu/driver.h"
#include "device/metal/objc.h"

enum { PN_METAL_MAX_RUNNING = 16 };

/* Memory of the driver, with its host address. */
struct pn_metal_buffer {
    uint64_t address;
    size_t size;
    char *host;
    pn_id buffer;
};

struct pn_metal {
    struct pn_gpu_driver base;
    pn_id device, queue, fence;
    size_t max_buffer;

    /* residency.c */
    pn_id set;           /* nil before macOS 15: `resident` is what every step names */
    bool set_is_changed; /* since it was committed */
    pn_id *resident;
    size_t n_resident, cap_resident;

    /* buffers.c */
    struct pn_metal_buffer *buffers; /* allocated ones, sorted by address */
    size_t n_buffers, cap_buffers;
    uint64_t wired; /* bytes of all, wrapped ones included */

    /* pipelines.c */
    pn_id library;
    pn_id pipelines[PN_GPU_N_KERNELS]; /* nil until first used */

    /* steps.c */
    pn_id running[PN_METAL_MAX_RUNNING]; /* command buffers, oldest first */
    int n_running;
    uint64_t elapsed;
    pantry_status failure; /* the first since the last wait */
    struct pantry_error failed;
};

/* ---- residency.c ---- */

pantry_status pn_metal_residency_open(struct pn_metal *m, struct pantry_error *err);
void pn_metal_residency_close(struct pn_metal *m);
pantry_status pn_metal_make_resident(struct pn_metal *m, pn_id buffer, struct pantry_error *err);
void pn_metal_end_residency(struct pn_metal *m, pn_id buffer);
/* Before the first dispatch of a step. */
void pn_metal_use_resident(struct pn_metal *m, pn_id encoder);

/* ---- pipelines.c ---- */

pantry_status pn_metal_compile(struct pn_metal *m, const char *kernels, size_t len, struct pantry_error *err);
/* Compiles the kernel for the GPU when it is first used. */
pantry_status pn_metal_pipeline(struct pn_metal *m, enum pn_gpu_kernel kernel, pn_id *out, struct pantry_error *err);
void pn_metal_pipelines_close(struct pn_metal *m);

/* ---- steps.c ---- */

pantry_status pn_metal_submit(struct pn_gpu_driver *d, const struct pn_gpu_launch *launches, size_t n,
                              struct pantry_error *err);
pantry_status pn_metal_wait(struct pn_gpu_driver *d, struct pantry_error *err);
uint64_t pn_metal_elapsed(const struct pn_gpu_driver *d);
/* Waits for everything, and keeps the first failure for pn_metal_wait. */
void pn_metal_finish(struct pn_metal *m);

/* ---- buffers.c ---- */

pantry_status pn_metal_allocate(struct pn_gpu_driver *d, size_t size, struct pn_gpu_memory *out,
                                struct pantry_error *err);
pantry_status pn_metal_wrap(struct pn_gpu_driver *d, void *data, size_t size, struct pn_gpu_memory *out,
                            struct pantry_error *err);
void pn_metal_release(struct pn_gpu_driver *d, struct pn_gpu_memory *memory);
void pn_metal_write(struct pn_gpu_driver *d, uint64_t to, const void *from, size_t size);
void pn_metal_read(struct pn_gpu_driver *d, void *to, uint64_t from, size_t size);
void pn_metal_copy(struct pn_gpu_driver *d, uint64_t to, uint64_t from, size_t size);
void pn_metal_fill(struct pn_gpu_driver *d, uint64_t to, unsigned char byte, size_t size);
void pn_metal_memory(const struct pn_gpu_driver *d, uint64_t *total, uint64_t *free);
void pn_metal_buffers_close(struct pn_metal *m);

#endif
