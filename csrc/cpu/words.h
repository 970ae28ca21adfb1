// Eight words of 64 bits as the widest registers of the instruction set: one with AVX-512, two with AVX2, four with
// SSE2. Only for files compiled per instruction set.
#pragma once
#include <cstdint>

#include "cpu/isa.h"

#ifdef __SSE2__
#include <immintrin.h>
#endif

namespace covfast::COVFAST_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int kRegisterBytes = 64;
#elif defined(__AVX2__)
constexpr int kRegisterBytes = 32;
#else
constexpr int kRegisterBytes = 16;
#endif

struct Words {
    static constexpr int kParts = 64 / kRegisterBytes;
    typedef uint64_t Register __attribute__((vector_size(kRegisterBytes)));

    typedef Register Anywhere __attribute__((aligned(8), may_alias));

    Register part[kParts];

    static Words zero() {
        Words r;
        for (Register& v : r.part) v = Register{};
        return r;
    }
    static Words load(const uint64_t* p) {
        Words r;  // a register at a time: memcpy would go through smaller ones and the stack
        for (int i = 0; i < kParts; ++i) r.part[i] = reinterpret_cast<const Anywhere*>(p)[i];
        return r;
    }
    void store(uint64_t* p) const {
        for (int i = 0; i < kParts; ++i) reinterpret_cast<Anywhere*>(p)[i] = part[i];
    }

    Words& operator|=(const Words& other) {
        for (int i = 0; i < kParts; ++i) part[i] |= other.part[i];
        return *this;
    }
    Words& operator&=(const Words& other) {
        for (int i = 0; i < kParts; ++i) part[i] &= other.part[i];
        return *this;
    }
    Words& operator^=(const Words& other) {
        for (int i = 0; i < kParts; ++i) part[i] ^= other.part[i];
        return *this;
    }
    Words operator<<(int bits) const {
        Words r;
        for (int i = 0; i < kParts; ++i) r.part[i] = part[i] << bits;
        return r;
    }
    Words operator>>(int bits) const {
        Words r;
        for (int i = 0; i < kParts; ++i) r.part[i] = part[i] >> bits;
        return r;
    }

    bool is_zero() const {
        Register any = part[0];
        for (int i = 1; i < kParts; ++i) any |= part[i];
#if defined(__AVX512F__)
        return _mm512_test_epi64_mask((__m512i)any, (__m512i)any) == 0;
#elif defined(__AVX2__)
        return _mm256_testz_si256((__m256i)any, (__m256i)any);
#else
        return (any[0] | any[1]) == 0;
#endif
    }
};

}  // namespace
}  // namespace covfast::COVFAST_ISA
