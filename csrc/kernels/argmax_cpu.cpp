// Four registers of columns at a time, all channels of them one after the other: the best numbers and their labels stay
// in registers, each x is read once and nothing else is stored but one byte a voxel. Memory bound.
#include "kernels/argmax_body.h"
#include "kernels/label_lanes.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int64_t kRowsPerBlock = 32;
constexpr int kRegisters = 4;
constexpr int64_t kColumns = kRegisters * kVecLanes;

struct Columns {
    Lanes label[kRegisters];
    Lanes bad;
};

void greatest(const ArgmaxParams& p, const float* x, Columns& out) {
    Vec best[kRegisters];
    for (int r = 0; r < kRegisters; ++r) {
        best[r] = load(x + r * kVecLanes);
        out.label[r] = Lanes{} + p.values[0];
    }
    for (int64_t c = 1; c < p.channels; ++c) {
        const Lanes value = Lanes{} + p.values[c];
        for (int r = 0; r < kRegisters; ++r) {
            const Vec v = load(x + c * p.channel_stride + r * kVecLanes);
            const Lanes wins = beats(v, best[r]);
            best[r] = wins ? v : best[r];
            out.label[r] = wins ? value : out.label[r];
        }
    }
    for (int r = 0; r < kRegisters; ++r) out.bad |= not_finite(best[r]);
}

void last_above_zero(const ArgmaxParams& p, const float* x, Columns& out) {
    for (int r = 0; r < kRegisters; ++r) out.label[r] = Lanes{};
    for (int64_t c = 0; c < p.channels; ++c) {
        const Lanes value = Lanes{} + p.values[c];
        for (int r = 0; r < kRegisters; ++r) {
            const Vec v = load(x + c * p.channel_stride + r * kVecLanes);
            out.label[r] = v > 0 ? value : out.label[r];
            out.bad |= not_finite(v);
        }
    }
}

void store_labels(const Columns& columns, uint8_t* y, int64_t step) {
    for (int r = 0; r < kRegisters; ++r) {
        const Bytes bytes = __builtin_convertvector(columns.label[r], Bytes);
        uint8_t* to = y + r * kVecLanes * step;
        if (step == 1) {
            __builtin_memcpy(to, &bytes, sizeof bytes);
        } else {
            for (int i = 0; i < kVecLanes; ++i) to[i * step] = bytes[i];
        }
    }
}

void argmax_rows(const void* params, int64_t begin, int64_t end) {
    const ArgmaxParams& p = *static_cast<const ArgmaxParams*>(params);
    for (int64_t row = begin; row < end; ++row) {
        const float* x = p.x + row * p.row_stride;
        uint8_t* y = p.y + row * p.y_row_stride;
        Columns columns{};
        int64_t w = 0;
        for (; w + kColumns <= p.width; w += kColumns) {
            p.regions ? last_above_zero(p, x + w, columns) : greatest(p, x + w, columns);
            store_labels(columns, y + w * p.y_stride, p.y_stride);
        }
        bool is_bad = false;
        for (; w < p.width; ++w) y[w * p.y_stride] = argmax_value(p, x + w, is_bad);
        if (p.bad == nullptr) continue;
        for (int i = 0; i < kVecLanes; ++i) is_bad = is_bad || columns.bad[i] != 0;
        p.bad[row] = is_bad;
    }
}

}  // namespace

void argmax(const ArgmaxParams& params, const Exec& exec) {
    exec.parallel_for(argmax_rows, &params, params.rows, kRowsPerBlock, exec.threads);
}

}  // namespace covfast::COVFAST_ISA
