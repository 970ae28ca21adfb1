// The packed weight of conv_blocked; kernels/conv_blocked_parts.h has its layout.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "core/error.h"
#include "kernels/conv_blocked_parts.h"

namespace covfast {
namespace {

struct Packing {
    const ConvPack& pack;
    int64_t words, x_blocks, out_blocks, per_word;

    explicit Packing(const ConvPack& pack)
        : pack(pack),
          words(block_words(pack.element, pack.x_is_planar)),
          x_blocks(pack.x_is_planar ? pack.in.lanes : pack.in.lanes / kLanes),
          out_blocks(pack.out.lanes / kLanes),
          per_word(4 / element_bytes(pack.element)) {
        COVFAST_REQUIRE(pack.in_channels >= 1 && pack.taps >= 1, SHAPE, "weight: got ", pack.in_channels,
                        " input channels and ", pack.taps, " taps, expected at least 1");
        COVFAST_REQUIRE(pack.in.lanes >= 1 && (pack.x_is_planar || pack.in.lanes % kLanes == 0), SHAPE, "in: got ",
                        pack.in.lanes, " lanes, expected a multiple of ", kLanes);
        COVFAST_REQUIRE(pack.out.lanes >= 1 && pack.out.lanes % kLanes == 0, SHAPE, "out: got ", pack.out.lanes,
                        " lanes, expected a multiple of ", kLanes);
        COVFAST_REQUIRE(!pack.x_is_planar || pack.element == Element::kF32, VALUE_RANGE,
                        "element: got another than f32 for a planar x, expected f32");
    }

    int64_t weight_words() const { return out_blocks * x_blocks * pack.taps * words * kLanes; }

    // The weight of an output lane, an input lane and a tap; 0 where a lane holds no channel.
    float at(int64_t out_lane, int64_t in_lane, int64_t tap) const {
        const int32_t o = pack.out.channel[out_lane], c = pack.in.channel[in_lane];
        return o < 0 || c < 0 ? 0.0f : pack.weight[(o * pack.in_channels + c) * pack.taps + tap];
    }
};

uint16_t bf16_of(float v) {
    uint32_t bits;
    std::memcpy(&bits, &v, sizeof bits);
    if (v != v) return static_cast<uint16_t>(bits >> 16 | 0x40);
    return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);  // to nearest even
}

// Steps of s8, so that the greatest weight of an output becomes 127. 1 where all are 0.
std::vector<float> quantisation_steps(const Packing& packing) {
    const ConvPack& pack = packing.pack;
    std::vector<float> steps(pack.out.lanes, 1.0f);
    for (int64_t o = 0; o < pack.out.lanes; ++o) {
        float greatest = 0;
        for (int64_t c = 0; c < pack.in.lanes; ++c)
            for (int64_t t = 0; t < pack.taps; ++t)
                greatest = std::max(greatest, std::abs(packing.at(o, c, t) * pack.in_scale[c]));
        if (greatest > 0) steps[o] = greatest / 127;
    }
    return steps;
}

// Calls write(out lane, tap, first in lane, word) for every word, in the order of memory.
template <class Write>
void each_word(const Packing& packing, Write&& write) {
    for (int64_t first = 0; first < packing.out_blocks; first += kPair) {
        const int64_t row = std::min(kPair, packing.out_blocks - first);
        for (int64_t block = 0; block < packing.x_blocks; ++block)
            for (int64_t tap = 0; tap < packing.pack.taps; ++tap)
                for (int64_t word = 0; word < packing.words; ++word)
                    for (int64_t lane = 0; lane < row * kLanes; ++lane)
                        write(first * kLanes + lane, tap, (block * packing.words + word) * packing.per_word);
    }
}

void pack_u8(const Packing& packing, int8_t* to) {
    const ConvPack& pack = packing.pack;
    COVFAST_REQUIRE(pack.in_scale != nullptr && pack.out_scale != nullptr && pack.offset != nullptr, VALUE_RANGE,
                    "in_scale, out_scale, offset: got null, expected memory, for u8");
    const std::vector<float> steps = quantisation_steps(packing);
    std::vector<int64_t> total(pack.out.lanes);
    each_word(packing, [&](int64_t o, int64_t tap, int64_t c) {
        for (int64_t i = 0; i < packing.per_word; ++i) {
            const float scaled = packing.at(o, c + i, tap) * pack.in_scale[c + i] / steps[o];
            *to = std::isfinite(scaled) ? static_cast<int8_t>(std::clamp(std::nearbyint(scaled), -127.0f, 127.0f)) : 0;
            total[o] += *to++;
        }
    });
    for (int64_t o = 0; o < pack.out.lanes; ++o)
        pack.out_scale[o] = steps[o], pack.offset[o] = static_cast<float>(128 * total[o]);
}

}  // namespace

size_t conv_blocked_pack_bytes(const ConvPack& pack) {
    const Packing packing(pack);
    return sizeof(float) * (packing.weight_words() + pack.out.lanes);
}

void conv_blocked_pack(const ConvPack& pack, void* packed) {
    const Packing packing(pack);
    if (pack.element == Element::kF32) {
        float* to = static_cast<float*>(packed);
        each_word(packing, [&](int64_t o, int64_t tap, int64_t c) { *to++ = packing.at(o, c, tap); });
    } else if (pack.element == Element::kBf16) {
        uint16_t* to = static_cast<uint16_t*>(packed);
        each_word(packing, [&](int64_t o, int64_t tap, int64_t c) {
            *to++ = bf16_of(packing.at(o, c, tap)), *to++ = bf16_of(packing.at(o, c + 1, tap));
        });
    } else {
        pack_u8(packing, static_cast<int8_t*>(packed));
    }
    uint32_t* live = static_cast<uint32_t*>(packed) + packing.weight_words();
    for (int64_t o = 0; o < pack.out.lanes; ++o) live[o] = pack.out.channel[o] < 0 ? 0 : 0xffffffffu;
}

}  // namespace covfast
