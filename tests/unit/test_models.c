/* Models of the service: who waits for a load, for how long, and in which order requests get a model. Loading is held
 * up by an open() of the test's own. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "folder.h"
#include "interpose.h"
#include "server/models.h"
#include "store/store.h"
#include "tiny_model.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool held_up; /* opening a model waits */
static int n_opens;  /* of models */

int open(const char *path, int flags, ...)
{
    static int (*real)(const char *, int, ...);
    va_list args;
    va_start(args, flags);
    int mode = flags & O_CREAT ? va_arg(args, int) : 0;
    va_end(args);
    pthread_mutex_lock(&lock);
    if (!real)
        find_next("open", &real);
    if (strstr(path, "/blobs/") && !(flags & O_CREAT)) {
        n_opens++;
        pthread_cond_broadcast(&changed);
        while (held_up)
            pthread_cond_wait(&changed, &lock);
    }
    pthread_mutex_unlock(&lock);
    return real(path, flags, mode);
}

static void hold_up(bool on)
{
    pthread_mutex_lock(&lock);
    held_up = on;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static int set_up(void **state)
{
    (void)state;
    char *stored = NULL, *path = NULL;
    if (make_folder("pantry-models"))
        return 1;
    setenv("PANTRY_HOME", in_root("home"), 1);
    unsetenv("PANTRY_MODELS");
    for (int i = 0; i < 2; i++) {
        const char *file = tiny_model("llama", i ? GW_F16 : GW_F32, i ? "b.gguf" : "a.gguf");
        if (pn_store_import(&file, 1, i ? "b" : "a", NULL, NULL, &stored, &path, NULL))
            return 1;
        free(stored);
        free(path);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return remove_folder();
}

static struct pn_models *start(const struct pn_models_options *more)
{
    struct pn_models *m;
    struct pn_models_options o = *more;
    struct pantry_error err = {0};
    o.model = pantry_model_options_default();
    o.model.n_threads = 1;
    if (pn_models_new(&o, &m, &err))
        fail_msg("%s", err.text);
    return m;
}

static void a_load_that_takes_too_long(void **state)
{
    (void)state;
    struct pn_models *m = start(&(struct pn_models_options){.load_seconds = 0.05, .keep_alive = {.forever = true}});
    struct pn_loaded *loaded;
    struct pantry_error err = {0};
    bool fresh;
    hold_up(true);
    assert_int_equal(pn_models_hold(m, "a", &loaded, NULL, &err), PANTRY_LIMIT);
    assert_non_null(strstr(err.text, "a: not loaded after 0.05 seconds (load_timeout)"));
    hold_up(false);
    pn_models_free(m); /* waits for it */
    m = start(&(struct pn_models_options){.keep_alive = {.forever = true}});
    assert_int_equal(pn_models_hold(m, "a", &loaded, &fresh, &err), PANTRY_OK);
    assert_true(fresh && loaded->model);
    pn_models_release(m, loaded, NULL);
    assert_int_equal(pn_models_hold(m, "a:latest", &loaded, &fresh, &err), PANTRY_OK);
    assert_false(fresh);
    pn_models_release(m, loaded, NULL);
    pn_models_free(m);
}

struct caller {
    struct pn_models *models;
    const char *name;
    struct pn_loaded *loaded;
    pantry_status status;
    struct pantry_error err;
    pthread_t thread;
};

static void *hold(void *user)
{
    struct caller *c = user;
    c->status = pn_models_hold(c->models, c->name, &c->loaded, NULL, &c->err);
    return NULL;
}

static void begin(struct caller *c, struct pn_models *m, const char *name)
{
    *c = (struct caller){.models = m, .name = name};
    assert_int_equal(pthread_create(&c->thread, NULL, hold, c), 0);
}

static void one_load_for_all_that_wait(void **state)
{
    (void)state;
    struct pn_models *m = start(&(struct pn_models_options){.keep_alive = {.forever = true}});
    struct caller callers[4];
    hold_up(true);
    for (int i = 0; i < 4; i++)
        begin(&callers[i], m, "a");
    hold_up(false);
    for (int i = 0; i < 4; i++) {
        pthread_join(callers[i].thread, NULL);
        assert_int_equal(callers[i].status, PANTRY_OK);
        assert_ptr_equal(callers[i].loaded, callers[0].loaded);
    }
    for (int i = 0; i < 4; i++)
        pn_models_release(m, callers[i].loaded, NULL);
    pn_models_free(m);
}

static void a_load_that_fails(void **state)
{
    (void)state;
    struct pn_models *m = start(&(struct pn_models_options){.keep_alive = {.forever = true}});
    struct caller callers[3];
    char *name, *path;
    uint64_t bytes;
    assert_int_equal(pn_models_find(m, "b", &name, &path, &bytes, NULL), PANTRY_OK);
    char *junk = calloc(1, bytes + 1);
    memset(junk, 'x', bytes);
    unlink(path);
    write_file(path, junk, 0644);
    hold_up(true);
    for (int i = 0; i < 3; i++)
        begin(&callers[i], m, "b");
    hold_up(false);
    for (int i = 0; i < 3; i++) {
        pthread_join(callers[i].thread, NULL);
        assert_int_equal(callers[i].status, PANTRY_FORMAT);
        assert_true(callers[i].err.text[0]);
    }
    assert_false(pn_models_unload(m, "b")); /* it is not on the list */
    free(junk);
    free(name);
    free(path);
    pn_models_free(m);
}

static void as_many_at_once_as_allowed(void **state)
{
    (void)state;
    struct pn_models *m = start(&(struct pn_models_options){.n_parallel = 2, .keep_alive = {.forever = true}});
    struct pn_loaded *first, *second, *other;
    struct caller third;
    assert_int_equal(pn_models_hold(m, "a", &first, NULL, NULL), PANTRY_OK);
    assert_int_equal(pn_models_hold(m, "a", &second, NULL, NULL), PANTRY_OK);
    begin(&third, m, "a");
    assert_int_equal(pn_models_hold(m, "b", &other, NULL, NULL), PANTRY_OK); /* the bound is each model's own */
    assert_true(pn_models_unload(m, "a"));                                   /* while one may wait for it */
    pn_models_release(m, first, NULL);
    pthread_join(third.thread, NULL);
    assert_int_equal(third.status, PANTRY_OK);
    pn_models_release(m, second, NULL);
    pn_models_release(m, third.loaded, NULL);
    pn_models_release(m, other, NULL);
    pn_models_free(m);
}

static struct pn_models *busy;
static atomic_int n_inside, most_inside;

static void *hold_for_a_while(void *user)
{
    struct pn_loaded *loaded;
    (void)user;
    for (int i = 0; i < 20; i++) {
        if (pn_models_hold(busy, "a", &loaded, NULL, NULL))
            return NULL;
        int n = atomic_fetch_add(&n_inside, 1) + 1, most = atomic_load(&most_inside);
        while (n > most && !atomic_compare_exchange_weak(&most_inside, &most, n))
            ;
        for (int k = 0; k < 50; k++)
            sched_yield(); /* so that others would come in if they could */
        atomic_fetch_sub(&n_inside, 1);
        pn_models_release(busy, loaded, NULL);
    }
    return NULL;
}

static void never_more_than_allowed(void **state)
{
    (void)state;
    pthread_t threads[6];
    for (int most = 0; most < 3; most++) {
        busy = start(&(struct pn_models_options){.n_parallel = most, .keep_alive = {.forever = true}});
        atomic_store(&most_inside, 0);
        for (int i = 0; i < 6; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, hold_for_a_while, NULL), 0);
        for (int i = 0; i < 6; i++)
            pthread_join(threads[i], NULL);
        assert_true(most == 0 || atomic_load(&most_inside) <= most);
        pn_models_free(busy);
    }
}

static int n_loads, n_unloads;

static void count(void *user, const struct pn_loaded *loaded, bool unloaded)
{
    (void)user, (void)loaded;
    n_loads += !unloaded;
    n_unloads += unloaded;
}

static void pinned_ones_stay(void **state)
{
    (void)state;
    struct pn_model_settings settings[] = {{.name = "a", .where = "f:1", .pin = true, .n_context = 99}};
    struct pn_model_alias aliases[] = {{"gpt", "a"}};
    struct pn_models_options o = {.settings = settings, .n_settings = 1, .aliases = aliases, .n_aliases = 1};
    o.max_loaded = 1;
    o.changed = count;
    n_loads = n_unloads = 0;
    struct pn_models *m = start(&o);
    struct pn_loaded *a, *b, *again;
    struct pn_keep_alive at_once = {.seconds = 0};
    assert_int_equal(pn_models_load_pinned(m, NULL), PANTRY_OK);
    assert_int_equal(n_loads, 1);
    assert_int_equal(pn_models_hold(m, "gpt", &a, NULL, NULL), PANTRY_OK);
    assert_ptr_equal(a->settings, settings);
    pn_models_release(m, a, &at_once);
    assert_int_equal(pn_models_hold(m, "b", &b, NULL, NULL), PANTRY_OK);
    pn_models_release(m, b, NULL);
    assert_int_equal(pn_models_hold(m, "a", &again, NULL, NULL), PANTRY_OK);
    assert_ptr_equal(again, a);
    pn_models_release(m, again, NULL);
    pn_models_free(m);
    assert_int_equal(n_loads, 2);
    assert_int_equal(n_unloads, 2);
    settings[0].name = "none";
    m = start(&o);
    struct pantry_error err = {0};
    assert_int_equal(pn_models_load_pinned(m, &err), PANTRY_NOT_FOUND);
    assert_string_equal(err.text, "f:1: model 'none' not found");
    pn_models_free(m);
}

/* One core of eight is left to the service, but not where its threads find a second hardware thread. */
static void some_cores_are_left(void **state)
{
    (void)state;
    static const struct {
        int cores, hardware_threads, expected;
    } cases[] = {{1, 1, 1}, {2, 2, 2}, {7, 7, 7}, {8, 8, 7}, {15, 15, 14}, {16, 16, 14}, {16, 32, 16}, {64, 64, 56}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(pn_models_threads(cases[i].cores, cases[i].hardware_threads), cases[i].expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_load_that_takes_too_long, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_load_for_all_that_wait, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_load_that_fails, set_up, tear_down),
        cmocka_unit_test_setup_teardown(as_many_at_once_as_allowed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(never_more_than_allowed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(pinned_ones_stay, set_up, tear_down),
        cmocka_unit_test(some_cores_are_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
