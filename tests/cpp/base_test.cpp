// Shapes, element types, small floats, CPU tiers and scratch memory.
#include <cmath>
#include <cstdint>
#include <limits>
#include <set>
#include <string>
#include <thread>

#include "base/cpu.h"
#include "base/dtype.h"
#include "base/float_types.h"
#include "base/scratch.h"
#include "base/shape.h"
#include "check.h"

namespace sx {
namespace {

constexpr int64_t kLargest = std::numeric_limits<int64_t>::max();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(shape_edits) {
  Shape shape{2, 3, 4};
  CHECK_EQ(shape.str(), "[2,3,4]");
  CHECK_EQ(shape.size(), 24);
  CHECK_EQ(shape.size(1, 3), 12);
  CHECK_EQ(shape.size(3, 3), 1);
  shape.insert(0, 5);
  shape.insert(4, 6);
  shape.insert(2, 7);
  CHECK_EQ(shape.str(), "[5,2,7,3,4,6]");
  shape.erase(2);
  shape.erase(0);
  shape.erase(3);
  CHECK(shape == Shape({2, 3, 4}));
  CHECK(Shape() == Shape({}));
  CHECK(Shape({1}) != Shape());
  CHECK_EQ(Shape().size(), 1);
  CHECK_EQ(strides_of(Shape({2, 3, 4})).str(), "[12,4,1]");
  CHECK_EQ(strides_of(Shape({2, 0, 4})).str(), "[4,4,1]");
}

TEST(shape_errors) {
  CHECK_THROWS(Shape({2, -1}).size(), "negative");
  CHECK_THROWS(Shape({kLargest, 2}).size(), "63 bits");
  CHECK_EQ(Shape({kLargest, 2, 0}).size(), 0);
  CHECK_THROWS(Shape::filled(kMaxRank + 1, 1), "at most");
  CHECK_THROWS(broadcast(Shape({2, 3}), Shape({2})), "do not broadcast");
  CHECK_THROWS(normalize_axis(3, 3), "-3..2");
  CHECK_THROWS(normalize_axis(-4, 3), "out of range");
  CHECK_THROWS(checked_add(kLargest, 1), "64 bits");
  CHECK_THROWS(checked_mul(kLargest, 2), "64 bits");
  CHECK_EQ(normalize_axis(-3, 3), 0);
}

TEST(shapes_broadcast) {
  CHECK_EQ(broadcast(Shape({2, 1, 4}), Shape({3, 1})).str(), "[2,3,4]");
  CHECK_EQ(broadcast(Shape(), Shape({5})).str(), "[5]");
  CHECK_EQ(broadcast(Shape({0}), Shape({1})).str(), "[0]");
}

TEST(dtype_tables) {
  std::set<std::string> names;
  for (int i = 1; i < kDTypeCount; ++i) {
    const DType dtype = dtype_from_onnx(i);
    CHECK(size_of(dtype) > 0);
    names.insert(name_of(dtype));
    names.insert(onnx_name_of(dtype));
  }
  CHECK_EQ(names.size(), 2 * (kDTypeCount - 1));
  CHECK_EQ(std::string(session_name_of(DType::kFloat64)), "double");
  CHECK_EQ(file_bits(DType::kInt4), 4);
  CHECK_EQ(size_of(DType::kInt4), 1);
  CHECK_THROWS(dtype_from_onnx(0), "found element type 0");
  CHECK_THROWS(dtype_from_onnx(kDTypeCount), "newer version");
  CHECK_EQ(kFloats.str(), "f32, f16, f64, bf16");
  CHECK(is_float(DType::kFloat8E5M2) && !is_float(DType::kInt8));
  CHECK(is_integer(DType::kUInt2) && !is_integer(DType::kBool));
  CHECK(is_signed_integer(DType::kInt4) && !is_signed_integer(DType::kUInt4));
}

// Every finite code survives the way to float and back; values between codes round to the nearest.
template <typename T>
void check_round_trip(int codes) {
  for (int code = 0; code < codes; ++code) {
    T from;
    from.bits = static_cast<uint8_t>(code);
    const float value = static_cast<float>(from);
    if (std::isnan(value)) {
      CHECK(std::isnan(static_cast<float>(T(value))));
    } else {
      CHECK_EQ(static_cast<int>(T::encode(value, false)), code);
    }
  }
}

TEST(small_floats) {
  check_round_trip<Float8E4M3FN>(256);
  check_round_trip<Float8E4M3FNUZ>(256);
  check_round_trip<Float8E5M2>(256);
  check_round_trip<Float8E5M2FNUZ>(256);
  check_round_trip<Float8E8M0>(256);
  check_round_trip<Float4E2M1>(16);
  CHECK_EQ(static_cast<float>(Float8E4M3FN(1e9f)), 448.0f);
  CHECK_EQ(static_cast<float>(Float8E4M3FN(-kInfinity)), -448.0f);
  CHECK_EQ(Float8E4M3FN::encode(1e9f, false), 0x7f);
  CHECK_EQ(Float8E5M2::encode(-1e9f, false), 0xfc);
  CHECK_EQ(Float8E5M2::encode(1e9f, true), 0x7b);
  CHECK_EQ(Float8E4M3FNUZ::encode(-0.0f, true), 0x00);
  CHECK_EQ(Float8E4M3FNUZ::encode(kInfinity, false), 0x80);
  CHECK_EQ(static_cast<float>(Float8E4M3FN(17.0f)), 16.0f);
  CHECK_EQ(static_cast<float>(Float8E4M3FN(19.0f)), 20.0f);
  CHECK_EQ(static_cast<float>(Float4E2M1(100.0f)), 6.0f);
  CHECK_EQ(static_cast<float>(Float4E2M1(-0.3f)), -0.5f);
  CHECK_EQ(static_cast<float>(Float8E8M0(3.1f)), 4.0f);
}

TEST(half_floats_round_trip) {
  for (int code = 0; code < 65536; ++code) {
    Float16 half;
    half.bits = static_cast<uint16_t>(code);
    BFloat16 brain;
    brain.bits = static_cast<uint16_t>(code);
    if (!is_nan(half)) CHECK_EQ(Float16(static_cast<float>(half)).bits, code);
    if (!is_nan(brain)) CHECK_EQ(BFloat16(static_cast<float>(brain)).bits, code);
  }
}

TEST(cpu_tier) {
  CHECK(active_isa() <= detected_isa());
  CHECK_EQ(std::string(name_of(Isa::kAvx512Vnni)), "avx512_vnni");
}

TEST(scratch_memory_grows_and_is_aligned) {
  for (size_t bytes : {size_t{0}, size_t{1}, size_t{100}, size_t{100000}, size_t{64}}) {
    void* memory = thread_scratch(ScratchSlot::kOperator, bytes);
    CHECK(memory != nullptr);
    CHECK_EQ(reinterpret_cast<uintptr_t>(memory) % 64, 0u);
  }
  void* here = thread_scratch(ScratchSlot::kOperator, 64);
  CHECK(here == thread_scratch(ScratchSlot::kOperator, 10));
  CHECK(here != thread_scratch(ScratchSlot::kOperator2, 10));
  void* there = here;
  std::thread([&] { there = thread_scratch(ScratchSlot::kOperator, 64); }).join();
  CHECK(here != there);
  CHECK_THROWS(thread_scratch(ScratchSlot::kOperator, ~size_t{0}), "alloc");
}

}  // namespace
}  // namespace sx
