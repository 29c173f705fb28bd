/* llama.cpp's way to reach an answer that is being made. */
#ifndef PN_SERVER_API_CONTROL_H
#define PN_SERVER_API_CONTROL_H

#include "server/server.h"

/* {"id": ..., "action": "reasoning_end"}: the answer with this id or X-Request-Id, of any API, ends its reasoning. */
pn_route_fn pn_control;

#endif
