/* Running steps in stages: see stages.h. */
#include "engine/stages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int bucket_tokens[PN_N_BUCKETS] = {1, 16, 128, 512, PN_MAX_BATCH, PN_MAX_STEP};
static const size_t nowhere = SIZE_MAX; /* the result goes directly to the caller's memory */
enum { STAGING = 1 << 16 };

pantry_status pn_stages_init(struct pn_runner *r, struct pantry_error *err)
{
    for (int k = 0; k < PN_N_RESULTS; k++)
        for (int i = 0; i < PN_N_BUCKETS; i++)
            r->buckets[k][i].max_tokens = bucket_tokens[i];
    r->staging = r->n_parts > 1 ? malloc(STAGING) : NULL;
    return r->n_parts > 1 && !r->staging ? pn_no_memory(err, "a model") : PANTRY_OK;
}

/* ---- scratch ---- */

/* How much of a part's scratch, which all programs share, steps touch: the sum over buckets, but at most all of it. */
static uint64_t scratch_bytes(const struct pn_runner *r, int part, bool in_use_only)
{
    uint64_t sum = 0;
    for (int k = 0; k < PN_N_RESULTS; k++)
        for (int i = 0; i < PN_N_BUCKETS; i++)
            sum += !in_use_only || r->buckets[k][i].in_use ? r->buckets[k][i].touched[part] : 0;
    return sum < r->parts[part].scratch.size ? sum : r->parts[part].scratch.size;
}

static void touch_scratch(struct pn_runner *r, int part)
{
    struct pn_part *p = &r->parts[part];
    uint64_t now = scratch_bytes(r, part, true);
    pn_memory_touch(r->budget, (int64_t)now - (int64_t)p->touched);
    p->touched = now;
}

/* The scratch is no longer touched. */
static void forget_scratch(struct pn_runner *r, int part)
{
    for (int k = 0; k < PN_N_RESULTS; k++)
        for (int i = 0; i < PN_N_BUCKETS; i++)
            r->buckets[k][i].touched[part] = 0;
    touch_scratch(r, part);
    pn_memory_give(r->budget, r->parts[part].taken);
    r->parts[part].taken = 0;
}

/* The scratch that the bucket's longest step needs on a part. */
static size_t needed(const struct pn_runner *r, const struct pn_bucket *b, int part)
{
    size_t most = 0;
    for (int i = 0; i < b->n_stages; i++) {
        if (b->stages[i].part != part)
            continue;
        size_t bytes = r->parts[part].device->class->scratch_bytes(b->stages[i].program);
        most = bytes > most ? bytes : most;
    }
    return b->crossing[part] + most;
}

/* Reserves scratch for the bucket's longest step, and takes from the budget what a step of `n_tokens` touches. */
static pantry_status take_scratch(struct pn_runner *r, struct pn_bucket *b, int part, int n_tokens,
                                  struct pantry_error *err)
{
    struct pn_part *p = &r->parts[part];
    size_t all = needed(r, b, part);
    char what[64];
    if (p->scratch.size < all)
        forget_scratch(r, part);
    pantry_status status = pn_scratch_fit(&p->scratch, p->device, all, err);
    uint64_t before = b->touched[part], bytes = (uint64_t)((double)all * n_tokens / b->max_tokens);
    if (status || bytes <= before)
        return status;
    b->touched[part] = bytes;
    uint64_t wanted = scratch_bytes(r, part, false);
    if (wanted <= p->taken)
        return PANTRY_OK;
    snprintf(what, sizeof what, "a step of %d tokens", n_tokens);
    if ((status = pn_memory_take(r->budget, wanted - p->taken, what, err)))
        b->touched[part] = before;
    else
        p->taken = wanted;
    return status;
}

/* ---- plans ---- */

/* The places of crossing arrays in each part's scratch while a bucket is planned. */
struct layout {
    const struct pn_runner *runner;
    struct pn_bucket *bucket;
    const struct pn_cut *cut; /* NULL: one part */
    pn_array result;
    size_t *at; /* (parts, nodes) */ /* (parts, nodes) */
};

static size_t *place_in(const struct layout *l, int part, pn_array a)
{
    return &l->at[(size_t)part * l->runner->model->graph.len + (size_t)a];
}

static size_t array_bytes(const struct pn_graph *g, pn_array a, int64_t n_rows)
{
    const struct pn_node *n = pn_node(g, a);
    return (size_t)n_rows * (size_t)n->n1 * (size_t)n->n2 * sizeof(float);
}

/* Reserves room for an array on a part; 0 bytes for an array that only orders operations. */
static size_t make_room(const struct layout *l, int part, pn_array a)
{
    size_t *at = place_in(l, part, a), bytes = array_bytes(&l->runner->model->graph, a, l->bucket->max_tokens);
    *at = l->bucket->crossing[part];
    l->bucket->crossing[part] += (bytes + 63) & ~(size_t)63;
    return *at;
}

static void place_given(const struct layout *l, struct pn_stage *stage, const struct pn_segment *s)
{
    for (int i = 0; i < s->n_given; i++) {
        struct pn_crossing *c = &stage->given[i];
        c->array = s->given[i];
        c->from = -1;
        int from = l->runner->device_of[c->array];
        size_t *here = place_in(l, stage->part, c->array);
        if (*here == nowhere) { /* the first stage of this part to read it */
            make_room(l, stage->part, c->array);
            c->from = pn_node(&l->runner->model->graph, c->array)->n2 ? from : -1;
            c->from_at = *place_in(l, from, c->array);
        }
        c->at = *here;
    }
}

static bool is_read(const struct layout *l, pn_array a)
{
    for (int i = 0; l->cut && i < l->cut->n_segments; i++)
        for (int j = 0; j < l->cut->segments[i].n_given; j++)
            if (l->cut->segments[i].given[j] == a)
                return true;
    return false;
}

static void place_results(const struct layout *l, struct pn_stage *stage, const struct pn_segment *s)
{
    for (int i = 0; i < s->n_results; i++) {
        struct pn_crossing *c = &stage->results[i];
        c->array = s->results[i];
        bool direct = c->array == l->result && l->runner->parts[stage->part].device->properties.unified;
        c->at = direct && !is_read(l, c->array) ? nowhere : make_room(l, stage->part, c->array);
    }
}

static pantry_status make_stage(const struct layout *l, struct pn_stage *stage, const struct pn_segment *s,
                                struct pantry_error *err)
{
    struct pn_arena *arena = &l->bucket->arena;
    struct pn_device *device = l->runner->parts[s->device].device;
    struct pn_plan_spec spec = {
        .given = s->given, .n_given = s->n_given, .results = s->results, .n_results = s->n_results};
    for (int rows = PN_ROWS_TOKENS; rows < PN_ROWS_COUNT; rows++)
        spec.max_rows[rows] = l->bucket->max_tokens;
    stage->part = s->device;
    stage->given = pn_arena_array(arena, (size_t)s->n_given + 1, sizeof *stage->given);
    stage->results = pn_arena_array(arena, (size_t)s->n_results + 1, sizeof *stage->results);
    stage->inputs = pn_arena_array(arena, (size_t)s->n_given + 1, sizeof *stage->inputs);
    stage->outputs = pn_arena_array(arena, (size_t)s->n_results + 1, sizeof *stage->outputs);
    if (!stage->given || !stage->results || !stage->inputs || !stage->outputs)
        return pn_no_memory(err, "a plan");
    stage->n_given = s->n_given;
    stage->n_results = s->n_results;
    place_given(l, stage, s);
    place_results(l, stage, s);
    pantry_status status = pn_device_plan(device, &l->runner->model->graph, spec, &stage->plan, err);
    return status ? status : device->class->compile(device, stage->plan, &stage->program, err);
}

static void drop_stages(struct pn_runner *r, struct pn_bucket *b)
{
    for (int i = 0; i < b->n_stages; i++) {
        struct pn_device *device = r->parts[b->stages[i].part].device;
        device->class->program_free(device, b->stages[i].program);
        pn_plan_free(b->stages[i].plan);
    }
    pn_arena_free(&b->arena);
    b->n_stages = 0;
    memset(b->crossing, 0, sizeof b->crossing);
}

static pantry_status make_stages(struct pn_runner *r, struct layout *l, struct pantry_error *err)
{
    struct pn_bucket *b = l->bucket;
    struct pn_segment all = {.results = &l->result, .n_results = 1};
    const struct pn_segment *segments = l->cut ? l->cut->segments : &all;
    int n = l->cut ? l->cut->n_segments : 1;
    size_t n_places = (size_t)r->n_parts * r->model->graph.len;
    pantry_status status = PANTRY_OK;
    b->stages = pn_arena_array(&b->arena, (size_t)n, sizeof *b->stages);
    l->at = malloc((n_places + 1) * sizeof *l->at);
    if (!b->stages || !l->at)
        status = pn_no_memory(err, "a plan");
    for (size_t i = 0; i < n_places && !status; i++)
        l->at[i] = nowhere;
    while (b->n_stages < n && !status) {
        struct pn_stage *stage = &b->stages[b->n_stages++];
        status = make_stage(l, stage, &segments[b->n_stages - 1], err);
    }
    free(l->at);
    if (status)
        drop_stages(r, b);
    return status;
}

static pantry_status plan(struct pn_runner *r, enum pn_result result, struct pn_bucket *b, struct pantry_error *err)
{
    const struct pn_graph *g = &r->model->graph;
    pn_array wanted = r->model->results[result];
    pantry_status status = PANTRY_OK;
    if (r->n_parts > 1 && !r->cuts[result])
        status = pn_cut_new(g, &wanted, 1, r->device_of, &r->cuts[result], err);
    b->result = wanted;
    struct layout l = {.runner = r, .bucket = b, .cut = r->cuts[result], .result = wanted};
    return status ? status : make_stages(r, &l, err);
}

pantry_status pn_stages_for(struct pn_runner *r, enum pn_result result, int n_tokens, struct pn_bucket **out,
                            struct pantry_error *err)
{
    int i = 0;
    while (i < PN_N_BUCKETS && bucket_tokens[i] < n_tokens)
        i++;
    if (i == PN_N_BUCKETS)
        return pn_fail(err, PANTRY_INVALID, "the step is too long (found %d tokens, allowed %d)", n_tokens,
                       PN_MAX_STEP);
    struct pn_bucket *b = &r->buckets[result][i];
    pantry_status status = b->n_stages ? PANTRY_OK : plan(r, result, b, err);
    for (int part = 0; part < r->n_parts && !status; part++)
        status = take_scratch(r, b, part, n_tokens, err);
    *out = b;
    return status;
}

void pn_stages_free(struct pn_runner *r)
{
    for (int k = 0; k < PN_N_RESULTS; k++) {
        for (int i = 0; i < PN_N_BUCKETS; i++)
            drop_stages(r, &r->buckets[k][i]);
        pn_cut_free(r->cuts[k]);
    }
    for (int i = 0; i < r->n_parts; i++) {
        forget_scratch(r, i);
        r->parts[i].device->class->buffer_free(r->parts[i].device, &r->parts[i].scratch);
    }
    free(r->staging);
}

/* ---- running ---- */

/* Copies from one device's memory to another's, through the host if it can reach neither. */
static void move(struct pn_runner *r, int from, size_t from_at, int to, size_t at, size_t bytes)
{
    struct pn_part *a = &r->parts[from], *b = &r->parts[to];
    if (a->scratch.host) {
        b->device->class->write(b->device, &b->scratch, at, (const char *)a->scratch.host + from_at, bytes);
        return;
    }
    if (b->scratch.host) {
        a->device->class->read(a->device, &a->scratch, from_at, (char *)b->scratch.host + at, bytes);
        return;
    }
    for (size_t done = 0, n; done < bytes; done += n) {
        n = bytes - done < STAGING ? bytes - done : STAGING;
        a->device->class->read(a->device, &a->scratch, from_at + done, r->staging, n);
        b->device->class->write(b->device, &b->scratch, at + done, r->staging, n);
    }
}

/* Fetches the arrays that the stage reads, and sets its inputs and outputs. */
static void prepare(struct pn_runner *r, struct pn_stage *s, const struct pn_batch *batch)
{
    const struct pn_graph *g = &r->model->graph;
    uintptr_t base = (uintptr_t)r->parts[s->part].scratch.address;
    for (int i = 0; i < s->n_given; i++) {
        const struct pn_crossing *c = &s->given[i];
        int64_t n_rows = pn_batch_n_rows(batch, pn_node(g, c->array)->rows);
        if (c->from >= 0)
            move(r, c->from, c->from_at, s->part, c->at, array_bytes(g, c->array, n_rows));
        s->inputs[i] = (const void *)(base + c->at);
    }
    for (int i = 0; i < s->n_results; i++)
        s->outputs[i] = s->results[i].at == nowhere ? batch->results[0] : (void *)(base + s->results[i].at);
}

/* Copies the step's result to the caller, if it did not go there directly. */
static void fetch(struct pn_runner *r, const struct pn_stage *s, pn_array result, const struct pn_batch *batch)
{
    const struct pn_graph *g = &r->model->graph;
    struct pn_part *p = &r->parts[s->part];
    for (int i = 0; i < s->n_results; i++)
        if (s->results[i].array == result && s->results[i].at != nowhere)
            p->device->class->read(p->device, &p->scratch, s->results[i].at, batch->results[0],
                                   array_bytes(g, result, pn_batch_n_rows(batch, pn_node(g, result)->rows)));
}

static pantry_status run_stage(struct pn_runner *r, const struct pn_bucket *b, struct pn_stage *s,
                               const struct pn_batch *batch, struct pantry_error *err)
{
    struct pn_part *p = &r->parts[s->part];
    struct pn_batch own = *batch;
    struct pn_buffer scratch = p->scratch;
    scratch.address += b->crossing[s->part];
    scratch.host = scratch.host ? (char *)scratch.host + b->crossing[s->part] : NULL;
    scratch.size -= b->crossing[s->part];
    own.inputs = s->inputs;
    own.results = s->outputs;
    own.tables = pn_tables_base(&r->pool->tables, s->part);
    if (r->states)
        own.states = pn_state_base(r->states, s->part, &own.state_stride);
    if (p->turn)
        pthread_mutex_lock(p->turn);
    prepare(r, s, batch);
    pantry_status status = pn_device_run(p->device, s->program, &scratch, &own, err);
    if (p->turn)
        pthread_mutex_unlock(p->turn);
    return status;
}

pantry_status pn_stages_run(struct pn_runner *r, struct pn_bucket *b, const struct pn_batch *batch,
                            struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    b->in_use = true;
    for (int part = 0; part < r->n_parts; part++)
        touch_scratch(r, part);
    pn_tables_send(&r->pool->tables);
    for (int i = 0; i < b->n_stages && !status; i++) {
        status = run_stage(r, b, &b->stages[i], batch, err);
        if (!status)
            fetch(r, &b->stages[i], b->result, batch);
    }
    return status;
}
