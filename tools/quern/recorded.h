/* recorded.h - what an earlier run wrote down in its config.json. */
#ifndef QUERN_TOOL_RECORDED_H
#define QUERN_TOOL_RECORDED_H

#include <quern/status.h>
#include <stdint.h>

typedef struct recorded recorded;

/* Reads FOLDER/config.json; *out is NULL with QUERN_OK when there is no such file. INPUT. */
quern_status recorded_open(recorded **out, const char *folder);
void recorded_release(recorded *r); /* NULL is allowed */

/* The value as an option's text; NULL: missing, null, or no text, number or truth. It lives as long
 * as the object. At most 128 numbers can be asked for. */
const char *recorded_text(recorded *r, const char *key);
/* The numbers of a list, or one number, at most `capacity`; how many, -1: it is no such thing. */
int64_t recorded_floats(const recorded *r, const char *key, float *out, int64_t capacity);

#endif
