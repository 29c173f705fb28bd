/* The page of `pantry top`: what it shows of full, empty and hostile samples, in any size, with and without UTF-8. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/top_view.h"

static struct pn_top top;
static struct pn_page page;

static int fresh(void **state)
{
    (void)state;
    memset(&top, 0, sizeof top);
    pn_sample_clear(&top.sample);
    top.limit = NAN;
    top.interval = 1;
    top.asks = true;
    top.service = (struct pn_top_service){.presence = PN_SERVICE_ABSENT, .made_rate = NAN};
    strcpy(top.service.url, "http://127.0.0.1:1");
    return pn_page_new(&page) ? 0 : -1;
}

static int done(void **state)
{
    (void)state;
    pn_page_free(&page);
    return 0;
}

/* All lines, joined by newlines. */
static char *show(int columns, int lines, bool ascii)
{
    static char text[PN_PAGE_LINES * PN_PAGE_BYTES];
    char *end = text;
    pn_page_clear(&page, columns, ascii);
    pn_top_show(&top, &page, lines);
    for (int i = 0; i < page.n; i++) {
        int n = 0;
        for (int k = 0; k < page.line[i].bytes; k++)
            n += (page.line[i].text[k] & 0xc0) != 0x80;
        assert_int_equal(n, page.line[i].columns);
        assert_true(n <= columns);
        end += sprintf(end, "%s\n", page.line[i].text);
    }
    if (lines)
        assert_int_equal(page.n, lines);
    return text;
}

static void has(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" is not in\n%s", part, text);
}

static void hasnt(const char *text, const char *part)
{
    if (strstr(text, part))
        fail_msg("\"%s\" is in\n%s", part, text);
}

/* A large machine on which everything can be read. */
static void fill(void)
{
    struct pn_sample *s = &top.sample;
    strcpy(s->machine, "Apple M4 Max");
    s->n_cores = 16;
    for (int i = 0; i < s->n_cores; i++)
        s->core[i] = (struct pn_core){i / 16.0, 1e9 * (i + 1), i < 4 ? 0 : 1};
    pn_sample_cluster(s, "E-cores");
    pn_sample_cluster(s, "P-cores");
    pn_sample_sum_cores(s);
    s->memory_total = 64e9;
    s->memory_used = 48e9;
    s->swap_total = 2e9;
    s->swap_used = 1e9;
    s->pressure_level = 2;
    s->memory_rate = 300e9;
    s->rate_estimated = s->rate_at_least = true;
    strcpy(s->source[PN_SUBJECT_BANDWIDTH], "histograms");
    strcpy(s->source[PN_SUBJECT_THROTTLE], "thermal level");
    s->throttled = 3;
    top.limit = 546e9;
    s->n_gpus = 1;
    s->gpu[0] = (struct pn_gpu){"M4 Max GPU", 0.9, 1.6e9, 40, 66, 30e9, 64e9, NAN, 1};
    s->n_gpu_processes = 1;
    s->gpu_process[0] = (struct pn_gpu_process){"pantry", 0, 77, 5e9};
    for (int i = 0; i < 12; i++)
        pn_sample_add(&s->temperature, "a sensor with a long name", 40 + i, 100);
    pn_sample_add(&s->power, "system", 55.5, NAN);
    pn_sample_add(&s->fan, "fan 0", 1200, 5000);
    top.service.presence = PN_SERVICE_RUNS;
    top.service.running = 2;
    top.service.made = 1000;
    top.service.made_rate = 44.5;
    top.service.read_rate = 800;
    top.service.cached_share = 0.25;
    top.service.n_models = 1;
    top.service.model[0] = (struct pn_top_model){
        "llama\x1b[31m\xc3\xa9-with-a-name-that-is-far-too-long-for-it", 5e9, 8192, 2, 1, 1000, 44.5};
}

static void everything(void **state)
{
    (void)state;
    fill();
    for (int i = 0; i < 300; i++)
        pn_top_remember(&top);
    char *text = show(120, 60, false);
    has(text, "pantry top  Apple M4 Max  16 cores · 64 GB");
    has(text, "slowed down: 3 thermal level");
    has(text, " E-cores   ██░");
    has(text, "75 %  48 GB of 64 GB  pressure warning");
    has(text, "50 %  1.0 GB of 2.0 GB");
    has(text, "55 %  ≥ 300.0 of 546.0 GB/s by its maker  histograms");
    has(text, "90 %  1.60 GHz  30 GB of 64 GB  40.0 W  66 °C  slowed down");
    has(text, "M4 Max GPU · pantry (77) 5.0 GB");
    has(text, "power      system 55.5 W");
    has(text, "fans       fan 0 1200 rpm");
    has(text, "44.5 tok/s  prompts 800 tok/s  from the cache 25 %");
    has(text, "llama?[31m?-with-a-name-that-is…     44.5 tok/s    5.0 GB  context 8,192  2 running  1 waiting");
    has(text, "processor  up to 100 %");
    has(text, "bandwidth  up to 546 GB/s");
    hasnt(text, "absent");
    hasnt(text, "sensor with a long name 51"); /* one line of them, until `s` */
    top.sensors = true;
    has(show(120, 60, false), "sensor with a long name 51 °C");
    top.cores = true;
    has(show(120, 60, false), "  15 █████  94");
    top.measured = true;
    has(show(80, 24, false), "GB/s measured");
}

static void every_size(void **state)
{
    (void)state;
    fill();
    for (int i = 0; i < 600; i++)
        pn_top_remember(&top);
    top.cores = top.sensors = true;
    for (int columns = 1; columns < 260; columns += 7)
        for (int lines = 1; lines < 90; lines += 5) {
            top.help = lines % 2;
            show(columns, lines, columns % 2);
        }
    show(500, PN_PAGE_LINES, false); /* wider than a history */
}

static void ascii(void **state)
{
    (void)state;
    fill();
    for (int i = 0; i < 5; i++)
        pn_top_remember(&top);
    char *text = show(100, 50, true);
    for (char *p = text; *p; p++)
        assert_true(*p == '\n' || (*p >= ' ' && *p <= '~'));
    has(text, "> 300.0 of 546.0");
    has(text, "66 C");
}

static void nothing(void **state)
{
    (void)state;
    for (int i = 0; i < PN_N_SUBJECTS; i++)
        pn_sample_absent(&top.sample, (enum pn_subject)i, "reason %d", i);
    pn_top_remember(&top);
    char *text = show(100, 0, false);
    has(text, "service    none runs at http://127.0.0.1:1\n");
    has(text, "absent     load of the processor: reason 0\n");
    has(text, "absent     fans: reason 10\n");
    hasnt(text, "0 %"); /* what is absent is never 0 */
    hasnt(text, "up to");
    hasnt(text, "quit");
    has(show(100, 24, false), "absent     load of the processor, clock of the processor, throttling, memory, ");
    *top.service.url = '\0';
    has(show(100, 24, false), "service    asking...\n");
    top.asks = false;
    hasnt(show(100, 24, false), "service");
    top.asks = true;
    top.service.presence = PN_SERVICE_BROKEN;
    strcpy(top.service.why, "it is \x07 broken");
    has(show(100, 24, false), "service    it is ? broken");
}

static void histories(void **state)
{
    (void)state;
    struct pn_history h = {0};
    assert_true(pn_tone_of(0.59) == PN_TONE_LOW && pn_tone_of(0.6) == PN_TONE_MIDDLE);
    assert_true(pn_tone_of(0.84) == PN_TONE_MIDDLE && pn_tone_of(0.85) == PN_TONE_HIGH);
    assert_true(pn_history_most(&h, -1) == -1);
    for (int i = 0; i < PN_HISTORY + 10; i++)
        pn_history_add(&h, i == 3 ? 1e6 : i);
    assert_true(pn_history_most(&h, -1) == PN_HISTORY + 9); /* the old ones are forgotten */
    pn_history_add(&h, NAN);
    assert_true(pn_history_most(&h, -1) == PN_HISTORY + 9);
    memset(&h, 0, sizeof h);
    pn_history_add(&h, 0);
    pn_history_add(&h, 4);
    pn_history_add(&h, NAN);
    pn_history_add(&h, 8);
    pn_history_add(&h, 99);
    pn_page_clear(&page, 6, false);
    pn_page_spark(&page, &h, 8, 6);
    assert_string_equal(page.line[0].text, "  ▄ ██");
    assert_int_equal(page.line[0].tone[strlen("  ▄ ")], PN_TONE_HIGH);
    pn_page_clear(&page, 3, false);
    pn_page_chart(&page, &h, 8, 1, 2);
    assert_string_equal(page.line[0].text, " ██");
    assert_string_equal(page.line[1].text, " ██");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fresh, done)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(everything), TEST(every_size), TEST(ascii), TEST(nothing), TEST(histories)};
    return cmocka_run_group_tests_name("top_view", tests, NULL, NULL);
}
