// One or two streams in, one out, a register of lanes at a time: memory bound but for the sigmoid. One item is a piece
// of kPiece voxels of one block, over which each lane's numbers stay in registers.
#include "kernels/elementwise_blocked.h"

#include "kernels/block_lanes.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int64_t kPiece = 1 << 9;  // voxels: 32 KiB of f32
constexpr int64_t kGrain = 4;

inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

template <Element kX, Element kY>
void activate(const ActivationBlockedParams& p, int64_t block, int64_t begin, int64_t end) {
    const bool is_relu = p.kind == ActivationKind::kRelu;
    const Lanes a = is_relu          ? fill_lanes(0.0f)
                    : p.a == nullptr ? fill_lanes(p.a_value)
                                     : load_floats(p.a + block * kLanes);
    const Lanes b = p.b == nullptr ? fill_lanes(p.b_value) : load_floats(p.b + block * kLanes);
    const float scale = p.x_scale, inverse = 1 / p.y_scale;
    const void* x = p.x;
    void* y = p.y;
    const int64_t origin = block * p.plane;
    const auto each = [&](auto&& formula) {
        for (int64_t i = origin + begin; i < origin + end; ++i)
            store_lanes<kY>(y, i, formula(load_lanes<kX>(x, i, scale)), inverse);
    };
    if (p.kind == ActivationKind::kAffine) {
        each([&](Lanes v) { return multiply_add(v, a, b); });
    } else if (p.kind == ActivationKind::kSigmoid) {
        const Lanes times = p.a == nullptr ? fill_lanes(1.0f) : a;
        each([&](Lanes v) { return sigmoid(v) * times; });
    } else {
        each([&](Lanes v) { return leaky(v, a); });
    }
}

template <Element kX>
void activate_from(const ActivationBlockedParams& p, int64_t block, int64_t begin, int64_t end) {
    const auto piece = p.y_element == Element::kF32    ? activate<kX, Element::kF32>
                       : p.y_element == Element::kBf16 ? activate<kX, Element::kBf16>
                                                       : activate<kX, Element::kU8>;
    piece(p, block, begin, end);
}

// Lanes of an operand at voxel i of a block: its own, or all of them lane 0.
template <Element kElement>
inline Lanes operand(const void* x, bool is_single, int64_t origin, int64_t i) {
    if (!is_single) return load_lanes<kElement>(x, origin + i);
    if constexpr (kElement == Element::kF32) return fill_lanes(static_cast<const float*>(x)[i * kLanes]);
    const uint32_t bits = static_cast<uint32_t>(static_cast<const uint16_t*>(x)[i * kLanes]) << 16;
    float value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return fill_lanes(value);
}

template <Element kElement>
void combine(const BinaryBlockedParams& p, int64_t block, int64_t begin, int64_t end) {
    const int64_t origin = block * p.plane;
    const void *a = p.a, *b = p.b;
    const bool one_a = p.a_is_single, one_b = p.b_is_single;
    void* y = p.y;
    const auto each = [&](auto&& formula) {
        for (int64_t i = begin; i < end; ++i)
            store_lanes<kElement>(
                y, origin + i, formula(operand<kElement>(a, one_a, origin, i), operand<kElement>(b, one_b, origin, i)));
    };
    if (p.kind == BinaryKind::kAdd) {
        each([](Lanes s, Lanes t) { return s + t; });
    } else if (p.kind == BinaryKind::kSub) {
        each([](Lanes s, Lanes t) { return s - t; });
    } else {
        each([](Lanes s, Lanes t) { return s * t; });
    }
}

void activation_range(const void* params, int64_t begin, int64_t end) {
    const ActivationBlockedParams& p = *static_cast<const ActivationBlockedParams*>(params);
    const int64_t pieces = (p.plane + kPiece - 1) / kPiece;
    const auto piece = p.x_element == Element::kF32    ? activate_from<Element::kF32>
                       : p.x_element == Element::kBf16 ? activate_from<Element::kBf16>
                                                       : activate_from<Element::kU8>;
    for (int64_t i = begin; i < end; ++i) {
        const int64_t at = i % pieces * kPiece;
        piece(p, i / pieces, at, least(p.plane, at + kPiece));
    }
}

void binary_range(const void* params, int64_t begin, int64_t end) {
    const BinaryBlockedParams& p = *static_cast<const BinaryBlockedParams*>(params);
    const int64_t pieces = (p.plane + kPiece - 1) / kPiece;
    const auto piece = p.element == Element::kF32 ? combine<Element::kF32> : combine<Element::kBf16>;
    for (int64_t i = begin; i < end; ++i) {
        const int64_t at = i % pieces * kPiece;
        piece(p, i / pieces, at, least(p.plane, at + kPiece));
    }
}

}  // namespace

void activation_blocked(const ActivationBlockedParams& p, const Exec& exec) {
    const int64_t pieces = (p.plane + kPiece - 1) / kPiece;
    exec.parallel_for(activation_range, &p, p.blocks * pieces, kGrain, exec.threads);
}

void binary_blocked(const BinaryBlockedParams& p, const Exec& exec) {
    const int64_t pieces = (p.plane + kPiece - 1) / kPiece;
    exec.parallel_for(binary_range, &p, p.blocks * pieces, kGrain, exec.threads);
}

}  // namespace covfast::COVFAST_ISA
