/* Pictures in requests: see image_part.h. */
#include "server/api/image_part.h"

#include <string.h>

pantry_status pn_image_part_of_url(const char *url, const char *where, json_t **out, struct pantry_error *err)
{
    static const char scheme[] = "data:", base64[] = ";base64";
    *out = NULL;
    if (!url)
        return pn_fail(err, PANTRY_INVALID, "%s: a URL of a picture is needed", where);
    if (strncmp(url, scheme, sizeof scheme - 1) != 0)
        return pn_fail(err, PANTRY_UNSUPPORTED,
                       "%s: the pictures of image_url and input_image are not fetched; send them in a data URL "
                       "(data:image/png;base64,...)",
                       where);
    const char *comma = strchr(url, ',');
    size_t n = comma ? (size_t)(comma - url) : 0, tail = sizeof base64 - 1;
    if (n < tail || strncmp(comma - tail, base64, tail) != 0)
        return pn_fail(err, PANTRY_INVALID, "%s: the data URL is not base64", where);
    *out = json_pack("{s:s, s:s}", "type", "image", "data", comma + 1);
    return *out ? PANTRY_OK : pn_no_memory(err, "a message");
}
