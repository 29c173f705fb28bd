/* Reading the settings again: see reread.h. */
#include "cli/reread.h"

#include "base/status.h"

#include <stdlib.h>
#include <string.h>

struct pn_older_settings {
    struct pn_settings settings;
    struct pn_older_settings *before;
};

static bool same(const struct pn_settings *a, const struct pn_settings *b, size_t id)
{
    const char *x = a->of[id].text ? a->of[id].text : "", *y = b->of[id].text ? b->of[id].text : "";
    return strcmp(x, y) == 0 && a->of[id].number == b->of[id].number;
}

/* The keys of one kind whose value changed; what needs a restart is compared with the start. */
static void add_changed(const struct pn_reread *r, const struct pn_settings *next, enum pn_setting_when when,
                        const char *name, json_t *report)
{
    json_t *list = json_array();
    for (size_t id = 0; id < PN_N_SETTINGS; id++)
        if (pn_settings_table[id].when == when && !same(when == PN_APPLIES_START ? r->start : r->now, next, id))
            json_array_append_new(list, json_string(pn_settings_table[id].key));
    if (json_array_size(list))
        json_object_set(report, name, list);
    json_decref(list);
}

pantry_status pn_reread_settings(struct pn_reread *r, json_t **report, struct pantry_error *err)
{
    struct pn_older_settings *next = calloc(1, sizeof *next);
    *report = NULL;
    if (!next)
        return pn_no_memory(err, "the settings");
    pantry_status status = pn_settings_read(&next->settings, r->given, err);
    if (status) {
        pn_settings_free(&next->settings);
        free(next);
        return status;
    }
    *report = json_object();
    add_changed(r, &next->settings, PN_APPLIES_NOW, "now", *report);
    add_changed(r, &next->settings, PN_APPLIES_LOAD, "next_load", *report);
    add_changed(r, &next->settings, PN_APPLIES_START, "needs_restart", *report);
    next->before = r->read;
    r->read = next;
    r->now = &next->settings;
    return PANTRY_OK;
}

void pn_reread_free(struct pn_reread *r)
{
    for (struct pn_older_settings *s = r->read, *before; s; s = before) {
        before = s->before;
        pn_settings_free(&s->settings);
        free(s);
    }
}
