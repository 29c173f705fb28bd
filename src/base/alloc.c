/* Arenas, byte buffers and vectors: see alloc.h. */
#include "base/alloc.h"

#include "base/os.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARENA_ALIGN = 16, ARENA_MIN_BLOCK = 16 * 1024, ARENA_MAX_BLOCK = 1024 * 1024, LARGE = 2 * 1024 * 1024 };

/* Smaller tables gain nothing and come from the heap, where sanitizers check accesses. */
static bool is_large(size_t bytes)
{
    return bytes >= LARGE;
}

void *pn_table_new(size_t count, size_t size)
{
    size_t bytes;
    if (!pn_size_mul(count, size, &bytes) || bytes > SIZE_MAX / 2)
        return NULL;
    return is_large(bytes) ? pn_os_large_pages(bytes) : calloc(count, size);
}

void pn_table_free(void *table, size_t count, size_t size)
{
    if (table && is_large(count * size))
        pn_os_free_pages(table, count * size);
    else
        free(table);
}

struct pn_arena_block {
    struct pn_arena_block *next;
    size_t size, used; /* of data[] */
    _Alignas(16) unsigned char data[];
};

void *pn_arena_alloc(struct pn_arena *arena, size_t size)
{
    if (size > SIZE_MAX - ARENA_ALIGN)
        return NULL;
    size_t need = (size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    if (need == 0)
        need = ARENA_ALIGN;
    struct pn_arena_block *block = arena->head;
    if (!block || block->size - block->used < need) {
        size_t room = block ? block->size * 2 : ARENA_MIN_BLOCK;
        if (room > ARENA_MAX_BLOCK)
            room = ARENA_MAX_BLOCK;
        if (room < need)
            room = need;
        size_t total;
        if (!pn_size_add(sizeof *block, room, &total))
            return NULL;
        block = pn_table_new(1, total);
        if (!block)
            return NULL;
        block->size = room;
        block->next = arena->head;
        arena->head = block;
    }
    void *p = block->data + block->used;
    block->used += need;
    arena->used += need;
    return p;
}

void *pn_arena_array(struct pn_arena *arena, size_t count, size_t size)
{
    size_t bytes;
    return pn_size_mul(count, size, &bytes) ? pn_arena_alloc(arena, bytes) : NULL;
}

char *pn_arena_copy(struct pn_arena *arena, const char *bytes, size_t n)
{
    if (n == SIZE_MAX)
        return NULL;
    char *p = pn_arena_alloc(arena, n + 1);
    if (p && n)
        memcpy(p, bytes, n);
    return p;
}

void pn_arena_join(struct pn_arena *to, struct pn_arena *from)
{
    struct pn_arena_block **last = &to->head;
    while (*last)
        last = &(*last)->next;
    *last = from->head;
    to->used += from->used;
    *from = (struct pn_arena){0};
}

void pn_arena_free(struct pn_arena *arena)
{
    if (!arena)
        return;
    for (struct pn_arena_block *b = arena->head, *next; b; b = next) {
        next = b->next;
        pn_table_free(b, 1, sizeof *b + b->size);
    }
    *arena = (struct pn_arena){0};
}

bool pn_buf_reserve(struct pn_buf *buf, size_t extra)
{
    if (buf->failed || buf->over_limit)
        return false;
    size_t need;
    if (!pn_size_add(buf->len, extra, &need) || need == SIZE_MAX) {
        buf->failed = true;
        return false;
    }
    if (buf->limit && need > buf->limit) {
        buf->over_limit = true;
        return false;
    }
    if (!pn_vec_reserve((void **)(void *)&buf->data, &buf->cap, need + 1, 1)) {
        buf->failed = true;
        return false;
    }
    return true;
}

void pn_buf_append(struct pn_buf *buf, const void *bytes, size_t n)
{
    if (!pn_buf_reserve(buf, n))
        return;
    if (n)
        memcpy(buf->data + buf->len, bytes, n);
    buf->len += n;
    buf->data[buf->len] = '\0';
}

void pn_buf_puts(struct pn_buf *buf, const char *text)
{
    pn_buf_append(buf, text, strlen(text));
}

void pn_buf_putc(struct pn_buf *buf, char c)
{
    pn_buf_append(buf, &c, 1);
}

void pn_buf_printf(struct pn_buf *buf, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    if (pn_buf_reserve(buf, (size_t)n)) { /* a failure to format is -1, which is too large to reserve */
        vsnprintf(buf->data + buf->len, (size_t)n + 1, format, again);
        buf->len += (size_t)n;
    }
    va_end(again);
    va_end(args);
}

void pn_buf_put_utf8(struct pn_buf *buf, uint32_t c)
{
    unsigned char u[4];
    size_t n;
    if (c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF))
        c = 0xFFFD;
    if (c < 0x80) {
        u[0] = (unsigned char)c;
        n = 1;
    } else if (c < 0x800) {
        u[0] = (unsigned char)(0xC0 | c >> 6);
        u[1] = (unsigned char)(0x80 | (c & 0x3F));
        n = 2;
    } else if (c < 0x10000) {
        u[0] = (unsigned char)(0xE0 | c >> 12);
        u[1] = (unsigned char)(0x80 | (c >> 6 & 0x3F));
        u[2] = (unsigned char)(0x80 | (c & 0x3F));
        n = 3;
    } else {
        u[0] = (unsigned char)(0xF0 | c >> 18);
        u[1] = (unsigned char)(0x80 | (c >> 12 & 0x3F));
        u[2] = (unsigned char)(0x80 | (c >> 6 & 0x3F));
        u[3] = (unsigned char)(0x80 | (c & 0x3F));
        n = 4;
    }
    pn_buf_append(buf, u, n);
}

char *pn_buf_take(struct pn_buf *buf)
{
    pn_buf_append(buf, "", 0); /* data is not NULL even for an empty text */
    char *data = buf->data;
    if (buf->failed || buf->over_limit) {
        free(data);
        data = NULL;
    }
    size_t limit = buf->limit;
    *buf = (struct pn_buf){.limit = limit};
    return data;
}

void pn_buf_clear(struct pn_buf *buf)
{
    buf->len = 0;
    buf->failed = buf->over_limit = false;
    if (buf->data)
        buf->data[0] = '\0';
}

void pn_buf_free(struct pn_buf *buf)
{
    if (!buf)
        return;
    free(buf->data);
    *buf = (struct pn_buf){0};
}

bool pn_vec_reserve(void **data, size_t *cap, size_t need, size_t size)
{
    if (need <= *cap)
        return true;
    size_t grown = *cap < 8 ? 8 : *cap, bytes;
    while (grown < need) {
        if (grown > SIZE_MAX / 2)
            return false;
        grown *= 2;
    }
    if (!pn_size_mul(grown, size, &bytes))
        return false;
    void *moved = realloc(*data, bytes);
    if (!moved)
        return false;
    *data = moved;
    *cap = grown;
    return true;
}
