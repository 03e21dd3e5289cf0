/* lion - Chen et al. 2023, algorithm 2.
 *   c = beta1 m + (1 - beta1) g;   w = w - rate (sign(c) + decay w);   m = beta2 m + (1 - beta2) g
 * sign(0) = 0. State: m. */
static inline QUERN_HD void REAL_NAME(rule_lion)(REAL *w, REAL g, REAL s[1],
                                                 const RULE_CONSTANTS *h) {
    const REAL c = h->beta1 * s[0] + h->rest1 * g;
    const REAL sign = (c > 0 ? (REAL)1 : (REAL)0) - (c < 0 ? (REAL)1 : (REAL)0);
    *w = *w * h->keep - h->learning_rate * sign;
    s[0] = h->beta2 * s[0] + h->rest2 * g;
}
