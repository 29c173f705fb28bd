/* Every entry of every instruction set that this processor has, against plain double precision references on seeded
 * random inputs. Inputs and outputs end at a page that cannot be touched, so a read or write past them is a crash.
 *
 * With -DPN_TEST_STANDALONE it needs no cmocka, so that one static binary can be carried to another machine. */
#if defined(__APPLE__)
#define _DARWIN_C_SOURCE
#else
#define _GNU_SOURCE /* MAP_ANONYMOUS */
#endif

#include "device/cpu/kernel.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int failures;
static const char *isa_name;

#define CHECK(condition, ...)                                                                                          \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            if (failures++ < 20) {                                                                                     \
                fprintf(stderr, "%s: line %d: ", isa_name, __LINE__);                                                  \
                fprintf(stderr, __VA_ARGS__);                                                                          \
                fputc('\n', stderr);                                                                                   \
            }                                                                                                          \
        }                                                                                                              \
    } while (0)

/* ---- random numbers and guarded memory ---- */

static uint64_t random_state;
static uint32_t random_u32(void) /* splitmix64, Steele et al. 2014 */
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)(z >> 32);
}
static float random_float(void) /* about normal */
{
    float s = 0;
    for (int i = 0; i < 6; i++)
        s += (float)(random_u32() >> 8) * 0x1p-24f - 0.5f;
    return s * 1.4142f;
}

#define N_GUARDED 64
static struct {
    void *map;
    size_t size;
} guarded[N_GUARDED];
static int n_guarded;

/* Memory that ends at a page without access (up to `align` - 1 bytes before it). */
static void *guard_alloc(size_t size, size_t align)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), body = (size + page - 1) / page * page;
    char *map = mmap(NULL, body + 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED || n_guarded == N_GUARDED || mprotect(map, page, PROT_NONE) ||
        mprotect(map + page + body, page, PROT_NONE)) {
        perror("guard_alloc");
        exit(1);
    }
    guarded[n_guarded].map = map;
    guarded[n_guarded++].size = body + 2 * page;
    return map + page + body - (size + align - 1) / align * align;
}
static void guard_free_all(void)
{
    while (n_guarded > 0) {
        n_guarded--;
        munmap(guarded[n_guarded].map, guarded[n_guarded].size);
    }
}
static float *guard_floats(int64_t n)
{
    float *p = guard_alloc((size_t)n * 4, 4);
    for (int64_t i = 0; i < n; i++)
        p[i] = random_float();
    return p;
}

/* ---- matrix products ---- */

/* Random blocks, drawn again until their values are finite and of moderate size. */
static void random_weights(pn_type type, char *w, int64_t blocks)
{
    const struct pn_type_info *info = pn_type_info(type);
    float *v = malloc(info->block * sizeof *v);
    for (int64_t b = 0; b < blocks; b++, w += info->bytes)
        for (int attempt = 0; attempt < 100000; attempt++) {
            for (uint32_t i = 0; i < info->bytes; i++)
                w[i] = (char)random_u32();
            info->decode(w, v, info->block);
            float largest = 0;
            bool finite = true;
            for (uint32_t i = 0; i < info->block; i++) {
                finite = finite && isfinite(v[i]);
                largest = fmaxf(largest, fabsf(v[i]));
            }
            if (finite && largest > 0.1f && largest < 100)
                break;
        }
    free(v);
}

struct product {
    pn_type type;
    int64_t n_rows, k, n_cols;
    bool indexed;
    int group; /* types with planes: values per scale, type of the scales and biases */
    pn_type scales;
};

/* A moderate scale. */
static void random_scale(pn_type type, char *at)
{
    float value = (random_u32() % 2 ? -0.0625f : 0.0625f) * (float)(2 + random_u32() % 29);
    if (type == PN_TYPE_I8)
        *at = (char)(124 + random_u32() % 4); /* E8M0 */
    else
        pn_type_info(type)->encode(&value, at, 1);
}

/* The bias that moves the middle of the integers of `bits` bits to about zero. */
static void random_bias(pn_type type, int bits, const char *scale, char *at)
{
    float value;
    pn_type_info(type)->decode(scale, &value, 1);
    value *= -(float)(1 << (bits - 1)) - 0.5f * random_float();
    pn_type_info(type)->encode(&value, at, 1);
}

/* The planes of a weight, each ending at a page without access. */
static void random_planes(const struct product *p, struct pn_matmul_args *a, struct pn_matmul_planes *planes)
{
    *planes = (struct pn_matmul_planes){.first = {.group = p->group, .type = {p->type}}, .stride = {a->w_stride}};
    char *values = guard_alloc(a->w_stride * (size_t)p->n_rows, 1);
    for (size_t i = 0; i < a->w_stride * (size_t)p->n_rows; i++)
        values[i] = (char)random_u32();
    a->w = planes->first.at[0] = values;
    for (uint32_t i = 1; i < pn_type_info(p->type)->planes; i++) {
        size_t n = (size_t)(p->k / p->group), bytes = pn_type_info(p->scales)->bytes;
        char *numbers = guard_alloc(n * bytes * (size_t)p->n_rows, 1);
        for (size_t j = 0; j < n * (size_t)p->n_rows * bytes; j += bytes)
            if (i == PN_PLANE_SCALES)
                random_scale(p->scales, numbers + j);
            else
                random_bias(p->scales, (int)pn_type_info(p->type)->bytes / 4,
                            (const char *)planes->first.at[PN_PLANE_SCALES] + j, numbers + j);
        planes->first.at[i] = numbers;
        planes->first.type[i] = p->scales;
        planes->stride[i] = n * bytes;
    }
    a->planes = planes;
}

/* Row r of the weight as float. */
static void decode_row(const struct product *p, const struct pn_matmul_args *a, int64_t r, float *row)
{
    const struct pn_type_info *info = pn_type_info(p->type);
    if (info->planes == 1) {
        info->decode((const char *)a->w + (size_t)r * a->w_stride, row, (size_t)p->k);
        return;
    }
    struct pn_planes_row at = a->planes->first;
    for (uint32_t i = 0; i < info->planes; i++)
        at.at[i] = (const char *)at.at[i] + (size_t)r * a->planes->stride[i];
    info->decode_planes(&at, 0, row, (size_t)p->k);
}

static int q15_at(const void *row, int64_t k, int64_t i)
{
    return 128 * pn_q15_high(row)[i] + pn_q15_low(row, k)[i];
}

/* The n rows of x in the kernel's format; `seen` gets the values that it reads. */
static void *activations_of(const struct pn_cpu_kernels *kernels, enum pn_x_format format, const float *x, int64_t n,
                            int64_t k, double *seen, size_t *stride)
{
    for (int64_t i = 0; i < n * k; i++)
        seen[i] = x[i];
    *stride = format == PN_X_Q15 ? pn_q15_row_bytes(k) : (size_t)k * 4;
    /* rows at multiples of 64 bytes, like the executor's, if the row size allows it */
    char *rows = guard_alloc(*stride * (size_t)n, format == PN_X_Q15 || k % 16 == 0 ? 64 : 4);
    if (format == PN_X_F32)
        memcpy(rows, x, *stride * (size_t)n);
    for (int64_t r = 0; format == PN_X_Q15 && r < n; r++) {
        char *row = rows + (size_t)r * *stride;
        kernels->quantize(x + r * k, row, k);
        for (int64_t i = 0; i < k; i++)
            seen[r * k + i] = (double)q15_at(row, k, i) * (double)pn_q15_d(row, k)[i / 32];
    }
    return rows;
}

/* Compares the results with sums in double precision, over x and over `seen`, and copies them to `expected`. */
static void check_results(const struct product *p, const struct pn_matmul_args *a, const float *x, const double *seen,
                          float *expected)
{
    const struct pn_type_info *info = pn_type_info(p->type);
    double power = 0, error = 0, error_exact = 0;
    float *row = malloc((size_t)p->k * sizeof *row);
    for (int64_t r = 0; r < p->n_rows; r++) {
        decode_row(p, a, r, row);
        for (int64_t c = 0; c < p->n_cols; c++) {
            int64_t xr = a->x_index ? a->x_index[c] : c, yr = a->y_index ? a->y_index[c] : c;
            size_t at = (size_t)yr * a->y_stride + (size_t)r;
            double want = 0, exact = 0, got = (double)a->y[at];
            for (int64_t i = 0; i < p->k; i++) {
                double term = (double)row[i] * (double)x[xr * p->k + i];
                want += term;
                power += term * term; /* of a sum of terms with random signs; a single result may cancel */
                exact += (double)row[i] * seen[xr * p->k + i];
            }
            error += (got - want) * (got - want);
            error_exact += (got - exact) * (got - exact);
            expected[at] = (float)got;
        }
    }
    CHECK(error <= 1e-8 * power && error_exact <= 2e-11 * power,
          "%s rows %d k %d cols %d%s: NMSE %.3g, against quantized activations %.3g", info->name, (int)p->n_rows,
          (int)p->k, (int)p->n_cols, p->indexed ? " indexed" : "", error / power, error_exact / power);
    free(row);
}

static void check_product(const struct pn_cpu_kernels *kernels, const struct product *p)
{
    const struct pn_matmul_kernel *kernel = &kernels->matmul[p->type];
    const struct pn_type_info *info = pn_type_info(p->type);
    int64_t n_x = p->indexed ? p->n_cols + 2 : p->n_cols, n_y = n_x;
    struct pn_matmul_args args = {.type = p->type, .n_rows = p->n_rows, .k = p->k, .n_cols = p->n_cols};
    args.w_stride = pn_type_row_bytes(p->type, (size_t)p->k);
    struct pn_matmul_planes planes;
    if (info->planes > 1) {
        random_planes(p, &args, &planes);
    } else {
        char *w = guard_alloc(args.w_stride * (size_t)p->n_rows, 1);
        random_weights(p->type, w, p->n_rows * p->k / info->block);
        args.w = w;
    }
    float *x = guard_floats(n_x * p->k);
    args.y_stride = (size_t)p->n_rows + 3;
    size_t y_floats = ((size_t)n_y - 1) * args.y_stride + (size_t)p->n_rows;
    args.y = guard_floats((int64_t)y_floats);
    float *expected = malloc(y_floats * sizeof *expected);
    memcpy(expected, args.y, y_floats * sizeof *expected);
    int32_t *x_index = guard_alloc((size_t)p->n_cols * 4, 4), *y_index = guard_alloc((size_t)p->n_cols * 4, 4);
    for (int64_t c = 0; c < p->n_cols; c++) {
        x_index[c] = (int32_t)(random_u32() % (uint32_t)n_x);
        y_index[c] = (int32_t)(n_y - 1 - c);
    }
    args.x_index = p->indexed ? x_index : NULL;
    args.y_index = p->indexed ? y_index : NULL;
    double *seen = malloc((size_t)(n_x * p->k) * sizeof *seen);
    args.x = activations_of(kernels, kernel->x_format, x, n_x, p->k, seen, &args.x_stride);
    args.scratch = guard_alloc(PN_CPU_SCRATCH, 64);
    kernel->run(&args);
    check_results(p, &args, x, seen, expected);
    CHECK(memcmp(expected, args.y, y_floats * sizeof *expected) == 0,
          "%s rows %d k %d cols %d: writes outside of its slice", info->name, (int)p->n_rows, (int)p->k,
          (int)p->n_cols);
    free(seen);
    free(expected);
    guard_free_all();
}

static void check_plain(const struct pn_cpu_kernels *kernels, pn_type type, int64_t n_rows, int64_t k, int64_t n_cols,
                        bool indexed)
{
    check_product(kernels,
                  &(struct product){.type = type, .n_rows = n_rows, .k = k, .n_cols = n_cols, .indexed = indexed});
}

static void check_products(const struct pn_cpu_kernels *kernels)
{
    static const int64_t rows[] = {1, 7, 16, 33, 50}, blocks[] = {1, 2, 3, 5},
                         cols[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 16, 17, 24, 31, 33};
    static const int64_t odd[] = {1, 7, 31, 64, 100, 521, 1030};
    for (int t = 0; t < PN_TYPE_COUNT; t++) {
        const struct pn_type_info *info = pn_type_info((pn_type)t);
        if (info->planes > 1 || (info->gguf >= 24 && info->gguf <= 28)) /* integers and float64 are not weights */
            continue;
        random_state = 1000 + (uint64_t)t;
        int step = 0;
        for (size_t c = 0; c < sizeof cols / sizeof *cols; c++)
            for (size_t r = 0; r < sizeof rows / sizeof *rows; r++, step++) {
                int64_t k = info->block == 1 ? odd[step % 7] : blocks[step % 4] * info->block;
                if (info->block == 32)
                    k = step % 3 == 0 ? 32 * (1 + step % 23) : k;
                if (kernels->matmul[t].x_format == PN_X_F32 && info->block > 1 && (r == 2 || c % 3 != 0))
                    continue; /* the shared fallback needs fewer cases */
                check_plain(kernels, (pn_type)t, rows[r], k, cols[c], step % 2 == 1);
            }
        /* longer than every internal piece of a row */
        check_plain(kernels, (pn_type)t, 37, 4608, 1, false);
        check_plain(kernels, (pn_type)t, 37, 4608, 3, false);
        check_plain(kernels, (pn_type)t, 37, 4608, 19, true);
        if (kernels->matmul[t].x_format == PN_X_F32 && info->block > 1)
            continue;
        /* more columns than FEW_COLS and MANY_COLS of panel.h; few columns with a very long row */
        int64_t k = info->block > 32 ? info->block : 64;
        check_plain(kernels, (pn_type)t, 35, 3 * k, 65, true);
        check_plain(kernels, (pn_type)t, 33, 768, 70, false);
        check_plain(kernels, (pn_type)t, 3, k, 1027, false);
        check_plain(kernels, (pn_type)t, 2, 16640, 64, false);
    }
}

/* Types whose scales have a plane of their own: groups of all sizes, numbers of all types, rows of any length. */
static void check_planes(const struct pn_cpu_kernels *kernels)
{
    static const int64_t rows[] = {1, 7, 33}, cols[] = {1, 2, 3, 4, 5, 13, 17, 33};
    static const int groups[] = {32, 64, 96, 128, 256};
    static const pn_type numbers[] = {PN_TYPE_F16, PN_TYPE_BF16, PN_TYPE_F32};
    for (int t = 0; t < PN_TYPE_COUNT; t++) {
        const struct pn_type_info *info = pn_type_info((pn_type)t);
        bool affine = strncmp(info->name, "affine", 6) == 0;
        if (!affine && t != PN_TYPE_FP4_MX)
            continue;
        random_state = 3000 + (uint64_t)t;
        int step = 0;
        for (size_t g = 0; g < (affine ? sizeof groups / sizeof *groups : 1); g++)
            for (size_t c = 0; c < sizeof cols / sizeof *cols; c++, step++) {
                int group = groups[g];
                pn_type type = affine ? numbers[step % 3] : PN_TYPE_I8;
                int64_t k = group * (1 + step % 11);
                check_product(kernels,
                              &(struct product){(pn_type)t, rows[step % 3], k, cols[c], step % 2, group, type});
                check_product(kernels, &(struct product){(pn_type)t, 33, 768, cols[c], false, group, type});
            }
        pn_type type = affine ? PN_TYPE_F16 : PN_TYPE_I8;
        int group = affine ? 64 : 32;
        check_product(kernels, &(struct product){(pn_type)t, 37, 4608, 1, false, group, type});
        check_product(kernels, &(struct product){(pn_type)t, 37, 4608, 19, true, group, type});
        check_product(kernels, &(struct product){(pn_type)t, 35, 192, 65, true, group, type});
        check_product(kernels, &(struct product){(pn_type)t, 3, 128, 1027, false, group, type});
    }
}

/* ---- everything else ---- */

static double act_reference(enum pn_act_fn fn, double x)
{
    switch (fn) {
    case PN_ACT_FN_SILU:
        return x / (1 + exp(-x));
    case PN_ACT_FN_GELU:
        return 0.5 * x * erfc(-x / sqrt(2));
    case PN_ACT_FN_GELU_TANH: {
        double u = 0.79788456080286535588 * (x + 0.044715 * x * x * x);
        return x / (1 + exp(-2 * u));
    }
    case PN_ACT_FN_GELU_QUICK:
        return x / (1 + exp(-1.702 * x));
    case PN_ACT_FN_RELU:
        return x > 0 ? x : 0;
    case PN_ACT_FN_RELU2:
        return x > 0 ? x * x : 0;
    case PN_ACT_FN_TANH:
        return tanh(x);
    case PN_ACT_FN_SIGMOID:
        return 1 / (1 + exp(-x));
    case PN_ACT_FN_SOFTPLUS:
        return x > 30 ? x : log1p(exp(x));
    case PN_ACT_FN_ELU:
        return x > 0 ? x : expm1(x);
    case PN_ACT_FN_COUNT:
        break;
    }
    return 0;
}

static void check_act(const struct pn_cpu_kernels *kernels)
{
    random_state = 7;
    for (int fn = 0; fn < PN_ACT_FN_COUNT; fn++) {
        for (int64_t n = 1; n < 40; n += n < 20 ? 1 : 7) {
            float *x = guard_floats(n), *up = guard_floats(n), *y = guard_floats(n), *z = guard_floats(n);
            for (int64_t i = 0; i < n; i++)
                x[i] *= 2;
            kernels->act((enum pn_act_fn)fn, x, y, n);
            kernels->act_mul((enum pn_act_fn)fn, x, up, z, n);
            for (int64_t i = 0; i < n; i++) {
                double want = act_reference((enum pn_act_fn)fn, (double)x[i]);
                CHECK(fabs((double)y[i] - want) <= 1e-5 * fabs(want), "act %d(%g): %g, not %g", fn, (double)x[i],
                      (double)y[i], want);
                CHECK(fabs((double)z[i] - want * (double)up[i]) <= 1e-5 * fabs(want * (double)up[i]), "act_mul %d(%g)",
                      fn, (double)x[i]);
            }
            guard_free_all();
        }
        /* the whole range: relative error, and absolute below 1e-12 */
        int64_t n = 4001;
        float *x = guard_floats(n), *y = guard_floats(n);
        for (int64_t i = 0; i < n; i++)
            x[i] = (float)(i - 2000) / 20.0f;
        kernels->act((enum pn_act_fn)fn, x, y, n);
        for (int64_t i = 0; i < n; i++) {
            double want = act_reference((enum pn_act_fn)fn, (double)x[i]);
            CHECK(fabs((double)y[i] - want) <= 1e-5 * fabs(want) + 1e-12, "act %d(%g): %g, not %g", fn, (double)x[i],
                  (double)y[i], want);
        }
        float extremes[] = {-3e38f, -1e10f, -200.0f, -0.0f, 0.0f, 200.0f, 1e10f}, out[7];
        kernels->act((enum pn_act_fn)fn, extremes, out, 7);
        for (int i = 0; i < 7; i++)
            CHECK(!isnan(out[i]), "act %d(%g) is not a number", fn, (double)extremes[i]);
        guard_free_all();
    }
}

static void check_exp(const struct pn_cpu_kernels *kernels)
{
    random_state = 11;
    for (int64_t n = 1; n < 5000; n = n < 70 ? n + 1 : n * 3) {
        float *x = guard_floats(n), *before = malloc((size_t)n * sizeof *x);
        float shift = 3.25f;
        for (int64_t i = 0; i < n; i++)
            x[i] = n < 70 ? x[i] : shift - 87.0f * (float)i / (float)(n - 1);
        if (n % 5 == 0)
            x[n - 1] = -__builtin_inff();
        if (n % 7 == 0)
            x[0] = shift - 90;
        memcpy(before, x, (size_t)n * sizeof *x);
        double sum = 0, got = (double)kernels->exp_shift(x, shift, n);
        for (int64_t i = 0; i < n; i++) {
            double want = (double)(before[i] - shift) < -87 ? 0 : exp((double)(before[i] - shift));
            CHECK(fabs((double)x[i] - want) <= 2 * 0x1p-23 * want, "exp(%g): %g, not %g", (double)(before[i] - shift),
                  (double)x[i], want);
            sum += want;
        }
        CHECK(fabs(got - sum) <= 1e-5 * sum, "exp_shift: sum %g, not %g", got, sum);
        free(before);
        guard_free_all();
    }
}

static void check_vectors(const struct pn_cpu_kernels *kernels)
{
    random_state = 13;
    for (int64_t n = 1; n < 300; n = n < 70 ? n + 1 : n + 37) {
        float *x = guard_floats(n), *w = guard_floats(n), *y = guard_floats(n);
        uint16_t *h = guard_alloc((size_t)n * 2, 2);
        double squares = 0, largest = (double)x[0];
        for (int64_t i = 0; i < n; i++) {
            squares += (double)x[i] * (double)x[i];
            largest = fmax(largest, (double)x[i]);
        }
        CHECK(fabs((double)kernels->sum_squares(x, n) - squares) <= 1e-6 * squares, "sum_squares of %d", (int)n);
        CHECK((double)kernels->max(x, n) == largest, "max of %d", (int)n);
        kernels->scale_mul(x, w, 0.75f, y, n);
        for (int64_t i = 0; i < n; i++)
            CHECK(fabs((double)y[i] - (double)x[i] * (double)w[i] * 0.75) <= 1e-6 * fabs((double)y[i]), "scale_mul");
        kernels->scale_mul(x, NULL, 0.75f, y, n);
        for (int64_t i = 0; i < n; i++)
            CHECK(y[i] == x[i] * 0.75f, "scale_mul without weights");
        x[0] = 1e6f;
        x[n - 1] = 6e-8f;
        kernels->f32_to_f16(x, h, n);
        for (int64_t i = 0; i < n; i++)
            CHECK(h[i] == pn_f32_to_f16(x[i]), "f32_to_f16(%g)", (double)x[i]);
        guard_free_all();
    }
}

/* Halves at ties, at both ends of the range, and NaN, in every lane of a vector. */
static void check_halves(const struct pn_cpu_kernels *kernels)
{
    static const float hard[] = {
        1 + 0x1p-11f, 1 + 0x3p-11f,     -1 - 0x1p-11f,     65504,           65519.996f, 65520,        -65520,
        0x1p-24f,     0x1p-25f,         0x1.8p-24f,        0x1.000002p-25f, 0x1p-14f,   0x1.ffcp-15f, 0,
        -0.0f,        __builtin_inff(), -__builtin_inff(), 0x1p-140f,       3e38f};
    enum { N = sizeof hard / sizeof *hard };
    float x[3 * N];
    uint16_t h[3 * N + 1];
    for (int n = 1; n <= 3 * N; n += n < 20 ? 1 : 9) {
        for (int i = 0; i < n; i++)
            x[i] = hard[(i + n) % N];
        h[n] = 0x1234;
        kernels->f32_to_f16(x, h, n);
        for (int i = 0; i < n; i++)
            CHECK(h[i] == pn_f32_to_f16(x[i]), "f32_to_f16(%g) is %04x", (double)x[i], h[i]);
        CHECK(h[n] == 0x1234, "f32_to_f16 of %d writes past the end", n);
    }
    float none = __builtin_nanf("");
    kernels->f32_to_f16(&none, h, 1);
    CHECK((h[0] & 0x7C00) == 0x7C00 && (h[0] & 0x3FF), "f32_to_f16 of NaN");
}

/* Rows of masked values only, and values in steps of the levels: ties, extremes alone, tiny values. */
static void check_hard_rows(const struct pn_cpu_kernels *kernels)
{
    float x[64], e[40];
    char row[1024] __attribute__((aligned(64)));
    for (int n = 1; n < 40; n++) {
        for (int i = 0; i < n; i++)
            e[i] = -__builtin_inff();
        CHECK(kernels->max(e, n) == -__builtin_inff(), "max of %d masked values", n);
        e[n / 2] = -3;
        CHECK(kernels->max(e, n) == -3, "max of one value below 0");
        e[n - 1] = -2;
        CHECK(kernels->max(e, n) == -2, "max at the end of the row");
        e[0] = -1;
        CHECK(kernels->max(e, n) == -1, "max at the start of the row");
    }
    for (int way = 0; way < 4; way++) {
        for (int i = 0; i < 64; i++)
            x[i] = way == 0   ? (i % 32 == 5 ? -PN_Q15_MAX : (float)(i - 40) + 0.5f) /* halves of a step, to even */
                   : way == 1 ? (i == 40 ? 1e-20f : 0)
                   : way == 2 ? 1e-31f
                              : (i % 2 ? 5 : -5);
        kernels->quantize(x, row, 64);
        for (int i = 0; i < 64; i++) {
            int q = q15_at(row, 64, i);
            double want = way == 0   ? nearbyint((double)x[i])
                          : way == 1 ? (i == 40 ? PN_Q15_MAX : 0)
                          : way == 2 ? 0
                          : x[i] > 0 ? PN_Q15_MAX
                                     : -PN_Q15_MAX;
            CHECK((double)q == want, "quantize, way %d: %g became %d", way, (double)x[i], q);
        }
        float d = pn_q15_d(row, 64)[0], d1 = pn_q15_d(row, 64)[1];
        CHECK(way != 0 || (d == 1 && d1 == 1), "quantize: d %g, %g", (double)d, (double)d1);
        CHECK(way != 1 || (d == 0 && fabsf(d1 / 1e-20f * PN_Q15_MAX - 1) < 1e-6f), "quantize: d %g, %g", (double)d,
              (double)d1);
        CHECK(way != 2 || (d == 0 && d1 == 0), "quantize: d %g, %g", (double)d, (double)d1);
    }
}

static void check_quantize(const struct pn_cpu_kernels *kernels)
{
    random_state = 17;
    for (int64_t k = 32; k <= 32 * 40; k += 32 * 3) {
        float *x = guard_floats(k);
        for (int i = 0; i < 32; i++)
            x[i] = k % 64 == 0 ? 0 : x[i];
        char *row = guard_alloc(pn_q15_row_bytes(k), 64);
        kernels->quantize(x, row, k);
        for (int64_t b = 0; b < k / 32; b++) {
            float largest = 0, d = pn_q15_d(row, k)[b];
            double sum[2] = {0, 0};
            for (int i = 0; i < 32; i++)
                largest = fmaxf(largest, fabsf(x[b * 32 + i]));
            CHECK(fabsf(d - largest / PN_Q15_MAX) <= 1e-6f * d, "quantize: d %g", (double)d);
            for (int i = 0; i < 32; i++) {
                int q = q15_at(row, k, b * 32 + i), high = pn_q15_high(row)[b * 32 + i],
                    low = pn_q15_low(row, k)[b * 32 + i];
                sum[i / 16] += (double)q * (double)d;
                CHECK(high >= -127 && low >= -64 && low < 64, "quantize: planes %d and %d", high, low);
                CHECK(fabsf((float)q * d - x[b * 32 + i]) <= 0.502f * d, "quantize: %g became %d * %g",
                      (double)x[b * 32 + i], q, (double)d);
            }
            for (int h = 0; h < 2; h++)
                CHECK(fabs(sum[h] - (double)pn_q15_sum(row, k)[2 * b + h]) <= 1e-7 * fabs(sum[h]), "quantize: sums");
        }
        guard_free_all();
    }
}

static void check_attention_case(const struct pn_cpu_kernels *kernels, pn_type type, int head_dim, int n_tokens,
                                 int n_query)
{
    const struct pn_type_info *info = pn_type_info(type);
    size_t row = pn_type_row_bytes(type, (size_t)head_dim); /* values may be the first part of longer keys */
    size_t row_bytes = row + (n_query % 2 ? 0 : 2 * info->bytes);
    char *page = guard_alloc(row_bytes * (size_t)(n_tokens - 1) + row, 2);
    float *k = malloc((size_t)(n_tokens * head_dim) * sizeof *k);
    for (int t = 0; t < n_tokens; t++) {
        random_weights(type, page + (size_t)t * row_bytes, head_dim / info->block);
        info->decode(page + (size_t)t * row_bytes, k + t * head_dim, (size_t)head_dim);
    }
    size_t q_stride = (size_t)head_dim + 5, acc_stride = (size_t)head_dim + 2;
    float *q = guard_floats((n_query - 1) * (int64_t)q_stride + head_dim);
    int64_t n_acc = (n_query - 1) * (int64_t)acc_stride + head_dim;
    float *acc = guard_floats(n_acc), *p = guard_floats(n_query * PN_KV_PAGE);
    float *acc_before = malloc((size_t)n_acc * sizeof *acc), *p_before = malloc((size_t)n_query * PN_KV_PAGE * 4);
    memcpy(acc_before, acc, (size_t)n_acc * sizeof *acc);
    memcpy(p_before, p, (size_t)n_query * PN_KV_PAGE * 4);
    struct pn_attn_page_args args = {.type = type,
                                     .page = page,
                                     .n_tokens = n_tokens,
                                     .head_dim = head_dim,
                                     .row_bytes = row_bytes,
                                     .n_query = n_query,
                                     .q = q,
                                     .q_stride = q_stride,
                                     .p = p,
                                     .acc = acc,
                                     .acc_stride = acc_stride,
                                     .scratch = guard_alloc(PN_CPU_SCRATCH, 64)};
    kernels->attn_values(&args);
    for (int i = 0; i < n_query; i++)
        for (int d = 0; d < (int)acc_stride && i * (int64_t)acc_stride + d < n_acc; d++) {
            double want = (double)acc_before[(size_t)i * acc_stride + (size_t)d];
            double scale = d < head_dim ? fabs(want) : 0;
            for (int t = 0; d < head_dim && t < n_tokens; t++) {
                double term = (double)p[i * PN_KV_PAGE + t] * (double)k[t * head_dim + d];
                want += term;
                scale += fabs(term);
            }
            CHECK(fabs((double)acc[(size_t)i * acc_stride + (size_t)d] - want) <= 1e-5 * scale,
                  "values %s head_dim %d tokens %d queries %d", info->name, head_dim, n_tokens, n_query);
        }
    kernels->attn_scores(&args);
    for (int i = 0; i < n_query; i++)
        for (int t = 0; t < PN_KV_PAGE; t++) {
            double want = (double)p_before[i * PN_KV_PAGE + t], scale = 0;
            if (t < n_tokens)
                want = 0;
            for (int d = 0; t < n_tokens && d < head_dim; d++) {
                double term = (double)q[(size_t)i * q_stride + (size_t)d] * (double)k[t * head_dim + d];
                want += term;
                scale += fabs(term);
            }
            CHECK(fabs((double)p[i * PN_KV_PAGE + t] - want) <= 1e-5 * scale,
                  "scores %s head_dim %d tokens %d queries %d", info->name, head_dim, n_tokens, n_query);
        }
    free(k);
    free(acc_before);
    free(p_before);
    guard_free_all();
}

static void check_attention(const struct pn_cpu_kernels *kernels)
{
    static const int dims[] = {64, 128, 80, 96, 256, 32, 1, 7, 33, 100},
                     queries[] = {1, 2, 3, 4, 5, 6, 7, 8, 12, 13, 64};
    static const pn_type types[] = {PN_TYPE_F32, PN_TYPE_F16, PN_TYPE_Q8_0};
    random_state = 19;
    int step = 0;
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        for (size_t d = 0; d < sizeof dims / sizeof *dims; d++)
            for (size_t q = 0; q < sizeof queries / sizeof *queries; q++, step++)
                if (types[t] != PN_TYPE_Q8_0 || dims[d] % 32 == 0)
                    check_attention_case(kernels, types[t], dims[d], step % 3 == 0 ? 32 : 1 + step * 7 % 32,
                                         queries[q]);
}

/* Heads as long as the memory of a decoded page, and longer. */
static void check_long_heads(const struct pn_cpu_kernels *kernels)
{
    random_state = 23;
    for (int dim = 2048; dim <= 2080; dim += 32)
        for (int t = 0; t < 2; t++)
            check_attention_case(kernels, t ? PN_TYPE_Q8_0 : PN_TYPE_F16, dim, 32, 8);
}

static void check_isa(const struct pn_cpu_isa *isa)
{
    struct pn_cpu_kernels kernels;
    isa_name = isa->name;
    if (!pn_cpu_kernels_select(&kernels, isa->name)) {
        fprintf(stderr, "%s: not on this processor, skipped\n", isa->name);
        return;
    }
    CHECK(strcmp(kernels.isa, isa->name) == 0, "selected %s", kernels.isa);
    check_vectors(&kernels);
    check_halves(&kernels);
    check_hard_rows(&kernels);
    check_quantize(&kernels);
    check_exp(&kernels);
    check_act(&kernels);
    check_attention(&kernels);
    check_long_heads(&kernels);
    check_products(&kernels);
    check_planes(&kernels);
    fprintf(stderr, "%s: checked\n", isa->name);
}

static void check_all(void)
{
    struct pn_cpu_kernels kernels;
    isa_name = "select";
    CHECK(!pn_cpu_kernels_select(&kernels, "abacus"), "an unknown instruction set was accepted");
    CHECK(pn_cpu_kernels_select(&kernels, NULL), "nothing selected");
    for (int i = 0; i < pn_cpu_n_isas; i++)
        check_isa(&pn_cpu_isas[i]);
}

#ifdef PN_TEST_STANDALONE
int main(void)
{
    check_all();
    printf("%d failures\n", failures);
    return failures > 0;
}
#else
#include <cmocka.h>

static void test_kernels(void **state)
{
    (void)state;
    check_all();
    assert_int_equal(failures, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_kernels)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#endif
