// Scratch memory of one session: planned first, allocated once, nothing while running.
//   Arena arena;  auto a = arena.plan<float>(n); ...; arena.commit();  float* p = arena.get(a);
// For work that repeats with other sizes: arena.rewind(), plan and commit again; memory that is large enough stays.
#pragma once
#include <cstddef>
#include <cstdint>

namespace covfast {

constexpr size_t kAlignment = 64;  // a cache line, and the widest vector register

template <class T>
struct Slot {
    size_t offset = 0;
    size_t count = 0;
};

class Arena {
public:
    enum Kind { kDense, kSparse };  // sparse: much of it may never be touched, and is not to become resident

    explicit Arena(Kind kind = kDense) : kind_(kind) {}  // host memory
    // Memory of a backend: its allocate and release.
    Arena(void* (*allocate)(size_t bytes), void (*release)(void* memory)) : allocate_(allocate), release_(release) {}
    ~Arena();
    Arena(Arena&& other) noexcept;
    Arena& operator=(Arena&& other) noexcept;
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;

    // Reserves room for `count` items. Before commit() only.
    template <class T>
    Slot<T> plan(size_t count) {
        return {reserve(count, sizeof(T)), count};
    }
    // Allocates what was planned. Throws MEMORY_LIMIT if the system refuses.
    void commit();
    size_t bytes() const { return capacity_; }
    // Forgets the plan and what the slots hold; keeps the memory.
    void rewind();
    template <class T>
    T* get(Slot<T> slot) const {
        return reinterpret_cast<T*>(base_ + slot.offset);
    }

private:
    size_t reserve(size_t count, size_t item_bytes);
    void swap(Arena& other) noexcept;
    void* (*allocate_)(size_t bytes) = nullptr;  // null: host memory
    void (*release_)(void* memory) = nullptr;
    std::byte* base_ = nullptr;
    size_t planned_ = 0, capacity_ = 0;
    bool is_committed_ = false;
    Kind kind_ = kDense;
};

}  // namespace covfast
