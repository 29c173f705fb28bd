/* The template engine: language, messages, sandbox, budgets, threads. Expected results come from jinja2 3.1.6;
 * tests/diff/jinja_programs.py compares thousands more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "text/template/template.h"
#include "sanitized.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char context_text[] =
    "{\"s\": \"Hello World\", \"n\": 7, \"f\": 2.5, \"l\": [3, 1, 2], \"d\": {\"b\": 1, \"a\": 2},"
    " \"users\": [{\"name\": \"Zoe\", \"age\": 30}, {\"name\": \"adam\", \"age\": 25}], \"nil\": null, \"t\": true,"
    " \"e\": \"\", \"html\": \"<a>\", \"u\": \"na\\u00efve \\ud83d\\ude00\"}";

static pantry_status render_limited(const char *source, const struct pn_template_limits *limits, char **out,
                                    struct pantry_error *err)
{
    struct pn_template *t = NULL;
    json_t *context = json_loads(context_text, 0, NULL);
    *out = NULL;
    pantry_status status = pn_template_parse(source, strlen(source), &t, err);
    if (status == PANTRY_OK)
        status = pn_template_render(t, context, limits, out, NULL, err);
    pn_template_free(t);
    json_decref(context);
    return status;
}

struct row {
    const char *source, *want; /* the output, or the text of the error */
};

static void check_rows(const struct row *rows, size_t n, pantry_status want)
{
    const struct pn_template_limits limits = {.now = 1768480496}; /* 2026-01-15 12:34:56 */
    size_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        char *out;
        struct pantry_error err = {0};
        pantry_status status = render_limited(rows[i].source, &limits, &out, &err);
        const char *got = status == PANTRY_OK ? out : err.text;
        if (status != want || strcmp(got, rows[i].want) != 0) {
            print_error("%s\n  want %d: %s\n  got  %d: %s\n", rows[i].source, (int)want, rows[i].want, (int)status,
                        got);
            bad++;
        }
        free(out);
    }
    assert_int_equal(bad, 0);
}

#define CHECK(rows, want) check_rows(rows, sizeof(rows) / sizeof *(rows), want)

static void test_output(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"", ""},
        {"a\n", "a"},
        {"a\n{% if true %}\n  b\n{% endif %}\nc", "a\n  b\nc"},
        {"a\n  {% if true %}\nb\n\t{% endif %}\nc {% if true %}d{% endif %}\n  {{ n }}", "a\nb\nc d  7"},
        {"  {%- if true -%}  x  {%- endif %}  y", "x  y"},
        {"a {#- c -#} b{# d #}\nc", "abc"},
        {"{% raw %}{{ x }}{% endraw %}", "{{ x }}"},
        {"{{ 0.1 + 0.2 }} {{ 1e16 }} {{ 1e-5 }} {{ 100.0 }} {{ 5e-324 }}",
         "0.30000000000000004 1e+16 1e-05 100.0 5e-324"},
        {"{{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 100 }} {{ 2 ** -1 }}",
         "-4 2 3.5 1267650600228229401496703205376 0.5"},
        {"{{ 9223372036854775807 + 1 }} {{ 10 ** 30 // 7 }} {{ -(10 ** 30) % 7 }}",
         "9223372036854775808 142857142857142857142857142857 6"},
        {"{{ [1, 'a', \"it's\", none, true, 1.5, (1,), {}] }}", "[1, 'a', \"it's\", None, True, 1.5, (1,), {}]"},
        {"{{ d }} {{ d.items() }} {{ range(3) }}", "{'b': 1, 'a': 2} dict_items([('b', 1), ('a', 2)]) range(0, 3)"},
        {"{{ 1 < 2 < 3 }} {{ 3 in l }} {{ 'z' not in s }} {{ 1 == 1.0 }}", "True True True True"},
        {"{{ s[::-1] }} {{ s[2:5] }} {{ l[-2:] }} {{ u[-1] }} {{ u|length }}", "dlroW olleH llo [1, 2] 😀 7"},
        {"{% for x in l %}{{ loop.index }}{{ loop.last }}{{ loop.previtem }}{{ loop.nextitem }};{% endfor %}",
         "1False1;2False32;3True1;"},
        {"{% for x in l if x > 1 %}{{ x }}{% else %}none{% endfor %}{% for x in [] %}{% else %}e{% endfor %}", "32e"},
        {"{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}", "32"},
        {"{% for x in [1, [2, [3]]] recursive %}{% if x is iterable %}<{{ loop(x) }}>{% else %}{{ x }}{{ loop.depth }}"
         "{% endif %}{% endfor %}",
         "11<22<33>>"},
        {"{% set x = 1 %}{% for i in l %}{% set x = x + 1 %}{% endfor %}{{ x }}", "1"},
        {"{% set ns = namespace(x=0) %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}", "6"},
        {"{% macro m(a, b=2) %}{{ a }}{{ b }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 3, 4, c=5) }}",
         "13(4,){'c': 5}"},
        {"{% macro m() %}[{{ caller(1) }}]{% endmacro %}{% call(x) m() %}{{ x }}{{ n }}{% endcall %}", "[17]"},
        {"{% set x %}a{{ n }}{% endset %}{{ x }}{% filter upper %}b{% endfilter %}{% with q = 1 %}{{ q }}{% endwith "
         "%}{{ q }}",
         "a7B1"},
        {"{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}", "21"},
        {"{{ undef }}|{{ undef is defined }}|{{ undef|default('x') }}|{{ d.zz }}|{{ 1 if false }}", "|False|x||"},
        {"{{ users|map(attribute='name')|join(', ') }} {{ users|selectattr('age', '>', 26)|list|length }}",
         "Zoe, adam 1"},
        {"{{ d|dictsort }} {{ l|sort }} {{ ['b', 'A']|sort }} {{ l|sum }}",
         "[('a', 2), ('b', 1)] [1, 2, 3] ['A', 'b'] 6"},
        {"{{ d|tojson }} {{ u|tojson(ensure_ascii=true) }} {{ [1, {'a': []}]|tojson(indent=1) }}",
         "{\"b\": 1, \"a\": 2} \"na\\u00efve \\ud83d\\ude00\" [\n 1,\n {\n  \"a\": []\n }\n]"},
        {"{{ d|tojson(separators=(',', ':'), sort_keys=true) }}", "{\"a\":2,\"b\":1}"},
        {"{{ '%s-%05.1f-%x' % ('a', 2.25, 255) }} {{ '{:>5}|{:,}|{!r}'.format(1, 1234567, 'q') }}",
         "a-002.2-ff     1|1,234,567|'q'"},
        {"{{ 'a,b'.split(',') }} {{ ' x '.strip() }} {{ 'ß'.upper() }} {{ 'ΑΣ'.lower() }}", "['a', 'b'] x SS ας"},
        {"{{ strftime_now('%Y-%m-%d %H:%M:%S %a %B %j') }}", "2026-01-15 12:34:56 Thu January 015"},
        {"{{ ('<'|safe) + html }} {{ html|e }}", "<&lt;a&gt; &lt;a&gt;"},
        {"{% set g = l|map('string') %}{{ g|list }}{{ g|list }}", "['3', '1', '2'][]"},
        /* white space stays before a word that is longer than a line; longer white space is dropped */
        {"{{ 'ab cdefgh--i self-made  x'|wordwrap(3)|tojson }}", "\"ab \\ncde\\nfgh\\n--i\\nsel\\nf-m\\nade\\nx\""},
        {"{{ (' ' * 9)|wordwrap(4)|tojson }}{{ 'a\u00a0 b'|wordwrap(1)|tojson }}", "\"\"\"a\\nb\""},
        {"{% for in in l %}{{ in }}{% endfor %}", "312"},
    };
    CHECK(rows, PANTRY_OK);
}

static void test_raised(void **state)
{
    (void)state;
    static const struct row raised[] = {
        {"{{ raise_exception('Roles must alternate: ' ~ n) }}", "Roles must alternate: 7"},
        {"{{ raise_exception('%s %n') }}", "%s %n"},
    };
    static const struct row errors[] = {
        {"{{ undef.x }}", "UndefinedError: 'undef' is undefined"},
        {"{{ d.zz.y }}", "UndefinedError: 'dict object' has no attribute 'zz'"},
        {"{{ l[9].y }}", "UndefinedError: list object has no element 9"},
        {"{{ nil.x.y }}", "UndefinedError: 'None' has no attribute 'x'"},
        {"{{ 'a' + l }}", "TypeError: can only concatenate str (not \"list\") to str"},
        {"{{ 1 + 'a' }}", "TypeError: unsupported operand type(s) for +: 'int' and 'str'"},
        {"{{ 1 < 'a' }}", "TypeError: '<' not supported between instances of 'int' and 'str'"},
        {"{{ 1 // 0 }}", "ZeroDivisionError: integer division or modulo by zero"},
        {"{% for x in 5 %}{% endfor %}", "TypeError: 'int' object is not iterable"},
        {"{% for a, b in [[1]] %}{% endfor %}", "ValueError: not enough values to unpack (expected 2, got 1)"},
        {"{{ (l|map('string'))|tojson }}", "TypeError: Object of type generator is not JSON serializable"},
        {"{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}", "TypeError: macro 'm' takes not more than 1 argument(s)"},
        {"{% set d.x = 1 %}", "TemplateRuntimeError: cannot assign attribute on non-namespace object"},
        {"{% if t %}{{ 1|nope }}{% endif %}", "TemplateRuntimeError: No filter named 'nope' found."},
        {"{% include 'x' %}", "TypeError: no loader for this environment specified"},
        {"{{ 'a'.replace(nil, 'b') }}", "TypeError: replace() argument 1 must be str, not None"},
        {"{{ 'a'.splitlines('b') }}", "TypeError: 'str' object cannot be interpreted as an integer"},
        {"{{ 'a'.split(x=1) }}", "TypeError: 'x' is an invalid keyword argument for split()"},
        {"{{ 'a'.find('a', x=1) }}", "TypeError: find() takes no keyword arguments"},
        {"{{ l.count() }}", "TypeError: list.count() takes exactly one argument (0 given)"},
        {"{{ d.items(1) }}", "TypeError: dict.items() takes no arguments (1 given)"},
        {"{{ dict(undef) }}", "UndefinedError: 'undef' is undefined"},
        {"{{ '{:2147483648}'.format(1) }}", "ValueError: Too many decimal digits in format string"},
        {"{{ '{:.2147483648}'.format(1.5) }}", "ValueError: Too many decimal digits in format string"},
        {"{{ '%2147483648d' % 1 }}", "ValueError: width too big"},
        {"{{ '%.2147483648d' % 1 }}", "ValueError: width too big"},
        {"{% for x in l %}{{ loop|list }}{% endfor %}", "TypeError: iterating over 'loop' is not supported"},
        {"{{ '\\ud800' }}", "UnicodeEncodeError: 'utf-8' codec can't encode a character: surrogates not allowed"},
    };
    static const struct row unsupported[] = {
        {"{{ ''.encode() }}", "str.encode() is not supported: templates have no bytes"},
        {"{{ 's'|urlize }}", "the filter 'urlize' is not supported: it makes HTML links"},
        {"{{ lipsum() }}", "lipsum() makes random text and is not supported"},
        {"{{ (-8) ** 0.5 }}", "complex numbers are not supported"},
    };
    CHECK(raised, PANTRY_RAISED);
    CHECK(unsupported, PANTRY_UNSUPPORTED);
    CHECK(errors, PANTRY_INVALID);
}

static void test_syntax(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"{{ 1 + }}", "template:1: unexpected 'end of print statement'"},
        {"a\n{% foo %}", "template:2: Encountered unknown tag 'foo'."},
        {"{% if x %}",
         "template:1: Unexpected end of template. Jinja was looking for the following tags: 'elif' or 'else' or "
         "'endif'. The innermost block that needs to be closed is 'if'."},
        {"{% for x in l %}{% endif %}", "template:1: Encountered unknown tag 'endif'. Jinja was looking for the "
                                        "following tags: 'endfor' or 'else'. The "
                                        "innermost block that needs to be closed is 'for'."},
        {"{{ (1 ] }}", "template:1: unexpected ']', expected ')'"},
        {"{{ x[1:2, 0] }}", "template:1: invalid syntax"},
        {"{{ x[0, 1, 1:2] }}", "template:1: invalid syntax"},
        {"{{ a ? b }}", "template:1: unexpected char '?' at 5"},
        {"{{ 'abc }}", "template:1: unexpected char \"'\" at 3"},
        {"{# x", "template:1: Missing end of comment tag"},
        {"{{ 1|nope }}", "template:1: No filter named 'nope'."},
        {"{{ 1 is nope }}", "template:1: No test named 'nope'."},
        {"{% set 1 = 2 %}", "template:1: can't assign to 'const'"},
        {"{% break %}", "template:1: 'break' outside loop"},
        {"{% for in l %}{% endfor %}", "template:1: expected token 'in', got 'l'"},
        {"{% for x, in l %}{% endfor %}", "template:1: expected token 'in', got 'l'"},
        {"{% for loop in l %}{% endfor %}", "template:1: Can't assign to special loop variable in for-loop target"},
    };
    CHECK(rows, PANTRY_FORMAT);
    struct pn_template *t;
    struct pantry_error err;
    assert_int_equal(pn_template_parse("a\xff", 2, &t, &err), PANTRY_FORMAT);
    assert_null(t);
}

/* CVE-2024-34359 and similar: no path leads from a value to Python's internals. */
static void test_sandbox(void **state)
{
    (void)state;
    static const struct row hidden[] = {
        {"{{ ''.__class__ }}|{{ ''['__class__'] }}|{{ s|attr('__class__') }}|{{ '{0.__class__}'.format(1) }}", "|||"},
        {"{{ namespace(a=1).__class__ }}{{ range.__globals__ }}{{ d.__init__ }}{{ joiner._x }}", ""},
        {"{{ ''.__class__ is defined }}{{ d.pop is defined }}", "FalseFalse"},
    };
    static const struct row blocked[] = {
        {"{{ ''.__class__.__mro__[1].__subclasses__() }}",
         "SecurityError: access to attribute '__class__' of 'str' object is unsafe."},
        {"{{ d.__init__.__globals__ }}", "SecurityError: access to attribute '__init__' of 'dict' object is unsafe."},
        {"{{ l.append(4) }}", "SecurityError: access to attribute 'append' of 'list' object is unsafe."},
        {"{{ d.update({}) }}", "SecurityError: access to attribute 'update' of 'dict' object is unsafe."},
        {"{{ '{0.__class__.__mro__}'.format('') }}",
         "SecurityError: access to attribute '__class__' of 'str' object is unsafe."},
        {"{{ range(1000000) }}",
         "OverflowError: Range too big. The sandbox blocks ranges larger than MAX_RANGE (100000)."},
        {"{{ cycler.__init__.__globals__.os.popen('id').read() }}",
         "SecurityError: access to attribute '__init__' of 'type' object is unsafe."},
    };
    CHECK(hidden, PANTRY_OK);
    CHECK(blocked, PANTRY_INVALID);
}

/* Every endless loop, growth or nesting ends in PANTRY_LIMIT. */
static void test_budget(void **state)
{
    (void)state;
    static const char *const hungry[] = {
        "{% for i in range(25000) %}{% for j in range(25000) %}{% endfor %}{% endfor %}",
        "{% for i in range(25000) %}{{ 'x' * 10000 }}{% endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}",
        "{% for x in [[]] recursive %}{{ loop([[]]) }}{% endfor %}",
        "{{ 'x' * 99999999999 }}",
        "{{ [0] * 99999999999 }}",
        "{{ '%999999999d' % 1 }}",
        "{{ '{:999999999}'.format(1) }}",
        "{{ 'a'.center(999999999999) }}",
        "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x=[]) %}{% for i in range(5000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x=[]) %}{% for i in range(5000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x|tojson }}",
        "{% set ns = namespace(x=[]) %}{% for i in range(5000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x == [ns.x] "
        "}}",
        "{% set ns = namespace(x=l) %}{% for i in range(5000) %}{% set ns.x = ns.x|map('string') %}{% endfor %}{{ "
        "ns.x|list }}",
        "{{ 10 ** 99999999 }}",
        "{% set ns = namespace(x=7) %}{% for i in range(60) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
        "{% set a = 'a' * 3000000 %}{% for i in range(10000) %}{% set x = a.rfind(a[1:] ~ 'b') %}{{ a.count('b') }}{% "
        "endfor %}",
        "{% for i in range(100000) %}{% if 'z' in 'y' * 1000000 %}{% endif %}{% endfor %}",
    };
    for (size_t i = 0; i < sizeof hungry / sizeof *hungry; i++) {
        char *out;
        struct pantry_error err = {0};
        pantry_status status = render_limited(hungry[i], NULL, &out, &err);
        if (status != PANTRY_LIMIT || strncmp(err.text, "budget exceeded", 15) != 0)
            print_error("%s\n  got %d: %s\n", hungry[i], (int)status, err.text);
        assert_int_equal(status, PANTRY_LIMIT);
        assert_null(out);
    }
}

static void test_limits_are_used(void **state)
{
    (void)state;
    static const struct {
        const char *source;
        struct pn_template_limits limits;
    } rows[] = {
        {"{% for i in range(100) %}{% endfor %}", {.max_steps = 50}},
        {"{{ 'x' * 100 }}", {.max_output = 50}},
        {"{% macro m(x) %}{% if x %}{{ m(x - 1) }}{% endif %}{% endmacro %}{{ m(20) }}", {.max_depth = 10}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *out;
        struct pantry_error err = {0};
        assert_int_equal(render_limited(rows[i].source, &rows[i].limits, &out, &err), PANTRY_LIMIT);
        assert_int_equal(render_limited(rows[i].source, NULL, &out, &err), PANTRY_OK);
        free(out);
    }
}

/* The source with a size instead of "%d" and a percent sign for each "%%". */
static const char *with_size(const char *source, int size)
{
    static char text[256];
    size_t n = 0;
    for (const char *p = source; *p; p++)
        if (p[0] == '%' && p[1] == 'd')
            n += (size_t)snprintf(text + n, sizeof text - n, "%d", size), p++;
        else if (p[0] == '%' && p[1] == '%')
            text[n++] = '%', p++;
        else
            text[n++] = *p;
    text[n] = '\0';
    return text;
}

/* The smallest sufficient budget. */
static size_t steps_of(const char *source)
{
    size_t low = 0, high = 1 << 18; /* low is not enough */
    while (high - low > 1) {
        struct pantry_error err = {0};
        char *out;
        struct pn_template_limits limits = {.max_steps = low + (high - low) / 2};
        pantry_status status = render_limited(source, &limits, &out, &err);
        if (status == PANTRY_LIMIT)
            low = limits.max_steps;
        else
            high = limits.max_steps;
        if (status != PANTRY_OK && status != PANTRY_LIMIT)
            fail_msg("%s: %s", source, err.text);
        free(out);
    }
    return high;
}

/* The cost of an operation is proportional to its size: twice as many items or bytes, twice as many steps. */
static void test_long_operations_are_charged(void **state)
{
    (void)state;
    static const struct {
        const char *setup, *source; /* where %d is the size */
        size_t per_step;            /* most items or bytes per step */
    } rows[] = {
        {"", "{% for i in range(%d) %}{% endfor %}", 1},
        {"", "{% for i in range(%d) if i %}{% endfor %}", 1},
        {"", "{{ 'ab' * %d }}", 1},
        {"", "{{ [1] * %d }}", 1},
        {"", "{{ (1, 2) * %d }}", 1},
        {"", "{{ range(%d)|list }}", 1},
        {"", "{{ range(%d)|sum }}", 1},
        {"", "{{ range(%d)|map('string')|join(',') }}", 1},
        {"", "{{ range(%d)|sort|first }}", 1},
        {"", "{{ range(%d)|reverse|list|length }}", 1},
        {"", "{{ range(%d)|unique|list|length }}", 1},
        {"", "{{ range(%d)|batch(3)|list|length }}", 1},
        {"", "{{ [1]|batch(%d, 0)|list|length }}", 1},
        {"", "{{ range(%d)|slice(3)|list|length }}", 1},
        {"", "{{ [1]|slice(%d)|list|length }}", 1},
        {"", "{{ -1 in range(%d)|list }}", 1},
        {"", "{{ 'x'.center(%d) }}", 64},
        {"", "{{ '{:%d}'.format(1) }}", 64},
        {"", "{{ '%%%dd' % 1 }}", 64},
        {"", "{{ '%%.%df' % 1 }}", 16},
        {"", "{{ '{:.%df}'.format(1) }}", 16},
        {"", "{{ 2 ** %d > 1 }}", 32},
        {"{% set a = [1] * %d %}", "{{ a + a }}", 1},
        {"{% set a = [1] * %d %}", "{{ a == [1] * a|length }}", 1},
        {"{% set a = [1] * %d %}", "{{ a < [1] * a|length }}", 1},
        {"{% set a = [1] * %d %}", "{{ a[1:] }}", 1},
        {"{% set a = [1] * %d %}", "{{ a[::-1] }}", 1},
        {"{% set a = [1] * %d %}", "{{ a.count(1) }}", 1},
        {"{% set a = [1] * %d %}", "{{ a|string }}", 1},
        {"{% set a = [1] * %d %}", "{{ a|tojson }}", 1},
        {"{% set a = [1] * %d %}", "{{ a|pprint }}", 1},
        {"{% set a = [1] * %d %}", "{{ a|max }}", 1},
        {"{% set a = (1,) * %d %}", "{{ {a: 1} }}", 1},
        {"{% set a = 'ab ' * %d %}", "{{ a.upper() }}", 64},
        {"{% set a = 'ab ' * %d %}", "{{ a.title() }}", 64},
        {"{% set a = 'ab ' * %d %}", "{{ a|title }}", 64},
        {"{% set a = 'ab ' * %d %}", "{{ (a|replace(' ', 'c')).isalpha() }}", 64},
        {"{% set a = 'ab ' * %d %}", "{{ a.find('abc') }}", 64},
        {"{% set a = 'ab ' * %d %}", "{{ a.count('abc') }}", 64},
        {"{% set a = 'ab ' * %d %}", "{{ 'abc' in a }}", 64},
        {"{% set a = 'ab ' * %d %}", "{{ a.replace('a', 'b') }}", 1},
        {"{% set a = 'ab ' * %d %}", "{{ a.split() }}", 1},
        {"{% set a = 'ab ' * %d %}", "{{ a.split('b') }}", 1},
        {"{% set a = 'ab ' * %d %}", "{{ a.rsplit() }}", 1},
        {"{% set a = 'ab ' * %d %}", "{{ a.rsplit('b') }}", 1},
        {"{% set a = 'ab\n' * %d %}", "{{ a.splitlines() }}", 1},
        {"{% set a = 'ab ' * %d %}", "{{ a.translate({97: 98}) }}", 16},
        {"{% set a = 'ab ' * %d %}", "{{ a.strip('ba ') }}", 64},
        {"{% set a = 'ab ' * %d %}", "{{ 'x'.strip(a) }}", 16},
        {"{% set a = 'ab\t' * %d %}", "{{ a.expandtabs() }}", 16},
        {"{% set a = 'ab ' * %d %}", "{{ a == 'ab ' * (a|length // 3) }}", 64},
        {"{% set a = 'ab ' * %d %}", "{{ a|wordcount }}", 64},
        {"{% set a = 'ab ' * %d %}", "{{ a|wordwrap(4) }}", 1},
        {"{% set a = 'ab ' * %d %}", "{{ a|urlencode }}", 64},
        {"{% set a = 'ab<' * %d %}", "{{ a|e }}", 16},
        {"{% set a = 'ab<' * %d %}", "{{ a|striptags }}", 16},
        {"{% set a = 'ab\n' * %d %}", "{{ a|indent }}", 16},
        {"{% set a = 'ab ' * %d %}", "{{ a|list }}", 1},
        {"{% set a = 'ab ' * %d %}", "{{ a|reverse }}", 64},
        {"{% set a = 'ab ' * %d %}", "{{ a[::2] }}", 64},
        {"{% set a = 'ab ' * %d %}", "{{ a|tojson }}", 64},
        {"{% set a = 'ab ' * %d %}", "{{ a.format() }}", 64},
        {"{% set a = '{{' * %d %}", "{{ a.format() }}", 1},
        {"{% set a = '%%%%' * %d %}", "{{ a %% () }}", 2},
        {"{% set a = 'ab ' * %d %}", "{{ a ~ a }}", 64},
        {"{% set a = 2 ** %d %}", "{{ a * a > 1 }}", 1024},
        {"{% set a = 2 ** %d %}", "{{ a * a // a > 1 }}", 1024},
    };
    enum { SIZE = 2048 };
    size_t bad = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t steps[2], bare[2];
        for (int twice = 0; twice < 2; twice++) {
            char text[256], setup[128];
            snprintf(setup, sizeof setup, "%s", with_size(rows[i].setup, SIZE << twice));
            bare[twice] = *setup ? steps_of(setup) : 0;
            snprintf(text, sizeof text, "%s%s", setup, with_size(rows[i].source, SIZE << twice));
            steps[twice] = steps_of(text);
        }
        size_t more = steps[1] - bare[1] - (steps[0] - bare[0]);
        if (more < SIZE / rows[i].per_step || more > 64 * SIZE) {
            print_error("%s%s: %zu steps, then %zu\n", rows[i].setup, rows[i].source, steps[0] - bare[0],
                        steps[1] - bare[1]);
            bad++;
        }
    }
    assert_int_equal(bad, 0);
}

static char *append(char *p, const char *text)
{
    size_t n = strlen(text);
    memcpy(p, text, n + 1);
    return p + n;
}

/* A deeply nested source is an error or works, and never overflows the stack. */
static void test_nested_source(void **state)
{
    (void)state;
    static const char *const parts[][3] = {
        {"(", "1", ")"},     {"[", "", "]"},
        {"{1:", "1", "}"},   {"-", "1", ""},
        {"not ", "1", ""},   {"", "n", ".x"},
        {"", "n", "|d"},     {"", "1", "+1"},
        {"", "n", "[0]"},    {"", "n", "()"},
        {"1 if ", "1", ""},  {"", "1", "~1"},
        {"", "1", " and 1"}, {"", "1", " if 1 else 1"},
        {"", "1", " == 1"},  {"1 if 1 else ", "1", ""},
        {"f(", "", ")"},     {"n|d(", "1", ")"},
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        for (size_t depth = 50; depth <= 60000; depth *= 20) {
            struct pantry_error err = {0};
            char *text = calloc(1, depth * 16 + 64), *out, *p = text;
            p = append(p, "{{ ");
            for (size_t k = 0; k < depth; k++)
                p = append(p, parts[i][0]);
            p = append(p, parts[i][1]);
            for (size_t k = 0; k < depth; k++)
                p = append(p, parts[i][2]);
            append(p, " }}");
            pantry_status status = render_limited(text, NULL, &out, &err);
            assert_true(status == PANTRY_OK || status == PANTRY_LIMIT || status == PANTRY_INVALID ||
                        status == PANTRY_FORMAT);
            free(out);
            free(text);
        }
    char *blocks = calloc(1, 60000 * 16), *p = blocks, *out;
    for (size_t k = 0; k < 60000; k++)
        p = append(p, "{% if 1 %}");
    struct pantry_error err = {0};
    assert_int_equal(render_limited(blocks, NULL, &out, &err), PANTRY_LIMIT);
    free(blocks);
}

/* Repetition side by side is not nesting. */
static void test_long_source(void **state)
{
    (void)state;
    static const char *const parts[] = {
        "{{ (1) }}",
        "{{ [1] }}",
        "{{ {1: [2]} }}",
        "{{ not 1 }}",
        "{{ -1 }}",
        "{{ 1 if 1 else 2 }}",
        "{{ n.x }}",
        "{{ n|d }}",
        "{{ n|d(1) }}",
        "{{ 1 is odd }}",
        "{{ l[0] }}",
        "{{ range(1) }}",
        "{{ s.upper() }}",
        "{{ 1 == 1.0 }}",
        "{{ 1 < 2 < 3 }}",
        "{{ 1 ~ 2 }}",
        "{{ 1 and 1 }}",
        "{{ 1 or 1 }}",
        "{{ 2 ** 2 }}",
        "{{ l == [3, 1, 2] }}",
        "{{ (1, 2) < (1, 3) }}",
        "{{ {(1, 2): 3} }}",
        "{{ l|tojson }}",
        "{{ l|pprint }}",
        "{{ d|pprint }}",
        "{{ l|map('string')|list }}",
        "{{ 1 in l }}",
        "{% if 1 %}{% endif %}",
        "{% for x in l %}{% endfor %}",
        "{% for x in l recursive %}{% endfor %}",
        "{% for x, y in [l[:2]] %}{% endfor %}",
        "{% set x = 1 %}",
        "{% set x %}{% endset %}",
        "{% set x, y = 1, 2 %}",
        "{% with x = 1 %}{% endwith %}",
        "{% filter upper %}{% endfilter %}",
        "{% macro m() %}{% endmacro %}{{ m() }}",
        "{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}{% endcall %}",
        "{% autoescape true %}{% endautoescape %}",
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        struct pantry_error err = {0};
        char text[64 * 500], *out, *p = text;
        for (int k = 0; k < 300; k++)
            p = append(p, parts[i]);
        append(p, "{% for i in 'b' %}{% block b scoped %}{{ i }}{% endblock %}{% endfor %}{{ self.b is defined }}");
        if (render_limited(text, NULL, &out, &err))
            fail_msg("%s: %s", parts[i], err.text);
        free(out);
    }
}

/* Calls with nested arguments, deep in a thread with a small stack: the limit applies before the stack overflows. */
static void *render_deep(void *arg)
{
    static const char *const wraps[][2] = {
        {"[", "]"}, {"x|d(", ")"}, {"(1 if true else 0) + (", ")"}, {"'%s' % (", ")"}, {"{'a': ", "}.a"}};
    size_t *good = arg;
    char text[4096], *out;
    for (size_t i = 0; i < sizeof wraps / sizeof *wraps; i++)
        for (int depth = 1; depth <= 64; depth *= 4) {
            struct pantry_error err = {0};
            char *p = append(text, "{% macro m() %}{% for a in l %}{% filter upper %}{{ ");
            for (int k = 0; k < depth; k++)
                p = append(p, wraps[i][0]);
            p = append(p, "m()");
            for (int k = 0; k < depth; k++)
                p = append(p, wraps[i][1]);
            append(p, " }}{% endfilter %}{% endfor %}{% endmacro %}{{ m() }}");
            *good +=
                render_limited(text, NULL, &out, &err) == PANTRY_LIMIT && strncmp(err.text, "budget exceeded", 15) == 0;
        }
    return NULL;
}

#if PN_TSAN
enum { SMALL_STACK = 2048 * 1024 }; /* the sanitizer keeps its own state there */
#else
enum { SMALL_STACK = 512 * 1024 };
#endif

static void test_small_stack(void **state)
{
    (void)state;
    pthread_t thread;
    pthread_attr_t attr;
    size_t good = 0;
    pthread_attr_init(&attr);
    assert_int_equal(pthread_attr_setstacksize(&attr, SMALL_STACK), 0);
    assert_int_equal(pthread_create(&thread, &attr, render_deep, &good), 0);
    pthread_join(thread, NULL);
    pthread_attr_destroy(&attr);
    assert_int_equal(good, 5 * 4);
}

/* The context is data: its members hide functions of the same name and give access to nothing else. */
static void test_context(void **state)
{
    (void)state;
    static const struct {
        const char *context, *source, *want;
        pantry_status status;
    } rows[] = {
        {"{\"raise_exception\": \"x\"}", "{{ raise_exception }}", "x", PANTRY_OK},
        {"{\"raise_exception\": \"x\"}", "{{ raise_exception('y') }}", "TypeError: 'str' object is not callable",
         PANTRY_INVALID},
        {"{\"namespace\": 1, \"loop\": 2, \"self\": 3}",
         "{{ namespace }}{% for i in 'a' %}{{ loop.index }}{% endfor %}", "11", PANTRY_OK},
        {"{\"a\": 1, \"b\": 1.0, \"c\": 1e3, \"d\": [null, true]}", "{{ a }} {{ b }} {{ c }} {{ d }}",
         "1 1.0 1000.0 [None, True]", PANTRY_OK},
        {"[1]", "x", "template context: not a JSON object", PANTRY_INVALID},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct pn_template *t;
        struct pantry_error err = {0};
        char *out;
        size_t len;
        json_t *context = json_loads(rows[i].context, 0, NULL);
        assert_int_equal(pn_template_parse(rows[i].source, strlen(rows[i].source), &t, &err), PANTRY_OK);
        pantry_status status = pn_template_render(t, context, NULL, &out, &len, &err);
        assert_int_equal(status, rows[i].status);
        assert_string_equal(status == PANTRY_OK ? out : err.text, rows[i].want);
        free(out);
        pn_template_free(t);
        json_decref(context);
    }
    pn_template_free(NULL);
}

static const struct pn_template *shared_template;

static void *render_many(void *arg)
{
    size_t *bad = arg;
    json_t *context = json_loads(context_text, 0, NULL);
    for (int i = 0; i < 200; i++) {
        char *out = NULL;
        if (pn_template_render(shared_template, context, NULL, &out, NULL, NULL) != PANTRY_OK ||
            strcmp(out, "HELLO wörld 11 123") != 0)
            ++*bad;
        free(out);
    }
    json_decref(context);
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    static const char source[] =
        "{% macro m(x) %}{{ x|upper }}{% endmacro %}{{ m(s[:5]) }} {{ 'wörld' }} {{ s|length }} "
        "{% for x in l %}{{ loop.index }}{% endfor %}";
    struct pn_template *t;
    pthread_t threads[4];
    size_t bad[4] = {0};
    assert_int_equal(pn_template_parse(source, strlen(source), &t, NULL), PANTRY_OK);
    shared_template = t;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, render_many, &bad[i]), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(bad[i], 0);
    }
    pn_template_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_output),
        cmocka_unit_test(test_raised),
        cmocka_unit_test(test_syntax),
        cmocka_unit_test(test_sandbox),
        cmocka_unit_test(test_budget),
        cmocka_unit_test(test_limits_are_used),
        cmocka_unit_test(test_nested_source),
        cmocka_unit_test(test_small_stack),
        cmocka_unit_test(test_context),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_long_operations_are_charged),
        cmocka_unit_test(test_long_source),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
