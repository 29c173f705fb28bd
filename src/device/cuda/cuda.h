/* NVIDIA GPUs through the CUDA driver. */
#ifndef PN_DEVICE_CUDA_CUDA_H
#define PN_DEVICE_CUDA_CUDA_H

#include "device/device.h"

extern const struct pn_device_class pn_cuda_device;

/* Kernels compiled when pantry was built, for several GPUs; empty without nvcc. */
extern const unsigned char pn_embedded_gpu_fatbin[];
extern const size_t pn_embedded_gpu_fatbin_len;

#endif
