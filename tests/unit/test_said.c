/* Remembered turns: which one is found, what is forgotten, and their file. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/file.h"
#include "folder.h"
#include "server/said.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static int setup(void **state)
{
    (void)state;
    return make_folder("said");
}

static int teardown(void **state)
{
    (void)state;
    pn_said_close();
    return remove_folder();
}

static char *path_of(void)
{
    return in_root("cache/turns");
}

static void open_file(void)
{
    struct pantry_error err = {0};
    if (pn_said_open(path_of(), &err))
        fail_msg("%s", err.text);
}

static struct pn_said_key key_of(const char *owner, const char *model, int meaning, const char *id, int position)
{
    struct pn_said_key key = {.owner = owner, .model = model, .id = id, .position = position};
    snprintf(key.meaning, sizeof key.meaning, "%064x", meaning);
    return key;
}

/* `mark` is what tells turns apart. */
static void keep(struct pn_said_key key, int32_t mark)
{
    int32_t ids[] = {mark, 7};
    struct pn_said said = {
        .n_piece = 12, .open = "<a>\n", .ids = ids, .n_ids = 2, .calls = "[{\"name\":\"f\"}]", .reasoning = "why"};
    snprintf(said.prompt, sizeof said.prompt, "%064x", (unsigned)mark);
    pn_said_keep(&key, &said);
}

/* The mark of the turn that is found; -1: none. */
static int32_t find(struct pn_said_key key, bool *same)
{
    struct pn_said said;
    if (!pn_said_find(&key, &said))
        return -1;
    int32_t mark = said.ids[0];
    assert_int_equal(said.n_ids, 2);
    assert_int_equal(said.ids[1], 7);
    assert_int_equal(said.n_piece, 12);
    assert_int_equal(strtol(said.prompt, NULL, 16), mark);
    assert_string_equal(said.open, "<a>\n");
    assert_string_equal(said.calls, "[{\"name\":\"f\"}]");
    assert_string_equal(said.reasoning, "why");
    if (same)
        *same = said.is_same;
    pn_said_free(&said);
    return mark;
}

static void the_best_turn_is_found(void **state)
{
    (void)state;
    bool same;
    keep(key_of(NULL, "m", 1, "a", 2), 10);
    keep(key_of(NULL, "m", 1, "b", 4), 11);
    keep(key_of(NULL, "m", 1, "c", 6), 12);
    assert_int_equal(find(key_of(NULL, "m", 1, "a", 6), &same), 10); /* by id */
    assert_true(same);
    assert_int_equal(find(key_of(NULL, "m", 1, "other", 4), &same), 11); /* by position */
    assert_false(same);
    assert_int_equal(find(key_of(NULL, "m", 1, NULL, 4), &same), 11);
    assert_true(same);
    keep(key_of(NULL, "m", 1, "d", 8), 13);
    assert_int_equal(find(key_of(NULL, "m", 1, NULL, 3), &same), 13); /* the newest */
    assert_false(same);
    assert_int_equal(find(key_of(NULL, "m", 2, "a", 2), NULL), -1);
}

static void owners_and_models_share_nothing(void **state)
{
    (void)state;
    keep(key_of("one", "m", 1, "a", 2), 10);
    keep(key_of("two", "m", 1, "a", 2), 11);
    assert_int_equal(find(key_of("one", "m", 1, "a", 2), NULL), 10);
    assert_int_equal(find(key_of("two", "m", 1, "a", 2), NULL), 11);
    assert_int_equal(find(key_of(NULL, "m", 1, "a", 2), NULL), -1);
    assert_int_equal(find(key_of("one", "n", 1, "a", 2), NULL), -1);
}

static void a_file_has_them_again(void **state)
{
    (void)state;
    struct stat st;
    open_file();
    keep(key_of("one", "m", 1, "a", 2), 10);
    keep(key_of(NULL, "m", 2, NULL, 4), 11);
    assert_int_equal(stat(path_of(), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    pn_said_close();
    assert_int_equal(find(key_of("one", "m", 1, "a", 2), NULL), -1);
    for (int i = 0; i < 2; i++) {
        open_file();
        assert_int_equal(find(key_of("one", "m", 1, "a", 2), NULL), 10);
        assert_int_equal(find(key_of(NULL, "m", 2, NULL, 4), NULL), 11);
    }
}

static void contents(char **text, size_t *n)
{
    if (pn_file_read(path_of(), 1 << 28, text, n, NULL))
        fail();
}

static size_t size_of_file(void)
{
    struct stat st;
    assert_int_equal(stat(path_of(), &st), 0);
    return (size_t)st.st_size;
}

/* Bytes of the first line. */
static size_t first_line(const char *text, size_t n)
{
    const char *end = memchr(text, '\n', n);
    assert_non_null(end);
    return (size_t)(end - text) + 1;
}

static void put(const char *bytes, size_t n)
{
    FILE *f = fopen(path_of(), "w");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
}

/* Cut anywhere, the file has the turns before the cut, and takes new ones. */
static void torn_files(void **state)
{
    (void)state;
    char *whole;
    size_t n;
    open_file();
    keep(key_of(NULL, "m", 1, "a", 2), 10);
    keep(key_of(NULL, "m", 2, "b", 2), 11);
    pn_said_close();
    contents(&whole, &n);
    size_t first = first_line(whole, n);
    for (size_t cut = 0; cut <= n; cut++) {
        put(whole, cut);
        open_file();
        assert_int_equal(find(key_of(NULL, "m", 1, "a", 2), NULL), cut >= first ? 10 : -1);
        assert_int_equal(find(key_of(NULL, "m", 2, "b", 2), NULL), cut >= n ? 11 : -1);
        keep(key_of(NULL, "m", 3, "c", 2), 12);
        pn_said_close();
        assert_int_equal(size_of_file(), (cut >= n ? n : cut >= first ? first : 0) + n - first);
        open_file();
        assert_int_equal(find(key_of(NULL, "m", 3, "c", 2), NULL), 12);
        pn_said_close();
    }
    free(whole);
}

/* A byte that changes anywhere costs its line alone. */
static void damaged_files(void **state)
{
    (void)state;
    char *whole;
    size_t n;
    open_file();
    keep(key_of(NULL, "m", 1, "a", 2), 10);
    keep(key_of(NULL, "m", 2, "b", 2), 11);
    pn_said_close();
    contents(&whole, &n);
    size_t first = first_line(whole, n);
    for (size_t at = 0; at + 1 < first; at++) {
        whole[at] ^= 1;
        put(whole, n);
        open_file();
        assert_int_equal(find(key_of(NULL, "m", 1, "a", 2), NULL), -1);
        assert_int_equal(find(key_of(NULL, "m", 2, "b", 2), NULL), 11);
        pn_said_close();
        whole[at] ^= 1;
    }
    free(whole);
}

/* Lines that are whole, but do not have the shape of a turn. */
static void hostile_lines(void **state)
{
    (void)state;
    static const char sixty_four[] = "0000000000000000000000000000000000000000000000000000000000000001";
    static const struct {
        const char *ids, *piece, *prompt;
        bool good;
    } rows[] = {{"[10,7]", "12", sixty_four, true},    {"[10,-1]", "12", sixty_four, false},
                {"[10,2.5]", "12", sixty_four, false}, {"[10,4294967296]", "12", sixty_four, false},
                {"{}", "12", sixty_four, false},       {"[10,7]", "-1", sixty_four, false},
                {"[10,7]", "12", "short", false},      {"[10,7]", "\"12\"", sixty_four, true}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char json[1024], line[1200], hex[PN_SHA256_HEX + 1];
        struct pn_said said;
        struct pn_said_key key = key_of(NULL, "m", 1, "a", 2);
        snprintf(json, sizeof json,
                 "{\"owner\":\"\",\"model\":\"m\",\"meaning\":\"%s\",\"id\":\"a\",\"position\":2,\"prompt\":\"%s\","
                 "\"piece\":%s,\"open\":\"\",\"ids\":%s,\"calls\":\"[]\",\"reasoning\":\"\"}",
                 sixty_four, rows[i].prompt, rows[i].piece, rows[i].ids);
        pn_sha256_bytes(json, strlen(json), hex, NULL);
        int n = snprintf(line, sizeof line, "%.16s %s\n", hex, json);
        open_file();
        pn_said_close();
        put(line, (size_t)n);
        open_file();
        bool found = pn_said_find(&key, &said);
        if (found)
            pn_said_free(&said);
        if (found != rows[i].good)
            fail_msg("row %zu", i);
        pn_said_close();
    }
}

static void the_oldest_are_forgotten(void **state)
{
    (void)state;
    enum { MANY = 5000 };
    open_file();
    keep(key_of(NULL, "m", MANY, "kept", 2), 1);
    for (int i = 0; i < MANY; i++) {
        keep(key_of(NULL, "m", i, "a", 2), 100 + i);
        if (i % 1000 == 0)
            assert_int_equal(find(key_of(NULL, "m", MANY, "kept", 2), NULL), 1); /* it is used */
    }
    assert_int_equal(find(key_of(NULL, "m", 10, "a", 2), NULL), -1);
    assert_int_equal(find(key_of(NULL, "m", MANY - 1, "a", 2), NULL), 100 + MANY - 1);
    pn_said_close();
    open_file();
    assert_int_equal(find(key_of(NULL, "m", MANY - 1, "a", 2), NULL), 100 + MANY - 1);
}

/* Turns of 100 KB: the file grows to twice the bound and no further. */
static void the_file_is_bounded(void **state)
{
    (void)state;
    enum { BIG = 100000, MANY = 500, BOUND = 2 * (16 << 20) };
    char *reasoning = calloc(BIG + 1, 1), *huge = calloc((1 << 20) + 1, 1);
    size_t most = 0;
    int32_t ids[] = {5, 7};
    memset(reasoning, 'x', BIG);
    memset(huge, 'x', 1 << 20);
    open_file();
    for (int i = 0; i < MANY; i++) {
        struct pn_said said = {.open = "", .ids = ids, .n_ids = 2, .calls = "[]", .reasoning = reasoning};
        struct pn_said_key key = key_of(NULL, "m", i, "a", 2);
        snprintf(said.prompt, sizeof said.prompt, "%064x", 1u);
        pn_said_keep(&key, &said);
        most = size_of_file() > most ? size_of_file() : most;
        if (i == MANY - 1) { /* one that is too large is not kept */
            said.reasoning = huge;
            key = key_of(NULL, "m", MANY, "a", 2);
            pn_said_keep(&key, &said);
        }
    }
    assert_true(most > BOUND - 2 * BIG && most <= BOUND);
    pn_said_close();
    open_file();
    struct pn_said said;
    struct pn_said_key last = key_of(NULL, "m", MANY - 1, "a", 2), none = key_of(NULL, "m", MANY, "a", 2);
    assert_true(pn_said_find(&last, &said));
    pn_said_free(&said);
    assert_false(pn_said_find(&none, &said));
    free(reasoning);
    free(huge);
}

static void one_process_writes(void **state)
{
    (void)state;
    open_file();
    pn_said_close();
    FILE *other = fopen(path_of(), "r+");
    assert_non_null(other);
    assert_int_equal(flock(fileno(other), LOCK_EX), 0);
    open_file();
    keep(key_of(NULL, "m", 1, "a", 2), 10);
    assert_int_equal(find(key_of(NULL, "m", 1, "a", 2), NULL), 10);
    assert_int_equal(size_of_file(), 0);
    fclose(other);
}

static void what_cannot_be_opened(void **state)
{
    (void)state;
    struct pantry_error err = {0};
    assert_int_equal(pn_said_open(in_root("no/such/turns"), &err), PANTRY_IO);
    assert_non_null(strstr(err.text, "no/such/turns"));
    write_file(in_root("target"), "", 0600);
    assert_int_equal(symlink("target", in_root("link")), 0);
    assert_int_equal(pn_said_open(in_root("link"), &err), PANTRY_IO);
    keep(key_of(NULL, "m", 1, "a", 2), 10);
    assert_int_equal(find(key_of(NULL, "m", 1, "a", 2), NULL), 10);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_best_turn_is_found),
        TEST(owners_and_models_share_nothing),
        TEST(a_file_has_them_again),
        TEST(torn_files),
        TEST(damaged_files),
        TEST(hostile_lines),
        TEST(the_oldest_are_forgotten),
        TEST(the_file_is_bounded),
        TEST(one_process_writes),
        TEST(what_cannot_be_opened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
