/* Storage types: the table, decoding and encoding against golden values of other implementations, half precision. */
#include "tensor/type.h"

#include <stdarg.h>
#include <setjmp.h>
#include <math.h>
#include <stdlib.h>
#include <cmocka.h>

#include "type_samples.h"

struct golden {
    const char *type;
    uint32_t decode, encode; /* CRC-32 */
    double error;
};

#include "test_type_golden.h"

enum { GOLDEN_COUNT = sizeof golden / sizeof *golden, GOLDEN_VALUES = 8192 };

/* CRC-32 (ISO 3309), as in zlib. */
static uint32_t crc32_of(const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    uint32_t crc = ~0u;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int k = 0; k < 8; k++)
            crc = crc >> 1 ^ (0xEDB88320u & -(crc & 1));
    }
    return ~crc;
}

static uint32_t crc32_of_floats(float *values, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (isnan(values[i]))
            values[i] = pn_float_of_bits(0x7FC00000);
    return crc32_of(values, n * sizeof *values);
}

static pn_type type_of(const char *name)
{
    pn_type type;
    assert_true(pn_type_from_name(name, &type));
    return type;
}

static void *allocate(size_t size)
{
    void *p = malloc(size);
    assert_non_null(p);
    return p;
}

/* ---- the table ---- */

static void test_table(void **state)
{
    (void)state;
    assert_int_equal(PN_TYPE_COUNT, 47);
    for (int i = 0; i < PN_TYPE_COUNT; i++) {
        const struct pn_type_info *t = pn_type_info((pn_type)i);
        bool one = i < GOLDEN_COUNT;
        pn_type found;
        assert_true(t->block > 0 && t->bytes > 0 && (one ? t->planes == 1 : t->planes > 1));
        assert_true(one ? t->decode && !t->decode_planes : !t->decode && t->decode_planes);
        assert_true(pn_type_from_name(t->name, &found) && found == (pn_type)i);
        assert_true((t->gguf >= 0) == one);
        assert_true(!one || (pn_type_from_gguf((uint32_t)t->gguf, &found) && found == (pn_type)i));
    }
    assert_int_equal(pn_type_row_bytes(PN_TYPE_Q4_K, 1024), 576);
    assert_int_equal(pn_type_row_bytes(PN_TYPE_Q8_0, 64), 68);
}

static void test_unknown(void **state)
{
    (void)state;
    pn_type found = PN_TYPE_F16;
    static const uint32_t removed[] = {4, 5, 31, 32, 33, 36, 37, 38, 43, 0xFFFFFFFF};
    for (size_t i = 0; i < sizeof removed / sizeof *removed; i++)
        assert_false(pn_type_from_gguf(removed[i], &found));
    assert_false(pn_type_from_name("q4_2", &found));
    assert_false(pn_type_from_name("", &found));
    assert_false(pn_type_from_name("Q4_K", &found));
    assert_int_equal(found, PN_TYPE_F16);
}

/* ---- golden values ---- */

static void test_decode_golden(void **state)
{
    (void)state;
    assert_int_equal(GOLDEN_COUNT, PN_TYPE_AFFINE2); /* types with one plane */
    for (int i = 0; i < GOLDEN_COUNT; i++) {
        pn_type type = type_of(golden[i].type);
        const struct pn_type_info *t = pn_type_info(type);
        size_t blocks = t->block > 1 ? 512 : 4096, n = blocks * t->block;
        /* At an odd address and in two calls, which must make no difference. */
        uint8_t *src = allocate(blocks * t->bytes + 1);
        float *dst = allocate(n * sizeof *dst);
        sample_bytes((uint64_t)t->gguf, src + 1, blocks * t->bytes);
        size_t first = blocks / 3;
        pn_type_decode_row(type, src + 1, dst, first * t->block);
        pn_type_decode_row(type, src + 1 + first * t->bytes, dst + first * t->block, (blocks - first) * t->block);
        uint32_t crc = crc32_of_floats(dst, n);
        if (crc != golden[i].decode)
            fail_msg("%s: decoded values have CRC %08x, not %08x", t->name, crc, golden[i].decode);
        free(src);
        free(dst);
    }
}

static double relative_error(pn_type type, const float *values, size_t n)
{
    const struct pn_type_info *t = pn_type_info(type);
    uint8_t *encoded = allocate(pn_type_row_bytes(type, n));
    float *back = allocate(n * sizeof *back);
    t->encode(values, encoded, n);
    pn_type_decode_row(type, encoded, back, n);
    double error = 0, norm = 0;
    for (size_t j = 0; j < n; j++) {
        double e = (double)back[j] - (double)values[j];
        error += e * e;
        norm += (double)values[j] * (double)values[j];
    }
    free(encoded);
    free(back);
    return sqrt(error / norm);
}

static void test_encode_golden(void **state)
{
    (void)state;
    static float values[GOLDEN_VALUES];
    sample_values(1000, values, GOLDEN_VALUES);
    int same = 0, compared = 0;
    for (int i = 0; i < GOLDEN_COUNT; i++) {
        pn_type type = type_of(golden[i].type);
        const struct pn_type_info *t = pn_type_info(type);
        if (golden[i].encode != 0) {
            size_t bytes = pn_type_row_bytes(type, GOLDEN_VALUES);
            uint8_t *encoded = allocate(bytes);
            t->encode(values, encoded, GOLDEN_VALUES);
            if (crc32_of(encoded, bytes) != golden[i].encode)
                fail_msg("%s: encoded bytes differ", t->name);
            free(encoded);
            same++;
        }
        if (golden[i].error > 0) {
            double error = relative_error(type, values, GOLDEN_VALUES);
            if (error > 1.01 * golden[i].error)
                fail_msg("%s: error %g, but %g in the other implementation", t->name, error, golden[i].error);
            compared++;
        }
    }
    assert_int_equal(same, 10);
    assert_int_equal(compared, 22);
}

/* ---- half precision and bfloat16 ---- */

/* Every finite half is exact both ways. The midpoint to the next half rounds to even, the midpoint's neighbours to the
 * nearest. */
static void test_half_rounding(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x7C00; h++) {
        float low = pn_f16_to_f32((uint16_t)h), next = h + 1 < 0x7C00 ? pn_f16_to_f32((uint16_t)(h + 1)) : 65536;
        float middle = low + (next - low) / 2;
        uint32_t even = h & 1 ? h + 1 : h;
        assert_true(low < middle && middle < next);
        assert_int_equal(pn_f32_to_f16(low), h);
        assert_int_equal(pn_f32_to_f16(-low), h | 0x8000);
        assert_int_equal(pn_f32_to_f16(middle), even);
        assert_int_equal(pn_f32_to_f16(nextafterf(middle, 0)), h);
        assert_int_equal(pn_f32_to_f16(nextafterf(middle, INFINITY)), h + 1);
        assert_int_equal(pn_f32_to_f16(-nextafterf(middle, INFINITY)), (h + 1) | 0x8000);
        /* Independent of the bit tricks: the definition of the format. */
        double exact = h < 0x400 ? ldexp(h, -24) : ldexp(1024 + (h & 0x3FF), (int)(h >> 10) - 25);
        assert_true((double)low == exact);
    }
    assert_true(isinf(pn_f16_to_f32(0x7C00)) && isinf(pn_f16_to_f32(0xFC00)) && pn_f16_to_f32(0xFC00) < 0);
    for (uint32_t h = 0x7C01; h < 0x8000; h++) {
        assert_true(isnan(pn_f16_to_f32((uint16_t)h)));
        assert_true((pn_f32_to_f16(pn_f16_to_f32((uint16_t)h)) & 0x7C00) == 0x7C00);
        assert_true((pn_f32_to_f16(pn_f16_to_f32((uint16_t)h)) & 0x03FF) != 0);
    }
    assert_int_equal(pn_f32_to_f16(INFINITY), 0x7C00);
    assert_int_equal(pn_f32_to_f16(-0.0f), 0x8000);
    assert_int_equal(pn_f32_to_f16(0x1p-149f), 0);
}

static void test_bf16_rounding(void **state)
{
    (void)state;
    for (uint32_t b = 0; b < 0x7F80; b++) {
        float low = pn_bf16_to_f32((uint16_t)b);
        uint32_t middle = b << 16 | 0x8000;
        assert_int_equal(pn_f32_to_bf16(low), b);
        assert_int_equal(pn_f32_to_bf16(-low), b | 0x8000);
        assert_int_equal(pn_f32_to_bf16(pn_float_of_bits(middle)), b & 1 ? b + 1 : b);
        assert_int_equal(pn_f32_to_bf16(pn_float_of_bits(middle - 1)), b);
        assert_int_equal(pn_f32_to_bf16(pn_float_of_bits(middle + 1)), b + 1);
    }
    assert_int_equal(pn_f32_to_bf16(INFINITY), 0x7F80);
    assert_true(isnan(pn_bf16_to_f32(pn_f32_to_bf16(pn_float_of_bits(0x7F800001)))));
    assert_true(isnan(pn_bf16_to_f32(pn_f32_to_bf16(pn_float_of_bits(0xFFFFFFFF)))));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),         cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_decode_golden), cmocka_unit_test(test_encode_golden),
        cmocka_unit_test(test_half_rounding), cmocka_unit_test(test_bf16_rounding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
