/* Row operations against their formulas in double precision, on every device: adding, scaling, clamping, norms,
 * rotations, joins and look-ups; and rejected shapes and numbers, at the limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "op_run.h"

/* Two sequences, whose tokens are 0 .. 6 and 7 .. 11 of a batch; each case sets positions and kinds. */
enum { N_TOKENS = 12, N_FIRST = 7, MAX_WIDTH = 700 };

struct step {
    struct op_run o;
    int32_t ids[N_TOKENS], pos[N_TOKENS], kinds[N_TOKENS], rows[N_TOKENS];
    struct pn_batch_seq seqs[2];
    struct pn_batch b;
};

static void step_init(struct step *s, int width)
{
    static const int lengths[] = {N_FIRST, N_TOKENS - N_FIRST};
    memset(s, 0, sizeof *s);
    assert_true(width <= MAX_WIDTH);
    op_run_init(&s->o, 9000 + (uint64_t)width, width, lengths, 2, 0);
    for (int i = 0; i < N_TOKENS; i++) {
        s->ids[i] = s->rows[i] = i;
        s->pos[i] = i < N_FIRST ? i : i - N_FIRST;
    }
    s->seqs[0] = (struct pn_batch_seq){.start = 0, .n = N_FIRST, .n_context = 100};
    s->seqs[1] = (struct pn_batch_seq){
        .start = N_FIRST, .n = N_TOKENS - N_FIRST, .n_context = 101, .state_in = 1, .state_out = 1};
    s->b = (struct pn_batch){.n_tokens = N_TOKENS,
                             .ids = s->ids,
                             .pos = s->pos,
                             .kinds = s->kinds,
                             .n_seqs = 2,
                             .seqs = s->seqs,
                             .n_outputs = N_TOKENS,
                             .out_rows = s->rows};
}

static const float *input(const struct step *s, int token)
{
    return s->o.input + token * s->o.width;
}

/* Runs on every device, all tokens at once, and one by one on devices with a separate path for a single token. The
 * error of a value may be `limit` times its magnitude, or `limit`. */
static void compare(struct step *s, pn_array y, int n, const double *want, double limit, const char *what)
{
    struct pantry_error err = {0};
    const struct pn_node *node = pn_node(&s->o.graph, y);
    int n_rows = (int)pn_batch_n_rows(&s->b, node->rows);
    float *got = malloc((size_t)(N_TOKENS * n) * sizeof *got);
    assert_non_null(got);
    assert_int_equal(node->n1 * node->n2, n);
    void *const results[] = {got};
    s->b.results = results;
    for (int d = 0; d < op_n_devices; d++) {
        for (int i = 0; i < N_TOKENS * n; i++)
            got[i] = NAN;
        if (op_step(&s->o.graph, y, &op_devices[d], &s->b, &err))
            fail_msg("%s: %s", what, err.text);
        for (int i = 0; i < n_rows * n; i++)
            if (!(fabs((double)got[i] - want[i]) <= limit * fmax(1, fabs(want[i]))))
                fail_msg("%s on %s (%d threads), row %d, value %d: %.9g, not %.9g", what, op_devices[d].name,
                         op_devices[d].n_threads, i / n, i % n, (double)got[i], want[i]);
    }
    s->b.results = NULL;
    free(got);
}

/* The same, and also with some tokens of either sequence in separate steps. */
static void compare_each(struct step *s, pn_array y, int n, const double *want, double limit, const char *what)
{
    struct pn_batch whole = s->b;
    struct pantry_error err = {0};
    float got[MAX_WIDTH];
    compare(s, y, n, want, limit, what);
    for (int t = 0; t < N_TOKENS; t += 5) {
        struct pn_batch_seq seq = s->seqs[t >= N_FIRST];
        seq.start = 0;
        seq.n = 1;
        seq.past = t;
        struct pn_batch b = {.n_tokens = 1,
                             .ids = s->ids + t,
                             .pos = s->pos + t,
                             .kinds = s->kinds + t,
                             .n_seqs = 1,
                             .seqs = &seq,
                             .n_outputs = 1,
                             .out_rows = s->rows,
                             .results = (void *[]){got}};
        for (int d = 1; d < op_n_devices; d++) {
            if (op_step(&s->o.graph, y, &op_devices[d], &b, &err))
                fail_msg("%s: %s", what, err.text);
            for (int i = 0; i < n; i++)
                if (!(fabs((double)got[i] - want[t * n + i]) <= limit * fmax(1, fabs(want[t * n + i]))))
                    fail_msg("%s, token %d alone, value %d: %.9g, not %.9g", what, t, i, (double)got[i],
                             want[t * n + i]);
        }
    }
    s->b = whole;
}

/* ---- element by element ---- */

static void adds_and_multiplies(void **state)
{
    (void)state;
    enum { N1 = 3, N2 = 37, N = N1 * N2 };
    static double want[N_TOKENS * N];
    static const pn_type types[] = {PN_TYPE_F32, PN_TYPE_F16};
    for (int way = 0; way < 12; way++) {
        struct step s;
        float *w = NULL;
        bool multiply = way % 2;
        int form = way / 2 % 3; /* an array, one vector per head, one for all heads */
        step_init(&s, 2 * N);
        struct pn_graph *g = &s.o.graph;
        pn_array x = pn_reshape(g, pn_slice(g, s.o.x, 0, N), N1, N2), y;
        if (form == 0)
            y = pn_reshape(g, pn_slice(g, s.o.x, N, N), N1, N2);
        else
            y = op_run_weight(&s.o, types[way / 6], (const int64_t[]){1, 1, form == 1 ? N2 : N}, -2, 2, &w);
        for (int t = 0; t < N_TOKENS; t++)
            for (int i = 0; i < N; i++) {
                double a = (double)input(&s, t)[i], b = (double)(form == 0   ? input(&s, t)[N + i]
                                                                 : form == 1 ? w[i % N2]
                                                                             : w[i]);
                want[t * N + i] = multiply ? a * b : a + b;
            }
        compare_each(&s, multiply ? pn_mul(g, x, y) : pn_add(g, x, y), N, want, 1e-6, multiply ? "mul" : "add");
        free(w);
        op_run_free(&s.o);
    }
}

static void multiplies_heads(void **state)
{
    (void)state;
    enum { N1 = 4, N2 = 19, N = N1 * N2 };
    static double want[N_TOKENS * N];
    for (int flat = 0; flat < 2; flat++) {
        struct step s;
        step_init(&s, N + 2 * N1);
        struct pn_graph *g = &s.o.graph;
        pn_array x = pn_reshape(g, pn_slice(g, s.o.x, 0, N), N1, N2), by = pn_slice(g, s.o.x, N + 1, N1);
        if (!flat)
            by = pn_reshape(g, by, N1, 1);
        for (int t = 0; t < N_TOKENS; t++)
            for (int i = 0; i < N; i++)
                want[t * N + i] = (double)input(&s, t)[i] * (double)input(&s, t)[N + 1 + i / N2];
        compare_each(&s, pn_mul_heads(g, x, by), N, want, 1e-6, "mul_heads");
        op_run_free(&s.o);
    }
}

/* The lowest of equal ones; no NaN; -1 where there is nothing else. */
static void finds_the_largest(void **state)
{
    (void)state;
    enum { N = 300, HEADS = 3, EACH = N / HEADS };
    struct step s;
    double want[N_TOKENS * HEADS];
    step_init(&s, N);
    for (int t = 0; t < N_TOKENS; t++)
        for (int h = 0; h < HEADS; h++) {
            float *x = s.o.input + t * N + h * EACH;
            int at = (t * 37 + h * 11) % EACH;
            want[t * HEADS + h] = at;
            x[at] = t % 2 ? 50 : INFINITY;
            for (int i = at + 1; i < EACH && t % 3; i += 7)
                x[i] = x[at];
            for (int i = 0; i < EACH && t % 4 == 0; i++)
                x[i] = i == at ? x[i] : i % 2 ? -INFINITY : NAN;
            for (int i = 0; i < EACH && t == 5; i++)
                x[i] = NAN;
            if (t == 5)
                want[t * HEADS + h] = -1;
            for (int i = 0; i < EACH && t == 7; i++)
                x[i] = -INFINITY;
            if (t == 7)
                want[t * HEADS + h] = 0;
        }
    compare_each(&s, pn_argmax(&s.o.graph, pn_reshape(&s.o.graph, s.o.x, HEADS, EACH)), HEADS, want, 0, "argmax");
    op_run_free(&s.o);
}

static void scales_caps_and_clamps(void **state)
{
    (void)state;
    enum { N = 53 };
    static double want[N_TOKENS * N];
    for (int way = 0; way < 5; way++) {
        struct step s;
        step_init(&s, N);
        struct pn_graph *g = &s.o.graph;
        for (int i = 0; i < N_TOKENS * N; i++)
            s.o.input[i] *= 8;
        s.o.input[5] = -3; /* exactly at a limit */
        s.o.input[6] = 2.5f;
        pn_array y = way == 0   ? pn_scale(g, s.o.x, -1.75f, 0.5f)
                     : way == 1 ? pn_softcap(g, s.o.x, 2.5f)
                     : way == 2 ? pn_softcap(g, s.o.x, 30)
                     : way == 3 ? pn_clamp(g, s.o.x, -3, 2.5f)
                                : pn_clamp(g, s.o.x, 1, 1);
        for (int i = 0; i < N_TOKENS * N; i++) {
            double x = (double)s.o.input[i];
            want[i] = way == 0   ? x * -1.75 + 0.5
                      : way == 1 ? 2.5 * tanh(x / 2.5)
                      : way == 2 ? 30 * tanh(x / 30)
                      : way == 3 ? fmin(fmax(x, -3), 2.5)
                                 : 1;
        }
        compare_each(&s, y, N, want, 2e-6, "scale, soft cap, clamp");
        op_run_free(&s.o);
    }
}

/* Each function against its definition, at numbers on both sides of every branch. */
static double act_of(int fn, double x)
{
    const double pi = 3.14159265358979323846;
    switch (fn) {
    case PN_ACT_FN_SILU:
        return x / (1 + exp(-x));
    case PN_ACT_FN_GELU:
        return x * 0.5 * erfc(-x / sqrt(2));
    case PN_ACT_FN_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * pow(x, 3))));
    case PN_ACT_FN_GELU_QUICK:
        return x / (1 + exp(-1.702 * x));
    case PN_ACT_FN_RELU:
        return fmax(x, 0);
    case PN_ACT_FN_RELU2:
        return pow(fmax(x, 0), 2);
    case PN_ACT_FN_TANH:
        return (exp(2 * x) - 1) / (exp(2 * x) + 1);
    case PN_ACT_FN_SIGMOID:
        return 1 / (1 + exp(-x));
    case PN_ACT_FN_SOFTPLUS:
        return x > 100 ? x : log(1 + exp(x));
    default:
        return x > 0 ? x : exp(x) - 1;
    }
}

static void activates(void **state)
{
    (void)state;
    static const float at[] = {-40,   -12,   -6.5f, -3,    -2,     -1,   -0.7f, -0.6f, -0.3f, -0.05f, -1e-3f, 0,
                               1e-3f, 0.05f, 0.3f,  0.62f, 0.625f, 0.7f, 1,     2,     3,     5.5f,   9,      12,
                               20,    29,    30,    31,    40,     2.5f, 1.5f,  0.5f,  0.1f,  -0.1f,  -4,     4.1f};
    enum { N = sizeof at / sizeof *at };
    static double want[N_TOKENS * N];
    for (int fn = 0; fn < PN_ACT_FN_COUNT; fn++) {
        struct step s;
        step_init(&s, N);
        for (int i = 0; i < N_TOKENS * N; i++)
            want[i] = act_of(fn, (double)(s.o.input[i] = at[(i + i / N) % N]));
        compare_each(&s, pn_act(&s.o.graph, s.o.x, (enum pn_act_fn)fn), N, want, 1e-6, "act");
        for (int i = 0; i < N; i++)
            if (!(fabs((double)pn_act_reference((enum pn_act_fn)fn, at[i]) - act_of(fn, (double)at[i])) <=
                  1e-6 * fabs(act_of(fn, (double)at[i])) + 1e-9))
                fail_msg("function %d of %g is %g", fn, (double)at[i],
                         (double)pn_act_reference((enum pn_act_fn)fn, at[i]));
        op_run_free(&s.o);
    }
}

static void joins_rows(void **state)
{
    (void)state;
    enum { N1 = 3, A = 11, B = 6, N = N1 * (A + B) };
    static double want[N_TOKENS * N];
    for (int one = 0; one < 2; one++) {
        struct step s;
        step_init(&s, N1 * A + N1 * B);
        struct pn_graph *g = &s.o.graph;
        pn_array a = pn_reshape(g, pn_slice(g, s.o.x, 0, N1 * A), N1, A);
        pn_array b = one ? pn_slice(g, s.o.x, N1 * A, B) : pn_reshape(g, pn_slice(g, s.o.x, N1 * A, N1 * B), N1, B);
        for (int t = 0; t < N_TOKENS; t++)
            for (int h = 0; h < N1; h++)
                for (int i = 0; i < A + B; i++)
                    want[(t * N1 + h) * (A + B) + i] =
                        (double)input(&s, t)[i < A ? h * A + i : N1 * A + (one ? 0 : h * B) + i - A];
        compare_each(&s, pn_concat(g, a, b), N, want, 0, "concat");
        op_run_free(&s.o);
    }
}

/* ---- norms ---- */

/* Small values, so that epsilon matters; with a mean, so that centring does. */
static void norms(void **state)
{
    (void)state;
    enum { N1 = 2, N2 = 45, N = N1 * N2 };
    static double want[N_TOKENS * N];
    for (int way = 0; way < 24; way++) {
        struct step s;
        float *w = NULL, *b = NULL;
        bool centred = way % 2;
        int weight = way / 2 % 3, bias = way / 6 % 2 && centred ? 1 + way / 12 : 0; /* none, n2, n1 * n2 */
        float eps = way / 12 ? 1e-3f : 1e-6f;
        step_init(&s, N + 5);
        struct pn_graph *g = &s.o.graph;
        for (int i = 0; i < N_TOKENS * s.o.width; i++)
            s.o.input[i] = s.o.input[i] * 0.03f + 0.02f;
        pn_array x = pn_reshape(g, pn_slice(g, s.o.x, 2, N), N1, N2), a = PN_NONE, c = PN_NONE;
        if (weight)
            a = op_run_weight(&s.o, PN_TYPE_F32, (const int64_t[]){1, 1, weight == 1 ? N2 : N}, -2, 2, &w);
        if (bias)
            c = op_run_weight(&s.o, PN_TYPE_BF16, (const int64_t[]){1, 1, bias == 1 ? N2 : N}, -2, 2, &b);
        for (int t = 0; t < N_TOKENS; t++)
            for (int h = 0; h < N1; h++) {
                const float *v = input(&s, t) + 2 + h * N2;
                double mean = 0, squares = 0;
                for (int i = 0; i < N2 && centred; i++)
                    mean += (double)v[i] / N2;
                for (int i = 0; i < N2; i++)
                    squares += pow((double)v[i] - mean, 2) / N2;
                for (int i = 0; i < N2; i++)
                    want[(t * N1 + h) * N2 + i] = ((double)v[i] - mean) / sqrt(squares + (double)eps) *
                                                      (w ? (double)w[weight == 1 ? i : h * N2 + i] : 1) +
                                                  (b ? (double)b[bias == 1 ? i : h * N2 + i] : 0);
            }
        compare_each(&s, centred ? pn_layer_norm(g, x, a, c, eps) : pn_rms_norm(g, x, a, eps), N, want, 5e-6, "norm");
        free(w);
        free(b);
        op_run_free(&s.o);
    }
}

/* ---- positions ---- */

/* The long frequencies from n_short + 1 tokens on, for each sequence separately. */
static void rotates(void **state)
{
    (void)state;
    enum { N1 = 2, N2 = 24, N = N1 * N2 };
    static double want[N_TOKENS * N];
    static const int rotated[] = {24, 10, 2};
    for (int way = 0; way < 24; way++) {
        struct step s;
        int n_rot = rotated[way % 3], half = n_rot / 2, in_context = way / 12 ? 1000 : 0;
        bool pairs = way / 3 % 2, longer = way / 6 % 2;
        float freq[12], freq_long[12], magnitude = longer ? 1.25f : 1;
        step_init(&s, N + 4);
        struct pn_graph *g = &s.o.graph;
        for (int i = 0; i < half; i++) {
            freq[i] = powf(100, -(float)i / (float)half);
            freq_long[i] = freq[i] / (3 + (float)i);
        }
        for (int t = 0; t < N_TOKENS; t++)
            s.pos[t] += in_context;
        pn_array table = pn_rope_table(g, freq, longer ? freq_long : NULL, 100, n_rot, magnitude, NULL);
        pn_array y =
            pn_rope(g, pn_reshape(g, pn_slice(g, s.o.x, 4, N), N1, N2), table, pairs ? PN_ROPE_PAIRS : PN_ROPE_HALVES);
        for (int t = 0; t < N_TOKENS; t++)
            for (int h = 0; h < N1; h++) {
                const float *x = input(&s, t) + 4 + h * N2;
                double *out = want + (t * N1 + h) * N2;
                for (int i = 0; i < N2; i++)
                    out[i] = (double)x[i];
                for (int i = 0; i < half; i++) {
                    int a = pairs ? 2 * i : i, b = pairs ? 2 * i + 1 : half + i;
                    double f = (double)(longer && t >= N_FIRST ? freq_long[i] : freq[i]);
                    double angle = (double)((float)s.pos[t] * (float)f);
                    out[a] = (double)magnitude * ((double)x[a] * cos(angle) - (double)x[b] * sin(angle));
                    out[b] = (double)magnitude * ((double)x[a] * sin(angle) + (double)x[b] * cos(angle));
                }
            }
        compare_each(&s, y, N, want, 1e-6, "rope");
        for (int i = 0; i < half; i++) /* copied, so changing the original has no effect */
            freq[i] = freq_long[i] = NAN;
        compare(&s, y, N, want, 1e-6, "rope after freeing the frequencies");
        op_run_free(&s.o);
    }
}

/* Pairs rotate with the position of their section: one after another or interleaved, repeated, with four positions per
 * token, with three (the last section does not rotate), and with one. */
static void rotates_by_sections(void **state)
{
    (void)state;
    enum { N = 26, HALF = N / 2 };
    static const struct {
        struct pn_rope_split split;
        int of[HALF]; /* the section of each pair */
    } cases[] = {
        {{{2, 3, 1, 2}, false}, {0, 0, 1, 1, 1, 2, 3, 3, 0, 0, 1, 1, 1}},
        {{{6, 4, 3, 0}, false}, {0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2}},
        {{{3, 2, 1, 3}, true}, {0, 1, 2, 0, 1, 3, 0, 3, 3, 0, 1, 2, 0}},
        {{{4, 2, 2, 0}, true}, {0, 1, 2, 0, 1, 2, 0, 0, 0, 1, 2, 0, 1}},
        {{{0, 0, 0, 0}, true}, {0}},
    };
    static double want[N_TOKENS * N];
    static int32_t pos[4 * N_TOKENS];
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (int n_pos = 0; n_pos <= 4; n_pos++) {
            struct step s;
            float freq[HALF];
            step_init(&s, N);
            struct pn_graph *g = &s.o.graph;
            for (int i = 0; i < HALF; i++)
                freq[i] = powf(50, -(float)i / HALF);
            for (int i = 0; i < 4 * N_TOKENS; i++)
                pos[i] = (i * 7 + i / N_TOKENS * 5) % 31;
            s.b.pos = pos;
            s.b.n_pos = n_pos;
            pn_array table = pn_rope_table(g, freq, NULL, 0, N, 1, &cases[c].split);
            pn_array y = pn_rope(g, s.o.x, table, PN_ROPE_HALVES);
            for (int t = 0; t < N_TOKENS; t++)
                for (int i = 0; i < HALF; i++) {
                    const float *x = input(&s, t);
                    int section = cases[c].of[i];
                    int32_t p = n_pos <= 1        ? (section == 3 ? 0 : pos[t])
                                : section < n_pos ? pos[section * N_TOKENS + t]
                                                  : 0;
                    double angle = (double)((float)p * freq[i]);
                    want[t * N + i] = (double)x[i] * cos(angle) - (double)x[HALF + i] * sin(angle);
                    want[t * N + HALF + i] = (double)x[i] * sin(angle) + (double)x[HALF + i] * cos(angle);
                }
            compare(&s, y, N, want, 1e-6, "rope by sections");
            op_run_free(&s.o);
        }
}

static void scales_by_position(void **state)
{
    (void)state;
    enum { N = 2 * 9 };
    static double want[N_TOKENS * N];
    for (int way = 0; way < 4; way++) {
        struct step s;
        double floor_ = way % 2 ? 8 : 3, offset = way / 2 ? 1 : 0;
        step_init(&s, N);
        struct pn_graph *g = &s.o.graph;
        for (int t = 0; t < N_TOKENS; t++)
            s.pos[t] = t < 8 ? t + 1 : 8190 + t;
        pn_array y = pn_pos_scale(g, pn_reshape(g, s.o.x, 2, 9), 0.1f, (float)floor_, (float)offset);
        for (int t = 0; t < N_TOKENS; t++)
            for (int i = 0; i < N; i++)
                want[t * N + i] =
                    (double)input(&s, t)[i] * (1 + 0.1 * log(1 + floor(((double)s.pos[t] + offset) / floor_)));
        compare_each(&s, y, N, want, 1e-6, "pos_scale");
        op_run_free(&s.o);
    }
}

/* ---- looking up ---- */

/* The error of a device for a row past the end of a table. */
static void expect_error(struct step *s, pn_array y, const char *sentence)
{
    static float got[N_TOKENS * MAX_WIDTH];
    static void *const results[] = {got};
    s->b.results = results;
    for (int d = 0; d < op_n_devices; d++) {
        struct pantry_error err = {0};
        assert_int_equal(op_step(&s->o.graph, y, &op_devices[d], &s->b, &err), PANTRY_INVALID);
        assert_string_equal(err.text, sentence);
        assert_int_equal(err.status, PANTRY_INVALID);
    }
}

static void looks_up_rows(void **state)
{
    (void)state;
    enum { N = 33, ROWS = 15 };
    static double want[N_TOKENS * N];
    static const char *const sentences[3][2] = {
        {"token id -1 is not in the vocabulary of 15", "token id 15 is not in the vocabulary of 15"},
        {"position -1 is beyond the 15 that the model has learned",
         "position 15 is beyond the 15 that the model has learned"},
        {"token kind -1 is not one of 15", "token kind 15 is not one of 15"}};
    for (int way = 0; way < 6; way++) {
        struct step s;
        float *w;
        step_init(&s, N);
        struct pn_graph *g = &s.o.graph;
        pn_array table =
            op_run_weight(&s.o, way < 3 ? PN_TYPE_F32 : PN_TYPE_F16, (const int64_t[]){1, ROWS, N}, -1, 1, &w);
        int32_t *by = way % 3 == 0 ? s.ids : way % 3 == 1 ? s.pos : s.kinds;
        for (int t = 0; t < N_TOKENS; t++)
            by[t] = t * 4 % ROWS;
        pn_array y = way % 3 == 0   ? pn_embed(g, table)
                     : way % 3 == 1 ? pn_pos_embed(g, table)
                                    : pn_kind_embed(g, table);
        for (int i = 0; i < N_TOKENS * N; i++)
            want[i] = (double)w[by[i / N] * N + i % N];
        compare_each(&s, y, N, want, 0, "a table");
        by[11] = -1;
        expect_error(&s, y, sentences[way % 3][0]);
        by[11] = ROWS;
        expect_error(&s, y, sentences[way % 3][1]);
        free(w);
        op_run_free(&s.o);
    }
}

/* Given rows replace a token's row or are added to it; the others keep theirs, or are zeros without an operand. */
static void given_rows_stand_for_tokens(void **state)
{
    (void)state;
    enum { N = 12, OFFSET = 3, STRIDE = 20, GIVEN = 4 };
    static double want[N_TOKENS * N];
    float rows[GIVEN * STRIDE];
    int32_t given[N_TOKENS];
    for (int i = 0; i < GIVEN * STRIDE; i++)
        rows[i] = (float)(i % 37) - 11.5f;
    for (int way = 0; way < 4; way++) {
        struct step s;
        step_init(&s, N);
        pn_array y = pn_given(&s.o.graph, way < 2 ? s.o.x : PN_NONE, OFFSET, N, way == 1);
        for (int t = 0; t < N_TOKENS; t++)
            given[t] = t % 3 == 1 && way != 3 ? t % GIVEN : -1;
        s.b.given = way == 3 ? NULL : given;
        s.b.rows = rows;
        s.b.rows_stride = STRIDE;
        for (int i = 0; i < N_TOKENS * N; i++) {
            int row = given[i / N];
            double x = way < 2 ? (double)input(&s, i / N)[i % N] : 0;
            double r = row < 0 ? 0 : (double)rows[row * STRIDE + OFFSET + i % N];
            want[i] = row < 0 ? x : way == 1 ? x + r : r;
        }
        compare(&s, y, N, want, 1e-7, "given rows");
        op_run_free(&s.o);
    }
}

/* A table with one kind serves all tokens; without kinds, all tokens have the first one. */
static void kinds_have_defaults(void **state)
{
    (void)state;
    enum { N = 8 };
    static double want[N_TOKENS * N];
    for (int rows = 1; rows < 3; rows++) {
        struct step s;
        float *w;
        step_init(&s, N);
        pn_array y =
            pn_kind_embed(&s.o.graph, op_run_weight(&s.o, PN_TYPE_F32, (const int64_t[]){1, rows, N}, -1, 1, &w));
        for (int t = 0; t < N_TOKENS; t++)
            s.kinds[t] = 1;
        if (rows == 2)
            s.b.kinds = NULL;
        for (int i = 0; i < N_TOKENS * N; i++)
            want[i] = (double)w[i % N];
        compare(&s, y, N, want, 0, "kinds");
        free(w);
        op_run_free(&s.o);
    }
}

/* Chosen rows, and their mean over each sequence: of one output and of several, not starting at the first token. */
static void chooses_and_averages_rows(void **state)
{
    (void)state;
    enum { N1 = 2, N2 = 7, N = N1 * N2 };
    static const int32_t chosen[] = {1, 2, 6, 9};
    double want[4 * N], means[2 * N];
    struct step s;
    step_init(&s, N);
    struct pn_graph *g = &s.o.graph;
    s.b.out_rows = chosen;
    s.b.n_outputs = 4;
    pn_array x = pn_scale(g, pn_reshape(g, s.o.x, N1, N2), 2, 0), rows = pn_output_rows(g, x);
    for (int i = 0; i < 4 * N; i++)
        want[i] = 2 * (double)input(&s, chosen[i / N])[i % N];
    compare(&s, rows, N, want, 1e-7, "rows");
    for (int i = 0; i < N; i++) {
        means[i] = (want[i] + want[N + i] + want[2 * N + i]) / 3;
        means[N + i] = want[3 * N + i];
    }
    compare(&s, pn_mean_rows(g, rows), N, means, 1e-6, "means");
    static const int32_t borders[] = {6, 7, 11};
    s.b.out_rows = borders;
    s.b.n_outputs = 3;
    for (int i = 0; i < N; i++) {
        means[i] = 2 * (double)input(&s, 6)[i];
        means[N + i] = (double)input(&s, 7)[i] + (double)input(&s, 11)[i];
    }
    compare(&s, pn_mean_rows(g, rows), N, means, 1e-6, "means at the ends");
    float got[2 * N];
    s.b.results = (void *[]){got};
    s.b.n_outputs = 1; /* the second sequence has none */
    for (int d = 0; d < op_n_devices; d++) {
        struct pantry_error err = {0};
        assert_int_equal(op_step(g, pn_mean_rows(g, rows), &op_devices[d], &s.b, &err), PANTRY_INTERNAL);
        assert_string_equal(err.text, "sequence 1 has no outputs");
    }
    op_run_free(&s.o);
}

/* ---- rejected shapes and numbers ---- */

typedef pn_array make_fn(struct pn_graph *g, pn_array x, pn_array weight, int by);

static pn_array make_softcap(struct pn_graph *g, pn_array x, pn_array weight, int by)
{
    (void)weight;
    return pn_softcap(g, x, (float)by);
}

static pn_array make_clamp(struct pn_graph *g, pn_array x, pn_array weight, int by)
{
    (void)weight;
    return pn_clamp(g, x, 1, (float)by);
}

static pn_array make_floor(struct pn_graph *g, pn_array x, pn_array weight, int by)
{
    (void)weight;
    return pn_pos_scale(g, x, 1, (float)by, 0);
}

static pn_array make_norm(struct pn_graph *g, pn_array x, pn_array weight, int by)
{
    (void)weight;
    return pn_rms_norm(g, x, PN_NONE, (float)by);
}

static pn_array make_table(struct pn_graph *g, pn_array x, pn_array weight, int by)
{
    static const float freq[32] = {1};
    (void)x;
    (void)weight;
    return pn_rope_table(g, freq, NULL, 0, by, 1, NULL);
}

/* x is 24 wide. */
static pn_array make_rope(struct pn_graph *g, pn_array x, pn_array weight, int by)
{
    return pn_rope(g, x, make_table(g, x, weight, by), PN_ROPE_PAIRS);
}

static pn_array make_slice(struct pn_graph *g, pn_array x, pn_array weight, int by)
{
    (void)weight;
    return pn_slice(g, x, by, 5);
}

static pn_array make_narrow(struct pn_graph *g, pn_array x, pn_array weight, int by)
{
    (void)weight;
    return pn_slice(g, x, 0, by);
}

static pn_array make_reshape(struct pn_graph *g, pn_array x, pn_array weight, int by)
{
    (void)weight;
    return pn_reshape(g, x, by, 4);
}

static pn_array make_matmul(struct pn_graph *g, pn_array x, pn_array weight, int by)
{
    return pn_matmul(g, pn_slice(g, x, 0, by), weight);
}

static pn_array make_add(struct pn_graph *g, pn_array x, pn_array weight, int by)
{
    (void)weight;
    return pn_add(g, pn_slice(g, x, 0, 6), pn_slice(g, x, 6, by));
}

static pn_array make_heads(struct pn_graph *g, pn_array x, pn_array weight, int by)
{
    (void)weight;
    return pn_mul_heads(g, pn_reshape(g, x, 6, 4), pn_slice(g, x, 0, by));
}

static pn_array make_concat(struct pn_graph *g, pn_array x, pn_array weight, int by)
{
    (void)weight;
    return pn_concat(g, pn_reshape(g, x, 6, 4), pn_reshape(g, pn_slice(g, x, 0, 12), by, 12 / by));
}

static pn_array make_match(struct pn_graph *g, pn_array x, pn_array weight, int by)
{
    (void)weight;
    return pn_match(g, pn_reshape(g, pn_slice(g, x, 0, 12), 3, 4), pn_reshape(g, pn_slice(g, x, 12, 4 * by), by, 4));
}

/* These get a matrix (8, 12) as weight; a norm needs a vector. */
static pn_array make_weight_add(struct pn_graph *g, pn_array x, pn_array weight, int by)
{
    (void)by;
    return pn_add(g, pn_slice(g, x, 0, 12), weight);
}

static pn_array make_weight_norm(struct pn_graph *g, pn_array x, pn_array weight, int by)
{
    (void)by;
    return pn_rms_norm(g, pn_slice(g, x, 0, 12), weight, 0);
}

static pn_array make_of_weight(struct pn_graph *g, pn_array x, pn_array weight, int by)
{
    (void)x;
    return by == 0   ? pn_scale(g, weight, 1, 0)
           : by == 1 ? pn_rms_norm(g, weight, PN_NONE, 0)
           : by == 2 ? pn_slice(g, weight, 0, 1)
           : by == 3 ? pn_output_rows(g, weight)
                     : pn_matmul(g, x, x);
}

static pn_array make_mean_rows(struct pn_graph *g, pn_array x, pn_array weight, int by)
{
    (void)weight;
    return pn_mean_rows(g, by ? pn_output_rows(g, x) : x);
}

static void limits_of_rejected_numbers(void **state)
{
    (void)state;
    enum { NO = -1000 };
    static const struct {
        const char *name;
        make_fn *make;
        int good[2], bad[5]; /* NO: none */
        pantry_status status;
    } cases[] = {
        {"softcap", make_softcap, {1, 100}, {0, -1, NO, NO, NO}, PANTRY_FORMAT},
        {"clamp", make_clamp, {1, 2}, {0, NO, NO, NO, NO}, PANTRY_FORMAT},
        {"pos_scale", make_floor, {1, 8192}, {0, -1, NO, NO, NO}, PANTRY_FORMAT},
        {"norm", make_norm, {0, 1}, {2, -1, NO, NO, NO}, PANTRY_FORMAT},
        {"rope_table", make_table, {2, 64}, {0, 1, 3, -2, NO}, PANTRY_FORMAT},
        {"rope", make_rope, {2, 24}, {26, NO, NO, NO, NO}, PANTRY_FORMAT},
        {"slice", make_slice, {0, 19}, {20, -1, 100, NO, NO}, PANTRY_FORMAT},
        {"narrow", make_narrow, {1, 24}, {0, 25, -1, NO, NO}, PANTRY_FORMAT},
        {"reshape", make_reshape, {6, 6}, {5, 7, 1, NO, NO}, PANTRY_FORMAT},
        {"matmul", make_matmul, {12, 12}, {11, 13, 24, NO, NO}, PANTRY_FORMAT},
        {"add", make_add, {6, 6}, {5, 7, 1, 12, NO}, PANTRY_FORMAT},
        {"mul_heads", make_heads, {6, 6}, {5, 7, 1, 24, NO}, PANTRY_FORMAT},
        {"concat", make_concat, {1, 6}, {2, 3, 4, 12, NO}, PANTRY_FORMAT},
        {"match", make_match, {1, 3}, {2, NO, NO, NO, NO}, PANTRY_FORMAT},
        {"add a matrix", make_weight_add, {NO, NO}, {0, NO, NO, NO, NO}, PANTRY_FORMAT},
        {"norm by a matrix", make_weight_norm, {NO, NO}, {0, NO, NO, NO, NO}, PANTRY_FORMAT},
        {"weights as activations", make_of_weight, {NO, NO}, {0, 1, 2, 3, 4}, PANTRY_INTERNAL},
        {"mean_rows", make_mean_rows, {1, 1}, {0, NO, NO, NO, NO}, PANTRY_INTERNAL},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (int i = 0; i < 7; i++) {
            int by = i < 2 ? cases[c].good[i] : cases[c].bad[i - 2];
            struct step s;
            float *w;
            if (by == NO)
                continue;
            step_init(&s, 24);
            pn_array weight = op_run_weight(&s.o, PN_TYPE_F32, (const int64_t[]){1, 8, 12}, -1, 1, &w);
            pn_array y = cases[c].make(&s.o.graph, s.o.x, weight, by);
            pantry_status status = pn_graph_status(&s.o.graph, NULL);
            if ((i < 2) != (y != PN_NONE) || status != (i < 2 ? PANTRY_OK : cases[c].status))
                fail_msg("%s by %d: array %d, status %d", cases[c].name, by, y, (int)status);
            if (i >= 2) /* operations after an error add no nodes */
                assert_int_equal(pn_scale(&s.o.graph, s.o.x, 1, 0), PN_NONE);
            free(w);
            op_run_free(&s.o);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adds_and_multiplies),
        cmocka_unit_test(multiplies_heads),
        cmocka_unit_test(finds_the_largest),
        cmocka_unit_test(scales_caps_and_clamps),
        cmocka_unit_test(activates),
        cmocka_unit_test(joins_rows),
        cmocka_unit_test(norms),
        cmocka_unit_test(rotates),
        cmocka_unit_test(rotates_by_sections),
        cmocka_unit_test(scales_by_position),
        cmocka_unit_test(looks_up_rows),
        cmocka_unit_test(given_rows_stand_for_tokens),
        cmocka_unit_test(kinds_have_defaults),
        cmocka_unit_test(chooses_and_averages_rows),
        cmocka_unit_test(limits_of_rejected_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
