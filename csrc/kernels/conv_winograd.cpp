#include "kernels/conv_winograd.h"

#include <algorithm>

#include "core/error.h"
#include "core/threads.h"
#include "kernels/backend.h"
#include "kernels/check_epilogue.h"
#include "kernels/conv3d.h"

namespace covfast {
namespace {

constexpr int64_t kPlane = 36, kIn = 6, kOut = 4;

// Points of F(4, 3) other than 0 and infinity, as winograd_tile.h has them.
constexpr double kA = 0.625, kB = 1.5;

// F(4, 3) along D takes a quarter fewer products than F(2, 3), of half as many weights again: where these are many,
// they come from memory, and a network has most of its weights there.
constexpr int64_t kDeepWeights = 128 * 128;

// Outputs of a tile along D.
int64_t depth_of(int64_t kernel_depth, int64_t in_lanes, int64_t out_lanes) {
    return kernel_depth == 1 ? 1 : in_lanes * out_lanes <= kDeepWeights ? 4 : 2;
}
int64_t depth_of(const ConvPack& pack) { return depth_of(pack.taps / 9, pack.in.lanes, pack.out.lanes); }
int64_t depth_in(int64_t depth) { return depth == 1 ? 1 : depth + 2; }

typedef double Lanes __attribute__((vector_size(kLanes * sizeof(double))));  // a value of 16 output channels

// G g along one axis: 3 taps become 6 or 4 values. G has the taps at each point over the product of the differences
// to all other points.
void transform6(const Lanes* g, int64_t step, Lanes* u, int64_t u_step) {
    constexpr double a = 1 / (2 * kA * kA * (kA * kA - kB * kB)), b = 1 / (2 * kB * kB * (kB * kB - kA * kA));
    const Lanes even_a = (g[0] + kA * kA * g[2 * step]) * a, odd_a = kA * a * g[step];
    const Lanes even_b = (g[0] + kB * kB * g[2 * step]) * b, odd_b = kB * b * g[step];
    u[0] = g[0] / (kA * kA * kB * kB);
    u[u_step] = even_a + odd_a, u[2 * u_step] = even_a - odd_a;
    u[3 * u_step] = even_b + odd_b, u[4 * u_step] = even_b - odd_b;
    u[5 * u_step] = g[2 * step];
}

void transform4(const Lanes* g, int64_t step, Lanes* u, int64_t u_step) {
    const Lanes even = (g[0] + g[2 * step]) / 2, odd = g[step] / 2;
    u[0] = g[0], u[u_step] = even + odd, u[2 * u_step] = even - odd, u[3 * u_step] = g[2 * step];
}

// U = G g along all axes of 16 kernels of 9 or 27 taps, to (D, H, W) positions.
void transform_kernels(const Lanes* g, int64_t depth, Lanes* u) {
    const int64_t kernel_depth = depth == 1 ? 1 : 3;
    Lanes rows[9 * kIn], planes[3 * kPlane];
    for (int64_t row = 0; row < 3 * kernel_depth; ++row) transform6(g + 3 * row, 1, rows + kIn * row, 1);
    for (int64_t k = 0; k < kernel_depth; ++k)
        for (int64_t w = 0; w < kIn; ++w) transform6(rows + 3 * kIn * k + w, kIn, planes + kPlane * k + w, kIn);
    for (int64_t i = 0; i < kPlane; ++i) {
        if (depth == 1) u[i] = planes[i];
        if (depth == 2) transform4(planes + i, kPlane, u + i, kPlane);
        if (depth == 4) transform6(planes + i, kPlane, u + i, kPlane);
    }
}

// Positions of neighbours an odd number of cache lines apart meet in different sets of the cache.
int64_t odd_lines(int64_t floats) { return (floats / kLanes | 1) * kLanes; }

int64_t positions_of(const ConvWinogradParams& p) { return depth_in(p.depth) * kPlane; }

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Tiles of a batch: a panel of AVX-512's product, so that the batch stays near; two where the weights, which every
// batch reads, are more than the tiles.
constexpr int64_t kPanel = 14;
constexpr int64_t kLeastItems = 8;   // for threads to share
constexpr int64_t kLeastBlocks = 8;  // of an item: below, it transforms its input for too little

ConvWinogradParams plan_of(const ConvBlockedParams& c) {
    ConvWinogradParams p{};
    p.conv = c;
    p.depth = depth_of(c.kernel[0], c.in_blocks * kLanes, c.out_blocks * kLanes);
    const int64_t tile[3] = {p.depth, kOut, kOut};
    for (int a = 0; a < 3; ++a) p.tiles[a] = ceil_div(c.out_size[a], tile[a]);
    const int64_t tiles = std::max<int64_t>(1, p.tiles[0] * p.tiles[1] * p.tiles[2]);
    p.batches = ceil_div(tiles, p.depth == 4 ? kPanel : 2 * kPanel);
    p.batch = ceil_div(tiles, p.batches);
    const int64_t splits =
        std::clamp<int64_t>(kLeastItems / p.batches, 1, std::max<int64_t>(1, c.out_blocks / kLeastBlocks));
    p.item_blocks = ceil_div(ceil_div(c.out_blocks, splits), 2) * 2;
    p.splits = ceil_div(c.out_blocks, p.item_blocks);
    p.in_step = odd_lines(p.batch * c.in_blocks * kLanes);
    p.out_step = odd_lines(p.batch * std::min(p.item_blocks, c.out_blocks) * kLanes);
    p.workspace_floats = positions_of(p) * (p.in_step + p.out_step);
    return p;
}

// Taps of an axis that lie inside x, summed over its outputs.
double taps_inside(const ConvBlockedParams& p, int axis) {
    double taps = 0;
    for (int64_t k = 0; k < p.kernel[axis]; ++k) {
        const int64_t first = std::max<int64_t>(0, p.padding[axis] - k);
        const int64_t end = std::min(p.out_size[axis], p.in_size[axis] + p.padding[axis] - k);
        taps += static_cast<double>(std::max<int64_t>(0, end - first));
    }
    return taps;
}

// Cycles of a core with one multiply-add of 16 lanes a cycle: products run at 9 tenths of that, and no faster than
// their weights come from memory, 5 bytes a cycle.
double product_cycles(double products, double weights) { return std::max(products / (0.9 * 16), weights * 4 / 5); }

}  // namespace

bool conv_winograd_fits(const ConvBlockedParams& p) {
    bool fits = p.x_element == Element::kF32 && p.y_element == Element::kF32 && !p.x_is_planar;
    fits = fits && (p.kernel[0] == 1 || p.kernel[0] == 3) && p.kernel[1] == 3 && p.kernel[2] == 3;
    for (int a = 0; a < 3; ++a) fits = fits && p.stride[a] == 1 && p.dilation[a] == 1;
    return fits && p.epilogue.kind != EpilogueKind::kSigmoid;
}

bool conv_winograd_pays(const ConvBlockedParams& p) {
    if (!conv_winograd_fits(p)) return false;
    const ConvWinogradParams plan = plan_of(p);
    const double weights = static_cast<double>(p.in_blocks * p.out_blocks * kLanes * kLanes);
    const double tiles = static_cast<double>(plan.tiles[0] * plan.tiles[1] * plan.tiles[2]);
    const double positions = static_cast<double>(positions_of(plan));
    // Measured: cycles a position of one block to and from the transformed values, with what memory takes.
    const double transforms = tiles * positions * (13.0 * p.in_blocks * plan.splits + 8.0 * p.out_blocks);
    const double winograd = product_cycles(tiles * positions * weights, positions * weights) + transforms;
    const double taps = taps_inside(p, 0) * taps_inside(p, 1) * taps_inside(p, 2);
    return winograd <= 0.75 * product_cycles(taps * weights, p.kernel[0] * 9 * weights);
}

size_t conv_winograd_workspace(const ConvBlockedParams& p, int threads) {
    return sizeof(float) * plan_of(p).workspace_floats * (threads > 0 ? threads : hardware_threads());
}

int64_t conv_winograd_parts(const ConvBlockedParams& p) { return plan_of(p).batches; }

size_t conv_winograd_pack_bytes(const ConvPack& pack) {
    return sizeof(float) * depth_in(depth_of(pack)) * kPlane * pack.in.lanes * pack.out.lanes;
}

void conv_winograd_pack(const ConvPack& pack, void* packed) {
    const int64_t depth = depth_of(pack), positions = depth_in(depth) * kPlane;
    const int64_t in = pack.in.lanes, out = pack.out.lanes;
    Lanes g[27], u[6 * kPlane];
    for (int64_t o = 0; o < out; o += kLanes)
        for (int64_t i = 0; i < in; ++i) {
            for (int64_t lane = 0; lane < kLanes; ++lane) {
                const int64_t in_channel = pack.in.channel[i], out_channel = pack.out.channel[o + lane];
                const bool is_zero = in_channel < 0 || out_channel < 0;
                const float* from = pack.weight + (out_channel * pack.in_channels + in_channel) * pack.taps;
                for (int64_t t = 0; t < pack.taps; ++t) g[t][lane] = is_zero ? 0.0 : from[t];
            }
            transform_kernels(g, depth, u);
            const int64_t first = o / (2 * kLanes) * (2 * kLanes), width = std::min(2 * kLanes, out - first);
            float* at = static_cast<float*>(packed) + first * in + i * width + o - first;
            for (int64_t position = 0; position < positions; ++position, at += in * out)
                for (int64_t lane = 0; lane < kLanes; ++lane) at[lane] = static_cast<float>(u[position][lane]);
        }
}

void conv_winograd(const ConvBlockedParams& p, const Context& context) {
    COVFAST_REQUIRE(conv_winograd_fits(p), VALUE_RANGE,
                    "kernel: got a convolution that Winograd's algorithm does not have, expected f32 of kernel (3, 3, "
                    "3) or (1, 3, 3), stride 1, no dilation, no sigmoid");
    COVFAST_REQUIRE(p.in_blocks >= 1 && p.out_blocks >= 1, SHAPE, "x: got ", p.in_blocks, " to ", p.out_blocks,
                    " blocks, expected at least 1");
    for (int a = 0; a < 3; ++a) {
        COVFAST_REQUIRE(p.in_size[a] >= 1, SHAPE, "x: got size ", p.in_size[a], ", expected at least 1");
        COVFAST_REQUIRE(p.padding[a] >= 0, VALUE_RANGE, "padding: got ", p.padding[a], ", expected at least 0");
        const int64_t fits = conv_out_size(p.in_size[a], p.kernel[a], 1, 1, p.padding[a]);
        COVFAST_REQUIRE(fits >= 1 && p.out_size[a] == fits, SHAPE, "y: got size ", p.out_size[a], ", expected ", fits,
                        ", at least 1, for an input of ", p.in_size[a]);
    }
    check_epilogue(p.epilogue, p.y);
    run(context, &Backend::conv_winograd, "conv_winograd", plan_of(p));
}

}  // namespace covfast
