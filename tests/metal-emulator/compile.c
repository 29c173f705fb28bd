/* Compiles Metal source: preprocesses, translates (scan.c), compiles as C++ and loads the result. Kept in the folder
 * METAL_EMULATOR_CACHE, or `cache` beside the emulator, under the hash of all that the result depends on. */
#include "emulator.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static const char *const compilers[] = {"clang++",    "clang++-19", "clang++-18", "clang++-17",
                                        "clang++-16", "clang++-14", "g++",        "c++"};

static char *text(const char *format, ...) __attribute__((format(printf, 1, 2)));

static char *text(const char *format, ...)
{
    char *out;
    va_list args;
    va_start(args, format);
    if (vasprintf(&out, format, args) < 0)
        abort();
    va_end(args);
    return out;
}

/* The folder of this library, without a slash at the end. */
static const char *folder(void)
{
    static char *path;
    Dl_info info;
    if (!path && dladdr((void *)(uintptr_t)folder, &info)) {
        char *real = realpath(info.dli_fname, NULL);
        char *slash = real ? strrchr(real, '/') : NULL;
        if (!slash)
            emu_misuse("cannot find its own folder");
        *slash = 0;
        path = real;
    }
    return path;
}

static bool is_program(const char *name)
{
    const char *path = getenv("PATH");
    char *list = strdup(path ? path : "/usr/bin"), *save = NULL;
    bool found = false;
    for (char *dir = strtok_r(list, ":", &save); dir && !found; dir = strtok_r(NULL, ":", &save)) {
        char *file = text("%s/%s", dir, name);
        found = access(file, X_OK) == 0;
        free(file);
    }
    free(list);
    return found;
}

/* METAL_EMULATOR_CXX, or the first that exists; NULL: none. */
static const char *compiler(void)
{
    const char *set = getenv("METAL_EMULATOR_CXX");
    for (size_t i = 0; !set && i < sizeof compilers / sizeof *compilers; i++)
        if (is_program(compilers[i]))
            set = compilers[i];
    return set;
}

static char *read_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    char *out = NULL;
    size_t n = 0;
    if (!f)
        return NULL;
    FILE *to = open_memstream(&out, &n);
    for (int c; to && (c = getc(f)) != EOF;)
        putc(c, to);
    fclose(f);
    if (to)
        fclose(to);
    return out;
}

static void write_file(const char *path, const char *heading, const char *what)
{
    FILE *f = fopen(path, "wb");
    if (!f || fputs(heading, f) < 0 || fputs(what, f) < 0 || fclose(f))
        emu_misuse("%s: cannot write: %s", path, strerror(errno));
}

/* Runs a program with its messages in a file. False if it failed. */
static bool run(char *const argv[], const char *messages)
{
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 2, messages, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    pid_t pid;
    int status = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (status)
        emu_misuse("%s: %s", argv[0], strerror(status));
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            emu_misuse("waiting for %s: %s", argv[0], strerror(errno));
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static uint64_t hash(uint64_t h, const char *s)
{
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 0x100000001B3u;
    return h * 0x100000001B3u;
}

/* Includes of the source itself are in it already: the hash of both headers, the source and the compiler is enough. */
static uint64_t key(const char *source, const char *include, const char *cxx, word language)
{
    uint64_t h = hash(0xCBF29CE484222325u ^ language, source);
    const char *const files[] = {"metal_stdlib", "kernel_abi.h"};
    for (int i = 0; i < 2; i++) {
        char *path = text("%s/%s", include, files[i]), *content = read_file(path);
        if (!content)
            emu_misuse("%s: cannot read", path);
        h = hash(h, content);
        free(content);
        free(path);
    }
    return hash(h, cxx);
}

static bool preprocess(const char *cxx, const char *include, const char *source, const char *out, const char *messages,
                       word language)
{
    word version = language ? (language >> 16) * 100 + (language & 255) * 10 : 310;
    char *before = text("-I%s/before", include), *define = text("-D__METAL_VERSION__=%lu", version);
    char *argv[] = {(char *)cxx, "-E",          "-x",           "c++", "-std=c++14", "-nostdinc", before,
                    define,      "-D__METAL__", (char *)source, "-o",  (char *)out,  NULL};
    bool ok = run(argv, messages);
    free(before);
    free(define);
    return ok;
}

/* Denormal numbers, contraction and association are as `safe` math wants them. */
static bool compile(const char *cxx, const char *include, const char *source, const char *out, const char *messages)
{
    char *headers = text("-I%s", include);
    char *argv[] = {(char *)cxx,
                    "-x",
                    "c++",
                    "-std=c++14",
                    "-O2",
                    "-fPIC",
                    "-fvisibility=hidden",
                    "-fsanitize=thread",
                    "-fsanitize=alignment",
                    "-nostdinc",
                    "-fno-exceptions",
                    "-fno-rtti",
                    "-ffp-contract=off",
                    "-w",
                    "-fno-strict-aliasing",
                    "-fsigned-char",
                    headers,
                    "-c",
                    (char *)source,
                    "-o",
                    (char *)out,
                    NULL};
    bool ok = run(argv, messages);
    free(headers);
    return ok;
}

static bool link_kernels(const char *cxx, const char *object, const char *out, const char *messages)
{
    char *argv[] = {(char *)cxx, "-shared", (char *)object, "-o", (char *)out, "-lm", NULL};
    return run(argv, messages);
}

struct search {
    const char *path;
    struct emu_module *module;
};

static int find_range(struct dl_phdr_info *info, size_t size, void *context)
{
    (void)size;
    struct search *s = context;
    if (strcmp(info->dlpi_name, s->path) != 0)
        return 0;
    s->module->start = (const char *)info->dlpi_addr;
    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_LOAD) {
            const char *end = (const char *)info->dlpi_addr + info->dlpi_phdr[i].p_vaddr + info->dlpi_phdr[i].p_memsz;
            s->module->end = end > s->module->end ? end : s->module->end;
        }
    return 1;
}

static struct emu_module *load(const char *path)
{
    /* Kernels call the emulator, which may have been opened without its names for others. */
    Dl_info info;
    if (dladdr((void *)(uintptr_t)folder, &info))
        dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_GLOBAL);
    struct emu_module *m = calloc(1, sizeof *m);
    m->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!m->handle)
        emu_misuse("%s", dlerror());
    m->kernels = dlsym(m->handle, "emu_kernels");
    dl_iterate_phdr(find_range, &(struct search){path, m});
    return m;
}

/* Makes `so` from the source, by way of files beside it that are named after this process. */
static bool build(const char *cxx, const char *source, word language, const char *so, char **messages)
{
    char *base = text("%s.%ld", so, (long)getpid()), *metal = text("%s.metal", base), *plain = text("%s.i", base);
    char *cpp = text("%s.cpp", base), *object = text("%s.o", base), *log = text("%s.log", base);
    write_file(metal, "#line 1 \"program_source\"\n", source); /* as Metal calls it */
    bool ok = preprocess(cxx, METAL_EMULATOR_INCLUDE, metal, plain, log, language);
    if (ok) {
        char *content = read_file(plain), *translated = emu_translate(content ? content : "", messages);
        free(content);
        ok = translated != NULL;
        if (ok)
            write_file(cpp, "", translated);
        free(translated);
    }
    ok = ok && compile(cxx, METAL_EMULATOR_INCLUDE, cpp, object, log) && link_kernels(cxx, object, base, log) &&
         rename(base, so) == 0;
    if (!ok && !*messages)
        *messages = read_file(log);
    char *files[] = {base, metal, plain, cpp, object, log};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        unlink(files[i]);
        free(files[i]);
    }
    return ok;
}

struct emu_module *emu_compile(const char *source, word language, char **messages)
{
    const char *cxx = compiler(), *set = getenv("METAL_EMULATOR_CACHE");
    if (!cxx) {
        *messages = strdup("the emulator found no C++ compiler");
        return NULL;
    }
    char *cache = set ? strdup(set) : text("%s/cache", folder());
    mkdir(cache, 0755);
    char *so = text("%s/%016llx.so", cache, (unsigned long long)key(source, METAL_EMULATOR_INCLUDE, cxx, language));
    struct emu_module *m = NULL;
    if (access(so, R_OK) == 0 || build(cxx, source, language, so, messages))
        m = load(so);
    free(so);
    free(cache);
    return m;
}
