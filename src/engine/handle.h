/* What the opaque types of pantry.h are. */
#ifndef PN_ENGINE_HANDLE_H
#define PN_ENGINE_HANDLE_H

#include "engine/session.h"
#include "text/jinja/jinja.h"
#include "text/tokenizer.h"

#include "pantry.h"

struct pantry_tokenizer {
    struct pn_weights *weights; /* whose bytes the tokens are; NULL if a model owns them */
    struct pn_tokenizer *tokenizer;
};

struct pantry_model {
    struct pn_runner *runner;
    struct pn_tokenizer *tokenizer;    /* NULL if the file has none */
    struct pantry_tokenizer view;      /* what pantry_model_tokenizer lends */
    struct pn_template *chat_template; /* parsed on first use */
    pthread_mutex_t template_lock;
    char *architecture, *name, *license, *tokenizer_name;
    double load_seconds;
};

struct pantry_session {
    struct pantry_model *model;
    struct pn_session session;
    float *logits; /* (n_vocab) */
};

/* embed.c */
const char *pn_pooling_name(enum pn_pooling pooling);

/* generate.c */
pn_status pn_generate(struct pantry_session *session, const int32_t *ids, size_t n,
                      const struct pantry_generate_options *options, struct pantry_stats *stats, struct pn_error *err);

/* pantry.h's error is base's. */
static inline struct pn_error *pn_error_of(struct pantry_error *error)
{
    return (struct pn_error *)(void *)error;
}

#endif
