/* Reaching an answer that is being made: see control.h. */
#include "server/api/control.h"

#include "base/status.h"
#include "server/api/openai.h"
#include "server/running.h"

#include <string.h>

static const struct pn_openai_field fields[] = {
    {"id", PN_FIELD_READ, NULL},
    {"action", PN_FIELD_READ, NULL},
    {"model", PN_FIELD_IGNORED, NULL}, /* of a router; an id is enough here */
    {0},
};

static pantry_status read_fields(json_t *body, const char **id, struct pantry_error *err)
{
    const char *action = NULL;
    pantry_status status = pn_openai_check(body, fields, "", err);
    if (!status)
        status = pn_json_string(body, "id", id, err);
    if (!status)
        status = pn_json_string(body, "action", &action, err);
    if (!status && (!*id || !**id))
        status = pn_fail(err, PANTRY_INVALID, "id is required");
    if (!status && (!action || strcmp(action, "reasoning_end") != 0))
        status = pn_fail(err, PANTRY_INVALID, "action: unknown (found %s%.60s%s, allowed \"reasoning_end\")",
                         action ? "\"" : "", action ? action : "nothing", action ? "\"" : "");
    return status;
}

void pn_control(struct pn_server *s, struct pn_exchange *x, json_t *body, const char *tail)
{
    struct pantry_error err = {0};
    const char *id = NULL;
    (void)s, (void)tail;
    pantry_status status = read_fields(body, &id, &err);
    if (!status && !pn_running_end_thinking(x, id))
        status = pn_fail(&err, PANTRY_NOT_FOUND, "id: no answer named \"%.120s\" is being made", id);
    if (status)
        pn_openai_fail(x, &err, NULL);
    else
        pn_reply_json(x, 200, json_pack("{s:s, s:s, s:b}", "id", id, "action", "reasoning_end", "success", 1));
}
