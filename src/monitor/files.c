/* Text files of /proc and /sys: see files.h. */
#define _POSIX_C_SOURCE 200809L
#include "monitor/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void pn_path(char out[PN_PATH], const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(out, PN_PATH, format, args);
    va_end(args);
    if (n < 0 || n >= PN_PATH)
        *out = '\0';
}

static int make_path(const char *root, const char *path, char out[PN_PATH])
{
    int n = snprintf(out, PN_PATH, "%s/%s", root, path);
    if (n > 0 && n < PN_PATH)
        return 0;
    errno = ENAMETOOLONG;
    return -1;
}

long pn_read_text(const char *root, const char *path, char *out, size_t size)
{
    char full[PN_PATH];
    size_t n = 0;
    *out = '\0';
    int fd = make_path(root, path, full) ? -1 : open(full, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return -1;
    while (n + 1 < size) {
        ssize_t got = read(fd, out + n, size - 1 - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            int error = errno;
            close(fd);
            errno = error;
            *out = '\0';
            return -1;
        }
        if (got == 0)
            break;
        n += (size_t)got;
    }
    close(fd);
    out[n] = '\0';
    return (long)n;
}

const char *pn_read_reason(int error)
{
    return error == EACCES || error == EPERM    ? "no permission"
           : error == ENOENT || error == ENODEV ? "this system does not have it"
                                                : strerror(error);
}

const char *pn_next_line(const char *text)
{
    const char *end = strchr(text, '\n');
    return end ? end + 1 : NULL;
}

bool pn_parse_u64(const char *text, uint64_t *out)
{
    uint64_t v = 0;
    while (*text == ' ' || *text == '\t')
        text++;
    if (*text < '0' || *text > '9')
        return false;
    for (; *text >= '0' && *text <= '9'; text++)
        if (__builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, (uint64_t)(*text - '0'), &v))
            return false;
    *out = v;
    return true;
}

double pn_read_number(const char *root, const char *path)
{
    char text[64];
    uint64_t v;
    if (pn_read_text(root, path, text, sizeof text) <= 0)
        return NAN;
    bool negative = *text == '-';
    if (!pn_parse_u64(text + negative, &v))
        return NAN;
    return negative ? -(double)v : (double)v;
}

void pn_read_line(const char *root, const char *path, char *out, size_t size)
{
    pn_read_text(root, path, out, size);
    out[strcspn(out, "\n")] = '\0';
}

int pn_parse_list(const char *text, int most, void (*take)(void *user, int number), void *user)
{
    int n = 0;
    for (uint64_t first, last; pn_parse_u64(text, &first); text++) {
        text += strspn(text, " \t");
        text += strspn(text, "0123456789");
        last = first;
        if (*text == '-') {
            if (!pn_parse_u64(++text, &last))
                break;
            text += strspn(text, "0123456789");
        }
        for (uint64_t i = first; i <= last && i < (uint64_t)most; i++, n++)
            take(user, (int)i);
        if (*text != ',')
            break;
    }
    return n;
}

/* By the text before the number at the end, then by the number. */
static int by_number(const void *a, const void *b)
{
    const char *x = a, *y = b;
    size_t i = 0;
    while (x[i] && x[i] == y[i])
        i++;
    while (i > 0 && x[i - 1] >= '0' && x[i - 1] <= '9')
        i--;
    size_t n = strspn(x + i, "0123456789"), m = strspn(y + i, "0123456789");
    if (n && m && n != m)
        return n < m ? -1 : 1;
    return strcmp(x + i, y + i);
}

int pn_list_folder(const char *root, const char *path, const char *prefix, char (*out)[PN_ENTRY], int most)
{
    char full[PN_PATH];
    int n = 0;
    DIR *folder = make_path(root, path, full) ? NULL : opendir(full);
    for (struct dirent *e; folder && n < most && (e = readdir(folder));) {
        size_t len = strlen(e->d_name);
        if (strncmp(e->d_name, prefix, strlen(prefix)) == 0 && e->d_name[0] != '.' && len < PN_ENTRY)
            memcpy(out[n++], e->d_name, len + 1);
    }
    if (folder)
        closedir(folder);
    qsort(out, (size_t)n, sizeof *out, by_number);
    return n;
}
