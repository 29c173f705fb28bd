/* A small server: the body of each POST is a text, which the answer continues while it is made.
 * cc server.c $(pkg-config --cflags --libs pantry); ./server MODEL PORT [REQUESTS]; curl -d "The sky is" localhost:PORT
 */
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <pantry.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static pantry_model *model;

/* Answers one connection; a client that has left ends its request. Other requests of the model go on meanwhile. */
static void *serve(void *connection)
{
    static const char head[] = "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n";
    int fd = (int)(intptr_t)connection;
    char got[16384];
    size_t len = 0, want = 1;
    const char *body = NULL;
    ssize_t n;
    while ((!body || len < want) && len + 1 < sizeof got && (n = read(fd, got + len, sizeof got - 1 - len)) > 0) {
        got[len += (size_t)n] = '\0';
        const char *length = strstr(got, "Content-Length: ");
        if (!body && (body = strstr(got, "\r\n\r\n")))
            want = (size_t)((body += 4) - got) + (length ? strtoul(length + strlen("Content-Length: "), NULL, 10) : 0);
    }
    struct pantry_request_options options = pantry_request_options_default();
    struct pantry_error error = {.text = "no text"};
    pantry_request *request = NULL;
    int32_t *ids = NULL;
    options.max_tokens = 64, options.sampling.temperature = 0;
    bool open = write(fd, head, strlen(head)) > 0;
    if (body && !pantry_tokenize(pantry_model_tokenizer(model), body, strlen(body), PANTRY_TOKENIZE_BOS, &ids,
                                 &options.n_ids, &error)) {
        options.ids = ids;
        if (!pantry_submit(model, &options, &request, &error)) {
            const struct pantry_event *event;
            while (open && (event = pantry_request_next(request, -1))->kind == PANTRY_EVENT_TOKEN)
                open = !event->token->len || write(fd, event->token->text, event->token->len) > 0;
        }
    }
    if (!request && write(fd, error.text, strlen(error.text)) < 0)
        perror("server");
    pantry_request_free(request);
    pantry_free(ids);
    close(fd);
    return NULL;
}

int main(int argc, char **argv)
{
    struct pantry_error error = {.text = "usage: server MODEL PORT [REQUESTS]"};
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0), left = argc > 3 ? atoi(argv[3]) : -1;
    if (argc < 3 || pantry_model_load(argv[1], NULL, &model, &error))
        return puts(error.text), 1;
    signal(SIGPIPE, SIG_IGN);
    at.sin_port = htons((uint16_t)atoi(argv[2])); /* 0: any that is free */
    if (bind(listener, (struct sockaddr *)&at, size) || listen(listener, 16) ||
        getsockname(listener, (struct sockaddr *)&at, &size))
        return perror("server"), 1;
    printf("http://127.0.0.1:%d/\n", ntohs(at.sin_port));
    fflush(stdout);
    for (pthread_t thread; left; left -= left > 0) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0 || pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd))
            return perror("server"), 1;
        if (left == 1)
            pthread_join(thread, NULL); /* the last one; others that still run end with the program */
        else
            pthread_detach(thread);
    }
    pantry_model_free(model);
    return 0;
}
