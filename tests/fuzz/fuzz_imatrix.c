/* Fuzzes the reader of importance matrices: the input as a file, or as changes to a valid one. Input: a byte that
 * chooses (0: the rest is the file; odd: the GGUF format, else the older one), then triples of position and new byte.
 */
#include "engine/imatrix_file.h"
#include "gguf_writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST = 4096 };

static size_t valid_file(bool gguf, unsigned char bytes[MOST])
{
    static unsigned char files[2][MOST];
    static size_t sizes[2];
    if (!sizes[gguf]) {
        const char *path = gw_temp(gguf ? "valid.gguf" : "valid.dat");
        struct pn_imatrix m = {.chunks = 2, .chunk_size = 8};
        struct pn_imatrix_entry *e = pn_imatrix_entry(&m, "blk.0.a.weight", 3, 2);
        if (!e || !pn_imatrix_entry(&m, "blk.0.b.weight", 2, 1) || pn_imatrix_add_dataset(&m, "text", NULL) ||
            pn_imatrix_write(&m, path, NULL))
            abort();
        FILE *f = fopen(path, "rb");
        sizes[gguf] = f ? fread(files[gguf], 1, MOST, f) : 0;
        if (!sizes[gguf] || fclose(f) != 0)
            abort();
        pn_imatrix_free(&m);
    }
    memcpy(bytes, files[gguf], sizes[gguf]);
    return sizes[gguf];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static unsigned char bytes[MOST];
    struct pn_imatrix m = {0};
    const char *path;
    if (size < 1)
        return 0;
    if (data[0] == 0) {
        path = gw_put("input", data + 1, size - 1);
    } else {
        size_t n = valid_file(data[0] & 1, bytes);
        for (size_t i = 1; i + 2 < size; i += 3)
            bytes[(data[i] | (size_t)data[i + 1] << 8) % n] = data[i + 2];
        path = gw_put("input", bytes, n);
    }
    if (pn_imatrix_add_file(&m, path, NULL) == PANTRY_OK)
        for (size_t i = 0; i < m.entries.len; i++) {
            const struct pn_imatrix_entry *e = &m.entries.data[i];
            if (!e->columns || !e->matrices || !(e->sum[e->columns * e->matrices - 1] >= 0) || !(e->count[0] >= 0) ||
                pn_imatrix_find(&m, e->name) != e)
                abort();
        }
    pn_imatrix_free(&m);
    return 0;
}
