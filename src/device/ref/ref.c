/* The reference device: see ref.h. It runs unfused plans with the references of tensor/op. */
#include "device/ref/ref.h"

#include "base/clock.h"
#include "tensor/op.h"

#include <stdlib.h>

struct ref_device {
    struct pn_device base;
    uint64_t elapsed;
};

struct pn_program {
    const struct pn_plan *plan;
    uintptr_t scratch; /* the arena of the running step */
};

static pantry_status ref_open(const struct pn_device_options *options, struct pn_device **out, struct pantry_error *err)
{
    (void)options;
    struct ref_device *d = calloc(1, sizeof *d);
    if (!d)
        return pn_no_memory(err, "a device");
    d->base.class = &pn_ref_device;
    d->base.properties = (struct pn_device_properties){
        .name = "ref (scalar float32)", .fuses = false, .unified = true, .n_threads = 1, .cache_type = PN_TYPE_F32};
    *out = &d->base;
    return PANTRY_OK;
}

static void ref_close(struct pn_device *device)
{
    free(device);
}

static bool ref_can(const void *device, const struct pn_graph *graph, const struct pn_node *node)
{
    (void)device;
    (void)graph;
    return pn_op_reference(node->op) != NULL;
}

static pantry_status ref_compile(struct pn_device *device, const struct pn_plan *plan, struct pn_program **out,
                                 struct pantry_error *err)
{
    (void)device;
    *out = NULL;
    if (plan->fused)
        return pn_fail(err, PANTRY_INTERNAL, "the device \"ref\" runs plans without fusion");
    struct pn_program *program = calloc(1, sizeof *program);
    if (!program)
        return pn_no_memory(err, "a program");
    program->plan = plan;
    *out = program;
    return PANTRY_OK;
}

static void ref_program_free(struct pn_device *device, struct pn_program *program)
{
    (void)device;
    free(program);
}

static size_t ref_scratch_bytes(const struct pn_program *p)
{
    return p->plan->memory;
}

static struct pn_strided view_of(const struct pn_program *program, const struct pn_batch *batch,
                                 const struct pn_place *at)
{
    uintptr_t base = 0;
    if (at->space == PN_SPACE_ARENA)
        base = program->scratch;
    else if (at->space == PN_SPACE_RESULT)
        base = (uintptr_t)batch->results[at->index];
    else if (at->space == PN_SPACE_INPUT)
        base = (uintptr_t)batch->inputs[at->index];
    if (!base)
        return (struct pn_strided){0};
    return (struct pn_strided){(float *)(base + at->offset), at->stride0, at->stride1};
}

static pantry_status run_step(const struct pn_program *program, const struct pn_batch *batch,
                              const struct pn_step *step, struct pantry_error *err)
{
    const struct pn_node *n = step->node;
    struct pn_op_args args = {.graph = program->plan->graph, .node = n, .batch = batch};
    args.row1 = pn_batch_n_rows(batch, n->rows);
    args.out = view_of(program, batch, &step->out);
    for (int i = 0; i < n->n_src; i++)
        args.src[i] = view_of(program, batch, &step->src[i]);
    return pn_op_reference(n->op)(&args, err);
}

/* Shows the operand of a product, or of one with a stack of matrices, to the observer. */
static void observe(const struct pn_observer *o, const struct pn_program *program, const struct pn_batch *batch,
                    const struct pn_step *step)
{
    const struct pn_graph *g = program->plan->graph;
    const struct pn_node *n = step->node, *x = pn_node(g, n->src[0]);
    const struct pn_weight *w = pn_node(g, n->src[1])->weight;
    struct pn_strided from = view_of(program, batch, &step->src[0]);
    bool each = n->op == PN_OP_MATMUL_EACH;
    struct pn_strided route =
        each && n->src[2] != PN_NONE ? view_of(program, batch, &step->src[2]) : (struct pn_strided){0};
    for (int64_t r = 0; r < pn_batch_n_rows(batch, n->rows); r++) {
        if (!each)
            o->operand(o->context, w, 0, pn_view_at(from, r, 0), x->n1, x->n2, from.stride1);
        for (int j = 0; each && j < n->n1; j++)
            o->operand(o->context, w, route.data ? (int64_t)pn_view_at(route, r, 1)[j] : j,
                       pn_view_at(from, r, x->n1 == 1 ? 0 : j), 1, x->n2, 0);
    }
}

/* Plans of this device are not fused: a phase is one operation. */
static pantry_status run_phase(const struct pn_observer *observer, const struct pn_program *program,
                               const struct pn_batch *batch, const struct pn_phase *phase, struct pantry_error *err)
{
    const struct pn_plan *plan = program->plan;
    if (phase->n_row > 0)
        return run_step(program, batch, &plan->steps[phase->first_row], err);
    if (phase->kind != PN_PHASE_PRODUCT) {
        if (observer && phase->step->node->op == PN_OP_MATMUL_EACH)
            observe(observer, program, batch, phase->step);
        return run_step(program, batch, phase->step, err);
    }
    const struct pn_product *item = &phase->products[0];
    struct pn_step step = {.node = pn_node(plan->graph, item->matmul), .out = item->to, .src = {phase->from}};
    if (observer)
        observe(observer, program, batch, &step);
    return run_step(program, batch, &step, err);
}

static pantry_status ref_submit(struct pn_device *device, struct pn_program *program, const struct pn_buffer *scratch,
                                const struct pn_batch *batch, struct pn_ticket *ticket, struct pantry_error *err)
{
    uint64_t start = pn_clock_ns();
    pantry_status status = pn_plan_check(program->plan, batch, err);
    if (status)
        return status;
    program->scratch = (uintptr_t)scratch->address;
    ticket->status = PANTRY_OK;
    for (int i = 0; i < program->plan->n_phases && !ticket->status; i++)
        ticket->status = run_phase(device->observer, program, batch, &program->plan->phases[i], &ticket->error);
    ((struct ref_device *)device)->elapsed = pn_clock_ns() - start;
    return PANTRY_OK;
}

static uint64_t ref_elapsed(const struct pn_device *device)
{
    return ((const struct ref_device *)device)->elapsed;
}

const struct pn_device_class pn_ref_device = {
    .name = "ref",
    .open = ref_open,
    .close = ref_close,
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
    .can = ref_can,
    .compile = ref_compile,
    .program_free = ref_program_free,
    .scratch_bytes = ref_scratch_bytes,
    .submit = ref_submit,
    .wait = pn_host_wait,
    .elapsed = ref_elapsed,
};
