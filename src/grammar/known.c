/* Masks that grammars have in common: see known.h. */
#include "grammar/known.h"

#include <stdlib.h>
#include <string.h>

enum {
    MAX_STATES = 160,    /* of a part */
    MAX_KEY = 16 << 10,  /* bytes */
    SLOTS = 2048,        /* half of them are used */
    MAX_BYTES = 48 << 20 /* of masks and keys; then all are forgotten */
};

struct pn_known {
    struct entry {
        uint64_t hash;
        char *key; /* NULL: free */
        size_t n;
        struct pn_stored_mask *mask;
        uint32_t *leaves, n_leaves;
    } entries[SLOTS];
    size_t n_entries, n_bytes;
};

/* ---- keys ---- */

struct reached {
    const struct pn_grammar *g;
    uint32_t states[MAX_STATES], rules[MAX_STATES];
    uint32_t n_states, n_rules;
    struct pn_buf *key;
};

static bool put(struct reached *r, uint32_t number)
{
    pn_buf_append(r->key, &number, sizeof number);
    return !r->key->failed && r->key->len < MAX_KEY;
}

/* The number of a state or rule in the order in which they are met; MAX_STATES: too many. */
static uint32_t number_of(uint32_t *list, uint32_t *n, uint32_t what)
{
    uint32_t i = 0;
    while (i < *n && list[i] != what)
        i++;
    if (i == *n && i < MAX_STATES)
        list[(*n)++] = what;
    return i;
}

static bool put_state(struct reached *r, uint32_t state)
{
    uint32_t i = number_of(r->states, &r->n_states, state);
    return i < MAX_STATES && put(r, i);
}

static bool put_rule(struct reached *r, uint32_t rule)
{
    uint32_t i = number_of(r->rules, &r->n_rules, rule);
    return i < MAX_STATES && put(r, i);
}

static bool put_edges(struct reached *r, uint32_t s)
{
    const struct pn_grammar *g = r->g;
    uint32_t n_bytes = g->byte_first[s + 1] - g->byte_first[s], n_calls = g->call_first[s + 1] - g->call_first[s];
    bool ok = g->token_first[s] == g->token_first[s + 1] &&
              put(r, (n_bytes << 12 | n_calls) << 2 | (g->flags[s] & PN_STATE_FINAL));
    for (uint32_t i = 0; ok && i < n_bytes; i++) {
        const struct pn_byte_edge *e = &g->bytes[g->byte_first[s] + i];
        ok = put(r, (uint32_t)e->first << 8 | e->last) && put_state(r, e->to);
    }
    for (uint32_t i = 0; ok && i < n_calls; i++) {
        const struct pn_call_edge *e = &g->calls[g->call_first[s] + i];
        ok = !g->rules[e->what].only_text && put_rule(r, e->what) && put_state(r, e->to);
    }
    return ok;
}

/* The place itself: how far its count is from the bounds is all that counts. */
static bool put_place(struct reached *r, uint32_t state, uint32_t count)
{
    const struct pn_grammar_rule *rule = &r->g->rules[r->g->rule_of[state]];
    if (!put(r, rule == r->g->rules) || !put_state(r, state)) /* the first rule has no callers to go on in */
        return false;
    if (!rule->counts)
        return put(r, 0);
    if (count == PN_COUNT_FREE)
        return put(r, 1) && put_state(r, rule->start);
    uint32_t least = count < (uint32_t)rule->min ? (uint32_t)rule->min - count : 0;
    uint32_t most = rule->max == PN_EXPR_NO_MAX ? UINT32_MAX : (uint32_t)rule->max - count;
    return put(r, 2) && put(r, least) && put(r, most) && put_state(r, rule->start);
}

bool pn_known_key(const struct pn_grammar *g, uint32_t state, uint32_t count, struct pn_buf *key)
{
    struct reached r = {.g = g, .key = key};
    pn_buf_clear(key);
    if (state == PN_STATE_LEFT || !put_place(&r, state, count))
        return false;
    for (uint32_t s = 0, rule = 0; s < r.n_states || rule < r.n_rules;) {
        if (s < r.n_states) {
            if (!put_edges(&r, r.states[s++]))
                return false;
            continue;
        }
        const struct pn_grammar_rule *is = &g->rules[r.rules[rule++]];
        if (!put(&r, is->counts) || !put(&r, (uint32_t)is->min) || !put(&r, (uint32_t)is->max) ||
            !put_state(&r, is->start))
            return false;
    }
    return true;
}

/* ---- the table ---- */

/* FNV-1a. */
static uint64_t hash_of(const struct pn_buf *key)
{
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < key->len; i++)
        h = (h ^ (unsigned char)key->data[i]) * 1099511628211u;
    return h;
}

static struct entry *slot_of(struct pn_known *known, const struct pn_buf *key, uint64_t hash)
{
    size_t at = (size_t)(hash ^ hash >> 32) % SLOTS;
    struct entry *e = &known->entries[at];
    while (e->key && !(e->hash == hash && e->n == key->len && memcmp(e->key, key->data, e->n) == 0)) {
        at = (at + 1) % SLOTS;
        e = &known->entries[at];
    }
    return e;
}

static void clear(struct pn_known *known)
{
    for (size_t i = 0; i < SLOTS; i++) {
        free(known->entries[i].key);
        free(known->entries[i].leaves);
        pn_stored_mask_release(known->entries[i].mask);
    }
    *known = (struct pn_known){0};
}

static uint32_t *copy_leaves(const uint32_t *leaves, uint32_t n)
{
    uint32_t *copy = malloc(((size_t)n + 1) * sizeof *copy);
    if (copy && n)
        memcpy(copy, leaves, n * sizeof *copy);
    return copy;
}

bool pn_known_find(struct pn_grammar_vocabulary *v, const struct pn_buf *key, struct pn_local *local)
{
    bool found = false;
    pthread_mutex_lock(&v->known_lock);
    const struct entry *e = v->known ? slot_of(v->known, key, hash_of(key)) : NULL;
    if (e && e->key && (local->leaves = copy_leaves(e->leaves, e->n_leaves))) {
        local->n_leaves = e->n_leaves;
        local->mask = pn_stored_mask_share(e->mask);
        found = true;
    }
    pthread_mutex_unlock(&v->known_lock);
    return found;
}

void pn_known_add(struct pn_grammar_vocabulary *v, const struct pn_buf *key, const struct pn_local *local)
{
    uint64_t hash = hash_of(key);
    size_t bytes = key->len + local->n_leaves * sizeof *local->leaves + pn_stored_mask_bytes(v, local->mask);
    pthread_mutex_lock(&v->known_lock);
    if (!v->known)
        v->known = calloc(1, sizeof *v->known);
    if (v->known && (v->known->n_entries >= SLOTS / 2 || v->known->n_bytes + bytes > MAX_BYTES))
        clear(v->known);
    struct entry *e = v->known ? slot_of(v->known, key, hash) : NULL;
    if (e && !e->key) {
        struct entry new = {.hash = hash, .key = malloc(key->len + 1), .n = key->len, .n_leaves = local->n_leaves};
        new.leaves = copy_leaves(local->leaves, local->n_leaves);
        if (new.key &&new.leaves) {
            memcpy(new.key, key->data, key->len);
            new.mask = pn_stored_mask_share(local->mask);
            *e = new;
            v->known->n_entries++;
            v->known->n_bytes += bytes;
        } else {
            free(new.key);
            free(new.leaves);
        }
    }
    pthread_mutex_unlock(&v->known_lock);
}

void pn_known_free(struct pn_known *known)
{
    if (!known)
        return;
    clear(known);
    free(known);
}
