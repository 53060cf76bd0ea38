// Scaler: (x - offset) * scale; Imputer: x, or a given value where x is missing; Binarizer: x > threshold.
#include <cmath>

#include "ops/ml_common.h"
#include "ops/registry.h"

namespace sx {
namespace {

constexpr int64_t kGrain = 16384;

// The features of x, over which one list of parameters repeats.
int64_t features_of(const Run& run, const Tensor& x) {
  SX_CHECK(run, x.rank() > 0, "its input is a scalar; [rows, features] expected");
  return x.rank() == 1 ? x.dim(0) : x.dim(1);
}

template <typename In, typename Out, typename Map>
void map_features(const Tensor& x, const Tensor& y, int64_t features, const Map& map) {
  const In* from = x.data<In>();
  Out* to = y.data<Out>();
  parallel_for(x.size(), kGrain, [&](int64_t begin, int64_t end) {
    int64_t feature = begin % features;
    for (int64_t i = begin; i < end; ++i) {
      to[i] = map(from[i], feature);
      if (++feature == features) feature = 0;
    }
  });
}

// Calls body with a value of the element type.
template <typename Body>
void with_number(DType dtype, const Body& body) {
  switch (dtype) {
    case DType::kFloat32: return body(float{});
    case DType::kFloat64: return body(double{});
    case DType::kInt64: return body(int64_t{});
    default: return body(int32_t{});
  }
}

Kernel make_scaler(Prepare& p) {
  std::vector<float> scale = floats_attr(p, "scale");
  std::vector<float> offset = floats_attr(p, "offset");
  SX_CHECK(p, !scale.empty() && scale.size() == offset.size(), "scale has ", scale.size(), " entries and offset ",
           offset.size(), "; as many of each expected");
  return [scale, offset](Run& run) {
    const Tensor& x = run.in(0);
    const int64_t features = features_of(run, x);
    const Tensor& y = run.out(0, x.shape());
    if (x.size() == 0) return;
    const auto given = static_cast<int64_t>(scale.size());
    SX_CHECK(run, given == 1 || given == features, "scale has ", given, " entries; 1 or ", features, " expected");
    with_number(x.dtype(), [&](auto zero) {
      using T = decltype(zero);
      map_features<T, float>(x, y, given, [&](T value, int64_t k) {
        const auto at = static_cast<size_t>(k);
        return static_cast<float>((value - offset[at]) * scale[at]);
      });
    });
  };
}

template <typename T>
void impute(const Tensor& x, const Tensor& y, T missing, const std::vector<T>& values) {
  const bool missing_is_nan = missing != missing;
  map_features<T, T>(x, y, static_cast<int64_t>(values.size()), [&](T value, int64_t k) {
    return value == missing || (missing_is_nan && value != value) ? values[static_cast<size_t>(k)] : value;
  });
}

template <typename T, typename V>
std::vector<T> converted(const std::vector<V>& values) {
  std::vector<T> result;
  for (V value : values) result.push_back(static_cast<T>(value));
  return result;
}

Kernel make_imputer(Prepare& p) {
  const bool real = p.dtype(0) == DType::kFloat32 || p.dtype(0) == DType::kFloat64;
  const std::vector<float> floats = floats_attr(p, "imputed_value_floats");
  const std::vector<int64_t> ints = ints_attr(p, "imputed_value_int64s");
  const size_t given = real ? floats.size() : ints.size();
  SX_CHECK(p, given > 0, "has no imputed_value_", real ? "floats" : "int64s", " for an input of ", name_of(p.dtype(0)));
  const float missing_float = p.attr_float("replaced_value_float");
  const int64_t missing_int = p.attr_int("replaced_value_int64");
  if (p.dtype(0) == DType::kInt32)
    for (int64_t value : ints) SX_CHECK(p, value >= INT32_MIN && value <= INT32_MAX, "imputes ", value, " into int32");
  return [=](Run& run) {
    const Tensor& x = run.in(0);
    const int64_t features = features_of(run, x);
    const Tensor& y = run.out(0, x.shape());
    if (x.size() == 0) return;
    SX_CHECK(run, given == 1 || static_cast<int64_t>(given) == features, "imputes ", given, " values; 1 or ", features,
             " expected");
    switch (x.dtype()) {
      case DType::kFloat32: return impute<float>(x, y, missing_float, floats);
      case DType::kFloat64: return impute<double>(x, y, missing_float, converted<double>(floats));
      case DType::kInt64: return impute<int64_t>(x, y, missing_int, ints);
      default: {
        // A marker that int32 cannot hold marks nothing.
        if (missing_int >= INT32_MIN && missing_int <= INT32_MAX)
          return impute<int32_t>(x, y, static_cast<int32_t>(missing_int), converted<int32_t>(ints));
        std::copy_n(x.data<int32_t>(), x.size(), y.data<int32_t>());
      }
    }
  };
}

Kernel make_binarizer(Prepare& p) {
  return [threshold = p.attr_float("threshold")](Run& run) {
    const Tensor& x = run.in(0);
    const Tensor& y = run.out(0, x.shape());
    with_number(x.dtype(), [&](auto zero) {
      using T = decltype(zero);
      map_features<T, T>(x, y, INT64_MAX, [&](T value, int64_t) { return static_cast<T>(value > threshold ? 1 : 0); });
    });
  };
}

void infer_scaler(InferContext& c) {
  c.out(0, DType::kFloat32, c.has_shape(0) ? std::optional<SymShape>(c.shape(0)) : std::nullopt);
}

}  // namespace

void define_ml_scaler(OpList& ops) {
  ops.add(OpDef("Scaler", kMlDomain)
              .optional_attr("offset", AttrKind::kFloats)
              .optional_attr("scale", AttrKind::kFloats)
              .in("X", "T", kMlNumbers)
              .out("Y", "", DType::kFloat32)
              .infer(infer_scaler)
              .kernel(make_scaler)
              .no_gradient("a classical model is fitted by the library that made it, here it only predicts"));
  ops.add(OpDef("Imputer", kMlDomain)
              .optional_attr("imputed_value_floats", AttrKind::kFloats)
              .optional_attr("imputed_value_int64s", AttrKind::kInts)
              .attr("replaced_value_float", 0.0f)
              .attr("replaced_value_int64", 0)
              .in("X", "T", kMlNumbers)
              .out("Y", "T")
              .in_place({0})
              .infer(same_as(0))
              .kernel(make_imputer)
              .no_gradient("a classical model is fitted by the library that made it, here it only predicts"));
  ops.add(OpDef("Binarizer", kMlDomain)
              .attr("threshold", 0.0f)
              .in("X", "T", kMlNumbers)
              .out("Y", "T")
              .in_place({0})
              .infer(same_as(0))
              .kernel(make_binarizer)
              .zero_gradient());
}

}  // namespace sx
