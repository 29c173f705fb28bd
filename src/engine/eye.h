/* The encoder of a model that sees: it decodes, prepares and encodes pictures, and remembers the last ones by their
 * content, so that a follow-up question encodes nothing again. Any number of threads may use one. */
#ifndef PN_ENGINE_EYE_H
#define PN_ENGINE_EYE_H

#include "engine/step.h"
#include "model/vision/vision.h"

/* A picture. Its geometry is known from the beginning, its rows once it is encoded. */
struct pn_seen {
    char hash[65];                /* SHA-256 of the file */
    struct pn_vision_views views; /* without pixels once it is encoded */
    int width, height;
    int n_rows;
    float *rows;          /* (n_rows, n_out); NULL: not encoded yet */
    int refs;             /* of prompts */
    struct pn_seen *next; /* seen less recently */
};

struct pn_eye;

/* Takes over the vision part, also on failure. `device` as for models; of several the first. */
pantry_status pn_eye_new(struct pn_vision *vision, const char *device, const struct pn_device_options *options,
                         struct pn_eye **out, struct pantry_error *err);
void pn_eye_free(struct pn_eye *eye);
const struct pn_vision *pn_eye_vision(const struct pn_eye *eye);
/* Values of a row of the decoder. */
int pn_eye_row_size(const struct pn_eye *eye);

/* Decodes and prepares a file's bytes, or finds the picture among those it remembers. Release it. */
pantry_status pn_eye_look(struct pn_eye *eye, const void *data, size_t len, struct pn_seen **out,
                          struct pantry_error *err);
/* Computes its rows if they are not known. */
pantry_status pn_eye_encode(struct pn_eye *eye, struct pn_seen *seen, struct pantry_error *err);
void pn_eye_release(struct pn_eye *eye, struct pn_seen *seen);
/* Bytes that encoding a picture of a megapixel takes: the weights, the scratch of its step, its rows. */
pantry_status pn_eye_need(struct pn_eye *eye, uint64_t *bytes, struct pantry_error *err);
/* Pictures that were encoded so far, for tests and reports. */
uint64_t pn_eye_n_encoded(const struct pn_eye *eye);

#endif
