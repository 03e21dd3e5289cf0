# What the library stands on. Only what is linked is looked for.

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
find_package(ZLIB REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson>=2.13)

# Checkpoint digests; its header is compiled in, nothing is linked.
find_path(QUERN_XXHASH_INCLUDE xxhash.h REQUIRED)
mark_as_advanced(QUERN_XXHASH_INCLUDE)

# TensorBoard event files: protobuf-c packs the records, ISA-L computes their checksums.
pkg_check_modules(PROTOBUF_C IMPORTED_TARGET libprotobuf-c)
pkg_check_modules(ISAL IMPORTED_TARGET libisal)
find_program(PROTOC_C protoc-c)
mark_as_advanced(PROTOC_C)
set(found OFF)
if(PROTOBUF_C_FOUND AND ISAL_FOUND AND PROTOC_C)
  set(found ON)
endif()
option(QUERN_TENSORBOARD "TensorBoard event files (needs protobuf-c and ISA-L)" ${found})
if(QUERN_TENSORBOARD AND NOT found)
  message(FATAL_ERROR "QUERN_TENSORBOARD=ON needs libprotobuf-c, libisal and protoc-c "
                      "(tools/deps.sh installs them); or configure with QUERN_TENSORBOARD=OFF")
endif()
message(STATUS "TensorBoard event files: ${QUERN_TENSORBOARD}")

# The serial OpenBLAS, linked statically and hidden: a private copy that neither starts threads nor
# clashes with a BLAS of the application's own. QUERN_BLAS_ROOT names another installation.
set(QUERN_BLAS_ROOT "" CACHE PATH "Prefix of a serial OpenBLAS; empty = search the system")
find_path(QUERN_BLAS_INCLUDE cblas.h
  HINTS ${QUERN_BLAS_ROOT}/include
  PATH_SUFFIXES openblas-serial ${CMAKE_LIBRARY_ARCHITECTURE}/openblas-serial
  REQUIRED NO_CMAKE_FIND_ROOT_PATH)
find_library(QUERN_BLAS_ARCHIVE NAMES libopenblas.a
  HINTS ${QUERN_BLAS_ROOT}/lib
  PATH_SUFFIXES openblas-serial ${CMAKE_LIBRARY_ARCHITECTURE}/openblas-serial
  REQUIRED NO_CMAKE_FIND_ROOT_PATH)
mark_as_advanced(QUERN_BLAS_INCLUDE QUERN_BLAS_ARCHIVE)
message(STATUS "Private BLAS: ${QUERN_BLAS_ARCHIVE}")
