/* YAML: values, lines, bounds; and the options of a training that a file sets. */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/yaml.h"
#include "pantry.h"

static struct pn_arena arena;

static int drop(void **state)
{
    (void)state;
    pn_arena_free(&arena);
    return 0;
}

static const struct pn_yaml *parse(const char *text)
{
    struct pn_yaml *root;
    struct pantry_error err = {0};
    if (pn_yaml_parse(text, strlen(text), "f.yaml", &arena, &root, &err))
        fail_msg("%s", err.text);
    return root;
}

static void reads_values(void **state)
{
    (void)state;
    double number;
    bool truth;
    const struct pn_yaml *root = parse("# a comment\na: 1e-5\nb: [1_000, -.5, x]\nc:\n  d: yes\n  e: 'no'\nf:\n");
    assert_true(pn_yaml_number(pn_yaml_get(root, "a"), &number) && number == 1e-5);
    assert_int_equal(pn_yaml_get(root, "a")->line, 2);
    const struct pn_yaml *b = pn_yaml_get(root, "b"), *c = pn_yaml_get(root, "c");
    assert_int_equal(b->kind, PN_YAML_LIST);
    assert_true(pn_yaml_number(b->first, &number) && number == 1000);
    assert_true(pn_yaml_number(b->first->next, &number) && number == -0.5);
    assert_false(pn_yaml_number(b->last, &number));
    assert_true(pn_yaml_truth(pn_yaml_get(c, "d"), &truth) && truth);
    assert_false(pn_yaml_truth(pn_yaml_get(c, "e"), &truth));
    assert_int_equal(pn_yaml_get(c, "e")->line, 6);
    assert_true(pn_yaml_is_null(pn_yaml_get(root, "f")));
    assert_null(pn_yaml_get(root, "g"));
    assert_int_equal(parse("")->kind, PN_YAML_MAP);
    assert_int_equal(parse("--- x")->kind, PN_YAML_SCALAR);
}

static void refuses(void **state)
{
    (void)state;
    static const struct {
        const char *text, *wanted;
    } bad[] = {
        {"a: [1", "f.yaml:2: is not YAML"},
        {"a: 1\na: 2", "f.yaml:2: duplicate key \"a\""},
        {"a: &x 1\nb: *x", "f.yaml:1: anchors"},
        {"a: !!int 1", "f.yaml:1: tags"},
        {"a: 1\n---\nb: 2", "f.yaml:2: a second document"},
        {"a: 1\n? [b]\n: c", "f.yaml:2: a key is not a text"},
        {"a: \"x\\0y\"", "f.yaml:1: a text has a NUL"},
        {"\xff", "f.yaml:1: is not YAML"},
    };
    struct pn_yaml *root;
    struct pantry_error err;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(pn_yaml_parse(bad[i].text, strlen(bad[i].text), "f.yaml", &arena, &root, &err), PANTRY_FORMAT);
        if (!strstr(err.text, bad[i].wanted))
            fail_msg("%s: %s", bad[i].text, err.text);
    }
    char deep[200];
    memset(deep, '[', sizeof deep);
    assert_int_equal(pn_yaml_parse(deep, sizeof deep, "f.yaml", &arena, &root, &err), PANTRY_FORMAT);
    assert_non_null(strstr(err.text, "nest too deeply"));
    char *wide = malloc(100001);
    assert_non_null(wide);
    for (int i = 0; i < 100000; i++)
        wide[i] = i ? ",1"[i % 2] : '[';
    assert_int_equal(pn_yaml_parse(wide, 100000, "f.yaml", &arena, &root, &err), PANTRY_FORMAT);
    assert_non_null(strstr(err.text, "too many values"));
    free(wide);
}

/* ---- options ---- */

static pantry_status open_file(const char *text, pantry_tune_file **out, struct pantry_error *err)
{
    char path[256];
    const char *base = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/pantry-yaml-XXXXXX", base && *base ? base : "/tmp");
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
    pantry_status status = pantry_tune_file_open(path, out, err);
    unlink(path);
    return status;
}

static void sets_options(void **state)
{
    (void)state;
    static const char text[] = "model: some/model\ntrain: true\nfine_tune_type: dora\nseed: 7\nnum_layers: -1\n"
                               "val_batches: -1\nlearning_rate: 2e-5\nmask_prompt: true\nclear_cache_threshold: 0\n"
                               "resume_adapter_file: null\nreport_to: null\noptimizer: adamw\n"
                               "optimizer_config:\n  adamw:\n    betas: [0.9, 0.98]\n    bias_correction: true\n"
                               "  sgd: {momentum: 0.5}\n  adam: {}\n"
                               "lora_parameters:\n  keys: [self_attn.q_proj, \"mlp.up_proj\"]\n  rank: 4\n"
                               "  scale: 12.5\n  dropout: 0.1\n"
                               "lr_schedule:\n  name: cosine_decay\n  warmup: 100\n  warmup_init: 1e-7\n"
                               "  arguments: [1e-5, 1000, 1e-7]\n";
    struct pantry_error err = {0};
    struct pantry_tune_options o = pantry_tune_options_default();
    pantry_tune_file *file;
    if (open_file(text, &file, &err))
        fail_msg("%s", err.text);
    pantry_tune_file_apply(file, &o);
    assert_string_equal(pantry_tune_file_model(file), "some/model");
    assert_true(pantry_tune_file_trains(file));
    assert_string_equal(o.kind, "dora");
    assert_string_equal(o.keys, "self_attn.q_proj,mlp.up_proj");
    assert_string_equal(o.optimizer_config, "adamw.betas=0.90000000000000002:0.97999999999999998 "
                                            "adamw.bias_correction=true sgd.momentum=0.5");
    assert_string_equal(o.lr_schedule, "cosine_decay 1.0000000000000001e-05 1000 9.9999999999999995e-08 warmup=100 "
                                       "warmup_init=9.9999999999999995e-08");
    assert_true(o.seed == 7 && o.n_layers == -1 && o.val_batches == 0 && o.rank == 4 && o.mask_prompt);
    assert_true(o.learning_rate == 2e-5f && o.scale == 12.5f && o.dropout == 0.1f && !o.resume_adapter);
    assert_int_equal(o.batch_size, pantry_tune_options_default().batch_size);
    pantry_tune_file_free(file);
}

static void names_wrong_options(void **state)
{
    (void)state;
    static const struct {
        const char *text, *wanted;
    } bad[] = {
        {"iters: 10\nspeed: 3", ":2: unknown key \"speed\""},
        {"iters: ten", ":1: iters is \"ten\" (allowed: a whole number from 1 to 1000000000)"},
        {"iters: 1.5", "a whole number"},
        {"iters: [1]", "iters is several values"},
        {"batch_size: 0", "batch_size is \"0\""},
        {"train: 1", "train is \"1\" (allowed: true or false)"},
        {"data: {a: 1}", "data is several values (allowed: a text)"},
        {"report_to: wandb", "report_to is not supported"},
        {"hf_dataset: {path: x}", "hf_dataset is not supported"},
        {"lora_parameters: 3", "lora_parameters is \"3\""},
        {"lora_parameters: {alpha: 3}", "no \"alpha\" (allowed: rank, scale, dropout, keys): scale is alpha divided"},
        {"lora_parameters: {keys: x}", "keys is \"x\" (allowed: a list of names)"},
        {"lora_parameters: {keys: [a b]}", "a key of lora_parameters is not a name"},
        {"optimizer_config: {adam: {betas: [a]}}", "a list of numbers"},
        {"optimizer_config: {adam: 3}", "a map of settings"},
        {"lr_schedule: {name: x}", "a map with name, arguments"},
        {"lr_schedule: {name: x, arguments: [y]}", "an argument of lr_schedule is not a number"},
        {"lr_schedule: {name: x, arguments: [1], speed: 3}", "lr_schedule has no \"speed\""},
        {"- 1", "is not a map of options"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct pantry_error err = {0};
        pantry_tune_file *file;
        assert_true(open_file(bad[i].text, &file, &err) < 0);
        assert_null(file);
        if (!strstr(err.text, bad[i].wanted))
            fail_msg("%s: %s", bad[i].text, err.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_teardown(reads_values, drop),
                                       cmocka_unit_test_teardown(refuses, drop), cmocka_unit_test(sets_options),
                                       cmocka_unit_test(names_wrong_options)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
