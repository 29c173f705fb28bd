/* The table of chips, their names, and the limits that are kept of a machine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "monitor/chips.h"
#include "monitor/limits.h"

#include <string.h>

static void rows_are_plausible(void **state)
{
    (void)state;
    const struct pn_chip *c;
    size_t n = 0;
    for (; (c = pn_chip_row(n)); n++) {
        struct pantry_error err;
        const struct pn_chip *found;
        assert_true(c->reached > 0.35 * c->nominal && c->reached < 0.95 * c->nominal);
        assert_true(c->layer_seconds > 1e-6 && c->layer_seconds < 3e-4);
        assert_true(c->error >= 0.1 && c->error <= 0.3 && *c->source);
        assert_true(c->operations >= 1e12 && c->most_memory >= (uint64_t)8 << 30);
        assert_int_equal(pn_chip_find(c->name, &found, &err), PANTRY_OK);
        assert_string_equal(found->name, c->name);
    }
    assert_true(n > 80);
}

/* Every size of chip from base to Ultra, with each number of cores that Apple sells. */
static void apples_chips_are_all_there(void **state)
{
    (void)state;
    static const char *const names[] = {"M1",       "M1 7",        "M1 Pro",   "M1 Pro 14",   "M1 Max",   "M1 Max 24",
                                        "M1 Ultra", "M1 Ultra 48", "M2",       "M2 8",        "M2 Pro",   "M2 Pro 16",
                                        "M2 Max",   "M2 Max 30",   "M2 Ultra", "M2 Ultra 60", "M3",       "M3 8",
                                        "M3 Pro",   "M3 Pro 14",   "M3 Max",   "M3 Max 30",   "M3 Ultra", "M3 Ultra 60",
                                        "M4",       "M4 8",        "M4 Pro",   "M4 Pro 16",   "M4 Max",   "M4 Max 32",
                                        "M5",       "M5 8",        "M5 Pro",   "M5 Pro 16",   "M5 Max",   "M5 Max 32"};
    struct pantry_error err;
    const struct pn_chip *chip;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(pn_chip_find(names[i], &chip, &err), PANTRY_OK);
        assert_int_equal(chip->kind, PN_CHIP_APPLE);
    }
}

static void names_are_read_as_people_write_them(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        double gb;
    } names[] = {{"M4 Max", 546},
                 {"m4max", 546},
                 {"Apple M4 Max", 546},
                 {"apple m4-max 32", 410},
                 {"M1", 68},
                 {"M3 Max 30", 300},
                 {"rtx4090", 1008},
                 {"NVIDIA GeForce RTX 4090", 1008},
                 {"M2 Ultra", 800},
                 {"radeon rx 7900 xtx", 960},
                 {"AMD Ryzen AI Max+ 395", 256},
                 {"M1 7", 68},
                 {"M5 Pro 16", 307},
                 {"RTX 4070 Ti SUPER", 672},
                 {"Intel Arc B580", 456}};
    static const char *const unknown[] = {
        "",
        "M9",
        "M4 Maxx",
        "M4 Max 31",
        "4090 RTX",
        "M4 Ultra",
        "a name that is longer than the name of any chip that was ever sold anywhere"};
    struct pantry_error err;
    const struct pn_chip *chip;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (pn_chip_find(names[i].name, &chip, &err))
            fail_msg("%s: %s", names[i].name, err.text);
        assert_true(chip->nominal == names[i].gb * 1e9);
    }
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        assert_int_equal(pn_chip_find(unknown[i], &chip, &err), PANTRY_NOT_FOUND);
        assert_null(chip);
        assert_non_null(strstr(err.text, "M1, M1 Pro, M1 Max, M1 Ultra, M2"));
    }
}

/* What macOS lets a GPU wire, as reported for these Macs. */
static void memory_for_models(void **state)
{
    (void)state;
    const uint64_t gib = (uint64_t)1 << 30;
    static const struct {
        int total;
        double usable;
    } macs[] = {{8, 5.33}, {16, 10.67}, {32, 21.33}, {64, 48}, {128, 96}};
    for (size_t i = 0; i < sizeof macs / sizeof *macs; i++) {
        double usable = (double)pn_chip_usable(PN_CHIP_APPLE, (uint64_t)macs[i].total * gib) / (double)gib;
        assert_true(usable > macs[i].usable - 0.01 && usable < macs[i].usable + 0.01);
    }
    assert_true(pn_chip_usable(PN_CHIP_CPU, 1 * gib) > 0);
    assert_true(pn_chip_usable(PN_CHIP_CPU, 8 * gib) == 6 * gib);
    assert_true(pn_chip_usable(PN_CHIP_GPU, 24 * gib) > 23 * gib);
}

static void limits_are_kept(void **state)
{
    (void)state;
    struct pn_limits limits = {"cpu (avx2, 2 threads)", 2e10, 1.5e10, 2e-5, 1e12}, back;
    json_t *json = pn_limits_json(&limits);
    assert_true(pn_limits_read(json, &back));
    assert_string_equal(back.device, limits.device);
    assert_true(back.read == limits.read && back.decode == limits.decode &&
                back.layer_seconds == limits.layer_seconds && back.operations == limits.operations);
    json_object_set_new(json, "decode_bytes_per_second", json_real(0));
    assert_false(pn_limits_read(json, &back));
    json_object_set_new(json, "decode_bytes_per_second", json_string("fast"));
    assert_false(pn_limits_read(json, &back));
    json_decref(json);
    assert_false(pn_limits_read(NULL, &back));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_plausible),
        cmocka_unit_test(apples_chips_are_all_there),
        cmocka_unit_test(names_are_read_as_people_write_them),
        cmocka_unit_test(memory_for_models),
        cmocka_unit_test(limits_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
