/* Modelfiles: instructions, quotes, errors with their lines; and the parameters, templates and conversations that come
 * from them. */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "store/carried.h"
#include "store/modelfile.h"
#include "store/parameters.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pantry_status parse(const char *text, struct pn_modelfile *m, struct pantry_error *err)
{
    return pn_modelfile_parse("Modelfile", text, strlen(text), m, err);
}

/* "KIND[name]=value|..." of all lines. */
static char *lines_of(const char *text)
{
    struct pn_modelfile m;
    struct pantry_error err;
    struct pn_buf out = {0};
    if (parse(text, &m, &err))
        fail_msg("%s: %s", text, err.text);
    for (size_t i = 0; i < m.len; i++)
        pn_buf_printf(&out, "%d:%s[%s]=%s|", m.data[i].line, pn_modelfile_instruction(m.data[i].kind),
                      m.data[i].name ? m.data[i].name : "", m.data[i].value);
    pn_modelfile_free(&m);
    return pn_buf_take(&out);
}

static void reads_instructions(void **state)
{
    (void)state;
    static const struct {
        const char *text, *lines;
    } rows[] = {
        {"FROM a", "1:FROM[]=a|"},
        {"\xef\xbb\xbf  from\ta:b  \r\n", "1:FROM[]=a:b|"},
        {"# one\n\n  # two\nFrom a # not a comment\n", "4:FROM[]=a # not a comment|"},
        {"FROM \"a b\"\nSYSTEM \"\"\"\n one\n\"\" two\"\"\"\nLICENSE x",
         "1:FROM[]=a b|2:SYSTEM[]=\n one\n\"\" two|5:LICENSE[]=x|"},
        {"SYSTEM \"one\ntwo\"\nFROM a", "1:SYSTEM[]=one\ntwo|3:FROM[]=a|"},
        {"SYSTEM \"\"\"say \"hi\"\"\"\"\nFROM a", "1:SYSTEM[]=say \"hi\"|2:FROM[]=a|"},
        {"SYSTEM \"\"\"  a  \"\"\"  \nFROM a", "1:SYSTEM[]=  a  |2:FROM[]=a|"},
        {"SYSTEM\nTEMPLATE \"\"\nFROM a", "1:SYSTEM[]=|2:TEMPLATE[]=|3:FROM[]=a|"},
        {"PARAMETER Stop \"<|x|>\"\nMESSAGE USER hi: there\nFROM a",
         "1:PARAMETER[stop]=<|x|>|2:MESSAGE[user]=hi: there|3:FROM[]=a|"},
        {"adapter ./a\ndraft b\nrequires 1\nrenderer c\nparser d\ncapability e\nfrom f",
         "1:ADAPTER[]=./a|2:DRAFT[]=b|3:REQUIRES[]=1|4:RENDERER[]=c|5:PARSER[]=d|6:CAPABILITY[]=e|7:FROM[]=f|"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *lines = lines_of(rows[i].text);
        assert_string_equal(lines, rows[i].lines);
        free(lines);
    }
}

static void says_where_it_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
    } rows[] = {
        {"", "Modelfile: no FROM line"},
        {"# FROM a\n", "no FROM line"},
        {"FROM a\n\nFORM b\n", "Modelfile: line 3: unknown instruction (found \"FORM\", allowed FROM,"},
        {"FROM a\nSYSTEMS b\n", "line 2: unknown instruction (found \"SYSTEMS\""},
        {"FROM a\n= b\n", "line 2: unknown instruction (found \"=\""},
        {"FROM=a\n", "line 1: unknown instruction"},
        {"FROM\nSYSTEM x\n", "line 1: FROM needs a value"},
        {"FROM a\nADAPTER \"\"\n", "line 2: ADAPTER needs a value"},
        {"FROM a\nPARAMETER\n", "line 2: PARAMETER needs a parameter's name and a value"},
        {"FROM a\nPARAMETER top_k\n", "line 2: PARAMETER needs a value"},
        {"FROM a\nPARAMETER top-k 1\n", "line 2: PARAMETER needs a parameter's name and a value"},
        {"FROM a\nMESSAGE tool x\n", "line 2: unknown role (found \"tool\", allowed system, user, assistant)"},
        {"FROM a\nMESSAGE user\n", "line 2: MESSAGE needs a value"},
        {"FROM a\nSYSTEM \"\"\"one\ntwo\"\nLICENSE x\n", "line 2: the quotes have no end (\"\"\" must"},
        {"FROM a\nSYSTEM \"\"\"", "line 2: the quotes have no end"},
        {"FROM a\nSYSTEM \"one\n", "line 2: the quotes have no end (\" must"},
        {"FROM a\nSYSTEM \"\"\"x\"\"\" y\n", "line 2: the quotes have no end"},
        {"FROM \xff\n", "is not UTF-8"},
        {"\xff\xfe", "is UTF-16"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct pn_modelfile m;
        struct pantry_error err = {0};
        assert_int_equal(parse(rows[i].text, &m, &err), PANTRY_FORMAT);
        if (!strstr(err.text, rows[i].why))
            fail_msg("row %zu: '%s' lacks '%s'", i, err.text, rows[i].why);
        assert_null(m.data);
    }
    struct pn_modelfile m;
    struct pantry_error err = {0};
    assert_int_equal(pn_modelfile_parse("Modelfile", "FROM a\nSYSTEM b\0c", 17, &m, &err), PANTRY_FORMAT);
    assert_non_null(strstr(err.text, "line 2: a NUL"));
}

static void is_bounded(void **state)
{
    (void)state;
    for (int more = 0; more < 2; more++) {
        struct pn_buf text = {0};
        struct pn_modelfile m;
        struct pantry_error err = {0};
        for (int i = 0; i < PN_MODELFILE_LINES + more; i++)
            pn_buf_puts(&text, "FROM a\n");
        assert_int_equal(parse(text.data, &m, &err), more ? PANTRY_LIMIT : PANTRY_OK);
        if (!more)
            assert_int_equal(m.len, PN_MODELFILE_LINES);
        pn_modelfile_free(&m);
        pn_buf_free(&text);
    }
}

static void writes_what_it_reads(void **state)
{
    (void)state;
    static const char *const values[] = {
        "a",  "a b",     " a", "a ",  "two\nlines", "\"quoted\"", "a \"b\" c",   "\"a\nb\"", "a\n\"", "a#b # c",
        "\n", "{{ x }}", "\t", "a\r", "",           "'a'",        "back\\slash", "\"a",      "a\""};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        struct pn_buf text = {0};
        struct pn_modelfile m;
        struct pantry_error err = {0};
        pn_modelfile_put(&text, PN_MODELFILE_SYSTEM, NULL, values[i]);
        pn_modelfile_put(&text, PN_MODELFILE_FROM, NULL, "a");
        pn_modelfile_put(&text, PN_MODELFILE_PARAMETER, "stop", "x");
        if (parse(text.data, &m, &err))
            fail_msg("%s: %s", text.data, err.text);
        assert_int_equal(m.len, 3);
        assert_string_equal(m.data[0].value, values[i]);
        assert_string_equal(m.data[2].name, "stop");
        pn_modelfile_free(&m);
        pn_buf_free(&text);
    }
}

/* ---- parameters ---- */

static pantry_status read_params(const char *json, struct pn_parameters *p, json_t **params, struct pantry_error *err)
{
    *params = json_loads(json, 0, NULL);
    assert_non_null(*params);
    return pn_parameters_read(*params, p, err);
}

static void parameters_are_read(void **state)
{
    (void)state;
    struct pn_parameters p = {.sampling = pantry_sampling_default()};
    struct pantry_error err;
    json_t *params;
    assert_int_equal(pn_parameters_read(NULL, &p, &err), PANTRY_OK);
    assert_true(p.sampling.temperature == 0.8f && !p.has_seed && !p.has_limit && p.stop.n == 0);
    assert_int_equal(read_params("{\"temperature\": 1, \"top_p\": 0, \"top_k\": -1, \"num_ctx\": 64.0, \"seed\": -1, "
                                 "\"num_predict\": -1, \"stop\": \"x\", \"num_gpu\": 3, \"use_mmap\": true, "
                                 "\"mirostat\": 0, \"repeat_last_n\": 5}",
                                 &p, &params, &err),
                     PANTRY_OK);
    assert_true(p.sampling.temperature == 1 && p.sampling.top_p > 0 && p.sampling.top_p < 1e-5f);
    assert_true(p.sampling.top_k == 0 && p.n_context == 64 && p.sampling.penalty_last_n == 5);
    assert_true(p.has_seed && p.sampling.seed == UINT64_MAX && p.has_limit && p.max_tokens == 0);
    assert_true(p.stop.n == 1 && strcmp(p.stop.item[0], "x") == 0);
    json_decref(params);
}

static void parameters_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *json, *why;
        pantry_status status;
    } rows[] = {
        {"{\"heat\": 1}", "parameter heat: not supported", PANTRY_UNSUPPORTED},
        {"{\"tfs_z\": 2}", "parameter tfs_z: not supported (found 2, allowed 1)", PANTRY_UNSUPPORTED},
        {"{\"mirostat\": 3}", "parameter mirostat: out of range (found 3, allowed 0..2)", PANTRY_INVALID},
        {"{\"dry_allowed_length\": 1.5}", "dry_allowed_length: wrong type (allowed a whole number)", PANTRY_INVALID},
        {"{\"banned_strings\": [\"\"]}", "banned_strings: wrong type", PANTRY_INVALID},
        {"{\"samplers\": 1}", "samplers: wrong type (allowed a text)", PANTRY_INVALID},
        {"{\"temperature\": \"1\"}", "temperature: wrong type (allowed a number)", PANTRY_INVALID},
        {"{\"temperature\": -1}", "temperature: out of range (found -1, allowed 0..100)", PANTRY_INVALID},
        {"{\"top_k\": 1.5}", "top_k: wrong type (allowed a whole number)", PANTRY_INVALID},
        {"{\"num_ctx\": 1e300}", "num_ctx: wrong type", PANTRY_INVALID},
        {"{\"use_mmap\": 1}", "use_mmap: wrong type (allowed true or false)", PANTRY_INVALID},
        {"{\"stop\": [\"a\", \"\"]}", "stop: wrong type", PANTRY_INVALID},
        {"{\"stop\": 1}", "stop: wrong type", PANTRY_INVALID},
        {"{\"seed\": \"x\"}", "seed: wrong type", PANTRY_INVALID},
        {"{\"top_p\": null}", "top_p: wrong type", PANTRY_INVALID},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct pn_parameters p = {0};
        struct pantry_error err = {0};
        json_t *params;
        assert_int_equal(read_params(rows[i].json, &p, &params, &err), rows[i].status);
        if (!strstr(err.text, rows[i].why))
            fail_msg("'%s' lacks '%s'", err.text, rows[i].why);
        json_decref(params);
    }
}

static void collect(void *user, const char *name, const char *text)
{
    pn_buf_printf(user, "%s=%s|", name, text);
}

static void parameters_as_text(void **state)
{
    (void)state;
    static const struct {
        const char *name, *text;
        pantry_status status;
    } rows[] = {
        {"temperature", "0.7", PANTRY_OK},
        {"top_k", "40", PANTRY_OK},
        {"stop", "a", PANTRY_OK},
        {"stop", "7", PANTRY_OK},
        {"use_mmap", "false", PANTRY_OK},
        {"seed", "18446744073709551615", PANTRY_INVALID},
        {"top_p", "", PANTRY_INVALID},
        {"top_p", "nan", PANTRY_INVALID},
        {"top_k", "4x", PANTRY_INVALID},
        {"top_k", "0x10", PANTRY_INVALID},
        {"use_mmap", "yes", PANTRY_INVALID},
        {"stop", "", PANTRY_INVALID},
    };
    json_t *params = json_object();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (pn_parameters_add(params, rows[i].name, rows[i].text, NULL) != rows[i].status)
            fail_msg("%s %s", rows[i].name, rows[i].text);
    struct pn_buf out = {0};
    pn_parameters_each(params, collect, &out);
    assert_string_equal(out.data, "temperature=0.7|top_k=40|stop=a|stop=7|use_mmap=false|");
    pn_buf_free(&out);
    for (int i = 2; i < PN_SAMPLING_TEXTS; i++)
        assert_int_equal(pn_parameters_add(params, "stop", "x", NULL), PANTRY_OK);
    assert_int_equal(pn_parameters_add(params, "stop", "x", NULL), PANTRY_LIMIT);
    json_decref(params);
}

/* ---- conversations ---- */

static void assert_conversation(const char *system, const char *carried, const char *given, const char *wanted)
{
    char text[64] = "";
    snprintf(text, sizeof text, "%s", system ? system : "");
    struct pn_carried c = {.system = system ? text : NULL, .messages = carried ? json_loads(carried, 0, NULL) : NULL};
    json_t *messages = json_loads(given, 0, NULL), *expected = json_loads(wanted, 0, NULL);
    json_t *all = pn_carried_conversation(&c, messages);
    char *dump = json_dumps(all, JSON_COMPACT);
    if (!json_equal(all, expected))
        fail_msg("%s instead of %s", dump, wanted);
    free(dump);
    json_decref(all);
    json_decref(expected);
    json_decref(messages);
    json_decref(c.messages);
}

#define SYSTEM(text)    "{\"role\": \"system\", \"content\": \"" text "\"}"
#define USER(text)      "{\"role\": \"user\", \"content\": \"" text "\"}"
#define ASSISTANT(text) "{\"role\": \"assistant\", \"content\": \"" text "\"}"

static void conversations_begin_with_it(void **state)
{
    (void)state;
    assert_conversation(NULL, NULL, "[" USER("a") "]", "[" USER("a") "]");
    assert_conversation("s", NULL, "[" USER("a") "]", "[" SYSTEM("s") "," USER("a") "]");
    assert_conversation("s", NULL, "[" SYSTEM("t") "," USER("a") "]", "[" SYSTEM("t") "," USER("a") "]");
    assert_conversation("s", "[" USER("b") "," ASSISTANT("c") "]", "[" USER("a") "]",
                        "[" SYSTEM("s") "," USER("b") "," ASSISTANT("c") "," USER("a") "]");
    assert_conversation("s", "[" USER("b") "]", "[" SYSTEM("t") "," USER("a") "]",
                        "[" SYSTEM("t") "," USER("b") "," USER("a") "]");
    /* a system message may come as a MESSAGE */
    assert_conversation(NULL, "[" SYSTEM("s") "," USER("b") "]", "[" SYSTEM("t") "," USER("a") "]",
                        "[" SYSTEM("t") "," USER("b") "," USER("a") "]");
    assert_conversation(NULL, "[" SYSTEM("s") "]", "[" USER("a") "]", "[" SYSTEM("s") "," USER("a") "]");
    assert_conversation("s", NULL, "[]", "[" SYSTEM("s") "]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_instructions),
        cmocka_unit_test(says_where_it_is_wrong),
        cmocka_unit_test(is_bounded),
        cmocka_unit_test(writes_what_it_reads),
        cmocka_unit_test(parameters_are_read),
        cmocka_unit_test(parameters_are_refused),
        cmocka_unit_test(parameters_as_text),

        cmocka_unit_test(conversations_begin_with_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
