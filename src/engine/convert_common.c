/* What the parts of pantry_convert share: progress, and small files. See convert.h and convert_dir.h. */
#include "engine/convert_dir.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

pantry_status pn_convert_report(struct pn_convert *c, const char *name, const char *from, const char *to, size_t i,
                                size_t n, uint64_t bytes, struct pantry_error *err)
{
    c->bytes_done += bytes;
    for (size_t m = 0; m < c->w->n_maps; m++) /* pages of a large model would fill the memory */
        pn_map_release(&c->w->maps[m]);
    if (c->options.callback) {
        const struct pantry_quantize_progress progress = {.tensor = name,
                                                          .from = from,
                                                          .to = to,
                                                          .number = i + 1,
                                                          .n_tensors = n,
                                                          .bytes_done = c->bytes_done,
                                                          .bytes_total = c->result.bytes_out};
        c->options.callback(c->options.user, &progress);
    }
    if (c->options.cancel && pantry_cancel_is_set(c->options.cancel))
        return pn_fail(err, PANTRY_CANCELLED, "cancelled after %s", name);
    return PANTRY_OK;
}

pantry_status pn_dir_put(const char *folder, const char *name, const json_t *json, const char *text,
                         struct pantry_error *err)
{
    char path[4096];
    char *dumped = text ? NULL : json_dumps(json, JSON_INDENT(2));
    const char *bytes = text ? text : dumped;
    if (!bytes)
        return pn_no_memory(err, name);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    bool ok = f && fwrite(bytes, 1, strlen(bytes), f) == strlen(bytes);
    int why = errno;
    ok = f && fclose(f) == 0 && ok;
    free(dumped);
    return ok ? PANTRY_OK : pn_fail(err, PANTRY_IO, "%s: cannot be written: %s", path, strerror(why));
}
