/* adagrad - Duchi, Hazan & Singer 2011, diagonal form, without learning-rate decay.
 *   v = v + g^2;   w = w - rate g / (sqrt(v) + epsilon)
 * with decay w added to the gradient. State: v. */
static inline QUERN_HD void REAL_NAME(rule_adagrad)(REAL *w, REAL g, REAL s[1],
                                                    const RULE_CONSTANTS *h) {
    const REAL d = g + h->decay * *w;
    s[0] += d * d;
    *w -= h->learning_rate * REAL_NAME(rule_ratio)(d, RULE_SQRT(s[0]) + h->epsilon);
}
