/* WebP, by libwebp; of an animation the first frame. */
#include "image/decode.h"

#include <string.h>
#include <webp/decode.h>
#include <webp/demux.h>

/* The decoder keeps four bytes of every pixel of a lossless picture, an animation a canvas or two of them. */
enum { STILL_WORK = 5, MOVING_WORK = 13 };

static pantry_status damaged(struct pantry_error *err)
{
    return pn_fail(err, PANTRY_FORMAT, "the picture is damaged or ends early");
}

static pantry_status read_still(struct pn_image_file *file, struct pantry_error *err)
{
    size_t stride = (size_t)file->image.width * 3;
    bool ok =
        WebPDecodeRGBInto(file->data, file->len, file->image.rgb, stride * (size_t)file->image.height, (int)stride);
    return ok ? PANTRY_OK : damaged(err);
}

static pantry_status read_moving(struct pn_image_file *file, struct pantry_error *err)
{
    WebPData data = {file->data, file->len};
    WebPAnimDecoderOptions options;
    uint8_t *rgba;
    int time;
    size_t n = (size_t)file->image.width * (size_t)file->image.height;
    if (!WebPAnimDecoderOptionsInit(&options))
        return pn_fail(err, PANTRY_INTERNAL, "another version of libwebp");
    WebPAnimDecoder *decoder = WebPAnimDecoderNew(&data, &options);
    bool ok = decoder && WebPAnimDecoderGetNext(decoder, &rgba, &time);
    for (size_t i = 0; ok && i < n; i++)
        memcpy(file->image.rgb + 3 * i, rgba + 4 * i, 3);
    WebPAnimDecoderDelete(decoder);
    return ok ? PANTRY_OK : damaged(err);
}

static void read_turn(struct pn_image_file *file)
{
    static const char name[] = "Exif\0";
    WebPData data = {file->data, file->len};
    WebPDemuxer *demuxer = WebPDemux(&data);
    WebPChunkIterator chunk;
    if (demuxer && WebPDemuxGetChunk(demuxer, "EXIF", 1, &chunk)) {
        bool named = chunk.chunk.size > sizeof name && memcmp(chunk.chunk.bytes, name, sizeof name) == 0;
        size_t skip = named ? sizeof name : 0;
        file->turn = pn_image_exif_turn(chunk.chunk.bytes + skip, chunk.chunk.size - skip);
        WebPDemuxReleaseChunkIterator(&chunk);
    }
    WebPDemuxDelete(demuxer);
}

pantry_status pn_image_webp(struct pn_image_file *file, struct pantry_error *err)
{
    WebPBitstreamFeatures f;
    if (WebPGetFeatures(file->data, file->len, &f) != VP8_STATUS_OK)
        return damaged(err);
    pantry_status status = pn_image_take(file, f.width, f.height, f.has_animation ? MOVING_WORK : STILL_WORK, err);
    if (!status)
        status = f.has_animation ? read_moving(file, err) : read_still(file, err);
    if (!status)
        read_turn(file);
    return status;
}
