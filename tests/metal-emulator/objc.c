/* The Objective-C runtime as far as the driver needs it: classes, selectors, messages, references and pools. */
#include "emulator.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
enum { MAX_SELECTORS = 512, MAX_POOLED = 4096 };

static const struct class class_of_classes = {.name = "class"};

void emu_misuse(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("Metal emulator: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    abort();
}

/* ---- references ---- */

void *emu_new(struct class *class)
{
    struct object *o = calloc(1, class->size);
    if (!o)
        emu_misuse("out of memory for a %s", class->name);
    o->isa = class;
    o->n_refs = 1;
    class->n_live++;
    return o;
}

static void check_alive(const struct object *o, const char *what)
{
    if (o->n_refs <= 0)
        emu_misuse("%s of a %s that is gone already", what, o->isa->name);
}

void *emu_retain(void *object)
{
    struct object *o = object;
    if (o) {
        check_alive(o, "retain");
        o->n_refs++;
    }
    return o;
}

void emu_release(void *object)
{
    struct object *o = object;
    if (!o)
        return;
    check_alive(o, "release");
    if (--o->n_refs > 0)
        return;
    struct class *class = (struct class *)o->isa;
    if (class->dealloc)
        class->dealloc(o);
    class->n_live--;
}

/* ---- pools, one stack per thread ---- */

static _Thread_local struct object *pooled[MAX_POOLED];
static _Thread_local size_t n_pooled;
static _Thread_local int n_pools;

void *emu_autorelease(void *object)
{
    struct object *o = object;
    if (!n_pools)
        emu_misuse("a %s leaks: it is autoreleased without a pool", o->isa->name);
    if (n_pooled == MAX_POOLED)
        emu_misuse("%d objects are in autorelease pools: drain them more often", MAX_POOLED);
    return pooled[n_pooled++] = o;
}

EXPORT void *objc_autoreleasePoolPush(void);
EXPORT void objc_autoreleasePoolPop(void *pool);

void *objc_autoreleasePoolPush(void)
{
    n_pools++;
    return &pooled[n_pooled];
}

void objc_autoreleasePoolPop(void *pool)
{
    struct object **bottom = pool;
    if (!n_pools || bottom < pooled || bottom > &pooled[n_pooled])
        emu_misuse("an autorelease pool is drained on another thread, or twice");
    while (&pooled[n_pooled] > bottom)
        emu_release(pooled[--n_pooled]);
    n_pools--;
}

/* ---- selectors, classes, messages ---- */

static struct class *const classes[] = {&emu_string,  &emu_error,    &emu_process,  &emu_options,  &emu_device,
                                        &emu_library, &emu_function, &emu_pipeline, &emu_buffer,   &emu_set_descriptor,
                                        &emu_set,     &emu_queue,    &emu_fence,    &emu_commands, &emu_encoder};
enum { N_CLASSES = sizeof classes / sizeof *classes };
static const struct method *const tables[] = {emu_object_methods, emu_foundation_methods, emu_device_methods,
                                              emu_memory_methods, emu_command_methods};

EXPORT selector sel_registerName(const char *name);
EXPORT void *objc_getClass(const char *name);
EXPORT long metal_emulator_live(const char *name);

selector sel_registerName(const char *name)
{
    static char *selectors[MAX_SELECTORS];
    static int n;
    for (int i = 0; i < n; i++)
        if (strcmp(selectors[i], name) == 0)
            return selectors[i];
    if (n == MAX_SELECTORS)
        emu_misuse("more than %d selectors", MAX_SELECTORS);
    return selectors[n++] = strdup(name);
}

void *objc_getClass(const char *name)
{
    for (int i = 0; i < N_CLASSES; i++)
        if (strcmp(classes[i]->name, name) == 0) {
            classes[i]->isa = &class_of_classes;
            return classes[i];
        }
    return NULL;
}

/* For tests: the objects of a class that are alive; of all classes but the constant strings if `name` is NULL. */
long metal_emulator_live(const char *name)
{
    long n = 0;
    for (int i = 0; i < N_CLASSES; i++)
        if (!name || strcmp(classes[i]->name, name) == 0)
            n += classes[i]->n_live;
    return n;
}

typedef void (*function)(void);

static function find(const struct class *class, selector name, bool on_class)
{
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
        for (const struct method *m = tables[t]; m->selector; m++)
            if ((!m->class || m->class == class) && m->on_class == on_class && strcmp(m->selector, name) == 0)
                return m->call;
    return NULL;
}

__attribute__((used, visibility("hidden"))) function emu_lookup(struct object *self, selector name);

/* The function that a message calls. */
function emu_lookup(struct object *self, selector name)
{
    static struct {
        const struct class *class;
        selector name;
        void (*call)(void);
    } cache[256];
    bool on_class = self->isa == &class_of_classes;
    const struct class *class = on_class ? (const struct class *)self : self->isa;
    if (!on_class && self->n_refs <= 0)
        emu_misuse("-[%s %s] is sent to an object that is gone", class->name, name);
    unsigned at = (unsigned)(((uintptr_t) class >> 4 ^ (uintptr_t)name >> 3) % 256);
    if (!on_class && cache[at].class == class && cache[at].name == name)
        return cache[at].call;
    void (*call)(void) = find(class, name, on_class);
    if (!call)
        emu_misuse("%c[%s %s]: unrecognized selector", on_class ? '+' : '-', class->name, name);
    if (!on_class) {
        cache[at].class = class;
        cache[at].name = name;
        cache[at].call = call;
    }
    return call;
}

/* Finds the method and jumps to it with all registers of arguments as they were; to nil: returns 0. */
#if defined(__x86_64__)
__asm__(".text\n.globl objc_msgSend\n.type objc_msgSend,@function\nobjc_msgSend:\n"
        "    test %rdi, %rdi\n    jz 1f\n"
        "    push %rdi\n    push %rsi\n    push %rdx\n    push %rcx\n    push %r8\n    push %r9\n    push %rax\n"
        "    sub $64, %rsp\n"
        "    movq %xmm0, (%rsp)\n    movq %xmm1, 8(%rsp)\n    movq %xmm2, 16(%rsp)\n    movq %xmm3, 24(%rsp)\n"
        "    call emu_lookup\n    mov %rax, %r11\n"
        "    movq (%rsp), %xmm0\n    movq 8(%rsp), %xmm1\n    movq 16(%rsp), %xmm2\n    movq 24(%rsp), %xmm3\n"
        "    add $64, %rsp\n"
        "    pop %rax\n    pop %r9\n    pop %r8\n    pop %rcx\n    pop %rdx\n    pop %rsi\n    pop %rdi\n"
        "    jmp *%r11\n"
        "1:  xor %eax, %eax\n    xor %edx, %edx\n    xorps %xmm0, %xmm0\n    ret\n"
        ".size objc_msgSend, .-objc_msgSend\n");
#elif defined(__aarch64__)
__asm__(".text\n.globl objc_msgSend\n.type objc_msgSend,%function\nobjc_msgSend:\n"
        "    cbz x0, 1f\n"
        "    stp x29, x30, [sp, #-144]!\n    mov x29, sp\n"
        "    stp x0, x1, [sp, #16]\n    stp x2, x3, [sp, #32]\n    stp x4, x5, [sp, #48]\n    stp x6, x7, [sp, #64]\n"
        "    str x8, [sp, #80]\n    stp d0, d1, [sp, #96]\n    stp d2, d3, [sp, #112]\n"
        "    bl emu_lookup\n    mov x16, x0\n"
        "    ldp x0, x1, [sp, #16]\n    ldp x2, x3, [sp, #32]\n    ldp x4, x5, [sp, #48]\n    ldp x6, x7, [sp, #64]\n"
        "    ldr x8, [sp, #80]\n    ldp d0, d1, [sp, #96]\n    ldp d2, d3, [sp, #112]\n"
        "    ldp x29, x30, [sp], #144\n    br x16\n"
        "1:  mov x1, #0\n    movi d0, #0\n    ret\n"
        ".size objc_msgSend, .-objc_msgSend\n");
#else
#error "the emulator knows the calls of x86-64 and arm64"
#endif

/* ---- what every object answers ---- */

static struct object *allocate(struct class *self, selector name)
{
    (void)name;
    return emu_new(self);
}

static struct object *itself(struct object *self, selector name)
{
    (void)name;
    return self;
}

static struct object *retain(struct object *self, selector name)
{
    (void)name;
    return emu_retain(self);
}

static void release(struct object *self, selector name)
{
    (void)name;
    emu_release(self);
}

static bool responds(struct object *self, selector name, selector asked)
{
    (void)name;
    const char *hidden = getenv("METAL_EMULATOR_WITHOUT"); /* selectors that an older system lacks */
    const char *at = hidden ? strstr(hidden, asked) : NULL;
    return !at && find(self->isa, asked, false) != NULL;
}

const struct method emu_object_methods[] = {{NULL, "alloc", (void (*)(void))allocate, true},
                                            {NULL, "init", (void (*)(void))itself, false},
                                            {NULL, "retain", (void (*)(void))retain, false},
                                            {NULL, "release", (void (*)(void))release, false},
                                            {NULL, "respondsToSelector:", (void (*)(void))responds, false},
                                            {0}};
