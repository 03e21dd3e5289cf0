/* An algorithm record that is damaged anywhere: the kernels are right all the same, and what it
 * says is written anew. */
#include "kernels/cuda/library/algorithm_record.h"
#include "library_world.h"

#include <stdlib.h>
#include <string.h>

/* One run with a record; returns what the record says behind it, to be freed. */
static char *run(quern_op_id op, const op_case *which, const char *text) {
    library_world w;
    backend_record *record;
    library_begin(&(library_device_desc){0});
    backend_device *device = cuda_stream_device(NULL);
    if (cuda_record_create(device, &record, text) != QUERN_OK) abort();
    library_begin(&(library_device_desc){.record = record});
    library_world_begin(&w, op, which, QUERN_F32);
    CHECK_OK(w.status);
    CHECK(library_world_is_right(&w));
    library_world_end(&w);
    library_end();
    const size_t length = cuda_record_write(record, NULL, 0);
    char *out = malloc(length + 1);
    if (out == NULL) abort();
    CHECK(cuda_record_write(record, out, length + 1) == length && strlen(out) == length);
    cuda_record_destroy(record);
    return out;
}

static void flip_bytes(quern_op_id op, const op_case *which, size_t stride) {
    char *whole = run(op, which, "");
    char *again = run(op, which, whole);
    const size_t length = strlen(whole);
    CHECK(length > 100);
    CHECK_TEXT(again, whole);
    for (size_t i = 0; i < length && !quern_test_failed(); i += stride)
        for (int bit = 0; bit < 8; bit += 3) {
            whole[i] = (char)(whole[i] ^ 1 << bit);
            free(run(op, which, whole));
            whole[i] = (char)(whole[i] ^ 1 << bit);
        }
    free(whole);
    free(again);
}

TEST_CASE(CudaRecord, a_bit_that_is_wrong_anywhere_gives_no_wrong_number) {
    flip_bytes(QUERN_OP_ID_matmul, &library_matmul, 1);
    flip_bytes(QUERN_OP_ID_conv2d, &library_conv2d, 199);
}
