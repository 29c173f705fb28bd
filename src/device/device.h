/* The only interface between plans and processors.
 *
 * A device has memory (buffers), places weights, compiles plans and runs steps. Before planning, it says which
 * operations it supports. The host accesses a device's memory only through the device: a buffer may have no host
 * address, and caches, states, inputs and results of a step are given by device addresses. Writes, copies and fills are
 * in order with submitted steps; their failures show up in the next wait. */
#ifndef PN_DEVICE_DEVICE_H
#define PN_DEVICE_DEVICE_H

#include "base/status.h"
#include "tensor/plan.h"

struct pn_device_options {
    int n_threads;   /* 0: one per physical core */
    const char *isa; /* highest instruction set; NULL: the best available */
};

struct pn_buffer { /* memory of a device: zeroed, page-aligned */
    struct pn_device *device;
    void *host;       /* host address; NULL: the host cannot access it */
    uint64_t address; /* device address */
    size_t size;
};

struct pn_device_properties {
    char name[96]; /* "cpu (avx2, 2 threads)" */
    bool fuses;    /* wants fused plans */
    bool unified;  /* its programs use host memory: mapped weights, inputs and results anywhere */
    int commits;   /* n > 0: a buffer takes all its memory when it is made, so that a pool may have one n-th of what is
                      free; 0: memory comes when it is touched */
    int n_threads;
    pn_type cache_type; /* default type of keys and values */
    double bandwidth;   /* bytes per second that it reads from its own memory; 0: it uses main memory */
};

/* Called while weights are placed, with the bytes done and in total. */
struct pn_progress {
    void (*report)(void *context, uint64_t done, uint64_t total);
    void *context;
};

/* A tensor that a device has placed. */
struct pn_placed {
    uint64_t id, bytes;
    int n_users;
};

/* A submitted step. */
struct pn_ticket {
    uint64_t number; /* for the device */
    pantry_status status;
    struct pantry_error error;
};

struct pn_program; /* a plan compiled for a device */

/* Sees the operand of every product with a weight, a row at a time: n1 pieces of n2 values, `stride1` floats apart.
 * `matrix` is the one of a stack that the row is multiplied with. Called on one thread at a time, while a step runs.
 * Devices without properties.unified call none. */
struct pn_observer {
    void (*operand)(void *context, const struct pn_weight *weight, int64_t matrix, const float *row, int n1, int n2,
                    int64_t stride1);
    void *context;
};

struct pn_device {
    const struct pn_device_class *class;
    struct pn_device_properties properties;
    const struct pn_observer *observer; /* NULL: none. Set between steps, for statistics such as importances */
    struct pn_placed *placed;           /* by rising id */
    size_t n_placed;
};

struct pn_device_class {
    const char *name;
    pantry_status (*open)(const struct pn_device_options *options, struct pn_device **out, struct pantry_error *err);
    void (*close)(struct pn_device *device);
    /* Bytes of the device's memory, total and free; UINT64_MAX: unknown. */
    void (*memory)(const struct pn_device *device, uint64_t *total, uint64_t *free);

    /* ---- memory ---- */

    /* Memory is reserved now and committed when touched. */
    pantry_status (*buffer_new)(struct pn_device *device, size_t size, struct pn_buffer *out, struct pantry_error *err);
    void (*buffer_free)(struct pn_device *device, struct pn_buffer *buffer);
    /* Returns the memory of a part to the system until it is written again; its contents are lost. */
    void (*discard)(struct pn_device *device, struct pn_buffer *buffer, size_t offset, size_t size);
    void (*write)(struct pn_device *device, struct pn_buffer *to, size_t offset, const void *from, size_t size);
    void (*read)(struct pn_device *device, const struct pn_buffer *from, size_t offset, void *to, size_t size);
    /* Within the device; the ranges must not overlap. */
    void (*copy)(struct pn_device *device, struct pn_buffer *to, size_t to_offset, const struct pn_buffer *from,
                 size_t from_offset, size_t size);
    void (*fill)(struct pn_device *device, struct pn_buffer *to, size_t offset, unsigned char byte, size_t size);

    /* ---- weights ---- */

    /* Makes whole tensors (pn_weight_wholes) accessible before a program that reads them is compiled, and counts their
     * users. A device that shares memory with the host copies nothing. `progress` may be NULL. */
    pantry_status (*place)(struct pn_device *device, const struct pn_weight *const *weights, size_t n,
                           const struct pn_progress *progress, struct pantry_error *err);
    /* Removes a user of each tensor. */
    void (*release)(struct pn_device *device, const struct pn_weight *const *weights, size_t n);

    /* ---- programs ---- */

    /* Whether the device supports an operation (pn_plan_spec.can, with the device). */
    bool (*can)(const void *device, const struct pn_graph *graph, const struct pn_node *node);
    /* Allocates everything that steps need except scratch. The plan must outlive the program. */
    pantry_status (*compile)(struct pn_device *device, const struct pn_plan *plan, struct pn_program **out,
                             struct pantry_error *err);
    void (*program_free)(struct pn_device *device, struct pn_program *program);
    /* Bytes of scratch that its steps use. Scratch keeps nothing between steps, so all programs of a device may share
     * it. */
    size_t (*scratch_bytes)(const struct pn_program *program);
    /* Begins one step, within the limits of the plan; fails at once if the batch is wrong. The batch and its memory
     * must not change until after wait. Allocates nothing. A device runs one step at a time; one that uses the caller's
     * processor runs the step before this returns. */
    pantry_status (*submit)(struct pn_device *device, struct pn_program *program, const struct pn_buffer *scratch,
                            const struct pn_batch *batch, struct pn_ticket *ticket, struct pantry_error *err);
    /* Waits for the step's results; returns its error if it failed. */
    pantry_status (*wait)(struct pn_device *device, const struct pn_ticket *ticket, struct pantry_error *err);
    /* Nanoseconds the last step took on the device. */
    uint64_t (*elapsed)(const struct pn_device *device);
};

/* Opens "cuda", "metal", "cpu" or "ref"; NULL: the best available. PANTRY_UNSUPPORTED says why this machine has no such
 * device.
 */
pantry_status pn_device_open(const char *name, const struct pn_device_options *options, struct pn_device **out,
                             struct pantry_error *err);
void pn_device_close(struct pn_device *device);

/* Makes a plan for a device, which sets the spec's fusion and operations. */
pantry_status pn_device_plan(const struct pn_device *device, const struct pn_graph *graph, struct pn_plan_spec spec,
                             struct pn_plan **out, struct pantry_error *err);

/* Submits a step and waits for it. */
pantry_status pn_device_run(struct pn_device *device, struct pn_program *program, const struct pn_buffer *scratch,
                            const struct pn_batch *batch, struct pantry_error *err);

/* Makes `scratch` (zeroed, or fitted before) at least that large. If it must grow, it becomes a new buffer, so that
 * memory the old one touched returns to the system. Only between steps. */
pantry_status pn_scratch_fit(struct pn_buffer *scratch, struct pn_device *device, size_t bytes,
                             struct pantry_error *err);

/* ---- for devices whose memory is the host's ---- */

void pn_host_memory(const struct pn_device *device, uint64_t *total, uint64_t *free);
pantry_status pn_host_buffer_new(struct pn_device *device, size_t size, struct pn_buffer *out,
                                 struct pantry_error *err);
void pn_host_buffer_free(struct pn_device *device, struct pn_buffer *buffer);
void pn_host_discard(struct pn_device *device, struct pn_buffer *buffer, size_t offset, size_t size);
void pn_host_write(struct pn_device *device, struct pn_buffer *to, size_t offset, const void *from, size_t size);
void pn_host_read(struct pn_device *device, const struct pn_buffer *from, size_t offset, void *to, size_t size);
void pn_host_copy(struct pn_device *device, struct pn_buffer *to, size_t to_offset, const struct pn_buffer *from,
                  size_t from_offset, size_t size);
void pn_host_fill(struct pn_device *device, struct pn_buffer *to, size_t offset, unsigned char byte, size_t size);
pantry_status pn_host_place(struct pn_device *device, const struct pn_weight *const *weights, size_t n,
                            const struct pn_progress *progress, struct pantry_error *err);
void pn_host_release(struct pn_device *device, const struct pn_weight *const *weights, size_t n);
/* For steps that ran during submit. */
pantry_status pn_host_wait(struct pn_device *device, const struct pn_ticket *ticket, struct pantry_error *err);

#endif
