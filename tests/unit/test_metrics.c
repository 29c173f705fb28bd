/* Prometheus' text format, as a client reads it from a service that it does not trust. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "cli/metrics.h"

static void samples(void **state)
{
    (void)state;
    struct pn_metric m;
    const char *text = "# HELP a Words.\n# TYPE a counter\na_total 5\nb{model=\"x \\\"y\\\\\",part=\"z\"} 1.5e3\n"
                       "c{part=\"model\"} -2 1700000000\n\nd{} 4";
    assert_true(pn_metrics_next(&text, &m));
    assert_string_equal(m.name, "a_total");
    assert_string_equal(m.model, "");
    assert_true(m.value == 5);
    assert_true(pn_metrics_next(&text, &m));
    assert_string_equal(m.name, "b");
    assert_string_equal(m.model, "x \"y\\");
    assert_true(m.value == 1500);
    assert_true(pn_metrics_next(&text, &m));
    assert_string_equal(m.name, "c");
    assert_string_equal(m.model, "");
    assert_true(m.value == -2);
    assert_true(pn_metrics_next(&text, &m));
    assert_string_equal(m.name, "d");
    assert_false(pn_metrics_next(&text, &m));
    assert_false(pn_metrics_next(&text, &m));
}

static void hostile(void **state)
{
    (void)state;
    static const char *const bad[] = {"a",
                                      "a ",
                                      "a x",
                                      "a nan",
                                      "a +Inf",
                                      "a 1x",
                                      "{a=\"b\"} 1",
                                      "a{b=\"c} 1",
                                      "a{b=c} 1",
                                      "a{b=\"c\" 1",
                                      "a{=\"c\"} 1",
                                      "a{b=\"c\"}1",
                                      "a{b=\"c\\",
                                      "a{b=\"c\\\n\"} 1",
                                      "a{b",
                                      "a{b=\"c\",",
                                      "a  ",
                                      "a \n5",
                                      "#a 1",
                                      " a 1",
                                      "name_that_is_longer_than_any_that_this_program_has_ever_had_or_will_have 1"};
    struct pn_metric m;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *text = bad[i];
        if (pn_metrics_next(&text, &m))
            fail_msg("\"%s\" is accepted", bad[i]);
        assert_true(*text == '\0');
    }
    char line[400] = "a{model=\"\x1b[31m";
    memset(line + strlen(line), 'x', 300);
    strcat(line, "\"} 1");
    const char *text = line;
    assert_true(pn_metrics_next(&text, &m));
    assert_int_equal(strlen(m.model), sizeof m.model - 1);
    assert_int_equal(m.model[0], '?');
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(samples), cmocka_unit_test(hostile)};
    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
