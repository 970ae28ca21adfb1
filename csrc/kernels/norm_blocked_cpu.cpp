// Three passes. Sums: only without statistics of the convolution; one item is a part of kNormPart voxels of a block,
// summed about its first voxel, so that a mean far from 0 costs no digits. Merge: one item is a block; parts in order,
// in f64. Apply: one item is a piece of kPiece voxels, x read and y written once: bound by memory.
#include "kernels/norm_blocked.h"

#include "kernels/block_lanes.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int64_t kPiece = 1 << 10;  // voxels: 64 KiB of f32
constexpr int64_t kChunk = 128;      // voxels that sum in f32 before they are added in f64

// Lanes of one block in the workspace: mean, its scale and shift; then its padding to 16-byte multiples.
constexpr int64_t kMean = 0, kScale = kLanes, kShift = 2 * kLanes, kPerBlock = 4 * kLanes;

float* lanes_of(const NormBlockedParams& p, int64_t block) {
    return static_cast<float*>(p.workspace) + block * kPerBlock;
}
double* sums_of(const NormBlockedParams& p) { return static_cast<double*>(p.workspace) + p.blocks * kPerBlock / 2; }
int64_t own_parts(const NormBlockedParams& p) { return (p.plane + kNormPart - 1) / kNormPart; }
int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

struct Sums {
    Lanes first, second;  // of x - shift and its square
};

template <Element kX>
inline Sums sum_chunk(const void* x, int64_t begin, int64_t end, Lanes shift) {
    Lanes first[4], second[4];
    for (int k = 0; k < 4; ++k) first[k] = second[k] = fill_lanes(0.0f);
    int64_t i = begin;
    for (; i + 4 <= end; i += 4)
#pragma GCC unroll 4
        for (int k = 0; k < 4; ++k) {
            const Lanes d = load_lanes<kX>(x, i + k) - shift;
            first[k] = first[k] + d;
            second[k] = multiply_add(d, d, second[k]);
        }
    for (; i < end; ++i) {
        const Lanes d = load_lanes<kX>(x, i) - shift;
        first[0] = first[0] + d;
        second[0] = multiply_add(d, d, second[0]);
    }
    return {(first[0] + first[1]) + (first[2] + first[3]), (second[0] + second[1]) + (second[2] + second[3])};
}

// Sum and sum of squares of each lane, (16, 2) as in stats: those about the shift s give n s + sum d, and
// sum d^2 + 2 s sum d + n s^2, in f64.
template <Element kX>
void sum_part(const NormBlockedParams& p, int64_t block, int64_t begin, int64_t end, double* sums) {
    const int64_t origin = block * p.plane;
    const Lanes shift = load_lanes<kX>(p.x, origin + begin);
    double first[kLanes] = {}, second[kLanes] = {};
    alignas(64) float lane[3][kLanes];
    store_floats(lane[2], shift);
    for (int64_t at = begin; at < end; at += kChunk) {
        const Sums chunk = sum_chunk<kX>(p.x, origin + at, origin + smaller(end, at + kChunk), shift);
        store_floats(lane[0], chunk.first);
        store_floats(lane[1], chunk.second);
        for (int64_t l = 0; l < kLanes; ++l) first[l] += lane[0][l], second[l] += lane[1][l];
    }
    const double n = static_cast<double>(end - begin);
    for (int64_t l = 0; l < kLanes; ++l) {
        const double s = lane[2][l];
        sums[2 * l] = n * s + first[l];
        sums[2 * l + 1] = second[l] + 2 * s * first[l] + n * s * s;
    }
}

void sum_range(const void* params, int64_t begin, int64_t end) {
    const NormBlockedParams& p = *static_cast<const NormBlockedParams*>(params);
    const int64_t parts = own_parts(p);
    const auto sum = p.x_element == Element::kF32 ? sum_part<Element::kF32> : sum_part<Element::kBf16>;
    for (int64_t i = begin; i < end; ++i) {
        const int64_t part = i % parts, block = i / parts, at = part * kNormPart;
        double* sums = sums_of(p) + (part * p.blocks + block) * 2 * kLanes;
        sum(p, block, at, smaller(p.plane, at + kNormPart), sums);
    }
}

template <class Number>
void merge_block(const NormBlockedParams& p, int64_t block, const Number* stats, int64_t parts) {
    double sum[2 * kLanes] = {};
    for (int64_t part = 0; part < parts; ++part) {
        const Number* s = stats + (part * p.blocks + block) * 2 * kLanes;
        for (int64_t k = 0; k < 2 * kLanes; ++k) sum[k] += s[k];
    }
    const double n = static_cast<double>(p.plane);
    float* lanes = lanes_of(p, block);
    for (int64_t l = 0; l < kLanes; ++l) {
        const double mean = sum[2 * l] / n, variance = sum[2 * l + 1] / n - mean * mean;
        const double weight = p.weight == nullptr ? 1.0 : p.weight[block * kLanes + l];
        // A lane without a channel has weight 0, and neither variance nor, perhaps, eps.
        const double deviation = __builtin_sqrt((variance > 0 ? variance : 0) + p.eps);
        const double scale = weight == 0 ? 0 : weight / deviation;
        const double bias = p.bias == nullptr ? 0.0 : p.bias[block * kLanes + l];
        lanes[kMean + l] = static_cast<float>(mean);
        lanes[kScale + l] = static_cast<float>(scale);
        lanes[kShift + l] = static_cast<float>(bias + (lanes[kMean + l] - mean) * scale);  // and the mean's rounding
    }
}

void merge_range(const void* params, int64_t begin, int64_t end) {
    const NormBlockedParams& p = *static_cast<const NormBlockedParams*>(params);
    for (int64_t block = begin; block < end; ++block) {
        if (p.stats != nullptr) {
            merge_block(p, block, p.stats, p.parts);
        } else {
            merge_block(p, block, sums_of(p), own_parts(p));
        }
    }
}

template <Element kX, Element kY, Element kResidual>
void apply_piece(const NormBlockedParams& p, int64_t block, int64_t begin, int64_t end) {
    const float* lanes = lanes_of(p, block);
    const Lanes mean = load_floats(lanes + kMean), scale = load_floats(lanes + kScale);
    const Lanes shift = load_floats(lanes + kShift);
    const Epilogue& e = p.epilogue;
    const bool is_leaky = e.kind == EpilogueKind::kLeaky, is_sigmoid = e.kind == EpilogueKind::kSigmoid;
    const Lanes slope = is_leaky ? load_floats(e.slope + block * kLanes) : fill_lanes(1.0f);
    const void *x = p.x, *before = e.before, *after = e.after;
    const float inverse_scale = 1 / p.y_scale;
    void* y = p.y;
    const int64_t origin = block * p.plane;
    for (int64_t i = origin + begin; i < origin + end; ++i) {
        Lanes v = multiply_add(load_lanes<kX>(x, i) - mean, scale, shift);
        if (before != nullptr) v = v + load_lanes<kResidual>(before, i);
        v = is_sigmoid ? sigmoid(v) : leaky(v, slope);
        if (after != nullptr) v = v + load_lanes<kResidual>(after, i);
        store_lanes<kY>(y, i, v, inverse_scale);
    }
}

using Apply = void (*)(const NormBlockedParams&, int64_t, int64_t, int64_t);

template <Element kX, Element kResidual>
Apply apply_to(Element y) {
    return y == Element::kF32    ? apply_piece<kX, Element::kF32, kResidual>
           : y == Element::kBf16 ? apply_piece<kX, Element::kBf16, kResidual>
                                 : apply_piece<kX, Element::kU8, kResidual>;
}

template <Element kX>
Apply apply_from(const NormBlockedParams& p) {
    return p.residual_element == Element::kF32 ? apply_to<kX, Element::kF32>(p.y_element)
                                               : apply_to<kX, Element::kBf16>(p.y_element);
}

void apply_range(const void* params, int64_t begin, int64_t end) {
    const NormBlockedParams& p = *static_cast<const NormBlockedParams*>(params);
    const int64_t pieces = (p.plane + kPiece - 1) / kPiece;
    const Apply apply = p.x_element == Element::kF32 ? apply_from<Element::kF32>(p) : apply_from<Element::kBf16>(p);
    for (int64_t i = begin; i < end; ++i) {
        const int64_t at = i % pieces * kPiece;
        apply(p, i / pieces, at, smaller(p.plane, at + kPiece));
    }
}

}  // namespace

void norm_blocked(const NormBlockedParams& p, const Exec& exec) {
    if (p.blocks * p.plane == 0) return;
    const int64_t pieces = (p.plane + kPiece - 1) / kPiece;
    if (p.stats == nullptr) exec.parallel_for(sum_range, &p, p.blocks * own_parts(p), 1, exec.threads);
    exec.parallel_for(merge_range, &p, p.blocks, 4, exec.threads);
    exec.parallel_for(apply_range, &p, p.blocks * pieces, 2, exec.threads);
}

}  // namespace covfast::COVFAST_ISA
