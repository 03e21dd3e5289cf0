// The same library from C++17: the header compiles, the names link.
#include <quern/quern.h>

#include <cstdio>
#include <cstring>

int main(int argc, char **argv) {
    quern_device *device = nullptr;
    quern_device_desc desc = {};
    desc.kind = QUERN_DEVICE_CPU;
    const quern_status status = quern_device_create(&device, &desc);
    if (status != QUERN_OK) std::fprintf(stderr, "%s\n", quern_error());
    quern_device_destroy(device);
    return status != QUERN_OK || argc != 2 || std::strcmp(argv[1], quern_version()) != 0;
}
