/* The GPU: what it says of itself, libraries of compiled source, functions, pipelines. */
#include "emulator.h"

#include <stdlib.h>
#include <string.h>

struct options {
    struct object base;
    word language;
    long math;
};
struct library {
    struct object base;
    struct emu_module *module; /* lives as long as the process */
};
struct function {
    struct object base;
    struct library *library;
    const struct emu_kernel *kernel;
};

static void free_function(struct object *o)
{
    emu_release(((struct function *)o)->library);
}

static void free_pipeline(struct object *o)
{
    emu_release(((struct pipeline *)o)->function);
}

struct class emu_options = {.name = "MTLCompileOptions", .size = sizeof(struct options)};
struct class emu_device = {.name = "MTLDevice", .size = sizeof(struct object)};
struct class emu_library = {.name = "MTLLibrary", .size = sizeof(struct library)};
struct class emu_function = {.name = "MTLFunction", .size = sizeof(struct function), .dealloc = free_function};
struct class emu_pipeline = {
    .name = "MTLComputePipelineState", .size = sizeof(struct pipeline), .dealloc = free_pipeline};

__attribute__((visibility("default"))) struct object *MTLCreateSystemDefaultDevice(void);

struct object *MTLCreateSystemDefaultDevice(void)
{
    static struct object *device;
    if (getenv("METAL_EMULATOR_NO_DEVICE"))
        return NULL;
    if (!device || device->n_refs == 0)
        device = emu_new(&emu_device);
    else
        emu_retain(device);
    return device;
}

/* ---- what it says of itself ---- */

static struct object *device_name(struct object *self, selector name)
{
    (void)self;
    (void)name;
    return emu_autorelease(emu_string_new("Metal emulator (this processor)"));
}

/* METAL_EMULATOR_FAMILY: the newest generation of Apple's GPUs, as in Apple7. */
static bool supports_family(struct object *self, selector name, long family)
{
    (void)self;
    (void)name;
    const char *set = getenv("METAL_EMULATOR_FAMILY");
    long newest = set ? atol(set) : 7;
    return (family > 1000 && family <= 1000 + newest) || (family == 5001 && newest >= 7);
}

static bool has_unified_memory(struct object *self, selector name)
{
    (void)self;
    (void)name;
    return true;
}

static uint64_t working_set(struct object *self, selector name)
{
    (void)self;
    (void)name;
    const char *set = getenv("METAL_EMULATOR_WORKING_SET");
    return set ? strtoull(set, NULL, 10) : 8ull << 30;
}

static word allocated_size(struct object *self, selector name)
{
    (void)self;
    (void)name;
    return emu_bytes_of_buffers();
}

static word max_shared(struct object *self, selector name)
{
    (void)self;
    (void)name;
    return 32768;
}

/* ---- libraries ---- */

static void set_language(struct options *self, selector name, word version)
{
    (void)name;
    self->language = version;
}

static void set_math(struct options *self, selector name, long mode)
{
    (void)name;
    if (mode < 0 || mode > 2)
        emu_misuse("setMathMode: 0, 1 or 2 (found %ld)", mode);
    self->math = mode;
}

static void set_fast_math(struct options *self, selector name, bool fast)
{
    (void)name;
    self->math = fast ? 2 : 0;
}

static struct object *new_library(struct object *self, selector name, struct object *source, struct options *options,
                                  struct object **error)
{
    (void)self;
    (void)name;
    char *messages = NULL;
    struct emu_module *m = emu_compile(emu_text(source), options ? options->language : 0, &messages);
    if (!m) {
        emu_fail(error, "program_source: compilation failed:\n%s", messages);
        free(messages);
        return NULL;
    }
    struct library *l = emu_new(&emu_library);
    l->module = m;
    return &l->base;
}

static struct object *new_function(struct library *self, selector name, struct object *wanted)
{
    (void)name;
    for (const struct emu_kernel *k = self->module->kernels; k->name; k++)
        if (strcmp(k->name, emu_text(wanted)) == 0) {
            struct function *f = emu_new(&emu_function);
            f->library = emu_retain(self);
            f->kernel = k;
            return &f->base;
        }
    return NULL;
}

static struct object *new_pipeline(struct object *self, selector name, struct function *f, struct object **error)
{
    (void)self;
    (void)name;
    if (!f) {
        emu_fail(error, "computeFunction must not be nil");
        return NULL;
    }
    struct pipeline *p = emu_new(&emu_pipeline);
    p->function = emu_retain(f);
    p->kernel = f->kernel;
    p->module = f->library->module;
    return &p->base;
}

static word max_threads(struct pipeline *self, selector name)
{
    (void)self;
    (void)name;
    return EMU_MAX_THREADS;
}

static word width(struct pipeline *self, selector name)
{
    (void)self;
    (void)name;
    return EMU_WARP;
}

const struct method emu_device_methods[] = {
    METHOD(emu_device, "name", device_name),
    METHOD(emu_device, "supportsFamily:", supports_family),
    METHOD(emu_device, "hasUnifiedMemory", has_unified_memory),
    METHOD(emu_device, "recommendedMaxWorkingSetSize", working_set),
    METHOD(emu_device, "currentAllocatedSize", allocated_size),
    METHOD(emu_device, "maxThreadgroupMemoryLength", max_shared),
    METHOD(emu_device, "newLibraryWithSource:options:error:", new_library),
    METHOD(emu_device, "newComputePipelineStateWithFunction:error:", new_pipeline),
    METHOD(emu_options, "setLanguageVersion:", set_language),
    METHOD(emu_options, "setMathMode:", set_math),
    METHOD(emu_options, "setFastMathEnabled:", set_fast_math),
    METHOD(emu_library, "newFunctionWithName:", new_function),
    METHOD(emu_pipeline, "maxTotalThreadsPerThreadgroup", max_threads),
    METHOD(emu_pipeline, "threadExecutionWidth", width),
    {0}};
