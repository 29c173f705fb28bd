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
    } else if (now - job->tick_ns < PERIOD_NS && done < total) {
        return;
    } else if (now > job->tick_ns) {
        double rate = (double)(done - job->tick_done) * 1e9 / (double)(now - job->tick_ns);
        p->rate = p->rate > 0 ? 0.9 * p->rate + 0.1 * rate : rate;
    }
    p->done = done;
    p->total = total;
    job->tick_ns = now;
    job->tick_done = done;
    if (job->options->progress)
        job->options->progress(job->options->user, p);
}

pantry_status pn_job_lock(struct pn_job *job, const char *home, int *lock, struct pantry_error *err)
{
    *lock = -1;
    char *path = pn_layout_path("%s/fetch/lock", home);
    if (!path)
        return pn_no_memory(err, job->name);
    pantry_status status;
    while (!(status = pn_layout_try_lock(path, lock, err)) && *lock < 0) {
        if (pn_job_cancelled(job)) {
            status = pn_job_stopped(err);
            break;
        }
        pn_job_report(job, PN_FETCH_WAIT, 0, 0);
        nanosleep(&(struct timespec){0, 100000000}, NULL);
    }
    free(path);
    return status;
}

bool pn_job_has_blob(struct pn_job *job, const char *path, uint64_t bytes, const char *sha256)
{
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != bytes)
        return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct pn_sha256 hash;
    if (fd < 0 || pn_sha256_start(&hash, NULL)) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    unsigned char chunk[1 << 15];
    uint64_t done = 0;
    for (ssize_t n; (n = read(fd, chunk, sizeof chunk)) != 0;) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 || pn_job_cancelled(job))
            break;
        pn_sha256_update(&hash, chunk, (size_t)n);
        pn_job_report(job, PN_FETCH_VERIFY, done += (uint64_t)n, bytes);
    }
    close(fd);
    char hex[PN_SHA256_HEX + 1];
    return !pn_sha256_finish(&hash, hex, NULL) && strcmp(hex, sha256) == 0;
}
