// Graphs to ONNX models.
#pragma once

#include <string>

#include "ir/graph.h"
#include "onnx/model_info.h"

namespace sx {

struct ExportOptions {
  // Weights of a kilobyte or more go to a file beside the model, named like it with ".data" behind. A model of more
  // than 1.5 GB gets one in any case: other readers of ONNX stop at 2 GB.
  bool external_data = false;
};

// The model's opset is that of `info`, or the lowest newer one in which all nodes mean what they mean here; 0 in `info`
// asks for the newest versions of all operators used. Names are kept; bodies read captured values by name again.
// Operators of our own keep their domain, "sardonyx".
//
// Throws InvalidArgument for a model of 2 GB or more.
std::string export_bytes(const Graph& graph, const ModelInfo& info);
// The files are replaced in one step once they are complete, so a model may be saved over itself.
void export_file(const Graph& graph, const ModelInfo& info, const std::string& path, const ExportOptions& options = {});

}  // namespace sx
