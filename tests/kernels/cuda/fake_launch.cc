// Emulated kernels on the fake device: a launch goes through the driver's table, into its stream's
// queue or the graph that it captures, and runs when its turn comes.
#include "emulation.h"

#include "fake_launch.h"

quern_status emulation::launch(quern_stream *stream, dim3 grid, dim3 block, size_t shared_bytes,
                               void (*body)(void *), const void *context, size_t context_bytes) {
    fake_closure c = {
        {grid.x, grid.y, grid.z}, {block.x, block.y, block.z}, shared_bytes, body, {0}};
    if (context_bytes > sizeof c.context)
        return quern_fail(QUERN_INTERNAL, "a launch with %zu bytes of arguments", context_bytes);
    memcpy(c.context, context, context_bytes);
    return fake_closure_issue(stream, &c);
}

quern_status fake_closure_run(fake_closure *c) {
    return emulation::launch_run(dim3(c->grid[0], c->grid[1], c->grid[2]),
                                 dim3(c->block[0], c->block[1], c->block[2]), c->shared_bytes,
                                 c->body, c->context);
}
