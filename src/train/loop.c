/* The course of a training: see loop.h. */
#include "train/loop.h"

#include "base/clock.h"
#include "model/hf/hf.h"
#include "train/state.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct course {
    struct pn_trainer *trainer;
    const struct pn_train_data *train, *valid;
    const struct pn_train_plan *plan;
    const struct pn_train_listener *listener;
    struct pn_train_batch batch;
    size_t *order, *valid_order;
    struct pn_train_progress progress;
    uint64_t start;
    uint64_t epoch; /* that `order` is of, plus 1 */
};

static pantry_status tell(struct course *c, struct pn_train_report report, struct pantry_error *err)
{
    report.iter = (int)c->progress.iter;
    report.n_cut = c->progress.n_cut;
    report.seconds = (double)(pn_clock_ns() - c->start) * 1e-9;
    if (c->listener && !c->listener->report(c->listener->user, &report))
        return pn_fail(err, PANTRY_CANCELLED, "the training was stopped after iteration %d", report.iter);
    return PANTRY_OK;
}

static pantry_status save(struct course *c, struct pantry_error *err)
{
    struct pn_model *model = pn_trainer_model(c->trainer);
    pantry_status status =
        pn_train_state_save(pn_trainer_params(c->trainer), c->plan, c->train->len, &c->progress, err);
    if (!status)
        status = model->n_adapters ? pn_adapter_save(model->adapters[0], c->plan->folder, c->plan->config, err)
                                   : pn_model_save_written(model->weights, c->plan->folder, c->plan->config, err);
    return status ? status : tell(c, (struct pn_train_report){.kind = PN_TRAIN_SAVED}, err);
}

static pantry_status validate(struct course *c, double *loss, struct pantry_error *err)
{
    size_t n = (size_t)c->plan->batch_size, n_batches = c->valid->len / n;
    double total = 0;
    int64_t tokens = 0;
    if (c->plan->val_batches > 0 && n_batches > (size_t)c->plan->val_batches)
        n_batches = (size_t)c->plan->val_batches;
    for (size_t i = 0; i < n_batches; i++) {
        double sum;
        pn_train_batch_fill(&c->batch, c->valid, c->valid_order, i * n, (int)n);
        pantry_status status =
            c->batch.n_outputs ? pn_trainer_step(c->trainer, &c->batch, false, &sum, err) : PANTRY_OK;
        if (status)
            return status;
        total += c->batch.n_outputs ? sum : 0;
        tokens += c->batch.n_outputs;
    }
    *loss = tokens ? total / (double)tokens : NAN;
    return tokens ? tell(c, (struct pn_train_report){.kind = PN_TRAIN_VALIDATION, .loss = *loss, .tokens = tokens}, err)
                  : PANTRY_OK;
}

/* The mean of the gradients since the last update, used once. */
static pantry_status update(struct course *c, float rate, struct pantry_error *err)
{
    struct pn_train_params *p = pn_trainer_params(c->trainer);
    for (size_t i = 0; i < p->len && c->plan->accumulation > 1; i++)
        for (size_t j = 0; j < p->data[i].n; j++)
            p->data[i].grad[j] /= (float)c->plan->accumulation;
    pn_optimizer_clip(p, c->plan->clip);
    pantry_status status = pn_optimizer_step(c->plan->optimizer, p, rate, err);
    for (size_t i = 0; i < p->len; i++)
        memset(p->data[i].grad, 0, p->data[i].n * sizeof(float));
    c->progress.updates++;
    return status;
}

static void fill(struct course *c)
{
    size_t n = (size_t)c->plan->batch_size, per_epoch = c->train->len / n;
    uint64_t epoch = (uint64_t)c->progress.iter / per_epoch;
    if (c->epoch != epoch + 1)
        pn_train_order(c->order, c->train->len, c->plan->shuffle, c->plan->seed, epoch);
    c->epoch = epoch + 1;
    pn_train_batch_fill(&c->batch, c->train, c->order, (size_t)c->progress.iter % per_epoch * n, (int)n);
    c->progress.n_cut += c->batch.n_cut;
}

static pantry_status iterate(struct course *c, struct pantry_error *err)
{
    const struct pn_train_plan *p = c->plan;
    int64_t n_updates = p->iters / p->accumulation;
    float rate =
        pn_schedule_rate(p->schedule, p->learning_rate, p->end_rate, p->warmup, c->progress.updates, n_updates);
    double sum;
    fill(c);
    if (c->batch.n_outputs == 0)
        return pn_fail(err, PANTRY_INVALID, "%s: no token of batch %lld counts: its rows are cut before the answers",
                       c->train->path, (long long)c->progress.iter + 1);
    pantry_status status = pn_trainer_step(c->trainer, &c->batch, true, &sum, err);
    if (status)
        return status;
    double loss = sum / c->batch.n_outputs;
    if (!isfinite(loss))
        return pn_fail(err, PANTRY_INVALID,
                       "the loss of iteration %lld is not a number; a lower learning rate may help",
                       (long long)c->progress.iter + 1);
    c->progress.iter++;
    if (c->progress.iter % p->accumulation == 0 && (status = update(c, rate, err)))
        return status;
    return tell(c,
                (struct pn_train_report){
                    .kind = PN_TRAIN_STEP, .loss = loss, .learning_rate = rate, .tokens = c->batch.n_outputs},
                err);
}

/* Validates and judges; *ends: it is time to stop. */
static pantry_status judge(struct course *c, bool *ends, struct pantry_error *err)
{
    double loss;
    pantry_status status = validate(c, &loss, err);
    if (status || isnan(loss))
        return status;
    c->progress.bad = loss < c->progress.best ? 0 : c->progress.bad + 1;
    c->progress.best = loss < c->progress.best ? loss : c->progress.best;
    *ends = c->plan->patience > 0 && c->progress.bad >= c->plan->patience;
    return PANTRY_OK;
}

static pantry_status go(struct course *c, struct pantry_error *err)
{
    const struct pn_train_plan *p = c->plan;
    pantry_status status = PANTRY_OK;
    bool ends = false;
    while (c->progress.iter < p->iters && !ends) {
        if ((status = iterate(c, err)))
            return status;
        bool last = c->progress.iter == p->iters;
        if (p->eval_every > 0 && c->progress.iter % p->eval_every == 0 && !last && (status = judge(c, &ends, err)))
            return status;
        if (p->save_every > 0 && c->progress.iter % p->save_every == 0 && !last && (status = save(c, err)))
            return status;
    }
    if ((status = save(c, err)))
        return status;
    double loss;
    return validate(c, &loss, err);
}

pantry_status pn_train_run(struct pn_trainer *trainer, const struct pn_train_data *train,
                           const struct pn_train_data *valid, const struct pn_train_plan *plan,
                           const struct pn_train_listener *listener, struct pantry_error *err)
{
    struct course c = {.trainer = trainer,
                       .train = train,
                       .valid = valid,
                       .plan = plan,
                       .listener = listener,
                       .progress = {.best = INFINITY},
                       .start = pn_clock_ns()};
    if (train->len < (size_t)plan->batch_size)
        return pn_fail(err, PANTRY_INVALID, "%s: has %zu rows, but a batch needs %d", train->path, train->len,
                       plan->batch_size);
    c.order = calloc(train->len, sizeof *c.order);
    c.valid_order = calloc(valid->len + 1, sizeof *c.valid_order);
    pantry_status status = c.order && c.valid_order
                               ? pn_train_batch_new(plan->batch_size, plan->max_length, &c.batch, err)
                               : pn_no_memory(err, "training");
    if (!status) {
        pn_train_order(c.valid_order, valid->len, false, 0, 0);
        status = plan->resume ? pn_train_state_load(pn_trainer_params(trainer), plan, train->len, &c.progress, err)
                              : PANTRY_OK;
        if (status == PANTRY_NOT_FOUND) /* nothing was saved yet: from the beginning */
            status = PANTRY_OK;
    }
    if (!status)
        status = go(&c, err);
    pn_train_batch_free(&c.batch);
    free(c.order);
    free(c.valid_order);
    return status;
}
