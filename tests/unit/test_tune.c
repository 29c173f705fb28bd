/* Training a tiny model: steps with and without checkpoints, dropout, every optimizer; adapters in other formats. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/random.h"
#include "folder.h"
#include "model/hf/hf.h"
#include "tiny_model.h"
#include "train/optimizer.h"
#include "train/trainer.h"

enum { ROWS = 2, LENGTH = 20, STEPS = 4 };

static const char *model_path;

static int set_up(void **state)
{
    (void)state;
    model_path = tiny_model("llama", GW_F32, "tuned.gguf");
    return make_folder("pantry-tune");
}

static int tear_down(void **state)
{
    (void)state;
    return remove_folder();
}

static struct pn_adapter *new_adapter(struct pn_weights **weights, bool dora)
{
    struct pantry_error err = {0};
    struct pn_adapter *a = NULL;
    const struct pn_adapter_spec spec = {.rank = 3, .n_layers = 2, .scale = 4, .dora = dora, .seed = 5};
    if (pn_model_open(model_path, weights, &err) || pn_adapter_new_trained(&spec, *weights, &a, &err))
        fail_msg("%s", err.text);
    return a;
}

struct course {
    float losses[STEPS];
    uint64_t bytes;
    struct pn_train_params *params;
};

/* A few updates on made-up rows. */
static void train(enum pn_optimizer_kind kind, bool dora, float dropout, bool checkpoints, struct course *out)
{
    struct pantry_error err = {0};
    struct pn_weights *weights;
    struct pn_model *model = NULL;
    struct pn_device *device = NULL;
    struct pn_trainer *t = NULL;
    struct pn_optimizer o;
    struct pn_train_batch batch = {0};
    int32_t ids[ROWS][LENGTH];
    struct pn_train_row rows[ROWS];
    const struct pn_train_data data = {.data = rows, .len = ROWS};
    const size_t order[ROWS] = {0, 1};
    struct pn_adapter *a = new_adapter(&weights, dora);
    a->dropout = dropout;
    for (int r = 0; r < ROWS; r++) {
        for (int i = 0; i < LENGTH; i++)
            ids[r][i] = (int32_t)(pn_random_at(3, (uint64_t)(r * LENGTH + i)) % TINY_VOCAB);
        rows[r] = (struct pn_train_row){ids[r], LENGTH - 3 * r, 0, r + 1};
    }
    if (pn_optimizer_read(kind, NULL, &o, &err) || pn_model_new_trained(weights, a, &model, &err) ||
        pn_device_open("cpu", &(struct pn_device_options){.n_threads = 2}, &device, &err) ||
        pn_trainer_new(model, device, ROWS, LENGTH, pn_optimizer_keeps(&o), checkpoints, &t, &err) ||
        pn_train_batch_new(ROWS, LENGTH, &batch, &err))
        fail_msg("%s", err.text);
    pn_train_batch_fill(&batch, &data, order, 0, ROWS);
    struct pn_train_params *p = pn_trainer_params(t);
    for (int step = 0; step < STEPS; step++) {
        double sum;
        if (pn_trainer_step(t, &batch, true, (uint64_t)step, &sum, &err) ||
            pn_optimizer_step(&o, p, 0.02f, step + 1, &err))
            fail_msg("%s", err.text);
        out->losses[step] = (float)(sum / batch.n_outputs);
        for (size_t i = 0; i < p->len; i++)
            memset(p->data[i].grad, 0, p->data[i].n * sizeof(float));
    }
    out->bytes = pn_trainer_bytes(t);
    pn_train_batch_free(&batch);
    pn_trainer_free(t);
    pn_device_close(device);
}

static void every_optimizer_learns(void **state)
{
    (void)state;
    for (int o = 0; o < PN_OPTIMIZER_COUNT; o++)
        for (int dora = 0; dora < 2; dora++) {
            struct course c;
            train((enum pn_optimizer_kind)o, dora, 0, false, &c);
            if (!(c.losses[STEPS - 1] < c.losses[0]))
                fail_msg("optimizer %d: the loss goes from %g to %g", o, (double)c.losses[0],
                         (double)c.losses[STEPS - 1]);
        }
}

static void checkpoints_change_no_bit(void **state)
{
    (void)state;
    for (int dora = 0; dora < 2; dora++) {
        struct course kept, again, whole;
        train(PN_OPTIMIZER_ADAMW, dora, 0.3f, false, &kept);
        train(PN_OPTIMIZER_ADAMW, dora, 0.3f, true, &again);
        train(PN_OPTIMIZER_ADAMW, dora, 0, true, &whole);
        assert_memory_equal(kept.losses, again.losses, sizeof kept.losses);
        assert_true(again.bytes < kept.bytes);
        assert_memory_not_equal(kept.losses, whole.losses, sizeof kept.losses);
    }
}

/* ---- other formats ---- */

static void fill(const struct pn_weight *w, uint64_t seed)
{
    float *values = (float *)(uintptr_t)pn_weight_floats(w, 0, 0);
    for (int64_t i = 0; i < w->n_mat * w->n_rows * w->n_cols; i++)
        values[i] = 2 * pn_random_unit(pn_random_at(seed, (uint64_t)i)) - 1;
}

/* The changes of an adapter that was read, which has the scale in B, and of the one that was written. */
static void expect_same(const struct pn_adapter *read, const struct pn_adapter *written)
{
    assert_int_equal(read->pairs.len, written->pairs.len);
    for (size_t i = 0; i < written->pairs.len; i++) {
        const struct pn_adapter_pair *p = &written->pairs.data[i], *q = pn_adapter_find(read, p->name);
        assert_non_null(q);
        for (int64_t j = 0; j < p->a->n_rows * p->a->n_cols; j++)
            assert_true(pn_weight_floats(q->a, 0, 0)[j] == pn_weight_floats(p->a, 0, 0)[j]);
        for (int64_t j = 0; j < p->b->n_rows * p->b->n_cols; j++) {
            float want = p->scale * pn_weight_floats(p->b, 0, 0)[j];
            assert_true(fabsf(pn_weight_floats(q->b, 0, 0)[j] - want) <= 1e-6f * fabsf(want));
        }
        assert_true(!p->magnitude == !q->magnitude);
        for (int64_t j = 0; p->magnitude && j < p->b->n_rows; j++)
            assert_true(q->magnitude[j] == p->magnitude[j]);
    }
}

static void exports(void **state)
{
    (void)state;
    for (int round = 0; round < 3; round++) { /* LoRA, LoRA with several scales, DoRA */
        struct pantry_error err = {0};
        struct pn_weights *weights;
        struct pn_adapter *a = new_adapter(&weights, round == 2), *back;
        for (size_t i = 0; i < a->pairs.len; i++)
            fill(a->pairs.data[i].b, i);
        a->pairs.data[0].scale = round == 1 ? 2 : 4;
        char *gguf = in_root("a.gguf"), *folder = in_root("peft");
        mkdir(folder, 0777);
        pantry_status status = pn_adapter_export_gguf(a, weights, gguf, &err);
        assert_int_equal(status, round == 2 ? PANTRY_UNSUPPORTED : PANTRY_OK);
        if (!status) {
            if (pn_adapter_open(gguf, 1, weights, &back, &err))
                fail_msg("%s", err.text);
            expect_same(back, a);
            pn_adapter_free(back);
        }
        status = pn_adapter_export_peft(a, "base", folder, &err);
        assert_int_equal(status, round == 1 ? PANTRY_UNSUPPORTED : PANTRY_OK);
        if (!status) {
            if (pn_adapter_open(folder, 1, weights, &back, &err))
                fail_msg("%s", err.text);
            expect_same(back, a);
            pn_adapter_free(back);
        }
        pn_adapter_free(a);
        pn_weights_close(weights);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_optimizer_learns),
                                       cmocka_unit_test(checkpoints_change_no_bit), cmocka_unit_test(exports)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
