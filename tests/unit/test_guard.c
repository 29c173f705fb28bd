/* Which hosts, origins and content types the service lets in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "server/guard.h"

static void hosts(void **state)
{
    (void)state;
    static const char *const good[] = {"localhost",       "localhost:11434",
                                       "LOCALHOST:1",     "127.0.0.1",
                                       "127.0.0.1:11434", "[::1]",
                                       "[::1]:11434",     "192.168.1.7",
                                       "0.0.0.0:80",      "my.localhost",
                                       "a.localhost:2",   "box.lan",
                                       "BOX.lan:99",      ""};
    static const char *const bad[] = {"evil.example",
                                      "evil.example:11434",
                                      "localhost.evil.example",
                                      "127.0.0.1.evil.example",
                                      "notlocalhost",
                                      "box.lan.evil",
                                      "[::1",
                                      "[::1]x",
                                      ":80",
                                      "1.2.3",
                                      "127.0.0.1evil",
                                      "[localhost.evil]"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!pn_guard_host(good[i], "box.lan"))
            fail_msg("%s was refused", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (pn_guard_host(bad[i], "box.lan"))
            fail_msg("%s was let in", bad[i]);
    assert_true(pn_guard_host(NULL, NULL));
    assert_false(pn_guard_host("box.lan", NULL));
}

static void origins(void **state)
{
    (void)state;
    static const char *const good[] = {"http://localhost",  "https://localhost:3000", "http://127.0.0.1:5173",
                                       "http://[::1]:8080", "app://obsidian.md",      "tauri://localhost",
                                       "file://",           "https://chat.example",   "vscode-webview://1a2b",
                                       "http://x.localhost"};
    static const char *const bad[] = {"null",
                                      "",
                                      "http://evil.example",
                                      "https://localhost.evil.example",
                                      "http://127.0.0.1.evil.example",
                                      "http://192.168.1.7",
                                      "https://chat.example.evil",
                                      "chrome-extension://abc",
                                      "http://127.evil.example",
                                      "ftp://localhost",
                                      "http://",
                                      "localhost"};
    static const char *const more[] = {"https://chat.example", NULL}, *const all[] = {"*", NULL};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!pn_guard_origin(good[i], more))
            fail_msg("%s was refused", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (pn_guard_origin(bad[i], more))
            fail_msg("%s was let in", bad[i]);
        assert_true(pn_guard_origin(bad[i], all));
    }
    assert_true(pn_guard_origin(NULL, NULL));
    assert_false(pn_guard_origin("https://chat.example", NULL));
}

static void content_types(void **state)
{
    (void)state;
    assert_true(pn_guard_content_type("application/json", true));
    assert_true(pn_guard_content_type("Application/JSON; charset=utf-8", true));
    assert_false(pn_guard_content_type("application/json-patch", true));
    assert_false(pn_guard_content_type("text/plain", true));
    assert_false(pn_guard_content_type("application/x-www-form-urlencoded", true));
    assert_false(pn_guard_content_type("", true));
    assert_false(pn_guard_content_type(NULL, true));
    assert_true(pn_guard_content_type("application/x-www-form-urlencoded", false)); /* curl -d */
    assert_true(pn_guard_content_type(NULL, false));
}

static void addresses_to_listen_on(void **state)
{
    (void)state;
    assert_true(pn_guard_is_local("127.0.0.1") && pn_guard_is_local("127.8.8.8") && pn_guard_is_local("::1") &&
                pn_guard_is_local("localhost"));
    assert_false(pn_guard_is_local("0.0.0.0") || pn_guard_is_local("::") || pn_guard_is_local("192.168.1.7") ||
                 pn_guard_is_local("box.lan") || pn_guard_is_local("127.evil.example"));
}

static void keys(void **state)
{
    (void)state;
    static const struct {
        const char *authorization, *api_key, *key;
    } rows[] = {
        {"Bearer abc", NULL, "abc"},
        {"bearer abc", NULL, "abc"},
        {"Bearer   abc \t", NULL, "abc"},
        {"Bearer a b", NULL, "a b"},
        {"Bearer ", NULL, ""},
        {"Bearer", NULL, ""},
        {"Bearerabc", NULL, ""},
        {"Basic abc", NULL, ""},
        {"", NULL, ""},
        {NULL, NULL, ""},
        {NULL, " abc ", "abc"},
        {"Basic abc", "def", "def"},
        {"Bearer abc", "def", "abc"},
        {"Bearer ", "def", ""},
        {"Bearer 1234567", NULL, "1234567"},
        {"Bearer 12345678", NULL, ""},
        {NULL, "123456789", ""},
        {NULL, "Bearer abc", ""},
    };
    char key[8];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        pn_guard_key(rows[i].authorization, rows[i].api_key, key, sizeof key);
        assert_string_equal(key, rows[i].key);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hosts),         cmocka_unit_test(origins),
        cmocka_unit_test(content_types), cmocka_unit_test(addresses_to_listen_on),
        cmocka_unit_test(keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
