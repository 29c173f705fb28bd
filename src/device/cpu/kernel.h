/* The inner loops of the CPU device: the functions that an instruction set may offer, and the table through which the
 * executor calls them.
 *
 * isa/generic has every entry in plain C. Better instruction sets override some of them at run time
 * (pn_cpu_kernels_select), so deleting one loses speed and nothing else. Nothing in isa/ knows threads, plans or
 * models: a kernel works on the slice that it gets.
 *
 * Quantized weights are multiplied with `q8` activations: signed bytes with a float scale per 32 values. Activations
 * are quantized once per step and shared by all products that read them. Weights of float types, and types without a
 * kernel of their own, are multiplied with the float32 activations. */
#ifndef PN_DEVICE_CPU_KERNEL_H
#define PN_DEVICE_CPU_KERNEL_H

#include "device/cpu/isa/features.h"
#include "tensor/act.h"
#include "tensor/type.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- quantized activations ---- */

/* A row of k values (k % 32 == 0), planar: int8_t q[k]; float d[k/32]; int16_t sum[k/16]. Value i is q[i] * d[i/32];
 * sum[j] is the sum of q over the j-th 16 values (for weights with a minimum). |q| <= 127: -128 does not occur. Rows
 * start at multiples of 64 bytes. */
static inline size_t pn_q8_row_bytes(int64_t k)
{
    size_t bytes = (size_t)k + (size_t)k / 32 * 4 + (size_t)k / 16 * 2;
    return (bytes + 63) & ~(size_t)63;
}
static inline const int8_t *pn_q8_q(const void *row)
{
    return row;
}
static inline const float *pn_q8_d(const void *row, int64_t k)
{
    return (const float *)((const char *)row + k);
}
static inline const int16_t *pn_q8_sum(const void *row, int64_t k)
{
    return (const int16_t *)((const char *)row + k + k / 32 * 4);
}

/* ---- matrix product ---- */

enum pn_x_format { PN_X_F32, PN_X_Q8 };

/* The rows of a type with several planes: the first one, and the bytes between rows of each plane. */
struct pn_matmul_planes {
    struct pn_planes_row first;
    size_t stride[PN_MAX_PLANES];
};

/* y[col][row] = sum_i w[row][i] * x[col][i] for a slice of the weight's rows and all columns (tokens). Weight rows are
 * contiguous, `w_stride` bytes apart, in their storage type; rows of `x` have the kernel's x_format. */
struct pn_matmul_args {
    pn_type type;
    const struct pn_matmul_planes *planes; /* NULL: one plane */
    const void *w;
    size_t w_stride;
    int64_t n_rows;
    int64_t k;
    const void *x;
    size_t x_stride; /* bytes between activation rows */
    int64_t n_cols;
    const int32_t *x_index; /* column c reads activation row x_index[c]; NULL: row c */
    const int32_t *y_index; /* column c writes output row y_index[c]; NULL: row c */
    float *y;
    size_t y_stride; /* floats between output rows; row r of the slice goes to y[... + r] */
    void *scratch;   /* PN_CPU_SCRATCH bytes of this thread, 64-byte aligned: panels */
};
#define PN_CPU_SCRATCH ((size_t)1 << 18)

typedef void pn_matmul_fn(const struct pn_matmul_args *args);

/* With few columns (next tokens, drafts), reading the weights is the bottleneck; with many (a prompt), arithmetic is.
 * Each case has its own function and its own format of activations. */
enum pn_columns { PN_FEW, PN_MANY, PN_COLUMNS_COUNT };
enum { PN_FEW_COLS = 16 };

struct pn_matmul_form {
    enum pn_x_format x_format;
    pn_matmul_fn *run;
};

struct pn_matmul_kernel {
    pn_type type;
    struct pn_matmul_form form[PN_COLUMNS_COUNT];
};

static inline enum pn_columns pn_columns_of(int64_t n_cols)
{
    return n_cols <= PN_FEW_COLS ? PN_FEW : PN_MANY;
}

/* ---- attention on one page ---- */

/* A page holds up to PN_KV_PAGE tokens of one head: (token, head_dim) in `type` (f16, q8_0 or f32). */
enum { PN_KV_PAGE = 32 };

struct pn_attn_page_args {
    pn_type type;
    const void *page;
    int n_tokens; /* valid tokens in the page, 1..PN_KV_PAGE */
    int head_dim;
    size_t row_bytes; /* from one token to the next */
    int n_query;      /* rows of q (scores) or of p and acc (values): the heads of a group x some tokens */
    const float *q;   /* scores: (n_query, head_dim), rows q_stride floats apart, already scaled */
    size_t q_stride;
    float *p;   /* (n_query, PN_KV_PAGE): scores writes q.k, values reads probabilities */
    float *acc; /* values: (n_query, head_dim) += p . v, rows acc_stride floats apart */
    size_t acc_stride;
    float *scratch; /* PN_CPU_SCRATCH bytes of this thread: a page decoded to float32 */
};

/* ---- the table ---- */

struct pn_cpu_kernels {
    const char *isa; /* the best installed instruction set */
    struct pn_matmul_kernel matmul[PN_TYPE_COUNT];

    /* Quantizes k floats to a q8 row (layout above); round to nearest, d = max|x| / 127. */
    void (*quantize)(const float *x, void *row, int64_t k);
    float (*sum_squares)(const float *x, int64_t n);
    float (*max)(const float *x, int64_t n);
    /* x[i] = exp(x[i] - shift), returns the sum. Within 2 ulp of expf for arguments in [-87, 0]; smaller ones give 0.
     */
    float (*exp_shift)(float *x, float shift, int64_t n);
    /* y[i] = x[i] * w[i] * scale (a norm's last step); w may be NULL. */
    void (*scale_mul)(const float *x, const float *w, float scale, float *y, int64_t n);
    /* y[i] = act(x[i]), relative error below 1e-5. */
    void (*act)(enum pn_act_fn fn, const float *x, float *y, int64_t n);
    /* y[i] = act(gate[i]) * up[i]. */
    void (*act_mul)(enum pn_act_fn fn, const float *gate, const float *up, float *y, int64_t n);
    void (*f32_to_f16)(const float *x, uint16_t *y, int64_t n);
    void (*attn_scores)(const struct pn_attn_page_args *args);
    void (*attn_values)(const struct pn_attn_page_args *args);
};

typedef void pn_isa_install_fn(struct pn_cpu_kernels *kernels);

/* An instruction set of isa/isas.def; `install` overrides the entries that it improves. */
struct pn_cpu_isa {
    const char *name;
    enum pn_cpu_feature needs; /* asked at run time */
    pn_isa_install_fn *install;
};

/* In rising order of preference; "generic" first. */
extern const struct pn_cpu_isa pn_cpu_isas[];
extern const int pn_cpu_n_isas;

/* Fills the table with the best kernels that this processor supports, up to the instruction set `highest` (NULL: no
 * limit; tests pass each name). False when `highest` is unknown or not supported here. */
bool pn_cpu_kernels_select(struct pn_cpu_kernels *kernels, const char *highest);

#endif
