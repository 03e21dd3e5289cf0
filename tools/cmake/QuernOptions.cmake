# What a build can choose, and the flags that every target of the tree shares.

option(QUERN_WERROR "Warnings are errors on Quern's own sources" OFF)
option(QUERN_BUILD_TESTS "Build the test suite (needs GoogleTest)" ${PROJECT_IS_TOP_LEVEL})
option(QUERN_BUILD_TOOLS "Build the command; with the tests, examples and benchmarks"
       ${PROJECT_IS_TOP_LEVEL})
option(QUERN_CUDA "Build the CUDA module" OFF)
option(QUERN_COVERAGE "Instrument for line coverage" OFF)
set(QUERN_SANITIZE "" CACHE STRING "Sanitizers, for example address,undefined or thread")

# The CPU kernels are compiled for AVX2 and FMA by default on x86-64; empty means the compiler's
# own baseline. quern_device_create refuses a processor that cannot run what was built.
set(default_arch "")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
  set(default_arch x86-64-v3)
endif()
set(QUERN_CPU_ARCH "${default_arch}" CACHE STRING "-march of the CPU kernels; empty = baseline")

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_CXX_STANDARD 17)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
add_compile_definitions(_POSIX_C_SOURCE=200809L)

# Results are the same bits whichever expressions the compiler would like to fuse.
add_compile_options($<$<COMPILE_LANGUAGE:C,CXX>:-ffp-contract=off>)

find_program(CCACHE ccache)
mark_as_advanced(CCACHE)
if(CCACHE AND NOT CMAKE_C_COMPILER_LAUNCHER)
  set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()

set(QUERN_WARNINGS -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-compare)
if(CMAKE_C_COMPILER_ID MATCHES Clang)
  # A loop that clang 14 does not vectorise where gcc does is slower, not wrong.
  list(APPEND QUERN_WARNINGS -Wno-pass-failed)
endif()
if(QUERN_WERROR)
  list(APPEND QUERN_WARNINGS -Werror)
endif()

if(QUERN_SANITIZE)
  add_compile_options("$<$<COMPILE_LANGUAGE:C,CXX>:-fsanitize=${QUERN_SANITIZE};\
-fno-sanitize-recover=all;-fno-omit-frame-pointer;-g1>")
  add_link_options(-fsanitize=${QUERN_SANITIZE})
endif()
if(QUERN_COVERAGE)
  # Only the library is counted (QuernLibrary.cmake): counting the tests' own loops trebles their
  # time.
  add_link_options(--coverage)
endif()
