// "Did you mean" for misspelt names.
#pragma once

#include <string>
#include <vector>

namespace sx {

// "; did you mean 'x'?" for the known name nearest to `name` by edit distance, or "" when none is near.
std::string suggestion(const std::string& name, const std::vector<std::string>& known);

}  // namespace sx
