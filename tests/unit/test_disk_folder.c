/* The folder of the prefix cache: what is removed first, who may remove it, and what is found in it. */
#define _GNU_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/disk_folder.h"
#include "engine/disk_search.h"
#include "engine/disk_trim.h"
#include "folder.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
enum { BYTES = 8192 };

static int make_root(void **state)
{
    (void)state;
    return make_folder("disk-folder");
}

static int remove_root(void **state)
{
    (void)state;
    return remove_folder();
}

/* ---- usefulness ---- */

static struct pn_disk_key key_of(unsigned char number)
{
    struct pn_disk_key key = {{number}};
    return key;
}

static struct pn_disk_entry entry(unsigned char key, unsigned char parent, enum pn_disk_kind kind, int n, int64_t used)
{
    return (struct pn_disk_entry){
        .block = {.key = key_of(key), .parent = key_of(parent), .kind = kind, .group = kind == PN_DISK_WINDOW, .n = n},
        .used = used};
}

/* A letter per entry in the order of removal. */
static void ranks_like(struct pn_disk_entry *e, size_t n, const char *expected)
{
    char got[32] = "";
    for (size_t i = 0; i < n; i++)
        e[i].bytes = i;
    assert_true(pn_disk_rank(e, n));
    for (size_t i = 0; i < n; i++)
        got[i] = (char)('a' + e[i].bytes);
    assert_string_equal(got, expected);
}

static void ends_go_before_beginnings(void **state)
{
    (void)state;
    /* a - b - c, all used at the same time; - d later; e is another prompt, used between them */
    struct pn_disk_entry e[] = {entry(1, 0, PN_DISK_PAGE, 32, 10), entry(2, 1, PN_DISK_PAGE, 64, 10),
                                entry(3, 2, PN_DISK_PAGE, 96, 10), entry(4, 2, PN_DISK_PAGE, 90, 30),
                                entry(5, 0, PN_DISK_PAGE, 32, 20)};
    ranks_like(e, COUNT(e), "cedba");
}

static void orphans_go_first(void **state)
{
    (void)state;
    /* b needs a page that is missing, c needs b; d is a checkpoint without the page of its tokens */
    struct pn_disk_entry e[] = {entry(1, 0, PN_DISK_PAGE, 32, 10), entry(3, 9, PN_DISK_PAGE, 64, 40),
                                entry(4, 3, PN_DISK_PAGE, 96, 50), entry(7, 1, PN_DISK_CHECKPOINT, 64, 60)};
    ranks_like(e, COUNT(e), "cbda");
}

static void checkpoints_keep_their_pages(void **state)
{
    (void)state;
    /* The checkpoint c was used last, and so were the pages before it; the windows' pages d and e count by themselves.
     */
    struct pn_disk_entry e[] = {entry(1, 0, PN_DISK_PAGE, 32, 10), entry(2, 1, PN_DISK_PAGE, 64, 10),
                                entry(2, 1, PN_DISK_CHECKPOINT, 64, 50), entry(1, 0, PN_DISK_WINDOW, 32, 5),
                                entry(2, 1, PN_DISK_WINDOW, 64, 50)};
    ranks_like(e, COUNT(e), "dceba");
}

/* ---- files ---- */

/* A sealed file of a prompt whose ids are all `id`: the page that ends after n tokens. */
static struct pn_disk_block block_of(int id, int n, unsigned char **file)
{
    int32_t ids[8 * PN_PAGE_TOKENS];
    struct pn_disk_chain chain;
    struct pn_disk_key before = {{42}};
    struct pn_disk_block b = {.kind = PN_DISK_PAGE, .n = n, .bytes = BYTES};
    for (size_t i = 0; i < COUNT(ids); i++)
        ids[i] = id;
    assert_true(pn_disk_chain_init(&chain, &before, ids, COUNT(ids)));
    assert_true(pn_disk_chain_fill(&chain, &b));
    pn_disk_chain_free(&chain);
    *file = calloc(1, pn_disk_file_size(BYTES));
    assert_true(pn_disk_file_seal(*file, &b));
    return b;
}

static void put(struct pn_disk_folder *f, int id, int n)
{
    unsigned char *file;
    struct pn_disk_block b = block_of(id, n, &file);
    assert_int_equal(pn_disk_folder_write(f, &b, file, NULL), PANTRY_OK);
    free(file);
}

/* PANTRY_OK, or why the file is not there. */
static pantry_status get(const struct pn_disk_folder *f, int id, int n)
{
    unsigned char *file;
    struct pn_disk_block b = block_of(id, n, &file);
    pantry_status status = pn_disk_folder_read(f, &b, file);
    free(file);
    return status;
}

static struct pn_disk_folder *open_folder(uint64_t limit)
{
    struct pn_disk_folder *f;
    assert_int_equal(pn_disk_folder_open(in_root("cache"), limit, &f, NULL), PANTRY_OK);
    return f;
}

static void files_come_back(void **state)
{
    (void)state;
    struct pn_disk_folder *f = open_folder(0);
    assert_int_equal(get(f, 1, 32), PANTRY_NOT_FOUND);
    put(f, 1, 32);
    put(f, 1, 32); /* replaces itself */
    assert_int_equal(get(f, 1, 32), PANTRY_OK);
    assert_int_equal(get(f, 2, 32), PANTRY_NOT_FOUND);
    assert_int_equal(get(f, 1, 64), PANTRY_NOT_FOUND);
    pn_disk_folder_close(f);
}

/* A file under the name of another, and things that are not files. */
static void strangers_are_not_read(void **state)
{
    (void)state;
    struct pn_disk_folder *f = open_folder(0);
    unsigned char *file;
    struct pn_disk_block a = block_of(1, 32, &file);
    char name[PN_DISK_NAME], other[PN_DISK_NAME];
    free(file);
    pn_disk_name(&a, name);
    put(f, 2, 32);
    a = block_of(2, 32, &file);
    free(file);
    pn_disk_name(&a, other);
    assert_int_equal(renameat(f->fd, other, f->fd, name), 0);
    assert_int_equal(get(f, 1, 32), PANTRY_FORMAT);
    assert_int_equal(get(f, 1, 32), PANTRY_NOT_FOUND);
    put(f, 2, 32);
    assert_int_equal(symlinkat(other, f->fd, name), 0); /* a link is not followed, and goes */
    assert_int_equal(get(f, 1, 32), PANTRY_FORMAT);
    assert_int_equal(get(f, 2, 32), PANTRY_OK);
    assert_int_equal(mkfifoat(f->fd, name, 0600), 0); /* and a pipe is not waited for */
    assert_int_equal(get(f, 1, 32), PANTRY_FORMAT);
    pn_disk_folder_close(f);
}

/* What belongs to a living process stays: its temporary file, and the folder while it cleans up itself. */
static void the_living_are_left_alone(void **state)
{
    (void)state;
    struct pn_disk_folder *f = open_folder(1);
    struct pn_disk_usage usage;
    put(f, 1, 32);
    int owned = openat(f->fd, PN_DISK_TEMPORARY "1-1", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    int lock = openat(f->fd, "lock", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    assert_int_equal(flock(owned, LOCK_EX), 0);
    assert_int_equal(flock(lock, LOCK_EX), 0);
    assert_int_equal(pn_disk_folder_trim(f, &usage, NULL), PANTRY_OK);
    assert_int_equal(usage.removed, 0);
    assert_int_equal(get(f, 1, 32), PANTRY_OK);
    close(lock);
    assert_int_equal(pn_disk_folder_trim(f, &usage, NULL), PANTRY_OK);
    assert_int_equal(usage.removed, 1);
    assert_int_equal(usage.files, 0);
    assert_true(file_exists(in_root("cache/" PN_DISK_TEMPORARY "1-1")));
    close(owned);
    assert_int_equal(pn_disk_folder_trim(f, &usage, NULL), PANTRY_OK);
    assert_false(file_exists(in_root("cache/" PN_DISK_TEMPORARY "1-1")));
    pn_disk_folder_close(f);
}

/* The end of a prompt goes, its beginning stays. */
static void trimming_keeps_beginnings(void **state)
{
    (void)state;
    struct pn_disk_folder *f = open_folder(6 * (BYTES + 4096));
    struct pn_disk_usage usage;
    for (int n = 32; n <= 256; n += 32)
        put(f, 1, n);
    assert_int_equal(pn_disk_folder_trim(f, &usage, NULL), PANTRY_OK);
    assert_true(usage.removed >= 2 && usage.bytes <= f->limit && usage.files >= 4);
    for (int n = 32; n <= 256; n += 32)
        assert_int_equal(get(f, 1, n), n <= (int)usage.files * 32 ? PANTRY_OK : PANTRY_NOT_FOUND);
    pn_disk_folder_close(f);
}

int main(void)
{
#define IN_ROOT(f) cmocka_unit_test_setup_teardown(f, make_root, remove_root)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ends_go_before_beginnings),
        cmocka_unit_test(orphans_go_first),
        cmocka_unit_test(checkpoints_keep_their_pages),
        IN_ROOT(files_come_back),
        IN_ROOT(strangers_are_not_read),
        IN_ROOT(the_living_are_left_alone),
        IN_ROOT(trimming_keeps_beginnings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
