/* Architectures against logits (encoders: states) that Hugging Face transformers computed: on both devices, in one
 * batch, in odd slices and token by token. tests/golden/transformers/NAME.json describes a tiny model, whose weights
 * come from a generator that tests/golden/make_transformers.py has too, so that only logits are recorded. Arguments
 * choose models by name and print how far each is off. */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "gguf_writer.h"
#include "pantry.h"

enum { MAX_DIMS = 4, MANY_IDS = 1024, MAX_GOLDENS = 256 };

static const char folder[] = "tests/golden/transformers";
static char **chosen;
static int n_chosen;

/* ---- weights ---- */

static uint64_t fnv1a(const char *text)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *text; text++)
        h = (h ^ (unsigned char)*text) * 0x100000001b3u;
    return h;
}

/* Ten bits of splitmix64's i-th number. */
static int bits(uint64_t seed, uint64_t i)
{
    uint64_t z = seed + (i + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (int)((z ^ z >> 31) >> 54);
}

/* `given`: the scale of numbers around `offset`, or the numbers. */
static void add_tensor(struct gw *g, const char *name, const json_t *dims, const json_t *given, double offset)
{
    double scale = json_number_value(given);
    int64_t shape[MAX_DIMS];
    size_t n = 1, n_dims = json_array_size(dims);
    assert_in_range(n_dims, 1, MAX_DIMS);
    for (size_t i = 0; i < n_dims; i++) {
        shape[i] = json_integer_value(json_array_get(dims, i));
        n *= (size_t)shape[i];
    }
    float *data = malloc(n * sizeof *data);
    assert_non_null(data);
    uint64_t seed = fnv1a(name);
    for (size_t i = 0; i < n; i++)
        data[i] = (float)(json_is_array(given) ? json_number_value(json_array_get(given, i))
                                               : offset + scale * (bits(seed, i) / 512.0 - 1));
    gw_floats(g, name, GW_F32, (int)n_dims, shape, data);
    free(data);
}

/* [name, shape, scale, offset]: offset + scale * [-1, 1), seeded by the name; [name, shape, [values]]; or [name, shape,
 * scale, offset, [layers]], where * in the name is the layer. */
static void add_tensors(struct gw *g, const json_t *rule)
{
    const char *name = json_string_value(json_array_get(rule, 0));
    const json_t *dims = json_array_get(rule, 1), *given = json_array_get(rule, 2), *layers = json_array_get(rule, 4);
    double offset = json_number_value(json_array_get(rule, 3));
    assert_non_null(name);
    const char *star = strchr(name, '*');
    if (!star) {
        add_tensor(g, name, dims, given, offset);
        return;
    }
    size_t i;
    json_t *layer;
    json_array_foreach((json_t *)layers, i, layer)
    {
        char full[128];
        snprintf(full, sizeof full, "%.*s%d%s", (int)(star - name), name, (int)json_integer_value(layer), star + 1);
        add_tensor(g, full, dims, given, offset);
    }
}

/* The type in the file is the JSON value's: u32, f32, bool, string, or an array of one of the first three. */
static void add_array(struct gw *g, const char *key, const json_t *values)
{
    size_t n = json_array_size(values), i;
    const json_t *item, *first = json_array_get(values, 0);
    uint32_t integers[64];
    float floats[64];
    uint8_t bools[64];
    assert_in_range(n, 1, 64);
    json_array_foreach((json_t *)values, i, item)
    {
        integers[i] = (uint32_t)json_integer_value(item);
        floats[i] = (float)json_number_value(item);
        bools[i] = json_is_true(item);
    }
    if (json_is_boolean(first))
        gw_array(g, key, GW_BOOL, n, bools, sizeof *bools);
    else if (json_is_integer(first))
        gw_array(g, key, GW_UINT32, n, integers, sizeof *integers);
    else
        gw_array(g, key, GW_FLOAT32, n, floats, sizeof *floats);
}

static const char *write_model(const char *name, const json_t *golden)
{
    struct gw g;
    const char *key;
    json_t *value;
    size_t i;
    gw_init(&g);
    json_object_foreach(json_object_get(golden, "metadata"), key, value)
    {
        if (json_is_array(value))
            add_array(&g, key, value);
        else if (json_is_string(value))
            gw_str(&g, key, json_string_value(value));
        else if (json_is_boolean(value))
            gw_bool(&g, key, json_is_true(value));
        else if (json_is_integer(value))
            gw_u32(&g, key, (uint32_t)json_integer_value(value));
        else
            gw_f32(&g, key, (float)json_real_value(value));
    }
    json_array_foreach(json_object_get(golden, "tensors"), i, value) add_tensors(&g, value);
    char file[160];
    snprintf(file, sizeof file, "%s.gguf", name);
    const char *path = gw_file(&g, file);
    gw_free(&g);
    return path;
}

/* ---- comparing ---- */

struct run {
    const char *name, *path;
    const json_t *logits; /* position: values */
    int32_t *ids;
    size_t n_ids;
    int n_context; /* of the session; 0: as the file says */
    bool encodes;  /* what was recorded are states after the last norm */
    int failures;
};

/* The recorded positions of `got` (n_ids, n_vocab) against what was recorded. */
static double distance(const struct run *r, const float *got, size_t n_vocab)
{
    const char *position;
    json_t *row;
    size_t n_rows = json_object_size((json_t *)r->logits), at = 0, i;
    float *ours = malloc(n_rows * n_vocab * sizeof *ours), *wanted = malloc(n_rows * n_vocab * sizeof *wanted);
    assert_non_null(ours);
    assert_non_null(wanted);
    json_object_foreach((json_t *)r->logits, position, row)
    {
        size_t p = strtoul(position, NULL, 10);
        json_t *value;
        assert_true(p < r->n_ids);
        assert_int_equal(json_array_size(row), n_vocab);
        memcpy(ours + at * n_vocab, got + p * n_vocab, n_vocab * sizeof *ours);
        json_array_foreach(row, i, value) wanted[at * n_vocab + i] = (float)json_number_value(value);
        at++;
    }
    double e = nmse(ours, wanted, n_rows * n_vocab);
    free(ours);
    free(wanted);
    return e;
}

static void judge(struct run *r, const char *device, const char *way, double e, double limit)
{
    if (!(e < limit)) {
        print_error("%s on %s, %s: NMSE %g, allowed %g\n", r->name, device, way, e, limit);
        r->failures++;
    } else if (n_chosen) {
        print_message("  %s on %s, %s: NMSE %g\n", r->name, device, way, e);
    }
}

static void check_encoder(struct run *r, const char *device, double limit)
{
    struct pantry_error error;
    pantry_model *model = NULL;
    struct pantry_embeddings got = {.size = sizeof got};
    struct pantry_embed_options options = pantry_embed_options_default();
    options.pooling = PANTRY_POOLING_NONE;
    if (pantry_model_load(r->path,
                          &(struct pantry_model_options){
                              .size = sizeof(struct pantry_model_options), .device = device, .n_threads = 2},
                          &model, &error) ||
        pantry_embed(model, &(struct pantry_input){.ids = r->ids, .n_ids = r->n_ids}, 1, &options, &got, &error)) {
        print_error("%s on %s: %s\n", r->name, device, error.text);
        r->failures++;
    } else {
        assert_int_equal(got.n_rows, r->n_ids);
        judge(r, device, "states", distance(r, got.rows, (size_t)got.n_dimensions), limit);
    }
    pantry_embeddings_free(&got);
    pantry_model_free(model);
}

static void check_decoder(struct run *r, const char *device, const char *kv_type, double limit)
{
    static const int odd[] = {1, 7, 32};
    int *single = malloc(r->n_ids * sizeof *single);
    assert_non_null(single);
    for (size_t i = 0; i < r->n_ids; i++)
        single[i] = 1;
    const struct {
        const char *name;
        const int *slices;
        size_t n;
    } ways[] = {{"one batch", NULL, 0}, {"slices 1, 7, 32, rest", odd, 3}, {"token by token", single, r->n_ids}};
    struct pantry_error error;
    pantry_model *model = NULL;
    pantry_session *session = NULL;
    struct pantry_model_info info = {.size = sizeof info};
    struct pantry_session_options options = pantry_session_options_default();
    float *got = NULL;
    options.kv_type = kv_type;
    options.n_context = r->n_context;
    if (pantry_model_load(r->path,
                          &(struct pantry_model_options){
                              .size = sizeof(struct pantry_model_options), .device = device, .n_threads = 2},
                          &model, &error) ||
        pantry_session_new(model, &options, &session, &error)) {
        print_error("%s on %s: %s\n", r->name, device, error.text);
        r->failures++;
        goto done;
    }
    pantry_model_info(model, &info, NULL);
    size_t n_vocab = (size_t)info.n_vocab;
    got = malloc(r->n_ids * n_vocab * sizeof *got);
    assert_non_null(got);
    for (size_t i = 0; i < (r->n_ids > MANY_IDS ? 1 : 3); i++) {
        double e = 1e300;
        if (pantry_logits(session, r->ids, r->n_ids, ways[i].slices, ways[i].n, got, &error))
            print_error("%s on %s: %s\n", r->name, device, error.text);
        else
            e = distance(r, got, n_vocab);
        judge(r, device, ways[i].name, e, limit);
    }
done:
    free(got);
    free(single);
    pantry_session_free(session);
    pantry_model_free(model);
}

static int check_golden(const char *name)
{
    char path[256];
    json_error_t where;
    snprintf(path, sizeof path, "%s/%s.json", folder, name);
    json_t *golden = json_load_file(path, JSON_REJECT_DUPLICATES, &where);
    if (!golden)
        fail_msg("%s, line %d: %s", path, where.line, where.text);
    struct run r = {.name = name,
                    .path = write_model(name, golden),
                    .logits = json_object_get(golden, "logits"),
                    .n_ids = (size_t)json_integer_value(json_object_get(golden, "n_ids")),
                    .n_context = (int)json_integer_value(json_object_get(golden, "n_context")),
                    .encodes = json_is_true(json_object_get(golden, "encodes"))};
    int n_vocab = (int)json_integer_value(json_object_get(golden, "n_vocab"));
    assert_true(r.n_ids > 0 && n_vocab > 0 && json_object_size((json_t *)r.logits) > 0);
    r.ids = malloc(r.n_ids * sizeof *r.ids);
    assert_non_null(r.ids);
    for (size_t i = 0; i < r.n_ids; i++)
        r.ids[i] = bits(fnv1a("ids"), i) % n_vocab;
    if (r.encodes) {
        check_encoder(&r, "ref", 1e-6);
        check_encoder(&r, "cpu", 1e-5);
    } else {
        if (r.n_ids <= MANY_IDS) /* plain scalar attention takes long */
            check_decoder(&r, "ref", "f32", 1e-6);
        check_decoder(&r, "cpu", "f16", 1e-5);
    }
    free(r.ids);
    json_decref(golden);
    return r.failures;
}

/* ---- which ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static size_t find_goldens(char **names)
{
    size_t n = 0;
    DIR *d = opendir(folder);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        size_t len = strlen(e->d_name);
        if (len < 6 || strcmp(e->d_name + len - 5, ".json") != 0)
            continue;
        assert_true(n < MAX_GOLDENS);
        names[n] = strndup(e->d_name, len - 5);
        assert_non_null(names[n++]);
    }
    closedir(d);
    qsort(names, n, sizeof *names, by_name);
    return n;
}

/* Names from the command line, else from PANTRY_TEST_GOLDENS (an emulated machine takes too long for all); all else. */
static bool is_chosen(const char *name)
{
    const char *list = getenv("PANTRY_TEST_GOLDENS");
    size_t len = strlen(name);
    for (const char *at = list; n_chosen == 0 && at && (at = strstr(at, name)); at += len)
        if ((at == list || at[-1] == ' ') && (at[len] == ' ' || at[len] == '\0'))
            return true;
    for (int i = 0; i < n_chosen; i++)
        if (strcmp(chosen[i], name) == 0)
            return true;
    return n_chosen == 0 && !list;
}

static void transformers_logits(void **state)
{
    (void)state;
    char *names[MAX_GOLDENS];
    int failures = 0, n = 0;
    size_t found = find_goldens(names);
    for (size_t i = 0; i < found; i++) {
        if (is_chosen(names[i])) {
            failures += check_golden(names[i]);
            n++;
        }
        free(names[i]);
    }
    print_message("  %d models\n", n);
    assert_true(n > 0);
    assert_int_equal(failures, 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(transformers_logits)};
    chosen = argv + 1;
    n_chosen = argc - 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
