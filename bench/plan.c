/* The cost of planning and bookkeeping: a plan for a decoder of 1,000 layers, and a step of 128 sequences, whose
 * attention has to be divided into tasks.
 *
 *     cc -std=c17 -O2 -Iinclude -Isrc bench/plan.c build/libpantry.a -pthread -lm -o bench_plan && ./bench_plan */
#include "base/clock.h"
#include "device/device.h"
#include "tensor/op.h"

#include <stdio.h>
#include <stdlib.h>

enum { N = 512, HEADS = 8, HEAD_DIM = N / HEADS, MAX_SEQS = 128, PAST = 256, ROUNDS = 5 };

static float weights[N * N];
static struct pn_weight weight;

/* Layers of a decoder: 16 operations each. */
static pn_array decoder(struct pn_graph *g, int n_layers)
{
    pn_array w = pn_weight_leaf(g, &weight), x = pn_embed(g, w);
    struct pn_attention_params p = {
        .n_head_kv = HEADS, .dim_k = HEAD_DIM, .dim_v = HEAD_DIM, .scale = 0.125f, .causal = true};
    for (int i = 0; i < n_layers; i++) {
        pn_array h = pn_rms_norm(g, x, PN_NONE, 1e-5f), heads[3];
        for (int k = 0; k < 3; k++)
            heads[k] = pn_reshape(g, pn_matmul(g, h, w), HEADS, HEAD_DIM);
        pn_array y = pn_attention(g, heads[0], pn_cache_write(g, heads[1], heads[2], &p), PN_NONE, &p);
        x = pn_add(g, x, pn_matmul(g, y, w));
        h = pn_rms_norm(g, x, PN_NONE, 1e-5f);
        pn_array gate = pn_act(g, pn_matmul(g, h, w), PN_ACT_FN_SILU);
        x = pn_add(g, x, pn_matmul(g, pn_mul(g, gate, pn_matmul(g, h, w)), w));
    }
    return pn_matmul(g, x, w);
}

static void fail(const struct pantry_error *err)
{
    fprintf(stderr, "%s\n", err->text);
    exit(1);
}

static struct pn_plan *plan(const struct pn_device *d, const struct pn_graph *g, pn_array result, int n)
{
    struct pantry_error err;
    struct pn_plan *out = NULL;
    struct pn_plan_spec spec = {.results = &result, .n_results = 1, .max_rows = {0, n, n, n, n}};
    if (pn_graph_status(g, &err) || pn_device_plan(d, g, spec, &out, &err))
        fail(&err);
    return out;
}

static void measure_planning(const struct pn_device *d, int n_layers)
{
    struct pn_graph g;
    pn_graph_init(&g);
    pn_array result = decoder(&g, n_layers);
    uint64_t best = UINT64_MAX, work = 0;
    int n_phases = 0;
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t start = pn_clock_ns();
        struct pn_plan *p = plan(d, &g, result, 1);
        uint64_t time = pn_clock_ns() - start;
        best = time < best ? time : best;
        work = p->work;
        n_phases = p->n_phases;
        pn_plan_free(p);
    }
    printf("planning %5d layers: %7zu nodes, %5d phases, %7llu visits, %8.3f ms\n", n_layers, g.len, n_phases,
           (unsigned long long)work, (double)best / 1e6);
    pn_graph_free(&g);
}

/* One layer, decoding one token of each sequence: n_seqs times the work of one. */
static void measure_step(struct pn_device *d, int n_seqs)
{
    static int32_t ids[MAX_SEQS], pos[MAX_SEQS], pages[MAX_SEQS][PAST / PN_PAGE_TOKENS + 1];
    static struct pn_batch_seq seqs[MAX_SEQS];
    static float out[MAX_SEQS * N];
    enum { N_PAGES = MAX_SEQS * (PAST / PN_PAGE_TOKENS + 1) };
    struct pantry_error err;
    struct pn_graph g;
    struct pn_program *program;
    struct pn_buffer scratch = {0};
    struct pn_cache cache = {.type = PN_TYPE_F32, .n_head = HEADS, .dim_k = HEAD_DIM, .dim_v = HEAD_DIM};
    cache.k_row = cache.v_row = HEAD_DIM * sizeof(float);
    cache.k_page = cache.v_page = (size_t)HEADS * PN_PAGE_TOKENS * cache.k_row;
    cache.k = calloc(N_PAGES, cache.k_page);
    cache.v = calloc(N_PAGES, cache.v_page);
    pn_graph_init(&g);
    struct pn_plan *p = plan(d, &g, decoder(&g, 1), MAX_SEQS);
    if (!cache.k || !cache.v || d->class->compile(d, p, &program, &err) ||
        pn_scratch_fit(&scratch, d, d->class->scratch_bytes(program), &err))
        fail(&err);
    for (int i = 0; i < n_seqs; i++) {
        for (int j = 0; j <= PAST / PN_PAGE_TOKENS; j++)
            pages[i][j] = i * (PAST / PN_PAGE_TOKENS + 1) + j;
        seqs[i] = (struct pn_batch_seq){.start = i, .n = 1, .past = PAST, .pages = (int32_t)(pages[i] - pages[0])};
    }
    struct pn_batch b = {.n_tokens = n_seqs,
                         .ids = ids,
                         .pos = pos,
                         .n_seqs = n_seqs,
                         .seqs = seqs,
                         .tables = pages[0],
                         .caches = &cache,
                         .results = (void *[]){out}};
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < 20 * ROUNDS; i++) {
        if (pn_device_run(d, program, &scratch, &b, &err))
            fail(&err);
        best = d->class->elapsed(d) < best ? d->class->elapsed(d) : best;
    }
    printf("one layer, %3d sequences of %d tokens: %8.1f us, %6.2f us per sequence\n", n_seqs, PAST + 1,
           (double)best / 1e3, (double)best / 1e3 / n_seqs);
    d->class->program_free(d, program);
    d->class->buffer_free(d, &scratch);
    pn_plan_free(p);
    pn_graph_free(&g);
    free(cache.k);
    free(cache.v);
}

int main(void)
{
    struct pantry_error err;
    struct pn_device *d;
    weight = pn_weight_plain("weight", PN_TYPE_F32, 1, N, N, weights);
    if (pn_device_open("cpu", &(struct pn_device_options){1, NULL}, &d, &err))
        fail(&err);
    for (int n = 10; n <= 1000; n *= 10)
        measure_planning(d, n);
    for (int n = 8; n <= MAX_SEQS; n *= 4)
        measure_step(d, n);
    pn_device_close(d);
    return 0;
}
