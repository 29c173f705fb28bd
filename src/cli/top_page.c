/* Pages of text: see top_page.h. */
#include "cli/top_page.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { LEVELS = 8, MAX_TEXT = 1024 };

/* What the page itself uses beyond ASCII. */
static const struct {
    const char *utf8, *ascii;
} glyphs[] = {{"·", "-"}, {"°", ""},  {"…", "."}, {"█", "#"}, {"░", "."}, {"▁", "."}, {"▂", "."},
              {"▃", ":"}, {"▄", ":"}, {"▅", "="}, {"▆", "="}, {"▇", "#"}, {"≥", ">"}, {"≈", "~"}};
static const char *const levels[LEVELS + 1] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};

bool pn_page_new(struct pn_page *page)
{
    *page = (struct pn_page){.line = calloc(PN_PAGE_LINES, sizeof *page->line)};
    return page->line != NULL;
}

void pn_page_free(struct pn_page *page)
{
    free(page->line);
    page->line = NULL;
}

static void start_line(struct pn_page *page)
{
    struct pn_page_line *l = &page->line[page->n - 1];
    l->bytes = l->columns = 0;
    l->text[0] = '\0';
}

void pn_page_clear(struct pn_page *page, int width, bool ascii)
{
    page->width = width;
    page->ascii = ascii;
    page->n = 1;
    start_line(page);
}

/* One character, which is one column wide. */
static void put_glyph(struct pn_page *page, enum pn_tone tone, const char *bytes, int n)
{
    struct pn_page_line *l = &page->line[page->n - 1];
    if (l->columns >= page->width || l->bytes + n >= PN_PAGE_BYTES)
        return;
    memcpy(l->text + l->bytes, bytes, (size_t)n);
    memset(l->tone + l->bytes, (int)tone, (size_t)n);
    l->bytes += n;
    l->text[l->bytes] = '\0';
    l->columns++;
}

static int length_at(const char *p)
{
    int n = 1;
    while ((p[n] & 0xc0) == 0x80)
        n++;
    return n;
}

static void put_text(struct pn_page *page, enum pn_tone tone, const char *text)
{
    for (int n; *text; text += n) {
        n = length_at(text);
        const char *as = text;
        int as_n = n;
        if (page->ascii && n > 1)
            for (size_t i = 0; i < sizeof glyphs / sizeof *glyphs; i++)
                if (strlen(glyphs[i].utf8) == (size_t)n && memcmp(glyphs[i].utf8, text, (size_t)n) == 0) {
                    as = glyphs[i].ascii;
                    as_n = (int)strlen(as);
                }
        if (as_n)
            put_glyph(page, tone, as, as_n);
    }
}

void pn_page_put(struct pn_page *page, enum pn_tone tone, const char *format, ...)
{
    char text[MAX_TEXT];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    put_text(page, tone, text);
}

void pn_page_put_name(struct pn_page *page, enum pn_tone tone, const char *text, int columns)
{
    int n = 0;
    for (; *text && (!columns || n < columns); n++) {
        char c = *text >= ' ' && *text <= '~' ? *text : '?';
        text += length_at(text);
        if (columns && n == columns - 1 && *text)
            put_text(page, tone, "…");
        else
            put_glyph(page, tone, &c, 1);
    }
    for (; n < columns; n++)
        put_glyph(page, tone, " ", 1);
}

void pn_page_to(struct pn_page *page, int column)
{
    while (page->line[page->n - 1].columns < column && pn_page_left(page) > 0)
        put_glyph(page, PN_TONE_PLAIN, " ", 1);
}

void pn_page_next(struct pn_page *page)
{
    if (page->n < PN_PAGE_LINES)
        page->n++;
    start_line(page);
}

int pn_page_left(const struct pn_page *page)
{
    return page->width - page->line[page->n - 1].columns;
}

enum pn_tone pn_tone_of(double share)
{
    return share >= 0.85 ? PN_TONE_HIGH : share >= 0.6 ? PN_TONE_MIDDLE : PN_TONE_LOW;
}

void pn_page_bar(struct pn_page *page, double share, int columns)
{
    int full = isnan(share) ? 0 : (int)(fmin(fmax(share, 0), 1) * columns + 0.5);
    for (int i = 0; i < columns; i++)
        put_text(page, i < full ? pn_tone_of(share) : PN_TONE_DIM, i < full ? "█" : "░");
}

/* The value `back` steps before the newest; NAN: there was none. */
static double back(const struct pn_history *h, int steps)
{
    return steps < h->n ? (double)h->at[(h->next - 1 - steps + 2 * PN_HISTORY) % PN_HISTORY] : NAN;
}

/* Eighths of a line in a chart of several, counted from the lowest. */
static void put_column(struct pn_page *page, double value, double most, int lines, int line)
{
    double share = most > 0 ? fmin(fmax(value / most, 0), 1) : 0;
    int eighths = isnan(value) ? 0 : (int)ceil(share * (double)(lines * LEVELS) - 1e-9) - line * LEVELS;
    eighths = eighths < 0 ? 0 : eighths > LEVELS ? LEVELS : eighths;
    put_text(page, pn_tone_of(share), levels[eighths]);
}

void pn_page_spark(struct pn_page *page, const struct pn_history *history, double most, int columns)
{
    for (int i = columns - 1; i >= 0; i--)
        put_column(page, back(history, i), most, 1, 0);
}

void pn_page_chart(struct pn_page *page, const struct pn_history *history, double most, int indent, int lines)
{
    for (int line = lines - 1; line >= 0; line--) {
        pn_page_to(page, indent);
        for (int i = pn_page_left(page) - 1; i >= 0; i--)
            put_column(page, back(history, i), most, lines, line);
        pn_page_next(page);
    }
}

void pn_history_add(struct pn_history *h, double value)
{
    h->at[h->next] = (float)value;
    h->next = (h->next + 1) % PN_HISTORY;
    h->n += h->n < PN_HISTORY;
}

double pn_history_most(const struct pn_history *h, double least)
{
    double most = least;
    for (int i = 0; i < h->n; i++)
        most = back(h, i) > most ? back(h, i) : most;
    return most;
}

void pn_page_print(const struct pn_page *page, FILE *out)
{
    int n = page->n;
    while (n && !page->line[n - 1].bytes)
        n--;
    for (int i = 0; i < n; i++) {
        const struct pn_page_line *l = &page->line[i];
        int end = l->bytes;
        while (end && l->text[end - 1] == ' ')
            end--;
        fprintf(out, "%.*s\n", end, l->text);
    }
}
