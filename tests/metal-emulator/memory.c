/* Buffers and residency sets.
 *
 * A buffer that Metal allocates is mapped twice, at one address for the host and another for kernels, so that code
 * which mixes them up does not work by chance. Guard pages surround the one for kernels. */
#include "emulator.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct buffer **buffers; /* sorted by their address on the GPU */
static size_t n_buffers, cap_buffers;

struct set {
    struct object base;
    struct buffer **added; /* changes are in force after `commit` */
    size_t n_added, cap_added;
    struct buffer **committed;
    size_t n_committed;
    bool attached, requested;
};

static size_t whole_pages(size_t size)
{
    return (size + EMU_PAGE - 1) / EMU_PAGE * EMU_PAGE;
}

static void free_buffer(struct object *o)
{
    struct buffer *b = (struct buffer *)o;
    size_t at = 0;
    while (buffers[at] != b)
        at++;
    memmove(buffers + at, buffers + at + 1, (--n_buffers - at) * sizeof *buffers);
    emu_free_cells(b->cells, b->size);
    if (!b->wrapped) {
        munmap(b->host, whole_pages(b->size));
        munmap(b->gpu - EMU_PAGE, whole_pages(b->size) + 2 * EMU_PAGE);
    }
}

static void free_set(struct object *o)
{
    struct set *s = (struct set *)o;
    for (size_t i = 0; i < s->n_committed; i++)
        s->committed[i]->n_sets -= s->attached;
    for (size_t i = 0; i < s->n_added; i++)
        emu_release(s->added[i]);
    for (size_t i = 0; i < s->n_committed; i++)
        emu_release(s->committed[i]);
    free(s->added);
    free(s->committed);
}

struct class emu_buffer = {.name = "MTLBuffer", .size = sizeof(struct buffer), .dealloc = free_buffer};
struct class emu_set_descriptor = {.name = "MTLResidencySetDescriptor", .size = sizeof(struct object)};
struct class emu_set = {.name = "MTLResidencySet", .size = sizeof(struct set), .dealloc = free_set};

/* ---- buffers ---- */

static void insert(struct buffer *b)
{
    if (n_buffers == cap_buffers) {
        cap_buffers = cap_buffers ? 2 * cap_buffers : 64;
        buffers = realloc(buffers, cap_buffers * sizeof *buffers);
        if (!buffers)
            abort();
    }
    size_t at = n_buffers++;
    for (; at > 0 && buffers[at - 1]->gpu > b->gpu; at--)
        buffers[at] = buffers[at - 1];
    buffers[at] = b;
}

struct buffer *emu_buffer_at(const void *gpu)
{
    size_t low = 0, high = n_buffers;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (buffers[middle]->gpu <= (const char *)gpu)
            low = middle + 1;
        else
            high = middle;
    }
    /* Wrapped ranges may overlap: the one that begins last need not be the one. */
    for (size_t i = low; i > 0 && low - i < 64; i--)
        if ((const char *)gpu < buffers[i - 1]->gpu + buffers[i - 1]->size)
            return buffers[i - 1];
    return NULL;
}

struct buffer *emu_buffer_at_host(const void *host)
{
    for (size_t i = 0; i < n_buffers; i++)
        if ((const char *)host >= buffers[i]->host && (const char *)host < buffers[i]->host + buffers[i]->size)
            return buffers[i];
    return NULL;
}

uint64_t emu_bytes_of_buffers(void)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n_buffers; i++)
        sum += buffers[i]->size;
    return sum;
}

static bool map_twice(struct buffer *b)
{
    size_t size = whole_pages(b->size);
    int fd = memfd_create("buffer", MFD_CLOEXEC);
    char *gpu = mmap(NULL, size + 2 * EMU_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    void *host = MAP_FAILED;
    if (fd >= 0 && gpu != MAP_FAILED && ftruncate(fd, (off_t)size) == 0 &&
        mmap(gpu + EMU_PAGE, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED)
        host = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0)
        close(fd);
    if (host == MAP_FAILED)
        return false;
    b->host = host;
    b->gpu = gpu + EMU_PAGE;
    return true;
}

static word max_length(void)
{
    const char *set = getenv("METAL_EMULATOR_MAX_BUFFER");
    return set ? strtoul(set, NULL, 10) : 1ul << 36;
}

static word device_max_length(struct object *self, selector name)
{
    (void)self;
    (void)name;
    return max_length();
}

static void check_options(word options)
{
    if (options & ~(word)0x3FF || (options & 0x300) == 0x300)
        emu_misuse("unknown resource options %#lx", options);
    if (options >> 4 & 15)
        emu_misuse("the host cannot access memory with these resource options (found %#lx, expected shared)", options);
}

static struct object *new_buffer(struct object *self, selector name, word length, word options)
{
    (void)self;
    (void)name;
    check_options(options);
    if (length == 0)
        emu_misuse("a buffer's length is 0");
    if (length > max_length())
        return NULL;
    struct buffer *b = emu_new(&emu_buffer);
    b->size = length;
    if (!map_twice(b))
        emu_misuse("out of memory for a buffer of %lu bytes", length);
    insert(b);
    return &b->base;
}

static struct object *new_wrapped(struct object *self, selector name, void *data, word length, word options,
                                  void *deallocator)
{
    (void)self;
    (void)name;
    (void)deallocator;
    check_options(options);
    if ((uintptr_t)data % EMU_PAGE || length % EMU_PAGE || length == 0)
        emu_misuse("newBufferWithBytesNoCopy: address and length are multiples of %d (found %p, %lu)", EMU_PAGE, data,
                   length);
    if (length > max_length())
        return NULL;
    struct buffer *b = emu_new(&emu_buffer);
    b->host = b->gpu = data;
    b->size = length;
    b->wrapped = true;
    insert(b);
    return &b->base;
}

static void *contents(struct buffer *self, selector name)
{
    (void)name;
    return self->host;
}

static word length_of(struct buffer *self, selector name)
{
    (void)name;
    return self->size;
}

static uint64_t address_of(struct buffer *self, selector name)
{
    (void)name;
    return (uint64_t)(uintptr_t)self->gpu;
}

/* ---- residency sets ---- */

static struct object *new_set(struct object *self, selector name, struct object *descriptor, struct object **error)
{
    (void)self;
    (void)name;
    (void)error;
    if (!descriptor || descriptor->isa != &emu_set_descriptor)
        emu_misuse("newResidencySetWithDescriptor: without a descriptor");
    return emu_new(&emu_set);
}

static void add_allocation(struct set *self, selector name, struct buffer *b)
{
    (void)name;
    if (!b || b->base.isa != &emu_buffer)
        emu_misuse("addAllocation: of something that is not a buffer");
    if (self->n_added == self->cap_added) {
        self->cap_added = self->cap_added ? 2 * self->cap_added : 16;
        self->added = realloc(self->added, self->cap_added * sizeof *self->added);
        if (!self->added)
            abort();
    }
    self->added[self->n_added++] = emu_retain(b);
}

static void remove_allocation(struct set *self, selector name, struct buffer *b)
{
    (void)name;
    for (size_t i = 0; i < self->n_added; i++)
        if (self->added[i] == b) {
            self->added[i] = self->added[--self->n_added];
            emu_release(b);
            return;
        }
    emu_misuse("removeAllocation: of a buffer that is not in the set");
}

static void commit_set(struct set *self, selector name)
{
    (void)name;
    struct buffer **old = self->committed;
    size_t n_old = self->n_committed;
    self->committed = malloc((self->n_added + 1) * sizeof *self->committed);
    if (!self->committed)
        abort();
    self->n_committed = self->n_added;
    for (size_t i = 0; i < self->n_added; i++) {
        self->committed[i] = emu_retain(self->added[i]);
        self->committed[i]->n_sets += self->attached;
    }
    for (size_t i = 0; i < n_old; i++) {
        old[i]->n_sets -= self->attached;
        emu_release(old[i]);
    }
    free(old);
}

static void request_residency(struct set *self, selector name)
{
    (void)name;
    self->requested = true;
}

void emu_attach_set(struct object *set)
{
    struct set *s = (struct set *)set;
    if (!set || set->isa != &emu_set)
        emu_misuse("addResidencySet: of something that is not a residency set");
    if (s->attached)
        emu_misuse("addResidencySet: of a set that the queue has already");
    s->attached = true;
    for (size_t i = 0; i < s->n_committed; i++)
        s->committed[i]->n_sets++;
}

const struct method emu_memory_methods[] = {
    METHOD(emu_device, "maxBufferLength", device_max_length),
    METHOD(emu_device, "newBufferWithLength:options:", new_buffer),
    METHOD(emu_device, "newBufferWithBytesNoCopy:length:options:deallocator:", new_wrapped),
    METHOD(emu_device, "newResidencySetWithDescriptor:error:", new_set),
    METHOD(emu_buffer, "contents", contents),
    METHOD(emu_buffer, "length", length_of),
    METHOD(emu_buffer, "gpuAddress", address_of),
    METHOD(emu_set, "addAllocation:", add_allocation),
    METHOD(emu_set, "removeAllocation:", remove_allocation),
    METHOD(emu_set, "commit", commit_set),
    METHOD(emu_set, "requestResidency", request_residency),
    {0}};
