/* How the cpu device divides attention over many sequences: tasks counted with prefix sums, the longest first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/random.h"
#include "device/cpu/phases.h"

enum { MANY = 128, HEADS = 3, TILE = 4 };

struct world {
    struct pn_cpu device;
    struct pn_program program;
    struct pn_cpu_schedule schedule;
    struct pn_node node;
    struct pn_batch_seq seqs[MANY];
    struct pn_batch batch;
    int64_t first[MANY + 1], length[MANY + 1];
    int32_t order[MANY + 1], n_splits[MANY + 1];
};

/* Sequences of random lengths and contexts; `single`: with one token each. */
static void init(struct world *w, uint64_t seed, int n_seqs, bool single, int n_threads)
{
    struct pn_rng rng = {seed};
    memset(w, 0, sizeof *w);
    w->device.base.properties.n_threads = n_threads;
    w->program.device = &w->device;
    w->program.schedules = &w->schedule;
    w->program.n_schedules = 1;
    w->program.n_parts = PN_CPU_MAX_SPLITS * PN_CPU_SPLIT_TOKENS;
    w->schedule = (struct pn_cpu_schedule){.node = &w->node, .tile = TILE, .first = w->first, .length = w->length};
    w->schedule.order = w->order;
    w->schedule.n_splits = w->n_splits;
    w->node.attn = (struct pn_attention_params){.n_head_kv = HEADS, .causal = true};
    w->batch.seqs = w->seqs;
    w->batch.n_seqs = n_seqs;
    for (int i = 0; i < n_seqs; i++) {
        w->seqs[i].start = w->batch.n_tokens;
        w->seqs[i].n = single ? 1 : 1 + (int32_t)(pn_rng_u64(&rng) % 30);
        w->seqs[i].past = (int32_t)(pn_rng_u64(&rng) % 3000);
        w->batch.n_tokens += w->seqs[i].n;
    }
}

static void schedule(struct world *w)
{
    struct pn_cpu_run run = {.program = &w->program, .batch = &w->batch};
    pn_cpu_attention_schedule(&run);
}

/* Pages with a position that some token of the last tile sees, counted one by one. */
static int64_t pages_of_last_tile(const struct world *w, const struct pn_batch_seq *s)
{
    int64_t end = (int64_t)s->past + s->n, first_row = s->n > TILE ? end - TILE : s->past, n = 0, last = -1;
    for (int64_t key = 0; key < end; key++) {
        bool seen = false;
        for (int64_t q = first_row; q < end; q++)
            seen |= w->node.attn.window ? key <= q && key > q - w->node.attn.window : key <= q;
        if (seen && key / PN_PAGE_TOKENS != last) {
            last = key / PN_PAGE_TOKENS;
            n++;
        }
    }
    return n;
}

static void check(struct world *w, const char *what)
{
    bool seen[MANY] = {false};
    int64_t before = 0, last = INT64_MAX;
    schedule(w);
    for (int i = 0; i < w->batch.n_seqs; i++) {
        int32_t s = w->order[i];
        assert_true(s >= 0 && s < w->batch.n_seqs && !seen[s]);
        seen[s] = true;
        int64_t pages = pages_of_last_tile(w, &w->seqs[s]), splits = w->n_splits[s];
        int64_t length = (pages + splits - 1) / splits;
        assert_int_equal(w->length[s], length);
        if (length > last)
            fail_msg("%s: sequence %d with tasks of %d pages comes after one with %d", what, s, (int)length, (int)last);
        if (length == last) /* equal ones keep their order */
            assert_true(s > w->order[i - 1]);
        last = length;
        assert_int_equal(w->first[i], before);
        before += HEADS * splits * ((w->seqs[s].n + TILE - 1) / TILE);
    }
    assert_int_equal(w->first[w->batch.n_seqs], before);
    assert_int_equal(w->schedule.n_tasks, before);
}

static void tasks_are_counted_and_the_longest_come_first(void **state)
{
    (void)state;
    static const int n_seqs[] = {0, 1, 2, 3, 17, MANY};
    for (int i = 0; i < 24; i++) {
        struct world w;
        init(&w, (uint64_t)i + 1, n_seqs[i % 6], i / 6 % 2, 2);
        w.node.attn.window = i < 12 ? 0 : 700;
        check(&w, i < 12 ? "all" : "a window");
    }
}

/* With more workers than heads a long context is split into parts of four pages or more; never into more than
 * PN_CPU_MAX_SPLITS, nor more than there is room for. */
static void long_contexts_are_split(void **state)
{
    (void)state;
    static const struct {
        int n_threads, n_seqs, past, splits;
    } cases[] = {{1, 1, 3000, 1},   {2, 1, 3000, 2},     {8, 1, 3000, 6},    {64, 1, 9000, 16}, {8, 1, 32 * 16 - 1, 4},
                 {8, 1, 32 * 7, 2}, {8, 1, 0, 1},        {8, 2, 3000, 3},    {8, 16, 3000, 1},  {64, 16, 3000, 3},
                 {64, 17, 3000, 3}, {256, 17, 9000, 11}, {256, 100, 9000, 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct world w;
        init(&w, 3, cases[i].n_seqs, true, cases[i].n_threads);
        for (int s = 0; s < cases[i].n_seqs; s++)
            w.seqs[s].past = cases[i].past;
        check(&w, "splits");
        for (int s = 0; s < cases[i].n_seqs; s++)
            if (w.n_splits[s] != cases[i].splits)
                fail_msg("case %d: %d parts, not %d", (int)i, w.n_splits[s], cases[i].splits);
    }
}

/* A slice of a long prompt beside short sequences: each of its tiles is about the work of all others together, so
 * workers share it. Steps of many tokens have tasks for all workers. */
static void long_slices_are_split(void **state)
{
    (void)state;
    static const struct {
        int n, splits;
    } cases[] = {{1, 6}, {4, 6}, {8, 3}, {16, 2}, {30, 1}, {300, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct world w;
        init(&w, 3, 8, true, 8);
        for (int s = 0; s < 8; s++)
            w.seqs[s].past = s == 7 ? 3999 : 31;
        w.seqs[7].n = cases[i].n;
        w.batch.n_tokens = 7 + cases[i].n;
        check(&w, "slices");
        for (int s = 0; s < 8; s++)
            if (w.n_splits[s] != (s == 7 ? cases[i].splits : 1))
                fail_msg("slice of %d: sequence %d in %d parts", cases[i].n, s, w.n_splits[s]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tasks_are_counted_and_the_longest_come_first),
        cmocka_unit_test(long_contexts_are_split),
        cmocka_unit_test(long_slices_are_split),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
