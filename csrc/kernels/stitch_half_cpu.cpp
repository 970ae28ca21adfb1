// As stitch_cpu.cpp, a row of one channel and plane at a time; the rows of the count follow as those of one more
// channel. f16 is widened, added to and rounded in registers: by the hardware where it can, by bits elsewhere.
#include "cpu/simd.h"
#include "kernels/stitch_half_body.h"
#include "kernels/table.h"

#ifdef __F16C__
#include <immintrin.h>
#endif

namespace covfast::COVFAST_ISA {
namespace {

constexpr int64_t kRowsPerBlock = 64;
constexpr int64_t kChunk = 256;

#if defined(__AVX512F__)
Vec load_half(const uint16_t* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
void store_half(uint16_t* p, Vec v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}
#elif defined(__F16C__)
Vec load_half(const uint16_t* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
void store_half(uint16_t* p, Vec v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}
#else
Vec load_half(const uint16_t* p) {
    Vec v;
    for (int i = 0; i < kVecLanes; ++i) v[i] = half_to_float(p[i]);
    return v;
}
void store_half(uint16_t* p, Vec v) {
    for (int i = 0; i < kVecLanes; ++i) p[i] = half_from_float(v[i]);
}
#endif

Vec rounded_to_half(Vec v) {
    uint16_t half[kVecLanes];
    store_half(half, v);
    return load_half(half);
}

void add_row(const float* x, float scale, const uint16_t* weight, uint16_t* sum, int64_t n) {
    int64_t i = 0;
    for (; i + kVecLanes <= n; i += kVecLanes)
        store_half(sum + i, load_half(sum + i) + load(x + i) * fill(scale) * load_half(weight + i));
    for (; i < n; ++i) sum[i] = stitch_half_value(sum[i], scale, weight[i], x[i]);
}

void add_strided_row(const float* x, int64_t step, float scale, const uint16_t* weight, uint16_t* sum, int64_t n) {
    float chunk[kChunk];
    for (int64_t first = 0; first < n; first += kChunk) {
        const int64_t count = n - first < kChunk ? n - first : kChunk;
        for (int64_t i = 0; i < count; ++i) chunk[i] = x[(first + i) * step];
        add_row(chunk, scale, weight + first, sum + first, count);
    }
}

void count_row(const uint16_t* weight, uint16_t* count, int64_t n) {
    int64_t i = 0;
    for (; i + kVecLanes <= n; i += kVecLanes) store_half(count + i, load_half(count + i) + load_half(weight + i));
    for (; i < n; ++i) count[i] = stitch_half_count(count[i], weight[i]);
}

void stitch_rows(const void* params, int64_t begin, int64_t end) {
    const StitchHalfParams& p = *static_cast<const StitchHalfParams*>(params);
    const StitchBox box = stitch_box(p);
    const int64_t step = p.flip[2] ? -p.stride[3] : p.stride[3];
    for (int64_t r = begin; r < end; ++r) {
        const int64_t c = r / box.rows / box.planes, d = box.d.begin + r / box.rows % box.planes;
        const int64_t h = box.h.begin + r % box.rows;
        const uint16_t* weight = p.weight + (d * p.window[1] + h) * p.window[2] + box.w.begin;
        if (c == p.channels) {
            count_row(weight, p.count + stitch_half_row(p, 1, 0, d, h) + box.w.begin, box.columns);
            continue;
        }
        const float* x = p.x + stitch_source(p, c, d, h, box.w.begin);
        uint16_t* sum = p.sum + stitch_half_row(p, p.channels, c, d, h) + box.w.begin;
        if (step == 1) {
            add_row(x, p.scale, weight, sum, box.columns);
        } else {
            add_strided_row(x, step, p.scale, weight, sum, box.columns);
        }
    }
}

void mean_row(const StitchHalfPlaneParams& p, const uint16_t* sum, const uint16_t* count, float* y) {
    int64_t w = 0;
    for (; w + kVecLanes <= p.width; w += kVecLanes) {
        const Vec divisor = load_half(count + w);
        Vec mean = rounded_to_half(load_half(sum + w) / divisor);
        for (int64_t f = 1; f < p.folds; ++f)
            mean = rounded_to_half(mean + rounded_to_half(load_half(sum + f * p.fold_stride + w) / divisor));
        store(y + w, p.folds == 1 ? mean : rounded_to_half(mean / fill(static_cast<float>(p.folds))));
    }
    for (; w < p.width; ++w) y[w] = stitch_half_mean(p, sum + w, count[w]);
}

void mean_rows(const void* params, int64_t begin, int64_t end) {
    const StitchHalfPlaneParams& p = *static_cast<const StitchHalfPlaneParams*>(params);
    for (int64_t r = begin; r < end; ++r) {
        const int64_t c = r / p.height, h = r % p.height;
        mean_row(p, p.sum + r * p.width, p.count + h * p.width, p.y + c * p.y_channel_stride + h * p.y_row_stride);
    }
}

}  // namespace

void stitch_half(const StitchHalfParams& params, const Exec& exec) {
    const StitchBox box = stitch_box(params);
    const int64_t channels = params.channels + (params.count != nullptr ? 1 : 0);
    if (box.columns == 0) return;
    exec.parallel_for(stitch_rows, &params, channels * box.planes * box.rows, kRowsPerBlock, exec.threads);
}

void stitch_half_plane(const StitchHalfPlaneParams& params, const Exec& exec) {
    exec.parallel_for(mean_rows, &params, params.channels * params.height, kRowsPerBlock, exec.threads);
}

}  // namespace covfast::COVFAST_ISA
