/* What a kernel gets: one struct for all kernels, written by the host and read as it is on the GPU, so its layout is
 * the same in C, CUDA and Metal. Included by the host as C and, after kernels/dialect.gpu, by the kernels: addresses
 * are numbers on the host and pointers in a kernel. */
#ifndef PN_DEVICE_GPU_ARGS_H
#define PN_DEVICE_GPU_ARGS_H

#ifndef PN_GPU_KERNELS
#include <stdint.h>
typedef int32_t i32;
typedef int64_t i64;
typedef uint32_t u32;
typedef uint64_t u64;
#define PN_GPU_PTR(T) u64
#endif

#define PN_GPU_MAX_SRC    6
#define PN_GPU_MAX_PLANES 4
#define PN_GPU_PAGE       32  /* tokens of a page: PN_PAGE_TOKENS */
#define PN_GPU_MAX_DIM    576 /* values of a key or value head */
#define PN_GPU_WARP       32

/* An operand: rows and heads of floats (struct pn_strided). A weight vector has stride0 0, and stride1 0 if it serves
 * every head. data 0: absent. */
struct pn_gpu_view {
    PN_GPU_PTR(float) data;
    i64 stride0, stride1;
};

struct pn_gpu_plane {
    PN_GPU_PTR(const u8) data; /* row 0 of matrix 0 */
    i64 row_bytes, mat_bytes;
    i32 type;    /* of scales and biases: a pn_type */
    i32 aligned; /* whether each row of each matrix starts at a multiple of 16 */
};

struct pn_gpu_address {
    PN_GPU_PTR(const u8) at;
};

/* struct pn_weight on the GPU. */
struct pn_gpu_weight {
    struct pn_gpu_plane plane[PN_GPU_MAX_PLANES];
    PN_GPU_PTR(const struct pn_gpu_address) mats; /* start of plane p of matrix m: [m * n_planes + p]; 0: one stride */
    i32 type, group, n_planes;
    i32 n_mat, n_rows, n_cols;
};

/* struct pn_batch_seq */
struct pn_gpu_seq {
    i32 start, n, past, pages, table, n_context, state_in, state_out, lead;
};

/* What changes from step to step: struct pn_batch, in memory of the GPU. */
struct pn_gpu_step {
    i32 n_tokens, n_seqs, n_outputs, n_hidden, n_pos;
    i32 has_last, has_kinds, has_first, has_given;
    i32 pad;
    PN_GPU_PTR(const i32) ids;
    PN_GPU_PTR(const i32) pos; /* n_pos rows of n_tokens */
    PN_GPU_PTR(const i32) last;
    PN_GPU_PTR(const i32) first;
    PN_GPU_PTR(const i32) given;
    PN_GPU_PTR(const i32) kinds;
    PN_GPU_PTR(const i32) out_rows;
    PN_GPU_PTR(const i32) hidden_rows;
    PN_GPU_PTR(const i32) tables;
    PN_GPU_PTR(const struct pn_gpu_seq) seqs;
    PN_GPU_PTR(const float) rows; /* that stand for tokens, rows_stride apart */
    i64 rows_stride;
    PN_GPU_PTR(float) states; /* state_stride apart */
    i64 state_stride;
};

/* struct pn_rope_split */
struct pn_gpu_rope {
    i32 n_short, n_rot, kind, interleaved;
    i32 split[4];
    float magnitude;
};

/* struct pn_route_params */
struct pn_gpu_route {
    i32 gate, n_expert, n_used, n_groups, n_groups_used, renormalize;
    float scale;
};

/* struct pn_attention_params, and the layer's cache (struct pn_cache) */
struct pn_gpu_attention {
    PN_GPU_PTR(u8) k;
    PN_GPU_PTR(u8) v;
    i64 k_row, v_row, k_page, v_page;
    PN_GPU_PTR(float) partial; /* of splits: (rows, heads, splits, 2 + dim_v): maximum, sum, values */
    i32 type, group;           /* of the cache */
    i32 n_head_kv, dim_k, dim_v, value_in_key;
    i32 window, window_kind, causal, shown;
    i32 n_splits, bias_reach; /* bias_reach: the largest distance of a table of biases; -1: none */
    float scale, softcap, alibi;
};

struct pn_gpu_recurrent {
    i64 offset;
    i32 interleaved, k; /* k: values of a convolution's kernel */
    float scale;
};

/* Products. Which matrix a row's slot is multiplied with: */
enum pn_gpu_slots {
    PN_GPU_ONE_SLOT, /* the only one; heads are read as one row */
    PN_GPU_EACH_ITS, /* the slot's own */
    PN_GPU_ROUTED    /* that of the route */
};

struct pn_gpu_product {
    PN_GPU_PTR(u32) halves;   /* of tiles: the operand in half precision, see halve_rows */
    PN_GPU_PTR(float) scales; /* ... of each row */
    PN_GPU_PTR(i32) sorted;   /* slots by expert, see sort_slots */
    i32 slots;                /* enum pn_gpu_slots */
};

union pn_gpu_params {
    struct pn_gpu_product product;
    struct pn_gpu_rope rope;
    struct pn_gpu_route route;
    struct pn_gpu_attention attn;
    struct pn_gpu_recurrent recurrent;
    i32 i[4];   /* ACT: the function; GIVEN: offset, add */
    float f[4]; /* SCALE: factor, offset; CLAMP: low, high; norms: eps; POS_SCALE: scale, floor, offset */
};

struct pn_gpu_args {
    PN_GPU_PTR(const struct pn_gpu_step) step;
    struct pn_gpu_view out, src[PN_GPU_MAX_SRC];
    struct pn_gpu_weight w; /* the operand that is not a vector */
    union pn_gpu_params p;
    i32 rows; /* the kind of the result's rows: enum pn_rows */
    i32 n1, n2;
    i32 src_n1[PN_GPU_MAX_SRC], src_n2[PN_GPU_MAX_SRC];
    i32 src_rows; /* the kind of the first operand's rows */
};

#endif
