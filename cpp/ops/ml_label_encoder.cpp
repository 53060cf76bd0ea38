// LabelEncoder: y = values[place of x in keys]; CategoryMapper: strings and numbers swapped; OneHotEncoder: y[.., place
// of x] = 1
#include <algorithm>

#include "ops/ml_categories.h"
#include "ops/registry.h"
#include "ops/upgrade.h"

namespace sx {
namespace {

constexpr DTypeSet kCodes =
    DType::kString | DType::kInt64 | DType::kFloat32 | DType::kInt32 | DType::kInt16 | DType::kFloat64;

// y[i] = values[place], the last of the values standing for what is not known.
void look_up(const CategoryIndex& index, const Tensor& values, const Tensor& x, const Tensor& y) {
  const int64_t unknown = values.size() - 1;
  const size_t width = size_of(values.dtype());
  parallel_for(x.size(), 2048, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t found = index.find(x, i);
      const int64_t place = found < 0 ? unknown : found;
      if (values.dtype() == DType::kString) {
        y.data<std::string>()[i] = values.data<std::string>()[place];
      } else {
        const char* from = static_cast<const char*>(values.raw()) + static_cast<size_t>(place) * width;
        std::copy_n(from, width, static_cast<char*>(y.raw()) + static_cast<size_t>(i) * width);
      }
    }
  });
}

Kernel lookup_kernel(const NodeView& node, DType input, const Tensor& keys, const Tensor& values) {
  auto index = std::make_shared<const CategoryIndex>(keys);
  SX_CHECK(node, index->accepts(input), "its input is ", name_of(input), " and its keys are ", name_of(keys.dtype()));
  return [index, values](Run& run) { look_up(*index, values, run.in(0), run.out(0, run.in(0).shape())); };
}

// `list` with one more element.
Tensor with_default(const Tensor& list, const Tensor& last) {
  const int64_t size = list.size();
  Tensor all(list.dtype(), Shape{checked_add(size, 1)});
  if (list.dtype() == DType::kString) {
    std::copy_n(list.data<std::string>(), size, all.data<std::string>());
    all.data<std::string>()[size] = *last.data<std::string>();
  } else {
    char* to = static_cast<char*>(all.raw());
    std::copy_n(static_cast<const char*>(list.raw()), list.bytes(), to);
    std::copy_n(static_cast<const char*>(last.raw()), last.bytes(), to + list.bytes());
  }
  return all;
}

// --- LabelEncoder

// The list that is given as keys or values: strings, int64s, floats or a tensor.
Tensor code_list(const NodeView& node, const std::string& stem) {
  const auto texts = node.attr_or(stem + "_strings", std::vector<std::string>());
  const std::vector<int64_t> ints = ints_attr(node, stem + "_int64s");
  const std::vector<float> floats = floats_attr(node, stem + "_floats");
  const bool tensor = node.has_attr(stem + "_tensor");
  const int given = !texts.empty() + !ints.empty() + !floats.empty() + tensor;
  SX_CHECK(node, given == 1, "gives its ", stem, " in ", given, " attributes; exactly one of ", stem, "_strings, ",
           stem, "_int64s, ", stem, "_floats and ", stem, "_tensor expected");
  auto length = [](const auto& list) { return Shape{static_cast<int64_t>(list.size())}; };
  if (!texts.empty()) return Tensor::of(length(texts), texts);
  if (!ints.empty()) return Tensor::of(length(ints), ints);
  if (!floats.empty()) return Tensor::of(length(floats), floats);
  const Tensor& list = node.attr<Tensor>(stem + "_tensor");
  SX_CHECK(node, kCodes.has(list.dtype()), "attribute '", stem, "_tensor' is ", name_of(list.dtype()), "; ",
           kCodes.str(), " expected");
  return list;
}

Tensor default_code(const NodeView& node, DType dtype) {
  if (node.has_attr("default_tensor")) {
    const Tensor& given = node.attr<Tensor>("default_tensor");
    SX_CHECK(node, given.dtype() == dtype && given.size() == 1, "default_tensor is ", name_of(given.dtype()),
             given.shape().str(), "; one ", name_of(dtype), " expected");
    return given;
  }
  switch (dtype) {
    case DType::kString: return Tensor::scalar(node.attr_string("default_string"));
    case DType::kInt64: return Tensor::scalar(node.attr_int("default_int64"));
    case DType::kInt32: return Tensor::scalar<int32_t>(-1);
    case DType::kInt16: return Tensor::scalar<int16_t>(-1);
    case DType::kFloat64: return Tensor::scalar<double>(node.attr_float("default_float"));
    default: return Tensor::scalar(node.attr_float("default_float"));
  }
}

std::optional<SymShape> shape_of(const InferContext& c) { return c.type(0).shape; }

void infer_label_encoder(InferContext& c) { c.out(0, code_list(c, "values").dtype(), shape_of(c)); }

Kernel make_label_encoder(Prepare& p) {
  const Tensor keys = code_list(p, "keys");
  const Tensor values = code_list(p, "values");
  SX_CHECK(p, keys.size() == values.size(), "has ", keys.size(), " keys and ", values.size(),
           " values; as many of each expected");
  return lookup_kernel(p, p.dtype(0), keys, with_default(values, default_code(p, values.dtype())));
}

// LabelEncoder-1 numbers a list of strings, in both directions.
void number_classes(UpgradeContext& c) {
  const auto classes = c.take("classes_strings", std::vector<std::string>());
  std::vector<int64_t> numbers;
  for (size_t i = 0; i < classes.size(); ++i) numbers.push_back(static_cast<int64_t>(i));
  const bool from_text = c.has_input(0) && c.input(0).type.dtype == DType::kString;
  c.set(from_text ? "keys_strings" : "values_strings", classes);
  c.set(from_text ? "values_int64s" : "keys_int64s", numbers);
}

// --- CategoryMapper

void infer_category_mapper(InferContext& c) {
  c.out(0, c.dtype(0) == DType::kString ? DType::kInt64 : DType::kString, shape_of(c));
}

Kernel make_category_mapper(Prepare& p) {
  const std::vector<int64_t> ints = ints_attr(p, "cats_int64s");
  const auto texts = p.attr_or("cats_strings", std::vector<std::string>());
  SX_CHECK(p, ints.size() == texts.size(), "has ", ints.size(), " cats_int64s and ", texts.size(),
           " cats_strings; as many of each expected");
  const Shape length{static_cast<int64_t>(ints.size())};
  const Tensor numbers = Tensor::of(length, ints);
  const Tensor names = Tensor::of(length, texts);
  if (p.dtype(0) == DType::kString)
    return lookup_kernel(p, DType::kString, names, with_default(numbers, Tensor::scalar(p.attr_int("default_int64"))));
  return lookup_kernel(p, DType::kInt64, numbers, with_default(names, Tensor::scalar(p.attr_string("default_string"))));
}

// --- OneHotEncoder

ClassLabels categories_of(const NodeView& node) {
  ClassLabels categories = ClassLabels::read(node, "cats_int64s", "cats_strings");
  SX_CHECK(node, categories.size() > 0, "has no categories");
  return categories;
}

void infer_one_hot(InferContext& c) {
  const auto count = static_cast<int64_t>(categories_of(c).size());
  std::optional<SymShape> shape = shape_of(c);
  if (shape) shape->push_back(Dim(count));
  c.out(0, DType::kFloat32, shape);
}

// The elements as int64; a number that int64 cannot hold belongs to no category.
bool as_category(const Tensor& x, int64_t i, int64_t* value) {
  switch (x.dtype()) {
    case DType::kInt64: *value = x.data<int64_t>()[i]; return true;
    case DType::kInt32: *value = x.data<int32_t>()[i]; return true;
    default: {
      const double number =
          x.dtype() == DType::kFloat32 ? static_cast<double>(x.data<float>()[i]) : x.data<double>()[i];
      if (!(number > -9.2e18 && number < 9.2e18)) return false;
      *value = static_cast<int64_t>(number);
      return true;
    }
  }
}

Kernel make_one_hot(Prepare& p) {
  const ClassLabels categories = categories_of(p);
  SX_CHECK(p, (categories.dtype() == DType::kString) == (p.dtype(0) == DType::kString), "its input is ",
           name_of(p.dtype(0)), " and its categories are ", name_of(categories.dtype()));
  auto index = std::make_shared<const CategoryIndex>(categories.tensor());
  const bool zeros = p.attr_int("zeros") != 0;
  return [index, zeros, count = static_cast<int64_t>(categories.size())](Run& run) {
    const Tensor& x = run.in(0);
    Shape shape = x.shape();
    shape.push_back(count);
    float* y = run.out(0, shape).data<float>();
    parallel_for(x.size(), std::max<int64_t>(1, 16384 / (count + 8)), [&](int64_t begin, int64_t end) {
      std::fill(y + begin * count, y + end * count, 0.0f);
      for (int64_t i = begin; i < end; ++i) {
        int64_t place = -1, number;
        if (x.dtype() == DType::kString) place = index->find(x, i);
        else if (as_category(x, i, &number)) place = index->find(number);
        if (place < 0 && !zeros) run.error("element ", i, " is in none of its ", count, " categories, and zeros is 0");
        if (place >= 0) y[i * count + place] = 1.0f;
      }
    });
  };
}

}  // namespace

void define_ml_label_encoder(OpList& ops) {
  OpDef encoder("LabelEncoder", kMlDomain);
  encoder.since(4).attr("default_string", "_Unused").attr("default_int64", -1).attr("default_float", -0.0f);
  encoder.optional_attr("default_tensor", AttrKind::kTensor);
  for (const std::string stem : {"keys", "values"}) {
    encoder.optional_attr(stem + "_strings", AttrKind::kStrings)
        .optional_attr(stem + "_int64s", AttrKind::kInts)
        .optional_attr(stem + "_floats", AttrKind::kFloats)
        .optional_attr(stem + "_tensor", AttrKind::kTensor);
  }
  ops.add(encoder.in("X", "", kCodes)
              .out("Y", "", kCodes)
              .infer(infer_label_encoder)
              .kernel(make_label_encoder)
              .zero_gradient()
              .upgrade(2, number_classes));
  ops.add(OpDef("CategoryMapper", kMlDomain)
              .optional_attr("cats_int64s", AttrKind::kInts)
              .optional_attr("cats_strings", AttrKind::kStrings)
              .attr("default_int64", -1)
              .attr("default_string", "_Unused")
              .in("X", "", kMlLabels)
              .out("Y", "", kMlLabels)
              .infer(infer_category_mapper)
              .kernel(make_category_mapper));
  ops.add(OpDef("OneHotEncoder", kMlDomain)
              .optional_attr("cats_int64s", AttrKind::kInts)
              .optional_attr("cats_strings", AttrKind::kStrings)
              .attr("zeros", 1)
              .in("X", "", kMlNumbers | DType::kString)
              .out("Y", "", DType::kFloat32)
              .infer(infer_one_hot)
              .kernel(make_one_hot)
              .zero_gradient());
}

}  // namespace sx
