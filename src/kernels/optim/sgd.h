/* sgd - w = w - rate g, with decay w added to the gradient. No state.
 * sgd_momentum - b = momentum b + g;  w = w - rate b, or with Nesterov (Sutskever et al. 2013, as
 * torch.optim.SGD has it)  w = w - rate (g + momentum b). State: b. As b starts at zero, the first
 * b is the gradient itself. */
static inline QUERN_HD void REAL_NAME(rule_sgd)(REAL *w, REAL g, REAL *s, const RULE_CONSTANTS *h) {
    (void)s;
    *w -= h->learning_rate * (g + h->decay * *w);
}

static inline QUERN_HD void REAL_NAME(rule_sgd_momentum)(REAL *w, REAL g, REAL s[1],
                                                         const RULE_CONSTANTS *h) {
    const REAL d = g + h->decay * *w;
    s[0] = h->momentum * s[0] + d;
    *w -= h->learning_rate * (h->look_ahead * d + h->behind * s[0]);
}
