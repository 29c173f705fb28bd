/* Linux: which processes use a graphics card of AMD or Intel, by the fdinfo files of their open devices. */
#ifndef PN_MONITOR_LINUX_CLIENTS_H
#define PN_MONITOR_LINUX_CLIENTS_H

#include "monitor/sample.h"

/* A card: its address on the bus ("0000:03:00.0") and its number in the sample. */
struct pn_drm_card {
    char address[24];
    int gpu;
};

struct pn_drm_clients;
/* NULL: out of memory. `root` must outlive it. */
struct pn_drm_clients *pn_drm_clients_new(const char *root);
void pn_drm_clients_free(struct pn_drm_clients *clients);
/* Adds the processes of these cards with the memory that they use. Other users' processes are shown to root only. */
void pn_drm_clients_read(struct pn_drm_clients *clients, const struct pn_drm_card *cards, int n, struct pn_sample *s);

/* What one fdinfo file says; false: it is not a graphics client. Bytes of the card's own memory, or of main memory
 * where it has none. */
struct pn_drm_usage {
    char address[24], client[24];
    double bytes;
};
bool pn_drm_usage_parse(const char *text, struct pn_drm_usage *out);

#endif
