/* rmsprop - Hinton, lecture 6e (2012), not centred; beta2 is PyTorch's alpha.
 *   v = beta2 v + (1 - beta2) g^2;   w = w - rate g / (sqrt(v) + epsilon)
 * rmsprop_momentum -  b = momentum b + g / (sqrt(v) + epsilon);   w = w - rate b
 * with decay w added to the gradient. States: v, then b. */
static inline QUERN_HD void REAL_NAME(rule_rmsprop)(REAL *w, REAL g, REAL s[1],
                                                    const RULE_CONSTANTS *h) {
    const REAL d = g + h->decay * *w;
    s[0] = h->beta2 * s[0] + h->rest2 * d * d;
    *w -= h->learning_rate * REAL_NAME(rule_ratio)(d, RULE_SQRT(s[0]) + h->epsilon);
}

static inline QUERN_HD void REAL_NAME(rule_rmsprop_momentum)(REAL *w, REAL g, REAL s[2],
                                                             const RULE_CONSTANTS *h) {
    const REAL d = g + h->decay * *w;
    s[0] = h->beta2 * s[0] + h->rest2 * d * d;
    s[1] = h->momentum * s[1] + REAL_NAME(rule_ratio)(d, RULE_SQRT(s[0]) + h->epsilon);
    *w -= h->learning_rate * s[1];
}
