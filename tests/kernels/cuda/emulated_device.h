/* emulated_device.h - lets a test of the CPU device run on the emulated one instead: it is included
 * before everything else, and a device that is created then has the CUDA tasks and update rules.
 * What the tests vary as the number of threads is the order of blocks and threads here. */
#ifndef QUERN_TESTS_EMULATED_DEVICE_H
#define QUERN_TESTS_EMULATED_DEVICE_H

#define quern_device_create emulated_device_create
#define quern_device_destroy emulated_device_destroy

#endif
