// fiber.h - what a thread of an emulated block runs on: a stack of its own, left and entered again
// by hand. AddressSanitizer is told of every switch.
#ifndef QUERN_TESTS_FIBER_H
#define QUERN_TESTS_FIBER_H

#include <stddef.h>

namespace emulation {

struct fiber;

fiber *fiber_create();
void fiber_destroy(fiber *f);
// entry() runs on the fiber at the next fiber_enter; what was left of an earlier one is dropped.
void fiber_start(fiber *f, void (*entry)());
// From outside: runs the fiber until it leaves or its entry() returns.
void fiber_enter(fiber *f);
// From inside the fiber that runs: back to fiber_enter's caller, until it is entered again.
void fiber_leave();

} // namespace emulation

#endif
