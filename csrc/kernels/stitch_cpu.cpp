// A row of the window at a time, a row of one channel and plane: each is added to by one thread alone. The importance
// of a row is one number times the columns' weights, which stay in L1: one read of x, one read and write of the sums,
// so memory bound. Rows that are mirrored or strided pass through 1 KiB of scratch.
//
// stitch_plane: a row at a time; one division a voxel costs no time beside the memory.
#include "cpu/simd.h"
#include "kernels/stitch_body.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int64_t kRowsPerBlock = 64;  // 40 KiB of x and as much of the sums, for rows of 160
constexpr int64_t kChunk = 256;
constexpr int64_t kLine = 16;       // floats of a cache line
constexpr int64_t kRowsAhead = 12;  // the sums' rows are short and far apart: the hardware does not foresee them

void add_row(const float* x, float row_weight, const float* weight, float floor, float* sum, int64_t n) {
    const Vec factor = fill(row_weight), least = fill(floor);
    int64_t i = 0;
    for (; i + kVecLanes <= n; i += kVecLanes) {
        const Vec importance = factor * load(weight + i);
        store(sum + i, load(sum + i) + (importance > least ? importance : least) * load(x + i));
    }
    for (; i < n; ++i) sum[i] = stitch_value(sum[i], row_weight, weight[i], floor, x[i]);
}

void add_strided_row(const float* x, int64_t step, float row_weight, const float* weight, float floor, float* sum,
                     int64_t n) {
    float chunk[kChunk];
    for (int64_t first = 0; first < n; first += kChunk) {
        const int64_t count = n - first < kChunk ? n - first : kChunk;
        const float* from = x + first * step;
        if (step == -1) {
            for (int64_t i = 0; i < count; ++i) chunk[i] = from[-i];
        } else {
            for (int64_t i = 0; i < count; ++i) chunk[i] = from[i * step];
        }
        add_row(chunk, row_weight, weight + first, floor, sum + first, count);
    }
}

// Rows `h` to `h_end` of one channel and plane.
void add_plane_rows(const StitchParams& p, const StitchBox& box, int64_t c, int64_t d, int64_t h, int64_t h_end) {
    const int64_t step = p.flip[2] ? -p.stride[3] : p.stride[3], x_rows = p.flip[1] ? -p.stride[2] : p.stride[2];
    const float* x = p.x + stitch_source(p, c, d, h, box.w.begin);
    const float* weight = p.weight[2] + box.w.begin;
    float* sum = p.sum + stitch_row(p, c, d, h) + box.w.begin;
    for (; h < h_end; ++h, x += x_rows, sum += p.width) {
        const float row_weight = p.weight[0][d] * p.weight[1][h];
        for (int64_t w = 0; w < box.columns; w += kLine) __builtin_prefetch(sum + kRowsAhead * p.width + w, 0, 2);
        if (step == 1) {
            add_row(x, row_weight, weight, p.floor, sum, box.columns);
        } else {
            add_strided_row(x, step, row_weight, weight, p.floor, sum, box.columns);
        }
    }
}

void stitch_rows(const void* params, int64_t begin, int64_t end) {
    const StitchParams& p = *static_cast<const StitchParams*>(params);
    const StitchBox box = stitch_box(p);
    for (int64_t r = begin; r < end;) {
        const int64_t plane = r / box.rows, h = r % box.rows;
        const int64_t rows = end - r < box.rows - h ? end - r : box.rows - h;
        add_plane_rows(p, box, plane % p.channels, box.d.begin + plane / p.channels, box.h.begin + h,
                       box.h.begin + h + rows);
        r += rows;
    }
}

void mean_rows(const void* params, int64_t begin, int64_t end) {
    const StitchPlaneParams& p = *static_cast<const StitchPlaneParams*>(params);
    for (int64_t r = begin; r < end; ++r) {
        const int64_t c = r / p.height, h = r % p.height;
        const float total = p.total_d * p.total_h[h];
        const float* sum = p.sum + r * p.width;
        float* y = p.y + c * p.y_channel_stride + h * p.y_row_stride;
        int64_t w = 0;
        for (; w + kVecLanes <= p.width; w += kVecLanes)
            store(y + w, load(sum + w) / (fill(total) * load(p.total_w + w)));
        for (; w < p.width; ++w) y[w] = stitch_mean(sum[w], total, p.total_w[w]);
    }
}

}  // namespace

void stitch(const StitchParams& params, const Exec& exec) {
    const StitchBox box = stitch_box(params);
    if (box.columns == 0) return;
    exec.parallel_for(stitch_rows, &params, box.planes * params.channels * box.rows, kRowsPerBlock, exec.threads);
}

void stitch_plane(const StitchPlaneParams& params, const Exec& exec) {
    exec.parallel_for(mean_rows, &params, params.channels * params.height, kRowsPerBlock, exec.threads);
}

}  // namespace covfast::COVFAST_ISA
