// One item is kPiece positions of all channels: the maximum and the sum of each position stay in L1 while the channels
// pass by three times.
#include "kernels/log_body.h"
#include "kernels/planar_epilogue.h"
#include "kernels/softmax.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int64_t kPiece = 1 << 10;

// x, y: the first channel at the piece's first position.
void softmax_piece(const SoftmaxParams& p, const float* x, float* y, int64_t n) {
    alignas(64) float greatest[kPiece], sum[kPiece];
    const bool is_log = p.is_log;
    for (int64_t i = 0; i < n; ++i) greatest[i] = x[i];
    for (int64_t i = 0; i < kPiece; ++i) sum[i] = 0.0f;
    for (int64_t i = n; i < (n + kVecLanes - 1) / kVecLanes * kVecLanes; ++i) greatest[i] = 0.0f;
    for (int64_t c = 1; c < p.channels; ++c) {
        const float* row = x + c * p.plane;
        for (int64_t i = 0; i < n; ++i) greatest[i] = row[i] > greatest[i] ? row[i] : greatest[i];
    }
    for (int64_t c = 0; c < p.channels; ++c) {
        const float* row = x + c * p.plane;
        float* to = y + c * p.plane;
        for (int64_t i = 0; i < n; i += kVecLanes) {
            const bool is_whole = i + kVecLanes <= n;
            const Vec from = is_whole ? load(row + i) : load_first(row + i, n - i);
            const Vec d = from - load(greatest + i), e = exp_vec(d);
            store(sum + i, load(sum + i) + e);
            if (is_whole) {
                store(to + i, is_log ? d : e);
            } else {
                store_first(to + i, is_log ? d : e, n - i);
            }
        }
    }
    if (is_log)
        for (int64_t i = 0; i < n; ++i) sum[i] = log_f32(sum[i]);
    for (int64_t c = 0; c < p.channels; ++c) {
        float* to = y + c * p.plane;
        if (is_log) {
            for (int64_t i = 0; i < n; ++i) to[i] -= sum[i];
        } else {
            for (int64_t i = 0; i < n; ++i) to[i] /= sum[i];
        }
    }
}

void softmax_range(const void* params, int64_t begin, int64_t end) {
    const SoftmaxParams& p = *static_cast<const SoftmaxParams*>(params);
    const int64_t pieces = (p.plane + kPiece - 1) / kPiece;
    for (int64_t i = begin; i < end; ++i) {
        const int64_t at = i % pieces * kPiece, offset = i / pieces * p.channels * p.plane + at;
        softmax_piece(p, p.x + offset, p.y + offset, p.plane - at < kPiece ? p.plane - at : kPiece);
    }
}

}  // namespace

void softmax(const SoftmaxParams& p, const Exec& exec) {
    const int64_t pieces = (p.plane + kPiece - 1) / kPiece;
    const int64_t grain = (int64_t{1} << 14) / (kPiece * p.channels);
    exec.parallel_for(softmax_range, &p, p.n * pieces, grain > 0 ? grain : 1, exec.threads);
}

}  // namespace covfast::COVFAST_ISA
