/* Steps: one command buffer each, with one encoder, whose dispatches run side by side except where a launch waits.
 *
 * Metal would order command buffers by the memory that they name, but ours name none (residency.c). So each step waits
 * for a fence that the step before updates. */
#include "device/metal/state.h"

enum { CONCURRENT = 1, SCOPE_BUFFERS = 1, STATUS_ERROR = 5, SHARED_UNIT = 16 };

_Static_assert(sizeof(struct pn_gpu_args) <= 4096, "setBytes takes 4 KiB at most");

/* ---- the end of a step ---- */

static void keep_failure(struct pn_metal *m, pantry_status status)
{
    if (!m->failure)
        m->failure = status;
}

/* Waits for the oldest step. */
static void finish_oldest(struct pn_metal *m)
{
    pn_id commands = m->running[0];
    pn_commands_wait(commands);
    if (pn_commands_status(commands) == STATUS_ERROR)
        keep_failure(m, m->failure ? m->failure
                                   : pn_fail(&m->failed, PANTRY_INTERNAL, "Metal: a step failed on the GPU: %s",
                                             pn_objc_error(pn_commands_error(commands))));
    double seconds = pn_commands_end(commands) - pn_commands_start(commands);
    m->elapsed = seconds > 0 ? (uint64_t)(seconds * 1e9) : 0;
    pn_objc_release(commands);
    m->n_running--;
    for (int i = 0; i < m->n_running; i++)
        m->running[i] = m->running[i + 1];
}

void pn_metal_finish(struct pn_metal *m)
{
    if (!m->n_running)
        return;
    void *pool = pn_objc.pool_push();
    while (m->n_running)
        finish_oldest(m);
    pn_objc.pool_pop(pool);
}

pantry_status pn_metal_wait(struct pn_gpu_driver *d, struct pantry_error *err)
{
    struct pn_metal *m = (struct pn_metal *)d;
    pn_metal_finish(m);
    pantry_status status = m->failure;
    if (status && err)
        *err = m->failed;
    m->failure = PANTRY_OK;
    return status;
}

uint64_t pn_metal_elapsed(const struct pn_gpu_driver *d)
{
    return ((const struct pn_metal *)d)->elapsed;
}

/* ---- its beginning ---- */

static void encode(struct pn_metal *m, pn_id encoder, const struct pn_gpu_launch *launches, size_t n)
{
    pn_id pipeline = NULL;
    size_t shared = 0;
    pn_encoder_wait(encoder, m->fence);
    pn_metal_use_resident(m, encoder);
    for (size_t i = 0; i < n; i++) {
        const struct pn_gpu_launch *l = &launches[i];
        size_t wanted = (l->shared + SHARED_UNIT - 1) / SHARED_UNIT * SHARED_UNIT;
        if (m->pipelines[l->kernel] != pipeline)
            pn_encoder_pipeline(encoder, pipeline = m->pipelines[l->kernel]);
        if (wanted != shared)
            pn_encoder_shared(encoder, shared = wanted, 0);
        if (l->waits && i > 0)
            pn_encoder_barrier(encoder, SCOPE_BUFFERS);
        pn_encoder_bytes(encoder, &l->args, sizeof l->args, 0);
        pn_encoder_dispatch(encoder, (struct pn_extent){l->groups[0], l->groups[1], l->groups[2]},
                            (struct pn_extent){(unsigned long)pn_gpu_kernel_threads(l->kernel), 1, 1});
    }
    pn_encoder_update(encoder, m->fence);
    pn_encoder_end(encoder);
}

static pantry_status begin(struct pn_metal *m, const struct pn_gpu_launch *launches, size_t n, struct pantry_error *err)
{
    for (size_t i = 0; i < n; i++) {
        pn_id pipeline;
        pantry_status status = pn_metal_pipeline(m, launches[i].kernel, &pipeline, err);
        if (status)
            return status;
        if (launches[i].shared > m->base.max_shared)
            return pn_fail(err, PANTRY_UNSUPPORTED,
                           "Metal: kernel %s: too much threadgroup memory (found %zu, allowed %zu)",
                           pn_gpu_kernel_name(launches[i].kernel), launches[i].shared, m->base.max_shared);
    }
    if (m->n_running == PN_METAL_MAX_RUNNING)
        finish_oldest(m);
    pn_id commands = pn_queue_commands(m->queue);
    pn_id encoder = commands ? pn_commands_encoder(commands, CONCURRENT) : NULL;
    if (!encoder)
        return pn_fail(err, PANTRY_NO_MEMORY, "Metal: cannot make a command buffer");
    encode(m, encoder, launches, n);
    m->running[m->n_running++] = pn_objc_retain(commands);
    pn_commands_commit(commands);
    return PANTRY_OK;
}

pantry_status pn_metal_submit(struct pn_gpu_driver *d, const struct pn_gpu_launch *launches, size_t n,
                              struct pantry_error *err)
{
    struct pn_metal *m = (struct pn_metal *)d;
    if (n == 0)
        return PANTRY_OK;
    void *pool = pn_objc.pool_push();
    pantry_status status = begin(m, launches, n, err);
    pn_objc.pool_pop(pool);
    return status;
}
