// conv_winograd: conv_blocked's f32 convolution of stride 1 and kernel 3x3, (1, 3, 3) or (3, 3, 3), with fewer
// products, after Winograd's minimal filtering (A. Lavin, S. Gray: Fast Algorithms for Convolutional Neural Networks,
// arXiv:1509.09308). Along H and W it is F(4, 3): 6 products give 4 outputs of 3 taps, which take 12 directly. Along D,
// where the kernel has 3 planes, it is F(4, 3) too: 8 times fewer products, weights of 8 times the size; with more than
// 128 x 128 channels F(2, 3): 6 times fewer, 5.3 times the size. A tile of the output is what one set of products
// gives.
//
//   y = A^T ((G g) * (B^T d)) A a axis; points 0, +-5/8, +-3/2, infinity: by search those of least rounding error that
//   f32 holds exactly (of root mean square 3 times less than with 0, +-1, +-2), and 0, +-1, infinity along D
//
// x, y, epilogue, stats as conv_blocked, f32; epilogue kNone or kLeaky. weight as conv_winograd_pack() makes it,
// 64-byte aligned. workspace: conv_winograd_workspace() bytes, 64-byte aligned. Error: within 1e-5 of the output's
// range of the exact sum; the direct kernel stays within 1e-6. A tile is a sum over the whole of its input (6 x 6
// voxels of each plane): NaN and infinity spread over it, no further, as NaN. Throws SHAPE if sizes do not fit,
// VALUE_RANGE where conv_winograd_fits() is false.
#pragma once
#include "kernels/conv_blocked.h"

namespace covfast {

// Whether this convolution can be computed so, and whether that is expected to take at most three quarters of the time
// of conv_blocked: less does not pay for the memory that the weights take.
bool conv_winograd_fits(const ConvBlockedParams& params);
bool conv_winograd_pays(const ConvBlockedParams& params);

// Bytes of workspace for `threads` threads (<= 0: all that the process may use).
size_t conv_winograd_workspace(const ConvBlockedParams& params, int threads);

// Bytes of the packed weight, and the packing of (out_channels, in_channels, taps) f32 with 9 or 27 taps, element kF32.
size_t conv_winograd_pack_bytes(const ConvPack& pack);
void conv_winograd_pack(const ConvPack& pack, void* packed);

int64_t conv_winograd_parts(const ConvBlockedParams& params);

// What the backends' twins get: the convolution, and how it is cut, made by conv_winograd().
struct ConvWinogradParams {
    ConvBlockedParams conv;
    int64_t depth;              // outputs of a tile along D; 4 along H and W
    int64_t tiles[3];           // (D, H, W)
    int64_t batch;              // tiles of a work item, one after the other with W fastest
    int64_t batches;            // the parts of the statistics
    int64_t item_blocks;        // out blocks of a work item: all, or an even number where there are few batches
    int64_t splits;             // work items a batch
    int64_t workspace_floats;   // of one thread, a multiple of 16
    int64_t in_step, out_step;  // floats from position to position of transformed input and of products
};

struct Context;
// Checks the arguments and runs on the context's backend.
void conv_winograd(const ConvBlockedParams& params, const Context& context);

}  // namespace covfast
