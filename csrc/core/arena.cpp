#include "core/arena.h"

#include <cstdlib>
#include <limits>
#include <utility>

#include "core/error.h"

namespace covfast {

Arena::~Arena() { std::free(base_); }

Arena::Arena(Arena&& other) noexcept
    : base_(std::exchange(other.base_, nullptr)), planned_(std::exchange(other.planned_, 0)) {}

Arena& Arena::operator=(Arena&& other) noexcept {
    std::swap(base_, other.base_);
    std::swap(planned_, other.planned_);
    return *this;
}

size_t Arena::reserve(size_t count, size_t item_bytes) {
    COVFAST_REQUIRE(base_ == nullptr, INTERNAL, "arena: got plan() after commit(), expected all plans before it");
    const size_t room = std::numeric_limits<ptrdiff_t>::max() - planned_ - kAlignment;
    COVFAST_REQUIRE(count <= room / item_bytes, MEMORY_LIMIT, "workspace: got ", count, " items of ", item_bytes,
                    " bytes, expected a size that memory can hold");
    size_t offset = planned_;
    planned_ += (count * item_bytes + kAlignment - 1) / kAlignment * kAlignment;
    return offset;
}

void Arena::commit() {
    if (planned_ == 0) return;
    base_ = static_cast<std::byte*>(std::aligned_alloc(kAlignment, planned_));
    COVFAST_REQUIRE(base_ != nullptr, MEMORY_LIMIT, "workspace: got a refusal for ", planned_,
                    " bytes, expected that much free memory");
}

}  // namespace covfast
