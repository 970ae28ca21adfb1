// A row at a time; rows with stride 1 vectorise. One read of x, one write of y: memory bound.
#include "kernels/table.h"
#include "kernels/window_hu_body.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int64_t kRowsPerBlock = 32;

template <class T>
void window_row(const T* x, int64_t step, float* y, int64_t n, const WindowHuParams& p) {
    const float low = p.low, high = p.high, scale = 1.0f / (high - low);
    if (step == 1) {
        for (int64_t i = 0; i < n; ++i) y[i] = window_value(static_cast<float>(x[i]), low, high, scale);
    } else {
        for (int64_t i = 0; i < n; ++i) y[i] = window_value(static_cast<float>(x[i * step]), low, high, scale);
    }
}

void window_rows(const void* params, int64_t begin, int64_t end) {
    const WindowHuParams& p = *static_cast<const WindowHuParams*>(params);
    const int64_t height = p.size[1], width = p.size[2];
    for (int64_t r = begin; r < end; ++r) {
        const int64_t offset = r / height * p.stride[0] + r % height * p.stride[1];
        float* y = p.y + r * width;
        if (p.is_float) {
            window_row(static_cast<const float*>(p.x) + offset, p.stride[2], y, width, p);
        } else {
            window_row(static_cast<const int16_t*>(p.x) + offset, p.stride[2], y, width, p);
        }
    }
}

}  // namespace

void window_hu(const WindowHuParams& params, const Exec& exec) {
    exec.parallel_for(window_rows, &params, params.size[0] * params.size[1], kRowsPerBlock, exec.threads);
}

}  // namespace covfast::COVFAST_ISA
