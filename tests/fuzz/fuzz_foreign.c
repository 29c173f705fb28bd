/* Fuzzes the look into other programs' caches: a name that is looked up, a manifest, a settings file, or what a commit
 * is called. Whatever the input, a model that is found is a file below its cache, and its name finds it again. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "store/foreign.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BLOB    "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae" /* of "foo" */
#define LIBRARY "home/.ollama/models/manifests/registry.ollama.ai/library/"
#define HUB     "home/.cache/huggingface/hub/models--me--repo/"

static char root[64], *real;

static void put(const char *tail, const void *bytes, size_t n)
{
    char *path = pn_layout_path("%s/%s", root, tail), *folder = strdup(path);
    *strrchr(folder, '/') = '\0';
    if (pn_layout_make_dirs(folder, NULL))
        abort();
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(bytes, 1, n, file) != n || fclose(file))
        abort();
    free(folder);
    free(path);
}

static void clean(void)
{
    pn_layout_remove(root);
    free(real);
}

static void start(void)
{
    static const char *const unset[] = {"OLLAMA_MODELS", "HF_HUB_CACHE",   "HUGGINGFACE_HUB_CACHE", "HF_HOME",
                                        "LLAMA_CACHE",   "XDG_CACHE_HOME", "PANTRY_FOREIGN"};
    char path[128];
    strcpy(root, "/tmp/pantry-fuzz-foreign.XXXXXX");
    if (!mkdtemp(root) || !(real = realpath(root, NULL)))
        abort();
    atexit(clean);
    for (size_t i = 0; i < sizeof unset / sizeof *unset; i++)
        unsetenv(unset[i]);
    snprintf(path, sizeof path, "%s/home", root);
    setenv("HOME", path, 1);
    snprintf(path, sizeof path, "%s/own", root);
    setenv("PANTRY_HOME", path, 1);
    put("home/.ollama/models/blobs/sha256-" BLOB, "foo", 3);
    put("home/.lmstudio/models/pub/repo/a-Q4_K_M.gguf", "1", 1);
    put("home/.lmstudio/models/pub/two/b-00001-of-00002.gguf", "1", 1);
    put("home/.lmstudio/models/pub/two/b-00002-of-00002.gguf", "1", 1);
    put("home/.cache/llama.cpp/me_x.gguf", "1", 1);
    put(HUB "snapshots/c0ffee/m-Q8_0.gguf", "1", 1);
    put(HUB "snapshots/other/m-Q4_K_M.gguf", "1", 1);
    put("outside/pub/repo/secret.gguf", "1", 1);
}

static void check(const struct pn_stored *model)
{
    char *file = realpath(model->path, NULL);
    size_t n = strlen(real);
    if (!file || strncmp(file, real, n) != 0 || strncmp(file + n, "/home/", 6) != 0 || !model->name || !model->source)
        abort();
    free(file);
}

static void look_up(const char *name)
{
    struct pn_stored found, again;
    struct pantry_error err;
    if (pn_store_find(name, &found, &err))
        return;
    check(&found);
    if (pn_store_find(found.name, &again, &err) || strcmp(again.path, found.path) != 0)
        abort();
    pn_stored_free(&again);
    pn_stored_free(&found);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const files[] = {LIBRARY "fuzz/latest", "home/.lmstudio/settings.json",
                                        "home/.lmstudio-home-pointer", HUB "refs/main"};
    struct pn_stored *list;
    size_t n;
    if (!*root)
        start();
    if (size == 0)
        return 0;
    unsigned kind = data[0] % 5;
    data++;
    size--;
    if (kind == 4) {
        char *name = strndup((const char *)data, size);
        look_up(name);
        free(name);
        return 0;
    }
    put(files[kind], data, size);
    if (pn_store_list(&list, &n, NULL))
        abort();
    /* Settings may name any folder: that is the user's own choice. */
    for (size_t i = 0; i < n && kind != 1 && kind != 2; i++)
        check(&list[i]);
    pn_store_list_free(list, n);
    char *path = pn_layout_path("%s/%s", root, files[kind]);
    unlink(path);
    free(path);
    return 0;
}
