/* The CPU device: threads, instruction sets chosen at run time, fused phases. */
#ifndef PN_DEVICE_CPU_CPU_H
#define PN_DEVICE_CPU_CPU_H

#include "device/device.h"

extern const struct pn_device_class pn_cpu_device;

#endif
