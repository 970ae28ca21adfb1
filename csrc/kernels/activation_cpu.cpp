// One stream in, one out: memory bound but for the sigmoid. One item is a piece of kPiece values of one channel.
#include "kernels/activation.h"
#include "kernels/exp_body.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int64_t kPiece = 1 << 13;  // values of one item
constexpr int64_t kGrain = 4;        // 128 KiB out a block

void activation_piece(ActivationKind kind, const float* x, float a, float b, float* y, int64_t n) {
    if (kind == ActivationKind::kAffine) {
        for (int64_t i = 0; i < n; ++i) y[i] = a * x[i] + b;
    } else if (kind == ActivationKind::kLeaky) {
        const float lowest = a == 0.0f ? -__FLT_MAX__ : -__builtin_inff();  // a slope of 0 gives 0 for -inf too
        for (int64_t i = 0; i < n; ++i) {
            const float v = x[i] < lowest ? lowest : x[i];
            y[i] = v > 0.0f ? v : a * v;
        }
    } else if (kind == ActivationKind::kRelu) {
        for (int64_t i = 0; i < n; ++i) y[i] = x[i] < 0.0f ? 0.0f : x[i];
    } else {
        for (int64_t i = 0; i < n; ++i) y[i] = 1.0f / (1.0f + exp_f32(-x[i]));
    }
}

void activation_range(const void* params, int64_t begin, int64_t end) {
    const ActivationParams& p = *static_cast<const ActivationParams*>(params);
    const int64_t pieces = (p.plane + kPiece - 1) / kPiece;
    for (int64_t i = begin; i < end; ++i) {
        const int64_t row = i / pieces, at = i % pieces * kPiece, c = row % p.channels;
        const int64_t n = p.plane - at < kPiece ? p.plane - at : kPiece;
        const float a = p.a == nullptr ? p.a_value : p.a[c], b = p.b == nullptr ? p.b_value : p.b[c];
        activation_piece(p.kind, p.x + row * p.plane + at, a, b, p.y + row * p.plane + at, n);
    }
}

}  // namespace

void activation(const ActivationParams& p, const Exec& exec) {
    const int64_t pieces = (p.plane + kPiece - 1) / kPiece;
    exec.parallel_for(activation_range, &p, p.n * p.channels * pieces, kGrain, exec.threads);
}

}  // namespace covfast::COVFAST_ISA
