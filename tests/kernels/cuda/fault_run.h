/* fault_run.h - one training run on the fake device from opening it to closing it, during which a
 * call of CUDA, cuBLASLt or cuDNN fails, and what was seen of it. */
#ifndef QUERN_TESTS_KERNELS_CUDA_FAULT_RUN_H
#define QUERN_TESTS_KERNELS_CUDA_FAULT_RUN_H

#include "fake_cublaslt.h"
#include "fake_cudnn.h"
#include "fake_device.h"

#include <quern/status.h>

typedef struct fault_run_desc {
    bool images;     /* convolutions; else two dense layers */
    bool no_capture; /* each kernel is launched */
    bool elsewhere; /* this thread's current device is another: each call has to turn to this one */
    bool from_fit;  /* the counts of calls begin where the fit does */
    bool tune;      /* the device measures; what fails does so while the trainer is made */
    /* what fails; at = 0: nothing */
    fake_call call;
    fake_fault fault;
    fake_library *library; /* instead of a call of CUDA: its fault.at-th one */
    bool teardown;         /* of the library's calls that tear down */
    bool no_loss;          /* the library's failure is not that of a lost device */
} fault_run_desc;

typedef struct fault_run {
    quern_status status;
    bool in_fit;           /* it was the fit that failed, or nothing did */
    bool fired;            /* the planned failure came to bear */
    int64_t step;          /* updates, if nothing failed */
    double train_loss;     /* then */
    quern_status again;    /* of making the trainer anew, where `tune` let it fail once */
    int64_t teardowns;     /* calls of the library that tear down */
    char sentence[1024];   /* of the failure */
    char warnings[4][512]; /* the first of those logged */
    int warning_count;
} fault_run;

/* A run of ten updates, each of a window of up to two batches, data from the host, evaluations and
 * saves in between. The fake device starts over with it and is checked after it:
 * nothing that no caller may do, nothing left behind, on it, on the host or in the libraries. When
 * a library's call says that the device is lost, it is: any further call but teardown is then a
 * misuse, of CUDA as of the libraries. */
void fault_run_do(fault_run *out, const fault_run_desc *desc);

#endif
