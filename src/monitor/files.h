/* The small text files of /proc and /sys. Their contents are not trusted: numbers are checked, lengths bounded. */
#ifndef PN_MONITOR_FILES_H
#define PN_MONITOR_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PN_PATH = 512 };

/* A path made of parts; "" if it is too long. */
void pn_path(char out[PN_PATH], const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Reads at most size - 1 bytes of root + "/" + path, and ends them with NUL. The number of bytes, or -1; then errno is
 * set, ENAMETOOLONG also for a path beyond PN_PATH. */
long pn_read_text(const char *root, const char *path, char *out, size_t size);
/* Why a file cannot be read, from errno: "no permission: PATH". */
const char *pn_read_reason(int error);

/* After the end of the line; NULL: it is the last. */
const char *pn_next_line(const char *text);
/* The decimal number at the beginning of the text, after blanks; false: there is none, or it exceeds 64 bits. */
bool pn_parse_u64(const char *text, uint64_t *out);
/* The same for a file whose number may be negative; NAN: none. */
double pn_read_number(const char *root, const char *path);
/* The first line, without the end; "": none. */
void pn_read_line(const char *root, const char *path, char *out, size_t size);
/* Numbers of a list such as "0-3,8,10-11"; returns how many are below `most`, and calls `take` for each. */
int pn_parse_list(const char *text, int most, void (*take)(void *user, int number), void *user);

/* Names in a folder that begin with `prefix`, sorted as numbers where they end in one; at most `most`. */
enum { PN_ENTRY = 48 };
int pn_list_folder(const char *root, const char *path, const char *prefix, char (*out)[PN_ENTRY], int most);

#endif
