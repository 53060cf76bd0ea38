/* An operator in plain C: com.acme::CountWords, the number of words in each string. */
#include <sardonyx/custom_op.h>

static int infer(const SxApi* api, SxNode* node, void* user) {
  SxType type;
  (void)user;
  if (api->input_type(node, 0, &type) != SX_OK) return api->fail("the input is absent");
  if (type.dtype != SX_STRING && type.dtype != SX_UNKNOWN) return api->fail("the input holds no strings");
  type.dtype = SX_INT64;
  return api->set_output_type(node, 0, &type);
}

static int64_t words_in(const char* text, size_t length) {
  int64_t words = 0;
  int inside = 0;
  for (size_t i = 0; i < length; ++i) {
    const int space = text[i] == ' ' || text[i] == '\t' || text[i] == '\n';
    words += !space && !inside;
    inside = !space;
  }
  return words;
}

static int compute(const SxApi* api, SxRun* run, void* state) {
  SxTensor x, y;
  int status = api->input(run, 0, &x);
  (void)state;
  if (status != SX_OK) return status;
  status = api->output(run, 0, SX_INT64, x.rank, x.dims, &y);
  for (int64_t i = 0; status == SX_OK && i < x.size; ++i) {
    const char* text = NULL;
    size_t length = 0;
    status = api->get_string(run, 0, i, &text, &length);
    if (status == SX_OK) ((int64_t*)y.data)[i] = words_in(text, length);
  }
  return status;
}

int SardonyxRegisterOperators(const SxApi* api, SxRegistry* registry) {
  SxOperator op = {0};
  op.abi = SX_CUSTOM_OP_ABI;
  op.domain = "com.acme";
  op.name = "CountWords";
  op.since_version = 1;
  op.min_inputs = op.max_inputs = op.min_outputs = op.max_outputs = 1;
  op.pure = 1;
  op.infer = infer;
  op.compute = compute;
  return api->add_operator(registry, &op);
}
