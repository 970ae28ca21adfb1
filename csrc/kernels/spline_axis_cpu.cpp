// One item is a group of columns, as many as fit 128 KiB: up to four registers of neighbours along `inner`, or, on the
// last axis, of neighbouring rows, turned by squares of 4. A group's lines lie in a buffer on the stack with two more
// at both ends; the recursions run along the lines, all columns in step, so that registers hide their latency:
//
//     line -2 -1 | 0 1 2 ... n-1 | n n+1      up:   s from line 0 to n-1, while x is read
//                                             down: c from line n+1 to -2, in place
//
// Then each output is four lines times four weights. Memory is read and written once; a group is read whole before it
// is written, so that y may be x. Long lines take fewer columns.
#include "cpu/simd.h"
#include "kernels/spline_axis_body.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int64_t kBufferFloats = 32 << 10;
constexpr int64_t kEdge = 2;  // lines beyond each end
static_assert(kMaxSplineLine + 2 * kEdge <= kBufferFloats);

typedef float Four __attribute__((vector_size(16)));

template <class V>
inline V read(const float* p) {
    V v;
    __builtin_memcpy(&v, p, sizeof(V));
    return v;
}
template <class V>
inline void write(float* p, V v) {
    __builtin_memcpy(p, &v, sizeof(V));
}
template <class V>
inline V clip_lanes(V v, V low, V high) {
    v = low > v ? low : v;  // in this order NaN stays
    return high < v ? high : v;
}

// to[c * to_stride + r] = from[r * from_stride + c] for a square of 4.
inline void turn(const float* from, int64_t from_stride, float* to, int64_t to_stride) {
    const Four a = read<Four>(from), b = read<Four>(from + from_stride), c = read<Four>(from + 2 * from_stride),
               d = read<Four>(from + 3 * from_stride);
    const Four ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), cd = __builtin_shufflevector(c, d, 0, 4, 1, 5);
    const Four ef = __builtin_shufflevector(a, b, 2, 6, 3, 7), gh = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    write(to, __builtin_shufflevector(ab, cd, 0, 1, 4, 5));
    write(to + to_stride, __builtin_shufflevector(ab, cd, 2, 3, 6, 7));
    write(to + 2 * to_stride, __builtin_shufflevector(ef, gh, 0, 1, 4, 5));
    write(to + 3 * to_stride, __builtin_shufflevector(ef, gh, 2, 3, 6, 7));
}

// to (columns, rows) = from (rows, columns), transposed.
void transpose(const float* from, int64_t from_stride, int64_t rows, int64_t columns, float* to, int64_t to_stride) {
    const int64_t whole_rows = rows / 4 * 4, whole_columns = columns / 4 * 4;
    for (int64_t r = 0; r < whole_rows; r += 4)
        for (int64_t c = 0; c < whole_columns; c += 4)
            turn(from + r * from_stride + c, from_stride, to + c * to_stride + r, to_stride);
    for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = r < whole_rows ? whole_columns : 0; c < columns; ++c)
            to[c * to_stride + r] = from[r * from_stride + c];
}

// A group of kColumns columns in the buffer `line`, of which line[0] begins line -kEdge.
template <class V, int kVectors>
struct Group {
    static constexpr int kLanes = sizeof(V) / sizeof(float), kColumns = kLanes * kVectors;

    static float* at(float* line, int64_t k) { return line + (k + kEdge) * kColumns; }

    // Lines of x `stride` apart, of which `columns` are in the group; the other columns of the buffer become 0.
    static void copy_in(const float* x, int64_t stride, int64_t columns, int64_t n, float* line) {
        for (int64_t k = 0; k < n; ++k) {
            float* to = at(line, k);
            for (int64_t b = 0; b < kColumns; ++b) to[b] = b < columns ? x[k * stride + b] : 0.0f;
        }
    }

    // From x, lines `stride` apart, to s in the buffer (x may be the buffer), and from there to the coefficients.
    [[gnu::noinline]] static void prefilter(const float* x, int64_t stride, int64_t n, float* line) {
        V first[kVectors], last[kVectors], s[kVectors], c[kVectors];
        for (int v = 0; v < kVectors; ++v) {
            first[v] = read<V>(x + v * kLanes), last[v] = read<V>(x + (n - 1) * stride + v * kLanes);
            s[v] = kSettled * first[v];
        }
        for (int64_t k = 0; k < n; ++k)
            for (int v = 0; v < kVectors; ++v) {
                s[v] = step_up(s[v], read<V>(x + k * stride + v * kLanes));
                write(at(line, k) + v * kLanes, s[v]);
            }
        for (int v = 0; v < kVectors; ++v) {
            c[v] = behind(last[v], s[v]);
            write(at(line, n) + v * kLanes, c[v]);
            write(at(line, n + 1) + v * kLanes, last[v] + kPole * (c[v] - last[v]));
        }
        for (int64_t k = n - 1; k >= 0; --k)
            for (int v = 0; v < kVectors; ++v) {
                c[v] = step_down(c[v], read<V>(at(line, k) + v * kLanes));
                write(at(line, k) + v * kLanes, c[v]);
            }
        for (int64_t k = -1; k >= -kEdge; --k)
            for (int v = 0; v < kVectors; ++v) {
                c[v] = step_down(c[v], kSettled * first[v]);
                write(at(line, k) + v * kLanes, c[v]);
            }
    }

    static void repeat_edges(int64_t n, float* line) {
        for (int64_t k = 0; k < kEdge; ++k)
            for (int64_t b = 0; b < kColumns; ++b)
                at(line, -1 - k)[b] = at(line, 0)[b], at(line, n + k)[b] = at(line, n - 1)[b];
    }

    static void output(const SplineAxisParams& p, const float* line, int64_t o, float* y) {
        const float* from = line + (p.first[o] + kEdge) * kColumns;
        const float* w = p.weight + o * kSplineTaps;
        for (int v = 0; v < kVectors; ++v) {
            const float* tap = from + v * kLanes;
            const V sum = w[0] * read<V>(tap) + w[1] * read<V>(tap + kColumns) + w[2] * read<V>(tap + 2 * kColumns) +
                          w[3] * read<V>(tap + 3 * kColumns);
            write(y + v * kLanes, clip_lanes(sum, V{} + p.low, V{} + p.high));
        }
    }

    // Columns [b, b + columns) of one array (n_in, inner).
    static void along_inner(const SplineAxisParams& p, const float* x, float* y, int64_t columns) {
        alignas(64) float line[kBufferFloats];
        const bool is_whole = columns == kColumns;
        if (!is_whole || !p.prefilter) copy_in(x, p.inner, columns, p.n_in, line);
        if (p.prefilter) {
            prefilter(is_whole ? x : at(line, 0), is_whole ? p.inner : kColumns, p.n_in, line);
        } else {
            repeat_edges(p.n_in, line);
        }
        for (int64_t o = 0; o < p.n_out; ++o) {
            alignas(64) float part[kColumns];
            output(p, line, o, is_whole ? y + o * p.inner : part);
            if (!is_whole) __builtin_memcpy(y + o * p.inner, part, columns * sizeof(float));
        }
    }

    // Rows [r, r + rows) of an array whose last axis is resampled: a row is a column of the buffer.
    static void along_row(const SplineAxisParams& p, const float* x, float* y, int64_t rows) {
        constexpr int64_t kTile = 16;  // outputs
        alignas(64) float line[kBufferFloats], tile[kTile * kColumns];
        transpose(x, p.x_outer_stride, rows, p.n_in, at(line, 0), kColumns);
        for (int64_t k = 0; k < p.n_in && rows < kColumns; ++k)
            for (int64_t b = rows; b < kColumns; ++b) at(line, k)[b] = 0;
        p.prefilter ? prefilter(at(line, 0), kColumns, p.n_in, line) : repeat_edges(p.n_in, line);
        for (int64_t o = 0; o < p.n_out; o += kTile) {
            const int64_t count = p.n_out - o < kTile ? p.n_out - o : kTile;
            for (int64_t i = 0; i < count; ++i) output(p, line, o + i, tile + i * kColumns);
            transpose(tile, kColumns, count, rows, y + o, p.y_outer_stride);
        }
    }

    static int64_t groups(const SplineAxisParams& p) {
        const int64_t columns = p.inner == 1 ? p.outer : p.inner;
        return (columns + kColumns - 1) / kColumns;
    }

    static void range(const void* params, int64_t begin, int64_t end) {
        const SplineAxisParams& p = *static_cast<const SplineAxisParams*>(params);
        const int64_t all = p.inner == 1 ? p.outer : p.inner, in_array = groups(p);
        for (int64_t i = begin; i < end; ++i) {
            const int64_t a = i / in_array, at = i % in_array * kColumns;
            const int64_t columns = all - at < kColumns ? all - at : kColumns;
            if (p.inner == 1) {
                along_row(p, p.x + at * p.x_outer_stride, p.y + at * p.y_outer_stride, columns);
            } else {
                along_inner(p, p.x + a * p.x_outer_stride + at, p.y + a * p.y_outer_stride + at, columns);
            }
        }
    }

    static bool fits(const SplineAxisParams& p) { return (p.n_in + 2 * kEdge) * kColumns <= kBufferFloats; }
    static void run(const SplineAxisParams& p, const Exec& exec) {
        exec.parallel_for(range, &p, p.inner == 1 ? groups(p) : p.outer * groups(p), 1, exec.threads);
    }
};

}  // namespace

void spline_axis(const SplineAxisParams& params, const Exec& exec) {
    if (params.inner == 0) return;
    if (Group<Vec, 4>::fits(params)) return Group<Vec, 4>::run(params, exec);
    if (Group<Vec, 2>::fits(params)) return Group<Vec, 2>::run(params, exec);
    if (Group<Vec, 1>::fits(params)) return Group<Vec, 1>::run(params, exec);
    if (Group<Four, 1>::fits(params)) return Group<Four, 1>::run(params, exec);
    Group<float, 1>::run(params, exec);
}

}  // namespace covfast::COVFAST_ISA
