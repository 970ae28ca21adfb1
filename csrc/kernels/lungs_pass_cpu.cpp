// Both passes stream the volume once: memory bound. A block of lungs_shrink sums its rows into one row of columns,
// which vectorises whatever the factor along W, and only then sums columns.
#include <cstring>

#include "kernels/lungs_pass_body.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int64_t kColumns = 1024;  // 4 KiB of sums on the stack

template <class T>
int32_t add_row(const T* x, int64_t step, int64_t n, int32_t* column) {
    int32_t bad = 0;
    if (step == 1) {
        for (int64_t i = 0; i < n; ++i) column[i] += lungs_hu(x[i]), bad |= lungs_bad(x[i]);
    } else {
        for (int64_t i = 0; i < n; ++i) column[i] += lungs_hu(x[i * step]), bad |= lungs_bad(x[i * step]);
    }
    return bad;
}

template <class T>
void shrink_row(const LungsPassParams& p, int64_t cz, int64_t cy) {
    const T* hu = static_cast<const T*>(p.hu);
    const int64_t fx = p.factor[2], width = p.size[2], chunk = kColumns / fx * fx;
    const int64_t z0 = cz * p.factor[0], z1 = lungs_end(cz, p.factor[0], p.size[0]);
    const int64_t y0 = cy * p.factor[1], y1 = lungs_end(cy, p.factor[1], p.size[1]);
    int16_t* out = p.coarse + (cz * p.coarse_size[1] + cy) * p.coarse_size[2];
    int32_t column[kColumns];
    for (int64_t x0 = 0; x0 < width; x0 += chunk) {
        const int64_t n = x0 + chunk < width ? chunk : width - x0;
        for (int64_t i = 0; i < n; ++i) column[i] = 0;
        int32_t bad = 0;
        for (int64_t z = z0; z < z1; ++z)
            for (int64_t y = y0; y < y1; ++y)
                bad |= add_row(hu + z * p.stride[0] + y * p.stride[1] + x0 * p.stride[2], p.stride[2], n, column);
        for (int64_t i = 0; i < n; i += fx) {
            const int64_t end = i + fx < n ? i + fx : n;
            int32_t sum = 0;
            for (int64_t k = i; k < end; ++k) sum += column[k];
            const int32_t count = static_cast<int32_t>((z1 - z0) * (y1 - y0) * (end - i));
            *out++ = bad ? static_cast<int16_t>(kNotFiniteHu) : lungs_mean(sum, count);
        }
    }
}

void shrink_rows(const void* params, int64_t begin, int64_t end) {
    const LungsPassParams& p = *static_cast<const LungsPassParams*>(params);
    for (int64_t r = begin; r < end; ++r) {
        const int64_t cz = p.first + r / p.coarse_size[1], cy = r % p.coarse_size[1];
        p.is_float ? shrink_row<float>(p, cz, cy) : shrink_row<int16_t>(p, cz, cy);
    }
}

template <class T>
void paint_shell(const T* x, int64_t step, uint8_t* y, int64_t y_step, int64_t n, uint8_t side, int shell_hu) {
    for (int64_t i = 0; i < n; ++i) y[i * y_step] = lungs_hu(x[i * step]) < shell_hu ? side : 0;
}

// One row of voxels, a run of equal codes at a time.
template <class T>
void paint_row(const LungsPassParams& p, int64_t z, int64_t y) {
    const uint8_t* code = p.code + (z / p.factor[0] * p.coarse_size[1] + y / p.factor[1]) * p.coarse_size[2];
    const T* x = static_cast<const T*>(p.hu) + z * p.stride[0] + y * p.stride[1];
    uint8_t* out = p.labels + z * p.label_stride[0] + y * p.label_stride[1];
    const int64_t step = p.stride[2], out_step = p.label_stride[2];
    for (int64_t c = 0, end; c < p.coarse_size[2]; c = end) {
        for (end = c + 1; end < p.coarse_size[2] && code[end] == code[c];) ++end;
        const int64_t from = c * p.factor[2], n = lungs_end(end - 1, p.factor[2], p.size[2]) - from;
        const uint8_t side = code[c] & kSideBits;
        if (code[c] & kShell) {
            paint_shell(x + from * step, step, out + from * out_step, out_step, n, side, p.shell_hu);
        } else if (out_step == 1) {
            std::memset(out + from, side, n);
        } else {
            for (int64_t i = 0; i < n; ++i) out[(from + i) * out_step] = side;
        }
    }
}

void paint_rows(const void* params, int64_t begin, int64_t end) {
    const LungsPassParams& p = *static_cast<const LungsPassParams*>(params);
    for (int64_t r = begin; r < end; ++r) {
        const int64_t z = p.first * p.factor[0] + r / p.size[1], y = r % p.size[1];
        p.is_float ? paint_row<float>(p, z, y) : paint_row<int16_t>(p, z, y);
    }
}

}  // namespace

void lungs_shrink(const LungsPassParams& params, const Exec& exec) {
    exec.parallel_for(shrink_rows, &params, (params.last - params.first) * params.coarse_size[1], 8, exec.threads);
}

void lungs_paint(const LungsPassParams& params, const Exec& exec) {
    const int64_t slices =
        lungs_end(params.last - 1, params.factor[0], params.size[0]) - params.first * params.factor[0];
    exec.parallel_for(paint_rows, &params, slices * params.size[1], 64, exec.threads);
}

}  // namespace covfast::COVFAST_ISA
