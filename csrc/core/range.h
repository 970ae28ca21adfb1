// The one type that crosses between the thread pool and the kernels: a plain function pointer, so that nothing
// templated reaches the files compiled per instruction set.
#pragma once
#include <cstdint>

namespace covfast {

using RangeFn = void (*)(const void* params, int64_t begin, int64_t end);

}  // namespace covfast
