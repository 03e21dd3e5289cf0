/* module.h - finds and opens the CUDA backend's shared library. */
#ifndef QUERN_DEVICE_MODULE_H
#define QUERN_DEVICE_MODULE_H

#include "../../kernels/module.h"

/* NO_DEVICE with the loader's own words when the module is nowhere or does not load; UNSUPPORTED
 * when it was built for another version. It stays loaded until the process ends. */
QUERN_MUST_CHECK quern_status module_open(const quern_backend **out);
/* Whether there is one, be it one that does not load. */
bool module_is_there(void);
/* The same, for what the module has beside a device. */
QUERN_MUST_CHECK quern_status module_tools_open(const module_tools **out);

#endif
