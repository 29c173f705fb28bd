/* A GPU as a device (device.h): everything but the calls of its programming interface, which a driver has (driver.h).
 * Plans are not fused: an operation is a kernel or a few. */
#ifndef PN_DEVICE_GPU_GPU_H
#define PN_DEVICE_GPU_GPU_H

#include "device/device.h"
#include "device/gpu/driver.h"

/* Opens a driver's GPU as a device whose class is `class`, which has the functions below. A small computation shows
 * that it works: pn_gpu_probe. */
pantry_status pn_gpu_open(const struct pn_gpu_driver_class *driver, const struct pn_device_class *class,
                          struct pn_device **out, struct pantry_error *err);

/* Runs a product and a norm on the device. PANTRY_UNSUPPORTED: the result is wrong, so that nobody gets wrong answers
 * from a driver that we do not know. */
pantry_status pn_gpu_probe(struct pn_device *device, struct pantry_error *err);

/* The functions of a device over a driver, without a name and without `open`. */
#define PN_GPU_DEVICE                                                                                                  \
    .close = pn_gpu_close, .memory = pn_gpu_memory_of, .buffer_new = pn_gpu_buffer_new,                                \
    .buffer_free = pn_gpu_buffer_free, .discard = pn_gpu_discard, .write = pn_gpu_write, .read = pn_gpu_read,          \
    .copy = pn_gpu_copy, .fill = pn_gpu_fill, .place = pn_gpu_place, .release = pn_gpu_release,                        \
    .can = pn_gpu_supports, .compile = pn_gpu_compile, .program_free = pn_gpu_program_free,                            \
    .scratch_bytes = pn_gpu_scratch_bytes, .submit = pn_gpu_submit, .wait = pn_gpu_wait, .elapsed = pn_gpu_elapsed

void pn_gpu_close(struct pn_device *device);
void pn_gpu_memory_of(const struct pn_device *device, uint64_t *total, uint64_t *free);
pantry_status pn_gpu_buffer_new(struct pn_device *device, size_t size, struct pn_buffer *out, struct pantry_error *err);
void pn_gpu_buffer_free(struct pn_device *device, struct pn_buffer *buffer);
void pn_gpu_discard(struct pn_device *device, struct pn_buffer *buffer, size_t offset, size_t size);
void pn_gpu_write(struct pn_device *device, struct pn_buffer *to, size_t offset, const void *from, size_t size);
void pn_gpu_read(struct pn_device *device, const struct pn_buffer *from, size_t offset, void *to, size_t size);
void pn_gpu_copy(struct pn_device *device, struct pn_buffer *to, size_t to_offset, const struct pn_buffer *from,
                 size_t from_offset, size_t size);
void pn_gpu_fill(struct pn_device *device, struct pn_buffer *to, size_t offset, unsigned char byte, size_t size);
pantry_status pn_gpu_place(struct pn_device *device, const struct pn_weight *const *weights, size_t n,
                           const struct pn_progress *progress, struct pantry_error *err);
void pn_gpu_release(struct pn_device *device, const struct pn_weight *const *weights, size_t n);
bool pn_gpu_supports(const void *device, const struct pn_graph *graph, const struct pn_node *node);
pantry_status pn_gpu_compile(struct pn_device *device, const struct pn_plan *plan, struct pn_program **out,
                             struct pantry_error *err);
void pn_gpu_program_free(struct pn_device *device, struct pn_program *program);
size_t pn_gpu_scratch_bytes(const struct pn_program *program);
pantry_status pn_gpu_submit(struct pn_device *device, struct pn_program *program, const struct pn_buffer *scratch,
                            const struct pn_batch *batch, struct pn_ticket *ticket, struct pantry_error *err);
pantry_status pn_gpu_wait(struct pn_device *device, const struct pn_ticket *ticket, struct pantry_error *err);
uint64_t pn_gpu_elapsed(const struct pn_device *device);

#endif
