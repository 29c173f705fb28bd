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
    struct pn_buffer memory;
};

static pn_status ref_open(const struct pn_device_options *options, struct pn_device **out, struct pn_error *err)
{
    (void)options;
    struct ref_device *d = calloc(1, sizeof *d);
    if (!d)
        return pn_no_memory(err, "a device");
    d->base.class = &pn_ref_device;
    d->base.properties = (struct pn_device_properties){
        .name = "ref (scalar float32)", .fuses = false, .n_threads = 1, .cache_type = PN_TYPE_F32};
    *out = &d->base;
    return PN_OK;
}

static void ref_close(struct pn_device *device)
{
    free(device);
}

static pn_status ref_compile(struct pn_device *device, const struct pn_plan *plan, struct pn_program **out,
                             struct pn_error *err)
{
    *out = NULL;
    struct pn_program *program = calloc(1, sizeof *program);
    if (!program)
        return pn_no_memory(err, "a program");
    program->plan = plan;
    pn_status status = pn_host_buffer_new(device, plan->memory, &program->memory, err);
    if (status) {
        free(program);
        return status;
    }
    *out = program;
    return PN_OK;
}

static void ref_program_free(struct pn_device *device, struct pn_program *program)
{
    if (!program)
        return;
    pn_host_buffer_free(device, &program->memory);
    free(program);
}

static size_t ref_program_bytes(const struct pn_program *p)
{
    return p->memory.size;
}

static struct pn_strided view_of(const struct pn_program *program, const struct pn_batch *batch, pn_array a)
{
    const struct pn_plan *plan = program->plan;
    if (a == PN_NONE || pn_node(plan->graph, a)->rows == PN_ROWS_NONE)
        return (struct pn_strided){0};
    struct pn_view_shape s = pn_view_of(plan->graph, a);
    float *base =
        s.base == plan->result ? batch->result : (float *)((char *)program->memory.data + plan->slots[s.base].offset);
    return (struct pn_strided){base + s.offset, s.stride0, s.stride1};
}

static pn_status run_node(const struct pn_program *program, const struct pn_batch *batch, pn_array a,
                          struct pn_error *err)
{
    const struct pn_node *n = pn_node(program->plan->graph, a);
    struct pn_op_args args = {.graph = program->plan->graph, .node = n, .batch = batch};
    args.row1 = pn_batch_n_rows(batch, n->rows);
    if (n->op != PN_OP_CACHE_WRITE) /* it has no values */
        args.out = view_of(program, batch, a);
    for (int i = 0; i < n->n_src; i++)
        if (n->src[i] != PN_NONE && pn_node(program->plan->graph, n->src[i])->op != PN_OP_CACHE_WRITE)
            args.src[i] = view_of(program, batch, n->src[i]);
    return pn_op_reference(n->op)(&args, err);
}

static pn_status ref_run(struct pn_device *device, struct pn_program *program, const struct pn_batch *batch,
                         struct pn_error *err)
{
    const struct pn_plan *plan = program->plan;
    uint64_t start = pn_clock_ns();
    pn_status status = PN_OK;
    for (int i = 0; i < plan->n_phases && !status; i++) {
        const struct pn_phase *phase = &plan->phases[i];
        for (int r = 0; r < phase->n_row && !status; r++)
            status = run_node(program, batch, plan->rows[phase->first_row + r], err);
        for (int j = 0; j < phase->n_products && !status; j++)
            status = run_node(program, batch, phase->products[j].matmul, err);
        if (!status && phase->wide != PN_NONE)
            status = run_node(program, batch, phase->wide, err);
    }
    ((struct ref_device *)device)->elapsed = pn_clock_ns() - start;
    return status;
}

static uint64_t ref_elapsed(const struct pn_device *device)
{
    return ((const struct ref_device *)device)->elapsed;
}

const struct pn_device_class pn_ref_device = {
    .name = "ref",
    .open = ref_open,
    .close = ref_close,
    .adopt = pn_host_adopt,
    .buffer_new = pn_host_buffer_new,
    .buffer_free = pn_host_buffer_free,
    .discard = pn_host_discard,
    .compile = ref_compile,
    .program_free = ref_program_free,
    .program_bytes = ref_program_bytes,
    .run = ref_run,
    .elapsed = ref_elapsed,
};
