#include "memory_files.h"
#include "quern_test.h"

#include "../../src/host/data/dataset.h"

#include <locale.h>
#include <string.h>

/* Two images of 2 x 3, labels 3 and 1. */
static const uint8_t pixels[12] = {0, 1, 2, 3, 4, 5, 250, 251, 252, 253, 254, 255};

typedef struct idx_pair {
    uint8_t images[256], labels[256];
    memory_files files;
    quern_host host;
    quern_device device;
} idx_pair;

static void pair_begin(idx_pair *p) {
    const size_t images = make_idx(p->images, 3, (const uint32_t[]){2, 2, 3}, pixels, 12);
    const size_t labels = make_idx(p->labels, 1, (const uint32_t[]){2}, (const uint8_t[]){3, 1}, 2);
    p->files = (memory_files){
        .file = {{"images", p->images, images}, {"labels", p->labels, labels}}, .count = 2};
    p->host = memory_files_host(&p->files);
    p->device = device_of_host(&p->host);
}

static quern_status pair_open(idx_pair *p, int64_t class_count) {
    quern_dataset *set = NULL;
    const quern_status status = quern_dataset_idx(
        &set, &p->device,
        &(quern_idx_desc){.images = "images", .labels = "labels", .class_count = class_count});
    CHECK((status == QUERN_OK) == (set != NULL));
    quern_dataset_destroy(set);
    return status;
}

TEST_CASE(Idx, reads_images_and_labels_plain_and_gzipped) {
    idx_pair p;
    pair_begin(&p);
    uint8_t packed[512];
    for (int gzip = 0; gzip < 2; gzip++) {
        if (gzip) {
            p.files.file[0].bytes = make_gzip(packed, p.images, p.files.file[0].bytes);
            p.files.file[0].data = packed;
        }
        quern_dataset *set = NULL;
        const quern_field *fields;
        REQUIRE_OK(quern_dataset_idx(&set, &p.device,
                                     &(quern_idx_desc){.images = "images", .labels = "labels"}));
        CHECK(quern_dataset_length(set) == 2);
        REQUIRE(quern_dataset_fields(set, &fields) == 2);
        CHECK_TEXT(fields[0].name, "image");
        CHECK(fields[0].dtype == QUERN_U8 && fields[0].rank == 3 && fields[0].dim[0] == 1 &&
              fields[0].dim[1] == 2 && fields[0].dim[2] == 3);
        CHECK_TEXT(fields[1].name, "label");
        CHECK(fields[1].dtype == QUERN_I32 && fields[1].rank == 0 && fields[1].class_count == 4);
        CHECK(memcmp(set->data[0], pixels, 12) == 0);
        CHECK(memcmp(set->data[1], (const int32_t[]){3, 1}, 8) == 0);
        quern_dataset_destroy(set);
    }
}

TEST_CASE(Idx, says_file_offset_expected_and_found) {
    idx_pair p;
    pair_begin(&p);
    p.images[2] = 9;
    CHECK_STATUS(pair_open(&p, 0), QUERN_INPUT);
    CHECK_ERROR_HAS("images: offset 0: expected the magic 00000803");
    CHECK_ERROR_HAS("found 00000903");
    pair_begin(&p);
    p.files.file[0].bytes++;
    CHECK_STATUS(pair_open(&p, 0), QUERN_INPUT);
    CHECK_ERROR_HAS("images: offset 16: the dims promise 12 bytes of data, found 13");
    pair_begin(&p);
    memset(p.images + 4, 0xFF, 12); /* three times 2^32 - 1 */
    CHECK_STATUS(pair_open(&p, 0), QUERN_INPUT);
    CHECK_ERROR_HAS("more than 2^63");
    pair_begin(&p);
    p.images[7] = 0;
    CHECK_STATUS(pair_open(&p, 0), QUERN_INPUT);
    CHECK_ERROR_HAS("no samples");
    pair_begin(&p);
    p.files.file[1].bytes =
        make_idx(p.labels, 1, (const uint32_t[]){3}, (const uint8_t[]){3, 1, 0}, 3);
    CHECK_STATUS(pair_open(&p, 0), QUERN_INPUT);
    CHECK_ERROR_HAS("images has 2 images, labels has 3 labels");
    pair_begin(&p);
    p.labels[9] = 10;
    CHECK_STATUS(pair_open(&p, 10), QUERN_INPUT);
    CHECK_ERROR_HAS("labels: field 'label' of sample 1 is 10, expected 0 to 9");
    CHECK_STATUS(pair_open(&p, 0), QUERN_OK);
    CHECK_STATUS(pair_open(&p, -1), QUERN_INVALID);
    p.files.count = 1;
    CHECK_STATUS(pair_open(&p, 0), QUERN_INPUT);
    CHECK_ERROR_HAS("labels");
}

TEST_CASE(Idx, mnist_directory_finds_plain_and_gzipped_files) {
    idx_pair p;
    pair_begin(&p);
    uint8_t packed[512];
    const size_t packed_bytes = make_gzip(packed, p.labels, p.files.file[1].bytes);
    p.files =
        (memory_files){.file = {{"d", NULL, 0},
                                {"d/train-images-idx3-ubyte", p.images, p.files.file[0].bytes},
                                {"d/train-labels-idx1-ubyte.gz", packed, packed_bytes}},
                       .count = 3};
    quern_dataset *set = NULL;
    const quern_field *fields;
    REQUIRE_OK(quern_dataset_mnist(&set, &p.device, "d", false));
    quern_dataset_fields(set, &fields);
    CHECK(fields[1].class_count == 10);
    quern_dataset_destroy(set);
    CHECK_STATUS(quern_dataset_mnist(&set, &p.device, "d", true), QUERN_INPUT);
    CHECK_ERROR_HAS("d: neither t10k-images-idx3-ubyte nor t10k-images-idx3-ubyte.gz");
    CHECK(set == NULL);
    CHECK_STATUS(quern_dataset_mnist(&set, &p.device, "nowhere", false), QUERN_INPUT);
    CHECK_ERROR_HAS("nowhere");
}

static quern_status npy_open(quern_dataset **out, const void *file, size_t bytes,
                             int64_t class_count) {
    memory_files files = {.file = {{"f.npy", file, bytes}}, .count = 1};
    const quern_host host = memory_files_host(&files);
    quern_device device = device_of_host(&host);
    quern_dataset *set = NULL;
    const quern_status status = quern_dataset_npy(
        &set, &device,
        &(quern_npy_desc){
            .field_count = 1, .names = {"x"}, .paths = {"f.npy"}, .class_count = {class_count}});
    /* The device is gone when this returns: what is checked of the set comes first. */
    if (set != NULL && out == NULL) quern_dataset_destroy(set);
    if (out != NULL) *out = set;
    return status;
}

TEST_CASE(Npy, reads_every_dtype) {
    static const float f4[6] = {1, -2, 3, 4, 5, 6.5f};
    static const double f8[6] = {1, -2, 3, 4, 5, 6.5};
    static const int32_t i4[6] = {1, -2, 3, 4, 5, 6};
    static const int64_t i8[6] = {1, -2, 3, 4, 5, 6};
    static const uint8_t u1[6] = {1, 2, 3, 4, 5, 6};
    const struct {
        const char *descr;
        const void *values, *expected;
        size_t bytes, expected_bytes;
        quern_dtype dtype;
    } cases[] = {{"'<f4'", f4, f4, 24, 24, QUERN_F32},
                 {"'<f8'", f8, f8, 48, 48, QUERN_F64},
                 {"'<i4'", i4, i4, 24, 24, QUERN_I32},
                 {"'<i8'", i8, i4, 48, 24, QUERN_I32},
                 {"\"|u1\"", u1, u1, 6, 6, QUERN_U8}};
    for (int i = 0; i < 5; i++) {
        uint8_t file[512];
        memory_files files = {.file = {{"f.npy", file, 0}}, .count = 1};
        files.file[0].bytes =
            make_npy(file, cases[i].descr, "(2, 3)", cases[i].values, cases[i].bytes);
        const quern_host host = memory_files_host(&files);
        quern_device device = device_of_host(&host);
        quern_dataset *set = NULL;
        REQUIRE_OK(quern_dataset_npy(
            &set, &device,
            &(quern_npy_desc){.field_count = 1, .names = {"x"}, .paths = {"f.npy"}}));
        CHECK(set->length == 2 && set->fields[0].rank == 1 && set->fields[0].dim[0] == 3);
        CHECK(set->fields[0].dtype == cases[i].dtype);
        CHECK(memcmp(set->data[0], cases[i].expected, cases[i].expected_bytes) == 0);
        quern_dataset_destroy(set);
    }
}

/* A whole file from the text of its header, unpadded, so that the values lie unaligned. */
static size_t npy_text(uint8_t *to, int version, const char *header, const void *values,
                       size_t bytes) {
    const size_t length = strlen(header), at = version == 1 ? 10 : 12;
    memcpy(to, "\x93NUMPY", 6);
    to[6] = (uint8_t)version;
    memset(to + 7, 0, 5);
    to[8] = (uint8_t)length;
    memcpy(to + at, header, length);
    memcpy(to + at + length, values, bytes);
    return at + length + bytes;
}

TEST_CASE(Npy, takes_versions_key_orders_and_unaligned_values) {
    static const float x[2] = {1.5f, -3};
    static const struct {
        int version;
        const char *header;
    } cases[] = {
        {1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n"},
        {2, "{'shape': (2,), 'fortran_order': False, 'descr': '<f4'}\n"},
        {3, "{\"fortran_order\":False,\"shape\":(2 , 1 ,),\"descr\":\"<f4\"}"},
        {1, "  {'descr': '<f4', 'fortran_order': False, 'shape': (2, 1, 1), }   \n"},
    };
    for (int i = 0; i < 4; i++) {
        uint8_t file[256];
        memory_files files = {.file = {{"f.npy", file, 0}}, .count = 1};
        files.file[0].bytes = npy_text(file, cases[i].version, cases[i].header, x, sizeof x);
        const quern_host host = memory_files_host(&files);
        quern_device device = device_of_host(&host);
        quern_dataset *set = NULL;
        REQUIRE_OK(quern_dataset_npy(
            &set, &device,
            &(quern_npy_desc){.field_count = 1, .names = {"x"}, .paths = {"f.npy"}}));
        CHECK((uintptr_t)set->data[0] % sizeof(float) == 0);
        CHECK(memcmp(set->data[0], x, sizeof x) == 0);
        quern_dataset_destroy(set);
    }
}

TEST_CASE(Npy, refuses_what_the_format_forbids) {
    static const struct {
        const char *header, *sentence;
    } cases[] = {
        {"{'descr': '|O', 'fortran_order': False, 'shape': (2,), }", "found '|O'"},
        {"{'descr': '>f4', 'fortran_order': False, 'shape': (2,), }", "found '>f4'"},
        {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }", "a string"},
        {"{'descr': '<f4', 'fortran_order': True, 'shape': (2,), }", "Fortran order"},
        {"{'descr': '<f4', 'fortran_order': 0, 'shape': (2,), }", "True or False"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (), }", "samples along axis 0"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2), }", "a comma"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }", "a dim"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (0,), }", "no samples"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 0), }", "axis 1"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", "promises 12 bytes"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", "promises 4 bytes"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 2), }", "2^63"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775808,), }", "2^63"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,2), }", "8 dims"},
        {"{'descr': '<f4', 'fortran_order': False, }", "lacks 'shape'"},
        {"{'descr': '<f4', 'shape': (2,), }", "lacks 'fortran_order'"},
        {"{'fortran_order': False, 'shape': (2,), }", "lacks 'descr'"},
        {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", "each once"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'x': 1}", "found 'x'"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), } os", "up to the header's end"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)", "a comma or '}'"},
        {"", "'{'"},
    };
    static const float x[2] = {1, 2};
    uint8_t file[512];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const size_t bytes = npy_text(file, 1, cases[i].header, x, sizeof x);
        CHECK_STATUS(npy_open(NULL, file, bytes, 0), QUERN_INPUT);
        CHECK_ERROR_HAS("f.npy");
        CHECK_ERROR_HAS(cases[i].sentence);
    }
    const size_t bytes = npy_text(file, 4, cases[0].header, x, sizeof x);
    CHECK_STATUS(npy_open(NULL, file, bytes, 0), QUERN_INPUT);
    CHECK_ERROR_HAS("version");
}

TEST_CASE(Npy, checks_values_when_it_opens) {
    uint8_t file[512];
    const float bad[2] = {1, 0.0f / 0.0f};
    CHECK_STATUS(npy_open(NULL, file, make_npy(file, "'<f4'", "(2,)", bad, 8), 0), QUERN_INPUT);
    CHECK_ERROR_HAS("field 'x' of sample 1 is NaN");
    const int64_t wide[2] = {1, INT64_C(1) << 31};
    CHECK_STATUS(npy_open(NULL, file, make_npy(file, "'<i8'", "(2,)", wide, 16), 0), QUERN_INPUT);
    CHECK_ERROR_HAS("2147483648 does not fit 32 bits");
    const int64_t labels[2] = {1, 5};
    CHECK_STATUS(npy_open(NULL, file, make_npy(file, "'<i8'", "(2,)", labels, 16), 5), QUERN_INPUT);
    CHECK_ERROR_HAS("sample 1 is 5, expected 0 to 4");
    CHECK_STATUS(npy_open(NULL, file, make_npy(file, "'<i8'", "(2,)", labels, 16), 6), QUERN_OK);
    const float x[2] = {1, 2};
    CHECK_STATUS(npy_open(NULL, file, make_npy(file, "'<f4'", "(2,)", x, 8), 6), QUERN_INVALID);
}

TEST_CASE(Npy, files_of_one_set_have_one_length) {
    uint8_t a[256], b[256];
    const float x[3] = {1, 2, 3};
    memory_files files = {.file = {{"a.npy", a, make_npy(a, "'<f4'", "(3,)", x, 12)},
                                   {"b.npy", b, make_npy(b, "'<f4'", "(2,)", x, 8)}},
                          .count = 2};
    const quern_host host = memory_files_host(&files);
    quern_device device = device_of_host(&host);
    quern_dataset *set = NULL;
    quern_npy_desc desc = {.field_count = 2, .names = {"a", "b"}, .paths = {"a.npy", "b.npy"}};
    CHECK_STATUS(quern_dataset_npy(&set, &device, &desc), QUERN_INPUT);
    CHECK_ERROR_HAS("a.npy has 3 samples, b.npy has 2");
    desc.paths[1] = "c.npy";
    CHECK_STATUS(quern_dataset_npy(&set, &device, &desc), QUERN_INPUT);
    CHECK_ERROR_HAS("c.npy");
    desc.paths[1] = "a.npy";
    desc.names[1] = "a";
    CHECK_STATUS(quern_dataset_npy(&set, &device, &desc), QUERN_INVALID);
    CHECK_ERROR_HAS("two fields are named 'a'");
}

typedef struct csv_result {
    quern_status status;
    int64_t rows, columns, class_count;
    float x[16], target[8];
    int32_t label[8];
} csv_result;

static csv_result csv_open(const char *text, size_t bytes, const char *label, const char *target,
                           int64_t class_count) {
    memory_files files = {.file = {{"t.csv", text, bytes}}, .count = 1};
    const quern_host host = memory_files_host(&files);
    quern_device device = device_of_host(&host);
    quern_dataset *set = NULL;
    csv_result r = {.status = quern_dataset_csv(&set, &device,
                                                &(quern_csv_desc){.path = "t.csv",
                                                                  .label_column = label,
                                                                  .target_column = target,
                                                                  .class_count = class_count})};
    if (r.status != QUERN_OK) return r;
    r.rows = set->length;
    r.columns = set->counts[0];
    if (r.rows * r.columns <= 16)
        memcpy(r.x, set->data[0], (size_t)(r.rows * r.columns) * sizeof(float));
    if (set->field_count == 2 && r.rows <= 8) {
        r.class_count = set->fields[1].class_count;
        memcpy(label != NULL ? (void *)r.label : (void *)r.target, set->data[1],
               (size_t)r.rows * 4);
    }
    quern_dataset_destroy(set);
    return r;
}
#define CSV(text, ...) csv_open(text, sizeof text - 1, __VA_ARGS__)

TEST_CASE(Csv, reads_with_and_without_header) {
    csv_result r = CSV("a,b,kind\r\n1,2.5,0\r\n-3e1, .5 ,2\r\n", "kind", NULL, 0);
    REQUIRE_OK(r.status);
    CHECK(r.rows == 2 && r.columns == 2 && r.class_count == 3);
    CHECK(r.x[0] == 1 && r.x[1] == 2.5f && r.x[2] == -30 && r.x[3] == 0.5f);
    CHECK(r.label[0] == 0 && r.label[1] == 2);
    r = CSV("1,2,3\n4,5,6", NULL, "0", 0);
    REQUIRE_OK(r.status);
    CHECK(r.rows == 2 && r.columns == 2 && r.target[0] == 1 && r.target[1] == 4);
    CHECK(r.x[0] == 2 && r.x[1] == 3 && r.x[2] == 5 && r.x[3] == 6);
    r = CSV("7\n8\n9\n", NULL, NULL, 0);
    REQUIRE_OK(r.status);
    CHECK(r.rows == 3 && r.columns == 1 && r.x[2] == 9);
    r = CSV("\xEF\xBB\xBF,\"a\"\"b\n,c\"\n\"1\",\"2\"\n", NULL, "a\"b\n,c", 0);
    REQUIRE_OK(r.status);
    CHECK(r.rows == 1 && r.columns == 1 && r.x[0] == 1 && r.target[0] == 2);
    r = CSV("1,3.0\n", "1", NULL, 7);
    REQUIRE_OK(r.status);
    CHECK(r.label[0] == 3 && r.class_count == 7);
    r = CSV("0.1,16777217\n", NULL, NULL, 0);
    CHECK(r.x[0] == 0.1f && r.x[1] == 16777216.0f);
}

TEST_CASE(Csv, says_row_and_column) {
    static const struct {
        const char *text, *label, *target, *sentence;
        int64_t class_count;
    } cases[] = {
        {"", NULL, NULL, "empty", 0},
        {"a,b\n", NULL, NULL, "no samples", 0},
        {"1,2\n3\n", NULL, NULL, "row 2: expected 2 columns as in row 1, found 1", 0},
        {"1,2\n3,4,5\n", NULL, NULL, "row 2: expected 2 columns as in row 1, found 3", 0},
        {"1,2\n\n", NULL, NULL, "row 2: expected 2 columns", 0},
        {"1,2\n3,x\n", NULL, NULL, "row 2, column 1: expected a number, found 'x'", 0},
        {"a,b\n3,\n", NULL, NULL, "row 2, column 1: expected a number, found ''", 0},
        {"1,2\n3,NaN\n", NULL, NULL, "row 2, column 1: expected a finite number, found 'NaN'", 0},
        {"1,2\n-inf,3\n", NULL, NULL, "row 2, column 0: expected a finite number", 0},
        {"1,2\n3,1e39\n", NULL, NULL, "a number that fits F32, found '1e39'", 0},
        {"1,2\n3,0x10\n", NULL, NULL, "expected a number, found '0x10'", 0},
        {"1,2\n3,4 5\n", NULL, NULL, "expected a number, found '4 5'", 0},
        {"1,2\n3,\"4\n", NULL, NULL, "row 2, column 1: expected a closing quote", 0},
        {"1,2\n3,\"4\"5\n", NULL, NULL, "a comma after the closing quote", 0},
        {"1,2\n3,4\"5\n", NULL, NULL, "a quote inside a cell", 0},
        {"1,2\n3,4\n", "1", NULL, "sample 1 is 4, expected 0 to 3", 4},
        {"1,2\n3,-4\n", "1", NULL, "row 2, column 1: expected a class index, found '-4'", 0},
        {"1,2\n3,1.5\n", "1", NULL, "expected a class index, found '1.5'", 0},
        {"1,2\n3,3e9\n", "1", NULL, "expected a class index, found '3e9'", 0},
        {"1,2\n3,2147483647\n", "1", NULL, "fewer classes", 0},
        {"1,2\n3,4\n", "2", NULL, "no column '2' among 2 columns without a header", 0},
        {"a,b\n3,4\n", NULL, "c", "no column 'c' among 2 columns with a header", 0},
        {"a,a\n3,4\n", "a", NULL, "columns 0 and 1 are both named 'a'", 0},
        {"a\n3\n", "a", NULL, "the only column", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const csv_result r = csv_open(cases[i].text, strlen(cases[i].text), cases[i].label,
                                      cases[i].target, cases[i].class_count);
        CHECK_STATUS(r.status, QUERN_INPUT);
        CHECK_ERROR_HAS("t.csv");
        CHECK_ERROR_HAS(cases[i].sentence);
    }
    CHECK_STATUS(CSV("1,2", "0", "1", 0).status, QUERN_INVALID);
    CHECK_STATUS(CSV("1,2", NULL, NULL, 3).status, QUERN_INVALID);
    CHECK_STATUS(CSV("1,2", "0", NULL, -3).status, QUERN_INVALID);
    CHECK_STATUS(CSV("1,2\n3,4\0005\n", NULL, NULL, 0).status, QUERN_INPUT);
    static char longest[400] = "1,";
    memset(longest + 2, '1', 300);
    CHECK_STATUS(csv_open(longest, strlen(longest), NULL, NULL, 0).status, QUERN_INPUT);
}

TEST_CASE(Csv, numbers_have_a_point_in_every_locale) {
    if (setlocale(LC_NUMERIC, "de_DE.UTF-8") == NULL && setlocale(LC_NUMERIC, "de_DE") == NULL)
        SKIP_TEST("no locale with a decimal comma is installed");
    const csv_result r = CSV("1.5,2\n", NULL, NULL, 0);
    setlocale(LC_NUMERIC, "C");
    REQUIRE_OK(r.status);
    CHECK(r.x[0] == 1.5f);
}
