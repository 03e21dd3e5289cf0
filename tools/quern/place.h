/* place.h - what a path given by the user is: a file, a run's folder, its checkpoints, one of
 * them. */
#ifndef QUERN_TOOL_PLACE_H
#define QUERN_TOOL_PLACE_H

#include <quern/status.h>

enum { PATH_BYTES = 4096 };

typedef enum place_kind {
    PLACE_FILE,
    PLACE_RUN,         /* holds config.json, checkpoints/ or model.safetensors */
    PLACE_CHECKPOINTS, /* holds step-<n> */
    PLACE_CHECKPOINT,  /* is named step-<n>, or holds a manifest */
} place_kind;

typedef struct place {
    place_kind kind;
    char path[PATH_BYTES];
    char run[PATH_BYTES];         /* folder where config.json would be; not of a FILE */
    char checkpoints[PATH_BYTES]; /* folder of RUN and CHECKPOINTS, which need not be there */
} place;

/* INPUT: it is not there, or none of these. */
quern_status place_find(place *out, const char *path);

/* Whether a folder holds anything that resuming would try; a missing folder does not. */
bool place_has_checkpoints(const char *folder);

bool path_is_folder(const char *path);
bool path_holds(const char *folder, const char *name);
/* "folder/name"; INVALID: it is too long. */
quern_status path_join(char out[PATH_BYTES], const char *folder, const char *name);
/* The same from any working directory. */
quern_status path_absolute(char out[PATH_BYTES], const char *path);
/* Syncs the folder that `path` is in: the name is on the disk then. IO. */
quern_status path_sync_name(const char *path);

#endif
