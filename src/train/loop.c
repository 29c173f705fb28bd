/* The course of a training: see loop.h. */
#define _POSIX_C_SOURCE 200809L
#include "train/loop.h"

#include "base/clock.h"
#include "base/random.h"
#include "model/hf/hf.h"
#include "train/state.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct course {
    struct pn_trainer *trainer;
    const struct pn_train_data *train, *valid;
    const struct pn_train_plan *plan;
    const struct pn_train_listener *listener;
    struct pn_train_batch batch;
    size_t *order;
    struct pn_train_progress progress;
    uint64_t start;
    uint64_t epoch; /* that `order` is of, plus 1 */
    double since;   /* sum of the losses since the last due step ... */
    int n_since;    /* ... and their number */
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

/* Writes the weights as adapter files of a folder. */
static pantry_status save_weights(struct course *c, const char *folder, struct pantry_error *err)
{
    struct pn_model *model = pn_trainer_model(c->trainer);
    return model->n_adapters ? pn_adapter_save(model->adapters[0], folder, c->plan->config, err)
                             : pn_model_save_written(model->weights, folder, c->plan->config, err);
}

static pantry_status save(struct course *c, struct pantry_error *err)
{
    pantry_status status =
        pn_train_state_save(pn_trainer_params(c->trainer), c->plan, c->train->len, &c->progress, err);
    if (!status)
        status = save_weights(c, c->plan->folder, err);
    return status ? status : tell(c, (struct pn_train_report){.kind = PN_TRAIN_SAVED}, err);
}

static pantry_status save_best(struct course *c, struct pantry_error *err)
{
    struct pn_buf path = {0};
    pn_buf_printf(&path, "%s/best", c->plan->folder);
    pantry_status status = path.failed ? pn_no_memory(err, "a path") : PANTRY_OK;
    if (!status && mkdir(path.data, 0777) != 0 && errno != EEXIST)
        status = pn_fail(err, PANTRY_IO, "%s: cannot be created: %s", path.data, strerror(errno));
    if (!status)
        status = save_weights(c, path.data, err);
    pn_buf_free(&path);
    return status;
}

static pantry_status measure(struct pn_trainer *trainer, const struct pn_train_data *data, size_t batch_size,
                             size_t n_batches, struct pn_train_batch *batch, double *loss, int64_t *tokens,
                             struct pantry_error *err)
{
    double total = 0;
    pantry_status status = PANTRY_OK;
    size_t *order = calloc(data->len + 1, sizeof *order);
    *tokens = 0;
    if (!order)
        return pn_no_memory(err, "the order of rows");
    pn_train_order(order, data->len, false, 0, 0);
    for (size_t i = 0; i < n_batches && !status; i++) {
        double sum = 0;
        pn_train_batch_fill(batch, data, order, i * batch_size, (int)batch_size);
        if (batch->n_outputs)
            status = pn_trainer_step(trainer, batch, false, 0, &sum, err);
        total += sum;
        *tokens += batch->n_outputs;
    }
    free(order);
    *loss = *tokens ? total / (double)*tokens : NAN;
    return status;
}

pantry_status pn_train_measure(struct pn_trainer *trainer, const struct pn_train_data *data,
                               const struct pn_train_plan *plan, int n_batches, double *loss, int64_t *tokens,
                               struct pantry_error *err)
{
    struct pn_train_batch batch;
    size_t n = (size_t)plan->batch_size, n_all = data->len / n;
    if (n_all == 0)
        return pn_fail(err, PANTRY_INVALID, "%s: has %zu rows, but a batch needs %zu", data->path, data->len, n);
    if (n_batches > 0 && n_all > (size_t)n_batches)
        n_all = (size_t)n_batches;
    pantry_status status = pn_train_batch_new(plan->batch_size, plan->max_length, &batch, err);
    if (!status)
        status = measure(trainer, data, n, n_all, &batch, loss, tokens, err);
    pn_train_batch_free(&batch);
    return status;
}

/* Measures the validation data; *loss is NAN if it has no whole batch. */
static pantry_status validate(struct course *c, double *loss, bool *best, struct pantry_error *err)
{
    int64_t tokens;
    *loss = NAN;
    *best = false;
    if (c->valid->len < (size_t)c->plan->batch_size)
        return PANTRY_OK;
    pantry_status status = pn_train_measure(c->trainer, c->valid, c->plan, c->plan->val_batches, loss, &tokens, err);
    if (status || tokens == 0)
        return status;
    *best = *loss < c->progress.best;
    c->progress.bad = *best ? 0 : c->progress.bad + 1;
    c->progress.best = *best ? *loss : c->progress.best;
    if (*best && c->plan->eval_every > 0 && (status = save_best(c, err)))
        return status;
    return tell(
        c, (struct pn_train_report){.kind = PN_TRAIN_VALIDATION, .loss = *loss, .tokens = tokens, .best = *best}, err);
}

/* The mean of the gradients since the last update, used once. */
static pantry_status update(struct course *c, float rate, struct pantry_error *err)
{
    struct pn_train_params *p = pn_trainer_params(c->trainer);
    for (size_t i = 0; i < p->len && c->plan->accumulation > 1; i++)
        for (size_t j = 0; j < p->data[i].n; j++)
            p->data[i].grad[j] /= (float)c->plan->accumulation;
    pn_optimizer_clip(p, c->plan->clip);
    pantry_status status = pn_optimizer_step(&c->plan->optimizer, p, rate, c->progress.updates + 1, err);
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
    float rate = pn_schedule_rate(&p->schedule, c->progress.updates, n_updates);
    uint64_t stream = pn_random_at(p->seed ^ 0x64726f70, (uint64_t)c->progress.iter);
    double sum;
    fill(c);
    if (c->batch.n_outputs == 0)
        return pn_fail(err, PANTRY_INVALID, "%s: no token of batch %lld counts: its rows are cut before the answers",
                       c->train->path, (long long)c->progress.iter + 1);
    pantry_status status = pn_trainer_step(c->trainer, &c->batch, true, stream, &sum, err);
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
    struct pn_train_report report = {
        .kind = PN_TRAIN_STEP, .loss = loss, .learning_rate = rate, .tokens = c->batch.n_outputs};
    c->since += loss;
    report.mean_loss = c->since / ++c->n_since;
    report.due = c->progress.iter == p->iters || (p->report_every > 0 && c->progress.iter % p->report_every == 0);
    if (report.due)
        c->since = c->n_since = 0;
    return tell(c, report, err);
}

/* Validates and judges; *ends: it is time to stop. */
static pantry_status judge(struct course *c, bool *ends, struct pantry_error *err)
{
    double loss;
    bool best;
    pantry_status status = validate(c, &loss, &best, err);
    *ends = !status && !isnan(loss) && c->plan->patience > 0 && c->progress.bad >= c->plan->patience;
    return status;
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
    return ends ? PANTRY_OK : judge(c, &ends, err);
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
    pantry_status status =
        c.order ? pn_train_batch_new(plan->batch_size, plan->max_length, &c.batch, err) : pn_no_memory(err, "training");
    if (!status) {
        status = plan->resume ? pn_train_state_load(pn_trainer_params(trainer), plan, train->len, &c.progress, err)
                              : PANTRY_OK;
        if (status == PANTRY_NOT_FOUND) /* nothing was saved yet: from the beginning */
            status = PANTRY_OK;
    }
    if (!status)
        status = go(&c, err);
    pn_train_batch_free(&c.batch);
    free(c.order);
    return status;
}
