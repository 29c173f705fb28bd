/* Safetensors files: see safetensors_writer.h. */
#include "safetensors_writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "cannot write %s\n", what);
    abort();
}

void stw_free(struct stw *w)
{
    pn_buf_free(&w->header);
    pn_buf_free(&w->data);
}

void stw_tensor(struct stw *w, const char *name, const char *dtype, int n_dims, const int64_t *shape, const void *data,
                size_t bytes)
{
    pn_buf_printf(&w->header, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", w->header.len ? "," : "", name, dtype);
    for (int i = 0; i < n_dims; i++)
        pn_buf_printf(&w->header, "%s%lld", i ? "," : "", (long long)shape[i]);
    pn_buf_printf(&w->header, "],\"data_offsets\":[%zu,%zu]}", w->data.len, w->data.len + bytes);
    pn_buf_append(&w->data, data, bytes);
}

void stw_bytes(const struct stw *w, struct pn_buf *out)
{
    uint64_t n = w->header.len + 2;
    for (int i = 0; i < 8; i++)
        pn_buf_putc(out, (char)(n >> 8 * i));
    pn_buf_putc(out, '{');
    pn_buf_append(out, w->header.data ? w->header.data : "", w->header.len);
    pn_buf_putc(out, '}');
    pn_buf_append(out, w->data.data ? w->data.data : "", w->data.len);
    check(!out->failed && !w->header.failed && !w->data.failed, "a safetensors file");
}

void stw_put(const char *folder, const char *name, const void *bytes, size_t n)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    check(f && fwrite(bytes, 1, n, f) == n && fclose(f) == 0, path);
}

void stw_file(const struct stw *w, const char *folder, const char *name)
{
    struct pn_buf out = {0};
    stw_bytes(w, &out);
    stw_put(folder, name, out.data, out.len);
    pn_buf_free(&out);
}
