/* Sets of places, their steps, and their storage by content: see sets.h. */
#include "grammar/sets.h"

#include <stdlib.h>
#include <string.h>

enum {
    MAX_PLACES = 20000, /* of a set: a grammar that is this ambiguous is refused */
    DEFAULT_BYTES = 256 << 20,
    BLOCK = 16
};

static uint32_t failed(struct pn_sets *s, pantry_status status)
{
    if (!s->status)
        s->status = status;
    return PN_SET_NONE;
}

pantry_status pn_sets_error(const struct pn_sets *s, struct pantry_error *err)
{
    if (s->status == PANTRY_LIMIT)
        return pn_fail(err, PANTRY_LIMIT, "the grammar is too ambiguous, or nested too deeply, for this text");
    return s->status ? pn_no_memory(err, "a grammar") : PANTRY_OK;
}

size_t pn_sets_bytes(const struct pn_sets *s)
{
    return s->arena.used + s->sets.cap * sizeof *s->sets.data + s->n_slots * sizeof *s->slots;
}

/* ---- places of the set in hand ---- */

static size_t hash_place(struct pn_place p)
{
    uint64_t h = (uint64_t)p.state << 32 | p.origin;
    h = (h ^ (uint64_t)p.count << 17) * 0x9E3779B97F4A7C15u;
    return (size_t)(h >> 24);
}

static bool same_place(struct pn_place a, struct pn_place b)
{
    return a.state == b.state && a.origin == b.origin && a.count == b.count;
}

static bool grow_place_slots(struct pn_sets *s)
{
    size_t n = s->n_place_slots ? 4 * s->n_place_slots : 64;
    uint32_t *slots = calloc(n, sizeof *slots), *stamps = calloc(n, sizeof *stamps);
    if (!slots || !stamps) {
        free(slots);
        free(stamps);
        return false;
    }
    free(s->place_slots);
    free(s->place_stamps);
    s->place_slots = slots;
    s->place_stamps = stamps;
    s->n_place_slots = n;
    s->place_stamp = 1;
    for (size_t i = 0; i < s->places.len; i++) {
        size_t at = hash_place(s->places.data[i]) & (n - 1);
        while (stamps[at] == 1)
            at = (at + 1) & (n - 1);
        stamps[at] = 1;
        slots[at] = (uint32_t)i;
    }
    return true;
}

static void begin(struct pn_sets *s)
{
    s->places.len = 0;
    if (++s->place_stamp == 0) { /* the numbers have wrapped around */
        memset(s->place_stamps, 0, s->n_place_slots * sizeof *s->place_stamps);
        s->place_stamp = 1;
    }
}

static bool add(struct pn_sets *s, uint32_t state, uint32_t origin, uint32_t count)
{
    struct pn_place place = {state, origin, count};
    if (--s->work < 0 || s->places.len >= MAX_PLACES)
        return failed(s, PANTRY_LIMIT), false;
    if (2 * (s->places.len + 1) > s->n_place_slots && !grow_place_slots(s))
        return failed(s, PANTRY_NO_MEMORY), false;
    size_t at = hash_place(place) & (s->n_place_slots - 1);
    for (; s->place_stamps[at] == s->place_stamp; at = (at + 1) & (s->n_place_slots - 1))
        if (same_place(s->places.data[s->place_slots[at]], place))
            return true;
    s->place_stamps[at] = s->place_stamp;
    s->place_slots[at] = (uint32_t)s->places.len;
    return pn_vec_push(&s->places, place) || (failed(s, PANTRY_NO_MEMORY), false);
}

/* Goes on after a call of `rule` in the set `origin`. */
static bool leave(struct pn_sets *s, uint32_t rule, uint32_t origin)
{
    if (origin == PN_SET_OUT)
        return add(s, PN_STATE_LEFT, PN_SET_OUT, 0);
    const struct pn_set *from = &s->sets.data[origin];
    uint32_t low = 0, high = from->n_calls;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (from->calls[middle].rule < rule)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < from->n_calls && from->calls[low].rule == rule; low++) {
        const struct pn_set_call *call = &from->calls[low];
        if (!add(s, call->to, call->origin == PN_ORIGIN_SELF ? origin : call->origin, call->count))
            return false;
    }
    return true;
}

/* A place at the end of its rule: the rule's callers go on, or the rule counts and starts again. */
static bool complete(struct pn_sets *s, struct pn_place place)
{
    uint32_t rule = s->grammar->rule_of[place.state];
    const struct pn_grammar_rule *is = &s->grammar->rules[rule];
    if (rule == 0)
        return true;
    if (!is->counts)
        return leave(s, rule, place.origin);
    uint32_t count = place.count + 1;
    if (is->max == PN_EXPR_NO_MAX && count > (uint32_t)is->min)
        count = (uint32_t)is->min;
    if ((is->max == PN_EXPR_NO_MAX || count < (uint32_t)is->max) && !add(s, is->start, place.origin, count))
        return false;
    return place.count + 1 < (uint32_t)is->min || leave(s, rule, place.origin);
}

static int by_place(const void *a, const void *b)
{
    const struct pn_place *x = a, *y = b;
    if (x->state != y->state)
        return x->state < y->state ? -1 : 1;
    if (x->origin != y->origin)
        return x->origin < y->origin ? -1 : 1;
    return (x->count > y->count) - (x->count < y->count);
}

/* Adds what follows from places at the end of rules, then drops places that have nothing more to say, and sorts. */
static bool close_places(struct pn_sets *s)
{
    const uint8_t *flags = s->grammar->flags;
    size_t kept = 0;
    for (size_t i = 0; i < s->places.len; i++) {
        struct pn_place place = s->places.data[i];
        if (place.state != PN_STATE_LEFT && flags[place.state] & PN_STATE_FINAL && !complete(s, place))
            return false;
    }
    for (size_t i = 0; i < s->places.len; i++) {
        struct pn_place place = s->places.data[i];
        if (place.state == PN_STATE_LEFT || flags[place.state] & PN_STATE_GOES_ON ||
            s->grammar->rule_of[place.state] == 0)
            s->places.data[kept++] = place;
    }
    s->places.len = kept;
    if (kept > 1)
        qsort(s->places.data, kept, sizeof *s->places.data, by_place);
    return true;
}

/* ---- storing sets ---- */

static uint64_t hash_places(const struct pn_place *p, size_t n)
{
    uint64_t h = n;
    for (size_t i = 0; i < n; i++) {
        h = (h ^ p[i].state) * 0x9E3779B97F4A7C15u;
        h = (h ^ h >> 31 ^ (uint64_t)p[i].origin << 32 ^ p[i].count) * 0xBF58476D1CE4E5B9u;
        h ^= h >> 29;
    }
    return h;
}

static bool grow_slots(struct pn_sets *s)
{
    size_t n = s->n_slots ? 2 * s->n_slots : 256;
    uint32_t *slots = calloc(n, sizeof *slots);
    if (!slots)
        return false;
    for (size_t i = PN_SET_START; i < s->sets.len; i++) {
        size_t at = hash_places(s->sets.data[i].places, s->sets.data[i].n_places) & (n - 1);
        while (slots[at])
            at = (at + 1) & (n - 1);
        slots[at] = (uint32_t)i;
    }
    free(s->slots);
    s->slots = slots;
    s->n_slots = n;
    return true;
}

static bool call_rules(struct pn_sets *s, uint32_t state, uint32_t origin, uint32_t count)
{
    const struct pn_grammar *g = s->grammar;
    for (uint32_t i = g->call_first[state]; i < g->call_first[state + 1]; i++) {
        uint32_t rule = g->calls[i].what;
        struct pn_set_call call = {rule, g->calls[i].to, origin, count};
        if (g->rules[rule].only_text && !s->text_mode)
            continue;
        if (--s->work < 0)
            return failed(s, PANTRY_LIMIT), false;
        if (!pn_vec_push(&s->calls, call))
            return failed(s, PANTRY_NO_MEMORY), false;
        if (s->rule_stamp[rule] == s->rule_stamp_now)
            continue;
        s->rule_stamp[rule] = s->rule_stamp_now;
        if (!pn_vec_push(&s->starts, g->rules[rule].start))
            return failed(s, PANTRY_NO_MEMORY), false;
    }
    return true;
}

static int by_rule(const void *a, const void *b)
{
    const struct pn_set_call *x = a, *y = b;
    return (x->rule > y->rule) - (x->rule < y->rule);
}

/* The calls of a new set's places, and of the rules that they call, and so on. */
static bool find_calls(struct pn_sets *s, const struct pn_set *set)
{
    s->calls.len = s->starts.len = 0;
    s->rule_stamp_now++;
    for (uint32_t i = 0; i < set->n_places; i++)
        if (set->places[i].state != PN_STATE_LEFT &&
            !call_rules(s, set->places[i].state, set->places[i].origin, set->places[i].count))
            return false;
    for (size_t i = 0; i < s->starts.len; i++)
        if (!call_rules(s, s->starts.data[i], PN_ORIGIN_SELF, 0))
            return false;
    if (s->calls.len > 1)
        qsort(s->calls.data, s->calls.len, sizeof *s->calls.data, by_rule);
    return true;
}

static void *copy_of(struct pn_sets *s, const void *data, size_t n, size_t size)
{
    void *p = pn_arena_array(&s->arena, n, size);
    if (p && n)
        memcpy(p, data, n * size);
    return p;
}

static void look_at_states(const struct pn_grammar *g, struct pn_set *set)
{
    for (uint32_t i = 0; i < set->n_places + set->n_starts; i++) {
        uint32_t state = i < set->n_places ? set->places[i].state : set->starts[i - set->n_places];
        if (state == PN_STATE_LEFT) {
            set->left = true;
            continue;
        }
        set->has_tokens = set->has_tokens || g->token_first[state] != g->token_first[state + 1];
        set->accepts =
            set->accepts || (i < set->n_places && g->rule_of[state] == 0 && g->flags[state] & PN_STATE_FINAL);
    }
}

/* Stores the places in hand as a new set. */
static uint32_t store(struct pn_sets *s)
{
    struct pn_set set = {.n_places = (uint32_t)s->places.len};
    set.places = copy_of(s, s->places.data, s->places.len, sizeof *set.places);
    if (!set.places)
        return failed(s, PANTRY_NO_MEMORY);
    if (!find_calls(s, &set))
        return PN_SET_NONE;
    set.calls = copy_of(s, s->calls.data, s->calls.len, sizeof *set.calls);
    set.starts = copy_of(s, s->starts.data, s->starts.len, sizeof *set.starts);
    set.n_calls = (uint32_t)s->calls.len;
    set.n_starts = (uint32_t)s->starts.len;
    if (!set.calls || !set.starts)
        return failed(s, PANTRY_NO_MEMORY);
    look_at_states(s->grammar, &set);
    if (pn_sets_bytes(s) > s->max_bytes || s->sets.len >= UINT32_MAX - 1)
        return failed(s, PANTRY_LIMIT);
    if (!pn_vec_push(&s->sets, set))
        return failed(s, PANTRY_NO_MEMORY);
    return (uint32_t)(s->sets.len - 1);
}

/* The set of the places in hand. */
static uint32_t finish(struct pn_sets *s)
{
    if (s->status || !close_places(s))
        return PN_SET_NONE;
    if (s->places.len == 0)
        return PN_SET_DEAD;
    if (2 * s->sets.len + 2 > s->n_slots && !grow_slots(s))
        return failed(s, PANTRY_NO_MEMORY);
    size_t at = hash_places(s->places.data, s->places.len) & (s->n_slots - 1);
    for (; s->slots[at]; at = (at + 1) & (s->n_slots - 1)) {
        const struct pn_set *other = &s->sets.data[s->slots[at]];
        if (other->n_places == s->places.len &&
            memcmp(other->places, s->places.data, s->places.len * sizeof *s->places.data) == 0)
            return s->slots[at];
    }
    uint32_t id = store(s);
    if (id)
        s->slots[at] = id;
    return id;
}

/* ---- steps ---- */

static bool step_state(struct pn_sets *s, struct pn_place place, uint32_t origin, unsigned char byte)
{
    const struct pn_grammar *g = s->grammar;
    for (uint32_t i = g->byte_first[place.state]; i < g->byte_first[place.state + 1]; i++) {
        if (g->bytes[i].first > byte)
            break;
        if (g->bytes[i].last >= byte && !add(s, g->bytes[i].to, origin, place.count))
            return false;
    }
    return true;
}

uint32_t pn_sets_step_slow(struct pn_sets *s, uint32_t from, unsigned char byte)
{
    bool ok = true;
    begin(s);
    for (uint32_t i = 0; ok && i < s->sets.data[from].n_places; i++) {
        struct pn_place place = s->sets.data[from].places[i];
        ok = place.state == PN_STATE_LEFT || step_state(s, place, place.origin, byte);
    }
    for (uint32_t i = 0; ok && i < s->sets.data[from].n_starts; i++)
        ok = step_state(s, (struct pn_place){.state = s->sets.data[from].starts[i]}, from, byte);
    uint32_t to = ok ? finish(s) : PN_SET_NONE;
    if (!to)
        return PN_SET_NONE;
    struct pn_set *set = &s->sets.data[from];
    if (!set->next[byte >> 4] && !(set->next[byte >> 4] = pn_arena_array(&s->arena, BLOCK, sizeof(uint32_t))))
        return failed(s, PANTRY_NO_MEMORY);
    set->next[byte >> 4][byte & 15] = to;
    return to;
}

static bool step_tokens(struct pn_sets *s, struct pn_place place, uint32_t origin, const bool *has_label)
{
    const struct pn_grammar *g = s->grammar;
    for (uint32_t i = g->token_first[place.state]; i < g->token_first[place.state + 1]; i++)
        if (has_label[g->tokens[i].what] && !add(s, g->tokens[i].to, origin, place.count))
            return false;
    return true;
}

uint32_t pn_sets_token(struct pn_sets *s, uint32_t from, const bool *has_label)
{
    bool ok = true;
    begin(s);
    for (uint32_t i = 0; ok && i < s->sets.data[from].n_places; i++) {
        struct pn_place place = s->sets.data[from].places[i];
        ok = place.state == PN_STATE_LEFT || step_tokens(s, place, place.origin, has_label);
    }
    for (uint32_t i = 0; ok && i < s->sets.data[from].n_starts; i++)
        ok = step_tokens(s, (struct pn_place){.state = s->sets.data[from].starts[i]}, from, has_label);
    return ok ? finish(s) : PN_SET_NONE;
}

uint32_t pn_sets_union(struct pn_sets *s, uint32_t a, uint32_t b)
{
    if (a == b || b == PN_SET_DEAD)
        return a;
    if (a == PN_SET_DEAD)
        return b;
    begin(s);
    for (int k = 0; k < 2; k++)
        for (uint32_t id = k ? b : a, i = 0; i < s->sets.data[id].n_places; i++) {
            struct pn_place place = s->sets.data[id].places[i];
            if (!add(s, place.state, place.origin, place.count))
                return PN_SET_NONE;
        }
    return finish(s);
}

uint32_t pn_sets_places(struct pn_sets *s, const struct pn_place *places, size_t n)
{
    bool ok = true;
    begin(s);
    for (size_t i = 0; ok && i < n; i++)
        ok = add(s, places[i].state, places[i].origin, places[i].count);
    return ok ? finish(s) : PN_SET_NONE;
}

uint32_t pn_sets_return(struct pn_sets *s, uint32_t rule, uint32_t origin)
{
    begin(s);
    return leave(s, rule, origin) ? finish(s) : PN_SET_NONE;
}

/* ---- collections ---- */

pantry_status pn_sets_init(struct pn_sets *s, const struct pn_grammar *grammar, bool text_mode,
                           struct pantry_error *err)
{
    *s = (struct pn_sets){.grammar = grammar, .text_mode = text_mode, .max_bytes = DEFAULT_BYTES, .work = 1 << 20};
    s->rule_stamp = calloc((size_t)grammar->n_rules + 1, sizeof *s->rule_stamp);
    bool ok = s->rule_stamp != NULL && grow_place_slots(s) && grow_slots(s);
    for (int i = 0; ok && i < PN_SET_START; i++)
        ok = pn_vec_push(&s->sets, (struct pn_set){0});
    if (ok) {
        begin(s);
        ok = add(s, grammar->rules[0].start, PN_SET_DEAD, 0) && finish(s) == PN_SET_START;
    }
    if (ok)
        return PANTRY_OK;
    pantry_status status = s->status ? pn_sets_error(s, err) : pn_no_memory(err, "a grammar");
    pn_sets_free(s);
    return status;
}

void pn_sets_free(struct pn_sets *s)
{
    pn_arena_free(&s->arena);
    free(s->sets.data);
    free(s->slots);
    free(s->places.data);
    free(s->place_slots);
    free(s->place_stamps);
    free(s->rule_stamp);
    free(s->calls.data);
    free(s->starts.data);
    *s = (struct pn_sets){0};
}

/* Marks the sets that the marked ones refer to. Origins are older than the sets that have them. */
static void mark_origins(const struct pn_sets *from, uint32_t *new_id, uint32_t last)
{
    for (uint32_t id = last; id > PN_SET_START; id--) {
        if (!new_id[id])
            continue;
        for (uint32_t i = 0; i < from->sets.data[id].n_places; i++) {
            uint32_t origin = from->sets.data[id].places[i].origin;
            if (origin > PN_SET_START)
                new_id[origin] = 1;
        }
    }
}

pantry_status pn_sets_move(struct pn_sets *to, const struct pn_sets *from, uint32_t *ids, size_t n,
                           struct pantry_error *err)
{
    uint32_t *new_id = calloc(from->sets.len + 1, sizeof *new_id), last = 0;
    if (!new_id)
        return pn_no_memory(err, "a grammar");
    for (size_t i = 0; i < n; i++) {
        new_id[ids[i]] = 1;
        last = ids[i] > last ? ids[i] : last;
    }
    mark_origins(from, new_id, last);
    for (uint32_t id = 0; id <= PN_SET_START; id++)
        new_id[id] = id;
    pantry_status status = PANTRY_OK;
    for (uint32_t id = PN_SET_START + 1; !status && id <= last; id++) {
        if (!new_id[id])
            continue;
        bool ok = true;
        begin(to);
        for (uint32_t i = 0; ok && i < from->sets.data[id].n_places; i++) {
            struct pn_place place = from->sets.data[id].places[i];
            ok = add(to, place.state, new_id[place.origin], place.count);
        }
        new_id[id] = ok ? finish(to) : PN_SET_NONE;
        if (!new_id[id])
            status = pn_sets_error(to, err);
    }
    for (size_t i = 0; !status && i < n; i++)
        ids[i] = new_id[ids[i]];
    free(new_id);
    return status;
}
