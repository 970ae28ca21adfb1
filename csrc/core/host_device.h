// Marks functions that nvcc compiles for the device as well.
#pragma once
#ifdef __CUDACC__
#define COVFAST_HD __host__ __device__
#else
#define COVFAST_HD
#endif
