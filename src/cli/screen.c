/* An answer on the screen: see screen.h. */
#include "cli/screen.h"

#include "cli/terminal.h"

#include <string.h>
#include <utf8proc.h>

static const char open_tag[] = "<think>", close_tag[] = "</think>";

void pn_screen_start(struct pn_screen *screen, FILE *out, bool wrap, bool thinking)
{
    *screen = (struct pn_screen){.out = out, .plain = !pn_term_is(out), .line_start = true, .thinking = thinking};
    screen->wrap = wrap && pn_term_moves(out);
    screen->width = pn_term_width(out) - 1; /* the last column stays free: terminals differ there */
    if (screen->width < 20)
        screen->wrap = false;
    if (thinking)
        fputs(pn_term_style(out, PN_STYLE_DIM), out);
}

static void new_line(struct pn_screen *screen)
{
    fputc('\n', screen->out);
    screen->column = 0;
}

static void forget_word(struct pn_screen *screen)
{
    pn_buf_clear(&screen->word);
    screen->word_width = 0;
    screen->word_fixed = false;
}

/* Characters whose width is the same on every terminal. */
static bool sure_width(utf8proc_int32_t c)
{
    return c < 0x300 || (c >= 0x370 && c < 0x530 && (c < 0x483 || c > 0x489)) || (c >= 0x2010 && c <= 0x2027);
}

/* Moves the word at the end of the full line to the next line, or starts the next line. */
static void carry_word(struct pn_screen *screen, int extra)
{
    bool whole_line = screen->word_width >= screen->column;
    if (screen->word_width && !screen->word_fixed && !whole_line && screen->word_width + extra <= screen->width) {
        fprintf(screen->out, "\033[%dD\033[K\n", screen->word_width);
        fwrite(screen->word.data, 1, screen->word.len, screen->out);
        screen->column = screen->word_width;
    } else {
        new_line(screen);
        forget_word(screen);
    }
}

static void put_character(struct pn_screen *screen, const char *bytes, size_t n, utf8proc_int32_t c)
{
    int width = utf8proc_charwidth(c);
    if (c == '\t')
        width = 8 - screen->column % 8;
    if (screen->wrap && !screen->code && screen->column + width > screen->width) {
        if (c == ' ') { /* the line break replaces it */
            new_line(screen);
            forget_word(screen);
            return;
        }
        carry_word(screen, width);
    }
    fwrite(bytes, 1, n, screen->out);
    screen->column += width;
    if (c == ' ' || c == '\t' || c == '-' || width > 1) { /* a line may be broken after these */
        forget_word(screen);
        return;
    }
    pn_buf_append(&screen->word, bytes, n);
    screen->word_width += width;
    if (!sure_width(c))
        screen->word_fixed = true;
}

/* Follows ``` at the start of a line. */
static void watch_fence(struct pn_screen *screen, utf8proc_int32_t c)
{
    if (c == '\n') {
        screen->line_start = true;
        screen->ticks = 0;
    } else if (screen->line_start && c == '`') {
        if (++screen->ticks == 3)
            screen->code = !screen->code;
    } else if (c != ' ') {
        screen->line_start = false;
    }
}

static void show(struct pn_screen *screen, const char *text, size_t len)
{
    if (screen->plain) {
        fwrite(text, 1, len, screen->out);
        if (len)
            screen->column = text[len - 1] != '\n';
        return;
    }
    for (size_t i = 0; i < len;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(len - i), &c);
        if (n <= 0 || (c < 0x20 && c != '\n' && c != '\t') || (c >= 0x7F && c < 0xA0)) {
            put_character(screen, "?", 1, '?'); /* would control the terminal */
        } else if (c == '\n') {
            new_line(screen);
            forget_word(screen);
        } else {
            put_character(screen, text + i, (size_t)n, c);
        }
        watch_fence(screen, n > 0 ? c : '?');
        i += n > 0 ? (size_t)n : 1;
    }
}

static void take(struct pn_screen *screen, const char *text, size_t len)
{
    pn_buf_append(screen->thinking ? &screen->reasoning : &screen->answer, text, len);
    show(screen, text, len);
}

/* A tag is shown dim like the reasoning, and belongs to neither text. */
static void show_tag(struct pn_screen *screen, bool opens)
{
    if (opens)
        fputs(pn_term_style(screen->out, PN_STYLE_DIM), screen->out);
    show(screen, screen->tag.data, screen->tag.len);
    if (!opens)
        fputs(pn_term_style(screen->out, PN_STYLE_OFF), screen->out);
    screen->thinking = opens;
    pn_buf_clear(&screen->tag);
}

static bool has_text(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] != ' ' && text[i] != '\n')
            return true;
    return false;
}

static void take_tag(struct pn_screen *screen)
{
    if (screen->tag.len)
        take(screen, screen->tag.data, screen->tag.len);
    pn_buf_clear(&screen->tag);
}

/* A tag may come in pieces: its beginning is held back until it matches or not. '<' occurs only at the start, so a
 * mismatch means that no part is a tag. The opening tag counts only before any text, the closing one while thinking. */
void pn_screen_put(struct pn_screen *screen, const char *text, size_t len)
{
    for (size_t i = 0; i < len;) {
        const char *tag = screen->thinking ? close_tag : screen->seen_text ? NULL : open_tag;
        if (screen->tag.len && tag && text[i] == tag[screen->tag.len]) {
            pn_buf_putc(&screen->tag, text[i++]);
            if (screen->tag.len == strlen(tag))
                show_tag(screen, tag == open_tag);
            continue;
        }
        if (screen->tag.len)
            screen->seen_text = true;
        take_tag(screen);
        const char *next = memchr(text + i, '<', len - i);
        size_t n = next ? (size_t)(next - text) - i : len - i;
        if (!screen->thinking && has_text(text + i, n))
            screen->seen_text = true;
        if (n)
            take(screen, text + i, n);
        i += n;
        if (!next)
            break;
        pn_buf_putc(&screen->tag, text[i++]);
    }
    if (!screen->thinking && screen->seen_text)
        take_tag(screen);
    fflush(screen->out);
}

void pn_screen_end(struct pn_screen *screen)
{
    take_tag(screen);
    if (screen->thinking)
        fputs(pn_term_style(screen->out, PN_STYLE_OFF), screen->out);
    if (screen->column)
        fputc('\n', screen->out);
    fflush(screen->out);
}

void pn_screen_free(struct pn_screen *screen)
{
    pn_buf_free(&screen->word);
    pn_buf_free(&screen->tag);
    pn_buf_free(&screen->answer);
    pn_buf_free(&screen->reasoning);
}
