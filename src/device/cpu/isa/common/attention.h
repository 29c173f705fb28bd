/* Attention over one page of keys or values, for any number of query rows. With few rows, the page is converted in the
 * registers of the product; with more it is decoded once to float32. */
#ifndef PN_ISA_ATTENTION_H
#define PN_ISA_ATTENTION_H

#include "device/cpu/isa/common/dot.h"

#if defined(__AVX512F__)
#define ACC_QUERIES 6
#define ACC_VECS    4
#elif defined(__aarch64__)
#define ACC_QUERIES 4
#define ACC_VECS    4
#elif defined(__AVX2__)
#define ACC_QUERIES 3
#define ACC_VECS    4
#else
#define ACC_QUERIES 2
#define ACC_VECS    4
#endif

PN_INLINE void page_decode_type(pn_type type, const struct pn_attn_page_args *a)
{
    const char *page = a->page;
    float *out = a->scratch;
    int head_dim = a->head_dim;
    for (int t = 0; t < a->n_tokens; t++, page += a->row_bytes, out += head_dim) {
        int i = 0;
        for (; i + VN <= head_dim; i += VN)
            vstore(out + i, row_load(type, page, i, VN));
        if (i < head_dim)
            vstore_part(out + i, row_load(type, page, i, head_dim - i), head_dim - i);
    }
}

/* The page as float32 in scratch. */
static struct pn_attn_page_args page_decode(const struct pn_attn_page_args *a)
{
    if (a->type == PN_TYPE_F16)
        page_decode_type(PN_TYPE_F16, a);
    else if (a->type == PN_TYPE_BF16)
        page_decode_type(PN_TYPE_BF16, a);
    else
        page_decode_type(PN_TYPE_Q8_0, a);
    struct pn_attn_page_args decoded = *a;
    decoded.type = PN_TYPE_F32;
    decoded.page = a->scratch;
    decoded.row_bytes = (size_t)a->head_dim * sizeof(float);
    return decoded;
}

/* Whether a page of n rows is worth decoding, and fits the scratch memory (head_dim up to 2,048). */
static bool page_wants_decoding(const struct pn_attn_page_args *a, int few)
{
    return a->type != PN_TYPE_F32 && a->n_query > few &&
           (size_t)a->n_tokens * (size_t)a->head_dim * sizeof(float) <= PN_CPU_SCRATCH;
}

static void attn_scores(const struct pn_attn_page_args *a)
{
    struct pn_attn_page_args decoded;
    if (page_wants_decoding(a, DOT_COLS)) {
        decoded = page_decode(a);
        a = &decoded;
    }
    for (int i = 0; i < a->n_query; i += DOT_COLS) {
        const float *q[DOT_COLS];
        float *out[DOT_COLS];
        int n = a->n_query - i < DOT_COLS ? a->n_query - i : DOT_COLS;
        for (int j = 0; j < n; j++) {
            q[j] = a->q + (size_t)(i + j) * a->q_stride;
            out[j] = a->p + (size_t)(i + j) * PN_KV_PAGE;
        }
        dot_rows(a->type, a->page, a->row_bytes, a->n_tokens, q, n, a->head_dim, out, false);
    }
}

/* Rows i .. i + nq of acc, values d .. d + nv * VN (or the last `rest` values when rest < VN and nv == 1). */
PN_INLINE void values_tile(pn_type type, const struct pn_attn_page_args *a, int i, int nq, int d, int nv, int rest)
{
    const char *page = a->page;
    size_t stride = a->row_bytes;
    const float *p = a->p + (size_t)i * PN_KV_PAGE;
    float *out = a->acc + (size_t)i * a->acc_stride + d;
    vf acc[ACC_QUERIES][ACC_VECS] = {{{0}}};
    for (int t = 0; t < a->n_tokens; t++, page += stride) {
        vf v[ACC_VECS];
        for (int j = 0; j < nv; j++)
            v[j] = row_load(type, page, d + j * VN, rest);
        for (int q = 0; q < nq; q++) {
            vf weight = vset(p[q * PN_KV_PAGE + t]);
            for (int j = 0; j < nv; j++)
                acc[q][j] = vfma(weight, v[j], acc[q][j]);
        }
    }
    for (int q = 0; q < nq; q++, out += a->acc_stride) {
        if (rest < VN) {
            vstore_part(out, vload_part(out, rest) + acc[q][0], rest);
            continue;
        }
        for (int j = 0; j < nv; j++)
            vstore(out + j * VN, vload(out + j * VN) + acc[q][j]);
    }
}

PN_INLINE void values_queries(pn_type type, const struct pn_attn_page_args *a, int i, int nq)
{
    int d = 0;
    for (; d + ACC_VECS * VN <= a->head_dim; d += ACC_VECS * VN)
        values_tile(type, a, i, nq, d, ACC_VECS, VN);
    for (; d + VN <= a->head_dim; d += VN)
        values_tile(type, a, i, nq, d, 1, VN);
    if (d < a->head_dim)
        values_tile(type, a, i, nq, d, 1, a->head_dim - d);
}

PN_INLINE void values_type(pn_type type, const struct pn_attn_page_args *a)
{
    int i = 0;
    for (; i + ACC_QUERIES <= a->n_query; i += ACC_QUERIES)
        values_queries(type, a, i, ACC_QUERIES);
    if (i + 2 <= a->n_query && ACC_QUERIES > 4) {
        for (; i + 2 <= a->n_query; i += 2)
            values_queries(type, a, i, 2);
    }
    if (i + 2 <= a->n_query) {
        values_queries(type, a, i, 2);
        i += 2;
    }
    if (i < a->n_query)
        values_queries(type, a, i, 1);
}

static void attn_values(const struct pn_attn_page_args *a)
{
    struct pn_attn_page_args decoded;
    if (page_wants_decoding(a, ACC_QUERIES)) {
        decoded = page_decode(a);
        a = &decoded;
    }
    if (a->type == PN_TYPE_F32)
        values_type(PN_TYPE_F32, a);
    else if (a->type == PN_TYPE_F16)
        values_type(PN_TYPE_F16, a);
    else if (a->type == PN_TYPE_BF16)
        values_type(PN_TYPE_BF16, a);
    else
        values_type(PN_TYPE_Q8_0, a);
}

static void install_attention(struct pn_cpu_kernels *kernels)
{
    kernels->attn_scores = attn_scores;
    kernels->attn_values = attn_values;
}

#endif
