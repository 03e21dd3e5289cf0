#include "../../src/host/data/loader.h"

#include "memory_files.h"
#include "quern_test.h"

#include <string.h>

TEST_CASE(Loader, augments_the_same_way_for_any_worker_count) {
    enum { BATCH = 8, N = 50, SIDE = 6, PIXELS = SIDE * SIDE };
    quern_device device = device_of_host(NULL);
    static uint8_t image[N][PIXELS];
    static float batch[2][BATCH * PIXELS], whole[3][2][N * PIXELS];
    for (int i = 0; i < N * PIXELS; i++) image[i / PIXELS][i % PIXELS] = (uint8_t)(i * 13);
    quern_dataset *set = NULL;
    const quern_field field = {
        .name = "image", .dtype = QUERN_U8, .rank = 3, .dim = {1, SIDE, SIDE}};
    REQUIRE_OK(quern_dataset_arrays(
        &set, &device,
        &(quern_arrays_desc){.length = N, .field_count = 1, .fields = {field}, .data = {image}}));
    const quern_transform transform = {
        .field = "image", .scale = 1 / 255.0f, .crop_padding = 2, .horizontal_flip = true};
    for (int w = 0; w < 3; w++) {
        loader *l = NULL;
        loader_batch out;
        REQUIRE_OK(
            loader_create(&l, &(loader_desc){.host = &device.host,
                                             .dataset = set,
                                             .inputs = &(loader_input){"image", QUERN_F32, PIXELS},
                                             .input_count = 1,
                                             .transforms = &transform,
                                             .transform_count = 1,
                                             .batch_size = BATCH,
                                             .shuffle = true,
                                             .augment = true,
                                             .seed = 4,
                                             .worker_count = w,
                                             .slot_count = 2,
                                             .slots = (void *[]){batch[0], batch[1]}}));
        for (int64_t e = 0; e < 2; e++) {
            REQUIRE_OK(loader_start(l, e, 0));
            for (;;) {
                REQUIRE_OK(loader_next(l, &out));
                if (out.end) break;
                memcpy(whole[w][e] + out.first_position * PIXELS, batch[out.slot],
                       (size_t)out.sample_count * PIXELS * sizeof(float));
                loader_release(l, out.slot);
            }
        }
        loader_destroy(l);
        CHECK(memcmp(whole[w], whole[0], sizeof whole[0]) == 0);
    }
    CHECK(memcmp(whole[0][0], whole[0][1], sizeof whole[0][0]) != 0);
    quern_dataset_destroy(set);
}
