/* What only some families read from a directory's files. */
#ifndef PN_MODEL_VISION_FAMILY_CONFIG_H
#define PN_MODEL_VISION_FAMILY_CONFIG_H

#include "model/hf/hf.h"
#include "model/vision/vision.h"

/* The files of a directory, after what all families share was read; hf->config is the encoder's configuration. NULL: a
 * file is missing. */
struct pn_vision_files {
    struct pn_vision *v;
    struct pn_hf *hf;           /* takes failures */
    const json_t *config;       /* config.json */
    const json_t *preprocessor; /* of pictures */
    const json_t *processor;    /* processor_config.json */
    const json_t *tokenizer;    /* tokenizer_config.json */
};

/* A number of a JSON object that must be within bounds, or `fallback` if there is none. */
int64_t pn_vision_number(struct pn_hf *hf, const json_t *object, const char *key, int64_t fallback, int64_t least,
                         int64_t most);
bool pn_vision_truth(const json_t *object, const char *key, bool fallback);

void pn_vision_config_llava(const struct pn_vision_files *f);
void pn_vision_config_llava_next(const struct pn_vision_files *f);
void pn_vision_config_pixtral(const struct pn_vision_files *f);
void pn_vision_config_idefics3(const struct pn_vision_files *f);
void pn_vision_config_internvl(const struct pn_vision_files *f);

#endif
