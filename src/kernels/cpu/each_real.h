/* each_real.h - one source for both real types.
 *
 * A kernel's file defines REAL_FILE as itself and includes this header, which includes the file
 * twice more, once with REAL float and once with REAL double; what it then defines under
 * `#ifdef REAL` is named REAL_NAME(x): x_f32, x_f64. */
#define REAL float
#define REAL_NAME(name) name##_f32
#include REAL_FILE
#undef REAL
#undef REAL_NAME
#define REAL double
#define REAL_NAME(name) name##_f64
#include REAL_FILE
#undef REAL
#undef REAL_NAME
