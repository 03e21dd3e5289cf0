# Where the build finds the headers of cuDNN and NCCL: cmake -DMODULE=… -DFOLDER=… -P this.
# It makes trees of empty headers and looks into them; with CASE set it is one of its own cases.
cmake_minimum_required(VERSION 3.24)

function(put)
  foreach(path ${ARGN})
    file(WRITE ${FOLDER}/${path} "")
  endforeach()
endfunction()

if(DEFINED CASE)
  include(${MODULE})
  quern_cuda_headers(found)
  message(STATUS "found ${found}")
  return()
endif()

file(REMOVE_RECURSE ${FOLDER})
set(wheels venv/lib/python3.12/site-packages/nvidia)
put(toolkit/include/cuda.h whole/include/cudnn.h whole/include/nccl.h
  cudnn/include/cudnn.h nccl/nccl.h empty/include/other.h
  ${wheels}/cudnn/include/cudnn.h ${wheels}/nccl/include/nccl.h
  conda/include/cudnn.h conda/include/nccl.h)

# run(EXPECTED arguments…): EXPECTED is a list of folders below FOLDER, or part of a failure.
function(run expected)
  execute_process(COMMAND ${CMAKE_COMMAND} -E env --unset=VIRTUAL_ENV --unset=CONDA_PREFIX
    --unset=CUDNN_ROOT --unset=NCCL_ROOT HOME=${FOLDER} ${environment}
    ${CMAKE_COMMAND} -DCASE=1 -DMODULE=${MODULE} -DFOLDER=${FOLDER} ${ARGN}
    -P ${CMAKE_CURRENT_LIST_FILE} OUTPUT_VARIABLE output ERROR_VARIABLE output)
  string(REGEX REPLACE "[ \n]+" " " output "${output}")
  string(REPLACE "${FOLDER}/" "" output "${output}")
  string(FIND "${output}" "${expected}" at)
  if(at EQUAL -1)
    message(SEND_ERROR "with ${environment} ${ARGN}: not '${expected}' but: ${output}")
  endif()
endfunction()

set(whole -DCUDAToolkit_INCLUDE_DIRS=${FOLDER}/whole/include)
set(bare -DCUDAToolkit_INCLUDE_DIRS=${FOLDER}/toolkit/include -DCMAKE_FIND_USE_CMAKE_SYSTEM_PATH=0
  -DCMAKE_FIND_USE_SYSTEM_ENVIRONMENT_PATH=0)
set(environment)
run("found whole/include" ${whole})
run("found cudnn/include;whole/include" ${whole} -DCUDNN_ROOT=${FOLDER}/cudnn)
run("found whole/include;nccl" ${whole} -DNCCL_ROOT=${FOLDER}/nccl)
run("found cudnn/include;nccl;toolkit/include" ${bare} -DCUDNN_ROOT=${FOLDER}/cudnn
  -DNCCL_ROOT=${FOLDER}/nccl)
run("cudnn.h was not found: CUDNN_ROOT is empty; set CUDNN_ROOT" ${whole}
  -DCUDNN_ROOT=${FOLDER}/empty)
run("cudnn.h was not found: the toolkit" ${bare})
set(environment CUDNN_ROOT=${FOLDER}/cudnn NCCL_ROOT=${FOLDER}/nccl)
run("found cudnn/include;nccl;toolkit/include" ${bare})
set(environment VIRTUAL_ENV=${FOLDER}/venv)
run("found ${wheels}/cudnn/include;${wheels}/nccl/include;toolkit/include" ${bare})
set(environment CONDA_PREFIX=${FOLDER}/conda)
run("found conda/include;toolkit/include" ${bare})
