#include "fiber.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__) && !defined(FIBER_ASAN)
#define FIBER_ASAN
#elif defined(__has_feature) && !defined(FIBER_ASAN)
#if __has_feature(address_sanitizer)
#define FIBER_ASAN
#endif
#endif
#ifdef FIBER_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifndef __x86_64__
#include <ucontext.h>
#endif

namespace emulation {

enum { STACK_BYTES = 64 * 1024 };

struct context {
#ifdef __x86_64__
    void *stack_pointer;
#else
    ucontext_t state;
#endif
    const void *bottom; // of the stack, for AddressSanitizer
    size_t size;
    void *fake_stack;
};

struct fiber {
    context own;
    unsigned char *stack;
    void (*entry)();
    bool ended;
};

static context outside;
static fiber *running;

#ifdef __x86_64__
// The registers that the System V ABI lets a callee keep go to the old stack and come from the new
// one. ucontext would do the same with two system calls, a hundred times slower.
extern "C" void quern_fiber_switch(void **save, void *load);
__asm__(".text\n"
        ".type quern_fiber_switch, @function\n"
        "quern_fiber_switch:\n"
        "    pushq %rbp\n    pushq %rbx\n    pushq %r12\n"
        "    pushq %r13\n    pushq %r14\n    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n    popq %r14\n    popq %r13\n"
        "    popq %r12\n    popq %rbx\n    popq %rbp\n"
        "    ret\n"
        ".size quern_fiber_switch, .-quern_fiber_switch\n");
#endif

static void switch_context(context *from, context *to, bool from_ends) {
#ifdef FIBER_ASAN
    __sanitizer_start_switch_fiber(from_ends ? nullptr : &from->fake_stack, to->bottom, to->size);
#else
    (void)from_ends;
#endif
#ifdef __x86_64__
    quern_fiber_switch(&from->stack_pointer, to->stack_pointer);
#else
    swapcontext(&from->state, &to->state);
#endif
#ifdef FIBER_ASAN
    // Back in `from`, or never.
    __sanitizer_finish_switch_fiber(from->fake_stack, nullptr, nullptr);
#endif
}

static void run_entry() {
#ifdef FIBER_ASAN
    __sanitizer_finish_switch_fiber(nullptr, &outside.bottom, &outside.size);
#endif
    running->entry();
    running->ended = true;
    switch_context(&running->own, &outside, true);
}

fiber *fiber_create() {
    fiber *f = (fiber *)calloc(1, sizeof *f);
    f->stack = (unsigned char *)malloc(STACK_BYTES);
    f->own.bottom = f->stack;
    f->own.size = STACK_BYTES;
    return f;
}

void fiber_destroy(fiber *f) {
    if (f == nullptr) return;
    free(f->stack);
    free(f);
}

void fiber_start(fiber *f, void (*entry)()) {
#ifdef FIBER_ASAN
    // An entry that was dropped half-way has left its frames' red zones on the stack.
    if (f->entry != nullptr && !f->ended) __asan_unpoison_memory_region(f->stack, STACK_BYTES);
#endif
    f->entry = entry;
    f->ended = false;
#ifdef __x86_64__
    // As if quern_fiber_switch had been called by run_entry's caller: six registers, then where to
    // return to, so that the stack is aligned at run_entry's first instruction.
    void **top = (void **)(void *)(f->stack + STACK_BYTES - 64);
    *--top = nullptr;
    *--top = (void *)run_entry;
    for (int i = 0; i < 6; i++) *--top = nullptr;
    f->own.stack_pointer = top;
#else
    getcontext(&f->own.state);
    f->own.state.uc_stack.ss_sp = f->stack;
    f->own.state.uc_stack.ss_size = STACK_BYTES;
    f->own.state.uc_link = nullptr;
    makecontext(&f->own.state, run_entry, 0);
#endif
}

void fiber_enter(fiber *f) {
    running = f;
    switch_context(&outside, &f->own, false);
    running = nullptr;
}

void fiber_leave() { switch_context(&running->own, &outside, false); }

} // namespace emulation
