/* Apple GPUs through Metal, in plain C and without Apple's SDK. docs/metal.md explains the design. */
#ifndef PN_DEVICE_METAL_METAL_H
#define PN_DEVICE_METAL_METAL_H

#include "device/device.h"
#include "device/gpu/driver.h"

extern const struct pn_device_class pn_metal_device;

/* What pn_metal_driver opens, but with kernels of another text: tests plant bugs in it. */
pantry_status pn_metal_open(const char *kernels, size_t len, struct pn_gpu_driver **out, struct pantry_error *err);

#endif
