/* A folder of the test's own, and what it leaves open. */
#ifndef PN_TESTS_FOLDER_H
#define PN_TESTS_FOLDER_H

#include <stdbool.h>

extern char root[160]; /* the folder, once it is made */

/* Makes `root` from that name below TMPDIR or /tmp and notes how many files are open. Exit status of a fixture. */
int make_folder(const char *name);
/* Removes it, and checks that as many files are open as before. Exit status of a fixture. */
int remove_folder(void);

/* A path in it; valid for the next 31 calls. */
char *in_root(const char *tail);

void write_file(const char *path, const char *text, int mode);
bool file_exists(const char *path);

/* Open files of this process. */
int count_open(void);

#endif
