/* API keys: their hashes, their file, and what a damaged file does. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/file.h"
#include "folder.h"
#include "server/keys.h"
#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int setup(void **state)
{
    (void)state;
    return make_folder("keys");
}

static int teardown(void **state)
{
    (void)state;
    return remove_folder();
}

static char *path_of(void)
{
    return in_root("keys.json");
}

static void add(const char *name, enum pn_scope scope, char text[PN_KEY_TEXT + 1])
{
    struct pn_key key;
    struct pantry_error err = {0};
    if (pn_keys_add(path_of(), name, scope, &key, text, &err))
        fail_msg("%s", err.text);
}

static char *contents(void)
{
    char *text;
    size_t n;
    assert_int_equal(pn_file_read(path_of(), 1 << 20, &text, &n, NULL), PANTRY_OK);
    return text;
}

static void keys_are_found_by_their_text(void **state)
{
    (void)state;
    char a[PN_KEY_TEXT + 1], b[PN_KEY_TEXT + 1], wrong[PN_KEY_TEXT + 2];
    struct pn_keys keys;
    assert_int_equal(pn_keys_open(&keys, path_of(), NULL), PANTRY_OK);
    assert_int_equal(keys.n, 0);
    pn_keys_close(&keys);
    add("a", PN_SCOPE_INFER, a);
    add("b", PN_SCOPE_MANAGE, b);
    assert_int_equal(pn_keys_open(&keys, path_of(), NULL), PANTRY_OK);
    assert_int_equal(keys.n, 2);
    assert_ptr_equal(pn_keys_find(&keys, a), &keys.key[0]);
    assert_ptr_equal(pn_keys_find(&keys, b), &keys.key[1]);
    assert_int_equal(keys.key[0].scope, PN_SCOPE_INFER);
    assert_int_equal(keys.key[1].scope, PN_SCOPE_MANAGE);
    assert_string_equal(keys.key[1].last, b + PN_KEY_TEXT - PN_KEY_LAST);
    assert_string_not_equal(keys.key[0].salt, keys.key[1].salt);
    for (size_t i = 0; i < PN_KEY_TEXT; i++) {
        strcpy(wrong, a);
        wrong[i] ^= 1;
        assert_null(pn_keys_find(&keys, wrong));
        wrong[i] = '\0';
        assert_null(pn_keys_find(&keys, wrong));
    }
    snprintf(wrong, sizeof wrong, "%s0", a);
    assert_null(pn_keys_find(&keys, wrong));
    assert_null(pn_keys_find(&keys, keys.key[0].hash));
    pn_keys_close(&keys);
}

/* printf '%s%s' SALT KEY | sha256sum */
static void the_hash_is_sha256_of_salt_and_key(void **state)
{
    (void)state;
    static const char text[] = "pk-0000000000000000000000000000000000000000000000000000000000000000";
    struct pn_keys keys;
    write_file(path_of(),
               "{\"version\": 1, \"keys\": [{\"name\": \"a\", \"scope\": \"infer\", \"created\": 0, \"last\": \"0000\","
               " \"salt\": \"00112233445566778899aabbccddeeff\", \"hash\": "
               "\"0f2d0db93ec6f2ab214871290f4e8492bdb790ec482144ef6156e063efede57f\"}]}",
               0600);
    assert_int_equal(pn_keys_open(&keys, path_of(), NULL), PANTRY_OK);
    assert_non_null(pn_keys_find(&keys, text));
    pn_keys_close(&keys);
}

static void the_file_is_private_and_has_no_key(void **state)
{
    (void)state;
    char text[PN_KEY_TEXT + 1];
    struct stat st;
    mode_t old = umask(0);
    add(NULL, PN_SCOPE_INFER, text);
    umask(old);
    assert_int_equal(stat(path_of(), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat(in_root("keys.json-lock"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_false(file_exists(in_root("keys.json-partial")));
    char *all = contents();
    for (size_t n = PN_KEY_LAST + 1; n <= PN_KEY_TEXT; n++)
        assert_null(strstr(all, text + PN_KEY_TEXT - n));
    free(all);
    static const int modes[] = {0640, 0604, 0660, 0602, 0644};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        struct pn_keys keys;
        struct pantry_error err;
        assert_int_equal(chmod(path_of(), (mode_t)modes[i]), 0);
        assert_int_equal(pn_keys_open(&keys, path_of(), &err), PANTRY_INVALID);
        assert_non_null(strstr(err.text, path_of()));
        assert_non_null(strstr(err.text, "chmod 600"));
    }
}

static void names(void **state)
{
    (void)state;
    char text[PN_KEY_TEXT + 1], longest[PN_KEY_NAME + 2];
    struct pn_key key;
    memset(longest, 'x', sizeof longest);
    longest[PN_KEY_NAME + 1] = '\0';
    const char *const bad[] = {"", "a b", "../a", "-a", ".a", "a/b", "a\n", "\xc3\xa4", longest};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(pn_keys_add(path_of(), bad[i], PN_SCOPE_INFER, &key, text, NULL), PANTRY_INVALID);
    assert_false(file_exists(path_of()));
    longest[PN_KEY_NAME] = '\0';
    add(longest, PN_SCOPE_INFER, text);
    add("key-2", PN_SCOPE_INFER, text);
    assert_int_equal(pn_keys_add(path_of(), "key-2", PN_SCOPE_INFER, &key, text, NULL), PANTRY_INVALID);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pn_keys_add(path_of(), NULL, PN_SCOPE_INFER, &key, text, NULL), PANTRY_OK);
        assert_string_equal(key.name, i ? "key-3" : "key-1");
    }
}

static void removal_and_refresh(void **state)
{
    (void)state;
    char a[PN_KEY_TEXT + 1], b[PN_KEY_TEXT + 1];
    struct pn_keys keys;
    assert_int_equal(pn_keys_open(&keys, path_of(), NULL), PANTRY_OK);
    add("a", PN_SCOPE_INFER, a);
    assert_null(pn_keys_find(&keys, a));
    assert_int_equal(pn_keys_refresh(&keys, NULL), PANTRY_OK);
    assert_non_null(pn_keys_find(&keys, a));
    for (int i = 0; i < 50; i++) { /* files of one size, within a tick of the file system's clock */
        assert_int_equal(pn_keys_remove(path_of(), "a", NULL), PANTRY_OK);
        add("a", PN_SCOPE_INFER, b);
        assert_int_equal(pn_keys_refresh(&keys, NULL), PANTRY_OK);
        assert_null(pn_keys_find(&keys, a));
        assert_non_null(pn_keys_find(&keys, b));
    }
    assert_int_equal(pn_keys_remove(path_of(), "b", NULL), PANTRY_NOT_FOUND);
    assert_int_equal(pn_keys_remove(path_of(), "a", NULL), PANTRY_OK);
    assert_int_equal(pn_keys_refresh(&keys, NULL), PANTRY_OK);
    assert_int_equal(keys.n, 0);
    pn_keys_close(&keys);
}

/* Whatever is wrong with the file, the keys of before are gone, and none may be added. */
static void refused(struct pn_keys *keys, const char *text)
{
    struct pantry_error err = {0};
    struct pn_key key;
    char made[PN_KEY_TEXT + 1];
    write_file(path_of(), text, 0600);
    if (!pn_keys_refresh(keys, &err))
        fail_msg("not refused: %s", text);
    assert_non_null(strstr(err.text, path_of()));
    assert_int_equal(keys->n, 0);
    assert_true(pn_keys_refresh(keys, NULL) < 0);
    assert_true(pn_keys_add(path_of(), "z", PN_SCOPE_INFER, &key, made, NULL) < 0);
}

#define ROW(name, scope, created, last, salt, hash)                                                                    \
    "{\"name\": " name ", \"scope\": " scope ", \"created\": " created ", \"last\": " last ", \"salt\": " salt         \
    ", \"hash\": " hash "}"
#define SALT          "\"00112233445566778899aabbccddeeff\""
#define HASH          "\"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\""
#define GOOD          ROW("\"a\"", "\"infer\"", "1", "\"0000\"", SALT, HASH)
#define FILE_OF(rows) "{\"version\": 1, \"keys\": [" rows "]}"

static void damaged_files(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "{}",
        "[]",
        "null",
        "{\"version\": 1}",
        "{\"version\": 2, \"keys\": []}",
        "{\"version\": 1, \"keys\": {}}",
        "{\"version\": 1, \"keys\": [], \"more\": 1}",
        "{\"version\": 1, \"keys\": [], \"keys\": []}",
        FILE_OF("7"),
        FILE_OF("{}"),
        FILE_OF(GOOD ", " GOOD),
        FILE_OF(GOOD) "x",
        FILE_OF(ROW("\"a b\"", "\"infer\"", "1", "\"0000\"", SALT, HASH)),
        FILE_OF(ROW("7", "\"infer\"", "1", "\"0000\"", SALT, HASH)),
        FILE_OF(ROW("\"a\"", "\"open\"", "1", "\"0000\"", SALT, HASH)),
        FILE_OF(ROW("\"a\"", "null", "1", "\"0000\"", SALT, HASH)),
        FILE_OF(ROW("\"a\"", "\"infer\"", "-1", "\"0000\"", SALT, HASH)),
        FILE_OF(ROW("\"a\"", "\"infer\"", "1.5", "\"0000\"", SALT, HASH)),
        FILE_OF(ROW("\"a\"", "\"infer\"", "1", "\"000\"", SALT, HASH)),
        FILE_OF(ROW("\"a\"", "\"infer\"", "1", "\"000x\"", SALT, HASH)),
        FILE_OF(ROW("\"a\"", "\"infer\"", "1", "\"0000\"", "\"00\"", HASH)),
        FILE_OF(ROW("\"a\"", "\"infer\"", "1", "\"0000\"", HASH, HASH)),
        FILE_OF(ROW("\"a\"", "\"infer\"", "1", "\"0000\"", SALT, SALT)),
        FILE_OF(ROW("\"a\"", "\"infer\"", "1", "\"0000\"", SALT, "\"\"")),
        FILE_OF(ROW("\"a\"", "\"infer\"", "1", "\"0000\"", SALT, HASH ", \"more\": 1")),
    };
    struct pn_keys keys;
    write_file(path_of(), FILE_OF(GOOD), 0600);
    assert_int_equal(pn_keys_open(&keys, path_of(), NULL), PANTRY_OK);
    assert_int_equal(keys.n, 1);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refused(&keys, bad[i]);
    char cut[sizeof FILE_OF(GOOD)];
    for (size_t n = 0; n + 1 < sizeof cut; n++) {
        memcpy(cut, FILE_OF(GOOD), n);
        cut[n] = '\0';
        refused(&keys, cut);
    }
    char *large = malloc((2 << 20) + 1);
    memset(large, '[', 2 << 20);
    large[2 << 20] = '\0';
    refused(&keys, large);
    large[1 << 20] = '\0';
    refused(&keys, large);
    free(large);
    unlink(path_of());
    assert_int_equal(mkdir(path_of(), 0700), 0);
    assert_true(pn_keys_refresh(&keys, NULL) < 0);
    rmdir(path_of());
    assert_int_equal(mkfifo(path_of(), 0600), 0);
    assert_int_equal(pn_keys_refresh(&keys, NULL), PANTRY_INVALID);
    unlink(path_of());
    write_file(path_of(), FILE_OF(GOOD), 0600);
    assert_int_equal(pn_keys_refresh(&keys, NULL), PANTRY_OK);
    assert_int_equal(keys.n, 1);
    pn_keys_close(&keys);
}

static void too_many(void **state)
{
    (void)state;
    struct pn_keys keys;
    struct pn_key key;
    char text[PN_KEY_TEXT + 1], *all = malloc(PN_KEYS_MAX * 300 + 1000), *end = all;
    end += sprintf(end, "{\"version\": 1, \"keys\": [");
    for (int i = 0; i < PN_KEYS_MAX; i++)
        end += sprintf(end, "%s" ROW("\"n%d\"", "\"infer\"", "1", "\"0000\"", SALT, HASH), i ? "," : "", i);
    strcpy(end, "]}");
    write_file(path_of(), all, 0600);
    assert_int_equal(pn_keys_open(&keys, path_of(), NULL), PANTRY_OK);
    assert_int_equal(keys.n, PN_KEYS_MAX);
    pn_keys_close(&keys);
    assert_int_equal(pn_keys_add(path_of(), "more", PN_SCOPE_INFER, &key, text, NULL), PANTRY_LIMIT);
    strcpy(end, "," GOOD "]}");
    write_file(path_of(), all, 0600);
    assert_int_equal(pn_keys_open(&keys, path_of(), NULL), PANTRY_LIMIT);
    free(all);
}

static int add_and_remove(int who)
{
    char name[32], text[PN_KEY_TEXT + 1];
    struct pn_key key;
    for (int i = 0; i < 10; i++) {
        snprintf(name, sizeof name, "p%d-%d", who, i);
        if (pn_keys_add(path_of(), name, PN_SCOPE_INFER, &key, text, NULL))
            return 1;
        if (i % 2 && pn_keys_remove(path_of(), name, NULL))
            return 1;
    }
    return 0;
}

static void processes_that_add_at_once(void **state)
{
    (void)state;
    enum { N = 4 };
    pid_t child[N];
    struct pn_keys keys;
    for (int i = 0; i < N; i++)
        if ((child[i] = fork()) == 0)
            _exit(add_and_remove(i));
    for (int i = 0; i < N; i++) {
        int status;
        assert_int_equal(waitpid(child[i], &status, 0), child[i]);
        assert_int_equal(status, 0);
    }
    assert_int_equal(pn_keys_open(&keys, path_of(), NULL), PANTRY_OK);
    assert_int_equal(keys.n, N * 5);
    pn_keys_close(&keys);
}

static void scopes(void **state)
{
    (void)state;
    enum pn_scope scope;
    assert_true(pn_scope_parse("infer", &scope) && scope == PN_SCOPE_INFER);
    assert_true(pn_scope_parse("manage", &scope) && scope == PN_SCOPE_MANAGE);
    assert_false(pn_scope_parse("open", &scope) || pn_scope_parse("", &scope) || pn_scope_parse("Infer", &scope));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(keys_are_found_by_their_text),
        TEST(the_hash_is_sha256_of_salt_and_key),
        TEST(the_file_is_private_and_has_no_key),
        TEST(names),
        TEST(removal_and_refresh),
        TEST(damaged_files),
        TEST(too_many),
        TEST(processes_that_add_at_once),
        TEST(scopes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
