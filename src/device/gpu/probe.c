/* A small computation whose result is known: see gpu.h. */
#include "device/gpu/gpu.h"

#include "tensor/op.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N_COLS = 96, N_ROWS = 40 };

/* A computation and its memory. */
struct probe {
    struct pn_graph graph;
    struct pn_plan *plan;
    struct pn_program *program;
    struct pn_buffer scratch, in, out;
    float x[N_COLS], weights[N_ROWS * N_COLS], y[N_ROWS];
    unsigned char stored[N_ROWS * N_COLS / 32 * 34]; /* Q8_0 */
};

/* A product with a quantized weight, then a norm: both sum over a group of threads. */
static pn_array build(struct probe *p, struct pn_weight *w, pn_array *x)
{
    for (int i = 0; i < N_COLS; i++)
        p->x[i] = (float)((i * 37) % 19 - 9) / 8;
    for (int i = 0; i < N_ROWS * N_COLS; i++)
        p->weights[i] = (float)((i * 53) % 101 - 50) / 64;
    pn_type_encode(PN_TYPE_Q8_0, p->weights, NULL, p->stored, N_ROWS * N_COLS);
    pn_type_decode_row(PN_TYPE_Q8_0, p->stored, p->weights, N_ROWS * N_COLS);
    *w = pn_weight_plain("a probe", PN_TYPE_Q8_0, 1, N_ROWS, N_COLS, p->stored);
    *x = pn_input(&p->graph, "x", PN_ROWS_TOKENS, 1, N_COLS);
    return pn_rms_norm(&p->graph, pn_matmul(&p->graph, *x, pn_weight_leaf(&p->graph, w)), PN_NONE, 1e-6f);
}

static pantry_status run(struct probe *p, struct pn_device *d, struct pantry_error *err)
{
    const struct pn_device_class *c = d->class;
    struct pn_weight w;
    pn_array x, y = build(p, &w, &x);
    const struct pn_plan_spec spec = {.inputs = &x,
                                      .n_inputs = 1,
                                      .results = &y,
                                      .n_results = 1,
                                      .max_rows = {[PN_ROWS_TOKENS] = 1, [PN_ROWS_SEQS] = 1}};
    pantry_status status = pn_plan_new(&p->graph, &spec, &p->plan, err);
    if (!status)
        status = c->compile(d, p->plan, &p->program, err);
    if (!status)
        status = c->buffer_new(d, c->scratch_bytes(p->program), &p->scratch, err);
    if (!status)
        status = c->buffer_new(d, sizeof p->x, &p->in, err);
    if (!status)
        status = c->buffer_new(d, sizeof p->y, &p->out, err);
    if (status)
        return status;
    const int32_t zero = 0;
    const struct pn_batch_seq seq = {.n = 1};
    const void *inputs[] = {(const void *)(uintptr_t)p->in.address};
    void *results[] = {(void *)(uintptr_t)p->out.address};
    const struct pn_batch b = {
        .n_tokens = 1, .n_seqs = 1, .seqs = &seq, .ids = &zero, .pos = &zero, .inputs = inputs, .results = results};
    struct pn_ticket ticket;
    c->write(d, &p->in, 0, p->x, sizeof p->x);
    status = c->submit(d, p->program, &p->scratch, &b, &ticket, err);
    if (!status)
        status = c->wait(d, &ticket, err);
    if (!status)
        c->read(d, &p->out, 0, p->y, sizeof p->y);
    return status;
}

/* Compares with double precision. */
static bool is_right(const struct probe *p)
{
    double sums[N_ROWS], power = 0;
    for (int r = 0; r < N_ROWS; r++) {
        sums[r] = 0;
        for (int i = 0; i < N_COLS; i++)
            sums[r] += (double)p->x[i] * (double)p->weights[r * N_COLS + i];
        power += sums[r] * sums[r];
    }
    for (int r = 0; r < N_ROWS; r++)
        if (!(fabs(sums[r] / sqrt(power / (double)N_ROWS + 1e-6) - (double)p->y[r]) < 1e-4))
            return false;
    return true;
}

pantry_status pn_gpu_probe(struct pn_device *d, struct pantry_error *err)
{
    struct probe *p = calloc(1, sizeof *p);
    if (!p)
        return pn_no_memory(err, "a device");
    pn_graph_init(&p->graph);
    pantry_status status = run(p, d, err);
    if (!status && !is_right(p))
        status = pn_fail(err, PANTRY_UNSUPPORTED, "%s: a first computation gives wrong numbers; report this",
                         d->properties.name);
    d->class->program_free(d, p->program);
    d->class->buffer_free(d, &p->scratch);
    d->class->buffer_free(d, &p->in);
    d->class->buffer_free(d, &p->out);
    pn_plan_free(p->plan);
    pn_graph_free(&p->graph);
    free(p);
    return status;
}
