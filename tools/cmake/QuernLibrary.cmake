# Packs quern_objects three ways.
#   quern           libquern.so, soname, only the QUERN_API symbols are visible
#   quern_static    libquern.a, one relocatable object with the private BLAS inside: everything but
#                   quern_* is made local, so an application may link its own BLAS beside it
#   quern_internal  an archive of the plain objects, for the tests: they reach internal functions;
#                   the private BLAS stands beside it in a shared library, quern_blas

target_include_directories(quern_objects PUBLIC
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:include>)
target_include_directories(quern_objects SYSTEM PRIVATE
  ${QUERN_BLAS_INCLUDE} ${QUERN_XXHASH_INCLUDE})
target_compile_definitions(quern_objects PRIVATE QUERN_BUILD)
target_compile_options(quern_objects PRIVATE ${QUERN_WARNINGS})
target_link_libraries(quern_objects PRIVATE Threads::Threads ZLIB::ZLIB PkgConfig::JANSSON)
if(QUERN_COVERAGE)
  # Counters are updated by several threads at once.
  target_compile_options(quern_objects PRIVATE --coverage -fprofile-update=atomic -g1)
endif()
if(QUERN_TENSORBOARD)
  # Made here, in the folder of the target, because a custom command does not reach beyond its own.
  set(schema ${CMAKE_CURRENT_BINARY_DIR}/schema)
  set(proto_dir ${PROJECT_SOURCE_DIR}/src/host/train/callbacks)
  file(MAKE_DIRECTORY ${schema})
  add_custom_command(OUTPUT ${schema}/tensorboard.pb-c.c ${schema}/tensorboard.pb-c.h
    COMMAND ${PROTOC_C} --c_out=${schema} --proto_path=${proto_dir} tensorboard.proto
    DEPENDS ${proto_dir}/tensorboard.proto VERBATIM COMMENT "Generating the event schema")
  target_sources(quern_objects PRIVATE ${schema}/tensorboard.pb-c.c ${schema}/tensorboard.pb-c.h)
  set_source_files_properties(${schema}/tensorboard.pb-c.c PROPERTIES COMPILE_OPTIONS -w)
  target_include_directories(quern_objects SYSTEM PRIVATE ${schema})
  set(tensorboard_libraries PkgConfig::PROTOBUF_C PkgConfig::ISAL)
  target_link_libraries(quern_objects PRIVATE ${tensorboard_libraries})
endif()
if(QUERN_CPU_ARCH STREQUAL "x86-64-v3")
  target_compile_definitions(quern_objects PRIVATE QUERN_CPU_ARCH_V3)
endif()

# Only the kernels are compiled for a named processor; the rest of the library runs anywhere, so
# that it can say what the processor lacks.
get_target_property(sources quern_objects SOURCES)
list(FILTER sources INCLUDE REGEX "/src/kernels/cpu/")
# Value-preserving, and without them gcc does not vectorise selects and sqrtf: nobody reads the
# floating-point exception flags or errno.
set(kernel_options -fno-trapping-math -fno-math-errno
  "$<$<CONFIG:Release,RelWithDebInfo>:-O3>")
if(QUERN_CPU_ARCH)
  list(APPEND kernel_options -march=${QUERN_CPU_ARCH})
endif()
set_source_files_properties(${sources} PROPERTIES COMPILE_OPTIONS "${kernel_options}")

set(private_libraries ZLIB::ZLIB PkgConfig::JANSSON ${tensorboard_libraries} Threads::Threads m
    ${CMAKE_DL_LIBS})

# The serial BLAS is made safe for several threads: src/kernels/cpu/blas_memory.c says how and why.
set(blas_wrap --wrap=blas_memory_alloc --wrap=blas_memory_free -u __wrap_blas_memory_alloc)
list(JOIN blas_wrap "," blas_wrap_link)
set(blas_wrap_link "-Wl,${blas_wrap_link}")

add_library(quern SHARED $<TARGET_OBJECTS:quern_objects>)
add_library(quern::quern ALIAS quern)
set_target_properties(quern PROPERTIES
  VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}
  LINKER_LANGUAGE C)
target_include_directories(quern PUBLIC
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:include>)
target_link_libraries(quern PRIVATE ${QUERN_BLAS_ARCHIVE} ${private_libraries})
target_link_options(quern PRIVATE -Wl,--exclude-libs,ALL -Wl,--as-needed ${blas_wrap_link})
if(NOT QUERN_SANITIZE)
  target_link_options(quern PRIVATE -Wl,--no-undefined)
endif()

# The tests share one copy of the private BLAS; a copy in each would be some 25 MB an executable.
add_library(quern_blas SHARED src/kernels/cpu/blas_memory.c)
set_target_properties(quern_blas PROPERTIES OUTPUT_NAME quern-blas LINKER_LANGUAGE C)
target_link_libraries(quern_blas PRIVATE ${QUERN_BLAS_ARCHIVE} Threads::Threads m)
target_link_options(quern_blas PRIVATE ${blas_wrap_link} -Wl,-u,cblas_sgemm,-u,cblas_dgemm)

add_library(quern_internal STATIC $<TARGET_OBJECTS:quern_objects>)
set_target_properties(quern_internal PROPERTIES LINKER_LANGUAGE C OUTPUT_NAME quern-internal)
target_include_directories(quern_internal PUBLIC
  ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)
target_link_libraries(quern_internal PUBLIC quern_blas ${private_libraries})

set(QUERN_STATIC_ARCHIVE ${CMAKE_CURRENT_BINARY_DIR}/libquern.a)
add_custom_command(OUTPUT ${QUERN_STATIC_ARCHIVE}
  COMMAND ${CMAKE_COMMAND} -E rm -f ${QUERN_STATIC_ARCHIVE}
  COMMAND ${CMAKE_LINKER} -r ${blas_wrap} -o quern.o $<TARGET_OBJECTS:quern_objects>
          ${QUERN_BLAS_ARCHIVE}
  COMMAND ${CMAKE_OBJCOPY} --wildcard --keep-global-symbol=quern_* quern.o
  COMMAND ${CMAKE_AR} rcs ${QUERN_STATIC_ARCHIVE} quern.o
  DEPENDS quern_objects $<TARGET_OBJECTS:quern_objects>
  COMMAND_EXPAND_LISTS VERBATIM COMMENT "Packing libquern.a with its private BLAS")
add_custom_target(quern_static_archive ALL DEPENDS ${QUERN_STATIC_ARCHIVE})
