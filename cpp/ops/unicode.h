// UTF-8 and Unicode's simple case mapping, the same on every machine whatever its locale.
#pragma once

#include <cstdint>
#include <string>

namespace sx {

// The code point at text[at], and `at` moved behind it. A byte that is not part of valid UTF-8 is one code point of its
// own, kInvalidByte + the byte, so that nothing is lost.
constexpr uint32_t kInvalidByte = 0x110000;
uint32_t next_code_point(const std::string& text, size_t& at);
// Appends a code point as next_code_point() reads it.
void append_code_point(std::string& text, uint32_t code_point);

uint32_t to_lower(uint32_t code_point);
uint32_t to_upper(uint32_t code_point);
std::string to_lower(const std::string& text);
std::string to_upper(const std::string& text);
bool is_white_space(uint32_t code_point);

}  // namespace sx
