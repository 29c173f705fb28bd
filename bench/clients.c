/* Many HTTP clients in one thread, so that they take little of the machine whose server they measure.
 *
 *   clients load PORT FILE N [-t SECONDS] [-e EACH] [-l PER_MILLE] [-m MS] [-s SEED] [-b] [-g]
 *   clients slow PORT N SECONDS
 *
 * load: N clients. A line of FILE is a request: PATH, KEY ("-": none), milliseconds from the start at which it may
 * begin, and the JSON body, separated by tabs. A client takes the next line (after the last one the first) until
 * SECONDS have passed or it has sent EACH. -l lets that many of 1,000 requests leave within MS. Prints a JSON object
 * per request: the times of its start, its first event and its end in seconds, -b: the reply, -g: the times of its
 * events.
 *
 * slow: N connections that send a byte per second. Prints when the server closed them. */
#define _GNU_SOURCE 1
#include "base/alloc.h"
#include "base/clock.h"
#include "base/random.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_CLIENTS = 4096, N_READY = 256 };

struct line {
    char *path, *key, *body;
    double at; /* seconds from the start */
};

struct client {
    int fd; /* -1: none */
    int index, n_done, line;
    struct pn_buf out, in;
    size_t sent, scanned;
    double start, first, leave_at; /* leave_at: 0: never */
    double *events;                /* times, with -g */
    int n_events, most_events;
};

static struct {
    const char *mode, *file;
    int port, n, each;
    double seconds;
    unsigned leave, leave_ms;
    bool bodies, times;
} options = {.each = 1 << 30, .seconds = 1e9, .leave_ms = 2000};

static struct line *lines;
static int n_lines, next_line, poll_fd;
static struct pn_rng rng;
static uint64_t began;

static double now(void)
{
    return (double)(pn_clock_ns() - began) * 1e-9;
}

static void die(const char *what)
{
    fprintf(stderr, "clients: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int connect_to(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0)
        die("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS)
        die("connect");
    return fd;
}

/* ---- requests ---- */

static void read_lines(void)
{
    FILE *f = fopen(options.file, "r");
    char *text = NULL, *rest;
    size_t size = 0;
    if (!f)
        die(options.file);
    while (getline(&text, &size, f) > 0) {
        lines = realloc(lines, (size_t)(n_lines + 1) * sizeof *lines);
        text[strcspn(text, "\n")] = '\0';
        struct line *l = &lines[n_lines++];
        l->path = strdup(strtok_r(text, "\t", &rest));
        l->key = strdup(strtok_r(NULL, "\t", &rest));
        l->at = atof(strtok_r(NULL, "\t", &rest)) * 1e-3;
        l->body = strdup(rest);
    }
    free(text);
    fclose(f);
}

/* False: the client has nothing to send, at least not yet. */
static bool begin(struct client *c)
{
    double time = now();
    if (c->fd >= 0 || time > options.seconds || c->n_done == options.each)
        return false;
    const struct line *l = &lines[next_line % n_lines];
    if (next_line < n_lines && l->at > time)
        return false;
    c->line = next_line++ % n_lines;
    pn_buf_clear(&c->out);
    pn_buf_clear(&c->in);
    pn_buf_printf(&c->out,
                  "POST %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
                  "Content-Length: %zu\r\n",
                  l->path, strlen(l->body));
    if (strcmp(l->key, "-") != 0)
        pn_buf_printf(&c->out, "Authorization: Bearer %s\r\n", l->key);
    pn_buf_printf(&c->out, "\r\n%s", l->body);
    c->sent = c->scanned = 0;
    c->n_events = 0;
    c->start = time;
    c->first = c->leave_at = 0;
    if (options.leave && pn_rng_u64(&rng) % 1000 < options.leave)
        c->leave_at = time + (double)(pn_rng_u64(&rng) % (options.leave_ms + 1)) * 1e-3;
    c->fd = connect_to(options.port);
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, c->fd, &e);
    return true;
}

static void print_text(const char *text, size_t len)
{
    putchar('"');
    for (size_t i = 0; i < len; i++) {
        unsigned char b = (unsigned char)text[i];
        if (b == '"' || b == '\\')
            printf("\\%c", b);
        else if (b < 0x20)
            printf("\\u%04x", b);
        else
            putchar(b);
    }
    putchar('"');
}

static void end(struct client *c, bool left)
{
    int status = c->in.len > 12 ? atoi(c->in.data + 9) : 0;
    const char *body = c->in.len ? strstr(c->in.data, "\r\n\r\n") : NULL;
    double time = now();
    printf(
        "{\"line\":%d,\"client\":%d,\"start\":%.6f,\"first\":%.6f,\"end\":%.6f,\"status\":%d,\"left\":%s,\"events\":%d",
        c->line, c->index, c->start, c->first > 0 ? c->first : time, time, status, left ? "true" : "false",
        c->n_events);
    if (options.times) {
        printf(",\"times\":[");
        for (int i = 0; i < c->n_events; i++)
            printf("%s%.6f", i ? "," : "", c->events[i]);
        putchar(']');
    }
    if (options.bodies && body && !left) {
        printf(",\"reply\":");
        print_text(body + 4, c->in.len - (size_t)(body + 4 - c->in.data));
    }
    printf("}\n");
    close(c->fd);
    c->fd = -1;
    c->n_done++;
}

/* Notes the events that have arrived since the last call. */
static void scan(struct client *c)
{
    static const char sign[] = "data: {";
    const char *from = c->in.data + c->scanned, *at;
    double time = now();
    while ((at = strstr(from, sign))) {
        if (!c->n_events)
            c->first = time;
        if (options.times && c->n_events == c->most_events) {
            c->most_events = c->most_events ? 2 * c->most_events : 256;
            c->events = realloc(c->events, (size_t)c->most_events * sizeof *c->events);
        }
        if (options.times)
            c->events[c->n_events] = time;
        c->n_events++;
        from = at + sizeof sign - 1;
    }
    size_t seen = (size_t)(from - c->in.data), tail = c->in.len >= sizeof sign ? c->in.len - sizeof sign + 2 : 0;
    c->scanned = seen > tail ? seen : tail;
}

static void receive(struct client *c)
{
    char part[65536];
    ssize_t n;
    while ((n = recv(c->fd, part, sizeof part, 0)) > 0) {
        pn_buf_append(&c->in, part, (size_t)n);
        scan(c);
    }
    if (n == 0 || (errno != EAGAIN && errno != EINTR))
        end(c, false);
}

static void send_rest(struct client *c)
{
    ssize_t n = send(c->fd, c->out.data + c->sent, c->out.len - c->sent, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        end(c, false);
        return;
    }
    c->sent += n > 0 ? (size_t)n : 0;
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    if (c->sent == c->out.len)
        epoll_ctl(poll_fd, EPOLL_CTL_MOD, c->fd, &e);
}

static void load(void)
{
    static struct client clients[MAX_CLIENTS];
    struct epoll_event ready[N_READY];
    int n_open = 0;
    read_lines();
    if (!n_lines)
        die("no requests");
    for (int i = 0; i < options.n; i++)
        clients[i] = (struct client){.fd = -1, .index = i};
    bool waits = true;
    while (n_open || waits) {
        int n = epoll_wait(poll_fd, ready, N_READY, options.leave || waits ? 1 : 100);
        for (int i = 0; i < n; i++) {
            struct client *c = ready[i].data.ptr;
            if (c->fd >= 0 && (ready[i].events & EPOLLOUT))
                send_rest(c);
            if (c->fd >= 0 && (ready[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
                receive(c);
        }
        n_open = 0;
        waits = false;
        for (int i = 0; i < options.n; i++) {
            struct client *c = &clients[i];
            if (c->fd >= 0 && c->leave_at > 0 && now() > c->leave_at)
                end(c, true);
            begin(c);
            n_open += c->fd >= 0;
            waits |= c->fd < 0 && c->n_done < options.each && now() <= options.seconds;
        }
    }
}

/* ---- slow connections ---- */

static int rising(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void slow(void)
{
    static const char head[] = "POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n";
    static int fds[MAX_CLIENTS];
    static double closed[MAX_CLIENTS];
    char byte;
    int n_closed = 0;
    for (int i = 0; i < options.n; i++)
        fds[i] = connect_to(options.port);
    printf("open\n");
    fflush(stdout);
    for (size_t at = 0; now() < options.seconds && n_closed < options.n; at++) {
        double next = now() + 1;
        for (int i = 0; i < options.n; i++) {
            const char *what = i % 2 && at < sizeof head - 1 ? head + at : " "; /* half never end their headers */
            size_t n = !(i % 2) && at == 0 ? sizeof head - 1 : 1;
            if (fds[i] < 0)
                continue;
            ssize_t sent = send(fds[i], n > 1 ? head : what, n, MSG_NOSIGNAL | MSG_DONTWAIT);
            ssize_t got = recv(fds[i], &byte, 1, MSG_DONTWAIT);
            bool gone = (sent < 0 && errno != EAGAIN) || got == 0 || (got < 0 && errno != EAGAIN);
            if (gone) {
                close(fds[i]);
                fds[i] = -1;
                closed[n_closed++] = now();
            }
        }
        if (next > now())
            usleep((useconds_t)((next - now()) * 1e6));
    }
    qsort(closed, (size_t)n_closed, sizeof *closed, rising);
    printf("{\"opened\":%d,\"closed\":%d,\"first\":%.1f,\"last\":%.1f}\n", options.n, n_closed,
           n_closed ? closed[0] : 0, n_closed ? closed[n_closed - 1] : 0);
}

static void usage(void)
{
    fprintf(stderr,
            "usage: clients load PORT FILE N [-t SECONDS] [-e EACH] [-l PER_MILLE] [-m MS] [-s SEED] [-b] [-g]\n"
            "       clients slow PORT N SECONDS\n");
    exit(2);
}

int main(int argc, char **argv)
{
    struct rlimit limit;
    if (argc < 5)
        usage();
    options.mode = argv[1];
    options.port = atoi(argv[2]);
    bool is_slow = strcmp(options.mode, "slow") == 0;
    options.file = argv[3];
    options.n = atoi(argv[is_slow ? 3 : 4]);
    if (options.n < 1 || options.n > MAX_CLIENTS)
        usage();
    optind = 5;
    for (int o; !is_slow && (o = getopt(argc, argv, "t:e:l:m:s:bg")) != -1;)
        switch (o) {
        case 't':
            options.seconds = atof(optarg);
            break;
        case 'e':
            options.each = atoi(optarg);
            break;
        case 'l':
            options.leave = (unsigned)atoi(optarg);
            break;
        case 'm':
            options.leave_ms = (unsigned)atoi(optarg);
            break;
        case 's':
            rng = (struct pn_rng){strtoull(optarg, NULL, 10)};
            break;
        case 'b':
            options.bodies = true;
            break;
        case 'g':
            options.times = true;
            break;
        default:
            usage();
        }
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    poll_fd = epoll_create1(0);
    began = pn_clock_ns();
    if (is_slow) {
        options.seconds = atof(argv[4]);
        slow();
    } else {
        load();
    }
    return 0;
}
