/* One model on several devices: assigning layers, arrays that cross between devices, caches and states on their
 * devices. Whatever the split, logits equal those of one device. */
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
#include "engine/handle.h"
#include "engine/stages.h"
#include "engine/step.h"
#include "tiny_encoder.h"
#include "tiny_hybrid.h"
#include "tiny_model.h"

enum { N_IDS = 70, N_LONG = 260, MAX_VOCAB = 512 };
#define COUNT(a) (sizeof(a) / sizeof *(a))

static int32_t ids[N_LONG];
static float alone[N_LONG * MAX_VOCAB], together[N_LONG * MAX_VOCAB];

static int fill_ids(void **state)
{
    (void)state;
    struct pn_rng rng = {11};
    for (int i = 0; i < N_LONG; i++)
        ids[i] = (int32_t)(pn_rng_u64(&rng) % HYBRID_VOCAB);
    return 0;
}

static pantry_model *load(const char *path, const char *device, int n_threads, const char *isa)
{
    struct pantry_error error;
    pantry_model *model = NULL;
    struct pantry_model_options o = {
        .size = sizeof o, .device = device, .n_threads = n_threads, .isa = isa, .kv_type = "f32"};
    if (pantry_model_load(path, &o, &model, &error))
        fail_msg("%s on %s: %s", path, device, error.text);
    return model;
}

static int logits_of(pantry_model *model, int slice, float *out)
{
    struct pantry_error error;
    pantry_session *session;
    struct pantry_model_info info = {.size = sizeof info};
    pantry_model_info(model, &info, NULL);
    assert_true(info.n_vocab <= MAX_VOCAB);
    if (pantry_session_new(model, NULL, &session, &error) || pantry_logits(session, ids, N_IDS, &slice, 1, out, &error))
        fail_msg("%s", error.text);
    pantry_session_free(session);
    return N_IDS * info.n_vocab;
}

static const char *model_at(int i)
{
    static const char *const plain[] = {"llama", "gemma3", "qwen3"};
    return i < 3               ? tiny_model(plain[i], GW_F32, "tiny.gguf")
           : i < 3 + N_HYBRIDS ? tiny_hybrid(tiny_hybrids[i - 3])
                               : NULL;
}

/* ---- by layers ---- */

/* Splits before each layer, with one row per step and many: `first` has the layers before it, `second` the others. */
static void check_cuts(const char *path, const char *first, const char *second, const char *one, const char *isa,
                       double limit)
{
    pantry_model *model = load(path, one, 2, isa);
    struct pantry_model_info info = {.size = sizeof info};
    pantry_model_info(model, &info, NULL);
    int n_layer = info.n_layer, n = logits_of(model, N_IDS, alone);
    pantry_model_free(model);
    for (int cut = 1; cut < n_layer; cut++) {
        char device[64];
        snprintf(device, sizeof device, "%s:0-%d,%s:%d-", first, cut - 1, second, cut);
        model = load(path, device, 2, isa);
        assert_int_equal(model->runner->n_parts, 2);
        for (int slice = 1; slice <= N_IDS; slice += N_IDS / 2 - 1) {
            memset(together, 0xff, sizeof together);
            logits_of(model, slice, together);
            if (limit == 0 && memcmp(together, alone, (size_t)n * sizeof *alone) != 0)
                fail_msg("%s on %s, slices of %d: NMSE %g, not equal", path, device, slice, nmse(together, alone, n));
            if (!(nmse(together, alone, (size_t)n) <= limit))
                fail_msg("%s on %s, slices of %d: NMSE %g", path, device, slice, nmse(together, alone, (size_t)n));
        }
        assert_int_equal(model->runner->buckets[PN_RESULT_LOGITS][0].n_stages, 2);
        pantry_model_free(model);
    }
}

/* The experts of all layers on another device: two crossings per layer. */
static void check_experts(const char *path)
{
    pantry_model *model = load(path, "ref", 1, NULL);
    int n = logits_of(model, N_IDS, alone);
    pantry_model_free(model);
    model = load(path, "ref,cpu:experts", 2, "generic");
    memset(together, 0xff, sizeof together);
    logits_of(model, N_IDS, together);
    if (!(nmse(together, alone, (size_t)n) <= 1e-9))
        fail_msg("%s with experts apart: NMSE %g", path, nmse(together, alone, (size_t)n));
    assert_true(model->runner->buckets[PN_RESULT_LOGITS][2].n_stages > 2);
    pantry_model_free(model);
}

static void ref_and_ref_equal_ref(void **state)
{
    (void)state;
    for (int i = 0; model_at(i); i++)
        check_cuts(model_at(i), "ref", "ref", "ref", NULL, 0);
}

/* More kinds of layers: latent attention, experts, sinks, windows, fused weights, hybrids. */
static void recorded_models_equal_ref(void **state)
{
    (void)state;
    const char *root = getenv("PANTRY_TEST_DATA");
    char path[1024];
    int n = 0;
    snprintf(path, sizeof path, "%s/architectures", root ? root : "../shared/data");
    DIR *folder = opendir(path);
    if (!folder)
        skip();
    for (struct dirent *e; (e = readdir(folder));) {
        size_t len = strlen(e->d_name);
        if (len < 5 || strcmp(e->d_name + len - 5, ".gguf") != 0)
            continue;
        snprintf(path, sizeof path, "%s/architectures/%.200s", root ? root : "../shared/data", e->d_name);
        check_cuts(path, "ref", "ref", "ref", NULL, 0);
        check_cuts(path, "cpu", "ref", "ref", "generic", 1e-9);
        if (strstr(e->d_name, "-moe"))
            check_experts(path);
        n++;
    }
    closedir(folder);
    assert_true(n > 10);
}

/* cpu and ref round differently, so results may differ from ref's as much as those of cpu alone. */
static void cpu_and_ref_are_near_ref(void **state)
{
    (void)state;
    for (int i = 0; model_at(i); i++) {
        check_cuts(model_at(i), "cpu", "ref", "ref", NULL, 1e-9);
        check_cuts(model_at(i), "ref", "cpu", "ref", "generic", 1e-9);
    }
}

/* ---- devices whose memory the host cannot reach ---- */

static struct pn_device_class far_class /* the wrapped device */, far_device_class, partial_class;

/* Buffers without a valid host address, so that accessing one crashes. */
static pantry_status far_buffer(struct pn_device *device, size_t size, struct pn_buffer *out, struct pantry_error *err)
{
    pantry_status status = pn_host_buffer_new(device, size, out, err);
    out->host = NULL;
    return status;
}

/* Copies only the block of a step to its own memory and does not read the host's lists. */
static pantry_status far_submit(struct pn_device *device, struct pn_program *program, const struct pn_buffer *scratch,
                                const struct pn_batch *batch, struct pn_ticket *ticket, struct pantry_error *err)
{
    void *copy = malloc(batch->layout->size);
    assert_non_null(copy);
    memcpy(copy, batch->block, batch->layout->size);
    struct pn_batch own = {.caches = batch->caches,
                           .states = batch->states,
                           .state_stride = batch->state_stride,
                           .tables = batch->tables,
                           .inputs = batch->inputs,
                           .results = batch->results};
    pn_batch_bind(&own, batch->layout, copy);
    pantry_status status = far_class.submit(device, program, scratch, &own, ticket, err);
    free(copy);
    return status;
}

static struct pn_device *open_device(const char *name, bool far)
{
    struct pantry_error err;
    struct pn_device *d;
    if (pn_device_open(name, &(struct pn_device_options){2, NULL}, &d, &err))
        fail_msg("%s", err.text);
    if (far) {
        far_class = *d->class;
        far_device_class = far_class;
        far_device_class.buffer_new = far_buffer;
        far_device_class.submit = far_submit;
        d->class = &far_device_class;
        d->properties.unified = false;
    }
    return d;
}

static struct pn_runner *runner_on(const char *path, const struct pn_split *split)
{
    struct pantry_error err;
    struct pn_weights *weights;
    struct pn_model *model;
    struct pn_runner *runner = NULL;
    if (pn_weights_open(path, &weights, &err) || pn_model_new(weights, &(struct pn_rope_override){0}, &model, &err) ||
        pn_runner_new(model, split, &runner, &err))
        fail_msg("%s", err.text);
    return runner;
}

/* Logits of n ids, `slice` at a time, through the step builder. Half-way the sequence rewinds to its middle and resumes
 * from the tree; `middle` is where. Slices up to `kept` tokens go into the tree, including partial pages if there are
 * more. */
static int steps_of_some(struct pn_runner *runner, int n_ids, int slice, int kept, float *out, struct pn_seq *middle)
{
    struct pantry_error err;
    struct pn_kv_pool *pool;
    struct pn_seq_memory memory;
    struct pn_seq seq;
    struct pn_step_builder step;
    int n_vocab = pn_node(&runner->model->graph, runner->model->results[PN_RESULT_LOGITS])->n2;
    if (pn_runner_pool(runner, "f32", &pool, &err) || pn_seq_memory_init(&memory, runner, pool, &err) ||
        pn_step_init(&step, n_ids, 1, &err) || pn_seq_init(&seq, &memory, "", ids, n_ids, &err) ||
        pn_seq_start(&seq, n_ids - 1, &err))
        fail_msg("%s", err.text);
    seq.n_ids = n_ids;
    for (int round = 0; round < 2; round++) {
        while (seq.n_past < n_ids) {
            int at = seq.n_past, n = n_ids - at < slice ? n_ids - at : slice;
            if (pn_step_run_seq(&step, &seq, n, n, out + (size_t)at * (size_t)n_vocab, &err))
                fail_msg("%s", err.text);
            if (seq.n_past <= kept)
                pn_seq_keep(&seq, kept < n_ids);
        }
        if (round == 0) {
            pn_seq_drop(&seq);
            if (pn_seq_start(&seq, n_ids / 2, &err))
                fail_msg("%s", err.text);
            assert_true(seq.n_past > 0 || slice == n_ids);
            if (runner->states) /* the tree's: the next step must not change it */
                assert_true(pn_state_refs(runner->states, seq.state) == 2);
            memset(out + seq.n_past * n_vocab, 0xff, (size_t)((n_ids - seq.n_past) * n_vocab) * sizeof *out);
            *middle = seq;
        }
    }
    pn_seq_release(&seq);
    pn_step_release(&step);
    pn_seq_memory_release(&memory);
    for (int g = 0; g < pool->n_groups; g++)
        assert_int_equal(pn_kv_pages_used(pool, g), 0);
    if (runner->states)
        assert_int_equal(pn_states_used(runner->states), 0);
    return n_ids * n_vocab;
}

static int steps_of(struct pn_runner *runner, int slice, float *out)
{
    struct pn_seq middle;
    return steps_of_some(runner, N_IDS, slice, N_IDS, out, &middle);
}

static void memory_is_only_accessed_through_devices(void **state)
{
    (void)state;
    for (int i = 0; model_at(i); i++)
        for (int way = 0; way < 4; way++) { /* one far device; far and near; near and far; both far */
            struct pn_split one = {.devices = {open_device("ref", false)}, .n = 1};
            struct pn_split split = {.devices = {open_device("ref", way != 2)},
                                     .first = {way ? 0 : -1, 1},
                                     .last = {0, 99},
                                     .n = way ? 2 : 1};
            if (way)
                split.devices[1] = open_device("ref", way >= 2);
            struct pn_runner *r = runner_on(model_at(i), &one);
            int n = steps_of(r, 9, alone);
            pn_runner_free(r);
            r = runner_on(model_at(i), &split);
            steps_of(r, 9, together);
            assert_memory_equal(together, alone, (size_t)n * sizeof *alone);
            pn_runner_free(r);
        }
}

/* Reads past many windows, then returns to a checkpoint in the middle. Pages that windows no longer reach are given
 * back on all devices, and a state held by the tree does not change on any. */
static void checkpoints_are_on_all_devices(void **state)
{
    (void)state;
    static const struct {
        const char *devices;
        double limit;
    } cases[] = {{"ref:0,ref:1-", 0}, {"cpu:0,ref:1-", 1e-9}, {"ref:0,cpu:1-", 1e-9}};
    enum { SLICE = 9 };
    for (int i = 1; model_at(i); i++) {
        struct pn_split split = {.devices = {open_device("ref", false)}, .n = 1};
        struct pn_runner *r = runner_on(model_at(i), &split);
        struct pn_seq middle;
        struct pantry_error err;
        int n_layer = r->model->hp.n_layer, n = steps_of_some(r, N_LONG, SLICE, N_LONG / 2, alone, &middle);
        pn_runner_free(r);
        for (size_t c = 0; c < COUNT(cases); c++) {
            if (pn_split_open(cases[c].devices, &(struct pn_device_options){2, NULL}, n_layer, &split, &err))
                fail_msg("%s", err.text);
            r = runner_on(model_at(i), &split);
            steps_of_some(r, N_LONG, SLICE, N_LONG / 2, together, &middle);
            assert_in_range(middle.n_past, N_LONG / 2 - SLICE, N_LONG / 2);
            if (r->pool->n_groups > 1)
                assert_int_equal(middle.first[1], pn_kv_first_page(r->pool, 1, middle.n_past));
            assert_true(r->pool->n_groups == 1 + (i == 1)); /* the tiny gemma3 */
            if (!(nmse(together, alone, (size_t)n) <= cases[c].limit))
                fail_msg("%s on %s: NMSE %g", model_at(i), cases[c].devices, nmse(together, alone, (size_t)n));
            pn_runner_free(r);
        }
    }
}

/* ---- unsupported operations ---- */

static enum pn_op refused;
static const struct pn_device_class *complete;

static bool can_most(const void *device, const struct pn_graph *graph, const struct pn_node *node)
{
    return node->op != refused && complete->can(device, graph, node);
}

/* Any operation that the first device does not support becomes a stage of the other. */
static void unsupported_operations_move(void **state)
{
    (void)state;
    for (int i = 0; model_at(i); i++) {
        struct pn_split one = {.devices = {open_device("ref", false)}, .n = 1};
        struct pn_runner *r = runner_on(model_at(i), &one);
        int n = steps_of(r, 9, alone), n_moved = 0;
        for (int op = 0; op < PN_OP_COUNT; op++) {
            bool there = false;
            for (size_t a = 0; a < r->model->graph.len; a++)
                there |= (int)r->model->graph.data[a].op == op;
            if (!there || !pn_op_reference((enum pn_op)op))
                continue;
            struct pn_split split = {
                .devices = {open_device("ref", false), open_device("ref", i % 2)}, .first = {-1, -1}, .n = 2};
            refused = (enum pn_op)op;
            complete = split.devices[0]->class;
            partial_class = *complete;
            partial_class.can = can_most;
            split.devices[0]->class = &partial_class;
            struct pn_runner *parts = runner_on(model_at(i), &split);
            steps_of(parts, 9, together);
            if (memcmp(together, alone, (size_t)n * sizeof *alone) != 0)
                fail_msg("%s without %s: NMSE %g", model_at(i), pn_op_name(refused), nmse(together, alone, (size_t)n));
            for (size_t a = 0; a < parts->model->graph.len; a++) {
                if (parts->model->graph.data[a].op != refused)
                    continue;
                assert_int_equal(parts->device_of[a], 1);
                n_moved++;
            }
            pn_runner_free(parts);
        }
        assert_true(n_moved > 5);
        pn_runner_free(r);
    }
}

/* Replaces matrices of 32 columns with random 4-bit ones that have scales in separate planes, all in `arena`. */
static int make_affine(struct pn_model *m, struct pn_arena *arena)
{
    struct pn_rng rng = {8};
    int n = 0;
    for (size_t a = 0; a < m->graph.len; a++) {
        struct pn_node *node = &m->graph.data[a];
        if (node->op != PN_OP_WEIGHT || node->n2 != 32 || node->n1 == 1)
            continue;
        size_t rows = (size_t)node->n1;
        unsigned char *q = pn_arena_alloc(arena, rows * 16);
        uint16_t *scales = pn_arena_alloc(arena, rows * 4), *biases = scales + rows;
        struct pn_weight *w = pn_arena_alloc(arena, sizeof *w);
        for (size_t i = 0; i < rows * 16; i++)
            q[i] = (unsigned char)pn_rng_u64(&rng);
        for (size_t i = 0; i < rows; i++) {
            float scale = 0.02f + 0.02f * pn_rng_float(&rng);
            scales[i] = pn_f32_to_bf16(scale);
            biases[i] = pn_f32_to_bf16(-7.5f * scale);
        }
        *w = (struct pn_weight){
            .name = node->weight->name,
            .type = PN_TYPE_AFFINE4,
            .n_mat = 1,
            .n_rows = node->n1,
            .n_cols = 32,
            .group = 32,
            .n_planes = 3,
            .plane = {{q, 16, 0, PN_TYPE_AFFINE4}, {scales, 2, 0, PN_TYPE_BF16}, {biases, 2, 0, PN_TYPE_BF16}},
            .id = node->weight->id};
        node->weight = w;
        n++;
    }
    return n;
}

/* A CPU without kernels for weights in planes. */
static bool refuses_planes(const void *device, const struct pn_graph *graph, const struct pn_node *node)
{
    bool planes = node->op == PN_OP_MATMUL && pn_node(graph, node->src[1])->weight->n_planes > 1;
    return !planes && far_class.can(device, graph, node);
}

/* What one device does not support, another does: together they run such a model. */
static void unsupported_products_move(void **state)
{
    (void)state;
    for (int way = 0; way < 2; way++) {
        struct pantry_error err;
        struct pn_weights *weights;
        struct pn_model *m = NULL;
        struct pn_runner *r;
        struct pn_arena arena = {0};
        struct pn_split split = {.devices = {open_device(way ? "cpu" : "ref", false)}, .first = {-1, -1}, .n = 1};
        if (way) {
            far_class = *split.devices[0]->class;
            far_device_class = far_class;
            far_device_class.can = refuses_planes;
            split.devices[0]->class = &far_device_class;
            split.devices[split.n++] = open_device("ref", false);
        }
        if (pn_weights_open(tiny_model("qwen3", GW_F32, "tiny.gguf"), &weights, &err) ||
            pn_model_new(weights, &(struct pn_rope_override){0}, &m, &err))
            fail_msg("%s", err.text);
        assert_true(make_affine(m, &arena) > 10);
        if (pn_runner_new(m, &split, &r, &err))
            fail_msg("%s", err.text);
        int n = steps_of(r, 7, way ? together : alone), n_moved = 0;
        for (size_t a = 0; way && a < m->graph.len; a++) {
            const struct pn_node *node = &m->graph.data[a];
            bool planes = node->op == PN_OP_MATMUL && pn_node(&m->graph, node->src[1])->weight->n_planes > 1;
            assert_true(r->device_of[a] <= 0 || planes);
            n_moved += r->device_of[a] == 1;
        }
        assert_true(!way || (n_moved > 10 && nmse(together, alone, (size_t)n) < 1e-9));
        pn_runner_free(r);
        pn_arena_free(&arena);
    }
}

static bool can_no_silu(const void *device, const struct pn_graph *graph, const struct pn_node *node)
{
    return node->op != PN_OP_ACT && complete->can(device, graph, node);
}

static void operations_without_a_device_are_errors(void **state)
{
    (void)state;
    struct pantry_error err;
    struct pn_weights *weights;
    struct pn_model *model;
    struct pn_runner *runner;
    struct pn_split split = {
        .devices = {open_device("ref", false), open_device("ref", false)}, .first = {-1, -1}, .n = 2};
    complete = split.devices[0]->class;
    partial_class = *complete;
    partial_class.can = can_no_silu;
    split.devices[0]->class = split.devices[1]->class = &partial_class;
    assert_int_equal(pn_weights_open(model_at(0), &weights, &err), PANTRY_OK);
    assert_int_equal(pn_model_new(weights, &(struct pn_rope_override){0}, &model, &err), PANTRY_OK);
    assert_int_equal(pn_runner_new(model, &split, &runner, &err), PANTRY_UNSUPPORTED);
    assert_string_equal(err.text, "ref (scalar float32) and the other devices: operation act is not supported");
    assert_null(runner);
}

/* ---- placement ---- */

/* The number of tensors that a device has placed, and their bytes. */
static size_t placed(const struct pn_device *device, uint64_t *bytes)
{
    *bytes = 0;
    for (size_t i = 0; i < device->n_placed; i++)
        *bytes += device->placed[i].bytes;
    return device->n_placed;
}

/* A layer's tensors, keys, values and states are only on its device, a tied output matrix is on both, and all memory is
 * given back. */
static void devices_have_what_their_layers_need(void **state)
{
    (void)state;
    struct pn_memory *budget = pn_memory_of_process();
    uint64_t taken = budget->taken, touched = atomic_load(&budget->touched);
    struct pn_split split = {
        .devices = {open_device("cpu", false), open_device("ref", false)}, .first = {0, 1}, .last = {0, 2}, .n = 2};
    struct pn_runner *r = runner_on(tiny_model("gemma3", GW_F32, "tiny.gguf"), &split);
    const struct pn_model *m = r->model;
    uint64_t bytes[2], all = 0, table = 0;
    size_t n = 0;
    for (int i = 0; i < 2; i++)
        n += placed(r->parts[i].device, &bytes[i]);
    for (size_t i = 0; i < m->weights->n_tensors; i++) {
        all += m->weights->tensors[i].bytes;
        if (strcmp(m->weights->tensors[i].name, "token_embd.weight") == 0)
            table = m->weights->tensors[i].bytes;
    }
    assert_int_equal(n, m->weights->n_tensors + 1 + 4); /* both rotations, on both */
    assert_int_equal(bytes[0] + bytes[1], all + table + 4 * TINY_HEAD_DIM / 2 * sizeof(float));
    steps_of(r, 5, alone);
    size_t page[2][2] = {{0}};              /* (group, device) */
    assert_int_equal(r->pool->n_groups, 2); /* the first two layers have windows, and only the last sees everything */
    for (int i = 0; i < m->n_caches; i++) {
        const struct pn_cache *c = &r->pool->caches[i];
        const struct pn_slots_part *part = &r->pool->groups[c->group].slots.part[i > 0];
        uint64_t k = (uintptr_t)c->k, v = (uintptr_t)c->v;
        assert_int_equal(c->group, i < 2);
        assert_true(k >= part->memory.address && k < part->memory.address + part->bytes);
        assert_true(v >= part->memory.address && v < part->memory.address + part->bytes);
        assert_true(part->memory.device == r->parts[i > 0].device);
        assert_int_equal(c->k_page, part->stride);
        page[c->group][i > 0] += PN_PAGE_TOKENS * (size_t)c->n_head * (c->k_row + c->v_row);
    }
    for (int g = 0; g < 2; g++)
        for (int i = 0; i < 2; i++)
            assert_int_equal(r->pool->groups[g].slots.part[i].bytes, page[g][i]);
    assert_int_equal(page[0][0], 0); /* the first device has no layer that sees everything */
    for (int g = 0; g < 2; g++)
        assert_int_equal(r->pool->groups[g].page_bytes, page[g][0] + page[g][1]);
    pn_runner_free(r);
    assert_int_equal(budget->taken, taken);
    assert_int_equal(atomic_load(&budget->touched), touched);
}

/* Each device has the states of its own operations. */
static void states_are_on_their_device(void **state)
{
    (void)state;
    for (int i = 0; i < N_HYBRIDS; i++) {
        struct pn_split split = {.devices = {open_device("ref", false), open_device("cpu", false)},
                                 .first = {0, 1},
                                 .last = {0, 99},
                                 .n = 2};
        struct pn_runner *r = runner_on(tiny_hybrid(tiny_hybrids[i]), &split);
        const struct pn_graph *g = &r->model->graph;
        assert_non_null(r->states);
        size_t n = 0;
        for (size_t a = 0; a < g->len; a++) {
            if (pn_op_trait(g->data[a].op) != PN_TRAIT_RECURRENT)
                continue;
            int part = r->device_of[a];
            size_t offset = g->data[a].recurrent.offset, first = r->states->first[part];
            assert_int_equal(part, g->data[a].layer > 0);
            assert_true(offset >= first && offset < first + r->states->slots.part[part].bytes / sizeof(float));
        }
        for (int part = 0; part < 2; part++)
            n += r->states->slots.part[part].bytes / sizeof(float);
        assert_int_equal(n, r->model->n_state);
        pn_runner_free(r);
    }
}

/* Programs share their scratch, which is as large as the largest one needs. */
static void scratch_is_the_largest_and_not_the_sum(void **state)
{
    (void)state;
    struct pantry_error err;
    struct pn_memory *budget = pn_memory_of_process();
    struct pn_split split = {.devices = {open_device("cpu", false)}, .n = 1};
    struct pn_runner *r = runner_on(model_at(0), &split);
    uint64_t taken = budget->taken;
    static const int tokens[] = {512, 1, 16, 400, 128};
    size_t largest = 0;
    for (size_t i = 0; i < COUNT(tokens); i++) {
        assert_int_equal(pn_runner_prepare(r, PN_RESULT_LOGITS, tokens[i], &err), PANTRY_OK);
        if (i == 0)
            largest = r->parts[0].scratch.size;
        assert_int_equal(r->parts[0].scratch.size, largest);
        assert_true(budget->taken - taken <= largest && budget->taken > taken);
    }
    assert_int_equal(largest, r->device->class->scratch_bytes(r->buckets[PN_RESULT_LOGITS][3].stages[0].program));
    assert_int_equal(pn_runner_prepare(r, PN_RESULT_LOGITS, 513, &err), PANTRY_OK);
    assert_true(r->parts[0].scratch.size > largest);
    pn_runner_free(r);
    assert_int_equal(budget->taken, taken);
}

/* ---- requests, embeddings ---- */

struct said {
    int32_t *ids;
    int n;
};

static bool note(void *user, const struct pantry_token *token)
{
    struct said *said = user;
    assert_true(said->n < 20);
    said->ids[said->n++] = token->id;
    return true;
}

static void embeddings_of(const char *path, const char *device, float *out)
{
    struct pantry_error error;
    struct pantry_embeddings e = {.size = sizeof e};
    const struct pantry_input in[] = {{.ids = ids, .n_ids = 40}, {.ids = ids + 7, .n_ids = 9}};
    pantry_model *model = load(path, device, 2, NULL);
    if (pantry_embed(model, in, 2, NULL, &e, &error))
        fail_msg("%s on %s: %s", path, device, error.text);
    memcpy(out, e.rows, (size_t)(2 * e.n_dimensions) * sizeof *out);
    pantry_embeddings_free(&e);
    pantry_model_free(model);
}

static void encoders_are_split_too(void **state)
{
    (void)state;
    static const char *const devices[] = {"ref:0,ref:1-", "ref:0-2,ref:3", "cpu:0-1,ref:2-", "ref:0-1,cpu:2-"};
    enum { N = 2 * ENCODER_EMBD };
    for (int i = 0; tiny_encoders[i]; i++) {
        const char *path = tiny_encoder(tiny_encoders[i]);
        embeddings_of(path, "ref", alone);
        for (size_t d = 0; d < COUNT(devices); d++) {
            memset(together, 0xff, sizeof together);
            embeddings_of(path, devices[d], together);
            if (!(nmse(together, alone, N) <= (d < 2 ? 0 : 1e-9)))
                fail_msg("%s on %s: NMSE %g", path, devices[d], nmse(together, alone, N));
        }
    }
}

/* A session on a split model generates what one on a single device does. */
static void answers_are_the_same(void **state)
{
    (void)state;
    for (int i = 0; model_at(i); i++) {
        int32_t said[2][2][20] = {{{0}}};
        for (int way = 0; way < 2; way++) {
            pantry_model *model = load(model_at(i), way ? "ref:0,ref:1-" : "ref", 1, NULL);
            struct pantry_error error;
            struct pantry_model_info info = {.size = sizeof info};
            pantry_model_info(model, &info, NULL);
            assert_string_equal(info.device,
                                way ? "ref (scalar float32) + ref (scalar float32)" : "ref (scalar float32)");
            pantry_session *session;
            assert_int_equal(pantry_session_new(model, NULL, &session, &error), PANTRY_OK);
            for (int turn = 0; turn < 2; turn++) { /* the second rewinds to the middle of the first */
                struct said to = {.ids = said[way][turn]};
                struct pantry_generate_options o = pantry_generate_options_default();
                o.sampling = (struct pantry_sampling){.temperature = 2, .top_p = 1, .repeat_penalty = 1, .seed = 3};
                o.max_tokens = 20;
                o.ignore_eos = true;
                o.callback = note;
                o.user = &to;
                if (pantry_generate(session, ids, turn ? 33 : 50, &o, NULL, &error))
                    fail_msg("%s", error.text);
                assert_int_equal(to.n, 20);
            }
            pantry_session_free(session);
            pantry_model_free(model);
        }
        assert_memory_equal(said[0], said[1], sizeof said[0]);
    }
}

/* ---- experts ---- */

/* A graph of two layers with routed experts, and what belongs to them. */
static void experts_go_to_their_device(void **state)
{
    (void)state;
    struct pn_model m = {.hp = {.n_layer = 2}};
    struct pn_graph *g = &m.graph;
    struct pn_rng rng = {1};
    static float values[8 * 8 * 8];
    for (size_t i = 0; i < COUNT(values); i++)
        values[i] = pn_rng_float(&rng);
    struct pn_weight router = pn_weight_plain("router", PN_TYPE_F32, 1, 4, 8, values);
    struct pn_weight stack = pn_weight_plain("stack", PN_TYPE_F32, 4, 8, 8, values);
    pn_array chosen[2], up[2], act[2], down[2], sum[2];
    pn_graph_init(g);
    pn_array x = pn_input(g, "x", PN_ROWS_TOKENS, 1, 8);
    for (int layer = 0; layer < 2; layer++) {
        g->layer = layer;
        pn_array logits = pn_matmul(g, x, pn_weight_leaf(g, &router));
        chosen[layer] = pn_route(g, logits, PN_NONE, &(struct pn_route_params){.n_expert = 4, .n_used = 2, .scale = 1});
        up[layer] = pn_matmul_each(g, x, pn_weight_leaf(g, &stack), chosen[layer]);
        act[layer] = pn_act(g, up[layer], PN_ACT_FN_SILU);
        down[layer] = pn_matmul_each(g, act[layer], pn_weight_leaf(g, &stack), chosen[layer]);
        sum[layer] = pn_each_sum(g, down[layer], chosen[layer]);
        x = pn_add(g, x, sum[layer]);
    }
    struct pantry_error err = {0};
    struct pn_split s;
    int8_t *of = calloc(g->len, 1), of_cache[1];
    assert_non_null(of);
    assert_int_equal(pn_graph_status(g, &err), PANTRY_OK);
    for (int way = 0; way < 2; way++) {
        const char *text = way ? "ref:0-0,cpu:1-,ref:experts" : "ref,cpu:experts";
        assert_int_equal(pn_split_open(text, &(struct pn_device_options){1, NULL}, 2, &s, &err), PANTRY_OK);
        assert_int_equal(pn_split_assign(&s, &m, of, of_cache, &err), PANTRY_OK);
        int experts = way ? 2 : 1;
        for (int layer = 0; layer < 2; layer++) {
            int own = way ? layer : 0;
            assert_int_equal(of[chosen[layer]], own);
            assert_int_equal(of[up[layer]], experts);
            assert_int_equal(of[act[layer]], experts);
            assert_int_equal(of[down[layer]], experts);
            assert_int_equal(of[sum[layer]], experts);
        }
        assert_int_equal(of[x], way ? 1 : 0);
        pn_split_close(&s);
    }
    free(of);
    pn_graph_free(g);
}

/* ---- options ---- */

static void device_options_are_parsed(void **state)
{
    (void)state;
    static const struct {
        const char *text, *error;
        int n, first[3], last[3];
    } cases[] = {
        {"ref", NULL, 1, {-1}, {-1}},
        {"ref,cpu", NULL, 2, {-1, -1}, {-1, -1}},
        {"ref:0-2,cpu:3-", NULL, 2, {0, 3}, {2, 9}},
        {"ref:4,cpu", NULL, 2, {4, -1}, {4, -1}},
        {"cpu:5-9,ref:0-3,ref:4", NULL, 3, {5, 0, 4}, {9, 3, 4}},
        {"ref,cpu:experts", NULL, 2, {-1, -1}, {-1, -1}},
        {"ref:0-2,cpu:3-,ref:experts", NULL, 3, {0, 3, -1}, {2, 9, -1}},
        {"cpu:experts", "layer 0 is assigned to no device", 0, {0}, {0}},
        {"ref:0-2,cpu:experts", "layer 3 is assigned to no device", 0, {0}, {0}},
        {"ref,cpu:experts,cpu:experts", "the experts are assigned to two devices", 0, {0}, {0}},
        {"ref,cpu:expertsx",
         "invalid devices (found \"ref,cpu:expertsx\", allowed up to 4 such as \"cpu\", \"cpu:0-15,cuda:16-\" or "
         "\"cuda,cpu:experts\")",
         0,
         {0},
         {0}},
        {"", "unknown device (found \"\", allowed \"cuda\", \"metal\", \"cpu\" and \"ref\")", 0, {0}, {0}},
        {"ref:",
         "invalid devices (found \"ref:\", allowed up to 4 such as \"cpu\", \"cpu:0-15,cuda:16-\" or "
         "\"cuda,cpu:experts\")",
         0,
         {0},
         {0}},
        {"ref:x",
         "invalid devices (found \"ref:x\", allowed up to 4 such as \"cpu\", \"cpu:0-15,cuda:16-\" or "
         "\"cuda,cpu:experts\")",
         0,
         {0},
         {0}},
        {"ref:1-x",
         "invalid devices (found \"ref:1-x\", allowed up to 4 such as \"cpu\", \"cpu:0-15,cuda:16-\" or "
         "\"cuda,cpu:experts\")",
         0,
         {0},
         {0}},
        {"ref:0-9 ",
         "invalid devices (found \"ref:0-9 \", allowed up to 4 such as \"cpu\", \"cpu:0-15,cuda:16-\" or "
         "\"cuda,cpu:experts\")",
         0,
         {0},
         {0}},
        {"ref,ref,ref,ref,ref",
         "invalid devices (found \"ref,ref,ref,ref,ref\", allowed up to 4 such as \"cpu\", \"cpu:0-15,cuda:16-\" or "
         "\"cuda,cpu:experts\")",
         0,
         {0},
         {0}},
        {"ref:99999999",
         "invalid devices (found \"ref:99999999\", allowed up to 4 such as \"cpu\", \"cpu:0-15,cuda:16-\" or "
         "\"cuda,cpu:experts\")",
         0,
         {0},
         {0}},
        {"ref,", "unknown device (found \"\", allowed \"cuda\", \"metal\", \"cpu\" and \"ref\")", 0, {0}, {0}},
        {"ref:0-2,gpu:3-",
         "unknown device (found \"gpu\", allowed \"cuda\", \"metal\", \"cpu\" and \"ref\")",
         0,
         {0},
         {0}},
        {"ref:0-10", "invalid layers of a device (found 0 to 10, allowed 0 to 9)", 0, {0}, {0}},
        {"ref:4-3,cpu", "invalid layers of a device (found 4 to 3, allowed 0 to 9)", 0, {0}, {0}},
        {"ref:0-4,cpu:4-", "layer 4 is assigned to two devices", 0, {0}, {0}},
        {"ref:0-4,cpu:6-", "layer 5 is assigned to no device", 0, {0}, {0}},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct pn_split s;
        struct pantry_error err = {0};
        pantry_status status = pn_split_open(cases[i].text, &(struct pn_device_options){1, NULL}, 10, &s, &err);
        if (cases[i].error) {
            assert_int_not_equal(status, PANTRY_OK);
            assert_string_equal(err.text, cases[i].error);
            assert_int_equal(s.n, 0);
            continue;
        }
        assert_int_equal(status, PANTRY_OK);
        assert_int_equal(s.n, cases[i].n);
        for (int j = 0; j < s.n; j++)
            assert_true(s.first[j] == cases[i].first[j] && s.last[j] == cases[i].last[j]);
        pn_split_close(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ref_and_ref_equal_ref),
        cmocka_unit_test(recorded_models_equal_ref),
        cmocka_unit_test(cpu_and_ref_are_near_ref),
        cmocka_unit_test(memory_is_only_accessed_through_devices),
        cmocka_unit_test(checkpoints_are_on_all_devices),
        cmocka_unit_test(unsupported_operations_move),
        cmocka_unit_test(unsupported_products_move),
        cmocka_unit_test(operations_without_a_device_are_errors),
        cmocka_unit_test(devices_have_what_their_layers_need),
        cmocka_unit_test(states_are_on_their_device),
        cmocka_unit_test(scratch_is_the_largest_and_not_the_sum),
        cmocka_unit_test(encoders_are_split_too),
        cmocka_unit_test(answers_are_the_same),
        cmocka_unit_test(experts_go_to_their_device),
        cmocka_unit_test(device_options_are_parsed),
    };
    return cmocka_run_group_tests(tests, fill_ids, NULL);
}
