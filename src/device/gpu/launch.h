/* From the operations of a plan to launches of kernels.
 *
 * An operation fills in launches that begin as pn_gpu_launch_init makes them: with the places of its operands, its weight
 * and its shape. It adds what it alone knows (parameters, which kernel, how many groups) and emits them in order. */
#ifndef PN_DEVICE_GPU_LAUNCH_H
#define PN_DEVICE_GPU_LAUNCH_H

#include "device/gpu/driver.h"
#include "tensor/op.h"
#include "tensor/plan.h"

struct pn_gpu;

/* The launches of a step, as they are made. */
struct pn_gpu_list {
    const struct pn_gpu *device;
    const struct pn_plan *plan;
    const struct pn_batch *batch;
    struct pn_gpu_launch *launches;
    size_t n, cap;    /* cap: room that the program has reserved */
    uint64_t scratch; /* address of memory for partial results, after the plan's own */
    size_t scratch_bytes;
};

/* The most launches of one operation, and bytes of scratch for it, for steps up to the plan's limits. */
enum { PN_GPU_MAX_LAUNCHES = 4 };

/* Adds a launch that is filled in. */
void pn_gpu_emit(struct pn_gpu_list *list, const struct pn_gpu_launch *launch);

/* An operation's launches. `l` has its args filled in except for `p`; `rows` is the number of rows of its result. */
typedef void pn_gpu_op_fn(struct pn_gpu_list *list, const struct pn_node *node, int64_t rows, struct pn_gpu_launch *l);

/* NULL if no kernel computes it. */
pn_gpu_op_fn *pn_gpu_op(enum pn_op op);

/* products.c: products of rows with a weight, for any storage type. */
pn_gpu_op_fn pn_gpu_matmul, pn_gpu_matmul_each;
bool pn_gpu_can_multiply(pn_type type);

/* Bytes of scratch that an operation needs for `rows` rows. */
size_t pn_gpu_scratch_for(const struct pn_graph *graph, const struct pn_node *node, int64_t rows);

static inline u32 pn_gpu_groups(int64_t n, int64_t per_group)
{
    return (u32)((n + per_group - 1) / per_group);
}

#endif
