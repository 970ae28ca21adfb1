// How conv_blocked's packed weight and its work are cut; the same for all instruction sets, so that a weight packed
// once serves every one of them and stats have one shape.
//
// Packed weight: output blocks in pairs (the last of an odd number alone), for each pair (in block, tap, word, block of
// the pair, lane) of 32-bit words: what block_product.h reads is contiguous, from the first tap of the first block to
// the last. Of a planar x each channel is a block of one word. After it, (16 out_blocks) words: all ones where a lane
// holds a channel, else 0.
//
// Work: an item is a part of the output plane (kPartPixels pixels in memory order, whatever rows they lie in) for one
// pair of output blocks.
#pragma once
#include "kernels/conv_blocked.h"

namespace covfast {

constexpr int64_t kPair = 2;          // output blocks
constexpr int64_t kPartPixels = 336;  // whole tiles of 14, 12, 6, 4, 3 and 2 pixels

// Words of a block of x: 32 bits each.
static constexpr int64_t block_words(Element e, bool is_planar) {
    return is_planar ? 1 : kLanes * element_bytes(e) / 4;
}

}  // namespace covfast
