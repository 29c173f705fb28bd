/* The kernels as C++, for libcuda.c. The build puts their text beside this file's object. */
#include "gpu/cuda_shim.h"

#include <stddef.h>

#include "kernels.cu"

extern "C" const size_t pn_emulated_args_size;
const size_t pn_emulated_args_size = sizeof(struct pn_gpu_args);
