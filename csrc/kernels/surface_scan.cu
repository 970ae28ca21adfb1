// surface_scan and surface_pack: one thread turns 64 voxels along z of one map into a word.
//
// Scan   reads both maps once and is bound by memory. A thread's 64 bytes lie beside its neighbour's, so a warp reads
//        2 KiB in a row, eight aligned bytes at a time: rows begin anywhere, and the first level of cache joins the
//        pieces. Most words are background, which is seen before any label is compared. Counts go to the tally of
//        (x, label) by atomics, from words that hold the label only.
// Pack   reads one label's box, and writes words of neighbouring y side by side.
// Types of more than a byte, and steps other than one along z, are compared voxel by voxel, some four times slower.
#include "cuda/atomics.h"
#include "cuda/launch.h"
#include "kernels/surface_body.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int kParts = 8;  // eight bytes each

typedef uint64_t Part __attribute__((may_alias));

// Eight bytes from an aligned place, those outside of [begin, end) as zero.
__device__ uint64_t part_at(const uint8_t* at, const uint8_t* begin, const uint8_t* end) {
    if (at >= begin && at + 8 <= end) return *reinterpret_cast<const Part*>(at);
    uint64_t part = 0;
    if (at >= end) return part;
    for (int i = 0; i < 8; ++i)
        if (at + i >= begin && at + i < end) part |= uint64_t(at[i]) << (8 * i);
    return part;
}

// Bit i is set where byte i is zero.
__device__ uint64_t zero_bytes(uint64_t v) {
    constexpr uint64_t kLow = 0x7f7f7f7f7f7f7f7full;
    const uint64_t zero = ~(((v & kLow) + kLow) | v | kLow);  // 0x80 in each byte that is zero
    return (zero >> 7) * 0x0102040810204080ull >> 56;
}

template <class T>
__device__ uint64_t match_voxels(const T* row, int64_t step, int64_t n, const int64_t* values, int64_t count) {
    uint64_t bits = 0;
    for (int64_t v = 0; v < count; ++v) {
        T value;
        if (!as_label(values[v], value)) continue;
        for (int64_t i = 0; i < n; ++i) bits |= uint64_t(row[i * step] == value) << i;
    }
    return bits;
}

template <class T>
__device__ bool any_fraction(const T* row, int64_t step, int64_t n) {
    bool found = false;
    for (int64_t i = 0; i < n; ++i) found |= !is_whole(row[i * step]);
    return found;
}

// Up to 64 voxels along z of one map, in registers if they are bytes.
class LabelWord {
public:
    // The voxels from z on of a row of `length`.
    __device__ LabelWord(const LabelMap& map, int64_t x, int64_t y, int64_t z, int64_t length)
        : n_(length - z < 64 ? length - z : 64), step_(map.stride[2]), type_(map.type) {
        const int64_t bytes = label_bytes(map.type);
        const char* row = static_cast<const char*>(map.data) + (x * map.stride[0] + y * map.stride[1]) * bytes;
        at_ = row + z * step_ * bytes;
        is_loaded_ = bytes == 1 && step_ == 1;
        if (is_loaded_) load(reinterpret_cast<const uint8_t*>(row), length);
    }

    __device__ uint64_t match(const int64_t* values, int64_t count) const {
        if (is_loaded_) return match_bytes(values, count);
        switch (type_) {
            case LabelType::kBool:
                return match_as<BoolByte>(values, count);
            case LabelType::kU8:
                return match_as<uint8_t>(values, count);
            case LabelType::kI8:
                return match_as<int8_t>(values, count);
            case LabelType::kU16:
                return match_as<uint16_t>(values, count);
            case LabelType::kI16:
                return match_as<int16_t>(values, count);
            case LabelType::kU32:
                return match_as<uint32_t>(values, count);
            case LabelType::kI32:
                return match_as<int32_t>(values, count);
            case LabelType::kU64:
                return match_as<uint64_t>(values, count);
            case LabelType::kI64:
                return match_as<int64_t>(values, count);
            case LabelType::kF32:
                return match_as<float>(values, count);
            case LabelType::kF64:
                return match_as<double>(values, count);
        }
        return 0;
    }

    __device__ bool has_fraction() const {
        if (type_ == LabelType::kF32) return any_fraction(static_cast<const float*>(at_), step_, n_);
        return type_ == LabelType::kF64 && any_fraction(static_cast<const double*>(at_), step_, n_);
    }

private:
    __device__ void load(const uint8_t* row, int64_t length) {
        const uint8_t* at = static_cast<const uint8_t*>(at_);
        const int shift = static_cast<int>(reinterpret_cast<uintptr_t>(at) & 7) * 8;
        at -= shift / 8;
        uint64_t part = part_at(at, row, row + length), any = 0;
        for (int k = 0; k < kParts; ++k) {
            const bool is_needed = k + 1 < kParts || shift > 0;
            const uint64_t next = is_needed ? part_at(at + 8 * (k + 1), row, row + length) : 0;
            part_[k] = shift > 0 ? part >> shift | next << (64 - shift) : part;
            part = next, any |= part_[k];
        }
        is_blank_ = any == 0;
    }

    __device__ uint64_t match_bytes(const int64_t* values, int64_t count) const {
        uint64_t bits = 0;
        for (int64_t v = 0; v < count; ++v) {
            const int64_t value = values[v];
            const bool is_bool = type_ == LabelType::kBool;
            const int64_t low = type_ == LabelType::kI8 ? -128 : 0, high = is_bool ? 1 : low + 255;
            if (value < low || value > high || (is_blank_ && value != 0)) continue;
            const uint64_t wanted = is_bool ? 0 : uint64_t(value & 255) * 0x0101010101010101ull;
            const uint64_t flip = is_bool && value == 1 ? 255 : 0;
            for (int k = 0; k < kParts; ++k) bits |= (zero_bytes(part_[k] ^ wanted) ^ flip) << (8 * k);
        }
        return n_ < 64 ? bits & ((uint64_t(1) << n_) - 1) : bits;
    }

    template <class T>
    __device__ uint64_t match_as(const int64_t* values, int64_t count) const {
        return match_voxels(static_cast<const T*>(at_), step_, n_, values, count);
    }

    const void* at_;
    int64_t n_, step_;
    LabelType type_;
    bool is_loaded_, is_blank_ = false;
    uint64_t part_[kParts] = {};
};

__global__ void clear_tallies_kernel(const __grid_constant__ SurfaceScanParams p) {
    const int64_t n = p.size[0] * p.labels;
    for (int64_t i = grid_begin(); i < n; i += grid_step()) p.tallies[i] = {0, 0, 0, {p.size[1], p.size[2]}, {-1, -1}};
}

__device__ void tally_word(uint64_t truth, uint64_t prediction, int64_t y, int64_t z, SurfaceTally& tally) {
    const uint64_t either = truth | prediction, both = truth & prediction;
    if (either == 0) return;
    if (truth) add_shared(&tally.truth, int64_t(__popcll(truth)));
    if (prediction) add_shared(&tally.prediction, int64_t(__popcll(prediction)));
    if (both) add_shared(&tally.both, int64_t(__popcll(both)));
    lower_shared(&tally.low[0], y), raise_shared(&tally.high[0], y);
    lower_shared(&tally.low[1], z + __ffsll(static_cast<int64_t>(either)) - 1);
    raise_shared(&tally.high[1], z + 63 - __clzll(static_cast<int64_t>(either)));
}

__global__ void surface_scan_kernel(const __grid_constant__ SurfaceScanParams p) {
    const int64_t words = (p.size[2] + 63) / 64, n = p.size[0] * p.size[1] * words;
    for (int64_t i = grid_begin(); i < n; i += grid_step()) {
        const int64_t row = i / words, z = (i - row * words) * 64, x = row / p.size[1], y = row - x * p.size[1];
        const LabelWord truth(p.maps[0], x, y, z, p.size[2]), prediction(p.maps[1], x, y, z, p.size[2]);
        if (truth.has_fraction()) p.is_fraction[0] = 1;
        if (prediction.has_fraction()) p.is_fraction[1] = 1;
        for (int label = 0; label < p.labels; ++label) {
            const int64_t* first = p.first + 2 * label;
            const uint64_t a = truth.match(p.values + first[0], first[1] - first[0]);
            const uint64_t b = prediction.match(p.values + first[1], first[2] - first[1]);
            tally_word(a, b, y, z, p.tallies[x * p.labels + label]);
        }
    }
}

__global__ void surface_pack_kernel(const __grid_constant__ SurfacePackParams p) {
    const int64_t total = p.grid.total();
    for (int64_t i = grid_begin(); i < 2 * total; i += grid_step()) {
        const int side = i >= total ? 1 : 0;
        const WordPlace at = word_place(p.grid, i - side * total);
        uint64_t bits = 0;
        if (at.is_inside && at.x < p.size[0] && at.y < p.size[1] && 64 * at.word < p.size[2])
            bits =
                LabelWord(p.maps[side], at.x, at.y, 64 * at.word, p.size[2]).match(p.values[side], p.value_count[side]);
        p.voxels[side][i - side * total] = bits;
    }
}

}  // namespace

void surface_scan(const SurfaceScanParams& params, const Exec& exec) {
    const int64_t words = params.size[0] * params.size[1] * ((params.size[2] + 63) / 64);
    launch("surface_scan", clear_tallies_kernel, blocks_for(params.size[0] * params.labels), kThreadsPerBlock, 0,
           exec.stream, params);
    launch("surface_scan", surface_scan_kernel, blocks_for(words), kThreadsPerBlock, 0, exec.stream, params);
}

void surface_pack(const SurfacePackParams& params, const Exec& exec) {
    launch("surface_pack", surface_pack_kernel, blocks_for(2 * params.grid.total()), kThreadsPerBlock, 0, exec.stream,
           params);
}

}  // namespace covfast::COVFAST_ISA
