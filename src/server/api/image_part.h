/* Pictures in requests, as answers want them: parts {"type": "image", "data": BASE64} of a message's content. */
#ifndef PN_SERVER_API_IMAGE_PART_H
#define PN_SERVER_API_IMAGE_PART_H

#include "base/status.h"

#include <jansson.h>

/* The part of a data URL ("data:image/png;base64,..."). Other URLs are refused: the service fetches nothing for its
 * callers. `where` is for errors. */
pantry_status pn_image_part_of_url(const char *url, const char *where, json_t **out, struct pantry_error *err);

#endif
