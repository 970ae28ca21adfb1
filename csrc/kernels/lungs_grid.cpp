#include "kernels/lungs_grid.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/threads.h"

namespace covfast::coarse {
namespace {

// Squared distances along W: two sweeps of the distance to the last voxel outside.
void distance_row(const uint8_t* mask, int64_t n, float mm, float far, float* out) {
    const int64_t none = std::numeric_limits<int32_t>::max();
    int64_t since = none;
    for (int64_t i = 0; i < n; ++i) {
        since = mask[i] ? (since == none ? none : since + 1) : 0;
        out[i] = since == none ? far : std::min(far, since * mm * (since * mm));
    }
    since = none;
    for (int64_t i = n - 1; i >= 0; --i) {
        since = mask[i] ? (since == none ? none : since + 1) : 0;
        if (since != none) out[i] = std::min(out[i], since * mm * (since * mm));
    }
}

// One axis of the distance: line k becomes min over j of line k + j plus (j mm)^2, j up to the cap. `lines` rows of
// `n` values, `stride` apart, read from a copy.
void distance_axis(float* data, int64_t lines, int64_t stride, int64_t n, float mm, float cap,
                   std::vector<float>& copy) {
    copy.resize(lines * n);
    for (int64_t k = 0; k < lines; ++k) std::copy_n(data + k * stride, n, copy.data() + k * n);
    const int64_t reach = std::min<int64_t>(lines - 1, static_cast<int64_t>(cap / mm));
    for (int64_t k = 0; k < lines; ++k) {
        float* out = data + k * stride;
        for (int64_t j = std::max<int64_t>(-reach, -k); j <= reach && k + j < lines; ++j) {
            if (j == 0) continue;
            const float add = (j * mm) * (j * mm);
            const float* from = copy.data() + (k + j) * n;
            for (int64_t i = 0; i < n; ++i) {
                const float d = from[i] + add;
                out[i] = d < out[i] ? d : out[i];
            }
        }
    }
}

int32_t root_of(std::vector<int32_t>& parent, int32_t i) {
    while (parent[i] != i) i = parent[i] = parent[parent[i]];
    return i;
}

// Joins the overlapping runs of two rows; both lists are sorted by column.
void link_rows(const std::vector<Run>& runs, int64_t a, int64_t a_end, int64_t b, int64_t b_end,
               std::vector<int32_t>& parent) {
    while (a < a_end && b < b_end) {
        if (runs[a].begin < runs[b].end && runs[b].begin < runs[a].end) {
            const int32_t x = root_of(parent, static_cast<int32_t>(a)), y = root_of(parent, static_cast<int32_t>(b));
            parent[std::max(x, y)] = std::min(x, y);
        }
        runs[a].end < runs[b].end ? ++a : ++b;
    }
}

// Of a mask's voxels, both inclusive; high is -1 if it has none.
struct Bounds {
    int64_t low[3], high[3];
};

Bounds bounds(const Grid& grid, const Mask& mask) {
    const auto [depth, height, width] = grid.size;
    Bounds found{{depth, height, width}, {-1, -1, -1}};
    for (int64_t row = 0; row < depth * height; ++row) {
        if (row % 64 == 0) grid.poll();
        const uint8_t *from = mask.data() + row * width, *to = from + width, *begin = std::find(from, to, 1);
        if (begin == to) continue;
        while (to[-1] == 0) --to;
        const int64_t first[3] = {row / height, row % height, begin - from},
                      last[3] = {first[0], first[1], to - 1 - from};
        for (int a = 0; a < 3; ++a)
            found.low[a] = std::min(found.low[a], first[a]), found.high[a] = std::max(found.high[a], last[a]);
    }
    return found;
}

}  // namespace

void distance2(const Grid& grid, const uint8_t* mask, float cap_mm, std::vector<float>& out) {
    const auto [depth, height, width] = grid.size;
    const int64_t plane = height * width;
    out.resize(grid.voxels());
    const float far = 4 * cap_mm * cap_mm;
    polled_for(grid, depth, [&](int64_t begin, int64_t end) {
        std::vector<float> copy;
        for (int64_t z = begin; z < end; ++z) {
            float* slice = out.data() + z * plane;
            for (int64_t y = 0; y < height; ++y)
                distance_row(mask + z * plane + y * width, width, grid.mm[2], far, slice + y * width);
            distance_axis(slice, height, width, width, grid.mm[1], cap_mm, copy);
        }
    });
    polled_for(grid, height, [&](int64_t begin, int64_t end) {
        std::vector<float> copy;
        for (int64_t y = begin; y < end; ++y)
            distance_axis(out.data() + y * width, depth, plane, width, grid.mm[0], cap_mm, copy);
    });
    each_voxel(grid, [&](int64_t i) { out[i] = out[i] > cap_mm * cap_mm ? far : out[i]; });
}

Components components(const Grid& grid, const uint8_t* mask, bool in_plane) {
    const auto [depth, height, width] = grid.size;
    Components found;
    std::vector<int64_t> first(depth * height + 1);  // first run of each row
    std::vector<int32_t> parent;
    for (int64_t row = 0; row < depth * height; ++row) {
        if (row % 64 == 0) grid.poll();
        first[row] = static_cast<int64_t>(found.runs.size());
        const uint8_t* m = mask + row * width;
        for (int64_t x = 0; x < width;) {
            if (!m[x]) {
                ++x;
                continue;
            }
            const int64_t begin = x;
            while (x < width && m[x]) ++x;
            parent.push_back(static_cast<int32_t>(found.runs.size()));
            found.runs.push_back({static_cast<int32_t>(row), static_cast<int32_t>(begin), static_cast<int32_t>(x), 0});
        }
        const int64_t end = static_cast<int64_t>(found.runs.size());
        if (row % height > 0) link_rows(found.runs, first[row - 1], first[row], first[row], end, parent);
        if (!in_plane && row >= height)
            link_rows(found.runs, first[row - height], first[row - height + 1], first[row], end, parent);
    }
    for (size_t i = 0; i < parent.size(); ++i) {
        if (i % 65536 == 0) grid.poll();
        const int32_t root = root_of(parent, static_cast<int32_t>(i));
        found.runs[i].label = root == static_cast<int32_t>(i) ? found.count++ : found.runs[root].label;
    }
    return found;
}

void paint(const Grid& grid, const Components& parts, const std::vector<uint8_t>& keep, uint8_t value, uint8_t* out) {
    for (const Run& run : parts.runs)
        if (keep[run.label])
            std::fill(out + run.row * grid.size[2] + run.begin, out + run.row * grid.size[2] + run.end, value);
    grid.poll();
}

void flood(const Grid& grid, const int16_t* level, const uint8_t* mask, uint8_t* labels) {
    const auto [depth, height, width] = grid.size;
    const int64_t plane = height * width, n = grid.voxels();
    constexpr int kLowest = -1100, kLevels = 1024;  // HU; what is denser shares the last queue
    std::vector<std::vector<int32_t>> queue(kLevels);
    const auto level_of = [&](int64_t i) { return std::clamp<int>(level[i] - kLowest, 0, kLevels - 1); };
    const auto visit = [&](int64_t from, int64_t to, int floor) {
        if (!mask[to] || labels[to]) return;
        labels[to] = labels[from];
        queue[std::max(floor, level_of(to))].push_back(static_cast<int32_t>(to));
    };
    const auto grow = [&](int64_t i, int floor) {
        const int64_t x = i % width, y = i / width % height, z = i / plane;
        if (z > 0) visit(i, i - plane, floor);
        if (y > 0) visit(i, i - width, floor);
        if (x > 0) visit(i, i - 1, floor);
        if (x + 1 < width) visit(i, i + 1, floor);
        if (y + 1 < height) visit(i, i + width, floor);
        if (z + 1 < depth) visit(i, i + plane, floor);
    };
    for (int64_t i = 0; i < n; ++i) {
        if (i % 65536 == 0) grid.poll();
        if (labels[i] && mask[i]) queue[level_of(i)].push_back(static_cast<int32_t>(i));
    }
    int64_t grown = 0;
    for (int now = 0; now < kLevels; ++now) {
        for (size_t head = 0; head < queue[now].size(); ++head) {
            if (++grown % 65536 == 0) grid.poll();
            grow(queue[now][head], now);
        }
        queue[now] = {};
    }
}

int64_t closing_pad(float radius_mm, float mm) { return static_cast<int64_t>(std::ceil(radius_mm / mm)) + 1; }

Mask ball_close(const Grid& grid, const Mask& mask, float radius_mm) {
    const auto [depth, height, width] = grid.size;
    auto [low, high] = bounds(grid, mask);
    Mask closed(mask.size());
    if (high[0] < 0) return closed;
    Grid box = grid;
    for (int a = 0; a < 3; ++a) {
        const int64_t pad = closing_pad(radius_mm, grid.mm[a]);
        low[a] -= pad;
        box.size[a] = high[a] + pad + 1 - low[a];
    }
    // The complement, because distance2 measures to what lies outside its mask.
    Mask rest(box.voxels(), 1);
    const auto each_row = [&](auto&& body) {
        polled_for(box, box.size[0], [&](int64_t begin, int64_t end) {
            for (int64_t z = begin; z < end; ++z)
                for (int64_t y = 0; y < box.size[1]; ++y) {
                    const int64_t gy = low[1] + y, x0 = std::max<int64_t>(0, -low[2]);
                    if (gy < 0 || gy >= height) continue;
                    body(low[0] + z, gy, (z * box.size[1] + y) * box.size[2] + x0, low[2] + x0,
                         std::min(box.size[2] - x0, width - low[2] - x0));
                }
        });
    };
    each_row([&](int64_t gz, int64_t gy, int64_t at, int64_t gx, int64_t n) {
        const uint8_t* from = mask.data() + (std::clamp<int64_t>(gz, 0, depth - 1) * height + gy) * width + gx;
        for (int64_t i = 0; i < n; ++i) rest[at + i] = !from[i];
    });
    std::vector<float> squared;
    distance2(box, rest.data(), radius_mm, squared);
    const float limit = radius_mm * radius_mm;
    each_voxel(box, [&](int64_t i) { rest[i] = squared[i] <= limit; });
    distance2(box, rest.data(), radius_mm, squared);
    each_row([&](int64_t gz, int64_t gy, int64_t at, int64_t gx, int64_t n) {
        if (gz < 0 || gz >= depth) return;
        uint8_t* to = closed.data() + (gz * height + gy) * width + gx;
        for (int64_t i = 0; i < n; ++i) to[i] = squared[at + i] > limit;
    });
    return closed;
}

void fill_holes(const Grid& grid, Mask& mask) {
    Mask rest(mask.size());
    each_voxel(grid, [&](int64_t i) { rest[i] = !mask[i]; });
    const Components parts = components(grid, rest.data(), false);
    std::vector<uint8_t> is_hole(parts.count, 1);
    const auto [depth, height, width] = grid.size;
    for (const Run& run : parts.runs) {
        const int64_t z = run.row / height, y = run.row % height;
        if (z == 0 || y == 0 || z == depth - 1 || y == height - 1 || run.begin == 0 || run.end == width)
            is_hole[run.label] = 0;
    }
    paint(grid, parts, is_hole, 1, mask.data());
}

}  // namespace covfast::coarse
