// What a model says of itself beside its graph.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace sx {

struct ModelInfo {
  int64_t ir_version = 0;
  std::map<std::string, int64_t> opset_imports;  // by domain; "" is ai.onnx
  std::string producer_name;
  std::string producer_version;
  std::string domain;
  std::optional<int64_t> model_version;
  std::string doc;
  std::string graph_doc;  // the graph's name is Graph::name
  std::map<std::string, std::string> metadata;
};

}  // namespace sx
