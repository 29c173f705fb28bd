/* Resizes pictures in bulk for differential tests: one line "FILE WIDTH HEIGHT FILTER OUT" each on standard input; OUT
 * gets the bytes of RGB. A WIDTH of 0 only decodes. Prints "ok WIDTH HEIGHT", or "error: ..." per line. */
#include "base/file.h"
#include "image/resample.h"

#include <stdio.h>
#include <stdlib.h>

static pantry_status work(const char *file, int width, int height, int filter, struct pn_image *out,
                          struct pantry_error *err)
{
    char *data = NULL;
    size_t len;
    struct pn_image image = {0};
    pantry_status status = pn_file_read(file, PN_IMAGE_MAX_FILE, &data, &len, err);
    if (!status)
        status = pn_image_decode(data, len, &image, err);
    free(data);
    if (!status && width == 0) {
        *out = image;
        return PANTRY_OK;
    }
    if (!status)
        status = pn_image_resize(&image, width, height, (enum pn_resample)filter, out, err);
    pn_image_free(&image);
    return status;
}

int main(void)
{
    char line[4096], file[1024], to[1024];
    int width, height, filter;
    while (fgets(line, sizeof line, stdin) &&
           sscanf(line, "%1023s %d %d %d %1023s", file, &width, &height, &filter, to) == 5) {
        struct pantry_error err = {0};
        struct pn_image out = {0};
        if (work(file, width, height, filter, &out, &err)) {
            printf("error: %s\n", err.text);
        } else {
            FILE *f = fopen(to, "wb");
            size_t n = (size_t)out.width * (size_t)out.height * 3;
            if (!f || fwrite(out.rgb, 1, n, f) != n || fclose(f) != 0)
                return 1;
            printf("ok %d %d\n", out.width, out.height);
        }
        fflush(stdout);
        pn_image_free(&out);
    }
    return 0;
}
