/* driver.h over the CUDA driver: one stream in which all work is in order. A step that launches the same kernels with
 * the same arguments as an earlier one repeats a recorded graph, since what changes from step to step is in memory. */
#include "device/cuda/cuda.h"

#include "device/cuda/api.h"
#include "device/gpu/gpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Graphs that are kept, and pinned memory for large writes: two halves, one filled while the other is copied. */
enum { N_GRAPHS = 16, STAGING = 16 << 20, LARGE = 1 << 20, N_STAGING = 2 };

struct graph {
    uint64_t hash; /* of its launches */
    size_t n;
    void *compiled;
    uint64_t used; /* the step that used it last */
};

struct cuda {
    struct pn_gpu_driver base;
    struct pn_cuda_api api;
    int device;
    void *context, *stream, *module;
    void *functions[PN_GPU_N_KERNELS];
    void *start, *end; /* events around the last step */
    void *staging[N_STAGING], *copied[N_STAGING];
    struct graph graphs[N_GRAPHS];
    uint64_t n_steps, seen; /* seen: hash of the last step that was not recorded */
    int result;             /* of the first call that failed since the last wait */
    const char *failed;
};

static struct cuda *cuda_of(struct pn_gpu_driver *d)
{
    return (struct cuda *)d;
}

/* ---- errors ---- */

static pantry_status fail(const struct cuda *c, int result, const char *what, struct pantry_error *err)
{
    const char *text = NULL;
    if (!c->api.error_string || c->api.error_string(result, &text) || !text)
        text = "unknown error";
    return pn_fail(err, result == PN_CUDA_OUT_OF_MEMORY ? PANTRY_NO_MEMORY : PANTRY_INTERNAL, "cuda: %s: %s (%d)", what,
                   text, result);
}

/* Keeps the first failure for `wait`. */
static void keep(struct cuda *c, int result, const char *what)
{
    if (result && !c->result) {
        c->result = result;
        c->failed = what;
    }
}

static void enter(const struct cuda *c)
{
    c->api.context_set(c->context);
}

/* ---- opening ---- */

static void cuda_close(struct pn_gpu_driver *d)
{
    struct cuda *c = cuda_of(d);
    if (c->context) {
        enter(c);
        for (int i = 0; i < N_GRAPHS; i++)
            if (c->graphs[i].compiled)
                c->api.compiled_free(c->graphs[i].compiled);
        for (int i = 0; i < N_STAGING; i++) {
            if (c->staging[i])
                c->api.host_release(c->staging[i]);
            if (c->copied[i])
                c->api.event_free(c->copied[i]);
        }
        if (c->start)
            c->api.event_free(c->start);
        if (c->end)
            c->api.event_free(c->end);
        if (c->module)
            c->api.module_free(c->module);
        if (c->stream)
            c->api.stream_free(c->stream);
        c->api.context_release(c->device);
    }
    pn_cuda_api_close(&c->api);
    free(c);
}

/* The GPU with the most multiprocessors that can run the kernels. */
static pantry_status choose_device(struct cuda *c, int *major, int *minor, struct pantry_error *err)
{
    int n = 0, most = 0, result = c->api.init(0);
    if (!result)
        result = c->api.device_count(&n);
    if (result == PN_CUDA_NO_DEVICE || (!result && n == 0))
        return pn_fail(err, PANTRY_UNSUPPORTED, "cuda: the NVIDIA driver finds no GPU");
    if (result) {
        fail(c, result, "the NVIDIA driver cannot start", err);
        return err ? (err->status = PANTRY_UNSUPPORTED) : PANTRY_UNSUPPORTED;
    }
    for (int i = 0; i < n; i++) {
        int device, processors = 0, a = 0, b = 0;
        if (c->api.device_get(&device, i) ||
            c->api.device_attribute(&processors, PN_CUDA_ATTRIBUTE_PROCESSORS, device) ||
            c->api.device_attribute(&a, PN_CUDA_ATTRIBUTE_MAJOR, device) ||
            c->api.device_attribute(&b, PN_CUDA_ATTRIBUTE_MINOR, device) || a < 8 || processors <= most)
            continue;
        most = processors;
        c->device = device;
        *major = a;
        *minor = b;
    }
    if (!most)
        return pn_fail(err, PANTRY_UNSUPPORTED, "cuda: no GPU has compute capability 8.0 (Ampere) or newer");
    return PANTRY_OK;
}

static pantry_status load_kernels(struct cuda *c, int major, int minor, struct pantry_error *err)
{
    int result = 1;
    char *image = NULL;
    if (pn_embedded_gpu_fatbin_len)
        result = c->api.module_load(&c->module, pn_embedded_gpu_fatbin);
    if (result) { /* none is embedded, or none for this GPU */
        pantry_status status = pn_cuda_compile(major, minor, &image, err);
        if (status)
            return status;
        result = c->api.module_load(&c->module, image);
        free(image);
    }
    for (int i = 0; i < PN_GPU_N_KERNELS && !result; i++)
        result = c->api.module_function(&c->functions[i], c->module, pn_gpu_kernel_name((enum pn_gpu_kernel)i));
    return result ? fail(c, result, "the kernels cannot be loaded", err) : PANTRY_OK;
}

static pantry_status set_up(struct cuda *c, struct pantry_error *err)
{
    int major = 0, minor = 0, shared = 0;
    pantry_status status = choose_device(c, &major, &minor, err);
    if (status)
        return status;
    int result = c->api.context_retain(&c->context, c->device);
    if (!result) {
        enter(c);
        result = c->api.stream_new(&c->stream, PN_CUDA_STREAM_ALONE);
    }
    if (!result)
        result = c->api.event_new(&c->start, 0);
    if (!result)
        result = c->api.event_new(&c->end, 0);
    for (int i = 0; i < N_STAGING && !result; i++) {
        result = c->api.host_allocate(&c->staging[i], STAGING);
        if (!result)
            result = c->api.event_new(&c->copied[i], 0);
    }
    if (!result)
        result = c->api.device_attribute(&shared, PN_CUDA_ATTRIBUTE_SHARED, c->device);
    if (result)
        return fail(c, result, "the GPU cannot be opened", err);
    if (c->api.device_name(c->base.name, sizeof c->base.name, c->device))
        snprintf(c->base.name, sizeof c->base.name, "NVIDIA GPU");
    c->base.max_shared = (size_t)shared;
    return load_kernels(c, major, minor, err);
}

static pantry_status cuda_open(struct pn_gpu_driver **out, struct pantry_error *err)
{
    *out = NULL;
    struct cuda *c = calloc(1, sizeof *c);
    if (!c)
        return pn_no_memory(err, "a GPU");
    c->base = (struct pn_gpu_driver){.class = &pn_cuda_driver, .page = 1, .working_set = UINT64_MAX};
    pantry_status status = pn_cuda_api_open(&c->api, err);
    if (!status)
        status = set_up(c, err);
    if (status)
        cuda_close(&c->base);
    else
        *out = &c->base;
    return status;
}

/* ---- memory ---- */

static void cuda_memory(const struct pn_gpu_driver *d, uint64_t *total, uint64_t *free)
{
    const struct cuda *c = (const struct cuda *)d;
    size_t all = 0, left = 0;
    enter(c);
    bool known = c->api.memory_info(&left, &all) == 0;
    *total = known ? all : UINT64_MAX;
    *free = known ? left : UINT64_MAX;
}

static pantry_status cuda_allocate(struct pn_gpu_driver *d, size_t size, struct pn_gpu_memory *out,
                                   struct pantry_error *err)
{
    struct cuda *c = cuda_of(d);
    size_t all = 0, left = 0;
    *out = (struct pn_gpu_memory){.size = size};
    enter(c);
    int result = c->api.allocate(&out->address, size);
    if (result == PN_CUDA_OUT_OF_MEMORY && !c->api.memory_info(&left, &all)) {
        *out = (struct pn_gpu_memory){0};
        return pn_fail(err, PANTRY_NO_MEMORY, "%s: %zu MiB of GPU memory are needed, and %zu of %zu MiB are free",
                       c->base.name, (size >> 20) + 1, left >> 20, all >> 20);
    }
    if (!result)
        result = c->api.fill(out->address, 0, size, c->stream);
    if (!result)
        return PANTRY_OK;
    *out = (struct pn_gpu_memory){0};
    return fail(c, result, "memory cannot be allocated", err);
}

static void cuda_release(struct pn_gpu_driver *d, struct pn_gpu_memory *memory)
{
    struct cuda *c = cuda_of(d);
    if (memory->address) {
        enter(c);
        keep(c, c->api.stream_wait(c->stream), "waiting");
        keep(c, c->api.release(memory->address), "releasing memory");
    }
    *memory = (struct pn_gpu_memory){0};
}

static void cuda_write(struct pn_gpu_driver *d, uint64_t to, const void *from, size_t size)
{
    struct cuda *c = cuda_of(d);
    enter(c);
    if (size < LARGE) {
        keep(c, c->api.write(to, from, size, c->stream), "writing");
        return;
    }
    for (size_t at = 0, i = 0; at < size; at += STAGING, i = (i + 1) % N_STAGING) {
        size_t n = size - at < STAGING ? size - at : STAGING;
        keep(c, c->api.event_wait(c->copied[i]), "writing");
        memcpy(c->staging[i], (const char *)from + at, n);
        keep(c, c->api.write(to + at, c->staging[i], n, c->stream), "writing");
        keep(c, c->api.event_record(c->copied[i], c->stream), "writing");
    }
}

static void cuda_read(struct pn_gpu_driver *d, void *to, uint64_t from, size_t size)
{
    struct cuda *c = cuda_of(d);
    enter(c);
    keep(c, c->api.read(to, from, size, c->stream), "reading");
    keep(c, c->api.stream_wait(c->stream), "reading");
}

static void cuda_copy(struct pn_gpu_driver *d, uint64_t to, uint64_t from, size_t size)
{
    struct cuda *c = cuda_of(d);
    enter(c);
    keep(c, c->api.copy(to, from, size, c->stream), "copying");
}

static void cuda_fill(struct pn_gpu_driver *d, uint64_t to, unsigned char byte, size_t size)
{
    struct cuda *c = cuda_of(d);
    enter(c);
    keep(c, c->api.fill(to, byte, size, c->stream), "filling");
}

/* ---- steps ---- */

static int launch_all(struct cuda *c, const struct pn_gpu_launch *launches, size_t n)
{
    int result = 0;
    for (size_t i = 0; i < n && !result; i++) {
        const struct pn_gpu_launch *l = &launches[i];
        void *parameters[] = {(void *)(uintptr_t)&l->args};
        unsigned threads = (unsigned)pn_gpu_kernel_threads(l->kernel);
        result = c->api.launch(c->functions[l->kernel], l->groups[0], l->groups[1], l->groups[2], threads, 1, 1,
                               (unsigned)l->shared, c->stream, parameters, NULL);
    }
    return result;
}

/* FNV-1a over words (Fowler, Noll, Vo), with another mix: a list has hundreds of kilobytes. */
static uint64_t mix(uint64_t h, const void *bytes, size_t n)
{
    for (size_t at = 0; at < n; at += sizeof h) {
        uint64_t word = 0;
        memcpy(&word, (const char *)bytes + at, n - at < sizeof word ? n - at : sizeof word);
        h = (h ^ word) * 0x9E3779B97F4A7C15u;
        h ^= h >> 29;
    }
    return h;
}

static uint64_t hash_of(const struct pn_gpu_launch *launches, size_t n)
{
    uint64_t h = 1;
    for (size_t i = 0; i < n; i++) {
        const struct pn_gpu_launch *l = &launches[i];
        const uint64_t head[] = {(uint64_t)l->kernel, l->groups[0], l->groups[1], l->groups[2], l->shared};
        h = mix(mix(h, head, sizeof head), &l->args, sizeof l->args);
    }
    return h;
}

/* The place of a graph with these launches, or of the one that was used least recently. */
static struct graph *find_graph(struct cuda *c, uint64_t hash, size_t n)
{
    struct graph *oldest = &c->graphs[0];
    for (int i = 0; i < N_GRAPHS; i++) {
        struct graph *g = &c->graphs[i];
        if (g->compiled && g->hash == hash && g->n == n)
            return g;
        oldest = g->used < oldest->used ? g : oldest;
    }
    return oldest;
}

static int record(struct cuda *c, struct graph *g, const struct pn_gpu_launch *launches, size_t n, uint64_t hash)
{
    void *graph = NULL;
    if (g->compiled)
        c->api.compiled_free(g->compiled);
    *g = (struct graph){.hash = hash, .n = n};
    int result = c->api.capture_begin(c->stream, PN_CUDA_CAPTURE_THREAD);
    if (result)
        return result;
    int launched = launch_all(c, launches, n);
    result = c->api.capture_end(c->stream, &graph);
    if (!launched && !result)
        result = c->api.graph_compile(&g->compiled, graph, 0);
    if (graph)
        c->api.graph_free(graph);
    return launched ? launched : result;
}

static pantry_status cuda_submit(struct pn_gpu_driver *d, const struct pn_gpu_launch *launches, size_t n,
                                 struct pantry_error *err)
{
    struct cuda *c = cuda_of(d);
    uint64_t hash = hash_of(launches, n);
    struct graph *g = find_graph(c, hash, n);
    bool known = g->compiled && g->hash == hash && g->n == n;
    int result = 0;
    enter(c);
    /* Most steps of a prompt come once: only what comes twice in a row is worth recording. */
    if (!known && c->seen == hash) {
        result = record(c, g, launches, n, hash);
        known = !result;
    }
    c->seen = hash;
    if (!result)
        result = c->api.event_record(c->start, c->stream);
    if (!result && known) {
        g->used = ++c->n_steps;
        result = c->api.graph_launch(g->compiled, c->stream);
    } else if (!result) {
        result = launch_all(c, launches, n);
    }
    if (!result)
        result = c->api.event_record(c->end, c->stream);
    return result ? fail(c, result, "a step cannot be launched", err) : PANTRY_OK;
}

static pantry_status cuda_wait(struct pn_gpu_driver *d, struct pantry_error *err)
{
    struct cuda *c = cuda_of(d);
    enter(c);
    keep(c, c->api.stream_wait(c->stream), "a step failed");
    int result = c->result;
    c->result = 0;
    return result ? fail(c, result, c->failed, err) : PANTRY_OK;
}

static uint64_t cuda_elapsed(const struct pn_gpu_driver *d)
{
    const struct cuda *c = (const struct cuda *)d;
    float ms = 0;
    enter(c);
    return c->api.event_elapsed(&ms, c->start, c->end) ? 0 : (uint64_t)((double)ms * 1e6);
}

const struct pn_gpu_driver_class pn_cuda_driver = {
    .name = "cuda",
    .open = cuda_open,
    .close = cuda_close,
    .memory = cuda_memory,
    .allocate = cuda_allocate,
    .wrap = NULL,
    .release = cuda_release,
    .write = cuda_write,
    .read = cuda_read,
    .copy = cuda_copy,
    .fill = cuda_fill,
    .submit = cuda_submit,
    .wait = cuda_wait,
    .elapsed = cuda_elapsed,
};

static pantry_status open_device(const struct pn_device_options *options, struct pn_device **out,
                                 struct pantry_error *err)
{
    (void)options;
    return pn_gpu_open(&pn_cuda_driver, &pn_cuda_device, out, err);
}

const struct pn_device_class pn_cuda_device = {.name = "cuda", .open = open_device, PN_GPU_DEVICE};
