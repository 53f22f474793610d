// Which kernels run on this processor.
#pragma once

#include <string_view>
#include <vector>

#include "kernels.hpp"

namespace ggufjac {

// The tables of this build that this processor can run, best first; never empty.
const std::vector<const Kernels*>& runnable_kernels();

// The table of that name, or nullptr; an empty name means the best.
const Kernels* find_kernels(std::string_view isa);

// The names of all tables in this build, runnable here or not.
std::vector<const char*> compiled_isas();

}  // namespace ggufjac
