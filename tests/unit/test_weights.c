/* Layouts of weights: types with scales in separate planes, stacks with matrices in separate allocations, leaves that
 * are parts of one tensor. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "device/device.h"
#include "model/model.h"
#include "emulated.h"
#include "op_run.h"
#include "tiny_model.h"

static const struct affine {
    pn_type type;
    int bits;
} affines[] = {{PN_TYPE_AFFINE2, 2}, {PN_TYPE_AFFINE3, 3}, {PN_TYPE_AFFINE4, 4},
               {PN_TYPE_AFFINE5, 5}, {PN_TYPE_AFFINE6, 6}, {PN_TYPE_AFFINE8, 8}};
enum { N_AFFINE = sizeof affines / sizeof *affines };

static const pn_type scale_types[] = {PN_TYPE_F32, PN_TYPE_F16, PN_TYPE_BF16};

static void *allocate(size_t bytes)
{
    void *p = malloc(bytes + 1);
    assert_non_null(p);
    return p;
}

/* ---- affine groups ---- */

/* A random stack in three planes, and its values by definition: q from single bits of the row's stream, lowest first;
 * value = q * scale + bias. */
struct planes {
    struct pn_weight w;
    unsigned char *data[3];
    float *values; /* (n_mat, n_rows, n_cols) */
};

static float put_scale(struct pn_rng *rng, pn_type type, float low, float high, unsigned char *at)
{
    float value = low + (high - low) * pn_rng_float(rng);
    pn_type_info(type)->encode(&value, at, 1);
    pn_type_decode_row(type, at, &value, 1);
    return value;
}

static struct planes planes_new(const struct affine *a, int group, pn_type scale, int n_mat, int n_rows, int n_cols,
                                uint64_t seed)
{
    struct pn_rng rng = {seed};
    struct planes p = {.values = allocate((size_t)(n_mat * n_rows * n_cols) * sizeof(float))};
    size_t q_row = (size_t)(n_cols * a->bits / 8), s_bytes = pn_type_row_bytes(scale, 1);
    size_t s_row = (size_t)(n_cols / group) * s_bytes, rows = (size_t)(n_mat * n_rows);
    p.data[0] = allocate(rows * q_row);
    p.data[1] = allocate(rows * s_row);
    p.data[2] = allocate(rows * s_row);
    for (size_t i = 0; i < rows * q_row; i++)
        p.data[0][i] = (unsigned char)(pn_rng_float(&rng) * 256);
    for (size_t r = 0; r < rows; r++)
        for (int g = 0; g < n_cols / group; g++) {
            size_t at = r * s_row + (size_t)g * s_bytes;
            float s = put_scale(&rng, scale, 0.01f, 0.2f, p.data[1] + at);
            float b = put_scale(&rng, scale, -1, 0, p.data[2] + at);
            for (int i = g * group; i < (g + 1) * group; i++) {
                unsigned q = 0;
                for (int bit = 0; bit < a->bits; bit++) {
                    size_t n = (size_t)(i * a->bits + bit);
                    q |= (unsigned)(p.data[0][r * q_row + n / 8] >> n % 8 & 1) << bit;
                }
                float product = (float)q * s;
                p.values[r * (size_t)n_cols + (size_t)i] = product + b;
            }
        }
    p.w = (struct pn_weight){.name = "affine",
                             .type = a->type,
                             .n_mat = n_mat,
                             .n_rows = n_rows,
                             .n_cols = n_cols,
                             .group = group,
                             .n_planes = 3,
                             .plane = {{p.data[0], q_row, q_row * (size_t)n_rows, a->type},
                                       {p.data[1], s_row, s_row * (size_t)n_rows, scale},
                                       {p.data[2], s_row, s_row * (size_t)n_rows, scale}}};
    return p;
}

static void planes_free(struct planes *p)
{
    for (int i = 0; i < 3; i++)
        free(p->data[i]);
    free(p->values);
}

static void affine_rows_equal_the_definition(void **state)
{
    (void)state;
    enum { ROWS = 3, COLS = 384, MATS = 2 };
    float row[COLS];
    for (int a = 0; a < N_AFFINE; a++)
        for (int group = 32; group <= 128; group *= 2)
            for (size_t s = 0; s < 3; s++) {
                struct planes p = planes_new(&affines[a], group, scale_types[s], MATS, ROWS, COLS, (uint64_t)a + 1);
                for (int m = 0; m < MATS; m++)
                    for (int r = 0; r < ROWS; r++) {
                        const float *want = p.values + (size_t)((m * ROWS + r) * COLS);
                        pn_weight_decode(&p.w, m, r, 0, COLS, row);
                        assert_memory_equal(row, want, sizeof row);
                        for (int first = 32; first < COLS; first += 96) { /* inside groups, too */
                            int n = COLS - first < 160 ? COLS - first : 160;
                            memset(row, 0, sizeof row);
                            pn_weight_decode(&p.w, m, r, first, n, row);
                            assert_memory_equal(row, want + first, (size_t)n * sizeof *row);
                            assert_true(n == COLS || row[n] == 0);
                        }
                    }
                assert_int_equal(
                    pn_weight_bytes(&p.w),
                    MATS * ROWS *
                        (COLS * affines[a].bits / 8 + 2 * COLS / group * (int)pn_type_row_bytes(scale_types[s], 1)));
                assert_null(pn_weight_floats(&p.w, 0, 0));
                planes_free(&p);
            }
}

static const int lengths[] = {5};

/* The rows of `o` times a stack, slot j of each with matrix j, beside the same with the stack's values in float32. */
static void check_products(struct op_run *o, const struct pn_weight *w, const float *values, const char *device)
{
    struct pn_weight plain = pn_weight_plain("plain", PN_TYPE_F32, w->n_mat, w->n_rows, w->n_cols, values);
    pn_array x = pn_reshape(&o->graph, o->x, (int)w->n_mat, (int)w->n_cols);
    pn_array y = w->n_mat == 1 ? pn_matmul(&o->graph, o->x, pn_weight_leaf(&o->graph, w))
                               : pn_matmul_each(&o->graph, x, pn_weight_leaf(&o->graph, w), PN_NONE);
    pn_array z = w->n_mat == 1 ? pn_matmul(&o->graph, o->x, pn_weight_leaf(&o->graph, &plain))
                               : pn_matmul_each(&o->graph, x, pn_weight_leaf(&o->graph, &plain), PN_NONE);
    const struct op_device d = {device, NULL, 2};
    size_t n = (size_t)(o->n_rows * w->n_mat * w->n_rows) * sizeof(float);
    float *got = allocate(n), *want = allocate(n);
    op_run_on(o, y, &d, 2, got, NULL);
    op_run_on(o, z, &d, 2, want, NULL);
    if (strcmp(device, "ref") == 0) {
        assert_memory_equal(got, want, n);
    } else { /* multiplies integers, with activations of 15 bits */
        double error = 0, power = 0;
        for (size_t i = 0; i < n / sizeof *got; i++) {
            error += ((double)got[i] - (double)want[i]) * ((double)got[i] - (double)want[i]);
            power += (double)want[i] * (double)want[i];
        }
        assert_true(error <= 1e-7 * power);
    }
    free(got);
    free(want);
}

static void affine_products(void **state)
{
    (void)state;
    static const char *const devices[] = {"ref", "cpu", "cuda"};
    size_t n_devices = emulated_cuda() ? 3 : 2;
    for (int a = 0; a < N_AFFINE; a++)
        for (int n_mat = 1; n_mat <= 3; n_mat += 2)
            for (size_t d = 0; d < n_devices; d++) {
                struct op_run o;
                struct planes p = planes_new(&affines[a], 64, PN_TYPE_F16, n_mat, 9, 128, 77);
                op_run_init(&o, 5, 128 * n_mat, lengths, 1, 0);
                check_products(&o, &p.w, p.values, devices[d]);
                op_run_free(&o);
                planes_free(&p);
            }
}

/* Looking up rows is decoding. */
static void cpu_looks_up(void **state)
{
    (void)state;
    struct op_run o;
    struct planes p = planes_new(&affines[2], 32, PN_TYPE_BF16, 1, 64, 64, 3);
    float got[5 * 64];
    op_run_init(&o, 5, 64, lengths, 1, 0);
    op_run_on(&o, pn_embed(&o.graph, pn_weight_leaf(&o.graph, &p.w)), &(struct op_device){"cpu", NULL, 2}, 5, got,
              NULL);
    assert_memory_equal(got, p.values, sizeof got); /* ids are 0 .. 4 */
    op_run_free(&o);
    planes_free(&p);
}

/* ---- files written by mlx ---- */

struct tensor_file {
    struct pn_map map;
    json_t *header;
    const char *data;
};

static bool open_tensors(const char *model, struct tensor_file *f)
{
    const char *root = getenv("PANTRY_TEST_DATA");
    char path[1024];
    uint64_t n;
    snprintf(path, sizeof path, "%s/mlx/models/%s/model.safetensors", root ? root : "../shared/data", model);
    if (pn_map_open(&f->map, path, NULL))
        return false;
    memcpy(&n, f->map.data, sizeof n);
    f->header = json_loadb((const char *)f->map.data + 8, n, 0, NULL);
    assert_non_null(f->header);
    f->data = (const char *)f->map.data + 8 + n;
    return true;
}

static void close_tensors(struct tensor_file *f)
{
    json_decref(f->header);
    pn_map_close(&f->map);
}

/* The tensor's data, its shape, its type. */
static const void *tensor(const struct tensor_file *f, const char *name, int shape[2], pn_type *type)
{
    const json_t *t = json_object_get(f->header, name);
    const char *dtype = json_string_value(json_object_get(t, "dtype"));
    assert_non_null(dtype);
    for (size_t i = 0; i < 2; i++)
        shape[i] = (int)json_integer_value(json_array_get(json_object_get(t, "shape"), i));
    *type = strcmp(dtype, "BF16") == 0 ? PN_TYPE_BF16 : strcmp(dtype, "F16") == 0 ? PN_TYPE_F16 : PN_TYPE_F32;
    return f->data + json_integer_value(json_array_get(json_object_get(t, "data_offsets"), 0));
}

/* A matrix quantized by mlx against its original: the error is that of rounding to `bits` bits. */
static void compare_with_original(const char *quantized, const char *original, const char *name, const struct affine *a,
                                  int group)
{
    struct tensor_file q, o;
    char weight[64], scales[64], biases[64];
    int shape[2], packed[2], groups[2];
    pn_type type, scale_type;
    if (!open_tensors(quantized, &q) || !open_tensors(original, &o))
        skip();
    snprintf(weight, sizeof weight, "%s.weight", name);
    snprintf(scales, sizeof scales, "%s.scales", name);
    snprintf(biases, sizeof biases, "%s.biases", name);
    const char *plain = tensor(&o, weight, shape, &type);
    struct pn_weight w = {.type = a->type, .n_mat = 1, .n_rows = shape[0], .n_cols = shape[1], .n_planes = 3};
    w.group = group;
    w.plane[0] =
        (struct pn_plane){tensor(&q, weight, packed, &scale_type), (size_t)(shape[1] * a->bits / 8), 0, a->type};
    assert_int_equal(packed[1] * 32, shape[1] * a->bits);
    const void *s = tensor(&q, scales, groups, &scale_type), *b = tensor(&q, biases, groups, &scale_type);
    assert_int_equal(groups[1] * group, shape[1]);
    size_t row_bytes = pn_type_row_bytes(scale_type, (size_t)groups[1]);
    w.plane[1] = (struct pn_plane){s, row_bytes, 0, scale_type};
    w.plane[2] = (struct pn_plane){b, row_bytes, 0, scale_type};
    float *got = allocate((size_t)shape[1] * sizeof *got), *want = allocate((size_t)shape[1] * sizeof *want);
    float *step = allocate((size_t)groups[1] * sizeof *step);
    double sum = 0;
    for (int r = 0; r < shape[0]; r++) {
        pn_weight_decode(&w, 0, r, 0, shape[1], got);
        pn_type_decode_row(type, plain + (size_t)r * pn_type_row_bytes(type, (size_t)shape[1]), want, (size_t)shape[1]);
        pn_type_decode_row(scale_type, (const char *)s + (size_t)r * row_bytes, step, (size_t)groups[1]);
        for (int i = 0; i < shape[1]; i++) {
            float range = fabsf(step[i / group]) * (float)(1 << a->bits);
            float allowed = fabsf(step[i / group]) + range / 256; /* mlx cuts one end of a group; scales in 8 bits */
            if (!(fabsf(got[i] - want[i]) <= allowed))
                fail_msg("%s, row %d, value %d: %g for %g, step %g", quantized, r, i, (double)got[i], (double)want[i],
                         (double)step[i / group]);
            double error = (double)((got[i] - want[i]) / step[i / group]);
            sum += error * error;
        }
    }
    double n = (double)shape[0] * shape[1]; /* rounding alone leaves 1/12 */
    if (!(sum < n / 8))
        fail_msg("%s: a mean square of %g steps", quantized, sum / n);
    free(got);
    free(want);
    free(step);
    close_tensors(&q);
    close_tensors(&o);
}

static void mlx_files_decode(void **state)
{
    (void)state;
    compare_with_original("mlx-llama-4bit-g64", "llama-bf16", "lm_head", &affines[2], 64);
    compare_with_original("mlx-phi3-3bit-g128", "phi3-f16", "lm_head", &affines[1], 128);
    compare_with_original("mlx-qwen2-5bit-g32", "qwen2-f16", "model.embed_tokens", &affines[3], 32);
    compare_with_original("mlx-qwen3-8bit-g32", "qwen3-f32", "model.embed_tokens", &affines[5], 32);
}

/* ---- separate matrices ---- */

/* Each matrix of a stack in its own allocation, in another order, with another row stride. */
static void scattered(const struct pn_weight *from, struct pn_weight *to, size_t gap)
{
    const void **mats = allocate((size_t)(from->n_mat * from->n_planes) * sizeof *mats);
    *to = *from;
    to->mats = mats;
    for (int p = 0; p < from->n_planes; p++) {
        size_t row = from->plane[p].row_bytes;
        to->plane[p] = (struct pn_plane){NULL, row + gap, 0, from->plane[p].type};
        for (int64_t m = from->n_mat - 1; m >= 0; m--) {
            char *copy = allocate((size_t)from->n_rows * (row + gap));
            for (int64_t r = 0; r < from->n_rows; r++)
                memcpy(copy + (size_t)r * (row + gap), pn_weight_at(from, p, m, r), row);
            mats[m * from->n_planes + p] = copy;
        }
    }
}

static void scattered_free(struct pn_weight *w)
{
    for (int64_t i = 0; i < w->n_mat * w->n_planes; i++)
        free((void *)(uintptr_t)w->mats[i]);
    free((void *)(uintptr_t)w->mats);
}

/* Experts in separate tensors give the same results as one stack, bit for bit, on every device. */
static void experts_apart(void **state)
{
    (void)state;
    enum { EXPERTS = 6, USED = 2, IN = 256, OUT = 70, TOKENS = 11 };
    static const int tokens[] = {TOKENS};
    static const pn_type types[] = {PN_TYPE_F32, PN_TYPE_F16, PN_TYPE_Q8_0, PN_TYPE_Q4_0, PN_TYPE_Q4_K, PN_TYPE_Q6_K};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        struct op_run o;
        struct pn_weight apart;
        float *decoded, got[TOKENS * USED * OUT], want[TOKENS * USED * OUT];
        op_run_init(&o, 40 + t, EXPERTS + IN, tokens, 1, 0);
        pn_array stack = op_run_weight(&o, types[t], (const int64_t[]){EXPERTS, OUT, IN}, -1, 1, &decoded);
        scattered(pn_node(&o.graph, stack)->weight, &apart, t % 2 ? 64 : 0);
        struct pn_route_params p = {.n_expert = EXPERTS, .n_used = USED, .scale = 1};
        pn_array route = pn_route(&o.graph, pn_slice(&o.graph, o.x, 0, EXPERTS), PN_NONE, &p);
        pn_array x = pn_slice(&o.graph, o.x, EXPERTS, IN);
        pn_array y = pn_matmul_each(&o.graph, x, stack, route);
        pn_array z = pn_matmul_each(&o.graph, x, pn_weight_leaf(&o.graph, &apart), route);
        for (int d = 0; d < op_n_devices; d++)
            for (int slice = 1; slice <= TOKENS; slice += 5) {
                op_run_on(&o, y, &op_devices[d], slice, want, NULL);
                op_run_on(&o, z, &op_devices[d], slice, got, NULL);
                assert_memory_equal(got, want, sizeof got);
            }
        free(decoded);
        scattered_free(&apart);
        op_run_free(&o);
    }
}

static void affine_experts_apart(void **state)
{
    (void)state;
    struct op_run o;
    struct pn_weight apart;
    struct planes p = planes_new(&affines[4], 32, PN_TYPE_BF16, 4, 7, 64, 8);
    op_run_init(&o, 6, 4 * 64, lengths, 1, 0);
    scattered(&p.w, &apart, 12);
    assert_int_equal(pn_weight_bytes(&apart), pn_weight_bytes(&p.w) + 4 * 7 * 3 * 12);
    check_products(&o, &apart, p.values, "ref");
    scattered_free(&apart);
    op_run_free(&o);
    planes_free(&p);
}

/* ---- leaves of one tensor ---- */

static struct pn_model *load(const char *path)
{
    struct pantry_error err = {0};
    struct pn_weights *weights;
    struct pn_model *model = NULL;
    if (pn_weights_open(path, &weights, &err) || pn_model_new(weights, &(struct pn_rope_override){0}, &model, &err))
        fail_msg("%s", err.text);
    return model;
}

/* Every weight of a graph has an id; parts have the id of their tensor and are inside it. Returns the number of tensors
 * with leaves. */
static int check_places(const struct pn_graph *g, int *n_leaves, int *n_parts)
{
    int n = 0;
    *n_leaves = *n_parts = 0;
    for (size_t i = 0; i < g->len; i++) {
        const struct pn_weight *w = g->data[i].weight;
        if (g->data[i].op != PN_OP_WEIGHT)
            continue;
        ++*n_leaves;
        assert_true(w->id > 0);
        if (w->whole) {
            const char *begin = w->whole->plane[0].data, *at = w->plane[0].data;
            ++*n_parts;
            assert_int_equal(w->whole->id, w->id);
            assert_null(w->whole->whole);
            assert_true(at >= begin && at + pn_weight_bytes(w) <= begin + pn_weight_bytes(w->whole));
        }
        bool seen = false;
        for (size_t j = 0; j < i && !seen; j++)
            seen = g->data[j].op == PN_OP_WEIGHT && g->data[j].weight->id == w->id;
        n += !seen;
    }
    return n;
}

static void tied_output_shares_its_data(void **state)
{
    (void)state;
    int n_leaves, n_parts;
    struct pn_model *m = load(tiny_model("gemma3", GW_F16, "tied.gguf"));
    const struct pn_graph *g = &m->graph;
    int n = check_places(g, &n_leaves, &n_parts);
    assert_int_equal(n, n_leaves);
    assert_int_equal(n_parts, 0);
    pn_array table = PN_NONE, output = PN_NONE;
    for (size_t i = 0; i < g->len; i++) {
        if (g->data[i].op == PN_OP_EMBED)
            table = g->data[i].src[0];
        if (g->data[i].op == PN_OP_MATMUL)
            output = g->data[i].src[1];
    }
    assert_true(table != PN_NONE && table == output);
    struct pn_model *other = load(tiny_model("gemma3", GW_F16, "other.gguf"));
    assert_int_not_equal(pn_node(&other->graph, table)->weight->id, pn_node(g, table)->weight->id);
    pn_model_free(other);
    pn_model_free(m);
}

/* Each layer has `parts` leaves that are parts of `tensors` tensors. */
static void check_parts(const char *name, int parts, int tensors)
{
    const char *root = getenv("PANTRY_TEST_DATA");
    char path[1024];
    int n_leaves, n_parts;
    snprintf(path, sizeof path, "%s/architectures/%s.gguf", root ? root : "../shared/data", name);
    FILE *f = fopen(path, "rb");
    if (!f)
        skip();
    fclose(f);
    struct pn_model *m = load(path);
    int n = check_places(&m->graph, &n_leaves, &n_parts);
    assert_int_equal(n_parts, parts * m->hp.n_layer);
    assert_int_equal(n_leaves - n, (parts - tensors) * m->hp.n_layer);
    pn_model_free(m);
}

static void slices_are_parts_of_a_tensor(void **state)
{
    (void)state;
    check_parts("phi3-dense", 2, 1); /* gate and up of one */
    check_parts("gpt2-dense", 6, 2); /* queries, keys and values, and their biases */
}

/* Rotary frequencies are weights, too. */
static void frequencies_are_leaves(void **state)
{
    (void)state;
    struct pn_model *m = load(tiny_model("gemma3", GW_F16, "rope.gguf"));
    int n = 0;
    for (size_t i = 0; i < m->graph.len; i++) {
        const struct pn_node *t = &m->graph.data[i];
        if (t->op != PN_OP_ROPE_TABLE)
            continue;
        const struct pn_node *leaf = pn_node(&m->graph, t->src[0]);
        const float *f = pn_weight_floats(leaf->weight, 0, 0);
        assert_true(leaf->op == PN_OP_WEIGHT && leaf->n2 == t->n2 / 2 && f && f[0] == 1);
        assert_int_equal(t->src[1], PN_NONE);
        n++;
    }
    assert_int_equal(n, 2); /* layers with and without a window */
    pn_model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(affine_rows_equal_the_definition),
        cmocka_unit_test(affine_products),
        cmocka_unit_test(cpu_looks_up),
        cmocka_unit_test(mlx_files_decode),
        cmocka_unit_test(experts_apart),
        cmocka_unit_test(affine_experts_apart),
        cmocka_unit_test(tied_output_shares_its_data),
        cmocka_unit_test(slices_are_parts_of_a_tensor),
        cmocka_unit_test(frequencies_are_leaves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
