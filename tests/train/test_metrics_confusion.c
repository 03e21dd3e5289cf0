/* test_metrics_confusion.c - what is read from a confusion matrix, against counting the samples one
 * by one, and scikit-learn's conventions for classes that never occur or are never predicted. */
#include "quern_test.h"
#include <quern/metric.h>

#include <math.h>

enum { CLASSES = 5, SAMPLES = 200 };
#define TOL 1e-15 /* quotients of small whole numbers */

typedef struct labelled {
    int truth[SAMPLES], guess[SAMPLES];
    double counts[CLASSES * CLASSES];
} labelled;

/* Class 3 never occurs, class 4 is never predicted; class 2 is never right. */
static void labelled_fill(labelled *l) {
    static const int occurring[] = {0, 1, 2, 4};
    *l = (labelled){0};
    uint32_t x = 1;
    for (int n = 0; n < SAMPLES; n++) {
        x = x * 1664525u + 1013904223u;
        l->truth[n] = occurring[x >> 30];
        l->guess[n] = (x >> 11 & 3) == 0 ? (int)(x >> 21 & 3) : l->truth[n];
        if (l->guess[n] == 4) l->guess[n] = 3;
        if (l->truth[n] == 2 && l->guess[n] == 2) l->guess[n] = 0;
        l->counts[l->truth[n] * CLASSES + l->guess[n]]++;
    }
}

/* 0 of 0 is not a number; otherwise within the tolerance. */
static bool same(double found, double expected) {
    return isnan(expected) ? isnan(found) : fabs(found - expected) <= TOL;
}

static quern_class_score by_samples(const labelled *l, int c) {
    double right = 0, predicted = 0, occurred = 0;
    for (int n = 0; n < SAMPLES; n++) {
        right += l->truth[n] == c && l->guess[n] == c;
        predicted += l->guess[n] == c;
        occurred += l->truth[n] == c;
    }
    const double p = right / predicted, r = right / occurred;
    /* the harmonic mean where both exist and one is above zero; else its limit */
    const double f1 = p > 0 && r > 0             ? 2 * p * r / (p + r)
                      : predicted + occurred > 0 ? 0
                                                 : (double)NAN;
    return (quern_class_score){p, r, f1, occurred};
}

TEST_CASE(MetricsConfusion, scores_are_those_of_counted_samples) {
    labelled l;
    quern_class_score found[CLASSES], expected[CLASSES];
    labelled_fill(&l);
    const quern_class_score macro = quern_confusion_scores(l.counts, CLASSES, found);
    double precision = 0, recall = 0, f1 = 0;
    for (int c = 0; c < CLASSES; c++) {
        expected[c] = by_samples(&l, c);
        CHECK(same(found[c].precision, expected[c].precision));
        CHECK(same(found[c].recall, expected[c].recall));
        CHECK(same(found[c].f1, expected[c].f1));
        CHECK(found[c].support == expected[c].support);
        if (c != 4) precision += expected[c].precision / 4;
        if (c != 3) recall += expected[c].recall / 4;
        f1 += expected[c].f1 / 5;
    }
    CHECK(isnan(expected[4].precision) && isnan(expected[3].recall) && expected[3].f1 == 0);
    CHECK(expected[2].precision == 0 && expected[2].f1 == 0 && expected[0].f1 > 0.5);
    CHECK(same(macro.precision, precision) && same(macro.recall, recall) && same(macro.f1, f1));
    CHECK(macro.support == SAMPLES);
    const quern_class_score again = quern_confusion_scores(l.counts, CLASSES, NULL);
    CHECK(again.f1 == macro.f1);
}

TEST_CASE(MetricsConfusion, rows_are_normalised_by_what_occurred) {
    labelled l;
    double shares[CLASSES * CLASSES], accuracy[CLASSES];
    labelled_fill(&l);
    quern_confusion_normalize(l.counts, CLASSES, shares);
    quern_confusion_class_accuracy(l.counts, CLASSES, accuracy);
    for (int c = 0; c < CLASSES; c++) {
        double total = 0;
        for (int p = 0; p < CLASSES; p++) {
            double of_class = 0, so_predicted = 0;
            for (int n = 0; n < SAMPLES; n++) {
                of_class += l.truth[n] == c;
                so_predicted += l.truth[n] == c && l.guess[n] == p;
            }
            CHECK(same(shares[c * CLASSES + p], so_predicted / of_class));
            total += shares[c * CLASSES + p];
        }
        CHECK(c == 3 ? isnan(total) : fabs(total - 1) <= 4 * TOL);
        CHECK(same(accuracy[c], by_samples(&l, c).recall));
        CHECK(same(shares[c * CLASSES + c], accuracy[c]));
    }
}

/* sklearn.metrics.precision_recall_fscore_support([0, 0, 1, 1, 1, 2], [0, 1, 1, 1, 0, 1]):
 * precision 1/2, 2/4, (zero division); recall 1/2, 2/3, 0; f1 1/2, 4/7, 0; support 2, 3, 1. */
TEST_CASE(MetricsConfusion, agrees_with_scikit_learns_numbers) {
    const double counts[] = {1, 1, 0, 1, 2, 0, 0, 1, 0};
    quern_class_score s[3];
    const quern_class_score macro = quern_confusion_scores(counts, 3, s);
    CHECK(same(s[0].precision, 0.5) && same(s[1].precision, 0.5) && isnan(s[2].precision));
    CHECK(same(s[0].recall, 0.5) && same(s[1].recall, 2.0 / 3) && s[2].recall == 0);
    CHECK(same(s[0].f1, 0.5) && same(s[1].f1, 4.0 / 7) && s[2].f1 == 0);
    CHECK(same(macro.precision, 0.5) && same(macro.recall, 7.0 / 18));
    CHECK(same(macro.f1, (0.5 + 4.0 / 7) / 3));
}

TEST_CASE(MetricsConfusion, of_nothing_is_not_a_number) {
    const double counts[4] = {0};
    quern_class_score s[2];
    double shares[4];
    const quern_class_score macro = quern_confusion_scores(counts, 2, s);
    quern_confusion_normalize(counts, 2, shares);
    CHECK(isnan(macro.precision) && isnan(macro.recall) && isnan(macro.f1) && macro.support == 0);
    CHECK(isnan(s[0].precision) && isnan(s[1].f1) && isnan(shares[0]) && isnan(shares[3]));
}
