/* The progress of a download or upload: see progress.h. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "cli/progress.h"

#include "base/size.h"
#include "cli/options.h"
#include "cli/say.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { MAX_CELLS = 40, TEXT_CELLS = 44 /* numbers after the bar */, MIN_COLUMNS = 20 };

void pn_progress_start(struct pn_progress_bar *bar, FILE *out, bool json)
{
    const char *term = getenv("TERM");
    bool dumb = term && strcmp(term, "dumb") == 0;
    *bar = (struct pn_progress_bar){.out = out, .terminal = isatty(fileno(out)) && !dumb, .phase = -1, .json = json};
}

static int columns(FILE *out)
{
    struct winsize size;
    if (ioctl(fileno(out), TIOCGWINSZ, &size) != 0 || size.ws_col < MIN_COLUMNS)
        return 80;
    return size.ws_col;
}

/* In eighths of a cell, so that the bar moves with every percent. */
static void draw_cells(FILE *out, double share, int cells)
{
    static const char *const eighth[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    int eighths = (int)(share * cells * 8);
    int full = eighths / 8, rest = eighths % 8;
    fputs("▕", out);
    for (int i = 0; i < cells; i++)
        fputs(i < full ? "█" : i == full && rest ? eighth[rest] : " ", out);
    fputs("▏", out);
}

static double share_of(uint64_t done, uint64_t total)
{
    return total ? (double)done / (double)total : 0;
}

static const char *verb_of(enum pn_fetch_phase phase)
{
    return phase == PN_FETCH_VERIFY ? "checking" : phase == PN_FETCH_UPLOAD ? "pushing" : "pulling";
}

/* "3m20s" */
static void put_time(FILE *out, double seconds)
{
    if (seconds < 0 || seconds > 360000)
        return;
    int s = (int)(seconds + 0.5);
    if (s >= 3600)
        fprintf(out, " %dh%02dm", s / 3600, s / 60 % 60);
    else if (s >= 60)
        fprintf(out, " %dm%02ds", s / 60, s % 60);
    else
        fprintf(out, " %ds", s);
}

static void end_line(struct pn_progress_bar *bar, const char *end)
{
    if (bar->open)
        fputs(end, bar->out);
    bar->open = false;
}

/* A bar per file, where the files are known: that of a complete one stays. */
static void show_bar(struct pn_progress_bar *bar, const struct pn_fetch_progress *p)
{
    bool file = p->digest && p->phase != PN_FETCH_VERIFY;
    uint64_t done = file ? p->blob_done : p->done, total = file ? p->blob_total : p->total;
    char what[13];
    snprintf(what, sizeof what, "%s", file ? p->digest : "");
    if (strcmp(what, bar->digest) != 0 || bar->phase != (int)p->phase)
        end_line(bar, bar->digest[0] ? "\n" : "\r\033[K");
    memcpy(bar->digest, what, sizeof what);
    double share = share_of(done, total);
    const char *name = file ? what : p->name;
    int cells = columns(bar->out) - TEXT_CELLS - (int)strlen(name);
    cells = cells > MAX_CELLS ? MAX_CELLS : cells;
    fprintf(bar->out, "\r%s %s %3d%% ", verb_of(p->phase), name, (int)(share * 100));
    if (cells > 0)
        draw_cells(bar->out, share, cells);
    fprintf(bar->out, " %s of %s", pn_size(done).text, pn_size(total).text);
    if (p->rate > 0 && done < total) {
        fprintf(bar->out, " %s/s", pn_size((uint64_t)p->rate).text);
        put_time(bar->out, (double)(total - done) / p->rate);
    }
    fputs("\033[K", bar->out);
    bar->open = true;
}

/* Four lines per download are enough for a log. */
static void show_line(struct pn_progress_bar *bar, const struct pn_fetch_progress *p)
{
    int quarter = (int)(share_of(p->done, p->total) * 4);
    if (p->phase == PN_FETCH_VERIFY && bar->phase != (int)p->phase)
        fprintf(bar->out, "checking the SHA-256 of %s\n", p->name);
    else if (p->phase != PN_FETCH_VERIFY && p->total && (bar->phase != (int)p->phase || quarter > bar->quarter))
        fprintf(bar->out, "%s %s: %d%% of %s\n", verb_of(p->phase), p->name, quarter * 25, pn_size(p->total).text);
    bar->quarter = quarter;
}

void pn_progress_put(struct pn_progress_bar *bar, json_t *v)
{
    char *text = v ? json_dumps(v, JSON_COMPACT) : NULL;
    if (text)
        fprintf(bar->out, "%s\n", text);
    free(text);
    json_decref(v);
}

void pn_progress_say(struct pn_progress_bar *bar, const char *status)
{
    if (!bar->json)
        return;
    pn_progress_put(bar, json_pack("{s:s}", "status", status));
    fflush(bar->out);
}

static void show_json(struct pn_progress_bar *bar, const struct pn_fetch_progress *p)
{
    if (p->phase == PN_FETCH_VERIFY) {
        if (!bar->verifying)
            pn_progress_say(bar, "verifying sha256 digest");
        bar->verifying = true;
        return;
    }
    char status[300];
    snprintf(status, sizeof status, "%s %.*s", verb_of(p->phase), p->digest ? 12 : 250,
             p->digest ? p->digest : p->name);
    json_t *v = json_pack("{s:s}", "status", status);
    if (p->digest)
        json_object_set_new(v, "digest", json_pack("s+", "sha256:", p->digest));
    json_object_set_new(v, "total", json_integer((json_int_t)(p->digest ? p->blob_total : p->total)));
    json_object_set_new(v, "completed", json_integer((json_int_t)(p->digest ? p->blob_done : p->done)));
    pn_progress_put(bar, v);
}

void pn_progress_show(void *user, const struct pn_fetch_progress *p)
{
    struct pn_progress_bar *bar = user;
    if (p->phase == PN_FETCH_WAIT) {
        if (bar->phase != PN_FETCH_WAIT && !bar->json)
            fprintf(bar->out, "another pantry is downloading; waiting for it\n");
        else if (bar->phase != PN_FETCH_WAIT)
            pn_progress_say(bar, "waiting for another download");
    } else if (p->phase == PN_FETCH_MANIFEST) {
        pn_progress_say(bar, bar->phase == PN_FETCH_UPLOAD ? "pushing manifest" : "writing manifest");
    } else if (p->phase == PN_FETCH_DONE) {
        pn_progress_end(bar);
    } else if (bar->json) {
        show_json(bar, p);
    } else if (bar->terminal) {
        show_bar(bar, p);
    } else {
        show_line(bar, p);
    }
    fflush(bar->out);
    bar->phase = (int)p->phase;
}

int pn_progress_finish(struct pn_progress_bar *bar, pantry_status result, const struct pantry_error *err)
{
    pn_progress_end(bar);
    if (result == PANTRY_OK) {
        pn_progress_say(bar, "success");
        return PN_EXIT_DONE;
    }
    if (bar->json) {
        pn_progress_put(bar, json_pack("{s:o}", "error", pn_cli_json_text(err->text, strlen(err->text))));
        fflush(bar->out);
    }
    return pn_cli_fail(err);
}

void pn_progress_end(struct pn_progress_bar *bar)
{
    end_line(bar, bar->digest[0] ? "\n" : "\r\033[K");
    fflush(bar->out);
}
