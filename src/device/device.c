/* The table of devices and their common code. host.c has memory for devices that share the host's. */
#include "device/device.h"

#include "device/cpu/cpu.h"
#include "device/cuda/cuda.h"
#include "device/metal/metal.h"
#include "device/ref/ref.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct pn_device_class *const classes[] = {&pn_cuda_device, &pn_metal_device, &pn_cpu_device,
                                                        &pn_ref_device}; /* best first */
enum { N_CLASSES = sizeof classes / sizeof *classes };

/* The first GPU that opens, whatever keeps the others from it, else the processor. */
static pantry_status open_best(const struct pn_device_options *options, struct pn_device **out,
                               struct pantry_error *err)
{
    for (size_t i = 0; classes[i] != &pn_cpu_device; i++)
        if (classes[i]->open(options, out, NULL) == PANTRY_OK)
            return PANTRY_OK;
    return pn_cpu_device.open(options, out, err);
}

pantry_status pn_device_open(const char *name, const struct pn_device_options *options, struct pn_device **out,
                             struct pantry_error *err)
{
    char names[64] = "";
    *out = NULL;
    if (!name)
        return open_best(options, out, err);
    for (size_t i = 0; i < N_CLASSES; i++) {
        if (strcmp(classes[i]->name, name) == 0)
            return classes[i]->open(options, out, err);
        size_t len = strlen(names);
        snprintf(names + len, sizeof names - len, "%s\"%s\"",
                 i == 0              ? ""
                 : i + 1 < N_CLASSES ? ", "
                                     : " and ",
                 classes[i]->name);
    }
    return pn_fail(err, PANTRY_NOT_FOUND, "unknown device (found \"%s\", allowed %s)", name, names);
}

void pn_device_close(struct pn_device *device)
{
    if (!device)
        return;
    free(device->placed);
    device->class->close(device);
}

pantry_status pn_device_plan(const struct pn_device *device, const struct pn_graph *graph, struct pn_plan_spec spec,
                             struct pn_plan **out, struct pantry_error *err)
{
    spec.fuse = device->properties.fuses;
    spec.can = device->class->can;
    spec.device = device;
    spec.device_name = device->properties.name;
    return pn_plan_new(graph, &spec, out, err);
}

pantry_status pn_device_run(struct pn_device *device, struct pn_program *program, const struct pn_buffer *scratch,
                            const struct pn_batch *batch, struct pantry_error *err)
{
    struct pn_ticket ticket;
    pantry_status status = device->class->submit(device, program, scratch, batch, &ticket, err);
    return status ? status : device->class->wait(device, &ticket, err);
}

pantry_status pn_scratch_fit(struct pn_buffer *scratch, struct pn_device *device, size_t bytes,
                             struct pantry_error *err)
{
    if (scratch->size >= bytes)
        return PANTRY_OK;
    device->class->buffer_free(device, scratch);
    return device->class->buffer_new(device, bytes, scratch, err);
}
