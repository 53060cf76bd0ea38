// ZipMap: rows of scores as maps from labels; CastMap and DictVectorizer: maps as dense rows
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>

#include "ops/ml_common.h"
#include "ops/registry.h"

namespace sx {
namespace {

// --- ZipMap

ClassLabels zip_labels(const NodeView& node) {
  ClassLabels labels = ClassLabels::read(node, "classlabels_int64s", "classlabels_strings");
  SX_CHECK(node, labels.size() > 0, "has no class labels");
  return labels;
}

void infer_zip_map(InferContext& c) {
  rows_of(c, 0);
  c.out(0, Type::sequence(Type::map(zip_labels(c).dtype(), DType::kFloat32)));
}

Kernel make_zip_map(Prepare& p) {
  const ClassLabels labels = zip_labels(p);
  return [keys = labels.tensor()](Run& run) {
    const Tensor& x = run.in(0);
    const Rows rows = rows_of(run, x);
    SX_CHECK(run, rows.width == keys.size(), "its input is ", x.shape().str(), "; ", keys.size(),
             " columns expected, one for each label");
    const Tensor scores = x.clone();
    std::vector<Datum> maps;
    maps.reserve(static_cast<size_t>(rows.count));
    for (int64_t row = 0; row < rows.count; ++row)
      maps.push_back(Datum::of_map({keys, Tensor(DType::kFloat32, Shape{rows.width}, scores.buffer(),
                                                 static_cast<size_t>(row * rows.width) * sizeof(float))}));
    run.set(0, Datum::of_sequence(std::move(maps)));
  };
}

// --- CastMap

double number_in(const Run& run, const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  SX_CHECK(run, end != text.c_str(), "the string '", text, "' is not a number");
  return value;
}

DType cast_target(const NodeView& node) {
  const std::string& to = node.attr_string("cast_to");
  if (to == "TO_FLOAT") return DType::kFloat32;
  if (to == "TO_INT64") return DType::kInt64;
  SX_CHECK(node, to == "TO_STRING", "cast_to is '", to, "'; TO_FLOAT, TO_INT64 or TO_STRING expected");
  return DType::kString;
}

struct CastMap {
  bool sparse;
  int64_t columns;
};

CastMap cast_map_of(const NodeView& node) {
  const std::string& form = node.attr_string("map_form");
  SX_CHECK(node, form == "DENSE" || form == "SPARSE", "map_form is '", form, "'; DENSE or SPARSE expected");
  const CastMap how{form == "SPARSE", node.attr_int("max_map")};
  SX_CHECK(node, !how.sparse || how.columns > 0, "max_map is ", how.columns, "; a positive number expected");
  return how;
}

void infer_cast_map(InferContext& c) {
  const CastMap how = cast_map_of(c);
  c.out(0, cast_target(c), SymShape{Dim(1), how.sparse ? Dim(how.columns) : Dim()});
}

// Element `from` of the map's values, converted.
void cast_value(const Run& run, const Tensor& values, int64_t from, const Tensor& y, int64_t to) {
  const bool text = values.dtype() == DType::kString;
  switch (y.dtype()) {
    case DType::kString:
      y.data<std::string>()[to] = text ? values.data<std::string>()[from] : std::to_string(values.data<float>()[from]);
      return;
    case DType::kInt64: {
      const double number = text ? number_in(run, values.data<std::string>()[from]) : values.data<float>()[from];
      SX_CHECK(run, number >= -9.2e18 && number <= 9.2e18, "the value ", number, " does not fit an int64");
      y.data<int64_t>()[to] = static_cast<int64_t>(number);
      return;
    }
    default:
      y.data<float>()[to] =
          text ? static_cast<float>(number_in(run, values.data<std::string>()[from])) : values.data<float>()[from];
  }
}

const MapData& map_in(const Run& run, DType key) {
  SX_CHECK(run, run.datum(0).kind == Datum::Kind::kMap, "its input must be a map");
  const MapData& map = *run.datum(0).map;
  SX_CHECK(run, map.keys.dtype() == key, "its map has keys of ", name_of(map.keys.dtype()), "; ", name_of(key),
           " expected");
  return map;
}

void clear(const Tensor& y) {
  if (y.dtype() != DType::kString && y.size() > 0) std::fill_n(static_cast<char*>(y.raw()), y.bytes(), char{0});
  else if (y.dtype() == DType::kString) std::fill_n(y.data<std::string>(), y.size(), std::string());
}

Kernel make_cast_map(Prepare& p) {
  const CastMap how = cast_map_of(p);
  const DType target = cast_target(p);
  return [how, target](Run& run) {
    const MapData& map = map_in(run, DType::kInt64);
    SX_CHECK(run, map.values.dtype() == DType::kString || map.values.dtype() == DType::kFloat32,
             "its map has values of ", name_of(map.values.dtype()), "; f32 or str expected");
    std::map<int64_t, int64_t> order;  // key: place
    for (int64_t i = 0; i < map.keys.size(); ++i) order[map.keys.data<int64_t>()[i]] = i;
    const Tensor& y = run.out(0, target, Shape{1, how.sparse ? how.columns : static_cast<int64_t>(order.size())});
    clear(y);
    // ONNX Runtime writes a missing text like this.
    if (target == DType::kString) std::fill_n(y.data<std::string>(), y.size(), "0.f");
    int64_t column = 0;
    for (const auto& [key, place] : order) {
      SX_CHECK(run, !how.sparse || key >= 0, "its map has the negative key ", key);
      const int64_t to = how.sparse ? key : column++;
      if (to < y.dim(1)) cast_value(run, map.values, place, y, to);
    }
  };
}

// --- DictVectorizer

ClassLabels vocabulary_of(const NodeView& node) {
  ClassLabels words = ClassLabels::read(node, "int64_vocabulary", "string_vocabulary");
  SX_CHECK(node, words.size() > 0, "has no vocabulary");
  return words;
}

void infer_dict_vectorizer(InferContext& c) {
  const auto count = static_cast<int64_t>(vocabulary_of(c).size());
  if (c.type(0).kind == Type::Kind::kMap) c.out(0, c.type(0).dtype, SymShape{Dim(1), Dim(count)});
}

template <typename Key>
void vectorize(const Tensor& words, const MapData& map, const Tensor& y) {
  std::map<Key, int64_t> places;
  for (int64_t i = 0; i < map.keys.size(); ++i) places[map.keys.data<Key>()[i]] = i;
  const size_t width = size_of(y.dtype());
  for (int64_t i = 0; i < words.size(); ++i) {
    auto found = places.find(words.data<Key>()[i]);
    if (found == places.end()) continue;
    if (y.dtype() == DType::kString) {
      y.data<std::string>()[i] = map.values.data<std::string>()[found->second];
    } else {
      const char* from = static_cast<const char*>(map.values.raw()) + static_cast<size_t>(found->second) * width;
      std::copy_n(from, width, static_cast<char*>(y.raw()) + static_cast<size_t>(i) * width);
    }
  }
}

Kernel make_dict_vectorizer(Prepare& p) {
  return [words = vocabulary_of(p).tensor()](Run& run) {
    const MapData& map = map_in(run, words.dtype());
    const Tensor& y = run.out(0, map.values.dtype(), Shape{1, words.size()});
    clear(y);
    if (words.dtype() == DType::kString) vectorize<std::string>(words, map, y);
    else vectorize<int64_t>(words, map, y);
  };
}

}  // namespace

void define_ml_maps(OpList& ops) {
  ops.add(OpDef("ZipMap", kMlDomain)
              .optional_attr("classlabels_int64s", AttrKind::kInts)
              .optional_attr("classlabels_strings", AttrKind::kStrings)
              .in("X", "", DType::kFloat32)
              .any_out("Z")
              .retains()
              .infer(infer_zip_map)
              .kernel(make_zip_map)
              .no_gradient("maps carry no gradients"));
  ops.add(OpDef("CastMap", kMlDomain)
              .attr("cast_to", "TO_FLOAT")
              .attr("map_form", "DENSE")
              .attr("max_map", 1)
              .any_in("X")
              .out("Y", "", DType::kString | DType::kFloat32 | DType::kInt64)
              .infer(infer_cast_map)
              .kernel(make_cast_map)
              .no_gradient("maps carry no gradients"));
  ops.add(OpDef("DictVectorizer", kMlDomain)
              .optional_attr("int64_vocabulary", AttrKind::kInts)
              .optional_attr("string_vocabulary", AttrKind::kStrings)
              .any_in("X")
              .out("Y", "", DType::kInt64 | DType::kFloat32 | DType::kFloat64 | DType::kString)
              .infer(infer_dict_vectorizer)
              .kernel(make_dict_vectorizer)
              .no_gradient("maps carry no gradients"));
}

}  // namespace sx
