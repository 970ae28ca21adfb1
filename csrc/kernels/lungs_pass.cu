// lungs_shrink: one thread a coarse voxel, so neighbouring threads read neighbouring blocks. lungs_paint: one thread a
// voxel. Grid-stride.
#include "cuda/launch.h"
#include "kernels/lungs_pass_body.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

template <class T>
__device__ int16_t shrink_block(const LungsPassParams& p, int64_t cz, int64_t cy, int64_t cx) {
    const T* hu = static_cast<const T*>(p.hu);
    const int64_t z1 = lungs_end(cz, p.factor[0], p.size[0]), y1 = lungs_end(cy, p.factor[1], p.size[1]);
    const int64_t x1 = lungs_end(cx, p.factor[2], p.size[2]);
    int32_t sum = 0, count = 0, bad = 0;
    for (int64_t z = cz * p.factor[0]; z < z1; ++z)
        for (int64_t y = cy * p.factor[1]; y < y1; ++y)
            for (int64_t x = cx * p.factor[2]; x < x1; ++x, ++count) {
                const T v = hu[z * p.stride[0] + y * p.stride[1] + x * p.stride[2]];
                sum += lungs_hu(v), bad |= lungs_bad(v);
            }
    return bad ? static_cast<int16_t>(kNotFiniteHu) : lungs_mean(sum, count);
}

__global__ void lungs_shrink_kernel(LungsPassParams p) {
    const int64_t plane = p.coarse_size[1] * p.coarse_size[2], n = (p.last - p.first) * plane;
    for (int64_t i = grid_begin(); i < n; i += grid_step()) {
        const int64_t cx = i % p.coarse_size[2], cy = i / p.coarse_size[2] % p.coarse_size[1];
        const int64_t cz = p.first + i / plane;
        p.coarse[cz * plane + i % plane] =
            p.is_float ? shrink_block<float>(p, cz, cy, cx) : shrink_block<int16_t>(p, cz, cy, cx);
    }
}

__global__ void lungs_paint_kernel(LungsPassParams p) {
    const int64_t plane = p.size[1] * p.size[2], z0 = p.first * p.factor[0];
    const int64_t n = (lungs_end(p.last - 1, p.factor[0], p.size[0]) - z0) * plane;
    for (int64_t i = grid_begin(); i < n; i += grid_step()) {
        const int64_t x = i % p.size[2], y = i / p.size[2] % p.size[1], z = z0 + i / plane;
        const int64_t row = z / p.factor[0] * p.coarse_size[1] + y / p.factor[1];
        const uint8_t code = p.code[row * p.coarse_size[2] + x / p.factor[2]];
        const int64_t at = z * p.stride[0] + y * p.stride[1] + x * p.stride[2];
        bool in = code != 0;
        if (code & kShell)
            in = (p.is_float ? lungs_hu(static_cast<const float*>(p.hu)[at])
                             : lungs_hu(static_cast<const int16_t*>(p.hu)[at])) < p.shell_hu;
        p.labels[z * p.label_stride[0] + y * p.label_stride[1] + x * p.label_stride[2]] = in ? code & kSideBits : 0;
    }
}

}  // namespace

void lungs_shrink(const LungsPassParams& params, const Exec& exec) {
    const int64_t n = (params.last - params.first) * params.coarse_size[1] * params.coarse_size[2];
    launch("lungs_shrink", lungs_shrink_kernel, blocks_for(n), kThreadsPerBlock, 0, exec.stream, params);
}

void lungs_paint(const LungsPassParams& params, const Exec& exec) {
    const int64_t slices =
        lungs_end(params.last - 1, params.factor[0], params.size[0]) - params.first * params.factor[0];
    const int64_t n = slices * params.size[1] * params.size[2];
    launch("lungs_paint", lungs_paint_kernel, blocks_for(n), kThreadsPerBlock, 0, exec.stream, params);
}

}  // namespace covfast::COVFAST_ISA
