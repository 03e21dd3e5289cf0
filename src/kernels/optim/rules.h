/* rules.h - the element-wise update rules, each one scalar function in a file of its own:
 *
 *     rule(w, g, s, h)   w  the parameter, changed in place
 *                        g  its gradient, as rule_gradient gives it: scaled and clipped
 *                        s  its states, changed in place; zero before the first update
 *                        h  the hyper-parameters, below
 *
 * Both backends compile these files: a source defines REAL (float or double) and REAL_NAME(x)
 * before it includes this header, once for each type. Hence no include guard. Every rule follows
 * PyTorch's definition (torch.optim), its defaults for dampening, amsgrad and centred aside. Every
 * element is independent of all others, and each rule leaves (0, 0, 0) as it is, so that padding
 * stays zero. */
#include "../../host/base/random.h"
#include <math.h>
#include <quern/update.h>

#define RULE_CONSTANTS REAL_NAME(rule_constants)
#define RULE_SQRT(x) (sizeof(REAL) == sizeof(float) ? (REAL)sqrtf((float)(x)) : (REAL)sqrt(x))

/* quern_hyper for one segment, rounded to REAL once and not for every element. */
typedef struct RULE_CONSTANTS {
    REAL gradient_scale, clip_value;
    REAL learning_rate;              /* the segment's scale included */
    REAL decay;                      /* weight decay, the segment's scale included */
    REAL keep;                       /* 1 - learning_rate * decay */
    REAL beta1, rest1, beta2, rest2; /* rest = 1 - beta */
    REAL step;                       /* learning_rate / (1 - beta1^n) */
    REAL root;                       /* sqrt(1 / (1 - beta2^n)) */
    REAL epsilon, momentum;
    REAL look_ahead; /* Nesterov: 1 of the gradient itself, else 0 */
    REAL behind;     /* Nesterov: momentum of the buffer, else 1 */
} RULE_CONSTANTS;

static inline QUERN_HD RULE_CONSTANTS REAL_NAME(rule_constants_of)(const quern_hyper *h,
                                                                   const quern_segment *segment) {
    const double rate = h->learning_rate * (double)segment->learning_rate_scale;
    const double decay = h->weight_decay * (double)segment->weight_decay_scale;
    RULE_CONSTANTS c;
    c.gradient_scale = (REAL)h->gradient_scale;
    c.clip_value = (REAL)h->clip_value;
    c.learning_rate = (REAL)rate;
    c.decay = (REAL)decay;
    c.keep = (REAL)(1.0 - rate * decay);
    c.beta1 = (REAL)h->beta1;
    c.rest1 = (REAL)(1.0 - h->beta1);
    c.beta2 = (REAL)h->beta2;
    c.rest2 = (REAL)(1.0 - h->beta2);
    c.step = (REAL)(rate * h->correct1);
    c.root = (REAL)sqrt(h->correct2);
    c.epsilon = (REAL)h->epsilon;
    c.momentum = (REAL)h->momentum;
    c.look_ahead = h->nesterov ? (REAL)1 : (REAL)0;
    c.behind = h->nesterov ? (REAL)h->momentum : (REAL)1;
    return c;
}

/* What a rule is given of a gradient: the scale of the clip by norm, then the limits of the clip by
 * value (torch.nn.utils.clip_grad_norm_, then clip_grad_value_). */
static inline QUERN_HD REAL REAL_NAME(rule_gradient)(REAL gradient, const RULE_CONSTANTS *h) {
    const REAL g = gradient * h->gradient_scale;
    const REAL below = g > h->clip_value ? h->clip_value : g;
    return below < -h->clip_value ? -h->clip_value : below;
}

/* x / y for y >= 0, and 0 for y = 0: with epsilon 0 an element that never had a gradient (padding,
 * a dead unit) would otherwise become 0 / 0. */
static inline QUERN_HD REAL REAL_NAME(rule_ratio)(REAL x, REAL y) {
    return x / (y == 0 ? (REAL)1 : y);
}

#include "adagrad.h"
#include "adam.h"
#include "lion.h"
#include "rmsprop.h"
#include "sgd.h"

#undef RULE_CONSTANTS
#undef RULE_SQRT
