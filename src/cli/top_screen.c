/* The screen of `pantry top`: see top_screen.h.
 *
 * Handlers only write the number of the signal into a pipe, which the wait for keys reads too. So no signal is missed,
 * and curses is only called outside of handlers. A second signal of a kind ends the program at once, for a terminal
 * that takes no more output. */
#define _DEFAULT_SOURCE  1
#define _DARWIN_C_SOURCE 1
#define _XOPEN_SOURCE    700
#include "cli/top_screen.h"

#include "base/clock.h"

#include <curses.h>
#include <errno.h>
#include <fcntl.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int pipes[2] = {-1, -1};
static volatile sig_atomic_t ended_by; /* the signal that wants the end */
static SCREEN *screen;
static bool ascii;

/* ---- signals ---- */

static void on_signal(int sig)
{
    int error = errno;
    char c = sig == SIGWINCH ? 'w' : 'e';
    if (sig != SIGWINCH)
        ended_by = sig;
    ssize_t n = write(pipes[1], &c, 1);
    (void)n;
    errno = error;
}

static void handle(int sig, int flags)
{
    struct sigaction action, before;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = flags;
    sigemptyset(&action.sa_mask);
    if (sigaction(sig, NULL, &before) == 0 && before.sa_handler == SIG_IGN) /* nohup */
        return;
    sigaction(sig, &action, NULL);
}

void pn_top_watch_signals(void)
{
    static const int ends[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    if (pipes[0] >= 0 || pipe(pipes) != 0)
        return;
    for (int i = 0; i < 2; i++) {
        fcntl(pipes[i], F_SETFL, O_NONBLOCK);
        fcntl(pipes[i], F_SETFD, FD_CLOEXEC);
    }
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        handle(ends[i], (int)SA_RESETHAND);
}

static int milliseconds_until(uint64_t until)
{
    uint64_t now = pn_clock_ns();
    uint64_t ms = until > now ? (until - now + 999999) / 1000000 : 0;
    return ms > 1000000000 ? 1000000000 : (int)ms;
}

bool pn_top_sleep(uint64_t until)
{
    while (!ended_by && pn_clock_ns() < until) {
        struct pollfd in = {.fd = pipes[0], .events = POLLIN};
        poll(&in, pipes[0] >= 0 ? 1 : 0, milliseconds_until(until));
    }
    return !ended_by;
}

void pn_top_screen_end(void)
{
    int sig = ended_by;
    if (!sig)
        return;
    fflush(stdout);
    signal(sig, SIG_DFL);
    raise(sig);
}

/* ---- the screen ---- */

static bool is_utf8(const char *term)
{
    setlocale(LC_CTYPE, "");
    return strcmp(nl_langinfo(CODESET), "UTF-8") == 0 && strncmp(term, "vt", 2) != 0 && strcmp(term, "linux") != 0 &&
           strcmp(term, "ansi") != 0 && strcmp(term, "dumb") != 0;
}

static void start_colours(void)
{
    const char *no_color = getenv("NO_COLOR");
    if ((no_color && *no_color) || !has_colors() || start_color() == ERR)
        return;
    short background = use_default_colors() == OK ? -1 : COLOR_BLACK;
    static const short colours[PN_N_TONES] = {
        [PN_TONE_LOW] = COLOR_GREEN, [PN_TONE_MIDDLE] = COLOR_YELLOW, [PN_TONE_HIGH] = COLOR_RED};
    for (short i = PN_TONE_LOW; i < PN_N_TONES; i++)
        init_pair(i, colours[i], background);
}

bool pn_top_screen_is_ascii(void)
{
    const char *term = getenv("TERM");
    return screen ? ascii : !is_utf8(term ? term : "");
}

bool pn_top_screen_open(void)
{
    const char *term = getenv("TERM");
    if (!term || !*term || strcmp(term, "dumb") == 0 || !isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
        return false;
    ascii = !is_utf8(term);
    pn_top_watch_signals();
    handle(SIGWINCH, SA_RESTART); /* before curses, which otherwise takes it */
    if (pipes[0] < 0 || !(screen = newterm(NULL, stdout, stdin)))
        return false;
    if (!tigetstr("cup") || tigetstr("cup") == (char *)-1) { /* it cannot move the cursor */
        pn_top_screen_close();
        return false;
    }
    cbreak();
    noecho();
    nodelay(stdscr, TRUE);
    keypad(stdscr, TRUE);
    curs_set(0);
    start_colours();
    return true;
}

void pn_top_screen_close(void)
{
    if (!screen)
        return;
    endwin();
    delscreen(screen);
    screen = NULL;
}

void pn_top_screen_size(int *columns, int *lines)
{
    getmaxyx(stdscr, *lines, *columns);
}

static attr_t attribute_of(enum pn_tone tone)
{
    static const attr_t attributes[PN_N_TONES] = {
        [PN_TONE_DIM] = A_DIM, [PN_TONE_BOLD] = A_BOLD, [PN_TONE_HIGH] = A_BOLD};
    return attributes[tone] | (tone >= PN_TONE_LOW ? (attr_t)COLOR_PAIR(tone) : 0);
}

void pn_top_screen_draw(const struct pn_page *page)
{
    int columns, lines;
    pn_top_screen_size(&columns, &lines);
    erase();
    for (int y = 0; y < page->n && y < lines; y++) {
        const struct pn_page_line *l = &page->line[y];
        move(y, 0);
        for (int i = 0, n; i < l->bytes; i += n) {
            for (n = 1; i + n < l->bytes && l->tone[i + n] == l->tone[i];)
                n++;
            attrset((int)attribute_of((enum pn_tone)l->tone[i]));
            addnstr(l->text + i, n);
        }
    }
    attrset(A_NORMAL);
    refresh();
}

/* Reads what the handlers wrote; true: the size has changed. */
static bool drain(void)
{
    char c[64];
    bool resized = false;
    for (ssize_t n; (n = read(pipes[0], c, sizeof c)) > 0;)
        resized |= memchr(c, 'w', (size_t)n) != NULL;
    return resized;
}

static void take_size(void)
{
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0)
        resizeterm(size.ws_row, size.ws_col);
    clearok(curscr, TRUE); /* the terminal may have moved the old lines */
}

enum pn_key pn_top_screen_wait(uint64_t until, int *letter)
{
    for (;;) {
        if (drain()) {
            take_size();
            return PN_KEY_SIZE;
        }
        if (ended_by)
            return PN_KEY_END;
        int key = getch();
        if (key == KEY_RESIZE)
            return PN_KEY_SIZE;
        if (key != ERR) {
            *letter = key;
            return PN_KEY_OTHER;
        }
        if (pn_clock_ns() >= until)
            return PN_KEY_NONE;
        struct pollfd in[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = pipes[0], .events = POLLIN}};
        int n = poll(in, 2, milliseconds_until(until));
        if (n > 0 && (in[0].revents & (POLLHUP | POLLERR | POLLNVAL)))
            return PN_KEY_END;
    }
}
