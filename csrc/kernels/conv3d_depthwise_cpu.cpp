// conv3d with one input and one output channel in each group. One item is a tile of one output plane, up to 16 rows x
// 256 columns: its inputs are copied with their zeros (kernels/padded_rows.h), then summed by register tiles of
// 8 rows x 2 registers (kernels/depthwise_rows.h). Square kernels of 3 and 5 share loads between rows.
#include "kernels/conv3d_paths.h"
#include "kernels/depthwise_rows.h"
#include "kernels/padded_rows.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int64_t kMostRows = 16, kMostColumns = 256;
constexpr int64_t kMostTaps = 343;  // 7 x 7 x 7
constexpr int64_t kMacsPerBlock = 1 << 17;

struct DepthwisePlan {
    Conv3dParams p;
    PaddedTile tile;
    int64_t in_plane, out_plane, tiles_h, tiles_w, taps;
    int64_t offset[kMostTaps];
    void (*sum_tile)(const DepthwisePlan&, const float* scratch, const float* weight, const PlaneEpilogue& e,
                     int64_t at, int64_t rows, int64_t columns);
};

// Adds a 5x5 kernel of stride 2 along H and W. phase: offset of the odd columns.
inline __attribute__((always_inline)) void add_5x5_stride_2(RowTile& sum, const float* x, int64_t row_pitch,
                                                            int64_t phase, const int64_t* column, const float* weight) {
#if defined(__AVX512F__)
    const float* odd = x + row_pitch;  // rows
    add_shifted<3, 1, 0, 1, 2>(sum, x, 2 * row_pitch, weight, 10, 2);
    add_shifted<3, 1, 0, 1>(sum, x + phase, 2 * row_pitch, weight + 1, 10, 2);
    add_shifted<2, 1, 0, 1, 2>(sum, odd, 2 * row_pitch, weight + 5, 10, 2);
    add_shifted<2, 1, 0, 1>(sum, odd + phase, 2 * row_pitch, weight + 6, 10, 2);
    (void)column;
#else
    add_window<5, 2, 1>(sum, x, row_pitch, column, weight);
    (void)phase;
#endif
}

// kK = 0: any kernel. at: position of the tile's first output in its plane; rows, columns: those inside the image.
template <int kK, int kStride, int kDilation>
void sum_tile(const DepthwisePlan& plan, const float* scratch, const float* weight, const PlaneEpilogue& e, int64_t at,
              int64_t rows, int64_t columns) {
    const int64_t step = plan.p.stride[1] * plan.tile.row_pitch, width = plan.p.out_size[2];
    for (int64_t r = 0; r < rows; r += kTileRows)
        for (int64_t c = 0; c < columns; c += kTileColumns) {
            RowTile sum = {};
            const float* x = scratch + r * step + c;
            if constexpr (kK == 0) {
                add_taps_of_rows(sum, x, step, plan.offset, weight, plan.taps);
            } else {
                for (int64_t kd = 0; kd < plan.p.kernel[0]; ++kd) {
                    const float *from = x + kd * plan.tile.plane_pitch, *w = weight + kd * kK * kK;
                    if constexpr (kK == 5 && kStride == 2) {
                        add_5x5_stride_2(sum, from, plan.tile.row_pitch, plan.tile.pitch, plan.offset, w);
                    } else {
                        add_window<kK, kStride, kDilation>(sum, from, plan.tile.row_pitch, plan.offset, w);
                    }
                }
            }
            const int64_t here = at + r * width + c;
            if (r + kTileRows <= rows && c + kTileColumns <= columns && e.kind != EpilogueKind::kSigmoid) {
                finish_registers<kTileRows, kTileVecs>(&e, 0, here, width, sum);
                continue;
            }
            alignas(64) float sums[kTileRows][kTileColumns];
            store_tile(sum, sums[0], kTileColumns);
            finish_tile(e, here, width, sums[0], kTileColumns, least(kTileRows, rows - r),
                        least(kTileColumns, columns - c));
        }
}

void depthwise_range(const void* params, int64_t begin, int64_t end) {
    const DepthwisePlan& plan = *static_cast<const DepthwisePlan*>(params);
    const Conv3dParams& p = plan.p;
    alignas(64) float scratch[kScratch + kSlack];
    for (int64_t i = begin; i < end; ++i) {
        const int64_t column = i % plan.tiles_w * plan.tile.columns, above = i / plan.tiles_w;
        const int64_t row = above % plan.tiles_h * plan.tile.rows, slice = above / plan.tiles_h;
        const int64_t d = slice % p.out_size[0], plane = slice / p.out_size[0], channel = plane % p.out_channels;
        fill_tile(scratch, p, plan.tile, p.x + plane * plan.in_plane, d, row, column);
        const PlaneEpilogue e = plane_epilogue(p.epilogue, channel, p.y, plane * plan.out_plane);
        plan.sum_tile(plan, scratch, p.weight + channel * plan.taps, e,
                      (d * p.out_size[1] + row) * p.out_size[2] + column, least(plan.tile.rows, p.out_size[1] - row),
                      least(plan.tile.columns, p.out_size[2] - column));
    }
}

// Rows in whole register tiles, as many as fit.
bool choose_tile(DepthwisePlan& plan) {
    const Conv3dParams& p = plan.p;
    const int64_t width = (p.out_size[2] + kTileColumns - 1) / kTileColumns * kTileColumns;
    const int64_t height = (p.out_size[1] + kTileRows - 1) / kTileRows * kTileRows;
    for (int64_t columns = least(width, kMostColumns); columns >= kTileColumns; columns -= kTileColumns)
        for (int64_t rows = least(height, kMostRows); rows >= kTileRows; rows -= kTileRows) {
            plan.tile = padded_tile(p, rows, columns);
            if (plan.tile.size <= kScratch) return true;
        }
    return false;
}

void choose_sum(DepthwisePlan& plan) {
    const Conv3dParams& p = plan.p;
    const int64_t k = p.kernel[1], stride = p.stride[1], dilation = p.dilation[1];
    plan.sum_tile = sum_tile<0, 1, 1>;
    if (k != p.kernel[2]) return;
    if (k == 3 && stride == 1 && dilation == 1) plan.sum_tile = sum_tile<3, 1, 1>;
    if (k == 3 && stride == 2 && dilation == 1) plan.sum_tile = sum_tile<3, 2, 1>;
    if (k == 5 && stride == 1 && dilation == 1) plan.sum_tile = sum_tile<5, 1, 1>;
    if (k == 5 && stride == 2 && dilation == 1 && p.stride[2] == 2 && p.dilation[2] == 1)
        plan.sum_tile = sum_tile<5, 2, 1>;
}

}  // namespace

bool conv3d_depthwise(const Conv3dParams& p, const Exec& exec) {
    if (p.groups != p.in_channels || p.groups != p.out_channels) return false;
    DepthwisePlan plan;
    plan.p = p, plan.taps = p.kernel[0] * p.kernel[1] * p.kernel[2];
    if (plan.taps > kMostTaps || !choose_tile(plan)) return false;
    plan.in_plane = p.in_size[0] * p.in_size[1] * p.in_size[2];
    plan.out_plane = p.out_size[0] * p.out_size[1] * p.out_size[2];
    plan.tiles_h = (p.out_size[1] + plan.tile.rows - 1) / plan.tile.rows;
    plan.tiles_w = (p.out_size[2] + plan.tile.columns - 1) / plan.tile.columns;
    for (int64_t t = 0; t < plan.taps; ++t)
        plan.offset[t] =
            tap_offset(p, plan.tile, t / p.kernel[2] / p.kernel[1], t / p.kernel[2] % p.kernel[1], t % p.kernel[2]);
    choose_sum(plan);
    const int64_t items = p.n * p.out_channels * p.out_size[0] * plan.tiles_h * plan.tiles_w;
    const int64_t macs = plan.tile.rows * plan.tile.columns * plan.taps;
    exec.parallel_for(depthwise_range, &plan, items, most(1, kMacsPerBlock / macs), exec.threads);
    return true;
}

}  // namespace covfast::COVFAST_ISA
