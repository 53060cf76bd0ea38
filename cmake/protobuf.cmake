# Protobuf's lite runtime, compiled from source and linked statically, and the ONNX messages: target onnx_proto.
# The sources come out of a Python source package, so that pip (and the mirror it is set up for) can fetch them.
set(package grpcio-tools-1.53.2)
set(package_hash 1b10f95d1f4af2b9d63c9beccf386b3a5e1a92f14b3f64a9a8385b6ba091e0dc)

set(protobuf_source ${SARDONYX_PROTOBUF_SOURCE})
if(NOT protobuf_source)
  set(download ${CMAKE_CURRENT_BINARY_DIR}/download)
  set(protobuf_source ${download}/${package}/third_party/protobuf)
  if(NOT EXISTS ${download}/${package}.complete)
    message(STATUS "Fetching the protobuf sources")
    string(REGEX REPLACE "^(.*)-([0-9.]+)$" "\\1==\\2" requirement ${package})
    file(WRITE ${download}/requirements.txt "${requirement} --hash=sha256:${package_hash}\n")
    execute_process(
      COMMAND ${Python_EXECUTABLE} -m pip download --quiet --no-deps --no-binary :all: --no-build-isolation
              --require-hashes --requirement ${download}/requirements.txt --dest ${download}
      RESULT_VARIABLE status)
    if(NOT status EQUAL 0)
      message(FATAL_ERROR "pip could not fetch ${package}, which carries the protobuf sources. With a network, install "
              "what [build-system] of pyproject.toml requires (setuptools<80 among it); without one, pass "
              "-DSARDONYX_PROTOBUF_SOURCE=DIR, the folder of a protobuf 3.21 source tree that holds src/.")
    endif()
    file(ARCHIVE_EXTRACT INPUT ${download}/${package}.tar.gz DESTINATION ${download}
         PATTERNS "${package}/third_party/protobuf/src/google/protobuf/*")
    file(TOUCH ${download}/${package}.complete)
  endif()
endif()
set(protobuf_include ${protobuf_source}/src)
if(NOT EXISTS ${protobuf_include}/google/protobuf/message_lite.h)
  message(FATAL_ERROR "No src/google/protobuf/message_lite.h under ${protobuf_source}: SARDONYX_PROTOBUF_SOURCE must be "
          "the folder of a protobuf 3.21 source tree.")
endif()

set(protobuf_files
    any_lite arena arenastring arenaz_sampler extension_set generated_enum_util generated_message_tctable_lite
    generated_message_util implicit_weak_message inlined_string_field map message_lite parse_context repeated_field
    repeated_ptr_field wire_format_lite
    io/coded_stream io/io_win32 io/strtod io/zero_copy_stream io/zero_copy_stream_impl io/zero_copy_stream_impl_lite
    stubs/bytestream stubs/common stubs/int128 stubs/status stubs/statusor stubs/stringpiece stubs/stringprintf
    stubs/structurally_valid stubs/strutil stubs/time)
list(TRANSFORM protobuf_files PREPEND ${protobuf_include}/google/protobuf/)
list(TRANSFORM protobuf_files APPEND .cc)

# The message definitions come out of the onnx package, a build requirement; finding it does not import it.
execute_process(
  COMMAND ${Python_EXECUTABLE} -c
          "import importlib.util as u; print(u.find_spec('onnx').submodule_search_locations[0], end='')"
  OUTPUT_VARIABLE onnx_folder COMMAND_ERROR_IS_FATAL ANY)
set(generated ${CMAKE_CURRENT_BINARY_DIR}/generated)
file(MAKE_DIRECTORY ${generated})
add_custom_command(
  OUTPUT ${generated}/onnx-ml.pb.cc ${generated}/onnx-ml.pb.h
  COMMAND ${Python_EXECUTABLE} -m protoc --proto_path=${onnx_folder} --cpp_out=${generated} onnx-ml.proto
  DEPENDS ${onnx_folder}/onnx-ml.proto
  VERBATIM)

add_library(onnx_proto STATIC ${protobuf_files} ${generated}/onnx-ml.pb.cc ${generated}/onnx-ml.pb.h)
target_compile_options(onnx_proto PRIVATE -w)
target_compile_definitions(onnx_proto PRIVATE HAVE_PTHREAD=1)
target_include_directories(onnx_proto SYSTEM PUBLIC ${protobuf_include} ${generated})
target_link_libraries(onnx_proto PUBLIC Threads::Threads)
if(SARDONYX_SANITIZE)
  target_compile_options(onnx_proto PRIVATE -fno-sanitize=undefined)
endif()
