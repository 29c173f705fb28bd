/* The progress bar of a download: see progress.h. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "cli/progress.h"

#include "base/size.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { MAX_CELLS = 40, TEXT_CELLS = 44 /* numbers after the bar */, MIN_COLUMNS = 20 };

void pn_progress_start(struct pn_progress_bar *bar, FILE *out)
{
    const char *term = getenv("TERM");
    bool dumb = term && strcmp(term, "dumb") == 0;
    *bar = (struct pn_progress_bar){.out = out, .terminal = isatty(fileno(out)) && !dumb, .phase = -1};
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

static double share_of(const struct pn_fetch_progress *p)
{
    return p->total ? (double)p->done / (double)p->total : 0;
}

static void show_bar(struct pn_progress_bar *bar, const struct pn_fetch_progress *p)
{
    const char *verb = p->phase == PN_FETCH_VERIFY ? "checking" : "pulling";
    double share = share_of(p);
    int cells = columns(bar->out) - TEXT_CELLS - (int)strlen(p->name);
    cells = cells > MAX_CELLS ? MAX_CELLS : cells;
    fprintf(bar->out, "\r%s %s %3d%% ", verb, p->name, (int)(share * 100));
    if (cells > 0)
        draw_cells(bar->out, share, cells);
    fprintf(bar->out, " %s of %s", pn_size(p->done).text, pn_size(p->total).text);
    if (p->rate > 0)
        fprintf(bar->out, " %s/s", pn_size((uint64_t)p->rate).text);
    fputs("\033[K", bar->out);
    fflush(bar->out);
    bar->open = true;
}

/* Four lines per download are enough for a log. */
static void show_line(struct pn_progress_bar *bar, const struct pn_fetch_progress *p)
{
    int quarter = (int)(share_of(p) * 4);
    if (p->phase == PN_FETCH_DOWNLOAD && (bar->phase != (int)p->phase || quarter > bar->quarter))
        fprintf(bar->out, "pulling %s: %d%% of %s\n", p->name, quarter * 25, pn_size(p->total).text);
    else if (p->phase == PN_FETCH_VERIFY && bar->phase != (int)p->phase)
        fprintf(bar->out, "checking the SHA-256 of %s\n", p->name);
    bar->quarter = quarter;
    fflush(bar->out);
}

void pn_progress_show(void *user, const struct pn_fetch_progress *p)
{
    struct pn_progress_bar *bar = user;
    if (p->phase == PN_FETCH_WAIT) {
        if (bar->phase != PN_FETCH_WAIT)
            fprintf(bar->out, "another pantry is downloading; waiting for it\n");
    } else if (p->phase == PN_FETCH_DONE) {
        pn_progress_end(bar);
    } else if (bar->terminal) {
        show_bar(bar, p);
    } else {
        show_line(bar, p);
    }
    bar->phase = (int)p->phase;
}

void pn_progress_end(struct pn_progress_bar *bar)
{
    if (bar->open)
        fputs("\r\033[K", bar->out);
    bar->open = false;
    fflush(bar->out);
}
