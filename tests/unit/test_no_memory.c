/* Every allocation of an operation fails once alone, and once with all later ones: the operation reports it, returns
 * nothing and frees what it had. */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "device/device.h"
#include "dialect_samples.h"
#include "engine/logprobs.h"
#include "engine/sample.h"
#include "gguf_writer.h"
#include "op_run.h"
#include "own_heap.h"
#include "pantry.h"
#include "text/dialect/dialect.h"
#include "text/split/regex.h"
#include "text/template/template.h"
#include "text/tokenizer/tokenizer_impl.h"
#include "tiny_model.h"

#define COUNT(a)  (sizeof(a) / sizeof *(a))
#define KEY(name) "tokenizer.ggml." name

/* ---- operations: each frees all its memory, whatever it returns ---- */

static pantry_status match(struct pantry_error *err)
{
    struct pn_regex *re = NULL;
    struct pn_regex_scratch *scratch = NULL;
    size_t from = 0, to = 0;
    static const char pattern[] = "[a-c&&[^b]]+(?=x)|\\p{Han}";
    pantry_status status = pn_regex_new(pattern, sizeof pattern - 1, &re, err);
    if (!status)
        status = pn_regex_scratch_new(&scratch, err);
    if (!status) {
        pn_regex_scratch_start(scratch, 8);
        status = pn_regex_find(re, scratch, "bbacxabx", 8, 0, &from, &to, err);
        assert_true(status || (from == 2 && to == 4));
    }
    pn_regex_scratch_free(scratch);
    pn_regex_free(re);
    return status;
}

static const char *vocab_path;

static pantry_status use_tokenizer(const char *text, struct pantry_error *err)
{
    pantry_tokenizer *t = NULL;
    int32_t *ids = NULL;
    char *back = NULL;
    size_t n = 0, len = 0;
    pantry_status status = pantry_tokenizer_load(vocab_path, &t, err);
    if (!status)
        status = pantry_tokenize(t, text, strlen(text), PANTRY_TOKENIZE_BOS | PANTRY_TOKENIZE_SPECIAL, &ids, &n, err);
    assert_true(status ? !ids && !n : n > 0);
    if (!status)
        status = pantry_detokenize(t, ids, n, PANTRY_DETOKENIZE_SPECIAL, &back, &len, err);
    assert_true(status ? !back && !len : len > 0);
    pantry_free(back);
    pantry_free(ids);
    pantry_tokenizer_free(t);
    return status;
}

static pantry_status tokenize(struct pantry_error *err)
{
    return use_tokenizer("abc </s> ab xyb", err);
}

static pantry_status render(struct pantry_error *err)
{
    static const char source[] = "{% macro m(x) %}{{ x|upper }}{% endmacro %}{% for i in [1, 2] %}{{ m('a' * 99) }}{{ "
                                 "{i: [2 ** 70]}|tojson }}{% endfor %}";
    struct pn_template *t = NULL;
    char *out = NULL;
    json_t *context = json_object();
    pantry_status status =
        context ? pn_template_parse(source, sizeof source - 1, &t, err) : pn_no_memory(err, "a test");
    assert_true(!status == !!t);
    if (!status)
        status = pn_template_render(t, context, NULL, &out, NULL, err);
    assert_true(!status == !!out);
    free(out);
    pn_template_free(t);
    json_decref(context);
    return status;
}

static void ignore(void *user, const struct pn_parse_event *event)
{
    (void)user, (void)event;
}

static const struct sample *said;
static json_t *tools;

static pantry_status parse(struct pantry_error *err)
{
    const struct pn_parse_options options = {
        .prompt = said->prompt, .prompt_len = said->prompt ? strlen(said->prompt) : 0, .tools = tools};
    struct pn_parser *p = pn_parser_new(pn_dialect_find(said->dialect), &options, ignore, NULL);
    pantry_status status =
        p ? pn_parser_push(p, said->output, strlen(said->output), err) : pn_no_memory(err, "a parser");
    if (!status)
        status = pn_parser_finish(p, err);
    pn_parser_free(p);
    return status;
}

static json_t *begun; /* the context of an answer that goes on with a message */

static pantry_status stream(struct pantry_error *err)
{
    static const char *const pieces[] = {"<think>a\303", "\266\303", "</think>", "b\342\202"};
    const struct pn_parse_options options = {0};
    struct pn_answer *answer;
    pantry_status status = pn_answer_new("", 0, begun, "", 0, &options, ignore, NULL, &answer, err);
    assert_true(!status == !!answer);
    for (size_t i = 0; i < COUNT(pieces) && !status; i++)
        status = pn_answer_push(answer, pieces[i], strlen(pieces[i]), err);
    if (!status)
        status = pn_answer_finish(answer, err);
    pn_answer_free(answer);
    return status;
}

static pantry_status logprobs(struct pantry_error *err)
{
    struct pn_logprobs l;
    pantry_status status = pn_logprobs_init(&l, true, 5, 100, err);
    pn_logprobs_free(&l);
    return status;
}

static pantry_status sample(struct pantry_error *err)
{
    const struct pantry_sampling o = {.temperature = 1, .top_p = 1, .repeat_penalty = 1};
    struct pn_sampler s;
    pantry_status status = pn_sampler_init(&s, &o, 100, err);
    if (!status)
        status = pn_sampler_set_bias(&s, &(struct pantry_logit_bias){3, 1}, 1, err);
    pn_sampler_free(&s);
    assert_true(!s.candidates && !s.p && !s.n_seen);
    pn_sampler_free(&s); /* freeing again is allowed */
    return status;
}

static pantry_status compile_on(const char *name, struct pantry_error *err)
{
    static const int lengths[] = {2};
    struct op_run o;
    struct pn_device *d;
    struct pn_plan *plan = NULL;
    struct pn_program *program = NULL;
    struct pn_buffer scratch = {0};
    float *w;
    size_t fail_at = memory.fail_at, calls = memory.calls;
    memory.fail_at = 0; /* allocations of the test itself */
    op_run_init(&o, 3, 64, lengths, 1, 0);
    pn_array y = pn_act(&o.graph, o.x, PN_ACT_FN_GELU);
    y = pn_matmul(&o.graph, y, op_run_weight(&o, PN_TYPE_Q8_0, (const int64_t[]){1, 32, 64}, -1, 1, &w));
    memory.fail_at = fail_at;
    memory.calls = calls;
    d = (struct pn_device *)&o;
    pantry_status status = pn_device_open(name, &(struct pn_device_options){1, NULL}, &d, err);
    assert_true(!status == !!d);
    if (!status)
        status = pn_device_plan(d, &o.graph, op_plan_spec(&y, 2), &plan, err);
    program = (struct pn_program *)&o;
    if (!status) {
        status = d->class->compile(d, plan, &program, err);
        assert_true(!status == !!program);
    } else {
        program = NULL;
    }
    if (!status)
        status = pn_scratch_fit(&scratch, d, d->class->scratch_bytes(program), err);
    if (d) {
        d->class->program_free(d, program);
        d->class->buffer_free(d, &scratch);
    }
    pn_plan_free(plan);
    pn_device_close(d);
    free(w);
    op_run_free(&o);
    return status;
}

static pantry_status compile_ref(struct pantry_error *err)
{
    return compile_on("ref", err);
}

static pantry_status compile_cpu(struct pantry_error *err)
{
    return compile_on("cpu", err);
}

static const char *model_path;

static pantry_status use_model(struct pantry_error *err)
{
    static const int32_t ids[] = {1, 2, 3};
    static float logits[3 * 64];
    const struct pantry_model_options options = {.size = sizeof options, .device = "ref", .n_context = 64};
    pantry_model *model = NULL;
    pantry_session *session = NULL;
    pantry_status status = pantry_model_load(model_path, &options, &model, err);
    assert_true(!status == !!model);
    if (!status) {
        status = pantry_session_new(model, NULL, &session, err);
        assert_true(!status == !!session);
    }
    if (!status)
        status = pantry_logits(session, ids, 3, NULL, 0, logits, err);
    pantry_session_free(session);
    pantry_model_free(model);
    return status;
}

/* ---- failing ---- */

static void each_allocation_fails(const char *name, pantry_status run(struct pantry_error *err))
{
    struct pantry_error err = {0};
    for (int warm = 0; warm < 2; warm++) /* what is made once and kept */
        if (run(&err))
            fail_msg("%s: %s", name, err.text);
#ifdef OWN_HEAP
    for (int for_good = 0; for_good < 2; for_good++) {
        size_t n_failed = 0;
        for (size_t at = 1;; at++) {
            long before = atomic_load(&n_blocks);
            err = (struct pantry_error){0};
            memory.for_good = for_good;
            memory.calls = 0;
            memory.fail_at = at;
            pantry_status status = run(&err);
            bool reached = memory.calls >= at;
            memory.fail_at = 0;
            if (atomic_load(&n_blocks) != before)
                fail_msg("%s, allocation %zu: %ld blocks stay", name, at, atomic_load(&n_blocks) - before);
            if (!reached) {
                assert_int_equal(status, PANTRY_OK);
                break;
            }
            n_failed += status != PANTRY_OK; /* some operations have a fallback, such as compiled expressions */
            if (status && (status != PANTRY_NO_MEMORY || err.status != PANTRY_NO_MEMORY || !strstr(err.text, "memory")))
                fail_msg("%s, allocation %zu: status %d, %s", name, at, (int)status, err.text);
        }
        assert_true(n_failed > 0);
    }
#endif
}

static void regular_expressions(void **state)
{
    (void)state;
    each_allocation_fails("expressions", match);
}

static void tokenizers(void **state)
{
    (void)state;
    static const char *const tokens[] = {"<unk>", "<s>", "</s>", "a", "b",   "c",
                                         "ab",    "bc",  "x",    "y", "abc", "\xE2\x96\x81"};
    static const int32_t types[COUNT(tokens)] = {2, 3, 3, 1, 1, 1, 1, 1, 4, 1, 1, 1};
    static const char *const models[] = {"llama", "gpt2", "bert", "t5"}, *const merges[] = {"a b", "b c", "ab c"};
    static const float scores[COUNT(tokens)] = {0};
    for (size_t i = 0; i < COUNT(models); i++) {
        struct gw g;
        gw_init(&g);
        gw_str(&g, "general.architecture", "llama");
        gw_str(&g, KEY("model"), models[i]);
        gw_str(&g, KEY("pre"), "gpt-2");
        gw_strings(&g, KEY("tokens"), COUNT(tokens), tokens);
        gw_strings(&g, KEY("merges"), COUNT(merges), merges);
        gw_array(&g, KEY("token_type"), GW_INT32, COUNT(tokens), types, 4);
        gw_array(&g, KEY("scores"), GW_FLOAT32, COUNT(tokens), scores, 4);
        gw_u32(&g, KEY("unknown_token_id"), 0);
        vocab_path = gw_file(&g, "no_memory.gguf");
        gw_free(&g);
        each_allocation_fails(models[i], tokenize);
    }
}

/* Arguments that a tokenizer takes over are freed even if it cannot be created. */
static void owned_memory_is_freed_on_failure(void **state)
{
    (void)state;
#ifdef OWN_HEAP
    struct pn_vocab v = pn_vocab_empty();
    long before = atomic_load(&n_blocks);
    struct pn_tokenizer *t = NULL;
    v.pipeline = calloc(1, sizeof *v.pipeline);
    v.strings = calloc(1, sizeof *v.strings);
    memory.calls = 0;
    memory.fail_at = 1;
    pantry_status status = pn_tokenizer_new(&v, &t, NULL);
    memory.fail_at = 0;
    assert_int_equal(status, PANTRY_NO_MEMORY);
    assert_null(t);
    assert_int_equal(atomic_load(&n_blocks), before);
#endif
}

static void templates(void **state)
{
    (void)state;
    each_allocation_fails("templates", render);
}

static void answers(void **state)
{
    (void)state;
    tools = json_loads(sample_tools, 0, NULL);
    for (size_t i = 0; i < COUNT(samples); i += 3) { /* each dialect has more than three */
        said = &samples[i];
        each_allocation_fails(said->dialect, parse);
    }
    json_decref(tools);
    begun = json_loads("{\"messages\":[{\"role\":\"assistant\",\"content\":\"It \"}]}", 0, NULL);
    each_allocation_fails("an answer that streams", stream);
    json_decref(begun);
}

static void samplers(void **state)
{
    (void)state;
    each_allocation_fails("samplers", sample);
    each_allocation_fails("log probabilities", logprobs);
}

static void models(void **state)
{
    (void)state;
    model_path = tiny_model("llama", GW_F32, "no_memory_model.gguf");
    each_allocation_fails("models", use_model);
}

static void devices(void **state)
{
    (void)state;
    each_allocation_fails("ref", compile_ref);
    each_allocation_fails("cpu", compile_cpu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(regular_expressions),
        cmocka_unit_test(tokenizers),
        cmocka_unit_test(owned_memory_is_freed_on_failure),
        cmocka_unit_test(templates),
        cmocka_unit_test(answers),
        cmocka_unit_test(samplers),
        cmocka_unit_test(devices),
        cmocka_unit_test(models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
