/* configuration.h - resolved configurations, as JSON text. */
#ifndef QUERN_CHECKPOINT_CONFIGURATION_H
#define QUERN_CHECKPOINT_CONFIGURATION_H

#include <quern/checkpoint.h>

/* The key of a digest of some samples of the training set. */
#define SAMPLE_DIGEST_KEY "data.sample_digest"

/* INVALID unless the text is one JSON object, as it has to be to stand in a manifest. */
QUERN_MUST_CHECK quern_status configuration_check(const char *configuration);

#endif
