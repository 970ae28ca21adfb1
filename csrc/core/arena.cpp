#include "core/arena.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

#include <cstdlib>
#include <limits>
#include <utility>

#include "core/error.h"

namespace covfast {
namespace {

// Large blocks ask for huge pages: to touch fresh pages of 4 KiB first costs as much as some passes over them.
void* host_memory(size_t bytes, Arena::Kind kind) {
    constexpr size_t kHugePage = size_t(2) << 20;
    const size_t alignment = kind == Arena::kDense && bytes >= 16 * kHugePage ? kHugePage : kAlignment;
    void* memory = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
#ifdef __linux__
    if (memory != nullptr && alignment == kHugePage) madvise(memory, bytes, MADV_HUGEPAGE);  // a hint: may be refused
#endif
    return memory;
}

}  // namespace

Arena::~Arena() {
    if (base_ != nullptr) release_ != nullptr ? release_(base_) : std::free(base_);
}

Arena::Arena(Arena&& other) noexcept : Arena() { swap(other); }

Arena& Arena::operator=(Arena&& other) noexcept {
    swap(other);
    return *this;
}

void Arena::swap(Arena& other) noexcept {
    std::swap(allocate_, other.allocate_);
    std::swap(release_, other.release_);
    std::swap(base_, other.base_);
    std::swap(planned_, other.planned_);
    std::swap(capacity_, other.capacity_);
    std::swap(is_committed_, other.is_committed_);
    std::swap(kind_, other.kind_);
}

size_t Arena::reserve(size_t count, size_t item_bytes) {
    COVFAST_REQUIRE(!is_committed_, INTERNAL, "arena: got plan() after commit(), expected all plans before it");
    const size_t room = std::numeric_limits<ptrdiff_t>::max() - planned_ - kAlignment;
    COVFAST_REQUIRE(count <= room / item_bytes, MEMORY_LIMIT, "workspace: got ", count, " items of ", item_bytes,
                    " bytes, expected a size that memory can hold");
    size_t offset = planned_;
    planned_ += (count * item_bytes + kAlignment - 1) / kAlignment * kAlignment;
    return offset;
}

void Arena::commit() {
    is_committed_ = true;
    if (planned_ <= capacity_) return;
    {
        Arena old(allocate_, release_);  // its memory goes back before the larger one is asked for
        std::swap(old.base_, base_);
        capacity_ = 0;
    }
    base_ = static_cast<std::byte*>(allocate_ != nullptr ? allocate_(planned_) : host_memory(planned_, kind_));
    COVFAST_REQUIRE(base_ != nullptr, MEMORY_LIMIT, "workspace: got a refusal for ", planned_,
                    " bytes, expected that much free memory");
    capacity_ = planned_;
}

void Arena::rewind() {
    planned_ = 0;
    is_committed_ = false;
}

}  // namespace covfast
