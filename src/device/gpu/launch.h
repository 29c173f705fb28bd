/* From the operations of a plan to launches of kernels.
 *
 * gpu.c fills in what every launch needs: the places of the operands, the weight, the shape. An operation adds what it
 * alone knows (parameters, which kernel, how many groups) and emits one launch or several, in order. */
#ifndef PN_DEVICE_GPU_LAUNCH_H
#define PN_DEVICE_GPU_LAUNCH_H

#include "device/gpu/driver.h"
#include "tensor/op.h"
#include "tensor/plan.h"

/* The launches of a step, as they are made. */
struct pn_gpu_list {
    const struct pn_batch *batch;
    struct pn_gpu_launch *launches;
    size_t n, cap;    /* cap: room that the program has reserved */
    uint64_t scratch; /* address of memory for partial results of one operation */
    size_t scratch_bytes;
};

/* The most launches of one operation. */
enum { PN_GPU_MAX_LAUNCHES = 4 };

/* Adds a launch. */
void pn_gpu_emit(struct pn_gpu_list *list, const struct pn_gpu_launch *launch);

/* Emits an operation's launches. `l` has its args filled in except for `p`, and shared memory of 16 bytes; `rows` is
 * the number of rows of its result, at least 1. */
typedef void pn_gpu_op_fn(struct pn_gpu_list *list, const struct pn_node *node, int64_t rows, struct pn_gpu_launch *l);

/* What emits an operation; NULL: no kernel computes it. */
pn_gpu_op_fn *pn_gpu_op(enum pn_op op);

/* Whether kernels compute a node of the operation: its sizes and types are within their limits. */
bool pn_gpu_can(const struct pn_graph *graph, const struct pn_node *node);

/* Bytes of list->scratch that a node needs in steps of up to `rows` rows. */
size_t pn_gpu_scratch(const struct pn_graph *graph, const struct pn_node *node, int64_t rows);

/* The operand that is args.w, a matrix in any storage type; -1: none. Other weights are vectors in float32. */
int pn_gpu_matrix_operand(enum pn_op op);

/* products.c: products of rows with a weight, for any storage type. */
pn_gpu_op_fn pn_gpu_matmul, pn_gpu_matmul_each;
size_t pn_gpu_matmul_scratch(const struct pn_graph *graph, const struct pn_node *node, int64_t rows);
size_t pn_gpu_matmul_each_scratch(const struct pn_graph *graph, const struct pn_node *node, int64_t rows);

static inline u32 pn_gpu_groups(int64_t n, int64_t per_group)
{
    return (u32)((n + per_group - 1) / per_group);
}

#endif
