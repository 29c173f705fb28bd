/* The check that every blob has the digest in its name: see examine.h. Reads everything, on several threads. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/examine.h"

#include "base/alloc.h"
#include "base/os.h"
#include "base/threads.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_THREADS = 4, CHUNK = 1 << 20 };

struct file {
    char *name;
    uint64_t bytes;
    char hex[PN_SHA256_HEX + 1]; /* what it is; "": it cannot be read */
    int why;                     /* errno then */
};

struct hashing {
    struct pn_examination *x;
    struct file *files;
    size_t n;
    uint64_t total;
    struct pn_job *job;
    struct pn_claim next;
    atomic_uint_fast64_t done;
    atomic_bool no_memory;
};

static bool hash_file(struct hashing *h, struct file *file, int fd, char *chunk, int worker)
{
    struct pn_sha256 hash;
    ssize_t k;
    if (pn_sha256_start(&hash, NULL))
        return false;
    while ((k = read(fd, chunk, CHUNK)) != 0 && !pn_job_cancelled(h->job)) {
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0) {
            file->why = errno;
            pn_sha256_free(&hash);
            return true;
        }
        pn_sha256_update(&hash, chunk, (size_t)k);
        uint64_t done = atomic_fetch_add(&h->done, (uint64_t)k) + (uint64_t)k;
        if (worker == 0)
            pn_job_report(h->job, PN_FETCH_VERIFY, done < h->total ? done : h->total, h->total);
    }
    return pn_sha256_finish(&hash, file->hex, NULL) == PANTRY_OK;
}

static void work(void *context, int worker)
{
    struct hashing *h = context;
    char *chunk = malloc(CHUNK);
    int64_t first, end;
    while (chunk && !pn_job_cancelled(h->job) && pn_claim_next(&h->next, (int64_t)h->n, 1, &first, &end)) {
        struct file *file = &h->files[first];
        char *path = pn_layout_path("%s/blobs/%s", h->x->store, file->name);
        int fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
        if (!path)
            atomic_store(&h->no_memory, true);
        else if (fd < 0)
            file->why = errno;
        else if (!hash_file(h, file, fd, chunk, worker))
            atomic_store(&h->no_memory, true);
        if (fd >= 0)
            close(fd);
        free(path);
    }
    if (!chunk)
        atomic_store(&h->no_memory, true);
    free(chunk);
}

/* Largest first, so that the threads end at about the same time. */
static int by_size(const void *a, const void *b)
{
    uint64_t m = ((const struct file *)a)->bytes, n = ((const struct file *)b)->bytes;
    return m < n ? 1 : m > n ? -1 : strcmp(((const struct file *)a)->name, ((const struct file *)b)->name);
}

/* The model that the file is a part of, or NULL. */
static const char *owner(const struct pn_examination *x, const char *hex)
{
    for (size_t i = 0; i < x->needed.len; i++)
        if (strcmp(x->needed.data[i].digest.hex, hex) == 0)
            return x->needed.data[i].name;
    return NULL;
}

static void judge(struct pn_examination *x, const struct file *file)
{
    if (file->why == ENOENT || strcmp(file->hex, file->name + 7) == 0)
        return; /* removed meanwhile, or right */
    const char *name = owner(x, file->name + 7);
    char *path = pn_layout_path("%s/blobs/%s", x->store, file->name),
         *mend = name ? pn_layout_path("pantry rm %s; then pull or import it again", name) : strdup("pantry prune");
    if (!path || !mend)
        x->no_memory = true;
    else if (file->why)
        pn_examine_add(x, PN_FINDING_WRONG, path, mend, "cannot be read: %s", strerror(file->why));
    else
        pn_examine_add(x, PN_FINDING_WRONG, path, mend, "is damaged: its contents have the digest %s", file->hex);
    free(path);
    free(mend);
}

static void collect(struct pn_examination *x, struct pn_names *names, struct hashing *h)
{
    struct stat st;
    h->files = calloc(names->len + 1, sizeof *h->files);
    x->no_memory |= !h->files;
    for (size_t i = 0; h->files && i < names->len; i++) {
        const char *name = names->data[i];
        if (strncmp(name, "sha256-", 7) != 0 || strlen(name) != 7 + PN_SHA256_HEX)
            continue;
        char *path = pn_layout_path("%s/blobs/%s", x->store, name);
        x->no_memory |= !path;
        if (path && stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
            h->files[h->n++] = (struct file){.name = names->data[i], .bytes = (uint64_t)st.st_size};
            h->total += (uint64_t)st.st_size;
        }
        free(path);
    }
    if (h->n)
        qsort(h->files, h->n, sizeof *h->files, by_size);
}

void pn_examine_digests(struct pn_examination *x)
{
    struct pn_job job = pn_job_new("the store", &x->options->fetch);
    struct hashing h = {.x = x, .job = &job};
    struct pn_names names;
    struct pn_pool *pool;
    if (x->options->quick)
        return;
    pn_examine_names(x, "blobs", &names);
    collect(x, &names, &h);
    int n_threads = pn_os_processors();
    n_threads = n_threads > MAX_THREADS ? MAX_THREADS : n_threads;
    if (h.n && pn_pool_new((size_t)n_threads > h.n ? (int)h.n : n_threads, &pool, NULL) == PANTRY_OK) {
        pn_pool_run(pool, work, &h);
        pn_pool_free(pool);
    } else if (h.n) {
        work(&h, 0);
    }
    x->no_memory |= atomic_load(&h.no_memory);
    x->cancelled |= pn_job_cancelled(&job);
    if (h.n && !x->cancelled)
        pn_job_report(&job, PN_FETCH_VERIFY, h.total, h.total); /* the first thread may have had nothing to do */
    for (size_t i = 0; i < h.n && !x->cancelled && !x->no_memory; i++)
        judge(x, &h.files[i]);
    free(h.files);
    pn_names_free(&names);
}
