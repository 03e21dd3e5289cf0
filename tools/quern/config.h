/* config.h - options from a YAML file: the keys are the option names. */
#ifndef QUERN_TOOL_CONFIG_H
#define QUERN_TOOL_CONFIG_H

#include <quern/status.h>

/* texts[OPTION_COUNT] receives the value of each key that is there; they belong to *out. INPUT:
 * missing, unreadable or not YAML; INVALID: an unknown key, with the nearest one. */
quern_status config_load(void **out, const char *path, const char **texts);
/* The same over the file's content; `path` is for messages. */
quern_status config_parse(void **out, const char *path, const void *data, size_t bytes,
                          const char **texts);
void config_release(void *values); /* NULL is allowed */

#endif
