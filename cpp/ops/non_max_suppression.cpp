// selected_indices = (batch, class, box) of the boxes by falling score that overlap no better one by more than
// iou_threshold.
#include <algorithm>

#include "ops/infer.h"
#include "ops/kernel.h"
#include "ops/registry.h"

namespace sx {
namespace {

void infer_non_max_suppression(InferContext& c) {
  SX_CHECK(c, c.rank(0) < 0 || c.rank(0) == 3, "boxes is ", c.type(0).str(), "; rank 3 expected");
  SX_CHECK(c, c.rank(1) < 0 || c.rank(1) == 3, "scores is ", c.type(1).str(), "; rank 3 expected");
  c.out(0, DType::kInt64, SymShape{Dim(), Dim(3)});
}

struct Box {
  float x_low, y_low, x_high, y_high, area;
};

Box box_of(const float* from, bool center) {
  Box box{};
  if (center) {
    box = {from[0] - from[2] / 2, from[1] - from[3] / 2, from[0] + from[2] / 2, from[1] + from[3] / 2, 0};
  } else {
    box = {std::min(from[1], from[3]), std::min(from[0], from[2]), std::max(from[1], from[3]),
           std::max(from[0], from[2]), 0};
  }
  box.area = (box.x_high - box.x_low) * (box.y_high - box.y_low);
  return box;
}

bool overlap(const Box& a, const Box& b, float threshold) {
  const float width = std::min(a.x_high, b.x_high) - std::max(a.x_low, b.x_low);
  const float height = std::min(a.y_high, b.y_high) - std::max(a.y_low, b.y_low);
  if (!(width > 0) || !(height > 0)) return false;
  const float both = width * height;
  const float either = a.area + b.area - both;
  return both > 0 && a.area > 0 && b.area > 0 && either > 0 && both / either > threshold;
}

struct Candidate {
  float score;
  int64_t box;
  // The best candidate is the greatest; of equal scores the first box.
  bool operator<(const Candidate& other) const { return score != other.score ? score < other.score : box > other.box; }
};

float threshold_of(const Run& run, int i, float otherwise) {
  if (!run.has(i) || run.in(i).size() == 0) return otherwise;
  return static_cast<float>(run.in(i).scalar_as_double());
}

Kernel make_non_max_suppression(Prepare& p) {
  const bool center = p.attr_int("center_point_box") != 0;
  return [center](Run& run) {
    const Tensor& boxes = run.in(0);
    const Tensor& scores = run.in(1);
    SX_CHECK(run, boxes.rank() == 3 && boxes.dim(2) == 4, "boxes has shape ", boxes.shape().str(),
             "; [N,B,4] expected");
    SX_CHECK(run, scores.rank() == 3 && scores.dim(0) == boxes.dim(0) && scores.dim(2) == boxes.dim(1),
             "scores has shape ", scores.shape().str(), " for boxes of shape ", boxes.shape().str(),
             "; [N,C,B] expected");
    const int64_t most = run.has(2) && run.in(2).size() > 0 ? std::max<int64_t>(run.in(2).scalar_as_int(), 0) : 0;
    const float iou_threshold = threshold_of(run, 3, 0);
    SX_CHECK(run, iou_threshold >= 0 && iou_threshold <= 1, "iou_threshold is ", iou_threshold, "; expected 0..1");
    const float score_threshold = threshold_of(run, 4, -std::numeric_limits<float>::infinity());
    const bool filters = run.has(4) && run.in(4).size() > 0;
    const int64_t classes = scores.dim(1);
    const int64_t count = boxes.dim(1);
    std::vector<std::vector<int64_t>> selected(static_cast<size_t>(most > 0 ? scores.dim(0) * classes : 0));
    parallel_for(static_cast<int64_t>(selected.size()), std::max<int64_t>(2048 / std::max<int64_t>(count, 1), 1),
                 [&](int64_t begin, int64_t end) {
                   std::vector<Candidate> heap;
                   std::vector<Box> kept;
                   for (int64_t row = begin; row < end; ++row) {
                     const float* score = scores.data<float>() + row * count;
                     const float* box = boxes.data<float>() + row / classes * count * 4;
                     heap.clear();
                     kept.clear();
                     for (int64_t i = 0; i < count; ++i)
                       if (filters ? score[i] > score_threshold : score[i] == score[i]) heap.push_back({score[i], i});
                     std::make_heap(heap.begin(), heap.end());
                     std::vector<int64_t>& chosen = selected[static_cast<size_t>(row)];
                     while (!heap.empty() && static_cast<int64_t>(chosen.size()) < most) {
                       std::pop_heap(heap.begin(), heap.end());
                       const int64_t index = heap.back().box;
                       heap.pop_back();
                       const Box candidate = box_of(box + index * 4, center);
                       if (std::any_of(kept.begin(), kept.end(),
                                       [&](const Box& better) { return overlap(candidate, better, iou_threshold); }))
                         continue;
                       kept.push_back(candidate);
                       chosen.push_back(index);
                     }
                   }
                 });
    int64_t total = 0;
    for (const auto& chosen : selected) total += static_cast<int64_t>(chosen.size());
    int64_t* to = run.out(0, Shape{total, 3}).data<int64_t>();
    for (size_t row = 0; row < selected.size(); ++row) {
      for (int64_t index : selected[row]) {
        *to++ = static_cast<int64_t>(row) / classes;
        *to++ = static_cast<int64_t>(row) % classes;
        *to++ = index;
      }
    }
  };
}

}  // namespace

void define_non_max_suppression(OpList& ops) {
  ops.add(OpDef("NonMaxSuppression")
              .since(11, 10)
              .attr("center_point_box", 0)
              .in("boxes", "", DType::kFloat32)
              .in("scores", "", DType::kFloat32)
              .optional_in("max_output_boxes_per_class", "", DType::kInt64)
              .optional_in("iou_threshold", "", DType::kFloat32)
              .optional_in("score_threshold", "", DType::kFloat32)
              .out("selected_indices", "", DType::kInt64)
              .infer(infer_non_max_suppression)
              .kernel(make_non_max_suppression));
}

}  // namespace sx
