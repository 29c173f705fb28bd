/* A CUDA driver for machines without an NVIDIA GPU: the functions that src/device/cuda uses, with the kernels compiled
 * from the same text as C++ and run on the CPU (tests/gpu/fibers.h). What a driver would not notice, it does: copies
 * outside an allocation, reads and writes beyond its end (a guard page), use after release, launches of impossible
 * groups, memory and objects that are left when the context goes.
 *
 * It is built as libcuda.so.1, beside the kernels (gpu_kernels_cuda.so). Results carry the label *emulated*: they say
 * nothing about speed or about a GPU's arithmetic.
 *
 * CUDA_EMULATOR_MIB is the size of its memory; CUDA_EMULATOR_GPUS the number of GPUs; CUDA_EMULATOR_WRONG a kernel that
 * does nothing; CUDA_EMULATOR_ORDER in which order threads run: 0 forward, 1 reversed, 2 shuffled. */
#define _GNU_SOURCE 1

#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "gpu/fibers.h"

#define EXPORT __attribute__((visibility("default")))

enum { OK, INVALID = 1, OUT_OF_MEMORY = 2, INVALID_IMAGE = 200, NOT_FOUND = 500, CAPTURE = 901, LAUNCH_FAILED = 719 };

typedef int result;

/* The same list that the driver is called by, so that both agree. */
#define PN_CUDA(name, symbol, parameters) EXPORT int symbol parameters;
#include "device/cuda/api.def"

/* ---- memory ---- */

struct allocation {
    uintptr_t at;
    size_t size;
    void *map;
    size_t map_size;
};

enum { MAX_ALLOCATIONS = 1 << 16 };
static struct allocation allocations[MAX_ALLOCATIONS];
static size_t n_allocations, bytes_used;

static size_t bytes_total(void)
{
    const char *mib = getenv("CUDA_EMULATOR_MIB");
    return (size_t)(mib ? strtoull(mib, NULL, 10) : 1024) << 20;
}

static result complain(result r, const char *what)
{
    fprintf(stderr, "cuda-emulator: %s\n", what);
    return r;
}

/* Copies and fills are checked if they begin in an allocation; tests also give addresses of the host. */
static bool inside(uint64_t at, size_t n)
{
    for (size_t i = 0; i < n_allocations; i++)
        if (at >= allocations[i].at && at < allocations[i].at + allocations[i].size)
            return n <= allocations[i].size - (at - allocations[i].at);
    return false;
}

EXPORT result cuMemGetInfo_v2(size_t *left, size_t *total)
{
    *total = bytes_total();
    *left = *total - bytes_used;
    return OK;
}

/* The memory ends at a guard page, up to the alignment that CUDA promises. Its bytes are not zero. */
EXPORT result cuMemAlloc_v2(uint64_t *address, size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (size + 255) / 256 * 256;
    if (size == 0 || n_allocations == MAX_ALLOCATIONS)
        return INVALID;
    if (room > bytes_total() - bytes_used)
        return OUT_OF_MEMORY;
    size_t map_size = (room + page - 1) / page * page + page;
    char *map = mmap(NULL, map_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return OUT_OF_MEMORY;
    mprotect(map + map_size - page, page, PROT_NONE);
    char *at = map + map_size - page - room;
    memset(at, 0xA5, room < 1 << 20 ? room : 1 << 20);
    allocations[n_allocations++] = (struct allocation){(uintptr_t)at, size, map, map_size};
    bytes_used += room;
    *address = (uintptr_t)at;
    return OK;
}

EXPORT result cuMemFree_v2(uint64_t address)
{
    for (size_t i = 0; i < n_allocations; i++)
        if (allocations[i].at == address) {
            bytes_used -= (allocations[i].size + 255) / 256 * 256;
            munmap(allocations[i].map, allocations[i].map_size);
            allocations[i] = allocations[--n_allocations];
            return OK;
        }
    return complain(INVALID, "memory is released that is not allocated");
}

EXPORT result cuMemAllocHost_v2(void **address, size_t size)
{
    *address = malloc(size);
    return *address ? OK : OUT_OF_MEMORY;
}

EXPORT result cuMemFreeHost(void *address)
{
    free(address);
    return OK;
}

/* ---- streams: everything is done at once, or recorded ---- */

struct function {
    pn_emulated_kernel *run;
    char name[64];
};

struct node {
    const struct function *function;
    unsigned groups[3], threads, shared;
    _Alignas(16) unsigned char args[4096];
};

struct graph {
    struct node *nodes;
    size_t n, cap;
};

static struct graph *capturing;
static int failed; /* by a kernel: returned by the next wait, like an error of the real one */
static size_t n_args;
static struct pn_emulated_state *kernels_state;

EXPORT result cuMemsetD8Async(uint64_t to, unsigned char byte, size_t n, void *stream)
{
    (void)stream;
    if (capturing)
        return complain(CAPTURE, "a fill is recorded");
    if (!inside(to, n))
        return complain(INVALID, "a fill goes beyond an allocation");
    /* Whole pages of zeros come from the system when they are touched. */
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin = (to + page - 1) / page * page,
              end = (to + n) / page * page;
    if (byte == 0 && end > begin + (1 << 20) && madvise((void *)begin, end - begin, MADV_DONTNEED) == 0) {
        memset((void *)(uintptr_t)to, 0, begin - to);
        memset((void *)end, 0, to + n - end);
        return OK;
    }
    memset((void *)(uintptr_t)to, byte, n);
    return OK;
}

EXPORT result cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t n, void *stream)
{
    (void)stream;
    if (!inside(to, n))
        return complain(INVALID, "a copy goes beyond an allocation");
    memcpy((void *)(uintptr_t)to, from, n);
    return OK;
}

EXPORT result cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t n, void *stream)
{
    (void)stream;
    if (!inside(from, n))
        return complain(INVALID, "a copy goes beyond an allocation");
    memcpy(to, (const void *)(uintptr_t)from, n);
    return OK;
}

EXPORT result cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t n, void *stream)
{
    (void)stream;
    if (!inside(to, n) || !inside(from, n))
        return complain(INVALID, "a copy goes beyond an allocation");
    memmove((void *)(uintptr_t)to, (const void *)(uintptr_t)from, n);
    return OK;
}

static void run_node(const struct node *node)
{
    const char *order = getenv("CUDA_EMULATOR_ORDER"), *wrong = getenv("CUDA_EMULATOR_WRONG");
    if (wrong && strcmp(wrong, node->function->name) == 0)
        return;
    if (pn_emulate(kernels_state, node->function->run, node->args, node->groups, (int)node->threads, node->shared,
                   order ? atoi(order) : 0)) {
        fprintf(stderr, "cuda-emulator: the kernel %s failed\n", node->function->name);
        failed = LAUNCH_FAILED;
    }
}

EXPORT result cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                             unsigned bz, unsigned shared, void *stream, void **parameters, void **extra)
{
    (void)stream;
    (void)extra;
    if (!gx || !gy || !gz || gy > 65535 || gz > 65535 || !bx || bx * by * bz > 1024 || by != 1 || bz != 1 ||
        shared > 48 << 10)
        return complain(INVALID, "a launch has an impossible number of groups, threads or bytes");
    struct node node = {.function = function, .groups = {gx, gy, gz}, .threads = bx, .shared = shared};
    memcpy(node.args, parameters[0], n_args);
    if (!capturing) {
        run_node(&node);
        return OK;
    }
    if (capturing->n == capturing->cap) {
        capturing->cap = capturing->cap ? 2 * capturing->cap : 64;
        capturing->nodes = realloc(capturing->nodes, capturing->cap * sizeof *capturing->nodes);
        if (!capturing->nodes)
            abort();
    }
    capturing->nodes[capturing->n++] = node;
    return OK;
}

EXPORT result cuStreamCreate(void **stream, unsigned flags)
{
    (void)flags;
    *stream = malloc(1);
    return OK;
}

EXPORT result cuStreamDestroy_v2(void *stream)
{
    free(stream);
    return OK;
}

EXPORT result cuStreamSynchronize(void *stream)
{
    (void)stream;
    result r = failed;
    return capturing ? complain(CAPTURE, "a recording waits") : r;
}

EXPORT result cuStreamBeginCapture_v2(void *stream, int mode)
{
    (void)stream;
    (void)mode;
    if (capturing)
        return complain(CAPTURE, "a recording begins in another");
    capturing = calloc(1, sizeof *capturing);
    return capturing ? OK : OUT_OF_MEMORY;
}

EXPORT result cuStreamEndCapture(void *stream, void **graph)
{
    (void)stream;
    *graph = capturing;
    capturing = NULL;
    return *graph ? OK : complain(CAPTURE, "no recording ends");
}

EXPORT result cuGraphDestroy(void *graph)
{
    free(((struct graph *)graph)->nodes);
    free(graph);
    return OK;
}

EXPORT result cuGraphInstantiateWithFlags(void **compiled, void *graph, unsigned long long flags)
{
    (void)flags;
    const struct graph *from = graph;
    struct graph *g = calloc(1, sizeof *g);
    if (!g)
        return OUT_OF_MEMORY;
    g->nodes = malloc((from->n + 1) * sizeof *g->nodes);
    if (!g->nodes)
        abort();
    memcpy(g->nodes, from->nodes, from->n * sizeof *g->nodes);
    g->n = from->n;
    *compiled = g;
    return OK;
}

EXPORT result cuGraphExecDestroy(void *compiled)
{
    return cuGraphDestroy(compiled);
}

EXPORT result cuGraphLaunch(void *compiled, void *stream)
{
    (void)stream;
    const struct graph *g = compiled;
    for (size_t i = 0; i < g->n; i++)
        run_node(&g->nodes[i]);
    return OK;
}

/* ---- events ---- */

EXPORT result cuEventCreate(void **event, unsigned flags)
{
    (void)flags;
    *event = malloc(1);
    return OK;
}

EXPORT result cuEventDestroy_v2(void *event)
{
    free(event);
    return OK;
}

EXPORT result cuEventRecord(void *event, void *stream)
{
    (void)event;
    (void)stream;
    return OK;
}

EXPORT result cuEventSynchronize(void *event)
{
    (void)event;
    return OK;
}

EXPORT result cuEventElapsedTime(float *milliseconds, void *start, void *end)
{
    (void)start;
    (void)end;
    *milliseconds = 0.001f;
    return OK;
}

/* ---- device, context, module ---- */

static int retained;

EXPORT result cuInit(unsigned flags)
{
    return flags ? INVALID : OK;
}

EXPORT result cuGetErrorString(int r, const char **text)
{
    *text = r == OUT_OF_MEMORY   ? "out of memory"
            : r == LAUNCH_FAILED ? "unspecified launch failure"
            : r == INVALID       ? "invalid argument"
                                 : "error";
    return OK;
}

EXPORT result cuDeviceGetCount(int *count)
{
    const char *n = getenv("CUDA_EMULATOR_GPUS");
    *count = n ? atoi(n) : 1;
    return OK;
}

EXPORT result cuDeviceGet(int *device, int ordinal)
{
    *device = ordinal;
    return OK;
}

EXPORT result cuDeviceGetName(char *name, int len, int device)
{
    (void)device;
    snprintf(name, (size_t)len, "emulated GPU");
    return OK;
}

EXPORT result cuDeviceGetAttribute(int *value, int attribute, int device)
{
    (void)device;
    *value = attribute == 75 ? 9 : attribute == 76 ? 0 : attribute == 16 ? 8 : attribute == 8 ? 48 << 10 : 0;
    return OK;
}

EXPORT result cuDevicePrimaryCtxRetain(void **context, int device)
{
    (void)device;
    retained++;
    *context = &retained;
    return OK;
}

EXPORT result cuDevicePrimaryCtxRelease_v2(int device)
{
    (void)device;
    failed = OK;
    if (--retained == 0 && n_allocations)
        return complain(INVALID, "memory is left when the context goes");
    return OK;
}

EXPORT result cuCtxSetCurrent(void *context)
{
    return context ? OK : INVALID;
}

/* The kernels beside this library, whatever the image. */
EXPORT result cuModuleLoadData(void **module, const void *image)
{
    Dl_info here;
    char path[4096];
    (void)image;
    if (!dladdr((void *)(uintptr_t)&cuModuleLoadData, &here) || !here.dli_fname)
        return NOT_FOUND;
    const char *end = strrchr(here.dli_fname, '/');
    snprintf(path, sizeof path, "%.*s/gpu_kernels_cuda.so", end ? (int)(end - here.dli_fname) : 1,
             end ? here.dli_fname : ".");
    void *kernels = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!kernels)
        return complain(INVALID_IMAGE, dlerror());
    const size_t *size = dlsym(kernels, "pn_emulated_args_size");
    n_args = size ? *size : 0;
    kernels_state = dlsym(kernels, "pn_emulated_state");
    *module = kernels;
    return kernels_state && n_args && n_args <= sizeof((struct node *)0)->args ? OK : INVALID_IMAGE;
}

struct functions {
    struct function *f;
    struct functions *next;
};
static struct functions *functions;

EXPORT result cuModuleUnload(void *module)
{
    while (functions) {
        struct functions *next = functions->next;
        free(functions->f);
        free(functions);
        functions = next;
    }
    dlclose(module);
    return OK;
}

EXPORT result cuModuleGetFunction(void **function, void *module, const char *name)
{
    struct function *f = calloc(1, sizeof *f);
    struct functions *item = calloc(1, sizeof *item);
    if (!f || !item)
        abort();
    *(void **)&f->run = dlsym(module, name);
    snprintf(f->name, sizeof f->name, "%s", name);
    *item = (struct functions){f, functions};
    functions = item;
    *function = f;
    return f->run ? OK : complain(NOT_FOUND, name);
}
