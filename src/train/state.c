/* Saving and reading the state of a training: see state.h. */
#include "train/state.h"

#include "base/random.h"
#include "format/safetensors_write.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_PARTS = 2 + PN_TRAIN_MOMENTS, N_COUNTS = 17 };

static float *part_of(const struct pn_train_param *p, int part)
{
    return part == 0 ? p->values : part == 1 ? p->grad : p->moment[part - 2];
}

static void name_of(const struct pn_train_param *p, int part, char *out, size_t size)
{
    static const char *const names[N_PARTS] = {"value", "gradient", "moment_1", "moment_2"};
    snprintf(out, size, "%s.%s", p->name, names[part]);
}

static int64_t number_of(double value)
{
    int64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static int64_t hash_of(const char *text)
{
    uint64_t hash = 0;
    for (; text && *text; text++)
        hash = pn_random_at(hash, (unsigned char)*text);
    return (int64_t)(hash >> 1);
}

/* The progress, then what must be the same to go on. */
static void count(int64_t *out, const struct pn_train_params *params, const struct pn_train_plan *plan, size_t n_rows,
                  const struct pn_train_progress *progress)
{
    int64_t best;
    memcpy(&best, &progress->best, sizeof best);
    const int64_t counts[N_COUNTS] = {progress->iter,
                                      progress->updates,
                                      progress->n_cut,
                                      progress->bad,
                                      best,
                                      plan->optimizer.kind,
                                      plan->schedule.kind,
                                      number_of(plan->schedule.number[0]),
                                      hash_of(plan->settings),
                                      plan->iters,
                                      plan->batch_size,
                                      plan->max_length,
                                      plan->accumulation,
                                      plan->schedule.warmup,
                                      plan->shuffle ? (int64_t)(plan->seed >> 1) : -1,
                                      (int64_t)n_rows,
                                      (int64_t)params->n};
    memcpy(out, counts, sizeof counts);
}

static const char *const same[N_COUNTS] = {[5] = "the optimizer",
                                           [6] = "the schedule",
                                           [7] = "the learning rate",
                                           [8] = "a setting of the optimizer, the schedule, the dropout or the rows",
                                           [9] = "the number of iterations",
                                           [10] = "the batch size",
                                           [11] = "the longest row",
                                           [12] = "the accumulation",
                                           [13] = "the warm-up",
                                           [14] = "the order or the seed",
                                           [15] = "the number of rows",
                                           [16] = "the number of trained weights"};

static char *path_of(const struct pn_train_plan *plan)
{
    struct pn_buf path = {0};
    pn_buf_printf(&path, "%s/tune_state.safetensors", plan->folder);
    return pn_buf_take(&path);
}

/* All arrays of the state, one after another: number i's name and place. False: there are no more. */
static bool array_at(const struct pn_train_params *p, size_t i, char *name, size_t size, float **values, size_t *n)
{
    if (i < p->len * N_PARTS) {
        const struct pn_train_param *one = &p->data[i / N_PARTS];
        name_of(one, (int)(i % N_PARTS), name, size);
        *values = part_of(one, (int)(i % N_PARTS));
        *n = one->n;
        return true;
    }
    i -= p->len * N_PARTS;
    if (i / 2 >= p->groups.len)
        return false;
    const struct pn_train_group *g = &p->groups.data[i / 2];
    bool cols = i % 2 || g->vector;
    snprintf(name, size, "group.%zu.%s", i / 2, i % 2 ? "columns" : "rows");
    *values = i % 2 ? g->col_means : g->row_means;
    *n = (size_t)(g->n_mat * (cols ? g->cols : g->rows));
    if (g->vector && i % 2)
        *values = NULL;
    return true;
}

static pantry_status write_all(struct pn_st_writer *writer, const struct pn_train_params *params, const int64_t *counts,
                               bool write, struct pantry_error *err)
{
    char name[512];
    float *values;
    size_t n;
    pantry_status status = write ? pn_st_write(writer, counts, N_COUNTS * sizeof *counts, err)
                                 : pn_st_add(writer, "counts", PN_ST_I64, 1, (const int64_t[]){N_COUNTS}, err);
    for (size_t i = 0; !status && array_at(params, i, name, sizeof name, &values, &n); i++)
        if (values)
            status = write ? pn_st_write(writer, values, n * sizeof(float), err)
                           : pn_st_add(writer, name, PN_ST_F32, 1, (const int64_t[]){(int64_t)n}, err);
    return status;
}

pantry_status pn_train_state_save(const struct pn_train_params *params, const struct pn_train_plan *plan, size_t n_rows,
                                  const struct pn_train_progress *progress, struct pantry_error *err)
{
    int64_t counts[N_COUNTS];
    struct pn_st_writer *writer = NULL;
    char *path = path_of(plan);
    count(counts, params, plan, n_rows, progress);
    pantry_status status = path ? pn_st_writer_new(path, &(struct pn_st_options){0}, &writer, err)
                                : pn_no_memory(err, "the state of a training");
    if (!status && !(status = write_all(writer, params, counts, false, err)) && !(status = pn_st_begin(writer, err)) &&
        !(status = write_all(writer, params, counts, true, err)))
        status = pn_st_finish(writer, err);
    pn_st_writer_free(writer);
    free(path);
    return status;
}

static const struct pn_st_tensor *find(const struct pn_st_tensors *all, const char *name)
{
    for (size_t i = 0; i < all->len; i++)
        if (strcmp(all->data[i].name, name) == 0)
            return &all->data[i];
    return NULL;
}

static pantry_status take(const char *path, const struct pn_st_tensors *all, struct pn_train_params *params,
                          const struct pn_train_plan *plan, size_t n_rows, struct pn_train_progress *progress,
                          struct pantry_error *err)
{
    char name[512];
    float *values;
    int64_t is[N_COUNTS], wanted[N_COUNTS];
    const struct pn_st_tensor *t = find(all, "counts");
    count(wanted, params, plan, n_rows, progress);
    if (!t || t->type != PN_ST_I64 || t->bytes != sizeof is)
        return pn_fail(err, PANTRY_FORMAT, "%s: is not the state of a training", path);
    memcpy(is, t->data, sizeof is);
    for (int i = 0; i < N_COUNTS; i++)
        if (same[i] && is[i] != wanted[i])
            return pn_fail(err, PANTRY_INVALID, "%s: %s was another one when this training began", path, same[i]);
    if (is[0] < 0 || is[0] > plan->iters || is[1] < 0 || is[1] > is[0])
        return pn_fail(err, PANTRY_FORMAT, "%s: has a wrong number of iterations", path);
    for (int pass = 0; pass < 2; pass++) /* checks all before it changes any */
        for (size_t i = 0, n; array_at(params, i, name, sizeof name, &values, &n); i++) {
            if (!values)
                continue;
            t = find(all, name);
            if (!t || t->type != PN_ST_F32 || t->bytes != n * sizeof(float))
                return pn_fail(err, PANTRY_INVALID, "%s: has no %s, or in another shape", path, name);
            if (pass)
                memcpy(values, t->data, t->bytes);
        }
    *progress = (struct pn_train_progress){.iter = is[0], .updates = is[1], .n_cut = is[2], .bad = is[3]};
    memcpy(&progress->best, &is[4], sizeof progress->best);
    return PANTRY_OK;
}

pantry_status pn_train_state_load(struct pn_train_params *params, const struct pn_train_plan *plan, size_t n_rows,
                                  struct pn_train_progress *progress, struct pantry_error *err)
{
    struct pn_map map = {0};
    struct pn_arena arena = {0};
    struct pn_st_tensors all = {0};
    char *path = path_of(plan);
    pantry_status status = path ? pn_map_open(&map, path, err) : pn_no_memory(err, "the state of a training");
    if (!status)
        status = pn_safetensors_read(&map, 0, path, &arena, &all, NULL, err);
    if (!status)
        status = take(path, &all, params, plan, n_rows, progress, err);
    free(all.data);
    pn_arena_free(&arena);
    pn_map_close(&map);
    free(path);
    return status;
}
