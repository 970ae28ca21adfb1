// The two recursions of a cubic B-spline's prefilter, shared by spline_axis_cpu.cpp and spline_axis.cu. The spline's
// coefficients c solve c[k-1] + 4 c[k] + c[k+1] = 6 x[k]. With the pole z (z^2 + 4 z + 1 = 0):
//     up    s[k] = z s[k-1] - 6 z x[k]      from s[-1] = (1 - z) x[0]
//     down  c[k] = z c[k+1] + s[k]          from c[n] below
// Both starts are what an endless edge of equal values settles to: there s = (1 - z) x and c = x + B z^(k - n + 1).
#pragma once
#include "cpu/isa.h"
#include "kernels/spline_axis.h"

namespace covfast::COVFAST_ISA {
namespace {

constexpr float kPole = -0.26794919243112270647f;  // sqrt(3) - 2
constexpr float kGain = -6 * kPole;
constexpr float kSettled = 1 - kPole;
constexpr float kTail = 1 / (1 - kPole * kPole);

// V: a float or a vector of floats.
template <class V>
COVFAST_HD inline V step_up(V before, V x) {
    return kPole * before + kGain * x;
}
template <class V>
COVFAST_HD inline V step_down(V after, V s) {
    return kPole * after + s;
}
// c[n], from the last x and s[n - 1]; c[n + 1] = step_down-like: x + z (c[n] - x).
template <class V>
COVFAST_HD inline V behind(V last, V s) {
    return last + (kPole * kTail) * (s - kSettled * last);
}

COVFAST_HD inline float clip(float v, float low, float high) {
    v = low > v ? low : v;  // in this order NaN stays
    return high < v ? high : v;
}

}  // namespace
}  // namespace covfast::COVFAST_ISA
