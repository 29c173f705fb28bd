/* Rights of the service: see rights.h. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "server/rights.h"

#include "base/alloc.h"
#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_PATHS = 256 };

struct paths {
    const char *item[MAX_PATHS + 1];
    size_t n;
    struct pn_arena arena;
};

/* A rule is about a file and not about its name, so a link's target is meant. */
static void add(struct paths *p, const char *path, const char *tail)
{
    size_t n = path ? strlen(path) : 0, m = strlen(tail);
    char *joined = n ? pn_arena_alloc(&p->arena, n + m + 1) : NULL;
    if (!joined || p->n == MAX_PATHS)
        return;
    memcpy(joined, path, n);
    memcpy(joined + n, tail, m);
    p->item[p->n++] = joined;
}

/* The folder of a file, as it is named and where links lead: a new file may take its place. */
static void add_folder_of(struct paths *p, const char *file)
{
    char *real = file ? realpath(file, NULL) : NULL;
    const char *const names[] = {file, real};
    for (size_t i = 0; i < 2; i++) {
        const char *slash = names[i] ? strrchr(names[i], '/') : NULL;
        if (slash && slash != names[i])
            add(p, pn_arena_copy(&p->arena, names[i], (size_t)(slash - names[i])), "");
        else if (names[i] && !slash)
            add(p, ".", "");
    }
    free(real);
}

/* Programs, libraries, certificates, name resolution, and what the system says about itself. */
static void add_system(struct paths *p)
{
    static const char *const folders[] = {"/usr",
                                          "/lib",
                                          "/lib64",
                                          "/etc",
                                          "/opt",
                                          "/proc",
                                          "/sys",
                                          "/dev/urandom",
                                          "/dev/random",
                                          "/dev/zero",
                                          "/nix/store",
                                          "/gnu/store",
                                          "/run/nscd",
                                          "/run/NetworkManager",
                                          "/run/systemd/resolve",
                                          "/run/resolvconf"};
    static const char *const variables[] = {"CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        add(p, folders[i], "");
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
        add(p, getenv(variables[i]), "");
    add_folder_of(p, "/etc/resolv.conf");
}

/* The models of other programs, those that are there now; LM Studio's settings say where its models are. */
static void add_caches(struct paths *p)
{
    static const char *const below_home[] = {"/.lmstudio-home-pointer", "/.lmstudio", "/.cache/lm-studio"};
    struct pn_names folders;
    for (size_t i = 0; i < sizeof below_home / sizeof *below_home; i++)
        add(p, getenv("HOME"), below_home[i]);
    pn_store_foreign_folders(&folders);
    for (size_t i = 0; i < folders.len; i++)
        add(p, folders.data[i], "");
    pn_names_free(&folders);
}

static pantry_status add_own(struct paths *read, struct paths *write, struct pantry_error *err)
{
    char *cache = NULL, *models = NULL;
    pantry_status status = pn_store_private_file("cache", &cache, err);
    if (status)
        return status;
    mkdir(cache, 0777); /* what cannot be made cannot be written either */
    add(write, cache, "");
    *strrchr(cache, '/') = '\0';
    add(read, cache, "");
    if (pn_store_folder(&models, NULL) == PANTRY_OK)
        add(write, models, "");
    add(write, "/dev/null", "");
    free(cache);
    free(models);
    return PANTRY_OK;
}

pantry_status pn_rights_drop(const struct pn_rights *rights, struct pn_sandbox_held *held, struct pantry_error *err)
{
    struct paths read = {.n = 0}, write = {.n = 0};
    add_system(&read);
    add_caches(&read);
    add_folder_of(&read, rights->tls_cert);
    add_folder_of(&read, rights->tls_key);
    add_folder_of(&read, rights->config);
    for (size_t i = 0; rights->folders && rights->folders[i]; i++)
        add(&read, rights->folders[i], "");
    for (size_t i = 0; i < rights->n_adapters; i++)
        if (*rights->adapters[i].path == '/')
            add(&read, rights->adapters[i].path, "");
    pantry_status status = add_own(&read, &write, err);
    add(&write, rights->cache, "");
    struct pn_sandbox sandbox = {.read = read.item, .write = write.item};
    if (rights->socket) {
        const char *slash = strrchr(rights->socket, '/');
        size_t n = slash ? (size_t)(slash - rights->socket) + 1 : 1;
        sandbox.remove_in = pn_arena_copy(&write.arena, slash ? rights->socket : ".", n);
    }
    if (!status)
        status = pn_sandbox_enter(&sandbox, held, err);
    pn_arena_free(&read.arena);
    pn_arena_free(&write.arena);
    return status;
}
