/* OpenAI's API. */
#include "server/server.h"

const struct pn_route pn_routes_openai[] = {{0}};
