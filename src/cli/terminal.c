/* The terminal: see terminal.h. Signal handlers only set flags, or call functions that POSIX lists as safe there
 * (tcsetattr, write, sigaction, raise). */
#define _POSIX_C_SOURCE  200809L
#define _DEFAULT_SOURCE  1
#define _DARWIN_C_SOURCE 1
#include "cli/terminal.h"

#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

bool pn_term_is(FILE *stream)
{
    return isatty(fileno(stream));
}

bool pn_term_moves(FILE *stream)
{
    const char *term = getenv("TERM");
    return pn_term_is(stream) && term && *term && strcmp(term, "dumb") != 0;
}

const char *pn_term_style(FILE *stream, enum pn_style style)
{
    static const char *const codes[] = {"\033[0m", "\033[2m", "\033[1m"};
    const char *no_color = getenv("NO_COLOR");
    if ((no_color && *no_color) || !pn_term_moves(stream))
        return "";
    return codes[style];
}

int pn_term_width(FILE *stream)
{
    struct winsize size;
    if (ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    return 80;
}

void pn_term_use_utf8(void)
{
    static const char *const names[] = {"", "C.UTF-8", "en_US.UTF-8", "UTF-8"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (setlocale(LC_CTYPE, names[i]) && strcmp(nl_langinfo(CODESET), "UTF-8") == 0)
            return;
}

/* ---- signals ---- */

static pantry_cancel *interrupt; /* what Ctrl-C sets; the library looks at it in every step */
static volatile sig_atomic_t resized, stop_wanted;
static volatile sig_atomic_t have_original, echo_is_off, paste_is_on;
static struct termios original; /* as the program found it */

/* ---- the terminal's foreground group ---- */

static pid_t shared_group; /* that we were in, and that the terminal goes back to; 0: we took nothing */

/* Without being stopped for it, whoever has the terminal now. */
static void give_terminal(pid_t group)
{
    sigset_t block, before;
    sigemptyset(&block);
    sigaddset(&block, SIGTTOU);
    sigprocmask(SIG_BLOCK, &block, &before);
    tcsetpgrp(STDIN_FILENO, group);
    sigprocmask(SIG_SETMASK, &before, NULL);
}

static void take_terminal(void)
{
    if (tcgetpgrp(STDIN_FILENO) == shared_group && setpgid(0, 0) == 0)
        give_terminal(getpid());
}

/* Stops with the whole group that we came from, as Ctrl-Z does; returns when it is continued. */
static void stop_with_others(void)
{
    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTSTP);
    give_terminal(shared_group);
    setpgid(0, shared_group);
    signal(SIGTSTP, SIG_DFL);
    kill(0, SIGTSTP);
    sigprocmask(SIG_UNBLOCK, &stop, NULL); /* in a handler it is blocked */
    take_terminal();                       /* `bg` leaves it to the shell */
}

static void restore_terminal(void)
{
    if (paste_is_on) {
        ssize_t n = write(STDOUT_FILENO, "\033[?2004l", 8);
        (void)n;
    }
    if (have_original)
        tcsetattr(STDIN_FILENO, TCSANOW, &original);
    echo_is_off = paste_is_on = 0;
    if (shared_group && getpgrp() != shared_group)
        give_terminal(shared_group);
}

static void on_interrupt(int sig)
{
    (void)sig;
    pantry_cancel_set(interrupt);
}

static void on_resize(int sig)
{
    (void)sig;
    resized = 1;
}

static void on_stop(int sig)
{
    (void)sig;
    stop_wanted = 1;
}

static void on_stop_now(int sig)
{
    int error = errno;
    stop_with_others();
    signal(sig, on_stop_now);
    errno = error;
}

/* SA_RESETHAND has put the default action back: raising again ends the process with the right status. */
static void on_end(int sig)
{
    int error = errno;
    signal(SIGTTOU, SIG_IGN); /* a background job may restore too */
    restore_terminal();
    raise(sig);
    errno = error;
}

static void handle(int sig, void (*handler)(int), int flags)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    action.sa_flags = flags;
    sigemptyset(&action.sa_mask);
    sigaction(sig, &action, NULL);
}

void pn_term_watch(void)
{
    static bool watching;
    if (watching)
        return;
    watching = true;
    have_original = tcgetattr(STDIN_FILENO, &original) == 0;
    interrupt = pantry_cancel_new();
    if (interrupt)
        handle(SIGINT, on_interrupt, 0); /* no SA_RESTART: reading a line must notice */
    handle(SIGWINCH, on_resize, 0);
    handle(SIGTERM, on_end, (int)SA_RESETHAND);
    handle(SIGHUP, on_end, (int)SA_RESETHAND);
    handle(SIGQUIT, on_end, (int)SA_RESETHAND);
    atexit(restore_terminal);
}

void pn_term_take_over(void)
{
    pid_t group = getpgrp();
    if (group == getpid() || tcgetpgrp(STDIN_FILENO) != group) /* a shell's job of its own, or not in the foreground */
        return;
    shared_group = group;
    take_terminal();
    handle(SIGTSTP, on_stop_now, 0);
}

const pantry_cancel *pn_term_interrupt(void)
{
    return interrupt;
}

bool pn_term_interrupted(void)
{
    return interrupt && pantry_cancel_is_set(interrupt);
}

bool pn_term_take_interrupt(void)
{
    bool was = pn_term_interrupted();
    if (was)
        pantry_cancel_clear(interrupt);
    return was;
}

void pn_term_end_interrupted(void)
{
    fflush(stdout);
    restore_terminal();
    handle(SIGINT, SIG_DFL, 0);
    raise(SIGINT);
}

bool pn_term_take_resize(void)
{
    bool was = resized;
    resized = 0;
    return was;
}

bool pn_term_take_stop(void)
{
    bool was = stop_wanted;
    stop_wanted = 0;
    return was;
}

void pn_term_watch_stop(bool watch)
{
    handle(SIGTSTP, watch ? on_stop : shared_group ? on_stop_now : SIG_DFL, 0);
}

void pn_term_stop_now(void)
{
    handle(SIGTSTP, SIG_DFL, 0);
    if (shared_group)
        stop_with_others();
    else
        raise(SIGTSTP);
    handle(SIGTSTP, on_stop, 0);
}

/* ---- modes ---- */

void pn_term_echo(bool on)
{
    struct termios mode;
    if (!have_original)
        return;
    mode = original;
    if (!on)
        mode.c_lflag &= ~(tcflag_t)ECHO;
    mode.c_lflag |= NOFLSH; /* otherwise Ctrl-C may throw away what is printed in answer to it */
    echo_is_off = !on;
    tcsetattr(STDIN_FILENO, TCSADRAIN, &mode);
}

void pn_term_bracketed_paste(bool on)
{
    if (!pn_term_moves(stdout) || on == (paste_is_on != 0))
        return;
    fputs(on ? "\033[?2004h" : "\033[?2004l", stdout);
    fflush(stdout);
    paste_is_on = on;
}
