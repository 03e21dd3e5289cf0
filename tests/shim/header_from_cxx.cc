// The public header as a C++17 application sees it: it compiles, and the names link as C.
#include <quern/quern.h>

#include "quern_test.h"

TEST_CASE(Shim, public_header_works_from_cxx) {
    CHECK_TEXT(quern_status_name(QUERN_OK), "QUERN_OK");
}
