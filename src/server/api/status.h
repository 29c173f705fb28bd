/* The handlers of the service's own routes. */
#ifndef PN_SERVER_API_STATUS_H
#define PN_SERVER_API_STATUS_H

#include "server/server.h"

pn_route_fn pn_status_root, pn_status_health, pn_status_openapi, pn_status_metrics;

#endif
