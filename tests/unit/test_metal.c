/* The Metal driver, on the emulator of tests/metal-emulator: memory, steps, errors; and that the emulator notices what
 * breaks on a real GPU. Nothing here says how an Apple GPU behaves: see docs/metal.md. */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dlfcn.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device/metal/metal.h"
#include "device/metal/objc.h"
#include "emulated.h"
#include "tensor/type.h"

enum { N = 1024, PAGE = 16384, THREADS = 256 };

static struct pantry_error error;
static struct pn_gpu_driver *driver;

/* ---- kernels ---- */

/* Each test's kernel is the body of KERNEL(add), and KERNEL(mul) doubles its operand into its result. */
static char *source_of(const char *body)
{
    static const char *const files[] = {"src/device/gpu/kernels/dialect.gpu", "src/device/gpu/args.h"};
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    assert_non_null(out);
    for (int i = 0; i < 2; i++) {
        FILE *in = fopen(files[i], "r");
        if (!in)
            fail_msg("%s: cannot read: run the test from the root of the repository", files[i]);
        for (int c; (c = getc(in)) != EOF;)
            putc(c, out);
        fclose(in);
    }
    fprintf(out,
            "\nKERNEL(mul)\n{\n    i32 i = GROUP_X * N_THREADS + THREAD;\n    if (i < a.n1)\n"
            "        a.out.data[i] = 2.0f * a.src[0].data[i];\n}\n\nKERNEL(add)\n{\n%s\n}\n",
            body);
    fclose(out);
    return text;
}

static pantry_status open_with(const char *body)
{
    char *text = source_of(body);
    pantry_status status = pn_metal_open(text, strlen(text), &driver, &error);
    free(text);
    return status;
}

static void open_driver(const char *body)
{
    if (open_with(body))
        fail_msg("%s", error.text);
}

static long n_live(void)
{
    void *f = dlsym(RTLD_DEFAULT, "metal_emulator_live");
    long (*live)(const char *);
    memcpy(&live, &f, sizeof f);
    return live(NULL);
}

/* Closes it, and finds that nothing is left. */
static void close_driver(void)
{
    driver->class->close(driver);
    driver = NULL;
    assert_int_equal(n_live(), 0);
}

static struct pn_gpu_memory allocate(size_t size)
{
    struct pn_gpu_memory m;
    if (driver->class->allocate(driver, size, &m, &error))
        fail_msg("%s", error.text);
    return m;
}

static void release(struct pn_gpu_memory *m)
{
    driver->class->release(driver, m);
    assert_null(m->handle);
}

static struct pn_gpu_launch launch(enum pn_gpu_kernel kernel, uint64_t out, uint64_t in, int groups)
{
    struct pn_gpu_launch l = {.kernel = kernel, .groups = {(u32)groups, 1, 1}, .shared = 4096, .waits = true};
    l.args.out.data = out;
    l.args.src[0].data = in;
    l.args.n1 = N;
    return l;
}

static pantry_status run(const struct pn_gpu_launch *l, size_t n)
{
    pantry_status status = driver->class->submit(driver, l, n, &error);
    return status ? status : driver->class->wait(driver, &error);
}

static float *numbers(void)
{
    static float v[N];
    for (int i = 0; i < N; i++)
        v[i] = (float)i;
    return v;
}

/* ---- the driver ---- */

static void opens(void **state)
{
    (void)state;
    open_driver("");
    assert_string_equal(driver->class->name, "metal");
    assert_string_equal(driver->name, "Metal emulator (this processor)");
    assert_true(driver->unified);
    assert_int_equal(driver->page, PAGE);
    assert_int_equal(driver->max_shared, 32768);
    close_driver();
    /* A second one is as good as the first. */
    open_driver("");
    close_driver();
}

static void memory_is_zeroed_written_copied_filled(void **state)
{
    (void)state;
    open_driver("");
    struct pn_gpu_memory a = allocate(1000), b = allocate(3 * PAGE + 1);
    unsigned char bytes[1000], got[1000];
    for (int i = 0; i < 1000; i++)
        bytes[i] = (unsigned char)(i * 7);
    driver->class->read(driver, got, b.address + 2 * PAGE, sizeof got);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(got[i], 0);
    driver->class->write(driver, a.address, bytes, sizeof bytes);
    driver->class->copy(driver, b.address + 3 * PAGE + 1 - 900, a.address + 100, 900);
    driver->class->read(driver, got, b.address + 3 * PAGE + 1 - 900, 900);
    assert_memory_equal(got, bytes + 100, 900);
    driver->class->fill(driver, a.address + 10, 0x5A, 20);
    memset(bytes + 10, 0x5A, 20);
    driver->class->read(driver, got, a.address, sizeof got);
    assert_memory_equal(got, bytes, sizeof got);
    assert_memory_equal(a.host, bytes, sizeof bytes);
    release(&a);
    release(&b);
    close_driver();
}

static void steps_run_in_order(void **state)
{
    (void)state;
    open_driver("    i32 i = GROUP_X * N_THREADS + THREAD;\n    a.out.data[i] = a.src[0].data[i] + 1.0f;");
    struct pn_gpu_memory x = allocate(N * sizeof(float)), y = allocate(N * sizeof(float));
    driver->class->write(driver, x.address, numbers(), N * sizeof(float));
    /* More steps than may be in flight; each does x = 2 x + 1 by way of y. */
    for (int i = 0; i < 20; i++) {
        struct pn_gpu_launch l[] = {launch(PN_GPU_mul, y.address, x.address, N / THREADS),
                                    launch(PN_GPU_add, x.address, y.address, N / THREADS)};
        if (driver->class->submit(driver, l, 2, &error))
            fail_msg("%s", error.text);
    }
    float got[N];
    driver->class->read(driver, got, x.address, sizeof got);
    for (int i = 0; i < N; i++)
        assert_float_equal(got[i], ldexpf((float)i + 1, 20) - 1, 0);
    assert_int_equal(driver->class->wait(driver, &error), PANTRY_OK);
    assert_true(driver->class->elapsed(driver) > 0);
    release(&x);
    release(&y);
    close_driver();
}

/* A tree over the lanes of a warp and then over warps, by way of the group's memory. */
static const char sum_of_group[] = "    float v = a.src[0].data[GROUP_X * N_THREADS + THREAD];\n"
                                   "    for (i32 mask = 16; mask > 0; mask >>= 1)\n"
                                   "        v += WARP_XOR(v, mask);\n"
                                   "    if (LANE == 0)\n        shared[WARP] = v;\n"
                                   "    BARRIER();\n"
                                   "    float sum = 0;\n"
                                   "    for (i32 w = 0; w < N_THREADS / 32; w++)\n        sum += shared[w];\n"
                                   "    a.out.data[GROUP_X * N_THREADS + THREAD] = sum;";

static void threads_meet_in_every_order(void **state)
{
    (void)state;
    static const char *const orders[] = {"forward", "reversed", "shuffled"};
    open_driver(sum_of_group);
    for (int o = 0; o < 3; o++) {
        setenv("METAL_EMULATOR_ORDER", orders[o], 1);
        struct pn_gpu_memory x = allocate(N * sizeof(float)), y = allocate(N * sizeof(float));
        driver->class->write(driver, x.address, numbers(), N * sizeof(float));
        struct pn_gpu_launch l = launch(PN_GPU_add, y.address, x.address, N / THREADS);
        if (run(&l, 1))
            fail_msg("%s", error.text);
        float got[N];
        driver->class->read(driver, got, y.address, sizeof got);
        for (int i = 0; i < N; i++) {
            int first = i / THREADS * THREADS;
            assert_float_equal(got[i], (float)(THREADS * first + THREADS * (THREADS - 1) / 2), 0);
        }
        release(&x);
        release(&y);
    }
    unsetenv("METAL_EMULATOR_ORDER");
    close_driver();
}

static void halves_are_those_of_the_host(void **state)
{
    (void)state;
    open_driver("    i32 i = GROUP_X * N_THREADS + THREAD;\n"
                "    a.out.data[i] = half_value((u16)i);\n"
                "    a.src[0].data[i] = (float)half_bits(a.src[1].data[i]);");
    enum { ALL = 65536 };
    struct pn_gpu_memory values = allocate(ALL * 4), bits = allocate(ALL * 4), floats = allocate(ALL * 4);
    float *between = floats.host;
    for (uint32_t i = 0; i < ALL; i++) { /* numbers between halves, around all sizes, ties among them */
        uint32_t u = i << 16 | (i % 3 == 0 ? 0x1000 : i % 3 == 1 ? 0x0FFF : i * 2654435761u >> 16);
        memcpy(between + i, &u, sizeof u);
    }
    struct pn_gpu_launch l = launch(PN_GPU_add, values.address, bits.address, ALL / THREADS);
    l.args.src[1].data = floats.address;
    if (run(&l, 1))
        fail_msg("%s", error.text);
    for (uint32_t i = 0; i < ALL; i++) {
        float want = pn_f16_to_f32((uint16_t)i), got = ((float *)values.host)[i];
        if (memcmp(&want, &got, sizeof want) != 0 && !(isnan(want) && isnan(got)))
            fail_msg("half %#x is %g, not %g", i, (double)got, (double)want);
        uint16_t rounded = pn_f32_to_f16(between[i]);
        if (((float *)bits.host)[i] != (float)rounded && !isnan(between[i]))
            fail_msg("%.9g rounds to half %#x, not %#x", (double)between[i], (int)((float *)bits.host)[i], rounded);
    }
    release(&values);
    release(&bits);
    release(&floats);
    close_driver();
}

static void *map_pages(size_t size, FILE *file)
{
    char *room = mmap(NULL, size + PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(room, MAP_FAILED);
    char *at = room + (PAGE - (uintptr_t)room % PAGE) % PAGE;
    void *p = mmap(at, size, PROT_READ, MAP_PRIVATE | MAP_FIXED, fileno(file), 0);
    assert_ptr_equal(p, at);
    return p;
}

static void wraps_a_mapped_file(void **state)
{
    (void)state;
    open_driver("");
    FILE *file = tmpfile();
    assert_non_null(file);
    for (int page = 0; page < PAGE / 2048; page++) /* 2 pages of PAGE */
        assert_int_equal(fwrite(numbers(), sizeof(float), N, file), N);
    assert_int_equal(fflush(file), 0);
    char *map = map_pages(2 * PAGE, file);
    struct pn_gpu_memory w, y = allocate(N * sizeof(float)), bad;
    assert_int_equal(driver->class->wrap(driver, map, 2 * PAGE, &w, &error), PANTRY_OK);
    struct pn_gpu_launch l = launch(PN_GPU_mul, y.address, w.address + PAGE + N * sizeof(float), N / THREADS);
    if (run(&l, 1))
        fail_msg("%s", error.text);
    for (int i = 0; i < N; i++)
        assert_float_equal(((float *)y.host)[i], 2.0f * (float)i, 0);
    assert_int_equal(driver->class->wrap(driver, map + 4096, PAGE, &bad, &error), PANTRY_INVALID);
    assert_non_null(strstr(error.text, "only whole pages of 16384 bytes can be wrapped"));
    assert_int_equal(driver->class->wrap(driver, map, PAGE + 4096, &bad, &error), PANTRY_INVALID);
    /* The map may be read-only. */
    l = launch(PN_GPU_mul, w.address, y.address, N / THREADS);
    assert_int_equal(run(&l, 1), PANTRY_INTERNAL);
    assert_non_null(strstr(error.text, "wraps the host's memory"));
    release(&w);
    release(&y);
    munmap(map, 2 * PAGE);
    fclose(file);
    close_driver();
}

/* ---- what it says when something is missing ---- */

static void refuses_what_cannot_run_the_kernels(void **state)
{
    (void)state;
    setenv("METAL_EMULATOR_NO_DEVICE", "1", 1);
    assert_int_equal(open_with(""), PANTRY_UNSUPPORTED);
    assert_string_equal(error.text, "Metal: this system offers no GPU");
    unsetenv("METAL_EMULATOR_NO_DEVICE");
    setenv("METAL_EMULATOR_FAMILY", "6", 1);
    assert_int_equal(open_with(""), PANTRY_UNSUPPORTED);
    assert_non_null(strstr(error.text, "is not a GPU of Apple's M1 or newer"));
    unsetenv("METAL_EMULATOR_FAMILY");
    assert_int_equal(open_with("    nonsense;"), PANTRY_UNSUPPORTED);
    assert_non_null(strstr(error.text, "the kernels do not compile"));
    assert_non_null(strstr(error.text, "nonsense"));
    assert_null(driver);
    assert_int_equal(n_live(), 0);
}

static void runs_on_older_systems(void **state)
{
    (void)state;
    setenv("METAL_EMULATOR_MACOS", "13", 1);
    setenv("METAL_EMULATOR_WITHOUT", "newResidencySetWithDescriptor:error: setMathMode:", 1);
    steps_run_in_order(NULL);
    wraps_a_mapped_file(NULL);
    unsetenv("METAL_EMULATOR_WITHOUT");
    unsetenv("METAL_EMULATOR_MACOS");
}

static void memory_is_bounded(void **state)
{
    (void)state;
    setenv("METAL_EMULATOR_WORKING_SET", "1000000", 1);
    setenv("METAL_EMULATOR_MAX_BUFFER", "500000", 1);
    open_driver("");
    uint64_t total, left;
    struct pn_gpu_memory a = allocate(400000), b = allocate(400000), c;
    driver->class->memory(driver, &total, &left);
    assert_int_equal(total, 1000000);
    assert_int_equal(left, 200000);
    assert_int_equal(driver->class->allocate(driver, 200001, &c, &error), PANTRY_NO_MEMORY);
    assert_string_equal(error.text, "Metal: an array needs 200,001 bytes of the GPU's memory, but 200,000 of 1,000,000 "
                                    "are left");
    assert_null(c.handle);
    release(&a);
    assert_int_equal(driver->class->allocate(driver, 500001, &c, &error), PANTRY_NO_MEMORY);
    assert_string_equal(error.text, "Metal: an array is too large (found 500,001 bytes, allowed 500,000)");
    c = allocate(500000);
    release(&b);
    release(&c);
    unsetenv("METAL_EMULATOR_WORKING_SET");
    unsetenv("METAL_EMULATOR_MAX_BUFFER");
    close_driver();
}

static void a_failure_is_kept_until_the_next_wait(void **state)
{
    (void)state;
    open_driver("    a.out.data[a.n1] = 1.0f;");
    struct pn_gpu_memory x = allocate(N * sizeof(float)), y = allocate(N * sizeof(float));
    struct pn_gpu_launch bad = launch(PN_GPU_add, x.address, y.address, 1),
                         good = launch(PN_GPU_mul, x.address, y.address, 1);
    assert_int_equal(driver->class->submit(driver, &bad, 1, &error), PANTRY_OK);
    assert_int_equal(driver->class->submit(driver, &good, 1, &error), PANTRY_OK);
    assert_int_equal(driver->class->wait(driver, &error), PANTRY_INTERNAL);
    assert_non_null(strstr(error.text, "Metal: a step failed on the GPU: kernel add"));
    assert_int_equal(driver->class->wait(driver, &error), PANTRY_OK);
    struct pn_gpu_launch much = good;
    much.shared = 32769;
    assert_int_equal(driver->class->submit(driver, &much, 1, &error), PANTRY_UNSUPPORTED);
    assert_non_null(strstr(error.text, "too much threadgroup memory (found 32769, allowed 32768)"));
    struct pn_gpu_launch missing = good;
    missing.kernel = PN_GPU_scale;
    assert_int_equal(driver->class->submit(driver, &missing, 1, &error), PANTRY_INTERNAL);
    assert_string_equal(error.text, "Metal: the source has no kernel scale");
    release(&x);
    release(&y);
    close_driver();
}

/* ---- planted bugs ---- */

/* A kernel with a bug, in a group or two; the step must fail with these words. */
static void must_fail(const char *body, int groups, const char *words)
{
    open_driver(body);
    struct pn_gpu_memory x = allocate(N * sizeof(float)), y = allocate(N * sizeof(float));
    driver->class->write(driver, x.address, numbers(), N * sizeof(float));
    struct pn_gpu_launch l = launch(PN_GPU_add, y.address, x.address, groups);
    if (run(&l, 1) != PANTRY_INTERNAL)
        fail_msg("expected a failure: %s", words);
    if (!strstr(error.text, words))
        fail_msg("'%s' does not say: %s", error.text, words);
    release(&x);
    release(&y);
    close_driver();
}

static void bugs_of_kernels_are_noticed(void **state)
{
    (void)state;
    must_fail("    shared[THREAD] = a.src[0].data[THREAD];\n"
              "    a.out.data[THREAD] = shared[N_THREADS - 1 - THREAD];",
              1, "threadgroup memory");
    must_fail("    shared[THREAD] = 1.0f;\n    BARRIER();\n    float v = shared[N_THREADS - 1 - THREAD];\n"
              "    shared[THREAD] = v;\n    a.out.data[THREAD] = v;",
              1, "missing barrier in the group");
    must_fail("    a.out.data[THREAD] = shared[THREAD];", 1, "which its group has not written");
    must_fail("    shared[a.n1 + THREAD] = 1.0f;", 1, "out of bounds: it writes threadgroup memory");
    must_fail("    if (THREAD < 100)\n        BARRIER();\n    a.out.data[THREAD] = 1.0f;", 1, "threads diverge");
    must_fail("    if (THREAD < 16)\n        a.out.data[THREAD] = WARP_XOR(1.0f, 1);", 1, "threads diverge");
    must_fail("    a.out.data[THREAD] = a.src[0].data[THREAD + a.n1];", 1, "out of bounds: it reads 4 bytes at 4096");
    must_fail("    a.out.data[THREAD] = a.src[0].data[THREAD - 4];", 1, "out of bounds: it reads 4 bytes at -16");
    must_fail("    a.out.data[THREAD] = 1.0f;", 2, "race between groups");
    must_fail("    a.out.data[0] = 1.0f;", 1, "missing barrier in the group: it writes buffer + 0");
    must_fail("    GLOBAL float *nowhere = (GLOBAL float *)(u64)(16 + 4 * THREAD);\n    a.out.data[THREAD] = *nowhere;",
              1, "where it has no memory");
    must_fail("    GLOBAL const float *odd = (GLOBAL const float *)((GLOBAL const u8 *)a.src[0].data + 2);\n"
              "    a.out.data[THREAD] = odd[THREAD];",
              1, "misaligned: program_source");
}

static void a_missing_barrier_between_launches_is_noticed(void **state)
{
    (void)state;
    open_driver("    a.out.data[THREAD] = 1.0f;");
    struct pn_gpu_memory x = allocate(N * sizeof(float)), y = allocate(N * sizeof(float));
    struct pn_gpu_memory z = allocate(N * sizeof(float));
    uint64_t a = x.address, b = y.address, c = z.address;
    /* y = 2 x; then z = 2 y, x = 2 z, y = 2 z: read after write, write after read, write after write. */
    const struct pn_gpu_launch cases[] = {launch(PN_GPU_mul, c, b, 4), launch(PN_GPU_mul, a, c, 4),
                                          launch(PN_GPU_mul, b, c, 4)};
    for (int i = 0; i < 3; i++) {
        struct pn_gpu_launch l[] = {launch(PN_GPU_mul, b, a, 4), cases[i]};
        assert_int_equal(run(l, 2), PANTRY_OK);
        l[1].waits = false;
        assert_int_equal(run(l, 2), PANTRY_INTERNAL);
        assert_non_null(strstr(error.text, "missing barrier between dispatches"));
    }
    /* Independent ones need none: both read x. */
    struct pn_gpu_launch l[] = {launch(PN_GPU_mul, b, a, 4), launch(PN_GPU_mul, c, a, 4)};
    l[1].waits = false;
    assert_int_equal(run(l, 2), PANTRY_OK);
    release(&x);
    release(&y);
    release(&z);
    close_driver();
}

static void memory_that_is_not_resident_is_noticed(void **state)
{
    (void)state;
    open_driver("");
    struct pn_gpu_memory y = allocate(N * sizeof(float));
    void *pool = pn_objc.pool_push();
    pn_id device = pn_objc.default_device(), buffer = pn_device_new_buffer(device, N * sizeof(float), 0);
    struct pn_gpu_launch l = launch(PN_GPU_mul, y.address, pn_buffer_address(buffer), 4);
    assert_int_equal(run(&l, 1), PANTRY_INTERNAL);
    assert_non_null(strstr(error.text, "not resident: it reads a buffer of 4096 bytes"));
    l.args.src[0].data = (uint64_t)(uintptr_t)y.host;
    assert_int_equal(run(&l, 1), PANTRY_INTERNAL);
    assert_non_null(strstr(error.text, "the host's address of a buffer"));
    pn_objc_release(buffer);
    pn_objc_release(device);
    pn_objc.pool_pop(pool);
    release(&y);
    close_driver();
}

static void a_pointer_into_the_wrong_memory_is_rejected(void **state)
{
    (void)state;
    static const struct {
        const char *body, *words;
    } cases[] = {{sum_of_group, NULL},
                 {"    GLOBAL float *p = shared;\n    p[0] = 1.0f;", "address_space"},
                 {"    LOCAL float *p = a.out.data;\n    p[0] = 1.0f;", "address_space"},
                 {"    a.n1 = 1;", "const"},
                 {"    a.out.data[0] = a.out.data[1] * 2.0;", "double"}};
    char lint_folder[64];
    snprintf(lint_folder, sizeof lint_folder, "%s/lint-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    assert_non_null(mkdtemp(lint_folder));
    char file[96], command[256], said[4096];
    snprintf(file, sizeof file, "%s/k.metal", lint_folder);
    snprintf(command, sizeof command, "tests/metal-emulator/lint %s 2>&1", file);
    int code = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases && code != 77; i++) {
        char *text = source_of(cases[i].body);
        FILE *f = fopen(file, "w");
        assert_non_null(f);
        fprintf(f, "#define PN_GPU_METAL 1\n%s", text);
        fclose(f);
        free(text);
        FILE *lint = popen(command, "r");
        assert_non_null(lint);
        said[fread(said, 1, sizeof said - 1, lint)] = '\0';
        code = WEXITSTATUS(pclose(lint));
        if (code != 77 && (code != 0) != (cases[i].words != NULL))
            fail_msg("case %zu: status %d: %s", i, code, said);
        if (code != 77 && cases[i].words && !strstr(said, cases[i].words))
            fail_msg("case %zu: '%s' does not say: %s", i, said, cases[i].words);
    }
    unlink(file);
    rmdir(lint_folder);
    if (code == 77) {
        print_message("clang++ is not installed\n");
        skip();
    }
}

/* ---- misuse of Metal by a host ---- */

static pn_id device, queue;

static pn_id new_encoder(pn_id *commands)
{
    *commands = pn_queue_commands(queue);
    return pn_commands_encoder(*commands, 1);
}

static void commits_twice(void)
{
    pn_id commands, encoder = new_encoder(&commands);
    pn_encoder_end(encoder);
    pn_commands_commit(commands);
    pn_commands_commit(commands);
}

static void leaves_an_encoder_open(void)
{
    pn_id commands;
    new_encoder(&commands);
    pn_commands_commit(commands);
}

static void releases_too_often(void)
{
    pn_id buffer = pn_device_new_buffer(device, 64, 0);
    pn_objc_release(buffer);
    pn_objc_release(buffer);
}

static void sets_too_many_bytes(void)
{
    static char bytes[5000];
    pn_id commands, encoder = new_encoder(&commands);
    pn_encoder_bytes(encoder, bytes, sizeof bytes, 0);
}

static void wraps_odd_addresses(void)
{
    pn_device_wrap(device, (void *)(uintptr_t)4096, PAGE, 0, NULL);
}

static void waits_without_commit(void)
{
    pn_id commands, encoder = new_encoder(&commands);
    pn_encoder_end(encoder);
    pn_commands_wait(commands);
}

static void sends_nonsense(void)
{
    pn_encoder_end(queue);
}

static void dispatches_without_pipeline(void)
{
    pn_id commands, encoder = new_encoder(&commands);
    pn_encoder_dispatch(encoder, (struct pn_extent){1, 1, 1}, (struct pn_extent){32, 1, 1});
}

/* As the driver does, but without the arguments. */
static void leaves_an_argument_unset(void)
{
    static const char text[] = "kernel void f(constant int &n [[buffer(0)]], device float *x [[buffer(1)]],"
                               " uint t [[thread_position_in_grid]]) { x[t] = (float)n; }";
    pn_id reason = NULL, source = pn_string_with_text(pn_objc.classes[PN_CLASS_string], text);
    pn_id library = pn_device_new_library(device, source, NULL, &reason);
    pn_id name = pn_string_with_text(pn_objc.classes[PN_CLASS_string], "f");
    pn_id pipeline = pn_device_new_pipeline(device, pn_library_function(library, name), &reason);
    pn_id commands, encoder = new_encoder(&commands);
    int n = 1;
    pn_encoder_pipeline(encoder, pipeline);
    pn_encoder_bytes(encoder, &n, sizeof n, 0);
    pn_encoder_dispatch(encoder, (struct pn_extent){1, 1, 1}, (struct pn_extent){32, 1, 1});
}

static void leaks_without_a_pool(void)
{
    pn_objc.pool_pop(pn_objc.pool_push());
    for (int i = 0; i < 2; i++)
        pn_device_name(device);
}

/* Runs it in a child process, which must abort with these words. */
static void must_abort(void (*misuse)(void), bool with_pool, const char *words)
{
    int ends[2];
    char said[2048];
    size_t n = 0;
    fflush(NULL);
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 2);
        close(ends[0]);
        if (with_pool)
            pn_objc.pool_push();
        device = pn_objc.default_device();
        queue = pn_device_new_queue(device);
        signal(SIGABRT, SIG_DFL);
        misuse();
        _exit(0);
    }
    close(ends[1]);
    for (ssize_t got; (got = read(ends[0], said + n, sizeof said - 1 - n)) > 0;)
        n += (size_t)got;
    said[n] = '\0';
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT || !strstr(said, words))
        fail_msg("status %d, '%s' does not say: %s", status, said, words);
}

static void misuse_by_the_host_is_noticed(void **state)
{
    (void)state;
    assert_int_equal(pn_objc_open(&error), PANTRY_OK);
    must_abort(commits_twice, true, "commit of a command buffer that is committed already");
    must_abort(leaves_an_encoder_open, true, "an encoder that has not ended");
    must_abort(releases_too_often, true, "-[MTLBuffer release] is sent to an object that is gone");
    must_abort(sets_too_many_bytes, true, "setBytes: 1..4096 bytes (found 5000)");
    must_abort(wraps_odd_addresses, true, "address and length are multiples of 16384");
    must_abort(waits_without_commit, true, "waitUntilCompleted before commit");
    must_abort(sends_nonsense, true, "-[MTLCommandQueue endEncoding]: unrecognized selector");
    must_abort(dispatches_without_pipeline, true, "without a pipeline");
    must_abort(leaves_an_argument_unset, true, "kernel f: buffer(1) is not set");
    must_abort(leaks_without_a_pool, false, "autoreleased without a pool");
}

static void needs_the_emulator(void **state)
{
    (void)state;
    print_message("this build has no Metal emulator: it needs Linux, a C++ compiler, and no sanitizer\n");
    skip();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens),
        cmocka_unit_test(memory_is_zeroed_written_copied_filled),
        cmocka_unit_test(steps_run_in_order),
        cmocka_unit_test(threads_meet_in_every_order),
        cmocka_unit_test(halves_are_those_of_the_host),
        cmocka_unit_test(wraps_a_mapped_file),
        cmocka_unit_test(refuses_what_cannot_run_the_kernels),
        cmocka_unit_test(runs_on_older_systems),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(a_failure_is_kept_until_the_next_wait),
        cmocka_unit_test(bugs_of_kernels_are_noticed),
        cmocka_unit_test(a_missing_barrier_between_launches_is_noticed),
        cmocka_unit_test(memory_that_is_not_resident_is_noticed),
        cmocka_unit_test(a_pointer_into_the_wrong_memory_is_rejected),
        cmocka_unit_test(misuse_by_the_host_is_noticed),
    };
    const struct CMUnitTest none[] = {cmocka_unit_test(needs_the_emulator)};
    if (!emulated_metal())
        return cmocka_run_group_tests(none, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
