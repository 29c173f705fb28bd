/* Making models: layers, what a base hands on, shards, uploads; and every call of the file system that fails once, or
 * at which the process dies: the store is consistent then.
 *
 * The calls are wrapped (a program's own definition goes before libc's). What the library would say about a file is
 * told by the file's text: "projector", "bad", else a model; "plain" has no template. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/file.h"
#include "store/carried.h"
#include "store/create.h"
#include "store/internal.h"
#include "trip.h"

#include <string.h>

/* ---- calls that fail or kill ---- */

static bool no_links;

WRAP(int, unlink, (const char *path), (path), -1)
WRAP(int, symlink, (const char *to, const char *path), (to, path), -1)
WRAP(ssize_t, read, (int fd, void *bytes, size_t n), (fd, bytes, n), -1)
WRAP(ssize_t, pread, (int fd, void *bytes, size_t n, off_t at), (fd, bytes, n, at), -1)
WRAP(char *, strdup, (const char *text), (text), NULL)
WRAP(int, vasprintf, (char **out, const char *format, va_list args), (out, format, args), -1)

int linkat(int from, const char *path, int to, const char *name, int flags)
{
    static int (*real)(int, const char *, int, const char *, int);
    if (!real)
        find_next("linkat", &real);
    return no_links || trip() ? -1 : real(from, path, to, name, flags);
}

/* ---- a library ---- */

static pantry_status read_all(const char *path, char **text, struct pantry_error *err)
{
    size_t n;
    return pn_file_read(path, 1 << 20, text, &n, err);
}

static pantry_status check(const char *path, struct pantry_error *err)
{
    char *text;
    pantry_status status = read_all(path, &text, err);
    if (!status && strncmp(text, "bad", 3) == 0)
        status = pn_fail(err, PANTRY_FORMAT, "%s: is bad", path);
    if (!status || text)
        free(text);
    return status;
}

static pantry_status describe(const char *path, char **json, struct pantry_error *err)
{
    char *text;
    *json = NULL;
    pantry_status status = read_all(path, &text, err);
    if (status)
        return status;
    const char *architecture = strncmp(text, "projector", 9) == 0 ? "clip" : "llama";
    if (asprintf(json, "{\"architecture\": \"%s\"%s}", architecture,
                 strncmp(text, "plain", 5) == 0 ? "" : ", \"template\": \"t\"") < 0)
        status = pn_no_memory(err, path);
    free(text);
    return status;
}

static pantry_status render(const char *source, size_t len, const char *context, char **text, size_t *n,
                            struct pantry_error *err)
{
    (void)len, (void)context, (void)text, (void)n;
    return strstr(source, "wrong") ? pn_fail(err, PANTRY_FORMAT, "wrong") : PANTRY_RAISED;
}

/* ---- a store ---- */

static struct pn_buf said;

static void note(void *user, const char *line)
{
    (void)user;
    pn_buf_printf(&said, "%.20s|", line);
}

static const struct pn_create_options options = {
    .status = note, .library = {.check = check, .describe = describe, .render = render, .free = free}};

static int make_root(void **state)
{
    (void)state;
    no_links = false;
    return make_home("create");
}

static int remove_root(void **state)
{
    pn_buf_free(&said);
    return remove_home(state);
}

/* Makes a model of a Modelfile in the test's folder. */
static pantry_status create(const char *name, const char *text, struct pantry_error *err)
{
    struct pn_modelfile m;
    struct pn_create c = {0};
    pantry_status status = pn_modelfile_parse("Modelfile", text, strlen(text), &m, err);
    if (status)
        return status;
    status = pn_create_read("Modelfile", &m, root, &c, err);
    if (!status)
        status = pn_store_create(name, &c, &options, err);
    pn_create_free(&c);
    pn_modelfile_free(&m);
    return status;
}

static void good(const char *name, const char *text)
{
    struct pantry_error err = {0};
    if (create(name, text, &err))
        fail_msg("%s: %s", text, err.text);
}

static void bad(const char *text, pantry_status status, const char *why)
{
    struct pantry_error err = {0};
    pantry_status got = create("bad", text, &err);
    if (got != status || !strstr(err.text, why))
        fail_msg("%s: %d: '%s' lacks '%s'", text, got, err.text, why);
}

/* "type=text|" of all layers of a model. */
static char *layers_of(const char *text)
{
    struct pn_model_name name;
    struct pn_buf out = {0};
    json_t *manifest, *layer;
    size_t i;
    assert_int_equal(pn_name_parse(text, &name, NULL), PANTRY_OK);
    char *path = pn_manifest_path(in_root("home/models"), &name);
    assert_int_equal(pn_manifest_read(path, &manifest, NULL), PANTRY_OK);
    json_array_foreach(json_object_get(manifest, "layers"), i, layer)
    {
        char *blob = NULL, where[128];
        snprintf(where, sizeof where, "home/models/blobs/sha256-%s",
                 json_string_value(json_object_get(layer, "digest")) + 7);
        assert_int_equal(read_all(in_root(where), &blob, NULL), PANTRY_OK);
        assert_int_equal(json_integer_value(json_object_get(layer, "size")), strlen(blob));
        pn_buf_printf(&out, "%s=%s|", strrchr(json_string_value(json_object_get(layer, "mediaType")), '.') + 1, blob);
        free(blob);
    }
    json_decref(manifest);
    free(path);
    return pn_buf_take(&out);
}

static void assert_layers(const char *name, const char *layers)
{
    char *found = layers_of(name);
    assert_string_equal(found, layers);
    free(found);
}

static int count_blobs(void)
{
    int n = 0;
    char *path = in_root("home/models/blobs");
    char command[400];
    snprintf(command, sizeof command, "ls '%s' | wc -l", path);
    FILE *f = popen(command, "r");
    assert_int_equal(fscanf(f, "%d", &n), 1);
    pclose(f);
    return n;
}

/* Those that are used. */
static int n_blobs(void)
{
    struct pn_pruned pruned;
    assert_int_equal(pn_store_prune(&pruned, NULL), PANTRY_OK);
    return count_blobs();
}

/* ---- tests ---- */

static void layers_replace_and_stay(void **state)
{
    (void)state;
    write_file(in_root("m.gguf"), "weights", 0644);
    write_file(in_root("p.gguf"), "projector", 0644);
    write_file(in_root("a.gguf"), "lora", 0644);
    good("base", "FROM ./p.gguf\nFROM ./m.gguf\nSYSTEM s\nTEMPLATE {{ messages }}\nLICENSE l\nPARAMETER top_k 1\n"
                 "MESSAGE user u\nREQUIRES v1.2\nADAPTER ./a.gguf\n");
    assert_layers("base", "projector=projector|model=weights|adapter=lora|template={{ messages }}|system=s|"
                          "messages=[{\"role\":\"user\",\"content\":\"u\"}]|license=l|params={\"top_k\":1}|");
    assert_int_equal(strncmp(said.data, "creating new layer s|", 20), 0);
    good("next", "FROM base\nSYSTEM t\nLICENSE m\nPARAMETER top_k 2\nPARAMETER stop x\nMESSAGE user v\n");
    assert_layers("next", "projector=projector|model=weights|adapter=lora|template={{ messages }}|license=l|system=t|"
                          "messages=[{\"role\":\"user\",\"content\":\"v\"}]|license=m|params={\"top_k\":2,\"stop\":["
                          "\"x\"]}|");
    good("same", "FROM base\n");
    char *layers = layers_of("base");
    assert_layers("same", layers);
    free(layers);
    struct pn_carried c;
    assert_int_equal(pn_carried_read("next", &c, NULL), PANTRY_OK);
    const char *adapters[4];
    pn_carried_adapters(&c, adapters, 4);
    assert_true(adapters[0] && strstr(adapters[0], "sha256-") && !adapters[1]);
    assert_string_equal(c.template, "{{ messages }}");
    pn_carried_free(&c);
    good("base", "FROM base\nSYSTEM again\n"); /* itself */
    assert_int_equal(pn_carried_read("base", &c, NULL), PANTRY_OK);
    assert_string_equal(c.system, "again");
    pn_carried_free(&c);
}

static void blobs_go_with_the_last_name(void **state)
{
    (void)state;
    write_file(in_root("m.gguf"), "weights", 0644);
    good("a", "FROM ./m.gguf\nSYSTEM s\n");
    good("b", "FROM a\nSYSTEM t\n");
    assert_int_equal(n_blobs(), 5); /* weights, two texts, two configurations */
    assert_int_equal(pn_store_remove("a", NULL, NULL), PANTRY_OK);
    assert_int_equal(n_blobs(), 3);
    good("b", "FROM b\nSYSTEM u\n");
    assert_int_equal(n_blobs(), 3);
    assert_int_equal(pn_store_remove("b", NULL, NULL), PANTRY_OK);
    assert_int_equal(n_blobs(), 0);
}

static void a_model_made_from_itself_leaves_nothing(void **state)
{
    (void)state;
    write_file(in_root("m.gguf"), "weights", 0644);
    good("base", "FROM ./m.gguf\nSYSTEM one\n");
    good("base", "FROM base\nSYSTEM two\n");
    assert_layers("base", "model=weights|system=two|");
    assert_int_equal(count_blobs(), 3); /* and the configuration */
}

static void failures_leave_nothing(void **state)
{
    (void)state;
    write_file(in_root("m.gguf"), "weights", 0644);
    write_file(in_root("plain.gguf"), "plain", 0644);
    write_file(in_root("bad.gguf"), "bad", 0644);
    write_file(in_root("p.gguf"), "projector", 0644);
    good("a", "FROM ./m.gguf\n");
    bad("FROM ./bad.gguf", PANTRY_FORMAT, "is bad");
    bad("FROM ./p.gguf", PANTRY_INVALID, "no model among the files");
    bad("FROM ./m.gguf\nFROM ./plain.gguf", PANTRY_INVALID, "several models");
    bad("FROM ./m.gguf\nFROM a", PANTRY_INVALID, "FROM names a model (a) and files");
    bad("FROM a\nFROM b", PANTRY_INVALID, "a second model (b after a)");
    bad("FROM nothing", PANTRY_NOT_FOUND, "model 'nothing' not found");
    bad("FROM a\nADAPTER ./bad.gguf", PANTRY_FORMAT, "is bad");
    bad("FROM a\nTEMPLATE {{ wrong }}", PANTRY_INVALID, "the template: wrong");
    bad("FROM a\nTEMPLATE Hello", PANTRY_INVALID, "shows no message");
    bad("FROM ./plain.gguf\nSYSTEM s", PANTRY_UNSUPPORTED, "SYSTEM: the model has no chat template");
    bad("FROM ./plain.gguf\nMESSAGE user s", PANTRY_UNSUPPORTED, "MESSAGE: the model has no chat template");
    assert_int_equal(count_blobs(), 2);
    good("plain", "FROM ./plain.gguf\nTEMPLATE {{ x }}\nSYSTEM s\n");
    assert_int_equal(pn_store_remove("plain", NULL, NULL), PANTRY_OK);
    assert_int_equal(n_blobs(), 2);
}

static void a_file_that_cannot_be_linked_is_copied(void **state)
{
    (void)state;
    struct stat file, blob;
    char hex[PN_SHA256_HEX + 1], place[128];
    write_file(in_root("m.gguf"), "weights", 0644);
    assert_int_equal(pn_sha256_bytes("weights", 7, hex, NULL), PANTRY_OK);
    snprintf(place, sizeof place, "home/models/blobs/sha256-%s", hex);
    for (int i = 0; i < 2; i++) {
        no_links = i;
        good("a", "FROM ./m.gguf\n");
        assert_int_equal(stat(in_root("m.gguf"), &file), 0);
        assert_int_equal(stat(in_root(place), &blob), 0);
        assert_true(no_links ? blob.st_ino != file.st_ino : blob.st_ino == file.st_ino || blob.st_nlink == 1);
        assert_int_equal(pn_store_remove("a", NULL, NULL), PANTRY_OK);
        assert_true(file_exists(in_root("m.gguf")));
    }
}

/* What other commands do while files are read and copied, and before the manifest is there. */
static int n_copied;

static void copy_a_model(void *user, const struct pn_fetch_progress *progress)
{
    (void)user;
    char to[20];
    assert_int_equal(progress->phase, PN_FETCH_VERIFY);
    snprintf(to, sizeof to, "copy%d", n_copied++);
    assert_int_equal(pn_store_copy("old", to, NULL), PANTRY_OK);
}

static void prune_the_store(void *user, const char *line)
{
    struct pn_pruned pruned;
    (void)user;
    if (strcmp(line, "parsing GGUF") != 0)
        return;
    assert_int_equal(pn_store_prune(&pruned, NULL), PANTRY_OK);
    assert_int_equal(pruned.files, 0);
    n_copied++;
}

static void others_do_not_wait_for_files(void **state)
{
    (void)state;
    struct pn_create_options busy = options;
    busy.fetch.progress = copy_a_model;
    busy.status = prune_the_store;
    write_file(in_root("m.gguf"), "weights", 0644);
    write_file(in_root("new.gguf"), "other weights", 0644);
    write_file(in_root("a.gguf"), "lora", 0644);
    good("old", "FROM ./m.gguf\n");
    no_links = true; /* files are copied, so that they are read twice */
    struct pn_create c = {0};
    assert_int_equal(pn_create_add_files(&c.files, in_root("new.gguf"), NULL), PANTRY_OK);
    assert_int_equal(pn_create_add_files(&c.adapters, in_root("a.gguf"), NULL), PANTRY_OK);
    struct pantry_error err = {0};
    n_copied = 0;
    if (pn_store_create("new", &c, &busy, &err))
        fail_msg("%s", err.text);
    assert_true(n_copied > 2); /* the first file while it was hashed and copied, and pruning */
    pn_create_free(&c);
    assert_layers("new", "model=other weights|adapter=lora|");
    assert_layers("copy0", "model=weights|");
}

static void shards_have_links(void **state)
{
    (void)state;
    char *path = NULL, *text = NULL;
    struct stat st;
    write_file(in_root("x-00001-of-00002.gguf"), "one", 0644);
    write_file(in_root("x-00002-of-00002.gguf"), "two!", 0644);
    good("a", "FROM ./x-*.gguf\n");
    assert_layers("a", "model=one|model=two!|");
    assert_int_equal(pn_store_resolve("a", &path, NULL), PANTRY_OK);
    assert_non_null(strstr(path, "/model-00001-of-00002.gguf"));
    assert_int_equal(read_all(path, &text, NULL), PANTRY_OK);
    assert_string_equal(text, "one");
    free(text);
    struct pn_stored *list;
    size_t n;
    assert_int_equal(pn_store_list(&list, &n, NULL), PANTRY_OK);
    assert_int_equal(list[0].bytes, 7);
    pn_store_list_free(list, n);
    /* the links come back where they are gone, as after a pull */
    *strrchr(path, '/') = '\0';
    pn_layout_remove(path);
    free(path);
    assert_int_equal(pn_store_resolve("a", &path, NULL), PANTRY_OK);
    assert_int_equal(stat(path, &st), 0);
    free(path);
    good("b", "FROM a\nPARAMETER top_k 1\n");
    assert_int_equal(pn_store_remove("a", NULL, NULL), PANTRY_OK);
    assert_int_equal(pn_store_resolve("b", &path, NULL), PANTRY_OK);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(pn_store_remove("b", NULL, NULL), PANTRY_OK);
    *strrchr(path, '/') = '\0';
    assert_int_equal(stat(path, &st), -1);
    free(path);
    write_file(in_root("x-00002-of-00002.gguf"), "two!", 0644);
    unlink(in_root("x-00001-of-00002.gguf"));
    bad("FROM ./x-00002-of-00002.gguf", PANTRY_NOT_FOUND, "x-00001-of-00002.gguf: is missing; it is shard 1 of 2");
}

/* Of "abc". */
#define ABC "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

static void uploads(void **state)
{
    (void)state;
    struct pn_upload *u, *v;
    struct pantry_error err = {0};
    bool has = true;
    assert_int_equal(pn_store_has_blob(ABC, &has, &err), PANTRY_OK);
    assert_false(has);
    assert_int_equal(pn_store_has_blob("sha256:../x", &has, &err), PANTRY_INVALID);
    assert_int_equal(pn_upload_open("sha256:x", 0, &u, &err), PANTRY_INVALID);
    assert_null(u);
    assert_int_equal(pn_upload_open(ABC, UINT64_MAX, &u, &err), PANTRY_LIMIT);
    assert_int_equal(pn_upload_open(ABC, 3, &u, &err), PANTRY_OK);
    assert_int_equal(pn_upload_open(ABC, 0, &v, &err), PANTRY_OK);
    assert_int_equal(pn_upload_write(u, "ab", 2, &err), PANTRY_OK);
    assert_int_equal(pn_upload_write(v, "abd", 3, &err), PANTRY_OK);
    assert_int_equal(pn_upload_write(u, "c", 1, &err), PANTRY_OK);
    assert_int_equal(pn_upload_commit(v, &err), PANTRY_INVALID);
    assert_non_null(strstr(err.text, "digest mismatch, expected \"" ABC "\""));
    assert_int_equal(pn_store_has_blob(ABC, &has, &err), PANTRY_OK);
    assert_false(has);
    assert_int_equal(pn_upload_commit(u, &err), PANTRY_OK);
    assert_int_equal(pn_store_has_blob(ABC, &has, &err), PANTRY_OK);
    assert_true(has);
    assert_int_equal(pn_upload_open(ABC, 3, &u, &err), PANTRY_OK);
    pn_upload_abort(u);
    pn_upload_abort(NULL);
    assert_int_equal(n_blobs(), 0); /* nothing named it */
}

/* What a manifest names is not trusted. */
static void carried_texts_are_checked(void **state)
{
    (void)state;
    static const struct {
        const char *type, *text, *why;
    } rows[] = {
        {"system", "\xff", "the system is not UTF-8"},
        {"template", "a\x80", "the template is not UTF-8"},
        {"params", "[]", "the params are not a JSON object"},
        {"params", "{", "the params are not a JSON object"},
        {"messages", "{}", "the messages are not a JSON array"},
        {"messages", "[{\"role\": 1, \"content\": \"\"}]", "the messages are not a JSON array"},
        {"messages", "[1]", "the messages are not a JSON array"},
    };
    struct pn_model_name name;
    assert_int_equal(pn_name_parse("a", &name, NULL), PANTRY_OK);
    assert_int_equal(pn_layout_make_dirs(in_root("home/models/blobs"), NULL), PANTRY_OK);
    char weights[PN_SHA256_HEX + 1];
    assert_int_equal(pn_blob_put(in_root("home/models"), "weights", 7, weights, NULL), PANTRY_OK);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char hex[PN_SHA256_HEX + 1], text[600];
        struct pn_carried c;
        struct pantry_error err = {0};
        assert_int_equal(pn_blob_put(in_root("home/models"), rows[i].text, strlen(rows[i].text), hex, NULL), PANTRY_OK);
        int n = snprintf(text, sizeof text,
                         "{\"layers\": [{\"mediaType\": \"application/vnd.ollama.image.model\", \"digest\": "
                         "\"sha256:%s\", \"size\": 7}, {\"mediaType\": \"application/vnd.ollama.image.%s\", "
                         "\"digest\": \"sha256:%s\", \"size\": 1}]}",
                         weights, rows[i].type, hex);
        assert_int_equal(pn_manifest_put(in_root("home/models"), &name, text, (size_t)n, NULL), PANTRY_OK);
        assert_int_equal(pn_carried_read("a", &c, &err), PANTRY_FORMAT);
        if (!strstr(err.text, rows[i].why))
            fail_msg("'%s' lacks '%s'", err.text, rows[i].why);
    }
    char escape[600];
    struct pn_carried c;
    struct pantry_error err = {0};
    int n = snprintf(escape, sizeof escape,
                     "{\"layers\": [{\"mediaType\": \"application/vnd.ollama.image.model\", \"digest\": "
                     "\"sha256:%s\", \"size\": 7}, {\"mediaType\": \"application/vnd.ollama.image.system\", "
                     "\"digest\": \"sha256:../../../../etc/passwd\"}]}",
                     weights);
    assert_int_equal(pn_manifest_put(in_root("home/models"), &name, escape, (size_t)n, NULL), PANTRY_OK);
    assert_int_equal(pn_carried_read("a", &c, &err), PANTRY_FORMAT);
    assert_non_null(strstr(err.text, "the digest of the system is not sha256:"));
}

/* What pantry.h says about a model's name. */
static void names_mean_models_for_programs(void **state)
{
    (void)state;
    pantry_stored *stored;
    struct pantry_error err = {0};
    char *json = NULL;
    write_file(in_root("m.gguf"), "weights", 0644);
    write_file(in_root("a.gguf"), "lora", 0644);
    good("full", "FROM ./m.gguf\nSYSTEM s\nTEMPLATE {{ messages }}\nMESSAGE user u\nADAPTER ./a.gguf\n");
    assert_int_equal(pantry_find("full", false, NULL, NULL, NULL, &stored, &err), PANTRY_OK);
    assert_non_null(strstr(pantry_stored_path(stored), "blobs/sha256-"));
    assert_string_equal(pantry_stored_template(stored), "{{ messages }}");
    assert_null(pantry_stored_default_template(stored));
    assert_null(pantry_stored_projector(stored));
    assert_non_null(strstr(pantry_stored_adapter(stored, 0), "blobs/sha256-"));
    assert_null(pantry_stored_adapter(stored, 1));
    assert_null(pantry_stored_adapter(stored, (size_t)-1));
    const char *question = "[{\"role\":\"user\",\"content\":\"v\"}]";
    assert_int_equal(pantry_stored_conversation(stored, question, &json, &err), PANTRY_OK);
    assert_string_equal(json, "[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"u\"},"
                              "{\"role\":\"user\",\"content\":\"v\"}]");
    pantry_free(json);
    static const char *const bad[] = {"{}", "[1]", "["};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(pantry_stored_conversation(stored, bad[i], &json, &err), PANTRY_FORMAT);
    pantry_stored_free(stored);
    pantry_stored_free(NULL);

    assert_int_equal(pantry_find(in_root("m.gguf"), false, NULL, NULL, NULL, &stored, &err), PANTRY_OK);
    assert_string_equal(pantry_stored_path(stored), in_root("m.gguf"));
    assert_null(pantry_stored_template(stored));
    pantry_stored_free(stored);
    for (int fetch = 0; fetch < 2; fetch++) { /* a name that says no place is not fetched */
        assert_int_equal(pantry_find("none", fetch, NULL, NULL, NULL, &stored, &err), PANTRY_NOT_FOUND);
        assert_null(stored);
    }
}

/* ---- every call fails, or kills ---- */

static void start_over(void)
{
    pn_layout_remove(in_root("home"));
    good("a", "FROM ./m.gguf\nSYSTEM s\n");
    good("old", "FROM ./m.gguf\nSYSTEM o\n");
}

static pantry_status change(int what)
{
    static const char *const texts[] = {"FROM a\nSYSTEM t\nPARAMETER top_k 1\n", "FROM ./n.gguf\nTEMPLATE {{ x }}\n",
                                        "FROM ./x-*.gguf\n"};
    no_links = what == 1;
    pantry_status status = create("old", texts[what], NULL);
    no_links = false;
    return status;
}

/* Both names have whole models; `old` is the old or the new one. */
static void assert_consistent(void)
{
    static const char *const names[] = {"a", "old"};
    for (int i = 0; i < 2; i++) {
        char *path = NULL;
        struct pn_carried c;
        assert_int_equal(pn_store_resolve(names[i], &path, NULL), PANTRY_OK);
        assert_int_equal(pn_carried_read(names[i], &c, NULL), PANTRY_OK);
        free(layers_of(names[i])); /* checks the sizes */
        assert_true(i || strcmp(c.system, "s") == 0);
        pn_carried_free(&c);
        free(path);
    }
    struct pn_pruned pruned;
    assert_int_equal(pn_store_prune(&pruned, NULL), PANTRY_OK);
    assert_int_equal(change(0), PANTRY_OK); /* the store still works */
}

static void write_files(void)
{
    write_file(in_root("m.gguf"), "weights", 0644);
    write_file(in_root("n.gguf"), "others", 0644);
    write_file(in_root("x-00001-of-00002.gguf"), "one", 0644);
    write_file(in_root("x-00002-of-00002.gguf"), "two!", 0644);
}

static const struct trips trips = {start_over, change, assert_consistent, 3, 20};

static void every_call_may_fail(void **state)
{
    (void)state;
    write_files();
    each_call_fails(&trips);
}

static void dies_anywhere(void **state)
{
    (void)state;
    write_files();
    each_call_kills(&trips);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_root, remove_root)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(layers_replace_and_stay),
        TEST(blobs_go_with_the_last_name),
        TEST(a_model_made_from_itself_leaves_nothing),
        TEST(failures_leave_nothing),
        TEST(a_file_that_cannot_be_linked_is_copied),
        TEST(others_do_not_wait_for_files),
        TEST(shards_have_links),
        TEST(uploads),
        TEST(carried_texts_are_checked),
        TEST(names_mean_models_for_programs),
        TEST(every_call_may_fail),
        TEST(dies_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
