/* Operators with Python's semantics: numbers of any size, and + and * of text and lists. */
#include "text/template/python/big.h"
#include "text/template/value.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

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

/* a % b with the sign of b, and the matching quotient */
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
        const int64_t exact = (int64_t)1 << 53; /* doubles hold every integer up to here */
        if (!big && x <= exact && x >= -exact && y <= exact && y >= -exact)
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
    if (fabs(v.u.d) >= 0x1p53) { /* an integer with more digits than a double holds exactly */
        if (!pn_jj_to_double(pn_jj_round(r, pn_jj_big_from_double(r, v.u.d), digits), &rounded))
            pn_jj_raise(r, "OverflowError", "rounded value too large to represent");
        return jj_float(rounded);
    }
    double unit = pow(10, (double)-digits), scaled = v.u.d / unit, whole = nearbyint(scaled);
    return jj_float(whole * unit);
}
