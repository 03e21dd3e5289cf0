/* A build without protobuf-c or ISA-L says so. */
#include "quern_test.h"
#include "train/world.h"

TEST_CASE(TensorBoard, a_build_without_it_says_so) {
    world w;
    quern_tensorboard *t = NULL;
    REQUIRE_OK(world_open(&w, &(world_desc){0}));
    CHECK_STATUS(quern_tensorboard_create(&t, w.device, "/tmp"), QUERN_UNSUPPORTED);
    CHECK_ERROR_HAS("protobuf-c");
    CHECK(t == NULL);
    quern_tensorboard_destroy(t);
    world_close(&w);
}
