/* op_desc.h - the attributes of the ops that have some: quern_<op>_desc belongs to quern_<op>().
 * Zero is the default. A NULL desc is all defaults. Axes may be negative, counted from the end. */
#ifndef QUERN_OP_DESC_H
#define QUERN_OP_DESC_H

#include <quern/kernel.h>

QUERN_BEGIN_C

typedef struct quern_matmul_desc {
    bool transpose_a, transpose_b; /* of the last two axes */
} quern_matmul_desc;

typedef struct quern_conv2d_desc {
    int32_t stride[2], padding[2], dilation[2]; /* (H, W); defaults 1, 0, 1 */
    int32_t groups;                             /* default 1 */
} quern_conv2d_desc;

typedef struct quern_pool2d_desc {
    int32_t window[2];          /* (H, W); required */
    int32_t stride[2];          /* default: window */
    int32_t padding[2];         /* default 0; at most half a window */
    bool count_exclude_padding; /* avg_pool2d only */
} quern_pool2d_desc;
typedef quern_pool2d_desc quern_max_pool2d_desc;
typedef quern_pool2d_desc quern_avg_pool2d_desc;

typedef struct quern_scale_desc {
    float factor, offset; /* y = factor x + offset; factor: default 1, QUERN_ZERO for 0 */
} quern_scale_desc;

typedef struct quern_clamp_desc {
    float low, high; /* both needed: low < high */
} quern_clamp_desc;

typedef struct quern_cast_desc {
    quern_dtype dtype;
} quern_cast_desc;

typedef struct quern_leaky_relu_desc {
    float slope; /* default 0.01; QUERN_ZERO for 0 */
} quern_leaky_relu_desc;

typedef struct quern_gelu_desc {
    bool tanh; /* the tanh approximation instead of erf */
} quern_gelu_desc;

typedef struct quern_dropout_desc {
    float probability; /* of zero; [0, 1) */
} quern_dropout_desc;

typedef struct quern_axis_desc {
    int32_t axis; /* default: 0 means the last axis; use -rank … -1, or 1 … rank-1, or first */
    bool first;   /* axis 0 */
} quern_axis_desc;
typedef quern_axis_desc quern_softmax_desc;
typedef quern_axis_desc quern_log_softmax_desc;
typedef quern_axis_desc quern_argmax_desc;

typedef struct quern_reduce_desc {
    int32_t axis_count; /* default 0: all axes */
    int32_t axes[QUERN_RANK_MAX];
    bool keep; /* reduced axes stay with size 1 */
} quern_reduce_desc;
typedef quern_reduce_desc quern_sum_desc;
typedef quern_reduce_desc quern_mean_desc;
typedef quern_reduce_desc quern_max_desc;
typedef quern_reduce_desc quern_min_desc;

typedef struct quern_reshape_desc {
    int32_t rank;
    int64_t dim[QUERN_RANK_MAX]; /* numbers, or k * QUERN_B */
} quern_reshape_desc;

typedef struct quern_permute_desc {
    int32_t order[QUERN_RANK_MAX];
} quern_permute_desc;

typedef struct quern_slice_desc {
    int32_t axis;
    int64_t start, stop; /* 0 <= start <= stop <= size; the batch axis cannot be sliced */
} quern_slice_desc;

typedef struct quern_concat_desc {
    int32_t axis;
} quern_concat_desc;

typedef struct quern_batch_norm_desc {
    float epsilon;  /* default 1e-5 */
    float momentum; /* default 0.1: running = 0.9 running + 0.1 batch; QUERN_ZERO for 0 */
} quern_batch_norm_desc;

typedef struct quern_layer_norm_desc {
    float epsilon; /* default 1e-5 */
} quern_layer_norm_desc;

typedef struct quern_softmax_cross_entropy_desc {
    float label_smoothing; /* [0, 1); default 0 */
    bool ignore;           /* rows whose target is ignore_index count for nothing */
    int32_t ignore_index;
} quern_softmax_cross_entropy_desc;

typedef struct quern_huber_desc {
    float delta; /* default 1 */
} quern_huber_desc;

typedef struct quern_valid_count_desc {
    bool ignore;
    int32_t ignore_index;
} quern_valid_count_desc;

typedef struct quern_top_k_correct_desc {
    int32_t k; /* default 1 */
    bool ignore;
    int32_t ignore_index;
} quern_top_k_correct_desc;

typedef struct quern_confusion_matrix_desc {
    bool ignore;
    int32_t ignore_index;
} quern_confusion_matrix_desc;

QUERN_END_C
#endif
