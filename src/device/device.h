/* The one seam between plans and processors.
 *
 * A device says before planning which operations it has. Weights lie where the file was mapped; a device whose
 * processor cannot reach that memory copies them in `adopt`, once. */
#ifndef PN_DEVICE_DEVICE_H
#define PN_DEVICE_DEVICE_H

#include "base/status.h"
#include "tensor/plan.h"

struct pn_device_options {
    int n_threads;   /* 0: one a physical core */
    const char *isa; /* highest instruction set, NULL: the best */
};

struct pn_buffer { /* memory that the host and the device both can address, page-aligned, zeroed */
    void *data;
    size_t size;
};

struct pn_device_properties {
    char name[96]; /* "cpu (avx2, 2 threads)" */
    bool fuses;    /* wants plans with fusion */
    int n_threads;
    pn_type cache_type; /* what it keeps keys and values in by default */
};

struct pn_program; /* a plan compiled for a device */

struct pn_device {
    const struct pn_device_class *class;
    struct pn_device_properties properties;
};

struct pn_device_class {
    const char *name;
    pn_status (*open)(const struct pn_device_options *options, struct pn_device **out, struct pn_error *err);
    void (*close)(struct pn_device *device);
    /* Makes mapped weights reachable; a device that shares memory with the host does nothing. */
    pn_status (*adopt)(struct pn_device *device, const void *data, size_t size, struct pn_error *err);
    /* Memory is reserved, and committed as it is touched. */
    pn_status (*buffer_new)(struct pn_device *device, size_t size, struct pn_buffer *out, struct pn_error *err);
    void (*buffer_free)(struct pn_device *device, struct pn_buffer *buffer);
    /* The memory of a part returns to the system until it is written again; what it held is lost. */
    void (*discard)(struct pn_device *device, struct pn_buffer *buffer, size_t offset, size_t size);
    /* Whether it has the operation: asked for each before a plan is made (pn_plan_spec.can, with the device). */
    bool (*can)(const void *device, const struct pn_graph *graph, const struct pn_node *node);
    /* Everything a step needs is allocated here. The plan must outlive the program. */
    pn_status (*compile)(struct pn_device *device, const struct pn_plan *plan, struct pn_program **out,
                         struct pn_error *err);
    void (*program_free)(struct pn_device *device, struct pn_program *program);
    /* Bytes that its steps use besides weights, caches and states. */
    size_t (*program_bytes)(const struct pn_program *program);
    /* Runs one step, within the limits of the plan, and returns when its results are there. Allocates nothing. One at a
     * time for a device. */
    pn_status (*run)(struct pn_device *device, struct pn_program *program, const struct pn_batch *batch,
                     struct pn_error *err);
    /* Nanoseconds the last run took on the device. */
    uint64_t (*elapsed)(const struct pn_device *device);
};

/* "ref" or "cpu"; NULL is the best there is. */
pn_status pn_device_open(const char *name, const struct pn_device_options *options, struct pn_device **out,
                         struct pn_error *err);
void pn_device_close(struct pn_device *device);

/* A plan made for a device: the spec's fusion and operations are the device's. */
pn_status pn_device_plan(const struct pn_device *device, const struct pn_graph *graph, struct pn_plan_spec spec,
                         struct pn_plan **out, struct pn_error *err);

/* For devices whose memory is the host's. */
pn_status pn_host_buffer_new(struct pn_device *device, size_t size, struct pn_buffer *out, struct pn_error *err);
void pn_host_buffer_free(struct pn_device *device, struct pn_buffer *buffer);
void pn_host_discard(struct pn_device *device, struct pn_buffer *buffer, size_t offset, size_t size);
pn_status pn_host_adopt(struct pn_device *device, const void *data, size_t size, struct pn_error *err);

#endif
