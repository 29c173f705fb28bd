/* API keys: see keys.h. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "server/keys.h"

#include "base/alloc.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

enum { VERSION = 1, MAX_FILE = 1 << 20, PREFIX = 3, LIST_SIZE = PN_KEYS_MAX * sizeof(struct pn_key) };

static const char prefix[] = "pk-";
static const char *const scope_names[] = {[PN_SCOPE_MANAGE] = "manage", [PN_SCOPE_INFER] = "infer"};

const char *pn_scope_name(enum pn_scope scope)
{
    return scope_names[scope];
}

bool pn_scope_parse(const char *text, enum pn_scope *out)
{
    for (int i = PN_SCOPE_MANAGE; i <= PN_SCOPE_INFER; i++)
        if (strcmp(text, scope_names[i]) == 0) {
            *out = (enum pn_scope)i;
            return true;
        }
    return false;
}

/* ---- texts and hashes ---- */

static bool is_hex(const char *text, size_t n)
{
    return strlen(text) == n && strspn(text, "0123456789abcdef") == n;
}

static bool is_name(const char *text)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t n = strlen(text);
    return n > 0 && n <= PN_KEY_NAME && strspn(text, letters) == n && text[0] != '-' && text[0] != '.';
}

static pantry_status random_hex(char *out, size_t n, struct pantry_error *err)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char raw[PN_KEY_TEXT];
    if (getentropy(raw, n / 2) != 0)
        return pn_fail(err, PANTRY_IO, "random numbers: %s", strerror(errno));
    for (size_t i = 0; i < n; i++)
        out[i] = digits[i % 2 ? raw[i / 2] & 15 : raw[i / 2] >> 4];
    out[n] = '\0';
    OPENSSL_cleanse(raw, sizeof raw);
    return PANTRY_OK;
}

static pantry_status hash_of(const char *salt, const char *text, char out[PN_SHA256_HEX + 1], struct pantry_error *err)
{
    struct pn_sha256 hash;
    pantry_status status = pn_sha256_start(&hash, err);
    if (status)
        return status;
    pn_sha256_update(&hash, salt, PN_KEY_SALT);
    pn_sha256_update(&hash, text, PN_KEY_TEXT);
    return pn_sha256_finish(&hash, out, err);
}

const struct pn_key *pn_keys_find(const struct pn_keys *keys, const char *text)
{
    const struct pn_key *found = NULL;
    char hash[PN_SHA256_HEX + 1];
    if (strlen(text) != PN_KEY_TEXT) /* every key's length, so this tells nothing */
        return NULL;
    for (size_t i = 0; i < keys->n; i++)
        if (!hash_of(keys->key[i].salt, text, hash, NULL) && CRYPTO_memcmp(hash, keys->key[i].hash, PN_SHA256_HEX) == 0)
            found = &keys->key[i];
    return found;
}

/* ---- the file ---- */

/* The text of a field, or "". */
static const char *text_of(const json_t *row, const char *name)
{
    const char *text = json_string_value(json_object_get(row, name));
    return text ? text : "";
}

/* NULL, or what is wrong. */
static const char *read_key(const json_t *row, struct pn_key *key)
{
    static const char *const fields[] = {"name", "scope", "created", "last", "salt", "hash"};
    const char *name = text_of(row, "name"), *last = text_of(row, "last"), *salt = text_of(row, "salt"),
               *hash = text_of(row, "hash");
    const json_t *created = json_object_get(row, "created");
    if (json_object_size(row) != sizeof fields / sizeof *fields)
        return "fields missing or unknown (allowed name, scope, created, last, salt, hash)";
    if (!is_name(name))
        return "name: malformed";
    if (!pn_scope_parse(text_of(row, "scope"), &key->scope))
        return "scope: unknown (allowed infer, manage)";
    if (!json_is_integer(created) || json_integer_value(created) < 0)
        return "created: not a time";
    if (!is_hex(last, PN_KEY_LAST) || !is_hex(salt, PN_KEY_SALT) || !is_hex(hash, PN_SHA256_HEX))
        return "last, salt or hash: wrong length or not hexadecimal";
    key->created = json_integer_value(created);
    memcpy(key->name, name, strlen(name) + 1);
    memcpy(key->last, last, sizeof key->last);
    memcpy(key->salt, salt, sizeof key->salt);
    memcpy(key->hash, hash, sizeof key->hash);
    return NULL;
}

static const struct pn_key *find_name(const struct pn_keys *keys, const char *name)
{
    for (size_t i = 0; i < keys->n; i++)
        if (strcmp(keys->key[i].name, name) == 0)
            return &keys->key[i];
    return NULL;
}

static pantry_status read_rows(struct pn_keys *keys, const json_t *root, struct pantry_error *err)
{
    const json_t *list = json_object_get(root, "keys"), *row;
    size_t i;
    if (json_integer_value(json_object_get(root, "version")) != VERSION || !json_is_array(list) ||
        json_object_size(root) != 2)
        return pn_fail(err, PANTRY_FORMAT, "%s: not a list of keys of version %d", keys->path, VERSION);
    if (json_array_size(list) > PN_KEYS_MAX)
        return pn_fail(err, PANTRY_LIMIT, "%s: too many keys (found %zu, allowed %d)", keys->path,
                       json_array_size(list), PN_KEYS_MAX);
    json_array_foreach(list, i, row)
    {
        struct pn_key key = {0};
        const char *wrong = read_key(row, &key);
        if (!wrong && find_name(keys, key.name))
            wrong = "duplicate name";
        if (wrong)
            return pn_fail(err, PANTRY_FORMAT, "%s: keys[%zu]: %s", keys->path, i, wrong);
        keys->key[keys->n++] = key;
    }
    return PANTRY_OK;
}

static pantry_status parse(struct pn_keys *keys, const char *text, size_t n, struct pantry_error *err)
{
    json_error_t where;
    json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &where);
    if (!root)
        return pn_fail(err, PANTRY_FORMAT, "%s: damaged: %s (line %d)", keys->path, where.text, where.line);
    pantry_status status = read_rows(keys, root, err);
    json_decref(root);
    return status;
}

/* Of the file that is open, so that its state belongs to the bytes that are read. */
static pantry_status check_file(const struct pn_keys *keys, struct pantry_error *err)
{
    const struct stat *st = &keys->seen;
    if (!S_ISREG(st->st_mode))
        return pn_fail(err, PANTRY_INVALID, "%s: not a regular file", keys->path);
    if (st->st_mode & (S_IRWXG | S_IRWXO))
        return pn_fail(err, PANTRY_INVALID, "%s: other users may access it (found mode %03o, allowed 600): chmod 600",
                       keys->path, (unsigned)(st->st_mode & 0777));
    if (st->st_size > MAX_FILE)
        return pn_fail(err, PANTRY_LIMIT, "%s: too large (found %lld bytes, allowed %d)", keys->path,
                       (long long)st->st_size, MAX_FILE);
    return PANTRY_OK;
}

static pantry_status read_open_file(struct pn_keys *keys, struct pantry_error *err)
{
    if (fstat(keys->fd, &keys->seen) != 0)
        return pn_fail(err, PANTRY_IO, "%s: %s", keys->path, strerror(errno));
    pantry_status status = check_file(keys, err);
    if (status)
        return status;
    size_t size = (size_t)keys->seen.st_size, n = 0;
    char *text = malloc(size + 1);
    ssize_t k = 1;
    if (!text || !(keys->key = calloc(1, LIST_SIZE)))
        status = pn_no_memory(err, keys->path);
    while (!status && n < size && ((k = read(keys->fd, text + n, size - n)) > 0 || (k < 0 && errno == EINTR)))
        n += k > 0 ? (size_t)k : 0;
    if (!status && k < 0)
        status = pn_fail(err, PANTRY_IO, "%s: %s", keys->path, strerror(errno));
    if (!status)
        status = parse(keys, text, n, err);
    free(text);
    return status;
}

static void forget(struct pn_keys *keys)
{
    if (keys->fd >= 0)
        close(keys->fd);
    free(keys->key);
    *keys = (struct pn_keys){.path = keys->path, .fd = -1};
}

static pantry_status read_file(struct pn_keys *keys, struct pantry_error *err)
{
    forget(keys);
    keys->fd = open(keys->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not block the service */
    if (keys->fd < 0)
        return errno == ENOENT ? PANTRY_OK : pn_fail(err, PANTRY_IO, "%s: %s", keys->path, strerror(errno));
    pantry_status status = read_open_file(keys, err);
    if (status)
        forget(keys);
    return status;
}

pantry_status pn_keys_open(struct pn_keys *keys, const char *path, struct pantry_error *err)
{
    *keys = (struct pn_keys){.path = strdup(path), .fd = -1};
    pantry_status status = keys->path ? read_file(keys, err) : pn_no_memory(err, path);
    if (status)
        pn_keys_close(keys);
    return status;
}

void pn_keys_close(struct pn_keys *keys)
{
    forget(keys);
    free(keys->path);
    keys->path = NULL;
}

#ifdef __APPLE__
#define MODIFIED st_mtimespec
#define CHANGED  st_ctimespec
#else
#define MODIFIED st_mtim
#define CHANGED  st_ctim
#endif

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

pantry_status pn_keys_refresh(struct pn_keys *keys, struct pantry_error *err)
{
    struct stat now;
    const struct stat *seen = &keys->seen;
    bool missing = stat(keys->path, &now) != 0;
    if (missing && errno != ENOENT) {
        pn_fail(err, PANTRY_IO, "%s: %s", keys->path, strerror(errno));
        forget(keys);
        return PANTRY_IO;
    }
    if (missing ? keys->fd < 0
                : keys->fd >= 0 && now.st_ino == seen->st_ino && now.st_dev == seen->st_dev &&
                      now.st_size == seen->st_size && same_time(now.MODIFIED, seen->MODIFIED) &&
                      same_time(now.CHANGED, seen->CHANGED))
        return PANTRY_OK;
    return read_file(keys, err);
}

/* ---- changes ---- */

static pantry_status write_file(const struct pn_keys *keys, struct pantry_error *err)
{
    json_t *list = json_array();
    for (size_t i = 0; i < keys->n; i++) {
        const struct pn_key *k = &keys->key[i];
        json_array_append_new(list, json_pack("{s:s, s:s, s:I, s:s, s:s, s:s}", "name", k->name, "scope",
                                              pn_scope_name(k->scope), "created", (json_int_t)k->created, "last",
                                              k->last, "salt", k->salt, "hash", k->hash));
    }
    json_t *root = json_pack("{s:i, s:o}", "version", VERSION, "keys", list);
    char *text = root && json_array_size(list) == keys->n ? json_dumps(root, JSON_INDENT(2)) : NULL;
    pantry_status status =
        text ? pn_store_replace_private_file(keys->path, text, strlen(text), err) : pn_no_memory(err, keys->path);
    json_decref(root);
    free(text);
    return status;
}

/* The keys of the file, which nobody else changes until the lock is closed. */
static pantry_status open_locked(struct pn_keys *keys, const char *path, int *lock, struct pantry_error *err)
{
    pantry_status status = pn_store_lock_private_file(path, lock, err);
    if (!status && (status = pn_keys_open(keys, path, err)))
        close(*lock);
    return status;
}

static void close_locked(struct pn_keys *keys, int lock)
{
    pn_keys_close(keys);
    close(lock);
}

static pantry_status new_key(const char *name, enum pn_scope scope, struct pn_key *key, char text[PN_KEY_TEXT + 1],
                             struct pantry_error *err)
{
    *key = (struct pn_key){.scope = scope, .created = (int64_t)time(NULL)};
    snprintf(key->name, sizeof key->name, "%s", name);
    memcpy(text, prefix, PREFIX);
    pantry_status status = random_hex(text + PREFIX, PN_KEY_TEXT - PREFIX, err);
    if (!status)
        status = random_hex(key->salt, PN_KEY_SALT, err);
    if (!status)
        status = hash_of(key->salt, text, key->hash, err);
    if (!status)
        memcpy(key->last, text + PN_KEY_TEXT - PN_KEY_LAST, sizeof key->last);
    return status;
}

static pantry_status append(struct pn_keys *keys, const struct pn_key *key, struct pantry_error *err)
{
    if (!keys->key && !(keys->key = calloc(1, LIST_SIZE)))
        return pn_no_memory(err, keys->path);
    keys->key[keys->n++] = *key;
    return write_file(keys, err);
}

static const char *unused_name(const struct pn_keys *keys, char out[24])
{
    int i = 1;
    do
        snprintf(out, 24, "key-%d", i++);
    while (find_name(keys, out));
    return out;
}

pantry_status pn_keys_add(const char *path, const char *name, enum pn_scope scope, struct pn_key *out,
                          char text[PN_KEY_TEXT + 1], struct pantry_error *err)
{
    struct pn_keys keys;
    char unused[24];
    int lock;
    if (name && !is_name(name))
        return pn_fail(err, PANTRY_INVALID,
                       "\"%.80s\": not a name of a key (allowed up to %d letters, digits, '.', '_' and '-'; not '.' or "
                       "'-' first)",
                       name, PN_KEY_NAME);
    pantry_status status = open_locked(&keys, path, &lock, err);
    if (status)
        return status;
    if (!name)
        name = unused_name(&keys, unused);
    if (keys.n == PN_KEYS_MAX)
        status = pn_fail(err, PANTRY_LIMIT, "%s: there are %d keys already; remove one first", path, PN_KEYS_MAX);
    else if (find_name(&keys, name))
        status = pn_fail(err, PANTRY_INVALID, "a key named %s exists already", name);
    if (!status)
        status = new_key(name, scope, out, text, err);
    if (!status)
        status = append(&keys, out, err);
    close_locked(&keys, lock);
    return status;
}

pantry_status pn_keys_remove(const char *path, const char *name, struct pantry_error *err)
{
    struct pn_keys keys;
    int lock;
    pantry_status status = open_locked(&keys, path, &lock, err);
    if (status)
        return status;
    const struct pn_key *key = find_name(&keys, name);
    if (key) {
        size_t i = (size_t)(key - keys.key);
        memmove(keys.key + i, keys.key + i + 1, (--keys.n - i) * sizeof *keys.key);
        status = write_file(&keys, err);
    } else {
        status = pn_fail(err, PANTRY_NOT_FOUND, "there is no key named %.80s", name);
    }
    close_locked(&keys, lock);
    return status;
}
