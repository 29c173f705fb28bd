/* The public API of requests: see pantry.h. */
#include "engine/handle.h"

#include <stdlib.h>
#include <string.h>

/* A caller's key in the prefix tree, which differs from the keys of sessions and from no key. NULL: out of memory. */
static char *tree_key(const char *cache_key)
{
    size_t n = strlen(cache_key);
    char *key = malloc(n + 2);
    if (key) {
        key[0] = '/';
        memcpy(key + 1, cache_key, n + 1);
    }
    return key;
}

static pantry_status submit(struct pantry_request *request, const struct pantry_request_options *given,
                            struct pantry_error *err)
{
    struct pantry_model *m = request->model;
    struct pantry_request_options o = *given;
    struct pn_sched *sched;
    int wanted = o.n_context;
    pantry_status status = pn_context_length(m->runner, wanted, &o.n_context, err);
    if (status || (status = pn_model_sched(m, NULL, &sched, err)) ||
        (status = pn_fit_context(m, wanted, o.n_batch, &o.n_context, err)))
        return status;
    if ((status = pn_prompt_encode(o.prompt, m, err)))
        return status;
    char *key = o.cache_key ? tree_key(o.cache_key) : NULL;
    if (o.cache_key && !key)
        return pn_no_memory(err, "a request");
    o.cache_key = key;
    status =
        pn_request_new(sched, m->runner->model, m->tokenizer, &o, pn_prompt_pictures(o.prompt), &request->request, err);
    free(key);
    if (status)
        return status;
    request->request->stats.load_seconds = m->load_seconds;
    status = pn_model_guide(m, o.grammar, request->request, err);
    if (status || (status = pn_sched_submit(sched, request->request, err)))
        pn_request_destroy(request->request);
    if (status)
        request->request = NULL;
    return status;
}

pantry_status pantry_submit(pantry_model *model, const struct pantry_request_options *options, pantry_request **request,
                            struct pantry_error *err)
{
    struct pantry_request_options o = pantry_request_options_default();
    *request = NULL;
    pantry_status status = pn_take_options(&o, options, "options of a request", err);
    if (status)
        return status;
    struct pantry_request *r = calloc(1, sizeof *r);
    if (!r)
        return pn_no_memory(err, "a request");
    r->model = pn_model_retain(model);
    struct pantry_error why;
    status = pn_tell(submit(r, &o, &why), &why, err);
    if (status)
        pantry_request_free(r);
    else
        *request = r;
    return status;
}

const struct pantry_event *pantry_request_next(pantry_request *r, int timeout_ms)
{
    return pn_sched_next(r->request->sched, r->request, timeout_ms);
}

void pantry_request_progress(const pantry_request *r, int *n_read, int *n_cached)
{
    *n_cached = atomic_load(&r->request->prompt_cached);
    *n_read = atomic_load(&r->request->prompt_read);
}

void pantry_request_cancel(pantry_request *r)
{
    atomic_store(&r->request->cancel, true);
    pn_sched_wake(r->request->sched);
}

void pantry_request_free(pantry_request *r)
{
    if (!r)
        return;
    if (r->request)
        pn_sched_forget(r->request->sched, r->request);
    pantry_model_free(r->model);
    free(r);
}
