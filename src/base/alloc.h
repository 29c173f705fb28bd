/* Sizes and memory: overflow-checked arithmetic, arenas, growable byte buffers and vectors.
 *
 * A load, a plan and a request each own an arena and die whole. Sizes that come from outside go through pn_size_mul and
 * pn_size_add before anything is allocated. */
#ifndef PN_BASE_ALLOC_H
#define PN_BASE_ALLOC_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* False if the result does not fit; then *out is unchanged. */
static inline bool pn_size_mul(size_t a, size_t b, size_t *out)
{
    size_t r;
    if (__builtin_mul_overflow(a, b, &r))
        return false;
    *out = r;
    return true;
}

static inline bool pn_size_add(size_t a, size_t b, size_t *out)
{
    size_t r;
    if (__builtin_add_overflow(a, b, &r))
        return false;
    *out = r;
    return true;
}

/* Zeroed memory for tables with random access. Large ones get large pages where the system has them, which saves page
 * faults and page walks. NULL when out of memory. Free it with the same numbers. */
void *pn_table_new(size_t count, size_t size);
void pn_table_free(void *table, size_t count, size_t size);

/* ---- arena ---- */

struct pn_arena_block;
struct pn_arena {
    struct pn_arena_block *head;
    size_t used; /* bytes handed out, for statistics */
};

/* Zeroed memory aligned to 16 bytes that lives until pn_arena_free; NULL when out of memory. A zeroed struct is an
 * empty arena. */
void *pn_arena_alloc(struct pn_arena *arena, size_t size);
/* The same for `count` elements, NULL also when the product overflows. */
void *pn_arena_array(struct pn_arena *arena, size_t count, size_t size);
/* Copies `n` bytes and appends a NUL. */
char *pn_arena_copy(struct pn_arena *arena, const char *bytes, size_t n);
/* Moves what `from` owns to `to`; leaves it empty. */
void pn_arena_join(struct pn_arena *to, struct pn_arena *from);
void pn_arena_free(struct pn_arena *arena);

/* ---- byte buffer ---- */

/* Growable bytes, followed by a NUL once anything was appended. A failed allocation sets `failed`, and all later
 * appends are ignored, so check once at the end. A zeroed struct is an empty buffer. */
struct pn_buf {
    char *data;
    size_t len, cap;
    size_t limit; /* 0: none; otherwise an append beyond it sets `over_limit` and is ignored */
    bool failed, over_limit;
};

void pn_buf_append(struct pn_buf *buf, const void *bytes, size_t n);
void pn_buf_puts(struct pn_buf *buf, const char *text);
void pn_buf_putc(struct pn_buf *buf, char c);
void pn_buf_printf(struct pn_buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Appends one code point as UTF-8; anything but a scalar value becomes U+FFFD. */
void pn_buf_put_utf8(struct pn_buf *buf, uint32_t code_point);
/* Makes room for at least `extra` more bytes; false when out of memory. */
bool pn_buf_reserve(struct pn_buf *buf, size_t extra);
/* Returns the NUL-terminated contents, or NULL when out of memory, and empties the buffer. The caller frees them. */
char *pn_buf_take(struct pn_buf *buf);
void pn_buf_clear(struct pn_buf *buf); /* keeps the memory */
void pn_buf_free(struct pn_buf *buf);

/* ---- vector ---- */

/* Grows *data (elements of `size` bytes, *cap of them) to hold `need`; false when out of memory or if the size
 * overflows. Capacity doubles, so pushing takes amortized constant time. */
bool pn_vec_reserve(void **data, size_t *cap, size_t need, size_t size);

/* Pushes `value` onto the vector {data, len, cap}; false when out of memory. `data` may have any element type. */
#define pn_vec_push(v, value)                                                                                          \
    (pn_vec_reserve((void **)(void *)&(v)->data, &(v)->cap, (v)->len + 1, sizeof *(v)->data) &&                        \
     ((v)->data[(v)->len++] = (value), true))

#endif
