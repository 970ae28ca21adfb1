// Two streams in, one out: memory bound. One item is a piece of kPiece values of one channel.
#include "cpu/isa.h"
#include "kernels/binary.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int64_t kPiece = 1 << 13;  // values of one item
constexpr int64_t kGrain = 4;        // 128 KiB out a block

void binary_piece(BinaryKind kind, const float* a, const float* b, float* y, int64_t n) {
    if (kind == BinaryKind::kAdd) {
        for (int64_t i = 0; i < n; ++i) y[i] = a[i] + b[i];
    } else if (kind == BinaryKind::kSub) {
        for (int64_t i = 0; i < n; ++i) y[i] = a[i] - b[i];
    } else {
        for (int64_t i = 0; i < n; ++i) y[i] = a[i] * b[i];
    }
}

void binary_range(const void* params, int64_t begin, int64_t end) {
    const BinaryParams& p = *static_cast<const BinaryParams*>(params);
    const int64_t pieces = (p.plane + kPiece - 1) / kPiece;
    for (int64_t i = begin; i < end; ++i) {
        const int64_t row = i / pieces, at = i % pieces * kPiece;
        const int64_t n = p.plane - at < kPiece ? p.plane - at : kPiece;
        const int64_t image = row / p.channels;
        const float* a = p.a + (p.a_channels == p.channels ? row : image) * p.plane + at;
        const float* b = p.b + (p.b_channels == p.channels ? row : image) * p.plane + at;
        binary_piece(p.kind, a, b, p.y + row * p.plane + at, n);
    }
}

}  // namespace

void binary(const BinaryParams& p, const Exec& exec) {
    const int64_t pieces = (p.plane + kPiece - 1) / kPiece;
    exec.parallel_for(binary_range, &p, p.n * p.channels * pieces, kGrain, exec.threads);
}

}  // namespace covfast::COVFAST_ISA
