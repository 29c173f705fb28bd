/* 600 damaged and hostile pictures, made from small valid ones by a seeded generator. Each is an error that says why,
 * or a picture of a size that its file can have; the process stays below 300 MB. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/resource.h>

#include "base/alloc.h"
#include "image/image.h"

#include "small_pictures.h"

enum { N_FILES = sizeof files / sizeof *files + 1, JPEG = N_FILES - 1, PNG = 0, BMP = 1, GIF = 2, WEBP = 3 };
enum { ROUNDS = 100 };

static int n_errors, n_pictures;

static struct bytes small(int file)
{
    return from_hex(file == JPEG ? jpeg : files[file].hex);
}

/* Decodes a copy of exactly that length, so that sanitizers see reads beyond it. */
static pantry_status try(const unsigned char *data, size_t len)
{
    struct pn_image image = {0};
    struct pantry_error err = {0};
    unsigned char *exact = malloc(len ? len : 1);
    assert_non_null(exact);
    memcpy(exact, data, len);
    pantry_status status = pn_image_decode(exact, len, &image, &err);
    if (status) {
        assert_true(*err.text);
        assert_null(image.rgb);
        assert_true(status == PANTRY_FORMAT || status == PANTRY_LIMIT || status == PANTRY_UNSUPPORTED);
        n_errors++;
    } else {
        assert_in_range(image.width, 1, PN_IMAGE_MAX_SIDE);
        assert_in_range(image.height, 1, PN_IMAGE_MAX_SIDE);
        assert_in_range((uint64_t)image.width * (uint64_t)image.height, 1, PN_IMAGE_MAX_PIXELS);
        n_pictures++;
    }
    pn_image_free(&image);
    free(exact);
    return status;
}

static uint32_t next(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

/* ---- sizes ---- */

static void put_le(unsigned char *p, uint32_t v, int n)
{
    for (int i = 0; i < n; i++)
        p[i] = (unsigned char)(v >> (8 * i));
}

/* Writes a size into a file's header, as far as the format's numbers reach. */
static void set_size(int file, struct bytes *b, uint32_t width, uint32_t height)
{
    uint32_t low = 0xffff, w = width < low ? width : low, h = height < low ? height : low;
    if (file == PNG) {
        put_be32(b->data + 16, width);
        put_be32(b->data + 20, height);
        put_be32(b->data + 29, crc(b->data + 12, 17));
    } else if (file == BMP) {
        put_le(b->data + 18, width, 4);
        put_le(b->data + 22, height, 4);
    } else if (file == GIF) {
        put_le(b->data + 6, w, 2);
        put_le(b->data + 8, h, 2);
    } else if (file == WEBP) { /* 14 bits each, less 1 */
        uint32_t both = ((width - 1) & 0x3fff) | ((height - 1) & 0x3fff) << 14;
        put_le(b->data + 21, both, 4);
    } else {
        for (size_t i = 0; i + 8 < b->len; i++)
            if (b->data[i] == 0xff && b->data[i + 1] == 0xc0)
                put_be32(b->data + i + 5, h << 16 | w);
    }
}

static void sizes_that_lie(void **state)
{
    (void)state;
    static const uint32_t sizes[][2] = {
        {100000, 100000},         {0, 100},       {100, 0},     {0, 0},        {0x7fffffff, 1}, {1, 0x7fffffff},
        {0xffffffff, 0xffffffff}, {60000, 60000}, {8000, 8000}, {16383, 16383}};
    for (int file = 0; file < N_FILES; file++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            struct bytes b = small(file);
            set_size(file, &b, sizes[i][0], sizes[i][1]);
            /* a GIF's frame need not fill its picture */
            bool small_enough = file == GIF && sizes[i][0] == 8000;
            if ((try(b.data, b.len) == PANTRY_OK) != small_enough)
                fail_msg("a file of %zu bytes, as a picture of %u x %u", b.len, sizes[i][0], sizes[i][1]);
            free(b.data);
        }
}

/* 10,000 frames: only the first one is read. */
static void many_frames(void **state)
{
    (void)state;
    enum { FRAMES = 10000 };
    struct bytes b = small(GIF);
    const unsigned char *frame = memchr(b.data + 13, 0x2c, b.len - 13);
    size_t head = (size_t)(frame - b.data), len = b.len - head - 1; /* up to the trailer */
    unsigned char *all = malloc(head + FRAMES * len + 1);
    assert_non_null(all);
    memcpy(all, b.data, head);
    for (size_t i = 0; i < FRAMES; i++)
        memcpy(all + head + i * len, frame, len);
    all[head + FRAMES * len] = 0x3b;
    assert_int_equal(try(all, head + FRAMES * len + 1), PANTRY_OK);
    /* one that is cut inside the first frame, and a chain of 10,000 extensions without a frame */
    assert_int_not_equal(try(all, head + len / 2), PANTRY_OK);
    for (size_t i = 0; i < FRAMES; i++)
        memcpy(all + head + 4 * i,
               "\x21\xfe\x01"
               "a",
               4);
    assert_int_not_equal(try(all, head + 4 * FRAMES), PANTRY_OK);
    free(all);
    free(b.data);
}

/* ---- damage ---- */

/* Changes some bytes, copies some over others, cuts the end off or repeats it. */
static void damage(struct bytes *b, uint64_t *state)
{
    for (uint32_t n = 1 + next(state) % 8; n > 0; n--) {
        size_t at = next(state) % b->len, from = next(state) % b->len, len = next(state) % 16;
        len = len < b->len - at ? len : b->len - at;
        len = len < b->len - from ? len : b->len - from;
        switch (next(state) % 4) {
        case 0:
            b->data[at] = (unsigned char)next(state);
            break;
        case 1:
            b->data[at] ^= (unsigned char)(1u << next(state) % 8);
            break;
        case 2:
            memmove(b->data + at, b->data + from, len);
            break;
        case 3:
            memset(b->data + at, next(state) % 2 ? 0xff : 0, len);
            break;
        }
    }
    if (next(state) % 4 == 0)
        b->len = 1 + next(state) % b->len;
}

static void fuzzed(void **state)
{
    (void)state;
    uint64_t seed = 19;
    for (int file = 0; file < N_FILES; file++)
        for (int i = 0; i < ROUNDS; i++) {
            struct bytes b = small(file);
            damage(&b, &seed);
            try(b.data, b.len);
            free(b.data);
        }
}

/* PNG's checksums of whole chunks: a wrong one is an error wherever it is. */
static void wrong_checksums(void **state)
{
    (void)state;
    struct bytes b = small(PNG);
    for (size_t at = 8; at + 12 <= b.len;) {
        size_t len =
            (size_t)b.data[at] << 24 | (size_t)b.data[at + 1] << 16 | (size_t)b.data[at + 2] << 8 | b.data[at + 3];
        for (size_t k = 0; k < 4; k++) {
            b.data[at + 8 + len + k] ^= 0x10;
            if (memcmp(b.data + at + 4, "IEND", 4) != 0)
                assert_int_not_equal(try(b.data, b.len), PANTRY_OK);
            b.data[at + 8 + len + k] ^= 0x10;
        }
        at += 12 + len;
    }
    free(b.data);
}

static void cut_off(void **state)
{
    (void)state;
    for (int file = 0; file < N_FILES; file++) {
        struct bytes b = small(file);
        for (size_t i = 0; i < 20; i++)
            if (file != GIF || b.len * i / 20 < b.len - 3) /* a GIF's last bytes say nothing */
                assert_int_not_equal(try(b.data, b.len * i / 20), PANTRY_OK);
        free(b.data);
    }
}

/* ---- all of them ---- */

static void count_and_memory(void **state)
{
    (void)state;
    struct rusage usage;
    assert_in_range(n_errors + n_pictures, 600, 100000);
    assert_in_range(n_errors, 400, 100000);
    assert_in_range(n_pictures, 1, 100000);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    getrusage(RUSAGE_SELF, &usage);
#ifdef __APPLE__
    int64_t bytes = usage.ru_maxrss;
#else
    int64_t bytes = (int64_t)usage.ru_maxrss * 1024;
#endif
    assert_in_range(bytes, 1, 300 << 20);
#else
    (void)usage;
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_that_lie),  cmocka_unit_test(many_frames), cmocka_unit_test(fuzzed),
        cmocka_unit_test(wrong_checksums), cmocka_unit_test(cut_off),     cmocka_unit_test(count_and_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
