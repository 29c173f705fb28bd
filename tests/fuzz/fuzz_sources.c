/* Feeds arbitrary bytes to what reads the answers of servers: manifests of registries, lists of files of Hugging Face,
 * the links between their pages, and names of parts. The first byte chooses. What is accepted has valid digests, and no
 * more files than there is room for. */
#include "store/hub.h"
#include "store/link.h"

#include <stdlib.h>
#include <string.h>

static void check_hex(const char *hex)
{
    if (strlen(hex) != PN_SHA256_HEX || strspn(hex, "0123456789abcdef") != PN_SHA256_HEX)
        abort();
}

static void read_manifest(const char *text, size_t n)
{
    struct pn_layers layers;
    struct pantry_error err;
    if (pn_layers_parse(text, n, &layers, &err))
        return;
    if (layers.n == 0 || layers.n > PN_LAYERS_MAX + 1)
        abort();
    for (size_t i = 0; i < layers.n; i++)
        check_hex(layers.layer[i].hex);
}

static size_t take_last(void *user, const char *const *files, size_t n)
{
    (void)user;
    return files[n - 1] ? n - 1 : n;
}

static void read_files(const char *text, size_t n, const char *quant)
{
    const struct pn_pull_options options = {.choose = take_last};
    struct pn_hub_model model;
    struct pantry_error err;
    if (!pn_hub_choose(text, n, quant, &options, &model, &err)) {
        if (model.n == 0 || model.n > PN_LAYERS_MAX || model.file[0].projector)
            abort();
        for (size_t i = 0; i < model.n; i++) {
            if (!model.file[i].small) /* they are read first */
                check_hex(model.file[i].layer.hex);
            if (model.folder && !pn_media_is_part(model.file[i].path))
                abort();
            for (const char *c = model.file[i].path; *c; c++)
                if ((unsigned char)*c < 0x20 || (unsigned char)*c >= 0x7F)
                    abort();
        }
    }
    pn_hub_free(&model);
}

/* Unlike strstr, past zero bytes. */
static bool contains(const char *text, size_t n, const char *part)
{
    size_t len = strlen(part);
    for (size_t i = 0; i + len <= n; i++)
        if (memcmp(text + i, part, len) == 0)
            return true;
    return false;
}

/* What is found fits, is part of the value, and has no spaces. */
static void read_link(const char *text, size_t n)
{
    char next[64], *exact = malloc(n ? n : 1);
    memcpy(exact, text, n);
    if (pn_link_next(exact, n, next, sizeof next)) {
        if (!*next || strlen(next) >= sizeof next || strpbrk(next, " \t>") || !contains(text, n, next))
            abort();
    }
    free(exact);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned number, count;
    if (size == 0)
        return 0;
    char *text = malloc(size); /* the rest, and a zero */
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    switch (data[0] % 8) {
    case 0:
        read_manifest(text, size - 1);
        break;
    case 1:
        read_files(text, size - 1, "latest");
        break;
    case 2:
        read_files(text, size - 1, "Q4_K_M");
        break;
    case 3:
        if (pn_shards_name(text, &number, &count) && (number < 1 || number > count))
            abort();
        break;
    default:
        read_link(text, size - 1);
    }
    free(text);
    return 0;
}
