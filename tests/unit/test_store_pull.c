/* The parts of a pull that need no server: challenges, hosts, manifests, states of unfinished blobs, addresses. Servers
 * that misbehave: tests/e2e/test_pull.py. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "folder.h"
#include "interpose.h"
#include "store/challenge.h"
#include "store/hub.h"
#include "store/link.h"
#include "store/partfile.h"
#include "store/registry.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- calls that fail ---- */

static const char *trip_name; /* of the call that fails; NULL: none */
static int trip_errno;
static int calls, trip_at; /* the call of any name that fails, in the thread of the tests; 0: none */
static pthread_t tests_thread;

static bool trip(const char *name)
{
    if (trip_at && pthread_equal(pthread_self(), tests_thread) && ++calls == trip_at) {
        errno = EIO;
        return true;
    }
    if (!trip_name || strcmp(name, trip_name) != 0)
        return false;
    errno = trip_errno;
    return true;
}

#define WRAP(result, name, params, args)                                                                               \
    result name params;                                                                                                \
    result name params                                                                                                 \
    {                                                                                                                  \
        static result(*real) params;                                                                                   \
        if (!real)                                                                                                     \
            find_next(#name, &real);                                                                                   \
        return trip(#name) ? -1 : real args;                                                                           \
    }

/* Files of this test need not reach the disk. */
int fsync(int fd)
{
    return fcntl(fd, F_GETFD) >= 0 && !trip("fsync") ? 0 : -1;
}

WRAP(int, rename, (const char *from, const char *to), (from, to))
WRAP(int, mkdir, (const char *path, mode_t mode), (path, mode))
WRAP(int, ftruncate, (int fd, off_t n), (fd, n))
WRAP(ssize_t, pwrite, (int fd, const void *bytes, size_t n, off_t at), (fd, bytes, n, at))
#ifdef __linux__
WRAP(int, fallocate, (int fd, int how, off_t at, off_t n), (fd, how, at, n))
#endif

int nanosleep(const struct timespec *wanted, struct timespec *left)
{
    (void)wanted, (void)left;
    return 0; /* no pauses between tries */
}

static int make_root(void **state)
{
    (void)state;
    trip_name = NULL;
    trip_at = 0;
    tests_thread = pthread_self();
    if (make_folder("pull"))
        return -1;
    setenv("PANTRY_HOME", in_root("home"), 1);
    return pn_layout_make_dirs(in_root("home/models/blobs"), NULL);
}

static int remove_root(void **state)
{
    (void)state;
    trip_name = NULL;
    return remove_folder();
}

/* ---- challenges ---- */

static void reads_challenges(void **state)
{
    (void)state;
    static const struct {
        const char *text, *realm, *service, *scope;
    } good[] = {
        {"Bearer realm=\"https://a/t\",service=\"s\",scope=\"repository:x/y:pull\"", "https://a/t", "s",
         "repository:x/y:pull"},
        {"bearer REALM=\"a\"", "a", "", ""},
        {" ,Bearer   realm = \"a b\" ,\tscope=x:y ", "a b", "", "x:y"},
        {"Bearer realm=https://a/t", "https://a/t", "", ""},
        {"Basic realm=\"no\", Bearer realm=\"yes\"", "yes", "", ""},
        {"Bearer realm=\"yes\", Basic realm=\"no\"", "yes", "", ""},
        {"Bearer realm=\"yes\", error=\"invalid_token\", x=1", "yes", "", ""},
        {"Bearer realm=\"a\\\"b\\\\c\",scope=\"\"", "a\"b\\c", "", ""},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct pn_challenge c;
        assert_true(pn_challenge_parse(good[i].text, strlen(good[i].text), &c));
        assert_string_equal(c.realm, good[i].realm);
        assert_string_equal(c.service, good[i].service);
        assert_string_equal(c.scope, good[i].scope);
        for (size_t n = 0; n < strlen(good[i].text); n++) { /* every beginning, at the end of its memory */
            char *cut = malloc(n + 1);
            memcpy(cut, good[i].text, n);
            pn_challenge_parse(cut + 0, n, &c);
            free(cut);
        }
    }
}

static void refuses_other_challenges(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "Bearer",
        "Bearer realm",
        "Bearer realm=",
        "Bearer realm=\"\"",
        "Bearer realm=\"a",
        "Bearer realm=\"a\\",
        "Basic realm=\"a\"",
        "realm=\"a\"",
        "Bearer service=\"s\"",
        "Bearer realm=\"a\",realm=\"b\"",
        "Bearer realm=\"a\nb\"",
        "Bearer realm=\"\x80\"",
        "Bearers realm=\"a\"",
    };
    struct pn_challenge c;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (pn_challenge_parse(bad[i], strlen(bad[i]), &c))
            fail_msg("accepted: %s", bad[i]);
    static char text[PN_CHALLENGE_TEXT_MAX + 100];
    for (size_t n = 1020; n < 1030; n++) { /* a realm has at most 1,023 bytes */
        int len = snprintf(text, sizeof text, "Bearer realm=\"%0*d\"", (int)n, 0);
        assert_int_equal(pn_challenge_parse(text, (size_t)len, &c), n <= 1023);
    }
    int len = snprintf(text, sizeof text, "Bearer realm=\"a\"%*s", PN_CHALLENGE_TEXT_MAX - 16, "");
    assert_int_equal(len, PN_CHALLENGE_TEXT_MAX);
    assert_true(pn_challenge_parse(text, (size_t)len, &c));
    assert_false(pn_challenge_parse(text, (size_t)len + 1, &c));
}

static void trusts_few_hosts(void **state)
{
    (void)state;
    static const struct {
        const char *registry, *realm;
        bool trusted;
    } cases[] = {
        {"registry.ollama.ai", "registry.ollama.ai", true},
        {"registry.ollama.ai", "OLLAMA.ai", true},
        {"registry.ollama.ai", "auth.ollama.ai", true},
        {"registry.ollama.ai", "ollama.com", false},
        {"registry.ollama.ai", "evilollama.ai", false},
        {"registry.ollama.ai", "ollama.ai.evil.com", false},
        {"registry.ollama.ai", "ai", false},
        {"ollama.ai", "ollama.ai", true},
        {"ollama.ai", "auth.ollama.ai", false}, /* its parent is "ai" */
        {"shop.co.uk", "evil.co.uk", false},
        {"r.shop.co.uk", "auth.shop.co.uk", true},
        {"r.shop.co.uk", "evil.co.uk", false},
        {"r.example.com", "auth.example.com", true},
        {"r.example.com", "com", false},
        {"localhost", "localhost", true},
        {"localhost", "127.0.0.1", false},
        {"10.0.0.1", "9.0.0.1", false},
        {"10.0.0.1", "10.0.0.1", true},
        {"::1", "::1", true},
        {"::1", "::2", false},
        {"a.b.example.com", "example.com", false},
        {"", "", false},
        {"", "a", false},
        {"a", "", false},
        {".", ".", true},
        {"a.b.c", "", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (pn_challenge_trusts(cases[i].registry, cases[i].realm) != cases[i].trusted)
            fail_msg("%s to %s", cases[i].registry, cases[i].realm);
}

/* ---- manifests ---- */

#define HEX_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define LAYER(type, hex, size)                                                                                         \
    "{\"mediaType\": \"application/vnd.ollama.image." type "\", \"digest\": \"sha256:" hex "\", \"size\": " size "}"

static pantry_status parse(const char *text, struct pn_layers *layers, struct pantry_error *err)
{
    return pn_layers_parse(text, strlen(text), layers, err);
}

static void reads_links(void **state)
{
    (void)state;
    static const struct {
        const char *value, *next; /* NULL: none */
    } rows[] = {
        {"<https://x/a?b=c>; rel=\"next\"", "https://x/a?b=c"},
        {"</a>;rel=next", "/a"},
        {" , <a>; REL=\"Next\" ", "a"},
        {"<a>; rel=\"prev\", <b>; title=\"x, y; \\\"<z>\"; rel=\"first next\", <c>; rel=next", "b"},
        {"<a>; rel = next", "a"},
        {"<a>; rel=prev; rel=next", NULL}, /* only the first counts */
        {"<a>; rel=nextt, <b>; rel=\"nex\", <c>; rels=next", NULL},
        {"<a>", NULL},
        {"<a>; rel=prev; rel", NULL},
        {"<>; rel=next", NULL},
        {"<a", NULL},
        {"<a b>; rel=next", NULL},
        {"<a >; rel=next", NULL},
        {"a; rel=next", NULL},
        {"<a>; rel=\"next", "a"}, /* not ended, but clear */
        {"<a> rel=next", NULL},
        {"", NULL},
        {"<0123456789012345678>; rel=next", "0123456789012345678"},
        {"<01234567890123456789>; rel=next", NULL}, /* no room */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char next[20] = "";
        size_t n = strlen(rows[i].value);
        char *exact = malloc(n + 1); /* no zero at its end */
        memcpy(exact, rows[i].value, n);
        bool found = pn_link_next(exact, n, next, sizeof next);
        if (found != (rows[i].next != NULL) || (found && strcmp(next, rows[i].next) != 0))
            fail_msg("%s: found '%s'", rows[i].value, next);
        free(exact);
    }
}

static void reads_the_layers_of_a_manifest(void **state)
{
    (void)state;
    struct pn_layers layers;
    struct pantry_error err = {0};
    assert_int_equal(parse("{\"config\": {\"digest\": \"sha256:" HEX_B "\", \"size\": 7}, \"layers\": [" LAYER(
                               "model", HEX_A, "5") ", " LAYER("license", HEX_B, "7") "]}",
                           &layers, &err),
                     PANTRY_OK);
    assert_int_equal(layers.n, 2); /* the licence is the configuration, too */
    assert_string_equal(layers.layer[0].hex, HEX_B);
    assert_string_equal(layers.layer[1].hex, HEX_A);
    assert_int_equal(layers.layer[1].bytes, 5);
    assert_int_equal(
        parse("{\"layers\": [" LAYER("model", HEX_A, "5") ", " LAYER("model", HEX_B, "5") "]}", &layers, &err),
        PANTRY_OK); /* shards without titles are in their order */
    assert_int_equal(layers.n, 2);
    assert_int_equal(
        parse("{\"layers\": [" LAYER("model", HEX_A, "5") ", " LAYER("adapter", HEX_A, "6") "]}", &layers, &err),
        PANTRY_FORMAT);
    assert_int_equal(parse("{\"layers\": []}", &layers, NULL), PANTRY_FORMAT);
    assert_int_equal(parse("{\"manifests\": []}", &layers, NULL), PANTRY_UNSUPPORTED);

    static char text[PN_MANIFEST_MAX + 2];
    memset(text, ' ', PN_MANIFEST_MAX + 1);
    assert_int_equal(pn_layers_parse(text, PN_MANIFEST_MAX + 1, &layers, &err), PANTRY_FORMAT);
    char many[80000] = "{\"layers\": [" LAYER("model", HEX_A, "5");
    for (int i = 1; i < PN_LAYERS_MAX; i++)
        sprintf(many + strlen(many), ", " LAYER("messages", "%064d", "%d"), i, i);
    size_t n = strlen(many);
    strcpy(many + n, "], \"config\": {\"digest\": \"sha256:" HEX_B "\", \"size\": 0}}");
    assert_int_equal(parse(many, &layers, &err), PANTRY_OK);
    assert_int_equal(layers.n, PN_LAYERS_MAX + 1);
    strcpy(many + n, ", " LAYER("system", HEX_B, "5") "]}");
    assert_int_equal(parse(many, &layers, &err), PANTRY_FORMAT);
}

/* ---- repositories ---- */

#define ENTRY(path) "{\"path\": \"" path "\", \"lfs\": {\"oid\": \"" HEX_A "\", \"size\": 7}}"

static pantry_status choose(const char *files, const char *quant, char **path, struct pantry_error *err)
{
    static const struct pn_pull_options options;
    struct pn_hub_model model;
    pantry_status status = pn_hub_choose(files, strlen(files), quant, &options, &model, err);
    *path = NULL;
    if (!status) {
        assert_string_equal(model.file[0].layer.hex, HEX_A);
        assert_int_equal(model.file[0].layer.bytes, 7);
        *path = strdup(model.file[0].path);
    }
    pn_hub_free(&model);
    return status;
}

static void chooses_the_file_of_a_quant(void **state)
{
    (void)state;
    static const char files[] = "[" ENTRY("README.md") ", " ENTRY("m-Q4_K.gguf") ", " ENTRY("m-Q4_K_M.gguf") ", " ENTRY(
        "sub/m.q8_0.GGUF") ", " ENTRY("m-IQ4_K_M.gguf") ", " ENTRY("mmproj-Q8_0.gguf") ", " ENTRY("m.imatrix.gguf") "]";
    static const struct {
        const char *quant, *path;
    } cases[] = {
        {"Q4_K_M", "m-Q4_K_M.gguf"}, {"q4_k", "m-Q4_K.gguf"},       {"Q8_0", "sub/m.q8_0.GGUF"},
        {"latest", "m-Q4_K_M.gguf"}, {"iq4_k_m", "m-IQ4_K_M.gguf"},
    };
    char *path;
    struct pantry_error err = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(choose(files, cases[i].quant, &path, &err), PANTRY_OK);
        assert_string_equal(path, cases[i].path);
        free(path);
    }
    assert_int_equal(choose(files, "K_M", &path, &err), PANTRY_NOT_FOUND);
    assert_string_equal(err.text, "the repository has no GGUF file for K_M");
    assert_int_equal(choose(files, "m", &path, &err), PANTRY_INVALID);
    assert_non_null(
        strstr(err.text, "4 files fit; add a quant to the name, as in :Q4_K_M (m-Q4_K.gguf, m-Q4_K_M.gguf"));
    assert_int_equal(choose("[" ENTRY("a-F16.gguf") "]", "latest", &path, &err), PANTRY_OK);
    free(path);
    assert_int_equal(choose("[" ENTRY("a-F16.gguf") ", " ENTRY("a-F32.gguf") "]", "latest", &path, &err),
                     PANTRY_INVALID);
    assert_int_equal(choose("[" ENTRY("a-F16-00001-of-00002.gguf") "]", "F16", &path, &err), PANTRY_FORMAT);
    assert_string_equal(err.text, "a-F16-00002-of-00002.gguf: is not in the repository, though "
                                  "a-F16-00001-of-00002.gguf is");
    assert_int_equal(choose("[" ENTRY("a-F16-00001-of-00257.gguf") "]", "F16", &path, &err), PANTRY_LIMIT);
    static const char *const bad[] = {
        "",
        "{}",
        "[{\"path\": \"a.gguf\"}]",
        "[{\"path\": \"a.gguf\", \"lfs\": {\"oid\": \"../../x\", \"size\": 7}}]",
        "[{\"path\": \"a.gguf\", \"lfs\": {\"oid\": \"" HEX_A "\", \"size\": -1}}]",
        "[{\"path\": \"a.gguf\", \"lfs\": {\"oid\": \"" HEX_A "\", \"size\": 0}}]",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(choose(bad[i], "latest", &path, &err), PANTRY_FORMAT);
        assert_null(path);
    }
    static const char *const none[] = {"[1, null, []]", "[" ENTRY("a\\n.gguf") "]", "[" ENTRY(".gguf") "]",
                                       "[" ENTRY("a.gguf.txt") "]"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        assert_int_equal(choose(none[i], "latest", &path, &err), PANTRY_NOT_FOUND);
}

/* The files that are chosen, separated by spaces; a projector's begins with '+'. */
static void assert_files(const char *files, const char *quant, const struct pn_pull_options *options,
                         const char *wanted)
{
    static const struct pn_pull_options nothing;
    struct pn_hub_model model;
    struct pantry_error err = {0};
    char text[1200] = "";
    if (pn_hub_choose(files, strlen(files), quant, options ? options : &nothing, &model, &err))
        snprintf(text, sizeof text, "error: %s", err.text);
    for (size_t i = 0; i < model.n; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s%s", i ? " " : "",
                 model.file[i].projector ? "+" : "", model.file[i].path);
    pn_hub_free(&model);
    assert_string_equal(text, wanted);
}

static void takes_all_parts_in_order(void **state)
{
    (void)state;
    static const char files[] = "[" ENTRY("q8/m-Q8_0-00003-of-00003.gguf") ", " ENTRY(
        "q8/m-Q8_0-00001-of-00003.gguf") ", " ENTRY("m-F16-00002-of-00002.gguf") ", " ENTRY("q8/"
                                                                                            "m-Q8_0-00002-of-00003."
                                                                                            "gguf") "]";
    assert_files(files, "Q8_0", NULL,
                 "q8/m-Q8_0-00001-of-00003.gguf q8/m-Q8_0-00002-of-00003.gguf q8/m-Q8_0-00003-of-00003.gguf");
    assert_files(files, "latest", NULL,
                 "q8/m-Q8_0-00001-of-00003.gguf q8/m-Q8_0-00002-of-00003.gguf q8/m-Q8_0-00003-of-00003.gguf");
    assert_files(files, "F16", NULL, "error: the repository has no GGUF file for F16");
}

/* As llama.cpp: the deepest folder above the model's, then the nearest number of bits, then the first. */
static void takes_the_nearest_projector(void **state)
{
    (void)state;
    static const struct {
        const char *files, *wanted;
    } cases[] = {
        {ENTRY("m-Q4_K_M.gguf"), "m-Q4_K_M.gguf"},
        {ENTRY("mmproj-F32.gguf") ", " ENTRY("mmproj-BF16.gguf") ", " ENTRY("mmproj-F16.gguf") ", " ENTRY(
             "m-Q4_K_M.gguf"),
         "m-Q4_K_M.gguf +mmproj-BF16.gguf"},
        {ENTRY("mmproj-F16.gguf") ", " ENTRY("m-Q4_K_M.gguf") ", " ENTRY("mmproj-m-Q8_0.gguf"),
         "m-Q4_K_M.gguf +mmproj-m-Q8_0.gguf"},
        {ENTRY("sub/mmproj-Q4_0.gguf") ", " ENTRY("m-Q4_K_M.gguf"), "m-Q4_K_M.gguf"},
        {ENTRY("mmproj-Q4_0.gguf") ", " ENTRY("a/mmproj-F32.gguf") ", " ENTRY("a/b/m-Q4_K_M.gguf") ", " ENTRY(
             "a/c/mmproj-Q4_0.gguf"),
         "a/b/m-Q4_K_M.gguf +a/mmproj-F32.gguf"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char files[2000];
        snprintf(files, sizeof files, "[%s]", cases[i].files);
        assert_files(files, "Q4_K_M", NULL, cases[i].wanted);
    }
}

static size_t take_second(void *user, const char *const *files, size_t n)
{
    assert_string_equal(files[1], "m-Q8_0.gguf");
    *(size_t *)user = n;
    return 1;
}

static size_t take_none(void *user, const char *const *files, size_t n)
{
    (void)user, (void)files;
    return n;
}

static void asks_which_of_several(void **state)
{
    (void)state;
    size_t asked = 0;
    const struct pn_pull_options second = {.choose = take_second, .user = &asked}, none = {.choose = take_none};
    static const char files[] = "[" ENTRY("m-Q6_K.gguf") ", " ENTRY("m-Q8_0.gguf") "]";
    assert_files(files, "latest", &second, "m-Q8_0.gguf");
    assert_int_equal(asked, 2);
    assert_files(files, "latest", &none, "error: no file was chosen");
    assert_files(files, "Q6_K", &none, "m-Q6_K.gguf");
}

#define TITLED(type, hex, title)                                                                                       \
    "{\"mediaType\": \"" type "\", \"digest\": \"sha256:" hex                                                          \
    "\", \"size\": 5, \"annotations\": {\"org.opencontainers.image.title\": \"" title "\"}}"
#define DOCKER_GGUF "application/vnd.docker.ai.gguf.v3"
#define CNCF_RAW    "application/vnd.cncf.model.weight.v1.raw"

static void reads_artifacts_of_others(void **state)
{
    (void)state;
    static const struct {
        const char *layers, *why;
    } cases[] = {
        {TITLED(DOCKER_GGUF, HEX_A, ""), NULL},
        {TITLED(CNCF_RAW, HEX_A, "m.gguf"), NULL},
        {TITLED("application/octet-stream", HEX_A, "m.gguf"), NULL},
        {TITLED(CNCF_RAW, HEX_A, "m.gguf") ", " TITLED(CNCF_RAW, HEX_B, "mmproj-m.gguf"), NULL},
        {TITLED(DOCKER_GGUF, HEX_A, "") ", " TITLED("application/vnd.docker.ai.license", HEX_B, "LICENSE"), NULL},
        {TITLED(DOCKER_GGUF, HEX_A, "m-00002-of-00002.gguf") ", " TITLED(DOCKER_GGUF, HEX_B, "m-00001-of-00002.gguf"),
         NULL},
        {TITLED(DOCKER_GGUF, HEX_A, "m-00001-of-00002.gguf") ", " TITLED(DOCKER_GGUF, HEX_B, "m-00001-of-00002.gguf"),
         "has 2 model layers"},
        {TITLED(DOCKER_GGUF, HEX_A, "m-00001-of-00003.gguf") ", " TITLED(DOCKER_GGUF, HEX_B, "m-00002-of-00003.gguf"),
         "has 2 model layers"},
        {TITLED(CNCF_RAW, HEX_A, "model.safetensors"), "has no model layer"},
        {TITLED("application/vnd.cncf.model.weight.v1.tar", HEX_A, "m.gguf"), "has no model layer"},
        {TITLED("application/vnd.oci.image.layer.v1.tar+gzip", HEX_A, "m.gguf"), "is not a model: layer 0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[2000];
        struct pn_layers layers;
        struct pantry_error err = {0};
        snprintf(text, sizeof text, "{\"layers\": [%s]}", cases[i].layers);
        pantry_status status = parse(text, &layers, &err);
        if (cases[i].why ? !status || !strstr(err.text, cases[i].why) : status != PANTRY_OK)
            fail_msg("case %zu: %s", i, err.text);
    }
}

static void only_safe_servers(void **state)
{
    (void)state;
    assert_true(pn_registry_is_safe("https://huggingface.co"));
    assert_true(pn_registry_is_safe("http://localhost:8000"));
    assert_true(pn_registry_is_safe("http://127.0.0.1/x"));
    assert_false(pn_registry_is_safe("http://huggingface.co"));
    assert_false(pn_registry_is_safe("http://localhost.example"));
    assert_false(pn_registry_is_safe("http://127.0.0.1.example"));
    assert_false(pn_registry_is_safe("file:///etc"));
    assert_false(pn_registry_is_safe("localhost"));
}

/* ---- unfinished blobs ---- */

enum { SIZE = (9 << 20) + 5, N_PARTS = 3 };

static pantry_status open_blob(struct pn_partfile *f, struct pantry_error *err)
{
    return pn_partfile_open(f, in_root("home/models"), HEX_A, SIZE, err);
}

static void a_state_survives(void **state)
{
    (void)state;
    struct pn_partfile f;
    assert_int_equal(open_blob(&f, NULL), PANTRY_OK);
    assert_int_equal(f.n, N_PARTS);
    assert_int_equal(pn_partfile_length(&f, 0), 4 << 20);
    assert_int_equal(pn_partfile_length(&f, 2), (1 << 20) + 5);
    assert_int_equal(pn_partfile_present(&f), 0);
    assert_int_equal(pn_partfile_restart(&f, "\"an-etag\"", NULL), PANTRY_OK);
    assert_int_equal(pn_partfile_write(&f, 4 << 20, "hello", 5, NULL), PANTRY_OK);
    f.have[1] = 5;
    f.have[2] = (1 << 20) + 5;
    assert_int_equal(pn_partfile_mark(&f, 1, NULL), PANTRY_OK);
    assert_int_equal(pn_partfile_mark(&f, 2, NULL), PANTRY_OK);
    pn_partfile_close(&f);
    assert_int_equal(open_blob(&f, NULL), PANTRY_OK);
    assert_int_equal(f.have[0], 0);
    assert_int_equal(f.have[1], 5);
    assert_int_equal(f.have[2], (1 << 20) + 5);
    assert_string_equal(f.etag, "\"an-etag\"");
    struct stat st;
    assert_int_equal(stat(f.data_path, &st), 0);
    assert_int_equal(st.st_size, SIZE);
    pn_partfile_close(&f);
    /* of another size: from the beginning */
    assert_int_equal(pn_partfile_open(&f, in_root("home/models"), HEX_A, SIZE - 1, NULL), PANTRY_OK);
    assert_int_equal(pn_partfile_present(&f), 0);
    assert_string_equal(f.etag, "");
    pn_partfile_close(&f);
}

/* Every byte of the state changed, once: never more bytes than a part has, never a crash. */
static void a_damaged_state_is_bounded(void **state)
{
    (void)state;
    struct pn_partfile f;
    char path[512], text[1024];
    assert_int_equal(open_blob(&f, NULL), PANTRY_OK);
    snprintf(path, sizeof path, "%s", f.state_path);
    pn_partfile_close(&f);
    FILE *file = fopen(path, "rb");
    size_t n = fread(text, 1, sizeof text, file);
    fclose(file);
    for (size_t i = 0; i < n; i++)
        for (int c = 0; c < 3; c++) {
            char was = text[i];
            text[i] = "9\xFFx"[c];
            file = fopen(path, "wb");
            fwrite(text, 1, n, file);
            fclose(file);
            text[i] = was;
            assert_int_equal(open_blob(&f, NULL), PANTRY_OK);
            for (size_t k = 0; k < f.n; k++)
                assert_true(f.have[k] <= pn_partfile_length(&f, k));
            pn_partfile_close(&f);
        }
}

static void a_full_disk_shows_before_the_download(void **state)
{
    (void)state;
    struct pn_partfile f;
    struct pantry_error err = {0};
    trip_errno = ENOSPC;
    static const char *const names[] = {
#ifdef __linux__
        "fallocate",
#endif
        "ftruncate", "pwrite"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        trip_name = names[i];
        assert_int_equal(open_blob(&f, &err), PANTRY_LIMIT);
        assert_non_null(strstr(err.text, "No space left"));
        pn_partfile_close(&f);
    }
#ifdef __linux__
    trip_name = "fallocate";
    trip_errno = EOPNOTSUPP; /* file systems that cannot: the space is taken as it comes */
    assert_int_equal(open_blob(&f, &err), PANTRY_OK);
    pn_partfile_close(&f);
#endif
}

static void links_are_not_followed(void **state)
{
    (void)state;
    static const char *const ends[] = {"data", "state"};
    write_file(in_root("victim"), "mine", 0644);
    for (size_t i = 0; i < 2; i++) {
        char path[512];
        struct pn_partfile f;
        snprintf(path, sizeof path, "%s-partial-%s", in_root("home/models/blobs/sha256-" HEX_A), ends[i]);
        assert_int_equal(symlink(in_root("victim"), path), 0);
        assert_int_equal(open_blob(&f, NULL), PANTRY_IO);
        pn_partfile_close(&f);
        unlink(path);
    }
    struct stat st;
    assert_int_equal(stat(in_root("victim"), &st), 0);
    assert_int_equal(st.st_size, 4);
}

/* ---- servers of a kind ---- */

static int listener = -1, port, connections;

/* Accepts and answers `text` to each connection; NULL: nothing, until the other side gives up. */
static void *serve(void *text)
{
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        char request[4096];
        if (fd < 0)
            return NULL;
        connections++;
        if (read(fd, request, sizeof request) > 0 && text && write(fd, text, strlen(text)) < 0)
            perror("write");
        while (!text && read(fd, request, sizeof request) > 0)
            ;
        close(fd);
    }
}

static pthread_t start_server(void *(*run)(void *), const char *text)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof address;
    pthread_t thread;
    connections = 0;
    listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(listener, 8), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &n), 0);
    port = ntohs(address.sin_port);
    assert_int_equal(pthread_create(&thread, NULL, run, (void *)(uintptr_t)text), 0);
    return thread;
}

static void stop_server(pthread_t thread)
{
    shutdown(listener, SHUT_RDWR);
    pthread_join(thread, NULL);
    close(listener);
}

static pantry_status get(bool public_only, unsigned stall, struct pantry_error *err)
{
    struct pn_http http = {
        .origin = "http://127.0.0.1", .plain = true, .public_only = public_only, .stall_seconds = stall};
    struct pn_http_head head;
    struct pn_buf body = {0};
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", port);
    pantry_status status = pn_http_get(&http, url, "Accept: */*", 1000, &head, &body, err);
    pn_buf_free(&body);
    return status;
}

static void a_silent_server_is_left(void **state)
{
    (void)state;
    struct pantry_error err = {0};
    pthread_t server = start_server(serve, NULL);
    assert_int_equal(get(false, 1, &err), PANTRY_IO);
    stop_server(server);
    assert_int_equal(connections, 4);
    assert_non_null(strstr(err.text, "too slow"));
}

/* For names from clients of a service: the machine's own network is not reached, whatever a name resolves to. */
static void private_addresses_are_left_alone(void **state)
{
    (void)state;
    struct pantry_error err = {0};
    pthread_t server = start_server(serve, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_int_equal(get(true, 5, &err), PANTRY_IO);
    char name[64], *path = NULL;
    snprintf(name, sizeof name, "127.0.0.1:%d/x/y:z", port);
    struct pn_pull_options options = {.public_only = true};
    assert_int_equal(pn_store_pull(name, &options, &path, &err), PANTRY_IO);
    assert_null(path);
    assert_int_equal(connections, 0);
    assert_int_equal(pn_store_pull(name, NULL, &path, &err), PANTRY_FORMAT); /* "ok" is not a manifest */
    assert_int_equal(connections--, 1);
    assert_int_equal(get(false, 5, &err), PANTRY_OK);
    assert_int_equal(connections, 1);
    stop_server(server);
    static const struct {
        const char *address;
        bool is_public;
    } cases[] = {
        {"8.8.8.8", true},
        {"10.1.2.3", false},
        {"172.15.0.1", true},
        {"172.16.0.1", false},
        {"172.31.255.1", false},
        {"172.32.0.1", true},
        {"192.168.9.9", false},
        {"169.254.169.254", false},
        {"127.9.9.9", false},
        {"0.0.0.0", false},
        {"100.64.0.1", false},
        {"224.0.0.1", false},
        {"255.255.255.255", false},
        {"::1", false},
        {"::", false},
        {"fe80::1", false},
        {"fd00::1", false},
        {"ff02::1", false},
        {"::ffff:10.0.0.1", false},
        {"::ffff:8.8.8.8", true},
        {"2001:4860::8888", true},
        {"64:ff9b::a00:1", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sockaddr_in v4 = {.sin_family = AF_INET};
        struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
        bool six = strchr(cases[i].address, ':');
        assert_int_equal(
            inet_pton(six ? AF_INET6 : AF_INET, cases[i].address, six ? (void *)&v6.sin6_addr : (void *)&v4.sin_addr),
            1);
        if (pn_http_is_public(six ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4) != cases[i].is_public)
            fail_msg("%s", cases[i].address);
    }
}

static void heads_are_bounded(void **state)
{
    (void)state;
    static char text[200000];
    struct pantry_error err = {0};
    int n = sprintf(text, "HTTP/1.1 200 OK\r\n");
    while (n < 90000)
        n += sprintf(text + n, "X-Header: %080d\r\n", n);
    strcpy(text + n, "Content-Length: 2\r\n\r\nok");
    pthread_t server = start_server(serve, text);
    assert_int_equal(get(false, 5, &err), PANTRY_IO);
    stop_server(server);
}

/* ---- a pull whose calls fail ---- */

static char model_bytes[300000], manifest_text[1024];

/* A registry with one model; it sends no ranges and closes each connection. */
static void *serve_model(void *unused)
{
    (void)unused;
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        char request[4096], head[128];
        if (fd < 0)
            return NULL;
        ssize_t n = recv(fd, request, sizeof request - 1, 0);
        request[n > 0 ? n : 0] = '\0';
        bool manifest = strstr(request, "/manifests/");
        const char *body = manifest ? manifest_text : model_bytes;
        size_t size = manifest ? strlen(manifest_text) : sizeof model_bytes;
        int k =
            snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n", size);
        send(fd, head, (size_t)k, 0);
        for (size_t at = 0; at < size && (n = send(fd, body + at, size - at, 0)) > 0;)
            at += (size_t)n;
        close(fd);
    }
}

static pthread_t start_registry(void)
{
    char hex[PN_SHA256_HEX + 1];
    for (size_t i = 0; i < sizeof model_bytes; i++)
        model_bytes[i] = (char)(i * i % 251);
    pn_sha256_bytes(model_bytes, sizeof model_bytes, hex, NULL);
    snprintf(manifest_text, sizeof manifest_text,
             "{\"layers\": [{\"mediaType\": \"application/vnd.ollama.image.model\", \"digest\": \"sha256:%s\", "
             "\"size\": %zu}]}",
             hex, sizeof model_bytes);
    return start_server(serve_model, NULL);
}

static pantry_status pull_model(struct pantry_error *err)
{
    char name[64], *path = NULL;
    snprintf(name, sizeof name, "127.0.0.1:%d/x/y:z", port);
    pantry_status status = pn_store_pull(name, NULL, &path, err);
    assert_int_equal(path != NULL, status == PANTRY_OK);
    free(path);
    return status;
}

/* A name in the store has all of its bytes. */
static bool has_model(void)
{
    struct pn_stored *list;
    size_t n;
    assert_int_equal(pn_store_list(&list, &n, NULL), PANTRY_OK);
    bool found = n == 1;
    if (found) {
        FILE *f = fopen(list[0].path, "rb");
        static char got[sizeof model_bytes + 1];
        assert_non_null(f);
        assert_int_equal(fread(got, 1, sizeof got, f), sizeof model_bytes);
        assert_memory_equal(got, model_bytes, sizeof model_bytes);
        fclose(f);
    }
    pn_store_list_free(list, n);
    return found;
}

static void every_call_may_fail(void **state)
{
    (void)state;
    pthread_t server = start_registry();
    bool done = false;
    int n = 0;
    while (!done) {
        struct pantry_error err = {0};
        pn_layout_remove(in_root("home"));
        calls = 0;
        trip_at = ++n;
        pantry_status status = pull_model(&err);
        done = calls < n;
        trip_at = 0;
        assert_true(!done || status == PANTRY_OK);
        if (status)
            assert_non_null(strstr(err.text, "x/y:z: "));
        has_model();
        if (pull_model(&err))
            fail_msg("after call %d: %s", n, err.text);
        assert_true(has_model());
    }
    assert_true(n > 15);
    stop_server(server);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_root, remove_root)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_challenges),
        cmocka_unit_test(refuses_other_challenges),
        cmocka_unit_test(trusts_few_hosts),
        cmocka_unit_test(reads_links),
        cmocka_unit_test(reads_the_layers_of_a_manifest),
        cmocka_unit_test(chooses_the_file_of_a_quant),
        cmocka_unit_test(takes_all_parts_in_order),
        cmocka_unit_test(takes_the_nearest_projector),
        cmocka_unit_test(asks_which_of_several),
        cmocka_unit_test(reads_artifacts_of_others),
        cmocka_unit_test(only_safe_servers),
        TEST(a_state_survives),
        TEST(a_damaged_state_is_bounded),
        TEST(a_full_disk_shows_before_the_download),
        TEST(links_are_not_followed),
        TEST(a_silent_server_is_left),
        TEST(private_addresses_are_left_alone),
        TEST(heads_are_bounded),
        TEST(every_call_may_fail),
    };
    signal(SIGPIPE, SIG_IGN); /* a client that has left */
    pn_http_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
