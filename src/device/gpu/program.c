/* Programs of GPU devices: a plan's weights resolved, and the launches of its steps. See gpu.h. */
#include "device/gpu/launch.h"
#include "device/gpu/memory.h"

#include <stdlib.h>
#include <string.h>

struct pn_program {
    const struct pn_plan *plan;
    struct pn_gpu *device;
    struct pn_arena arena;
    uint64_t *vectors;             /* (nodes): addresses of weight vectors as float32; 0: none */
    struct pn_gpu_weight *weights; /* (nodes): of matrices */
    struct pn_gpu_memory numbers;  /* vectors, tables of matrices, and weights that no one placed */
    struct pn_gpu_memory step;     /* struct pn_gpu_step and the lists of a batch */
    struct pn_gpu_memory rows;     /* batch.rows */
    unsigned char *staging;        /* what `step` is written from */
    size_t step_bytes, scratch_bytes;
    struct pn_gpu_launch *launches;
    size_t max_launches;
};

/* The operations of a plan without fusion: one per phase. */
static struct pn_step step_of(const struct pn_plan *plan, const struct pn_phase *phase)
{
    if (phase->n_row > 0)
        return plan->steps[phase->first_row];
    if (phase->kind != PN_PHASE_PRODUCT)
        return *phase->step;
    const struct pn_product *item = &phase->products[0];
    return (struct pn_step){
        .array = item->matmul, .node = pn_node(plan->graph, item->matmul), .out = item->to, .src = {phase->from}};
}

/* ---- weights ---- */

/* Bytes that will be written to program->numbers. With `data` NULL only counts. */
struct numbers {
    unsigned char *data;
    size_t used;
    uint64_t address;
};

/* Room for n bytes, aligned for all kernels. */
static unsigned char *numbers_add(struct numbers *k, size_t n, uint64_t *address)
{
    size_t at = (k->used + 255) & ~(size_t)255;
    k->used = at + n;
    *address = k->address + at;
    return k->data ? k->data + at : NULL;
}

static void add_vector(struct pn_program *p, pn_array a, struct numbers *k)
{
    const struct pn_weight *w = pn_node(p->plan->graph, a)->weight;
    unsigned char *to = numbers_add(k, (size_t)w->n_cols * sizeof(float), &p->vectors[a]);
    if (to)
        pn_weight_decode(w, 0, 0, 0, w->n_cols, (float *)(void *)to);
}

/* Where a kernel finds a piece of a weight: where it was placed, or in a copy of the program's. */
static uint64_t place_of(struct pn_program *p, const void *host, size_t size, struct numbers *k)
{
    uint64_t address = pn_gpu_address(p->device, host, size);
    if (address)
        return address;
    unsigned char *to = numbers_add(k, size, &address);
    if (to)
        memcpy(to, host, size);
    return address;
}

static void add_matrix(struct pn_program *p, pn_array a, struct numbers *k)
{
    const struct pn_weight *w = pn_node(p->plan->graph, a)->weight;
    struct pn_gpu_weight *out = &p->weights[a];
    *out = (struct pn_gpu_weight){.type = (i32)w->type,
                                  .group = w->group,
                                  .n_planes = w->n_planes,
                                  .n_mat = (i32)w->n_mat,
                                  .n_rows = (i32)w->n_rows,
                                  .n_cols = (i32)w->n_cols};
    uint64_t *mats = NULL;
    size_t n_mats = w->mats ? (size_t)w->n_mat * (size_t)w->n_planes : 0;
    if (w->mats)
        mats = (uint64_t *)(void *)numbers_add(k, n_mats * sizeof *mats, &out->mats);
    for (int i = 0; i < w->n_planes; i++) {
        const struct pn_plane *plane = &w->plane[i];
        size_t bytes = pn_gpu_plane_bytes(w, i);
        out->plane[i].row_bytes = (i64)plane->row_bytes;
        out->plane[i].mat_bytes = (i64)plane->mat_bytes;
        out->plane[i].type = (i32)plane->type;
        uint64_t starts = plane->row_bytes | (w->mats ? 0 : plane->mat_bytes);
        for (int64_t m = 0; m < w->n_mat && w->mats; m++) {
            uint64_t at = place_of(p, w->mats[m * w->n_planes + i], bytes, k);
            if (mats)
                mats[m * w->n_planes + i] = at;
            starts |= at;
        }
        if (!w->mats)
            out->plane[i].data = place_of(p, plane->data, bytes + (size_t)(w->n_mat - 1) * plane->mat_bytes, k);
        out->plane[i].aligned = (starts | out->plane[i].data) % 16 == 0;
    }
}

/* Marks which weights the plan's operations read, and as what. */
static void mark(const struct pn_program *p, unsigned char *as_vector, unsigned char *as_matrix)
{
    const struct pn_graph *g = p->plan->graph;
    for (int k = 0; k < p->plan->n_phases; k++) {
        const struct pn_node *n = step_of(p->plan, &p->plan->phases[k]).node;
        int matrix = pn_gpu_matrix_operand(n->op);
        for (int i = 0; i < n->n_src; i++)
            if (n->src[i] != PN_NONE && pn_node(g, n->src[i])->op == PN_OP_WEIGHT)
                (i == matrix ? as_matrix : as_vector)[n->src[i]] = 1;
    }
}

static void add_weights(struct pn_program *p, const unsigned char *as_vector, const unsigned char *as_matrix,
                        struct numbers *k)
{
    k->used = 0;
    for (size_t a = 0; a < p->plan->graph->len; a++) {
        if (as_vector[a])
            add_vector(p, (pn_array)a, k);
        if (as_matrix[a])
            add_matrix(p, (pn_array)a, k);
    }
}

static pantry_status resolve_weights(struct pn_program *p, struct pantry_error *err)
{
    struct pn_gpu_driver *d = p->device->driver;
    struct numbers k = {0};
    unsigned char *as = calloc(2 * p->plan->graph->len + 1, 1);
    pantry_status status = as ? PANTRY_OK : pn_no_memory(err, "a program");
    if (!status) {
        mark(p, as, as + p->plan->graph->len);
        add_weights(p, as, as + p->plan->graph->len, &k);
    }
    if (!status && k.used) {
        k.data = calloc(k.used, 1);
        status = k.data ? d->class->allocate(d, k.used, &p->numbers, err) : pn_no_memory(err, "a program");
    }
    if (!status && k.used) {
        k.address = p->numbers.address;
        add_weights(p, as, as + p->plan->graph->len, &k);
        d->class->write(d, p->numbers.address, k.data, k.used);
    }
    free(k.data);
    free(as);
    return status;
}

/* ---- compiling ---- */

bool pn_gpu_supports(const void *device, const struct pn_graph *graph, const struct pn_node *node)
{
    (void)device;
    return pn_gpu_can(graph, node);
}

void pn_gpu_program_free(struct pn_device *device, struct pn_program *p)
{
    struct pn_gpu *g = (struct pn_gpu *)device;
    if (!p)
        return;
    pthread_mutex_lock(&g->lock);
    g->driver->class->release(g->driver, &p->numbers);
    g->driver->class->release(g->driver, &p->step);
    g->driver->class->release(g->driver, &p->rows);
    pthread_mutex_unlock(&g->lock);
    pn_arena_free(&p->arena);
    free(p);
}

static size_t lists_bytes(const struct pn_plan *plan)
{
    size_t tokens = (size_t)plan->max_rows[PN_ROWS_TOKENS];
    size_t rows = (size_t)plan->max_rows[PN_ROWS_OUTPUTS] + (size_t)plan->max_rows[PN_ROWS_HIDDEN];
    size_t seqs =
        (size_t)(plan->max_rows[PN_ROWS_SEQS] > plan->max_rows[PN_ROWS_TOKENS] ? plan->max_rows[PN_ROWS_SEQS]
                                                                               : plan->max_rows[PN_ROWS_TOKENS]);
    /* ids, PN_MAX_POS positions, last, first, given, kinds */
    return (tokens * (5 + PN_MAX_POS) + rows) * sizeof(i32) + seqs * sizeof(struct pn_gpu_seq) + 16 * 16;
}

static pantry_status lay_out(struct pn_program *p, struct pantry_error *err)
{
    struct pn_gpu_driver *d = p->device->driver;
    size_t most = 0;
    for (int i = 0; i < p->plan->n_phases; i++) {
        struct pn_step s = step_of(p->plan, &p->plan->phases[i]);
        size_t bytes = pn_gpu_scratch(p->plan->graph, s.node, p->plan->max_rows[s.node->rows]);
        most = bytes > most ? bytes : most;
    }
    p->scratch_bytes = ((p->plan->memory + 255) & ~(size_t)255) + most;
    p->max_launches = PN_GPU_MAX_LAUNCHES * (size_t)p->plan->n_phases;
    p->launches = pn_arena_array(&p->arena, p->max_launches + 1, sizeof *p->launches);
    p->step_bytes = sizeof(struct pn_gpu_step) + lists_bytes(p->plan);
    p->staging = pn_arena_alloc(&p->arena, p->step_bytes);
    if (!p->launches || !p->staging)
        return pn_no_memory(err, "a program");
    return d->class->allocate(d, p->step_bytes, &p->step, err);
}

pantry_status pn_gpu_compile(struct pn_device *device, const struct pn_plan *plan, struct pn_program **out,
                             struct pantry_error *err)
{
    *out = NULL;
    if (plan->fused)
        return pn_fail(err, PANTRY_INTERNAL, "the device \"%s\" runs plans without fusion", device->class->name);
    struct pn_program *p = calloc(1, sizeof *p);
    if (!p)
        return pn_no_memory(err, "a program");
    p->plan = plan;
    p->device = (struct pn_gpu *)device;
    p->vectors = pn_arena_array(&p->arena, plan->graph->len + 1, sizeof *p->vectors);
    p->weights = pn_arena_array(&p->arena, plan->graph->len + 1, sizeof *p->weights);
    pantry_status status = p->vectors && p->weights ? PANTRY_OK : pn_no_memory(err, "a program");
    pthread_mutex_lock(&p->device->lock);
    if (!status)
        status = resolve_weights(p, err);
    if (!status)
        status = lay_out(p, err);
    pthread_mutex_unlock(&p->device->lock);
    if (status)
        pn_gpu_program_free(device, p);
    else
        *out = p;
    return status;
}

size_t pn_gpu_scratch_bytes(const struct pn_program *p)
{
    return p->scratch_bytes;
}

/* ---- a step's lists ---- */

/* Appends a list to the staging memory, and returns its address on the GPU. */
static uint64_t stage(struct pn_program *p, size_t *used, const void *list, size_t bytes)
{
    if (!list || !bytes)
        return 0;
    size_t at = (*used + 15) & ~(size_t)15;
    memcpy(p->staging + at, list, bytes);
    *used = at + bytes;
    return p->step.address + at;
}

static uint64_t stage_seqs(struct pn_program *p, size_t *used, const struct pn_batch *b)
{
    size_t at = (*used + 15) & ~(size_t)15;
    struct pn_gpu_seq *to = (struct pn_gpu_seq *)(void *)(p->staging + at);
    for (int i = 0; i < b->n_seqs; i++) {
        const struct pn_batch_seq *s = &b->seqs[i];
        to[i] = (struct pn_gpu_seq){s->start,     s->n,        s->past,      s->pages, s->table,
                                    s->n_context, s->state_in, s->state_out, s->lead};
    }
    *used = at + (size_t)b->n_seqs * sizeof *to;
    return p->step.address + at;
}

/* The rows that stand for tokens, in memory that grows. */
static pantry_status stage_rows(struct pn_program *p, const struct pn_batch *b, struct pantry_error *err)
{
    struct pn_gpu_driver *d = p->device->driver;
    size_t n = 0, bytes;
    for (int i = 0; i < b->n_tokens && b->given; i++)
        n = b->given[i] >= 0 && (size_t)b->given[i] + 1 > n ? (size_t)b->given[i] + 1 : n;
    bytes = n * b->rows_stride * sizeof(float);
    if (bytes > p->rows.size) {
        d->class->release(d, &p->rows);
        pantry_status status = d->class->allocate(d, bytes, &p->rows, err);
        if (status)
            return status;
    }
    if (bytes)
        d->class->write(d, p->rows.address, b->rows, bytes);
    return PANTRY_OK;
}

static pantry_status stage_step(struct pn_program *p, const struct pn_batch *b, struct pantry_error *err)
{
    size_t used = sizeof(struct pn_gpu_step), tokens = (size_t)b->n_tokens * sizeof(i32);
    struct pn_gpu_step *s = (struct pn_gpu_step *)(void *)p->staging;
    pantry_status status = stage_rows(p, b, err);
    if (status)
        return status;
    *s = (struct pn_gpu_step){.n_tokens = b->n_tokens,
                              .n_seqs = b->n_seqs,
                              .n_outputs = b->n_outputs,
                              .n_hidden = b->n_hidden,
                              .n_pos = b->n_pos,
                              .has_last = b->last != NULL,
                              .has_kinds = b->kinds != NULL,
                              .has_first = b->first != NULL,
                              .has_given = b->given != NULL,
                              .tables = (uintptr_t)b->tables,
                              .rows = p->rows.address,
                              .rows_stride = (i64)b->rows_stride,
                              .states = (uintptr_t)b->states,
                              .state_stride = (i64)b->state_stride};
    s->seqs = stage_seqs(p, &used, b);
    s->ids = stage(p, &used, b->ids, tokens);
    s->pos = stage(p, &used, b->pos, tokens * (size_t)(b->n_pos > 1 ? b->n_pos : 1));
    s->last = stage(p, &used, b->last, tokens);
    s->first = stage(p, &used, b->first, tokens);
    s->given = stage(p, &used, b->given, tokens);
    s->kinds = stage(p, &used, b->kinds, tokens);
    s->out_rows = stage(p, &used, b->out_rows, (size_t)b->n_outputs * sizeof(i32));
    s->hidden_rows = stage(p, &used, b->hidden_rows, (size_t)b->n_hidden * sizeof(i32));
    p->device->driver->class->write(p->device->driver, p->step.address, p->staging, used);
    return PANTRY_OK;
}

/* Kernels do not check what chooses rows of tables. */
static pantry_status check_lookups(const struct pn_plan *plan, const struct pn_batch *b, const struct pn_node *n,
                                   struct pantry_error *err)
{
    const struct pn_weight *w = n->n_src && n->src[0] != PN_NONE ? pn_node(plan->graph, n->src[0])->weight : NULL;
    for (int i = 0; i < b->n_tokens; i++) {
        if (n->op == PN_OP_EMBED && (b->ids[i] < 0 || b->ids[i] >= w->n_rows))
            return pn_fail(err, PANTRY_INVALID, "token id %d is not in the vocabulary of %lld", b->ids[i],
                           (long long)w->n_rows);
        if (n->op == PN_OP_POS_EMBED && (b->pos[i] < 0 || b->pos[i] >= w->n_rows))
            return pn_fail(err, PANTRY_INVALID, "position %d is beyond the %lld that the model has learned", b->pos[i],
                           (long long)w->n_rows);
        if (n->op == PN_OP_KIND_EMBED && b->kinds && w->n_rows > 1 && (b->kinds[i] < 0 || b->kinds[i] >= w->n_rows))
            return pn_fail(err, PANTRY_INVALID, "token kind %d is not one of %lld", b->kinds[i], (long long)w->n_rows);
    }
    return PANTRY_OK;
}

static pantry_status check_outputs(const struct pn_plan *plan, const struct pn_batch *b, const struct pn_node *n,
                                   struct pantry_error *err)
{
    enum pn_rows rows = pn_node(plan->graph, n->src[0])->rows;
    const int32_t *list = pn_batch_list(b, rows);
    int64_t n_list = pn_batch_n_rows(b, rows);
    for (int i = 0; i < b->n_seqs; i++) {
        int64_t at = 0;
        while (at < n_list && list[at] < b->seqs[i].start)
            at++;
        if (at == n_list || list[at] >= b->seqs[i].start + b->seqs[i].n)
            return pn_fail(err, PANTRY_INTERNAL, "sequence %d has no outputs", i);
    }
    return PANTRY_OK;
}

static pantry_status check_seqs(const struct pn_batch *b, struct pantry_error *err)
{
    for (int i = 0; i < b->n_tokens; i++)
        if (!pn_batch_seq_of(b, i))
            return pn_fail(err, PANTRY_INTERNAL, "token %d belongs to no sequence", i);
    return PANTRY_OK;
}

static pantry_status check_node(const struct pn_plan *plan, const struct pn_batch *b, const struct pn_node *n,
                                struct pantry_error *err)
{
    switch (n->op) {
    case PN_OP_EMBED:
    case PN_OP_POS_EMBED:
    case PN_OP_KIND_EMBED:
        return check_lookups(plan, b, n, err);
    case PN_OP_MEAN_ROWS:
        return check_outputs(plan, b, n, err);
    case PN_OP_CACHE_WRITE:
    case PN_OP_ATTENTION:
    case PN_OP_ATTEND:
        return check_seqs(b, err);
    default:
        return PANTRY_OK;
    }
}

/* ---- launches ---- */

static struct pn_gpu_view view_of(uint64_t scratch, const struct pn_batch *b, const struct pn_place *at)
{
    uint64_t base = at->space == PN_SPACE_ARENA    ? scratch
                    : at->space == PN_SPACE_RESULT ? (uintptr_t)b->results[at->index]
                    : at->space == PN_SPACE_INPUT  ? (uintptr_t)b->inputs[at->index]
                                                   : 0;
    return base ? (struct pn_gpu_view){base + at->offset, at->stride0, at->stride1} : (struct pn_gpu_view){0};
}

static void fill_args(const struct pn_program *p, uint64_t scratch, const struct pn_batch *b,
                      const struct pn_step *step, struct pn_gpu_args *a)
{
    const struct pn_graph *g = p->plan->graph;
    const struct pn_node *n = step->node;
    int matrix = pn_gpu_matrix_operand(n->op);
    a->step = p->step.address;
    a->rows = (i32)n->rows;
    a->n1 = n->n1;
    a->n2 = n->n2;
    a->out = view_of(scratch, b, &step->out);
    for (int i = 0; i < n->n_src; i++) {
        if (n->src[i] == PN_NONE)
            continue;
        const struct pn_node *src = pn_node(g, n->src[i]);
        a->src_n1[i] = src->n1;
        a->src_n2[i] = src->n2;
        if (i == 0)
            a->src_rows = (i32)src->rows;
        if (src->op != PN_OP_WEIGHT)
            a->src[i] = view_of(scratch, b, &step->src[i]);
        else if (i == matrix)
            a->w = p->weights[n->src[i]];
        else /* a vector serves each head, or has values for all of them */
            a->src[i] = (struct pn_gpu_view){p->vectors[n->src[i]], 0, src->n2 == n->n2 ? 0 : n->n2};
    }
}

/* Memory that launches since the last barrier have written or read. */
struct touched {
    uint64_t begin, end;
};

enum { MAX_TOUCHED = 64 };

struct hazards {
    struct touched written[MAX_TOUCHED], read[MAX_TOUCHED];
    int n_written, n_read;
};

static struct touched extent_of(const struct pn_gpu_view *v, int64_t rows, int n1, int n2)
{
    uint64_t floats = (uint64_t)((rows - 1) * v->stride0 + (int64_t)(n1 - 1) * v->stride1 + n2);
    return (struct touched){v->data, v->data + floats * sizeof(float)};
}

static bool meets(const struct touched *list, int n, struct touched t)
{
    for (int i = 0; i < n; i++)
        if (t.begin < list[i].end && list[i].begin < t.end)
            return true;
    return false;
}

/* Whether a launch must wait for those before it, and what it adds to the list. */
static bool must_wait(struct hazards *h, const struct pn_program *p, const struct pn_batch *b, const struct pn_step *s,
                      const struct pn_gpu_args *a)
{
    struct touched out = {0}, src[PN_MAX_SRC];
    int n = 0;
    const struct pn_node *node = s->node;
    if (a->out.data)
        out = extent_of(&a->out, pn_batch_n_rows(b, node->rows), node->n1, node->n2);
    for (int i = 0; i < node->n_src; i++)
        if (node->src[i] != PN_NONE && a->src[i].data && pn_node(p->plan->graph, node->src[i])->op != PN_OP_WEIGHT) {
            const struct pn_node *x = pn_node(p->plan->graph, node->src[i]);
            src[n++] = extent_of(&a->src[i], pn_batch_n_rows(b, x->rows), x->n1, x->n2);
        }
    bool wait = h->n_written == MAX_TOUCHED || h->n_read + n > MAX_TOUCHED || meets(h->written, h->n_written, out) ||
                meets(h->read, h->n_read, out);
    for (int i = 0; i < n; i++)
        wait = wait || meets(h->written, h->n_written, src[i]);
    if (wait)
        h->n_written = h->n_read = 0;
    h->written[h->n_written++] = out;
    for (int i = 0; i < n; i++)
        h->read[h->n_read++] = src[i];
    return wait;
}

static void make_launches(struct pn_program *p, uint64_t scratch, const struct pn_batch *b, struct pn_gpu_list *list)
{
    struct hazards h = {0};
    for (int i = 0; i < p->plan->n_phases; i++) {
        struct pn_step s = step_of(p->plan, &p->plan->phases[i]);
        int64_t rows = pn_batch_n_rows(b, s.node->rows);
        if (rows == 0)
            continue;
        struct pn_gpu_launch l;
        memset(&l, 0, sizeof l); /* the padding too: drivers compare launches */
        l.shared = 16;
        fill_args(p, scratch, b, &s, &l.args);
        size_t first = list->n;
        pn_gpu_op(s.node->op)(list, s.node, rows, &l);
        if (must_wait(&h, p, b, &s, &l.args))
            list->launches[first].waits = true;
        /* An operation's own launches follow each other, and its scratch serves the next one. */
        for (size_t k = first + 1; k < list->n; k++)
            list->launches[k].waits = true;
        if (list->n > first + 1)
            h.n_written = h.n_read = MAX_TOUCHED; /* the next one waits */
    }
}

pantry_status pn_gpu_submit(struct pn_device *device, struct pn_program *p, const struct pn_buffer *scratch,
                            const struct pn_batch *b, struct pn_ticket *ticket, struct pantry_error *err)
{
    struct pn_gpu *g = (struct pn_gpu *)device;
    pantry_status status = pn_plan_check(p->plan, b, err);
    for (int i = 0; i < p->plan->n_phases && !status; i++) {
        struct pn_step s = step_of(p->plan, &p->plan->phases[i]);
        status = check_node(p->plan, b, s.node, err);
    }
    if (status)
        return status;
    *ticket = (struct pn_ticket){0};
    struct pn_gpu_list list = {.batch = b,
                               .launches = p->launches,
                               .cap = p->max_launches,
                               .scratch = scratch->address + ((p->plan->memory + 255) & ~(uint64_t)255),
                               .scratch_bytes = p->scratch_bytes - ((p->plan->memory + 255) & ~(size_t)255)};
    pthread_mutex_lock(&g->lock);
    status = stage_step(p, b, err);
    if (!status) {
        make_launches(p, scratch->address, b, &list);
        status = g->driver->class->submit(g->driver, list.launches, list.n, err);
    }
    pthread_mutex_unlock(&g->lock);
    return status;
}

pantry_status pn_gpu_wait(struct pn_device *device, const struct pn_ticket *ticket, struct pantry_error *err)
{
    (void)ticket;
    struct pn_gpu *g = (struct pn_gpu *)device;
    pthread_mutex_lock(&g->lock);
    pantry_status status = g->driver->class->wait(g->driver, err);
    pthread_mutex_unlock(&g->lock);
    return status;
}

uint64_t pn_gpu_elapsed(const struct pn_device *device)
{
    const struct pn_gpu *g = (const struct pn_gpu *)device;
    return g->driver->class->elapsed(g->driver);
}
