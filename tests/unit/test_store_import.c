/* Import of local files into the store, and listing: wheels, GGUF files, names, and failures. No network, no Python.
 *
 * System calls and allocations are wrapped (a program's own definition goes before libc's), so that the Nth can fail.
 */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "folder.h"
#include "interpose.h"
#include "sanitized.h"
#include "store/internal.h"
#include "wheel_writer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* ---- calls that fail ---- */

static const char *trip_kind; /* which calls; NULL: none */
static int calls, trip_at, trip_errno;

static bool trip(const char *kind)
{
    if (!trip_kind || strcmp(kind, trip_kind) != 0 || ++calls != trip_at)
        return false;
    errno = trip_errno;
    return true;
}

static void fail_at(const char *kind, int n, int why)
{
    trip_kind = kind;
    trip_at = n;
    trip_errno = why;
    calls = 0;
}

#define WRAP(kind, result, name, params, args, failure)                                                                \
    result name params;                                                                                                \
    result name params                                                                                                 \
    {                                                                                                                  \
        static result(*real) params;                                                                                   \
        if (!real)                                                                                                     \
            find_next(#name, &real);                                                                                   \
        return trip(kind) ? failure : real args;                                                                       \
    }

/* Files of this test need not reach the disk. */
int fsync(int fd)
{
    return fcntl(fd, F_GETFD) >= 0 && !trip("disk") ? 0 : -1;
}

WRAP("disk", int, rename, (const char *from, const char *to), (from, to), -1)
WRAP("disk", int, mkdir, (const char *path, mode_t mode), (path, mode), -1)
WRAP("disk", ssize_t, write, (int fd, const void *bytes, size_t n), (fd, bytes, n), -1)
WRAP("read", ssize_t, read, (int fd, void *bytes, size_t n), (fd, bytes, n), -1)
WRAP("access", int, access, (const char *path, int how), (path, how), -1)
WRAP("memory", char *, strdup, (const char *text), (text), NULL)
WRAP("memory", int, vasprintf, (char **out, const char *format, va_list args), (out, format, args), -1)
#if defined(__linux__) && !PN_ASAN
/* Under the address sanitizer realloc belongs to it, as calloc does everywhere. */
void *realloc(void *p, size_t n)
{
    return trip("memory") ? NULL : reallocarray(p, n, 1);
}
#endif

static uint64_t free_blocks; /* of one byte; UINT64_MAX: the file system's number */

int statvfs(const char *path, struct statvfs *fs)
{
    static int (*real)(const char *, struct statvfs *);
    if (!real)
        find_next("statvfs", &real);
    int r = real(path, fs);
    if (free_blocks != UINT64_MAX) {
        fs->f_bavail = (fsblkcnt_t)free_blocks;
        fs->f_frsize = 1;
    }
    return r;
}

static const char *forced_digest; /* of `forced_text`; NULL: the true one */
static const char forced_text[] = "as if it were this model";

static bool is_forced(const unsigned char *digest)
{
    unsigned char wanted[EVP_MAX_MD_SIZE];
    unsigned n;
    return forced_digest && EVP_Digest(forced_text, strlen(forced_text), wanted, &n, EVP_sha256(), NULL) &&
           memcmp(digest, wanted, n) == 0;
}

int EVP_DigestFinal_ex(EVP_MD_CTX *context, unsigned char *out, unsigned *n)
{
    static int (*real)(EVP_MD_CTX *, unsigned char *, unsigned *);
    if (!real)
        find_next("EVP_DigestFinal_ex", &real);
    int r = real(context, out, n);
    bool forced = is_forced(out);
    for (unsigned i = 0; forced && i < *n; i++) {
        char hex[3] = {forced_digest[2 * i], forced_digest[2 * i + 1], 0};
        out[i] = (unsigned char)strtoul(hex, NULL, 16);
    }
    return r;
}

/* ---- a separate store ---- */

/* A path that stays valid for a whole test. */
static const char *keep(const char *tail)
{
    static char buffers[64][512];
    static int next;
    return strcpy(buffers[next++ % 64], in_root(tail));
}

static int make_root(void **state)
{
    (void)state;
    trip_kind = NULL;
    forced_digest = NULL;
    free_blocks = UINT64_MAX;
    if (make_folder("import"))
        return -1;
    setenv("PANTRY_HOME", in_root("home"), 1);
    return 0;
}

static int remove_root(void **state)
{
    (void)state;
    trip_kind = NULL;
    forced_digest = NULL;
    free_blocks = UINT64_MAX;
    return remove_folder();
}

static const char *put(const char *name, const char *bytes, size_t n)
{
    const char *path = keep(name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
    return path;
}

static const char *put_text(const char *name, const char *text)
{
    return put(name, text, strlen(text));
}

static const char *put_wheel(const char *name, const char *member, const char *text)
{
    const struct wheel_entry entries[] = {{.name = "p/__init__.py", .bytes = "", .size = 0},
                                          {.name = member, .bytes = text, .size = strlen(text)},
                                          {.name = "p/z.py", .bytes = "pass", .size = 4}};
    const char *path = keep(name);
    wheel_write(path, entries, 3);
    return path;
}

static void assert_holds(const char *path, const char *text)
{
    char got[256] = "";
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(got, 1, sizeof got, f);
    fclose(f);
    assert_int_equal(n, strlen(text));
    assert_memory_equal(got, text, n);
}

static int count_files(const char *folder)
{
    int n = 0;
    DIR *dir = opendir(in_root(folder));
    for (struct dirent *e; dir && (e = readdir(dir));)
        n += e->d_name[0] != '.';
    if (dir)
        closedir(dir);
    return n;
}

/* The store is empty, without even a part of a file. */
static void assert_empty(void)
{
    struct pn_stored *list = NULL;
    size_t n = 9;
    assert_int_equal(pn_store_list(&list, &n, NULL), PANTRY_OK);
    assert_int_equal(n, 0);
    assert_null(list);
    assert_int_equal(count_files("home/models/blobs"), 0);
}

static char seen_name[200]; /* of the last import */

/* Imports one file; `stored` and `path` are set, or neither is. */
static pantry_status import(const char *file, const char *name, pn_store_check *check, struct pantry_error *err)
{
    char *stored = (char *)(uintptr_t)1, *path = (char *)(uintptr_t)1;
    const char *const files[] = {file};
    pantry_status status = pn_store_import(files, 1, name, check, NULL, &stored, &path, err);
    assert_int_equal(stored != NULL, status == PANTRY_OK);
    assert_int_equal(path != NULL, status == PANTRY_OK);
    snprintf(seen_name, sizeof seen_name, "%s", stored ? stored : "");
    if (!status) { /* it is found by that name */
        char *again = NULL;
        assert_int_equal(pn_store_resolve(stored, &again, NULL), PANTRY_OK);
        assert_string_equal(again, path);
        free(again);
    }
    free(stored);
    free(path);
    return status;
}

static const char *blob_of(const char *text)
{
    char name[128] = "home/models/blobs/sha256-";
    assert_int_equal(pn_sha256_bytes(text, strlen(text), name + strlen(name), NULL), PANTRY_OK);
    return in_root(name);
}

/* ---- checks ---- */

static int checks;
static char checked[512];

static pantry_status accept(const char *path, struct pantry_error *err)
{
    (void)err;
    checks++;
    snprintf(checked, sizeof checked, "%s", path);
    return PANTRY_OK;
}

static pantry_status refuse(const char *path, struct pantry_error *err)
{
    accept(path, err);
    return pn_fail(err, PANTRY_UNSUPPORTED, "not liked");
}

static pantry_status lose_it(const char *path, struct pantry_error *err)
{
    unlink(path);
    return accept(path, err);
}

static pantry_status tie_it(const char *path, struct pantry_error *err)
{
    unlink(path);
    return symlink(path, path) ? pn_fail(err, PANTRY_INTERNAL, "no link") : PANTRY_OK;
}

/* ---- one file ---- */

static void a_gguf_file_becomes_a_model(void **state)
{
    (void)state;
    struct pantry_error err = {0};
    const char *file = put_text("Some Model.gguf", "GGUF and more");
    checks = 0;
    assert_int_equal(import(file, NULL, accept, &err), PANTRY_OK);
    assert_string_equal(seen_name, "some-model");
    assert_int_equal(checks, 1);
    assert_string_equal(checked, file);
    assert_holds(file, "GGUF and more"); /* it stays */
    assert_holds(blob_of("GGUF and more"), "GGUF and more");
    struct stat st, link;
    assert_int_equal(stat(blob_of("GGUF and more"), &st), 0);
    assert_int_equal(stat(file, &link), 0);
    assert_true(st.st_ino != link.st_ino);

    /* its manifest: one layer, of the right size */
    json_t *manifest =
        json_load_file(in_root("home/models/manifests/registry.ollama.ai/library/some-model/latest"), 0, NULL);
    json_t *layers = json_object_get(manifest, "layers");
    assert_int_equal(json_array_size(layers), 1);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(layers, 0), "size")), 13);
    json_decref(manifest);

    /* once more under another name: the blob is not written again */
    ino_t inode = st.st_ino;
    assert_int_equal(import(file, "you/other:q4", NULL, &err), PANTRY_OK);
    assert_string_equal(seen_name, "you/other:q4");
    assert_int_equal(stat(blob_of("GGUF and more"), &st), 0);
    assert_true(st.st_ino == inode);
    /* and the same name for other contents */
    assert_int_equal(import(put_text("b.gguf", "other"), "you/other:q4", NULL, &err), PANTRY_OK);
    char *path = NULL;
    assert_int_equal(pn_store_resolve("you/other:q4", &path, NULL), PANTRY_OK);
    assert_holds(path, "other");
    free(path);
}

static void a_blob_of_another_size_is_replaced(void **state)
{
    (void)state;
    const char *file = put_text("x.gguf", "0123456789");
    assert_int_equal(import(file, NULL, NULL, NULL), PANTRY_OK);
    static const char *const wrong[] = {"012345678", "0123456789a", ""};
    for (size_t i = 0; i < 3; i++) {
        put_text(blob_of("0123456789") + strlen(root) + 1, wrong[i]);
        assert_int_equal(import(file, NULL, NULL, NULL), PANTRY_OK);
        assert_holds(blob_of("0123456789"), "0123456789");
    }
    /* a folder cannot be replaced, a leftover can */
    unlink(blob_of("0123456789"));
    char partial[600];
    snprintf(partial, sizeof partial, "%s-partial", blob_of("0123456789"));
    put_text(partial + strlen(root) + 1, "something longer than it");
    assert_int_equal(import(file, NULL, NULL, NULL), PANTRY_OK);
    assert_holds(blob_of("0123456789"), "0123456789");
    assert_int_equal(access(partial, F_OK), -1);
    unlink(blob_of("0123456789"));
    assert_int_equal(mkdir(blob_of("0123456789"), 0777), 0);
    struct pantry_error err = {0};
    assert_int_equal(import(file, NULL, NULL, &err), PANTRY_IO);
    assert_int_equal(access(partial, F_OK), -1);
    rmdir(blob_of("0123456789"));
    assert_int_equal(mkdir(partial, 0777), 0);
    assert_int_equal(import(file, NULL, NULL, &err), PANTRY_IO);
    assert_non_null(strstr(err.text, "-partial"));
}

static void names_come_from_files(void **state)
{
    (void)state;
    static const struct {
        const char *file, *name;
    } rows[] = {
        {"a.gguf", "a"},
        {"plain", "plain"},
        {"a.b.c.gguf", "a.b.c"},
        {"AZ-az_09.gguf", "az-az_09"},
        {"x@[`{:y.gguf", "x-----y"},
        {"0.gguf", "0"},
        {"9-.gguf", "9-"},
        {"_a.gguf", "_a"},
        {"-a.gguf", "_a"},
        {".a.gguf", "_a"},
        {" a b.gguf", "_a-b"},
        {"\xc3\xa4.gguf", "_-"},
        {"x\x7f\x1fy.gguf", "x--y"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct pantry_error err = {0};
        if (import(put_text(rows[i].file, "some contents"), NULL, NULL, &err))
            fail_msg("%s: %s", rows[i].file, err.text);
        assert_string_equal(seen_name, rows[i].name);
    }
    /* a path without a folder */
    char *old = getcwd(NULL, 0);
    assert_int_equal(chdir(root), 0);
    assert_int_equal(import("a.b.c.gguf", NULL, NULL, NULL), PANTRY_OK);
    assert_string_equal(seen_name, "a.b.c");
    put_text(".whl", "not a zip, and no wheel by its name");
    struct pantry_error err = {0};
    assert_int_equal(import(".whl", NULL, NULL, &err), PANTRY_INVALID);
    assert_non_null(strstr(err.text, "name"));
    assert_int_equal(import(".whl", "x", NULL, &err), PANTRY_OK);
    assert_int_equal(chdir(old), 0);
    free(old);
    /* at most as many letters as a name may have */
    char file[128], longest[PN_NAME_PART_MAX + 1];
    memset(longest, 'a', PN_NAME_PART_MAX);
    longest[PN_NAME_PART_MAX] = '\0';
    for (int more = 0; more < 3; more++) {
        snprintf(file, sizeof file, "%s%.*s.gguf", longest, more, "bbb");
        assert_int_equal(import(put_text(file, "some contents"), NULL, NULL, NULL), PANTRY_OK);
        assert_string_equal(seen_name, longest);
    }
    /* a given name must be valid, and takes precedence */
    static const char *const bad[] = {"", "../up", "a b", "a:b:c"};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(import(put_text("n.gguf", "never stored"), bad[i], NULL, &err), PANTRY_INVALID);
        assert_int_equal(access(blob_of("never stored"), F_OK), -1);
    }
    assert_int_equal(import(put_text("n.gguf", "stored"), "example.org/you/it:1", NULL, &err), PANTRY_OK);
    assert_string_equal(seen_name, "example.org/you/it:1");
}

/* A file of the catalog gets the catalog's name, unless one is given. */
static void files_of_the_catalog_are_known(void **state)
{
    (void)state;
    size_t n;
    const struct pn_catalog_entry *catalog = pn_store_catalog(&n);
    for (size_t i = 0; i < n; i++) {
        const char *file = put_text("whatever.gguf", forced_text);
        forced_digest = catalog[i].sha256;
        assert_int_equal(import(file, NULL, NULL, NULL), PANTRY_OK);
        assert_string_equal(seen_name, catalog[i].name);
        assert_int_equal(import(file, "mine", NULL, NULL), PANTRY_OK);
        assert_string_equal(seen_name, "mine");
        forced_digest = NULL;
        pn_layout_remove(in_root("home"));
    }
}

static void files_that_cannot_be_imported(void **state)
{
    (void)state;
    struct pantry_error err = {0};
    assert_int_equal(import(in_root("none.gguf"), NULL, NULL, &err), PANTRY_NOT_FOUND);
    assert_non_null(strstr(err.text, "none.gguf"));
    assert_int_equal(symlink(in_root("loop"), in_root("loop")), 0);
    assert_int_equal(import(in_root("loop"), NULL, NULL, &err), PANTRY_IO);
    fail_at("access", 1, EPERM);
    assert_int_equal(import(put_text("b.gguf", "GGUF"), NULL, NULL, &err), PANTRY_IO);
    trip_kind = NULL;
    assert_int_equal(import(root, NULL, NULL, &err), PANTRY_UNSUPPORTED);
    assert_int_equal(import("/dev/null", NULL, NULL, &err), PANTRY_UNSUPPORTED);
    const char *file = put_text("a.gguf", "GGUF");
    assert_int_equal(import(file, NULL, refuse, &err), PANTRY_UNSUPPORTED);
    assert_string_equal(err.text, "not liked");
    assert_int_equal(access(in_root("home"), F_OK), -1); /* nothing was started */
    /* the file disappears between the check and the copy */
    assert_int_equal(import(file, NULL, lose_it, &err), PANTRY_NOT_FOUND);
    assert_non_null(strstr(err.text, "a.gguf"));
    file = put_text("a.gguf", "GGUF");
    assert_int_equal(import(file, NULL, tie_it, &err), PANTRY_IO);
    assert_empty();
}

static void files_that_cannot_be_read(void **state)
{
    (void)state;
    struct pantry_error err = {0};
    static char big[200000];
    memset(big, 'x', sizeof big);
    const char *file = put("big.gguf", big, sizeof big);
    /* twice 200,000 bytes in pieces of 65,536, and twice the end */
    for (int i = 1; i <= 10; i++) {
        fail_at("read", i, EIO);
        assert_int_equal(import(file, NULL, NULL, &err), PANTRY_IO);
        assert_non_null(strstr(err.text, "big.gguf"));
        assert_non_null(strstr(err.text, strerror(EIO)));
        trip_kind = NULL;
        assert_empty();
    }
    for (int i = 1; i <= 10; i++) {
        fail_at("read", i, EINTR);
        assert_int_equal(import(file, NULL, NULL, &err), PANTRY_OK);
        trip_kind = NULL;
        struct stat st;
        char hex[PN_SHA256_HEX + 1], path[256];
        pn_sha256_bytes(big, sizeof big, hex, NULL);
        snprintf(path, sizeof path, "home/models/blobs/sha256-%s", hex);
        assert_int_equal(stat(in_root(path), &st), 0);
        assert_int_equal(st.st_size, sizeof big);
        pn_layout_remove(in_root("home"));
    }
}

static void a_full_disk_is_noticed_before(void **state)
{
    (void)state;
    struct pantry_error err = {0};
    const char *file = put_text("a.gguf", "0123456789");
    free_blocks = 9;
    assert_int_equal(import(file, NULL, NULL, &err), PANTRY_LIMIT);
    assert_empty();
    free_blocks = 10;
    assert_int_equal(import(file, NULL, NULL, &err), PANTRY_OK);
    free_blocks = 0; /* an existing blob needs no space */
    assert_int_equal(import(file, "again", NULL, &err), PANTRY_OK);
}

/* ---- wheels ---- */

static void a_wheel_with_one_gguf(void **state)
{
    (void)state;
    struct pantry_error err = {0};
    checks = 0;
    const char *wheel = put_wheel("some-1.0-py3-none-any.whl", "p/data/My Model.gguf", "GGUF inside");
    assert_int_equal(import(wheel, NULL, accept, &err), PANTRY_OK);
    assert_string_equal(seen_name, "my-model");
    assert_int_equal(checks, 1);
    assert_string_equal(checked, blob_of("GGUF inside")); /* it is checked after extraction */
    assert_holds(blob_of("GGUF inside"), "GGUF inside");
    assert_int_equal(access(wheel, F_OK), 0);
    assert_int_equal(import(wheel, "given", NULL, &err), PANTRY_OK);
    assert_string_equal(seen_name, "given");
    pn_layout_remove(in_root("home"));

    /* a refused file is removed */
    assert_int_equal(import(wheel, NULL, refuse, &err), PANTRY_UNSUPPORTED);
    assert_string_equal(err.text, "not liked");
    assert_empty();

    static const struct wheel_entry two[] = {{.name = "a.gguf", .bytes = "a", .size = 1},
                                             {.name = "b.gguf", .bytes = "b", .size = 1}};
    wheel_write(in_root("two.whl"), two, 2);
    assert_int_equal(import(in_root("two.whl"), NULL, NULL, &err), PANTRY_FORMAT);
    assert_non_null(strstr(err.text, "two.whl"));
    assert_int_equal(import(put_wheel("none.whl", "p/gguf", "x"), NULL, NULL, &err), PANTRY_FORMAT);
    assert_non_null(strstr(err.text, "none.whl"));
    assert_int_equal(import(put_text("junk.whl", "no zip"), NULL, NULL, &err), PANTRY_FORMAT);
    assert_non_null(strstr(err.text, "junk.whl"));
    assert_empty();
    /* the suffix decides the kind */
    assert_int_equal(import(put_text("a.whl.gguf", "GGUF"), NULL, NULL, &err), PANTRY_OK);
    assert_string_equal(seen_name, "a.whl");
    assert_int_equal(import(put_wheel("zip.gguf", "x.gguf", "x"), "zipped", accept, &err), PANTRY_OK);
    assert_string_equal(checked, in_root("zip.gguf"));
}

/* Every wheel of the catalog is recognized, at any position among the files. */
static void wheels_of_the_catalog_are_known(void **state)
{
    (void)state;
    size_t n;
    const struct pn_catalog_entry *catalog = pn_store_catalog(&n);
    const char *other = put_text("other.gguf", "x");
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < PN_CATALOG_MAX_PARTS && catalog[i].parts[k].package; k++) {
            char *stored = (char *)(uintptr_t)1, *path = (char *)(uintptr_t)1, wheel[200];
            struct pantry_error err = {0};
            snprintf(wheel, sizeof wheel, "%s", in_root(catalog[i].parts[k].wheel));
            const char *const files[] = {other, wheel};
            assert_int_equal(pn_store_import(files, 2, "named", NULL, NULL, &stored, &path, &err), PANTRY_INVALID);
            assert_non_null(strstr(err.text, catalog[i].name));
            assert_null(stored);
            assert_null(path);
            assert_int_equal(pn_store_import(files, 2, NULL, NULL, NULL, &stored, &path, &err), PANTRY_NOT_FOUND);
            assert_non_null(strstr(err.text, wheel));
        }
    assert_empty();
}

static void wheels_of_the_catalog_are_compared(void **state)
{
    (void)state;
    char *stored = NULL, *path = NULL;
    struct pantry_error err = {0};
    const struct pn_catalog_entry *gemma = pn_store_entry("gemma3:270m"), *smol = pn_store_entry("smollm2:135m");
    /* some are missing */
    const char *const some[] = {put_wheel(gemma->parts[2].wheel, "x", "y"), put_wheel(gemma->parts[0].wheel, "x", "y")};
    assert_int_equal(pn_store_import(some, 2, NULL, NULL, NULL, &stored, &path, &err), PANTRY_NOT_FOUND);
    assert_non_null(strstr(err.text, "2 of the 4"));
    assert_non_null(strstr(err.text, gemma->parts[1].wheel));
    assert_null(strstr(err.text, gemma->parts[3].wheel));
    /* the right name with other contents */
    const char *one[] = {put_wheel(smol->parts[0].wheel, "x", "y")};
    assert_int_equal(pn_store_import(one, 1, NULL, accept, NULL, &stored, &path, &err), PANTRY_FORMAT);
    one[0] = put_wheel(smol->parts[0].wheel, smol->parts[0].member, "GGUF?");
    assert_int_equal(pn_store_import(one, 1, NULL, NULL, NULL, &stored, &path, &err), PANTRY_FORMAT);
    assert_non_null(strstr(err.text, "smollm2:135m"));
    assert_null(stored);
    assert_null(path);
    assert_empty();
    /* it exists already: its manifest, and a file of that size */
    char blob[200];
    snprintf(blob, sizeof blob, "home/models/blobs/sha256-%s", smol->sha256);
    put_text(blob, "");
    assert_int_equal(truncate(in_root(blob), (off_t)smol->bytes), 0);
    struct pn_model_name name;
    assert_int_equal(pn_name_parse(smol->name, &name, NULL), PANTRY_OK);
    assert_int_equal(pn_manifest_write(in_root("home/models"), &name, smol, NULL, 0, NULL), PANTRY_OK);
    assert_int_equal(pn_store_import(one, 1, NULL, NULL, NULL, &stored, &path, &err), PANTRY_OK);
    assert_string_equal(stored, "smollm2:135m");
    assert_string_equal(path, in_root(blob));
    free(stored);
    free(path);
    fail_at("memory", 0, ENOMEM); /* never, but counts */
    assert_int_equal(pn_store_import(one, 1, NULL, NULL, NULL, &stored, &path, &err), PANTRY_OK);
    free(stored);
    free(path);
    for (int i = 1, all = calls; i <= all; i++) {
        fail_at("memory", i, ENOMEM);
        pantry_status status = pn_store_import(one, 1, NULL, NULL, NULL, &stored, &path, &err);
        trip_kind = NULL;
        assert_int_equal(stored != NULL, status == PANTRY_OK);
        assert_int_equal(path != NULL, status == PANTRY_OK);
        free(stored);
        free(path);
    }
}

static void several_files_are_too_many(void **state)
{
    (void)state;
    char *stored = (char *)(uintptr_t)1, *path = (char *)(uintptr_t)1;
    struct pantry_error err = {0};
    const char *const files[] = {put_text("a.gguf", "a"), put_text("b.gguf", "b"), in_root("none")};
    for (size_t n = 0; n <= 3; n++) {
        if (n == 1)
            continue;
        char count[16];
        snprintf(count, sizeof count, "%zu files", n);
        assert_int_equal(pn_store_import(files, n, NULL, NULL, NULL, &stored, &path, &err), PANTRY_INVALID);
        assert_non_null(strstr(err.text, count));
        assert_null(stored);
        assert_null(path);
    }
    assert_empty();
}

/* ---- locks, progress, cancelling ---- */

static void one_import_at_a_time(void **state)
{
    (void)state;
    int lock;
    const char *file = put_text("a.gguf", "GGUF");
    assert_int_equal(pn_layout_make_dirs(in_root("home/models/fetch"), NULL), PANTRY_OK);
    assert_int_equal(pn_layout_try_lock(in_root("home/models/fetch/lock"), &lock, NULL), PANTRY_OK);
    struct pantry_error err = {0};
    assert_int_equal(import(file, NULL, NULL, &err), PANTRY_IO);
    assert_non_null(strstr(err.text, "another pantry"));
    assert_empty();
    close(lock);
    assert_int_equal(import(file, NULL, NULL, &err), PANTRY_OK);
    assert_int_equal(import(file, NULL, NULL, &err), PANTRY_OK); /* the lock was released */
}

/* In a program without standard input, descriptor 0 is an ordinary one. */
static void no_descriptor_stays_open(void **state)
{
    (void)state;
    const char *file = put_text("a.gguf", "GGUF"), *wheel = put_wheel("w.whl", "in.gguf", "GGUF inside");
    int kept = dup(0);
    close(0);
    for (int i = 0; i < 2; i++) {
        pantry_status status = import(i ? wheel : file, NULL, NULL, NULL);
        int flags = fcntl(0, F_GETFD);
        if (status || flags >= 0 || i == 1) {
            dup2(kept, 0);
            close(kept);
        }
        assert_int_equal(status, PANTRY_OK);
        assert_int_equal(flags, -1);
    }
}

static void files_in_the_way_of_folders(void **state)
{
    (void)state;
    static const char *const places[] = {"home", "home/models", "home/models/blobs", "home/models/fetch",
                                         "home/models/manifests"};
    const char *file = put_text("a.gguf", "GGUF");
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char folder[64];
        struct pantry_error err = {0};
        snprintf(folder, sizeof folder, "%s", places[i]);
        char *slash = strrchr(folder, '/');
        if (slash) {
            *slash = '\0';
            assert_int_equal(pn_layout_make_dirs(in_root(folder), NULL), PANTRY_OK);
        }
        put_text(places[i], "in the way");
        assert_int_equal(import(file, NULL, NULL, &err), PANTRY_IO);
        assert_non_null(strstr(err.text, places[i]));
        pn_layout_remove(in_root("home"));
    }
    assert_int_equal(pn_layout_make_dirs(in_root("home/models/fetch/lock"), NULL), PANTRY_OK); /* no file to lock */
    assert_int_equal(import(file, NULL, NULL, NULL), PANTRY_IO);
}

enum { STEP = 1 << 22 }; /* bytes between reports */

struct seen {
    int n;
    struct pn_fetch_progress reports[8];
    pantry_cancel *cancel; /* made for each import */
    int cancel_at;         /* this report; -1: before any */
    const char *spoil;     /* a file that changes at the first report */
};

static void look(void *user, const struct pn_fetch_progress *p)
{
    struct seen *seen = user;
    assert_true(seen->n < 8);
    seen->reports[seen->n++] = *p;
    if (seen->n == seen->cancel_at)
        pantry_cancel_set(seen->cancel);
    if (seen->n == 1 && seen->spoil) {
        FILE *f = fopen(seen->spoil, "r+b");
        assert_non_null(f);
        fputc('!', f);
        fclose(f);
    }
}

static pantry_status import_seen(const char *file, struct seen *seen, struct pantry_error *err)
{
    char *stored = NULL, *path = NULL;
    seen->cancel = pantry_cancel_new();
    if (seen->cancel_at < 0)
        pantry_cancel_set(seen->cancel);
    struct pn_fetch_options options = {.progress = look, .user = seen, .cancel = seen->cancel};
    const char *const files[] = {file};
    pantry_status status = pn_store_import(files, 1, NULL, NULL, &options, &stored, &path, err);
    assert_int_equal(stored != NULL, status == PANTRY_OK);
    pantry_cancel_free(seen->cancel);
    free(stored);
    free(path);
    return status;
}

/* Bytes read, of twice the size of the file, every 4 MiB. */
static void importing_reports_progress(void **state)
{
    (void)state;
    static const struct {
        long size;
        int n;
        uint64_t done[8];
    } rows[] = {
        {STEP, 2, {STEP, 2 * STEP}}, {STEP - 1, 1, {STEP + 65535}},       {STEP / 2 - 1, 0, {0}},
        {STEP / 2, 1, {STEP}},       {STEP + 65536, 2, {STEP, 2 * STEP}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *file = put_text("big.gguf", "");
        assert_int_equal(truncate(file, rows[i].size), 0);
        struct seen seen = {0};
        assert_int_equal(import_seen(file, &seen, NULL), PANTRY_OK);
        assert_int_equal(seen.n, rows[i].n);
        for (int k = 0; k < seen.n; k++) {
            assert_int_equal(seen.reports[k].phase, PN_FETCH_VERIFY);
            assert_string_equal(seen.reports[k].name, file);
            assert_int_equal(seen.reports[k].total, 2 * rows[i].size);
            assert_int_equal(seen.reports[k].done, rows[i].done[k]);
        }
        /* existing contents are read once */
        seen.n = 0;
        assert_int_equal(import_seen(file, &seen, NULL), PANTRY_OK);
        assert_int_equal(seen.n, rows[i].size >= STEP);
        pn_layout_remove(in_root("home"));
    }
}

static void importing_can_be_stopped(void **state)
{
    (void)state;
    const char *file = put_text("big.gguf", "");
    assert_int_equal(truncate(file, STEP + 65536), 0);
    for (int at = 0; at <= 2; at++) {
        struct seen seen = {.cancel_at = at ? at : -1};
        struct pantry_error err = {0};
        assert_int_equal(import_seen(file, &seen, &err), PANTRY_CANCELLED);
        assert_int_equal(seen.n, at);
        assert_empty();
    }
    /* at the very end it is too late */
    assert_int_equal(truncate(file, STEP), 0);
    struct seen late = {.cancel_at = 2};
    assert_int_equal(import_seen(file, &late, NULL), PANTRY_OK);
    assert_true(late.cancel);
    /* before any of it is read */
    struct seen seen = {.cancel_at = -1};
    fail_at("read", 0, 0);
    assert_int_equal(import_seen(file, &seen, NULL), PANTRY_CANCELLED);
    assert_int_equal(calls, 1);
}

static void a_file_that_changes_meanwhile(void **state)
{
    (void)state;
    const char *file = put_text("big.gguf", "");
    assert_int_equal(truncate(file, STEP), 0);
    struct seen seen = {.spoil = file};
    struct pantry_error err = {0};
    assert_int_equal(import_seen(file, &seen, &err), PANTRY_FORMAT);
    assert_empty();
}

/* ---- every call fails once ---- */

static void every_call_may_fail(void **state)
{
    (void)state;
    static const char *const kinds[] = {"disk", "memory"};
    const char *files[] = {put_text("a.gguf", "GGUF"), put_wheel("w.whl", "p/in.gguf", "GGUF inside")};
    for (size_t i = 0; i < 4; i++) {
        const char *kind = kinds[i / 2], *file = files[i % 2];
        bool done = false;
        int n = 0;
        while (!done) {
            struct pantry_error err = {0};
            fail_at(kind, ++n, i < 2 ? EIO : ENOMEM);
            char *stored = NULL, *path = NULL;
            pantry_status status = pn_store_import(&file, 1, NULL, NULL, NULL, &stored, &path, &err);
            done = calls < n;
            trip_kind = NULL;
            if (done)
                assert_int_equal(status, PANTRY_OK);
            else if (status != (i < 2 ? PANTRY_IO : PANTRY_NO_MEMORY))
                fail_msg("%s %d of %s: status %d, %s", kind, n, file, status, err.text);
            assert_int_equal(stored != NULL, done);
            assert_int_equal(path != NULL, done);
            free(stored);
            free(path);
            struct pn_stored *list;
            size_t n_models;
            assert_int_equal(pn_store_list(&list, &n_models, NULL), PANTRY_OK);
            for (size_t k = 0; k < n_models; k++) /* complete or missing */
                assert_int_equal(list[k].bytes, i % 2 ? 11 : 4);
            pn_store_list_free(list, n_models);
            assert_int_equal(import(file, NULL, NULL, NULL), PANTRY_OK);
            pn_layout_remove(in_root("home"));
        }
        assert_true(n > 10);
    }
}

/* ---- listing ---- */

/* Damaged models and other files, which the list leaves out. A model "m" exists. */
static void add_unlisted_files(void)
{
    const char *base = "home/models/manifests/registry.ollama.ai/library";
    char path[256], good[1024];
    snprintf(path, sizeof path, "%s/m/latest", base);
    FILE *f = fopen(in_root(path), "rb");
    good[fread(good, 1, sizeof good - 1, f)] = '\0';
    fclose(f);
    static const char *const odd[] = {"m/.hidden", "m/a b", "m/-x"};
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", base, odd[i]);
        put_text(path, good);
    }
    snprintf(path, sizeof path, "%s/m/broken", base);
    put_text(path, "{");
    snprintf(path, sizeof path, "%s/m/folder/x/y", base); /* deeper than any manifest */
    assert_int_equal(pn_layout_make_dirs(in_root(path), NULL), PANTRY_OK);
    put_text("home/models/manifests/file", good);
    snprintf(path, sizeof path, "%s/file", base);
    put_text(path, good);
    assert_int_equal(pn_layout_make_dirs(in_root("home/models/manifests/.dot/library/m"), NULL), PANTRY_OK);
    put_text("home/models/manifests/.dot/library/m/latest", good);
    assert_int_equal(import(put_text("f.gguf", "it goes"), "gone", NULL, NULL), PANTRY_OK);
    unlink(blob_of("it goes"));
}

static void lists_the_models_of_the_store(void **state)
{
    (void)state;
    struct pn_stored *list = (struct pn_stored *)(uintptr_t)1;
    size_t n = 9;
    assert_int_equal(pn_store_list(&list, &n, NULL), PANTRY_OK); /* no store yet */
    assert_null(list);
    assert_int_equal(n, 0);
    pn_store_list_free(list, n);
    static const char *const names[] = {"example.org:50/you/m:t",
                                        "m",
                                        "a:1",
                                        "a",
                                        "you/z:2",
                                        "example.org/library/b",
                                        "zz:q4",
                                        "_x",
                                        "B",
                                        "you/a",
                                        "c:latest",
                                        "x.y"};
    static const char *const sorted[] = {
        "B", "_x",  "a",     "a:1",     "c",    "example.org/library/b", "example.org:50/you/m:t",
        "m", "x.y", "you/a", "you/z:2", "zz:q4"};
    enum { N = sizeof names / sizeof *names };
    for (size_t i = 0; i < N; i++) {
        char text[32];
        int length = snprintf(text, sizeof text, "%s", names[i]);
        const char *file = put("f.gguf", text, (size_t)length);
        assert_int_equal(import(file, names[i], NULL, NULL), PANTRY_OK);
    }
    add_unlisted_files();
    assert_int_equal(pn_store_list(&list, &n, NULL), PANTRY_OK);
    assert_int_equal(n, N);
    for (size_t i = 0; i < N; i++) {
        assert_string_equal(list[i].name, sorted[i]);
        bool latest = strcmp(sorted[i], "c") == 0; /* its file name is the given tag */
        assert_int_equal(list[i].bytes, latest ? 8 : strlen(sorted[i]));
        assert_holds(list[i].path, latest ? "c:latest" : sorted[i]);
    }
    pn_store_list_free(list, n);

    /* out of memory: an error or an incomplete list, but never a model without a name */
    bool done = false;
    for (int k = 1; !done; k++) {
        struct pantry_error err = {0};
        fail_at("memory", k, ENOMEM);
        pantry_status status = pn_store_list(&list, &n, &err);
        done = calls < k;
        trip_kind = NULL;
        assert_true(status == PANTRY_NO_MEMORY || (status == PANTRY_OK && k > 2)); /* the first two are the folder's */
        assert_true(status == PANTRY_OK || (!list && n == 0));
        assert_true(n <= N && (n == N) == (done || (status == PANTRY_OK && n == N)));
        for (size_t i = 0; i < n; i++)
            assert_true(list[i].name && list[i].path && list[i].bytes);
        pn_store_list_free(list, n);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_root, remove_root)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_gguf_file_becomes_a_model),     TEST(a_blob_of_another_size_is_replaced),
        TEST(names_come_from_files),           TEST(files_of_the_catalog_are_known),
        TEST(files_that_cannot_be_imported),   TEST(files_that_cannot_be_read),
        TEST(a_full_disk_is_noticed_before),   TEST(a_wheel_with_one_gguf),
        TEST(wheels_of_the_catalog_are_known), TEST(wheels_of_the_catalog_are_compared),
        TEST(several_files_are_too_many),      TEST(one_import_at_a_time),
        TEST(no_descriptor_stays_open),        TEST(files_in_the_way_of_folders),
        TEST(importing_reports_progress),      TEST(importing_can_be_stopped),
        TEST(a_file_that_changes_meanwhile),   TEST(every_call_may_fail),
        TEST(lists_the_models_of_the_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
