// Graphs to ONNX models.
#pragma once

#include <optional>
#include <string>

#include "ir/graph.h"
#include "onnx/model_info.h"

namespace sx {

struct ExportOptions {
  // Weights of a kilobyte or more go to a file beside the model, named like it with ".data" behind. A model of more
  // than 1.5 GB gets one in any case: other readers of ONNX stop at 2 GB.
  bool external_data = false;
  // The opset of ai.onnx to write for, kOldestExportOpset or newer: nodes are lowered to it. That of ai.onnx.ml is the
  // model's own or the older one that came with the opset, and the IR version is the lowest that goes with both.
  std::optional<int> opset{};
};
constexpr int kOldestExportOpset = 7;

// Without ExportOptions::opset the model's opset is that of `info`, or the lowest newer one in which all nodes mean
// what they mean here; 0 in `info` asks for the newest versions of all operators used. Names are kept; bodies read
// captured values by name again. Operators of our own keep their domain, "sardonyx".
//
// Throws InvalidArgument for a model of 2 GB or more, and NotImplemented with a list of all nodes that the opset asked
// for cannot hold.
std::string export_bytes(const Graph& graph, const ModelInfo& info, const ExportOptions& options = {});
// The files are replaced in one step once they are complete, so a model may be saved over itself.
void export_file(const Graph& graph, const ModelInfo& info, const std::string& path, const ExportOptions& options = {});

}  // namespace sx
