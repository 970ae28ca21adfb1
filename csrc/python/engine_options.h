// How Python names what a network is to be run with.
#pragma once
#include <string>

#include "core/error.h"
#include "engine/network.h"

namespace covfast::python {

// `ranges`: of "int8" alone. Throws UNAVAILABLE if there is no such precision.
inline NetworkOptions network_options(const std::string& precision, bool exact, const Ranges& ranges = {}) {
    if (precision == "fp32") return {Element::kF32, exact, {}};
    if (precision == "bf16") return {Element::kBf16, exact, {}};
    COVFAST_REQUIRE(precision == "int8", UNAVAILABLE, "precision: got '", precision,
                    "', expected 'fp32', 'bf16' or 'int8'");
    return {Element::kU8, exact, ranges};
}

}  // namespace covfast::python
