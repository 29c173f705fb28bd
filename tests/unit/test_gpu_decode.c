/* The kernels' decoders against those of quant/, bit for bit, for every storage type, on an emulated GPU. Each plane
 * ends at a page that cannot be touched, so a read beyond the last row is a crash. */
#if defined(__APPLE__)
#define _DARWIN_C_SOURCE
#else
#define _GNU_SOURCE /* MAP_ANONYMOUS */
#endif

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "device/gpu/args.h"
#include "emulated.h"
#include "tensor/weight.h"
#include "type_samples.h"

enum { N_MAT = 2, N_ROWS = 3, MOST_COLS = 512 };

/* ---- the driver ---- */

static int (*launch)(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                     unsigned shared, void *stream, void **parameters, void **extra);
static void *module, *kernel;

static void *symbol(const char *name)
{
    void *found = dlsym(RTLD_DEFAULT, name);
    assert_non_null(found);
    return found;
}

static int set_up(void **state)
{
    (void)state;
    if (!emulated_cuda())
        return 0;
    int (*load)(void **, const void *), (*find)(void **, void *, const char *);
    *(void **)&load = symbol("cuModuleLoadData");
    *(void **)&find = symbol("cuModuleGetFunction");
    *(void **)&launch = symbol("cuLaunchKernel");
    assert_int_equal(load(&module, ""), 0);
    assert_int_equal(find(&kernel, module, "test_decode"), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    if (!module)
        return 0;
    int (*unload)(void *);
    *(void **)&unload = symbol("cuModuleUnload");
    return unload(module);
}

/* ---- weights ---- */

struct guarded {
    char *map, *data;
    size_t size;
};

static struct guarded guarded_new(size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (bytes + page - 1) / page * page;
    struct guarded g = {.size = room + page};
    g.map = mmap(NULL, g.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(g.map != MAP_FAILED);
    assert_int_equal(mprotect(g.map + room, page, PROT_NONE), 0);
    g.data = g.map + room - bytes;
    return g;
}

struct sample {
    struct pn_weight w;
    struct guarded planes[PN_MAX_PLANES];
    const void *mats[N_MAT * PN_MAX_PLANES];
};

static void fill(uint64_t *seed, pn_type type, unsigned char *at, size_t bytes)
{
    float v;
    double wide;
    sample_bytes(sample_next(seed), at, bytes);
    if (type == PN_TYPE_F32)
        for (size_t i = 0; i + 4 <= bytes; i += 4) {
            sample_values(sample_next(seed), &v, 1);
            memcpy(at + i, &v, 4);
        }
    /* doubles around all that float32 has: random exponents, and ties of rounding */
    if (type == PN_TYPE_F64)
        for (size_t i = 0; i + 8 <= bytes; i += 8) {
            uint64_t bits = sample_next(seed);
            wide = ldexp(1 + (double)(bits & 0xFFFFFF) * 0x1p-24, (int)(bits >> 32 & 511) - 256 - 24);
            if (bits >> 63)
                memcpy(at + i, &wide, 8);
        }
}

/* Rows of the values are `align` bytes apart or a multiple. Planes of scales: `type`; of a third plane that all rows
 * share: stride 0. */
static void sample_new(struct sample *s, pn_type type, pn_type scales, int group, int64_t n_cols, size_t align,
                       bool scattered, uint64_t seed)
{
    const struct pn_type_info *info = pn_type_info(type);
    size_t row[PN_MAX_PLANES] = {0}, n_groups = (size_t)(n_cols / (group ? group : 1)) + 1;
    bool shared = type == PN_TYPE_FP4_NV || type == PN_TYPE_CODES4;
    memset(s, 0, sizeof *s);
    s->w = (struct pn_weight){.name = info->name,
                              .type = type,
                              .n_mat = N_MAT,
                              .n_rows = N_ROWS,
                              .n_cols = n_cols,
                              .group = group,
                              .n_planes = (int)info->planes};
    row[0] = ((size_t)n_cols / info->block * info->bytes + align - 1) / align * align;
    row[1] = n_groups * pn_type_info(scales)->bytes;
    row[2] = shared ? 0 : row[1];
    for (int p = 0; p < s->w.n_planes; p++) {
        pn_type t = p == 0 ? type : shared && p == 2 ? PN_TYPE_F32 : scales;
        size_t mat = row[p] ? row[p] * N_ROWS : 64;
        s->planes[p] = guarded_new(mat * N_MAT);
        fill(&seed, t, (unsigned char *)s->planes[p].data, mat * N_MAT);
        s->w.plane[p] = (struct pn_plane){s->planes[p].data, row[p], mat, t};
        for (int m = 0; m < N_MAT; m++) /* the other way round */
            s->mats[m * s->w.n_planes + p] = s->planes[p].data + mat * (size_t)(N_MAT - 1 - m);
    }
    s->w.mats = scattered ? s->mats : NULL;
}

static void sample_free(struct sample *s)
{
    for (int p = 0; p < s->w.n_planes; p++)
        munmap(s->planes[p].map, s->planes[p].size);
}

static struct pn_gpu_weight on_gpu(const struct pn_weight *w)
{
    struct pn_gpu_weight g = {.type = (i32)w->type,
                              .group = w->group,
                              .n_planes = w->n_planes,
                              .mats = (uintptr_t)w->mats,
                              .n_mat = (i32)w->n_mat,
                              .n_rows = (i32)w->n_rows,
                              .n_cols = (i32)w->n_cols};
    for (int p = 0; p < w->n_planes; p++)
        g.plane[p] = (struct pn_gpu_plane){.data = (uintptr_t)w->plane[p].data,
                                           .row_bytes = (i64)w->plane[p].row_bytes,
                                           .mat_bytes = (i64)w->plane[p].mat_bytes,
                                           .type = (i32)w->plane[p].type};
    return g;
}

/* ---- comparing ---- */

/* How the kernel decodes: see test_decode. */
enum { BY_TYPE, BY_TYPE_ALIGNED, BY_ANY };

static void compare(const struct sample *s, int how)
{
    static float got[N_MAT * N_ROWS * MOST_COLS], want[MOST_COLS];
    struct pn_gpu_args args = {.w = on_gpu(&s->w), .n1 = how, .out = {.data = (uintptr_t)got, .stride0 = MOST_COLS}};
    memset(got, 0xFF, sizeof got);
    assert_int_equal(launch(kernel, N_MAT, N_ROWS, 1, 32, 1, 1, 16, NULL, (void *[]){&args}, NULL), 0);
    for (int row = 0; row < N_MAT * N_ROWS; row++) {
        pn_weight_decode(&s->w, row / N_ROWS, row % N_ROWS, 0, s->w.n_cols, want);
        int64_t n = (s->w.n_cols + 31) / 32 * 32;
        for (int64_t i = 0; i < n; i++) {
            float g = got[row * MOST_COLS + i], v = i < s->w.n_cols ? want[i] : 0;
            if (isnan(v) ? !isnan(g) : pn_bits_of_float(g) != pn_bits_of_float(v))
                fail_msg("%s with %s, way %d: value %d of row %d is %a, not %a", s->w.name,
                         pn_type_info(s->w.plane[1].type)->name, how, (int)i, row, (double)g, (double)v);
        }
    }
}

static void check(pn_type type, pn_type scales, int group, int64_t n_cols, uint64_t seed)
{
    struct sample s;
    for (int scattered = 0; scattered < 2; scattered++) {
        sample_new(&s, type, scales, group, n_cols, 1, scattered, seed);
        compare(&s, BY_TYPE);
        compare(&s, BY_ANY);
        sample_free(&s);
        sample_new(&s, type, scales, group, n_cols, 16, scattered, seed);
        compare(&s, BY_TYPE_ALIGNED);
        sample_free(&s);
    }
}

static void types_of_one_plane(void **state)
{
    (void)state;
    if (!module)
        skip();
    for (int t = 0; t < PN_TYPE_AFFINE2; t++)
        for (uint64_t seed = 1; seed <= 8; seed++) {
            check((pn_type)t, PN_TYPE_F32, 0, 512, 100 * (uint64_t)t + seed);
            if (pn_type_info((pn_type)t)->block < 32)
                check((pn_type)t, PN_TYPE_F32, 0, 64 + 4 * (int64_t)seed + 1, seed);
        }
}

static void types_of_several_planes(void **state)
{
    (void)state;
    static const pn_type floats[] = {PN_TYPE_F32, PN_TYPE_F16, PN_TYPE_BF16};
    if (!module)
        skip();
    for (uint64_t seed = 1; seed <= 3; seed++)
        for (int f = 0; f < 3; f++) {
            for (int t = PN_TYPE_AFFINE2; t <= PN_TYPE_AFFINE8; t++)
                check((pn_type)t, floats[f], 32 << f, 512, 10 * seed + (uint64_t)t);
            for (int group = 5; group < 512; group *= 9) {
                check(PN_TYPE_FP8, floats[f], group, 77, seed);
                check(PN_TYPE_INT8, floats[f], group, 95, seed);
            }
            check(PN_TYPE_CODES4, floats[f], 26, 78, seed);
            check(PN_TYPE_CODES4, floats[f], 64, 512, seed);
            check(PN_TYPE_FP4_MX, PN_TYPE_I8, 32, 512, seed);
            check(PN_TYPE_FP8_MX, PN_TYPE_I8, 32, 512, seed);
            check(PN_TYPE_FP4_NV, PN_TYPE_I8, 16, 80, seed);
            check(PN_TYPE_FP4_NV, PN_TYPE_I8, 16, 512, seed);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(types_of_one_plane), cmocka_unit_test(types_of_several_planes)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
