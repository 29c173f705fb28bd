/* The model of a coding agent: see agent_model.h. */
#define _POSIX_C_SOURCE 200809L
#include "cli/agent_model.h"

#include "base/os.h"
#include "cli/options.h"
#include "cli/say.h"

#include <stdlib.h>
#include <string.h>

enum { USUAL_CONTEXT = 32768 }; /* the most that a service gives a model unless memory is short */

static bool calls_tools(const json_t *shown)
{
    size_t i;
    json_t *v;
    json_array_foreach(json_object_get(shown, "capabilities"), i, v)
    {
        if (json_is_string(v) && strcmp(json_string_value(v), "tools") == 0)
            return true;
    }
    return false;
}

static pantry_status show(const struct pn_client *client, const char *name, json_t **shown, long *http_status,
                          struct pantry_error *err)
{
    return pn_client_ask(client, "POST", "/api/show", json_pack("{s:s}", "model", name), shown, http_status, err);
}

/* Those that fit come first, then the larger of them, or the smaller of those that do not. */
static bool is_better(double bytes, double best, double room)
{
    bool fits = bytes <= room, best_fits = best <= room;
    return fits != best_fits ? fits : fits ? bytes > best : bytes < best;
}

static int pick(const struct pn_client *client, char **name, json_t **shown)
{
    struct pantry_error err = {0};
    struct pn_os_memory memory;
    json_t *tags, *row;
    double best = 0;
    long http_status;
    size_t i;
    if (pn_client_ask(client, "GET", "/api/tags", NULL, &tags, &http_status, &err))
        return pn_client_fail(client, http_status, &err);
    pn_os_memory(&memory);
    double room = client->local ? (double)memory.available : 1e18;
    json_array_foreach(json_object_get(tags, "models"), i, row)
    {
        const char *candidate = json_string_value(json_object_get(row, "name"));
        double bytes = json_number_value(json_object_get(row, "size"));
        json_t *description;
        if (!candidate || (*name && !is_better(bytes, best, room)) ||
            show(client, candidate, &description, &http_status, &err))
            continue; /* also one that cannot be described */
        if (calls_tools(description)) {
            free(*name);
            json_decref(*shown);
            *name = strdup(candidate);
            *shown = json_incref(description);
            best = bytes;
        }
        json_decref(description);
    }
    json_decref(tags);
    if (*name)
        return PN_EXIT_DONE;
    pn_cli_say_error("the service at %s has no model that calls tools; `%s pull qwen2.5-coder:1.5b` fetches one",
                     client->url, pn_cli_program());
    return PN_EXIT_FAILED;
}

static int check(const struct pn_client *client, const char *wanted, char **name, json_t **shown)
{
    struct pantry_error err = {0};
    long http_status;
    pantry_status status = show(client, wanted, shown, &http_status, &err);
    if (status == PANTRY_NOT_FOUND) {
        pn_cli_say_error("%s: not a model of the service at %s (`%s pull` fetches models)", wanted, client->url,
                         pn_cli_program());
        return PN_EXIT_FAILED;
    }
    if (status)
        return pn_client_fail(client, http_status, &err);
    if (!calls_tools(*shown)) {
        pn_cli_say_error("%s: does not call tools, and coding agents work through them", wanted);
        return PN_EXIT_FAILED;
    }
    *name = strdup(wanted);
    return *name ? PN_EXIT_DONE : pn_cli_no_memory();
}

/* What the service gives the model now; 0: it is not loaded. */
static int context_now(const struct pn_client *client, const char *name)
{
    struct pantry_error err;
    json_t *running, *row;
    long http_status;
    size_t i, n = strlen(name);
    json_int_t context = 0;
    if (pn_client_ask(client, "GET", "/api/ps", NULL, &running, &http_status, &err))
        return 0;
    json_array_foreach(json_object_get(running, "models"), i, row)
    {
        const char *other = json_string_value(json_object_get(row, "name"));
        if (other && strncmp(other, name, n) == 0 && (!other[n] || strcmp(other + n, ":latest") == 0))
            context = json_integer_value(json_object_get(row, "context_length"));
    }
    json_decref(running);
    return context > 0 && context < 1 << 30 ? (int)context : 0;
}

static int context_trained(const json_t *shown)
{
    const char *family = json_string_value(json_object_get(json_object_get(shown, "details"), "family"));
    char key[128];
    snprintf(key, sizeof key, "%.100s.context_length", family ? family : "");
    json_int_t n = json_integer_value(json_object_get(json_object_get(shown, "model_info"), key));
    return n > 0 && n < USUAL_CONTEXT ? (int)n : USUAL_CONTEXT;
}

static int load(const struct pn_client *client, const char *name)
{
    struct pantry_error err = {0};
    json_t *reply;
    long http_status;
    if (pn_client_ask(client, "POST", "/api/generate", json_pack("{s:s}", "model", name), &reply, &http_status, &err))
        return pn_client_fail(client, http_status, &err);
    json_decref(reply);
    return PN_EXIT_DONE;
}

int pn_agent_model(const struct pn_client *client, const char *wanted, bool look, char **name, int *n_context)
{
    json_t *shown = NULL;
    *name = NULL;
    int status = wanted ? check(client, wanted, name, &shown) : pick(client, name, &shown);
    if (status == PN_EXIT_DONE && !look)
        status = load(client, *name);
    if (status == PN_EXIT_DONE && !(*n_context = context_now(client, *name)))
        *n_context = context_trained(shown);
    json_decref(shown);
    return status;
}
