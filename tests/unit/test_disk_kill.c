/* kill -9 while prefixes are written: no file under a final name is ever torn, whenever the process dies, and what the
 * files say is right. PANTRY_TEST_KILLS sets how often (20).
 *
 * Two children at a time write to the same folder, one of them with a small limit, and are killed after a random time.
 * The time only varies the point; the test waits for nothing by it. */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/random.h"
#include "engine/disk_trim.h"
#include "pantry.h"
#include "folder.h"
#include "public.h"
#include "tiny_hybrid.h"
#include "tiny_model.h"

enum { KILLS = 20, N = 200, N_ANSWER = 4, PROMPTS = 40, MOST_MS = 60, SMALL = 4000000 };

static const char *program;

static void prompt(int number, int32_t *ids)
{
    struct pn_rng rng = {(uint64_t)number};
    for (int i = 0; i < N; i++)
        ids[i] = (int32_t)(pn_rng_u64(&rng) % HYBRID_VOCAB);
}

static pantry_model *load(const char *path, const char *folder, uint64_t bytes)
{
    struct pantry_error error;
    struct pantry_model_options o = pantry_model_options_default();
    pantry_model *model;
    o.device = "ref";
    o.cache_dir = folder;
    o.cache_bytes = bytes;
    if (pantry_model_load(path, &o, &model, &error)) {
        fprintf(stderr, "%s\n", error.text);
        exit(2);
    }
    return model;
}

static void ask(pantry_model *model, int number, struct answer *a)
{
    int32_t ids[N];
    struct pantry_request_options o = pantry_request_options_default();
    prompt(number, ids);
    o.ids = ids;
    o.n_ids = N;
    o.max_tokens = N_ANSWER;
    o.n_context = 256;
    o.ignore_eos = true;
    o.sampling.seed = 1;
    run_request(model, &o, a);
}

/* Says that it is ready, then answers prompts until it is killed. */
static int child(const char *path, const char *folder, int first, uint64_t bytes)
{
    struct answer a;
    pantry_model *model = load(path, folder, bytes);
    if (write(STDOUT_FILENO, "r", 1) != 1)
        return 1;
    for (int i = first;; i++) /* mostly new ones, so that there is always something to write */
        ask(model, i % 8 ? PROMPTS + i : i / 8 % PROMPTS, &a);
}

static pid_t start(const char *path, int first, uint64_t bytes, int *ready)
{
    char number[2][32];
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    snprintf(number[0], sizeof number[0], "%d", first);
    snprintf(number[1], sizeof number[1], "%llu", (unsigned long long)bytes);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        execl(program, program, "child", path, in_root("cache"), number[0], number[1], (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    *ready = ends[0];
    return pid;
}

/* Checks every file; returns the number of temporary ones. */
static int check_files(int *n)
{
    int temporary = 0;
    DIR *dir = opendir(in_root("cache"));
    assert_non_null(dir);
    *n = 0;
    for (struct dirent *d; (d = readdir(dir));) {
        struct pn_disk_block named, read;
        char path[600], name[PN_DISK_NAME], *bytes;
        size_t size;
        if (strncmp(d->d_name, PN_DISK_TEMPORARY, sizeof PN_DISK_TEMPORARY - 1) == 0)
            temporary++;
        if (!pn_disk_name_parse(d->d_name, &named))
            continue;
        snprintf(path, sizeof path, "%s/%s", in_root("cache"), d->d_name);
        assert_int_equal(pn_file_read(path, 1 << 24, &bytes, &size, NULL), PANTRY_OK);
        if (!pn_disk_file_parse((unsigned char *)bytes, size, &read))
            fail_msg("torn: %s, %zu bytes", d->d_name, size);
        pn_disk_name(&read, name);
        assert_string_equal(name, d->d_name);
        free(bytes);
        ++*n;
    }
    closedir(dir);
    return temporary;
}

static void kills(const char *path, int count)
{
    struct pn_rng rng = {7};
    struct answer kept[PROMPTS], a;
    int n = 0, in_writing = 0, loaded = 0;
    for (int i = 0; i < count; i += 2) {
        int ready[2];
        char byte;
        pid_t pid[2];
        for (int k = 0; k < 2; k++)
            pid[k] = start(path, (i + k) * 1000, k ? SMALL : 0, &ready[k]);
        for (int k = 0; k < 2; k++)
            assert_int_equal(read(ready[k], &byte, 1), 1);
        for (int k = 0; k < 2; k++) {
            nanosleep(&(struct timespec){.tv_nsec = (long)(pn_rng_u64(&rng) % (MOST_MS * 1000)) * 1000}, NULL);
            assert_int_equal(kill(pid[k], SIGKILL), 0);
            int status;
            assert_int_equal(waitpid(pid[k], &status, 0), pid[k]);
            assert_true(WIFSIGNALED(status));
            close(ready[k]);
        }
        in_writing += check_files(&n) > 0;
    }
    pantry_model *model = load(path, NULL, 0);
    for (int i = 0; i < PROMPTS; i++)
        ask(model, i, &kept[i]);
    pantry_model_free(model);
    model = load(path, in_root("cache"), 0); /* so that there is one in any case */
    ask(model, 0, &a);
    pantry_model_free(model);
    for (int i = 0; i < PROMPTS; i++) { /* each with a new model, which knows nothing else */
        model = load(path, in_root("cache"), 0);
        ask(model, i, &a);
        assert_memory_equal(a.ids, kept[i].ids, N_ANSWER * sizeof *a.ids);
        loaded += a.stats.n_loaded > 0;
        pantry_model_free(model);
    }
    assert_true(loaded > 0);
    assert_int_equal(pantry_cache_trim(in_root("cache"), 0, NULL, NULL), PANTRY_OK);
    assert_int_equal(check_files(&n), 0);
    printf("# %d kills, %d times in the middle of a file, %d files, %d of %d prompts loaded\n", count, in_writing, n,
           loaded, PROMPTS);
}

static void a_kill_tears_no_file(void **state)
{
    (void)state;
    const char *given = getenv("PANTRY_TEST_KILLS");
    int count = given ? atoi(given) : KILLS;
    assert_true(count > 0);
    kills(tiny_model("gemma3", GW_F32, "kill.gguf"), (count + 1) / 2);
    pantry_cache_clear(in_root("cache"), NULL, NULL);
    kills(tiny_hybrid("granitehybrid"), (count + 1) / 2);
}

static int make_root(void **state)
{
    (void)state;
    return make_folder("disk-kill");
}

static int remove_root(void **state)
{
    (void)state;
    return remove_folder();
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(a_kill_tears_no_file, make_root, remove_root)};
    program = argv[0];
    if (argc == 6 && strcmp(argv[1], "child") == 0)
        return child(argv[2], argv[3], atoi(argv[4]), strtoull(argv[5], NULL, 10));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
