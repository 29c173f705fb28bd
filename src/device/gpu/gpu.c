/* Opening and closing GPU devices: see gpu.h. */
#include "device/gpu/gpu.h"

#include "device/gpu/memory.h"

#include <stdio.h>
#include <stdlib.h>

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
    g->base.properties = (struct pn_device_properties){
        .fuses = false, .unified = false, .commits = true, .n_threads = 1, .cache_type = PN_TYPE_F16};
    snprintf(g->base.properties.name, sizeof g->base.properties.name, "%s (%s)", class->name, g->driver->name);
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
