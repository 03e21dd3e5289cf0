/* device.h - a memory and the kernels that work on it.
 *
 * A device is the context of everything else: it carries the seed, the worker threads and the
 * host tables (host.h). It must outlive what was created with it. Several devices live side by
 * side in one process, each used by one thread at a time. */
#ifndef QUERN_DEVICE_H
#define QUERN_DEVICE_H

#include <quern/host.h>

QUERN_BEGIN_C

typedef struct quern_device quern_device;

typedef enum quern_device_kind {
    QUERN_DEVICE_BEST, /* CUDA when the CUDA module and a GPU that can be used exist (the first one
                          from index on), else CPU; logged, with why not */
    QUERN_DEVICE_CPU,
    QUERN_DEVICE_CUDA,
} quern_device_kind;

typedef struct quern_device_desc {
    quern_device_kind kind;
    int32_t index;               /* which of its kind; default 0 */
    int32_t thread_count;        /* CPU compute threads; default: the cores this process may use.
                                    Results do not depend on it. CUDA does not read it. */
    uint64_t seed;               /* all randomness derives from it; default 0 */
    bool allow_nondeterministic; /* default false: same binary, device and seed, same bits */
    bool allow_tf32;             /* CUDA: products and convolutions of F32 may round their inputs
                                    to 10 bits of mantissa, in every program, as precision TF32
                                    asks for one (precision.h). The CPU does not read it. */
    bool tune;                   /* CUDA: algorithms are measured when a program is compiled, and
                                    remembered (in $QUERN_CACHE, else in quern below the user's
                                    cache folder; set to nothing: not at all), so that a later run
                                    that tunes does not measure again; default: the libraries' own
                                    first choice. What a checkpoint recorded goes before both. The
                                    CPU does not read it. */
    bool trace_ops;              /* each op is waited for, so that its range in the trace is its
                                    time and has its bytes as value. Steps get slow, and nothing is
                                    captured; the results stay the same bits. */
    quern_host host;             /* default: quern_host_default() */
} quern_device_desc;

/* NO_DEVICE (names the index and how many there are, or why none), HOST_MEMORY, INVALID. */
QUERN_API QUERN_MUST_CHECK quern_status quern_device_create(quern_device **out,
                                                            const quern_device_desc *desc);
QUERN_API void quern_device_destroy(quern_device *device);

typedef struct quern_device_info {
    quern_device_kind kind;
    int32_t index;
    int32_t thread_count; /* CPU: compute threads; CUDA: multiprocessors */
    char name[128];       /* "AMD EPYC 7R13", "NVIDIA H200" */
    char uuid[48];        /* "" for the CPU */
    char pci[32];         /* "" for the CPU */
    int32_t capability;   /* CUDA: 90 for 9.0; CPU: 0 */
    int64_t memory_bytes, memory_free_bytes;
} quern_device_info;

QUERN_API QUERN_MUST_CHECK quern_status quern_device_info_get(const quern_device *device,
                                                              quern_device_info *out);

/* How many devices of a kind this process can use. For CUDA `reason` (may be NULL) receives one
 * sentence when there are none: the module was not found, or the driver's own words. */
QUERN_API int32_t quern_device_count(quern_device_kind kind, char *reason, size_t reason_bytes);

/* One of NVIDIA's libraries that the CUDA module works with. */
typedef struct quern_library_info {
    char name[16];    /* "cuBLASLt", "cuDNN", "NCCL" */
    char version[16]; /* "13.1.0"; "" when it was not loaded */
    char path[256];   /* of the file that was loaded */
    char reason[900]; /* why it was not, and where it was looked for; "" when it was */
} quern_library_info;

#define QUERN_CUDA_LIBRARY_COUNT 3

/* What stands behind CUDA devices, also where there is none. */
typedef struct quern_cuda_info {
    int32_t driver_version;  /* the newest CUDA that the driver supports, 13000 for 13.0; 0: none */
    int32_t runtime_version; /* the CUDA that the module was built with */
    char driver_release[24]; /* "580.65.06"; "" when no driver tells it */
    char architectures[64];  /* what its kernels were compiled for, "90" */
    quern_library_info libraries[QUERN_CUDA_LIBRARY_COUNT];
} quern_cuda_info;

/* Loads the libraries, to see whether they do. NO_DEVICE, UNSUPPORTED: the module is not there or
 * is of another version, in the words of quern_device_count. */
QUERN_API QUERN_MUST_CHECK quern_status quern_cuda_info_get(quern_cuda_info *out);

/* The library's version, "0.1.0", and the same as a number, 100. */
#define QUERN_VERSION_MAJOR 0
#define QUERN_VERSION_MINOR 1
#define QUERN_VERSION_PATCH 0
QUERN_API const char *quern_version(void);

QUERN_END_C
#endif
