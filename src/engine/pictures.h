/* Prompts with pictures: text and pictures become ids, and rows that stand for some of them. See pantry.h. */
#ifndef PN_ENGINE_PICTURES_H
#define PN_ENGINE_PICTURES_H

#include "engine/eye.h"
#include "engine/show.h"
#include "text/tokenizer/tokenizer.h"

/* Makes the pictures of a prompt: the ids of a text whose placeholders have become tokens, and what stands for these.
 * `seen` are its n pictures, which it takes over unless it fails. They are not encoded yet. */
pantry_status pn_pictures_new(struct pn_eye *eye, const struct pn_tokenizer *tokenizer, const char *text, size_t len,
                              unsigned flags, struct pn_seen *const *seen, size_t n, struct pn_pictures **out,
                              struct pantry_error *err);
/* Encodes those that are not known. */
pantry_status pn_pictures_encode(struct pn_pictures *p, struct pantry_error *err);
/* PANTRY_INVALID: these are not its ids, or one that no row stands for is not in the vocabulary. */
pantry_status pn_pictures_check(const struct pn_pictures *p, const int32_t *ids, size_t n, int n_vocab,
                                struct pantry_error *err);
struct pn_pictures *pn_pictures_retain(struct pn_pictures *p);
void pn_pictures_release(struct pn_pictures *p);

#endif
