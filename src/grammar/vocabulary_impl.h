/* The trie of a vocabulary, for the files that walk it: see vocabulary.h. */
#ifndef PN_GRAMMAR_VOCABULARY_IMPL_H
#define PN_GRAMMAR_VOCABULARY_IMPL_H

#include "grammar/vocabulary.h"

#include <pthread.h>
#include <stdatomic.h>

/* Nodes are in depth-first order, so that the nodes below one follow it, up to `end`, and so do their tokens. */
struct pn_trie_node {
    uint32_t end;
    uint32_t first_id; /* in `ids`: its own tokens, then those below */
    uint16_t depth;    /* bytes from the root, which is node 0 */
    uint16_t deepest;  /* depth of the deepest node below, or of itself */
    uint16_t kinds;    /* bit k: some byte below is of kind k */
    uint8_t byte;      /* that leads here */
};

enum { PN_TOKEN_SPECIAL = 1, PN_TOKEN_ENDS = 2 };

struct pn_masks;
struct pn_known;

struct pn_grammar_vocabulary {
    atomic_int n_users;
    size_t n_tokens, n_words;   /* of a mask */
    struct pn_trie_node *nodes; /* (n_nodes + 1): the last one only ends the others */
    uint32_t n_nodes;
    int32_t *ids;
    size_t longest;      /* bytes of a token */
    char *bytes, *texts; /* of token i: from bytes_at[i] to bytes_at[i + 1] */
    uint32_t *bytes_at, *texts_at;
    uint8_t *flags;   /* (n_tokens): PN_TOKEN_... */
    uint64_t *ends;   /* (n_words): tokens that end generation */
    int32_t *end_ids; /* the same, ascending */
    size_t n_ends;
    pthread_mutex_t lock;
    struct pn_masks *masks; /* of the grammars that were used last; owned */
    pthread_mutex_t known_lock;
    struct pn_known *known; /* masks that grammars have in common; NULL: none yet */
};

/* Kinds of bytes that grammars often treat alike, numbered from 0 to 15: a walk can take a subtree whole when all kinds
 * in it lead back to where they started. */
extern const uint8_t pn_byte_kind[256];

struct pn_trie_token {
    struct pn_str bytes; /* at least one */
    int32_t id;
};

/* Sorts the tokens, and fills in nodes, n_nodes and ids, which has room for n; `longest` is set. */
pantry_status pn_grammar_trie_build(struct pn_grammar_vocabulary *v, struct pn_trie_token *tokens, size_t n,
                                    struct pantry_error *err);

#endif
