/* Opening the CUDA driver and NVRTC: see api.h. */
#include "device/cuda/api.h"

#include "device/gpu/driver.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *symbol_of(void *library, const char *name, const char **missing)
{
    void *found = dlsym(library, name);
    if (!found && !*missing)
        *missing = name;
    return found;
}

pantry_status pn_cuda_api_open(struct pn_cuda_api *api, struct pantry_error *err)
{
    const char *missing = NULL;
    *api = (struct pn_cuda_api){.library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL)};
    if (!api->library)
        return pn_fail(err, PANTRY_UNSUPPORTED, "cuda: no NVIDIA driver (libcuda.so.1) on this machine");
#define PN_CUDA(name, symbol, parameters) *(void **)&api->name = symbol_of(api->library, #symbol, &missing);
#include "device/cuda/api.def"
    if (!missing)
        return PANTRY_OK;
    pn_cuda_api_close(api);
    return pn_fail(err, PANTRY_UNSUPPORTED, "cuda: the NVIDIA driver has no %s; install a newer one", missing);
}

void pn_cuda_api_close(struct pn_cuda_api *api)
{
    if (api->library)
        dlclose(api->library);
    *api = (struct pn_cuda_api){0};
}

/* ---- compiling ---- */

struct nvrtc {
    void *library;
    int (*create)(void **program, const char *source, const char *name, int n, const char *const *headers,
                  const char *const *names);
    int (*compile)(void *program, int n, const char *const *options);
    int (*log_size)(void *program, size_t *size);
    int (*log)(void *program, char *text);
    int (*size)(void *program, size_t *size);
    int (*get)(void *program, char *image);
    int (*destroy)(void **program);
};

static bool open_nvrtc(struct nvrtc *n)
{
    static const char *const names[] = {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"};
    const char *missing = NULL;
    *n = (struct nvrtc){0};
    for (size_t i = 0; i < sizeof names / sizeof *names && !n->library; i++)
        n->library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (!n->library)
        return false;
    *(void **)&n->create = symbol_of(n->library, "nvrtcCreateProgram", &missing);
    *(void **)&n->compile = symbol_of(n->library, "nvrtcCompileProgram", &missing);
    *(void **)&n->log_size = symbol_of(n->library, "nvrtcGetProgramLogSize", &missing);
    *(void **)&n->log = symbol_of(n->library, "nvrtcGetProgramLog", &missing);
    *(void **)&n->size = symbol_of(n->library, "nvrtcGetCUBINSize", &missing);
    *(void **)&n->get = symbol_of(n->library, "nvrtcGetCUBIN", &missing);
    *(void **)&n->destroy = symbol_of(n->library, "nvrtcDestroyProgram", &missing);
    if (missing)
        dlclose(n->library);
    return !missing;
}

/* The compiler's messages as an error. */
static pantry_status complain(const struct nvrtc *n, void *program, struct pantry_error *err)
{
    size_t size = 0;
    n->log_size(program, &size);
    char *text = calloc(size + 1, 1);
    if (text && size)
        n->log(program, text);
    pantry_status status =
        pn_fail(err, PANTRY_INTERNAL, "cuda: NVRTC cannot compile the kernels: %.300s", text ? text : "");
    free(text);
    return status;
}

pantry_status pn_cuda_compile(int major, int minor, char **image, struct pantry_error *err)
{
    struct nvrtc n;
    void *program = NULL;
    char architecture[48];
    size_t size = 0;
    *image = NULL;
    if (!open_nvrtc(&n))
        return pn_fail(
            err, PANTRY_UNSUPPORTED,
            "cuda: this program was built without nvcc, and there is no NVRTC library to compile its kernels; "
            "install the CUDA toolkit, or build pantry where nvcc is");
    snprintf(architecture, sizeof architecture, "--gpu-architecture=sm_%d%d", major, minor);
    const char *const options[] = {architecture, "-DPN_GPU_CUDA", "--std=c++17"};
    pantry_status status = PANTRY_OK;
    if (n.create(&program, (const char *)pn_embedded_gpu_kernels, "kernels.cu", 0, NULL, NULL))
        status = pn_no_memory(err, "the GPU's kernels");
    else if (n.compile(program, 3, options) || n.size(program, &size))
        status = complain(&n, program, err);
    else if (!(*image = malloc(size + 1)) || n.get(program, *image))
        status = pn_no_memory(err, "the GPU's kernels");
    if (status) {
        free(*image);
        *image = NULL;
    }
    if (program)
        n.destroy(&program);
    dlclose(n.library);
    return status;
}
