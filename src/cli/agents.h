/* The coding agents that `pantry launch` starts, and how each is pointed at a service. docs/launch.md names the
 * sources.
 *
 * Nothing of the user's is written: an agent gets variables of its environment, arguments, and at most one file in a
 * temporary folder that goes when it ends. */
#ifndef PN_CLI_AGENTS_H
#define PN_CLI_AGENTS_H

#include "base/alloc.h"

enum { PN_AGENT_LINES = 16 };

/* In all texts @url@, @model@, @context@ and @output@ (tokens), @key@, @jsonkey@ (the key as a JSON string), and
 * @folder@, the temporary folder, stand for their values. */
struct pn_agent {
    const char *name, *title, *program, *install;
    const char *environment[PN_AGENT_LINES]; /* "NAME=value"; up to NULL */
    const char *arguments[PN_AGENT_LINES];   /* before the user's; up to NULL */
    const char *usual;                       /* the argument where the user gives none; NULL: none */
    const char *file, *content;              /* a file in the temporary folder, or in one of that; NULL: none */
};

/* All agents; a NULL name ends the table. */
extern const struct pn_agent pn_agents[];

struct pn_agent_values {
    const char *url, *model, *key, *folder;
    int n_context, n_output;
};
/* Appends a text with the values in their places. */
void pn_agent_expand(struct pn_buf *out, const char *text, const struct pn_agent_values *values);

#endif
