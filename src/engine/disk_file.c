/* Files of the prefix cache: see disk_file.h. */
#include "engine/disk_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char magic[8] = {'P', 'N', 'P', 'R', 'E', 'F', 'I', 'X'};

struct header {
    char magic[8];
    uint32_t version, kind, group, n;
    uint64_t bytes;
    unsigned char key[PN_DISK_KEY], parent[PN_DISK_KEY];
    int32_t first[PN_DISK_GROUPS];
    int32_t ids[PN_PAGE_TOKENS]; /* zeros after the last */
    unsigned char zeros[8];
};
_Static_assert(sizeof(struct header) == PN_DISK_HEADER, "the header is part of the format");

/* ---- keys ---- */

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Reads n bytes of lower-case hexadecimal. */
static bool from_hex(const char *hex, unsigned char *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int high = digit(hex[2 * i]), low = high < 0 ? -1 : digit(hex[2 * i + 1]);
        if (low < 0)
            return false;
        out[i] = (unsigned char)(high << 4 | low);
    }
    return true;
}

static bool digest(const void *a, size_t n_a, const void *b, size_t n_b, unsigned char *out, size_t n)
{
    struct pn_sha256 hash;
    char hex[PN_SHA256_HEX + 1];
    if (pn_sha256_start(&hash, NULL))
        return false;
    pn_sha256_update(&hash, a, n_a);
    pn_sha256_update(&hash, b, n_b);
    return pn_sha256_finish(&hash, hex, NULL) == PANTRY_OK && from_hex(hex, out, n);
}

bool pn_disk_key_of(const void *bytes, size_t n, struct pn_disk_key *out)
{
    return digest(bytes, n, NULL, 0, out->bytes, PN_DISK_KEY);
}

bool pn_disk_key_next(const struct pn_disk_key *parent, const int32_t *ids, int n, struct pn_disk_key *out)
{
    return digest(parent->bytes, PN_DISK_KEY, ids, (size_t)n * sizeof *ids, out->bytes, PN_DISK_KEY);
}

bool pn_disk_key_equal(const struct pn_disk_key *a, const struct pn_disk_key *b)
{
    return memcmp(a->bytes, b->bytes, PN_DISK_KEY) == 0;
}

/* ---- names: KEY-PARENT-N-KIND ---- */

static const char kinds[] = "pwc";

void pn_disk_name(const struct pn_disk_block *b, char name[PN_DISK_NAME])
{
    char *at = name;
    for (int i = 0; i < PN_DISK_KEY; i++)
        at += sprintf(at, "%02x", b->key.bytes[i]);
    *at++ = '-';
    for (int i = 0; i < PN_DISK_KEY; i++)
        at += sprintf(at, "%02x", b->parent.bytes[i]);
    sprintf(at, "-%010d-%c%d", b->n, kinds[b->kind], b->group);
}

bool pn_disk_name_parse(const char *name, struct pn_disk_block *b)
{
    enum { HEX = 2 * PN_DISK_KEY, NUMBER = 2 * HEX + 2, LENGTH = NUMBER + 13 };
    *b = (struct pn_disk_block){0};
    if (strlen(name) != LENGTH || !from_hex(name, b->key.bytes, PN_DISK_KEY) || name[HEX] != '-' ||
        !from_hex(name + HEX + 1, b->parent.bytes, PN_DISK_KEY) || name[NUMBER - 1] != '-' || name[NUMBER + 10] != '-')
        return false;
    int64_t n = 0;
    for (int i = 0; i < 10; i++) {
        int d = digit(name[NUMBER + i]);
        if (d < 0 || d > 9)
            return false;
        n = 10 * n + d;
    }
    const char *kind = strchr(kinds, name[NUMBER + 11]);
    b->group = name[NUMBER + 12] - '0';
    if (n < 1 || n > INT32_MAX || !kind || b->group < 0 || b->group >= PN_DISK_GROUPS)
        return false;
    b->n = (int)n;
    b->kind = (enum pn_disk_kind)(kind - kinds);
    return (b->kind == PN_DISK_WINDOW) == (b->group > 0);
}

/* ---- files ---- */

bool pn_disk_file_seal(unsigned char *file, const struct pn_disk_block *b)
{
    struct header h = {.version = PN_DISK_VERSION,
                       .kind = b->kind,
                       .group = (uint32_t)b->group,
                       .n = (uint32_t)b->n,
                       .bytes = b->bytes};
    memcpy(h.magic, magic, sizeof magic);
    memcpy(h.key, b->key.bytes, PN_DISK_KEY);
    memcpy(h.parent, b->parent.bytes, PN_DISK_KEY);
    memcpy(h.first, b->first, sizeof h.first);
    memcpy(h.ids, b->ids, (size_t)pn_disk_n_ids(b->n) * sizeof *h.ids);
    memcpy(file, &h, sizeof h);
    size_t end = PN_DISK_HEADER + b->bytes;
    return digest(file, end, NULL, 0, file + end, PN_DISK_DIGEST);
}

static bool is_zero(const void *bytes, size_t n)
{
    const unsigned char *b = bytes;
    unsigned char sum = 0;
    for (size_t i = 0; i < n; i++)
        sum |= b[i];
    return sum == 0;
}

bool pn_disk_file_parse(const unsigned char *file, size_t size, struct pn_disk_block *b)
{
    struct header h;
    unsigned char sum[PN_DISK_DIGEST];
    if (size < pn_disk_file_size(0))
        return false;
    memcpy(&h, file, sizeof h);
    if (memcmp(h.magic, magic, sizeof magic) != 0 || h.version != PN_DISK_VERSION || h.kind > PN_DISK_CHECKPOINT ||
        h.group >= PN_DISK_GROUPS || (h.kind == PN_DISK_WINDOW) != (h.group > 0) || h.n < 1 || h.n > INT32_MAX ||
        h.bytes != size - pn_disk_file_size(0))
        return false;
    int n_ids = pn_disk_n_ids((int)h.n);
    if (!is_zero(h.ids + n_ids, sizeof h.ids - (size_t)n_ids * sizeof *h.ids) || !is_zero(h.zeros, sizeof h.zeros))
        return false;
    size_t end = PN_DISK_HEADER + h.bytes;
    if (!digest(file, end, NULL, 0, sum, PN_DISK_DIGEST) || memcmp(sum, file + end, PN_DISK_DIGEST) != 0)
        return false;
    *b = (struct pn_disk_block){
        .kind = (enum pn_disk_kind)h.kind, .group = (int)h.group, .n = (int)h.n, .bytes = h.bytes};
    memcpy(b->key.bytes, h.key, PN_DISK_KEY);
    memcpy(b->parent.bytes, h.parent, PN_DISK_KEY);
    memcpy(b->first, h.first, sizeof h.first);
    memcpy(b->ids, h.ids, sizeof h.ids);
    return true;
}

bool pn_disk_file_is(const unsigned char *file, size_t size, struct pn_disk_block *wanted)
{
    struct pn_disk_block b;
    if (!pn_disk_file_parse(file, size, &b) || b.kind != wanted->kind || b.group != wanted->group || b.n != wanted->n ||
        b.bytes != wanted->bytes || !pn_disk_key_equal(&b.key, &wanted->key) ||
        !pn_disk_key_equal(&b.parent, &wanted->parent) ||
        memcmp(b.ids, wanted->ids, (size_t)pn_disk_n_ids(b.n) * sizeof *b.ids) != 0)
        return false;
    memcpy(wanted->first, b.first, sizeof b.first);
    return true;
}
