/* What the phases of a program do, one file for each kind. These files do not call each other; compile.c and cpu.c call
 * them. */
#ifndef PN_DEVICE_CPU_PHASES_H
#define PN_DEVICE_CPU_PHASES_H

#include "device/cpu/program.h"

/* ---- rows.c: row operations ---- */

/* One operation on rows [first, end). */
void pn_cpu_row_op(struct pn_cpu_run *run, int worker, const struct pn_step *step, int64_t first, int64_t end);

/* ---- product.c: matrix products of one operand ---- */

void pn_cpu_product_compile(struct pn_program *p, int phase);
/* Prepares this worker's share of the operand; true if the workers must meet before they multiply. */
bool pn_cpu_product_prepare(struct pn_cpu_run *run, int phase, int worker);
void pn_cpu_product_run(struct pn_cpu_run *run, int phase, int worker);
/* Shows the operands of a phase to the device's observer; on the first worker, when they are ready. */
void pn_cpu_product_observe(const struct pn_cpu_run *run, int phase);

/* ---- experts.c: products with one matrix of a stack per slot ---- */

void pn_cpu_each_compile(struct pn_program *p, int phase, struct pn_cpu_each_sizes *sizes);
/* Like pn_cpu_product_prepare; also groups the slots by matrix. */
bool pn_cpu_each_prepare(struct pn_cpu_run *run, int phase, int worker);
void pn_cpu_each_run(struct pn_cpu_run *run, int phase, int worker);
void pn_cpu_each_observe(const struct pn_cpu_run *run, int phase);

/* ---- attention.c: the cache and attention ---- */

/* Finds the schedules of a plan. */
pantry_status pn_cpu_attention_compile(struct pn_program *p, struct pantry_error *err);
/* Floats of pn_cpu_worker.attn that attention node `a` needs. */
size_t pn_cpu_attention_floats(const struct pn_node *a);
/* Fills the schedules for a step. */
void pn_cpu_attention_schedule(struct pn_cpu_run *run);
void pn_cpu_cache_write(struct pn_cpu_run *run, int worker, const struct pn_step *write, int64_t first, int64_t end);
void pn_cpu_attention_run(struct pn_cpu_run *run, int phase, int worker);

/* ---- recurrent.c: convolutions, state spaces, delta rules ---- */

void pn_cpu_recurrent_run(struct pn_cpu_run *run, int phase, int worker);

/* ---- back.c: the wide operations of training ---- */

void pn_cpu_back_run(struct pn_cpu_run *run, int phase, int worker);

/* Where a product reads the rows of a matrix from `row` on. */
static inline const struct pn_matmul_planes *pn_cpu_planes(const struct pn_weight *w, int64_t mat, int64_t row,
                                                           struct pn_matmul_planes *out)
{
    if (w->n_planes == 1)
        return NULL;
    out->first.group = w->group;
    for (int p = 0; p < w->n_planes; p++) {
        out->first.at[p] = pn_weight_at(w, p, mat, row);
        out->first.type[p] = w->plane[p].type;
        out->stride[p] = w->plane[p].row_bytes;
    }
    return out;
}

#endif
