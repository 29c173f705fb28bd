/* The emulator's own parts: objects of the Objective-C runtime, memory of the GPU, compiled kernels and their
 * execution. README.md says what the emulator is. Calls come from one thread at a time, as the driver promises. */
#ifndef METAL_EMULATOR_H
#define METAL_EMULATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernel_abi.h"

/* ---- objects (objc.c) ---- */

typedef unsigned long word; /* NSUInteger */
typedef const char *selector;

struct object;
struct class
{
    const struct class *isa; /* as in an object: a class is one, of the class of classes */
    const char *name;
    size_t size;
    void (*dealloc)(struct object *self);
    long n_live;
};
struct object {
    const struct class *isa;
    long n_refs; /* 0 once it is gone; the memory stays, so that later use is noticed */
};

/* Of objects of `class` and its selector; class NULL: of every object. `on_class`: sent to the class itself. */
struct method {
    struct class *class;
    const char *selector;
    void (*call)(void);
    bool on_class;
};
#define METHOD(class, name, function)                                                                                  \
    {                                                                                                                  \
        &class, name, (void (*)(void))(function), false                                                                \
    }
#define CLASS_METHOD(class, name, function)                                                                            \
    {                                                                                                                  \
        &class, name, (void (*)(void))(function), true                                                                 \
    }

extern struct class emu_string, emu_error, emu_process, emu_options, emu_device, emu_library, emu_function,
    emu_pipeline, emu_buffer, emu_set_descriptor, emu_set, emu_queue, emu_fence, emu_commands, emu_encoder;
/* Each ends with a method without a selector. */
extern const struct method emu_object_methods[], emu_foundation_methods[], emu_device_methods[], emu_memory_methods[],
    emu_command_methods[];

void *emu_new(struct class *class); /* with one reference */
void *emu_retain(void *object);
void emu_release(void *object);
void *emu_autorelease(void *object);
struct object *emu_string_new(const char *text);
const char *emu_text(const struct object *string);
/* Sets *out, if there is an out, to an autoreleased error. */
void emu_fail(struct object **out, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The host used Metal wrongly: says how, and ends the process. */
void emu_misuse(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* ---- memory (memory.c) ---- */

enum { EMU_PAGE = 16384 /* Apple silicon's */, EMU_MARGIN = 4096 /* around a group's memory */ };

struct buffer {
    struct object base;
    char *host; /* for the host; of wrapped memory both are the same */
    char *gpu;
    size_t size;
    bool wrapped;
    int n_sets;             /* residency sets that have it, committed and attached to a queue */
    struct emu_cell *cells; /* who accessed each four bytes; NULL until something did */
};

/* The buffer with this address on the GPU, or as an address of the host, or NULL. */
struct buffer *emu_buffer_at(const void *gpu);
struct buffer *emu_buffer_at_host(const void *host);
uint64_t emu_bytes_of_buffers(void);
void emu_attach_set(struct object *set);

/* ---- kernels (compile.c, scan.c) ---- */

struct emu_module {
    void *handle;
    const struct emu_kernel *kernels; /* ends with one without a name */
    const char *start, *end;          /* where it is in memory */
};

/* Compiles a Metal source. NULL with the compiler's messages in *messages (to be freed). */
struct emu_module *emu_compile(const char *source, word language, char **messages);
/* Rewrites preprocessed Metal as C++ with a table of its kernels; NULL with a message. To be freed. */
char *emu_translate(const char *preprocessed, char **message);

struct pipeline {
    struct object base;
    void *function;
    const struct emu_kernel *kernel;
    const struct emu_module *module;
};

/* ---- execution (execute.c, fibers.c, access.c) ---- */

struct command {
    const struct emu_kernel *kernel;
    const struct emu_module *module;
    char *bytes[EMU_MAX_BINDINGS];
    size_t n_bytes[EMU_MAX_BINDINGS];
    struct buffer *buffers[EMU_MAX_BINDINGS];
    size_t offsets[EMU_MAX_BINDINGS];
    size_t shared[EMU_MAX_BINDINGS];
    unsigned groups[3], threads[3];
    struct buffer **used; /* that its command buffer made resident with useResources */
    size_t n_used;
    long encoder;
    long known_encoder;      /* encoders up to this are complete before this one begins */
    uint32_t known_dispatch; /* dispatches up to this were complete when the host committed it */
    bool ordered;            /* after everything before it in its encoder */
};

/* Runs one dispatch. False if the kernel did something wrong: *fault is what (to be freed). */
bool emu_dispatch(const struct command *c, char **fault);
/* Everything before is complete: the host waited. */
void emu_all_complete(void);
/* The last dispatch that is. */
uint32_t emu_n_complete(void);
/* Whether an earlier dispatch may still run beside the current one. */
bool emu_is_concurrent(uint32_t dispatch);
const char *emu_kernel_of(uint32_t dispatch);

/* What access.c must know of the running thread. */
struct emu_now {
    const struct command *command;
    uint32_t dispatch; /* counted from 1 */
    uint32_t group;
    unsigned group_at[3];
    uint16_t thread, epoch, warp_epoch; /* epochs count barriers */
    char *stack, *stack_end;            /* of the thread */
    char *shared[EMU_MAX_BINDINGS];
    struct emu_cell *shared_cells[EMU_MAX_BINDINGS];
};
extern struct emu_now emu_now;

/* A kernel's fault: ends the dispatch; does not return to the kernel. (fibers.c) */
void emu_fault(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
/* Runs all groups of emu_now.command. NULL, or the fault (to be freed). */
char *emu_run_groups(const struct emu_thread *bindings);

struct emu_cell *emu_new_cells(size_t bytes);
void emu_free_cells(struct emu_cell *cells, size_t bytes);

enum emu_order { EMU_FORWARD, EMU_REVERSED, EMU_SHUFFLED };
enum emu_order emu_order(void); /* METAL_EMULATOR_ORDER */

#endif
