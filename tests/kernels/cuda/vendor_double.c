/* vendor_double.c - a library as a vendor ships it: one that needs a sibling beside it, and the
 * sibling (VENDOR_SIBLING). */
#ifdef VENDOR_SIBLING
int quern_sibling_number(void);
int quern_sibling_number(void) { return 41; }
#else
int quern_sibling_number(void);
int quern_vendor_number(void);
int quern_vendor_number(void) { return quern_sibling_number() + 1; }
#endif
