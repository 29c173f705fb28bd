/* The terminal: see terminal.h. Signal handlers only set flags, or call functions that POSIX lists as safe there. Only
 * the main thread runs them: the library's threads block all signals of the process. */
#define _POSIX_C_SOURCE  200809L
#define _DEFAULT_SOURCE  1
#define _DARWIN_C_SOURCE 1
#include "cli/terminal.h"

#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/select.h>
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

/* ---- modes ---- */

static pantry_cancel *interrupt;        /* set by Ctrl-C; the library reads it in every step */
static pantry_cancel *softer;           /* set by Ctrl-C instead, once, ... */
static volatile sig_atomic_t is_softer; /* ... while this is set */
static volatile sig_atomic_t resized, stop_wanted, resumed;
static volatile sig_atomic_t have_original, have_wanted, echoes, away, left_original, paste_is_on;
static struct termios original; /* the modes at the start */
static volatile sig_atomic_t ignores_stop;

/* A background process that sets modes is stopped, and the modes belong to another program then. */
static bool in_front(void)
{
    pid_t front = tcgetpgrp(STDIN_FILENO);
    return front < 0 || front == getpgrp();
}

static void set_wanted(int when)
{
    if (!have_original || !have_wanted || !in_front())
        return;
    struct termios wanted = original;
    if (!echoes)
        wanted.c_lflag &= ~(tcflag_t)ECHO;
    wanted.c_lflag |= NOFLSH; /* otherwise Ctrl-C may discard output that follows it */
    tcsetattr(STDIN_FILENO, when, &wanted);
}

static void find_original(void)
{
    have_original = in_front() && tcgetattr(STDIN_FILENO, &original) == 0;
}

static void set_original(void)
{
    if (have_original && in_front())
        tcsetattr(STDIN_FILENO, TCSANOW, &original);
}

/* ---- the terminal's foreground group ---- */

static pid_t shared_group; /* our first group, which gets the terminal back; 0: we did not take it */

/* With SIGTTOU blocked, which would stop us. */
static void give_terminal(pid_t group)
{
    sigset_t block, before;
    sigemptyset(&block);
    sigaddset(&block, SIGTTOU);
    pthread_sigmask(SIG_BLOCK, &block, &before);
    tcsetpgrp(STDIN_FILENO, group);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static bool is_pending(int sig)
{
    sigset_t pending;
    return sigpending(&pending) == 0 && sigismember(&pending, sig) == 1;
}

/* With stops blocked. After a stop in the shared group the others have stopped, and the shell takes the terminal. */
static void take_terminal(void)
{
    if (!shared_group || tcgetpgrp(STDIN_FILENO) != shared_group || setpgid(0, 0) != 0)
        return;
    if (is_pending(SIGTSTP))
        setpgid(0, shared_group);
    else
        give_terminal(getpid());
}

/* ---- stopping ---- */

static void add_stops(sigset_t *set)
{
    sigaddset(set, SIGTSTP);
    sigaddset(set, SIGTTIN);
    sigaddset(set, SIGTTOU);
    sigaddset(set, SIGCONT);
}

static void block_stops(sigset_t *before)
{
    sigset_t stops;
    sigemptyset(&stops);
    add_stops(&stops);
    pthread_sigmask(SIG_BLOCK, &stops, before);
}

/* Raises `sig` with its default action in our group; returns when continued. */
static void stop_by_default(int sig)
{
    struct sigaction by_default, before;
    sigset_t set;
    memset(&by_default, 0, sizeof by_default);
    by_default.sa_handler = SIG_DFL;
    sigemptyset(&by_default.sa_mask);
    sigemptyset(&set);
    sigaddset(&set, sig);
    sigaction(sig, &by_default, &before);
    kill(shared_group ? 0 : getpid(), sig);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    sigaction(sig, &before, NULL);
}

/* Takes the terminal and sets its modes again, unless the shell keeps it after `bg`. Stops are blocked. */
static void come_back(void)
{
    take_terminal();
    if (!away || !in_front())
        return;
    if (left_original || !have_original)
        find_original(); /* the user may have changed them in the shell */
    away = left_original = 0;
    set_wanted(TCSANOW);
}

/* Stops as Ctrl-Z does, with the whole group we came from; returns when continued. Stops stay blocked: one that arrives
 * while we are alone in our group would stop only us, and no shell would notice. */
static void stop_now(int sig)
{
    sigset_t before;
    block_stops(&before);
    left_original = in_front();
    set_original();
    away = 1;
    if (shared_group) {
        if (in_front())
            give_terminal(shared_group);
        setpgid(0, shared_group);
    }
    if ((sig != SIGTSTP && in_front()) || is_pending(SIGCONT))
        stop_wanted = 0; /* the others were stopped and continued in between */
    else
        stop_by_default(sig);
    if (shared_group)
        kill(-getpid(), SIGCONT); /* a child that stayed in our group */
    come_back();
    resumed = 1;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void restore_terminal(void)
{
    if (paste_is_on) {
        ssize_t n = write(STDOUT_FILENO, "\033[?2004l", 8);
        (void)n;
    }
    paste_is_on = 0;
    set_original();
    if (shared_group && getpgrp() != shared_group && in_front())
        give_terminal(shared_group);
}

/* ---- signals ---- */

static void on_interrupt(int sig)
{
    (void)sig;
    pantry_cancel_set(is_softer && !pantry_cancel_is_set(softer) ? softer : interrupt);
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
    stop_now(sig);
    errno = error;
}

/* Also after SIGSTOP, and when `fg` follows `bg`. */
static void on_continue(int sig)
{
    int error = errno;
    (void)sig;
    stop_wanted = 0; /* SIGCONT cancels a pending stop, as the kernel does with its own */
    resumed = 1;
    come_back();
    errno = error;
}

/* SA_RESETHAND has put the default action back: raising again ends the process with the right status. */
static void on_end(int sig)
{
    int error = errno;
    restore_terminal();
    raise(sig);
    errno = error;
}

/* SA_RESTART: calls continue, so that no output is lost; only pn_term_wait_input waits for input. */
static void handle(int sig, void (*handler)(int), int flags)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    action.sa_flags = SA_RESTART | flags;
    sigemptyset(&action.sa_mask);
    if (handler == on_continue || handler == on_stop_now)
        add_stops(&action.sa_mask);
    sigaction(sig, &action, NULL);
}

static bool is_ignored(int sig)
{
    struct sigaction action;
    return sigaction(sig, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

void pn_term_watch(void)
{
    static bool watching;
    if (watching)
        return;
    watching = true;
    find_original();
    away = !in_front();
    ignores_stop = is_ignored(SIGTSTP);
    interrupt = pantry_cancel_new();
    softer = pantry_cancel_new();
    if (interrupt)
        handle(SIGINT, on_interrupt, 0);
    handle(SIGWINCH, on_resize, 0);
    handle(SIGTERM, on_end, (int)SA_RESETHAND);
    if (!is_ignored(SIGHUP)) /* nohup */
        handle(SIGHUP, on_end, (int)SA_RESETHAND);
    handle(SIGQUIT, on_end, (int)SA_RESETHAND);
    handle(SIGCONT, on_continue, 0);
    pn_term_watch_stop(false);
    atexit(restore_terminal);
}

void pn_term_take_over(void)
{
    sigset_t before;
    pid_t group = getpgrp();
    if (group == getpid() || tcgetpgrp(STDIN_FILENO) != group) /* a job of a shell, or not in the foreground */
        return;
    block_stops(&before);
    shared_group = group;
    take_terminal();
    handle(SIGTTIN, on_stop_now, 0); /* another program may take the terminal and return it to the others */
    handle(SIGTTOU, on_stop_now, 0);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

const pantry_cancel *pn_term_soft_interrupt(void)
{
    return softer;
}

void pn_term_soften_interrupt(bool on)
{
    is_softer = on && softer;
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
    if (softer)
        pantry_cancel_clear(softer);
    return was;
}

void pn_term_end_interrupted(void)
{
    fflush(stdout);
    restore_terminal();
    handle(SIGINT, SIG_DFL, 0);
    raise(SIGINT);
}

static bool take(volatile sig_atomic_t *flag)
{
    bool was = *flag;
    *flag = 0;
    return was;
}

bool pn_term_take_resize(void)
{
    return take(&resized);
}

bool pn_term_take_stop(void)
{
    return take(&stop_wanted);
}

bool pn_term_take_resumed(void)
{
    return take(&resumed);
}

void pn_term_watch_stop(bool watch)
{
    if (!ignores_stop)
        handle(SIGTSTP, watch ? on_stop : on_stop_now, 0);
    if (!watch && pn_term_take_stop())
        stop_now(SIGTSTP);
}

void pn_term_stop_now(void)
{
    stop_now(SIGTSTP);
}

void pn_term_come_back(void)
{
    sigset_t before;
    block_stops(&before);
    come_back();
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

bool pn_term_wait_input(void)
{
    sigset_t watched, before;
    fd_set in;
    bool ready = false;
    sigemptyset(&watched);
    sigaddset(&watched, SIGINT);
    sigaddset(&watched, SIGWINCH);
    sigaddset(&watched, SIGTSTP);
    sigaddset(&watched, SIGCONT);
    pthread_sigmask(SIG_BLOCK, &watched, &before);
    if (!pn_term_interrupted() && !resized && !stop_wanted && !resumed) {
        FD_ZERO(&in);
        FD_SET(STDIN_FILENO, &in);
        ready = pselect(STDIN_FILENO + 1, &in, NULL, NULL, NULL, &before) >= 0 || errno != EINTR;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return ready;
}

/* ---- modes of the chat ---- */

void pn_term_echo(bool on)
{
    sigset_t before;
    block_stops(&before);
    come_back();
    echoes = on;
    have_wanted = 1;
    set_wanted(TCSADRAIN);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void pn_term_bracketed_paste(bool on)
{
    if (!pn_term_moves(stdout) || on == (paste_is_on != 0))
        return;
    fputs(on ? "\033[?2004h" : "\033[?2004l", stdout);
    fflush(stdout);
    paste_is_on = on;
}
