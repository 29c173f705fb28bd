/* Fuzzes the reader of the prefix cache's files: names and bytes of any kind, and files that are right but for one
 * byte. What is accepted is what would be written again. */
#include "engine/disk_file.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void parse_name(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1), again[PN_DISK_NAME];
    struct pn_disk_block block;
    check(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    if (pn_disk_name_parse(text, &block)) {
        pn_disk_name(&block, again);
        check(strcmp(text, again) == 0);
    }
    free(text);
}

static void parse_file(const uint8_t *data, size_t size)
{
    uint8_t *exact = malloc(size ? size : 1); /* of exactly this size */
    struct pn_disk_block block;
    check(exact != NULL);
    memcpy(exact, data, size);
    if (pn_disk_file_parse(exact, size, &block)) {
        check(block.n > 0 && pn_disk_file_size(block.bytes) == size);
        check(pn_disk_file_seal(exact, &block) && memcmp(exact, data, size) == 0);
    }
    free(exact);
}

/* The input as the numbers of a block, whose header comes from its first bytes. */
static void damage_file(const uint8_t *data, size_t size)
{
    struct pn_disk_block block = {0}, read;
    uint32_t at = 0;
    size_t fixed = 8 + sizeof block.key + sizeof block.parent;
    if (size < fixed)
        return;
    memcpy(&at, data, sizeof at);
    block.kind = (enum pn_disk_kind)(data[4] % 3);
    block.group = block.kind == PN_DISK_WINDOW ? 1 + data[5] % 3 : 0;
    block.n = 1 + data[6] + 256 * data[7];
    memcpy(block.key.bytes, data + 8, sizeof block.key);
    memcpy(block.parent.bytes, data + 8 + sizeof block.key, sizeof block.parent);
    for (int i = 0; i < pn_disk_n_ids(block.n); i++)
        block.ids[i] = data[(size_t)i % size];
    block.bytes = size - fixed;
    size_t whole = pn_disk_file_size(block.bytes);
    uint8_t *file = calloc(1, whole);
    check(file != NULL);
    memcpy(file + PN_DISK_HEADER, data + fixed, block.bytes);
    check(pn_disk_file_seal(file, &block) && pn_disk_file_is(file, whole, &block));
    check(pn_disk_file_parse(file, whole, &read) && read.n == block.n &&
          memcmp(read.ids, block.ids, sizeof read.ids) == 0);
    file[at % whole] ^= (uint8_t)(1 + data[4] % 255);
    check(!pn_disk_file_parse(file, whole, &read));
    file[at % whole] ^= (uint8_t)(1 + data[4] % 255);
    check(!pn_disk_file_parse(file, at % whole, &read));
    free(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    parse_name(data, size);
    parse_file(data, size);
    damage_file(data, size);
    return 0;
}
