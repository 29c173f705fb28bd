/* The file of this machine: see kept.h. {"limits": [...], "runs": [...]}; other members stay as they are. */
#define _DEFAULT_SOURCE  1 /* getloadavg */
#define _DARWIN_C_SOURCE 1
#include "cli/kept.h"

#include "base/os.h"
#include "store/store.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static json_t *read_path(const char *path)
{
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, NULL);
    if (json_is_object(root))
        return root;
    json_decref(root);
    return NULL;
}

/* NULL: there is none, or it is damaged. */
static json_t *read_file(void)
{
    char *path = NULL;
    json_t *root = pn_store_private_path("machine.json", &path, NULL) ? NULL : read_path(path);
    free(path);
    return root;
}

bool pn_kept_limits(const char *device, struct pn_limits *out)
{
    json_t *root = read_file(), *row;
    struct pn_limits limits;
    bool found = false;
    size_t i;
    json_array_foreach(json_object_get(root, "limits"), i, row)
    {
        if (!pn_limits_read(row, &limits) || (device && strcmp(limits.device, device) != 0) ||
            (found && limits.read <= out->read))
            continue;
        *out = limits;
        found = true;
    }
    json_decref(root);
    return found;
}

size_t pn_kept_runs(struct pn_run out[PN_KEPT_RUNS])
{
    json_t *root = read_file(), *row;
    size_t i, n = 0;
    json_array_foreach(json_object_get(root, "runs"), i, row)
    {
        if (n < PN_KEPT_RUNS && pn_run_read(row, &out[n]))
            n++;
    }
    json_decref(root);
    return n;
}

static bool is_text(const json_t *row, const char *key, const char *value)
{
    const char *text = json_string_value(json_object_get(row, key));
    return text && strcmp(text, value) == 0;
}

/* Puts `added`, which it takes over, at the end of the list `key`, in place of the row whose texts are these. */
static pantry_status put(const char *key, json_t *added, const char *const texts[2][2], size_t most,
                         struct pantry_error *err)
{
    char *path = NULL, *text = NULL;
    json_t *root = NULL, *list = json_array(), *row;
    size_t i;
    int lock = -1;
    pantry_status status = added && list ? PANTRY_OK : pn_no_memory(err, "machine.json");
    if (!status)
        status = pn_store_private_file("machine.json", &path, err);
    if (!status)
        status = pn_store_lock_private_file(path, &lock, err);
    if (!status && !(root = read_path(path)))
        root = json_object();
    json_array_foreach(json_object_get(root, key), i, row)
    {
        if (!is_text(row, texts[0][0], texts[0][1]) || (texts[1][0] && !is_text(row, texts[1][0], texts[1][1])))
            json_array_append(list, row);
    }
    json_array_append(list, added);
    while (json_array_size(list) > most)
        json_array_remove(list, 0);
    json_object_set(root, key, list);
    text = status ? NULL : json_dumps(root, JSON_INDENT(2));
    if (!status)
        status = text ? pn_store_replace_private_file(path, text, strlen(text), err) : pn_no_memory(err, path);
    if (lock >= 0)
        close(lock);
    json_decref(added);
    json_decref(list);
    json_decref(root);
    free(text);
    free(path);
    return status;
}

pantry_status pn_kept_put_limits(const struct pn_limits *limits, struct pantry_error *err)
{
    const char *const texts[2][2] = {{"device", limits->device}, {NULL, NULL}};
    return put("limits", pn_limits_json(limits), texts, PN_KEPT_RUNS, err);
}

pantry_status pn_kept_put_run(const struct pn_run *run, struct pantry_error *err)
{
    const char *const texts[2][2] = {{"device", run->device}, {"model", run->work.model}};
    return put("runs", pn_run_json(run), texts, PN_KEPT_RUNS, err);
}

bool pn_kept_busy(double *load)
{
    *load = 0;
    return getloadavg(load, 1) == 1 && *load > 0.5 * pn_os_processors();
}
