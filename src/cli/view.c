/* An answer on the screen: see view.h. */
#include "cli/view.h"

#include "cli/terminal.h"

#include <string.h>
#include <utf8proc.h>

static const char open_tag[] = "<think>", close_tag[] = "</think>";

void pn_view_start(struct pn_view *view, FILE *out, bool wrap, bool thinking)
{
    *view = (struct pn_view){.out = out, .plain = !pn_term_is(out), .line_start = true, .thinking = thinking};
    view->wrap = wrap && pn_term_moves(out);
    view->width = pn_term_width(out) - 1; /* the last column stays free: what happens there differs by terminal */
    if (view->width < 20)
        view->wrap = false;
    if (thinking)
        fputs(pn_term_style(out, PN_STYLE_DIM), out);
}

static void new_line(struct pn_view *view)
{
    fputc('\n', view->out);
    view->column = 0;
}

static void forget_word(struct pn_view *view)
{
    pn_buf_clear(&view->word);
    view->word_width = 0;
    view->word_fixed = false;
}

/* Where a letter's width is beyond doubt on every terminal. */
static bool sure_width(utf8proc_int32_t c)
{
    return c < 0x300 || (c >= 0x370 && c < 0x530 && (c < 0x483 || c > 0x489)) || (c >= 0x2010 && c <= 0x2027);
}

/* Moves the word at the end of the full line to the next one, or just goes there. */
static void carry_word(struct pn_view *view, int extra)
{
    bool whole_line = view->word_width >= view->column;
    if (view->word_width && !view->word_fixed && !whole_line && view->word_width + extra <= view->width) {
        fprintf(view->out, "\033[%dD\033[K\n", view->word_width);
        fwrite(view->word.data, 1, view->word.len, view->out);
        view->column = view->word_width;
    } else {
        new_line(view);
        forget_word(view);
    }
}

static void put_character(struct pn_view *view, const char *bytes, size_t n, utf8proc_int32_t c)
{
    int width = utf8proc_charwidth(c);
    if (c == '\t')
        width = 8 - view->column % 8;
    if (view->wrap && !view->code && view->column + width > view->width) {
        if (c == ' ') { /* the line break stands for it */
            new_line(view);
            forget_word(view);
            return;
        }
        carry_word(view, width);
    }
    fwrite(bytes, 1, n, view->out);
    view->column += width;
    if (c == ' ' || c == '\t' || c == '-' || width > 1) { /* a line may be broken after these */
        forget_word(view);
        return;
    }
    pn_buf_append(&view->word, bytes, n);
    view->word_width += width;
    if (!sure_width(c))
        view->word_fixed = true;
}

/* Follows ``` at the start of a line. */
static void watch_fence(struct pn_view *view, utf8proc_int32_t c)
{
    if (c == '\n') {
        view->line_start = true;
        view->ticks = 0;
    } else if (view->line_start && c == '`') {
        if (++view->ticks == 3)
            view->code = !view->code;
    } else if (c != ' ') {
        view->line_start = false;
    }
}

static void show(struct pn_view *view, const char *text, size_t len)
{
    if (view->plain) {
        fwrite(text, 1, len, view->out);
        if (len)
            view->column = text[len - 1] != '\n';
        return;
    }
    for (size_t i = 0; i < len;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(len - i), &c);
        if (n <= 0 || (c < 0x20 && c != '\n' && c != '\t') || (c >= 0x7F && c < 0xA0)) {
            put_character(view, "?", 1, '?'); /* would steer the terminal */
        } else if (c == '\n') {
            new_line(view);
            forget_word(view);
        } else {
            put_character(view, text + i, (size_t)n, c);
        }
        watch_fence(view, n > 0 ? c : '?');
        i += n > 0 ? (size_t)n : 1;
    }
}

static void take(struct pn_view *view, const char *text, size_t len)
{
    pn_buf_append(view->thinking ? &view->reasoning : &view->answer, text, len);
    show(view, text, len);
}

/* A tag is shown dim with the reasoning, and belongs to neither text. */
static void show_tag(struct pn_view *view, bool opens)
{
    if (opens)
        fputs(pn_term_style(view->out, PN_STYLE_DIM), view->out);
    show(view, view->tag.data, view->tag.len);
    if (!opens)
        fputs(pn_term_style(view->out, PN_STYLE_OFF), view->out);
    view->thinking = opens;
    pn_buf_clear(&view->tag);
}

static bool has_text(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] != ' ' && text[i] != '\n')
            return true;
    return false;
}

static void take_tag(struct pn_view *view)
{
    if (view->tag.len)
        take(view, view->tag.data, view->tag.len);
    pn_buf_clear(&view->tag);
}

/* A tag may come in pieces: its beginning is held back until the rest tells; '<' occurs only at its start, so what
 * does not match is no tag as a whole. The opening tag counts only before any text, the closing one while thinking. */
void pn_view_put(struct pn_view *view, const char *text, size_t len)
{
    for (size_t i = 0; i < len;) {
        const char *tag = view->thinking ? close_tag : view->seen_text ? NULL : open_tag;
        if (view->tag.len && tag && text[i] == tag[view->tag.len]) {
            pn_buf_putc(&view->tag, text[i++]);
            if (view->tag.len == strlen(tag))
                show_tag(view, tag == open_tag);
            continue;
        }
        if (view->tag.len)
            view->seen_text = true;
        take_tag(view);
        const char *next = memchr(text + i, '<', len - i);
        size_t n = next ? (size_t)(next - text) - i : len - i;
        if (!view->thinking && has_text(text + i, n))
            view->seen_text = true;
        if (n)
            take(view, text + i, n);
        i += n;
        if (!next)
            break;
        pn_buf_putc(&view->tag, text[i++]);
    }
    if (!view->thinking && view->seen_text)
        take_tag(view);
    fflush(view->out);
}

void pn_view_end(struct pn_view *view)
{
    take_tag(view);
    if (view->thinking)
        fputs(pn_term_style(view->out, PN_STYLE_OFF), view->out);
    if (view->column)
        fputc('\n', view->out);
    fflush(view->out);
}

void pn_view_free(struct pn_view *view)
{
    pn_buf_free(&view->word);
    pn_buf_free(&view->tag);
    pn_buf_free(&view->answer);
    pn_buf_free(&view->reasoning);
}
