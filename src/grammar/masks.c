/* Masks of places and sets, and the generations that keep them: see masks.h. */
#include "grammar/masks.h"

#include "grammar/known.h"

#include <stdlib.h>
#include <string.h>

enum {
    KEPT_BYTES = 64 << 20,       /* of sets and masks; then a new generation starts */
    KEPT_LOCAL_BYTES = 64 << 20, /* of masks of places */
    SPARSE = 256,                /* up to so many tokens, a mask is a list */
    KEPT_GRAMMARS = 32           /* of a vocabulary; those in use stay, too */
};
static const int64_t max_work = 100000000; /* places that one call may visit */

/* ---- stored masks ---- */

/* A copy of the mask in hand; NULL without memory. */
static struct pn_stored_mask *store_mask(const struct pn_masks *k)
{
    struct pn_stored_mask *mask = calloc(1, sizeof *mask);
    size_t n_words = k->vocabulary->n_words, n = 0;
    if (!mask)
        return NULL;
    atomic_init(&mask->n_users, 1);
    for (size_t w = 0; w < n_words; w++)
        mask->n_allowed += (size_t)__builtin_popcountll(k->bits[w]);
    if (mask->n_allowed > SPARSE) {
        mask->bits = malloc(n_words * sizeof *mask->bits);
        if (mask->bits)
            memcpy(mask->bits, k->bits, n_words * sizeof *mask->bits);
    } else {
        mask->ids = malloc((mask->n_allowed + 1) * sizeof *mask->ids);
        for (size_t w = 0; mask->ids && w < n_words; w++)
            for (uint64_t left = k->bits[w]; left; left &= left - 1)
                mask->ids[n++] = (int32_t)(64 * w + (size_t)__builtin_ctzll(left));
    }
    if (mask->bits || mask->ids)
        return mask;
    free(mask);
    return NULL;
}

static void add_bits(struct pn_masks *k, const uint64_t *bits)
{
    for (size_t w = 0; w < k->vocabulary->n_words; w++)
        k->bits[w] |= bits[w];
}

static void add_mask(struct pn_masks *k, const struct pn_stored_mask *mask)
{
    if (mask->bits)
        add_bits(k, mask->bits);
    else
        for (size_t i = 0; i < mask->n_allowed; i++)
            k->bits[mask->ids[i] / 64] |= (uint64_t)1 << mask->ids[i] % 64;
}

static void clear_bits(struct pn_masks *k)
{
    memset(k->bits, 0, k->vocabulary->n_words * sizeof *k->bits);
}

/* ---- walking the trie ---- */

/* The record of a set; NULL without memory. */
static struct pn_of_set *of_set(struct pn_generation *g, uint32_t set)
{
    if (set >= g->of_set.len) {
        size_t need = g->sets.sets.len > set ? g->sets.sets.len : (size_t)set + 1;
        if (!pn_vec_reserve((void **)(void *)&g->of_set.data, &g->of_set.cap, need, sizeof *g->of_set.data))
            return NULL;
        memset(g->of_set.data + g->of_set.len, 0, (need - g->of_set.len) * sizeof *g->of_set.data);
        g->of_set.len = need;
    }
    return &g->of_set.data[set];
}

/* Whether all bytes of these kinds lead from the set back to it. */
static bool loops(struct pn_generation *g, uint32_t set, uint16_t kinds)
{
    struct pn_of_set *record = of_set(g, set);
    if (!record)
        return false;
    uint16_t unknown = kinds & (uint16_t)~record->looked_at;
    uint16_t found = unknown;
    for (unsigned byte = 0; unknown && byte < 256; byte++) {
        uint16_t kind = (uint16_t)(1u << pn_byte_kind[byte]);
        if (found & kind && pn_sets_step(&g->sets, set, (unsigned char)byte) != set)
            found &= (uint16_t)~kind;
    }
    record = of_set(g, set); /* steps may have made it move */
    if (!record || g->sets.status)
        return false;
    record->looked_at |= unknown;
    record->loops |= found;
    return (record->loops & kinds) == kinds;
}

static void allow(struct pn_masks *k, uint32_t first, uint32_t end)
{
    for (uint32_t i = first; i < end; i++) {
        uint32_t id = (uint32_t)k->vocabulary->ids[i];
        k->bits[id / 64] |= (uint64_t)1 << id % 64;
    }
}

/* Allows the tokens below the node `from`, where the set is `set`, that the grammar has. Where the rule of PN_SET_OUT
 * can be left, the nodes are added to `leaves`. False: a failure of the sets or of memory. */
static bool walk(struct pn_masks *k, struct pn_generation *g, uint32_t set, uint32_t from)
{
    const struct pn_trie_node *nodes = k->vocabulary->nodes;
    uint32_t *stack = k->stack, end = nodes[from].end;
    unsigned base = nodes[from].depth;
    stack[0] = set;
    for (uint32_t i = from + 1; i < end;) {
        const struct pn_trie_node *node = &nodes[i];
        unsigned depth = node->depth - base;
        uint32_t to = pn_sets_step(&g->sets, stack[depth - 1], node->byte);
        if (to == PN_SET_DEAD) {
            i = node->end;
            continue;
        }
        if (to == PN_SET_NONE)
            return false;
        if (to == stack[depth - 1] && node->kinds && loops(g, to, node->kinds) && !g->sets.sets.data[to].left) {
            allow(k, node->first_id, nodes[node->end].first_id);
            i = node->end;
            continue;
        }
        const struct pn_set *is = &g->sets.sets.data[to];
        allow(k, node->first_id, nodes[i + 1].first_id);
        if (is->left && node->end > i + 1 && !pn_vec_push(&k->leaves, i))
            return false;
        stack[depth] = to;
        i = is->left && is->n_places == 1 ? node->end : i + 1;
    }
    return !g->sets.status;
}

static void forbid(struct pn_masks *k, uint32_t first, uint32_t end)
{
    for (uint32_t i = first; i < end; i++) {
        uint32_t id = (uint32_t)k->vocabulary->ids[i];
        k->bits[id / 64] &= ~((uint64_t)1 << id % 64);
    }
}

/* Forbids the tokens below a node that have more than `above` bytes. */
static void forbid_deeper(struct pn_masks *k, uint32_t from, uint32_t above)
{
    const struct pn_trie_node *nodes = k->vocabulary->nodes;
    for (uint32_t i = from + 1; i < nodes[from].end; i++)
        if (nodes[i].depth > above)
            forbid(k, nodes[i].first_id, nodes[i + 1].first_id);
}

/* As `walk` from the root, but decides only tokens of more than `above` bytes, and forbids them, too. */
static bool walk_deeper(struct pn_masks *k, struct pn_generation *g, uint32_t set, uint32_t above)
{
    const struct pn_trie_node *nodes = k->vocabulary->nodes;
    uint32_t *stack = k->stack, end = nodes[0].end;
    stack[0] = set;
    for (uint32_t i = 1; i < end;) {
        const struct pn_trie_node *node = &nodes[i];
        if (node->deepest <= above) {
            i = node->end;
            continue;
        }
        uint32_t to = pn_sets_step(&g->sets, stack[node->depth - 1], node->byte);
        if (to == PN_SET_NONE)
            return false;
        const struct pn_set *is = &g->sets.sets.data[to];
        bool over = to == PN_SET_DEAD || (is->left && is->n_places == 1); /* nothing below stays in the rule */
        if (node->depth > above) {
            forbid(k, node->first_id, nodes[over ? node->end : i + 1].first_id);
            if (to != PN_SET_DEAD)
                allow(k, node->first_id, nodes[i + 1].first_id);
            if (is->left && node->end > i + 1 && !pn_vec_push(&k->leaves, i))
                return false;
        } else if (over) {
            forbid_deeper(k, i, above);
        }
        stack[node->depth] = to;
        i = over ? node->end : i + 1;
    }
    return !g->sets.status;
}

/* ---- masks of places ---- */

/* The count of a representative: tokens cannot tell counts apart that are further from both bounds than the longest
 * token. Between the bounds it is PN_COUNT_FREE. */
static uint32_t alike_count(const struct pn_masks *k, uint32_t state, uint32_t count)
{
    if (state == PN_STATE_LEFT || !k->grammar->rules[k->grammar->rule_of[state]].counts)
        return count;
    const struct pn_grammar_rule *rule = &k->grammar->rules[k->grammar->rule_of[state]];
    uint64_t far = k->vocabulary->longest + 1, min = (uint64_t)rule->min, max = (uint64_t)rule->max;
    if (rule->max != PN_EXPR_NO_MAX && count + far > max)
        return count;
    if (count >= min)
        return PN_COUNT_FREE;
    return count + far < min ? (uint32_t)(min - far - 1) : count;
}

static size_t local_slot(const struct pn_masks *k, uint32_t state, uint32_t count)
{
    uint64_t h = ((uint64_t)state << 32 | count) * 0x9E3779B97F4A7C15u;
    size_t at = (size_t)(h >> 20) & (k->n_local_slots - 1);
    while (k->locals[at].mask && (k->locals[at].state != state || k->locals[at].count != count))
        at = (at + 1) & (k->n_local_slots - 1);
    return at;
}

static void free_locals(struct pn_masks *k)
{
    for (size_t i = 0; i < k->n_local_slots; i++) {
        pn_stored_mask_release(k->locals[i].mask);
        free(k->locals[i].leaves);
    }
    free(k->locals);
    k->locals = NULL;
    k->n_locals = k->n_local_slots = k->local_bytes = 0;
}

static bool grow_locals(struct pn_masks *k)
{
    struct pn_local *old = k->locals;
    size_t n_old = k->n_local_slots, n = n_old ? 2 * n_old : 64;
    struct pn_local *slots = calloc(n, sizeof *slots);
    if (!slots)
        return false;
    k->locals = slots;
    k->n_local_slots = n;
    for (size_t i = 0; i < n_old; i++)
        if (old[i].mask)
            k->locals[local_slot(k, old[i].state, old[i].count)] = old[i];
    free(old);
    return true;
}

/* Allows the tokens of the grammar that may come at a state. */
static void add_labels(struct pn_masks *k, uint32_t state)
{
    const struct pn_grammar *g = k->grammar;
    for (uint32_t i = g->token_first[state]; i < g->token_first[state + 1]; i++)
        add_bits(k, k->labels[g->tokens[i].what]);
}

static const struct pn_local *local_of(struct pn_masks *k, struct pn_generation *g, struct pn_place place);

/* Between its bounds, a count makes a difference only to tokens that are longer than what is left up to the maximum. So
 * the mask begins as that of a free count, and only longer tokens are looked at again. */
static bool correct_free(struct pn_masks *k, struct pn_generation *g, uint32_t set, const struct pn_local *out,
                         uint32_t left)
{
    const struct pn_local *free_one = local_of(k, g, (struct pn_place){out->state, PN_SET_OUT, PN_COUNT_FREE});
    if (!free_one)
        return false;
    clear_bits(k);
    add_mask(k, free_one->mask);
    k->leaves.len = 0;
    for (uint32_t i = 0; i < free_one->n_leaves; i++)
        if (k->vocabulary->nodes[free_one->leaves[i]].depth <= left && !pn_vec_push(&k->leaves, free_one->leaves[i]))
            return false;
    return walk_deeper(k, g, set, left);
}

static bool compute_local(struct pn_masks *k, struct pn_generation *g, struct pn_local *out)
{
    const struct pn_place place = {out->state, PN_SET_OUT, out->count};
    const struct pn_grammar_rule *rule = &k->grammar->rules[k->grammar->rule_of[out->state]];
    uint32_t set = pn_sets_places(&g->sets, &place, 1);
    bool near =
        rule->counts && out->count != PN_COUNT_FREE && out->count >= (uint32_t)rule->min && rule->max != PN_EXPR_NO_MAX;
    if (!set)
        return false;
    if (near && !correct_free(k, g, set, out, (uint32_t)rule->max - out->count))
        return false;
    if (!near) {
        clear_bits(k);
        k->leaves.len = 0;
        if (set != PN_SET_DEAD && !walk(k, g, set, 0))
            return false;
    }
    if (g->sets.sets.data[set].has_tokens) {
        const struct pn_set *is = &g->sets.sets.data[set];
        for (uint32_t i = 0; i < is->n_places; i++)
            if (is->places[i].state != PN_STATE_LEFT)
                add_labels(k, is->places[i].state);
        for (uint32_t i = 0; i < is->n_starts; i++)
            add_labels(k, is->starts[i]);
    }
    out->leaves = malloc((k->leaves.len + 1) * sizeof *out->leaves);
    out->mask = out->leaves ? store_mask(k) : NULL;
    if (!out->mask) {
        free(out->leaves);
        return false;
    }
    if (k->leaves.len)
        memcpy(out->leaves, k->leaves.data, k->leaves.len * sizeof *out->leaves);
    out->n_leaves = (uint32_t)k->leaves.len;
    return true;
}

/* Another grammar may have had the same part. */
static bool find_or_compute(struct pn_masks *k, struct pn_generation *g, struct pn_local *local)
{
    struct pn_buf key = {0};
    bool has_key = pn_known_key(k->grammar, local->state, local->count, &key);
    bool ok = (has_key && pn_known_find(k->vocabulary, &key, local)) || compute_local(k, g, local);
    if (ok && has_key)
        pn_known_add(k->vocabulary, &key, local);
    pn_buf_free(&key);
    return ok;
}

/* The mask of a place, valid until the next call; NULL after a failure. */
static const struct pn_local *local_of(struct pn_masks *k, struct pn_generation *g, struct pn_place place)
{
    struct pn_local local = {.state = place.state, .count = alike_count(k, place.state, place.count)};
    if (k->local_bytes > KEPT_LOCAL_BYTES && local.count != PN_COUNT_FREE)
        free_locals(k);
    if (2 * (k->n_locals + 2) > k->n_local_slots && !grow_locals(k)) /* room for its free one, too */
        return NULL;
    size_t at = local_slot(k, local.state, local.count);
    if (k->locals[at].mask)
        return &k->locals[at];
    if (!find_or_compute(k, g, &local))
        return NULL;
    at = local_slot(k, local.state, local.count); /* another place may have come in between */
    k->locals[at] = local;
    k->n_locals++;
    k->local_bytes +=
        sizeof local + local.n_leaves * sizeof *local.leaves + pn_stored_mask_bytes(k->vocabulary, local.mask);
    return &k->locals[at];
}

/* ---- masks of sets ---- */

/* The set with alike counts, of which the mask is the same. */
static uint32_t alike_set(struct pn_masks *k, struct pn_generation *g, uint32_t set)
{
    struct pn_place few[16];
    bool differs = false;
    const struct pn_set *is = &g->sets.sets.data[set];
    if (is->n_places > 16)
        return set;
    for (uint32_t i = 0; i < is->n_places; i++) {
        few[i] = is->places[i];
        few[i].count = alike_count(k, few[i].state, few[i].count);
        const struct pn_of_set *origin = few[i].origin < g->of_set.len ? &g->of_set.data[few[i].origin] : NULL;
        if (origin && origin->alike)
            few[i].origin = origin->alike;
        differs = differs || few[i].count != is->places[i].count || few[i].origin != is->places[i].origin;
    }
    uint32_t n = is->n_places;
    return differs ? pn_sets_places(&g->sets, few, n) : set;
}

/* Adds what a place allows: within its rule, then after leaving it. */
static bool add_place(struct pn_masks *k, struct pn_generation *g, struct pn_place place, uint64_t *bits)
{
    uint64_t *hand = k->bits;
    const struct pn_local *local = local_of(k, g, place);
    if (!local)
        return false;
    k->bits = bits;
    add_mask(k, local->mask);
    bool ok = true;
    if (local->n_leaves) {
        uint32_t after = pn_sets_return(&g->sets, k->grammar->rule_of[place.state], place.origin);
        ok = after != PN_SET_NONE;
        for (uint32_t i = 0; ok && after != PN_SET_DEAD && i < local->n_leaves; i++)
            ok = walk(k, g, after, local->leaves[i]);
    }
    k->bits = hand;
    return ok;
}

/* A set of one place that cannot leave its rule shares the mask of the place. */
static struct pn_stored_mask *whole_local(struct pn_masks *k, struct pn_generation *g, uint32_t set)
{
    const struct pn_set *is = &g->sets.sets.data[set];
    if (is->n_places != 1 || is->accepts)
        return NULL;
    const struct pn_local *local = local_of(k, g, is->places[0]);
    return local && local->n_leaves == 0 ? pn_stored_mask_share(local->mask) : NULL;
}

static struct pn_stored_mask *compute(struct pn_masks *k, struct pn_generation *g, uint32_t set)
{
    struct pn_stored_mask *mask = whole_local(k, g, set);
    uint64_t *bits = mask ? NULL : calloc(k->vocabulary->n_words + 1, sizeof *bits), *hand = k->bits;
    bool ok = bits != NULL && !g->sets.status;
    for (uint32_t i = 0; ok && i < g->sets.sets.data[set].n_places; i++)
        ok = add_place(k, g, g->sets.sets.data[set].places[i], bits);
    if (ok) {
        k->bits = bits;
        if (g->sets.sets.data[set].accepts)
            add_bits(k, k->vocabulary->ends);
        mask = store_mask(k);
        k->bits = hand;
    }
    free(bits);
    return mask;
}

static pantry_status failure(const struct pn_generation *g, struct pantry_error *err)
{
    return g->sets.status ? pn_sets_error(&g->sets, err) : pn_no_memory(err, "a grammar");
}

pantry_status pn_masks_of_set(struct pn_masks *k, struct pn_generation *g, uint32_t set, struct pn_stored_mask **out,
                              struct pantry_error *err)
{
    struct pn_of_set *record = of_set(g, set);
    if (record && record->mask) {
        *out = pn_stored_mask_share(record->mask);
        return PANTRY_OK;
    }
    uint32_t alike = record ? alike_set(k, g, set) : PN_SET_NONE;
    record = alike ? of_set(g, alike) : NULL;
    struct pn_stored_mask *mask = !record        ? NULL
                                  : record->mask ? pn_stored_mask_share(record->mask)
                                                 : compute(k, g, alike);
    if (!mask)
        return failure(g, err);
    if (!of_set(g, alike)->mask) {
        of_set(g, alike)->mask = pn_stored_mask_share(mask);
        of_set(g, alike)->alike = alike;
        g->n_bytes += pn_stored_mask_bytes(k->vocabulary, mask);
    }
    if (alike != set) {
        of_set(g, set)->mask = pn_stored_mask_share(mask);
        of_set(g, set)->alike = alike;
    }
    *out = mask;
    return PANTRY_OK;
}

/* ---- steps ---- */

static bool is_in(const uint64_t *bits, int32_t id)
{
    return bits[id / 64] >> id % 64 & 1;
}

uint32_t pn_masks_step(struct pn_masks *k, struct pn_generation *g, uint32_t set, int32_t token)
{
    const struct pn_grammar_vocabulary *v = k->vocabulary;
    uint32_t to = PN_SET_DEAD, by_label = PN_SET_DEAD;
    if (!v->flags[token] && v->bytes_at[token] < v->bytes_at[token + 1]) {
        to = set;
        for (uint32_t i = v->bytes_at[token]; to > PN_SET_DEAD && i < v->bytes_at[token + 1]; i++)
            to = pn_sets_step(&g->sets, to, (unsigned char)v->bytes[i]);
    }
    if (to == PN_SET_NONE || !g->sets.sets.data[set].has_tokens)
        return to;
    for (uint32_t l = 0; l < k->grammar->n_labels; l++)
        k->has_label[l] = is_in(k->labels[l], token);
    by_label = pn_sets_token(&g->sets, set, k->has_label);
    return by_label ? pn_sets_union(&g->sets, to, by_label) : PN_SET_NONE;
}

/* ---- generations ---- */

void pn_generation_release(struct pn_generation *g)
{
    if (!g || --g->n_users)
        return;
    for (size_t i = 0; i < g->of_set.len; i++)
        pn_stored_mask_release(g->of_set.data[i].mask);
    free(g->of_set.data);
    pn_sets_free(&g->sets);
    free(g);
}

static pantry_status new_generation(struct pn_masks *k, struct pantry_error *err)
{
    struct pn_generation *g = calloc(1, sizeof *g);
    pantry_status status = g ? pn_sets_init(&g->sets, k->grammar, false, err) : pn_no_memory(err, "a grammar");
    if (status) {
        free(g);
        return status;
    }
    g->n_users = 1;
    pn_generation_release(k->generation);
    k->generation = g;
    return PANTRY_OK;
}

static size_t generation_bytes(const struct pn_generation *g)
{
    return pn_sets_bytes(&g->sets) + g->n_bytes + g->of_set.cap * sizeof *g->of_set.data;
}

pantry_status pn_masks_enter(struct pn_masks *k, struct pn_generation **generation, uint32_t *ids, size_t n,
                             struct pantry_error *err)
{
    struct pn_generation *before = *generation;
    pantry_status status = PANTRY_OK;
    if (generation_bytes(k->generation) > KEPT_BYTES)
        status = new_generation(k, err);
    struct pn_generation *g = k->generation;
    if (status)
        return status;
    g->sets.work = max_work;
    g->sets.status = PANTRY_OK;
    if (before == g)
        return PANTRY_OK;
    if (before && n)
        status = pn_sets_move(&g->sets, &before->sets, ids, n, err);
    if (status)
        return status;
    g->n_users++;
    pn_generation_release(before);
    *generation = g;
    return generation_bytes(g) > KEPT_BYTES ? pn_fail(err, PANTRY_LIMIT, "the text nests too deeply for its grammar")
                                            : PANTRY_OK;
}

/* ---- masks of a grammar ---- */

static bool is_label(const struct pn_token_label *label, const struct pn_grammar_vocabulary *v, size_t id)
{
    if (label->text)
        return v->texts_at[id + 1] - v->texts_at[id] == label->n &&
               memcmp(v->texts + v->texts_at[id], label->text, label->n) == 0;
    for (uint32_t i = 0; i < label->n; i++)
        if ((size_t)label->ids[i] == id)
            return true;
    return false;
}

/* The tokens of a label. Negated, control tokens are not among them. */
static pantry_status find_label(const struct pn_token_label *label, const struct pn_grammar_vocabulary *v,
                                uint64_t **out, struct pantry_error *err)
{
    bool found = false;
    *out = calloc(v->n_words + 1, sizeof **out);
    if (!*out)
        return pn_no_memory(err, "a grammar");
    for (size_t id = 0; id < v->n_tokens; id++) {
        bool is = is_label(label, v, id);
        found = found || is;
        if (label->negate ? !is && !v->flags[id] : is)
            (*out)[id / 64] |= (uint64_t)1 << id % 64;
    }
    if (found)
        return PANTRY_OK;
    if (label->text)
        return pn_fail(err, PANTRY_NOT_FOUND, "the grammar names the token %.*s, which the model does not have",
                       (int)(label->n < 100 ? label->n : 100), label->text);
    return pn_fail(err, PANTRY_NOT_FOUND,
                   "the grammar names token %d, which the model does not have (found %zu tokens)",
                   (int)(label->n ? label->ids[0] : -1), v->n_tokens);
}

static void masks_free(struct pn_masks *k)
{
    if (!k)
        return;
    for (uint32_t l = 0; k->labels && l < k->grammar->n_labels; l++)
        free(k->labels[l]);
    free(k->labels);
    free(k->has_label);
    pn_generation_release(k->generation);
    free_locals(k);
    free(k->stack);
    free(k->bits);
    free(k->leaves.data);
    pn_grammar_free(k->grammar);
    pthread_mutex_destroy(&k->lock);
    free(k);
}

static pantry_status masks_new(struct pn_grammar *grammar, struct pn_grammar_vocabulary *v, struct pn_masks **out,
                               struct pantry_error *err)
{
    struct pn_masks *k = calloc(1, sizeof *k);
    if (!k || pthread_mutex_init(&k->lock, NULL) != 0) {
        free(k);
        return pn_no_memory(err, "a grammar");
    }
    atomic_init(&k->n_users, 1);
    k->grammar = pn_grammar_share(grammar);
    k->vocabulary = v;
    k->labels = calloc((size_t)grammar->n_labels + 1, sizeof *k->labels);
    k->has_label = calloc((size_t)grammar->n_labels + 1, sizeof *k->has_label);
    k->stack = calloc(v->longest + 2, sizeof *k->stack);
    k->bits = calloc(v->n_words + 1, sizeof *k->bits);
    pantry_status status =
        k->labels && k->has_label && k->stack && k->bits ? PANTRY_OK : pn_no_memory(err, "a grammar");
    for (uint32_t l = 0; !status && l < grammar->n_labels; l++)
        status = find_label(&grammar->labels[l], v, &k->labels[l], err);
    if (!status)
        status = new_generation(k, err);
    if (status)
        masks_free(k);
    else
        *out = k;
    return status;
}

void pn_masks_release(struct pn_masks *k)
{
    if (k && atomic_fetch_sub_explicit(&k->n_users, 1, memory_order_acq_rel) == 1)
        masks_free(k);
}

void pn_masks_free_all(struct pn_masks *list)
{
    while (list) {
        struct pn_masks *next = list->next;
        pn_masks_release(list);
        list = next;
    }
}

/* Keeps the grammars used last, and those in use. The list is a user, too. */
static void trim(struct pn_grammar_vocabulary *v)
{
    size_t n = 0;
    for (struct pn_masks **p = &v->masks; *p;) {
        struct pn_masks *k = *p;
        if (++n <= KEPT_GRAMMARS || atomic_load_explicit(&k->n_users, memory_order_acquire) > 1) {
            p = &k->next;
            continue;
        }
        *p = k->next;
        pn_masks_release(k);
    }
}

pantry_status pn_masks_find(struct pn_grammar *grammar, struct pn_grammar_vocabulary *v, struct pn_masks **out,
                            struct pantry_error *err)
{
    pantry_status status = PANTRY_OK;
    struct pn_masks **p = &v->masks, *k;
    pthread_mutex_lock(&v->lock);
    while (*p && (*p)->grammar != grammar)
        p = &(*p)->next;
    k = *p;
    if (k)
        *p = k->next;
    else
        status = masks_new(grammar, v, &k, err);
    if (!status) {
        k->next = v->masks;
        v->masks = k;
        atomic_fetch_add_explicit(&k->n_users, 1, memory_order_relaxed);
        *out = k;
        trim(v);
    }
    pthread_mutex_unlock(&v->lock);
    return status;
}
