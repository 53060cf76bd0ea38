// Protobuf's wire format: a reader over bytes in memory, which copies nothing, and a writer.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"

namespace sx {

// Walks the fields of one message. Throws InvalidProtobuf where the bytes are not a message. Messages of any size are
// read: there is no 2 GB limit.
class WireReader {
 public:
  enum class Kind { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

  explicit WireReader(std::string_view bytes) : at_(bytes.data()), end_(bytes.data() + bytes.size()) {}

  // Moves to the next field; false at the end of the message.
  bool next() {
    while (at_ < end_) {
      const uint64_t tag = read_varint();
      field_ = static_cast<int>(tag >> 3);
      if (tag >> 32 != 0 || field_ == 0) damaged();
      switch (tag & 7) {
        case 0:
          kind_ = Kind::kVarint;
          number_ = read_varint();
          return true;
        case 1:
          kind_ = Kind::kFixed64;
          number_ = read_fixed(8);
          return true;
        case 2:
          kind_ = Kind::kBytes;
          bytes_ = take(read_varint());
          return true;
        case 5:
          kind_ = Kind::kFixed32;
          number_ = read_fixed(4);
          return true;
        default: damaged();  // groups have never been part of ONNX
      }
    }
    return false;
  }

  int field() const { return field_; }
  Kind kind() const { return kind_; }
  bool is_bytes() const { return kind_ == Kind::kBytes; }
  std::string_view bytes() const { return bytes_; }  // only where is_bytes()

  // Each stores the field when it has the right kind; like every field that is not known, others are passed over.
  void get(int64_t& to) const {
    if (kind_ == Kind::kVarint) to = static_cast<int64_t>(number_);
  }
  void get(int& to) const {
    if (kind_ == Kind::kVarint) to = static_cast<int>(static_cast<uint32_t>(number_));
  }
  void get(float& to) const {
    if (kind_ != Kind::kFixed32) return;
    const auto bits = static_cast<uint32_t>(number_);
    std::memcpy(&to, &bits, sizeof(to));
  }
  void get(std::string& to) const {
    if (is_bytes()) to = std::string(bytes_);
  }
  // Repeated fields; numbers may come packed or one by one.
  void get(std::vector<std::string>& to) const {
    if (is_bytes()) to.emplace_back(bytes_);
  }
  void get(std::vector<int64_t>& to) const {
    if (is_bytes()) {
      WireReader packed(bytes_);
      while (packed.at_ < packed.end_) to.push_back(static_cast<int64_t>(packed.read_varint()));
    } else if (kind_ == Kind::kVarint) {
      to.push_back(static_cast<int64_t>(number_));
    }
  }
  void get(std::vector<float>& to) const {
    if (is_bytes()) {
      if (bytes_.size() % sizeof(float) != 0) damaged();
      const size_t count = bytes_.size() / sizeof(float);
      to.resize(to.size() + count);
      if (count > 0) std::memcpy(to.data() + to.size() - count, bytes_.data(), bytes_.size());
    } else if (kind_ == Kind::kFixed32) {
      to.emplace_back();
      get(to.back());
    }
  }

  // For the bytes of a packed field.
  bool done() const { return at_ == end_; }
  uint64_t number() const { return number_; }
  uint64_t read_varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (at_ == end_) damaged();
      const auto byte = static_cast<uint8_t>(*at_++);
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    damaged();
  }
  uint64_t read_fixed(size_t size) {
    const std::string_view from = take(size);
    uint64_t value = 0;
    std::memcpy(&value, from.data(), size);
    return value;
  }

 private:
  std::string_view take(uint64_t size) {
    if (size > static_cast<uint64_t>(end_ - at_)) damaged();
    const std::string_view taken(at_, static_cast<size_t>(size));
    at_ += size;
    return taken;
  }
  [[noreturn]] static void damaged() {
    fail(ErrorKind::kInvalidProtobuf, "the model is truncated or damaged: its bytes are not a protobuf message");
  }

  const char* at_;
  const char* end_;
  int field_ = 0;
  Kind kind_ = Kind::kVarint;
  uint64_t number_ = 0;
  std::string_view bytes_;
};

// Appends fields to a message. Large contents may be referred to instead of copied: such memory must outlive the
// writer.
class WireWriter {
 public:
  size_t size() const { return text_.size() + referred_; }

  void number(int field, int64_t value) {
    tag(field, 0);
    varint(static_cast<uint64_t>(value));
  }
  void real(int field, float value) {
    char bits[sizeof(value)];
    std::memcpy(bits, &value, sizeof(value));
    tag(field, 5);
    text_.append(bits, sizeof(value));
  }
  void bytes(int field, std::string_view value) {
    tag(field, 2);
    varint(value.size());
    text_.append(value);
  }
  void refer(int field, std::string_view value) {
    tag(field, 2);
    varint(value.size());
    parts_.emplace_back(text_.size(), value);
    referred_ += value.size();
  }
  // Left out when empty.
  void name(int field, const std::string& value) {
    if (!value.empty()) bytes(field, value);
  }
  void message(int field, const WireWriter& message) {
    tag(field, 2);
    varint(message.size());
    for (const auto& [at, part] : message.parts_) parts_.emplace_back(text_.size() + at, part);
    referred_ += message.referred_;
    text_.append(message.text_);
  }
  void packed(int field, const std::vector<int64_t>& values) {
    WireWriter list;
    for (int64_t value : values) list.varint(static_cast<uint64_t>(value));
    bytes(field, list.text_);
  }

  // Calls sink(string_view) with the message's pieces in order.
  template <typename F>
  void write(F&& sink) const {
    size_t from = 0;
    for (const auto& [at, part] : parts_) {
      sink(std::string_view(text_).substr(from, at - from));
      sink(part);
      from = at;
    }
    sink(std::string_view(text_).substr(from));
  }

 private:
  void tag(int field, int kind) { varint(static_cast<uint64_t>(field) << 3 | static_cast<uint64_t>(kind)); }
  void varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) text_ += static_cast<char>(value | 0x80);
    text_ += static_cast<char>(value);
  }

  std::string text_;
  std::vector<std::pair<size_t, std::string_view>> parts_;  // contents that belong before a position of text_
  size_t referred_ = 0;
};

}  // namespace sx
