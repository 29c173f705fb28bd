/* The wide operations of training on the CPU: attention over a batch, the loss, and gradients. */
#include "device/cpu/phases.h"

/* Whether rows of the result can be computed apart from each other. */
static bool divides(enum pn_op op)
{
    return op == PN_OP_MATMUL_BACK || op == PN_OP_MATMUL_EACH_BACK || op == PN_OP_ATTEND ||
           op == PN_OP_CROSS_ENTROPY || op == PN_OP_CROSS_ENTROPY_BACK;
}

void pn_cpu_back_run(struct pn_cpu_run *run, int phase, int worker)
{
    const struct pn_step *step = run->program->plan->phases[phase].step;
    int64_t first = 0, end = pn_cpu_n_rows(run, step->node);
    if (divides(step->node->op))
        pn_cpu_share(run, worker, end, &first, &end);
    else if (worker > 0)
        return;
    if (end > first)
        pn_cpu_row_op(run, worker, step, first, end);
}
