/* Models in the caches of other programs: found and listed, never changed; hostile caches lead nowhere else. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "folder.h"
#include "store/foreign.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const variables[] = {"OLLAMA_MODELS", "HF_HUB_CACHE",   "HUGGINGFACE_HUB_CACHE", "HF_HOME",
                                        "LLAMA_CACHE",   "XDG_CACHE_HOME", "PANTRY_FOREIGN"};

static int make_root(void **state)
{
    (void)state;
    if (make_folder("foreign"))
        return -1;
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
        unsetenv(variables[i]);
    setenv("PANTRY_HOME", in_root("pantry"), 1);
    setenv("HOME", in_root("home"), 1);
    return 0;
}

static int remove_root(void **state)
{
    (void)state;
    return remove_folder();
}

/* A file below `root`, with its folders. */
static void put(const char *tail, const char *text)
{
    char *path = in_root(tail), *folder = strdup(path);
    assert_non_null(folder);
    *strrchr(folder, '/') = '\0';
    assert_int_equal(pn_layout_make_dirs(folder, NULL), PANTRY_OK);
    free(folder);
    write_file(path, text, 0600);
}

static void put_link(const char *tail, const char *target)
{
    put(tail, "");
    unlink(in_root(tail));
    assert_int_equal(symlink(target, in_root(tail)), 0);
}

static char *digest_of(const char *text)
{
    static char hex[4][PN_SHA256_HEX + 1];
    static unsigned turn;
    char *out = hex[turn++ % 4];
    assert_int_equal(pn_sha256_bytes(text, strlen(text), out, NULL), PANTRY_OK);
    return out;
}

static void put_manifest(const char *tail, const char *digest, size_t size)
{
    char text[512];
    snprintf(text, sizeof text,
             "{\"schemaVersion\": 2, \"layers\": [{\"mediaType\": \"application/vnd.ollama.image.model\","
             " \"digest\": \"%s\", \"size\": %zu}]}",
             digest, size);
    put(tail, text);
}

/* A model in Ollama's layout below a folder: "registry.ollama.ai/library/a/latest" with that text as its file. */
static void put_model(const char *models, const char *name, const char *text)
{
    char tail[300], digest[80];
    snprintf(digest, sizeof digest, "sha256:%s", digest_of(text));
    snprintf(tail, sizeof tail, "%s/blobs/sha256-%s", models, digest + 7);
    put(tail, text);
    snprintf(tail, sizeof tail, "%s/manifests/%s", models, name);
    put_manifest(tail, digest, strlen(text));
}

static void expect_missing(const char *name)
{
    struct pn_stored found;
    assert_int_equal(pn_store_find(name, &found, NULL), PANTRY_NOT_FOUND);
}

/* `name` finds the file below `root`, under the name `shown`. */
static void expect_found(const char *name, const char *source, const char *shown, const char *tail)
{
    struct pn_stored found;
    struct pantry_error err = {0};
    if (pn_store_find(name, &found, &err))
        fail_msg("%s: %s", name, err.text);
    char *real = realpath(in_root(""), NULL), *path = pn_layout_path("%s/%s", real, tail);
    assert_string_equal(found.source, source);
    assert_string_equal(found.name, shown);
    if (strcmp(source, "pantry") != 0)
        assert_string_equal(found.path, path);
    free(real);
    free(path);
    pn_stored_free(&found);
}

/* The names of all models, in order, separated by spaces. */
static void expect_list(const char *names)
{
    struct pn_stored *list;
    size_t n, len = 0;
    char text[4096] = "";
    assert_int_equal(pn_store_list(&list, &n, NULL), PANTRY_OK);
    for (size_t i = 0; i < n; i++) {
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%s", i ? " " : "", list[i].name);
        struct pn_stored found; /* each name finds the model */
        assert_int_equal(pn_store_find(list[i].name, &found, NULL), PANTRY_OK);
        assert_string_equal(found.name, list[i].name);
        assert_string_equal(found.path, list[i].path);
        assert_true(found.bytes == list[i].bytes);
        pn_stored_free(&found);
    }
    assert_string_equal(text, names);
    pn_store_list_free(list, n);
}

static void expect_refused(pantry_status got, pantry_status wanted, const struct pantry_error *err, const char *part)
{
    assert_int_equal(got, wanted);
    if (!strstr(err->text, part))
        fail_msg("\"%s\" is not in \"%s\"", part, err->text);
}

/* ---- Ollama ---- */

#define LIBRARY "registry.ollama.ai/library"

static void test_ollama(void **state)
{
    (void)state;
    put_model("home/.ollama/models", LIBRARY "/llama/latest", "one");
    put_model("home/.ollama/models", LIBRARY "/llama/1b", "two");
    put_model("home/.ollama/models", "hf.co/me/repo/Q8_0", "three");
    char blob[120];
    snprintf(blob, sizeof blob, "home/.ollama/models/blobs/sha256-%s", digest_of("one"));
    expect_found("llama", "ollama", "llama", blob);
    expect_found("llama:latest", "ollama", "llama", blob);
    expect_found("ollama/llama", "ollama", "llama", blob);
    expect_found("ollama/" LIBRARY "/llama:latest", "ollama", "llama", blob);
    expect_missing("llama:2b");
    expect_missing("ollama/");
    expect_list("hf.co/me/repo:Q8_0 llama:1b llama");

    struct pn_stored found;
    assert_int_equal(pn_store_find("llama:1b", &found, NULL), PANTRY_OK);
    assert_true(strstr(found.manifest, "/manifests/" LIBRARY "/llama/1b") != NULL);
    assert_true(found.bytes == 3);
    pn_stored_free(&found);

    setenv("PANTRY_FOREIGN", "0", 1);
    expect_missing("llama");
    expect_missing("ollama/llama");
    expect_list("");
    setenv("PANTRY_FOREIGN", "1", 1);
    expect_list("hf.co/me/repo:Q8_0 llama:1b llama");
}

/* The own store first; then the complete name still means Ollama's. */
static void test_own_first(void **state)
{
    (void)state;
    put_model("home/.ollama/models", LIBRARY "/a/latest", "theirs");
    put_model("pantry/models", LIBRARY "/a/latest", "ours");
    char blob[120];
    snprintf(blob, sizeof blob, "home/.ollama/models/blobs/sha256-%s", digest_of("theirs"));
    expect_found("a", "pantry", "a", "");
    expect_found("ollama/a", "ollama", "ollama/a", blob);
    expect_list("a ollama/a");
    /* a damaged own model does not become another one */
    char damaged[120];
    snprintf(damaged, sizeof damaged, "pantry/models/blobs/sha256-%s", digest_of("ours"));
    assert_int_equal(unlink(in_root(damaged)), 0);
    expect_missing("a");
    expect_found("ollama/a", "ollama", "ollama/a", blob);
    put_model("pantry/models", LIBRARY "/a/latest", "ours");
    /* "smollm2" is smollm2:135m in the own store, smollm2:latest with Ollama */
    put_model("home/.ollama/models", LIBRARY "/smollm2/latest", "small");
    expect_list("a ollama/a smollm2");
    put_model("pantry/models", LIBRARY "/smollm2/135m", "other");
    expect_found("smollm2", "pantry", "smollm2:135m", "");
    expect_list("a smollm2:135m ollama/a ollama/smollm2");
    /* the own store is not another program's */
    setenv("OLLAMA_MODELS", in_root("pantry/models"), 1);
    expect_list("a smollm2:135m ollama/a ollama/smollm2");
}

static void test_ollama_folders(void **state)
{
    (void)state;
    put_model("home/.ollama/models", LIBRARY "/a/latest", "home");
    put_model("elsewhere", LIBRARY "/a/latest", "elsewhere");
    put_model("elsewhere", LIBRARY "/b/latest", "b");
    assert_int_equal(symlink(in_root("elsewhere"), in_root("link")), 0);
    setenv("OLLAMA_MODELS", in_root("link"), 1); /* the folder itself may be a link */
    char blob[120];
    snprintf(blob, sizeof blob, "elsewhere/blobs/sha256-%s", digest_of("elsewhere"));
    expect_found("a", "ollama", "a", blob);
    expect_list("a b");
}

static void test_hostile_ollama(void **state)
{
    (void)state;
    char tail[300], digest[80];
    put("outside/file", "secret");
    put_model("outside", LIBRARY "/linked/latest", "outside");
    put_model("home/.ollama/models", LIBRARY "/good/latest", "good");
    put_manifest("home/.ollama/models/manifests/" LIBRARY "/up/latest", "sha256:../../../outside/file", 6);
    put_manifest("home/.ollama/models/manifests/" LIBRARY "/short/latest", "sha256:abcd", 6);
    snprintf(digest, sizeof digest, "sha256:%s", digest_of("good"));
    put_manifest("home/.ollama/models/manifests/" LIBRARY "/size/latest", digest, 5);
    put("home/.ollama/models/manifests/" LIBRARY "/text/latest", "{");
    put("home/.ollama/models/manifests/" LIBRARY "/none/latest", "{\"layers\": []}");
    put("home/.ollama/models/manifests/" LIBRARY "/not a name/latest", "{}");
    /* links that lead out: of a blob, a manifest, a folder of manifests */
    snprintf(tail, sizeof tail, "home/.ollama/models/blobs/sha256-%s", digest_of("secret"));
    put_link(tail, in_root("outside/file"));
    snprintf(digest, sizeof digest, "sha256:%s", digest_of("secret"));
    put_manifest("home/.ollama/models/manifests/" LIBRARY "/blob/latest", digest, 6);
    put_link("home/.ollama/models/manifests/" LIBRARY "/manifest/latest",
             in_root("home/.ollama/models/../../../outside/manifests/" LIBRARY "/linked/latest"));
    put_link("home/.ollama/models/manifests/" LIBRARY "/linked", in_root("outside/manifests/" LIBRARY "/linked"));
    /* a pipe must not block */
    put("home/.ollama/models/manifests/" LIBRARY "/pipe/latest", "");
    unlink(in_root("home/.ollama/models/manifests/" LIBRARY "/pipe/latest"));
    assert_int_equal(mkfifo(in_root("home/.ollama/models/manifests/" LIBRARY "/pipe/latest"), 0600), 0);
    static const char *const names[] = {"up",   "short",    "size",   "text", "none",
                                        "blob", "manifest", "linked", "pipe", "not a name"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        expect_missing(names[i]);
    expect_list("good");
}

/* ---- LM Studio ---- */

static void test_lmstudio(void **state)
{
    (void)state;
    put("home/.lmstudio/models/pub/one/model-Q4_K_M.gguf", "12345");
    put("home/.lmstudio/models/pub/one/mmproj-model-f16.gguf", "1");
    put("home/.lmstudio/models/pub/mlx/model.safetensors", "1");
    put("home/.lmstudio/models/pub/two/a.gguf", "1");
    put("home/.lmstudio/models/pub/two/sub/b-00001-of-00002.gguf", "12");
    put("home/.lmstudio/models/pub/two/sub/b-00002-of-00002.gguf", "345");
    put("home/.lmstudio/models/pub/half/c-00001-of-00002.gguf", "12");
    put("home/.lmstudio/models/lonely.gguf", "1");
    put("home/.cache/lm-studio/models/old/repo/d.gguf", "1");
    expect_list("lmstudio/pub/one/model-Q4_K_M.gguf lmstudio/pub/two/sub/b-00001-of-00002.gguf "
                "lmstudio/pub/two/a.gguf lmstudio/old/repo/d.gguf");
    const char *name = "lmstudio/pub/one/model-Q4_K_M.gguf", *path = "home/.lmstudio/models/pub/one/model-Q4_K_M.gguf";
    expect_found(name, "lmstudio", name, path);
    expect_found("lmstudio/pub/one", "lmstudio", name, path);
    expect_found("pub/one", "lmstudio", name, path);
    expect_found("pub/one:latest", "lmstudio", name, path);
    expect_found("lmstudio/pub/one/model-Q4_K_M.gguf:latest", "lmstudio", name, path);
    expect_missing("pub/half"); /* a shard is missing */
    expect_missing("pub/mlx");
    expect_missing("lmstudio/pub/one/mmproj-model-f16.gguf");
    struct pn_stored found;
    struct pantry_error err;
    expect_refused(pn_store_find("pub/two", &found, &err), PANTRY_INVALID, &err,
                   "pub/two: 2 models fit; say which (lmstudio/pub/two/sub/b-00001-of-00002.gguf, "
                   "lmstudio/pub/two/a.gguf)");
    assert_int_equal(pn_store_find("pub/two/sub/b-00001-of-00002.gguf", &found, NULL), PANTRY_OK);
    assert_true(found.bytes == 5);
    assert_null(found.manifest);
    pn_stored_free(&found);
}

static void test_lmstudio_homes(void **state)
{
    (void)state;
    char text[500];
    put("big/disk/p/r/x.gguf", "1");
    put("moved/models/p/r/y.gguf", "1");
    snprintf(text, sizeof text, "{\"downloadsFolder\": \"%s\"}", in_root("big/disk"));
    put("moved/settings.json", text);
    snprintf(text, sizeof text, "%s\n", in_root("moved"));
    put("home/.lmstudio-home-pointer", text);
    expect_list("lmstudio/p/r/x.gguf lmstudio/p/r/y.gguf");
    put("moved/settings.json", "[1");
    expect_list("lmstudio/p/r/y.gguf");
    put("home/.lmstudio-home-pointer", "moved");
    expect_list("");
}

static void test_hostile_lmstudio(void **state)
{
    (void)state;
    put("outside/repo/x.gguf", "1");
    put("home/.lmstudio/models/pub/repo/good.gguf", "1");
    put("home/.lmstudio/models/pub/repo/new\nline.gguf", "1");
    put("home/.lmstudio/models/pub/re:po/x.gguf", "1");
    put_link("home/.lmstudio/models/pub/repo/out.gguf", in_root("outside/repo/x.gguf"));
    put_link("home/.lmstudio/models/pub/repo/up.gguf", "../../../../../outside/repo/x.gguf");
    put_link("home/.lmstudio/models/pub/repo/gone.gguf", "nowhere");
    put_link("home/.lmstudio/models/pub/linked", in_root("outside/repo"));
    put_link("home/.lmstudio/models/linked", in_root("outside"));
    put_link("home/.lmstudio/models/pub/repo/deep", in_root("outside/repo"));
    put_link("home/.lmstudio/models/pub/s/a-00001-of-00002.gguf", "../repo/good.gguf"); /* within: fine */
    put_link("home/.lmstudio/models/pub/s/a-00002-of-00002.gguf", in_root("outside/repo/x.gguf"));
    put_link("home/.lmstudio/models/pub/t/inside.gguf", "../repo/good.gguf");
    static const char *const names[] = {"pub/repo/out.gguf",
                                        "pub/repo/up.gguf",
                                        "pub/repo/gone.gguf",
                                        "pub/linked",
                                        "linked/repo",
                                        "pub/repo/deep/x.gguf",
                                        "pub/s",
                                        "pub/../../outside/repo/x.gguf",
                                        "lmstudio/../..",
                                        "lmstudio//",
                                        "lmstudio/pub/",
                                        "lmstudio/pub/repo/",
                                        "lmstudio/pub/repo/../repo/good.gguf"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        expect_missing(names[i]);
    expect_list("lmstudio/pub/repo/good.gguf lmstudio/pub/t/inside.gguf");
}

/* ---- Hugging Face ---- */

static void put_snapshot(const char *repo, const char *file, const char *blob)
{
    char tail[300], target[120];
    snprintf(tail, sizeof tail, "hub/%s/blobs/%s", repo, blob);
    put(tail, blob);
    snprintf(tail, sizeof tail, "hub/%s/snapshots/c0ffee/%s", repo, file);
    snprintf(target, sizeof target, "%s../../blobs/%s", strchr(file, '/') ? "../" : "", blob);
    put_link(tail, target);
}

static void test_hub(void **state)
{
    (void)state;
    setenv("HF_HUB_CACHE", in_root("hub"), 1);
    put("hub/models--me--repo/refs/main", "c0ffee");
    put_snapshot("models--me--repo", "m-Q4_K_M.gguf", "b1");
    put_snapshot("models--me--repo", "m-Q8_0.gguf", "b2");
    put_snapshot("models--me--repo", "m-mmproj-Q8_0.gguf", "b3");
    put_snapshot("models--me--repo", "BF16/m-BF16-00001-of-00002.gguf", "b4");
    put_snapshot("models--me--repo", "BF16/m-BF16-00002-of-00002.gguf", "b5");
    put_snapshot("models--me--plain", "model.gguf", "b1"); /* no refs/main: the only snapshot */
    put_snapshot("models--me--same", "a-Q8_0.gguf", "b1");
    put_snapshot("models--me--same", "b.q8_0.gguf", "b2");
    put_snapshot("models--me--mlx", "model.safetensors", "b1");
    put_snapshot("datasets--me--x", "m-Q8_0.gguf", "b1");
    put("hub/models--me--repo/snapshots/0ld/old-Q2_K.gguf", "1");
    expect_list("hf.co/me/plain/model.gguf hf.co/me/repo:BF16 hf.co/me/repo:Q4_K_M hf.co/me/repo:Q8_0 "
                "hf.co/me/same/a-Q8_0.gguf hf.co/me/same/b.q8_0.gguf");
#define SNAPSHOT "hub/models--me--repo/snapshots/c0ffee/"
    expect_found("hf.co/me/repo:Q8_0", "huggingface", "hf.co/me/repo:Q8_0", SNAPSHOT "m-Q8_0.gguf");
    expect_found("me/repo:q8_0", "huggingface", "hf.co/me/repo:Q8_0", SNAPSHOT "m-Q8_0.gguf");
    expect_found("huggingface.co/me/repo:BF16", "huggingface", "hf.co/me/repo:BF16",
                 SNAPSHOT "BF16/m-BF16-00001-of-00002.gguf");
    expect_found("hf.co/me/repo", "huggingface", "hf.co/me/repo:Q4_K_M", SNAPSHOT "m-Q4_K_M.gguf");
    expect_found("hf.co/me/repo:latest", "huggingface", "hf.co/me/repo:Q4_K_M", SNAPSHOT "m-Q4_K_M.gguf");
    expect_found("hf.co/me/repo/m-Q8_0.gguf", "huggingface", "hf.co/me/repo:Q8_0", SNAPSHOT "m-Q8_0.gguf");
    expect_found("me/same/b.q8_0.gguf", "huggingface", "hf.co/me/same/b.q8_0.gguf",
                 "hub/models--me--same/snapshots/c0ffee/b.q8_0.gguf");
    expect_missing("hf.co/me/repo:Q2_K"); /* an older commit */
    expect_missing("hf.co/me/repo:Q4_K");
    expect_missing("hf.co/me/repo:");
    struct pn_stored found;
    struct pantry_error err;
    expect_refused(pn_store_find("hf.co/me/same:Q8_0", &found, &err), PANTRY_INVALID, &err, "2 models fit");
    /* the same name in the own store: the file's name still means this one */
    put_model("pantry/models", "hf.co/me/repo/Q8_0", "ours");
    expect_found("hf.co/me/repo:Q8_0", "pantry", "hf.co/me/repo:Q8_0", "");
    expect_found("hf.co/me/repo/m-Q8_0.gguf", "huggingface", "hf.co/me/repo/m-Q8_0.gguf", SNAPSHOT "m-Q8_0.gguf");
    setenv("HF_HUB_CACHE", in_root("nowhere"), 1);
    expect_list("hf.co/me/repo:Q8_0");
    assert_int_equal(mkdir(in_root("hf"), 0700), 0);
    assert_int_equal(rename(in_root("hub"), in_root("hf/hub")), 0);
    setenv("HF_HOME", in_root("hf"), 1);
    expect_found("hf.co/me/plain", "huggingface", "hf.co/me/plain/model.gguf",
                 "hf/hub/models--me--plain/snapshots/c0ffee/model.gguf");
}

static void test_hostile_hub(void **state)
{
    (void)state;
    setenv("HF_HUB_CACHE", in_root("hub"), 1);
    put("outside/blob", "1");
    put("outside/snapshots/c0ffee/x-Q8_0.gguf", "1");
    put_snapshot("models--me--good", "m-Q8_0.gguf", "b1");
    put_link("hub/models--me--out/snapshots/c0ffee/m-Q8_0.gguf", in_root("outside/blob"));
    put_link("hub/models--me--other/snapshots/c0ffee/m-Q8_0.gguf", "../../../models--me--good/blobs/b1");
    put_link("hub/models--me--shots/snapshots", in_root("outside/snapshots"));
    put_link("hub/models--me--shot/snapshots/c0ffee", in_root("outside/snapshots/c0ffee"));
    put_link("hub/models--me--repo", in_root("outside"));
    put_snapshot("models--me--up", "m-Q8_0.gguf", "b1");
    put("hub/models--me--up/refs/main", "../../../outside/snapshots/c0ffee");
    put_snapshot("models--me--ref", "m-Q8_0.gguf", "b1");
    put_link("hub/models--me--ref/refs/main", in_root("outside/blob")); /* not read: the only snapshot */
    static const char *const repos[] = {"out", "other", "shots", "shot", "repo", "up", "..", "../good"};
    char name[80];
    for (size_t i = 0; i < sizeof repos / sizeof *repos; i++) {
        snprintf(name, sizeof name, "hf.co/me/%s:Q8_0", repos[i]);
        expect_missing(name);
    }
    expect_list("hf.co/me/good:Q8_0 hf.co/me/ref:Q8_0");
}

/* ---- llama.cpp ---- */

static void test_llama_cpp(void **state)
{
    (void)state;
    put("cache/me_repo_m-Q8_0.gguf", "1");
    put("cache/me_repo_m-Q8_0.gguf.json", "{}");
    put("cache/part.gguf.downloadInProgress", "1");
    put("cache/below/x.gguf", "1");
    put_link("cache/out.gguf", in_root("home/x"));
    setenv("LLAMA_CACHE", in_root("cache"), 1);
    expect_list("llama.cpp/me_repo_m-Q8_0.gguf");
    expect_found("me_repo_m-Q8_0.gguf", "llama.cpp", "llama.cpp/me_repo_m-Q8_0.gguf", "cache/me_repo_m-Q8_0.gguf");
    expect_missing("llama.cpp/out.gguf");
    expect_missing("llama.cpp/below/x.gguf");
    expect_missing("llama.cpp/../cache/me_repo_m-Q8_0.gguf");
    char *long_name = malloc(100001);
    memset(long_name, 'a', 100000);
    memcpy(long_name + 99995, ".gguf", 6);
    expect_missing(long_name);
    free(long_name);
    expect_missing("");
    expect_missing("/");
    put("home/.cache/llama.cpp/y.gguf", "1");
    unsetenv("LLAMA_CACHE");
    expect_list("llama.cpp/y.gguf");
}

/* ---- read-only ---- */

static void test_changes_are_refused(void **state)
{
    (void)state;
    struct pantry_error err;
    struct pn_pruned pruned;
    put_model("home/.ollama/models", LIBRARY "/a/latest", "one");
    put("home/.ollama/models/blobs/sha256-unused", "x");
    put("home/.lmstudio/models/p/r/x.gguf", "1");
    expect_refused(pn_store_remove("a", NULL, &err), PANTRY_UNSUPPORTED, &err, "a: belongs to Ollama (");
    assert_non_null(strstr(err.text, "/home/.ollama/models/blobs/sha256-"));
    assert_non_null(strstr(err.text, "remove it with `ollama rm`"));
    expect_refused(pn_store_remove("lmstudio/p/r/x.gguf", NULL, &err), PANTRY_UNSUPPORTED, &err, "LM Studio");
    expect_refused(pn_store_copy("a", "b", &err), PANTRY_UNSUPPORTED, &err, "`pantry import` makes a copy");
    expect_refused(pn_store_copy("lmstudio/p/r/x.gguf", "b", &err), PANTRY_UNSUPPORTED, &err, "x.gguf");
    expect_refused(pn_store_remove("b", NULL, &err), PANTRY_NOT_FOUND, &err, "b: not in the store");
    assert_int_equal(pn_store_prune(&pruned, &err), PANTRY_OK);
    assert_true(file_exists(in_root("home/.ollama/models/blobs/sha256-unused")));
    expect_list("a lmstudio/p/r/x.gguf");
    assert_false(file_exists(in_root("pantry/models/manifests")));
    /* a copy in the own store is removed there, and only there */
    put_model("pantry/models", LIBRARY "/a/latest", "ours");
    assert_int_equal(pn_store_remove("a", NULL, &err), PANTRY_OK);
    expect_list("a lmstudio/p/r/x.gguf");
}

/* A name goes before a folder, a file before both. */
static void test_resolve(void **state)
{
    (void)state;
    char old[4096], *path;
    put_model("home/.ollama/models", LIBRARY "/a/latest", "one");
    put("home/.lmstudio/models/p/r/x.gguf", "1");
    put("here/a/x", "1");
    put("here/lmstudio/p/r/x.gguf", "1");
    put("here/p/empty", "1");
    assert_non_null(getcwd(old, sizeof old));
    assert_int_equal(chdir(in_root("here")), 0);
    assert_int_equal(pn_store_resolve("a", &path, NULL), PANTRY_OK);
    assert_non_null(strstr(path, "/blobs/sha256-"));
    free(path);
    assert_int_equal(pn_store_resolve("lmstudio/p/r/x.gguf", &path, NULL), PANTRY_OK);
    assert_string_equal(path, "lmstudio/p/r/x.gguf");
    free(path);
    assert_int_equal(pn_store_resolve("p", &path, NULL), PANTRY_OK);
    assert_string_equal(path, "p");
    free(path);
    assert_int_equal(chdir(old), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_root, remove_root)
    const struct CMUnitTest tests[] = {
        TEST(test_ollama),      TEST(test_own_first),      TEST(test_ollama_folders),      TEST(test_hostile_ollama),
        TEST(test_lmstudio),    TEST(test_lmstudio_homes), TEST(test_hostile_lmstudio),    TEST(test_hub),
        TEST(test_hostile_hub), TEST(test_llama_cpp),      TEST(test_changes_are_refused), TEST(test_resolve),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
