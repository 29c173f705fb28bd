/* The table of devices, and memory for those that share the host's. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "device/device.h"

#include "base/os.h"
#include "device/cpu/cpu.h"
#include "device/ref/ref.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

static const struct pn_device_class *const classes[] = {&pn_cpu_device, &pn_ref_device}; /* best first */

pn_status pn_device_open(const char *name, const struct pn_device_options *options, struct pn_device **out,
                         struct pn_error *err)
{
    *out = NULL;
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (!name || strcmp(classes[i]->name, name) == 0)
            return classes[i]->open(options, out, err);
    return pn_fail(err, PN_NOT_FOUND, "no device is called \"%s\"; there are \"cpu\" and \"ref\"", name);
}

void pn_device_close(struct pn_device *device)
{
    if (device)
        device->class->close(device);
}

pn_status pn_device_plan(const struct pn_device *device, const struct pn_graph *graph, struct pn_plan_spec spec,
                         struct pn_plan **out, struct pn_error *err)
{
    spec.fuse = device->properties.fuses;
    spec.can = device->class->can;
    spec.device = device;
    spec.who = device->properties.name;
    return pn_plan_new(graph, &spec, out, err);
}

pn_status pn_host_buffer_new(struct pn_device *device, size_t size, struct pn_buffer *out, struct pn_error *err)
{
    (void)device;
    *out = (struct pn_buffer){0};
    if (size == 0)
        return PN_OK;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS;
#ifdef MAP_NORESERVE
    flags |= MAP_NORESERVE; /* a cache for a long context costs memory only as the context grows */
#endif
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (p == MAP_FAILED)
        return pn_fail(err, PN_NO_MEMORY, "cannot reserve %zu MiB of memory: %s", size >> 20, strerror(errno));
    *out = (struct pn_buffer){p, size};
    return PN_OK;
}

void pn_host_buffer_free(struct pn_device *device, struct pn_buffer *buffer)
{
    (void)device;
    if (buffer && buffer->data)
        munmap(buffer->data, buffer->size);
    if (buffer)
        *buffer = (struct pn_buffer){0};
}

void pn_host_discard(struct pn_device *device, struct pn_buffer *buffer, size_t offset, size_t size)
{
    (void)device;
    pn_os_discard((char *)buffer->data + offset, size);
}

pn_status pn_host_adopt(struct pn_device *device, const void *data, size_t size, struct pn_error *err)
{
    (void)device;
    (void)data;
    (void)size;
    (void)err;
    return PN_OK;
}
