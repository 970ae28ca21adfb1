// The check of an op's epilogue; not for files compiled per instruction set.
#pragma once
#include "core/error.h"
#include "kernels/epilogue.h"

namespace covfast {

// Throws VALUE_RANGE if an operand is missing or memory is shared that may not be.
inline void check_epilogue(const Epilogue& e, const void* y) {
    COVFAST_REQUIRE(e.kind == EpilogueKind::kNone || e.kind == EpilogueKind::kLeaky || e.kind == EpilogueKind::kSigmoid,
                    VALUE_RANGE, "epilogue: got kind ", static_cast<int>(e.kind), ", expected 0 to 2");
    COVFAST_REQUIRE(e.kind != EpilogueKind::kLeaky || e.slope != nullptr, VALUE_RANGE,
                    "epilogue: got kLeaky without a slope, expected one slope for each channel");
    COVFAST_REQUIRE((e.other == nullptr) == (e.total == nullptr), VALUE_RANGE,
                    "epilogue: got one of other and total, expected both or neither");
    COVFAST_REQUIRE(e.total == nullptr || e.total != y, VALUE_RANGE,
                    "epilogue: got y as total, expected memory of its own");
}

}  // namespace covfast
