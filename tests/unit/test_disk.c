/* The prefix cache on disk from the outside: what a model saved is found by the next one, with the same results bit by
 * bit, and by nobody else; damage, full disks and short memory cost time and nothing else. */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/handle.h"
#include "engine/sched_impl.h"
#include "pantry.h"
#include "folder.h"
#include "hold.h"
#include "interpose.h"
#include "public.h"
#include "sanitized.h"
#include "tiny_hybrid.h"
#include "tiny_model.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
enum { N = 150, N_ANSWER = 10, N_TOP = 20, PAGES = N / PN_PAGE_TOKENS };

/* ---- disks that are full, or so slow that they never end: the library's calls fail or wait on demand ---- */

static atomic_bool disk_is_full;
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool held;
    int n_waiting;
} disk = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, 0};

static void hold_disk(bool held)
{
    pthread_mutex_lock(&disk.lock);
    disk.held = held;
    pthread_cond_broadcast(&disk.changed);
    pthread_mutex_unlock(&disk.lock);
}

/* Waits until a thread of the cache is stopped. */
static void wait_for_disk(void)
{
    pthread_mutex_lock(&disk.lock);
    while (!disk.n_waiting)
        pthread_cond_wait(&disk.changed, &disk.lock);
    pthread_mutex_unlock(&disk.lock);
}

static void pass_disk(void)
{
    pthread_mutex_lock(&disk.lock);
    disk.n_waiting++;
    pthread_cond_broadcast(&disk.changed);
    while (disk.held)
        pthread_cond_wait(&disk.changed, &disk.lock);
    disk.n_waiting--;
    pthread_mutex_unlock(&disk.lock);
}

ssize_t write(int fd, const void *bytes, size_t n);
ssize_t write(int fd, const void *bytes, size_t n)
{
    static ssize_t (*real)(int, const void *, size_t);
    if (!real)
        find_next("write", &real);
    if (fd > 2)
        pass_disk();
    if (fd > 2 && atomic_load(&disk_is_full)) {
        errno = ENOSPC;
        return -1;
    }
    return real(fd, bytes, n);
}

ssize_t read(int fd, void *bytes, size_t n);
ssize_t read(int fd, void *bytes, size_t n)
{
    static ssize_t (*real)(int, void *, size_t);
    if (!real)
        find_next("read", &real);
    if (fd > 2)
        pass_disk();
    return real(fd, bytes, n);
}

/* ---- counting the allocations of one thread: glibc lets a program replace malloc ---- */

#if defined(__GLIBC__) && !PN_ASAN && !PN_TSAN
#define COUNTS_ALLOCATIONS 1
static atomic_bool counting;
static atomic_int n_allocations;
static pthread_t counted_thread;
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *malloc(size_t size);
void *calloc(size_t n, size_t size);
void *realloc(void *p, size_t size);

static void count(void)
{
    if (atomic_load(&counting) && pthread_equal(pthread_self(), counted_thread))
        n_allocations++;
}

void *malloc(size_t size)
{
    count();
    return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    count();
    return __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
    count();
    return __libc_realloc(p, size);
}
#endif

/* ---- models and requests ---- */

struct setup {
    const char *path, *device, *kv_type, *scaling;
    float factor;
    uint64_t bytes;
};

static char *cache_dir(void)
{
    return in_root("a/cache");
}

static pantry_model *load_in(const struct setup *s, const char *folder)
{
    struct pantry_error error;
    struct pantry_model_options o = pantry_model_options_default();
    pantry_model *model;
    o.device = s->device ? s->device : "ref";
    o.kv_type = s->kv_type;
    o.rope_scaling = s->scaling;
    o.rope_factor = s->factor;
    o.cache_dir = folder;
    o.cache_bytes = s->bytes;
    if (pantry_model_load(s->path, &o, &model, &error))
        fail_msg("%s", error.text);
    return model;
}

static pantry_model *load(const struct setup *s)
{
    return load_in(s, cache_dir());
}

static void random_ids(uint64_t seed, int32_t *ids, int n)
{
    struct pn_rng rng = {seed};
    for (int i = 0; i < n; i++)
        ids[i] = (int32_t)(pn_rng_u64(&rng) % HYBRID_VOCAB);
}

/* An answer with the logarithms of its tokens' probabilities. */
struct told {
    int32_t ids[N_ANSWER];
    struct pantry_logprob top[N_ANSWER][N_TOP];
    int n;
    struct pantry_stats stats;
};

static struct pantry_request_options asks(const int32_t *ids, int n, const char *key)
{
    struct pantry_request_options o = pantry_request_options_default();
    o.ids = ids;
    o.n_ids = (size_t)n;
    o.max_tokens = N_ANSWER;
    o.n_context = 256;
    o.ignore_eos = true;
    o.sampling = (struct pantry_sampling){.temperature = 2, .top_p = 1, .repeat_penalty = 1, .seed = 3};
    o.cache_key = key;
    o.logprobs = true;
    o.top_logprobs = N_TOP;
    return o;
}

static struct told ask_for(pantry_model *model, const int32_t *ids, int n, const char *key)
{
    struct pantry_request_options o = asks(ids, n, key);
    pantry_request *r = submit(model, &o);
    struct told t = {0};
    for (;;) {
        const struct pantry_event *e = pantry_request_next(r, -1);
        if (e->kind == PANTRY_EVENT_END) {
            assert_int_equal(e->status, PANTRY_OK);
            t.stats = *e->stats;
            break;
        }
        t.ids[t.n] = e->token->id;
        memcpy(t.top[t.n++], e->token->top, sizeof *t.top);
    }
    pantry_request_free(r);
    assert_int_equal(t.n, N_ANSWER);
    return t;
}

static struct told ask(pantry_model *model, const int32_t *ids, const char *key)
{
    return ask_for(model, ids, N, key);
}

static void equal(const struct told *a, const struct told *b)
{
    assert_memory_equal(a->ids, b->ids, sizeof a->ids);
    assert_memory_equal(a->top, b->top, sizeof a->top);
}

static struct pantry_cache_stats counted(void)
{
    struct pantry_cache_stats s = {.size = sizeof s};
    assert_int_equal(pantry_cache_stats(&s, NULL), PANTRY_OK);
    return s;
}

/* ---- the folder ---- */

static int make_root(void **state)
{
    (void)state;
    return make_folder("disk");
}

static int remove_root(void **state)
{
    (void)state;
    return remove_folder();
}

struct file {
    char path[700];
    struct pn_disk_block block;
    size_t bytes;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct file *)a)->path, ((const struct file *)b)->path);
}

/* The files of the cache. Nothing else may be there. */
static int list(struct file *files, int most)
{
    int n = 0;
    DIR *dir = opendir(cache_dir());
    assert_non_null(dir);
    for (struct dirent *d; (d = readdir(dir));) {
        if (d->d_name[0] == '.' || strcmp(d->d_name, "lock") == 0)
            continue;
        struct file f;
        struct stat st;
        if (!pn_disk_name_parse(d->d_name, &f.block))
            fail_msg("left behind: %s", d->d_name);
        snprintf(f.path, sizeof f.path, "%s/%s", cache_dir(), d->d_name);
        assert_int_equal(stat(f.path, &st), 0);
        f.bytes = (size_t)st.st_size;
        assert_true(n < most);
        files[n++] = f;
    }
    closedir(dir);
    qsort(files, (size_t)n, sizeof *files, by_name);
    return n;
}

static int n_files(void)
{
    static struct file files[2000];
    return list(files, COUNT(files));
}

/* Saves a prompt and its answer with a model of its own. */
static struct told save(const struct setup *s, const int32_t *ids, const char *key)
{
    pantry_model *model = load(s);
    struct told t = ask(model, ids, key);
    pantry_model_free(model);
    assert_int_equal(counted().n_pending, 0);
    return t;
}

/* Waits until nothing is left to write. */
static void wait_until_saved(void)
{
    while (counted().n_pending)
        sched_yield();
}

/* ---- restarts ---- */

/* The setups whose results must be the same after a restart. */
static const struct setup *setups(size_t *n)
{
    static struct setup s[16];
    static char split[] = "ref:0-1,cpu:2-";
    *n = 0;
    const char *llama = strdup(tiny_model("llama", GW_F32, "disk.gguf"));
    const char *wide = strdup(tiny_wide_model());
    const char *gemma = strdup(tiny_model("gemma3", GW_F32, "disk-gemma.gguf"));
    s[(*n)++] = (struct setup){.path = llama, .kv_type = "f16"};
    s[(*n)++] = (struct setup){.path = llama, .kv_type = "f32"};
    s[(*n)++] = (struct setup){.path = gemma, .kv_type = "f16"};
    s[(*n)++] = (struct setup){.path = wide, .kv_type = "q8_0"};
    s[(*n)++] = (struct setup){.path = llama, .device = split};
    s[(*n)++] = (struct setup){.path = gemma, .device = split};
    for (int i = 0; i < N_HYBRIDS; i++)
        s[(*n)++] = (struct setup){.path = strdup(tiny_hybrid(tiny_hybrids[i]))};
    return s;
}

static void free_setups(const struct setup *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!s[i].device && (i == 0 || s[i].path != s[i - 1].path))
            free((char *)(uintptr_t)s[i].path);
}

/* The same prompt, its continuation, and a prompt that shares a part of it: with and without a restart in between. */
static void a_restart_changes_nothing(void **state)
{
    (void)state;
    size_t n;
    const struct setup *all = setups(&n);
    for (size_t i = 0; i < n; i++) {
        int32_t ids[N + N_ANSWER + 20], other[N];
        random_ids(1, ids, N + N_ANSWER + 20);
        pantry_model *model = load(&all[i]);
        bool recurrent = model->runner->states != NULL;
        struct told first = ask(model, ids, NULL), memory = ask(model, ids, NULL);
        equal(&first, &memory);
        memcpy(ids + N, first.ids, (N_ANSWER - 1) * sizeof *ids);
        struct told further = ask_for(model, ids, N + N_ANSWER + 20, NULL);
        pantry_model_free(model);
        assert_int_equal(counted().n_pending, 0);

        model = load(&all[i]);
        struct told again = ask(model, ids, NULL);
        int least = recurrent ? N - 1 : PAGES * PN_PAGE_TOKENS;
        assert_int_equal(again.stats.n_cached, least);
        assert_int_equal(again.stats.n_loaded, least);
        equal(&first, &again);
        pantry_model_free(model);

        model = load(&all[i]);
        struct told later = ask_for(model, ids, N + N_ANSWER + 20, NULL);
        assert_true(later.stats.n_loaded >= least);
        equal(&further, &later);
        pantry_model_free(model);

        model = load(&all[i]);
        memcpy(other, ids, sizeof other);
        other[70]++;
        other[70] %= HYBRID_VOCAB;
        struct told branch = ask(model, other, NULL);
        bool stateful = recurrent || model->runner->pool->n_groups > 1;
        assert_int_equal(branch.stats.n_loaded, stateful ? 0 : 64);
        pantry_model_free(model);
        model = load_in(&all[i], NULL);
        struct told fresh = ask(model, other, NULL);
        equal(&fresh, &branch);
        assert_int_equal(fresh.stats.n_loaded, 0);
        pantry_model_free(model);
        assert_int_equal(pantry_cache_clear(cache_dir(), NULL, NULL), PANTRY_OK);
        assert_int_equal(n_files(), 0);
    }
    free_setups(all, n);
}

/* What memory has is not read again: only the pages after it. */
static void only_what_memory_lacks_is_read(void **state)
{
    (void)state;
    struct setup s = {.path = tiny_model("llama", GW_F32, "disk.gguf")};
    int32_t ids[N];
    random_ids(2, ids, N);
    save(&s, ids, NULL);
    pantry_model *model = load(&s);
    assert_int_equal(ask_for(model, ids, 70, NULL).stats.n_loaded, 64);
    model->sched->pace.alone = 1e15; /* so that the disk is faster */
    uint64_t before = counted().bytes_loaded;
    struct told t = ask(model, ids, NULL);
    assert_int_equal(t.stats.n_cached, PAGES * PN_PAGE_TOKENS);
    size_t page = pn_slots_bytes(&model->runner->pool->groups[0].slots);
    assert_int_equal(counted().bytes_loaded - before, (PAGES - 2) * pn_disk_file_size(page));
    assert_int_equal(ask(model, ids, NULL).stats.n_loaded, 0);
    assert_int_equal(ask(model, ids, NULL).stats.n_cached, N - 1);
    pantry_model_free(model);
}

/* When computing is known to be faster, nothing is loaded. */
static void the_faster_way_is_taken(void **state)
{
    (void)state;
    struct setup s = {.path = tiny_model("llama", GW_F32, "disk.gguf")};
    int32_t ids[N], other[N];
    random_ids(2, ids, N);
    random_ids(3, other, N);
    save(&s, ids, NULL);
    save(&s, other, NULL);
    pantry_model *model = load(&s);
    assert_int_equal(ask(model, ids, NULL).stats.n_loaded, PAGES * PN_PAGE_TOKENS); /* both are unknown */
    model->sched->pace.alone = 1e-6;
    assert_int_equal(ask(model, other, NULL).stats.n_loaded, 0);
    pantry_model_free(model);
}

/* ---- nobody else's ---- */

static void owners_are_apart(void **state)
{
    (void)state;
    static const char *const keys[] = {NULL, "", "a", "b", "/a", "session 0"};
    struct setup s = {.path = tiny_model("llama", GW_F32, "disk.gguf")};
    int32_t ids[N];
    random_ids(4, ids, N);
    for (size_t i = 0; i < COUNT(keys); i++) {
        pantry_model *model = load(&s);
        assert_int_equal(ask(model, ids, keys[i]).stats.n_loaded, 0);
        pantry_model_free(model);
        model = load(&s);
        assert_int_equal(ask(model, ids, keys[i]).stats.n_loaded, PAGES * PN_PAGE_TOKENS);
        pantry_model_free(model);
    }
    assert_int_equal(n_files(), COUNT(keys) * PAGES);
}

static void sessions_leave_nothing(void **state)
{
    (void)state;
    struct setup s = {.path = tiny_model("llama", GW_F32, "disk.gguf")};
    struct pantry_generate_options o = pantry_generate_options_default();
    int32_t ids[N];
    pantry_session *session;
    random_ids(4, ids, N);
    pantry_model *model = load(&s);
    o.max_tokens = 3;
    assert_int_equal(pantry_session_new(model, NULL, &session, NULL), PANTRY_OK);
    assert_int_equal(pantry_generate(session, ids, N, &o, NULL, NULL), PANTRY_OK);
    pantry_session_free(session);
    pantry_model_free(model);
    assert_int_equal(n_files(), 0);
}

/* Another model, type of keys, rotation, or device finds nothing. A copy of the file with its time does. */
static void others_find_nothing(void **state)
{
    (void)state;
    struct gw g;
    struct setup s = {.path = tiny_model("llama", GW_F32, "disk.gguf"), .kv_type = "f16"}, other[6];
    tiny_model_init(&g, "llama", GW_F32);
    gw_str(&g, "general.name", "another");
    const char *renamed = gw_file(&g, "disk-renamed.gguf");
    gw_free(&g);
    for (size_t i = 0; i < COUNT(other); i++)
        other[i] = s;
    other[0].kv_type = "f32";
    other[1].scaling = "linear";
    other[1].factor = 2;
    other[2].scaling = "yarn";
    other[2].factor = 2;
    other[3].path = renamed;
    other[4].path = tiny_model("llama", GW_F16, "disk-f16.gguf");
    other[5].device = "cpu";
    int32_t ids[N];
    random_ids(5, ids, N);
    save(&s, ids, NULL);
    int files = n_files();
    assert_int_equal(files, PAGES);
    for (size_t i = 0; i < COUNT(other); i++) {
        pantry_model *model = load(&other[i]);
        assert_int_equal(ask(model, ids, NULL).stats.n_loaded, 0);
        pantry_model_free(model);
        assert_int_equal(n_files(), files += PAGES);
    }
    pantry_model *model = load(&s);
    assert_int_equal(ask(model, ids, NULL).stats.n_loaded, PAGES * PN_PAGE_TOKENS);
    pantry_model_free(model);
}

/* A file that changed in place, with the same size and metadata. */
static void changed_weights_are_another_model(void **state)
{
    (void)state;
    struct setup s = {.path = tiny_model("llama", GW_F32, "disk-changed.gguf")};
    int32_t ids[N];
    struct stat st;
    random_ids(5, ids, N);
    save(&s, ids, NULL);
    assert_int_equal(stat(s.path, &st), 0);
    int fd = open(s.path, O_WRONLY);
    assert_int_equal(pwrite(fd, "\1\2\3\0", 4, st.st_size - TINY_VOCAB * TINY_EMBD * 2), 4);
    close(fd);
    const struct timespec same[] = {st.st_atim, st.st_mtim};
    assert_int_equal(utimensat(AT_FDCWD, s.path, same, 0), 0);
    pantry_model *model = load(&s);
    assert_int_equal(ask(model, ids, NULL).stats.n_loaded, 0);
    pantry_model_free(model);
}

/* ---- damage ---- */

static unsigned char *bytes_of(const struct file *f)
{
    unsigned char *bytes = malloc(f->bytes + 1);
    FILE *in = fopen(f->path, "rb");
    assert_non_null(in);
    assert_int_equal(fread(bytes, 1, f->bytes, in), f->bytes);
    fclose(in);
    return bytes;
}

static void put(const char *path, const unsigned char *bytes, size_t n)
{
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(bytes, 1, n, out), n);
    fclose(out);
}

/* Asks with a damaged file of `n` bytes: the answer is the same, and if the file was read, it is right again. */
static bool is_noticed(const struct setup *s, const int32_t *ids, const struct told *want, const struct file *f,
                       const unsigned char *bytes, size_t n, int tokens)
{
    uint64_t before = counted().files_rejected;
    put(f->path, bytes, n);
    pantry_model *model = load(s);
    struct told t = ask(model, ids, NULL);
    equal(want, &t);
    if (tokens >= 0)
        assert_int_equal(t.stats.n_loaded, tokens);
    pantry_model_free(model);
    return counted().files_rejected == before + 1;
}

/* Flips a bit in every region of a file, and cuts it everywhere. */
static void every_damage_is_noticed(const struct setup *s, const int32_t *ids, const struct told *want,
                                    const struct file *f)
{
    static const size_t fields[] = {0, 8, 12, 16, 20, 24, 32, 52, 72, 88, 215, 216, PN_DISK_HEADER};
    const size_t flips[] = {f->bytes - 1, f->bytes - PN_DISK_DIGEST, f->bytes - PN_DISK_DIGEST - 1};
    const size_t cuts[] = {0, 1, 100, PN_DISK_HEADER, PN_DISK_HEADER + 1, f->bytes - PN_DISK_DIGEST, f->bytes - 1};
    int tokens = f->block.n > 2 * PN_PAGE_TOKENS ? (f->block.n - 1) / PN_PAGE_TOKENS * PN_PAGE_TOKENS : 0;
    tokens = f->block.n == 2 * PN_PAGE_TOKENS ? PN_PAGE_TOKENS : tokens;
    unsigned char *good = bytes_of(f), *bad = calloc(1, f->bytes + 1);
    for (size_t i = 0; i < COUNT(fields) + COUNT(flips); i++) {
        size_t at = i < COUNT(fields) ? fields[i] : flips[i - COUNT(fields)];
        memcpy(bad, good, f->bytes);
        bad[at] ^= (unsigned char)(1 << i % 8);
        assert_true(is_noticed(s, ids, want, f, bad, f->bytes, tokens));
    }
    for (size_t i = 0; i < COUNT(cuts); i++)
        assert_true(is_noticed(s, ids, want, f, good, cuts[i], tokens));
    memcpy(bad, good, f->bytes);
    bad[f->bytes] = 0;
    assert_true(is_noticed(s, ids, want, f, bad, f->bytes + 1, tokens));
    unsigned char *now = bytes_of(f); /* saved again */
    assert_memory_equal(now, good, f->bytes);
    free(now);
    free(good);
    free(bad);
}

static void damage_is_never_loaded(void **state)
{
    (void)state;
    static struct file f[200];
    struct setup s = {.path = tiny_model("llama", GW_F32, "disk.gguf")};
    int32_t ids[N];
    random_ids(6, ids, N);
    struct told want = save(&s, ids, NULL);
    int n = list(f, COUNT(f));
    assert_int_equal(n, PAGES);
    for (int i = 0; i < n; i++)
        every_damage_is_noticed(&s, ids, &want, &f[i]);
}

/* The same with pages of windows, states and checkpoints. */
static void damaged_checkpoints_are_never_loaded(void **state)
{
    (void)state;
    static struct file f[200];
    int32_t ids[N];
    random_ids(6, ids, N);
    for (int k = 0; k < 3; k++) {
        const char *path = k == 2 ? tiny_model("gemma3", GW_F32, "disk.gguf") : tiny_hybrid(tiny_hybrids[2 + k]);
        struct setup s = {.path = path};
        struct told want = save(&s, ids, NULL);
        int n = list(f, COUNT(f)), noticed[3] = {0};
        for (int i = 0; i < n; i++) {
            unsigned char *good = bytes_of(&f[i]);
            bool read = is_noticed(&s, ids, &want, &f[i], good, f[i].bytes / 2, -1);
            put(f[i].path, good, f[i].bytes);
            good[f[i].bytes / 2] ^= 16;
            assert_int_equal(is_noticed(&s, ids, &want, &f[i], good, f[i].bytes, -1), read);
            good[f[i].bytes / 2] ^= 16;
            put(f[i].path, good, f[i].bytes);
            noticed[f[i].block.kind] += read;
            free(good);
        }
        assert_true(noticed[PN_DISK_PAGE] >= PAGES);
        assert_true(noticed[PN_DISK_CHECKPOINT] >= 1);
        assert_true(k < 2 || noticed[PN_DISK_WINDOW] >= 1);
        pantry_cache_clear(cache_dir(), NULL, NULL);
    }
}

/* A checkpoint without its pages is useless: the one before it serves, and it goes. */
static void incomplete_checkpoints_go(void **state)
{
    (void)state;
    static struct file f[200];
    int32_t ids[N + 40];
    random_ids(11, ids, N + 40);
    struct setup s = {.path = tiny_hybrid("granitehybrid")};
    pantry_model *model = load(&s);
    ask_for(model, ids, 100, NULL);
    struct told want = ask(model, ids, NULL);
    pantry_model_free(model);
    int n = list(f, COUNT(f));
    for (int i = 0; i < n; i++)
        if (f[i].block.kind == PN_DISK_PAGE && f[i].block.n == N - 1)
            assert_int_equal(unlink(f[i].path), 0);
    model = load(&s);
    struct told t = ask(model, ids, NULL);
    equal(&want, &t);
    assert_true(t.stats.n_loaded >= 99 && t.stats.n_loaded < N - 1);
    pantry_model_free(model);
}

/* ---- bounds ---- */

/* The folder stays within its limit, and the prompts used last stay. */
static void the_limit_holds(void **state)
{
    (void)state;
    enum { PROMPTS = 12 };
    struct setup s = {.path = tiny_model("llama", GW_F32, "disk.gguf")};
    int32_t ids[PROMPTS][N];
    struct file f[200];
    pantry_model *model = load(&s);
    struct pn_kv_pool *pool;
    assert_int_equal(pn_runner_pool(model->runner, NULL, &pool, NULL), PANTRY_OK);
    size_t page = pn_disk_file_size(pn_slots_bytes(&pool->groups[0].slots));
    pantry_model_free(model);
    page = (page + 4095) / 4096 * 4096;
    s.bytes = 5 * PAGES * page;
    for (int i = 0; i < PROMPTS; i++) {
        random_ids((uint64_t)(100 + i), ids[i], N);
        save(&s, ids[i], NULL);
        save(&s, ids[0], NULL); /* used again and again */
        int n = list(f, COUNT(f));
        assert_true(n <= 5 * PAGES);
    }
    model = load(&s);
    assert_int_equal(ask(model, ids[0], NULL).stats.n_loaded, PAGES * PN_PAGE_TOKENS);
    pantry_model_free(model);
    model = load(&s);
    assert_int_equal(ask(model, ids[PROMPTS - 1], NULL).stats.n_loaded, PAGES * PN_PAGE_TOKENS);
    pantry_model_free(model);
    model = load(&s);
    assert_int_equal(ask(model, ids[1], NULL).stats.n_loaded, 0);
    pantry_model_free(model);
    assert_true(counted().files_removed > 0);
}

/* A full disk: requests answer as ever, nothing is left behind, and saving goes on when there is room. */
static void a_full_disk_only_stops_saving(void **state)
{
    (void)state;
    struct setup s = {.path = tiny_model("llama", GW_F32, "disk.gguf")};
    int32_t ids[N];
    random_ids(7, ids, N);
    pantry_model *model = load(&s);
    uint64_t before = counted().n_failures;
    atomic_store(&disk_is_full, true);
    struct told a = ask(model, ids, NULL), b = ask(model, ids, NULL);
    equal(&a, &b);
    wait_until_saved();
    assert_true(counted().n_failures > before);
    assert_int_equal(n_files(), 0);
    atomic_store(&disk_is_full, false); /* the same model goes on at the end of its next request */
    ask(model, ids, NULL);
    pantry_model_free(model);
    assert_int_equal(n_files(), PAGES);
}

/* While the disk does not answer, only the request that needs it waits; the others are answered. */
static void a_slow_disk_delays_nobody_else(void **state)
{
    (void)state;
    struct setup s = {.path = tiny_model("llama", GW_F32, "disk.gguf")};
    int32_t ids[6][N];
    struct answer a;
    for (int i = 0; i < 6; i++)
        random_ids((uint64_t)(400 + i), ids[i], N);
    save(&s, ids[0], NULL);
    pantry_model *model = load(&s);
    struct pantry_request_options o = asks(ids[0], N, NULL);
    hold_disk(true);
    pantry_request *first = submit(model, &o);
    wait_for_disk();              /* the reader */
    for (int i = 1; i < 6; i++) { /* shorter than what is looked up, and then saved */
        o = asks(ids[i], 60, NULL);
        run_request(model, &o, &a);
    }
    next_event(first, &a, 0);
    uint64_t n_pending = counted().n_pending;
    hold_disk(false);
    assert_string_equal(a.end.message, "nothing came");
    assert_true(n_pending > 0);
    read_all(first, &a);
    assert_int_equal(a.stats.n_loaded, PAGES * PN_PAGE_TOKENS);
    pantry_request_free(first);
    pantry_model_free(model);
    assert_int_equal(counted().n_pending, 0);
}

#ifdef COUNTS_ALLOCATIONS
/* While prefixes are copied and written, the token loop allocates nothing. */
static void saving_allocates_nothing(void **state)
{
    (void)state;
    enum { TOKENS = 150, FROM = 2, TO = TOKENS - PN_MAX_EVENTS - 6 }; /* the engine is at most a queue ahead */
    struct setup s = {.path = tiny_model("llama", GW_F32, "disk.gguf"), .device = "cpu"}; /* ref allocates */
    int32_t ids[N];
    pantry_model *model = load(&s);
    hold_disk(true);
    for (int i = 0; i < 8; i++) {
        random_ids((uint64_t)(500 + i), ids, N);
        ask(model, ids, NULL);
    }
    uint64_t before = counted().files_written;
    struct pantry_request_options o = asks(ids, 60, "other");
    o.max_tokens = TOKENS;
    pantry_request *r = submit(model, &o);
    n_allocations = 0;
    counted_thread = model->sched->thread;
    for (int i = 0; i < TOKENS; i++) {
        assert_int_equal(pantry_request_next(r, -1)->kind, PANTRY_EVENT_TOKEN);
        if (i == FROM || i == TO)
            atomic_store(&counting, i == FROM);
        if (i == FROM + 5)
            hold_disk(false);
        if (i == TO - 1) /* the engine waits for room meanwhile, and goes on copying */
            wait_until_saved();
    }
    assert_true(counted().files_written >= before + PAGES);
    assert_int_equal(n_allocations, 0);
    pantry_request_free(r);
    pantry_model_free(model);
}
#endif

/* Two models in one process share the folder at the same time; so do two with the same name for a prompt. */
static void two_models_share_a_folder(void **state)
{
    (void)state;
    struct setup s = {.path = tiny_model("llama", GW_F32, "disk.gguf")};
    int32_t ids[8][N];
    pantry_model *models[] = {load(&s), load(&s)};
    pantry_request *requests[2][8];
    struct answer a[2];
    for (int i = 0; i < 8; i++)
        random_ids((uint64_t)(200 + i), ids[i], N);
    for (int i = 0; i < 8; i++)
        for (int m = 0; m < 2; m++) {
            struct pantry_request_options o = asks(ids[i], N, NULL);
            requests[m][i] = submit(models[m], &o);
        }
    for (int i = 0; i < 8; i++) {
        for (int m = 0; m < 2; m++) {
            read_all(requests[m][i], &a[m]);
            pantry_request_free(requests[m][i]);
        }
        assert_memory_equal(a[0].ids, a[1].ids, N_ANSWER * sizeof *a[0].ids);
    }
    pantry_model_free(models[0]);
    pantry_model_free(models[1]);
    assert_int_equal(n_files(), 8 * PAGES);
    pantry_model *model = load(&s);
    for (int i = 0; i < 8; i++) {
        struct pantry_request_options o = asks(ids[i], N, NULL);
        requests[0][i] = submit(model, &o);
    }
    for (int i = 0; i < 8; i++) {
        read_all(requests[0][i], &a[0]);
        pantry_request_free(requests[0][i]);
    }
    pantry_model_free(model);
}

/* Eight prompts that begin alike read their beginning once. */
static void one_reads_for_all(void **state)
{
    (void)state;
    struct setup s = {.path = tiny_model("llama", GW_F32, "disk.gguf")};
    int32_t ids[8][N];
    pantry_request *requests[8];
    struct answer a;
    struct hold hold;
    random_ids(8, ids[0], N);
    save(&s, ids[0], NULL);
    pantry_model *model = load(&s);
    uint64_t before = counted().bytes_loaded;
    hold_engine(&hold, model);
    for (int i = 0; i < 8; i++) {
        memcpy(ids[i], ids[0], sizeof *ids);
        ids[i][N - 5] = i;
        struct pantry_request_options o = asks(ids[i], N, NULL);
        requests[i] = submit(model, &o);
    }
    release_engine(&hold);
    for (int i = 0; i < 8; i++) {
        read_all(requests[i], &a);
        assert_true(a.stats.n_cached >= PAGES * PN_PAGE_TOKENS);
        pantry_request_free(requests[i]);
    }
    size_t page = pn_slots_bytes(&model->runner->pool->groups[0].slots);
    assert_int_equal(counted().bytes_loaded - before, PAGES * pn_disk_file_size(page));
    pantry_model_free(model);
}

/* A request that is cancelled or a model that is freed while it loads. */
static void loads_can_be_abandoned(void **state)
{
    (void)state;
    static const char *const names[] = {"llama", "granitehybrid"};
    int32_t ids[N];
    random_ids(9, ids, N);
    for (size_t k = 0; k < COUNT(names); k++) {
        struct setup s = {.path = k ? tiny_hybrid(names[k]) : tiny_model(names[k], GW_F32, "disk.gguf")};
        save(&s, ids, NULL);
        for (int i = 0; i < 20; i++) {
            pantry_model *model = load(&s);
            struct pantry_request_options o = asks(ids, N, NULL);
            pantry_request *r = submit(model, &o);
            if (i % 2)
                pantry_request_cancel(r);
            pantry_request_free(r);
            pantry_model_free(model);
            assert_int_equal(counted().n_pending, 0);
        }
    }
}

/* With little memory, pages that wait to be saved are given up before a request fails. */
static void saving_gives_memory_back(void **state)
{
    (void)state;
    struct setup s = {.path = tiny_model("llama", GW_F32, "disk.gguf")};
    int32_t ids[N];
    pantry_model *model = load(&s);
    for (int i = 0; i < 30; i++) {
        random_ids((uint64_t)(300 + i), ids, N);
        ask(model, ids, NULL);
    }
    struct pn_sched_stats stats;
    assert_int_equal(pn_sched_stats(model->sched, &stats, NULL), PANTRY_OK);
    pantry_model_free(model);
}

/* ---- the folder ---- */

static void wrong_folders_are_errors(void **state)
{
    (void)state;
    struct pantry_error error;
    struct pantry_model_options o = pantry_model_options_default();
    pantry_model *model;
    const char *path = tiny_model("llama", GW_F32, "disk.gguf");
    write_file(in_root("plain"), "x", 0600);
    o.cache_dir = in_root("plain/below");
    assert_int_equal(pantry_model_load(path, &o, &model, &error), PANTRY_IO);
    assert_non_null(strstr(error.text, "plain/below"));
    o.cache_dir = "";
    assert_int_equal(pantry_model_load(path, &o, &model, &error), PANTRY_INVALID);
    assert_int_equal(pantry_cache_clear(in_root("nowhere"), NULL, &error), PANTRY_NOT_FOUND);
    o.cache_dir = in_root("b/c/d");
    assert_int_equal(pantry_model_load(path, &o, &model, &error), PANTRY_OK);
    pantry_model_free(model);
    struct stat st;
    assert_int_equal(stat(in_root("b/c"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
}

/* Files of others stay, those of processes that died do not. */
static void foreign_files_stay(void **state)
{
    (void)state;
    struct setup s = {.path = tiny_model("llama", GW_F32, "disk.gguf"), .bytes = 1};
    int32_t ids[N];
    random_ids(10, ids, N);
    pantry_model_free(load(&s));
    static const char *const mine[] = {"a/cache/notes.txt", "a/cache/0000-p0"};
    for (size_t i = 0; i < COUNT(mine); i++)
        write_file(in_root(mine[i]), "mine", 0600);
    write_file(in_root("a/cache/temporary-1-1"), "torn", 0600);
    save(&s, ids, NULL);
    for (size_t i = 0; i < COUNT(mine); i++)
        assert_true(file_exists(in_root(mine[i])));
    assert_false(file_exists(in_root("a/cache/temporary-1-1")));
    for (size_t i = 0; i < COUNT(mine); i++)
        unlink(in_root(mine[i]));
    assert_int_equal(n_files(), 0); /* a limit of a byte */
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, make_root, remove_root)
    const struct CMUnitTest tests[] = {
#ifdef COUNTS_ALLOCATIONS
        TEST(saving_allocates_nothing),
#endif
        TEST(a_restart_changes_nothing),
        TEST(only_what_memory_lacks_is_read),
        TEST(the_faster_way_is_taken),
        TEST(owners_are_apart),
        TEST(sessions_leave_nothing),
        TEST(others_find_nothing),
        TEST(changed_weights_are_another_model),
        TEST(damage_is_never_loaded),
        TEST(damaged_checkpoints_are_never_loaded),
        TEST(incomplete_checkpoints_go),
        TEST(the_limit_holds),
        TEST(a_full_disk_only_stops_saving),
        TEST(a_slow_disk_delays_nobody_else),
        TEST(two_models_share_a_folder),
        TEST(one_reads_for_all),
        TEST(loads_can_be_abandoned),
        TEST(saving_gives_memory_back),
        TEST(wrong_folders_are_errors),
        TEST(foreign_files_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
