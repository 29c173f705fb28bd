/* Devices: opening them by name and instruction set, their properties and errors, their memory, and steps that leave
 * some or all workers idle. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "device/cpu/kernel.h"
#include "device/device.h"
#include "emulated.h"
#include "op_run.h"

/* ---- opening ---- */

static struct pn_device *open_device(const char *name, int n_threads, const char *isa)
{
    struct pantry_error err = {0};
    struct pn_device *d = NULL;
    if (pn_device_open(name, &(struct pn_device_options){n_threads, isa}, &d, &err))
        fail_msg("%s", err.text);
    assert_non_null(d);
    return d;
}

static void opens_by_name(void **state)
{
    (void)state;
    struct pn_device *d = open_device("ref", 7, NULL);
    assert_string_equal(d->class->name, "ref");
    assert_string_equal(d->properties.name, "ref (scalar float32)");
    assert_int_equal(d->properties.n_threads, 1);
    assert_int_equal(d->properties.cache_type, PN_TYPE_F32);
    assert_false(d->properties.fuses);
    pn_device_close(d);
    if (emulated_cuda()) {
        d = open_device(NULL, 1, NULL);
        assert_string_equal(d->class->name, "cuda");
        assert_memory_equal(d->properties.name, "cuda (", 6);
        assert_false(d->properties.fuses);
        pn_device_close(d);
    }
    for (int n = 1; n < 4; n++) {
        char name[96];
        d = open_device(n == 3 && !emulated_cuda() ? NULL : "cpu", n, "generic");
        snprintf(name, sizeof name, "cpu (generic, %d thread%s)", n, n > 1 ? "s" : "");
        assert_string_equal(d->class->name, "cpu");
        assert_string_equal(d->properties.name, name);
        assert_int_equal(d->properties.n_threads, n);
        assert_int_equal(d->properties.cache_type, PN_TYPE_F16);
        assert_true(d->properties.fuses);
        pn_device_close(d);
    }
    d = open_device("cpu", 0, NULL);
    assert_int_equal(d->properties.n_threads, pn_os_physical_cores());
    pn_device_close(d);
    pn_device_close(NULL);
}

static void devices_that_cannot_be_opened(void **state)
{
    (void)state;
    static const struct {
        const char *name, *isa;
        pantry_status status;
        const char *text;
    } cases[] = {
        {"abacus", NULL, PANTRY_NOT_FOUND,
         "unknown device (found \"abacus\", allowed \"cuda\", \"metal\", \"cpu\" and \"ref\")"},
        {"", NULL, PANTRY_NOT_FOUND, "unknown device (found \"\", allowed \"cuda\", \"metal\", \"cpu\" and \"ref\")"},
        {"cpu", "sse9", PANTRY_INVALID, "this processor has no instruction set \"sse9\""},
        {"cpu", "", PANTRY_INVALID, "this processor has no instruction set \"\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pantry_error err = {0};
        struct pn_device *d = (struct pn_device *)&err;
        assert_int_equal(pn_device_open(cases[i].name, &(struct pn_device_options){1, cases[i].isa}, &d, &err),
                         cases[i].status);
        assert_null(d);
        assert_int_equal(err.status, cases[i].status);
        assert_string_equal(err.text, cases[i].text);
    }
}

/* ---- instruction sets ---- */

/* Whether this processor has an instruction set, from another source. */
static bool has(const char *isa)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    if (strcmp(isa, "avx2") == 0)
        return avx2;
    if (strcmp(isa, "avx512") == 0)
        return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512vnni");
#elif defined(__aarch64__)
    if (strcmp(isa, "neon") == 0)
        return true;
#endif
    return strcmp(isa, "generic") == 0;
}

/* Each limit is respected. Under each, every type has a product in its declared format; better sets read quantized
 * activations where the plain one reads floats. */
static void limits_instruction_sets(void **state)
{
    (void)state;
    static const pn_type fast[] = {PN_TYPE_Q4_0,    PN_TYPE_Q4_1,    PN_TYPE_Q5_0,    PN_TYPE_Q5_1,    PN_TYPE_Q8_0,
                                   PN_TYPE_Q2_K,    PN_TYPE_Q3_K,    PN_TYPE_Q4_K,    PN_TYPE_Q5_K,    PN_TYPE_Q6_K,
                                   PN_TYPE_IQ4_NL,  PN_TYPE_IQ4_XS,  PN_TYPE_MXFP4,   PN_TYPE_AFFINE2, PN_TYPE_AFFINE3,
                                   PN_TYPE_AFFINE4, PN_TYPE_AFFINE5, PN_TYPE_AFFINE6, PN_TYPE_AFFINE8, PN_TYPE_FP4_MX};
    struct pn_cpu_kernels best, k;
    assert_true(pn_cpu_kernels_select(&best, NULL));
    assert_string_equal(pn_cpu_isas[0].name, "generic");
    for (int i = 0; i < pn_cpu_n_isas; i++) {
        const char *name = pn_cpu_isas[i].name;
        bool is_here = pn_cpu_kernels_select(&k, name);
#if defined(__x86_64__)
        assert_int_equal(is_here, has(name));
#endif
        assert_true(i > 0 || is_here);
        if (!is_here)
            continue;
        assert_string_equal(k.isa, name);
        for (int t = 0; t < PN_TYPE_COUNT; t++) {
            bool quantized = false;
            for (size_t f = 0; i > 0 && f < sizeof fast / sizeof *fast; f++)
                quantized |= fast[f] == (pn_type)t;
            assert_int_equal(k.matmul[t].type, t);
            assert_non_null(k.matmul[t].run);
            assert_int_equal(k.matmul[t].x_format, quantized ? PN_X_Q15 : PN_X_F32);
        }
        if (i + 1 == pn_cpu_n_isas || !has(pn_cpu_isas[i + 1].name)) {
#if defined(__x86_64__)
            assert_string_equal(best.isa, name);
#endif
        }
        char text[96];
        struct pn_device *d = open_device("cpu", 2, name);
        snprintf(text, sizeof text, "cpu (%s, 2 threads)", name);
        assert_string_equal(d->properties.name, text);
        pn_device_close(d);
    }
    memset(&k, 1, sizeof k);
    struct pn_cpu_kernels before = k;
    assert_false(pn_cpu_kernels_select(&k, "generi"));
    assert_memory_equal(&k, &before, sizeof k);
}

/* ---- memory ---- */

static void buffers(void **state)
{
    (void)state;
    struct pn_device *d = open_device("cpu", 1, NULL);
    struct pantry_error err = {0};
    struct pn_buffer b = {.host = &err, .size = 5};
    assert_int_equal(d->class->buffer_new(d, 0, &b, &err), PANTRY_OK);
    assert_true(b.host == NULL && b.size == 0);
    d->class->buffer_free(d, &b);
    d->class->buffer_free(d, NULL);
    assert_int_equal(d->class->buffer_new(d, 100001, &b, &err), PANTRY_OK);
    assert_int_equal(b.size, 100001);
    assert_int_equal((uintptr_t)b.host % 4096, 0);
    for (size_t i = 0; i < b.size; i++)
        assert_int_equal(((unsigned char *)b.host)[i], 0);
    memset(b.host, 1, b.size);
    d->class->buffer_free(d, &b);
    assert_true(b.host == NULL && b.size == 0);
    b = (struct pn_buffer){.host = &err, .size = 5};
    assert_int_equal(d->class->buffer_new(d, SIZE_MAX / 2, &b, &err), PANTRY_NO_MEMORY);
    assert_true(b.host == NULL && b.size == 0);
    const char *start = "cannot reserve 8796093022207 MiB of memory: ";
    assert_int_equal(strncmp(err.text, start, strlen(start)), 0);
    d->class->program_free(d, NULL);
    pn_device_close(d);
}

/* Reads return what was written, copied or filled, also at odd offsets; bytes next to it do not change. */
static void contents_of_buffers(void **state)
{
    (void)state;
    static const char *const names[] = {"ref", "cpu"};
    for (int i = 0; i < 2; i++) {
        struct pn_device *d = open_device(names[i], 1, NULL);
        const struct pn_device_class *c = d->class;
        struct pantry_error err = {0};
        struct pn_buffer a, b;
        unsigned char text[64], got[64], want[64] = {0};
        uint64_t total, left;
        for (int j = 0; j < 64; j++)
            text[j] = (unsigned char)(j + 1);
        assert_int_equal(c->buffer_new(d, 64, &a, &err), PANTRY_OK);
        assert_int_equal(c->buffer_new(d, 64, &b, &err), PANTRY_OK);
        assert_true(a.device == d && a.host && a.address == (uintptr_t)a.host && d->properties.unified);
        c->write(d, &a, 7, text + 7, 20);
        memcpy(want + 7, text + 7, 20);
        c->fill(d, &a, 30, 0xEE, 3);
        memset(want + 30, 0xEE, 3);
        c->read(d, &a, 0, got, 64);
        assert_memory_equal(got, want, 64);
        c->copy(d, &b, 1, &a, 9, 30);
        c->read(d, &b, 1, got, 30);
        assert_memory_equal(got, want + 9, 30);
        c->read(d, &b, 0, got, 64);
        assert_true(got[0] == 0 && got[31] == 0);
        c->write(d, &b, 64, text, 0);
        c->discard(d, &a, 0, 0); /* less than a page: nothing to discard */
        c->discard(d, &a, 1, 62);
        c->read(d, &a, 0, got, 64);
        assert_memory_equal(got, want, 64);
        c->memory(d, &total, &left);
        assert_true(total > 0 && left <= total);
        c->buffer_free(d, &a);
        c->buffer_free(d, &b);
        pn_device_close(d);
    }
}

/* ---- weights ---- */

static struct {
    int n;
    uint64_t done, total;
} reported;

static void report(void *context, uint64_t done, uint64_t total)
{
    assert_ptr_equal(context, &reported);
    assert_true(done > reported.done && done <= total && (reported.n == 0 || total == reported.total));
    reported.n++;
    reported.done = done;
    reported.total = total;
}

/* The number of tensors that a device has placed, and their bytes. */
static size_t placed(const struct pn_device *device, uint64_t *bytes)
{
    *bytes = 0;
    for (size_t i = 0; i < device->n_placed; i++)
        *bytes += device->placed[i].bytes;
    return device->n_placed;
}

/* A tensor counts once, whichever parts of it are used, until its last user is gone. */
static void tensors_are_placed_once(void **state)
{
    (void)state;
    enum { N = 5 };
    static const float values[60];
    struct pn_device *d = open_device("cpu", 1, NULL);
    struct pantry_error err = {0};
    uint64_t bytes, first = pn_weight_ids(3);
    struct pn_weight w[N];
    for (int i = 0; i < 3; i++) { /* 40, 80 and 120 bytes */
        w[i] = pn_weight_plain("a tensor", PN_TYPE_F32, 1, i + 1, 10, values);
        w[i].id = first + (uint64_t)i;
    }
    w[3] = pn_weight_plain("rows of one", PN_TYPE_F32, 1, 1, 10, values + 10);
    w[3].id = w[2].id;
    w[3].whole = &w[2];
    w[4] = pn_weight_plain("nobody's", PN_TYPE_F32, 1, 1, 10, values);
    const struct pn_weight *all[] = {&w[3], &w[1], &w[4], &w[2], &w[3], &w[0], &w[1]}, *wholes[7];
    assert_int_equal(pn_weight_wholes(all, 7, wholes), 3);
    assert_true(wholes[0] == &w[0] && wholes[1] == &w[1] && wholes[2] == &w[2]);
    struct pn_progress progress = {report, &reported};
    assert_int_equal(d->class->place(d, wholes + 1, 2, &progress, &err), PANTRY_OK);
    assert_true(reported.n == 2 && reported.done == 200 && reported.total == 200);
    assert_int_equal(placed(d, &bytes), 2);
    assert_int_equal(bytes, 200);
    assert_int_equal(d->class->place(d, wholes, 2, NULL, &err), PANTRY_OK);
    assert_int_equal(placed(d, &bytes), 3);
    assert_int_equal(bytes, 240);
    d->class->release(d, wholes + 1, 2);
    assert_int_equal(placed(d, &bytes), 2);
    assert_int_equal(bytes, 120);
    d->class->release(d, wholes, 3); /* the third is gone already */
    assert_int_equal(placed(d, &bytes), 0);
    assert_int_equal(bytes, 0);
    pn_device_close(d);
}

/* ---- steps with little to do ---- */

/* Fewer rows, columns and heads than threads: more threads than any operation has work for. */
static void more_threads_than_work(void **state)
{
    (void)state;
    static const int lengths[] = {3};
    static const struct op_device many[] = {{"cpu", NULL, 1}, {"cpu", NULL, 2}, {"cpu", NULL, 9}};
    struct op_run o;
    float *w, got[3 * 5];
    double want[3 * 5];
    op_run_init(&o, 1, 4, lengths, 1, 0);
    pn_array y = pn_scale(&o.graph, o.x, 2, 0);
    y = pn_matmul(&o.graph, y, op_run_weight(&o, PN_TYPE_F32, (const int64_t[]){1, 5, 4}, -1, 1, &w));
    y = pn_rms_norm(&o.graph, pn_softcap(&o.graph, y, 3), PN_NONE, 0.5f);
    for (int r = 0; r < 3; r++) {
        double squares = 0;
        for (int i = 0; i < 5; i++) {
            double sum = 0;
            for (int j = 0; j < 4; j++)
                sum += 2 * (double)o.input[r * 4 + j] * (double)w[i * 4 + j];
            want[r * 5 + i] = 3 * tanh(sum / 3);
            squares += want[r * 5 + i] * want[r * 5 + i] / 5;
        }
        for (int i = 0; i < 5; i++)
            want[r * 5 + i] /= sqrt(squares + 0.5);
    }
    for (int d = 0; d < 3; d++)
        for (int slice = 1; slice < 4; slice++) {
            op_run_on(&o, y, &many[d], slice, got, NULL);
            assert_true(op_distance(got, want, 15) < 1e-11);
        }
    free(w);
    op_run_free(&o);
}

/* A step without outputs (as all but the last of a prompt) writes nothing, with one token or more, with float and with
 * quantized activations. */
static void steps_without_outputs(void **state)
{
    (void)state;
    static const int lengths[] = {4};
    static const pn_type types[] = {PN_TYPE_F32, PN_TYPE_Q8_0};
    for (int i = 0; i < 4; i++) {
        struct op_run o;
        float *w, *stack, result[64];
        op_run_init(&o, 2, 32, lengths, 1, 0);
        pn_array x = pn_output_rows(&o.graph, o.x), y;
        y = pn_matmul(&o.graph, x, op_run_weight(&o, types[i % 2], (const int64_t[]){1, 32, 32}, -1, 1, &w));
        y = pn_matmul_each(&o.graph, y, op_run_weight(&o, types[i % 2], (const int64_t[]){1, 8, 32}, -1, 1, &stack),
                           PN_NONE);
        y = pn_act(&o.graph, y, PN_ACT_FN_SILU);
        int32_t ids[] = {0, 1, 2, 3}, pos[] = {0, 1, 2, 3};
        struct pn_batch_seq seq = {.n = i < 2 ? 1 : 4};
        struct pn_batch b = {.n_tokens = seq.n, .ids = ids, .pos = pos, .n_seqs = 1, .seqs = &seq, .out_rows = ids};
        b.results = (void *[]){result};
        for (int d = 0; d < op_n_devices; d++) {
            struct pantry_error err = {0};
            for (int j = 0; j < 64; j++)
                result[j] = 7;
            assert_int_equal(op_step(&o.graph, y, &op_devices[d], &b, &err), PANTRY_OK);
            for (int j = 0; j < 64; j++)
                assert_true(result[j] == 7);
        }
        free(w);
        free(stack);
        op_run_free(&o);
    }
}

/* A plan is made for the device, whatever its spec says; a device rejects a plan for another. */
static void plans_follow_their_device(void **state)
{
    (void)state;
    static const char *const names[] = {"ref", "cpu"};
    static const int lengths[] = {2};
    struct op_run o;
    struct pantry_error err = {0};
    op_run_init(&o, 3, 64, lengths, 1, 0);
    pn_array y = pn_softcap(&o.graph, pn_scale(&o.graph, o.x, 2, 0), 3);
    for (int i = 0; i < 2; i++)
        for (int fuse = 0; fuse < 2; fuse++) {
            struct pn_device *d = open_device(names[i], 1, NULL), *ref = open_device("ref", 1, NULL);
            struct pn_plan *plan;
            struct pn_program *program = (struct pn_program *)&o;
            struct pn_plan_spec spec = op_plan_spec(&y, 2);
            spec.fuse = fuse;
            spec.device_name = "nobody";
            assert_int_equal(pn_device_plan(d, &o.graph, spec, &plan, &err), PANTRY_OK);
            assert_int_equal(plan->fused, d->properties.fuses);
            assert_int_equal(plan->fused, i == 1);
            assert_int_equal(ref->class->compile(ref, plan, &program, &err), plan->fused ? PANTRY_INTERNAL : PANTRY_OK);
            assert_true(plan->fused ? !program : !!program);
            ref->class->program_free(ref, program);
            pn_plan_free(plan);
            pn_device_close(ref);
            pn_device_close(d);
        }
    op_run_free(&o);
}

static bool can_nothing(const void *device, const struct pn_graph *graph, const struct pn_node *node)
{
    (void)graph, (void)node;
    assert_string_equal(((const struct pn_device *)device)->properties.name, "abacus");
    return false;
}

static void plans_name_their_device(void **state)
{
    (void)state;
    static const int lengths[] = {2};
    static const struct pn_device_class class = {.name = "beads", .can = can_nothing};
    const struct pn_device abacus = {.class = &class, .properties = {.name = "abacus"}};
    struct op_run o;
    struct pantry_error err = {0};
    struct pn_plan *plan = NULL;
    op_run_init(&o, 3, 64, lengths, 1, 0);
    pn_array y = pn_softcap(&o.graph, o.x, 3);
    assert_int_equal(pn_device_plan(&abacus, &o.graph, op_plan_spec(&y, 2), &plan, &err), PANTRY_UNSUPPORTED);
    assert_non_null(strstr(err.text, "abacus"));
    assert_null(plan);
    op_run_free(&o);
}

/* Scratch grows only for a program that needs more. */
static void scratch_memory_grows(void **state)
{
    (void)state;
    static const char *const names[] = {"ref", "cpu"};
    static const int lengths[] = {2};
    for (int i = 0; i < 2; i++) {
        struct pn_device *d = open_device(names[i], 1, NULL);
        struct pn_buffer scratch = {0};
        struct pantry_error err = {0};
        size_t needed[2];
        for (int k = 0; k < 4; k++) { /* 64 rows, 512, 64 and 512 again */
            struct op_run o;
            struct pn_plan *plan;
            struct pn_program *program;
            op_run_init(&o, 3, 64, lengths, 1, 0);
            pn_array y = pn_add(&o.graph, pn_softcap(&o.graph, o.x, 3), o.x);
            y = pn_add(&o.graph, pn_rms_norm(&o.graph, y, PN_NONE, 1), y);
            assert_int_equal(pn_device_plan(d, &o.graph, op_plan_spec(&y, k % 2 ? 512 : 64), &plan, &err), PANTRY_OK);
            assert_int_equal(d->class->compile(d, plan, &program, &err), PANTRY_OK);
            size_t bytes = d->class->scratch_bytes(program), before = scratch.size;
            void *was = scratch.host;
            assert_int_equal(pn_scratch_fit(&scratch, d, bytes, &err), PANTRY_OK);
            if (k < 2) {
                needed[k] = bytes;
                assert_true(bytes > before && scratch.size >= bytes);
            } else {
                assert_int_equal(bytes, needed[k % 2]);
                assert_true(scratch.size == before && scratch.host == was);
            }
            d->class->program_free(d, program);
            pn_plan_free(plan);
            op_run_free(&o);
        }
        d->class->buffer_free(d, &scratch);
        pn_device_close(d);
    }
}

/* Runs report their time; a failing run reports its error each time, and the next one may succeed. */
static void runs_are_timed_and_fail_alone(void **state)
{
    (void)state;
    static const int lengths[] = {2};
    static const char *const names[] = {"ref", "cpu"};
    for (int i = 0; i < 2; i++) {
        struct op_run o;
        struct pantry_error err = {0};
        struct pn_plan *plan;
        struct pn_program *program;
        struct pn_buffer scratch = {0};
        float result[2 * 600];
        op_run_init(&o, 3, 600, lengths, 1, 0);
        pn_array y = pn_act(&o.graph, o.x, PN_ACT_FN_GELU);
        struct pn_device *d = open_device(names[i], 2, NULL);
        assert_int_equal(d->class->elapsed(d), 0);
        assert_int_equal(pn_device_plan(d, &o.graph, op_plan_spec(&y, 2), &plan, &err), PANTRY_OK);
        assert_int_equal(d->class->compile(d, plan, &program, &err), PANTRY_OK);
        assert_int_equal(pn_scratch_fit(&scratch, d, d->class->scratch_bytes(program), &err), PANTRY_OK);
        for (int32_t id = 0; id < 6; id++) {
            int32_t ids[] = {id < 3 ? id : 1, 0}, pos[] = {0, 1};
            struct pn_batch_seq seq = {.n = 2};
            struct pn_batch b = {
                .n_tokens = 2, .ids = ids, .pos = pos, .n_seqs = 1, .seqs = &seq, .results = (void *[]){result}};
            pantry_status want = id == 2 ? PANTRY_INVALID : PANTRY_OK;
            assert_int_equal(pn_device_run(d, program, &scratch, &b, id % 2 ? NULL : &err), want);
            assert_true(d->class->elapsed(d) > 0 && d->class->elapsed(d) < 60000000000u);
        }
        assert_string_equal(err.text, "token id 2 is not in the vocabulary of 2");
        d->class->program_free(d, program);
        d->class->buffer_free(d, &scratch);
        pn_plan_free(plan);
        pn_device_close(d);
        op_run_free(&o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_by_name),
        cmocka_unit_test(devices_that_cannot_be_opened),
        cmocka_unit_test(limits_instruction_sets),
        cmocka_unit_test(buffers),
        cmocka_unit_test(contents_of_buffers),
        cmocka_unit_test(tensors_are_placed_once),
        cmocka_unit_test(more_threads_than_work),
        cmocka_unit_test(steps_without_outputs),
        cmocka_unit_test(plans_follow_their_device),
        cmocka_unit_test(plans_name_their_device),
        cmocka_unit_test(scratch_memory_grows),
        cmocka_unit_test(runs_are_timed_and_fail_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
