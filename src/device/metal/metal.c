/* Opens an Apple GPU: see metal.h. */
#include "device/metal/metal.h"

#include "device/gpu/gpu.h"
#include "device/metal/state.h"

#include <stdio.h>
#include <stdlib.h>

enum { FAMILY_APPLE7 = 1007, FAMILY_METAL3 = 5001, PAGE = 16384 };

static void pn_metal_close(struct pn_gpu_driver *d)
{
    struct pn_metal *m = (struct pn_metal *)d;
    if (!m)
        return;
    pn_metal_finish(m);
    void *pool = pn_objc.pool_push();
    pn_metal_pipelines_close(m);
    pn_metal_buffers_close(m);
    pn_metal_residency_close(m);
    pn_objc_release(m->fence);
    pn_objc_release(m->queue);
    pn_objc_release(m->device);
    pn_objc.pool_pop(pool);
    free(m);
}

static pantry_status check_device(struct pn_metal *m, struct pantry_error *err)
{
    if (!m->device)
        return pn_fail(err, PANTRY_UNSUPPORTED, "Metal: this system offers no GPU");
    const char *name = pn_string_text(pn_device_name(m->device));
    snprintf(m->base.name, sizeof m->base.name, "%s", name ? name : "a GPU without a name");
    if (!pn_device_is_unified(m->device) || !pn_device_supports(m->device, FAMILY_APPLE7))
        return pn_fail(err, PANTRY_UNSUPPORTED, "Metal: %s is not a GPU of Apple's M1 or newer", m->base.name);
    if (!pn_device_supports(m->device, FAMILY_METAL3))
        return pn_fail(err, PANTRY_UNSUPPORTED, "Metal: %s: Metal 3 is needed, which macOS 13 brings", m->base.name);
    return PANTRY_OK;
}

static pantry_status open_device(struct pn_metal *m, const char *kernels, size_t len, struct pantry_error *err)
{
    m->device = pn_objc.default_device();
    pantry_status status = check_device(m, err);
    if (status)
        return status;
    m->base.unified = true;
    m->base.page = PAGE;
    m->base.max_shared = pn_device_max_shared(m->device);
    m->base.working_set = pn_device_working_set(m->device);
    m->max_buffer = pn_device_max_buffer(m->device);
    m->queue = pn_device_new_queue(m->device);
    m->fence = pn_device_new_fence(m->device);
    if (!m->queue || !m->fence)
        return pn_fail(err, PANTRY_NO_MEMORY, "Metal: cannot make a command queue");
    status = pn_metal_residency_open(m, err);
    return status ? status : pn_metal_compile(m, kernels, len, err);
}

pantry_status pn_metal_open(const char *kernels, size_t len, struct pn_gpu_driver **out, struct pantry_error *err)
{
    *out = NULL;
    pantry_status status = pn_objc_open(err);
    if (status)
        return status;
    struct pn_metal *m = calloc(1, sizeof *m);
    if (!m)
        return pn_no_memory(err, "a Metal device");
    m->base.class = &pn_metal_driver;
    void *pool = pn_objc.pool_push();
    status = open_device(m, kernels, len, err);
    pn_objc.pool_pop(pool);
    if (status)
        pn_metal_close(&m->base);
    else
        *out = &m->base;
    return status;
}

static pantry_status open_embedded(struct pn_gpu_driver **out, struct pantry_error *err)
{
    return pn_metal_open((const char *)pn_embedded_gpu_kernels, pn_embedded_gpu_kernels_len, out, err);
}

const struct pn_gpu_driver_class pn_metal_driver = {.name = "metal",
                                                    .open = open_embedded,
                                                    .close = pn_metal_close,
                                                    .memory = pn_metal_memory,
                                                    .allocate = pn_metal_allocate,
                                                    .wrap = pn_metal_wrap,
                                                    .release = pn_metal_release,
                                                    .write = pn_metal_write,
                                                    .read = pn_metal_read,
                                                    .copy = pn_metal_copy,
                                                    .fill = pn_metal_fill,
                                                    .submit = pn_metal_submit,
                                                    .wait = pn_metal_wait,
                                                    .elapsed = pn_metal_elapsed};

static pantry_status open_as_device(const struct pn_device_options *options, struct pn_device **out,
                                    struct pantry_error *err)
{
    (void)options;
    return pn_gpu_open(&pn_metal_driver, &pn_metal_device, out, err);
}

const struct pn_device_class pn_metal_device = {.name = "metal", .open = open_as_device, PN_GPU_DEVICE};
