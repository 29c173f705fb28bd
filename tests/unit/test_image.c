/* Pictures: formats, sizes, turning, resampling, and damage. tests/diff/pictures.py compares with Pillow at length; the
 * numbers here are Pillow 13's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/base64.h"
#include "image/resample.h"

#include "small_pictures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Decodes a copy of exactly that length, so that sanitizers see reads beyond it. */
static pantry_status decode(const unsigned char *data, size_t len, struct pn_image *out, struct pantry_error *err)
{
    unsigned char *exact = malloc(len ? len : 1);
    memcpy(exact, data, len);
    pantry_status status = pn_image_decode(exact, len, out, err);
    free(exact);
    return status;
}

static void refuse(const unsigned char *data, size_t len, pantry_status expected, const char *what)
{
    struct pn_image image;
    struct pantry_error err = {0};
    pantry_status status = decode(data, len, &image, &err);
    if (status != expected || !strstr(err.text, what))
        fail_msg("status %d, \"%s\" instead of %d, \"%s\"", status, err.text, expected, what);
    assert_null(image.rgb);
}

static void test_formats(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct bytes b = from_hex(files[i].hex);
        struct pn_image image;
        struct pantry_error err = {0};
        if (decode(b.data, b.len, &image, &err))
            fail_msg("%s: %s", files[i].name, err.text);
        assert_int_equal(image.width, 3);
        assert_int_equal(image.height, 2);
        for (int k = 0; k < 18; k++)
            assert_int_equal(image.rgb[k], 90 * (k / 9) + 40 * (k / 3 % 3) + 20 * (k % 3));
        pn_image_free(&image);
        free(b.data);
    }
}

static void test_turned(void **state)
{
    (void)state;
    struct bytes b = from_hex(jpeg);
    struct pn_image image;
    struct pantry_error err = {0};
    assert_int_equal(decode(b.data, b.len, &image, &err), PANTRY_OK);
    assert_int_equal(image.width, 8);
    assert_int_equal(image.height, 16);
    assert_int_equal(image.rgb[0], 77);
    pn_image_free(&image);
    free(b.data);
}

/* ---- damage ---- */

/* A file that ends anywhere is an error, never a picture that is partly grey. */
static void test_truncated(void **state)
{
    (void)state;
    for (size_t i = 0; i <= sizeof files / sizeof *files; i++) {
        struct bytes b = from_hex(i < sizeof files / sizeof *files ? files[i].hex : jpeg);
        size_t end = i == 2 ? b.len - 3 : b.len; /* a GIF's last bytes say nothing */
        for (size_t n = 0; n < end; n++) {
            struct pn_image image;
            struct pantry_error err = {0};
            if (!decode(b.data, n, &image, &err))
                fail_msg("%zu of %zu bytes of file %zu are a picture", n, b.len, i);
            assert_true(*err.text);
        }
        free(b.data);
    }
}

static void test_checksum(void **state)
{
    (void)state;
    struct bytes b = from_hex(files[0].hex);
    b.data[b.len - 20] ^= 1; /* in the pixels' checksum */
    refuse(b.data, b.len, PANTRY_FORMAT, "image/png: the picture is damaged");
    free(b.data);
}

/* Sizes that no decoder should believe: an error before memory is taken. */
static void test_bombs(void **state)
{
    (void)state;
    struct bytes png = from_hex(files[0].hex), bmp = from_hex(files[1].hex), gif = from_hex(files[2].hex);
    put_be32(png.data + 16, 100000);
    put_be32(png.data + 20, 100000);
    put_be32(png.data + 29, crc(png.data + 12, 17));
    refuse(png.data, png.len, PANTRY_LIMIT, "too large (found 100000 x 100000");
    put_be32(png.data + 16, 0);
    put_be32(png.data + 29, crc(png.data + 12, 17));
    refuse(png.data, png.len, PANTRY_FORMAT, "image/png");
    memcpy(bmp.data + 18, "\xa0\x86\x01\0\xa0\x86\x01", 8);
    refuse(bmp.data, bmp.len, PANTRY_LIMIT, "too large (found 100000 x 100000");
    memset(bmp.data + 18, 0, 8);
    refuse(bmp.data, bmp.len, PANTRY_FORMAT, "no pixels");
    memset(gif.data + 6, 0xff, 4);
    refuse(gif.data, gif.len, PANTRY_LIMIT, "too large (found 65535 x 65535");
    memset(gif.data + 6, 0, 4);
    refuse(gif.data, gif.len, PANTRY_FORMAT, "no pixels");
    struct bytes jpg = from_hex(jpeg);
    for (size_t i = 0; i + 8 < jpg.len; i++)
        if (jpg.data[i] == 0xff && jpg.data[i + 1] == 0xc0)
            memset(jpg.data + i + 5, 0xea, 4);
    refuse(jpg.data, jpg.len, PANTRY_LIMIT, "too large (found 60138 x 60138");
    refuse((const unsigned char *)"not a picture", 13, PANTRY_FORMAT, "not a PNG, JPEG, WebP, GIF or BMP");
    refuse((const unsigned char *)"", 0, PANTRY_FORMAT, "empty");
    free(png.data);
    free(bmp.data);
    free(gif.data);
    free(jpg.data);
}

/* Every byte of every file changed: an error or a picture, and nothing else. */
static void test_flipped(void **state)
{
    (void)state;
    for (size_t i = 0; i <= sizeof files / sizeof *files; i++) {
        struct bytes b = from_hex(i < sizeof files / sizeof *files ? files[i].hex : jpeg);
        for (size_t at = 0; at < b.len; at++) {
            struct pn_image image;
            struct pantry_error err = {0};
            unsigned char was = b.data[at];
            b.data[at] = (unsigned char)(was ^ 0x55);
            if (decode(b.data, b.len, &image, &err))
                assert_null(image.rgb);
            pn_image_free(&image);
            b.data[at] = was;
        }
        free(b.data);
    }
}

/* ---- resampling ---- */

static const struct {
    enum pn_resample filter;
    int width, height, to_width, to_height;
    unsigned char rgb[108];
} resized[] = {
    {PN_RESAMPLE_LANCZOS,
     7,
     5,
     3,
     2,
     {107, 130, 142, 136, 138, 143, 137, 126, 130, 123, 149, 118, 126, 123, 102, 101, 132, 122}},
    {PN_RESAMPLE_LANCZOS, 7, 5, 9, 4, {4,   55,  137, 24,  96,  170, 75,  157, 164, 126, 157, 137, 149, 125, 178, 117,
                                       142, 252, 117, 230, 153, 178, 176, 67,  219, 49,  113, 144, 208, 126, 192, 148,
                                       173, 167, 151, 139, 131, 165, 92,  177, 87,  140, 99,  134, 78,  113, 94,  81,
                                       116, 77,  169, 56,  136, 216, 78,  141, 58,  132, 88,  127, 131, 115, 116, 117,
                                       151, 74,  172, 82,  135, 103, 137, 95,  139, 124, 136, 166, 120, 124, 113, 172,
                                       40,  67,  118, 217, 139, 210, 128, 113, 196, 52,  57,  88,  107, 134, 110, 163,
                                       156, 187, 79,  48,  131, 94,  34,  105, 157, 126, 177, 151}},
    {PN_RESAMPLE_BILINEAR,
     7,
     5,
     3,
     2,
     {108, 136, 143, 135, 132, 140, 131, 130, 131, 117, 145, 117, 127, 124, 113, 106, 134, 120}},
    {PN_RESAMPLE_BILINEAR, 7, 5, 9, 4, {23,  76,  129, 50,  103, 156, 80,  133, 158, 111, 150, 153, 142, 131, 184, 123,
                                        162, 215, 140, 193, 140, 171, 160, 85,  197, 58,  111, 129, 182, 128, 164, 146,
                                        163, 158, 151, 138, 139, 159, 96,  180, 84,  137, 105, 124, 95,  112, 106, 112,
                                        118, 100, 153, 82,  135, 188, 86,  139, 85,  129, 111, 128, 133, 126, 113, 124,
                                        144, 81,  175, 79,  132, 110, 130, 100, 128, 121, 127, 143, 125, 128, 116, 169,
                                        72,  85,  138, 191, 138, 191, 116, 113, 166, 84,  67,  106, 109, 128, 117, 170,
                                        139, 178, 81,  79,  132, 100, 55,  108, 140, 107, 160, 149}},
    {PN_RESAMPLE_BICUBIC,
     7,
     5,
     3,
     2,
     {107, 133, 144, 134, 136, 142, 135, 127, 131, 120, 146, 117, 125, 124, 107, 103, 133, 121}},
    {PN_RESAMPLE_BICUBIC, 7, 5, 9, 4, {10,  63,  130, 35,  98,  159, 74,  139, 161, 114, 154, 151, 141, 133, 186, 120,
                                       160, 240, 135, 214, 141, 176, 172, 68,  210, 46,  109, 137, 195, 129, 179, 146,
                                       173, 165, 154, 141, 136, 167, 88,  181, 83,  136, 97,  128, 82,  110, 98,  101,
                                       118, 88,  161, 69,  137, 204, 80,  138, 71,  131, 98,  132, 133, 122, 115, 121,
                                       152, 72,  176, 78,  131, 102, 133, 96,  132, 121, 134, 156, 123, 131, 116, 174,
                                       54,  78,  131, 208, 144, 207, 113, 114, 178, 68,  53,  93,  108, 126, 118, 171,
                                       151, 191, 72,  66,  130, 93,  37,  100, 146, 113, 166, 154}},
    {PN_RESAMPLE_BOX,
     7,
     5,
     3,
     2,
     {115, 126, 136, 121, 146, 142, 142, 110, 120, 101, 154, 143, 119, 129, 97, 94, 147, 136}},
    {PN_RESAMPLE_BOX, 7, 5, 9, 4, {0,   53,  106, 37,  90,  143, 37,  90,  143, 74,  127, 180, 111, 164, 217, 148,
                                   201, 254, 185, 238, 35,  185, 238, 35,  222, 19,  72,  137, 190, 115, 190, 115,
                                   168, 190, 115, 168, 116, 169, 94,  169, 94,  147, 95,  148, 73,  148, 73,  126,
                                   148, 73,  126, 74,  127, 180, 17,  70,  123, 87,  140, 193, 87,  140, 193, 157,
                                   210, 7,   227, 24,  77,  41,  94,  147, 111, 164, 217, 111, 164, 217, 181, 234,
                                   31,  108, 161, 214, 189, 242, 39,  189, 242, 39,  14,  67,  120, 95,  148, 201,
                                   176, 229, 26,  1,   54,  107, 1,   54,  107, 82,  135, 188}},
    {PN_RESAMPLE_HAMMING,
     7,
     5,
     3,
     2,
     {104, 135, 156, 140, 129, 141, 133, 131, 134, 114, 145, 123, 130, 119, 111, 104, 136, 125}},
    {PN_RESAMPLE_HAMMING, 7, 5, 9, 4, {9,   62,  115, 41,  94,  147, 61,  114, 158, 87,  139, 169, 123, 152, 205, 136,
                                       188, 241, 161, 214, 121, 181, 195, 55,  213, 34,  87,  121, 174, 142, 164, 147,
                                       185, 161, 160, 149, 143, 186, 77,  191, 73,  126, 79,  122, 95,  104, 104, 126,
                                       117, 101, 154, 90,  143, 196, 72,  125, 93,  127, 109, 148, 131, 131, 120, 124,
                                       167, 58,  186, 68,  121, 87,  130, 103, 122, 123, 144, 144, 127, 151, 129, 182,
                                       64,  99,  152, 205, 166, 219, 78,  122, 175, 74,  32,  83,  114, 107, 136, 189,
                                       160, 211, 46,  68,  121, 87,  24,  77,  126, 91,  144, 173}},
    {PN_RESAMPLE_NEAREST,
     7,
     5,
     3,
     2,
     {139, 192, 245, 235, 32, 85, 75, 128, 181, 87, 140, 193, 227, 24, 77, 111, 164, 217}},
    {PN_RESAMPLE_NEAREST, 7, 5, 9, 4, {0,   53,  106, 37,  90,  143, 37,  90,  143, 74,  127, 180, 111, 164, 217, 148,
                                       201, 254, 185, 238, 35,  185, 238, 35,  222, 19,  72,  91,  144, 197, 139, 192,
                                       245, 139, 192, 245, 187, 240, 37,  235, 32,  85,  27,  80,  133, 75,  128, 181,
                                       75,  128, 181, 123, 176, 229, 17,  70,  123, 87,  140, 193, 87,  140, 193, 157,
                                       210, 7,   227, 24,  77,  41,  94,  147, 111, 164, 217, 111, 164, 217, 181, 234,
                                       31,  108, 161, 214, 189, 242, 39,  189, 242, 39,  14,  67,  120, 95,  148, 201,
                                       176, 229, 26,  1,   54,  107, 1,   54,  107, 82,  135, 188}},
    {PN_RESAMPLE_BICUBIC,
     3,
     12,
     2,
     3,
     {105, 135, 135, 117, 150, 119, 124, 147, 138, 138, 117, 141, 140, 119, 153, 124, 134, 121}},
};

static void test_resized(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof resized / sizeof *resized; i++) {
        struct pn_image from, to;
        struct pantry_error err = {0};
        int width = resized[i].width, height = resized[i].height;
        assert_int_equal(pn_image_new(width, height, &from, &err), PANTRY_OK);
        for (int y = 0; y < height; y++)
            for (int x = 0; x < width; x++)
                for (int c = 0; c < 3; c++)
                    from.rgb[(y * width + x) * 3 + c] = (unsigned char)(x * 37 + y * 91 + c * 53 + x * y * 11);
        assert_int_equal(
            pn_image_resize(&from, resized[i].to_width, resized[i].to_height, resized[i].filter, &to, &err), PANTRY_OK);
        assert_memory_equal(to.rgb, resized[i].rgb, (size_t)to.width * (size_t)to.height * 3);
        pn_image_free(&from);
        pn_image_free(&to);
    }
}

static void test_cropped(void **state)
{
    (void)state;
    struct pn_image from, to;
    struct pantry_error err = {0};
    assert_int_equal(pn_image_new(4, 3, &from, &err), PANTRY_OK);
    for (int i = 0; i < 36; i++)
        from.rgb[i] = (unsigned char)(i + 1);
    assert_int_equal(pn_image_crop(&from, -1, 1, 6, 3, &to, &err), PANTRY_OK);
    for (int y = 0; y < 3; y++)
        for (int x = 0; x < 6; x++) {
            bool inside = x >= 1 && x < 5 && y < 2;
            assert_int_equal(to.rgb[(y * 6 + x) * 3], inside ? ((y + 1) * 4 + x - 1) * 3 + 1 : 0);
        }
    pn_image_free(&to);
    assert_int_equal(pn_image_resize(&from, 1 << 20, 1 << 20, PN_RESAMPLE_BOX, &to, &err), PANTRY_LIMIT);
    pn_image_free(&from);
}

/* ---- base64 ---- */

static void test_base64(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"}; /* RFC 4648 */
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct pn_buf bytes = {0}, text = {0};
        assert_true(pn_base64_decode(texts[i], strlen(texts[i]), &bytes));
        assert_int_equal(bytes.len, i);
        assert_memory_equal(bytes.data ? bytes.data : "", "foobar", i);
        pn_base64_encode("foobar", i, &text);
        assert_string_equal(text.data ? text.data : "", texts[i]);
        pn_buf_free(&bytes);
        pn_buf_free(&text);
    }
    static const char *const wrong[] = {"Z", "Zg===", "Z=g=", "Zg==Zg==", "Zm9*", "Zm9v\xff"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct pn_buf bytes = {0};
        assert_false(pn_base64_decode(wrong[i], strlen(wrong[i]), &bytes));
        pn_buf_free(&bytes);
    }
    struct pn_buf bytes = {0};
    assert_true(pn_base64_decode("__-_\r\n Zg", 9, &bytes));
    assert_int_equal(bytes.len, 4);
    assert_memory_equal(bytes.data,
                        "\xff\xff\xbf"
                        "f",
                        4);
    pn_buf_free(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats),  cmocka_unit_test(test_turned),  cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_checksum), cmocka_unit_test(test_bombs),   cmocka_unit_test(test_flipped),
        cmocka_unit_test(test_resized),  cmocka_unit_test(test_cropped), cmocka_unit_test(test_base64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
