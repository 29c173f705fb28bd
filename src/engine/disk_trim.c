/* Keeping the folder of the prefix cache small: see disk_folder.h and disk_trim.h. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "engine/disk_trim.h"

#include "base/alloc.h"
#include "engine/disk_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static const uint64_t default_limit = (uint64_t)8 << 30; /* but at most a tenth of what is free */
static const char lock_name[] = "lock";
enum { MAX_FILES = 1 << 17, PARTS = 32 }; /* the limit is checked after each part of it */

/* ---- usefulness ---- */

static int compare_keys(const struct pn_disk_key *a, const struct pn_disk_key *b)
{
    return memcmp(a->bytes, b->bytes, PN_DISK_KEY);
}

static int by_key(const void *a, const void *b)
{
    const struct pn_disk_entry *const *x = a, *const *y = b;
    return compare_keys(&(*x)->block.key, &(*y)->block.key);
}

static int by_n(const void *a, const void *b)
{
    const struct pn_disk_entry *const *x = a, *const *y = b;
    int n = (*x)->block.n, m = (*y)->block.n;
    return n != m ? (n > m) - (n < m) : (int)(*x)->block.kind - (int)(*y)->block.kind;
}

static int by_usefulness(const void *a, const void *b)
{
    const struct pn_disk_entry *x = a, *y = b;
    if (x->orphan != y->orphan)
        return x->orphan ? -1 : 1;
    if (x->used != y->used)
        return x->used < y->used ? -1 : 1;
    if (x->block.n != y->block.n)
        return x->block.n > y->block.n ? -1 : 1;
    return (int)y->block.kind - (int)x->block.kind;
}

/* The pages of layers that see everything, sorted by key. */
struct pages {
    struct pn_disk_entry **entry;
    size_t n;
};

static struct pn_disk_entry *find(const struct pages *p, const struct pn_disk_key *key)
{
    size_t low = 0, high = p->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_keys(&p->entry[middle]->block.key, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < p->n && pn_disk_key_equal(&p->entry[low]->block.key, key) ? p->entry[low] : NULL;
}

/* What an entry needs: a page the one before it, anything else the page of its own tokens. NULL: nothing. */
static const struct pn_disk_key *needs(const struct pn_disk_entry *e)
{
    if (e->block.kind != PN_DISK_PAGE)
        return &e->block.key;
    return e->block.n > PN_PAGE_TOKENS ? &e->block.parent : NULL;
}

bool pn_disk_rank(struct pn_disk_entry *entries, size_t n)
{
    struct pages pages = {calloc(n + 1, sizeof *pages.entry), 0};
    struct pn_disk_entry **ordered = calloc(n + 1, sizeof *ordered);
    bool ok = pages.entry && ordered;
    for (size_t i = 0; ok && i < n; i++) {
        ordered[i] = &entries[i];
        if (entries[i].block.kind == PN_DISK_PAGE)
            pages.entry[pages.n++] = &entries[i];
    }
    if (ok && n) {
        qsort(pages.entry, pages.n, sizeof *pages.entry, by_key);
        qsort(ordered, n, sizeof *ordered, by_n);
    }
    for (size_t i = 0; ok && i < n; i++) { /* from the beginnings on */
        const struct pn_disk_key *key = needs(ordered[i]);
        const struct pn_disk_entry *before = key ? find(&pages, key) : NULL;
        ordered[i]->orphan = key && (!before || before->orphan);
    }
    for (size_t i = n; ok && i-- > 0;) { /* from the ends on */
        const struct pn_disk_key *key = ordered[i]->block.kind == PN_DISK_WINDOW ? NULL : needs(ordered[i]);
        struct pn_disk_entry *before = key ? find(&pages, key) : NULL;
        if (before && before->used < ordered[i]->used)
            before->used = ordered[i]->used;
    }
    free(pages.entry);
    free(ordered);
    if (ok && n)
        qsort(entries, n, sizeof *entries, by_usefulness);
    return ok;
}

/* ---- scanning ---- */

struct entries {
    struct pn_disk_entry *data;
    size_t len, cap;
    uint64_t bytes;
};

static int64_t last_use(const struct stat *st)
{
#ifdef __APPLE__
    struct timespec t = st->st_mtimespec;
#else
    struct timespec t = st->st_mtim;
#endif
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Removes a temporary file whose owner has died. */
static void remove_abandoned(int folder, const char *name)
{
    int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
        unlinkat(folder, name, 0);
    if (fd >= 0)
        close(fd);
}

/* Collects the files of the cache. */
static pantry_status scan(const struct pn_disk_folder *f, struct entries *out, struct pantry_error *err)
{
    int fd = openat(f->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    pantry_status status = PANTRY_OK;
    if (!dir) {
        status = pn_fail(err, PANTRY_IO, "%s: %s", f->path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return status;
    }
    for (struct dirent *d; !status && (d = readdir(dir));) {
        struct pn_disk_entry e = {0};
        struct stat st;
        if (strncmp(d->d_name, PN_DISK_TEMPORARY, sizeof PN_DISK_TEMPORARY - 1) == 0)
            remove_abandoned(f->fd, d->d_name);
        if (!pn_disk_name_parse(d->d_name, &e.block) || fstatat(f->fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISREG(st.st_mode))
            continue;
        e.bytes = (uint64_t)st.st_blocks * 512;
        e.bytes = e.bytes > (uint64_t)st.st_size ? e.bytes : (uint64_t)st.st_size;
        e.used = last_use(&st);
        out->bytes += e.bytes;
        if (!pn_vec_push(out, e))
            status = pn_no_memory(err, f->path);
    }
    closedir(dir);
    return status;
}

/* ---- the limit ---- */

static uint64_t limit_of(const struct pn_disk_folder *f, uint64_t used)
{
    struct statvfs st;
    if (f->wanted)
        return f->wanted;
    if (fstatvfs(f->fd, &st) != 0)
        return default_limit;
    uint64_t tenth = ((uint64_t)st.f_bavail * st.f_frsize + used) / 10;
    return tenth < default_limit ? tenth : default_limit;
}

static void remove_entry(const struct pn_disk_folder *f, struct pn_disk_entry *e, struct pn_disk_usage *u)
{
    pn_disk_folder_remove(f, &e->block);
    u->files--;
    u->bytes -= e->bytes;
    u->removed++;
    u->removed_bytes += e->bytes;
}

/* Removes the least useful files until at most `limit` bytes and MAX_FILES are left. Some room on top of that makes the
 * next time come later. */
static pantry_status shrink(const struct pn_disk_folder *f, struct entries *all, uint64_t limit,
                            struct pn_disk_usage *u, struct pantry_error *err)
{
    *u = (struct pn_disk_usage){.files = all->len, .bytes = all->bytes};
    if (u->bytes <= limit && u->files <= MAX_FILES)
        return PANTRY_OK;
    if (!pn_disk_rank(all->data, all->len))
        return pn_no_memory(err, f->path);
    for (size_t i = 0; i < all->len && (u->bytes > limit / 8 * 7 || u->files > MAX_FILES / 8 * 7); i++)
        remove_entry(f, &all->data[i], u);
    return PANTRY_OK;
}

/* Takes the lock of the folder. PANTRY_OK with *lock -1: another process has it. */
static pantry_status take_lock(const struct pn_disk_folder *f, int *lock, struct pantry_error *err)
{
    *lock = openat(f->fd, lock_name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (*lock < 0)
        return pn_fail(err, PANTRY_IO, "%s/%s: %s", f->path, lock_name, strerror(errno));
    if (flock(*lock, LOCK_EX | LOCK_NB) == 0)
        return PANTRY_OK;
    close(*lock);
    *lock = -1;
    return PANTRY_OK;
}

pantry_status pn_disk_folder_trim(struct pn_disk_folder *f, struct pn_disk_usage *usage, struct pantry_error *err)
{
    struct entries all = {0};
    int lock;
    *usage = (struct pn_disk_usage){0};
    pantry_status status = take_lock(f, &lock, err);
    if (status || lock < 0)
        return status;
    if (!(status = scan(f, &all, err))) {
        f->limit = limit_of(f, all.bytes);
        status = shrink(f, &all, f->limit, usage, err);
        f->checked = true;
        f->unchecked = 0;
    }
    free(all.data);
    close(lock);
    return status;
}

void pn_disk_folder_keep_limit(struct pn_disk_folder *f, struct pn_disk_usage *usage)
{
    *usage = (struct pn_disk_usage){0};
    if (!f->checked || f->unchecked > f->limit / PARTS)
        pn_disk_folder_trim(f, usage, NULL);
}

pantry_status pn_disk_folder_clear(struct pn_disk_folder *f, struct pn_disk_usage *usage, struct pantry_error *err)
{
    struct entries all = {0};
    pantry_status status = scan(f, &all, err);
    *usage = (struct pn_disk_usage){.files = all.len, .bytes = all.bytes};
    for (size_t i = 0; i < all.len && !status; i++)
        remove_entry(f, &all.data[i], usage);
    free(all.data);
    return status;
}
