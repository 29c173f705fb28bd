/* One conversation: the tokens so far and the pages with their keys and values. */
#ifndef PN_ENGINE_SESSION_H
#define PN_ENGINE_SESSION_H

#include "engine/runner.h"

#include "pantry.h"

struct pn_session {
    struct pn_runner *runner;
    struct pn_kv_pool *pool;
    int n_context, n_batch;
    int n_past;              /* tokens with keys and values */
    int32_t *ids;            /* (n_context): the tokens; those from n_past on are not in the cache yet */
    int32_t *positions;      /* (n_batch) */
    int32_t *out_rows;       /* (n_batch) */
    int32_t *pages;          /* one for each PN_PAGE_TOKENS positions */
    int n_pages, n_promised; /* in use; that memory was promised for */
    struct pn_states states; /* of recurrent layers, after the first n_past tokens */
};

pn_status pn_session_init(struct pn_session *s, struct pn_runner *runner, const struct pantry_session_options *options,
                          struct pn_error *err);
void pn_session_release(struct pn_session *s);
/* Forgets all tokens from position n on; recurrent layers may have to forget more: n_past tells. */
void pn_session_rewind(struct pn_session *s, int n);
/* How many of `ids` the session has already, as its first tokens. */
int pn_session_common(const struct pn_session *s, const int32_t *ids, int n);
/* Runs `n` <= n_batch tokens after those the session holds. The logits of the last `n_outputs` of them go to `logits`.
 */
pn_status pn_session_feed(struct pn_session *s, const int32_t *ids, int n, int n_outputs, float *logits,
                          struct pn_error *err);

#endif
