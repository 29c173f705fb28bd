/* JSON schemas: what each keyword accepts and rejects, what is refused and where, and all of the shared rows.
 * tests/diff/schema_instances.py compares with Python's jsonschema. */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/random.h"
#include "grammar/match.h"
#include "grammar/schema.h"
#include "grammar_oracle.h"
#include "grammar_rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct pn_schema_options flexible;

/* The schema's grammar; single quotes stand for double ones. */
static struct pn_grammar *compile(const char *schema, const struct pn_schema_options *options)
{
    struct pn_grammar *g = NULL;
    struct pantry_error err = {0};
    char *text = strdup(schema);
    for (char *p = text; *p; p++)
        *p = *p == '\'' ? '"' : *p;
    if (pn_schema_compile_text(text, strlen(text), options, &g, &err))
        fail_msg("%s: %s", schema, err.text);
    free(text);
    return g;
}

static void check(const struct pn_grammar *g, const char *schema, const char *list, bool wanted)
{
    char *copy = strdup(list), *save;
    struct pantry_error err = {0};
    for (char *s = strtok_r(copy, "|", &save); s; s = strtok_r(NULL, "|", &save)) {
        bool accepted = !wanted;
        for (char *p = s; *p; p++)
            *p = *p == '\'' ? '"' : *p;
        if (pn_grammar_accepts(g, s, strlen(s), &accepted, &err))
            fail_msg("%s: %s", schema, err.text);
        if (accepted != wanted)
            fail_msg("%s: %s should be %s", schema, s, wanted ? "accepted" : "rejected");
    }
    free(copy);
}

struct row {
    const char *schema, *valid, *invalid; /* texts, separated by | */
};

static void check_rows(const struct row *rows, size_t n, const struct pn_schema_options *options)
{
    for (size_t i = 0; i < n; i++) {
        struct pn_grammar *g = compile(rows[i].schema, options);
        check(g, rows[i].schema, rows[i].valid, true);
        check(g, rows[i].schema, rows[i].invalid, false);
        pn_grammar_free(g);
    }
}

#define CHECK(rows) check_rows(rows, sizeof(rows) / sizeof *(rows), &flexible)

static void scalars(void **state)
{
    static const struct row rows[] = {
        {"{'type':'null'}", "null", "nul|nulll| null|null |0|''"},
        {"{'type':['boolean','null']}", "true|false|null", "True|1|'true'"},
        {"true", "0|[]|{'a':[{}]}|'x'|null|-1.5e+3", "01|[,]|{a:1}|1.|.5|+1|nan|{'a':1,}"},
        {"{'const':{'a':[1,null],'b':'x'}}", "{'a':[1,null],'b':'x'}|{'a': [1, null], 'b': 'x'}",
         "{'b':'x','a':[1,null]}|{'a':[1],'b':'x'}|{'a':[1,null]}|{}"},
        {"{'enum':['a',2,null,[]]}", "'a'|2|2.0|null|[]", "'b'|3|true|{}|[2]"},
        {"{'const':1e-7}", "1e-07|0.0000001", "1e-06|0"},
        {"{'type':'string','minLength':2,'maxLength':3}", "'ab'|'ab\xc3\xa9'|'\xf0\x9f\x98\x80z'|'\\n\\n'",
         "'a'|'abcd'|''"},
        {"{'pattern':'b+c'}", "'abbcd'|'bc'|12|{}", "'ac'|'b'"},
        {"{'type':'string','pattern':'^[a-c]+$','maxLength':2}", "'a'|'cb'", "'abc'|'d'|''|'a '"},
        {"{'type':'string','format':'date'}", "'2024-02-29'|'2000-02-29'|'1999-12-31'",
         "'2023-02-29'|'1900-02-29'|'2024-13-01'|'2024-1-01'|'x'"},
        {"{'type':'string','format':'date-time'}", "'2026-02-03T10:00:00+01:00'|'1990-12-31T23:59:60Z'",
         "'2026-02-03 10:00'|'2026-02-03T24:00:00Z'|'2026-02-03T10:00:00'"},
        {"{'type':'string','format':'uuid'}", "'123e4567-e89b-12d3-a456-426614174000'", "'123e4567'"},
        {"{'type':'string','format':'ipv4'}", "'0.10.255.1'", "'256.1.1.1'|'1.2.3'|'01.2.3.4'"},
        {"{'type':'string','format':'ipv6'}", "'::1'|'1::'|'2001:db8::192.0.2.1'|'1:2:3:4:5:6:7:8'",
         "':'|'1::2::3'|'12345::'"},
        {"{'type':'string','format':'email'}", "'a.b+c@x-y.org'", "'a@'|'@b'|'a b@c'"},
        {"{'type':'string','format':'uri'}", "'https://a.b:8/c?d=e#f'|'urn:x:y'", "'//a'|'a b:c'|'x'"},
        {"{'type':'string','format':'duration'}", "'P1Y2M3DT4H5M6S'|'PT36H'|'P4W'", "'P'|'PT'|'P1S'|'1Y'"},
        {"{'type':'string','format':'an unknown one'}", "'anything'", "1"},
    };
    (void)state;
    CHECK(rows);
}

static void numbers(void **state)
{
    static const struct row rows[] = {
        {"{'type':'integer'}", "0|-1|12345678901234567890", "1.5|1e2|-0|01|''"},
        {"{'type':'number','minimum':-1.5,'exclusiveMaximum':10}", "-1.5|-1.49|0|9.999|-0.0|1e-05|-2e-07",
         "-1.51|10|10.0|100|1e+16|-1e+16"},
        {"{'type':'number','exclusiveMinimum':0}", "1e-05|0.001|1e+16|1.5e+300|7", "0|-1|0.0|-1e-05"},
        {"{'type':'number','minimum':1e17}", "1e+17|1.1e+17|2e+20|100000000000000000", "9.9e+16|1e+16|5|-1e+17"},
        {"{'type':'number','maximum':-3e-6}", "-3e-06|-3.1e-06|-1|-1e-05", "-2.9e-06|-1e-06|0|1"},
        {"{'type':'integer','minimum':1,'maximum':100}", "1|9|10|99|100", "0|101|-5|1000|50.5|00"},
        {"{'type':'integer','multipleOf':7,'minimum':10}", "14|21|70|7000000000000", "7|0|15|-14|20"},
        {"{'type':'integer','multipleOf':3600}", "0|3600|-7200|86400", "1|360|3601|36"},
        {"{'type':'integer','multipleOf':997,'minimum':1}", "997|1994|997000", "0|998|-997"},
        {"{'multipleOf':0.25}", "0|0.5|-1.25|3|'x'", "0.1|0.3|0.125"},
        {"{'type':'integer','not':{'multipleOf':3}}", "1|2|100|-4", "0|3|-99"},
        {"{'type':'number','not':{'multipleOf':2}}", "1|0.5|1e-05|-2e-300", "0|2|4.0|-8"},
        {"{'type':'number','not':{'enum':[1,2.5]}}", "0|1.1|2.4|2.51|3|-1", "1|1.0|2.5|2.50"},
        {"{'type':'number','not':{'type':'integer'}}", "0.5|-7.25|1e-07", "1|1.0|-3|1e+17"},
        {"{'minimum':3,'exclusiveMinimum':true}", "4|3.1|'x'", "3|2"},
        {"{'type':'integer','maximum':18446744073709551615}", "18446744073709551614|0|-7", "99999999999999999999"},
    };
    (void)state;
    CHECK(rows);
}

static void arrays(void **state)
{
    static const struct row rows[] = {
        {"{'items':{'type':'integer'},'minItems':1,'maxItems':3}", "[1]|[1,2]|[1, 2, 3]|'x'",
         "[]|[1,2,3,4]|['a']|[1,]|[1 ,2]"},
        {"{'prefixItems':[{'type':'string'},{'type':'null'}],'items':{'type':'boolean'}}",
         "[]|['a']|['a',null]|['a', null, true]", "[1]|['a',1]|['a',null,null]"},
        {"{'prefixItems':[{},{}],'items':false}", "[]|[1]|[1,2]", "[1,2,3]"},
        {"{'items':[{'type':'null'}],'additionalItems':false}", "[]|[null]", "[1]|[null,null]"},
        {"{'contains':{'const':1}}", "[1]|[0,1]|[1,'x']|{}", "[]|[0]"},
        {"{'contains':{'const':1},'minContains':2,'maxContains':3}", "[1,1]|[1,0,1,1]", "[1]|[1,1,1,1]|[]"},
        {"{'contains':{'const':1},'items':{'type':'integer'},'maxItems':2}", "[1]|[0,1]", "[0]|[0,0,1]|['a',1]"},
        {"{'items':{'enum':['a','b',3]},'uniqueItems':true}", "[]|['a']|[3,'b','a']", "['a','a']|['c']|[3,'a',3]"},
        {"{'type':'array','uniqueItems':true,'maxItems':1}", "[]|[7]", "[7,8]"},
        {"{'type':'array','items':{'type':'integer','exclusiveMinimum':0,'maximum':4,'not':{'const':2}},"
         "'uniqueItems':true}",
         "[]|[1,3,4]|[4,1]", "[1,1]|[0]|[5]|[2]|[3,4,1,3]"},
        {"{'type':'array','items':{'type':'integer','minimum':-10,'maximum':10,'multipleOf':5},'uniqueItems':true}",
         "[-10,-5,0,5,10]|[5]", "[5,5]|[1]|[15]"},
        {"{'type':'array','prefixItems':[{'type':'integer'},{'type':'string'},{'type':['null','boolean']}],"
         "'items':false,'uniqueItems':true}",
         "[]|[1]|[1,'1']|[1,'x',null]", "[1,1]|['x']|[1,'x',null,null]"},
        {"{'not':{'items':{'type':'string'}}}", "[1]|['a',2]", "[]|['a']|1"},
        {"{'prefixItems':[{'const':1}],'unevaluatedItems':false}", "[]|[1]", "[1,2]|[2]"},
    };
    (void)state;
    CHECK(rows);
}

static void objects(void **state)
{
    static const struct row rows[] = {
        {"{'type':'object','properties':{'a':{'type':'integer'},'b':{},'c':{}},'required':['b'],"
         "'additionalProperties':false}",
         "{'b':1}|{'a':1,'b':2}|{'b': 1, 'c': 2}|{'a':1,'b':2,'c':3}",
         "{}|{'a':1}|{'b':1,'a':1}|{'b':1,'d':1}|{'a':'x','b':1}"},
        {"{'properties':{'a':{'const':1},'b':{'const':2}},'additionalProperties':false}",
         "{}|{'a':1}|{'b':2}|{'a':1,'b':2}", "{'a':1,}|{,'b':2}|{'a':2}|{'a':1 ,'b':2}"},
        {"{'type':'object','properties':{'a':{'const':1}}}", "{}|{'a':1}|{'a':1,'b':2}|{'b':2,'c':[]}|{'aa':2}|{'':0}",
         "{'a':2}|{'b':1,'a':2}"},
        {"{'type':'object','required':['x','y']}", "{'x':1,'y':2}|{'y':1,'q':0,'x':2}", "{}|{'x':1}|{'q':1}"},
        {"{'additionalProperties':{'type':'integer'}}", "{}|{'q':1,'r':2}|3", "{'q':'x'}"},
        {"{'patternProperties':{'^i':{'type':'integer'},'z$':{'minimum':5}},'additionalProperties':false}",
         "{'i':1}|{'iz':7}|{'az':'x'}", "{'i':'x'}|{'iz':4}|{'q':1}|{'iz':'x'}"},
        {"{'propertyNames':{'pattern':'^[a-z]+$','maxLength':3}}", "{}|{'abc':1}", "{'A':1}|{'abcd':1}"},
        {"{'propertyNames':{'enum':['k','l']},'type':'object'}", "{}|{'k':1}|{'l':1,'k':2}", "{'m':1}"},
        {"{'minProperties':1,'properties':{'a':{},'b':{}},'additionalProperties':false}",
         "{'a':1}|{'b':1}|{'a':1,'b':2}", "{}"},
        {"{'maxProperties':1,'properties':{'a':{},'b':{}}}", "{}|{'a':1}|{'q':1}", "{'a':1,'b':1}|{'q':1,'r':1}"},
        {"{'dependentRequired':{'a':['b']}}", "{}|{'b':1}|{'a':1,'b':2}|{'b':2,'a':1}", "{'a':1}"},
        {"{'dependentSchemas':{'a':{'properties':{'b':{'const':1}}}}}", "{'b':2}|{'b':1,'a':0}|{'a':0}",
         "{'b':2,'a':0}"},
        {"{'properties':{'a\\n\\u0001':{'const':1}},'additionalProperties':false}", "{'a\\n\\u0001':1}", "{'a\\n':1}"},
        {"{'allOf':[{'properties':{'a':{'type':'number'}}},{'properties':{'a':{'minimum':2}},'required':['a']}]}",
         "{'a':2.5}|1", "{'a':1}|{'a':'x'}|{}"},
        {"{'properties':{'a':{}},'allOf':[{'properties':{'b':{}}}],'unevaluatedProperties':false}", "{'a':1,'b':2}|{}",
         "{'c':1}"},
    };
    (void)state;
    CHECK(rows);
}

static void combined(void **state)
{
    static const struct row rows[] = {
        {"{'anyOf':[{'type':'string','maxLength':2},{'type':'integer'}]}", "'ab'|7", "'abc'|1.5|null"},
        {"{'minLength':2,'anyOf':[{'type':'string'},{'type':'null'}]}", "'ab'|null", "'a'|1"},
        {"{'oneOf':[{'type':'integer'},{'minimum':2}]}", "1|2.5|'x'", "3|1.5"},
        {"{'oneOf':[{'multipleOf':2},{'multipleOf':3}],'type':'integer'}", "2|3|9|-4", "6|0|1|12"},
        {"{'oneOf':[{'required':['a']},{'required':['b']}],'properties':{'a':{},'b':{}},'additionalProperties':false}",
         "{'a':1}|{'b':1}", "{}|{'a':1,'b':1}"},
        {"{'not':{'type':'object','properties':{'a':{'type':'string'}}}}", "1|{'a':1}", "{}|{'a':'x'}"},
        {"{'not':{'not':{'type':'null'}}}", "null", "1"},
        {"{'if':{'properties':{'k':{'const':'i'}},'required':['k']},'then':{'properties':{'v':{'type':'integer'}}},"
         "'else':{'properties':{'v':{'type':'string'}}},'type':'object'}",
         "{'k':'i','v':1}|{'k':'s','v':'x'}|{'v':'x'}", "{'k':'i','v':'x'}|{'k':'s','v':1}"},
        {"{'type':'string','allOf':[{'pattern':'a'},{'pattern':'b'},{'maxLength':2}]}", "'ab'|'ba'", "'a'|'aab'"},
        {"{'type':'string','not':{'minLength':2}}", "''|'a'", "'ab'"},
        {"{'type':'string','not':{'maxLength':2}}", "'abc'", "'ab'|''"},
        {"{'type':'string','not':{'enum':['a','b']}}", "''|'c'|'ab'", "'a'|'b'"},
        {"{'type':'number','not':{'minimum':2}}", "1|1.99", "2|2.1"},
        {"{'type':'number','not':{'exclusiveMaximum':2}}", "2|2.5", "1.5|-2"},
        {"{'type':'array','not':{'minItems':2}}", "[]|[1]", "[1,2]"},
        {"{'type':'array','not':{'maxItems':1}}", "[1,2]|[1,2,3]", "[]|[1]"},
        {"{'type':'array','not':{'contains':{'const':1},'minContains':2}}", "[]|[1]|[2,1]", "[1,1]|[1,2,1]"},
        {"{'type':'array','not':{'prefixItems':[{'const':1}]}}", "[2]|[2,1]", "[]|[1]|[1,2]"},
        {"{'type':'object','not':{'required':['a']}}", "{}|{'b':1}", "{'a':1}"},
        {"{'type':'object','not':{'minProperties':1}}", "{}", "{'a':1}"},
        {"{'type':'object','not':{'maxProperties':1},'properties':{'a':{},'b':{}},'additionalProperties':false}",
         "{'a':1,'b':2}", "{}|{'a':1}"},
        {"{'type':'boolean','not':{'const':true}}", "false", "true"},
        {"{'type':'string','not':{'pattern':'^x'}}", "''|'ax'", "'x'|'xa'"},
        {"{'$ref':'#/$defs/t','$defs':{'t':{'type':'object','properties':{'l':{'$ref':'#/$defs/"
         "t'},'v':{'type':'integer'}},"
         "'required':['v'],'additionalProperties':false}}}",
         "{'v':1}|{'l':{'l':{'v':1},'v':2},'v':3}", "{'l':{},'v':1}|{'l':{'v':'x'},'v':1}"},
        {"{'properties':{'a':{'$ref':'#/definitions/x~1y%25'}},'definitions':{'x/y%':{'type':'null'}}}", "{'a':null}",
         "{'a':1}"},
        {"{'$id':'http://h/"
         "r','$ref':'x#here','$defs':{'x':{'$id':'x','$defs':{'y':{'$anchor':'here','type':'null'}}}}}",
         "null", "1"},
        {"{'$ref':'#/$defs/a','maxLength':1,'$defs':{'a':{'type':'string'}}}", "'x'", "'xy'|1"},
        {"{'$id':'http://h/tree','$dynamicAnchor':'n','properties':{'d':true,'c':{'items':{'$dynamicRef':'#n'}}},"
         "'required':['d'],'type':'object'}",
         "{'d':1,'c':[{'d':2}]}", "{'d':1,'c':[{}]}|{'d':1,'c':[1]}"},
    };
    (void)state;
    CHECK(rows);
}

static void white_space(void **state)
{
    static const struct row compact[] = {{"{'properties':{'a':{}}}", "{'a':[1,2]}", "{'a': 1}|{'a':[1, 2]}"}};
    static const struct row indented[] = {{"{'properties':{'a':{}}}",
                                           "{'a':[1,2]}|{'a': [1, 2]}|{\n  'a': [\n    1,\n    2\n  ]\n}",
                                           "{'a' :1}|{\n\n'a':1}"}};
    static const struct row closed[] = {
        {"{'properties':{'a':{'type':'object','properties':{}}}}", "{}|{'a':{}}", "{'b':1}|{'a':{'b':1}}"},
        {"{'properties':{'a':{}},'additionalProperties':{'type':'null'}}", "{'b':null}", "{'b':1}"},
        {"{'prefixItems':[{}]}", "[]|[1]", "[1,2]"},
        {"{'type':'object'}", "{'b':1}", "[]"}};
    const struct pn_schema_options options[] = {
        {.space = PN_SCHEMA_COMPACT}, {.space = PN_SCHEMA_INDENTED}, {.closed = true}};
    (void)state;
    check_rows(compact, 1, &options[0]);
    check_rows(indented, 1, &options[1]);
    check_rows(closed, sizeof closed / sizeof *closed, &options[2]);
}

/* ---- refusals ---- */

static void refuse(const char *schema, const char *expected)
{
    struct pn_grammar *g = NULL;
    struct pantry_error err = {0};
    char *text = strdup(schema);
    for (char *p = text; *p; p++)
        *p = *p == '\'' ? '"' : *p;
    if (!pn_schema_compile_text(text, strlen(text), NULL, &g, &err))
        fail_msg("compiled: %.200s", schema);
    assert_null(g);
    if (!strstr(err.text, expected))
        fail_msg("\"%s\" is not in \"%s\"", expected, err.text);
    free(text);
}

static void refusals(void **state)
{
    static const struct {
        const char *schema, *expected;
    } rows[] = {
        {"{'type':'strin'}", "#/type: has to be"},
        {"{'properties':{'a/b':{'minLength':-1}}}", "#/properties/a~1b/minLength: has to be an integer"},
        {"{'items':7}", "#/items: has to be a schema"},
        {"{'anyOf':[{},{'pattern':'['}]}", "#/anyOf/1/pattern: "},
        {"{'$ref':'other.json'}", "#/$ref: other.json is not in this document"},
        {"{'$ref':'#/$defs/none'}", "#/$ref: nothing at #/$defs/none"},
        {"{'$ref':'#none'}", "no anchor"},
        {"{'$ref':'#'}", "refers to itself"},
        {"{'anyOf':[{'$ref':'#'},{'type':'null'}]}", "refers to itself"},
        {"{'properties':{'a':{'uniqueItems':true,'items':{'type':'string'}}}}", "#/properties/a/uniqueItems: "},
        {"{'properties':{'a':{'divisibleBy':3}}}", "#/properties/a/divisibleBy: this keyword is not supported"},
        {"{'$schema':'http://h/own','type':'null'}", "#/$schema: unknown dialect"},
        {"{'multipleOf':0.01}", "#/multipleOf: "},
        {"{'type':'array','items':{'type':'integer','minimum':0,'maximum':99},'uniqueItems':true}", "#/uniqueItems: "},
        {"{'type':'array','prefixItems':[{'type':'number'},{'type':'integer'}],'uniqueItems':true}", "#/uniqueItems: "},
        {"{'type':'integer','multipleOf':100003}", "#/multipleOf: "},
        {"false", "allows no value"},
        {"{'type':'object','properties':{'a':false},'required':['a']}", "allows no value"},
        {"{'type':'object','properties':{'a':{'$ref':'#'}},'required':['a']}", "allows no value"},
        {"{'allOf':[{'type':'string'},{'type':'null'}]}", "allows no value"},
        {"{'not':{'additionalProperties':{'type':'null'}},'type':'object'}", "cannot be expressed"},
        {"{'minProperties':3,'type':'object'}", "#/minProperties: "},
        {"{'a':1,'a':2}", "duplicate"},
        {"{'type':'string'", "not JSON"},
        {"7", "#: a schema has to be"},
        {"{'properties':{'p':{'type':'string','pattern':'x','maxLength':1000000}}}", "#/properties/p/pattern: "},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        refuse(rows[i].schema, rows[i].expected);
}

/* begin, middle, end, with `part` repeated n times before and `end_part` after the middle. */
static char *nested(const char *part, int n, const char *middle, const char *end_part)
{
    struct pn_buf text = {0};
    for (int i = 0; i < n; i++)
        pn_buf_puts(&text, part);
    pn_buf_puts(&text, middle);
    for (int i = 0; i < n; i++)
        pn_buf_puts(&text, end_part);
    return pn_buf_take(&text);
}

static void hostile(void **state)
{
    struct pn_buf text = {0};
    char *deep[] = {nested("{'items':", 1000, "{}", "}"), nested("{'allOf':[", 900, "{'minimum':1}", "]}"),
                    nested("[", 100000, "", ""), nested("{'properties':{'a':", 1900, "{}", "}}")};
    const char *expected[] = {"nested deeper", "nested deeper", "depth", "depth"};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        refuse(deep[i], expected[i]);
        free(deep[i]);
    }
    refuse("{'type':'array','minItems':1000000000000}", "#/minItems: ");
    refuse("{'minLength':10000000}", "more than 1000000");
    pn_buf_puts(&text, "{'patternProperties':{");
    for (int i = 0; i < 100; i++)
        pn_buf_printf(&text, "%s'p%d':{'minimum':%d}", i ? "," : "", i, i);
    pn_buf_puts(&text, "}}");
    refuse(text.data, "#/patternProperties: ");
    pn_buf_clear(&text);
    pn_buf_puts(&text, "{'allOf':[");
    for (int i = 0; i < 30; i++)
        pn_buf_printf(&text, "%s{'anyOf':[{'required':['a%d']},{'required':['b%d']}]}", i ? "," : "", i, i);
    pn_buf_puts(&text, "]}");
    refuse(text.data, "too many combinations");
    pn_buf_clear(&text);
    pn_buf_puts(&text, "{'$ref':'#/$defs/a0','$defs':{");
    for (int i = 0; i < 3000; i++)
        pn_buf_printf(&text, "'a%d':{'$ref':'#/$defs/a%d'},", i, i + 1);
    pn_buf_puts(&text, "'a3000':{}}}");
    refuse(text.data, "nested deeper");
    pn_buf_free(&text);
}

static void large(void **state)
{
    struct pn_buf text = {0};
    (void)state;
    pn_buf_puts(&text, "{'enum':[");
    for (int i = 0; i < 20000; i++)
        pn_buf_printf(&text, "%s'value %d'", i ? "," : "", i);
    pn_buf_puts(&text, "]}");
    struct pn_grammar *g = compile(text.data, NULL);
    check(g, "enum", "'value 0'|'value 19999'|'value 777'", true);
    check(g, "enum", "'value 20000'|'value '|'value 01'", false);
    pn_grammar_free(g);
    pn_buf_clear(&text);
    pn_buf_puts(&text, "{'additionalProperties':false,'properties':{");
    for (int i = 0; i < 1000; i++)
        pn_buf_printf(&text, "%s'p%d':{'type':'integer'}", i ? "," : "", i);
    pn_buf_puts(&text, "}}");
    g = compile(text.data, NULL);
    check(g, "properties", "{}|{'p0':1}|{'p7':1,'p300':2,'p999':3}|{'p999':1}", true);
    check(g, "properties", "{'p1000':1}|{'p0':'x'}|{'p0':1,}|{'p999':1,'p0':1}", false);
    pn_grammar_free(g);
    pn_buf_free(&text);
}

/* ---- properties of numbers ---- */

static void put_scaled(char *out, size_t size, long n, int places)
{
    const long unit = places == 0 ? 1 : places == 1 ? 10 : places == 2 ? 100 : 1000;
    long magnitude = n < 0 ? -n : n;
    if (places)
        snprintf(out, size, "%s%ld.%0*ld", n < 0 ? "-" : "", magnitude / unit, places, magnitude % unit);
    else
        snprintf(out, size, "%ld", n);
}

/* Random bounds of up to three decimals, and numbers around them. */
static void bounds(void **state)
{
    struct pn_rng rng = {7};
    (void)state;
    for (int round = 0; round < 300; round++) {
        static const long units[] = {1000, 100, 10, 1}; /* thousandths per unit of the last place */
        int low_places = (int)(pn_rng_u64(&rng) % 4), high_places = (int)(pn_rng_u64(&rng) % 4);
        long low = (long)(pn_rng_u64(&rng) % 4001) - 2000, high = low + (long)(pn_rng_u64(&rng) % 500);
        bool open_low = pn_rng_u64(&rng) & 1, open_high = pn_rng_u64(&rng) & 1, integer = pn_rng_u64(&rng) % 3 == 0;
        char schema[256], a[40], b[40], text[40];
        put_scaled(a, sizeof a, low, low_places);
        put_scaled(b, sizeof b, high, high_places);
        long low_value = low * units[low_places], high_value = high * units[high_places];
        if (low_value + 1000 > high_value)
            continue;
        snprintf(schema, sizeof schema, "{'type':'%s','%s':%s,'%s':%s}", integer ? "integer" : "number",
                 open_low ? "exclusiveMinimum" : "minimum", a, open_high ? "exclusiveMaximum" : "maximum", b);
        struct pn_grammar *g = compile(schema, NULL);
        for (int k = 0; k < 60; k++) {
            int places = (int)(pn_rng_u64(&rng) % 4);
            long around = k % 3 == 0 ? low_value : k % 3 == 1 ? high_value : (low_value + high_value) / 2;
            long n = (around + (long)(pn_rng_u64(&rng) % 5000) - 2500) / units[places], value = n * units[places];
            bool accepted, valid = (open_low ? value > low_value : value >= low_value) &&
                                   (open_high ? value < high_value : value <= high_value) && (!integer || places == 0);
            put_scaled(text, sizeof text, n, places);
            assert_int_equal(pn_grammar_accepts(g, text, strlen(text), &accepted, NULL), PANTRY_OK);
            if (accepted != valid)
                fail_msg("%s: %s should be %s", schema, text, valid ? "accepted" : "rejected");
        }
        pn_grammar_free(g);
    }
}

/* ---- expressions ---- */

/* Two schemas in one builder, as the arguments of two tools are; the oracle agrees with the automaton. */
static void shared_builder(void **state)
{
    static const char *const texts[] = {"a{\"x\": 1}", "a{}", "b[1,2]", "b[\"x\"]", "a[1]", "b{}", "a{\"x\":\"y\"}"};
    const bool wanted[] = {true, false, true, false, false, false, false};
    struct pn_expr_builder *b = NULL;
    struct pn_grammar *g = NULL;
    json_t *one =
        json_pack("{s:{s:{s:s}}, s:[s], s:s}", "properties", "x", "type", "integer", "required", "x", "type", "object");
    json_t *two = json_pack("{s:s, s:{s:s}}", "type", "array", "items", "type", "integer");
    pn_expr first, second;
    (void)state;
    assert_int_equal(pn_expr_builder_new(&b, NULL), PANTRY_OK);
    assert_int_equal(pn_schema_expr(b, one, NULL, &first, NULL), PANTRY_OK);
    assert_int_equal(pn_schema_expr(b, two, NULL, &second, NULL), PANTRY_OK);
    pn_expr a_first[] = {pn_expr_literal(b, "a", 1), first}, b_second[] = {pn_expr_literal(b, "b", 1), second};
    pn_expr both[] = {pn_expr_seq(b, a_first, 2), pn_expr_seq(b, b_second, 2)};
    pn_expr root = pn_expr_choice(b, both, 2);
    assert_int_equal(pn_grammar_compile(b, root, &g, NULL), PANTRY_OK);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        bool accepted = !wanted[i];
        assert_int_equal(pn_grammar_accepts(g, texts[i], strlen(texts[i]), &accepted, NULL), PANTRY_OK);
        assert_int_equal(accepted, wanted[i]);
        assert_int_equal(oracle_accepts(b, root, texts[i], strlen(texts[i])), wanted[i]);
    }
    pn_grammar_free(g);
    pn_expr_builder_free(b);
    json_decref(one);
    json_decref(two);
}

static void any_json(void **state)
{
    (void)state;
    for (int object = 0; object < 2; object++) {
        struct pn_expr_builder *b = NULL;
        struct pn_grammar *g = NULL;
        pn_expr root;
        assert_int_equal(pn_expr_builder_new(&b, NULL), PANTRY_OK);
        assert_int_equal(pn_schema_any(b, object, NULL, &root, NULL), PANTRY_OK);
        assert_int_equal(pn_grammar_compile(b, root, &g, NULL), PANTRY_OK);
        check(g, "any", "{}|{'a': [1, {'b': null}], 'c': -0.5e-3}", true);
        check(g, "any", "[1,2]|'x'|null|1e+10", !object);
        check(g, "any", "{'a'}|{'a':1 }|[1,]|x|{'a':'\n'}", false);
        pn_grammar_free(g);
        pn_expr_builder_free(b);
    }
}

static pantry_status compile_row(const char *text, size_t n, struct pn_grammar **grammar, struct pantry_error *err)
{
    return pn_schema_compile_text(text, n, NULL, grammar, err);
}

static void suite_rows(void **state)
{
    (void)state;
    check_grammar_rows("suite.json", "schema", compile_row);
}

static void tool_rows(void **state)
{
    (void)state;
    check_grammar_rows("tools.json", "schema", compile_row);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalars),    cmocka_unit_test(numbers),   cmocka_unit_test(arrays),
        cmocka_unit_test(objects),    cmocka_unit_test(combined),  cmocka_unit_test(white_space),
        cmocka_unit_test(refusals),   cmocka_unit_test(hostile),   cmocka_unit_test(large),
        cmocka_unit_test(bounds),     cmocka_unit_test(any_json),  cmocka_unit_test(shared_builder),
        cmocka_unit_test(suite_rows), cmocka_unit_test(tool_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
