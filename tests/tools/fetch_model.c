/* Fetches models of the catalog into the store, for the tests that need real ones: fetch_model NAME... */
#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        char *path = NULL;
        struct pantry_error err = {0};
        if (pn_store_fetch(argv[i], NULL, &path, &err)) {
            fprintf(stderr, "%s\n", err.text);
            return 1;
        }
        printf("%s: %s\n", argv[i], path);
        free(path);
    }
    return 0;
}
