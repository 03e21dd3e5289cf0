/* configuration.h - resolved configurations, as JSON text. */
#ifndef QUERN_CHECKPOINT_CONFIGURATION_H
#define QUERN_CHECKPOINT_CONFIGURATION_H

#include <quern/checkpoint.h>

/* Keys of the training set, of the evaluation sets by their names, and in each of these of a digest
 * of some samples; and by fields of digests of all samples. */
#define TRAINING_DATA_KEY "data"
#define EVALUATION_DATA_KEY "evaluation_data"
#define SAMPLE_DIGEST_KEY "sample_digest"
#define TRAINING_DIGESTS_KEY "data_digests"
#define EVALUATION_DIGESTS_KEY "evaluation_digests"
/* Of the model's nodes, by their names: a line each, of those behind the first MODEL_LINES digests
 * of their lines, and of these without what node_text_strip takes out. */
#define MODEL_KEY "model"
#define OTHER_NODES_KEY "all others"
#define OTHER_NODES_STRUCTURE_KEY "the structure of all others"
/* Of what the run is computed by, without the names of nodes: where it is the same, these say
 * nothing of which model it is. */
#define MODEL_DIGEST_KEY "model_digest"
/* Of what callbacks decide by, by their names; and of the library's own early stops, of which it is
 * known what they can change. */
#define CALLBACKS_KEY "callbacks"
#define EARLY_STOPS_KEY "early_stops"
#define RESTORE_KEY "restore_best"

/* Whether it is below that one: "data.samples" of "data". */
bool configuration_is_below(const char *key, const char *above);

/* INVALID unless the text is one JSON object, as it has to be to stand in a manifest. */
QUERN_MUST_CHECK quern_status configuration_check(const char *configuration);

#endif
