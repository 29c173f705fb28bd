/* Storage types: properties of every type, and random input. Run it under the sanitizers: it looks mostly for undefined
 * behaviour and writes outside the row. */
#include "tensor/type.h"

#include <stdarg.h>
#include <setjmp.h>
#include <math.h>
#include <stdlib.h>
#include <cmocka.h>

#include "type_samples.h"

enum { ROW = 2048 }; /* values; a multiple of every block */

static bool same_bits(const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (pn_bits_of_float(a[i]) != pn_bits_of_float(b[i]) && !(isnan(a[i]) && isnan(b[i])))
            return false;
    return true;
}

/* Encodes and decodes a row at odd addresses in allocations of the exact size, so that a sanitizer detects an
 * overrun. */
static void through(pn_type type, const float *values, size_t n, float *back)
{
    const struct pn_type_info *t = pn_type_info(type);
    size_t bytes = pn_type_row_bytes(type, n);
    uint8_t *encoded = malloc(bytes + 1);
    assert_non_null(encoded);
    t->encode(values, encoded + 1, n);
    pn_type_decode_row(type, encoded + 1, back, n);
    free(encoded);
}

#define FOR_EACH_TYPE(t) for (const struct pn_type_info *t = pn_type_info(0); t < pn_type_info(PN_TYPE_AFFINE2); t++)

static pn_type number_of(const struct pn_type_info *t)
{
    return (pn_type)(t - pn_type_info(0));
}

/* ---- decoding ---- */

/* Every bit pattern decodes, a block depends on its own bytes only, and exactly n values are written. */
static void test_random_bytes(void **state)
{
    (void)state;
    FOR_EACH_TYPE(t)
    {
        size_t blocks = t->block > 1 ? 64 : ROW, n = blocks * t->block, bytes = blocks * t->bytes;
        uint8_t *src = malloc(bytes);
        float *whole = malloc(n * sizeof *whole), *one = malloc((t->block + 1) * sizeof *one);
        assert_true(src && whole && one);
        for (uint64_t seed = 0; seed < 20; seed++) {
            sample_bytes(seed + 100 * (uint64_t)t->gguf, src, bytes);
            if (seed < 2) /* and extreme values */
                for (size_t i = 0; i < bytes; i++)
                    src[i] = seed ? 0xFF : (uint8_t)(src[i] & 1 ? 0x7F : 0x80);
            t->decode(src, whole, n);
            for (size_t b = 0; b < blocks; b += 1 + blocks / 16) {
                one[t->block] = 12345;
                t->decode(src + b * t->bytes, one, t->block);
                assert_true(same_bits(one, whole + b * t->block, t->block));
                assert_true(one[t->block] == 12345);
            }
        }
        one[0] = 12345;
        t->decode(src, one, 0);
        assert_true(one[0] == 12345);
        free(src);
        free(whole);
        free(one);
    }
}

/* ---- encoding ---- */

/* The error of encoded ordinary values stays within a share of the block's largest value, and finite. */
static void test_error_bound(void **state)
{
    (void)state;
    static float values[ROW], back[ROW];
    FOR_EACH_TYPE(t)
    {
        if (!t->encode)
            continue;
        /* One- and two-bit types may be off by a whole magnitude, all others by a quarter of it at most. */
        float share = t->bytes * 8 < 3 * t->block ? 1.0f : t->block == 1 ? 0x1p-8f : 0.25f;
        for (uint64_t seed = 0; seed < 8; seed++) {
            sample_values(seed, values, ROW);
            through(number_of(t), values, ROW, back);
            for (size_t at = 0; at < ROW; at += t->block) {
                float largest = 0;
                for (size_t j = at; j < at + t->block; j++)
                    largest = fmaxf(largest, fabsf(values[j]));
                for (size_t j = at; j < at + t->block; j++)
                    if (!(fabsf(values[j] - back[j]) <= share * largest))
                        fail_msg("%s: %g became %g, largest %g", t->name, (double)values[j], (double)back[j],
                                 (double)largest);
            }
        }
    }
}

/* A row of decoded values encodes to itself if levels are evenly spaced from the extreme value. */
static void test_idempotent(void **state)
{
    (void)state;
    static const char *const names[] = {"f64",  "f32",  "f16",   "bf16",  "q4_0", "q5_0",
                                        "q8_0", "q8_1", "tq1_0", "tq2_0", "q1_0"};
    static float values[ROW], once[ROW], twice[ROW];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        pn_type type;
        assert_true(pn_type_from_name(names[i], &type));
        for (uint64_t seed = 0; seed < 50; seed++) {
            sample_values(seed, values, ROW);
            through(type, values, ROW, once);
            through(type, once, ROW, twice);
            if (!same_bits(once, twice, ROW))
                fail_msg("%s: not idempotent with seed %d", names[i], (int)seed);
        }
    }
}

/* Zero, and every constant that the type can hold, are exact; a row of zeros decodes to zeros. */
static void test_constants(void **state)
{
    (void)state;
    static float values[ROW], back[ROW];
    FOR_EACH_TYPE(t)
    {
        if (!t->encode)
            continue;
        for (size_t i = 0; i < ROW; i++)
            values[i] = 0;
        through(number_of(t), values, ROW, back);
        for (size_t i = 0; i < ROW; i++)
            assert_true(back[i] == 0);
        for (size_t i = 0; i < ROW; i++)
            values[i] = -1.5f;
        through(number_of(t), values, ROW, back);
        for (size_t i = 0; i < ROW; i++)
            if (!(fabsf(back[i] + 1.5f) <= 0.01f))
                fail_msg("%s: -1.5 became %g", t->name, (double)back[i]);
    }
}

/* Multiplying a row by a power of two does the same to the decoded row. */
static void test_power_of_two(void **state)
{
    (void)state;
    static float values[ROW], back[ROW], scaled[ROW], scaled_back[ROW];
    sample_values(5, values, ROW);
    FOR_EACH_TYPE(t)
    {
        if (!t->encode)
            continue;
        through(number_of(t), values, ROW, back);
        for (size_t i = 0; i < ROW; i++)
            scaled[i] = values[i] * 8;
        through(number_of(t), scaled, ROW, scaled_back);
        for (size_t i = 0; i < ROW; i++)
            back[i] *= 8;
        if (!same_bits(back, scaled_back, ROW))
            fail_msg("%s: does not scale", t->name);
    }
}

/* Values that no model has: enormous, tiny, infinite, NaN. Finite rows stay finite; nothing is undefined. */
static void test_odd_values(void **state)
{
    (void)state;
    static const float odd[] = {0x1p127f,   -0x1p127f, 0x1p100f, -65520, 65504, 0x1p-14f, 0x1p-24f,
                                -0x1p-126f, 0x1p-149f, -0.0f,    1,      -1,    0};
    static const float worse[] = {INFINITY, -INFINITY, NAN, 0x1.fffffep127f};
    static float values[ROW], back[ROW];
    const size_t n_odd = sizeof odd / sizeof *odd;
    FOR_EACH_TYPE(t)
    {
        if (!t->encode)
            continue;
        for (uint64_t seed = 0; seed < 60; seed++) {
            uint64_t random = seed;
            sample_values(seed, values, ROW);
            for (size_t i = 0; i < ROW; i++) {
                uint64_t r = sample_next(&random);
                if (seed < n_odd) /* a row of one value, then rows with a mixture */
                    values[i] = odd[seed];
                else if (r % 4 == 0)
                    values[i] = odd[r / 4 % n_odd];
                else if (seed >= 30 && r % 16 == 1)
                    values[i] = worse[r / 16 % 4];
            }
            through(number_of(t), values, ROW, back);
            for (size_t i = 0; t->block > 1 && seed < 30 && i < ROW; i++)
                if (!isfinite(back[i]))
                    fail_msg("%s: %g became %g", t->name, (double)values[i], (double)back[i]);
        }
    }
}

/* Encoders accept arbitrary bits. */
static void test_random_floats(void **state)
{
    (void)state;
    static float values[ROW], back[ROW];
    FOR_EACH_TYPE(t)
    {
        if (!t->encode)
            continue;
        for (uint64_t seed = 0; seed < 10; seed++) {
            uint64_t random = seed;
            for (size_t i = 0; i < ROW; i++)
                values[i] = pn_float_of_bits((uint32_t)sample_next(&random));
            through(number_of(t), values, ROW, back);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_bytes),  cmocka_unit_test(test_error_bound),  cmocka_unit_test(test_idempotent),
        cmocka_unit_test(test_constants),     cmocka_unit_test(test_power_of_two), cmocka_unit_test(test_odd_values),
        cmocka_unit_test(test_random_floats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
