/* tensorboard_absent.c - stands in for tensorboard.c in a build without protobuf-c or ISA-L: no
 * object can be made, so the other functions are never reached with one. */
#include <quern/callbacks.h>

quern_status quern_tensorboard_create(quern_tensorboard **out, quern_device *device,
                                      const char *directory) {
    (void)device;
    (void)directory;
    *out = NULL;
    return quern_fail(QUERN_UNSUPPORTED, "TensorBoard: this build of Quern has none: it was "
                                         "configured without protobuf-c or ISA-L");
}

quern_callback quern_tensorboard_callback(quern_tensorboard *tensorboard) {
    (void)tensorboard;
    return (quern_callback){.name = "tensorboard"};
}

const char *quern_tensorboard_path(const quern_tensorboard *tensorboard) {
    (void)tensorboard;
    return "";
}

void quern_tensorboard_destroy(quern_tensorboard *tensorboard) { (void)tensorboard; }
