/* The one seam between plans and processors.
 *
 * A device has memory (buffers), places weights, compiles plans and runs steps. It says before planning which
 * operations it has. The host touches a device's memory only through the device: a buffer may have no address that the
 * host can use, and what a step reads or writes (caches, states, inputs, results) is named by addresses that the device
 * knows. Writes, copies and fills are in order with the steps submitted; their failures show in the next wait. */
#ifndef PN_DEVICE_DEVICE_H
#define PN_DEVICE_DEVICE_H

#include "base/status.h"
#include "tensor/plan.h"

struct pn_device_options {
    int n_threads;   /* 0: one a physical core */
    const char *isa; /* highest instruction set, NULL: the best */
};

struct pn_buffer { /* memory of a device, zeroed, aligned to pages of memory */
    struct pn_device *device;
    void *host;       /* where the host can read and write it; NULL: it cannot */
    uint64_t address; /* where the device's programs find it */
    size_t size;
};

struct pn_device_properties {
    char name[96]; /* "cpu (avx2, 2 threads)" */
    bool fuses;    /* wants plans with fusion */
    bool unified;  /* its programs use the host's memory: weights where they lie, inputs and results anywhere */
    int n_threads;
    pn_type cache_type; /* what it keeps keys and values in by default */
};

/* Told while weights are placed: bytes done, of how many. */
struct pn_progress {
    void (*report)(void *context, uint64_t done, uint64_t total);
    void *context;
};

/* Tensors that a device has, each once. */
struct pn_placed {
    uint64_t id, bytes;
    int n_users;
};

/* A step that was submitted. */
struct pn_ticket {
    uint64_t number; /* for the device */
    pantry_status status;
    struct pantry_error error;
};

struct pn_program; /* a plan compiled for a device */

struct pn_device {
    const struct pn_device_class *class;
    struct pn_device_properties properties;
    struct pn_placed *placed; /* by rising id */
    size_t n_placed;
};

struct pn_device_class {
    const char *name;
    pantry_status (*open)(const struct pn_device_options *options, struct pn_device **out, struct pantry_error *err);
    void (*close)(struct pn_device *device);
    /* Bytes of memory that the device has, and of these what is free now; UINT64_MAX: not known. */
    void (*memory)(const struct pn_device *device, uint64_t *total, uint64_t *free);

    /* ---- memory ---- */

    /* Memory is reserved, and committed as it is touched. */
    pantry_status (*buffer_new)(struct pn_device *device, size_t size, struct pn_buffer *out, struct pantry_error *err);
    void (*buffer_free)(struct pn_device *device, struct pn_buffer *buffer);
    /* The memory of a part returns to the system until it is written again; what it held is lost. */
    void (*discard)(struct pn_device *device, struct pn_buffer *buffer, size_t offset, size_t size);
    void (*write)(struct pn_device *device, struct pn_buffer *to, size_t offset, const void *from, size_t size);
    void (*read)(struct pn_device *device, const struct pn_buffer *from, size_t offset, void *to, size_t size);
    /* Within the device; the parts do not overlap. */
    void (*copy)(struct pn_device *device, struct pn_buffer *to, size_t to_offset, const struct pn_buffer *from,
                 size_t from_offset, size_t size);
    void (*fill)(struct pn_device *device, struct pn_buffer *to, size_t offset, unsigned char byte, size_t size);

    /* ---- weights ---- */

    /* Makes whole tensors (pn_weight_wholes) reachable before a program that reads them is compiled, and counts their
     * users; a device that shares memory with the host copies nothing. `progress` may be NULL. */
    pantry_status (*place)(struct pn_device *device, const struct pn_weight *const *weights, size_t n,
                           const struct pn_progress *progress, struct pantry_error *err);
    /* One user fewer of each. */
    void (*release)(struct pn_device *device, const struct pn_weight *const *weights, size_t n);

    /* ---- programs ---- */

    /* Whether it has the operation: asked for each before a plan is made (pn_plan_spec.can, with the device). */
    bool (*can)(const void *device, const struct pn_graph *graph, const struct pn_node *node);
    /* Everything a step needs but its scratch is allocated here. The plan must outlive the program. */
    pantry_status (*compile)(struct pn_device *device, const struct pn_plan *plan, struct pn_program **out,
                             struct pantry_error *err);
    void (*program_free)(struct pn_device *device, struct pn_program *program);
    /* Bytes of scratch that its steps use: memory that holds nothing from one step to the next, so that all programs of
     * a device may use the same. */
    size_t (*scratch_bytes)(const struct pn_program *program);
    /* Begins one step, within the limits of the plan; fails at once for what is wrong with the batch. The batch, and
     * what it names, stays until the step has been waited for. Allocates nothing. One step at a time for a device. A
     * device whose processor is the caller's own runs the step before this returns. */
    pantry_status (*submit)(struct pn_device *device, struct pn_program *program, const struct pn_buffer *scratch,
                            const struct pn_batch *batch, struct pn_ticket *ticket, struct pantry_error *err);
    /* Returns when the step's results are there, with what the step failed of. */
    pantry_status (*wait)(struct pn_device *device, const struct pn_ticket *ticket, struct pantry_error *err);
    /* Nanoseconds the last step took on the device. */
    uint64_t (*elapsed)(const struct pn_device *device);
};

/* "ref" or "cpu"; NULL is the best there is. */
pantry_status pn_device_open(const char *name, const struct pn_device_options *options, struct pn_device **out,
                             struct pantry_error *err);
void pn_device_close(struct pn_device *device);

/* A plan made for a device: the spec's fusion and operations are the device's. */
pantry_status pn_device_plan(const struct pn_device *device, const struct pn_graph *graph, struct pn_plan_spec spec,
                             struct pn_plan **out, struct pantry_error *err);

/* Submits a step and waits for it. */
pantry_status pn_device_run(struct pn_device *device, struct pn_program *program, const struct pn_buffer *scratch,
                            const struct pn_batch *batch, struct pantry_error *err);

/* Makes `scratch` (zeroed, or fitted before) at least that large, if it is not: a new buffer then, so that what the old
 * one had touched returns to the system. Between steps only. */
pantry_status pn_scratch_fit(struct pn_buffer *scratch, struct pn_device *device, size_t bytes,
                             struct pantry_error *err);

/* How many tensors a device has placed, and their bytes. */
size_t pn_device_placed(const struct pn_device *device, uint64_t *bytes);

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
/* For steps that ran when they were submitted. */
pantry_status pn_host_wait(struct pn_device *device, const struct pn_ticket *ticket, struct pantry_error *err);

#endif
