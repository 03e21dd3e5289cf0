# cmake --install: headers, both libraries, the CMake package and quern.pc.

include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/quern)

install(DIRECTORY include/quern DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  FILES_MATCHING PATTERN "*.h" PATTERN "*.def")
install(TARGETS quern EXPORT quernTargets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${QUERN_STATIC_ARCHIVE} DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT quernTargets NAMESPACE quern:: DESTINATION ${package_dir})

if(QUERN_TENSORBOARD)
  set(tensorboard_requires ", libprotobuf-c, libisal")
  set(tensorboard_links "protobuf-c;isal;")
endif()
configure_package_config_file(tools/cmake/quernConfig.cmake.in quernConfig.cmake
  INSTALL_DESTINATION ${package_dir} PATH_VARS CMAKE_INSTALL_LIBDIR CMAKE_INSTALL_INCLUDEDIR)
write_basic_package_version_file(quernConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/quernConfig.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/quernConfigVersion.cmake DESTINATION ${package_dir})

# ${pcfiledir} keeps the file true when the prefix is moved or overridden at install time.
file(RELATIVE_PATH pc_prefix
  ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" pc_prefix "${pc_prefix}")
configure_file(tools/cmake/quern.pc.in quern.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/quern.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
