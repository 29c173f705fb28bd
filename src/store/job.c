/* What long calls of the store share: progress, cancelling, the lock, and blobs that may be there already. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/internal.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct pn_job pn_job_new(const char *name, const struct pn_fetch_options *options)
{
    static const struct pn_fetch_options nothing;
    return (struct pn_job){.name = name, .options = options ? options : &nothing};
}

bool pn_job_cancelled(const struct pn_job *job)
{
    return job->options->cancel && pantry_cancel_is_set(job->options->cancel);
}

pantry_status pn_job_stopped(struct pantry_error *err)
{
    return pn_fail(err, PANTRY_CANCELLED, "the download was stopped");
}

void pn_job_report(struct pn_job *job, enum pn_fetch_phase phase, uint64_t done, uint64_t total)
{
    enum { PERIOD_NS = 100000000 };
    struct pn_fetch_progress *p = &job->progress;
    uint64_t now = pn_clock_ns();
    bool new_phase = p->phase != phase || p->total == 0;
    if (new_phase) {
        *p = (struct pn_fetch_progress){.phase = phase, .name = job->name};
        job->tick_done = 0;
    } else if (now - job->tick_ns < PERIOD_NS && done < total && (!job->digest || job->blob_done < job->blob_total)) {
        return;
    } else if (now > job->tick_ns) {
        double rate = (double)(done - job->tick_done) * 1e9 / (double)(now - job->tick_ns);
        p->rate = p->rate > 0 ? 0.9 * p->rate + 0.1 * rate : rate;
    }
    p->done = done;
    p->total = total;
    p->digest = job->digest;
    p->blob_done = job->blob_done;
    p->blob_total = job->blob_total;
    job->tick_ns = now;
    job->tick_done = done;
    if (job->options->progress)
        job->options->progress(job->options->user, p);
}

void pn_job_blob(struct pn_job *job, const char *digest, uint64_t done, uint64_t total)
{
    job->digest = digest;
    job->blob_done = done;
    job->blob_total = total;
}

static void nap(void)
{
    nanosleep(&(struct timespec){0, 100000000}, NULL);
}

pantry_status pn_job_lock(struct pn_job *job, const char *store, const char *key, struct pn_lock *lock,
                          struct pantry_error *err)
{
    pantry_status status;
    while (!(status = pn_lock_try(store, key, lock, err)) && lock->fd < 0) {
        if (pn_job_cancelled(job))
            return pn_job_stopped(err);
        pn_job_report(job, PN_FETCH_WAIT, 0, 0);
        nap();
    }
    return status;
}

pantry_status pn_job_lock_store(struct pn_job *job, const char *store, int *lock, struct pantry_error *err)
{
    *lock = -1;
    char *path = pn_layout_path("%s/fetch/lock", store);
    pantry_status status = path ? PANTRY_OK : pn_no_memory(err, job->name);
    while (!status && !(status = pn_layout_try_lock(path, lock, err)) && *lock < 0) {
        if (pn_job_cancelled(job))
            status = pn_job_stopped(err);
        else
            nap();
    }
    free(path);
    return status;
}

pantry_status pn_job_keep(struct pn_job *job, const char *store, struct pn_lock *lock, const struct pn_digest *blobs,
                          size_t n, struct pantry_error *err)
{
    int whole = -1;
    pantry_status status = pn_job_lock_store(job, store, &whole, err);
    if (!status)
        status = pn_lock_keep(lock, blobs, n, err);
    if (whole >= 0)
        close(whole);
    return status;
}

pantry_status pn_job_hash(struct pn_job *job, const char *path, uint64_t bytes, char hex[PN_SHA256_HEX + 1],
                          struct pantry_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct pn_sha256 hash;
    pantry_status status = PANTRY_OK;
    if (fd < 0)
        return pn_fail(err, PANTRY_IO, "%s: %s", path, strerror(errno));
    if ((status = pn_sha256_start(&hash, err))) {
        close(fd);
        return status;
    }
    unsigned char chunk[1 << 15];
    uint64_t done = 0;
    for (ssize_t n; (n = read(fd, chunk, sizeof chunk)) != 0;) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            status = pn_fail(err, PANTRY_IO, "%s: %s", path, strerror(errno));
        else if (pn_job_cancelled(job))
            status = pn_job_stopped(err);
        if (status)
            break;
        pn_sha256_update(&hash, chunk, (size_t)n);
        pn_job_report(job, PN_FETCH_VERIFY, done += (uint64_t)n, bytes);
    }
    close(fd);
    pantry_status end = pn_sha256_finish(&hash, hex, status ? NULL : err);
    return status ? status : end;
}

bool pn_job_has_blob(struct pn_job *job, const char *path, uint64_t bytes, const char *sha256)
{
    struct stat st;
    char hex[PN_SHA256_HEX + 1];
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == bytes &&
           pn_job_hash(job, path, bytes, hex, NULL) == PANTRY_OK && strcmp(hex, sha256) == 0;
}
