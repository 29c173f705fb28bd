/* Numbers within bounds and with factors, as expressions over their decimal spellings.
 *
 * The spellings of a magnitude without an exponent are the language of a deterministic automaton, which compares with
 * both bounds and keeps the remainder while it reads digits. Python writes magnitudes below 1e-4 and from 1e16 on with
 * an exponent; these are combined of mantissas and exponents. */
#include "grammar/schema_number.h"

#include <stdlib.h>
#include <string.h>

enum {
    FAR = 40,           /* digits on either side of the point that the automaton tells apart */
    FINE = 15,          /* digits after the point next to an open bound: a double tells no more apart */
    MAX_MODULUS = 4000, /* of remainders */
    MAX_STATES = 40000,
    LARGE = 4000,   /* states in an expression without rules */
    N_SYMBOLS = 11, /* digits and the point */
    POINT = 10,
    LEAST_POWER = -323, /* of ten, as doubles have them */
    MOST_POWER = 308
};

/* Magnitudes between two bounds. */
struct interval {
    bool has_low, has_high, low_open, high_open;
    struct pn_decimal low, high; /* not negative */
};

enum order { LESS, SAME, MORE };

/* A bound as digits before and after the point. */
struct digits {
    char whole[FAR + 2], fraction[2 * FAR + 22];
    int n_whole, n_fraction;
    bool given, open;
};

enum phase { START, ZERO, WHOLE, AFTER_POINT, FRACTION };

/* A state while it is computed; packed into 64 bits to be found again. */
struct state {
    unsigned phase, n_whole, low, high, n_fraction, rest, nonzero, beyond;
};

struct factor {
    uint64_t unit; /* in units of 10^-places */
    bool wanted;
};

struct automaton {
    struct pn_schema *s;
    const struct pn_number *number;
    struct digits low, high;
    struct factor *factors;
    size_t n_factors;
    uint64_t modulus;
    int places, cap, most_places; /* most_places: -1: no limit */
    uint64_t *keys;
    int (*next)[N_SYMBOLS];
    bool *accepts;
    int n, *slots, n_slots;
    bool too_large;
};

/* ---- reading digits ---- */

static struct digits split(const struct pn_decimal *d, bool given, bool open)
{
    struct digits out = {.given = given, .open = open};
    char text[PN_DECIMAL_TEXT];
    if (!given)
        return out;
    pn_decimal_plain(d, text);
    const char *point = strchr(text, '.');
    out.n_whole = (int)(point ? point - text : (long)strlen(text));
    out.n_fraction = point ? (int)strlen(point + 1) : 0;
    memcpy(out.whole, text, (size_t)out.n_whole);
    if (point)
        memcpy(out.fraction, point + 1, (size_t)out.n_fraction);
    return out;
}

static unsigned compare_digit(unsigned so_far, char digit, char other)
{
    return so_far != SAME ? so_far : digit < other ? LESS : digit > other ? MORE : SAME;
}

/* After the digits before the point: fewer digits are less. */
static unsigned whole_order(const struct digits *bound, unsigned so_far, unsigned n)
{
    return (int)n < bound->n_whole ? LESS : (int)n > bound->n_whole ? MORE : so_far;
}

static unsigned end_order(const struct digits *bound, const struct state *st, unsigned so_far)
{
    bool fraction = st->phase == FRACTION;
    unsigned order = fraction ? so_far : whole_order(bound, so_far, st->n_whole);
    return order == SAME && bound->n_fraction > (fraction ? (int)st->n_fraction : 0) ? LESS : order;
}

static bool accepts(const struct automaton *a, const struct state *st)
{
    if (st->phase != ZERO && st->phase != WHOLE && st->phase != FRACTION)
        return false;
    unsigned low = a->low.given ? end_order(&a->low, st, st->low) : MORE;
    unsigned high = a->high.given ? end_order(&a->high, st, st->high) : LESS;
    if (low == LESS || (low == SAME && a->low.open) || high == MORE || (high == SAME && a->high.open))
        return false;
    if (a->number->integer < 0 && !st->nonzero)
        return false;
    uint64_t rest = st->rest;
    for (int i = st->phase == FRACTION ? (int)st->n_fraction : 0; i < a->places; i++)
        rest = rest * 10 % a->modulus;
    for (size_t i = 0; i < a->n_factors; i++)
        if ((!st->beyond && rest % a->factors[i].unit == 0) != a->factors[i].wanted)
            return false;
    return true;
}

static bool read_whole(const struct automaton *a, struct state *st, unsigned digit)
{
    if (st->phase == ZERO)
        return false;
    unsigned i = st->n_whole;
    st->low = compare_digit(st->low, (char)('0' + digit), (int)i < a->low.n_whole ? a->low.whole[i] : '0');
    st->high = compare_digit(st->high, (char)('0' + digit), (int)i < a->high.n_whole ? a->high.whole[i] : '0');
    int most = a->low.n_whole > a->high.n_whole ? a->low.n_whole : a->high.n_whole;
    if ((int)++st->n_whole > most) { /* longer than both: decided */
        st->n_whole = (unsigned)most + 1;
        st->low = st->high = MORE;
    }
    st->rest = (unsigned)((st->rest * 10 + digit) % a->modulus);
    st->phase = st->phase == START && digit == 0 ? ZERO : WHOLE;
    return !(a->high.given && (int)st->n_whole > a->high.n_whole);
}

static bool read_fraction(const struct automaton *a, struct state *st, unsigned digit)
{
    int i = (int)st->n_fraction;
    if (a->most_places >= 0 && i >= a->most_places)
        return false;
    st->low = compare_digit(st->low, (char)('0' + digit), i < a->low.n_fraction ? a->low.fraction[i] : '0');
    st->high = compare_digit(st->high, (char)('0' + digit), i < a->high.n_fraction ? a->high.fraction[i] : '0');
    if (i < a->places)
        st->rest = (unsigned)((st->rest * 10 + digit) % a->modulus);
    else if (digit)
        st->beyond = a->n_factors > 0;
    st->nonzero = (st->nonzero || digit) && a->number->integer < 0;
    st->n_fraction = (unsigned)(i + 1 < a->cap ? i + 1 : a->cap);
    bool decided = (!a->low.given || st->low != SAME) && (!a->high.given || st->high != SAME);
    if (decided && a->most_places < 0 && i + 1 >= a->places)
        st->n_fraction = (unsigned)a->cap;
    st->phase = FRACTION;
    return !(a->low.given && st->low == LESS) && !(a->high.given && st->high == MORE);
}

static bool step(const struct automaton *a, struct state *st, unsigned symbol)
{
    if (symbol != POINT)
        return st->phase == AFTER_POINT || st->phase == FRACTION ? read_fraction(a, st, symbol)
                                                                 : read_whole(a, st, symbol);
    if ((st->phase != ZERO && st->phase != WHOLE) || a->number->integer > 0)
        return false;
    st->low = whole_order(&a->low, st->low, st->n_whole);
    st->high = whole_order(&a->high, st->high, st->n_whole);
    st->n_whole = 0;
    st->phase = AFTER_POINT;
    return !(a->low.given && st->low == LESS) && !(a->high.given && st->high == MORE);
}

/* ---- the automaton ---- */

static uint64_t pack(const struct state *st)
{
    return (uint64_t)st->phase | (uint64_t)st->n_whole << 3 | (uint64_t)st->low << 9 | (uint64_t)st->high << 11 |
           (uint64_t)st->n_fraction << 13 | (uint64_t)st->rest << 21 | (uint64_t)st->nonzero << 40 |
           (uint64_t)st->beyond << 41;
}

static struct state unpack(uint64_t key)
{
    return (struct state){key & 7,         key >> 3 & 63,       key >> 9 & 3,  key >> 11 & 3,
                          key >> 13 & 255, key >> 21 & 0x7FFFF, key >> 40 & 1, key >> 41 & 1};
}

static int find_state(struct automaton *a, const struct state *st)
{
    uint64_t key = pack(st);
    size_t mask = (size_t)a->n_slots - 1, slot = (size_t)(key * 0x9E3779B97F4A7C15u >> 32) & mask;
    while (a->slots[slot] >= 0 && a->keys[a->slots[slot]] != key)
        slot = (slot + 1) & mask;
    if (a->slots[slot] >= 0)
        return a->slots[slot];
    if (a->n >= MAX_STATES) {
        a->too_large = true;
        return -1;
    }
    a->keys[a->n] = key;
    a->accepts[a->n] = accepts(a, st);
    return a->slots[slot] = a->n++;
}

static void explore(struct automaton *a)
{
    struct state first = {.phase = START, .low = SAME, .high = SAME};
    find_state(a, &first);
    for (int i = 0; i < a->n && !a->too_large; i++)
        for (unsigned symbol = 0; symbol < N_SYMBOLS; symbol++) {
            struct state st = unpack(a->keys[i]);
            a->next[i][symbol] = step(a, &st, symbol) ? find_state(a, &st) : -1;
        }
}

/* Numbers the classes of equivalent states; returns their count. Class -1 reaches no accepting state. */
static int classify(const struct automaton *a, int *class, int *work)
{
    int n_classes = 2, before = 0;
    for (int i = 0; i < a->n; i++)
        class[i] = a->accepts[i];
    while (n_classes != before) {
        before = n_classes;
        n_classes = 0;
        for (size_t k = 0; k < (size_t)a->n_slots; k++)
            a->slots[k] = -1;
        for (int i = 0; i < a->n; i++) {
            uint64_t h = (uint64_t) class[i] + 1;
            for (int k = 0; k < N_SYMBOLS; k++)
                h = (h ^ (uint64_t)(a->next[i][k] < 0 ? 0 : class[a->next[i][k]] + 2)) * 0x9E3779B97F4A7C15u,
                h ^= h >> 29;
            size_t slot = (size_t)(h >> 8) & ((size_t)a->n_slots - 1);
            for (; a->slots[slot] >= 0; slot = (slot + 1) & ((size_t)a->n_slots - 1)) {
                int other = a->slots[slot];
                bool same = class[other] == class[i];
                for (int k = 0; k < N_SYMBOLS && same; k++) {
                    int x = a->next[i][k], y = a->next[other][k];
                    same = (x < 0 ? -1 : class[x]) == (y < 0 ? -1 : class[y]);
                }
                if (same)
                    break;
            }
            if (a->slots[slot] < 0) {
                a->slots[slot] = i;
                work[i] = n_classes++;
            } else {
                work[i] = work[a->slots[slot]];
            }
        }
        memcpy(class, work, (size_t)a->n * sizeof *class);
    }
    return n_classes;
}

/* ---- from the automaton to an expression ---- */

struct emission {
    struct pn_schema *s;
    int (*next)[N_SYMBOLS]; /* of classes; -1: none */
    bool *accepts, *alive, *open;
    pn_expr *done;
    size_t *size; /* of what is done, shared parts counted as often as they are used */
    int *rules;   /* NULL: no rules */
    int n;
    bool tangled; /* cycles of several states, or too large without rules */
};

static pn_expr symbols(struct pn_schema *s, const bool *set)
{
    struct pn_code_range ranges[N_SYMBOLS];
    size_t n = 0;
    for (unsigned k = 0; k < N_SYMBOLS; k++)
        if (set[k]) {
            uint32_t c = k == POINT ? '.' : '0' + k;
            ranges[n++] = (struct pn_code_range){c, c};
        }
    return pn_expr_class(s->b, ranges, n, false);
}

static pn_expr emit(struct emission *m, int state)
{
    pn_expr items[N_SYMBOLS + 1], loop = PN_EXPR_NONE;
    bool seen[N_SYMBOLS] = {false};
    size_t n = 0;
    if (m->done[state] != PN_EXPR_NONE)
        return m->done[state];
    if (m->open[state]) {
        m->tangled = true;
        return PN_EXPR_NONE;
    }
    m->open[state] = true;
    m->size[state] = 1;
    if (m->accepts[state])
        items[n++] = pn_expr_empty(m->s->b);
    for (int k = 0; k < N_SYMBOLS && !m->tangled; k++) {
        int to = m->next[state][k];
        bool set[N_SYMBOLS] = {false};
        if (to < 0 || !m->alive[to] || seen[k])
            continue;
        for (int j = k; j < N_SYMBOLS; j++)
            set[j] = seen[j] = seen[j] || m->next[state][j] == to;
        for (int j = k; j < N_SYMBOLS; j++)
            set[j] = m->next[state][j] == to;
        if (to == state && !m->rules) {
            loop = pn_expr_repeat(m->s->b, symbols(m->s, set), 0, PN_EXPR_NO_MAX);
            continue;
        }
        pn_expr rest = m->rules ? pn_expr_ref(m->s->b, m->rules[to]) : emit(m, to);
        m->size[state] += m->rules ? 1 : m->size[to];
        m->tangled = m->tangled || m->size[state] > LARGE;
        pn_expr both[] = {symbols(m->s, set), rest};
        if (!m->tangled)
            items[n++] = pn_expr_seq(m->s->b, both, 2);
    }
    m->open[state] = false;
    if (m->tangled)
        return PN_EXPR_NONE;
    pn_expr e = pn_expr_choice(m->s->b, items, n);
    if (loop != PN_EXPR_NONE) {
        pn_expr both[] = {loop, e};
        e = pn_expr_seq(m->s->b, both, 2);
    }
    return m->done[state] = e;
}

static void find_alive(struct emission *m)
{
    for (bool more = true; more;) {
        more = false;
        for (int i = m->n - 1; i >= 0; i--) {
            bool alive = m->accepts[i] || m->alive[i];
            for (int k = 0; k < N_SYMBOLS && !alive; k++)
                alive = m->next[i][k] >= 0 && m->alive[m->next[i][k]];
            more = more || alive != m->alive[i];
            m->alive[i] = alive;
        }
    }
}

/* One rule per state; they are right-recursive, so the compiler makes one automaton of them. */
static pn_expr emit_rules(struct emission *m, int start)
{
    m->rules = pn_schema_alloc(m->s, (size_t)m->n, sizeof *m->rules);
    if (!m->rules)
        return PN_EXPR_NONE;
    m->tangled = false;
    for (int i = 0; i < m->n; i++) {
        m->rules[i] = pn_expr_new_rule(m->s->b, "number", 6);
        m->done[i] = PN_EXPR_NONE;
        m->open[i] = false;
    }
    for (int i = 0; i < m->n && !m->s->status; i++)
        pn_expr_define(m->s->b, m->rules[i], m->alive[i] ? emit(m, i) : pn_expr_nothing(m->s->b));
    return pn_expr_ref(m->s->b, m->rules[start]);
}

static pn_expr to_expr(struct automaton *a)
{
    struct pn_schema *s = a->s;
    int *class = pn_schema_alloc(s, (size_t)a->n, sizeof(int)), *work = pn_schema_alloc(s, (size_t)a->n, sizeof(int));
    if (!class || !work || !pn_schema_step(s, NULL, (size_t)a->n * 20))
        return PN_EXPR_NONE;
    struct emission m = {.s = s, .n = classify(a, class, work)};
    size_t n = (size_t)m.n;
    m.next = pn_schema_alloc(s, n, sizeof *m.next);
    m.accepts = pn_schema_alloc(s, n, 1);
    m.alive = pn_schema_alloc(s, n, 1);
    m.open = pn_schema_alloc(s, n, 1);
    m.done = pn_schema_alloc(s, n, sizeof *m.done);
    m.size = pn_schema_alloc(s, n, sizeof *m.size);
    if (!m.size || !m.next || !m.accepts || !m.alive || !m.open || !m.done)
        return PN_EXPR_NONE;
    for (int i = 0; i < a->n; i++) {
        m.accepts[class[i]] = a->accepts[i];
        m.done[class[i]] = PN_EXPR_NONE;
        for (int k = 0; k < N_SYMBOLS; k++)
            m.next[class[i]][k] = a->next[i][k] < 0 ? -1 : class[a->next[i][k]];
    }
    find_alive(&m);
    if (!m.alive[class[0]])
        return pn_expr_nothing(s->b);
    pn_expr e = emit(&m, class[0]);
    return m.tangled ? emit_rules(&m, class[0]) : e;
}

/* ---- factors ---- */

static uint64_t gcd(uint64_t a, uint64_t b)
{
    while (b) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* All factors in one unit, and the least common multiple as the modulus. */
static bool set_factors(struct automaton *a, const struct pn_place *place)
{
    const struct pn_number *x = a->number;
    size_t n = x->factors.n + x->non_factors.n;
    a->modulus = 1;
    a->factors = pn_schema_alloc(a->s, n, sizeof *a->factors);
    if (!a->factors)
        return false;
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < n; i++) {
            bool wanted = i < x->factors.n;
            const struct pn_decimal *m = wanted ? &x->factors.items[i] : &x->non_factors.items[i - x->factors.n];
            uint64_t unit = 0;
            int places = 0;
            bool fits = pn_decimal_scaled(m, (uint64_t)1 << 62, &unit, &places) && places <= 15;
            uint64_t fives = 1;
            for (int k = 0; fits && k < places; k++)
                fives *= 5;
            if (fits && x->integer <= 0 && unit % fives != 0)
                return pn_schema_fail(a->s, PANTRY_UNSUPPORTED, place, "multipleOf",
                                      "a factor that is not exact in binary: programs that compute with floats would "
                                      "reject some multiples") != NULL;
            if (pass == 0) {
                a->places = places > a->places ? places : a->places;
                if (fits)
                    continue;
            }
            for (; fits && places < a->places; places++)
                fits = !__builtin_mul_overflow(unit, (uint64_t)10, &unit);
            if (x->integer > 0 && fits) { /* of integers: multiples of the smallest integer multiple */
                uint64_t one = 1;
                for (int k = 0; k < a->places; k++)
                    one *= 10;
                fits = !__builtin_mul_overflow(unit / gcd(unit, one), one, &unit);
            }
            a->factors[i] = (struct factor){unit, wanted};
            if (fits)
                fits = !__builtin_mul_overflow(a->modulus / gcd(a->modulus, unit), unit, &a->modulus);
            if (!fits)
                return pn_schema_fail(a->s, PANTRY_UNSUPPORTED, place, "multipleOf",
                                      "the factor is too large or too fine") != NULL;
        }
    a->n_factors = n;
    if (x->integer <= 0)
        return true;
    /* Integers need no digits after the point. */
    for (uint64_t one; a->places > 0; a->places--) {
        one = 10;
        for (size_t i = 0; i < n; i++)
            a->factors[i].unit /= one;
        a->modulus /= one;
    }
    return true;
}

/* ---- magnitudes ---- */

static pn_expr plain(struct pn_schema *s, const struct pn_place *place, const struct pn_number *x, struct interval in)
{
    const struct pn_decimal far = {.n = 1, .point = FAR, .digits = "1"},
                            near = {.n = 1, .point = 1 - FAR, .digits = "1"};
    struct automaton a = {.s = s, .number = x, .most_places = -1};
    if (in.has_high && pn_decimal_compare(&in.high, &far) > 0)
        in.high = far;
    if (in.has_high && in.high.n && pn_decimal_compare(&in.high, &near) < 0) {
        in.high = (struct pn_decimal){0};
        in.high_open = false;
    }
    if (in.has_low && in.low.n && pn_decimal_compare(&in.low, &near) < 0)
        in.low = near;
    /* Remainders of floats are exact up to 15 digits. */
    const struct pn_decimal exact = {.n = 1, .point = FINE + 1, .digits = "1"};
    if (x->integer <= 0 && x->factors.n + x->non_factors.n > 0 &&
        (!in.has_high || pn_decimal_compare(&in.high, &exact) > 0)) {
        in.has_high = in.high_open = true;
        in.high = exact;
    }
    if (in.has_low &&
        (pn_decimal_compare(&in.low, &far) > 0 || (in.has_high && pn_decimal_compare(&in.low, &in.high) > 0)))
        return pn_expr_nothing(s->b);
    if (in.has_low && in.low.n == 0 && !in.low_open)
        in.has_low = false;
    a.low = split(&in.low, in.has_low, in.low_open);
    a.high = split(&in.high, in.has_high, in.high_open);
    if (!set_factors(&a, place))
        return PN_EXPR_NONE;
    if (a.modulus > MAX_MODULUS)
        return pn_schema_fail(s, PANTRY_UNSUPPORTED, place, "multipleOf",
                              "the factor is too large for a grammar (allowed: up to %d units of its last digit)",
                              MAX_MODULUS)
                   ? 0
                   : PN_EXPR_NONE;
    a.cap = a.low.n_fraction > a.high.n_fraction ? a.low.n_fraction : a.high.n_fraction;
    a.cap = a.cap > a.places ? a.cap : a.places;
    if (a.n_factors)
        a.cap = a.most_places = a.cap > 1 ? a.cap : 1;
    else if ((a.low.given && a.low.open) || (a.high.given && a.high.open))
        a.cap = a.most_places = a.cap > FINE ? a.cap : FINE;
    if (a.cap == 0)
        a.cap = 1;
    a.n_slots = 2 * 65536;
    if (a.modulus * (uint64_t)(a.cap + FAR) < 2000)
        a.n_slots = 16384;
    size_t most = (size_t)a.n_slots / 2 < MAX_STATES ? (size_t)a.n_slots / 2 : MAX_STATES;
    a.keys = malloc((most + 1) * sizeof *a.keys);
    a.next = malloc((most + 1) * sizeof *a.next);
    a.accepts = malloc(most + 1);
    a.slots = malloc((size_t)a.n_slots * sizeof *a.slots);
    pn_expr e = PN_EXPR_NONE;
    if (!a.keys || !a.next || !a.accepts || !a.slots) {
        pn_schema_no_memory(s);
    } else {
        memset(a.slots, 0xFF, (size_t)a.n_slots * sizeof *a.slots);
        explore(&a);
        if (a.too_large)
            pn_schema_fail(s, PANTRY_LIMIT, place, "multipleOf", "too many states for a grammar");
        else
            e = to_expr(&a);
    }
    free(a.keys);
    free(a.next);
    free(a.accepts);
    free(a.slots);
    return e;
}

/* An exponent as Python writes it, without the sign: two digits or more. */
static pn_expr powers(struct pn_schema *s, int from, int to)
{
    pn_expr parts[2];
    size_t n = 0;
    const struct pn_number integer = {.integer = 1};
    if (from < 10) {
        struct pn_code_range digit = {(uint32_t)('0' + from), (uint32_t)('0' + (to < 9 ? to : 9))};
        pn_expr both[] = {pn_expr_literal(s->b, "0", 1), pn_expr_class(s->b, &digit, 1, false)};
        parts[n++] = pn_expr_seq(s->b, both, 2);
        from = 10;
    }
    if (from <= to) {
        struct interval in = {.has_low = true, .has_high = true};
        in.low = pn_decimal_from_int(from);
        in.high = pn_decimal_from_int(to);
        parts[n++] = plain(s, NULL, &integer, in);
    }
    return pn_expr_choice(s->b, parts, n);
}

/* Mantissas of the interval, 1 to 10, with exponents from..to of one sign. */
static pn_expr scientific(struct pn_schema *s, struct interval mantissa, int from, int to)
{
    const struct pn_decimal one = pn_decimal_from_int(1), ten = pn_decimal_from_int(10);
    const struct pn_number any = {0};
    if (from > to)
        return pn_expr_nothing(s->b);
    if (!mantissa.has_low) {
        mantissa.has_low = true;
        mantissa.low = one;
        mantissa.low_open = false;
    }
    if (!mantissa.has_high) {
        mantissa.has_high = mantissa.high_open = true;
        mantissa.high = ten;
    }
    pn_expr parts[] = {plain(s, NULL, &any, mantissa), pn_expr_literal(s->b, from < 0 ? "e-" : "e+", 2),
                       from < 0 ? powers(s, -to, -from) : powers(s, from, to)};
    return pn_expr_seq(s->b, parts, 3);
}

static struct pn_decimal mantissa_of(struct pn_decimal d)
{
    d.point = 1;
    return d;
}

/* The magnitudes of the interval with exponents from..to. */
static pn_expr with_powers(struct pn_schema *s, struct interval in, int from, int to)
{
    pn_expr parts[3];
    size_t n = 0;
    const struct pn_decimal largest = {.n = 3, .point = MOST_POWER + 1, .digits = "179"};
    if (!in.has_high) {
        in.has_high = true;
        in.high = largest;
    }
    int low = in.has_low && in.low.n ? in.low.point - 1 : LEAST_POWER - 1;
    int high = in.high.n ? in.high.point - 1 : LEAST_POWER - 1;
    struct interval free_mantissa = {0}, at_low = {.has_low = true, .low_open = in.low_open};
    struct interval at_high = {.has_high = true, .high_open = in.high_open};
    at_low.low = mantissa_of(in.low);
    at_high.high = mantissa_of(in.high);
    if (low == high && low >= from && low <= to) {
        at_low.has_high = true;
        at_low.high = at_high.high;
        at_low.high_open = at_high.high_open;
        return scientific(s, at_low, low, low);
    }
    if (low >= from && low <= to)
        parts[n++] = scientific(s, at_low, low, low);
    if (high >= from && high <= to && high > low)
        parts[n++] = scientific(s, at_high, high, high);
    int first = low + 1 > from ? low + 1 : from, last = high - 1 < to ? high - 1 : to;
    parts[n++] = scientific(s, free_mantissa, first, last);
    return pn_expr_choice(s->b, parts, n);
}

static pn_expr magnitudes(struct pn_schema *s, const struct pn_place *place, const struct pn_number *x,
                          struct interval in)
{
    pn_expr parts[3];
    size_t n = 0;
    int order = in.has_low && in.has_high ? pn_decimal_compare(&in.low, &in.high) : -1;
    if (order > 0 || (order == 0 && (in.low_open || in.high_open)))
        return pn_expr_nothing(s->b);
    parts[n++] = plain(s, place, x, in);
    bool small = x->integer <= 0 && x->factors.n == 0;
    for (size_t i = 0; i < x->non_factors.n; i++) /* magnitudes below 1e-4 are multiples of smaller factors only */
        small = small && x->non_factors.items[i].point >= -3;
    if (small)
        parts[n++] = with_powers(s, in, LEAST_POWER, -5);
    if (small && x->integer == 0 && x->non_factors.n == 0)
        parts[n++] = with_powers(s, in, 16, MOST_POWER);
    return pn_expr_choice(s->b, parts, n);
}

/* ---- numbers ---- */

static pn_expr one_interval(struct pn_schema *s, const struct pn_place *place, const struct pn_number *x)
{
    const struct pn_decimal zero = {0};
    struct interval up = {.has_high = x->has_high, .high_open = x->high_open, .high = x->high};
    struct interval down = {.has_high = x->has_low, .high_open = x->low_open, .high = pn_decimal_negated(x->low)};
    int low_sign = x->has_low ? pn_decimal_sign(&x->low) : -1, high_sign = x->has_high ? pn_decimal_sign(&x->high) : 1;
    up.has_low = down.has_low = true;
    up.low = low_sign > 0 ? x->low : zero;
    up.low_open = low_sign >= 0 && x->low_open;
    down.low = high_sign < 0 ? pn_decimal_negated(x->high) : zero;
    down.low_open = high_sign <= 0 && x->high_open;
    if (x->integer > 0 && high_sign >= 0) /* no "-0" */
        down.low_open = true;
    pn_expr parts[2];
    size_t n = 0;
    if (high_sign >= 0)
        parts[n++] = magnitudes(s, place, x, up);
    if (low_sign <= 0 && !(low_sign == 0 && x->integer > 0)) {
        pn_expr both[] = {pn_expr_literal(s->b, "-", 1), magnitudes(s, place, x, down)};
        parts[n++] = pn_expr_seq(s->b, both, 2);
    }
    return pn_expr_choice(s->b, parts, n);
}

/* Multiples of an integer are integers. */
static bool only_integers(const struct pn_number *x)
{
    for (size_t i = 0; i < x->factors.n; i++)
        if (pn_decimal_is_integer(&x->factors.items[i]))
            return x->integer == 0;
    return false;
}

static int ascending(const void *a, const void *b)
{
    return pn_decimal_compare(a, b);
}

static pn_expr values_expr(struct pn_schema *s, const struct pn_decimals *values)
{
    pn_expr *items = pn_schema_alloc(s, 2 * values->n, sizeof *items);
    char text[PN_DECIMAL_TEXT];
    size_t n = 0;
    if (!items)
        return PN_EXPR_NONE;
    for (size_t i = 0; i < values->n; i++) {
        pn_decimal_python(&values->items[i], text);
        items[n++] = pn_expr_literal(s->b, text, strlen(text));
        if (pn_decimal_is_integer(&values->items[i]) || strchr(text, 'e')) {
            pn_decimal_plain(&values->items[i], text);
            items[n++] = pn_expr_literal(s->b, text, strlen(text));
        }
    }
    return pn_expr_choice(s->b, items, n);
}

pn_expr pn_number_expr(struct pn_schema *s, const struct pn_place *place, const struct pn_number *x)
{
    struct pn_number integers = *x;
    if (x->finite)
        return values_expr(s, &x->values);
    if (only_integers(x)) {
        integers.integer = 1;
        x = &integers;
    }
    if (!x->excluded.n)
        return one_interval(s, place, x);
    /* Between excluded values. */
    size_t n = x->excluded.n, n_parts = 0;
    struct pn_decimal *cuts = pn_schema_alloc(s, n, sizeof *cuts);
    pn_expr *parts = pn_schema_alloc(s, n + 1, sizeof *parts);
    if (!cuts || !parts || !pn_schema_step(s, place, n * 1000))
        return PN_EXPR_NONE;
    memcpy(cuts, x->excluded.items, n * sizeof *cuts);
    qsort(cuts, n, sizeof *cuts, ascending);
    for (size_t i = 0; i <= n; i++) {
        struct pn_number part = *x;
        if (i > 0 && (!x->has_low || pn_decimal_compare(&cuts[i - 1], &x->low) >= 0)) {
            part.has_low = part.low_open = true;
            part.low = cuts[i - 1];
        }
        if (i < n && (!x->has_high || pn_decimal_compare(&cuts[i], &x->high) <= 0)) {
            part.has_high = part.high_open = true;
            part.high = cuts[i];
        }
        if (!part.has_low || !part.has_high || pn_decimal_compare(&part.low, &part.high) < 0)
            parts[n_parts++] = one_interval(s, place, &part);
    }
    return pn_expr_choice(s->b, parts, n_parts);
}
