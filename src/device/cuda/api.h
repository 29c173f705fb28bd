/* The CUDA driver and its compiler, opened at run time: a program built without CUDA uses a GPU where the driver is
 * installed, and runs without one where it is not. */
#ifndef PN_DEVICE_CUDA_API_H
#define PN_DEVICE_CUDA_API_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

/* api.def */
struct pn_cuda_api {
    void *library;
#define PN_CUDA(name, symbol, parameters) int(*name) parameters;
#include "device/cuda/api.def"
};

/* CUDA's numbers that the driver of pantry uses. */
enum {
    PN_CUDA_OUT_OF_MEMORY = 2,
    PN_CUDA_NO_DEVICE = 100,
    PN_CUDA_ATTRIBUTE_SHARED = 8,      /* MAX_SHARED_MEMORY_PER_BLOCK */
    PN_CUDA_ATTRIBUTE_PROCESSORS = 16, /* MULTIPROCESSOR_COUNT */
    PN_CUDA_ATTRIBUTE_MAJOR = 75,      /* COMPUTE_CAPABILITY_MAJOR */
    PN_CUDA_ATTRIBUTE_MINOR = 76,
    PN_CUDA_CAPTURE_THREAD = 1, /* CU_STREAM_CAPTURE_MODE_THREAD_LOCAL */
    PN_CUDA_STREAM_ALONE = 1    /* CU_STREAM_NON_BLOCKING: does not wait for the default stream */
};

/* PANTRY_UNSUPPORTED, with the reason, where the driver or one of its functions is missing. */
pantry_status pn_cuda_api_open(struct pn_cuda_api *api, struct pantry_error *err);
void pn_cuda_api_close(struct pn_cuda_api *api);

/* Compiles the source of the kernels for compute capability major.minor with a toolkit's NVRTC. The caller frees
 * `image`. PANTRY_UNSUPPORTED where no NVRTC is installed; its messages are in the error. */
pantry_status pn_cuda_compile(int major, int minor, char **image, struct pantry_error *err);

#endif
