/* The CUDA device over an emulated driver: what it says where it cannot open, memory, placed weights, steps that repeat
 * a recorded graph, threads in other orders, and whole models. Skipped where the emulator is not built. */
#define _DEFAULT_SOURCE 1 /* setenv */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "device/gpu/memory.h"
#include "emulated.h"
#include "op_run.h"
#include "tiny_encoder.h"
#include "tiny_hybrid.h"
#include "tiny_model.h"

#include <pantry.h>

static const struct op_device gpu = {"cuda", NULL, 1}, ref = {"ref", NULL, 1};

static struct pn_device *open_gpu(void)
{
    struct pantry_error err = {0};
    struct pn_device *d = NULL;
    if (!emulated_cuda())
        skip();
    if (pn_device_open("cuda", &(struct pn_device_options){0}, &d, &err))
        fail_msg("%s", err.text);
    return d;
}

/* The same for tests that change the emulator. */
static struct pn_device *open_emulated(void)
{
    if (real_cuda())
        skip();
    return open_gpu();
}

/* ---- opening ---- */

static void says_why_it_does_not_open(void **state)
{
    (void)state;
    struct pantry_error err = {0};
    struct pn_device *d = open_emulated();
    pn_device_close(d);
    setenv("CUDA_EMULATOR_GPUS", "0", 1);
    setenv("METAL_EMULATOR_NO_DEVICE", "1", 1);
    assert_int_equal(pn_device_open("cuda", &(struct pn_device_options){0}, &d, &err), PANTRY_UNSUPPORTED);
    assert_string_equal(err.text, "cuda: the NVIDIA driver finds no GPU");
    assert_null(d);
    /* Then the processor is the best. */
    assert_int_equal(pn_device_open(NULL, &(struct pn_device_options){0}, &d, &err), PANTRY_OK);
    assert_string_equal(d->class->name, "cpu");
    pn_device_close(d);
    unsetenv("CUDA_EMULATOR_GPUS");
    unsetenv("METAL_EMULATOR_NO_DEVICE");
}

/* A GPU that computes wrongly is not used: without a choice, the processor runs models. */
static void a_gpu_with_wrong_results_is_not_used(void **state)
{
    (void)state;
    struct pantry_error err = {0};
    struct pn_device *d = open_emulated();
    pn_device_close(d);
    setenv("CUDA_EMULATOR_WRONG", "matvec_q8_0", 1);
    setenv("METAL_EMULATOR_NO_DEVICE", "1", 1);
    assert_int_equal(pn_device_open("cuda", &(struct pn_device_options){0}, &d, &err), PANTRY_UNSUPPORTED);
    assert_string_equal(err.text, "cuda (emulated GPU): a first computation gives wrong numbers; report this");
    assert_null(d);
    assert_int_equal(pn_device_open(NULL, &(struct pn_device_options){0}, &d, &err), PANTRY_OK);
    assert_string_equal(d->class->name, "cpu");
    pn_device_close(d);
    unsetenv("CUDA_EMULATOR_WRONG");
    unsetenv("METAL_EMULATOR_NO_DEVICE");
}

/* ---- memory ---- */

static void buffers_are_zeroed_and_in_order(void **state)
{
    (void)state;
    struct pn_device *d = open_gpu();
    struct pantry_error err = {0};
    struct pn_buffer a, b;
    unsigned char in[1000], out[1000];
    assert_int_equal(d->class->buffer_new(d, 1000, &a, &err), PANTRY_OK);
    assert_int_equal(d->class->buffer_new(d, 1000, &b, &err), PANTRY_OK);
    assert_null(a.host);
    d->class->read(d, &a, 0, out, sizeof out);
    for (size_t i = 0; i < sizeof out; i++)
        assert_int_equal(out[i], 0);
    for (size_t i = 0; i < sizeof in; i++)
        in[i] = (unsigned char)(i * 7);
    d->class->write(d, &a, 0, in, sizeof in);
    d->class->copy(d, &b, 10, &a, 100, 500);
    d->class->fill(d, &b, 10, 0xEE, 2);
    d->class->read(d, &b, 0, out, sizeof out);
    assert_int_equal(out[9], 0);
    assert_int_equal(out[10], 0xEE);
    assert_int_equal(out[11], 0xEE);
    assert_memory_equal(out + 12, in + 102, 498);
    assert_int_equal(out[510], 0);
    d->class->buffer_free(d, &a);
    d->class->buffer_free(d, &b);
    assert_int_equal(a.size, 0);
    pn_device_close(d);
}

static void too_large_a_buffer_says_need_and_have(void **state)
{
    (void)state;
    setenv("CUDA_EMULATOR_MIB", "64", 1);
    struct pn_device *d = open_emulated();
    struct pantry_error err = {0};
    struct pn_buffer b;
    uint64_t total, left;
    d->class->memory(d, &total, &left);
    assert_int_equal(total, 64 << 20);
    assert_int_equal(left, 64 << 20);
    assert_int_equal(d->class->buffer_new(d, 100 << 20, &b, &err), PANTRY_NO_MEMORY);
    assert_string_equal(err.text, "emulated GPU: 101 MiB of GPU memory are needed, and 64 of 64 MiB are free");
    assert_int_equal(b.size, 0);
    pn_device_close(d);
    unsetenv("CUDA_EMULATOR_MIB");
}

/* Large writes go through pinned memory in pieces. */
static void large_writes_arrive_whole(void **state)
{
    (void)state;
    struct pn_device *d = open_gpu();
    struct pantry_error err = {0};
    size_t n = ((size_t)40 << 20) + 12345;
    struct pn_buffer b;
    unsigned char *in = malloc(n), *out = malloc(n);
    assert_non_null(in);
    assert_non_null(out);
    struct pn_rng rng = {3};
    for (size_t i = 0; i + 8 <= n; i += 8) {
        uint64_t r = pn_rng_u64(&rng);
        memcpy(in + i, &r, 8);
    }
    in[n - 1] = 77;
    assert_int_equal(d->class->buffer_new(d, n, &b, &err), PANTRY_OK);
    d->class->write(d, &b, 0, in, n);
    d->class->read(d, &b, 0, out, n);
    assert_int_equal(memcmp(in, out, n), 0);
    d->class->buffer_free(d, &b);
    pn_device_close(d);
    free(in);
    free(out);
}

/* ---- weights ---- */

static struct pn_weight weight_at(const unsigned char *data, int64_t n_rows)
{
    struct pn_weight w = pn_weight_plain("w", PN_TYPE_F32, 1, n_rows, 64, data);
    w.id = pn_weight_ids(1);
    return w;
}

static void check_bytes(struct pn_device *d, const void *host, size_t size)
{
    struct pn_gpu *g = (struct pn_gpu *)d;
    unsigned char out[4096];
    uint64_t at = pn_gpu_address(g, host, size);
    assert_true(at != 0);
    assert_int_equal(at % 256, (uintptr_t)host % 256);
    assert_true(size <= sizeof out);
    g->driver->class->read(g->driver, out, at, size);
    assert_memory_equal(out, host, size);
}

static void weights_are_placed_once(void **state)
{
    (void)state;
    struct pn_device *d = open_gpu();
    struct pn_gpu *g = (struct pn_gpu *)d;
    struct pantry_error err = {0};
    static unsigned char file[100000];
    for (size_t i = 0; i < sizeof file; i++)
        file[i] = (unsigned char)(i * 31 + i / 256);
    /* Two that touch, one near them, one far away. */
    struct pn_weight w[] = {weight_at(file + 32, 4), weight_at(file + 32 + 1024, 4), weight_at(file + 2112, 8),
                            weight_at(file + 50000, 2)};
    const struct pn_weight *first[] = {&w[0], &w[2]}, *second[] = {&w[1], &w[2], &w[3]};
    assert_int_equal(d->class->place(d, first, 2, NULL, &err), PANTRY_OK);
    assert_int_equal(g->n_extents, 2); /* 1 KiB apart */
    check_bytes(d, file + 32, 1024);
    check_bytes(d, file + 2112, 2048);
    assert_int_equal(pn_gpu_address(g, file + 32 + 1024, 1024), 0);
    assert_int_equal(pn_gpu_address(g, file + 32, 1025), 0);
    assert_int_equal(d->class->place(d, second, 3, NULL, &err), PANTRY_OK);
    assert_int_equal(d->n_placed, 4);
    assert_int_equal(g->n_extents, 4);
    check_bytes(d, file + 32 + 1024, 1024);
    check_bytes(d, file + 50000, 512);
    uint64_t kept = pn_gpu_address(g, file + 2112, 2048);
    d->class->release(d, first, 2);
    assert_int_equal(g->n_extents, 3);
    assert_int_equal(pn_gpu_address(g, file + 32, 4), 0);
    assert_int_equal(pn_gpu_address(g, file + 2112, 2048), kept);
    d->class->release(d, second, 3);
    assert_int_equal(g->n_extents, 0);
    assert_int_equal(d->n_placed, 0);
    pn_device_close(d);
}

static void close_weights_share_an_extent(void **state)
{
    (void)state;
    struct pn_device *d = open_gpu();
    struct pn_gpu *g = (struct pn_gpu *)d;
    struct pantry_error err = {0};
    static unsigned char file[8192];
    struct pn_weight w[] = {weight_at(file + 3072, 2), weight_at(file, 4), weight_at(file + 1056, 4)};
    const struct pn_weight *all[] = {&w[0], &w[1], &w[2]};
    assert_int_equal(d->class->place(d, all, 3, NULL, &err), PANTRY_OK);
    assert_int_equal(g->n_extents, 2);
    d->class->release(d, all + 1, 1); /* the extent stays for the other */
    assert_int_equal(g->n_extents, 2);
    d->class->release(d, all + 2, 1);
    assert_int_equal(g->n_extents, 1);
    d->class->release(d, all, 1);
    assert_int_equal(g->n_extents, 0);
    pn_device_close(d);
}

static void weights_that_do_not_fit_leave_nothing(void **state)
{
    (void)state;
    setenv("CUDA_EMULATOR_MIB", "40", 1);
    struct pn_device *d = open_emulated();
    struct pn_gpu *g = (struct pn_gpu *)d;
    struct pantry_error err = {0};
    size_t n = 30 << 20;
    unsigned char *file = calloc(2, n);
    assert_non_null(file);
    struct pn_weight w[] = {weight_at(file, (int64_t)(n / 256) - 64), weight_at(file + n, (int64_t)(n / 256))};
    const struct pn_weight *both[] = {&w[0], &w[1]};
    assert_int_equal(d->class->place(d, both, 2, NULL, &err), PANTRY_NO_MEMORY);
    assert_non_null(strstr(err.text, "are needed, and"));
    assert_int_equal(g->n_extents, 0);
    assert_int_equal(d->n_placed, 0);
    assert_int_equal(d->class->place(d, both, 1, NULL, &err), PANTRY_OK);
    d->class->release(d, both, 1);
    pn_device_close(d);
    free(file);
    unsetenv("CUDA_EMULATOR_MIB");
}

/* ---- steps ---- */

/* The same step again and again is recorded and repeated; another one in between is not mixed up with it. */
static void repeated_steps_follow_their_inputs(void **state)
{
    (void)state;
    struct pn_device *d = open_gpu();
    struct pantry_error err = {0};
    const struct pn_device_class *c = d->class;
    struct pn_graph g;
    pn_graph_init(&g);
    pn_array x = pn_input(&g, "x", PN_ROWS_TOKENS, 2, 40), y = pn_scale(&g, pn_add(&g, x, x), 3, 1);
    struct pn_plan_spec spec = op_plan_spec(&y, 4);
    spec.inputs = &x;
    spec.n_inputs = 1;
    struct pn_plan *plan;
    struct pn_program *program;
    struct pn_buffer scratch = {0}, in, out;
    assert_int_equal(pn_device_plan(d, &g, spec, &plan, &err), PANTRY_OK);
    assert_int_equal(c->compile(d, plan, &program, &err), PANTRY_OK);
    assert_int_equal(pn_scratch_fit(&scratch, d, c->scratch_bytes(program), &err), PANTRY_OK);
    assert_int_equal(c->buffer_new(d, 4 * 80 * sizeof(float), &in, &err), PANTRY_OK);
    assert_int_equal(c->buffer_new(d, 4 * 80 * sizeof(float), &out, &err), PANTRY_OK);
    for (int step = 0; step < 9; step++) {
        int n = step % 4 == 3 ? 4 : 2;
        float values[4 * 80], got[4 * 80];
        for (int i = 0; i < n * 80; i++)
            values[i] = (float)(i + 1000 * step);
        c->write(d, &in, 0, values, (size_t)n * 80 * sizeof(float));
        struct pn_batch_seq seq = {.n = n};
        struct pn_batch b = {.n_tokens = n,
                             .n_seqs = 1,
                             .seqs = &seq,
                             .ids = (int32_t[4]){0},
                             .pos = (int32_t[4]){0},
                             .inputs = (const void *[]){(void *)(uintptr_t)in.address},
                             .results = (void *[]){(void *)(uintptr_t)out.address}};
        assert_int_equal(pn_device_run(d, program, &scratch, &b, &err), PANTRY_OK);
        assert_true(c->elapsed(d) > 0);
        c->read(d, &out, 0, got, (size_t)n * 80 * sizeof(float));
        for (int i = 0; i < n * 80; i++)
            assert_true(got[i] == values[i] * 6 + 1);
    }
    c->program_free(d, program);
    c->buffer_free(d, &scratch);
    c->buffer_free(d, &in);
    c->buffer_free(d, &out);
    pn_plan_free(plan);
    pn_graph_free(&g);
    pn_device_close(d);
}

static void check_orders(const struct op_run *o, pn_array y)
{
    size_t n = (size_t)o->n_rows * (size_t)pn_node(&o->graph, y)->n1 * (size_t)pn_node(&o->graph, y)->n2;
    float *want = malloc(n * sizeof *want), *got = malloc(n * sizeof *got);
    assert_non_null(want);
    assert_non_null(got);
    op_run_on(o, y, &gpu, 5, want, NULL);
    for (int order = 1; order < 3; order++) {
        setenv("CUDA_EMULATOR_ORDER", order == 1 ? "1" : "2", 1);
        op_run_on(o, y, &gpu, 5, got, NULL);
        unsetenv("CUDA_EMULATOR_ORDER");
        assert_memory_equal(got, want, n * sizeof *got);
    }
    free(want);
    free(got);
}

/* A kernel that lacks a barrier depends on which of its threads runs first. */
static void results_do_not_depend_on_the_order_of_threads(void **state)
{
    (void)state;
    static const int lengths[] = {37, 20};
    static const struct op_cache cache = {PN_TYPE_F16, 2, 64, 64, false};
    struct op_run o;
    pn_device_close(open_emulated());
    op_run_init(&o, 5, 6 * 64, lengths, 2, 0);
    o.cache = &cache;
    struct pn_graph *g = &o.graph;
    struct pn_attention_params p = {.n_head_kv = 2, .dim_k = 64, .dim_v = 64, .scale = 0.125f, .causal = true};
    pn_array x = pn_reshape(g, o.x, 6, 64);
    check_orders(&o, pn_rms_norm(g, x, PN_NONE, 1e-5f));
    check_orders(&o, pn_layer_norm(g, x, PN_NONE, PN_NONE, 1e-5f));
    check_orders(&o, pn_argmax(g, o.x));
    check_orders(&o, pn_cutoff(g, x, 0.5f));
    check_orders(
        &o,
        pn_route(
            g, pn_slice(g, o.x, 0, 60), PN_NONE,
            &(struct pn_route_params){
                .n_expert = 60, .n_used = 8, .n_groups = 4, .n_groups_used = 2, .gate = PN_GATE_SIGMOID, .scale = 1}));
    pn_array k = pn_reshape(g, pn_slice(g, o.x, 128, 128), 2, 64), v = pn_reshape(g, pn_slice(g, o.x, 256, 128), 2, 64);
    pn_array q = pn_reshape(g, pn_slice(g, o.x, 0, 128), 2, 64);
    check_orders(&o, pn_attention(g, q, pn_cache_write(g, k, v, &p), PN_NONE, &p));
    assert_int_equal(pn_graph_status(g, NULL), PANTRY_OK);
    op_run_free(&o);
}

/* Few rows with a long context are split over many groups. */
static void long_contexts_are_split(void **state)
{
    (void)state;
    static const int lengths[] = {700};
    static const struct op_cache cache = {PN_TYPE_F16, 1, 32, 32, false};
    struct op_run o;
    pn_device_close(open_gpu());
    op_run_init(&o, 6, 96, lengths, 1, 0);
    o.cache = &cache;
    struct pn_graph *g = &o.graph;
    struct pn_attention_params p = {.n_head_kv = 1, .dim_k = 32, .dim_v = 32, .scale = 0.2f, .causal = true};
    pn_array y = pn_attention(g, pn_slice(g, o.x, 0, 32),
                              pn_cache_write(g, pn_slice(g, o.x, 32, 32), pn_slice(g, o.x, 64, 32), &p), PN_NONE, &p);
    static float got[700 * 32], want[700 * 32];
    op_run_on(&o, y, &ref, 100, want, NULL);
    op_run_on(&o, y, &gpu, 100, got, NULL);
    double error = 0, power = 0;
    for (int i = 0; i < 700 * 32; i++) {
        error += ((double)got[i] - (double)want[i]) * ((double)got[i] - (double)want[i]);
        power += (double)want[i] * (double)want[i];
    }
    assert_true(error < 1e-10 * power);
    op_run_free(&o);
}

/* ---- models ---- */

enum { N_IDS = 70, MAX_VOCAB = 512 };

static int logits_of(const char *path, const char *device, int slice, float *out, char *name)
{
    struct pantry_error error;
    pantry_model *model = NULL;
    pantry_session *session;
    struct pantry_model_options o = {.size = sizeof o, .device = device, .kv_type = "f32"};
    struct pantry_model_info info = {.size = sizeof info};
    int32_t ids[N_IDS];
    struct pn_rng rng = {11};
    for (int i = 0; i < N_IDS; i++)
        ids[i] = (int32_t)(pn_rng_u64(&rng) % HYBRID_VOCAB);
    if (pantry_model_load(path, &o, &model, &error))
        fail_msg("%s on %s: %s", path, device, error.text);
    pantry_model_info(model, &info, NULL);
    assert_true(info.n_vocab <= MAX_VOCAB);
    if (name)
        snprintf(name, 96, "%s", info.device);
    if (pantry_session_new(model, NULL, &session, &error) || pantry_logits(session, ids, N_IDS, &slice, 1, out, &error))
        fail_msg("%s on %s: %s", path, device, error.text);
    pantry_session_free(session);
    pantry_model_free(model);
    return N_IDS * info.n_vocab;
}

/* Many rows of weights that are not float32 are multiplied in half precision. */
static const double rounded = 1e-6, exact = 1e-9;

static void check_model(const char *path, const char *device, const char *says, int n_slices, double limit)
{
    static float want[N_IDS * MAX_VOCAB], got[N_IDS * MAX_VOCAB];
    static double wanted[N_IDS * MAX_VOCAB];
    static const int slices[] = {7, N_IDS, 1};
    char name[96];
    int n = logits_of(path, "ref", N_IDS, want, NULL);
    for (int i = 0; i < n; i++)
        wanted[i] = (double)want[i];
    for (int i = 0; i < n_slices; i++) {
        logits_of(path, device, slices[i], got, name);
        double e = op_distance(got, wanted, (size_t)n);
        if (!(e < limit))
            fail_msg("%s on %s in slices of %d: NMSE %g", path, name, slices[i], e);
        assert_non_null(strstr(name, says));
    }
}

static void models_equal_the_reference(void **state)
{
    (void)state;
    static const char *const plain[] = {"llama", "gemma3", "qwen3"};
    pn_device_close(open_gpu());
    for (size_t i = 0; i < 3; i++)
        check_model(tiny_model(plain[i], GW_F32, "tiny.gguf"), "cuda", "cuda (", 3, exact);
    for (size_t i = 0; i < N_HYBRIDS; i++)
        check_model(tiny_hybrid(tiny_hybrids[i]), "cuda", "cuda (", 3, exact);
}

/* The emulator follows every access, so models run in one slicing only. */
static void models_equal_the_reference_on_metal(void **state)
{
    (void)state;
    if (!emulated_metal())
        skip();
    check_model(tiny_model("gemma3", GW_F32, "tiny.gguf"), "metal", "metal (", 1, exact);
    check_model(tiny_model("llama", GW_F16, "tiny.gguf"), "metal", "metal (", 1, rounded);
    for (size_t i = 0; i < N_HYBRIDS; i++)
        check_model(tiny_hybrid(tiny_hybrids[i]), "metal", "metal (", 1, exact);
}

/* Latent attention, experts, sinks, windows, fused weights, hybrids: the architectures of the test data. */
static void recorded_models_equal_the_reference(void **state)
{
    (void)state;
    const char *root = getenv("PANTRY_TEST_DATA");
    char folder[1024], path[2048];
    int n = 0;
    pn_device_close(open_gpu());
    snprintf(folder, sizeof folder, "%s/architectures", root ? root : "../shared/data");
    DIR *all = opendir(folder);
    if (!all)
        skip();
    for (struct dirent *e; (e = readdir(all));) {
        size_t len = strlen(e->d_name);
        if (len < 5 || strcmp(e->d_name + len - 5, ".gguf") != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        check_model(path, "cuda", "cuda (", 1, rounded);
        if (strstr(e->d_name, "-moe") && emulated_metal() && !real_cuda())
            check_model(path, "metal", "metal (", 1, rounded);
        n++;
    }
    closedir(all);
    assert_true(n > 10);
}

static void a_gpu_and_the_processor_share_a_model(void **state)
{
    (void)state;
    pn_device_close(open_gpu());
    check_model(tiny_model("gemma3", GW_F32, "tiny.gguf"), "cpu:0-0,cuda:1-", "cpu (", 2, exact);
    check_model(tiny_model("llama", GW_F32, "tiny.gguf"), "cuda:0-1,cpu:2-", ") + cpu (", 2, exact);
}

/* Without a choice, as many layers as fit go to the GPU. */
static void layers_stay_where_there_is_room(void **state)
{
    (void)state;
    static const struct {
        const char *mib;
        int layers;
        const char *device, *says;
    } cases[] = {{"4096", 0, NULL, "cuda ("},  {"64", 0, NULL, "cpu ("},    {"4096", 1, NULL, "+ cuda ("},
                 {"4096", 99, NULL, "cuda ("}, {"4096", -1, NULL, "cpu ("}, {"4096", 2, "cuda", "+ cuda ("}};
    const char *path = tiny_model("llama", GW_F32, "tiny.gguf");
    struct pantry_error error;
    pn_device_close(open_emulated());
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pantry_model *model = NULL;
        struct pantry_model_info info = {.size = sizeof info};
        struct pantry_model_options o = {
            .size = sizeof o, .device = cases[i].device, .gpu_layers = cases[i].layers, .n_context = 128};
        setenv("CUDA_EMULATOR_MIB", cases[i].mib, 1);
        if (pantry_model_load(path, &o, &model, &error))
            fail_msg("case %zu: %s", i, error.text);
        pantry_model_info(model, &info, NULL);
        if (!strstr(info.device, cases[i].says) ||
            (cases[i].says[0] != '+' && strncmp(info.device, cases[i].says, strlen(cases[i].says)) != 0))
            fail_msg("case %zu: %s", i, info.device);
        pantry_model_free(model);
        unsetenv("CUDA_EMULATOR_MIB");
    }
    pantry_model *model = NULL;
    struct pantry_model_options o = {.size = sizeof o, .device = "cpu", .gpu_layers = 2};
    assert_int_equal(pantry_model_load(path, &o, &model, &error), PANTRY_INVALID);
    assert_non_null(strstr(error.text, "2 layers cannot go to a GPU, since it is none"));
    o.device = "cpu:0-1,ref:2-";
    assert_int_equal(pantry_model_load(path, &o, &model, &error), PANTRY_INVALID);
    assert_non_null(strstr(error.text, "say already which layers run where"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_why_it_does_not_open),
        cmocka_unit_test(a_gpu_with_wrong_results_is_not_used),
        cmocka_unit_test(buffers_are_zeroed_and_in_order),
        cmocka_unit_test(too_large_a_buffer_says_need_and_have),
        cmocka_unit_test(large_writes_arrive_whole),
        cmocka_unit_test(weights_are_placed_once),
        cmocka_unit_test(close_weights_share_an_extent),
        cmocka_unit_test(weights_that_do_not_fit_leave_nothing),
        cmocka_unit_test(repeated_steps_follow_their_inputs),
        cmocka_unit_test(results_do_not_depend_on_the_order_of_threads),
        cmocka_unit_test(long_contexts_are_split),
        cmocka_unit_test(models_equal_the_reference),
        cmocka_unit_test(models_equal_the_reference_on_metal),
        cmocka_unit_test(recorded_models_equal_the_reference),
        cmocka_unit_test(a_gpu_and_the_processor_share_a_model),
        cmocka_unit_test(layers_stay_where_there_is_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
