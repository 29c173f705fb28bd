/* The CPU device: opens it and schedules the phases of a program. */
#include "device/cpu/cpu.h"

#include "base/clock.h"
#include "base/os.h"
#include "device/cpu/compile.h"
#include "device/cpu/phases.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the device ---- */

static void cpu_close(struct pn_device *device)
{
    struct pn_cpu *d = (struct pn_cpu *)device;
    if (!d)
        return;
    pn_pool_free(d->pool);
    free(d);
}

static pantry_status cpu_open(const struct pn_device_options *o, struct pn_device **out, struct pantry_error *err)
{
    *out = NULL;
    struct pn_cpu *d = calloc(1, sizeof *d);
    if (!d)
        return pn_no_memory(err, "a device");
    d->base.class = &pn_cpu_device;
    int n = o->n_threads ? o->n_threads : pn_os_physical_cores();
    pantry_status status = PANTRY_OK;
    if (!pn_cpu_kernels_select(&d->kernels, o->isa))
        status = pn_fail(err, PANTRY_INVALID, "this processor has no instruction set \"%s\"", o->isa);
    else
        status = pn_pool_new(n, &d->pool, err);
    if (status) {
        cpu_close(&d->base);
        return status;
    }
    d->base.properties =
        (struct pn_device_properties){.fuses = true, .unified = true, .n_threads = n, .cache_type = PN_TYPE_F16};
    snprintf(d->base.properties.name, sizeof d->base.properties.name, "cpu (%s, %d thread%s)", d->kernels.isa, n,
             n == 1 ? "" : "s");
    *out = &d->base;
    return PANTRY_OK;
}

static uint64_t cpu_elapsed(const struct pn_device *device)
{
    return ((const struct pn_cpu *)device)->elapsed;
}

static bool cpu_can(const void *device, const struct pn_graph *graph, const struct pn_node *node)
{
    (void)device;
    if (node->op == PN_OP_MATMUL_EACH && node->src[2] != PN_NONE) { /* slots are numbered without gaps */
        const struct pn_node *x = pn_node(graph, node->src[0]);
        struct pn_view_shape shape = pn_view_of(graph, node->src[0]);
        return x->n1 == 1 || shape.stride0 == x->n1 * shape.stride1;
    }
    return pn_op_reference(node->op) != NULL;
}

static size_t cpu_scratch_bytes(const struct pn_program *p)
{
    return p->scratch_bytes;
}

/* ---- running ---- */

/* One token: every worker computes the row, the first one stores the results that later phases read. */
static void run_rows_single(struct pn_cpu_run *run, const struct pn_phase *f, int worker)
{
    const struct pn_program *p = run->program;
    for (int r = 0; r < f->n_row; r++) {
        const struct pn_step *step = &p->plan->steps[f->first_row + r];
        if (pn_cpu_n_rows(run, step->node) == 0)
            continue;
        pn_cpu_row_op(run, worker, step, 0, 1);
        if (worker == 0 && step->kept) {
            struct pn_place shared = step->out;
            shared.own = -1;
            memcpy(pn_cpu_view(run, worker, &shared).data, pn_cpu_view(run, worker, &step->out).data,
                   (size_t)step->node->n1 * (size_t)step->node->n2 * sizeof(float));
        }
    }
}

/* Several tokens: each worker computes its share of the rows. Operations that regroup rows read those of other workers,
 * so all workers meet first. */
static void run_rows(struct pn_cpu_run *run, const struct pn_phase *f, int worker)
{
    const struct pn_program *p = run->program;
    for (int r = 0; r < f->n_row; r++) {
        const struct pn_step *step = &p->plan->steps[f->first_row + r];
        if (pn_op_trait(step->node->op) == PN_TRAIT_REGROUPS && step->src[0].own >= 0)
            pn_pool_barrier(p->device->pool);
        int64_t first, end;
        pn_cpu_share(run, worker, pn_cpu_n_rows(run, step->node), &first, &end);
        if (end > first)
            pn_cpu_row_op(run, worker, step, first, end);
    }
}

static void write_cache(struct pn_cpu_run *run, const struct pn_step *step, int worker)
{
    int64_t first, end;
    pn_cpu_share(run, worker, pn_cpu_n_rows(run, step->node), &first, &end);
    pn_cpu_cache_write(run, worker, step, first, end);
}

static bool is_each(const struct pn_phase *f)
{
    return f->kind == PN_PHASE_OTHER && f->step->node->op == PN_OP_MATMUL_EACH;
}

static void run_wide(struct pn_cpu_run *run, int phase, int worker)
{
    const struct pn_phase *f = &run->program->plan->phases[phase];
    bool observed = worker == 0 && run->program->device->base.observer;
    if (observed && f->kind == PN_PHASE_PRODUCT)
        pn_cpu_product_observe(run, phase);
    else if (observed && is_each(f))
        pn_cpu_each_observe(run, phase);
    if (f->kind == PN_PHASE_PRODUCT)
        pn_cpu_product_run(run, phase, worker);
    else if (f->kind == PN_PHASE_ATTENTION)
        pn_cpu_attention_run(run, phase, worker);
    else if (f->kind == PN_PHASE_ROWS)
        return;
    else if (f->step->node->op == PN_OP_CACHE_WRITE)
        write_cache(run, f->step, worker);
    else if (is_each(f))
        pn_cpu_each_run(run, phase, worker);
    else if (pn_op_trait(f->step->node->op) == PN_TRAIT_RECURRENT)
        pn_cpu_recurrent_run(run, phase, worker);
    else
        pn_cpu_back_run(run, phase, worker);
}

static void run_worker(void *context, int worker)
{
    struct pn_cpu_run *run = context;
    const struct pn_program *p = run->program;
    for (int i = 0; i < p->plan->n_phases; i++) {
        const struct pn_phase *f = &p->plan->phases[i];
        bool must_meet = false;
        if (run->single) {
            run_rows_single(run, f, worker);
        } else {
            run_rows(run, f, worker);
            must_meet = f->n_row > 0 || f->write_step;
            if (f->write_step)
                write_cache(run, f->write_step, worker);
        }
        if (f->kind == PN_PHASE_PRODUCT)
            must_meet |= pn_cpu_product_prepare(run, i, worker);
        else if (is_each(f))
            must_meet |= pn_cpu_each_prepare(run, i, worker);
        if (must_meet && f->kind != PN_PHASE_ROWS)
            pn_pool_barrier(p->device->pool);
        run_wide(run, i, worker);
        if (i + 1 < p->plan->n_phases) /* the end of a run waits for all workers */
            pn_pool_barrier(p->device->pool);
    }
}

static pantry_status cpu_submit(struct pn_device *device, struct pn_program *p, const struct pn_buffer *scratch,
                                const struct pn_batch *batch, struct pn_ticket *ticket, struct pantry_error *err)
{
    struct pn_cpu *d = (struct pn_cpu *)device;
    struct pn_cpu_run run = {.program = p, .batch = batch, .single = batch->n_tokens == 1};
    pantry_status status = pn_plan_check(p->plan, batch, err);
    if (status)
        return status;
    uint64_t start = pn_clock_ns();
    pn_cpu_use_scratch(p, scratch);
    pn_cpu_attention_schedule(&run);
    memset(p->claims, 0, (size_t)p->plan->n_phases * sizeof *p->claims);
    pn_pool_run(d->pool, run_worker, &run);
    d->elapsed = pn_clock_ns() - start;
    ticket->status = (pantry_status)atomic_load(&run.status);
    if (ticket->status)
        ticket->error = run.error;
    return PANTRY_OK;
}

const struct pn_device_class pn_cpu_device = {
    .name = "cpu",
    .open = cpu_open,
    .close = cpu_close,
    .memory = pn_host_memory,
    .buffer_new = pn_host_buffer_new,
    .buffer_free = pn_host_buffer_free,
    .discard = pn_host_discard,
    .write = pn_host_write,
    .read = pn_host_read,
    .copy = pn_host_copy,
    .fill = pn_host_fill,
    .place = pn_host_place,
    .release = pn_host_release,
    .can = cpu_can,
    .compile = pn_cpu_compile,
    .program_free = pn_cpu_program_free,
    .scratch_bytes = cpu_scratch_bytes,
    .submit = cpu_submit,
    .wait = pn_host_wait,
    .elapsed = cpu_elapsed,
};
