#include "kernels/conv_transpose_blocked.h"

#include <algorithm>
#include <vector>

#include "core/error.h"
#include "kernels/backend.h"
#include "kernels/check_epilogue.h"
#include "kernels/conv_blocked_parts.h"

namespace covfast {

namespace {

// (taps, out lanes): 128 times the sum of the weights of a tap, of s8 words as conv_blocked_pack() leaves them.
void sum_taps(const ConvPack& pack, const int8_t* word, int32_t* offset) {
    const int64_t out_blocks = pack.out.lanes / kLanes, in_blocks = pack.in.lanes / kLanes;
    std::fill_n(offset, pack.taps * pack.out.lanes, 0);
    for (int64_t first = 0; first < out_blocks; first += kPair)
        for (int64_t block = 0; block < in_blocks; ++block)
            for (int64_t tap = 0; tap < pack.taps; ++tap) {
                int32_t* lanes = offset + tap * pack.out.lanes + first * kLanes;
                const int64_t row = std::min(kPair, out_blocks - first) * kLanes;
                for (int64_t i = 0; i < block_words(Element::kU8, false) * row; ++i, word += 4)
                    lanes[i % row] += 128 * (word[0] + word[1] + word[2] + word[3]);
            }
}

}  // namespace

size_t conv_transpose_blocked_pack_bytes(const ConvPack& pack) {
    const int64_t offsets = pack.element == Element::kU8 ? pack.taps * pack.out.lanes : 0;
    return conv_blocked_pack_bytes(pack) + offsets * sizeof(int32_t);
}

void conv_transpose_blocked_pack(const ConvPack& pack, void* packed) {
    COVFAST_REQUIRE(!pack.x_is_planar, VALUE_RANGE, "x_is_planar: got true, expected a blocked x");
    const int64_t out = 1 + *std::max_element(pack.out.channel, pack.out.channel + pack.out.lanes);
    std::vector<float> turned(pack.in_channels * out * pack.taps);
    for (int64_t c = 0; c < pack.in_channels; ++c)
        for (int64_t o = 0; o < out; ++o)
            std::copy_n(pack.weight + (c * out + o) * pack.taps, pack.taps,
                        turned.data() + (o * pack.in_channels + c) * pack.taps);
    ConvPack other = pack;
    std::vector<float> offset(pack.out.lanes);
    other.weight = turned.data(), other.offset = offset.data();
    conv_blocked_pack(other, packed);
    if (pack.element != Element::kU8) return;
    char* end = static_cast<char*>(packed) + conv_blocked_pack_bytes(pack);
    sum_taps(pack, static_cast<const int8_t*>(packed), reinterpret_cast<int32_t*>(end));
    if (pack.offset != nullptr) std::fill_n(pack.offset, pack.out.lanes, 0.0f);
}

void conv_transpose_blocked(const ConvTransposeBlockedParams& p, const Context& context) {
    COVFAST_REQUIRE(p.in_blocks >= 1 && p.out_blocks >= 1, SHAPE, "x: got ", p.in_blocks, " to ", p.out_blocks,
                    " blocks, expected at least one");
    for (int a = 0; a < 3; ++a)
        COVFAST_REQUIRE(p.in_size[a] >= 1 && p.stride[a] >= 1, SHAPE, "x, stride: got size ", p.in_size[a],
                        " and stride ", p.stride[a], ", expected at least 1");
    COVFAST_REQUIRE(p.y_element != Element::kU8, VALUE_RANGE, "y_element: got u8, expected f32 or bf16");
    COVFAST_REQUIRE(p.x_element != Element::kU8 || p.scale != nullptr, VALUE_RANGE,
                    "scale: got null, expected one for each output channel of u8");
    check_epilogue(p.epilogue, p.y);
    run(context, &Backend::conv_transpose_blocked, "conv_transpose_blocked", p);
}

}  // namespace covfast
