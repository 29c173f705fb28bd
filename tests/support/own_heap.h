/* The program's own malloc and free, which can fail, count blocks, and notice writes after the end of a block. glibc
 * lets a program put its own in front (mallinfo would count what the thread's cache keeps); elsewhere, and under a
 * sanitizer, OWN_HEAP is not defined and nothing fails or is counted. Included by one file of a program. */
#ifndef PN_TESTS_OWN_HEAP_H
#define PN_TESTS_OWN_HEAP_H

#include "sanitized.h"

#include <stdbool.h>
#include <stdlib.h> /* defines __GLIBC__ */

static _Thread_local struct {
    size_t calls, fail_at; /* the call, from 1, that fails; 0: none */
    bool for_good;         /* and all after it */
} memory __attribute__((unused));

#if defined(__GLIBC__) && !PN_ASAN && !PN_TSAN
#define OWN_HEAP 1

#include "base/alloc.h"

#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

static atomic_long n_blocks; /* taken and not given back */

#pragma GCC visibility push(default) /* for the libraries too */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *p);
void *malloc(size_t size);
void *calloc(size_t n, size_t size);
void *realloc(void *p, size_t size);
void *aligned_alloc(size_t alignment, size_t size);
int posix_memalign(void **p, size_t alignment, size_t size);
void free(void *p);
#pragma GCC visibility pop

static bool allowed(void)
{
    memory.calls++;
    return !memory.fail_at || memory.calls < memory.fail_at || (memory.calls > memory.fail_at && !memory.for_good);
}

/* A block's own size is kept at its very end, and the bytes between are filled; free checks that they still are. */
enum { FILL = 0xA5 };

static void *counted(void *p, size_t size)
{
    if (!p)
        return NULL;
    size_t usable = malloc_usable_size(p);
    memset((char *)p + size, FILL, usable - size - sizeof size);
    memcpy((char *)p + usable - sizeof size, &size, sizeof size);
    atomic_fetch_add(&n_blocks, 1);
    return p;
}

static void discount(void *p)
{
    size_t size, usable = malloc_usable_size(p);
    memcpy(&size, (char *)p + usable - sizeof size, sizeof size);
    bool whole = size <= usable - sizeof size;
    for (size_t i = size; whole && i < usable - sizeof size; i++)
        whole = ((unsigned char *)p)[i] == FILL;
    if (!whole) {
        static const char text[] = "something was written after the end of a block\n";
        (void)!write(STDERR_FILENO, text, sizeof text - 1);
        abort();
    }
    atomic_fetch_sub(&n_blocks, 1);
}

static size_t with_room(size_t size)
{
    return size > SIZE_MAX - sizeof size ? size : size + sizeof size;
}

void *malloc(size_t size)
{
    return allowed() ? counted(__libc_malloc(with_room(size)), size) : NULL;
}
void *calloc(size_t n, size_t size)
{
    size_t bytes;
    if (!allowed() || !pn_size_mul(n, size, &bytes))
        return NULL;
    return counted(__libc_calloc(1, with_room(bytes)), bytes);
}
void *realloc(void *p, size_t size)
{
    if (!p)
        return malloc(size);
    if (!allowed())
        return NULL;
    discount(p);
    return counted(__libc_realloc(p, with_room(size)), size);
}
void *aligned_alloc(size_t alignment, size_t size)
{
    return allowed() ? counted(__libc_memalign(alignment, with_room(size)), size) : NULL;
}
int posix_memalign(void **p, size_t alignment, size_t size)
{
    *p = aligned_alloc(alignment, size);
    return *p ? 0 : ENOMEM;
}
void free(void *p)
{
    if (p)
        discount(p);
    __libc_free(p);
}
#endif

#endif
