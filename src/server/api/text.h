/* The handlers of routes about texts and tokens. */
#ifndef PN_SERVER_API_TEXT_H
#define PN_SERVER_API_TEXT_H

#include "server/server.h"

pn_route_fn pn_text_tokenize, pn_text_detokenize, pn_text_apply_template, pn_text_rerank;

#endif
