/* Matchers: a set of the shared states, the sets before it, and the mask that was handed out last. See mask.h. */
#include "grammar/mask.h"

#include "grammar/masks.h"

#include <stdlib.h>
#include <string.h>

/* The set of a matcher whose generation has ended. PN_SET_OUT is never the set of a text. */
enum { ENDED = PN_SET_OUT };

struct pn_matcher {
    struct pn_grammar_vocabulary *vocabulary;
    struct pn_masks *masks;
    struct pn_generation *generation;
    uint32_t *sets; /* (PN_MATCHER_HISTORY * 2): those before, then the one where the matcher is */
    size_t n_sets;
    size_t n_steps;
    struct pn_stored_mask *mask; /* handed out last; may be NULL */
    uint64_t *bits;              /* (n_words): of a mask that is stored as a list, and of the end */
    bool listed;                 /* `bits` has the tokens of `mask` */
};

static uint32_t here(const struct pn_matcher *m)
{
    return m->sets[m->n_sets - 1];
}

/* Takes the lock and, after a new generation has begun, moves the sets; without the lock after a failure. */
static pantry_status enter(struct pn_matcher *m, struct pantry_error *err)
{
    pthread_mutex_lock(&m->masks->lock);
    pantry_status status = pn_masks_enter(m->masks, &m->generation, m->sets, m->n_sets, err);
    if (status)
        pthread_mutex_unlock(&m->masks->lock);
    return status;
}

static void leave(struct pn_matcher *m)
{
    pthread_mutex_unlock(&m->masks->lock);
}

static pantry_status new_matcher(struct pn_grammar_vocabulary *vocabulary, struct pn_matcher **out,
                                 struct pantry_error *err)
{
    struct pn_matcher *m = calloc(1, sizeof *m);
    *out = NULL;
    if (!m)
        return pn_no_memory(err, "a grammar");
    m->vocabulary = pn_grammar_vocabulary_share(vocabulary);
    m->sets = calloc(2 * PN_MATCHER_HISTORY, sizeof *m->sets);
    m->bits = calloc(vocabulary->n_words + 1, sizeof *m->bits);
    if (m->sets && m->bits) {
        *out = m;
        return PANTRY_OK;
    }
    pn_matcher_free(m);
    return pn_no_memory(err, "a grammar");
}

pantry_status pn_matcher_new(struct pn_grammar *grammar, struct pn_grammar_vocabulary *vocabulary,
                             struct pn_matcher **out, struct pantry_error *err)
{
    struct pn_matcher *m;
    pantry_status status = new_matcher(vocabulary, &m, err);
    *out = NULL;
    if (!status)
        status = pn_masks_find(grammar, vocabulary, &m->masks, err);
    if (!status) {
        m->sets[m->n_sets++] = PN_SET_START;
        status = enter(m, err);
    }
    if (status) {
        pn_matcher_free(m);
        return status;
    }
    leave(m);
    *out = m;
    return PANTRY_OK;
}

pantry_status pn_matcher_clone(struct pn_matcher *m, struct pn_matcher **out, struct pantry_error *err)
{
    pantry_status status = new_matcher(m->vocabulary, out, err);
    if (status)
        return status;
    struct pn_matcher *copy = *out;
    copy->masks = m->masks;
    atomic_fetch_add_explicit(&m->masks->n_users, 1, memory_order_relaxed);
    pthread_mutex_lock(&m->masks->lock);
    copy->generation = m->generation;
    m->generation->n_users++;
    pthread_mutex_unlock(&m->masks->lock);
    memcpy(copy->sets, m->sets, m->n_sets * sizeof *m->sets);
    copy->n_sets = m->n_sets;
    copy->n_steps = m->n_steps;
    return PANTRY_OK;
}

void pn_matcher_free(struct pn_matcher *m)
{
    if (!m)
        return;
    if (m->masks) {
        pthread_mutex_lock(&m->masks->lock);
        pn_generation_release(m->generation);
        pthread_mutex_unlock(&m->masks->lock);
    }
    pn_stored_mask_release(m->mask);
    pn_masks_release(m->masks);
    pn_grammar_vocabulary_free(m->vocabulary);
    free(m->sets);
    free(m->bits);
    free(m);
}

/* ---- steps ---- */

static void push(struct pn_matcher *m, uint32_t set)
{
    if (m->n_sets == 2 * PN_MATCHER_HISTORY) {
        memmove(m->sets, m->sets + PN_MATCHER_HISTORY - 1, (PN_MATCHER_HISTORY + 1) * sizeof *m->sets);
        m->n_sets = PN_MATCHER_HISTORY + 1;
    }
    m->sets[m->n_sets++] = set;
    m->n_steps++;
}

/* The set after a token, ENDED after one that ends generation, PN_SET_DEAD if it is not allowed. Under the lock. */
static pantry_status after_token(struct pn_matcher *m, int32_t token, uint32_t *set, struct pantry_error *err)
{
    struct pn_generation *g = m->generation;
    bool ends = m->vocabulary->flags[token] & PN_TOKEN_ENDS;
    *set = PN_SET_DEAD;
    if (here(m) == ENDED) {
        *set = ends ? ENDED : PN_SET_DEAD;
        return PANTRY_OK;
    }
    *set = pn_masks_step(m->masks, g, here(m), token);
    if (*set == PN_SET_NONE)
        return g->sets.status ? pn_sets_error(&g->sets, err) : pn_no_memory(err, "a grammar");
    if (*set == PN_SET_DEAD && ends && g->sets.sets.data[here(m)].accepts)
        *set = ENDED;
    return PANTRY_OK;
}

static pantry_status check_token(const struct pn_matcher *m, int32_t token, struct pantry_error *err)
{
    if (token >= 0 && (size_t)token < m->vocabulary->n_tokens)
        return PANTRY_OK;
    return pn_fail(err, PANTRY_INVALID, "token %d is not in the vocabulary (allowed 0..%zu)", (int)token,
                   m->vocabulary->n_tokens - 1);
}

pantry_status pn_matcher_accept(struct pn_matcher *m, int32_t token, struct pantry_error *err)
{
    uint32_t set = PN_SET_DEAD;
    pantry_status status = check_token(m, token, err);
    if (!status)
        status = enter(m, err);
    if (status)
        return status;
    status = after_token(m, token, &set, err);
    leave(m);
    if (!status && set == PN_SET_DEAD)
        status = pn_fail(err, PANTRY_INVALID, "the grammar does not allow token %d here", (int)token);
    if (!status)
        push(m, set);
    return status;
}

pantry_status pn_matcher_allows(struct pn_matcher *m, int32_t token, bool *allowed, struct pantry_error *err)
{
    uint32_t set = PN_SET_DEAD;
    pantry_status status = check_token(m, token, err);
    if (!status)
        status = enter(m, err);
    if (status)
        return status;
    status = after_token(m, token, &set, err);
    leave(m);
    if (!status)
        *allowed = set != PN_SET_DEAD;
    return status;
}

pantry_status pn_matcher_accept_text(struct pn_matcher *m, const char *bytes, size_t n, struct pantry_error *err)
{
    pantry_status status = enter(m, err);
    if (status)
        return status;
    struct pn_sets *sets = &m->generation->sets;
    uint32_t set = here(m) == ENDED && n ? PN_SET_DEAD : here(m);
    for (size_t i = 0; i < n && set > PN_SET_DEAD; i++)
        set = pn_sets_step(sets, set, (unsigned char)bytes[i]);
    if (set == PN_SET_NONE)
        status = pn_sets_error(sets, err);
    leave(m);
    if (!status && set == PN_SET_DEAD)
        status = pn_fail(err, PANTRY_INVALID, "the grammar does not allow this text here");
    if (!status)
        push(m, set);
    return status;
}

pantry_status pn_matcher_rollback(struct pn_matcher *m, size_t n, struct pantry_error *err)
{
    if (n > m->n_steps || n >= m->n_sets)
        return pn_fail(err, PANTRY_INVALID, "a grammar cannot take back %zu steps (found %zu)", n, m->n_sets - 1);
    m->n_sets -= n;
    m->n_steps -= n;
    return PANTRY_OK;
}

size_t pn_matcher_n_steps(const struct pn_matcher *m)
{
    return m->n_steps;
}

/* ---- masks ---- */

static void put_bits(struct pn_matcher *m, bool set)
{
    for (size_t i = 0; i < m->mask->n_allowed; i++) {
        uint64_t bit = (uint64_t)1 << m->mask->ids[i] % 64;
        if (set)
            m->bits[m->mask->ids[i] / 64] |= bit;
        else
            m->bits[m->mask->ids[i] / 64] &= ~bit;
    }
}

/* Lets go of the mask that was handed out last. */
static void drop_mask(struct pn_matcher *m)
{
    if (m->listed)
        put_bits(m, false);
    m->listed = false;
    pn_stored_mask_release(m->mask);
    m->mask = NULL;
}

pantry_status pn_matcher_mask(struct pn_matcher *m, struct pn_mask *mask, struct pantry_error *err)
{
    struct pn_stored_mask *found;
    const struct pn_grammar_vocabulary *v = m->vocabulary;
    if (here(m) == ENDED) {
        *mask = (struct pn_mask){v->ends, v->n_words, v->n_ends, v->n_ends <= PN_MASK_FEW ? v->end_ids : NULL};
        return PANTRY_OK;
    }
    pantry_status status = enter(m, err);
    if (status)
        return status;
    status = pn_masks_of_set(m->masks, m->generation, here(m), &found, err);
    leave(m);
    if (status)
        return status;
    drop_mask(m);
    m->mask = found;
    m->listed = !found->bits;
    if (m->listed)
        put_bits(m, true);
    *mask = (struct pn_mask){.bits = found->bits ? found->bits : m->bits,
                             .n_words = v->n_words,
                             .n_allowed = found->n_allowed,
                             .ids = found->n_allowed <= PN_MASK_FEW ? found->ids : NULL};
    return PANTRY_OK;
}

/* The only byte that may come next; -1: none, or several. */
static int only_byte(const struct pn_grammar *grammar, const struct pn_set *set)
{
    int byte = -1;
    if (set->accepts || set->has_tokens)
        return -1;
    for (uint32_t i = 0; i < set->n_places + set->n_starts; i++) {
        uint32_t state = i < set->n_places ? set->places[i].state : set->starts[i - set->n_places];
        for (uint32_t e = grammar->byte_first[state]; e < grammar->byte_first[state + 1]; e++) {
            const struct pn_byte_edge *edge = &grammar->bytes[e];
            if (edge->first != edge->last || (byte >= 0 && byte != edge->first))
                return -1;
            byte = edge->first;
        }
    }
    return byte;
}

pantry_status pn_matcher_forced(struct pn_matcher *m, size_t max, struct pn_buf *out, struct pantry_error *err)
{
    if (here(m) == ENDED)
        return PANTRY_OK;
    pantry_status status = enter(m, err);
    if (status)
        return status;
    struct pn_sets *sets = &m->generation->sets;
    uint32_t set = here(m);
    for (size_t n = 0; !status && n < max; n++) {
        int byte = only_byte(m->masks->grammar, &sets->sets.data[set]);
        if (byte < 0)
            break;
        pn_buf_putc(out, (char)byte);
        set = pn_sets_step(sets, set, (unsigned char)byte);
        if (!set)
            status = pn_sets_error(sets, err);
    }
    leave(m);
    return !status && out->failed ? pn_no_memory(err, "a grammar") : status;
}

bool pn_matcher_can_end(struct pn_matcher *m)
{
    if (here(m) == ENDED)
        return true;
    pthread_mutex_lock(&m->masks->lock);
    bool accepts = m->generation->sets.sets.data[here(m)].accepts;
    pthread_mutex_unlock(&m->masks->lock);
    return accepts;
}

bool pn_matcher_is_finished(struct pn_matcher *m)
{
    if (here(m) == ENDED)
        return true;
    pthread_mutex_lock(&m->masks->lock);
    const struct pn_set *set = &m->generation->sets.sets.data[here(m)];
    const struct pn_grammar *grammar = m->masks->grammar;
    bool finished = set->accepts && !set->has_tokens;
    for (uint32_t i = 0; finished && i < set->n_places + set->n_starts; i++) {
        uint32_t state = i < set->n_places ? set->places[i].state : set->starts[i - set->n_places];
        finished = grammar->byte_first[state] == grammar->byte_first[state + 1];
    }
    pthread_mutex_unlock(&m->masks->lock);
    return finished;
}
