/* Running a few operations on a device: see op_run.h. */
#include "op_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "device/cpu/program.h"
#include "device/device.h"
#include "emulated.h"

/* The last two are GPUs, emulated ones where the build has them. */
const struct op_device op_devices[] = {
    {"ref", NULL, 1},    {"cpu", NULL, 1},  {"cpu", NULL, 3},   {"cpu", "generic", 2},
    {"cpu", "mixed", 2}, {"cuda", NULL, 1}, {"metal", NULL, 1},
};
int op_n_devices;

__attribute__((constructor)) static void count_devices(void)
{
    op_n_devices = (int)(sizeof op_devices / sizeof *op_devices) - (!emulated_cuda() ? 2 : !emulated_metal() ? 1 : 0);
}

bool op_is_gpu(const struct op_device *device)
{
    return strcmp(device->name, "cuda") == 0 || strcmp(device->name, "metal") == 0;
}

static void mix_formats(struct pn_device *device)
{
    struct pn_cpu_kernels *kernels = &((struct pn_cpu *)device)->kernels, plain;
    assert_true(pn_cpu_kernels_select(&plain, "generic"));
    for (int t = 0; t < PN_TYPE_COUNT; t += 2)
        kernels->matmul[t] = plain.matmul[t];
}

static float between(struct pn_rng *rng, float low, float high)
{
    return low + (high - low) * pn_rng_float(rng);
}

static float *random_floats(struct pn_rng *rng, size_t n, float low, float high)
{
    float *v = malloc((n + 1) * sizeof *v);
    assert_non_null(v);
    for (size_t i = 0; i < n; i++)
        v[i] = between(rng, low, high);
    return v;
}

void op_run_init(struct op_run *o, uint64_t seed, int width, const int *lengths, int n_lengths, int n_state)
{
    *o = (struct op_run){.rng = {seed}, .width = width, .lengths = lengths, .n_lengths = n_lengths, .n_state = n_state};
    assert_true(n_lengths <= OP_MAX_SEQS);
    for (int i = 0; i < n_lengths; i++)
        o->n_rows += lengths[i];
    o->input = random_floats(&o->rng, (size_t)o->n_rows * (size_t)width, -1, 1);
    o->states = random_floats(&o->rng, (size_t)n_lengths * (size_t)n_state, -1, 1);
    o->table = pn_weight_plain("input", PN_TYPE_F32, 1, o->n_rows, width, o->input);
    pn_graph_init(&o->graph);
    o->x = pn_embed(&o->graph, pn_weight_leaf(&o->graph, &o->table));
}

void op_run_free(struct op_run *o)
{
    pn_graph_free(&o->graph);
    free(o->input);
    free(o->states);
}

pn_array op_run_weight(struct op_run *o, pn_type type, const int64_t shape[3], float low, float high, float **decoded)
{
    size_t n_rows = (size_t)(shape[0] * shape[1]), n_cols = (size_t)shape[2], row = pn_type_row_bytes(type, n_cols);
    float *values = random_floats(&o->rng, n_rows * n_cols, low, high);
    struct pn_weight *w = pn_arena_alloc(&o->graph.arena, sizeof *w);
    unsigned char *data = pn_arena_alloc(&o->graph.arena, n_rows * row);
    assert_non_null(w);
    assert_non_null(data);
    for (size_t r = 0; r < n_rows; r++) {
        pn_type_info(type)->encode(values + r * n_cols, data + r * row, n_cols);
        pn_type_decode_row(type, data + r * row, values + r * n_cols, n_cols);
    }
    *w = pn_weight_plain("weight", type, shape[0], shape[1], shape[2], data);
    *decoded = values;
    return pn_weight_leaf(&o->graph, w);
}

/* ---- running ---- */

/* Memory of the device, with a copy of `from` unless it is NULL. */
static void buffer_of(struct pn_device *d, struct pn_buffer *out, const void *from, size_t size)
{
    struct pantry_error err;
    if (d->class->buffer_new(d, size ? size : 1, out, &err))
        fail_msg("%s", err.text);
    if (from)
        d->class->write(d, out, 0, from, size);
}

static void *pointer(const struct pn_buffer *b)
{
    return (void *)(uintptr_t)b->address;
}

/* Pages of all sequences, the last one first, so that their order differs from that of the positions. */
struct memory {
    struct pn_device *device;
    struct pn_cache cache;
    struct pn_buffer k, v, pages; /* pages: (n_lengths, a_sequence) */
    int a_sequence;
};

static struct memory memory_new(const struct op_run *o, struct pn_device *d)
{
    struct memory m = {.device = d, .a_sequence = o->n_rows / PN_PAGE_TOKENS + 1};
    int n_pages = m.a_sequence * o->n_lengths;
    const struct op_cache *c = o->cache;
    int32_t *pages = calloc((size_t)n_pages, sizeof *pages);
    assert_non_null(pages);
    for (int i = 0; i < n_pages; i++)
        pages[i] = n_pages - 1 - i;
    buffer_of(d, &m.pages, pages, (size_t)n_pages * sizeof *pages);
    free(pages);
    if (!c)
        return m;
    m.cache = (struct pn_cache){.type = c->type, .n_head = c->n_head, .dim_k = c->dim_k, .dim_v = c->dim_v};
    m.cache.k_row = pn_cache_row_bytes(c->type, c->dim_k);
    m.cache.v_row = c->value_in_key ? m.cache.k_row : pn_cache_row_bytes(c->type, c->dim_v);
    m.cache.k_page = (size_t)c->n_head * PN_PAGE_TOKENS * m.cache.k_row;
    m.cache.v_page = (size_t)c->n_head * PN_PAGE_TOKENS * m.cache.v_row;
    buffer_of(d, &m.k, NULL, (size_t)n_pages * m.cache.k_page);
    m.cache.k = m.cache.v = pointer(&m.k);
    if (!c->value_in_key) {
        buffer_of(d, &m.v, NULL, (size_t)n_pages * m.cache.v_page);
        m.cache.v = pointer(&m.v);
    }
    return m;
}

static void memory_free(struct memory *m)
{
    m->device->class->buffer_free(m->device, &m->k);
    m->device->class->buffer_free(m->device, &m->v);
    m->device->class->buffer_free(m->device, &m->pages);
}

/* The next rows of every sequence as one batch. Returns their number; 0 at the end. */
static int next_batch(const struct op_run *o, const struct memory *m, int slice, int *done, struct pn_batch *b,
                      struct pn_batch_seq *seqs, int32_t *ids, int32_t *pos, int32_t *last, int32_t *begin)
{
    int n = 0, first = 0;
    b->n_seqs = 0;
    for (int s = 0; s < o->n_lengths; s++) {
        int left = o->lengths[s] - done[s], take = left < slice ? left : slice;
        if (take > 0)
            seqs[b->n_seqs++] = (struct pn_batch_seq){
                .start = n, .n = take, .past = done[s], .pages = s * m->a_sequence, .state_in = s, .state_out = s};
        for (int i = 0; i < take; i++, n++) {
            ids[n] = first + done[s];
            last[n] = o->last ? o->last[ids[n]] : 0;
            begin[n] = o->first ? o->first[ids[n]] : 0;
            pos[n] = done[s]++;
        }
        first += o->lengths[s];
    }
    b->n_tokens = b->n_outputs = n;
    return n;
}

struct compiled {
    struct pn_device *device;
    struct pn_plan *plan;
    struct pn_program *program;
    struct pn_buffer scratch;
};

/* A step must not rely on the contents of its scratch. */
static pantry_status run_step(struct compiled *c, const struct pn_batch *b, struct pantry_error *err)
{
    c->device->class->fill(c->device, &c->scratch, 0, 0xff, c->scratch.size);
    return pn_device_run(c->device, c->program, &c->scratch, b, err);
}

/* The states of all sequences, once or, if steps alternate, twice: `now` is the slot of a sequence's state. */
struct slots {
    struct pn_device *device;
    struct pn_buffer memory; /* `all` on the device */
    float *all, *before;
    size_t n; /* floats of all sequences' states */
    int now[OP_MAX_SEQS];
};

static struct slots slots_new(const struct op_run *o, struct pn_device *d, const float *states)
{
    struct slots s = {.device = d, .n = (size_t)o->n_lengths * (size_t)o->n_state};
    s.all = malloc((2 * s.n + 1) * sizeof *s.all);
    s.before = malloc((2 * s.n + 1) * sizeof *s.before);
    assert_non_null(s.all);
    assert_non_null(s.before);
    memcpy(s.all, states, s.n * sizeof *states);
    memcpy(s.all + s.n, states, s.n * sizeof *states);
    buffer_of(d, &s.memory, s.all, 2 * s.n * sizeof *s.all);
    return s;
}

static void slots_give(const struct op_run *o, struct slots *s, struct pn_batch *b, struct pn_batch_seq *seqs)
{
    b->states = pointer(&s->memory);
    b->state_stride = (size_t)o->n_state;
    for (int i = 0; i < b->n_seqs; i++) {
        int which = seqs[i].state_in, now = s->now[which];
        seqs[i].state_in = now * o->n_lengths + which;
        seqs[i].state_out = (o->alternates ? 1 - now : now) * o->n_lengths + which;
    }
    memcpy(s->before, s->all, 2 * s->n * sizeof *s->all);
}

/* A step must not change what it only reads. */
static void slots_take(const struct op_run *o, struct slots *s, const struct pn_batch *b)
{
    size_t n = (size_t)o->n_state;
    s->device->class->read(s->device, &s->memory, 0, s->all, 2 * s->n * sizeof *s->all);
    for (int i = 0; i < b->n_seqs && o->alternates; i++) {
        int in = b->seqs[i].state_in, which = in % o->n_lengths;
        assert_memory_equal(s->all + (size_t)in * n, s->before + (size_t)in * n, n * sizeof *s->all);
        s->now[which] = 1 - s->now[which];
    }
}

static void slots_free(const struct op_run *o, struct slots *s, float *states)
{
    size_t n = (size_t)o->n_state;
    for (int i = 0; i < o->n_lengths; i++)
        memcpy(states + (size_t)i * n, s->all + (size_t)(s->now[i] * o->n_lengths + i) * n, n * sizeof *states);
    s->device->class->buffer_free(s->device, &s->memory);
    free(s->all);
    free(s->before);
}

static void run_steps(const struct op_run *o, struct compiled *c, int slice, size_t n, float *out, float *states)
{
    struct pantry_error err = {0};
    int done[OP_MAX_SEQS] = {0};
    struct pn_batch_seq seqs[OP_MAX_SEQS];
    size_t rows = (size_t)o->n_rows;
    int32_t *ids = calloc(rows, 5 * sizeof *ids), *pos = ids + rows, *out_rows = pos + rows, *last = out_rows + rows,
            *begin = last + rows;
    float *result = calloc(rows * n, sizeof *result);
    struct pn_buffer made;
    assert_non_null(ids);
    assert_non_null(result);
    buffer_of(c->device, &made, NULL, rows * n * sizeof *result);
    for (int i = 0; i < o->n_rows; i++)
        out_rows[i] = i;
    struct memory m = memory_new(o, c->device);
    struct slots slots = slots_new(o, c->device, states);
    struct pn_batch b = {.ids = ids,
                         .pos = pos,
                         .seqs = seqs,
                         .tables = pointer(&m.pages),
                         .out_rows = out_rows,
                         .results = (void *[]){pointer(&made)},
                         .caches = &m.cache};
    b.last = o->last ? last : NULL;
    b.first = o->first ? begin : NULL;
    while (next_batch(o, &m, slice, done, &b, seqs, ids, pos, last, begin)) {
        slots_give(o, &slots, &b, seqs);
        if (run_step(c, &b, &err))
            fail_msg("%s", err.text);
        slots_take(o, &slots, &b);
        c->device->class->read(c->device, &made, 0, result, (size_t)b.n_tokens * n * sizeof *result);
        for (int i = 0; i < b.n_tokens; i++)
            memcpy(out + (size_t)ids[i] * n, result + (size_t)i * n, n * sizeof *out);
    }
    slots_free(o, &slots, states);
    memory_free(&m);
    c->device->class->buffer_free(c->device, &made);
    free(ids);
    free(result);
}

struct pn_plan_spec op_plan_spec(const pn_array *result, int n_rows)
{
    struct pn_plan_spec spec = {.results = result, .n_results = 1};
    for (int rows = PN_ROWS_TOKENS; rows < PN_ROWS_COUNT; rows++)
        spec.max_rows[rows] = n_rows;
    return spec;
}

static struct compiled compile(const struct pn_graph *g, pn_array result, const struct op_device *device, int n_rows)
{
    struct pantry_error err = {0};
    struct compiled c = {0};
    bool mixed = device->isa && strcmp(device->isa, "mixed") == 0;
    struct pn_device_options options = {device->n_threads, mixed ? NULL : device->isa};
    if (pn_graph_status(g, &err) || pn_device_open(device->name, &options, &c.device, &err))
        fail_msg("%s", err.text);
    if (mixed)
        mix_formats(c.device);
    if (pn_device_plan(c.device, g, op_plan_spec(&result, n_rows), &c.plan, &err) ||
        c.device->class->compile(c.device, c.plan, &c.program, &err) ||
        pn_scratch_fit(&c.scratch, c.device, c.device->class->scratch_bytes(c.program), &err))
        fail_msg("%s", err.text);
    return c;
}

static void compiled_free(struct compiled *c)
{
    c->device->class->program_free(c->device, c->program);
    c->device->class->buffer_free(c->device, &c->scratch);
    pn_plan_free(c->plan);
    pn_device_close(c->device);
}

void op_run_on(const struct op_run *o, pn_array result, const struct op_device *device, int slice, float *out,
               float *states)
{
    struct compiled c = compile(&o->graph, result, device, o->n_rows);
    size_t n = (size_t)pn_node(&o->graph, result)->n1 * (size_t)pn_node(&o->graph, result)->n2;
    size_t bytes = (size_t)o->n_lengths * (size_t)o->n_state * sizeof(float);
    float *s = malloc(bytes + sizeof *s);
    assert_non_null(s);
    memcpy(s, o->states, bytes);
    run_steps(o, &c, slice, n, out, s);
    if (states)
        memcpy(states, s, bytes);
    free(s);
    compiled_free(&c);
}

pantry_status op_step(const struct pn_graph *g, pn_array result, const struct op_device *device,
                      const struct pn_batch *b, struct pantry_error *err)
{
    struct compiled c = compile(g, result, device, b->n_tokens);
    const struct pn_node *n = pn_node(g, result);
    size_t bytes = (size_t)pn_batch_n_rows(b, n->rows) * (size_t)n->n1 * (size_t)n->n2 * sizeof(float);
    bool apart = !c.device->properties.unified; /* then its results are not the host's */
    struct pn_batch on_device = *b;
    struct pn_buffer made = {0};
    void *results[1];
    if (apart) {
        buffer_of(c.device, &made, NULL, bytes);
        results[0] = pointer(&made);
        on_device.results = results;
    }
    pantry_status status = run_step(&c, &on_device, err);
    if (!status && !b->states)
        status = run_step(&c, &on_device, err);
    if (!status && apart)
        c.device->class->read(c.device, &made, 0, b->results[0], bytes);
    c.device->class->buffer_free(c.device, &made);
    compiled_free(&c);
    return status;
}

double op_distance(const float *a, const double *b, size_t n)
{
    double error = 0, power = 1e-30;
    for (size_t i = 0; i < n; i++) {
        error += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        power += b[i] * b[i];
    }
    double distance = error / power;
    return distance == distance ? distance : 1e300;
}
