/* Remembered turns: see said.h.
 *
 * The file has a line per turn: a part of the SHA-256 of what follows, a space, and a JSON object. It only grows, until
 * it has twice what is remembered; then the turns of memory replace it. A line that was torn, or does not have the
 * shape that it must have, is left out. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "server/said.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/status.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    MAX_TURNS = 4096,
    MAX_BYTES = 16 << 20, /* of all turns */
    MAX_TURN = 1 << 20,
    MAX_FILE = 2 * MAX_BYTES + MAX_TURN,
    CHECK = 16 /* hex digits before a line */
};

/* A turn: the line that the file has, and what it is looked up by. */
struct turn {
    uint64_t key, id; /* parts of digests: of owner, model and meaning, and of the id */
    uint64_t used;    /* when; 0: the place is free */
    json_int_t position;
    char *line;
    size_t len;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct turn turns[MAX_TURNS];
static size_t n_bytes;
static uint64_t now;
static int file = -1;
static char *file_path;
static size_t file_bytes;

/* ---- values ---- */

/* The first 64 bits of the digest of some texts. */
static uint64_t short_digest(const char *a, const char *b, const char *c)
{
    struct pn_buf all = {0};
    char hex[PN_SHA256_HEX + 1] = "", text[17];
    pn_buf_printf(&all, "%s\n%s\n%s", a, b, c);
    if (!all.failed)
        pn_sha256_bytes(all.data, all.len, hex, NULL);
    pn_buf_free(&all);
    snprintf(text, sizeof text, "%.16s", hex);
    return strtoull(text, NULL, 16);
}

static json_t *value_of(const struct pn_said_key *key, const struct pn_said *s)
{
    json_t *ids = json_array();
    for (size_t i = 0; i < s->n_ids; i++)
        json_array_append_new(ids, json_integer(s->ids[i]));
    return json_pack("{s:s, s:s, s:s, s:s, s:i, s:s, s:I, s:s, s:o, s:s, s:s}", "owner", key->owner ? key->owner : "",
                     "model", key->model, "meaning", key->meaning, "id", key->id ? key->id : "", "position",
                     key->position, "prompt", s->prompt, "piece", (json_int_t)s->n_piece, "open", s->open, "ids", ids,
                     "calls", s->calls, "reasoning", s->reasoning);
}

static const char *text_of(const json_t *v, const char *name)
{
    const char *text = json_string_value(json_object_get(v, name));
    return text ? text : "";
}

/* The shape of value_of. */
static bool is_turn(const json_t *v)
{
    static const char *const texts[] = {"owner", "model", "meaning", "id", "prompt", "open", "calls", "reasoning"};
    const json_t *ids = json_object_get(v, "ids"), *id;
    size_t i;
    for (i = 0; i < sizeof texts / sizeof *texts; i++)
        if (!json_is_string(json_object_get(v, texts[i])))
            return false;
    json_array_foreach((json_t *)(uintptr_t)ids, i, id)
    {
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > INT32_MAX)
            return false;
    }
    return json_is_array(ids) && json_is_integer(json_object_get(v, "position")) &&
           json_integer_value(json_object_get(v, "piece")) >= 0 && strlen(text_of(v, "prompt")) == PN_SHA256_HEX &&
           strlen(text_of(v, "meaning")) == PN_SHA256_HEX;
}

/* The line of the file, with its end; NULL: memory is out. */
static char *line_of(const json_t *value, size_t *len)
{
    char *json = json_dumps(value, JSON_COMPACT), hex[PN_SHA256_HEX + 1];
    struct pn_buf out = {0};
    if (json && !pn_sha256_bytes(json, strlen(json), hex, NULL))
        pn_buf_printf(&out, "%.*s %s\n", CHECK, hex, json);
    free(json);
    *len = out.len;
    return pn_buf_take(&out);
}

static json_t *read_line(const char *line, size_t len)
{
    char hex[PN_SHA256_HEX + 1];
    if (len <= CHECK + 1 || line[CHECK] != ' ' || pn_sha256_bytes(line + CHECK + 1, len - CHECK - 1, hex, NULL) ||
        memcmp(hex, line, CHECK) != 0)
        return NULL;
    json_t *v = json_loadb(line + CHECK + 1, len - CHECK - 1, 0, NULL);
    if (v && is_turn(v))
        return v;
    json_decref(v);
    return NULL;
}

/* ---- the list ---- under the lock ---- */

static void forget(struct turn *t)
{
    n_bytes -= t->len;
    free(t->line);
    *t = (struct turn){0};
}

/* The place that is free, or was used least recently. */
static struct turn *oldest(bool must_be_used)
{
    struct turn *found = NULL;
    for (struct turn *t = turns; t < turns + MAX_TURNS; t++)
        if ((t->used || !must_be_used) && (!found || t->used < found->used))
            found = t;
    return found;
}

/* Takes `line` over. */
static void add(const json_t *value, char *line, size_t len)
{
    struct turn *t;
    while (n_bytes + len > MAX_BYTES && (t = oldest(true)))
        forget(t);
    t = oldest(false);
    if (t->used)
        forget(t);
    *t = (struct turn){
        .key = short_digest(text_of(value, "owner"), text_of(value, "model"), text_of(value, "meaning")),
        .id = short_digest(text_of(value, "id"), "", ""),
        .used = ++now,
        .position = json_integer_value(json_object_get(value, "position")),
        .line = line,
        .len = len,
    };
    n_bytes += len;
}

static int by_use(const void *a, const void *b)
{
    uint64_t x = (*(struct turn *const *)a)->used, y = (*(struct turn *const *)b)->used;
    return (x > y) - (x < y);
}

/* ---- the file ---- under the lock ---- */

static bool write_all(int fd, const char *bytes, size_t n)
{
    while (n) {
        ssize_t done = write(fd, bytes, n);
        if (done < 0 && errno != EINTR)
            return false;
        bytes += done > 0 ? done : 0;
        n -= done > 0 ? (size_t)done : 0;
    }
    return true;
}

static void close_file(void)
{
    if (file >= 0)
        close(file);
    file = -1;
}

static bool write_turns(int fd)
{
    struct turn *order[MAX_TURNS];
    size_t n = 0;
    bool ok = true;
    for (struct turn *t = turns; t < turns + MAX_TURNS; t++)
        if (t->used)
            order[n++] = t;
    qsort(order, n, sizeof *order, by_use);
    file_bytes = 0;
    for (size_t i = 0; i < n && ok; i++) {
        ok = write_all(fd, order[i]->line, order[i]->len);
        file_bytes += order[i]->len;
    }
    return ok && fsync(fd) == 0;
}

/* The turns in memory become the file. If that fails, nothing more is written: the old file is whole. */
static void rewrite(void)
{
    struct pn_buf path = {0};
    pn_buf_printf(&path, "%s-partial", file_path);
    int fd = path.failed ? -1 : open(path.data, O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool ok = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 && write_turns(fd) && rename(path.data, file_path) == 0;
    close_file();
    if (ok)
        file = fd;
    else if (fd >= 0)
        close(fd);
    pn_buf_free(&path);
}

/* What was written of a line that does not fit goes again, so that it does not spoil the next. */
static void append(const char *line, size_t len)
{
    if (file < 0)
        return;
    if (file_bytes + len > 2 * (size_t)MAX_BYTES) {
        rewrite();
        return;
    }
    if (write_all(file, line, len))
        file_bytes += len;
    else if (ftruncate(file, (off_t)file_bytes) != 0)
        close_file();
}

/* The number of lines that are left out. */
static size_t read_lines(const char *text, size_t len)
{
    size_t n_left_out = 0;
    for (size_t at = 0, n; at < len; at += n) {
        const char *end = memchr(text + at, '\n', len - at);
        n = end ? (size_t)(end - text) - at + 1 : len - at;
        json_t *v = end && n <= MAX_TURN ? read_line(text + at, n - 1) : NULL;
        char *line = v ? malloc(n) : NULL;
        if (line)
            add(v, memcpy(line, text + at, n), n);
        n_left_out += !line;
        json_decref(v);
    }
    return n_left_out;
}

pantry_status pn_said_open(const char *path, struct pantry_error *err)
{
    char *text = NULL;
    size_t len = 0;
    struct stat st;
    pn_said_close();
    char *folder = strdup(path), *slash = folder ? strrchr(folder, '/') : NULL;
    if (slash && slash > folder) {
        *slash = '\0';
        mkdir(folder, 0700); /* if it fails, so does what follows */
    }
    free(folder);
    int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return pn_fail(err, PANTRY_IO, "%s: cannot open: %s", path, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) { /* another service writes it */
        close(fd);
        return PANTRY_OK;
    }
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return pn_fail(err, PANTRY_IO, "%s: not a regular file", path);
    }
    bool readable = st.st_size <= MAX_FILE && !pn_file_read(path, MAX_FILE, &text, &len, NULL);
    pthread_mutex_lock(&lock);
    file = fd;
    file_path = strdup(path);
    file_bytes = len;
    if (!file_path)
        close_file();
    else if (!readable || (len && read_lines(text, len)))
        rewrite();
    pthread_mutex_unlock(&lock);
    free(text);
    return PANTRY_OK;
}

void pn_said_close(void)
{
    pthread_mutex_lock(&lock);
    for (struct turn *t = turns; t < turns + MAX_TURNS; t++)
        if (t->used)
            forget(t);
    close_file();
    free(file_path);
    file_path = NULL;
    pthread_mutex_unlock(&lock);
}

/* ---- public ---- */

void pn_said_keep(const struct pn_said_key *key, const struct pn_said *said)
{
    size_t len = 0;
    json_t *value = value_of(key, said);
    char *line = value ? line_of(value, &len) : NULL;
    if (line && len <= MAX_TURN) {
        pthread_mutex_lock(&lock);
        add(value, line, len);
        append(line, len);
        pthread_mutex_unlock(&lock);
        line = NULL;
    }
    free(line);
    json_decref(value);
}

/* How well a turn fits; 0: it is another one. */
static int fits(const struct turn *t, const struct pn_said_key *key, uint64_t short_key, uint64_t id)
{
    if (!t->used || t->key != short_key)
        return 0;
    if (key->id && t->id == id)
        return 4;
    return t->position != key->position ? 1 : key->id ? 2 : 3;
}

static bool copy_out(const struct turn *t, const struct pn_said_key *key, bool same, struct pn_said *out)
{
    json_t *v = read_line(t->line, t->len - 1), *ids = json_object_get(v, "ids");
    bool ok = v && strcmp(text_of(v, "owner"), key->owner ? key->owner : "") == 0 &&
              strcmp(text_of(v, "model"), key->model) == 0 && strcmp(text_of(v, "meaning"), key->meaning) == 0;
    *out = (struct pn_said){.n_piece = (size_t)json_integer_value(json_object_get(v, "piece")),
                            .n_ids = json_array_size(ids),
                            .ids = calloc(json_array_size(ids) + 1, sizeof *out->ids),
                            .open = strdup(text_of(v, "open")),
                            .calls = strdup(text_of(v, "calls")),
                            .reasoning = strdup(text_of(v, "reasoning")),
                            .is_same = same};
    snprintf(out->prompt, sizeof out->prompt, "%s", text_of(v, "prompt"));
    ok = ok && out->ids && out->open && out->calls && out->reasoning;
    for (size_t i = 0; ok && i < out->n_ids; i++)
        out->ids[i] = (int32_t)json_integer_value(json_array_get(ids, i));
    if (!ok)
        pn_said_free(out);
    json_decref(v);
    return ok;
}

bool pn_said_find(const struct pn_said_key *key, struct pn_said *out)
{
    uint64_t short_key = short_digest(key->owner ? key->owner : "", key->model, key->meaning);
    uint64_t id = short_digest(key->id ? key->id : "", "", "");
    struct turn *best = NULL;
    int best_fit = 0;
    pthread_mutex_lock(&lock);
    for (struct turn *t = turns; t < turns + MAX_TURNS; t++) {
        int fit = fits(t, key, short_key, id);
        if (fit && (fit > best_fit || (fit == best_fit && t->used > best->used))) {
            best = t;
            best_fit = fit;
        }
    }
    bool found = best && copy_out(best, key, best_fit >= 3, out);
    if (found)
        best->used = ++now;
    pthread_mutex_unlock(&lock);
    return found;
}

void pn_said_free(struct pn_said *s)
{
    free(s->ids);
    free(s->open);
    free(s->calls);
    free(s->reasoning);
    *s = (struct pn_said){0};
}
