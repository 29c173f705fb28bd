/* Encoders of pictures: see eye.h. */
#include "engine/eye.h"

#include "base/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const size_t most_bytes = (size_t)256 << 20; /* of rows and pixels that nobody uses */

struct pn_eye {
    struct pn_vision *vision;
    struct pn_runner *runner;
    struct pn_seq_memory memory; /* of steps, which run one at a time */
    pthread_mutex_t work;        /* held while pictures are encoded */
    pthread_mutex_t lock;        /* of what follows */
    struct pn_seen *newest;
    uint64_t n_encoded;
};

/* ---- life ---- */

/* The device before the first "," or ":". */
static pantry_status open_device(const char *device, const struct pn_device_options *options, int n_layer,
                                 struct pn_split *split, struct pantry_error *err)
{
    char first[64];
    if (device)
        snprintf(first, sizeof first, "%.*s", (int)strcspn(device, ",:"), device);
    return pn_split_open(device ? first : NULL, options, n_layer, split, err);
}

static pantry_status start(struct pn_eye *eye, const char *device, const struct pn_device_options *options,
                           struct pantry_error *err)
{
    struct pn_model *model;
    struct pn_split split;
    struct pn_kv_pool *pool;
    pantry_status status = pn_vision_model(eye->vision, &model, err);
    if (status)
        return status;
    if ((status = open_device(device, options, model->hp.n_layer, &split, err))) {
        pn_model_free(model);
        return status;
    }
    if ((status = pn_runner_new(model, &split, &eye->runner, err)) ||
        (status = pn_runner_pool(eye->runner, NULL, &pool, err)))
        return status;
    return pn_seq_memory_init(&eye->memory, eye->runner, pool, err);
}

pantry_status pn_eye_new(struct pn_vision *vision, const char *device, const struct pn_device_options *options,
                         struct pn_eye **out, struct pantry_error *err)
{
    *out = NULL;
    struct pn_eye *eye = calloc(1, sizeof *eye);
    if (!eye) {
        pn_vision_free(vision);
        return pn_no_memory(err, "a vision encoder");
    }
    eye->vision = vision;
    pthread_mutex_init(&eye->work, NULL);
    pthread_mutex_init(&eye->lock, NULL);
    pantry_status status = start(eye, device, options, err);
    if (status)
        pn_eye_free(eye);
    else
        *out = eye;
    return status;
}

static size_t bytes_of(const struct pn_eye *eye, const struct pn_seen *s)
{
    size_t n = s->rows ? (size_t)s->n_rows * (size_t)eye->vision->n_out * sizeof *s->rows : 0;
    for (size_t i = 0; i < s->views.n; i++)
        if (s->views.view[i].image.rgb)
            n += (size_t)s->views.view[i].image.width * (size_t)s->views.view[i].image.height * 3;
    return n;
}

static void forget(struct pn_eye *eye, struct pn_seen *s)
{
    if (s->rows)
        pn_memory_give(eye->runner->budget, (size_t)s->n_rows * (size_t)eye->vision->n_out * sizeof *s->rows);
    pn_vision_views_free(&s->views);
    free(s->rows);
    free(s);
}

void pn_eye_free(struct pn_eye *eye)
{
    if (!eye)
        return;
    for (struct pn_seen *s = eye->newest, *next; s; s = next) {
        next = s->next;
        forget(eye, s);
    }
    if (eye->memory.tree)
        pn_seq_memory_release(&eye->memory);
    pn_runner_free(eye->runner);
    pn_vision_free(eye->vision);
    pthread_mutex_destroy(&eye->work);
    pthread_mutex_destroy(&eye->lock);
    free(eye);
}

const struct pn_vision *pn_eye_vision(const struct pn_eye *eye)
{
    return eye->vision;
}

int pn_eye_row_size(const struct pn_eye *eye)
{
    return eye->vision->n_out;
}

/* Patches of a view of the picture. */
static int patches_of(const struct pn_vision *v, int64_t pixels)
{
    if (v->sizing == PN_SIZING_FIXED)
        pixels = (int64_t)v->width * v->height;
    else if (v->sizing == PN_SIZING_SHORTEST && v->crop_width > 0)
        pixels = (int64_t)v->crop_width * v->crop_height;
    if (v->max_pixels > 0 && pixels > v->max_pixels)
        pixels = v->max_pixels;
    int64_t n = pixels / ((int64_t)v->patch * v->patch) + v->has_class;
    return n < 1 ? 1 : n > PN_MAX_STEP ? PN_MAX_STEP : (int)n;
}

pantry_status pn_eye_need(struct pn_eye *eye, uint64_t *bytes, struct pantry_error *err)
{
    const struct pn_vision *v = eye->vision;
    struct pn_runner *r = eye->runner;
    int n = patches_of(v, 1 << 20), n_rows = n / (v->group * v->group) + 1;
    uint64_t rows = (uint64_t)n * (uint64_t)(v->n_embd + pn_vision_n_given(v)) +
                    (uint64_t)n_rows * (uint64_t)(pn_vision_n_merged(v) + v->n_out);
    pantry_status status = pn_runner_prepare(r, PN_RESULT_STATES, n, err);
    if (!status)
        status = pn_runner_prepare(r, PN_RESULT_EMBEDDINGS, n_rows, err);
    *bytes = r->model->size_bytes + rows * sizeof(float) + pn_kv_most_bytes(eye->memory.pool, n, n);
    for (int i = 0; i < r->n_parts; i++)
        *bytes += r->parts[i].taken;
    return status;
}

/* ---- remembering; the lock is held ---- */

/* Finds a picture, and makes it the newest. */
static struct pn_seen *find(struct pn_eye *eye, const char *hash)
{
    for (struct pn_seen **at = &eye->newest; *at; at = &(*at)->next) {
        struct pn_seen *s = *at;
        if (strcmp(s->hash, hash) != 0)
            continue;
        *at = s->next;
        s->next = eye->newest;
        return eye->newest = s;
    }
    return NULL;
}

/* Forgets the oldest pictures that nobody uses, down to the bound. */
static void trim(struct pn_eye *eye)
{
    size_t sum = 0;
    for (struct pn_seen **at = &eye->newest; *at;) {
        struct pn_seen *s = *at;
        sum += bytes_of(eye, s);
        if (s->refs || sum <= most_bytes) {
            at = &s->next;
            continue;
        }
        sum -= bytes_of(eye, s);
        *at = s->next;
        forget(eye, s);
    }
}

void pn_eye_release(struct pn_eye *eye, struct pn_seen *seen)
{
    pthread_mutex_lock(&eye->lock);
    seen->refs--;
    trim(eye);
    pthread_mutex_unlock(&eye->lock);
}

uint64_t pn_eye_n_encoded(const struct pn_eye *eye)
{
    return eye->n_encoded;
}

/* ---- looking ---- */

static pantry_status prepare(struct pn_eye *eye, const void *data, size_t len, struct pn_seen *s,
                             struct pantry_error *err)
{
    struct pn_image image;
    pantry_status status = pn_image_decode(data, len, &image, err);
    if (status)
        return status;
    s->width = image.width;
    s->height = image.height;
    status = pn_vision_prepare(eye->vision, &image, &s->views, err);
    pn_image_free(&image);
    s->n_rows = pn_vision_picture_rows(eye->vision, &s->views);
    return status;
}

pantry_status pn_eye_look(struct pn_eye *eye, const void *data, size_t len, struct pn_seen **out,
                          struct pantry_error *err)
{
    char hash[PN_SHA256_HEX + 1];
    pantry_status status = pn_sha256_bytes(data, len, hash, err);
    if (status)
        return status;
    pthread_mutex_lock(&eye->lock);
    if ((*out = find(eye, hash)))
        (*out)->refs++;
    pthread_mutex_unlock(&eye->lock);
    if (*out)
        return PANTRY_OK;
    struct pn_seen *s = calloc(1, sizeof *s);
    if (!s)
        return pn_no_memory(err, "a picture");
    memcpy(s->hash, hash, sizeof hash);
    if ((status = prepare(eye, data, len, s, err))) {
        pn_vision_views_free(&s->views);
        free(s);
        return status;
    }
    pthread_mutex_lock(&eye->lock);
    struct pn_seen *other = find(eye, hash); /* another thread was faster */
    if (!other) {
        s->next = eye->newest;
        other = eye->newest = s;
        s = NULL;
    }
    other->refs++;
    *out = other;
    pthread_mutex_unlock(&eye->lock);
    if (s)
        forget(eye, s);
    return PANTRY_OK;
}

/* ---- encoding ---- */

/* Runs one step over n tokens that given rows stand for. `fill` has been done by the caller. */
static pantry_status run(struct pn_eye *eye, struct pn_step_builder *step, enum pn_result result, float *out,
                         struct pantry_error *err)
{
    step->results[0] = out;
    pn_step_settle(step);
    return pn_runner_step(eye->runner, result, &step->batch, err);
}

static void begin(struct pn_eye *eye, struct pn_step_builder *step, const struct pn_batch_seq *seq, const int32_t *ids)
{
    pn_step_begin(step, eye->runner, eye->memory.pool);
    pn_step_add(step, seq, ids);
    for (int i = 0; i < seq->n; i++)
        pn_step_give(step, i, (size_t)i);
}

/* The states that rows stand for: (patches, pn_vision_n_states). */
static pantry_status read_patches(struct pn_eye *eye, const struct pn_vision_view *view,
                                  const struct pn_vision_order *order, struct pn_step_builder *step, int32_t *ids,
                                  float *states, struct pantry_error *err)
{
    const struct pn_vision *v = eye->vision;
    struct pn_seq seq;
    pantry_status status = pn_seq_init(&seq, &eye->memory, "", ids, order->n, err);
    if (status)
        return status;
    if (!(status = pn_seq_grow(&seq, order->n, err))) {
        struct pn_batch_seq all = pn_seq_batch(&seq, order->n);
        begin(eye, step, &all, ids);
        float *rows = pn_step_rows(step, (size_t)order->n, (size_t)pn_vision_n_given(v));
        status = rows ? pn_vision_fill(v, view, order, rows, err) : pn_no_memory(err, "a picture");
    }
    for (int i = 0; !status && i < order->n; i++) {
        if (v->window)
            pn_step_block(step, i, order->first[i], order->last[i]);
        if (pn_vision_rotates(v))
            pn_step_place(step, i, order->row[i], order->col[i], 0);
        if (pn_vision_is_output(v, order, i))
            pn_step_output(step, i);
    }
    if (!status)
        status = run(eye, step, PN_RESULT_STATES, states, err);
    pn_seq_release(&seq);
    return status;
}

static pantry_status project(struct pn_eye *eye, struct pn_step_builder *step, const int32_t *ids, int n,
                             const float *merged, float *out, struct pantry_error *err)
{
    size_t width = (size_t)pn_vision_n_merged(eye->vision);
    struct pn_batch_seq all = {.n = n, .table = 1, .n_context = n};
    begin(eye, step, &all, ids);
    float *rows = pn_step_rows(step, (size_t)n, width);
    if (!rows)
        return pn_no_memory(err, "a picture");
    memcpy(rows, merged, (size_t)n * width * sizeof *rows);
    for (int i = 0; i < n; i++)
        pn_step_output(step, i);
    return run(eye, step, PN_RESULT_EMBEDDINGS, out, err);
}

/* The rows of a view, in order, to `out`. */
static pantry_status encode_view(struct pn_eye *eye, const struct pn_vision_view *view, float *out,
                                 struct pantry_error *err)
{
    const struct pn_vision *v = eye->vision;
    struct pn_vision_order order;
    struct pn_step_builder step = {0};
    pantry_status status = pn_vision_order_new(v, view, &order, err);
    if (status)
        return status;
    size_t n_rows = (size_t)pn_vision_view_rows(v, view), n = (size_t)order.n;
    int32_t *ids = calloc(n, sizeof *ids);
    float *states = calloc(n * (size_t)pn_vision_n_states(v), sizeof *states);
    float *merged = calloc(n_rows * (size_t)pn_vision_n_merged(v), sizeof *merged);
    if (!ids || !states || !merged)
        status = pn_no_memory(err, "a picture");
    if (!status)
        status = pn_step_init(&step, order.n, 1, err);
    if (!status)
        status = read_patches(eye, view, &order, &step, ids, states, err);
    if (!status)
        status = pn_vision_merge(v, view, &order, states, merged, err);
    if (!status)
        status = project(eye, &step, ids, (int)n_rows, merged, out, err);
    pn_step_release(&step);
    pn_vision_order_free(&order);
    free(ids);
    free(states);
    free(merged);
    return status;
}

/* The rows of all views, one after another, in the picture's order. */
static pantry_status arrange(const struct pn_vision *v, const struct pn_vision_views *views, const float *from,
                             float *to, struct pantry_error *err)
{
    size_t width = (size_t)v->n_out;
    for (int i = 0; i < views->n_rows; i++, to += width) {
        pantry_status status = views->order[i] < 0 ? pn_vision_new_line(v, to, err) : PANTRY_OK;
        if (status)
            return status;
        if (views->order[i] >= 0)
            memcpy(to, from + (size_t)views->order[i] * width, width * sizeof *to);
    }
    return PANTRY_OK;
}

static pantry_status encode_views(struct pn_eye *eye, const struct pn_vision_views *views, float *rows,
                                  struct pantry_error *err)
{
    size_t width = (size_t)eye->vision->n_out, n = (size_t)pn_vision_views_rows(eye->vision, views), at = 0;
    float *each = views->order ? malloc(n * width * sizeof *each) : rows;
    pantry_status status = each ? PANTRY_OK : pn_no_memory(err, "a picture");
    for (size_t i = 0; i < views->n && !status; i++) {
        status = encode_view(eye, &views->view[i], each + at * width, err);
        at += (size_t)pn_vision_view_rows(eye->vision, &views->view[i]);
    }
    if (!status && views->order)
        status = arrange(eye->vision, views, each, rows, err);
    if (views->order)
        free(each);
    return status;
}

/* `work` is held. */
static pantry_status encode(struct pn_eye *eye, struct pn_seen *s, struct pantry_error *err)
{
    size_t width = (size_t)eye->vision->n_out, bytes = (size_t)s->n_rows * width * sizeof(float);
    pantry_status status = pn_memory_take(eye->runner->budget, bytes, "a picture", err);
    if (status)
        return status;
    float *rows = malloc(bytes);
    status = rows ? encode_views(eye, &s->views, rows, err) : pn_no_memory(err, "a picture");
    pn_seq_memory_settle(&eye->memory);
    if (status) {
        pn_memory_give(eye->runner->budget, bytes);
        free(rows);
        return status;
    }
    pthread_mutex_lock(&eye->lock);
    s->rows = rows;
    eye->n_encoded++;
    for (size_t i = 0; i < s->views.n; i++)
        pn_image_free(&s->views.view[i].image);
    pthread_mutex_unlock(&eye->lock);
    return PANTRY_OK;
}

pantry_status pn_eye_encode(struct pn_eye *eye, struct pn_seen *seen, struct pantry_error *err)
{
    pthread_mutex_lock(&eye->work);
    pantry_status status = seen->rows ? PANTRY_OK : encode(eye, seen, err);
    pthread_mutex_unlock(&eye->work);
    return status;
}
