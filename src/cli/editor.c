/* Line editing with libedit: see editor.h. Characters are read here, not by libedit, so that Ctrl-C, Ctrl-Z and a
 * resized window are handled outside signal handlers. */
#define _POSIX_C_SOURCE  200809L
#define _DEFAULT_SOURCE  1
#define _DARWIN_C_SOURCE 1
#include "cli/editor.h"

#include "base/alloc.h"
#include "cli/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <histedit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

enum { HISTORY_SIZE = 1000, PASTE_LIMIT = 1 << 20 };

struct pn_editor {
    EditLine *line;
    History *history;
    char *history_path;
    bool keep_history;
    const char *prompt;
    struct pn_buf text;
    mbstate_t decode;
};

static struct pn_editor *of(EditLine *line)
{
    void *editor = NULL;
    el_get(line, EL_CLIENTDATA, &editor);
    return editor;
}

static char *prompt_text(EditLine *line)
{
    return (char *)(size_t)of(line)->prompt; /* libedit's prototype has no const */
}

/* ---- characters ---- */

/* Sets the terminal's modes again and redraws the line. */
static void resume(EditLine *line)
{
    el_set(line, EL_PREP_TERM, 0);
    pn_term_come_back();
    el_set(line, EL_PREP_TERM, 1);
    pn_term_bracketed_paste(false);
    pn_term_bracketed_paste(true);
    el_set(line, EL_REFRESH);
    pn_term_take_resumed();
}

static void stop(EditLine *line)
{
    el_set(line, EL_PREP_TERM, 0);
    pn_term_bracketed_paste(false);
    pn_term_stop_now();
    resume(line);
}

/* Reads one byte: 1, 0 at the end, -1 after Ctrl-C or an error. */
static int read_byte(EditLine *line, char *byte)
{
    for (;;) {
        if (pn_term_wait_input()) {
            ssize_t n = read(STDIN_FILENO, byte, 1);
            if (n >= 0)
                return (int)n;
            if (errno != EINTR)
                return -1;
        }
        if (pn_term_interrupted())
            return -1;
        if (pn_term_take_resize())
            el_resize(line);
        if (pn_term_take_stop())
            stop(line);
        else if (pn_term_take_resumed())
            resume(line);
    }
}

static int read_character(EditLine *line, wchar_t *out)
{
    struct pn_editor *editor = of(line);
    for (;;) {
        char byte;
        int n = read_byte(line, &byte);
        if (n <= 0)
            return n;
        size_t used = mbrtowc(out, &byte, 1, &editor->decode);
        if (used == (size_t)-2)
            continue;
        if (used == (size_t)-1) { /* not UTF-8: drop it */
            memset(&editor->decode, 0, sizeof editor->decode);
            continue;
        }
        return 1;
    }
}

/* After ESC[200~ everything up to ESC[201~ is text, newlines included. */
static unsigned char paste(EditLine *line, int key)
{
    static const wchar_t end[] = L"\033[201~";
    wchar_t *text = NULL, c;
    size_t len = 0, cap = 0, n_end = wcslen(end);
    (void)key;
    while (len < PASTE_LIMIT && el_wgetc(line, &c) == 1) {
        if (!pn_vec_reserve((void **)(void *)&text, &cap, len + 2, sizeof *text))
            break;
        text[len++] = c;
        if (len >= n_end && wmemcmp(text + len - n_end, end, n_end) == 0) {
            len -= n_end;
            break;
        }
    }
    size_t kept = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] == L'\r')
            text[kept++] = L'\n';
        else if (text[i] >= 0x20 || text[i] == L'\n' || text[i] == L'\t')
            text[kept++] = text[i];
    }
    if (kept) {
        text[kept] = L'\0';
        el_winsertstr(line, text);
    }
    free(text);
    return CC_REFRESH;
}

/* ---- history ---- */

static void save_history(struct pn_editor *editor)
{
    if (!editor->history_path || !editor->keep_history)
        return;
    HistEvent event;
    struct pn_buf temporary = {0};
    pn_buf_printf(&temporary, "%s.%ld", editor->history_path, (long)getpid());
    int file = temporary.failed ? -1 : open(temporary.data, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (file >= 0) {
        close(file); /* now the file is private, whatever mode libedit uses */
        if (history(editor->history, &event, H_SAVE, temporary.data) < 0 ||
            rename(temporary.data, editor->history_path) != 0)
            unlink(temporary.data);
    }
    pn_buf_free(&temporary);
}

void pn_editor_remember(struct pn_editor *editor, const char *text)
{
    HistEvent event;
    if (!editor->keep_history || !*text)
        return;
    history(editor->history, &event, H_ENTER, text);
    save_history(editor);
}

void pn_editor_keep_history(struct pn_editor *editor, bool keep)
{
    editor->keep_history = keep;
}

/* ---- life ---- */

struct pn_editor *pn_editor_new(const char *history_path)
{
    HistEvent event;
    struct pn_editor *editor = calloc(1, sizeof *editor);
    if (!editor)
        return NULL;
    pn_term_use_utf8();
    editor->keep_history = true;
    editor->prompt = "";
    if (history_path && !(editor->history_path = strdup(history_path)))
        goto fail;
    if (!(editor->history = history_init()) || !(editor->line = el_init("pantry", stdin, stdout, stderr)))
        goto fail;
    history(editor->history, &event, H_SETSIZE, HISTORY_SIZE);
    history(editor->history, &event, H_SETUNIQUE, 1);
    if (history_path)
        history(editor->history, &event, H_LOAD, history_path);
    el_set(editor->line, EL_CLIENTDATA, editor);
    el_set(editor->line, EL_PROMPT, prompt_text);
    el_set(editor->line, EL_EDITOR, "emacs");
    el_set(editor->line, EL_SIGNAL, 0);
    el_set(editor->line, EL_HIST, history, editor->history);
    el_set(editor->line, EL_GETCFN, read_character);
    el_set(editor->line, EL_ADDFN, "pantry-paste", "insert pasted text", paste);
    el_set(editor->line, EL_BIND, "\033[200~", "pantry-paste", NULL);
    el_set(editor->line, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_source(editor->line, NULL);
    return editor;
fail:
    pn_editor_free(editor);
    return NULL;
}

void pn_editor_free(struct pn_editor *editor)
{
    if (!editor)
        return;
    if (editor->line)
        el_end(editor->line);
    if (editor->history)
        history_end(editor->history);
    free(editor->history_path);
    pn_buf_free(&editor->text);
    free(editor);
}

enum pn_editor_event pn_editor_read(struct pn_editor *editor, const char *prompt, const char **text, bool *had_text)
{
    int n = 0;
    editor->prompt = prompt;
    memset(&editor->decode, 0, sizeof editor->decode);
    pn_term_take_interrupt();
    pn_term_come_back();
    pn_term_take_resumed();
    pn_term_watch_stop(true);
    pn_term_bracketed_paste(true);
    if (pn_term_take_resize())
        el_resize(editor->line);
    el_set(editor->line, EL_PREP_TERM,
           1); /* before the prompt, so that keys typed right after it are not echoed twice */
    const char *line = el_gets(editor->line, &n);
    pn_term_bracketed_paste(false);
    pn_term_watch_stop(false);
    *had_text = false;
    if (pn_term_take_interrupt()) {
        const LineInfo *info = el_line(editor->line);
        *had_text = info && info->lastchar > info->buffer;
        el_reset(editor->line);
        fputs("^C\n", stdout);
        fflush(stdout);
        return PN_EDITOR_INTERRUPT;
    }
    if (!line || n <= 0) {
        fputc('\n', stdout);
        return PN_EDITOR_END;
    }
    pn_buf_clear(&editor->text);
    pn_buf_append(&editor->text, line, (size_t)n);
    if (editor->text.failed)
        return PN_EDITOR_END;
    while (editor->text.len && editor->text.data[editor->text.len - 1] == '\n')
        editor->text.data[--editor->text.len] = '\0';
    *text = editor->text.data;
    return PN_EDITOR_LINE;
}
