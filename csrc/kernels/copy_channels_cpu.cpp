// A copy: one item is one channel of one image.
#include <cstring>

#include "cpu/isa.h"
#include "kernels/copy_channels.h"
#include "kernels/table.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr int64_t kValuesPerBlock = 1 << 16;

void copy_channels_range(const void* params, int64_t begin, int64_t end) {
    const CopyChannelsParams& p = *static_cast<const CopyChannelsParams*>(params);
    for (int64_t i = begin; i < end; ++i) {
        const int64_t n = i / p.count, c = i % p.count;
        std::memcpy(p.y + (n * p.y_channels + p.y_first + c) * p.plane,
                    p.x + (n * p.x_channels + p.x_first + c) * p.plane, p.plane * sizeof(float));
    }
}

}  // namespace

void copy_channels(const CopyChannelsParams& p, const Exec& exec) {
    const int64_t grain = p.plane > 0 ? kValuesPerBlock / p.plane : 1;
    exec.parallel_for(copy_channels_range, &p, p.n * p.count, grain > 0 ? grain : 1, exec.threads);
}

}  // namespace covfast::COVFAST_ISA
