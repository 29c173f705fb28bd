/* The speed of the kernels beside that of the machine: decode and batches (one to eight columns) in bytes read per
 * second and as a share of plain reading, prefill in multiply-accumulates per second. Weights are larger than the
 * last-level cache.
 *
 * usage: kernels [-i ISA] [-t THREADS] [-m MIB] [TYPE...]   (types by name; default: the common ones) */
#if defined(__APPLE__)
#define _DARWIN_C_SOURCE
#else
#define _GNU_SOURCE
#endif

#include "device/cpu/kernel.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define MAX_THREADS 256
#define K           2048

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void *memory(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
#if defined(MADV_HUGEPAGE)
    madvise(p, size, MADV_HUGEPAGE);
#endif
    return p;
}

struct job {
    const struct pn_cpu_kernels *kernels; /* NULL: only read */
    struct pn_matmul_args args;
    struct pn_matmul_planes planes; /* group 0: one plane */
    size_t bytes;
    int repeats;
    uint64_t sum;
};

/* Rows in chunks, like the executor's. */
#define CHUNK_ROWS 64

static void run_rows(struct job *job)
{
    struct pn_matmul_args a = job->args;
    struct pn_matmul_planes planes = job->planes;
    a.planes = planes.first.group ? &planes : NULL;
    for (int64_t r = 0; r < job->args.n_rows; r += CHUNK_ROWS) {
        a.w = (const char *)job->args.w + (size_t)r * a.w_stride;
        for (int i = 0; i < PN_MAX_PLANES && a.planes; i++)
            planes.first.at[i] = (const char *)job->planes.first.at[i] + (size_t)r * planes.stride[i];
        a.n_rows = job->args.n_rows - r < CHUNK_ROWS ? job->args.n_rows - r : CHUNK_ROWS;
        a.y = job->args.y + r;
        job->kernels->matmul[a.type].run(&a);
    }
}

/* Reads everything, in four streams of a page each with the next pages prefetched: the fastest of the simple
 * methods. */
static void read_bytes(struct job *job)
{
    typedef uint64_t v4 __attribute__((vector_size(32), aligned(32)));
    enum { PAGE = 4096, STREAMS = 4 };
    const char *p = job->args.w;
    v4 s[STREAMS] = {{0}};
    for (size_t done = 0; done + STREAMS * PAGE <= job->bytes; done += STREAMS * PAGE, p += STREAMS * PAGE)
        for (int i = 0; i < PAGE; i += 64)
            for (int j = 0; j < STREAMS; j++) {
                const v4 *line = (const v4 *)(const void *)(p + j * PAGE + i);
                __builtin_prefetch(p + (STREAMS + j) * PAGE + i);
                s[j] |= line[0] | line[1];
            }
    job->sum += (s[0] | s[1] | s[2] | s[3])[0];
}

static void *work(void *arg)
{
    struct job *job = arg;
    for (int i = 0; i < job->repeats; i++) {
        if (job->kernels)
            run_rows(job);
        else
            read_bytes(job);
    }
    return NULL;
}

/* The best of `tries`, in seconds per repeat. */
static double time_jobs(struct job *jobs, int n, int tries)
{
    double best = 1e30;
    for (int i = 0; i < tries; i++) {
        pthread_t t[MAX_THREADS];
        double start = now();
        for (int j = 1; j < n; j++)
            if (pthread_create(&t[j], NULL, work, &jobs[j]))
                exit(1);
        work(&jobs[0]);
        for (int j = 1; j < n; j++)
            pthread_join(t[j], NULL);
        double s = (now() - start) / jobs[0].repeats;
        best = s < best ? s : best;
    }
    return best;
}

/* Plausible weights: random bytes, with half precision scales near 1/64 in types with such scales. */
static void fill(pn_type type, char *w, size_t bytes)
{
    const struct pn_type_info *info = pn_type_info(type);
    uint32_t s = 1;
    size_t period = 1009 * (size_t)info->bytes;
    period = period < bytes ? period : bytes;
    float *v = malloc(info->block * sizeof *v);
    for (size_t b = 0; b + info->bytes <= period; b += info->bytes)
        for (int attempt = 0, good = 0; attempt < 1000 && !good; attempt++) {
            for (uint32_t i = 0; i < info->bytes; i++)
                w[b + i] = (char)((s = s * 1664525u + 1013904223u) >> 24);
            good = 1;
            if (info->planes > 1)
                break;
            info->decode(w + b, v, info->block);
            for (uint32_t i = 0; i < info->block; i++)
                good &= v[i] > -100 && v[i] < 100;
        }
    free(v);
    for (size_t b = period; b < bytes; b += period)
        memcpy(w + b, w, bytes - b < period ? bytes - b : period);
}

/* Scales and biases for groups of 64 (32: FP4_MX), from row `first` on: small float16, or E8M0 just below one. */
static struct pn_matmul_planes planes_of(pn_type type, const char *w, size_t row, const char *numbers, int64_t first)
{
    bool mx = type == PN_TYPE_FP4_MX;
    struct pn_matmul_planes planes = {.first = {.at = {w}, .type = {type}, .group = mx ? 32 : 64}, .stride = {row}};
    for (uint32_t i = 1; i < pn_type_info(type)->planes; i++) {
        planes.stride[i] = mx ? K / 32 : K / 64 * 2;
        planes.first.at[i] = numbers + (size_t)first * planes.stride[i];
        planes.first.type[i] = mx ? PN_TYPE_I8 : PN_TYPE_F16;
    }
    return planes;
}

static void bench_type(const struct pn_cpu_kernels *kernels, pn_type type, char *w, size_t size, int threads)
{
    static const int columns[] = {1, 2, 3, 4, 8, 16, 64, 256};
    const struct pn_type_info *info = pn_type_info(type);
    size_t row = pn_type_row_bytes(type, K), extra = 0; /* of the other planes */
    int64_t rows = (int64_t)(size / row);
    char *numbers = NULL;
    if (info->planes > 1) {
        extra = planes_of(type, w, row, w, 0).stride[1] * (info->planes - 1);
        numbers = memory((size_t)rows * extra);
        memset(numbers, 0x24, (size_t)rows * extra); /* 0.016 */
    }
    enum pn_x_format x_format = kernels->matmul[type].x_format;
    size_t x_stride = x_format == PN_X_Q15 ? pn_q15_row_bytes(K) : K * sizeof(float);
    char *x = memory(x_stride * 256);
    float *f = memory(K * sizeof *f);
    fill(type, w, (size_t)rows * row);
    for (int c = 0; c < 256; c++) {
        for (int i = 0; i < K; i++)
            f[i] = (float)((i * 7 + c * 13) % 101 - 50) / 50;
        if (x_format == PN_X_Q15)
            kernels->quantize(f, x + (size_t)c * x_stride, K);
        else
            memcpy(x + (size_t)c * x_stride, f, x_stride);
    }
    static struct job jobs[MAX_THREADS];
    size_t part = size / 64 / (size_t)threads * 64;
    for (int j = 0; j < threads; j++)
        jobs[j] = (struct job){.args = {.w = w + (size_t)j * part}, .bytes = part, .repeats = 2};
    double bandwidth = (double)part * threads / time_jobs(jobs, threads, 5);
    printf("%-8s read %5.1f GB/s;", info->name, bandwidth * 1e-9);
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
        int n = columns[i];
        int64_t all = n <= 8 ? rows : rows * 8 / n < 4096 ? rows * 8 / n : 4096;
        int64_t each = all / threads / CHUNK_ROWS * CHUNK_ROWS;
        if (each == 0)
            each = CHUNK_ROWS;
        float *y = memory((size_t)n * (size_t)each * (size_t)threads * sizeof *y);
        for (int j = 0; j < threads; j++) {
            jobs[j] = (struct job){.kernels = kernels, .repeats = n <= 8 ? 2 : 1};
            jobs[j].args = (struct pn_matmul_args){.type = type,
                                                   .w = w + (size_t)(j * each) * row,
                                                   .w_stride = row,
                                                   .n_rows = each,
                                                   .k = K,
                                                   .x = x,
                                                   .x_stride = x_stride,
                                                   .n_cols = n,
                                                   .y = y + j * each,
                                                   .y_stride = (size_t)(each * threads)};
            jobs[j].args.scratch = memory(PN_CPU_SCRATCH);
            if (info->planes > 1)
                jobs[j].planes = planes_of(type, jobs[j].args.w, row, numbers, j * each);
        }
        time_jobs(jobs, threads, 1);
        double s = time_jobs(jobs, threads, n <= 8 ? 5 : 3);
        double bytes = (double)each * threads * (double)(row + extra), macs = (double)each * threads * K * n;
        if (n <= 8)
            printf(" %d: %.1f GB/s %.0f%%", n, bytes / s * 1e-9, bytes / s / bandwidth * 100);
        else
            printf(" %d: %.3f", n, macs / s * 1e-12);
        fflush(stdout);
        for (int j = 0; j < threads; j++)
            munmap(jobs[j].args.scratch, PN_CPU_SCRATCH);
        munmap(y, (size_t)n * (size_t)each * (size_t)threads * sizeof *y);
    }
    printf(" TMAC/s\n");
    if (numbers)
        munmap(numbers, (size_t)rows * extra);
    munmap(x, x_stride * 256);
    munmap(f, K * sizeof *f);
}

static void bench_attention(const struct pn_cpu_kernels *kernels)
{
    static const int queries[] = {1, 4, 8, 64};
    static const pn_type types[] = {PN_TYPE_F16, PN_TYPE_Q8_0, PN_TYPE_F32};
    const int head_dim = 128, pages = 256;
    char *page = memory((size_t)pages * PN_KV_PAGE * (size_t)head_dim * 4);
    float *q = memory(64 * 128 * 4), *acc = memory(64 * 128 * 4), *p = memory(64 * PN_KV_PAGE * 4);
    float *scratch = memory(PN_CPU_SCRATCH);
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        size_t bytes = pn_type_row_bytes(types[t], (size_t)head_dim) * PN_KV_PAGE;
        printf("attention, one head, %s:", pn_type_info(types[t])->name);
        for (size_t i = 0; i < sizeof queries / sizeof *queries; i++) {
            struct pn_attn_page_args a = {.type = types[t],
                                          .n_tokens = PN_KV_PAGE,
                                          .head_dim = head_dim,
                                          .n_query = queries[i],
                                          .q = q,
                                          .q_stride = 128,
                                          .p = p,
                                          .acc = acc,
                                          .acc_stride = 128,
                                          .scratch = scratch};
            double best[2] = {1e30, 1e30};
            for (int r = 0; r < 8; r++) {
                double start = now();
                for (int j = 0; j < pages; j++) {
                    a.page = page + (size_t)j * bytes;
                    kernels->attn_scores(&a);
                }
                double middle = now();
                for (int j = 0; j < pages; j++) {
                    a.page = page + (size_t)j * bytes;
                    kernels->attn_values(&a);
                }
                double end = now();
                best[0] = middle - start < best[0] ? middle - start : best[0];
                best[1] = end - middle < best[1] ? end - middle : best[1];
            }
            double macs = (double)pages * PN_KV_PAGE * head_dim * queries[i];
            printf("  %d: %.1f, %.1f", queries[i], macs / best[0] * 1e-9, macs / best[1] * 1e-9);
        }
        printf(" GMAC/s (scores, values)\n");
    }
}

static void bench_vectors(const struct pn_cpu_kernels *kernels)
{
    enum { N = 4096, TIMES = 2000 };
    float *x = memory(N * 4), *y = memory(N * 4), *z = memory(N * 4);
    for (int i = 0; i < N; i++)
        x[i] = y[i] = (float)(i % 17) * -0.3f;
    double t[6];
    t[0] = now();
    for (int i = 0; i < TIMES; i++)
        kernels->quantize(x, z, N);
    t[1] = now();
    for (int i = 0; i < TIMES; i++)
        kernels->exp_shift(y, 0, N);
    t[2] = now();
    for (int i = 0; i < TIMES; i++)
        kernels->act_mul(PN_ACT_FN_SILU, x, x, z, N);
    t[3] = now();
    for (int i = 0; i < TIMES; i++)
        kernels->act_mul(PN_ACT_FN_GELU, x, x, z, N);
    t[4] = now();
    for (int i = 0; i < TIMES; i++)
        kernels->sum_squares(x, N);
    t[5] = now();
    static const char *const what[] = {"quantize", "exp_shift", "silu_mul", "gelu_mul", "sum_squares"};
    for (int i = 0; i < 5; i++)
        printf("%s %.2f  ", what[i], (double)N * TIMES / (t[i + 1] - t[i]) * 1e-9);
    printf("G values/s\n");
}

int main(int argc, char **argv)
{
    static const char *const usual[] = {"q4_0", "q4_1",   "q5_0",  "q8_0", "q4_k", "q5_k", "q6_k", "q3_k",
                                        "q2_k", "iq4_xs", "mxfp4", "f16",  "bf16", "f32",  NULL};
    const char *isa = NULL, *const *names = usual;
    int threads = 1;
    size_t size = (size_t)256 << 20;
    int i = 1;
    for (; i + 1 < argc && argv[i][0] == '-'; i += 2) {
        if (argv[i][1] == 'i')
            isa = argv[i + 1];
        else if (argv[i][1] == 't')
            threads = atoi(argv[i + 1]);
        else if (argv[i][1] == 'm')
            size = (size_t)atoi(argv[i + 1]) << 20;
    }
    if (i < argc)
        names = (const char *const *)(argv + i);
    static struct pn_cpu_kernels kernels;
    if (!pn_cpu_kernels_select(&kernels, isa) || threads < 1 || threads > MAX_THREADS) {
        fprintf(stderr, "usage: kernels [-i ISA] [-t THREADS] [-m MIB] [TYPE...]\n");
        return 2;
    }
    printf("%s, %d thread%s, k = %d\n", kernels.isa, threads, threads > 1 ? "s" : "", K);
    char *w = memory(size);
    for (; *names; names++) {
        pn_type type;
        if (!pn_type_from_name(*names, &type)) {
            fprintf(stderr, "%s is not a type\n", *names);
            return 2;
        }
        bench_type(&kernels, type, w, size, threads);
    }
    bench_attention(&kernels);
    bench_vectors(&kernels);
    return 0;
}
