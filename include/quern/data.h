/* data.h - samples: where they come from and in which order.
 *
 * A dataset yields samples; a sample has one or more named fields ("image", "label"), which are
 * matched by name with the inputs of a graph. Fields that no input names are left out. A field
 * whose element count equals the input's per sample fits, whatever its dims (28x28 fits 784); a
 * field is U8, I32, I64, F32 or F64, and
 *   an F32 or F64 input takes any of them, converted, scaled and normalised by a quern_transform;
 *   an I32 or I64 input takes U8, I32 and I64;   a U8 input takes U8;   else SHAPE, naming both.
 *
 * Values are checked where they enter, when a set is opened or, for a custom one, when a sample is
 * read: class indices against class_count, I64 values against the range of I32, floats for being
 * finite. INPUT names the file or set, field, sample, what was found and what was expected.
 *
 * A dataset may be used by several trainers and loader threads at once, a stream by one at a time.
 * It borrows its device, for the allocator and the file operations. The order of an epoch and all
 * random augmentation are pure functions of (seed, epoch, sample). */
#ifndef QUERN_DATA_H
#define QUERN_DATA_H

#include <quern/device.h>
#include <quern/kernel.h>

QUERN_BEGIN_C

#define QUERN_FIELD_MAX 8
#define QUERN_CHANNEL_MAX 64

/* One field of a sample, without the batch axis. */
typedef struct quern_field {
    const char *name; /* at most 63 bytes */
    quern_dtype dtype;
    int32_t rank;                    /* 0: one number */
    int64_t dim[QUERN_RANK_MAX - 1]; /* positive */
    int64_t class_count;             /* > 0: the values are class indices in [0, class_count) */
} quern_field;

/* The application's own dataset fills this and passes it to quern_dataset_custom(). All functions
 * may be called from several loader threads at once, `next` from one at a time. */
typedef struct quern_dataset_type {
    const char *name;
    /* The number of samples; -1: a stream without a length, which has `next` instead of `read`. */
    int64_t (*length)(void *self);
    /* The fields of a sample; copied once, when the dataset is made. Returns how many. */
    int32_t (*fields)(void *self, const quern_field **out);
    /* Writes sample `index` field by field to field_data[i], row-major, in the field's dtype; the
     * buffers are aligned to 64 bytes. A failure says why by quern_fail. While it waits, no stop
     * and no signal is acted upon (handle_signals in train.h). */
    quern_status (*read)(void *self, int64_t index, void *const *field_data);
    /* The next sample of a stream; *end = true when there is none. */
    quern_status (*next)(void *self, void *const *field_data, bool *end);
    quern_status (*rewind)(void *self); /* a stream that can start again; else NULL */
    void (*destroy)(void *self);        /* may be NULL */
} quern_dataset_type;

typedef struct quern_dataset quern_dataset;

/* On success the dataset owns self and gives it to type->destroy; on failure it is the caller's.
 * The type is borrowed. INVALID names the function that is missing or the field that is wrong. */
QUERN_API QUERN_MUST_CHECK quern_status quern_dataset_custom(quern_dataset **out,
                                                             quern_device *device,
                                                             const quern_dataset_type *type,
                                                             void *self);
QUERN_API void quern_dataset_destroy(quern_dataset *dataset);
QUERN_API int64_t quern_dataset_length(const quern_dataset *dataset); /* -1: a stream */
QUERN_API int32_t quern_dataset_fields(const quern_dataset *dataset, const quern_field **out);

/* IDX files (MNIST's format), plain or gzip: images U8 (N, H, W), labels U8 (N). Held in memory.
 * Fields "image" (1, H, W) U8 and "label" I32. INPUT names file, offset, expected and found;
 * labels are checked here against class_count. */
typedef struct quern_idx_desc {
    const char *images, *labels; /* paths, required */
    int64_t class_count;         /* default: the largest label + 1 */
} quern_idx_desc;
QUERN_API QUERN_MUST_CHECK quern_status quern_dataset_idx(quern_dataset **out, quern_device *device,
                                                          const quern_idx_desc *desc);

/* The MNIST-named files (plain or .gz) of a directory: the train or the t10k pair; labels 0 to 9.
 * INPUT names what was looked for. */
QUERN_API QUERN_MUST_CHECK quern_status quern_dataset_mnist(quern_dataset **out,
                                                            quern_device *device,
                                                            const char *directory, bool test);

/* Arrays in the application's memory, borrowed: field i of sample n is at
 * data[i] + n * (bytes of the field). They must outlive the dataset and stay as they are. */
typedef struct quern_arrays_desc {
    int64_t length;
    int32_t field_count;
    quern_field fields[QUERN_FIELD_MAX];
    const void *data[QUERN_FIELD_MAX];
} quern_arrays_desc;
QUERN_API QUERN_MUST_CHECK quern_status quern_dataset_arrays(quern_dataset **out,
                                                             quern_device *device,
                                                             const quern_arrays_desc *desc);

/* NumPy files: samples along axis 0 of each; field i is named names[i]. Held in memory.
 * Format versions 1 to 3; little-endian f4, f8, i4, i8, u1 in C order, never objects; i8 values
 * must fit I32 and become I32. */
typedef struct quern_npy_desc {
    int32_t field_count;
    const char *names[QUERN_FIELD_MAX], *paths[QUERN_FIELD_MAX];
    int64_t class_count[QUERN_FIELD_MAX]; /* > 0: checked */
} quern_npy_desc;
QUERN_API QUERN_MUST_CHECK quern_status quern_dataset_npy(quern_dataset **out, quern_device *device,
                                                          const quern_npy_desc *desc);

/* A table of numbers (RFC 4180): one row a sample. The first row is a header when one of its cells
 * is text. Fields "x" (F32, all other columns in order) and, if named or numbered, "label" (I32) or
 * "target" (F32). Every other cell must be a finite decimal number, with a point in any locale;
 * sentences count rows from 1, the header included, and columns from 0. */
typedef struct quern_csv_desc {
    const char *path;
    const char *label_column;  /* a header name, or a number from 0; class indices */
    const char *target_column; /* the same, for regression; at most one of the two */
    int64_t class_count;       /* default: the largest label + 1 */
} quern_csv_desc;
QUERN_API QUERN_MUST_CHECK quern_status quern_dataset_csv(quern_dataset **out, quern_device *device,
                                                          const quern_csv_desc *desc);

/* Images of `class_count` blurred prototypes plus noise, a pure function of (seed, index): needs
 * no file and can be learned. Fields "image" (1, 28, 28) U8 and "label" I32. */
typedef struct quern_synthetic_desc {
    int64_t length;      /* default 10000; first_index lets a test set follow a training set */
    int64_t first_index; /* default 0 */
    int64_t class_count; /* default 10 */
    uint64_t seed;
} quern_synthetic_desc;
QUERN_API QUERN_MUST_CHECK quern_status quern_dataset_synthetic(quern_dataset **out,
                                                                quern_device *device,
                                                                const quern_synthetic_desc *desc);

/* How a field becomes an input: y = (x * scale - mean[c]) / deviation[c] in the input's dtype, c
 * the channel (the first dim of a rank-3 field; the element of a rank-1 field, a row of a table,
 * when channel_count is its number of elements; else 0). In training an image (H, W) or (C, H, W)
 * may be cropped and flipped first: it is padded with raw zeros (before scale and mean, so the
 * border becomes -mean / deviation), cropped back to H x W at a random place, then flipped. Draws
 * are pure functions of (seed, epoch, sample); two fields of a sample get the same. */
typedef struct quern_transform {
    const char *field;     /* which one; required */
    float scale;           /* default 1; U8 images: 1/255 */
    int32_t channel_count; /* of mean and deviation; 0: none, else the field's channels or, for a
                              field of rank 1, its elements or 1 */
    float mean[QUERN_CHANNEL_MAX], deviation[QUERN_CHANNEL_MAX]; /* defaults 0 and 1 */
    int32_t crop_padding; /* training: zero-pad H and W by this, crop back at random */
    bool horizontal_flip; /* training: with probability 1/2 */
} quern_transform;

/* Mean and population deviation (1 where a channel is constant) of scale * x per channel over the
 * whole set, summed in double in one order; sets channel_count. A field of rank 1 is measured per
 * element when it has at most QUERN_CHANNEL_MAX, else as one channel. Reads the set once for U8,
 * else twice. INVALID, UNSUPPORTED (a stream that cannot start again), INPUT, HOST_MEMORY. */
QUERN_API QUERN_MUST_CHECK quern_status quern_transform_measure(quern_transform *transform,
                                                                const quern_dataset *dataset);

QUERN_END_C
#endif
