/* run_dir.h - the folder of a run: found or made, locked, and probed for writing, before the first
 * step. */
#ifndef QUERN_TOOL_RUN_DIR_H
#define QUERN_TOOL_RUN_DIR_H

#include "options.h"

typedef struct run_dir {
    char path[2048];
    bool made;    /* by this process: taken away again when the run never starts */
    bool earlier; /* what it holds is an earlier run's, which goes on */
    int lock;     /* the open folder, locked as long as the process lives; -1: none */
} run_dir;

/* --run-dir, or the first free runs/<model>-<data>-NNN. INVALID: not empty and not to be resumed,
 * or in use by another process; IO: not writable. */
quern_status run_dir_open(run_dir *out, const options *o);
/* Removes `names` (NULL-terminated; files, empty folders) and, if it was made here, the folder.
 * What belongs to an earlier run stays. */
void run_dir_undo(const run_dir *d, const char *const *names);
void run_dir_release(run_dir *d);

#endif
