/* The scheduler: one thread per loaded model runs the steps of all its requests.
 *
 * A step has the next token of every decoding sequence, then slices of prompts, oldest first, until its predicted time
 * reaches a budget. So a long prompt delays the others' next token only a little. If a prompt shares a prefix with an
 * older one that is still being read, it waits for that one instead of reading the prefix again.
 *
 * If memory for pages is short, the prefix tree first gives up its least recently used pages; then the youngest request
 * gives its pages back and starts again later. */
#ifndef PN_ENGINE_SCHED_H
#define PN_ENGINE_SCHED_H

#include "engine/disk.h"
#include "engine/request.h"
#include "engine/step.h"

enum { PN_MAX_RUNNING = 256 }; /* sequences that hold memory at once */

struct pn_sched_stats {
    uint64_t steps, tokens;        /* so far */
    uint64_t prompt_tokens;        /* of these, tokens of prompts */
    int n_requests;                /* not ended */
    int pages_used, pages_in_tree; /* pages of layers that see everything */
    int window_pages_used;         /* pages of all others */
    int states_used, states_in_tree;
};

/* The runner must outlive the scheduler. */
pantry_status pn_sched_new(struct pn_runner *runner, struct pn_kv_pool *pool, struct pn_sched **out,
                           struct pantry_error *err);
/* Keeps prefixes in a folder too, which must outlive the scheduler. Before the first work. */
pantry_status pn_sched_use_disk(struct pn_sched *s, struct pn_disk_folder *folder, const struct pn_rope_override *rope,
                                struct pantry_error *err);
/* Cancels all requests, writes what the folder is to keep, and ends the thread. */
void pn_sched_free(struct pn_sched *s);

/* Hands a request over to the engine's thread. */
pantry_status pn_sched_submit(struct pn_sched *s, struct pn_request *r, struct pantry_error *err);
/* Waits for the request's next event: see pantry_request_next. */
const struct pantry_event *pn_sched_next(struct pn_sched *s, struct pn_request *r, int timeout_ms);
/* Wakes the thread after a request was cancelled. */
void pn_sched_wake(struct pn_sched *s);
/* The reader is done with the request. Cancels it, and destroys it as soon as the engine's thread is done too. */
void pn_sched_forget(struct pn_sched *s, struct pn_request *r);

/* Runs `work(user, ...)` on the engine's thread between two steps and returns its result. */
typedef pantry_status pn_sched_work(void *user, struct pn_seq_memory *memory, struct pantry_error *err);
pantry_status pn_sched_call(struct pn_sched *s, pn_sched_work *work, void *user, struct pantry_error *err);

/* False before the first work, which starts the thread. */
bool pn_sched_is_running(struct pn_sched *s);
struct pn_kv_pool *pn_sched_pool(const struct pn_sched *s);
/* PANTRY_NO_MEMORY: a sequence of n_context tokens, read in slices of up to `slice`, cannot fit even if nothing else
 * runs. */
pantry_status pn_sched_check_context(struct pn_sched *s, int n_context, int slice, struct pantry_error *err);

/* The statistics between two steps. */
pantry_status pn_sched_stats(struct pn_sched *s, struct pn_sched_stats *out, struct pantry_error *err);

#endif
