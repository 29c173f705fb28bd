/* Architectures against logits recorded with llama.cpp: on both devices, in one batch, in odd slices and token by
 * token. The files are beside the project (../shared/data/architectures, or PANTRY_TEST_DATA); without them the test is
 * skipped. */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "pantry.h"

enum { MAX_IDS = 4096 };

static char folder[1024];
static int32_t ids[MAX_IDS];
static size_t n_ids;

static int find_data(void **state)
{
    (void)state;
    char path[1200];
    const char *root = getenv("PANTRY_TEST_DATA");
    snprintf(folder, sizeof folder, "%s/architectures", root ? root : "../shared/data");
    snprintf(path, sizeof path, "%s/ids.txt", folder);
    FILE *f = fopen(path, "r");
    if (!f)
        return 0;
    while (n_ids < MAX_IDS && fscanf(f, "%d%*[, \n]", &ids[n_ids]) == 1)
        n_ids++;
    fclose(f);
    return 0;
}

static float *recorded(const char *name, size_t n)
{
    char path[1400];
    float *values = malloc(n * sizeof *values);
    snprintf(path, sizeof path, "%s/%s.f32", folder, name);
    FILE *f = fopen(path, "rb");
    if (!f || fread(values, sizeof *values, n, f) != n)
        fail_msg("%s cannot be read", path);
    fclose(f);
    return values;
}

/* The largest of the errors of the three ways. */
static double check_device(const char *name, const char *device, double limit)
{
    static const int odd[] = {1, 7, 32};
    static int single[MAX_IDS];
    for (size_t i = 0; i < n_ids; i++)
        single[i] = 1;
    const struct {
        const char *name;
        const int *slices;
        size_t n;
    } ways[] = {{"one batch", NULL, 0}, {"slices 1, 7, 32, rest", odd, 3}, {"token by token", single, n_ids}};
    char path[1400];
    struct pantry_error error;
    pantry_model *model;
    pantry_session *session;
    struct pantry_model_info info = {.size = sizeof info};
    snprintf(path, sizeof path, "%s/%s.gguf", folder, name);
    if (pantry_model_load(path,
                          &(struct pantry_model_options){
                              .size = sizeof(struct pantry_model_options), .device = device, .n_threads = 2},
                          &model, &error) ||
        pantry_session_new(model, NULL, &session, &error))
        fail_msg("%s", error.text);
    pantry_model_info(model, &info, NULL);
    size_t n = n_ids * (size_t)info.n_vocab;
    float *wanted = recorded(name, n), *got = malloc(n * sizeof *got);
    double largest = 0;
    for (size_t i = 0; i < 3; i++) {
        if (pantry_logits(session, ids, n_ids, ways[i].slices, ways[i].n, got, &error))
            fail_msg("%s", error.text);
        double e = nmse(got, wanted, n);
        if (!(e < limit))
            fail_msg("%s on %s, %s: NMSE %g, allowed %g", name, device, ways[i].name, e, limit);
        largest = e > largest ? e : largest;
    }
    free(wanted);
    free(got);
    pantry_session_free(session);
    pantry_model_free(model);
    return largest;
}

static void check_file(const char *name)
{
    double ref = check_device(name, "ref", 1e-6), cpu = check_device(name, "cpu", 1e-4);
    print_message("  %-24s NMSE %.1e on ref, %.1e on cpu\n", name, ref, cpu);
}

static const char *const required[] = {"llama-dense",    "llama-moe",   "gemma2-dense", "gemma3-dense",
                                       "mistral3-dense", "qwen2-dense", "qwen3-dense",  "qwen3moe-moe",
                                       "smollm3-dense",  "gpt2-dense",  "phi3-dense",   "deepseek2-moe",
                                       "gpt-oss-moe",    "lfm2-dense",  "qwen35-dense", "granitehybrid-dense"};
enum { N_REQUIRED = sizeof required / sizeof *required };

static bool is_required(const char *name)
{
    size_t i = 0;
    while (i < N_REQUIRED && strcmp(required[i], name) != 0)
        i++;
    return i < N_REQUIRED;
}

/* True if the file of one more architecture loads; a file that does not is reported, not a failure. */
static bool is_known(const char *name)
{
    struct pantry_error error;
    pantry_model *model = NULL;
    char path[1400];
    snprintf(path, sizeof path, "%s/%s.gguf", folder, name);
    pantry_status status = pantry_model_load(path, NULL, &model, &error);
    pantry_model_free(model);
    if (status)
        print_message("  skipped: %s\n", error.text);
    return status == PANTRY_OK;
}

static void required_architectures(void **state)
{
    (void)state;
    if (!n_ids)
        skip();
    for (size_t i = 0; i < N_REQUIRED; i++)
        check_file(required[i]);
}

static void further_architectures(void **state)
{
    (void)state;
    if (!n_ids)
        skip();
    DIR *d = opendir(folder);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        char name[256];
        size_t len = strlen(e->d_name);
        if (len < 6 || len >= sizeof name || strcmp(e->d_name + len - 5, ".gguf") != 0)
            continue;
        snprintf(name, sizeof name, "%.*s", (int)(len - 5), e->d_name);
        if (!is_required(name) && is_known(name))
            check_file(name);
    }
    closedir(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(required_architectures),
        cmocka_unit_test(further_architectures),
    };
    return cmocka_run_group_tests(tests, find_data, NULL);
}
