# The folders of the headers that the CUDA module is compiled with: the toolkit's, and those of
# cuDNN and NCCL, which come with it, by themselves (CUDNN_ROOT, NCCL_ROOT: variables or the
# environment's), from a distribution, with Conda, or in Python's wheels: the places in which the
# module looks for the libraries when it runs (library_search.c).

# Where wheels lie: below the active environment, the user, the system, and of the interpreter that
# CMake has found.
function(quern_wheel_folders out name)
  set(folders)
  foreach(root $ENV{VIRTUAL_ENV} $ENV{CONDA_PREFIX} $ENV{HOME}/.local /usr/local /usr)
    file(GLOB found LIST_DIRECTORIES true ${root}/lib/python3*/site-packages/nvidia/${name}/include
      ${root}/lib/python3*/dist-packages/nvidia/${name}/include)
    list(APPEND folders ${found})
  endforeach()
  if(Python3_SITELIB)
    list(APPEND folders ${Python3_SITELIB}/nvidia/${name}/include)
  endif()
  set(${out} ${folders} PARENT_SCOPE)
endfunction()

# Sets `out` to the folder of `header`. A ..._ROOT that is set and does not hold it is an error, as
# is a header that is nowhere.
function(quern_find_cuda_header out header root_name wheel)
  set(root ${${root_name}})
  if(NOT root)
    set(root $ENV{${root_name}})
  endif()
  if(root)
    find_path(folder ${header} PATHS ${root}/include ${root} NO_DEFAULT_PATH NO_CACHE)
    set(where "${root_name} is ${root}")
  else()
    quern_wheel_folders(wheels ${wheel})
    find_path(folder ${header} HINTS ${CUDAToolkit_INCLUDE_DIRS} PATHS $ENV{CONDA_PREFIX}/include
      ${wheels} NO_CACHE)
    set(where "the toolkit, the system and Python's wheels do not hold it")
  endif()
  if(NOT folder)
    message(FATAL_ERROR "${header} was not found: ${where}; set ${root_name} to the folder in "
      "whose include it lies")
  endif()
  string(REGEX REPLACE "/$" "" folder ${folder}) # a script's find_path leaves one
  set(${out} ${folder} PARENT_SCOPE)
endfunction()

# Sets `out` to all of them; what was named comes before the toolkit's own.
function(quern_cuda_headers out)
  quern_find_cuda_header(cudnn cudnn.h CUDNN_ROOT cudnn)
  quern_find_cuda_header(nccl nccl.h NCCL_ROOT nccl)
  set(folders ${cudnn} ${nccl} ${CUDAToolkit_INCLUDE_DIRS})
  list(REMOVE_DUPLICATES folders)
  set(${out} ${folders} PARENT_SCOPE)
endfunction()
