/* library_search.h - the folders in which the vendor's shared libraries may be, in the layouts of
 * the toolkit, of the distributions and of the vendor's Python wheels. */
#ifndef QUERN_KERNELS_CUDA_LIBRARY_SEARCH_H
#define QUERN_KERNELS_CUDA_LIBRARY_SEARCH_H

#include <stdbool.h>

/* A folder, by absolute path; "": wherever the loader looks ($LD_LIBRARY_PATH, ld.so.conf, the
 * distribution's own folders). True ends the search. */
typedef bool (*library_visit)(void *context, const char *folder);

/* Visits, in this order, until a visit returns true:
 *   the folders of $QUERN_CUDA_LIBRARY_PATH
 *   lib and lib64 below $<root_variable> and below $CUDA_HOME
 *   the toolkit that this module was built with
 *   wherever the loader looks
 *   lib, and the wheels' folders below it, of $VIRTUAL_ENV and $CONDA_PREFIX
 *   the wheels of the user, ~/.local, and of the machine, /usr/local and /usr
 * A wheel's folders are lib/python3.N/site-packages/nvidia/<part>/lib (or dist-packages), for the
 * parts cu13, cublas, cudnn and nccl. Folders of wheels are visited only where they exist. */
bool library_search(const char *root_variable, library_visit visit, void *context);

#endif
