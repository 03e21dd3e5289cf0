/* The safetensors writer and its strict reader. */
#include "model.h"
#include "quern_test.h"
#include "support/temporary.h"

#include <stdlib.h>
#include <string.h>

enum { FILE_MAX = 8192 };

static const quern_safetensors_note notes[] = {{"kind", "small"}, {"quote", "a \"b\"\n"}};

TEST_CASE(Safetensors, a_saved_model_comes_back_bit_for_bit) {
    temporary t;
    small_model a, b;
    quern_safetensors *file = NULL;
    REQUIRE(temporary_begin(&t));
    REQUIRE_OK(small_model_create(&a, NULL, 1, 5));
    REQUIRE_OK(small_model_create(&b, NULL, 2, 5));
    CHECK(!small_model_equal(&a, &b));
    REQUIRE_OK(quern_safetensors_save(temporary_join(&t, "m"), a.graph, a.parameters, notes, 2));
    REQUIRE_OK(quern_safetensors_open(&file, b.device, temporary_join(&t, "m")));
    CHECK_OK(quern_safetensors_load(file, b.graph, b.parameters));
    CHECK(small_model_equal(&a, &b));

    const quern_safetensors_entry *entries = NULL;
    CHECK(quern_safetensors_entries(file, &entries) == 5);
    const quern_safetensors_entry *weight = quern_safetensors_find(file, "fc1.weight");
    REQUIRE(weight != NULL);
    CHECK(weight->dtype == QUERN_F32 && weight->rank == 2 && weight->bytes == 60);
    CHECK(weight->dim[0] == 5 && weight->dim[1] == 3);
    const quern_safetensors_entry *scalar = quern_safetensors_find(file, "count");
    CHECK(scalar != NULL && scalar->rank == 0 && scalar->bytes == 4);
    CHECK(quern_safetensors_find(file, "mean \"quoted\"") != NULL);
    CHECK(quern_safetensors_find(file, "absent") == NULL);
    CHECK_TEXT(quern_safetensors_note_find(file, "quote"), "a \"b\"\n");
    CHECK(quern_safetensors_note_find(file, "absent") == NULL);
    quern_safetensors_destroy(file);
    small_model_destroy(&b);
    small_model_destroy(&a);
    temporary_end(&t);
}

TEST_CASE(Safetensors, a_model_of_another_shape_is_refused_and_left_as_it_was) {
    temporary t;
    small_model a, b, untouched;
    quern_safetensors *file = NULL;
    REQUIRE(temporary_begin(&t));
    REQUIRE_OK(small_model_create(&a, NULL, 1, 5));
    REQUIRE_OK(small_model_create(&b, NULL, 2, 6));
    REQUIRE_OK(small_model_create(&untouched, NULL, 2, 6));
    REQUIRE_OK(quern_safetensors_save(temporary_join(&t, "m"), a.graph, a.parameters, NULL, 0));
    REQUIRE_OK(quern_safetensors_open(&file, b.device, temporary_join(&t, "m")));
    CHECK_STATUS(quern_safetensors_load(file, b.graph, b.parameters), QUERN_SHAPE);
    CHECK_ERROR_HAS("fc1.weight: the model has F32 (6, 3), the file F32 (5, 3)");
    CHECK(small_model_equal(&b, &untouched));
    quern_safetensors_destroy(file);
    small_model_destroy(&untouched);
    small_model_destroy(&b);
    small_model_destroy(&a);
    temporary_end(&t);
}

typedef struct hostile {
    const char *header;
    size_t data_bytes;
    const char *sentence; /* NULL: a legal file */
} hostile;

static const hostile files[] = {
    {"{}", 0, NULL},
    {"{}      ", 0, NULL},
    {"{\"a\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]}}", 8, NULL},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[0,7],\"data_offsets\":[0,0]}}", 0, NULL},
    {"{\"b\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[2,5]},"
     "\"a\":{\"dtype\":\"BF16\",\"shape\":[1],\"data_offsets\":[0,2]}}",
     5, NULL},
    {"", 0, "not a JSON object"},
    {"[]", 0, "not a JSON object"},
    {" {}", 0, "not a JSON object"},
    {"{}\n", 0, "not a JSON object"},
    {"{\"a\":}", 0, "header, offset"},
    {"{\"a\":1,\"a\":1}", 0, "duplicate"},
    {"{\"a\\u0000b\":1}", 0, "header, offset"},
    {"{\"\xff\":1}", 0, "header, offset"},
    {"{}", 4, "the tensors end at offset 10, the file at 14"},
    {"{\"a\":1}", 0, "expected exactly dtype, shape and data_offsets"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, "expected exactly"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":1}}", 1,
     "expected exactly"},
    {"{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
     "unknown dtype \"F8_E4M3\""},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":1,\"data_offsets\":[0,1]}}", 1, "shape is not a list"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[-1],\"data_offsets\":[0,1]}}", 1, "is not a count"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1.0],\"data_offsets\":[0,1]}}", 1, "is not a count"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}", 1,
     "rank 9"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0]}}", 1, "not [begin, end]"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,2]}}", 1, "are outside"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,0]}}", 1, "are outside"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[-1,0]}}", 1, "are outside"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
     "need 4 bytes, found 1"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,0]}}", 0,
     "overflows"},
    {"{\"a\":{\"dtype\":\"F64\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", 0,
     "overflows"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[99999999999999999999],\"data_offsets\":[0,0]}}", 0,
     "header, offset"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}", 2, "a hole"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
     "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}",
     3, "an overlap"},
    {"{\"__metadata__\":1}", 0, "__metadata__ is not an object"},
    {"{\"__metadata__\":{\"a\":1}}", 0, "__metadata__: a is not a string"},
};

static size_t compose(unsigned char *to, const hostile *h) {
    const size_t length = strlen(h->header);
    memset(to, 0, 8 + length + h->data_bytes);
    to[0] = (unsigned char)length;
    to[1] = (unsigned char)(length >> 8);
    memcpy(to + 8, h->header, length);
    return 8 + length + h->data_bytes;
}

TEST_CASE(Safetensors, the_reader_accepts_what_is_legal_and_names_what_is_not) {
    small_model m;
    unsigned char bytes[FILE_MAX];
    REQUIRE_OK(small_model_create(&m, NULL, 1, 2));
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        quern_safetensors *file = NULL;
        const size_t length = compose(bytes, &files[i]);
        const quern_status status = quern_safetensors_parse(&file, m.device, "file", bytes, length);
        CHECK_SAY(status == (files[i].sentence ? QUERN_INPUT : QUERN_OK), "%s: %s (%s)",
                  files[i].header, quern_status_name(status), quern_error());
        if (files[i].sentence) CHECK_ERROR_HAS(files[i].sentence);
        CHECK((file != NULL) == (files[i].sentence == NULL));
        quern_safetensors_destroy(file);
    }
    small_model_destroy(&m);
}

TEST_CASE(Safetensors, a_header_longer_than_the_file_or_the_limit_is_refused) {
    small_model m;
    quern_safetensors *file = NULL;
    REQUIRE_OK(small_model_create(&m, NULL, 1, 2));
    unsigned char bytes[16] = {9, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
    CHECK_STATUS(quern_safetensors_parse(&file, m.device, "f", bytes, 16), QUERN_INPUT);
    CHECK_ERROR_HAS("a header of 9 bytes does not fit, 8 bytes follow: this is no .safetensors");
    memset(bytes, 0xff, 8);
    CHECK_STATUS(quern_safetensors_parse(&file, m.device, "f", bytes, 16), QUERN_INPUT);
    CHECK_STATUS(quern_safetensors_parse(&file, m.device, "f", bytes, 7), QUERN_INPUT);
    CHECK_ERROR_HAS("f: 7 bytes, expected at least 8");
    CHECK_STATUS(quern_safetensors_parse(&file, m.device, "f", NULL, 0), QUERN_INPUT);
    CHECK_STATUS(quern_safetensors_open(&file, m.device, "/nowhere/f"), QUERN_INPUT);
    small_model_destroy(&m);
}

/* Parses a copy of exactly `length` bytes, so that a sanitizer sees a read beyond them. */
static quern_status parse_copy(quern_device *device, const unsigned char *bytes, size_t length) {
    unsigned char *copy = malloc(length > 0 ? length : 1);
    if (!copy) return QUERN_HOST_MEMORY;
    memcpy(copy, bytes, length);
    quern_safetensors *file = NULL;
    const quern_status status = quern_safetensors_parse(&file, device, "file", copy, length);
    quern_safetensors_destroy(file);
    free(copy);
    return status;
}

TEST_CASE(Safetensors, every_truncation_is_refused_and_every_bit_flip_handled) {
    temporary t;
    small_model m;
    static unsigned char bytes[FILE_MAX];
    REQUIRE(temporary_begin(&t));
    REQUIRE_OK(small_model_create(&m, NULL, 1, 2));
    REQUIRE_OK(quern_safetensors_save(temporary_join(&t, "m"), m.graph, m.parameters, notes, 2));
    const long length = temporary_read(&t, "m", bytes, sizeof bytes);
    REQUIRE(length > 100 && length < FILE_MAX);
    for (long i = 0; i < length; i++)
        CHECK_STATUS(parse_copy(m.device, bytes, (size_t)i), QUERN_INPUT);
    long accepted = 0;
    for (long i = 0; i < 8 * length; i++) {
        bytes[i / 8] ^= (unsigned char)(1u << (i % 8));
        const quern_status status = parse_copy(m.device, bytes, (size_t)length);
        accepted += status == QUERN_OK;
        CHECK(status == QUERN_OK || status == QUERN_INPUT);
        bytes[i / 8] ^= (unsigned char)(1u << (i % 8));
    }
    CHECK(accepted > 0 && accepted < 8 * length);
    small_model_destroy(&m);
    temporary_end(&t);
}
