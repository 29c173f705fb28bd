/* Queues, command buffers, encoders and fences.
 *
 * An encoder records; nothing runs before the host waits for a command buffer. A host that reads results without
 * waiting, or releases memory that a running step uses, is noticed that way. */
#include "emulator.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { NOT_COMMITTED = 0, COMMITTED = 2, COMPLETED = 4, FAILED = 5, MAX_QUEUED = 64 };
enum { SERIAL, CONCURRENT, SCOPE_BUFFERS = 1, MAX_BYTES = 4096, MAX_SHARED = 32768 };

struct fence {
    struct object base;
    long updated_by; /* encoder; 0: none */
    long known;      /* of that encoder */
};
struct queue {
    struct object base;
    struct commands *first, *last; /* committed, in order */
};
struct commands {
    struct object base;
    struct queue *queue;
    struct commands *next;
    int status;
    long last_encoder;
    bool open; /* an encoder has not ended */
    struct command *list;
    size_t n, cap;
    struct buffer **used; /* by useResources */
    size_t n_used;
    uint32_t known; /* dispatches up to this were complete when it was committed */
    char *fault;
    double start, end;
};
struct encoder {
    struct object base;
    struct commands *commands;
    struct command now; /* what is set for the next dispatch */
    struct pipeline *pipeline;
    long number;
    long known; /* encoders up to this are complete before it begins */
    bool serial, ended, any;
};
struct size {
    word width, height, depth;
};

static long n_encoders;    /* of the process */
static long done_encoders; /* encoders up to this ran in command buffers that the host has waited for */

static void run_until(struct queue *q, const struct commands *wanted);

static void free_queue(struct object *o)
{
    struct queue *q = (struct queue *)o;
    run_until(q, NULL);
}

static void free_commands(struct object *o)
{
    struct commands *c = (struct commands *)o;
    if (c->open)
        emu_misuse("a command buffer goes away with an encoder that has not ended");
    for (size_t i = 0; i < c->n; i++)
        for (int b = 0; b < EMU_MAX_BINDINGS; b++)
            free(c->list[i].bytes[b]);
    free(c->list);
    free(c->used);
    free(c->fault);
    emu_release(c->queue);
}

static void free_encoder(struct object *o)
{
    struct encoder *e = (struct encoder *)o;
    if (!e->ended)
        emu_misuse("a command encoder goes away without endEncoding");
    for (int b = 0; b < EMU_MAX_BINDINGS; b++)
        free(e->now.bytes[b]);
    emu_release(e->pipeline);
    emu_release(e->commands);
}

struct class emu_queue = {.name = "MTLCommandQueue", .size = sizeof(struct queue), .dealloc = free_queue};
struct class emu_fence = {.name = "MTLFence", .size = sizeof(struct fence)};
struct class emu_commands = {.name = "MTLCommandBuffer", .size = sizeof(struct commands), .dealloc = free_commands};
struct class emu_encoder = {
    .name = "MTLComputeCommandEncoder", .size = sizeof(struct encoder), .dealloc = free_encoder};

/* ---- queues and command buffers ---- */

static struct object *new_queue(struct object *self, selector name)
{
    (void)self;
    (void)name;
    return emu_new(&emu_queue);
}

static struct object *new_fence(struct object *self, selector name)
{
    (void)self;
    (void)name;
    return emu_new(&emu_fence);
}

static void add_set(struct queue *self, selector name, struct object *set)
{
    (void)self;
    (void)name;
    emu_attach_set(set);
}

static struct object *command_buffer(struct queue *self, selector name)
{
    (void)name;
    int n = 0;
    for (struct commands *c = self->first; c; c = c->next)
        n++;
    if (n >= MAX_QUEUED)
        emu_misuse("%d command buffers of a queue are not completed: commandBuffer would block", n);
    struct commands *c = emu_new(&emu_commands);
    c->queue = emu_retain(self);
    return emu_autorelease(c);
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void run(struct commands *c)
{
    c->start = seconds();
    c->status = COMPLETED;
    for (size_t i = 0; i < c->n && c->status == COMPLETED; i++) {
        c->list[i].used = c->used;
        c->list[i].n_used = c->n_used;
        c->list[i].known_dispatch = c->known;
        if (!emu_dispatch(&c->list[i], &c->fault)) {
            fprintf(stderr, "Metal emulator: %s\n", c->fault);
            c->status = FAILED;
        }
    }
    c->end = seconds();
    if (c->last_encoder > done_encoders)
        done_encoders = c->last_encoder;
}

/* Runs what is committed, in order, up to `wanted` (NULL: all). */
static void run_until(struct queue *q, const struct commands *wanted)
{
    while (q->first) {
        struct commands *c = q->first;
        run(c);
        q->first = c->next;
        if (!q->first)
            q->last = NULL;
        bool done = c == wanted;
        emu_release(c);
        if (done)
            break;
    }
    emu_all_complete();
}

static void commit(struct commands *self, selector name)
{
    (void)name;
    if (self->status != NOT_COMMITTED)
        emu_misuse("commit of a command buffer that is committed already");
    if (self->open)
        emu_misuse("commit of a command buffer with an encoder that has not ended");
    self->status = COMMITTED;
    self->known = emu_n_complete();
    emu_retain(self);
    if (self->queue->last)
        self->queue->last->next = self;
    else
        self->queue->first = self;
    self->queue->last = self;
}

static void wait_until_completed(struct commands *self, selector name)
{
    (void)name;
    if (self->status == NOT_COMMITTED)
        emu_misuse("waitUntilCompleted before commit");
    if (self->status == COMMITTED)
        run_until(self->queue, self);
}

static word status_of(struct commands *self, selector name)
{
    (void)name;
    return (word)self->status;
}

static struct object *error_of(struct commands *self, selector name)
{
    (void)name;
    struct object *error = NULL;
    if (self->status == FAILED)
        emu_fail(&error, "%s", self->fault);
    return error;
}

static double start_of(struct commands *self, selector name)
{
    (void)name;
    return self->start;
}

static double end_of(struct commands *self, selector name)
{
    (void)name;
    return self->end;
}

/* ---- encoders ---- */

static struct object *new_encoder(struct commands *self, selector name, word type)
{
    (void)name;
    if (self->status != NOT_COMMITTED || self->open)
        emu_misuse("computeCommandEncoder of a command buffer that %s",
                   self->open ? "has an encoder which has not ended" : "is committed");
    if (type > CONCURRENT)
        emu_misuse("dispatch type 0 or 1 (found %lu)", type);
    struct encoder *e = emu_new(&emu_encoder);
    e->commands = emu_retain(self);
    e->number = self->last_encoder = ++n_encoders;
    e->known = done_encoders;
    e->serial = type == SERIAL;
    self->open = true;
    return emu_autorelease(e);
}

static void check_open(const struct encoder *e, const char *what)
{
    if (e->ended)
        emu_misuse("%s after endEncoding", what);
}

static void set_pipeline(struct encoder *self, selector name, struct pipeline *p)
{
    (void)name;
    check_open(self, "setComputePipelineState");
    emu_retain(p);
    emu_release(self->pipeline);
    self->pipeline = p;
}

static void check_index(word index)
{
    if (index >= EMU_MAX_BINDINGS)
        emu_misuse("index %lu of an argument (allowed 0..%d)", index, EMU_MAX_BINDINGS - 1);
}

static void set_bytes(struct encoder *self, selector name, const void *bytes, word length, word index)
{
    (void)name;
    check_open(self, "setBytes");
    check_index(index);
    if (length == 0 || length > MAX_BYTES)
        emu_misuse("setBytes: 1..%d bytes (found %lu)", MAX_BYTES, length);
    free(self->now.bytes[index]);
    self->now.bytes[index] = malloc(length);
    if (!self->now.bytes[index])
        abort();
    memcpy(self->now.bytes[index], bytes, length);
    self->now.n_bytes[index] = length;
    self->now.buffers[index] = NULL;
}

static void set_buffer(struct encoder *self, selector name, struct buffer *b, word offset, word index)
{
    (void)name;
    check_open(self, "setBuffer");
    check_index(index);
    if (b && offset >= b->size)
        emu_misuse("setBuffer: offset %lu in a buffer of %zu bytes", offset, b->size);
    free(self->now.bytes[index]);
    self->now.bytes[index] = NULL;
    self->now.buffers[index] = b;
    self->now.offsets[index] = offset;
}

static void set_shared(struct encoder *self, selector name, word length, word index)
{
    (void)name;
    check_open(self, "setThreadgroupMemoryLength");
    check_index(index);
    if (length % 16)
        emu_misuse("setThreadgroupMemoryLength: multiples of 16 (found %lu)", length);
    self->now.shared[index] = length;
}

static void use_resources(struct encoder *self, selector name, struct buffer *const *list, word n, word usage)
{
    (void)name;
    check_open(self, "useResources");
    if (usage == 0 || usage > 3)
        emu_misuse("useResources: usage 1..3 (found %lu)", usage);
    struct commands *c = self->commands;
    c->used = realloc(c->used, (c->n_used + n) * sizeof *c->used);
    if (!c->used)
        abort();
    memcpy(c->used + c->n_used, list, n * sizeof *list);
    c->n_used += n;
}

static void wait_for_fence(struct encoder *self, selector name, struct fence *f)
{
    (void)name;
    check_open(self, "waitForFence");
    if (self->any)
        emu_misuse("waitForFence: after a dispatch it orders nothing");
    if (f->updated_by == self->number)
        emu_misuse("waitForFence: the same encoder updates the fence before");
    long known = f->known >= f->updated_by - 1 ? f->updated_by : f->known;
    if (f->updated_by && known > self->known)
        self->known = known;
}

static void update_fence(struct encoder *self, selector name, struct fence *f)
{
    (void)name;
    check_open(self, "updateFence");
    f->updated_by = self->number;
    f->known = self->known;
}

static void barrier(struct encoder *self, selector name, word scope)
{
    (void)name;
    check_open(self, "memoryBarrierWithScope");
    if (!(scope & SCOPE_BUFFERS))
        emu_misuse("memoryBarrierWithScope: the scope leaves out buffers (found %lu)", scope);
    self->now.ordered = true;
}

static struct command *record(struct commands *c)
{
    if (c->n == c->cap) {
        c->cap = c->cap ? 2 * c->cap : 64;
        c->list = realloc(c->list, c->cap * sizeof *c->list);
        if (!c->list)
            abort();
    }
    return &c->list[c->n++];
}

static void check_bindings(const struct command *c)
{
    for (int i = 0; i < c->kernel->n_parameters; i++) {
        struct emu_parameter p = c->kernel->parameters[i];
        if (p.kind == EMU_BUFFER && !c->bytes[p.index] && !c->buffers[p.index])
            emu_misuse("kernel %s: buffer(%d) is not set", c->kernel->name, p.index);
        if (p.kind == EMU_SHARED && !c->shared[p.index])
            emu_misuse("kernel %s: threadgroup(%d) has no length", c->kernel->name, p.index);
    }
    size_t shared = 0;
    for (int i = 0; i < EMU_MAX_BINDINGS; i++)
        shared += c->shared[i];
    if (shared > MAX_SHARED)
        emu_misuse("kernel %s: %zu bytes of threadgroup memory (allowed %d)", c->kernel->name, shared, MAX_SHARED);
}

static void dispatch(struct encoder *self, selector name, struct size groups, struct size threads)
{
    (void)name;
    check_open(self, "dispatchThreadgroups");
    if (!self->pipeline)
        emu_misuse("dispatchThreadgroups without a pipeline");
    word n = threads.width * threads.height * threads.depth;
    if (n == 0 || n > EMU_MAX_THREADS)
        emu_misuse("kernel %s: %lu threads in a group (allowed 1..%d)", self->pipeline->kernel->name, n,
                   EMU_MAX_THREADS);
    if (groups.width == 0 || groups.height == 0 || groups.depth == 0)
        emu_misuse("kernel %s: a grid of %lu x %lu x %lu groups", self->pipeline->kernel->name, groups.width,
                   groups.height, groups.depth);
    struct command *c = &self->now;
    c->kernel = self->pipeline->kernel;
    c->module = self->pipeline->module;
    c->groups[0] = (unsigned)groups.width;
    c->groups[1] = (unsigned)groups.height;
    c->groups[2] = (unsigned)groups.depth;
    c->threads[0] = (unsigned)threads.width;
    c->threads[1] = (unsigned)threads.height;
    c->threads[2] = (unsigned)threads.depth;
    c->encoder = self->number;
    c->known_encoder = self->known;
    c->ordered = c->ordered || self->serial;
    check_bindings(c);
    struct command *kept = record(self->commands);
    *kept = *c;
    for (int b = 0; b < EMU_MAX_BINDINGS; b++)
        if (c->bytes[b]) {
            kept->bytes[b] = malloc(c->n_bytes[b]);
            if (!kept->bytes[b])
                abort();
            memcpy(kept->bytes[b], c->bytes[b], c->n_bytes[b]);
        }
    c->ordered = false;
    self->any = true;
}

static void end_encoding(struct encoder *self, selector name)
{
    (void)name;
    check_open(self, "endEncoding");
    self->ended = true;
    self->commands->open = false;
}

const struct method emu_command_methods[] = {
    METHOD(emu_device, "newCommandQueue", new_queue),
    METHOD(emu_device, "newFence", new_fence),
    METHOD(emu_queue, "addResidencySet:", add_set),
    METHOD(emu_queue, "commandBuffer", command_buffer),
    METHOD(emu_queue, "commandBufferWithUnretainedReferences", command_buffer),
    METHOD(emu_commands, "computeCommandEncoderWithDispatchType:", new_encoder),
    METHOD(emu_commands, "commit", commit),
    METHOD(emu_commands, "waitUntilCompleted", wait_until_completed),
    METHOD(emu_commands, "status", status_of),
    METHOD(emu_commands, "error", error_of),
    METHOD(emu_commands, "GPUStartTime", start_of),
    METHOD(emu_commands, "GPUEndTime", end_of),
    METHOD(emu_encoder, "setComputePipelineState:", set_pipeline),
    METHOD(emu_encoder, "setBytes:length:atIndex:", set_bytes),
    METHOD(emu_encoder, "setBuffer:offset:atIndex:", set_buffer),
    METHOD(emu_encoder, "setThreadgroupMemoryLength:atIndex:", set_shared),
    METHOD(emu_encoder, "useResources:count:usage:", use_resources),
    METHOD(emu_encoder, "waitForFence:", wait_for_fence),
    METHOD(emu_encoder, "updateFence:", update_fence),
    METHOD(emu_encoder, "memoryBarrierWithScope:", barrier),
    METHOD(emu_encoder, "dispatchThreadgroups:threadsPerThreadgroup:", dispatch),
    METHOD(emu_encoder, "endEncoding", end_encoding),
    {0}};
