/* Replies in the shapes of the APIs. */
#ifndef PN_SERVER_REPLY_H
#define PN_SERVER_REPLY_H

#include "server/http.h"

#include <jansson.h>

/* How errors read. */
enum pn_error_style { PN_ERRORS_OLLAMA, PN_ERRORS_OPENAI, PN_ERRORS_ANTHROPIC };

/* A reply of one JSON value, which it takes over. */
void pn_reply_json(struct pn_exchange *x, int status, json_t *value);
/* An error in the style of an API; the HTTP status follows from the error. */
void pn_reply_error(struct pn_exchange *x, enum pn_error_style style, const struct pantry_error *err);
int pn_http_status_of(pantry_status status);
/* The status that an API uses where another one is usual: Anthropic's is 529 for a busy server. */
int pn_error_status(enum pn_error_style style, int http_status);
/* Errors that clients get name no path below that folder, only the file's name. Call it before there are requests. */
void pn_reply_hide(const char *folder);
/* The sentence of an error for clients. */
json_t *pn_error_message(const char *text);
/* The error's JSON object in that style. */
json_t *pn_error_json(enum pn_error_style style, int http_status, const char *text);
/* One JSON value and a line end; takes it over. False: the client has left. */
bool pn_write_line(struct pn_exchange *x, json_t *value);
/* A server-sent event; `name` may be NULL. Takes `value` over. */
bool pn_write_event(struct pn_exchange *x, const char *name, json_t *value);
/* "2026-11-29T18:01:02.123456Z"; the time now for 0 */
void pn_time_text(char out[40], double unix_time);

#endif
