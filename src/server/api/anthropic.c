/* Anthropic's API. */
#include "server/server.h"

const struct pn_route pn_routes_anthropic[] = {{0}};
