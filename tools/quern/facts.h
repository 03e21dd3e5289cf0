/* facts.h - what has to be known of a trained model to use it: the notes of its model.safetensors,
 * or, for a checkpoint, its run's config.json. */
#ifndef QUERN_TOOL_FACTS_H
#define QUERN_TOOL_FACTS_H

#include "recorded.h"

#include <quern/data.h>
#include <quern/safetensors.h>

typedef struct facts {
    const char *model, *data, *valid; /* NULL: not said; they belong to what they came from */
    int64_t class_count;              /* 0: not said, and nothing of the transform either */
    int32_t channel_count;
    float scale, mean[QUERN_CHANNEL_MAX], deviation[QUERN_CHANNEL_MAX];
} facts;

/* INPUT, naming `path`: something is said that cannot be. */
quern_status facts_from_notes(facts *out, const quern_safetensors *file, const char *path);
quern_status facts_from_run(facts *out, recorded *config, const char *path);

#endif
