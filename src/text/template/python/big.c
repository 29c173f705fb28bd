/* Integers beyond 64 bits: sign and magnitude in 32-bit limbs, schoolbook algorithms (Knuth, The Art of Computer
 * Programming 2, 4.3.1). Sizes are bounded, so that every operation is fast. */
#include "text/template/python/big.h"

#include <math.h>
#include <string.h>

enum { MAX_LIMBS = 4096, MAX_STR_DIGITS = 4300 };

/* A number of either kind as limbs; small ones live in `own`. */
struct mag {
    bool negative;
    size_t n;
    const uint32_t *limb;
    uint32_t own[2];
};

static void open_mag(jv v, struct mag *m)
{
    if (v.t == JJ_BIG) {
        *m = (struct mag){.negative = v.u.big->negative, .n = v.u.big->n, .limb = v.u.big->limb};
        return;
    }
    int64_t i = jj_as_int(v);
    uint64_t u = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    *m = (struct mag){.negative = i < 0, .n = u >> 32 ? 2 : u ? 1 : 0, .own = {(uint32_t)u, (uint32_t)(u >> 32)}};
    m->limb = m->own;
}

static uint32_t *new_limbs(struct jj_run *r, size_t n)
{
    if (n > MAX_LIMBS)
        pn_jj_throw(r, PANTRY_LIMIT, "budget exceeded: an integer of too many digits");
    return pn_jj_array(r, n + 1, sizeof(uint32_t));
}

/* Takes over `limb`; returns a plain integer if it fits. */
static jv close_mag(struct jj_run *r, uint32_t *limb, size_t n, bool negative)
{
    while (n && limb[n - 1] == 0)
        n--;
    if (n <= 2) {
        uint64_t u = (n > 0 ? limb[0] : 0) | (uint64_t)(n > 1 ? limb[1] : 0) << 32;
        if (u <= INT64_MAX)
            return jj_int(negative ? -(int64_t)u : (int64_t)u);
        if (negative && u == (uint64_t)INT64_MAX + 1)
            return jj_int(INT64_MIN);
    }
    struct jj_big *big = pn_jj_alloc(r, sizeof *big);
    *big = (struct jj_big){.negative = negative, .n = n, .limb = limb};
    return (jv){.t = JJ_BIG, .u.big = big};
}

static int cmp_mag(const struct mag *a, const struct mag *b)
{
    if (a->n != b->n)
        return a->n > b->n ? 1 : -1;
    for (size_t i = a->n; i-- > 0;)
        if (a->limb[i] != b->limb[i])
            return a->limb[i] > b->limb[i] ? 1 : -1;
    return 0;
}

static jv add_mag(struct jj_run *r, const struct mag *a, const struct mag *b, bool negative)
{
    size_t n = a->n > b->n ? a->n : b->n;
    uint32_t *out = new_limbs(r, n + 1);
    uint64_t carry = 0;
    for (size_t i = 0; i < n; i++) {
        carry += (uint64_t)(i < a->n ? a->limb[i] : 0) + (i < b->n ? b->limb[i] : 0);
        out[i] = (uint32_t)carry;
        carry >>= 32;
    }
    out[n] = (uint32_t)carry;
    return close_mag(r, out, n + 1, negative);
}

/* a >= b */
static jv sub_mag(struct jj_run *r, const struct mag *a, const struct mag *b, bool negative)
{
    uint32_t *out = new_limbs(r, a->n);
    int64_t borrow = 0;
    for (size_t i = 0; i < a->n; i++) {
        borrow += (int64_t)a->limb[i] - (i < b->n ? b->limb[i] : 0);
        out[i] = (uint32_t)borrow;
        borrow >>= 32;
    }
    return close_mag(r, out, a->n, negative);
}

static jv add(struct jj_run *r, const struct mag *a, const struct mag *b, bool negate_b)
{
    bool b_negative = b->negative != negate_b;
    if (a->negative == b_negative)
        return add_mag(r, a, b, a->negative);
    return cmp_mag(a, b) >= 0 ? sub_mag(r, a, b, a->negative) : sub_mag(r, b, a, b_negative);
}

static jv multiply(struct jj_run *r, const struct mag *a, const struct mag *b)
{
    uint32_t *out = new_limbs(r, a->n + b->n);
    pn_jj_step(r, a->n * b->n / 16);
    for (size_t i = 0; i < a->n; i++) {
        uint64_t carry = 0;
        for (size_t k = 0; k < b->n; k++) {
            carry += (uint64_t)a->limb[i] * b->limb[k] + out[i + k];
            out[i + k] = (uint32_t)carry;
            carry >>= 32;
        }
        out[i + b->n] = (uint32_t)carry;
    }
    return close_mag(r, out, a->n + b->n, a->negative != b->negative);
}

static uint32_t divide_small(uint32_t *q, const uint32_t *a, size_t n, uint32_t by)
{
    uint64_t rest = 0;
    for (size_t i = n; i-- > 0;) {
        rest = rest << 32 | a[i];
        q[i] = (uint32_t)(rest / by);
        rest %= by;
    }
    return (uint32_t)rest;
}

/* One digit of the quotient at position j (Knuth's D3 to D6); u and v are normalized. */
static uint32_t divide_step(uint32_t *u, const uint32_t *v, size_t n, size_t j)
{
    uint64_t top = (uint64_t)u[j + n] << 32 | u[j + n - 1], q = top / v[n - 1], rest = top % v[n - 1];
    while (q >> 32 || q * v[n - 2] > (rest << 32 | u[j + n - 2])) {
        q--;
        rest += v[n - 1];
        if (rest >> 32)
            break;
    }
    int64_t borrow = 0;
    uint64_t carry = 0;
    for (size_t i = 0; i < n; i++) {
        carry += q * v[i];
        borrow += (int64_t)u[i + j] - (int64_t)(uint32_t)carry;
        u[i + j] = (uint32_t)borrow;
        borrow >>= 32;
        carry >>= 32;
    }
    borrow += (int64_t)u[j + n] - (int64_t)carry;
    u[j + n] = (uint32_t)borrow;
    if (borrow >> 32) {
        q--;
        carry = 0;
        for (size_t i = 0; i < n; i++) {
            carry += (uint64_t)u[i + j] + v[i];
            u[i + j] = (uint32_t)carry;
            carry >>= 32;
        }
        u[j + n] += (uint32_t)carry;
    }
    return (uint32_t)q;
}

/* |a| / |b|: *q gets a->n limbs, *rest b->n; b is not zero. */
static void divide_mag(struct jj_run *r, const struct mag *a, const struct mag *b, uint32_t **q, uint32_t **rest)
{
    *q = new_limbs(r, a->n + 1);
    *rest = new_limbs(r, b->n + 1);
    pn_jj_step(r, a->n * b->n / 16);
    if (b->n == 1) {
        (*rest)[0] = divide_small(*q, a->limb, a->n, b->limb[0]);
        return;
    }
    if (cmp_mag(a, b) < 0) {
        memcpy(*rest, a->limb, a->n * sizeof(uint32_t));
        return;
    }
    int shift = __builtin_clz(b->limb[b->n - 1]);
    uint32_t *u = new_limbs(r, a->n + 1), *v = new_limbs(r, b->n);
    for (size_t i = b->n; i-- > 0;)
        v[i] = (uint32_t)(((uint64_t)b->limb[i] << 32 | (i ? b->limb[i - 1] : 0)) << shift >> 32);
    u[a->n] = (uint32_t)((uint64_t)a->limb[a->n - 1] << shift >> 32);
    for (size_t i = a->n; i-- > 0;)
        u[i] = (uint32_t)(((uint64_t)a->limb[i] << 32 | (i ? a->limb[i - 1] : 0)) << shift >> 32);
    for (size_t j = a->n - b->n + 1; j-- > 0;)
        (*q)[j] = divide_step(u, v, b->n, j);
    for (size_t i = 0; i < b->n; i++)
        (*rest)[i] = (uint32_t)(((uint64_t)u[i + 1] << 32 | u[i]) >> shift);
}

/* Floor division: the remainder has the sign of b. */
static jv divide(struct jj_run *r, const struct mag *a, const struct mag *b, bool want_rest)
{
    uint32_t *q, *rest;
    divide_mag(r, a, b, &q, &rest);
    jv quotient = close_mag(r, q, a->n, a->negative != b->negative);
    jv remainder = close_mag(r, rest, b->n, a->negative);
    if (a->negative != b->negative && !(remainder.t == JJ_INT && remainder.u.i == 0)) {
        struct mag m, one;
        open_mag(want_rest ? remainder : quotient, &m);
        open_mag(jj_int(1), &one);
        return want_rest ? add(r, &m, b, false) : add(r, &m, &one, true);
    }
    return want_rest ? remainder : quotient;
}

jv pn_jj_big_binary(struct jj_run *r, char op, jv a, jv b)
{
    struct mag x, y;
    open_mag(a, &x);
    open_mag(b, &y);
    switch (op) {
    case '+':
        return add(r, &x, &y, false);
    case '-':
        return add(r, &x, &y, true);
    case '*':
        return multiply(r, &x, &y);
    default:
        return divide(r, &x, &y, op == '%');
    }
}

static size_t bit_length(const struct mag *m)
{
    return m->n ? m->n * 32 - (size_t)__builtin_clz(m->limb[m->n - 1]) : 0;
}

/* The highest 64 bits, the lowest of them also set if any bit below is; *exp is their power of two. */
static uint64_t top_bits(const struct mag *m, int64_t *exp)
{
    size_t bits = bit_length(m), low = bits > 64 ? bits - 64 : 0;
    uint64_t top = 0;
    for (size_t i = 0; i < m->n; i++) {
        int64_t at = (int64_t)i * 32 - (int64_t)low;
        if (at >= 0)
            top |= (uint64_t)m->limb[i] << at;
        else if (at > -32)
            top |= m->limb[i] >> -at | ((m->limb[i] & ((1u << -at) - 1)) != 0);
        else
            top |= m->limb[i] != 0;
    }
    *exp = (int64_t)low;
    return top;
}

bool pn_jj_big_to_double(const struct jj_big *big, double *out)
{
    int64_t exp;
    struct mag m = {.negative = big->negative, .n = big->n, .limb = big->limb};
    uint64_t top = top_bits(&m, &exp);
    double d = exp > 2000 ? INFINITY : ldexp((double)top, (int)exp);
    *out = big->negative ? -d : d;
    return isfinite(d);
}

jv pn_jj_big_true_divide(struct jj_run *r, jv a, jv b)
{
    struct mag x, y;
    open_mag(a, &x);
    open_mag(b, &y);
    /* scale so that the quotient has at least 64 bits; of the rest only "not zero" matters */
    size_t want = bit_length(&y) + 66, have = bit_length(&x), words = have < want ? (want - have) / 32 + 1 : 0;
    uint32_t *scaled = new_limbs(r, x.n + words), *q, *rest;
    memcpy(scaled + words, x.limb, x.n * sizeof *scaled);
    struct mag up = {.n = x.n ? x.n + words : 0, .limb = scaled};
    divide_mag(r, &up, &y, &q, &rest);
    struct mag quotient = {.n = up.n, .limb = q};
    while (quotient.n && q[quotient.n - 1] == 0)
        quotient.n--;
    int64_t exp;
    uint64_t top = top_bits(&quotient, &exp);
    for (size_t i = 0; i < y.n; i++)
        top |= rest[i] != 0;
    exp -= (int64_t)words * 32;
    double d = exp > 2000 ? INFINITY : exp < -3000 ? 0 : ldexp((double)top, (int)exp);
    if (!isfinite(d))
        pn_jj_raise(r, "OverflowError", "integer division result too large for a float");
    return jj_float(x.negative != y.negative ? -d : d);
}

/* A finite double's integer part as limbs. */
static void double_mag(double d, uint32_t limb[34], struct mag *m)
{
    int exp;
    double fraction = frexp(fabs(d), &exp);
    memset(limb, 0, 34 * sizeof *limb);
    *m = (struct mag){.negative = d < 0, .limb = limb};
    if (exp <= 0)
        return;
    uint64_t bits = (uint64_t)ldexp(fraction, 53);
    int shift = exp - 53;
    if (shift < 0) {
        bits >>= -shift;
        shift = 0;
    }
    size_t word = (size_t)shift / 32, rest = (size_t)shift % 32;
    unsigned __int128 wide = (unsigned __int128)bits << rest;
    for (int i = 0; i < 3; i++)
        limb[word + (size_t)i] = (uint32_t)(wide >> (32 * i));
    m->n = word + 3;
    while (m->n && limb[m->n - 1] == 0)
        m->n--;
}

jv pn_jj_big_from_double(struct jj_run *r, double d)
{
    uint32_t limb[36];
    struct mag m;
    double_mag(d, limb, &m);
    uint32_t *copy = new_limbs(r, m.n);
    memcpy(copy, limb, m.n * sizeof *copy);
    return close_mag(r, copy, m.n, m.negative);
}

int pn_jj_big_cmp(jv a, jv b, bool *unordered)
{
    struct mag x, y;
    uint32_t limb[36];
    if (a.t == JJ_FLOAT)
        return -pn_jj_big_cmp(b, a, unordered);
    open_mag(a, &x);
    if (b.t == JJ_FLOAT) {
        if (isnan(b.u.d)) {
            *unordered = true;
            return 0;
        }
        if (isinf(b.u.d))
            return b.u.d > 0 ? -1 : 1;
        double_mag(b.u.d, limb, &y); /* a is big: the fraction of a smaller number can't matter */
    } else {
        open_mag(b, &y);
    }
    if (x.negative != y.negative)
        return x.negative ? -1 : 1;
    int c = cmp_mag(&x, &y);
    return x.negative ? -c : c;
}

jv pn_jj_big_parse(struct jj_run *r, const char *digits, size_t n, int base, bool negative)
{
    uint32_t *limb = new_limbs(r, n / 5 + 2); /* a limb holds more than five digits of base 36 */
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t carry = (uint64_t)digits[i];
        for (size_t k = 0; k < used; k++) {
            carry += (uint64_t)limb[k] * (unsigned)base;
            limb[k] = (uint32_t)carry;
            carry >>= 32;
        }
        if (carry)
            limb[used++] = (uint32_t)carry;
        pn_jj_step(r, used / 32);
    }
    return close_mag(r, limb, used, negative);
}

void pn_jj_big_put(struct jj_buf *b, const struct jj_big *big, int base, bool upper)
{
    uint32_t *limb = new_limbs(b->r, big->n);
    size_t n = big->n, count = 0;
    char *text = pn_jj_alloc(b->r, big->n * 32 + 2);
    memcpy(limb, big->limb, n * sizeof *limb);
    while (n) {
        text[count++] = (upper ? "0123456789ABCDEF" : "0123456789abcdef")[divide_small(limb, limb, n, (uint32_t)base)];
        pn_jj_step(b->r, n / 32);
        while (n && limb[n - 1] == 0)
            n--;
    }
    if (base == 10 && count > MAX_STR_DIGITS)
        pn_jj_raise(b->r, "ValueError",
                    "Exceeds the limit (%d digits) for integer string conversion; use "
                    "sys.set_int_max_str_digits() to increase the limit",
                    MAX_STR_DIGITS);
    if (big->negative)
        pn_jj_putc(b, '-');
    while (count)
        pn_jj_putc(b, text[--count]);
}
