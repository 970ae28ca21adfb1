// What a file needs that is compiled several times, once per instruction set or by nvcc. COVFAST_ISA is the name of the
// build; everything inline in such a file sits inside covfast::COVFAST_ISA and an anonymous namespace: a function of
// the same name in two objects is one symbol to the linker, and the baseline would run the AVX-512 copy.
#pragma once
#include "core/host_device.h"

#ifndef COVFAST_ISA
#error "COVFAST_ISA must name the instruction set that this object is compiled for"
#endif
