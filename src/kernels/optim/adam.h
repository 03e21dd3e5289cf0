/* adam - Kingma & Ba 2015, algorithm 1; adamw - Loshchilov & Hutter 2019, algorithm 2.
 *   m = beta1 m + (1 - beta1) g;   v = beta2 v + (1 - beta2) g^2
 *   w = w - rate m^ / (sqrt(v^) + epsilon),   x^ = x / (1 - beta^n)
 * Adam adds decay w to the gradient; AdamW multiplies w by 1 - rate decay first. States: m, v. */
static inline QUERN_HD void REAL_NAME(rule_adam_step)(REAL *w, REAL g, REAL s[2],
                                                      const RULE_CONSTANTS *h) {
    s[0] = h->beta1 * s[0] + h->rest1 * g;
    s[1] = h->beta2 * s[1] + h->rest2 * g * g;
    *w -= h->step * REAL_NAME(rule_ratio)(s[0], RULE_SQRT(s[1]) * h->root + h->epsilon);
}

static inline QUERN_HD void REAL_NAME(rule_adam)(REAL *w, REAL g, REAL s[2],
                                                 const RULE_CONSTANTS *h) {
    REAL_NAME(rule_adam_step)(w, g + h->decay * *w, s, h);
}

static inline QUERN_HD void REAL_NAME(rule_adamw)(REAL *w, REAL g, REAL s[2],
                                                  const RULE_CONSTANTS *h) {
    *w *= h->keep;
    REAL_NAME(rule_adam_step)(w, g, s, h);
}
