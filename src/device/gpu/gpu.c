/* Opening and closing GPU devices: see gpu.h. */
#include "base/clock.h"
#include "device/gpu/gpu.h"

#include "device/gpu/memory.h"

#include <stdio.h>
#include <stdlib.h>

/* Copies memory back and forth for some milliseconds: a byte that is copied is read and written. 0 if memory is short.
 */
static double measure_bandwidth(struct pn_gpu_driver *d)
{
    const size_t size = (size_t)128 << 20;
    const int n_copies = 16;
    struct pn_gpu_memory m;
    unsigned char byte;
    uint64_t total, left;
    d->class->memory(d, &total, &left);
    if (left / 16 < size || d->class->allocate(d, 2 * size, &m, NULL))
        return 0;
    uint64_t start = 0;
    for (int i = 0; i < n_copies + 2; i++) {
        if (i == 2) { /* the first ones wake the memory up */
            d->class->read(d, &byte, m.address, 1);
            start = pn_clock_ns();
        }
        d->class->copy(d, m.address + (i % 2 ? size : 0), m.address + (i % 2 ? 0 : size), size);
    }
    d->class->read(d, &byte, m.address, 1);
    double seconds = (double)(pn_clock_ns() - start) * 1e-9;
    d->class->release(d, &m);
    return seconds > 0 ? 2.0 * (double)size * n_copies / seconds : 0;
}

/* Where the GPU's memory is the machine's, other programs want it too. */
enum { OWN_POOL = 2, SHARED_POOL = 4 };

pantry_status pn_gpu_open(const struct pn_gpu_driver_class *driver, const struct pn_device_class *class,
                          struct pn_device **out, struct pantry_error *err)
{
    *out = NULL;
    struct pn_gpu *g = calloc(1, sizeof *g);
    if (!g)
        return pn_no_memory(err, "a device");
    pantry_status status = driver->open(&g->driver, err);
    if (status) {
        free(g);
        return status;
    }
    pthread_mutex_init(&g->lock, NULL);
    g->base.class = class;
    g->base.properties = (struct pn_device_properties){.fuses = false,
                                                       .unified = false,
                                                       .commits = g->driver->unified ? SHARED_POOL : OWN_POOL,
                                                       .n_threads = 1,
                                                       .cache_type = PN_TYPE_F16};
    if (!g->driver->unified)
        g->base.properties.bandwidth = measure_bandwidth(g->driver);
    snprintf(g->base.properties.name, sizeof g->base.properties.name, "%s (%s)", class->name, g->driver->name);
    if ((status = pn_gpu_probe(&g->base, err))) {
        pn_gpu_close(&g->base);
        return status;
    }
    *out = &g->base;
    return PANTRY_OK;
}

void pn_gpu_close(struct pn_device *device)
{
    struct pn_gpu *g = (struct pn_gpu *)device;
    for (size_t i = 0; i < g->n_extents; i++)
        g->driver->class->release(g->driver, &g->extents[i].memory);
    for (size_t i = 0; i < g->n_buffers; i++)
        g->driver->class->release(g->driver, &g->buffers[i]);
    free(g->extents);
    free(g->buffers);
    g->driver->class->close(g->driver);
    pthread_mutex_destroy(&g->lock);
    free(g);
}
