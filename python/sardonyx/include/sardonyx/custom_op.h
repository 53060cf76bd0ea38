// The interface between Sardonyx and libraries of operators: plain C, so that every compiler and language will do.
//
// A library exports one function,
//
// SX_EXPORT int SardonyxRegisterOperators(const SxApi* api, SxRegistry* registry);
//
// which calls api->add_operator() for each operator and returns SX_OK. It is loaded with
// sardonyx.load_operators(path), or for one session with SessionOptions.register_custom_ops_library(path).
// C++ has less to write with custom_op.hpp, which lies beside this file.
//
// Functions that return int give SX_OK, SX_MISSING (what was asked for is not there) or SX_ERROR. A callback that fails
// says why with `return api->fail("...")`. No exception may leave a callback. Whatever a function points into belongs
// to Sardonyx and lives until the callback returns.
#ifndef SARDONYX_CUSTOM_OP_H_
#define SARDONYX_CUSTOM_OP_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Grows when a structure changes other than by fields of SxApi that are added at its end.
#define SX_CUSTOM_OP_ABI 1

#if defined(_WIN32)
#define SX_EXPORT __declspec(dllexport)
#else
#define SX_EXPORT __attribute__((visibility("default")))
#endif

enum { SX_OK = 0, SX_MISSING = 1, SX_ERROR = 2 };

// Element types, numbered as in ONNX's TensorProto.DataType. Elements narrower than a byte take one each.
enum {
  SX_UNKNOWN = 0,
  SX_FLOAT32 = 1,
  SX_UINT8 = 2,
  SX_INT8 = 3,
  SX_UINT16 = 4,
  SX_INT16 = 5,
  SX_INT32 = 6,
  SX_INT64 = 7,
  SX_STRING = 8,
  SX_BOOL = 9,
  SX_FLOAT16 = 10,
  SX_FLOAT64 = 11,
  SX_UINT32 = 12,
  SX_UINT64 = 13,
  SX_COMPLEX64 = 14,
  SX_COMPLEX128 = 15,
  SX_BFLOAT16 = 16,
  SX_FLOAT8E4M3FN = 17,
  SX_FLOAT8E4M3FNUZ = 18,
  SX_FLOAT8E5M2 = 19,
  SX_FLOAT8E5M2FNUZ = 20,
  SX_UINT4 = 21,
  SX_INT4 = 22,
  SX_FLOAT4E2M1 = 23,
  SX_FLOAT8E8M0 = 24,
  SX_UINT2 = 25,
  SX_INT2 = 26,
  SX_FLOAT6E2M3 = 27,
  SX_FLOAT6E3M2 = 28
};

typedef struct SxRegistry SxRegistry;  // where a library puts its operators
typedef struct SxNode SxNode;          // a node of a model: its attributes and what is known of its inputs
typedef struct SxRun SxRun;            // one run of a node

// A contiguous row-major tensor. `data` is NULL for strings; see SxApi.get_string and set_string.
typedef struct SxTensor {
  int32_t dtype;
  int32_t rank;
  const int64_t* dims;
  int64_t size;  // number of elements
  void* data;    // not to be written to in an input or attribute
} SxTensor;

// The type of a tensor before a run. `dtype` is SX_UNKNOWN and `rank` -1 where they are not known. An extent that is
// negative is not known: -1 says nothing, and equal numbers below -1 stand for equal extents, which is why they should
// be handed on to outputs as they are.
typedef struct SxType {
  int32_t dtype;
  int32_t rank;
  const int64_t* dims;
} SxType;

typedef struct SxApi SxApi;

typedef struct SxOperator {
  uint32_t abi;  // SX_CUSTOM_OP_ABI
  const char* domain;
  const char* name;
  int32_t since_version;           // the version of the domain that brought the operator in this form
  int32_t min_inputs, max_inputs;  // -1: any number; absent optional inputs count
  int32_t min_outputs, max_outputs;
  int32_t pure;  // not 0: the same inputs always give the same outputs, so it may be computed ahead of a run
  void* user;    // handed to every callback

  // Sets the types of the outputs; called with what is known at load, and again for given shapes. May be NULL: then
  // types are known when a run comes there.
  int (*infer)(const SxApi* api, SxNode* node, void* user);
  // Makes what `compute` needs: reads attributes, checks types. May be NULL: then `state` is `user`.
  int (*create)(const SxApi* api, const SxNode* node, void* user, void** state);
  // Computes the outputs. Several threads may be in it at a time, with the same state.
  int (*compute)(const SxApi* api, SxRun* run, void* state);
  // Frees what `create` made. May be NULL.
  void (*destroy)(void* state);
} SxOperator;

struct SxApi {
  uint32_t abi;   // SX_CUSTOM_OP_ABI
  uint32_t size;  // sizeof(SxApi); fields behind it are not there

  int (*add_operator)(SxRegistry* registry, const SxOperator* op);  // `op` is copied
  // Keeps the message for the callback that this thread is in; returns SX_ERROR.
  int (*fail)(const char* message);

  // Nodes. An attribute of another kind is SX_ERROR.
  int32_t (*input_count)(const SxNode* node);
  int32_t (*output_count)(const SxNode* node);
  int (*input_type)(const SxNode* node, int32_t index, SxType* type);       // SX_MISSING: absent
  int (*set_output_type)(SxNode* node, int32_t index, const SxType* type);  // in `infer` only
  int (*get_int)(const SxNode* node, const char* name, int64_t* value);
  int (*get_float)(const SxNode* node, const char* name, float* value);
  int (*get_text)(const SxNode* node, const char* name, const char** data, size_t* length);
  int (*get_ints)(const SxNode* node, const char* name, const int64_t** values, size_t* count);
  int (*get_floats)(const SxNode* node, const char* name, const float** values, size_t* count);
  int (*get_text_at)(const SxNode* node, const char* name, size_t index, const char** data, size_t* length);
  int (*get_tensor)(const SxNode* node, const char* name, SxTensor* tensor);

  // Runs.
  int (*input)(SxRun* run, int32_t index, SxTensor* tensor);  // SX_MISSING: absent
  // Memory for an output, uninitialised (strings are empty). SX_MISSING: nobody wants this output.
  int (*output)(SxRun* run, int32_t index, int32_t dtype, int32_t rank, const int64_t* dims, SxTensor* tensor);
  // An element of a tensor of strings, which is an input of this run.
  int (*get_string)(SxRun* run, int32_t input, int64_t index, const char** data, size_t* length);
  int (*set_string)(SxRun* run, int32_t output, int64_t index, const char* data, size_t length);
  // Calls body(user, begin, end) for parts of 0..count of at least `grain`, on several threads; returns when all are
  // done. `body` must not call the interface.
  void (*parallel_for)(int64_t count, int64_t grain, void (*body)(void* user, int64_t begin, int64_t end), void* user);
};

// What a library exports.
SX_EXPORT int SardonyxRegisterOperators(const SxApi* api, SxRegistry* registry);

#ifdef __cplusplus
}
#endif

#endif  // SARDONYX_CUSTOM_OP_H_
