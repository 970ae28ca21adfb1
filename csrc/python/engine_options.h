// How Python names what a network is to be run with.
#pragma once
#include <string>

#include "core/error.h"
#include "engine/network.h"

namespace covfast::python {

// Throws UNAVAILABLE if there is no such precision.
inline NetworkOptions network_options(const std::string& precision, bool exact) {
    const bool is_bf16 = precision == "bf16";
    COVFAST_REQUIRE(is_bf16 || precision == "fp32", UNAVAILABLE, "precision: got '", precision,
                    "', expected 'fp32' or 'bf16'");
    return {is_bf16 ? Element::kBf16 : Element::kF32, exact};
}

}  // namespace covfast::python
