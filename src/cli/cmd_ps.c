/* pantry ps: the models that a service has loaded. */
#define _POSIX_C_SOURCE 200809L
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/say.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct chosen {
    bool json;
};

static const struct pn_option table[] = {
    PN_OPT_FLAG("json", offsetof(struct chosen, json), "print a JSON list"),
};

static const char *text_of(const json_t *row, const char *key)
{
    const char *text = json_string_value(json_object_get(row, key));
    return text ? text : "";
}

/* "100% CPU", "30%/70% CPU/GPU": how much of the model is in the memory of which processor. */
static void name_processor(const json_t *row, char out[32])
{
    double size = json_number_value(json_object_get(row, "size"));
    double gpu = json_number_value(json_object_get(row, "size_vram"));
    int percent = size > 0 && gpu > 0 ? (int)(100 * (gpu < size ? gpu : size) / size + 0.5) : 0;
    if (percent == 0 || percent == 100)
        snprintf(out, 32, "100%% %s", percent ? "GPU" : "CPU");
    else
        snprintf(out, 32, "%d%%/%d%% CPU/GPU", 100 - percent, percent);
}

/* Seconds since 1970 of "2026-11-29T18:57:41.5Z", which is in UTC; 0 for anything else. */
static double parse_time(const char *text)
{
    int year, month, day, hour, minute;
    double second;
    if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%9lfZ", &year, &month, &day, &hour, &minute, &second) != 6 || month < 1 ||
        month > 12)
        return 0;
    year -= month <= 2; /* a year begins in March here, so that a leap day is its last day */
    long era = (year >= 0 ? year : year - 399) / 400, of_era = year - era * 400;
    long of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    long days = era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
    return (double)days * 86400 + hour * 3600 + minute * 60 + second;
}

static void name_until(const json_t *row, char out[48])
{
    double left = parse_time(text_of(row, "expires_at")) - (double)time(NULL);
    if (left > 10.0 * 365 * 86400)
        snprintf(out, 48, "forever");
    else if (left < 1)
        snprintf(out, 48, "now");
    else if (left < 120)
        snprintf(out, 48, "%.0f seconds from now", left);
    else if (left < 7200)
        snprintf(out, 48, "%.0f minutes from now", left / 60);
    else
        snprintf(out, 48, "%.0f hours from now", left / 3600);
}

/* A row of the list for programs. */
static json_t *row_json(const json_t *row)
{
    char processor[32];
    name_processor(row, processor);
    return json_pack("{s:s, s:s, s:O*, s:O*, s:s, s:O*, s:O*}", "name", text_of(row, "name"), "id",
                     text_of(row, "digest"), "size", json_object_get(row, "size"), "size_vram",
                     json_object_get(row, "size_vram"), "processor", processor, "context",
                     json_object_get(row, "context_length"), "until", json_object_get(row, "expires_at"));
}

static void put_row(const json_t *row)
{
    struct pn_number size;
    char processor[32], until[48], line[512];
    name_processor(row, processor);
    name_until(row, until);
    json_int_t bytes = json_integer_value(json_object_get(row, "size"));
    snprintf(line, sizeof line, "%-28.200s %-12.12s %8s  %-16s %8lld  %s\n", text_of(row, "name"),
             text_of(row, "digest"), pn_cli_bytes(&size, bytes > 0 ? (unsigned long long)bytes : 0), processor,
             (long long)json_integer_value(json_object_get(row, "context_length")), until);
    pn_cli_put_untrusted(stdout, line, strlen(line));
}

static int run(const struct pn_command *command, int argc, char **argv)
{
    struct chosen chosen = {0};
    struct pn_client client;
    struct pantry_error err = {0};
    json_t *reply, *row;
    size_t i;
    long http_status;
    int status = pn_cli_parse_options(command, argc, argv, &chosen);
    if (status != PN_CLI_GO_ON)
        return status;
    if ((status = pn_client_need(&client)) != PN_CLI_GO_ON)
        return status;
    if (pn_client_ask(&client, "GET", "/api/ps", NULL, &reply, &http_status, &err))
        return pn_client_fail(&client, http_status, &err);
    json_t *list = chosen.json ? json_array() : NULL;
    if (!chosen.json)
        printf("%-28s %-12s %8s  %-16s %8s  %s\n", "NAME", "ID", "SIZE", "PROCESSOR", "CONTEXT", "UNTIL");
    json_array_foreach(json_object_get(reply, "models"), i, row)
    {
        if (list)
            json_array_append_new(list, row_json(row));
        else
            put_row(row);
    }
    json_decref(reply);
    return chosen.json ? pn_cli_put_json(list) : PN_EXIT_DONE;
}

const struct pn_command pn_cmd_ps = {
    .name = "ps",
    .usage = "[--json]",
    .summary = "list the models that a service has loaded",
    .about =
        "Asks the service at PANTRY_HOST, OLLAMA_HOST or 127.0.0.1:11434. CONTEXT is the most tokens of a request\n"
        "that asks for no number; UNTIL says when the model goes if nobody uses it.",
    .example = "pantry ps",
    .options = {PN_OPTIONS(NULL, table)},
    .run = run,
};
