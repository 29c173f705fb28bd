/* Optimizers and schedules against numbers that mlx.optimizers 0.32.4 gave on a processor, and errors of their texts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "train/optimizer.h"
#include "train/schedule.h"

enum { N_STEPS = 3, MOST = 12 };

static const float first[MOST] = {1, -2, 0.5f, 3, 0, -1, 0.25f, -0.75f, 2, 1.5f, -0.5f, 0.125f};

/* After three updates at a rate of 0.1, with gradients that grow. n_mat 0: a vector. */
static const struct {
    enum pn_optimizer_kind kind;
    const char *config;
    int n_mat, rows, cols;
    float want[MOST];
} updates[] = {
    {PN_OPTIMIZER_SGD,
     "momentum=0.9 weight_decay=0.1",
     1,
     2,
     3,
     {1.18358397f, -1.78860557f, 0.433289498f, 2.65518451f, -0.317005038f, -1.40043664f}},
    {PN_OPTIMIZER_SGD,
     "momentum=0.8 nesterov=true",
     1,
     2,
     3,
     {1.29920006f, -1.88060009f, 0.439599991f, 2.75979996f, -0.420000017f, -1.59979999f}},
    {PN_OPTIMIZER_SGD,
     "momentum=0.8 dampening=0.5",
     1,
     2,
     3,
     {1.11199999f, -1.95349991f, 0.481000006f, 2.91549993f, -0.150000006f, -1.2155f}},
    {PN_OPTIMIZER_ADAM,
     "betas=0.8:0.95 eps=1e-4 bias_correction=true",
     1,
     2,
     3,
     {1.29352212f, -1.72462285f, 0.335483015f, 2.69948721f, -0.301268667f, -1.30116904f}},
    {PN_OPTIMIZER_ADAMW,
     "weight_decay=0.3",
     1,
     2,
     3,
     {2.09412408f, -0.718517065f, -0.260565847f, 1.53869843f, -1.20618153f, -2.11974072f}},
    {PN_OPTIMIZER_MUON,
     "",
     1,
     2,
     3,
     {1.27309382f, -1.91779399f, 0.347833663f, 2.97311544f, -0.106016442f, -1.19658434f}},
    {PN_OPTIMIZER_MUON, "", 1, 3, 2, {1.229038f, -2.04702401f, 0.575151265f, 2.84687495f, -0.111775033f, -1.21212518f}},
    {PN_OPTIMIZER_MUON,
     "",
     0,
     1,
     6,
     {1.01747739f, -1.99188554f, 0.496411055f, 2.98470783f, -0.0246552266f, -1.03486919f}},
    {PN_OPTIMIZER_MUON,
     "",
     2,
     2,
     3,
     {1.15224767f, -1.89698887f, 0.540600359f, 2.9769392f, -0.0726815984f, -1.12660825f, 0.173417881f, -0.831797421f,
      1.91296566f, 1.40958071f, -0.5950647f, 0.0245632399f}},
    {PN_OPTIMIZER_MUON,
     "momentum=0.8 nesterov=false ns_steps=3 weight_decay=0",
     1,
     2,
     3,
     {1.28379846f, -1.9264791f, 0.363243431f, 2.98277116f, -0.104937136f, -1.19264567f}},
    {PN_OPTIMIZER_MUON,
     "momentum=0.8 nesterov=false ns_steps=3 weight_decay=0",
     1,
     3,
     2,
     {1.23423064f, -2.05926204f, 0.570876479f, 2.86395764f, -0.0924776196f, -1.21282315f}},
    {PN_OPTIMIZER_MUON,
     "momentum=0.8 nesterov=false ns_steps=3 weight_decay=0",
     0,
     1,
     6,
     {1.04480004f, -1.98140001f, 0.492399991f, 2.96619987f, -0.0600000024f, -1.0862f}},
    {PN_OPTIMIZER_MUON,
     "momentum=0.8 nesterov=false ns_steps=3 weight_decay=0",
     2,
     2,
     3,
     {1.15470588f, -1.9018662f, 0.541561842f, 2.98498988f, -0.0715822428f, -1.12815428f, 0.175843492f, -0.828719795f,
      1.91671693f, 1.4121536f, -0.59240967f, 0.0280270185f}},
    {PN_OPTIMIZER_ADAFACTOR,
     "",
     1,
     2,
     3,
     {1.0765897f, -1.97432041f, 0.485904455f, 2.96712494f, -0.0514930449f, -1.05373907f}},
    {PN_OPTIMIZER_ADAFACTOR,
     "",
     1,
     3,
     2,
     {1.06000829f, -1.9821682f, 0.479859889f, 2.93541431f, -0.0450201854f, -1.05196023f}},
    {PN_OPTIMIZER_ADAFACTOR,
     "",
     0,
     1,
     6,
     {1.04109621f, -1.9677918f, 0.4586685f, 2.94894528f, -0.049160257f, -1.04831946f}},
    {PN_OPTIMIZER_ADAFACTOR,
     "",
     2,
     2,
     3,
     {1.06590068f, -1.97775769f, 0.488039196f, 2.97183132f, -0.0442344397f, -1.04619992f, 0.211334378f, -0.790797174f,
      1.95763803f, 1.45830762f, -0.540667236f, 0.0851412937f}},
    {PN_OPTIMIZER_ADAFACTOR,
     "relative_step=false scale_parameter=false beta_1=0.7 weight_decay=0.1 clip_threshold=0.5 decay_rate=-0.5",
     1,
     2,
     3,
     {1.09181011f, -1.89564574f, 0.468616813f, 2.86484241f, -0.0749344379f, -1.04962981f}},
    {PN_OPTIMIZER_ADAFACTOR,
     "relative_step=false scale_parameter=false beta_1=0.7 weight_decay=0.1 clip_threshold=0.5 decay_rate=-0.5",
     1,
     3,
     2,
     {1.06851375f, -1.90870094f, 0.461984128f, 2.81506109f, -0.0672773719f, -1.04920077f}},
    {PN_OPTIMIZER_ADAFACTOR,
     "relative_step=false scale_parameter=false beta_1=0.7 weight_decay=0.1 clip_threshold=0.5 decay_rate=-0.5",
     0,
     1,
     6,
     {1.04136169f, -1.87894928f, 0.436942428f, 2.8316226f, -0.0778289288f, -1.04747343f}},
    {PN_OPTIMIZER_ADAFACTOR,
     "relative_step=false scale_parameter=false beta_1=0.7 weight_decay=0.1 clip_threshold=0.5 decay_rate=-0.5",
     2,
     2,
     3,
     {1.0939461f, -1.89476514f, 0.468424499f, 2.86408997f, -0.0762325749f, -1.05102503f, 0.175055116f, -0.799233019f,
      1.86615872f, 1.38207507f, -0.556800783f, 0.0509964004f}},
};

static float gradient(int i, int step)
{
    return (float)((double)(i - 2) * 0.25 + (double)step * 0.1);
}

static struct pn_optimizer optimizer(enum pn_optimizer_kind kind, const char *config)
{
    struct pn_optimizer o;
    struct pantry_error err = {0};
    if (pn_optimizer_read(kind, config, &o, &err))
        fail_msg("%s", err.text);
    return o;
}

static void ready(struct pn_train_params *p, const struct pn_optimizer *o)
{
    struct pantry_error err = {0};
    assert_int_equal(pn_train_params_sort(p, &err), PANTRY_OK);
    assert_int_equal(pn_train_params_ready(p, pn_optimizer_keeps(o), &err), PANTRY_OK);
}

static void expect(const char *config, const float *values, const float *want, int n)
{
    for (int i = 0; i < n; i++)
        if (!(fabsf(values[i] - want[i]) <= 3e-5f * (1 + fabsf(want[i]))))
            fail_msg("%s: value %d is %.9g, not %.9g", config, i, (double)values[i], (double)want[i]);
}

static void updates_equal_mlx(void **state)
{
    (void)state;
    for (size_t u = 0; u < sizeof updates / sizeof *updates; u++) {
        struct pantry_error err = {0};
        struct pn_train_params p = {0};
        float values[MOST];
        int n_mat = updates[u].n_mat ? updates[u].n_mat : 1, n = n_mat * updates[u].rows * updates[u].cols;
        struct pn_optimizer o = optimizer(updates[u].kind, updates[u].config);
        const struct pn_weight w = pn_weight_plain("w", PN_TYPE_F32, n_mat, updates[u].rows, updates[u].cols, values);
        memcpy(values, first, sizeof values);
        assert_int_equal(
            pn_train_params_add(&p, "w", &w, (struct pn_train_form){.vector = updates[u].n_mat == 0}, &err), PANTRY_OK);
        ready(&p, &o);
        for (int step = 0; step < N_STEPS; step++) {
            for (int i = 0; i < n; i++)
                p.data[0].grad[i] = gradient(i, step);
            assert_int_equal(pn_optimizer_step(&o, &p, 0.1f, step + 1, &err), PANTRY_OK);
        }
        expect(updates[u].config, values, updates[u].want, n);
        pn_train_params_free(&p);
    }
}

/* Rows in several blocks, and the matrices of a stack, update as if they were in one. */
static void blocks_are_one_matrix(void **state)
{
    (void)state;
    static const enum pn_optimizer_kind kinds[] = {PN_OPTIMIZER_MUON, PN_OPTIMIZER_ADAFACTOR};
    for (int k = 0; k < 2; k++)
        for (int stack = 0; stack < 2; stack++) {
            struct pantry_error err = {0};
            struct pn_train_params p = {0};
            struct pn_optimizer o = optimizer(kinds[k], NULL);
            float block[2][8] = {{0}}, all[MOST];
            const float *want = NULL;
            int n = stack ? 12 : 6, half = n / 2;
            for (int i = 0; i < n; i++)
                block[i / half][i % half] = first[i];
            const void *const mats[] = {block[0], block[1]};
            for (int b = 0; b < (stack ? 1 : 2); b++) {
                struct pn_weight w = pn_weight_plain("w", PN_TYPE_F32, stack ? 2 : 1, stack ? 2 : 1, 3, block[b]);
                if (stack) {
                    w.plane[0].data = NULL;
                    w.mats = mats;
                }
                assert_int_equal(pn_train_params_add(&p, "w", &w, (struct pn_train_form){.joins = b > 0}, &err),
                                 PANTRY_OK);
            }
            assert_int_equal(p.len, 2);
            assert_int_equal(p.groups.len, 1);
            ready(&p, &o);
            for (int step = 0; step < N_STEPS; step++) {
                for (int i = 0; i < n; i++)
                    p.data[i / half].grad[i % half] = gradient(i, step);
                assert_int_equal(pn_optimizer_step(&o, &p, 0.1f, step + 1, &err), PANTRY_OK);
            }
            for (size_t u = 0; u < sizeof updates / sizeof *updates; u++)
                if (updates[u].kind == kinds[k] && !*updates[u].config && updates[u].cols == 3 &&
                    updates[u].n_mat == (stack ? 2 : 1) && updates[u].rows == 2)
                    want = updates[u].want;
            for (int i = 0; i < n; i++)
                all[i] = block[i / half][i % half];
            assert_non_null(want);
            expect("blocks", all, want, n);
            pn_train_params_free(&p);
        }
}

/* Updates 0, 1, 3, 4, 5, 6, 9 and 30. */
static const struct {
    const char *text;
    double want[8];
} schedules[] = {
    {"cosine_decay 0.002 10 0.0001 warmup=4 warmup_init=1e-05",
     {9.99999975e-06, 0.000507500023, 0.00150250003, 0.00200000009, 0.00200000009, 0.00195350358, 0.00134356611,
      9.99999975e-05}},
    {"step_decay 0.05 0.5 3",
     {0.0500000007, 0.0500000007, 0.0250000004, 0.0250000004, 0.0250000004, 0.0125000002, 0.00625000009,
      4.88281257e-05}},
    {"exponential_decay 0.02 0.9",
     {0.0199999996, 0.0179999992, 0.0145799983, 0.0131219979, 0.011809798, 0.0106288176, 0.00774840778,
      0.000847822463}},
    {"linear_schedule 0.1 0.01 8 warmup=2",
     {0, 0.0500000007, 0.100000001, 0.0887500048, 0.0775000006, 0.0662499964, 0.0324999988, 0.00999999791}},
    {"cosine_decay 0.01 5", {0.00999999978, 0.00904508494, 0.00345491455, 0.000954914954, 0, 0, 0, 0}},
};

static void schedules_equal_mlx(void **state)
{
    (void)state;
    static const int at[8] = {0, 1, 3, 4, 5, 6, 9, 30};
    for (size_t i = 0; i < sizeof schedules / sizeof *schedules; i++) {
        struct pn_schedule s;
        struct pantry_error err = {0};
        if (pn_schedule_read(schedules[i].text, &s, &err))
            fail_msg("%s", err.text);
        for (int j = 0; j < 8; j++) {
            double rate = (double)pn_schedule_rate(&s, at[j], 100);
            if (!(fabs(rate - schedules[i].want[j]) <= 1e-6 * schedules[i].want[j] + 1e-12))
                fail_msg("%s: update %d has %g", schedules[i].text, at[j], rate);
        }
    }
}

/* pantry's own, which know the number of updates. */
static void own_schedules(void **state)
{
    (void)state;
    struct pn_schedule s = {.kind = PN_SCHEDULE_CONSTANT, .number = {2, 0}};
    assert_true(pn_schedule_rate(&s, 9, 10) == 2);
    s.warmup = 3;
    assert_true(pn_schedule_rate(&s, 0, 10) == 0.5f);
    s = (struct pn_schedule){.kind = PN_SCHEDULE_LINEAR, .number = {2, 1}};
    assert_true(fabsf(pn_schedule_rate(&s, 5, 10) - 1.5f) < 1e-6f);
    s = (struct pn_schedule){.kind = PN_SCHEDULE_COSINE, .number = {2, 0}};
    assert_true(fabsf(pn_schedule_rate(&s, 5, 10) - 1) < 1e-6f);
}

static void bad_texts_are_named(void **state)
{
    (void)state;
    static const struct {
        int kind; /* of an optimizer; -1: a schedule */
        const char *text, *wanted;
    } bad[] = {
        {PN_OPTIMIZER_ADAM, "weight_decay=0.1", "adam has no setting \"weight_decay\""},
        {PN_OPTIMIZER_ADAMW, "betas=0.9", "betas is \"0.9\" (allowed: two numbers"},
        {PN_OPTIMIZER_ADAMW, "betas=0.9:1", "allowed: two numbers"},
        {PN_OPTIMIZER_ADAMW, "eps", "no setting \"eps\""},
        {PN_OPTIMIZER_ADAMW, "eps=x", "eps is \"x\""},
        {PN_OPTIMIZER_ADAMW, "bias_correction=1", "allowed: true, false"},
        {PN_OPTIMIZER_ADAMW, "adamw.eps=-1", "eps is \"-1\""},
        {PN_OPTIMIZER_SGD, "nesterov=true", "nesterov needs a momentum"},
        {-1, "", "needs 2 numbers"},
        {-1, "cosine_decay 1", "needs 2 numbers, found 1"},
        {-1, "cosine_decay 1 0", "over 0 updates"},
        {-1, "cosine_decay 1 2 3 4", "cannot take \"4\""},
        {-1, "cosine_decay 1 x", "cannot take \"x\""},
        {-1, "cosine 1 2", "unknown schedule \"cosine\""},
        {-1, "cosine_decay 1 2 warmup=1.5", "warmup is \"1.5\""},
        {-1, "cosine_decay 1 2 speed=1", "unknown name \"speed\""},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct pantry_error err = {0};
        struct pn_optimizer o;
        struct pn_schedule s;
        pantry_status status = bad[i].kind < 0
                                   ? pn_schedule_read(bad[i].text, &s, &err)
                                   : pn_optimizer_read((enum pn_optimizer_kind)bad[i].kind, bad[i].text, &o, &err);
        assert_int_equal(status, PANTRY_INVALID);
        if (!strstr(err.text, bad[i].wanted))
            fail_msg("%s: %s", bad[i].text, err.text);
    }
    assert_true(optimizer(PN_OPTIMIZER_SGD, "adamw.eps=1 sgd.momentum=0.5").momentum == 0.5);
}

static void clips(void **state)
{
    (void)state;
    float values[2] = {0};
    const struct pn_weight w = pn_weight_plain("w", PN_TYPE_F32, 1, 1, 2, values);
    struct pn_optimizer o = optimizer(PN_OPTIMIZER_SGD, NULL);
    struct pn_train_params p = {0};
    struct pantry_error err = {0};
    assert_int_equal(pn_train_params_add(&p, "w", &w, (struct pn_train_form){0}, &err), PANTRY_OK);
    ready(&p, &o);
    p.data[0].grad[0] = 3;
    p.data[0].grad[1] = 4;
    assert_true(fabs(pn_optimizer_clip(&p, 0) - 5) < 1e-6 && p.data[0].grad[1] == 4);
    assert_true(fabs(pn_optimizer_clip(&p, 1) - 5) < 1e-6 && fabsf(p.data[0].grad[1] - 0.8f) < 1e-6f);
    pn_train_params_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(updates_equal_mlx),   cmocka_unit_test(blocks_are_one_matrix),
        cmocka_unit_test(schedules_equal_mlx), cmocka_unit_test(own_schedules),
        cmocka_unit_test(bad_texts_are_named), cmocka_unit_test(clips),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
