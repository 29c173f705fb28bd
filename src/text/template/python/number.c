/* Arithmetic as Python does it, from booleans to integers of any size (big.c), and + and * of text and lists. */
#include "text/template/python/big.h"
#include "text/template/value.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool pn_jj_to_double(jv v, double *out)
{
    if (v.t == JJ_FLOAT)
        *out = v.u.d;
    else if (v.t == JJ_BIG)
        return pn_jj_big_to_double(v.u.big, out);
    else
        *out = (double)jj_as_int(v);
    return true;
}

/* An integer against a float, exactly: every double beyond 2^63 is compared by its sign. */
static int int_float_cmp(int64_t a, double b, bool *unordered)
{
    if (isnan(b)) {
        *unordered = true;
        return 0;
    }
    if (b >= 0x1p63)
        return -1;
    if (b < -0x1p63)
        return 1;
    int64_t whole = (int64_t)b;
    double fraction = b - (double)whole;
    return a != whole ? (a > whole) - (a < whole) : (0 > fraction) - (0 < fraction);
}

int pn_jj_number_cmp(jv a, jv b, bool *unordered)
{
    if (a.t == JJ_FLOAT && b.t == JJ_FLOAT) {
        *unordered = isnan(a.u.d) || isnan(b.u.d);
        return (a.u.d > b.u.d) - (a.u.d < b.u.d);
    }
    if (a.t == JJ_BIG || b.t == JJ_BIG)
        return pn_jj_big_cmp(a, b, unordered);
    if (a.t == JJ_FLOAT)
        return -int_float_cmp(jj_as_int(b), a.u.d, unordered);
    if (b.t == JJ_FLOAT)
        return int_float_cmp(jj_as_int(a), b.u.d, unordered);
    int64_t x = jj_as_int(a), y = jj_as_int(b);
    return (x > y) - (x < y);
}

uint64_t pn_jj_number_hash(jv v)
{
    uint64_t h;
    if (v.t == JJ_BIG)
        return v.u.big->limb[0] * 0x9E3779B97F4A7C15u;
    if (v.t == JJ_FLOAT && !(floor(v.u.d) == v.u.d && fabs(v.u.d) < 0x1p63)) {
        if (isfinite(v.u.d) && fabs(v.u.d) >= 0x1p63) /* may equal a big integer: its lowest limb */
            return (uint64_t)(uint32_t)fmod(fabs(v.u.d), 0x1p32) * 0x9E3779B97F4A7C15u;
        memcpy(&h, &v.u.d, sizeof h);
    } else {
        h = (uint64_t)(v.t == JJ_FLOAT ? (int64_t)v.u.d : jj_as_int(v));
    }
    h *= 0x9E3779B97F4A7C15u;
    return h ^ h >> 32;
}

/* ---- text to number ---- */

static void trim(const char **p, size_t *n)
{
    size_t used;
    while (*n && pn_jj_is_space(pn_jj_decode(*p, *p + *n, &used))) {
        *p += used;
        *n -= used;
    }
    while (*n) {
        size_t at = *n - 1;
        while (at && ((unsigned char)(*p)[at] & 0xC0) == 0x80)
            at--;
        if (!pn_jj_is_space(pn_jj_decode(*p + at, *p + *n, &used)))
            break;
        *n = at;
    }
}

static int digit(uint32_t c)
{
    if (c >= 'a' && c <= 'z')
        return (int)c - 'a' + 10;
    if (c >= 'A' && c <= 'Z')
        return (int)c - 'A' + 10;
    return pn_jj_digit_value(c);
}

static int prefix_base(const char *p, size_t n)
{
    if (n < 2 || p[0] != '0')
        return 0;
    char x = (char)(p[1] | 0x20);
    return x == 'x' ? 16 : x == 'o' ? 8 : x == 'b' ? 2 : 0;
}

jv pn_jj_parse_int(struct jj_run *r, const char *p, size_t n, int base, bool *ok)
{
    *ok = false;
    trim(&p, &n);
    bool negative = n && *p == '-', seen = false, underscore = false;
    if (n && (*p == '-' || *p == '+'))
        p++, n--;
    int prefix = prefix_base(p, n);
    if (prefix && (base == 0 || base == prefix)) {
        base = prefix;
        p += 2;
        n -= 2;
        if (n && *p == '_')
            p++, n--;
    } else if (base == 0) {
        base = 10;
    }
    char *digits = pn_jj_alloc(r, n + 1);
    size_t count = 0;
    for (size_t i = 0, used; i < n; i += used) {
        uint32_t c = pn_jj_decode(p + i, p + n, &used);
        if (c == '_' && seen && !underscore) {
            underscore = true;
            continue;
        }
        int d = digit(c);
        if (d < 0 || d >= base)
            return jj_none();
        digits[count++] = (char)d;
        seen = true;
        underscore = false;
    }
    if (!seen || underscore || (count > 4300 && (base & (base - 1))))
        return jj_none();
    *ok = true;
    return pn_jj_big_parse(r, digits, count, base, negative);
}

bool pn_jj_parse_float(const char *p, size_t n, double *out)
{
    char text[512];
    size_t count = 0;
    bool digits = false, underscore = false;
    trim(&p, &n);
    for (size_t i = 0, used; i < n; i += used) {
        uint32_t c = pn_jj_decode(p + i, p + n, &used);
        int d = pn_jj_digit_value(c);
        if (c == '_') {
            if (underscore || i == 0 || p[i - 1] < '0' || p[i - 1] > '9' || i + 1 == n || p[i + 1] < '0' ||
                p[i + 1] > '9')
                return false;
            underscore = true;
            continue;
        }
        underscore = false;
        digits = digits || d >= 0;
        char ascii = (char)(d >= 0 ? '0' + d : c < 0x80 ? (int)c : '?');
        if (count + 1 >= sizeof text || !strchr("0123456789+-.eEinfatyINFATY", ascii))
            return false;
        text[count++] = ascii;
    }
    text[count] = '\0';
    const char *body = text + (text[0] == '+' || text[0] == '-');
    static const char *const words[] = {"inf", "infinity", "nan"};
    for (size_t i = 0; i < 3; i++) {
        size_t k = 0;
        while (words[i][k] && (body[k] | 0x20) == words[i][k])
            k++;
        if (!words[i][k] && !body[k]) {
            *out = (i == 2 ? NAN : INFINITY) * (text[0] == '-' ? -1 : 1);
            return true;
        }
    }
    if (!digits || strpbrk(text, "ifatyINFATYn"))
        return false;
    char *end;
    *out = strtod(text, &end);
    return *end == '\0';
}

void pn_jj_put_int(struct jj_buf *b, jv v, int base, bool upper)
{
    if (v.t == JJ_BIG) {
        pn_jj_big_put(b, v.u.big, base, upper);
        return;
    }
    char text[72], *p = text + sizeof text;
    int64_t i = jj_as_int(v);
    uint64_t u = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    do
        *--p = (upper ? "0123456789ABCDEF" : "0123456789abcdef")[u % (unsigned)base];
    while (u /= (unsigned)base);
    if (i < 0)
        *--p = '-';
    pn_jj_put(b, p, (size_t)(text + sizeof text - p));
}

jv pn_jj_float_to_int(struct jj_run *r, double d)
{
    d = trunc(d);
    if (d >= -0x1p63 && d < 0x1p63)
        return jj_int((int64_t)d);
    return pn_jj_big_from_double(r, d);
}

/* ---- operators ---- */

static const char *op_name(char op)
{
    static const char names[][4] = {"+", "-", "*", "/", "%"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i][0] == op)
            return names[i];
    return op == 'F' ? "//" : "** or pow()";
}

static _Noreturn void unsupported(struct jj_run *r, char op, jv a, jv b)
{
    pn_jj_raise(r, "TypeError", "unsupported operand type(s) for %s: '%s' and '%s'", op_name(op), pn_jj_type_name(a),
                pn_jj_type_name(b));
}

/* a % b with the sign of b, and the quotient that goes with it */
static double float_divmod(double a, double b, double *quotient)
{
    double mod = fmod(a, b), div = (a - mod) / b;
    if (mod != 0) {
        if ((b < 0) != (mod < 0)) {
            mod += b;
            div -= 1;
        }
    } else {
        mod = copysign(0, b);
    }
    if (div != 0) {
        *quotient = floor(div);
        if (div - *quotient > 0.5)
            *quotient += 1;
    } else {
        *quotient = copysign(0, a / b);
    }
    return mod;
}

static jv float_pow(struct jj_run *r, double a, double b)
{
    if (a == 0 && b < 0)
        pn_jj_raise(r, "ZeroDivisionError", "0.0 cannot be raised to a negative power");
    if (a < 0 && isfinite(a) && isfinite(b) && floor(b) != b)
        pn_jj_throw(r, PANTRY_UNSUPPORTED, "complex numbers are not supported");
    errno = 0;
    double result = pow(a, b);
    if (isinf(result) && isfinite(a) && isfinite(b))
        pn_jj_raise(r, "OverflowError", "(34, 'Numerical result out of range')");
    return jj_float(result);
}

static jv float_binary(struct jj_run *r, char op, jv a, jv b)
{
    double x, y, quotient;
    if (!pn_jj_to_double(a, &x) || !pn_jj_to_double(b, &y))
        pn_jj_raise(r, "OverflowError", "int too large to convert to float");
    if (y == 0 && (op == '/' || op == 'F' || op == '%'))
        pn_jj_raise(r, "ZeroDivisionError", "%s",
                    op == '/'   ? "float division by zero"
                    : op == 'F' ? "float floor division by zero"
                                : "float modulo");
    switch (op) {
    case '+':
        return jj_float(x + y);
    case '-':
        return jj_float(x - y);
    case '*':
        return jj_float(x * y);
    case '/':
        return jj_float(x / y);
    case '%':
        return jj_float(float_divmod(x, y, &quotient));
    case 'F':
        float_divmod(x, y, &quotient);
        return jj_float(quotient);
    default:
        return float_pow(r, x, y);
    }
}

static jv int_pow(struct jj_run *r, jv a, jv b)
{
    if (b.t == JJ_BIG ? b.u.big->negative : jj_as_int(b) < 0) {
        if (a.t != JJ_BIG && jj_as_int(a) == 0)
            pn_jj_raise(r, "ZeroDivisionError", "0.0 cannot be raised to a negative power");
        return float_binary(r, 'P', a, b);
    }
    if (b.t == JJ_BIG) {
        int64_t x = a.t == JJ_BIG ? 2 : jj_as_int(a);
        if (x == 0 || x == 1)
            return jj_int(x);
        if (x == -1)
            return jj_int(b.u.big->limb[0] & 1 ? -1 : 1);
        pn_jj_throw(r, PANTRY_LIMIT, "budget exceeded: an integer of too many digits");
    }
    jv result = jj_int(1), base = a.t == JJ_BOOL ? jj_int(a.u.b) : a;
    for (uint64_t e = (uint64_t)jj_as_int(b); e; e >>= 1) {
        if (e & 1)
            result = pn_jj_binary(r, '*', result, base);
        if (e > 1)
            base = pn_jj_binary(r, '*', base, base);
        pn_jj_step(r, 1);
    }
    return result;
}

static jv int_binary(struct jj_run *r, char op, jv a, jv b)
{
    if (op == 'P')
        return int_pow(r, a, b);
    bool big = a.t == JJ_BIG || b.t == JJ_BIG;
    int64_t x = big ? 0 : jj_as_int(a), y = big ? 0 : jj_as_int(b), out;
    if (b.t != JJ_BIG && jj_as_int(b) == 0 && (op == '/' || op == 'F' || op == '%'))
        pn_jj_raise(r, "ZeroDivisionError", "%s",
                    op == '/'   ? "division by zero"
                    : op == 'F' ? "integer division or modulo by zero"
                                : "integer modulo by zero");
    if (op == '/') {
        if (!big && llabs(x) <= 1LL << 53 && llabs(y) <= 1LL << 53 && x != INT64_MIN && y != INT64_MIN)
            return jj_float((double)x / (double)y);
        return pn_jj_big_true_divide(r, a, b);
    }
    if (!big) {
        bool overflow = false;
        switch (op) {
        case '+':
            overflow = __builtin_add_overflow(x, y, &out);
            break;
        case '-':
            overflow = __builtin_sub_overflow(x, y, &out);
            break;
        case '*':
            overflow = __builtin_mul_overflow(x, y, &out);
            break;
        default:
            overflow = x == INT64_MIN && y == -1;
            if (!overflow) {
                int64_t mod = x % y;
                bool adjust = mod != 0 && (mod < 0) != (y < 0);
                out = op == '%' ? mod + (adjust ? y : 0) : x / y - adjust;
            }
        }
        if (!overflow)
            return jj_int(out);
    }
    return pn_jj_big_binary(r, op, a, b);
}

static jv add_text(struct jj_run *r, jv a, jv b)
{
    bool markup = a.u.s->markup || b.u.s->markup;
    if (markup) {
        a = pn_jj_escape(r, a);
        b = pn_jj_escape(r, b);
    }
    struct jj_buf out = {.r = r};
    if (a.u.s->n > r->max_output || b.u.s->n > r->max_output - a.u.s->n)
        pn_jj_throw(r, PANTRY_LIMIT, "budget exceeded: text of more than %zu bytes", r->max_output);
    out.cap = a.u.s->n + b.u.s->n + 1;
    out.p = pn_jj_alloc(r, out.cap);
    pn_jj_put(&out, a.u.s->p, a.u.s->n);
    pn_jj_put(&out, b.u.s->p, b.u.s->n);
    jv v = pn_jj_buf_str(&out);
    v.u.s->markup = markup;
    return v;
}

static jv add_seq(struct jj_run *r, jv a, jv b)
{
    size_t n = a.u.seq->n + b.u.seq->n;
    jv out = a.t == JJ_LIST ? pn_jj_list(r, n) : pn_jj_tuple(r, n);
    pn_jj_step(r, n);
    for (size_t i = 0; i < a.u.seq->n; i++)
        pn_jj_push(r, out, a.u.seq->v[i]);
    for (size_t i = 0; i < b.u.seq->n; i++)
        pn_jj_push(r, out, b.u.seq->v[i]);
    return out;
}

static jv repeat(struct jj_run *r, jv v, jv times)
{
    if (times.t == JJ_BIG)
        pn_jj_raise(r, "OverflowError", "cannot fit 'int' into an index-sized integer");
    int64_t n = jj_as_int(times) < 0 ? 0 : jj_as_int(times);
    if (v.t == JJ_STR) {
        struct jj_buf out = {.r = r};
        if (v.u.s->n && (uint64_t)n > r->max_output / v.u.s->n)
            pn_jj_throw(r, PANTRY_LIMIT, "budget exceeded: text of more than %zu bytes", r->max_output);
        for (int64_t i = 0; i < n && v.u.s->n; i++) {
            pn_jj_put(&out, v.u.s->p, v.u.s->n);
            pn_jj_step(r, 1);
        }
        jv text = pn_jj_buf_str(&out);
        text.u.s->markup = v.u.s->markup;
        return text;
    }
    size_t total;
    if (!pn_size_mul(v.u.seq->n, (size_t)n, &total))
        total = SIZE_MAX / sizeof(jv);
    pn_jj_step(r, total);
    jv out = v.t == JJ_LIST ? pn_jj_list(r, total) : pn_jj_tuple(r, total);
    for (int64_t i = 0; i < n && v.u.seq->n; i++)
        for (size_t k = 0; k < v.u.seq->n; k++)
            pn_jj_push(r, out, v.u.seq->v[k]);
    return out;
}

static jv sequence_binary(struct jj_run *r, char op, jv a, jv b)
{
    bool a_seq = a.t == JJ_STR || jj_is_seq(a), b_seq = b.t == JJ_STR || jj_is_seq(b);
    if (op == '+' && a.t == b.t && a_seq)
        return a.t == JJ_STR ? add_text(r, a, b) : add_seq(r, a, b);
    if (op == '+' && a_seq)
        pn_jj_raise(r, "TypeError", "can only concatenate %s (not \"%s\") to %s", pn_jj_type_name(a),
                    pn_jj_type_name(b), pn_jj_type_name(a));
    if (op == '*' && a_seq && (jj_is_int(b) || b.t == JJ_BIG))
        return repeat(r, a, b);
    if (op == '*' && b_seq && (jj_is_int(a) || a.t == JJ_BIG))
        return repeat(r, b, a);
    if (op == '*' && (a_seq || b_seq))
        pn_jj_raise(r, "TypeError", "can't multiply sequence by non-int of type '%s'", pn_jj_type_name(a_seq ? b : a));
    unsupported(r, op, a, b);
}

jv pn_jj_binary(struct jj_run *r, char op, jv a, jv b)
{
    if (jj_is_number(a) && jj_is_number(b))
        return a.t == JJ_FLOAT || b.t == JJ_FLOAT ? float_binary(r, op, a, b) : int_binary(r, op, a, b);
    if (op == '%' && a.t == JJ_STR)
        return pn_jj_percent(r, a.u.s, b);
    if (a.t == JJ_UNDEFINED)
        pn_jj_raise_undefined(r, a);
    if (b.t == JJ_UNDEFINED)
        pn_jj_raise_undefined(r, b);
    return sequence_binary(r, op, a, b);
}

jv pn_jj_unary(struct jj_run *r, char op, jv a)
{
    if (a.t == JJ_UNDEFINED)
        pn_jj_raise_undefined(r, a);
    if (a.t == JJ_FLOAT)
        return jj_float(op == '-' ? -a.u.d : a.u.d);
    if (!jj_is_number(a))
        pn_jj_raise(r, "TypeError", "bad operand type for unary %c: '%s'", op, pn_jj_type_name(a));
    if (op == '+')
        return a.t == JJ_BOOL ? jj_int(a.u.b) : a;
    return int_binary(r, '-', jj_int(0), a);
}

/* round(v, digits): floats to the nearest decimal, halves to even in the exact value of the double. */
jv pn_jj_round(struct jj_run *r, jv v, int64_t digits)
{
    char text[800];
    double rounded;
    if (v.t != JJ_FLOAT) {
        if (digits >= 0)
            return v.t == JJ_BOOL ? jj_int(v.u.b) : v;
        if (digits < -400)
            return jj_int(0);
        jv unit = int_pow(r, jj_int(10), jj_int(-digits)), half = int_binary(r, 'F', unit, jj_int(2));
        jv down = int_binary(r, 'F', v, unit), rest = int_binary(r, '%', v, unit);
        bool unordered = false;
        int c = pn_jj_number_cmp(rest, half, &unordered);
        jv odd = int_binary(r, '%', down, jj_int(2));
        if (c > 0 || (c == 0 && odd.u.i == 1))
            down = int_binary(r, '+', down, jj_int(1));
        return int_binary(r, '*', down, unit);
    }
    if (!isfinite(v.u.d) || digits > 330)
        return v;
    if (digits < -310)
        return jj_float(copysign(0, v.u.d));
    if (digits >= 0) {
        snprintf(text, sizeof text, "%.*f", (int)digits, v.u.d);
        return jj_float(strtod(text, NULL));
    }
    if (fabs(v.u.d) >= 0x1p53) { /* an integer, of more digits than a double may count exactly */
        if (!pn_jj_to_double(pn_jj_round(r, pn_jj_big_from_double(r, v.u.d), digits), &rounded))
            pn_jj_raise(r, "OverflowError", "rounded value too large to represent");
        return jj_float(rounded);
    }
    double unit = pow(10, (double)-digits), scaled = v.u.d / unit, whole = nearbyint(scaled);
    return jj_float(whole * unit);
}
