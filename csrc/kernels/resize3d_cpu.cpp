// One item is one output row: the 2 (D = 1) or 4 input rows around it are mixed column by column; the left and right
// columns are gathered, which the compiler vectorises. A nearest resize gathers from one row.
#include "cpu/isa.h"
#include "kernels/resize3d.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int64_t kValuesPerBlock = 1 << 14;

inline float mix(float a, float b, float fraction) { return a + fraction * (b - a); }

// Offset from a sample to its right neighbour, 0 where there is none.
inline int64_t step_at(const Resize3dParams& p, int axis, int64_t o, int64_t stride) {
    return p.left[axis][o] + 1 < p.in_size[axis] ? stride : 0;
}

void resize_row(const Resize3dParams& p, const float* x, int64_t od, int64_t oh, float* __restrict y) {
    const int64_t width = p.in_size[2], plane = p.in_size[1] * width;
    const float* row = x + p.left[0][od] * plane + p.left[1][oh] * width;
    const int64_t down = step_at(p, 1, oh, width), back = step_at(p, 0, od, plane);
    const float fd = p.fraction[0][od], fh = p.fraction[1][oh];
    const int64_t* left = p.left[2];
    const float* fraction = p.fraction[2];
    for (int64_t o = 0; o < p.out_size[2]; ++o) {
        const int64_t l = left[o], r = l + (l + 1 < width);
        float a = mix(row[l], row[l + down], fh), b = mix(row[r], row[r + down], fh);
        if (back != 0) {
            a = mix(a, mix(row[l + back], row[l + back + down], fh), fd);
            b = mix(b, mix(row[r + back], row[r + back + down], fh), fd);
        }
        y[o] = mix(a, b, fraction[o]);
    }
}

void copy_row(const Resize3dParams& p, const float* x, int64_t od, int64_t oh, float* __restrict y) {
    const float* row = x + (p.left[0][od] * p.in_size[1] + p.left[1][oh]) * p.in_size[2];
    const int64_t* left = p.left[2];
    for (int64_t o = 0; o < p.out_size[2]; ++o) y[o] = row[left[o]];
}

void resize3d_range(const void* params, int64_t begin, int64_t end) {
    const Resize3dParams& p = *static_cast<const Resize3dParams*>(params);
    const int64_t in_count = p.in_size[0] * p.in_size[1] * p.in_size[2];
    const auto fill = p.fraction[2] == nullptr ? copy_row : resize_row;
    for (int64_t r = begin; r < end; ++r) {
        const int64_t oh = r % p.out_size[1], od = r / p.out_size[1] % p.out_size[0];
        fill(p, p.x + r / p.out_size[1] / p.out_size[0] * in_count, od, oh, p.y + r * p.out_size[2]);
    }
}

}  // namespace

void resize3d(const Resize3dParams& p, const Exec& exec) {
    const int64_t rows = p.planes * p.out_size[0] * p.out_size[1], grain = kValuesPerBlock / p.out_size[2];
    exec.parallel_for(resize3d_range, &p, rows, grain > 0 ? grain : 1, exec.threads);
}

}  // namespace covfast::COVFAST_ISA
