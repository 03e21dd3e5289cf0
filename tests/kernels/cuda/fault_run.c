#include "fault_run.h"

#include "quern_test.h"
#include "host/base/report.h"
#include "support/fault_host.h"
#include "support/temporary.h"
#include "train/world.h"

#include <quern/quern.h>

#include <stdio.h>
#include <string.h>

typedef struct place {
    world w;
    temporary folder;
    fault_host faults;
} place;

static void lose_all(void) {
    fake.sticky = cudaErrorIllegalAddress;
    fake_cublaslt.library.forbidden = fake_cudnn.library.forbidden = true;
}

static void note_warning(void *self, quern_log_level level, const char *sentence) {
    fault_run *out = self;
    if (level != QUERN_LOG_WARNING || out->warning_count == 4) return;
    snprintf(out->warnings[out->warning_count++], sizeof out->warnings[0], "%s", sentence);
}

static void plan(const fault_run_desc *d) {
    if (d->library != NULL) {
        if (d->fault.at > 0) d->library->fail_at = d->library->calls + d->fault.at;
        d->library->for_ever = d->fault.for_ever;
        d->library->teardown = d->teardown;
        d->library->out_of_memory = d->no_loss;
    } else {
        fake.fault[d->call] = d->fault;
        if (d->fault.at > 0) fake.fault[d->call].at += fake.count[d->call];
    }
}

static void plan_nothing(const fault_run_desc *d) {
    if (d->library != NULL)
        d->library->fail_at = 0;
    else
        fake.fault[d->call].at = 0;
}

/* The world's samples as images of 2 x 2, and a convolution before the dense layer. */
static quern_status build_convolution(world *w) {
    quern_graph *g;
    quern_graph_destroy(w->graph);
    w->graph = NULL;
    QUERN_TRY(quern_graph_create(&w->graph, w->device, NULL));
    g = w->graph;
    w->x = quern_input(
        g, &(quern_input_desc){.name = "x", .rank = 2, .dim = {QUERN_B, WORLD_FEATURES}});
    quern_tensor *h =
        quern_reshape(g, w->x, &(quern_reshape_desc){.rank = 4, .dim = {QUERN_B, 1, 2, 2}});
    for (int i = 0; i < 2; i++)
        h = quern_relu(g, quern_conv(g, h,
                                     &(quern_conv_desc){.channels = 2,
                                                        .window = {2, 2},
                                                        .conv = {.padding = {1, 1}}}));
    h = quern_dense(g, quern_flatten(g, h), &(quern_dense_desc){.units = WORLD_CLASSES});
    w->loss = quern_softmax_cross_entropy(g, h, quern_labels(g, "label"), NULL);
    w->desc.graph = g;
    w->desc.loss = w->loss;
    w->desc.metric_count = w->desc.output_count = 0;
    return quern_graph_status(g);
}

static quern_status open_world(place *p, const fault_run_desc *d) {
    QUERN_TRY(world_open(
        &p->w,
        &(world_desc){.cuda = true, .tune = d->tune, .host = p->faults.host, .valid_length = 6}));
    p->w.desc.epoch_count = 5; /* each of two windows */
    return d->images ? build_convolution(&p->w) : QUERN_OK;
}

/* What failed once is in nobody's way afterwards. */
static quern_status make(place *p, const fault_run_desc *d, fault_run *out) {
    if (d->tune) plan(d);
    const quern_status status = quern_trainer_create(&p->w.trainer, &p->w.desc);
    if (d->tune) plan_nothing(d);
    if (status == QUERN_OK || !d->tune) return status;
    snprintf(out->sentence, sizeof out->sentence, "%s", quern_error());
    out->again = quern_trainer_create(&p->w.trainer, &p->w.desc);
    return status;
}

static quern_status run(place *p, const fault_run_desc *d, fault_run *out) {
    quern_result result;
    if (!d->from_fit && !d->tune) plan(d);
    QUERN_TRY(open_world(p, d));
    p->w.desc.accumulate = 2;
    p->w.desc.resident = QUERN_RESIDENT_OFF;
    p->w.desc.no_capture = d->no_capture;
    p->w.desc.save.directory = p->folder.path;
    p->w.desc.save.every = 2;
    QUERN_TRY(make(p, d, out));
    out->in_fit = true;
    if (d->from_fit) plan(d);
    QUERN_TRY(quern_trainer_fit(p->w.trainer, &result));
    out->step = result.step;
    out->train_loss = result.train_loss;
    return QUERN_OK;
}

/* A device that could not be turned to is not there for its own teardown either. */
static void forgive_elsewhere(void) {
    if (fake.fired[FAKE_cudaSetDevice] > 0 && strstr(fake.misuse, "another device") != NULL)
        fake.misuse[0] = 0;
}

static void check_rest(fault_host *faults) {
    CHECK_TEXT(fake.misuse, "");
    CHECK_TEXT(fake_cublaslt.library.misuse, "");
    CHECK_TEXT(fake_cudnn.library.misuse, "");
    CHECK(fake_live() == 0 && fault_host_live(faults) == 0);
    CHECK(fake_cublaslt.library.live == 0 && fake_cudnn.library.live == 0);
}

void fault_run_do(fault_run *out, const fault_run_desc *desc) {
    static place p;
    memset(out, 0, sizeof *out);
    memset(&p, 0, sizeof p);
    fake_begin();
    fake.schedule = FAKE_LATE;
    fake_cublaslt_begin();
    fake_cudnn_begin();
    fake_cudnn.knobs = desc->tune ? 3 : 0;
    fake_cublaslt.library.when_lost = fake_cudnn.library.when_lost = lose_all;
    fault_host_begin(&p.faults, NULL);
    p.faults.host.log = (quern_log_sink){note_warning, out};
    if (!temporary_begin(&p.folder)) {
        CHECK_SAY(false, "no temporary folder");
        return;
    }
    fake.device_count = 2;
    if (desc->elsewhere) (void)cuda_driver.cudaSetDevice(1);
    out->status = run(&p, desc, out);
    if (out->sentence[0] == 0) snprintf(out->sentence, sizeof out->sentence, "%s", quern_error());
    world_close(&p.w);
    temporary_end(&p.folder);
    out->fired = desc->library != NULL ? desc->library->fired > 0 : fake_fired();
    if (desc->library != NULL) out->teardowns = desc->library->teardowns;
    fake.sticky = cudaSuccess;
    fake.fault[FAKE_cudaSetDevice].at = 0;
    (void)cuda_driver.cudaSetDevice(0);
    forgive_elsewhere();
    check_rest(&p.faults);
    fake_cublaslt_begin();
    fake_cudnn_begin();
    fake_begin();
    fake.schedule = FAKE_LATE;
}
