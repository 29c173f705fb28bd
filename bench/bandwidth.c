/* Prints the read bandwidth of this machine, in bytes per second: bandwidth [THREADS]. */
#include "pantry.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    printf("%.0f\n", pantry_read_bandwidth(argc > 1 ? atoi(argv[1]) : 1));
    return 0;
}
